"""`reference/differences/large_query.py`: queries with too many entries are answered by sketches, and judged by them offline."""

import itertools
import json
import time

import ml_dtypes
import numpy as np
import pytest

from gradbench.adapters import liar
from gradbench.judge import judge_one
from gradbench.language import parse
from gradbench.query import Operator, Query, Question
from gradbench.record import Outcome, Record, Target
from gradbench.reference.differences import large_query
from gradbench.reference.finite_difference import FiniteDifference
from gradbench.reference.noise import Noise
from gradbench.sketch import Sketch
from gradbench.worker import Answerer

RNG = np.random.default_rng(0)
N = 3000
X, V = RNG.standard_normal(N), RNG.choice([-1.0, 1.0], N) * RNG.uniform(0.5, 1.5, N)
W, B, Z = 0.2 * RNG.standard_normal((40, 50)), RNG.standard_normal(40), RNG.standard_normal(50)
NEAR = np.where(np.arange(N) % 7 == 0, 1e-7 * X, X)
SOFT = np.exp(X - X.max()) / np.exp(X - X.max()).sum()
DENSE = 1 - np.tanh(W @ Z + B) ** 2


def query(function, operator, inputs, dtype="float64", constants=None, **more):
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    arrays = {name: np.asarray(value).astype(kind) for name, value in inputs.items()}
    return Query("q", function, arrays, constants or {}, Operator(operator), dtype, **more)


def estimate(asked, **options):
    return FiniteDifference(**options).estimate(asked, parse(asked.function, asked.names))


def sketches(asked, **options):
    found = estimate(asked, **options)
    assert not found.answer
    return {
        key: Sketch.kept(margin, found.status[key], found.notes["sketch"][key], asked.inputs[key].shape)
        for key, margin in found.margin.items()
    }


def within(sketch, exact):
    """Whether every sum is known, and within its radius of the truth."""
    apart = np.abs(sketch.probes.sums(exact) - sketch.values)
    room = sketch.radius + 1e-15 * sketch.probes.roots(exact)
    return bool(sketch.known.all() and (apart <= room).all())


