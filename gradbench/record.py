"""`Record`: what happened when one target was asked one query; and `Run`: all that was asked and happened.

The same value travels from a worker, lies on the disk (see `journal`) and is read back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from gradbench.query import Array, Question
from gradbench.wire import array_from_json, array_to_json, arrays_from_json, arrays_to_json


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

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write."""
        return {
            "name": self.name, "device": self.device, "device_name": self.device_name,
            "versions": dict(self.versions), "settings": dict(self.settings),
            "reference": self.reference, "failure": self.failure,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Target:
        """What `to_json` wrote."""
        return cls(**{key: value[key] for key in cls.__dataclass_fields__ if key in value})


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
        notes: Anything else worth keeping: evaluations, bits, probes and their seed.
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
        return {key: value for key, value in found.items() if value not in (None, {}, [], "")}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """The record that `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: The value is no record.
        """
        answer = value.get("answer", {})
        return cls(
            query=value["query"],
            outcome=Outcome(value["outcome"]),
            answer={k: None if a is None else array_from_json(a) for k, a in answer.items()},
            target=value.get("target", ""),
            device=value.get("device", "cpu"),
            environment=value.get("environment", ""),
            margin={k: arrays_from_json(m) for k, m in value.get("margin", {}).items()},
            status={k: _status_from_json(s) for k, s in value.get("status", {}).items()},
            notes=value.get("notes", {}),
            first=value.get("first"),
            seconds=value.get("seconds"),
            via=value.get("via", ""),
            composite=tuple(value.get("composite", ())),
            repeatable=value.get("repeatable"),
            mutated=tuple(value.get("mutated", ())),
            error=value.get("error", ""),
            message=value.get("message", ""),
        )


def _status_to_json(status: Array) -> dict[str, Any]:
    words = status.reshape(-1).tolist()
    same = len(set(words)) == 1
    return {"shape": list(status.shape), "words": words[0] if same else words}


def _status_from_json(value: Mapping[str, Any]) -> Array:
    shape, words = tuple(value["shape"]), value["words"]
    known = {str(s) for s in Status}
    if not set([words] if isinstance(words, str) else words) <= known:
        message = f"unknown status among {words!r}"
        raise ValueError(message)
    if isinstance(words, str):
        return np.full(shape, words, dtype="U11")
    return np.array(words, dtype="U11").reshape(shape)


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
