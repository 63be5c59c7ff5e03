from __future__ import annotations

import numpy as np
import pytest

from gradbench import catalogue, document
from gradbench.case_reader import read
from gradbench.errors import NothingToRun
from gradbench.plan import Selection, direction, plan
from gradbench.query import Operator, Query
from gradbench.wire import FORMATS

EVERYTHING = Selection()


def questions(body: str, selection: Selection = EVERYTHING, function: str = "x**2", inputs: str = "{x: scalar}"):
    text = f"cases:\n  - name: c\n    inputs: {inputs}\n    function: {function}\n{body}"
    return plan(read(document.parse(text.encode(), "f.yaml")), selection)


def ids(found) -> list[str]:
    return [q.query.id for q in found]


def test_cases_with_a_tag_may_be_left_out():
    from gradbench.options import selection

    nothing = {"paths": (), "case": (), "tag": (), "operator": (), "dtype": ()}
    assert list(selection(nothing).without) == ["large"]
    for said in ({"tag": ("large",)}, {"case": ("large-*",)}, {"paths": ("cases",)}):
        assert list(selection({**nothing, **said}).without) == []
    (one,) = [c for c in catalogue.load([catalogue.shipped()]) if c.name == "large-sine"]
    assert not selection(nothing).chooses(one)
    assert selection({**nothing, "tag": ("large",)}).chooses(one)


def test_a_scalar_function_is_asked_for_value_gradient_and_hessian_in_two_formats():
    found = ids(questions("    points: [{at: {x: 3}}]"))
    assert found == [f"c#1:{o}:{d}" for d in ("float64", "float32") for o in ("value", "gradient", "hessian")]


def test_an_array_is_asked_for_its_jacobian_and_both_products():
    found = questions("    points: [{at: {x: [1, 2]}}]", inputs="{x: [2]}", selection=Selection(dtypes=["float64"]))
    assert [q.query.operator for q in found] == ["value", "jacobian", "vjp", "jvp"]
    assert found[2].query.cotangent.shape == (2,)
    assert found[3].query.tangents["x"].shape == (2,)


def test_a_case_may_choose_its_operators_and_partial_derivatives():
    body = "    operators: [value, {partial: {x: 3}}]\n    points: [{at: {x: 3}}]"
    found = questions(body, Selection(dtypes=["float64"]))
    assert ids(found) == ["c#1:value:float64", "c#1:partial/x3:float64"]
    assert found[1].query.orders == {"x": 3}


def test_what_is_stated_is_asked_even_if_nobody_chose_it():
    body = "    operators: [value]\n    points: [{at: {x: 3}, gradient: 6, vjp: {cotangent: 2, answer: 12}}]"
    found = questions(body, Selection(dtypes=["float64"]))
    assert ids(found) == ["c#1:vjp:float64", "c#1:gradient:float64", "c#1:value:float64"]


def test_two_directions_of_one_operator_have_two_ids():
    body = "    points: [{at: {x: 3}, vjp: [{cotangent: 1, answer: 6}, {cotangent: 2, answer: 12}]}]"
    found = ids(questions(body, Selection(operators=[Operator.VJP], dtypes=["float64"])))
    assert found == ["c#1:vjp:float64", "c#1:vjp:float64:2"]


def test_inputs_are_rounded_once_and_to_the_format_asked_for():
    found = questions("    points: [{at: {x: 0.1}}]", Selection(dtypes=["float32", "bfloat16"]))
    by = {q.query.dtype: q.query.inputs["x"] for q in found}
    assert by["float32"].dtype == np.float32
    assert float(by["float32"]) == float(np.float32(0.1))
    assert float(by["bfloat16"]) == 0.10009765625


def test_a_stated_answer_is_kept_only_where_it_holds():
    body = "    points: [{at: {x: 0.1}, gradient: 0.2}, {at: {x: 0.25}, gradient: 0.5}]"
    found = {q.query.id: q.stated for q in questions(body, Selection(operators=[Operator.GRADIENT]))}
    assert set(found["c#1:gradient:float64"]) == {"x"}
    assert found["c#1:gradient:float32"] == {}, "0.1 is another number in float32"
    assert set(found["c#2:gradient:float32"]) == {"x"}
    assert float(found["c#1:gradient:float64"]["x"].slack) > 0, "0.1 is not quite 0.1 in float64"
    assert float(found["c#2:gradient:float64"]["x"].slack) == 0


def test_a_number_of_the_text_that_the_format_can_not_hold_voids_what_is_stated():
    body = "    points: [{at: {x: 1}, value: 0.1}]"
    found = {q.query.id: q.stated for q in questions(body, Selection(operators=[Operator.VALUE]), function="x * 0.1")}
    assert found["c#1:value:float32"] == {}
    assert set(found["c#1:value:float64"]) == {""}


def test_nothing_stated_crosses_to_a_worker():
    (question,) = questions(
        "    points: [{at: {x: 3}, gradient: 6.5}]", Selection(operators=[Operator.GRADIENT], dtypes=["float64"])
    )
    assert "6.5" not in str(question.query.to_json())
    assert Query.from_json(question.query.to_json()).digest == question.query.digest


def test_the_digest_depends_on_what_is_asked_and_not_on_its_name():
    one, two = (questions(f"    points: [{{at: {{x: {x}}}}}]", Selection(dtypes=["float64"]))[0].query for x in (3, 4))
    assert one.digest != two.digest
    assert Query(**{**one.__dict__, "id": "other"}).digest == one.digest


def test_the_selection_is_by_glob_tag_topic_and_primitive():
    body = "    tags: [seed]\n    points: [{at: {x: 3}}]"
    for selection in (
        Selection(globs=["c*"]),
        Selection(tags=["seed"]),
        Selection(tags=["f"]),
        Selection(tags=["power"]),
    ):
        assert questions(body, selection)
    for selection in (Selection(globs=["d*"]), Selection(tags=["sin"])):
        with pytest.raises(NothingToRun):
            questions(body, selection)


def test_directions_have_no_small_entry_and_are_exact_in_every_format():
    found = direction("a", (500,))
    assert (np.abs(found) >= 0.5).all()
    assert (np.abs(found) <= 1.5).all()
    assert 200 < (found > 0).sum() < 300
    assert (found.astype(FORMATS["bfloat16"]).astype(np.float64) == found).all()
    assert (direction("a", (500,)) == found).all()
    assert (direction("b", (500,)) != found).any()
