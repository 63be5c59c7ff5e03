"""The vocabulary in autograd's words: the part of the adapter `autograd` that spells primitives.

Arrays of autograd's own, which are NumPy's, enter and leave; nothing is differentiated here.

Where a primitive has several spellings, the one that autograd can differentiate is taken: `concatenate`, not `concat`.
Where autograd wraps NumPy's function and has no derivative of it in any spelling, the value is there and a derivative
is refused.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Final

import autograd.numpy as anp
from autograd.numpy import linalg
from autograd.scipy import special
from autograd.scipy.linalg import expm, solve_triangular
from autograd.scipy.stats import norm

from gradbench.adapter import Native

Op = Callable[..., Any]
Axes = int | tuple[int, ...] | None

# The primitives whose name and signature, static arguments included, are autograd's own.
_NUMPY: Final = """
    maximum minimum atan2 hypot logaddexp copysign abs sign square sqrt cbrt reciprocal exp exp2 expm1 log log2 log10
    log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh floor ceil trunc round sinc
    less less_equal greater greater_equal equal not_equal logical_and logical_or logical_not where
    sum mean prod max min sort expand_dims squeeze moveaxis stack repeat tril triu diag matmul outer kron cross
    real imag conj angle
"""
_SPECIAL: Final = "erf erfc erfinv gamma gammaln digamma expit logit j0 j1 i0 i1 betaln gammainc logsumexp"
_LINALG: Final = "det slogdet inv cholesky matrix_power solve"

SELU: Final = (1.0507009873554805, 1.6732632423543772)
"""Scale and alpha: Klambauer et al. (2017), Self-Normalizing Neural Networks, equation 14."""


def _clip(x: Native, *, min: float | None, max: float | None) -> Native:
    return anp.clip(x, min, max)


def _deviation(function: Op) -> Op:
    """`anp.var` or `anp.std`."""
    return lambda x, *, axis, correction, keepdims: function(x, axis=axis, ddof=correction, keepdims=keepdims)


def _vector_norm(x: Native, *, axis: Axes, keepdims: bool, ord: float) -> Native:
    """`linalg.norm`, which takes all axes for a vector's only if there is one: several are joined to one."""
    if isinstance(axis, int) or (axis is None and anp.ndim(x) == 1):
        return linalg.norm(x, ord, axis, keepdims=keepdims) if keepdims else linalg.norm(x, ord, axis)
    shape = anp.shape(x)
    gone = tuple(range(len(shape))) if axis is None else tuple(a % len(shape) for a in axis)
    left = tuple(n for a, n in enumerate(shape) if a not in gone)
    joined = anp.reshape(anp.moveaxis(x, gone, tuple(range(-len(gone), 0))), (*left, -1))
    found = linalg.norm(joined, ord, -1)
    return anp.reshape(found, [1 if a in gone else n for a, n in enumerate(shape)]) if keepdims else found


def _matrix_norm(x: Native, *, keepdims: bool) -> Native:
    # its derivative takes axes that are counted from the front
    axis = (anp.ndim(x) - 2, anp.ndim(x) - 1)
    return linalg.norm(x, "fro", axis, keepdims=True) if keepdims else linalg.norm(x, "fro", axis)


def _roll(x: Native, *, shift: tuple[int, ...], axis: Axes) -> Native:
    if axis is None:
        return anp.roll(x, sum(shift))
    return anp.roll(x, shift[0] if len(shift) == 1 else shift, axis)


def _flip(x: Native, *, axis: Axes) -> Native:
    axes = range(anp.ndim(x)) if axis is None else (axis,) if isinstance(axis, int) else axis
    turned = {a % anp.ndim(x) for a in axes}
    return x[tuple(slice(None, None, -1 if a in turned else None) for a in range(anp.ndim(x)))]


def _pad(x: Native, *, width: tuple[int, ...], value: float) -> Native:
    pairs = list(zip(width[::2], width[1::2], strict=True))
    return anp.pad(x, pairs, "constant", constant_values=value) if pairs else x


def _take(x: Native, indices: Native, *, axis: int) -> Native:
    return x[(slice(None),) * (axis % anp.ndim(x)) + (indices,)]


def _diagonal(x: Native) -> Native:
    # the only two axes whose diagonal autograd differentiates
    return anp.diagonal(x, axis1=-1, axis2=-2)


def _trace(x: Native) -> Native:
    # of one matrix its trace; for a stack of them autograd differentiates only this
    return anp.trace(x) if anp.ndim(x) == 2 else anp.sum(_diagonal(x), axis=-1)


def _vecdot(x1: Native, x2: Native, *, axis: int) -> Native:
    one = anp.conj(x1) if anp.iscomplexobj(x1) else x1
    return anp.einsum("...i,...i->...", anp.moveaxis(one, axis, -1), anp.moveaxis(x2, axis, -1))


# What autograd has no function for, as its users write it: without a branch that overflows where it isn't taken.


def _xlogy(x1: Native, x2: Native) -> Native:
    return x1 * anp.log(anp.where(anp.logical_and(x1 == 0, x2 <= 0), 1.0, x2))


