"""Files are data, whoever wrote them: what is in one neither runs, nor hangs, nor fills the memory, nor commands a terminal."""

from __future__ import annotations

import copy
import csv
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import runs
from fuzz import bounded, sample, text

from gradbench import document, journal
from gradbench.case_parts import MAX_MISTAKES
from gradbench.case_reader import read as read_cases
from gradbench.catalogue import load
from gradbench.cli import invoke
from gradbench.errors import BadRecord, LanguageError, Mistakes, caret
from gradbench.exact import number
from gradbench.index import Index
from gradbench.journal import merge, read
from gradbench.judge import judge
from gradbench.language import parse
from gradbench.record import Record
from gradbench.report import write as write_report
from gradbench.report.plain import harmless
from gradbench.report.terminal import Summary
from gradbench.report.words import shown

MINIMAL = "cases:\n- name: a\n  inputs: {x: scalar}\n  function: x\n  points: [{at: {x: 1}}]\n"


def mistakes(data: str | bytes) -> str:
    with pytest.raises(Mistakes) as caught, bounded():
        read_cases(document.parse(data if isinstance(data, bytes) else data.encode(), "f.yaml"))
    return str(caught.value)


# YAML


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000])
def test_nesting_is_bounded_before_the_stack_is(text):
    assert "nested too deep; at most 64 levels" in mistakes(text)


def test_an_alias_counts_and_nests_like_what_it_stands_for():
    rows = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert "too large once its aliases are written out" in mistakes("\n".join(["a0: &a0 [x]", *rows]))
    deep = [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 70)]
    assert "nested too deep" in mistakes("\n".join(["a0: &a0 [x]", *deep]))
    assert "no alias within what it stands for" in mistakes("&a [*a]")
    assert "no anchor" in mistakes("a: *b")
    assert "the anchor 'a' again" in mistakes("[&a x, &a y]")


def test_a_file_has_one_document_and_no_tags():
    assert "another document" in mistakes("a: 1\n---\nb: 2")
    assert "case files have no tags" in mistakes("!!python/object/apply:os.system [ls]")
    assert "case files have no tags" in mistakes("%TAG ! tag:x,2000:\n---\n!a b")


def test_a_file_is_read_no_further_than_its_bound(tmp_path):
    path = tmp_path / "f.yaml"
    with path.open("wb") as stream:
        stream.truncate(2**40)  # a hole takes no room on the disk
    with pytest.raises(Mistakes, match="more than 16777216 bytes"), bounded():
        document.load(path)


def test_many_parts_and_many_mistakes_are_bounded(monkeypatch):
    assert mistakes("{" + "k: 1, " * 900 + "}").count("\n") == document.MAX_MISTAKES - 1
    monkeypatch.setattr(document, "MAX_PARTS", 1000)
    assert "at most 1000 parts" in mistakes("[" + "a," * 2000 + "]")


def test_a_file_is_blamed_for_a_hundred_mistakes_at_most():
    said = mistakes(MINIMAL.replace("{at: {x: 1}}", "{at: {y: 1}}, " * 300))
    assert said.count("\n") == MAX_MISTAKES - 1


def test_a_hexadecimal_number_of_any_length_is_no_crash():
    assert "no shape for 'x'" in mistakes(MINIMAL.replace("scalar", f"[0x{'f' * 500}]"))


def test_blocks_are_read_in_time_that_grows_like_the_file():
    with bounded():
        document.parse(("a:\n" + "- |\n x\n" * 20_000).encode(), "f")


def test_a_quoted_line_and_word_are_cut():
    line = "x" * 5000 + "?" + "x" * 5000
    shown_line, mark = caret(line, 1, 5001).splitlines()
    assert len(shown_line) < 200
    assert shown_line[mark.index("^")] == "?"
    assert len(mistakes(MINIMAL + f"  {'k' * 100_000}: 1")) < 2000


# Numbers and functions


def test_numbers_take_no_more_time_than_their_length():
    with bounded(), pytest.raises(LanguageError):
        number("1" * 20_000 + "x")


