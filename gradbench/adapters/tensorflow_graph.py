"""TensorFlow as it was before 2.0: a graph of placeholders, `tf.gradients`, and a session that runs it.

A function of a case and an operator become one graph and one session, built when they are first asked for arrays of
some shapes and dtypes and kept as long as the function is. Points, tangents and cotangents are placeholders, the
constants of a case constants of the graph.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.tensorflow import _asked, _assembled, _each, _named, _size, _TensorFlow

v1 = tf.compat.v1


class Graph(_TensorFlow):
    """Reverse mode in a graph."""

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[Function, dict[Hashable, _Built]] = weakref.WeakKeyDictionary()

    def value(self, f: Function, x: Arrays) -> Any:
        """The function itself, at x: shape y, or a tuple of them."""
        return self._run(_value, f, x)

    def gradient(self, f: Function, x: Arrays) -> Any:
        """`tf.gradients` of a scalar f: by input, shape x, or None where it is not connected."""
        return self._run(_vjp, f, x)

    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Any:
        """`tf.gradients` with `grad_ys`: by input, shape x, or None where it is not connected."""
        return self._run(_vjp, f, x, cotangent)

    def jacobian(self, f: Function, x: Arrays) -> Any:
        """`tf.gradients` of one component after the other: by input, shape y + x, or a tuple of them."""
        return self._run(_jacobian, f, x)

    def hessian(self, f: Function, x: Arrays) -> Any:
        """`tf.hessians` by one input, `tf.gradients` of `tf.gradients` by two: by pair of inputs, shape a + b."""
        return self._run(_hessian, f, x)

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Any:
        """`tf.gradients` of `tf.gradients`, the transposed Hessian's product: by input, shape x."""
        return self._run(_hvp, f, x, tangents)

    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """`tf.gradients` of each component, once for each order: shape y, or a tuple of them, or None."""
        names = tuple(name for name, order in orders.items() for _ in range(order))
        return self._run(_partial, f, x, names=names)

    @_asked
    def _run(self, /, build: Any, f: Function, x: Arrays, *directions: Any, **statics: Hashable) -> Any:
        given = (dict(f.held), dict(x), *directions)
        arrays = tf.nest.flatten(given)
        kept = self._kept.setdefault(f.kept_by, {})
        key = (build, tuple(x), *((one.dtype, tuple(one.shape)) for one in arrays), *statics.values())
        if key not in kept:
            kept[key] = _built(
                lambda held, *places: build(_inside(f.kept_by).holding(held), *places, **statics), self.device, given
            )
        return kept[key](arrays)


@dataclasses.dataclass(frozen=True)
class _Built:
    """What a session is to be fed and to fetch; a fetch of None is one that TensorFlow has no tensor for."""

    session: Any
    places: Sequence[Native]
    fetches: Any

    def __call__(self, arrays: Sequence[Native]) -> Any:
        """NumPy arrays, in the structure of the fetches."""
        flat = tf.nest.flatten(self.fetches)
        feed = {place: one.numpy() for place, one in zip(self.places, arrays, strict=True)}
        found = iter(self.session.run([fetch for fetch in flat if fetch is not None], feed))
        return tf.nest.pack_sequence_as(self.fetches, [None if fetch is None else next(found) for fetch in flat])


def _built(build: Callable[..., Any], device: str, given: Any) -> _Built:
    threads = tf.config.threading
    config = v1.ConfigProto(
        allow_soft_placement=tf.config.get_soft_device_placement(),
        intra_op_parallelism_threads=threads.get_intra_op_parallelism_threads(),
        inter_op_parallelism_threads=threads.get_inter_op_parallelism_threads(),
        gpu_options=v1.GPUOptions(allow_growth=True),
    )
    graph = tf.Graph()
    with graph.as_default(), tf.device(device):
        places = tf.nest.map_structure(lambda one: v1.placeholder(one.dtype, one.shape), given)
        fetches = build(*places)
    return _Built(v1.Session(graph=graph, config=config), tf.nest.flatten(places), fetches)


def _inside(f: Function) -> Function:
    """The function with its constants in the graph that is being built, which takes no eager tensors."""
    constants = {name: tf.constant(array.numpy()) for name, array in f.constants.items()}
    return dataclasses.replace(f, constants=constants)


def _value(f: Function, x: Arrays) -> Any:
    return f(*x.values())


def _vjp(f: Function, x: Arrays, cotangent: Any = None) -> Arrays:
    return _gradients(f(*x.values()), x, cotangent)


def _gradients(y: Any, x: Arrays, weights: Any = None) -> dict[str, Native | None]:
    if weights is None:  # it would take ones itself, but of complex numbers it wants to be told
        weights = tf.nest.map_structure(tf.ones_like, y)
    return _named(x, v1.gradients(y, list(x.values()), grad_ys=weights))


def _jacobian(f: Function, x: Arrays) -> Arrays:
    return _each(f(*x.values()), lambda part: _rows(part, x))


def _rows(y: Native, x: Arrays) -> dict[str, Native | None]:
    """The gradients of the components of y, stacked: by input, shape y + x, or None where it is not connected."""
    rows = [_gradients(one, x) for one in tf.unstack(tf.reshape(y, [-1]))]
    return {name: _stacked(y, [row[name] for row in rows], one) for name, one in x.items()}


def _stacked(y: Native, rows: Sequence[Native | None], x: Native) -> Native | None:
    if any(row is None for row in rows):
        return None
    return tf.reshape(tf.stack(rows), y.shape + x.shape) if rows else tf.zeros(y.shape + x.shape, x.dtype)


def _hessian(f: Function, x: Arrays) -> Arrays:
    y = f(*x.values())
    found: dict[str, Native | None] = {}
    for a, g in _gradients(y, x).items():
        row = dict.fromkeys(x) if g is None else _rows(g, x)
        if row[a] is not None and _size(g):
            row[a] = v1.hessians(y, x[a])[0]
        found |= {f"{a},{b}": block for b, block in row.items()}
    return found


def _hvp(f: Function, x: Arrays, tangents: Arrays) -> Arrays:
    gradient = {name: g for name, g in _gradients(f(*x.values()), x).items() if g is not None}
    if not gradient:
        return dict.fromkeys(x)
    return _gradients(list(gradient.values()), x, [tangents[name] for name in gradient])


def _partial(f: Function, x: Arrays, names: Sequence[str]) -> Any:
    y = f(*x.values())
    if not isinstance(y, tuple):
        return _differentiated(y, x, names)
    return tuple(_differentiated(part, x, names) for part in y)


def _differentiated(y: Native, x: Arrays, names: Sequence[str]) -> Native | None:
    found: list[Native | None] = tf.unstack(tf.reshape(y, [-1]))
    for name in reversed(names):
        found = [None if one is None else _gradients(one, {name: x[name]})[name] for one in found]
    return _assembled(y, found)
