"""`HighPrecision` against answers known in closed form, at kinks, poles and where doubles lose everything."""

import math

import ml_dtypes
import mpmath
import numpy as np
import pytest

from gradbench.adapter import Reference
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.language import parse
from gradbench.numeric import OPS
from gradbench.primitives import VOCABULARY
from gradbench.query import Operator, Query
from gradbench.record import Status
from gradbench.reference.many_digits import vicinity
from gradbench.reference.symbolic import HighPrecision
from gradbench.wire import FORMATS

DIRECTIONS = ("tangents", "cotangent", "orders")


def ask(text, operator="gradient", dtype="float64", constants=None, **inputs):
    directions = {name: inputs.pop(name) for name in DIRECTIONS if name in inputs}
    arrays = {name: np.asarray(value, FORMATS[dtype]) for name, value in inputs.items()}
    query = Query("q", text, arrays, constants or {}, Operator(operator), dtype, **directions)
    return HighPrecision().estimate(query, parse(text, query.names))


def precise(estimate, key):
    """Centre and tail as one number, of one component or of all."""
    assert set(estimate.status[key].reshape(-1)) == {Status.PRECISE}
    assert (estimate.margin[key]["radius"] <= 1e-25 * np.maximum(np.abs(estimate.answer[key]), 1e-280)).all()
    return estimate.answer[key]


def exact(estimate, key):
    """The number with all its digits."""
    return mpmath.mpf(float(precise(estimate, key))) + mpmath.mpf(float(estimate.margin[key]["tail"]))


def test_it_is_a_reference_and_lives_on_the_cpu():
    reference = HighPrecision()
    assert isinstance(reference, Reference)
    assert reference.open("cpu")["device_name"]
    assert set(reference.versions()) >= {"mpmath"}
    with pytest.raises(DeviceMissing):
        reference.open("cuda")


def test_a_gradient_has_thirty_digits():
    found = ask("sin(x) * exp(y)", x=0.7, y=1.3)
    with mpmath.workdps(60):
        x, y = mpmath.mpf(0.7), mpmath.mpf(1.3)
        for key, truth in {"x": mpmath.cos(x) * mpmath.exp(y), "y": mpmath.sin(x) * mpmath.exp(y)}.items():
            away = abs(exact(found, key) - truth)
            assert away <= mpmath.mpf(float(found.margin[key]["radius"]))
            assert away < 1e-30 * abs(truth)


def test_every_operator_has_its_shape_and_its_numbers():
    x, y = np.array([0.5, 1.5]), np.array(2.0)
    text = "sin(x) * y"
    assert precise(ask(text, "value", x=x, y=y), "").tolist() == (np.sin(x) * 2).tolist()
    jacobian = ask(text, "jacobian", x=x, y=y)
    np.testing.assert_allclose(precise(jacobian, "x"), np.diag(2 * np.cos(x)), rtol=1e-15)
    np.testing.assert_allclose(precise(jacobian, "y"), np.sin(x), rtol=1e-15)
    v, w = np.array([1.0, -0.5]), np.array([0.75, 1.25])
    vjp = ask(text, "vjp", x=x, y=y, cotangent=w)
    np.testing.assert_allclose(precise(vjp, "x"), 2 * np.cos(x) * w, rtol=1e-15)
    np.testing.assert_allclose(precise(vjp, "y"), w @ np.sin(x), rtol=1e-15)
    jvp = ask(text, "jvp", x=x, y=y, tangents={"x": v, "y": np.array(3.0)})
    np.testing.assert_allclose(precise(jvp, ""), 2 * np.cos(x) * v + 3 * np.sin(x), rtol=1e-15)
    total = f"sum({text})"
    np.testing.assert_allclose(precise(ask(total, x=x, y=y), "x"), 2 * np.cos(x), rtol=1e-15)
    hessian = ask(total, "hessian", x=x, y=y)
    assert set(hessian.answer) == {"x,x", "x,y", "y,x", "y,y"}
    np.testing.assert_allclose(precise(hessian, "x,x"), np.diag(-2 * np.sin(x)), rtol=1e-15)
    np.testing.assert_allclose(precise(hessian, "x,y"), np.cos(x), rtol=1e-15)
    assert precise(hessian, "y,y") == 0
    hvp = ask(total, "hvp", x=x, y=y, tangents={"x": v, "y": np.array(3.0)})
    np.testing.assert_allclose(precise(hvp, "x"), -2 * np.sin(x) * v + 3 * np.cos(x), rtol=1e-15)
    np.testing.assert_allclose(precise(hvp, "y"), np.cos(x) @ v, rtol=1e-15)


