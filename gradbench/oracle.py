"""Whom to believe: the truth for one query, from what the references answered and what the case states.

A question and the references' records enter; a `Truth` for each key leaves, by the ladder: certified ball, what the
case states, high precision, finite differences. Rungs that contradict each other make the query *disputed*: then the
case is at fault (or a reference of ours), and no target is judged by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradbench.compare import FORMS, SIGMAS, ULPS, Truth, ulp
from gradbench.query import Array, Question, Stated
from gradbench.record import Outcome, Record, Status

LADDER: Final = (
    ("ball", Status.CERTIFIED),
    ("high-precision", Status.PRECISE),
    ("finite-difference", Status.ESTIMATED),
)
"""The references that may be believed, best first, with the status by which each vouches for a component."""
NOISE: Final = "noise"
REFERENCES: Final = (*(name for name, _ in LADDER), NOISE)
STATED: Final = "stated"
SHARE: Final = 1e-9
"""Where no rounding model is at hand, a stated number and a reference may differ by this much of the largest entry."""


@dataclass(frozen=True)
class Oracle:
    """What is right for one query.

    Attributes:
        truths: By key.
        sigma: By key, the standard deviation that rounding alone gives each component, where it could be modelled.
        disputes: Sentences that say which rungs contradict each other, and where.
    """

    truths: Mapping[str, Truth]
    sigma: Mapping[str, Array]
    disputes: tuple[str, ...] = ()


def consult(question: Question, records: Mapping[str, Record]) -> Oracle:
    """The oracle for one question.

    Args:
        question: With what the author states.
        records: What each reference answered, by its name.
    """
    answered = {name: record for name, record in records.items() if record.outcome is Outcome.ANSWERED}
    noise = answered.get(NOISE)
    sigma = {} if noise is None else {k: m["sigma"] for k, m in noise.margin.items() if "sigma" in m}
    shapes: dict[str, tuple[int, ...]] = {}
    for name in (*REFERENCES[::-1],):
        if name in answered:
            shapes |= {key: a.shape for key, a in answered[name].answer.items() if a is not None}
    shapes |= {key: stated.lower.shape for key, stated in question.stated.items()}
    disputes: list[str] = []
    truths: dict[str, Truth] = {}
    for key in question.query.keys:
        if key in shapes:
            truths[key] = _believe(question, key, shapes[key], answered, sigma.get(key), disputes)
    return Oracle(truths, sigma, tuple(disputes))


def _believe(
    question: Question,
    key: str,
    shape: tuple[int, ...],
    answered: Mapping[str, Record],
    sigma: Array | None,
    disputes: list[str],
) -> Truth:
    """One key's truth: each rung fills the components that those above it left open."""
    slate = _Slate(shape)
    stated = question.stated.get(key)
    order = [LADDER[0], (STATED, Status.CERTIFIED), *LADDER[1:]]
    for name, status in order:
        if name == STATED:
            if stated is not None:
                slate.state(stated, question, key, disputes)
            continue
        record = answered.get(name)
        if record is not None and record.answer.get(key) is not None:
            slate.reference(name, status, record, key)
    if stated is not None:
        slate.check(stated, sigma, question, key, disputes)
    return slate.truth()


