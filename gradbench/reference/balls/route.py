"""`Route`: a program as far as a run of it in balls can be prepared before there are any values.

A `Program` enters; its steps leave, each with the table that its primitive is looked up in, with what has to be looked at
on the way, and with the entries that may be forgotten after it. Which steps can't fail is known here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gradbench.primitives import VOCABULARY
from gradbench.program import ITEM, Argument, Literal, Node, Program, Ref
from gradbench.reference.balls import enclosure, enclosure_internal
from gradbench.reference.balls.edge import BOUNDS, CARRIES, EDGES, OPEN
from gradbench.reference.lifetime import needs, spent

FORWARD: Final[dict[str, Callable[..., Any]]] = {**enclosure.OPS, **enclosure_internal.OPS}
BACKWARD: Final[dict[str, Callable[..., Any]]] = {**FORWARD, "sign": enclosure_internal.sign}
CONDITIONS: Final = frozenset(name for name, word in VOCABULARY.items() if word.shape in {"compare", "logic"})


@dataclass(slots=True)
class Step:
    """A node as a sweep needs it.

    Attributes:
        arguments: Places of entries; literals as balls, or bare where a rule asks whether an exponent is whole.
        table: Where the primitive is looked up.
        moving: Whether it depends on an input.
        has_condition: Whether an argument may be a condition.
        has_edge: Whether it may stand at an edge.
        is_plain: Whether nothing is to be done but what the table says.
        is_idle: Whether nothing needs it, and it can't fail.
        spent: The entries that nothing needs after it.
    """

    primitive: str
    arguments: tuple[Any, ...]
    statics: dict[str, Any]
    table: Mapping[str, Callable[..., Any]]
    moving: bool
    has_condition: bool
    has_edge: bool
    is_plain: bool
    is_idle: bool
    spent: tuple[int, ...]


class Route:
    """The steps of a program.

    Attributes:
        program: What is run.
        forward: How many of its nodes are the function itself.
        steps: Its nodes.
        is_sure: Whether what is to be kept is finite, and so may be missing after a run.
    """

    def __init__(
        self,
        program: Program,
        inputs: Collection[str],
        forward: int | None = None,
        kept: Collection[int] = (),
        *,
        sure: bool = False,
    ) -> None:
        """Prepares a program.

        Args:
            program: Any.
            inputs: The names that it is differentiated by.
            forward: How many of its nodes are the function itself; all by default.
            kept: Entries that are wanted after a run, beside the outputs, to see whether they are finite.
            sure: Whether every value will be.
        """
        self.program = program
        self.forward = len(program.nodes) if forward is None else forward
        needed, base = [needs(node) for node in program.nodes], len(program.names)
        never = certain(program, needed[: self.forward]) if sure else set()
        self.is_sure = bool(kept) and never.issuperset(kept)
        kept = () if self.is_sure else kept
        gone = spent(program, needed, kept)
        idle = _unused(program, needed, never) if self.is_sure else set()
        moving = _reached(needed, base, {i for i, name in enumerate(program.names) if name in inputs})
        conditions = self._conditions(needed)
        self._needed = needed
        self.steps = [
            _step(
                node,
                gone[i],
                is_back=i >= self.forward,
                moving=base + i in moving,
                has_condition=not conditions.isdisjoint(needed[i]),
                is_idle=base + i in idle,
            )
            for i, node in enumerate(program.nodes)
        ]

    def reached(self, names: Collection[str]) -> set[int]:
        """The entries that depend on some names."""
        first = {i for i, name in enumerate(self.program.names) if name in names}
        return _reached(self._needed, len(self.program.names), first)

    def _conditions(self, needed: list[tuple[int, ...]]) -> set[int]:
        """The entries that may be conditions."""
        found: set[int] = set()
        for i, node in enumerate(self.program.nodes, len(self.program.names)):
            carried = found and node.primitive in CARRIES and not found.isdisjoint(needed[i - len(self.program.names)])
            if carried or node.primitive in CONDITIONS:
                found.add(i)
        return found


def _reached(needed: list[tuple[int, ...]], base: int, first: set[int]) -> set[int]:
    found = set(first)
    for i, places in enumerate(needed, base):
        if not found.isdisjoint(places):
            found.add(i)
    return found


def _unused(program: Program, needed: list[tuple[int, ...]], never: Collection[int]) -> set[int]:
    """The entries among those that never fail which neither an output needs nor any that may fail, and so must be run."""
    base = len(program.names)
    used = {place for _, output in program.outputs for place in needs(output)}
    for i in reversed(range(len(needed))):
        if base + i in used or base + i not in never:
            used.update(needed[i])
    return {base + i for i in range(len(needed)) if base + i in never} - used


def certain(program: Program, needed: list[tuple[int, ...]]) -> set[int]:
    """The entries that are finite wherever all names are, and have no edge: names, and some of the first nodes.

    As a ball's exponent has no end to speak of, sums and products of numbers are numbers.
    """
    base = len(program.names)
    found = set(range(base))
    for i, places in enumerate(needed):
        node = program.nodes[i]
        if (node.primitive in _TOTAL or _is_square(node)) and found.issuperset(places) and _is_finite(node.arguments):
            found.add(base + i)
    return found


def _is_square(node: Node) -> bool:
    exponent = node.arguments[-1]
    return node.primitive == "power" and isinstance(exponent, Literal) and exponent.value in {1, 2, 3, 4}


def _is_finite(arguments: tuple[Argument, ...]) -> bool:
    return all(not isinstance(a, Literal) or math.isfinite(abs(a.value)) for a in arguments)


_TOTAL: Final = frozenset({
    "add", "subtract", "multiply", "negative", "square", "abs", "sin", "cos", "tanh", "atan", "sum", "matmul", "vecdot", "outer",
    "reshape", "permute_dims", "matrix_transpose", "expand_dims", "squeeze", "moveaxis", "broadcast_to", "concat", "stack",
    "tile", "repeat", "take", "diagonal", "getitem", "flip", "roll",
})  # fmt: skip
"""Primitives that make finite numbers of finite numbers, whatever they are, and never jump."""


def _step(
    node: Node, gone: tuple[int, ...], *, is_back: bool, moving: bool, has_condition: bool, is_idle: bool
) -> Step:
    """One node; `is_back` says that it isn't of the function itself."""
    name = node.primitive
    has_edge = name in EDGES or name in BOUNDS or (has_condition and name not in CARRIES)
    if is_back:
        is_plain = not has_condition and name not in OPEN
    else:
        is_plain = not (has_condition or name in CONDITIONS or (moving and has_edge and not _is_square(node)))
    return Step(
        name,
        tuple(_prepared(a, bare=name == "power") for a in node.arguments),
        dict(node.statics),
        BACKWARD if is_back else FORWARD,
        moving,
        has_condition,
        has_edge,
        is_plain and name != ITEM,
        is_idle,
        gone,
    )


def _prepared(argument: Argument, *, bare: bool) -> Any:
    if isinstance(argument, Ref):
        return argument.index
    if isinstance(argument, Literal):
        return argument if bare else FORWARD["asarray"](argument.value)
    return [_prepared(part, bare=bare) for part in argument]
