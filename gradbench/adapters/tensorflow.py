"""TensorFlow, eagerly, differentiated by `tf.GradientTape`.

NumPy arrays enter; tensors go through TensorFlow's own functions and derivatives; NumPy arrays leave. `tensorflow_words`
spells the primitives, `_TensorFlow` holds what every way of using TensorFlow shares, and `TensorFlow` is reverse mode. Its
derivatives are `tape.gradient` and `tape.jacobian`; higher ones come of tapes within tapes, reverse over reverse. There
is no jvp: `tf.autodiff.ForwardAccumulator` is another way of using TensorFlow, hence another target.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import numpy as np
import tensorflow as tf

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.tensorflow_words import COMPOSITE, OPS, Op
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.query import Array

P = ParamSpec("P")
R = TypeVar("R")

# What TensorFlow says of a function or a derivative that it doesn't offer, or not of this dtype. The classes don't
# tell: InvalidArgumentError is also an index out of range, LookupError a KeyError of anybody's, and where a Jacobian is
# vectorised each becomes a StagingError.
_REFUSAL: Final = re.compile(
    r"No registered '\w+' OpKernel for XLA_\w+ devices"  # the rest of its line names graphs by numbers that change
    r"|XLA compilation requires a fixed tensor list size"  # a loop that keeps what its derivative needs
    r"|.*(not in (the )?list of allowed values"  # no such dtype
    r"|Could not find device for node|No OpKernel was registered"  # no kernel for it
    r"|must be a floating point tensor|does not support matrices of type"  # the same of tf.nn.gelu and tf.linalg.expm
    r"|has no attribute 'astype'"  # tf.experimental.numpy's, which takes bfloat16 for integers
    r"|gradient registry has no entry|No gradient defined"
    r"|must set grad_ys).*"  # tf.hessians, which can't be told them, of a complex function
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
        """Waits until the device has finished; on the CPU an operation returns when it has."""
        if self.device != "/CPU:0":
            tf.test.experimental.sync_devices()

    @_asked
    def value(self, f: Function, x: Arrays) -> Native:
        """The function itself, at x: shape y, or a tuple of them."""
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
        """`tape.jacobian`, one for each output: by input, shape y + x, or a tuple of them."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(list(x.values()))
            y = f(*x.values())
        return _each(y, lambda part: _named(x, _jacobian(tape, part, list(x.values()))))

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
        y = f(*x.values())
        if not isinstance(y, tuple):
            return _assembled(y, [_partial(_component(f, i), x, names) for i in range(_size(y))])
        return tuple(
            _assembled(part, [_partial(_component(f, i, k), x, names) for i in range(_size(part))])
            for k, part in enumerate(y)
        )


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


def _each(y: Any, answer: Callable[[Native], dict[str, Native | None]]) -> dict[str, Any]:
    """The answer for the output by name; where the function has several, a tuple of their answers by name."""
    if not isinstance(y, tuple):
        return answer(y)
    answers = [answer(part) for part in y]
    return {name: tuple(one[name] for one in answers) for name in answers[0]}


def _size(y: Native) -> int:
    """How many components it has."""
    return int(y.shape.num_elements())


def _component(f: Op, i: int, output: int | None = None) -> Op:
    """The 0-d function that is component i of f, or of one of its outputs."""

    def component(*arrays: Native) -> Native:
        y = f(*arrays)
        return tf.reshape(y if output is None else y[output], [-1])[i]

    return component


def _assembled(y: Native, components: Sequence[Native | None]) -> Native | None:
    """What was found for the components of y, in the shape of y; None where one of them is."""
    if any(one is None for one in components):
        return None
    return tf.reshape(tf.stack(components), y.shape) if components else tf.zeros_like(y)


def _partial(f: Op, x: Arrays, names: Sequence[str]) -> Native | None:
    """The derivative of a 0-d f by one 0-d input after the other, the first of them last."""
    if not names:
        return f(*x.values())
    with tf.GradientTape() as tape:
        tape.watch(x[names[0]])
        y = _partial(f, x, names[1:])
    return None if y is None else tape.gradient(y, x[names[0]])
