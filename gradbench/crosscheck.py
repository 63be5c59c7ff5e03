"""What must hold without any oracle: answers held against one another.

The verdicts of a run enter; a `Clash` for each law that is broken leaves. A clash is a finding of its own, even where both
answers lie within the oracle's looser bound: the tolerances here are those of the answers themselves.

- A Hessian is symmetric.
- ⟨w, J v⟩ = ⟨Jᵀ w, v⟩ for the jvp and the vjp of one target at one point.
- The ways of using one framework (`torch`, `torch:forward`) agree, and none answers 0 for what another refuses: see `modes`.
- A target keeps one convention for all complex derivatives (see `conjugation`).
- Targets are grouped by agreement; one that stands alone against several is named. That is a hint, never a proof.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from gradbench.clash import Clash, agree, allowed, wide
from gradbench.compare import FORMS, ulp
from gradbench.conjugation import CONJUGATE, FORMULAS
from gradbench.judge import Ruling, Verdict
from gradbench.modes import modes
from gradbench.query import Array, Operator, Question
from gradbench.record import Outcome, Spot, spot

REFERENCES: Final = frozenset({"finite-difference"})
"""Answers with an error bar of their own are no party to a vote."""


LAWS: Final = ("symmetry", "adjointness", "convention")
"""These come first in a list of clashes, in this order; the others after them, question by question."""


def crosscheck(verdicts: Iterable[Verdict], vote: bool = True) -> list[Clash]:
    """Every clash among the answers of a run; those who stand alone only if a vote is asked for."""
    questions: dict[Spot, dict[str, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        questions[spot(verdict.question)][verdict.question.query.id].append(verdict)
    laws = Crosscheck(vote=vote)
    found = [clash for group in questions.values() for members in group.values() for clash in laws.add(members)]
    found += laws.finish()
    return sorted(found, key=lambda clash: place(clash.law))


def place(law: str) -> int:
    """Where the clashes of a law stand in a list of them."""
    return LAWS.index(law) if law in LAWS else len(LAWS)


class Crosscheck:
    """The laws, held against the verdicts of a run question by question.

    Of a question that is done nothing is kept but the answers that those to another question are to be held against,
    and which convention each target kept.

    Args:
        vote: Whether those who stand alone are named.
    """

    def __init__(self, *, vote: bool = False) -> None:
        self.vote = vote
        self.spot: Spot | None = None
        self.pairs: dict[tuple[str, str], _Pair] = {}
        self.kept: dict[str, dict[str, list[tuple[Question, str]]]] = defaultdict(lambda: defaultdict(list))

    def add(self, members: Sequence[Verdict]) -> list[Clash]:
        """The clashes that the verdicts on one question show; those of one spot must come one after the other."""
        found: list[Clash] = []
        if members and spot(members[0].question) != self.spot:
            found += self._paired()
            self.spot = spot(members[0].question)
        parties = [v for v in members if v.record.target not in REFERENCES]
        answered = [v for v in parties if v.record.outcome is Outcome.ANSWERED]
        for verdict in answered:
            found += _asymmetry(verdict)
            self.pairs.setdefault((verdict.record.environment, verdict.record.target), _Pair()).add(verdict)
            self._keep(verdict)
        found += modes(parties)
        if self.vote and answered:
            found += _alone(answered)
        return found

    def finish(self) -> list[Clash]:
        """The clashes that show when all is said."""
        return [*self._paired(), *(clash for sides in self.kept.values() for clash in _inconsistency(sides))]

    def _paired(self) -> list[Clash]:
        found = [clash for pair in self.pairs.values() for clash in pair.found]
        self.pairs.clear()
        return found

    def _keep(self, verdict: Verdict) -> None:
        if any(finding.convention for finding in verdict.findings):
            shown = {f.convention for f in verdict.findings if f.ruling in {Ruling.PASS, Ruling.CONVENTION}} - {""}
            for convention in shown:
                slim = _without_arrays(verdict.question)
                self.kept[verdict.record.environment][convention].append((slim, verdict.record.target))


class _Pair:
    """The jvp and the vjp of one target at one spot: what the two make of the law of adjoints, once both are there."""

    def __init__(self) -> None:
        self.waiting: dict[Operator, Verdict] = {}
        self.seen: set[Operator] = set()
        self.found: tuple[Clash, ...] = ()

    def add(self, verdict: Verdict) -> None:
        """Takes the first of each operator."""
        operator = verdict.question.query.operator
        if operator not in {Operator.JVP, Operator.VJP} or operator in self.seen:
            return
        self.seen.add(operator)
        self.waiting[operator] = verdict
        if len(self.waiting) == 2:
            self.found = tuple(_product(self.waiting[Operator.JVP], self.waiting[Operator.VJP]))
            self.waiting.clear()


def _without_arrays(question: Question) -> Question:
    """What a clash needs to know of a question."""
    query = replace(question.query, inputs={}, constants={}, tangents=None, cotangent=None, cotangents=(), rules={})
    return replace(question, query=query, stated={})


def _asymmetry(verdict: Verdict) -> Iterator[Clash]:
    query = verdict.question.query
    if query.operator is not Operator.HESSIAN:
        return
    names = list(query.inputs)
    for i, a in enumerate(names):
        for b in names[i:]:
            upper, lower = (verdict.record.answer.get(key) for key in (f"{a},{b}", f"{b},{a}"))
            if upper is None or lower is None:
                continue
            rank = query.inputs[a].ndim
            axes = (*range(rank, upper.ndim), *range(rank))
            turned = wide(np.transpose(upper, axes))
            if turned.shape != lower.shape:
                continue
            room = np.transpose(allowed(verdict, f"{a},{b}"), axes) + allowed(verdict, f"{b},{a}")
            with np.errstate(invalid="ignore"):
                apart = np.abs(turned - wide(lower))
                both = np.isnan(turned) & np.isnan(wide(lower))  # that is another finding
                broken = ~(apart <= room) & np.isfinite(room) & ~both
            if broken.any():
                worst = float(np.max(np.where(broken & ~np.isnan(apart), apart, 0.0)))
                sentence = f"the Hessian by {a},{b} isn't the transpose of that by {b},{a}: they differ by {worst:.3g}"
                yield Clash.at(verdict.question, "symmetry", (verdict.record.target,), sentence)


def _product(forward: Verdict, reverse: Verdict) -> Iterator[Clash]:
    query, v = reverse.question.query, forward.question.query.tangents
    w = dict(zip(query.outputs, query.cotangents or (query.cotangent,), strict=True))
    pushed, pulled = forward.record.answer, reverse.record.answer
    if v is None or any(pushed.get(key) is None for key in w) or any(pulled.get(name) is None for name in v):
        return
    u = {key: given for key, given in w.items() if given is not None}
    if any(_given(pushed, key).shape != u[key].shape for key in w):
        return
    if any(_given(pulled, name).shape != v[name].shape for name in v):
        return
    sides = [_paired(u, pushed, v, pulled, turned=turned) for turned in _turns(reverse)]
    left, right = min(sides, key=lambda pair: abs(pair[0] - pair[1]))
    room = float(sum(np.sum(np.abs(wide(u[key])) * allowed(forward, key)) for key in u))
    room += float(sum(np.sum(np.abs(wide(v[name])) * allowed(reverse, name)) for name in v))
    room += float(ulp(np.array(abs(left)), FORMS["float64"])) * sum(array.size for array in (*u.values(), *v.values()))
    both = np.isnan(left) and np.isnan(right)  # that is another finding
    if np.isfinite(room) and not both and not abs(left - right) <= room:
        sentence = f"⟨w, Jv⟩ = {left:.17g} and ⟨Jᵀw, v⟩ = {right:.17g}: forward and reverse mode disagree"
        yield Clash.at(forward.question, "adjointness", (forward.record.target,), sentence)


def _turns(reverse: Verdict) -> tuple[bool, ...]:
    """Whether a vjp may be one that conjugates: by its convention, and where that doesn't show, either."""
    kept = {reverse.convention(key) for key in reverse.question.query.inputs} - {""}
    return (kept == {CONJUGATE},) if len(kept) == 1 else (False, True)


