"""How functions of single entries pull a cotangent back: arithmetic, elementary and special functions, activations.

`RULES` leaves; see `reverse_rules` for what a rule is and how formulas are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gradbench.reference.reverse.term import MISSING, Rule, Term, is_short


def unit(x: Term) -> Term:
    """The derivative of abs(x): the sign, or for complex x its conjugate."""
    return x.conj() / x.apply("abs") if x.is_complex else x.apply("sign")


def _sign(g: Term, y: Term, x: Term) -> tuple[Term | None]:
    if not x.is_complex:
        return (None,)
    return ((g - (g * y).apply("real") * y.conj()) / x.apply("abs"),)


def _pick(x: Term, above: Any, below: Any) -> Term:
    return x.tape.apply("pick", x, above, below)


# Arithmetic


def _power(g: Term, y: Term, x1: Term, x2: Term) -> tuple[Any, Any]:
    exponent = x2.number
    if exponent == 0:
        return None, None
    if exponent == 1:
        return g, None
    if exponent is None or not is_short(exponent - 1):
        # p - 1 must be taken from p as it was rounded, not rounded anew.
        less = (x2 if exponent is None else x2.apply("broadcast_to", shape=())) - 1
    else:
        less = exponent - 1
    slope = x2 * x1 if exponent == 2 else x2 * x1**less
    return g * slope, None if exponent is not None else g * y.apply("xlogy", x1)


def _remainder(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Any, Any]:
    return g, -g * (x1 / x2).apply("floor")


def _maximum(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Any, Any]:
    side = x1 - x2
    return _pick(side, g, 0), _pick(side, 0, g)


def _minimum(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Any, Any]:
    side = x1 - x2
    return _pick(side, 0, g), _pick(side, g, 0)


def _atan2(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Any, Any]:
    both = x1 * x1 + x2 * x2
    return g * (x2 / both), -g * (x1 / both)


def _copysign(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Any, Any]:
    return g * (x1.apply("sign") * x2.tape.apply("copysign", 1, x2)), None


def _betaln(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Any, Any]:
    both = (x1 + x2).apply("digamma")
    return g * (x1.apply("digamma") - both), g * (x2.apply("digamma") - both)


def _zeta(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Any, Any]:
    return MISSING, -g * (x1 * (x1 + 1).apply("zeta", x2))


def _gammainc(g: Term, _y: Term, x1: Term, x2: Term) -> tuple[Any, Any]:
    return MISSING, g * ((x1 - 1).apply("xlogy", x2) - x2 - x1.apply("gammaln")).apply("exp")


_BINARY: Final[dict[str, Rule]] = {
    "add": lambda g, _y, _1, _2: (g, g),
    "subtract": lambda g, _y, _1, _2: (g, -g),
    "multiply": lambda g, _y, x1, x2: (g * x2, g * x1),
    "divide": lambda g, y, _1, x2: (g / x2, -g * (y / x2)),
    "power": _power,
    "remainder": _remainder,
    "maximum": _maximum,
    "minimum": _minimum,
    "atan2": _atan2,
    "hypot": lambda g, y, x1, x2: (g * (x1 / y), g * (x2 / y)),
    "logaddexp": lambda g, y, x1, x2: (g * (x1 - y).apply("exp"), g * (x2 - y).apply("exp")),
    "copysign": _copysign,
    "xlogy": lambda g, _y, x1, x2: (g * x2.apply("log"), g * (x1 / x2)),
    "xlog1py": lambda g, _y, x1, x2: (g * x2.apply("log1p"), g * (x1 / (x2 + 1))),
    "betaln": _betaln,
    "zeta": _zeta,
    "gammainc": _gammainc,
    "where": lambda g, _y, c, _1, _2: (None, c.apply("where", g, 0), c.apply("where", 0, g)),
    "pick": lambda g, _y, x, _1, _2: (None, _pick(x, g, 0), _pick(x, 0, g)),
}


# Elementwise: each entry is the derivative, to be multiplied by g.


def _one_less_square(x: Term) -> Term:
    """1 - x*x, with half the errors of either way to write it.

    Some write 1 - x*x, which loses its digits where x is near 1 or -1; some (1 - x) (1 + x), whose derivative, by
    reverse accumulation (1 - x) - (1 + x), loses them where x is near 0.
    """
    if x.tape.exact:
        return 1 - x * x
    return ((1 - x * x) + (1 - x) * (1 + x)) / 2


def _bell(x: Term) -> Term:
    """The density of the normal distribution, by way of erf's argument, as those who have erf alone."""
    scaled = x * x.tape.apply("sqrt", 0.5)
    return (-(scaled * scaled)).apply("exp") / (2 * x.tape.pi).apply("sqrt")


