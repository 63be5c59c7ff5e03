"""Ball arithmetic, continued: products, and matrices as `flint.arb_mat`.

Arrays of balls enter `OPS[name](*arrays, **statics)`, arrays of balls leave. Matrix products go through `arb_mat`,
which is some sixteen times as fast as NumPy's loop over objects. Where a matrix can't be inverted, or the balls don't
say whether it can, the answer is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import flint
import numpy as np

from gradbench.reference.balls import enclosure_array
from gradbench.reference.balls.lift import Balls, balls, boxed, is_factor, lift, matrix, zeros

arb: Final = flint.arb
_HALF: Final = arb(0.5)


def array(x: Any) -> Balls:
    """An `arb_mat` as a 2-d array of balls."""
    return balls(x.entries(), (x.nrows(), x.ncols()))


def product(x1: Balls, x2: Balls) -> Balls:
    """The product of two matrices: shapes (n, k) and (k, m) to (n, m)."""
    if 0 in (*x1.shape, *x2.shape):
        return zeros((x1.shape[0], x2.shape[1]))
    if x1.shape[1] == 1:
        return lift(x1) * lift(x2)
    return array(matrix(x1) * matrix(x2))


def stacked(f: Callable[..., Balls], *arrays: Balls) -> Balls:
    """A function of matrices as one of stacks of them that broadcast."""
    batch = np.broadcast_shapes(*(x.shape[:-2] for x in arrays))
    if not batch:
        return f(*arrays)
    spread = [np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in arrays]
    found = [np.asarray(f(*(x[i] for x in spread))) for i in np.ndindex(*batch)]
    return np.stack(found).reshape(*batch, *found[0].shape) if found else _empty(f, batch, spread)


def _empty(f: Callable[..., Balls], batch: tuple[int, ...], arrays: list[Balls]) -> Balls:
    one = f(*(np.full(x.shape[-2:], arb(1), object) for x in arrays))
    return zeros((*batch, *one.shape))


def matmul(x1: Any, x2: Any) -> Balls:
    """As NumPy's: vectors are rows or columns, stacks broadcast."""
    left, right = (x if is_factor(x) else lift(x) for x in (x1, x2))
    row, column = left.ndim == 1, right.ndim == 1
    found = stacked(product, left[None] if row else left, right[:, None] if column else right)
    return boxed(found[(..., *((0,) if row else (slice(None),)), *((0,) if column else (slice(None),)))])


def _vecdot(x1: Any, x2: Any, *, axis: int = -1) -> Balls:
    return enclosure_array.total(np.moveaxis(lift(x1), axis, -1) * np.moveaxis(lift(x2), axis, -1))


def _kron(x1: Any, x2: Any) -> Balls:
    left, right = lift(x1), lift(x2)
    rank = left.ndim
    spread = left[tuple(x for _ in range(rank) for x in (slice(None), None))]
    against = right[tuple(x for _ in range(rank) for x in (None, slice(None)))]
    return (spread * against).reshape([n * m for n, m in zip(left.shape, right.shape, strict=True)])


