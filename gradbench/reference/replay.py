"""Monte-Carlo arithmetic: the primitives, each with a random rounding error of its own.

A precision, a random generator and a number of replays enter; `Replay.ops` leaves: the vocabulary and the internal
words on float64 arrays with a leading axis, one entry of it for each replay (or of length 1 where a value is the same
in all of them, as in `batch`). Every result is moved by a normal error whose standard deviation is what rounding to
the precision would have: 0.6 units for one operation (an error uniform within a unit has 0.58), more for sums and for
matrix functions, and nothing where the result is exact. Source: Parker (1997), Monte Carlo Arithmetic, section 5.

What libraries differ in is counted as if it were rounding. A sum's terms may be added in any order, one after another
at worst: the errors of the partial sums add up to k/3 S² + k/6 Σt² for k terms t with the sum S, in squared units. (In
float32 and on 10 to 100,000 numbers, sums along the first axis by NumPy and TensorFlow were within a factor 2 of
that; PyTorch and JAX stay below 1.2 S.) Narrow formats add up in float32 everywhere. A special function may be
computed by the textbook's formula where a better one is known: gelu's left tail as x (1 + erf)/2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import ml_dtypes
import numpy as np
import scipy.linalg
import scipy.special as sp

from gradbench.primitives import ARITHMETIC, VOCABULARY
from gradbench.program import Number
from gradbench.reference import batch
from gradbench.reference.internal_ops import INTERNAL_OPS

Array = Any
Scale = Callable[..., Array]

DIGITS: Final = {
    "float64": 53, "float32": 24, "float16": 11, "bfloat16": 8, "complex128": 53, "complex64": 24,
}  # fmt: skip
"""The significant bits of each format."""

VIRTUAL: Final = 33
"""float64 is replayed with this many bits, for its own errors can't be seen in float64; what is found is then scaled
down, which holds as long as errors stay small enough to be linear."""

_BITS: Final = 52
_SIGNIFICAND: Final = np.int64(2**_BITS - 1)
_ONE: Final = 0.6
_ACCUMULATOR: Final = 2.0**-24
"""The unit that narrow formats add up in, measured in three frameworks; float16 sums of TensorFlow along the first
axis are an exception, and worse than rounding needs to be."""


def _aligned(arrays: Sequence[Any]) -> list[Any]:
    """With axes of length 1 behind the first, so that all have the same rank. Numbers stay as they are."""
    rank = max(np.ndim(x) for x in arrays)
    return [
        x if np.ndim(x) in {0, rank} else x.reshape(x.shape[:1] + (1,) * (rank - x.ndim) + x.shape[1:]) for x in arrays
    ]


# The internal words with a leading axis


def _moved(axis: int) -> int:
    return axis + 1 if axis >= 0 else axis


def _axes(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(1, rank))
    return tuple(_moved(a) for a in (axis if isinstance(axis, tuple) else (axis,)))


def _pick(*arrays: Array) -> Array:
    return INTERNAL_OPS["pick"](*_aligned(arrays))


def _share(x: Array, *, axis: int | tuple[int, ...] | None) -> Array:
    return INTERNAL_OPS["share"](x, axis=_axes(axis, x.ndim))


def _permute_like(x: Array, key: Array, *, axis: int, inverse: bool) -> Array:
    count = max(len(x), len(key))
    x, key = (np.broadcast_to(a, (count, *a.shape[1:])) for a in (x, key))
    return INTERNAL_OPS["permute_like"](x, key, axis=_moved(axis), inverse=inverse)


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

# What rounds nothing: it moves entries, chooses among them, or changes a sign.
_EXACT: Final = frozenset({
    "maximum", "minimum", "copysign", "abs", "negative", "sign", "floor", "ceil", "trunc", "round", "clip", "relu",
    "relu6", "hard_tanh", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "logical_and",
    "logical_or", "logical_not", "where", "max", "min", "sort", "flip", "roll", "reshape", "permute_dims",
    "matrix_transpose", "expand_dims", "squeeze", "moveaxis", "broadcast_to", "concat", "stack", "tile", "repeat", "pad",
    "take", "tril", "triu", "diagonal", "diag", "getitem", "pick", "share", "permute_like", "put", "conj", "real",
})  # fmt: skip

_BY_ENTRY: Final = frozenset(
    name for name, word in VOCABULARY.items() if word.shape in {"elementwise", "broadcast"}
) | {"polygamma", "bessel_j", "bessel_i", "spherical_j"}  # fmt: skip


# Scales: how far one primitive may be off, in units (of 0.6 of the format's) and as a standard deviation.


def _sums(*, products: bool = False, divided: bool = False) -> Scale:
    """Sums of k terms, or of k products, or their mean."""

    def scale(op: Callable[..., Array], r: Array, ratio: float, *x: Array, **statics: Any) -> Array:
        squares = op(*(np.square(np.abs(a)) for a in x), **statics)
        k = _letters(x, statics["subscripts"]) if "subscripts" in statics else _summed(r, x)
        return _sum_scale(r, squares / k if divided else squares, k, ratio, own=products, more=divided)

    return scale


def _sum_scale(r: Array, squares: Array, k: Any, ratio: float, *, own: bool = False, more: bool = False) -> Array:
    """The errors of a sum r of k terms with the sum of `squares`; the terms' `own` errors, and one `more` at the end."""
    added = np.maximum(k - 2, 0)
    whole = (1 + more + ratio**2 * added / 3) * np.square(np.abs(r))
    return np.sqrt(whole + ratio**2 * (added / 6 + own) * squares)


