"""The report as one HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import runs

from gradbench.journal import merge
from gradbench.judge import Verdict, judge
from gradbench.query import Operator, Stated
from gradbench.record import Record, Run, Target
from gradbench.report import data, figures, html, words
from gradbench.report.agreement import agreement
from gradbench.report.columns import columns
from gradbench.report.overview import Overview
from gradbench.report.stream import batches
from gradbench.table import rows


class Page(HTMLParser):
    """Every tag with its attributes, and the texts within `style`, `script` and the packed data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, dict[str, str | None], str]] = []
        self.text = ""
        self.inside: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = (tag, dict(attrs)) if tag in {"style", "script"} else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.blocks.append((*self.inside, data))
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def rendered(run: Run) -> str:
    verdicts = list(judge(run))
    return html.render(run, verdicts)


def viewed(run: Run) -> Overview:
    view = Overview()
    for batch in batches(judge(run)):
        view.add(batch)
    return view


def tables(text: str) -> dict:
    (packed,) = re.findall(r'id="data">([^<]+)<', text)
    return data.unpacked(packed)


@pytest.fixture(scope="module")
def everything() -> Run:
    return runs.everything()


@pytest.fixture(scope="module")
def text(everything) -> str:
    return rendered(everything)


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


# One file that needs nothing


