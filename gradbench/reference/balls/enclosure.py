"""Ball arithmetic: the vocabulary over NumPy arrays of `flint.arb`, each answer an enclosure of the truth.

Arrays of balls enter `OPS[name](*arrays, **statics)` (dtype object), arrays of balls leave, at the precision of
`flint.ctx`, which only `ball` sets. A ball is a midpoint and a radius; whatever the real numbers in the arguments,
the true answer lies in the ball that leaves (Johansson 2017, Arb: efficient arbitrary-precision midpoint-radius
interval arithmetic). NaN is the ball that contains everything. Arrays of integers and booleans enter as NumPy's own.

Where a function has one value at a kink, the ball has it; which derivative it has there is not this room's business.
Formulas whose textbook form would lose the enclosure (a root of a sum of squares that may be 0) are written so that
they don't; beyond that no digits are saved, because the precision can be doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import flint
import numpy as np

from gradbench.reference.balls import enclosure_array, enclosure_linalg
from gradbench.reference.balls.enclosure_array import ABS, root, square, squares
from gradbench.reference.balls.lift import Balls, boxed, finite, lift, sines

arb: Final = flint.arb
Number = float | int

SELU_ALPHA: Final = 1.6732632423543772848170429916717
SELU_SCALE: Final = 1.0507009873554804934193349852946
"""Klambauer et al. (2017), equation 14; the doubles are meant."""
GELU_CUBE: Final = flint.fmpq(44715, 10**6)
"""Hendrycks and Gimpel (2016), section 2; the decimal is meant."""


def whole_power(x: Any, n: int) -> Any:
    """One ball to a whole power. arb's own answer for a ball around 0 is NaN."""
    if n == 2:
        return square(x)
    if n == 0:
        return arb(1)
    if not x.contains(0):
        return x**n
    if n < 0:
        return 1 / whole_power(x, -n)
    found, base, left = arb(1), x, n
    while left:
        if left & 1:
            found = found * base
        base, left = base * base, left >> 1
    return found if n & 1 else found.nonnegative_part()


def power(x: Any, y: Any) -> Any:
    """One ball to the power of another: a whole power where the exponent is exactly whole, else of x >= 0."""
    if y.is_integer() and abs(y) <= 2**20:
        return whole_power(x, int(y.unique_fmpz()))
    if x.is_zero() and y > 0:
        return arb(0)
    return x**y


def _remainder(x: Any, y: Any) -> Any:
    return x - y * (x / y).floor()


def _logaddexp(x: Any, y: Any) -> Any:
    return x.max(y) + (-abs(x - y)).exp().log1p()


def _sign(x: Any) -> Any:
    return x if x.is_nan() else x.sgn()  # arb's own of NaN is from -1 to 1


def _angle(x: Any) -> Any:
    if x.is_nan():
        return x
    return arb(0) if x >= 0 else arb.pi() if x < 0 else arb(0).union(arb.pi())


def _atan2(y: Any, x: Any) -> Any:
    return y + x if y.is_nan() or x.is_nan() else arb.atan2(y, x)  # arb's own of NaN is from -pi to pi


def _copysign(x: Any, y: Any) -> Any:
    size = abs(x)  # a zero keeps no sign here, so that of 0 is both
    return (-size).union(size) if y.is_zero() else size * _sign(y)


def _hypot(x: Any, y: Any) -> Any:
    if x.is_zero() or y.is_zero():
        return abs(x + y)
    return root(square(x) + square(y))


def _xlogy(x: Any, y: Any) -> Any:
    return arb(0) if x.is_zero() and not y.is_nan() else x * y.log()


def _xlog1py(x: Any, y: Any) -> Any:
    return arb(0) if x.is_zero() and not y.is_nan() else x * y.log1p()


def cbrt(x: Any) -> Any:
    """The real cube root of one ball."""
    if x > 0:
        return x.root(3)
    if x < 0:
        return -(-x).root(3)
    if not x.is_finite() or x.is_zero():
        return x
    above, below = x.upper(), x.lower()
    return cbrt(below).union(cbrt(above))


def _trunc(x: Any) -> Any:
    if x >= 0:
        return x.floor()
    if x <= 0:
        return x.ceil()
    return x.ceil().union(x.floor())


def _round(x: Any) -> Any:
    half = arb(0.5)
    below, above = (x - half).ceil(), (x + half).floor()
    if not x.is_exact():
        return below.union(above)
    if below.is_exact() and above.is_exact() and below < above:  # x is halfway between them: the even one
        return above if (above / 2).is_integer() else below
    return below.union(above)


def _gammaln(x: Any) -> Any:
    if x < 0:  # the reflection formula
        return (arb.pi() / abs(x.sin_pi())).log() - (1 - x).lgamma()
    return x.lgamma()


def expit(x: Any) -> Any:
    """1 / (1 + exp(-x)) of one ball."""
    found = 1 / (1 + (-x).exp())
    if found.is_finite():
        return found
    rising = x.exp()  # exp(-x) is beyond even arb's exponents
    return rising / (1 + rising)


