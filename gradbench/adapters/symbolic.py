"""The adapter `symbolic`: functions as graphs, differentiated into graphs, and only then calculated.

NumPy arrays enter and leave. To answer an operator, f is run once on arrays whose entries are variables; what it
returns is an array whose entries are graphs (see `symbolic_graph`, which is where to begin reading). What was derived
is kept as long as f is. `formula` says the derivatives of a program in words.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from gradbench.adapter import Arrays, Function, Native
from gradbench.adapters.symbolic_graph import NODES, Graph, calculate, constant, gradient, variable
from gradbench.calculus import MOVES, PLAIN
from gradbench.definition import DEFINITIONS, KNOWN, rows
from gradbench.errors import Unsupported
from gradbench.host import Host, format_of
from gradbench.primitives import VOCABULARY
from gradbench.program import Program, evaluate
from gradbench.query import Array

MAX_ENTRIES: Final = 64
"""Of all inputs together; each is a variable."""


def boxed(value: Any) -> Array:
    """Anything as an array of graphs."""
    array = np.asarray(None) if isinstance(value, Graph) else np.asarray(value)
    found: Array = np.empty(array.shape, object)
    for index in np.ndindex(array.shape):
        found[index] = constant(value if isinstance(value, Graph) else array[index])
    return found


def _has_graphs(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_graphs, value))
    return isinstance(value, Graph) or (isinstance(value, np.ndarray) and value.dtype == object)


def _word(name: str) -> Callable[..., Any]:
    """A primitive on arrays of graphs; on plain arrays it is what it always is."""

    def word(*arrays: Any, **statics: Any) -> Any:
        if not _has_graphs(arrays):
            return PLAIN[name](*arrays, **statics)
        if name in _BY_ENTRIES:
            return _BY_ENTRIES[name](*arrays, **statics)
        if name in DEFINITIONS:
            return boxed(DEFINITIONS[name](WORDS, *arrays, **statics))
        if name == "matmul":
            return boxed(PLAIN[name](*map(boxed, arrays)))
        if name in MOVES:
            first = list(map(boxed, arrays[0])) if isinstance(arrays[0], list) else boxed(arrays[0])
            return boxed(PLAIN[name](first, *arrays[1:], **statics))
        return _each(functools.partial(getattr(NODES, name), **statics), *arrays)

    return word


def _each(f: Callable[..., Graph], *arrays: Any) -> Array:
    """A function of numbers, entry by entry."""
    return boxed(np.frompyfunc(f, len(arrays), 1)(*map(boxed, arrays)))


def _fold(step: Callable[[Graph, Graph], Graph], alone: Callable[[Graph], Graph] = constant) -> Callable[..., Array]:
    """A reduction: one entry after the other, or what it is of one alone."""

    def fold(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
        line = rows(WORDS, x, axis)
        if not line:
            raise Unsupported("a graph of no entries")
        found = functools.reduce(functools.partial(_each, step), line) if line[1:] else _each(alone, line[0])
        return found.reshape(np.sum(np.zeros(x.shape), axis=axis, keepdims=keepdims).shape)

    return fold


def _norm(x: Array, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
    if ord == 2:
        return _fold(NODES.hypot, NODES.abs)(x, axis=axis, keepdims=keepdims)
    return WORDS.power(WORDS.sum(WORDS.power(WORDS.abs(x), ord), axis=axis, keepdims=keepdims), 1 / ord)


def _sort(x: Array, *, axis: int = -1) -> Any:
    """By exchanging neighbours, whatever the numbers are; equal ones stay where they are."""
    line = rows(WORDS, x, axis)
    for last in range(len(line) - 1, 0, -1):
        for i in range(last):
            one, other = line[i : i + 2]
            right = WORDS.less_equal(one, other)
            line[i : i + 2] = WORDS.where(right, one, other), WORDS.where(right, other, one)
    return WORDS.stack(line, axis=axis)


_BY_ENTRIES: Final[Mapping[str, Callable[..., Any]]] = {
    "sum": _fold(NODES.add),
    "max": _fold(NODES.maximum),
    "min": _fold(NODES.minimum),
    "logsumexp": _fold(NODES.logaddexp),
    "norm": _norm,
    "sort": _sort,
}
"""What can be said of entries one by one, though it is a matter of arrays elsewhere."""

WORDS: Final = SimpleNamespace(**{name: _word(name) for name in PLAIN})

OPS: Final[dict[str, Callable[..., Any]]] = {name: getattr(WORDS, name) for name in VOCABULARY if name in KNOWN}
"""The primitives that graphs have."""


@dataclass(frozen=True)
class Drawn:
    """A function as graphs.

    Attributes:
        x: Variables, by input, in its shape.
        y: For each output its graphs, in its shape.
        is_tuple: Whether the outputs are several.
        dtype: Of the numbers that it is calculated with.
    """

    x: Mapping[str, Array]
    y: tuple[Array, ...]
    is_tuple: bool
    dtype: np.dtype[Any]

    def jacobian(self) -> dict[str, tuple[Array, ...]]:
        """By input, for each output the derivatives, shape y + x."""
        return {name: tuple(_outer(gradient, y, x) for y in self.y) for name, x in self.x.items()}

    def along(self, directions: Mapping[str, Array], y: Array) -> Array:
        """The derivative of y along a direction, entry by entry."""
        pairs = [pair for name, x in self.x.items() for pair in zip(x.flat, directions[name].flat, strict=True)]
        return _each(lambda one: sum((gradient(one, by) * way for by, way in pairs), start=constant(0)), y)

    def slope(self) -> dict[str, Array]:
        """By input, the gradient of the one number that is the output."""
        if self.is_tuple or self.y[0].shape:
            raise Unsupported("the gradient of more than one number")
        return {name: parts[0] for name, parts in self.jacobian().items()}


def _outer(f: Callable[..., Graph], y: Array, x: Array) -> Array:
    return _each(f, y.reshape(y.shape + (1,) * x.ndim), x)


def _variables(name: str, shape: tuple[int, ...]) -> Array:
    """A variable for each entry: x, or x[0], x[1], as they are written."""
    found = np.empty(shape, object)
    for index in np.ndindex(shape):
        found[index] = variable(f"{name}[{', '.join(map(str, index))}]" if shape else name)
    return found


def _drawn(f: Callable[..., Any], shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]) -> Drawn:
    x = {name: _variables(name, shape) for name, shape in shapes.items()}
    y = f(*x.values())
    return Drawn(x, tuple(map(boxed, y)) if isinstance(y, tuple) else (boxed(y),), isinstance(y, tuple), dtype)


class Symbolic(Host):
    """Graphs, differentiated and calculated, on the CPU."""

    ops: Mapping[str, Callable[..., Native]] = OPS
    composite = frozenset({*DEFINITIONS, *_BY_ENTRIES} & set(VOCABULARY))

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Function, dict[Any, Drawn]] = WeakKeyDictionary()

    def value(self, f: Function, x: Arrays) -> Any:
        """The graph itself, calculated; shape y."""
        drawn = self._of(f, x)
        return _several(drawn, _numbers(drawn, x, drawn.y))

    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Any:
        """The sum over the entries of derivative times tangent, shape y."""
        drawn = self._of(f, x)
        ways = _directions("tangent", x)
        found = _numbers(drawn, x, [drawn.along(ways, y) for y in drawn.y], *_values(ways, tangents))
        return _several(drawn, found)

    def vjp(self, f: Function, x: Arrays, cotangent: Any) -> dict[str, Array]:
        """By input, shape x: the sum over the outputs of cotangent times derivative."""
        drawn = self._of(f, x)
        given = dict(enumerate(cotangent if drawn.is_tuple else (cotangent,)))
        ways = _directions("cotangent", given)
        total = NODES.add(0, sum(np.sum(boxed(w * y)) for w, y in zip(ways.values(), drawn.y, strict=True)))
        found = [_each(functools.partial(gradient, total), by) for by in drawn.x.values()]
        return dict(zip(x, _numbers(drawn, x, found, *_values(ways, given)), strict=True))

    def gradient(self, f: Function, x: Arrays) -> dict[str, Array]:
        """By input, shape x."""
        drawn = self._of(f, x)
        return dict(zip(x, _numbers(drawn, x, drawn.slope().values()), strict=True))

    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """By input, shape y + x."""
        drawn = self._of(f, x)
        return {name: _several(drawn, _numbers(drawn, x, parts)) for name, parts in drawn.jacobian().items()}

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> dict[str, Array]:
        """By input, shape x: the derivative of the gradient along the tangents."""
        drawn = self._of(f, x)
        ways = _directions("tangent", x)
        found = [drawn.along(ways, slope) for slope in drawn.slope().values()]
        return dict(zip(x, _numbers(drawn, x, found, *_values(ways, tangents)), strict=True))

    def hessian(self, f: Function, x: Arrays) -> dict[str, Array]:
        """By pairs of inputs, shape of one and then the other: the gradient of the gradient."""
        drawn = self._of(f, x)
        found = {
            f"{one},{other}": _outer(gradient, slope, drawn.x[other])
            for one, slope in drawn.slope().items()
            for other in x
        }
        return dict(zip(found, _numbers(drawn, x, found.values()), strict=True))

    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """Shape y: the derivative of the derivative, as often as the order says."""
        drawn = self._of(f, x)
        by = [drawn.x[name] for name, order in orders.items() for _ in range(order)]
        found = [functools.reduce(functools.partial(_each, gradient), by, y) for y in drawn.y]
        return _several(drawn, _numbers(drawn, x, found))

    def remarks(self, f: Function, x: Arrays) -> dict[str, str]:
        """By input, the derivatives as mathematics."""
        return formula(f.program, x, f.constants)

    def _of(self, f: Function, x: Arrays) -> Drawn:
        """The function drawn for inputs of these shapes, from an earlier time if there was one."""
        if any(np.iscomplexobj(array) for array in x.values()):
            raise Unsupported("graphs of complex numbers")
        count = sum(array.size for array in x.values())
        if count > MAX_ENTRIES:
            raise Unsupported(f"{count} variables; up to {MAX_ENTRIES} are tried")
        shapes = {name: array.shape for name, array in x.items()}
        kept = self._kept.setdefault(f, {})
        dtype = format_of(f, x.values())
        key = (dtype, *shapes.items())
        if key not in kept:
            kept[key] = _drawn(f, shapes, dtype)
        return kept[key]


def formula(program: Program, inputs: Arrays, constants: Arrays | None = None) -> dict[str, str]:
    """The derivatives of a program as mathematics: by input a formula, or for arrays a list of formulas.

    Args:
        program: A function.
        inputs: What it is differentiated by. Of an array only the shape is used.
        constants: Everything else. Numbers are shown by name; integers and truths are what they are.
    """
    held = {
        name: _variables(name, array.shape) if array.dtype.kind not in "biu" else array
        for name, array in (constants or {}).items()
    }
    ops = {**OPS, "asarray": boxed}

    def f(*arrays: Array) -> Any:
        return evaluate(program, ops, {**dict(zip(inputs, arrays, strict=True)), **held})

    drawn = _drawn(f, {name: array.shape for name, array in inputs.items()}, np.dtype(np.float64))
    return {name: "; ".join(_listed(part.tolist()) for part in parts) for name, parts in drawn.jacobian().items()}


def _listed(graphs: Any) -> str:
    return f"[{', '.join(map(_listed, graphs))}]" if isinstance(graphs, list) else str(graphs)


def _directions(name: str, like: Mapping[Any, Array]) -> dict[Any, Array]:
    """Variables for a direction in the shapes of arrays; no input can have such a name."""
    return {key: _variables(f"{name} of {key}", np.shape(array)) for key, array in like.items()}


def _values(variables: Mapping[Any, Array], arrays: Mapping[Any, Array]) -> list[tuple[Graph, Any]]:
    """Each variable with its number."""
    return [
        pair for key, found in variables.items() for pair in zip(found.flat, np.asarray(arrays[key]).flat, strict=True)
    ]


def _numbers(drawn: Drawn, x: Arrays, wanted: Iterable[Array], *directions: tuple[Graph, Any]) -> list[Array]:
    """Arrays of graphs as arrays of numbers, in the dtype of what was drawn; of truths as they are."""
    wanted = list(wanted)
    dtype = drawn.dtype
    values = dict([*_values(drawn.x, x), *directions])
    numbers = iter(calculate([graph for array in wanted for graph in array.flat], values, dtype))
    found = []
    for array in wanted:
        own = [next(numbers) for _ in range(array.size)]
        truths = bool(own) and all(isinstance(one, np.bool_) for one in own)
        found.append(np.asarray(own, bool if truths else dtype).reshape(array.shape))
    return found


def _several(drawn: Drawn, arrays: list[Array]) -> Any:
    return tuple(arrays) if drawn.is_tuple else arrays[0]
