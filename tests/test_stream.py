"""Reports of verdicts that come one after the other and are gone when the next ones come."""

from __future__ import annotations

import io
import json
import re
import weakref
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import runs

from gradbench import journal
from gradbench.crosscheck import Crosscheck, crosscheck
from gradbench.index import Index
from gradbench.judge import RANK, WORST, Verdict, judge
from gradbench.query import Operator
from gradbench.record import Outcome, Run
from gradbench.report import NAMES, agreement, data, html, write
from gradbench.report.columns import columns
from gradbench.report.plain import Csv, Json
from gradbench.report.stream import batches
from gradbench.report.terminal import Summary
from gradbench.table import COLUMNS, rows, rows_of, totals


@pytest.fixture(scope="module")
def everything() -> Run:
    return runs.everything()


def unpacked(page: str) -> dict:
    (packed,) = re.findall(r'id="data">([^<]+)<', page)
    return data.unpacked(packed)


def written(maker, run: Run) -> str:
    stream = io.StringIO()
    made = maker(run, stream)
    for batch in batches(judge(run)):
        made.add(batch)
    made.finish()
    return stream.getvalue()


# Nothing is kept


def test_no_answer_outlives_the_questions_about_its_point(tmp_path):
    run, _ = runs.many(400)
    journal.write(tmp_path / "r.jsonl", run)
    arrays: list[weakref.ref] = []
    alive: list[int] = []

    def watched() -> Iterator[Verdict]:
        for verdict in judge(Index([tmp_path / "r.jsonl"])):
            arrays.extend(weakref.ref(array) for array in verdict.record.answer.values())
            yield verdict
            alive.append(sum(ref() is not None for ref in arrays))

    summary = Summary()
    write(run, watched(), tmp_path, list(NAMES), summary)
    most = len(run.targets) * 4  # keys of a Hessian
    assert len(arrays) > 400
    assert max(alive) <= 2 * most


def test_a_report_reads_its_verdicts_once(everything, tmp_path):
    found = Summary()
    paths = write(everything, judge(everything), tmp_path, list(NAMES), found)
    assert sorted(path.name for path in paths) == sorted(NAMES.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES.values())
    assert found.is_worse(())
    # The page is the same as from a list.
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == html.render(everything, list(judge(everything)))


