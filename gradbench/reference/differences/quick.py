"""A short ladder: the slope of a function that settles within a few steps, at a third of the evaluations.

Samples along one line enter, as plain numbers; a slope with its bound leaves, or nothing where the function needs the
whole ladder. Five steps are extrapolated, each a quarter of the one before; a sixth, far below, is there to contradict:
to see a kink at the point, or close to it, which the others have reached across. The scheme, its charges for noise and
its caution are those of `ladder`; it is written for single numbers, since arrays of ten cost more than what is done to
them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradbench.query import Array
from gradbench.reference.differences.ladder import CAUTION, CLEAR, EPS, SAFETY

RUNGS: Final = (0, -2, -4, -6, -8, -21)
"""The exponents of the steps, from the top of the line's ladder; the last one is the step that contradicts."""
MIXED: Final = (0, -2, -4, -6, -9)
"""The same for mixed second derivatives, where noise grows with the square."""
SETTLED: Final = 4.0
"""A bound is small enough if it is so many times what noise alone takes from the last of the steps that are
extrapolated: a function that varies on a smaller scale than they leaves more, and is looked at with the whole ladder."""
SHARE: Final = 2.0**-20
"""Nor may it be more than this part of the quotients: what isn't more than noise is for the whole ladder to say."""
FAR: Final = 2.0**30
"""So far out the function may vary on another scale than the point, which a short ladder can't reach."""
BESIDE: Final = 32
"""Points are so many powers of two apart where a short ladder looks for noise: near enough for f to be straight, and far
enough for sums of many terms to be rounded afresh, which points next to each other are not."""


def hum(close: Array) -> Array:
    """The noise of f, from values at points in a row, of shape (points, ...); a kink among them isn't noise."""
    bends = np.sort(np.abs(np.diff(close, 2, axis=0)), axis=0)
    # A kink makes no more than two of them large.
    return np.asarray(np.minimum(bends[-1], 2 * bends[-3]) / 2)


@dataclass(frozen=True)
class Course:
    """How far to go along some lines.

    Attributes:
        top: The longest step along each, a power of two; of shape (lines).
        place: How far the point is from 0 along each, of shape (lines).
    """

    top: Array
    place: Array

    @classmethod
    def of(cls, x: Array, directions: Array) -> Course | None:
        """That of lines through x, of shape (n), of shape (lines, n), none of them 0; None if x is far out."""
        far, size = np.abs(x), np.abs(directions)
        with np.errstate(divide="ignore"):
            inverse = 1 / size
        still = not size.all()
        place = np.max(np.where(size > 0, far * np.where(size > 0, inverse, 0), 0) if still else far * inverse, axis=1)
        large = np.min(np.maximum(far, 1) * inverse, axis=1)
        if not (large * np.max(size, axis=1) < FAR).all():
            return None
        return cls(np.exp2(np.floor(np.log2(large)) - 2), place)

    @property
    def beside(self) -> float:
        """How far apart points are along the first line where noise is looked for."""
        return float(self.top[0]) * 2.0 ** (2 - BESIDE)

    def steps(self, rungs: Sequence[int] = RUNGS, down: int = 0) -> Array:
        """The steps along each line, of shape (lines, rungs), so many powers of two further down."""
        return self.top[:, None] * np.exp2(np.array(rungs, np.float64) - down)


def settled(
    plus: Sequence[float], minus: Sequence[float], centre: float, steps: Sequence[float], quiet: float, place: float
) -> tuple[float, float] | None:
    """The slope and how far it may be off; None if that isn't to be had here.

    Args:
        plus: f ahead, at each of the steps.
        minus: f behind.
        centre: f at the point.
        steps: Falling; the last one is far below the others.
        quiet: The noise of f that was seen around the point.
        place: How far the point is from 0 along the line.
    """
    if not all(map(math.isfinite, (*plus, *minus, centre, quiet))):
        return None
    noise = [
        SAFETY * max(quiet, EPS * max(abs(p), abs(m), abs(centre))) / t
        for p, m, t in zip(plus, minus, steps, strict=True)
    ]
    central = [(p - m) / (2 * t) for p, m, t in zip(plus, minus, steps, strict=True)]
    bend = [abs(p - 2 * centre + m) / t for p, m, t in zip(plus, minus, steps, strict=True)]
    # How f's own rounding of its argument shifts the slope: by the smallest bend that two steps in a row agree on.
    turned = [a * place / t for a, t in zip(bend, steps, strict=True)]
    turn = min(max(a, b) for a, b in itertools.pairwise(turned))
    # A bend that doesn't shrink with the step is a kink.
    is_kink = not bend[-1] <= 4 * bend[-2] * steps[-1] / steps[-2] + CLEAR * noise[-1]
    return None if is_kink else limit(central, noise, steps, turn)


