"""Forward mode from scratch: dual numbers.

A dual number is a + b ε with ε² = 0 and ε not 0. Whatever is calculated with it is calculated to first order:

    f(a + b ε) = f(a) + f'(a) b ε,    as in    (3 + ε)² = 9 + 6 ε + ε² = 9 + 6 ε,

so that the square of 3 + ε holds the derivative of x² at 3 beside its value. To differentiate is to calculate: no
expression is kept, no step has a size. The part b carries along the derivative by one direction; a gradient of n
entries takes n passes. Parts may be arrays, entry by entry, or dual numbers again, which gives derivatives of any order:
the pass of a derivative is differentiated. Each ε has a level of its own, so that the inner and the outer are not
confused (Siskind and Pearlmutter 2008, Nesting forward-mode AD in a functional framework).

NumPy arrays enter and leave. What a function's derivative is stands in `gradbench.calculus`; this file is the rest.

Sources: Clifford (1873), Preliminary sketch of biquaternions; Wengert (1964), A simple automatic derivative evaluation
program; Griewank and Walther (2008), Evaluating Derivatives, chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import numpy as np

from gradbench.adapter import Arrays, Function, Native
from gradbench.calculus import CHOICES, FLAT, MISSING, MOVES, PARTIALS, PLAIN, REDUCTIONS, SLOPES, Number, Spelled, kept
from gradbench.definition import DEFINITIONS, KNOWN
from gradbench.errors import Unsupported
from gradbench.host import Host
from gradbench.primitives import VOCABULARY
from gradbench.program import trace
from gradbench.query import Array


class Dual(Spelled):
    """a + b ε, where ε² = 0.

    Attributes:
        a: The number itself: a NumPy array, or a dual number of a lower level.
        b: The derivative, of the same shape and of lower levels as well.
        level: Which ε it is.
    """

    __array_ufunc__ = None  # an array leaves `array * dual` to the dual number

    def __init__(self, a: Number, b: Number, level: int) -> None:
        self.a, self.b, self.level = a, b, level

    @property
    def shape(self) -> tuple[int, ...]:
        """Of both parts."""
        found: tuple[int, ...] = np.shape(plain(self))
        return found


def plain(number: Number) -> Any:
    """The number without any ε."""
    while isinstance(number, Dual):
        number = number.a
    return number


def part(number: Number, level: int) -> Number:
    """What stands beside the ε of a level: nothing, that is zeros, where the number doesn't have it."""
    if isinstance(number, Dual) and number.level == level:
        return number.b
    return np.zeros_like(plain(number))


def _split(value: Any, level: int) -> tuple[Any, Any]:
    """The two parts of an argument at a level; the second is None where that ε isn't in it."""
    if isinstance(value, list):
        pairs = [_split(one, level) for one in value]
        return [a for a, _ in pairs], [b for _, b in pairs]
    return (value.a, value.b) if isinstance(value, Dual) and value.level == level else (value, None)


def _level(value: Any) -> int:
    """The outermost ε in an argument; 0 if there is none."""
    if isinstance(value, list | tuple):
        return max((_level(one) for one in value), default=0)
    return value.level if isinstance(value, Dual) else 0


def _word(name: str) -> Callable[..., Any]:
    """A primitive on dual numbers: on the first parts it is itself, and the second follow by the chain rule."""

    def word(*arguments: Any, **statics: Any) -> Any:
        level = _level(arguments)
        if level == 0:
            return PLAIN[name](*arguments, **statics)
        if name in FLAT:
            return PLAIN[name](*map(plain, arguments), **statics)
        if name in DEFINITIONS:
            return DEFINITIONS[name](WORDS, *arguments, **statics)
        a, b = _split(list(arguments), level)
        y = word(*a, **statics)
        if np.iscomplexobj(plain(y)):
            raise Unsupported("dual numbers of complex ones")
        slope = _chain(name, y, a, b, statics)
        return y if slope is None else Dual(y, slope, level)

    return word