def test_a_report_that_fails_leaves_nothing_behind(everything, tmp_path):
    def torn() -> Iterator[Verdict]:
        yield from list(judge(everything))[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(everything, torn(), tmp_path, list(NAMES))
    assert not list(tmp_path.iterdir())


# The same as all at once


def test_the_csv_holds_the_rows_of_the_frame(everything):
    found = pd.read_csv(io.StringIO(written(Csv, everything)), keep_default_na=False, na_values=[""])
    frame = rows(judge(everything))
    assert tuple(found.columns) == COLUMNS
    for name in ("ulps", "absolute", "allowed", "seconds", "bad", "point"):
        np.testing.assert_array_equal(found[name].astype(float), frame[name].astype(float))
    assert found["verdict"].tolist() == frame["verdict"].astype(str).tolist()
    assert found["target"].tolist() == frame["target"].tolist()


def test_the_json_is_that_of_the_whole_frame(everything, monkeypatch):
    whole = rows(judge(everything)).to_json(orient="records", double_precision=15, indent=1)
    for at_once in (1, 3, 1000):
        monkeypatch.setattr("gradbench.report.plain.AT_ONCE", at_once)
        assert written(Json, everything) == whole
    assert json.loads(written(Json, Run({}, {}, {}, []))) == []


def test_junit_has_a_suite_for_each_target_whose_counts_are_those_of_its_tests(everything, tmp_path):
    write(everything, judge(everything), tmp_path, ["junit"])
    root = ET.parse(tmp_path / "junit.xml").getroot()
    counts = Counter(verdict.record.target for verdict in judge(everything))
    assert {suite.get("name").partition(" ")[0]: len(suite) for suite in root if "on" in suite.get("name")} == counts
    for suite in root:
        assert int(suite.get("tests")) == len(suite)
        assert int(suite.get("failures", "0")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors")) == len(suite.findall("testcase/error"))


def test_laws_are_held_across_the_questions_of_a_point_however_they_come():
    tangents, cotangent = {"x": np.array(1.0), "y": np.array(0.5)}, np.array(2.0)
    other = runs.question("other")
    for order in ((Operator.JVP, Operator.VJP), (Operator.VJP, Operator.JVP)):
        given = {Operator.JVP: {"tangents": tangents}, Operator.VJP: {"cotangent": cotangent}}
        right = {Operator.JVP: (4.5,), Operator.VJP: (8.0, 2.0)}
        said = {Operator.JVP: (4.5,), Operator.VJP: (8.0, 2.5)}
        asked = [runs.question("a", operator, **given[operator]) for operator in order]
        records = [r for q in asked for r in runs.proved(q, *right[q.query.operator])]
        records += [runs.answered(runs.JAX, q, *said[q.query.operator]) for q in asked]
        questions = {q.query.id: q for q in (asked[0], other, asked[1])}
        run = Run({}, questions, {runs.JAX.environment: runs.JAX}, records)
        streamed = [clash for batch in batches(judge(run)) for clash in batch.clashes]
        assert [clash.law for clash in streamed] == ["adjointness"]
        assert streamed == crosscheck(list(judge(run)), vote=False)
        assert (streamed[0].case, streamed[0].where) == ("a", "jvp, float64, point 1")


def test_a_law_is_not_held_against_answers_at_another_point():
    laws = Crosscheck()
    given = {
        Operator.JVP: {"tangents": {"x": np.array(1.0), "y": np.array(0.5)}},
        Operator.VJP: {"cotangent": np.array(2.0)},
    }
    for point, operator in ((1, Operator.JVP), (2, Operator.VJP)):
        asked = runs.question("a", operator, point=point, **given[operator])
        right = (4.5,) if operator is Operator.JVP else (80.0, 2.0)
        records = [*runs.proved(asked, *right), runs.answered(runs.JAX, asked, *right)]
        verdicts = list(judge(Run({}, {asked.query.id: asked}, {runs.JAX.environment: runs.JAX}, records)))
        assert laws.add(verdicts) == []
        assert len(laws.pairs) == 1
    assert laws.finish() == []


def test_agreement_is_the_same_whoever_is_seen_first():
    run, verdicts = runs.many(300)
    order = columns(verdicts)
    found = agreement.agreement(verdicts, order)
    turned = agreement.agreement(verdicts[::-1], order)
    np.testing.assert_array_equal(found.compared, turned.compared)
    np.testing.assert_array_equal(found.agreeing, turned.agreeing)
    np.testing.assert_array_equal(found.alone, turned.alone)
    assert len(found.compared) == len(order) < len(run.targets)


def test_a_pair_that_differs_is_named_by_its_columns_whoever_is_seen_first():
    asked = runs.question("a")
    targets = [runs.Target(name) for name in "zyx"]
    records = [*runs.proved(asked, 5.0), *(runs.answered(t, asked, 5.0 + 2.0 * (t.name == "z")) for t in targets)]
    verdicts = list(judge(Run({}, {asked.query.id: asked}, {t.environment: t for t in targets}, records)))
    order = columns(verdicts)
    assert [column.label for column in order] == ["x", "y", "z"]
    ((query, key, pairs),) = agreement.agreement(verdicts, order).splits
    assert (query, key, {frozenset(pair) for pair in pairs}) == (
        asked.query.id,
        "",
        {frozenset({0, 2}), frozenset({1, 2})},
    )


def test_agreement_has_room_for_many_targets():
    targets = [runs.Target(f"t{i:02}") for i in range(30)]
    asked = runs.question("a")
    records = [
        *runs.proved(asked, 5.0),
        *(runs.answered(t, asked, 5.0 if i != 29 else 7.0) for i, t in enumerate(targets)),
    ]
    verdicts = list(judge(Run({}, {asked.query.id: asked}, {t.environment: t for t in targets}, records)))
    found = agreement.agreement(verdicts, columns(verdicts))
    assert found.compared.shape == (30, 30)
    assert found.compared.min() == 1
    assert found.alone.tolist() == [0] * 29 + [1]


def test_a_summary_counts_what_the_frame_counts(everything):
    found = Summary()
    for batch in batches(judge(everything)):
        found.add(batch)
    counted = totals(rows(judge(everything)))
    for (target, device, version), row in counted.iterrows():
        for ruling, count in row.items():
            assert found.counts[target, device, version, ruling] == count
    text = "\n".join(found.lines(everything))
    assert "✗ torch wrong#1:gradient:float64 by x: fail wrong" in text
    assert "tensorflow is absent" in text


def test_a_target_of_another_sort_of_name_is_worse_only_if_asked():
    asked = runs.question("a")
    estimate = runs.answered(runs.FINITE, asked, 7.0, margin={"": {"radius": np.array(1e-9)}})
    estimate.status[""] = np.array("estimated")  # type: ignore[index]
    run = Run({}, {asked.query.id: asked}, {runs.FINITE.environment: runs.FINITE}, [*runs.proved(asked, 5.0), estimate])
    found = Summary()
    for batch in batches(judge(run)):
        found.add(batch)
    assert not found.is_worse(())
    assert found.is_worse(("finite-difference",))


# More than a page can hold


def tabled(run: Run, most: int, room: int = data.ROOM) -> tuple[data.Tables, dict, list]:
    tables = data.Tables(most, room)
    verdicts = list(judge(run))
    for batch in batches(verdicts):
        tables.add(batch.verdicts)
    order = columns(verdicts)
    return tables, tables.whole(order, agreement.agreement(verdicts, order)), verdicts


def described(found: dict) -> list[tuple]:
    """Each row with whatever it refers to."""
    texts, questions, made = found["texts"], found["questions"], []
    starts = np.cumsum([0, *map(len, questions["keys"])])
    for i, call in enumerate(found["rows"]["call"]):
        asked = found["calls"]["question"][call]
        row = {name: column[i] for name, column in found["rows"].items()}
        words = tuple(texts[row[name]] for name in ("input", "reason", "detail", "grade", "pair", "rule"))
        given = questions["given"][asked]
        at = starts[asked] + questions["keys"][asked].index(row["input"])
        right = found["truths"]["right"][at]
        made.append(
            (
                found["cases"][questions["case"][asked]]["name"],
                questions["point"][asked],
                texts[questions["operator"][asked]],
                texts[questions["dtype"][asked]],
                found["targets"][found["calls"]["target"][call]]["label"],
                found["verdicts"][row["verdict"]],
                words,
                None if row["answer"] < 0 else found["arrays"][row["answer"]],
                [(texts[given[k + 1]], found["arrays"][given[k + 2]]) for k in range(0, len(given), 3)],
                None if right < 0 else found["arrays"][right],
                texts[found["truths"]["source"][at]],
                [texts[n] for n in questions["disputes"][asked]],
                texts[found["calls"]["notes"][call]],
                row["ulps"],
            )
        )
    return made


def test_what_a_page_can_not_hold_is_counted_from_the_best_on(everything):
    _, whole, verdicts = tabled(everything, 1000)
    full = described(whole)
    assert "left" not in whole
    for most in range(1, len(full)):
        tables, found, _ = tabled(everything, most)
        kept = described(found)
        if not tables.is_full:
            assert kept == [row for row in full if RANK[row[5]] < tables.listed]
            assert len(kept) <= most
        assert found["left"]["count"]
        left = tables.left_out
        assert left["rows"] + len(kept) == len(full)
        assert set(left["verdicts"]) >= {str(r) for r in WORST[tables.listed :]} & {row[5] for row in full}
        counted = Counter((v.question.case, v.record.environment, RANK[f.ruling]) for v in verdicts for f in v.findings)
        listed = Counter((row[0], row[4], RANK[row[5]]) for row in kept)
        assert sum(counted.values()) == sum(listed.values()) + sum(tables.left.values())
    tables, found, _ = tabled(everything, 1)
    assert tables.is_full
    assert set(found["rows"]["verdict"]) == {0}


def test_a_page_is_bounded_in_characters_too(everything):
    whole, _, _ = tabled(everything, 1000)
    size = whole.texts.size + whole.arrays.size
    tables, found, _ = tabled(everything, 1000, size - 1)
    assert tables.left
    assert tables.texts.size + tables.arrays.size < size
    assert "pass" not in {found["verdicts"][v] for v in found["rows"]["verdict"]}


def test_a_page_says_what_it_does_not_list(everything, monkeypatch):
    full = len(rows(judge(everything)))
    small = data.Tables(12)
    monkeypatch.setattr(html.data, "Tables", lambda: small)
    page = html.render(everything, judge(everything))
    found = unpacked(page)
    left = full - len(found["rows"]["call"])
    assert f"{left} answers (pass" in page
    assert f"of {full} answers need a look" in re.sub(r"\s+", " ", page)
    assert {found["verdicts"][v] for v in found["left"]["verdict"]} >= {"pass"}
    monkeypatch.undo()
    assert "more than a page can list" not in html.render(everything, judge(everything))


# Rows


def test_a_frame_has_each_text_once_and_numbers_as_they_are(everything):
    frame = rows(judge(everything))
    assert [str(d) for d in frame.dtypes[["point", "bad", "size"]]] == ["int64"] * 3
    assert [str(d) for d in frame.dtypes[["ulps", "allowed", "seconds"]]] == ["float64"] * 3
    assert isinstance(frame["case"].dtype, pd.CategoricalDtype)
    made = [row for verdict in judge(everything) for row in rows_of(verdict)]
    for row, said in zip(made, frame.itertuples(index=False), strict=True):
        assert all(a == b or (a != a and b != b) for a, b in zip(row, said, strict=True))  # noqa: PLR0124  # NaN
    assert list(rows([]).columns) == list(COLUMNS)


def test_an_error_without_an_answer_is_a_row_of_its_own(everything):
    frame = rows(judge(everything))
    (one,) = frame[(frame["verdict"] == "error")].to_dict("records")
    assert (one["reason"], one["answer"], one["size"]) == (str(Outcome.RAISED), "", 0)
