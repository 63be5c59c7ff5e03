"""The vocabulary in NumPy and SciPy: what each primitive means as plain numbers.

NumPy arrays of any real or complex dtype enter `OPS[name](*arrays, **statics)`, a NumPy array leaves, in the dtype
that NumPy's promotion gives. Formulas are the accurate ones of the textbooks, not the shortest: a tail isn't lost and
an overflow that the answer doesn't have isn't met on the way. float16 and bfloat16 are computed in float32 and rounded
once, as NumPy itself does for float16. A NaN or an infinity is an answer like any other and warns of nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import ml_dtypes
import numpy as np
import scipy.linalg
import scipy.special as sp

Array = Any
"""A NumPy array, or one of NumPy's scalars."""

Axes = int | tuple[int, ...] | None

NARROW: Final = frozenset({np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)})
"""Formats that are computed with in float32: neither LAPACK nor SciPy knows them."""

SELU_ALPHA: Final = 1.6732632423543772848170429916717
SELU_SCALE: Final = 1.0507009873554804934193349852946
"""Klambauer et al. (2017), Self-Normalizing Neural Networks, equation 14."""


def _widened(value: Any) -> Any:
    if isinstance(value, list):
        return [_widened(part) for part in value]
    return value.astype(np.float32) if getattr(value, "dtype", None) in NARROW else value


def _dtypes(value: Any) -> list[np.dtype[Any]]:
    if isinstance(value, list):
        return [dtype for part in value for dtype in _dtypes(part)]
    return [value.dtype] if hasattr(value, "dtype") and value.dtype.kind not in "biu" else []


