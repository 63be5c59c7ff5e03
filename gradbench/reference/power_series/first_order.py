"""`FirstOrder`: a program along a line, as power series to first order on whole arrays.

A `Program`, a point and a direction as arrays of balls enter; the output and its directional derivative leave, as `Pair`s.
It answers what `series.expand` answers at order 1, a tenth of the time, wherever nothing but the first power matters; elsewhere it
says so, and the series are asked. Primitives without a rule for arrays go through the series entry by entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import flint
import numpy as np

from gradbench.primitives import ARITHMETIC
from gradbench.program import ITEM, Argument, Literal, Node, Program, Ref
from gradbench.reference.balls.lift import Balls, all_finite, is_factor, lift
from gradbench.reference.lifetime import needs, spent
from gradbench.reference.power_series import series
from gradbench.reference.power_series.pair import Pair
from gradbench.reference.power_series.pair_rules import RULES, SLOPES
from gradbench.reference.power_series.series_ring import Ring, Series, Undecided

__all__ = ["OPS", "FirstOrder"]

_RING: Final = Ring(1, side=1)


def _by_series(name: str) -> Callable[..., Any]:
    """A primitive as the series have it: each entry becomes one, and two terms of each are read from the answer.

    Raises:
        Fault: Some entry has no expansion, or less than two terms of it are known.
        Unsupported: There is no series rule for this.
    """

    def op(*arguments: Any, **statics: Any) -> Any:
        still = not any(_moves(a) for a in arguments)
        found = series.OPS[name](_RING, *map(_to_series, arguments), **statics)
        return tuple(_from_series(f, still) for f in found) if isinstance(found, tuple) else _from_series(found, still)

    return op


def _moves(x: Any) -> bool:
    return any(map(_moves, x)) if isinstance(x, list) else isinstance(x, Pair) and x.slope is not None


def _to_series(x: Any) -> Any:
    if isinstance(x, list):
        return [_to_series(part) for part in x]
    if not isinstance(x, Pair):
        return x
    if x.value is None:
        raise Undecided("the function", "has a value that nobody asked for")
    if x.slope is None:
        return np.asarray(np.frompyfunc(_RING.constant, 1, 1)(x.value), object)
    return np.asarray(np.frompyfunc(_line, 2, 1)(x.value, x.slope), object)


def _line(start: Any, slope: Any) -> Series:
    """To first order; nothing is known of what follows."""
    return Series(flint.arb_series([start, slope], 2))


def _from_series(found: Any, still: bool) -> Any:
    array = np.asarray(found)
    if not array.dtype.hasobject:
        return array
    for entry in array.flat:
        if isinstance(entry, Series):
            if entry.fault:
                raise entry.fault
            if entry.known < 2:
                raise Undecided("the function")
        else:
            raise Undecided("a condition")
    return Pair(_TERM(array, 0), None if still else _TERM(array, 1))


_TERM: Final = np.frompyfunc(lambda entry, k: entry.terms[k], 2, 1)


def _on_arrays(name: str) -> Callable[..., Any]:
    """A primitive by its rule for arrays, or where that can't say, by the series."""
    by_series, native = _by_series(name), _NATIVE.get(name)

    def op(*arguments: Any, **statics: Any) -> Any:
        pairs: Any = arguments
        for given in arguments:
            if type(given) is not Pair:
                if not any(map(_has_pair, arguments)):  # labels stay what they are
                    return by_series(*arguments, **statics)
                pairs = [a if type(a) is Pair or i == native else _to_pair(a) for i, a in enumerate(arguments)]
                break
        try:
            return RULES[name](*pairs, **statics)
        except Undecided:
            return by_series(*arguments, **statics)

    return op


def _has_pair(x: Any) -> bool:
    return any(map(_has_pair, x)) if type(x) is list else type(x) is Pair


def _to_pair(x: Any) -> Any:
    if isinstance(x, list):
        return [_to_pair(part) for part in x]
    return x if isinstance(x, Pair) else Pair(lift(x)) if isinstance(x, np.ndarray) else flint.arb(x)


_NATIVE: Final = {"power": 1, "where": 0, "take": 1}
"""Which argument is left as it is: an exponent in the text, a condition, indices."""

OPS: Final[dict[str, Callable[..., Any]]] = {
    name: _on_arrays(name) if name in RULES else _by_series(name) for name in series.OPS
}
"""For each primitive of the vocabulary: pairs, and numbers and conditions as NumPy has them, by position."""


