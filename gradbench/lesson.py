"""One derivative of one case as a lesson: what to ask so that every node of the function says its value and its adjoint.

Two questions enter, for the value and for the gradient (or vjp) of a case at a point; a `Lesson` leaves, with questions
that any adapter answers without knowing of lessons:

- forward: the function that returns all its nodes, as a tuple;
- backward: the derivative of the function in which a zero is added at every node, by the inputs and by these zeros. By a
  zero that is added to a node the derivative is the adjoint of that node. Where something is used several times, a zero
  is added at each use as well: by it the derivative is the share of the adjoint that comes from there;
- plain: the derivative as a run asks for it, for those that know nothing else, such as one written by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from gradbench.errors import BadOption
from gradbench.language import MAX_CHARACTERS, parse
from gradbench.program import Argument, Literal, Node, Program, Ref, references
from gradbench.query import Array, Query, Question, Shape
from gradbench.shapes import infer
from gradbench.spec import Spec
from gradbench.unparse import names, unparse
from gradbench.wire import FORMATS

MOST_NODES: Final = 200
"""A function of more nodes is no lesson."""
MOST_ENTRIES: Final = 1_000
"""Nor is one with a larger array in it."""

_REAL: Final = {"complex128": "float64", "complex64": "float32"}


@dataclass(frozen=True)
class Lesson:
    """What to ask, and where in the answers the numbers of each entry of the program stand.

    Attributes:
        program: The function.
        names: A name for every entry, inputs and constants first.
        specs: A spec for every entry; a tuple of them for a node with several results.
        forward: Asks for the values; None if no node has one to ask for.
        backward: Asks for the adjoints.
        plain: Asks for the derivative alone.
        values: For each entry that is asked for its value, the key of the answer.
        adjoints: The same for the adjoints; inputs are among these.
        shares: The same for the shares that make up an adjoint, where there are several: by entry the node that each
            comes from, and the key.
        connected: The entries that an output depends on.
    """

    program: Program
    names: tuple[str, ...]
    specs: tuple[Any, ...]
    forward: Question | None
    backward: Question
    plain: Question
    values: Mapping[int, str]
    adjoints: Mapping[int, str]
    shares: Mapping[int, tuple[tuple[int, str], ...]]
    connected: frozenset[int]

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """All there is to ask."""
        return tuple(question for question in (self.forward, self.backward, self.plain) if question is not None)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The entries that are returned."""
        return tuple(ref.index for _, argument in self.program.outputs for ref in references(argument))

    def users(self, index: int) -> tuple[int, ...]:
        """The nodes that are applied to an entry."""
        first = len(self.program.names)
        nodes = enumerate(self.program.nodes, start=first)
        return tuple(i for i, node in nodes if any(ref.index == index for ref in references(node.arguments)))

    @classmethod
    def of(cls, value: Question, derivative: Question) -> Lesson:
        """The lesson of a case at a point.

        Args:
            value: The question for the value.
            derivative: The question for the gradient or, where that doesn't exist, for a vjp.

        Raises:
            BadOption: The function is too large for a lesson, or there is nothing to differentiate by.
        """
        # What is explained is a derivative, of which whole numbers and truth values have no part.
        query = derivative.query.held
        if not query.inputs:
            raise BadOption(f"{derivative.case} has no input of real or complex numbers to differentiate by")
        program = parse(query.function, query.names)
        given = {name: Spec.of(array) for name, array in {**query.inputs, **query.constants}.items()}
        specs = tuple(infer(program, given))
        _check(derivative.case, program, specs)
        known = names(program)
        shown, values = _shown(program, specs)
        connected = _connected(program)
        opened = _Opened(program, known, specs, connected, tuple(query.inputs))
        zeros = {name: _zero(spec.shape, _format(spec, query.dtype)) for name, spec in opened.specs.items()}
        backward = replace(
            query, id=f"{query.id} of every node", function=_text(derivative.case, opened.program), rules={},
            inputs={**query.inputs, **zeros},
        )  # fmt: skip
        inputs = {i: name for i, name in enumerate(program.names) if name in query.inputs}
        return cls(
            program=program,
            names=known,
            specs=specs,
            forward=_forward(value, shown, values, program) if values else None,
            backward=replace(derivative, query=backward),
            plain=replace(derivative, query=replace(query, remarks=True)),
            values=values,
            adjoints=inputs | opened.zeros,
            shares=opened.shares,
            connected=connected,
        )