def _paired(
    w: Mapping[str, Array],
    pushed: Mapping[str, Array | None],
    v: Mapping[str, Array],
    pulled: Mapping[str, Array | None],
    *,
    turned: bool,
) -> tuple[float, float]:
    """Both sides of the law: the real parts of sums of products, of conjugates where the vjp conjugates."""

    def product(one: Array, other: Array) -> float:
        return float(np.real(np.sum((np.conj(wide(one)) if turned else wide(one)) * wide(other))))

    left = sum(product(w[key], _given(pushed, key)) for key in w)
    return left, sum(product(_given(pulled, name), v[name]) for name in v)


def _inconsistency(sides: Mapping[str, Sequence[tuple[Question, str]]]) -> Iterator[Clash]:
    """The answers of a target that are not in the convention of most of its complex derivatives."""
    if len(sides) < 2:
        return
    (usual, most), (other, few) = sorted(sides.items(), key=lambda side: (-len(side[1]), side[0] == CONJUGATE))
    for question, target in few:
        sentence = (
            f"the {question.query.operator} by z = x + iy is {FORMULAS[other]} here, and {FORMULAS[usual]} in {len(most)} "
            f"other answers, as in {most[0][0].query.id}: a target must keep one convention"
        )
        yield Clash.at(question, "convention", (target,), sentence)


def _given(answer: Mapping[str, Array | None], key: str) -> Array:
    array = answer[key]
    assert array is not None
    return array


def _alone(members: Sequence[Verdict]) -> Iterator[Clash]:
    for key in members[0].question.query.keys:
        groups = clusters(members, key)
        if len(groups) < 2:
            continue
        largest = max(map(len, groups))
        for group in groups:
            if len(group) == 1 and largest >= 2:
                name = group[0].record.target
                others = sorted(v.record.target for g in groups if len(g) == largest for v in g)
                by = f" by {key}" if key else ""
                sentence = f"{name} stands alone{by} against {', '.join(others)}"
                yield Clash.at(members[0].question, "alone", (name,), sentence)


def clusters(members: Sequence[Verdict], key: str) -> list[list[Verdict]]:
    """The verdicts on one query grouped by agreement; those that can't be compared are left out."""
    groups: list[list[Verdict]] = []
    for verdict in members:
        if verdict.record.answer.get(key) is None:
            continue
        opinions = [(group, agree(group[0], verdict, key)) for group in groups]
        if any(opinion is None for _, opinion in opinions):
            continue
        home = next((group for group, opinion in opinions if opinion), None)
        if home is None:
            groups.append([verdict])
        else:
            home.append(verdict)
    return groups
