"""Everything a page needs to draw itself, as columns.

A run's verdicts enter, question by question; a value that `json` can write leaves, and from it a text to stand in a
page. Four tables refer to each other by number: `cases`, `questions` (with `truths`, one for each key of a question),
`calls` (one for each record) and `rows` (one for each array of an answer, in the order of the verdicts). Texts that
repeat stand once in `texts` and are referred to by number, arrays once in `arrays` in the form of `words.array_text`.
"""

from __future__ import annotations

import base64
import glob
import json
import shlex
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Final

import numpy as np

from gradbench.errors import LanguageError
from gradbench.judge import RANK, WORST, Finding, Verdict
from gradbench.language import parse
from gradbench.oracle import Oracle
from gradbench.query import Question
from gradbench.report.agreement import Agreement
from gradbench.report.columns import Column
from gradbench.report.mathematics import mathematics
from gradbench.report.words import array_text, rounded, shown, stated_text, truth_text
from gradbench.table import worst_texts
from gradbench.wire import SHORT

MOST: Final = 200_000
"""So many rows a page can hold, and a browser can draw without a wait of seconds."""
ROOM: Final = 30_000_000
"""So many characters its texts may have: some 18 MB, compressed."""

LONGEST: Final = 1_500
"""A message is cut after so many characters; the record file has the whole."""


class _Pool:
    """Texts by number, each once; number 0 is nothing, if there is to be one that is."""

    def __init__(self, *texts: str) -> None:
        self.numbers: dict[str, int] = {}
        self.size = 0
        for text in texts:
            self(text)

    def __call__(self, text: str) -> int:
        """The number of a text."""
        number = self.numbers.get(text)
        if number is None:
            number = self.numbers[text] = len(self.numbers)
            self.size += len(text)
        return number

    def all(self) -> list[str]:
        """The texts in order, fit to be seen."""
        return [shown(text) for text in self.numbers]


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


