"""The oracle's ladder and the verdicts, on records made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import runs

from gradbench.compare import Truth
from gradbench.judge import Ruling, judge
from gradbench.oracle import Oracle, consult
from gradbench.query import Operator, Query, Question, Stated
from gradbench.record import Outcome, Record, Run, Target

ONE = np.array(1.0)


def stated(lower, upper=None, words=None, choices=None, slack=0.0) -> Stated:
    lower = np.asarray(lower, np.float64)
    upper = lower if upper is None else np.asarray(upper, np.float64)
    return Stated(lower, upper, np.full(lower.shape, slack), choices or {}, words or {})


def question(function="x**2", inputs=None, operator=Operator.GRADIENT, said=None, dtype="float64", **facts) -> Question:
    inputs = inputs or {"x": ONE}
    return Question(Query("q", function, inputs, {}, operator, dtype), "c", 1, "f.yaml:3", stated=said or {}, **facts)


def ball(value, status="certified", radius=0.0, **margin) -> Record:
    value = np.asarray(value, np.float64)
    margins = {"radius": np.full(value.shape, radius), **{k: np.asarray(v, np.float64) for k, v in margin.items()}}
    return Record(
        "q",
        Outcome.ANSWERED,
        {"x": value},
        target="ball",
        margin={"x": margins},
        status={"x": np.full(value.shape, status)},
    )


def other(name, value, status, radius=0.0) -> Record:
    return Record(
        "q",
        Outcome.ANSWERED,
        {"x": np.asarray(value)},
        target=name,
        margin={"x": {"radius": np.asarray(radius)}},
        status={"x": np.asarray(status)},
    )


def noise(sigma) -> Record:
    sigma = np.asarray(sigma, np.float64)
    return Record("q", Outcome.ANSWERED, {"x": np.zeros(sigma.shape)}, target="noise", margin={"x": {"sigma": sigma}})


def verdict(asked: Question, answer, *references: Record, **facts):
    answers = answer if isinstance(answer, dict) else {"x": None if answer is None else np.asarray(answer)}
    record = Record("q", facts.pop("outcome", Outcome.ANSWERED), answers, target="torch", **facts)
    (found,) = judge(Run({}, {"q": asked}, {}, [*references, record]))
    return found


def ruling(asked: Question, answer, *references: Record, **facts) -> tuple[str, str]:
    found = verdict(asked, answer, *references, **facts)
    return str(found.ruling), found.worst.reason


def test_the_ladder_prefers_proof_then_the_case_then_precision_then_differences():
    rungs = [ball(2.0), other("high-precision", 2.0, "precise"), other("finite-difference", 2.0, "estimated", 1e-9)]
    said = {"x": stated(2.0)}
    by = {r.target: r for r in rungs}
    source = lambda asked, records: str(consult(asked, records).truths["x"].source)  # noqa: E731
    assert source(question(said=said), by) == "ball"
    del by["ball"]
    assert source(question(said=said), by) == "stated"
    assert source(question(), by) == "high-precision"
    del by["high-precision"]
    assert source(question(), by) == "finite-difference"
    assert consult(question(), {}).truths == {}


def test_a_component_that_one_rung_leaves_open_is_taken_from_the_next():
    certified = ball([2.0, np.nan])
    certified.status["x"][1] = "undecided"
    precise = Record("q", Outcome.ANSWERED, {"x": np.array([9.0, 3.0])}, target="high-precision",
                     margin={"x": {"radius": np.zeros(2)}}, status={"x": np.array(["precise", "precise"])})  # fmt: skip
    truth = consult(question(inputs={"x": np.ones(2)}), {"ball": certified, "high-precision": precise}).truths["x"]
    assert truth.centre.tolist() == [2.0, 3.0]
    assert truth.source.tolist() == ["ball", "high-precision"]


def test_a_right_answer_passes_and_a_wrong_one_fails():
    assert ruling(question(), 2.0, ball(2.0), noise(0.0)) == ("pass", "")
    assert ruling(question(), 2.1, ball(2.0), noise(0.0)) == ("fail", "wrong")
    assert ruling(question(), -2.0, ball(2.0), noise(0.0)) == ("fail", "wrong")
    assert ruling(question(), 0.0, ball(2.0), noise(0.0)) == ("fail", "wrong")
    assert ruling(question(), 2.0 + 1e-10, ball(2.0), noise(0.0)) == ("fail", "inaccurate")
    assert ruling(question(), np.nan, ball(2.0), noise(0.0)) == ("fail", "non-finite")
    assert ruling(question(), np.inf, ball(2.0), noise(0.0)) == ("fail", "non-finite")


def test_correct_and_accurate_are_two_answers():
    found = verdict(question(), 2.0 + 1e-10, ball(2.0), noise(1e-9))
    assert found.ruling is Ruling.PASS
    assert found.worst.difference.grade == "poor"


def test_a_relative_error_of_1e_12_is_seen():
    assert ruling(question(), 2.0 * (1 + 1e-12), ball(2.0), noise(1e-16))[0] == "fail"


@pytest.mark.parametrize(
    ("answer", "facts", "expected"),
    [
        (np.array([2.0]), {}, ("fail", "shape")),
        (np.array(2.0, np.float32), {}, ("fail", "dtype")),
        (2.0, {"mutated": ("x",)}, ("fail", "mutated-input")),
        (2.0, {"repeatable": False}, ("fail", "unrepeatable")),
        ({}, {}, ("fail", "shape")),
        (None, {}, ("fail", "wrong")),
        ({}, {"outcome": Outcome.UNSUPPORTED, "message": "no"}, ("unsupported", "")),
        ({}, {"outcome": Outcome.RAISED, "error": "ValueError"}, ("error", "raised")),
        ({}, {"outcome": Outcome.CRASHED, "error": "SIGSEGV"}, ("error", "crashed")),
        ({}, {"outcome": Outcome.TIMED_OUT}, ("error", "timed-out")),
        ({}, {"outcome": Outcome.OUT_OF_MEMORY}, ("error", "out-of-memory")),
    ],
)
def test_each_way_to_go_wrong_has_its_name(answer, facts, expected):
    assert ruling(question(), answer, ball(2.0), noise(0.0), **facts) == expected


def test_a_case_that_contradicts_the_proof_is_disputed_and_nobody_is_judged():
    asked = question(said={"x": stated(3.0)})
    found = verdict(asked, 3.0, ball(2.0), noise(0.0))
    assert found.ruling is Ruling.DISPUTED
    assert "f.yaml:3: gradient by x, entry 0: the case says 3.0, and ball proves 2.0" in found.worst.detail
    assert verdict(question(said={"x": stated(2.0)}), 2.0, ball(2.0), noise(0.0)).ruling is Ruling.PASS
    assert (
        verdict(question(said={"x": stated(2.0000000000001, slack=5e-13)}), 2.0, ball(2.0), noise(0.0)).ruling
        is Ruling.PASS
    )
    assert (
        verdict(question(said={"x": stated(2.00001, slack=5e-13)}), 2.0, ball(2.0), noise(0.0)).ruling
        is Ruling.DISPUTED
    )


def test_a_case_that_says_undefined_where_there_is_a_derivative_is_disputed():
    asked = question(said={"x": stated(np.nan, words={0: "undefined"})})
    assert verdict(asked, 2.0, ball(2.0)).ruling is Ruling.DISPUTED


def test_at_a_kink_every_slope_between_the_one_sided_ones_is_right():
    kink = ball(0.0, "kink", left=-1.0, right=1.0)
    asked = question("abs(x)", {"x": np.array(0.0)})
    assert [ruling(asked, a, kink)[0] for a in (-1.0, 0.0, 1.0, 1.5, np.nan)] == [
        "pass",
        "pass",
        "pass",
        "fail",
        "fail",
    ]
    assert "at a kink" in verdict(asked, 0.0, kink).worst.detail


def test_an_author_may_narrow_a_kink_and_may_not_contradict_it():
    kink = ball(0.0, "kink", left=-1.0, right=1.0)
    narrow = question("abs(x)", {"x": np.array(0.0)}, said={"x": stated(-1.0, 1.0, choices={0: (-1.0, 0.0, 1.0)})})
    assert [ruling(narrow, a, kink)[0] for a in (0.0, 0.5)] == ["pass", "fail"]
    beyond = question("abs(x)", {"x": np.array(0.0)}, said={"x": stated(2.0, 3.0)})
    assert ruling(beyond, 2.5, kink)[0] == "disputed"


def test_words_are_judged_as_words():
    infinite = question("sqrt(x)", {"x": np.array(0.0)}, said={"x": stated(np.nan, words={0: "infinite"})})
    assert [ruling(infinite, a)[0] for a in (np.inf, 1e9, np.nan)] == ["pass", "fail", "fail"]
    undefined = question("log(x)", {"x": np.array(-1.0)}, said={"x": stated(np.nan, words={0: "undefined"})})
    assert ruling(undefined, -1.0) == ("convention", "undefined")


def test_a_truth_of_0_everywhere_proves_little_and_says_so():
    asked = question("floor(x) * y", {"x": ONE / 2, "y": ONE})
    found = verdict(asked, {"x": np.array(0.0), "y": np.array(0.0)}, *both_zero(), noise(0.0))
    assert {(f.key, f.ruling, f.reason) for f in found.findings} == {
        ("x", "pass", "uninformative"),
        ("y", "pass", "uninformative"),
    }
    assert "whoever loses a term" in found.findings[0].detail
    wrong = verdict(asked, {"x": np.array(0.0), "y": np.array(1e-3)}, *both_zero(), noise(0.0))
    assert wrong.ruling is Ruling.FAIL


def both_zero():
    zero, sure = np.array(0.0), np.array("certified")
    margin = {key: {"radius": zero} for key in "xy"}
    answer, status = dict.fromkeys("xy", zero), dict.fromkeys("xy", sure)
    yield Record("q", Outcome.ANSWERED, answer, target="ball", margin=margin, status=status)


@pytest.mark.parametrize(
    ("case", "asked_for", "passes", "rule"),
    [
        ({}, {}, False, "8σ"),
        ({"rtol": 0.1, "reason": "r"}, {}, True, "rtol 0.1: r"),
        ({"targets": {"torch": {"rtol": 0.1, "reason": "r"}}}, {}, True, "rtol 0.1: r"),
        ({"targets": {"to*": {"rtol": 0.1, "reason": "r"}}}, {}, True, "rtol 0.1: r"),
        ({"targets": {"jax": {"rtol": 0.1, "reason": "r"}}}, {}, False, "8σ"),
        ({"rtol": 0.1, "reason": "r", "targets": {"torch": {"atol": 1e-9, "reason": "s"}}}, {}, False, "atol 1e-09: s"),
        ({"rtol": 0.1, "reason": "r"}, {"atol": 1e-9, "reason": "s"}, False, "atol 1e-09: s"),
        ({}, {"targets": {"torch": {"max_ulps": 1e15, "reason": "s"}}}, True, "max_ulps 1e+15: s"),
    ],
)
def test_a_tolerance_of_ones_own_may_be_for_a_target_and_the_nearest_to_the_person_counts(
    case, asked_for, passes, rule
):
    asked = question(tolerance=case)
    record = Record("q", Outcome.ANSWERED, {"x": np.array(2.1)}, target="torch")
    records = [ball(2.0), noise(1e-17), record]
    (found,) = judge(Run({}, {"q": asked}, {}, records), asked_for)
    assert (found.ruling is Ruling.PASS) is passes
    assert found.worst.tolerance.startswith(rule)


def test_a_framework_that_raises_on_the_way_forward_is_no_convention():
    asked = question("y**2", {"x": ONE, "y": ONE}, Operator.JVP)
    assert verdict(asked, {}, outcome=Outcome.RAISED, error="TypeError").ruling is Ruling.ERROR


def test_none_and_errors_for_an_unconnected_input_are_conventions_and_zeros_are_right():
    asked = question("y**2", {"x": ONE, "y": ONE}, said={"x": stated(0.0, words={0: "unconnected"}), "y": stated(2.0)})
    two = np.array(2.0)
    assert ruling(asked, {"x": None, "y": two}) == ("convention", "unconnected")
    assert ruling(asked, {"x": np.array(0.0), "y": two}) == ("pass", "")
    assert ruling(asked, {"x": np.array(1.0), "y": two}) == ("fail", "wrong")
    assert ruling(asked, {}, outcome=Outcome.RAISED, error="RuntimeError") == ("convention", "raised")
    assert ruling(asked, {"x": np.array(0.0), "y": None}) == ("fail", "wrong"), "y is connected"


def test_none_for_a_derivative_that_is_zero_is_a_convention():
    assert ruling(question("floor(x)"), None, ball(0.0)) == ("convention", "none-for-zero")


def test_without_a_reference_nothing_is_judged():
    assert ruling(question(), 2.0) == ("unjudged", "")


def test_a_check_that_can_prove_nothing_says_so():
    assert ruling(question(), 2.0, ball(2.0), noise(1.0)) == ("inconclusive", "uninformative")


def test_finite_differences_are_held_to_their_own_error_bar():
    asked = question()
    near = other("finite-difference", 2.0 + 1e-9, "estimated", 1e-8)
    far = other("finite-difference", 2.1, "estimated", 1e-8)
    unsure = other("finite-difference", 2.1, "unresolved", 1e-8)
    rulings = []
    for record in (near, far, unsure):
        (found,) = judge(Run({}, {"q": asked}, {}, [ball(2.0), record]))
        rulings.append(str(found.ruling))
    assert rulings == ["pass", "fail", "inconclusive"]
    (found,) = judge(Run({}, {"q": asked}, {}, [near]))
    assert found.ruling is Ruling.UNJUDGED


def test_a_tolerance_of_the_case_or_the_command_overrides_the_rule():
    loose = question(tolerance={"rtol": 0.1, "reason": "known"})
    found = verdict(loose, 2.1, ball(2.0), noise(0.0))
    assert found.ruling is Ruling.PASS
    assert found.worst.tolerance == "rtol 0.1: known"
    record = Record("q", Outcome.ANSWERED, {"x": np.array(2.1)}, target="torch")
    (found,) = judge(Run({}, {"q": loose}, {}, [ball(2.0), record]), {"atol": 1e-9, "rtol": 0.0, "reason": "asked"})
    assert found.ruling is Ruling.FAIL


def test_one_failing_part_fails_the_record_and_the_worst_is_shown():
    asked = question("x * y", {"x": ONE, "y": ONE}, said={"x": stated(1.0), "y": stated(1.0)})
    found = verdict(asked, {"x": ONE, "y": np.array(3.0)})
    assert found.ruling is Ruling.FAIL
    assert [str(f.ruling) for f in found.findings] == ["pass", "fail"]
    assert found.worst.key == "y"


def test_judging_needs_the_record_file_alone(tmp_path):
    from gradbench.journal import read, write

    target = Target("torch", versions={"torch": "2"})
    record = Record("q", Outcome.ANSWERED, {"x": np.array(2.0)}).of(target)
    path = tmp_path / "r.jsonl"
    write(path, Run({}, {"q": question(said={"x": stated(2.0)})}, {target.environment: target}, [record]))
    (found,) = judge(read(path))
    assert found.ruling is Ruling.PASS
    assert found.target == target


def test_of_the_same_bits_the_same_is_concluded_but_for_what_else_is_known_of_them():
    asked = runs.question("a")
    targets = [runs.TORCH, runs.JAX, runs.Target("sympy")]
    records = [runs.answered(runs.TORCH, asked, 5.5), runs.answered(runs.JAX, asked, 5.5, composite=("relu",))]
    records += [runs.answered(targets[2], asked, 5.5)]
    run = Run({}, {asked.query.id: asked}, {t.environment: t for t in targets}, [*runs.proved(asked, 5.0), *records])
    (torch,), (jax,), (sympy,) = (verdict.findings for verdict in judge(run))
    assert torch is sympy
    assert "put together from relu" in jax.detail
    assert "put together" not in torch.detail
    loose = {"targets": {"jax": {"rtol": 1.0}, "sympy": {"rtol": 2.0}}}
    assert [verdict.worst.tolerance[:6] for verdict in judge(run, loose)][1:] == ["rtol 1", "rtol 2"]
    assert [str(verdict.ruling) for verdict in judge(run, loose)] == ["fail", "inconclusive", "inconclusive"]


def test_a_tolerance_is_that_of_the_convention_it_is_asked_for():
    whole = {name: np.zeros(()) for name in ("tail", "radius", "lower", "upper")}
    words = {"kind": np.array("number"), "source": np.array("ball")}
    one, other = (Truth(np.array(number), **whole, **words) for number in (1.0, 1024.0))
    oracle = Oracle({"x": one}, {"x": np.array(1e-9)}, (), {"x": other}, {"x": np.array(1e-3)})
    ours, theirs = (oracle.allowed("x", "float64", {}, mirrored=mirrored) for mirrored in (False, True))
    assert float(ours.bound) == pytest.approx(8e-9, rel=1e-3)
    assert float(theirs.bound) == pytest.approx(8e-3, rel=1e-3)
    assert oracle.allowed("x", "float64", {}) is ours
    assert oracle.allowed("x", "float64", {"atol": 1.0}).rule.startswith("atol 1")
    assert float(oracle.allowed("x", "float32", {}).bound) > float(ours.bound)
