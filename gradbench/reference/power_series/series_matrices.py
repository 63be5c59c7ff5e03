"""Linear algebra over power series.

Matrices whose entries are `Series` enter and leave. A matrix of series is also a series of matrices, A(t) = A0 + A1 t + ...,
and mostly is worked with as such, because FLINT multiplies, inverts and exponentiates matrices of balls.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import flint
import numpy as np

from gradbench.errors import Unsupported
from gradbench.reference.power_series.series_arrays import Op
from gradbench.reference.power_series.series_functions import log
from gradbench.reference.power_series.series_ring import (
    Array,
    Fault,
    Ring,
    Series,
    Singular,
    Undecided,
    divided,
    faulty,
    positive,
)

Powers = list[Any]
"""The coefficients A0, A1, ... of a matrix, each a `flint.arb_mat`; those left out at the end are 0."""


def _powers(matrix: Array) -> Powers:
    """A matrix of series as a series of matrices."""
    rows, columns = matrix.shape
    terms = [entry.terms for entry in matrix.flat]
    count = max((term.length() for term in terms), default=0) or 1
    return [flint.arb_mat(rows, columns, [term[k] for term in terms]) for k in range(count)]


def _matrix(powers: Powers, known: int, degree: float) -> Array:
    """A series of matrices as a matrix of series."""
    rows, columns = powers[0].nrows(), powers[0].ncols()
    coefficients = zip(*(power.entries() for power in powers), strict=True)
    found = np.empty(rows * columns, object)
    found[:] = [Series(flint.arb_series(list(entry), known), degree) for entry in coefficients]
    return found.reshape(rows, columns)


def _bounds(*matrices: Array) -> tuple[int, list[float]]:
    """How many coefficients of all entries are known, and the degree of each matrix."""
    known = min((entry.known for matrix in matrices for entry in matrix.flat), default=1)
    return known, [max((entry.degree for entry in matrix.flat), default=0) for matrix in matrices]


def product(a: Array, b: Array) -> Array:
    """The product of two matrices. Shapes (n, k) and (k, m) to (n, m). A fault stays in its row or column."""
    if any(entry.fault for matrix in (a, b) for entry in matrix.flat) or 0 in (*a.shape, *b.shape):
        found: Array = a @ b
        return found
    known, (first, second) = _bounds(a, b)
    left, right = _powers(a), _powers(b)
    count = min(known, len(left) + len(right) - 1)
    pairs = [[(i, k - i) for i in range(k + 1) if i < len(left) and k - i < len(right)] for k in range(count)]
    products = [functools.reduce(lambda x, y: x + y, (left[i] * right[j] for i, j in each)) for each in pairs]
    return _matrix(products, known, first + second)


def _matmul(ring: Ring, x1: Any, x2: Any) -> Array:
    a, b = ring.array(x1), ring.array(x2)
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    found = stacked(product, left, right)
    found = found[..., 0] if b.ndim == 1 else found
    return np.asarray(found[..., 0] if a.ndim == b.ndim == 1 else found[..., 0, :] if a.ndim == 1 else found, object)


def _tensordot(ring: Ring, x1: Any, x2: Any, axes: int = 2) -> Array:
    a, b = ring.array(x1), ring.array(x2)
    shared = math.prod(b.shape[:axes])
    kept = a.shape[: a.ndim - axes] + b.shape[axes:]
    return product(a.reshape(-1, shared), b.reshape(shared, -1)).reshape(kept)


def _einsum(ring: Ring, *operands: Any, subscripts: str) -> Array:
    """Two operands whose labels are each their own are multiplied as matrices, which is much faster; else NumPy's."""
    arrays = [ring.array(operand) for operand in operands]
    inputs, _, out = subscripts.replace(" ", "").partition("->")
    labels = inputs.split(",")
    plain = "->" in subscripts and "." not in subscripts and len(arrays) == 2
    if (
        plain
        and all(len(set(names)) == len(names) for names in labels)
        and set(inputs) <= {*out, ",", *_shared(labels)}
    ):
        sizes = [dict(zip(names, array.shape, strict=True)) for names, array in zip(labels, arrays, strict=True)]
        if all(sizes[0][name] == sizes[1][name] for name in _shared(labels)):
            return _contracted(arrays, labels, sizes[0] | sizes[1], out)
    return np.asarray(np.einsum(subscripts.replace(" ", ""), *arrays), object)


def _shared(labels: list[str]) -> list[str]:
    return [name for name in labels[0] if name in labels[1]]


