"""What is behind a function that stands still: a slope of 0, or terms so large that a step is lost in them.

Lines through a point enter, and probes along them leave, to be evaluated with everything else; then, where f doesn't move
at all around the point, how large a derivative may be all the same. (1e20 + x) - 1e20 is 0 as far as steps of the size of
x reach, and so is a rectifier; what they differ in is by how little they move where they move at last. Terms that cancel
move f by no less than what they lose. So what is lost at the point, within the longest step that moves nothing, is taken
to be no more than the smallest move that is seen at the first step that moves something: by as much as f is away from
where it was, or from one probe to another close beside it.

What this shows: a constant term that is large enough to hide a slope beyond the bound would make f stand still at the
probes as well, and jump between them. What it doesn't: that f moves nowhere between two probes and returns; that no term
is so large that f stands still to the last of them; that nothing else, which moves as smoothly as it likes, begins before
the jumps do. Nor can values tell a function that jumps by itself, like floor, from one in which terms cancel: neither is
resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from gradbench.query import Array

OUTER: Final = 5
"""The longest steps of a ladder, beside each of which there are probes."""
NEAR: Final = np.array([2, 6, 12])
"""Powers of two by which probes in company are further away than the longest step."""
FAR: Final = np.array([30, 130, 440, 960])
"""The same for lone ones: what is first seen to move there isn't resolved, were it smooth."""
BESIDE: Final = np.exp2(np.array([-46.0, -23.0]))
"""How far apart companions are, as a part of the step: a tight one for a small bound, a wide one where f is rounded to so
few digits of its move that it wouldn't see the other."""
OFF: Final = 1.3125
"""Probes aren't as far away as the point's own powers of two, where a function is likely to be special."""
WEIGHT: Final = {1: 1.0, 2: 4.0, 3: 3.0, 4: 16.0}
"""What moves of 1 may come to in a central difference with steps of 1, by its order."""


class Probes:
    """Points further and further away along lines, on both sides, most of them in company."""

    def __init__(
        self, add: Callable[[Array], Callable[[], tuple[Array, Array]]], x: Array, directions: Array, steps: Array
    ) -> None:
        """Along directions of shape (lines, n), beyond the steps of a ladder, of shape (K, lines), falling."""
        rungs = steps[OUTER - 1 :: -1]
        self.rungs = len(rungs)
        with np.errstate(over="ignore"):
            near, far = (steps[:1] * OFF * np.exp2(powers)[:, None] for powers in (NEAR, FAR))
            self.steps = np.concatenate([rungs, near, far])
            self.coarsest = len(rungs) + len(near)
            some = self.steps[: self.coarsest]
            company = some + some * BESIDE[:, None, None]
            self.lone = self._points(add, x, directions, self.steps[self.rungs :])
            self.company = self._points(add, x, directions, company)

    @staticmethod
    def _points(
        add: Callable[[Array], Callable[[], tuple[Array, Array]]], x: Array, directions: Array, steps: Array
    ) -> Callable[[], tuple[Array, Array]]:
        sides = np.array([1.0, -1.0]).reshape(2, *[1] * (steps.ndim + 1))
        return add(x + sides * steps[..., None] * directions)

    def hidden(self, plus: Array, minus: Array, centre: Array, still: Array, order: int) -> Array:
        """How large a derivative may be that f, standing still, doesn't show; 0 where nothing moves anywhere.

        Args:
            plus: f at the steps of the ladder ahead, of shape (K, lines, m).
            minus: f behind.
            centre: f at the point, of shape (m).
            still: The longest step that moves nothing; NaN where f moves. Of shape (lines, m).
            order: Of the derivative.
        """
        lone, company = self.lone()[0], self.company()[0]
        rungs = np.stack([side[OUTER - 1 :: -1] for side in (plus, minus)])
        found = np.zeros(still.shape)
        with np.errstate(all="ignore"):
            for here, beside in zip(np.concatenate([rungs, lone], axis=1), company.swapaxes(0, 1), strict=True):
                found = np.maximum(found, self._lost(here, beside, centre, still, order))
        return np.where(np.isfinite(still), found, 0.0)

    def _lost(self, here: Array, beside: Array, centre: Array, still: Array, order: int) -> Array:
        """The same for one side: f at the steps, of shape (S, lines, m), and at their companions, (2, some, lines, m)."""
        steps = np.broadcast_to(self.steps[..., None], here.shape)
        away = np.abs(here - centre)
        moves = np.isfinite(away) & (away > 0) & (steps > still)
        first = np.argmax(moves, axis=0)[None]
        quiet = np.where((away == 0) & (np.arange(len(steps))[:, None, None] < first), steps, 0)
        reached = np.maximum(still, np.max(quiet, axis=0))
        apart = np.full((len(BESIDE), *here.shape), np.nan)
        apart[:, : self.coarsest] = np.abs(beside - here[: self.coarsest])
        apart[~(np.isfinite(apart) & (apart > 0))] = np.inf
        least = np.minimum(away, apart.min(axis=0))
        lost = np.take_along_axis(least, first, 0)[0]
        return np.where(moves.any(axis=0), WEIGHT[order] * lost / reached**order, 0.0)
