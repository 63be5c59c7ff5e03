"""The file that holds a run, and lives through whatever ends it.

JSON lines, each with a `type`: one `header`; then, as they come, `question` (what is asked and what stays behind),
`target` (who could be asked: versions, device, settings), `record` (what happened); and a `footer`, whose absence means
that the run was cut short.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from gradbench.errors import BadRecord, Place
from gradbench.query import Question
from gradbench.record import Record, Run, Target

FORMAT: Final = 1
"""The version of the file's format; a reader refuses a newer one."""


def line(kind: str, value: Mapping[str, Any]) -> str:
    """One line of a record file, with its newline."""
    return json.dumps({"type": kind, **value}, allow_nan=False, separators=(",", ":")) + "\n"


class Writer:
    """Appends lines to a record file, each whole and flushed, and the footer on `finish`."""

    def __init__(self, stream: TextIO, header: Mapping[str, Any]) -> None:
        self.stream, self.count = stream, 0
        self._write("header", {"format": FORMAT, **header})

    def question(self, question: Question) -> None:
        """Keeps what is asked."""
        self._write("question", question.to_json())

    def target(self, target: Target) -> None:
        """Keeps who is asked."""
        self._write("target", target.to_json())

    def record(self, record: Record) -> None:
        """Keeps what happened."""
        self._write("record", record.to_json())
        self.count += 1

    def finish(self, **facts: Any) -> None:
        """Closes the run: from here on the file counts as whole."""
        self._write("footer", {"records": self.count, **facts})

    def _write(self, kind: str, value: Mapping[str, Any]) -> None:
        self.stream.write(line(kind, value))
        self.stream.flush()


def write(path: Path, run: Run) -> None:
    """Writes a whole run; a run that was cut short is written without a footer."""
    with path.open("w", encoding="utf-8") as stream:
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
            for number, raw in enumerate(stream, start=1):
                try:
                    value = json.loads(raw)
                except ValueError:
                    if not raw.endswith(b"\n"):
                        return
                    raise BadRecord(Place(str(path), number), "not a line of JSON") from None
                except RecursionError:
                    raise BadRecord(Place(str(path), number), "nested too deep") from None
                if not isinstance(value, dict) or "type" not in value:
                    raise BadRecord(Place(str(path), number), "not a line of a record file", "an object with a 'type'")
                if number == 1 and value["type"] != "header":
                    raise BadRecord(Place(str(path), 1), "no header", "a file written by 'gradbench run'")
                if value["type"] == "header" and value.get("format", FORMAT) > FORMAT:
                    right = f"update gradbench, which reads up to format {FORMAT}"
                    raise BadRecord(Place(str(path), number), f"format {value['format']} is newer than this", right)
                yield number, value
    except OSError as error:
        raise BadRecord(Place(str(path)), error.strerror or str(error), "the path of a record file") from None


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
                target = Target.from_json(value)
                targets[target.environment] = target
            elif kind == "record":
                records.append(Record.from_json(value))
            complete = kind == "footer"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            wrong = f"not a {kind}: {type(error).__name__}: {error}"
            raise BadRecord(Place(str(path), number), wrong) from None
    if not header:
        raise BadRecord(Place(str(path)), "an empty file", "a file written by 'gradbench run'")
    return Run(header, questions, targets, records, complete)


def merge(runs: Iterable[Run]) -> Run:
    """Several runs as one.

    Questions are joined by id, targets by environment; the later of two records of the same query and environment is
    kept.

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
            if key in questions and questions[key].query.digest != question.query.digest:
                wrong = f"{key} asks two different things in the files to merge"
                raise BadRecord(Place(question.place), wrong, "merge runs of the same cases")
            questions[key] = question
        targets |= run.targets
        records |= {(record.query, record.environment): record for record in run.records}
    return Run(header, questions, targets, list(records.values()), complete)
