"""A ladder of difference quotients: from samples at steps that shrink to a limit with an error bar and a status.

Difference quotients at steps t₀ > t₁ > … enter, with the noise of each; the limit at t → 0 leaves, with a bound that was
measured rather than assumed. Richardson's extrapolation (Neville's scheme) gives many candidates. Each is charged
with how far it is from its neighbours in the table and with the noise that its coefficients let through; one that
contradicts a quotient of any finer step is thrown out, because a smooth-looking limit from steps that reached across
a pole or a kink is wrong with great confidence; the one with the smallest bound is kept, and the bound grows until no
remaining candidate contradicts it. Where the quotients do not settle, how they fail to says why.

Arrays have the step as their first axis, coarsest first, and any axes behind it; everything is done to all columns at
once. After Lyness and Moler (1967), Numerical Differentiation of Analytic Functions, and Hamming's view of noise by
differences (Numerical Methods for Scientists and Engineers, 1973, section 10); the consistency across scales, and the
noise that is read off the ladder itself, are this project's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np

from gradbench.query import Array

EPS: Final = 2.0**-52
DEPTH: Final = 9
"""Columns of the Richardson table."""
CAUTION: Final = 2.0
"""A bound is so many times the distance to the neighbours in the table."""
SAFETY: Final = 3.0
"""The noise that is reckoned with is so many times the noise that was seen: a few samples see little of it."""
CEILING: Final = 1e-7
"""What is larger than this part of f is taken for behaviour, not for noise; single precision has 6e-8."""
CLEAR: Final = 16.0
"""A difference counts as seen if it is so many times the noise."""
WINDOW: Final = 4
"""So many steps in a row must tell the same story before a function is said not to be smooth."""


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


def extrapolate(quotients: Array, noise: Array, steps: Array, power: int) -> tuple[Array, Array]:
    """The limit of the quotients and its bound, (NaN, inf) where no candidate stands.

    Args:
        quotients: D(t), of shape (K, ...); NaN where f was not finite.
        noise: By how much each may be off through the noise of f.
        steps: t, of shape (K, ...) or broadcasting to it.
        power: D is a series in t to this power: 2 for central quotients, 1 for one-sided ones.
    """
    lowest, highest = _finer(quotients, noise)
    table, leak = quotients, noise
    values, bounds = [], []
    for j in range(min(DEPTH, len(quotients))):
        spread: Array = np.full(1, np.nan)
        if j:
            rate = (steps[:-j] / steps[j:]) ** power
            before, table = table, table[1:] + np.diff(table, axis=0) / (rate - 1)
            leak = (rate * leak[1:] + leak[:-1]) / (rate - 1)
            spread = np.abs(table - before[1:])
        ahead = np.full_like(table, np.nan)
        ahead[:-1] = np.abs(np.diff(table, axis=0))
        bound = CAUTION * np.fmax(spread, ahead) + leak
        stands = (table + bound >= lowest[j:]) & (table - bound <= highest[j:])
        values.append(table)
        bounds.append(np.where(stands, bound, np.inf))
    return _choice(np.concatenate(values), np.concatenate(bounds))


def _finer(quotients: Array, noise: Array) -> tuple[Array, Array]:
    """For each step, what every finer quotient leaves possible: the largest lower end, the smallest upper end."""
    margin = noise.copy()
    margin[1:] += np.abs(np.diff(quotients, axis=0))
    margin[0] = np.inf
    low = np.fmax.accumulate(np.nan_to_num(quotients - margin, nan=-np.inf)[::-1])[::-1]
    high = np.fmin.accumulate(np.nan_to_num(quotients + margin, nan=np.inf)[::-1])[::-1]
    nothing = np.full_like(low[:1], np.inf)
    return np.concatenate([low[1:], -nothing]), np.concatenate([high[1:], nothing])


def _choice(values: Array, bounds: Array) -> tuple[Array, Array]:
    """The candidate with the smallest bound, widened until no other candidate contradicts it."""
    best = np.argmin(bounds, axis=0)[None]
    value, bound = np.take_along_axis(values, best, 0)[0], np.take_along_axis(bounds, best, 0)[0]
    standing = np.isfinite(bounds)
    apart = np.where(standing, np.abs(values - value) - np.where(standing, bounds, 0), -np.inf)
    return np.where(np.isfinite(bound), value, np.nan), np.maximum(bound, np.max(apart, axis=0))


def roughness(quotients: Array, steps: Array, order: int, weight: float, ceiling: Array) -> Array:
    """The noise of f that irregular quotients betray.

    The change from one quotient to the next, over the change of t², is the next derivative: it stays what it is where
    f is smooth, and grows like a power of 1/t where noise has taken over. Samples next to each other don't see noise
    that is the same for all of them (1 − cos x near 0 is a flight of stairs); samples at every scale do.

    Args:
        quotients, steps: As for `extrapolate`, in central differences.
        order: t to this power stands under the quotient.
        weight: The sum of the weights above, without their signs.
        ceiling: What is larger than this isn't noise.
    """
    change = np.abs(np.diff(quotients, axis=0))
    slope = change / (steps[:-1] ** 2 - steps[1:] ** 2)
    amplitude = change * steps[1:] ** order / weight
    grows = slope[1:] >= steps[1:-1] / steps[2:] * slope[:-1]
    return np.max(np.where(grows & (amplitude[1:] <= ceiling), amplitude[1:], 0), axis=0, initial=0)


def rate(quotients: Array, noise: Array, steps: Array) -> Array:
    """The power of t with which the finest quotients that stand out of the noise change; NaN where it isn't regular.

    1 or 2 where f is smooth; between 0 and 1 a slow convergence; 0 grows like log t; below 0 there is no limit.
    """
    apart = np.log(steps[:-1] / steps[1:])
    change = np.abs(np.diff(quotients, axis=0)) / apart
    middle = np.sqrt(steps[:-1] * steps[1:])
    allowance = CLEAR * noise[1:] / apart
    last, window = _last_seen(change >= allowance)
    seen = np.take_along_axis(change, window, 0)
    at = np.take_along_axis(np.broadcast_to(middle, change.shape), window, 0)
    powers = np.log(seen[:-1] / seen[1:]) / np.log(at[:-1] / at[1:])
    found = np.mean(powers, axis=0)
    # What goes on like that must be seen at the next finer step too, unless noise hides it: else it ended before.
    following = np.minimum(last + 1, len(change) - 1)
    expected = seen[-1:] * (np.take_along_axis(np.broadcast_to(middle, change.shape), following, 0) / at[-1:]) ** found
    hidden = expected <= 2 * np.take_along_axis(allowance, following, 0)
    regular = (np.ptp(powers, axis=0) < 0.2) & (hidden | (following == last))[0]
    return np.where(regular, found, np.nan)


def _last_seen(seen: Array) -> tuple[Array, Array]:
    """The last index where something is seen, and the window of indices that ends there (clipped at 0)."""
    last = len(seen) - 1 - np.argmax(seen[::-1], axis=0)[None]
    return last, np.maximum(last + np.arange(1 - WINDOW, 1).reshape(-1, *[1] * (seen.ndim - 1)), 0)


def gap(left: Array, right: Array, noise: Array) -> Array:
    """Whether one-sided quotients stay apart by the same amount down to the finest step that noise allows to see."""
    jump = right - left
    seen = np.abs(jump) >= CLEAR * noise
    last, window = _last_seen(seen)
    all_seen = np.all(np.take_along_axis(seen, window, 0), axis=0) & (last[0] >= WINDOW - 1)
    final = np.take_along_axis(jump, last, 0)
    same = np.abs(jump - final) <= 0.1 * np.abs(final) + 0.5 * CLEAR * noise
    later = np.arange(len(jump)).reshape(-1, *[1] * (jump.ndim - 1)) > last - WINDOW
    return all_seen & np.all(same | ~later, axis=0)


@dataclass(frozen=True)
class Samples:
    """f along lines through a point, and how finely.

    Attributes:
        plus, minus: f at the steps ahead and behind, of shape (K, lines, components).
        centre: f at the point, of shape (components).
        close: f at points next to each other around it, evenly spaced, of shape (odd, lines, components).
        steps: Of shape (K, lines, 1).
        ahead, behind: The steps as they came out after rounding, of the same shape.
        size: The size of the terms that f was summed from, where that is more than |f|; as `plus`.
        place: How far the point is from 0 along the line, for the rounding of f's argument; of shape (lines, 1).
    """

    plus: Array
    minus: Array
    centre: Array
    close: Array
    steps: Array
    ahead: Array
    behind: Array
    size: Array
    place: Array


def slope(samples: Samples) -> Limit:
    """The first derivative along each line, of shape (lines, components)."""
    with np.errstate(all="ignore"):
        return _slope(samples)


def _slope(s: Samples) -> Limit:
    steps = np.broadcast_to(s.steps, s.plus.shape)
    width = s.ahead + s.behind
    right, left = (s.plus - s.centre) / s.ahead, (s.centre - s.minus) / s.behind
    central = (s.plus - s.minus) / width
    bend = (right - left) * 2 / width
    still = np.maximum(EPS * s.size, 0.5 * _largest(np.abs(np.diff(s.close, 2, axis=0))))
    ceiling = CEILING * np.fmax(np.abs(s.centre), np.nanmedian(s.size, axis=0))
    heard = np.maximum(roughness(central, steps, 1, 1, ceiling), roughness(bend, steps, 2, 4, ceiling))
    noise = np.maximum(still, SAFETY * np.maximum(heard, still[-1]))
    value, bound = extrapolate(central, 2 * noise / width, steps, 2)
    finest = np.abs(bend[-1:])
    curve = np.min(np.fmax(np.abs(bend), finest), axis=0)
    uneven = np.max(np.abs(s.ahead - s.behind), axis=0) * curve / 2
    bound = bound + EPS * (s.place * curve + np.abs(value)) + uneven
    limit = Limit(value, bound, _plain(value, bound, right, s), value.copy(), value.copy(), noise.min(axis=0))
    return _nonsmooth(limit, s, left, right, still / steps)


def _largest(x: Array) -> Array:
    return np.max(np.nan_to_num(x, nan=0, posinf=0), axis=0)


def _plain(value: Array, bound: Array, quotients: Array, s: Samples) -> Array:
    """ok, or unresolved where the bound says nothing; a 0 that is known well is no reason to complain."""
    scale = np.maximum(1e-6 * _largest(np.abs(quotients)), 1e-8 * np.abs(s.centre) / s.steps[0])
    vague = ~(bound <= np.maximum(np.abs(value), scale))
    return np.where(vague, Status.UNRESOLVED, Status.OK).astype(object)


def _nonsmooth(limit: Limit, s: Samples, left: Array, right: Array, noise: Array) -> Limit:
    """The limit with what is known where f has a kink, no slope, an edge or a hole."""
    shape = limit.value.shape
    status = limit.status
    sides = []
    for quotients, samples in ((left, s.minus), (right, s.plus)):
        powers = rate(quotients, noise, np.broadcast_to(s.steps, samples.shape))
        # log t has the power 0; a jump has -1.
        status[powers < 0.05] = Status.SINGULAR
        status[(powers < -0.05) & (powers > -0.9)] = Status.HOELDER
        sides.append(np.isfinite(samples[-WINDOW:]).all(axis=0))
    smooth = (status == Status.OK) | (status == Status.UNRESOLVED)
    kink = smooth & gap(left, right, 2 * noise)
    status[kink] = Status.KINK
    inside = np.isfinite(s.close).all(axis=0)
    edge = ~(sides[0] & sides[1]) & (smooth | kink)
    status[edge & ~inside] = Status.SINGULAR
    status[edge & inside & ~np.isfinite(limit.value)] = Status.UNRESOLVED
    status[np.broadcast_to(~np.isfinite(s.centre), shape)] = Status.SINGULAR
    lost = (status != Status.OK) & (status != Status.UNRESOLVED)
    bound = np.where(lost, np.inf, limit.bound)
    outer = [limit.left, limit.right]
    for side, (quotients, defined) in enumerate(zip((left, right), sides, strict=True)):
        wanted = lost & defined & ((status == Status.KINK) | edge)
        outer[side][lost] = np.nan
        if wanted.any():
            steps = np.broadcast_to(s.steps, quotients.shape)[:, wanted]
            one, radius = extrapolate(quotients[:, wanted], 2 * SAFETY * noise[:, wanted], steps, 1)
            outer[side][wanted] = one
            bound[wanted] = np.fmax(np.where(np.isfinite(bound[wanted]), bound[wanted], 0), radius)
    return Limit(np.where(lost, np.nan, limit.value), bound, status, outer[0], outer[1], limit.noise)


def higher(quotients: Array, steps: Array, order: int, weight: float, size: Array, seen: Array) -> Limit:
    """A derivative of higher order from central difference quotients, which are series in t².

    Args:
        quotients, steps: Of shape (K, ...).
        order: t to this power stands under the quotient.
        weight: The sum of the weights above, without their signs.
        size: The size of f's values that went in, of shape (K, ...).
        seen: The noise of f that is known already, of shape (...).
    """
    with np.errstate(all="ignore"):
        steps = np.broadcast_to(steps, quotients.shape)
        ceiling = CEILING * np.nanmedian(size, axis=0)
        still = np.maximum(EPS * size, seen)
        heard = roughness(quotients, steps, order, weight, ceiling)
        noise = np.maximum(still, SAFETY * np.maximum(heard, still[-1]))
        value, bound = extrapolate(quotients, weight * noise / steps**order, steps, 2)
        bound = bound + EPS * np.abs(value)
        scale = 1e-6 * _largest(np.abs(quotients[: len(quotients) // 2]))
        vague = ~(bound <= np.maximum(np.abs(value), scale))
        status = np.where(vague, Status.UNRESOLVED, Status.OK).astype(object)
        powers = rate(quotients, weight * still / steps**order, steps)
        status[powers < 0.05] = Status.SINGULAR
        value = np.where(powers < 0.05, np.nan, value)
        bound = np.where(powers < 0.05, np.inf, bound)
        return Limit(value, bound, status, value, value, noise.min(axis=0))


def as_text(status: Any) -> Array:
    """An array of statuses as an array of plain strings."""
    return np.asarray(status, dtype="U10")
