"""Directions to project on: entries that are a sign times a number from 1/2 to 3/2.

A seed enters; numbers that depend on nothing else leave. With no small entry no wrong entry of a derivative can hide;
with entries that differ, errors don't cancel, as a pair of opposite ones does for every second direction of signs
alone.
"""

from __future__ import annotations

import hashlib

import numpy as np

from gradbench.query import Array


def direction(seed: str, size: int, digits: int) -> Array:
    """A direction of shape (size), fixed by a text, in multiples of 2^-digits.

    Args:
        seed: Any text.
        size: Of the direction.
        digits: Up to 52, that many binary ones behind the point: a format of that precision holds the entries exactly.
    """
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    words = np.random.PCG64(start).random_raw(size) if size else np.zeros(0, np.uint64)
    magnitude = 0.5 + (words & np.uint64(2**digits - 1)).astype(np.float64) * 2.0**-digits
    return np.where(words >> np.uint64(63), magnitude, -magnitude)
