"""Verdicts as rows and columns: what every report is drawn from.

Verdicts enter; pandas frames leave: tidy `rows`, one for each case, point, operator, input, dtype, target and device;
the `matrix` of cases by targets; and `totals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from gradbench.judge import WORST, Ruling, Verdict
from gradbench.wire import Array

COLUMNS: Final = (
    "case", "point", "topic", "operator", "input", "dtype", "target", "device", "version", "verdict", "reason", "detail",
    "absolute", "relative", "ulps", "median_ulps", "grade", "bad", "size", "index", "answer", "truth", "allowed",
    "rule", "source", "first_seconds", "seconds", "composite", "place", "query", "environment",
)  # fmt: skip
_COUNTS: Final = ("point", "bad", "size")
_NUMBERS: Final = ("absolute", "relative", "ulps", "median_ulps", "allowed", "first_seconds", "seconds")


def rows(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """A row for each case, point, operator, input, dtype, target and device, with the columns of `COLUMNS`.

    Numbers are float64 and round-trip; what doesn't apply is NaN, or an empty text.
    """
    frame = pd.DataFrame((row for verdict in verdicts for row in _rows(verdict)), columns=list(COLUMNS))
    frame = frame.astype(dict.fromkeys(_NUMBERS, "float64") | dict.fromkeys(_COUNTS, "int64"))
    frame["verdict"] = pd.Categorical(frame["verdict"], categories=[str(r) for r in WORST], ordered=True)
    return frame


def _rows(verdict: Verdict) -> Iterable[dict[str, Any]]:
    question, record = verdict.question, verdict.record
    shared = {
        "case": question.case,
        "point": question.point,
        "topic": question.topic,
        "operator": _operator(verdict),
        "dtype": question.query.dtype,
        "target": record.target,
        "device": record.device,
        "version": verdict.target.versions.get(record.target.partition(":")[0], ""),
        "first_seconds": record.first,
        "seconds": record.seconds,
        "composite": " ".join(record.composite),
        "place": question.place,
        "query": question.query.id,
        "environment": record.environment,
    }
    for finding in verdict.findings:
        found = finding.difference
        truth = verdict.right(finding.key)
        yield {
            **shared,
            "input": finding.key,
            "verdict": str(finding.ruling),
            "reason": finding.reason,
            "detail": finding.detail,
            "absolute": None if found is None else found.absolute,
            "relative": None if found is None else found.relative,
            "ulps": None if found is None else found.ulps,
            "median_ulps": None if found is None else found.median_ulps,
            "grade": "" if found is None else found.grade,
            "bad": 0 if found is None else found.bad,
            "size": 0 if found is None else found.size,
            "index": "" if found is None or truth is None else index_text(found.worst, truth.shape),
            "answer": "" if found is None else number_text(found.answered),
            "truth": "" if found is None or truth is None else truth_text(truth, found.worst),
            "allowed": None if found is None else found.allowed,
            "rule": finding.tolerance,
            "source": finding.source,
        }


def _operator(verdict: Verdict) -> str:
    """The operator, with the orders of a partial derivative."""
    query = verdict.question.query
    orders = "" if query.orders is None else " " + " ".join(f"{name}:{order}" for name, order in query.orders.items())
    return f"{query.operator}{orders}"


def index_text(flat: int, shape: Sequence[int]) -> str:
    """The index of an entry, as `[1, 0]`; empty for a scalar."""
    return str([int(i) for i in np.unravel_index(flat, shape)]) if shape and np.prod(shape) else ""


def number_text(number: complex | Array) -> str:
    """A number that reads back as itself."""
    value = complex(number)
    return repr(value.real) if value.imag == 0 else repr(value)


def truth_text(truth: Any, flat: int) -> str:
    """What is right for one entry, in words where it is no number."""
    if not truth.centre.size:
        return ""
    kind = str(truth.kind.reshape(-1)[flat])
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
        index=by, columns="target", values="code", aggfunc="min", sort=False
    )
    names = [str(r) for r in WORST]
    return codes.map(lambda code: "" if pd.isna(code) else names[int(code)])


def totals(frame: pd.DataFrame) -> pd.DataFrame:
    """How often each ruling was given to each target; a column for each ruling, best first."""
    if frame.empty:
        return pd.DataFrame()
    keys = [frame[name] for name in ("target", "device", "version")]
    counts = pd.crosstab(keys, frame["verdict"].astype(str))
    return counts.reindex(columns=[str(r) for r in reversed(WORST)], fill_value=0)


def failures(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that somebody must look at: fails, errors and disputes."""
    return frame[frame["verdict"].isin([str(Ruling.FAIL), str(Ruling.ERROR), str(Ruling.DISPUTED)])]
