"""What the vocabulary does with single numbers of as many digits as one likes.

An `Arithmetic` enters, which fixes the precision and whether numbers are complex; tables of functions of one mpmath
number, of two, and of a list leave. Each is its mathematical definition. Exponents don't overflow. A pole raises, and a
value that isn't real comes out complex: whoever makes functions of arrays from these turns both into NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import mpmath
import numpy as np
import scipy.special

from gradbench.query import Array

Number = Any
"""An mpmath `mpf` or `mpc`."""

HUGE: Final = 10**10
"""An exponential of more than this is infinite, of less than minus this 0: no format comes near."""

WIDE: Final = 100_000
"""Bits before the point beyond which an angle isn't reduced any more."""

SELU_ALPHA: Final = 1.6732632423543772848170429916717
SELU_SCALE: Final = 1.0507009873554804934193349852946
"""Klambauer et al. (2017), Self-Normalizing Neural Networks, equation 14; as float64 holds them, for no library computes
with more."""


class Arithmetic:
    """One precision, which may be changed at any time: ``context.dps`` decimal digits.

    Attributes:
        context: The mpmath context; its own, so that nobody else's precision matters.
        dtype: What numbers of the text are rounded to.
        is_complex: Whether a complex value is an answer, or says that there is none.
        doubtful: Whether a comparison, a floor or the like has met two numbers that differ by no more than rounding,
            since it was last set to False. What follows then rests on a rounding error.
    """

    def __init__(self, dtype: np.dtype[Any], *, is_complex: bool = False) -> None:
        self.dtype, self.is_complex = dtype, is_complex
        self.context: Any = mpmath.MPContext()
        self.doubtful = False

    def number(self, value: Any) -> Number:
        """A number of the text, rounded to the dtype and then exact; a real one is so beside complex ones too."""
        rounded = np.asarray(value, self.dtype)
        return self.exact(rounded if isinstance(value, complex) else rounded.real)[()]

    def exact(self, value: Any) -> Array:
        """An array of the same numbers with nothing lost; booleans and arrays of objects stay as they are."""
        mp = self.context
        if isinstance(value, (mp.mpf, mp.mpc)):
            return boxed(value)
        if not isinstance(value, (np.ndarray, np.generic)):
            return boxed(self.number(value))
        array = np.asarray(value)
        if array.dtype.kind in "Ob":
            return array
        if array.dtype.kind == "c":
            numbers = [mp.mpc(z.real, z.imag) for z in array.astype(np.complex128).reshape(-1)]
        elif array.dtype.kind in "iu":
            numbers = [mp.mpf(int(n)) for n in array.reshape(-1)]
        else:
            numbers = [mp.mpf(float(x)) for x in array.astype(np.float64).reshape(-1)]
        return array_of(numbers, array.shape)

    def near(self, one: Number, other: Number) -> None:
        """Notes a doubt where two numbers are not equal and yet not told apart by this precision."""
        away = abs(one - other)
        if 0 < away <= self.context.mpf(10) ** (12 - self.context.dps) * max(abs(one), abs(other)):
            self.doubtful = True


def array_of(numbers: Sequence[Number], shape: tuple[int, ...]) -> Array:
    """The numbers as an array of objects."""
    found = np.empty(len(numbers), object)
    found[:] = numbers
    return found.reshape(shape)


def boxed(value: Any) -> Array:
    """An array, also of what NumPy has taken out of one."""
    if isinstance(value, np.ndarray):
        return value
    box = np.empty((), bool if isinstance(value, (bool, np.bool_)) else object)
    box[()] = value
    return box


