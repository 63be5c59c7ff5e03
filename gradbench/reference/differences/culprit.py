"""Which entries of a derivative are wrong, by name, once a projection has said that some are.

A function, a derivative of it and the directions of a projection that disagrees enter; entries leave, each with what
it is and what it should be. First inputs are told apart, by directions that move blocks of them; then, for each, the
outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradbench.query import Array
from gradbench.reference.differences.bisection import Gap, find
from gradbench.reference.differences.contraction import Answer
from gradbench.reference.differences.subject import CAUTION, Slope, Subject, entry


@dataclass(frozen=True)
class Wrong:
    """An entry of a derivative that is wrong.

    Attributes:
        index: In the input, counted through all of its arrays.
        name: Of the input entry, such as `x[3, 4]`.
        output: Of the entry of f's answer, counted likewise; None if f answers with one number, or if no single entry
            is to blame: the numbers are then the derivative of the sum of u f.
        given: What the derivative says.
        expected: What finite differences say.
        bound: How far that may be off; infinite if it isn't known.
        place: The name of the derivative, such as `df[2]/dx[3, 4]`.
    """

    index: int
    name: str
    output: int | None
    given: float
    expected: float
    bound: float
    place: str

    def __str__(self) -> str:
        """`df/dx[3]: 0.2, should be 0.5 ± 1e-11`."""
        return f"{self.place}: {self.given:.17g}, should be {self.expected:.17g} ± {self.bound:.1g}"


class Search:
    """A search for wrong entries, through several projections.

    Attributes:
        wrong: What was found.
        stretches: First and last flat index, plus 1, of inputs that are wrong together, while none is so by itself.
        more: Whether something else is wrong.
    """

    def __init__(self, subject: Subject, answer: Answer, names: int) -> None:
        self.subject, self.answer, self.names = subject, answer, names
        self.named: list[int] = []
        self.leaves: dict[int, tuple[float, Slope, float]] = {}
        self.wrong: list[Wrong] = []
        self.stretches: list[tuple[int, int]] = []
        self.more = False

    def through(self, u: Array, v: Array, whole: Gap) -> None:
        """Names wrong entries by one projection, whose gap is known."""
        n = len(v)

        def measure(start: int, stop: int) -> Gap:
            block = slice(start, stop)
            some = v[block].copy()
            some[[j - start for j in self.named if start <= j < stop]] = 0
            given, rounding = self.answer.along(u, some, block) if some.any() else (0.0, 0.0)
            if not math.isfinite(given) and stop - start > 1:
                return Gap(math.nan, 0.0)
            slope = self.subject.along(u, some, block)
            gap = slope.gap(given, rounding)
            if stop - start == 1 and gap.wrong:
                slope = self.subject.along(u, some, block, again=True)
                gap = slope.gap(given, rounding)
            if stop - start == 1 and gap.wrong:
                self.named.append(start)
                self.leaves[start] = given, slope, float(some[0])
            return gap

        if self.named or n == 1:
            whole = measure(0, n)
        if not whole.wrong:
            return
        found = find(n, whole, measure, self.names - len(self.wrong))
        self.more |= found.more
        self.stretches += [found.stretch] if found.stretch else []
        for j in found.entries:
            self.wrong += self._outputs(u, j)[: self.names - len(self.wrong)]

    def _outputs(self, u: Array, j: int) -> list[Wrong]:
        """The wrong entries of the column of a Jacobian."""
        given, slope, moved = self.leaves[j]
        m, name = self.subject.size, self.subject.layout.name(j)
        if m == 1:
            by = moved * float(u[0])
            return [Wrong(j, name, None, given / by, slope.value / by, slope.bound / abs(by), f"df/d{name}")]
        rows = self._rows(u, j)
        self.more |= rows[1]
        if not rows[0]:
            bound = slope.bound / abs(moved)
            return [Wrong(j, name, None, given / moved, slope.value / moved, bound, f"d<u, f>/d{name}")]
        return [
            Wrong(j, name, i, one, value, bound, f"d{entry('f', self.subject.output, i)}/d{name}")
            for i, one, value, bound in rows[0]
        ]

    def _rows(self, u: Array, j: int) -> tuple[list[tuple[int, float, float, float]], bool]:
        """Index, what was given, what should be and its bound, for each wrong entry of a column; whether there are more."""
        column, bounds = self.subject.column(j)
        m, axis = len(column), np.zeros(self.subject.point.size)
        axis[j] = 1.0
        if self.answer.kind == "jvp":
            told = self.answer.asked(axis)
            wrong = ~(
                np.abs(told - column) <= CAUTION * bounds + self.answer.ulps * self.answer.rounding * np.abs(told)
            )
            rows = np.flatnonzero(wrong & np.isfinite(bounds))
            found = [(int(i), float(told[i]), float(column[i]), float(bounds[i])) for i in rows[: self.names]]
            return found, len(rows) > self.names
        known: list[int] = []
        given: dict[int, float] = {}

        def measure(start: int, stop: int) -> Gap:
            some = np.zeros(m)
            # One alone is asked for as it is, so that what is said of it is what was answered.
            some[start:stop] = u[start:stop] if stop - start > 1 else 1.0
            some[known] = 0
            total = float(self.answer.asked(some)[j]) if some.any() else 0.0
            terms, rounding = self.answer.sum((some * np.nan_to_num(column))[start:stop])
            margin = CAUTION * float(np.sum(np.abs(some[start:stop]) * bounds[start:stop], where=some[start:stop] != 0))
            gap = Gap(total - terms, margin + rounding)
            if stop - start == 1 and gap.wrong:
                known.append(start)
                given[start] = total
                return Gap(float(u[start]) * gap.error, abs(float(u[start])) * gap.tolerance)
            return gap

        whole = measure(0, m)
        if not whole.wrong:
            return [], False
        rows_found = find(m, whole, measure, self.names)
        found = [(i, given[i], float(column[i]), float(bounds[i])) for i in rows_found.entries]
        return found, rows_found.more or rows_found.stretch is not None