def _sinc(_y: Term, x: Term) -> Term:
    pi = x.tape.pi
    return -(pi * (pi * x).apply("spherical_j", n=1))


def _gelu(_y: Term, x: Term, approximate: str) -> Term:
    tape = x.tape
    if approximate == "none":
        return (1 + (x * tape.apply("sqrt", 0.5)).apply("erf")) / 2 + x * _bell(x)
    # 0.044715 = 33 * 271 / 200000: a decimal would be rounded, see `term`.
    cubic = tape.whole(33 * 271) * tape.lifted(1) / 250 / 100 / 8
    slope = (2 / tape.pi).apply("sqrt")
    tanh = (slope * (x + cubic * (x * x * x))).apply("tanh")
    return (1 + tanh) / 2 + x / 2 * ((1 - tanh * tanh) * (slope * (1 + 3 * (cubic * (x * x)))))


def _selu(_y: Term, x: Term) -> Term:
    # The two constants are taken out of selu itself, whatever digits a number system keeps of them.
    tape = x.tape
    scale = tape.apply("selu", 1)
    left = tape.apply("selu", -1) / tape.apply("expm1", -1)
    return _pick(x, scale, left * (x.apply("minimum", 0).apply("expm1") + 1))


def _mish(_y: Term, x: Term) -> Term:
    tanh, sigmoid = x.apply("softplus").apply("tanh"), x.apply("expit")
    return tanh + x * (sigmoid * (1 - tanh * tanh))


def _softsign(_y: Term, x: Term) -> Term:
    # As the quotient x / (1 + |x|) is differentiated, which is how JAX and others have it: 1 / (1 + |x|)² would be rounded
    # by far less than they are where x is large.
    above = x.apply("abs")
    below = 1 + above
    return 1 / below - above / (below * below)


def _silu(_y: Term, x: Term) -> Term:
    sigmoid = x.apply("expit")
    return sigmoid * (1 + x * (1 - sigmoid))


def _polygamma(_y: Term, x: Term, n: int) -> Term:
    return x.apply("polygamma", n=n + 1)


def _bessel_j(_y: Term, x: Term, n: int) -> Term:
    if n == 0:
        return -x.apply("j1")
    return (x.apply("bessel_j", n=n - 1) - x.apply("bessel_j", n=n + 1)) / 2


def _bessel_i(y: Term, x: Term, n: int, scaled: bool) -> Term:
    words = ("i0e", "i1e") if scaled else ("i0", "i1")
    near = [
        x.apply(words[k]) if k < len(words) else x.apply("bessel_i", n=k, scaled=scaled) for k in (abs(n - 1), n + 1)
    ]
    slope = near[0] if n == 0 else (near[0] + near[1]) / 2
    return slope - x.apply("sign") * y if scaled else slope


def _spherical_j(_y: Term, x: Term, n: int) -> Term:
    after = x.apply("spherical_j", n=n + 1)
    return -after if n == 0 else (n * x.apply("spherical_j", n=n - 1) - (n + 1) * after) / (2 * n + 1)


_ELEMENTWISE: Final[dict[str, Callable[..., Term]]] = {
    "abs": lambda _y, x: unit(x),
    "square": lambda _y, x: 2 * x,
    "sqrt": lambda y, _x: 1 / (2 * y),
    "rsqrt": lambda y, _x: y * y * y / -2,
    "cbrt": lambda y, _x: 1 / (3 * (y * y)),
    "reciprocal": lambda y, _x: -(y * y),
    "exp": lambda y, _x: y,
    "exp2": lambda y, x: y * x.tape.apply("log", 2),
    "expm1": lambda y, _x: y + 1,
    "log": lambda _y, x: 1 / x,
    "log2": lambda _y, x: 1 / (x * x.tape.apply("log", 2)),
    "log10": lambda _y, x: 1 / (x * x.tape.apply("log", 10)),
    "log1p": lambda _y, x: 1 / (x + 1),
    "sin": lambda _y, x: x.apply("cos"),
    "cos": lambda _y, x: -x.apply("sin"),
    "tan": lambda y, _x: 1 + y * y,
    "asin": lambda _y, x: (1 - x * x).apply("rsqrt"),
    "acos": lambda _y, x: -(1 - x * x).apply("rsqrt"),
    "atan": lambda _y, x: 1 / (1 + x * x),
    "sinh": lambda _y, x: x.apply("cosh"),
    "cosh": lambda _y, x: x.apply("sinh"),
    "tanh": lambda y, _x: _one_less_square(y),
    "asinh": lambda _y, x: (x * x + 1).apply("rsqrt"),
    "acosh": lambda _y, x: (x * x - 1).apply("rsqrt"),
    "atanh": lambda _y, x: 1 / _one_less_square(x),
    "sinc": _sinc,
    "erf": lambda _y, x: 2 * (-(x * x)).apply("exp") / x.tape.pi.apply("sqrt"),
    "erfc": lambda _y, x: -2 * (-(x * x)).apply("exp") / x.tape.pi.apply("sqrt"),
    "erfinv": lambda y, x: x.tape.pi.apply("sqrt") / 2 * (y * y).apply("exp"),
    "gamma": lambda y, x: y * x.apply("digamma"),
    "gammaln": lambda _y, x: x.apply("digamma"),
    "digamma": lambda _y, x: x.apply("polygamma", n=1),
    "polygamma": _polygamma,
    "expit": lambda y, _x: (1 - y) * y,
    "logit": lambda _y, x: 1 / (x * (1 - x)),
    "ndtr": lambda _y, x: _bell(x),
    "log_ndtr": lambda y, x: (-(x * x) / 2 - y).apply("exp") / (2 * x.tape.pi).apply("sqrt"),
    "ndtri": lambda y, _x: (2 * y.tape.pi).apply("sqrt") * (y * y / 2).apply("exp"),
    "entr": lambda _y, x: -x.apply("log") - 1,
    "j0": lambda _y, x: -x.apply("j1"),
    "j1": lambda y, x: _bessel_j(y, x, 1),
    "i0": lambda _y, x: x.apply("i1"),
    "i1": lambda y, x: _bessel_i(y, x, 1, scaled=False),
    "i0e": lambda y, x: _bessel_i(y, x, 0, scaled=True),
    "i1e": lambda y, x: _bessel_i(y, x, 1, scaled=True),
    "bessel_j": _bessel_j,
    "bessel_i": _bessel_i,
    "spherical_j": _spherical_j,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "softplus": lambda y, x: (x - y).apply("exp"),
    "softsign": _softsign,
    "log_sigmoid": lambda y, x: (y - x).apply("exp"),
    "selu": _selu,
}


