"""What stands on the first page of a report, as plain values for the template.

A run, its columns and the frame of rows enter; dictionaries and lists leave. All counting is of rows: one array for
each case, point, operator, input, dtype and column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from gradbench.conventions import KINDS, Convention
from gradbench.conventions import conventions as measured
from gradbench.crosscheck import crosscheck
from gradbench.judge import WORST, Ruling, Verdict
from gradbench.primitives import VOCABULARY
from gradbench.record import Run
from gradbench.report.columns import Column
from gradbench.report.coverage import coverage, holes, shares
from gradbench.report.words import brief
from gradbench.table import failures

MOST: Final = 60
"""How many findings the first page names; the rest are behind a link."""

MEANINGS: Final = {
    Ruling.PASS: "within what rounding alone explains",
    Ruling.FAIL: "wrong, inaccurate, not finite, of another shape or dtype, unrepeatable, or it changed its input",
    Ruling.ERROR: "raised an error, crashed, timed out or ran out of memory",
    Ruling.DISPUTED: "the case and the references contradict each other: nobody is judged by it",
    Ruling.INCONCLUSIVE: "nothing can be told apart: the tolerance is too wide, or the estimate too vague",
    Ruling.UNJUDGED: "no reference could say what is right",
    Ruling.CONVENTION: "there is no one right answer here, or None stands for 0",
    Ruling.UNSUPPORTED: "the target doesn't offer this; a skip is never a pass",
}
"""What each verdict means, best first as a reader meets them."""


def runs(run: Run) -> list[Mapping[str, Any]]:
    """The header of each run that was merged into this one, or its own."""
    merged = run.header.get("merged")
    return list(_headers(merged)) if merged else [run.header]


def _headers(merged: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for header in merged:
        yield from _headers(header["merged"]) if header.get("merged") else [header]


def totals(frame: pd.DataFrame, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """For each column how often each verdict was given, best first, and the whole."""
    counts = frame.groupby(["environment", "verdict"], observed=True).size().to_dict()
    found = []
    for column in columns:
        numbers = {str(r): int(counts.get((column.environment, str(r)), 0)) for r in reversed(WORST)}
        found.append({"column": column, "counts": numbers, "size": sum(numbers.values())})
    return found


def used(frame: pd.DataFrame) -> list[str]:
    """The verdicts that were given at all, best first."""
    given = set(frame["verdict"].astype(str).unique())
    return [str(r) for r in reversed(WORST) if str(r) in given or r in {Ruling.PASS, Ruling.FAIL}]


def topics(frame: pd.DataFrame, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """For each topic, in the order of the cases, and each column how often each verdict was given, worst first."""
    counts: dict[Any, int] = frame.groupby(["topic", "environment", "verdict"], observed=True).size().to_dict()
    cases: dict[Any, int] = frame.groupby("topic")["case"].nunique().to_dict()
    found = []
    for topic in dict.fromkeys(frame["topic"]):
        cells = []
        for column in columns:
            numbers = {str(r): counts.get((topic, column.environment, str(r)), 0) for r in WORST}
            cells.append({"column": column, "counts": {k: int(n) for k, n in numbers.items() if n}})
        found.append({"topic": topic, "cases": cases[topic], "cells": cells})
    return found


def kinds(frame: pd.DataFrame, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The fails, errors and disputes by column, verdict and reason: how many answers, in how many cases."""
    bad = failures(frame)
    labels = {column.environment: column.label for column in columns}
    groups = bad.groupby(["verdict", "reason", "environment"], observed=True)["case"]
    found = [
        {"label": labels[environment], "verdict": verdict, "reason": reason, "answers": size, "cases": cases}
        for (verdict, reason, environment), size, cases in zip(
            groups.size().index, groups.size(), groups.nunique(), strict=True
        )
    ]
    order = {str(r): i for i, r in enumerate(WORST)}
    return sorted(found, key=lambda kind: (order[kind["verdict"]], -kind["answers"]))


def clashes(run: Run, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The laws that answers break, whatever is right: `rows` of them, and how many there are."""
    broken = crosscheck(verdicts, vote=False)
    rows = []
    for clash in broken[:MOST]:
        question = run.questions[clash.query]
        query = question.query
        where = f"{query.operator}, {query.dtype}, point {question.point}"
        rows.append({"clash": clash, "case": question.case, "where": where})
    return {"rows": rows, "answers": len(broken)}


def covered(verdicts: Sequence[Verdict], columns: Sequence[Column]) -> dict[str, Any]:
    """What was answered at all: a row of counts for each primitive, by topic; and the holes with their reasons."""
    frame = coverage(verdicts)
    counts = shares(frame)
    rows: dict[str, list[dict[str, Any]]] = {}
    for word in VOCABULARY.values():
        cells = [counts.get((word.name, column.environment)) for column in columns]
        if any(cells):
            rows.setdefault(word.topic, []).append({"primitive": word.name, "cells": cells})
    return {
        "columns": columns,
        "labels": {column.environment: column.label for column in columns},
        "primitives": list(rows.items()),
        "holes": holes(frame),
    }


def conventions(verdicts: Sequence[Verdict], columns: Sequence[Column]) -> list[tuple[str, list[Convention]]]:
    """The measured conventions, by what is asked for, in the order of the columns."""
    order = {column.environment: i for i, column in enumerate(columns)}
    found: dict[str, list[Convention]] = {}
    for one in sorted(measured(verdicts), key=lambda c: order[c.environment]):
        found.setdefault(one.kind, []).append(one)
    return [(kind, found[kind]) for kind in KINDS if kind in found]


def findings(frame: pd.DataFrame, columns: Sequence[Column]) -> dict[str, Any]:
    """The fails, errors and disputes by case, and within it by column, worst first: `cases`, and how many there are."""
    bad = failures(frame)
    labels = {column.environment: column.label for column in columns}
    rank = bad["verdict"].cat.codes
    ordered = bad.assign(rank=rank, off=bad["ulps"].fillna(float("inf"))).sort_values(
        ["rank", "off"], ascending=[True, False], kind="stable"
    )
    groups = list(ordered.groupby("case", sort=False))
    groups.sort(key=lambda pair: (pair[1]["rank"].min(), -len(pair[1])))
    cases: list[dict[str, Any]] = []
    shown = 0
    for case, group in groups:
        if shown >= MOST:
            break
        members = [_finding(labels[str(key)], part) for key, part in group.groupby("environment", sort=False)]
        cases.append({"case": case, "topic": group["topic"].iloc[0], "members": members})
        shown += len(members)
    answers, many = len(bad), len(groups)
    return {"cases": cases, "answers": answers, "many": many, "left": many - len(cases)}


def _finding(label: str, group: pd.DataFrame) -> dict[str, Any]:
    worst = group.iloc[0]
    numbers = bool(worst["answer"] and worst["truth"])
    return {
        "label": label,
        "verdict": str(worst["verdict"]),
        "reason": "" if worst["reason"] == worst["verdict"] else worst["reason"],
        "detail": worst["detail"].partition("\n")[0],
        "key": worst["input"],
        "where": f"{worst['operator']}, {worst['dtype']}, point {worst['point']}",
        "answer": worst["answer"] if numbers else "",
        "truth": worst["truth"] if numbers else "",
        "index": worst["index"],
        "ulps": brief(worst["ulps"]),
        "count": len(group),
    }