def test_nothing_is_fetched_from_anywhere(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster", "background", "ping"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    for _, _, block in page.blocks:
        assert "@import" not in block
        assert "url(" not in block


def test_the_policy_allows_just_this_style_and_this_script(page):
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, attributes, block in page.blocks:
        if attributes.get("id") != "data":
            digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy


def test_no_element_carries_code_or_style_that_the_policy_would_refuse(page):
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag


def test_every_section_and_its_heading_are_there(page):
    sections = {s["id"]: s for s in page.all("section")}
    assert set(sections) == {
        "overview",
        "cases",
        "rows",
        "case",
        "agreement",
        "accuracy",
        "time",
        "coverage",
        "conventions",
    }
    identifiers = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert page.all("html")[0]["lang"] == "en"


def test_every_heading_of_a_table_says_what_it_heads(page):
    assert page.all("th")
    assert all(th.get("scope") in {"col", "row", "rowgroup"} for th in page.all("th"))


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name_of_its_own(page):
    regions = [a for tag, a in page.tags if tag == "div" and a.get("class") == "scroll"]
    names = [a["aria-label"] for a in regions]
    assert all(a.get("tabindex") == "0" and a.get("role") == "region" for a in regions)
    assert len(names) == len(set(names))


# Names that a page must not trip over


def test_no_name_is_read_as_markup(text, page):
    assert "<i onclick" not in text
    assert "<script>alert" not in text
    assert "<libcudart" not in text
    assert not page.all("i")
    assert len([1 for tag, *_ in page.blocks if tag == "script"]) == 2


def test_what_can_not_be_seen_is_made_visible(text, page):
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", text)
    assert "⟨U+202E⟩␇ 😀 =1" in page.text
    assert words.shown("plain\ttext\n") == "plain\ttext\n"
    assert words.shown("\ud800") == "⟨U+D800⟩"
    assert words.shown("👩\N{ZERO WIDTH JOINER}🔬") == "👩\N{ZERO WIDTH JOINER}🔬"


def test_packed_names_are_the_same_as_those_the_page_links_to(text, page):
    names = [case["name"] for case in tables(text)["cases"]]
    linked = {a["href"] for a in page.all("a") if (a.get("href") or "").startswith("#case=")}
    assert words.shown(runs.EVIL) in names
    assert html.address({"case": words.shown(runs.EVIL)}) in linked


def test_a_command_is_quoted_for_the_shell(text):
    found = tables(text)
    (case,) = [c for c in found["cases"] if c["description"].startswith("<script>")]
    quoted = runs.EVIL.replace("'", "'\"'\"'")
    assert case["command"] == f"gradbench run 'ca ses/it'\"'\"'s.yaml' --case '{quoted}'"
    assert {t["option"] for t in found["targets"]} == {"torch", "jax", "finite-difference"}


def test_a_name_is_no_glob_in_a_command_and_a_device_is_named():
    asked = replace(runs.question("a"), case="w[0]*")
    assert data._case(asked)["command"].endswith("--case 'w[[]0][*]'")
    target = Target("torch:func", "cuda:1")
    verdict = next(
        judge(Run({}, {asked.query.id: asked}, {target.environment: target}, [runs.answered(target, asked, 5.0)]))
    )
    assert data._target(columns([verdict])[0])["option"] == "torch:func --device cuda:1"


# The overview


def test_findings_come_before_everything_else(page):
    assert re.search(r"\d+ of \d+ answers need a look", page.text)
    assert page.text.index("need a look") < page.text.index("Findings") < page.text.index("What was run")
    assert "-4.0 where 4.0 is right" in re.sub(r"\s+", " ", page.text)


def test_every_column_adds_up_to_the_rows(everything, page):
    frame = rows(judge(everything))
    assert f"of {len(frame)} answers need a look" in page.text
    found = columns(list(judge(everything)))
    assert sum(total["size"] for total in viewed(everything).totals(found)) == len(frame)
    for row in viewed(everything).topics(found):
        counted = sum(sum(cell["counts"].values()) for cell in row["cells"])
        assert counted == (frame["topic"] == row["topic"]).sum()


def test_a_target_that_could_not_start_is_absent_and_says_so(everything, page):
    assert "tensorflow could not start, and is absent" in page.text
    assert "ImportError: no <libcudart.so>" in page.text
    labels = [column.label for column in columns(list(judge(everything)))]
    assert labels == ["jax", "torch", "finite-difference"]


def test_versions_settings_and_command_are_shown(page):
    shown = re.sub(r"\s+", " ", page.text)
    for fact in (
        "2024.2",
        "deterministic True",
        "gradbench run --case <b>",
        "3.11.7",
        "2026-11-22T06:13:06",
        "Linux, x86_64",
    ):
        assert fact in shown


def test_a_run_cut_short_says_so_and_a_whole_one_does_not(everything, text):
    assert "This run was cut short" not in text
    assert "This run was cut short" in rendered(replace(everything, complete=False))


def test_a_share_that_is_not_all_is_never_a_hundred_per_cent():
    assert words.percent(0.99999) == "99.9 %"
    assert words.percent(1.0) == "100 %"


def test_a_run_without_records_is_a_page_too():
    found = Page(rendered(Run(runs.HEADER, {}, {}, [], complete=False)))
    assert "Nothing was answered" in found.text
    assert "cut short" in found.text


def test_merged_runs_are_each_described(everything):
    other = replace(everything, header={**runs.HEADER, "python": "3.13.1"})
    found = Page(rendered(merge([everything, other]))).text
    assert "3.11.7" in found
    assert "3.13.1" in found


def test_a_version_or_a_device_tells_two_columns_apart():
    asked = runs.question("a")
    old, new = (Target("torch", versions={"torch": v}) for v in ("2.12", "2.13"))
    gpu, odd = (
        Target("torch", "cuda", versions={"torch": "2.13"}),
        Target("torch", versions={"torch": "2.13"}, settings={"x": 1}),
    )
    known = {t.environment: t for t in (old, new, gpu, odd)}
    run = Run({}, {asked.query.id: asked}, known, [runs.answered(t, asked, 5.0) for t in known.values()])
    labels = [column.label for column in columns(list(judge(run)))]
    assert len(set(labels)) == 4
    assert "torch 2.12 on cpu" in labels
    assert "torch 2.13 on cuda" in labels
    assert f"torch 2.13 on cpu #{odd.environment[:6]}" in labels


# The packed tables


def test_the_tables_hold_every_row_of_the_frame(everything, text):
    found, frame = tables(text), rows(judge(everything))
    packed = found["rows"]
    assert {len(column) for column in packed.values()} == {len(frame)}
    assert [found["verdicts"][v] for v in packed["verdict"]] == frame["verdict"].astype(str).tolist()
    for i, row in enumerate(frame.to_dict("records")):
        call = packed["call"][i]
        question = found["calls"]["question"][call]
        case = found["cases"][found["questions"]["case"][question]]
        assert case["name"] == words.shown(row["case"])
        assert found["targets"][found["calls"]["target"][call]]["name"] == row["target"]
        assert found["texts"][packed["input"][i]] == row["input"]
        assert found["texts"][found["questions"]["operator"][question]] == row["operator"]
        if not np.isnan(row["ulps"]):
            assert packed["ulps"][i] == pytest.approx(row["ulps"], rel=0.01)


def test_every_verdict_is_among_the_examples(text):
    found = tables(text)
    assert set(found["rows"]["verdict"]) == set(range(len(found["verdicts"])))
    assert set(found["symbols"]) == set(found["verdicts"])


def test_there_is_no_number_that_a_browser_can_not_read(text):
    (packed,) = re.findall(r'id="data">([^<]+)<', text)

    def refuse(word):
        raise AssertionError(word)

    json.loads(json.dumps(data.unpacked(packed)), parse_constant=refuse)
    assert words.rounded(float("inf")) == "inf"
    assert words.rounded(float("-inf")) == "-inf"
    assert words.rounded(float("nan")) is None
    assert words.rounded(1.23456e-17) == 1.23e-17
    with pytest.raises(ValueError, match="JSON"):
        data.packed({"x": float("nan")})


def test_a_large_array_is_its_shape_and_its_worst_entry(text):
    found = tables(text)
    (at,) = [i for i, pair in enumerate(found["rows"]["pair"]) if pair]
    assert found["texts"][found["rows"]["pair"][at]] == "-7.0 1225.0"
    assert found["arrays"][found["rows"]["answer"][at]] == "10x10"
    assert found["rows"]["worst"][at] == 34


def test_an_array_is_written_in_the_digits_of_its_own_format():
    assert words.array_text(np.array([[0.1, 2.0]])) == "1x2|0.1 2"
    assert words.array_text(np.array(0.1, np.float32)) == "|0.100000001"
    assert words.array_text(np.array([True, False])) == "2|True False"
    assert words.array_text(np.array([1 - 2j, np.nan + 0j])) == "2|1-2j nan+0j"
    assert words.array_text(np.array([np.inf, -0.0])) == "2|inf -0"
    assert words.array_text(np.zeros((0, 3))) == "0x3|"
    assert words.array_text(np.zeros(65)) == "65"
    assert words.array_text(None) == "None"


def test_what_is_stated_keeps_its_sets_choices_and_words():
    lower, upper = np.array([-1.0, 0.0, np.nan, 2.0]), np.array([1.0, 1.0, np.nan, 2.0])
    stated = Stated(lower, upper, np.zeros(4), choices={1: (0.0, 0.5, 1.0)}, words={2: "infinite"})
    assert words.stated_text(stated) == "4|[-1,1] {0,0.5,1} infinite 2"


def test_a_message_is_cut_and_the_cut_is_shown():
    assert data._cut("x" * 3000) == "x" * data.LONGEST + "…"


def test_two_thousand_rows_take_at_most_three_hundred_kilobytes():
    run, verdicts = runs.many(2000)
    size = len(html.render(run, verdicts).encode())
    assert size <= 300_000


# Agreement


def asked_of(*answers: tuple[Target, object], right: tuple = (5.0,), **facts) -> list[Verdict]:
    asked = runs.question("a", **facts)
    records: list[Record] = list(runs.proved(asked, *right)) if right else []
    records += [runs.answered(target, asked, answer) for target, answer in answers]
    return list(judge(Run({}, {asked.query.id: asked}, {t.environment: t for t, _ in answers}, records)))


OTHER = Target("sympy")


def test_targets_agree_if_they_are_within_both_tolerances_of_each_other():
    unit = np.spacing(5.0)
    for apart, expected in ((10.0, 1), (40.0, 0)):  # one tolerance is 6.5 units
        verdicts = asked_of((runs.JAX, 5.0), (runs.TORCH, 5.0 + apart * unit))
        found = agreement(verdicts, columns(verdicts))
        assert found.compared[0, 1] == 1
        assert found.agreeing[0, 1] == expected
        assert len(found.splits) == 1 - expected


def test_the_odd_one_out_is_counted_only_where_the_others_agree():
    verdicts = asked_of((runs.JAX, 5.0), (runs.TORCH, 5.0), (OTHER, 7.0))
    found, labels = agreement(verdicts, columns(verdicts)), [c.label for c in columns(verdicts)]
    assert dict(zip(labels, found.alone.tolist(), strict=True)) == {"jax": 0, "sympy": 1, "torch": 0}
    verdicts = asked_of((runs.JAX, 5.0), (runs.TORCH, 6.0), (OTHER, 7.0))
    assert agreement(verdicts, columns(verdicts)).alone.tolist() == [0, 0, 0]


def test_none_is_not_compared_and_nan_agrees_with_nan():
    verdicts = asked_of((runs.JAX, None), (runs.TORCH, 5.0))
    assert agreement(verdicts, columns(verdicts)).compared[0, 1] == 0
    verdicts = asked_of((runs.JAX, np.nan), (runs.TORCH, -np.nan), (OTHER, np.inf))
    assert agreement(verdicts, columns(verdicts)).agreeing.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_arrays_of_two_shapes_differ():
    verdicts = asked_of((runs.JAX, 5.0), (runs.TORCH, [5.0]))
    assert agreement(verdicts, columns(verdicts)).agreeing[0, 1] == 0


def test_agreement_needs_no_oracle():
    verdicts = asked_of((runs.JAX, 5.0), (runs.TORCH, 5.0 + np.spacing(5.0)), (OTHER, 5.1), right=())
    assert agreement(verdicts, columns(verdicts)).agreeing.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


# Accuracy and time


def timed(verdicts, labels) -> list[figures.Time]:
    stopwatch = figures.Stopwatch()
    for batch in batches(verdicts):
        stopwatch.add(batch.verdicts)
    return stopwatch.times(labels)


def test_the_bars_of_a_histogram_hold_every_counted_answer(everything):
    frame = rows(judge(everything))
    labels = {c.environment: c.label for c in columns(list(judge(everything)))}
    found = figures.accuracy(viewed(everything).errors, labels)
    assert all(sum(one.counts) == one.size and len(one.counts) == len(figures.NAMES) for one in found)
    assert sum(one.size for one in found) == frame["ulps"].notna().sum()
    assert len(figures.NAMES) == len(figures.EDGES)
    torch = next(one for one in found if (one.label, one.dtype) == ("torch", "float64"))
    assert torch.largest > 1e10


def test_no_time_is_shown_for_a_cell_that_failed(everything):
    labels = {c.environment: c.label for c in columns(list(judge(everything)))}
    found = {(t.operator, t.label): t for t in timed(judge(everything), labels)}
    torch = found["gradient", "torch"]
    # Half a second was the wrong answer's.
    assert torch.count == 2
    assert torch.derivative == pytest.approx(3e-4)
    assert torch.ratio == pytest.approx(3.0)
    assert torch.first_derivative == pytest.approx(9e-3)
    assert found["gradient", "jax"].ratio == pytest.approx(7.0)


def test_a_call_is_timed_once_and_left_out_if_any_of_its_arrays_is_wrong():
    asked, value = runs.question("a", Operator.GRADIENT), runs.question("a")
    records = [*runs.proved(asked, 4.0, 1.0), *runs.proved(value, 5.0)]
    records += [runs.answered(runs.JAX, value, 5.0), runs.answered(runs.TORCH, value, 5.0)]
    records += [runs.answered(runs.JAX, asked, 4.0, 1.0), runs.answered(runs.TORCH, asked, 4.0, -1.0)]
    known = {t.environment: t for t in (runs.JAX, runs.TORCH)}
    verdicts = list(judge(Run({}, {q.query.id: q for q in (asked, value)}, known, records)))
    found = timed(verdicts, {t.environment: t.name for t in known.values()})
    assert [(t.label, t.count) for t in found] == [("jax", 1)]


def test_an_axis_holds_every_ratio():
    time = figures.Time("a", "gradient", 1, 1, 1, 300.0, 0.03, 470.0, 1, 1)
    ticks = figures.axis([time])
    assert ticks[0] <= 0.03
    assert ticks[-1] >= 470.0
    assert figures.axis([]) == [1.0, 2.0, 5.0, 10.0]


def test_a_time_is_shown_in_the_unit_that_suits_it():
    assert [words.seconds(s) for s in (2.0, 0.0123, 4.56e-5, 7e-9)] == ["2 s", "12.3 ms", "45.6 µs", "7 ns"]
