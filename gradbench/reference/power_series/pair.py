"""`Pair`: an array of balls and the array of how fast each of them changes along a line.

A power series cut after its first power, but held as two NumPy arrays, so that a step of a program takes a few passes in
C over all entries instead of a Python object for each. Arrays of `flint.arb` enter and leave. What needs more than the
first power (a root of something that vanishes, a corner) is no business of this room; see `series`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flint
import numpy as np

from gradbench.reference.balls.lift import Balls, lift

Axes = int | tuple[int, ...] | None
_ZERO, _MINUS = flint.arb(0), flint.arb(-1)


class Pair:
    """Numbers along the line x + t v, as they are at t = 0 and as they change there.

    Attributes:
        value: An array of balls.
        slope: Another of the same shape; None where nothing changes.
    """

    __slots__ = ("slope", "value")

    def __init__(self, value: Any, slope: Any = None) -> None:
        self.value = value if type(value) is np.ndarray else lift(value)
        self.slope = slope if slope is None or type(slope) is np.ndarray else lift(slope)

    @property
    def moving(self) -> Balls:
        """The slope, of zeros if nothing changes."""
        return np.full(self.value.shape, _ZERO, object) if self.slope is None else self.slope

    def turned(self, value: Balls, factor: Balls) -> Pair:
        """These values, changing as much as this does times the factor."""
        return Pair(value, None if self.slope is None else self.slope * factor)

    def mapped(self, f: Any) -> Pair:
        """The same linear function of values and slopes."""
        return Pair(f(self.value), None if self.slope is None else f(self.slope))

    def __add__(self, other: Any) -> Pair:
        if type(other) is not Pair:
            return Pair(self.value + other, self.slope)
        found = Pair(self.value + other.value)
        if self.slope is None or other.slope is None:
            one: Any = other.slope if self.slope is None else self.slope
            same = one is None or one.shape == found.value.shape
            found.slope = one if same else np.broadcast_to(one, found.value.shape)
            return found
        return Pair(found.value, self.slope + other.slope)

    def __radd__(self, other: Any) -> Pair:
        found: Pair = self + other
        return found

    def __neg__(self) -> Pair:
        return self.mapped(lambda x: x * _MINUS)  # faster than arb's own

    def __sub__(self, other: Any) -> Pair:
        if type(other) is not Pair:
            return Pair(self.value - other, self.slope)
        if other.slope is None:
            return self + Pair(-other.value)
        if self.slope is None:
            return self + (-other)
        return Pair(self.value - other.value, self.slope - other.slope)

    def __rsub__(self, other: Any) -> Pair:
        found: Pair = -self + other
        return found

    def __mul__(self, other: Any) -> Pair:
        if type(other) is not Pair:
            return self.mapped(lambda x: x * other)
        value = self.value * other.value
        if self.slope is None:
            return Pair(value, None if other.slope is None else self.value * other.slope)
        one = self.slope * other.value
        return Pair(value, one if other.slope is None else one + self.value * other.slope)

    def __rmul__(self, other: Any) -> Pair:
        found: Pair = self * other
        return found

    def __truediv__(self, other: Any) -> Pair:
        if type(other) is not Pair:
            return self.mapped(lambda x: x / other)
        value = self.value / other.value
        if other.slope is None:
            return Pair(value, None if self.slope is None else self.slope / other.value)
        back = value * other.slope
        return Pair(value, (back * _MINUS if self.slope is None else self.slope - back) / other.value)

    def __rtruediv__(self, other: Any) -> Pair:
        return Pair(other) / self


Rule = Callable[..., Pair]
"""What a primitive makes of pairs, by position, and of its statics, by keyword."""
