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
    "kink": "the derivative at a kink",
    "undefined": "a derivative that isn't defined",
    "complex": "the derivative by a complex number z = x + iy",
}
"""Where conventions differ, in words."""


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
    counts: dict[tuple[str, str], Counter[str]] = {}
    cases: dict[tuple[str, str], str] = {}
    for verdict in verdicts:
        for kind, answer in _shown(verdict):
            place = kind, verdict.record.environment
            counts.setdefault(place, Counter())[answer] += 1
            cases.setdefault(place, verdict.question.case)
    order = list(KINDS)
    return [
        Convention(kind, environment, tuple(found.most_common()), cases[kind, environment])
        for (kind, environment), found in sorted(counts.items(), key=lambda item: order.index(item[0][0]))
    ]


def _shown(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Pairs of a kind and what was answered."""
    question, record = verdict.question, verdict.record
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
        if answer is None or answer.shape == truth.shape:
            free = bool(set(finding.key.split(",")) & set(unconnected(question, finding.key)))
            yield from _of_array(finding, answer, truth, free=free)


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
