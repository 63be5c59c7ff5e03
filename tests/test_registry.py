from __future__ import annotations

import importlib.metadata

import pytest

from gradbench import registry
from gradbench.errors import UnknownTarget
from gradbench.numeric import OPS


def test_an_unknown_target_is_refused_with_a_suggestion():
    with pytest.raises(UnknownTarget, match="unknown target 'tork'; did you mean 'torch'"):
        registry.entry("tork")


def test_an_adapter_may_be_named_by_module_and_attribute():
    found = registry.entry("some.module:Adapter")
    assert (found.spec, found.requires, found.is_installed) == ("some.module:Adapter", "some", False)


def test_entry_points_of_other_distributions_are_targets(monkeypatch):
    point = importlib.metadata.EntryPoint("mine", "faults:Honest", registry.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    assert registry.entry("mine").spec == "faults:Honest"
    assert registry.load("faults:Honest").ops is OPS


def test_an_entry_point_can_not_take_the_name_of_a_target_of_ours(monkeypatch):
    point = importlib.metadata.EntryPoint("torch", "evil:Adapter", registry.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    assert registry.entry("torch").spec == "gradbench.adapters.torch:Torch"


@pytest.mark.parametrize("name", sorted(registry.entries()))
def test_every_target_of_the_table_loads_where_it_is_installed(name):
    found = registry.entry(name)
    if not found.is_installed:
        pytest.skip(f"{found.requires} is not installed")
    made = registry.load(found.spec)
    if found.reference:
        assert callable(made.estimate)
    else:
        assert set(made.ops) - set(OPS) == set()
        assert set(made.composite) <= set(made.ops)
        assert callable(made.value)


def test_a_word_or_a_glob_asks_several_targets():
    from gradbench.options import targets

    plain, everything = ({e.name for e in targets([word])} for word in ("plain", "all"))
    assert plain == {e.name for e in targets([])}
    assert "finite-difference" in plain
    assert not any(":" in name for name in plain)
    assert plain < everything
    assert {"manual", "dual", "tape"} <= plain
    assert "complex-step" not in everything
    assert {e.name for e in targets(["finite-difference:*"])} == {
        "finite-difference:forward",
        "finite-difference:central",
    }
