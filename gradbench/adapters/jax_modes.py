"""JAX's other ways: compiled, forwards, batched, linearised.

NumPy arrays enter and leave, as with `jax`, whose primitives, settings and arrays these share; what differs is how an
operator is asked. `Jit` compiles the whole derivative, `Vmap` asks for it at several points at once, `Forward` pushes
tangents only, and `Linearize` takes the linear map that JAX makes of f at a point, and transposes it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.jax import Jax, Op, _all, _columns, _holomorphic, _Jax, _named, _pairs, _refusing, _times
from gradbench.errors import Unsupported

ASIDE: Final = 2.0**-10
"""How far, of each number, the neighbours of a point are away in a batch; in a narrow format two units in its last place."""


class Jit(Jax):
    """`jax.jit` of each derivative as a whole: traced and compiled once for each function, operator and shapes.

    Points, whole numbers too, tangents and cotangents are arguments of what is compiled; the constants of a function are
    part of it.
    """

    compiles = True

    def __init__(self) -> None:
        self._compiled: WeakKeyDictionary[Function, dict[Hashable, Op]] = WeakKeyDictionary()

    def call(self, f: Function, key: Hashable, derive: Callable[[Op], Op], *arrays: Any) -> Any:
        """What `derive` makes of f, compiled when it comes for the first time, applied to the arrays."""
        kept = self._compiled.setdefault(f.kept_by, {})
        place = key, tuple(f.held)
        if place not in kept:
            kept[place] = jax.jit(_open(f, derive))
        return kept[place](f.held, *arrays)


def _open(f: Function, derive: Callable[[Op], Op]) -> Op:
    """What `derive` makes of f, as a function of what f holds as well. It doesn't keep f alive."""
    found = weakref.ref(f.kept_by)

    def function(held: Arrays, *arrays: Native) -> Any:
        def free(*arrays: Native) -> Any:
            alive = found()
            assert alive is not None
            return alive.holding(held)(*arrays)

        return derive(free)(*arrays)

    return function


class Vmap(Jax):
    """`jax.vmap` of each derivative over three points: the one that was asked for, between two neighbours of it.

    Every argument, directions included, has a neighbour on either side. The answer is the middle row, and is wrong if
    a rule for batches mixes the rows.
    """

    def call(self, f: Function, key: Hashable, derive: Callable[[Op], Op], *arrays: Any) -> Any:  # noqa: ARG002
        """What `derive` makes of f, mapped over points; the row of the one between its neighbours."""
        rows = jax.vmap(_open(f, derive))(*jax.tree.map(_between_neighbours, (f.held, *arrays)))
        return jax.tree.map(lambda array: array[1], rows)


def _between_neighbours(array: Native) -> Native:
    """An array as the middle one of three, shape 3 + x. A symmetric matrix has symmetric neighbours.

    Neighbours of 0 are on either side of it too. What isn't inexact has neighbours like itself, of the same dtype.
    """
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        return jnp.stack([array] * 3)
    aside = max(ASIDE, 2 * float(jnp.finfo(array.dtype).eps))
    step = jnp.where(array == 0, aside, array * aside).astype(array.dtype)
    return jnp.stack([array - step, array, array + step])


class Forward(_Jax):
    """Forward mode alone: `jax.jvp`, `jax.jacfwd`, and these applied to themselves."""

    jvp = Jax.jvp

    @_refusing
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`jax.jacfwd` of a scalar f: by input, shape x.

        Raises:
            TypeError: f is no scalar.
        """
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            return jax.jacfwd(f, places, holomorphic=how)  # type: ignore[no-any-return]

        _scalar(f, x)
        return _named(x, self.call(f, ("gradient", how), derive, *x.values()))

    @_refusing
    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """`jax.jacfwd`: by input, shape y + x; a tuple of them if f returns a tuple."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            return jax.jacfwd(f, places, holomorphic=how)  # type: ignore[no-any-return]

        return _columns(f, x, self.call(f, ("jacobian", how), derive, *x.values()))

    @_refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`jax.jacfwd` of `jax.jvp`: by input, shape x."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            def along(*arrays: Native) -> Native:
                return jax.jvp(f, arrays[: len(places)], arrays[len(places) :])[1]

            return jax.jacfwd(along, places, holomorphic=how)  # type: ignore[no-any-return]

        return _named(x, self.call(f, ("hvp", how), derive, *x.values(), *(tangents[name] for name in x)))

    @_refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`jax.jacfwd` of `jax.jacfwd`: by pair of inputs, shape a + b."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            return jax.jacfwd(jax.jacfwd(f, places, holomorphic=how), places, holomorphic=how)  # type: ignore[no-any-return]

        return _pairs(x, self.call(f, ("hessian", how), derive, *x.values()))

    @_refusing
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """Nested `jax.jacfwd` by 0-d inputs: shape y."""
        how, times = _holomorphic(f, x), _times(x, orders)

        def derive(f: Op) -> Op:
            for place in times:
                f = jax.jacfwd(f, place, holomorphic=how)
            return f

        return self.call(f, ("partial", times, how), derive, *x.values())


