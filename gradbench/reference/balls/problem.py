"""`Problem`: a query as ball arithmetic sees it, and its reverse passes.

A query and its program enter; the program with its numbers rounded, the point as exact balls, and enclosures of
derivatives by reverse passes leave. This is the first of the two rule sets of the certified reference.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import flint
import numpy as np

from gradbench import shapes
from gradbench.errors import Unsupported
from gradbench.program import Program, Ref, references, resolve
from gradbench.query import Array, Operator, Query
from gradbench.reference.balls.lift import Balls, boxed, filled, lift, zeros
from gradbench.reference.balls.route import Route
from gradbench.reference.balls.sweep import Deadline, Sweep
from gradbench.reference.power_series.first_order import FirstOrder
from gradbench.reference.reverse.adjoint import adjoint, cotangents, derived, recorded
from gradbench.reference.reverse.shortened import shortened
from gradbench.shapes import Spec

arb = flint.arb
Vector = dict[str, Balls]
"""An array of balls for each input, of its shape."""


class Passes:
    """A function and the programs of its derivatives, each derived when it is first asked for.

    Attributes:
        program: The function; its numbers are exact.
        inputs: The names it is differentiated by.
        specs: For each of its names the shape and kind.
        shape: Of the output.
        size: How many components all its steps have together.
        work: The same, with a matrix that is solved or decomposed counted by its operations.
    """

    def __init__(self, program: Program, inputs: tuple[str, ...], specs: Mapping[str, Spec]) -> None:
        self.program, self.inputs, self.specs = program, inputs, specs
        self._entries = entries = shapes.infer(program, specs)
        self.shape = _output(program, specs, entries)
        sizes = [sum(one.size for one in (e if isinstance(e, tuple) else (e,))) for e in entries]
        self.size = sum(sizes)
        self.work = self.size + sum(
            _cube(entries[node.arguments[0].index])
            for node in program.nodes
            if node.primitive in _CUBIC and isinstance(node.arguments[0], Ref)
        )
        self._routes: dict[tuple[str, bool], Route] = {}
        self._sizes: dict[Operator, int] = {}
        self._constants: dict[str, tuple[Array, Any, bool]] = {}

    @functools.cached_property
    def _derived(self) -> tuple[Program, list[Any]]:
        """The program of the vector-Jacobian product as it is derived, and the spec of each of its entries."""
        return derived(self.program, self._entries, self.inputs, exact=True)

    @functools.cached_property
    def reverse(self) -> Program:
        """The program of the vector-Jacobian product.

        Raises:
            Unsupported: A primitive has no reverse rule.
        """
        program, entries = self._derived
        return shortened(program, len(self.program.nodes), entries)

    @functools.cached_property
    def gradient(self) -> Program:
        """The same for a cotangent of ones."""
        program, entries = self._derived
        return shortened(program, len(self.program.nodes), entries, self.seed)

    @functools.cached_property
    def seed(self) -> str:
        """The name of the cotangent in it."""
        (seed,) = cotangents(self.program, self._derived[0])
        return seed

    @functools.cached_property
    def one(self) -> Balls:
        """A cotangent of ones."""
        found = filled(self.shape, 1)
        found.flags.writeable = False
        return found

    @functools.cached_property
    def twice(self) -> Program:
        """The reverse pass of the reverse pass, by the inputs."""
        specs = {**self.specs, self.seed: Spec(self.shape)}
        program, entries = derived(self.reverse, recorded(self.reverse, specs).entries, self.inputs, exact=True)
        return shortened(program, len(self.reverse.nodes), entries)

    @functools.cached_property
    def pushed(self) -> Program:
        """The reverse pass of the reverse pass, by the cotangent: the Jacobian-vector product."""
        return adjoint(self.reverse, (self.seed,), {**self.specs, self.seed: Spec(self.shape)}, exact=True)

    @functools.cached_property
    def unconnected(self) -> frozenset[str]:
        """The names that the output doesn't depend on."""
        return self.program.unconnected()

    @functools.cached_property
    def line(self) -> FirstOrder:
        """The function along lines, for the other rule set."""
        return FirstOrder(self.program)

    @functools.cached_property
    def factors(self) -> frozenset[str]:
        """The constant matrices that nothing but matrix products use."""
        matrices = {i for i, name in enumerate(self.program.names) if len(self.specs[name].shape) == 2}
        others = [
            ref for node in self.program.nodes if node.primitive != "matmul" for ref in references(node.arguments)
        ]
        others += [ref for _, output in self.program.outputs for ref in references(output)]
        found = {self.program.names[i] for i in matrices - {ref.index for ref in others}}
        return frozenset(found.difference(self.inputs))

    def shape_of(self, operator: Operator, key: str) -> tuple[int, ...]:
        """Of the answer to an operator under one of its keys."""
        return operator.shape(key, {name: self.specs[name].shape for name in self.inputs}, self.shape)

    def size_of(self, query: Query) -> int:
        """How many components the answer has."""
        operator = query.operator
        if operator not in self._sizes:
            self._sizes[operator] = sum(math.prod(self.shape_of(operator, key)) for key in query.keys)
        return self._sizes[operator]

    def point(self, arrays: Mapping[str, Array]) -> tuple[dict[str, Any], bool]:
        """The names' values as exact balls, and whether all constants are finite.

        Constants that are those of the last time are taken from there.
        """
        found, are_finite = {}, True
        for name, array in arrays.items():
            if name in self.inputs:
                found[name] = exact(array, moving=True)
                continue
            last = self._constants.get(name)
            if last is None or not np.array_equal(last[0], array):
                is_finite = array.dtype.kind in "biu" or bool(np.isfinite(wide(array)).all())
                last = array.copy(), exact(array, moving=False, factor=name in self.factors), is_finite
                if array.size <= _KEPT:
                    self._constants[name] = last
            found[name] = last[1]
            are_finite = are_finite and last[2]
        return found, are_finite

    def place(self, ref: Ref, program: Program) -> int:
        """Where an entry of the function is in the program of a derivative, which has more names."""
        names = len(self.program.names)
        return ref.index if ref.index < names else ref.index + len(program.names) - names

    def sweep(self, which: str = "program", *, sure: bool = False) -> Sweep:
        """A new sweep over the function, or over one of the others by its name, where every value is sure to be finite or not."""
        sure = sure and which != "program"
        if (which, sure) not in self._routes:
            program = getattr(self, which)
            # The reverse pass of the reverse pass starts with the nodes of that; the others with the function's.
            forward = len((self.reverse if which == "twice" else self.program).nodes)
            kept = {self.place(ref, program) for ref in references(self.program.output)}
            self._routes[which, sure] = Route(program, self.inputs, forward, kept, sure=sure)
        return Sweep(self._routes[which, sure])


