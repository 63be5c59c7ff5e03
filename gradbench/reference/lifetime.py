"""`spent`: which entries of a program nothing needs any more, step by step; `needs` and `wanted`: which it needs at all.

A `Program` enters; for each of its nodes the places of the entries that may be forgotten after it leave. Arrays of many small
objects that are forgotten early are made again out of the same memory, which the processor still has at hand.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gradbench.program import Argument, Node, Program, Ref


def needs(what: Node | Argument) -> tuple[int, ...]:
    """The places of the entries that a node or an argument names, in order."""
    if type(what) is Ref:
        return (what.index,)
    parts = what.arguments if isinstance(what, Node) else what if isinstance(what, tuple) else ()
    found: list[int] = []
    for part in parts:
        if type(part) is Ref:
            found.append(part.index)
        elif type(part) is tuple:
            found.extend(needs(part))
    return tuple(found)


def wanted(program: Program, kept: int = 0) -> set[int]:
    """The entries that some output needs, names, and the first `kept` nodes."""
    start, end = len(program.names) + kept, len(program.names) + len(program.nodes)
    found = set(range(start)).union(*(needs(output) for _, output in program.outputs))
    for i in range(end - 1, start - 1, -1):
        if i in found:
            found.update(needs(program.nodes[i - len(program.names)]))
    return found


def spent(
    program: Program, needed: Sequence[tuple[int, ...]] | None = None, kept: Collection[int] = ()
) -> list[tuple[int, ...]]:
    """For each node the entries, other than inputs, outputs and those to be kept, that it is the last one to need.

    What each node needs may be given, if it is known.
    """
    last: dict[int, int] = {}
    for i, places in enumerate([needs(node) for node in program.nodes] if needed is None else needed):
        for place in places:
            last[place] = i
    for entry in (*kept, *(place for _, output in program.outputs for place in needs(output))):
        last.pop(entry, None)
    found: list[list[int]] = [[] for _ in program.nodes]
    for entry, i in last.items():
        if entry >= len(program.names):
            found[i].append(entry)
    return [tuple(entries) for entries in found]