def ndtr(x: Any) -> Any:
    """The normal distribution function of one ball."""
    return (-x / arb(2).sqrt()).erfc() / 2


def _ndtri(x: Any) -> Any:
    return -arb(2).sqrt() * (2 * x).erfcinv()


def _entr(x: Any) -> Any:
    return arb(0) if x.is_zero() else -x * x.log()


def _i0e(x: Any) -> Any:
    return abs(x).bessel_i(0, scaled=True) if not x.contains(0) else (-abs(x)).exp() * x.bessel_i(0)


def _i1e(x: Any) -> Any:
    if x.contains(0):
        return (-abs(x)).exp() * x.bessel_i(1)
    return abs(x).bessel_i(1, scaled=True) * x.sgn()


def _gammainc(a: Any, x: Any) -> Any:
    return x.gamma_lower(a, regularized=1) if a > 0 and x >= 0 else arb("nan")


def _zeta(s: Any, q: Any) -> Any:
    return s.zeta(q) if s > 1 and q > 0 else arb("nan")  # arb continues it beyond


def _gelu(x: Any, approximate: str) -> Any:
    if approximate == "none":
        return x * ndtr(x)
    slope = (8 / arb.pi()).sqrt()  # 0.5 (1 + tanh u) = expit(2 u)
    return x * expit(slope * (x + arb(GELU_CUBE) * whole_power(x, 3)))


def clip(x: Any, least: Any, most: Any) -> Any:
    """One ball cut at `least` and then at `most`; None cuts nothing."""
    raised = x if least is None else x.max(least)
    return raised if most is None else raised.min(most)


def _hinge(x: Any, above: Callable[[Any], Any], below: Callable[[Any], Any]) -> Any:
    """`above(x)` where x > 0, else `below(x)`; of a ball around 0, both."""
    if x > 0:
        return above(x)
    return below(x) if x <= 0 else above(x).union(below(x))


def _elu(x: Any, alpha: Any) -> Any:
    return _hinge(x, lambda x: x, lambda x: alpha * x.expm1())


def _relu6(x: Any) -> Any:
    return clip(x, arb(0), arb(6))


def _each(f: Callable[..., Any], count: int = 1) -> Callable[..., Balls]:
    """A function of balls as one of arrays that broadcast."""
    ufunc = np.frompyfunc(f, count, 1)
    if count == 1:
        return lambda x: boxed(ufunc(lift(x)))
    return lambda x1, x2: boxed(ufunc(lift(x1), lift(x2)))


def _static(f: Callable[..., Any], *names: str) -> Callable[..., Balls]:
    """A function of a ball and numbers fixed in the text, as one of arrays."""

    def elementwise(x: Any, **statics: Any) -> Balls:
        fixed = [None if statics[name] is None else arb(statics[name]) for name in names]
        return boxed(np.frompyfunc(lambda ball: f(ball, *fixed), 1, 1)(lift(x)))

    return elementwise


def _power_of_arrays(x1: Any, x2: Any) -> Balls:
    """With one exponent for the whole array, which is nearly always so, it is looked at once."""
    base, exponent = lift(x1), lift(x2)
    if exponent.ndim == 0:
        y = exponent[()]
        if y.is_integer() and abs(y) <= 2**20:
            n = int(y.unique_fmpz())
            if n == 2:
                return squares(base)
            return boxed(np.frompyfunc(lambda x: whole_power(x, n), 1, 1)(base))
    return boxed(np.frompyfunc(power, 2, 1)(base, exponent))


def _gelu_of_array(x: Any, *, approximate: str = "none") -> Balls:
    return boxed(np.frompyfunc(lambda ball: _gelu(ball, approximate), 1, 1)(lift(x)))


# The same for whole arrays, where a function of one ball would be called for each entry


def _expit_of_array(x: Balls) -> Balls:
    found = boxed(_ONE / (_EXP(x * _MINUS) + _ONE))
    lost = ~finite(found)
    if lost.any():
        found[lost] = np.frompyfunc(expit, 1, 1)(x[lost])
    return found


def _softplus_of_array(x: Balls) -> Balls:
    """From the side where the exponential is small."""
    above = np.asarray(x > _ZERO)
    return np.where(above, x, _ZERO) + _LOG1P(_EXP(np.where(above, x * _MINUS, x)))


def _relu_of_array(x: Balls) -> Balls:
    above = np.asarray(x > _ZERO)
    found = np.where(above, x, _ZERO)
    open_ = ~(above | np.asarray(x <= _ZERO))
    if open_.any():
        found[open_] = np.frompyfunc(arb.nonnegative_part, 1, 1)(x[open_])
    return found


def _ufunc(method: str) -> Any:
    return np.frompyfunc(getattr(arb, method), 1, 1)


_EXP, _LOG, _LOG1P, _TANH, _ERFC = map(_ufunc, ("exp", "log", "log1p", "tanh", "erfc"))
_ZERO, _ONE, _MINUS = arb(0), arb(1), arb(-1)

