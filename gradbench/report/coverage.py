"""What was answered at all: primitive by operator, number format and target, and why not where it wasn't.

Verdicts enter; a frame leaves with a row for each combination that somebody was asked for, and the holes of it, grouped
by their reasons. It is made of records alone: a combination that no case asks for has no row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import pandas as pd

from gradbench.judge import Verdict
from gradbench.language import parse
from gradbench.primitives import VOCABULARY
from gradbench.record import Outcome

COLUMNS: Final = (
    "primitive", "topic", "target", "device", "environment", "operator", "dtype", "asked", "answered", "outcome",
    "reason", "case",
)  # fmt: skip


@dataclass
class _Cell:
    """One combination while it is counted: the reason is that of the case with the fewest other primitives."""

    asked: int = 0
    answered: int = 0
    company: tuple[int, int] = (1 << 30, 0)
    outcome: str = ""
    reason: str = ""
    case: str = ""


def coverage(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """A row for each primitive, target, operator and number format that was asked for, with the columns of `COLUMNS`.

    `answered` counts the queries that were answered, rightly or not; where it is 0, `outcome`, `reason` and `case` say
    what happened instead, and where.
    """
    found = Coverage()
    for verdict in verdicts:
        found.add(verdict)
    return found.frame()


class Coverage:
    """What was answered, while it is counted: a cell for each set of primitives that occur together."""

    def __init__(self) -> None:
        self.cells: dict[tuple[Any, ...], _Cell] = {}
        self.count = 0

    def add(self, verdict: Verdict) -> None:
        """One answer, or what there was instead."""
        question, record = verdict.question, verdict.record
        query = question.query
        words = _primitives(query.function, query.names)
        key = (words, record.target, record.device, record.environment, query.operator.value, query.dtype)
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = _Cell()
        cell.asked += 1
        self.count += 1
        if record.outcome is Outcome.ANSWERED:
            cell.answered += 1
        elif not cell.outcome:
            cell.company, cell.case = (len(words), self.count), question.case
            cell.outcome, cell.reason = record.outcome.value, record.message or record.error

    def frame(self) -> pd.DataFrame:
        """As `coverage`."""
        cells: dict[tuple[str, ...], _Cell] = defaultdict(_Cell)
        for (words, *who), part in self.cells.items():
            for word in words:
                cell = cells[word, *who]
                cell.asked, cell.answered = cell.asked + part.asked, cell.answered + part.answered
                if part.outcome and part.company < cell.company:
                    cell.company, cell.case = part.company, part.case
                    cell.outcome, cell.reason = part.outcome, part.reason
        rows = [
            (
                word, VOCABULARY[word].topic, target, device, environment, operator, dtype, cell.asked, cell.answered,
                *(("answered", "", "") if cell.answered else (cell.outcome, cell.reason, cell.case)),
            )
            for (word, target, device, environment, operator, dtype), cell in cells.items()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(COLUMNS))


@lru_cache(maxsize=4096)
def _primitives(function: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return parse(function, names).primitives


@dataclass(frozen=True)
class Holes:
    """Combinations of one target that lack an answer for the same reason.

    Attributes:
        environment: Of the target.
        outcome: `unsupported`, `raised`, and so on.
        reason: In the words of whoever refused; the shortest of those that differ only in a primitive's name.
        operators, dtypes, primitives: Which they are, in the order of the frame.
        count: How many combinations.
        case: One that shows it.
    """

    environment: str
    outcome: str
    reason: str
    operators: tuple[str, ...]
    dtypes: tuple[str, ...]
    primitives: tuple[str, ...]
    count: int
    case: str = field(default="")


def holes(frame: pd.DataFrame) -> list[Holes]:
    """The combinations without an answer, by target and reason, the most first."""
    empty = frame[frame["answered"] == 0]
    found = []
    for (environment, outcome, reason), group in empty.groupby(["environment", "outcome", "reason"], sort=False):
        operators, dtypes, primitives = (
            tuple(dict.fromkeys(group[name])) for name in ("operator", "dtype", "primitive")
        )
        found.append(
            Holes(
                str(environment),
                str(outcome),
                str(reason),
                operators,
                dtypes,
                primitives,
                len(group),
                group["case"].iloc[0],
            )
        )
    return sorted(found, key=lambda hole: -hole.count)


def shares(frame: pd.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    """For each primitive and environment, how many combinations were answered, and of how many."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for word, environment, answered in zip(frame["primitive"], frame["environment"], frame["answered"], strict=True):
        covered, combinations = found.get((word, environment), (0, 0))
        found[word, environment] = covered + (answered > 0), combinations + 1
    return found
