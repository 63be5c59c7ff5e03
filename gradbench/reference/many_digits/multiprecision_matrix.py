"""Linear algebra on small matrices of numbers with as many digits as one likes.

An mpmath context and matrices, NumPy arrays of its numbers, enter `OPS[name]`; a matrix, a vector or a number leaves.
Textbook algorithms: speed comes from small sizes, accuracy from digits. A singular matrix has NaN for its inverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from gradbench.query import Array

Context = Any
"""An mpmath context."""

Number = Any
"""One of its numbers."""


def eliminate(mp: Context, a: Array, b: Array) -> tuple[Number, Array]:
    """The determinant of a, shape (n, n), and the solution of a x = b, of b's shape (n, k); NaN if a is singular.

    Gaussian elimination with partial pivoting; Golub and Van Loan (2013), Matrix Computations, section 3.4.
    """
    n = len(a)
    table = np.concatenate([a, b], axis=1)
    determinant = mp.one
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: abs(table[i, k]))
        if table[pivot, k] == 0:
            return mp.zero, np.full(b.shape, mp.nan, object)
        if pivot != k:
            table[[k, pivot]] = table[[pivot, k]]
            determinant = -determinant
        determinant *= table[k, k]
        for i in range(k + 1, n):
            table[i, k:] = table[i, k:] - table[i, k] / table[k, k] * table[k, k:]
    return determinant, _substitute(table[:, :n], table[:, n:], lower=False)


def _substitute(a: Array, b: Array, *, lower: bool) -> Array:
    x, n = b.copy(), len(a)
    for i in range(n) if lower else reversed(range(n)):
        done = range(i) if lower else range(i + 1, n)
        for j in done:
            x[i] = x[i] - a[i, j] * x[j]
        x[i] = x[i] / a[i, i]
    return x


def _identity(mp: Context, n: int) -> Array:
    found = np.full((n, n), mp.zero, object)
    np.fill_diagonal(found, mp.one)
    return found


def det(mp: Context, x: Array) -> Number:
    """The determinant, a number."""
    return eliminate(mp, x, x[:, :0])[0]


def slogdet(mp: Context, x: Array) -> tuple[Number, Number]:
    """The sign (or phase) of the determinant, and the logarithm of its size."""
    found = det(mp, x)
    return mp.sign(found), mp.log(abs(found))


def solve(mp: Context, x1: Array, x2: Array) -> Array:
    """The solution x of x1 x = x2, shape (n, k)."""
    return eliminate(mp, x1, x2)[1]


def inv(mp: Context, x: Array) -> Array:
    """The inverse, shape (n, n)."""
    return solve(mp, x, _identity(mp, len(x)))


def solve_triangular(mp: Context, x1: Array, x2: Array, *, lower: bool = True) -> Array:
    """The same where only one triangle of x1 counts."""
    if any(x1[i, i] == 0 for i in range(len(x1))):
        return np.full(x2.shape, mp.nan, object)
    return _substitute(x1, x2, lower=lower)


def _symmetric(mp: Context, x: Array) -> Array:
    conjugate = np.frompyfunc(mp.conj, 1, 1)
    return (x + conjugate(x.T)) / 2 if x.size else x


def cholesky(mp: Context, x: Array) -> Array:
    """The lower factor of the symmetric part, shape (n, n); NaN unless that is positive definite.

    Golub and Van Loan (2013), Matrix Computations, section 4.2.
    """
    a, n = _symmetric(mp, x), len(x)
    found = np.full((n, n), mp.zero, object)
    for j in range(n):
        for i in range(j, n):
            rest = a[i, j] - sum((found[i, k] * mp.conj(found[j, k]) for k in range(j)), mp.zero)
            if i > j:
                found[i, j] = rest / found[j, j]
            elif mp.re(rest) > 0:
                found[j, j] = mp.sqrt(mp.re(rest))
            else:
                return np.full((n, n), mp.nan, object)
    return found


def matrix_power(mp: Context, x: Array, *, n: int) -> Array:
    """The matrix to a whole power, by squaring."""
    base, found = (inv(mp, x) if n < 0 else x), _identity(mp, len(x))
    for bit in f"{abs(n):b}":
        found = found.dot(found)
        if bit == "1":
            found = found.dot(base)
    return found


def expm(mp: Context, x: Array) -> Array:
    """The matrix exponential, by scaling, Taylor's series and squaring; Moler and Van Loan (2003), method 3."""
    norm = max((sum(abs(entry) for entry in row) for row in x), default=mp.zero)
    if not mp.isfinite(norm):
        return np.full(x.shape, mp.nan, object)
    halvings = max(0, int(mp.mag(norm))) + 8 if norm else 0
    with mp.extraprec(2 * halvings + 20):
        small = x * mp.mpf(2) ** -halvings
        term = found = _identity(mp, len(x))
        count = 0
        while count == 0 or any(abs(entry) > mp.eps for entry in term.flat):
            count += 1
            term = term.dot(small) / count
            found = found + term
        for _ in range(halvings):
            found = found.dot(found)
    return found


def _finite(mp: Context, x: Array) -> bool:
    return all(mp.isfinite(entry) for entry in x.flat)


def _is_complex(mp: Context, x: Array) -> bool:
    return any(isinstance(entry, mp.mpc) for entry in x.flat)


def eigvalsh(mp: Context, x: Array) -> Array:
    """The eigenvalues of the symmetric part, ascending, shape (n,)."""
    found = np.full(len(x), mp.nan, object)
    if len(x) and _finite(mp, x):
        solver = mp.eighe if _is_complex(mp, x) else mp.eigsy
        found[:] = sorted(solver(mp.matrix(_symmetric(mp, x).tolist()), eigvals_only=True))
    return found


def svdvals(mp: Context, x: Array) -> Array:
    """The singular values, descending, shape (min(n, m),)."""
    found = np.full(min(x.shape), mp.nan, object)
    if x.size and _finite(mp, x):
        solver = mp.svd_c if _is_complex(mp, x) else mp.svd_r
        found[:] = sorted(solver(mp.matrix(x.tolist()), compute_uv=False), reverse=True)
    return found


OPS: Final[dict[str, Callable[..., Any]]] = {
    f.__name__: f
    for f in (det, slogdet, solve, inv, solve_triangular, cholesky, matrix_power, expm, eigvalsh, svdvals)
}  # fmt: skip
"""For each primitive a function of the context and of one matrix, or two."""
