"""Who checks the checker: every liar over every case.

Questions enter; a `Score` for each liar leaves: of the queries where its answer differs from the honest one, how many
were caught. A liar that nobody catches means that the cases or the judge are too weak; a point that catches nothing is
no test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from gradbench import runner, verify
from gradbench.crosscheck import crosscheck
from gradbench.device import Device
from gradbench.judge import Ruling, Verdict, judge
from gradbench.process import Limits
from gradbench.query import Question
from gradbench.record import Outcome, Record, Run, Target
from gradbench.registry import Entry

HONEST = "honest"
MODULE = "gradbench.adapters.liar"

LIARS = (
    "zero", "flipped", "one-percent", "one-entry", "dropped", "transposed", "not-a-number", "wrong-shape", "downcast", "stale",
    "compiled", "second-order", "asymmetric", "forward-only", "restless", "mutating", "conjugated", "half-conjugated",
)  # fmt: skip
"""The liars by name; the class of `one-percent` is `OnePercent`."""

CAUGHT = frozenset({Ruling.FAIL, Ruling.ERROR})

REFERENCES = ("ball", "noise")
"""The references that are asked everything; where there are complex numbers, one with many digits is as well."""


def entry(liar: str) -> Entry:
    """The target of that liar."""
    return Entry(liar, f"{MODULE}:{''.join(word.title() for word in liar.split('-'))}")


@dataclass(frozen=True)
class Score:
    """How one liar fared.

    Attributes:
        liar: Its name.
        lies: The queries where its answer isn't the honest one.
        caught: Those of them that a verdict or a crosscheck turned up.
        missed: The ids of the others.
        cases, caught_cases: The same, by case.
    """

    liar: str
    lies: int
    caught: int
    missed: tuple[str, ...]
    cases: int
    caught_cases: int

    @property
    def is_alive(self) -> bool:
        """Whether it lied and nobody noticed."""
        return self.lies > 0 and self.caught == 0


@dataclass(frozen=True)
class Check:
    """What a self-check found: a score for each liar, and the points that catch none of the lies told there."""

    scores: tuple[Score, ...]
    idle: tuple[tuple[str, int], ...]


def selfcheck(questions: Sequence[Question], liars: Sequence[str], timeout: float = 60.0) -> Check:
    """Runs the honest adapter, the liars and the references over the questions, and judges them.

    Args:
        questions: What to ask.
        liars: Names of classes in `gradbench.adapters.liar`, by the name to report them under.
        timeout: Seconds a query may take.
    """
    entries = [entry(name) for name in (HONEST, *liars)]
    jobs = [runner.Job(one, Device(), list(questions)) for one in entries]
    known = {one.name: one for one in verify.references()}
    jobs += verify.jobs([known[name] for name in REFERENCES if name in known], questions, Device())
    complex_ = [question for question in questions if question.query.dtype.startswith("complex")]
    jobs += verify.jobs([known[name] for name in ("high-precision",) if name in known], complex_, Device())
    records: list[Record] = []
    targets: dict[str, Target] = {}
    # Two at a time, so that a self-check leaves the machine usable.
    with closing(runner.run(jobs, Limits(timeout), at_once=2)) as events:
        for event in events:
            if isinstance(event, Target):
                targets[event.environment] = event
            else:
                records.append(event)
    run = Run({}, {q.query.id: q for q in questions}, targets, records)
    return _scored(list(judge(run)), liars)


def _scored(verdicts: Sequence[Verdict], liars: Sequence[str]) -> Check:
    honest = {v.question.query.id: v for v in verdicts if v.record.target == HONEST}
    told = [v for v in verdicts if v.record.target in set(liars) and _is_lie(v, honest)]
    clashes = [clash for clash in crosscheck(verdicts) if clash.law != "alone"]
    clashing = {(clash.query, name) for clash in clashes for name in clash.targets}
    # Who keeps two conventions contradicts himself wherever they differ: nobody can tell which of the two he means.
    wavering = {name for clash in clashes if clash.law == "convention" for name in clash.targets}
    points: dict[tuple[str, int], bool] = defaultdict(bool)
    scores = []
    for liar in liars:
        lies = [v for v in told if v.record.target == liar]
        caught = [
            v
            for v in lies
            if v.ruling in CAUGHT
            or (v.question.query.id, liar) in clashing
            or (liar in wavering and any(finding.convention for finding in v.findings))
        ]
        for verdict in lies:
            points[verdict.question.case, verdict.question.point] |= verdict in caught
        ids = {v.question.query.id for v in caught}
        missed = tuple(v.question.query.id for v in lies if v.question.query.id not in ids)
        cases, found = ({v.question.case for v in group} for group in (lies, caught))
        scores.append(Score(liar, len(lies), len(caught), missed, len(cases), len(found)))
    return Check(tuple(scores), tuple(sorted(place for place, useful in points.items() if not useful)))


def _is_lie(verdict: Verdict, honest: dict[str, Verdict]) -> bool:
    """Whether what was said differs from the honest answer, in any bit or in any other way."""
    record, truth = verdict.record, honest[verdict.question.query.id].record
    if truth.outcome is not Outcome.ANSWERED:
        return False
    if record.outcome is not Outcome.ANSWERED or record.mutated or record.repeatable is False:
        return True
    for key, array in truth.answer.items():
        said = record.answer.get(key)
        if said is None or array is None:
            return True
        # -0 for 0 is no lie.
        if said.shape != array.shape or said.dtype != array.dtype or not bool((said == array).all()):
            return True
    return False


def lines(check: Check) -> Iterator[str]:
    """The result in words."""
    yield f"{'liar':14} {'lies':>6} {'caught':>7} {'rate':>7} {'cases':>6} {'caught':>7}"
    for score in check.scores:
        rate = f"{100 * score.caught / score.lies:.1f} %" if score.lies else "–"
        yield f"{score.liar:14} {score.lies:6} {score.caught:7} {rate:>7} {score.cases:6} {score.caught_cases:7}"
    alive = [score.liar for score in check.scores if score.is_alive]
    yield f"alive: {', '.join(alive)}" if alive else "no liar is alive"
    if check.idle:
        shown = ", ".join(f"{case}#{point}" for case, point in check.idle[:20])
        more = f" and {len(check.idle) - 20} more" if len(check.idle) > 20 else ""
        yield f"points that catch nothing: {shown}{more}"
