"""One gradient, node by node: what is asked, what comes of it, and who is named where."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import lessons
import numpy as np
import pytest

from gradbench import catalogue, explain, registry, verify
from gradbench.adapter import lifted
from gradbench.adapters.symbolic import Symbolic
from gradbench.adapters.tape import Tape
from gradbench.errors import BadOption
from gradbench.explanation import BACKWARD, FORWARD, PLAIN, Cell, Explanation, Side, Voice, explained
from gradbench.host import Host
from gradbench.journal import read
from gradbench.judge import Ruling
from gradbench.language import parse
from gradbench.lesson import MOST_ENTRIES, MOST_NODES
from gradbench.program import evaluate
from gradbench.query import Operator, Query
from gradbench.record import Outcome, Record, Run, Target
from gradbench.registry import Entry
from gradbench.report.sentences import adjoint_text, conclusion, departures, origin, silent, value_text
from gradbench.wire import FORMATS
from gradbench.worker import Answerer

TWICE = """
cases:
  - name: twice
    inputs: {x: scalar}
    function: |
      u = x * x
      s = sin(u)
      return exp(s) + cos(u) * u
    points: [{at: {x: 1.25}}]
"""
MIXED = """
cases:
  - name: mixed
    inputs: {x: [3], m: [2, 2], free: scalar}
    constants: {k: 2.5, i: {dtype: integer, values: [2, 0]}}
    function: |
      j = i[:]
      big = x > k
      y = where(big, x * k, -x)
      unused = exp(x)
      l = slogdet(m).logabsdet
      return y[0] * y[2] + l + sum(take(y, j))
    points: [{at: {x: [1, 2, 3], m: [[2, 1], [1, 3]], free: 7}}]
"""
TUPLE = """
cases:
  - name: pair
    inputs: {x: [2]}
    function: |
      y = exp(x)
      return y, sum(y)
    points: [{at: {x: [0, 1]}, vjp: {cotangent: [[1, 2], 3], answer: {x: [4, 13.591409142295225]}}}]
