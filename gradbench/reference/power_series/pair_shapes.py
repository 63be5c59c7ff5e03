"""The rules of first order that are linear: shapes, which values and slopes share, and products.

`RULES` leaves, as of `pair_rules`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import flint
import numpy as np

from gradbench.reference.balls.lift import Balls, lift, matrix
from gradbench.reference.power_series.pair import Axes, Pair, Rule
from gradbench.reference.power_series.series_ring import Undecided

_ZERO: Final = flint.arb(0)


def _shaped(f: Callable[..., Any]) -> Rule:
    return lambda x, **statics: x.mapped(lambda entries: f(entries, **statics))


def _joined(f: Callable[..., Any]) -> Rule:
    def rule(arrays: Sequence[Pair], axis: int = 0) -> Pair:
        value = f([x.value for x in arrays], axis=axis)
        still = all(x.slope is None for x in arrays)
        return Pair(value, None if still else f([x.moving for x in arrays], axis=axis))

    return rule


def _pad(x: Pair, width: tuple[int, ...], value: float = 0) -> Pair:
    pairs = list(zip(width[::2], width[1::2], strict=True))
    slope = None if x.slope is None else np.pad(x.slope, pairs, constant_values=_ZERO)
    return Pair(np.pad(x.value, pairs, constant_values=flint.arb(value)), slope)


def _roll(x: Balls, shift: tuple[int, ...], axis: Axes) -> Balls:
    return np.roll(x, sum(shift)) if axis is None else np.roll(x, shift if len(shift) > 1 else shift[0], axis)


def _tile(x: Balls, repetitions: tuple[int, ...]) -> Balls:
    return np.tile(x, repetitions)


def _triangle(keep: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, k=0: np.where(keep(np.ones(x.shape[-2:], bool), k), x, _ZERO)


def _diag(x: Balls) -> Balls:
    return np.where(np.eye(len(x), dtype=bool), x, _ZERO)


def _diagonal(x: Balls) -> Balls:
    return np.diagonal(x, axis1=-2, axis2=-1)


# Products, linear in each of two arrays


def _matrices(a: Balls, b: Balls) -> Balls:
    """The product of two matrices."""
    found = matrix(a) * matrix(b)
    entries = np.empty(a.shape[0] * b.shape[1], object)
    entries[:] = found.entries()
    return entries.reshape(a.shape[0], b.shape[1])


def _matmul(x1: Pair, x2: Pair) -> Pair:
    """With a matrix that stays where it is, values and slopes of the other are one matrix of twice the size."""
    if not (x1.value.size and x2.value.size):
        raise Undecided("matmul")
    if max(x1.value.ndim, x2.value.ndim) > 2:
        return _bilinear(np.matmul)(x1.mapped(lift), x2.mapped(lift))
    row, column = x1.value.ndim == 1, x2.value.ndim == 1
    a = x1.mapped(lambda x: x[None]) if row else x1
    b = x2.mapped(lambda x: x[:, None]) if column else x2
    rows, columns = len(a.value), b.value.shape[1]
    if b.slope is None:
        both = _matrices(a.value if a.slope is None else np.concatenate([a.value, a.slope]), b.value)
        found = Pair(both[:rows], None if a.slope is None else both[rows:])
    else:
        both = _matrices(a.value, np.concatenate([b.value, b.slope], axis=1))
        slope = both[:, columns:]
        found = Pair(both[:, :columns], slope if a.slope is None else slope + _matrices(a.slope, b.value))
    kept = (0 if row else slice(None), 0 if column else slice(None))
    return found.mapped(lambda x: x[kept])


def _bilinear(f: Callable[..., Any]) -> Rule:
    def rule(x1: Pair, x2: Pair, **statics: Any) -> Pair:
        found = Pair(f(x1.value, x2.value, **statics))
        slopes = [f(x1.slope, x2.value, **statics)] if x1.slope is not None else []
        slopes += [f(x1.value, x2.slope, **statics)] if x2.slope is not None else []
        return Pair(found.value, functools.reduce(np.add, slopes) if slopes else None)

    return rule


def _vecdot(a: Balls, b: Balls, axis: int = -1) -> Balls:
    return np.add.reduce(np.moveaxis(a, axis, -1) * np.moveaxis(b, axis, -1), axis=-1)


def _tensordot(x1: Pair, x2: Pair, axes: int = 2) -> Pair:
    shared = math.prod(x2.value.shape[:axes])
    kept = x1.value.shape[: x1.value.ndim - axes] + x2.value.shape[axes:]
    left, right = x1.mapped(lambda x: x.reshape(-1, shared)), x2.mapped(lambda x: x.reshape(shared, -1))
    return _matmul(left, right).mapped(lambda x: x.reshape(kept))


def _einsum(*operands: Pair, subscripts: str) -> Pair:
    """Of two operands; a matrix product where each label is summed over or kept, as it mostly is."""
    inputs, arrow, out = subscripts.replace(" ", "").partition("->")
    if len(operands) != 2 or not arrow:
        raise Undecided("einsum")
    (a, b), (x1, x2) = inputs.split(","), operands
    inner = [label for label in a if label in b]
    rows, columns = [label for label in a if label not in b], [label for label in b if label not in a]
    if "." in inputs or sorted(a + b) != sorted(rows + columns + 2 * inner) or sorted(out) != sorted(rows + columns):
        return _bilinear(lambda x, y: np.einsum(subscripts.replace(" ", ""), x, y))(x1, x2)
    sizes = dict(zip(a + b, x1.value.shape + x2.value.shape, strict=True))
    shared = math.prod(sizes[label] for label in inner)
    left = x1.mapped(lambda x: x.transpose([a.index(label) for label in rows + inner]).reshape(-1, shared))
    right = x2.mapped(lambda x: x.transpose([b.index(label) for label in inner + columns]).reshape(shared, -1))
    kept = rows + columns
    shape, order = [sizes[label] for label in kept], [kept.index(label) for label in out]
    return _matmul(left, right).mapped(lambda x: x.reshape(shape).transpose(order))


RULES: Final[dict[str, Rule]] = {
    "cumulative_sum": _shaped(lambda x, axis: np.add.accumulate(x, axis=axis)),
    "trace": _shaped(lambda x: np.add.reduce(_diagonal(x), axis=-1)),
    "reshape": _shaped(np.reshape),
    "permute_dims": _shaped(np.transpose),
    "matrix_transpose": _shaped(lambda x: np.swapaxes(x, -1, -2)),
    "expand_dims": _shaped(np.expand_dims),
    "squeeze": _shaped(np.squeeze),
    "moveaxis": _shaped(np.moveaxis),
    "broadcast_to": _shaped(np.broadcast_to),
    "tile": _shaped(_tile),
    "repeat": _shaped(np.repeat),
    "flip": _shaped(np.flip),
    "roll": _shaped(_roll),
    "getitem": _shaped(lambda x, index: x[index]),
    "take": lambda x, indices, axis=0: x.mapped(lambda entries: np.take(entries, indices, axis)),
    "tril": _shaped(_triangle(np.tril)),
    "triu": _shaped(_triangle(np.triu)),
    "diag": _shaped(_diag),
    "diagonal": _shaped(_diagonal),
    "concat": _joined(np.concatenate),
    "stack": _joined(np.stack),
    "pad": _pad,
    "matmul": _matmul,
    "tensordot": _tensordot,
    "einsum": _einsum,
    "vecdot": _bilinear(_vecdot),
    "outer": _bilinear(np.multiply.outer),
    "kron": _bilinear(np.kron),
}
"""By primitive."""
