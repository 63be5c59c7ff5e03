"""Ball arithmetic, continued: conditions, reductions and the moving about of entries.

Arrays of balls enter `OPS[name](*arrays, **statics)`, arrays of balls leave; comparisons give the truths of `lift`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import flint
import numpy as np

from gradbench.reference.balls.lift import (
    FALSE,
    FALSE_EDGE,
    TRUE,
    TRUE_EDGE,
    UNKNOWN,
    Balls,
    Truths,
    balls,
    boxed,
    filled,
    lift,
    remembered,
    truths,
    zeros,
)

arb: Final = flint.arb
Axes = int | tuple[int, ...] | None

MAX: Final = np.frompyfunc(arb.max, 2, 1)
MIN: Final = np.frompyfunc(arb.min, 2, 1)
ABS: Final = np.frompyfunc(abs, 1, 1)
EXP: Final = np.frompyfunc(arb.exp, 1, 1)
LOG: Final = np.frompyfunc(arb.log, 1, 1)
_MID: Final = np.frompyfunc(arb.mid, 1, 1)
_UNION: Final = np.frompyfunc(arb.union, 2, 1)


def square(x: Any) -> Any:
    """x² of one ball, never below 0."""
    product = x * x
    return product if product > 0 else product.nonnegative_part()


def root(x: Any) -> Any:
    """The square root of one ball whose true number can't be negative, whatever its lower end."""
    return x.sqrt() if x > 0 else x.nonnegative_part().sqrt()


def squares(x: Balls) -> Balls:
    """As `square`, for an array."""
    found = boxed(x * x)
    low = ~(found > _ZERO)
    if low.any():
        found[low] = _NONNEGATIVE(found[low])
    return found


_ZERO: Final = arb(0)
_NONNEGATIVE: Final = np.frompyfunc(arb.nonnegative_part, 1, 1)
ROOT: Final = np.frompyfunc(root, 1, 1)


def _less(x: Any, y: Any) -> int:
    return TRUE if x < y else FALSE if x > y else FALSE_EDGE if x >= y else UNKNOWN


def _less_equal(x: Any, y: Any) -> int:
    return TRUE if x < y else FALSE if x > y else TRUE_EDGE if x <= y else UNKNOWN


def _equal(x: Any, y: Any) -> int:
    return TRUE_EDGE if x == y else UNKNOWN if x.overlaps(y) else FALSE


def _comparison(f: Callable[[Any, Any], int]) -> Callable[[Any, Any], Truths]:
    ufunc = np.frompyfunc(f, 2, 1)
    return lambda x1, x2: np.asarray(ufunc(lift(x1), lift(x2))).astype(np.int8)


_LESS: Final = _comparison(_less)
_LESS_EQUAL: Final = _comparison(_less_equal)
_EQUAL: Final = _comparison(_equal)


def where(condition: Any, x1: Any, x2: Any) -> Balls:
    """The first where the condition holds, the second where it doesn't, both where that is unknown."""
    truth, left, right = np.broadcast_arrays(truths(condition), lift(x1), lift(x2))
    chosen = np.where(truth >= TRUE_EDGE, left, right)
    unknown = truth == UNKNOWN
    if unknown.any():
        chosen[unknown] = _UNION(left[unknown], right[unknown])
    return chosen


def _normal(axis: Axes, rank: int) -> tuple[int, ...]:
    axes = range(rank) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(a % rank for a in axes)


def _gathered(x: Balls, axis: Axes) -> Balls:
    """The axes put last and joined into one."""
    if x.ndim == 1 and axis != ():
        return x
    axes = _normal(axis, x.ndim)
    kept = [a for a in range(x.ndim) if a not in axes]
    moved = np.transpose(x, (*kept, *axes))
    return moved.reshape(*moved.shape[: len(kept)], math.prod(x.shape[a] for a in axes))


def _reduction(f: Callable[..., Any]) -> Callable[..., Balls]:
    """A function of the last axis as one of any axes. f(x, **statics): shape (..., k) to (...)."""

    def reduction(x: Any, *, axis: Axes = None, keepdims: bool = False, **statics: Any) -> Balls:
        array = lift(x)
        found = boxed(f(_gathered(array, axis), **statics))
        if keepdims:
            axes = _normal(axis, array.ndim)
            found = found.reshape([1 if a in axes else n for a, n in enumerate(array.shape)])
        return found

    return reduction


def total(x: Balls) -> Balls:
    """The sums along the last axis; of nothing, an exact 0."""
    return boxed(np.add.reduce(x, axis=-1)) if x.shape[-1] else zeros(x.shape[:-1])


