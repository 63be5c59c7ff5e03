"""The table at the back of a calculus book: the derivative of every elementary function, once, for any kind of number.

Nothing enters; tables leave. Their formulas are written in *words*, a namespace of primitives on whatever numbers an
engine has: the same line differentiates a dual number, a tape's node and a symbol, and because it is written in words
it can be differentiated again. What is made of other primitives stands in `definition`. Nothing is imported of the
engines, nor of the references, whose rules these must not share.

Where two formulas are equal the one that keeps its digits is here: no `1 - y*y` for tanh, no `1/(1 - x*x)` near 1. Some
of them need words that nobody can write in a function's text; `INNER` says what those are in NumPy and SciPy.

Source: Abramowitz and Stegun (1964), Handbook of Mathematical Functions, whose paragraphs are named.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, Final

import numpy as np
import scipy.special as sp

from gradbench.numeric import NARROW, OPS

Number = Any
"""What an engine calculates with; a NumPy array, or a number of the text, where nothing is to be differentiated."""

Words = Any
"""A namespace with a function for each primitive."""

MISSING: Final = "missing"
"""Stands for a derivative that nobody has a formula for in reach."""

_HALF_ROOT_PI: Final = math.sqrt(math.pi) / 2


class Spelled:
    """A number that Python's operators work on: each is spelled as the primitive it stands for."""

    words: ClassVar[Words] = SimpleNamespace()

    def __add__(self, other: Number) -> Number:
        return self.words.add(self, other)

    def __radd__(self, other: Number) -> Number:
        return self.words.add(other, self)

    def __sub__(self, other: Number) -> Number:
        return self.words.subtract(self, other)

    def __rsub__(self, other: Number) -> Number:
        return self.words.subtract(other, self)

    def __mul__(self, other: Number) -> Number:
        return self.words.multiply(self, other)

    def __rmul__(self, other: Number) -> Number:
        return self.words.multiply(other, self)

    def __truediv__(self, other: Number) -> Number:
        return self.words.divide(self, other)

    def __rtruediv__(self, other: Number) -> Number:
        return self.words.divide(other, self)

    def __pow__(self, other: Number) -> Number:
        return self.words.power(self, other)

    def __rpow__(self, other: Number) -> Number:
        return self.words.power(other, self)

    def __neg__(self) -> Number:
        return self.words.negative(self)


def is_bare(value: Any) -> bool:
    """Whether it is a number of Python's, as the text has them, and not one of NumPy's."""
    return type(value) in {int, float}


# Functions of two numbers


def _by_base(w: Words, _y: Number, x1: Number, x2: Number) -> Number:
    """x2 x1^(x2 - 1), which is 0 for the exponent 0 also where x1 is."""
    if is_bare(x2):
        return x2 if x2 in {0, 1} else x2 * x1 ** (x2 - 1)
    return x2 * w.base(x1, x2) ** (x2 - 1)


def _by_exponent(w: Words, y: Number, x1: Number, _x2: Number) -> Number:
    """x1^x2 log(x1)."""
    if is_bare(x1):
        return y * (math.log(x1) if x1 > 0 else math.nan)
    return w.xlogy(y, x1)


def _gammainc(w: Words, _y: Number, x1: Number, x2: Number) -> Number:
    return w.exp(w.xlogy(x1 - 1, x2) - x2 - w.gammaln(x1))


