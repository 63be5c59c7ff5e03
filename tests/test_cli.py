"""The command line, end to end, on adapters that need no framework."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pytest

from gradbench import cli

CASES = """cases:
  - name: square
    description: A square
    tags: [easy]
    inputs: {x: scalar}
    function: x**2
    manual: |
      return {x: 2 * x}
    points: [{at: {x: 3}, value: 9, gradient: 6}]
  - name: "half"
    inputs: {x: scalar}
    function: x / 2
    points: [{at: {x: 3}, value: 1.5}]
"""


@pytest.fixture
def here(tmp_path, monkeypatch, cases_file):
    cases_file(CASES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gradbench(capsys, *arguments: str) -> tuple[int, str, str]:
    code = cli.invoke(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_run_leaves_its_four_files_and_says_where(here, capsys):
    code, out, err = gradbench(capsys, "run", "cases.yaml", "--target", "manual,finite-difference", "--report", "r")
    assert code == 0, out + err
    for name in ("records.jsonl", "index.html", "results.csv", "junit.xml"):
        assert (here / "r" / name).stat().st_size > 0
        assert f"wrote r/{name}" in out
    assert "manual" in out
    assert err == "", "silent when piped"
    assert not list((here / "r").glob("*.part"))


def test_the_csv_is_tidy_and_round_trips(here, capsys):
    gradbench(capsys, "run", "cases.yaml", "--target", "manual", "--report", "r")
    frame = pd.read_csv(here / "r" / "results.csv")
    one = frame[
        (frame.target == "manual")
        & (frame.operator == "gradient")
        & (frame.dtype == "float64")
        & (frame.case == "square")
    ]
    assert one[["input", "verdict", "answer", "truth"]].to_numpy().tolist() == [["x", "pass", 6.0, 6.0]]
    assert not frame.duplicated(["case", "point", "operator", "input", "dtype", "target", "device"]).any()


def test_junit_counts_what_failed(here, capsys):
    code, _, _ = gradbench(capsys, "run", "cases.yaml", "--target", "manual", "--report", "r")
    assert code == 0
    suites = ET.parse(here / "r" / "junit.xml").getroot()
    assert {s.get("name") for s in suites} == {"manual on cpu", "finite-difference on cpu"}
    for suite in suites:
        assert suite.get("failures") == "0"
        assert int(suite.get("tests")) == len(suite) > 0


def test_a_liar_makes_the_exit_code_1_and_is_named(here, capsys, monkeypatch):
    from gradbench import registry

    entry = registry.Entry("liar", "faults:Flipped")
    monkeypatch.setattr(registry, "entries", lambda: {"liar": entry, **{e.name: e for e in registry._TABLE}})
    code, out, _ = gradbench(
        capsys, "run", "cases.yaml", "--target", "liar", "--operator", "gradient", "--dtype", "float64", "--report", "r"
    )
    assert code == 1
    assert "✗ liar square#1:gradient:float64 by x: fail wrong" in out
    records = (here / "r" / "records.jsonl").read_text().splitlines()
    assert json.loads(records[-1])["type"] == "footer"
    assert "<failure" in (here / "r" / "junit.xml").read_text()
    code, out, _ = gradbench(capsys, "judge", "r/records.jsonl", "--rtol", "10")
    assert code == 0, "a tolerance of one's own overrides"
    assert gradbench(capsys, "judge", "r/records.jsonl", "--rtol", "torch=10")[0] == 1, "it is for torch alone"
    code, out, _ = gradbench(capsys, "report", "r/records.jsonl", "--report", "s", "--rtol", "l*=10", "--reason", "why")
    assert code == 0, "it is for every target that begins so"
    assert "rtol 10: why" in (here / "s" / "results.csv").read_text()
    code, _, err = gradbench(capsys, "judge", "r/records.jsonl", "--max-ulps", "torch=few")
    assert code == 2
    assert "write --max-ulps 1e-6, or --max-ulps torch=1e-6" in err


def test_a_target_that_can_not_start_is_exit_code_3_with_its_reason(here, capsys, monkeypatch):
    from gradbench import registry

    entry = registry.Entry("broken", "faults:Unstartable")
    monkeypatch.setattr(registry, "entries", lambda: {"broken": entry, **{e.name: e for e in registry._TABLE}})
    code, out, err = gradbench(capsys, "run", "cases.yaml", "--target", "broken,manual", "--report", "r")
    assert code == 3
    assert "broken can't start: RuntimeError: no licence found" in err
    assert "manual" in out, "the others have answered all the same"
    code, _, err = gradbench(capsys, "run", "cases.yaml", "--target", "absent.module:Adapter", "--report", "r2")
    assert (code, "'absent' is not installed" in err) == (3, True)
    assert not (here / "r2").exists(), "nothing half-written"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "absent.yaml"], 2, "absent.yaml: no such file or folder"),
        (["run", "cases.yaml", "--target", "tork"], 2, "did you mean 'torch'?"),
        (["run", "cases.yaml", "--device", "gpu"], 2, "unknown device 'gpu'"),
        (["run", "cases.yaml", "--dtype", "float46"], 2, "did you mean 'float64'?"),
        (["run", "cases.yaml", "--operator", "gradiant"], 2, "did you mean 'gradient'?"),
        (["run", "cases.yaml", "--format", "pdf"], 2, "unknown format 'pdf'"),
        (["run", "cases.yaml", "--case", "nothing*"], 2, "the selection leaves nothing to run"),
        (["run", "--no-such-option"], 2, "No such option"),
        (["show", "squre", "cases.yaml"], 2, "no case 'squre'; did you mean 'square'?"),
        (["judge", "absent.jsonl"], 2, "No such file"),
        (["judge", "cases.yaml"], 2, "cases.yaml:1: not a line of JSON"),
        (["merge", "absent.jsonl", "-o", "m"], 2, "No such file"),
    ],
)
def test_bad_usage_is_exit_code_2_with_a_sentence(here, capsys, arguments, code, message):
    found, _, err = gradbench(capsys, *arguments)
    assert (found, message in err) == (code, True), err
    assert "Traceback" not in err
    assert not (here / "reports").exists()


def test_a_missing_gpu_is_exit_code_3(here, capsys, monkeypatch):
    from gradbench import device

    monkeypatch.setattr(device, "gpus", lambda: device.Gpus(reason="there is no CUDA driver on this machine"))
    code, _, err = gradbench(capsys, "run", "cases.yaml", "--device", "cuda", "--report", "r")
    assert (code, err.strip()) == (3, "device cuda: there is no CUDA driver on this machine")
    assert not (here / "r").exists()
    code, _, err = gradbench(capsys, "run", "cases.yaml", "--device", "auto", "--target", "manual", "--report", "r")
    assert (code, "auto: using the CPU, because there is no CUDA driver" in err) == (0, True)


def test_every_mistake_of_the_case_files_is_shown(here, capsys):
    Path("bad.yaml").write_text(CASES.replace("x**2", "sinn(x)").replace("x / 2", "x / z"))
    code, _, err = gradbench(capsys, "validate", "bad.yaml")
    assert code == 2
    assert "bad.yaml:6:15: unknown primitive 'sinn'; did you mean 'sin'?\n    sinn(x)\n    ^" in err
    assert "undefined name 'z'" in err


def test_listing_and_showing(here, capsys):
    code, out, _ = gradbench(capsys, "list", "cases.yaml", "--tag", "easy")
    assert code == 0
    assert "square" in out
    assert "half" not in out
    _, out, _ = gradbench(capsys, "list", "--targets")
    assert "torch" in out
    _, out, _ = gradbench(capsys, "list", "--primitives")
    assert "softmax(x, axis: axis = -1)" in out
    _, out, _ = gradbench(capsys, "show", "square", "cases.yaml")
    assert "v1 = power(x, 2)" in out
    assert "gradient by x: 6.0" in out
    _, out, _ = gradbench(capsys, "validate", "cases.yaml")
    assert out == "2 cases with 2 points: no mistakes\n"
    _, out, _ = gradbench(capsys, "schema")
    assert json.loads(out)["title"] == "gradbench cases"
    _, out, _ = gradbench(capsys, "doctor")
    assert "devices: cpu" in out
    for shell in ("bash", "zsh", "fish"):
        _, out, _ = gradbench(capsys, "completion", shell)
        assert "_GRADBENCH_COMPLETE" in out


def test_records_are_merged_judged_and_reported_again(here, capsys):
    gradbench(capsys, "run", "cases.yaml", "--case", "square", "--target", "manual", "--report", "a")
    gradbench(capsys, "run", "cases.yaml", "--case", "half", "--target", "finite-difference", "--report", "b")
    code, out, _ = gradbench(capsys, "merge", "a/records.jsonl", "b/records.jsonl", "-o", "both.jsonl")
    assert code == 0
    assert out.startswith("both.jsonl: ")
    code, out, _ = gradbench(capsys, "report", "both.jsonl", "--report", "c", "--format", "csv,json")
    assert code == 0
    assert sorted(p.name for p in (here / "c").iterdir()) == ["results.csv", "results.json"]
    assert set(pd.read_csv(here / "c" / "results.csv").case) == {"square", "half"}


def test_a_run_cut_short_is_reported_as_such(here, capsys):
    gradbench(capsys, "run", "cases.yaml", "--target", "manual", "--report", "a")
    path = here / "a" / "records.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    _, out, err = gradbench(capsys, "judge", "a/records.jsonl")
    assert "truncated: no footer after" in err
    assert "the run was cut short" in out


def test_defaults_come_from_pyproject_and_unknown_keys_are_refused(here, capsys):
    Path("pyproject.toml").write_text('[tool.gradbench]\ntarget = ["manual"]\nreport = "out"\nformat = "csv"\n')
    code, _, _ = gradbench(capsys, "run", "cases.yaml")
    assert code == 0
    assert sorted(p.name for p in (here / "out").iterdir()) == ["records.jsonl", "results.csv"]
    Path("pyproject.toml").write_text('[tool.gradbench]\ntargets = "manual"\n')
    code, _, err = gradbench(capsys, "run", "cases.yaml")
    assert (code, "unknown key 'targets' in [tool.gradbench]; did you mean 'target'?" in err) == (2, True)


def test_an_interrupt_keeps_what_was_recorded(here, capsys, monkeypatch):
    from gradbench import verify

    def interrupted(questions, targets, path, *rest):
        path.write_text('{"type":"header","format":1}\n')
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "run", interrupted)
    code, _, err = gradbench(capsys, "run", "cases.yaml", "--target", "manual", "--report", "r")
    assert (code, "what was recorded is kept" in err) == (130, True)
    assert (here / "r" / "records.jsonl").exists()


def test_no_colour_is_written_where_output_is_piped(here, capsys):
    _, out, _ = gradbench(capsys, "run", "cases.yaml", "--target", "manual", "--report", "r")
    assert "\x1b" not in out
