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
from typing import Final

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
            # Nothing finer confirms the last one; a column changes less and less what it is given from the finer side,
            # be that right or wrong, so it is charged with what it changes on the other side.
            spread[-1] = np.fmax(spread[-1], np.abs(table[-1] - before[-2]))
        ahead, behind = np.full_like(table, np.nan), np.full_like(table, np.nan)
        ahead[:-1] = np.abs(np.diff(table, axis=0))
        # By what the next column would change it: a finer quotient may agree by chance, through noise.
        behind[1:] = ahead[:-1] / ((steps[: -j - 1] / steps[j + 1 :]) ** power - 1)
        # What is compared is itself off by its own noise, which may hide how far apart the two are.
        masked = np.zeros_like(table)
        masked[:-1] = leak[1:] / SAFETY
        bound = np.fmax(CAUTION * np.fmax(np.fmax(spread, ahead), behind), ahead + masked) + leak
        stands = (table + bound >= lowest[j:]) & (table - bound <= highest[j:])
        values.append(table)
        bounds.append(np.where(stands, bound, np.inf))
    value, bound = _choice(np.concatenate(values), np.concatenate(bounds))
    restless = _restless(quotients, noise)
    value, bound = np.where(restless, np.nan, value), np.where(restless, np.inf, bound)
    return value, _slow(value, bound, quotients, noise, steps, power)


def _restless(quotients: Array, noise: Array) -> Array:
    """Whether the finest quotients don't settle, and not because of noise: then f varies on a finer scale than they.

    Near the limit each changes less than the one before; the changes of a function that is wild on the scale of the steps
    go up and down.
    """
    change = np.abs(np.diff(quotients[-WINDOW:], axis=0))
    found: Array = (change[1:] >= change[:-1]).any(axis=0) & (change[-1] > CLEAR * (noise[-1] + noise[-2]))
    return found


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
    widest = np.maximum(bound, np.max(apart, axis=0))
    return np.where(np.isfinite(bound), value, np.nan), np.where(np.isnan(widest), np.inf, widest)


def _slow(value: Array, bound: Array, quotients: Array, noise: Array, steps: Array, power: int) -> Array:
    """The bound where the quotients converge, but not like a series in t to that power: like |t|^0.5, say.

    Extrapolation then gains nothing, and what is left to go after a change by d is d / (r^p - 1), r being the ratio of
    the steps and p the power that was seen.
    """
    trend = _trend(quotients, noise, steps)
    slow = (trend.power > 0.05) & (trend.power < power - 0.4)
    if not slow.any():
        return bound
    left = trend.change / ((steps[:-1] / steps[1:]).min(axis=0) ** trend.power - 1)
    last = np.take_along_axis(quotients[1:], trend.last[None], 0)[0]
    return np.where(slow, np.fmax(bound, left + np.abs(value - last)), bound)


def roughness(quotients: Array, steps: Array, order: int, weight: float, ceiling: Array) -> Array:
    """The noise of f that irregular quotients betray.

    The change from one quotient to the next, over the change of t², is the next derivative: it stays what it is where
    f is smooth, and grows like a power of 1/t where noise has taken over. Samples next to each other don't see noise
    that is the same for all of them (1 − cos x near 0 is a flight of stairs); samples at every scale do.

    Args:
        quotients: Central ones, as for `extrapolate`.
        steps: As there.
        order: t to this power stands under the quotient.
        weight: The sum of the weights above, without their signs.
        ceiling: What is larger than this isn't noise.
    """
    change = np.abs(np.diff(quotients, axis=0))
    slope = change / (steps[:-1] ** 2 - steps[1:] ** 2)
    amplitude = change * steps[1:] ** order / weight
    grows = slope[1:] >= steps[1:-1] / steps[2:] * slope[:-1]
    # What grew because it was small by chance before, at steps too long for the series, is at once what it stays.
    grows[:-1] &= ~((slope[2:] <= 2 * slope[1:-1]) & (slope[2:] >= slope[1:-1] / 2))
    heard: Array = np.max(np.where(grows & (amplitude[1:] <= ceiling), amplitude[1:], 0), axis=0, initial=0)
    return heard


@dataclass(frozen=True)
class _Trend:
    """How quotients change from step to step, by column.

    Attributes:
        power: The power of t that their changes follow over the finest steps where they stand out of the noise; NaN
            where that isn't regular.
        last: The number of the last such change.
        change: Its size.
        step: The step there.
    """

    power: Array
    last: Array
    change: Array
    step: Array


