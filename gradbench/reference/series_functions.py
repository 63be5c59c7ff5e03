"""The elementwise primitives over power series.

Series enter, a series leaves. Most are FLINT's own series functions, or are put together from them as their definition
says. The rest are compositions: the Taylor coefficients of the function at a ball, found from a closed form, an integral
or the reversion of its inverse, and then composed. No derivative is taken from a table of derivatives of elementary
functions, so that this rule set and a reverse pass can't share a mistake.

References: *DLMF* = NIST Digital Library of Mathematical Functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

import flint

from gradbench.reference.series_ring import (
    Ball,
    Series,
    Side,
    Singular,
    Undecided,
    based,
    composed,
    divided,
    positive,
    vanishing_power,
)

arb = flint.arb

SELU_ALPHA: Final = 1.6732632423543772848170429916717
SELU_SCALE: Final = 1.0507009873554804934193349852946
"""Klambauer et al. (2017), equation 14; the doubles are meant."""
GELU_CUBE: Final = "0.044715"
"""Hendrycks and Gimpel (2016); the decimal is meant."""
MOST_TERMS: Final = 20_000
LARGEST_EXPONENT: Final = 2**20
"""Beyond this a whole exponent is treated as any other number."""


def _inverse(x: Series, primitive: str) -> Series:
    return divided(x.zero() + 1, x, primitive)


def _within(x: Series, primitive: str) -> Series:
    """x itself, once it is known to lie in (-1, 1), or at its ends for good."""
    if x.first > -1 and x.first < 1:
        return x
    if x.is_constant and (abs(x.first) - 1).is_zero():
        return x
    raise Singular(primitive) if abs(x.first) >= 1 else Undecided(primitive)


# Exponentials and logarithms


def _exp(x: Series) -> Series:
    return x.of(x.terms.exp())


def _expm1(x: Series) -> Series:
    return based(x.first.expm1(), x.of(x.terms.exp()))


def _log(x: Series, primitive: str = "log") -> Series:
    return x.of(positive(x, primitive).terms.log())


def _log1p(x: Series, primitive: str = "log1p") -> Series:
    return based(x.first.log1p(), _log(x + 1, primitive))


def _softplus(x: Series) -> Series:
    """log(1 + exp(x)), from the side where the exponential is small."""
    return x + _log1p(_exp(-x)) if x.first > 0 else _log1p(_exp(x))


def _expit(x: Series) -> Series:
    return _inverse(_exp(-x) + 1, "expit")


def _tanh(x: Series) -> Series:
    """1 - 2/(1 + exp(2x)) of the absolute value, which keeps the tails."""
    if x.first < 0:
        return -_tanh(-x)
    return based(x.first.tanh(), 1 - 2 * _inverse(_exp(2 * x) + 1, "tanh"))


def _hyperbolic(x: Series, odd: int) -> Series:
    def coefficients(n: int) -> list[Ball]:
        pair = x.first.sinh_cosh()
        return [pair[(k + 1 - odd) % 2] / math.factorial(k) for k in range(n)]

    return composed(coefficients, x)


def _asinh(x: Series) -> Series:
    if x.first < 0:
        return -_asinh(-x)
    root = x.of((x * x + 1).terms.sqrt())
    return based(x.first.asinh(), _log(x + root, "asinh"))


def _acosh(x: Series) -> Series:
    if x.is_constant and (x.first - 1).is_zero():
        return x.zero()
    root = x.of(positive((x - 1) * (x + 1), "acosh").terms.sqrt())
    return based(x.first.acosh(), _log(x + root, "acosh"))


def _atanh(x: Series) -> Series:
    return (_log1p(x, "atanh") - _log1p(-x, "atanh")) * arb(0.5)


def _logaddexp(x1: Series, x2: Series) -> Series:
    return x1 + _softplus(x2 - x1)


def _xlog(primitive: str, log: Callable[[Series, str], Series], x1: Series, x2: Series) -> Series:
    """x1 log(x2), which is 0 where x1 is 0 for good, whatever the logarithm."""
    if x1.is_constant and x1.first.is_zero():
        return x1.zero()
    return x1 * log(x2, primitive)


def _entr(x: Series) -> Series:
    return -_xlog("entr", _log, x, x)


# Trigonometry


def _tan(x: Series) -> Series:
    if x.first.cos().contains(0):
        raise Undecided("tan")
    return x.of(x.terms.tan())


def _sinc(x: Series) -> Series:
    """sin(pi x)/(pi x); around 0 by its power series, and for a ball that holds 0 by a bound for its derivatives.

    sinc^(k)(u) = pi^k times the integral of s^k cos^(k)(pi u s) over [0, 1], at most pi^k / (k+1).
    """
    if not x.first.contains(0):
        return divided(x.of(x.terms.sin_pi()), x * arb.pi(), "sinc")

    def coefficients(n: int) -> list[Ball]:
        pi, radius = arb.pi(), abs(x.first).upper()
        even = [(-1) ** (k // 2) * pi**k / math.factorial(k + 1) if k % 2 == 0 else arb(0) for k in range(n)]
        slack = [radius * pi ** (k + 1) / ((k + 2) * math.factorial(k)) for k in range(n)]
        return [a + arb(0, 1) * b for a, b in zip(even, slack, strict=True)]

    return composed(coefficients, x)


def _atan2(side: Side, x1: Series, x2: Series) -> Series:
    y, x = x1.first, x2.first
    if x > 0:
        return _atan(divided(x1, x2))
    if y > 0 or y < 0:
        quarter = arb.pi() / (2 if y > 0 else -2)
        return quarter - _atan(divided(x2, x1))
    if x < 0:  # on the cut: above it pi, below it -pi, and on it pi, for a zero keeps no sign here
        turn = -arb.pi() if side.sign("atan2", x1, smooth=0) < 0 else arb.pi()
        return turn + _atan(divided(x1, x2))
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


def _atan(x: Series) -> Series:
    return x.of(x.terms.atan())


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
        return _inverse(whole_power(x, -n), "power")
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


# Special functions


def _erfinv(x: Series) -> Series:
    """The reversion of erf at the place where it has the value."""

    def coefficients(n: int) -> list[Ball]:
        start = x.first.erfinv()
        return _reverted(start, flint.arb_series([start, 1], n).erf())

    if not (x.first > -1 and x.first < 1):
        raise Singular("erfinv") if abs(x.first) >= 1 else Undecided("erfinv")
    return composed(coefficients, x)


def _ndtri(x: Series) -> Series:
    def coefficients(n: int) -> list[Ball]:
        start = -arb(2).sqrt() * (2 * x.first).erfcinv()
        return _reverted(start, _ndtr(Series(flint.arb_series([start, 1], n))).terms)

    if not (x.first > 0 and x.first < 1):
        raise Singular("ndtri") if x.first <= 0 or x.first >= 1 else Undecided("ndtri")
    return composed(coefficients, x)


def _reverted(start: Ball, outward: Any) -> list[Ball]:
    """Taylor coefficients of the inverse of a function that has these, and the value there where it is `start`."""
    n = outward.prec
    if n == 1:
        return [start]
    inward = flint.arb_series([0, *outward.coeffs()[1:]], n).reversion()
    return [start, *(inward[k] for k in range(1, n))]


def _ndtr(x: Series) -> Series:
    return x.of((x * (-1 / arb(2).sqrt())).terms.erfc()) * arb(0.5)


def _log_ndtr(x: Series) -> Series:
    return _log1p(-_ndtr(-x)) if x.first > 0 else _log(_ndtr(x))


def _poles(x: Series, primitive: str) -> Series:
    if not x.first > 0 and x.first.contains_integer():
        raise Singular(primitive) if x.first.is_integer() else Undecided(primitive)
    return x


def _gamma(x: Series) -> Series:
    return x.of(_poles(x, "gamma").terms.gamma())


def _gammaln(x: Series, primitive: str = "gammaln") -> Series:
    """log|gamma(x)|; left of 0 by the reflection formula, DLMF 5.5.3."""
    if x.first > 0:
        return x.of(x.terms.lgamma())
    sine = _poles(x, primitive).terms.sin_pi()
    return x.of(arb.pi().log() - (sine if sine[0] > 0 else -sine).log() - (1 - x.terms).lgamma())


def _digamma(x: Series) -> Series:
    """The derivative, term by term, of the series of gammaln."""

    def coefficients(n: int) -> list[Ball]:
        line = Series(flint.arb_series([x.first, 1], n + 1))
        slope = _gammaln(line, "digamma").terms.derivative()
        return [slope[k] for k in range(n)]

    return composed(coefficients, x)


def _betaln(x1: Series, x2: Series) -> Series:
    a, b = positive(x1, "betaln"), positive(x2, "betaln")
    return _gammaln(a) + _gammaln(b) - _gammaln(a + b)


def _bessel(x: Series, order: int, alternating: bool) -> Series:
    """J or I of a whole order. DLMF 10.6.7 and 10.29.5: the k-th derivative is a binomial sum of neighbours."""

    def coefficients(n: int) -> list[Ball]:
        f, sign = (x.first.bessel_j, -1) if alternating else (x.first.bessel_i, 1)
        near = {m: f(m) for m in range(order - n + 1, order + n)}
        return [
            sum(sign**i * math.comb(k, i) * near[order - k + 2 * i] for i in range(k + 1)) / (2**k * math.factorial(k))
            for k in range(n)
        ]

    return composed(coefficients, x)


def _scaled_bessel(side: Side, x: Series, order: int) -> Series:
    # exp(-|x|) has a corner at 0, which i1 = x/2 + ... takes out of the first derivative.
    sign = side.sign(f"i{order}e", x, smooth=order + 1)
    return _exp(-x if sign >= 0 else x) * _bessel(x, order, alternating=False)


def _zeta(x1: Series, x2: Series) -> Series:
    """Hurwitz's: the sum over k of (-h)^k (s)_k / k! zeta(s + k, q) for x2 = q + h; DLMF 25.11.10."""
    s, q = x1, x2.first
    if not (s.first > 1 and q > 0):
        raise Singular("zeta") if s.first <= 1 or q <= 0 else Undecided("zeta")
    h = based(arb(0), x2)
    found, factor = s.zero(), s.zero() + 1
    for k in range(1 if x2.is_constant else min(s.known, h.known)):
        found = found + factor * s.of((s + k).terms.zeta(q))
        factor = factor * (s + k) * h * (arb(-1) / (k + 1))
    return found if x2.is_constant else Series(found.terms)


