"""What was answered at all, and the conventions that answers show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from runs import BALL, HEADER, JAX, NOISE, TORCH, answered, proved, question

from gradbench.compare import Truth
from gradbench.conventions import conventions
from gradbench.judge import judge
from gradbench.oracle import Oracle
from gradbench.query import Operator
from gradbench.record import Outcome, Record, Run
from gradbench.report.coverage import coverage, holes, shares


def verdicts(*pairs):
    """Verdicts on questions, each with its records and what is right of it."""
    questions, records = {}, []
    for asked, right, *answers in pairs:
        questions[asked.query.id] = asked
        records += [*proved(asked, *right, radius=0.0), *answers]
    targets = {target.environment: target for target in (TORCH, JAX, BALL, NOISE)}
    return list(judge(Run(HEADER, questions, targets, records)))


def refused(target, asked, message, outcome=Outcome.UNSUPPORTED):
    return Record(asked.query.id, outcome, message=message).of(target)


ALONE = question("alone", Operator.GRADIENT, function="exp(x) + 0 * y")
MIXED = question("mixed", Operator.GRADIENT, function="sin(exp(x)) * y")
E = float(np.exp(2.0))


def cell(frame, word, target, column="answered"):
    rows = frame[(frame["primitive"] == word) & (frame["target"] == target)]
    assert len(rows) == 1
    return rows[column].iloc[0]


def test_a_combination_is_covered_if_any_case_was_answered():
    found = coverage(
        verdicts(
            (ALONE, (E, 0.0), answered(TORCH, ALONE, E, 0.0), refused(JAX, ALONE, "no exp today")),
            (MIXED, (1.0, 2.0), refused(TORCH, MIXED, "it has no sin"), refused(JAX, MIXED, "it has no sin")),
        )
    )
    assert (cell(found, "exp", "torch", "asked"), cell(found, "exp", "torch")) == (2, 1)
    assert cell(found, "exp", "torch", "reason") == ""
    assert cell(found, "sin", "torch", "reason") == "it has no sin"
    assert cell(found, "sin", "torch", "case") == "mixed"
    # Of two reasons, that of the case with fewer other primitives is the one to believe.
    assert cell(found, "exp", "jax", "reason") in {"no exp today", "it has no sin"}
    assert cell(found, "sin", "jax", "outcome") == "unsupported"
    assert set(found["operator"]) == {"gradient"}


def test_a_wrong_answer_is_covered_and_an_error_is_a_hole():
    found = coverage(
        verdicts(
            (ALONE, (E, 0.0), answered(TORCH, ALONE, 7.0, 0.0), refused(JAX, ALONE, "boom", Outcome.CRASHED)),
        )
    )
    assert cell(found, "exp", "torch") == 1
    (hole,) = holes(found)
    assert (hole.outcome, hole.reason, hole.operators, hole.dtypes) == ("crashed", "boom", ("gradient",), ("float64",))
    assert hole.primitives == ("add", "exp", "multiply")
    assert hole.count == 3


def test_shares_count_combinations_of_operator_and_format():
    narrow = question("alone", Operator.GRADIENT, "float32", function="exp(x) + 0 * y")
    found = coverage(
        verdicts(
            (ALONE, (E, 0.0), answered(TORCH, ALONE, E, 0.0)),
            (narrow, (E, 0.0), refused(TORCH, narrow, "no float32")),
        )
    )
    assert shares(found)["exp", TORCH.environment] == (1, 2)


def test_what_nobody_asked_for_has_no_row():
    assert coverage([]).empty
    assert holes(coverage([])) == []


def shown(found, kind, target):
    (one,) = [c for c in found if c.kind == kind and c.environment == target.environment]
    return dict(one.answers)


def test_the_convention_for_an_unconnected_input_is_what_each_target_answered():
    asked = question("lonely", Operator.GRADIENT, function="x ** 2")
    found = conventions(
        verdicts((asked, (4.0, 0.0), answered(TORCH, asked, 4.0, None), answered(JAX, asked, 4.0, 0.0)))
    )
    assert shown(found, "unconnected", TORCH) == {"None": 1}
    assert shown(found, "unconnected", JAX) == {"zeros": 1}


def test_an_error_for_an_unconnected_input_is_a_convention_too():
    asked = question("lonely", Operator.GRADIENT, function="x ** 2")
    found = conventions(verdicts((asked, (4.0, 0.0), refused(TORCH, asked, "not used", Outcome.RAISED))))
    assert shown(found, "unconnected", TORCH) == {"an error": 1}


def test_none_for_a_derivative_that_is_0_is_told_from_none_for_an_input_that_is_not_there():
    asked = question("steps", Operator.GRADIENT, function="floor(x) + y")
    found = conventions(
        verdicts((asked, (0.0, 1.0), answered(TORCH, asked, None, 1.0), answered(JAX, asked, 0.0, 1.0)))
    )
    assert {c.kind for c in found} == {"zero"}
    assert shown(found, "zero", TORCH) == {"None": 1}


@pytest.mark.parametrize(
    ("answer", "word"),
    [(-1.0, "the lower end"), (2.0, "the upper end"), (0.0, "0"), (0.5, "the middle"), (0.7, "another number")],
)
def test_what_is_chosen_at_a_kink_has_a_name(answer, word):
    asked = question("kinky", Operator.GRADIENT, function="maximum(-x, 2 * x) + 0 * y")
    (verdict,) = verdicts((asked, (answer, 0.0), answered(TORCH, asked, answer, 0.0)))
    truth = verdict.oracle.truths["x"]
    kink = replace(truth, kind=np.array("set"), lower=np.array(-1.0), upper=np.array(2.0))
    assert isinstance(kink, Truth)
    truths = {**verdict.oracle.truths, "x": kink}
    found = conventions([replace(verdict, oracle=Oracle(truths, {}))])
    assert shown(found, "kink", TORCH) == {word: 1}
