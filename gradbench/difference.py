"""`Difference`: how far one array of an answer is from the truth; and that of a few numbers, one by one.

Of a few finite real numbers, which most answers are, each is looked at alone: that is the same as what `compare` does with
arrays, and takes a tenth of the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_LARGEST: Final = math.ldexp(1 - 2.0**-53, 1024)


@dataclass(frozen=True)
class Format:
    """A floating-point format: digits of its significand, exponent of its smallest normal number, largest number."""

    digits: int
    least_exponent: int
    largest: float

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next number."""
        return 2.0 ** (1 - self.digits)

    @property
    def smallest_normal(self) -> float:
        """Below it, hardware may answer 0: XLA and Eigen flush what is smaller."""
        return math.ldexp(1.0, self.least_exponent)


@dataclass(frozen=True)
class Difference:
    """How far one array of an answer is from the truth.

    Attributes:
        absolute, relative, ulps: The largest over the components that have a right number; NaN where none has.
        median_ulps: The median of the same.
        bad: How many components are beyond the tolerance or not finite where the truth is.
        nonfinite: How many of them are NaN or infinite.
        size: How many components there are.
        worst: The flat index of the worst component.
        answered, right: What was said and what is right there.
        allowed: The tolerance there.
        is_close: Whether the bad ones at least agree with the truth in half of the digits of the format.
        is_informative: Whether a wrong answer could have been told from a right one.
    """

    absolute: float
    relative: float
    ulps: float
    median_ulps: float
    bad: int
    nonfinite: int
    size: int
    worst: int
    answered: complex
    right: complex
    allowed: float
    is_close: bool
    is_informative: bool

    @property
    def grade(self) -> str:
        """How accurate the answer is, in a word."""
        return grade(self.ulps)


GRADES: Final = ((0.5, "rounded"), (1.0, "faithful"), (4.0, "close"), (1e3, "fair"), (math.inf, "poor"))


def grade(ulps: float) -> str:
    """A word for an error in ulps: rounded (0.5), faithful (1), close (4), fair (1000), poor; empty for NaN."""
    return "" if math.isnan(ulps) else next(word for limit, word in GRADES if ulps <= limit)


def few(
    answer: list[float], centre: list[float], tail: list[float], unit: list[float], bound: list[float], form: Format
) -> Difference:
    """How far a few numbers are from those that are right, one by one.

    Args:
        answer: What was said.
        centre: What is right, rounded; finite.
        tail: What the centre lacks.
        unit: In the last place of each.
        bound: How far each may be off.
        form: The format judged.
    """
    most = form.largest * (1 - form.epsilon / 4)
    errors, ulps, relative, bad = [], [], [], []
    for i, (said, right, rest, room) in enumerate(zip(answer, centre, tail, bound, strict=True)):
        error = abs((said - right) - rest)
        overflows = abs(right) > most and math.isinf(said) and (said > 0) == (right > 0)
        errors.append(error)
        if not (error <= room or overflows):
            bad.append(i)
        measured = 0.0 if overflows else error
        if right == 0:
            counted = not error <= room
            ulps.append(measured / unit[i] if counted else math.nan)
            relative.append(math.inf if counted and measured > 0 else math.nan)
        else:
            ulps.append(measured / unit[i])
            relative.append(measured / abs(right))
    counts = [x for x in ulps if x == x]  # noqa: PLR0124  # NaN
    none_counted = all(right == 0 and error <= room for right, error, room in zip(centre, errors, bound, strict=True))
    worst = _worst_of_few(errors, ulps, bound, bad)
    half = math.sqrt(form.epsilon) * max(map(abs, centre))
    return Difference(
        absolute=_most(errors),
        relative=_most(relative),
        ulps=0.0 if none_counted else _most(counts),
        median_ulps=0.0 if none_counted else _middle(counts),
        bad=len(bad),
        nonfinite=sum(not math.isfinite(answer[i]) for i in bad),
        size=len(answer),
        worst=worst,
        answered=complex(answer[worst]),
        right=centre[worst],
        allowed=bound[worst],
        is_close=all(errors[i] <= half for i in bad),
        is_informative=any(room <= 0.5 * abs(right) for right, room in zip(centre, bound, strict=True) if right != 0)
        or not any(centre),
    )


def _worst_of_few(errors: list[float], ulps: list[float], bound: list[float], bad: list[int]) -> int:
    """The one to show: the worst of the bad ones, else the least accurate."""
    if not bad:
        scores = [0.0 if math.isnan(x) else min(x, _LARGEST) for x in ulps]
        return scores.index(max(scores))
    excesses = [errors[i] / max(bound[i], 5e-324) for i in bad]
    excesses = [math.inf if math.isnan(x) or math.isnan(bound[i]) else x for i, x in zip(bad, excesses, strict=True)]
    return bad[excesses.index(max(excesses))]


def _most(values: list[float]) -> float:
    """The largest that is a number."""
    return max((x for x in values if x == x), default=math.nan)  # noqa: PLR0124  # NaN


def _middle(values: list[float]) -> float:
    """The median of numbers."""
    if not values:
        return math.nan
    half, odd = divmod(len(values), 2)
    ordered = sorted(values)
    return ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2