def _gammainc(x1: Series, x2: Series) -> Series:
    """The regularised lower incomplete gamma function P(a, x)."""
    a, x = x1.first, x2.first
    if not a > 0:
        raise Singular("gammainc") if a <= 0 else Undecided("gammainc")
    if x2.is_constant and x.is_zero():
        return x2.zero()
    if not x > 0:
        raise Singular("gammainc") if x <= 0 else Undecided("gammainc")
    if x1.is_constant:
        return x2.of(flint.arb_series.gamma_lower(a, x2.terms, 1))
    terms, factor = _incomplete_sum(x1, x2)
    front = _exp(x1 * _log(x2) - x2) * _inverse(x1.of((x1 + 1).terms.gamma()), "gammainc")
    return front * (terms + factor)


def _incomplete_sum(x1: Series, x2: Series) -> tuple[Series, Series]:
    """The sum over m of x^m / ((a+1) ... (a+m)), DLMF 8.7.1, and balls around 0 for what is left out.

    For a and x in discs of radius 1/2 and r around their constant terms, each term left out is at most half of the one
    before, so that their sum is at most the first one left out, twice; Cauchy's estimate makes coefficients of that.
    """
    a, x = x1.first, x2.first
    radius = x / 4
    reach, below = (x + radius).upper(), (a - arb(0.5)).lower()
    term = total = x1.zero() + 1
    bound, m = arb(1), 0
    while True:
        ratio = reach / abs(below + m + 1)
        if below + m + 1 > 2 * reach and bound * ratio < arb(2) ** (-flint.ctx.prec) * total.first:
            break
        m += 1
        if m > MOST_TERMS:
            raise Undecided("gammainc", f"needs more than {MOST_TERMS} terms here")
        term = divided(term * x2, x1 + m)
        total = total + term
        bound = bound * ratio
    left = (2 * bound * reach / (below + m + 1)).upper()
    n = min(x1.known, x2.known)
    majorant = flint.arb_series([1], n)
    for series, size in ((x1, arb(0.5)), (x2, radius)):
        spread = flint.arb_series([0, *(abs(series.terms[k]).upper() for k in range(1, n))], n)
        majorant = majorant / (1 - spread / size)
    slack = [arb(0, 1) * left * majorant[k].upper() for k in range(n)]
    return total, Series(flint.arb_series(slack, n))