def _chain(name: str, y: Number, a: Sequence[Any], b: Sequence[Any], statics: Mapping[str, Any]) -> Number | None:
    """The second part of an answer y: the derivative at the first parts a, times the second parts b.

    Raises:
        Unsupported: There is no formula for the derivative.
    """
    if name in SLOPES:
        return b[0] * SLOPES[name](WORDS, y, a[0], **statics)
    if name in PARTIALS:
        return _total(name, y, a, b)
    if name in CHOICES:
        first, second = (0 if tangent is None else tangent for tangent in b[-2:])
        return _spread(WORDS.where(CHOICES[name](WORDS, *a), first, second), y)
    if name in REDUCTIONS:
        settings = {key: value for key, value in statics.items() if key not in {"axis", "keepdims"}}
        aligned = WORDS.reshape(y, shape=kept(a[0].shape, statics["axis"]))
        slopes = REDUCTIONS[name](WORDS, aligned, a[0], **settings)
        return WORDS.sum(b[0] * slopes, axis=statics["axis"], keepdims=statics.get("keepdims", False))
    if name == "matmul":
        terms = [WORDS.matmul(b[0], a[1])] if b[0] is not None else []
        terms += [WORDS.matmul(a[0], b[1])] if b[1] is not None else []
        return sum(terms[1:], start=terms[0])
    assert name in MOVES
    if b[0] is None:  # what moves is an index, and entries don't follow it by degrees
        return None
    moved = [_zeros(one, like) for one, like in zip(b[0], a[0], strict=True)] if isinstance(b[0], list) else b[0]
    return getattr(WORDS, name)(moved, *a[1:], **{**statics, **({"value": 0} if name == "pad" else {})})


def _total(name: str, y: Number, a: Sequence[Any], b: Sequence[Any]) -> Number | None:
    """Of a function of two numbers: the sum over both of derivative times second part."""
    found = None
    for tangent, partial in zip(b, PARTIALS[name], strict=True):
        if tangent is None or partial is None:
            continue
        if partial == MISSING:
            raise Unsupported(f"the derivative of {name} by its first argument has no formula here")
        term = tangent * partial(WORDS, y, *a)
        found = term if found is None else found + term
    return None if found is None else _spread(found, y)


def _spread(tangent: Number, y: Number) -> Number:
    """In the shape of y, which may be that of the other argument."""
    shape = np.shape(plain(y))
    return tangent if np.shape(plain(tangent)) == shape else WORDS.broadcast_to(tangent, shape=shape)


def _zeros(tangent: Number | None, like: Number) -> Number:
    return np.zeros_like(plain(like)) if tangent is None else tangent


WORDS: Final = SimpleNamespace(**{name: _word(name) for name in PLAIN}, plain=plain)
Dual.words = WORDS

OPS: Final[dict[str, Callable[..., Any]]] = {name: getattr(WORDS, name) for name in VOCABULARY if name in KNOWN}
"""The primitives that dual numbers have."""


class Step(NamedTuple):
    """One step of a calculation with dual numbers.

    Attributes:
        entry: Which one of the program, inputs first.
        primitive: Empty for an input or a constant.
        value: The first part.
        tangent: The second part.
    """

    entry: int
    primitive: str
    value: Array
    tangent: Array