@dataclass(frozen=True, eq=False)
class Problem:
    """A function at a point.

    Attributes:
        passes: The function, and the programs of its derivatives.
        values: For each name an array of exact balls; constants of whole numbers and conditions as NumPy has them.
        deadline: When to stop.
        is_placed: Whether every input is finite.
        is_finite: Whether every value is, constants too.
    """

    passes: Passes
    values: Mapping[str, Any]
    deadline: Deadline
    is_placed: bool = True
    is_finite: bool = False

    @property
    def program(self) -> Program:
        """The function."""
        return self.passes.program

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names it is differentiated by."""
        return self.passes.inputs

    @property
    def specs(self) -> Mapping[str, Spec]:
        """For each name the shape and kind."""
        return self.passes.specs

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output."""
        return self.passes.shape

    @property
    def sizes(self) -> dict[str, int]:
        """How many components each input has."""
        return {name: self.specs[name].size for name in self.inputs}

    def units(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Each component of each input, in order."""
        for name in self.inputs:
            for index in np.ndindex(*self.specs[name].shape):
                yield name, index

    def unit(self, name: str, index: tuple[int, ...]) -> Vector:
        """The direction of one component."""
        found = self.nothing()
        found[name][index] = arb(1)
        return found

    def nothing(self) -> Vector:
        """The direction of length 0."""
        return {name: zeros(self.specs[name].shape) for name in self.inputs}

    def moved(self, direction: Vector, step: Any) -> Problem:
        """The same function a step along a direction."""
        values = {name: boxed(self.values[name] + direction[name] * step) for name in self.inputs}
        return replace(self, values={**self.values, **values})

    def value(self) -> tuple[Balls, Sweep]:
        """The function itself, and the sweep that found it."""
        sweep = self.passes.sweep()
        return sweep.run(self.values, self.deadline)[""], sweep

    def output(self, sweep: Sweep) -> Balls:
        """The function itself, out of a sweep over it or over one of its derivatives, which all start with its nodes."""
        argument = self.program.output
        if isinstance(argument, Ref):
            place = self.passes.place(argument, sweep.program)
            found = sweep.entries[place]
            return lift(sweep.whole()[place] if found is None else found)
        return lift(resolve(argument, sweep.entries, lift))

    def pullback(self, cotangent: Balls, *, ones: bool = False) -> tuple[Vector, Sweep]:
        """The cotangent, which may be known to be ones, times the Jacobian; and the sweep that found it."""
        sweep = self.passes.sweep("gradient" if ones else "reverse", sure=self.is_finite)
        return sweep.run({**self.values, self.passes.seed: cotangent}, self.deadline), sweep

    def jacobian(self) -> tuple[Vector, Sweep]:
        """Row by row; arrays of shape y + x."""
        sweep = self.passes.sweep("reverse")
        found = {name: zeros((*self.shape, *self.specs[name].shape)) for name in self.inputs}
        for row, index in enumerate(np.ndindex(*self.shape)):
            cotangent = zeros(self.shape)
            cotangent[index] = arb(1)
            seed = {self.passes.seed: cotangent}
            values = {**self.values, **seed}
            back = sweep.again(seed, self.deadline) if row else sweep.run(values, self.deadline, whole=True)
            for name in self.inputs:
                found[name][index] = back[name][()]
        return found, sweep

    def pushforward(self, tangents: Vector) -> tuple[Balls, Sweep]:
        """The Jacobian times the tangents, by two reverse passes."""
        seed, sweep = self.passes.seed, self.passes.sweep("pushed")
        values = {**self.values, seed: zeros(self.shape), **self._tangents(sweep.program, tangents)}
        return sweep.run(values, self.deadline)[seed], sweep

    def _tangents(self, program: Program, tangents: Vector) -> Vector:
        names = cotangents(self.passes.reverse, program)
        return dict(zip(names, (tangents[key] for key, _ in self.passes.reverse.outputs), strict=True))

    def curvature(self, tangents: Vector, *, whole: bool = False) -> tuple[Vector, Sweep]:
        """The Hessian times the tangents, for a function with one number as its answer."""
        sweep = self.passes.sweep("twice", sure=self.is_finite)
        values = {
            **self.values,
            self.passes.seed: self.passes.one,
            **self._tangents(self.passes.twice, tangents),
        }
        return sweep.run(values, self.deadline, whole=whole), sweep

    def hessian(self) -> tuple[Vector, Sweep]:
        """Column by column; arrays of shape a + b under each pair of names."""
        found = {
            f"{a},{b}": zeros((*self.specs[a].shape, *self.specs[b].shape)) for a in self.inputs for b in self.inputs
        }
        sweep = None
        for name, index in self.units():
            tangents = self.unit(name, index)
            if sweep is None:
                column, sweep = self.curvature(tangents, whole=True)
            else:
                column = sweep.again(self._tangents(self.passes.twice, tangents), self.deadline)
            for other in self.inputs:
                found[f"{other},{name}"][(..., *index)] = column[other][()]
        return found, sweep or self.curvature(self.nothing())[1]

    def nested(self, orders: Mapping[str, int], weights: Balls) -> Any:
        """A mixed derivative of the weighted sum of the outputs, by one reverse pass of another; None if that is too much."""
        program, specs, values = self.program, dict(self.specs), dict(self.values)
        seed, shape = weights, self.shape
        for name in (name for name, count in orders.items() for _ in range(count)):
            forward = len(program.nodes)
            try:
                derived = adjoint(program, (name,), specs, exact=True)
            except Unsupported:
                return None
            (word,) = cotangents(program, derived)
            specs[word], values[word] = Spec(shape), seed
            program, seed, shape = derived, lift(1), ()
            if len(program.nodes) > _LONGEST:
                return None
        sweep = Sweep(Route(program, self.inputs, forward))
        (found,) = sweep.run(values, self.deadline).values()
        return None if sweep.edges else found[()]


_CUBIC: Final = frozenset({
    "det", "slogdet", "inv", "solve", "solve_triangular", "cholesky", "expm", "matrix_power", "eigvalsh", "svdvals",
})  # fmt: skip


def _cube(matrices: Spec) -> int:
    return matrices.size * max(matrices.shape[-2:], default=0)


_KEPT: Final = 20_000
"""Components of a constant that is kept as balls: some two megabytes."""

_LONGEST: Final = 3_000
"""Nodes of a nested reverse pass; each nesting has some three times as many."""


def _output(program: Program, specs: Mapping[str, Spec], entries: list[Any]) -> tuple[int, ...]:
    """The shape of the output, given the specs of all entries.

    Raises:
        ShapeError: The function returns several arrays.
    """
    output = program.output
    if isinstance(output, Ref) and isinstance(entries[output.index], Spec) and not program.is_tuple:
        found: tuple[int, ...] = entries[output.index].shape
        return found
    return shapes.output(program, specs).shape


def spec(array: Any) -> Spec:
    """What is known of an array before it is looked at."""
    return Spec(array.shape, {"b": "boolean", "i": "integer", "u": "integer"}.get(array.dtype.kind, "real"))


def wide(array: Array) -> Array:
    """As float64."""
    return np.asarray(array, np.float64)


def exact(array: Any, *, moving: bool, factor: bool = False) -> Any:
    """An array as exact balls, not to be written to.

    Constants of whole numbers stay whole, as they may be indices; and those that are but factors of matrix products stay
    floats, of which a matrix is made at once.
    """
    if not moving and array.dtype.kind in "biu":
        return array if array.dtype.kind == "b" else array.astype(np.int64)
    whole = array.astype(np.int64) if array.dtype.kind in "iu" else array
    found = array.astype(np.float64) if factor else lift(whole)
    found.flags.writeable = False
    return found
