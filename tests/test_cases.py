"""From YAML to cases: what is read, and what bad input gets."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gradbench import document, schema
from gradbench.case_reader import read
from gradbench.catalogue import load
from gradbench.errors import Mistakes, NothingToRun, Place
from gradbench.query import Operator

ROOT = Path(__file__).parent.parent
MINIMAL = "cases:\n  - name: c\n    inputs: {x: scalar}\n    function: x**2\n    points: [{at: {x: 3}}]\n"


def cases(text: str):
    return read(document.parse(text.encode(), "f.yaml"))


def mistakes(text: str) -> list[str]:
    with pytest.raises(Mistakes) as caught:
        cases(text)
    return [str(m).splitlines()[0] for m in caught.value.mistakes]


def with_points(points: str, inputs: str = "{x: scalar}", function: str = "x**2") -> str:
    return f"cases:\n  - name: c\n    inputs: {inputs}\n    function: {function}\n    points:\n{points}\n"


def test_a_minimal_case_is_read():
    (case,) = cases(MINIMAL)
    assert (case.name, case.inputs, case.topic, case.place) == ("c", ("x",), "f", Place("f.yaml", 2, 5))
    assert case.points[0].inputs["x"] == 3
    assert case.points[0].place == Place("f.yaml", 5, 14)


def test_numbers_are_those_of_yaml_1_2():
    (case,) = cases(
        with_points("      - at: {x: 1e-6}\n      - at: {x: 010}\n      - at: {x: 12e03}\n      - at: {x: 0x10}")
    )
    assert [float(p.inputs["x"]) for p in case.points] == [1e-6, 10.0, 12000.0, 16.0]


def test_on_is_a_word_and_not_a_boolean():
    (case,) = cases(MINIMAL.replace("points:", "tags: [on, yes, off]\n    points:"))
    assert case.tags == ("on", "yes", "off")


def test_points_know_whether_they_are_the_very_numbers_written():
    (case,) = cases(
        with_points("      - at: {x: 0.1}\n      - at: {x: 0.25}\n      - at: {x: 1/3}\n      - at: {x: 0x1.8p-3}")
    )
    assert [p.exact for p in case.points] == [False, True, False, True]


def test_grids_combine_and_draws_are_the_same_everywhere():
    inputs = "{x: scalar, v: [2]}"
    (case,) = cases(
        with_points(
            "      - draw: {count: 3, seed: 7, x: {log_uniform: [1e-3, 1e3]}, v: {normal: [0, 1]}}",
            inputs,
            "x * sum(v)",
        )
    )
    drawn = [float(p.inputs["x"]) for p in case.points]
    assert drawn == [5.926422763590942, 0.023627847503457117, 0.0011024735477054796]
    assert all(1e-3 < x < 1e3 for x in drawn)
    again = cases(
        with_points(
            "      - draw: {count: 3, seed: 7, x: {log_uniform: [1e-3, 1e3]}, v: {normal: [0, 1]}}",
            inputs,
            "x * sum(v)",
        )
    )
    assert [p.inputs["v"].tolist() for p in again[0].points] == [p.inputs["v"].tolist() for p in case.points]
    (case,) = cases(
        with_points("      - grid: {x: [1, 2], y: {from: 0, to: 1, count: 3}}", "{x: scalar, y: scalar}", "x * y")
    )
    assert [(float(p.inputs["x"]), float(p.inputs["y"])) for p in case.points] == [
        (a, b) for a in (1, 2) for b in (0, 0.5, 1)
    ]


def test_constants_keep_their_kind():
    text = MINIMAL.replace(
        "points:", "constants: {w: [1, 2], k: {dtype: integer, values: [0, 1]}, m: [true, false]}\n    points:"
    )
    (case,) = cases(text)
    assert {name: a.dtype.kind for name, a in case.points[0].constants.items()} == {"w": "f", "k": "i", "m": "b"}


def test_stated_answers_are_numbers_formulas_sets_and_words():
    (case,) = cases(
        with_points(
            "      - at: {x: 3, y: [1, 2]}\n        value: 6 * cos(9)\n"
            "        gradient: {x: {between: [-1, 1]}, y: [{one_of: [0, 0.5]}, infinite]}\n"
            "        hessian: {x: {x: {left: 2, right: 1}}}\n"
            "        hvp: {tangents: {x: 1}, answer: {x: 3}}",
            "{x: scalar, y: [2]}",
            "x * sum(y)",
        )
    )
    answers = {answer.operator: answer for answer in case.points[0].answers}
    assert float(answers[Operator.VALUE].stated[""].lower) == pytest.approx(-5.466781571308061)
    gradient = answers[Operator.GRADIENT].stated
    assert (float(gradient["x"].lower), float(gradient["x"].upper)) == (-1, 1)
    assert gradient["y"].choices == {0: (0.0, 0.5)}
    assert gradient["y"].words == {1: "infinite"}
    hessian = answers[Operator.HESSIAN].stated["x,x"]
    assert (float(hessian.lower), float(hessian.upper)) == (1, 2)
    assert answers[Operator.HVP].tangents["y"].tolist() == [0, 0]


def test_a_function_of_one_input_may_leave_its_name_out():
    (case,) = cases(with_points("      - {at: {x: 3}, gradient: 6, hessian: 2}"))
    assert [float(a.stated[key].lower) for a, key in zip(case.points[0].answers, ("x", "x,x"), strict=True)] == [6, 2]


def test_a_reverse_pass_without_a_cotangent_is_a_gradient_and_with_one_a_vjp():
    (case,) = cases(MINIMAL.replace("points:", 'manual: "{x: 2 * x}"\n    points:'))
    assert set(case.rules) == {"gradient"}
    (case,) = cases(MINIMAL.replace("points:", 'manual: "{x: 2 * x * cotangent}"\n    points:'))
    assert set(case.rules) == {"vjp"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f.yaml: the file is empty; write 'cases:' and a list of cases"),
        ("cases: []", "f.yaml:1:8: 'cases' must be a list of cases"),
        ("cases: 3", "f.yaml:1:8: 'cases' must be a list of cases"),
        ("case: []", "f.yaml:1:1: unknown key 'case'; did you mean 'cases'?"),
        ("[1, 2", "f.yaml:2:1: not YAML"),
        ("a: 1\na: 2", "f.yaml:2:1: the key 'a' again; it stands on line 1 too"),
        ("a: !!python/object:os.system x", "f.yaml:1:4: the tag"),
        ("a: &a [*a]", "f.yaml:1:8: nested too deep"),
        (MINIMAL.replace("x**2", "sinn(x)"), "f.yaml:4:15: unknown primitive 'sinn'; did you mean 'sin'?"),
        (MINIMAL.replace("x**2", "x + yy"), "f.yaml:4:19: undefined name 'yy'"),
        (MINIMAL.replace("x**2", "sin(x, x)"), "f.yaml:4:15: sin takes 1 argument, not 2"),
        (
            MINIMAL.replace("scalar", "[2, 3]").replace("x**2", "x @ x"),
            "f.yaml:4:15: matmul: shapes [2, 3] and [2, 3] don't multiply",
        ),
        (MINIMAL.replace("function", "funktion"), "f.yaml:4:5: unknown key 'funktion'; did you mean 'function'?"),
        (MINIMAL.replace("name: c", "name: a b"), "f.yaml:2:11: the name 'a b'"),
        (MINIMAL.replace("scalar", "vector"), "f.yaml:3:17: no shape for 'x'"),
        (MINIMAL.replace("{x: scalar}", "{1x: scalar}"), "f.yaml:3:14: '1x' can't name an input"),
        (MINIMAL.replace("{x: 3}", "{y: 3}"), "f.yaml:5:20: unknown key 'y'"),
        (MINIMAL.replace("{x: 3}", "{}"), "f.yaml:5:19: 'at' lacks 'x'"),
        (MINIMAL.replace("{x: 3}", "{x: [1, 2]}"), "f.yaml:5:23: the shape [2]; it must be a number"),
        (MINIMAL.replace("{x: 3}", "{x: {y: 3}}"), "f.yaml:5:23: a mapping where numbers are needed"),
        (MINIMAL.replace("{x: 3}", "{x: abc}"), "f.yaml:5:23: undefined name 'abc'"),
        (
            MINIMAL.replace("scalar", "any").replace("{x: 3}", "{x: [[1], [2, 3]]}"),
            "f.yaml:5:23: rows of different lengths",
        ),
        (MINIMAL.replace("{at: {x: 3}}", "{at: {x: 3}, gradient: {y: 2}}"), "f.yaml:5:41: 'y' is no input"),
        (
            MINIMAL.replace("{at: {x: 3}}", "{at: {x: 3}, gradient: {x: [1, 2]}}"),
            "f.yaml:5:41: a list of 2 where the answer has shape []",
        ),
        (
            MINIMAL.replace("{at: {x: 3}}", "{at: {x: 3}, gradient: {x: {betwen: [0, 1]}}}"),
            "f.yaml:5:41: no stated answer: 'betwen'; did you mean 'between'?",
        ),
        (
            MINIMAL.replace("{at: {x: 3}}", "{at: {x: 3}, gradient: {x: {between: [1, 0]}}}"),
            "f.yaml:5:51: between needs two numbers",
        ),
        (
            MINIMAL.replace("{at: {x: 3}}", "{at: {x: 3}, vjp: {cotangent: [1, 2], answer: {x: 6}}}"),
            "f.yaml:5:44: the shape [2]; it must be a number",
        ),
        (
            MINIMAL.replace("{at: {x: 3}}", "{at: {x: 3}, partial: {orders: {y: 1}, answer: 6}}"),
            "f.yaml:5:46: unknown key 'y'",
        ),
        (
            MINIMAL.replace("{at: {x: 3}}", "{at: {x: 3}, partial: {orders: {x: 99}, answer: 6}}"),
            "f.yaml:5:49: an order must be a whole number",
        ),
        (MINIMAL.replace("{at: {x: 3}}", "{grid: {x: []}}"), "f.yaml:5:25: no values"),
        (MINIMAL.replace("{at: {x: 3}}", "{at: {x: 1}, grid: {x: [1]}}"), "f.yaml:5:14: a point needs one of"),
        (
            MINIMAL.replace("{at: {x: 3}}", "{draw: {count: 2, seed: 1, x: {unifrom: [0, 1]}}}"),
            "f.yaml:5:44: no distribution; did you mean 'uniform'?",
        ),
        (
            MINIMAL.replace("points:", "operators: [gradiant]\n    points:"),
            "f.yaml:5:17: gradiant is no operator; did you mean 'gradient'?",
        ),
        (
            MINIMAL.replace("points:", "dtypes: [float46]\n    points:"),
            "f.yaml:5:14: unknown dtype 'float46'; did you mean 'float64'?",
        ),
        (MINIMAL.replace("points:", "tolerance: {rtol: 1e-6}\n    points:"), "f.yaml:5:16: a tolerance lacks 'reason'"),
        (
            MINIMAL.replace("points:", "tolerance: {targets: {torch: {rtol: 1e-6}}}\n    points:"),
            "f.yaml:5:34: a tolerance lacks 'reason'",
        ),
        (
            MINIMAL.replace("points:", "tolerance: {targets: []}\n    points:"),
            "f.yaml:5:26: targets must be a mapping",
        ),
        (
            with_points("      - at: {x: [1, 2]}", "{x: [2]}").replace("points:", "operators: [gradient]\n    points:"),
            "f.yaml:5:17: gradient needs a scalar output, and this one has shape [2]; ask for the jacobian, or a vjp",
        ),
        (
            with_points("      - at: {x: [1, 2]}", "{x: [2]}").replace(
                "points:", "operators: [{partial: {x: 1}}]\n    points:"
            ),
            "f.yaml:5:17: 'x' is an array; a partial derivative is by scalars",
        ),
        (
            with_points("      - at: {x: 1}\n        jvp: {tangents: {x: [1, 2]}, answer: 1}"),
            "f.yaml:7:29: the shape [2]; it must be a number",
        ),
        (
            MINIMAL.replace("points:", "tolerance: {reason: because}\n    points:"),
            "f.yaml:5:16: a tolerance without a number",
        ),
        (MINIMAL.replace("points:", "manual: '{y: 1}'\n    points:"), "f.yaml:5:13: 'y' is no part of the gradient"),
        (MINIMAL.replace("points:", "gradient: {x: 2 * z}\n    points:"), "undefined name 'z'"),
        (MINIMAL.replace("points:", "constants: {x: 1}\n    points:"), "f.yaml:5:17: 'x' is an input too"),
        (
            MINIMAL.replace("scalar", "[2]")
            .replace("x: 3", "x: [1, 2]")
            .replace("points:", "manual: '{x: 2 * x}'\n    points:"),
            "a reverse pass without 'cotangent'",
        ),
        (
            MINIMAL.replace("scalar", "[2]").replace("{at: {x: 3}}", "{at: {x: [1, 2]}, gradient: {x: [2, 4]}}"),
            "gradient needs a scalar output, and this one has shape [2]",
        ),
    ],
)
def test_bad_input_gets_a_place_and_a_sentence(text, expected):
    assert any(expected in mistake for mistake in mistakes(text)), mistakes(text)


def test_every_mistake_of_a_file_is_reported_at_once():
    text = (
        "cases:\n"
        "  - name: one\n    descripton: x\n    inputs: {x: scalar}\n    function: sinn(x)\n    points: [{at: {x: 1}}]\n"
        "  - name: two\n    inputs: {x: scalar}\n    function: x**2\n    points:\n"
        "      - {at: {x: 1}, gradient: [1, 2], hessian: {y: 3}}\n      - at: {}\n"
        "  - name: three\n    inputs: {x: scalar}\n    function: x**2\n    points: []\n"
    )
    found = mistakes(text)
    assert [m.split(": ")[0] for m in found] == [
        "f.yaml:3:5",
        "f.yaml:5:15",
        "f.yaml:11:32",
        "f.yaml:11:53",
        "f.yaml:12:13",
        "f.yaml:16:13",
    ]


def test_a_place_within_a_block_of_text_is_that_of_the_file():
    text = "cases:\n  - name: c\n    inputs: {x: scalar}\n    function: |\n      y = x\n      return y + sinn(x)\n    points: [{at: {x: 1}}]\n"
    (found,) = mistakes(text)
    assert found.startswith("f.yaml:6:18: unknown primitive 'sinn'")


def test_a_file_that_is_not_utf_8_is_refused_with_the_place():
    with pytest.raises(Mistakes, match=r"f\.yaml:2:4: not UTF-8"):
        document.parse(b"a: 1\nb: \xff", "f.yaml")


def test_aliases_that_expand_without_end_are_bounded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(Mistakes, match="too large once its aliases"):
        document.parse("\n".join(lines).encode(), "f.yaml")


def test_files_folders_and_names(cases_file, tmp_path):
    cases_file(MINIMAL, "b.yaml")
    cases_file(MINIMAL.replace("name: c", "name: d"), "a.yml")
    (tmp_path / "notes.txt").write_text("no case")
    assert [case.name for case in load([tmp_path])] == ["d", "c"]
    cases_file(MINIMAL, "z.yaml")
    with pytest.raises(Mistakes, match=r"z\.yaml:2:5: another case 'c'; it stands at .*b\.yaml:2:5 too"):
        load([tmp_path])
    with pytest.raises(Mistakes, match="no such file or folder"):
        load([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToRun, match="a folder without case files"):
        load([tmp_path / "empty"])


def test_a_shipped_file_is_called_by_its_place_among_the_cases_wherever_we_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (first, *_) = load([Path("cases/seed/seed.yaml")])
    assert first.place.file == "cases/seed/seed.yaml"
    with pytest.raises(Mistakes, match="no such file or folder"):
        load([Path("cases/absent.yaml")])


def test_mistakes_of_several_files_come_together(cases_file, tmp_path):
    cases_file("", "a.yaml")
    cases_file(MINIMAL.replace("x**2", "sinn(x)"), "b.yaml")
    with pytest.raises(Mistakes) as caught:
        load([tmp_path])
    assert [Path(m.place.file).name for m in caught.value.mistakes] == ["a.yaml", "b.yaml"]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="{}[]:-&*!|>'\"#%@`, \n\tabxcases:", max_size=200).map(str.encode))
def test_no_bytes_crash_the_reader(data):
    said = "f.yaml"
    try:
        read(document.parse(data, "f.yaml"))
    except Mistakes as error:
        said = str(error)
    assert said.startswith("f.yaml")


def test_the_committed_schema_is_the_one_that_is_generated():
    committed = json.loads((ROOT / "docs" / "case.schema.json").read_text())
    assert committed == schema.json_schema(), "run: gradbench schema > docs/case.schema.json"


def test_every_shipped_file_is_valid_by_the_schema():
    checker = jsonschema.Draft202012Validator(schema.json_schema())
    for path in sorted((ROOT / "cases").rglob("*.yaml")):
        if "deviations" not in path.parts:
            errors = list(checker.iter_errors(yaml.safe_load(path.read_text())))
            assert not errors, (path, errors[0].message)


def test_the_schema_refuses_what_the_reader_refuses():
    checker = jsonschema.Draft202012Validator(schema.json_schema())
    bad = yaml.safe_load(MINIMAL.replace("function", "funktion"))
    assert list(checker.iter_errors(bad))


def test_every_shipped_case_has_a_description_of_its_own():
    shipped = load([ROOT / "cases"])
    described = [case.description for case in shipped]
    assert all(0 < len(text) < 70 for text in described)
    assert len(set(described)) == len(described)


def test_the_shipped_cases_use_every_primitive():
    from gradbench.primitives import VOCABULARY

    used = {word for case in load([ROOT / "cases"]) for word in case.program.primitives}
    assert used == set(VOCABULARY)


def test_masks_are_boolean_arrays():
    (case,) = cases(MINIMAL.replace("points:", "constants: {m: [true, false]}\n    points:"))
    assert case.points[0].constants["m"].dtype == np.bool_