def _contracted(arrays: list[Array], labels: list[str], sizes: dict[str, int], out: str) -> Array:
    """The sum over the labels that both operands have and the output has not, matrix by matrix of the other shared ones."""
    shared = _shared(labels)
    batch, inner = [n for n in shared if n in out], [n for n in shared if n not in out]
    free = [[name for name in names if name not in shared] for names in labels]

    def arranged(i: int, *groups: list[str]) -> Array:
        order = [labels[i].index(name) for group in (batch, *groups) for name in group]
        shape = [sizes[name] for name in batch] + [math.prod(sizes[name] for name in group) for group in groups]
        return arrays[i].transpose(order).reshape(shape)

    names = [*batch, *free[0], *free[1]]
    found = stacked(product, arranged(0, free[0], inner), arranged(1, inner, free[1]))
    return found.reshape([sizes[name] for name in names]).transpose([names.index(name) for name in out])


def stacked(f: Callable[..., Any], *stacks: Array) -> Array:
    """What f makes of each matrix of some stacks of matrices, which broadcast; a fault in every place of what it raised in."""
    batch = np.broadcast_shapes(*(stack.shape[:-2] for stack in stacks))
    spread = [np.broadcast_to(stack, (*batch, *stack.shape[-2:])) for stack in stacks]
    answers = [np.asarray(f(*(stack[index] for stack in spread)), object) for index in np.ndindex(batch)]
    if not answers:
        raise Unsupported("an empty stack of matrices")
    found = np.empty((len(answers), *answers[0].shape), object)
    for i, answer in enumerate(answers):
        found[i, ...] = answer
    return found.reshape((*batch, *answers[0].shape))


def guarded(f: Callable[..., Any], shape: Callable[..., tuple[int, ...]]) -> Callable[..., Any]:
    """The function f, or where it raises a fault, or an entry has one, that fault in an array of the shape."""

    def guarded(*matrices: Array) -> Any:
        fault = next((entry.fault for matrix in matrices for entry in matrix.flat if entry.fault), None)
        if fault is None:
            try:
                return f(*matrices)
            except Fault as error:
                fault = error
        found = np.empty(shape(*matrices), object)
        found.fill(faulty(fault))
        return found

    return guarded


def _square(f: Callable[[Array], Array]) -> Op:
    def op(ring: Ring, x: Any) -> Array:
        return stacked(guarded(f, lambda a: a.shape), ring.array(x))

    return op


# Elimination


def _det(matrix: Array) -> Series:
    """By elimination, with pivots that aren't 0; where there is none left, without division, which keeps a 0 exact."""
    a, n = matrix.copy(), len(matrix)
    found = Series(flint.arb_series([1], _bounds(a)[0] if n else 1), 0)
    for k in range(n):
        pivots = [i for i in range(k, n) if not a[i, k].first.contains(0)]
        if not pivots:
            return _det_without_division(matrix)
        best = max(pivots, key=lambda i: abs(a[i, k].first.mid()))
        if best != k:
            a[[k, best]] = a[[best, k]]
            found = -found
        found = found * a[k, k]
        for i in range(k + 1, n):
            if a[i, k].terms.length():
                a[i, k + 1 :] = a[i, k + 1 :] - a[k, k + 1 :] * divided(a[i, k], a[k, k])
    return found


def _det_without_division(a: Array) -> Series:
    """Bird (2011), A simple division-free algorithm for computing determinants, Inf. Process. Lett. 111."""
    n = len(a)
    power = a
    for _ in range(n - 1):
        upper = np.triu(np.ones((n, n), bool), 1)
        mixed = np.where(upper, power, np.asarray(a[0, 0].zero(), object))
        below = [-sum((power[j, j] for j in range(i + 1, n)), a[0, 0].zero()) for i in range(n)]
        for i in range(n):
            mixed[i, i] = below[i]
        power = product(mixed, a)
    found: Series = power[0, 0]
    return found if n % 2 else -found


def _slogdet(ring: Ring, x: Any) -> tuple[Array, Array]:
    def both(matrix: Array) -> Array:
        det = _det(matrix)
        if det.first.contains(0):
            raise Singular("slogdet") if det.first.is_zero() else Undecided("slogdet")
        sign = 1 if det.first > 0 else -1
        return np.asarray([det.zero() + sign, log(det * sign, "slogdet")], object)

    found = stacked(guarded(both, lambda _: (2,)), ring.array(x))
    return np.asarray(found[..., 0], object), np.asarray(found[..., 1], object)


def _solution(primitive: str, a: Array, b: Array) -> Array:
    """X with A X = B: A0 Xk = Bk - sum of Ai X(k-i)."""
    known, _ = _bounds(a, b)
    left, right = _powers(a), _powers(b)
    found: Powers = []
    zero = flint.arb_mat(*b.shape)
    try:
        for k in range(known):
            rest = right[k] if k < len(right) else zero
            for i in range(1, min(k, len(left) - 1) + 1):
                rest = rest - left[i] * found[k - i]
            found.append(left[0].solve(rest))
    except ZeroDivisionError:
        raise _no_inverse(primitive, a) from None
    degree = 0 if all(entry.degree == 0 for m in (a, b) for entry in m.flat) else math.inf
    return _matrix(found, known, degree)


