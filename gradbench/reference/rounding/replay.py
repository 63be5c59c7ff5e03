"""Monte-Carlo arithmetic: the primitives, each with a random rounding error of its own.

A precision, a random generator and a number of replays enter; `Replay.ops` leaves: the vocabulary and the internal
words on float64 arrays with a leading axis, one entry of it for each replay (or of length 1 where a value is the same
in all of them, as in `batch`). Every result is moved by a normal error whose standard deviation is what rounding to
the precision would have: 0.6 units for one operation (an error uniform within a unit has 0.58), more for sums and for
matrix functions (see `roundoff`), and nothing where the result is exact. Source: Parker (1997), Monte Carlo
Arithmetic, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import ml_dtypes
import numpy as np

from gradbench.primitives import ARITHMETIC, VOCABULARY
from gradbench.program import Number
from gradbench.reference.differences import batch
from gradbench.reference.reverse.internal_ops import INTERNAL_OPS
from gradbench.reference.rounding.roundoff import (
    ADDED,
    ALWAYS,
    BACKWARD,
    EXACT,
    LIMITS,
    SCALES,
    aligned,
    axes_of,
    moved,
)

Array = Any

DIGITS: Final = {
    "float64": 53, "float32": 24, "float16": 11, "bfloat16": 8, "complex128": 53, "complex64": 24,
}  # fmt: skip
"""The significant bits of each format."""

VIRTUAL: Final = 33
"""float64 is replayed with this many bits, for its own errors can't be seen in float64; what is found is then scaled
down, which holds as long as errors stay small enough to be linear."""

_BITS: Final = 52
_SIGNIFICAND: Final = np.int64(2**_BITS - 1)
_DOUBLE: Final = float(np.finfo(np.float64).max)
_ONE: Final = 0.6
_ACCUMULATOR: Final = 2.0**-24
"""The unit that narrow formats add up in, measured in three frameworks; float16 sums of TensorFlow along the first
axis are an exception, and worse than rounding needs to be."""


# The internal words with a leading axis


def _pick(*arrays: Array) -> Array:
    return INTERNAL_OPS["pick"](*aligned(arrays))


def _share(x: Array, *, axis: int | tuple[int, ...] | None) -> Array:
    return INTERNAL_OPS["share"](x, axis=axes_of(axis, x.ndim))


def _permute_like(x: Array, key: Array, *, axis: int, inverse: bool) -> Array:
    count = max(len(x), len(key))
    x, key = (np.broadcast_to(a, (count, *a.shape[1:])) for a in (x, key))
    return INTERNAL_OPS["permute_like"](x, key, axis=moved(axis), inverse=inverse)


def _put(x: Array, *, index: tuple[Any, ...], shape: tuple[int, ...]) -> Array:
    return INTERNAL_OPS["put"](x, index=(slice(None), *index), shape=(len(x), *shape))


def _scatter(x: Array, indices: Array, *, axis: int, size: int) -> Array:
    return INTERNAL_OPS["scatter"](x, indices[0], axis=axis + 1, size=size)  # indices are constants


_INTERNAL: Final[dict[str, Callable[..., Any]]] = {
    **INTERNAL_OPS,
    "pick": _pick,
    "share": _share,
    "permute_like": _permute_like,
    "put": _put,
    "scatter": _scatter,
}

_BY_ENTRY: Final = frozenset(
    name for name, word in VOCABULARY.items() if word.shape in {"elementwise", "broadcast"}
) | {"polygamma", "bessel_j", "bessel_i", "spherical_j"}  # fmt: skip


def _cross_sizes(x1: Array, x2: Array) -> Array:
    a, b = (np.abs(x) for x in aligned([x1, x2]))
    return np.roll(a, -1, -1) * np.roll(b, 1, -1) + np.roll(a, 1, -1) * np.roll(b, -1, -1)


class Replay:
    """Rounding errors of one precision, drawn for a number of replays at a time, in `most` bits at the most.

    Attributes:
        unit: Half the distance from 1 to the next number, as it is replayed.
        shrink: What a deviation that was found is to be multiplied by.
        ops: The primitives, for `evaluate`.
    """

    def __init__(self, dtype: np.dtype[Any], generator: np.random.Generator | None, most: int = VIRTUAL) -> None:
        self.digits = min(DIGITS[dtype.name], most)
        self.unit = 2.0**-self.digits
        self.shrink = 2.0 ** (self.digits - DIGITS[dtype.name])
        self.generator = generator
        self.ratio = min(_ACCUMULATOR / self.unit, 1.0)
        limits = ml_dtypes.finfo(dtype)
        self.largest, self.tiny = float(limits.max), float(limits.tiny)
        self.mask = np.int64(2 ** (_BITS + 1 - min(self.digits, VIRTUAL)) - 1)  # of all its bits float64 shows nothing
        self.count = 1
        self.dtype = dtype
        self.ops: dict[str, Callable[..., Any]] = {"asarray": lambda number: np.asarray([self._number(number)])}
        for name, op in {**batch.OPS, **_INTERNAL}.items():
            rounded = op if generator is None or name in EXACT else self._noisy(name, op)
            self.ops[name] = self._arithmetic(rounded) if name in ARITHMETIC else rounded

    def _number(self, number: Number) -> Number:
        """A number of the text, rounded to the format."""
        if isinstance(number, complex):
            return complex(np.asarray(number, np.result_type(self.dtype, np.complex64)))
        with np.errstate(over="ignore"):
            return float(np.asarray(number, self.dtype).real)

    def _arithmetic(self, op: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *x: op(*(self._number(a) if isinstance(a, Number) else a for a in x))

    def _noisy(self, name: str, op: Callable[..., Any]) -> Callable[..., Any]:
        scale, backward, by_entry = SCALES.get(name), BACKWARD.get(name), name in _BY_ENTRY

        def noisy(*x: Any, **statics: Any) -> Any:
            with np.errstate(all="ignore"):
                if by_entry:
                    x = tuple(aligned(x))
                elif backward is not None:
                    x = (self._perturbed(x[0], backward(x[0][:1])), *x[1:])
                r = op(*x, **statics)
                if isinstance(r, tuple):
                    return tuple(self.rounded(part) for part in r)
                size = None if scale is None else scale(op, r, self.ratio, *x, **statics)
                exact = None
                if name in ADDED:
                    sizes = _cross_sizes(*x) if name == "cross" else op(*map(np.abs, x), **statics)
                    exact = self._exact(r, ()) & self._exact(sizes, ())
                elif name in LIMITS:
                    reached = np.isin(r, LIMITS[name]) & np.isfinite(x[0])
                    exact = self._exact(r, x if by_entry else ()) & ~reached
                elif name in ALWAYS:
                    exact = (r == 0) & (size == 0)
                return self.rounded(r, size, x if by_entry else (), exact)

        return noisy

    def _perturbed(self, x: Array, scale: Array) -> Array:
        """A matrix with its backward error."""
        x = np.broadcast_to(x, (self.count, *x.shape[1:]))
        return x + scale * self._errors(x.shape, x)

    def _errors(self, shape: tuple[int, ...], like: Array) -> Array:
        """Errors of standard deviation 0.6 units, in both parts if the numbers are complex."""
        assert self.generator is not None
        found: Array = (_ONE * self.unit) * self.generator.standard_normal(shape, np.float32)
        if np.iscomplexobj(like):
            return found + (_ONE * self.unit * 1j) * self.generator.standard_normal(shape, np.float32)
        return found

    def rounded(
        self, r: Array, scale: Array | None = None, operands: Sequence[Any] = (), exact: Array | None = None
    ) -> Array:
        """A result with its rounding error; none where it is exact, which shows in its digits unless it is given."""
        if r.dtype.kind not in "fc":
            return r
        size = np.maximum(np.abs(r) if scale is None else scale, self.tiny)
        exact = self._exact(r, operands) if exact is None else exact
        exact = exact | ~np.isfinite(size)  # an infinity stays one, and so does what it makes 0, as in softmax
        found = r
        if not exact.all():
            shape = (self.count, *r.shape[1:])
            found = np.multiply(size, self._errors(shape, r))
            np.copyto(found, 0, where=exact)
            found += r
        if self.largest < _DOUBLE and r.dtype.kind == "f":
            found = np.where(np.abs(found) > self.largest, np.copysign(np.inf, found), found)
        return found

    def _exact(self, r: Array, operands: Sequence[Any]) -> Array:
        """Where the result fits the format, or has the same significant digits as an operand: x + 0, 2 x, -x."""
        if r.dtype.kind == "c":
            return self._exact(np.ascontiguousarray(r.real), ()) & self._exact(np.ascontiguousarray(r.imag), ())
        bits = _bits(r)
        exact = (bits & self.mask) == 0
        for x in operands:
            if np.asarray(x).dtype.kind == "f":
                exact = exact | (((bits ^ _bits(x)) & _SIGNIFICAND) == 0)
        return exact


def _bits(x: Any) -> Array:
    return np.ascontiguousarray(x, np.float64).reshape(np.shape(x)).view(np.int64)
