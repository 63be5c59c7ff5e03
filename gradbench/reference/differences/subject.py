"""Somebody's function and somebody's derivative of it, as functions of flat arrays.

Callables enter, and a point; numbers leave, and a `Fault` with a sentence where a callable raises, answers with
something else than arrays, or of another shape than it should.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from gradbench.errors import BadOption
from gradbench.query import Array
from gradbench.reference.differences.bisection import Gap
from gradbench.reference.differences.ladder import EPS
from gradbench.reference.differences.probe import CLOSE, LEVELS, Lines, Survey, reach
from gradbench.reference.differences.quick import RUNGS, Course, hum, settled
from gradbench.reference.differences.slope import Samples, Status, slope

SAME: Final = 2.0**-40
"""Two answers at one point that are closer than this differ by the order of summation, not by chance."""

OTHER: Final = 0.7
"""A ladder's steps are powers of two. Before anything is called wrong it is looked at from others, so many times as far:
over a narrow rise of f the quotients of a few steps may agree by chance, on something that isn't the slope."""
TOGETHER: Final = 2**17
"""So many numbers go into one call of f, or one point if that is more: two short ladders up to 4,000 entries, and no
more than 1 MB beyond, which a processor keeps at hand."""
CAUTION: Final = 3.0
"""The tolerance is so many ladder's bounds: 0 false alarms in 3,000 trials at 3, 0.9 % at 1."""


class Fault(Exception):
    """What a callable got wrong; `is_wrong` if that alone makes a derivative wrong."""

    def __init__(self, sentence: str, is_wrong: bool = False) -> None:
        self.is_wrong = is_wrong
        super().__init__(sentence)


def entry(name: str, shape: tuple[int, ...], index: int) -> str:
    """The name of an entry: `x[3, 4]`, or `x` if that is a number."""
    return f"{name}[{', '.join(str(int(i)) for i in np.unravel_index(index, shape))}]" if shape else name


