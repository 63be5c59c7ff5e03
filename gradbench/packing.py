"""A function that returns a tuple, as one that returns a vector: its arrays, flattened, one after another.

A `Query` of such a function and its `Program` enter; the same question about the vector leaves, and the other way round
the answer to that, cut up again. So a reference need only know functions of one array.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradbench.adapter import Estimate
from gradbench.program import Argument, Node, Program, Ref
from gradbench.query import Array, Operator, Query, Shape
from gradbench.shapes import outputs
from gradbench.spec import Spec


@dataclass(frozen=True)
class Packing:
    """How one function's outputs lie in a vector.

    Attributes:
        program: The function of the vector.
        shapes: Of its outputs, by key, in order.
    """

    program: Program
    shapes: Mapping[str, Shape]

    @classmethod
    def of(cls, program: Program, specs: Mapping[str, Spec]) -> Packing:
        """The packing of a program that returns a tuple, its names having these specs."""
        shapes = {key: spec.shape for key, spec in outputs(program, specs).items()}
        nodes = list(program.nodes)

        def append(primitive: str, argument: Argument, **statics: Any) -> Ref:
            nodes.append(Node(primitive, (argument,), tuple(statics.items())))
            return Ref(len(program.names) + len(nodes) - 1)

        flat = tuple(append("reshape", part, shape=(math.prod(shapes[key]),)) for key, part in program.outputs)
        whole = append("concat", flat, axis=0)
        return cls(replace(program, nodes=tuple(nodes), outputs=(("", whole),)), shapes)

    def packed(self, query: Query) -> Query:
        """The question about the vector."""
        parts = [array.reshape(-1) for array in query.cotangents]
        cotangent = np.concatenate(parts) if parts else None
        return replace(query, cotangent=cotangent, cotangents=(), outputs=("",))

    def unpacked(self, operator: Operator, found: Estimate) -> Estimate:
        """The answer to a question about the function, from that about the vector."""
        if operator is Operator.VJP:
            return found
        margin: dict[str, dict[str, Array]] = {}
        for key, arrays in found.margin.items():
            for name, array in arrays.items():
                for part, piece in self._cut({key: array}).items():
                    margin.setdefault(part, {})[name] = piece
        return Estimate(self._cut(found.answer), margin, self._cut(found.status), found.notes)

    def _cut(self, parts: Mapping[str, Array]) -> dict[str, Array]:
        """Each array along its first axis, at the borders of the outputs."""
        found: dict[str, Array] = {}
        for name, array in parts.items():
            start = 0
            for key, shape in self.shapes.items():
                stop = start + math.prod(shape)
                found[f"{key},{name}" if name else key] = array[start:stop].reshape((*shape, *array.shape[1:]))
                start = stop
        return found
