"""The primitives that work on whole arrays, over power series: reductions, shapes, sums of products, conditions.

NumPy arrays of dtype object enter, each entry a `Series` (a bool where it is a condition), and leave. Shapes are NumPy's
own business. Each entry of `OPS` takes the `Ring` first, then arrays by position and statics by keyword.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import flint
import numpy as np

from gradbench.errors import Unsupported
from gradbench.reference.power_series.series_branches import CORNERS, STEPS, chosen, largest, norm, root, sum_of
from gradbench.reference.power_series.series_functions import SMOOTH, exp, gelu, inverse, log1p
from gradbench.reference.power_series.series_ring import Array, Fault, Ring, Series, Side, Singular, agree, faulty

Axes = int | tuple[int, ...] | None
Op = Callable[..., Any]
arb = flint.arb


def _objects(x: Any) -> Array:
    return np.asarray(x, dtype=object)


def _statics(ring: Ring, statics: dict[str, Any]) -> dict[str, Any]:
    return {name: None if number is None else ring.lift(number) for name, number in statics.items()}


def _smooth(f: Callable[..., Series]) -> Op:
    return lambda ring, *arrays: ring.smooth(f, *arrays)


def _kinked(name: str, f: Callable[..., Any], *, jump: bool = False) -> Op:
    def op(ring: Ring, *arrays: Any, **statics: Any) -> Array:
        found = ring.kinked(name, functools.partial(f, **_statics(ring, statics)), *arrays, jump=jump)
        return _condition(found)

    return op


def _power(ring: Ring, x1: Any, x2: Any) -> Array:
    """A whole exponent that is written in the text stays what it is, however coarse the dtype."""
    if isinstance(x2, (int, float)) and x2 == int(x2 if math.isfinite(x2) else 0):
        x2 = _objects(ring.constant(int(x2)))
    return ring.kinked("power", CORNERS["power"], x1, x2)


def _arithmetic(f: Any) -> Op:
    return lambda ring, x1, x2: _objects(f(ring.array(x1), ring.array(x2)))


# Conditions: arrays of bool, or of objects where some entry is a fault


def _condition(found: Array) -> Array:
    return found.astype(bool) if all(type(e) is bool for e in found.flat) and found.size else found


def _logical(x1: Any, x2: Any, absorbing: bool) -> Array:
    def both(a: Any, b: Any) -> Any:
        for first, second in ((a, b), (b, a)):
            if isinstance(first, Series):
                return first if isinstance(second, Series) or bool(second) != absorbing else absorbing
        return (a or b) if absorbing else (a and b)

    return _condition(_objects(np.frompyfunc(both, 2, 1)(_truths(x1), _truths(x2))))


def _truths(x: Any) -> Array:
    return _objects(np.frompyfunc(lambda e: e if isinstance(e, Series) else bool(e), 1, 1)(x))


def _where(ring: Ring, condition: Any, x1: Any, x2: Any) -> Array:
    def choice(holds: Any, a: Series, b: Series) -> Series:
        if not isinstance(holds, Series):
            return a if holds else b
        return a if agree(a, b) else holds

    arrays = _truths(condition), ring.array(x1), ring.array(x2)
    return _objects(np.frompyfunc(choice, 3, 1)(*arrays))


# Reductions


def _axes(axis: Axes, rank: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(rank))
    return tuple(a % rank for a in (axis if isinstance(axis, tuple) else (axis,)))


def _rows(x: Array, axes: tuple[int, ...]) -> Array:
    """The array with the axes joined into a last one. Shape (..., k)."""
    kept = [i for i in range(x.ndim) if i not in axes]
    return x.transpose([*kept, *axes]).reshape([*(x.shape[i] for i in kept), math.prod(x.shape[i] for i in axes)])


def _safely(f: Callable[[list[Series]], list[Any]], row: list[Series], count: int) -> list[Any]:
    """What f makes of several series; its fault, or theirs, in every place of the answer."""
    fault = next((entry.fault for entry in row if entry.fault), None)
    if fault is None:
        try:
            return f(row)
        except Fault as error:
            fault = error
    return [faulty(fault)] * count


def _reduction(f: Callable[..., Series]) -> Op:
    """A reduction by f(ring, list of series, **statics)."""

    def op(ring: Ring, x: Any, axis: Axes = None, keepdims: bool = False, **statics: Any) -> Array:
        array = ring.array(x)
        axes = _axes(axis, array.ndim)
        rows = _rows(array, axes)
        found = np.empty(rows.shape[:-1], object)
        for index in np.ndindex(found.shape):
            found[index] = _safely(lambda row: [f(ring, row, **statics)], list(rows[index]), 1)[0]
        return np.expand_dims(found, axes) if keepdims else found

    return op


def _along(f: Callable[..., list[Series]]) -> Op:
    """f(ring, list of series) to a list of as many, along an axis."""

    def op(ring: Ring, x: Any, axis: int = -1) -> Array:
        moved = np.moveaxis(ring.array(x), axis, -1)
        found = np.empty(moved.shape, object)
        for index in np.ndindex(moved.shape[:-1]):
            row = list(moved[index])
            found[index] = _filled(_safely(lambda row: f(ring, row), row, len(row)))
        return np.moveaxis(found, -1, axis)

    return op


def _filled(entries: Sequence[Any]) -> Array:
    array = np.empty(len(entries), object)
    array[:] = entries
    return array


def _sum(ring: Ring, row: list[Series]) -> Series:
    return sum_of(row) if row else ring.constant(0)


def _mean(ring: Ring, row: list[Series]) -> Series:
    return _sum(ring, row).over(len(row))


def _prod(ring: Ring, row: list[Series]) -> Series:
    return functools.reduce(lambda a, b: a * b, row, ring.constant(1))


def _var(ring: Ring, row: list[Series], correction: float) -> Series:
    """From n x - sum, which is exactly 0 where all entries are equal, whatever 1/n is."""
    n, total = len(row), _sum(ring, row)
    if arb(n) - arb(correction) == 0:
        raise Singular("var")
    squares = [d * d for d in (entry * n - total for entry in row)]
    return sum_of(squares).over(n * n * (arb(n) - arb(correction)))


def _std(ring: Ring, row: list[Series], correction: float) -> Series:
    variance = _var(ring, row, correction)
    return ring.one("std", lambda side: root(side, "std", variance, 2))


def _extreme(name: str, sign: int) -> Callable[[Ring, list[Series]], Series]:
    def found(ring: Ring, row: list[Series]) -> Series:
        signed = row if sign > 0 else [-entry for entry in row]
        best = ring.one(name, lambda side: largest(side, name, signed))
        return best if sign > 0 else -best

    return found


def _powers(row: list[Series]) -> tuple[Series, list[Series], Series]:
    """The likely largest entry m, exp(x - m) of each entry, and the sum of these without that of m, which is 1.

    Measured from the largest, nothing that is small is a difference of large numbers.
    """
    place = max(range(len(row)), key=lambda i: row[i].first.mid())
    one = row[place].zero() + 1
    powers = [one if i == place else exp(entry - row[place]) for i, entry in enumerate(row)]
    return row[place], powers, sum_of([row[place].zero(), *powers[:place], *powers[place + 1 :]])


def _logsumexp(ring: Ring, row: list[Series]) -> Series:
    del ring
    most, _, rest = _powers(row)
    return most + log1p(rest, "logsumexp")


def _softmax(ring: Ring, row: list[Series]) -> list[Series]:
    del ring
    _, powers, rest = _powers(row)
    scale = inverse(rest + 1, "softmax")
    return [power * scale for power in powers]


def _log_softmax(ring: Ring, row: list[Series]) -> list[Series]:
    del ring
    most, _, rest = _powers(row)
    total = log1p(rest, "log_softmax")
    return [-total if entry is most else entry - most - total for entry in row]


def _sort(ring: Ring, row: list[Series]) -> list[Series]:
    def ordered(side: Side) -> list[Series]:
        tied: set[int] = set()

        def compared(a: Series, b: Series) -> int:
            sign = 0 if a is b else side.sign("sort", a - b)
            if sign == 0 and chosen(0, a, b) is not a:
                tied.update((id(a), id(b)))
            return sign

        found = sorted(row, key=functools.cmp_to_key(compared))
        return [Series(x.terms) if id(x) in tied else x for x in found]

    return ring.approached("sort", ordered)


def _vector_norm(ring: Ring, row: list[Series], ord: float) -> Series:
    if ord == 0:
        raise Unsupported("vector_norm with ord=0 counts; it has no expansion")
    return ring.one("vector_norm", lambda side: norm(side, "vector_norm", row, ord))


def _matrix_norm(ring: Ring, x: Any, keepdims: bool = False) -> Array:
    def frobenius(ring: Ring, row: list[Series]) -> Series:
        return ring.one("matrix_norm", lambda side: norm(side, "matrix_norm", row, 2))

    found: Array = _reduction(frobenius)(ring, x, (-2, -1), keepdims)
    return found


# Shapes: what is no series (labels, masks, indices) keeps its dtype


def _native(x: Any) -> Array:
    return x if isinstance(x, np.ndarray) else _objects(x)


def _joined(join: Callable[..., Array]) -> Op:
    def op(ring: Ring, arrays: Sequence[Any], axis: int = 0) -> Array:
        natives = [_native(array) for array in arrays]
        same = len({array.dtype for array in natives}) == 1
        return join(natives if same else [ring.array(array) for array in natives], axis=axis)

    return op


def _shaped(f: Callable[..., Any]) -> Op:
    def op(ring: Ring, x: Any, **statics: Any) -> Array:
        del ring
        found = f(_native(x), **statics)
        return found if isinstance(found, np.ndarray) else _objects(found)

    return op


def _roll(x: Array, shift: tuple[int, ...], axis: Axes) -> Array:
    return np.roll(x, sum(shift)) if axis is None else np.roll(x, shift if len(shift) > 1 else shift[0], axis)


def _tile(x: Array, repetitions: tuple[int, ...]) -> Array:
    return np.tile(x, repetitions)


def _pad(ring: Ring, x: Any, width: tuple[int, ...], value: float = 0) -> Array:
    array = ring.array(x)
    before, after = width[::2], width[1::2]
    found = np.empty([b + n + a for b, n, a in zip(before, array.shape, after, strict=True)], object)
    found.fill(ring.constant(ring.lift(value)))
    found[tuple(slice(b, b + n) for b, n in zip(before, array.shape, strict=True))] = array
    return found


def _triangle(keep: Callable[..., Any]) -> Op:
    def op(ring: Ring, x: Any, k: int = 0) -> Array:
        array = ring.array(x)
        return np.where(keep(np.ones(array.shape[-2:], bool), k), array, _objects(ring.constant(0)))

    return op


def _diag(ring: Ring, x: Any) -> Array:
    array = ring.array(x)
    found = np.empty((array.size, array.size), object)
    found.fill(ring.constant(0))
    np.fill_diagonal(found, array)
    return found


def _diagonal(x: Array) -> Array:
    return np.diagonal(x, axis1=-2, axis2=-1)


# Sums of products


def _vecdot(ring: Ring, x1: Any, x2: Any, axis: int = -1) -> Array:
    a, b = ring.array(x1), ring.array(x2)
    return _objects(np.add.reduce(np.moveaxis(a, axis, -1) * np.moveaxis(b, axis, -1), axis=-1))


def _cross(ring: Ring, x1: Any, x2: Any) -> Array:
    a, b = ring.array(x1), ring.array(x2)
    parts = [a[..., i - 2] * b[..., i - 1] - a[..., i - 1] * b[..., i - 2] for i in range(3)]
    return np.stack([_objects(part) for part in np.broadcast_arrays(*parts)], axis=-1)


def _kron(ring: Ring, x1: Any, x2: Any) -> Array:
    return _objects(np.kron(ring.array(x1), ring.array(x2)))


_SHAPED: Final[dict[str, Callable[..., Any]]] = {
    "reshape": lambda x, shape: x.reshape(shape),
    "permute_dims": lambda x, axes: x.transpose(axes),
    "matrix_transpose": lambda x: np.swapaxes(x, -1, -2),
    "expand_dims": np.expand_dims,
    "squeeze": np.squeeze,
    "moveaxis": np.moveaxis,
    "broadcast_to": np.broadcast_to,
    "tile": _tile,
    "repeat": np.repeat,
    "flip": np.flip,
    "roll": _roll,
    "diagonal": _diagonal,
    "getitem": lambda x, index: x[index],
}

OPS: Final[dict[str, Op]] = {
    **{name: _smooth(f) for name, f in SMOOTH.items()},
    **{name: _kinked(name, f) for name, f in CORNERS.items()},
    **{name: _kinked(name, f, jump=True) for name, f in STEPS.items()},
    **{name: _shaped(f) for name, f in _SHAPED.items()},
    "power": _power,
    "add": _arithmetic(np.add),
    "subtract": _arithmetic(np.subtract),
    "multiply": _arithmetic(np.multiply),
    "gelu": lambda ring, x, approximate="none": ring.smooth(lambda e: gelu(e, approximate), x),
    "logical_and": lambda _ring, x1, x2: _logical(x1, x2, absorbing=False),
    "logical_or": lambda _ring, x1, x2: _logical(x1, x2, absorbing=True),
    "logical_not": lambda _ring, x: _condition(
        _objects(np.frompyfunc(lambda e: e if isinstance(e, Series) else not e, 1, 1)(_truths(x)))
    ),
    "where": _where,
    "sum": _reduction(_sum),
    "mean": _reduction(_mean),
    "prod": _reduction(_prod),
    "var": _reduction(_var),
    "std": _reduction(_std),
    "max": _reduction(_extreme("max", 1)),
    "min": _reduction(_extreme("min", -1)),
    "logsumexp": _reduction(_logsumexp),
    "vector_norm": _reduction(_vector_norm),
    "matrix_norm": _matrix_norm,
    "softmax": _along(_softmax),
    "log_softmax": _along(_log_softmax),
    "sort": _along(_sort),
    "cumulative_sum": lambda ring, x, axis: np.add.accumulate(ring.array(x), axis=axis),
    "cumulative_prod": lambda ring, x, axis: np.multiply.accumulate(ring.array(x), axis=axis),
    "concat": _joined(np.concatenate),
    "stack": _joined(np.stack),
    "take": lambda _ring, x, indices, axis: _objects(np.take(_native(x), indices, axis)),
    "pad": _pad,
    "tril": _triangle(np.tril),
    "triu": _triangle(np.triu),
    "diag": _diag,
    "trace": lambda ring, x: _objects(np.add.reduce(_diagonal(ring.array(x)), axis=-1)),
    "vecdot": _vecdot,
    "outer": lambda ring, x1, x2: np.multiply.outer(ring.array(x1), ring.array(x2)),
    "kron": _kron,
    "cross": _cross,
}
"""For each primitive that isn't linear algebra: the ring, arrays by position, statics by keyword."""
