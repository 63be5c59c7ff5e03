"""Everything a page needs to draw itself, as columns.

A run's verdicts and the frame of rows enter; a value that `json` can write leaves, and from it a text to stand in a
page. Four tables refer to each other by number: `cases`, `questions` (with `truths`, one for each key of a question),
`calls` (one for each record) and `rows` (one for each array of an answer, in the order of the frame). Texts that
repeat stand once in `texts` and are referred to by number, arrays once in `arrays` in the form of `words.array_text`.
"""

from __future__ import annotations

import base64
import glob
import json
import shlex
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import pandas as pd

from gradbench.errors import LanguageError
from gradbench.judge import WORST, Verdict
from gradbench.language import parse
from gradbench.oracle import Oracle
from gradbench.query import Question
from gradbench.report.agreement import Agreement
from gradbench.report.columns import Column
from gradbench.report.mathematics import mathematics
from gradbench.report.words import array_text, rounded, shown, stated_text, truth_text
from gradbench.wire import SHORT

LONGEST: Final = 1_500
"""A message is cut after so many characters; the record file has the whole."""


class _Pool:
    """Texts by number, each once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """The number of a text."""
        return self.numbers.setdefault(text, len(self.numbers))

    def all(self) -> list[str]:
        """The texts in order, fit to be seen."""
        return [shown(text) for text in self.numbers]


def tables(
    verdicts: Sequence[Verdict], frame: pd.DataFrame, columns: Sequence[Column], agreed: Agreement
) -> dict[str, Any]:
    """All tables, as dictionaries of columns."""
    made = _Tables(columns, zip(frame["answer"], frame["truth"], strict=True))
    for verdict in verdicts:
        made.add(verdict)
    made.rows |= _numbers(frame)
    return {
        "verdicts": [str(r) for r in WORST],
        "targets": [_target(column) for column in columns],
        "cases": made.cases,
        "questions": made.questions,
        "truths": made.truths,
        "calls": made.calls,
        "rows": made.rows,
        "splits": made.splits(agreed),
        "texts": made.texts.all(),
        "arrays": made.arrays.all(),
    }


def _target(column: Column) -> dict[str, str]:
    target = column.target
    return {
        "label": column.label,
        "name": shown(target.name),
        "device": shown(target.device),
        "version": column.version,
        "option": shlex.quote(target.name)
        + ("" if target.device == "cpu" else f" --device {shlex.quote(target.device)}"),
    }


def _numbers(frame: pd.DataFrame) -> dict[str, list[Any]]:
    names = {
        "absolute": "absolute",
        "relative": "relative",
        "ulps": "ulps",
        "median": "median_ulps",
        "allowed": "allowed",
    }
    found: dict[str, list[Any]] = {k: [rounded(x) for x in frame[name].tolist()] for k, name in names.items()}
    return found | {name: frame[name].tolist() for name in ("bad", "size")}


class _Tables:
    """The tables while they are filled, verdict by verdict."""

    def __init__(self, columns: Sequence[Column], worst: Iterator[tuple[str, str]]) -> None:
        self.worst = worst
        self.texts, self.arrays = _Pool(), _Pool()
        self.texts("")  # number 0 is nothing
        self.target = {column.environment: i for i, column in enumerate(columns)}
        self.case_numbers: dict[str, int] = {}
        self.question_numbers: dict[str, int] = {}
        self.cases: list[dict[str, Any]] = []
        self.questions = _empty("case", "point", "place", "operator", "dtype", "keys", "given", "disputes")
        self.truths = _empty("right", "source", "radius", "sigma", "stated")
        self.calls = _empty("question", "target", "first", "seconds", "notes")
        self.rows = _empty("call", "input", "verdict", "reason", "detail", "grade", "worst", "pair", "rule", "answer")

    def add(self, verdict: Verdict) -> None:
        """One call and its rows."""
        question, record = verdict.question, verdict.record
        number = self.question_numbers.get(question.query.id)
        if number is None:
            number = self.question_numbers[question.query.id] = len(self.question_numbers)
            self.question(question, verdict.oracle)
        call = len(self.calls["question"])
        seconds = (None if s is None else rounded(s) for s in (record.first, record.seconds))
        values = (number, self.target[record.environment], *seconds, self.texts(_notes(verdict)))
        _append(self.calls, values)
        for finding in verdict.findings:
            found = finding.difference
            answered = finding.key in record.answer
            answer = record.answer.get(finding.key)
            pair = next(self.worst)
            large = answer is not None and answer.size > SHORT
            values = (
                call,
                self.texts(finding.key),
                WORST.index(finding.ruling),
                self.texts("" if finding.reason == finding.ruling else finding.reason),
                self.texts(_cut(finding.detail)),
                self.texts("" if found is None else found.grade),
                -1 if found is None else found.worst,
                self.texts(" ".join(pair) if large and found is not None else ""),
                self.texts(finding.tolerance),
                self.arrays(array_text(answer)) if answered else -1,
            )
            _append(self.rows, values)

    def question(self, question: Question, oracle: Oracle) -> None:
        """What was asked and what is right."""
        query = question.query
        case = self.case_numbers.get(question.case)
        if case is None:
            case = self.case_numbers[question.case] = len(self.case_numbers)
            self.cases.append(_case(question))
        given = {**query.inputs, **query.constants}
        directions = {f"tangent of {name}": array for name, array in (query.tangents or {}).items()}
        if query.cotangent is not None:
            directions["cotangent"] = query.cotangent
        directions |= {f"cotangent of {key}": w for key, w in zip(query.outputs, query.cotangents, strict=False)}
        named = chain(((0, *item) for item in given.items()), ((1, *item) for item in directions.items()))
        place = question.place.rpartition(":")[2]
        keys = query.keys
        orders = "".join(f" {name}:{order}" for name, order in (query.orders or {}).items())
        values = (
            case,
            question.point,
            int(place) if place.isdecimal() else 0,
            self.texts(f"{query.operator}{orders}"),
            self.texts(query.dtype),
            [self.texts(key) for key in keys],
            [
                number
                for kind, name, array in named
                for number in (kind, self.texts(name), self.arrays(array_text(array)))
            ],
            [self.texts(sentence) for sentence in oracle.disputes],
        )
        _append(self.questions, values)
        for key in keys:
            _append(self.truths, self.truth(question, oracle, key))

    def truth(self, question: Question, oracle: Oracle, key: str) -> tuple[Any, ...]:
        """What is right for one key, who says so, how sure that is, how far rounding reaches, what is stated."""
        stated = question.stated.get(key)
        said = -1 if stated is None else self.arrays(stated_text(stated))
        truth, sigma = oracle.truths.get(key), oracle.sigma.get(key)
        spread = None if sigma is None or not sigma.size else rounded(float(np.max(sigma)), 2)
        if truth is None:
            return -1, 0, None, spread, said
        sources = " + ".join(sorted({str(s) for s in truth.source.reshape(-1)} - {""}))
        finite = truth.radius[np.isfinite(truth.radius)]
        radius = rounded(float(finite.max()), 2) if finite.size else None
        return self.arrays(truth_text(truth)), self.texts(sources), radius, spread, said

    def splits(self, agreed: Agreement) -> dict[str, list[Any]]:
        """The arrays of which some columns disagree."""
        found = _empty("question", "key", "pairs")
        for query, key, pairs in agreed.splits:
            _append(found, (self.question_numbers[query], self.texts(key), list(chain.from_iterable(pairs))))
        return found


def _empty(*names: str) -> dict[str, list[Any]]:
    return {name: [] for name in names}


def _append(table: Mapping[str, list[Any]], values: Iterable[Any]) -> None:
    for column, value in zip(table.values(), values, strict=True):
        column.append(value)


def _notes(verdict: Verdict) -> str:
    """What is worth knowing of a call besides its answer."""
    record = verdict.record
    notes = []
    if record.via:
        notes.append(f"derived from {record.via}")
    if record.composite:
        notes.append(f"put together from several calls: {', '.join(record.composite)}")
    if record.repeatable is False:
        notes.append("answered differently when asked twice")
    if record.mutated:
        notes.append(f"changed its input {', '.join(record.mutated)}")
    return "; ".join(notes)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _case(question: Question) -> dict[str, Any]:
    """What is known of a case, with the beginning of the command that runs it again."""
    file = question.place.rpartition(":")[0]
    paths = f"{shlex.quote(file)} " if file else ""
    try:
        markup = mathematics(parse(question.query.function, question.query.names))
    except LanguageError:
        markup = ""
    return {
        "name": shown(question.case),
        "topic": shown(question.topic),
        "description": shown(question.description),
        "source": shown(question.source),
        "tags": [shown(tag) for tag in question.tags],
        "file": shown(file),
        "function": shown(question.query.function.strip("\n")),
        "mathematics": markup,
        "rules": {shown(key): shown(rule.strip("\n")) for key, rule in question.query.rules.items()},
        "tolerance": shown(_tolerance(question.tolerance)),
        "command": f"gradbench run {paths}--case {shlex.quote(glob.escape(question.case))}",
    }


def _tolerance(own: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key}: {value}" for key, value in own.items()
    )


def packed(value: Any) -> str:
    """The value as JSON, compressed, in base64: text that means nothing to a page until it is unpacked.

    Six megabytes hold 100,000 rows so; as plain JSON they would be about thirty.

    Raises:
        ValueError: A number that JSON has no word for.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode("ascii")


def unpacked(text: str) -> Any:
    """What `packed` was given."""
    return json.loads(zlib.decompress(base64.b64decode(text)))
