"""TensorFlow, eagerly, differentiated by `tf.GradientTape`.

NumPy arrays enter; tensors go through TensorFlow's own functions and derivatives; NumPy arrays leave. Primitives are
`tf.math`, `tf.nn` and `tf.linalg`, and where those lack one `tf.experimental.numpy`, which is TensorFlow's as well.
`OPS` spells them, `_TensorFlow` holds what every way of using TensorFlow shares, and `TensorFlow` is reverse mode. Its
derivatives are `tape.gradient` and `tape.jacobian`; higher ones come of tapes within tapes, reverse over reverse. There
is no jvp: `tf.autodiff.ForwardAccumulator` is another way of using TensorFlow, hence another target.
"""

from __future__ import annotations

import contextlib
import functools
import math
import operator
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import numpy as np
import tensorflow as tf

from gradbench.adapter import Arrays, Function, Native
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.primitives import VOCABULARY
from gradbench.query import Array

Op = Callable[..., Any]
Axes = int | tuple[int, ...] | None
P = ParamSpec("P")
R = TypeVar("R")

tnp = tf.experimental.numpy

# The primitives whose name and signature are TensorFlow's own.
_MATH: Final = """
    maximum minimum atan2 xlogy xlog1py abs sign square sqrt rsqrt reciprocal exp expm1 log log1p
    sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh floor ceil round erf erfc erfinv digamma ndtri zeta
    less less_equal greater greater_equal equal not_equal
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
    odd = tf.math.floormod(tf.floor(x), 2) == 1
    return tf.where((x < 0) & odd, -1, tf.ones_like(x)) * tf.exp(tf.math.lgamma(x))


def _ndtr(x: Native) -> Native:
    return tf.math.erfc(x * -math.sqrt(0.5)) / 2


_TAIL: Final = {tf.float64: -20.0, tf.float32: -10.0, tf.bfloat16: -10.0, tf.float16: -4.0}
"""Where log_ndtr turns to its asymptotic series: while erfc is still a normal number of the format."""


def _log_ndtr(x: Native) -> Native:
    """The logarithm of the normal distribution function; the lower tail by Abramowitz and Stegun (1964), 26.2.12."""
    tail = x < _TAIL.get(x.dtype, 0)
    far, near = tf.where(tail, x, -40), tf.where(tail, 0, x)  # each of them harmless where the other is meant
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
    "exp2": lambda x: tf.pow(2, x),
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

# What TensorFlow says of a function or a derivative that it doesn't offer, or not of this dtype. The classes don't
# tell: InvalidArgumentError is also an index out of range, LookupError a KeyError of anybody's, and where a Jacobian is
# vectorised each becomes a StagingError.
_REFUSAL: Final = re.compile(
    r".*(is not in the list of allowed values|Could not find device for node"  # no such dtype; no kernel for it
    r"|must be a floating point tensor|does not support matrices of type"  # the same of tf.nn.gelu and tf.linalg.expm
    r"|has no attribute 'astype'"  # tf.experimental.numpy's, which takes bfloat16 for integers
    r"|gradient registry has no entry|No gradient defined).*"
)


def _asked(operate: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """The operator on the adapter's device, raising `Unsupported` where TensorFlow says that it doesn't offer this."""

    @functools.wraps(operate)
    def asked(self: _TensorFlow, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with tf.device(self.device):
                return operate(self, *args, **kwargs)
        except Exception as error:
            if found := _REFUSAL.search(str(error)):
                raise Unsupported(found[0].strip()) from error
            raise

    return asked


class _TensorFlow:
    """What every way of using TensorFlow has: primitives, settings, arrays in and out, and the value."""

    ops: Mapping[str, Op] = OPS
    composite = COMPOSITE
    refusals: tuple[type[BaseException], ...] = (NotImplementedError, tf.errors.UnimplementedError)
    device = "/CPU:0"

    def open(self, device: str) -> Mapping[str, Any]:
        """Asks for full precision, deterministic operations and one thread; GRADBENCH_THREADS may ask for more.

        Raises:
            DeviceMissing: TensorFlow sees no such device.
        """
        cuda = device.partition(":")[0] == "cuda"
        gpus = tf.config.list_physical_devices("GPU") if cuda else []
        if device != "cpu" and not gpus:
            wrong = f"tensorflow {tf.__version__} sees no {device!r}"
            raise DeviceMissing(f"{wrong}; use 'cpu', or a build for that device")
        threads = int(os.environ.get("GRADBENCH_THREADS", "1"))
        with contextlib.suppress(RuntimeError):  # once it has computed, it keeps what it has, and reports it below
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, enable=True)  # others may be using it too
        tf.config.experimental.enable_op_determinism()
        tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
        tf.config.set_soft_device_placement(True)
        self.device = "/GPU:0" if cuda else "/CPU:0"
        names = [tf.config.experimental.get_device_details(gpu)["device_name"] for gpu in gpus[:1]]
        return {
            "device_name": names[0] if names else platform.processor() or platform.machine(),
            "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
            "op_determinism": True,  # no public function reports it; enabling raises where it can't
            "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "soft_device_placement": tf.config.get_soft_device_placement(),
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        }

    def versions(self) -> Mapping[str, str]:
        """TensorFlow's, and those of the libraries that its build computes with on a GPU."""
        build = tf.sysconfig.get_build_info()
        found = {name: build.get(f"{name}_version", "") for name in ("cuda", "cudnn")}
        return {"tensorflow": tf.__version__, **{name: str(version) for name, version in found.items() if version}}

    def asarray(self, array: Array) -> Native:
        """A tensor on the device, of the same dtype, with memory of its own."""
        with tf.device(self.device):
            return tf.constant(array)

    def numpy(self, array: Native) -> Array:
        """The tensor on the host, of the same dtype and shape; `tf.IndexedSlices` become dense."""
        return np.asarray(tf.convert_to_tensor(array).numpy())

    def synchronize(self) -> None:
        """Waits until the device has finished."""
        tf.test.experimental.sync_devices()

    @_asked
    def value(self, f: Function, x: Arrays) -> Native:
        """The function itself, at x: shape y."""
        return f(*x.values())