@pytest.mark.parametrize(
    "text", ["exp(exp(exp(9)))", "sin(exp(exp(99)))", "10.0 ** (10.0 ** 10.0)", "1, 2", "expm1(1e300)"]
)
def test_a_formula_that_grows_beyond_everything_is_refused(text):
    with bounded(), pytest.raises(LanguageError):
        number(text)


def test_a_long_decimal_with_a_large_exponent_is_no_crash():
    assert number("1234567890123e9999")[0] == np.inf
    assert number("1234567890123e-9999") == (0.0, 0.0)
    assert number("0.1234567890123")[1] == 0.5e-13


@pytest.mark.parametrize(
    "text",
    ["x" + " + x" * 400, "(" * 290 + "x" + ")" * 290, "[" * 150 + "x", "x" + ".T" * 300, "~" * 300 + "x", "x\ud800"],
)
def test_a_text_is_refused_before_python_is_out_of_its_depth(text):
    with bounded(), pytest.raises(LanguageError):
        parse(text, ["x"])


def test_a_sum_of_a_hundred_terms_is_not_too_deep():
    assert len(parse("x" + " + x" * 100, ["x"]).nodes) == 100


def test_python_says_nothing_of_its_style(recwarn):
    with pytest.raises(LanguageError):
        parse("1if x else 2", ["x"])
    assert not recwarn.list


# Sizes


def replaced(*pairs: tuple[str, str]) -> str:
    found = MINIMAL
    for old, new in pairs:
        assert old in found
        found = found.replace(old, new)
    return found


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (replaced(("scalar", "[1000000000]")), "'x' is too large; at most 134217728 entries"),
        (replaced(("scalar", f"[{'9' * 300}]")), "'x' is too large"),
        (replaced(("scalar", f"[{'1, ' * 40}]")), "'x' is too large"),
        (replaced(("function: x", "function: tile(x, (99999, 99999))")), "tile: an array of shape"),
        (replaced(("scalar", "[10000000]"), ("at: {x: 1}", "draw: {count: 9, seed: 1, x: {uniform: [0, 1]}}")), "more than 8388608 numbers"),
        (
            replaced(("scalar", "[5000]"), ("function: x", "function: sum(x)"), ("{at: {x: 1}}", "{draw: {count: 1, seed: 1, x: {uniform: [0, 1]}}, hessian: 0}")),
            "more than 8388608 numbers",
        ),
        (
            replaced(("scalar", "[50000]"), ("function: x", "operators: [hessian]\n  function: sum(x)"), ("at: {x: 1}", "draw: {count: 1, seed: 1, x: {uniform: [0, 1]}}")),
            "the hessian has more than 134217728 entries; ask for a vjp",
        ),
        (replaced(("at: {x: 1}", "draw: {count: nan, seed: 1, x: {uniform: [0, 1]}}")), "a count of nan"),
        (replaced(("at: {x: 1}", "draw: {count: 1, seed: inf, x: {uniform: [0, 1]}}")), "no finite number"),
        (replaced(("at: {x: 1}", "draw: {count: 1, seed: 1, x: {log_uniform: [1, inf]}}")), "no finite number"),
        (replaced(("at: {x: 1}", "draw: {count: 1, seed: 1, x: {uniform: [-1e308, 1e308]}}")), "two too far apart"),
        (replaced(("at: {x: 1}", "grid: {x: {from: 0, to: inf, count: 2}}")), "no finite number"),
        (replaced(("at: {x: 1}", "grid: {x: {from: 0, to: 1, count: 1e300}}")), "a count of 1e+300"),
        (replaced(("  function", "  operators: [gradient, gradient]\n  function")), "gradient again; each operator once"),
        (replaced(("  function", "  dtypes: [float32, float32]\n  function")), "float32 again; each dtype once"),
        (replaced(("  function", "  operators: [{partail: {x: 1}}]\n  function")), "this is no operator"),
        (replaced(("  function", f"  operators: [{'{partial: {x: 1}}, ' * 101}]\n  function")), "101 partial derivatives"),
        (replaced(("name: a", "name: ../a")), "the name '../a'; letters, digits"),
        (MINIMAL + "  python: os:system\n", "'python': a case can't name code to run; write the function in the language"),
        (MINIMAL + "  implementations: {torch: a.b}\n", "'implementations': a case can't name code to run"),
        (replaced(("function: x", "function: __import__('os').system('ls')")), "only a primitive can be called"),
    ],
)  # fmt: skip
def test_what_a_few_words_can_ask_for_is_bounded(file, expected):
    assert expected in mistakes(file)


