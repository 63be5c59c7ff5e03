"""Complex numbers from the case to the verdict: what is asked, what is right, and in whose convention."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradbench import document, registry, selfcheck
from gradbench.adapter import Function, lifted
from gradbench.case_reader import read
from gradbench.catalogue import load
from gradbench.clash import agree
from gradbench.compare import FORMS, Tolerance, Truth, compare
from gradbench.conjugation import CONJUGATE, LINEAR, dtypes
from gradbench.conventions import conventions
from gradbench.crosscheck import crosscheck
from gradbench.errors import Mistakes
from gradbench.holomorphy import holomorphic
from gradbench.host import Host
from gradbench.judge import Ruling, judge
from gradbench.language import parse
from gradbench.plan import Selection, plan
from gradbench.query import Operator, Query, Question, Stated
from gradbench.record import Outcome, Record, Run, Target
from gradbench.report.agreement import agreement
from gradbench.report.columns import columns
from gradbench.spec import Spec
from gradbench.table import rows
from gradbench.worker import Answerer

CASES = Path(__file__).parent.parent / "cases" / "complex"
Z = np.array(1 + 2j)


@functools.cache
def reference(name: str) -> Answerer:
    return Answerer(registry.load(registry.entry(name).spec))


def asked(function: str, operator: str = "gradient", said=None, dtype: str = "complex128", **facts) -> Question:
    """A question about a function of z at 1 + 2j, unless told otherwise."""
    inputs = facts.pop("inputs", {"z": Z})
    constants = facts.pop("constants", {})
    facts = {name: facts[name] if isinstance(facts[name], dict | tuple) else np.asarray(facts[name]) for name in facts}
    name = f"{function}:{operator}"
    query = Query(name, function, inputs, constants, Operator(operator), dtype, **facts)
    return Question(query, function, 1, "f.yaml:3", stated=said or {})


def references(question: Question, *names: str) -> list[Record]:
    found = []
    for name in names or ("high-precision", "noise"):
        record = reference(name).record(question.query)
        assert record.outcome is Outcome.ANSWERED, record.message
        found.append(record.of(Target(name, reference=True)))
    return found


def answered(question: Question, target: str, *arrays, dtype: str = "complex128") -> Record:
    answer = {key: np.asarray(a, dtype) for key, a in zip(question.query.keys, arrays, strict=True)}
    return Record(question.query.id, Outcome.ANSWERED, answer).of(Target(target))


def verdicts(*pairs):
    """The verdicts on questions with their answers, by the references' word."""
    records = [record for question, answers in pairs for record in [*references(question), *answers]]
    targets = {record.environment: Target(record.target) for record in records}
    return list(judge(Run({}, {question.query.id: question for question, _ in pairs}, targets, records)))


def ruling(question: Question, *arrays, dtype: str = "complex128") -> tuple[str, str]:
    (found,) = verdicts((question, [answered(question, "torch", *arrays, dtype=dtype)]))
    return str(found.ruling), found.worst.reason


def stated(number) -> Stated:
    array = np.asarray(number)
    return Stated(array, array, np.zeros(array.shape))


# What is asked


CASE = """
cases:
  - name: c
    inputs: {inputs}
    function: {function}
    points:
      - {point}
"""


def cases(function: str, inputs: str = "{z: {shape: scalar, dtype: complex}}", point: str = "at: {z: 1+2j}"):
    text = CASE.replace("{inputs}", inputs).replace("{function}", function).replace("{point}", point)
    return read(document.parse(text.encode(), "f.yaml"))


def operators(function: str, *facts: str) -> list[str]:
    return [str(q.query.operator) for q in plan(cases(function, *facts)) if q.query.dtype == "complex128"]


VECTOR = ("{z: {shape: [2], dtype: complex}}", "at: {z: [1+2j, 3]}")


