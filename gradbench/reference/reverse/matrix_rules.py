"""How products, matrix functions and decompositions pull a cotangent back.

`RULES` leaves; see `reverse_rules` for what a rule is. Sources: Giles (2008), Collected Matrix Derivative Results for
Forward and Reverse Mode Algorithmic Differentiation; for `cholesky` Murray (2016), Differentiation of the Cholesky
decomposition, section 3.3; for `expm` Higham (2008), Functions of Matrices, theorem 3.6; for `svd` Townsend (2016),
Differentiating the Singular Value Decomposition. Matrices that are read as symmetric get symmetric cotangents.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, Final

from gradbench.reference.reverse.term import Rule, Term

# Products


def _matmul(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Term, Term]:
    left, right = _row(x1), _column(x2)
    shape = list(g.shape)
    if x1.rank == 1:
        shape.insert(len(shape) - (x2.rank > 1), 1)
    if x2.rank == 1:
        shape.append(1)
    up = g.reshape(shape)
    return (
        (up @ right.T).gathered(left.shape).reshape(x1.shape),
        (left.T @ up).gathered(right.shape).reshape(x2.shape),
    )


def _row(x: Term) -> Term:
    return x.reshape((1, *x.shape)) if x.rank == 1 else x


def _column(x: Term) -> Term:
    return x.reshape((*x.shape, 1)) if x.rank == 1 else x


def _vecdot(g: Term, _y: Term, x1: Term, x2: Term, axis: int) -> tuple[Term, Term]:
    if axis >= 0:
        axis -= min(x1.rank, x2.rank)
    up = g.apply("expand_dims", axis=axis)
    return (up * x2).conj() if x1.is_complex else up * x2, up * x1.conj()


def _outer(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Term, Term]:
    return g @ x2, x1 @ g


def _kron(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Term, Term]:
    pairs = list(zip(x1.shape, x2.shape, strict=True))
    up = g.reshape([n for pair in pairs for n in pair])
    left = x1.reshape([n for a, _ in pairs for n in (a, 1)])
    right = x2.reshape([n for _, b in pairs for n in (1, b)])
    odd, even = tuple(range(1, 2 * x1.rank, 2)), tuple(range(0, 2 * x1.rank, 2))
    return (up * right).sum(odd), (up * left).sum(even)


def _cross(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Term, Term]:
    return x2.apply("cross", g), g.apply("cross", x1)


def _tensordot(g: Term, _y: Term, x1: Term, x2: Term, axes: int) -> tuple[Term, Term]:
    first = string.ascii_letters[: x1.rank]
    kept, summed = first[: x1.rank - axes], first[x1.rank - axes :]
    rest = string.ascii_letters[x1.rank : x1.rank + x2.rank - axes]
    one, other = _einsum(g, g, x1, x2, subscripts=f"{kept}{summed},{summed}{rest}->{kept}{rest}")
    return one, other


def _einsum(g: Term, _y: Term, *operands: Term, subscripts: str) -> list[Term]:
    left, _, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    return [_einsum_one(g, right, terms, operands, i) for i in range(len(operands))]


def _einsum_one(g: Term, right: str, terms: Sequence[str], operands: Sequence[Term], place: int) -> Term:
    """The cotangent of one operand: the sum over everything that isn't in it.

    A letter that stands in it alone was summed away, so its cotangent is the same all along; a letter that stands in
    it twice took a diagonal, so its cotangent is 0 off the diagonal.
    """
    term, x = terms[place], operands[place]
    others = [(terms[i], operands[i]) for i in range(len(terms)) if i != place]
    free = iter(c for c in string.ascii_letters if c not in right + "".join(terms))
    wanted = ""
    for letter, size in zip(term, x.shape, strict=True):
        if letter in wanted:
            twin = next(free)
            others.append((letter + twin, g.tape.eye(size, size)))
            wanted += twin
        else:
            wanted += letter
    known = right + "".join(t for t, _ in others)
    found = "".join(letter for letter in wanted if letter in known)
    subscripts = ",".join([right, *(t for t, _ in others)]) + "->" + found
    if not right:
        # The cotangent is one number: every letter is the others' own, and an empty term would puzzle some ops.
        scaled = g.tape.apply("einsum", *(o for _, o in others), subscripts=subscripts[1:]) if others else g
        answer: Term = g * scaled if others else g
    else:
        answer = g.tape.apply("einsum", g, *(o for _, o in others), subscripts=subscripts)
    shape = [n if letter in found else 1 for letter, n in zip(wanted, x.shape, strict=True)]
    return answer.reshape(shape).spread(x.shape)


# Diagonals


def _on_diagonal(g: Term, shape: Sequence[int]) -> Term:
    """Zeros (..., n, m) with g (..., k), or one number for each matrix (..., 1), on their main diagonals."""
    rows, columns = shape[-2:]
    if rows > columns and g.shape[-1] > 1:
        return _on_diagonal(g, (*shape[:-2], columns, rows)).T
    return g.reshape((*g.shape, 1)) * g.tape.eye(rows, columns)


def _diagonal(g: Term, _y: Term, x: Term) -> tuple[Term]:
    return (_on_diagonal(g, x.shape),)


def _trace(g: Term, _y: Term, x: Term) -> tuple[Term]:
    return (_on_diagonal(g.reshape((*g.shape, 1)), x.shape),)


def _scale(g: Term) -> Term:
    """One number for each matrix, as a matrix of one entry."""
    return g.reshape((*g.shape, 1, 1))


# Functions of square matrices


def _inv(g: Term, y: Term, _x: Term) -> tuple[Term]:
    return (-(y.T @ g @ y.T),)


def _slogdet(g: tuple[Any, Any], y: tuple[Term, Term], x: Term) -> tuple[Any]:
    """Both come of log(det(x)): its real part is the second, and the sign is exp(i Im), which a real one isn't."""
    parts = [] if g[1] is None else [g[1]]
    if g[0] is not None and x.is_complex:
        parts.append(1j * (g[0] * y[0]).apply("imag"))
    return (_scale(sum(parts[1:], parts[0])) * x.apply("inv").T if parts else None,)


