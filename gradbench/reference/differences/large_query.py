"""A query too large to be answered entry by entry, answered by differences all the same.

A query and its program enter, an `Estimate` leaves. Of a gradient, a vjp or an hvp it holds a `Sketch` for each input
and no array: some 12 evaluations of f for each direction, were there a million entries. A value is f in double
precision with the noise around it, and a jvp the slope along its one direction, component by component.

Directions through the whole array come first. Those that only serve to name a wrong entry follow, coarsest first, as
long as there is time; with none of them nothing is seen worse, only located.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from gradbench.adapter import Estimate
from gradbench.errors import Unsupported
from gradbench.program import Program, evaluate, trace
from gradbench.query import Array, Operator, Query
from gradbench.record import Status as Said
from gradbench.reference.differences import batch
from gradbench.reference.differences.difference_query import SAID
from gradbench.reference.differences.ladder import EPS, SAFETY
from gradbench.reference.differences.limits import generic
from gradbench.reference.differences.line import DOWN, FINEST, Found, Line
from gradbench.reference.differences.probe import CLOSE, LEVELS, SPAN
from gradbench.reference.differences.quick import MIXED, Course, limit
from gradbench.reference.differences.slope import Limit, Status, higher
from gradbench.shapes import output
from gradbench.sketch import Probes, Sketch, missed
from gradbench.spec import Spec

MANY: Final = 2**16
"""With more entries of the inputs, or of the output, a value or a jvp is not for one survey."""
TOGETHER: Final = 2**18
"""So many numbers are computed with at a time, or one point if that is more."""
WHOLE: Final = 2
"""Directions through the whole array; 1 if time is short."""
SECOND: Final = 2.0**-16
"""A mixed second derivative may be off by this part of its quotients before it is asked of a whole ladder."""
SKETCHED: Final = frozenset({Operator.GRADIENT, Operator.VJP, Operator.HVP})

ZERO: Final[Found] = (0.0, 0.0, Status.OK)


def is_large(query: Query, program: Program, most: int) -> bool:
    """Whether a query is for this room: more than so many inputs to move, or too many numbers for one survey."""
    arrays = [*query.inputs.values(), *query.constants.values()]
    if any(np.asarray(array).dtype.kind == "c" for array in arrays):
        return False
    size = sum(array.size for array in query.inputs.values())
    if query.operator in SKETCHED:
        return size > most
    if query.operator not in {Operator.VALUE, Operator.JVP}:
        return False
    specs = {name: Spec.of(array) for name, array in {**query.inputs, **query.constants}.items()}
    return max(size, output(program, specs).size) > MANY


class Large:
    """One large query on its way to an answer."""

    def __init__(self, query: Query, program: Program, ratio: int, seconds: float) -> None:
        self.query, self.program, self.ratio, self.seconds = query, program, ratio, seconds
        self.started = time.monotonic()
        self.ops = batch.lifted(np.dtype(query.dtype))
        self.fixed = {name: batch.widened(np.asarray(a))[None] for name, a in query.constants.items()}
        self.x = {name: np.asarray(a, np.float64) for name, a in query.inputs.items()}
        self.unconnected = program.unconnected()
        self.evaluations, self.reason = 0, ""
        entries = trace(program, self.ops, {**{name: a[None] for name, a in self.x.items()}, **self.fixed})
        self.together = max(1, TOGETHER // max(np.size(entry) for entry in entries))
        specs = {name: Spec.of(array) for name, array in {**query.inputs, **query.constants}.items()}
        self.output = output(program, specs).shape
        self.each = (time.monotonic() - self.started) / self.together

    def estimate(self) -> Estimate:
        """The answer by operator.

        Raises:
            Unsupported: It has no meaning.
        """
        operator = self.query.operator
        if operator in {Operator.GRADIENT, Operator.HVP} and self.output != ():
            raise Unsupported(f"the {operator} of an output of shape {self.output}")
        with np.errstate(all="ignore"):
            if operator in SKETCHED:
                return self.sketches()
            found = self.value() if operator is Operator.VALUE else self.jvp()
        answer = found.value.reshape(self.output)
        status = np.array([str(SAID[one]) for one in found.status.reshape(-1)], "U12").reshape(self.output)
        return Estimate({"": answer}, {"": {"radius": found.bound.reshape(self.output)}}, {"": status}, self.notes())

    def notes(self) -> dict[str, Any]:
        """What is worth keeping of the way there."""
        found: dict[str, Any] = {"evaluations": self.evaluations, "ratio": self.ratio}
        return {**found, "raised": self.reason} if self.reason else found

    def at(self, moves: Sequence[tuple[float, Mapping[str, Array]]]) -> Array:
        """What f is where the point is moved along directions, flat by input, in one step or several; of shape (m)."""
        inputs = {name: array.reshape(1, -1) for name, array in self.x.items()}
        for step, directions in moves:
            for name, along in directions.items():
                inputs[name] = inputs[name] + step * along
        found: Array = self._values({name: a.reshape(-1, *self.x[name].shape) for name, a in inputs.items()}, 1)[0]
        return found

    def along(self, steps: Array, directions: Mapping[str, Array]) -> Array:
        """What f is at steps along directions, flat by input; of shape (steps, m)."""
        found = []
        for start in range(0, len(steps), self.together):
            some = steps[start : start + self.together]
            inputs = {name: array[None] for name, array in self.x.items()}
            for name, direction in directions.items():
                moved = some[:, None] * direction
                moved += self.x[name].reshape(-1)
                inputs[name] = moved.reshape(-1, *self.x[name].shape)
            found.append(self._values(inputs, len(some)))
        return np.concatenate(found)

    def line(self, directions: Mapping[str, Array], weights: Array | None) -> Line:
        """The line along directions, flat by input."""
        return Line(self.along, self.x, directions, weights)

    def _values(self, inputs: Mapping[str, Array], count: int) -> Array:
        self.evaluations += count
        try:
            answer = np.asarray(evaluate(self.program, self.ops, {**inputs, **self.fixed}))
        except Exception as error:  # noqa: BLE001  # a primitive that raises at a point has no value there
            self.reason = f"{type(error).__name__}: {error}"
            return np.full((count, math.prod(self.output)), np.nan)
        return np.broadcast_to(answer, (count, *answer.shape[1:])).reshape(count, -1)

    def value(self) -> Limit:
        """The function itself, with the noise around it for a radius."""
        flat = np.concatenate([a.reshape(-1) for a in self.x.values()])
        course = Course.of(flat, generic(flat, np.ones(len(flat), bool))[None])
        spacing = 2.0**-46 if course is None else course.beside
        directions = {name: generic(a.reshape(-1), np.ones(a.size, bool)) for name, a in self.x.items()}
        close = self.along(CLOSE * spacing, directions)
        value = close[len(CLOSE) // 2]
        noise = np.max(np.abs(np.diff(close, 2, axis=0)), axis=0) / 2
        known = np.isfinite(value)
        radius = np.where(known, np.fmax(np.nan_to_num(noise, nan=0), 4 * np.spacing(np.abs(value))), np.inf)
        return Limit(value, radius, np.where(known, Status.OK, Status.SINGULAR).astype(object), value, value, noise)

    def jvp(self) -> Limit:
        """Along the tangent."""
        assert self.query.tangents is not None
        directions = self._connected(self.query.tangents)
        m = math.prod(self.output)
        if not any(direction.any() for direction in directions.values()):
            found = _limit([ZERO] * m)
        elif m == 1:
            found = _limit([self.line(directions, np.ones(1)).slope(None)[0]])
        else:
            found = self.line(directions, None).components()
        return found

    def _connected(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {
            name: np.asarray(arrays[name], np.float64).reshape(-1)
            for name in self.x
            if name not in self.unconnected and arrays[name].size
        }

    def sketches(self) -> Estimate:
        """A sketch of the answer by each input."""
        digest = self.query.digest
        weights = np.ones(1)
        if self.query.operator is Operator.VJP:
            weights = np.asarray(batch.widened(np.asarray(self.query.cotangent)), np.float64).reshape(-1)
        ask = self._second() if self.query.operator is Operator.HVP else _First(self, weights)
        # A direction takes 13 evaluations, if all goes well.
        whole = WHOLE if 32 * self.each < self.seconds else 1
        plans = {name: Probes(f"{digest}:{name}", array.size, whole) for name, array in self.x.items()}
        found = {name: [ask.found(name, probes.direction(i)) for i in range(whole)] for name, probes in plans.items()}
        for name, probes in plans.items():
            plans[name] = replace(probes, bits=self._masked(ask, name, probes, found[name]))
        kept = {name: self._sketch(probes, found[name]) for name, probes in plans.items()}
        notes = {**self.notes(), "sketch": {name: one.notes() for name, one in kept.items()}}
        status = {name: one.words for name, one in kept.items()}
        return Estimate({}, {name: one.margin() for name, one in kept.items()}, status, notes)

    def _masked(self, ask: Any, name: str, probes: Probes, found: list[Found]) -> tuple[int, ...]:
        """Adds what there is along the masked directions, highest digit first; which digits there was time for."""
        bits: list[int] = []
        if name in self.unconnected or not any(status == Status.OK for _, _, status in found):
            return ()
        first = probes.direction(0)
        for bit in reversed(range((probes.size - 1).bit_length())):
            if time.monotonic() - self.started > self.seconds:
                break
            bits.append(bit)
            found.append(ask.found(name, np.where(probes.has(bit), first, 0), self.ratio))
        return tuple(bits)

    def _sketch(self, probes: Probes, found: list[Found]) -> Sketch:
        values, radius = (np.array(part, np.float64) for part in list(zip(*found, strict=True))[:2])
        words = np.array([str(SAID[status]) for _, _, status in found], "U12")
        radius = np.where(words == Said.ESTIMATED, radius, np.inf)
        all_bits = (probes.size - 1).bit_length()
        late = "" if len(probes.bits) == all_bits else f"no time to name entries: {all_bits - len(probes.bits)} digits"
        sketch = Sketch(probes, (probes.size,), values, radius, words, late)
        seen = 4 * float(np.min(radius[: probes.whole]))
        return replace(sketch, visible=2 * seen, missed=missed(4 * radius[: probes.whole], 1000 * seen))

    def _second(self) -> _Second:
        assert self.query.tangents is not None
        return _Second(self, self._connected(self.query.tangents))


def _limit(found: Sequence[Found]) -> Limit:
    values, bounds = (np.array(part, np.float64) for part in list(zip(*found, strict=True))[:2])
    status = np.array([status for _, _, status in found], dtype=object)
    return Limit(values, bounds, status, values, values, np.zeros(len(found)))


class _First:
    """First derivatives of a sum of f with weights, along directions in one input."""

    def __init__(self, ground: Large, weights: Array) -> None:
        self.ground, self.weights = ground, weights
        self.known: tuple[float, float] | None = None
        self.downs: Sequence[int] = DOWN

    def found(self, name: str, direction: Array, ratio: int = FINEST) -> Found:
        """The derivative along a direction, if need be by a whole ladder of that ratio."""
        if name in self.ground.unconnected or not direction.any() or not self.weights.any():
            return ZERO
        line = self.ground.line({name: direction}, self.weights)
        if self.known is None:
            self.known = line.quiet()
        found, down = line.slope(self.known, self.downs, ratio)
        # What didn't do for one direction won't for the next.
        self.downs = [one for one in self.downs if down is not None and one >= down]
        return found


class _Second:
    """Mixed second derivatives of f, along a tangent and along directions in one input."""

    def __init__(self, ground: Large, tangent: Mapping[str, Array]) -> None:
        self.ground = ground
        self.tangent = {name: along for name, along in tangent.items() if along.any()}
        self.line = ground.line(self.tangent, np.ones(1)) if self.tangent else None
        self.course = None if self.line is None else Course.of(self.line.x, self.line.v[None])
        self.known: tuple[float, float] | None = None
        self.rough: bool | None = None

    def found(self, name: str, direction: Array, ratio: int = FINEST) -> Found:
        """The derivative of the slope along the tangent, along a direction."""
        if self.line is None or name in self.ground.unconnected or not direction.any():
            return ZERO
        line = self.ground.line({name: direction}, np.ones(1))
        course = Course.of(line.x, line.v[None])
        if course is None or self.course is None:
            return math.nan, math.inf, Status.UNRESOLVED
        if self.known is None:
            self.known = line.quiet()
        tops = float(course.top[0]), float(self.course.top[0])
        quiet, scale = self.known[1], tops[0] * tops[1]
        steps = [2.0**rung for rung in MIXED]
        quotients, sizes = zip(*(self._quotient(h, tops, line) for h in steps), strict=True)
        noise = [SAFETY * max(quiet, EPS * size) / h**2 for h, size in zip(steps, sizes, strict=True)]
        found = limit(quotients, noise, steps, share=SECOND)
        if found is not None:
            return found[0] / scale, found[1] / scale, Status.OK
        return self._whole(tops, line, quiet, ratio)

    def _quotient(self, h: float, tops: tuple[float, float], line: Line) -> tuple[float, float]:
        """The mixed difference over h², and the size of what went in."""
        a, b = h * tops[0], h * tops[1]
        corners = [
            float(self.ground.at([(i * a, line.directions), (j * b, self.tangent)])[0])
            for i, j in ((1, 1), (1, -1), (-1, 1), (-1, -1))
        ]
        return (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * h * h), max(map(abs, corners))

    def _whole(self, tops: tuple[float, float], line: Line, quiet: float, ratio: int) -> Found:
        """The same by a whole ladder, where f has a slope along either line."""
        assert self.line is not None
        if self.rough is None:
            self.rough = self.line.slopes().status[0] not in {Status.OK, Status.UNRESOLVED}
        if self.rough or line.slopes().status[0] not in {Status.OK, Status.UNRESOLVED}:
            return math.nan, math.inf, Status.SINGULAR
        count = min(LEVELS[ratio], 18)
        steps = np.exp2(-np.round(np.linspace(0, SPAN[2], count)))
        quotients, sizes = (
            np.array(part) for part in zip(*(self._quotient(float(h), tops, line) for h in steps), strict=True)
        )
        scale = tops[0] * tops[1]
        found = higher(quotients[:, None], steps[:, None], 2, 1.0, sizes[:, None], np.array([quiet]))
        return float(found.value[0]) / scale, float(found.bound[0]) / scale, found.status[0]
