"""What is behind a function that stands still: a slope of 0, or terms so large that a step is lost in them.

A function, a point and lines along which nothing moves enter; how large a slope may be all the same leaves. (1e20 + x) -
1e20 is 0 as far as steps of the size of x reach, and so is a rectifier; but where it moves at last, it jumps, and the
rectifier doesn't. Nor can values tell a function that jumps by itself, like floor, from one in which terms cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from gradbench.query import Array
from gradbench.reference.differences.ladder import CLEAR, EPS

FARTHER: Final = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 960])
"""Powers of two by which steps are longer than the one that moves nothing."""
POINTS: Final = 16
"""So many points, evenly spaced by their logarithm, in each search for where f begins to move."""
NEAR: Final = 1e-4
"""How closely that is found, as a part of the step."""
MOST: Final = 32
"""Lines and components that are looked at; what one of them says is held against all."""


def hidden(f: Callable[[Array], Array], x: Array, directions: Array, still: Array, order: int = 1) -> tuple[float, int]:
    """The largest derivative that jumps of f further away allow for, 0 if there are none; and the number of evaluations.

    Args:
        f: Takes points of shape (B, n), answers with (B, m).
        x: Of shape (n).
        directions: Of shape (lines, n).
        still: For each line and component the longest step that moves nothing; NaN where f moves. Shape (lines, m).
        order: Of the derivative.
    """
    lines, components = np.nonzero(np.isfinite(still))
    chosen = slice(0, MOST)
    search = _Search(f, x, directions[lines[chosen]], components[chosen], still[lines[chosen], components[chosen]])
    return max(search.jump(side, order) for side in (1.0, -1.0)), search.evaluations


class _Search:
    """Where f begins to move, along several lines, each for one component."""

    def __init__(
        self, f: Callable[[Array], Array], x: Array, directions: Array, components: Array, still: Array
    ) -> None:
        self.f, self.x, self.directions, self.components, self.still = f, x, directions, components, still
        self.evaluations = 0
        self.here = self._moved(np.zeros((1, len(still))))[0]

    def jump(self, side: float, order: int) -> float:
        """The largest jump on one side, over that power of the step that it takes."""
        steps = np.ldexp(self.still, FARTHER[:, None].astype(int))
        with np.errstate(all="ignore"):
            low, high, found = self._bracket(steps, self._away(side * steps))
            while (high / low - 1 > NEAR)[found].any():
                share = np.arange(1, POINTS + 1)[:, None] / (POINTS + 1)
                steps = np.concatenate([low * (high / low) ** share, high[None]])
                low, high, _ = self._bracket(steps, self._away(side * steps), low)
            first, beyond = self._away(side * np.stack([high, 2 * high]))
            # What rises from nothing has hardly begun to; a small jump is f's own rounding.
            jumps = found & np.isfinite(first) & ~(first < beyond / 4)
            jumps &= first > CLEAR * EPS * np.maximum(1, np.abs(self.here))
            return float(np.max(np.where(jumps, first / low**order, 0)))

    def _bracket(self, steps: Array, away: Array, low: Array | None = None) -> tuple[Array, Array, Array]:
        """The steps before and at the first that moves something; whether there is one."""
        moves = away != 0
        first = np.argmax(moves, axis=0)[None]
        before = np.concatenate([(self.still if low is None else low)[None], steps])
        found: Array = moves.any(axis=0)
        return np.take_along_axis(before, first, 0)[0], np.take_along_axis(steps, first, 0)[0], found

    def _away(self, steps: Array) -> Array:
        """How far f is from where it was; NaN where it isn't finite."""
        apart: Array = np.abs(self._moved(steps) - self.here)
        return np.where(np.isfinite(apart), apart, np.nan)

    def _moved(self, steps: Array) -> Array:
        """What f is at steps of shape (k, lines), each line's component, of the same shape."""
        points = self.x + steps[..., None] * self.directions
        self.evaluations += steps.size
        values = self.f(points.reshape(-1, len(self.x))).reshape(*steps.shape, -1)
        found: Array = np.take_along_axis(values, np.broadcast_to(self.components[:, None], (*steps.shape, 1)), 2)[
            ..., 0
        ]
        return found
