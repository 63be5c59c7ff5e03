"""What an author states about the answers at a point, read from YAML.

The entries of a point enter; an `Answer` for each operator that something is stated of leaves. A component may be a
number, a formula of constants, a set of numbers, or a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gradbench import schema
from gradbench.document import Entries, Items, Leaf, Tree
from gradbench.errors import LanguageError, Place, suggestion
from gradbench.exact import number
from gradbench.query import BY_INPUT, Array, Operator, Stated

Shape = tuple[int, ...]


class Blame(Protocol):
    """Whoever collects the mistakes."""

    def wrong(self, place: Place, wrong: str, right: str = "", excerpt: str = "") -> Exception:
        """Notes a mistake and returns what to raise."""

    def language(self, leaf: Leaf, error: LanguageError) -> Exception:
        """Notes a mistake within a text."""

    def room(self, place: Place, count: int) -> None:
        """Raises if there is no room for so many numbers more."""

    def array(self, tree: Tree, shape: Shape | None) -> tuple[Array, bool]:
        """An array of numbers."""

    def orders(self, tree: Tree, inputs: Any) -> dict[str, int]:
        """The orders of a partial derivative."""


@dataclass(frozen=True)
class Answer:
    """What is stated of one operator at one point, with the direction it is asked in, by key."""

    operator: Operator
    stated: Mapping[str, Stated]
    tangents: Mapping[str, Array] | None = None
    cotangent: Array | None = None
    orders: Mapping[str, int] | None = None
    cotangents: tuple[Array, ...] = ()

    @property
    def directions(self) -> tuple[Array, ...]:
        """The cotangents, also of one output alone."""
        return self.cotangents if self.cotangent is None else (self.cotangent,)


class Reader:
    """Reads the answers of one point.

    Args:
        blame: Who collects the mistakes.
        inputs: The shapes of what it is differentiated by.
        outputs: The shapes of what the function returns, by key.
        discrete: The kind of each input by which there is no derivative.
    """

    def __init__(
        self, blame: Blame, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], discrete: Mapping[str, str]
    ) -> None:
        self.blame, self.inputs, self.outputs, self.discrete = blame, inputs, outputs, discrete

    def answers(self, operator: Operator, entries: Entries) -> Iterator[Answer]:
        """Everything stated of one operator at the point."""
        tree = entries.parts.get(operator)
        if tree is None:
            return
        if wrong := misfit(operator, self.outputs):
            raise self.blame.wrong(entries.keys[operator], wrong, "state the jacobian or a vjp")
        if wrong := motionless(operator, self.inputs):
            raise self.blame.wrong(entries.keys[operator], wrong, "state the value")
        if operator in schema.DIRECTED:
            for part in tree.parts if isinstance(tree, Items) else (tree,):
                yield self.directed(operator, part)
        else:
            yield Answer(operator, self.stated(operator, tree))

    def directed(self, operator: Operator, tree: Tree) -> Answer:
        """What is stated for one direction."""
        key = schema.DIRECTED[operator]
        if not isinstance(tree, Entries) or set(tree.parts) != {key, "answer"}:
            raise self.blame.wrong(
                tree.place, f"{operator} needs {key!r} and 'answer'", f"as {{{key}: ..., answer: ...}}"
            )
        given, stated = tree.parts[key], self.stated(operator, tree.parts["answer"])
        if key == "cotangent":
            if "" in self.outputs:
                return Answer(operator, stated, cotangent=self.blame.array(given, self.outputs[""])[0])
            parts = zip(self.each(given), self.outputs.values(), strict=True)
            return Answer(operator, stated, cotangents=tuple(self.blame.array(part, y)[0] for part, y in parts))
        if key == "orders":
            orders = self.blame.orders(given, self.inputs)
            for name in orders:
                if self.inputs[name]:
                    right = "a partial derivative is by scalars; state the jacobian or the hessian"
                    raise self.blame.wrong(given.place, f"{name!r} is an array", right)
            return Answer(operator, stated, orders=orders)
        for name, place in given.keys.items() if isinstance(given, Entries) else ():
            self.derivable(place, name)
        if not isinstance(given, Entries) or set(given.parts) - set(self.inputs):
            raise self.blame.wrong(
                given.place, "tangents must be a mapping of inputs", f"with {', '.join(self.inputs)}"
            )
        self.blame.room(tree.place, sum(map(math.prod, self.inputs.values())))
        tangents = {
            name: self.blame.array(given.parts[name], shape)[0] if name in given.parts else np.zeros(shape)
            for name, shape in self.inputs.items()
        }
        return Answer(operator, stated, tangents=tangents)

    def stated(self, operator: Operator, tree: Tree) -> dict[str, Stated]:
        """The stated arrays by key."""
        if "" not in self.outputs and operator is not Operator.VJP:
            parts = zip(self.outputs, self.each(tree), strict=True)
            found = {y: self.one(operator, part, self.outputs[y]) for y, part in parts}
            return {f"{y},{key}" if key else y: one for y, each in found.items() for key, one in each.items()}
        return self.one(operator, tree, self.outputs.get("", ()))

    def each(self, tree: Tree) -> tuple[Tree, ...]:
        """The parts of a list with one for each array that the function returns."""
        if not isinstance(tree, Items) or len(tree.parts) != len(self.outputs):
            right = f"a list of {len(self.outputs)}: the function returns a tuple"
            raise self.blame.wrong(tree.place, "one answer is needed for each output", right)
        return tuple(tree.parts)

    def one(self, operator: Operator, tree: Tree, output: Shape) -> dict[str, Stated]:
        """The stated arrays for one output, by key."""
        keys = operator.keys(self.inputs)
        if keys == ("",):
            return {"": self.component_array(tree, output)}
        if not self.inputs and not isinstance(tree, Entries):
            self.derivable(tree.place, next(iter(self.discrete)))
        named = isinstance(tree, Entries) and not set(tree.parts) <= set(schema.SETS)
        if len(self.inputs) == 1 and not named:
            return {keys[0]: self.component_array(tree, operator.shape(keys[0], self.inputs, output))}
        found = dict(self.flat(tree, 2 if operator is Operator.HESSIAN else 1))
        for key, part in found.items():
            if key not in keys:
                names = key.split(",")
                for name in names:
                    self.derivable(part.place, name)
                bad = next((name for name in names if name not in self.inputs), key)
                raise self.blame.wrong(part.place, f"{bad!r} is no input", suggestion(bad, self.inputs))
        return {
            key: self.component_array(part, operator.shape(key, self.inputs, output)) for key, part in found.items()
        }

    def derivable(self, place: Place, name: str) -> None:
        """Raises if there is no derivative by an input."""
        if name in self.discrete:
            raise self.blame.wrong(place, *underivable(name, self.discrete[name], self.inputs))

    def flat(self, tree: Tree, depth: int, prefix: str = "") -> Iterator[tuple[str, Tree]]:
        """The parts by key, names of pairs joined by a comma."""
        if not isinstance(tree, Entries):
            raise self.blame.wrong(tree.place, "a mapping of inputs is needed", f"with {', '.join(self.inputs)}")
        for name, part in tree.parts.items():
            if depth > 1:
                yield from self.flat(part, depth - 1, f"{prefix}{name},")
            else:
                yield prefix + name, part

    def component_array(self, tree: Tree, shape: Shape) -> Stated:
        """A stated array; a single component or set fills the whole shape."""
        size = math.prod(shape)
        self.blame.room(tree.place, 3 * size)
        components = list(self.components(tree, shape))
        if len(components) == 1 and not isinstance(tree, Items):
            components *= size
        kind = np.complex128 if any(isinstance(c.lower, complex) for c in components) else np.float64
        return Stated(
            lower=np.array([c.lower for c in components], kind).reshape(shape),
            upper=np.array([c.upper for c in components], kind).reshape(shape),
            slack=np.array([c.slack for c in components], np.float64).reshape(shape),
            choices={i: c.choices for i, c in enumerate(components) if c.choices},
            words={i: c.word for i, c in enumerate(components) if c.word},
        )

    def components(self, tree: Tree, shape: Shape) -> Iterator[_Component]:
        """The components of a nested list, in order."""
        if not isinstance(tree, Items):
            yield self.component(tree)
            return
        if not shape or len(tree.parts) != shape[0]:
            length = f"a list of {len(tree.parts)}"
            right = f"it must be of shape {list(shape)}" if shape else "it must be a number"
            raise self.blame.wrong(tree.place, f"{length} where the answer has shape {list(shape)}", right)
        for part in tree.parts:
            if len(shape) > 1 and not isinstance(part, Items):
                right = f"it must be of shape {list(shape[1:])}"
                raise self.blame.wrong(part.place, "a number where a list is needed", right)
            yield from self.components(part, shape[1:])

    def component(self, tree: Tree) -> _Component:
        """One component: a number, a word or a set."""
        if isinstance(tree, Leaf):
            if tree.text in schema.WORDS:
                return _Component(math.nan, math.nan, word=tree.text)
            value, slack = self.number(tree)
            return _Component(value, value, slack)
        if not isinstance(tree, Entries) or not tree.parts or set(tree.parts) - set(schema.SETS):
            word = next((key for key in getattr(tree, "parts", ()) if key not in schema.SETS), "")
            raise self.blame.wrong(tree.place, f"no stated answer: {word!r}", suggestion(str(word), schema.SETS))
        return self.set(tree)

    def set(self, tree: Entries) -> _Component:
        """A component where several numbers are right."""
        if set(tree.parts) == {"left", "right"}:
            sides = [self.ordered(tree.parts[key]) for key in ("left", "right")]
            return _Component(min(sides), max(sides))
        if len(tree.parts) != 1 or set(tree.parts) & {"left", "right"}:
            raise self.blame.wrong(tree.place, f"{' and '.join(tree.parts)} together", "left and right, or one set")
        word, part = next(iter(tree.parts.items()))
        if not isinstance(part, Items) or not part.parts:
            raise self.blame.wrong(part.place, f"{word} needs a list of numbers", f"as {word}: [0, 1]")
        if word == "one_of":
            numbers = [self.number(p)[0] for p in part.parts]
            if any(isinstance(n, complex) for n in numbers):
                return _Component(numbers[0], numbers[0], choices=tuple(numbers))
            return _Component(min(numbers), max(numbers), choices=tuple(numbers))
        values = [self.ordered(p) for p in part.parts]
        if len(values) != 2 or not values[0] <= values[1]:
            raise self.blame.wrong(part.place, "between needs two numbers", "the lower first, as between: [-1, 1]")
        return _Component(values[0], values[1])

    def ordered(self, tree: Tree) -> float:
        """A real number: complex ones have no order."""
        value, _ = self.number(tree)
        if isinstance(value, complex):
            raise self.blame.wrong(tree.place, "a complex number where sides are compared", "a real one")
        return float(value)

    def number(self, tree: Tree) -> tuple[Any, float]:
        """A number, and its slack."""
        if not isinstance(tree, Leaf):
            raise self.blame.wrong(tree.place, "a list where a number is needed")
        try:
            return number(tree.text)
        except LanguageError as error:
            raise self.blame.language(tree, error) from None


def underivable(name: str, kind: str, inputs: Iterable[str]) -> tuple[str, str]:
    """What is wrong with a derivative by an integer or boolean input, and what would fit.

    Args:
        name: Of the input.
        kind: Of it.
        inputs: Those by which there are derivatives.
    """
    others = ", ".join(inputs)
    right = f"state those by {others}" if others else "state the value"
    article = "an" if kind[0] in "aeiou" else "a"
    wrong = f"{name!r} is {article} {kind} input, by which there is no derivative"
    return wrong, f"{right}; what each target answers by {name!r} is recorded as its convention"


def motionless(operator: Operator, inputs: Iterable[str]) -> str:
    """Why an operator can't be asked of a function with no inputs but integer and boolean ones; empty if it can."""
    if operator is Operator.VALUE or operator in BY_INPUT or any(True for _ in inputs):
        return ""
    return f"{operator} needs an input of real or complex numbers, and there is none"


def misfit(operator: Operator, outputs: Mapping[str, Shape]) -> str:
    """Why an operator can't be asked of a function with these outputs; empty if it can."""
    if not operator.is_of_scalars or outputs.get("") == ():
        return ""
    found = (
        f"this one has shape {list(outputs[''])}" if "" in outputs else f"this function returns {len(outputs)} arrays"
    )
    return f"{operator} needs a scalar output, and {found}"


@dataclass(frozen=True)
class _Component:
    lower: Any
    upper: Any
    slack: float = 0.0
    choices: tuple[complex, ...] = ()
    word: str = ""
