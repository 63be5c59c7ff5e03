"""What must hold without any oracle: answers held against one another.

The verdicts of a run enter; a `Clash` for each law that is broken leaves. A clash is a finding of its own, even where both
answers lie within the oracle's looser bound: the tolerances here are those of the answers themselves.

- A Hessian is symmetric.
- ⟨w, J v⟩ = ⟨Jᵀ w, v⟩ for the jvp and the vjp of one target at one point.
- The ways of using one framework (`torch`, `torch:forward`) agree.
- A target keeps one convention for all complex derivatives (see `conjugation`).
- Targets are grouped by agreement; one that stands alone against several is named. That is a hint, never a proof.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradbench.compare import FORMS, tolerance, ulp
from gradbench.conjugation import CONJUGATE, FORMULAS
from gradbench.judge import Ruling, Verdict
from gradbench.query import Array, Operator
from gradbench.record import Outcome

REFERENCES: Final = frozenset({"finite-difference"})
"""Answers with an error bar of their own are no party to a vote."""


@dataclass(frozen=True)
class Clash:
    """A law that two answers, or two parts of one, break.

    Attributes:
        law: `symmetry`, `adjointness`, `convention`, `modes` or `alone`.
        query: The query's id, or the first of two.
        targets: Who is meant.
        sentence: What was found.
    """

    law: str
    query: str
    targets: tuple[str, ...]
    sentence: str


def crosscheck(verdicts: Iterable[Verdict], vote: bool = True) -> list[Clash]:
    """Every clash among the answers of a run; those who stand alone only if a vote is asked for."""
    answered = [v for v in verdicts if v.record.outcome is Outcome.ANSWERED and v.record.target not in REFERENCES]
    found: list[Clash] = []
    for verdict in answered:
        found.extend(_asymmetry(verdict))
    found.extend(_adjointness(answered))
    found.extend(_inconsistency(answered))
    by_query: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in answered:
        by_query[verdict.question.query.id].append(verdict)
    for members in by_query.values():
        found.extend(_modes(members))
        if vote:
            found.extend(_alone(members))
    return found


def allowed(verdict: Verdict, key: str) -> Array:
    """How far rounding alone may have moved each component of an answer; infinite where that isn't known."""
    answer = verdict.record.answer[key]
    assert answer is not None
    truth, sigma = verdict.right(key), verdict.oracle.sigma
    if truth is None or truth.shape != answer.shape:
        return np.full(answer.shape, np.inf)
    if verdict.convention(key) == CONJUGATE:
        sigma = verdict.oracle.mirror_sigma
    known = np.isin(truth.kind, ("number",))
    bound = tolerance(truth, verdict.question.query.dtype, sigma.get(key), {}).bound
    return np.where(known, bound, np.inf)


def agree(one: Verdict, other: Verdict, key: str) -> bool | None:
    """Whether two answers to one query agree within what rounding explains of both; None if they can't be compared.

    Complex derivatives are compared in one convention, whichever each of them keeps.
    """
    a, b = one.normalised(key), other.normalised(key)
    if a is None or b is None:
        return None
    if a.shape != b.shape:
        return False
    if a.dtype == b.dtype and a.tobytes() == b.tobytes() and np.isfinite(allowed(one, key)).any():
        return True
    # At a kink or where nothing is defined, two right answers may differ.
    room = allowed(one, key) + allowed(other, key)
    kept = np.isfinite(room)
    if not kept.any() and a.size:
        return None
    with np.errstate(invalid="ignore"):
        near = np.abs(_wide(a) - _wide(b)) <= room
    same = near | (_wide(a) == _wide(b)) | (np.isnan(_wide(a)) & np.isnan(_wide(b)))
    return bool(same[kept].all())


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


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
            turned = _wide(np.transpose(upper, axes))
            if turned.shape != lower.shape:
                continue
            room = np.transpose(allowed(verdict, f"{a},{b}"), axes) + allowed(verdict, f"{b},{a}")
            with np.errstate(invalid="ignore"):
                apart = np.abs(turned - _wide(lower))
                both = np.isnan(turned) & np.isnan(_wide(lower))  # that is another finding
                broken = ~(apart <= room) & np.isfinite(room) & ~both
            if broken.any():
                worst = float(np.max(np.where(broken & ~np.isnan(apart), apart, 0.0)))
                sentence = f"the Hessian by {a},{b} isn't the transpose of that by {b},{a}: they differ by {worst:.3g}"
                yield Clash("symmetry", query.id, (verdict.record.target,), sentence)


