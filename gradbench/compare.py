"""How far an answer is from the truth, and how far is too far.

An answer and a `Truth` enter, component by component; a `Difference` leaves: absolute, relative, and in units in the
last place of the dtype judged, against the truth as it was before any rounding (0.5 is correctly rounded). A
`Tolerance` says how far rounding alone may have moved the answer, and which rule said so.

A complex number is one component. Its error is its distance in the plane, and the unit in the last place is that of its
absolute value: a product of two is only accurate so, as its smaller part may have cancelled (Higham 2002, section 3.6).
Counted in ulps is the error of the worse part, so that 0.5 is correctly rounded there as well.
"""

from __future__ import annotations

import fnmatch
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from gradbench.difference import Difference, Format, few
from gradbench.query import Array

SIGMAS: Final = 8.0
ULPS: Final = 4.0
RADII: Final = 3.0
"""tol = SIGMAS * sigma + ULPS * ulp + RADII * the oracle's own radius. Measured over 1,820 gradients of unmodified
frameworks in three formats: no false alarm; a relative error of 1e-12 in one float64 component is seen 93 % of the time."""

FALLBACK_ULPS: Final = 256.0
"""Where rounding could not be modelled: so many ulps of the largest entry."""


FEW: Final = 24
"""So many components are compared one by one, which for a few of them is faster than by arrays, and the same."""

OWN: Final = frozenset({"rtol", "atol", "max_ulps"})
"""What a tolerance of somebody's own is made of."""


_REAL: Final = {
    "float64": Format(53, -1022, float(np.finfo(np.float64).max)),
    "float32": Format(24, -126, float(np.finfo(np.float32).max)),
    "float16": Format(11, -14, 65504.0),
    "bfloat16": Format(8, -126, math.ldexp(255 / 128, 127)),
}
FORMS: Final[dict[str, Format]] = {**_REAL, "complex128": _REAL["float64"], "complex64": _REAL["float32"]}


def ulp(truth: Array, form: Format) -> Array:
    """The unit in the last place at each number, as if the exponent had no upper bound; the smallest subnormal at 0."""
    _, exponent = np.frexp(np.abs(truth))
    lowest = form.least_exponent - form.digits + 1
    power = np.where(truth == 0, lowest, np.maximum(exponent - form.digits, lowest))
    return np.ldexp(1.0, power)


