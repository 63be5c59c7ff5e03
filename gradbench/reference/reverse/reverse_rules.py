"""How each primitive pulls a cotangent back; here reductions and shapes, the rest in two more rooms.

`RULES` leaves, of every primitive, internal ones included. A rule is called as ``rule(g, y, *x, **statics)`` with the
cotangent g of the answer y and the arguments x, all terms of one tape, and returns a cotangent for each argument, of
its shape or of one that was broadcast from it; None where nothing flows back, `MISSING` where no formula is known. Of a
primitive with several results, g and y are tuples, and g has None for a result that nothing used.

Formulas are those that frameworks write: tanh' is 1 - y*y, although that loses its digits where y is near 1, because
what is replayed here is what they compute. Two things are different. A choice between the sides of a kink is `pick`,
so that a number system can tell where the kink is. And no rule tests for equality to mend a single point, because such
a patch is right for one derivative and wrong for the next one: where a patch applies, its own derivative is 0, and the
second derivative of sinc at 0 is -pi^2/3.

In complex arithmetic the convention is JAX's: the pairing is Re(g dx), and holomorphic rules have no conjugate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from gradbench.reference.reverse import elementwise_rules, matrix_rules
from gradbench.reference.reverse.elementwise_rules import unit
from gradbench.reference.reverse.term import Rule, Term, count, is_short, normal

Axes = int | tuple[int, ...] | None


def _kept(g: Term, x: Term, axis: Axes) -> Term:
    """g, of a reduction of x over the axes, with those axes again, of length 1."""
    axes = normal(axis, x.rank)
    return g.reshape([1 if i in axes else n for i, n in enumerate(x.shape)])


# Reductions


def _sum(g: Term, _y: Term, x: Term, axis: Axes, keepdims: bool) -> tuple[Term]:
    del keepdims
    return (_kept(g, x, axis).spread(x.shape),)


def _mean(g: Term, _y: Term, x: Term, axis: Axes, keepdims: bool) -> tuple[Term]:
    del keepdims
    return ((_kept(g, x, axis) / x.tape.whole(count(x.shape, normal(axis, x.rank)))).spread(x.shape),)


def _prod(g: Term, _y: Term, x: Term, axis: Axes, keepdims: bool) -> tuple[Term]:
    """The product of all the others, without a division, which would be 0/0 where an entry is 0."""
    del keepdims
    axes = normal(axis, x.rank)
    if not axes:
        return (g,)
    order = (*(i for i in range(x.rank) if i not in axes), *axes)
    last = x.apply("permute_dims", axes=order)
    flat = last.reshape((*last.shape[: x.rank - len(axes)], count(x.shape, axes)))
    left = _before(flat)
    right = _before(flat.apply("flip", axis=-1)).apply("flip", axis=-1)
    others = (left * right).reshape(last.shape).apply("permute_dims", axes=_inverse(order))
    return (_kept(g, x, axis) * others,)


def _before(x: Term) -> Term:
    """The products of the entries before each one along the last axis."""
    running = x.apply("cumulative_prod", axis=-1).at(..., slice(0, -1))
    return running.apply("pad", width=(0, 0) * (x.rank - 1) + (1, 0), value=1)


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _largest(g: Term, _y: Term, x: Term, axis: Axes, keepdims: bool) -> tuple[Term]:
    del keepdims
    return (_kept(g, x, axis) * x.apply("share", axis=normal(axis, x.rank)),)


def _smallest(g: Term, y: Term, x: Term, axis: Axes, keepdims: bool) -> tuple[Term]:
    return _largest(g, y, -x, axis, keepdims)


def _var(g: Term, _y: Term, x: Term, axis: Axes, correction: float, keepdims: bool) -> tuple[Term]:
    del keepdims
    n = x.tape.whole(count(x.shape, normal(axis, x.rank)))
    # The correction is taken off by the tape: it may be any number.
    free = n - correction if isinstance(n, int) and is_short(n - correction) else x.tape.lifted(1) * n - correction
    away = x - x.apply("mean", axis=axis, keepdims=True)
    return (_kept(g, x, axis) * (2 * away.conj() / free),)


def _std(g: Term, y: Term, x: Term, axis: Axes, correction: float, keepdims: bool) -> tuple[Term]:
    return _var(g / (2 * y), y, x, axis, correction, keepdims)


def _logsumexp(g: Term, y: Term, x: Term, axis: Axes, keepdims: bool) -> tuple[Term]:
    del keepdims
    axes = normal(axis, x.rank)
    if x.tape.exact and len(axes) == 1:
        return (_kept(g, x, axis) * x.apply("softmax", axis=axes[0]),)
    return (_kept(g, x, axis) * (x - _kept(y, x, axis)).apply("exp"),)


def _vector_norm(g: Term, y: Term, x: Term, axis: Axes, keepdims: bool, ord: float) -> tuple[Term | None]:
    del keepdims
    up, norm = _kept(g, x, axis), _kept(y, x, axis)
    size = x.apply("abs")
    if ord == 2:
        return (up * (x.conj() / norm),)
    if ord == 0:
        return (None,)
    if ord == 1:
        return (up * unit(x),)
    if math.isinf(ord):
        key = size if ord > 0 else -size
        return (up * (unit(x) * key.apply("share", axis=normal(axis, x.rank))),)
    less = ord - 1 if is_short(ord - 1) else x.tape.lifted(ord) - 1
    return (up * (unit(x) * (size / norm) ** less),)


_REDUCTIONS: Final[dict[str, Rule]] = {
    "sum": _sum,
    "mean": _mean,
    "prod": _prod,
    "max": _largest,
    "min": _smallest,
    "var": _var,
    "std": _std,
    "logsumexp": _logsumexp,
    "vector_norm": _vector_norm,
    "share": lambda _g, _y, _x, axis: (None,),  # noqa: ARG005
}


# Along an axis


def _softmax(g: Term, y: Term, _x: Term, axis: int) -> tuple[Term]:
    return (y * (g - (g * y).apply("sum", axis=axis, keepdims=True)),)


def _log_softmax(g: Term, y: Term, _x: Term, axis: int) -> tuple[Term]:
    return (g - y.apply("exp") * g.apply("sum", axis=axis, keepdims=True),)


def _cumulative_sum(g: Term, _y: Term, _x: Term, axis: int) -> tuple[Term]:
    return (g.apply("flip", axis=axis).apply("cumulative_sum", axis=axis).apply("flip", axis=axis),)


def _cumulative_prod(g: Term, _y: Term, x: Term, axis: int) -> tuple[Term]:
    """What comes before times a sum over what comes after, both without a division.

    The sum obeys s[i] = g[i] + x[i + 1] s[i + 1], a recurrence solved by doubling: Blelloch (1990), section 4.
    """
    last = x.apply("moveaxis", source=(axis,), destination=(-1,))
    total = g.apply("moveaxis", source=(axis,), destination=(-1,))
    factor = _shifted(last, 1)
    step = 1
    while step < last.shape[-1]:
        total = total + factor * _shifted(total, step)
        factor = factor * _shifted(factor, step)
        step *= 2
    return ((_before(last) * total).apply("moveaxis", source=(-1,), destination=(axis,)),)


def _shifted(x: Term, by: int) -> Term:
    """The entries `by` places on along the last axis, and zeros where there are none."""
    return x.at(..., slice(by, None)).apply("pad", width=(0, 0) * (x.rank - 1) + (0, by))


def _sort(g: Term, _y: Term, x: Term, axis: int) -> tuple[Term]:
    return (g.apply("permute_like", x, axis=axis, inverse=True),)


def _permute_like(g: Term, _y: Term, _x: Term, key: Term, axis: int, inverse: bool) -> tuple[Any, Any]:
    return g.apply("permute_like", key, axis=axis, inverse=not inverse), None


_ALONG: Final[dict[str, Rule]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "cumulative_sum": _cumulative_sum,
    "cumulative_prod": _cumulative_prod,
    "sort": _sort,
    "permute_like": _permute_like,
    "flip": lambda g, _y, _x, axis: (g.apply("flip", axis=axis),),
    "roll": lambda g, _y, _x, shift, axis: (g.apply("roll", shift=tuple(-s for s in shift), axis=axis),),
    "tril": lambda g, _y, _x, k: (g.apply("tril", k=k),),
    "triu": lambda g, _y, _x, k: (g.apply("triu", k=k),),
}


# Shapes


def _permute_dims(g: Term, _y: Term, _x: Term, axes: tuple[int, ...]) -> tuple[Term]:
    return (g.apply("permute_dims", axes=_inverse([axis % g.rank for axis in axes])),)


def _concat(g: Term, _y: Term, arrays: Sequence[Term], axis: int) -> tuple[list[Term]]:
    found, start = [], 0
    for x in arrays:
        stop = start + x.shape[axis]
        found.append(g.at(*(slice(None),) * (axis % g.rank), slice(start, stop)))
        start = stop
    return (found,)


def _stack(g: Term, _y: Term, arrays: Sequence[Term], axis: int) -> tuple[list[Term]]:
    return ([g.at(*(slice(None),) * (axis % g.rank), i) for i in range(len(arrays))],)


def _tile(g: Term, _y: Term, x: Term, repetitions: tuple[int, ...]) -> tuple[Term]:
    shape = (1,) * (g.rank - x.rank) + x.shape
    times = (1,) * (g.rank - len(repetitions)) + tuple(repetitions)
    blocks = g.reshape([n for pair in zip(times, shape, strict=True) for n in pair])
    return (blocks.sum(tuple(range(0, 2 * g.rank, 2))).reshape(x.shape),)


def _repeat(g: Term, _y: Term, x: Term, repeats: int, axis: int) -> tuple[Term]:
    axis %= x.rank
    return (g.reshape((*x.shape[: axis + 1], repeats, *x.shape[axis + 1 :])).sum(axis + 1),)


def _pad(g: Term, _y: Term, x: Term, width: tuple[int, ...], value: float) -> tuple[Term]:
    del value
    return (g.at(*(slice(before, before + n) for before, n in zip(width[::2], x.shape, strict=True))) if width else g,)


def _take(g: Term, _y: Term, x: Term, indices: Term, axis: int) -> tuple[Term, None]:
    axis %= x.rank
    return g.apply("scatter", indices, axis=axis, size=x.shape[axis]), None


def _reshape(g: Term, _y: Term, x: Term, **_statics: Any) -> tuple[Term]:
    return (g.reshape(x.shape),)


def _moveaxis(g: Term, _y: Term, _x: Term, source: tuple[int, ...], destination: tuple[int, ...]) -> tuple[Term]:
    return (g.apply("moveaxis", source=destination, destination=source),)


_SHAPES: Final[dict[str, Rule]] = {
    "reshape": _reshape,
    "expand_dims": _reshape,
    "squeeze": _reshape,
    "broadcast_to": lambda g, _y, x, shape: (g,),  # noqa: ARG005  # gathered, as all broadcasting is
    "permute_dims": _permute_dims,
    "matrix_transpose": lambda g, _y, _x: (g.T,),
    "moveaxis": _moveaxis,
    "concat": _concat,
    "stack": _stack,
    "tile": _tile,
    "repeat": _repeat,
    "pad": _pad,
    "take": _take,
    "scatter": lambda g, _y, _x, indices, axis, size: (g.apply("take", indices, axis=axis), None),  # noqa: ARG005
    "getitem": lambda g, _y, x, index: (g.apply("put", index=index, shape=x.shape),),
    "put": lambda g, _y, _x, index, shape: (g.apply("getitem", index=index),),  # noqa: ARG005
}

RULES: Final[dict[str, Rule]] = {
    **elementwise_rules.RULES,
    **_REDUCTIONS,
    **_ALONG,
    **_SHAPES,
    **matrix_rules.RULES,
}
"""For each primitive how it pulls a cotangent back."""

REAL_ONLY: Final = frozenset({
    *elementwise_rules.REAL_ONLY, *matrix_rules.REAL_ONLY, "max", "min", "share", "sort", "permute_like",
})  # fmt: skip
"""Primitives whose rules hold for real arrays alone."""
