"""Functions that return a tuple: read, asked, answered, proved and judged, output by output."""

from __future__ import annotations

import numpy as np
import pytest

from gradbench import document, registry
from gradbench.adapter import lifted
from gradbench.case_reader import read
from gradbench.errors import LanguageError, Mistakes
from gradbench.host import Host
from gradbench.judge import Ruling, judge
from gradbench.language import parse
from gradbench.plan import plan
from gradbench.program import evaluate
from gradbench.query import Operator, Query
from gradbench.record import Outcome, Record, Run, Target
from gradbench.worker import Answerer

POLAR = """
cases:
  - name: polar
    inputs: {r: scalar, t: scalar}
    function: return r * cos(t), r * sin(t)
    points:
      - at: {r: 2, t: 0}
        value: [2, 0]
        jacobian: [{r: 1, t: 0}, {r: 0, t: 2}]
        vjp: {cotangent: [1, 2], answer: {r: 1, t: 4}}
        jvp: {tangents: {r: 1, t: 1}, answer: [1, 2]}
        partial: {orders: {r: 1, t: 1}, answer: [0, 1]}
"""
MIXED = """
cases:
  - name: mixed
    inputs: {x: [3], y: [2], z: scalar}
    dtypes: [float64]
    function: |
      a = exp(x)
      return sum(a), outer(a, y), x[0]
    points:
      - at: {x: [1, 2, 0.5], y: [1, -1], z: 4}
"""


def questions(text: str, dtype: str = "float64") -> dict[Operator, object]:
    found = plan(read(document.parse(text.encode(), "f.yaml")))
    return {q.query.operator: q for q in found if q.query.dtype == dtype}


def references(asked) -> list[Record]:
    found = []
    for name in ("ball", "noise"):
        record = Answerer(registry.load(registry.entry(name).spec)).record(asked.query)
        assert record.outcome is Outcome.ANSWERED, record.message
        found.append(Record(**{**record.__dict__, "target": name}))
    return found


def judged(asked, answer):
    target = Target("torch")
    record = Record(asked.query.id, Outcome.ANSWERED, answer).of(target)
    run = Run({}, {asked.query.id: asked}, {target.environment: target}, [*references(asked), record])
    (verdict,) = judge(run)
    return verdict


def test_a_function_may_return_a_tuple_and_evaluates_to_one():
    program = parse("return x + 1, 2 * x, x", ["x"])
    assert program.is_tuple
    assert program.keys == ("0", "1", "2")
    assert evaluate(program, lifted(Host(), np.dtype("float64")), {"x": np.array(3.0)}) == (4.0, 6.0, 3.0)
    assert not parse("x + 1", ["x"]).is_tuple


def test_a_tuple_has_parts_and_they_are_arrays():
    with pytest.raises(LanguageError, match="Tuple is not part of the language"):
        parse("return (x, (x, x))", ["x"])
    with pytest.raises(LanguageError):
        parse("return ()", ["x"])


def test_connection_is_known_for_each_output():
    program = parse("return x * y, x", ["x", "y"])
    assert program.unconnected() == set()
    assert program.unconnected("1") == {"y"}


def test_the_keys_are_outputs_before_inputs():
    asked = questions(POLAR)
    assert asked[Operator.VALUE].query.keys == ("0", "1")
    assert asked[Operator.JACOBIAN].query.keys == ("0,r", "0,t", "1,r", "1,t")
    assert asked[Operator.VJP].query.keys == ("r", "t")
    assert [w.item() for w in asked[Operator.VJP].query.cotangents] == [1, 2]


def test_what_suits_a_tuple_is_asked_with_a_direction_for_each_output():
    asked = questions(MIXED)
    assert set(asked) == {Operator.VALUE, Operator.JACOBIAN, Operator.VJP, Operator.JVP}
    assert [w.shape for w in asked[Operator.VJP].query.cotangents] == [(), (3, 2), ()]


def test_a_query_with_several_cotangents_travels():
    query = questions(MIXED)[Operator.VJP].query
    again = Query.from_json(query.to_json())
    assert again.outputs == ("0", "1", "2")
    assert all(np.array_equal(a, b) for a, b in zip(again.cotangents, query.cotangents, strict=True))
    assert again.digest == query.digest


@pytest.mark.parametrize("operator", [op for op in Operator if not op.is_of_scalars])
def test_what_is_stated_of_each_output_is_what_the_ball_proves(operator):
    asked = questions(POLAR)[operator]
    ball, _ = references(asked)
    assert set(ball.answer) == set(asked.query.keys)
    for key, stated in asked.stated.items():
        assert ball.answer[key].shape == stated.lower.shape
        assert np.allclose(ball.answer[key], stated.lower, atol=1e-15)
        assert (ball.status[key] == "certified").all()


def test_each_output_keeps_its_shape_in_every_answer():
    asked = questions(MIXED)[Operator.JACOBIAN]
    ball, noise = references(asked)
    assert ball.answer["1,x"].shape == (3, 2, 3)
    assert ball.margin["1,x"]["radius"].shape == (3, 2, 3)
    assert ball.status["2,x"].shape == (3,)
    assert noise.margin["1,y"]["sigma"].shape == (3, 2, 2)
    x, y = np.array([1, 2, 0.5]), np.array([1, -1])
    right = np.einsum("i,ij,k->ikj", np.exp(x), np.eye(3), y)
    assert np.allclose(ball.answer["1,x"], right, rtol=1e-15)


def test_a_wrong_number_in_one_output_is_found_there():
    asked = questions(MIXED)[Operator.JACOBIAN]
    ball = references(asked)[0].answer
    assert judged(asked, dict(ball)).ruling is Ruling.PASS
    wrong = {**ball, "1,y": ball["1,y"] * (1 + 1e-12)}
    verdict = judged(asked, wrong)
    assert (verdict.worst.key, verdict.worst.ruling) == ("1,y", Ruling.FAIL)


def test_swapped_outputs_fail():
    asked = questions(POLAR)[Operator.VALUE]
    ball = references(asked)[0].answer
    assert judged(asked, dict(ball)).ruling is Ruling.PASS
    assert judged(asked, {"0": ball["1"], "1": ball["0"]}).ruling is Ruling.FAIL


def test_none_for_an_input_that_one_output_does_without_is_a_convention_there_alone():
    asked = questions(MIXED)[Operator.JACOBIAN]
    ball = references(asked)[0].answer
    assert judged(asked, {**ball, "0,y": None}).ruling is Ruling.CONVENTION
    assert judged(asked, {**ball, "1,y": None}).ruling is Ruling.FAIL


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value: [2, 0]", "value: 2", "one answer is needed for each output, or write a list of 2"),
        ("value: [2, 0]", "value: [2, 0, 1]", "one answer is needed for each output"),
        ("cotangent: [1, 2]", "cotangent: [1]", "one answer is needed for each output"),
        ("value: [2, 0]", "gradient: {r: 1}", "gradient needs a scalar output, and this function returns 2 arrays"),
    ],
)
def test_what_does_not_fit_a_tuple_is_blamed(old, new, message):
    with pytest.raises(Mistakes) as caught:
        read(document.parse(POLAR.replace(old, new).encode(), "f.yaml"))
    assert message.partition(", or write")[0] in str(caught.value)
