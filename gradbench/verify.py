"""Ask, answer, conclude: the three arms joined.

Cases and targets enter; a `Run` leaves, written to a record file as it goes; and from a run, its verdicts.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradbench import __version__, registry, runner
from gradbench.device import Device
from gradbench.journal import Writer, read
from gradbench.oracle import LADDER, REFERENCES
from gradbench.query import Operator, Question
from gradbench.record import Outcome, Record, Run, Status, Target
from gradbench.registry import Entry

Watch = Callable[[Target | Record], None]

HEAVY = ("tensorflow", "torch", "jax")
"""Those whose import takes longest are started first."""


def references() -> list[Entry]:
    """The references that are installed."""
    return [entry for entry in registry.installed().values() if entry.reference]


def jobs(targets: Iterable[Entry], questions: Sequence[Question], device: Device) -> list[runner.Job]:
    """What each worker is to do; references and CPU-only targets stay on the CPU."""
    found = []
    for entry in targets:
        asked = [q for q in questions if suits(entry, q)]
        where = device if device.kind in entry.devices else Device()
        if asked:
            found.append(runner.Job(entry, where, asked))
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


def run(
    questions: Sequence[Question],
    targets: Sequence[Entry],
    path: Path,
    device: Device = Device(),  # noqa: B008  # it is frozen
    timeout: float = 60.0,
    watch: Watch = lambda _event: None,
    at_once: int | None = None,
) -> Run:
    """Asks every target and every reference, and writes what happens to `path` as it happens.

    Two stages: first everybody but the high-precision reference, which is then asked what the certified one could not
    settle. If the run is interrupted, what was recorded is kept, without a footer.

    Args:
        questions: What to ask.
        targets: Whom to judge; the references are added.
        path: The record file.
        device: Where the targets run.
        timeout: Seconds a query may take.
        watch: Called with every event.
        at_once: How many workers there are at a time; twice as many as cores if None.
    """
    known = {entry.name: entry for entry in (*targets, *references())}
    late = known.pop("high-precision", None)
    records: list[Record] = []
    with path.open("w", encoding="utf-8") as stream:
        writer = Writer(stream, header(device=device.kind, remark=device.remark))
        for question in questions:
            writer.question(question)

        def keep(stage: Iterable[runner.Job]) -> None:
            with closing(runner.run(list(stage), timeout, at_once or 2 * cores())) as events:
                for event in events:
                    if isinstance(event, Target):
                        writer.target(event)
                    else:
                        writer.record(event)
                        records.append(event)
                    watch(event)

        keep(jobs(known.values(), questions, device))
        if late is not None:
            open_ = unsettled(questions, records)
            keep(jobs([late], open_, Device()))
        writer.finish()
    return read(path)


def unsettled(questions: Sequence[Question], records: Iterable[Record]) -> list[Question]:
    """The questions that the certified reference left open, in whole or in part."""
    first, vouched = LADDER[0]
    settled = {
        record.query
        for record in records
        if record.target == first
        and record.outcome is Outcome.ANSWERED
        and all(((s == vouched) | (s == Status.KINK)).all() for s in record.status.values())
    }
    return [question for question in questions if question.query.id not in settled]


__all__ = ["REFERENCES", "header", "jobs", "references", "run", "unsettled"]
