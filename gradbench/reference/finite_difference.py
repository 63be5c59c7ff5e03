"""Derivatives from values alone, each with an error bar that was measured: the second opinion, and the one for callables.

A function and a point enter; derivatives, bounds and statuses leave. Every point that a query needs is evaluated in one
call, in float64 whatever the dtype judged; a query with too many inputs for that is answered by a sketch, a few points at
a time. There is no rule of differentiation here, and nothing is known of the
function but its values; see `ladder` for how they become a number that can be trusted, and `probe` for where they are
taken.

`derivative` and `jacobian` are for people's own callables; `FiniteDifference` is the reference that answers queries.
Of a complex function the derivative is the linear one, f'(z) = df/dx where it is holomorphic; of a real function of
complex inputs it is df/dx - i df/dy. The vjp with cotangent w is that derivative of the sum of w f.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from gradbench.adapter import Estimate
from gradbench.errors import BadOption, DeviceMissing, Unsupported
from gradbench.program import Program
from gradbench.query import Array, Query
from gradbench.reference.differences.difference_query import MAX_INPUTS, MAX_ORDER, Questioned
from gradbench.reference.differences.large_query import Large, is_large
from gradbench.reference.differences.limits import FIELDS, columns, nothing, rough, sharper
from gradbench.reference.differences.probe import LEVELS, Lines, Stencils, Survey
from gradbench.reference.differences.slope import Limit, Status


@dataclass(frozen=True)
class Derivative:
    """What was found for a callable. Arrays are of the derivative's shape.

    Attributes:
        value: The derivative; NaN where there is none.
        bound: How far it may be off: measured, not proved.
        status: `ok`, `kink`, `hoelder` (the slopes grow like a power of 1/h), `singular` (infinite, or f is not defined
            around the point) or `unresolved` (the bound is larger than the value).
        left, right: The one-sided derivatives; apart at a kink, one of them NaN at the edge of a domain.
        noise: How far one value of f is off by rounding, as seen around the point.
        evaluations: At how many points f was evaluated: all of them in one call, unless it raised.
        reason: What was wrong with f, where something was: it raised, or has no fixed shape, or isn't deterministic.
    """

    value: Array
    bound: Array
    status: Array
    left: Array
    right: Array
    noise: Array
    evaluations: int
    reason: str = ""


def derivative(
    f: Callable[[Array], Any],
    x: Any,
    direction: Any = None,
    *,
    order: int = 1,
    ratio: int = 8,
    vectorized: bool = True,
) -> Derivative:
    """The derivative of f at x, or along a direction, with its error bar; of the shape of f's answer.

    Args:
        f: Takes points of shape (B, *x) and answers with an array of shape (B, *y).
        x: A number, or an array together with a direction.
        direction: Of the shape of x; for a number it is 1.
        order: From 1 to 4, along that direction.
        ratio: Between one step and the next, 8, 4 or 2: 80, 92 or 126 evaluations for the first derivative, 46 of them
            further away, where f need not be defined: they tell where f stands still whether a slope may be hidden.
        vectorized: False if f takes one point of shape x and answers with y.

    Raises:
        BadOption: An order, a ratio or a direction that can't be used.
    """
    point = np.asarray(x, np.float64)
    along = np.asarray(1.0 if direction is None and point.ndim == 0 else direction, np.float64)
    if along.shape != point.shape or not np.isfinite(along).all():
        raise BadOption(
            f"a direction of shape {along.shape} at a point of shape {point.shape}; give it the same, finite"
        )
    if order not in range(1, MAX_ORDER + 1):
        raise BadOption(f"order {order}; from 1 to {MAX_ORDER}")
    _check(ratio)
    host = _Callable(f, point.shape, vectorized)
    survey = Survey(host, point.reshape(-1))
    survey.add(survey.x[None])  # twice in all, to see whether f repeats itself
    if not along.any():
        survey.add(survey.x[None])
        survey.run()
        return host.shaped(nothing(1, survey.answers.shape[-1]), (), survey)
    lines = Lines(survey, along.reshape(1, -1), ratio, probing=True)
    cross = Stencils(survey, along.reshape(1, 1, -1), (order,), ratio) if order > 1 else None
    survey.run()
    if cross is None:
        limit = lines.slopes()
    else:
        curvatures, found = lines.curvatures(), cross.limits(lines.quiet(), lines.heard())
        limit = sharper(curvatures, found) if order == 2 else rough(found, curvatures.status)
    return host.shaped(host.doubted(limit, lines, order), (), survey)


def jacobian(f: Callable[[Array], Any], x: Any, *, ratio: int = 8, vectorized: bool = True) -> Derivative:
    """All first derivatives of f at x, of shape y + x; the gradient, if f's answer is a number.

    Args, Raises: As for `derivative`.
    """
    _check(ratio)
    point = np.asarray(x, np.float64)
    host = _Callable(f, point.shape, vectorized)
    survey = Survey(host, point.reshape(-1))
    survey.add(survey.x[None])  # twice in all, to see whether f repeats itself
    found = columns(survey, np.ones(point.size, dtype=bool), ratio, host.doubted)
    return host.shaped(found, point.shape, survey)


def _check(ratio: int) -> None:
    if ratio not in LEVELS:
        raise BadOption(f"ratio {ratio}; {', '.join(map(str, LEVELS))} are known")


class _Callable:
    """A person's function as one of flat points; what it gets wrong becomes NaN and a sentence."""

    def __init__(self, f: Callable[[Array], Any], shape: tuple[int, ...], vectorized: bool) -> None:
        self.f, self.shape, self.vectorized = f, shape, vectorized
        self.output: tuple[int, ...] = ()
        self.reason = ""

    def __call__(self, points: Array, spare: int = 0) -> Array:
        """The values at points of shape (B, n), of shape (B, m). At the last, spare ones f need not be defined."""
        shaped = points.reshape(-1, *self.shape)
        found = self._together(shaped) if self.vectorized else None
        if found is None and self.vectorized and spare:
            # Perhaps it is those that are far away that f complains of.
            self.reason = ""
            found = self._together(shaped[:-spare])
            if found is not None:
                found = np.concatenate([found, self._apart(shaped[-spare:], spare, found.shape[1:])])
        if found is None:
            found = self._apart(shaped, spare)
        self.output = found.shape[1:]
        return found.reshape(len(points), -1)

    def _together(self, points: Array) -> Array | None:
        try:
            with np.errstate(all="ignore"):
                found = np.asarray(self.f(points), np.float64)
        except Exception as error:  # noqa: BLE001  # whatever a person's function raises
            self.reason = f"f raised {type(error).__name__} on a batch: {error}"
            return None
        if found.shape[:1] == points.shape[:1]:
            return found
        self.reason = f"f answered with shape {found.shape} to {len(points)} points"
        return None

    def _apart(self, points: Array, spare: int, shape: tuple[int, ...] | None = None) -> Array:
        found: list[Array | None] = []
        for number, point in enumerate(points):
            try:
                with np.errstate(all="ignore"):
                    answer = np.asarray(self.f(point[None] if self.vectorized else point), np.float64)
                found.append(answer[0] if self.vectorized and answer.shape[:1] == (1,) else answer)
            except Exception as error:  # noqa: BLE001  # as above
                if number < len(points) - spare:
                    self.reason = f"f raised {type(error).__name__}: {error}"
                found.append(None)
        shapes = {answer.shape for answer in found[: len(points) - spare] if answer is not None}
        if len(shapes) > 1:
            self.reason = f"f's answer changes its shape with the point: {', '.join(map(str, sorted(shapes)))}"
        if shape is None and len(shapes) != 1:
            return np.full(len(points), np.nan)
        one = next(iter(shapes)) if shape is None else shape
        fitting = [answer if answer is not None and answer.shape == one else np.full(one, np.nan) for answer in found]
        return np.stack(fitting)

    def doubted(self, limit: Limit, lines: Lines, order: int = 1) -> Limit:
        """The limit where f stands still along a line, with a bound for what may be lost in terms that cancel."""
        found = lines.doubted(limit, order)
        if (found.status != limit.status).any() and not self.reason:
            self.reason = "f stands still around x and jumps further away, as if large terms cancelled in it"
        return found

    def shaped(self, limit: Limit, shape: tuple[int, ...], survey: Survey) -> Derivative:
        """The limits, of shape (n, m), as arrays of shape y + x."""
        parts = {name: np.moveaxis(getattr(limit, name), 0, -1).reshape(self.output + shape) for name in FIELDS}
        status = np.array([str(one) for one in parts["status"].reshape(-1)], dtype="U10")
        if (status != Status.OK).any() and not self.reason and not survey.repeats:
            self.reason = "f isn't deterministic: it answers differently at the same point"
        parts["status"] = status.reshape(parts["value"].shape)
        return Derivative(**parts, evaluations=survey.evaluations, reason=self.reason)


