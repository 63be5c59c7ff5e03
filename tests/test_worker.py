"""The answerer alone: how often it asks, what it keeps of it, and what the judge makes of answers that scatter."""

from __future__ import annotations

import numpy as np
import pytest
from faults import Honest

from gradbench.judge import Ruling, judge
from gradbench.query import Operator, Query, Question
from gradbench.record import Outcome, Record, Run, Target
from gradbench.worker import CALLS_ELSEWHERE, Answerer

X = np.array([1.0, -2.0])


class Scattering(Honest):
    """Adds up in a different order each time: the first entry moves by up to `size`."""

    size = 1e-13

    def __init__(self):
        self.calls = 0

    def gradient(self, f, x):
        self.calls += 1
        return {name: 2 * a + self.size * np.array([self.calls % 3 - 1, 0]) for name, a in x.items()}


class Steady(Scattering):
    size = 0.0


class Failing(Scattering):
    """Every third answer isn't a number."""

    def gradient(self, f, x):
        found = super().gradient(f, x)
        return found if self.calls % 3 else {"x": found["x"] * np.nan}


QUERY = Query("q", "sum(x ** 2)", {"x": X}, {}, Operator.GRADIENT, "float64")


def asked(adapter, device: str) -> Record:
    record = Answerer(adapter, device).record(QUERY)
    return record.of(Target("torch", device))


def verdict(record: Record):
    right, radius = {"x": 2 * X}, {"x": {"radius": np.zeros(2)}}
    ball = Record("q", Outcome.ANSWERED, right, target="ball", margin=radius, status={"x": np.full(2, "certified")})
    noise = Record("q", Outcome.ANSWERED, right, target="noise", margin={"x": {"sigma": np.full(2, 1e-17)}})
    (found,) = judge(Run({}, {"q": Question(QUERY, "c", 1)}, {}, [ball, noise, record]))
    return found


@pytest.mark.parametrize(("device", "calls"), [("cpu", 2), ("cuda", CALLS_ELSEWHERE)])
def test_a_query_is_repeated_more_often_where_answers_scatter(device, calls):
    adapter = Scattering()
    record = asked(adapter, device)
    assert adapter.calls == calls
    assert record.repeatable is False
    assert record.first is not None
    assert record.seconds is not None


def test_the_spread_is_known_for_each_component_and_travels():
    record = asked(Scattering(), "cuda")
    assert np.allclose(record.margin["x"]["spread"], [1e-13, 0], rtol=0.02)
    again = Record.from_json(record.to_json())
    assert np.array_equal(again.margin["x"]["spread"], record.margin["x"]["spread"])


def test_who_answers_the_same_each_time_has_no_spread():
    record = asked(Steady(), "cuda")
    assert record.outcome is Outcome.ANSWERED
    assert record.repeatable is True
    assert record.margin == {}


def test_on_an_accelerator_the_spread_widens_the_tolerance_by_name_and_on_the_cpu_it_fails():
    found = verdict(asked(Scattering(), "cuda"))
    assert found.ruling is Ruling.PASS
    assert found.worst.tolerance.endswith("+ spread of its own calls on cuda")
    assert verdict(asked(Scattering(), "cpu")).worst.reason == "unrepeatable"


def test_an_error_that_is_larger_than_the_spread_is_still_seen():
    record = asked(Scattering(), "cuda")
    off = Record(**{**record.__dict__, "answer": {"x": record.answer["x"] + 1e-12}})
    assert verdict(off).ruling is Ruling.FAIL


def test_an_answer_that_is_nan_now_and_then_fails_on_every_device():
    record = asked(Failing(), "cuda")
    assert np.isinf(record.margin["x"]["spread"]).all()
    assert verdict(record).worst.reason == "unrepeatable"
