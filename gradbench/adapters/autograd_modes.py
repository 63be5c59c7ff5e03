"""HIPS autograd's other ways: forwards, and its two modes one over the other.

NumPy arrays enter and leave, as with `autograd`, whose primitives and arrays these share. `Forward` is `make_jvp`, one
direction at a time; what has no rule for that is refused, though reverse mode has one. The compositions answer second
derivatives alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.autograd import (
    Autograd,
    _argnum,
    _Autograd,
    _boxed,
    _each,
    _is_holomorphic,
    _named,
    _refusing,
)
from gradbench.adapters.autograd_words import Op
from gradbench.errors import Unsupported
from gradbench.query import Array


class Forward(_Autograd):
    """`make_jvp`, and `make_jvp` of itself."""

    @_refusing
    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Any:
        """`make_jvp` by all inputs: shape y."""
        return _slope(_boxed(f), x, tangents)(*x.values())

    @_refusing
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`make_jvp` along each entry of a scalar f: by input, shape x.

        Raises:
            TypeError: f is no scalar.
        """
        _real_or_holomorphic(f, x)
        if np.ndim(f(*x.values())):
            raise TypeError("the gradient of an array")
        return {name: _columns(f, x, i) for i, name in enumerate(x)}

    @_refusing
    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """`make_jvp` along each entry: by input, shape y + x; a tuple of them if f returns a tuple."""

        def by(i: int) -> Any:
            return _each(f, lambda y: _columns(y, x, i))

        _each(f, lambda y: _real_or_holomorphic(y, x))
        return {name: by(i) for i, name in enumerate(x)}

    @_refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`make_jvp` along each entry, of `make_jvp` along the tangents: by input, shape x."""
        _real_or_holomorphic(f, x)
        return {name: _columns(_slope(f, x, tangents), x, i) for i, name in enumerate(x)}

    @_refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`make_jvp` of `make_jvp`, each along each entry: by pair of inputs, shape a + b."""
        _real_or_holomorphic(f, x)
        return _rows(f, x, lambda slope, j: _columns(slope, x, j))

    @_refusing
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """Nested `make_jvp` along 1, by 0-d inputs: shape y."""

        def nested(found: Op) -> Native:
            for name, order in orders.items():
                for _ in range(order):
                    found = _along(found, tuple(x).index(name), np.ones_like(x[name]))
            return found(*x.values())

        return _each(f, nested)


class ForwardOverReverse(_Autograd):
    """`make_jvp` of `grad`."""

    @_refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """By input, shape x."""
        return _named(x, _slope(autograd.grad(f, _argnum(x)), x, tangents)(*x.values()))

    @_refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """Column by column: by pair of inputs, shape a + b."""
        _real_or_holomorphic(f, x)
        gradients = [autograd.grad(f, i) for i in range(len(x))]
        return {f"{a},{b}": _columns(gradients[i], x, j) for i, a in enumerate(x) for j, b in enumerate(x)}


class ReverseOverForward(_Autograd):
    """`grad` of `make_jvp`."""

    @_refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """By input, shape x."""
        return _named(x, autograd.grad(_slope(f, x, tangents), _argnum(x))(*x.values()))

    @_refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """Row by row: by pair of inputs, shape a + b."""
        _real_or_holomorphic(f, x)
        return _rows(f, x, lambda slope, j: autograd.grad(slope, j)(*x.values()))


class ReverseOverReverse(_Autograd):
    """`grad` of the product of `grad` with the tangents, and `hessian`."""

    hessian = Autograd.hessian

    @_refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """By input, shape x."""
        gradients = [autograd.grad(f, i) for i in range(len(x))]

        def product(*arrays: Native) -> Native:
            parts = zip(gradients, x, strict=True)
            return sum(anp.sum(gradient(*arrays) * tangents[name]) for gradient, name in parts)

        return _named(x, autograd.grad(product, _argnum(x))(*x.values()))


def _along(f: Op, argnum: int | tuple[int, ...], direction: Any) -> Op:
    """The derivative of f along a direction, as a function of the inputs of f."""
    push = autograd.make_jvp(f, argnum)
    return lambda *arrays: push(*arrays)(direction)[1]


def _slope(f: Op, x: Arrays, tangents: Arrays) -> Op:
    """The derivative along the tangents of all inputs."""
    directions = tuple(tangents[name] for name in x)
    return _along(f, _argnum(x), directions[0] if len(x) == 1 else directions)


def _units(array: Array) -> Iterator[Array]:
    """Its unit directions."""
    for index in range(array.size):
        unit = np.zeros_like(array)
        unit.reshape(-1)[index] = 1
        yield unit


def _columns(f: Op, x: Arrays, place: int) -> Array:
    """The derivative of f along each entry of an input, shape y + x."""
    array = tuple(x.values())[place]
    columns = [_along(f, place, unit)(*x.values()) for unit in _units(array)]
    y = np.shape(columns[0] if columns else f(*x.values()))
    return _stacked(columns, -1, y + array.shape, array.dtype)


def _rows(f: Op, x: Arrays, derivative: Callable[[Op, int], Array]) -> dict[str, Array]:
    """By pair of inputs, what `derivative` makes by the second of the slope of f along each entry of the first."""
    return {
        f"{a},{b}": _stacked(
            [derivative(_along(f, i, unit), j) for unit in _units(x[a])], 0, x[a].shape + x[b].shape, x[a].dtype
        )
        for i, a in enumerate(x)
        for j, b in enumerate(x)
    }


def _stacked(parts: Sequence[Array], axis: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Parts as one array; the dtype is theirs, and what is given if there are none."""
    return np.stack(parts, axis).reshape(shape) if parts else np.zeros(shape, dtype)


def _real_or_holomorphic(f: Op, x: Arrays) -> None:
    """Refuses what isn't linear in complex numbers, whose unit directions don't say all.

    Raises:
        Unsupported: There are complex inputs, and f isn't holomorphic.
    """
    if any(map(np.iscomplexobj, x.values())) and not _is_holomorphic(f, x):
        raise Unsupported("a matrix of a function of complex numbers that isn't holomorphic")
