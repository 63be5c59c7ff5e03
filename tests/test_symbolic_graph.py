"""Graphs that differentiate into graphs: how they read, how they stay small, and every primitive against the certified reference."""

from __future__ import annotations

import gc
import math
import time
import weakref

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("flint")

from elementary import ABSENT, PAIRS, POINTS, SAMPLES, every_sample, every_tie, function, off, sampled, second

from gradbench import registry
from gradbench.adapters.symbolic import MAX_ENTRIES, OPS, Symbolic, formula
from gradbench.adapters.symbolic_graph import NODES, Graph, calculate, constant, gradient, order, variable
from gradbench.adapters.symbolic_text import LONGEST
from gradbench.errors import Unsupported
from gradbench.language import parse
from gradbench.numeric import OPS as NUMERIC
from gradbench.primitives import VOCABULARY
from gradbench.program import evaluate

SYMBOLIC = Symbolic()
X, Y = variable("x"), variable("y")


def derivative(text, name="x", **values):
    shapes = {n: np.asarray(v, float) for n, v in (values or {"x": 1.0, "y": 2.0}).items()}
    return formula(parse(text, list(shapes)), shapes)[name]


def test_it_is_a_target_of_its_own():
    found = registry.entries()["symbolic"]
    assert not found.by_name
    assert isinstance(registry.load(found.spec), Symbolic)


def test_every_primitive_it_has_is_sampled_and_nothing_else_is_absent():
    assert set(OPS) == sampled()
    assert set(VOCABULARY) - set(OPS) == ABSENT
    assert SYMBOLIC.composite <= set(OPS)


@every_sample
def test_a_first_derivative_is_the_certified_one(index):
    assert off(SYMBOLIC, index, "jacobian", SAMPLES[index][0]) <= 8


@every_sample
def test_a_second_derivative_is_the_certified_one(index):
    assert off(SYMBOLIC, index, *second(index)) <= 40


# How a derivative reads


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sin(x**2)", "2*x*cos(x**2)"),
        ("x * x", "2*x"),
        ("x**3 * x", "4*x**3"),
        ("(x + 1)**5", "5*(x + 1)**4"),
        ("(-x)**3", "-3*(-x)**2"),
        ("exp(-x**2 / 2)", "-x*exp(-x**2/2)"),
        ("log(x) / x", "1/x**2 - log(x)/x**2"),
        ("x / (1 + x**2)", "1/(1 + x**2) - 2*x**2/(1 + x**2)**2"),
        ("1 / (x * y)", "-y/(x**2*y**2)"),
        ("x ** y", "y*x**(y - 1)"),
        ("2 ** x", "2**x*log(2)"),
        ("x ** 0.5", "0.5*x**(-0.5)"),
        ("sqrt(x**2 + y**2)", "x/sqrt(x**2 + y**2)"),
        ("tanh(x)", "sech(x)**2"),
        ("asin(x)", "1/sqrt(1 - x**2)"),
        ("asin(x + y)", "1/sqrt(1 - (x + y)**2)"),
        ("erf(x)", "2*exp(-x**2)/sqrt(pi)"),
        ("ndtr(x)", "exp(-x**2/2)/sqrt(2*pi)"),
        ("log2(x)", "1/(log(2)*x)"),
        ("x - (y - x) * 3", "4"),
        ("-x * y - 3 * x", "-y - 3"),
        ("x * (y - (x - 1))", "y - (x - 1) - x"),
        ("y - sin(x)", "-cos(x)"),
        ("sin(x) - y * cos(x)", "cos(x) + y*sin(x)"),
        ("(x + y) / (x * 2)", "1/(2*x) - (x + y)/(2*x**2)"),
        ("cos(x) % y", "-sin(x)"),
        ("(x % y) ** 2 * y", "2*y*(x % y)"),
        ("where(x > y, x**2, -x)", "where(x > y, 2*x, -1)"),
        ("abs(x) * y", "y*sign(x)"),
        ("digamma(x)", "polygamma(x, n=1)"),
        ("0.1 * x", "0.1"),
        ("x * pi", "pi"),
        ("y", "0"),
        ("3 * x + 1", "3"),
    ],
)
def test_a_derivative_reads_as_mathematics(text, expected):
    assert derivative(text) == expected