def test_partial_derivatives_of_any_order():
    assert precise(ask("x**5 * y**2", "partial", x=2.0, y=3.0, orders={"x": 3, "y": 1}), "") == 60 * 4 * 6
    assert precise(ask("exp(2 * x)", "partial", x=0.0, orders={"x": 7}), "") == 128
    assert precise(ask("sin(x)", "partial", x=0.0, orders={}), "") == 0
    with pytest.raises(Unsupported, match="array"):
        ask("sum(x)", "partial", x=[1.0, 2.0], orders={"x": 1})


SMOOTH = [
    name
    for name, p in VOCABULARY.items()
    if p.topic in {"elementary", "special", "activations", "arithmetic"} and name != "erfinv"
]


@pytest.mark.parametrize("name", SMOOTH)
def test_the_derivative_of_each_function_is_where_differences_of_doubles_see_it(name):
    parameters = VOCABULARY[name].parameters
    count = sum(not p.is_static for p in parameters)
    at = 1.3 if name in {"acosh", "zeta"} else 0.3
    inputs = {"x": np.array([at, at + 0.31]), "y": np.array([0.7, 0.45])}
    inputs = dict(list(inputs.items())[:count])
    call = {"softmax": "softmax(x)", "log_softmax": "log_softmax(x)"}.get(name, f"{name}({', '.join(inputs)})")
    text = f"sum({call} * z)"
    z = np.array([1.0, -0.6])
    found = ask(text, constants={"z": z}, **inputs)
    statics = {p.name: p.default for p in parameters if p.is_static}
    for key in inputs:
        for i in range(2):
            step = np.zeros(2)
            step[i] = 1e-6
            up, down = (OPS[name](*{**inputs, key: inputs[key] + s * step}.values(), **statics) @ z for s in (1, -1))
            assert precise(found, key)[i] == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("abs(x)", -1, 1), ("relu(x)", 0, 1), ("maximum(x * x, x)", 0, 1), ("sqrt(x * x)", -1, 1), ("sign(x)", 0, 0),
        ("floor(x)", 0, 0), ("where(x > 0, 2 * x, 0 * x)", 0, 2), ("abs(x) + abs(2 * x) * 3", -7, 7),
        ("remainder(x, 1)", 1, 1),
    ],
)  # fmt: skip
def test_a_kink_has_its_one_sided_derivatives(text, left, right):
    found = ask(text, x=0.0)
    assert found.status["x"][()] == Status.KINK
    assert (found.margin["x"]["left"], found.margin["x"]["right"]) == (left, right)
    assert found.margin["x"]["lower"] == min(left, right)
    assert found.margin["x"]["upper"] == max(left, right)


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("relu(x) - relu(-x)", 1), ("x * abs(x)", 0), ("maximum(x, 0) + minimum(x, 0)", 1), ("abs(x)**1.5", 0),
        ("where(x == 0, 1, sin(x) / x)", 0), ("where(x == 0, 0, exp(-1 / x**2))", 0), ("x**7", 0), ("cos(x)", 0),
    ],
)  # fmt: skip
def test_what_only_looks_like_a_kink_is_none(text, truth):
    found = ask(text, x=0.0)
    assert found.status["x"][()] == Status.PRECISE
    assert found.answer["x"] == truth
    assert found.margin["x"]["radius"] < 1e-38