class TensorFlow(_TensorFlow):
    """Reverse mode, eagerly."""

    @_asked
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`tape.gradient` of a scalar f: by input, shape x, or None where it is not connected."""
        return _gradient(f, x)

    @_asked
    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Arrays:
        """`tape.gradient` with `output_gradients`: by input, shape x, or None where it is not connected."""
        return _gradient(f, x, cotangent)

    @_asked
    def jacobian(self, f: Function, x: Arrays) -> Arrays:
        """`tape.jacobian`: by input, shape y + x."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(list(x.values()))
            y = f(*x.values())
        return _named(x, _jacobian(tape, y, list(x.values())))

    @_asked
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`tape.jacobian` of `tape.gradient`: by pair of inputs, shape a + b."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(list(x.values()))
            gradient = _gradient(f, x)
        found: dict[str, Native | None] = {}
        for a, g in gradient.items():
            row = [None] * len(x) if g is None else _jacobian(tape, g, list(x.values()))
            found |= {f"{a},{b}": block for b, block in _named(x, row).items()}
        return found

    @_asked
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`tape.gradient` of `tape.gradient`, which is the transposed Hessian's product: by input, shape x."""
        with tf.GradientTape() as tape:
            tape.watch(list(x.values()))
            gradient = {name: g for name, g in _gradient(f, x).items() if g is not None}
        if not gradient:
            return dict.fromkeys(x)
        weights = [tangents[name] for name in gradient]
        return _named(x, tape.gradient(list(gradient.values()), list(x.values()), output_gradients=weights))

    @_asked
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Native | None:
        """`tape.gradient` within `tape.gradient`, once for each order: shape y, or None where it is not connected.

        One component of y after the other: `tape.jacobian` within `tape.jacobian` took 6 s for two components at order
        3, and more than 12 GB of memory at order 8.
        """
        names = [name for name, order in orders.items() for _ in range(order)]
        shape = f(*x.values()).shape
        found = [
            _partial(lambda *arrays, i=i: tf.reshape(f(*arrays), [-1])[i], x, names)
            for i in range(shape.num_elements())
        ]
        return None if any(part is None for part in found) else tf.reshape(tf.stack(found), shape)


def _gradient(f: Function, x: Arrays, cotangent: Native | None = None) -> dict[str, Native | None]:
    with tf.GradientTape() as tape:
        tape.watch(list(x.values()))
        y = f(*x.values())
    return _named(x, tape.gradient(y, list(x.values()), output_gradients=cotangent))


def _named(x: Arrays, found: Sequence[Native | None]) -> dict[str, Native | None]:
    """Arrays by name, dense: the gradient of `tf.gather` comes as `tf.IndexedSlices`."""
    return {name: None if g is None else tf.convert_to_tensor(g) for name, g in zip(x, found, strict=True)}


def _jacobian(tape: Any, y: Native, sources: Any) -> Any:
    """`tape.jacobian`; row by row, as its message proposes, where TensorFlow can't vectorise an operation."""
    try:
        return tape.jacobian(y, sources)
    except ValueError as error:
        if "Vectorization can be disabled" not in str(error):
            raise
        return tape.jacobian(y, sources, experimental_use_pfor=False)


def _partial(f: Op, x: Arrays, names: Sequence[str]) -> Native | None:
    """The derivative of a 0-d f by one 0-d input after the other, the first of them last."""
    if not names:
        return f(*x.values())
    with tf.GradientTape() as tape:
        tape.watch(x[names[0]])
        y = _partial(f, x, names[1:])
    return None if y is None else tape.gradient(y, x[names[0]])
