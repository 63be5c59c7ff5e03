"""Appends to a record file, so that whatever ends the run leaves whole lines.

Every line goes to the operating system as it comes. A line that can't be written, because the disk is full, is taken
back as far as it got, so that what is there reads well and `--resume` goes on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from gradbench import frames
from gradbench.errors import CannotWrite
from gradbench.query import Question
from gradbench.record import Outcome, Record, Target

FORMAT: Final = 1
"""The version of the file's format; a reader refuses a newer one."""
MAX_LINE: Final = 192 * 2**20
"""Bytes: an answer of a million complex numbers with eight margins. A line and its arrays are in memory together."""

_BESIDE: Final = 16 * 2**20  # for everything in a line that isn't a long array


class Writer:
    """One record file that is being written.

    Args:
        stream: Where to, unbuffered, standing at its end.
        header: What its first line says; None if it has one.
        count: How many records it has.
    """

    def __init__(self, stream: BinaryIO, header: Mapping[str, Any] | None, count: int = 0) -> None:
        self.stream, self.count = stream, count
        self.end = stream.seek(0, os.SEEK_END)
        if header is not None:
            self._write("header", {"format": FORMAT, **header})

    def question(self, question: Question) -> None:
        """Keeps what is asked."""
        self._write("question", question.to_json())

    def target(self, target: Target) -> None:
        """Keeps who is asked."""
        self._write("target", target.to_json())

    def record(self, record: Record) -> None:
        """Keeps what happened; of an answer that no reader would take, how large it was."""
        arrays = [*record.answer.values(), *(array for parts in record.margin.values() for array in parts.values())]
        size = sum(array.nbytes for array in arrays if array is not None) * 4 // 3
        if size > MAX_LINE - _BESIDE:
            message = (
                f"its answer takes {size >> 20} MiB in a record file, and the limit is {MAX_LINE - _BESIDE >> 20} MiB"
            )
            record = replace(record, outcome=Outcome.OUT_OF_MEMORY, answer={}, margin={}, status={}, message=message)
        self._write("record", record.to_json())
        self.count += 1

    def known(self, line: bytes) -> None:
        """Keeps what happened in another run: the line of a record."""
        self._append([line])
        self.count += 1

    def part(self, queries: Sequence[str], lines: bytes) -> None:
        """Keeps the lines of targets and records from another file, and then that these queries are done with them."""
        count = lines.count(b'{"type":"record"')
        self._append([lines])
        self._write("part", {"queries": list(queries)})
        self.count += count

    def finish(self, **facts: Any) -> None:
        """Closes the run: from here on the file counts as whole, also if the machine loses its power."""
        self._write("footer", {"records": self.count, **facts})
        with contextlib.suppress(OSError):  # it is no file of a disk
            os.fsync(self.stream.fileno())

    def _write(self, kind: str, value: Mapping[str, Any]) -> None:
        self._append(frames.stored({"type": kind, **value}))

    def _append(self, pieces: Iterable[frames.Buffer]) -> None:
        try:
            for piece in pieces:
                self._put(piece)
        except OSError as error:
            with contextlib.suppress(OSError):
                self.stream.seek(self.end)
                self.stream.truncate()
            raise CannotWrite(Path(getattr(self.stream, "name", "?")), error, self.count) from None
        self.end = self.stream.tell()

    def _put(self, piece: frames.Buffer) -> None:
        rest = memoryview(piece)
        while rest:  # an unbuffered write may take a part
            rest = rest[self.stream.write(rest) :]
