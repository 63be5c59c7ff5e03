"""An explanation as text in a terminal, as text for Graphviz, as a page and as a panel of the report."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace

import lessons
import pytest
import runs
from test_html import Page

from gradbench import cli
from gradbench.adapters.tape import Tape
from gradbench.explanation import Explanation
from gradbench.judge import judge
from gradbench.report import html, panel
from gradbench.report.drawing import dot, svg
from gradbench.report.sentences import answer_text, listed
from gradbench.report.terminal_explain import rendered

FAR = """
cases:
  - name: far
    inputs: {x: scalar}
    function: 10 * exp(sin(x)) + cos(x) ** 2
    points: [{at: {x: 1000}}]
"""


class Coarse(Tape):
    """Its sine has the digits of float32."""

    def __init__(self):
        self.ops = {**Tape.ops, "sin": lambda x: Tape.ops["sin"](x) * (1 + 2.0**-24)}


def evil(explanation: Explanation) -> Explanation:
    """The same of a case, nodes and a target with names that a page must not trip over."""
    question = replace(explanation.question, case=runs.EVIL, description=runs.EVIL, source=runs.EVIL)
    steps = tuple(replace(step, name=f"{step.name}{runs.EVIL}") for step in explanation.steps)
    voices = tuple(replace(voice, remarks={"x": runs.EVIL}) for voice in explanation.voices)
    return replace(explanation, question=question, steps=steps, voices=voices)


@pytest.fixture(scope="module")
def olah() -> Explanation:
    return lessons.heard(lessons.of(lessons.OLAH))


@pytest.fixture(scope="module")
def far() -> Explanation:
    return lessons.heard(lessons.of(FAR), coarse=Coarse(), tape=Tape())


# Terminal


def test_it_reads_from_the_function_to_the_conclusion(olah):
    text = rendered(olah)
    order = ["olah-graph, point 1, float64: its gradient, node by node", "Two-node graph", "Olah (2015)",
             "    return c * d", "Forward", " c = a + b    3       ball", " n3 = c * d   6       ball, the output", "Back",
             " n3 = c * d   1         ball   where it starts", " b            5         ball   2 from c + 3 from d",
             "Side by side", "✓ Nobody departs"]  # fmt: skip
    places = [text.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("width", [80, 60])
def test_no_line_is_wider_than_asked_and_none_is_coloured(far, olah, width):
    for explanation in (far, olah, evil(olah)):
        lines = rendered(explanation, width).split("\n")
        assert max(map(len, lines)) <= width
        assert not any("\x1b" in line or line != line.rstrip() for line in lines)


def test_what_is_piped_fits_eighty_columns(far):
    assert max(map(len, rendered(far).split("\n"))) <= 80


def test_a_departure_is_seen_beside_what_the_others_say(far):
    text = rendered(far)
    assert re.search(r"n1 +0\.826879589\d+ +4\.44e8 +✗ fail: coarse\n +0\.8268795405320025 +0\.348 +tape", text)
    assert "✗ coarse departs going forward at n1 = sin(x): it says" in text
    assert "Nobody departs" not in text


def test_colour_is_for_a_terminal_alone(olah, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in rendered(olah)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in rendered(olah)


def test_a_long_array_is_its_shape_and_its_beginning():
    import numpy as np

    assert answer_text(np.arange(100.0).reshape(10, 10)) == "10×10: 0, 1, 2, …"
    assert answer_text(np.array([[1 / 3, 2], [3, 4]])) == "[[0.333333, 2], [3, 4]]"
    assert answer_text(np.array([[1 / 3, 2], [3, 4]]), is_whole=True) == "[[0.3333333333333333, 2], [3, 4]]"
    assert answer_text(np.array(1 / 3)) == "0.3333333333333333"
    assert answer_text(np.array([1 / 3 - 2j, np.nan + 1j])) == "[0.333333-2j, nan+1j]"
    assert answer_text(np.zeros((0, 2))) == "0×2: empty"
    assert answer_text(np.array([1.0, 0.0]), "boolean") == "[True, False]"
    assert answer_text(None) == "None"
    assert listed(["a", "b", "c"], "or") == "a, b or c"
    assert listed(["a"]) == "a"


# Graphviz


def test_graphviz_text_has_every_node_edge_and_share(olah):
    text = dot(olah)
    assert text.startswith('digraph "olah-graph" {\n')
    assert '  n1 [label="b\\n1\\nadjoint 2 + 3 = 5", style=rounded];' in text
    assert '  n4 [label="n3 = c * d\\n6\\nadjoint 1", peripheries=2];' in text
    assert re.findall(r"n(\d) -> n(\d)", text) == [("0", "2"), ("1", "2"), ("1", "3"), ("2", "4"), ("3", "4")]
    assert '  n1 -> n3 [label="3"];' in text


def test_who_departs_stands_in_the_box_and_the_box_is_red(far):
    (line,) = [line for line in dot(far).splitlines() if "n1 = sin(x)" in line]
    assert "✗ coarse forward\\n✗ coarse back" in line
    assert "color=red" in line
    assert sum("color=red" in line for line in dot(far).splitlines()) == 1


def test_no_name_ends_a_string_of_graphviz(olah):
    for line in dot(evil(olah)).splitlines():
        bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
        assert '"' not in bare
        assert "<" not in bare
    assert "\u202e" not in dot(evil(olah))


@pytest.mark.skipif(not shutil.which("dot"), reason="needs Graphviz")
def test_graphviz_can_read_it(olah):
    for explanation in (olah, evil(olah)):
        done = subprocess.run(["dot", "-Tsvg"], input=dot(explanation).encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


# SVG


def test_the_picture_is_xml_with_a_box_for_each_node_and_a_name(far, olah):
    for explanation in (far, olah, evil(far)):
        root = ET.fromstring(f'<x xmlns="http://www.w3.org/2000/svg">{svg(explanation, "g")}</x>')[0]
        assert root.get("role") == "img"
        names = [root.find(f".//*[@id='{i}']").text for i in root.get("aria-labelledby").split()]
        assert names[0].startswith("The graph of ")
        assert "The table below says the same." in names[1]
        boxes = [g for g in root.iter() if "box" in g.get("class", "")]
        assert len(boxes) == len(explanation.steps)
        edges = sum(len(step.operands) for step in explanation.steps)
        assert sum(p.get("class") == "flow" for p in root.iter()) == edges
        assert not any(element.get("style") for element in root.iter())


def test_a_box_that_somebody_departs_at_is_marked(far):
    text = str(svg(far, "g"))
    assert text.count('class="box node departs"') == 1
    assert "✗ coarse forward" in text


def test_a_long_line_is_cut_and_whole_in_its_title():
    text = FAR.replace("10 * exp(sin(x)) + cos(x) ** 2", "clip(x, min=-1234567890.125, max=1234567890.125)")
    drawn = str(svg(lessons.heard(lessons.of(text)), "g"))
    assert ">n1 = clip(x, min=-1234567890.125,…</text>" in drawn
    assert "n1 = clip(x, min=-1234567890.125, max=1234567890.125)\n" in drawn


# Page and panel


def test_the_page_needs_nothing_else_and_has_no_program(far):
    text = panel.page(far)
    page = Page(text)
    assert not page.all("script")
    assert not page.all("a") or all(a["href"].startswith("#") for a in page.all("a"))
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "script-src 'none'" in policy
    assert "default-src 'none'" in policy
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(th.get("scope") in {"col", "row", "rowgroup"} for th in page.all("th"))
    for fact in ("12.857 from n1 - 0.93004 from n4", "coarse departs going forward", "gradbench explain far f.yaml"):
        assert fact in page.text


def test_the_table_says_what_the_picture_says(olah):
    text = Page(panel.page(olah)).text
    for fact in (
        "c = a + b",
        "2 from c + 3 from d",
        "Values",
        "Adjoints",
        "The gradient as a run asks for it",
        "… from d",
    ):
        assert fact in text


def test_no_name_is_read_as_markup(olah):
    for text in (panel.page(evil(olah)), str(panel.panel(evil(olah)))):
        page = Page(text)
        assert not page.all("i")
        assert not page.all("script")
        assert "\u202e" not in text
        assert "\x07" not in text


@pytest.fixture(scope="module")
def report() -> str:
    run = runs.everything()
    verdicts = list(judge(run))
    return html.render(run, verdicts)


def test_a_panel_is_put_into_the_report_once_and_replaced(report, olah, far):
    once = panel.inserted(report, olah)
    twice = panel.inserted(once, far)
    again = panel.inserted(twice, olah)
    assert len(Page(report).all("template")) == 0
    assert [t["data-case"] for t in Page(twice).all("template")] == ["olah-graph", "far"]
    assert [t["data-case"] for t in Page(again).all("template")] == ["far", "olah-graph"]
    assert len(again) == len(twice)
    assert panel.inserted("<html></html>", olah) is None, "no report has room for it"
    other = replace(olah, question=replace(olah.question, point=2))
    assert len(Page(panel.inserted(once, other)).all("template")) == 2


def test_a_panel_of_an_evil_name_stays_in_its_place(report, olah):
    text = panel.inserted(panel.inserted(report, evil(olah)), evil(olah))
    (found,) = Page(text).all("template")
    assert found["data-case"] == html.words.shown(runs.EVIL)
    assert text.count(html.EXPLANATIONS) == 1


def test_the_files_and_the_links_between_them(tmp_path, report, olah):
    assert panel.write(olah, tmp_path) == [tmp_path / "explain-olah-graph.html"]
    assert "The report" not in (tmp_path / "explain-olah-graph.html").read_text()
    (tmp_path / "index.html").write_text(report)
    written = panel.write(olah, tmp_path, ["--target", "tape"])
    assert written == [tmp_path / "explain-olah-graph.html", tmp_path / "index.html"]
    text = (tmp_path / "explain-olah-graph.html").read_text()
    assert 'href="index.html#case=olah-graph"' in text
    assert f"gradbench explain olah-graph f.yaml --target tape --report {tmp_path}" in text
    assert 'href="explain-olah-graph.html"' in (tmp_path / "index.html").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["explain-olah-graph.html", "index.html"]


def test_every_case_point_and_dtype_has_a_file_of_its_own(olah):
    def name(case="a", point=1, dtype="float64"):
        query = replace(olah.question.query, dtype=dtype)
        return panel.file_name(replace(olah, question=replace(olah.question, case=case, point=point, query=query)))

    names = [name(), name("a/b"), name("a?b"), name(point=2), name(dtype="float32"), name("../../etc/passwd")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"explain-[\w.-]+\.html", found) for found in names)
    assert names[0] == "explain-a.html"


# The command


CASES = (
    lessons.OLAH
    + """
  - name: sine
    inputs: {x: scalar}
    function: exp(sin(x))
    points: [{at: {x: 1}}, {at: {x: 2}}]