def _trend(quotients: Array, noise: Array, steps: Array) -> _Trend:
    apart = np.log(steps[:-1] / steps[1:])
    change = np.abs(np.diff(quotients, axis=0)) / apart
    middle = np.sqrt(steps[:-1] * steps[1:])
    allowance = CLEAR * noise[1:] / apart
    last, window = _last_seen((change >= allowance) & (change > 0), WINDOW + 1)
    seen, at = np.take_along_axis(change, window, 0), np.take_along_axis(middle, window, 0)
    powers = np.log(seen[:-1] / seen[1:]) / np.log(at[:-1] / at[1:])
    found = np.mean(powers, axis=0)
    # What goes on like that must be seen at the next finer step too, unless noise hides it: else it ended before.
    following = np.minimum(last + 1, len(change) - 1)
    expected = seen[-1:] * (np.take_along_axis(middle, following, 0) / at[-1:]) ** found
    hidden = expected <= 2 * np.take_along_axis(allowance, following, 0)
    regular = (np.ptp(powers, axis=0) < 0.2) & (hidden | (following == last))[0]
    size = np.take_along_axis(change * apart, last, 0)[0]
    return _Trend(np.where(regular, found, np.nan), last[0], size, np.take_along_axis(steps[1:], last, 0)[0])


def rate(quotients: Array, noise: Array, steps: Array, order: int, ceiling: Array) -> Array:
    """The power of t with which quotients change as t shrinks, NaN where it isn't regular or might be noise.

    1 or 2 where f is smooth; between 0 and 1 a slow convergence; 0 grows like log t; below 0 there is no limit.

    Args:
        quotients: As for `extrapolate`.
        noise: As there.
        steps: As there.
        order: t to this power stands under the quotient.
        ceiling: As for `roughness`: a jump of f that is smaller is a stair of its rounding.
    """
    trend = _trend(quotients, noise, steps)
    needed = ceiling * np.where(trend.power < -order + 0.1, 1, 1e-3)
    return np.where(trend.change * trend.step**order >= needed, trend.power, np.nan)


def _last_seen(seen: Array, length: int) -> tuple[Array, Array]:
    """The last index where something is seen, and the window of indices that ends there (clipped at 0)."""
    last = len(seen) - 1 - np.argmax(seen[::-1], axis=0)[None]
    return last, np.maximum(last + np.arange(1 - length, 1).reshape(-1, *[1] * (seen.ndim - 1)), 0)


def gap(jump: Array, noise: Array) -> tuple[Array, Array]:
    """Whether one-sided quotients stay apart by the same amount down to the finest step that noise allows to see.

    And by how much they are apart there.
    """
    seen = (np.abs(jump) >= CLEAR * noise) & (jump != 0)
    last, window = _last_seen(seen, WINDOW)
    all_seen = np.all(np.take_along_axis(seen, window, 0), axis=0) & (last[0] >= WINDOW - 1)
    final = np.take_along_axis(jump, last, 0)
    same = np.abs(jump - final) <= 0.1 * np.abs(final) + 0.5 * CLEAR * noise
    later = np.arange(len(jump)).reshape(-1, *[1] * (jump.ndim - 1)) > last - WINDOW
    found: Array = all_seen & np.all(same | ~later, axis=0)
    return found, final[0]


def straddled(jump: Array, noise: Array) -> tuple[Array, Array, Array]:
    """The finest few steps in a row over which one-sided quotients are apart by the same amount: a kink is within them.

    Whether there are such steps, how many there are up to the last of them, and by how much the quotients are apart.
    """
    seen = (np.abs(jump) >= CLEAR * noise) & (jump != 0)
    count = len(jump) - WINDOW + 1
    parts = [slice(i, count + i) for i in range(WINDOW)]
    same = np.all([seen[i] & (np.abs(jump[i] - jump[:count]) <= 0.1 * np.abs(jump[:count])) for i in parts], axis=0)
    first = count - 1 - np.argmax(same[::-1], axis=0)
    return np.any(same, axis=0), first + WINDOW, np.take_along_axis(jump, first[None], 0)[0]


def steady(
    quotients: Array, hush: Array, value: Array, bound: Array, *, trusted: bool = False
) -> tuple[Array, Array, Array]:
    """Whether finer quotients have settled on something else than the limit that was found.

    Irregular quotients look like noise, and all that is finer is then charged with it: a kink close to the point does
    that among entries that are far from theirs. But where noise is, quotients don't settle again.

    Args:
        quotients: Central ones, of shape (K, ...).
        hush: How far the noise that points next to each other show may have moved each of them.
        value: The limit.
        bound: How far it may be off.
        trusted: Whether that is all the noise there is; then quotients that settle far more narrowly will do as well.

    Returns:
        Whether there are such quotients, the coarsest of them, and how far off that may be.
    """
    room, change = 8 * hush, np.abs(np.diff(quotients, axis=0))
    same = change <= room[:-1] + room[1:]
    count = len(quotients) - WINDOW + 1
    found = np.all([same[i : count + i] for i in range(WINDOW - 1)], axis=0)
    # A flight of stairs is flat between its steps, which is no slope.
    found &= quotients[:count] != 0
    if trusted:
        room[:-1] += 2 * change
        found &= CLEAR * room[:count] < bound
    else:
        # Two of them, since one alone may be on its way to the limit.
        other = np.abs(quotients - value) > bound + room
        found &= other[:count] & other[1 : count + 1]
    first = np.argmax(found, axis=0)[None]
    return np.any(found, axis=0), np.take_along_axis(quotients, first, 0)[0], np.take_along_axis(room, first, 0)[0]