@dataclass(frozen=True)
class Truth:
    """What is right, component by component, for one array of an answer. All arrays have the answer's shape.

    Attributes:
        centre, tail: The truth is centre + tail; the tail holds what float64 rounds off the centre. Complex if it is.
        radius: How far the truth may be from that.
        lower, upper: Where a set of answers is right, its ends; elsewhere NaN.
        kind: For each component `number`, `set`, `choice`, `infinite`, `undefined` or `unknown`.
        source: For each component, who says so: `ball`, `stated`, `high-precision`, `finite-difference`, or empty.
        choices: For components, by flat index, where only some numbers are right: those.
    """

    centre: Array
    tail: Array
    radius: Array
    lower: Array
    upper: Array
    kind: Array
    source: Array
    choices: Mapping[int, tuple[complex, ...]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the answer."""
        return tuple(self.centre.shape)

    @cached_property
    def is_zero(self) -> bool:
        """Whether every component is known to be 0."""
        return bool(((self.kind == "number") & (self.centre == 0) & (self.radius == 0)).all())

    @cached_property
    def is_unknown(self) -> bool:
        """Whether nobody knows any component; of none that is so too."""
        return set(self.counts) <= {"unknown"}

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many components are of each kind that there is."""
        return Counter(self.kind.reshape(-1).tolist())

    @cached_property
    def told_by(self) -> str:
        """Who says what is right, most components first."""
        counts = Counter(self.source.reshape(-1).tolist())
        return " + ".join(sorted(filter(None, counts), key=lambda name: (-counts[name], name)))

    @cached_property
    def flat(self) -> Mapping[str, Array]:
        """The arrays without their shape."""
        names = ("centre", "tail", "radius", "lower", "upper", "kind")
        return {name: getattr(self, name).reshape(-1) for name in names}

    @cached_property
    def few(self) -> tuple[list[float], list[float]] | None:
        """Centre and tail of each component, if there are few and each is one finite real number; else None."""
        centre = self.centre
        if not 0 < centre.size <= FEW or centre.dtype.kind != "f" or self.tail.dtype.kind != "f" or self.choices:
            return None
        if set(self.counts) != {"number"} or not np.isfinite(centre).all():
            return None
        return centre.reshape(-1).tolist(), self.tail.reshape(-1).tolist()

    def units(self, form: Format) -> list[float]:
        """The unit in the last place of each component of `few`."""
        if form.digits not in self._units:
            self._units[form.digits] = ulp(self.centre, form).reshape(-1).tolist()
        return self._units[form.digits]

    @cached_property
    def _units(self) -> dict[int, list[float]]:
        return {}


@dataclass(frozen=True)
class Tolerance:
    """How far each component may be from the truth, and the rule that says so, in words."""

    bound: Array
    rule: str
    is_overridden: bool = False

    @cached_property
    def few(self) -> list[float]:
        """The bound of each of a few components."""
        found: list[float] = self.bound.reshape(-1).tolist()
        return found


def tolerance(truth: Truth, dtype: str, sigma: Array | None, own: Mapping[str, Any]) -> Tolerance:
    """The tolerance for one array.

    Args:
        truth: What is right.
        dtype: The format judged.
        sigma: The standard deviation that rounding alone gives each component; None if it could not be modelled.
        own: An author's or a person's `rtol`, `atol`, `max_ulps`, with the `reason`.
    """
    form = FORMS[dtype]
    magnitude = np.where(np.isfinite(truth.centre), np.abs(truth.centre), 0.0)
    unit = ulp(magnitude, form)
    extra = RADII * np.where(np.isfinite(truth.radius), truth.radius, 0.0)
    if set(own) & OWN:
        bound = own.get("rtol", 0.0) * magnitude + own.get("atol", 0.0) + own.get("max_ulps", 0.0) * unit + extra
        words = " + ".join(f"{key} {own[key]:g}" for key in ("rtol", "atol", "max_ulps") if key in own)
        return Tolerance(bound, f"{words}: {own.get('reason', 'as asked')}", is_overridden=True)
    # Flushing to zero below the smallest normal number is the hardware's doing, in every framework alike; and what it
    # flushes may be one of the terms of a larger number. Narrow formats are computed in float32, whose range is that of
    # bfloat16, and far below that of float16.
    narrow = form.least_exponent > _REAL["float32"].least_exponent
    flush = np.where((magnitude < form.smallest_normal) | (not narrow), form.smallest_normal, 0.0)
    if sigma is not None and sigma.shape == truth.shape and np.isfinite(sigma).all():
        return Tolerance(SIGMAS * sigma + ULPS * unit + extra + flush, f"{SIGMAS:g}σ + {ULPS:g} ulp + {RADII:g}r")
    largest = float(magnitude.max()) if magnitude.size else 0.0
    bound = FALLBACK_ULPS * ulp(np.full(truth.shape, largest), form) + extra + flush
    return Tolerance(bound, f"{FALLBACK_ULPS:g} ulp of the largest + {RADII:g}r")


def chosen(target: str, *layers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tolerance of somebody's own that counts for a target: of the first layer that has one, and there the target's.

    Args:
        target: Its name.
        layers: Each with `rtol`, `atol`, `max_ulps` and `reason`, and the same for some targets, by name or glob, under
            `targets`; the most important first.
    """
    for layer in layers:
        for pattern, own in layer.get("targets", {}).items():
            if fnmatch.fnmatchcase(target, pattern):
                return dict(own)
        if set(layer) & OWN:
            return {key: layer[key] for key in layer if key != "targets"}
    return {}


def told(own: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of somebody's own tolerance counts: equal for two that say the same."""
    return tuple(own.get(key) for key in ("rtol", "atol", "max_ulps", "reason")) if set(own) & OWN else ()


def compare(answer: Array, truth: Truth, dtype: str, allowed: Tolerance) -> Difference:
    """An answer of the truth's own shape against it.

    NaN is never near a number, and nothing compares as near by a comparison that NaN makes false: each component is
    bad unless shown to be good.
    """
    form = FORMS[dtype]
    given = np.asarray(answer)
    if truth.few is not None and given.dtype.kind != "c" and allowed.bound.shape == truth.shape:
        return few(given.astype(np.float64).reshape(-1).tolist(), *truth.few, truth.units(form), allowed.few, form)
    wide = given.astype(np.complex128 if given.dtype.kind == "c" else np.float64).reshape(-1)
    flat = truth.flat
    bound = np.broadcast_to(allowed.bound, truth.shape).reshape(-1)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        error = _distance(wide, flat, truth.choices)
        overflows = _overflows(wide, flat["centre"], bound, form)
        good = (error <= bound) | overflows
        good |= ~np.isin(flat["kind"], ("number", "set", "choice", "infinite"))
        good |= (flat["kind"] == "infinite") & np.isinf(wide)
        numbers = (flat["kind"] == "number") & np.isfinite(flat["centre"])
        # An answer near an exact 0, within what rounding explains, has no meaningful count of ulps.
        counted = numbers & ~((flat["centre"] == 0) & (error <= bound))
        measured = np.where(overflows, 0.0, error)
        worse = np.where(overflows, 0.0, _worse_part(wide, flat, error))
        ulps = np.where(counted, worse / ulp(flat["centre"], form), np.nan)
        relative = np.where(counted, measured / np.abs(flat["centre"]), np.nan)
    bad = ~good
    judged = np.isin(flat["kind"], ("number", "set", "choice", "infinite"))
    worst = _worst(error, bound, bad, ulps, judged)
    scale = float(np.max(np.abs(flat["centre"][numbers]), initial=0.0))
    half = math.sqrt(form.epsilon) * scale
    known = flat["centre"][numbers]
    is_informative = bool((bound[numbers] <= 0.5 * np.abs(known))[known != 0].any()) or not known.any()
    return Difference(
        absolute=_max(error[numbers]),
        relative=_max(relative),
        ulps=_max(ulps) if counted.any() or not numbers.any() else 0.0,
        median_ulps=_median(ulps) if counted.any() or not numbers.any() else 0.0,
        bad=int(bad.sum()),
        nonfinite=int((bad & ~np.isfinite(wide)).sum()),
        size=wide.size,
        worst=worst,
        answered=complex(wide[worst]) if wide.size else 0.0,
        right=flat["centre"][worst].item() if wide.size else 0.0,
        allowed=float(bound[worst]) if wide.size else 0.0,
        is_close=bool((error[bad] <= half).all()),
        is_informative=is_informative,
    )


def _distance(answer: Array, flat: Mapping[str, Array], choices: Mapping[int, tuple[complex, ...]]) -> Array:
    """From each component to the right number, or to the nearest of the right ones."""
    error = np.abs((answer - flat["centre"]) - flat["tail"])
    same = (answer == flat["centre"]) & np.isinf(answer)
    error = np.where(same, 0.0, error)
    sets = flat["kind"] == "set"
    real = np.real(answer)
    outside = np.maximum(np.maximum(flat["lower"] - real, real - flat["upper"]), 0.0)
    beside = np.hypot(outside, np.imag(answer))  # a set is one of real numbers
    error = np.where(sets, np.where(np.isnan(answer), np.nan, beside), error)
    for index, numbers in choices.items():
        error[index] = min(abs(answer[index] - number) for number in numbers)
    return np.asarray(error, dtype=np.float64)


def _worse_part(answer: Array, flat: Mapping[str, Array], error: Array) -> Array:
    """The error of the real or of the imaginary part, whichever is larger; of real numbers the error."""
    if not np.iscomplexobj(flat["centre"]):
        return error
    away = (answer - flat["centre"]) - flat["tail"]
    numbers = (flat["kind"] == "number") & np.isfinite(away)
    return np.where(numbers, np.maximum(np.abs(away.real), np.abs(away.imag)), error)


def _overflows(answer: Array, centre: Array, bound: Array, form: Format) -> Array:
    """Whether the truth is beyond the format and the answer is the infinity that stands for it.

    Of a complex number one part may be, and is then that infinity; what the other one comes to is lost in NaN, or is an
    infinity too, in every library that multiplies by parts.
    """
    most = form.largest * (1 - form.epsilon / 4)
    if not np.iscomplexobj(centre):
        beyond = np.abs(centre) > most
        return np.asarray(beyond & np.isinf(np.real(answer)) & (np.sign(np.real(answer)) == np.sign(centre)))
    some, good = np.zeros(centre.shape, bool), np.ones(centre.shape, bool)
    for said, right in ((np.real(answer), centre.real), (np.imag(answer), centre.imag)):
        beyond = np.abs(right) > most
        stands = np.isinf(said) & (np.sign(said) == np.sign(right))
        some |= beyond
        good &= np.where(beyond, stands, ~np.isfinite(said) | (np.abs(said - right) <= bound))
    return some & good


def _worst(error: Array, bound: Array, bad: Array, ulps: Array, judged: Array) -> int:
    """The component to show: the worst of the bad ones, else the least accurate."""
    if not error.size:
        return 0
    if bad.any():
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            excess = error / np.maximum(bound, 5e-324)
        score = np.where(bad, np.nan_to_num(excess, nan=np.inf, posinf=np.inf), -1.0)
    else:
        score = np.where(judged, np.nan_to_num(ulps, nan=0.0), -1.0)
    return int(np.argmax(score))


def _max(values: Array) -> float:
    if not values.size or np.isnan(values).all():
        return math.nan
    # A NaN beside numbers is an answer that was NaN: the error is without bound.
    return float(np.nanmax(values))


def _median(values: Array) -> float:
    return math.nan if not values.size or np.isnan(values).all() else float(np.nanmedian(values))
