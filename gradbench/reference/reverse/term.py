"""`Tape` and `Term`: a reverse pass written as mathematics.

A rule of `reverse_rules` handles terms: `g * (1 - y * y)`. Each operation appends a node to the tape, whose nodes
become a `Program`. Every term knows its shape.

A number in a rule must be exact in every format it may be rounded to, or a certified reverse pass would certify the
derivative of another function: only numbers of at most 8 significant bits are written as literals; `whole` builds
longer ones, and pi, log(2) and the like are computed by the number system itself.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from gradbench.primitives import REQUIRED
from gradbench.program import ITEM, Argument, Literal, Node, Ref
from gradbench.reference.reverse.internal import apply, primitive
from gradbench.shapes import Spec

Rule = Callable[..., Sequence[Any]]
"""How a primitive pulls a cotangent back; see `reverse_rules`."""
MISSING: Final = object()
"""What a rule answers for an argument by which it knows no derivative."""

Value: TypeAlias = "Term | int | float | complex"
SHORT: Final = 2**8
"""Whole numbers up to this are exact in every format, bfloat16 included."""


class Tape:
    """Nodes that grow. An operation that is already there isn't appended again: it would round the same.

    Attributes:
        exact: Whether how a formula rounds is nobody's business.
    """

    def __init__(self, names: Sequence[str], specs: Sequence[Spec], *, exact: bool = False) -> None:
        self.names, self.exact = tuple(names), exact
        self.entries: list[Any] = list(specs)
        self.nodes: list[Node] = []
        self.place = (1, 1)
        self._known: dict[tuple[Any, ...], Ref] = {}

    def append(self, node: Node) -> Ref:
        """Takes a node over as it is."""
        arguments = [self.spec(argument) for argument in node.arguments]
        statics = dict(node.statics)
        if node.primitive == ITEM:
            self.entries.append(arguments[0][statics["index"]])
        else:
            self.entries.append(apply(node.primitive, arguments, statics))
        self.nodes.append(node)
        return Ref(len(self.entries) - 1)

    def take(self, node: Node, entry: Any) -> None:
        """Takes a node over of which the spec is known."""
        self.entries.append(entry)
        self.nodes.append(node)

    def spec(self, argument: Argument) -> Any:
        """The spec of an argument; a list of them for a list."""
        if isinstance(argument, Ref):
            return self.entries[argument.index]
        if isinstance(argument, Literal):
            return Spec((), "complex" if isinstance(argument.value, complex) else "real")
        return [self.spec(part) for part in argument]

    def term(self, argument: Argument) -> Term:
        """An argument as a term."""
        return Term(self, argument, self.spec(argument))

    def apply(self, name: str, *arguments: Any, **statics: Any) -> Term:
        """The term of a primitive's answer."""
        return self.term(self._applied(name, arguments, statics))

    def several(self, name: str, *arguments: Any, **statics: Any) -> tuple[Term, ...]:
        """The terms of a primitive's answers, where it has several."""
        ref = self._applied(name, arguments, statics)
        return tuple(self.item(ref, i) for i in range(len(primitive(name).results)))

    def _applied(self, name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Ref:
        full = tuple(
            (key, statics[key] if default is REQUIRED else statics.get(key, default)) for key, default in _statics(name)
        )
        return self._append(name, tuple(_argument(argument) for argument in arguments), full)

    def item(self, several: Ref, index: int) -> Term:
        """One of the results of a primitive with several."""
        return self.term(self._append(ITEM, (several,), (("index", index),)))

    def _append(self, name: str, arguments: tuple[Argument, ...], statics: tuple[tuple[str, Any], ...]) -> Ref:
        key = (name, arguments, repr(statics) if statics else "")  # a slice has no hash
        if key not in self._known:
            self._known[key] = self.append(Node(name, arguments, statics, None, *self.place))
        return self._known[key]

    def whole(self, number: int) -> Value:
        """A whole number, exact in every format."""
        if is_short(number):
            return number
        high, low = divmod(number, SHORT)
        return self.apply("square", 16) * self.whole(high) + low

    def lifted(self, number: float) -> Term:
        """A number of the text as an array, rounded as the number system rounds such."""
        return self.apply("broadcast_to", number, shape=())

    @property
    def pi(self) -> Term:
        """The circle's."""
        return 4 * self.apply("atan", 1)

    def filled(self, number: float, shape: Sequence[int]) -> Term:
        """An array of the shape, with one number everywhere."""
        return self.apply("broadcast_to", number, shape=tuple(shape))

    def eye(self, rows: int, columns: int) -> Term:
        """The identity matrix, cut or filled with zeros to the shape (rows, columns)."""
        square = self.apply("diag", self.filled(1, (max(rows, columns),)))
        return square if rows == columns else square.at(slice(rows), slice(columns))


@functools.cache
def _statics(name: str) -> tuple[tuple[str, Any], ...]:
    """The static parameters of a primitive, each with its default."""
    return tuple((p.name, p.default) for p in primitive(name).parameters if p.is_static)


def _argument(value: Any) -> Argument:
    if isinstance(value, Term):
        return value.argument
    if isinstance(value, (list, tuple)):
        return tuple(_argument(part) for part in value)
    return value if isinstance(value, (Ref, Literal)) else Literal(value)


@dataclass(eq=False, slots=True)
class Term:
    """An entry of a tape, or a number of the text, that can be calculated with."""

    tape: Tape
    argument: Argument
    spec: Spec

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.spec.shape

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.spec.shape)

    @property
    def is_complex(self) -> bool:
        """Whether it is an array of complex numbers."""
        return self.spec.kind == "complex"

    @property
    def number(self) -> Any:
        """The number of the text that it is, or None."""
        return self.argument.value if isinstance(self.argument, Literal) else None

    def apply(self, name: str, *arguments: Any, **statics: Any) -> Term:
        """A primitive with this as the first argument."""
        return self.tape.apply(name, self, *arguments, **statics)

    def several(self, name: str) -> tuple[Term, ...]:
        """A primitive with several results."""
        return self.tape.several(name, self)

    def __add__(self, other: Value) -> Term:
        return self._with("add", self, other)

    def __radd__(self, other: Value) -> Term:
        return self._with("add", other, self)

    def __sub__(self, other: Value) -> Term:
        return self._with("subtract", self, other)

    def __rsub__(self, other: Value) -> Term:
        return self._with("subtract", other, self)

    def __mul__(self, other: Value) -> Term:
        return self._with("multiply", self, other)

    def __rmul__(self, other: Value) -> Term:
        return self._with("multiply", other, self)

    def __truediv__(self, other: Value) -> Term:
        return self._with("divide", self, other)

    def __rtruediv__(self, other: Value) -> Term:
        return self._with("divide", other, self)

    def __pow__(self, other: Value) -> Term:
        return self._with("power", self, other)

    def __matmul__(self, other: Term) -> Term:
        return self._with("matmul", self, other)

    def __neg__(self) -> Term:
        return self._with("negative", self)

    def _with(self, name: str, *arguments: Any) -> Term:
        if name in _FOLDED and not any(isinstance(_argument(a), Ref) for a in arguments):
            # Between two numbers of the text there is no array for Python's operators to meet.
            arguments = (self.tape.apply("broadcast_to", arguments[0], shape=()), *arguments[1:])
        return self.tape.apply(name, *arguments)

    @property
    def T(self) -> Term:  # noqa: N802  # NumPy's name
        """The matrices transposed."""
        return self.apply("matrix_transpose")

    def at(self, *index: Any) -> Term:
        """What stands at an index."""
        return self.apply("getitem", index=index)

    def reshape(self, shape: Sequence[int]) -> Term:
        """The same entries in another shape."""
        return self if self.shape == tuple(shape) else self.apply("reshape", shape=tuple(shape))

    def spread(self, shape: Sequence[int]) -> Term:
        """Broadcast to a shape."""
        return self if self.shape == tuple(shape) else self.apply("broadcast_to", shape=tuple(shape))

    def sum(self, axis: int | tuple[int, ...]) -> Term:
        """Summed over axes, which go."""
        return self if axis == () else self.apply("sum", axis=axis)

    def gathered(self, shape: Sequence[int]) -> Term:
        """Summed over the axes along which an array of the shape was broadcast: the transpose of that."""
        if self.shape == tuple(shape):
            return self
        extra = self.rank - len(shape)
        axes = tuple(i for i, n in enumerate(self.shape) if i < extra or (shape[i - extra] == 1 and n != 1))
        return self.sum(axes).reshape(shape)

    def conj(self) -> Term:
        """The complex conjugate; a real array is its own."""
        return self.apply("conj") if self.is_complex else self


_FOLDED: Final = frozenset({"add", "subtract", "multiply", "divide", "power", "negative"})


def count(shape: Sequence[int], axes: Sequence[int]) -> int:
    """How many entries are taken together in a reduction over the axes."""
    return math.prod(shape[axis] for axis in axes)


def normal(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Axes from 0 up; None stands for all of them."""
    if axis is None:
        return tuple(range(rank))
    return tuple(a % rank for a in (axis if isinstance(axis, tuple) else (axis,)))


def is_short(number: Any) -> bool:
    """Whether a number has at most 8 significant bits, and so is exact in every format."""
    return not isinstance(number, complex) and (not number or math.frexp(number)[0] * SHORT % 1 == 0)
