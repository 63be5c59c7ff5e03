"""How TensorFlow spells each primitive: `OPS`, and which of them it has no function for.

Primitives are `tf.math`, `tf.nn` and `tf.linalg`, and where those lack one `tf.experimental.numpy`, which is TensorFlow's
as well.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradbench.adapter import Native
from gradbench.errors import Unsupported
from gradbench.primitives import VOCABULARY

Op = Callable[..., Any]
Axes = int | tuple[int, ...] | None

tnp = tf.experimental.numpy

# The primitives whose name and signature are TensorFlow's own.
_MATH: Final = """
    maximum minimum atan2 xlogy xlog1py abs sign square sqrt rsqrt reciprocal exp expm1 log log1p
    sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh floor ceil round erf erfc erfinv digamma ndtri zeta
    less less_equal greater greater_equal equal not_equal real imag conj angle
"""
_NN: Final = "relu relu6 selu silu softplus softsign softmax log_softmax"
_LINALG: Final = "matrix_transpose tensordot trace det slogdet inv cholesky expm eigvalsh"
_TF: Final = "reshape expand_dims squeeze broadcast_to repeat sort"
_NUMPY: Final = "hypot logaddexp cbrt log2 log10 sinc moveaxis kron"
_REDUCE: Final = "sum mean prod max min logsumexp"
_BESSEL: Final = "j0 j1 i0 i1 i0e i1e"

# Dtypes. TensorFlow converts none by itself: where an integer mask meets a floating-point array, its users write
# `tf.cast`. It is written for them here, and isn't counted as a further call.


def _precedence(dtype: Any) -> tuple[bool, bool, bool, int]:
    """By what the dtype is found that several have in common: the greatest.

    Of two floating-point formats it is the narrower. They meet only where one is the query's dtype and the other the
    float64 that an integer constant became on the way, as in ``0.5 * labels``.
    """
    inexact = dtype.is_floating or dtype.is_complex
    return dtype.is_complex, dtype.is_floating, dtype.is_integer, -dtype.size if inexact else dtype.size


def _meet(values: Sequence[Any], *, floating: bool = False) -> list[Any]:
    """Tensors brought to one dtype; Python numbers stay what they are. With `floating`, integers become float64."""
    dtype = max((value.dtype for value in values if tf.is_tensor(value)), key=_precedence)
    numbers = [value for value in values if not tf.is_tensor(value)]
    exact = not (dtype.is_floating or dtype.is_complex)
    if any(isinstance(number, complex) for number in numbers) and not dtype.is_complex:
        dtype = tf.complex128 if exact or dtype.size == 8 else tf.complex64
    elif exact and (floating or any(isinstance(number, float) for number in numbers)):
        dtype = tf.float64
    elif dtype == tf.bool and numbers:
        dtype = tf.int64
    return [tf.cast(value, dtype) if tf.is_tensor(value) and value.dtype != dtype else value for value in values]


def _meeting(function: Op, *, floating: bool) -> Op:
    """The function, of arrays that need not have one dtype."""
    return lambda *arrays, **statics: function(*_meet(arrays, floating=floating), **statics)


def _axes(x: Native, axis: Axes) -> list[int]:
    """The axes meant, each from 0."""
    if axis is None:
        return list(range(x.ndim))
    return [a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis)]


def _copysign(x1: Native, x2: Native) -> Native:
    size = tf.abs(x1)
    return tf.where((x2 < 0) | (1 / x2 < 0), -size, size)  # the second of these tells -0 from 0


def _clip(x: Native, *, min: float | None, max: float | None) -> Native:
    if min is None:
        return x if max is None else tf.minimum(x, max)
    return tf.maximum(x, min) if max is None else tf.clip_by_value(x, min, max)


def _gamma(x: Native) -> Native:
    odd = tf.equal(tf.math.floormod(tf.floor(x), 2), 1)  # in a graph == means "is the same tensor"
    one = tf.ones_like(x)
    return tf.where((x < 0) & odd, -one, one) * tf.exp(tf.math.lgamma(x))


def _ndtr(x: Native) -> Native:
    return tf.math.erfc(x * -math.sqrt(0.5)) / 2


_TAIL: Final = {tf.float64: -20.0, tf.float32: -10.0, tf.bfloat16: -10.0, tf.float16: -4.0}
"""Where log_ndtr turns to its asymptotic series: while erfc is still a normal number of the format."""


def _log_ndtr(x: Native) -> Native:
    """The logarithm of the normal distribution function; the lower tail by Abramowitz and Stegun (1964), 26.2.12."""
    tail = x < _TAIL.get(x.dtype, 0)
    far = tf.where(tail, x, -40)  # each of the two is harmless where the other is meant
    near = tf.where(tail, tf.zeros_like(x), x)
    series = term = tf.ones_like(x)
    for k in range(1, 20, 2):
        term = term * -k / tf.square(far)
        series = series + term
    lowest = -far * (far / 2) - tf.math.log(-far) - math.log(2 * math.pi) / 2 + tf.math.log(series)
    upper = tf.math.log1p(-_ndtr(-tf.abs(near)))
    return tf.where(tail, lowest, tf.where(x > 0, upper, tf.math.log(_ndtr(near))))


def _freedom(x: Native, axis: Axes, correction: float) -> float:
    """By what the variance that divides by n is to be multiplied so that it divides by n - correction."""
    n = math.prod(x.shape[a] for a in _axes(x, axis))
    return n / (n - correction) if n > correction else math.inf


def _var(x: Native, *, axis: Axes, correction: float, keepdims: bool) -> Native:
    found = tf.math.reduce_variance(x, axis=axis, keepdims=keepdims)
    return found * _freedom(x, axis, correction) if correction else found


def _std(x: Native, *, axis: Axes, correction: float, keepdims: bool) -> Native:
    found = tf.math.reduce_std(x, axis=axis, keepdims=keepdims)
    return found * math.sqrt(_freedom(x, axis, correction)) if correction else found


def _vector_norm(x: Native, *, axis: Axes, keepdims: bool, ord: float) -> Native:
    if ord <= 0:
        raise Unsupported(f"tf.norm takes no vector norm of order {ord}")
    axes = _axes(x, axis)
    if len(axes) in {1, x.ndim}:
        return tf.norm(x, ord=ord, axis=axes[0] if len(axes) == 1 else None, keepdims=keepdims)
    others = [a for a in range(x.ndim) if a not in axes]
    joined = tf.reshape(tf.transpose(x, [*others, *axes]), [*(x.shape[a] for a in others), -1])
    found = tf.norm(joined, ord=ord, axis=-1)  # two axes would mean a matrix norm
    return tf.reshape(found, [1 if a in axes else n for a, n in enumerate(x.shape)]) if keepdims else found


def _roll(x: Native, *, shift: tuple[int, ...], axis: Axes) -> Native:
    if axis is None:
        return tf.reshape(tf.roll(tf.reshape(x, [-1]), shift=sum(shift), axis=0), x.shape)
    axes = _axes(x, axis)
    return tf.roll(x, shift=list(shift) * (len(axes) if len(shift) == 1 else 1), axis=axes)


def _tile(x: Native, *, repetitions: tuple[int, ...]) -> Native:
    missing = len(repetitions) - x.ndim
    x = tf.reshape(x, [1] * missing + x.shape) if missing > 0 else x
    return tf.tile(x, [1] * -missing + list(repetitions))


def _pad(x: Native, *, width: tuple[int, ...], value: float) -> Native:
    return tf.pad(x, np.reshape(width, (-1, 2)).astype(int), constant_values=value)


def _take(x: Native, indices: Native, *, axis: int) -> Native:
    indices = tf.cast(indices, tf.int64)
    n = x.shape[axis]
    return tf.gather(x, tf.where(indices < 0, indices + n, indices), axis=axis)  # tf.gather counts from the front alone


def _matmul(x1: Native, x2: Native) -> Native:
    if x2.ndim == 1:
        return tf.tensordot(x1, x2, 1) if x1.ndim == 1 else tf.linalg.matvec(x1, x2)
    return tf.linalg.matvec(x2, x1, transpose_a=True) if x1.ndim == 1 else tf.linalg.matmul(x1, x2)


def _matrix_power(x: Native, *, n: int) -> Native:
    if n == 0:
        return tf.eye(x.shape[-1], batch_shape=x.shape[:-2], dtype=x.dtype)
    x = tf.linalg.inv(x) if n < 0 else x
    found = None
    for bit in reversed(f"{abs(n):b}"):
        if bit == "1":
            found = x if found is None else tf.linalg.matmul(found, x)
        x = tf.linalg.matmul(x, x)
    return found


def _solving(function: Op) -> Op:
    """A solver of matrices, of vectors as well, and with the leading axes broadcast."""

    def solve(x1: Native, x2: Native, **options: Any) -> Native:
        right = x2[:, tf.newaxis] if x2.ndim == 1 else x2
        if x1.shape[:-2] != right.shape[:-2]:
            batch = tf.broadcast_static_shape(x1.shape[:-2], right.shape[:-2])
            x1 = tf.broadcast_to(x1, batch + x1.shape[-2:])
            right = tf.broadcast_to(right, batch + right.shape[-2:])
        found = function(x1, right, **options)
        return found[..., 0] if x2.ndim == 1 else found

    return solve


_TABLE: Final[dict[str, Op]] = {
    **{name: getattr(tf.math, name) for name in _MATH.split()},
    **{name: getattr(tf.nn, name) for name in _NN.split()},
    **{name: getattr(tf.linalg, name) for name in _LINALG.split()},
    **{name: getattr(tf, name) for name in _TF.split()},
    **{name: getattr(tnp, name) for name in _NUMPY.split()},
    **{name: getattr(tf.math, f"reduce_{name}") for name in _REDUCE.split()},
    **{name: getattr(tf.math.special, f"bessel_{name}") for name in _BESSEL.split()},
    # arithmetic: what people write is Python's operator
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "remainder": operator.mod,
    "negative": operator.neg,
    "copysign": _copysign,
    # elementary
    "exp2": lambda x: 2**x,
    "trunc": tnp.fix,
    "clip": _clip,
    # special
    "gamma": _gamma,
    "gammaln": tf.math.lgamma,
    "expit": tf.math.sigmoid,
    "logit": lambda x: tf.math.log(x) - tf.math.log1p(-x),
    "ndtr": _ndtr,
    "log_ndtr": _log_ndtr,
    "entr": lambda x: -tf.math.xlogy(x, x),
    "betaln": lambda x1, x2: tf.math.lbeta(tf.stack(tnp.broadcast_arrays(x1, x2), axis=-1)),
    "gammainc": tf.math.igamma,
    # activations
    "leaky_relu": lambda x, *, negative_slope: tf.nn.leaky_relu(x, alpha=negative_slope),
    "elu": lambda x, *, alpha: tf.nn.elu(x) if alpha == 1 else tf.where(x > 0, x, alpha * tf.nn.elu(x)),
    "celu": lambda x, *, alpha: alpha * tf.nn.elu(x / alpha),
    "gelu": lambda x, *, approximate: tf.nn.gelu(x, approximate=approximate == "tanh"),
    "mish": lambda x: x * tf.tanh(tf.nn.softplus(x)),
    "log_sigmoid": tf.math.log_sigmoid,
    "hard_tanh": lambda x: tf.clip_by_value(x, -1, 1),
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3) / 6,
    "hard_swish": lambda x: x * tf.nn.relu6(x + 3) / 6,
    # comparison
    "logical_and": lambda x1, x2: tf.logical_and(tf.cast(x1, tf.bool), tf.cast(x2, tf.bool)),
    "logical_or": lambda x1, x2: tf.logical_or(tf.cast(x1, tf.bool), tf.cast(x2, tf.bool)),
    "logical_not": lambda x: tf.logical_not(tf.cast(x, tf.bool)),
    "where": lambda condition, x1, x2: tf.where(tf.cast(condition, tf.bool), *_meet([x1, x2])),
    # reductions
    "var": _var,
    "std": _std,
    "vector_norm": _vector_norm,
    "cumulative_sum": tf.cumsum,
    "cumulative_prod": tf.math.cumprod,
    "flip": lambda x, *, axis: tf.reverse(x, axis=_axes(x, axis)),
    "roll": _roll,
    # shapes
    "permute_dims": lambda x, *, axes: tf.transpose(x, _axes(x, axes)),
    "concat": lambda arrays, *, axis: tf.concat(_meet(arrays), axis=axis),
    "stack": lambda arrays, *, axis: tf.stack(_meet(arrays), axis=axis),
    "tile": _tile,
    "pad": _pad,
    "take": _take,
    "tril": lambda x, *, k: tnp.tril(x, k) if k else tf.linalg.band_part(x, -1, 0),
    "triu": lambda x, *, k: tnp.triu(x, k) if k else tf.linalg.band_part(x, 0, -1),
    "diagonal": tf.linalg.diag_part,
    "diag": tf.linalg.diag,
    # linear algebra
    "matmul": _matmul,
    "vecdot": lambda x1, x2, *, axis: tf.reduce_sum(tf.math.conj(x1) * x2, axis=axis),
    "outer": lambda x1, x2: tf.tensordot(x1, x2, axes=0),
    "cross": lambda x1, x2: tf.linalg.cross(*tnp.broadcast_arrays(x1, x2)),
    "einsum": lambda *operands, subscripts: tf.einsum(subscripts, *operands),
    "matrix_power": _matrix_power,
    "solve": _solving(tf.linalg.solve),
    "solve_triangular": _solving(tf.linalg.triangular_solve),
    "matrix_norm": lambda x, *, keepdims: tf.norm(x, ord="fro", axis=[-2, -1], keepdims=keepdims),
    "svdvals": lambda x: tf.linalg.svd(x, compute_uv=False),
    # indexing
    "getitem": lambda x, *, index: x[index],
}


def _prepared(name: str, function: Op) -> Op:
    """The function as a program calls it."""
    topic = VOCABULARY[name].topic
    if topic in {"shapes", "indexing"} or name == "where" or name.startswith("logical"):
        return function
    return _meeting(function, floating=topic not in {"arithmetic", "comparison"})


OPS: Final = {name: _prepared(name, function) for name, function in _TABLE.items()}
"""Every primitive, by name."""

COMPOSITE: Final = frozenset({
    "celu", "copysign", "entr", "gamma", "hard_sigmoid", "hard_swish", "log_ndtr", "logit", "matrix_power", "mish",
    "ndtr", "vecdot",
})  # fmt: skip
"""Those that TensorFlow has no function for. `elu` with an alpha and `var` and `std` with a correction are not among
them: they are its own functions, and a factor."""