def _xlog1py(x1: Native, x2: Native) -> Native:
    return x1 * anp.log1p(anp.where(anp.logical_and(x1 == 0, x2 <= -1), 0.0, x2))


def _entr(x: Native) -> Native:
    inside = -x * anp.log(anp.where(x > 0, x, 1.0))
    return anp.where(x < 0, -math.inf, inside)


def _ndtri(x: Native) -> Native:
    return -math.sqrt(2) * special.erfcinv(2 * x)  # doubling rounds nothing; 2 x - 1 would lose the left tail


def _leaky_relu(x: Native, *, negative_slope: float) -> Native:
    return anp.where(x > 0, x, negative_slope * x)


def _elu(x: Native, *, alpha: float) -> Native:
    return anp.where(x > 0, x, alpha * anp.expm1(anp.where(x > 0, 0.0, x)))


def _celu(x: Native, *, alpha: float) -> Native:
    return anp.where(x > 0, x, alpha * anp.expm1(anp.where(x > 0, 0.0, x) / alpha))


def _gelu(x: Native, *, approximate: str) -> Native:
    if approximate == "tanh":
        return 0.5 * x * (1 + anp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + special.erf(x / math.sqrt(2)))


def _softplus(x: Native) -> Native:
    return anp.logaddexp(0.0, x)


def _relu6(x: Native) -> Native:
    return anp.clip(x, 0.0, 6.0)


def _softmax(x: Native, *, axis: int) -> Native:
    shares = anp.exp(x - anp.max(x, axis=axis, keepdims=True))
    return shares / anp.sum(shares, axis=axis, keepdims=True)


def _log_softmax(x: Native, *, axis: int) -> Native:
    return x - special.logsumexp(x, axis=axis, keepdims=True)


COMPOSITES: Final[dict[str, Op]] = {
    "xlogy": _xlogy,
    "xlog1py": _xlog1py,
    "entr": _entr,
    "ndtri": _ndtri,
    "relu": lambda x: anp.maximum(x, 0.0),
    "relu6": _relu6,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": lambda x: SELU[0] * _elu(x, alpha=SELU[1]),
    "celu": _celu,
    "gelu": _gelu,
    "silu": lambda x: x * special.expit(x),
    "mish": lambda x: x * anp.tanh(_softplus(x)),
    "softplus": _softplus,
    "softsign": lambda x: x / (1 + anp.abs(x)),
    "log_sigmoid": lambda x: -_softplus(-x),
    "hard_tanh": lambda x: anp.clip(x, -1.0, 1.0),
    "hard_sigmoid": lambda x: _relu6(x + 3) / 6,
    "hard_swish": lambda x: x * _relu6(x + 3) / 6,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
}
"""The primitives that autograd has no function for, put together from those that it has."""

OPS: Final[dict[str, Op]] = {
    **{name: getattr(anp, name) for name in _NUMPY.split()},
    **{name: getattr(special, name) for name in _SPECIAL.split()},
    **{name: getattr(linalg, name) for name in _LINALG.split()},
    **COMPOSITES,
    # arithmetic: Python's operators, which also take a number on the left
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "remainder": operator.mod,
    "negative": operator.neg,
    # elementwise
    "rsqrt": lambda x: x**-0.5,
    "clip": _clip,
    "ndtr": norm.cdf,
    "log_ndtr": norm.logcdf,
    "i0e": lambda x: special.ive(0, x),
    "i1e": lambda x: special.ive(1, x),
    # along axes
    "var": _deviation(anp.var),
    "std": _deviation(anp.std),
    "vector_norm": _vector_norm,
    "cumulative_sum": anp.cumsum,
    "cumulative_prod": anp.cumprod,
    "flip": _flip,
    "roll": _roll,
    # shapes and indices
    "reshape": lambda x, *, shape: anp.reshape(x, shape),
    "permute_dims": lambda x, *, axes: anp.transpose(x, axes),
    "matrix_transpose": lambda x: anp.swapaxes(x, -2, -1),
    "broadcast_to": lambda x, *, shape: anp.broadcast_to(x, shape),
    "concat": anp.concatenate,
    "tile": lambda x, *, repetitions: anp.tile(x, repetitions),
    "pad": _pad,
    "take": _take,
    "diagonal": _diagonal,
    "getitem": lambda x, *, index: x[index],
    # linear algebra
    "vecdot": _vecdot,
    "tensordot": lambda x1, x2, *, axes: anp.tensordot(x1, x2, axes),
    "einsum": lambda *operands, subscripts: anp.einsum(subscripts, *operands),
    "trace": _trace,
    "expm": expm,
    "eigvalsh": lambda x: linalg.eigh(x)[0],
    "solve_triangular": lambda x1, x2, *, lower: solve_triangular(x1, x2, lower=lower),
    "matrix_norm": _matrix_norm,
    "svdvals": lambda x: linalg.svd(x, compute_uv=False),
}
"""The primitives, by name."""
