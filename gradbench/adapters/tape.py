"""Reverse mode from scratch: a tape, played backwards.

While a function is calculated, every step is recorded: which primitive, what it was applied to, what came out. The
adjoint of a number v is the derivative of the output y by it, v̄ = ∂y/∂v. It is 1 for y itself; and as a change of v
reaches y through every step that uses v, it is a sum over them:

    v̄ = Σ w̄ ∂w/∂v,    as in    w = v · v:    v̄ = w̄ v + w̄ v = 2 v w̄.

Going through the record from its end, each step hands its own adjoint on to what it was applied to; when it is a
step's turn, everything that uses it has had its own. One pass gives the derivative by every input at once. The rules
of the backward pass are written in the tape's own words, so that pass is recorded too, and played backwards it gives
the second derivative.

NumPy arrays enter and leave. What a function's derivative is stands in `gradbench.calculus`; this file is the rest.

Sources: Linnainmaa (1976), Taylor expansion of the accumulated rounding error; Speelpenning (1980), Compiling fast
partial derivatives of functions given by algorithms; Griewank and Walther (2008), Evaluating Derivatives, chapter 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import numpy as np

from gradbench.adapter import Arrays, Function, Native
from gradbench.calculus import (
    CHOICES,
    FLAT,
    MISSING,
    MOVES,
    PARTIALS,
    PLAIN,
    REDUCTIONS,
    SLOPES,
    Number,
    Spelled,
    kept,
    positions,
)
from gradbench.definition import DEFINITIONS, KNOWN
from gradbench.errors import Unsupported
from gradbench.host import Host
from gradbench.primitives import VOCABULARY
from gradbench.program import references, trace
from gradbench.query import Array

_COUNTER: Final = itertools.count()


class Node(Spelled):
    """One step of the record.

    Attributes:
        value: What came out, a NumPy array.
        primitive: What was calculated; empty for an input.
        arguments: What it was applied to: nodes, arrays, numbers, or a list of them.
        statics: What it was told beside.
        index: Its place in the record. What it was applied to has a smaller one.
    """

    __array_ufunc__ = None  # an array leaves `array * node` to the node

    def __init__(self, value: Any, primitive: str = "", arguments: Any = (), statics: Any = None) -> None:
        self.value, self.primitive, self.arguments, self.statics = value, primitive, arguments, statics or {}
        self.index = next(_COUNTER)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value."""
        found: tuple[int, ...] = np.shape(self.value)
        return found

    @property
    def parents(self) -> tuple[Node, ...]:
        """The nodes among the arguments."""
        flat = self.arguments[0] if self.arguments and isinstance(self.arguments[0], list) else self.arguments
        return tuple(one for one in flat if isinstance(one, Node))