class FiniteDifference:
    """A reference by differences. Its radii are measured, not proved.

    Args:
        ratio: As for `derivative`.
        most_inputs: More of them are not moved one by one: a gradient, a vjp or an hvp is then answered by a sketch.
        seconds: How long directions may be added to a sketch that only serve to name wrong entries.
    """

    def __init__(self, ratio: int = 8, most_inputs: int = MAX_INPUTS, seconds: float = 20.0) -> None:
        _check(ratio)
        self.ratio, self.most_inputs, self.seconds = ratio, most_inputs, seconds

    def open(self, device: str) -> Mapping[str, Any]:
        """Nothing to set.

        Raises:
            DeviceMissing: The device is not the CPU.
        """
        if device != "cpu":
            raise DeviceMissing(f"NumPy has no {device!r}")
        return {
            "device_name": "cpu", "arithmetic": "float64", "ratio": self.ratio, "most_inputs": self.most_inputs,
            "seconds": self.seconds,
        }  # fmt: skip

    def versions(self) -> Mapping[str, str]:
        """Of NumPy and SciPy."""
        return {"numpy": np.__version__, "scipy": version("scipy")}

    def estimate(self, query: Query, program: Program) -> Estimate:
        """The answer with its radii, by key; see `Estimate`.

        Raises:
            Unsupported: The question is too large, or has no meaning for complex numbers; or nothing can be moved.
        """
        if not query.inputs:
            raise Unsupported("a function of whole numbers alone, between which there is nothing")
        if is_large(query, program, self.most_inputs):
            return Large(query, program, self.ratio, self.seconds).estimate()
        return Questioned(query, program, self.ratio).estimate()