class Tables:
    """The tables while they are filled, question by question, as far as a page can hold them.

    When there are too many rows, those of the best verdict that is still listed are counted alone, by case, target and
    verdict; then those of the next best. In the end fails alone are listed; when there are too many of them, the first.

    Args:
        most: How many rows a page can hold.
        room: How many characters its texts may have, before they are compressed.
    """

    def __init__(self, most: int = MOST, room: int = ROOM) -> None:
        self.most, self.room = most, room
        self.listed = len(WORST)
        self.is_full = False
        self.left: Counter[tuple[str, str, int]] = Counter()
        self.target: dict[str, int] = {}
        self._begin()

    def _begin(self) -> None:
        self.texts, self.arrays = _Pool(""), _Pool()
        self.case_numbers: dict[str, int] = {}
        self.question_numbers: dict[str, int] = {}
        self.cases: list[dict[str, Any]] = []
        self.questions = _empty("case", "point", "place", "operator", "dtype", "keys", "given", "disputes")
        self.truths = _empty("right", "source", "radius", "sigma", "stated")
        self.calls = _empty("question", "target", "first", "seconds", "notes")
        self.rows = _empty(
            "call", "input", "verdict", "reason", "detail", "grade", "worst", "pair", "rule", "answer",
            "absolute", "relative", "ulps", "median", "allowed", "bad", "size",
        )  # fmt: skip

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """The calls for one question, and their rows."""
        same: dict[Any, Any] = {}
        for verdict in verdicts:
            self._add(verdict, same)
        while len(self.rows["call"]) > self.most or self.texts.size + self.arrays.size > self.room:
            if self.listed == 1:
                self.is_full = True
                break
            self.listed -= 1
            self._drop()

    def _add(self, verdict: Verdict, same: dict[Any, Any]) -> None:
        question, record = verdict.question, verdict.record
        listed = [f for f in verdict.findings if RANK[f.ruling] < self.listed and not self.is_full]
        if len(listed) < len(verdict.findings):
            for finding in verdict.findings:
                if finding not in listed:
                    self.left[question.case, record.environment, RANK[finding.ruling]] += 1
        if not listed:
            return
        number = self.question_numbers.get(question.query.id)
        if number is None:
            number = self.question_numbers[question.query.id] = len(self.question_numbers)
            self.question(question, verdict.oracle)
        call = len(self.calls["question"])
        seconds = (None if s is None else rounded(s) for s in (record.first, record.seconds))
        target = self.target.setdefault(record.environment, len(self.target))
        _append(self.calls, (number, target, *seconds, self.texts(_notes(verdict))))
        for finding in listed:
            answer = record.answer.get(finding.key)
            large = answer is not None and answer.size > SHORT
            text = -1
            if finding.key in record.answer:
                bits = None if answer is None or large else (answer.dtype, answer.shape, answer.tobytes())
                if bits not in same or bits is None:
                    same[bits] = self.arrays(array_text(answer))
                text = same[bits]
            pair = " ".join(worst_texts(verdict, finding)[1:]) if large and finding.difference is not None else ""
            middle, numbers = same.get(id(finding)) or same.setdefault(id(finding), self._told(finding))
            _append(self.rows, (call, *middle, self.texts(pair), self.texts(finding.tolerance), text, *numbers))

    def _told(self, finding: Finding) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What a row says of a finding: its input, verdict, reason, detail, grade and worst entry; and its numbers."""
        found = finding.difference
        words = (
            self.texts(finding.key),
            RANK[finding.ruling],
            self.texts("" if finding.reason == finding.ruling else finding.reason),
            self.texts(_cut(finding.detail)),
            self.texts("" if found is None else found.grade),
            -1 if found is None else found.worst,
        )
        if found is None:
            return words, (None, None, None, None, None, 0, 0)
        sizes = (found.absolute, found.relative, found.ulps, found.median_ulps, found.allowed)
        return words, (*map(rounded, sizes), found.bad, found.size)

    def whole(self, columns: Sequence[Column], agreed: Agreement) -> dict[str, Any]:
        """All tables, as dictionaries of columns."""
        at = {column.environment: i for i, column in enumerate(columns)}
        order = [at[environment] for environment in self.target]
        found = {
            "verdicts": [str(r) for r in WORST],
            "targets": [_target(column) for column in columns],
            "cases": self.cases,
            "questions": self.questions,
            "truths": self.truths,
            "calls": self.calls | {"target": [order[target] for target in self.calls["target"]]},
            "rows": self.rows,
            "splits": self.splits(agreed),
            "texts": self.texts.all(),
            "arrays": self.arrays.all(),
        }
        return found | {"left": self._left(at)} if self.left else found

    @property
    def left_out(self) -> dict[str, Any]:
        """What is counted alone: of how many rows, of which verdicts, and whether those of the last are listed in part."""
        ranks = sorted({rank for *_, rank in self.left}, reverse=True)
        return {"rows": sum(self.left.values()), "verdicts": [str(WORST[rank]) for rank in ranks], "full": self.is_full}

    def _left(self, at: Mapping[str, int]) -> dict[str, list[int]]:
        """The counts of the cases that the page has."""
        found = _empty("case", "target", "verdict", "count")
        for (case, environment, rank), count in self.left.items():
            if case in self.case_numbers:
                _append(found, (self.case_numbers[case], at[environment], rank, count))
        return found

    def _drop(self) -> None:
        """Takes out the rows of the best verdict, and whatever only they have referred to."""
        old = {name: getattr(self, name) for name in ("cases", "questions", "truths", "calls", "rows")}
        names, environments = list(self.question_numbers), list(self.target)
        texts, arrays = list(self.texts.numbers), list(self.arrays.numbers)
        case_names = list(self.case_numbers)
        starts = [0, *accumulate(map(len, old["questions"]["keys"]))]
        self._begin()

        def text(number: int) -> int:
            return self.texts(texts[number])

        def array(number: int) -> int:
            return number if number < 0 else self.arrays(arrays[number])

        calls: dict[int, int] = {}
        for row in _lines(old["rows"]):
            call = _at(old["calls"], row["call"])
            asked = _at(old["questions"], call["question"])
            case = case_names[asked["case"]]
            if row["verdict"] >= self.listed:
                self.left[case, environments[call["target"]], row["verdict"]] += 1
                continue
            name = names[call["question"]]
            if name not in self.question_numbers:
                self.question_numbers[name] = len(self.question_numbers)
                if case not in self.case_numbers:
                    self.case_numbers[case] = len(self.case_numbers)
                    self.cases.append(old["cases"][asked["case"]])
                given = list(asked["given"])
                given[1::3], given[2::3] = map(text, given[1::3]), map(array, given[2::3])
                words = {name: text(asked[name]) for name in ("operator", "dtype")}
                lists = {name: list(map(text, asked[name])) for name in ("keys", "disputes")}
                asked |= {"case": self.case_numbers[case], "given": given, **words, **lists}
                _append(self.questions, asked.values())
                for i in range(starts[call["question"]], starts[call["question"] + 1]):
                    truth = _at(old["truths"], i)
                    truth |= {name: array(truth[name]) for name in ("right", "stated")}
                    _append(self.truths, (truth | {"source": text(truth["source"])}).values())
            if row["call"] not in calls:
                calls[row["call"]] = len(calls)
                call |= {"question": self.question_numbers[name], "notes": text(call["notes"])}
                _append(self.calls, call.values())
            row |= {name: text(row[name]) for name in ("input", "reason", "detail", "grade", "pair", "rule")}
            _append(self.rows, (row | {"call": calls[row["call"]], "answer": array(row["answer"])}).values())

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
        keys = (*query.keys, *query.asides)
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
            if query not in self.question_numbers:  # it is none of those that the page has
                continue
            _append(found, (self.question_numbers[query], self.texts(key), list(chain.from_iterable(pairs))))
        return found


def _empty(*names: str) -> dict[str, list[Any]]:
    return {name: [] for name in names}


def _at(table: Mapping[str, list[Any]], i: int) -> dict[str, Any]:
    return {name: column[i] for name, column in table.items()}


def _lines(table: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in zip(*table.values(), strict=True):
        yield dict(zip(table, values, strict=True))


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
