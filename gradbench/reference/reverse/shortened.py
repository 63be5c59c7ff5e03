"""A reverse pass with fewer steps, for number systems that are exact but for their last digits.

The program of a vector-Jacobian product enters, as `adjoint` writes it for those in whom nobody asks how a formula
rounds; one with the same answers leaves. Signs and factors that are numbers of the text travel along with what they
belong to until something else is done with it: (-g) (-s) is g s, and g (1 / (2 y)) twice is g / y. A cotangent that is
known to be ones is multiplied by nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from gradbench.program import Argument, Literal, Node, Program, Ref
from gradbench.reference.lifetime import needs, wanted
from gradbench.reference.reverse.adjoint import pruned

Parts = dict[Argument, float]
"""What is added up: entries, or numbers of the text, each with its factor."""
Scaled = tuple[float, Argument]
"""An entry, or a number of the text, and its factor."""

_SPREAD: Final = frozenset({"reshape", "broadcast_to", "expand_dims"})
"""What makes ones of ones."""
_LINEAR: Final = frozenset({
    "reshape", "expand_dims", "squeeze", "getitem", "put", "sum", "matrix_transpose", "permute_dims", "moveaxis", "flip",
    "roll", "tril", "triu", "diagonal", "trace", "cumulative_sum", "scatter", "take", "broadcast_to",
})  # fmt: skip
"""What may be done before a factor as well as after it; the other arguments that some have are whole numbers."""
_BILINEAR: Final = frozenset({"matmul", "vecdot", "outer", "einsum", "tensordot", "kron"})
"""What may be done before the factors of its two arguments as well as after them."""
_SMOOTH: Final = frozenset({
    "add", "subtract", "multiply", "divide", "negative", "power", "square", "sqrt", "exp", "log", "sin", "cos", "tanh",
})  # fmt: skip
"""What the function has done with the same arguments already need not be done again; it has no edge to be minded."""
_ONE: Final = Literal(1)
_SHORT: Final = 2.0**26
"""Two factors of up to so many units have an exact product."""


def shortened(program: Program, kept: int, entries: Sequence[Any], ones: str | None = None) -> Program:
    """The same with fewer steps: its names and first `kept` nodes are the same, and so are its answers.

    Args:
        program: A vector-Jacobian product.
        kept: How many nodes it takes over.
        entries: The spec of each of its entries.
        ones: The name of a cotangent that is ones, if one is.
    """
    return _Shortening(program, kept, entries, ones).result()


class _Shortening:
    """One walk over the nodes.

    Attributes:
        nodes: Of the new program.
        parts: What each entry of the old one adds up to in the new one.
        ones: Entries of the new one that are ones.
        below: What 1 is divided by in some of them.
        wanted: Entries of the old one that an output needs.
        uses: How often each of these is needed.
    """

    def __init__(self, program: Program, kept: int, entries: Sequence[Any], ones: str | None) -> None:
        self.program, self.kept, self.entries = program, kept, entries
        self.nodes = list(program.nodes[:kept])
        self.parts: list[Parts] = [{Ref(i): 1.0} for i in range(len(program.names) + kept)]
        self.ones = set() if ones is None else {Ref(program.names.index(ones))}
        self.below: dict[Argument, Argument] = {}
        self.wanted = wanted(program, kept)
        self.uses = [0] * len(entries)
        for i, node in enumerate(program.nodes, len(program.names)):
            for place in needs(node) if i in self.wanted else ():
                self.uses[place] += 1
        self.known: dict[Any, Ref] = {}
        self.origin = program.nodes[0] if program.nodes else None

    def result(self) -> Program:
        """The program."""
        base = len(self.program.names)
        for i, node in enumerate(self.program.nodes):
            if i < self.kept:
                if node.primitive in _SMOOTH:
                    self.known.setdefault((node.primitive, node.arguments, ""), Ref(base + i))
                continue
            self.origin = node
            found = self.shorter(node, base + i) if base + i in self.wanted else {}
            if len(found) > 1 and self.uses[base + i] != 1:
                factor, one = self.joined(found)
                found = {one: factor}
            self.parts.append(found)
        outputs = tuple((key, self.plain(argument)) for key, argument in self.program.outputs)
        return pruned(Program(self.program.text, self.program.names, tuple(self.nodes), outputs), self.kept)

    def append(self, primitive: str, arguments: tuple[Argument, ...], statics: tuple[tuple[str, Any], ...] = ()) -> Ref:
        """A node of the new program, unless there is the same already."""
        key = (primitive, arguments, repr(statics) if statics else "")  # a slice has no hash
        if key not in self.known:
            origin = self.origin
            assert origin is not None
            self.nodes.append(Node(primitive, arguments, statics, None, origin.line, origin.column))
            self.known[key] = Ref(len(self.program.names) + len(self.nodes) - 1)
        return self.known[key]

    def shorter(self, node: Node, index: int) -> Parts:
        """What a node of the old program adds up to."""
        name, arguments = node.primitive, node.arguments
        if name == "negative":
            return {part: -factor for part, factor in self.of(arguments[0]).items()}
        if name in {"add", "subtract"}:
            return self.added(node, index)
        if name == "multiply":
            return self.multiplied(node, index)
        if name == "divide":
            return self.divided(node)
        if name in _LINEAR and isinstance(arguments[0], Ref):
            return self.mapped(node, index)
        if name in _BILINEAR and len(arguments) == 2:
            return self.product(node, index)
        return {self.append(name, tuple(self.plain(a) for a in arguments), node.statics): 1.0}

    # Arguments

    def of(self, argument: Argument) -> Parts:
        """Its parts."""
        if isinstance(argument, Ref):
            return self.parts[argument.index]
        number = argument.value if isinstance(argument, Literal) else None
        return {argument: 1.0} if isinstance(number, complex) or not _is_short(number) else {_ONE: float(number or 0)}

    def single(self, argument: Argument) -> Scaled:
        """As one entry or number, and its factor."""
        parts = self.of(argument)
        if len(parts) == 1:
            ((one, factor),) = parts.items()
            return factor, one
        assert isinstance(argument, Ref)
        factor, one = self.joined(parts)
        self.parts[argument.index] = {one: factor}
        return factor, one

    def plain(self, argument: Argument) -> Argument:
        """As one entry or number, without a factor."""
        if isinstance(argument, tuple):
            return tuple(self.plain(part) for part in argument)
        if isinstance(argument, Literal):
            return argument
        found = self.scaled(*self.single(argument))
        self.parts[argument.index] = {found: 1.0}
        return found

    def scaled(self, factor: float, one: Argument) -> Argument:
        """A multiple, as one entry or number."""
        if factor == 1:
            return one
        if isinstance(one, Literal):  # one of many digits has a sign at most
            return Literal(-one.value if factor == -1 else _number(factor))
        if factor == -1:
            return self.append("negative", (one,))
        return self.append("multiply", (Literal(_number(factor)), one))

    def fits(self, argument: Argument, index: int) -> bool:
        """Whether it is a number, or has the shape of an entry."""
        return isinstance(argument, Literal) or self.spec(argument).shape == self.entries[index].shape

    def spec(self, argument: Argument) -> Any:
        """Of an entry of the old program; None of anything else."""
        return self.entries[argument.index] if isinstance(argument, Ref) else None

    # Sums

    def added(self, node: Node, index: int) -> Parts:
        """A sum or a difference."""
        left, right = node.arguments
        sign = -1.0 if node.primitive == "subtract" else 1.0
        found = dict(self.of(left)) if self.fits(left, index) and self.fits(right, index) else {}
        for part, factor in self.of(right).items() if found else ():
            total = found.get(part, 0.0) + sign * factor
            # Nothing is left out: it might be infinite. Two numbers aren't added up: only their sum would be exact.
            if not _is_short(total) or (isinstance(part, Literal) and any(isinstance(one, Literal) for one in found)):
                return {self.append(node.primitive, (self.plain(left), self.plain(right))): 1.0}
            found[part] = total
        if found:
            return found
        (f, x), (g, y) = self.single(left), self.single(right)
        if abs(f) != abs(g):
            return {self.append(node.primitive, (self.plain(left), self.plain(right))): 1.0}
        one, both = self.pair((math.copysign(1.0, f), x), (math.copysign(sign, sign * g), y))
        return {both: one * abs(f)}

    def joined(self, parts: Parts) -> Scaled:
        """Parts added up: those of one size first, and then these."""
        groups: dict[float, Scaled] = {}
        for part, factor in sorted(parts.items(), key=_is_number):
            size, own = abs(factor), (math.copysign(1.0, factor), part)
            groups[size] = self.pair(groups[size], own) if size in groups else own
        if len(groups) == 1:
            ((size, (sign, one)),) = groups.items()
            return sign * size, one
        found: Scaled | None = None
        for size, (sign, one) in groups.items():
            own = sign, self.scaled(size, one)
            found = own if found is None else self.pair(found, own)
        assert found is not None
        return found

    def pair(self, a: Scaled, b: Scaled) -> Scaled:
        """The sum of two of which each has a sign alone."""
        (s, x), (t, y) = a, b
        if s == t:
            return s, self.append("add", (x, y))
        return 1.0, self.append("subtract", (x, y) if s > 0 else (y, x))

    # Products

    def multiplied(self, node: Node, index: int) -> Parts:
        """A product entry by entry."""
        for one, other in (node.arguments, node.arguments[::-1]):
            if isinstance(one, Literal) and isinstance(other, Ref):
                found = _times(self.of(other), one.value)
                return self.product(node, index) if found is None else found
            factor, unit = self.single(one)
            if unit in self.ones and isinstance(other, Ref) and self.fits(other, index):
                found = _times(self.of(other), factor)
                return self.product(node, index) if found is None else found
        left, right = node.arguments
        for one, other in ((left, right), (right, left)):
            (f, x), (g, y) = self.single(one), self.single(other)
            is_own = isinstance(other, Ref) and self.uses[other.index] == 1 and self.fits(other, index)
            if is_own and y in self.below and self.fits(one, index) and _is_short(f * g):
                return {self.append("divide", (x, self.below[y])): f * g}
        return self.product(node, index)

    def product(self, node: Node, index: int) -> Parts:
        """A product of whatever kind. A factor stays with the argument that has few entries."""
        (f, x), (g, y) = (self.single(argument) for argument in node.arguments)
        if not _is_short(f * g) or isinstance(x, Literal) or isinstance(y, Literal):
            return {self.append(node.primitive, tuple(map(self.plain, node.arguments)), node.statics): 1.0}
        factor, size = f * g, self.entries[index].size
        sizes = [self.spec(argument).size for argument in node.arguments]
        if abs(factor) != 1 and 2 * min(sizes) < size:
            if sizes[0] < sizes[1]:
                x = self.scaled(abs(factor), x)
            else:
                y = self.scaled(abs(factor), y)
            factor = math.copysign(1.0, factor)
        return {self.append(node.primitive, (x, y), node.statics): factor}

    def divided(self, node: Node) -> Parts:
        """A quotient."""
        left, right = node.arguments
        if isinstance(right, Literal):
            found = _times(self.of(left), 1 / right.value) if _is_power(right.value) else None
            f, x = self.single(left)
            return {self.append("divide", (x, right)): f} if found is None else found
        (f, x), (g, y) = self.single(left), self.single(right)
        if not (_is_power(g) and _is_short(f / g)):
            g, y = 1.0, self.plain(right)
        one = self.append("divide", (x, y))
        if x == _ONE:
            self.below[one] = y
        return {one: f / g}

    def mapped(self, node: Node, index: int) -> Parts:
        """A linear function of its first argument; a factor isn't moved to where there are many more entries."""
        first, *rest = node.arguments
        factor, one = self.single(first)
        if one not in self.ones and abs(factor) != 1 and self.entries[index].size > 2 * self.spec(first).size:
            factor, one = 1.0, self.plain(first)
        found = self.append(node.primitive, (one, *(self.plain(a) for a in rest)), node.statics)
        if one in self.ones and node.primitive in _SPREAD:
            self.ones.add(found)
        return {found: factor}


def _is_number(part: tuple[Argument, float]) -> bool:
    return isinstance(part[0], Literal)


def _times(parts: Parts, number: Any) -> Parts | None:
    """A multiple of some parts; None where that isn't exact."""
    if not _is_short(number) or any(isinstance(part, Literal) and part != _ONE for part in parts):
        return None
    found = {part: factor * float(number) for part, factor in parts.items()}
    return found if all(map(_is_short, found.values())) else None


def _is_short(number: Any) -> bool:
    """Whether a number has few digits, and isn't 0."""
    if isinstance(number, complex) or not number or not math.isfinite(number):
        return False
    return bool((math.frexp(number)[0] * _SHORT).is_integer())


def _is_power(number: Any) -> bool:
    """Whether a number is a power of two."""
    return _is_short(number) and abs(math.frexp(number)[0]) == 0.5


def _number(factor: float) -> int | float:
    """Whole where it is whole: numbers of the text are."""
    return int(factor) if factor == int(factor) and abs(factor) < 2**53 else factor