def test_the_points_of_a_file_are_bounded_together():
    case = "- {name: a%d, inputs: {x: scalar}, function: x, points: [{grid: {x: {from: 0, to: 1, count: 10000}}}]}\n"
    with pytest.raises(Mistakes, match="more than 50000 points in this file"):
        read_cases(document.parse(("cases:\n" + "".join(case % i for i in range(6))).encode(), "f"))


def test_no_case_leaves_its_folder(tmp_path):
    (tmp_path / "out.yaml").write_text(MINIMAL)
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "in.yaml").write_text(MINIMAL)
    assert len(load([folder])) == 1
    (folder / "link.yaml").symlink_to(tmp_path / "out.yaml")
    with pytest.raises(Mistakes, match=r"link\.yaml: a link that leads out of"):
        load([folder])
    (folder / "link.yaml").unlink()
    (folder / "link.yaml").symlink_to(folder / "in.yaml")
    with pytest.raises(Mistakes, match="another case 'a'"):
        load([folder])


# Records

LINES = sample()


def broken(kind: str, case: str, change) -> list:
    """The lines of a good file with a change to the first line of that kind, about that case; and its number."""
    lines = copy.deepcopy(LINES)
    for i, line in enumerate(lines):
        about = line.get("query", {}).get("id", "") if kind == "question" else line.get("query", line.get("name", ""))
        if line["type"] == kind and about.startswith(case):
            change(line)
            return [lines, i + 1]
    raise AssertionError(case)


def put(*path):
    """A change: a value in a place."""
    *keys, value = path

    def change(line):
        for key in keys[:-1]:
            line = line[key]
        line[keys[-1]] = value

    return change


