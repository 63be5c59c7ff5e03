"""The tape: what is recorded, how it is played backwards, and every primitive against the certified reference."""

from __future__ import annotations

import gc
import weakref

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("flint")

from elementary import ABSENT, SAMPLES, every_sample, every_tie, function, off, sampled, second

from gradbench import registry
from gradbench.adapters.tape import OPS, WORDS, Node, Tape, adjoints
from gradbench.errors import Unsupported
from gradbench.primitives import VOCABULARY

TAPE = Tape()


def test_it_is_a_target_of_its_own():
    found = registry.entries()["tape"]
    assert not found.by_name
    assert isinstance(registry.load(found.spec), Tape)


def test_every_primitive_it_has_is_sampled_and_nothing_else_is_absent():
    assert set(OPS) == sampled()
    assert set(VOCABULARY) - set(OPS) == ABSENT
    assert TAPE.composite <= set(OPS)


@every_sample
def test_a_first_derivative_is_the_certified_one(index):
    assert off(TAPE, index, "jacobian", SAMPLES[index][0]) <= 8


@every_sample
def test_a_second_derivative_is_the_certified_one(index):
    assert off(TAPE, index, *second(index)) <= 40


# The record


def test_only_what_an_input_has_a_part_in_is_recorded():
    x = Node(np.array(2.0))
    assert not isinstance(WORDS.multiply(np.array(3.0), 2), Node)
    assert not isinstance(WORDS.floor(x), Node)
    assert not isinstance(WORDS.less(x, 3), Node)
    assert isinstance(WORDS.multiply(x, 2), Node)


def test_the_adjoint_of_a_number_is_a_sum_over_its_uses():
    v = Node(np.array(3.0))
    w = v * v
    found = adjoints({w: np.array(5.0)})
    assert found[v].value == 30
    both = adjoints({w: np.array(1.0), v + 0.0: np.array(10.0)})
    assert both[v].value == 16


def test_a_step_waits_for_all_that_use_it():
    """In a ladder of diamonds each node is used by the next two: handing on too early would lose paths."""
    x = Node(np.array(1.0))
    one, other = x, x
    for _ in range(30):
        one, other = other, one + other
    assert adjoints({other: np.array(1.0)})[x] == 2178309  # Fibonacci


def test_a_long_chain_takes_no_recursion():
    y = x = Node(np.array(1.0))
    for _ in range(20_000):
        y = y + x
    assert adjoints({y: np.array(1.0)})[x] == 20_001


def test_a_record_is_forgotten_with_what_was_calculated():
    f, x = function(TAPE, "exp(sin(x) * x)", {"x": 0.5})
    seen = []

    class Watched:
        program = f.program

        def __call__(self, *arrays):
            y = f(*arrays)
            seen.append(weakref.ref(y))
            return y

    TAPE.hessian(Watched(), x)
    gc.collect()
    assert len(seen) == 1
    assert seen[0]() is None


# Operators


@pytest.mark.parametrize("operator", ["gradient", "hessian"])
def test_the_function_is_calculated_once_whatever_the_number_of_inputs(operator):
    f, x = function(TAPE, "sum(x * x * x)", {"x": [1.0, 2.0, 3.0]})
    calls = []

    class Counted:
        program = f.program

        def __call__(self, *arrays):
            calls.append(arrays)
            return f(*arrays)

    found = getattr(TAPE, operator)(Counted(), x)
    right = {"gradient": [3, 12, 27], "hessian": [[6, 0, 0], [0, 12, 0], [0, 0, 18]]}[operator]
    assert next(iter(found.values())).tolist() == right
    assert len(calls) == 1


def test_a_vjp_is_the_jacobian_pulled_back_and_an_hvp_the_hessian_along_a_direction():
    f, x = function(TAPE, "x * y[0] + sin(y)", {"x": [0.5, 1.5], "y": [1.0, -2.0]})
    weights = np.array([2.0, -1.0])
    jacobian, pulled = TAPE.jacobian(f, x), TAPE.vjp(f, x, weights)
    for name in x:
        assert pulled[name] == pytest.approx(weights @ jacobian[name], rel=1e-15)
    g, x = function(TAPE, "sum((x * y[0] + sin(y)) ** 2)", {"x": [0.5, 1.5], "y": [1.0, -2.0]})
    way = {"x": np.array([1.0, 2.0]), "y": np.array([-1.0, 3.0])}
    hessian = TAPE.hessian(g, x)
    for name, found in TAPE.hvp(g, x, way).items():
        assert found == pytest.approx(sum(hessian[f"{name},{n}"] @ way[n] for n in x), rel=1e-14)


def test_several_outputs_are_pulled_back_together():
    f, x = function(TAPE, "return x * y, sum(x), x[0]", {"x": [1.0, 2.0], "y": 3.0})
    assert [a.tolist() for a in TAPE.value(f, x)] == [[3, 6], 3, 1]
    pulled = TAPE.vjp(f, x, (np.array([1.0, 2.0]), np.array(10.0), np.array(100.0)))
    assert pulled["x"].tolist() == [113, 16]
    assert pulled["y"] == 5
    assert [a.tolist() for a in TAPE.jacobian(f, x)["x"]] == [[[3, 0], [0, 3]], [1, 1], [1, 0]]


