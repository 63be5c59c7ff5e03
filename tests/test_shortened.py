"""Reverse passes with fewer steps: what travels along, what stays, and that the answers are the same."""

from __future__ import annotations

import numpy as np
import pytest

from gradbench.language import parse
from gradbench.numeric import OPS
from gradbench.program import Literal, evaluate
from gradbench.reference.reverse import shortened as room
from gradbench.reference.reverse.adjoint import derived, recorded
from gradbench.reference.reverse.internal_ops import INTERNAL_OPS
from gradbench.reference.reverse.shortened import shortened
from gradbench.shapes import Spec

ALL = {**OPS, **INTERNAL_OPS, "asarray": np.asarray}
X = np.array([-0.9, 0.25, 0.3])


def reverse(text, ones=True, **shapes):
    """The nodes behind the function's own, before and after."""
    program = parse(text, list(shapes))
    specs = {name: Spec(shape) for name, shape in shapes.items()}
    long, entries = derived(program, recorded(program, specs).entries, ["x"], exact=True)
    short = shortened(long, len(program.nodes), entries, "cotangent" if ones else None)
    return program, long, short


def words(program, short):
    return [node.primitive for node in short.nodes[len(program.nodes) :]]


def rewritten(text, **shapes):
    """A text whose nodes are rewritten all, as if it were a reverse pass."""
    program = parse(text, list(shapes))
    entries = recorded(program, {name: Spec(shape) for name, shape in shapes.items()}).entries
    return program, shortened(program, 0, entries)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-(-x)", []),
        ("(-x) * (-y)", ["multiply"]),
        ("x * (1 / (2 * y)) + x * (1 / (2 * y))", ["divide"]),
        ("x + (-y)", ["subtract"]),
        ("(-x) - y", ["add", "negative"]),
        ("2 * (3 * x)", ["multiply"]),
        ("sum(-x) + sum(-y)", ["sum", "sum", "add", "negative"]),
        ("2 * x + 2 * y", ["add", "multiply"]),
        ("x / 4", ["multiply"]),
        ("x / 3", ["divide"]),
        ("x / (-2 * y)", ["divide", "multiply"]),
        ("x / (3 * y)", ["multiply", "divide"]),
        ("(2 * x) @ (3 * y)", ["matmul", "multiply"]),
        ("2 * x - x", []),
        ("x - x", ["subtract"]),
        ("0 * x", ["multiply"]),
        ("0.1 * (0.1 * x)", ["multiply", "multiply"]),
        ("x + 0.1 - (0.1 - y)", ["add", "subtract", "subtract"]),
        ("1 + (2 + x)", ["add", "add"]),
        ("sin(-x)", ["negative", "sin"]),
        ("sum(x)[None] * 3 * x", ["sum", "getitem", "multiply", "multiply"]),
    ],
)
def test_signs_and_factors_travel_along(text, expected):
    program, short = rewritten(text, x=(3,), y=(3,))
    assert sorted(node.primitive for node in short.nodes) == sorted(expected)
    values = {"x": X, "y": np.array([1.5, -2.0, 7.0])}
    np.testing.assert_allclose(evaluate(short, ALL, values), evaluate(program, ALL, values), rtol=1e-15)


def test_a_factor_stays_where_there_are_few_entries():
    _, short = rewritten("broadcast_to(2 * x[0], shape=(100,)) * 1", x=(3,))
    (product,) = (i for i, node in enumerate(short.nodes) if node.primitive == "multiply")
    assert [node.primitive for node in short.nodes[product:]] == ["multiply", "broadcast_to"]


def test_nothing_is_left_out_that_may_be_infinite():
    for text in ("x - x", "0 * x"):
        _, short = rewritten(text, x=(3,))
        assert np.isnan(evaluate(short, ALL, {"x": np.full(3, np.inf)})).all()


def test_what_two_need_is_added_up_once():
    program, short = rewritten("y = x + sin(x)\nreturn y * (y + 1)", x=(3,))
    assert len(short.nodes) <= len(program.nodes)
    np.testing.assert_allclose(evaluate(short, ALL, {"x": X}), evaluate(program, ALL, {"x": X}))


def test_the_function_itself_stays_as_it_is():
    program, long, short = reverse("sum(-(-x) * 2)", x=(3,))
    assert short.nodes[: len(program.nodes)] == long.nodes[: len(program.nodes)]


def test_what_the_function_has_is_not_found_again():
    program, _, short = reverse("sum(exp(x))", x=(3,))
    assert words(program, short) == []
    program, _, short = reverse("sum(abs(x) * sign(x))", x=(3,))
    assert "sign" in words(program, short)  # it has edges, which a reverse pass minds in its own way


def test_ones_multiply_nothing():
    program, _, short = reverse("2 * sum(d * x * x)", x=(3,), d=(3,))
    assert "broadcast_to" not in words(program, short)
    program, _, short = reverse("2 * sum(d * x * x)", ones=False, x=(3,), d=(3,))
    assert "broadcast_to" in words(program, short)


def test_a_sum_of_ones_is_not_one():
    _, _, short = reverse("sum(sin(x[0]) + x)", x=(3,))
    found = evaluate(short, ALL, {"x": X, "cotangent": np.asarray(1.0)})["x"]
    np.testing.assert_allclose(found, [1 + 3 * np.cos(X[0]), 1, 1])


@pytest.mark.parametrize(
    "text",
    [
        "a = x[1:]\nb = x[:-1]\nreturn sum(100 * (a - b ** 2) ** 2 + (1 - b) ** 2)",
        "logsumexp(sqrt(1 + x * x) - cos(x))",
        "sum(d * x * x) + 2 * sum(d[1:] * x[1:] * x[:-1])",
        "sum(tanh(x) * sin(x))",
        "sum(0.1 * x / (0.7 - x)) - 0.3 * mean(x * x) / 2",
        "max(-x) - sum(minimum(x, -x / 2)) + vector_norm(3 * x)",
    ],
)
def test_the_answers_are_the_same_in_fewer_steps(text):
    _, long, short = reverse(text, x=(3,), d=(3,))
    values = {"x": X, "d": np.array([1.5, -2.0, 7.0]), "cotangent": np.asarray(1.0)}
    np.testing.assert_allclose(evaluate(short, ALL, values)["x"], evaluate(long, ALL, values)["x"], rtol=1e-14)
    assert len(short.nodes) < len(long.nodes)


def test_every_number_it_writes_is_exact(monkeypatch):
    written = []
    number = room._number
    monkeypatch.setattr(room, "_number", lambda factor: written.append(factor) or number(factor))
    program, short = rewritten("0.5 * (3 * x) + 2 * (5 * y) + 100 * (x / 8)", x=(3,), y=(3,))
    assert written == [14.0, 10.0]
    assert all(isinstance(a.value, int) for node in short.nodes for a in node.arguments if isinstance(a, Literal))
    values = {"x": X, "y": X}
    np.testing.assert_allclose(evaluate(short, ALL, values), evaluate(program, ALL, values), rtol=1e-15)