HUGE = {"dtype": "float64", "shape": [10**12], "data": []}
BAD = [
    ("header", "", put("command", 3), "no list of texts"),
    ("header", "", put("started", {}), "'started' is no text"),
    ("header", "", put("merged", [[]]), "no object"),
    ("target", "torch", put("versions", {"torch": 2}), "where a text is needed"),
    ("target", "torch", put("settings", {"x": 10**400}), "holds what no record can"),
    ("target", "torch", put("name", ["torch"]), "'name' is no text"),
    ("question", "parabola", put("query", "inputs", "x", HUGE), "an array of more than 134217728 entries"),
    ("question", "parabola", put("query", "inputs", "x", {"dtype": "float64", "shape": [0, 10**30], "data": []}), "an array of more than"),
    ("question", "parabola", put("query", "inputs", "x", {"dtype": "float64", "shape": [10**6], "data": [1]}), "no 1000000 numbers"),
    ("question", "parabola", put("query", "inputs", "x", {"dtype": "float64", "shape": [True], "data": [1]}), "no list of sizes"),
    ("question", "parabola", put("query", "inputs", "x", {"dtype": "float64", "shape": [-1], "data": [1]}), "no list of sizes"),
    ("question", "parabola", put("query", "inputs", "x", {"dtype": "object", "shape": [], "data": [1]}), "unknown dtype"),
    ("question", "parabola", put("query", "inputs", "x", {"dtype": "float64", "shape": [1], "data": [[1]]}), "no number in an array"),
    ("question", "parabola", put("query", "inputs", "x", {"dtype": "int8", "shape": [1], "data": [300]}), "no int8 in an array"),
    ("question", "parabola", put("query", "inputs", "x", {"dtype": "float64", "shape": [1], "base64": "AAAA"}), "buffer size"),
    ("question", "parabola", put("query", "function", "x +"), "the function of a query: line 1, column"),
    ("question", "parabola", put("query", "function", "tile(x, (99999, 99999))"), "tile: an array of shape"),
    ("question", "parabola", put("query", "function", "x, y"), "the function returns 2 arrays"),
    ("question", "parabola", put("query", "dtype", "float8"), "a query in 'float8'"),
    ("question", "parabola", put("query", "operator", "integral"), "'integral' is not a valid Operator"),
    ("question", "parabola", put("query", "operator", "vjp"), "a vjp needs a cotangent"),
    ("question", "parabola", put("query", "operator", "jvp"), "a jvp needs a tangent"),
    ("question", "parabola", put("query", "operator", "partial"), "a partial derivative needs orders"),
    ("question", "large", put("query", "operator", "hessian"), "a hessian needs a function with one number"),
    ("question", "parabola", put("point", 10**30), "'point' is no whole number"),
    ("question", "parabola", put("place", ":" + "9" * 5000), "'place' is no text of at most"),
    ("question", "parabola", put("tolerance", {"rtol": "x"}), "'rtol' is no number"),
    ("question", "parabola", put("tolerance", {"targets": {"*": 3}}), "a tolerance is no object"),
    ("question", "disputed", put("stated", "", "words", {"7": "infinite"}), "no component of what is stated"),
    ("question", "disputed", put("stated", "", "slack", "shape", [1]), "bounds of different shapes"),
    ("question", "disputed", put("stated", "", "choices", {"0": []}), "choices are a list of numbers"),
    ("record", "parabola", put("outcome", "happy"), "'happy' is not a valid Outcome"),
    ("record", "parabola", put("answer", [1]), "'answer' is no object"),
    ("record", "parabola", put("first", 10**400), "'first' is no number"),
    ("record", "parabola", put("seconds", -1), "'seconds' is no number of 0 or more"),
    ("record", "parabola", put("status", {"": {"shape": [10**9], "words": "certified"}}), "an array of more than"),
    ("record", "parabola", put("status", {"": {"shape": [10**8], "words": "certified"}}), "of another shape than what it is of"),
    ("record", "parabola", put("status", {"": {"shape": [2], "words": ["certified"]}}), "1 words for a status of shape [2]"),
    ("record", "parabola", put("status", {"": {"shape": [], "words": [{}]}}), "no list of texts"),
    ("record", "parabola", put("margin", "", "radius", {"dtype": "float64", "shape": [2], "data": [1, 2]}), "of another shape"),
    ("record", "parabola", put("margin", "", "radius", {"dtype": "complex128", "shape": [], "data": [1, 2]}), "is in complex128"),
    ("record", "parabola", put("notes", {"sketch": {"x": {"seed": "", "whole": 10**9, "bits": []}}}), "whole number from 1 to 99"),
    ("record", "parabola", put("notes", {"sketch": {"x": {"seed": "", "whole": 2, "bits": []}}}), "has other than 2 sums"),
    ("record", "parabola", put("notes", {"discrete": {"x": 3}}), "'said' is no object"),
    ("record", "parabola", put("notes", {"x": float("nan")}), "holds what no record can"),
    ("record", "parabola", put("mutated", "x"), "'mutated' is no list of texts"),
    ("footer", "", put("type", "food"), "not a line of a record file"),
    ("footer", "", put("type", {}), "not a line of a record file"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "case", "change", "expected"), BAD)
def test_whatever_is_wrong_in_a_line_is_said_with_its_number(tmp_path, kind, case, change, expected):
    lines, line_number = broken(kind, case, change)
    path = tmp_path / "records.jsonl"
    path.write_bytes(text(lines))
    for reader in (read, lambda path: list(Index([path]).answers())):
        with pytest.raises(BadRecord) as caught, bounded():
            reader(path)
        assert f"records.jsonl:{line_number}: " in str(caught.value)
        assert expected in str(caught.value)


