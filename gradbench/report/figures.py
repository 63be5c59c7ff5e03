"""The numbers behind the pictures: how accurate each target is, and how long it takes.

The frame of rows enters; plain numbers for a template leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd

from gradbench.judge import Ruling

EDGES: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 2.0**20, np.inf)
"""A bar counts the errors above one edge and up to the next; the first bar those that are exactly 0."""
NAMES: Final = ("0", "½", "1", "2", "4", "8", "16", "64", "256", "2¹⁰", "2²⁰", "more")
"""The upper edge of each bar, as its label."""

CHEAP: Final = 5.0
"""A reverse pass takes at most so many times the operations of the function (Griewank and Walther, 2008, section 4.5)."""

TIMED: Final = (Ruling.PASS, Ruling.CONVENTION, Ruling.INCONCLUSIVE, Ruling.UNJUDGED)
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


def accuracy(frame: pd.DataFrame, labels: Mapping[str, str]) -> list[Accuracy]:
    """A row for each column and dtype, in the order of `labels`, which gives an environment its heading."""
    counted = frame[frame["ulps"].notna()]
    found = []
    groups = dict(iter(counted.groupby(["environment", "dtype"], sort=False)["ulps"]))
    for environment, label in labels.items():
        for dtype in sorted(dtype for key, dtype in groups if key == environment):
            ulps = groups[environment, dtype].to_numpy()
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


def times(frame: pd.DataFrame, labels: Mapping[str, str]) -> list[Time]:
    """A row for each column and operator, of those answers alone in which nothing is wrong."""
    wanted = ["environment", "case", "point", "dtype", "operator", "seconds", "first_seconds"]
    good = frame["verdict"].isin([str(r) for r in TIMED])
    bad = set(map(tuple, frame.loc[~good, ["environment", "query"]].drop_duplicates().to_numpy()))
    calls = frame.drop_duplicates(["environment", "query"])
    pairs = zip(calls["environment"], calls["query"], strict=True)
    calls = calls[np.array([pair not in bad for pair in pairs], bool)]
    calls = calls.loc[(calls["seconds"] > 0), wanted].copy()
    calls["operator"] = [operator.partition(" ")[0] for operator in calls["operator"]]
    join = ["environment", "case", "point", "dtype"]
    values = calls[calls["operator"] == "value"].drop(columns="operator").drop_duplicates(join)
    both = calls[calls["operator"] != "value"].merge(values, on=join, suffixes=("", "_value"))
    both["ratio"] = both["seconds"] / both["seconds_value"]
    groups: dict[Any, pd.DataFrame] = dict(iter(both.groupby(["environment", "operator"], sort=False)))
    operators = list(dict.fromkeys(operator for _, operator in groups))
    return [
        _time(label, operator, groups[environment, operator])
        for operator in operators
        for environment, label in labels.items()
        if (environment, operator) in groups
    ]


def axis(found: Sequence[Time]) -> list[float]:
    """The ticks of a logarithmic axis that holds every ratio: 1, 2 and 5 times a power of ten."""
    least, most = min((t.low for t in found), default=1.0), max((t.high for t in found), default=1.0)
    steps = [factor * 10.0**power for power in range(-6, 13) for factor in (1.0, 2.0, 5.0)]
    first = max(i for i, step in enumerate(steps) if step <= min(least, 1.0) or i == 0)
    last = min(i for i, step in enumerate(steps) if step >= max(most, 10.0) or i == len(steps) - 1)
    return steps[first : last + 1]


def _time(label: str, operator: str, group: pd.DataFrame) -> Time:
    low, ratio, high = (float(q) for q in np.quantile(group["ratio"], [0.25, 0.5, 0.75]))
    names = ("seconds_value", "seconds", "first_seconds_value", "first_seconds")
    value, derivative, first_value, first = (float(group[name].median()) for name in names)
    return Time(label, operator, len(group), value, derivative, ratio, low, high, first_value, first)


def bars(counts: Sequence[int], height: float) -> list[tuple[float, float]]:
    """For each bar of a histogram its top and its height, the tallest filling the height; 0 is no bar at all."""
    largest = max(counts, default=0) or 1
    heights = [0.0 if not n else max(1.0, height * n / largest) for n in counts]
    return [(round(height - h, 1), round(h, 1)) for h in heights]
