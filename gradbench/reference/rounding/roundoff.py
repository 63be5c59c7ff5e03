"""How far each primitive may be off when it is computed in a format of some precision.

Arrays with a leading axis (see `replay`) enter; standard deviations leave, in units of 0.6 of the format's: `SCALES` of
results, `BACKWARD` of the matrix whose exact result was computed. A primitive that is in neither table, and not among
the `EXACT` ones, is off by one unit of its result.

What libraries differ in is counted as if it were rounding. A sum's terms may be added in any order, one after another
at worst: the errors of the partial sums add up to k/3 S² + k/6 Σt² for k terms t with the sum S, in squared units. (In
float32 and on 10 to 100,000 numbers, sums along the first axis by NumPy and TensorFlow are within a factor 2 of that;
those of PyTorch and JAX stay below 1.2 S.) Narrow formats add up in float32 everywhere. A special function may be
computed by the textbook's formula where a better one is known: gelu's left tail as x (1 + erf)/2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import scipy.linalg
import scipy.special as sp

Array = Any
Scale = Callable[..., Array]

EXACT: Final = frozenset({
    "maximum", "minimum", "copysign", "negative", "floor", "ceil", "trunc", "round", "clip", "relu", "relu6",
    "hard_tanh", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "logical_and", "logical_or",
    "logical_not", "where", "max", "min", "sort", "flip", "roll", "reshape", "permute_dims",
    "matrix_transpose", "expand_dims", "squeeze", "moveaxis", "broadcast_to", "concat", "stack", "tile", "repeat", "pad",
    "take", "tril", "triu", "diagonal", "diag", "getitem", "pick", "share", "permute_like", "put", "real", "imag", "conj",
})  # fmt: skip
"""What rounds nothing: it moves entries, chooses among them, or changes a sign; abs and sign of complex numbers do."""


LIMITS: Final = {"tanh": (-1, 1), "erf": (-1, 1), "erfc": (2,), "expit": (1,), "ndtr": (1,), "gammainc": (1,)}
"""What a function comes so near to that double precision takes it for reached: there the result isn't exact, and what
a derivative makes of the rest of it, as 1 - y*y, is all rounding."""


def aligned(arrays: Sequence[Any]) -> list[Any]:
    """With axes of length 1 behind the first, so that all have the same rank. Numbers stay as they are."""
    rank = max(np.ndim(x) for x in arrays)
    return [
        x if np.ndim(x) in {0, rank} else x.reshape(x.shape[:1] + (1,) * (rank - x.ndim) + x.shape[1:]) for x in arrays
    ]


def moved(axis: int) -> int:
    """An axis, counted with the leading one."""
    return axis + 1 if axis >= 0 else axis


def axes_of(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """The axes, counted with the leading one; None stands for all the others."""
    if axis is None:
        return tuple(range(1, rank))
    return tuple(moved(a) for a in (axis if isinstance(axis, tuple) else (axis,)))


# Scales: how far one primitive may be off, in units (of 0.6 of the format's) and as a standard deviation.


def _sums(*, products: bool = False, divided: bool = False) -> Scale:
    """Sums of k terms, or of k products, or their mean."""

    def scale(op: Callable[..., Array], r: Array, ratio: float, *x: Array, **statics: Any) -> Array:
        squares = op(*(np.square(np.abs(a)) for a in x), **statics)
        k = _terms(r, x, statics)
        return _sum_scale(r, squares / k if divided else squares, k, ratio, own=products, more=divided)

    return scale


def _sum_scale(r: Array, squares: Array, k: Any, ratio: float, *, own: bool = False, more: bool = False) -> Array:
    """The errors of a sum r of k terms with the sum of `squares`; the terms' `own` errors, and one `more` at the end."""
    added = np.maximum(k - 2, 0)
    whole = (1 + more + ratio**2 * added / 3) * np.square(np.abs(r))
    # A wide accumulator lasts for one loop: of a sum over two axes, one after the other, the first is rounded between.
    between = np.maximum(ratio**2 * added / 6, np.minimum(added, 1) * (ratio < 1))
    return np.sqrt(whole + (between + ratio**2 * own) * squares)


