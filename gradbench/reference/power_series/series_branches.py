"""The primitives that have branches, over power series: corners, steps, cuts and fractional powers.

A `Side` and series enter, a series leaves: the branch that holds on that side of t = 0. Which one it is, is decided by
the sign of the lowest coefficient that isn't 0, and so by the sign of a ball that doesn't hold 0.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Final

import flint

from gradbench.reference.power_series.series_functions import atan, bessel, exp, expm1, inverse
from gradbench.reference.power_series.series_ring import (
    Ball,
    Series,
    Side,
    Singular,
    Undecided,
    based,
    divided,
    positive,
    vanishing_power,
)

arb = flint.arb

SELU_ALPHA: Final = 1.6732632423543772848170429916717
SELU_SCALE: Final = 1.0507009873554804934193349852946
"""Klambauer et al. (2017), equation 14; the doubles are meant."""
LARGEST_EXPONENT: Final = 2**20
"""Beyond this a whole exponent is treated as any other number."""


# Powers


def _power(side: Side, x1: Series, x2: Series) -> Series:
    y = x2.first
    if x2.is_constant and y.is_integer() and abs(y) <= LARGEST_EXPONENT:
        return whole_power(x1, int(y.unique_fmpz()))
    if x1.first > 0:
        return Series(x1.terms ** (y if x2.is_constant else x2.terms), max(x1.degree, x2.degree) and math.inf)
    if not x1.first.is_zero():
        raise Singular("power") if x1.first < 0 else Undecided("power")
    if x1.is_constant and y > 0:
        return x1.zero()
    if not (x2.is_constant and y.is_exact() and y > 0):
        raise Singular("power")
    return vanishing_power(side, "power", x1, exact(y))


def exact(ball: Ball) -> Fraction:
    """The number that an exact ball is."""
    number = ball.fmpq()
    return Fraction(int(number.p), int(number.q))


def whole_power(x: Series, n: int) -> Series:
    """x^n: a product, or one over a product."""
    if n < 0:
        return inverse(whole_power(x, -n), "power")
    if n == 1:
        return x
    if x.terms.length() == 1 and n and x.first.contains(0):  # FLINT's own answer for such a number is NaN
        half = whole_power(x, n // 2)
        return half * half * x if n % 2 else half * half
    return Series(x.terms**n, x.degree * n if n else 0)


def root(side: Side, primitive: str, x: Series, n: int) -> Series:
    """The real n-th root; of a series that starts with 0, where the powers of t allow it."""
    if x.first > 0:
        return x.of(x.terms.sqrt() if n == 2 else x.terms ** (arb(1) / n))
    if x.first.is_zero():
        return vanishing_power(side, primitive, x, Fraction(1, n), odd=n % 2 == 1)
    if x.first < 0:
        if n % 2:
            return -root(side, primitive, -x, n)
        raise Singular(primitive)
    raise Undecided(primitive)


def norm(side: Side, primitive: str, x: Sequence[Series], p: float) -> Series:
    """(sum of |x|^p)^(1/p), or the largest |x| for an infinite p; where all are 0, |t|^v times that of x / t^v."""
    if x and all(entry.first.is_zero() for entry in x):
        places = [v for v in (entry.valuation(primitive) for entry in x) if v is not None]
        if not places:
            return min(x, key=lambda entry: (entry.is_constant, entry.known))
        v = min(places)
        return (norm(side, primitive, [entry.shifted(-v) for entry in x], p) * side.power(v)).shifted(v)
    if p == 2:
        return root(side, primitive, sum_of([entry * entry for entry in x]), 2)
    if math.isinf(p):
        sizes = [_leaky(side, primitive, entry, arb(-1)) for entry in x]
        return largest(side, primitive, sizes) if p > 0 else -largest(side, primitive, [-size for size in sizes])
    exponent = Fraction(p)
    total = sum_of([_size(side, primitive, entry, exponent) for entry in x])
    return total if p == 1 else total.of(positive(total, primitive).terms ** (1 / arb(p)))


def _size(side: Side, primitive: str, x: Series, p: Fraction) -> Series:
    """|x|^p, which has the more derivatives at 0 the larger p is."""
    if p.denominator == 1 and p > 0 and p % 2 == 0:
        return whole_power(x, int(p))
    size = x if side.sign(primitive, x, smooth=max(1, math.ceil(p))) >= 0 else -x
    if p == 1:
        return size
    if not x.first.is_zero():
        return x.of(size.terms ** (arb(p.numerator) / p.denominator))
    if p < 0:
        raise Singular(primitive)
    return vanishing_power(Side(side.direction or 1), primitive, size, p)


def sum_of(x: Sequence[Series]) -> Series:
    """The sum of one series or more."""
    return functools.reduce(operator.add, x)


def largest(side: Side, primitive: str, x: Sequence[Series]) -> Series:
    """The largest of several on a side. It starts with a likely one, so that ties among the small ones don't matter."""
    first = max(range(len(x)), key=lambda i: x[i].first.mid())
    found = x[first]
    for entry in x:
        found = larger(side, primitive, found, entry)
    return found


