"""`Clash`, a law that answers break, and what it takes for two answers to agree."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradbench.compare import Truth, tolerance
from gradbench.conjugation import CONJUGATE
from gradbench.judge import Verdict
from gradbench.query import Array, Question


@dataclass(frozen=True)
class Clash:
    """A law that two answers, or two parts of one, break.

    Attributes:
        law: `symmetry`, `adjointness`, `convention`, `modes`, `silent-zero` or `alone`.
        query: The query's id, or the first of two.
        targets: Who is meant.
        sentence: What was found.
        case: Of that query.
        where: In it, in words.
    """

    law: str
    query: str
    targets: tuple[str, ...]
    sentence: str
    case: str = ""
    where: str = ""

    @classmethod
    def at(cls, question: Question, law: str, targets: tuple[str, ...], sentence: str) -> Clash:
        """A clash in the answers to a question."""
        query = question.query
        where = f"{query.operator}, {query.dtype}, point {question.point}"
        return cls(law, query.id, targets, sentence, question.case, where)


def allowed(verdict: Verdict, key: str) -> Array:
    """How far rounding alone may have moved each component of an answer; infinite where that isn't known."""
    answer = verdict.record.answer[key]
    assert answer is not None
    truth = verdict.right(key)
    if truth is None or truth.shape != answer.shape:
        return np.full(answer.shape, np.inf)
    mirrored = verdict.convention(key) == CONJUGATE
    bound = verdict.oracle.allowed(key, verdict.question.query.dtype, {}, mirrored=mirrored).bound
    return bound if set(truth.counts) <= {"number"} else np.where(truth.kind == "number", bound, np.inf)


def _bound(verdict: Verdict, key: str, truth: Truth) -> Array:
    oracle = verdict.oracle
    sigma = oracle.mirror_sigma if verdict.convention(key) == CONJUGATE else oracle.sigma
    return tolerance(truth, verdict.question.query.dtype, sigma.get(key), {}).bound


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
    return bool(near(a, b, room)[kept].all())


def same(one: Verdict, other: Verdict, key: str) -> bool | None:
    """Whether two ways of using one framework answer the same, as far as rounding allows it once.

    They compute the same thing, so neither the reference's own radius excuses them, nor that several answers are right at
    a kink. None if they can't be compared.
    """
    a, b = one.normalised(key), other.normalised(key)
    truth = one.oracle.truths.get(key)
    if a is None or b is None or truth is None:
        return None
    if a.shape != b.shape or a.shape != truth.shape:
        return False if a.shape != b.shape else None
    # What is right may be unknown; the answers themselves say of what size it is.
    centre = np.where(np.isfinite(truth.centre), truth.centre, np.where(np.isfinite(wide(a)), wide(a), 0))
    exact = replace(truth, centre=centre, radius=np.zeros(truth.shape))
    return bool(near(a, b, _bound(one, key, exact)).all())


def near(a: Array, b: Array, room: Array) -> Array:
    """Where two answers are within `room` of each other, or equal, or both no number."""
    with np.errstate(invalid="ignore"):
        close = np.abs(wide(a) - wide(b)) <= room
    return np.asarray(close | (wide(a) == wide(b)) | (np.isnan(wide(a)) & np.isnan(wide(b))))


def wide(array: Array) -> Array:
    """The array in double precision."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
