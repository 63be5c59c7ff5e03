"""`Program`, a function as a flat list, and `evaluate`, which runs it in any number system.

A Wengert list enters `evaluate` with the `ops` of a number system and a value for each name; what the function returns
leaves. The same list yields a float, a ball, a dual number, a tape node, a symbol, a tensor. See `language` for how a
text becomes a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gradbench.primitives import ARITHMETIC

Number = int | float | complex

ITEM: Final = "item"
"""The pseudo-primitive that takes one array out of the answer of a primitive with several."""


@dataclass(frozen=True)
class Ref:
    """An entry of the Wengert list, by its position."""

    index: int


@dataclass(frozen=True)
class Literal:
    """A number of the text. It is rounded to the dtype of the query before it is used."""

    value: Number


Argument = Ref | Literal | tuple["Argument", ...]


@dataclass(frozen=True)
class Node:
    """One step: a primitive, what it is applied to, and where in the text it stands.

    Attributes:
        arguments: In the order of the signature; a list of arrays is a tuple.
        statics: Every static argument with its value, defaults filled in.
        name: The name the text gives the result, if it gives one.
    """

    primitive: str
    arguments: tuple[Argument, ...]
    statics: tuple[tuple[str, Any], ...] = ()
    name: str | None = None
    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Program:
    """A function as a flat list. Entries 0 … len(names)-1 are the named inputs and constants, the rest are nodes.

    Attributes:
        text: The text it was read from.
        names: Its inputs and constants, in order.
        nodes: The steps, in the order of evaluation.
        outputs: What it returns, by key. A function has the one key ``""``, or ``"0"``, ``"1"`` and so on if it
            returns a tuple; a reverse pass written by hand has one for each input.
    """

    text: str
    names: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[tuple[str, Argument], ...]

    def __hash__(self) -> int:
        """Of its text and names: a slice in a node has no hash before Python 3.12."""
        return hash((self.text, self.names))

    @property
    def output(self) -> Argument:
        """What a function of one array returns."""
        return self.outputs[0][1]

    @property
    def is_tuple(self) -> bool:
        """Whether it is a function that returns a tuple of arrays."""
        return self.outputs[0][0].isdecimal()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of its outputs."""
        return tuple(key for key, _ in self.outputs)

    @property
    def primitives(self) -> tuple[str, ...]:
        """The primitives it uses, each once, sorted."""
        return tuple(sorted({node.primitive for node in self.nodes} - {ITEM}))

    def unconnected(self, key: str | None = None) -> frozenset[str]:
        """The names that no output depends on, or not the one of this key."""
        reached: set[int] = set()
        todo = [ref.index for name, output in self.outputs if key in {None, name} for ref in references(output)]
        while todo:
            index = todo.pop()
            if index not in reached:
                reached.add(index)
                if index >= len(self.names):
                    node = self.nodes[index - len(self.names)]
                    todo.extend(ref.index for ref in references(node.arguments))
        return frozenset(name for i, name in enumerate(self.names) if i not in reached)


def references(argument: Argument) -> Iterable[Ref]:
    """Every entry an argument names, in order."""
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, tuple):
        for part in argument:
            yield from references(part)


def evaluate(program: Program, ops: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]) -> Any:
    """What the program returns, in the number system of `ops`: an array, a tuple of them, or a dict by key.

    Args:
        program: The function.
        ops: For each primitive a callable that takes arrays by position and statics by keyword, and under
            ``"asarray"`` one that makes an array of a number of the text, rounded to the dtype in use.
        values: An array for each of the program's names.

    Raises:
        KeyError: A primitive that `ops` lacks; its argument is the name.
    """
    entries = trace(program, ops, values)
    answers = {key: resolve(argument, entries, ops["asarray"]) for key, argument in program.outputs}
    return tuple(answers.values()) if program.is_tuple else answers.get("", answers)


def trace(program: Program, ops: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]) -> list[Any]:
    """The value of every entry of the list, inputs first."""
    entries = [values[name] for name in program.names]
    lift = ops["asarray"]
    for node in program.nodes:
        if node.primitive == ITEM:
            entries.append(resolve(node.arguments[0], entries, lift)[node.statics[0][1]])
            continue
        # Python's operators meet a number as a Python scalar: `2 * x`, `x ** 2` is the idiom that is tested.
        bare = node.primitive in ARITHMETIC
        arguments = [resolve(a, entries, _same if bare else lift) for a in node.arguments]
        entries.append(ops[node.primitive](*arguments, **dict(node.statics)))
    return entries


def resolve(argument: Argument, entries: list[Any], lift: Callable[[Number], Any]) -> Any:
    """The value an argument stands for."""
    if isinstance(argument, Ref):
        return entries[argument.index]
    if isinstance(argument, Literal):
        return lift(argument.value)
    return [resolve(part, entries, lift) for part in argument]


def _same(number: Number) -> Number:
    return number
