"""What shape and kind every entry of a program has, without computing any of it.

A program and the specs of its names enter; a spec for each entry leaves, or a sentence with the line and column of
what doesn't fit. Sizes are bounded before anything could be allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from gradbench.errors import ShapeError
from gradbench.program import ITEM, Argument, Literal, Node, Program, Ref
from gradbench.shape_rules import apply
from gradbench.spec import Misfit, Shape, Spec, broadcast

MAX_SIZE: Final = 2**27
"""The most entries one array may have."""
MAX_RANK: Final = 16


def infer(program: Program, specs: Mapping[str, Spec]) -> list[Any]:
    """A `Spec` for every entry of the program, names first; a tuple of them for a primitive with several results.

    Args:
        program: Any program.
        specs: One for each of its names.

    Raises:
        ShapeError: The arrays of a step don't fit together.
    """
    entries: list[Any] = [specs[name] for name in program.names]
    for node in program.nodes:
        arguments = [_spec(a, entries) for a in node.arguments]
        if node.primitive == ITEM:
            entries.append(arguments[0][node.statics[0][1]])
            continue
        try:
            found = apply(node.primitive, arguments, dict(node.statics))
            for one in found if isinstance(found, tuple) else (found,):
                _bounded(one)
        except Misfit as misfit:
            raise ShapeError(program.text, node.line, node.column, _named(node, misfit), misfit.right) from None
        entries.append(found)
    return entries


def output(program: Program, specs: Mapping[str, Spec]) -> Spec:
    """The spec of what a function returns that returns one array.

    Raises:
        ShapeError: As for `infer`; or the function returns several.
    """
    found = outputs(program, specs)
    if program.is_tuple:
        raise ShapeError(program.text, 1, 1, "the function returns several arrays", "return one of them")
    return found[""]


def outputs(program: Program, specs: Mapping[str, Spec]) -> dict[str, Spec]:
    """The spec of each array that a function returns, by key; the one key is ``""`` if it returns no tuple.

    Raises:
        ShapeError: As for `infer`.
    """
    return dict(zip(program.keys, _outputs(program, tuple(specs[name] for name in program.names)), strict=True))


@lru_cache(maxsize=4096)
def _outputs(program: Program, specs: tuple[Spec, ...]) -> tuple[Spec, ...]:
    """Kept, because every point of a case asks again."""
    entries = infer(program, dict(zip(program.names, specs, strict=True)))
    found = tuple(_spec(argument, entries) for _, argument in program.outputs)
    if not all(isinstance(spec, Spec) for spec in found):
        raise ShapeError(program.text, 1, 1, "the function returns what is no array", "return arrays")
    return found


def _named(node: Node, misfit: Misfit) -> str:
    return f"{node.primitive}: {misfit.wrong}"


def _spec(argument: Argument, entries: list[Any]) -> Any:
    if isinstance(argument, Ref):
        return entries[argument.index]
    if isinstance(argument, Literal):
        return Spec((), "complex" if isinstance(argument.value, complex) else "real")
    return [_spec(part, entries) for part in argument]


def _bounded(spec: Spec) -> None:
    if spec.size > MAX_SIZE or len(spec.shape) > MAX_RANK:
        raise Misfit(f"an array of shape {spec.shape}", f"at most {MAX_SIZE} entries and {MAX_RANK} axes")


__all__ = ["MAX_RANK", "MAX_SIZE", "Misfit", "Shape", "Spec", "apply", "broadcast", "infer", "output", "outputs"]
