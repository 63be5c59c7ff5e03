"""The rules of first order on whole arrays: what each primitive makes of `Pair`s.

`RULES` leaves: pairs by position, statics by keyword, a pair back. A function that is made of others is written as they
make it, so that the slope is arithmetic's doing; only exp, log, the sines and the root know their own, and the rest ask
FLINT's series. None of it is the reverse pass's: where both have the same formula, each has typed its own. A primitive
that isn't here, or whose branch isn't decided, is for the series.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import flint
import numpy as np

from gradbench.reference.balls.lift import Balls, lift, sines
from gradbench.reference.power_series import pair_shapes
from gradbench.reference.power_series.pair import Axes, Pair, Rule
from gradbench.reference.power_series.series_ring import Undecided

arb: Final = flint.arb
ZERO, ONE, TWO, MINUS = arb(0), arb(1), arb(2), arb(-1)
MOST: Final = 64
"""Whole exponents up to this are multiplied out."""


def _each(method: str, count: int = 1) -> Any:
    return np.frompyfunc(getattr(arb, method), 1, count)


_EXP, _EXPM1, _LOG, _LOG1P, _SQRT = map(_each, ("exp", "expm1", "log", "log1p", "sqrt"))
_SINH_COSH = _each("sinh_cosh", 2)


# Functions of one entry


def _exp(x: Pair) -> Pair:
    found = _EXP(x.value)
    return x.turned(found, found)


def _log(x: Pair) -> Pair:
    return Pair(_LOG(x.value), None if x.slope is None else x.slope / x.value)


def _log1p(x: Pair) -> Pair:
    return Pair(_LOG1P(x.value), None if x.slope is None else x.slope / (x.value + ONE))


def _sine(x: Pair, *, co: bool = False) -> Pair:
    sine, cosine = sines(x.value)
    return x.turned(cosine, sine * MINUS) if co else x.turned(sine, cosine)


def _hyperbolic(x: Pair, *, co: bool = False) -> Pair:
    sine, cosine = _SINH_COSH(x.value)
    return x.turned(cosine, sine) if co else x.turned(sine, cosine)


def _tan(x: Pair) -> Pair:
    """The squares of sine and cosine make 1: so the slope is one over the square of the cosine."""
    sine, cosine = sines(x.value)
    return Pair(sine / cosine, None if x.slope is None else x.slope / (cosine * cosine))


def _tanh(x: Pair) -> Pair:
    """1 - s with s = 2 / (1 + exp 2x), whose slope is s (2 - s)."""
    share = TWO / (_EXP(x.value + x.value) + ONE)
    return x.turned(ONE - share, share * (TWO - share))


def _sqrt(x: Pair) -> Pair:
    found = _SQRT(x.value)
    return Pair(found, None if x.slope is None else x.slope / (found + found))


def _by_flint(method: str) -> Rule:
    """A function of which FLINT has the series."""
    function, constant = getattr(flint.arb_series, method), _each(method)

    def rule(x: Pair) -> Pair:
        if x.slope is None:
            return Pair(constant(x.value))
        lines = zip(x.value.ravel().tolist(), x.slope.ravel().tolist(), strict=True)
        found = [function(flint.arb_series([start, slope], 2)) for start, slope in lines]
        parts = np.empty((2, len(found)), object)
        parts[0], parts[1] = [one[0] for one in found], [one[1] for one in found]
        return Pair(*parts.reshape(2, *x.value.shape))

    return rule


_erfc: Final = _by_flint("erfc")


def _expit(x: Pair) -> Pair:
    found: Pair = ONE / (_exp(-x) + ONE)
    return found


def _softplus(x: Pair) -> Pair:
    return _log1p(_exp(x))


def _ndtr(x: Pair) -> Pair:
    found: Pair = _erfc(x * (-1 / arb(2).sqrt())) / TWO
    return found


def _power(x: Pair, exponent: Any) -> Pair:
    """A whole power written in the text: a product."""
    whole = isinstance(exponent, int | float) and 0 < exponent <= MOST and exponent == int(exponent)
    if not (whole and isinstance(x, Pair)):
        raise Undecided("power")
    n = int(exponent)
    if n == 1:
        return x
    half = _power(x, n // 2)
    return half * half * x if n % 2 else half * half


# Corners: on the side where every entry is known to be


def _chosen(holds: Any, x1: Any, x2: Any) -> Pair:
    """The first where a condition holds, else the second; they may be numbers."""
    a, b = (x if type(x) is Pair else Pair(x) for x in (x1, x2))
    value = np.where(holds, a.value, b.value)
    if a.slope is None and b.slope is None:
        return Pair(value)
    slopes = [ZERO if x.slope is None else x.slope for x in (a, b)]
    return Pair(value, np.broadcast_to(np.where(holds, *slopes), value.shape))


def _positive(x: Pair, primitive: str) -> Any:
    """Which entries are positive.

    Raises:
        Undecided: Some entry is 0, or may be.
    """
    above = x.value > ZERO
    if not np.all(above | (x.value < ZERO)):
        raise Undecided(primitive)
    return above


def _abs(x: Pair) -> Pair:
    return _chosen(_positive(x, "abs"), x, -x)


def _maximum(x1: Pair, x2: Pair) -> Pair:
    return _chosen(_positive(x1 - x2, "maximum"), x1, x2)


def _minimum(x1: Pair, x2: Pair) -> Pair:
    return _chosen(_positive(x1 - x2, "minimum"), x2, x1)


def _leaky_relu(x: Pair, negative_slope: float) -> Pair:
    return _chosen(_positive(x, "leaky_relu"), x, x * arb(negative_slope))


def _clip(x: Pair, min: Any = None, max: Any = None) -> Pair:
    for end, sign in ((min, 1), (max, -1)):
        if end is not None:
            x = _chosen(_positive((x - arb(end)) * sign, "clip"), x, arb(end))
    return x


def _where(condition: Any, x1: Pair, x2: Pair) -> Pair:
    if not (isinstance(condition, np.ndarray) and condition.dtype == bool):
        raise Undecided("where")
    return _chosen(condition, x1, x2)


# Reductions


def _axes(x: Pair, axis: Axes) -> tuple[int, ...]:
    rank = len(x.shape)
    axes = range(rank) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(a % rank for a in axes)


def _sum(x: Pair, axis: Axes = None, keepdims: bool = False) -> Pair:
    axes = None if axis is None and len(x.shape) == 1 else _axes(x, axis)
    if 0 in x.shape or axes == ():
        raise Undecided("sum")
    add: Any = np.add.reduce  # its overloads know no arrays of objects
    return x.mapped(lambda entries: add(entries, axis=axes, keepdims=keepdims))


def _mean(x: Pair, axis: Axes = None, keepdims: bool = False) -> Pair:
    found: Pair = _sum(x, axis, keepdims) / math.prod(x.shape[a] for a in _axes(x, axis))
    return found


def _var(x: Pair, axis: Axes = None, correction: float = 0, keepdims: bool = False) -> Pair:
    count = math.prod(x.value.shape[a] for a in _axes(x, axis))
    away = x - _mean(x, axis, keepdims=True)
    found: Pair = _sum(away * away, axis, keepdims) / (arb(count) - arb(correction))
    return found


def _norm(x: Pair, axis: Axes = None, keepdims: bool = False, ord: float = 2) -> Pair:
    if ord != 2:
        raise Undecided("vector_norm")
    return _sqrt(_sum(x * x, axis, keepdims))


def _near(x: Pair, axis: Axes) -> Balls:
    """Numbers near the largest entries, with their axes."""
    sizes = np.max(x.value.astype(np.float64), axis=axis, keepdims=True)
    if not np.isfinite(sizes).all():
        raise Undecided("the largest")
    return lift(sizes)


def _logsumexp(x: Pair, axis: Axes = None, keepdims: bool = False) -> Pair:
    """Its slope is the mean of the slopes, weighted by the exponentials."""
    near = _near(x, axis)
    powers = _EXP(x.value - near)
    total = _sum(Pair(powers), axis, keepdims).value
    value = _LOG(total) + near.reshape(total.shape)
    return Pair(value, None if x.slope is None else _sum(Pair(powers * x.slope), axis, keepdims).value / total)


def _softmax(x: Pair, axis: int = -1) -> Pair:
    sizes = _exp(x - Pair(_near(x, axis)))
    return sizes / _sum(sizes, axis, keepdims=True)


def _log_softmax(x: Pair, axis: int = -1) -> Pair:
    away = x - Pair(_near(x, axis))
    return away - _log(_sum(_exp(away), axis, keepdims=True))


RULES: Final[dict[str, Rule]] = {
    "add": lambda x1, x2: x1 + x2,
    "subtract": lambda x1, x2: x1 - x2,
    "multiply": lambda x1, x2: x1 * x2,
    "divide": lambda x1, x2: x1 / x2,
    "power": _power,
    "negative": lambda x: -x,
    "square": lambda x: x * x,
    "reciprocal": lambda x: ONE / x,
    "sqrt": _sqrt,
    "rsqrt": lambda x: ONE / _sqrt(x),
    "exp": _exp,
    "exp2": lambda x: _exp(x * arb.const_log2()),
    "expm1": lambda x: x.turned(_EXPM1(x.value), _EXP(x.value)),
    "log": _log,
    "log2": lambda x: _log(x) / arb.const_log2(),
    "log10": lambda x: _log(x) / arb.const_log10(),
    "log1p": _log1p,
    "sin": _sine,
    "cos": lambda x: _sine(x, co=True),
    "tan": _tan,
    "sinh": _hyperbolic,
    "cosh": lambda x: _hyperbolic(x, co=True),
    "tanh": _tanh,
    **{name: _by_flint(name) for name in ("asin", "acos", "atan", "erf", "erfc", "gamma")},
    "hypot": lambda x1, x2: _sqrt(x1 * x1 + x2 * x2),
    "logaddexp": lambda x1, x2: x1 + _softplus(x2 - x1),
    "expit": _expit,
    "logit": lambda x: _log(x) - _log1p(-x),
    "ndtr": _ndtr,
    "softplus": _softplus,
    "log_sigmoid": lambda x: -_softplus(-x),
    "silu": lambda x: x * _expit(x),
    "mish": lambda x: x * _tanh(_softplus(x)),
    "abs": _abs,
    "maximum": _maximum,
    "minimum": _minimum,
    "relu": lambda x: _chosen(_positive(x, "relu"), x, ZERO),
    "relu6": lambda x: _clip(x, 0, 6),
    "leaky_relu": _leaky_relu,
    "clip": _clip,
    "hard_tanh": lambda x: _clip(x, -1, 1),
    "softsign": lambda x: x / (_abs(x) + ONE),
    "where": _where,
    "sum": _sum,
    "mean": _mean,
    "var": _var,
    "std": lambda x, **statics: _sqrt(_var(x, **statics)),
    "logsumexp": _logsumexp,
    "vector_norm": _norm,
    "matrix_norm": lambda x, keepdims=False: _norm(x, (-2, -1), keepdims),
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    **pair_shapes.RULES,
}
"""By primitive. A rule that can't say raises `Undecided`."""


def _slope_of_product(x1: Any, x2: Any) -> Any:
    return x1.slope_of_product(x2) if type(x1) is type(x2) is Pair else None


SLOPES: Final[dict[str, Callable[..., Any]]] = {
    "multiply": _slope_of_product,
    "square": lambda x: _slope_of_product(x, x),
    "power": lambda x, exponent: _slope_of_product(x, x) if type(exponent) is int and exponent == 2 else None,
}
"""The slopes of some alone, where the value is nobody's business; or None."""
