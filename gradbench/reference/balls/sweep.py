"""`Sweep`: a program run in balls, that knows where the function stood at an edge and can be run again in part.

A program as a `Route`, the names it is differentiated by and their values as balls enter; the value of every entry leaves. The
first nodes of a reverse pass are the function itself and are run as such; in those after them a choice at a kink is
the hull of both sides (see `enclosure_internal`). Precision is the caller's business; so is the time, which is looked at
between steps.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import flint
import numpy as np

from gradbench.primitives import VOCABULARY
from gradbench.program import ITEM, Argument, Literal, Node, Number, Program, resolve
from gradbench.record import Status
from gradbench.reference.balls.edge import BOUNDS, EDGES, OPEN
from gradbench.reference.balls.lift import TRUE, Balls, all_finite, blurred, boxed, finite, lift, settled
from gradbench.reference.balls.route import FORWARD, Route, Step
from gradbench.reference.reverse.internal import INTERNAL

_LIFT: Final = FORWARD["asarray"]


class TimeUp(Exception):
    """The time given to an evaluation is over."""


@dataclass(frozen=True)
class Deadline:
    """A moment of `time.perf_counter` that evaluations must not pass by much."""

    moment: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """So many seconds from now."""
        return cls(time.perf_counter() + seconds)

    @property
    def left(self) -> float:
        """Seconds; negative once it is over."""
        return self.moment - time.perf_counter()

    def check(self) -> None:
        """Looks at the clock.

        Raises:
            TimeUp: It is over.
        """
        if time.perf_counter() > self.moment:
            raise TimeUp


def rounded(program: Program, dtype: np.dtype[Any]) -> Program:
    """The program as it is in a dtype: every number of its text rounded, and exact from there on."""
    return replace(
        program,
        nodes=tuple(_rounded_node(node, dtype) for node in program.nodes),
        outputs=tuple((key, _rounded(argument, dtype)) for key, argument in program.outputs),
    )


def _rounded_node(node: Node, dtype: np.dtype[Any]) -> Node:
    numbers = _numbers(node.primitive) if node.statics else frozenset()
    statics = tuple((name, _number(value, dtype) if name in numbers else value) for name, value in node.statics)
    arguments = tuple(_rounded(a, dtype) for a in node.arguments)
    if node.primitive == "power" and _is_whole(node.arguments[1]):
        arguments = (arguments[0], node.arguments[1])  # x ** 300 is the 300th power in every dtype
    return replace(node, arguments=arguments, statics=statics)


@functools.cache
def _numbers(primitive: str) -> frozenset[str]:
    """The static parameters of a primitive that are numbers."""
    word = VOCABULARY.get(primitive) or INTERNAL.get(primitive)
    return frozenset(p.name for p in word.parameters if p.kind == "number") if word else frozenset()


def _is_whole(argument: Argument) -> bool:
    return isinstance(argument, Literal) and not isinstance(argument.value, complex) and argument.value % 1 == 0


def _rounded(argument: Argument, dtype: np.dtype[Any]) -> Argument:
    if isinstance(argument, Literal):
        return Literal(_number(argument.value, dtype))
    return tuple(_rounded(part, dtype) for part in argument) if isinstance(argument, tuple) else argument


def _number(number: Number | None, dtype: np.dtype[Any]) -> Any:
    if number is None or isinstance(number, complex):
        return number
    with np.errstate(over="ignore"):
        near = float(number) if dtype == np.float64 else float(np.asarray(number, dtype))
    # Statics such as ord stay whole where they are: 2 and 2.0 are one number, but not one word.
    return number if near == number else near


class Sweep:
    """One run of a program, at any precision.

    Attributes:
        route: The program.
        edges: After a run: the primitives that stood at an edge of the function, where a slope says nothing, each with
            the place of the first node where it did.
        hulls: After a run: whether some slope is the hull of several.
    """

    def __init__(self, route: Route) -> None:
        self.route = route
        self.edges: dict[str, int] = {}
        self.hulls = False
        self.entries: list[Any] = []
        self._values: Mapping[str, Any] | None = None

    @property
    def program(self) -> Program:
        """What is run."""
        return self.route.program

    def run(self, values: Mapping[str, Any], deadline: Deadline, *, whole: bool = False) -> dict[str, Balls]:
        """What the program returns, by key.

        Args:
            values: For each of its names.
            deadline: When to stop.
            whole: Whether all entries are wanted afterwards, and not those alone that the route keeps.

        Raises:
            TimeUp: The deadline passed on the way.
        """
        self.edges, self.hulls = {}, False
        self._values = None if whole else values
        entries = self.entries = [values[name] for name in self.program.names]
        clock, last = time.perf_counter, deadline.moment
        for i, step in enumerate(self.route.steps):
            if clock() > last:
                raise TimeUp
            entries.append(self._run(i, step) if whole or not step.is_idle else None)
            if not whole:
                for place in step.spent:
                    entries[place] = None
        return self._outputs()

    def whole(self) -> list[Any]:
        """All entries of the last run; what was forgotten is found again."""
        if self._values is not None:
            self.run(self._values, Deadline(math.inf), whole=True)
        return self.entries

    def again(self, values: Mapping[str, Any], deadline: Deadline) -> dict[str, Balls]:
        """The same with other values for some names; what doesn't depend on them is kept from the run before, a whole one.

        Raises:
            TimeUp: The deadline passed on the way.
        """
        stale = self.route.reached(values)
        base = len(self.program.names)
        for i, name in enumerate(self.program.names):
            if name in values:
                self.entries[i] = values[name]
        for i, step in enumerate(self.route.steps):
            if base + i in stale:
                deadline.check()
                self.entries[base + i] = self._run(i, step)
        return self._outputs()

    def _outputs(self) -> dict[str, Balls]:
        return {key: lift(resolve(argument, self.entries, _LIFT)) for key, argument in self.program.outputs}

    def _argument(self, argument: Any) -> Any:
        if type(argument) is list:
            return [self.entries[part] if type(part) is int else self._argument(part) for part in argument]
        return argument.value if type(argument) is Literal else argument

    def _run(self, i: int, step: Step) -> Any:
        name, statics, entries = step.primitive, step.statics, self.entries
        arguments = [entries[a] if type(a) is int else self._argument(a) for a in step.arguments]
        if step.is_plain:
            return step.table[name](*arguments, **statics)
        if name == ITEM:
            return arguments[0][statics["index"]]
        if i >= self.route.forward:
            if step.has_condition:
                arguments = [blurred(a) if _is_truth(a) else a for a in arguments]
            if name in OPEN and not self.hulls:
                self.hulls = EDGES[name](*arguments, **statics)
            return step.table[name](*arguments, **statics)
        if step.moving and step.has_edge and name not in self.edges and _at_edge(name, arguments, statics):
            self.edges[name] = i
        found = step.table[name](*arguments, **statics)
        return found if step.moving or not _is_truth(found) else settled(found)


def _at_edge(name: str, arguments: list[Any], statics: dict[str, Any]) -> bool:
    for table in (EDGES, BOUNDS):
        if name in table:
            return table[name](*arguments, **statics)
    return any(_is_truth(a) and bool(np.any((a != 0) & (a != TRUE))) for a in arguments)


def _is_truth(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.int8


def blame(sweep: Sweep, count: int) -> Status:
    """Why one of the first nodes of the last run is not finite: `singular` if it can't be, `undecided` if nobody knows.

    Looked at are the steps that made something infinite of finite arguments: at exact ones that is how it is, and so
    it is if both ends of each ball give the same.
    """
    base, entries = len(sweep.program.names), sweep.whole()
    for i, node in enumerate(sweep.program.nodes[:count], base):
        found = entries[i]
        if node.primitive == ITEM or isinstance(found, tuple) or not _is_balls(found) or all_finite(found):
            continue
        arguments = [resolve(a, entries, _LIFT) for a in node.arguments]
        flat = [lift(part) for a in arguments for part in (a if isinstance(a, list) else [a])]
        if not all(all_finite(a) for a in flat):
            continue
        if all(ball.is_exact() for a in flat for ball in a.flat):
            continue
        if not _hopeless(node, flat, found):
            return Status.UNDECIDED
    return Status.SINGULAR


def _hopeless(node: Node, arguments: list[Balls], found: Balls) -> bool:
    word = VOCABULARY.get(node.primitive)
    if word is None or word.shape not in {"elementwise", "broadcast"}:
        return False
    bad = ~finite(found)
    ends = [[boxed(end(a)) for a in arguments] for end in (_LOWER, _UPPER)]
    return not any((finite(FORWARD[node.primitive](*end, **dict(node.statics))) & bad).any() for end in ends)


_LOWER: Final = np.frompyfunc(flint.arb.lower, 1, 1)
_UPPER: Final = np.frompyfunc(flint.arb.upper, 1, 1)


def _is_balls(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object
