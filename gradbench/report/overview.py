"""What stands on the first page of a report, as plain values for the template.

A run and its verdicts enter, question by question; dictionaries and lists leave. All counting is of rows: one array for
each case, point, operator, input, dtype and column.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gradbench.conventions import KINDS, Convention, Conventions
from gradbench.judge import RANK, WORST, Ruling
from gradbench.primitives import VOCABULARY
from gradbench.record import Recorded, Target
from gradbench.report.clashes import Clashes
from gradbench.report.columns import Column
from gradbench.report.coverage import Coverage, holes, shares
from gradbench.report.stream import Batch
from gradbench.report.words import brief
from gradbench.table import Row

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


LOOK: Final = frozenset({Ruling.FAIL, Ruling.ERROR, Ruling.DISPUTED})
"""What somebody must look at."""


FACTS: Final = ("started", "command", "gradbench", "python", "platform", "processor", "device", "remark")
"""What is shown of a header."""


def runs(run: Recorded) -> list[Mapping[str, Any]]:
    """The header of each run that was merged into this one, or its own; what it doesn't say is empty."""
    merged = run.header.get("merged")
    return [dict.fromkeys(FACTS, "") | header for header in (_headers(merged) if merged else [dict(run.header)])]


def _headers(merged: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for header in merged:
        yield from _headers(header["merged"]) if header.get("merged") else [dict(header)]


@dataclass
class _Kind:
    """The answers that need a look for the same reason: how many, and in which cases."""

    answers: int = 0
    cases: set[str] = field(default_factory=set)


@dataclass
class _Worst:
    """Of the answers of one column to one case that need a look, the worst, and how many there are."""

    rank: tuple[int, float, int]
    row: Row
    count: int = 0


class Overview:
    """What the first page shows, while it is counted, question by question."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}
        self.rows = 0
        self.cases: dict[str, set[str]] = {}
        self.counts: Counter[tuple[str, str, Ruling]] = Counter()
        self.bad: dict[tuple[Ruling, str, str], _Kind] = defaultdict(_Kind)
        self.worst: dict[str, dict[str, _Worst]] = defaultdict(dict)
        self.errors: dict[tuple[str, str], array[float]] = defaultdict(lambda: array("d"))
        self.clashes = Clashes(MOST)

    def add(self, batch: Batch) -> None:
        """The verdicts on one question."""
        self.clashes.add(batch.clashes)
        for i, verdict in enumerate(batch.verdicts):
            question, environment = verdict.question, verdict.record.environment
            self.targets.setdefault(environment, verdict.target)
            self.cases.setdefault(question.topic, set()).add(question.case)
            for k, finding in enumerate(verdict.findings):
                self.counts[question.topic, environment, finding.ruling] += 1
                self.rows += 1
                if finding.difference is not None and not math.isnan(finding.difference.ulps):
                    self.errors[environment, question.query.dtype].append(finding.difference.ulps)
                if finding.ruling in LOOK:
                    self._look(batch.rows[i][k], RANK[finding.ruling])

    def _look(self, row: Row, rank: int) -> None:
        kind = self.bad[WORST[rank], row.reason, row.environment]
        kind.answers += 1
        kind.cases.add(row.case)
        off = math.inf if math.isnan(row.ulps) else row.ulps
        found = self.worst[row.case].setdefault(row.environment, _Worst((rank, -off, self.rows), row))
        found.count += 1
        if (rank, -off, self.rows) < found.rank:
            found.rank, found.row = (rank, -off, self.rows), row

    def totals(self, columns: Sequence[Column]) -> list[dict[str, Any]]:
        """For each column how often each verdict was given, best first, and the whole."""
        counts: Counter[tuple[str, Ruling]] = Counter()
        for (_, environment, ruling), count in self.counts.items():
            counts[environment, ruling] += count
        found = []
        for column in columns:
            numbers = {str(r): counts[column.environment, r] for r in reversed(WORST)}
            found.append({"column": column, "counts": numbers, "size": sum(numbers.values())})
        return found

    def used(self) -> list[str]:
        """The verdicts that were given at all, best first."""
        given = {ruling for _, _, ruling in self.counts}
        return [str(r) for r in reversed(WORST) if r in given or r in {Ruling.PASS, Ruling.FAIL}]

    def topics(self, columns: Sequence[Column]) -> list[dict[str, Any]]:
        """For each topic, in the order of the cases, and each column how often each verdict was given, worst first."""
        found = []
        for topic, cases in self.cases.items():
            cells = []
            for column in columns:
                numbers = {str(r): self.counts.get((topic, column.environment, r), 0) for r in WORST}
                cells.append({"column": column, "counts": {k: n for k, n in numbers.items() if n}})
            found.append({"topic": topic, "cases": len(cases), "cells": cells})
        return found

    def kinds(self, columns: Sequence[Column]) -> list[dict[str, Any]]:
        """The fails, errors and disputes by column, verdict and reason: how many answers, in how many cases."""
        labels = {column.environment: column.label for column in columns}
        ordered = sorted(self.bad.items(), key=lambda item: (RANK[item[0][0]], -item[1].answers, *item[0][1:]))
        return [
            {
                "label": labels[environment],
                "verdict": str(ruling),
                "reason": reason,
                "answers": kind.answers,
                "cases": len(kind.cases),
            }
            for (ruling, reason, environment), kind in ordered
        ]

    def findings(self, columns: Sequence[Column]) -> dict[str, Any]:
        """The fails, errors and disputes by case, and within it by column, worst first: `cases`, and how many there are."""
        labels = {column.environment: column.label for column in columns}
        groups = [(case, sorted(found.items(), key=lambda item: item[1].rank)) for case, found in self.worst.items()]
        sizes = {case: sum(one.count for _, one in found) for case, found in groups}
        groups.sort(key=lambda group: (group[1][0][1].rank[0], -sizes[group[0]], group[1][0][1].rank))
        cases: list[dict[str, Any]] = []
        shown = 0
        for case, found in groups:
            if shown >= MOST:
                break
            members = [_finding(labels[environment], one) for environment, one in found]
            cases.append({"case": case, "topic": found[0][1].row.topic, "members": members})
            shown += len(members)
        answers, many = sum(sizes.values()), len(groups)
        return {"cases": cases, "answers": answers, "many": many, "left": many - len(cases)}


def covered(counted: Coverage, columns: Sequence[Column]) -> dict[str, Any]:
    """What was answered at all: a row of counts for each primitive, by topic; and the holes with their reasons."""
    frame = counted.frame()
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


def conventions(measured: Conventions, columns: Sequence[Column]) -> list[tuple[str, list[Convention]]]:
    """The measured conventions, by what is asked for, in the order of the columns."""
    order = {column.environment: i for i, column in enumerate(columns)}
    found: dict[str, list[Convention]] = {}
    for one in sorted(measured.all(), key=lambda c: order[c.environment]):
        found.setdefault(one.kind, []).append(one)
    return [(kind, found[kind]) for kind in KINDS if kind in found]


def _finding(label: str, found: _Worst) -> dict[str, Any]:
    worst = found.row
    numbers = bool(worst.answer and worst.truth)
    return {
        "label": label,
        "verdict": worst.verdict,
        "reason": "" if worst.reason == worst.verdict else worst.reason,
        "detail": worst.detail.partition("\n")[0],
        "key": worst.input,
        "where": f"{worst.operator}, {worst.dtype}, point {worst.point}",
        "answer": worst.answer if numbers else "",
        "truth": worst.truth if numbers else "",
        "index": worst.index,
        "ulps": brief(worst.ulps),
        "count": found.count,
    }
