from __future__ import annotations

from pathlib import Path

import pytest

from gradbench import registry, selfcheck
from gradbench.catalogue import load
from gradbench.plan import Selection, plan

CASES = Path(__file__).parent.parent / "cases"


def questions(*names: str):
    return plan(load([CASES]), Selection(globs=names, dtypes=["float64"]))


def test_every_liar_is_a_class_of_its_name():
    for name in (selfcheck.HONEST, *selfcheck.LIARS):
        made = registry.load(selfcheck.entry(name).spec)
        assert callable(made.gradient)
        assert type(made).__doc__


def test_no_liar_is_alive_over_a_handful_of_shipped_cases():
    found = selfcheck.selfcheck(
        questions("matmul", "rosenbrock", "softmax", "tanh", "gaussian-mixture", "complex-norm"), selfcheck.LIARS
    )
    alive = {score.liar for score in found.scores if score.is_alive or not score.lies}
    assert alive == set(), list(selfcheck.lines(found))
    assert found.idle == ()


def test_a_lie_nobody_notices_is_reported_as_alive(monkeypatch):
    monkeypatch.setattr(selfcheck, "CAUGHT", frozenset())
    monkeypatch.setattr(selfcheck, "crosscheck", lambda verdicts: [])
    found = selfcheck.selfcheck(questions("tanh"), ("flipped",))
    (score,) = found.scores
    assert score.is_alive
    assert score.missed
    assert ("tanh", 1) in found.idle
    assert "alive: flipped" in list(selfcheck.lines(found))


@pytest.mark.parametrize("name", ["honest"])
def test_the_honest_adapter_tells_no_lie(name):
    found = selfcheck.selfcheck(questions("tanh"), (name,))
    assert found.scores[0].lies == 0