class _Slate:
    """The truth of one array while the rungs fill it in."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        size = int(np.prod(shape))
        self.centre, self.tail, self.radius = np.full(size, np.nan), np.zeros(size), np.full(size, np.inf)
        self.lower, self.upper = np.full(size, np.nan), np.full(size, np.nan)
        self.outer = np.full((2, size), np.nan)
        self.kind = np.full(size, "unknown", dtype="U9")
        self.source = np.full(size, "", dtype="U17")
        self.choices: dict[int, tuple[float, ...]] = {}

    def reference(self, name: str, vouched: Status, record: Record, key: str) -> None:
        """Takes from a reference the components that are still open and that it vouches for."""
        answer, margin = record.answer[key], record.margin.get(key, {})
        assert answer is not None
        if answer.dtype.kind == "c" or answer.shape != self.shape:
            return
        status = record.status.get(key)
        words = np.full(self.shape, str(vouched)) if status is None else status
        words = words.reshape(-1)
        zero = np.zeros(self.shape)
        flat = {k: np.asarray(margin.get(k, zero), np.float64).reshape(-1) for k in ("tail", "radius")}
        open_ = self.source == ""
        sure = open_ & (words == vouched)
        self.centre[sure] = answer.astype(np.float64).reshape(-1)[sure]
        self.tail[sure], self.radius[sure] = flat["tail"][sure], flat["radius"][sure]
        self.kind[sure], self.source[sure] = "number", name
        kinks = open_ & (words == Status.KINK)
        if kinks.any() and {"left", "right"} <= margin.keys():
            left, right = (np.asarray(margin[side], np.float64).reshape(-1) for side in ("left", "right"))
            known = kinks & np.isfinite(left) & np.isfinite(right)
            self.lower[known], self.upper[known] = np.minimum(left, right)[known], np.maximum(left, right)[known]
            self.centre[known] = answer.astype(np.float64).reshape(-1)[known]
            self.kind[known], self.source[known], self.radius[known] = "set", name, 0.0
            if {"lower", "upper"} <= margin.keys():
                for row, side in enumerate(("lower", "upper")):
                    self.outer[row, known] = np.asarray(margin[side], np.float64).reshape(-1)[known]

    def state(self, stated: Stated, question: Question, key: str, disputes: list[str]) -> None:
        """Takes what the author states where no proof is at hand, and at kinks, where only an author can say."""
        lower, upper, slack = (np.real(getattr(stated, k)).reshape(-1) for k in ("lower", "upper", "slack"))
        proved = self.kind == "number"
        for index, word in stated.words.items():
            if word == "unconnected":
                if proved[index] and (self.centre[index] != 0 or self.radius[index] != 0):
                    disputes.append(_at(question, key, index, "the case says unconnected, and the derivative isn't 0"))
                self._take(index, "number", 0.0, 0.0)
            elif proved[index]:
                right = f"{self.source[index]} proves {self.centre[index]!r}"
                disputes.append(_at(question, key, index, f"the case says {word}, and {right}"))
            else:
                self._take(index, "infinite" if word == "infinite" else "undefined", np.inf, 0.0)
        for index in np.flatnonzero(~proved).tolist():
            if index in stated.words:
                continue
            low, high = float(lower[index]), float(upper[index])
            if self.kind[index] == "set" and not self._fits(index, low, high):
                ends = f"[{self.lower[index]!r}, {self.upper[index]!r}]"
                disputes.append(
                    _at(question, key, index, f"the case says [{low!r}, {high!r}], and {ends} is the kink's")
                )
            if index in stated.choices:
                self.choices[index] = stated.choices[index]
                self._take(index, "choice", low, 0.0)
            elif low < high:
                self.lower[index], self.upper[index] = low, high
                self._take(index, "set", (low + high) / 2, 0.0)
            elif np.isinf(low):
                self._take(index, "infinite", low, 0.0)
            elif np.isnan(low):
                self._take(index, "undefined", low, 0.0)
            else:
                self._take(index, "number", low, float(slack[index]))

    def check(self, stated: Stated, sigma: Array | None, question: Question, key: str, disputes: list[str]) -> None:
        """Holds what the case states against what a reference above it proved."""
        lower, upper, slack = (np.real(getattr(stated, k)).reshape(-1) for k in ("lower", "upper", "slack"))
        proved = (self.kind == "number") & (self.source != STATED)
        for index in np.flatnonzero(proved).tolist():
            if index in stated.words:
                continue
            truth = self.centre[index]
            numbers = stated.choices.get(index, ())
            inside = lower[index] <= truth <= upper[index] and not numbers
            away = min((abs(truth - c) for c in numbers), default=max(lower[index] - truth, truth - upper[index], 0.0))
            room = slack[index] + self.radius[index] + self._room(index, question.query.dtype, sigma)
            if not inside and not away <= room:
                said = (
                    repr(float(lower[index]))
                    if lower[index] == upper[index]
                    else f"[{lower[index]!r}, {upper[index]!r}]"
                )
                right = f"{self.source[index]} proves {float(truth)!r}"
                disputes.append(_at(question, key, index, f"the case says {said}, and {right}"))

    def _fits(self, index: int, low: float, high: float) -> bool:
        """Whether what is stated at a kink lies within the outer hull, or the one-sided slopes, of the reference."""
        outer = self.outer[:, index]
        bottom = self.lower[index] if np.isnan(outer[0]) else min(outer[0], self.lower[index])
        top = self.upper[index] if np.isnan(outer[1]) else max(outer[1], self.upper[index])
        room = SHARE * max(abs(bottom), abs(top))
        return bool(low >= bottom - room and high <= top + room)

    def _room(self, index: int, dtype: str, sigma: Array | None) -> float:
        """How far a number worked out in float64 may be off by rounding."""
        unit = float(ulp(np.array(self.centre[index]), FORMS["float64"]))
        if dtype in {"float64", "complex128"} and sigma is not None and sigma.size == self.centre.size:
            return SIGMAS * float(sigma.reshape(-1)[index]) + ULPS * unit
        finite = np.abs(self.centre[np.isfinite(self.centre)])
        return SHARE * float(finite.max(initial=0.0))

    def _take(self, index: int, kind: str, centre: float, radius: float) -> None:
        self.kind[index], self.source[index] = kind, STATED
        self.centre[index], self.tail[index], self.radius[index] = centre, 0.0, radius

    def truth(self) -> Truth:
        """What has been filled in."""
        parts = {k: getattr(self, k).reshape(self.shape) for k in ("centre", "tail", "radius", "lower", "upper")}
        kind, source = self.kind.reshape(self.shape), self.source.reshape(self.shape)
        return Truth(kind=kind, source=source, choices=dict(self.choices), **parts)


def _at(question: Question, key: str, index: int, sentence: str) -> str:
    where = f" by {key}" if key else ""
    return f"{question.place}: {question.query.operator}{where}, entry {index}: {sentence}"
