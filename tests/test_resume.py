from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gradbench import cluster, verify
from gradbench.errors import BadRecord, CannotResume, CannotWrite
from gradbench.journal import read
from gradbench.process import Limits
from gradbench.query import Operator, Query, Question
from gradbench.record import Outcome
from gradbench.registry import Entry
from gradbench.verify import Setup

ENTRY = Entry("slow", "faults:Slow")
COUNT = 30


def question(number: int, factor: int = 2) -> Question:
    constants = {"way": np.array(4 if number == 11 else 0)}  # one of them ends its worker, each time it is asked
    query = Query(f"q{number}", f"x * {factor}", {"x": np.array(float(number))}, constants, Operator.VALUE, "float64")
    return Question(query, f"case{number}", 1, f"f.yaml:{number}")


QUESTIONS = [question(n) for n in range(COUNT)]
DEADLY = Entry("deadly", "faults:Deadly")


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setattr(verify, "references", list)


def go(path, questions=QUESTIONS, entries=(ENTRY, DEADLY), **facts):
    setup = Setup(limits=Limits(20, start=60), resume=True, **facts)
    verify.run(questions, list(entries), path, setup)
    return content(path)


def content(path):
    """What a run found, without what its clock said."""
    run = read(path)
    records = {}
    for record in run.records:
        place = (record.target, record.query)
        assert place not in records, "nothing is recorded twice"
        value = record.to_json()
        records[place] = {key: value[key] for key in value if key not in {"first", "seconds"}}
    return records, set(run.questions), {target.name for target in run.targets.values()}, run.complete


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file of a run that nothing has interrupted, and what it holds."""
    path = tmp_path_factory.mktemp("whole") / "r.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "references", list)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)]))
        return path, go(path)


def test_a_run_without_interruption_has_one_record_for_each_question_and_target(whole):
    records, questions, targets, complete = whole[1]
    assert len(records) == 2 * COUNT
    assert len(questions) == COUNT
    assert targets == {"slow", "deadly"}
    assert complete
    assert records["deadly", "q11"]["outcome"] == Outcome.CRASHED


def test_a_run_cut_off_at_any_byte_goes_on_to_the_same_end(whole, tmp_path):
    data = whole[0].read_bytes()
    lines = [i + 1 for i, byte in enumerate(data) if byte == 10]
    # Both sides of each kind of line's end, within lines, and the very beginning and end.
    cuts = [
        0,
        1,
        lines[0] - 1,
        lines[0],
        lines[1] + 9,
        lines[COUNT],
        lines[COUNT] + 5,
        lines[-20] - 2,
        lines[-2] + 1,
        len(data) - 1,
    ]
    path = tmp_path / "r.jsonl"
    for cut in cuts:
        path.write_bytes(data[:cut])
        assert go(path) == whole[1], cut


def test_a_whole_run_is_not_asked_again(whole, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(whole[0].read_bytes())
    go(path)
    assert path.read_bytes() == whole[0].read_bytes()


PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_resume
from gradbench import verify
verify.references = list
test_resume.go(Path(sys.argv[1]))
"""


