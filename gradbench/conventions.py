"""What targets answer where more than one answer is right, as a run shows it.

Verdicts enter; for each kind of place and each target that was seen there, what it answered and how often, leaves. No
answer is judged here: a convention is neither right nor wrong, but whoever goes from one framework to another has to know
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradbench.compare import Truth
from gradbench.conjugation import FORMULAS
from gradbench.judge import Finding, Ruling, Verdict, unconnected
from gradbench.query import Array, Operator
from gradbench.record import Outcome

KINDS: Final = {
    "unconnected": "the derivative by an input that the output doesn't depend on",
    "zero": "a derivative that is 0 everywhere",
    "integer": "the derivative by an input of whole numbers, of which there is none",
    "boolean": "the derivative by an input of truth values, of which there is none",
    "promoted": "a wider format where whole numbers meet the one asked for: the array API standard leaves open what they make",
    "kink": "the derivative at a kink",
    "undefined": "a derivative that isn't defined",
    "complex": "the derivative by a complex number z = x + iy",
}
"""Where conventions differ, in words."""
REASONS: Final = {"integer-input": "integer", "boolean-input": "boolean"}
"""The reason of a verdict on a convention by inputs that aren't numbers of any precision, and the kind it is of."""


@dataclass(frozen=True)
class Convention:
    """What one target answers at one kind of place.

    Attributes:
        kind: One of `KINDS`.
        environment: Of the target.
        answers: What was answered in words, and how often; most often first.
        case: The first case that shows it.
    """

    kind: str
    environment: str
    answers: tuple[tuple[str, int], ...]
    case: str


def conventions(verdicts: Iterable[Verdict]) -> list[Convention]:
    """Every convention that the answers show, by kind and then by target, each in the order first seen."""
    found = Conventions()
    for verdict in verdicts:
        found.add(verdict)
    return found.all()


class Conventions:
    """Conventions while they are counted, verdict by verdict."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], Counter[str]] = {}
        self.cases: dict[tuple[str, str], str] = {}

    def add(self, verdict: Verdict) -> None:
        """What one answer shows."""
        for kind, answer in _shown(verdict):
            where = kind, verdict.record.environment
            self.counts.setdefault(where, Counter())[answer] += 1
            self.cases.setdefault(where, verdict.question.case)

    def all(self) -> list[Convention]:
        """By kind and then by target, each in the order first seen."""
        order = list(KINDS)
        return [
            Convention(kind, environment, tuple(found.most_common()), self.cases[kind, environment])
            for (kind, environment), found in sorted(self.counts.items(), key=lambda item: order.index(item[0][0]))
        ]


def _shown(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Pairs of a kind and what was answered."""
    question, record = verdict.question, verdict.record
    yield from _of_discrete(verdict)
    if record.outcome is not Outcome.ANSWERED:
        if any(one.ruling is Ruling.CONVENTION for one in verdict.findings):
            yield "unconnected", "an error"
        return
    if question.query.operator is Operator.VALUE or record.target == "finite-difference":
        return
    for finding in verdict.findings:
        truth = verdict.oracle.truths.get(finding.key)
        if finding.key not in record.answer or truth is None:
            continue
        answer = record.answer[finding.key]
        if finding.reason == "promoted" and answer is not None:
            yield "promoted", f"{answer.dtype.name} for {question.query.dtype}"
        if answer is None or answer.shape == truth.shape:
            free = bool(set(finding.key.split(",")) & set(unconnected(question, finding.key)))
            yield from _of_array(finding, answer, truth, free=free)


def _of_discrete(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """What is said by inputs of whole numbers or truth values; of an error its class."""
    for finding in verdict.findings:
        kind = REASONS.get(finding.reason)
        if kind is not None and finding.ruling is Ruling.CONVENTION:
            said = verdict.record.notes["discrete"][finding.key]
            error = str(said.get("message", "")).partition(":")[0]
            yield kind, f"{said['answer']} ({error})" if said["answer"] == "an error" else str(said["answer"])


def _of_array(finding: Finding, answer: Array | None, truth: Truth, *, free: bool) -> Iterator[tuple[str, str]]:
    if free or truth.is_zero:
        kind = "unconnected" if free else "zero"
        if answer is None or not answer.any():
            yield kind, "None" if answer is None else "zeros"
        return
    if answer is None:
        return
    if finding.convention and finding.ruling in {Ruling.PASS, Ruling.CONVENTION}:
        yield "complex", FORMULAS[finding.convention]
    if not {"set", "undefined"} & truth.counts.keys():
        return
    kinds = truth.kind.reshape(-1)
    for index in np.flatnonzero(np.isin(kinds, ("set", "undefined"))).tolist():
        said = answer.reshape(-1)[index]
        if kinds[index] == "undefined":
            yield "undefined", "NaN" if np.isnan(said) else "infinite" if np.isinf(said) else "a number"
        else:
            ends = (float(part.reshape(-1)[index]) for part in (truth.lower, truth.upper))
            yield "kink", _chosen(float(np.real(said)), *ends)


def _chosen(answer: float, lower: float, upper: float) -> str:
    """What is chosen between two one-sided derivatives, in words."""
    for number, word in (
        (lower, "the lower end"),
        (upper, "the upper end"),
        (0.0, "0"),
        ((lower + upper) / 2, "the middle"),
    ):
        if np.isclose(answer, number, rtol=1e-3, atol=0.0):
            return word
    return "NaN" if np.isnan(answer) else "another number"
