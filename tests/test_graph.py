"""Where boxes and lines stand."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gradbench.report.graph import GAP, _isotonic, picture

HEIGHT, DROP = 40.0, 30.0


def drawn(widths, edges):
    return picture(widths, edges, HEIGHT, DROP)


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 14))
    pairs = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = draw(st.lists(pairs, max_size=2 * size)) if size > 1 else []
    widths = draw(st.lists(st.floats(20, 200), min_size=size, max_size=size))
    return widths, edges


@given(graphs())
@settings(max_examples=150)
def test_boxes_keep_apart_and_every_line_goes_down(graph):
    widths, edges = graph
    found = drawn(widths, edges)
    for (i, one), (j, other) in combinations(enumerate(found.boxes), 2):
        if one[1] == other[1]:
            assert abs(one[0] - other[0]) >= (widths[i] + widths[j]) / 2 + GAP - 1e-6
        else:
            assert abs(one[1] - other[1]) >= HEIGHT + DROP - 1e-6
    assert set(found.lines) == set(edges)
    for (a, b), points in found.lines.items():
        assert points[0][1] == found.boxes[a][1] + HEIGHT
        assert points[-1][1] == found.boxes[b][1]
        assert all(one[1] < other[1] for one, other in pairwise(points))
    for (x, y), width in zip(found.boxes, widths, strict=True):
        assert x - width / 2 >= -1e-6
        assert x + width / 2 <= found.width + 1e-6
        assert 0 <= y <= found.height - HEIGHT + 1e-6


@given(graphs())
@settings(max_examples=150)
def test_a_line_that_passes_a_layer_goes_around_its_boxes(graph):
    widths, edges = graph
    found = drawn(widths, edges)
    for points in found.lines.values():
        for (x, y), (_, after) in pairwise(points[1:-1]):
            for (middle, top), width in zip(found.boxes, widths, strict=True):
                if y == top and after == top + HEIGHT:
                    assert abs(x - middle) >= width / 2


def test_what_is_given_stands_right_above_its_first_use():
    # 0 → 1 → 2 → 4 and 3 → 4: the late input stands beside 2, not beside 0.
    found = drawn([50.0] * 5, [(0, 1), (1, 2), (2, 4), (3, 4)])
    assert found.boxes[3][1] == found.boxes[2][1]


def test_lines_that_need_not_cross_do_not():
    # Drawn in the order given, 0 → 3 and 1 → 2 would cross.
    found = drawn([50.0] * 5, [(0, 3), (1, 2), (2, 4), (3, 4)])
    (a, _), (b, _), (c, _), (d, _), _ = found.boxes
    assert (a < b) == (d < c)
    # Two lines arrive in the order in which they come.
    one, other = found.lines[2, 4][-1][0], found.lines[3, 4][-1][0]
    assert (one < other) == (c < d)


def test_a_chain_is_straight():
    found = drawn([50.0, 120.0, 80.0], [(0, 1), (1, 2)])
    assert len({round(x, 6) for x, _ in found.boxes}) == 1


def test_the_nearest_rising_numbers():
    assert _isotonic([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert _isotonic([3.0, 1.0, 2.0]) == [2.0, 2.0, 2.0]
    assert _isotonic([0.0, 5.0, 3.0, 9.0]) == [0.0, 4.0, 4.0, 9.0]
    assert _isotonic([]) == []


def test_the_same_graph_is_drawn_the_same():
    edges = [(0, 2), (1, 2), (0, 3), (2, 4), (3, 4)]
    assert drawn([60.0] * 5, edges) == drawn([60.0] * 5, edges)
