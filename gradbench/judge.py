"""What we conclude from a record and an oracle.

A question, its records and the references' enter; a `Verdict` for each record leaves. Judging needs no framework: it is
done again at any time from a record file.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np

from gradbench.compare import Difference, Tolerance, Truth, compare, tolerance
from gradbench.language import parse
from gradbench.oracle import NOISE, REFERENCES, Oracle, consult
from gradbench.query import Operator, Question
from gradbench.record import Outcome, Record, Run, Status, Target


class Ruling(StrEnum):
    """What is concluded, from the worst to the best."""

    FAIL = "fail"
    ERROR = "error"
    DISPUTED = "disputed"
    INCONCLUSIVE = "inconclusive"
    UNJUDGED = "unjudged"
    CONVENTION = "convention"
    UNSUPPORTED = "unsupported"
    PASS = "pass"  # noqa: S105  # no password


WORST: Final = tuple(Ruling)
"""The rulings in order, worst first."""


@dataclass(frozen=True)
class Finding:
    """The conclusion about one array of an answer.

    Attributes:
        key: Of the array.
        ruling: What is concluded.
        reason: For a fail: wrong, non-finite, inaccurate, shape, dtype, mutated-input or unrepeatable.
        detail: A sentence for people.
        difference: How far it is from the truth, where both are numbers.
        tolerance: The rule that judged.
        source: Who said what is right.
    """

    key: str
    ruling: Ruling
    reason: str = ""
    detail: str = ""
    difference: Difference | None = None
    tolerance: str = ""
    source: str = ""


@dataclass(frozen=True)
class Verdict:
    """The conclusion about one record: a finding for each key, and the worst of them."""

    question: Question
    record: Record
    target: Target
    findings: tuple[Finding, ...]
    oracle: Oracle = field(default_factory=lambda: Oracle({}, {}))

    @property
    def worst(self) -> Finding:
        """The finding that counts for the record as a whole."""
        return min(self.findings, key=lambda f: WORST.index(f.ruling))

    @property
    def ruling(self) -> Ruling:
        """The ruling that counts."""
        return self.worst.ruling


def judge(run: Run, own: Mapping[str, Any] | None = None) -> Iterator[Verdict]:
    """The verdict on every record of a run that isn't a reference's own; finite differences are judged like the rest.

    Args:
        run: Questions, targets and records.
        own: A tolerance that overrides every other: `rtol`, `atol` or `max_ulps`, and a `reason`.
    """
    by_query: dict[str, list[Record]] = defaultdict(list)
    for record in run.records:
        by_query[record.query].append(record)
    for key, question in run.questions.items():
        records = by_query.get(key, [])
        yield from judge_one(question, records, run.targets, own or {})


def judge_one(
    question: Question, records: Iterable[Record], targets: Mapping[str, Target], own: Mapping[str, Any]
) -> Iterator[Verdict]:
    """The verdicts on one question's records."""
    records = list(records)
    references = {record.target: record for record in records if record.target in REFERENCES}
    oracle = consult(question, references)
    for record in records:
        if record.target in {"ball", "high-precision", NOISE}:
            continue
        target = targets.get(record.environment, Target(record.target, record.device))
        findings = tuple(_findings(question, record, oracle, {**question.tolerance, **own}))
        yield Verdict(question, record, target, findings, oracle)


def _findings(question: Question, record: Record, oracle: Oracle, own: Mapping[str, Any]) -> Iterator[Finding]:
    keys = question.query.keys
    if record.outcome is Outcome.UNSUPPORTED:
        yield Finding(keys[0], Ruling.UNSUPPORTED, detail=record.message)
        return
    if record.outcome is not Outcome.ANSWERED:
        said = ": ".join(part for part in (record.error, record.message) if part)
        unconnected = _unconnected(question)
        if record.outcome is Outcome.RAISED and unconnected:
            detail = f"raises for an input that the output doesn't depend on ({', '.join(unconnected)}): {said}"
            yield Finding(keys[0], Ruling.CONVENTION, str(record.outcome), detail)
        else:
            yield Finding(keys[0], Ruling.ERROR, str(record.outcome), said)
        return
    if oracle.disputes:
        yield Finding(keys[0], Ruling.DISPUTED, detail=oracle.disputes[0])
        return
    if record.mutated:
        names = ", ".join(record.mutated)
        yield Finding(record.mutated[0], Ruling.FAIL, "mutated-input", f"changed its input {names}")
        return
    if record.repeatable is False and record.device == "cpu":
        yield Finding(keys[0], Ruling.FAIL, "unrepeatable", "answered differently when asked twice")
        return
    for key in keys:
        yield _finding(question, record, key, oracle, own)