@pytest.mark.parametrize(
    ("function", "facts", "right"),
    [
        ("z**2", (), ["value", "gradient", "vjp", "jvp"]),
        ("abs(z)", (), ["value", "gradient", "vjp", "jvp"]),
        ("conj(z) * z", (), ["value", "vjp", "jvp"]),
        ("z**2", VECTOR, ["value", "jacobian", "vjp", "jvp"]),
        ("abs(z)", VECTOR, ["value", "jacobian", "vjp", "jvp"]),
        ("z * abs(z)", VECTOR, ["value", "vjp", "jvp"]),
        ("exp(1j * z)", ("{z: scalar}", "at: {z: 1}"), ["value", "vjp", "jvp"]),
        ("real(exp(1j * z))", ("{z: scalar}", "at: {z: 1}"), ["value", "gradient", "hessian"]),
        ("z * w", ("{z: {shape: scalar, dtype: complex}, w: scalar}", "at: {z: 1+2j, w: 3}"), ["value", "vjp", "jvp"]),
    ],
)
def test_only_what_has_a_meaning_is_asked_of_a_complex_function(function, facts, right):
    assert operators(function, *facts) == right


def test_directions_are_complex_where_what_they_go_with_is():
    found = {str(q.query.operator): q.query for q in plan(cases("abs(z)")) if q.query.dtype == "complex64"}
    assert found["vjp"].cotangent.dtype == np.float32
    assert found["jvp"].tangents["z"].dtype == np.complex64
    assert found["jvp"].tangents["z"].imag != 0
    found = {str(q.query.operator): q.query for q in plan(cases("z**2")) if q.query.dtype == "complex64"}
    assert found["vjp"].cotangent.dtype == np.complex64
    point = "{at: {z: 1+2j}, vjp: {cotangent: 2, answer: 4+8j}, jvp: {tangents: {z: 1}, answer: 2+4j}}"
    wide = [q for q in plan(cases("z**2", point=point)) if q.query.dtype == "complex128"]
    assert [q.query.cotangent.dtype for q in wide if q.query.cotangent is not None] == [np.complex128]
    assert [q.query.tangents["z"].dtype for q in wide if q.query.tangents] == [np.complex128]
    assert all(q.stated for q in wide if q.query.operator in {"vjp", "jvp"})


def test_a_complex_number_anywhere_makes_the_formats_complex_ones():
    for function, inputs in (("abs(exp(1j * x))", "{x: scalar}"), ("abs(x)", "{x: {shape: scalar, dtype: complex}}")):
        found = plan(cases(function, inputs, "at: {x: 1}"))
        assert {q.query.dtype for q in found} == {"complex128", "complex64"}
        assert {q.query.inputs["x"].dtype.kind for q in found} == {"f" if "1j" in function else "c"}
    assert {q.query.dtype for q in plan(cases("z"), Selection(dtypes=["float32"]))} == {"complex64"}
    # A number of the text that complex64 doesn't hold makes what is stated too exact for it.
    rounded = plan(cases("0.1j * z", point="{at: {z: 1+2j}, gradient: 0.1j}"))
    assert {q.query.dtype for q in rounded if q.stated} == {"complex128"}


def test_points_may_be_a_grid_of_complex_numbers():
    (case,) = cases("z", point="grid: {z: [1+2j, 3]}")
    assert [point.inputs["z"].item() for point in case.points] == [1 + 2j, 3 + 0j]
    (case,) = cases("z", point="grid: {z: {from: 0, to: 1, count: 2}}")
    assert {point.inputs["z"].dtype for point in case.points} == {np.dtype(complex)}


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        (("abs(z)", "{z: scalar}"), "a complex number, and 'z' is real; declare it as z: {shape: ..., dtype: complex}"),
        (("abs(z)", "{z: {shape: scalar, dtype: complex}}", "{at: {z: 1}, gradient: {between: [1j, 2]}}"), "a complex number where"),
        (("abs(z)", "{z: {shape: scalar, dtype: complex}}", "{at: {z: 1}, gradient: {left: 1, right: 2j}}"), "a complex number where"),
        (
            ("abs(z)", "{z: {shape: scalar, dtype: complex}}", "{at: {z: 1}, vjp: {cotangent: 1j, answer: 1}}"),
            "a complex direction for a real array",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_complex_is_blamed(facts, wrong):
    with pytest.raises(Mistakes) as caught:
        cases(*facts)
    assert wrong in str(caught.value.mistakes[0])


def test_one_of_several_complex_numbers_may_be_stated():
    (case,) = cases("abs(z)", point="{at: {z: 0}, gradient: {one_of: [1j, 0]}}")
    (answer,) = case.points[0].answers
    assert answer.stated["z"].choices == {0: (1j, 0.0)}
    assert Stated.from_json(answer.stated["z"].to_json()).choices == {0: (1j, 0.0)}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("exp(z) / (1 + z**2)", True), ("conj(z)", False), ("abs(z)**2", False), ("z * real(c)", True), ("conj(c) * z", True),
        ("where(abs(c) > 1, z, z**2)", True), ("where(abs(z) > 1, z, z**2)", False), ("vecdot(c, z)", True), ("vecdot(z, c)", False),
        ("c", True), ("slogdet(outer(z, z)).logabsdet", False), ("sum(z) + imag(z[0])", False), ("x * abs(x) * z", True),
    ],
)  # fmt: skip
def test_a_function_is_holomorphic_if_nothing_bends_what_depends_on_its_inputs(text, right):
    specs = {"z": Spec((2,), "complex"), "x": Spec((2,))}
    assert holomorphic(parse(text, ["z", "c", "x"]), specs) == {"": right}