def test_a_derivative_of_arrays_is_a_list_of_formulas():
    assert derivative("x * y", x=[1, 2], y=[1, 2]) == "[[y[0], 0], [0, y[1]]]"
    assert derivative("prod(x)", x=[1, 2, 3]) == "[x[1]*x[2], x[0]*x[2], x[0]*x[1]]"
    assert derivative("x @ y", x=[[1, 2]], y=[1, 2]) == "[[[y[0], y[1]]]]"
    assert derivative("vector_norm(x)", x=[1, 2]) == "[x[0]/hypot(x[0], x[1]), x[1]/hypot(x[0], x[1])]"
    assert derivative("softmax(x)[0]", x=[1, 2]).startswith("[exp(x[0])/(exp(x[0]) + exp(x[1])) - ")
    assert derivative("return x**2, 3 * x", x=2) == "2*x; 3"


def test_constants_are_shown_by_name_and_whole_numbers_as_they_are():
    program = parse("sum(take(x, i) * w)", ["x", "i", "w"])
    found = formula(program, {"x": np.ones(2)}, {"i": np.array([1, 1]), "w": np.ones(2)})
    assert found == {"x": "[0, w[0] + w[1]]"}


SHORTHAND = {"sech", "mills", "spherical_j", "bessel_j", "bessel_i", "polygamma"}
"""Inner words that a formula may have and the language hasn't."""


@pytest.mark.parametrize("name", [*POINTS, *PAIRS])
def test_a_formula_read_back_is_the_derivative(name):
    """With its parentheses where they belong: what is written is what is calculated."""
    values = {"x": POINTS[name]} if name in POINTS else dict(zip("xy", PAIRS[name], strict=True))
    text = f"x*{name}(x, 2*y - y)/(7 - {name}(x, y))"
    if name in POINTS:
        values["y"] = 1.5
        text = f"y*{name}(x*3 - 2*x)**2 - x/({name}(x) - 7)/(x + y)"
    f, x = function(SYMBOLIC, text, values)
    right = SYMBOLIC.gradient(f, x)
    for by, written in formula(f.program, x).items():
        if any(f"{word}(" in written for word in SHORTHAND):
            continue
        ops = {**NUMERIC, "asarray": np.asarray}
        assert evaluate(parse(written, x), ops, x) == pytest.approx(right[by], rel=1e-13), written


def test_a_formula_too_long_to_read_is_cut():
    graph = NODES.sin(NODES.exp(X * X))
    for _ in range(12):
        graph = gradient(graph, X)
    assert len(str(graph)) <= 3 * LONGEST
    assert "…" in str(graph)


# How a graph stays small


def test_equal_nodes_are_one_node():
    assert NODES.sin(X * Y + 1) is NODES.sin(X * Y + 1.0)
    assert NODES.sin(X) is not NODES.sin(Y)
    assert constant(1) is constant(1.0)
    assert constant(np.bool_(1)) is not constant(1)
    assert constant(-0.0) is not constant(0)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: X + 0, X), (lambda: 0 + X, X), (lambda: X - 0, X), (lambda: X * 1, X), (lambda: X / 1, X), (lambda: X**1, X),
        (lambda: X**0, constant(1)), (lambda: X * 0, constant(0)), (lambda: 0 / X, constant(0)), (lambda: X - X, constant(0)),
        (lambda: X + X, 2 * X), (lambda: 2 * X + 3 * X, 5 * X), (lambda: 2 * X - X, X), (lambda: NODES.negative(-X), X),
        (lambda: -(X - Y), Y - X), (lambda: X + -Y, X - Y), (lambda: -X + Y, Y - X), (lambda: X - -2 * Y, X + 2 * Y),
        (lambda: X * (2 * Y), 2 * (X * Y)), (lambda: X * X**2, X**3), (lambda: X * (1 / Y), X / Y), (lambda: -X / Y, -(X / Y)),
        (lambda: 4 * X / (2 * Y), 2 * X / Y), (lambda: constant(2) + 3, constant(5)), (lambda: constant(0.5) * 4, constant(2)),
        (lambda: NODES.where(constant(np.bool_(1)), X, Y), X), (lambda: NODES.where(NODES.less(X, Y), X, X), X),
        (lambda: NODES.square(X), X**2), (lambda: NODES.reciprocal(X), 1 / X),
    ],
)  # fmt: skip
def test_what_can_be_said_shorter_is(made, expected):
    assert made() is expected


def test_numbers_are_put_together_only_where_no_digit_is_lost():
    assert str(0.1 * (0.2 * X)) == "0.1*0.2*x"
    assert str(constant(0.1) + 0.2) == "0.1 + 0.2"
    assert (constant(2**52) * (3 * X)).word == "multiply"
    assert (constant(2**52) * (3 * X)).parts[1] is 3 * X
    assert str(constant(1) / 3) == "1/3"


