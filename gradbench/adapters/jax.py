"""JAX, in its own idiom: `jax.numpy`, `jax.nn`, `jax.scipy`, and its derivatives of functions.

NumPy arrays enter; arrays go through JAX's own functions and derivatives, one operation at a time; NumPy arrays leave.
`OPS` spells the primitives, `_Jax` holds what every way of using JAX shares, and `Jax` is reverse mode: `jax.vjp`,
`jax.grad`, `jax.jacrev`, and `jax.hessian` and `jax.jvp` of a gradient, which JAX itself puts together of both modes.
The other ways are in `jax_modes` and `jax_compositions`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib.metadata
import operator
import os
import platform
import re
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn
from jax.numpy import linalg
from jax.scipy import special
from jax.scipy.linalg import expm, solve_triangular

from gradbench.adapter import Arrays, Function, Native
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.query import Array

Op = Callable[..., Any]

KEPT: Final = 2**30
"""Bytes that the memory may grow by until what was compiled for earlier functions is let go of."""

_STATM: Final = Path("/proc/self/statm")

# The primitives whose name and signature, static arguments included, are JAX's own.
_NUMPY: Final = """
    maximum minimum atan2 hypot logaddexp copysign abs sign square sqrt cbrt reciprocal exp exp2 expm1 log log2 log10
    log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh floor ceil trunc round clip sinc
    less less_equal greater greater_equal equal not_equal logical_and logical_or logical_not where
    sum mean prod max min var std cumulative_sum cumulative_prod sort flip
    reshape permute_dims matrix_transpose expand_dims squeeze moveaxis broadcast_to concat stack repeat take tril triu diag
    matmul vecdot outer kron cross tensordot real imag conj angle
"""
_SPECIAL: Final = """
    xlogy xlog1py erf erfc erfinv gamma gammaln digamma expit logit ndtr log_ndtr ndtri entr i0 i1 i0e i1e
    betaln zeta gammainc logsumexp
"""
_NN: Final = """
    relu relu6 leaky_relu elu selu celu silu mish softplus log_sigmoid hard_tanh hard_sigmoid hard_swish
    softmax log_softmax
"""
_LINALG: Final = "vector_norm matrix_norm diagonal trace det slogdet inv cholesky matrix_power eigvalsh solve svdvals"


def _gelu(x: Native, *, approximate: str) -> Native:
    return nn.gelu(x, approximate=approximate == "tanh")


def _bessel(order: int) -> Op:
    """The Bessel function of the first kind, by the function that answers with every order up to this one."""
    return lambda x: special.bessel_jn(x, v=order)[order]


def _roll(x: Native, *, shift: tuple[int, ...], axis: int | tuple[int, ...] | None) -> Native:
    return jnp.roll(x, sum(shift) if axis is None else shift, axis)


def _pad(x: Native, *, width: tuple[int, ...], value: float) -> Native:
    return jnp.pad(x, np.reshape(width, (-1, 2)).astype(int), constant_values=value)


OPS: Final[dict[str, Op]] = {
    **{name: getattr(jnp, name) for name in _NUMPY.split()},
    **{name: getattr(special, name) for name in _SPECIAL.split()},
    **{name: getattr(nn, name) for name in _NN.split()},
    **{name: getattr(linalg, name) for name in _LINALG.split()},
    # arithmetic: Python's operators, which also take a number on the left
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "remainder": operator.mod,
    "negative": operator.neg,
    # elementwise
    "rsqrt": lax.rsqrt,
    "j0": _bessel(0),
    "j1": _bessel(1),
    "gelu": _gelu,
    "softsign": nn.soft_sign,
    # shapes and indices
    "roll": _roll,
    "tile": lambda x, *, repetitions: jnp.tile(x, repetitions),
    "pad": _pad,
    "getitem": lambda x, *, index: x[index],
    # linear algebra
    "einsum": lambda *operands, subscripts: jnp.einsum(subscripts, *operands),
    "expm": expm,
    "solve_triangular": lambda x1, x2, *, lower: solve_triangular(x1, x2, lower=lower),
}
"""Every primitive, by name."""

# What JAX says, in a plain TypeError or ValueError, of a dtype that a function or its derivative isn't made for.
_REFUSAL: Final = re.compile(
    r"not (supported|implemented|well defined)|received a complex|does not (accept dtype|support)|requires (real|complex|numerical)"
)


def _refusing(operate: Op) -> Op:
    """The operator, raising `Unsupported` where JAX says that it doesn't offer this."""

    @functools.wraps(operate)
    def refusing(*arguments: Any) -> Any:
        try:
            return operate(*arguments)
        except (TypeError, ValueError) as error:
            if _REFUSAL.search(str(error)):
                raise Unsupported(str(error)) from error
            raise

    return refusing


