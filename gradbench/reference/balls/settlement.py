"""`Settlement`: how two rule sets come to one answer, whatever the derivative.

Enclosures of a reverse pass enter as `Cells`. What they leave open is asked of the power series, component by component
and from both sides; what both know must overlap.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final

import flint
import numpy as np

from gradbench.errors import Unsupported
from gradbench.query import Query
from gradbench.record import Status
from gradbench.reference.balls.cells import Cells, Format
from gradbench.reference.balls.edge import BOUNDS
from gradbench.reference.balls.lift import Balls, all_finite, balls, filled, finite, lift
from gradbench.reference.balls.onesided import Slope, Slopes, inner, slopes
from gradbench.reference.balls.problem import Problem, Vector
from gradbench.reference.balls.sweep import Deadline, Sweep, TimeUp, blame
from gradbench.reference.power_series.pair import Pair
from gradbench.reference.power_series.series import expand
from gradbench.reference.power_series.series_ring import Fault, Undecided

arb: Final = flint.arb
_NAN: Final = arb("nan")
PROBES: Final = 6
"""Random directions along which the derivatives of several inputs must add up to be believed at a kink."""

LIGHT: Final = 100_000
"""Steps of a function up to which power series check an answer."""
_SMALL: Final = 5_000
"""Steps of a function for which the series may be asked again."""
_FEW: Final = 24
"""Binary digits of a ball that may yet be a hull."""

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


class Settlement:
    """What the answers to one query have in common.

    Attributes:
        checked: Whether both rule sets had an answer the last time, and overlapped.
        checks: The comparisons that are to be made of the last answer.
        alone: Whether the series have to answer alone, as a primitive has no reverse rule.
    """

    def __init__(self, problem: Problem, query: Query, format: Format) -> None:
        self.problem, self.query, self.format = problem, query, format
        self.checked = False
        self.checks: list[Callable[[], None]] = []
        self.alone = False
        self._drawn = 0

    @property
    def is_light(self) -> bool:
        """Whether a check may take the time of a Python object for each step."""
        return bool(self.problem.passes.work <= LIGHT)

    def check(self) -> None:
        """Compares the last answer with that of the other rule set, at the same precision.

        Raises:
            TimeUp: The deadline passed on the way.
            RulesDisagree: The rule sets enclose different numbers.
        """
        for check in self.checks:
            check()

    def one_number(self) -> None:
        """Makes sure that the output is one number.

        Raises:
            Unsupported: It isn't.
        """
        if math.prod(self.problem.shape) != 1:
            raise Unsupported(f"the {self.query.operator} of an output of shape {list(self.problem.shape)}")

    def tangents(self) -> Vector:
        """Those of the query."""
        given: Mapping[str, Any] = self.query.tangents or {}
        return {name: lift(given[name]) for name in self.problem.inputs}

    def reverse(self, pull: Callable[[], tuple[Vector, Sweep]], lead: tuple[int, ...]) -> tuple[Vector, Sweep]:
        """A reverse pass; NaN everywhere if a primitive has no reverse rule, and then the series are asked."""
        self.alone = False
        try:
            return pull()
        except Unsupported:
            self.alone = True
            nothing = {name: filled((*lead, *self.problem.specs[name].shape), _NAN) for name in self.problem.inputs}
            return nothing, self.problem.value()[1]

    def slopes(self, direction: Vector, order: int, sweep: Sweep) -> Slopes:
        """By power series. The function is known not to jump unless one of its own nodes stood at an edge."""
        own = {name for name, place in sweep.edges.items() if place < len(self.problem.program.nodes)}
        jumps = not own <= BOUNDS.keys()
        return slopes(self.problem, direction, order, jumps=jumps)

    def _open(self, cells: Cells, sweep: Sweep, *, connected: bool) -> Any:
        """Which components the reverse pass doesn't settle."""
        if sweep.edges:
            return np.full(cells.balls.shape, connected)
        if sweep.hulls:
            # A hull is wide whatever the precision; a ball of a quarter of its digits or more is still on its way.
            enough = max(_FEW, flint.ctx.prec // 4)
            return each(lambda ball: not (self.format.tight(ball) or ball.rel_accuracy_bits() >= enough), cells.balls)
        return ~finite(cells.balls)

    def opened(self, cells: Cells, sweep: Sweep, weights: Balls = None, *, connected: bool = True) -> Any:
        """Which components are for the series to settle; nothing is claimed of them any more.

        Where the function itself is not defined, it has no derivative either, whatever a rule says: 1 / x is finite
        at -1, where log isn't.

        Args:
            cells: Of the shape of an input, or of the output and an input.
            sweep: That found them.
            weights: How much each component of the output counts, if cells have the shape of an input alone.
            connected: Whether the output depends on that input at all.
        """
        opened = self._open(cells, sweep, connected=connected)
        output = self.problem.output(sweep)
        lost = ~finite(output)
        if weights is not None:
            lost = np.asarray(lost.any() and bool(np.any(lost & each(lambda ball: not ball.is_zero(), weights))))
        if sweep.edges:
            cells.outer[...] = _NAN
        if not (opened.any() or lost.any()):
            return opened
        cells.status[opened] = str(Status.UNDECIDED)
        cells.lose(opened | _spread(lost, opened))
        if lost.any():
            cells.status[_spread(lost, opened)] = str(blame(sweep, len(self.problem.program.nodes)))
        return opened & ~_spread(lost, opened)

    def settle(self, cells: dict[str, Cells], sweep: Sweep, ask: Ask, weights: Balls = None) -> None:
        """Asks the series about each component of the inputs for which the reverse pass has left something open.

        Half of the time left is for that; what isn't done by then stays undecided.
        """
        smooth = not (sweep.edges or sweep.hulls) and all(one.is_finite for one in cells.values())
        if smooth and (sweep.route.is_sure or all_finite(self.problem.output(sweep))):
            return
        loose = self.problem.passes.unconnected
        opened = {name: self.opened(one, sweep, weights, connected=name not in loose) for name, one in cells.items()}
        if not any(map(np.any, opened.values())):
            return
        limit = Deadline.after(self.problem.deadline.left / 2)
        asked: list[tuple[str, tuple[int, ...]]] = []
        for name, index in self.problem.units():
            column = opened[name][(..., *index)]
            if not np.any(column) or limit.left < 0:
                continue
            found = self.asked(functools.partial(ask, self.problem.unit(name, index)))
            for lead in np.ndindex(*np.shape(column)):
                if column[lead]:
                    slope = found if isinstance(found, Slope) else found[lead]
                    cells[name].put((*lead, *index), slope.status, slope.left, slope.right)
            asked.append((name, index))
        if len(asked) > 1:
            self._probe(cells, asked, ask)

    def asked(self, ask: Callable[[], Any]) -> Any:
        """What the series say; one undecided slope for all if there is no time, or if they have no rule.

        Raises:
            Unsupported: The reverse pass has none either.
        """
        try:
            return ask()
        except TimeUp:
            return Slope(Status.UNDECIDED)
        except Unsupported:
            if self.alone:
                raise
            return Slope(Status.UNDECIDED, arb(0), arb(0))

    def _probe(self, cells: dict[str, Cells], asked: list[tuple[str, tuple[int, ...]]], ask: Ask) -> None:
        """Along random directions the components must add up: a function may have partial derivatives and no slope."""
        for _ in range(PROBES):
            v = self.problem.nothing()
            for name, index in asked:
                v[name][index] = self.drawn(())[()]
            found = self.asked(functools.partial(ask, v))
            for lead in np.ndindex(*cells[asked[0][0]].balls.shape[: _lead(cells, self.problem)]):
                places = [(cells[name], (*lead, *index)) for name, index in asked]
                if any(one.status[place] != Status.CERTIFIED for one, place in places):
                    continue
                total = sum(
                    (one.balls[p] * v[name][index] for (one, p), (name, index) in zip(places, asked, strict=True)),
                    arb(0),
                )
                slope = found if isinstance(found, Slope) else found[lead]
                if not may_be_one(Slope.of(total, total), slope):
                    for one, place in places:
                        status = Status.KINK if slope.has_sides else slope.status
                        one.put(place, status, one.balls[place], one.balls[place])

    # Both rule sets

    def agree(self, sweep: Sweep, rows: Vector, weights: Balls | None) -> None:
        """The reverse pass's answer along a random direction against the series'; at a kink, from the right.

        Without weights for a function with one number as its answer.
        """
        if not sweep.edges:
            v = self.direction()
            terms = self.slope(v)
            if terms.size:
                self.overlap(inner(rows, v), terms.item() if weights is None else inner({"": terms}, {"": weights}))

    def slope(self, direction: Vector) -> Balls:
        """The derivative along a direction by the second rule set; nothing if it is not to be had.

        Beyond some size it is asked only if it works on whole arrays all the way.
        """
        try:
            pair = self._pair(direction, valued=False)
        except Fault:
            return self.terms(direction, 1, 1)
        return np.empty(0, object) if pair is None else pair.moving

    def value(self) -> Balls:
        """The function itself by the second rule set; nothing if it is not to be had."""
        try:
            pair = self._pair({}, valued=True)
        except Fault:
            return self.terms(self.problem.nothing(), 0, None)
        return np.empty(0, object) if pair is None else pair.value

    def _pair(self, direction: Vector, *, valued: bool) -> Pair | None:
        """What the second rule set makes of whole arrays; None if it has no rule, or it would take too long.

        Raises:
            Fault: The first power of the series doesn't say.
        """
        problem = self.problem
        if not (self.is_light or problem.passes.line.is_of_arrays):
            return None
        try:
            return problem.passes.line.along(problem.values, direction, problem.deadline.check, valued=valued)
        except Unsupported:
            return None

    def terms(self, direction: Vector, order: int, side: int | None) -> Balls:
        """The coefficients of one order, for each component of the output; none if they are not to be had.

        What can't be decided is tried with more digits: eigenvalues part only once the characteristic polynomial is
        exact.
        """
        if not self.is_light:
            return np.empty(0, object)
        for bits in (flint.ctx.prec, 4 * flint.ctx.prec, 16 * flint.ctx.prec):
            try:
                with flint.ctx.workprec(bits):
                    found = expand(self.problem.program, self.problem.values, direction, order, side)
            except Unsupported:
                break
            if not any(entry.fault for entry in found.flat):
                return balls([entry.terms[order] for entry in found.flat], found.shape)
            if self.problem.passes.work > _SMALL or not all(
                isinstance(e.fault, Undecided | NoneType) for e in found.flat
            ):
                break
        return np.empty(0, object)

    def overlap(self, reverse: Any, *series: Any) -> None:
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

    def drawn(self, shape: tuple[int, ...]) -> Balls:
        """Signs times numbers from 0.5 to 1.5, which hide neither single errors nor pairs that cancel."""
        start, self._drawn = self._drawn, self._drawn + math.prod(shape)
        if self._drawn <= _DRAWN.size:
            return _DRAWN[start : self._drawn].reshape(shape)
        return _DRAWN.take(np.arange(start, self._drawn), mode="wrap").reshape(shape)

    def direction(self) -> Vector:
        """A random one."""
        return {name: self.drawn(self.problem.specs[name].shape) for name in self.problem.inputs}

    def sum_of(self, units: tuple[tuple[str, tuple[int, ...]], ...]) -> Vector:
        """The direction in which each of some components grows."""
        v = self.problem.nothing()
        for name, index in units:
            v[name][index] = v[name][index] + arb(1)
        return v


def _numbers() -> Balls:
    """Some 60,000 of them, drawn once: a generator takes longer to make than a small check."""
    random = np.random.default_rng(0)
    sizes, signs = random.integers(64, 192, 61_001), random.choice([-1, 1], 61_001)
    found = lift(np.arange(-191, 192) / 128)[signs * sizes + 191]
    found.flags.writeable = False
    return found


_DRAWN: Final = _numbers()


def may_be_one(x: Slope, y: Slope) -> bool:
    """Whether two derivatives may be the same, on each side."""
    return x.has_sides and y.has_sides and bool(x.left.overlaps(y.left) and x.right.overlaps(y.right))


def _spread(lead: Any, whole: Any) -> Any:
    """An array of the first axes of another, on all of them."""
    return np.broadcast_to(lead.reshape(lead.shape + (1,) * (whole.ndim - lead.ndim)), whole.shape)


def _lead(cells: dict[str, Cells], problem: Problem) -> int:
    """How many axes of the cells belong to the output."""
    name = problem.inputs[0]
    return int(cells[name].balls.ndim) - len(problem.specs[name].shape)


def each(f: Callable[[Any], Any], array: Balls) -> Any:
    """Which entries have a property: an array of booleans."""
    return np.asarray(np.frompyfunc(f, 1, 1)(array)).astype(bool)