def _summed(r: Array, x: Sequence[Array]) -> float:
    """How many terms each entry of the result has: the geometric mean, if the result is a product of two."""
    entries = r.size / len(r)
    if len(x) == 1:
        return x[0].size / len(x[0]) / max(entries, 1)
    sizes = [a.size / len(a) for a in x]
    return float(max(np.sqrt(sizes[0] * sizes[1] / max(entries, 1)), 1.0))


def _letters(x: Sequence[Array], subscripts: str) -> int:
    """How many terms each entry of an einsum has."""
    left, _, right = subscripts.replace(" ", "").partition("->")
    sizes = {c: n for term, a in zip(left.split(","), x, strict=True) for c, n in zip(term, a.shape[1:], strict=True)}
    return int(np.prod([n for c, n in sizes.items() if c not in right], dtype=np.int64))


def _running(op: Callable[..., Array], r: Array, ratio: float, x: Array, *, axis: int) -> Array:
    return _sum_scale(r, op(np.square(np.abs(x)), axis=axis), _places(r, axis), ratio)


def _places(r: Array, axis: int) -> Array:
    """1, 2, 3 ... along an axis."""
    shape = [1] * r.ndim
    shape[_moved(axis)] = -1
    return np.arange(1, r.shape[_moved(axis)] + 1).reshape(shape)


def _relative(growth: Callable[[float], float]) -> Scale:
    """A result of k entries that keeps its relative accuracy, up to a factor."""
    return lambda _op, r, _ratio, x, **_: np.abs(r) * growth(x.size / max(r.size * len(x) / len(r), 1))


def _running_product(_op: Callable[..., Array], r: Array, _ratio: float, _x: Array, *, axis: int) -> Array:
    return np.abs(r) * np.sqrt(_places(r, axis))