def _terms(r: Array, x: Sequence[Array], statics: Mapping[str, Any]) -> int:
    """How many terms each entry of the result has."""
    if "subscripts" in statics:
        return _letters(x, statics["subscripts"])
    if len(x) == 1:
        return int(x[0].size // len(x[0]) // max(r.size // len(r), 1))
    if "axes" in statics:
        return int(np.prod(x[0].shape[x[0].ndim - statics["axes"] :], dtype=np.int64))
    axis = statics.get("axis", -1)
    return int(x[0].shape[axis if axis < 0 else axis - min(a.ndim for a in x) + 1])


def _letters(x: Sequence[Array], subscripts: str) -> int:
    """How many terms each entry of an einsum has."""
    left, _, right = subscripts.replace(" ", "").partition("->")
    sizes = {c: n for term, a in zip(left.split(","), x, strict=True) for c, n in zip(term, a.shape[1:], strict=True)}
    return int(np.prod([n for c, n in sizes.items() if c not in right], dtype=np.int64))


def _running(op: Callable[..., Array], r: Array, _ratio: float, x: Array, *, axis: int) -> Array:
    # Each partial sum is a result, and two frameworks go on from it as it was rounded.
    return _sum_scale(r, op(np.square(np.abs(x)), axis=axis), _places(r, axis), 1.0)


def _places(r: Array, axis: int) -> Array:
    """1, 2, 3 ... along an axis."""
    shape = [1] * r.ndim
    shape[moved(axis)] = -1
    return np.arange(1, r.shape[moved(axis)] + 1).reshape(shape)


def _relative(part: float) -> Scale:
    """A result made of a sum of k squares, which keeps its relative accuracy; `part` is that of the sum's errors."""

    def scale(_op: Callable[..., Array], r: Array, ratio: float, *x: Array, **_statics: Any) -> Array:
        return np.abs(r) * np.sqrt(2 + (part * ratio) ** 2 * _terms(r, x, {}) / 3)

    return scale


def _product(_op: Callable[..., Array], r: Array, _ratio: float, x: Array, **_statics: Any) -> Array:
    return np.abs(r) * np.sqrt(_terms(r, [x], {}))


def _running_product(_op: Callable[..., Array], r: Array, _ratio: float, _x: Array, *, axis: int) -> Array:
    return np.abs(r) * np.sqrt(_places(r, axis))


def _shifted(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return np.max(x.real, axis=axes, keepdims=keepdims)


def _logsumexp(_op: Callable[..., Array], r: Array, ratio: float, x: Array, *, axis: Any, keepdims: bool) -> Array:
    largest = _shifted(x, axes_of(axis, x.ndim), keepdims)
    k = x.size / len(x) / max(r.size / len(r), 1)
    return np.sqrt(1 + np.square(largest) + np.square(np.abs(r - largest)) + ratio**2 * k / 3)


def _softmax(_op: Callable[..., Array], r: Array, ratio: float, x: Array, *, axis: int) -> Array:
    away = x.real - _shifted(x, (moved(axis),), keepdims=True)
    return np.abs(r) * np.sqrt(2 + np.square(away) + ratio**2 * x.shape[moved(axis)] / 3)


def _log_softmax(_op: Callable[..., Array], r: Array, ratio: float, x: Array, *, axis: int) -> Array:
    away = x.real - _shifted(x, (moved(axis),), keepdims=True)
    return np.sqrt(np.square(np.abs(r)) + np.square(away) + ratio**2 * x.shape[moved(axis)] / 3)


def _trace(_op: Callable[..., Array], r: Array, ratio: float, x: Array) -> Array:
    squares = np.sum(np.square(np.abs(np.diagonal(x, axis1=-2, axis2=-1))), -1)
    return _sum_scale(r, squares, min(x.shape[-2:]), ratio)


def _cross(_op: Callable[..., Array], r: Array, _ratio: float, x1: Array, x2: Array) -> Array:
    a, b = (np.square(np.abs(x)) for x in aligned([x1, x2]))
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
    return np.where(x == 0, np.abs(r), np.abs(r) + 2 * np.maximum(growth, 1))


def _entry(f: Callable[..., Array]) -> Scale:
    """A scale that depends on the result and the arguments, entry by entry."""
    return lambda _op, r, _ratio, *x, **_: f(r, *x)


def _betaln(r: Array, x1: Array, x2: Array) -> Array:
    return np.abs(r) + sum(np.abs(sp.gammaln(a)) + 2 for a in (x1, x2, x1 + x2))


def _expm(_op: Callable[..., Array], r: Array, _ratio: float, x: Array) -> Array:
    squarings = np.maximum(np.log2(_size(x) * np.sqrt(x.shape[-1]) + 1e-300), 0)
    return np.sqrt(np.square(np.abs(r)) + (1 + squarings) * np.square(_size(r)))


def _matrix_power(op: Callable[..., Array], r: Array, _ratio: float, x: Array, *, n: int) -> Array:
    if n in {0, 1}:
        return np.abs(r)
    base = np.abs(x if n > 0 else np.linalg.inv(x))
    return op(base, n=abs(n)) * np.sqrt(1 + x.shape[-1] / 6)


SCALES: Final[dict[str, Scale]] = {
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
    "prod": _product,
    "var": _relative(1),
    "std": _relative(0.5),
    "vector_norm": _relative(0.5),
    "matrix_norm": _relative(0.5),
    "logsumexp": _logsumexp,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logaddexp": _entry(lambda r, x1, x2: np.abs(r) + np.abs(np.maximum(np.real(x1), np.real(x2)))),
    "sinc": _entry(lambda r, x: np.where(x == 0, 0, np.abs(r) + 1)),
    "gelu": _entry(lambda r, x: np.abs(r) + np.abs(x) / 2),
    "logit": _entry(lambda r, _x: np.abs(r) + 1),
    "ndtr": _entry(lambda r, x: np.abs(r) * (1 + np.square(np.minimum(np.real(x), 0))) + 0.5),
    "erfinv": _entry(lambda r, _x: 4 * np.abs(r) + np.exp(np.square(np.abs(r)))),
    "gamma": _entry(lambda r, x: np.abs(r) * (1 + np.abs(sp.loggamma(x + 0j)))),
    "gammaln": _entry(lambda r, _x: np.abs(r) + 4),
    "digamma": _entry(lambda r, _x: np.abs(r) + 2),
    "betaln": _entry(_betaln),
    "zeta": _entry(lambda r, _x, _q: 4 * np.abs(r)),
    "gammainc": _entry(lambda r, _a, _x: 4 * np.abs(r)),
    "polygamma": _entry(lambda r, _x: 4 * np.abs(r)),
    "j0": _entry(lambda r, x: np.where(x == 0, np.abs(r), np.abs(r) + 2)),
    "j1": _entry(lambda r, x: np.where(x == 0, np.abs(r), np.abs(r) + 2)),
    "bessel_j": _bessel_j,
    "bessel_i": _bessel_i,
    "spherical_j": _spherical_j,
    "det": lambda _op, r, _ratio, x: np.abs(r) * np.sqrt(x.shape[-1]),
    "expm": _expm,
    "matrix_power": _matrix_power,
}

ADDED: Final = frozenset({"sum", "mean", "trace", "matmul", "vecdot", "tensordot", "einsum", "cross", "cumulative_sum"})
"""Sums, of which a result that fits the format is exact only if the sum of the sizes fits it as well: what cancelled
may have been rounded before."""

ALWAYS: Final = frozenset({
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


BACKWARD: Final[dict[str, Callable[[Array], Array]]] = {
    "det": _factors,
    "slogdet": _factors,
    "cofactor": _factors,
    "inv": _factors,
    "solve": _factors,
    "matrix_power": np.abs,
    "solve_triangular": _substitution,
    "cholesky": _pivots,
    "eigvalsh": _size,
    "eigh": _size,
    "svdvals": _size,
    "svd": _size,
    "expm": lambda x: 3 * _size(x),
}
