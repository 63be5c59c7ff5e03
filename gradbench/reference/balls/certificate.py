"""What is proved of each operator's answer, at one precision: reverse passes, and power series where they can't say.

A `Problem` and a `Query` enter; a `Cells` for each key of the answer leaves. A reverse pass is believed where its balls
are narrow and the function has no edge at the point. Elsewhere each component is looked at along its own line, from
both sides. And wherever both rule sets have an answer, the two must overlap.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import flint
import numpy as np

from gradbench.errors import Unsupported
from gradbench.record import Status
from gradbench.reference.balls.cells import Cells
from gradbench.reference.balls.interpolation import interpolation
from gradbench.reference.balls.lift import Balls, boxed, filled, finite, lift, zeros
from gradbench.reference.balls.onesided import Slope, Slopes, inner, weighted
from gradbench.reference.balls.problem import Vector
from gradbench.reference.balls.settlement import PROBES, Settlement, may_be_one
from gradbench.reference.balls.sweep import Sweep, blame

arb: Final = flint.arb
_NAN: Final = arb("nan")


class Certificate(Settlement):
    """The answers to one query, operator by operator."""

    def cells(self) -> dict[str, Cells]:
        """The answer at the current precision, by key.

        Raises:
            TimeUp: The deadline passed on the way.
            Unsupported: Neither rule set has what is needed.
        """
        self.checks = []
        found: dict[str, Cells] = getattr(self, f"_{self.query.operator}")()
        return found

    # First derivatives

    def _value(self) -> dict[str, Cells]:
        found, sweep = self.problem.value()
        cells = Cells(found)
        bad = ~finite(found)
        if bad.any():
            cells.status[bad] = str(blame(sweep, len(sweep.program.nodes)))

        def check() -> None:
            for ball, other in zip(found.flat, self.value().flat, strict=False):
                self.overlap(ball, other)

        self.checks.append(check)
        return {"": cells}

    def _gradient(self) -> dict[str, Cells]:
        self.one_number()
        return self._pulled(self.problem.passes.one, ones=True)

    def _vjp(self) -> dict[str, Cells]:
        return self._pulled(lift(self.query.cotangent))

    def _pulled(self, cotangent: Balls, *, ones: bool = False) -> dict[str, Cells]:
        """The cotangent times the Jacobian."""
        back, sweep = self.reverse(lambda: self.problem.pullback(cotangent, ones=ones), ())
        cells = {name: Cells(back[name]) for name in self.problem.inputs}
        self.settle(cells, sweep, lambda v: _boxed(weighted(self.slopes(v, 1, sweep), cotangent)), cotangent)
        self.checks.append(lambda: self.agree(sweep, back, None if ones else cotangent))
        return cells

    def _jacobian(self) -> dict[str, Cells]:
        shape = self.problem.shape
        back, sweep = self.reverse(self.problem.jacobian, shape)
        cells = {name: Cells(back[name]) for name in self.problem.inputs}
        self.settle(cells, sweep, lambda v: self.slopes(v, 1, sweep))

        def check() -> None:
            weights = self.drawn(shape)
            self.agree(sweep, {name: _contracted(weights, back[name]) for name in back}, weights)

        self.checks.append(check)
        return cells

    def _jvp(self) -> dict[str, Cells]:
        tangents = self.tangents()
        weights = self.drawn(self.problem.shape)
        back, sweep = self.reverse(lambda: self.problem.pullback(weights), ())
        try:
            found = self.slopes(tangents, 1, sweep)
        except Unsupported:
            if self.alone:
                raise
            forward, sweep = self.problem.pushforward(tangents)
            cells = Cells(forward)
            self.opened(cells, sweep)
            return {"": cells}
        cells = Cells(zeros(self.problem.shape))
        for index, slope in np.ndenumerate(found):
            cells.put(index, slope.status, slope.left, slope.right)
            cells.outer[index] = slope.left.union(slope.right)
        smooth = not (sweep.edges or sweep.hulls) and all(finite(row).all() for row in back.values())
        if not smooth and sum(self.problem.sizes.values()) > 1:
            self._additive(cells, tangents, found, sweep)

        def check() -> None:
            if not sweep.edges:
                self.overlap(inner(back, tangents), weighted(found, weights).right)

        self.checks.append(check)
        return {"": cells}

    def _additive(self, cells: Cells, tangents: Vector, found: Slopes, sweep: Sweep) -> None:
        """At a kink, the derivative along a sum of directions must be the sum, or there is none."""
        for _ in range(PROBES):
            other = {name: self.drawn(array.shape) for name, array in tangents.items()}
            both = {name: boxed(array + other[name]) for name, array in tangents.items()}
            aside, along = self.slopes(other, 1, sweep), self.slopes(both, 1, sweep)
            for index in np.ndindex(*self.problem.shape):
                expected = found[index] + aside[index]
                if cells.status[index] == Status.CERTIFIED and not may_be_one(expected, along[index]):
                    cells.put(index, Status.KINK, found[index].left, found[index].right)

    # Second derivatives

    def _hvp(self) -> dict[str, Cells]:
        self.one_number()
        tangents = self.tangents()
        back, sweep = self.reverse(lambda: self.problem.curvature(tangents), ())
        cells = {name: Cells(back[name]) for name in self.problem.inputs}
        slope = self._along_lines(sweep)

        def ask(v: Vector) -> Slopes:
            """One row of the Hessian, or the sum of some, times the tangents."""
            found = Slope.of(arb(0), arb(0), analytic=True)
            for a, b in itertools.product(self.problem.units(), repeat=2):
                weight = v[a[0]][a[1]] * tangents[b[0]][b[1]]
                if not weight.is_zero():
                    found = found + _mixed(slope, a, b, sweep).times(weight)
            return _boxed(found)

        self.settle(cells, sweep, ask, self.problem.passes.one)

        def check() -> None:
            if not sweep.edges:
                self.overlap(inner(back, tangents), *(2 * term for term in self.terms(tangents, 2, 1).flat))

        self.checks.append(check)
        return cells

    def _hessian(self) -> dict[str, Cells]:
        self.one_number()
        shapes = {name: self.problem.specs[name].shape for name in self.problem.inputs}
        try:
            back, sweep = self.problem.hessian()
        except Unsupported:
            back = {f"{a},{b}": filled((*shapes[a], *shapes[b]), _NAN) for a in shapes for b in shapes}
            _, sweep = self.problem.value()
        cells = {key: Cells(array) for key, array in back.items()}
        loose = self.problem.passes.unconnected
        opened = {
            key: self.opened(
                one, sweep, filled(self.problem.shape, 1), connected=not loose.intersection(key.split(","))
            )
            for key, one in cells.items()
        }
        slope = self._along_lines(sweep)
        for (a, i), (b, j) in itertools.product(self.problem.units(), repeat=2):
            key, index = f"{a},{b}", (*i, *j)
            if opened[key][index]:
                one = self.asked(functools.partial(_mixed, slope, (a, i), (b, j), sweep))
                cells[key].put(index, one.status, one.left, one.right)

        def check() -> None:
            if not sweep.edges:
                v = self.direction()
                rows = {a: sum((_applied(back[f"{a},{b}"], v[b]) for b in shapes), zeros(shapes[a])) for a in shapes}
                self.overlap(inner(rows, v), *(2 * term for term in self.terms(v, 2, 1).flat))

        self.checks.append(check)
        return cells

    def _along_lines(self, sweep: Sweep) -> _Memory:
        """Second derivatives along one component, or along the sum of two, each found once."""
        return _Memory(lambda *units: self.slopes(self.sum_of(units), 2, sweep).flat[0])

    # Any order

    def _partial(self) -> dict[str, Cells]:
        orders = {name: count for name, count in (self.query.orders or {}).items() if count}
        if not orders:
            return self._value()
        order = sum(orders.values())
        _, sweep = self.problem.value()
        found: Slopes = None
        for weight, steps in interpolation(tuple(orders.values())):
            direction = self.problem.nothing()
            for name, step in zip(orders, steps, strict=True):
                direction[name] = lift(step)
            part = np.frompyfunc(Slope.times, 2, 1)(self.slopes(direction, order, sweep), weight)
            found = part if found is None else found + part
        cells = Cells(zeros(self.problem.shape))
        for index, slope in np.ndenumerate(np.asarray(found, object)):
            sides = (slope.left, slope.right) if len(orders) == 1 or slope.status is Status.CERTIFIED else (_NAN, _NAN)
            cells.put(index, slope.status, *sides)
            cells.outer[index] = sides[0].union(sides[1])

        def check() -> None:
            weights = self.drawn(self.problem.shape)
            other = None if sweep.edges or not self.is_light else self.problem.nested(orders, weights)
            if other is not None:
                self.overlap(other, weighted(np.asarray(found, object), weights).right)

        self.checks.append(check)
        return {"": cells}


class _Memory(dict[Any, Any]):
    """What a function answered, by its arguments."""

    def __init__(self, f: Callable[..., Any]) -> None:
        super().__init__()
        self.f = f

    def __missing__(self, key: Any) -> Any:
        self[key] = self.f(*key)
        return self[key]


def _mixed(slope: _Memory, a: Any, b: Any, sweep: Sweep) -> Slope:
    """A second derivative from those along lines. By two inputs, by polarisation: that proves one of an analytic function."""
    if a == b:
        found: Slope = slope[(a,)]
        return found
    both = slope[(min(a, b), max(a, b))]
    minus = arb(-1)
    found = (both + slope[(a,)].times(minus) + slope[(b,)].times(minus)).times(arb(0.5))
    if found.status is not Status.CERTIFIED or (found.analytic and not sweep.edges and not sweep.hulls):
        return found
    return replace(found, status=Status.UNDECIDED)


def _boxed(slope: Slope) -> Slopes:
    box = np.empty((), object)
    box[()] = slope
    return box


def _contracted(weights: Balls, array: Balls) -> Balls:
    """The axes of the weights summed over, which come first in the array."""
    shape = array.shape[weights.ndim :]
    flat = weights.reshape(-1, 1) * array.reshape(weights.size, math.prod(shape))
    return np.add.reduce(flat, axis=0).reshape(shape) if weights.size else zeros(shape)


def _applied(array: Balls, v: Balls) -> Balls:
    """The axes of v summed over, which come last in the array."""
    shape = array.shape[: array.ndim - v.ndim]
    flat = array.reshape(math.prod(shape), v.size) * v.reshape(1, -1)
    return np.add.reduce(flat, axis=1).reshape(shape) if v.size else zeros(shape)