# Cuts and corners


def _raised(x: Series, by: Ball) -> Series:
    found: Series = x + by
    return found


def _atan2(side: Side, x1: Series, x2: Series) -> Series:
    y, x = x1.first, x2.first
    if x > 0:
        return atan(divided(x1, x2))
    if y > 0 or y < 0:
        return _raised(-atan(divided(x2, x1)), arb.pi() / (2 if y > 0 else -2))
    if x < 0:  # on the cut: above it pi, below it -pi, and on it pi, for a zero keeps no sign here
        turn = -arb.pi() if side.sign("atan2", x1, smooth=0) < 0 else arb.pi()
        return _raised(atan(divided(x1, x2)), turn)
    if not (x.is_zero() and y.is_zero()):
        raise Undecided("atan2")
    places = [v for v in (x1.valuation("atan2"), x2.valuation("atan2")) if v is not None]
    if not places or side.direction == 0:
        if side.direction and not (x1.is_constant and x2.is_constant):
            raise Undecided("atan2")
        return x1.zero()
    v = min(places)
    side.used = True
    return _atan2(side, x1.shifted(-v) * side.power(v), x2.shifted(-v) * side.power(v))


def _scaled_bessel(side: Side, x: Series, order: int) -> Series:
    # exp(-|x|) has a corner at 0, which i1 = x/2 + ... takes out of the first derivative.
    sign = side.sign(f"i{order}e", x, smooth=order + 1)
    size = x if sign >= 0 else -x
    found = bessel(size, order, scaled=True) * exp(based(arb(0), -size))
    return -found if sign < 0 and order % 2 else found


def _abs(side: Side, x: Series) -> Series:
    return x if side.sign("abs", x) >= 0 else -x


def larger(side: Side, primitive: str, x1: Series, x2: Series) -> Series:
    """The larger of two on a side."""
    return x1 if x1 is x2 else chosen(side.sign(primitive, x1 - x2), x1, x2)


def chosen(sign: int, x1: Series, x2: Series) -> Series:
    """The first of two where the sign is 1, the second where it is -1, and of 0 the terms that they have in common.

    What follows the known terms may then be the one's or the other's, even if the one is a number.
    """
    if sign:
        return x1 if sign > 0 else x2
    rest = x1 - x2
    return x1 if rest.degree < rest.known else Series(x1.terms)


def _minimum(side: Side, x1: Series, x2: Series) -> Series:
    return chosen(-side.sign("minimum", x1 - x2), x1, x2)


def _between(side: Side, primitive: str, x: Series, least: Ball | None, most: Ball | None) -> Series:
    if least is not None and side.sign(primitive, x - least) < 0:
        x = x.zero() + least
    if most is not None and side.sign(primitive, x - most) > 0:
        x = x.zero() + most
    return x


def _hard_sigmoid(side: Side, primitive: str, x: Series) -> Series:
    return _between(side, primitive, x + 3, arb(0), arb(6)).over(6)


def _leaky(side: Side, primitive: str, x: Series, slope: Ball) -> Series:
    return x if side.sign(primitive, x) >= 0 else x * slope


def _elu(side: Side, primitive: str, x: Series, alpha: Ball) -> Series:
    smooth = 2 if (alpha - 1).is_zero() else 1
    return x if side.sign(primitive, x, smooth) >= 0 else expm1(x) * alpha


def _celu(side: Side, x: Series, alpha: Ball) -> Series:
    return x if side.sign("celu", x, smooth=2) >= 0 else expm1(divided(x, x.zero() + alpha, "celu")) * alpha


def _softsign(side: Side, x: Series) -> Series:
    return divided(x, 1 + (x if side.sign("softsign", x, smooth=2) >= 0 else -x))


# Steps


def _nearest(x: Series, primitive: str) -> int:
    """The whole number nearest to the constant term, which must be less than 1 away."""
    n = (x.first.mid() + arb(0.5)).floor().unique_fmpz()
    if n is None or not abs(x.first - n) < 1:
        raise Undecided(primitive)
    return int(n)


