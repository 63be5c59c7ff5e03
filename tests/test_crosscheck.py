from __future__ import annotations

import numpy as np
import pytest

from gradbench.clash import agree
from gradbench.crosscheck import clusters, crosscheck
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


def both(question: Question, right, *records: Record) -> list[tuple[str, tuple[str, ...]]]:
    return laws((question, [*truth(question, x=right), *records]))


def nothing(question: Question, target: str) -> Record:
    return Record(question.query.id, Outcome.ANSWERED, {"x": None}, target=target, environment=target)


def raising(question: Question, target: str) -> Record:
    return Record(question.query.id, Outcome.RAISED, message="no", target=target, environment=target)


def test_a_zero_where_another_way_of_using_the_framework_answers_a_number_is_a_silent_zero():
    q = asked()
    found = both(q, [2, 4], said(q, "torch", x=[2, 4]), said(q, "torch:compile", x=[0, 0]))
    assert ("silent-zero", ("torch:compile", "torch")) in found
    assert not [law for law, _ in found if law == "modes"]


@pytest.mark.parametrize("other", [nothing, raising])
def test_a_zero_where_another_way_answers_none_or_raises_is_a_silent_zero_even_if_0_is_right(other):
    q = asked()
    found = both(q, [0, 0], other(q, "torch"), said(q, "torch:func", x=[0, 0]))
    assert found == [("silent-zero", ("torch:func", "torch"))]
    (clash,) = crosscheck(verdicts((q, [*truth(q, x=[0, 0]), other(q, "torch"), said(q, "torch:func", x=[0, 0])])))
    assert clash.sentence.endswith("; 0 is right")
    clash, *_ = crosscheck(verdicts((q, [*truth(q, x=[2, 4]), other(q, "torch"), said(q, "torch:func", x=[0, 0])])))
    assert clash.sentence.endswith("; the output depends on it")


def test_whether_the_output_depends_on_the_input_is_what_the_program_says():
    query = Query("c#1:gradient:float64", "sum(x**2)", {**X, "u": np.array(1.0)}, {}, Operator.GRADIENT, "float64")
    q = Question(query, "c", 1)
    silent = Record(q.query.id, Outcome.ANSWERED, {"x": 2 * X["x"], "u": np.array(0.0)}, target="jax", environment="a")
    absent = Record(q.query.id, Outcome.ANSWERED, {"x": 2 * X["x"], "u": None}, target="jax:jit", environment="b")
    right = truth(q, x=[2, 4], u=0.0)
    (clash,) = crosscheck(verdicts((q, [*right, silent, absent])))
    assert clash.sentence == "jax answers 0 by u where jax:jit answers None; the output doesn't depend on it"


def test_a_zero_in_another_framework_is_no_silent_zero():
    q = asked()
    assert both(q, [0, 0], nothing(q, "torch"), said(q, "jax", x=[0, 0])) == []


def test_none_against_a_number_is_a_difference_of_ways():
    q = asked()
    assert ("modes", ("torch", "torch:func")) in both(q, [2, 4], said(q, "torch", x=[2, 4]), nothing(q, "torch:func"))


def test_the_oracles_radius_excuses_no_difference_between_eager_and_compiled():
    q = asked()
    records = [said(q, "jax", x=[2, 4]), said(q, "jax:jit", x=[2, 4 + 1e-9])]
    ball, quiet = truth(q, x=[2, 4])
    vague = Record(**{**ball.__dict__, "margin": {"x": {"radius": np.full(2, 1e-6)}}})
    found = crosscheck(verdicts((q, [vague, quiet, *records])))
    assert [(clash.law, clash.targets) for clash in found] == [("modes", ("jax", "jax:jit"))]
    assert found[0].sentence.endswith("and both are judged pass")


def test_two_ways_that_choose_different_ends_of_a_kink_are_told_although_both_are_right():
    q = asked()
    ball, quiet = truth(q, x=[0, 4])
    ends = {"radius": np.zeros(2), "left": np.array([-1.0, 4]), "right": np.array([1.0, 4])}
    status = {"x": np.array(["kink", "certified"])}
    kink = Record(**{**ball.__dict__, "margin": {"x": ends}, "status": status})
    records = [said(q, "torch", x=[-1, 4]), said(q, "torch:forward", x=[1, 4])]
    found = crosscheck(verdicts((q, [kink, quiet, *records])))
    assert [(clash.law, clash.targets) for clash in found] == [("modes", ("torch", "torch:forward"))]
    assert crosscheck(verdicts((q, [kink, quiet, records[0], said(q, "torch:forward", x=[-1, 4])]))) == []


def test_difference_quotients_are_no_ways_of_using_one_framework():
    q = asked()
    records = [said(q, "finite-difference:forward", x=[2, 4.1]), said(q, "finite-difference:central", x=[2, 4])]
    assert "modes" not in [law for law, _ in both(q, [2, 4], *records)]


def test_a_query_that_everybody_raises_at_breaks_no_law():
    q = asked()
    assert both(q, [2, 4], raising(q, "torch"), raising(q, "jax")) == []
