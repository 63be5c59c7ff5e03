"""The rows as CSV and as JSON, for spreadsheets and programs."""

from __future__ import annotations

import csv
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TextIO

from gradbench.record import Recorded
from gradbench.report.stream import Batch, Format
from gradbench.table import COLUMNS, Row, frame

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE: Final = 2000
"""So many rows are made into JSON at a time."""
_NUMBERS: Final = frozenset({"answer", "truth"})
"""Texts that are numbers or our own words."""
_FORMULA = ("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠")
"""What a formula begins with, also in the wide letters that some spreadsheets take for the same."""


class Csv(Format):
    """Tidy CSV: a row for each case, point, operator, input, dtype, target and device, written as they come.

    Numbers round-trip; a text that a spreadsheet would run as a formula is preceded by an apostrophe.
    """

    def __init__(self, _run: Recorded, stream: TextIO) -> None:
        self.writer = csv.writer(stream, lineterminator="\n")
        self.writer.writerow(COLUMNS)

    def add(self, batch: Batch) -> None:
        """The rows of one question."""
        self.writer.writerows([_cells(row) for rows in batch.rows for row in rows])


def _cells(row: Row) -> list[object]:
    cells: list[object] = [
        value if name in _NUMBERS else _harmless(value) if isinstance(value, str) else "" if value != value else value  # noqa: PLR0124  # NaN
        for name, value in zip(COLUMNS, row, strict=True)
    ]
    return cells


class CoverageCsv(Format):
    """What was answered at all, as CSV: a row for each primitive, target, operator and number format."""

    def __init__(self, _run: Recorded, stream: TextIO) -> None:
        from gradbench.report.coverage import Coverage

        self.stream, self.counted = stream, Coverage()

    def add(self, batch: Batch) -> None:
        """The answers to one question."""
        for verdict in batch.verdicts:
            self.counted.add(verdict)

    def finish(self) -> None:
        """Writes the whole."""
        self.stream.write(_csv(self.counted.frame()))


def _csv(found: pd.DataFrame) -> str:
    """A frame with every text in it harmless."""
    safe = found.copy()
    for name in safe.columns:
        if safe[name].dtype.kind not in "iufb":
            safe[name] = safe[name].map(harmless)
    return str(safe.to_csv(index=False, lineterminator="\n"))


@lru_cache(maxsize=1 << 14)
def _harmless(text: str) -> object:
    return harmless(text)


def harmless(text: object) -> object:
    """A text that no spreadsheet takes for a formula, and no terminal for a command."""
    if not isinstance(text, str):
        return text
    clean = "".join(c if c.isprintable() else " " for c in text)
    return f"'{clean}" if clean.lstrip().startswith(_FORMULA) else clean


class Json(Format):
    """The rows as a JSON list of objects, written as they come; NaN is null."""

    def __init__(self, _run: Recorded, stream: TextIO) -> None:
        self.stream = stream
        self.rows: list[Row] = []
        self.before = "["

    def add(self, batch: Batch) -> None:
        """The rows of one question."""
        self.rows += (row for rows in batch.rows for row in rows)
        if len(self.rows) >= AT_ONCE:
            self._write()

    def finish(self) -> None:
        """Writes what is left."""
        self._write()
        self.stream.write("[]" if self.before == "[" else "\n]")

    def _write(self) -> None:
        if self.rows:
            text = frame(self.rows).to_json(orient="records", double_precision=15, indent=1)
            self.stream.write(self.before + text.removeprefix("[").removesuffix("]").removesuffix("\n"))
            self.rows, self.before = [], ","
