"""TensorFlow with persistent tapes: one recording, asked once for each input.

Nothing is recorded twice: a Hessian comes of one persistent tape within another, and a partial derivative of order n
of n of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.tensorflow import _asked, _assembled, _each, _jacobian, _TensorFlow
from gradbench.adapters.tensorflow_words import Op


class Persistent(_TensorFlow):
    """Reverse mode, eagerly, with `tf.GradientTape(persistent=True)`."""

    @_asked
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`tape.gradient` by one input after the other: by input, shape x, or None where it is not connected."""
        return _gradient(f, x)

    @_asked
    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Arrays:
        """`tape.gradient` with `output_gradients` by one input after the other: by input, shape x."""
        return _gradient(f, x, cotangent)

    @_asked
    def jacobian(self, f: Function, x: Arrays) -> Arrays:
        """`tape.jacobian` of one output by one input after the other: by input, shape y + x, or a tuple of them."""
        tape, y = _recorded(f, x)
        return _each(y, lambda part: {name: _dense(_jacobian(tape, part, one)) for name, one in x.items()})

    @_asked
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`outer.jacobian` of `inner.gradient`, pair by pair: by pair of inputs, shape a + b."""
        tape, gradient = _recorded(lambda *_: _gradient(f, x), x)
        return {
            f"{a},{b}": None if g is None else _dense(_jacobian(tape, g, x[b])) for a, g in gradient.items() for b in x
        }

    @_asked
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`outer.gradient` of `inner.gradient`, the transposed Hessian's product: by input, shape x."""
        tape, gradient = _recorded(lambda *_: {k: g for k, g in _gradient(f, x).items() if g is not None}, x)
        if not gradient:
            return dict.fromkeys(x)
        targets, weights = list(gradient.values()), [tangents[name] for name in gradient]
        return {name: _dense(tape.gradient(targets, one, output_gradients=weights)) for name, one in x.items()}

    @_asked
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """`tape.gradient` of each component within the next tape: shape y, or a tuple of them, or None."""
        names = [name for name, order in orders.items() for _ in range(order)]
        y, components = f(*x.values()), _partials(f, x, names)
        if not isinstance(y, tuple):
            return _assembled(y, components)
        return tuple(_assembled(part, those) for part, those in zip(y, components, strict=True))


def _recorded(f: Op, x: Arrays) -> tuple[Any, Any]:
    """A tape that has seen what f does with x, and what f returned."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(list(x.values()))
        y = f(*x.values())
    return tape, y


def _gradient(f: Op, x: Arrays, cotangent: Any = None) -> dict[str, Native | None]:
    tape, y = _recorded(f, x)
    return {name: _dense(tape.gradient(y, one, output_gradients=cotangent)) for name, one in x.items()}


def _dense(found: Native | None) -> Native | None:
    return None if found is None else tf.convert_to_tensor(found)


def _partials(f: Op, x: Arrays, names: Sequence[str]) -> Any:
    """For each output a list of its components, differentiated by one 0-d input after the other, the first last."""
    if not names:
        return tf.nest.map_structure(lambda part: tf.unstack(tf.reshape(part, [-1])), f(*x.values()))
    tape, ys = _recorded(lambda *_: _partials(f, x, names[1:]), x)
    return tf.nest.map_structure(lambda one: None if one is None else _dense(tape.gradient(one, x[names[0]])), ys)
