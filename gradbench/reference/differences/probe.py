"""Where a function is looked at: the points of ladders and stencils, all of them in one call.

A function of many points, a point and directions enter; samples for `ladder` leave. Steps are powers of two, chosen
from the size of the point along a direction: from a quarter of it (or of 1, if that is more) down to 2^-34 of it, and
wider apart where that spans more, so that a branch point close by is seen whatever the scale.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from gradbench.query import Array
from gradbench.reference.differences.slope import (
    Limit,
    Samples,
    Status,
    curvature,
    heard,
    higher,
    idle,
    moving,
    slope,
    still,
)
from gradbench.reference.differences.stillness import Probes

LEVELS: Final = {8: 12, 4: 18, 2: 35}
"""How many steps a ladder has, by the ratio from one to the next: 33, 45 or 79 evaluations with 9 for the noise."""
SPAN: Final = {1: 34, 2: 24, 3: 14, 4: 12}
"""How many powers of two below the point's own size steps go, by the order of the derivative: noise grows with it."""
FINER: Final = {1: 3, 2: 2, 3: 1, 4: 1}
"""The most powers of two from one step to the next, by the order: it costs that much noise to miss the best step."""
CLOSE: Final = np.array([-4, -3, -2, -1, 0, 1, 2, 3, 4])
BLOCK: Final = 2**16
"""Columns that are worked on together, for the sake of memory."""

CENTRAL: Final = {
    1: {-1: -0.5, 1: 0.5},
    2: {-1: 1.0, 0: -2.0, 1: 1.0},
    3: {-2: -0.5, -1: 1.0, 1: -1.0, 2: 0.5},
    4: {-2: 1.0, -1: -4.0, 0: 6.0, 1: -4.0, 2: 1.0},
}
"""Central differences by order: the weight of f at each multiple of the step. Abramowitz and Stegun (1964), 25.3."""


class Survey:
    """Points collected from several askers, evaluated in one call.

    Attributes:
        terms: How large what f is summed from may be at the point without being seen in f.
    """

    def __init__(self, f: Callable[..., Array], x: Array) -> None:
        """Of an f that takes points of shape (B, n) and answers with (B, m), or (2, B, m) with the size of its terms."""
        self.f, self.x = f, x
        self.parts: list[Array] = []
        self.extra: list[Array] = []
        self.evaluations = 0
        self.terms = 1.0
        self.points, self.answers = np.zeros((0, len(x))), np.zeros((2, 0, 0))

    def add(self, points: Array, *, spare: bool = False) -> Callable[[], tuple[Array, Array]]:
        """Asks for points of shape (..., n). What is returned gives f and its size there, (..., m), after `run`.

        Spare points come last, and f is told how many there are: they are where it need not be defined.
        """
        parts = self.extra if spare else self.parts
        start, shape = sum(map(len, parts)), points.shape[:-1]
        parts.append(points.reshape(-1, points.shape[-1]))
        stop = start + len(parts[-1])
        self.evaluations += stop - start

        def found() -> tuple[Array, Array]:
            first = sum(map(len, self.parts)) if spare else 0
            values, size = self.answers[:, first + start : first + stop].reshape(2, *shape, -1)
            return values, size

        return found

    def run(self) -> None:
        """The one call."""
        self.points = points = np.concatenate([*self.parts, *self.extra])
        found = self.f(points, sum(map(len, self.extra))) if self.extra else self.f(points)
        self.answers = found if found.ndim == 3 else np.stack([found, np.abs(found)])

    @property
    def repeats(self) -> bool:
        """Whether f answered the same wherever it was asked for the point itself."""
        same = self.answers[0, (self.points == self.x).all(axis=1)]
        return bool(np.array_equal(same, np.broadcast_to(same[:1], same.shape), equal_nan=True))


@dataclass(frozen=True)
class Reach:
    """The steps along some lines, as powers of two.

    Attributes:
        exponents: Of shape (K, lines), falling.
        close: The exponent of the spacing of points next to each other, of shape (lines).
        place: How far the point is from 0 along the line, of shape (lines).
    """

    exponents: Array
    close: Array
    place: Array