def _shifted(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return np.max(x.real, axis=axes, keepdims=keepdims)


def _logsumexp(_op: Callable[..., Array], r: Array, ratio: float, x: Array, *, axis: Any, keepdims: bool) -> Array:
    largest = _shifted(x, _axes(axis, x.ndim), keepdims)
    k = x.size / len(x) / max(r.size / len(r), 1)
    return np.sqrt(1 + np.square(largest) + np.square(np.abs(r - largest)) + ratio**2 * k / 3)


def _softmax(_op: Callable[..., Array], r: Array, ratio: float, x: Array, *, axis: int) -> Array:
    away = x.real - _shifted(x, (_moved(axis),), keepdims=True)
    return np.abs(r) * np.sqrt(2 + np.square(away) + ratio**2 * x.shape[_moved(axis)] / 3)


def _log_softmax(_op: Callable[..., Array], r: Array, ratio: float, x: Array, *, axis: int) -> Array:
    away = x.real - _shifted(x, (_moved(axis),), keepdims=True)
    return np.sqrt(np.square(np.abs(r)) + np.square(away) + ratio**2 * x.shape[_moved(axis)] / 3)


def _trace(_op: Callable[..., Array], r: Array, ratio: float, x: Array) -> Array:
    squares = np.sum(np.square(np.abs(np.diagonal(x, axis1=-2, axis2=-1))), -1)
    return _sum_scale(r, squares, min(x.shape[-2:]), ratio)


def _cross(_op: Callable[..., Array], r: Array, _ratio: float, x1: Array, x2: Array) -> Array:
    a, b = (np.square(np.abs(x)) for x in _aligned([x1, x2]))
    one, other = np.roll(a, -1, -1) * np.roll(b, 1, -1), np.roll(a, 1, -1) * np.roll(b, -1, -1)
    return np.sqrt(np.square(np.abs(r)) + one + other)


def _spherical_j(_op: Callable[..., Array], r: Array, _ratio: float, x: Array, *, n: int) -> Array:
    # (cos z - sin z / z) / z and its kin: the terms that cancel are as large as this.
    return np.where(x == 0, np.abs(r), np.abs(r) + 1 + 2 * sp.factorial2(2 * n - 1) / np.abs(x) ** n)


def _bessel_i(_op: Callable[..., Array], r: Array, _ratio: float, x: Array, *, n: int, scaled: bool) -> Array:
    # Upward recurrence from I_0 and I_1, as in I_0 - I_1 / x: each step multiplies an error by 2 k / x.
    growth = np.prod([2 * k / np.abs(x) for k in range(1, n)], axis=0) if n > 1 else 0
    return np.where(x == 0, np.abs(r), np.abs(r) + growth * (sp.ive(0, x) if scaled else sp.iv(0, x)))


def _bessel_j(_op: Callable[..., Array], r: Array, _ratio: float, x: Array, *, n: int) -> Array:
    growth = np.prod([2 * k / np.abs(x) for k in range(1, n)], axis=0) if n > 1 else 1
    return np.where(x == 0, np.abs(r), np.abs(r) + np.maximum(growth, 1))


def _entry(f: Callable[..., Array]) -> Scale:
    """A scale that depends on the result and the arguments, entry by entry."""
    return lambda _op, r, _ratio, *x, **_: f(r, *x)


def _betaln(r: Array, x1: Array, x2: Array) -> Array:
    return np.abs(r) + sum(np.abs(sp.gammaln(a)) for a in (x1, x2, x1 + x2))


def _expm(_op: Callable[..., Array], r: Array, _ratio: float, x: Array) -> Array:
    squarings = np.maximum(np.log2(_size(x) * np.sqrt(x.shape[-1]) + 1e-300), 0)
    return np.sqrt(np.square(np.abs(r)) + (1 + squarings) * np.square(_size(r)))


def _matrix_power(op: Callable[..., Array], r: Array, _ratio: float, x: Array, *, n: int) -> Array:
    if n in {0, 1}:
        return np.abs(r)
    base = np.abs(x if n > 0 else np.linalg.inv(x))
    return op(base, n=abs(n)) * np.sqrt(1 + x.shape[-1] / 6)


_SCALES: Final[dict[str, Scale]] = {
    "sum": _sums(),
    "mean": _sums(divided=True),
    "trace": _trace,
    "matmul": _sums(products=True),
    "vecdot": _sums(products=True),
    "tensordot": _sums(products=True),
    "einsum": _sums(products=True),
    "cross": _cross,
    "cumulative_sum": _running,
    "cumulative_prod": _running_product,
    "prod": _relative(np.sqrt),
    "var": _relative(lambda k: np.sqrt(2 + k / 3)),
    "std": _relative(lambda k: np.sqrt(2 + k / 12)),
    "vector_norm": _relative(lambda k: np.sqrt(2 + k / 12)),
    "matrix_norm": _relative(lambda k: np.sqrt(2 + k / 12)),
    "logsumexp": _logsumexp,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logaddexp": _entry(lambda r, x1, x2: np.abs(r) + np.abs(np.maximum(np.real(x1), np.real(x2)))),
    "sinc": _entry(lambda r, x: np.where(x == 0, 0, np.abs(r) + 1)),
    "gelu": _entry(lambda r, x: np.abs(r) + np.abs(x) / 2),
    "logit": _entry(lambda r, _x: np.abs(r) + 1),
    "ndtr": _entry(lambda r, x: np.abs(r) * (1 + np.square(np.abs(x))) + 0.5),
    "erfinv": _entry(lambda r, _x: 4 * np.abs(r) + np.exp(np.square(np.abs(r)))),
    "gamma": _entry(lambda r, x: np.abs(r) * (1 + np.abs(sp.loggamma(x + 0j)))),
    "gammaln": _entry(lambda r, _x: np.abs(r) + 1),
    "digamma": _entry(lambda r, _x: np.abs(r) + 2),
    "betaln": _entry(_betaln),
    "zeta": _entry(lambda r, _x, _q: 4 * np.abs(r)),
    "gammainc": _entry(lambda r, _a, _x: 4 * np.abs(r)),
    "polygamma": _entry(lambda r, _x: 4 * np.abs(r)),
    "j0": _entry(lambda r, x: np.where(x == 0, np.abs(r), np.abs(r) + 1)),
    "j1": _entry(lambda r, x: np.where(x == 0, np.abs(r), np.abs(r) + 1)),
    "bessel_j": _bessel_j,
    "bessel_i": _bessel_i,
    "spherical_j": _spherical_j,
    "det": lambda _op, r, _ratio, x: np.abs(r) * np.sqrt(x.shape[-1]),
    "expm": _expm,
    "matrix_power": _matrix_power,
}


_ALWAYS: Final = frozenset({
    "sinc", "gelu", "logit", "ndtr", "erfinv", "gamma", "gammaln", "digamma", "betaln", "zeta", "gammainc", "polygamma",
    "j0", "j1", "bessel_j", "bessel_i", "spherical_j", "logsumexp", "softmax", "log_softmax", "expm",
})  # fmt: skip
"""What is off by its scale even where the right answer happens to fit the format: sinc(1) is 0, and nobody answers 0."""

# Backward errors: the matrix whose exact function was computed, as a distance from the matrix that was meant.


def _size(x: Array) -> Array:
    """The root mean square of the rows' norms."""
    return np.sqrt(np.sum(np.square(np.abs(x)), (-2, -1), keepdims=True) / x.shape[-1])


def _factors(x: Array) -> Array:
    """Gaussian elimination: each entry is a sum of n products of the factors. Higham (2002), theorem 9.3."""
    n = x.shape[-1]
    lower, upper = scipy.linalg.lu(np.nan_to_num(x), permute_l=True)
    products = np.square(np.abs(lower)) @ np.square(np.abs(upper))
    return np.sqrt((1 + n / 3) * np.square(np.abs(x)) + (1 + n / 6) * products)


def _pivots(x: Array) -> Array:
    """Cholesky: the products are bounded by the diagonal. Higham (2002), theorem 10.3."""
    root = np.sqrt(np.abs(np.diagonal(x, axis1=-2, axis2=-1)))
    return np.sqrt(1 + x.shape[-1] / 6) * root[..., :, None] * root[..., None, :]


def _substitution(x: Array) -> Array:
    """Triangular systems: entry by entry. Higham (2002), theorem 8.5."""
    return np.abs(x) * np.sqrt(1 + x.shape[-1] / 6)


_BACKWARD: Final[dict[str, Callable[[Array], Array]]] = {
    "det": _factors,
    "slogdet": _factors,
    "cofactor": _factors,
    "inv": _factors,
    "solve": _factors,
    "matrix_power": lambda x: np.abs(x),
    "solve_triangular": _substitution,
    "cholesky": _pivots,
    "eigvalsh": _size,
    "eigh": _size,
    "svdvals": _size,
    "svd": _size,
    "expm": _size,
}


class Replay:
    """Rounding errors of one precision, drawn for a number of replays at a time.

    Attributes:
        unit: Half the distance from 1 to the next number, as it is replayed.
        shrink: What a deviation that was found is to be multiplied by.
        ops: The primitives, for `evaluate`.
    """

    def __init__(self, dtype: np.dtype[Any], generator: np.random.Generator | None) -> None:
        self.digits = min(DIGITS[dtype.name], VIRTUAL)
        self.unit = 2.0**-self.digits
        self.shrink = 2.0 ** (self.digits - DIGITS[dtype.name])
        self.generator = generator
        self.ratio = min(_ACCUMULATOR / self.unit, 1.0)
        limits = ml_dtypes.finfo(dtype)
        self.largest, self.tiny = float(limits.max), float(limits.tiny)
        self.mask = np.int64(2 ** (_BITS + 1 - self.digits) - 1)
        self.count = 1
        self.dtype = dtype
        self.ops: dict[str, Callable[..., Any]] = {"asarray": lambda number: np.asarray([self._number(number)])}
        for name, op in {**batch.OPS, **_INTERNAL}.items():
            rounded = op if generator is None or name in _EXACT else self._noisy(name, op)
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
        scale, backward, by_entry, always = _SCALES.get(name), _BACKWARD.get(name), name in _BY_ENTRY, name in _ALWAYS

        def noisy(*x: Any, **statics: Any) -> Any:
            with np.errstate(all="ignore"):
                if by_entry:
                    x = tuple(_aligned(x))
                elif backward is not None:
                    x = (self._moved(x[0], backward(x[0][:1])), *x[1:])
                r = op(*x, **statics)
                if isinstance(r, tuple):
                    return tuple(self.rounded(part) for part in r)
                size = None if scale is None else scale(op, r, self.ratio, *x, **statics)
                return self.rounded(r, size, None if always else x if by_entry else ())

        return noisy

    def _moved(self, x: Array, scale: Array) -> Array:
        """A matrix with its backward error."""
        x = np.broadcast_to(x, (self.count, *x.shape[1:]))
        return x + scale * self._errors(x)

    def _errors(self, like: Array) -> Array:
        assert self.generator is not None
        found: Array = (_ONE * self.unit) * self.generator.standard_normal(like.shape, np.float32)
        if np.iscomplexobj(like):
            return found + (_ONE * self.unit * 1j) * self.generator.standard_normal(like.shape, np.float32)
        return found

    def rounded(self, r: Array, scale: Array | None = None, operands: Sequence[Any] | None = ()) -> Array:
        """A result with its rounding error; none where it is exact, unless there are no operands to tell from."""
        if r.dtype.kind not in "fc":
            return r
        size = np.maximum(np.abs(r) if scale is None else scale, self.tiny)
        exact = (size == self.tiny) & (r == 0) if operands is None else self._exact(r, operands)
        if exact.all():
            return r
        wide = np.broadcast_to(r, (self.count, *r.shape[1:]))
        moved = wide + np.where(exact, 0, size) * self._errors(wide)
        if self.largest < np.finfo(np.float64).max and r.dtype.kind == "f":
            moved = np.where(np.abs(moved) > self.largest, np.copysign(np.inf, moved), moved)
        return moved

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

