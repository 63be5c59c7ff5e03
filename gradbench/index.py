"""Record files by their places: what each line is and where it stands, so that a run is read a question at a time.

Record files enter; an `Index` leaves. It has what is short (headers, targets, how many records there are) and for every
other line a few numbers: 10^6 records take some 40 MB. What they say is fetched whenever somebody asks, with all the
records on one question together, whose lines may be anywhere in the files. Several files are one run, as `journal.merge`
has it: questions are joined by id, targets by environment, and of two records of the same query and environment the later
one counts, within one file too.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from gradbench import frames
from gradbench.errors import BadRecord, CannotWrite, Place
from gradbench.journal import check_same, decoded, empty, malformed, raw_lines, unreadable
from gradbench.query import Array, Question
from gradbench.record import Record, Spot, Target, meet
from gradbench.writer import FORMAT

_RECORD: Final = re.compile(
    rb'\{"type":"record","query":"([^"\\]*)"(?:,"target":"[^"\\]*")?(?:,"device":"[^"\\]*")?'
    rb'(?:,"environment":"([^"\\]*)")?,"outcome":"'
)
"""How a record begins if its names need no escapes: nothing else of it is read to know what it is about."""

_WRONG: Final = (ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class Part:
    """One of the files of a run.

    Attributes:
        path: Of the file.
        header: When, where and with what it was started.
        count: How many whole records it has.
        complete: Whether it has its footer.
    """

    path: Path
    header: Mapping[str, Any]
    count: int
    complete: bool


_At = tuple[int, int, int, int]
"""Where a line stands: in which file, its number, its first byte, how many there are."""


@dataclass
class _Lines:
    """Where some lines stand."""

    part: array[int] = field(default_factory=lambda: array("H"))
    number: array[int] = field(default_factory=lambda: array("L"))
    start: array[int] = field(default_factory=lambda: array("Q"))
    length: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, at: _At) -> None:
        for column, value in zip((self.part, self.number, self.start, self.length), at, strict=True):
            column.append(value)

    def at(self, i: int) -> _At:
        return self.part[i], self.number[i], self.start[i], self.length[i]


class Index:
    """The run that some record files hold, with all that is large left in them.

    Attributes:
        parts: The files.
        header: Of the one file; or the headers of all under `merged`.
        targets: By environment; those that could not start are here too, with the reason.
        complete: Whether every file has its footer.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Goes through the files once.

        Raises:
            BadRecord: A file can't be read, a line is none of a record file, or two questions have one id.
        """
        self.targets: dict[str, Target] = {}
        self._files = [Path(path) for path in paths]
        self._ids: dict[str, int] = {}  # of everything asked or answered
        self._environments: dict[str, int] = {}
        self._asked: dict[int, int] = {}  # the line of a question, by its id's number
        self._spots: dict[Spot, int] = {}
        self._questions, self._spot, self._number = _Lines(), array("L"), array("Q")
        self._records, self._query, self._environment = _Lines(), array("L"), array("L")
        self.parts = tuple(self._part(i, path) for i, path in enumerate(self._files))
        self.complete = all(part.complete for part in self.parts)
        headers = [dict(part.header) for part in self.parts]
        self.header: Mapping[str, Any] = headers[0] if len(headers) == 1 else {"merged": headers}
        self._last = _latest(np.array(self._query), np.array(self._environment))

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self._last)

    @property
    def asked(self) -> int:
        """How many questions there are."""
        return len(self._asked)

    def answers(self) -> Iterator[tuple[Question, list[Record]]]:
        """Every question with its records; the questions of one `record.spot` one after the other.

        Raises:
            BadRecord: A line isn't what it says it is.
        """
        names = list(self._ids)
        codes = np.fromiter(self._asked, np.int64, len(self._asked))
        lines = np.fromiter(self._asked.values(), np.int64, len(self._asked))
        order = np.argsort(np.array(self._spot, np.int64)[lines], kind="stable")
        rank = np.full(len(names), len(codes))
        rank[codes[order]] = np.arange(len(codes))
        ranks = rank[np.array(self._query, np.int64)[self._last]]
        by_question = self._last[np.argsort(ranks, kind="stable")]
        ends = np.cumsum(np.bincount(ranks, minlength=len(codes) + 1)).tolist()
        with ExitStack() as stack:
            files = self._opened(stack)
            begin = 0
            for i, end in zip(order.tolist(), ends, strict=False):
                question = self._question(files, int(lines[i]))
                if question.query.id != names[codes[i]]:
                    raise self._changed(self._questions.at(int(lines[i])))
                records = [self._record(files, j) for j in by_question[begin:end].tolist()]
                if any(record.query != question.query.id for record in records):
                    raise self._changed(self._records.at(int(by_question[begin])))
                yield question, records
                begin = end
            # Whatever nobody asks for, or a later record stands for, is read all the same: a line must be what it says.
            for j in np.concatenate([by_question[begin:], self._superseded()]).tolist():
                self._record(files, j)

    def write(self, path: Path) -> None:
        """Writes one file that holds it all, each line as it stands in its own.

        Raises:
            BadRecord: A line isn't what it says it is.
            CannotWrite: The file can't be written.
        """
        draft = path.with_name(f"{path.name}.part")  # what is read may be what is written
        with ExitStack() as stack:
            files = self._opened(stack)
            try:
                with draft.open("wb") as stream:
                    for piece in self._lines(files):
                        stream.write(piece)
                draft.replace(path)
            except OSError as error:
                raise CannotWrite(path, error) from None
            finally:
                draft.unlink(missing_ok=True)

    def _lines(self, files: Sequence[BinaryIO]) -> Iterator[frames.Buffer]:
        header = {key: value for key, value in self.header.items() if key not in {"type", "format"}}
        yield from frames.stored({"type": "header", "format": FORMAT, **header})
        asked, last = self._ordered()
        for i in asked:
            self._question(files, i)
            yield _whole(self._raw(files, self._questions.at(i)))
        for target in sorted(self.targets.values(), key=lambda target: target.rank):
            yield from frames.stored({"type": "target", **target.to_json()})
        for j in last:
            self._record(files, j)
            yield _whole(self._raw(files, self._records.at(j)))
        for j in self._superseded().tolist():
            self._record(files, j)
        if self.complete:
            yield from frames.stored({"type": "footer", "records": self.count})

    # Reading once

    def _part(self, part: int, path: Path) -> Part:
        header: dict[str, Any] = {}
        count, start, complete = 0, 0, False
        try:
            with path.open("rb") as stream:
                for number, raw in raw_lines(stream, path):
                    at = (part, number, start, len(raw))
                    start += len(raw)
                    found = _RECORD.match(raw) if number > 1 and raw.endswith(b"}\n") else None
                    if found is not None:
                        self._add_record(at, *(str(found[k] or b"", "utf-8", "replace") for k in (1, 2)))
                        count, complete = count + 1, False
                        continue
                    value = decoded(raw, path, number)
                    if value is None:
                        break
                    kind = value.pop("type")
                    try:
                        if kind == "header":
                            header = value
                        elif kind == "record":
                            self._add_record(at, value["query"], value.get("environment", ""))
                            count += 1
                        elif kind == "question":
                            self._add_question(at, value)
                        elif kind == "target":
                            meet(self.targets, Target.from_json(value))
                    except _WRONG as error:
                        raise malformed(str(kind), path, number, error) from None
                    complete = kind == "footer"
        except OSError as error:
            raise unreadable(path, error) from None
        if not header:
            raise empty(path)
        return Part(path, header, count, complete)

    def _add_record(self, at: _At, query: str, environment: str) -> None:
        self._records.add(at)
        self._query.append(self._ids.setdefault(query, len(self._ids)))
        self._environment.append(self._environments.setdefault(environment, len(self._environments)))

    def _add_question(self, at: _At, value: Mapping[str, Any]) -> None:
        key = value["query"]["id"]
        where: Spot = value["case"], value["point"], value["query"]["dtype"]
        code = self._ids.setdefault(key, len(self._ids))
        before = self._asked.get(code)
        if before is not None:
            places = (self._questions.at(before), at)
            with ExitStack() as stack:
                files = self._opened(stack)
                raws = [self._raw(files, place) for place in places]
            if raws[0] != raws[1]:
                check_same(*(self._read_question(raw, place) for raw, place in zip(raws, places, strict=True)))
        self._asked[code] = len(self._questions.part)
        self._questions.add(at)
        number = value.get("number", 0)
        self._number.append(
            number if isinstance(number, int) and 0 <= number < 2**53 else 0
        )  # a wrong one is found later
        self._spot.append(self._spots.setdefault(where, len(self._spots)))

    # Fetching

    def _opened(self, stack: ExitStack) -> list[BinaryIO]:
        try:
            return [stack.enter_context(path.open("rb", buffering=0)) for path in self._files]
        except OSError as error:
            raise unreadable(Path(error.filename), error) from None

    def _raw(self, files: Sequence[BinaryIO], at: _At) -> bytes:
        part, _, start, length = at
        files[part].seek(start)
        raw = files[part].read(length)
        if len(raw) != length:
            raise self._changed(at)
        return raw

    def _question(self, files: Sequence[BinaryIO], i: int) -> Question:
        at = self._questions.at(i)
        return self._read_question(self._raw(files, at), at)

    def _read_question(self, raw: bytes, at: _At) -> Question:
        try:
            return Question.from_json(self._value(raw, at, "question"))
        except _WRONG as error:
            raise malformed("question", self._files[at[0]], at[1], error) from None

    def _record(self, files: Sequence[BinaryIO], i: int) -> Record:
        at = self._records.at(i)
        try:
            return Record.from_json(self._value(self._raw(files, at), at, "record"))
        except _WRONG as error:
            raise malformed("record", self._files[at[0]], at[1], error) from None

    def _value(self, raw: bytes, at: _At, kind: str) -> dict[str, Any]:
        value = decoded(raw, self._files[at[0]], at[1])
        if value is None or value["type"] != kind:
            raise self._changed(at)
        return value

    def _ordered(self) -> tuple[list[int], list[int]]:
        """The lines of questions by their number, and those of records by question and target, whoever came first."""
        asked = sorted(self._asked.items(), key=lambda item: self._number[item[1]])
        place = np.full(len(self._ids), len(self._ids), np.int64)
        place[[code for code, _ in asked]] = np.arange(len(asked))
        targets = {target.environment: target.rank for target in self.targets.values()}
        ranked = sorted(
            self._environments, key=lambda environment: targets.get(environment, (True, "", "", environment))
        )
        rank = np.empty(len(ranked), np.int64)
        rank[[self._environments[environment] for environment in ranked]] = np.arange(len(ranked))
        queries, environments = (np.array(column, np.int64)[self._last] for column in (self._query, self._environment))
        order = np.lexsort((rank[environments], place[queries])) if len(self._last) else np.zeros(0, np.int64)
        return [line for _, line in asked], self._last[order].tolist()

    def _superseded(self) -> Array:
        return np.setdiff1d(np.arange(len(self._query)), self._last)

    def _changed(self, at: _At) -> BadRecord:
        wrong = "what it is about stands in it twice, or it changed while it was read"
        return BadRecord(Place(str(self._files[at[0]]), at[1]), wrong, "a file that nobody writes to")


def _latest(query: Array, environment: Array) -> Array:
    """Of the records of each query and environment the last; in the order of the first."""
    if not query.size:
        return np.zeros(0, np.int64)
    key = query.astype(np.int64) * (int(environment.max()) + 1) + environment
    order = np.argsort(key, kind="stable")
    new = np.flatnonzero(np.diff(key[order], prepend=-1))
    first, last = order[new], order[np.append(new[1:], len(order)) - 1]
    return np.asarray(last[np.argsort(first)])


def _whole(raw: bytes) -> bytes:
    return raw if raw.endswith(b"\n") else raw + b"\n"
