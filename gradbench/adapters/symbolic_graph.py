"""Symbolic differentiation from scratch: a graph whose derivative is another graph.

A function of numbers is a graph of constants, variables and operations on other nodes. Its derivative by a variable
follows from the chain rule, node by node,

    ∂f(u, v)/∂x = ∂u/∂x · f₁(u, v) + ∂v/∂x · f₂(u, v),    as in    ∂sin(x²)/∂x = 2 x · cos(x²),

and is made of the same nodes, so it can be differentiated again, as often as one likes. Two things keep it small. What
0 and 1 make superfluous is never made, nor is what can be said shorter; and equal nodes are one node, each with its
derivative written down once, so that a graph is shared where an expression would be repeated.

A graph is read as mathematics, `str(graph)`, and calculated node by node. What a function's derivative is stands in
`gradbench.calculus`; this file is the rest, and the adapter `symbolic` puts it to use.

Sources: Kahrimanian (1953), Analytical differentiation by a digital computer; Nolan (1953), Analytical differentiation
on a digital computer; Ershov (1958), On programming of arithmetic operations, for equal nodes that are one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np

from gradbench.adapters.symbolic_text import text
from gradbench.calculus import CHOICES, FLAT, MISSING, PARTIALS, PLAIN, SLOPES, Spelled
from gradbench.errors import Unsupported

MAX_NODES: Final = 50_000
"""In one graph."""


class Graph(Spelled):
    """A node, and all that it is made of.

    Attributes:
        word: The primitive; `variable` or `constant`.
        parts: The nodes that it is applied to.
        statics: What it is told beside, as pairs; the name of a variable; the number that a constant is.
        derivatives: Those that are known, by variable.
    """

    def __init__(self, word: str, parts: tuple[Graph, ...], statics: Any) -> None:
        self.word, self.parts, self.statics = word, parts, statics
        self.derivatives: dict[Graph, Graph] = {}

    def __str__(self) -> str:
        """As mathematics."""
        return text(self)


_KNOWN: Final[WeakValueDictionary[Any, Graph]] = WeakValueDictionary()


def _node(word: str, parts: tuple[Graph, ...] = (), statics: Any = ()) -> Graph:
    """The one node of its kind."""
    key = (word, tuple(map(id, parts)), repr(statics))
    found = _KNOWN.get(key)
    if found is None:
        found = _KNOWN[key] = Graph(word, parts, statics)
    return found


def variable(name: str) -> Graph:
    """The variable of that name."""
    return _node("variable", (), name)


def constant(number: Any) -> Graph:
    """A number; a whole one as an integer, so that x**2.0 is x**2. A graph is left as it is.

    Raises:
        Unsupported: It is complex.
    """
    if isinstance(number, Graph):
        return number
    value = number.item() if isinstance(number, np.generic) else number
    if isinstance(value, complex):
        raise Unsupported("graphs of complex numbers")
    value = value if isinstance(value, bool | int | float) else float(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 and str(value) != "-0.0":
        value = int(value)
    return _node("constant", (), value)


ONE: Final = constant(1)


# Simplification. Numbers are put together only where no digit is lost.


def _number(node: Graph) -> Any:
    """The number that a node is, or None."""
    return node.statics if node.word == "constant" and type(node.statics) is not bool else None


def _shares(node: Graph) -> tuple[Any, Graph]:
    """The number that a node begins with, and the rest: 2*x is 2 and x."""
    if node.word == "negative":
        return -1, node.parts[0]
    if node.word == "multiply" and _number(node.parts[0]) is not None:
        return node.parts[0].statics, node.parts[1]
    number = _number(node)
    return (1, node) if number is None else (number, ONE)


def _exact(found: float, *terms: float, product: bool = False) -> bool:
    """Whether a sum or product of numbers is what it should be."""
    if not all(map(math.isfinite, (found, *terms))):
        return False
    true = math.prod(map(Fraction, terms)) if product else sum(map(Fraction, terms))
    return true == Fraction(found) and (isinstance(found, float) or abs(found) < 2**53)


def _add(x: Graph, y: Graph) -> Graph:
    if _number(x) == 0 or _number(y) == 0:
        return y if _number(x) == 0 else x
    (m, u), (n, v) = _shares(x), _shares(y)
    if u is v and _exact(m + n, m, n):
        return _multiply(constant(m + n), u)
    if n < 0:
        return _subtract(x, _negative(y))
    return _subtract(y, _negative(x)) if m < 0 else _node("add", (x, y))


def _subtract(x: Graph, y: Graph) -> Graph:
    if _number(x) == 0 or _number(y) == 0:
        return _negative(y) if _number(x) == 0 else x
    (m, u), (n, v) = _shares(x), _shares(y)
    if u is v and _exact(m - n, m, -n):
        return _multiply(constant(m - n), u)
    return _add(x, _negative(y)) if n < 0 else _node("subtract", (x, y))


def _negative(x: Graph) -> Graph:
    if x.word == "subtract":
        return _subtract(x.parts[1], x.parts[0])
    m, u = _shares(x)
    return _times(-m, u)


def _multiply(x: Graph, y: Graph) -> Graph:
    (m, u), (n, v) = _shares(x), _shares(y)
    if _exact(m * n, m, n, product=True):
        return _times(m * n, _product(u, v))
    return _times(m, _times(n, _product(u, v)))


def _times(number: float, x: Graph) -> Graph:
    """A number and a graph; of a graph that begins with one itself the digits might be lost."""
    if number == 0 or x is ONE:
        return constant(number)
    if number == 1:
        return x
    return _node("negative", (x,)) if number == -1 else _node("multiply", (constant(number), x))


def _product(x: Graph, y: Graph) -> Graph:
    """Of two graphs that begin with no number: powers of one base are gathered, and 1/z goes below the line."""
    if x is ONE or y is ONE:
        return y if x is ONE else x
    for one, below in ((x, y), (y, x)):
        if below.word == "divide" and below.parts[0] is ONE:
            return _divide(one, below.parts[1])
    (base, m), (other, n) = _power_of(x), _power_of(y)
    if base is other:
        return _power(base, constant(m + n))
    return _node("multiply", (x, y))


def _power_of(x: Graph) -> tuple[Graph, int]:
    """The base and the whole exponent, above 0, of a power; anything else is its own first power."""
    if x.word == "power" and isinstance(n := _number(x.parts[1]), int) and n > 0:
        return x.parts[0], n
    return x, 1


def _divide(x: Graph, y: Graph) -> Graph:
    if _number(y) == 1:
        return x
    (m, u), (n, v) = _shares(x), _shares(y)
    if u is ONE and v is ONE and n != 0 and _exact(m, n, m / n, product=True):
        return constant(m / n)
    if m == 0 and n != 0:
        return x
    if n < 0:
        return _negative(_divide(x, _negative(y)))
    if m < 0:
        return _negative(_divide(_negative(x), y))
    if isinstance(m, int) and isinstance(n, int) and n > 1 and m % n == 0:
        return _times(m // n, _divide(u, v))
    if m != 1 and u is not ONE:
        return _times(m, _divide(u, y))
    return _node("divide", (x, y))


def _power(x: Graph, y: Graph) -> Graph:
    if _number(y) == 0:
        return ONE
    return x if _number(y) == 1 else _node("power", (x, y))


def _where(condition: Graph, x: Graph, y: Graph) -> Graph:
    if condition.word == "constant":
        return x if condition.statics else y
    return x if x is y else _node("where", (condition, x, y))


_SHORTER: Final[Mapping[str, Callable[..., Graph]]] = {
    "add": _add,
    "subtract": _subtract,
    "negative": _negative,
    "multiply": _multiply,
    "divide": _divide,
    "power": _power,
    "square": lambda x: _power(x, constant(2)),
    "reciprocal": lambda x: _divide(ONE, x),
    "where": _where,
}


def _word(name: str) -> Callable[..., Any]:
    """A primitive on graphs."""

    def word(*parts: Any, **statics: Any) -> Any:
        if any(isinstance(part, np.ndarray) for part in parts):
            return NotImplemented  # NumPy does it entry by entry
        nodes = tuple(map(constant, parts))
        return _SHORTER[name](*nodes) if name in _SHORTER else _node(name, nodes, tuple(statics.items()))

    return word


NODES: Final = SimpleNamespace(**{name: _word(name) for name in {*SLOPES, *PARTIALS, *CHOICES, *FLAT}})
"""The primitives on graphs, one number each."""

Graph.words = NODES


# Differentiation and calculation, each along the nodes in their order


def order(graphs: Iterable[Graph]) -> list[Graph]:
    """Every node that the graphs are made of, each once, after what it is made of itself.

    Raises:
        Unsupported: There are too many.
    """
    found: dict[Graph, None] = {}
    todo = list(graphs)
    while todo:
        missing = [part for part in todo[-1].parts if part not in found]
        if missing:
            todo.extend(missing)
        else:
            found[todo.pop()] = None
            if len(found) > MAX_NODES:
                raise Unsupported(f"a graph of more than {MAX_NODES} nodes")
    return list(found)


def gradient(graph: Graph, by: Graph) -> Graph:
    """The derivative of a graph by a variable: a graph.

    Raises:
        Unsupported: There is no formula for a derivative in it.
    """
    if by not in graph.derivatives:
        for node in order([graph]):
            if by not in node.derivatives:
                node.derivatives[by] = _derivative(node, by)
    return graph.derivatives[by]


def _derivative(node: Graph, by: Graph) -> Graph:
    """Of a node whose parts have theirs."""
    if node.word in {"variable", "constant", *FLAT}:
        return constant(int(node is by))
    inner = [part.derivatives[by] for part in node.parts]
    if node.word in CHOICES:
        return _where(CHOICES[node.word](NODES, *node.parts), *inner[-2:])
    rules = (SLOPES[node.word],) if node.word in SLOPES else PARTIALS[node.word]
    parts: list[Any] = list(node.parts)
    if node.word == "power" and _number(parts[1]) is not None:
        parts[1] = _number(parts[1])  # an exponent that is a number is wanted as one
    total = constant(0)
    for slope, rule in zip(inner, rules, strict=True):
        if _number(slope) == 0 or rule is None:
            continue
        if rule == MISSING:
            raise Unsupported(f"the derivative of {node.word} by its first argument has no formula here")
        total = _add(total, _multiply(slope, constant(rule(NODES, node, *parts, **dict(node.statics)))))
    return total


def calculate(graphs: Sequence[Graph], values: Mapping[Graph, Any], dtype: np.dtype[Any]) -> list[Any]:
    """The numbers that graphs are where the variables have the given ones; a constant is rounded to the dtype."""
    known: dict[Graph, Any] = dict(values)
    with np.errstate(all="ignore"):
        for node in order(graphs):
            if node.word == "constant":
                known[node] = np.asarray(node.statics, bool if isinstance(node.statics, bool) else dtype)[()]
            elif node not in known:
                known[node] = PLAIN[node.word](*(known[part] for part in node.parts), **dict(node.statics))
    return [known[graph] for graph in graphs]