def plain(value: Any) -> Any:
    """The value of a node; anything else is its own."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.value if isinstance(value, Node) else value


def _word(name: str) -> Callable[..., Any]:
    """A primitive that records itself, if it is applied to something recorded and not flat."""

    def word(*arguments: Any, **statics: Any) -> Any:
        first = arguments[0]
        if not any(isinstance(one, Node) for one in (*arguments, *(first if isinstance(first, list) else ()))):
            return PLAIN[name](*arguments, **statics)
        if name in DEFINITIONS:
            return DEFINITIONS[name](WORDS, *arguments, **statics)
        value = PLAIN[name](*map(plain, arguments), **statics)
        if np.iscomplexobj(value):
            raise Unsupported("a tape of complex numbers")
        return value if name in FLAT else Node(value, name, arguments, statics)

    return word


_product: Final = _word("matmul")


def _matmul(x1: Number, x2: Number) -> Number:
    """A product of matrices, with an axis lent to vectors, so that the recorded one has only matrices."""
    if not any(isinstance(x, Node) for x in (x1, x2)):
        return PLAIN["matmul"](x1, x2)
    one = WORDS.expand_dims(x1, axis=0) if len(x1.shape) == 1 else x1
    other = WORDS.expand_dims(x2, axis=-1) if len(x2.shape) == 1 else x2
    found = _product(one, other)
    found = WORDS.squeeze(found, axis=-1) if len(x2.shape) == 1 else found
    return WORDS.squeeze(found, axis=-1 if len(x2.shape) == 1 else -2) if len(x1.shape) == 1 else found


# The backward pass


def adjoints(outputs: Mapping[Node, Number]) -> dict[Node, Number]:
    """The adjoint of every node that the outputs depend on, for given adjoints of these.

    Raises:
        Unsupported: There is no formula for a derivative on the way.
    """
    found = dict(outputs)
    for node in _backwards(outputs):
        # A node without an adjoint is one whose every use is flat.
        for parent, share in _shares(node, found[node]) if node in found else ():
            found[parent] = found[parent] + share if parent in found else share
    return found


def _backwards(outputs: Iterable[Node]) -> list[Node]:
    """What the outputs depend on, themselves included, the last recorded first: a topological order."""
    reached = set(outputs)
    todo = list(reached)
    while todo:
        new = {parent for parent in todo.pop().parents if parent not in reached}
        reached |= new
        todo.extend(new)
    return sorted(reached, key=lambda node: -node.index)


def _shares(node: Node, g: Number) -> Iterator[tuple[Node, Number]]:
    """What a step with the adjoint g hands on, to each node that it was applied to."""
    name, arguments, statics = node.primitive, node.arguments, node.statics
    if not name:
        return
    if name in MOVES:
        yield from _returned(node, g)
    elif name in REDUCTIONS:
        yield arguments[0], _along(node, g)
    elif name in SLOPES:
        yield arguments[0], g * SLOPES[name](WORDS, node, *arguments, **statics)
    else:
        for i, argument in enumerate(arguments):
            if isinstance(argument, Node):
                share = _pulled(node, g, i)
                if share is not None:
                    yield argument, _gathered(share, argument.shape)


def _pulled(node: Node, g: Number, i: int) -> Number | None:
    """The adjoint handed on to the i-th argument, in the shape of the answer; None where it has no part in it."""
    name, arguments = node.primitive, node.arguments
    if name in CHOICES:
        condition = CHOICES[name](WORDS, *arguments)
        return WORDS.where(condition, *((g, 0) if i == len(arguments) - 2 else (0, g)))
    if name == "matmul":
        other = WORDS.matrix_transpose(arguments[1 - i])
        return _product(g, other) if i == 0 else _product(other, g)
    if name == "scatter":
        return WORDS.gather(g, index=node.statics["index"])
    partial = PARTIALS[name][i]
    if partial == MISSING:
        raise Unsupported(f"the derivative of {name} by its first argument has no formula here")
    return None if partial is None else g * partial(WORDS, node, *arguments)


def _gathered(share: Number, shape: tuple[int, ...]) -> Number:
    """An entry that was broadcast is used several times: its adjoint is the sum over them."""
    given = np.shape(plain(share))
    if given == shape:
        return share
    lead = len(given) - len(shape)
    axes = (*range(lead), *(lead + a for a, n in enumerate(shape) if n == 1 and given[lead + a] != 1))
    return WORDS.reshape(WORDS.sum(share, axis=axes, keepdims=False) if axes else share, shape=shape)


def _along(node: Node, g: Number) -> Number:
    """Of a reduction: each entry takes its part of the one adjoint of all."""
    (x,), statics = node.arguments, node.statics
    shape = kept(x.shape, statics["axis"])
    settings = {key: value for key, value in statics.items() if key not in {"axis", "keepdims"}}
    slope = REDUCTIONS[node.primitive](WORDS, WORDS.reshape(node, shape=shape), x, **settings)
    return WORDS.broadcast_to(WORDS.reshape(g, shape=shape), shape=x.shape) * slope


def _returned(node: Node, g: Number) -> Iterator[tuple[Node, Number]]:
    """Of a primitive that moves entries: each adjoint goes back to where its entry came from.

    Where that is, the primitive says itself: it is applied to the entries' places, counted from 1, so that 0 is left
    where something else was filled in.
    """
    first, *rest = node.arguments
    statics = {**node.statics, "value": 0} if node.primitive == "pad" else node.statics
    if node.primitive == "broadcast_to":
        yield first, _gathered(g, first.shape)
        return
    for i, part in enumerate(first if isinstance(first, list) else [first]):
        if isinstance(part, Node):
            if isinstance(first, list):
                given: Any = [np.zeros(np.shape(plain(one)), int) for one in first]
                given[i] = positions(part.shape) + 1
            else:
                given = positions(part.shape) + 1
            places = PLAIN[node.primitive](given, *rest, **statics) - 1
            yield part, WORDS.scatter(g, index=places, shape=part.shape)


WORDS: Final = SimpleNamespace(**{name: _word(name) for name in PLAIN}, plain=plain)
WORDS.matmul = _matmul
Node.words = WORDS

OPS: Final[dict[str, Callable[..., Any]]] = {name: getattr(WORDS, name) for name in VOCABULARY if name in KNOWN}
"""The primitives that can be recorded."""


class Step(NamedTuple):
    """One step of a function with its adjoint.

    Attributes:
        entry: Which one of the program, inputs first.
        primitive: Empty for an input or a constant.
        value: What came out.
        adjoint: The derivative of the output by it.
    """

    entry: int
    primitive: str
    value: Array
    adjoint: Array


class Tape(Host):
    """Reverse mode over a record, on the CPU."""

    ops: Mapping[str, Callable[..., Native]] = OPS
    composite = frozenset(DEFINITIONS)

    def value(self, f: Function, x: Arrays) -> Any:
        """The function itself, shape y."""
        with np.errstate(all="ignore"):
            y = f(*x.values())
            return tuple(map(np.asarray, y)) if isinstance(y, tuple) else np.asarray(y)

    def vjp(self, f: Function, x: Arrays, cotangent: Any) -> dict[str, Array]:
        """By input, shape x: one pass back from the output, or from all outputs together."""
        with np.errstate(all="ignore"):
            nodes, y = _recorded(f, x)
            pairs = zip(y, cotangent, strict=True) if isinstance(y, tuple) else [(y, cotangent)]
            return _arrays(nodes, _played(pairs))

    def gradient(self, f: Function, x: Arrays) -> dict[str, Array]:
        """By input, shape x: one pass back from 1."""
        with np.errstate(all="ignore"):
            nodes, y = _recorded(f, x)
            return _arrays(nodes, _played([(_scalar(y), np.ones_like(plain(y)))]))

    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """By input, shape y + x: recorded once, and a pass back for each entry of the output."""
        with np.errstate(all="ignore"):
            nodes, y = _recorded(f, x)
            if isinstance(y, tuple):
                parts = [_rows(nodes, one) for one in y]
                return {name: tuple(part[name] for part in parts) for name in nodes}
            return _rows(nodes, y)

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> dict[str, Array]:
        """By input, shape x: back from 1, and back once more from the gradient, weighted by the tangents."""
        with np.errstate(all="ignore"):
            nodes, y = _recorded(f, x)
            first = _played([(_scalar(y), np.ones_like(plain(y)))])
            pairs = [(first.get(node, 0), tangents[name]) for name, node in nodes.items()]
            return _arrays(nodes, _played(pairs))

    def hessian(self, f: Function, x: Arrays) -> dict[str, Array]:
        """By pairs of inputs, shape of one and then the other: back from 1, and back from each entry of the gradient."""
        with np.errstate(all="ignore"):
            nodes, y = _recorded(f, x)
            first = _played([(_scalar(y), np.ones_like(plain(y)))])
            found: dict[str, Array] = {}
            for name, node in nodes.items():
                rows = _rows(nodes, first.get(node, np.zeros_like(node.value)))
                found |= {f"{name},{other}": array for other, array in rows.items()}
            return found

    def trace(self, f: Function, x: Arrays) -> list[Step]:
        """Every step of f with the adjoint that the pass back from 1 gives it, inputs first.

        An output that is an array is played back from 1 for each entry, several outputs all together.
        """
        with np.errstate(all="ignore"):
            nodes = {name: Node(array) for name, array in _real(x).items()}
            entries = trace(f.program, f.ops, {**nodes, **f.constants})
            outputs = [entries[ref.index] for _, output in f.program.outputs for ref in references(output)]
            found = _played((y, np.ones_like(plain(y))) for y in outputs)
        words = [""] * len(f.program.names) + [node.primitive for node in f.program.nodes]
        steps = []
        for i, (word, one) in enumerate(zip(words, entries, strict=True)):
            value = np.asarray(plain(one))
            steps.append(Step(i, word, value, _array(found.get(one) if isinstance(one, Node) else None, value)))
        return steps


def _recorded(f: Function, x: Arrays) -> tuple[dict[str, Node], Any]:
    """The inputs as nodes, and what f makes of them."""
    nodes = {name: Node(array) for name, array in _real(x).items()}
    return nodes, f(*nodes.values())


def _played(pairs: Iterable[tuple[Any, Number]]) -> dict[Node, Number]:
    """The adjoints for outputs with theirs. An output may be given twice, and one that wasn't recorded is constant."""
    given: dict[Node, Number] = {}
    for y, adjoint in pairs:
        if isinstance(y, Node):
            given[y] = given[y] + adjoint if y in given else adjoint
    return adjoints(given)


