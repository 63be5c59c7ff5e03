"""`Record`: what happened when one target was asked one query; and `Run`: all that was asked and happened.

The same value travels from a worker, lies on the disk (see `journal`) and is read back.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np

from gradbench.field import Fields, text_of
from gradbench.query import Array, Question
from gradbench.wire import array_from_json, array_to_json, arrays_from_json, arrays_to_json, shape_from_json


class Outcome(StrEnum):
    """What happened, without any opinion of it."""

    ANSWERED = "answered"
    UNSUPPORTED = "unsupported"
    RAISED = "raised"
    TIMED_OUT = "timed-out"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out-of-memory"


class Status(StrEnum):
    """What a reference says of one component of its answer."""

    CERTIFIED = "certified"  # the truth lies within the radius: proved
    PRECISE = "precise"  # computed with many digits; the radius is an estimate
    ESTIMATED = "estimated"  # finite differences; the radius is a measured error bar
    KINK = "kink"  # no derivative; `left` and `right` hold the one-sided ones, `lower` and `upper` their outer hull
    HOELDER = "hoelder"  # the one-sided slopes grow without bound, like |h|^p with p < 1
    SINGULAR = "singular"  # the derivative is infinite or the function is not defined around the point
    UNDECIDED = "undecided"  # not settled within the budget
    UNRESOLVED = "unresolved"  # the radius is larger than the value
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Target:
    """Who could be asked: one target on one device, with everything about it that changes numbers.

    Attributes:
        name: As on the command line: `torch`, `jax:jit`.
        device: `cpu` or `cuda`.
        device_name: What the device calls itself.
        versions: Of the framework and what it computes with, by distribution.
        settings: As the framework reports them after they were made.
        reference: Whether it is a reference rather than somebody to be judged.
        failure: Why it could not start; empty if it did.
    """

    name: str
    device: str = "cpu"
    device_name: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    reference: bool = False
    failure: str = ""

    @property
    def environment(self) -> str:
        """A fingerprint that tells this target from one of another version, device or setting: 12 digits."""
        content = {key: value for key, value in self.to_json().items() if key != "failure"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def rank(self) -> tuple[bool, str, str, str]:
        """Where it stands among others in a file that was put together: those that are judged first, by name."""
        return self.reference, self.name, self.device, self.environment

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write."""
        return {
            "name": self.name, "device": self.device, "device_name": self.device_name,
            "versions": dict(self.versions), "settings": dict(self.settings),
            "reference": self.reference, "failure": self.failure,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Target:
        """What `to_json` wrote.

        Raises:
            ValueError: The value is no target.
        """
        fields = Fields(value, "a target")
        return cls(
            name=fields.name("name"),
            device=fields.name("device", "cpu"),
            device_name=fields.text("device_name", ""),
            versions=fields.object("versions", text_of),
            settings=fields.plain("settings"),
            reference=bool(fields.flag("reference", default=False)),
            failure=fields.text("failure", ""),
        )


@dataclass(frozen=True)
class Record:
    """What happened to one query at one target.

    Attributes:
        query: The query's id.
        target, device, environment: Who was asked; filled in by the process that asks.
        outcome: What happened.
        answer: An array for each key, in the dtype it came in; None where the target answered None.
        margin: For a reference: by key, named arrays of the answer's shape: `radius`, and `left`, `right`, `lower`,
            `upper` where there is a kink. Under `sketch`, with a `radius` of that shape, what stands for an answer that is
            too large: see `Sketch`.
        status: For a reference: by key, a `Status` for each component as an array of strings.
        notes: Anything else worth keeping: evaluations, bits, probes and their seed. Under `discrete`, for each input of
            whole numbers or truth values, what the target says of the derivative by it, as an `answer` in words (`None`,
            `zeros`, `float0`, `a number`, `an error`, `unsupported`) and a `message`.
        first: Seconds of the first call of this function and shape, with tracing and compiling.
        seconds: Seconds of a later call; None if there was none.
        via: The operator the answer was derived from, where it is not the target's own.
        composite: Those primitives of the program that the adapter puts together from several calls.
        repeatable: Whether a second call gave the same bits; None if there was none.
        mutated: The inputs that came back changed.
        error: The class of the exception, or the name of the signal.
        message: What it said, and the last lines of standard error after a crash.
    """

    query: str
    outcome: Outcome
    answer: Mapping[str, Array | None] = field(default_factory=dict)
    target: str = ""
    device: str = "cpu"
    environment: str = ""
    margin: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    status: Mapping[str, Array] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    first: float | None = None
    seconds: float | None = None
    via: str = ""
    composite: tuple[str, ...] = ()
    repeatable: bool | None = None
    mutated: tuple[str, ...] = ()
    error: str = ""
    message: str = ""

    def of(self, target: Target) -> Record:
        """The same, with who was asked."""
        return replace(self, target=target.name, device=target.device, environment=target.environment)

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write; empty parts are left out."""
        found: dict[str, Any] = {
            "query": self.query,
            "target": self.target,
            "device": self.device,
            "environment": self.environment,
            "outcome": str(self.outcome),
            "answer": {k: None if a is None else array_to_json(a) for k, a in self.answer.items()},
            "margin": {k: arrays_to_json(m) for k, m in self.margin.items()},
            "status": {k: _status_to_json(s) for k, s in self.status.items()},
            "notes": dict(self.notes),
            "first": self.first,
            "seconds": self.seconds,
            "via": self.via,
            "composite": list(self.composite),
            "repeatable": self.repeatable,
            "mutated": list(self.mutated),
            "error": self.error,
            "message": self.message,
        }
        return {key: value for key, value in found.items() if value or value is False or value == 0}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """The record that `to_json` wrote.

        Raises:
            ValueError: The value is no record.
        """
        fields = Fields(value, "a record")
        found = cls(
            query=fields.name("query"),
            outcome=Outcome(fields.text("outcome")),
            answer=fields.object("answer", lambda a: None if a is None else array_from_json(a)),
            target=fields.name("target", ""),
            device=fields.name("device", "cpu"),
            environment=fields.name("environment", ""),
            margin=fields.object("margin", arrays_from_json),
            status=fields.object("status", _status_from_json),
            notes=fields.plain("notes"),
            first=fields.number("first"),
            seconds=fields.number("seconds"),
            via=fields.text("via", ""),
            composite=fields.texts("composite"),
            repeatable=fields.flag("repeatable", None),
            mutated=fields.texts("mutated"),
            error=fields.text("error", ""),
            message=fields.text("message", ""),
        )
        found.check()
        return found

    def check(self) -> None:
        """Raises if its parts don't fit together, so that whoever judges may take them to.

        Raises:
            ValueError: A margin or a status of another shape than what it is of, or notes that aren't what they must be.
        """
        for key, parts in self.margin.items():
            beside = None if "sketch" in parts else self.answer.get(key)
            one = next(iter(parts.values()), beside)
            shapes = {
                array.shape for array in (*parts.values(), one, beside, self.status.get(key)) if array is not None
            }
            if len(shapes) > 1:
                raise ValueError(f"the margin of {key!r} is of another shape than what it is of")
            for name, array in parts.items():
                if array.dtype.name not in (("float64", "float32") if name in _REAL else _WIDE):
                    raise ValueError(f"the {name!r} of {key!r} is in {array.dtype.name}")
        for key, status in self.status.items():
            answer = self.answer.get(key)
            if key not in self.margin and (answer is None or answer.shape != status.shape):
                raise ValueError(f"the status of {key!r} is of another shape than what it is of")
        if not self.notes:
            return
        notes = Fields(dict(self.notes), "notes")
        for key, count in notes.object("sketch", _sums).items():
            margin = self.margin.get(key, {})
            if (
                not {"sketch", "radius"} <= margin.keys()
                or key not in self.status
                or margin["sketch"].shape != (count,)
            ):
                raise ValueError(f"the sketch of {key!r} has other than {count} sums")
        notes.object("discrete", lambda said: Fields({"said": said}, "notes").object("said", text_of))
        notes.object("remarks", text_of)


def meet(targets: dict[str, Target], target: Target) -> None:
    """Adds a target to those by environment; once it has come up, that it couldn't before is forgotten."""
    targets[target.environment] = target
    if not target.failure:
        for other in [o for o in targets.values() if o.failure and (o.name, o.device) == (target.name, target.device)]:
            del targets[other.environment]


def _status_to_json(status: Array) -> dict[str, Any]:
    words = status.reshape(-1).tolist()
    same = len(set(words)) == 1
    return {"shape": list(status.shape), "words": words[0] if same else words}


def _sums(value: Any) -> int:
    """How many sums a sketch has, by what a record notes of it."""
    fields = Fields(value, "the notes of a sketch")
    for key in ("seed", "remark"):
        fields.text(key, "")
    for key in ("visible", "missed"):
        fields.number(key)
    bits = fields.each("bits", lambda bit: Fields({"bit": bit}, "a sketch").whole("bit", 0, 62))
    return fields.whole("whole", 1, 99) + len(bits)


_REAL: Final = frozenset({"radius", "sigma", "mirror_sigma", "mirror_radius", "spread", "sketch"})
_WIDE: Final = frozenset({"float64", "float32", "complex128"})
"""The margins that are distances, or sums of real numbers."""


def _status_from_json(value: Any) -> Array:
    fields = Fields(value, "a status")
    shape, words = shape_from_json(fields.get("shape")), fields.get("words")
    given = (words,) if isinstance(words, str) else fields.texts("words")
    unknown = set(given) - {str(s) for s in Status}
    if unknown:
        message = f"unknown status {min(unknown)[:40]!r}"
        raise ValueError(message)
    if not isinstance(words, str) and len(given) != math.prod(shape):
        message = f"{len(given)} words for a status of shape {list(shape)}"
        raise ValueError(message)
    if isinstance(words, str):
        # A word takes 44 bytes, and most statuses are one word throughout.
        return np.broadcast_to(np.array(words, dtype="U11"), shape)
    return np.array(words, dtype="U11").reshape(shape)


Spot = tuple[str, int, str]
"""A case, one of its points, and a number format."""


def spot(question: Question) -> Spot:
    """What a question is about; those about the same are held against each other, so they come one after the other."""
    return question.case, question.point, question.query.dtype


class Recorded(Protocol):
    """A run as whoever concludes from it needs it: a `Run` in memory, or an `index.Index` of files."""

    @property
    def header(self) -> Mapping[str, Any]:
        """When, where and with what the run was started."""

    @property
    def targets(self) -> Mapping[str, Target]:
        """By environment."""

    @property
    def complete(self) -> bool:
        """Whether nothing was cut off."""

    @property
    def count(self) -> int:
        """How many records there are."""

    def answers(self) -> Iterator[tuple[Question, list[Record]]]:
        """Every question with its records; the questions of one `spot` one after the other."""


@dataclass(frozen=True)
class Run:
    """Everything a record file holds.

    Attributes:
        header: When, where and with what the run was started.
        questions: By query id.
        targets: By environment; those that could not start are here too, with the reason.
        records: One for each query and target.
        complete: Whether the file has its footer.
    """

    header: Mapping[str, Any]
    questions: Mapping[str, Question]
    targets: Mapping[str, Target]
    records: Sequence[Record]
    complete: bool = True

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self.records)

    def answers(self) -> Iterator[tuple[Question, list[Record]]]:
        """Every question with its records; the questions of one `spot` one after the other."""
        records: dict[str, list[Record]] = {key: [] for key in self.questions}
        for record in self.records:
            if record.query in records:
                records[record.query].append(record)
        spots: dict[Spot, list[Question]] = {}
        for question in self.questions.values():
            spots.setdefault(spot(question), []).append(question)
        for questions in spots.values():
            yield from ((question, records[question.query.id]) for question in questions)