def test_outputs_are_holomorphic_one_by_one():
    assert holomorphic(parse("return z**2, abs(z)", ["z"]), {"z": Spec((), "complex")}) == {"0": True, "1": False}


def test_a_real_number_of_the_text_is_one_beside_complex_numbers():
    ops = lifted(Host(), np.dtype(np.complex64))
    assert ops["asarray"](2).dtype == np.float32
    assert ops["asarray"](2j).dtype == np.complex64
    f = Function(parse("maximum(abs(z), 1)", ["z"]), ops, ("z",), {})
    assert f(np.array(0.5j, np.complex64)) == 1
    for name in ("high-precision", "finite-difference"):
        (record,) = references(asked("maximum(abs(z), 1) + z", "value"), name)
        assert record.answer[""] == pytest.approx(1 + 2j + np.sqrt(5))


# What is right


def test_a_vjp_along_complex_numbers_is_answered_in_both_conventions():
    question = asked("z**2", "vjp", cotangent=0.5 - 1j)
    for record in references(question, "high-precision", "finite-difference"):
        assert record.answer["z"] == pytest.approx((0.5 - 1j) * (2 + 4j))
        assert record.margin["z"]["mirror"] == pytest.approx((0.5 - 1j) * (2 - 4j))
        assert record.margin["z"]["mirror_radius"] < 1e-9
    (noise,) = references(asked("exp(z)", "vjp", cotangent=0.5 - 1j), "noise")
    assert noise.margin["z"]["mirror_sigma"] > 0
    bent = asked("conj(z) * z**2", "vjp", cotangent=0.5 - 1j)  # d = z^2 dz* + 2 |z|^2 dz
    for record in references(bent, "high-precision", "finite-difference"):
        linear, other = Z**2, 2 * abs(Z) ** 2
        assert record.answer["z"] == pytest.approx((0.5 - 1j) * other + np.conj((0.5 - 1j) * linear))
        assert record.margin["z"]["mirror"] == pytest.approx((0.5 - 1j) * other + (0.5 + 1j) * linear)


def test_only_a_vjp_along_complex_numbers_is_asked_twice():
    assert asked("z**2", "vjp", cotangent=0.5 - 1j).query.twin.cotangent == 0.5 + 1j
    for other in (asked("z**2"), asked("abs(z)", "vjp", cotangent=2.0), asked("z**2", "vjp", cotangent=2 + 0j)):
        assert other.query.twin is None
        assert "mirror" not in references(other, "high-precision")[0].margin["z"]


@pytest.mark.parametrize("case", load([CASES]), ids=lambda case: case.name)
def test_two_references_agree_about_every_shipped_case(case):
    chosen = [q for q in plan([case]) if q.point == 1 and q.query.dtype == "complex128"]
    assert chosen
    for question in chosen:
        records = references(question, "high-precision", "noise", "finite-difference")
        run = Run({}, {question.query.id: question}, {}, records)
        (found,) = judge(run)
        assert found.ruling is Ruling.PASS, (question.query.id, found.worst)
        assert crosscheck([found]) == []