def _cofactor(g: Term, y: Term, x: Term) -> tuple[Term]:
    inverse = x.apply("inv").T
    return (_scale((g * y).sum((-2, -1))) * inverse - inverse @ g.T @ y,)


def _symmetric(x: Term) -> Term:
    return (x + x.T) / 2


def _cholesky(g: Term, y: Term, _x: Term) -> tuple[Term]:
    inner = y.T @ g.apply("tril")
    half = (inner.apply("tril") + inner.apply("tril", k=-1)) / 2
    left = y.T.apply("solve_triangular", half, lower=False)
    both = y.T.apply("solve_triangular", left.T, lower=False)
    return (_symmetric(both),)


def _matrix_power(g: Term, _y: Term, x: Term, n: int) -> tuple[Term | None]:
    if n == 0:
        return (None,)
    if n < 0:
        inverse = x.apply("inv")
        (up,) = _matrix_power(g, g, inverse, -n)
        assert up is not None
        return _inv(up, inverse, x)
    # Back through repeated squaring: x^n is z z with z = x^(n/2), or x z with z = x^(n-1).
    found: Term | None = None
    while n > 1:
        if n % 2:
            part = g @ x.apply("matrix_power", n=n - 1).T
            found = part if found is None else found + part
            g, n = x.T @ g, n - 1
        else:
            n //= 2
            z = x if n == 1 else x.apply("matrix_power", n=n)
            g = g @ z.T + z.T @ g
    return (g if found is None else found + g,)


def _expm(g: Term, _y: Term, x: Term) -> tuple[Term]:
    n = x.shape[-1]
    zero = x.tape.filled(0, x.shape)
    rows = [x.tape.apply("concat", pair, axis=-1) for pair in ([x.T, g], [zero, x.T])]
    block = x.tape.apply("concat", rows, axis=-2)
    return (block.apply("expm").at(..., slice(0, n), slice(n, 2 * n)),)


# Equations


def _solve(g: Term, y: Term, x1: Term, x2: Term) -> tuple[Term, Term]:
    return _solved(g, y, x1, x2, "solve")


def _solve_triangular(g: Term, y: Term, x1: Term, x2: Term, lower: bool) -> tuple[Term, Term]:
    left, right = _solved(g, y, x1, x2, "solve_triangular", lower=not lower)
    return left.apply("tril" if lower else "triu"), right


