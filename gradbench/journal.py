"""The file that holds a run, and lives through whatever ends it.

JSON lines, each with a `type`: one `header`; then, as they come, `question` (what is asked and what stays behind),
`target` (who could be asked: versions, device, settings), `record` (what happened); and a `footer`, whose absence means
that the run was cut short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from gradbench import frames
from gradbench.errors import BadRecord, Place
from gradbench.field import Fields
from gradbench.query import Question
from gradbench.record import Record, Run, Target, meet
from gradbench.writer import FORMAT, MAX_LINE, Writer

MAX_TEXT: Final = 16 * 2**20
"""Bytes beside long arrays: of text that is a few times in memory while it is read, four bytes for each of its letters."""
MAX_PARTS: Final = 5 * 2**18
"""The most entries of lists and objects in a line: one takes up to a hundred bytes of memory, and two in the file."""
KINDS: Final = frozenset({"header", "question", "target", "record", "part", "footer"})
"""Of lines. A `part` names the queries whose records stand before it, all of them: see `cluster`."""
_ARRAY: Final = re.compile(rb'"base64":"[A-Za-z0-9+/]{65536,}')
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def write(path: Path, run: Run) -> None:
    """Writes a whole run; a run that was cut short is written without a footer."""
    with path.open("wb", buffering=0) as stream:
        header = {key: value for key, value in run.header.items() if key not in {"type", "format"}}
        writer = Writer(stream, header)
        for question in run.questions.values():
            writer.question(question)
        for target in run.targets.values():
            writer.target(target)
        for record in run.records:
            writer.record(record)
        if run.complete:
            writer.finish()


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line of a record file with its number, as far as they are whole. A last line cut short ends the file.

    Raises:
        BadRecord: The file can't be read, a line is no JSON object, or the format is newer than this reader.
    """
    try:
        with path.open("rb") as stream:
            for number, raw in raw_lines(stream, path):
                value = decoded(raw, path, number)
                if value is None:
                    return
                yield number, value
    except OSError as error:
        raise unreadable(path, error) from None


def raw_lines(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line of a record file as it stands there, with its number.

    Raises:
        BadRecord: A line is longer than any that a run writes: whoever reads it holds it in memory several times.
    """
    number = 0
    while raw := stream.readline(MAX_LINE + 1):
        number += 1
        if len(raw) > MAX_LINE:
            raise BadRecord(
                Place(str(path), number), f"a line of more than {MAX_LINE} bytes", "a file of 'gradbench run'"
            )
        yield number, raw


def unreadable(path: Path, error: OSError) -> BadRecord:
    """What to say of a file that can't be read."""
    return BadRecord(Place(str(path)), error.strerror or str(error), "the path of a record file")


def decoded(raw: bytes, path: Path, number: int) -> dict[str, Any] | None:
    """One line of a record file; None if it is cut short.

    Raises:
        BadRecord: It is no JSON object, or the format is newer than this reader.
    """
    if len(raw) > MAX_TEXT and len(raw) - sum(len(found[0]) for found in _ARRAY.finditer(raw)) > MAX_TEXT:
        raise BadRecord(Place(str(path), number), f"more than {MAX_TEXT} bytes beside long arrays", "arrays as base64")
    if sum(raw.count(sign) for sign in (b",", b"[", b"{")) > MAX_PARTS and len(raw) > MAX_PARTS:
        raise BadRecord(Place(str(path), number), f"more than {MAX_PARTS} parts", "arrays as base64")
    try:
        value = frames.loaded(raw)
        value = value if _HALF.search(raw) is None else _mended(value)
    except ValueError:
        if not raw.endswith(b"\n"):
            return None
        raise BadRecord(Place(str(path), number), "not a line of JSON") from None
    except RecursionError:
        raise BadRecord(Place(str(path), number), "nested too deep") from None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str) or value["type"] not in KINDS:
        raise BadRecord(Place(str(path), number), "not a line of a record file", "an object with a 'type'")
    if number == 1 and value["type"] != "header":
        raise BadRecord(Place(str(path), 1), "no header", "a file written by 'gradbench run'")
    if value["type"] == "header":
        written = value.get("format", FORMAT)
        if not (isinstance(written, int) and written <= FORMAT):
            right = f"update gradbench, which reads up to format {FORMAT}"
            raise BadRecord(Place(str(path), number), f"format {str(written)[:40]} is newer than this", right)
        try:
            return check_header(value)
        except ValueError as error:
            raise malformed("header", path, number, error) from None
    return value


