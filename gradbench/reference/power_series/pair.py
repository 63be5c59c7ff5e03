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
        value: An array of balls; None where nobody asks for it, and then there is a slope.
        slope: Another of the same shape; None where nothing changes.
    """

    __slots__ = ("slope", "value")

    def __init__(self, value: Any, slope: Any = None) -> None:
        self.value = value if type(value) is np.ndarray else lift(value)
        self.slope = slope if slope is None or type(slope) is np.ndarray else lift(slope)

    @classmethod
    def unasked(cls, slope: Any) -> Pair:
        """A slope alone."""
        found = cls.__new__(cls)
        found.value, found.slope = None, slope if type(slope) is np.ndarray else lift(slope)
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """Of either array."""
        array: Any = self.slope if self.value is None else self.value
        found: tuple[int, ...] = array.shape
        return found

    @property
    def moving(self) -> Balls:
        """The slope, of zeros if nothing changes."""
        return np.full(self.value.shape, _ZERO, object) if self.slope is None else self.slope

    def turned(self, value: Balls, factor: Balls) -> Pair:
        """These values, changing as much as this does times the factor."""
        return Pair(value, None if self.slope is None else self.slope * factor)

    def mapped(self, f: Any) -> Pair:
        """The same linear function of values and slopes."""
        if self.value is None:
            return Pair.unasked(f(self.slope))
        return Pair(f(self.value), None if self.slope is None else f(self.slope))

    def __add__(self, other: Any) -> Pair:
        if type(other) is not Pair:
            return Pair(self.value + other, self.slope) if self.value is not None else self
        if self.value is None or other.value is None:
            return _sum_of_slopes(self, other)
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
            return Pair(self.value - other, self.slope) if self.value is not None else self
        if other.slope is None:
            return self + Pair(-other.value)
        if self.slope is None or self.value is None or other.value is None:
            return self + (-other)
        return Pair(self.value - other.value, self.slope - other.slope)

    def __rsub__(self, other: Any) -> Pair:
        found: Pair = -self + other
        return found

    def __mul__(self, other: Any) -> Pair:
        if type(other) is not Pair:
            return self.mapped(lambda x: x * other)
        value, slope = self.value * other.value, self.slope_of_product(other)
        return Pair(value, slope)

    def slope_of_product(self, other: Pair) -> Any:
        """How fast the product changes; None where it doesn't."""
        if self.slope is None:
            return None if other.slope is None else self.value * other.slope
        one = self.slope * other.value
        if other.slope is None:
            return one
        return one + (one if other is self else self.value * other.slope)

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


def _sum_of_slopes(x: Pair, y: Pair) -> Pair:
    """Where nobody asks for the value."""
    if x.slope is not None and y.slope is not None:
        return Pair.unasked(x.slope + y.slope)
    one: Any = y.slope if x.slope is None else x.slope
    shape = np.broadcast_shapes(x.shape, y.shape)
    return Pair.unasked(one if one.shape == shape else np.broadcast_to(one, shape))


Rule = Callable[..., Pair]
"""What a primitive makes of pairs, by position, and of its statics, by keyword."""