class _Jax:
    """What every way of using JAX has: primitives, settings, arrays in and out, and the value."""

    ops: Mapping[str, Op] = OPS
    composite: frozenset[str] = frozenset()
    refusals: tuple[type[BaseException], ...] = (NotImplementedError,)
    _baseline: int | None = None

    def open(self, device: str) -> Mapping[str, Any]:
        """Asks for 64 bits, full precision in products, deterministic kernels on a GPU, and one thread on a CPU.

        GRADBENCH_THREADS may ask for more of them. Flags of XLA count only until it has started, so a process should
        open one device once; those that are given in XLA_FLAGS are kept.

        Raises:
            DeviceMissing: JAX sees no such device.
        """
        kind = device.partition(":")[0]
        _set_flags(kind)
        jax.config.update("jax_enable_x64", True)  # noqa: FBT003  # JAX's own signature
        jax.config.update("jax_default_matmul_precision", "highest")
        try:
            found = jax.devices(kind)[0]
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise DeviceMissing(f"jax {jax.__version__} sees no {device!r} ({reason})") from error
        jax.config.update("jax_default_device", found)
        return {
            "device_name": platform.processor() or platform.machine() if kind == "cpu" else found.device_kind,
            "platform": found.platform,
            "enable_x64": jax.config.jax_enable_x64,
            "default_matmul_precision": jax.config.jax_default_matmul_precision,
            "numpy_dtype_promotion": jax.config.jax_numpy_dtype_promotion.value,
            "disable_jit": jax.config.jax_disable_jit,
            "threads": os.environ.get("PJRT_NPROC", ""),
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
        }

    def versions(self) -> Mapping[str, str]:
        """JAX's, its compiled library's, and on a GPU that of what the library runs on."""
        found = {"jax": jax.__version__, "jaxlib": importlib.metadata.version("jaxlib")}
        client = jnp.zeros(()).device.client
        return found if client.platform == "cpu" else {**found, client.platform: client.platform_version}

    def asarray(self, array: Array) -> Native:
        """An array on the default device, of the same dtype, with memory of its own."""
        return jnp.array(array)

    def numpy(self, array: Native) -> Array:
        """The array on the host, of the same dtype and shape."""
        return np.array(array)

    def synchronize(self) -> None:
        """Waits for every array that JAX still computes; it answers before it has finished."""
        jax.block_until_ready(jax.live_arrays())

    def make_room(self) -> None:
        """Lets go of what JAX has compiled, where that has grown too large; called before a new function comes.

        JAX keeps a compiled kernel for every operation and shape it has met, some 0.8 MB each: over all the cases 3.4 GB.
        What earlier functions needed the next one hardly needs. The memory goes back only when the C library is told
        to give it.
        """
        used = _resident()
        self._baseline = used if self._baseline is None else min(used, self._baseline)
        if used - self._baseline > KEPT:
            jax.clear_caches()
            gc.collect()
            _trim()
            self._baseline = _resident()

    def call(self, f: Function, key: Hashable, derive: Callable[[Op], Op], *arrays: Any) -> Any:  # noqa: ARG002
        """What `derive` makes of f, applied to the arrays.

        Every operator goes through here. Here it runs at once, operation by operation; another way of using JAX may
        keep what it compiled by f and the key, which says all that `derive` depends on besides f. So `derive` holds
        neither f nor any array.
        """
        return derive(f)(*arrays)

    @_refusing
    def value(self, f: Function, x: Arrays) -> Any:
        """The function itself, at x: shape y."""
        return self.call(f, "value", lambda f: f, *x.values())


