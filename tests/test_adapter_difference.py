from __future__ import annotations

import numpy as np
import pytest
from known import KNOWN

from gradbench.adapters.difference import Central, ComplexStep, Forward
from gradbench.query import Operator, Query
from gradbench.record import Outcome
from gradbench.worker import Answerer


def ask(adapter, function, dtype="float64", operator=Operator.GRADIENT, **x):
    inputs = {name: np.asarray(value, dtype) for name, value in x.items()}
    tangents = {name: np.ones_like(a) for name, a in inputs.items()} if operator is Operator.JVP else None
    return Answerer(adapter).record(Query("q", function, inputs, {}, operator, dtype, tangents=tangents))


@pytest.mark.parametrize(
    ("adapter", "digits"), [(Forward(), (1e-9, 1e-7)), (Central(), (1e-13, 1e-9)), (ComplexStep(), (0, 1e-15))]
)
def test_each_has_the_digits_it_is_known_for(adapter, digits):
    record = ask(adapter, "sin(x) * exp(x)", x=0.7)
    truth = np.exp(0.7) * (np.sin(0.7) + np.cos(0.7))
    error = abs(float(record.answer["x"]) / truth - 1)
    assert digits[0] <= error <= digits[1]


@pytest.mark.parametrize("adapter", [Forward(), Central(), ComplexStep()])
def test_a_jacobian_has_the_outputs_axes_first(adapter):
    record = ask(adapter, "x * sum(y)", operator=Operator.JACOBIAN, x=[1.0, 2.0, 3.0], y=[4.0, 5.0])
    assert record.answer["x"] == pytest.approx(9 * np.eye(3), abs=1e-6)
    assert record.answer["y"] == pytest.approx(np.outer([1, 2, 3], [1, 1]), abs=1e-6)
    record = ask(adapter, "x * sum(y)", operator=Operator.JVP, x=[1.0, 2.0, 3.0], y=[4.0, 5.0])
    assert record.answer[""] == pytest.approx([11, 13, 15], abs=1e-5)


def test_the_complex_step_refuses_what_is_not_analytic_rather_than_answer_zero():
    for function in ("floor(x) + x", "abs(x)", "sum(x + abs(x))"):
        record = ask(ComplexStep(), function, x=0.7)
        assert record.outcome in {Outcome.UNSUPPORTED, Outcome.RAISED}, function


def test_a_narrow_format_stays_narrow():
    for adapter in (Forward(), Central(), ComplexStep()):
        assert ask(adapter, "sin(x)", "float32", x=0.7).answer["x"].dtype == np.float32


@pytest.mark.parametrize(
    "name", ["two outputs", "outputs that share no input", "one output in a tuple", "empty output"]
)
@pytest.mark.parametrize("adapter", [Forward(), Central(), ComplexStep()])
def test_a_function_that_returns_a_tuple_is_answered_output_by_output(adapter, name):
    known = KNOWN[name]
    f, x = known.posed(adapter, np.float32)
    for operator in ("value", "jvp", "jacobian"):
        found, truth = known.asked(adapter, operator, f, x, np.float32), known.expected(operator, np.float32)
        assert found.keys() == truth.keys()
        for key, answer in found.items():
            assert answer.dtype == np.float32
            np.testing.assert_allclose(answer, truth[key], rtol=2e-2, atol=2e-2)