def limit(
    quotients: Sequence[float], noise: Sequence[float], steps: Sequence[float], turn: float = 0.0, share: float = SHARE
) -> tuple[float, float] | None:
    """What central quotients come to, and how far that may be off; None if they don't settle.

    Args:
        quotients: At each of the steps; a series in the square of it.
        noise: By how much each may be off through the noise of f.
        steps: Falling; the last one is far below the others, and only has to agree.
        turn: What an error of its argument by all of itself would change.
        share: The most that the bound may be of the largest quotient.
    """
    if not all(map(math.isfinite, (*quotients, *noise))):
        return None
    value, bound = _extrapolated(quotients[:-1], noise[:-1], steps[:-1])
    bound += EPS * (abs(value) + turn)
    if not 0 < bound <= min(SETTLED * noise[-2], share * max(map(abs, quotients))):
        return None
    return (value, bound) if abs(value - quotients[-1]) <= bound + 2 * noise[-1] else None


def _extrapolated(quotients: Sequence[float], noise: Sequence[float], steps: Sequence[float]) -> tuple[float, float]:
    """As `ladder.extrapolate`."""
    table, leak = list(quotients), list(noise)
    found: list[tuple[float, float]] = []
    for j in range(1, len(steps)):
        rates = [(s / t) ** 2 for s, t in zip(steps, steps[j:], strict=False)]
        before = table
        table = [b + (b - a) / (rate - 1) for (a, b), rate in zip(itertools.pairwise(before), rates, strict=True)]
        leak = [(rate * b + a) / (rate - 1) for (a, b), rate in zip(itertools.pairwise(leak), rates, strict=True)]
        # A column hardly changes what it is given from the finer side, be that right or wrong.
        spread = [
            max(abs(one - a), abs(one - b)) for one, (a, b) in zip(table, itertools.pairwise(before), strict=True)
        ]
        ahead = [abs(b - a) for a, b in itertools.pairwise(table)] + [0.0]
        away = [CAUTION * max(a, b) + charge for a, b, charge in zip(spread, ahead, leak, strict=True)]
        found += zip(away, table, strict=True)
    bound, value = min(found)
    # Widened until no other candidate contradicts it.
    return value, max(bound, *(abs(other - value) - room for room, other in found))


def columns(
    plus: Array, minus: Array, centre: Array, steps: Array, quiet: Array, place: float
) -> tuple[Array, Array, Array]:
    """The same of many functions along one line: slopes, how far each may be off, and which of them settle.

    Args:
        plus: Each f ahead, of shape (steps, m).
        minus: Each f behind.
        centre: Each f at the point, of shape (m).
        steps: As for `settled`, of shape (steps).
        quiet: The noise of each, of shape (m).
        place: As for `settled`.
    """
    steps = steps[:, None]
    size = np.maximum(np.maximum(np.abs(plus), np.abs(minus)), np.abs(centre))
    noise = SAFETY * np.maximum(quiet, EPS * size) / steps
    central, bend = (plus - minus) / (2 * steps), np.abs(plus - 2 * centre + minus) / steps
    turned = bend * place / steps
    table, leak, found = central[:-1], noise[:-1], []
    for j in range(1, len(steps) - 1):
        rate = (steps[: -j - 1] / steps[j:-1]) ** 2
        before, table = table, table[1:] + np.diff(table, axis=0) / (rate - 1)
        leak = (rate * leak[1:] + leak[:-1]) / (rate - 1)
        away = np.maximum(np.abs(table - before[1:]), np.abs(table - before[:-1]))
        away[:-1] = np.maximum(away[:-1], np.abs(np.diff(table, axis=0)))
        found.append((CAUTION * away + leak, table))
    rooms, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    best = np.argmin(rooms, axis=0)[None]
    value = np.take_along_axis(values, best, 0)[0]
    bound = np.max(np.abs(values - value) - rooms, axis=0)
    bound = np.maximum(bound, np.take_along_axis(rooms, best, 0)[0])
    bound += EPS * (np.abs(value) + np.min(np.maximum(turned[1:], turned[:-1]), axis=0))
    # Among many functions some have next to no slope, and that is no reason to doubt it.
    good = (bound > 0) & (bound <= SETTLED * noise[-2]) & (bound <= SHARE * np.max(size / steps[0], axis=0))
    good &= bend[-1] <= 4 * bend[-2] * steps[-1] / steps[-2] + CLEAR * noise[-1]
    good &= np.abs(value - central[-1]) <= bound + 2 * noise[-1]
    return value, bound, good
