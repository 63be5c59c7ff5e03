"""Property tests of whatever reads files: nothing but a `GradbenchError` comes out, soon, and in little memory."""

from __future__ import annotations

import json
import random
from pathlib import Path

import fuzz
import pytest
from fuzz import (
    JUNK,
    TARGETS,
    TOKENS,
    Hang,
    bounded,
    case,
    concluded,
    loader,
    mangled,
    mutated,
    parser,
    reader,
    sample,
    seeds,
    text,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradbench.errors import BadRecord
from gradbench.index import Index
from gradbench.journal import read
from gradbench.primitives import VOCABULARY

FEW = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
CASES = list(seeds("loader"))
FUNCTIONS = list(seeds("parser"))
LINES = sample()


def forever():
    while True:
        pass


def test_the_bounds_tell_a_hang_and_a_lot_of_memory():
    with pytest.raises(Hang), bounded(0.1):
        forever()
    with pytest.raises(MemoryError), bounded():
        bytearray(2**30)


def test_what_is_good_passes():
    assert all(map(loader, CASES[::40]))
    assert parser(b"y = sin(x) * v\nreturn sum(y)")
    assert reader(text(LINES))


# Cases: trees of the schema's own words, and the shipped files with something wrong in them


@FEW
@given(st.integers(0, 2**64))
def test_no_tree_of_the_words_of_a_case_file_breaks_the_loader(seed):
    chance = random.Random(seed)
    file = {"cases": [case(chance) for _ in range(3)]}
    with bounded():
        loader(json.dumps(file).encode())  # JSON is YAML


@FEW
@given(st.sampled_from(CASES), st.integers(0, 2**32))
def test_no_change_to_a_case_file_breaks_the_loader(file, seed):
    with bounded():
        loader(mutated(file, random.Random(seed)))


# Functions: expressions of the language's own words, and the shipped ones with something wrong in them

ATOMS = st.sampled_from(
    [
        "x",
        "v",
        "A",
        "S",
        "i",
        "z",
        "1",
        "0",
        "-1",
        "2.5",
        "1e308",
        "1j",
        "pi",
        "nan",
        "99999999",
        "9" * 30,
        "None",
        "'ij,jk->ik'",
        ":",
        "...",
    ]
)


def _grown(inner):
    call = st.builds(
        lambda name, args: f"{name}({', '.join(args)})",
        st.sampled_from(sorted(VOCABULARY)),
        st.lists(inner, max_size=3),
    )
    named = st.builds(
        lambda name, a, k, b: f"{name}({a}, {k}={b})",
        st.sampled_from(sorted(VOCABULARY)),
        inner,
        st.sampled_from(["axis", "shape", "keepdims", "n", "ord"]),
        inner,
    )
    binary = st.builds(
        lambda a, sign, b: f"({a} {sign} {b})",
        inner,
        st.sampled_from(["+", "-", "*", "/", "**", "@", "%", "<", "==", "&", "|", "//", "and"]),
        inner,
    )
    return st.one_of(
        call, call, named, binary, binary,
        st.builds("{}[{}]".format, inner, inner), st.builds("({}, {})".format, inner, inner), st.builds("[{}, {}]".format, inner, inner),
        st.builds("{}.T".format, inner), st.builds("-{}".format, inner), st.builds("{{x: {}}}".format, inner),
    )  # fmt: skip


EXPRESSIONS = st.recursive(ATOMS, _grown, max_leaves=15)


@FEW
@given(st.lists(st.builds("{} = {}".format, st.sampled_from(["a", "x", "a, b"]), EXPRESSIONS), max_size=2), EXPRESSIONS)
def test_no_text_of_the_words_of_the_language_breaks_the_parser(statements, last):
    with bounded():
        parser("\n".join([*statements, f"return {last}"]).encode())


@FEW
@given(st.sampled_from(FUNCTIONS), st.integers(0, 2**32))
def test_no_change_to_a_function_breaks_the_parser(function, seed):
    with bounded():
        parser(mutated(function, random.Random(seed)))


# Records


@FEW
@given(st.integers(0, len(LINES) - 1), st.integers(0, 2**32))
def test_no_other_value_anywhere_in_a_record_file_breaks_who_reads_it(number, seed):
    changed = mangled(LINES[number], random.Random(seed))
    asked = (changed if isinstance(changed, dict) else {}).get("query", "")
    about = {line["query"]["id"]: line for line in LINES if line["type"] == "question"}
    beside = [
        line
        for line in LINES
        if line["type"] in {"header", "target"} or (line.get("query") == asked and line["type"] == "record")
    ]
    lines = [
        *beside[:-1],
        *([about[asked]] if isinstance(asked, str) and asked in about else []),
        changed,
        *beside[-1:],
    ]
    with bounded():
        reader(text([line if line is not LINES[number] else changed for line in lines]))


@FEW
@given(st.integers(0, 2**32))
def test_no_change_to_the_bytes_of_a_record_file_breaks_who_reads_it(seed):
    chance = random.Random(seed)
    lines = [json.dumps(line).encode() for line in LINES]
    for i in chance.sample(range(len(lines)), 2):
        lines[i] = mutated(lines[i], chance)
    with bounded():
        reader(b"\n".join(lines))


def test_a_record_file_cut_at_any_byte_is_whole_or_truncated(tmp_path):
    asked = next(line for line in LINES if line["type"] == "question" and line["case"] == "none")
    records = [line for line in LINES if line["type"] == "record" and line["query"] == asked["query"]["id"]]
    kept = [LINES[0], asked, next(line for line in LINES if line["type"] == "target"), *records[-2:], LINES[-1]]
    lines = [text([line]) for line in kept]
    data = b"".join(lines)
    ends, kinds = [sum(map(len, lines[: i + 1])) for i in range(len(lines))], [line["type"] for line in kept]
    assert len(data) > 1500
    assert kinds.count("record") == 2
    path = tmp_path / "r.jsonl"
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        whole = [kind for kind, end in zip(kinds, ends, strict=True) if end - 1 <= length]  # but for the newline
        if not whole:
            with pytest.raises(BadRecord):
                read(path)
            with pytest.raises(BadRecord):
                Index([path])
            continue
        run, index = read(path), Index([path])
        assert len(run.records) == index.count == whole.count("record")
        assert len(run.questions) == index.asked == whole.count("question")
        assert run.complete == index.complete == ("footer" in whole)


def test_a_truncated_file_is_concluded_from_as_far_as_it_goes(tmp_path):
    path = tmp_path / "records.jsonl"
    data = text(LINES)
    for length in range(len(text(LINES[:1])), len(data), 2477):
        path.write_bytes(data[:length])
        with bounded():
            assert concluded(path, ("csv",))


def test_every_target_has_seeds_and_every_kind_of_junk_is_json():
    assert all(any(True for _ in seeds(name)) for name in TARGETS)
    assert len(json.dumps(JUNK)) > 1000
    assert all(isinstance(token, bytes) for token in TOKENS)
    assert Path(fuzz.__file__).name == "fuzz.py"
