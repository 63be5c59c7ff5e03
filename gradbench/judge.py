"""What we conclude from a record and an oracle.

A question, its records and the references' enter; a `Verdict` for each record leaves. Judging needs no framework: it is
done again at any time from a record file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np

from gradbench import conjugation, promotion
from gradbench.compare import Tolerance, Truth, chosen, compare, told, tolerance
from gradbench.difference import Difference
from gradbench.language import parse
from gradbench.likeness import holds, liken
from gradbench.oracle import NOISE, REFERENCES, Oracle, consult
from gradbench.program import Program
from gradbench.query import Array, Operator, Question
from gradbench.record import Outcome, Record, Recorded, Status, Target
from gradbench.sketch import Sketch


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
REMEMBERED: Final = 4096
"""Bytes: for a larger array it takes less to conclude again than to remember it."""
RANK: Final = {ruling: i for i, ruling in enumerate(WORST)}
"""The place of each in that order."""


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
        convention: Of complex derivatives, which one the answer keeps and the difference is measured in: see
            `conjugation`; empty where they don't differ.
    """

    key: str
    ruling: Ruling
    reason: str = ""
    detail: str = ""
    difference: Difference | None = None
    tolerance: str = ""
    source: str = ""
    convention: str = ""


@dataclass(frozen=True)
class Verdict:
    """The conclusion about one record: a finding for each key, and the worst of them."""

    question: Question
    record: Record
    target: Target
    findings: tuple[Finding, ...]
    oracle: Oracle = field(default_factory=lambda: Oracle({}, {}))

    @cached_property
    def worst(self) -> Finding:
        """The finding that counts for the record as a whole."""
        return min(self.findings, key=lambda f: RANK[f.ruling])

    @property
    def ruling(self) -> Ruling:
        """The ruling that counts."""
        return self.worst.ruling

    def convention(self, key: str) -> str:
        """The convention of complex derivatives that the array of this key is in; empty where they don't differ."""
        return next((finding.convention for finding in self.findings if finding.key == key), "")

    def right(self, key: str) -> Truth | None:
        """What the array of this key was held against."""
        found = self.oracle.mirrors if self.convention(key) == conjugation.CONJUGATE else self.oracle.truths
        return found.get(key)

    def normalised(self, key: str) -> Array | None:
        """The array of this key, in the convention that all answers are compared in."""
        answer = self.record.answer.get(key)
        if answer is None or self.convention(key) != conjugation.CONJUGATE:
            return answer
        return conjugation.normalised(self.question.query, answer, self.oracle.truths[key], self.oracle.mirrors[key])


def judge(run: Recorded, own: Mapping[str, Any] | None = None) -> Iterator[Verdict]:
    """The verdict on every record of a run that isn't a reference's own; finite differences are judged like the rest.

    The verdicts on one question come one after the other, and the questions of one `record.spot` too.

    Args:
        run: Questions, targets and records, in memory or in files.
        own: A tolerance that overrides every other: `rtol`, `atol` or `max_ulps`, and a `reason`; or such ones under
            `targets`, by target.
    """
    for question, records in run.answers():
        yield from judge_one(question, records, run.targets, own or {})


def judge_one(
    question: Question, records: Iterable[Record], targets: Mapping[str, Target], own: Mapping[str, Any]
) -> Iterator[Verdict]:
    """The verdicts on one question's records."""
    records = list(records)
    references = {record.target: record for record in records if record.target in REFERENCES}
    oracle = consult(question, references)
    same: dict[Any, Finding] = {}
    for record in records:
        if record.target in {"ball", "high-precision", NOISE}:
            continue
        target = targets.get(record.environment) or Target(record.target, record.device)
        rule = chosen(record.target, own, question.tolerance)
        findings = tuple(_findings(question, record, oracle, rule, same))
        yield Verdict(question, record, target, findings, oracle)


