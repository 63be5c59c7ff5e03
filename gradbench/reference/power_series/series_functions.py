"""The primitives that are analytic functions, over power series.

Series enter, a series leaves. Most are FLINT's own series functions, or are put together from them as their definition
says. The rest are compositions: the Taylor coefficients of the function at a ball, found from a closed form, an integral
or the reversion of its inverse, and then composed. No derivative is taken from a table of derivatives of elementary
functions, so that this rule set and a reverse pass can't share a mistake.

References: *DLMF* = NIST Digital Library of Mathematical Functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import flint

from gradbench.reference.power_series.series_ring import (
    Ball,
    Series,
    Singular,
    Undecided,
    based,
    composed,
    divided,
    positive,
)

arb = flint.arb

GELU_CUBE: Final = "0.044715"
"""Hendrycks and Gimpel (2016); the decimal is meant."""
MOST_TERMS: Final = 20_000
"""Of the sum of an incomplete gamma function whose parameter varies."""


def inverse(x: Series, primitive: str) -> Series:
    """1 / x."""
    return divided(x.zero() + 1, x, primitive)


def _within(x: Series, primitive: str) -> Series:
    """The series itself, once it is known to lie in (-1, 1), or at its ends for good."""
    if x.first > -1 and x.first < 1:
        return x
    if x.is_constant and (abs(x.first) - 1).is_zero():
        return x
    raise Singular(primitive) if abs(x.first) >= 1 else Undecided(primitive)


# Exponentials and logarithms


def exp(x: Series) -> Series:
    """The exponential."""
    return x.of(x.terms.exp())


def expm1(x: Series) -> Series:
    """exp(x) - 1."""
    return based(x.first.expm1(), x.of(x.terms.exp()))


def log(x: Series, primitive: str = "log") -> Series:
    """The natural logarithm."""
    return x.of(positive(x, primitive).terms.log())


def log1p(x: Series, primitive: str = "log1p") -> Series:
    """log(1 + x)."""
    return based(x.first.log1p(), log(x + 1, primitive))


def _softplus(x: Series) -> Series:
    """log(1 + exp(x)), from the side where the exponential is small."""
    return x + log1p(exp(-x)) if x.first > 0 else log1p(exp(x))


def _expit(x: Series) -> Series:
    """1/(1 + exp(-x)), with the exponential that can't overflow even a ball's exponent."""
    if x.first > 0:
        return inverse(exp(-x) + 1, "expit")
    small = exp(x)
    return divided(small, small + 1, "expit")


def _tanh(x: Series) -> Series:
    """1 - 2 expit(-2x) of the absolute value, which keeps the tails."""
    if x.first < 0:
        return -_tanh(-x)
    return based(x.first.tanh(), 1 - 2 * _expit(-2 * x))


def _hyperbolic(x: Series, odd: int) -> Series:
    def coefficients(n: int) -> list[Ball]:
        pair = x.first.sinh_cosh()
        return [pair[(k + 1 - odd) % 2] / math.factorial(k) for k in range(n)]

    return composed(coefficients, x)


def _asinh(x: Series) -> Series:
    if x.first < 0:
        return -_asinh(-x)
    root = x.of((x * x + 1).terms.sqrt())
    return based(x.first.asinh(), log(x + root, "asinh"))


def _acosh(x: Series) -> Series:
    if x.is_constant and (x.first - 1).is_zero():
        return x.zero()
    root = x.of(positive((x - 1) * (x + 1), "acosh").terms.sqrt())
    return based(x.first.acosh(), log(x + root, "acosh"))


def _atanh(x: Series) -> Series:
    return (log1p(x, "atanh") - log1p(-x, "atanh")).over(2)


def _logaddexp(x1: Series, x2: Series) -> Series:
    return x1 + _softplus(x2 - x1)


def _xlog(primitive: str, logarithm: Callable[[Series, str], Series], x1: Series, x2: Series) -> Series:
    """x1 log(x2), which is 0 where x1 is 0 for good, whatever the logarithm."""
    if x1.is_constant and x1.first.is_zero():
        return x1.zero()
    return x1 * logarithm(x2, primitive)


def _entr(x: Series) -> Series:
    return -_xlog("entr", log, x, x)


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


def atan(x: Series) -> Series:
    """The arc tangent."""
    return x.of(x.terms.atan())


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
    return x.of((x * (-1 / arb(2).sqrt())).terms.erfc()).over(2)


def _log_ndtr(x: Series) -> Series:
    return log1p(-_ndtr(-x)) if x.first > 0 else log(_ndtr(x))


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


def bessel(x: Series, order: int, *, alternating: bool = False, scaled: bool = False) -> Series:
    """J (alternating) or I of a whole order; I may be scaled by exp(-x) as that is at t = 0.

    DLMF 10.6.7 and 10.29.5: the k-th derivative is a binomial sum of neighbours.
    """

    def coefficients(n: int) -> list[Ball]:
        sign = -1 if alternating else 1
        places = range(order - n + 1, order + n)
        near = {m: x.first.bessel_j(m) if alternating else x.first.bessel_i(m, scaled=scaled) for m in places}
        return [
            sum(sign**i * math.comb(k, i) * near[order - k + 2 * i] for i in range(k + 1)) / (2**k * math.factorial(k))
            for k in range(n)
        ]

    return composed(coefficients, x)


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
    front = exp(x1 * log(x2) - x2) * inverse(x1.of((x1 + 1).terms.gamma()), "gammainc")
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


def gelu(x: Series, approximate: str) -> Series:
    """The normal distribution times x, or the approximation of that by a tanh."""
    if approximate == "none":
        return x * _ndtr(x)
    cubic = x + arb(GELU_CUBE) * x * x * x
    return x * _expit(cubic * (8 / arb.pi()).sqrt())  # (1 + tanh u)/2 = expit(2u)


SMOOTH: Final[dict[str, Callable[..., Series]]] = {
    "negative": lambda x: -x,
    "real": lambda x: x,
    "imag": lambda x: x.zero(),
    "conj": lambda x: x,
    "square": lambda x: x * x,
    "rsqrt": lambda x: x.of(positive(x, "rsqrt").terms.rsqrt()),
    "reciprocal": lambda x: inverse(x, "reciprocal"),
    "divide": divided,
    "exp": exp,
    "exp2": lambda x: exp(x * arb.const_log2()),
    "expm1": expm1,
    "log": log,
    "log2": lambda x: log(x, "log2") * (1 / arb.const_log2()),
    "log10": lambda x: log(x, "log10") * (1 / arb.const_log10()),
    "log1p": log1p,
    "sin": lambda x: x.of(x.terms.sin()),
    "cos": lambda x: x.of(x.terms.cos()),
    "tan": _tan,
    "asin": lambda x: x.of(_within(x, "asin").terms.asin()),
    "acos": lambda x: x.of(_within(x, "acos").terms.acos()),
    "atan": atan,
    "sinh": lambda x: _hyperbolic(x, 1),
    "cosh": lambda x: _hyperbolic(x, 0),
    "tanh": _tanh,
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": _atanh,
    "sinc": _sinc,
    "logaddexp": _logaddexp,
    "xlogy": lambda x1, x2: _xlog("xlogy", log, x1, x2),
    "xlog1py": lambda x1, x2: _xlog("xlog1py", log1p, x1, x2),
    "entr": _entr,
    "erf": lambda x: x.of(x.terms.erf()),
    "erfc": lambda x: x.of(x.terms.erfc()),
    "erfinv": _erfinv,
    "gamma": _gamma,
    "gammaln": _gammaln,
    "digamma": _digamma,
    "expit": _expit,
    "logit": lambda x: log(x, "logit") - log1p(-x, "logit"),
    "ndtr": _ndtr,
    "log_ndtr": _log_ndtr,
    "ndtri": _ndtri,
    "j0": lambda x: bessel(x, 0, alternating=True),
    "j1": lambda x: bessel(x, 1, alternating=True),
    "i0": lambda x: bessel(x, 0),
    "i1": lambda x: bessel(x, 1),
    "betaln": _betaln,
    "zeta": _zeta,
    "gammainc": _gammainc,
    "silu": lambda x: x * _expit(x),
    "mish": lambda x: x * _tanh(_softplus(x)),
    "softplus": _softplus,
    "log_sigmoid": lambda x: -_softplus(-x),
}
"""The primitives that are analytic wherever they are defined: series to series."""