PARTIALS: Final[Mapping[str, tuple[Any, Any]]] = {
    "add": (lambda *_: 1, lambda *_: 1),
    "subtract": (lambda *_: 1, lambda *_: -1),
    "multiply": (lambda _w, _y, _x1, x2: x2, lambda _w, _y, x1, _x2: x1),
    "divide": (lambda _w, _y, _x1, x2: 1 / x2, lambda _w, y, _x1, x2: -y / x2),
    "power": (_by_base, _by_exponent),
    "remainder": (lambda *_: 1, lambda w, _y, x1, x2: -w.floor(x1 / x2)),
    "atan2": (
        lambda w, _y, x1, x2: x2 / w.nonzero(w.hypot(x1, x2)) / w.nonzero(w.hypot(x1, x2)),
        lambda w, _y, x1, x2: -x1 / w.nonzero(w.hypot(x1, x2)) / w.nonzero(w.hypot(x1, x2)),
    ),
    "hypot": (lambda w, y, x1, _x2: x1 / w.nonzero(y), lambda w, y, _x1, x2: x2 / w.nonzero(y)),
    "logaddexp": (lambda w, _y, x1, x2: w.expit(x1 - x2), lambda w, _y, x1, x2: w.expit(x2 - x1)),
    "copysign": (lambda w, _y, x1, x2: w.sign(x1) * w.copysign(w.sign(x1), x2), None),
    "xlogy": (lambda w, _y, _x1, x2: w.log(x2), lambda _w, _y, x1, x2: x1 / x2),
    "xlog1py": (lambda w, _y, _x1, x2: w.log1p(x2), lambda _w, _y, x1, x2: x1 / (1 + x2)),
    "betaln": (
        lambda w, _y, x1, x2: w.digamma(x1) - w.digamma(x1 + x2),
        lambda w, _y, x1, x2: w.digamma(x2) - w.digamma(x1 + x2),
    ),
    "base": (lambda *_: 1, None),
    "zeta": (MISSING, lambda w, _y, x1, x2: -x1 * w.zeta(x1 + 1, x2)),
    "gammainc": (MISSING, _gammainc),  # 6.5.25; by x1 it is a Meijer G-function
}
"""For a function of two numbers its derivatives by each, as functions of (words, value, x1, x2); None where it is 0."""

CHOICES: Final[Mapping[str, Callable[..., Any]]] = {
    "maximum": lambda w, x1, x2: w.greater_equal(x1, x2),
    "minimum": lambda w, x1, x2: w.less_equal(x1, x2),
    "where": lambda _w, condition, _x1, _x2: condition,
}
"""What is its first number where a condition holds, and its second elsewhere: at a tie the first."""

FLAT: Final = frozenset({
    "sign", "floor", "ceil", "trunc", "round", "shift",
    "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_not",
})  # fmt: skip
"""What is constant wherever it has a derivative; at a jump too it is answered 0."""


# Functions of one number


def _j(w: Words, x: Number, n: int) -> Number:
    return (w.j0, w.j1)[n](x) if n < 2 else w.bessel_j(x, n=n)


def _i(w: Words, x: Number, n: int, *, scaled: bool) -> Number:
    if n < 2:
        return ((w.i0e, w.i1e) if scaled else (w.i0, w.i1))[n](x)
    return w.bessel_i(x, n=n, scaled=scaled)


def _bessel_i(w: Words, y: Number, x: Number, n: int, scaled: bool) -> Number:
    """9.6.26, and 9.6.27 for n = 0."""
    slope = (
        _i(w, x, 1, scaled=scaled) if n == 0 else (_i(w, x, n - 1, scaled=scaled) + _i(w, x, n + 1, scaled=scaled)) / 2
    )
    return slope - w.sign(x) * y if scaled else slope


def _spherical_j(w: Words, _y: Number, x: Number, n: int) -> Number:
    """10.1.20, where j_0(x) = sin(x) / x."""
    after = (n + 1) * w.spherical_j(x, n=n + 1)
    return (n * w.spherical_j(x, n=n - 1) - after) / (2 * n + 1) if n else -after


def _softsign(w: Words, _y: Number, x: Number) -> Number:
    below = 1 + w.abs(x)
    return 1 / (below * below)


