"""Whom to believe: the truth for one query, from what the references answered and what the case states.

A question and the references' records enter; a `Truth` for each key leaves, by the ladder: certified ball, what the
case states, high precision, finite differences. Rungs that contradict each other make the query *disputed*: then the
case is at fault (or a reference of ours), and no target is judged by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from gradbench.compare import FORMS, SIGMAS, ULPS, Tolerance, Truth, told, tolerance, ulp
from gradbench.query import Array, Operator, Question, Stated
from gradbench.record import Outcome, Record, Status
from gradbench.sketch import Sketch

LADDER: Final = (
    ("ball", Status.CERTIFIED),
    ("high-precision", Status.PRECISE),
    ("finite-difference", Status.ESTIMATED),
)
"""The references that may be believed, best first, with the status by which each vouches for a component."""
NOISE: Final = "noise"
REFERENCES: Final = (*(name for name, _ in LADDER), NOISE)
STATED: Final = "stated"
CONJUGATED: Final = frozenset({Operator.GRADIENT, Operator.JACOBIAN, Operator.VJP, Operator.HVP, Operator.PARTIAL})
"""What has two conventions by complex inputs, each of them the conjugate of the other."""
SHARE: Final = 1e-9
"""Where no rounding model is at hand, a stated number and a reference may differ by this much of the largest entry."""


@dataclass(frozen=True)
class Oracle:
    """What is right for one query.

    Attributes:
        truths: By key.
        sigma: By key, the standard deviation that rounding alone gives each component, where it could be modelled.
        disputes: Sentences that say which rungs contradict each other, and where.
        mirrors: By key, what is right in the other convention of complex derivatives, where that is something else.
        mirror_sigma: The same as `sigma`, for those.
        sketches: By key, what is known of an array that is too large to be told entry by entry.
    """

    truths: Mapping[str, Truth]
    sigma: Mapping[str, Array]
    disputes: tuple[str, ...] = ()
    mirrors: Mapping[str, Truth] = field(default_factory=dict)
    mirror_sigma: Mapping[str, Array] = field(default_factory=dict)
    sketches: Mapping[str, Sketch] = field(default_factory=dict)

    def allowed(self, key: str, dtype: str, own: Mapping[str, Any], *, mirrored: bool = False) -> Tolerance:
        """How far an answer under this key may be from what is right, in our convention or in the other one."""
        asked = (key, dtype, told(own), mirrored)
        if asked not in self._tolerances:
            truths, sigma = (self.mirrors, self.mirror_sigma) if mirrored else (self.truths, self.sigma)
            self._tolerances[asked] = tolerance(truths[key], dtype, sigma.get(key), own)
        return self._tolerances[asked]

    @cached_property
    def _tolerances(self) -> dict[Any, Tolerance]:
        return {}


def consult(question: Question, records: Mapping[str, Record]) -> Oracle:
    """The oracle for one question.

    Args:
        question: With what the author states.
        records: What each reference answered, by its name.
    """
    answered = {name: record for name, record in records.items() if record.outcome is Outcome.ANSWERED}
    noise = answered.get(NOISE)
    sigma = {} if noise is None else {k: m["sigma"] for k, m in noise.margin.items() if "sigma" in m}
    turned = {} if noise is None else {k: m["mirror_sigma"] for k, m in noise.margin.items() if "mirror_sigma" in m}
    shapes: dict[str, tuple[int, ...]] = {}
    for name in (*REFERENCES[::-1],):
        if name in answered:
            shapes |= {key: a.shape for key, a in answered[name].answer.items() if a is not None}
    shapes |= {key: stated.lower.shape for key, stated in question.stated.items()}
    disputes: list[str] = []
    truths: dict[str, Truth] = {}
    sketches = sketched(question, answered.get(LADDER[-1][0]))
    told = {key for name, _ in LADDER if name in answered for key in answered[name].answer} | set(question.stated)
    for key in question.query.keys:
        # Where there is nothing but a sketch, a million unknown entries say nothing.
        if key in shapes and (key in told or key not in sketches):
            truths[key] = _believe(question, key, shapes[key], answered, sigma.get(key), disputes)
    mirrors = {key: _mirror(question, key, truth, answered) for key, truth in truths.items()}
    known = {key: mirror for key, mirror in mirrors.items() if mirror is not None}
    return Oracle(truths, sigma, tuple(disputes), known, {**sigma, **turned}, sketches)


def sketched(question: Question, record: Record | None) -> dict[str, Sketch]:
    """The sketches that a record holds, by key."""
    if record is None:
        return {}
    notes = record.notes.get("sketch", {})
    return {
        key: Sketch.kept(margin, record.status[key], notes[key], question.query.inputs[key].shape)
        for key, margin in record.margin.items()
        if "sketch" in margin and key in notes and key in question.query.inputs
    }


def _mirror(question: Question, key: str, truth: Truth, answered: Mapping[str, Record]) -> Truth | None:
    """What is right under the other convention; None where that is the same, or not all of it is known."""
    query, name = question.query, key.rpartition(",")[2]
    if query.operator not in CONJUGATED:
        return None
    if query.twin is None:
        if truth.centre.dtype.kind != "c" or (name in query.inputs and query.inputs[name].dtype.kind != "c"):
            return None
        choices = {i: tuple(map(np.conj, numbers)) for i, numbers in truth.choices.items()}
        return replace(truth, centre=np.conj(truth.centre), tail=np.conj(truth.tail), choices=choices)
    # The cotangent would have to be conjugated too, so the references were asked again.
    slate = _Slate(truth.shape)
    for rung, status in LADDER:
        record = answered.get(rung)
        parts = {} if record is None else record.margin.get(key, {})
        if record is not None and "mirror" in parts:
            words = np.where(np.isnan(parts["mirror"]), "", record.status.get(key, np.array(status)))
            margin = {"radius": parts.get("mirror_radius", np.zeros(truth.shape))}
            slate.reference(rung, status, {key: parts["mirror"]}, {key: margin}, {key: words}, key)
    mirror = slate.truth()
    return mirror if (mirror.kind == "number").all() and (truth.kind == "number").all() else None


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
            slate.reference(name, status, record.answer, record.margin, record.status, key)
    if stated is not None:
        slate.check(stated, sigma, question, key, disputes)
    return slate.truth()


class _Slate:
    """The truth of one array while the rungs fill it in."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        size = int(np.prod(shape))
        self.centre, self.tail = np.full(size, np.nan, np.complex128), np.zeros(size, np.complex128)
        self.radius = np.full(size, np.inf)
        self.lower, self.upper = np.full(size, np.nan), np.full(size, np.nan)
        self.outer = np.full((2, size), np.nan)
        self.kind = np.full(size, "unknown", dtype="U9")
        self.source = np.full(size, "", dtype="U17")
        self.choices: dict[int, tuple[complex, ...]] = {}

    def reference(
        self,
        name: str,
        vouched: Status,
        answers: Mapping[str, Array | None],
        margins: Mapping[str, Mapping[str, Array]],
        statuses: Mapping[str, Array],
        key: str,
    ) -> None:
        """Takes from a reference's record the components that are still open and that it vouches for."""
        answer, margin = answers[key], margins.get(key, {})
        assert answer is not None
        if answer.shape != self.shape:
            return
        given = answer.astype(np.complex128).reshape(-1)
        words = np.broadcast_to(statuses.get(key, np.array(vouched)), self.shape).reshape(-1)
        zero = np.zeros(self.shape)
        tail, radius = (np.asarray(margin.get(k, zero)).reshape(-1) for k in ("tail", "radius"))
        open_ = self.source == ""
        sure = open_ & (words == vouched)
        self.centre[sure], self.tail[sure], self.radius[sure] = given[sure], tail[sure], radius[sure].astype(np.float64)
        self.kind[sure], self.source[sure] = "number", name
        kinks = open_ & (words == Status.KINK)
        if kinks.any() and {"left", "right"} <= margin.keys():
            sides = [np.asarray(margin[side]).reshape(-1) for side in ("left", "right")]
            # Complex slopes have no order, so that no set of them lies between two.
            known = kinks & np.isfinite(sides).all(axis=0) & (np.imag(sides) == 0).all(axis=0) & (given.imag == 0)
            left, right = np.real(sides)
            self.lower[known], self.upper[known] = np.minimum(left, right)[known], np.maximum(left, right)[known]
            self.centre[known] = given[known]
            self.kind[known], self.source[known], self.radius[known] = "set", name, 0.0
            if {"lower", "upper"} <= margin.keys():
                for row, side in enumerate(("lower", "upper")):
                    self.outer[row, known] = np.real(margin[side]).reshape(-1)[known]

    def state(self, stated: Stated, question: Question, key: str, disputes: list[str]) -> None:
        """Takes what the author states where no proof is at hand, and at kinks, where only an author can say."""
        lower, upper, slack = (getattr(stated, k).reshape(-1) for k in ("lower", "upper", "slack"))
        proved = self.kind == "number"
        for index, word in stated.words.items():
            if word == "unconnected":
                if proved[index] and (self.centre[index] != 0 or self.radius[index] != 0):
                    disputes.append(_at(question, key, index, "the case says unconnected, and the derivative isn't 0"))
                self._take(index, "number", 0.0, 0.0)
            elif proved[index]:
                right = f"{self.source[index]} proves {_plain(self.centre[index])!r}"
                disputes.append(_at(question, key, index, f"the case says {word}, and {right}"))
            else:
                self._take(index, "infinite" if word == "infinite" else "undefined", np.inf, 0.0)
        for index in np.flatnonzero(~proved).tolist():
            if index in stated.words:
                continue
            low, high = _plain(lower[index]), _plain(upper[index])
            if self.kind[index] == "set" and not self._fits(index, low, high):
                ends = f"[{self.lower[index]!r}, {self.upper[index]!r}]"
                disputes.append(
                    _at(question, key, index, f"the case says [{low!r}, {high!r}], and {ends} is the kink's")
                )
            if index in stated.choices:
                self.choices[index] = stated.choices[index]
                self._take(index, "choice", low, 0.0)
            elif isinstance(low, float) and isinstance(high, float) and low < high:
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
        lower, upper, slack = (getattr(stated, k).reshape(-1) for k in ("lower", "upper", "slack"))
        proved = (self.kind == "number") & (self.source != STATED)
        for index in np.flatnonzero(proved).tolist():
            if index in stated.words:
                continue
            truth, low, high = _plain(self.centre[index]), _plain(lower[index]), _plain(upper[index])
            numbers = stated.choices.get(index, ())
            room = slack[index] + self.radius[index] + self._room(index, question.query.dtype, sigma)
            if not _away(truth, low, high, numbers) <= room:
                said = repr(low) if low == high else f"[{low!r}, {high!r}]"
                right = f"{self.source[index]} proves {truth!r}"
                if question.query.operator in CONJUGATED and _away(truth.conjugate(), low, high, numbers) <= room:
                    right += ", its conjugate; by z = x + iy the derivative is df/dx - i df/dy here"
                disputes.append(_at(question, key, index, f"the case says {said}, and {right}"))

    def _fits(self, index: int, low: complex, high: complex) -> bool:
        """Whether what is stated at a kink lies within the outer hull, or the one-sided slopes, of the reference."""
        if isinstance(low, complex) or isinstance(high, complex):
            return False
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

    def _take(self, index: int, kind: str, centre: complex, radius: float) -> None:
        self.kind[index], self.source[index] = kind, STATED
        self.centre[index], self.tail[index], self.radius[index] = centre, 0.0, radius

    def truth(self) -> Truth:
        """What has been filled in; complex if some of it isn't real."""
        is_real = not (self.centre.imag.any() or self.tail.imag.any())
        parts = {k: getattr(self, k).reshape(self.shape) for k in ("centre", "tail", "radius", "lower", "upper")}
        if is_real:
            parts |= {k: parts[k].real.copy() for k in ("centre", "tail")}
        kind, source = self.kind.reshape(self.shape), self.source.reshape(self.shape)
        return Truth(kind=kind, source=source, choices=dict(self.choices), **parts)


def _plain(number: Any) -> complex:
    """A Python number, a float where the imaginary part is 0."""
    return complex(number) if np.imag(number) else float(np.real(number))


def _away(truth: complex, low: complex, high: complex, choices: tuple[complex, ...]) -> float:
    """From the truth to what is stated: some numbers, one number, or an interval of real ones."""
    if choices:
        return min(abs(truth - choice) for choice in choices)
    if truth == low:
        return 0.0
    if isinstance(low, complex) or isinstance(high, complex):
        return abs(truth - low)
    return math.hypot(max(low - truth.real, truth.real - high, 0.0), truth.imag)


def _at(question: Question, key: str, index: int, sentence: str) -> str:
    where = f" by {key}" if key else ""
    return f"{question.place}: {question.query.operator}{where}, entry {index}: {sentence}"