def functions(v: Arithmetic) -> dict[str, Callable[..., Number]]:
    """Functions of one number."""
    mp = v.context

    def below(x: Number) -> bool:
        return bool(mp.re(x) < 0)

    def phase(x: Number) -> Number:
        if below(x):
            v.near(x, mp.re(x))  # on the cut, or next to it
        return mp.arg(x)

    def exp(x: Number) -> Number:
        if abs(mp.re(x)) > HUGE:
            return mp.zero if below(x) else mp.inf
        return mp.exp(x)

    def expm1(x: Number) -> Number:
        return exp(x) - 1 if abs(x) > 1 else mp.expm1(x)

    def angle(f: Callable[[Number], Number]) -> Callable[[Number], Number]:
        return lambda x: f(x) if mp.mag(x) < WIDE else mp.nan

    def hyperbolic(f: Callable[[Number], Number], sign: int) -> Callable[[Number], Number]:
        return lambda x: f(x) if abs(mp.re(x)) < HUGE else mp.inf * (sign if below(x) else 1)

    def cbrt(x: Number) -> Number:
        return -mp.cbrt(-x) if not v.is_complex and x < 0 else mp.cbrt(x)

    def step(f: Callable[[Number], Number], at: float = 0.0) -> Callable[[Number], Number]:
        def stepped(x: Number) -> Number:
            v.near(x, mp.nint(x - at) + at)
            return f(x)

        return stepped

    def clip(x: Number, *, min: float | None = None, max: float | None = None) -> Number:
        if min is not None and x < v.number(min):
            return v.number(min)
        return v.number(max) if max is not None and x > v.number(max) else x

    def between(x: Number, low: int, high: int) -> Number:
        return mp.mpf(low) if x < low else mp.mpf(high) if x > high else x

    def gamma(x: Number) -> Number:
        if mp.re(x) > 10**8:
            return mp.inf
        return mp.zero if mp.re(x) < -(10**8) and x != mp.floor(mp.re(x)) else mp.gamma(x)

    def gammaln(x: Number) -> Number:
        return mp.loggamma(x) if v.is_complex else mp.re(mp.loggamma(x))

    def bessel(f: Callable[..., Number], order: int, limits: Sequence[Any]) -> Callable[[Number], Number]:
        return lambda x: mp.mpf(limits[below(x)]) if mp.isinf(x) else f(order, x)

    def scaled(order: int) -> Callable[[Number], Number]:
        return lambda x: mp.zero if mp.isinf(x) else mp.besseli(order, x) * mp.exp(-abs(mp.re(x)))

    def erfc(x: Number) -> Number:
        return mp.mpf(2 if below(x) else 0) if abs(mp.re(x)) > HUGE else mp.erfc(x)

    def expit(x: Number) -> Number:
        return 1 / (1 + exp(-x)) if mp.re(x) > 0 else exp(x) / (1 + exp(x))

    def ndtr(x: Number) -> Number:
        return erfc(-x / mp.sqrt(2)) / 2

    def log_ndtr(x: Number) -> Number:
        return mp.log1p(-ndtr(-x)) if mp.re(x) > 0 else mp.log(ndtr(x))

    def ndtri(p: Number) -> Number:
        return mp.sqrt(2) * _erfinv(mp, 2 * p - 1, 2 * p, 2 * (1 - p))

    def entr(x: Number) -> Number:
        return mp.zero if x == 0 else -mp.inf if below(x) else -x * mp.log(x)

    def softplus(x: Number) -> Number:
        return x + mp.log1p(exp(-x)) if mp.re(x) > 0 else mp.log1p(exp(x))

    def elu(x: Number, *, alpha: float = 1.0) -> Number:
        return x if x > 0 else v.number(alpha) * expm1(x)

    def celu(x: Number, *, alpha: float = 1.0) -> Number:
        return x if x > 0 else v.number(alpha) * expm1(x / v.number(alpha))

    def selu(x: Number) -> Number:
        return mp.mpf(SELU_SCALE) * (x if x > 0 else mp.mpf(SELU_ALPHA) * expm1(x))

    def gelu(x: Number, *, approximate: str = "none") -> Number:
        if approximate == "none":
            return x * ndtr(x)
        return x * expit(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))

    return {
        "abs": abs,
        "negative": lambda x: -x,
        "sign": mp.sign,
        "square": lambda x: x * x,
        "sqrt": mp.sqrt,
        "rsqrt": lambda x: 1 / mp.sqrt(x),
        "cbrt": cbrt,
        "reciprocal": lambda x: 1 / x,
        "exp": exp,
        "exp2": lambda x: exp(x * mp.ln2),
        "expm1": expm1,
        "log": mp.log,
        "log2": lambda x: mp.log(x) / mp.ln2,
        "log10": lambda x: mp.log(x) / mp.ln10,
        "log1p": mp.log1p,
        "sin": angle(mp.sin),
        "cos": angle(mp.cos),
        "tan": angle(mp.tan),
        "asin": mp.asin,
        "acos": mp.acos,
        "atan": mp.atan,
        "sinh": hyperbolic(mp.sinh, -1),
        "cosh": hyperbolic(mp.cosh, 1),
        "tanh": mp.tanh,
        "asinh": lambda x: -mp.asinh(-x) if below(x) else mp.asinh(x),
        "acosh": mp.acosh,
        "atanh": mp.atanh,
        "floor": step(mp.floor),
        "ceil": step(mp.ceil),
        "trunc": step(lambda x: mp.ceil(x) if x < 0 else mp.floor(x)),
        "round": step(mp.nint, 0.5),
        "clip": clip,
        "sinc": angle(mp.sincpi),
        "real": mp.re,
        "imag": mp.im,
        "conj": mp.conj,
        "angle": phase,
        "erf": lambda x: mp.erf(x) if abs(mp.re(x)) < HUGE else mp.sign(mp.re(x)),
        "erfc": erfc,
        "erfinv": lambda x: _erfinv(mp, x, 1 + x, 1 - x),
        "gamma": gamma,
        "gammaln": gammaln,
        "digamma": mp.digamma,
        "expit": expit,
        "logit": lambda x: mp.log(x / (1 - x)),
        "ndtr": ndtr,
        "log_ndtr": log_ndtr,
        "ndtri": ndtri,
        "entr": entr,
        "j0": bessel(mp.besselj, 0, (0, 0)),
        "j1": bessel(mp.besselj, 1, (0, 0)),
        "i0": bessel(mp.besseli, 0, ("inf", "inf")),
        "i1": bessel(mp.besseli, 1, ("inf", "-inf")),
        "i0e": scaled(0),
        "i1e": scaled(1),
        "relu": lambda x: max(x, mp.zero),
        "relu6": lambda x: between(x, 0, 6),
        "leaky_relu": lambda x, *, negative_slope=0.01: x if x > 0 else v.number(negative_slope) * x,
        "elu": elu,
        "selu": selu,
        "celu": celu,
        "gelu": gelu,
        "silu": lambda x: x * expit(x),
        "mish": lambda x: x * mp.tanh(softplus(x)),
        "softplus": softplus,
        "softsign": lambda x: x / (1 + abs(x)),
        "log_sigmoid": lambda x: -softplus(-x),
        "hard_tanh": lambda x: between(x, -1, 1),
        "hard_sigmoid": lambda x: between(x + 3, 0, 6) / 6,
        "hard_swish": lambda x: x * between(x + 3, 0, 6) / 6,
    }