def test_poles_edges_and_vertical_tangents_do_not_raise():
    for text in ("1 / x", "log(x)", "x * log(x)", "sqrt(x)", "x**1.5", "gamma(x)", "where(x > 0, sqrt(abs(x)), 0)"):
        assert ask(text, x=0.0).status["x"][()] == Status.SINGULAR, text
    assert ask("sqrt(x)", x=0.0).answer["x"] == math.inf
    cube = ask("cbrt(x)", x=0.0)
    assert (cube.status["x"][()], cube.answer["x"]) == (Status.HOELDER, math.inf)
    both = ask("sqrt(abs(x))", x=0.0)
    assert both.status["x"][()] == Status.HOELDER
    assert (both.margin["x"]["left"], both.margin["x"]["right"]) == (-math.inf, math.inf)
    assert (ask("sum(inv(x))", x=np.ones((2, 2))).status["x"] == Status.SINGULAR).all()
    assert ask("log(x)", "value", x=0.0).status[""][()] == Status.SINGULAR
    assert ask("x + 1", x=math.inf).status["x"][()] == Status.SINGULAR


def test_second_derivatives_have_kinks_of_their_own():
    found = ask("relu(x)**2", "hessian", x=0.0)
    assert found.status["x,x"][()] == Status.KINK
    assert (found.margin["x,x"]["left"], found.margin["x,x"]["right"]) == (0, 2)
    assert ask("abs(x)**3", "hessian", x=0.0).status["x,x"][()] == Status.PRECISE
    mixed = ask("relu(x * y)", "hessian", x=0.0, y=0.0)
    assert mixed.status["x,y"][()] == Status.KINK
    assert (mixed.margin["x,y"]["lower"], mixed.margin["x,y"]["upper"]) == (0, 1)


def test_a_tie_whose_partial_derivatives_all_exist_is_still_a_kink():
    found = ask("sort(x)[1]", x=[1.0, 1.0, 1.0])
    assert set(found.status["x"]) == {Status.KINK}
    assert found.margin["x"]["lower"].tolist() == [0, 0, 0]
    assert found.margin["x"]["upper"].tolist() == [1, 1, 1]
    beside = ask("sort(x)[1] + y", x=[1.0, 1.0, 1.0], y=2.0)
    assert beside.status["y"][()] == Status.PRECISE
    assert set(ask("max(x) + min(x)", x=[1.0, 1.0]).status["x"]) == {Status.PRECISE}


def test_tails_cancellations_and_far_scales_are_resolved():
    with mpmath.workdps(400):
        slope = float(mpmath.sech(50) ** 2)
    assert precise(ask("tanh(x)", x=50.0), "x") == slope
    assert precise(ask("tanh(x)", x=500.0), "x") == 0
    assert precise(ask("(1 - cos(x)) / x**2", x=1e-8), "x") == pytest.approx(-1e-8 / 12, rel=1e-14)
    assert precise(ask("(1 + x) - 1", x=5e-324), "x") == 1
    assert precise(ask("(x + y) - x", x=1e300, y=1e-300), "y") == 1
    assert precise(ask("relu(x - 1 + 1e-30)", x=1.0), "x") == 1
    assert precise(ask("sin(x)", x=1e300), "x") == math.cos(1e300)


def test_what_is_beyond_float64_is_infinite_and_sure():
    found = ask("exp(x)", x=1000.0)
    assert (found.status["x"][()], found.answer["x"], found.margin["x"]["radius"]) == (Status.PRECISE, math.inf, 0)


def test_inputs_are_exact_and_numbers_of_the_text_are_rounded_to_the_dtype():
    tenth = float(np.asarray(0.1, ml_dtypes.bfloat16))
    assert precise(ask("0.1 * x", dtype="bfloat16", x=3.0), "x") == tenth
    assert precise(ask("x * x", dtype="bfloat16", x=0.1), "x") == 2 * tenth
    assert precise(ask("0.1 * x", dtype="float32", x=3.0), "x") == float(np.float32(0.1))


