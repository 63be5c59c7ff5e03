"""`Cells`: the components of one answer, each with a ball and a status; and how they are written down in floats.

Balls enter; float64 arrays leave such that truth = answer + tail ± radius, where the answer is the ball's middle
rounded to float64, the tail is what that left over, and the radius holds everything else, rounded up. At a kink the
answer is the middle of the one-sided derivatives and the radius reaches to both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import flint
import ml_dtypes
import numpy as np

from gradbench.query import Array
from gradbench.record import Status
from gradbench.reference.balls.lift import Balls

arb: Final = flint.arb
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


@dataclass
class Cells:
    """The components of an answer under one key. All arrays have its shape.

    Attributes:
        balls: Enclosures; at a kink of no meaning.
        status: What is known of each.
        left, right: One-sided derivatives as balls, where there is a kink.
        outer: Enclosures of every derivative nearby, as balls; NaN where nothing is known.
    """

    balls: Balls
    status: Array
    left: Balls
    right: Balls
    outer: Balls

    @classmethod
    def of(cls, balls: Balls) -> Cells:
        """Components that are what their balls say."""
        status = np.full(balls.shape, str(Status.CERTIFIED), "U11")
        return cls(balls.copy(), status, *(balls.copy() for _ in range(3)))

    def missing(self, format: Format) -> int:
        """How many more digits the worst component needs, roughly; 0 if all are settled, and 1 if nobody knows."""
        worst = 0
        loose = ~np.asarray(np.frompyfunc(format.tight, 1, 1)(self.balls)).astype(bool)
        for i in np.flatnonzero(loose | (self.status != Status.CERTIFIED)):
            word, left, right = self.status.flat[i], self.left.flat[i], self.right.flat[i]
            parts = [self.balls.flat[i]] if word == Status.CERTIFIED else [left, right]
            if not _settled(format, word, *parts):
                worst = max(worst, 1, *(format.missing(ball) for ball in parts))
        return worst

    def put(self, index: Any, status: Status, left: Any, right: Any) -> None:
        """Says what is known of one component from both sides of it."""
        self.status[index], self.left[index], self.right[index] = str(status), left, right
        if status is Status.CERTIFIED:
            self.balls[index] = left if left is right else left.union(right)
        elif status is not Status.KINK:
            self.balls[index] = arb("nan")

    def published(self, format: Format) -> tuple[Array, dict[str, Array], Array]:
        """Answer, margins and status; margins at kinks only if there are any."""
        kinks = self.status == Status.KINK
        enclosed = self.balls.copy()
        enclosed[kinks] = _HULL(self.left[kinks], self.right[kinks])
        answer, tail, radius = (np.asarray(part, np.float64) for part in _WRITTEN(enclosed))
        status = self.status.copy()
        loose = ~np.asarray(np.frompyfunc(format.tight, 1, 1)(self.balls)).astype(bool)
        for i in np.flatnonzero(loose & (status == Status.CERTIFIED)):
            status.flat[i] = _worded(answer.flat[i], radius.flat[i])
        margin = {"tail": tail, "radius": radius}
        if kinks.any():
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


def _worded(answer: float, radius: float) -> str:
    """The status of a component that is proved, but not narrowly."""
    if math.isnan(answer):
        return str(Status.UNDECIDED)
    return str(Status.UNRESOLVED if radius > abs(answer) else Status.CERTIFIED)


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


_WRITTEN: Final = np.frompyfunc(written, 1, 3)
_HULL: Final = np.frompyfunc(arb.union, 2, 1)
