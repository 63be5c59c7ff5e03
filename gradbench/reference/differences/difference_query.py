"""A query and its program, answered by differences.

A query and its program enter, an `Estimate` leaves. Which points are needed depends on the operator; they are collected
in one `Survey`, and the limits that come of them are laid out as the answer. A complex input is a pair of real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from gradbench.adapter import Estimate
from gradbench.errors import Unsupported
from gradbench.program import Program
from gradbench.query import Array, Operator, Query
from gradbench.record import Status as Said
from gradbench.reference.differences import batch
from gradbench.reference.differences.limits import (
    FIELDS,
    SEED,
    columns,
    generic,
    negated,
    nothing,
    paired,
    part,
    placed,
    put,
    rough,
    sharper,
)  # fmt: skip
from gradbench.reference.differences.probe import Lines, Stencils, Survey
from gradbench.reference.differences.slope import Limit, Status
from gradbench.shapes import Spec, output

MAX_INPUTS: Final = 200
"""Entries of all inputs together, where each of them is moved by itself."""
MAX_PAIRS: Final = 64
"""The same for a Hessian, where each pair of them is."""
MAX_ORDER: Final = 4
MAX_VALUES: Final = 2**25
"""Points times entries of the output, or of the inputs."""

SAID: Final = {
    Status.OK: Said.ESTIMATED,
    Status.KINK: Said.KINK,
    Status.HOELDER: Said.HOELDER,
    Status.SINGULAR: Said.SINGULAR,
    Status.UNRESOLVED: Said.UNRESOLVED,
}


class Questioned:
    """One query on its way to an answer. Complex inputs are pairs of real ones, all real parts first."""

    def __init__(self, query: Query, program: Program, ratio: int) -> None:
        self.query, self.program, self.ratio = query, program, ratio
        arrays = {name: batch.widened(np.asarray(array)) for name, array in query.inputs.items()}
        self.is_complex = any(array.dtype.kind == "c" for array in arrays.values())
        kinds = [np.full(array.size, array.dtype.kind == "c") for array in arrays.values()]
        self.in_plane = np.concatenate([np.zeros(0, bool), *kinds])  # which entries move along both axes
        flat = np.concatenate([np.zeros(0), *(array.reshape(-1) for array in arrays.values())])
        self.n = len(flat)
        self.x = self.real(flat)
        self.shapes = {name: array.shape for name, array in arrays.items()}
        stops = np.cumsum([array.size for array in arrays.values()]).tolist()
        starts = [0, *stops[:-1]]
        self.places = {name: slice(a, b) for name, a, b in zip(arrays, starts, stops, strict=True)}
        specs = {name: _spec(array) for name, array in {**query.inputs, **query.constants}.items()}
        self.output = output(program, specs)
        self.reason = ""

    def real(self, flat: Array) -> Array:
        """A flat vector of the inputs as the real numbers that it is moved by."""
        return np.concatenate([flat.real, flat.imag]) if self.is_complex else np.asarray(flat.real, np.float64)

    def vector(self, arrays: Mapping[str, Array]) -> Array:
        """Arrays by input as one such vector."""
        parts = [np.asarray(batch.widened(np.asarray(arrays[name]))).reshape(-1) for name in self.places]
        return self.real(np.concatenate([np.zeros(0), *parts]))

    def moved(self) -> Array:
        """Which entries the answer can depend on."""
        unconnected = self.program.unconnected()
        flags = np.ones(self.n, dtype=bool)
        for name, place in self.places.items():
            flags[place] = name not in unconnected
        return np.concatenate([flags, flags & self.in_plane]) if self.is_complex else flags

    def values(self, points: Array) -> Array:
        """The values at points of shape (B, n), of shape (B, m), real or complex; NaN where it raises."""
        flat = points[:, : self.n] + 1j * points[:, self.n :] if self.is_complex else points
        parts = {
            name: flat[:, place] if self.in_plane[place].any() else flat[:, place].real
            for name, place in self.places.items()
        }
        inputs = {name: part.reshape(-1, *self.shapes[name]) for name, part in parts.items()}
        if len(points) * max(self.output.size, self.n) > MAX_VALUES:
            raise Unsupported(f"{len(points)} points of {self.n} numbers with answers of {self.output.size}")
        return self._attempt(inputs, len(points)).reshape(len(points), -1)

    def _attempt(self, inputs: Mapping[str, Array], count: int) -> Array:
        try:
            return batch.values(self.program, inputs, self.query.constants, self.query.dtype)
        except Unsupported:
            raise
        except Exception as error:  # noqa: BLE001  # a primitive that raises at a point has no value there
            self.reason = f"{type(error).__name__}: {error}"
            if count == 1:
                return np.full((1, *self.output.shape), np.nan)
            each = [{name: array[i : i + 1] for name, array in inputs.items()} for i in range(count)]
            return np.concatenate([self._attempt(one, 1) for one in each])

    def survey(self, f: Callable[[Array], Array] | None = None) -> Survey:
        """A survey of f, or of something made of its values; complex values count as two columns."""

        def both(points: Array) -> Array:
            found = self.values(points)
            return np.concatenate([found.real, found.imag], axis=1) if np.iscomplexobj(found) else found

        found = Survey(f or both, self.x)
        found.terms = batch.magnitude(self.program, self.query.inputs, self.query.constants, self.query.dtype)
        return found

    def weighted(self, weights: Array) -> Survey:
        """A survey of the sum of f with weights (its real part), and of the size of its terms."""
        weights = np.asarray(weights).reshape(-1)
        wanted = weights != 0

        def total(points: Array) -> Array:
            terms = self.values(points)[:, wanted] * weights[wanted]
            return np.stack([terms.real.sum(axis=1), np.abs(terms).sum(axis=1)])[..., None]

        return self.survey(total)

    def estimate(self) -> Estimate:
        """The answer by operator."""
        query = self.query
        if query.operator in {Operator.GRADIENT, Operator.HVP, Operator.HESSIAN} and self.output.shape != ():
            raise Unsupported(f"the {query.operator} of an output of shape {self.output.shape}")
        if query.operator in {Operator.HVP, Operator.HESSIAN} and self.is_complex:
            raise Unsupported("second derivatives of complex functions")
        limit = getattr(self, query.operator.value)
        survey, found = limit()
        answer, margin, status = {}, {}, {}
        for key, one in found.items():
            shape = query.operator.shape(key, self.shapes, self.output.shape)
            answer[key], margin[key], status[key] = _written(one, shape)
        notes: dict[str, Any] = {"evaluations": survey.evaluations, "ratio": self.ratio, "seed": SEED}
        noise = [float(np.max(one.noise, initial=0)) for one in found.values()]
        notes["noise"] = max((n for n in noise if np.isfinite(n)), default=0.0)
        if self.reason:
            notes["raised"] = self.reason
        return Estimate(answer, margin, status, notes)

    def value(self) -> tuple[Survey, dict[str, Limit]]:
        """The function itself, with the noise around it for a radius."""
        survey = self.survey()
        moved = self.moved()
        if moved.any():
            lines = Lines(survey, generic(survey.x, moved)[None], self.ratio)
            survey.run()
            noise = lines.slopes().noise
        else:
            survey.add(survey.x[None])
            survey.run()
            noise = np.zeros((1, survey.answers.shape[-1]))
        # The line's last points are the point itself.
        value = survey.answers[0, -1:]
        radius = np.fmax(noise, 4 * np.spacing(np.abs(value)))
        status = np.where(np.isfinite(value), Status.OK, Status.SINGULAR).astype(object)
        radius = np.where(np.isfinite(value), radius, np.inf)
        return survey, {"": self.folded(Limit(value, radius, status, value, value, noise))}

    def folded(self, limit: Limit) -> Limit:
        """Two columns for each complex value made one."""
        m = self.output.size
        if limit.value.shape[-1] == m:
            return limit
        return paired(*(Limit(*(getattr(limit, f)[..., part] for f in FIELDS)) for part in (slice(m), slice(m, None))))

    def along(self, direction: Array) -> tuple[Survey, Limit]:
        """The derivative along one direction."""
        survey = self.survey()
        if not direction.any():
            survey.add(survey.x[None])
            survey.run()
            return survey, self.folded(nothing(1, survey.answers.shape[-1]))
        lines = Lines(survey, direction[None], self.ratio)
        survey.run()
        return survey, self.folded(lines.slopes())

    def jvp(self) -> tuple[Survey, dict[str, Limit]]:
        """Along the tangent."""
        assert self.query.tangents is not None
        survey, limit = self.along(self.vector(self.query.tangents) * self.moved())
        return survey, {"": limit}

    def vjp(self) -> tuple[Survey, dict[str, Limit]]:
        """The gradient of the sum of f with the cotangent for weights."""
        assert self.query.cotangent is not None
        return self.pulled(batch.widened(np.asarray(self.query.cotangent)))

    def gradient(self) -> tuple[Survey, dict[str, Limit]]:
        """The same with the weight 1."""
        return self.pulled(np.ones(()))

    def pulled(self, weights: Array) -> tuple[Survey, dict[str, Limit]]:
        """df/dx, for complex inputs df/dx - i df/dy, of the weighted sum of f."""
        survey = self.weighted(weights)
        self.few(MAX_INPUTS)
        found = columns(survey, self.moved(), self.ratio)
        if self.is_complex:
            found = paired(part(found, slice(self.n)), negated(part(found, slice(self.n, None))))
        return survey, {name: part(found, place) for name, place in self.places.items()}

    def jacobian(self) -> tuple[Survey, dict[str, Limit]]:
        """By every input, the output's axes first."""
        self.few(MAX_INPUTS)
        survey = self.survey()
        found = columns(survey, self.moved(), self.ratio)
        folded = self.folded(found)
        if self.is_complex:
            folded = self.holomorphic(folded, found)
        turned = Limit(*(getattr(folded, name).T for name in FIELDS))
        return survey, {
            name: Limit(*(getattr(turned, field)[:, place] for field in FIELDS)) for name, place in self.places.items()
        }

    def holomorphic(self, folded: Limit, found: Limit) -> Limit:
        """The derivative f' from those along both axes; df/dx - i df/dy if f is real."""
        across, along = part(folded, slice(self.n, None)), part(folded, slice(self.n))
        with np.errstate(invalid="ignore"):
            turned = np.abs(across.value - 1j * along.value) <= 2 * (across.bound + along.bound)
        turned |= ~self.in_plane[:, None]
        if np.all(turned | (along.status != Status.OK) | (across.status != Status.OK)):
            return along
        if found.value.shape[-1] == self.output.size or not found.value[:, self.output.size :].any():
            real = Limit(*(getattr(found, f)[:, : self.output.size] for f in FIELDS))
            return paired(part(real, slice(self.n)), negated(part(real, slice(self.n, None))))
        raise Unsupported("the Jacobian of a complex function that is not holomorphic")

    def hvp(self) -> tuple[Survey, dict[str, Limit]]:
        """The mixed derivatives by every entry and along the tangent."""
        assert self.query.tangents is not None
        self.few(MAX_INPUTS)
        tangent, moved = self.vector(self.query.tangents) * self.moved(), self.moved()
        survey = self.survey()
        axes = np.eye(self.n)[moved]
        if not tangent.any():
            survey.add(survey.x[None])
            survey.run()
            return survey, self.by_name(nothing(self.n, 1))
        lines = Lines(survey, np.concatenate([axes, tangent[None]]), self.ratio)
        pairs = np.stack([axes, np.broadcast_to(tangent, axes.shape)], axis=1)
        cross = Stencils(survey, pairs, (1, 1), self.ratio)
        survey.run()
        first, quiet, heard = lines.slopes(), lines.quiet(), lines.heard()
        mixed = cross.limits(*(np.maximum(noise[:-1], noise[-1:]) for noise in (quiet, heard)))
        found = rough(mixed, first.status[:-1], np.broadcast_to(first.status[-1:], mixed.status.shape))
        return survey, self.by_name(placed(found, moved))

    def by_name(self, limit: Limit) -> dict[str, Limit]:
        """Rows of the limit by input."""
        return {name: part(limit, place) for name, place in self.places.items()}

    def hessian(self) -> tuple[Survey, dict[str, Limit]]:
        """Second derivatives along every axis, mixed ones by every pair of them."""
        self.few(MAX_PAIRS)
        moved = self.moved()
        axes = np.eye(self.n)[moved]
        survey = self.survey()
        table = nothing(self.n * self.n, 1)
        if not len(axes):
            survey.add(survey.x[None])
            survey.run()
            return survey, self.by_pair(table)
        lines = Lines(survey, axes, self.ratio)
        i, j = np.tril_indices(len(axes), -1)
        twice = Stencils(survey, axes[:, None], (2,), self.ratio)
        cross = Stencils(survey, np.stack([axes[i], axes[j]], axis=1), (1, 1), self.ratio) if len(i) else None
        survey.run()
        where, quiet, heard = np.flatnonzero(moved), lines.quiet(), lines.heard()
        put(table, where * self.n + where, sharper(lines.curvatures(), twice.limits(quiet, heard)))
        if cross is not None:
            first = lines.slopes()
            mixed = rough(
                cross.limits(*(np.maximum(noise[i], noise[j]) for noise in (quiet, heard))),
                first.status[i],
                first.status[j],
            )
            put(table, where[i] * self.n + where[j], mixed)
            put(table, where[j] * self.n + where[i], mixed)
        return survey, self.by_pair(table)

    def by_pair(self, table: Limit) -> dict[str, Limit]:
        """Blocks of an (n, n) table by pairs of inputs."""
        square = {name: getattr(table, name).reshape(self.n, self.n) for name in FIELDS}
        return {
            f"{a},{b}": Limit(*(square[field][one, two] for field in FIELDS))
            for a, one in self.places.items()
            for b, two in self.places.items()
        }

    def partial(self) -> tuple[Survey, dict[str, Limit]]:
        """A derivative of any order up to 4 by some of the 0-d inputs."""
        orders = {name: k for name, k in (self.query.orders or {}).items() if k}
        wrong = [name for name in orders if self.shapes[name]]
        if wrong:
            raise Unsupported(f"a partial derivative by {wrong[0]!r}, which is an array")
        total = sum(orders.values())
        if not orders:
            return self.value()
        if total > MAX_ORDER:
            raise Unsupported(f"differences of order {total}; up to {MAX_ORDER}")
        if self.is_complex and total > 1:
            raise Unsupported("higher derivatives of complex functions")
        if self.is_complex:
            (name,) = orders
            survey, whole = self.jacobian()
            return survey, {"": whole[name]}
        axes = np.stack([np.eye(len(self.x))[self.places[name].start] for name in orders])
        if not all(self.moved()[self.places[name]].all() for name in orders):
            axes, total = 0 * axes, 1  # by something that f doesn't depend on
        if total == 1:
            survey, limit = self.along(axes[0])
            return survey, {"": limit}
        survey = self.survey()
        lines = Lines(survey, axes, self.ratio)
        cross = Stencils(survey, axes[None], tuple(orders.values()), self.ratio)
        survey.run()
        found = cross.limits(*(np.max(noise, axis=0, keepdims=True) for noise in (lines.quiet(), lines.heard())))
        if len(axes) == 1 and total == 2:
            return survey, {"": self.folded(sharper(lines.curvatures(), found))}
        return survey, {"": self.folded(rough(found, *lines.slopes().status[:, None]))}

    def few(self, limit: int) -> None:
        """Refuses to move too many entries one by one."""
        if len(self.x) > limit:
            raise Unsupported(f"{len(self.x)} numbers to move one by one; up to {limit}")


def _spec(array: Array) -> Spec:
    kinds = {"b": "boolean", "i": "integer", "u": "integer", "c": "complex"}
    return Spec(np.shape(array), kinds.get(np.asarray(array).dtype.kind, "real"))


def _written(limit: Limit, shape: tuple[int, ...]) -> tuple[Array, dict[str, Array], Array]:
    """The answer, its margins and its statuses, of the shape asked for. At a kink the answer lies midway."""
    part = {name: getattr(limit, name).reshape(shape) for name in FIELDS}
    kink = part["status"] == Status.KINK
    middle = (part["left"] + part["right"]) / 2
    margin = {"radius": np.asarray(part["bound"])}
    known = ~np.isclose(part["left"], part["value"], equal_nan=True)
    if kink.any() or known.any():
        margin |= {"left": part["left"], "right": part["right"]}
        margin |= {
            "lower": np.fmin(part["left"].real, part["right"].real),
            "upper": np.fmax(part["left"].real, part["right"].real),
        }
    status = np.array([str(SAID[one]) for one in part["status"].reshape(-1)], dtype="U12").reshape(shape)
    return np.asarray(np.where(kink, middle, part["value"])), margin, status
