"""What is proved of each operator's answer, at one precision: reverse passes, and power series where they can't say.

A `Problem` and a `Query` enter; a `Cells` for each key of the answer leaves. A reverse pass is believed where its balls
are narrow and the function has no edge at the point. Elsewhere each component is looked at along its own line, from
both sides. And wherever both rule sets have an answer, the two must overlap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import flint
import numpy as np

from gradbench.errors import Unsupported
from gradbench.query import Query
from gradbench.record import Status
from gradbench.reference.cells import Cells, Format
from gradbench.reference.lift import Balls, balls, boxed, filled, lift, zeros
from gradbench.reference.problem import Problem, Vector
from gradbench.reference.series import expand
from gradbench.reference.slope import Slope, Slopes, inner, slopes, weighted
from gradbench.reference.sweep import Deadline, Sweep, TimeUp, blame

arb: Final = flint.arb
_NAN: Final = arb("nan")
PROBES: Final = 2
"""Random directions along which the derivatives of several inputs must add up to be believed at a kink."""

Ask = Callable[[Vector], Slopes]
"""Which derivative is meant, along a direction: one for each component of the output that the cells have."""


class RulesDisagree(AssertionError):
    """The reverse pass and the power series enclose different numbers: one of gradbench's own rules is wrong."""

    def __init__(self, operator: str, text: str, reverse: Any, series: Any) -> None:
        self.operator, self.text, self.reverse, self.series = operator, text, reverse, series
        super().__init__(
            f"the two rule sets of the certified reference disagree about the {operator} of\n{text}\n"
            f"reverse pass: {reverse}\npower series: {series}\nthis is a bug of gradbench's; please report it"
        )


