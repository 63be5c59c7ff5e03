"""Primitives by their definitions: what is made of other primitives, for any kind of number.

Nothing enters; `DEFINITIONS` leaves: for each name a function of (words, arrays, statics), where *words* is a namespace
of primitives on whatever numbers an engine has; see `calculus`. Whoever can differentiate what stands on the right can
differentiate what stands on the left.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from gradbench.calculus import CHOICES, FLAT, MOVES, PARTIALS, REDUCTIONS, SLOPES, Number, Words, kept, positions
from gradbench.numeric import SELU_ALPHA, SELU_SCALE

Axes = int | tuple[int, ...] | None

# Activations. At a tie `maximum` takes its first argument, so that relu is flat at 0.


def _clip(w: Words, x: Number, *, min: float | None = None, max: float | None = None) -> Number:
    x = x if min is None else w.maximum(x, min)
    return x if max is None else w.minimum(x, max)


def _relu6(w: Words, x: Number) -> Number:
    return w.minimum(6, w.maximum(0, x))


def _elu(w: Words, x: Number, *, alpha: float = 1.0) -> Number:
    return w.where(w.greater(x, 0), x, alpha * w.expm1(w.minimum(x, 0)))


def _celu(w: Words, x: Number, *, alpha: float = 1.0) -> Number:
    return w.where(w.greater(x, 0), x, alpha * w.expm1(w.minimum(x / alpha, 0)))


def _leaky_relu(w: Words, x: Number, *, negative_slope: float = 0.01) -> Number:
    return w.where(w.greater(x, 0), x, negative_slope * x)


def _gelu(w: Words, x: Number, *, approximate: str = "none") -> Number:
    if approximate == "none":
        return x * w.ndtr(x)
    # (1 + tanh u) / 2 = expit(2 u)
    return x * w.expit(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _lowered(w: Words, x: Number, axis: int) -> Number:
    """The entries less the largest of them, which changes neither of the two below."""
    return x - w.shift(w.max(x, axis=axis, keepdims=True))


def _softmax(w: Words, x: Number, *, axis: int = -1) -> Number:
    powers = w.exp(_lowered(w, x, axis))
    return powers / w.sum(powers, axis=axis, keepdims=True)


def _log_softmax(w: Words, x: Number, *, axis: int = -1) -> Number:
    low = _lowered(w, x, axis)
    return low - w.log(w.sum(w.exp(low), axis=axis, keepdims=True))


# Reductions


def rows(w: Words, x: Number, axis: Axes) -> list[Number]:
    """The entries along the axes one after the other, each an array of the shape that is left."""
    gone = [a for a, n in enumerate(kept(tuple(-1 for _ in x.shape), axis)) if n == 1]
    left = [a for a in range(len(x.shape)) if a not in gone]
    moved = w.permute_dims(x, axes=(*gone, *left))
    count = math.prod(x.shape[a] for a in gone)
    flat = w.reshape(moved, shape=(count, *(x.shape[a] for a in left)))
    return [w.getitem(flat, index=(i,)) for i in range(count)]


def _prod(w: Words, x: Number, *, axis: Axes = None, keepdims: bool = False) -> Number:
    factors = rows(w, x, axis)
    if not factors:
        return w.sum(x, axis=axis, keepdims=keepdims) + 1
    found = functools.reduce(w.multiply, factors)
    return w.reshape(found, shape=kept(x.shape, axis)) if keepdims else found


def _cumulative_prod(w: Words, x: Number, *, axis: int = -1) -> Number:
    return w.stack(list(itertools.accumulate(rows(w, x, axis), w.multiply)), axis=axis)


def _cumulative_sum(w: Words, x: Number, *, axis: int = -1) -> Number:
    return w.stack(list(itertools.accumulate(rows(w, x, axis), w.add)), axis=axis)


def _mean(w: Words, x: Number, *, axis: Axes = None, keepdims: bool = False) -> Number:
    total = w.sum(x, axis=axis, keepdims=keepdims)
    return total / _count(x, axis) if _count(x, axis) else total * math.nan


def _count(x: Number, axis: Axes) -> int:
    return math.prod(n for n, one in zip(x.shape, kept(tuple(-1 for _ in x.shape), axis), strict=True) if one == 1)


def _var(w: Words, x: Number, *, axis: Axes = None, correction: float = 0, keepdims: bool = False) -> Number:
    away = x - w.mean(x, axis=axis, keepdims=True)
    return w.sum(away * away, axis=axis, keepdims=keepdims) / _freedom(x, axis, correction)


def _std(w: Words, x: Number, *, axis: Axes = None, correction: float = 0, keepdims: bool = False) -> Number:
    away = x - w.mean(x, axis=axis, keepdims=True)
    return w.norm(away, axis=axis, keepdims=keepdims, ord=2) / math.sqrt(_freedom(x, axis, correction))


def _freedom(x: Number, axis: Axes, correction: float) -> float:
    left = _count(x, axis) - correction
    return left if left > 0 else math.nan


def _vector_norm(w: Words, x: Number, *, axis: Axes = None, keepdims: bool = False, ord: float = 2) -> Number:
    if ord == 0:
        return w.sum(w.sign(w.abs(x)), axis=axis, keepdims=keepdims)
    if ord == 1:
        return w.sum(w.abs(x), axis=axis, keepdims=keepdims)
    if math.isinf(ord):
        return (w.max if ord > 0 else w.min)(w.abs(x), axis=axis, keepdims=keepdims)
    return w.norm(x, axis=axis, keepdims=keepdims, ord=ord)


def _matrix_norm(w: Words, x: Number, *, keepdims: bool = False) -> Number:
    return w.norm(x, axis=(-2, -1), keepdims=keepdims, ord=2)


# What picks entries: where they stand is found in the plain numbers, and then they are gathered. Of equals the first.


def _extreme(find: Callable[..., Any]) -> Callable[..., Number]:
    def extreme(w: Words, x: Number, *, axis: Axes = None, keepdims: bool = False) -> Number:
        shape = kept(x.shape, axis)
        gone = [a for a, n in enumerate(kept(tuple(-1 for _ in x.shape), axis)) if n == 1]
        left = [a for a in range(len(x.shape)) if a not in gone]
        lines = [
            np.transpose(array, (*left, *gone)).reshape(*(x.shape[a] for a in left), -1)
            for array in (np.asarray(w.plain(x), np.float64), positions(x.shape))
        ]
        found = np.take_along_axis(lines[1], np.expand_dims(find(lines[0], axis=-1), -1), -1)[..., 0]
        return w.gather(x, index=found.reshape(shape) if keepdims else found)

    return extreme


def _sort(w: Words, x: Number, *, axis: int = -1) -> Number:
    order = np.argsort(np.asarray(w.plain(x), np.float64), axis=axis, kind="stable")
    return w.gather(x, index=np.take_along_axis(positions(x.shape), order, axis))


# Products of arrays


def _vecdot(w: Words, x1: Number, x2: Number, *, axis: int = -1) -> Number:
    back = axis if axis < 0 else axis - min(len(x1.shape), len(x2.shape))
    last = [w.moveaxis(x, source=(back,), destination=(-1,)) for x in (x1, x2)]
    return w.sum(last[0] * last[1], axis=-1)


def _outer(w: Words, x1: Number, x2: Number) -> Number:
    return w.expand_dims(x1, axis=-1) * w.expand_dims(x2, axis=-2)


def _kron(w: Words, x1: Number, x2: Number) -> Number:
    rank = max(len(x1.shape), len(x2.shape))
    one, other = ((1,) * (rank - len(x.shape)) + x.shape for x in (x1, x2))
    left = w.reshape(x1, shape=tuple(n for length in one for n in (length, 1)))
    right = w.reshape(x2, shape=tuple(n for length in other for n in (1, length)))
    return w.reshape(left * right, shape=tuple(a * b for a, b in zip(one, other, strict=True)))


def _cross(w: Words, x1: Number, x2: Number) -> Number:
    def turned(x: Number, by: int) -> Number:
        return w.roll(x, shift=(-by,), axis=-1)

    return turned(x1, 1) * turned(x2, 2) - turned(x1, 2) * turned(x2, 1)


def _tensordot(w: Words, x1: Number, x2: Number, *, axes: int = 2) -> Number:
    left, right = x1.shape[: len(x1.shape) - axes], x2.shape[axes:]
    inner = math.prod(x2.shape[:axes])
    one = w.reshape(x1, shape=(math.prod(left), inner))
    return w.reshape(w.matmul(one, w.reshape(x2, shape=(inner, math.prod(right)))), shape=left + right)


def _einsum(w: Words, *operands: Number, subscripts: str) -> Number:
    """Every product of entries that agree in their letters, summed over the letters that the output lacks.

    Where an operand's entries go, repeated letters and all, is found with NumPy's einsum of their positions.
    """
    given, _, output = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    letters = output + "".join(sorted(set("".join(terms)) - set(output)))
    found = None
    for term, x in zip(terms, operands, strict=True):
        own = "".join(letter for letter in letters if letter in term)
        places = np.einsum(f"{term}->{own}", positions(x.shape))
        sizes = dict(zip(own, places.shape, strict=True))
        factor = w.gather(x, index=places.reshape([sizes.get(letter, 1) for letter in letters]))
        found = factor if found is None else found * factor
    summed = tuple(range(len(output), len(letters)))
    return w.sum(found, axis=summed) if summed else found


def _trace(w: Words, x: Number) -> Number:
    return w.sum(w.diagonal(x), axis=-1)


DEFINITIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "clip": _clip,
    "relu": lambda w, x: w.maximum(0, x),
    "relu6": _relu6,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": lambda w, x: SELU_SCALE * _elu(w, x, alpha=SELU_ALPHA),
    "celu": _celu,
    "gelu": _gelu,
    "silu": lambda w, x: x * w.expit(x),
    "mish": lambda w, x: x * w.tanh(w.softplus(x)),
    "hard_tanh": lambda w, x: _clip(w, x, min=-1, max=1),
    "hard_sigmoid": lambda w, x: _relu6(w, x + 3) / 6,
    "hard_swish": lambda w, x: x * _relu6(w, x + 3) / 6,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "mean": _mean,
    "prod": _prod,
    "max": _extreme(np.argmax),
    "min": _extreme(np.argmin),
    "sort": _sort,
    "var": _var,
    "std": _std,
    "vector_norm": _vector_norm,
    "matrix_norm": _matrix_norm,
    "cumulative_sum": _cumulative_sum,
    "cumulative_prod": _cumulative_prod,
    "vecdot": _vecdot,
    "outer": _outer,
    "kron": _kron,
    "cross": _cross,
    "tensordot": _tensordot,
    "einsum": _einsum,
    "trace": _trace,
}
"""For each primitive that is made of others what it is made of."""

KNOWN: Final = frozenset({*SLOPES, *PARTIALS, *CHOICES, *FLAT, *REDUCTIONS, *MOVES, *DEFINITIONS, "matmul"})
"""The primitives, and inner words, of whoever can differentiate what `calculus` lists, and a product of matrices."""