def _scaled(derivative: Callable[..., Term]) -> Rule:
    return lambda g, y, x, **statics: (g * derivative(y, x, **statics),)


# Piecewise: each picks between cotangents, so that a side that is flat or the identity rounds nothing.


def _clip(g: Term, _y: Term, x: Term, min: float | None, max: float | None) -> tuple[Term]:
    if min is not None:
        g = _pick(x - min, g, 0)
    return (g if max is None else _pick(x - max, 0, g),)


def _elu(g: Term, _y: Term, x: Term, alpha: float) -> tuple[Term]:
    return (_pick(x, g, g * (alpha * (x.apply("minimum", 0).apply("expm1") + 1))),)


def _celu(g: Term, _y: Term, x: Term, alpha: float) -> tuple[Term]:
    return (_pick(x, g, g * ((x.apply("minimum", 0) / alpha).apply("expm1") + 1)),)


def _hard_swish(g: Term, _y: Term, x: Term) -> tuple[Term]:
    return (_pick(x + 3, _pick(x - 3, g, g * ((2 * x + 3) / 6)), 0),)


_PIECEWISE: Final[dict[str, Rule]] = {
    "negative": lambda g, _y, _x: (-g,),
    "clip": _clip,
    "relu": lambda g, _y, x: (_pick(x, g, 0),),
    "relu6": lambda g, y, x: _clip(g, y, x, 0, 6),
    "leaky_relu": lambda g, _y, x, negative_slope: (_pick(x, g, g * negative_slope),),
    "elu": _elu,
    "celu": _celu,
    "hard_tanh": lambda g, y, x: _clip(g, y, x, -1, 1),
    "hard_sigmoid": lambda g, y, x: _clip(g / 6, y, x, -3, 3),
    "hard_swish": _hard_swish,
    "real": lambda g, _y, _x: (g,),
    "imag": lambda g, _y, x: (-1j * g if x.is_complex else None,),
    "conj": lambda g, _y, _x: (g.conj(),),
    "angle": lambda g, _y, x: (-1j * (g / x) if x.is_complex else None,),
    "sign": _sign,
}
FLAT: Final = (
    "floor", "ceil", "trunc", "round",
    "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "logical_and", "logical_or", "logical_not",
)  # fmt: skip
"""What is constant wherever it has a derivative."""

RULES: Final[dict[str, Rule]] = {
    **_BINARY,
    **{name: _scaled(derivative) for name, derivative in _ELEMENTWISE.items()},
    **_PIECEWISE,
    **dict.fromkeys(FLAT, lambda _g, _y, *x: (None,) * len(x)),
}

REAL_ONLY: Final = frozenset({
    *FLAT, *_PIECEWISE, "pick", "maximum", "minimum", "remainder", "atan2", "hypot", "copysign", "softsign", "selu",
}) - {"negative", "real", "imag", "conj", "angle", "sign", "equal", "not_equal"}  # fmt: skip
"""Primitives whose rules hold for real arrays alone."""