def _rows(nodes: Mapping[str, Node], y: Number) -> dict[str, Array]:
    """By input the derivative of every entry of y, shape y + x."""
    value = np.asarray(plain(y))
    rows: dict[str, list[Array]] = {name: [] for name in nodes}
    for i in range(value.size):
        unit = np.zeros(value.shape, value.dtype)
        unit.reshape(-1)[i] = 1
        for name, row in _arrays(nodes, _played([(y, unit)])).items():
            rows[name].append(row)
    return {
        name: np.asarray(rows[name], node.value.dtype).reshape(value.shape + node.shape) for name, node in nodes.items()
    }


def _arrays(nodes: Mapping[str, Node], found: Mapping[Node, Number]) -> dict[str, Array]:
    return {name: _array(found.get(node), node.value) for name, node in nodes.items()}


def _array(adjoint: Number | None, like: Array) -> Array:
    """An adjoint in the shape and dtype of what it is the adjoint of; zeros if it has none."""
    if adjoint is None or like.dtype.kind in "biu":
        return np.zeros_like(like)
    return np.array(np.broadcast_to(plain(adjoint), like.shape), like.dtype)


def _real(x: Arrays) -> Arrays:
    if any(np.iscomplexobj(array) for array in x.values()):
        raise Unsupported("a tape of complex numbers")
    return x


def _scalar(y: Any) -> Any:
    """The output itself, which must be a single number."""
    if isinstance(y, tuple) or np.shape(plain(y)):
        raise Unsupported("the gradient of more than one number")
    return y
