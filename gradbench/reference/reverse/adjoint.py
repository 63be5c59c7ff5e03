"""Reverse mode as source to source: a program enters, the program of its vector-Jacobian product leaves.

The result is a `Program` like any other, in the vocabulary and a few internal words (`internal`), so that one reverse
pass can be run in ball arithmetic, with random rounding, in power series; and it has an adjoint itself. With J the
Jacobian of the function and w its cotangent:

- ``adjoint(f, inputs)`` is w ↦ wᵀJ;
- the adjoint of that by the inputs is, at w = 1 of a scalar function, t ↦ H t (reverse over reverse);
- the adjoint of that by w is t ↦ J t: two reverse passes make a forward one.

Source: Griewank and Walther (2008), Evaluating Derivatives, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gradbench.errors import Unsupported
from gradbench.program import ITEM, Argument, Literal, Node, Program, Ref
from gradbench.reference.lifetime import needs, wanted
from gradbench.reference.reverse.reverse_rules import REAL_ONLY, RULES
from gradbench.reference.reverse.term import MISSING, Tape, Term
from gradbench.shapes import Spec

COTANGENT: Final = "cotangent"


def adjoint(
    program: Program, inputs: Sequence[str], specs: Mapping[str, Spec | tuple[int, ...]], *, exact: bool = False
) -> Program:
    """The program of the vector-Jacobian product.

    Its names are those of the program, then one for each output: `cotangent` for the output of a function, and
    ``cotangent x`` for an output with the key x; with a prime after it where the name is taken. It starts with all
    the nodes of the program, in place. Its outputs are keyed by the inputs and have their shapes; an input that no
    output depends on gets zeros.

    Args:
        program: The function, or the adjoint of one.
        inputs: The names to differentiate by.
        specs: For each of the program's names the spec, or the shape alone if it is real.
        exact: Whether the number system it is for has no rounding to be imitated; the formulas may then be shorter.

    Raises:
        Unsupported: A primitive on the way has no rule for this argument, or none for complex numbers.
    """
    return pruned(derived(program, recorded(program, specs).entries, inputs, exact=exact)[0], len(program.nodes))


def derived(
    program: Program, entries: Sequence[Any], inputs: Sequence[str], *, exact: bool = False
) -> tuple[Program, list[Any]]:
    """The same, with nodes that nothing needs; and the spec of each of its entries. Given are those of the program's."""
    known, cotangents = list(entries[: len(program.names)]), _names(program)
    # The tape of the result has the cotangents' names before its nodes, so that every node moves up by as many.
    tape = Tape(
        (*program.names, *cotangents),
        [
            *known,
            *(entries[argument.index] if isinstance(argument, Ref) else Spec() for _, argument in program.outputs),
        ],
        exact=exact,
    )
    move = {i: i if i < len(known) else i + len(cotangents) for i in range(len(entries))}
    for node, entry in zip(program.nodes, entries[len(known) :], strict=True):
        tape.take(_renamed(node, move), entry)
    seeds = [
        (_moved(argument, move), tape.term(Ref(len(known) + i))) for i, (_, argument) in enumerate(program.outputs)
    ]
    found = _Reverse(tape, inputs, program.names).run(seeds)
    outputs = tuple((name, term.argument) for name, term in found.items())
    return Program(program.text, tape.names, tuple(tape.nodes), outputs), tape.entries


def cotangents(program: Program, derived: Program) -> tuple[str, ...]:
    """The names that `adjoint` added to a program, one for each of its outputs."""
    return derived.names[len(program.names) :]


def _spec(given: Spec | tuple[int, ...]) -> Spec:
    return given if isinstance(given, Spec) else Spec(tuple(given))


def recorded(program: Program, specs: Mapping[str, Spec | tuple[int, ...]]) -> Tape:
    """The program's nodes on a tape, which knows the spec of every entry; for programs with internal words too."""
    tape = Tape(program.names, [_spec(specs[name]) for name in program.names])
    for node in program.nodes:
        tape.append(node)
    return tape


def _names(program: Program) -> tuple[str, ...]:
    taken = set(program.names)
    found = []
    for key, _ in program.outputs:
        name = f"{COTANGENT} {key}" if key else COTANGENT
        while name in taken:
            name += "'"
        taken.add(name)
        found.append(name)
    return tuple(found)


def _moved(argument: Argument, move: Mapping[int, int]) -> Argument:
    if isinstance(argument, Ref):
        return Ref(move[argument.index])
    if isinstance(argument, Literal):
        return argument
    return tuple(_moved(part, move) for part in argument)