def test_by_a_real_input_the_derivative_is_real():
    inputs = {"z": Z, "t": np.array(0.5)}
    for name in ("high-precision", "finite-difference"):
        (record,) = references(asked("exp(1j * t) * z", "vjp", inputs=inputs, cotangent=1j), name)
        assert record.answer["t"] == pytest.approx(np.real(1j * 1j * np.exp(0.5j) * Z))
        assert record.answer["z"] == pytest.approx(1j * np.exp(0.5j))
        (record,) = references(asked("exp(1j * t) * z", "jacobian", inputs=inputs), name)
        assert record.answer["t"] == pytest.approx(1j * np.exp(0.5j) * Z)
        (record,) = references(asked("maximum(t, 0) * abs(z)", inputs=inputs), name)
        assert record.answer["t"] == pytest.approx(abs(Z))
        (record,) = references(asked("z * t", "partial", inputs=inputs, orders={"z": 1}), name)
        assert record.answer[""] == pytest.approx(0.5)


@pytest.mark.parametrize("target", ["honest", "torch", "sympy", "autograd"])
def test_each_framework_has_a_real_vjp_by_a_real_input(target):
    spec = registry.entry(target).spec if target != "honest" else selfcheck.entry(target).spec
    if target != "honest":
        pytest.importorskip(target)
    question = asked("exp(1j * t) * z", "vjp", inputs={"z": Z, "t": np.array(0.5)}, cotangent=0.5 - 1j)
    record = Answerer(registry.load(spec)).record(question.query)
    (found,) = verdicts((question, [record.of(Target(target))]))
    # PyTorch pulls back the conjugate of the cotangent, so that this too is another number.
    right = Ruling.CONVENTION if target == "torch" else Ruling.PASS
    assert {finding.key: finding.ruling for finding in found.findings} == {"z": right, "t": right}
    assert not np.iscomplexobj(found.record.answer["t"])


def test_on_a_cut_many_digits_do_not_know_the_side_of_a_signed_zero():
    record = reference("high-precision").record(
        asked("log(z)", "value", inputs={"z": np.array(complex(-1, -0.0))}).query
    )
    assert record.outcome is Outcome.UNSUPPORTED
    assert "negative zero" in record.message


def test_a_real_input_on_a_way_through_complex_numbers_has_second_derivatives():
    inputs, constants = {"t": np.array(0.5)}, {"a": np.array(1 + 2j)}
    question = asked("abs(a + exp(1j * t))**2", "hessian", inputs=inputs, constants=constants)
    right = -2 * np.real((1 - 2j) * np.exp(0.5j))
    for record in references(question, "high-precision", "finite-difference"):
        assert record.answer["t,t"] == pytest.approx(right)
    assert ruling(question, right, dtype="float64") == ("pass", "")


# Who is right


def test_an_answer_passes_in_either_convention_and_in_no_third_one():
    question = asked("z**2 + z")
    right = 3 + 4j
    assert ruling(question, right) == ("pass", "")
    assert ruling(question, np.conj(right)) == ("convention", "conjugate")
    for wrong in (-right, 1j * right, 3 + 4.001j, -np.conj(right), 3.0, 4j, 0):
        assert ruling(question, wrong)[0] == "fail", wrong
    (found,) = verdicts((question, [answered(question, "torch", np.conj(right))]))
    assert found.worst.detail == "the conjugate: df/dx + i df/dy, as PyTorch and TensorFlow define it"
    assert found.worst.difference.right == 3 - 4j


def test_one_wrong_sign_of_an_imaginary_part_is_seen():
    question = asked("sum(z**2 * abs(z[0]))", "vjp", inputs={"z": np.array([1 + 2j, 3 - 1j, 0.5j])}, cotangent=1 - 2j)
    (record,) = references(question, "high-precision")
    right, mirror = record.answer["z"], record.margin["z"]["mirror"]
    assert ruling(question, right) == ("pass", "")
    assert ruling(question, mirror) == ("convention", "conjugate")
    assert ruling(question, np.conj(right)) == ("fail", "wrong"), "the cotangent would have to be conjugated too"
    for index in range(3):
        mixed = right.copy()
        mixed[index] = mirror[index]
        assert ruling(question, mixed) == ("fail", "wrong")


