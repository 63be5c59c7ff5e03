"""The vocabulary on arrays of numbers with as many digits as one likes.

NumPy arrays of objects, each an mpmath number, enter `Vocabulary.ops[name]` and leave it; arrays of floats and bare
numbers are taken exactly, bit for bit. There are no derivatives here and no rounding to a format: each primitive is its
mathematical definition, computed in the current precision of `context`. Where a function isn't defined or isn't real,
its value is NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradbench.query import Array
from gradbench.reference.many_digits import multiprecision_matrix as matrix
from gradbench.reference.many_digits import multiprecision_number as scalar
from gradbench.reference.many_digits.multiprecision_number import Arithmetic, Number, array_of, boxed


class Vocabulary(Arithmetic):
    """Every primitive in one precision.

    Attributes:
        ops: As an adapter's, with ``"asarray"``.
    """

    def __init__(self, dtype: np.dtype[Any], *, is_complex: bool = False) -> None:
        super().__init__(dtype, is_complex=is_complex)
        self.ops = _table(self)

    def each(self, f: Callable[..., Number], arrays: int = 1) -> Callable[..., Array]:
        """The function entry by entry, NaN where it is not defined, not real, or asked of NaN."""
        mp = self.context
        not_real = not self.is_complex

        def guarded(*values: Number, **statics: Any) -> Number:
            if any(value != value for value in values):  # noqa: PLR0124  # what NaN is known by
                return mp.nan
            try:
                result = f(*values, **statics)
            except (ValueError, ArithmeticError):  # a pole
                return mp.nan
            return mp.nan if not_real and isinstance(result, mp.mpc) else result

        def elementwise(*values: Any, **statics: Any) -> Array:
            one = functools.partial(guarded, **statics) if statics else guarded
            return boxed(np.frompyfunc(one, arrays, 1)(*map(self.exact, values)))

        return elementwise

    def rows(self, f: Callable[..., Number]) -> Callable[..., Array]:
        """A reduction, from what it makes of a list of numbers."""

        def reduce(x: Any, *, axis: Any = None, keepdims: bool = False, **statics: Any) -> Array:
            x = self.exact(x)
            given = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
            axes = tuple(a % x.ndim for a in given)
            kept = [i for i in range(x.ndim) if i not in axes]
            shape = [x.shape[i] for i in kept]
            table = x.transpose(*kept, *axes).reshape(math.prod(shape), math.prod(x.shape[a] for a in axes))
            found = [f(list(row), **statics) for row in table]
            return array_of(
                found, tuple(1 if i in axes else n for i, n in enumerate(x.shape)) if keepdims else tuple(shape)
            )

        return reduce

    def whole(self, f: Callable[..., Any]) -> Callable[..., Array]:
        """A function that NumPy has for arrays of objects."""

        def apply(*values: Any, **statics: Any) -> Array:
            exact = [list(map(self.exact, v)) if isinstance(v, list) else self.exact(v) for v in values]
            return boxed(f(*exact, **statics))

        return apply

    def stacked(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """A function of matrices, for stacks of them."""

        def apply(*values: Any, **statics: Any) -> Any:
            arrays = [self.exact(v) for v in values]
            vector = len(arrays) == 2 and arrays[1].ndim == 1
            if vector:
                arrays[1] = arrays[1][:, None]
            lead = np.broadcast_shapes(*(a.shape[:-2] for a in arrays))
            arrays = [np.broadcast_to(a, lead + a.shape[-2:]) for a in arrays]
            parts = [f(self.context, *(a[i] for a in arrays), **statics) for i in np.ndindex(lead)]
            if parts and isinstance(parts[0], tuple):
                return tuple(_joined([part[k] for part in parts], lead) for k in range(len(parts[0])))
            joined = _joined(parts, lead)
            return joined[..., 0] if vector else joined

        return apply


def _joined(parts: Sequence[Any], lead: tuple[int, ...]) -> Array:
    shape = np.shape(parts[0]) if parts else ()
    found = np.empty((len(parts), *shape), object)
    for i, part in enumerate(parts):
        found[i] = part
    return found.reshape(lead + shape)


def _table(v: Vocabulary) -> Mapping[str, Callable[..., Any]]:
    one = scalar.functions(v)
    ops: dict[str, Callable[..., Any]] = {name: v.each(f) for name, f in one.items()}
    ops |= {name: v.each(f, 2) for name, f in scalar.pairs(v, one).items()}
    ops |= {name: v.rows(f) for name, f in scalar.reductions(v).items()}
    ops |= _arrays(v, ops) | _comparisons(v)
    ops |= {name: v.stacked(f) for name, f in matrix.OPS.items()}
    return ops


def _comparisons(v: Vocabulary) -> dict[str, Callable[..., Any]]:
    """What answers with true and false, and `where`."""

    def compare(f: Callable[[Number, Number], bool]) -> Callable[..., Array]:
        def compared(x: Number, y: Number) -> bool:
            v.near(x, y)
            return bool(f(x, y))

        ufunc = np.frompyfunc(compared, 2, 1)
        return lambda x1, x2: np.asarray(ufunc(v.exact(x1), v.exact(x2)), bool)

    return {
        "less": compare(lambda x, y: x < y),
        "less_equal": compare(lambda x, y: x <= y),
        "greater": compare(lambda x, y: x > y),
        "greater_equal": compare(lambda x, y: x >= y),
        "equal": compare(lambda x, y: x == y),
        "not_equal": compare(lambda x, y: x != y),
        "logical_and": np.logical_and,
        "logical_or": np.logical_or,
        "logical_not": np.logical_not,
        "where": lambda condition, x1, x2: np.where(condition, v.exact(x1), v.exact(x2)),
    }


def _arrays(v: Vocabulary, ops: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """What NumPy does with arrays of any objects."""
    mp = v.context

    def softmax(x: Any, *, axis: int = -1) -> Array:
        return ops["exp"](log_softmax(x, axis=axis))  # type: ignore[no-any-return]

    def log_softmax(x: Any, *, axis: int = -1) -> Array:
        return ops["subtract"](x, ops["logsumexp"](x, axis=axis, keepdims=True))  # type: ignore[no-any-return]

    def roll(x: Array, *, shift: tuple[int, ...], axis: Any = None) -> Array:
        return np.roll(x, sum(shift)) if axis is None else np.roll(x, shift, axis)

    def pad(x: Array, *, width: tuple[int, ...], value: float = 0) -> Array:
        found = np.full([n + width[2 * i] + width[2 * i + 1] for i, n in enumerate(x.shape)], v.number(value), object)
        found[tuple(slice(width[2 * i], width[2 * i] + n) for i, n in enumerate(x.shape))] = x
        return found

    def triangle(mask: Callable[..., Array]) -> Callable[..., Array]:
        return lambda x, *, k=0: np.where(mask(*x.shape[-2:], k), x, mp.zero)

    def lower(n: int, m: int, k: int) -> Array:
        return np.tri(n, m, k, bool)

    def diag(x: Array) -> Array:
        found = np.full((len(x), len(x)), mp.zero, object)
        np.fill_diagonal(found, x)
        return found

    def matmul(x1: Array, x2: Array) -> Array:
        left, right = (x1[None] if x1.ndim == 1 else x1), (x2[:, None] if x2.ndim == 1 else x2)
        found = zero(left, right)
        for i in range(left.shape[-1]):
            found = found + left[..., :, i, None] * right[..., None, i, :]
        found = found[..., 0, :] if x1.ndim == 1 else found
        return found[..., 0] if x2.ndim == 1 else found

    def zero(left: Array, right: Array) -> Array:
        lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        return np.full((*lead, left.shape[-2], right.shape[-1]), mp.zero, object)

    def vecdot(x1: Array, x2: Array, *, axis: int = -1) -> Array:
        conjugate = v.each(mp.conj)
        product = conjugate(np.moveaxis(x1, axis, -1)) * np.moveaxis(x2, axis, -1)
        return ops["sum"](product, axis=-1)  # type: ignore[no-any-return]

    def matrix_norm(x: Array, *, keepdims: bool = False) -> Array:
        return ops["vector_norm"](x, axis=(-2, -1), keepdims=keepdims)  # type: ignore[no-any-return]

    def cross(x1: Array, x2: Array) -> Array:
        (a, b, c), (d, e, f) = ([x[..., i] for i in range(3)] for x in (x1, x2))
        return np.stack([boxed(b * f - c * e), boxed(c * d - a * f), boxed(a * e - b * d)], -1)

    def trace(x: Array) -> Array:
        return ops["sum"](np.diagonal(x, axis1=-2, axis2=-1), axis=-1)  # type: ignore[no-any-return]

    def take(x: Any, indices: Any, *, axis: int = 0) -> Array:
        places = np.asarray([int(n) for n in np.asarray(indices).flat], np.intp).reshape(np.shape(indices))
        return boxed(np.take(v.exact(x), places, axis=axis))

    found: dict[str, Callable[..., Any]] = {
        "softmax": softmax,
        "log_softmax": log_softmax,
        "cumulative_sum": lambda x, *, axis=-1: np.add.accumulate(x, axis=axis),
        "cumulative_prod": lambda x, *, axis=-1: np.multiply.accumulate(x, axis=axis),
        "sort": lambda x, *, axis=-1: np.sort(x, axis=axis),
        "flip": lambda x, *, axis=None: np.flip(x, axis),
        "roll": roll,
        "reshape": lambda x, *, shape: np.reshape(x, shape),
        "permute_dims": lambda x, *, axes: np.transpose(x, axes),
        "matrix_transpose": lambda x: np.swapaxes(x, -2, -1),
        "expand_dims": lambda x, *, axis=0: np.expand_dims(x, axis),
        "squeeze": lambda x, *, axis: np.squeeze(x, axis),
        "moveaxis": lambda x, *, source, destination: np.moveaxis(x, source, destination),
        "broadcast_to": lambda x, *, shape: np.broadcast_to(x, shape),
        "concat": lambda arrays, *, axis=0: np.concatenate(arrays, axis=axis),
        "stack": lambda arrays, *, axis=0: np.stack(arrays, axis=axis),
        "tile": lambda x, *, repetitions: np.tile(x, repetitions),
        "repeat": lambda x, *, repeats, axis=0: np.repeat(x, repeats, axis=axis),
        "pad": pad,
        "tril": triangle(lower),
        "triu": triangle(lambda n, m, k: ~lower(n, m, k - 1)),
        "diagonal": lambda x: np.diagonal(x, axis1=-2, axis2=-1),
        "diag": diag,
        "matmul": matmul,
        "vecdot": vecdot,
        "outer": lambda x1, x2: x1[..., :, None] * x2[..., None, :],
        "kron": np.kron,
        "cross": cross,
        "tensordot": lambda x1, x2, *, axes=2: np.tensordot(x1, x2, axes),
        "einsum": lambda *operands, subscripts: np.einsum(subscripts, *operands),
        "trace": trace,
        "matrix_norm": matrix_norm,
        "getitem": lambda x, *, index: x[index],
    }
    return {name: v.whole(f) for name, f in found.items()} | {"take": take, "asarray": v.exact}
