"""Runs made by hand: every verdict is in them, and names that a page must not trip over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gradbench.judge import Verdict, judge
from gradbench.query import Operator, Query, Question, Stated
from gradbench.record import Outcome, Record, Run, Target

EVIL = 'a"b\'<i onclick="x()">&amp;</script>\u202e\x07 😀 =1'
"""A name with quotes, angle brackets, a sign that turns the direction of the text, a control character and an emoji."""

TORCH = Target("torch", "cpu", "x86_64", {"torch": "2.13.0", "mkl": "2024.2"}, {"threads": 1, "deterministic": True})
JAX = Target("jax", "cpu", "x86_64", {"jax": "0.10.2"}, {"enable_x64": True})
FINITE = Target("finite-difference", reference=True)
BALL = Target("ball", versions={"python-flint": "0.9.0"}, reference=True)
NOISE = Target("noise", reference=True)
ABSENT = Target("tensorflow", failure="ImportError: no <libcudart.so>\nTraceback")

HEADER = {
    "gradbench": "0.1.0", "started": "2026-11-22T06:13:06+00:00", "python": "3.11.7", "platform": "Linux",
    "processor": "x86_64", "command": ["gradbench", "run", "--case", "<b>"], "device": "cpu", "remark": "",
}  # fmt: skip


def question(case: str, operator: Operator = Operator.VALUE, dtype: str = "float64", **facts) -> Question:
    """A question about x ↦ x² + y at (2, 1), unless told otherwise."""
    function = facts.pop("function", "x ** 2 + y")
    inputs = facts.pop("inputs", {"x": np.array(2.0, dtype), "y": np.array(1.0, dtype)})
    point = facts.pop("point", 1)
    directions = {name: facts.pop(name) for name in ("tangents", "cotangent", "orders") if name in facts}
    query = Query(f"{case}#{point}:{operator}:{dtype}", function, inputs, {}, operator, dtype, **directions)
    given = {"place": "cases/quick.yaml:7", "topic": "quick", "description": "A parabola", "tags": ("smooth",)}
    return Question(query, case, point, **{**given, **facts})


def answered(target: Target, asked: Question, *arrays, seconds: float = 1e-4, **facts) -> Record:
    """A target's answer, an array for each key."""
    answer = {
        key: None if a is None else np.asarray(a, facts.get("dtype", asked.query.dtype))
        for key, a in zip(asked.query.keys, arrays, strict=False)
    }
    facts.pop("dtype", None)
    return Record(asked.query.id, Outcome.ANSWERED, answer, first=seconds * 30, seconds=seconds, **facts).of(target)


def proved(asked: Question, *arrays, radius: float = 1e-30) -> Iterator[Record]:
    """What is right, proved, and how far rounding moves it."""
    truths = {key: np.asarray(a, np.float64) for key, a in zip(asked.query.keys, arrays, strict=True)}
    unit = np.finfo(asked.query.dtype).eps
    certified = {key: np.full(a.shape, "certified") for key, a in truths.items()}
    margin = {key: {"radius": np.full(a.shape, radius)} for key, a in truths.items()}
    yield Record(asked.query.id, Outcome.ANSWERED, truths, margin=margin, status=certified).of(BALL)
    spread = {key: {"sigma": np.abs(a) * unit / 4} for key, a in truths.items()}
    yield Record(asked.query.id, Outcome.ANSWERED, truths, margin=spread).of(NOISE)