def _primitive(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function without warnings, and with narrow formats computed in float32."""

    @functools.wraps(f, assigned=("__name__", "__qualname__", "__doc__"), updated=())
    def primitive(*arrays: Any, **statics: Any) -> Any:
        with np.errstate(all="ignore"):
            dtypes = [dtype for array in arrays for dtype in _dtypes(array)]
            if not NARROW.intersection(dtypes):
                return f(*arrays, **statics)
            answer = f(*map(_widened, arrays), **statics)
            narrow = np.result_type(*dtypes)
            if isinstance(answer, tuple):
                return tuple(part.astype(narrow) for part in answer)
            return answer.astype(narrow) if answer.dtype == np.float32 else answer

    return primitive


def _either(real: Callable[..., Any], analytic: Callable[..., Any]) -> Callable[..., Any]:
    """One function for real arrays, another for complex ones."""

    def chosen(x: Array, **statics: Any) -> Array:
        return analytic(x, **statics) if np.iscomplexobj(x) else real(x, **statics)

    return chosen


def _cbrt(z: Array) -> Array:
    return np.where(z.real >= 0, z ** (1 / 3), -((-z) ** (1 / 3)))


def _logaddexp(x1: Array, x2: Array) -> Array:
    if not (np.iscomplexobj(x1) or np.iscomplexobj(x2)):
        return np.logaddexp(x1, x2)
    larger = np.where(np.real(x1) > np.real(x2), x1, x2)
    return larger + np.log1p(np.exp(x1 + x2 - 2 * larger))


def _sinc(x: Array) -> Array:
    # The nearest integer is taken off before pi is multiplied in: sin(pi x) near an integer keeps its digits.
    nearest = np.rint(x)
    sine = (1 - 2 * np.remainder(nearest, 2)) * np.sin(np.pi * (x - nearest))
    return np.where(x == 0, np.ones_like(sine), sine / (np.pi * x))


def _clip(x: Array, *, min: float | None = None, max: float | None = None) -> Array:
    raised = x if min is None else np.maximum(x, min)
    return +raised if max is None else np.minimum(raised, max)


def _expit(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def _softplus(z: Array) -> Array:
    right = z.real > 0
    return np.where(right, z, 0) + np.log1p(np.exp(np.where(right, -z, z)))


softplus: Final = _either(lambda x: np.logaddexp(x, 0), _softplus)


def _gelu(x: Array, *, approximate: str = "none") -> Array:
    if approximate == "none":
        return x * sp.ndtr(x)
    # 0.5 (1 + tanh u) = expit(2 u), which keeps its digits in the left tail.
    slope = 2 * np.sqrt(2 / np.pi).item()
    return x * _either(sp.expit, _expit)(slope * (x + 0.044715 * x * x * x))


def _elu(x: Array, *, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: Array, *, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x / alpha, 0)))


def _relu6(x: Array) -> Array:
    return _clip(x, min=0, max=6)


def _logsumexp(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    return sp.logsumexp(x, axis=axis, keepdims=keepdims)


def _log_softmax(x: Array, *, axis: int = -1) -> Array:
    return sp.log_softmax(x, axis=axis)


def _softmax(x: Array, *, axis: int = -1) -> Array:
    return sp.softmax(x, axis=axis)


def _count(x: Array, axis: Axes) -> int:
    axes = range(np.ndim(x)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return int(np.prod([np.shape(x)[a] for a in axes], dtype=np.int64))


def _mean(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    total, n = np.sum(x, axis=axis, keepdims=keepdims), _count(x, axis)
    return total / n if n else total * np.nan


def _var(x: Array, *, axis: Axes = None, correction: float = 0, keepdims: bool = False) -> Array:
    # Two passes: Chan, Golub and LeVeque (1983), Algorithms for Computing the Sample Variance.
    away = np.abs(x - _mean(x, axis=axis, keepdims=True))
    total, n = np.sum(away * away, axis=axis, keepdims=keepdims), _count(x, axis) - correction
    return total / n if n > 0 else total * np.nan


def _std(x: Array, *, axis: Axes = None, correction: float = 0, keepdims: bool = False) -> Array:
    return np.sqrt(_var(x, axis=axis, correction=correction, keepdims=keepdims))


def _vector_norm(x: Array, *, axis: Axes = None, keepdims: bool = False, ord: float = 2) -> Array:
    size = np.abs(x)
    if ord == 0:
        return np.sum(size != 0, axis=axis, keepdims=keepdims, dtype=size.dtype)
    if ord == 1:
        return np.sum(size, axis=axis, keepdims=keepdims)
    if np.isinf(ord):
        return (np.max if ord > 0 else np.min)(size, axis=axis, keepdims=keepdims)
    # Scaled by a power of two, which rounds nothing, so that no square overflows or vanishes.
    largest = np.max(size, axis=axis, keepdims=True, initial=0)
    exponent = np.where(np.isfinite(largest), np.frexp(largest)[1], 0)
    scaled = np.ldexp(size, -exponent)
    powers = scaled * scaled if ord == 2 else scaled**ord
    total = np.sum(powers, axis=axis, keepdims=True)
    root = np.ldexp(np.sqrt(total) if ord == 2 else total ** (1 / ord), exponent)
    if keepdims:
        return root
    return np.squeeze(root, axis=tuple(range(np.ndim(x))) if axis is None else axis)


def _matrix_norm(x: Array, *, keepdims: bool = False) -> Array:
    return _vector_norm(x, axis=(-2, -1), keepdims=keepdims)


def _roll(x: Array, *, shift: tuple[int, ...], axis: Axes = None) -> Array:
    return np.roll(x, sum(shift)) if axis is None else np.roll(x, shift, axis)


def _pad(x: Array, *, width: tuple[int, ...], value: float = 0) -> Array:
    pairs = list(zip(width[::2], width[1::2], strict=True))
    return np.pad(x, pairs, constant_values=value) if pairs else +x


def _vecdot(x1: Array, x2: Array, *, axis: int = -1) -> Array:
    back = axis if axis < 0 else axis - min(np.ndim(x1), np.ndim(x2))
    return np.sum(np.conj(np.moveaxis(x1, back, -1)) * np.moveaxis(x2, back, -1), axis=-1)


def _outer(x1: Array, x2: Array) -> Array:
    return x1[..., :, None] * x2[..., None, :]


def _einsum(*operands: Array, subscripts: str) -> Array:
    return np.einsum(subscripts, *operands, optimize=len(operands) > 2)


def symmetric(x: Array) -> Array:
    """The symmetric (Hermitian) part, which is all that `cholesky` and `eigvalsh` are functions of."""
    return (x + np.conj(np.swapaxes(x, -2, -1))) / 2


def _solve(x1: Array, x2: Array) -> Array:
    if np.ndim(x2) == 1:
        return np.linalg.solve(x1, x2[:, None])[..., 0]
    return np.linalg.solve(x1, x2)


def _solve_triangular(x1: Array, x2: Array, *, lower: bool = True) -> Array:
    """By substitution, row by row; the other triangle isn't read. Golub and Van Loan (2013), section 3.1."""
    right = x2[:, None] if np.ndim(x2) == 1 else x2
    n = x1.shape[-1]
    shape = np.broadcast_shapes(x1.shape[:-2], right.shape[:-2]) + right.shape[-2:]
    answer = np.zeros(shape, np.result_type(x1, right, np.float32))
    for i in range(n) if lower else reversed(range(n)):
        done = slice(0, i) if lower else slice(i + 1, n)
        known = np.matmul(x1[..., i : i + 1, done], answer[..., done, :])[..., 0, :]
        answer[..., i, :] = (right[..., i, :] - known) / x1[..., i, i, None]
    return answer[..., 0] if np.ndim(x2) == 1 else answer


def _slogdet(x: Array) -> tuple[Array, Array]:
    sign, logabsdet = np.linalg.slogdet(x)
    return sign, logabsdet


def _power(x1: Array, x2: Array) -> Array:
    # NumPy refuses negative powers of integers, which are numbers like any other here.
    integers = all(np.asarray(x).dtype.kind in "biu" for x in (x1, x2))
    return np.power(np.asarray(x1, np.float64) if integers and np.any(np.asarray(x2) < 0) else x1, x2)


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    # arithmetic
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "power": _power,
    "remainder": np.remainder,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "atan2": np.arctan2,
    "hypot": np.hypot,
    "logaddexp": _logaddexp,
    "copysign": np.copysign,
    "xlogy": sp.xlogy,
    "xlog1py": sp.xlog1py,
    # elementary
    "abs": np.abs,
    "negative": np.negative,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "cbrt": _either(np.cbrt, _cbrt),
    "reciprocal": lambda x: 1 / x,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "clip": _clip,
    "sinc": _either(_sinc, np.sinc),
    **{name: getattr(np, name) for name in ("real", "imag", "conj", "angle")},
    # special
    "erf": sp.erf,
    "erfc": sp.erfc,
    "erfinv": sp.erfinv,
    "gamma": sp.gamma,
    "gammaln": _either(sp.gammaln, sp.loggamma),
    "digamma": sp.digamma,
    "expit": _either(sp.expit, _expit),
    "logit": _either(sp.logit, lambda z: np.log(z / (1 - z))),
    "ndtr": sp.ndtr,
    "log_ndtr": sp.log_ndtr,
    "ndtri": sp.ndtri,
    "entr": _either(sp.entr, lambda z: -sp.xlogy(z, z)),
    "j0": _either(sp.j0, lambda z: sp.jv(0, z)),
    "j1": _either(sp.j1, lambda z: sp.jv(1, z)),
    "i0": _either(sp.i0, lambda z: sp.iv(0, z)),
    "i1": _either(sp.i1, lambda z: sp.iv(1, z)),
    "i0e": _either(sp.i0e, lambda z: sp.ive(0, z)),
    "i1e": _either(sp.i1e, lambda z: sp.ive(1, z)),
    "betaln": sp.betaln,
    "zeta": sp.zeta,
    "gammainc": sp.gammainc,
    # activations
    "relu": lambda x: np.maximum(x, 0),
    "relu6": _relu6,
    "leaky_relu": lambda x, *, negative_slope=0.01: np.where(x > 0, x, negative_slope * x),
    "elu": _elu,
    "selu": lambda x: SELU_SCALE * _elu(x, alpha=SELU_ALPHA),
    "celu": _celu,
    "gelu": _gelu,
    "silu": lambda x: x * _either(sp.expit, _expit)(x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log_sigmoid": lambda x: -softplus(-x),
    "hard_tanh": lambda x: _clip(x, min=-1, max=1),
    "hard_sigmoid": lambda x: _relu6(x + 3) / 6,
    "hard_swish": lambda x: x * _relu6(x + 3) / 6,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    # comparison
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
    "where": np.where,
    # reductions
    "sum": np.sum,
    "mean": _mean,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "var": _var,
    "std": _std,
    "logsumexp": _logsumexp,
    "vector_norm": _vector_norm,
    "cumulative_sum": lambda x, *, axis=-1: np.cumsum(x, axis=axis),
    "cumulative_prod": lambda x, *, axis=-1: np.cumprod(x, axis=axis),
    "sort": lambda x, *, axis=-1: np.sort(x, axis=axis),
    "flip": lambda x, *, axis=None: np.flip(x, axis),
    "roll": _roll,
    # shapes
    "reshape": lambda x, *, shape: np.reshape(x, shape),
    "permute_dims": lambda x, *, axes: np.transpose(x, axes),
    "matrix_transpose": lambda x: np.swapaxes(x, -2, -1),
    "expand_dims": lambda x, *, axis=0: np.expand_dims(x, axis),
    "squeeze": lambda x, *, axis: np.squeeze(x, axis),
    "moveaxis": lambda x, *, source, destination: np.moveaxis(x, source, destination),
    "broadcast_to": lambda x, *, shape: np.broadcast_to(x, shape),
    "concat": lambda arrays, *, axis=0: np.concatenate(arrays, axis=axis),
    "stack": lambda arrays, *, axis=0: np.stack(arrays, axis=axis),
    "tile": lambda x, *, repetitions: np.tile(x, repetitions),
    "repeat": lambda x, *, repeats, axis=0: np.repeat(x, repeats, axis=axis),
    "pad": _pad,
    "take": lambda x, indices, *, axis=0: np.take(x, indices, axis=axis),
    "tril": lambda x, *, k=0: np.tril(x, k),
    "triu": lambda x, *, k=0: np.triu(x, k),
    "diagonal": lambda x: np.diagonal(x, axis1=-2, axis2=-1),
    "diag": np.diag,
    # linear algebra
    "matmul": np.matmul,
    "vecdot": _vecdot,
    "outer": _outer,
    "kron": np.kron,
    "cross": np.cross,
    "tensordot": lambda x1, x2, *, axes=2: np.tensordot(x1, x2, axes),
    "einsum": _einsum,
    "trace": lambda x: np.trace(x, axis1=-2, axis2=-1),
    "det": np.linalg.det,
    "inv": np.linalg.inv,
    "cholesky": lambda x: np.linalg.cholesky(symmetric(x)),
    "matrix_power": lambda x, *, n: np.linalg.matrix_power(x, n),
    "expm": scipy.linalg.expm,
    "eigvalsh": lambda x: np.linalg.eigvalsh(symmetric(x)),
    "solve": _solve,
    "solve_triangular": _solve_triangular,
    "matrix_norm": _matrix_norm,
    "svdvals": lambda x: np.linalg.svd(x, compute_uv=False),
    "slogdet": _slogdet,
    # indexing
    "getitem": lambda x, *, index: x[index],
}

OPS: Final[dict[str, Callable[..., Any]]] = {name: _primitive(f) for name, f in _FUNCTIONS.items()}
"""For each primitive of the vocabulary the NumPy function: arrays by position, statics by keyword."""