def _solved(g: Term, y: Term, x1: Term, x2: Term, name: str, **statics: Any) -> tuple[Term, Term]:
    up, answer = (_column(g), _column(y)) if x2.rank == 1 else (g, y)
    back = x1.T.apply(name, up, **statics)
    left = -(back @ answer.T)
    return left.gathered(x1.shape), back.reshape(x2.shape) if x2.rank == 1 else back


# Decompositions


def _eigvalsh(g: Term, _y: Term, x: Term) -> tuple[Term]:
    _, vectors = x.several("eigh")
    return (_columns(vectors, g) @ vectors.T,)


def _columns(x: Term, factors: Term) -> Term:
    """The columns of the matrices, each multiplied by its factor."""
    return x * factors.reshape((*factors.shape[:-1], 1, factors.shape[-1]))


def _eigh(g: tuple[Any, Any], y: tuple[Term, Term], x: Term) -> tuple[Any]:
    values, vectors = y
    inner: Term | None = None if g[0] is None else _on_diagonal(g[0], x.shape)
    if g[1] is not None:
        turned = _gap(values) * (vectors.T @ g[1])
        inner = turned if inner is None else inner + turned
    return (None if inner is None else _symmetric(vectors @ inner @ vectors.T),)


def _gap(values: Term) -> Term:
    """1 / (values[j] - values[i]), and 0 on the diagonal."""
    n = values.shape[-1]
    eye = values.tape.eye(n, n)
    difference = values.reshape((*values.shape[:-1], 1, n)) - values.reshape((*values.shape, 1))
    return (1 - eye) / (difference + eye)


def _svdvals(g: Term, _y: Term, x: Term) -> tuple[Term]:
    u, _, v = x.several("svd")
    return (_columns(u, g) @ v.T,)


def _svd(g: tuple[Any, Any, Any], y: tuple[Term, Term, Term], x: Term) -> tuple[Any]:
    (to_u, to_s, to_v), (u, s, v) = g, y
    k, (rows, columns) = s.shape[-1], x.shape[-2:]
    gap = _gap(s * s)
    parts: list[Term] = [] if to_s is None else [_columns(u, to_s) @ v.T]
    if to_u is not None:
        inner = u.T @ to_u
        parts.append(u @ _columns(gap * (inner - inner.T), s) @ v.T)
        if rows > k:
            parts.append(_columns(to_u - u @ inner, 1 / s) @ v.T)
    if to_v is not None:
        inner = v.T @ to_v
        parts.append(_columns(u, s) @ (gap * (inner - inner.T)) @ v.T)
        if columns > k:
            parts.append(_columns(u, 1 / s) @ (to_v - v @ inner).T)
    return (sum(parts[1:], parts[0]) if parts else None,)


def _matrix_norm(g: Term, y: Term, x: Term, keepdims: bool) -> tuple[Term]:
    up, norm = (g, y) if keepdims else (_scale(g), _scale(y))
    return (up * (x.conj() / norm),)


RULES: Final[dict[str, Rule]] = {
    "matmul": _matmul,
    "vecdot": _vecdot,
    "outer": _outer,
    "kron": _kron,
    "cross": _cross,
    "tensordot": _tensordot,
    "einsum": _einsum,
    "diagonal": _diagonal,
    "diag": lambda g, _y, _x: (g.apply("diagonal"),),
    "trace": _trace,
    "det": lambda g, _y, x: (_scale(g) * x.apply("cofactor"),),
    "inv": _inv,
    "slogdet": _slogdet,
    "cofactor": _cofactor,
    "cholesky": _cholesky,
    "matrix_power": _matrix_power,
    "expm": _expm,
    "solve": _solve,
    "solve_triangular": _solve_triangular,
    "eigvalsh": _eigvalsh,
    "eigh": _eigh,
    "svdvals": _svdvals,
    "svd": _svd,
    "matrix_norm": _matrix_norm,
}

REAL_ONLY: Final = frozenset({"cholesky", "eigvalsh", "eigh", "svdvals", "svd"})
"""Primitives whose rules hold for real arrays alone."""