def test_repeated_derivatives_do_not_explode():
    start, graph, sizes = time.process_time(), NODES.sin(NODES.exp(X**2)), []
    for _ in range(12):
        graph = gradient(graph, X)
        sizes.append(len(order([graph])))
    assert sizes[-1] < 1_500
    assert sizes[-1] < 2 * sizes[-3]
    assert time.process_time() - start < 5


def test_a_graph_that_is_shared_is_not_written_out():
    """A doubling of 60 steps has 2**60 leaves and 62 nodes."""
    graph = X
    for _ in range(60):
        graph = NODES.hypot(graph, NODES.sin(graph))
    assert len(order([graph])) == 121
    start = time.process_time()
    assert len(order([gradient(graph, X)])) < 800
    assert calculate([gradient(graph, X)], {X: np.float64(0.5)}, np.dtype(float))[0] > 0
    assert "…" in str(graph)
    assert time.process_time() - start < 2


def test_a_long_chain_takes_no_recursion():
    graph = X
    for _ in range(2_000):
        graph = NODES.sin(graph) + Y
    assert gradient(graph, Y) is not None
    assert len(str(graph)) <= LONGEST


def test_a_derivative_is_kept_and_a_graph_nobody_needs_is_not():
    graph = NODES.exp(X * Y)
    assert gradient(graph, X) is gradient(graph, X)
    gone = weakref.ref(NODES.cosh(X + 12345))
    gc.collect()
    assert gone() is None


def test_too_large_a_graph_is_unsupported(monkeypatch):
    monkeypatch.setattr("gradbench.adapters.symbolic_graph.MAX_NODES", 10)
    f, x = function(SYMBOLIC, "sum(x * x * 3 + sin(x))", {"x": [1.0, 2.0, 3.0]})
    with pytest.raises(Unsupported, match="a graph of more than 10 nodes"):
        SYMBOLIC.gradient(f, x)


# Operators


def test_the_function_is_drawn_once_for_all_points():
    f, _ = function(SYMBOLIC, "sin(x) * y", {"x": 0.5, "y": 2.0})
    calls = []

    class Counted:
        program = f.program

        def __call__(self, *arrays):
            calls.append(arrays)
            assert all(isinstance(array[()], Graph) for array in arrays)
            return f(*arrays)

    counted, adapter = Counted(), Symbolic()
    for k in range(5):
        at = {"x": np.array(0.5 + k), "y": np.array(2.0)}
        assert adapter.gradient(counted, at)["x"] == 2 * np.cos(0.5 + k)
        adapter.hessian(counted, at)
        adapter.value(counted, at)
    assert len(calls) == 1


@pytest.mark.parametrize("n", range(9))
def test_a_partial_derivative_of_any_order_is_the_derivative_of_the_derivative(n):
    f, x = function(SYMBOLIC, "exp(2 * x) * y**3", {"x": 0.25, "y": 2.0})
    by_y = [8, 12, 12, 6][min(n, 3)]
    found = SYMBOLIC.partial(f, x, {"x": n, "y": min(n, 3)})
    assert found == pytest.approx(2**n * math.exp(0.5) * by_y, rel=1e-14)


def test_directions_are_those_of_the_jacobian_and_the_hessian():
    f, x = function(SYMBOLIC, "x * y[0] + sin(y)", {"x": [0.5, 1.5], "y": [1.0, -2.0]})
    way, weights = {"x": np.array([1.0, 2.0]), "y": np.array([-1.0, 3.0])}, np.array([2.0, -1.0])
    jacobian, pulled = SYMBOLIC.jacobian(f, x), SYMBOLIC.vjp(f, x, weights)
    assert SYMBOLIC.jvp(f, x, way) == pytest.approx(sum(jacobian[n] @ way[n] for n in x), rel=1e-15)
    for name in x:
        assert pulled[name] == pytest.approx(weights @ jacobian[name], rel=1e-15)
    g, x = function(SYMBOLIC, "sum((x * y[0] + sin(y)) ** 2)", {"x": [0.5, 1.5], "y": [1.0, -2.0]})
    hessian = SYMBOLIC.hessian(g, x)
    for name, found in SYMBOLIC.hvp(g, x, way).items():
        assert found == pytest.approx(sum(hessian[f"{name},{n}"] @ way[n] for n in x), rel=1e-14)