def _renamed(node: Node, move: Mapping[int, int]) -> Node:
    arguments = tuple(_moved(argument, move) for argument in node.arguments)
    return Node(node.primitive, arguments, node.statics, node.name, node.line, node.column)


class _Reverse:
    """One walk back over the nodes of a tape, appending to it."""

    def __init__(self, tape: Tape, inputs: Sequence[str], names: Sequence[str]) -> None:
        self.tape = tape
        self.inputs = {name: names.index(name) for name in inputs}
        self.first = len(tape.names)
        self.nodes = list(tape.nodes)
        self.active = self._active()
        self.cotangents: dict[int, Any] = {}

    def _active(self) -> set[int]:
        """The entries that depend on an input."""
        active = set(self.inputs.values())
        for i, node in enumerate(self.nodes, self.first):
            if not active.isdisjoint(needs(node)):
                active.add(i)
        return active

    def run(self, seeds: Iterable[tuple[Argument, Term]]) -> dict[str, Term]:
        """The cotangent of each input, given those of some arguments."""
        for argument, cotangent in seeds:
            self.flow(argument, cotangent)
        for i in reversed(range(len(self.nodes))):
            index = self.first + i
            if index in self.cotangents:
                self.pull(self.nodes[i], index)
        return {name: self._answer(index) for name, index in self.inputs.items()}

    def _answer(self, index: int) -> Term:
        spec = self.tape.entries[index]
        if index in self.cotangents:
            found: Term = self.cotangents[index]
            return found.spread(spec.shape)
        return self.tape.filled(0, spec.shape)

    def pull(self, node: Node, index: int) -> None:
        """Pulls the cotangent of one node back to its arguments."""
        g = self.cotangents[index]
        self.tape.place = (node.line, node.column)
        if node.primitive == ITEM:
            self._collect(node, g)
            return
        if node.primitive not in RULES:
            raise Unsupported(f"{node.primitive} has no reverse rule")
        y: Any = self.tape.entries[index]
        if isinstance(y, tuple):
            # A rule gets each result by itself, as the program does.
            y = tuple(self.tape.item(Ref(index), i) for i in range(len(y)))
        else:
            y = self.tape.term(Ref(index))
        x = [self._terms(argument) for argument in node.arguments]
        self._check(node, x)
        for argument, back in zip(node.arguments, RULES[node.primitive](g, y, *x, **dict(node.statics)), strict=True):
            if back is MISSING:
                if isinstance(argument, Ref) and argument.index in self.active:
                    place = node.arguments.index(argument) + 1
                    raise Unsupported(f"{node.primitive} has no derivative by its argument {place}")
                continue
            self.flow(argument, back)

    def _terms(self, argument: Argument) -> Any:
        if isinstance(argument, tuple):
            return [self._terms(part) for part in argument]
        return self.tape.term(argument)

    def _check(self, node: Node, x: Sequence[Any]) -> None:
        if node.primitive in REAL_ONLY and any(isinstance(t, Term) and t.is_complex for t in x):
            raise Unsupported(f"{node.primitive} has no reverse rule for complex numbers")

    def _collect(self, node: Node, g: Any) -> None:
        source, at = node.arguments[0], node.statics[0][1]
        assert isinstance(source, Ref)
        if source.index in self.active:
            parts = list(self.cotangents.get(source.index, (None,) * len(self.tape.entries[source.index])))
            parts[at] = g if parts[at] is None else parts[at] + g
            self.cotangents[source.index] = tuple(parts)

    def flow(self, argument: Argument, back: Any) -> None:
        """Adds to the cotangent of an argument, if anything asks for it."""
        if isinstance(argument, tuple) and back is not None:
            for part, one in zip(argument, back, strict=True):
                self.flow(part, one)
        if not isinstance(argument, Ref) or back is None or argument.index not in self.active:
            return
        spec = self.tape.entries[argument.index]
        one = back.gathered(spec.shape)
        if one.is_complex and spec.kind != "complex":
            one = one.apply("real")
        index = argument.index
        self.cotangents[index] = self.cotangents[index] + one if index in self.cotangents else one


def pruned(program: Program, kept: int = 0) -> Program:
    """The program without those nodes after the first `kept` that no output needs."""
    start = len(program.names) + kept
    needed = wanted(program, kept)
    if len(needed) == len(program.names) + len(program.nodes):
        return program
    move = {place: i for i, place in enumerate(sorted(needed))}
    later = [node for i, node in enumerate(program.nodes[kept:], start) if i in needed]
    outputs = tuple((key, _moved(output, move)) for key, output in program.outputs)
    nodes = (*program.nodes[:kept], *(_renamed(node, move) for node in later))
    return Program(program.text, program.names, nodes, outputs)
