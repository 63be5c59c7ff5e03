"""Eigenvalues and singular values over power series: the roots of a characteristic polynomial, as series.

Matrices whose entries are `Series` enter; an array of series leaves, in order. Where roots meet at t = 0 they are followed
as they part, so that both sides are known; they part only where balls are exact, for which the precision must do.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, Final

import flint
import numpy as np

from gradbench.reference.power_series.series_arrays import Op
from gradbench.reference.power_series.series_branches import exact, root
from gradbench.reference.power_series.series_matrices import guarded, identity, product, stacked, symmetric
from gradbench.reference.power_series.series_ring import Array, Ball, Ring, Series, Side, Undecided, based

Branches = tuple[list[Series], list[Series]]
"""The roots of a polynomial, ascending, for small positive t and for small negative t. They share their entries."""


def _characteristic(matrix: Array) -> list[Series]:
    """Coefficients of det(s - A), lowest first, by Faddeev and LeVerrier, who divide by whole numbers alone."""
    n, zero = len(matrix), matrix[0, 0].zero()
    found, mixed = [zero + 1], identity(matrix)
    for k in range(1, n + 1):
        shifted = product(matrix, mixed)
        last = -functools.reduce(lambda a, b: a + b, np.diagonal(shifted)).over(k)
        found.append(last)
        mixed = shifted.copy()
        for i in range(n):
            mixed[i, i] = mixed[i, i] + last
    return found[::-1]


def _branches(primitive: str, polynomial: list[Series]) -> Branches:
    """The roots of a polynomial whose coefficients are series, which all are real and analytic in t (Rellich 1969).

    A root of multiplicity m at t = 0 is split by the substitution s = s0 + t r, after which t^m can be taken out; the
    m roots r are found in the same way.
    """
    right: list[Series] = []
    left: list[Series] = []
    for start, multiplicity in _roots(primitive, [c.first for c in polynomial]):
        if multiplicity == 1:
            branch = _continued(primitive, polynomial, start)
            right.append(branch)
            left.append(branch)
            continue
        split = _split(primitive, polynomial, start, multiplicity)
        if split is None:  # all that is known of the roots is where they start
            inner = [Series(flint.arb_series([start], 1))] * multiplicity
            after = before = inner
        else:
            after, before = _branches(primitive, split)
            moved = {id(r): based(start, r.shifted(1)) for r in after}
            after, before = [moved[id(r)] for r in after], [moved[id(r)] for r in before]
        right += after
        left += before[::-1]
    return right, left


def _roots(primitive: str, polynomial: list[Ball]) -> list[tuple[Ball, int]]:
    """The real roots of a polynomial of balls that has no others, ascending, with their multiplicities."""
    while polynomial[-1].is_zero():
        polynomial = polynomial[:-1]
    numbers = [exact(c.mid()) for c in polynomial]
    scale = math.lcm(*(number.denominator for number in numbers))
    found = flint.fmpz_poly([int(number * scale) for number in numbers]).complex_roots()
    roots = sorted(((root.real, m) for root, m in found), key=lambda pair: pair[0].mid())
    if all(c.is_exact() for c in polynomial):
        return roots
    if any(m > 1 for _, m in roots):
        raise Undecided(primitive)
    balls = flint.arb_poly(polynomial)
    isolated = [_isolated(primitive, balls, near.mid()) for near, _ in roots]
    if any(a.overlaps(b) for a, b in itertools.pairwise(isolated)):
        raise Undecided(primitive)
    return [(ball, 1) for ball in isolated]


def _isolated(primitive: str, polynomial: Any, near: Ball) -> Ball:
    """A ball near a number that holds one root, and one alone: Newton's step leads from it into it (Moore 1966)."""
    slope = polynomial.derivative()
    if slope(near).contains(0):
        raise Undecided(primitive)
    ball = near + flint.arb(0, 1) * (4 * abs(polynomial(near) / slope(near))).upper()
    if slope(ball).contains(0):
        raise Undecided(primitive)
    for _ in range(2):
        step = near - polynomial(near) / slope(ball)
        if not ball.contains(step):
            raise Undecided(primitive)
        ball, near = step, step.mid()
    return ball


def _continued(primitive: str, polynomial: list[Series], start: Ball) -> Series:
    """The series of the simple root that is `start` at t = 0: each coefficient follows from those before it."""
    known = min(c.known for c in polynomial)
    slope = sum((k * c.first * start ** (k - 1) for k, c in enumerate(polynomial) if k), flint.arb(0))
    if slope.contains(0):
        raise Undecided(primitive)
    found = [start]
    for k in range(1, known):
        trial = flint.arb_series(found, k + 1)
        value = functools.reduce(
            lambda total, c: total * trial + c.terms, polynomial[::-1], flint.arb_series([], k + 1)
        )
        found.append(-value[k] / slope)
    return Series(flint.arb_series(found, known))


def _split(primitive: str, polynomial: list[Series], start: Ball, multiplicity: int) -> list[Series] | None:
    """The polynomial in r for s = start + t r, over t^multiplicity; None if too few coefficients are known for it."""
    if min(c.known for c in polynomial) <= multiplicity:
        return None
    found = []
    for j in range(len(polynomial)):
        terms = [c * (math.comb(i, j) * start ** (i - j)) for i, c in enumerate(polynomial) if i >= j]
        moved = functools.reduce(lambda a, b: a + b, terms)
        if not all(moved.terms[k].is_zero() for k in range(multiplicity - j)):
            raise Undecided(primitive)
        found.append(moved.shifted(j - multiplicity))
    return found


def _spectrum(primitive: str, matrix: Array) -> Branches:
    """The eigenvalues of a symmetric matrix."""
    polynomial = _characteristic(matrix)
    if not all(c.is_constant for c in polynomial):
        return _branches(primitive, polynomial)
    zero = polynomial[0].zero()
    found = [zero + start for start, m in _roots(primitive, [c.first for c in polynomial]) for _ in range(m)]
    return found, found


def _chosen(side: Side, branches: Branches) -> list[Series]:
    right, left = branches
    side.used |= any(a is not b for a, b in zip(right, left, strict=True))
    return left if side.direction < 0 else right


def _eigvalsh(ring: Ring, x: Any) -> Array:
    def values(matrix: Array) -> Array:
        branches = _spectrum("eigvalsh", symmetric(matrix))
        return np.asarray(ring.approached("eigvalsh", lambda side: _chosen(side, branches)), object)

    return stacked(guarded(values, lambda a: a.shape[:1]), ring.array(x))


def _svdvals(ring: Ring, x: Any) -> Array:
    def values(matrix: Array) -> Array:
        small, large = (matrix, matrix.T) if matrix.shape[0] <= matrix.shape[1] else (matrix.T, matrix)
        branches = _spectrum("svdvals", product(small, large))
        smooth: dict[int, Series] = {}

        def size(side: Side, square: Series) -> Series:
            own = Side(side.direction)
            found = root(own, "svdvals", square, 2)
            side.used |= own.used
            return found if own.used else smooth.setdefault(id(square), found)

        found = ring.approached("svdvals", lambda side: [size(side, s) for s in _chosen(side, branches)][::-1])
        return np.asarray(found, object)

    return stacked(guarded(values, lambda a: (min(a.shape),)), ring.array(x))


OPS: Final[dict[str, Op]] = {"eigvalsh": _eigvalsh, "svdvals": _svdvals}
"""The ring, then the array."""