def _no_inverse(primitive: str, a: Array) -> Fault:
    """Why a matrix that FLINT can't invert has no inverse: because its determinant is 0, or because of the balls."""
    if not all(entry.first.is_exact() for entry in a.flat):
        return Undecided(primitive)
    entries = [entry.first.fmpq() for entry in a.flat]
    return Singular(primitive) if flint.fmpq_mat(*a.shape, entries).det() == 0 else Undecided(primitive)


def identity(like: Array) -> Array:
    """The identity matrix of the shape of another."""
    zero = like[0, 0].zero()
    return np.where(np.eye(len(like), dtype=bool), np.asarray(zero + 1, object), np.asarray(zero, object))


def _inv(matrix: Array, primitive: str = "inv") -> Array:
    return _solution(primitive, matrix, identity(matrix))


def _linear(f: Callable[[Array, Array], Array]) -> Op:
    """f(matrix, right-hand sides), where a right-hand side may also be one vector."""

    def op(ring: Ring, x1: Any, x2: Any) -> Array:
        a, b = ring.array(x1), ring.array(x2)
        found = stacked(guarded(f, lambda _, b: b.shape), a, b[:, None] if b.ndim == 1 else b)
        return found[..., 0] if b.ndim == 1 else found

    return op


def _solve_triangular(ring: Ring, x1: Any, x2: Any, lower: bool = True) -> Array:
    def substituted(a: Array, b: Array) -> Array:
        n, x = len(a), b.copy()
        for i in range(n) if lower else range(n - 1, -1, -1):
            for j in range(i) if lower else range(i + 1, n):
                x[i] = x[i] - x[j] * a[i, j]
            x[i] = [divided(entry, a[i, i], "solve_triangular") for entry in x[i]]
        return x

    found: Array = _linear(substituted)(ring, x1, x2)
    return found


def symmetric(matrix: Array) -> Array:
    """(A + A^T)/2, exactly."""
    half: Array = (matrix + matrix.T) * flint.arb(0.5)
    return half


def _cholesky(matrix: Array) -> Array:
    a, n = symmetric(matrix), len(matrix)
    found = np.empty_like(a)
    found.fill(a[0, 0].zero())
    for j in range(n):
        pivot = functools.reduce(lambda rest, k: rest - found[j, k] * found[j, k], range(j), a[j, j])
        if pivot.first.contains(0):
            raise _no_inverse("cholesky", a[: j + 1, : j + 1])
        found[j, j] = pivot.of(positive(pivot, "cholesky").terms.sqrt())
        for i in range(j + 1, n):
            rest = functools.reduce(lambda rest, k: rest - found[i, k] * found[j, k], range(j), a[i, j])
            found[i, j] = divided(rest, found[j, j], "cholesky")
    return found


# Powers


def _matrix_power(ring: Ring, x: Any, n: int) -> Array:
    def power(matrix: Array) -> Array:
        base = _inv(matrix, "matrix_power") if n < 0 else matrix
        found, left = identity(matrix), abs(n)
        while left:
            found = product(found, base) if left % 2 else found
            left //= 2
            base = product(base, base) if left else base
        return found

    return stacked(guarded(power, lambda a: a.shape), ring.array(x))


def _expm(matrix: Array) -> Array:
    """A0 + A1 t + ... behaves as the block matrix with A0 on the diagonal, A1 above it, and so on (Higham 2008, 3.2)."""
    powers, n = _powers(matrix), len(matrix)
    known, (degree,) = _bounds(matrix)
    blocks = known if len(powers) > 1 else 1
    whole = flint.arb_mat(n * blocks, n * blocks)
    for k, power in enumerate(powers):
        for block in range(blocks - k):
            for i in range(n):
                for j in range(n):
                    whole[block * n + i, (block + k) * n + j] = power[i, j]
    whole = whole.exp()
    found = [flint.arb_mat(n, n, [whole[i, k * n + j] for i in range(n) for j in range(n)]) for k in range(blocks)]
    return _matrix(found, known, 0 if degree == 0 else math.inf)


OPS: Final[dict[str, Op]] = {
    "matmul": _matmul,
    "tensordot": _tensordot,
    "einsum": _einsum,
    "det": lambda ring, x: stacked(guarded(lambda a: np.asarray(_det(a), object), lambda _: ()), ring.array(x)),
    "slogdet": _slogdet,
    "inv": _square(_inv),
    "solve": _linear(functools.partial(_solution, "solve")),
    "solve_triangular": _solve_triangular,
    "cholesky": _square(_cholesky),
    "matrix_power": _matrix_power,
    "expm": _square(_expm),
}
"""For each primitive of linear algebra but the spectral ones: the ring, arrays by position, statics by keyword."""