class Jax(_Jax):
    """Reverse mode, and `jax.jvp`."""

    @_refusing
    def vjp(self, f: Function, x: Arrays, cotangent: Any) -> Arrays:
        """`jax.vjp`: by input, shape x; zeros where it is not connected."""

        def derive(f: Op) -> Op:
            return lambda cotangent, *arrays: jax.vjp(f, *arrays)[1](cotangent)

        return _named(x, self.call(f, "vjp", derive, cotangent, *x.values()))

    @_refusing
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`jax.grad` of a scalar f: by input, shape x."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            return jax.grad(f, places, holomorphic=how)  # type: ignore[no-any-return]

        return _named(x, self.call(f, ("gradient", how), derive, *x.values()))

    @_refusing
    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """`jax.jacrev`: by input, shape y + x; a tuple of them if f returns a tuple."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            return jax.jacrev(f, places, holomorphic=how)  # type: ignore[no-any-return]

        return _columns(f, x, self.call(f, ("jacobian", how), derive, *x.values()))

    @_refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`jax.jvp` of `jax.grad`, as JAX's documentation has it: by input, shape x."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            gradient, count = jax.grad(f, places, holomorphic=how), len(places)
            return lambda *arrays: jax.jvp(gradient, arrays[:count], arrays[count:])[1]

        return _named(x, self.call(f, ("hvp", how), derive, *x.values(), *(tangents[name] for name in x)))

    @_refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`jax.hessian`: by pair of inputs, shape a + b."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            return jax.hessian(f, places, holomorphic=how)  # type: ignore[no-any-return]

        return _pairs(x, self.call(f, ("hessian", how), derive, *x.values()))

    @_refusing
    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Any:
        """`jax.jvp`, which goes forwards: shape y."""
        count = len(x)

        def derive(f: Op) -> Op:
            return lambda *arrays: jax.jvp(f, arrays[:count], arrays[count:])[1]

        return self.call(f, "jvp", derive, *x.values(), *(tangents[name] for name in x))

    @_refusing
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """Nested `jax.grad` by 0-d inputs, or `jax.jacrev` where f is no scalar: shape y."""
        how, times = _holomorphic(f, x), _times(x, orders)

        def derive(f: Op) -> Op:
            def nested(*arrays: Native) -> Any:
                y = jax.eval_shape(f, *arrays)
                derivative = jax.jacrev if isinstance(y, tuple) or y.ndim else jax.grad
                found = f
                for place in times:
                    found = derivative(found, place, holomorphic=how)
                return found(*arrays)

            return nested

        return self.call(f, ("partial", times, how), derive, *x.values())


def _all(x: Arrays) -> tuple[int, ...]:
    """The positions of every input."""
    return tuple(range(len(x)))


def _times(x: Arrays, orders: Mapping[str, int]) -> tuple[int, ...]:
    """The position of an input for each time it is differentiated by."""
    return tuple(tuple(x).index(name) for name, order in orders.items() for _ in range(order))


def _named(x: Arrays, found: Any) -> dict[str, Native]:
    """An array for each input, by its name."""
    return dict(zip(x, found, strict=True))


def _columns(f: Function, x: Arrays, found: Any) -> dict[str, Any]:
    """A Jacobian by input. Of a tuple JAX answers for each output with an array for each input."""
    return _named(x, zip(*found, strict=True) if f.program.is_tuple else found)


def _pairs(x: Arrays, rows: Any) -> dict[str, Native]:
    """A Hessian by pair of inputs."""
    return {f"{a},{b}": rows[i][j] for i, a in enumerate(x) for j, b in enumerate(x)}


def _holomorphic(f: Function, x: Arrays) -> bool:
    """Whether JAX is to be told that f is holomorphic: it has complex inputs only, and complex outputs only."""
    if not all(jnp.iscomplexobj(array) for array in x.values()):
        return False
    outputs = jax.tree.leaves(jax.eval_shape(f, *x.values()))
    return all(jnp.issubdtype(y.dtype, np.complexfloating) for y in outputs)


def _resident() -> int:
    """The memory of this process in bytes; 0 where the system doesn't say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _trim() -> None:
    """Tells the C library to give back what it holds for later; only glibc's has a word for that."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _set_flags(kind: str) -> None:
    """Sets what XLA reads from the environment when it starts, where nobody has set it."""
    flag = "--xla_gpu_deterministic_ops=true"
    if kind == "cpu":
        threads = os.environ.setdefault("PJRT_NPROC", os.environ.get("GRADBENCH_THREADS", "1"))
        flag = f"--xla_cpu_multi_thread_eigen={'false' if threads == '1' else 'true'}"
    given = os.environ.get("XLA_FLAGS", "")
    if flag.partition("=")[0] not in given:
        os.environ["XLA_FLAGS"] = f"{given} {flag}".strip()