def test_an_output_that_occurs_twice_is_pulled_back_twice():
    f, x = function(TAPE, "y = x * x\nreturn y, y", {"x": 3.0})
    assert TAPE.vjp(f, x, (np.array(1.0), np.array(10.0)))["x"] == 66


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_answers_come_in_the_dtype_that_was_asked(dtype):
    f, x = function(TAPE, "sum(gelu(x) * 0.1 + tanh(x) ** 2)", {"x": [0.5, -1.0]}, dtype)
    for found in (
        TAPE.value(f, x), TAPE.vjp(f, x, np.ones((), dtype))["x"], TAPE.gradient(f, x)["x"],
        TAPE.hvp(f, x, {"x": np.ones(2, dtype)})["x"], TAPE.hessian(f, x)["x,x"],
    ):  # fmt: skip
        assert found.dtype == dtype
    wide, y = function(TAPE, "sum(gelu(x) * 0.1 + tanh(x) ** 2)", {"x": [0.5, -1.0]})
    eps = float(ml_dtypes.finfo(dtype).eps)
    assert TAPE.gradient(f, x)["x"].astype(float) == pytest.approx(TAPE.gradient(wide, y)["x"], abs=8 * eps)


def test_an_input_that_the_output_does_not_depend_on_has_the_derivative_0():
    f, x = function(TAPE, "y * 1", {"x": [1.0, 2.0], "y": 3.0})
    assert TAPE.gradient(f, x)["x"].tolist() == [0, 0]
    assert TAPE.hessian(f, x)["x,y"].tolist() == [0, 0]
    constant, x = function(TAPE, "floor(x)", {"x": 1.5})
    assert TAPE.gradient(constant, x)["x"] == 0
    assert TAPE.hessian(constant, x)["x,x"] == 0


def test_an_array_that_lies_column_by_column_has_rows_as_well():
    f, x = function(TAPE, "x.T", {"x": np.arange(6.0).reshape(2, 3)})
    assert TAPE.jacobian(f, x)["x"].reshape(6, 6).sum(axis=1).tolist() == [1] * 6


@every_tie
def test_a_tie_goes_to_the_first(text, values, expected):
    f, x = function(TAPE, text, values)
    assert {name: a.tolist() for name, a in TAPE.gradient(f, x).items()} == expected


def test_the_zeroth_power_has_the_derivative_0_also_at_0():
    f, x = function(TAPE, "sum(x ** k)", {"x": 0.0, "k": [0, 1, 2, 3]})
    assert TAPE.gradient(f, x)["x"] == 1
    assert TAPE.hessian(f, x)["x,x"] == 2
    f, x = function(TAPE, "x ** y", {"x": 2.0, "y": 0.0})
    assert TAPE.hessian(f, x)["x,y"] == 0.5


def test_what_has_no_formula_is_unsupported():
    for text, values in (("gammainc(x, y)", {"x": 1.0, "y": 2.0}), ("zeta(x, y)", {"x": 2.0, "y": 2.0})):
        f, x = function(TAPE, text, values)
        assert np.isfinite(TAPE.value(f, x))
        with pytest.raises(Unsupported, match="by its first argument"):
            TAPE.gradient(f, x)


def test_complex_numbers_and_gradients_of_arrays_are_unsupported():
    f, x = function(TAPE, "x * x", {"x": [1.0, 2.0]})
    with pytest.raises(Unsupported, match="more than one number"):
        TAPE.gradient(f, x)
    with pytest.raises(Unsupported, match="complex"):
        TAPE.vjp(f, {"x": np.ones(2, complex)}, np.ones(2, complex))
    f, x = function(TAPE, "x * (1 + 2j)", {"x": 1.0})
    with pytest.raises(Unsupported, match="complex"):
        TAPE.gradient(f, x)


def test_the_trace_has_an_adjoint_beside_every_value():
    f, x = function(TAPE, "c = a + b\nd = b + 1\nreturn c * d", {"a": 2.0, "b": 1.0})
    assert [(s.entry, s.primitive, float(s.value), float(s.adjoint)) for s in TAPE.trace(f, x)] == [
        (0, "", 2, 2), (1, "", 1, 5), (2, "add", 3, 2), (3, "add", 2, 3), (4, "multiply", 6, 1),
    ]  # fmt: skip


def test_the_trace_of_arrays_and_of_what_is_made_of_others_has_the_steps_of_the_text():
    f, x = function(
        TAPE, "h = relu(W @ x)\nreturn sum(softmax(h) * k)", {"W": np.eye(2), "x": [1.0, -1.0], "k": [1, 2]}
    )
    steps = TAPE.trace(f, x)
    assert [s.primitive for s in steps] == ["", "", "", "matmul", "relu", "softmax", "multiply", "sum"]
    assert steps[5].adjoint.tolist() == [1, 2]
    assert steps[2].adjoint.tolist() == [0, 0]  # a constant has none
    assert all(s.adjoint.shape == s.value.shape for s in steps)
    assert steps[1].adjoint == pytest.approx(TAPE.gradient(f, x)["x"])
