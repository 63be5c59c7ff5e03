from __future__ import annotations

import errno
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradbench import writer as writer_room
from gradbench.errors import BadRecord, CannotWrite
from gradbench.journal import merge, read, write
from gradbench.query import Operator, Query, Question, Stated
from gradbench.record import Outcome, Record, Run, Target
from gradbench.writer import Writer

QUERY = Query("q", "x * k", {"x": np.array([1.5, -0.0])}, {"k": np.array([2])}, Operator.JACOBIAN, "float64")
STATED = Stated(np.zeros(2), np.ones(2), np.zeros(2), {0: (0.5, np.inf)}, {1: "undefined"})
QUESTION = Question(
    QUERY, "case", 1, "f.yaml:3", "words", "somebody", ("a",), "f", {"x": STATED}, {"rtol": 1e-3, "reason": "r"}
)
TARGET = Target("torch", versions={"torch": "2"}, settings={"threads": 1})
RECORD = Record(
    "q", Outcome.ANSWERED, {"x": np.array([[1.0, np.nan]]), "y": None}, margin={"x": {"radius": np.array([[0.0, np.inf]])}},
    status={"x": np.array([["certified", "kink"]])}, notes={"bits": 80}, first=0.5, seconds=0.25, composite=("relu",),
    repeatable=False, mutated=("x",), error="E", message="m",
).of(TARGET)  # fmt: skip


def text(run: Run) -> str:
    stream = io.BytesIO()
    writer = Writer(stream, {"gradbench": "0"})
    for question in run.questions.values():
        writer.question(question)
    for target in run.targets.values():
        writer.target(target)
    for one in run.records:
        writer.record(one)
    writer.finish()
    return stream.getvalue().decode()


RUN = Run({}, {"q": QUESTION}, {TARGET.environment: TARGET}, [RECORD])


def test_a_run_comes_back_as_it_was(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(text(RUN))
    back = read(path)
    assert back.complete
    assert back.questions["q"].to_json() == QUESTION.to_json()
    assert back.targets[TARGET.environment] == TARGET
    assert back.records[0].to_json() == RECORD.to_json()
    again = tmp_path / "again.jsonl"
    write(again, back)
    assert again.read_text() == path.read_text()


def test_a_missing_footer_is_truncation(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text("".join(text(RUN).splitlines(keepends=True)[:-1]))
    assert not read(path).complete


def test_a_file_cut_at_any_byte_is_read_as_far_as_it_is_whole_or_refused(tmp_path):
    whole = text(RUN).encode()
    path = tmp_path / "r.jsonl"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            run = read(path)
        except BadRecord:
            assert length < whole.index(b"\n")
        else:
            assert not run.complete or length >= len(whole) - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: ["hello\n", *lines[1:]], "r.jsonl:1: not a line of JSON"),
        (lambda lines: lines[1:], "r.jsonl:1: no header"),
        (
            lambda lines: [lines[0].replace('"format":1', '"format":99'), *lines[1:]],
            "format 99 is newer than this; update gradbench",
        ),
        (lambda lines: [lines[0], "[1]\n"], "r.jsonl:2: not a line of a record file"),
        (
            lambda lines: [lines[0], '{"type":"record","query":"q","outcome":"happy"}\n'],
            "r.jsonl:2: not a record: ValueError: 'happy'",
        ),
        (
            lambda lines: [lines[0], '{"type":"question"}\n'],
            "r.jsonl:2: not a question: ValueError: a question lacks 'query'",
        ),
        (lambda lines: [], "an empty file"),
    ],
)
def test_a_bad_line_is_an_error_with_its_number(tmp_path, change, message):
    path = tmp_path / "r.jsonl"
    path.write_text("".join(change(text(RUN).splitlines(keepends=True))))
    with pytest.raises(BadRecord) as caught:
        read(path)
    assert message in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(BadRecord, match="No such file"):
        read(tmp_path / "absent")


@given(
    st.lists(
        st.text(max_size=40)
        | st.sampled_from(['{"type":"record"}', '{"type":"header"}', '{"type":"target","name":3}', "null"]),
        max_size=5,
    )
)
def test_no_text_crashes_the_reader(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("r") / "r.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    said = "r.jsonl"
    try:
        read(path)
    except BadRecord as error:
        said = str(error)
    assert "r.jsonl" in said


def test_each_line_is_in_the_file_whole_before_the_next_comes(tmp_path):
    path = tmp_path / "r.jsonl"
    with path.open("wb", buffering=0) as stream:
        writer = Writer(stream, {})
        for count in range(1, 4):
            writer.record(RECORD)
            lines = path.read_bytes().splitlines(keepends=True)
            assert len(lines) == count + 1
            assert all(line.endswith(b"\n") and json.loads(line) for line in lines)


def test_of_an_answer_that_is_too_large_for_any_reader_its_size_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_room, "MAX_LINE", 17 << 20)
    path = tmp_path / "r.jsonl"
    with path.open("wb", buffering=0) as stream:
        writer = Writer(stream, {"gradbench": "0"})
        for entries in (90_000, 110_000):  # 0.9 and 1.1 MiB as text
            writer.record(replace(RECORD, answer={"x": np.zeros(entries)}, margin={}, status={}))
        writer.finish()
    outcomes = [json.loads(line)["outcome"] for line in path.read_text().splitlines() if "outcome" in line]
    assert outcomes == ["answered", "out-of-memory"]
    assert path.stat().st_size < 1_100_000


class Full(io.BytesIO):
    """A disk that takes so many bytes and no more."""

    name = "full.jsonl"
    room = 2_000

    def write(self, data):
        left = self.room - self.tell()
        if left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data)[: min(left, 700)])  # and a part at a time


def test_a_line_that_a_full_disk_does_not_take_is_taken_back():
    stream = Full()
    writer = Writer(stream, {})
    with pytest.raises(CannotWrite, match=r"full\.jsonl: can't be written: No space left.* 4 whole records"):  # noqa: PT012  # any of them
        for _ in range(100):
            writer.record(RECORD)
    lines = stream.getvalue().splitlines(keepends=True)
    assert len(lines) == 5
    assert all(line.endswith(b"\n") and json.loads(line) for line in lines)


def test_merging_joins_records_of_other_versions_and_keeps_the_later_of_two():
    other = Target("torch", versions={"torch": "3"})
    later = Record("q", Outcome.RAISED).of(TARGET)
    third = Record("q", Outcome.CRASHED).of(other)
    merged = merge(
        [
            RUN,
            Run(
                {},
                {"q": QUESTION},
                {other.environment: other, TARGET.environment: TARGET},
                [later, third],
                complete=False,
            ),
        ]
    )
    assert {(r.environment, r.outcome) for r in merged.records} == {
        (TARGET.environment, Outcome.RAISED),
        (other.environment, Outcome.CRASHED),
    }
    assert not merged.complete


def test_merging_different_questions_under_one_id_is_refused():
    other = Query(**{**QUERY.__dict__, "function": "x + k"})
    changed = Question(**{**QUESTION.__dict__, "query": other})
    with pytest.raises(BadRecord, match="asks two different things"):
        merge([RUN, Run({}, {"q": changed}, {}, [])])


def test_an_unknown_status_is_refused():
    value = RECORD.to_json()
    value["status"]["x"]["words"] = "splendid"
    with pytest.raises(ValueError, match="splendid"):
        Record.from_json(value)
