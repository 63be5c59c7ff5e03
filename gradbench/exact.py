"""A number as somebody wrote it, and how far it may be from what they meant.

Text enters: a decimal, `inf`, `nan`, a complex number, a fraction, a hexadecimal float, or a formula of constants such
as `6 * cos(9)`. The nearest float64 (or complex128) leaves, with its slack.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import mpmath

from gradbench.errors import LanguageError
from gradbench.language import parse
from gradbench.program import evaluate

DIGITS: Final = 12
"""A decimal with at least this many significant digits was rounded by whoever wrote it."""

_DECIMAL: Final = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,4})?")
_FRACTION: Final = re.compile(r"([-+]?\d{1,300})\s*/\s*(\d{1,300})")
_HEXADECIMAL: Final = re.compile(r"[-+]?0[xX][0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?(?:[pP][-+]?\d{1,6})?")
_WORDS: Final = {"inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_YAML_WORDS: Final = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_CONTEXT: Final = mpmath.MPContext()
_CONTEXT.dps = 40
_MOST_BITS: Final = 1 << 20
"""An exponent of so many: a sine of more takes as many digits of pi, and a tower of powers all the memory there is."""

Number = float | complex


@lru_cache(maxsize=100_000)
def number(text: str) -> tuple[Number, float]:
    """The number that a text stands for, and its slack: how far it may be from what the author means.

    Raises:
        LanguageError: It is neither a number nor a formula of constants.
    """
    text = text.strip()
    word = {**_WORDS, **_YAML_WORDS}.get(text.lower())
    if word is not None:
        return word, 0.0
    if _DECIMAL.fullmatch(text):
        return float(text), _last_digit(text)
    if _HEXADECIMAL.fullmatch(text):
        try:
            return float.fromhex(text), 0.0
        except OverflowError:
            raise LanguageError(text, 1, 1, "a number beyond float64") from None
    fraction = _FRACTION.fullmatch(text)
    if fraction and int(fraction[2]):
        return _quotient(text, int(fraction[1]), int(fraction[2]))
    try:
        return complex(text.replace(" ", "").replace("i", "j")), 0.0
    except ValueError:
        return _formula(text)


def _quotient(text: str, numerator: int, denominator: int) -> tuple[float, float]:
    exact = Fraction(numerator, denominator)
    try:
        found = numerator / denominator
    except OverflowError:
        raise LanguageError(text, 1, 1, "a number beyond float64") from None
    return found, float(abs(exact - Fraction(found)))


def _last_digit(text: str) -> float:
    """Half a unit of the last digit of a long decimal, 0 of a short one."""
    mantissa, _, exponent = text.lower().lstrip("+-").partition("e")
    whole, _, part = mantissa.partition(".")
    if len((whole + part).lstrip("0")) < DIGITS:
        return 0.0
    return float(f"0.5e{int(exponent or 0) - len(part)}")


def _formula(text: str) -> tuple[Number, float]:
    program = parse(text, ())
    if program.is_tuple:
        raise LanguageError(text, 1, 1, "several numbers", "one of them")
    for node in program.nodes:
        if node.primitive not in _OPS:
            raise LanguageError(
                text, node.line, node.column, f"{node.primitive} has no place in a formula of constants"
            )
    try:
        value = evaluate(program, _OPS, {})
        found = complex(value) if hasattr(value, "conjugate") and value.imag else float(value.real)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise LanguageError(text, 1, 1, f"the formula has no value: {error}") from None
    if isinstance(found, complex):
        return found, abs(found) * 2.0**-52
    return found, abs(found) * 2.0**-52 if math.isfinite(found) else 0.0


def _lift(value: Any) -> Any:
    return _CONTEXT.mpmathify(value)


def _unary(name: str) -> Callable[[Any], Any]:
    function = getattr(_CONTEXT, name)
    return lambda x: function(_lift(x))


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, where neither the numbers given nor the answer are larger or smaller than anything sensible."""

    def checked(*arguments: Any) -> Any:
        return _sensible(function(*map(_sensible, arguments)))

    return checked


def _sensible(number: Any) -> Any:
    found = _lift(number)
    if _CONTEXT.isfinite(found) and found and abs(_CONTEXT.mag(found)) > _MOST_BITS:
        raise OverflowError("beyond every number format on the way")
    return found


_SAME: Final = (
    "sqrt", "cbrt", "exp", "expm1", "log1p", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
    "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "gamma", "digamma",
)  # fmt: skip
_MEANINGS: Final[Mapping[str, Callable[..., Any]]] = {
    **{name: _unary(name) for name in _SAME},
    "asarray": _lift,
    "add": lambda a, b: _lift(a) + b,
    "subtract": lambda a, b: _lift(a) - b,
    "multiply": lambda a, b: _lift(a) * b,
    "divide": lambda a, b: _lift(a) / b,
    "power": lambda a, b: _lift(a) ** b,
    "negative": lambda a: -_lift(a),
    "abs": _unary("fabs"),
    "log": _unary("ln"),
    "log2": lambda x: _CONTEXT.log(_lift(x), 2),
    "gammaln": _unary("loggamma"),
    "expit": lambda x: 1 / (1 + _CONTEXT.exp(-_lift(x))),
    "square": lambda x: _lift(x) ** 2,
    "atan2": lambda a, b: _CONTEXT.atan2(_lift(a), _lift(b)),
}
_OPS: Final = {name: _bounded(function) for name, function in _MEANINGS.items()}