def _mended(value: Any) -> Any:
    """The value without halves of characters, which JSON can spell and no file or terminal can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_mended(part) for part in value]
    return {_mended(k): _mended(v) for k, v in value.items()} if isinstance(value, dict) else value


def check_header(value: Mapping[str, Any], depth: int = 8) -> dict[str, Any]:
    """What a header says, or the headers of runs that were merged, if each part is of the kind it must be.

    Raises:
        ValueError: One isn't.
    """
    fields = Fields({"header": value}, "a line")
    found = fields.plain("header")
    parts = Fields(found, "a header")
    for key in ("gradbench", "started", "python", "platform", "processor", "device", "remark"):
        parts.text(key, "")
    parts.texts("command")
    if depth == 0:
        raise ValueError("runs merged of runs merged, without end")
    parts.each("merged", lambda part: check_header(Fields(part, "a header").value, depth - 1))
    return found


def read(path: Path) -> Run:
    """A whole record file.

    Raises:
        BadRecord: As for `lines`, or a line that is no question, target or record.
    """
    header: dict[str, Any] = {}
    questions: dict[str, Question] = {}
    targets: dict[str, Target] = {}
    records: list[Record] = []
    complete = False
    for number, value in lines(path):
        kind = value.pop("type")
        try:
            if kind == "header":
                header = value
            elif kind == "question":
                question = Question.from_json(value)
                questions[question.query.id] = question
            elif kind == "target":
                meet(targets, Target.from_json(value))
            elif kind == "record":
                records.append(Record.from_json(value))
            complete = kind == "footer"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise malformed(str(kind), path, number, error) from None
    if not header:
        raise empty(path)
    return Run(header, questions, targets, records, complete)


def merge(runs: Iterable[Run]) -> Run:
    """Several runs as one.

    Questions are joined by id, targets by environment; the later of two records of the same query and environment is
    kept. What stands where depends on what was asked of whom alone, not on who was first.

    Raises:
        BadRecord: Two runs ask different things under one id.
    """
    header: dict[str, Any] = {"merged": []}
    questions: dict[str, Question] = {}
    targets: dict[str, Target] = {}
    records: dict[tuple[str, str], Record] = {}
    complete = True
    for run in runs:
        header["merged"].append(dict(run.header))
        complete &= run.complete
        for key, question in run.questions.items():
            if key in questions:
                check_same(questions[key], question)
            questions[key] = question
        targets |= run.targets
        records |= {(record.query, record.environment): record for record in run.records}
    asked = dict(sorted(questions.items(), key=lambda item: item[1].number))
    there = dict(sorted(targets.items(), key=lambda item: item[1].rank))
    place, rank = ({key: i for i, key in enumerate(keys)} for keys in (asked, there))
    order = sorted(records, key=lambda key: (place.get(key[0], len(place)), rank.get(key[1], len(rank)), key))
    return Run(header, asked, there, [records[key] for key in order], complete)


def check_same(one: Question, other: Question) -> None:
    """Two questions of one id must be the same.

    Raises:
        BadRecord: They aren't.
    """
    if one.query.digest != other.query.digest:
        wrong = f"{other.query.id} asks two different things in the files to merge"
        raise BadRecord(Place(other.place), wrong, "merge runs of the same cases")


def malformed(kind: str, path: Path, number: int, error: Exception) -> BadRecord:
    """What to say of a line that isn't what it says it is."""
    return BadRecord(Place(str(path), number), f"not a {kind}: {type(error).__name__}: {error}")


def empty(path: Path) -> BadRecord:
    """What to say of a file without a header."""
    return BadRecord(Place(str(path)), "an empty file", "a file written by 'gradbench run'")
