"""Where a step of a program may jump, or is defined on one side only.

Arrays of balls enter `EDGES[name](*arrays, **statics)`; what leaves says whether the point may lie on such an edge. A
corner isn't one: where a function is continuous, the hull of its slopes on all sides is an honest answer, which the
reverse pass gives by itself (see `enclosure_internal`). Across a jump no slope says anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from gradbench.reference.balls.enclosure_array import ordered
from gradbench.reference.balls.enclosure_internal import clusters
from gradbench.reference.balls.enclosure_linalg import OPS
from gradbench.reference.balls.lift import FALSE, TRUE, Balls, lift, truths

_HALF: Final = lift(0.5)
_ZERO: Final = lift(0)


def _any(f: Callable[..., bool], *arrays: Any) -> bool:
    return bool(np.any(np.frompyfunc(f, len(arrays), 1)(*map(lift, arrays))))


def _holds_whole(x: Any) -> bool:
    return bool(x.contains_integer()) or not x.is_finite()


def same(x: Any, y: Any) -> bool:
    """Whether two balls are known to be one number."""
    return x is y or bool(x == y)


def _differ(condition: Any, x1: Any, x2: Any) -> bool:
    """Whether some entry of a choice is open and its two sides may differ."""
    is_open, left, right = np.broadcast_arrays(condition, lift(x1), lift(x2))
    return any(not same(a, b) for a, b in zip(left[is_open], right[is_open], strict=True))


def _where(condition: Any, x1: Any, x2: Any) -> bool:
    truth = truths(condition)
    return _differ((truth != FALSE) & (truth != TRUE), x1, x2)


def _pick(x: Any, above: Any, below: Any) -> bool:
    holds = np.asarray(np.frompyfunc(lambda ball: ball.contains(0), 1, 1)(lift(x))).astype(bool)
    return _differ(holds, above, below)


def _power(x1: Any, x2: Any) -> bool:
    if isinstance(x2, int) and x2 >= 0:
        return False
    return _any(lambda x, y: x.contains(0) and not (y.is_integer() and y >= 0), x1, x2)


def _share(x: Any, *, axis: int | tuple[int, ...] | None = None) -> bool:
    """Whether the largest may occur twice: then the share of an entry jumps."""
    whole = lift(x)
    axes = tuple(range(whole.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not axes or not whole.size:
        return False
    moved = np.moveaxis(whole, axes, tuple(range(-len(axes), 0)))
    rows = moved.reshape(-1, int(np.prod([whole.shape[a] for a in axes])))
    return any(_tied(row) for row in rows)


def _tied(row: Balls) -> bool:
    top = ordered(row.tolist())[-2:]
    return len(top) == 2 and not top[0] < top[1]


def _permute_like(x: Any, key: Any, *, axis: int = -1, inverse: bool = False) -> bool:
    values, keys = (np.moveaxis(lift(a), axis, -1) for a in (x, key))
    if not values.size:
        return False
    length = values.shape[-1]
    for row, by in zip(values.reshape(-1, length).tolist(), keys.reshape(-1, length).tolist(), strict=True):
        order, runs = clusters(by)
        for run in runs:
            places = list(run) if inverse else [order[place] for place in run]
            if not all(same(row[places[0]], row[place]) for place in places):
                return True
    return False


def _norm(x: Any, *, ord: float = 2, **_statics: Any) -> bool:
    return ord == 0 and _any(lambda ball: ball.contains(0), x)


EDGES: Final[dict[str, Callable[..., bool]]] = {
    "floor": lambda x: _any(_holds_whole, x),
    "ceil": lambda x: _any(_holds_whole, x),
    "trunc": lambda x: _any(lambda ball: not abs(ball) < 1 and _holds_whole(ball), x),
    "round": lambda x: _any(_holds_whole, lift(x) + _HALF),
    "remainder": lambda x1, x2: _any(_holds_whole, lift(x1) / lift(x2)),
    "sign": lambda x: _any(lambda ball: ball.contains(0), x),
    "angle": lambda x: _any(lambda ball: ball.contains(0), x),
    "copysign": lambda _, x2: _any(lambda ball: ball.contains(0), x2),
    "where": _where,
    "pick": _pick,
    "share": _share,
    "permute_like": _permute_like,
    "atan2": lambda x1, x2: _any(lambda y, x: y.contains(0) and not x > 0, x1, x2),
    "power": _power,
    "xlogy": lambda x1, x2: _any(lambda x, y: x.contains(0) and not y > 0, x1, x2),
    "xlog1py": lambda x1, x2: _any(lambda x, y: x.contains(0) and not y > -1, x1, x2),
    "gammainc": lambda _, x2: _any(lambda ball: not ball > 0, x2),
    "vector_norm": _norm,
    "slogdet": lambda x: _any(lambda ball: ball.contains(0), OPS["det"](x)),  # its sign jumps
}
"""By primitive; one that isn't here is continuous wherever its slope is finite."""

BOUNDS: Final[dict[str, Callable[..., bool]]] = {
    "sqrt": lambda x: not np.all(lift(x) > _ZERO),
    "asin": lambda x: _any(lambda ball: not abs(ball) < 1, x),
    "acos": lambda x: _any(lambda ball: not abs(ball) < 1, x),
    "acosh": lambda x: _any(lambda ball: not ball > 1, x),
    "entr": lambda x: not np.all(lift(x) > _ZERO),
}
"""By primitive, whether the point may be at the end of where it is defined, although it has a value there."""

OPEN: Final = frozenset({"pick", "sign", "share", "permute_like", "where"})
"""What chooses between slopes in a reverse pass: at an edge of these, it answers with the hull of the choices."""

CARRIES: Final = frozenset({
    "where", "logical_and", "logical_or", "logical_not", "reshape", "permute_dims", "matrix_transpose", "expand_dims",
    "squeeze", "moveaxis", "broadcast_to", "concat", "stack", "tile", "repeat", "take", "diagonal", "getitem", "flip",
    "roll",
})  # fmt: skip
"""What may be given a condition; anything else uses it as a number, which jumps."""