def test_every_verb_that_reads_records_says_so_without_a_traceback(tmp_path, capsys):
    path = tmp_path / "\u202erecords.jsonl"
    lines, line_number = broken("record", "parabola", put("outcome", "\x1b[2Jhappy"))
    path.write_bytes(text(lines))
    for verb in (
        ["judge"],
        ["report", "--report", str(tmp_path / "out")],
        ["merge", "-o", str(tmp_path / "merged.jsonl")],
    ):
        assert invoke([verb[0], str(path), *verb[1:]]) == 2
        said = capsys.readouterr().err
        assert f"records.jsonl:{line_number}: not a record" in said
        assert "\x1b" not in said
        assert "\u202e" not in said
        assert "Traceback" not in said


def good(data: bytes, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(data)
    return read(path)


def test_lines_may_end_as_on_windows_and_begin_with_a_mark(tmp_path):
    data = text(LINES)
    run = good(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"), tmp_path)
    assert run.complete
    assert len(run.records) == sum(line["type"] == "record" for line in LINES)


@pytest.mark.parametrize(
    "tail", [b"\0", b"hello", b"[]", b"{}", b'{"type":"record"}', b"\n", b"[" * 100_000, b"9" * 5000]
)
def test_what_stands_after_the_footer_is_read_too(tmp_path, tail):
    with pytest.raises(BadRecord, match=rf"records.jsonl:{len(LINES) + 1}: "):
        good(text(LINES) + tail + b"\n", tmp_path)


def test_two_footers_are_one_and_a_record_after_it_says_that_it_was_none(tmp_path):
    assert good(text([*LINES, LINES[-1]]), tmp_path).complete
    assert not good(text([*LINES, LINES[-2]]), tmp_path).complete


def test_records_of_nobody_and_of_nothing_asked_harm_nobody(tmp_path):
    lines = copy.deepcopy(LINES)
    record = next(line for line in lines if line["type"] == "record" and line["target"] == "torch")
    lines[-1:] = [{**record, "query": "nobody asked"}, {**record, "target": "somebody", "environment": "?"}, lines[-1]]
    run = good(text(lines), tmp_path)
    assert "somebody" in {verdict.record.target for verdict in judge(run)}
    assert len(list(judge(run))) == len(list(judge(good(text(LINES), tmp_path)))) + 1


def test_an_answer_of_another_shape_than_the_question_has_is_judged_so(tmp_path):
    lines = copy.deepcopy(LINES)
    told = next(
        line for line in lines if line.get("target") == "torch" and line["query"].startswith("parabola#1:gradient")
    )
    told["answer"]["x"] = {"dtype": "float64", "shape": [3], "data": [1, 2, 3]}
    run = good(text(lines), tmp_path)
    found = [v for v in judge(run) if v.record.target == "torch" and v.question.query.id == told["query"]]
    assert [(finding.key, finding.reason) for finding in found[0].findings] == [("x", "shape"), ("y", "")]


def test_half_a_character_is_mended(tmp_path):
    lines, _ = broken("record", "a\"b'<i", put("message", "half \ud800, whole \U0001f600"))
    run = good(text(lines), tmp_path)
    assert [record.message for record in run.records if "half" in record.message] == ["half ?, whole \U0001f600"]


def test_a_line_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "MAX_LINE", 40_000)
    monkeypatch.setattr(journal, "MAX_TEXT", 20_000)
    monkeypatch.setattr(journal, "MAX_PARTS", 1_000)
    head = text(LINES[:1])
    line = b'{"type":"footer","x":%b}\n'
    with pytest.raises(BadRecord, match=r":2: a line of more than 40000 bytes"):
        good(head + b"a" * 10**6, tmp_path)
    with pytest.raises(BadRecord, match=r":2: more than 20000 bytes beside long arrays"):
        good(head + line % (b'"' + b"a" * 30_000 + b'"'), tmp_path)
    with pytest.raises(BadRecord, match=r":2: more than 1000 parts"):
        good(head + line % (b"[" + b"1," * 2_000 + b"1]"), tmp_path)
    assert good(head + line % (b"[" + b"1," * 900 + b"1]"), tmp_path).complete


def test_a_million_numbers_with_their_margins_are_within_the_bounds():
    array = 8 * 10**6 * 4 / 3
    assert 9 * 2 * array <= journal.MAX_LINE
    assert 10**6 * len('"unsupported",') <= journal.MAX_TEXT
    assert journal.MAX_PARTS > 10**6


# What is shown


COMMAND = "\x1b[2J\x07\r\u202e[bold red][link=http://x]=cmd|' /C calc'!A0"


def hostile():
    """A run with a command in every text."""
    asked = runs.question(COMMAND, description=COMMAND, source=COMMAND, place=COMMAND, topic=COMMAND, tags=(COMMAND,))
    target = runs.Target(COMMAND, versions={COMMAND: COMMAND}, settings={COMMAND: COMMAND})
    absent = runs.Target(f"{COMMAND}2", failure=COMMAND)
    wrong = runs.answered(target, asked, 4.0, composite=(COMMAND,))
    crashed = Record(asked.query.id, runs.Outcome.CRASHED, error=COMMAND, message=COMMAND).of(runs.TORCH)
    refused = Record(asked.query.id, runs.Outcome.UNSUPPORTED, message=COMMAND).of(runs.JAX)
    targets = {t.environment: t for t in (target, absent, runs.TORCH, runs.JAX)}
    header = {**runs.HEADER, "started": COMMAND}
    return runs.Run(header, {asked.query.id: asked}, targets, [wrong, crashed, refused, *runs.proved(asked, 5.0)])


def test_no_report_holds_a_command(tmp_path):
    run, summary = hostile(), Summary()
    write_report(run, judge(run), tmp_path, ("csv", "coverage", "junit", "json"), summary)
    for name in ("results.csv", "coverage.csv", "junit.xml"):
        said = (tmp_path / name).read_text(encoding="utf-8")
        assert not set(said) & set("\x1b\x07\r\u202e"), name
        assert "calc" in said
    for name in ("results.csv", "coverage.csv"):
        table = list(csv.DictReader(io.StringIO((tmp_path / name).read_text(encoding="utf-8"))))
        cells = [cell for row in table for key, cell in row.items() if key not in {"answer", "truth"}]
        assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@", "|", "%"))]
    assert len(list(ET.parse(tmp_path / "junit.xml").iter("testcase"))) == 4
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    printed = "\n".join(summary.lines(run))
    assert not set(printed) & set("\x1b\x07\r\u202e")
    assert "[bold red][link=http://x]" in printed


def test_a_number_stays_a_number_and_a_text_no_formula():
    assert harmless(-1.5) == -1.5
    assert harmless("=1+1") == "'=1+1"
    assert harmless("\t=1+1") == "' =1+1"
    assert harmless("＝1+1") == "'＝1+1"
    assert harmless("x = 1") == "x = 1"


def test_the_terminal_gets_no_command_from_a_case(tmp_path, capsys):
    path = tmp_path / "cases.yaml"
    path.write_text(json.dumps({"cases": [{
        "name": "a", "description": COMMAND, "source": COMMAND, "tags": [COMMAND], "inputs": {"x": "scalar"}, "function": "x", "points": [{"at": {"x": 1}}],
    }]}))  # fmt: skip
    assert invoke(["show", "a", str(path)]) == 0
    assert invoke(["list", str(path)]) == 0
    path.write_text(json.dumps({"cases": [{COMMAND: 1}]}))
    assert invoke(["validate", str(path)]) == 2
    said = capsys.readouterr()
    for stream in (said.out, said.err):
        assert "calc" in stream
        assert not set(stream) & set("\x1b\x07\r\u202e")


def test_what_is_shown_can_be_seen():
    assert shown("a\x1b[2J\u202eb\ud800\nc") == "a␛[2J⟨U+202E⟩b⟨U+D800⟩\nc"


def test_runs_that_were_merged_may_be_merged_again(tmp_path):
    run = good(text(LINES), tmp_path)
    journal.write(tmp_path / "again.jsonl", merge([merge([run, run]), run]))
    assert read(tmp_path / "again.jsonl").header["merged"][1]["gradbench"] == "0.1.0"
