"""`spent`: which entries of a program nothing needs any more, step by step.

A `Program` enters; for each of its nodes the places of the entries that may be forgotten after it leave. Arrays of many small
objects that are forgotten early are made again out of the same memory, which the processor still has at hand.
"""

from __future__ import annotations

from collections.abc import Collection

from gradbench.program import Program, references


def spent(program: Program, kept: Collection[int] = ()) -> list[tuple[int, ...]]:
    """For each node the entries, other than inputs, outputs and those to be kept, that it is the last one to need."""
    last: dict[int, int] = {}
    for i, node in enumerate(program.nodes):
        last.update((ref.index, i) for ref in references(node.arguments))
    for entry in (*kept, *(ref.index for _, output in program.outputs for ref in references(output))):
        last.pop(entry, None)
    found: list[list[int]] = [[] for _ in program.nodes]
    for entry, i in last.items():
        if entry >= len(program.names):
            found[i].append(entry)
    return [tuple(entries) for entries in found]
