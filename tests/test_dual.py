"""Dual numbers: the arithmetic, its levels, and every primitive against the certified reference."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("flint")

from elementary import ABSENT, SAMPLES, every_sample, every_tie, function, off, sampled, second

from gradbench import registry
from gradbench.adapters.dual import OPS, WORDS, Dual, DualNumbers, part
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.primitives import VOCABULARY

DUAL = DualNumbers()


def test_it_is_a_target_of_its_own():
    found = registry.entries()["dual"]
    assert not found.by_name
    assert not found.reference
    assert isinstance(registry.load(found.spec), DualNumbers)
    with pytest.raises(DeviceMissing):
        DUAL.open("cuda")


def test_every_primitive_it_has_is_sampled_and_nothing_else_is_absent():
    assert set(OPS) == sampled()
    assert set(VOCABULARY) - set(OPS) == ABSENT
    assert DUAL.composite <= set(OPS)


@every_sample
def test_a_first_derivative_is_the_certified_one(index):
    assert off(DUAL, index, "jacobian", SAMPLES[index][0]) <= 8


@every_sample
def test_a_second_derivative_is_the_certified_one(index):
    assert off(DUAL, index, *second(index)) <= 40


# Numbers


def test_epsilon_squared_is_zero():
    epsilon = Dual(0.0, 1.0, 1)
    square = epsilon * epsilon
    assert (square.a, square.b) == (0, 0)
    square = Dual(3.0, 1.0, 1) ** 2
    assert (square.a, square.b) == (9, 6)


@pytest.mark.parametrize(
    ("made", "a", "b"),
    [
        (lambda x: x + 2, 5, 1), (lambda x: 2 + x, 5, 1), (lambda x: x - 2, 1, 1), (lambda x: 2 - x, -1, -1),
        (lambda x: x * 2, 6, 2), (lambda x: 2 * x, 6, 2), (lambda x: x / 2, 1.5, 0.5), (lambda x: 6 / x, 2, -2 / 3),
        (lambda x: -x, -3, -1), (lambda x: x**2, 9, 6), (lambda x: 2**x, 8, 8 * math.log(2)),
        (lambda x: np.array(2.0) * x, 6, 2),
    ],
)  # fmt: skip
def test_pythons_operators_are_the_primitives(made, a, b):
    found = made(Dual(np.array(3.0), np.array(1.0), 1))
    assert found.a == a
    assert found.b == pytest.approx(b, rel=1e-15)


def test_an_inner_and_an_outer_epsilon_are_not_confused():
    """d/dx (x d/dy (x + y)) at 1 is 1, and 2 for who takes the one ε for the other (Siskind and Pearlmutter 2008)."""

    def nested(inner, outer):
        x = Dual(np.array(1.0), np.array(1.0), outer)
        y = Dual(np.array(1.0), np.array(1.0), inner)
        return part(x * part(x + y, inner), outer)

    assert nested(inner=2, outer=1) == 1
    assert nested(inner=1, outer=1) == 2


def test_what_has_no_part_in_an_epsilon_is_constant():
    assert part(WORDS.floor(Dual(np.array(1.5), np.array(1.0), 1)), 1) == 0
    assert part(np.array([1.0, 2.0]), 1).tolist() == [0, 0]


# Operators


def test_a_gradient_takes_a_pass_for_each_entry():
    passes = []

    class Counted:
        def __init__(self, f):
            self.f, self.program = f, f.program

        def __call__(self, *arrays):
            passes.append(sum(isinstance(array, Dual) for array in arrays))
            return self.f(*arrays)

    f, x = function(DUAL, "sum(x * x) * y", {"x": [1.0, 2.0, 3.0], "y": 2.0})
    found = DUAL.gradient(Counted(f), x)
    assert found["x"].tolist() == [4, 8, 12]
    assert found["y"] == 14
    assert [n for n in passes if n] == [1, 1, 1, 1]


@pytest.mark.parametrize("order", range(7))
def test_a_partial_derivative_of_any_order_is_as_many_epsilons(order):
    f, x = function(DUAL, "exp(2 * x) * y**3", {"x": 0.25, "y": 2.0})
    by_y = [8, 12, 12, 6][min(order, 3)]
    found = DUAL.partial(f, x, {"x": order, "y": min(order, 3)})
    assert found == pytest.approx(2**order * math.exp(0.5) * by_y, rel=1e-14)


def test_a_partial_derivative_of_an_array_has_its_shape():
    f, x = function(DUAL, "x**3 * k", {"x": 2.0, "k": [1, 2]})
    assert DUAL.partial(f, x, {"x": 2}).tolist() == [12, 24]
    assert DUAL.partial(f, x, {}).tolist() == [8, 16]


def test_a_jvp_and_an_hvp_are_the_jacobian_and_the_hessian_along_a_direction():
    f, x = function(DUAL, "x * y[0] + sin(y)", {"x": [0.5, 1.5], "y": [1.0, -2.0]})
    way = {"x": np.array([1.0, 2.0]), "y": np.array([-1.0, 3.0])}
    jacobian = DUAL.jacobian(f, x)
    assert DUAL.jvp(f, x, way) == pytest.approx(sum(jacobian[n] @ way[n] for n in x), rel=1e-15)
    g, x = function(DUAL, "sum((x * y[0] + sin(y)) ** 2)", {"x": [0.5, 1.5], "y": [1.0, -2.0]})
    hessian = DUAL.hessian(g, x)
    for name, found in DUAL.hvp(g, x, way).items():
        assert found == pytest.approx(sum(hessian[f"{name},{n}"] @ way[n] for n in x), rel=1e-14)


def test_several_outputs_are_answered_as_a_tuple():
    f, x = function(DUAL, "return x * y, sum(x)", {"x": [1.0, 2.0], "y": 3.0})
    assert [a.tolist() for a in DUAL.value(f, x)] == [[3, 6], 3]
    jacobian = DUAL.jacobian(f, x)
    assert [a.tolist() for a in jacobian["x"]] == [[[3, 0], [0, 3]], [1, 1]]
    assert [a.tolist() for a in jacobian["y"]] == [[1, 2], 0]
    pushed = DUAL.jvp(f, x, {"x": np.ones(2), "y": np.array(1.0)})
    assert [a.tolist() for a in pushed] == [[4, 5], 2]
    assert [a.tolist() for a in DUAL.partial(f, x, {"y": 1})] == [[1, 2], 0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_answers_come_in_the_dtype_that_was_asked(dtype):
    f, x = function(DUAL, "sum(gelu(x) * 0.1 + tanh(x) ** 2)", {"x": [0.5, -1.0]}, dtype)
    way = {"x": np.ones(2, dtype)}
    for found in (
        DUAL.value(f, x), DUAL.jvp(f, x, way), DUAL.gradient(f, x)["x"], DUAL.hvp(f, x, way)["x"], DUAL.hessian(f, x)["x,x"],
    ):  # fmt: skip
        assert found.dtype == dtype
    wide, y = function(DUAL, "sum(gelu(x) * 0.1 + tanh(x) ** 2)", {"x": [0.5, -1.0]})
    eps = float(ml_dtypes.finfo(dtype).eps)
    assert DUAL.gradient(f, x)["x"].astype(float) == pytest.approx(DUAL.gradient(wide, y)["x"], abs=8 * eps)


def test_an_input_that_the_output_does_not_depend_on_has_the_derivative_0():
    f, x = function(DUAL, "y * 1", {"x": [1.0, 2.0], "y": 3.0})
    assert DUAL.gradient(f, x)["x"].tolist() == [0, 0]
    assert DUAL.hessian(f, x)["x,y"].tolist() == [0, 0]


@every_tie
def test_a_tie_goes_to_the_first(text, values, expected):
    f, x = function(DUAL, text, values)
    assert {name: a.tolist() for name, a in DUAL.gradient(f, x).items()} == expected


def test_the_branch_that_is_not_taken_leaves_no_trace():
    f, x = function(DUAL, "where(x > 0, x * 2, log(x))", {"x": 0.0})
    assert DUAL.gradient(f, x)["x"] == np.inf
    f, x = function(DUAL, "where(x >= 0, x * 2, log(x))", {"x": 0.0})
    assert DUAL.gradient(f, x)["x"] == 2
    assert DUAL.hessian(f, x)["x,x"] == 0


def test_the_zeroth_power_has_the_derivative_0_also_at_0():
    f, x = function(DUAL, "sum(x ** k)", {"x": 0.0, "k": [0, 1, 2, 3]})
    assert DUAL.gradient(f, x)["x"] == 1
    assert DUAL.hessian(f, x)["x,x"] == 2
    f, x = function(DUAL, "x ** y", {"x": 2.0, "y": 0.0})
    assert DUAL.hessian(f, x)["x,y"] == 0.5


def test_what_has_no_formula_is_unsupported():
    for text, values in (("gammainc(x, y)", {"x": 1.0, "y": 2.0}), ("zeta(x, y)", {"x": 2.0, "y": 2.0})):
        f, x = function(DUAL, text, values)
        assert np.isfinite(DUAL.value(f, x))
        with pytest.raises(Unsupported, match="by its first argument"):
            DUAL.gradient(f, x)


def test_complex_numbers_and_gradients_of_arrays_are_unsupported():
    f, x = function(DUAL, "x * x", {"x": [1.0, 2.0]})
    with pytest.raises(Unsupported, match=r"shape \[2\]"):
        DUAL.gradient(f, x)
    with pytest.raises(Unsupported, match="complex"):
        DUAL.jvp(f, {"x": np.ones(2, complex)}, {"x": np.ones(2, complex)})
    f, x = function(DUAL, "x * (1 + 2j)", {"x": 1.0})
    with pytest.raises(Unsupported, match="complex"):
        DUAL.gradient(f, x)


def test_the_trace_has_a_tangent_beside_every_value():
    f, x = function(DUAL, "c = a + b\nd = b + 1\nreturn c * d", {"a": 2.0, "b": 1.0})
    steps = DUAL.trace(f, x, {"a": np.array(0.0), "b": np.array(1.0)})
    assert [(s.entry, s.primitive, float(s.value), float(s.tangent)) for s in steps] == [
        (0, "", 2, 0), (1, "", 1, 1), (2, "add", 3, 1), (3, "add", 2, 1), (4, "multiply", 6, 5),
    ]  # fmt: skip