def _erfinv(mp: Any, x: Number, above: Number, below: Number) -> Number:
    """The t with erf(t) = x, by Newton's method; `above` is 1 + x and `below` is 1 - x, each without cancellation."""
    if above <= 0 or below <= 0:
        return mp.nan if above < 0 or below < 0 else mp.inf if below == 0 else -mp.inf
    tail = min(above, below)
    flat = 2 * tail <= 1
    if flat:  # there the complement of erf has the digits
        t = mp.mpf(-scipy.special.ndtri_exp(float(mp.log(tail / 2))).item() / math.sqrt(2))
    else:
        t = mp.mpf(scipy.special.erfinv(float(x)).item())
    for _ in range(20 + mp.prec.bit_length()):
        wrong = mp.log(tail / mp.erfc(t)) * mp.erfc(t) if flat else mp.erf(t) - x
        step = wrong * mp.exp(t * t) * mp.sqrt(mp.pi) / 2
        t -= step
        if abs(step) <= abs(t) * mp.mpf(2) ** (-mp.prec // 2 - 5):  # the next one would be lost in rounding
            break
    return -t if flat and tail is above else t


def pairs(v: Arithmetic, one: Mapping[str, Callable[..., Number]]) -> dict[str, Callable[..., Number]]:
    """Functions of two numbers."""
    mp = v.context

    def divide(x: Number, y: Number) -> Number:
        return mp.nan if y == 0 else x / y

    def power(x: Number, y: Number) -> Number:
        if mp.isint(y) and not mp.isinf(x) and abs(y) < 2**53:
            return x ** int(mp.re(y))
        if x == 0 or not (mp.isfinite(x) and mp.isfinite(y)):
            return mp.nan if x == 0 and mp.re(y) < 0 else x**y
        exponent = y * mp.log(x)
        return x**y if abs(mp.re(exponent)) < HUGE else one["exp"](exponent)

    def remainder(x: Number, y: Number) -> Number:
        found = x % y
        rounding = mp.mpf(10) ** (12 - mp.dps) * abs(x)
        v.doubtful |= bool(0 < min(abs(found), abs(y - found)) <= rounding)
        return found

    def logaddexp(x: Number, y: Number) -> Number:
        larger, smaller = (x, y) if mp.re(x) > mp.re(y) else (y, x)
        return larger if mp.isinf(larger) else larger + mp.log1p(one["exp"](smaller - larger))

    def copysign(x: Number, y: Number) -> Number:
        return mp.nan if y == 0 else abs(x) * mp.sign(y)  # a zero has no sign here

    def betaln(x: Number, y: Number) -> Number:
        return one["gammaln"](x) + one["gammaln"](y) - one["gammaln"](x + y)

    def zeta(x: Number, q: Number) -> Number:
        return mp.zeta(x, q) if x > 1 and q > 0 else mp.nan

    def gammainc(a: Number, x: Number) -> Number:
        if not (a > 0 and x >= 0) or mp.isinf(a):
            return mp.nan
        return mp.one if mp.isinf(x) else mp.gammainc(a, 0, x, regularized=True)

    return {
        "add": lambda x, y: x + y,
        "subtract": lambda x, y: x - y,
        "multiply": lambda x, y: x * y,
        "divide": divide,
        "power": power,
        "remainder": remainder,
        "maximum": max,
        "minimum": min,
        "atan2": mp.atan2,
        "hypot": mp.hypot,
        "logaddexp": logaddexp,
        "copysign": copysign,
        "xlogy": lambda x, y: mp.zero if x == 0 else x * mp.log(y),
        "xlog1py": lambda x, y: mp.zero if x == 0 else x * mp.log1p(y),
        "betaln": betaln,
        "zeta": zeta,
        "gammainc": gammainc,
    }


def reductions(v: Arithmetic) -> dict[str, Callable[..., Number]]:
    """Functions of a list of numbers."""
    mp = v.context

    def extreme(pick: Callable[..., Number]) -> Callable[[list[Number]], Number]:
        def picked(row: list[Number]) -> Number:
            return mp.nan if any(mp.isnan(x) for x in row) else pick(row)

        return picked

    def var(row: list[Number], *, correction: float = 0) -> Number:
        count = mp.mpf(len(row)) - correction
        mean = sum(row, mp.zero) / len(row) if row else mp.nan
        return sum((abs(x - mean) ** 2 for x in row), mp.zero) / count if count > 0 else mp.nan

    def vector_norm(row: list[Number], *, ord: float = 2) -> Number:
        sizes = [abs(x) for x in row]
        if ord == 0:
            return mp.mpf(sum(size != 0 for size in sizes))
        if math.isinf(ord):
            return extreme(max if ord > 0 else min)(sizes) if sizes else mp.zero
        if ord < 0 and 0 in sizes:
            return mp.zero
        total = sum((size**ord for size in sizes), mp.zero)
        return mp.sqrt(total) if ord == 2 else total ** (mp.one / ord)

    def log_sum_exp(row: list[Number]) -> Number:
        largest = max((mp.re(x) for x in row), default=-mp.inf)
        if mp.isinf(largest):
            return largest
        return largest + mp.log(sum((mp.exp(x - largest) for x in row if x - largest > -HUGE), mp.zero))

    return {
        "sum": lambda row: sum(row, mp.zero),
        "mean": lambda row: sum(row, mp.zero) / len(row) if row else mp.nan,
        "prod": lambda row: functools.reduce(lambda x, y: x * y, row, mp.one),
        "max": extreme(max),
        "min": extreme(min),
        "var": var,
        "std": lambda row, *, correction=0: mp.sqrt(var(row, correction=correction)),
        "logsumexp": log_sum_exp,
        "vector_norm": vector_norm,
    }