"""
)


@pytest.fixture
def here(tmp_path, monkeypatch, cases_file):
    cases_file(CASES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gradbench(capsys, *arguments: str) -> tuple[int, str, str]:
    code = cli.invoke(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_case_is_explained_in_a_terminal_and_in_the_report(here, capsys):
    assert gradbench(capsys, "run", "cases.yaml", "--target", "manual", "--report", "r")[0] == 0
    code, out, err = gradbench(
        capsys, "explain", "olah-graph", "cases.yaml", "--target", "manual,symbolic", "--report", "r"
    )
    assert (code, err) == (0, "")
    assert "the derivative by a is b + 1" in out
    assert "Nobody departs" in out
    assert out.endswith("wrote r/explain-olah-graph.html\nwrote r/index.html\n")
    assert 'data-case="olah-graph"' in (here / "r" / "index.html").read_text()


def test_the_graph_is_all_that_is_printed_if_it_is_asked_for(here, capsys):
    code, out, err = gradbench(
        capsys, "explain", "sine", "cases.yaml", "--target", "tape", "--point", "2", "--graph", "dot", "--report", "r"
    )
    assert code == 0
    assert out.startswith("digraph")
    assert out.endswith("}\n")
    assert "sine, point 2, float64: gradient" in out
    assert err == "wrote r/explain-sine.2.html\n"


def test_who_departs_makes_the_exit_code_1(here, capsys):
    code, out, _ = gradbench(
        capsys, "explain", "sine", "cases.yaml", "--target", "tests.wrong_rules:WrongSine", "--dtype", "float32"
    )
    assert code == 1
    assert "departs going back at the adjoint of x" in out
    assert "so it is the rule of" in out


def test_a_target_that_can_not_start_is_exit_code_3(here, capsys, monkeypatch):
    from gradbench import registry

    entry = registry.Entry("broken", "faults:Unstartable")
    monkeypatch.setattr(registry, "entries", lambda: {"broken": entry, **{e.name: e for e in registry._TABLE}})
    code, out, err = gradbench(capsys, "explain", "sine", "cases.yaml", "--target", "broken,tape")
    assert (code, "broken can't start: RuntimeError: no licence found" in err) == (3, True)
    assert "Nobody departs: tape" in re.sub(r"\s+", " ", out) or "all 2 targets" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "sin", "cases.yaml"], "no case 'sin'; did you mean 'sine'?"),
        (["explain", "sine", "cases.yaml", "--point", "3"], "sine has no point 3; it has 2 points"),
        (["explain", "sine", "cases.yaml", "--target", "tork"], "did you mean 'torch'?"),
        (["explain", "sine", "cases.yaml", "--dtype", "float46"], "did you mean 'float64'?"),
        (["explain", "sine", "cases.yaml", "--graph", "png"], "'png' is not 'dot'"),
        (["explain", "sine", "absent.yaml"], "absent.yaml: no such file or folder"),
    ],
)
def test_bad_usage_is_exit_code_2_with_a_sentence(here, capsys, arguments, message):
    code, _, err = gradbench(capsys, *arguments)
    assert (code, message in err) == (2, True), err