SLOPES: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": lambda w, _y, x: w.sign(x),
    "negative": lambda *_: -1,
    "square": lambda _w, _y, x: 2 * x,
    "sqrt": lambda _w, y, _x: 1 / (2 * y),
    "rsqrt": lambda _w, y, x: -y / (2 * x),
    "cbrt": lambda _w, y, _x: 1 / (3 * (y * y)),
    "reciprocal": lambda _w, y, _x: -(y * y),
    "exp": lambda _w, y, _x: y,
    "exp2": lambda _w, y, _x: y * math.log(2),
    "expm1": lambda w, _y, x: w.exp(x),
    "log": lambda _w, _y, x: 1 / x,
    "log2": lambda _w, _y, x: 1 / (x * math.log(2)),
    "log10": lambda _w, _y, x: 1 / (x * math.log(10)),
    "log1p": lambda _w, _y, x: 1 / (1 + x),
    "sin": lambda w, _y, x: w.cos(x),
    "cos": lambda w, _y, x: -w.sin(x),
    "tan": lambda _w, y, _x: 1 + y * y,
    "asin": lambda w, _y, x: 1 / w.circle(x),
    "acos": lambda w, _y, x: -1 / w.circle(x),
    "atan": lambda _w, _y, x: 1 / (1 + x * x),
    "sinh": lambda w, _y, x: w.cosh(x),
    "cosh": lambda w, _y, x: w.sinh(x),
    "tanh": lambda w, _y, x: w.sech(x) ** 2,
    "asinh": lambda w, _y, x: 1 / w.hypot(x, 1),
    "acosh": lambda w, _y, x: 1 / (w.sqrt(x - 1) * w.sqrt(x + 1)),
    "atanh": lambda w, _y, x: 1 / w.circle(x) ** 2,
    "sinc": lambda w, _y, x: -math.pi * w.spherical_j(math.pi * x, n=1),
    "erf": lambda w, _y, x: w.exp(-(x * x)) / _HALF_ROOT_PI,
    "erfc": lambda w, _y, x: -w.exp(-(x * x)) / _HALF_ROOT_PI,
    "erfinv": lambda w, y, _x: _HALF_ROOT_PI * w.exp(y * y),
    "gamma": lambda w, y, x: y * w.digamma(x),
    "gammaln": lambda w, _y, x: w.digamma(x),
    "digamma": lambda w, _y, x: w.polygamma(x, n=1),
    "expit": lambda w, y, x: y * w.expit(-x),
    "logit": lambda _w, _y, x: 1 / (x * (1 - x)),
    "ndtr": lambda w, _y, x: w.exp(-(x * x) / 2) / math.sqrt(2 * math.pi),
    "log_ndtr": lambda w, _y, x: w.mills(x),
    "ndtri": lambda w, y, _x: math.sqrt(2 * math.pi) * w.exp(y * y / 2),
    "entr": lambda w, _y, x: -w.log(x) - 1,
    "j0": lambda w, _y, x: -w.j1(x),
    "j1": lambda w, _y, x: (w.j0(x) - _j(w, x, 2)) / 2,  # 9.1.27
    "i0": lambda w, y, x: _bessel_i(w, y, x, 0, scaled=False),
    "i1": lambda w, y, x: _bessel_i(w, y, x, 1, scaled=False),
    "i0e": lambda w, y, x: _bessel_i(w, y, x, 0, scaled=True),
    "i1e": lambda w, y, x: _bessel_i(w, y, x, 1, scaled=True),
    "softplus": lambda w, _y, x: w.expit(x),
    "log_sigmoid": lambda w, _y, x: w.expit(-x),
    "softsign": _softsign,
    # inner words
    "nonzero": lambda *_: 1,
    "sech": lambda w, y, x: -y * w.tanh(x),
    "circle": lambda _w, y, x: -x / y,
    "mills": lambda _w, y, x: -y * (x + y),
    "polygamma": lambda w, _y, x, n: w.polygamma(x, n=n + 1),
    "bessel_j": lambda w, _y, x, n: (_j(w, x, n - 1) - _j(w, x, n + 1)) / 2,
    "bessel_i": _bessel_i,
    "spherical_j": _spherical_j,
}
"""For a function of one number its derivative, as a function of (words, value, x) and the statics."""


# Functions of many numbers


def _norm(w: Words, y: Number, x: Number, ord: float) -> Number:
    return x / w.nonzero(y) if ord == 2 else w.sign(x) * (w.abs(x) / w.nonzero(y)) ** (ord - 1)


REDUCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "sum": lambda *_: 1,
    "logsumexp": lambda w, y, x: w.exp(x - y),
    "norm": _norm,
}
"""For what reduces numbers along axes its derivative by each, as a function of (words, value with its axes kept, x)."""

MOVES: Final = frozenset({
    "getitem", "reshape", "permute_dims", "matrix_transpose", "expand_dims", "squeeze", "moveaxis", "broadcast_to", "concat",
    "stack", "tile", "repeat", "pad", "take", "tril", "triu", "diagonal", "diag", "flip", "roll", "gather",
})  # fmt: skip
"""What only moves entries about, leaves some out and fills places with a constant: linear, whatever the numbers are."""


# What the inner words are


def _sech(x: Any) -> Any:
    small = np.exp(-np.abs(x))
    return 2 * small / (1 + small * small)


