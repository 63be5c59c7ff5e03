"""TensorFlow's forward mode: `tf.autodiff.ForwardAccumulator`.

The accumulator answers one direction. A gradient, a Jacobian and a Hessian are put together column by column, as its
documentation does; higher derivatives come of accumulators within accumulators. `units` are the directions, `jvp` is an
answer and `block` what several are together, for the compositions with reverse mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.tensorflow import _asked, _TensorFlow
from gradbench.adapters.tensorflow_words import Op
from gradbench.errors import Unsupported

DEEPEST: Final = 3
"""How many accumulators are put within one another. For exp(t * c) * s TensorFlow 2.21 took 0.1, 0.6 and 6.4 s to trace
one, two and three of them, and more than a minute for four."""


class Forward(_TensorFlow):
    """Forward mode, eagerly."""

    @_asked
    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Any:
        """`accumulator.jvp`: shape y, or a tuple of them; None where no input is connected."""
        return _pushed(f, x, tangents)

    @_asked
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`accumulator.jvp` along each unit vector: by input, shape x, or None where it is not connected."""
        return _jacobian(f, x)

    @_asked
    def jacobian(self, f: Function, x: Arrays) -> Arrays:
        """`accumulator.jvp` along each unit vector: by input, shape y + x, or a tuple of them."""
        return _jacobian(f, x)

    @_asked
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`outer.jvp` along each unit vector of `inner.jvp` along the tangents: by input, shape x."""
        return _jacobian(lambda *_: _pushed(f, x, tangents), x)

    @_asked
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`outer.jvp` of `inner.jvp` along each pair of unit vectors: by pair of inputs, shape a + b."""
        found = _jacobian(lambda *_: tuple(_jacobian(f, x).values()), x)
        return {f"{a},{b}": found[b][i] for i, a in enumerate(x) for b in x}

    @_asked
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """`jvp` within `jvp`, once for each order: shape y, or a tuple of them; None where it is not connected."""
        names = [name for name, order in orders.items() for _ in range(order)]
        if len(names) > DEEPEST:
            raise Unsupported(f"accumulators within accumulators take too long from {DEEPEST + 1} on")
        return _partial(f, x, names)


def units(x: Native) -> Iterator[Native]:
    """A tensor like x for each of its components, 1 there and 0 elsewhere."""
    for i in range(x.shape.num_elements()):
        one = np.zeros(x.shape, x.dtype.as_numpy_dtype)
        one.flat[i] = 1
        yield tf.constant(one)


def jvp(accumulator: Any, y: Native | None) -> Native | None:
    """What the accumulator knows of y, dense; None of what was None before, an inner derivative."""
    found = None if y is None else accumulator.jvp(y)
    return None if found is None else tf.convert_to_tensor(found)


def block(y: Native | None, columns: Sequence[Native | None], x: Native) -> Native | None:
    """The derivatives of y along the units of x as one array, shape y + x; None where one of them is."""
    if y is None or any(column is None for column in columns):
        return None
    shape = y.shape + x.shape
    return tf.reshape(tf.stack(columns, axis=-1), shape) if columns else tf.zeros(shape, y.dtype)


def _pushed(f: Op, x: Arrays, tangents: Arrays) -> Any:
    """The jvp by the inputs that have a tangent."""
    primals = [x[name] for name in tangents]
    with tf.autodiff.ForwardAccumulator(primals, list(tangents.values())) as accumulator:
        y = f(*x.values())
        return tf.nest.map_structure(lambda part: jvp(accumulator, part), y)


def _jacobian(f: Op, x: Arrays) -> dict[str, Any]:
    """By input the derivatives along its units, behind the axes of the output.

    Of a complex input these are two derivatives, along 1 and along 1j. They become one number as TensorFlow's reverse
    mode makes it: the gradient of the real part of f, which of a holomorphic f is the derivative's conjugate.
    """
    y = f(*x.values())
    found: dict[str, Any] = {}
    for name, primal in x.items():
        found[name] = _along(f, x, y, name, 1)
        if primal.dtype.is_complex:
            found[name] = tf.nest.map_structure(_joined, found[name], _along(f, x, y, name, 1j))
    return found


def _along(f: Op, x: Arrays, y: Any, name: str, factor: complex) -> Any:
    columns = [_pushed(f, x, {name: unit if factor == 1 else factor * unit}) for unit in units(x[name])]
    return tf.nest.map_structure(lambda part, *those: block(part, those, x[name]), y, *columns)


def _joined(one: Native | None, other: Native | None) -> Native | None:
    """The derivatives along 1 and along 1j as one array."""
    return None if one is None else tf.complex(tf.math.real(one), tf.math.real(other))


def _partial(f: Op, x: Arrays, names: Sequence[str]) -> Any:
    """The derivative by one 0-d input after the other, the first of them last."""
    if not names:
        return f(*x.values())
    return _pushed(lambda *_: _partial(f, x, names[1:]), x, {names[0]: tf.ones_like(x[names[0]])})
