"""The target `manual`: rules written by hand are evaluated, and nothing else is."""

import ml_dtypes
import numpy as np
import pytest

from gradbench.adapter import Function, lifted
from gradbench.adapters.manual import Manual
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.language import parse, parse_rule
from gradbench.primitives import VOCABULARY

LAYER = """
z = W @ x
h = maximum(z, 0)
return h
"""
LAYER_BACK = """
dz = where(z > 0, cotangent, 0)
return {W: outer(dz, x), x: W.T @ dz}
"""


def function(text, inputs, dtype=np.float64, constants=None, **rules):
    adapter, constants = Manual(), constants or {}
    names = (*inputs, *constants)
    programs = {
        operator: parse_rule(text, rule, names, ("cotangent",) if operator == "vjp" else ())
        for operator, rule in rules.items()
    }
    return Function(parse(text, names), lifted(adapter, np.dtype(dtype)), tuple(inputs), constants, programs)


def test_it_has_every_primitive_and_only_the_cpu():
    adapter = Manual()
    assert set(VOCABULARY) <= set(adapter.ops)
    assert adapter.open("cpu")["device_name"]
    assert set(adapter.versions()) == {"numpy", "scipy"}
    with pytest.raises(DeviceMissing):
        adapter.open("cuda")


def test_the_value_is_the_function_or_the_formula_that_is_stated_for_it():
    x = {"a": np.array(2.0), "b": np.array(1.0)}
    assert Manual().value(function("c = a + b\nreturn c * (b + 1)", "ab"), x) == 6
    assert Manual().value(function("a + b", "ab", value="a - b"), x) == 1
    constant = Manual().value(function("a + b", "ab", value="3"), {"a": np.ones(2), "b": np.ones(2)})
    assert constant.tolist() == [3, 3]


def test_a_reverse_pass_pulls_a_cotangent_back():
    f = function(LAYER, ["W", "x"], vjp=LAYER_BACK)
    x = {"W": np.array([[-0.5, 0.25], [-0.25, 0.75]]), "x": np.array([0.25, 0.5])}
    found = Manual().vjp(f, x, np.array([1.0, 2.0]))
    assert found["W"].tolist() == [[0, 0], [0.5, 1.0]]
    assert found["x"].tolist() == [-0.5, 1.5]


def test_a_gradient_is_the_reverse_pass_from_one():
    f = function("sum(x * x)", ["x"], vjp="{x: 2 * x * cotangent}")
    assert Manual().gradient(f, {"x": np.array([1.0, 3.0])})["x"].tolist() == [2, 6]
    both = function("sum(x * x)", ["x"], vjp="{x: 2 * x * cotangent}", gradient="{x: 5 * x}")
    assert Manual().gradient(both, {"x": np.array([1.0])})["x"].tolist() == [5]


def test_a_gradient_of_an_array_is_unsupported():
    f = function("x * x", ["x"], vjp="{x: 2 * x * cotangent}")
    with pytest.raises(Unsupported, match=r"\[2\]"):
        Manual().gradient(f, {"x": np.array([1.0, 3.0])})


def test_an_intermediate_result_and_a_constant_may_be_used():
    f = function(
        "s = sin(k * x)\nreturn s * s", ["x"], constants={"k": np.array(2.0)}, gradient="2 * s * cos(k * x) * k"
    )
    assert Manual().gradient(f, {"x": np.array(0.3)})["x"] == pytest.approx(2 * np.sin(1.2))


def test_a_bare_expression_answers_for_a_single_input_only():
    assert Manual().gradient(function("x**2", ["x"], gradient="2 * x"), {"x": np.array(3.0)})["x"] == 6
    with pytest.raises(Unsupported, match="one array for 2 inputs"):
        Manual().gradient(function("x * y", "xy", gradient="y"), {"x": np.array(3.0), "y": np.array(1.0)})


def test_numbers_fill_the_shape_of_their_key():
    x = {"x": np.ones(2), "y": np.ones(3)}
    f = function("sum(x) + 2 * sum(y)", "xy", gradient="{x: 1, y: 2}")
    assert {k: v.tolist() for k, v in Manual().gradient(f, x).items()} == {"x": [1, 1], "y": [2, 2, 2]}
    hessian = function("sum(x) + sum(y)", "xy", hessian="{x: {x: 0, y: 0}, y: {x: 0, y: 0}}")
    found = Manual().hessian(hessian, x)
    assert {k: v.shape for k, v in found.items()} == {"x,x": (2, 2), "x,y": (2, 3), "y,x": (3, 2), "y,y": (3, 3)}
    jacobian = Manual().jacobian(function("x * 1", "x", jacobian="{x: 1}"), {"x": np.ones(2)})
    assert jacobian["x"].shape == (2, 2)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.complex64])
def test_answers_come_in_the_dtype_that_was_asked(dtype):
    x = {"x": np.ones(2, dtype)}
    f = function("sum(x * 0.1)", ["x"], dtype, gradient="{x: 0.1}", vjp="{x: 0.1 * cotangent}")
    assert Manual().gradient(f, x)["x"].dtype == dtype
    assert Manual().vjp(f, x, np.ones((), dtype))["x"].dtype == dtype
    assert Manual().value(f, x).dtype == dtype
    labels = function("sum(x * k)", ["x"], dtype, constants={"k": np.array([2, 3])}, gradient="{x: k}")
    assert Manual().gradient(labels, x)["x"].dtype == dtype


def test_a_wrong_shape_is_not_mended():
    f = function("sum(x)", ["x"], gradient="{x: reshape(x, (1, 2))}")
    assert Manual().gradient(f, {"x": np.ones(2)})["x"].shape == (1, 2)


def test_an_input_that_the_reverse_pass_leaves_out_is_answered_none():
    f = function("x * 0 + y", "xy", gradient="{y: 1}")
    assert Manual().gradient(f, {"x": np.array(1.0), "y": np.array(1.0)})["x"] is None


@pytest.mark.parametrize("operator", ["gradient", "jacobian", "hessian"])
def test_what_the_case_does_not_state_is_unsupported(operator):
    with pytest.raises(Unsupported, match=f"the case states no {operator} by hand"):
        getattr(Manual(), operator)(function("x * x", ["x"]), {"x": np.array(1.0)})
    with pytest.raises(Unsupported, match="no vjp by hand"):
        Manual().vjp(function("x * x", ["x"]), {"x": np.array(1.0)}, np.array(1.0))


def test_arrays_are_copied_in():
    array = np.ones(2)
    native = Manual().asarray(array)
    native[0] = 7
    assert array[0] == 1


def test_the_value_of_a_function_that_returns_a_tuple_is_a_tuple():
    x = {"a": np.array([2.0, 3.0]), "b": np.array(1.0)}
    found = Manual().value(function("return a + b, b", "ab"), x)
    assert isinstance(found, tuple)
    assert [part.tolist() for part in found] == [[3, 4], 1]