class FirstOrder:
    """A program with one output, prepared to be expanded to first order at any point and along any line."""

    def __init__(self, program: Program) -> None:
        self.program = program
        needed = [needs(node) for node in program.nodes]
        asked = _asked(program, needed)
        self._steps = [
            (*_step(node), i in asked, gone)
            for i, (node, gone) in enumerate(
                zip(program.nodes, spent(program, needed), strict=True), len(program.names)
            )
        ]
        self._output = _prepared(program.output, Pair)

    @property
    def is_of_arrays(self) -> bool:
        """Whether every step has a rule for whole arrays."""
        return RULES.keys() >= set(self.program.primitives)

    def along(
        self,
        values: Mapping[str, Any],
        direction: Mapping[str, Balls],
        tick: Callable[[], None],
        *,
        valued: bool = True,
    ) -> Pair:
        """The output at x and its derivative along v. Each an array of balls of the output's shape, and finite.

        Args:
            values: x: arrays of balls by name; integer and boolean constants as NumPy has them.
            direction: v: arrays of balls of the shapes of x. A name without one stays where it is.
            tick: Called between steps; what it raises ends the work.
            valued: Whether the output itself is asked for, or its derivative alone.

        Raises:
            Fault: The first power doesn't say: a kink, a singularity, a ball that is too wide. The series may know more.
            Unsupported: There is no series rule for this.
        """
        entries: list[Any] = [_named(values[name], direction.get(name)) for name in self.program.names]
        for primitive, arguments, statics, asked, gone in self._steps:
            tick()
            given = [entries[a] if type(a) is int else _found(a, entries) for a in arguments]
            if primitive == ITEM:
                entries.append(given[0][statics["index"]])
            else:
                found = None if asked or valued else _slope(primitive, given)
                entries.append(OPS[primitive](*given, **statics) if found is None else found)
            del given
            for place in gone:
                entries[place] = None
        found = _found(self._output, entries)
        if not isinstance(found, Pair):
            found = Pair(lift(found))
        for part in (found.value, found.slope):
            if part is not None and not all_finite(part):
                raise Undecided("the function", "has a coefficient that isn't finite")
        return found


def _slope(primitive: str, arguments: list[Any]) -> Pair | None:
    """What a primitive makes of pairs, without the value; None where it isn't known that way."""
    rule = SLOPES.get(primitive)
    slope = None if rule is None else rule(*arguments)
    return None if slope is None else Pair.unasked(slope)


def _asked(program: Program, needed: list[tuple[int, ...]]) -> set[int]:
    """The entries whose values matter for the slope of the output: of most what is linear in them, of none the last."""
    found: set[int] = set()
    for i, node in reversed(list(enumerate(program.nodes, len(program.names)))):
        is_scaled = node.primitive == "multiply" and any(isinstance(a, Literal) for a in node.arguments)
        if i in found or not (is_scaled or node.primitive in _LINEAR):
            found.update(needed[i - len(program.names)])
    return found


_LINEAR: Final = frozenset(
    {"add", "subtract", "negative", "sum", "mean", "reshape", "getitem", "expand_dims", "squeeze"}
)
"""Whose slope is that of their arguments alone."""


@dataclass(frozen=True)
class _Number:
    """What a number of the text is to a primitive."""

    value: Any


def _step(node: Node) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    # Arithmetic meets a number as a bare one: an exponent may be whole.
    number = _bare if node.primitive in ARITHMETIC else Pair
    return node.primitive, tuple(_prepared(a, number) for a in node.arguments), dict(node.statics)


def _prepared(argument: Argument, number: Callable[[Any], Any]) -> Any:
    """Places of entries as whole numbers, and numbers as what they are to the primitive."""
    if isinstance(argument, Ref):
        return argument.index
    if isinstance(argument, Literal):
        return _Number(number(argument.value))
    return [_prepared(part, number) for part in argument]


def _found(argument: Any, entries: list[Any]) -> Any:
    if isinstance(argument, list):
        return [_found(part, entries) for part in argument]
    return argument.value if isinstance(argument, _Number) else entries[argument]


def _bare(number: Any) -> Any:
    return number


def _named(value: Any, slope: Any) -> Any:
    """A factor of matrix products may stay a matrix of floats."""
    array = np.asarray(value)
    return Pair(array, slope) if array.dtype.hasobject or is_factor(array) else array