def reach(x: Array, directions: Array, ratio: int, order: int = 1) -> Reach:
    """How far to step from x, of shape (n), along each direction, of shape (lines, n); none of them is 0."""
    with np.errstate(divide="ignore"):
        inverse = np.where(directions != 0, 1 / np.abs(directions), np.nan)
    far = np.abs(x) * inverse
    unit, place = np.fmin.reduce(inverse, axis=1), np.fmax.reduce(far, axis=1)
    large = np.fmin.reduce(np.maximum(far, inverse), axis=1)
    near = np.fmin.reduce(np.where(far == 0, np.nan, far), axis=1)
    small = np.minimum(np.where(np.isnan(near), large, near), large)
    top = _exponent(large) - 2
    low = _exponent(small) - SPAN[order]
    # Far out (sin at 1e12) the function may still vary on the scale of 1, as long as x can be told from x + h.
    out = _exponent(large) - _exponent(unit)
    low = np.where(out > SPAN[order] - 4, np.maximum(np.minimum(low, _exponent(unit) - 6), _exponent(place) - 48), low)
    columns = [_rungs(t, lo, ratio, order) for t, lo in zip(top.tolist(), low.tolist(), strict=True)]
    close = np.where(place > 0, _exponent(place), _exponent(unit)) - 46
    return Reach(np.array(columns).T, close, place)


def _exponent(x: Array) -> Array:
    return np.floor(np.log2(x, out=np.zeros_like(x), where=x > 0))


def _rungs(top: float, low: float, ratio: int, order: int) -> Array:
    """The exponents from the top: in equal steps, wider ones if the span asks for it, two clusters if it is huge."""
    count, each = LEVELS[ratio], min(ratio.bit_length() - 1, FINER[order])
    if top - low <= each * (count - 1) + 3:
        return top - each * np.arange(count)
    if top - low <= 60:
        return np.round(np.linspace(top, low, count))
    half = count // 2
    return np.concatenate([top - each * np.arange(half), low + SPAN[order] - 2 - each * np.arange(count - half)])