def _cross(x1: Any, x2: Any) -> Balls:
    left, right = np.broadcast_arrays(lift(x1), lift(x2))
    a, b = ((x[..., 0], x[..., 1], x[..., 2]) for x in (left, right))
    return np.stack([a[i] * b[j] - a[j] * b[i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=-1)


def _tensordot(x1: Any, x2: Any, *, axes: int = 2) -> Balls:
    left, right = lift(x1), lift(x2)
    cut = left.ndim - axes
    rows, inner, columns = (math.prod(part) for part in (left.shape[:cut], right.shape[:axes], right.shape[axes:]))
    found = product(left.reshape(rows, inner), right.reshape(inner, columns))
    return found.reshape(left.shape[:cut] + right.shape[axes:])


def _einsum(*operands: Any, subscripts: str) -> Balls:
    """Pair by pair, each pair a stack of matrix products: letters in both are summed as soon as nobody needs them."""
    left, _, result = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    found: Balls
    letters, found = _single(terms[0], lift(operands[0]), set(result).union(*terms[1:]))
    for i in range(1, len(terms)):
        needed = set(result).union(*terms[i + 1 :])
        other, operand = _single(terms[i], lift(operands[i]), needed | set(letters))
        letters, found = _pair(letters, found, other, operand, needed)
    return boxed(np.transpose(found, [letters.index(letter) for letter in result]))


def _single(letters: str, x: Balls, needed: set[str]) -> tuple[str, Balls]:
    """One operand with each letter once, and summed over those that nobody else needs."""
    for letter in sorted({a for a in letters if letters.count(a) > 1}):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            x = np.diagonal(x, axis1=first, axis2=second)
            letters = letters[:first] + letters[first + 1 : second] + letters[second + 1 :] + letter
    gone = tuple(i for i, letter in enumerate(letters) if letter not in needed)
    if gone:
        x = enclosure_array.OPS["sum"](x, axis=gone)
    return "".join(letter for letter in letters if letter in needed), x


def _pair(a: str, x: Balls, b: str, y: Balls, needed: set[str]) -> tuple[str, Balls]:
    """Two operands as one."""
    shared = [letter for letter in a if letter in b]
    batch = [letter for letter in shared if letter in needed]
    inner = [letter for letter in shared if letter not in needed]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    sizes = {**dict(zip(a, x.shape, strict=True)), **dict(zip(b, y.shape, strict=True))}

    def folded(term: str, operand: Balls, *groups: list[str]) -> Balls:
        moved = np.transpose(operand, [term.index(c) for group in groups for c in group])
        return moved.reshape([math.prod(sizes[c] for c in group) for group in groups])

    found = stacked(product, folded(a, x, batch, rows, inner), folded(b, y, batch, inner, columns))
    letters = [*batch, *rows, *columns]
    return "".join(letters), found.reshape([sizes[c] for c in letters])


def _trace(x: Any) -> Balls:
    return enclosure_array.total(np.diagonal(lift(x), axis1=-2, axis2=-1))


def determinant(x: Balls) -> Any:
    """The determinant of one matrix, as a ball. Of an exact one it is decided whether it is 0."""
    found = matrix(x).det()
    return _exact_determinant(x) if found.contains(0) and not found.is_exact() else found


def _exact_determinant(x: Balls) -> Any:
    """By whole numbers, if the entries are exact; each is one times a power of 2."""
    entries = x.ravel().tolist()
    if not all(entry.is_exact() and entry.is_finite() for entry in entries):
        return matrix(x).det()
    parts = [entry.man_exp() for entry in entries]
    least = min(int(exponent) for mantissa, exponent in parts if mantissa) if any(m for m, _ in parts) else 0
    if max((int(e) - least for m, e in parts if m), default=0) > _WIDEST:
        return matrix(x).det()
    whole = [mantissa << (int(exponent) - least) if mantissa else flint.fmpz(0) for mantissa, exponent in parts]
    n = x.shape[0]
    return arb(flint.fmpz_mat(n, n, whole).det()) * arb(2) ** (least * n)


_WIDEST: Final = 4_096
"""Entries whose exponents differ by more than this aren't made whole numbers: it would take too long."""


def inverse(x: Balls) -> Balls:
    """The inverse of one matrix."""
    return array(matrix(x).inv(nonstop=True)) if x.size else x


def _solved(x1: Balls, x2: Balls) -> Balls:
    return array(matrix(x1).solve(matrix(x2), nonstop=True)) if x2.size else x2


def _system(f: Callable[[Balls, Balls], Balls]) -> Callable[..., Balls]:
    def solve(x1: Any, x2: Any, **statics: Any) -> Balls:
        left, right = lift(x1), lift(x2)
        chosen = (lambda a, b: f(a, b, **statics)) if statics else f
        if right.ndim == 1:
            return stacked(chosen, left, right[:, None])[..., 0]
        return stacked(chosen, left, right)

    return solve


def _substituted(x1: Balls, x2: Balls, *, lower: bool = True) -> Balls:
    """Row by row, reading one triangle: Golub and Van Loan (2013), section 3.1."""
    n = x1.shape[0]
    found = zeros(x2.shape)
    for i in range(n) if lower else reversed(range(n)):
        done = slice(0, i) if lower else slice(i + 1, n)
        found[i] = (x2[i] - product(x1[i : i + 1, done], found[done])[0]) / x1[i, i]
    return found


def symmetric(x: Balls) -> Balls:
    """The symmetric part of matrices."""
    return (x + np.swapaxes(x, -2, -1)) * _HALF


def _factor(x: Balls) -> Balls:
    """The lower Cholesky factor of the symmetric part, column by column: Golub and Van Loan (2013), section 4.2."""
    left = symmetric(x)
    n = x.shape[0]
    found = zeros((n, n))
    for j in range(n):
        column = left[j:, j] - product(found[j:, :j], found[j : j + 1, :j].T)[:, 0]
        pivot = column[0].sqrt()
        found[j:, j] = column / pivot
        found[j, j] = pivot
    return found


def _power(x: Any, *, n: int) -> Balls:
    return stacked(lambda one: _one_power(one, n), lift(x))


def _one_power(x: Balls, n: int) -> Balls:
    if n < 0:
        return _one_power(inverse(x), -n)
    found, left = None, n
    while left:
        if left & 1:
            found = x if found is None else product(found, x)
        left >>= 1
        x = product(x, x) if left else x
    return enclosure_array.OPS["diag"](np.full(x.shape[0], arb(1), object)) if found is None else found


def _exponential(x: Balls) -> Balls:
    return array(matrix(x).exp()) if x.size else x


def eigenvalues(x: Balls) -> list[Any]:
    """Balls of the eigenvalues of the symmetric part of one matrix, ascending, each as often as it occurs."""
    left = symmetric(x)
    if not all(ball.is_finite() for ball in left.ravel()):
        return [arb("nan")] * x.shape[0]
    if all(left[i, j].is_zero() for i in range(x.shape[0]) for j in range(i)):
        return enclosure_array.ordered(np.diagonal(left).tolist())
    try:
        found = [value.real for value in matrix(left).eig(multiple=True)]
    except ValueError:  # it doesn't isolate two clusters of equal eigenvalues
        found = []
    if not found or not all(value.is_finite() for value in found):
        found = _discs(left)
    return enclosure_array.ordered(found)


def _discs(x: Balls) -> list[Any]:
    """Gershgorin's discs of V⁻¹ x V, with V near the eigenvectors: those that overlap hold as many eigenvalues as they are.

    V is exact and its error doesn't matter: it only makes the discs wide (Golub and Van Loan 2013, section 7.2).
    """
    n = x.shape[0]
    _, vectors = flint.acb_mat(matrix(x).mid()).eig(right=True, algorithm="approx")
    similar = flint.arb_mat(n, n, [value.real.mid() for value in vectors.entries()])
    turned = array(similar.solve(matrix(x) * similar, nonstop=True))
    sizes = np.frompyfunc(abs, 1, 1)(turned)
    np.fill_diagonal(sizes, arb(0))
    spread = enclosure_array.total(sizes)
    # x is symmetric, so its eigenvalues are real: of a disc only the interval on the line counts.
    discs = [turned[i, i] + (-spread[i]).union(spread[i]) for i in range(n)]
    if not all(disc.is_finite() for disc in discs):
        return [arb("nan")] * n
    groups: list[list[Any]] = []
    for disc in sorted(discs, key=arb.mid):
        joined = [disc]
        while groups and _hull(groups[-1]).overlaps(_hull(joined)):
            joined = groups.pop() + joined
        groups.append(joined)
    return [_hull(group) for group in groups for _ in group]


def _hull(group: list[Any]) -> Any:
    hull = group[0]
    for ball in group[1:]:
        hull = hull.union(ball)
    return hull


def _eigenvalues(x: Balls) -> Balls:
    return balls(eigenvalues(x), x.shape[:1])


def _singular_values(x: Balls) -> Balls:
    """Roots of the eigenvalues of the smaller Gram matrix, at twice the precision, as a root halves the digits."""
    with flint.ctx.workprec(2 * flint.ctx.prec + 32):
        gram = product(x, x.T) if x.shape[0] <= x.shape[1] else product(x.T, x)
        squares = [value.nonnegative_part() if not value > 0 else value for value in eigenvalues(gram)]
        return balls([value.sqrt() for value in reversed(squares)], (len(squares),))


def _signed_logarithm(x: Any) -> tuple[Balls, Balls]:
    found = _each_matrix(determinant)(x)
    sign = np.frompyfunc(arb.sgn, 1, 1)(found)
    return boxed(sign), boxed(np.frompyfunc(lambda d: abs(d).log(), 1, 1)(found))


def _each_matrix(f: Callable[[Balls], Any]) -> Callable[[Any], Balls]:
    return lambda x: stacked(lambda one: boxed(f(one)), lift(x))


def _matrix_norm(x: Any, *, keepdims: bool = False) -> Balls:
    found: Balls = enclosure_array.OPS["vector_norm"](x, axis=(-2, -1), keepdims=keepdims)
    return found


OPS: Final[dict[str, Callable[..., Any]]] = {
    "matmul": matmul,
    "vecdot": _vecdot,
    "outer": lambda x1, x2: lift(x1)[:, None] * lift(x2)[None, :],
    "kron": _kron,
    "cross": _cross,
    "tensordot": _tensordot,
    "einsum": _einsum,
    "trace": _trace,
    "det": _each_matrix(determinant),
    "inv": _each_matrix(inverse),
    "cholesky": _each_matrix(_factor),
    "matrix_power": _power,
    "expm": _each_matrix(_exponential),
    "eigvalsh": _each_matrix(_eigenvalues),
    "solve": _system(_solved),
    "solve_triangular": _system(_substituted),
    "matrix_norm": _matrix_norm,
    "svdvals": _each_matrix(_singular_values),
    "slogdet": _signed_logarithm,
}
