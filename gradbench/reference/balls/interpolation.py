"""Mixed derivatives from derivatives along lines.

Orders enter, as (1, 2) for once by the first and twice by the second; exact weights and directions leave.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import flint


def interpolation(orders: tuple[int, ...]) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Weights and directions by which derivatives along lines add up to a mixed one of these orders.

    The d-th derivative along j is a form of degree d in j, whose coefficients are the mixed derivatives; it is known
    once it is known at all whole j of sum d: Griewank, Utke and Walther (2000), Evaluating higher derivative tensors by
    forward propagation of univariate Taylor series, section 3. The weights are exact.
    """
    degree, count = sum(orders), len(orders)
    points = [j for j in itertools.product(range(degree + 1), repeat=count) if sum(j) == degree]
    # d-th derivative along j = sum over i of d!/i! (product of j^i) times the derivative of orders i
    table = [[flint.fmpq(_form(i, j, degree)) for j in points] for i in points]
    wanted = [flint.fmpq(int(i == orders)) for i in points]
    size = len(points)
    weights = flint.fmpq_mat(size, size, [x for row in table for x in row]).solve(flint.fmpq_mat(size, 1, wanted))
    for row, point in enumerate(points):
        if weights[row, 0]:
            yield flint.arb(weights[row, 0]), point


def _form(i: tuple[int, ...], j: tuple[int, ...], degree: int) -> int:
    multinomial = math.factorial(degree) // math.prod(math.factorial(k) for k in i)
    powers: int = math.prod(a**b for a, b in zip(j, i, strict=True))
    return multinomial * powers