"""


def names_of(explanation: Explanation, indexes) -> list[str]:
    return [explanation.steps[i].name for i in indexes]


def step(explanation: Explanation, name: str):
    return next(one for one in explanation.steps if one.name == name)


# What is asked


def test_a_lesson_asks_for_every_node_by_returning_it_and_by_adding_zeros():
    wanted = lessons.of(lessons.OLAH)
    assert wanted.names == ("a", "b", "c", "d", "n3")
    forward, backward, plain = (question.query for question in wanted.questions)
    assert forward.function.splitlines()[-1] == "return c, d, n3"
    assert (forward.operator, forward.outputs) == (Operator.VALUE, ("0", "1", "2"))
    assert backward.operator is Operator.GRADIENT
    assert list(backward.inputs) == ["a", "b", "d_c", "d_d", "d_n3", "d_b_in_c", "d_b_in_d"]
    assert "c = n2 + d_c" in backward.function.splitlines()
    assert backward.rules == {}, "nobody has this derivative by hand"
    assert plain.function == wanted.program.text
    assert plain.rules
    assert plain.remarks
    assert wanted.adjoints == {0: "a", 1: "b", 2: "d_c", 3: "d_d", 4: "d_n3"}
    assert wanted.shares == {1: ((2, "d_b_in_c"), (3, "d_b_in_d"))}


def evaluated(query: Query):
    ops = lifted(Host(), FORMATS[query.dtype])
    with np.errstate(all="ignore"):
        return evaluate(parse(query.function, query.names), ops, {**query.inputs, **query.constants})


def test_what_is_added_is_the_zero_that_changes_nothing():
    text = lessons.OLAH.replace("return c * d", "return copysign(d, c)").replace(
        "at: {a: 2, b: 1}", "at: {a: -0.0, b: -0.0}"
    )
    wanted = lessons.of(text)
    for name, array in wanted.backward.query.inputs.items():
        assert array == 0, name
        assert np.signbit(array), name
    assert evaluated(wanted.backward.query) == -1, "with 0 for -0 it would be 1"


def test_every_shipped_case_is_a_lesson_whose_zeros_change_no_bit():
    count = 0
    for case in catalogue.load([catalogue.shipped()]):
        if "large" in case.tags:
            with pytest.raises(BadOption, match="an explanation shows arrays of at most"):
                explain.lesson(case, case.points[0].number)
            continue
        if all(array.dtype.kind in "bi" for array in case.points[0].inputs.values()):
            with pytest.raises(BadOption, match="has no input of real or complex numbers to differentiate by"):
                explain.lesson(case, case.points[0].number)
            continue
        wanted = explain.lesson(case, case.points[0].number)
        if not set(wanted.program.primitives) <= set(Host.ops):
            continue
        count += 1
        opened, plain = evaluated(wanted.backward.query), evaluated(wanted.plain.query)
        pairs = zip(opened, plain, strict=True) if isinstance(plain, tuple) else [(opened, plain)]
        assert all(np.array_equal(one, other, equal_nan=True) for one, other in pairs), case.name
        values = () if wanted.forward is None else evaluated(wanted.forward.query)
        shapes = {index: np.shape(values[int(key)]) for index, key in wanted.values.items()}
        assert all(wanted.specs[index].shape == shape for index, shape in shapes.items()), case.name
    assert count > 200


def test_conditions_are_shown_whole_numbers_and_dead_ends_are_not_asked_for():
    wanted = lessons.of(MIXED)
    known = dict(zip(wanted.names, range(len(wanted.names)), strict=True))
    assert known["big"] in wanted.values
    assert known["big"] not in wanted.adjoints
    assert known["j"] not in wanted.values
    several = known["l"] - 1
    assert wanted.program.nodes[several - len(wanted.program.names)].primitive == "slogdet"
    assert several not in wanted.values, "it is two arrays"
    assert known["unused"] in wanted.values
    assert known["unused"] not in wanted.adjoints, "0 by what the text says; whoever raises for it would be excused"
    users = [wanted.names[user] for user, _ in wanted.shares[known["x"]]]
    assert users == ["n3", "n4"], "x * k and -x: neither the comparison nor the dead end hands anything on"
    found = lessons.heard(wanted)
    assert value_text(step(found, "big")) == "[False, False, True]"
    assert value_text(step(found, "j")) == "whole numbers"
    assert value_text(found.steps[several]) == "several arrays"
    assert adjoint_text(step(found, "unused")) == "0"
    assert adjoint_text(step(found, "k")) == "", "a constant has none"
    assert adjoint_text(step(found, "x")) == "[-8.5, 0, 0]"
    assert found.departing == ()


def test_what_is_stated_holds_at_its_node():
    wanted = lessons.of(lessons.OLAH.replace("value: 6", "value: 7"))
    assert float(wanted.forward.stated["2"].lower) == 7
    (sentence, *_) = lessons.heard(wanted).disputes
    assert "the case says 7.0, and ball proves 6.0" in sentence


def test_an_array_and_a_tuple_are_weighted_as_the_case_says():
    found = lessons.heard(lessons.of(TUPLE))
    assert found.question.query.operator is Operator.VJP
    assert adjoint_text(step(found, "y")) == "[4, 5]"
    assert origin(step(found, "y"), found.steps) == "where it starts and from n2"
    assert adjoint_text(step(found, "x")) == "[4, 13.5914]"
    assert not found.disputes


def test_a_function_of_no_node_is_a_lesson_too():
    found = lessons.heard(lessons.of("cases: [{name: a, inputs: {x: scalar}, function: x, points: [{at: {x: 3}}]}]"))
    assert adjoint_text(found.steps[0]) == "1"
    assert found.departing == ()


def test_too_large_a_function_is_refused_in_a_sentence():
    many = "\n".join(["      y = x", *["      y = y + x"] * (MOST_NODES + 1), "      return y"])
    with pytest.raises(BadOption, match=f"a has 201 nodes; an explanation shows at most {MOST_NODES}"):
        lessons.of(
            f"cases:\n  - name: a\n    inputs: {{x: scalar}}\n    function: |\n{many}\n    points: [{{at: {{x: 1}}}}]"
        )
    text = "cases: [{name: a, inputs: {x: scalar}, function: 'x * broadcast_to(x, (40, 40))', points: [{at: {x: 3}}]}]"
    with pytest.raises(
        BadOption, match=f"an array of 1600 entries; an explanation shows arrays of at most {MOST_ENTRIES}"
    ):
        lessons.of(text)


def test_a_point_or_a_dtype_that_is_not_there_is_refused():
    with pytest.raises(BadOption, match=r"olah-graph has no point 2; it has 1 point$"):
        lessons.of(lessons.OLAH, point=2)
    narrow = lessons.OLAH.replace("    inputs:", "    dtypes: [float32]\n    inputs:")
    with pytest.raises(BadOption, match="isn't asked in float64; it is in float32"):
        lessons.of(narrow)
    assert lessons.of(narrow, "float32").backward.query.inputs["d_c"].dtype == np.float32


def test_operators_of_the_case_s_own_do_not_matter():
    assert lessons.of(lessons.OLAH.replace("    inputs:", "    operators: [value]\n    inputs:")).backward


def test_a_complex_function_is_explained_in_the_convention_of_the_report():
    inputs = "{z: {shape: scalar, dtype: complex}}"
    wanted = lessons.of(f"cases: [{{name: a, inputs: {inputs}, function: real(z * z), points: [{{at: {{z: 1+2j}}}}]}}]")
    assert wanted.plain.query.dtype == "complex128"
    kinds = {name: array.dtype.name for name, array in wanted.backward.query.inputs.items()}
    assert kinds["d_n1"] == "complex128"
    assert kinds["d_n2"] == "float64"


# Remarks


def test_what_a_target_says_in_symbols_is_kept():
    found = lessons.heard(lessons.of(lessons.OLAH), symbolic=Symbolic(), tape=Tape())
    remarks = {voice.target.name: voice.remarks for voice in found.voices}
    assert remarks["symbolic"]["a"] == "b + 1"
    assert remarks["tape"] == {}


def test_only_who_is_asked_for_remarks_makes_any_and_no_answer_depends_on_them():
    class Talkative(Tape):
        def remarks(self, f, x):
            raise ValueError("it lost the thread")

    plain = lessons.of(lessons.OLAH).plain.query
    record = Answerer(Talkative()).record(plain)
    assert record.outcome is Outcome.ANSWERED
    assert record.notes == {"remarks": {"": "ValueError: it lost the thread"}}
    silent = dataclasses.replace(plain, remarks=False)
    assert Answerer(Talkative()).record(silent).notes == {}
    assert "remarks" not in silent.to_json()
    assert silent.digest == plain.digest
    assert Query.from_json(plain.to_json()).remarks


# What comes of it


def test_every_adjoint_is_right_and_a_sum_is_shown_as_one():
    found = lessons.heard(lessons.of(lessons.OLAH))
    assert [value_text(one) for one in found.steps] == ["2", "1", "3", "2", "6"]
    assert [adjoint_text(one) for one in found.steps] == ["2", "5", "2", "3", "1"]
    assert [one.value.source for one in found.steps if one.value] == ["ball"] * 3
    assert origin(found.steps[1], found.steps) == "2 from c + 3 from d"
    assert origin(found.steps[4], found.steps) == "where it starts"
    assert list(conclusion(found)) == ["Nobody departs: tape agrees with the oracle at every node, forward and back."]


def test_where_nobody_knows_what_is_right_nobody_departs():
    found = lessons.heard(lessons.of(TWICE), references=())
    assert found.departing == ()
    sentences = list(conclusion(found))
    assert sentences[0].startswith("No reference can say what is right at x, u, s,")
    assert "every other node" in sentences[1]


RULES = (
    "RightRules", "WrongSine", "WrongProduct", "CoarseSine", "Shortened", "Silent", "WholesaleOnly", "ValuesOnly", "Tripping",
    "Meddling",
)  # fmt: skip


@pytest.fixture(scope="module")
def faults(tmp_path_factory) -> dict[str, tuple[Explanation, Voice]]:
    """Each adapter with one fault, asked through a process of its own, about the function that shows it."""
    before = os.environ.get("PYTHONPATH", "")
    here = Path(__file__).parent
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here), str(here.parent), before])
    try:
        found = {}
        for number, (text, chosen) in enumerate(
            ((TWICE, RULES), (lessons.OLAH, ("Shortened", "Silent", "RightRules")))
        ):
            wanted = lessons.of(text)
            targets = [Entry(name, f"wrong_rules:{name}") for name in chosen] + [registry.entry("manual")]
            targets += [Entry("Unstartable", "faults:Unstartable")]
            path = tmp_path_factory.mktemp("explain") / f"{number}.jsonl"
            verify.run(wanted.questions, targets, path)
            explanation = explained(wanted, read(path))
            found |= {voice.target.name: (explanation, voice) for voice in explanation.voices}
        return found
    finally:
        os.environ["PYTHONPATH"] = before


@pytest.mark.parametrize(
    ("name", "way", "where", "blamed"),
    [
        # u is used by s = sin(u), by n5 = cos(u) and in a product: only the share that comes from s is wrong.
        ("WrongSine", BACKWARD, "u", ["s"]),
        # The second factor of cos(u) * u is u, whose sum the wrong share spoils; that of x * x is x, further back.
        ("WrongProduct", BACKWARD, "u", ["n5"]),
        ("CoarseSine", FORWARD, "s", ["s"]),
        ("Shortened", BACKWARD, "c", ["n3"]),
        ("Silent", BACKWARD, "d", ["n3"]),
        ("WholesaleOnly", PLAIN, "x", []),
        ("Tripping", BACKWARD, None, []),
        ("Meddling", BACKWARD, None, []),
    ],
)
def test_a_wrong_rule_is_named_at_its_node(faults, name, way, where, blamed):
    explanation, voice = faults[name]
    departure = voice.departures[0]
    assert departure.way == way
    assert (None if departure.step is None else explanation.steps[departure.step].name) == where
    assert names_of(explanation, departure.blamed) == blamed


def test_who_is_right_is_not_named(faults):
    for name in ("RightRules", "ValuesOnly", "manual", "finite-difference"):
        _, voice = faults[name]
        assert voice.departures == (), name
    assert faults["RightRules"][1].is_complete
    assert not faults["ValuesOnly"][1].is_complete
    assert faults["ValuesOnly"][1].states[BACKWARD] == "unsupported: it differentiates nothing"
    assert not faults["manual"][1].is_complete


def test_the_target_that_could_not_start_is_absent(faults):
    explanation, _ = faults["RightRules"]
    assert [target.name for target in explanation.absent] == ["Unstartable"]


def sentence(faults, name: str, way: str) -> str:
    explanation, _ = faults[name]
    (found,) = (text for voice, one, text in departures(explanation) if (voice.target.name, one.way) == (name, way))
    return found


def test_a_departure_is_a_sentence_with_the_numbers_and_the_rule_to_blame(faults):
    said = sentence(faults, "WrongSine", BACKWARD)
    assert said.startswith("WrongSine departs going back at the adjoint of u = x * x: it says ")
    assert said.endswith(" ulps). The adjoint of s is right, so it is the rule of sin by which s = sin(u) hands it on.")
    said = sentence(faults, "CoarseSine", FORWARD)
    assert "at s = sin(u): it says 0.99996" in said
    assert said.endswith("What it is made of (u) is right, so it is sin itself.")
    assert sentence(faults, "CoarseSine", BACKWARD).endswith("That may follow from its values, which depart as well.")
    said = sentence(faults, "WholesaleOnly", PLAIN)
    assert "WholesaleOnly, asked for the derivative as a run asks, is wrong by x: it says" in said
    assert "With a zero added at every node it is right" in said
    assert sentence(faults, "Tripping", BACKWARD) == (
        "Tripping, going back, has no answer to show: raised: ValueError: it tripped"
    )
    assert "mutated-input: changed its input x, d_u" in sentence(faults, "Meddling", BACKWARD)
    assert "Shortened leaves it out." in sentence(faults, "Shortened", BACKWARD)
    assert "None where the derivative isn't 0. The adjoint of n3 is right" in sentence(faults, "Silent", BACKWARD)


def test_what_several_say_alike_stands_once_the_wrong_first(faults):
    explanation, _ = faults["CoarseSine"]
    first, *_, last = step(explanation, "s").value.opinions
    assert (first.cell.ruling, first.targets) == (Ruling.FAIL, ("CoarseSine",))
    assert last.cell.ruling is Ruling.PASS
    assert {"RightRules", "ValuesOnly", "finite-difference"} <= set(last.targets)


def test_a_share_that_is_wrong_in_a_sum_that_passes_is_named():
    class Scant(Tape):
        """What s hands on is too small to be seen in the sum, and is missing."""

        def gradient(self, f, x):
            found = super().gradient(f, x)
            return {name: 0 * array if name == "d_u_in_s" else array for name, array in found.items()}

    found = lessons.heard(lessons.of(TWICE), scant=Scant())
    (voice,) = found.departing
    (departure,) = voice.departures
    assert (found.steps[departure.step].name, found.steps[departure.share].name) == ("u", "s")
    assert "the share of s in the adjoint of u = x * x" in next(conclusion(found))


def test_a_reference_that_has_no_answer_departs_from_nothing():
    wanted = lessons.of(TWICE)
    targets = {name: Target(name, reference=name == "finite-difference") for name in ("finite-difference", "other")}
    records = [
        Record(question.query.id, Outcome.TIMED_OUT, message="no answer within 60 s").of(target)
        for target in targets.values()
        for question in wanted.questions
    ]
    known = {target.environment: target for target in targets.values()}
    found = explained(wanted, Run({}, {q.query.id: q for q in wanted.questions}, known, records))
    assert [voice.target.name for voice in found.departing] == ["other"]
    reasons = silent(found)
    assert reasons["going back: timed-out: no answer within 60 s"] == ["finite-difference"]


def test_a_number_is_the_same_in_a_wider_format():
    cells = {
        "narrow": Cell(np.array(0.5, np.float32), None),
        "wide": Cell(np.array(0.5), None),
        "other": Cell(np.array(0.5 + 1e-9), None),
        "none": Cell(None, None),
    }
    found = {opinion.targets for opinion in Side(None, cells).opinions}
    assert found == {("narrow", "wide"), ("other",), ("none",)}