def test_what_is_right_in_both_conventions_just_passes():
    question = asked("sin(z)", inputs={"z": np.array(0.5 + 0j)})
    (found,) = verdicts((question, [answered(question, "torch", np.cos(0.5))]))
    assert (found.ruling, found.convention("z")) == (Ruling.PASS, "")
    assert ruling(asked("abs(z)", "value"), np.sqrt(5), dtype="float64") == ("pass", "")


def test_along_complex_numbers_too_what_is_right_in_both_conventions_just_passes():
    question = asked("sin(z)", "vjp", inputs={"z": np.array(0.5 + 0j)}, cotangent=0.5 - 1j)
    (found,) = verdicts((question, [answered(question, "torch", (0.5 - 1j) * np.cos(0.5))]))
    assert (found.ruling, found.convention("z")) == (Ruling.PASS, "")


def test_a_convention_that_is_not_wholly_known_excuses_nobody():
    question = asked("z**2", "vjp", inputs={"z": np.array([1 + 2j, 3 - 1j])}, cotangent=np.array([1j, 1 - 1j]))
    precise, noise = references(question)
    mirror = precise.margin["z"]["mirror"].copy()
    wrong = answered(question, "torch", np.array([mirror[0], 7]))
    precise.margin["z"]["mirror"][1] = np.nan
    (found,) = judge(Run({}, {question.query.id: question}, {}, [precise, noise, wrong]))
    assert (found.ruling, found.convention("z")) == (Ruling.FAIL, "")


def test_values_and_jvps_have_one_convention():
    assert ruling(asked("z**2", "value"), np.conj(Z**2)) == ("fail", "wrong")
    assert ruling(asked("z**2", "jvp", tangents={"z": np.array(1j)}), np.conj(2j * Z)) == ("fail", "wrong")


def test_who_conjugates_is_as_inaccurate_as_in_that_convention():
    question = asked("z**2 + z")
    (found,) = verdicts((question, [answered(question, "torch", (3 - 4j) * (1 + 1e-10))]))
    assert (found.ruling, found.worst.reason, found.convention("z")) == (Ruling.FAIL, "inaccurate", CONJUGATE)
    assert found.worst.difference.relative == pytest.approx(1e-10, rel=1e-3)


@pytest.mark.parametrize(
    ("question", "key", "right"),
    [
        (asked("abs(z)", "value"), "", ("complex128", "float64")), (asked("z", "value"), "", ("complex128",)),
        (asked("abs(z)"), "z", ("complex128",)), (asked("abs(z)", "jacobian"), "z", ("complex128",)),
        (asked("abs(z)", "jvp"), "", ("complex128", "float64")), (asked("abs(z)", dtype="complex64"), "z", ("complex64",)),
        (asked("abs(z) * t", inputs={"z": Z, "t": np.array(2.0)}), "t", ("complex128", "float64")),
        (asked("z * t", "jacobian", inputs={"z": Z, "t": np.array(2.0)}), "t", ("complex128",)),
        (asked("return abs(z), z", "value", outputs=("0", "1")), "0", ("complex128", "float64")),
        (asked("return abs(z), z", "value", outputs=("0", "1")), "1", ("complex128",)),
        (asked("x**2", inputs={"x": np.array(2.0)}, dtype="float64"), "x", ("float64",)),
    ],
)  # fmt: skip
def test_the_dtype_of_an_answer_is_that_of_its_kind(question, key, right):
    assert dtypes(question.query, key) == right


def test_a_real_dtype_for_a_complex_derivative_is_a_fail():
    assert ruling(asked("abs(z)", inputs={"z": np.array(2 + 0j)}), 1.0, dtype="float64") == ("fail", "dtype")


def test_a_complex_answer_that_is_stated_is_held_against_the_references():
    question = asked("z**2", said={"z": stated(2 + 4j)})
    (found,) = verdicts((question, [answered(question, "torch", 2 + 4j)]))
    assert (found.ruling, found.worst.source) == (Ruling.PASS, "stated")
    wrong = asked("z**2", said={"z": stated(2 + 4.1j)})
    (found,) = verdicts((wrong, [answered(wrong, "torch", 2 + 4j)]))
    assert found.ruling is Ruling.FAIL, "what is stated comes before many digits, which don't prove"


