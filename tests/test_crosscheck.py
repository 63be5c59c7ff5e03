from __future__ import annotations

import numpy as np
import pytest

from gradbench.crosscheck import agree, clusters, crosscheck
from gradbench.judge import judge
from gradbench.query import Operator, Query, Question
from gradbench.record import Outcome, Record, Run

X = {"x": np.array([1.0, 2.0])}


def asked(operator=Operator.GRADIENT, **facts) -> Question:
    query = Query(f"c#1:{operator}:float64", "sum(x**2)", X, {}, operator, "float64", **facts)
    return Question(query, "c", 1)


def said(question: Question, target: str, **answer) -> Record:
    answers = {key.replace("_", ","): np.asarray(value, np.float64) for key, value in answer.items()}
    answers = {"" if key == "y" else key: value for key, value in answers.items()}
    return Record(question.query.id, Outcome.ANSWERED, answers, target=target, environment=target)


def truth(question: Question, **answer) -> list[Record]:
    record = said(question, "ball", **answer)
    arrays = {key: a for key, a in record.answer.items() if a is not None}
    certain = Record(
        record.query, Outcome.ANSWERED, arrays, target="ball", environment="ball",
        margin={key: {"radius": np.zeros(a.shape)} for key, a in arrays.items()},
        status={key: np.full(a.shape, "certified") for key, a in arrays.items()},
    )  # fmt: skip
    quiet = Record(record.query, Outcome.ANSWERED, arrays, target="noise", environment="noise",
                   margin={key: {"sigma": np.zeros(a.shape)} for key, a in arrays.items()})  # fmt: skip
    return [certain, quiet]


def verdicts(*pairs):
    questions = {question.query.id: question for question, _ in pairs}
    return list(judge(Run({}, questions, {}, [record for _, records in pairs for record in records])))


def laws(*pairs) -> list[tuple[str, tuple[str, ...]]]:
    return [(clash.law, clash.targets) for clash in crosscheck(verdicts(*pairs))]


def test_answers_that_agree_break_no_law():
    q = asked()
    records = [said(q, name, x=[2, 4]) for name in ("torch", "torch:forward", "jax")]
    assert laws((q, [*truth(q, x=[2, 4]), *records])) == []


def test_a_target_that_stands_alone_is_named():
    q = asked()
    records = [said(q, "torch", x=[2, 4]), said(q, "jax", x=[2, 4]), said(q, "autograd", x=[2, 4.1])]
    assert laws((q, [*truth(q, x=[2, 4]), *records])) == [("alone", ("autograd",))]


def test_two_against_each_other_name_nobody():
    q = asked()
    records = [said(q, "torch", x=[2, 4]), said(q, "jax", x=[2, 5])]
    assert laws((q, [*truth(q, x=[2, 4]), *records])) == []


def test_two_modes_of_one_framework_that_differ_are_a_finding():
    q = asked()
    records = [said(q, "torch", x=[2, 4]), said(q, "torch:forward", x=[2, 4.001])]
    assert laws((q, [*truth(q, x=[2, 4]), *records])) == [("modes", ("torch", "torch:forward"))]


def test_an_asymmetric_hessian_is_a_finding():
    q = asked(Operator.HESSIAN)
    good, bad = [[2, 1], [1, 2]], [[2, 1], [1.5, 2]]
    assert laws((q, [*truth(q, x_x=good), said(q, "torch", x_x=good)])) == []
    assert laws((q, [*truth(q, x_x=good), said(q, "torch", x_x=bad)])) == [("symmetry", ("torch",))]


def test_forward_and_reverse_mode_must_be_adjoint():
    jvp = asked(Operator.JVP, tangents={"x": np.array([1.0, -1.0])})
    vjp = asked(Operator.VJP, cotangent=np.array(0.5))
    right = [
        (jvp, [*truth(jvp, y=-2), said(jvp, "torch", y=-2)]),
        (vjp, [*truth(vjp, x=[1, 2]), said(vjp, "torch", x=[1, 2])]),
    ]
    assert laws(*right) == []
    wrong = [right[0], (vjp, [*truth(vjp, x=[1, 2]), said(vjp, "torch", x=[1, 2.5])])]
    assert laws(*wrong) == [("adjointness", ("torch",))]


def test_nan_agrees_with_nan_alone():
    q = asked()
    records = [said(q, "torch", x=[np.nan, 4]), said(q, "jax", x=[np.nan, 4]), said(q, "autograd", x=[2, 4])]
    a, b, c = (v for v in verdicts((q, [*truth(q, x=[2, 4]), *records])))
    assert agree(a, b, "x") is True
    assert agree(a, c, "x") is False


def test_answers_at_a_kink_are_not_compared():
    q = asked()
    kink = truth(q, x=[0, 0])
    kink[0].status["x"][:] = "kink"
    kink[0].margin["x"].update(left=np.full(2, -1.0), right=np.full(2, 1.0))
    found = verdicts((q, [*kink, said(q, "torch", x=[0, 0]), said(q, "jax", x=[1, 1])]))
    assert agree(*found, "x") is None
    assert clusters(found, "x") == [[found[0]]]


@pytest.mark.parametrize("value", [[2.0, 4.0 + 1e-10], [2.0, -4.0]])
def test_agreement_is_within_what_rounding_explains(value):
    q = asked()
    a, b = verdicts((q, [*truth(q, x=[2, 4]), said(q, "torch", x=[2, 4]), said(q, "jax", x=value)]))
    assert agree(a, b, "x") is False
