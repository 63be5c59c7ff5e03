"""JAX's ways of composing its two modes for a second derivative, each a target of its own.

NumPy arrays enter and leave, as with `jax`, whose primitives, settings and arrays these share. Mathematically all of
them answer the same; they use different rules of JAX on the way: a tangent's rule of a cotangent's, a cotangent's of a
tangent's, a cotangent's of a cotangent's. Forward over forward is `jax_modes.Forward`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.jax import Op, _all, _holomorphic, _Jax, _named, _pairs, _refusing

Places = tuple[int, ...]
"""The positions of the inputs."""


class _Composition(_Jax):
    """What the compositions have in common: a product and a matrix, each of one mode over another."""

    @_refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """By input, shape x."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            product = self.product(f, places, how)
            return lambda *arrays: product(arrays[: len(places)], arrays[len(places) :])

        return _named(x, self.call(f, ("hvp", how), derive, *x.values(), *(tangents[name] for name in x)))

    @_refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """By pair of inputs, shape a + b."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            return self.matrix(f, places, how)

        return _pairs(x, self.call(f, ("hessian", how), derive, *x.values()))

    def product(self, f: Op, places: Places, how: bool) -> Callable[[Any, Any], Any]:
        """A function of a point and a direction: the Hessian at the one times the other."""
        raise NotImplementedError

    def matrix(self, f: Op, places: Places, how: bool) -> Op:
        """The Hessian of f, as a function of its inputs."""
        raise NotImplementedError


class ForwardOverReverse(_Composition):
    """`jax.jvp` of `jax.grad`, and `jax.jacfwd` of `jax.jacrev`."""

    def product(self, f: Op, places: Places, how: bool) -> Callable[[Any, Any], Any]:
        """See the class."""
        gradient = jax.grad(f, places, holomorphic=how)
        return lambda point, direction: jax.jvp(gradient, point, direction)[1]

    def matrix(self, f: Op, places: Places, how: bool) -> Op:
        """See the class."""
        return jax.jacfwd(jax.jacrev(f, places, holomorphic=how), places, holomorphic=how)  # type: ignore[no-any-return]


class ReverseOverForward(_Composition):
    """`jax.grad` of `jax.jvp`, and `jax.jacrev` of `jax.jacfwd`."""

    def product(self, f: Op, places: Places, how: bool) -> Callable[[Any, Any], Any]:
        """See the class."""

        def product(point: Any, direction: Any) -> Any:
            return jax.grad(lambda *x: jax.jvp(f, x, direction)[1], places, holomorphic=how)(*point)

        return product

    def matrix(self, f: Op, places: Places, how: bool) -> Op:
        """See the class."""
        return jax.jacrev(jax.jacfwd(f, places, holomorphic=how), places, holomorphic=how)  # type: ignore[no-any-return]


class ReverseOverReverse(_Composition):
    """`jax.grad` of the product of `jax.grad` with a direction, and `jax.jacrev` of `jax.jacrev`."""

    def product(self, f: Op, places: Places, how: bool) -> Callable[[Any, Any], Any]:
        """See the class."""
        gradient = jax.grad(f, places, holomorphic=how)

        def product(point: Any, direction: Any) -> Any:
            def along(*x: Native) -> Native:
                # vdot conjugates its first argument; the derivative of a holomorphic function has none conjugated
                return sum(jnp.vdot(jnp.conj(v), g) for v, g in zip(direction, gradient(*x), strict=True))

            return jax.grad(along, places, holomorphic=how)(*point)

        return product

    def matrix(self, f: Op, places: Places, how: bool) -> Op:
        """See the class."""
        return jax.jacrev(jax.jacrev(f, places, holomorphic=how), places, holomorphic=how)  # type: ignore[no-any-return]