_OF_ARRAYS: Final[dict[str, Callable[[Balls], Any]]] = {
    "negative": lambda x: x * _MINUS,  # faster than arb's own
    "sin": lambda x: sines(x)[0],
    "cos": lambda x: sines(x)[1],
    "reciprocal": lambda x: _ONE / x,
    "square": squares,
    "relu": _relu_of_array,
    "softplus": _softplus_of_array,
    "log_sigmoid": lambda x: _softplus_of_array(x * _MINUS) * _MINUS,
    "expit": _expit_of_array,
    "silu": lambda x: x * _expit_of_array(x),
    "mish": lambda x: x * _TANH(_softplus_of_array(x)),
    "softsign": lambda x: x / (ABS(x) + _ONE),
    "logit": lambda x: _LOG(x) - _LOG1P(x * _MINUS),
    "ndtr": lambda x: _ERFC(x * (-1 / arb(2).sqrt())) / arb(2),
}
"""Functions of an array of balls; what leaves may be a lone ball."""


def _whole(f: Callable[[Balls], Any]) -> Callable[[Any], Balls]:
    return lambda x: boxed(f(lift(x)))


_METHODS: Final = {
    "sqrt": "sqrt", "rsqrt": "rsqrt", "exp": "exp", "expm1": "expm1",
    "log": "log", "log1p": "log1p", "tan": "tan", "asin": "asin", "acos": "acos",
    "atan": "atan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "asinh", "acosh": "acosh",
    "atanh": "atanh", "floor": "floor", "ceil": "ceil", "sinc": "sinc_pi", "erf": "erf", "erfc": "erfc",
    "erfinv": "erfinv", "gamma": "gamma", "digamma": "digamma",
}  # fmt: skip
"""Primitives that are a method of `arb`, in all their cases."""

_UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "abs": abs, "sign": _sign, "cbrt": cbrt, "exp2": lambda x: arb(2) ** x,
    "log2": lambda x: x.log_base(2), "log10": lambda x: x.log_base(10), "trunc": _trunc, "round": _round,
    "gammaln": _gammaln, "log_ndtr": lambda x: ndtr(x).log(), "ndtri": _ndtri, "entr": _entr, "j0": lambda x: x.bessel_j(0),
    "j1": lambda x: x.bessel_j(1), "i0": lambda x: x.bessel_i(0), "i1": lambda x: x.bessel_i(1), "i0e": _i0e,
    "i1e": _i1e, "relu6": _relu6, "selu": lambda x: arb(SELU_SCALE) * _elu(x, arb(SELU_ALPHA)),
    "hard_tanh": lambda x: clip(x, arb(-1), arb(1)), "hard_sigmoid": lambda x: _relu6(x + 3) / 6,
    "hard_swish": lambda x: x * _relu6(x + 3) / 6, "angle": _angle,
}  # fmt: skip

_BINARY: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "remainder": _remainder, "maximum": arb.max, "minimum": arb.min, "atan2": _atan2, "hypot": _hypot,
    "logaddexp": _logaddexp, "copysign": _copysign, "xlogy": _xlogy, "xlog1py": _xlog1py,
    "betaln": lambda a, b: _gammaln(a) + _gammaln(b) - _gammaln(a + b), "zeta": _zeta,
    "gammainc": _gammainc,
}  # fmt: skip

ELEMENTWISE: Final[dict[str, Callable[..., Balls]]] = {
    "add": lambda x1, x2: boxed(lift(x1) + lift(x2)),
    "subtract": lambda x1, x2: boxed(lift(x1) - lift(x2)),
    "multiply": lambda x1, x2: boxed(lift(x1) * lift(x2)),
    "divide": lambda x1, x2: boxed(lift(x1) / lift(x2)),
    "power": _power_of_arrays,
    **{name: _whole(f) for name, f in _OF_ARRAYS.items()},
    **{name: _each(getattr(arb, method)) for name, method in _METHODS.items()},
    **{name: _each(f) for name, f in _UNARY.items()},
    **{name: _each(f, 2) for name, f in _BINARY.items()},
    "clip": _static(clip, "min", "max"),
    "leaky_relu": _static(lambda x, slope: _hinge(x, lambda x: x, lambda x: slope * x), "negative_slope"),
    "elu": _static(_elu, "alpha"),
    "celu": _static(lambda x, alpha: _hinge(x, lambda x: x, lambda x: alpha * (x / alpha).expm1()), "alpha"),
    "gelu": _gelu_of_array,
    "real": lift,
    "imag": lambda x: boxed(0 * lift(x)),
    "conj": lift,
}


def _asarray(number: Number) -> Balls:
    """A number of the text as an exact ball; it was rounded to the dtype of the query before."""
    if isinstance(number, complex):
        raise NotImplementedError
    return boxed(arb(int(number) if isinstance(number, bool) else number))


OPS: Final[dict[str, Callable[..., Any]]] = {
    "asarray": _asarray,
    **ELEMENTWISE,
    **enclosure_array.OPS,
    **enclosure_linalg.OPS,
}
"""For each primitive of the vocabulary the function of balls: arrays by position, statics by keyword."""
