"""`Spec`, the shape and kind of an array, and what the rules for them have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Spec:
    """The shape of an array, and its kind: `real`, `complex`, `integer` or `boolean`."""

    shape: Shape = ()
    kind: str = "real"

    @classmethod
    def of(cls, array: Any) -> Spec:
        """That of a NumPy array."""
        return cls(
            array.shape, {"f": "real", "c": "complex", "b": "boolean", "V": "real"}.get(array.dtype.kind, "integer")
        )

    @property
    def size(self) -> int:
        """How many entries it has."""
        return math.prod(self.shape)


class Misfit(Exception):  # it is always caught here and given a place
    """What doesn't fit, and what would."""

    def __init__(self, wrong: str, right: str = "") -> None:
        self.wrong, self.right = wrong, right
        super().__init__(wrong)


def broadcast(*shapes: Shape) -> Shape:
    """The shape that arrays of these shapes have together.

    Raises:
        Misfit: They have none.
    """
    rank = max(map(len, shapes))
    found: list[int] = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(sizes) > 1:
            raise Misfit(f"shapes {shape_text(*shapes)} don't broadcast", "equal sizes, or 1, from the right")
        found.append(sizes.pop() if sizes else 1)
    return tuple(found)


def shape_text(*shapes: Shape) -> str:
    """Shapes as people write them, joined by `and`."""
    return " and ".join(str(list(shape)) for shape in shapes)


def kind_of(*specs: Spec) -> str:
    """The kind of a result of arithmetic on these."""
    kinds = {spec.kind for spec in specs}
    if "boolean" in kinds:
        raise Misfit("a condition where a number is needed", "use where(condition, a, b)")
    return "complex" if "complex" in kinds else "real" if "real" in kinds else "integer"


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise Misfit(f"axis {axis} of an array with {rank} axes", f"from {-rank} to {rank - 1}" if rank else "none")
    return axis % rank


def axes_of(axes: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Axes counted from the front; all of them for None."""
    if axes is None:
        return tuple(range(rank))
    found = tuple(axis_of(axis, rank) for axis in (axes if isinstance(axes, tuple) else (axes,)))
    if len(set(found)) < len(found):
        raise Misfit(f"an axis is named twice in {axes}", "each once")
    return found


def at_least(spec: Spec, rank: int) -> Shape:
    """The shape of an array that must have so many axes."""
    if len(spec.shape) < rank:
        word = {1: "a vector", 2: "a matrix"}[rank]
        raise Misfit(f"an array of shape {shape_text(spec.shape)}", f"{word} is needed")
    return spec.shape


def real_kind(kind: str) -> str:
    """The kind that arithmetic makes of whole numbers."""
    return "real" if kind == "integer" else kind
