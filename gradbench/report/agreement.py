"""Who stands with whom: the targets' answers held against each other, without asking who is right.

Verdicts enter; counts for each pair of columns leave. Two arrays agree if no component of one is further from the
other's than the tolerances of both together, the tolerance being the one that judges each by the truth (for finite
differences their own error bar); NaN agrees with NaN and an infinity with itself. Where no reference could answer, the
tolerance is that of the median of the answers. An answer of None is not compared. Complex derivatives are compared in one
convention, whichever the targets keep (see `conjugation`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradbench.compare import Truth, tolerance
from gradbench.judge import Verdict
from gradbench.query import Array
from gradbench.record import Outcome
from gradbench.report.columns import Column


@dataclass
class Agreement:
    """Counts by pairs of columns.

    Attributes:
        compared, agreeing: How many arrays both columns answered, and how many of them agree; shape (n, n).
        alone: How often a column stood alone while two or more others agreed; shape (n,).
        splits: For each array of which not all columns agree: the query's id, the key, and the pairs that differ.
    """

    compared: Array
    agreeing: Array
    alone: Array
    splits: list[tuple[str, str, list[tuple[int, int]]]] = field(default_factory=list)


def agreement(verdicts: Iterable[Verdict], columns: Sequence[Column]) -> Agreement:
    """Every array of every answer, held against the other columns' answers."""
    by_query: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_query[verdict.question.query.id].append(verdict)
    found = Agreeing()
    for members in by_query.values():
        found.add(members)
    return found.between(columns)


class Agreeing:
    """Agreement while it is counted, question by question; whoever is new gets the next number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.found = Agreement(np.zeros((8, 8), int), np.zeros((8, 8), int), np.zeros(8, int))

    def add(self, members: Sequence[Verdict]) -> None:
        """The verdicts on one question."""
        answered = [v for v in members if v.record.outcome is Outcome.ANSWERED]
        if len(answered) < 2:
            return
        query = answered[0].question.query
        for key in query.keys:
            for group, same in _compared(answered, key):
                where = [self.numbers.setdefault(v.record.environment, len(self.numbers)) for v in group]
                self._grow()
                _count(self.found, query.id, key, where, same)

    def between(self, columns: Sequence[Column]) -> Agreement:
        """The counts by the pairs of these columns."""
        order = [self.numbers.setdefault(column.environment, len(self.numbers)) for column in columns]
        self._grow()
        at = {number: i for i, number in enumerate(order)}
        grid = np.ix_(order, order)
        return Agreement(
            self.found.compared[grid],
            self.found.agreeing[grid],
            self.found.alone[order],
            [(query, key, [(at[a], at[b]) for a, b in pairs]) for query, key, pairs in self.found.splits],
        )

    def _grow(self) -> None:
        room = len(self.numbers) - len(self.found.alone)
        if room > 0:
            more = (0, room + 8)
            self.found.compared, self.found.agreeing = (
                np.pad(counts, (more, more)) for counts in (self.found.compared, self.found.agreeing)
            )
            self.found.alone = np.pad(self.found.alone, more)


def _count(found: Agreement, query: str, key: str, where: Sequence[int], same: Array | None) -> None:
    if len(where) < 2:
        return
    grid = np.ix_(where, where)
    found.compared[grid] += 1
    if same is None:
        found.agreeing[grid] += 1
        return
    found.agreeing[grid] += same
    partners = same.sum(axis=1) - 1
    if partners.any():
        found.alone[np.array(where)[partners == 0]] += 1
    pairs = [(where[i], where[j]) for i, j in zip(*np.nonzero(~same), strict=True) if i < j]
    if pairs:
        found.splits.append((query, key, pairs))


def _compared(members: Sequence[Verdict], key: str) -> Iterator[tuple[list[Verdict], Array | None]]:
    """The members that answered, and which pairs of them agree; None where all do."""
    group = [v for v in members if v.record.answer.get(key) is not None]
    answers: list[Any] = [v.normalised(key) for v in group]
    if len(group) < 2:
        return
    first = answers[0]
    if all(a.dtype == first.dtype and a.shape == first.shape and a.tobytes() == first.tobytes() for a in answers[1:]):
        yield group, None
        return
    same = np.zeros((len(group), len(group)), bool)
    for shape in {a.shape for a in answers}:
        where = [i for i, a in enumerate(answers) if a.shape == shape]
        stack = np.stack([_wide(answers[i]).reshape(-1) for i in where])
        common = _bound(group[0], key, shape, stack)
        bounds = np.stack([_margin(group[i], key, common) for i in where])
        same[np.ix_(where, where)] = _same(stack, bounds)
    yield group, None if same.all() else same


def _same(stack: Array, bounds: Array) -> Array:
    """Which rows agree with which."""
    with np.errstate(invalid="ignore", over="ignore"):
        one, other = stack[:, None, :], stack[None, :, :]
        near = np.abs(one - other) <= bounds[:, None, :] + bounds[None, :, :]
        near |= (one == other) | (np.isnan(one) & np.isnan(other))
    return np.asarray(near.all(axis=-1))


def _margin(verdict: Verdict, key: str, common: Array) -> Array:
    """The tolerance of one: its own error bar if it has one, else everybody's."""
    radius = verdict.record.margin.get(key, {}).get("radius")
    return common if radius is None or radius.size != common.size else np.asarray(radius, np.float64).reshape(-1)


def _bound(verdict: Verdict, key: str, shape: tuple[int, ...], stack: Array) -> Array:
    """The tolerance by which a question's answers are judged."""
    truth = known = verdict.oracle.truths.get(key)
    if truth is None or truth.shape != shape or "number" not in truth.counts:
        truth = _typical(stack, shape)
    query, own = verdict.question.query, verdict.question.tolerance
    if truth is known:
        allowed = verdict.oracle.allowed(key, query.dtype, own)
    else:
        allowed = tolerance(truth, query.dtype, verdict.oracle.sigma.get(key), own)
    return np.broadcast_to(allowed.bound, shape).reshape(-1)


def _typical(stack: Array, shape: tuple[int, ...]) -> Truth:
    """The median of the answers, in the place of a truth."""
    size = np.abs(stack)
    size = np.where(np.isfinite(size), size, 0.0)
    centre = np.median(size, axis=0).reshape(shape)
    zero = np.zeros(shape)
    return Truth(centre, zero, zero, zero, zero, np.full(shape, "number"), np.full(shape, ""))


def _wide(answer: Array) -> Array:
    return answer.astype(np.complex128 if answer.dtype.kind == "c" else np.float64)