class Lines:
    """Samples of f along lines through x."""

    def __init__(self, survey: Survey, directions: Array, ratio: int, *, probing: bool = False) -> None:
        """Directions of shape (lines, n), none of them 0; probing looks further away as well, should f stand still."""
        self.directions, self.survey = directions, survey
        self.reach = reach(survey.x, directions, ratio)
        x = survey.x
        self.steps = np.exp2(self.reach.exponents)[..., None]
        plus, minus = x + self.steps * directions, x - self.steps * directions
        spacing = np.exp2(self.reach.close)[:, None]
        close = x + CLOSE[CLOSE != 0].reshape(-1, 1, 1) * (spacing * directions)
        self.ahead, self.behind = self._width(plus - x), self._width(x - minus)
        self.found = [survey.add(points) for points in (plus, minus, close, x[None])]
        steps = self.steps[..., 0]
        self.probes = Probes(partial(survey.add, spare=True), x, directions, steps) if probing else None

    def _width(self, moved: Array) -> Array:
        """How far a point came along its line: exactly, where it moves along one axis alone."""
        alone = np.count_nonzero(self.directions, axis=1) == 1
        axis = np.argmax(np.abs(self.directions), axis=1)[:, None]
        along = np.take_along_axis(moved, axis[None], 2) / np.take_along_axis(self.directions, axis, 1)
        return np.where(alone[:, None], along, self.steps)

    def samples(self, lines: slice, components: slice) -> Samples:
        """What was found, for some of the lines and components."""
        (plus, up), (minus, down), (close, _), (centre, size) = (found() for found in self.found)
        middle = np.broadcast_to(centre[:, None], (1, *close.shape[1:]))
        around = np.concatenate([close[:4], middle, close[4:]])[:, lines, components]
        return Samples(
            plus=plus[:, lines, components],
            minus=minus[:, lines, components],
            centre=centre[0, components],
            close=around,
            steps=self.steps[:, lines],
            reach=CLOSE[-1] * np.exp2(self.reach.close)[lines, None],
            ahead=self.ahead[:, lines],
            behind=self.behind[:, lines],
            size=np.fmax(np.fmax(up, down), size[:, None])[:, lines, components],
            place=self.reach.place[lines, None],
            terms=self.survey.terms,
        )

    def slopes(self) -> Limit:
        """The first derivative along each line, of shape (lines, m)."""
        return self._each(slope)

    def curvatures(self) -> Limit:
        """The second derivative along each line, of shape (lines, m)."""
        return self._each(curvature)

    def quiet(self) -> Array:
        """The noise of f that points next to each other show, of shape (lines, m)."""
        found: Array = still(self.samples(slice(None), slice(None))).min(axis=0)
        return found

    def heard(self) -> Array:
        """The noise of f that irregular quotients betray, of shape (lines, m)."""
        return heard(self.samples(slice(None), slice(None)))

    def doubted(self, limit: Limit, order: int) -> Limit:
        """The limit along each line, where f stands still with a bound for what probes say that may be hidden."""
        assert self.probes is not None
        s = self.samples(slice(None), slice(None))
        hidden = self.probes.hidden(s.plus, s.minus, s.centre, idle(moving(s), s.steps), order)
        smooth = (limit.status == Status.OK) | (limit.status == Status.UNRESOLVED)
        hidden = np.where(smooth & (limit.value == 0), hidden, 0)
        vague = hidden > 1e-8 * np.maximum(1, np.abs(s.centre)) / s.steps[0] ** order
        status = np.where(vague, Status.UNRESOLVED, limit.status).astype(object)
        return replace(limit, bound=np.fmax(limit.bound, hidden), status=status)

    def _each(self, limit: Callable[[Samples], Limit]) -> Limit:
        m, lines = self.found[3]()[0].shape[-1], len(self.directions)
        wide = max(1, BLOCK // max(m, 1))
        rows = []
        for i in range(0, lines, wide):
            blocks = [limit(self.samples(slice(i, i + wide), slice(j, j + BLOCK))) for j in range(0, m, BLOCK)]
            rows.append(joined(blocks, 1))
        return joined(rows, 0)


def joined(limits: list[Limit], axis: int) -> Limit:
    """Several limits as one."""
    fields = [np.concatenate([getattr(one, name) for one in limits], axis) for name in Limit.__dataclass_fields__]
    return Limit(*fields)


class Stencils:
    """Samples of f on products of central differences, for mixed and higher derivatives."""

    def __init__(self, survey: Survey, directions: Array, orders: tuple[int, ...], ratio: int) -> None:
        """Directions of shape (stencils, p, n), none of them 0; of each the derivative of the order given for it."""
        self.orders = orders
        count, p, n = directions.shape
        total = min(sum(orders), max(SPAN))
        along = reach(survey.x, directions.reshape(-1, n), ratio, total)
        exponents = along.exponents.reshape(-1, count, p)
        # Two steps of the highest differences reach as far as one step of a ladder would.
        top = exponents[0] - (1 if max(orders) > 2 else 0)
        down = np.max(exponents[0] - exponents[-1], axis=1)
        levels = [_rungs(0, -span, ratio, total) for span in down.tolist()]
        self.steps = np.exp2(np.array(levels).T)[..., None]
        self.scale = np.exp2(np.sum(top * np.array(orders), axis=1))[:, None]
        grid = list(itertools.product(*(CENTRAL[order].items() for order in orders)))
        self.weights = np.array([np.prod([weight for _, weight in corner]) for corner in grid])
        offsets = np.array([[offset for offset, _ in corner] for corner in grid])
        moves = np.einsum("op,spn->son", offsets, np.exp2(top)[..., None] * directions)
        self.found, self.terms = survey.add(survey.x + self.steps[..., None] * moves), survey.terms

    def limits(self, seen: Array, lines: Array) -> Limit:
        """The derivatives, of shape (stencils, m).

        Args:
            seen: The noise of f that points next to each other show, of shape (stencils, m) or less.
            lines: The noise that is heard along the lines, of the same shape.
        """
        values, size = self.found()
        with np.errstate(all="ignore"):
            quotients = np.einsum("o,ksom->ksm", self.weights, values) / self.steps ** sum(self.orders)
        weight = float(np.abs(self.weights).sum())
        found = higher(quotients, self.steps, sum(self.orders), weight, np.max(size, axis=2), seen, lines, self.terms)
        with np.errstate(all="ignore"):
            value, bound = found.value / self.scale, found.bound / self.scale
        return Limit(value, bound, found.status, value, value, found.noise)
