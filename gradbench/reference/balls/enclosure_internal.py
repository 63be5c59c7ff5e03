"""Ball arithmetic, continued: what a reverse pass needs beside the vocabulary, and how it answers at a kink.

Arrays of balls enter `OPS[name](*arrays, **statics)`, arrays of balls leave. The primitives are those of
`gradbench.reference.reverse.internal`. Where one of them chooses between the sides of a kink and the balls don't say which
side it is, or the point is the kink itself, the answer is the hull of all choices: a reverse pass run with these
encloses every derivative that the function has arbitrarily near (Clarke 1983, section 2.3, 2.6, with equality lost
wherever two choices depend on one another).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import flint
import numpy as np

from gradbench.reference.balls import enclosure_array
from gradbench.reference.balls.enclosure import whole_power
from gradbench.reference.balls.enclosure_array import MAX, indices
from gradbench.reference.balls.enclosure_linalg import (
    determinant,
    eigenvalues,
    inverse,
    product,
    stacked,
    symmetric,
)
from gradbench.reference.balls.lift import Balls, balls, boxed, filled, lift, matrix, zeros

arb: Final = flint.arb
_BOTH_SIGNS: Final = arb(0, 1)
_ZERO: Final = arb(0)
_UNION: Final = np.frompyfunc(arb.union, 2, 1)


def pick(x: Any, above: Any, below: Any) -> Balls:
    """`above` where x > 0, `below` where x < 0, and their hull where x is 0 or may be."""
    by = lift(x)
    is_above, is_below, left, right = np.broadcast_arrays(by > _ZERO, by < _ZERO, lift(above), lift(below))
    chosen = np.where(is_above, left, right)
    open_ = ~(is_above | is_below)
    if open_.any():
        chosen[open_] = _UNION(left[open_], right[open_])
    return chosen


def sign(x: Any) -> Balls:
    """The sign, and at 0 every number from -1 to 1: the slope of abs."""
    return boxed(np.frompyfunc(lambda ball: _BOTH_SIGNS if ball.contains(0) else ball.sgn(), 1, 1)(lift(x)))


def _share(x: Balls) -> Balls:
    """Shares in the maximum along the last axis."""
    largest = boxed(MAX.reduce(x, axis=-1))[..., None]
    may_be = ~np.asarray(x < largest).astype(bool)
    alone = may_be.sum(axis=-1, keepdims=True) == 1
    found = np.where(may_be & alone, arb(1), arb(0))
    found[may_be & ~alone] = arb(0).union(arb(1))
    return found


def share(x: Any, *, axis: int | tuple[int, ...] | None = None) -> Balls:
    """For each entry its share in the maximum: 1 or 0 where that is decided, and [0, 1] in a tie."""
    whole = lift(x)
    axes = tuple(range(whole.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not axes or not whole.size:
        return whole * 0 + arb(1)
    last = tuple(range(-len(axes), 0))
    moved = np.moveaxis(whole, axes, last)
    flat = moved.reshape(*moved.shape[: whole.ndim - len(axes)], -1)
    return np.moveaxis(_share(flat).reshape(moved.shape), last, axes)


def clusters(key: list[Any]) -> tuple[list[int], list[range]]:
    """The order of the keys by their midpoints, and the runs of places within which the balls leave it open."""
    order = sorted(range(len(key)), key=lambda i: key[i].mid())
    if not all(ball.is_finite() for ball in key):
        return order, [range(len(key))]
    runs, start = [], 0
    reach = None
    low = [key[order[-1]].lower()] if order else []
    for i in reversed(order[:-1]):
        low.append(low[-1].min(key[i].lower()))
    low.reverse()
    for place, i in enumerate(order):
        upper = key[i].upper()
        reach = upper if reach is None else reach.max(upper)
        if place + 1 == len(order) or reach < low[place + 1]:
            runs.append(range(start, place + 1))
            start, reach = place + 1, None
    return order, runs


def _permuted(x: list[Any], key: list[Any], inverse: bool) -> list[Any]:
    order, runs = clusters(key)
    found: list[Any] = [None] * len(x)
    for run in runs:
        places = [order[place] for place in run]
        came, goes = (list(run), places) if inverse else (places, list(run))
        hull = x[came[0]]
        for place in came[1:]:
            hull = hull.union(x[place])
        for place in goes:
            found[place] = hull
    return found


def permute_like(x: Any, key: Any, *, axis: int = -1, inverse: bool = False) -> Balls:
    """The entries in the order that sorts the key; where that is open, the hull of what may stand there."""
    values, keys = (np.moveaxis(lift(a), axis, -1) for a in (x, key))
    length = values.shape[-1]
    if not length:
        return lift(x)
    rows = zip(values.reshape(-1, length).tolist(), keys.reshape(-1, length).tolist(), strict=True)
    found = balls([ball for row, by in rows for ball in _permuted(row, by, inverse)], values.shape)
    return np.moveaxis(found, -1, axis)


def _put(x: Any, *, index: tuple[Any, ...], shape: tuple[int, ...]) -> Balls:
    found = zeros(shape)
    found[index] = lift(x)[()]
    return found


def _scatter(x: Any, at: Any, *, axis: int, size: int) -> Balls:
    values, places = lift(x), indices(at)
    outer, inner = values.shape[:axis], values.shape[axis + places.ndim :]
    flat = values.reshape(*outer, places.size, *inner)
    found = zeros((*outer, size, *inner))
    lead = (slice(None),) * axis
    for i, place in enumerate(places.ravel().tolist()):
        found[(*lead, place)] = found[(*lead, place)] + flat[(*lead, i)]
    return found


def polygamma(x: Any, n: int) -> Any:
    """The n-th derivative of digamma at one ball."""
    if x > 0:
        return arb(n + 1).zeta(x) * (math.factorial(n) * (-1) ** (n + 1)) if n else x.digamma()
    return flint.acb(x).polygamma(n).real


def bessel_i(x: Any, n: int, scaled: bool) -> Any:
    """I_n of one ball, times exp(-abs(x)) if scaled."""
    if not scaled:
        return x.bessel_i(n)
    if x.contains(0):
        return (-abs(x)).exp() * x.bessel_i(n)
    found = abs(x).bessel_i(n, scaled=True)
    return -found if n % 2 and x < 0 else found


def spherical_j(x: Any, n: int) -> Any:
    """j_n of one ball, as an entire function: Abramowitz and Stegun (1964), 10.1.2."""
    odd = math.prod(range(1, 2 * n + 2, 2))
    return whole_power(x, n) * (-(x * x) / 4).hypgeom_0f1(arb(2 * n + 3) / 2) / odd


def _each(f: Callable[..., Any], *names: str) -> Callable[..., Balls]:
    def elementwise(x: Any, **statics: Any) -> Balls:
        fixed = [statics[name] for name in names]
        return boxed(np.frompyfunc(lambda ball: f(ball, *fixed), 1, 1)(lift(x)))

    return elementwise


def cofactor(x: Balls) -> Balls:
    """The cofactors of one matrix: by its inverse, or by its minors where it may have none."""
    n = x.shape[0]
    if n <= 1:
        return filled(x.shape, 1)
    turned = inverse(x) if n > 2 else None
    if turned is not None and all(ball.is_finite() for ball in turned.ravel()):
        return determinant(x) * turned.T
    found = zeros((n, n))
    for i in range(n):
        for j in range(n):
            minor = determinant(np.delete(np.delete(x, i, 0), j, 1))
            found[i, j] = -minor if (i + j) % 2 else minor
    return found


def _eigenpairs(x: Balls) -> tuple[Balls, Balls]:
    """Eigenvalues ascending and unit eigenvectors as columns; the vectors are NaN unless all values are isolated."""
    n = x.shape[0]
    left = symmetric(x)
    none = filled((n, n), arb("nan"))
    try:
        values, columns = matrix(left).eig(right=True)
    except ValueError:
        return balls(eigenvalues(x), (n,)), none
    vectors = np.array(columns.tolist(), object).reshape(n, n)
    order = sorted(range(n), key=lambda i: values[i].real.mid())
    unit = np.stack([_unit(vectors[:, i]) for i in order], axis=-1) if n else none
    return balls([values[i].real for i in order], (n,)), unit


def _unit(vector: Balls) -> Balls:
    """A complex multiple of a real eigenvector, as a real one of length 1. Its sign stays open to chance."""
    parts = [balls([getattr(z, part) for z in vector], vector.shape) for part in ("real", "imag")]
    norms = [enclosure_array.OPS["vector_norm"](part)[()] for part in parts]
    best = 0 if norms[0].lower() >= norms[1].lower() else 1
    return parts[best] / norms[best]


def _eigh(x: Any) -> tuple[Balls, Balls]:
    matrices = lift(x)
    found = [_eigenpairs(matrices[i]) for i in np.ndindex(*matrices.shape[:-2])]
    if not found:
        return zeros(matrices.shape[:-1]), zeros(matrices.shape)
    values, vectors = (np.stack(parts) for parts in zip(*found, strict=True))
    return values.reshape(matrices.shape[:-1]), vectors.reshape(matrices.shape)


def _factors(x: Balls) -> tuple[Balls, Balls, Balls]:
    """u, s, v of one matrix; the vectors are NaN unless all singular values are isolated and none is 0."""
    tall = x.shape[0] >= x.shape[1]
    one = x if tall else x.T
    with flint.ctx.workprec(2 * flint.ctx.prec + 32):
        values, vectors = _eigenpairs(product(one.T, one))
        s = balls(
            [value.nonnegative_part().sqrt() if not value > 0 else value.sqrt() for value in values[::-1]], values.shape
        )
        near = vectors[:, ::-1]
        far = product(one, near) / s if s.size else product(one, near)
    return (far, s, near) if tall else (near, s, far)


def _svd(x: Any) -> tuple[Balls, ...]:
    matrices = lift(x)
    found = [_factors(matrices[i]) for i in np.ndindex(*matrices.shape[:-2])]
    parts = [np.stack(part) for part in zip(*found, strict=True)]
    return tuple(part.reshape(*matrices.shape[:-2], *part.shape[1:]) for part in parts)


OPS: Final[dict[str, Callable[..., Any]]] = {
    "pick": pick,
    "share": share,
    "permute_like": permute_like,
    "put": _put,
    "scatter": _scatter,
    "polygamma": _each(polygamma, "n"),
    "bessel_j": _each(lambda x, n: x.bessel_j(n), "n"),
    "bessel_i": _each(bessel_i, "n", "scaled"),
    "spherical_j": _each(spherical_j, "n"),
    "cofactor": lambda x: stacked(cofactor, lift(x)),
    "eigh": _eigh,
    "svd": _svd,
}
"""The internal primitives, for balls."""