def _mean(x: Balls) -> Balls:
    return boxed(total(x) / arb(x.shape[-1]))


def _product(x: Balls) -> Balls:
    return np.multiply.reduce(x, axis=-1) if x.shape[-1] else filled(x.shape[:-1], 1)


def _variance(x: Balls, correction: float = 0) -> Balls:
    count = x.shape[-1]
    left = arb(count) - arb(correction)
    if not left > 0:
        return filled(x.shape[:-1], arb("nan"))
    return boxed(total(squares(x - _mean(x)[..., None])) / left)


def _deviation(x: Balls, correction: float = 0) -> Balls:
    return ROOT(_variance(x, correction))


def _shift(x: Balls) -> Balls:
    """A number near the largest along the last axis, kept as an axis of 1; which one doesn't matter."""
    sizes = np.asarray(x, np.float64)
    if x.shape[-1] and np.isfinite(sizes).all():
        return lift(sizes.max(axis=-1, keepdims=True))
    return boxed(_MID(boxed(MAX.reduce(boxed(_MID(x)), axis=-1))))[..., None]


def _exponentials(x: Balls) -> tuple[Balls, Balls, Balls]:
    """Of an array along its last axis: exp(x - shift), their sum with an axis of 1, and the shift."""
    shift = _shift(x)
    powers = boxed(EXP(x - shift))
    return powers, total(powers)[..., None], shift


def _logsumexp(x: Balls) -> Balls:
    _, sums, shift = remembered(_exponentials, x)
    return (boxed(LOG(sums)) + shift)[..., 0]


def _norm(x: Balls, ord: float = 2) -> Balls:
    if ord == 0:
        return total(_nonzero(x))
    sizes = boxed(ABS(x))
    if ord == 1 or (sizes.shape[-1] == 1 and ord > 0):
        return total(sizes)
    if math.isinf(ord):
        return (MAX if ord > 0 else MIN).reduce(sizes, axis=-1) if sizes.shape[-1] else total(sizes)
    if ord == 2:
        return ROOT(total(squares(x)))
    exponent = arb(ord)
    powers = np.frompyfunc(lambda size: _power_of_size(size, exponent), 1, 1)(sizes)
    return np.frompyfunc(lambda size: _power_of_size(size, 1 / exponent), 1, 1)(total(boxed(powers)))


def _nonzero(x: Balls) -> Balls:
    return lift(truths(boxed(x)))


def _power_of_size(size: Any, exponent: Any) -> Any:
    """A power of one ball whose true number isn't negative. Where it may be 0, from 0 to the upper end's power."""
    if size > 0:
        return size**exponent
    if not exponent > 0:
        return arb("nan")
    return arb(0) if size.is_zero() else arb(0).union(size.upper() ** exponent)


def _along(f: Callable[[Balls], Balls]) -> Callable[..., Balls]:
    """A function of the last axis that keeps its length, as one of any axis."""

    def along(x: Any, *, axis: int = -1) -> Balls:
        array = lift(x)
        if axis in {-1, array.ndim - 1}:
            return boxed(f(array))
        return np.moveaxis(boxed(f(np.moveaxis(array, axis, -1))), -1, axis)

    return along


def _softmax(x: Balls) -> Balls:
    powers, sums, _ = remembered(_exponentials, x)
    return powers / sums


def _log_softmax(x: Balls) -> Balls:
    away = x - _shift(x)
    return away - boxed(LOG(total(boxed(EXP(away)))))[..., None]


def ordered(values: Sequence[Any]) -> list[Any]:
    """The balls of the smallest, second smallest, ... of the true numbers in some balls.

    Where two balls overlap, which is smaller isn't known; but the k-th smallest number is at least the k-th smallest
    of the lower ends, and at most the k-th smallest of the upper ends.
    """
    if not all(x.is_finite() for x in values):
        return [arb("nan")] * len(values)
    found = sorted(values, key=arb.mid)
    if all(a <= b for a, b in pairwise(found)):
        return found
    lower, upper = sorted(x.lower() for x in values), sorted(x.upper() for x in values)
    return [low.union(high) for low, high in zip(lower, upper, strict=True)]


def _sort(x: Balls) -> Balls:
    if not x.size:
        return x
    rows = x.reshape(-1, x.shape[-1])
    return balls([ball for row in rows for ball in ordered(row.tolist())], x.shape)


def _same_kind(arrays: Sequence[Any]) -> list[Any]:
    """As they are if they are all conditions or all NumPy's numbers, else all balls."""
    found = [np.asarray(x) for x in arrays]
    return found if len({x.dtype for x in found}) == 1 else [lift(x) for x in found]