class Certificate:
    """Answers to one query.

    Attributes:
        checked: Whether both rule sets were asked the last time, and overlapped.
    """

    def __init__(self, problem: Problem, query: Query, format: Format) -> None:
        self.problem, self.query, self.format = problem, query, format
        self.checked = False
        self.random = np.random.default_rng(0)
        self._checks: list[Callable[[], None]] = []

    def cells(self) -> dict[str, Cells]:
        """The answer at the current precision, by key.

        Raises:
            TimeUp: The deadline passed on the way.
            Unsupported: Neither rule set has what is needed.
        """
        self._checks = []
        found: dict[str, Cells] = getattr(self, f"_{self.query.operator}")()
        return found

    def check(self) -> None:
        """Compares the last answer with that of the other rule set, at the same precision.

        Raises:
            TimeUp: The deadline passed on the way.
            RulesDisagree: The rule sets enclose different numbers.
        """
        for check in self._checks:
            check()

    # First derivatives

    def _value(self) -> dict[str, Cells]:
        found, sweep = self.problem.value()
        cells = Cells.of(found)
        bad = ~_each(lambda ball: ball.is_finite(), found)
        if bad.any():
            cells.status[bad] = str(blame(sweep))

        def check() -> None:
            for ball, other in zip(found.flat, self._terms(self.problem.nothing(), 0, None).flat, strict=False):
                self._overlap(ball, other)

        self._checks.append(check)
        return {"": cells}

    def _gradient(self) -> dict[str, Cells]:
        self._one_number()
        return self._pulled(filled(self.problem.shape, 1))

    def _vjp(self) -> dict[str, Cells]:
        return self._pulled(lift(self.query.cotangent))

    def _pulled(self, cotangent: Balls) -> dict[str, Cells]:
        """The cotangent times the Jacobian."""
        back, sweep = self._reverse(lambda: self.problem.pullback(cotangent), ())
        cells = {name: Cells.of(back[name]) for name in self.problem.inputs}
        self._settle(cells, sweep, lambda v: _boxed(weighted(self._slopes(v, 1, sweep), cotangent)))
        self._checks.append(lambda: self._agree(sweep, back, cotangent))
        return cells

    def _jacobian(self) -> dict[str, Cells]:
        shape = self.problem.shape
        back, sweep = self._reverse(self.problem.jacobian, shape)
        cells = {name: Cells.of(back[name]) for name in self.problem.inputs}
        self._settle(cells, sweep, lambda v: self._slopes(v, 1, sweep))

        def check() -> None:
            weights = self._drawn(shape)
            self._agree(sweep, {name: _contracted(weights, back[name]) for name in back}, weights)

        self._checks.append(check)
        return cells

    def _jvp(self) -> dict[str, Cells]:
        tangents = self._tangents()
        _, sweep = self.problem.value()
        try:
            found = self._slopes(tangents, 1, sweep)
        except Unsupported:
            forward, sweep = self.problem.pushforward(tangents)
            cells = Cells.of(forward)
            self._opened(cells, sweep)
            return {"": cells}
        cells = Cells.of(zeros(self.problem.shape))
        for index, slope in np.ndenumerate(found):
            cells.put(index, slope.status, slope.left, slope.right)
            cells.outer[index] = slope.left.union(slope.right)
        if any(slope.left is not slope.right for slope in found.flat) and sum(self.problem.sizes.values()) > 1:
            self._additive(cells, tangents, found, sweep)

        def check() -> None:
            weights = self._drawn(self.problem.shape)
            back, sweep = self._reverse(lambda: self.problem.pullback(weights), ())
            if not sweep.edges:
                self._overlap(inner(back, tangents), weighted(found, weights).right)

        self._checks.append(check)
        return {"": cells}

    def _additive(self, cells: Cells, tangents: Vector, found: Slopes, sweep: Sweep) -> None:
        """At a kink, the derivative along a sum of directions must be the sum, or there is none."""
        for _ in range(PROBES):
            other = {name: self._drawn(array.shape) for name, array in tangents.items()}
            both = {name: boxed(array + other[name]) for name, array in tangents.items()}
            aside, along = self._slopes(other, 1, sweep), self._slopes(both, 1, sweep)
            for index in np.ndindex(*self.problem.shape):
                expected = found[index] + aside[index]
                if cells.status[index] == Status.CERTIFIED and not _agree(expected, along[index]):
                    cells.put(index, Status.KINK, found[index].left, found[index].right)

    # Second derivatives

    def _hvp(self) -> dict[str, Cells]:
        self._one_number()
        tangents = self._tangents()
        back, sweep = self._reverse(lambda: self.problem.curvature(tangents), ())
        cells = {name: Cells.of(back[name]) for name in self.problem.inputs}
        alone = sum(self.problem.sizes.values()) == 1

        def ask(v: Vector) -> Slopes:
            slope = weighted(self._slopes(v, 2, sweep), filled(self.problem.shape, 1))
            if alone:
                return _boxed(slope.times(inner(v, tangents)))
            return _boxed(slope if slope.status is Status.SINGULAR else replace(slope, status=Status.UNDECIDED))

        self._settle(cells, sweep, ask)

        def check() -> None:
            if not sweep.edges:
                self._overlap(inner(back, tangents), *(2 * term for term in self._terms(tangents, 2, 1).flat))

        self._checks.append(check)
        return cells

    def _hessian(self) -> dict[str, Cells]:
        self._one_number()
        shapes = {name: self.problem.specs[name].shape for name in self.problem.inputs}
        try:
            back, sweep = self.problem.hessian()
        except Unsupported:
            back = {f"{a},{b}": filled((*shapes[a], *shapes[b]), _NAN) for a in shapes for b in shapes}
            _, sweep = self.problem.value()
        cells = {key: Cells.of(array) for key, array in back.items()}
        opened = {key: self._opened(one, sweep) for key, one in cells.items()}
        slope = _Memory(lambda *units: self._slopes(self._sum(units), 2, sweep).flat[0])
        for (a, i), (b, j) in itertools.product(self.problem.units(), repeat=2):
            key, index = f"{a},{b}", (*i, *j)
            if opened[key][index]:
                one = self._timed(lambda a=a, b=b, i=i, j=j: _mixed(slope, (a, i), (b, j)))
                cells[key].put(index, one.status, one.left, one.right)

        def check() -> None:
            if not sweep.edges:
                v = self._direction()
                rows = {a: sum((_applied(back[f"{a},{b}"], v[b]) for b in shapes), zeros(shapes[a])) for a in shapes}
                self._overlap(inner(rows, v), *(2 * term for term in self._terms(v, 2, 1).flat))

        self._checks.append(check)
        return cells

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
            part = self._slopes(direction, order, sweep)
            part = np.frompyfunc(lambda slope, weight=weight: slope.times(weight), 1, 1)(part)
            found = part if found is None else found + part
        cells = Cells.of(zeros(self.problem.shape))
        for index, slope in np.ndenumerate(np.asarray(found, object)):
            sides = (slope.left, slope.right) if len(orders) == 1 or slope.status is Status.CERTIFIED else (_NAN, _NAN)
            cells.put(index, slope.status, *sides)
            cells.outer[index] = sides[0].union(sides[1])

        def check() -> None:
            weights = self._drawn(self.problem.shape)
            other = None if sweep.edges else self.problem.nested(orders, weights)
            if other is not None:
                self._overlap(other, weighted(np.asarray(found, object), weights).right)

        self._checks.append(check)
        return {"": cells}

    # What several of them need

    def _one_number(self) -> None:
        if math.prod(self.problem.shape) != 1:
            raise Unsupported(f"the {self.query.operator} of an output of shape {list(self.problem.shape)}")

    def _tangents(self) -> Vector:
        given: Mapping[str, Any] = self.query.tangents or {}
        return {name: lift(given[name]) for name in self.problem.inputs}

    def _reverse(self, pull: Callable[[], tuple[Vector, Sweep]], lead: tuple[int, ...]) -> tuple[Vector, Sweep]:
        """A reverse pass; NaN everywhere if a primitive has no reverse rule, and then the series are asked."""
        try:
            return pull()
        except Unsupported:
            nothing = {name: filled((*lead, *self.problem.specs[name].shape), _NAN) for name in self.problem.inputs}
            return nothing, self.problem.value()[1]

    def _slopes(self, direction: Vector, order: int, sweep: Sweep) -> Slopes:
        """By power series. The function is known not to jump unless one of its own nodes stood at an edge."""
        jumps = any(place < len(self.problem.program.nodes) for place in sweep.edges.values())
        return slopes(self.problem, direction, order, jumps=jumps)

    def _open(self, cells: Cells, sweep: Sweep) -> Any:
        """Which components the reverse pass doesn't settle."""
        if sweep.edges:
            return np.ones(cells.balls.shape, bool)
        finite = _each(lambda ball: ball.is_finite(), cells.balls)
        return ~finite | ~_each(self.format.tight, cells.balls) if sweep.hulls else ~finite

    def _opened(self, cells: Cells, sweep: Sweep) -> Any:
        """The same; nothing is claimed of them any more."""
        opened = self._open(cells, sweep)
        self._leave(cells, opened)
        if sweep.edges:
            cells.outer[...] = _NAN
        return opened

    def _leave(self, cells: Cells, opened: Any) -> None:
        cells.status[opened] = str(Status.UNDECIDED)
        cells.balls[opened] = _NAN

    def _settle(self, cells: dict[str, Cells], sweep: Sweep, ask: Ask) -> None:
        """Asks the series about each component of the inputs for which the reverse pass has left something open.

        Half of the time left is for that; what isn't done by then stays undecided.
        """
        opened = {name: self._opened(one, sweep) for name, one in cells.items()}
        if not any(map(np.any, opened.values())):
            return
        limit = Deadline.after(self.problem.deadline.left / 2)
        asked: list[tuple[str, tuple[int, ...]]] = []
        for name, index in self.problem.units():
            column = opened[name][(..., *index)]
            if not np.any(column) or limit.left < 0:
                continue
            found = self._timed(lambda name=name, index=index: ask(self.problem.unit(name, index)))
            for lead in np.ndindex(*np.shape(column)):
                if column[lead]:
                    slope = found if isinstance(found, Slope) else found[lead]
                    cells[name].put((*lead, *index), slope.status, slope.left, slope.right)
            asked.append((name, index))
        if len(asked) > 1:
            self._probe(cells, asked, ask)

    def _timed(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except TimeUp:
            return Slope(Status.UNDECIDED)

    def _probe(self, cells: dict[str, Cells], asked: list[tuple[str, tuple[int, ...]]], ask: Ask) -> None:
        """Along random directions the components must add up: a function may have partial derivatives and no slope."""
        for _ in range(PROBES):
            v = self.problem.nothing()
            for name, index in asked:
                v[name][index] = self._drawn(())[()]
            found = self._timed(lambda v=v: ask(v))
            for lead in np.ndindex(*cells[asked[0][0]].balls.shape[: _lead(cells, self.problem)]):
                places = [(cells[name], (*lead, *index)) for name, index in asked]
                if any(one.status[place] != Status.CERTIFIED for one, place in places):
                    continue
                total = sum(
                    (one.balls[p] * v[name][index] for (one, p), (name, index) in zip(places, asked, strict=True)),
                    arb(0),
                )
                slope = found if isinstance(found, Slope) else found[lead]
                if not _agree(Slope.of(total, total), slope):
                    for one, place in places:
                        status = Status.KINK if slope.has_sides else slope.status
                        one.put(place, status, one.balls[place], one.balls[place])

    # Both rule sets

    def _agree(self, sweep: Sweep, rows: Vector, weights: Balls) -> None:
        """The reverse pass's answer along a random direction against the series'; at a kink, from the right."""
        if not sweep.edges:
            v = self._direction()
            terms = self._terms(v, 1, 1)
            if terms.size:
                self._overlap(
                    inner(rows, v), sum((t * w for t, w in zip(terms.flat, weights.flat, strict=True)), arb(0))
                )

    def _terms(self, direction: Vector, order: int, side: int | None) -> Balls:
        """The coefficients of one order, for each component of the output; none if they are not to be had."""
        try:
            found = expand(self.problem.program, self.problem.values, direction, order, side)
        except Unsupported:
            return np.empty(0, object)
        if any(entry.fault for entry in found.flat):
            return np.empty(0, object)
        return balls([entry.terms[order] for entry in found.flat], found.shape)

    def _overlap(self, reverse: Any, *series: Any) -> None:
        """Compares two balls of one number, if there are two.

        Raises:
            RulesDisagree: They don't overlap.
        """
        for one in series:
            if reverse.is_finite() and one.is_finite():
                if not reverse.overlaps(one):
                    raise RulesDisagree(str(self.query.operator), self.problem.program.text, reverse, one)
                self.checked = True

    # Chance

    def _drawn(self, shape: tuple[int, ...]) -> Balls:
        """Signs times numbers from 0.5 to 1.5, which hide neither single errors nor pairs that cancel."""
        sizes = self.random.integers(64, 192, shape) / 128
        return lift(np.asarray(np.where(self.random.random(shape) < 0.5, -sizes, sizes)))

    def _direction(self) -> Vector:
        return {name: self._drawn(self.problem.specs[name].shape) for name in self.problem.inputs}

    def _sum(self, units: tuple[tuple[str, tuple[int, ...]], ...]) -> Vector:
        v = self.problem.nothing()
        for name, index in units:
            v[name][index] = v[name][index] + arb(1)
        return v


class _Memory(dict[Any, Any]):
    """What a function answered, by its arguments."""

    def __init__(self, f: Callable[..., Any]) -> None:
        super().__init__()
        self.f = f

    def __missing__(self, key: Any) -> Any:
        self[key] = self.f(*key)
        return self[key]


def _mixed(slope: _Memory, a: Any, b: Any) -> Slope:
    """A second derivative from those along lines; that by two inputs by polarisation, which proves no derivative."""
    if a == b:
        found: Slope = slope[(a,)]
        return found
    both = slope[(min(a, b), max(a, b))]
    minus = arb(-1)
    found = (both + slope[(a,)].times(minus) + slope[(b,)].times(minus)).times(arb(0.5))
    return replace(found, status=Status.UNDECIDED) if found.status is Status.CERTIFIED else found


def _agree(x: Slope, y: Slope) -> bool:
    """Whether two derivatives may be the same number, on both sides."""
    if not (x.has_sides and y.has_sides):
        return False
    return bool(x.left.overlaps(y.left) and x.right.overlaps(y.right) and x.left.overlaps(y.right))


def _boxed(slope: Slope) -> Slopes:
    box = np.empty((), object)
    box[()] = slope
    return box


def _lead(cells: dict[str, Cells], problem: Problem) -> int:
    """How many axes of the cells belong to the output."""
    name = problem.inputs[0]
    return cells[name].balls.ndim - len(problem.specs[name].shape)


def _each(f: Callable[[Any], Any], array: Balls) -> Any:
    return np.asarray(np.frompyfunc(f, 1, 1)(array)).astype(bool)


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


def interpolation(orders: tuple[int, ...]) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Weights and directions by which derivatives along lines add up to a mixed one of these orders.

    The d-th derivative along j is a form of degree d in j, whose coefficients are the mixed derivatives; it is known
    once it is known at all whole j of sum d: Griewank, Utke and Walther (2000), Evaluating higher derivative tensors by
    forward propagation of univariate Taylor series, section 3. The weights are exact.
    """
    degree, count = sum(orders), len(orders)
    points = [j for j in itertools.product(range(degree + 1), repeat=count) if sum(j) == degree]
    # d-th derivative along j = sum over i of d!/i! (product of j^i) times the derivative of orders i
    table = [[flint.fmpq(_form(i, j, degree)) for j in points] for i in points]
    wanted = [flint.fmpq(int(i == orders)) for i in points]
    size = len(points)
    weights = flint.fmpq_mat(size, size, [x for row in table for x in row]).solve(flint.fmpq_mat(size, 1, wanted))
    for row, point in enumerate(points):
        if weights[row, 0]:
            yield arb(weights[row, 0]), point


def _form(i: tuple[int, ...], j: tuple[int, ...], degree: int) -> int:
    return (
        math.factorial(degree) // math.prod(map(math.factorial, i)) * math.prod(a**b for a, b in zip(j, i, strict=True))
    )
