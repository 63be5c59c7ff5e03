from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gradbench import identity, memory, verify
from gradbench.cache import Cache, key, place
from gradbench.cli import cli
from gradbench.device import Device
from gradbench.errors import BadOption
from gradbench.process import Limits
from gradbench.query import Operator, Query, Question
from gradbench.record import Outcome, Record, Target
from gradbench.registry import Entry
from gradbench.verify import Setup

TARGET = Target("t", versions={"t": "1"})
ENTRY = Entry("counting", "faults:Counting")


def question(number: int, factor: int = 2) -> Question:
    query = Query(f"q{number}", f"x * {factor}", {"x": np.array(float(number))}, {}, Operator.VALUE, "float64")
    return Question(query, f"case{number}", 1)


def answer(number: int, size: int = 1) -> Record:
    return Record(f"q{number}", Outcome.ANSWERED, {"": np.full(size, float(number))}).of(TARGET)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "c.sqlite")


def test_an_answer_is_found_again_whatever_its_question_is_called_now(cache, tmp_path):
    cache.keep(key("f", question(1)), TARGET, answer(1))
    cache.close()
    renamed = Question(Query(**{**question(1).query.__dict__, "id": "new"}), "other", 7)
    again = Cache(tmp_path / "c.sqlite")
    found = again.find([key("f", renamed)])
    known = found[key("f", renamed)]
    record = known.record(renamed)
    assert record.query == "new"
    assert record.answer[""] == 1
    assert again.target(known.environment) == TARGET


@pytest.mark.parametrize(
    "other",
    [
        lambda: key("g", question(1)),
        lambda: key("f", question(2)),
        lambda: key("f", question(1, 3)),
        lambda: key("f", Question(Query(**{**question(1).query.__dict__, "dtype": "float32"}), "c", 1)),
        lambda: key("f", Question(Query(**{**question(1).query.__dict__, "remarks": True}), "c", 1)),
        lambda: key(
            "f", Question(Query(**{**question(1).query.__dict__, "rules": {"vjp": "x"}}), "c", 1), by_hand=True
        ),
    ],
)
def test_nothing_else_is_found(cache, other):
    cache.keep(key("f", question(1)), TARGET, answer(1))
    cache.write()
    assert cache.find([other()]) == {}


def test_derivatives_by_hand_matter_only_to_the_target_that_gets_them():
    by_hand = Question(Query(**{**question(1).query.__dict__, "rules": {"vjp": "x"}}), "c", 1)
    assert key("f", by_hand) == key("f", question(1))


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY])
def test_what_did_not_end_well_is_asked_again(cache, outcome):
    cache.keep(b"k", TARGET, Record("q1", outcome).of(TARGET))
    cache.write()
    assert cache.find([b"k"]) == {}


def test_it_stays_within_its_size_and_lets_go_of_what_was_used_longest_ago(tmp_path):
    cache = Cache(tmp_path / "c.sqlite", most=60_000)
    noise = np.random.default_rng(0)
    for number in range(20):
        record = Record("q", Outcome.ANSWERED, {"": noise.standard_normal(500)}).of(TARGET)
        cache.keep(b"%d" % number, TARGET, record)
        cache.write(last=True)
        if number > 3:
            assert cache.find([b"3"]), "it is used all the time"
        assert cache.info().size <= 60_000
    left = [number for number in range(20) if cache.find([b"%d" % number])]
    assert len(left) < 20
    assert left[-5:] == [15, 16, 17, 18, 19]
    assert 3 in left


def write(path: Path, start: int) -> None:
    """What one of several runs does; ends the process."""
    cache = Cache(path)
    for number in range(start, start + 200):
        cache.keep(b"%d" % number, TARGET, answer(number))
        if number % 7 == 0:
            cache.write()
    cache.close()
    os._exit(1 if cache.trouble else 0)


