"""Where the boxes and lines of a graph stand: a layered drawing, from above to below.

Boxes with their widths and the edges between them enter, each edge from an earlier box to a later one; places leave. An
edge that passes layers by goes through a point in each, so that it goes around boxes rather than through them.

Sources: Sugiyama, Tagawa and Toda (1981), Methods for visual understanding of hierarchical system structures, for layers
and the order within them by barycentres; the places within a layer are the least squares that keep the boxes apart, by
the pool-adjacent-violators algorithm: Ayer et al. (1955), An empirical distribution function for sampling with
incomplete information.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

SWEEPS: Final = 24
"""How often the layers are put in order, down and up; what crosses least is kept."""
GAP: Final = 22.0
"""Between neighbours in a layer."""
THIN: Final = 6.0
"""Of a point that an edge goes through."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """Places, in the units of the widths.

    Attributes:
        boxes: For each box the middle of its upper side.
        lines: For each edge the points it goes through, from the lower side of one box to the upper side of the other.
        width, height: Of the whole.
    """

    boxes: tuple[Point, ...]
    lines: Mapping[tuple[int, int], tuple[Point, ...]]
    width: float
    height: float


def picture(widths: Sequence[float], edges: Iterable[tuple[int, int]], height: float, drop: float) -> Picture:
    """The drawing of a graph.

    Args:
        widths: Of each box.
        edges: Each from a box to a later one.
        height: Of every box.
        drop: Between two layers.
    """
    known = tuple(dict.fromkeys(edges))
    graph = _Layered.of(widths, known)
    graph.sort()
    x = graph.places()
    shift = min((x[v] - graph.widths[v] / 2 for v in range(len(graph.widths))), default=0.0)
    x = [place - shift for place in x]
    top = [layer * (height + drop) for layer in graph.layer]
    lines = {}
    for edge in known:
        chain = graph.chains[edge]
        start, *between, end = ((x[v], top[v]) for v in chain)
        leaves = (start[0] + _port(graph.after, chain[0], chain[1], x), start[1] + height)
        arrives = (end[0] + _port(graph.before, chain[-1], chain[-2], x), end[1])
        # Through the layer it passes by, an edge goes straight down.
        passing = [point for a, y in between for point in ((a, y), (a, y + height))]
        lines[edge] = (leaves, *passing, arrives)
    return Picture(
        tuple((x[v], top[v]) for v in range(len(widths))),
        lines,
        max((x[v] + graph.widths[v] / 2 for v in range(len(graph.widths))), default=0.0),
        max((top[v] + height for v in range(len(widths))), default=0.0),
    )


def _port(neighbours: Sequence[Sequence[int]], vertex: int, other: int, x: Sequence[float]) -> float:
    """How far from the middle of its side a box is left or reached: in the order of where the edges come from."""
    order = sorted(neighbours[vertex], key=lambda v: (x[v], v))
    return 12.0 * (order.index(other) - (len(order) - 1) / 2)


@dataclass
class _Layered:
    """Boxes and the points between them, each in a layer; what is `before` and `after` each is one layer away."""

    widths: list[float]
    layer: list[int]
    before: list[list[int]]
    after: list[list[int]]
    chains: dict[tuple[int, int], list[int]]
    rows: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, widths: Sequence[float], edges: Sequence[tuple[int, int]]) -> _Layered:
        size = len(widths)
        layer = [0] * size
        for a, b in sorted(edges, key=lambda edge: edge[1]):
            layer[b] = max(layer[b], layer[a] + 1)
        sources = set(range(size)) - {b for _, b in edges}
        for source in sources:  # what is given stands right above where it is used first
            layer[source] = min((layer[b] for a, b in edges if a == source), default=1) - 1
        made = cls(list(widths), layer, [[] for _ in widths], [[] for _ in widths], {})
        points: dict[tuple[int, int], int] = {}
        for a, b in edges:
            chain = [a, *(made.point(points, a, level) for level in range(layer[a] + 1, layer[b])), b]
            made.chains[a, b] = chain
            for one, other in pairwise(chain):
                if other not in made.after[one]:
                    made.after[one].append(other)
                    made.before[other].append(one)
        made.rows = [[] for _ in range(max(made.layer, default=-1) + 1)]
        for vertex, level in enumerate(made.layer):
            made.rows[level].append(vertex)
        return made

    def point(self, points: dict[tuple[int, int], int], start: int, level: int) -> int:
        """The point by which the edges of a box pass a layer: one for all of them."""
        if (start, level) not in points:
            points[start, level] = len(self.widths)
            self.widths.append(THIN)
            self.layer.append(level)
            self.before.append([])
            self.after.append([])
        return points[start, level]

    def sort(self) -> None:
        """Puts each layer in an order in which few edges cross."""
        best, least = [list(row) for row in self.rows], self.crossings()
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            order = range(1, len(self.rows)) if down else range(len(self.rows) - 2, -1, -1)
            for level in order:
                other = self.rows[level - 1 if down else level + 1]
                place = {vertex: i for i, vertex in enumerate(other)}
                here = {vertex: i for i, vertex in enumerate(self.rows[level])}
                neighbours = self.before if down else self.after
                self.rows[level].sort(key=lambda v: (_mean(neighbours[v], place, here[v]), here[v]))
            found = self.crossings()
            if found < least:
                best, least = [list(row) for row in self.rows], found
            if not least:
                break
        self.rows = best

    def crossings(self) -> int:
        """How many pairs of edges cross."""
        total = 0
        for upper, lower in pairwise(self.rows):
            place = {vertex: i for i, vertex in enumerate(lower)}
            ends = [place[b] for a in upper for b in sorted(self.after[a], key=place.__getitem__)]
            total += sum(one > other for i, one in enumerate(ends) for other in ends[i + 1 :])
        return total

    def places(self) -> list[float]:
        """The middle of each vertex: as near above and below what it is joined to as its neighbours in the row let it."""
        x = [0.0] * len(self.widths)
        for row in self.rows:
            for vertex, offset in zip(row, self.offsets(row), strict=True):
                x[vertex] = offset
        for turn in range(16):
            for row in self.rows if turn % 2 == 0 else reversed(self.rows):
                wanted = [self.wanted(vertex, x, both=turn > 1, down=turn % 2 == 0) for vertex in row]
                offsets = self.offsets(row)
                free = _isotonic([w - o for w, o in zip(wanted, offsets, strict=True)])
                for vertex, place, offset in zip(row, free, offsets, strict=True):
                    x[vertex] = place + offset
        return x

    def wanted(self, vertex: int, x: Sequence[float], *, both: bool, down: bool) -> float:
        """Where a vertex would stand if it were alone."""
        near = [*self.before[vertex], *self.after[vertex]] if both else (self.before if down else self.after)[vertex]
        return sum(x[v] for v in near) / len(near) if near else x[vertex]

    def offsets(self, row: Sequence[int]) -> list[float]:
        """The places of a row whose vertices stand as close together as they may."""
        found = [0.0] * len(row)
        for i, (one, other) in enumerate(pairwise(row)):
            found[i + 1] = found[i] + (self.widths[one] + self.widths[other]) / 2 + GAP
        return found


def _mean(vertices: Sequence[int], place: Mapping[int, int], default: float) -> float:
    return sum(place[v] for v in vertices) / len(vertices) if vertices else default


def _isotonic(values: Sequence[float]) -> list[float]:
    """The numbers in rising order that are nearest to these in the sense of least squares."""
    pools: list[tuple[float, int]] = []
    for value in values:
        total, count = value, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            more, size = pools.pop()
            total, count = total + more, count + size
        pools.append((total, count))
    return [total / count for total, count in pools for _ in range(count)]