def test_several_outputs_are_answered_as_a_tuple():
    f, x = function(SYMBOLIC, "return x * y, sum(x)", {"x": [1.0, 2.0], "y": 3.0})
    assert [a.tolist() for a in SYMBOLIC.value(f, x)] == [[3, 6], 3]
    assert [a.tolist() for a in SYMBOLIC.jacobian(f, x)["x"]] == [[[3, 0], [0, 3]], [1, 1]]
    pushed = SYMBOLIC.jvp(f, x, {"x": np.ones(2), "y": np.array(1.0)})
    assert [a.tolist() for a in pushed] == [[4, 5], 2]
    assert SYMBOLIC.vjp(f, x, (np.array([1.0, 2.0]), np.array(10.0)))["x"].tolist() == [13, 16]
    assert [a.tolist() for a in SYMBOLIC.partial(f, x, {"y": 1})] == [[1, 2], 0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_answers_come_in_the_dtype_that_was_asked(dtype):
    f, x = function(SYMBOLIC, "sum(gelu(x) * 0.1 + tanh(x) ** 2)", {"x": [0.5, -1.0]}, dtype)
    way = {"x": np.ones(2, dtype)}
    for found in (
        SYMBOLIC.value(f, x), SYMBOLIC.jvp(f, x, way), SYMBOLIC.vjp(f, x, np.ones((), dtype))["x"], SYMBOLIC.gradient(f, x)["x"],
        SYMBOLIC.hvp(f, x, way)["x"], SYMBOLIC.hessian(f, x)["x,x"],
    ):  # fmt: skip
        assert found.dtype == dtype
    wide, y = function(SYMBOLIC, "sum(gelu(x) * 0.1 + tanh(x) ** 2)", {"x": [0.5, -1.0]})
    eps = float(ml_dtypes.finfo(dtype).eps)
    assert SYMBOLIC.gradient(f, x)["x"].astype(float) == pytest.approx(SYMBOLIC.gradient(wide, y)["x"], abs=8 * eps)


def test_a_number_of_the_text_is_rounded_to_the_dtype_and_not_before():
    f, x = function(SYMBOLIC, "0.1 * x", {"x": 1.0}, np.float32)
    assert SYMBOLIC.gradient(f, x)["x"] == np.float32(0.1)


def test_truths_are_truths():
    f, x = function(SYMBOLIC, "x > 1", {"x": [0.5, 1.5]})
    assert SYMBOLIC.value(f, x).tolist() == [False, True]
    assert SYMBOLIC.value(f, x).dtype == bool


@every_tie
def test_a_tie_goes_to_the_first(text, values, expected):
    f, x = function(SYMBOLIC, text, values)
    assert {name: a.tolist() for name, a in SYMBOLIC.gradient(f, x).items()} == expected


def test_the_zeroth_power_has_the_derivative_0_also_at_0():
    f, x = function(SYMBOLIC, "sum(x ** k)", {"x": 0.0, "k": [0, 1, 2, 3]})
    assert SYMBOLIC.gradient(f, x)["x"] == 1
    assert SYMBOLIC.hessian(f, x)["x,x"] == 2
    f, x = function(SYMBOLIC, "x ** y", {"x": 2.0, "y": 0.0})
    assert SYMBOLIC.hessian(f, x)["x,y"] == 0.5


def test_what_it_can_not_draw_is_unsupported():
    f, x = function(SYMBOLIC, "sum(x)", {"x": np.ones(MAX_ENTRIES + 1)})
    with pytest.raises(Unsupported, match=f"{MAX_ENTRIES + 1} variables"):
        SYMBOLIC.gradient(f, x)
    f, x = function(SYMBOLIC, "x * x", {"x": [1.0, 2.0]})
    with pytest.raises(Unsupported, match="more than one number"):
        SYMBOLIC.gradient(f, x)
    with pytest.raises(Unsupported, match="complex"):
        SYMBOLIC.vjp(f, {"x": np.ones(2, complex)}, np.ones(2, complex))
    f, x = function(SYMBOLIC, "x * (1 + 2j)", {"x": 1.0})
    with pytest.raises(Unsupported, match="complex"):
        SYMBOLIC.gradient(f, x)
    f, x = function(SYMBOLIC, "gammainc(x, y)", {"x": 1.0, "y": 2.0})
    with pytest.raises(Unsupported, match="by its first argument"):
        SYMBOLIC.gradient(f, x)
    f, x = function(SYMBOLIC, "sum(x)", {"x": np.ones(0)})
    with pytest.raises(Unsupported, match="no entries"):
        SYMBOLIC.value(f, x)
