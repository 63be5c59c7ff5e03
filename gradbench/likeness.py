"""How like a sketch an answer is, and where it isn't.

An answer and a `Sketch` enter; a `Likeness` leaves: whether the sums of the answer are those of the sketch, how large an
error may still be, and which entry is wrong, if it is one alone: the digits of its index are those whose masked sums
are off by all of the error, and the others are off by none of it. Whatever doesn't fit that is several errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gradbench.compare import FORMS, OWN, RADII, SIGMAS, ULPS, Truth, ulp
from gradbench.difference import Difference
from gradbench.query import Array
from gradbench.record import Status
from gradbench.sketch import Sketch, missed

QUADRATURE: Final = 3.0
"""Errors of rounding add up in a sum with random signs like the root of their squares; so many times that is allowed. Were
each entry off by as much as it may be, a sum would be beyond it once in 400; by half of that, once in 10^9."""
FALLBACK_ULPS: Final = 256.0
"""Where rounding could not be modelled: so many ulps of the largest entry for each."""
KINDS: Final = {
    Status.KINK: "f has a kink there",
    Status.HOELDER: "the slopes of f grow without a limit",
    Status.SINGULAR: "f is singular there",
    Status.UNRESOLVED: "the differences of f don't settle",
}


@dataclass(frozen=True)
class Likeness:
    """What a comparison with a sketch found.

    Attributes:
        known: How many of the sums through the whole array are known.
        off: How many of them are not those of the answer.
        nonfinite: How many entries aren't finite.
        tells: Whether a wrong answer would show: the tolerance is less than half of some sum.
        is_zero: Whether every sum is 0 as far as can be seen.
        why: Why a sum isn't known, where one isn't.
        difference: Of the one entry that is wrong; None if none alone can be named.
        stretch: The first and last index, plus 1, between which all is that is wrong, or not finite; those of the array,
            if nobody knows.
        visible: A larger error in one entry alone can't have been missed.
        missed: The probability at most of missing another one whose largest entry is 1000 times that.
        several: Whether masked sums say that it is more than one entry.
        is_close: Whether what is off at least agrees in half of the digits of the format.
        rule: How far sums may be apart, in words.
    """

    known: int
    off: int
    nonfinite: int
    tells: bool
    is_zero: bool
    why: str
    difference: Difference | None
    stretch: tuple[int, int]
    visible: float
    missed: float
    several: bool
    is_close: bool
    rule: str

    def sentence(self, name: str, sketch: Sketch) -> str:
        """What it means for the array of that name, which the sketch is of."""
        if not self.known:
            return f"finite differences have no answer, because {self.why}"
        if self.off:
            return self._blame(lambda index: entry(name, sketch.shape, index), sketch)
        if not self.tells and self.is_zero:
            return "every projection is 0 as far as anyone can see: that proves nothing"
        if not self.tells:
            return "the tolerance exceeds half of every projection: a wrong answer would pass too"
        agree = "1 projection agrees" if self.known == 1 else f"{self.known} projections agree"
        return (
            f"{agree}; one entry alone that is off by more than {self.visible:.1g} can't have been missed, any other error "
            f"with an entry of {1000 * self.visible:.1g} or more with a probability of at most {self.missed:.1g}"
        )

    def _blame(self, name: Callable[[int], str], sketch: Sketch) -> str:
        if self.nonfinite:
            return f"{self.nonfinite} of {sketch.probes.size} not finite, the first is {name(self.stretch[0])}"
        said = f"{self.off} of {self.known} projections disagree; wrong: "
        found, (start, stop) = self.difference, self.stretch
        if found is not None:
            return f"{said}{name(found.worst)}, which is {found.answered!r} and should be {found.right!r} ± {found.allowed:.1g}"
        where = f" from {name(start)} to {name(stop - 1)}" if stop - start < sketch.probes.size else ""
        late = f" ({sketch.remark})" if sketch.remark else ""
        return f"{said}{'several entries' if self.several else 'one entry or several'}{where}{late}"


def entry(name: str, shape: tuple[int, ...], index: int) -> str:
    """The name of an entry: `x[3, 4]`, or `x` if that is a number."""
    return f"{name}[{', '.join(str(int(i)) for i in np.unravel_index(index, shape))}]" if shape else name


def holds(sketch: Sketch, truth: Truth | None) -> bool | None:
    """Whether a sketch is of what is right, within its own error bars; None if not all of that is known."""
    if truth is None or truth.kind.size != sketch.probes.size or not (truth.kind == "number").all():
        return None
    if np.iscomplexobj(truth.centre) or not (np.isfinite(truth.centre) & np.isfinite(truth.radius)).all():
        return None
    probes, known = sketch.probes, sketch.known
    room = QUADRATURE * probes.roots(truth.radius.reshape(-1) + np.spacing(np.abs(truth.centre.reshape(-1))))
    apart = np.abs(probes.sums(truth.centre) - sketch.values)
    return bool((apart <= sketch.radius + room)[known].all())


def liken(
    answer: Array, sketch: Sketch, dtype: str, sigma: Array | None, own: Mapping[str, Any], spread: Array | None = None
) -> Likeness:
    """How like a sketch an answer of its shape is.

    Args:
        answer: Real.
        sketch: Of what is right.
        dtype: The format judged.
        sigma: The standard deviation that rounding alone gives each entry; None if it could not be modelled.
        own: An author's or a person's `rtol`, `atol`, `max_ulps`, with the `reason`.
        spread: How far answers to the same question are apart, where they are.
    """
    wide = np.asarray(answer).astype(np.float64).reshape(-1)
    finite = np.isfinite(wide)
    room, rule = _rounding(np.where(finite, wide, 0), dtype, sigma, own)
    if spread is not None and spread.size == wide.size:
        room, rule = room + spread.reshape(-1), f"{rule} + spread of its own calls"
    probes, known = sketch.probes, sketch.known
    with np.errstate(invalid="ignore", over="ignore"):
        error = probes.sums(wide) - sketch.values
        tolerance = RADII * sketch.radius + QUADRATURE * probes.roots(room)
    whole = slice(0, probes.whole)
    some = known[whole]
    off = some & ~(np.abs(error[whole]) <= tolerance[whole])
    seen = np.abs(sketch.values[whole])
    rooms = np.where(some, tolerance[whole] + sketch.radius[whole], math.inf)
    visible = 2 * float(np.min(rooms, initial=math.inf))
    form = FORMS[dtype]
    scale = math.sqrt(form.epsilon)
    difference, stretch, several, close = None, (0, wide.size), False, False
    if off.any() and finite.all():
        if off[0]:
            stretch, several = _located(sketch, error, tolerance)
        one = stretch[0]
        if stretch[1] - one == 1 and off[0]:
            weight = float(probes.direction(0)[one])
            close = bool(abs(error[0] / weight) <= scale * np.max(np.abs(wide)))
            difference = _difference(
                wide, one, float(error[0]) / weight, float(tolerance[0]) / abs(weight), dtype, close
            )
        else:
            close = bool((np.abs(error[whole])[off] <= scale * probes.roots(wide)[whole][off]).all())
    elif off.any():
        stretch = (int(np.argmin(finite)), wide.size - int(np.argmin(finite[::-1])))
    words = sketch.words[whole][~some]
    return Likeness(
        known=int(some.sum()),
        off=int(off.sum()),
        nonfinite=int((~finite).sum()),
        tells=bool((some & (tolerance[whole] < seen / 2)).any()),
        is_zero=bool((seen <= tolerance[whole])[some].all()),
        why=KINDS.get(Status(str(words[0])), "its error bar is infinite") if words.size else "",
        difference=difference,
        stretch=stretch,
        visible=visible,
        missed=missed(rooms, 1000 * visible),
        several=several,
        is_close=close,
        rule=rule,
    )


def _rounding(answer: Array, dtype: str, sigma: Array | None, own: Mapping[str, Any]) -> tuple[Array, str]:
    """How far each entry may be off, and the rule."""
    form = FORMS[dtype]
    unit = ulp(answer, form)
    if set(own) & OWN:
        room = own.get("rtol", 0.0) * np.abs(answer) + own.get("atol", 0.0) + own.get("max_ulps", 0.0) * unit
        words = " + ".join(f"{key} {own[key]:g}" for key in ("rtol", "atol", "max_ulps") if key in own)
        return (
            room,
            f"projections: {QUADRATURE:g} roots of the squares of ({words}: {own.get('reason', 'as asked')}) + {RADII:g}r",
        )
    if sigma is not None and sigma.size == answer.size and np.isfinite(sigma).all():
        room, words = SIGMAS * sigma.reshape(-1) + ULPS * unit, f"{SIGMAS:g}σ + {ULPS:g} ulp"
    else:
        largest = np.full(answer.shape, np.max(np.abs(answer), initial=0.0))
        room, words = FALLBACK_ULPS * ulp(largest, form), f"{FALLBACK_ULPS:g} ulp of the largest"
    return room + form.smallest_normal, f"projections: {QUADRATURE:g} roots of the squares of ({words}) + {RADII:g}r"


def _located(sketch: Sketch, error: Array, tolerance: Array) -> tuple[tuple[int, int], bool]:
    """The first and last index, plus 1, between which all errors are, as far as masked sums tell; whether it is several."""
    probes = sketch.probes
    start, width = 0, 1 << (probes.size - 1).bit_length()
    for i, bit in enumerate(probes.bits, start=probes.whole):
        if bit != width.bit_length() - 2 or not sketch.known[i]:
            break
        with_it, without = error[i], error[0] - error[i]
        room = tolerance[i] + tolerance[0]
        inside, outside = abs(with_it) > tolerance[i], abs(without) > room
        if inside == outside:
            return (start, min(start + width, probes.size)), bool(inside)
        if inside and start + width // 2 >= probes.size:
            return (start, probes.size), True
        width >>= 1
        start += width if inside else 0
    return (start, min(start + width, probes.size)), False


def _difference(answer: Array, index: int, by: float, allowed: float, dtype: str, is_close: bool) -> Difference:
    """Of the entry with that index, which is off by so much, while all the others are right."""
    given = float(answer[index])
    right = given - by
    return Difference(
        absolute=abs(by),
        relative=abs(by / right) if right else math.inf,
        ulps=abs(by) / float(ulp(np.array(right), FORMS[dtype])),
        median_ulps=math.nan,
        bad=1,
        nonfinite=0,
        size=answer.size,
        worst=index,
        answered=given,
        right=right,
        allowed=allowed,
        is_close=is_close,
        is_informative=True,
    )