def test_complex_derivatives_are_the_linear_ones():
    found = ask("x * x * y", dtype="complex128", x=1 + 2j, y=1j)
    assert precise(found, "x") == 2 * (1 + 2j) * 1j
    assert precise(found, "y") == (1 + 2j) ** 2
    assert precise(ask("abs(x)", dtype="complex128", x=3 + 4j), "x") == pytest.approx(0.6 - 0.8j)
    jacobian = ask("exp(x)", "jacobian", dtype="complex128", x=[1j, 2 + 0j])
    np.testing.assert_allclose(precise(jacobian, "x"), np.diag(np.exp([1j, 2])), rtol=1e-15, atol=0)
    w = np.array([1 - 1j, 2.0])
    vjp = ask("x * x", "vjp", dtype="complex128", x=[1j, 2 + 0j], cotangent=w)
    np.testing.assert_allclose(precise(vjp, "x"), 2 * np.array([1j, 2]) * w, rtol=1e-15)
    t = {"x": np.array(1 + 1j)}
    assert precise(ask("abs(x)", "jvp", dtype="complex128", x=3 + 4j, tangents=t), "") == pytest.approx(7 / 5)
    beside = ask("abs(c * x)**2", constants={"c": np.array(3 + 4j)}, x=2.0)
    assert precise(beside, "x") == 100
    with pytest.raises(Unsupported, match="complex"):
        ask("x * x", "hessian", dtype="complex128", x=1j)
    with pytest.raises(Unsupported, match="order"):
        ask("relu(x)", dtype="complex128", x=1j)


def test_what_rests_on_a_rounding_error_is_undecided():
    assert ask("floor(sqrt(x)**2)", "value", x=2.0).status[""][()] == Status.UNDECIDED
    assert ask("floor(sqrt(x)**2)", "value", x=2.5).status[""][()] == Status.PRECISE


def test_too_large_a_question_is_refused_with_its_size(monkeypatch):
    with pytest.raises(Unsupported, match="400 entries"):
        ask("sum(x)", x=np.ones(400))
    monkeypatch.setattr(vicinity, "BUDGET", 100)
    with pytest.raises(Unsupported, match="steps"):
        ask("sum(x)", x=np.ones(50))


def test_a_gradient_of_an_array_is_refused():
    with pytest.raises(Unsupported, match=r"\[2\]"):
        ask("x * x", x=[1.0, 2.0])


def test_a_negative_zero_that_matters_is_refused():
    with pytest.raises(Unsupported, match="negative zero"):
        ask("atan2(x, -1)", "value", x=-0.0)


def test_answers_are_the_same_every_time():
    one, two = (ask("sum(abs(x))", x=[0.0, 1.0]) for _ in range(2))
    assert one.notes == two.notes
    assert one.margin["x"]["lower"].tobytes() == two.margin["x"]["lower"].tobytes()


def test_the_budget_running_out_leaves_components_undecided(monkeypatch):
    monkeypatch.setattr(vicinity, "BUDGET", 150)
    found = ask("sum(abs(x))", x=[0.0, 1.0, 2.0])
    assert found.status["x"].tolist() == [Status.UNDECIDED, Status.PRECISE, Status.PRECISE]


def test_linear_algebra():
    a = np.array([[4.0, 1.0], [1.0, 3.0]])
    np.testing.assert_allclose(precise(ask("det(a)", a=a), "a"), [[3, -1], [-1, 4]])
    np.testing.assert_allclose(precise(ask("slogdet(a).logabsdet", a=a), "a"), np.linalg.inv(a).T)
    np.testing.assert_allclose(precise(ask("sum(eigvalsh(a))", a=a), "a"), np.eye(2), atol=1e-30)
    np.testing.assert_allclose(precise(ask("sum(solve(a, b))", a=a, b=[1.0, 2.0]), "b"), np.linalg.inv(a).sum(0))
    ties = ask("eigvalsh(a)", "jacobian", a=np.eye(2))
    assert set(ties.status["a"].reshape(-1)) == {Status.KINK}