def test_who_states_the_conjugate_is_told_so():
    question = asked("z**2", said={"z": stated(2 - 4j)})
    certain = [
        replace(record, target="ball", status={"z": np.array("certified")}) for record in references(question)[:1]
    ]
    record = answered(question, "torch", 2 + 4j)
    (found,) = judge(Run({}, {question.query.id: question}, {}, [*certain, record]))
    assert found.ruling is Ruling.DISPUTED
    assert "the case says (2-4j), and ball proves (2+4j), its conjugate" in found.worst.detail


def truth(*numbers: complex) -> Truth:
    centre = np.array(numbers)
    real, nan = np.zeros(centre.shape), np.full(centre.shape, np.nan)
    kinds = np.full(centre.shape, "number")
    return Truth(centre, 0 * centre, real, nan, nan, kinds, kinds)


def compared(answer, right, bound=0.0, dtype="complex128"):
    return compare(np.asarray([answer]), truth(right), dtype, Tolerance(np.array([bound]), ""))


def test_a_complex_error_is_counted_in_ulps_of_the_absolute_value():
    unit = np.spacing(4.0)  # of |3 + 4e-8j| it is that of 3
    found = compared(3 + unit / 2 + 4e-8j, 3 + 4e-8j, bound=1)
    assert found.ulps == pytest.approx(1.0)
    assert compared(3 + 4e-8j + 1j * unit / 2, 3 + 4e-8j, bound=1).ulps == pytest.approx(1.0)
    both = compared(3 + unit / 2 + 1j * unit / 2, 3 + 0j, bound=1)
    assert both.ulps == pytest.approx(1.0), "the worse part, so that two parts rounded are rounded"
    assert both.absolute == pytest.approx(np.sqrt(0.5) * unit)
    assert compared(3 + 4j, 3 - 4j, bound=7.9).bad == 1
    assert compared(3 + 4j, 3 - 4j, bound=8.1).bad == 0
    assert compared(complex(np.nan, 4), 3 + 4j, bound=9).bad == 1


def test_a_complex_number_beyond_the_format_is_an_infinity_in_that_part():
    huge, inf = 1e300, np.inf
    for answer, bad in [
        (complex(inf, 1), 0), (complex(inf, np.nan), 0), (complex(inf, -inf), 0), (complex(-inf, 1), 1), (complex(1, inf), 1),
        (complex(inf, 2), 1), (complex(np.nan, 1), 1),
    ]:  # fmt: skip
        assert compared(answer, complex(huge, 1), 1e-3, "complex64").bad == bad, answer
    assert compared(complex(inf, -inf), complex(huge, -huge), 1e-3, "complex64").bad == 0
    assert compared(complex(inf, inf), complex(huge, -huge), 1e-3, "complex64").bad == 1
    assert FORMS["complex64"].largest < huge


# Answers held against one another


def test_two_conventions_agree_and_nobody_stands_alone():
    question = asked("z**2", "vjp", cotangent=0.5 - 1j)
    right, mirror = (0.5 - 1j) * (2 + 4j), (0.5 - 1j) * (2 - 4j)
    given = {"jax": right, "torch": mirror, "torch:func": mirror, "autograd": right, "tensorflow": mirror}
    found = verdicts((question, [answered(question, name, number) for name, number in given.items()]))
    assert all(agree(one, other, "z") for one in found for other in found)
    assert crosscheck(found) == []
    agreed = agreement(found, columns(found))
    assert (agreed.agreeing.min(), agreed.splits) == (1, [])
    frame = rows(found)
    assert set(frame["verdict"]) == {"pass", "convention"}
    assert frame[frame["target"] == "torch"]["truth"].tolist() == [repr(complex(mirror))]
    shown = {c.environment: dict(c.answers) for c in conventions(found)}
    (torch,) = (v for v in found if v.record.target == "torch")
    assert shown[torch.record.environment] == {"df/dx + i df/dy": 1}


def test_a_lone_wrong_answer_stands_alone_among_conventions():
    question = asked("z**2")
    given = {"jax": 2 + 4j, "torch": 2 - 4j, "tensorflow": -2 - 4j}
    found = verdicts((question, [answered(question, name, number) for name, number in given.items()]))
    assert [(c.law, c.targets) for c in crosscheck(found)] == [("alone", ("tensorflow",))]


