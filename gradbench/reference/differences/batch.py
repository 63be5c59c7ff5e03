"""A program at many points in one call: `gradbench.numeric` with one more axis in front.

Every value carries a leading axis, of the number of points or of length 1 where it is the same at all of them. What
works element by element gets its ranks aligned behind that axis, reductions and axes move by one, matrices are stacks
already; what has no stacked form is computed point by point. A point where a primitive raises (a singular matrix) is
NaN, and the others keep their answers. There is no derivative rule here.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from gradbench import numeric
from gradbench.primitives import ARITHMETIC, VOCABULARY
from gradbench.program import Number, Program, evaluate, trace
from gradbench.query import Array

BUDGET: Final = 2**24
"""The most entries that one intermediate array may have; more points than fit are evaluated in several calls."""


def _aligned(*arrays: Any) -> list[Any]:
    """The arrays with axes of length 1 behind the first, so that all have the same rank. Numbers stay as they are."""
    rank = max(np.ndim(array) for array in arrays)
    return [_raised(array, rank) for array in arrays]


def _raised(array: Any, rank: int) -> Any:
    missing = rank - np.ndim(array)
    if np.ndim(array) == 0 or not missing:
        return array
    return array.reshape(array.shape[:1] + (1,) * missing + array.shape[1:])


def _spread(*arrays: Array) -> list[Array]:
    """The arrays with their leading axes made equal."""
    points = max(array.shape[0] for array in arrays)
    return [np.broadcast_to(array, (points, *array.shape[1:])) for array in arrays]


def _moved(axis: int) -> int:
    return axis + 1 if axis >= 0 else axis


def _axes(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """The axes, counted with the leading one; None stands for all the others."""
    if axis is None:
        return tuple(range(1, rank))
    return tuple(_moved(a) for a in (axis if isinstance(axis, tuple) else (axis,)))


def _elementwise(name: str) -> Callable[..., Any]:
    f = numeric.OPS[name]
    return lambda *arrays, **statics: f(*_aligned(*arrays), **statics)


def _reduction(name: str) -> Callable[..., Any]:
    f = numeric.OPS[name]

    def reduce(x: Array, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, **statics: Any) -> Any:
        if x.ndim == 1 or axis == ():
            # Not every function reduces over no axes: it is given one of length 1.
            return f(x[..., None], axis=-1, keepdims=False, **statics)
        return f(x, axis=_axes(axis, x.ndim), keepdims=keepdims, **statics)

    return reduce


def _along(name: str) -> Callable[..., Any]:
    f = numeric.OPS[name]
    return lambda *arrays, axis, **statics: f(*arrays, axis=_moved(axis), **statics)


def _pointwise(name: str) -> Callable[..., Any]:
    """The primitive at one point after the other; NaN where it raises."""
    f = numeric.OPS[name]

    def each(*arrays: Array, **statics: Any) -> Any:
        answers = [_attempt(f, parts, statics) for parts in zip(*_spread(*arrays), strict=True)]
        good = next((answer for answer in answers if answer is not None), None)
        if good is None:
            # Nobody knows the shape but the primitive itself, so its refusal is the answer.
            return f(*(array[0] for array in arrays), **statics)
        if isinstance(good, tuple):
            lost: Any = tuple(np.full_like(part, np.nan) for part in good)
            return tuple(np.stack(parts) for parts in zip(*(lost if a is None else a for a in answers), strict=True))
        return np.stack([np.full_like(good, np.nan) if answer is None else answer for answer in answers])

    return each


def _attempt(f: Callable[..., Any], arrays: tuple[Any, ...], statics: Mapping[str, Any]) -> Any:
    try:
        return f(*arrays, **statics)
    except (np.linalg.LinAlgError, ValueError, FloatingPointError, OverflowError):
        return None


def _stacked(name: str) -> Callable[..., Any]:
    """A primitive of matrices that takes stacks of them; point by point where one of the stack makes it raise."""
    f, slow = numeric.OPS[name], _pointwise(name)

    def stacked(x: Array, **statics: Any) -> Any:
        try:
            return f(x, **statics)
        except (np.linalg.LinAlgError, ValueError):
            return slow(x, **statics)

    return stacked


def _system(name: str) -> Callable[..., Any]:
    """Linear equations: as `_stacked`, and a vector on the right is a matrix of one column."""
    f, slow = numeric.OPS[name], _pointwise(name)

    def solve(x1: Array, x2: Array, **statics: Any) -> Any:
        vector = x2.ndim == 2
        try:
            answer = f(*_aligned(x1, x2[:, :, None] if vector else x2), **statics)
        except (np.linalg.LinAlgError, ValueError):
            return slow(x1, x2, **statics)
        return answer[..., 0] if vector else answer

    return solve


def _matmul(x1: Array, x2: Array) -> Any:
    row, column = x1.ndim == 2, x2.ndim == 2
    left, right = _aligned(x1[:, None, :] if row else x1, x2[:, :, None] if column else x2)
    answer = numeric.OPS["matmul"](left, right)
    gone = tuple(axis for axis, drop in ((-2, row), (-1, column)) if drop)
    return np.squeeze(answer, axis=gone)


def _vecdot(x1: Array, x2: Array, *, axis: int = -1) -> Any:
    back = axis if axis < 0 else axis - min(x1.ndim, x2.ndim) + 1
    return numeric.OPS["vecdot"](*_aligned(x1, x2), axis=back)


def _kron(x1: Array, x2: Array) -> Any:
    left = np.expand_dims(x1, tuple(range(2, 2 * x1.ndim, 2)))
    right = np.expand_dims(x2, tuple(range(1, 2 * x2.ndim - 1, 2)))
    sizes = (n * m for n, m in zip(x1.shape[1:], x2.shape[1:], strict=True))
    return (left * right).reshape(-1, *sizes)


def _einsum(*operands: Array, subscripts: str) -> Any:
    left, _, right = subscripts.replace(" ", "").partition("->")
    free = next(letter for letter in string.ascii_letters if letter not in left)
    terms = ",".join(free + term for term in left.split(","))
    return numeric.OPS["einsum"](*_spread(*operands), subscripts=f"{terms}->{free}{right}")


def _tensordot(x1: Array, x2: Array, *, axes: int = 2) -> Any:
    first = string.ascii_letters[: x1.ndim - 1]
    summed = first[len(first) - axes :]
    rest = string.ascii_letters[len(first) :][: x2.ndim - 1 - axes]
    return _einsum(x1, x2, subscripts=f"{first},{summed}{rest}->{first[: len(first) - axes]}{rest}")


def _flip(x: Array, *, axis: int | tuple[int, ...] | None = None) -> Any:
    return np.flip(x, _axes(axis, x.ndim))


def _roll(x: Array, *, shift: tuple[int, ...], axis: int | tuple[int, ...] | None = None) -> Any:
    if axis is None:
        return np.roll(x.reshape(x.shape[0], -1), sum(shift), 1).reshape(x.shape)
    return np.roll(x, shift, _axes(axis, x.ndim))


def _tile(x: Array, *, repetitions: tuple[int, ...]) -> Array:
    rank = max(len(repetitions), x.ndim - 1)
    padded = (1,) * (rank - len(repetitions)) + tuple(repetitions)
    return np.tile(_raised(x, rank + 1), (1, *padded))


def _pad(x: Array, *, width: tuple[int, ...], value: float = 0) -> Any:
    return numeric.OPS["pad"](x, width=(0, 0, *width), value=value)


def _take(x: Array, indices: Array, *, axis: int = 0) -> Any:
    if indices.shape[0] > 1:
        return _pointwise("take")(x, indices, axis=axis)
    return np.take(x, indices[0], axis=_moved(axis))


def _diag(x: Array) -> Array:
    answer = np.zeros((*x.shape, x.shape[-1]), x.dtype)
    places = np.arange(x.shape[-1])
    answer[:, places, places] = x
    return answer


def _moveaxis(x: Array, *, source: tuple[int, ...], destination: tuple[int, ...]) -> Array:
    return np.moveaxis(x, _axes(source, x.ndim), _axes(destination, x.ndim))


def _join(name: str) -> Callable[..., Any]:
    return lambda arrays, *, axis=0: numeric.OPS[name](_spread(*arrays), axis=_moved(axis))


_BY_RULE: Final[dict[str, Callable[[str], Callable[..., Any]]]] = {
    "elementwise": _elementwise,
    "broadcast": _elementwise,
    "compare": _elementwise,
    "logic": _elementwise,
    "where": _elementwise,
    "reduce": _reduction,
    "square": _stacked,
    "solve": _system,
    "eigvalsh": _stacked,
    "svdvals": _stacked,
    "determinant": _stacked,
    "slogdet": _stacked,
}

_BY_NAME: Final[dict[str, Callable[..., Any]]] = {
    "softmax": _along("softmax"),
    "log_softmax": _along("log_softmax"),
    "cumulative_sum": _along("cumulative_sum"),
    "cumulative_prod": _along("cumulative_prod"),
    "sort": _along("sort"),
    "repeat": _along("repeat"),
    "flip": _flip,
    "roll": _roll,
    "tril": numeric.OPS["tril"],
    "triu": numeric.OPS["triu"],
    "reshape": lambda x, *, shape: x.reshape(x.shape[0], *_filled(x, shape)),
    "permute_dims": lambda x, *, axes: np.transpose(x, (0, *_axes(axes, x.ndim))),
    "matrix_transpose": numeric.OPS["matrix_transpose"],
    "expand_dims": _along("expand_dims"),
    "squeeze": lambda x, *, axis: np.squeeze(x, axis=_axes(axis, x.ndim)),
    "moveaxis": _moveaxis,
    "broadcast_to": lambda x, *, shape: np.broadcast_to(_raised(x, len(shape) + 1), (x.shape[0], *shape)),
    "concat": _join("concat"),
    "stack": _join("stack"),
    "tile": _tile,
    "pad": _pad,
    "take": _take,
    "diagonal": numeric.OPS["diagonal"],
    "diag": _diag,
    "matmul": _matmul,
    "vecdot": _vecdot,
    "outer": numeric.OPS["outer"],
    "kron": _kron,
    "cross": _elementwise("cross"),
    "tensordot": _tensordot,
    "einsum": _einsum,
    "trace": numeric.OPS["trace"],
    "matrix_norm": numeric.OPS["matrix_norm"],
    "getitem": lambda x, *, index: x[(slice(None), *index)],
}


def _filled(x: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with its -1 replaced by a number, which an empty batch could not tell."""
    size = int(np.prod(x.shape[1:], dtype=np.int64))
    known = int(np.prod([n for n in shape if n != -1], dtype=np.int64))
    return tuple(size // known if n == -1 else n for n in shape)


OPS: Final[dict[str, Callable[..., Any]]] = {
    name: _BY_NAME[name] if name in _BY_NAME else _BY_RULE[primitive.shape](name)
    for name, primitive in VOCABULARY.items()
}
"""For each primitive a function of arrays with a leading axis; statics as ever."""


def lifted(dtype: np.dtype[Any]) -> dict[str, Callable[..., Any]]:
    """`OPS` for a program whose numbers are rounded to a dtype first, and computed with in double precision."""

    def rounded(number: Number) -> Any:
        if isinstance(number, complex):
            return complex(np.asarray(number, np.result_type(dtype, np.complex64)))
        with np.errstate(over="ignore"):
            return float(np.asarray(number, dtype).real)

    def typed(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        numbers = {p.name for p in VOCABULARY[name].parameters if p.kind == "number"}
        if numbers:
            return lambda *xs, **statics: f(*xs, **{k: known(v) if k in numbers else v for k, v in statics.items()})
        if name in ARITHMETIC:
            return lambda *xs: f(*map(bare, xs[:1]), *map(exponent if name == "power" else bare, xs[1:]))
        return f

    def known(number: Number | None) -> Any:
        return None if number is None else rounded(number)

    def bare(x: Any) -> Any:
        return rounded(x) if isinstance(x, Number) else x

    def exponent(x: Any) -> Any:
        # x ** 300 is the 300th power in every dtype.
        return x if isinstance(x, int | float) and x % 1 == 0 else bare(x)

    ops = {name: typed(name, f) for name, f in OPS.items()}
    return ops | {"asarray": lambda number: np.asarray([rounded(number)])}


def widened(array: Array) -> Array:
    """The same numbers in double precision; integers and booleans stay as they are."""
    if array.dtype.kind in "biu":
        return array
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def values(program: Program, points: Mapping[str, Array], constants: Mapping[str, Array], dtype: str) -> Array:
    """What the program returns at every point, of shape (points, *y).

    Args:
        program: The function.
        points: For each input, an array of shape (points, *x).
        constants: The other names.
        dtype: The format that numbers of the text are rounded to.

    Raises:
        Exception: Whatever a primitive raises at every point.
    """
    ops = lifted(np.dtype(dtype))
    fixed = {name: widened(np.asarray(array))[None] for name, array in constants.items()}
    count = max((len(array) for array in points.values()), default=1)
    first = {name: array[:1] for name, array in points.items()}
    largest = max((np.size(entry) for entry in trace(program, ops, {**first, **fixed})), default=1)
    step = max(1, BUDGET // max(largest, 1))
    parts = []
    for start in range(0, count, step):
        some = {name: array[start : start + step] for name, array in points.items()}
        answer = np.asarray(evaluate(program, ops, {**some, **fixed}))
        parts.append(np.broadcast_to(answer, (min(step, count - start), *answer.shape[1:])))
    return np.concatenate(parts)


def magnitude(program: Program, point: Mapping[str, Array], constants: Mapping[str, Array], dtype: str) -> float:
    """The largest finite number that is met on the way to the answer at a point; 0 where that can't be said."""
    given = {name: widened(np.asarray(array))[None] for name, array in {**point, **constants}.items()}
    try:
        met = trace(program, lifted(np.dtype(dtype)), given)[len(program.names) :]
    except Exception:  # noqa: BLE001  # whatever a primitive raises
        return 0.0
    parts = [
        np.abs(np.asarray(one)).reshape(-1)
        for entry in met
        for one in (entry if isinstance(entry, tuple) else (entry,))
    ]
    return max((float(np.max(part, initial=0, where=np.isfinite(part))) for part in parts), default=0.0)
