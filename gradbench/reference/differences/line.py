"""The slope of a function of very many numbers along one line, a few points at a time.

A function of steps and directions enters, with the point and a direction for each input that moves; a limit leaves: of
the sum with weights, or of each component. A short ladder is tried first, and once more further down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from gradbench.query import Array
from gradbench.reference.differences.ladder import EPS
from gradbench.reference.differences.probe import BLOCK, CLOSE, LEVELS, joined, reach
from gradbench.reference.differences.quick import RUNGS, Course, columns, hum, settled
from gradbench.reference.differences.slope import Limit, Samples, Status, slope

FINEST: Final = min(LEVELS)
DOWN: Final = (0, 7)
"""Where short ladders begin, in powers of two below the size of the point."""
Found = tuple[float, float, Status]
"""A number, how far it may be off, and what the ladder says of it."""


class Line:
    """The sum of f with weights along a line, or each of its components where there are none."""

    def __init__(
        self,
        along: Callable[[Array, Mapping[str, Array]], Array],
        point: Mapping[str, Array],
        directions: Mapping[str, Array],
        weights: Array | None,
    ) -> None:
        """Of a function that takes steps and directions, flat by input, and answers with shape (steps, m)."""
        self.along, self.directions, self.weights = along, directions, weights
        self.x = np.concatenate([point[name].reshape(-1) for name in directions])
        self.v = np.concatenate(list(directions.values()))

    def summed(self, steps: Array) -> tuple[Array, Array]:
        """The sums at steps along the line and the size of what went in, of shape (steps)."""
        values = self.along(steps, self.directions)
        if self.weights is None or values.shape[1] == 1:
            sums = values[:, 0] * (1.0 if self.weights is None else self.weights[0])
            return sums, np.abs(sums)
        wanted = self.weights != 0
        terms = values[:, wanted] * self.weights[wanted]
        sums = np.sum(terms, axis=1)
        return sums, np.fmax(np.abs(sums), np.sqrt(np.sum(np.square(terms), axis=1)))

    def quiet(self) -> tuple[float, float]:
        """What it is at the point, and the noise of it."""
        course = Course.of(self.x, self.v[None])
        sums, sizes = self.summed(CLOSE * (2.0**-46 if course is None else course.beside))
        noise = float(hum(sums))
        middle = len(CLOSE) // 2
        return float(sums[middle]), max(noise, EPS * float(sizes[middle]))

    def slope(
        self, known: tuple[float, float] | None, downs: Sequence[int] = DOWN, ratio: int = FINEST
    ) -> tuple[Found, int | None]:
        """The slope, and how far down its ladder began; None if it took a whole one.

        Args:
            known: What it is at the point and the noise, if that is known.
            downs: Where to try a short ladder.
            ratio: Of a whole one.
        """
        course = Course.of(self.x, self.v[None])
        if course is not None and downs:
            centre, quiet = known or self.quiet()
            for down in downs:
                steps = course.steps(down=down)[0]
                sums, _ = self.summed(np.concatenate([steps, -steps]))
                plus, minus = sums.reshape(2, len(RUNGS)).tolist()
                found = settled(plus, minus, centre, steps.tolist(), quiet, float(course.place[0]))
                if found is not None:
                    return (*found, Status.OK), down
        limit = self.slopes(ratio=ratio)
        return (float(limit.value[0]), float(limit.bound[0]), limit.status[0]), None

    def components(self) -> Limit:
        """The slope of each component."""
        course = Course.of(self.x, self.v[None])
        if course is None:
            return self.slopes()
        close = self.along(CLOSE * course.beside, self.directions)
        m = close.shape[1]
        centre, quiet = close[len(CLOSE) // 2], hum(close)
        value, bound, status = np.zeros(m), np.full(m, np.inf), np.full(m, Status.OK, dtype=object)
        rest = np.arange(m)
        for down in DOWN:
            steps = course.steps(down=down)[0]
            plus, minus = np.split(self.along(np.concatenate([steps, -steps]), self.directions)[:, rest], 2)
            for one in (slice(start, start + BLOCK) for start in range(0, len(rest), BLOCK)):
                who = rest[one]
                found = columns(plus[:, one], minus[:, one], centre[who], steps, quiet[who], float(course.place[0]))
                value[who], bound[who] = found[0], np.where(found[2], found[1], np.inf)
            rest = np.flatnonzero(np.isinf(bound))
            if not rest.size:
                break
        left, right = value.copy(), value.copy()
        if rest.size:
            whole = self.slopes(rest)
            for mine, name in (
                (value, "value"),
                (bound, "bound"),
                (status, "status"),
                (left, "left"),
                (right, "right"),
            ):
                mine[rest] = getattr(whole, name)
        # Of many components a few miss their bounds by far: by 5.5 times was the worst of 1,600,000.
        return Limit(value, bound * (1 + math.log10(max(m, 1)) / 2), status, left, right, quiet)

    def slopes(self, some: Array | slice = slice(None), ratio: int = 8) -> Limit:
        """The slope by the whole ladder; of some of the components, if there are no weights."""
        course = reach(self.x, self.v[None], ratio)
        steps, near = np.exp2(course.exponents), np.exp2(course.close) * CLOSE[:, None]
        moves = np.concatenate([steps, -steps, near])[:, 0]
        if self.weights is None:
            values = self.along(moves, self.directions)[:, some]
            sizes = np.abs(values)
        else:
            values, sizes = (part[:, None] for part in self.summed(moves))
        k, middle = len(steps), len(CLOSE) // 2
        found = []
        for start in range(0, values.shape[1], BLOCK):
            part, size = (array[:, None, start : start + BLOCK] for array in (values, sizes))
            close = part[2 * k :]
            samples = Samples(
                plus=part[:k], minus=part[k : 2 * k], centre=close[middle, 0], close=close, steps=steps[..., None],
                reach=near[-1:], ahead=steps[..., None], behind=steps[..., None],
                size=np.fmax(np.fmax(size[:k], size[k : 2 * k]), size[2 * k + middle]), place=course.place[None], double=True,
            )  # fmt: skip
            found.append(slope(samples))
        whole = joined(found, 1)
        return Limit(*(getattr(whole, name)[0] for name in Limit.__dataclass_fields__))
