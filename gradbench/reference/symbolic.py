"""`HighPrecision`: derivatives as limits of difference quotients of the program itself, with hundreds of digits.

A query and its program enter, an `Estimate` leaves: float64 (or complex128) centres, tails (what rounding to float64
took off), radii, and a status for each component. Inputs are taken bit for bit, numbers of the text as rounded to the query's
dtype, and nothing is rounded to a format in between, so an overflow that a format would have had isn't there: where the
truth itself is beyond float64 the centre is an infinity with radius 0.

Nothing here knows a rule of differentiation, which makes it independent of everybody who is judged, and of `ball`.

Of a complex function the derivative is the linear one, f'(z) = df/dx where it is holomorphic; of a real function of
complex inputs it is df/dx - i df/dy. The vjp with cotangent w is that derivative of the sum of w f.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath
import numpy as np

from gradbench.adapter import Estimate
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.program import Program
from gradbench.query import Operator, Query
from gradbench.record import Status
from gradbench.reference.many_digits.quotient import NOTHING, Axis, Component, Number, joined
from gradbench.reference.many_digits.vicinity import SEED, Vicinity


class HighPrecision:
    """A reference by many digits. Its radii are measured, not proved."""

    def open(self, device: str) -> Mapping[str, Any]:
        """Nothing to set: every query has a precision of its own.

        Raises:
            DeviceMissing: The device is not the CPU.
        """
        if device != "cpu":
            raise DeviceMissing(f"mpmath has no {device!r}")
        return {"device_name": "cpu", "arithmetic": f"mpmath on {mpmath.libmp.BACKEND}"}

    def versions(self) -> Mapping[str, str]:
        """Of mpmath."""
        return {"mpmath": mpmath.__version__, "numpy": np.__version__}

    def estimate(self, query: Query, program: Program) -> Estimate:
        """The answer with its radii; see `Estimate`.

        Raises:
            Unsupported: The question is too large, or has no meaning for complex numbers.
        """
        point = Vicinity(query, program)
        point.plan(_evaluations(query, point))
        try:
            parts = _answers(point)
        except mpmath.libmp.NoConvergence as error:
            raise Unsupported(f"no convergence with many digits: {error}") from None
        shapes = {name: array.shape for name, array in query.inputs.items()}
        found = {}
        for key in query.keys:
            shape = query.operator.shape(key, shapes, point.shape)
            found[key] = Written(point, parts[key], shape)
        return Estimate(
            answer={key: one.answer for key, one in found.items()},
            margin={key: one.margin for key, one in found.items()},
            status={key: one.status for key, one in found.items()},
            notes={"evaluations": point.evaluations, "bits": point.bits, "seed": SEED},
        )


def _evaluations(query: Query, point: Vicinity) -> int:
    """How often the program is run if nothing is out of the ordinary."""
    n = point.count * (2 if point.is_complex else 1)
    match query.operator:
        case Operator.VALUE:
            each = 1
        case Operator.JVP:
            each = 3
        case Operator.PARTIAL:
            each = math.prod(2 * k + 1 for k in (query.orders or {}).values())
        case Operator.HVP:
            each = 6 * n + 3
        case Operator.HESSIAN:
            each = 2 * n * (n + 1) + 1
        case _:
            each = 2 * n + 5
    return 2 * each


def _answers(point: Vicinity) -> dict[str, list[Component]]:
    """The components of every array of the answer, by key, in C order."""
    query = point.query
    match query.operator:
        case Operator.VALUE:
            return {"": point.value()}
        case Operator.JVP:
            return {"": point.derivative([point.towards("tangent", point.tangents())])}
        case Operator.PARTIAL:
            return {"": _partial(point)}
        case Operator.HVP:
            point.needs_scalar()
            tangent = point.towards("tangent", point.tangents())
            found = [point.derivative([point.entry(i), tangent])[0] for i in range(point.count)]
            return {name: found[place] for name, place in point.places.items()}
        case Operator.HESSIAN:
            point.needs_scalar()
            return _hessian(point)
        case Operator.JACOBIAN:
            rows = _first(point)
            return {name: [one for row in rows for one in row[place]] for name, place in point.places.items()}
        case _:
            if query.operator is Operator.GRADIENT:
                point.needs_scalar()
            (row,) = _first(point)
            return {name: row[place] for name, place in point.places.items()}


def _first(point: Vicinity) -> list[list[Component]]:
    """The first derivatives: for each value of the function a row with one component for each entry of the inputs."""
    if not point.is_defined_there:
        gone = Component(Status.SINGULAR, point.mp.nan, point.mp.inf)
        return [[gone] * point.count for _ in point.zero()]
    columns = [_column(point, i) for i in range(point.count)]
    if not point.is_complex and point.count > 1 and not all(map(_fits(point, columns), range(2))):
        columns = point.beside(columns)
    return [list(row) for row in zip(*columns, strict=True)]


def _column(point: Vicinity, i: int) -> list[Component]:
    along, mp = point.derivative([point.entry(i)]), point.mp
    if not isinstance(point.start[i], mp.mpc):
        return along
    across = point.derivative([point.towards((i, "i"), {i: mp.mpc(0, 1)})])
    if point.query.operator in {Operator.JACOBIAN, Operator.PARTIAL}:
        if all(
            abs(b.centre - mp.mpc(0, 1) * a.centre) <= mp.ldexp(abs(a.centre), -60)
            for a, b in zip(along, across, strict=True)
        ):
            return along
        if any(mp.im(value) != 0 for value in point.zero()):
            raise Unsupported(f"the {point.query.operator} of a complex function that is not holomorphic")
    return [joined([(1, a), (mp.mpc(0, -1), b)]) for a, b in zip(along, across, strict=True)]


def _fits(point: Vicinity, columns: Sequence[Sequence[Component]]) -> Callable[[int], bool]:
    """Whether the derivative along a generic direction is what the partial ones say.

    They may all exist at a point where the function is not differentiable: at a tie of a median they are all 0.
    """
    mp = point.mp

    def fits(number: int) -> bool:
        direction = point.generic[number]
        found = point.derivative([Axis(("generic", number), direction, 0)])
        for k, one in enumerate(found):
            row = [column[k] for column in columns]
            if any(part.status is not Status.PRECISE for part in row):
                continue
            terms = [direction[i] * part.centre for i, part in enumerate(row)]
            slack = sum(abs(direction[i]) * part.radius for i, part in enumerate(row)) + one.radius
            away = abs(one.centre - sum(terms, mp.zero))
            if one.status is not Status.PRECISE or away > 4 * slack + mp.ldexp(max(map(abs, terms)), -60):
                return False
        return True

    return fits


def _hessian(point: Vicinity) -> dict[str, list[Component]]:
    if point.in_plane:
        raise Unsupported("second derivatives of complex functions")
    table: dict[tuple[int, int], Component] = {}
    for i in range(point.count):
        for j in range(i + 1):
            axes = [point.entry(i, 2)] if i == j else [point.entry(i), point.entry(j)]
            (table[i, j],) = point.derivative(axes)
            table[j, i] = table[i, j]
    every = range(point.count)
    return {
        f"{a},{b}": [table[i, j] for i in every[point.places[a]] for j in every[point.places[b]]]
        for a in point.places
        for b in point.places
    }


def _partial(point: Vicinity) -> list[Component]:
    orders = {name: n for name, n in (point.query.orders or {}).items() if n}
    wrong = [name for name in orders if point.query.inputs[name].ndim]
    if wrong:
        raise Unsupported(f"a partial derivative by {wrong[0]!r}, which is an array")
    if not orders:
        return point.value()
    if point.in_plane and sum(orders.values()) > 1:
        raise Unsupported("higher derivatives of complex functions")
    if point.in_plane:
        (name,) = orders
        return _column(point, point.places[name].start)
    return point.derivative([point.entry(point.places[name].start, n) for name, n in orders.items()])


class Written:
    """Components as arrays of float64, or of complex128.

    Attributes:
        answer: The centres, rounded.
        margin: `tail`, what rounding took off the centres; `radius`; and the sides of kinks.
        status: A `Status` for each.
    """

    def __init__(self, point: Vicinity, parts: Sequence[Component], shape: tuple[int, ...]) -> None:
        mp = self.mp = point.mp
        self.shape, self.kind = shape, complex if point.is_complex else float
        if point.vocabulary.doubtful:  # a branch was taken by a rounding error
            parts = [Component(Status.UNDECIDED, part.centre, mp.inf) for part in parts]
        self.answer = self.array([part.centre for part in parts])
        self.status = np.array([str(part.status) for part in parts], "U11").reshape(shape)
        rests = [self.rest(part.centre, x) for part, x in zip(parts, self.answer.reshape(-1).tolist(), strict=True)]
        tail = self.array(rests)
        rounded = zip(parts, self.answer.reshape(-1), rests, tail.reshape(-1).tolist(), strict=True)
        radii = [
            mp.zero if part.status is Status.PRECISE and np.isinf(x) else part.radius + abs(self.rest(rest, y))
            for part, x, rest, y in rounded
        ]
        self.margin = {"tail": tail, "radius": np.array([self.above(radius) for radius in radii]).reshape(shape)}
        for side in ("left", "right", "lower", "upper"):
            numbers = [part.centre if part.left is None else getattr(part, side) for part in parts]
            if any(part.left is not None for part in parts):
                self.margin[side] = self.array(numbers)

    def array(self, numbers: Sequence[Number]) -> Any:
        """The numbers rounded."""
        return np.array([self.kind(n if self.kind is complex else self.mp.re(n)) for n in numbers], self.kind).reshape(
            self.shape
        )

    def rest(self, number: Number, rounded: complex) -> Number:
        """What rounding took off; nothing where that leaves no finite number."""
        mp = self.mp
        return number - mp.mpmathify(rounded) if mp.isfinite(mp.mpmathify(rounded)) else mp.zero

    def above(self, radius: Number) -> float:
        """A radius rounded up. One that no format could tell from 0 is 0."""
        if radius < self.mp.ldexp(1, -NOTHING):
            return 0.0
        return float(radius) if self.mp.mpf(float(radius)) >= radius else math.nextafter(float(radius), math.inf)
