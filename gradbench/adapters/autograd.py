"""HIPS autograd, in its own idiom: `autograd.numpy`, `autograd.scipy`, and its derivatives of functions.

NumPy arrays enter, are arrays of autograd's own, and leave. `_Autograd` holds what every way of using autograd shares,
and `Autograd` is reverse mode: `make_vjp`, `grad`, `jacobian`, `hessian`, `make_hvp`. The primitives are spelled in
`autograd_words`; the other ways are in `autograd_modes`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import autograd
import ml_dtypes
import numpy as np
from autograd import builtins

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.autograd_words import COMPOSITES, OPS, Op
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.query import Array

# What autograd, NumPy or SciPy say, in a plain TypeError or an assert, of what a function or its derivative isn't made
# for.
_REFUSAL: Final = re.compile(r"Can't (handle|differentiate)|not supported|is unsupported|only applies to real")


def _refusing(operate: Op) -> Op:
    """The operator, raising `Unsupported` where autograd or what it wraps says that it doesn't offer this."""

    @functools.wraps(operate)
    def refusing(*arguments: Any) -> Any:
        try:
            return operate(*arguments)
        except (TypeError, ValueError, AssertionError) as error:
            if _REFUSAL.search(str(error)):
                raise Unsupported(str(error)) from error
            raise

    return refusing


class _Autograd:
    """What every way of using autograd has: primitives, settings, arrays in and out, and the value."""

    ops: Mapping[str, Op] = OPS
    composite: frozenset[str] = frozenset(COMPOSITES)
    refusals: tuple[type[BaseException], ...] = (NotImplementedError,)

    def open(self, device: str) -> Mapping[str, Any]:
        """Says what NumPy computes with: it has no settings that change numbers.

        Raises:
            DeviceMissing: The device isn't the CPU.
        """
        if device != "cpu":
            raise DeviceMissing(f"autograd computes on the CPU alone, not on {device!r}")
        built: Mapping[str, Any] = np.show_config(mode="dicts")
        blas = built["Build Dependencies"]["blas"]
        threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        return {
            "device_name": platform.processor() or platform.machine(),
            "blas": f"{blas['name']} {blas['version']}",
            "simd": sorted(built["SIMD Extensions"].get("found", ())),
            "threads": next((os.environ[name] for name in threads if name in os.environ), ""),
        }

    def versions(self) -> Mapping[str, str]:
        """Autograd's, and those of NumPy and SciPy, which compute for it."""
        return {name: importlib.metadata.version(name) for name in ("autograd", "numpy", "scipy")}

    def asarray(self, array: Array) -> Native:
        """A NumPy array of the same dtype, with memory of its own.

        Raises:
            Unsupported: The dtype is bfloat16, which NumPy has only as an extension that its functions don't know.
        """
        if array.dtype == ml_dtypes.bfloat16:
            raise Unsupported("autograd computes with NumPy, which has no bfloat16")
        return np.array(array)

    def numpy(self, array: Native) -> Array:
        """The array, or a NumPy scalar as one, of the same dtype and shape."""
        return np.array(array)

    def synchronize(self) -> None:
        """Nothing: NumPy has finished when it answers."""

    @_refusing
    def value(self, f: Function, x: Arrays) -> Any:
        """The function itself, at x: shape y."""
        return f(*x.values())


class Autograd(_Autograd):
    """Reverse mode."""

    @_refusing
    def vjp(self, f: Function, x: Arrays, cotangent: Any) -> Arrays:
        """`make_vjp`: by input, shape x; zeros where it is not connected."""
        pull, _ = autograd.make_vjp(_boxed(f), _argnum(x))(*x.values())
        return _named(x, pull(cotangent))

    @_refusing
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`grad` of a scalar f, or `holomorphic_grad` where inputs and output are complex: by input, shape x."""
        if _is_holomorphic(f, x):
            return {name: autograd.holomorphic_grad(f, i)(*x.values()) for i, name in enumerate(x)}
        return _named(x, autograd.grad(f, _argnum(x))(*x.values()))

    @_refusing
    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """`jacobian` by each input, and of each output if f returns a tuple: by input, shape y + x."""

        def by(i: int) -> Any:
            return _each(f, lambda y: autograd.jacobian(y, i)(*x.values()))

        return {name: by(i) for i, name in enumerate(x)}

    @_refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`make_hvp`, reverse over reverse: by input, shape x."""
        along = tuple(tangents[name] for name in x)
        product, _ = autograd.make_hvp(f, _argnum(x))(*x.values())
        return _named(x, product(along[0] if len(x) == 1 else along))

    @_refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`hessian` by each input, and `jacobian` of `jacobian` by each pair of them: by pair, shape a + b."""
        return {
            f"{a},{b}": (autograd.hessian(f, i) if i == j else autograd.jacobian(autograd.jacobian(f, i), j))(
                *x.values()
            )
            for i, a in enumerate(x)
            for j, b in enumerate(x)
        }

    @_refusing
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """Nested `grad` by 0-d inputs, or `jacobian` where f is no scalar: shape y."""

        def nested(found: Op) -> Native:
            derivative = autograd.grad if np.ndim(found(*x.values())) == 0 else autograd.jacobian
            for name, order in orders.items():
                for _ in range(order):
                    found = derivative(found, tuple(x).index(name))
            return found(*x.values())

        return _each(f, nested)


def _boxed(f: Function) -> Op:
    """The function; a tuple that it returns is autograd's own, since of another autograd says that it is constant."""
    return (lambda *arrays: builtins.tuple(f(*arrays))) if f.program.is_tuple else f


def _each(f: Function, answer: Callable[[Op], Any]) -> Any:
    """What is answered of a function, or a tuple of that for each of its outputs."""
    if not f.program.is_tuple:
        return answer(f)

    def output(i: int) -> Op:
        return lambda *arrays: f(*arrays)[i]

    return tuple(answer(output(i)) for i in range(len(f.program.outputs)))


def _argnum(x: Arrays) -> int | tuple[int, ...]:
    """What to differentiate by, as people write it: the one input, or all of them."""
    return 0 if len(x) == 1 else tuple(range(len(x)))


def _named(x: Arrays, found: Any) -> Arrays:
    """What autograd answers when it differentiates by `_argnum`: one array, or one for each input."""
    return dict(zip(x, (found,) if len(x) == 1 else found, strict=True))


def _is_holomorphic(f: Op, x: Arrays) -> bool:
    """Whether f has complex inputs only and a complex output, and so is to be taken as holomorphic."""
    return all(map(np.iscomplexobj, x.values())) and np.iscomplexobj(f(*x.values()))
