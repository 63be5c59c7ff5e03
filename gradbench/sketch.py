"""A `Sketch`: a few sums that stand for an array which is too large to be told entry by entry.

A seed and a size enter; directions leave, the same to whoever measures along them and to whoever compares with what was
measured. The first ones go through the whole array. Each of the others is the first one where one binary digit of the
index is 1 and 0 elsewhere, so that which of them see an error spells the index of a single wrong entry.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gradbench.query import Array
from gradbench.record import Status

DIGITS: Final = 52
"""Directions are multiples of 2 to the power of minus that."""


def direction(seed: str, size: int, digits: int = DIGITS) -> Array:
    """A direction of shape (size), fixed by a text: entries of sign x U(0.5, 1.5), in multiples of 2^-digits.

    With no small entry no wrong entry of a derivative can hide; with entries that differ, errors don't cancel, as a pair
    of opposite ones does for every second direction of signs alone.

    Args:
        seed: Any text.
        size: Of the direction.
        digits: Up to 52, that many binary ones behind the point: a format of that precision holds the entries exactly.
    """
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    words = np.random.PCG64(start).random_raw(size) if size else np.zeros(0, np.uint64)
    magnitude = 0.5 + (words & np.uint64(2**digits - 1)).astype(np.float64) * 2.0**-digits
    return np.where(words >> np.uint64(63), magnitude, -magnitude)


@dataclass(frozen=True)
class Probes:
    """The directions of a sketch.

    Attributes:
        seed: That they come from.
        size: Of the array.
        whole: How many go through all of it.
        bits: The digits of the index whose masks follow, by the power of 2, highest first.
    """

    seed: str
    size: int
    whole: int = 2
    bits: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.whole + len(self.bits)

    def direction(self, i: int) -> Array:
        """The direction of that number, of shape (size)."""
        if i < self.whole:
            return direction(f"{self.seed}:{i}", self.size)
        return np.where(self.has(self.bits[i - self.whole]), direction(f"{self.seed}:0", self.size), 0.0)

    def has(self, bit: int) -> Array:
        """Which indices have that digit."""
        return (np.arange(self.size) >> bit & 1).astype(bool)

    def sums(self, array: Array) -> Array:
        """The sum of the array times each direction."""
        return self._each(array, np.sum)

    def roots(self, array: Array) -> Array:
        """The root of the sum of squares of the array times each direction."""
        return self._each(array, lambda terms: np.sqrt(np.sum(np.square(terms))))

    def _each(self, array: Array, total: Any) -> Array:
        flat = np.asarray(array, np.float64).reshape(-1)
        terms = [flat * direction(f"{self.seed}:{i}", self.size) for i in range(self.whole)]
        return np.array([*map(total, terms), *(total(terms[0][self.has(bit)]) for bit in self.bits)])


@dataclass(frozen=True)
class Sketch:
    """What is known of an array: sums of it along directions.

    Attributes:
        probes: The directions.
        shape: Of the array.
        values: The sums, one for each direction; NaN where there is none.
        radius: How far each may be off; infinite where it isn't known.
        words: What is said of each: `estimated`, or why there is no number.
        remark: What was left out, and why; empty if nothing was.
        visible: An error in one entry alone that is larger shows, were the answer free of rounding errors.
        missed: The probability at most of missing another error, if its largest entry is 1000 times that.
    """

    probes: Probes
    shape: tuple[int, ...]
    values: Array
    radius: Array
    words: Array
    remark: str = ""
    visible: float = math.inf
    missed: float = 1.0

    @property
    def known(self) -> Array:
        """Which sums can be compared with anything."""
        found: Array = (self.words == Status.ESTIMATED) & np.isfinite(self.values) & np.isfinite(self.radius)
        return found

    def margin(self) -> dict[str, Array]:
        """What a record keeps under the array's key."""
        return {"sketch": self.values, "radius": self.radius}

    def notes(self) -> dict[str, Any]:
        """What else it keeps of it."""
        found: dict[str, Any] = {"seed": self.probes.seed, "whole": self.probes.whole, "bits": list(self.probes.bits)}
        if math.isfinite(self.visible):
            found |= {"visible": self.visible, "missed": self.missed}
        return {**found, "remark": self.remark} if self.remark else found

    @classmethod
    def kept(
        cls, margin: Mapping[str, Array], words: Array, notes: Mapping[str, Any], shape: tuple[int, ...]
    ) -> Sketch:
        """The sketch of a record: its margin, status and notes under the array's key, which has that shape."""
        size = int(np.prod(shape, dtype=np.int64))
        probes = Probes(str(notes["seed"]), size, int(notes["whole"]), tuple(map(int, notes["bits"])))
        odds = float(notes.get("visible", math.inf)), float(notes.get("missed", 1.0))
        return cls(probes, shape, margin["sketch"], margin["radius"], words, str(notes.get("remark", "")), *odds)


def missed(rooms: Iterable[float], size: float) -> float:
    """The most that the probability is of missing an error whose largest entry is of this size.

    The model: the error E is there before the directions are drawn, and each sum is known within its room t. Given the
    rest of the direction, v_j a is spread evenly over ±[a/2, 3a/2], so that |v E| <= t has at most probability t/a.
    """
    chance = 1.0
    for room in rooms:
        if 0 <= room < size < math.inf:
            chance *= min(1.0, room / size + 2.0 ** -(DIGITS + 1))
    return chance