def test_runs_that_write_at_once_lose_nothing(tmp_path):
    path = tmp_path / "c.sqlite"
    # Ranges overlap, so that they also write the same keys.
    program = (
        "import sys; from pathlib import Path; import test_cache; test_cache.write(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    commands = [[sys.executable, "-c", program, str(path), str(100 * n)] for n in range(3)]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    cache = Cache(path)
    found = cache.find([b"%d" % n for n in range(400)])
    assert len(found) == 400
    assert all(known.record(question(int(k))).answer[""] == int(k) for k, known in found.items())


@pytest.mark.parametrize("damage", ["garbage", "folder", "table"])
def test_a_cache_that_is_broken_costs_nothing_but_time_and_says_so(tmp_path, damage):
    path = tmp_path / "c.sqlite"
    if damage == "folder":
        path.mkdir()
    elif damage == "garbage":
        path.write_bytes(b"no database " * 1000)
    cache = Cache(path)
    if damage == "table":
        sqlite3.connect(path).execute("DROP TABLE answer")
    cache.keep(b"k", TARGET, answer(1))
    cache.write()
    assert cache.find([b"k"]) == {}
    assert cache.target("e") is None
    assert cache.info().answers == 0
    assert "c.sqlite: the cache is not used" in cache.trouble
    cache.close()


def test_a_cache_of_another_version_is_emptied(cache, tmp_path):
    cache.keep(b"k", TARGET, answer(1))
    cache.close()
    file = sqlite3.connect(tmp_path / "c.sqlite")
    file.execute("PRAGMA user_version = 99")
    file.close()
    assert Cache(tmp_path / "c.sqlite").find([b"k"]) == {}


# A whole run with it


def go(tmp_path, questions, name="r", **facts):
    log = tmp_path / "log"
    log.unlink(missing_ok=True)
    os.environ["FAULTS_LOG"] = str(log)
    try:
        setup = Setup(limits=Limits(20, start=60), cache=Cache(tmp_path / "c.sqlite"), **facts)
        path = tmp_path / f"{name}.jsonl"
        verify.run(questions, [ENTRY], path, setup)
    finally:
        del os.environ["FAULTS_LOG"]
    lines = log.read_text().split() if log.exists() else []
    return path, lines


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setattr(verify, "references", list)


def records(path):
    from gradbench.journal import read

    return {record.query: record for record in read(path).records}


def test_a_second_run_asks_nothing_and_starts_nobody_and_its_records_are_the_same(tmp_path):
    asked = [question(n) for n in range(5)]
    first, log = go(tmp_path, asked, "a")
    assert log == ["open"] + ["asked"] * 10  # each twice, to see whether it answers the same
    second, log = go(tmp_path, asked, "b")
    assert log == []
    assert {k: r.to_json() for k, r in records(first).items()} == {k: r.to_json() for k, r in records(second).items()}


def test_editing_one_case_asks_that_one_alone(tmp_path):
    go(tmp_path, [question(n) for n in range(5)])
    path, log = go(tmp_path, [question(n, 3 if n == 2 else 2) for n in range(5)])
    assert log == ["open", "asked", "asked"]
    assert {k: float(r.answer[""]) for k, r in records(path).items()} == {"q0": 0, "q1": 2, "q2": 6, "q3": 6, "q4": 8}


def test_what_an_interrupted_run_has_found_is_kept(tmp_path):
    asked = [question(n) for n in range(4)]

    def interrupt(event):
        if isinstance(event, Record) and event.query == "q2":
            raise KeyboardInterrupt

    setup = Setup(limits=Limits(20, start=60), cache=Cache(tmp_path / "c.sqlite"))
    with pytest.raises(KeyboardInterrupt):
        verify.run(asked, [ENTRY], tmp_path / "cut.jsonl", setup, interrupt)
    _, log = go(tmp_path, asked)
    assert log.count("asked") == 4  # the one that was interrupted and the one after it, each twice


def test_without_a_cache_everything_is_asked(tmp_path):
    asked = [question(n) for n in range(2)]
    go(tmp_path, asked)
    os.environ["FAULTS_LOG"] = str(tmp_path / "log2")
    try:
        verify.run(asked, [ENTRY], tmp_path / "x.jsonl", Setup(limits=Limits(20)))
    finally:
        del os.environ["FAULTS_LOG"]
    assert (tmp_path / "log2").read_text().split() == ["open"] + ["asked"] * 4


def test_a_framework_edited_in_place_is_asked_again(tmp_path, monkeypatch):
    """Whoever writes a framework changes its files without changing its version."""
    (tmp_path / "mine").mkdir()
    module = tmp_path / "mine" / "own_adapter.py"
    module.write_text("from faults import Counting\nclass Mine(Counting):\n    pass\n")
    monkeypatch.setenv("PYTHONPATH", f"{module.parent}{os.pathsep}{os.environ['PYTHONPATH']}")
    monkeypatch.syspath_prepend(str(module.parent))
    mine = Entry("mine", "own_adapter:Mine")
    before = identity.fingerprint(mine, Device())
    identity._files.cache_clear()
    assert identity.fingerprint(mine, Device()) == before
    module.write_text(module.read_text() + "# edited\n")
    identity._files.cache_clear()
    assert identity.fingerprint(mine, Device()) != before


@pytest.mark.parametrize(("name", "matters"), [("OMP_NUM_THREADS_X", True), ("XLA_FLAGS", True), ("EDITOR", False)])
def test_variables_that_frameworks_read_are_part_of_the_fingerprint(monkeypatch, name, matters):
    before = identity.fingerprint(ENTRY, Device())
    monkeypatch.setenv(name, "something")
    assert (identity.fingerprint(ENTRY, Device()) != before) is matters


def test_a_target_that_comes_up_as_another_than_answered_is_asked_everything(tmp_path, monkeypatch):
    """What no fingerprint sees, the worker itself reports: a setting that changed behind it."""
    go(tmp_path, [question(n) for n in range(3)])
    # Not one of the variables that are looked at, so that only the worker knows.
    monkeypatch.setenv("FAULTS_MOOD", "other")
    path, log = go(tmp_path, [question(n) for n in range(4)])
    assert log.count("asked") == 8
    found = records(path)
    assert len(found) == 4
    assert len({record.environment for record in found.values()}) == 1


def test_the_command_says_what_there_is_and_forgets_it():
    cache = Cache()
    cache.keep(b"k", TARGET, answer(1))
    cache.close()
    said = CliRunner().invoke(cli, ["cache", "info"]).output
    assert str(place()) in said
    assert "1 answer" in said
    assert CliRunner().invoke(cli, ["cache", "clear"]).exit_code == 0
    assert "0 answers" in CliRunner().invoke(cli, ["cache", "info"]).output


@pytest.mark.parametrize(
    ("text", "size"),
    [("8G", 8 << 30), ("500M", 500 << 20), ("1.5GiB", 3 << 29), ("1e3", 1000), ("2kb", 2048), ("none", None)],
)
def test_amounts_of_memory_read(text, size):
    assert memory.parse(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "1X", "1e999", "nan", "8 G G"])
def test_what_is_no_amount_of_memory_is_refused(text):
    with pytest.raises(BadOption, match="write 8G"):
        memory.parse(text)


def test_a_line_in_the_cache_that_somebody_has_been_at_is_asked_again(tmp_path):
    go(tmp_path, [question(n) for n in range(3)])
    file = sqlite3.connect(tmp_path / "c.sqlite")
    file.execute("UPDATE answer SET line = ?", [zlib.compress(b'{"query":"q9"}\n')])
    file.commit()
    file.close()
    path, log = go(tmp_path, [question(n) for n in range(3)])
    assert log.count("asked") == 6
    assert {k: float(r.answer[""]) for k, r in records(path).items()} == {"q0": 0, "q1": 2, "q2": 4}