def _finding(question: Question, record: Record, key: str, oracle: Oracle, own: Mapping[str, Any]) -> Finding:
    truth = oracle.truths.get(key)
    if key not in record.answer:
        return Finding(key, Ruling.FAIL, "shape", "the answer lacks this part")
    answer = record.answer[key]
    if truth is None:
        return Finding(key, Ruling.UNJUDGED, detail="no reference could answer")
    source = _source(truth)
    if answer is None:
        return _none(question, key, truth, source)
    if answer.shape != truth.shape:
        detail = f"shape {list(answer.shape)} where {list(truth.shape)} is right"
        return Finding(key, Ruling.FAIL, "shape", detail, source=source)
    estimated = record.target == "finite-difference"
    if not estimated and not _is_of(question, answer.dtype.name):
        detail = f"{answer.dtype.name} where {question.query.dtype} was asked for"
        return Finding(key, Ruling.FAIL, "dtype", detail, source=source)
    if (truth.kind == "unknown").all() and answer.size:
        return Finding(key, Ruling.UNJUDGED, detail="no reference could answer", source=source)
    if estimated and (truth.source == record.target).any():
        return Finding(key, Ruling.UNJUDGED, detail="it is itself what judges here", source=source)
    dtype = "float64" if estimated else question.query.dtype
    allowed = _allowed(question, record, key, truth, oracle, own)
    difference = compare(answer, truth, dtype, allowed)
    return _concluded(key, truth, difference, allowed, source, record)


def _allowed(
    question: Question, record: Record, key: str, truth: Truth, oracle: Oracle, own: Mapping[str, Any]
) -> Tolerance:
    """Finite differences are held to their own error bar, everyone else to what rounding explains."""
    if record.target == "finite-difference":
        radius = record.margin.get(key, {}).get("radius")
        if radius is not None:
            return Tolerance(np.asarray(radius, np.float64), "its own error bar")
    return tolerance(truth, question.query.dtype, oracle.sigma.get(key), own)


def _concluded(
    key: str, truth: Truth, difference: Difference, allowed: Tolerance, source: str, record: Record
) -> Finding:
    made = f" (put together from {', '.join(record.composite)})" if record.composite else ""
    if difference.bad:
        if difference.nonfinite:
            reason, said = "non-finite", f"{difference.nonfinite} of {difference.size} not finite"
        else:
            reason = "inaccurate" if difference.is_close else "wrong"
            said = f"{difference.bad} of {difference.size} beyond the tolerance"
        if record.target == "finite-difference":
            ruling = Ruling.INCONCLUSIVE if not _all_estimated(record, key) else Ruling.FAIL
            return Finding(key, ruling, reason, said, difference, allowed.rule, source)
        return Finding(key, Ruling.FAIL, reason, said + made, difference, allowed.rule, source)
    if (truth.kind == "undefined").any():
        detail = "there is no right answer here; this one is its convention"
        return Finding(key, Ruling.CONVENTION, "undefined", detail, difference, allowed.rule, source)
    if not difference.is_informative:
        detail = "the tolerance exceeds half of every entry: a wrong answer would pass too"
        return Finding(key, Ruling.INCONCLUSIVE, "uninformative", detail, difference, allowed.rule, source)
    kinks = np.isin(truth.kind, ("set", "choice"))
    detail = f"{int(kinks.sum())} of {difference.size} at a kink, within the valid set" if kinks.any() else ""
    return Finding(key, Ruling.PASS, detail=detail, difference=difference, tolerance=allowed.rule, source=source)


def _none(question: Question, key: str, truth: Truth, source: str) -> Finding:
    unconnected = _unconnected(question)
    if set(key.split(",")) & set(unconnected):
        detail = "None for an input that the output doesn't depend on"
        return Finding(key, Ruling.CONVENTION, "unconnected", detail, source=source)
    if truth.is_zero:
        return Finding(key, Ruling.CONVENTION, "none-for-zero", "None where the derivative is 0", source=source)
    if not np.isin(truth.kind, ("number", "infinite")).all():
        return Finding(key, Ruling.CONVENTION, "none", "None where there is no one right answer", source=source)
    return Finding(key, Ruling.FAIL, "wrong", "None where the derivative isn't 0", source=source)


def _unconnected(question: Question) -> tuple[str, ...]:
    """The inputs the output doesn't depend on, as the program says, not as anybody's answer does."""
    program = parse(question.query.function, question.query.names)
    free = program.unconnected()
    return tuple(name for name in question.query.inputs if name in free)


def _all_estimated(record: Record, key: str) -> bool:
    """Whether finite differences vouch for every component."""
    status = record.status.get(key)
    return status is not None and bool((status == Status.ESTIMATED).all())


def _is_of(question: Question, given: str) -> bool:
    """Whether a dtype is the one asked for; a real function of complex inputs answers in the real one."""
    if given == question.query.dtype:
        return True
    pairs = {("float64", "complex128"), ("float32", "complex64")}
    return (given, question.query.dtype) in pairs and question.query.operator is Operator.VALUE


def _source(truth: Truth) -> str:
    """Who says what is right, most components first."""
    names, counts = np.unique(truth.source, return_counts=True)
    order = sorted(zip(-counts, names.tolist(), strict=True))
    return " + ".join(name for _, name in order if name)


def is_beyond(one: Difference | None, other: Difference | None, factor: float = 10.0) -> bool:
    """Whether one answer is less accurate than another by more than a factor, and by more than rounding."""
    if one is None or other is None or math.isnan(one.ulps) or math.isnan(other.ulps):
        return False
    return one.ulps > factor * max(other.ulps, 1.0)
