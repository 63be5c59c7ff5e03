"""The derivative as what it is by definition: the limit of a difference quotient, with many digits.

A function of a displacement enters, with the axes to differentiate along; a `Component` for each of its values leaves:
the limit with its radius, or what there is instead of one. With hundreds of digits a step of 2^-66 costs no accuracy,
so nothing has to be known of the function but its values: no rule of differentiation can be wrong here.

Quotients are formed with two steps in two precisions; their disagreement is the radius. Those to the left and to the
right have to agree as the steps shrink, else there is a kink, and the derivative close by, on either side, says of what
kind.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from gradbench.record import Status

Number = Any
"""An mpmath number."""

Direction = Mapping[int, Number]
"""How far each entry moves; those that stay are left out."""


@dataclass(frozen=True)
class Level:
    """A step of 2^-step (times the scale of the axis), and how many bits are left when it has been divided out."""

    step: int
    bits: int
    fine: bool


COARSE: Final = (Level(66, 150, fine=False), Level(86, 150, fine=False))
FINE: Final = (Level(600, 1400, fine=True), Level(660, 1400, fine=True))
"""The second pair tells numbers from 0 that no format could, and kinks from what only looks like one from afar."""

NEARBY: Final = (230, 300)
"""How close to a kink its two sides are looked at: 2^-n."""

AGREED: Final = 83
"""Bits to which two quotients must agree: 25 decimal digits."""

NOTHING: Final = 1130
"""What is less than 2^-n, far below the least number of any format, counts as 0."""


@dataclass(frozen=True)
class Axis:
    """A direction, and how often to differentiate along it. `scale` is how far the function looks the same."""

    key: Hashable
    direction: Direction
    scale: int
    order: int = 1


@dataclass(frozen=True)
class Component:
    """What is known of one number: see `Status`; sides are None where there is no kink."""

    status: Status
    centre: Number
    radius: Number
    left: Number = None
    right: Number = None
    lower: Number = None
    upper: Number = None


class Exhausted(Exception):
    """The budget is spent."""


@dataclass
class Quotients:
    """Difference quotients of one function along some axes.

    Attributes:
        context: The mpmath context.
        evaluate: The function's values: of a key to keep them by, a displacement, bits, and whether they are `fine`, in
            which case it may raise `Exhausted`.
        axes: What to differentiate along.
        directions: Generic ones, scaled: points next to a kink are moved along these as well, off every other kink.
    """

    context: Any
    evaluate: Callable[..., list[Number]]
    axes: Sequence[Axis]
    directions: Sequence[Direction]

    def components(self) -> list[Component]:
        """The derivative of each value of the function."""
        mp = self.context
        coarse = [self.at(level) for level in COARSE]
        found = [self.settled(k, *coarse) for k in range(coarse[0].count)]
        if all(found):
            return found  # type: ignore[return-value]  # none of them is None
        try:
            fine = [self.at(level) for level in FINE]
            return [one or self.refined(k, *fine) for k, one in enumerate(found)]
        except Exhausted:
            return [one or Component(Status.UNDECIDED, coarse[1].central[k], mp.inf) for k, one in enumerate(found)]

    def settled(self, k: int, one: Sample, two: Sample) -> Component | None:
        """The limit if the coarse quotients leave no doubt of it."""
        mp = self.context
        if not (one.is_finite(k) and two.is_finite(k)) or two.central[k] == 0:
            return None
        centre, away = two.central[k], abs(one.central[k] - two.central[k])
        size = abs(centre)
        smooth = two.spread[k] <= mp.ldexp(size, -40) and (
            two.spread[k] <= mp.ldexp(one.spread[k], -10) or two.spread[k] <= mp.ldexp(size, -100)
        )
        return self.limit(centre, away + two.noise[k]) if smooth and away <= mp.ldexp(size, -AGREED) else None

    def refined(self, k: int, one: Sample, two: Sample) -> Component:
        """The limit if there is one; else what there is at a kink or a pole."""
        mp = self.context
        if not two.is_defined[k]:
            return Component(Status.SINGULAR, mp.nan, mp.inf)
        if one.is_finite(k) and two.is_finite(k):
            a, b, nothing = one.central[k], two.central[k], mp.ldexp(1, -NOTHING)
            agreed = abs(a - b) <= mp.ldexp(abs(b), -AGREED) or max(abs(a), abs(b)) <= nothing
            vanishing = abs(b) <= mp.ldexp(abs(a), -20)
            floor = max(mp.ldexp(two.noise[k], 40), nothing)
            if (agreed or vanishing) and two.spread[k] <= max(mp.ldexp(one.spread[k], -20), floor):
                return self.limit(b, abs(a - b) + two.noise[k])
        return self.kink(k, one, two)

    def limit(self, centre: Number, radius: Number) -> Component:
        """A derivative; one that can't be told from 0 is called 0."""
        if abs(centre) <= radius:
            return Component(Status.PRECISE, 0 * centre, radius + abs(centre))
        return Component(Status.PRECISE, centre, radius)

    def kink(self, k: int, one: Sample, two: Sample) -> Component:
        """What the derivative does on all sides of a point that has none."""
        mp = self.context
        sides = {signs: self.tendency(side, k) for signs, side in self.sides.items()}
        left = self.tendency([one.corners[-1], two.corners[-1]], k)
        right = self.tendency([one.corners[0], two.corners[0]], k)
        # At a jump the quotient itself grows without bound; the derivative next to it is what there is on that side.
        count = len(self.axes)
        left = left if left is not None and mp.isfinite(left) else sides[*(-1,) * count, 0]
        right = right if right is not None and mp.isfinite(right) else sides[*(1,) * count, 0]
        if any(side is None for side in (left, right, *sides.values())):
            return Component(Status.UNDECIDED, two.central[k], mp.inf)
        if any(mp.isnan(side) for side in (left, right, *sides.values())):
            defined = [side for side in (left, right) if not mp.isnan(side)]
            return Component(
                Status.SINGULAR, defined[0] if len(defined) == 1 else mp.nan, mp.inf, left, right, mp.nan, mp.nan
            )
        reals = [mp.re(side) for side in (left, right, *sides.values())]
        lower, upper = min(reals), max(reals)
        if any(mp.isinf(side) for side in (left, right, *sides.values())):
            both = all(mp.isinf(side) for side in sides.values())
            status = Status.HOELDER if both and self.is_continuous(k) else Status.SINGULAR
            centre = left if left == right else mp.nan
            return Component(status, centre, mp.inf, left, right, lower, upper)
        return Component(Status.KINK, (left + right) / 2, max(upper - lower, 0) / 2, left, right, lower, upper)

    def is_continuous(self, k: int) -> bool:
        """Whether the values beside the point tend to the one at it."""
        far, near = (
            max(abs(sample.values[k][i] - sample.values[k][0]) for i in range(len(sample.values[k])))
            for sample in (self.at(level) for level in FINE)
        )
        return bool(near <= self.context.ldexp(far, -5))

    def tendency(self, pair: Sequence[Sequence[Number]], k: int) -> Any:
        """Where two numbers, the second taken nearer by, are going: a number, an infinity, NaN; None if that is unclear."""
        mp = self.context
        far, near = pair[0][k], pair[1][k]
        if not (mp.isfinite(far) and mp.isfinite(near)):
            return mp.nan
        if abs(far - near) <= mp.ldexp(abs(near), -50):
            return near
        if abs(near) <= mp.ldexp(max(abs(far), mp.ldexp(1, -NOTHING)), -20):
            return mp.zero
        if abs(near) >= mp.ldexp(abs(far), 5):
            return mp.sign(mp.re(near)) * mp.inf
        return None

    @cached_property
    def sides(self) -> dict[tuple[int, ...], list[list[Number]]]:
        """The derivative at two distances on every side, by the signs of the displacement along each axis."""
        return {
            (*signs, i): self.around(signs, i, 1)
            for signs in itertools.product((1, -1), repeat=len(self.axes))
            for i in range(2)
        }

    @cached_property
    def surroundings(self) -> list[list[list[Number]]]:
        """The same in generic directions alone."""
        rest = (0,) * len(self.axes)
        return [self.around(rest, i, sign) for i in range(len(self.directions)) for sign in (1, -1)]

    def around(self, signs: tuple[int, ...], i: int, sign: int) -> list[list[Number]]:
        """The derivative at two distances from the point, on one side of it."""
        found = []
        for bits in NEARBY:
            base = self.beside(signs, {j: sign * move for j, move in self.directions[i].items()}, bits)
            found.append(
                self.at(FINE[0], (signs, i, sign, bits, *(axis.key for axis in self.axes if any(signs))), base).central
            )
        return found

    def beside(self, signs: Sequence[int], direction: Direction, bits: int) -> Direction:
        """A displacement along the axes, and a little along a generic direction."""
        mp = self.context
        found: dict[int, Number] = {}
        for sign, axis in zip(signs, self.axes, strict=True):
            for i, move in axis.direction.items():
                found[i] = found.get(i, 0) + sign * move * mp.ldexp(1, axis.scale - bits)
        for i, move in direction.items():
            found[i] = found.get(i, 0) + mp.ldexp(move, -bits - 3)
        return found

    def at(self, level: Level, where: Hashable = None, base: Direction | None = None) -> Sample:
        """The quotients with the steps of a level, at the point or beside it."""
        mp = self.context
        total = sum(axis.order for axis in self.axes)
        bits = total * level.step + level.bits
        with mp.workprec(bits):
            steps = [mp.ldexp(1, axis.scale - level.step) for axis in self.axes]
            grids = [range(-axis.order, axis.order + 1) for axis in self.axes]
            values = {}
            for places in itertools.product(*grids):
                moved = dict(base or {})
                for place, step, axis in zip(places, steps, self.axes, strict=True):
                    for i, move in axis.direction.items() if place else ():
                        moved[i] = moved.get(i, 0) + place * step * move
                key = (where, level, frozenset((axis.key, n) for axis, n in zip(self.axes, places, strict=True) if n))
                values[places] = self.evaluate(key, moved, bits, fine=level.fine)
            divisor = mp.fprod(step**axis.order for step, axis in zip(steps, self.axes, strict=True))
            return Sample(self, values, divisor)

    def quotient(self, values: Mapping[tuple[int, ...], list[Number]], sides: Sequence[int], k: int) -> Number:
        """The difference for one value of the function: central along an axis for 0, one-sided for 1 and -1."""
        total = self.context.zero
        for picks in itertools.product(*(range(axis.order + 1) for axis in self.axes)):
            places, weight = [], 1.0
            for pick, side, axis in zip(picks, sides, self.axes, strict=True):
                n = axis.order
                places.append(n - 2 * pick if side == 0 else (n - pick if side > 0 else -pick))
                weight *= (-1) ** pick * math.comb(n, pick) / (2**n if side == 0 else 1)
            total += weight * values[tuple(places)][k]
        return total