def started(path: Path) -> subprocess.Popen[bytes]:
    here = Path(__file__).parent
    command = [sys.executable, "-c", PROGRAM, str(path), str(here), str(here.parent)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_killed_at_random_moments_goes_on_to_the_same_end_and_leaves_nobody_behind(whole, tmp_path, number):
    path = tmp_path / "r.jsonl"
    draw = random.Random(int(number))
    kills = 0
    while kills < 4:
        process = started(path)
        have = path.stat().st_size if path.exists() else 0
        # Until it has written something: at a start-up alone nothing could be lost.
        while process.poll() is None and (not path.exists() or path.stat().st_size <= have):
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        if process.poll() is not None:
            break
        process.send_signal(number)
        process.wait()
        kills += 1
    assert kills
    deadline = time.monotonic() + 10
    while _alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _alive() == []
    assert go(path) == whole[1]


def _alive() -> list[str]:
    if sys.platform != "linux":
        return []
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"faults:Slow" in command or b"faults:Deadly" in command:
            found.append(path.parent.name)
    return found


def _limited(path, size):
    """A run in a process that may write files of so many bytes alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(CannotWrite) as caught:
            go(path, entries=[DEADLY])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return str(caught.value)


def test_a_full_disk_stops_the_run_with_a_readable_file_and_it_goes_on_when_there_is_room(whole, tmp_path):
    path = tmp_path / "r.jsonl"
    size = whole[0].stat().st_size * 2 // 3
    message = _limited(path, size)
    assert path.stat().st_size <= size
    run = read(path)
    assert not run.complete
    assert len(run.records) > 0
    assert f"r.jsonl: can't be written: {os.strerror(errno.EFBIG)}" in message
    assert f"{len(run.records)} whole records" in message
    records, _, _, complete = go(path, entries=[DEADLY])
    assert complete
    assert records == {place: one for place, one in whole[1][0].items() if place[0] == "deadly"}


def test_a_folder_that_can_not_be_written_is_said_to():
    with pytest.raises(CannotWrite, match=r"/proc/none\.jsonl: can't be written"):
        verify.run(QUESTIONS, [ENTRY], Path("/proc/none.jsonl"), Setup())


@pytest.mark.parametrize(
    ("questions", "entries", "facts", "reason"),
    [
        ([question(0, 3), *QUESTIONS[1:]], (ENTRY, DEADLY), {}, "q0 has changed since, in f.yaml:0"),
        (QUESTIONS[1:], (ENTRY, DEADLY), {}, "it asked q0, which isn't selected now"),
        ([*QUESTIONS, question(99)], (ENTRY, DEADLY), {}, "it didn't ask q99"),
        (QUESTIONS, (ENTRY,), {}, "deadly@cpu is asked no longer"),
        (QUESTIONS, (ENTRY, DEADLY, Entry("honest", "faults:Honest")), {}, "honest@cpu is asked only now"),
        (QUESTIONS, (ENTRY, Entry("deadly", "faults:Honest")), {}, "deadly@cpu isn't what it was"),
        (QUESTIONS, (ENTRY, DEADLY), {"shard": "1/2"}, "its shard was '' and is '1/2' now"),
    ],
)
def test_another_run_does_not_go_on_in_the_file(whole, tmp_path, questions, entries, facts, reason):
    path = tmp_path / "r.jsonl"
    path.write_bytes(whole[0].read_bytes()[:-50])
    with pytest.raises(CannotResume, match=reason):
        go(path, questions, entries, **facts)


@pytest.mark.parametrize("text", ["what I wrote\nyesterday\n", "what I wrote\nyesterday", '{"mine":1}\n{"yours"'])
def test_a_file_of_something_else_is_left_alone(tmp_path, text):
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    with pytest.raises(BadRecord, match="not a line"):
        go(path)
    assert path.read_text() == text


def test_a_run_that_does_not_go_on_takes_nothing_away(whole, tmp_path):
    path = tmp_path / "r.jsonl"
    data = whole[0].read_bytes()[:-50]  # torn
    path.write_bytes(data)
    with pytest.raises(CannotResume):
        go(path, QUESTIONS[1:])
    assert path.read_bytes() == data
    # On other machines only whole parts count; in the file of a run on this one there are none.
    with pytest.raises(CannotResume):
        cluster.run(QUESTIONS, ["slow", "deadly"], path, "tcp://127.0.0.1:9", {"device": "cpu"}, resume=True)
    assert path.read_bytes() == data


def test_without_resume_a_run_starts_again(whole, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(whole[0].read_bytes())
    verify.run(QUESTIONS[:3], [Entry("honest", "faults:Honest")], path, Setup(limits=Limits(20, start=60)))
    assert {record.target for record in read(path).records} == {"honest"}