@dataclass(frozen=True)
class Layout:
    """How named arrays lie in a flat one.

    Attributes:
        shapes: By name.
        alone: Whether there is one array, without a name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    alone: bool

    @classmethod
    def of(cls, x: Any) -> tuple[Layout, Array]:
        """The layout of a point, and the point, flat, in float64.

        Raises:
            BadOption: It isn't made of real numbers.
        """
        parts = {str(name): np.asarray(part) for name, part in x.items()} if isinstance(x, Mapping) else {"x": x}
        arrays = {name: np.asarray(part) for name, part in parts.items()}
        for name, array in arrays.items():
            if array.dtype.kind in "cOSUMm":
                raise BadOption(f"{name} is an array of {array.dtype}; a projection needs real numbers")
        layout = cls({name: array.shape for name, array in arrays.items()}, alone=not isinstance(x, Mapping))
        flat = [array.astype(np.float64).reshape(-1) for array in arrays.values()]
        return layout, np.concatenate([np.zeros(0), *flat])

    @property
    def sizes(self) -> list[int]:
        """How many entries each array has."""
        return [math.prod(shape) for shape in self.shapes.values()]

    def arrays(self, flat: Array, dtype: Any = np.float64) -> Any:
        """Flat arrays of shape (..., n) as arrays of shape (..., *x), by name unless there is one alone."""
        ends = list(itertools.accumulate(self.sizes))
        starts = [0, *ends]
        parts = {
            name: flat[..., start:stop].astype(dtype, copy=False).reshape(flat.shape[:-1] + shape)
            for (name, shape), start, stop in zip(self.shapes.items(), starts, ends, strict=False)
        }
        return parts["x"] if self.alone else parts

    def flat(self, answer: Any, who: str) -> Array:
        """An answer of the shape of the point, flat; None counts as zeros, as for an input that isn't connected.

        Raises:
            Fault: It isn't of that shape.
        """
        if self.alone and isinstance(answer, Mapping):
            raise Fault(f"{who} answered by name, where x is one array", is_wrong=True)
        if not self.alone and not isinstance(answer, Mapping):
            raise Fault(f"{who} answered with {type(answer).__name__}, where x is arrays by name", is_wrong=True)
        given = {"x": answer} if self.alone else {str(name): part for name, part in answer.items()}
        if set(given) != set(self.shapes):
            raise Fault(f"{who} answered for {', '.join(given)}, where x has {', '.join(self.shapes)}", is_wrong=True)
        parts = [
            np.zeros(math.prod(shape)) if given[name] is None else numbers(given[name], shape, f"{who} for {name}")
            for name, shape in self.shapes.items()
        ]
        return np.concatenate([np.zeros(0), *parts])

    def name(self, index: int) -> str:
        """What an entry of the flat array is called."""
        for (name, shape), size in zip(self.shapes.items(), self.sizes, strict=True):
            if index < size:
                return entry(name, shape, index)
            index -= size
        raise IndexError(index)


def numbers(answer: Any, shape: tuple[int, ...], who: str) -> Array:
    """An answer as a flat array.

    Raises:
        Fault: It isn't real numbers of that shape.
    """
    try:
        found = np.asarray(answer)
    except Exception as error:
        raise Fault(f"{who} can't be made an array: {type(error).__name__}: {error}") from error
    if found.dtype.kind in "cOSUMm":
        raise Fault(f"{who} is an array of {found.dtype}", is_wrong=True)
    wide = found.astype(np.float64)
    if wide.shape != shape:
        raise Fault(f"{who} has shape {wide.shape}, where {shape} belongs", is_wrong=True)
    return wide.reshape(-1)


@dataclass(frozen=True)
class Slope:
    """The derivative of one number along one direction, as far as the ladder knows it.

    Attributes:
        value: NaN where there is none.
        bound: How far it may be off.
        status: What the ladder says of it.
    """

    value: float
    bound: float
    status: str

    @property
    def known(self) -> bool:
        """Whether it can be compared with anything."""
        return self.status == Status.OK and math.isfinite(self.value) and math.isfinite(self.bound)

    def gap(self, given: float, rounding: float) -> Gap:
        """What somebody else says against it, if that may be off by rounding."""
        return Gap(given - self.value, CAUTION * self.bound + rounding) if self.known else Gap(0.0, math.inf)


class Subject:
    """Somebody's function around a point.

    Attributes:
        output: The shape of its answer.
        evaluations: At how many points it was evaluated.
        reason: What was wrong at some of them.
    """

    def __init__(self, f: Callable[[Any], Any], layout: Layout, point: Array, vectorized: bool, ratio: int) -> None:
        """Evaluates f at the point.

        Raises:
            Fault: It can't be done.
        """
        self.f, self.layout, self.point, self.vectorized, self.ratio = f, layout, point, vectorized, ratio
        self.evaluations, self.reason = 0, ""
        self.output: tuple[int, ...] = ()
        self.value = self._value()
        if not np.isfinite(self.value).all():
            raise Fault("f isn't finite at x")

    @property
    def size(self) -> int:
        """How many numbers f answers with."""
        return math.prod(self.output)

    def _value(self) -> Array:
        found = self._single(self.point)
        if found is None:
            raise Fault(self.reason)
        self.output = found.shape
        return found.reshape(-1)

    def _call(self, points: Array) -> Array:
        with np.errstate(all="ignore"):
            found = np.asarray(self.f(self.layout.arrays(points)))
        if found.dtype.kind == "c":
            raise Fault("f answered with complex numbers")
        return found.astype(np.float64)

    def _single(self, point: Array) -> Array | None:
        self.evaluations += 1
        try:
            point = point.copy()
            found = self._call(point[None] if self.vectorized else point)
        except Fault:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a person's function raises
            self.reason = f"f raised {type(error).__name__}: {error}"
            return None
        if self.vectorized and found.shape[:1] != (1,):
            raise Fault(f"f answered with shape {found.shape} to 1 point; or doesn't it take several?")
        return found[0] if self.vectorized else found

    def values(self, points: Array) -> Array:
        """The values at points of shape (B, n), of shape (B, m), together if f takes several; NaN where it raised.

        Raises:
            Fault: The shape of its answer is another than at the point.
        """
        if self.vectorized:
            try:
                together = self._call(points)
            except Fault:
                raise
            except Exception as error:  # noqa: BLE001  # as above
                self.reason = f"f raised {type(error).__name__} on a batch: {error}"
            else:
                if together.shape == (len(points), *self.output):
                    self.evaluations += len(points)
                    return together.reshape(len(points), -1)
        apart = np.full((len(points), self.size), np.nan)
        for row, point in zip(apart, points, strict=True):
            found = self._single(point)
            if found is not None and found.shape != self.output:
                raise Fault(f"f's answer changes its shape with the point: {self.output}, {found.shape}")
            if found is not None:
                row[:] = found.reshape(-1)
        return apart

    def along(self, u: Array, v: Array, block: slice = slice(None), again: bool = False) -> Slope:
        """The derivative of the sum of u f along v, which moves the entries in a block.

        If it is asked for again, it is by the finest ladder, and one with other steps.
        """
        if not v.any():
            return Slope(0.0, 0.0, Status.OK)
        return self.slopes(u[None], v[None], block, again)[0]

    def slopes(self, u: Array, v: Array, block: slice = slice(None), again: bool = False) -> list[Slope]:
        """The same for several directions, of shape (k, m) and (k, ...); none of v is 0.

        By short ladders first, and by whole ones for what those don't settle.
        """
        found = [None] * len(v) if again else self._short(u, v, block)
        rest = [i for i, one in enumerate(found) if one is None]
        whole = iter(self._whole(u[rest], v[rest], block, again) if rest else ())
        return [next(whole) if one is None else one for one in found]

    def _short(self, u: Array, v: Array, block: slice) -> list[Slope | None]:
        """What short ladders say. The noise is looked at along the first line alone."""
        course = Course.of(self.point[block], v)
        if course is None:
            return [None] * len(v)
        steps = course.steps()
        moves = np.concatenate([CLOSE * course.beside, np.stack([steps, -steps], axis=1).reshape(-1)])
        lines, rungs, beside = len(v), len(RUNGS), len(CLOSE)
        along = np.repeat(np.array([0, *range(lines)]), [beside] + [2 * rungs] * lines)
        values = self._moved(v, block, moves, along)
        with np.errstate(all="ignore"):
            here = values[:beside] @ u.T
            quiet = hum(here)
            centre = here[beside // 2]
            # Each term is rounded by itself; u has signs by chance, so these don't add up but as a root of squares.
            terms = np.sqrt(np.square(values[beside // 2]) @ np.square(u).T)
            there = np.einsum("lskm,lm->lsk", values[beside:].reshape(lines, 2, rungs, -1), u)
            same = np.abs(centre - u @ self.value) <= SAME * terms
        found: list[Slope | None] = []
        for i in range(lines):
            plus, minus = there[i].tolist()
            noise = max(float(quiet[i]), EPS * float(terms[i]))
            one = settled(plus, minus, float(centre[i]), steps[i].tolist(), noise, float(course.place[i]))
            found.append(Slope(*one, Status.OK) if one is not None and same[i] else None)
        return found

    def _whole(self, u: Array, v: Array, block: slice, again: bool) -> list[Slope]:
        """What whole ladders say."""
        scale = OTHER if again else 1.0
        with np.errstate(all="ignore"):
            samples = self._samples(u, scale * v, block, min(LEVELS) if again else self.ratio)
            limit = slope(samples)
        apart = np.abs(samples.centre - np.sum(self.value * u, axis=1))
        size = np.max(np.nan_to_num(samples.size), axis=(0, 1))
        if (limit.status != Status.OK).any() or not (apart <= SAME * size).all():
            self._compare()
        columns = zip(limit.value[0] / scale, limit.bound[0] / scale, limit.status[0], strict=True)
        return [Slope(float(one), float(error), str(status)) for one, error, status in columns]

    def _samples(self, u: Array, v: Array, block: slice, ratio: int) -> Samples:
        """What `probe.Lines` would find of the sums of u f, a few points at a time: all of them may not fit anywhere.

        One line and a component for each direction, since each has an f, and steps, of its own.
        """
        along = reach(self.point[block], v, ratio)
        steps, near = np.exp2(along.exponents), np.exp2(along.close) * CLOSE[:, None]
        moves = np.concatenate([steps, -steps, near])
        lines = np.repeat(np.arange(len(v)), len(moves))
        terms = self._moved(v, block, moves.T.reshape(-1), lines).reshape(len(v), len(moves), -1) * u[:, None]
        total = np.sum(terms, axis=2).T[:, None]
        sizes = np.maximum(np.abs(total), np.sqrt(np.sum(np.square(terms), axis=2)).T[:, None])
        k, middle = len(steps), len(CLOSE) // 2
        (plus, minus, close), (up, down, size) = ((part[:k], part[k : 2 * k], part[2 * k :]) for part in (total, sizes))
        rungs = steps[:, None]
        return Samples(
            plus=plus,
            minus=minus,
            centre=close[middle, 0],
            close=close,
            steps=rungs,
            reach=near[-1:],
            ahead=rungs,
            behind=rungs,
            size=np.fmax(np.fmax(up, down), size[middle]),
            place=along.place[None],
        )

    def _moved(self, v: Array, block: slice, moves: Array, along: Array) -> Array:
        """What f is at some moves along one of the lines each, of shape (moves, m)."""
        some = max(1, TOGETHER // len(self.point))
        found = []
        for start in range(0, len(moves), some):
            steps = moves[start : start + some].tolist()
            moved = np.empty((len(steps), v.shape[1]))
            for row, step, line in zip(moved, steps, along[start : start + some].tolist(), strict=True):
                np.multiply(v[line], step, out=row)
            moved += self.point[block]
            points = moved
            if v.shape[1] < len(self.point):
                points = np.repeat(self.point[None], len(moved), axis=0)
                points[:, block] = moved
            found.append(self.values(points))
        return np.concatenate(found)

    def column(self, index: int) -> tuple[Array, Array]:
        """The derivative by one entry of the point, of shape (m), and its bound: infinite where it isn't known."""

        def moved(entries: Array) -> Array:
            points = np.repeat(self.point[None], len(entries), axis=0)
            points[:, index] = entries[:, 0]
            return self.values(points)

        survey = Survey(moved, self.point[index : index + 1])
        lines = Lines(survey, np.ones((1, 1)), min(LEVELS))
        survey.run()
        limit = lines.slopes()
        known = (limit.status[0] == Status.OK) & np.isfinite(limit.value[0])
        return limit.value[0], np.where(known, limit.bound[0], np.inf)

    def _compare(self) -> None:
        """Asks for f at the point once more, and complains if it answers otherwise."""
        again = self._single(self.point)
        size = float(np.sqrt(np.sum(self.value**2)))
        if again is None or again.shape != self.output:
            raise Fault("f isn't deterministic: at the same point it doesn't answer in the same way")
        apart = np.abs(again.reshape(-1) - self.value)
        if not float(np.max(apart, initial=0)) <= SAME * size:
            raise Fault("f isn't deterministic: it answers differently at the same point")
