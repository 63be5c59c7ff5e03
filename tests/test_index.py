"""Record files read question by question: what `journal` reads at once, no more and no less."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import runs

from gradbench import journal
from gradbench.errors import BadRecord
from gradbench.index import Index
from gradbench.query import Operator
from gradbench.record import Outcome, Record, Run, spot


@pytest.fixture
def everything(tmp_path) -> tuple[Run, Path]:
    """A run with a name that needs escapes, and its file with the records in another order than the questions."""
    run = runs.everything()
    run = replace(run, records=run.records[::-1])
    path = tmp_path / "r.jsonl"
    journal.write(path, run)
    return run, path


def told(run) -> list:
    """What a run says, in whatever order the records on a question are."""
    found = ((question, sorted((r.to_json() for r in records), key=str)) for question, records in run.answers())
    return [(question.to_json(), records) for question, records in found]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


def record(query: str, outcome: str = "crashed", environment: str = "e") -> str:
    value = {"type": "record", "query": query, "environment": environment, "outcome": outcome}
    return json.dumps(value, separators=(",", ":")) + "\n"


def test_an_index_answers_as_the_whole_run_does(everything):
    run, path = everything
    found = Index([path])
    assert told(found) == told(journal.read(path)) == told(run)
    assert (found.count, found.asked, found.complete) == (len(run.records), len(run.questions), True)
    assert dict(found.header) == dict(journal.read(path).header)
    assert found.targets == run.targets


def test_the_questions_of_one_spot_come_one_after_the_other(tmp_path):
    asked = [runs.question(case, op) for op in (Operator.VALUE, Operator.GRADIENT) for case in ("a", "b")]
    run = Run({"x": 1}, {q.query.id: q for q in asked}, {}, [runs.answered(runs.JAX, asked[3], 4.0, 1.0)])
    journal.write(tmp_path / "r.jsonl", run)
    for source in (run, Index([tmp_path / "r.jsonl"])):
        assert [question.case for question, _ in source.answers()] == ["a", "a", "b", "b"]
        assert len({spot(question) for question, _ in source.answers()}) == 2
        assert [len(records) for _, records in source.answers()] == [0, 0, 0, 1]


def test_several_files_are_what_merging_them_gives(tmp_path, everything):
    run, first = everything
    other = tmp_path / "other.jsonl"
    key = run.records[0].query
    newer = replace(runs.TORCH, versions={"torch": "3"})
    later = [Record(key, Outcome.CRASHED).of(runs.NOISE), Record(key, Outcome.RAISED).of(newer)]
    journal.write(
        other, Run({"started": "later"}, {key: run.questions[key]}, {newer.environment: newer}, later, complete=False)
    )
    merged, found = journal.merge([journal.read(first), journal.read(other)]), Index([first, other])
    assert told(found) == told(merged)
    assert (dict(found.header), found.complete, found.count) == (dict(merged.header), False, len(merged.records))
    assert [(part.count, part.complete) for part in found.parts] == [(len(run.records), True), (2, False)]
    journal.write(tmp_path / "one.jsonl", merged)
    found.write(tmp_path / "two.jsonl")
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_what_is_read_may_be_what_is_written(everything):
    _, path = everything
    before = journal.read(path)
    Index([path]).write(path)
    assert told(journal.read(path)) == told(before)
    again = path.read_bytes()
    Index([path]).write(path)
    assert path.read_bytes() == again
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_later_of_two_records_counts_within_one_file_too(everything):
    run, path = everything
    key, environment = run.records[0].query, run.records[0].environment
    kept = lines(path)
    path.write_text("".join([*kept[:-1], record(key, "timed-out", environment), kept[-1]]), encoding="utf-8")
    found = Index([path])
    assert found.count == len(run.records)
    (outcome,) = [
        r.outcome for _, records in found.answers() for r in records if (r.query, r.environment) == (key, environment)
    ]
    assert outcome is Outcome.TIMED_OUT


def test_a_file_cut_at_any_byte_is_read_as_the_whole_reader_reads_it(tmp_path):
    asked = runs.question(runs.EVIL)
    path = tmp_path / "r.jsonl"
    journal.write(path, Run({"started": "x"}, {asked.query.id: asked}, {}, [runs.answered(runs.JAX, asked, 5.0)] * 2))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        said = []
        for read in (journal.read, lambda path: Index([path])):
            try:
                found = read(path)
                said.append((found.complete, min(found.count, 1), len(told(found))))
            except BadRecord as error:
                said.append(str(error))
        assert said[0] == said[1], length


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("hello\n", ":9: not a line of JSON"),
        ("[1]\n", ":9: not a line of a record file"),
        (record("parabola#1:value:float64", "happy"), ":9: not a record: ValueError: 'happy'"),
        (record("nobody-asks-this", "happy"), ":9: not a record: ValueError: 'happy'"),
        ('{"type":"record","query":"parabola#1:value:float64","outcome":"crashed","x":}\n', ":9: not a line of JSON"),
        ('{"type":"record","query":"a","outcome":"crashed","query":"parabola#1:value:float64"}\n', ""),
        (
            '{"type":"record","query":"parabola#1:value:float64","outcome":"crashed","query":"a"}\n',
            ":9: what it is about",
        ),
        ('{"type":"record","query":["a"]}\n', ":9: not a record"),
        ('{"type":"question"}\n', ":9: not a question"),
        ('{"type":"target","name":3,"versions":[]}\n', ":9: not a target"),
    ],
)
def test_a_bad_line_is_an_error_with_its_number_wherever_it_stands(everything, bad, message):
    run, path = everything
    kept = lines(path)
    path.write_text("".join([*kept[:8], bad, *kept[8:]]), encoding="utf-8")
    if not message:
        assert len(told(Index([path]))) == len(run.questions)
        return
    for use in (told, lambda index: index.write(path.with_name("copy.jsonl"))):
        if use is not told and "what it is about" in message:
            continue  # a copy has the line as it stands
        with pytest.raises(BadRecord) as caught:
            use(Index([path]))
        assert message in str(caught.value)
        assert not path.with_name("copy.jsonl").exists()


def test_a_bad_record_that_a_later_one_stands_for_is_an_error_all_the_same(everything):
    _, path = everything
    kept = lines(path)
    twice = [record("parabola#1:value:float64", outcome) for outcome in ("happy", "crashed")]
    path.write_text("".join([*kept[:-1], *twice, kept[-1]]), encoding="utf-8")
    with pytest.raises(BadRecord, match="not a record"):
        told(Index([path]))


def test_two_questions_of_one_id_are_refused_unless_they_are_the_same(everything, tmp_path):
    run, path = everything
    assert told(Index([path, path])) == told(run)
    asked = next(iter(run.questions.values()))
    changed = replace(asked, query=replace(asked.query, function="x + y"))
    other = tmp_path / "other.jsonl"
    journal.write(other, Run({"x": 1}, {asked.query.id: changed}, {}, []))
    with pytest.raises(BadRecord, match="asks two different things"):
        Index([path, other])


def test_a_missing_file_and_one_without_a_header_are_errors(tmp_path):
    with pytest.raises(BadRecord, match="No such file"):
        Index([tmp_path / "absent"])
    (tmp_path / "empty").touch()
    with pytest.raises(BadRecord, match="an empty file"):
        Index([tmp_path / "empty"])


def test_a_record_takes_less_than_a_hundred_bytes_of_an_index(tmp_path):
    path = tmp_path / "r.jsonl"
    rest = ["1" * 500 for _ in range(2)]
    with path.open("w") as stream:
        stream.write('{"type":"header","format":1}\n')
        for i in range(20_000):
            head = f'"query":"q{i % 50}","target":"t","environment":"e{i // 50}","outcome":"crashed"'
            stream.write(f'{{"type":"record",{head},"message":"{rest[i % 2]}"}}\n')
    tracemalloc.start()
    found = Index([path])
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.count == 20_000
    assert size / found.count < 100


def test_what_follows_a_footer_makes_the_run_an_unfinished_one_again(everything):
    _, path = everything
    path.write_text("".join([*lines(path), record("parabola#1:value:float64")]), encoding="utf-8")
    assert not journal.read(path).complete
    assert not Index([path]).complete
