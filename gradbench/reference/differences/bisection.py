"""Which entries are wrong, given that their sum is: by halving, with one measurement for each halving.

A measure of blocks enters: by how much the sum over a block is off, and how much it may be. Single entries leave that
are off by themselves, and the block in which something is wrong that no single entry shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Gap:
    """By how much a sum is off, and how much it may be.

    Attributes:
        error: What was given less what should be; NaN or infinite if what was given is.
        tolerance: Infinite if nobody knows what should be.
    """

    error: float
    tolerance: float

    @property
    def wrong(self) -> bool:
        """Whether it is off by more than it may be; a NaN is, a NaN of which nothing is known isn't."""
        # The comparison stands this way round for the sake of NaN.
        return math.isfinite(self.tolerance) and not abs(self.error) <= self.tolerance

    def without(self, part: Gap) -> Gap:
        """What is left of the sum."""
        return Gap(self.error - part.error, self.tolerance + part.tolerance)


@dataclass(frozen=True)
class Found:
    """What is wrong.

    Attributes:
        entries: Indices of wrong entries.
        stretch: First and last index, plus 1, of the block that is wrong though neither of its halves is: several
            small errors; None if there is none.
        more: Whether something is wrong beyond all that.
    """

    entries: tuple[int, ...]
    stretch: tuple[int, int] | None
    more: bool


def find(size: int, whole: Gap, measure: Callable[[int, int], Gap], limit: int) -> Found:
    """The wrong ones among `size` entries, at most `limit` of them, by about log2(size) measurements for each.

    Args:
        size: How many entries there are.
        whole: Of all of them; wrong.
        measure: The gap of entries `start` to `stop`, less those that it was asked about alone and found wrong.
        limit: Where to stop.
    """
    path, entries = [(0, size, whole)], list[int]()
    while path and len(entries) < limit:
        start, stop, gap = path[-1]
        if stop - start == 1:
            entries.append(start)
            path = _left(path[:-1], gap, measure)
            continue
        half = _half(start, stop, gap, measure)
        if half is None:
            return Found(tuple(entries), (start, stop), more=False)
        path.append(half)
    return Found(tuple(entries), None, more=bool(path))


def _half(start: int, stop: int, gap: Gap, measure: Callable[[int, int], Gap]) -> tuple[int, int, Gap] | None:
    """The half that is wrong: the first one, if both are."""
    middle = (start + stop) // 2
    left = measure(start, middle)
    if left.wrong:
        return start, middle, left
    # What is wrong and isn't in one half must be in the other; who is named, though, is measured.
    right = gap.without(left)
    if stop - middle == 1 or not (right.wrong and math.isfinite(right.error)):
        right = measure(middle, stop)
    return (middle, stop, right) if right.wrong else None


def _left(
    path: list[tuple[int, int, Gap]], named: Gap, measure: Callable[[int, int], Gap]
) -> list[tuple[int, int, Gap]]:
    """The blocks around a wrong entry, without it, down to the smallest that is still wrong."""
    path = [(start, stop, gap.without(named)) for start, stop, gap in path]
    while path:
        start, stop, gap = path[-1]
        if not math.isfinite(gap.error):
            gap = measure(start, stop)
            path[-1] = start, stop, gap
        if gap.wrong:
            break
        path.pop()
    return path
