"""`Cells`: the components of one answer, each with a ball and a status; and how they are written down in floats.

Balls enter; float64 arrays leave such that truth = answer + tail ± radius, where the answer is the ball's middle
rounded to float64, the tail is what that left over, and the radius holds everything else, rounded up. At a kink the
answer is the middle of the one-sided derivatives and the radius reaches to both.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Final

import flint
import ml_dtypes
import numpy as np

from gradbench.query import Array
from gradbench.record import Status
from gradbench.reference.balls.lift import Balls, all_finite

arb: Final = flint.arb
_CERTIFIED, _KINK = str(Status.CERTIFIED), str(Status.KINK)
SHARE: Final = 7
"""A radius is small enough below 2⁻⁷ ulp, which is less than a hundredth."""


@dataclass(frozen=True)
class Format:
    """A floating-point format, as far as its ulps are concerned.

    Attributes:
        digits: Binary digits of its significand.
        floor: A radius below this is nothing: a small part of its smallest positive number.
    """

    digits: int
    floor: Any

    @classmethod
    @functools.cache
    def of(cls, dtype: np.dtype[Any]) -> Format:
        """The format of a real dtype."""
        info = ml_dtypes.finfo(dtype)
        least = math.frexp(float(info.smallest_subnormal))[1] - 1
        return cls(int(info.nmant) + 1, arb(2) ** (least - SHARE))

    def tight(self, ball: Any) -> bool:
        """Whether a ball says all that matters: its radius is below 0.01 ulp of its middle."""
        if not ball.is_finite():
            return False
        # The radius is below 2^(1 - accuracy) of the middle, and an ulp is at least 2^-digits of it.
        return ball.is_exact() or ball.rel_accuracy_bits() >= self.digits + SHARE + 2 or bool(ball.rad() < self.floor)

    def missing(self, ball: Any) -> int:
        """By how many binary digits a radius is too large; 0 where it is infinite."""
        if not ball.is_finite() or self.tight(ball):
            return 0
        # The widest that is narrow enough: if the ball reaches to 0 the truth may be anything down to nothing.
        least = self.floor if ball.contains(0) else ball.abs_lower() / arb(2) ** (self.digits + SHARE + 2)
        return max(1, math.ceil(float((ball.rad() / least).log() / arb(2).log())))


class Cells:
    """The components of an answer under one key. All arrays have its shape.

    What is never asked for is never made: at most points of most functions each component simply is what its ball says.

    Attributes:
        balls: Enclosures; at a kink of no meaning. Only `put` and `lose` change them.
    """

    def __init__(self, balls: Balls) -> None:
        """Components that are what their balls say, which are copied."""
        self.balls = balls.copy()
        self._written: tuple[Array, Array, Array] | None = None
        self._tight = False

    @functools.cached_property
    def status(self) -> Array:
        """What is known of each."""
        return np.full(self.balls.shape, _CERTIFIED, "U11")

    @functools.cached_property
    def left(self) -> Balls:
        """One-sided derivatives from the left as balls, where there is a kink."""
        return self.balls.copy()

    @functools.cached_property
    def right(self) -> Balls:
        """The same from the right."""
        return self.balls.copy()

    @functools.cached_property
    def outer(self) -> Balls:
        """Enclosures of every derivative nearby, as balls; NaN where nothing is known."""
        return self.balls.copy()

    @property
    def is_plain(self) -> bool:
        """Whether each component still is what its ball says."""
        return "status" not in self.__dict__

    @property
    def is_finite(self) -> bool:
        """Whether every ball holds numbers alone; a radius in floats is finite only if its ball is."""
        return bool(np.isfinite(self.written()[2]).all()) or all_finite(self.balls)

    def written(self) -> tuple[Array, Array, Array]:
        """As `written_down`; once for as long as the balls are the same."""
        if self._written is None:
            self._written = written_down(self.balls)
        return self._written

    def lose(self, which: Any) -> None:
        """Says nothing of some components any more; what they were remains as what they are from each side."""
        self._kept()
        self.balls[which] = arb("nan")

    def _kept(self) -> None:
        """Makes sure that the balls may change."""
        _ = self.left, self.right, self.outer
        self._written, self._tight = None, False

    def missing(self, format: Format) -> int:
        """How many more digits the worst component needs, roughly; 0 if all are settled, and 1 if nobody knows."""
        worst = 0
        # At most times all are tight, which their numbers tell; these are written down next anyway.
        answer, _, radius = self.written()
        tight = radius <= abs(answer) * 2.0 ** (-format.digits - SHARE - 2)
        if self.is_plain and tight.all():
            self._tight = True
            return 0
        tight &= self.status == _CERTIFIED
        for i in np.flatnonzero(~tight):
            word, left, right = self.status.flat[i], self.left.flat[i], self.right.flat[i]
            parts = [self.balls.flat[i]] if word == _CERTIFIED else [left, right]
            if not _settled(format, word, *parts):
                worst = max(worst, 1, *(format.missing(ball) for ball in parts))
        return worst

    def put(self, index: Any, status: Status, left: Any, right: Any) -> None:
        """Says what is known of one component from both sides of it."""
        self._kept()
        self.status[index], self.left[index], self.right[index] = str(status), left, right
        if status is Status.CERTIFIED:
            self.balls[index] = left if left is right else left.union(right)
        elif status is not Status.KINK:
            self.balls[index] = arb("nan")

    def published(self, format: Format) -> tuple[Array, dict[str, Array], Array]:
        """Answer, margins and status; margins at kinks only if there are any."""
        if self._tight and self.is_plain:
            answer, tail, radius = self.written()
            return answer, {"tail": tail, "radius": radius}, self.status
        kinks = None if self.is_plain else self.status == _KINK
        has_kinks = kinks is not None and kinks.any()
        if has_kinks:
            enclosed = self.balls.copy()
            enclosed[kinks] = _HULL(self.left[kinks], self.right[kinks])
            self._written = written_down(enclosed)
        answer, tail, radius = self.written()
        status = self.status.copy()
        narrow = radius <= abs(answer)
        # A tight ball may still be wider than its middle, where both are next to nothing.
        for i in () if narrow.all() else np.flatnonzero(~narrow & (status == _CERTIFIED)):
            if not format.tight(self.balls.flat[i]):
                status.flat[i] = _worded(answer.flat[i])
        margin = {"tail": tail, "radius": radius}
        if has_kinks:
            margin |= self._sides(status, answer)
        return answer, margin, status

    def _sides(self, status: Array, answer: Array) -> dict[str, Array]:
        """The one-sided derivatives and their outer hull at kinks; elsewhere the answer."""
        sides = {name: answer.copy() for name in ("left", "right", "lower", "upper")}
        for i in np.flatnonzero(status == Status.KINK):
            known = self.outer.flat[i].is_finite()
            sides["left"].flat[i], sides["right"].flat[i] = float(self.left.flat[i]), float(self.right.flat[i])
            sides["lower"].flat[i] = down(self.outer.flat[i].lower()) if known else -math.inf
            sides["upper"].flat[i] = up(self.outer.flat[i].upper()) if known else math.inf
        return sides


def _settled(format: Format, status: str, *parts: Any) -> bool:
    if status == Status.UNDECIDED:
        return all(part.is_finite() for part in parts)
    return status == Status.SINGULAR or all(format.tight(part) for part in parts)


def _worded(answer: float) -> str:
    """The status of a component whose radius is larger than itself, or infinite."""
    return str(Status.UNDECIDED if math.isnan(answer) else Status.UNRESOLVED)


def up(ball: Any) -> float:
    """The least float64 that isn't below an exact ball."""
    near = float(ball)
    return float(np.nextafter(near, math.inf)) if math.isfinite(near) and arb(near) < ball else near


