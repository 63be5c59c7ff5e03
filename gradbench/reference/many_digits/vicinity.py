"""A program at the inputs of a query and close to them, with as many digits as one likes.

A query and its program enter; the program's values at displaced inputs leave, its own value as components, and its
derivatives along axes. What that costs is counted, and bounded.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from gradbench.errors import Unsupported
from gradbench.primitives import VOCABULARY
from gradbench.program import Literal, Program, evaluate, references, trace
from gradbench.query import Array, Operator, Query
from gradbench.record import Status
from gradbench.reference.many_digits.multiprecision import Vocabulary
from gradbench.reference.many_digits.quotient import NOTHING, Axis, Component, Direction, Exhausted, Number, Quotients
from gradbench.wire import FORMATS

MAX_INPUTS: Final = 200
"""Entries of all inputs together: every one of them is moved by itself."""

MAX_CONSTANTS: Final = 50_000
"""Entries of all constants together."""

BUDGET: Final = 5_000_000
"""Steps of arithmetic, about; some seconds."""

SEED: Final = 20_260_101
"""Of the generic directions."""

PRECISION: Final = 512
"""Bits, of what is done with the answers."""

_VALUE_BITS: Final = ((200, 340), (1_400, 2_000))
_EXPENSIVE: Final = {"zeta": 1500, "gammainc": 150, "erfinv": 300, "ndtri": 300, "svdvals": 300, "eigvalsh": 300}
_CHEAP: Final = {
    "abs", "negative", "sign", "square", "reciprocal", "floor", "ceil", "trunc", "round", "clip",
    "relu", "relu6", "leaky_relu", "real", "imag", "conj",
}  # fmt: skip
_CUT_OF_REALS: Final = frozenset({"atan2", "angle"})
_CUT: Final = _CUT_OF_REALS | {
    "sqrt", "rsqrt", "cbrt", "power", "log", "log2", "log10", "log1p", "asin", "acos", "atan", "asinh", "acosh", "atanh",
    "logit", "entr", "xlogy", "xlog1py", "gammaln", "logaddexp", "logsumexp", "softplus", "log_sigmoid", "erfinv",
}  # fmt: skip
"""What has a cut, the side of which NumPy and C tell by the sign of a zero."""
_TOPICS: Final = {"special": 50, "elementary": 8, "activations": 16, "linear algebra": 2}


class Vicinity:
    """A program at the inputs of a query, and close to them.

    Attributes:
        mp: The mpmath context; bare arithmetic is done in `PRECISION` bits.
        shape: Of the function's value.
        is_complex, in_plane: Whether complex numbers may occur at all, and whether an input is one.
        count: Entries of all inputs together, in order.
        places: Where in them an input's entries are.
        evaluations, bits: How often the program was run, and the most bits it was run in.
    """

    def __init__(self, query: Query, program: Program) -> None:
        arrays = [*query.inputs.values(), *query.constants.values()]
        self.query, self.program = query, program
        self.is_complex = any(array.dtype.kind == "c" for array in arrays) or query.dtype.startswith("complex")
        self.in_plane = any(array.dtype.kind == "c" for array in query.inputs.values())
        self.count = sum(array.size for array in query.inputs.values())
        if self.count > MAX_INPUTS and query.operator is not Operator.VALUE:
            raise Unsupported(f"{self.count} entries of the inputs, of at most {MAX_INPUTS}")
        if sum(array.size for array in arrays) > MAX_CONSTANTS:
            raise Unsupported(f"more than {MAX_CONSTANTS} entries of the inputs and constants")
        cut = sorted((_CUT if self.is_complex else _CUT_OF_REALS).intersection(program.primitives))
        if cut and any(map(_has_negative_zero, arrays)):
            raise Unsupported(f"{cut[0]} of a negative zero, which has no sign with many digits")
        self.vocabulary = Vocabulary(FORMATS[query.dtype], is_complex=self.is_complex)
        missing = sorted(set(program.primitives) - set(self.vocabulary.ops))
        if missing:
            raise Unsupported(f"it has no {', '.join(missing)}")
        self.mp: Any = self.vocabulary.context
        self.mp.prec = PRECISION
        self.start = [x for array in query.inputs.values() for x in self.vocabulary.exact(array).reshape(-1)]
        self.constants = {name: self.vocabulary.exact(array) for name, array in query.constants.items()}
        self.places: dict[str, slice] = {}
        for name, array in query.inputs.items():
            begin = sum(query.inputs[other].size for other in self.places)
            self.places[name] = slice(begin, begin + array.size)
        self.guard = self._guard()
        self.known: dict[Hashable, list[Number]] = {}
        self.evaluations, self.bits, self.spent = 0, 0, 0
        self.cost, self.fine_cost = 0, 0
        self.shape: tuple[int, ...] = ()
        first = self._run({}, _VALUE_BITS[0][0])
        self.is_defined_there = all(self.mp.isfinite(x) for x in [*self.start, *first])
        random = np.random.default_rng(SEED)
        signs, sizes = random.choice([-1.0, 1.0], (4, self.count)), random.uniform(0.5, 1.5, (4, self.count))
        self.generic = [
            {i: self.mp.ldexp(self.mp.mpf(x), self._scale(i)) for i, x in enumerate(row)} for row in signs * sizes
        ]

    def _guard(self) -> int:
        """The bits between the largest number around and the smallest: their sum is to keep both."""
        query = self.query
        arrays = [*query.inputs.values(), *query.constants.values(), *(query.tangents or {}).values()]
        sizes = [abs(x) for array in arrays if array.dtype.kind in "fcV" for x in _wide(array).reshape(-1)]
        sizes += [abs(a.value) for node in self.program.nodes for a in node.arguments if isinstance(a, Literal)]
        exponents = [math.frexp(size)[1] for size in sizes if size and math.isfinite(size)]
        return max([0, *exponents]) - min([0, *exponents])

    def _scale(self, i: int) -> int:
        """The binary exponent of how far entry i may be thought to move: up to its own size, and to 1."""
        size = abs(self.start[i])
        return min(0, self.mp.mag(size) - 1) if size and self.mp.isfinite(size) else 0

    # Directions

    def entry(self, i: int, order: int = 1) -> Axis:
        """Along one entry of the inputs."""
        return Axis(i, {i: self.mp.one}, self._scale(i), order)

    def towards(self, key: Hashable, direction: Direction) -> Axis:
        """Along a direction, as far as none of the entries moves further than by itself."""
        moving = [(i, move) for i, move in direction.items() if move]
        scales = [self._scale(i) - self.mp.mag(move) for i, move in moving if self.mp.isfinite(move)]
        return Axis(key, dict(moving), min(scales, default=0))

    def tangents(self) -> Direction:
        """The tangents of the query, entry by entry."""
        if self.query.tangents is None:
            raise Unsupported(f"a {self.query.operator} without tangents")
        arrays = [self.query.tangents[name] for name in self.query.inputs]
        return dict(enumerate(x for array in arrays for x in self.vocabulary.exact(array).reshape(-1)))

    # Values

    def needs_scalar(self) -> None:
        """Raises `Unsupported` unless the function's value is one number."""
        if self.shape:
            raise Unsupported(f"a {self.query.operator} of an output of shape {list(self.shape)}")

    def zero(self) -> list[Number]:
        """The values at the point itself."""
        return self.evaluate("zero", {}, _VALUE_BITS[0][0], fine=False)

    def evaluate(self, key: Hashable, moved: Direction, bits: int, *, fine: bool) -> list[Number]:
        """The function's values, displaced; for a vjp the one number that is pulled back.

        Args:
            key: What it is kept under.
            moved: By entry of the inputs.
            bits: Of precision.
            fine: Whether it is worth its price only as far as the budget goes.

        Raises:
            Exhausted: It is fine, and the budget is spent.
            Unsupported: A primitive that has no complex meaning.
        """
        if key not in self.known:
            if fine:
                self.spent += self.fine_cost
                if self.spent > BUDGET:
                    raise Exhausted
            self.known[key] = self._run(moved, bits)
        return self.known[key]

    def plan(self, evaluations: int) -> None:
        """Sets aside what the coarse evaluations will take.

        Raises:
            Unsupported: That is more than there is.
        """
        self.spent += evaluations * self.cost
        if self.spent > BUDGET:
            raise Unsupported(f"{self.spent} steps of arithmetic, of at most {BUDGET}")

    def _run(self, moved: Direction, bits: int) -> list[Number]:
        query, mp = self.query, self.mp
        bits += self.guard
        self.evaluations, self.bits = self.evaluations + 1, max(self.bits, bits)
        with mp.workprec(bits):
            entries = [x + moved[i] if i in moved else x for i, x in enumerate(self.start)]
            values = dict(self.constants)
            for name, array in query.inputs.items():
                box = np.empty(array.size, object)
                box[:] = entries[self.places[name]]
                values[name] = box.reshape(array.shape)
            try:
                if not self.cost:
                    self._measure(values)
                found = self.vocabulary.exact(evaluate(self.program, self.vocabulary.ops, values))
            except TypeError as error:
                if not self.is_complex:
                    raise
                raise Unsupported(f"complex numbers have no order: {error}") from None
            self.shape = found.shape
            flat = [mp.mpf(bool(x)) if found.dtype == bool else x for x in found.reshape(-1)]
            if query.operator is Operator.VJP:
                return [self._pulled(flat)]
            return [mp.re(x) for x in flat] if query.operator is Operator.GRADIENT else flat

    def _measure(self, values: Mapping[str, Any]) -> None:
        """Counts the steps of arithmetic of one run, weighted by what they take."""
        entries = trace(self.program, self.vocabulary.ops, values)
        self.cost = 1
        for node, entry in zip(self.program.nodes, entries[len(self.program.names) :], strict=True):
            if node.primitive not in VOCABULARY:
                continue
            topic = VOCABULARY[node.primitive].topic
            size = sum(np.size(array) for array in (entry if isinstance(entry, tuple) else (entry,)))
            if topic == "linear algebra":  # n k m for the product of (n, k) and (k, m), n^3 for one (n, n)
                sizes = sorted(np.size(entries[ref.index]) for ref in references(node.arguments))[-2:]
                largest = max([size, *sizes])
                size = math.isqrt(size * math.prod(sizes) if len(sizes) == 2 else largest**3)
            weight = 1 if node.primitive in _CHEAP else _EXPENSIVE.get(node.primitive, _TOPICS.get(topic, 1))
            self.cost += size * weight
            self.fine_cost += size * weight * (2 if weight <= 2 else 12)

    def _pulled(self, flat: Sequence[Number]) -> Number:
        weights = self.query.cotangent
        if weights is None or weights.shape != self.shape:
            raise Unsupported("a vjp without a cotangent of the output's shape")
        exact = self.vocabulary.exact(weights).reshape(-1)
        # What has no weight has no say, even where it isn't a number.
        total = sum((w * x for w, x in zip(exact, flat, strict=True) if w), self.mp.zero)
        return self.mp.re(total) if self.is_complex else total

    def value(self) -> list[Component]:
        """The function itself."""
        mp, found = self.mp, []
        for fine, (one, two) in enumerate(_VALUE_BITS):
            try:
                a, b = (self.evaluate(("value", bits), {}, bits, fine=bool(fine)) for bits in (one, two))
            except Exhausted:
                break
            found = [self._settled(x, y, two) for x, y in zip(a, b, strict=True)]
            if all(part.status is not Status.UNDECIDED for part in found):
                break
        finite = all(mp.isfinite(x) for x in self.start)
        return [Component(Status.SINGULAR, x.centre, mp.inf) if finite and mp.isinf(x.centre) else x for x in found]

    def _settled(self, one: Number, two: Number, bits: int) -> Component:
        mp = self.mp
        if mp.isnan(two):
            return Component(Status.SINGULAR, mp.nan, mp.inf)
        if mp.isinf(two):
            return Component(Status.PRECISE, two, mp.zero)
        away = abs(one - two) + mp.ldexp(abs(two), 20 - bits)
        if away <= mp.ldexp(abs(two), -83):
            return Component(Status.PRECISE, two, away)
        if max(abs(one), abs(two)) <= mp.ldexp(1, -NOTHING):
            return Component(Status.PRECISE, 0 * two, away + abs(two))
        return Component(Status.UNDECIDED, two, mp.inf)

    # Derivatives

    def derivative(self, axes: Sequence[Axis]) -> list[Component]:
        """The derivative of each value along the axes."""
        if not self.is_defined_there:
            return [Component(Status.SINGULAR, self.mp.nan, self.mp.inf) for _ in self.zero()]
        if self.in_plane and sum(axis.order for axis in axes) > 1:
            raise Unsupported("second derivatives of complex functions")
        return self.quotients(axes).components()

    def quotients(self, axes: Sequence[Axis]) -> Quotients:
        """How derivatives along these axes are found."""
        return Quotients(self.mp, self.evaluate, axes, self.generic)

    def beside(self, columns: Sequence[Sequence[Component]]) -> list[list[Component]]:
        """The first derivatives, by entry, of a function that has them all and yet is not differentiable."""
        gone = Component(Status.UNDECIDED, self.mp.nan, self.mp.inf)
        try:
            found = [self._beside(i, column) for i, column in enumerate(columns)]
        except Exhausted:
            return [[replace(gone, centre=one.centre) for one in column] for column in columns]
        if all(one.status is Status.PRECISE for column in found for one in column):
            return [[replace(gone, centre=one.centre) for one in column] for column in columns]
        return found

    def _beside(self, i: int, column: Sequence[Component]) -> list[Component]:
        mp, quotients, found = self.mp, self.quotients([self.entry(i)]), []
        for k, one in enumerate(column):
            sides = [quotients.tendency(side, k) for side in (*quotients.sides.values(), *quotients.surroundings)]
            same = [side is not None and abs(side - one.centre) <= one.radius + mp.ldexp(1, -60) for side in sides]
            if one.status is not Status.PRECISE or all(same):
                found.append(one)
            elif any(side is None or not mp.isfinite(side) for side in sides):
                found.append(Component(Status.UNDECIDED, one.centre, mp.inf))
            else:
                lower, upper = min(*sides, one.centre), max(*sides, one.centre)
                found.append(Component(Status.KINK, one.centre, upper - lower, lower, upper, lower, upper))
        return found


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _has_negative_zero(array: Array) -> bool:
    wide = _wide(array)
    if wide.dtype.kind == "c":
        return _has_negative_zero(wide.real) or _has_negative_zero(wide.imag)
    return bool(np.any((wide == 0) & np.signbit(wide)))