def _findings(
    question: Question, record: Record, oracle: Oracle, own: Mapping[str, Any], same: dict[Any, Finding]
) -> Iterator[Finding]:
    keys = question.query.keys or question.query.asides
    if record.outcome is Outcome.UNSUPPORTED:
        yield Finding(keys[0], Ruling.UNSUPPORTED, detail=record.message)
        return
    if record.outcome is not Outcome.ANSWERED:
        said = ": ".join(part for part in (record.error, record.message) if part)
        loose = unconnected(question, keys[0])
        # Nothing is disconnected from its own value, nor along a tangent: whoever raises there has another reason.
        backwards = question.query.operator not in {Operator.VALUE, Operator.JVP, Operator.PARTIAL}
        if record.outcome is Outcome.RAISED and loose and backwards:
            detail = f"raises for an input that the output doesn't depend on ({', '.join(loose)}): {said}"
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
    scatters = any(not np.isfinite(parts["spread"]).all() for parts in record.margin.values() if "spread" in parts)
    if record.repeatable is False and (record.device == "cpu" or scatters):
        yield Finding(keys[0], Ruling.FAIL, "unrepeatable", "answered differently when asked twice")
        return
    for key in question.query.keys:
        yield _known(question, record, key, oracle, own, same)
    for key in question.query.asides:
        yield _discrete(question, record, key)


def _discrete(question: Question, record: Record, key: str) -> Finding:
    """What a target says of the derivative by whole numbers or truth values: a convention, as there is none."""
    said = record.notes.get("discrete", {}).get(key, {})
    answer, message = (str(said.get(part, "")) for part in ("answer", "message"))
    if answer in {"", "unsupported"}:
        return Finding(key, Ruling.UNSUPPORTED, detail=message or "it wasn't asked")
    boolean = question.query.inputs[key].dtype.kind == "b"
    detail = ": ".join(part for part in (f"{answer} where there is no derivative", message) if part)
    return Finding(key, Ruling.CONVENTION, "boolean-input" if boolean else "integer-input", detail)


def _known(
    question: Question, record: Record, key: str, oracle: Oracle, own: Mapping[str, Any], same: dict[Any, Finding]
) -> Finding:
    """As `_finding`; who answers what another has answered, bit by bit, is concluded the same of."""
    answer = record.answer.get(key)
    if answer is None or answer.nbytes > REMEMBERED or record.target == "finite-difference":
        return _finding(question, record, key, oracle, own)
    if "spread" in record.margin.get(key, ()):
        return _finding(question, record, key, oracle, own)
    bits = (key, answer.dtype, answer.shape, answer.tobytes(), record.composite, told(own))
    if bits not in same:
        same[bits] = _finding(question, record, key, oracle, own)
    return same[bits]