def _pad(x: Any, *, width: tuple[int, ...], value: float = 0) -> Balls:
    array = lift(x)
    before = width[::2]
    shape = [n + b + a for n, b, a in zip(array.shape, before, width[1::2], strict=True)]
    found = np.full(shape, arb(value), object)
    found[tuple(slice(b, b + n) for n, b in zip(array.shape, before, strict=True))] = array
    return found


def indices(value: Any) -> Any:
    """Whole numbers as NumPy indexes with them, also when they come as exact balls."""
    array = np.asarray(value)
    if array.dtype == object:
        array = np.frompyfunc(lambda x: int(x.unique_fmpz()), 1, 1)(array)
    return np.asarray(array).astype(np.intp)


def _triangle(keep: Callable[..., Any]) -> Callable[..., Balls]:
    def triangle(x: Any, *, k: int = 0) -> Balls:
        array = lift(x)
        return np.where(keep(np.ones(array.shape[-2:], bool), k), array, arb(0))

    return triangle


def _diag(x: Any) -> Balls:
    array = lift(x)
    found = zeros((array.shape[0], array.shape[0]))
    np.fill_diagonal(found, array)
    return found


def _roll(x: Any, *, shift: tuple[int, ...], axis: Axes = None) -> Any:
    return np.roll(x, sum(shift)) if axis is None else np.roll(x, shift, axis)


def _getitem(x: Any, *, index: tuple[Any, ...]) -> Any:
    return boxed(np.asarray(x)[index]) if np.asarray(x).dtype == object else np.asarray(np.asarray(x)[index])


OPS: Final[dict[str, Callable[..., Any]]] = {
    "softmax": _along(_softmax),
    "log_softmax": _along(_log_softmax),
    # comparison
    "less": _LESS,
    "less_equal": _LESS_EQUAL,
    "greater": lambda x1, x2: _LESS(x2, x1),
    "greater_equal": lambda x1, x2: _LESS_EQUAL(x2, x1),
    "equal": _EQUAL,
    "not_equal": lambda x1, x2: np.asarray(TRUE - _EQUAL(x1, x2)),
    "logical_and": lambda x1, x2: np.asarray(np.minimum(truths(x1), truths(x2))),
    "logical_or": lambda x1, x2: np.asarray(np.maximum(truths(x1), truths(x2))),
    "logical_not": lambda x: np.asarray(TRUE - truths(x)),
    "where": where,
    # reductions
    "sum": _reduction(total),
    "mean": _reduction(_mean),
    "prod": _reduction(_product),
    "max": _reduction(lambda x: MAX.reduce(x, axis=-1)),
    "min": _reduction(lambda x: MIN.reduce(x, axis=-1)),
    "var": _reduction(_variance),
    "std": _reduction(_deviation),
    "logsumexp": _reduction(_logsumexp),
    "vector_norm": _reduction(_norm),
    "cumulative_sum": _along(lambda x: np.add.accumulate(x, axis=-1)),
    "cumulative_prod": _along(lambda x: np.multiply.accumulate(x, axis=-1)),
    "sort": _along(_sort),
    "flip": lambda x, *, axis=None: np.flip(x, axis),
    "roll": _roll,
    # shapes
    "reshape": lambda x, *, shape: np.reshape(x, shape),
    "permute_dims": lambda x, *, axes: np.transpose(x, axes),
    "matrix_transpose": lambda x: np.swapaxes(x, -2, -1),
    "expand_dims": lambda x, *, axis=0: np.expand_dims(x, axis),
    "squeeze": lambda x, *, axis: np.squeeze(x, axis),
    "moveaxis": lambda x, *, source, destination: np.moveaxis(x, source, destination),
    "broadcast_to": lambda x, *, shape: np.broadcast_to(x, shape),
    "concat": lambda arrays, *, axis=0: np.concatenate(_same_kind(arrays), axis=axis),
    "stack": lambda arrays, *, axis=0: np.stack(_same_kind(arrays), axis=axis),
    "tile": lambda x, *, repetitions: np.tile(x, repetitions),
    "repeat": lambda x, *, repeats, axis=0: np.repeat(x, repeats, axis=axis),
    "pad": _pad,
    "take": lambda x, at, *, axis=0: boxed(np.take(x, indices(at), axis=axis)),
    "tril": _triangle(np.tril),
    "triu": _triangle(np.triu),
    "diagonal": lambda x: np.diagonal(x, axis1=-2, axis2=-1),
    "diag": _diag,
    # indexing
    "getitem": _getitem,
}
