"""Limits along lines: the first and second derivative, one-sided ones, and what there is where there is none.

Samples of f at steps ahead and behind a point enter; a `Limit` leaves, with a status for every line and component.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from gradbench.query import Array
from gradbench.reference.differences.ladder import (
    CEILING,
    CLEAR,
    EPS,
    SAFETY,
    WINDOW,
    extrapolate,
    gap,
    rate,
    roughness,
    steady,
    straddled,
)


class Status(StrEnum):
    """What the ladder says of one number."""

    OK = "ok"
    KINK = "kink"
    HOELDER = "hoelder"
    SINGULAR = "singular"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True)
class Limit:
    """Limits by column, all of one shape.

    Attributes:
        value: The derivative; NaN where there is none.
        bound: How far it may be off.
        status: A `Status`.
        left, right: One-sided derivatives: apart at a kink, one of them NaN at the edge of a domain.
        noise: How far one value of f is off by rounding, as seen around the point.
    """

    value: Array
    bound: Array
    status: Array
    left: Array
    right: Array
    noise: Array


def _goes_on(quotients: Array, steps: Array, powers: Array, near: Array, reach: Array, noise: Array) -> Array:
    """Whether the quotient of a much smaller step is what a power law says, as far as noise lets it be seen."""
    amplitude = (quotients[-1] - quotients[-2]) / (steps[-1] ** powers - steps[-2] ** powers)
    expected = quotients[-1] + amplitude * (reach**powers - steps[-1] ** powers)
    logarithmic = quotients[-1] + (quotients[-1] - quotients[-2]) * np.log(steps[-1] / reach) / np.log(
        steps[-2] / steps[-1]
    )
    expected = np.where(np.abs(powers) < 0.05, logarithmic, expected)
    found: Array = np.abs(near - expected) <= 0.5 * np.abs(expected) + CLEAR * noise
    return found


@dataclass(frozen=True)
class Samples:
    """f along lines through a point, and how finely.

    Attributes:
        plus, minus: f at the steps ahead and behind, of shape (K, lines, components).
        centre: f at the point, of shape (components).
        close: f at points next to each other around it, evenly spaced, of shape (odd, lines, components).
        steps: Of shape (K, lines, 1).
        reach: How far the outermost of `close` are away, of shape (lines, 1).
        ahead, behind: The steps as they came out after rounding, of the same shape.
        size: The size of the terms that f was summed from, where that is more than |f|; as `plus`.
        place: How far the point is from 0 along the line, for the rounding of f's argument; of shape (lines, 1).
        terms: How large what f is summed from may be at the point without being seen in f.
        double: Whether all of f is known to be computed in double precision, so that it has no stairs that are wider.
    """

    plus: Array
    minus: Array
    centre: Array
    close: Array
    steps: Array
    reach: Array
    ahead: Array
    behind: Array
    size: Array
    place: Array
    terms: float = 1.0
    double: bool = False


def still(samples: Samples) -> Array:
    """The noise of f that is seen before anything is asked of the ladder: rounding, and points next to each other."""
    with np.errstate(invalid="ignore"):
        beside = 0.5 * _largest(np.abs(np.diff(samples.close, 2, axis=0)))
    return np.maximum(EPS * samples.size, beside)


def heard(samples: Samples) -> Array:
    """The noise of f that irregular quotients along the line betray, of shape (lines, components)."""
    s = samples
    with np.errstate(all="ignore"):
        steps, width = np.broadcast_to(s.steps, s.plus.shape), s.ahead + s.behind
        bend = ((s.plus - s.centre) / s.ahead - (s.centre - s.minus) / s.behind) * 2 / width
        ceiling = _ceiling(s.size)
        return np.maximum(
            roughness((s.plus - s.minus) / width, steps, 1, 1, ceiling), roughness(bend, steps, 2, 4, ceiling)
        )


def slope(samples: Samples) -> Limit:
    """The first derivative along each line, of shape (lines, components)."""
    with np.errstate(all="ignore"):
        return _slope(samples)


def _slope(s: Samples) -> Limit:
    steps = np.broadcast_to(s.steps, s.plus.shape)
    width = s.ahead + s.behind
    right, left = (s.plus - s.centre) / s.ahead, (s.centre - s.minus) / s.behind
    central = (s.plus - s.minus) / width
    quiet = still(s)
    ceiling = _ceiling(s.size)
    noise = np.maximum(quiet, SAFETY * np.maximum(heard(s), quiet[-1]))
    value, bound = extrapolate(central, 2 * noise / width, steps, 2)
    # How f's own rounding of its argument shifts the slope: by the smallest bend that two steps in a row agree on.
    turn = np.abs(right - left) * (2 * s.place / width)
    turn = np.fmin.reduce(np.maximum(turn[1:], turn[:-1]), axis=0)
    uneven = np.max(np.abs(s.ahead - s.behind), axis=0) / np.where(s.place > 0, s.place, np.inf)
    bound = bound + np.nan_to_num(EPS * np.abs(value) + (EPS + uneven / 2) * turn, nan=np.inf)
    value, bound = _nearby(s, value, np.fmax(bound, _unseen(s, value)), central, 2 * quiet / width)
    status = _plain(value, bound, right, s)
    # No limit can be seen: the nearest steps still reach across something.
    status[rate(central, quiet / width, steps, 1, ceiling) < 0.05] = Status.UNRESOLVED
    limit = Limit(value, bound, status, value.copy(), value.copy(), noise.min(axis=0))
    return _nonsmooth(limit, s, left, right, quiet / steps, ceiling)


def _ceiling(size: Array) -> Array:
    """What noise may at most be: a part of f's size close by, or of the rounding of its size further away."""
    near = np.nan_to_num(size[len(size) // 2 :], nan=0, posinf=0)
    found: Array = np.maximum(CEILING * np.max(near, axis=0), 256 * EPS * _largest(size))
    return found


def _largest(x: Array) -> Array:
    found: Array = np.max(np.nan_to_num(x, nan=0, posinf=0), axis=0)
    return found


def _plain(value: Array, bound: Array, quotients: Array, s: Samples) -> Array:
    """ok, or unresolved where the bound says nothing; a 0 that is known well is no reason to complain."""
    seen = 1e-6 * _largest(np.abs(quotients[: len(quotients) // 3]))
    scale = np.maximum(seen, 1e-8 * np.maximum(1, np.abs(s.centre)) / s.steps[0])
    vague = ~(bound <= np.maximum(np.abs(value), scale))
    return np.where(vague, Status.UNRESOLVED, Status.OK).astype(object)


def idle(moves: Array, steps: Array) -> Array:
    """The longest step from which on nothing moves, where that goes for half of the steps; elsewhere NaN."""
    first = np.where(moves.any(axis=0), len(moves) - np.argmax(moves[::-1], axis=0), 0)
    longest = np.take_along_axis(np.broadcast_to(steps, moves.shape), np.minimum(first, len(moves) - 1)[None], axis=0)[
        0
    ]
    return np.where(first <= len(moves) // 2, longest, np.nan)


def moving(s: Samples) -> Array:
    """At which steps f is somewhere else than at the point; NaN is."""
    return np.asarray((s.plus != s.centre) | (s.minus != s.centre))


def _unseen(s: Samples, value: Array) -> Array:
    """How large a slope may be that f, standing still far and wide, doesn't show.

    What f is summed from may be larger than f: tanh(30) - tanh(40) is 0, and all around it too, while its slope isn't.
    Terms of the size of 1 are allowed for where nothing more is known of them.
    """
    steps = idle(moving(s), s.steps)
    least = EPS * np.maximum(max(1.0, s.terms), np.abs(s.centre))
    return np.where(np.abs(value) * steps <= least, least / steps, 0.0)


def _nearby(s: Samples, value: Array, bound: Array, central: Array, hush: Array) -> tuple[Array, Array]:
    """The limit, with a bound that allows for kinks close to the point, which most steps reach across."""
    jump = np.abs((s.plus - s.centre) / s.ahead - (s.centre - s.minus) / s.behind)
    kinked, beyond, height = straddled(jump, 2 * hush)
    if kinked.any():
        # Which side the point is on is for the coarsest step to say that is short of nearly all of them.
        number = np.arange(len(central)).reshape(-1, *[1] * beyond.ndim)
        short = (number >= beyond) & (jump <= 0.05 * height + 2 * hush)
        at = np.argmax(short, axis=0)[None]
        said, left, room = (np.take_along_axis(part, at, 0)[0] for part in (central, jump, 4 * hush))
        apart = np.abs(said - value)
        tells = short.any(axis=0) & (left + room < height)
        wider = np.where(tells, np.where(apart <= bound + room, 0, apart + left + room), height)
        bound = np.where(kinked, np.fmax(bound, wider), bound)
    found, other, room = steady(central, hush, value, bound, trusted=s.double)
    if s.double:
        return np.where(found, other, value), np.where(found, room, bound)
    return value, np.where(found, np.abs(other - value) + room, bound)


def _nonsmooth(limit: Limit, s: Samples, left: Array, right: Array, noise: Array, ceiling: Array) -> Limit:
    """The limit with what is known where f has a kink, no slope, an edge or a hole."""
    shape = limit.value.shape
    status = limit.status
    sides = []
    # What isn't seen at the points next to each other as well is close to the point, and not at it.
    nearest = [(s.centre - s.close[0]) / s.reach, (s.close[-1] - s.centre) / s.reach]
    close = noise[-1] * s.steps[-1] / s.reach
    for quotients, near, samples in zip((left, right), nearest, (s.minus, s.plus), strict=True):
        powers = rate(quotients, noise, np.broadcast_to(s.steps, samples.shape), 1, ceiling)
        powers = np.where(_goes_on(quotients, s.steps, powers, near, s.reach, close), powers, np.nan)
        # log t has the power 0; a jump has -1.
        status[powers < 0.05] = Status.SINGULAR
        status[(powers < -0.05) & (powers > -0.9)] = Status.HOELDER
        sides.append(np.isfinite(samples[-WINDOW:]).all(axis=0))
    smooth = (status == Status.OK) | (status == Status.UNRESOLVED)
    apart, jump = gap(right - left, 2 * noise)
    kink = smooth & apart & (np.abs((nearest[1] - nearest[0]) - jump) <= 0.1 * np.abs(jump) + CLEAR * close)
    status[kink] = Status.KINK
    inside = np.isfinite(s.close).all(axis=0)
    edge = ~(sides[0] & sides[1])
    status[edge & ~inside & (smooth | kink)] = Status.SINGULAR
    status[edge & inside & ~np.isfinite(limit.value)] = Status.UNRESOLVED
    status[np.broadcast_to(~np.isfinite(s.centre), shape)] = Status.SINGULAR
    lost = (status != Status.OK) & (status != Status.UNRESOLVED)
    bound = np.where(lost, np.inf, limit.bound)
    outer = [limit.left, limit.right]
    for side, (quotients, defined) in enumerate(zip((left, right), sides, strict=True)):
        wanted = lost & defined & ((status == Status.KINK) | (edge & (status == Status.SINGULAR)))
        outer[side][lost] = np.nan
        if wanted.any():
            steps = np.broadcast_to(s.steps, quotients.shape)[:, wanted]
            one, radius = extrapolate(quotients[:, wanted], 2 * SAFETY * noise[:, wanted], steps, 1)
            outer[side][wanted] = one
            bound[wanted] = np.fmax(np.where(np.isfinite(bound[wanted]), bound[wanted], 0), radius)
    return Limit(np.where(lost, np.nan, limit.value), bound, status, outer[0], outer[1], limit.noise)


def curvature(samples: Samples) -> Limit:
    """The second derivative along each line, of shape (lines, components)."""
    with np.errstate(all="ignore"):
        return _curvature(samples)


def _curvature(s: Samples) -> Limit:
    first = _slope(s)
    steps = np.broadcast_to(s.steps, s.plus.shape)
    right, left = (s.plus - s.centre) / s.ahead, (s.centre - s.minus) / s.behind
    limit = higher(
        (right - left) * 2 / (s.ahead + s.behind), steps, 2, 4, s.size, still(s).min(axis=0), heard(s), s.terms
    )
    status, value, bound = limit.status, limit.value.copy(), limit.bound.copy()
    # One-sided: twice the divided difference of the slopes at neighbouring steps.
    noise = 4 * np.maximum(EPS * s.size, first.noise)[1:] / (steps[1:] * (steps[:-1] - steps[1:]))
    before = 2 * np.diff(left, axis=0) / (s.behind[:-1] - s.behind[1:])
    after = -2 * np.diff(right, axis=0) / (s.ahead[:-1] - s.ahead[1:])
    kink = gap(after - before, noise)[0] & (first.status == Status.OK)
    outer = (value.copy(), value.copy())
    if kink.any():
        status[kink], value[kink] = Status.KINK, np.nan
        ends = [extrapolate(side[:, kink], noise[:, kink], steps[1:][:, kink], 1) for side in (before, after)]
        outer[0][kink], outer[1][kink] = ends[0][0], ends[1][0]
        bound[kink] = np.fmax(ends[0][1], ends[1][1])
    rough = (first.status != Status.OK) & (first.status != Status.UNRESOLVED)
    status[rough], value[rough], bound[rough] = Status.SINGULAR, np.nan, np.inf
    for side in outer:
        side[rough] = np.nan
    return Limit(value, bound, status, outer[0], outer[1], limit.noise)


def higher(
    quotients: Array,
    steps: Array,
    order: int,
    weight: float,
    size: Array,
    seen: Array,
    lines: Array | float = 0.0,
    terms: float = 1.0,
) -> Limit:
    """A derivative of higher order from central difference quotients, which are series in t².

    Args:
        quotients: Of shape (K, ...).
        steps: Of shape (K, ...), or broadcasting to it.
        order: t to this power stands under the quotient.
        weight: The sum of the weights above, without their signs.
        size: The size of f's values that went in, of shape (K, ...).
        seen: The noise of f that points next to each other show, of shape (...).
        lines: The noise that is heard along lines, whose steps are finer; of the same shape.
        terms: As for `Samples`.
    """
    with np.errstate(all="ignore"):
        steps = np.broadcast_to(steps, quotients.shape)
        ceiling = _ceiling(size)
        quiet = np.maximum(EPS * size, seen)
        irregular = np.maximum(roughness(quotients, steps, order, weight, ceiling), lines)
        noise = np.maximum(quiet, SAFETY * np.maximum(irregular, quiet[-1]))
        value, bound = extrapolate(quotients, weight * noise / steps**order, steps, 2)
        # As for slopes: what was taken for noise wasn't, if finer quotients have settled on something else.
        found, other, room = steady(quotients, weight * quiet / steps**order, value, bound)
        bound = np.where(found, np.fmax(bound, np.abs(other - value) + room), bound)
        # As for slopes: what f is summed from may be larger than f, which then stands still.
        still = idle(quotients != 0, steps) ** order
        least = weight * EPS * np.maximum(max(1.0, terms), size[-1])
        bound = np.fmax(bound + EPS * np.abs(value), np.where(np.abs(value) * still <= least, least / still, 0))
        bound = np.where(np.isfinite(value), bound, np.inf)
        high = 1e-6 * _largest(np.abs(quotients[: len(quotients) // 3]))
        scale = np.maximum(high, 1e-8 * np.maximum(1, size[-1]) / steps[0] ** order)
        vague = ~(bound <= np.maximum(np.abs(value), scale))
        status = np.where(vague, Status.UNRESOLVED, Status.OK).astype(object)
        powers = rate(quotients, weight * quiet / steps**order, steps, order, ceiling)
        status[powers < 0.05] = Status.SINGULAR
        value = np.where(powers < 0.05, np.nan, value)
        bound = np.where(powers < 0.05, np.inf, bound)
        return Limit(value, bound, status, value, value, noise.min(axis=0))