class Linearize(_Jax):
    """`jax.linearize`, whose linear map answers for many directions, and `jax.linear_transpose` of that map."""

    @_refusing
    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Any:
        """The linear map, of the tangents: shape y."""
        count = len(x)

        def derive(f: Op) -> Op:
            return lambda *arrays: jax.linearize(f, *arrays[:count])[1](*arrays[count:])

        return self.call(f, "jvp", derive, *x.values(), *(tangents[name] for name in x))

    @_refusing
    def vjp(self, f: Function, x: Arrays, cotangent: Any) -> Arrays:
        """The transpose of the linear map, of the cotangent: by input, shape x."""
        return _named(x, self.call(f, "vjp", _transposed, cotangent, *x.values()))

    @_refusing
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """The transpose of the linear map, of 1: by input, shape x.

        Raises:
            TypeError: f is no scalar.
        """
        y = _scalar(f, x)
        if jnp.issubdtype(y.dtype, jnp.complexfloating) and not _holomorphic(f, x):
            raise Unsupported("a gradient of a complex number by real ones")
        return _named(x, self.call(f, "vjp", _transposed, jnp.ones((), y.dtype), *x.values()))

    @_refusing
    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """The linear map, mapped over the unit directions of an input: by input, shape y + x; a tuple for a tuple."""
        _real_or_holomorphic(f, x)

        def derive(f: Op) -> Op:
            return lambda *arrays: _matrices(jax.linearize(f, *arrays)[1], arrays)

        return _named(x, self.call(f, "jacobian", derive, *x.values()))

    @_refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """The linear map of `jax.grad`, of the tangents: by input, shape x."""
        how, places = _holomorphic(f, x), _all(x)

        def derive(f: Op) -> Op:
            gradient, count = jax.grad(f, places, holomorphic=how), len(places)
            return lambda *arrays: jax.linearize(gradient, *arrays[:count])[1](*arrays[count:])

        return _named(x, self.call(f, ("hvp", how), derive, *x.values(), *(tangents[name] for name in x)))

    @_refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """The linear map of `jax.grad`, mapped over the unit directions of an input: by pair of inputs, shape a + b."""
        how, places = _holomorphic(f, x), _all(x)
        _real_or_holomorphic(f, x)

        def derive(f: Op) -> Op:
            gradient = jax.grad(f, places, holomorphic=how)
            return lambda *arrays: tuple(zip(*_matrices(jax.linearize(gradient, *arrays)[1], arrays), strict=True))

        return _pairs(x, self.call(f, ("hessian", how), derive, *x.values()))


def _transposed(f: Op) -> Op:
    """The pull-back of f, as a function of a cotangent and of where it is."""

    def pulled(cotangent: Any, *arrays: Native) -> Any:
        push = jax.linearize(f, *arrays)[1]
        return jax.linear_transpose(push, *arrays)(cotangent)

    return pulled


def _matrices(push: Op, arrays: tuple[Native, ...]) -> tuple[Any, ...]:
    """The matrices of a linear map, one for each argument, of shape y + x."""
    zeros = [jnp.zeros_like(array) for array in arrays]

    def matrix(place: int) -> Any:
        size, shape = arrays[place].size, arrays[place].shape
        units = jnp.eye(size, dtype=arrays[place].dtype).reshape(size, *shape)
        columns = jax.vmap(lambda unit: push(*zeros[:place], unit, *zeros[place + 1 :]), out_axes=-1)(units)
        return jax.tree.map(lambda column: column.reshape(column.shape[:-1] + shape), columns)

    return tuple(map(matrix, range(len(arrays))))


def _scalar(f: Function, x: Arrays) -> Any:
    """The shape and dtype of a function whose output is a number.

    Raises:
        TypeError: It is none.
    """
    y = jax.eval_shape(f, *x.values())
    if isinstance(y, tuple) or y.shape:
        raise TypeError(f"a gradient is of a scalar output, not of {y}")
    return y


def _real_or_holomorphic(f: Function, x: Arrays) -> None:
    """Refuses what isn't linear in complex numbers, whose unit directions don't say all.

    Raises:
        Unsupported: There are complex inputs, and f isn't holomorphic.
    """
    if any(jnp.iscomplexobj(array) for array in x.values()) and not _holomorphic(f, x):
        raise Unsupported("a matrix of a function of complex numbers that isn't holomorphic")