def everything() -> Run:
    """A small run with every verdict, a large array, an answer of None, times, a target that couldn't start."""
    questions: list[Question] = []
    records: list[Record] = []

    def ask(asked: Question, *right) -> Question:
        questions.append(asked)
        if right:
            records.extend(proved(asked, *right))
        return asked

    for dtype in ("float64", "float32"):
        value = ask(question("parabola", dtype=dtype), 5.0)
        gradient = ask(question("parabola", Operator.GRADIENT, dtype), 4.0, 1.0)
        for target, slowness in ((TORCH, 3.0), (JAX, 7.0)):
            records.append(answered(target, value, 5.0))
            records.append(answered(target, gradient, 4.0, 1.0, seconds=slowness * 1e-4))
    estimate = answered(
        FINITE, questions[1], 4.0 + 1e-9, 1.0, margin={"x": {"radius": np.array(1e-8)}, "y": {"radius": np.array(0.0)}}
    )
    records.append(replace(estimate, status={key: np.full((), "estimated") for key in ("x", "y")}))

    wrong = ask(question("wrong", Operator.GRADIENT), 4.0, 1.0)
    records.append(answered(TORCH, wrong, -4.0, 1.0, seconds=0.5, composite=("cbrt",)))
    records.append(answered(JAX, wrong, 4.0, 1.0))
    nan = ask(question("not-finite"), 5.0)
    records.append(answered(JAX, nan, np.nan))
    none = ask(question("none", Operator.GRADIENT), 4.0, 1.0)
    records.append(answered(JAX, none, None, 1.0))
    error = ask(
        question(EVIL, description="<script>alert(1)</script>", source="\u202e", place="ca ses/it's.yaml:12"), 5.0
    )
    message = f"no {EVIL}\n" + "\n".join(f"  frame {i}" for i in range(9))
    records.append(Record(error.query.id, Outcome.RAISED, error="RuntimeError", message=message).of(TORCH))
    records.append(Record(error.query.id, Outcome.UNSUPPORTED, message="no such primitive").of(JAX))
    unjudged = ask(question("unjudged"))
    records.append(answered(TORCH, unjudged, 5.0))
    disputed = ask(question("disputed", stated={"": exactly(6.0)}), 5.0)
    records.append(answered(TORCH, disputed, 5.0))
    words = Stated(np.array(np.nan), np.array(np.nan), np.zeros(()), words={0: "undefined"})
    convention = ask(question("convention", stated={"": words}))
    records.append(answered(TORCH, convention, 5.0))
    vague = ask(question("vague", tolerance={"rtol": 2.0, "reason": "a test"}), 5.0)
    records.append(answered(TORCH, vague, 5.0))
    matrix = np.arange(100.0).reshape(10, 10) + 1
    large = ask(question("large", inputs={"x": matrix}, function="x ** 2"), matrix**2)
    bad = matrix**2
    bad[3, 4] = -7.0
    records.append(answered(TORCH, large, bad))
    tangents = {"x": np.array(1.0), "y": np.array(0.5)}
    pushed = ask(question("pushed", Operator.JVP, tangents=tangents), 4.5)
    records.append(answered(JAX, pushed, 4.5, via="vjp", repeatable=True))
    targets = {target.environment: target for target in (TORCH, JAX, FINITE, BALL, NOISE, ABSENT)}
    return Run(HEADER, {q.query.id: q for q in questions}, targets, records)


def exactly(number: float) -> Stated:
    """A stated number."""
    return Stated(np.array(number), np.array(number), np.zeros(()))


def many(rows: int) -> tuple[Run, list[Verdict]]:
    """A run of at least so many rows, with numbers that don't repeat, and its verdicts."""
    random = np.random.default_rng(1)
    questions, records, count, case = [], [], 0, 0
    targets = [Target(name, versions={name: "1.0"}) for name in ("autograd", "jax", "sympy", "tensorflow", "torch")]
    while count < rows:
        case += 1
        for dtype in ("float64", "float32"):
            for operator in (Operator.VALUE, Operator.GRADIENT, Operator.HESSIAN):
                inputs = {name: random.normal(size=()).astype(dtype) for name in "xy"}
                asked = question(f"case-{case}", operator, dtype, inputs=inputs, topic=f"topic-{case % 7}")
                right = random.normal(size=len(asked.query.keys))
                questions.append(asked)
                records.extend(proved(asked, *right))
                for target in targets:
                    scatter = 1 + np.finfo(dtype).eps * random.normal(size=right.size)
                    records.append(answered(target, asked, *(right * scatter), seconds=float(random.lognormal(-9))))
                    count += right.size
    known = {target.environment: target for target in (*targets, BALL, NOISE)}
    run = Run(HEADER, {q.query.id: q for q in questions}, known, records)
    return run, list(judge(run))
