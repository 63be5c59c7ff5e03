"""One-sided derivatives along a line, by power series: what is true where a reverse pass can't say.

A `Problem` and a direction enter; for each component of the output what the k-th derivative of t ↦ f(x + t v) at 0 is,
from both sides. Whether there is a derivative at all is decided here: from a ball that may hold a corner never, and
across a jump never. This is the second of the two rule sets of the certified reference.
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass
from typing import Any, Final

import flint
import numpy as np

from gradbench.record import Status
from gradbench.reference.balls.edge import same
from gradbench.reference.balls.lift import Balls, boxed, filled, lift
from gradbench.reference.balls.problem import Problem, Vector
from gradbench.reference.power_series.series import expand
from gradbench.reference.power_series.series_ring import Fault, Kink, Singular, Undecided

arb: Final = flint.arb
_NAN: Final = arb("nan")
Slopes = Any
"""An array of dtype object whose entries are `Slope`."""


@dataclass(frozen=True)
class Slope:
    """A derivative along a line, for t from below and from above.

    Attributes:
        status: `certified` where both sides are one, `kink` where they differ, else why there is none.
        left, right: Balls; NaN where there is none. Finite ones of an `undecided` slope say that more digits won't
            decide it.
        analytic: Whether one series holds on both sides, and nothing on the way was at a kink.
    """

    status: Status
    left: Any = _NAN
    right: Any = _NAN
    analytic: bool = False

    @classmethod
    def of(cls, left: Any, right: Any, *, analytic: bool = False) -> Slope:
        """What two sides are together."""
        if not (left.is_finite() and right.is_finite()):
            return cls(Status.UNDECIDED)
        if same(left, right):
            return cls(Status.CERTIFIED, left, left, analytic)
        return cls(Status.CERTIFIED if left.overlaps(right) else Status.KINK, left, right, analytic)

    def __add__(self, other: Slope) -> Slope:
        analytic = self.analytic and other.analytic
        if self.has_sides and other.has_sides:
            left = self.left + other.left
            right = left if self.left is self.right and other.left is other.right else self.right + other.right
            return Slope.of(left, right, analytic=analytic)
        return self if _RANK[self.status] >= _RANK[other.status] else other

    def times(self, factor: Any) -> Slope:
        """The derivative of a multiple of the function; of none of it, 0."""
        if factor.is_zero():
            return Slope.of(factor, factor, analytic=True)
        if not self.has_sides:
            return self
        left = self.left * factor
        return Slope.of(left, left if self.left is self.right else self.right * factor, analytic=self.analytic)

    @property
    def has_sides(self) -> bool:
        """Whether there are one-sided derivatives."""
        return self.status in {Status.CERTIFIED, Status.KINK}


_RANK: Final = {Status.CERTIFIED: 0, Status.KINK: 0, Status.SINGULAR: 1, Status.UNDECIDED: 2}


def slopes(problem: Problem, direction: Vector, order: int = 1, *, jumps: bool = True) -> Slopes:
    """The derivative of an order along a direction, for each component of the output.

    Args:
        problem: The function and the point.
        direction: An array for each input.
        order: 1 or more.
        jumps: Whether the function may jump at the point. Otherwise it is continuous, and only its slopes may differ.

    Raises:
        TimeUp: The deadline passed on the way.
        Unsupported: The series have no rule for a primitive.
    """
    line = _Line(problem, direction)
    found = np.empty(problem.shape, object)
    for index in np.ndindex(*problem.shape):
        found[index] = line.slope(index, order, jumps)
    return found


_FURTHER: Final = 4
_STEPS: Final = (100, 200)
_EXACT: Final = 1_536
"""Bits for difference quotients: a point and a step together must fit, and what cancels."""


class _Line:
    """The expansions along one line, each computed when it is first asked for."""

    def __init__(self, problem: Problem, direction: Vector) -> None:
        self.problem, self.direction = problem, direction
        self.expansion = functools.cache(self._expansion)
        self.value = functools.cache(lambda: problem.value()[0])
        self.quotient = functools.cache(self._quotient)

    def _expansion(self, order: int, side: int | None) -> Any:
        """To more terms than are asked for where a sign hides behind zeros, as of cos(x) - 1 at 0."""
        self.problem.deadline.check()
        f, x = self.problem.program, self.problem.values
        found = expand(f, x, self.direction, order, side)
        if any(isinstance(entry.fault, Undecided) for entry in found.flat):
            longer = expand(f, x, self.direction, order + _FURTHER, side)
            for index, entry in np.ndenumerate(found):
                found[index] = longer[index] if isinstance(entry.fault, Undecided) else entry
        return found

    def slope(self, index: tuple[int, ...], order: int, jumps: bool) -> Slope:
        """One component's."""
        whole = self.expansion(order, None)[index]
        if not whole.fault:
            found = _derivative(whole, order)
            return Slope.of(found, found, analytic=True)
        if not isinstance(whole.fault, Kink):
            return Slope(self._why(whole.fault, index, order))
        left, right = (self.expansion(order, side)[index] for side in (-1, 1))
        for one in (left, right):
            if one.fault:
                return Slope(self._why(one.fault, index, order))
        for k in range(order):
            status = self._below(index, k, left, right, jumps)
            if status is not None:
                return Slope(status)
        return Slope.of(_derivative(left, order), _derivative(right, order))

    def _why(self, fault: Fault, index: tuple[int, ...], order: int) -> Status:
        """What a fault means for the function. It may have struck a step whose infinite slope the next ones undo."""
        if not isinstance(fault, Singular):
            return Status.UNDECIDED
        return Status.UNDECIDED if self._converges(index, order) else Status.SINGULAR

    def _converges(self, index: tuple[int, ...], order: int) -> bool:
        """Whether difference quotients with ever smaller steps settle on both sides, as they would at a derivative."""
        for side in (-1, 1):
            coarse, fine = (self.quotient(side, step, order)[index] for step in _STEPS)
            if not (coarse.is_finite() and fine.is_finite() and abs(fine - coarse) < (1 + abs(fine)) / 2**20):
                return False
        return True

    def _quotient(self, side: int, step: int, order: int) -> Balls:
        """The difference quotient with steps of side times 2^-step."""
        with flint.ctx.workprec(_EXACT):
            length = arb(side) / arb(2) ** step
            points = [self.problem.moved(self.direction, length * k).value()[0] for k in range(order + 1)]
            signs = [arb(math.comb(order, k) * (-1) ** (order - k)) for k in range(order + 1)]
            return boxed(
                sum((p * s for p, s in zip(points, signs, strict=True)), filled(self.problem.shape, 0)) / length**order
            )

    def _below(self, index: tuple[int, ...], k: int, left: Any, right: Any, jumps: bool) -> Status | None:
        """Why a derivative of lower order is not the same on both sides; None if it is.

        Balls that overlap don't prove it: numbers may be equal that only look so.
        """
        a, b = left.terms[k], right.terms[k]
        known = [a, b, self.value()[index]] if k == 0 else [a, b]
        if not all(one.overlaps(other) for one in known for other in known):
            return Status.SINGULAR
        if all(same(known[0], other) for other in known) or (k == 0 and not jumps):
            return None
        if k and not self.expansion(k, None)[index].fault:
            return None
        return Status.UNDECIDED


def _derivative(series: Any, order: int) -> Any:
    return series.terms[order] * math.factorial(order)


def weighted(slopes: Slopes, weights: Balls) -> Slope:
    """The derivative of the sum of the components, each times its weight."""
    found = Slope.of(arb(0), arb(0), analytic=True)
    for slope, weight in zip(slopes.flat, weights.flat, strict=True):
        found = found + slope.times(weight)
    return found


def inner(x: Vector, y: Vector) -> Any:
    """The sum of the products of all components, as a ball."""
    parts = [np.add.reduce(lift(x[name]).ravel() * lift(y[name]).ravel()) for name in x if y[name].size]
    return functools.reduce(operator.add, parts) if parts else arb(0)
