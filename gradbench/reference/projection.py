"""Somebody's derivative at a point of any size, checked by a few numbers.

A function and a derivative of it enter, as callables or arrays; a `Projection` leaves: whether <u, J v> is what the
ladder of finite differences says, for a few random directions u and v, how large an error may still be, and, where one
was seen, which entries are wrong. The cost is that of some 34 evaluations of f for two projections, whatever the size,
where f settles at once; 45 for each of them where it doesn't, and 20 or 45 for each halving in the search of a wrong
entry.

The directions have entries of sign x U(0.5, 1.5). A single wrong entry is multiplied by 0.25 or more and can't hide, as
it does behind small entries of a Gaussian; a pair of opposite errors doesn't cancel, as it does for every second
direction of signs alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from gradbench.errors import BadOption, suggestion
from gradbench.query import Array
from gradbench.reference.differences.bisection import Gap
from gradbench.reference.differences.contraction import DTYPES, Answer
from gradbench.reference.differences.culprit import Search, Wrong
from gradbench.reference.differences.probe import LEVELS
from gradbench.reference.differences.subject import Fault, Layout, Slope, Subject
from gradbench.sketch import direction

KINDS: Final = {
    "kink": "f has a kink there",
    "hoelder": "the slopes of f grow without a limit",
    "singular": "f is singular there",
    "unresolved": "the differences of f don't settle",
    "ok": "the error bar is infinite",
}


class Outcome(StrEnum):
    """What a check says."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Probe:
    """One projection.

    Attributes:
        value: <u, J v> by finite differences; NaN where the ladder has none.
        bound: How far that may be off.
        status: What the ladder says of it: `ok`, or why there is no value to rely on.
        given: The same from the derivative that is checked.
        tolerance: How far apart the two may be; infinite where the ladder has no value.
    """

    value: float
    bound: float
    status: str
    given: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the two are as close as they must be; true as well where nobody knows."""
        return not Gap(self.given - self.value, self.tolerance).wrong

    @property
    def tells(self) -> bool:
        """Whether agreement means something: the error bar is less than half of the value."""
        return self.tolerance < abs(self.value) / 2


@dataclass(frozen=True)
class Projection:
    """What a check found.

    Attributes:
        outcome: `passed`, `failed` or `inconclusive`.
        sentence: Why, for people.
        seed: Of the directions.
        probes: The projections, in order.
        evaluations: At how many points f was evaluated, those of the search included.
        wrong: Wrong entries, in the order in which they were found.
        stretches: First and last flat index, plus 1, of inputs that are wrong together, while none is so by itself.
        more: Whether something else is wrong.
        visible: An error in one entry alone that is larger can't have been missed; infinite if any can.
        grain: The directions are multiples of it.
        sides: 1 if only the input is projected, 2 if the output is as well.
        weight: Of f's answer in the projections, where that is one number.
    """

    outcome: Outcome
    sentence: str
    seed: int | str
    probes: tuple[Probe, ...] = ()
    evaluations: int = 0
    wrong: tuple[Wrong, ...] = ()
    stretches: tuple[tuple[int, int], ...] = ()
    more: bool = False
    visible: float = math.inf
    grain: float = 0.0
    sides: int = 1
    weight: float = 1.0

    @property
    def projections(self) -> int:
        """How many there were."""
        return len(self.probes)

    def missed(self, size: float) -> float:
        """The most that the probability is of missing an error whose largest entry is of this size.

        The model: the error E is there before the directions are drawn, and the ladder's bounds hold. A projection
        misses E if |u E v| <= t, its tolerance and bound together. Given the rest, v_j a is spread evenly over
        ±[a/2, 3a/2], so that |v E| <= t has at most probability t/a; and (t/a)(1 + log(a/t)) if u is random too.
        Projections are independent. Of an error in one entry alone it is 0 once that is more than `visible`.
        """
        chance = 1.0
        for probe in self.probes:
            part = min(1.0, (probe.tolerance + probe.bound) / (size * self.weight)) if size > 0 else 1.0
            part = part if math.isfinite(part) else 1.0
            if self.sides == 2 and part > 0:
                part *= 1 - math.log(part)
            chance *= min(1.0, part + self.sides * self.grain / 2)
        return chance


def check(
    f: Callable[[Any], Any],
    x: Any,
    *,
    gradient: Any = None,
    vjp: Callable[[Any], Any] | None = None,
    jvp: Callable[[Any], Any] | None = None,
    seed: int | str = 0,
    projections: int = 2,
    names: int = 8,
    ratio: int = 4,
    vectorized: bool = True,
    dtype: str = "float64",
    ulps: float = 4.0,
) -> Projection:
    """Whether a derivative of f at x is what values of f say, by projections.

    One of `gradient`, `vjp` and `jvp` is given. What f or the derivative gets wrong by itself is in the answer.
    The ladders are one call of f up to some 4,000 entries; beyond, it is several, of 1 MB or of one point.

    Args:
        f: Takes points of shape (B, *x), or arrays of shape (B, *part) by name, and answers with an array of
            shape (B, *y), in float64.
        x: An array, or arrays by name.
        gradient: Of an f that answers with one number: of the shape of x, and by name if x is.
        vjp: Takes a cotangent of shape y, and answers like `gradient`: the gradient of the sum of cotangent times f.
        jvp: Takes a tangent of the shape of x, and answers with shape y.
        seed: Another one gives other directions. An error that was missed is missed again with the same seed.
        projections: How many.
        names: The most wrong entries to name; 0 to search for none.
        ratio: As for `derivative`: 33, 45 or 79 evaluations each, where a short ladder isn't enough. Where some entries
            of x are close to 0 the ladder is long, and 33 evaluations see an error ten times as large as 45 do.
        vectorized: False if f takes one point of shape x and answers with y.
        dtype: In which the derivative was computed, at an x that it holds exactly: directions are made of numbers it
            holds as well, and arrive in it.
        ulps: By how much each entry of the derivative may be off by rounding.

    Raises:
        BadOption: An option that can't be used, or an x that isn't real numbers.
    """
    given = [name for name, one in (("gradient", gradient), ("vjp", vjp), ("jvp", jvp)) if one is not None]
    if len(given) != 1:
        raise BadOption(f"{' and '.join(given) or 'no derivative'} to check; give one of gradient, vjp, jvp")
    if dtype not in DTYPES:
        raise BadOption(f"dtype {dtype!r}; {suggestion(dtype, DTYPES)}")
    if ratio not in LEVELS:
        raise BadOption(f"ratio {ratio}; {', '.join(map(str, LEVELS))} are known")
    if projections < 1 or names < 0 or not 0 <= ulps < math.inf:
        raise BadOption(f"projections {projections}, names {names}, ulps {ulps}; 1, 0 and 0 are the least")
    layout, point = Layout.of(x)
    if not point.size or not np.isfinite(point).all():
        empty = "x has no entries" if not point.size else "x isn't finite"
        return Projection(Outcome.INCONCLUSIVE, f"{empty}, so there is nothing to compare", seed)
    subject: Subject | None = None
    try:
        subject = Subject(f, layout, point, vectorized, ratio)
        answer = Answer(given[0], {"gradient": gradient, "vjp": vjp, "jvp": jvp}[given[0]], subject, dtype, ulps)
        return _Check(subject, answer, seed, projections, names).result()
    except Fault as fault:
        outcome = Outcome.FAILED if fault.is_wrong else Outcome.INCONCLUSIVE
        return Projection(outcome, str(fault), seed, evaluations=subject.evaluations if subject else 1)


class _Check:
    """One check: the projections, and the search where one of them disagrees."""

    def __init__(self, subject: Subject, answer: Answer, seed: int | str, projections: int, names: int) -> None:
        self.subject, self.answer, self.seed = subject, answer, seed
        self.search = Search(subject, answer, names)
        n, m = subject.point.size, subject.size
        # One number needs one weight, by which its derivative is asked for once.
        weights = [np.ones(m)] if answer.kind == "gradient" else [direction(f"{seed}:0:u", m, answer.digits)]
        weights += [
            weights[0] if m == 1 else direction(f"{seed}:{i}:u", m, answer.digits) for i in range(1, projections)
        ]
        self.directions = [(u, direction(f"{seed}:{i}:v", n, answer.digits)) for i, u in enumerate(weights)]

    def result(self) -> Projection:
        """What there is to say."""
        u, v = (np.stack(side) for side in zip(*self.directions, strict=True))
        slopes = self.subject.slopes(u, v)
        probes = tuple(self._probe(*sides, one) for sides, one in zip(self.directions, slopes, strict=True))
        usable = [(probe, u, v) for probe, (u, v) in zip(probes, self.directions, strict=True) if _known(probe)]
        # An entry that is wrong comes into a projection by a weight no less than this.
        least = [(p.tolerance + p.bound) / float(np.min(np.abs(u)) * np.min(np.abs(v))) for p, u, v in usable]
        failing = [i for i, probe in enumerate(probes) if not probe.agrees]
        if failing:
            outcome, sentence = Outcome.FAILED, self._blame(probes, failing)
        elif not any(probe.tells for probe in probes):
            outcome, sentence = Outcome.INCONCLUSIVE, self._excuse(probes)
        else:
            outcome, sentence = Outcome.PASSED, ""
        result = Projection(
            outcome=outcome,
            sentence=sentence,
            seed=self.seed,
            probes=probes,
            evaluations=self.subject.evaluations,
            wrong=tuple(self.search.wrong),
            stretches=tuple(self.search.stretches),
            more=self.search.more,
            visible=min(least, default=math.inf),
            grain=2.0**-self.answer.digits,
            sides=1 if self.subject.size == 1 else 2,
            weight=abs(float(u[0, 0])) if self.subject.size == 1 else 1.0,
        )
        return Projection(**{**result.__dict__, "sentence": _praise(result)}) if not sentence else result

    def _probe(self, u: Array, v: Array, slope: Slope) -> Probe:
        given, rounding = self.answer.along(u, v, slice(0, len(v)))
        if slope.gap(given, rounding).wrong:
            slope = self.subject.along(u, v, again=True)
        tolerance = slope.gap(given, rounding).tolerance
        return Probe(slope.value, slope.bound, slope.status, given, tolerance)

    def _excuse(self, probes: tuple[Probe, ...]) -> str:
        reason = f": {self.subject.reason}" if self.subject.reason else ""
        unknown = [probe for probe in probes if not _known(probe)]
        if unknown:
            return f"finite differences have no answer at x, because {KINDS[unknown[0].status]}{reason}"
        if all(abs(probe.value) <= probe.tolerance for probe in probes):
            return f"the derivative is 0 as far as anyone can see, in every projection; that proves nothing{reason}"
        return f"the error bar is more than half of the value in every projection; that proves nothing{reason}"

    def _blame(self, probes: tuple[Probe, ...], failing: list[int]) -> str:
        """The sentence of a failure, after the search."""
        first = probes[failing[0]]
        says = (
            f"{self.answer.kind} says {first.given:.6g}, finite differences {first.value:.6g} ± {first.tolerance:.1g}"
        )
        sentence = f"{len(failing)} of {len(probes)} projections disagree: {says}"
        if self.answer.narrow:
            sentence += f" ({self.answer.narrow}, judged as {self.answer.dtype})"
        if not self._repeats(failing[0]):
            return f"{sentence}; {self.answer.kind} isn't deterministic: asked again, it answers differently"
        search = self.search
        if not search.names:
            search.more = True
            return sentence
        for i in failing:
            search.through(*self.directions[i], Gap(probes[i].given - probes[i].value, probes[i].tolerance))
        listed = [str(one) for one in search.wrong]
        name = self.subject.layout.name
        listed += [f"something from {name(start)} to {name(stop - 1)}" for start, stop in search.stretches]
        return f"{sentence}; wrong: {'; '.join(listed)}{' and more' if search.more else ''}"

    def _repeats(self, i: int) -> bool:
        """Whether a callable answers what it answered before, but for the order of summation."""
        u, v = self.directions[i]
        if self.answer.kind == "gradient":
            return True
        asked = u if self.answer.kind == "vjp" else v
        first = self.answer.pulled(u) if self.answer.kind == "vjp" else self.answer.asked(v)
        again = self.answer.asked(asked)
        size = float(np.max(np.abs(first), initial=0, where=np.isfinite(first)))
        return bool(np.allclose(again, first, rtol=0, atol=64 * self.answer.rounding * size, equal_nan=True))


def _known(probe: Probe) -> bool:
    return math.isfinite(probe.tolerance)


def _praise(result: Projection) -> str:
    """The sentence of a success: what it means."""
    size = 1000 * result.visible
    return (
        f"{result.projections} projections agree within their error bars; one entry alone that is off by more than "
        f"{result.visible:.1g} can't have been missed, any other error with an entry of {size:.1g} or more with "
        f"a probability of at most {result.missed(size):.1g}"
    )
