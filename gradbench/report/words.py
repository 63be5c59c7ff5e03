"""Numbers and arrays as the words a report shows.

Rounding is for people: the record file and the CSV hold every digit.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from gradbench.compare import Truth
from gradbench.query import Array, Stated
from gradbench.wire import SHORT

_DIGITS: Final = {"float32": 9, "complex64": 9, "float16": 5, "bfloat16": 4}
"""How many digits read back as the same number of that format."""

_KEPT: Final = frozenset("\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")


def shown(text: str) -> str:
    """The text with whatever can't be seen made visible: control characters as their pictures, others by number.

    Signs that turn the direction of the text are among them, so that no name can pass for another.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _KEPT else _picture(c) for c in text)


def _picture(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    return " " if unicodedata.category(character) == "Zs" else f"⟨U+{code:04X}⟩"


def rounded(value: float | None, digits: int = 3) -> float | int | str | None:
    """A number of a few digits as JSON holds it: none for what doesn't apply, a word for the infinities."""
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def brief(value: float, digits: int = 3) -> str:
    """A number of a few digits for people; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e")


def percent(share: float) -> str:
    """A share in per cent, rounded down: what isn't all of it is never 100 %."""
    return "100 %" if share >= 1 else f"{math.floor(1000 * share) / 10:.1f} %"


def seconds(value: float) -> str:
    """A time in the unit that suits it; empty for NaN."""
    if math.isnan(value):
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def entry(number: Any, name: str) -> str:
    """One number in the fewest digits that read back as itself in its own format, without blanks."""
    if isinstance(number, bool | np.bool_):
        return str(bool(number))
    if isinstance(number, complex):
        sign = "" if math.copysign(1.0, number.imag) < 0 or math.isnan(number.imag) else "+"
        return f"{_real(number.real, name)}{sign}{_real(number.imag, name)}j"
    return _real(number, name) if isinstance(number, float) else str(number)


def _real(number: float, name: str) -> str:
    digits = _DIGITS.get(name)
    return repr(number).removesuffix(".0") if digits is None else f"{number:.{digits}g}"


@functools.cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name


def array_text(array: Array | None) -> str:
    """An array as `2x2|1 2 3 4`: its shape, then its entries; without them where they are too many to show.

    Nothing answered is `None`.
    """
    if array is None:
        return "None"
    name = _name(array.dtype)
    if not array.shape:  # most answers are one number
        return f"|{entry(array.item(), name)}"
    shape = "x".join(map(str, array.shape))
    if array.size > SHORT:
        return shape
    wide = array.reshape(-1)
    wide = (
        wide.astype(np.complex128 if wide.dtype.kind == "c" else np.float64) if wide.dtype.kind not in "iub" else wide
    )
    return f"{shape}|{' '.join(entry(number, name) for number in wide.tolist())}"


def truth_text(truth: Truth) -> str:
    """What is right, in the form of `array_text`: `[0,1]` for a set, `{0,1}` for a choice, a word for no number."""
    shape = "x".join(map(str, truth.shape))
    if truth.centre.size > SHORT:
        return shape
    parts = (getattr(truth, name).reshape(-1).tolist() for name in ("kind", "centre", "lower", "upper"))
    rows = zip(*parts, strict=True)
    words = [_right(kind, ends, truth.choices, i) for i, (kind, *ends) in enumerate(rows)]
    return f"{shape}|{' '.join(words)}"


def _right(kind: str, ends: list[float], choices: Mapping[int, tuple[complex, ...]], index: int) -> str:
    if kind == "number":
        return entry(ends[0], "float64")
    if kind == "set":
        return f"[{entry(ends[1], 'float64')},{entry(ends[2], 'float64')}]"
    if kind == "choice":
        return "{" + ",".join(entry(c, "float64") for c in choices.get(index, ())) + "}"
    return kind


def stated_text(stated: Stated) -> str:
    """What the author states, in the same form."""
    shape = "x".join(map(str, stated.lower.shape))
    if stated.lower.size > SHORT:
        return shape
    lower, upper = (a.reshape(-1).tolist() for a in (stated.lower, stated.upper))
    words = []
    for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
        if i in stated.words:
            words.append(stated.words[i])
        elif i in stated.choices:
            words.append("{" + ",".join(entry(c, "float64") for c in stated.choices[i]) + "}")
        elif low == high or low != low:  # noqa: PLR0124  # NaN
            words.append(entry(low, "float64"))
        else:
            words.append(f"[{entry(low, 'float64')},{entry(high, 'float64')}]")
    return f"{shape}|{' '.join(words)}"
