"""The numbers behind the pictures: how accurate each target is, and how long it takes.

Verdicts enter, question by question; plain numbers for a template leave.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from gradbench.judge import Ruling, Verdict
from gradbench.query import Array, Operator
from gradbench.record import Spot, spot

EDGES: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 2.0**20, np.inf)
"""A bar counts the errors above one edge and up to the next; the first bar those that are exactly 0."""
NAMES: Final = ("0", "½", "1", "2", "4", "8", "16", "64", "256", "2¹⁰", "2²⁰", "more")
"""The upper edge of each bar, as its label."""

CHEAP: Final = 5.0
"""A reverse pass takes at most so many times the operations of the function (Griewank and Walther, 2008, section 4.5)."""

TIMED: Final = frozenset({Ruling.PASS, Ruling.CONVENTION, Ruling.INCONCLUSIVE, Ruling.UNJUDGED})
"""Nobody's time is shown for an answer that is wrong."""


@dataclass(frozen=True)
class Accuracy:
    """The errors of one column in one dtype, in ulps: how many fall in each bar, and what they are on the whole."""

    label: str
    dtype: str
    counts: tuple[int, ...]
    size: int
    median: float
    ninety: float
    largest: float


def accuracy(errors: Mapping[tuple[str, str], Sequence[float]], labels: Mapping[str, str]) -> list[Accuracy]:
    """A row for each column and dtype, in the order of `labels`, which gives an environment its heading.

    Args:
        errors: In ulps, by environment and dtype.
        labels: By environment.
    """
    found = []
    for environment, label in labels.items():
        for dtype in sorted(dtype for key, dtype in errors if key == environment):
            ulps = np.asarray(errors[environment, dtype])
            bars = [int((ulps == 0).sum())]
            bars += [int(((ulps > low) & (ulps <= high)).sum()) for low, high in pairwise(EDGES)]
            median, ninety = np.quantile(ulps, [0.5, 0.9], method="higher")
            found.append(
                Accuracy(label, dtype, tuple(bars), len(ulps), float(median), float(ninety), float(ulps.max()))
            )
    return found


@dataclass(frozen=True)
class Time:
    """How long one column takes for an operator, and for the value of the same function at the same point.

    Attributes:
        count: How many pairs were timed.
        value, derivative, ratio: Medians, seconds; the ratio's is over the ratios.
        low, high: The quartiles of the ratio.
        first_value, first_derivative: Medians of the first call, with tracing and compiling.
    """

    label: str
    operator: str
    count: int
    value: float
    derivative: float
    ratio: float
    low: float
    high: float
    first_value: float
    first_derivative: float


class Stopwatch:
    """Times while they are taken, spot by spot: those answers alone in which nothing is wrong."""

    def __init__(self) -> None:
        self.spot: Spot | None = None
        self.calls: dict[str, dict[str, tuple[str, float, float]]] = {}
        self.pairs: dict[tuple[str, str], tuple[array[float], ...]] = {}

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """The verdicts on one question; those of one spot must come one after the other."""
        for verdict in verdicts:
            query, record = verdict.question.query, verdict.record
            if spot(verdict.question) != self.spot:
                self.flush()
                self.spot = spot(verdict.question)
            if (record.seconds or 0) > 0 and all(finding.ruling in TIMED for finding in verdict.findings):
                first = math.nan if record.first is None else float(record.first)
                assert record.seconds is not None
                call = query.operator.value, float(record.seconds), first
                self.calls.setdefault(query.id, {}).setdefault(record.environment, call)

    def flush(self) -> None:
        """Pairs the calls of a spot: each derivative with the value."""
        values: dict[str, tuple[str, float, float]] = {}
        for group in self.calls.values():
            for environment, call in group.items():
                if call[0] == Operator.VALUE:
                    values.setdefault(environment, call)
        for group in self.calls.values():
            for environment, (operator, seconds, first) in group.items():
                if operator == Operator.VALUE or environment not in values:
                    continue
                pair = self.pairs.setdefault((environment, operator), tuple(array("d") for _ in range(4)))
                for column, number in zip(pair, (*values[environment][1:], seconds, first), strict=True):
                    column.append(number)
        self.calls.clear()

    def times(self, labels: Mapping[str, str]) -> list[Time]:
        """A row for each column and operator; `labels` gives an environment its heading."""
        self.flush()
        operators = list(dict.fromkeys(operator for _, operator in self.pairs))
        return [
            _time(label, operator, *map(np.asarray, self.pairs[environment, operator]))
            for operator in operators
            for environment, label in labels.items()
            if (environment, operator) in self.pairs
        ]


def axis(found: Sequence[Time]) -> list[float]:
    """The ticks of a logarithmic axis that holds every ratio: 1, 2 and 5 times a power of ten."""
    least, most = min((t.low for t in found), default=1.0), max((t.high for t in found), default=1.0)
    steps = [factor * 10.0**power for power in range(-6, 13) for factor in (1.0, 2.0, 5.0)]
    first = max(i for i, step in enumerate(steps) if step <= min(least, 1.0) or i == 0)
    last = min(i for i, step in enumerate(steps) if step >= max(most, 10.0) or i == len(steps) - 1)
    return steps[first : last + 1]


def _time(label: str, operator: str, values: Array, first_values: Array, seconds: Array, firsts: Array) -> Time:
    low, ratio, high = (float(q) for q in np.quantile(seconds / values, [0.25, 0.5, 0.75]))
    medians = (_median(part) for part in (values, seconds, first_values, firsts))
    value, derivative, first_value, first = medians
    return Time(label, operator, len(values), value, derivative, ratio, low, high, first_value, first)


def _median(values: Array) -> float:
    """Of those that are known."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else math.nan


def bars(counts: Sequence[int], height: float) -> list[tuple[float, float]]:
    """For each bar of a histogram its top and its height, the tallest filling the height; 0 is no bar at all."""
    largest = max(counts, default=0) or 1
    heights = [0.0 if not n else max(1.0, height * n / largest) for n in counts]
    return [(round(height - h, 1), round(h, 1)) for h in heights]