class Sample:
    """The quotients of one level.

    Attributes:
        central: By value of the function.
        corners: For each choice of sides, first all to the right, last all to the left: by value of the function.
        spread: How far the corners are from the central ones.
        noise: What rounding may have done to the central ones.
        is_defined: Whether the function is finite at the point itself.
        values: By value of the function: all that it was computed from, the point itself first.
    """

    def __init__(self, quotients: Quotients, values: Mapping[tuple[int, ...], list[Number]], divisor: Number) -> None:
        mp = self.context = quotients.context
        middle = values[(0,) * len(quotients.axes)]
        self.count = len(middle)
        every = range(self.count)
        self.central = [quotients.quotient(values, [0] * len(quotients.axes), k) / divisor for k in every]
        self.corners = [
            [quotients.quotient(values, sides, k) / divisor for k in every]
            for sides in itertools.product((1, -1), repeat=len(quotients.axes))
        ]
        self.spread = [max(abs(corner[k] - self.central[k]) for corner in self.corners) for k in every]
        self.values = [[middle[k], *(found[k] for found in values.values())] for k in every]
        self.noise = [mp.ldexp(max(map(abs, self.values[k])) / abs(divisor), 20 - mp.prec) for k in every]
        self.is_defined = [bool(mp.isfinite(value)) for value in middle]

    def is_finite(self, k: int) -> bool:
        """Whether the function is finite wherever it was asked."""
        return all(self.context.isfinite(value) for value in self.values[k])


def joined(parts: Sequence[tuple[Number, Component]]) -> Component:
    """A sum of components with factors; as good as the worst of them."""
    worst = next((part for _, part in parts if part.status is not Status.PRECISE), None)
    centre = sum((factor * part.centre for factor, part in parts), 0)
    if worst is not None:
        return replace(worst, centre=centre, left=None, right=None, lower=None, upper=None)
    return Component(Status.PRECISE, centre, sum(abs(factor) * part.radius for factor, part in parts))