class DualNumbers(Host):
    """Forward mode with dual numbers, on the CPU."""

    ops: Mapping[str, Callable[..., Native]] = OPS
    composite = frozenset(DEFINITIONS)

    def value(self, f: Function, x: Arrays) -> Any:
        """The function itself, shape y."""
        return _answers(f, x, lambda y: y)

    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Any:
        """One pass, shape y."""
        pushed = {name: Dual(a, tangents[name], 1) for name, a in _real(x).items()}
        return _answers(f, pushed, lambda y: part(y, 1))

    def gradient(self, f: Function, x: Arrays) -> dict[str, Array]:
        """By input, shape x: a pass for each entry."""
        _scalar(f, x)
        return self.jacobian(f, x)

    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """By input, shape y + x: a pass for each entry. The other inputs are constants meanwhile."""
        with np.errstate(all="ignore"):
            y = f(*x.values())
        found: dict[str, Any] = {}
        for name, array in _real(x).items():
            columns = [_answers(f, {**x, name: Dual(array, unit, 1)}, lambda y: part(y, 1)) for unit in _units(array)]
            if isinstance(y, tuple):
                lines = zip(*columns, strict=True) if columns else [()] * len(y)
                found[name] = tuple(_joined(line, one, array) for line, one in zip(lines, y, strict=True))
            else:
                found[name] = _joined(columns, y, array)
        return found

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> dict[str, Array]:
        """By input, shape x: the derivative along the tangents of the derivative by each entry."""
        _scalar(f, x)
        found = {}
        for name, array in _real(x).items():
            entries = []
            for unit in _units(array):
                inner = {**x, name: Dual(array, unit, 1)}
                outer = {key: Dual(one, tangents[key], 2) for key, one in inner.items()}
                entries.append(_answers(f, outer, lambda y: part(part(y, 2), 1)))
            found[name] = np.asarray(entries, array.dtype).reshape(array.shape)
        return found

    def hessian(self, f: Function, x: Arrays) -> dict[str, Array]:
        """By pairs of inputs, shape of one and then the other: a pass for each pair of entries."""
        _scalar(f, x)
        found = {}
        for first, array in _real(x).items():
            for second, other in x.items():
                entries = []
                for unit in _units(array):
                    inner = {**x, first: Dual(array, unit, 1)}
                    for along in _units(other):
                        outer = {**inner, second: Dual(inner[second], along, 2)}
                        entries.append(_answers(f, outer, lambda y: part(part(y, 2), 1)))
                found[f"{first},{second}"] = np.asarray(entries, array.dtype).reshape(array.shape + other.shape)
        return found

    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """Shape y: as many ε within each other as the order says."""
        lifted: dict[str, Number] = dict(_real(x))
        names = [name for name, order in orders.items() for _ in range(order)]
        for level, name in enumerate(names, 1):
            lifted[name] = Dual(lifted[name], np.ones_like(x[name]), level)

        def innermost(y: Number) -> Number:
            for level in range(len(names), 0, -1):
                y = part(y, level)
            return y

        return _answers(f, lifted, innermost)

    def trace(self, f: Function, x: Arrays, tangents: Arrays) -> list[Step]:
        """Every step of f with the derivative that it carries along the tangents, inputs first."""
        pushed = {name: Dual(a, tangents[name], 1) for name, a in _real(x).items()}
        with np.errstate(all="ignore"):
            entries = trace(f.program, f.ops, {**pushed, **f.constants})
        words = [""] * len(f.program.names) + [node.primitive for node in f.program.nodes]
        return [
            Step(i, word, np.asarray(plain(one)), np.asarray(part(one, 1)))
            for i, (word, one) in enumerate(zip(words, entries, strict=True))
        ]


def _answers(f: Function, x: Mapping[str, Number], take: Callable[[Number], Number]) -> Any:
    """What is taken of f's output, or of each of its outputs, as an array in the output's shape and dtype."""

    def answer(y: Number) -> Array:
        like = plain(y)
        return np.asarray(np.broadcast_to(plain(take(y)), np.shape(like)), np.asarray(like).dtype)

    with np.errstate(all="ignore"):
        y = f(*x.values())
        return tuple(map(answer, y)) if isinstance(y, tuple) else answer(y)


def _joined(columns: Any, y: Array, x: Array) -> Array:
    """A column for each entry of x, of the shape y, as a Jacobian of shape y + x."""
    dtype = np.asarray(y).dtype if x.dtype.kind in "biu" else x.dtype  # whole numbers are taken for real ones
    stacked = np.asarray(list(columns), dtype).reshape(-1, *np.shape(y))
    return np.moveaxis(stacked, 0, -1).reshape(np.shape(y) + x.shape)


def _units(array: Array) -> Iterator[Array]:
    """The unit directions of an array."""
    for i in range(array.size):
        unit = np.zeros(array.shape, array.dtype)
        unit.reshape(-1)[i] = 1
        yield unit


def _real(x: Arrays) -> Arrays:
    if any(np.iscomplexobj(array) for array in x.values()):
        raise Unsupported("dual numbers of complex ones")
    return x


def _scalar(f: Function, x: Arrays) -> None:
    """Raises if the output is no single number."""
    with np.errstate(all="ignore"):
        shape = np.shape(f(*x.values()))
    if shape:
        raise Unsupported(f"the gradient of an output of shape {list(shape)}")