def _adjointness(verdicts: Sequence[Verdict]) -> Iterator[Clash]:
    pairs: dict[tuple[str, int, str, str, str], dict[Operator, Verdict]] = defaultdict(dict)
    for verdict in verdicts:
        question, record = verdict.question, verdict.record
        place = (question.case, question.point, question.query.dtype, record.environment, record.target)
        pairs[place].setdefault(question.query.operator, verdict)
    for pair in pairs.values():
        if {Operator.JVP, Operator.VJP} <= pair.keys():
            yield from _product(pair[Operator.JVP], pair[Operator.VJP])


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
    room = float(sum(np.sum(np.abs(_wide(u[key])) * allowed(forward, key)) for key in u))
    room += float(sum(np.sum(np.abs(_wide(v[name])) * allowed(reverse, name)) for name in v))
    room += float(ulp(np.array(abs(left)), FORMS["float64"])) * sum(array.size for array in (*u.values(), *v.values()))
    both = np.isnan(left) and np.isnan(right)  # that is another finding
    if np.isfinite(room) and not both and not abs(left - right) <= room:
        sentence = f"⟨w, Jv⟩ = {left:.17g} and ⟨Jᵀw, v⟩ = {right:.17g}: forward and reverse mode disagree"
        yield Clash("adjointness", forward.question.query.id, (forward.record.target,), sentence)


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
        return float(np.real(np.sum((np.conj(_wide(one)) if turned else _wide(one)) * _wide(other))))

    left = sum(product(w[key], _given(pushed, key)) for key in w)
    return left, sum(product(_given(pulled, name), v[name]) for name in v)


def _inconsistency(verdicts: Sequence[Verdict]) -> Iterator[Clash]:
    """The answers of a target that are not in the convention of most of its complex derivatives."""
    kept: dict[str, dict[str, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        shown = {f.convention for f in verdict.findings if f.ruling in {Ruling.PASS, Ruling.CONVENTION}} - {""}
        for convention in shown:
            kept[verdict.record.environment][convention].append(verdict)
    for sides in kept.values():
        if len(sides) < 2:
            continue
        (usual, most), (other, few) = sorted(sides.items(), key=lambda side: (-len(side[1]), side[0] == CONJUGATE))
        for verdict in few:
            query, example = verdict.question.query, most[0].question.query
            sentence = (
                f"the {query.operator} by z = x + iy is {FORMULAS[other]} here, and {FORMULAS[usual]} in {len(most)} other "
                f"answers, as in {example.id}: a target must keep one convention"
            )
            yield Clash("convention", query.id, (verdict.record.target,), sentence)


def _given(answer: Mapping[str, Array | None], key: str) -> Array:
    array = answer[key]
    assert array is not None
    return array


def _modes(members: Sequence[Verdict]) -> Iterator[Clash]:
    """The ways of using one framework against its plain one."""
    families: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in members:
        families[verdict.record.target.partition(":")[0]].append(verdict)
    for family in families.values():
        first, *others = sorted(family, key=lambda v: v.record.target)
        for other in others:
            if other.record.environment == first.record.environment or other.record.target == first.record.target:
                continue
            keys = [key for key in first.record.answer if agree(first, other, key) is False]
            if keys:
                by = f" by {', '.join(keys)}" if keys != [""] else ""
                names = (first.record.target, other.record.target)
                yield Clash(
                    "modes", first.question.query.id, names, f"{names[0]} and {names[1]} answer differently{by}"
                )


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
                yield Clash("alone", members[0].question.query.id, (name,), sentence)


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