def _check(case: str, program: Program, specs: Sequence[Any]) -> None:
    if len(program.nodes) > MOST_NODES:
        raise BadOption(f"{case} has {len(program.nodes)} nodes; an explanation shows at most {MOST_NODES}")
    largest = max((spec.size for spec in specs if isinstance(spec, Spec)), default=0)
    if largest > MOST_ENTRIES:
        raise BadOption(
            f"{case} has an array of {largest} entries; an explanation shows arrays of at most {MOST_ENTRIES}"
        )


def _text(case: str, program: Program) -> str:
    text = unparse(program)
    if len(text) > MAX_CHARACTERS:
        raise BadOption(f"{case}, written out node by node, has {len(text)} characters; at most {MAX_CHARACTERS}")
    return text


def _forward(value: Question, program: Program, values: Mapping[int, str], function: Program) -> Question:
    """The question for all values; what is stated of an output is stated of its node."""
    query: Query = replace(
        value.query, id=f"{value.query.id} of every node", function=_text(value.case, program), rules={},
        outputs=program.keys,
    )  # fmt: skip
    stated = {
        values[argument.index]: value.stated[key]
        for key, argument in function.outputs
        if isinstance(argument, Ref) and argument.index in values and key in value.stated
    }
    return replace(value, query=query, stated=stated)


def _shown(program: Program, specs: Sequence[Any]) -> tuple[Program, dict[int, str]]:
    """The function that returns its nodes, and the key of each: a condition as 1 or 0, whole numbers not at all."""
    nodes = list(program.nodes)
    first = len(program.names)
    found: dict[int, Argument] = {}
    for index in range(first, first + len(program.nodes)):
        kind = getattr(specs[index], "kind", "")
        if kind in {"real", "complex"}:
            found[index] = Ref(index)
        elif kind == "boolean":
            found[index] = Ref(first + len(nodes))
            nodes.append(Node("where", (Ref(index), Literal(1), Literal(0))))
    outputs = tuple((str(key), argument) for key, argument in enumerate(found.values()))
    keys = {index: str(key) for key, index in enumerate(found)}
    return replace(program, nodes=tuple(nodes), outputs=outputs), keys


def _connected(program: Program) -> frozenset[int]:
    """The entries that an output depends on."""
    found: set[int] = set()
    todo = [ref.index for _, argument in program.outputs for ref in references(argument)]
    while todo:
        index = todo.pop()
        if index not in found:
            found.add(index)
            if index >= len(program.names):
                todo.extend(ref.index for ref in references(program.nodes[index - len(program.names)].arguments))
    return frozenset(found)