def down(ball: Any) -> float:
    """The largest float64 that isn't above an exact ball."""
    return -up(-ball)


def written(ball: Any) -> tuple[float, float, float]:
    """Centre, tail and radius of a ball; infinite where the truth is beyond float64, NaN where there is none."""
    if not ball.is_finite():
        return math.nan, 0.0, math.inf
    centre = float(ball)
    if math.isinf(centre):
        certain = ball.abs_lower() > arb(2) ** 1024
        return (centre, 0.0, 0.0) if certain else (math.nan, 0.0, math.inf)
    rest = ball - arb(centre)
    tail = float(rest)
    return centre, tail, up((rest - arb(tail)).abs_upper())


def written_down(array: Balls) -> tuple[Array, Array, Array]:
    """As `written`, for an array of balls: all at once where their numbers are neither huge nor tiny.

    At 53 bits what is left over from the centre is a float64 and a radius, and the radius, of 30 bits, is one too.
    """
    flat = array.ravel()
    found = np.empty((3, flat.size))
    found[0] = flat
    before, flint.ctx.prec = flint.ctx.prec, 53
    try:
        rest = flat - found[0].astype(object)
    finally:
        flint.ctx.prec = before
    found[1], found[2] = rest, _RADIUS(rest)
    sizes = abs(found)
    if flat.size and not _TINY < sizes.min() <= sizes.max() < 1 / _TINY:
        plain = (sizes > _TINY) & (sizes < 1 / _TINY)
        for i in np.flatnonzero(~plain.all(axis=0)):
            if not (rest[i].is_zero() and sizes[0, i] < 1 / _TINY):
                found[:, i] = written(flat[i])
    centre, tail, radius = found.reshape(3, *array.shape)
    return np.asarray(centre), np.asarray(tail), np.asarray(radius)


_RADIUS: Final = np.frompyfunc(arb.rad, 1, 1)
_TINY: Final = 2.0**-900
"""Numbers between this and one over it are written down all at once; float64 ends at some 2⁻¹⁰⁷⁴."""
_HULL: Final = np.frompyfunc(arb.union, 2, 1)
