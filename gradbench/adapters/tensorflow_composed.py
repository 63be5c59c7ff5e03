"""TensorFlow's second derivatives by each composition of its modes.

A target is one composition, asked for nothing but Hessian-vector products and Hessians; a Hessian is put together of
its products with the unit vectors.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import tensorflow as tf

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.tensorflow import _asked, _gradient, _named, _TensorFlow
from gradbench.adapters.tensorflow_forward import block, jvp, units
from gradbench.errors import Unsupported


class _Composed(_TensorFlow):
    """What the compositions share."""

    @abstractmethod
    def _product(self, f: Function, x: Arrays, tangents: Arrays) -> Mapping[str, Native | None]:
        """The Hessian's product with tangents of some of the inputs: by input, shape x."""

    @_asked
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """The product with the tangents: by input, shape x, or None where it is not connected."""
        return self._product(f, x, tangents)

    @_asked
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """The products with all unit vectors: by pair of inputs, shape a + b, or None where they are not connected."""
        if any(one.dtype.is_complex for one in x.values()):
            raise Unsupported("the products with unit vectors don't make a Hessian by complex numbers")
        found: dict[tuple[str, str], Native | None] = {}
        for b in x:
            columns = [self._product(f, x, {b: unit}) for unit in units(x[b])]
            found |= {(a, b): block(x[a], [column[a] for column in columns], x[b]) for a in x}
        return {f"{a},{b}": found[a, b] for a in x for b in x}


class ForwardOverReverse(_Composed):
    """An accumulator around a tape."""

    def _product(self, f: Function, x: Arrays, tangents: Arrays) -> Mapping[str, Native | None]:
        with tf.autodiff.ForwardAccumulator([x[name] for name in tangents], list(tangents.values())) as accumulator:
            gradient = _gradient(f, x)
        return {name: jvp(accumulator, g) for name, g in gradient.items()}


class ReverseOverForward(_Composed):
    """A tape around an accumulator."""

    def _product(self, f: Function, x: Arrays, tangents: Arrays) -> Mapping[str, Native | None]:
        with tf.GradientTape() as tape:
            tape.watch(list(x.values()))
            with tf.autodiff.ForwardAccumulator([x[name] for name in tangents], list(tangents.values())) as accumulator:
                slope = jvp(accumulator, f(*x.values()))
        return dict.fromkeys(x) if slope is None else _named(x, tape.gradient(slope, list(x.values())))


class ReverseOverReverse(_Composed):
    """A tape around a tape: the gradient of the gradient's inner product with the tangents."""

    def _product(self, f: Function, x: Arrays, tangents: Arrays) -> Mapping[str, Native | None]:
        with tf.GradientTape() as tape:
            tape.watch(list(x.values()))
            gradient = _gradient(f, x)
            products = [
                tf.reduce_sum(gradient[name] * tangent)
                for name, tangent in tangents.items()
                if gradient[name] is not None
            ]
            slope = tf.add_n(products) if products else None
        return dict.fromkeys(x) if slope is None else _named(x, tape.gradient(slope, list(x.values())))
