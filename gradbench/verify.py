"""Ask, answer, conclude: the three arms joined.

Questions and targets enter; a record file is written as the answers come.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradbench import __version__, identity, registry
from gradbench.cache import Cache
from gradbench.device import Device
from gradbench.errors import CannotWrite
from gradbench.keeper import Keeper
from gradbench.oracle import LADDER, REFERENCES
from gradbench.process import Job, Limits
from gradbench.query import Operator, Question
from gradbench.record import Record, Target
from gradbench.registry import Entry
from gradbench.resume import Settled, begun
from gradbench.writer import Writer

Watch = Callable[[Target | Record], None]

HEAVY = ("tensorflow", "torch", "jax")
"""Those whose import takes longest are started first."""


def references() -> list[Entry]:
    """The references that are installed."""
    return [entry for entry in registry.installed().values() if entry.reference]


def jobs(targets: Iterable[Entry], questions: Sequence[Question], device: Device) -> list[Job]:
    """What each worker is to do; references and CPU-only targets stay on the CPU."""
    found = []
    for entry in targets:
        asked = [q for q in questions if suits(entry, q)]
        where = device if device.kind in entry.devices else Device()
        if asked:
            found.append(Job(entry, where, asked))
    order = {name: i for i, name in enumerate(HEAVY)}
    return sorted(found, key=lambda job: order.get(job.entry.framework, len(order)))


def suits(entry: Entry, question: Question) -> bool:
    """Whether a question is one for this target at all."""
    if entry.operators and question.query.operator not in entry.operators:
        return False
    return not entry.by_hand or is_by_hand(question)


def is_by_hand(question: Question) -> bool:
    """Whether the case has this derivative, or one that gives it, written by hand."""
    rules = question.query.rules
    # A reverse pass gives the gradient too, at a cotangent of 1; and whoever has one has the function.
    given = {*rules, Operator.VALUE, *([Operator.GRADIENT] if Operator.VJP in rules else [])}
    return bool(rules) and question.query.operator in given


def cores() -> int:
    """How many cores this process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(usable(0)) if usable else os.cpu_count() or 1


def header(**facts: Any) -> dict[str, Any]:
    """When, where and with what a run was started."""
    return {
        "gradbench": __version__,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "command": ["gradbench", *sys.argv[1:]],
        **facts,
    }


@dataclass(frozen=True)
class Setup:
    """How a run is done.

    Attributes:
        device: Where the targets run.
        limits: How long to wait for an answer, and how much memory to allow.
        at_once: How many workers there are at a time; twice as many as cores if None.
        workers: How many share the questions of a target.
        cache: Answers that are known already; None to ask everything.
        resume: Whether to go on with the file if it was begun.
        shard: Which part of all questions these are, as `1/4`; empty if they are all.
    """

    device: Device = field(default_factory=Device)
    limits: Limits = field(default_factory=Limits)
    at_once: int | None = None
    workers: int = 1
    cache: Cache | None = None
    resume: bool = False
    shard: str = ""


def run(
    questions: Sequence[Question],
    targets: Sequence[Entry],
    path: Path,
    setup: Setup = Setup(),  # it is frozen
    watch: Watch = lambda _event: None,
) -> None:
    """Asks every target and every reference, and writes what happens to `path` as it happens.

    Two stages: first everybody but the high-precision reference, which is then asked what the certified one could not
    settle. If the run is interrupted, what was recorded is kept, without a footer.

    Args:
        questions: What to ask.
        targets: Whom to judge; the references are added.
        path: The record file.
        setup: How.
        watch: Called with every event.

    Raises:
        CannotWrite: The file takes no more; what it holds is whole lines.
        CannotResume: The file holds another run than this.
    """
    known = {entry.name: entry for entry in (*targets, *references())}
    late = known.pop("high-precision", None)
    settled = Settled(*LADDER[0])
    asked = jobs(known.values(), questions, setup.device)
    asked = [replace(job, workers=1 if job.entry.reference else setup.workers) for job in asked]
    last = [] if late is None else jobs([late], questions, Device())
    identities = {_name(job): identity.fingerprint(job.entry, job.device) for job in (*asked, *last)}
    old = begun(path, settled) if setup.resume else None
    facts = {"device": setup.device.kind, "shard": setup.shard}
    if old is not None:
        old.check(questions, identities, facts)
    if old is None or not old.complete:
        try:
            stream = path.open("wb", buffering=0) if old is None else old.opened()
        except OSError as error:
            raise CannotWrite(path, error) from None
        with stream:
            head = header(remark=setup.device.remark, identities=identities, **facts) if old is None else None
            writer = Writer(stream, head, old.count if old else 0)
            for question in questions:
                if old is None or question.query.id not in old.digests:
                    writer.question(question)
            keeper = Keeper(writer, old, identities, setup.cache, settled, watch)
            at_once = setup.at_once or 2 * cores()
            try:
                keeper.run(asked, setup.limits, at_once)
                if last:
                    rest = [replace(job, questions=settled.open(job.questions)) for job in last]
                    keeper.run(rest, setup.limits, at_once)
            finally:
                if setup.cache is not None:  # what an interrupted run has found is kept as well
                    setup.cache.close()
            writer.finish()


def _name(job: Job) -> str:
    return f"{job.entry.name}@{job.device.kind}"


__all__ = ["REFERENCES", "Setup", "header", "jobs", "references", "run"]