def test_a_target_keeps_one_convention():
    one, two, three = asked("z**2"), asked("z**3 + z"), asked("exp(z)")
    right = [(one, 2 * Z), (two, 3 * Z**2 + 1), (three, np.exp(Z))]
    for flips, ids in (((), []), ((0, 1, 2), []), ((1,), [two]), ((0, 1), [three])):
        turned = [(q, np.conj(number) if i in flips else number) for i, (q, number) in enumerate(right)]
        found = verdicts(*((q, [answered(q, "torch", number)]) for q, number in turned))
        assert [(c.law, c.query) for c in crosscheck(found)] == [("convention", q.query.id) for q in ids]
    (clash,) = crosscheck(found)
    assert "is df/dx - i df/dy here, and df/dx + i df/dy in 2 other answers" in clash.sentence
    other = [answered(one, "jax", np.conj(2 * Z))]
    assert crosscheck(verdicts((one, other), (two, [answered(two, "torch", 3 * Z**2 + 1)]))) == [], (
        "two targets may differ"
    )


@pytest.mark.parametrize(
    ("convention", "pulled"), [(LINEAR, (0.5 - 1j) * (2 + 4j)), (CONJUGATE, (0.5 - 1j) * (2 - 4j))]
)
def test_forward_and_reverse_mode_are_adjoint_in_either_convention(convention, pulled):
    reverse, forward = asked("z**2", "vjp", cotangent=0.5 - 1j), asked("z**2", "jvp", tangents={"z": np.array(2 - 1j)})
    pushed = (2 + 4j) * (2 - 1j)
    found = verdicts((reverse, [answered(reverse, "torch", pulled)]), (forward, [answered(forward, "torch", pushed)]))
    back = next(v for v in found if v.question is reverse)
    assert back.convention("z") == convention
    placed = [replace(v, question=replace(v.question, case="c")) for v in found]
    assert crosscheck(placed) == []
    for wrong in (pushed * (1 + 1e-9), np.conj(pushed), pushed * 1j):
        worse = [
            v if v.question.query is reverse.query else replace(v, record=answered(forward, "torch", wrong))
            for v in placed
        ]
        assert [c.law for c in crosscheck(worse)] == ["adjointness"]


def test_liars_about_complex_numbers_are_caught():
    found = selfcheck.selfcheck(
        plan(load([CASES]), Selection(globs=["complex-norm", "complex-square"], dtypes=["float64"])),
        ("conjugated", "half-conjugated", "honest"),
    )
    scores = {score.liar: score for score in found.scores}
    assert scores["conjugated"].lies == scores["conjugated"].caught > 0
    assert scores["half-conjugated"].lies == scores["half-conjugated"].caught > 0
    assert scores["honest"].lies == 0


def test_who_keeps_two_conventions_is_caught_whichever_is_the_rarer_one():
    shipped = plan(load([CASES]), Selection(globs=["complex-norm", "complex-angle"], dtypes=["float64"]))
    (back, *_) = (q for q in shipped if q.query.operator == "vjp")
    found = selfcheck.selfcheck([q for q in shipped if q.query.operator == "gradient"] + [back], ("conjugated",))
    assert found.scores[0].lies == found.scores[0].caught == 4


@pytest.mark.parametrize(("target", "convention"), [("torch", CONJUGATE), ("autograd", LINEAR), ("sympy", LINEAR)])
def test_each_framework_keeps_the_convention_it_documents(target, convention):
    pytest.importorskip(target)
    answerer = reference(target)
    answerer.adapter.open("cpu")
    questions = [
        asked("abs(z)**2"),
        asked("z**2", "vjp", cotangent=0.5 - 1j),
        asked("conj(z) * z**2", "vjp", cotangent=0.5 - 1j),
    ]
    pairs = [(q, [answerer.record(q.query).of(Target(target))]) for q in questions]
    found = [v for v in verdicts(*pairs) if v.record.outcome is Outcome.ANSWERED]
    assert found
    assert {v.convention("z") for v in found} == {convention}
    assert {v.ruling for v in found} == {Ruling.CONVENTION if convention == CONJUGATE else Ruling.PASS}
    assert crosscheck(found) == []