SMOOTH = [
    ("sum(sin(x) * x)", "gradient", {"x": X}, {}, {"x": np.cos(X) * X + np.sin(X)}),
    ("logsumexp(x) - x[3]", "gradient", {"x": X}, {}, {"x": SOFT - (np.arange(N) == 3)}),
    ("sum(x ** 2)", "gradient", {"x": X}, {}, {"x": 2 * X}),
    ("sum(relu(x) * x)", "gradient", {"x": NEAR}, {}, {"x": 2 * np.maximum(NEAR, 0)}),
    ("sum(relu(x) + sin(x))", "gradient", {"x": NEAR}, {}, {"x": (NEAR > 0) + np.cos(NEAR)}),
    ("sum(sin(40 * x))", "gradient", {"x": X}, {}, {"x": 40 * np.cos(40 * X)}),
    ("tanh(x) * exp(-x)", "vjp", {"x": X}, {"cotangent": V}, {"x": V * np.exp(-X) * (1 - np.tanh(X) ** 2 - np.tanh(X))}),
    ("sum(sin(x) * x)", "hvp", {"x": X}, {"tangents": {"x": V}}, {"x": V * (2 * np.cos(X) - np.sin(X) * X)}),
    ("logsumexp(x)", "hvp", {"x": X}, {"tangents": {"x": V}}, {"x": SOFT * V - SOFT * (SOFT @ V)}),
    (
        "sum(tanh(W @ z + b))", "gradient", {"W": W, "b": B, "z": Z}, {},
        {"W": np.outer(DENSE, Z), "b": DENSE, "z": DENSE @ W},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("function", "operator", "inputs", "more", "exact"), SMOOTH)
def test_every_sum_of_a_sketch_is_within_its_radius_of_the_truth(function, operator, inputs, more, exact):
    found = sketches(query(function, operator, inputs, **more))
    for key, sketch in found.items():
        size = np.sqrt(np.sum(exact[key] ** 2))
        assert within(sketch, exact[key]), key
        assert len(sketch.probes.bits) == (exact[key].size - 1).bit_length()
        narrow = 1e-2 if "relu" in function else 1e-3 if operator == "hvp" else 1e-5
        assert (sketch.radius <= narrow * size).all()
        assert sketch.visible <= 8 * narrow * size
        assert sketch.missed < 1e-2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_point_is_that_of_the_dtype_and_the_arithmetic_double(dtype):
    asked = query("sum(sin(x) * x)", "gradient", {"x": X}, dtype)
    x = asked.inputs["x"].astype(np.float64)
    (sketch,) = sketches(asked).values()
    assert within(sketch, np.cos(x) * x + np.sin(x))


def test_so_many_inputs_are_moved_one_by_one_and_more_are_sketched():
    asked = query("sum(x ** 2)", "gradient", {"x": X[:10]})
    assert set(estimate(asked).answer) == {"x"}
    assert set(estimate(asked, most_inputs=9).notes["sketch"]) == {"x"}
    assert FiniteDifference(most_inputs=9, seconds=3).open("cpu")["most_inputs"] == 9
    assert "sketch" not in estimate(query("sum(x ** 2)", "gradient", {"x": X[:200]})).notes


def test_a_sketch_takes_a_few_hundred_evaluations_at_any_size():
    found = estimate(query("sum(sin(x) * x)", "gradient", {"x": X}))
    assert found.notes["evaluations"] == 9 + (2 + 12) * 12
    found = estimate(query("sum(relu(x) + sin(x))", "gradient", {"x": NEAR}))
    assert found.notes["evaluations"] < 1000


def test_where_time_is_short_no_entry_is_named_and_that_is_said(monkeypatch):
    now = itertools.count()
    monkeypatch.setattr(large_query.time, "monotonic", lambda: float(next(now)))
    (sketch,) = sketches(query("sum(x ** 2)", "gradient", {"x": X}), seconds=5.0).values()
    assert 0 < len(sketch.probes.bits) < 12
    assert sketch.remark == f"no time to name entries: {12 - len(sketch.probes.bits)} digits"
    assert within(sketch, 2 * X)
    (hasty,) = sketches(query("sum(x ** 2)", "gradient", {"x": X}), seconds=0.0).values()
    assert (hasty.probes.whole, hasty.probes.bits) == (1, ())


def test_an_input_that_nothing_depends_on_has_a_sketch_of_zeros():
    found = sketches(query("sum(x ** 2)", "gradient", {"x": X, "y": np.ones(70)}))
    assert not found["y"].values.any()
    assert not found["y"].radius.any()
    assert found["y"].known.all()
    nothing = sketches(query("sum(x ** 2)", "hvp", {"x": X}, tangents={"x": np.zeros(N)}))
    assert not nothing["x"].values.any()


@pytest.mark.parametrize(("function", "words"), [("sum(abs(x))", {"kink"}), ("sum(log(x))", {"singular"})])
def test_where_there_is_no_derivative_a_sketch_says_so(function, words):
    (sketch,) = sketches(query(function, "gradient", {"x": np.abs(X) * (np.arange(N) != 5)})).values()
    assert set(sketch.words.tolist()) == words
    assert not sketch.known.any()
    assert sketch.probes.bits == ()


def test_a_large_value_is_known_up_to_its_noise():
    x = np.linspace(0.1, 2, 70_000)
    found = estimate(query("sum(sin(x))", "value", {"x": x}))
    exact = np.sum(np.sin(x.astype(np.longdouble)))
    assert found.notes["evaluations"] == 9
    assert abs(float(found.answer[""] - exact)) <= found.margin[""]["radius"] < 1e-9 * float(exact)
    each = estimate(query("exp(x)", "value", {"x": x}))
    assert (np.abs(each.answer[""] - np.exp(x)) <= each.margin[""]["radius"]).all()
    assert (each.status[""] == "estimated").all()


def test_a_large_jvp_is_known_component_by_component():
    x, v = RNG.uniform(-2, 2, 70_000), RNG.uniform(0.5, 1.5, 70_000)
    exact = v * np.exp(-x) * (1 - np.tanh(x) ** 2 - np.tanh(x))
    found = estimate(query("tanh(x) * exp(-x)", "jvp", {"x": x}, tangents={"x": v}))
    assert (found.status[""] == "estimated").all()
    assert (np.abs(found.answer[""] - exact) <= found.margin[""]["radius"] + np.spacing(np.abs(exact))).all()
    assert np.median(found.margin[""]["radius"]) < 1e-9
    total = estimate(query("sum(tanh(x) * exp(-x))", "jvp", {"x": x}, tangents={"x": v}))
    assert abs(total.answer[""] - exact.sum()) <= total.margin[""]["radius"] < 1e-7 * abs(exact.sum())


def test_of_a_hundred_thousand_components_none_is_beyond_what_is_allowed_for():
    rng = np.random.default_rng(6)  # one of 16 where the worst is worst
    x, v = rng.uniform(-2, 2, (1000, 100)), rng.uniform(0.5, 1.5, (1000, 100))
    function = "d = x - mean(x, axis=1, keepdims=True)\nreturn d / sqrt(mean(d ** 2, axis=1, keepdims=True)) + 0.5"
    found = estimate(query(function, "jvp", {"x": x}, tangents={"x": v}))
    d, e = x - x.mean(axis=1, keepdims=True), v - v.mean(axis=1, keepdims=True)
    power = np.mean(d * d, axis=1, keepdims=True)
    exact = e / np.sqrt(power) - d * np.mean(d * e, axis=1, keepdims=True) / power**1.5
    apart = np.abs(found.answer[""] - exact) / (found.margin[""]["radius"] + np.spacing(np.abs(exact)))
    assert np.mean(apart <= 1) > 0.9999
    assert np.max(apart) <= 2  # where three radii are allowed
    assert np.median(found.margin[""]["radius"]) < 1e-10


def test_a_kink_of_some_components_leaves_the_others_alone():
    x = RNG.standard_normal(70_000)
    x[[5, 69_999]] = 0
    found = estimate(query("abs(x)", "jvp", {"x": x}, tangents={"x": np.ones(70_000)}))
    assert set(np.flatnonzero(found.status[""] == "kink")) == {5, 69_999}
    known = found.status[""] == "estimated"
    assert known.mean() > 0.99
    assert (np.abs(found.answer[""] - np.sign(x)) <= found.margin[""]["radius"])[known].all()


# From the question to the verdict


def asked(function, inputs, dtype="float64", operator="gradient", **more):
    return Question(query(function, operator, inputs, dtype, **more), "case", 1, tolerance={})


def references(question, **options):
    """What the references answer, as they come out of a record file."""
    told = [("finite-difference", FiniteDifference(**options)), ("noise", Noise())]
    records = [Answerer(one).record(question.query).of(Target(name, reference=True)) for name, one in told]
    return [Record.from_json(json.loads(json.dumps(record.to_json()))) for record in records]


def verdict(question, kept, adapter):
    record = adapter if isinstance(adapter, Record) else Answerer(adapter).record(question.query).of(Target("liar"))
    (found,) = [v for v in judge_one(question, [record, *kept], {}, {}) if v.record is record]
    return found


QUESTIONS = [
    ("sum(sin(x) * x)", {"x": X}),
    ("logsumexp(x) - x[3]", {"x": X}),
    ("sum(x ** 2)", {"x": X}),
    ("sum(tanh(W @ z + b) ** 2)", {"W": W, "b": B, "z": Z}),
    ("sum(relu(x) * x)", {"x": X}),
]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize(("function", "inputs"), QUESTIONS)
def test_honest_gradients_pass_and_liars_are_caught(function, inputs, dtype):
    question = asked(function, inputs, dtype)
    kept = references(question)
    honest = verdict(question, kept, liar.Honest())
    assert {finding.ruling for finding in honest.findings} <= {"pass"} | (
        {"inconclusive"} if dtype == "bfloat16" else set()
    )
    assert {finding.source for finding in honest.findings} == {"finite-difference"}
    liars = [liar.Zero, liar.Flipped, liar.NotANumber, liar.WrongShape]
    liars += [] if dtype == "bfloat16" else [liar.OnePercent, liar.Downcast]
    for kind in liars:
        found = verdict(question, kept, kind())
        informed = [f for f, g in zip(found.findings, honest.findings, strict=True) if g.ruling == "pass"]
        assert {finding.ruling for finding in informed} == {"fail"}, kind


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_one_entry_off_is_named_from_the_records_alone(dtype):
    question = asked("sum(tanh(W @ z + b) ** 2)", {"W": W, "b": B, "z": Z}, dtype)
    kept = references(question)
    record = Answerer(liar.Honest()).record(question.query).of(Target("liar"))
    size = 1e-6 if dtype == "float64" else 1e-2
    for key, place in (("W", (17, 42)), ("W", (0, 0)), ("W", (39, 49)), ("b", (7,)), ("z", (49,))):
        answer = {name: np.array(array) for name, array in record.answer.items()}
        right = float(answer[key][place])
        answer[key][place] += size
        told = Record("q", Outcome.ANSWERED, answer, "liar")
        findings = {finding.key: finding for finding in verdict(question, kept, told).findings}
        assert {name for name, finding in findings.items() if finding.ruling == "fail"} == {key}
        assert f"{key}[{', '.join(map(str, place))}]" in findings[key].detail
        difference = findings[key].difference
        assert difference.worst == np.ravel_multi_index(place, answer[key].shape)
        assert abs(difference.right - right) <= difference.allowed + 1e-7 * abs(right)


def test_a_dropped_entry_is_named():
    question = asked("sum(sin(x) * x)", {"x": X})
    found = verdict(question, references(question), liar.Dropped())
    assert "x[2999], which is 0.0 and should be" in found.worst.detail


@pytest.mark.parametrize("operator", ["vjp", "hvp"])
def test_other_operators_are_judged_alike(operator):
    more = {"cotangent": V} if operator == "vjp" else {"tangents": {"x": V}}
    question = asked("sin(x) * x" if operator == "vjp" else "sum(sin(x) * x)", {"x": X}, operator=operator, **more)
    kept = references(question)
    assert verdict(question, kept, liar.Honest()).ruling == "pass"
    for kind in (liar.Zero, liar.Flipped, liar.OnePercent):
        assert verdict(question, kept, kind()).ruling == "fail"


def test_a_sketch_agrees_with_a_proof_where_there_is_one():
    flint = pytest.importorskip("flint")
    assert flint
    from gradbench.reference.ball import Ball

    question = asked("sum(sin(x) * x)", {"x": X[:500]})
    kept = references(question)
    ball = Answerer(Ball()).record(question.query).of(Target("ball", reference=True))
    found = {v.record.target: v for v in judge_one(question, [*kept, ball], {}, {})}
    assert found["finite-difference"].ruling == "pass"
    assert found["finite-difference"].worst.source == "ball"


def test_a_quarter_of_a_million_entries_take_seconds_and_a_short_line():
    x = RNG.uniform(-3, 3, 250_000)
    question = asked("sum(sin(x) * x)", {"x": x}, "float32")
    start = time.process_time()
    record = Answerer(FiniteDifference()).record(question.query)
    assert time.process_time() - start < 30
    assert len(json.dumps(record.to_json())) < 5000
    answer = (np.cos(x.astype("f4").astype(float)) * x.astype("f4") + np.sin(x.astype("f4").astype(float))).astype("f4")
    kept = [record.of(Target("finite-difference", reference=True))]
    assert verdict(question, kept, Record("q", Outcome.ANSWERED, {"x": answer}, "honest")).ruling == "pass"
    answer[123_456] += 0.5
    found = verdict(question, kept, Record("q", Outcome.ANSWERED, {"x": answer}, "liar"))
    assert "x[123456]" in found.worst.detail