def _floor(side: Side, primitive: str, x: Series) -> int:
    n = _nearest(x, primitive)
    return n if side.sign(primitive, x - n, smooth=0) >= 0 else n - 1


def _round(side: Side, x: Series) -> int:
    half = x + arb(0.5)
    n = _nearest(half, "round")
    above = side.sign("round", half - n, smooth=0)
    return n if above > 0 or (above == 0 and n % 2 == 0) else n - 1


def _trunc(side: Side, x: Series) -> int:
    if x.first > -1 and x.first < 1:
        return 0
    return _floor(side, "trunc", x) if x.first > 0 else -_floor(side, "trunc", -x)


def _remainder(side: Side, x1: Series, x2: Series) -> Series:
    """x1 - x2 floor(x1 / x2). The step is looked for in x1 - n x2, which can be exactly 0."""
    n = _nearest(divided(x1, x2, "remainder"), "remainder")
    rest = x1 - x2 * n
    above = side.sign("remainder", rest if x2.first > 0 else -rest, smooth=0)
    return rest if above >= 0 else rest + x2


def _copysign(side: Side, x1: Series, x2: Series) -> Series:
    sign = side.sign("copysign", x2, smooth=0)
    if sign == 0 and side.direction and not (x1.is_constant and x1.first.is_zero()):
        raise Undecided("copysign", "needs the sign of a zero, which isn't kept")
    size = x1 if side.sign("copysign", x1) >= 0 else -x1
    return size if sign >= 0 else -size


def _step(f: Callable[[Side, Series], int]) -> Callable[[Side, Series], Series]:
    return lambda side, x: x.zero() + f(side, x)


def _compare(primitive: str, holds: Callable[[int], bool]) -> Callable[[Side, Series, Series], bool]:
    return lambda side, x1, x2: holds(side.sign(primitive, x1 - x2, smooth=0))


CORNERS: Final[dict[str, Callable[..., Series]]] = {
    "power": _power,
    "maximum": lambda side, x1, x2: larger(side, "maximum", x1, x2),
    "minimum": _minimum,
    "hypot": lambda side, x1, x2: norm(side, "hypot", [x1, x2], 2),
    "abs": _abs,
    "sqrt": lambda side, x: root(side, "sqrt", x, 2),
    "cbrt": lambda side, x: root(side, "cbrt", x, 3),
    "clip": lambda side, x, **ends: _between(side, "clip", x, ends["min"], ends["max"]),
    "i0e": lambda side, x: _scaled_bessel(side, x, 0),
    "i1e": lambda side, x: _scaled_bessel(side, x, 1),
    "relu": lambda side, x: _leaky(side, "relu", x, arb(0)),
    "relu6": lambda side, x: _between(side, "relu6", x, arb(0), arb(6)),
    "leaky_relu": lambda side, x, negative_slope: _leaky(side, "leaky_relu", x, negative_slope),
    "elu": lambda side, x, alpha: _elu(side, "elu", x, alpha),
    "selu": lambda side, x: _elu(side, "selu", x, arb(SELU_ALPHA)) * arb(SELU_SCALE),
    "celu": _celu,
    "softsign": _softsign,
    "hard_tanh": lambda side, x: _between(side, "hard_tanh", x, arb(-1), arb(1)),
    "hard_sigmoid": lambda side, x: _hard_sigmoid(side, "hard_sigmoid", x),
    "hard_swish": lambda side, x: x * _hard_sigmoid(side, "hard_swish", x),
}
"""The primitives that are continuous and have corners: a side, series, statics by keyword as balls."""

STEPS: Final[dict[str, Callable[..., Any]]] = {
    "sign": _step(lambda side, x: side.sign("sign", x, smooth=0)),
    "angle": lambda side, x: _raised(x.zero(), arb.pi() if side.sign("angle", x, smooth=0) < 0 else arb(0)),
    "floor": _step(lambda side, x: _floor(side, "floor", x)),
    "ceil": _step(lambda side, x: -_floor(side, "ceil", -x)),
    "trunc": _step(_trunc),
    "round": _step(_round),
    "remainder": _remainder,
    "atan2": _atan2,
    "copysign": _copysign,
    "less": _compare("less", lambda sign: sign < 0),
    "less_equal": _compare("less_equal", lambda sign: sign <= 0),
    "greater": _compare("greater", lambda sign: sign > 0),
    "greater_equal": _compare("greater_equal", lambda sign: sign >= 0),
    "equal": _compare("equal", lambda sign: sign == 0),
    "not_equal": _compare("not_equal", lambda sign: sign != 0),
}
"""The primitives that jump, where the point itself may differ from both sides; a comparison answers with a bool."""