def _finding(question: Question, record: Record, key: str, oracle: Oracle, own: Mapping[str, Any]) -> Finding:
    truth, sketch = oracle.truths.get(key), oracle.sketches.get(key)
    if sketch is not None and (truth is None or truth.is_unknown or key not in record.answer):
        return _sketched(question, record, key, sketch, oracle, own)
    if key not in record.answer:
        return Finding(key, Ruling.FAIL, "shape", "the answer lacks this part")
    answer = record.answer[key]
    if truth is None:
        return Finding(key, Ruling.UNJUDGED, detail="no reference could answer")
    source = truth.told_by
    if answer is None:
        return _none(question, key, truth, source)
    if answer.shape != truth.shape:
        detail = f"shape {list(answer.shape)} where {list(truth.shape)} is right"
        return Finding(key, Ruling.FAIL, "shape", detail, source=source)
    estimated = record.target == "finite-difference"
    whole = promotion.is_of_integers(question.query, key)
    promoted = not estimated and promotion.is_promoted(question.query, answer)
    if not (estimated or whole or promoted) and answer.dtype.name not in conjugation.dtypes(question.query, key):
        detail = f"{answer.dtype.name} where {question.query.dtype} was asked for"
        return Finding(key, Ruling.FAIL, "dtype", detail, source=source)
    if truth.is_unknown and answer.size:
        return Finding(key, Ruling.UNJUDGED, detail="no reference could answer", source=source)
    if estimated and (truth.source == record.target).any():
        return Finding(key, Ruling.UNJUDGED, detail="it is itself what judges here", source=source)
    dtype = "float64" if estimated else question.query.dtype
    allowed = _allowed(question, record, key, truth, oracle, own)
    if whole and promotion.narrower(dtype, answer) != dtype:
        dtype = answer.dtype.name
        allowed = tolerance(truth, dtype, None, own)
    difference = compare(answer, truth, dtype, allowed)
    mirror = None if estimated else oracle.mirrors.get(key)
    if mirror is not None:
        turned = oracle.allowed(key, dtype, own, mirrored=True)
        other = compare(answer, mirror, dtype, turned)
        convention = conjugation.kept(difference, other)
        if convention == conjugation.CONJUGATE:
            return _conjugate(_concluded(key, mirror, other, turned, mirror.told_by, record))
        return replace(_concluded(key, truth, difference, allowed, source, record), convention=convention)
    concluded = _concluded(key, truth, difference, allowed, source, record)
    if promoted and not whole and concluded.ruling is Ruling.PASS:
        detail = f"{answer.dtype.name}, which is what {question.query.dtype} and whole numbers make together here"
        return replace(concluded, ruling=Ruling.CONVENTION, reason="promoted", detail=detail)
    derivative = question.query.operator is not Operator.VALUE
    # By an input that isn't there 0 is a matter of course, and whoever answers it has shown that.
    bound = not set(key.split(",")) & set(unconnected(question, key))
    if concluded.ruling is Ruling.PASS and derivative and bound and truth.is_zero and difference.size:
        detail = "0 is right everywhere: whoever loses a term would pass too"
        return replace(concluded, reason="uninformative", detail=detail)
    return concluded


def _sketched(
    question: Question, record: Record, key: str, sketch: Sketch, oracle: Oracle, own: Mapping[str, Any]
) -> Finding:
    """The conclusion where a sketch is all that is known; and that about the sketch itself."""
    source, truth = "finite-difference", oracle.truths.get(key)
    if record.target == source and key not in record.answer:
        fits = None if truth is None else holds(sketch, truth)
        if truth is None or fits is None:
            return Finding(key, Ruling.UNJUDGED, detail="it is itself what judges here", source=source)
        if fits:
            return Finding(key, Ruling.PASS, source=truth.told_by)
        return Finding(key, Ruling.FAIL, "wrong", "projections beyond its own error bar", source=truth.told_by)
    if key not in record.answer:
        return Finding(key, Ruling.FAIL, "shape", "the answer lacks this part")
    answer = record.answer[key]
    if answer is None and key in unconnected(question, key):
        detail = "None for an input that the output doesn't depend on"
        return Finding(key, Ruling.CONVENTION, "unconnected", detail, source=source)
    if answer is None:
        answer = np.zeros(sketch.shape, question.query.inputs[key].dtype)
    if answer.shape != sketch.shape:
        detail = f"shape {list(answer.shape)} where {list(sketch.shape)} is right"
        return Finding(key, Ruling.FAIL, "shape", detail, source=source)
    if answer.dtype.name not in conjugation.dtypes(question.query, key):
        detail = f"{answer.dtype.name} where {question.query.dtype} was asked for"
        return Finding(key, Ruling.FAIL, "dtype", detail, source=source)
    spread = record.margin.get(key, {}).get("spread")
    found = liken(answer, sketch, question.query.dtype, oracle.sigma.get(key), own, spread)
    made = f" (put together from {', '.join(record.composite)})" if record.composite and found.off else ""
    if not found.known:
        ruling, reason = Ruling.UNJUDGED, ""
    elif found.off:
        ruling, reason = Ruling.FAIL, "non-finite" if found.nonfinite else "inaccurate" if found.is_close else "wrong"
    else:
        ruling, reason = (Ruling.PASS, "") if found.tells else (Ruling.INCONCLUSIVE, "uninformative")
    return Finding(key, ruling, reason, found.sentence(key, sketch) + made, found.difference, found.rule, source)