# Branches


def _abs(side: Side, x: Series) -> Series:
    return x if side.sign("abs", x) >= 0 else -x


def larger(side: Side, primitive: str, x1: Series, x2: Series) -> Series:
    """The larger of two on a side."""
    return x1 if x1 is x2 or side.sign(primitive, x1 - x2) >= 0 else x2


def _minimum(side: Side, x1: Series, x2: Series) -> Series:
    return x1 if side.sign("minimum", x1 - x2) <= 0 else x2


def _between(side: Side, primitive: str, x: Series, least: Ball | None, most: Ball | None) -> Series:
    if least is not None and side.sign(primitive, x - least) < 0:
        x = x.zero() + least
    if most is not None and side.sign(primitive, x - most) > 0:
        x = x.zero() + most
    return x


def _hard_sigmoid(side: Side, primitive: str, x: Series) -> Series:
    return _between(side, primitive, x + 3, arb(0), arb(6)) * (arb(1) / 6)


def _leaky(side: Side, primitive: str, x: Series, slope: Ball) -> Series:
    return x if side.sign(primitive, x) >= 0 else x * slope


def _elu(side: Side, primitive: str, x: Series, alpha: Ball) -> Series:
    smooth = 2 if (alpha - 1).is_zero() else 1
    return x if side.sign(primitive, x, smooth) >= 0 else _expm1(x) * alpha


def _celu(side: Side, x: Series, alpha: Ball) -> Series:
    return x if side.sign("celu", x, smooth=2) >= 0 else _expm1(x * (1 / alpha)) * alpha


def _softsign(side: Side, x: Series) -> Series:
    return divided(x, 1 + (x if side.sign("softsign", x, smooth=2) >= 0 else -x))


def _gelu(x: Series, approximate: str) -> Series:
    if approximate == "none":
        return x * _ndtr(x)
    cubic = x + arb(GELU_CUBE) * x * x * x
    return x * _expit(cubic * (8 / arb.pi()).sqrt())  # (1 + tanh u)/2 = expit(2u)


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
    if sign == 0 and side.direction:
        raise Undecided("copysign", "needs the sign of a zero, which isn't kept")
    size = x1 if x1.first > 0 or (x1.first.is_zero() and Side(1).sign("copysign", x1) >= 0) else -x1
    if x1.first.is_zero():
        size = x1 if (side.direction == 0 or side.sign("copysign", x1) >= 0) else -x1
    return size if sign >= 0 else -size