def _polygamma(x: Any, *, n: int) -> Any:
    """6.4.10; left of 0, where SciPy has none, by the recurrence 6.4.6. Far to the left it is NaN."""
    steps = np.where((x < 0) & (x > -10_000), np.ceil(-x), 0)
    known = np.zeros_like(x)
    for k in range(int(np.max(steps, initial=0))):
        known += np.where(k < steps, (x + k) ** -(n + 1.0), 0)
    return sp.polygamma(n, x + steps) - (-1) ** n * math.factorial(n) * known


def _gather(x: Any, *, index: Any) -> Any:
    flat = np.append(np.reshape(x, -1), np.zeros(1, np.asarray(x).dtype))
    return flat[index]


def _scatter(x: Any, *, index: Any, shape: tuple[int, ...]) -> Any:
    flat = np.zeros(math.prod(shape) + 1, np.asarray(x).dtype)
    np.add.at(flat, index, x)
    return flat[:-1].reshape(shape)


def _inner(f: Callable[..., Any]) -> Callable[..., Any]:
    """Without warnings, and computed in float32 for narrower formats, as `gradbench.numeric` does."""

    @functools.wraps(f)
    def word(x: Any, **statics: Any) -> Any:
        kind = np.asarray(x).dtype
        with np.errstate(all="ignore"):
            found = f(np.asarray(x, np.float32) if kind in NARROW else np.asarray(x), **statics)
        return found.astype(kind)

    return word


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    # A number that an answer doesn't depend on, taken off so that nothing overflows: it is held constant
    "shift": lambda x: x,
    # A length to divide by, with 1 in place of 0: so the derivative of a norm at the origin is answered 0
    "nonzero": lambda x: np.where(x == 0, np.ones_like(x), x),
    # 1 / cosh(x), which doesn't overflow on the way
    "sech": _sech,
    # sqrt(1 - x^2): the height of the unit circle at x, and the cosine of asin(x)
    "circle": lambda x: np.sqrt((1 - x) * (1 + x)),
    # The inverse Mills ratio: the density of the normal distribution over ndtr(x)
    "mills": lambda x: math.sqrt(2 / math.pi) / sp.erfcx(-x / math.sqrt(2)),
    # The n-th derivative of digamma
    "polygamma": _polygamma,
    # J_n, I_n or exp(-abs(x)) I_n, and j_n(x) = sqrt(pi / (2 x)) J_(n + 1/2)(x): 9.1, 9.6, 10.1
    "bessel_j": lambda x, *, n: sp.jv(n, x),
    "bessel_i": lambda x, *, n, scaled: (sp.ive if scaled else sp.iv)(n, x),
    "spherical_j": lambda x, *, n: np.asarray(sp.spherical_jn(n, x)),
    # The entries at these places of x, counted along its rows; -1 is a place with 0 in it
    "gather": _gather,
    # The entries of x added up at these places of an array of zeros: the transpose of gather
    "scatter": _scatter,
}

INNER: Final[Mapping[str, Callable[..., Any]]] = {
    **{name: _inner(f) for name, f in _FUNCTIONS.items()},
    # x1, with 1 in place of 0 where x2 is 0 as well: so 0 x^(-1) is 0 everywhere
    "base": lambda x1, x2: np.where((x1 == 0) & (x2 == 0), np.ones_like(x1), x1),
    "norm": OPS["vector_norm"],
}
"""The inner words on NumPy's arrays: arrays by position, statics by keyword."""


def _plain(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
    def word(*arrays: Any, **statics: Any) -> Any:
        if name != "power" and any(is_bare(array) for array in arrays):
            dtype = next((a.dtype for a in arrays if hasattr(a, "dtype") and a.dtype.kind != "b"), None)
            arrays = tuple(np.asarray(a, dtype) if is_bare(a) else a for a in arrays)
        return f(*arrays, **statics)

    return word


PLAIN: Final[Mapping[str, Callable[..., Any]]] = {name: _plain(name, f) for name, f in {**OPS, **INNER}.items()}
"""Every word on plain arrays; a bare number beside an array is rounded to its dtype, but for an exponent."""


def positions(shape: tuple[int, ...]) -> Any:
    """The places of an array's entries, counted along its rows, in its shape."""
    return np.arange(math.prod(shape)).reshape(shape)


def kept(shape: tuple[int, ...], axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape with 1 for each axis that is reduced."""
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    gone = {a % len(shape) for a in axes}
    return tuple(1 if a in gone else n for a, n in enumerate(shape))