def _allowed(
    question: Question, record: Record, key: str, truth: Truth, oracle: Oracle, own: Mapping[str, Any]
) -> Tolerance:
    """Finite differences are held to their own error bar, everyone else to what rounding explains.

    On an accelerator, where sums are added up in any order, that is widened by how far the answers to one query scatter.
    """
    if record.target == "finite-difference":
        radius = record.margin.get(key, {}).get("radius")
        if radius is not None:
            return Tolerance(np.asarray(radius, np.float64), "its own error bar")
    found = oracle.allowed(key, question.query.dtype, own)
    spread = record.margin.get(key, {}).get("spread")
    if spread is None or spread.shape != truth.shape:
        return found
    return replace(found, bound=found.bound + spread, rule=f"{found.rule} + spread of its own calls on {record.device}")


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
    if "undefined" in truth.counts:
        detail = "there is no right answer here; this one is its convention"
        return Finding(key, Ruling.CONVENTION, "undefined", detail, difference, allowed.rule, source)
    if not difference.is_informative:
        detail = "the tolerance exceeds half of every entry: a wrong answer would pass too"
        return Finding(key, Ruling.INCONCLUSIVE, "uninformative", detail, difference, allowed.rule, source)
    kinks = truth.counts.get("set", 0) + truth.counts.get("choice", 0)
    detail = f"{kinks} of {difference.size} at a kink, within the valid set" if kinks else ""
    return Finding(key, Ruling.PASS, detail=detail, difference=difference, tolerance=allowed.rule, source=source)


def _conjugate(found: Finding) -> Finding:
    """What was concluded in the other convention of complex derivatives: right there is right, and said to be so."""
    if found.ruling is not Ruling.PASS:
        return replace(found, convention=conjugation.CONJUGATE)
    reason, detail = "conjugate", conjugation.SENTENCE
    return replace(found, ruling=Ruling.CONVENTION, reason=reason, detail=detail, convention=conjugation.CONJUGATE)


def _none(question: Question, key: str, truth: Truth, source: str) -> Finding:
    if set(key.split(",")) & set(unconnected(question, key)):
        detail = "None for an input that the output doesn't depend on"
        return Finding(key, Ruling.CONVENTION, "unconnected", detail, source=source)
    if truth.is_zero:
        return Finding(key, Ruling.CONVENTION, "none-for-zero", "None where the derivative is 0", source=source)
    if not np.isin(truth.kind, ("number", "infinite")).all():
        return Finding(key, Ruling.CONVENTION, "none", "None where there is no one right answer", source=source)
    return Finding(key, Ruling.FAIL, "wrong", "None where the derivative isn't 0", source=source)


def unconnected(question: Question, key: str) -> tuple[str, ...]:
    """The inputs the output doesn't depend on, as the program says, not as anybody's answer does."""
    free = _free(question.query.function, question.query.names, key.partition(",")[0])
    return tuple(name for name in question.query.continuous if name in free)


@lru_cache(maxsize=4096)
def _free(function: str, names: tuple[str, ...], output: str) -> frozenset[str]:
    """The names that an output doesn't depend on, or none of them if there is no such output."""
    program = _program(function, names)
    return program.unconnected(output if output in program.keys else None)


@lru_cache(maxsize=4096)
def _program(function: str, names: tuple[str, ...]) -> Program:
    return parse(function, names)


def _all_estimated(record: Record, key: str) -> bool:
    """Whether finite differences vouch for every component."""
    status = record.status.get(key)
    return status is not None and bool((status == Status.ESTIMATED).all())


def is_beyond(one: Difference | None, other: Difference | None, factor: float = 10.0) -> bool:
    """Whether one answer is less accurate than another by more than a factor, and by more than rounding."""
    if one is None or other is None or math.isnan(one.ulps) or math.isnan(other.ulps):
        return False
    return one.ulps > factor * max(other.ulps, 1.0)
