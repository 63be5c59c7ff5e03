"""The internal primitives in NumPy and SciPy.

NumPy arrays enter `INTERNAL_OPS[name](*arrays, **statics)`, a NumPy array leaves, as with `gradbench.numeric`. What
only moves entries about works for arrays of objects as well, whatever numbers these are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import scipy.special as sp

from gradbench.numeric import symmetric

Array = Any

_FAR: Final = 1e4
"""polygamma is NaN to the left of minus this: it takes a step for each pole on the way to 0."""


def _quietly(f: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(f)
    def quiet(*arrays: Any, **statics: Any) -> Any:
        with np.errstate(all="ignore"):
            return f(*arrays, **statics)

    return quiet


def pick(x: Array, above: Array, below: Array) -> Array:
    """`above` where x > 0, `below` where x < 0, their mean where x is 0, and NaN where x is."""
    zero = x == 0
    found: Array = np.where(x > 0, above, below)
    if np.any(zero):
        found = np.where(zero, above / 2 + below / 2, found)
    return np.where(x != x, x, found)  # noqa: PLR0124  # NaN, also among objects


def share(x: Array, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """1/k at the k largest entries over the axes, 0 elsewhere."""
    largest: Array = x == np.max(x, axis=axis, keepdims=True)
    return largest / np.sum(largest, axis=axis, keepdims=True)


def permute_like(x: Array, key: Array, *, axis: int = -1, inverse: bool = False) -> Array:
    """The entries in the order that sorts `key`, or back from it."""
    order = np.argsort(key, axis=axis, kind="stable")
    if inverse:
        order = np.argsort(order, axis=axis)
    return np.take_along_axis(x, order, axis=axis)


def put(x: Array, *, index: tuple[Any, ...], shape: tuple[int, ...]) -> Array:
    """Zeros with x at the index."""
    found = np.zeros(shape, np.asarray(x).dtype)
    found[index] = x
    return found


def scatter(x: Array, indices: Array, *, axis: int, size: int) -> Array:
    """Zeros to which the entries of x are added at the indices; an index below 0 counts from the end."""
    places = np.asarray(indices).astype(np.intp)
    rank = places.ndim
    # The axes of the indices in front, as one, so that each entry of it is added somewhere.
    front = np.moveaxis(x, range(axis, axis + rank), range(rank)) if rank else np.asarray(x)[None]
    front = front.reshape(places.size, *front.shape[max(rank, 1) :])
    found = np.zeros((size, *front.shape[1:]), front.dtype)
    np.add.at(found, places.reshape(-1), front)
    return np.moveaxis(found, 0, axis)


def _bessel_i(x: Array, *, n: int, scaled: bool = False) -> Array:
    return sp.ive(n, x) if scaled else sp.iv(n, x)


def cofactor(x: Array) -> Array:
    """The cofactors, also of a singular matrix: det(u) det(v) u diag(products of the other values) v^T."""
    if np.iscomplexobj(x):
        return np.linalg.det(x)[..., None, None] * np.swapaxes(np.linalg.inv(x), -2, -1)
    u, s, vt = np.linalg.svd(x)
    ones = np.ones_like(s[..., :1])
    before = np.cumprod(np.concatenate([ones, s[..., :-1]], -1), -1)
    after = np.flip(np.cumprod(np.concatenate([ones, np.flip(s[..., 1:], -1)], -1), -1), -1)
    sign = np.linalg.det(u) * np.linalg.det(vt)
    return (u * (before * after * np.rint(sign)[..., None])[..., None, :]) @ vt


def eigh(x: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors of the symmetric part."""
    values, vectors = np.linalg.eigh(symmetric(x))
    return values, vectors


def svd(x: Array) -> tuple[Array, Array, Array]:
    """u, s and v with x = u diag(s) v^T."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    return u, s, np.swapaxes(vt, -2, -1)


def polygamma(x: Array, *, n: int) -> Array:
    """The n-th derivative of digamma, left of 0 too, where SciPy has none: Abramowitz and Stegun (1964), 6.4.6."""
    x = np.asarray(x)
    steps = np.where((x < 0) & (x > -_FAR), np.ceil(-x), 0)
    total = np.zeros_like(x)
    for k in range(int(np.max(steps, initial=0))):
        total += np.where(k < steps, (x + k) ** -(n + 1.0), 0)
    return sp.polygamma(n, x + steps) - (-1) ** n * sp.gamma(n + 1.0) * total


def _spherical_j(x: Array, *, n: int) -> Array:
    return sp.spherical_jn(n, x)


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "pick": pick,
    "share": share,
    "permute_like": permute_like,
    "put": put,
    "scatter": scatter,
    "polygamma": polygamma,
    "bessel_j": lambda x, *, n: sp.jv(n, x),
    "bessel_i": _bessel_i,
    "spherical_j": _spherical_j,
    "cofactor": cofactor,
    "eigh": eigh,
    "svd": svd,
}

INTERNAL_OPS: Final[dict[str, Callable[..., Any]]] = {name: _quietly(f) for name, f in _FUNCTIONS.items()}
"""For each internal primitive the NumPy function: arrays by position, statics by keyword."""
