"""`Problem`: a query as ball arithmetic sees it, and its reverse passes.

A query and its program enter; the program with its numbers rounded, the point as exact balls, and enclosures of
derivatives by reverse passes leave. This is the first of the two rule sets of the certified reference.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flint
import numpy as np

from gradbench import shapes
from gradbench.errors import Unsupported
from gradbench.program import Program
from gradbench.query import Query
from gradbench.reference.adjoint import adjoint, cotangents
from gradbench.reference.lift import Balls, lift, zeros
from gradbench.reference.sweep import Deadline, Sweep, rounded
from gradbench.shapes import Spec
from gradbench.wire import FORMATS

arb = flint.arb
Vector = dict[str, Balls]
"""An array of balls for each input, of its shape."""


@dataclass(eq=False)
class Problem:
    """A function at a point.

    Attributes:
        program: The function; its numbers are exact.
        inputs: The names it is differentiated by.
        values: For each name an array of exact balls; constants of whole numbers and conditions as NumPy has them.
        specs: For each name the shape and kind.
        shape: Of the output.
        deadline: When to stop.
    """

    program: Program
    inputs: tuple[str, ...]
    values: Mapping[str, Any]
    specs: Mapping[str, Spec]
    shape: tuple[int, ...]
    deadline: Deadline

    @classmethod
    def of(cls, query: Query, program: Program, deadline: Deadline) -> Problem:
        """The problem a query poses.

        Raises:
            Unsupported: It has complex numbers.
        """
        arrays = {**query.inputs, **query.constants}
        if FORMATS[query.dtype].kind == "c" or any(np.iscomplexobj(a) for a in arrays.values()):
            raise Unsupported("ball arithmetic is of real numbers here, not of complex ones")
        specs = {name: Spec(array.shape, _kind(array)) for name, array in arrays.items()}
        values = {name: _exact(array, moving=name in query.inputs) for name, array in arrays.items()}
        exact = rounded(program, FORMATS[query.dtype])
        return cls(exact, tuple(query.inputs), values, specs, shapes.output(exact, specs).shape, deadline)

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

    def value(self) -> tuple[Balls, Sweep]:
        """The function itself, and the sweep that found it."""
        sweep = Sweep(self.program, self.inputs)
        return sweep.run(self.values, self.deadline)[""], sweep

    @functools.cached_property
    def reverse(self) -> Program:
        """The program of the vector-Jacobian product.

        Raises:
            Unsupported: A primitive has no reverse rule.
        """
        return adjoint(self.program, self.inputs, self.specs)

    @functools.cached_property
    def twice(self) -> Program:
        """The reverse pass of the reverse pass, by the inputs."""
        (seed,) = cotangents(self.program, self.reverse)
        return adjoint(self.reverse, self.inputs, {**self.specs, seed: Spec(self.shape)})

    @functools.cached_property
    def pushed(self) -> Program:
        """The reverse pass of the reverse pass, by the cotangent: the Jacobian-vector product."""
        (seed,) = cotangents(self.program, self.reverse)
        return adjoint(self.reverse, (seed,), {**self.specs, seed: Spec(self.shape)})

    def _seed(self, cotangent: Balls) -> Vector:
        (seed,) = cotangents(self.program, self.reverse)
        return {seed: cotangent}

    def pullback(self, cotangent: Balls) -> tuple[Vector, Sweep]:
        """The cotangent times the Jacobian, and the sweep that found it."""
        sweep = Sweep(self.reverse, self.inputs, len(self.program.nodes))
        return sweep.run({**self.values, **self._seed(cotangent)}, self.deadline), sweep

    def jacobian(self) -> tuple[Vector, Sweep]:
        """Row by row; arrays of shape y + x."""
        sweep = Sweep(self.reverse, self.inputs, len(self.program.nodes))
        found = {name: zeros((*self.shape, *self.specs[name].shape)) for name in self.inputs}
        for row, index in enumerate(np.ndindex(*self.shape)):
            cotangent = zeros(self.shape)
            cotangent[index] = arb(1)
            seed = self._seed(cotangent)
            back = sweep.again(seed, self.deadline) if row else sweep.run({**self.values, **seed}, self.deadline)
            for name in self.inputs:
                found[name][index] = back[name]
        return found, sweep

    def pushforward(self, tangents: Vector) -> tuple[Balls, Sweep]:
        """The Jacobian times the tangents, by two reverse passes."""
        (seed,) = cotangents(self.program, self.reverse)
        values = {**self.values, seed: zeros(self.shape), **self._tangents(self.pushed, tangents)}
        sweep = Sweep(self.pushed, self.inputs, len(self.program.nodes))
        return sweep.run(values, self.deadline)[seed], sweep

    def _tangents(self, program: Program, tangents: Vector) -> Vector:
        names = cotangents(self.reverse, program)
        return dict(zip(names, (tangents[key] for key, _ in self.reverse.outputs), strict=True))

    def curvature(self, tangents: Vector) -> tuple[Vector, Sweep]:
        """The Hessian times the tangents, for a function with one number as its answer."""
        sweep = Sweep(self.twice, self.inputs, len(self.reverse.nodes))
        values = {**self.values, **self._seed(zeros(self.shape) + arb(1)), **self._tangents(self.twice, tangents)}
        return sweep.run(values, self.deadline), sweep

    def hessian(self) -> tuple[Vector, Sweep]:
        """Column by column; arrays of shape a + b under each pair of names."""
        found = {
            f"{a},{b}": zeros((*self.specs[a].shape, *self.specs[b].shape)) for a in self.inputs for b in self.inputs
        }
        sweep = None
        for name, index in self.units():
            tangents = self.unit(name, index)
            if sweep is None:
                column, sweep = self.curvature(tangents)
            else:
                column = sweep.again(self._tangents(self.twice, tangents), self.deadline)
            for other in self.inputs:
                found[f"{other},{name}"][(..., *index)] = column[other]
        return found, sweep or self.curvature(self.nothing())[1]


def _kind(array: Any) -> str:
    return {"b": "boolean", "i": "integer", "u": "integer"}.get(array.dtype.kind, "real")


def _exact(array: Any, *, moving: bool) -> Any:
    """An array as exact balls; constants of whole numbers stay whole, as they may be indices."""
    if array.dtype.kind == "b" or (array.dtype.kind in "iu" and not moving):
        return array if array.dtype.kind == "b" else array.astype(np.int64)
    return lift(array if array.dtype != np.int8 else array.astype(np.int64))