class _Opened:
    """A function in which a zero is added at every node that an output depends on, and at every use of several.

    Attributes:
        zeros: The name of each zero, by the entry of the original that it is added to.
        shares: By entry that is used several times: each use, as the node that it is made by and the name of its zero.
        specs: Of each zero, by name.
        program: With the zeros as inputs after its own, before the constants.
    """

    def __init__(
        self,
        program: Program,
        known: Sequence[str],
        specs: Sequence[Any],
        connected: frozenset[int],
        inputs: Sequence[str],
    ) -> None:
        first = len(program.names)
        nodes = [i for i in sorted(connected) if i >= first and _is_differentiable(specs[i])]
        self.zeros = dict(zip(nodes, _fresh([f"d_{known[i]}" for i in nodes], known), strict=True))
        wanted = {i for i, name in enumerate(program.names) if name in inputs} | set(nodes)
        self.shares = _shares(program, known, specs, connected, wanted, {*known, *self.zeros.values()})
        owners = {name: i for i, name in self.zeros.items()}
        owners |= {name: i for i, uses in self.shares.items() for _, name in uses}
        self.specs: dict[str, Spec] = {name: specs[i] for name, i in owners.items()}
        self.program = self._program(program, known, tuple(inputs))

    def _program(self, program: Program, known: Sequence[str], inputs: tuple[str, ...]) -> Program:
        constants = tuple(name for name in program.names if name not in inputs)
        order = (*inputs, *self.specs, *constants)
        moved = [Ref(order.index(name)) for name in program.names]
        uses = {index: iter(shares) for index, shares in self.shares.items()}
        made: list[Node] = []

        def append(node: Node) -> Ref:
            made.append(node)
            return Ref(len(order) + len(made) - 1)

        def plus(ref: Ref, zero: str, name: str | None = None) -> Ref:
            return append(Node("add", (ref, Ref(order.index(zero))), name=name))

        def used(argument: Any, user: int) -> Any:
            if isinstance(argument, tuple):
                return tuple(used(part, user) for part in argument)
            if not isinstance(argument, Ref):
                return argument
            share = next((s for s in self.shares.get(argument.index, ()) if s[0] == user), None)
            ref = moved[argument.index]
            return ref if share is None else plus(ref, next(uses[argument.index])[1])

        for index, node in enumerate(program.nodes, start=len(program.names)):
            zero = self.zeros.get(index)
            name = known[index] if zero is None else None
            ref = append(replace(node, arguments=used(node.arguments, index), name=name))
            moved.append(ref if zero is None else plus(ref, zero, known[index]))
        outputs = tuple((key, _moved(argument, moved)) for key, argument in program.outputs)
        return Program("", order, tuple(made), outputs)


def _is_differentiable(spec: Any) -> bool:
    return getattr(spec, "kind", "") in {"real", "complex"}


def _shares(
    program: Program,
    known: Sequence[str],
    specs: Sequence[Any],
    connected: frozenset[int],
    wanted: Iterable[int],
    taken: Iterable[str],
) -> dict[int, tuple[tuple[int, str], ...]]:
    """Each use, in order, of what is used several times by what hands an adjoint on: no comparison does."""
    users: dict[int, list[int]] = {index: [] for index in wanted}
    for index, node in enumerate(program.nodes, start=len(program.names)):
        if index in connected and getattr(specs[index], "kind", "") not in {"boolean", "integer"}:
            for ref in references(node.arguments):
                users.get(ref.index, []).append(index)
    several = {index: found for index, found in sorted(users.items()) if len(found) > 1}
    names_of = iter(_fresh([f"d_{known[i]}_in_{known[user]}" for i, found in several.items() for user in found], taken))
    return {index: tuple((user, next(names_of)) for user in found) for index, found in several.items()}


def _moved(argument: Any, moved: Sequence[Ref]) -> Any:
    if isinstance(argument, Ref):
        return moved[argument.index]
    return tuple(_moved(part, moved) for part in argument) if isinstance(argument, tuple) else argument


def _fresh(wanted: Iterable[str], taken: Iterable[str]) -> list[str]:
    """The names wanted, with as many underscores after each as it takes to be new."""
    known = set(taken)
    found: list[str] = []
    for name in wanted:
        found.append(next(one for one in (f"{name}{'_' * i}" for i in itertools.count()) if one not in known))
        known.add(found[-1])
    return found


def _format(spec: Spec, dtype: str) -> np.dtype[Any]:
    return FORMATS[_REAL.get(dtype, dtype) if spec.kind == "real" else dtype]


def _zero(shape: Shape, dtype: np.dtype[Any]) -> Array:
    """Zeros that leave everything as it is, to the last bit: 0 + -0 is 0, and -0 + -0 is -0."""
    if dtype.kind == "c":
        return np.full(shape, complex(-0.0, -0.0), dtype)
    return np.full(shape, -0.0, dtype)
