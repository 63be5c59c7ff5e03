"""TensorFlow traced: `tf.function` around the value and around the tape, without and with XLA.

A function of a case and an operator become one `tf.function`, with the tape inside. It is traced when it is first
asked for arrays of some shapes and dtypes, and kept as long as the function is. Points, tangents and cotangents are its
arguments; the constants of a case are captured, as a user's weights are.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.tensorflow import TensorFlow, _asked


class Traced(TensorFlow):
    """Reverse mode within `tf.function`: graphs that Grappler rewrites and that TensorFlow's kernels compute."""

    compiles = True

    compiler: bool | None = None
    """What `tf.function` is told as `jit_compile`."""

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[Function, dict[Hashable, Any]] = weakref.WeakKeyDictionary()

    def open(self, device: str) -> Mapping[str, Any]:
        """As the eager adapter's, and what the graphs are compiled with.

        Raises:
            DeviceMissing: TensorFlow sees no such device.
        """
        tf.config.run_functions_eagerly(run_eagerly=False)
        return {**super().open(device), "run_functions_eagerly": tf.config.functions_run_eagerly()}

    def value(self, f: Function, x: Arrays) -> Any:
        """The eager adapter's operator of this name, compiled; so are all that follow."""
        return self._compiled("value", f, x)

    def gradient(self, f: Function, x: Arrays) -> Any:
        """See `value`."""
        return self._compiled("gradient", f, x)

    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Any:
        """See `value`."""
        return self._compiled("vjp", f, x, cotangent)

    def jacobian(self, f: Function, x: Arrays) -> Any:
        """See `value`."""
        return self._compiled("jacobian", f, x)

    def hessian(self, f: Function, x: Arrays) -> Any:
        """See `value`."""
        return self._compiled("hessian", f, x)

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Any:
        """See `value`."""
        return self._compiled("hvp", f, x, tangents)

    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """See `value`."""
        return self._compiled("partial", f, x, orders=orders)

    @_asked
    def _compiled(
        self, /, operator: str, f: Function, x: Arrays, *directions: Any, **statics: Mapping[str, int]
    ) -> Any:
        kept = self._kept.setdefault(f.kept_by, {})
        key = (operator, tuple(x), *(tuple(static.items()) for static in statics.values()))
        if key not in kept:
            # A strong reference would keep f, hence itself, for ever.
            kept[key] = self._traced(
                getattr(super(), operator), weakref.ref(f.kept_by), (tuple(f.held), tuple(x)), statics
            )
        return kept[key](list(f.held.values()), list(x.values()), *directions)

    def _traced(
        self, operate: Any, f: weakref.ref[Function], names: Sequence[Sequence[str]], statics: Mapping[str, Any]
    ) -> Any:
        # The inputs are a list because TensorFlow sorts a dictionary by its keys, and f is called by position.
        def run(held: list[Native], arrays: list[Native], *directions: Any) -> Any:
            alive = f()
            assert alive is not None
            fixed, x = (dict(zip(*pair, strict=True)) for pair in zip(names, (held, arrays), strict=True))
            return operate(alive.holding(fixed), x, *directions, **statics)

        return tf.function(run, autograph=False, jit_compile=self.compiler)


class XLA(Traced):
    """Reverse mode within `tf.function(jit_compile=True)`: XLA compiles the whole, or refuses it."""

    compiler = True

    def open(self, device: str) -> Mapping[str, Any]:
        """As `Traced`'s, and what XLA is told by the environment.

        Raises:
            DeviceMissing: TensorFlow sees no such device.
        """
        flags = {name.lower(): os.environ.get(name, "") for name in ("XLA_FLAGS", "TF_XLA_FLAGS")}
        return {**super().open(device), **flags}
