"""Verdicts as rows and columns: what every report is drawn from.

Verdicts enter; a `Row` for each case, point, operator, input, dtype, target and device leaves, or a pandas frame of them;
and from that the `matrix` of cases by targets, and `totals`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pandas as pd

from gradbench.compare import Truth
from gradbench.judge import WORST, Finding, Ruling, Verdict
from gradbench.query import Array, Query


class Row(NamedTuple):
    """What is known of one array of one answer. Numbers round-trip; what doesn't apply is NaN, or an empty text."""

    case: str
    point: int
    topic: str
    operator: str
    input: str
    dtype: str
    target: str
    device: str
    version: str
    verdict: str
    reason: str
    detail: str
    absolute: float
    relative: float
    ulps: float
    median_ulps: float
    grade: str
    bad: int
    size: int
    index: str  # type: ignore[assignment]  # the column's name; nobody asks a row where in it something stands
    answer: str
    truth: str
    allowed: float
    rule: str
    source: str
    first_seconds: float
    seconds: float
    composite: str
    place: str
    query: str
    environment: str


COLUMNS: Final = Row._fields
_COUNTS: Final = ("point", "bad", "size")
_NUMBERS: Final = ("absolute", "relative", "ulps", "median_ulps", "allowed", "first_seconds", "seconds")
_VARIED: Final = ("index", "answer", "truth")
"""Texts that seldom repeat; every other one stands once in a frame, however many rows have it."""


def rows(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """A row for each case, point, operator, input, dtype, target and device, with the columns of `COLUMNS`.

    Numbers are float64 and round-trip; what doesn't apply is NaN, or an empty text.
    """
    return frame(row for verdict in verdicts for row in rows_of(verdict))


def frame(found: Iterable[Row]) -> pd.DataFrame:
    """Rows as a frame, each text once."""
    columns: dict[str, _Column] = {name: _column(name) for name in COLUMNS}
    adds = [column.add for column in columns.values()]
    for row in found:
        for add, value in zip(adds, row, strict=True):
            add(value)
    made = pd.DataFrame({name: column.whole() for name, column in columns.items()})
    made["verdict"] = made["verdict"].cat.set_categories([str(r) for r in WORST], ordered=True)
    return made


def _column(name: str) -> _Column:
    if name in _COUNTS:
        return _Numbers("q")
    if name in _NUMBERS:
        return _Numbers("d")
    return _Texts() if name in _VARIED else _Words()


class _Column(Protocol):
    """A column of a frame while it grows."""

    def add(self, value: Any, /) -> None:
        """One more value."""

    def whole(self) -> Any:
        """What pandas makes a column of."""


class _Numbers:
    def __init__(self, kind: str) -> None:
        self.values = array(kind)
        self.add = self.values.append

    def whole(self) -> Array:
        return np.array(self.values)


class _Texts:
    def __init__(self) -> None:
        self.values: list[str] = []
        self.add = self.values.append

    def whole(self) -> pd.Series:
        return pd.Series(self.values, dtype=object)


class _Words:
    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.codes = array("l")

    def add(self, word: str) -> None:
        self.codes.append(self.numbers.setdefault(word, len(self.numbers)))

    def whole(self) -> pd.Categorical:
        return pd.Categorical.from_codes(np.array(self.codes), pd.Index(list(self.numbers), dtype=object))


def rows_of(verdict: Verdict) -> Iterator[Row]:
    """A row for each finding of a verdict."""
    question, record = verdict.question, verdict.record
    operator = operator_text(question.query)
    version = verdict.target.versions.get(record.target.partition(":")[0], "")
    first, seconds = (math.nan if s is None else float(s) for s in (record.first, record.seconds))
    composite = " ".join(record.composite)
    for finding in verdict.findings:
        found = finding.difference
        yield Row(
            question.case, question.point, question.topic, operator, finding.key, question.query.dtype,
            record.target, record.device, version, finding.ruling.value, finding.reason, finding.detail,
            *(
                (math.nan, math.nan, math.nan, math.nan, "", 0, 0)
                if found is None
                else (found.absolute, found.relative, found.ulps, found.median_ulps, found.grade, found.bad, found.size)
            ),
            *worst_texts(verdict, finding), math.nan if found is None else found.allowed,
            finding.tolerance, finding.source, first, seconds, composite, question.place, question.query.id,
            record.environment,
        )  # fmt: skip


def worst_texts(verdict: Verdict, finding: Finding) -> tuple[str, str, str]:
    """The worst entry: its index, what was answered there, and what is right."""
    found = finding.difference
    if found is None:
        return "", "", ""
    truth = verdict.right(finding.key)
    answer = number_text(found.answered)
    if truth is None:
        return "", answer, ""
    return index_text(found.worst, truth.shape), answer, truth_text(truth, found.worst)


def operator_text(query: Query) -> str:
    """The operator, with the orders of a partial derivative."""
    orders = "" if query.orders is None else " " + " ".join(f"{name}:{order}" for name, order in query.orders.items())
    return f"{query.operator}{orders}"


def index_text(flat: int, shape: Sequence[int]) -> str:
    """The index of an entry, as `[1, 0]`; empty for a scalar."""
    if not shape or 0 in shape:
        return ""
    found = []
    for length in reversed(shape):
        flat, here = divmod(int(flat), length)
        found.append(here)
    return str(found[::-1])


def number_text(number: complex | Array) -> str:
    """A number that reads back as itself."""
    value = complex(number)
    return repr(value.real) if value.imag == 0 else repr(value)


def truth_text(truth: Truth, flat: int) -> str:
    """What is right for one entry, in words where it is no number."""
    if not truth.centre.size:
        return ""
    kind = "number" if set(truth.counts) == {"number"} else str(truth.kind.reshape(-1)[flat])
    if kind == "set":
        return f"[{truth.lower.reshape(-1)[flat]!r}, {truth.upper.reshape(-1)[flat]!r}]".replace(
            "np.float64(", ""
        ).replace(")", "")
    if kind == "choice":
        return "one of " + ", ".join(map(repr, truth.choices[flat]))
    return number_text(truth.centre.reshape(-1)[flat]) if kind == "number" else kind


def worst_of(verdicts: pd.Series) -> str:
    """The worst ruling of a group."""
    return str(verdicts.min()) if len(verdicts) else ""


def matrix(frame: pd.DataFrame, by: str = "case") -> pd.DataFrame:
    """The worst verdict of each case (or topic) and target; empty where nothing was asked."""
    if frame.empty:
        return pd.DataFrame()
    codes = frame.assign(code=frame["verdict"].cat.codes).pivot_table(
        index=by, columns="target", values="code", aggfunc="min", sort=False, observed=True
    )
    names = [str(r) for r in WORST]
    return codes.map(lambda code: "" if pd.isna(code) else names[int(code)])


def totals(frame: pd.DataFrame) -> pd.DataFrame:
    """How often each ruling was given to each target; a column for each ruling, best first."""
    if frame.empty:
        return pd.DataFrame()
    keys = [frame[name].astype(str) for name in ("target", "device", "version")]
    counts = pd.crosstab(keys, frame["verdict"].astype(str))
    return counts.reindex(columns=[str(r) for r in reversed(WORST)], fill_value=0)


def failures(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that somebody must look at: fails, errors and disputes."""
    return frame[frame["verdict"].isin([str(Ruling.FAIL), str(Ruling.ERROR), str(Ruling.DISPUTED)])]
