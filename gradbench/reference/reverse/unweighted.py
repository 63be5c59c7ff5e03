"""A reverse pass for a cotangent of ones, which is what a gradient needs.

A program of a vector-Jacobian product enters; the same without multiplications by its cotangent leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gradbench.program import Argument, Node, Program, Ref
from gradbench.reference.reverse.adjoint import pruned, recorded
from gradbench.shapes import Spec

_SPREAD: Final = frozenset({"reshape", "broadcast_to", "expand_dims"})
"""What makes ones of ones."""


def unweighted(program: Program, seed: str, kept: int, specs: Mapping[str, Spec]) -> Program:
    """The program for a cotangent `seed` of ones: its names and first `kept` nodes are the same, and so is its answer."""
    tape, base = recorded(program, specs), len(program.names)
    ones = {program.names.index(seed)}
    same: dict[int, int] = {}  # entries that are another one
    nodes = []
    for i, node in enumerate(program.nodes, base):
        nodes.append(replace(node, arguments=tuple(_followed(a, same) for a in node.arguments)) if same else node)
        if _is_one(nodes[-1].arguments[0], ones) and node.primitive in _SPREAD:
            ones.add(i)
        elif node.primitive == "multiply" and i >= base + kept:
            other = _other(nodes[-1], ones)
            if other is not None and tape.entries[other].shape == tape.entries[i].shape:
                same[i] = other
    outputs = tuple((key, _followed(argument, same)) for key, argument in program.outputs)
    return pruned(replace(program, nodes=tuple(nodes), outputs=outputs), kept)


def _is_one(argument: Any, ones: set[int]) -> bool:
    return isinstance(argument, Ref) and argument.index in ones


def _other(product: Node, ones: set[int]) -> int | None:
    """The factor of a product whose other factor is ones."""
    for one, other in (product.arguments, product.arguments[::-1]):
        if _is_one(one, ones) and isinstance(other, Ref):
            return other.index
    return None


def _followed(argument: Argument, same: Mapping[int, int]) -> Argument:
    if isinstance(argument, Ref):
        return Ref(same.get(argument.index, argument.index))
    return tuple(_followed(part, same) for part in argument) if isinstance(argument, tuple) else argument
