from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradbench import verify
from gradbench.errors import BadOption
from gradbench.index import Index
from gradbench.process import Limits
from gradbench.query import Operator, Query, Question
from gradbench.registry import Entry
from gradbench.shard import parse, part
from gradbench.verify import Setup


def questions(sizes):
    return [
        Question(Query(f"c{c}#{n}", "x", {"x": np.array(1.0)}, {}, Operator.VALUE, "float64"), f"c{c}", n)
        for c, size in enumerate(sizes)
        for n in range(size)
    ]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 9))
def test_every_question_is_in_one_part_cases_are_whole_and_no_part_is_much_larger(sizes, count):
    asked = questions(sizes)
    parts = [part(asked, n, count) for n in range(1, count + 1)]
    found = Counter(q.query.id for one in parts for q in one)
    assert found == Counter(q.query.id for q in asked)
    cases = [{q.case for q in one} for one in parts]
    assert sum(map(len, cases)) == len(sizes)
    # The bound of Graham (1966) for giving each to whoever has least.
    assert count * max(map(len, parts)) <= sum(sizes) + max(sizes) * (count - 1)


def test_many_cases_of_all_sizes_are_shared_to_within_a_hundredth():
    asked = questions([n % 23 + 1 for n in range(300)])
    sizes = [len(part(asked, n, 7)) for n in range(1, 8)]
    assert max(sizes) - min(sizes) <= 0.01 * sum(sizes) / 7


def test_parts_do_not_depend_on_the_order_of_the_questions_and_keep_it():
    asked = questions([3, 1, 4, 1, 5, 9, 2, 6])
    for n in (1, 2, 3):
        turned = part(asked[::-1], n, 3)
        assert turned[::-1] == part(asked, n, 3)


@pytest.mark.parametrize("text", ["", "0/4", "5/4", "1", "1/0", "-1/4", "1/4/2", "a/b", "1 / 4", "٣/٤"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(BadOption, match="write 1/4"):
        parse(text)


def test_a_part_reads():
    assert parse("2/11") == (2, 11)


def test_the_parts_of_a_run_merge_to_what_one_run_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "references", list)
    targets = [Entry("slow", "faults:Slow"), Entry("poor", "faults:Poor")]
    asked = [replace(q, number=n) for n, q in enumerate(questions([3, 1, 4, 1, 5]), start=1)]
    paths = []
    for name, some in (("whole", asked), *((f"part{n}", part(asked, n, 3)) for n in (2, 3, 1))):
        paths.append(tmp_path / f"{name}.jsonl")
        verify.run(some, targets, paths[-1], Setup(limits=Limits(20, start=60)))

    def merged(*some):
        out = tmp_path / "merged.jsonl"
        Index(some).write(out)
        lines = out.read_text().splitlines()
        # All but when it was, and how long it took.
        return [re.sub(r'"(first|seconds)":[-+.e0-9]+,?', "", line) for line in lines[1:]]

    assert merged(*paths[1:]) == merged(paths[0])
    assert merged(paths[3], paths[1], paths[2]) == merged(paths[0])
    assert len(merged(*paths[1:3])) < len(merged(paths[0]))
