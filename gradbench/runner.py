"""Spawn, ask, time out, restart: exactly one record for each query of each target that could start.

Questions and targets enter; events leave as they happen: a `Target` when a worker is ready or could not start, a
`Record` for each answer. Each target has one process with one query in flight, so that a crash or a hang costs the
query that caused it and nothing else. Nothing here imports the worker: it is started as a program.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any, Final

from gradbench.device import Device
from gradbench.query import Question
from gradbench.record import Outcome, Record, Target
from gradbench.registry import Entry

START_TIMEOUT: Final = 180.0
"""Seconds a worker may take to import its framework."""
RESTARTS: Final = 10
"""How often a worker may be started again before its remaining queries are given up."""
_TAIL: Final = 4_000


class WorkerDied(Exception):  # it becomes a record, never a message to a user
    """The worker's process ended or had to be ended while a query was in flight."""

    def __init__(self, outcome: Outcome, error: str, message: str) -> None:
        self.outcome, self.error, self.message = outcome, error, message
        super().__init__(message)


@dataclass(frozen=True)
class Job:
    """What one worker is to do.

    Attributes:
        entry: The target.
        device: Where it runs.
        questions: What it is asked, in order.
        python: The interpreter it runs under.
    """

    entry: Entry
    device: Device
    questions: Sequence[Question]
    python: str = sys.executable


@dataclass
class Worker:
    """A worker's process, seen from the outside."""

    job: Job
    started: float = field(default_factory=time.monotonic)
    process: subprocess.Popen[bytes] = field(init=False)
    errors: IO[bytes] = field(init=False)
    buffer: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `end`
        self.process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [self.job.python, "-m", "gradbench.worker", self.job.entry.spec, self.job.device.kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=self.job.device.environment(os.environ),
            start_new_session=True,  # so that a kill takes whatever it has started with it, and Ctrl-C doesn't
        )
        self.selector = selectors.DefaultSelector()
        assert self.process.stdout is not None
        self.selector.register(self.process.stdout, selectors.EVENT_READ)

    def ready(self) -> dict[str, Any]:
        """What the worker says of itself.

        Raises:
            WorkerDied: It could not start.
        """
        answer = self.receive(START_TIMEOUT, "start")
        if "failed" in answer:
            raise WorkerDied(Outcome.RAISED, "", str(answer["failed"]))
        return dict(answer["ready"])

    def ask(self, question: Question, timeout: float) -> Record:
        """The record of one query.

        Raises:
            WorkerDied: No answer came.
        """
        query = question.query if self.job.entry.by_hand else replace(question.query, rules={})
        line = json.dumps({"query": query.to_json()}, allow_nan=False, separators=(",", ":"))
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.died("answer")
        return Record.from_json(self.receive(timeout, "answer")["record"])

    def receive(self, timeout: float, verb: str) -> dict[str, Any]:
        """The next line. Raises `WorkerDied`."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            if not self.selector.select(max(0.0, deadline - time.monotonic())):
                self.end()
                raise WorkerDied(Outcome.TIMED_OUT, "", f"no {verb} within {timeout:g} s\n{self.tail()}".strip())
            assert self.process.stdout is not None
            chunk = os.read(self.process.stdout.fileno(), 1 << 20)
            if not chunk:
                self.died(verb)
            self.buffer += chunk
        line, _, rest = bytes(self.buffer).partition(b"\n")
        self.buffer = bytearray(rest)
        return dict(json.loads(line))

    def died(self, verb: str) -> None:
        """Raises `WorkerDied` with what is known of the end."""
        code = self.process.wait()
        reason = signal.Signals(-code).name if code < 0 else f"exit {code}"
        raise WorkerDied(Outcome.CRASHED, reason, f"it ended with {reason} before an {verb}\n{self.tail()}".strip())

    def tail(self) -> str:
        """The last lines of standard error."""
        if self.errors.closed:
            return ""
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - _TAIL))
        return self.errors.read().decode(errors="replace").strip()

    def end(self) -> None:
        """Ends the process and all it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.selector.close()

    def close(self) -> None:
        """Lets an idle worker go, and makes sure of it."""
        self.end()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()


Event = Target | Record


def run(jobs: Sequence[Job], timeout: float = 60.0, at_once: int | None = None) -> Generator[Event, None, None]:
    """Runs jobs side by side and yields what happens. Closing the iterator ends every worker.

    Args:
        jobs: One for each target and device; the first are started first.
        timeout: Seconds a query may take.
        at_once: How many workers there are at a time; all of them if None.
    """
    events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()
    workers: dict[int, Worker] = {}

    waiting = iter(range(len(jobs)))
    turn = threading.Lock()

    def work() -> None:
        try:
            while not stop.is_set():
                with turn:
                    number = next(waiting, None)
                if number is None:
                    return
                for event in _job(jobs[number], timeout, lambda w, n=number: workers.__setitem__(n, w), stop):
                    events.put(event)
        except BaseException as error:  # noqa: BLE001  # a fault of ours must not hang the run
            events.put(error)
        finally:
            events.put(None)

    size = len(jobs) if at_once is None else min(at_once, len(jobs))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(size)]
    for thread in threads:
        thread.start()
    left = len(threads)
    try:
        while left:
            event = events.get()
            if event is None:
                left -= 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event
    finally:
        stop.set()
        for worker in list(workers.values()):
            worker.end()
        for thread in threads:
            thread.join(timeout=10)


def _job(job: Job, timeout: float, keep: Any, stop: threading.Event) -> Iterator[Event]:
    """The events of one target."""
    target = Target(job.entry.name, job.device.kind, reference=job.entry.reference)
    restarts = 0
    worker: Worker | None = None
    known = False
    try:
        for question in job.questions:
            if stop.is_set():
                return
            try:
                if worker is None:
                    worker = Worker(job)
                    keep(worker)
                    target = _described(target, worker.ready())
                    if not known:
                        known = True
                        yield target
                record = worker.ask(question, timeout)
            except WorkerDied as death:
                if stop.is_set():
                    return
                if worker is not None:
                    worker.close()
                worker = None
                if not known:
                    yield replace(target, failure=death.message or death.error)
                    return
                record = Record(question.query.id, death.outcome, error=death.error, message=death.message)
                restarts += 1
                if restarts > RESTARTS:
                    yield record.of(target)
                    yield from _given_up(job, question, target)
                    return
            yield record.of(target)
    finally:
        if worker is not None:
            worker.close()


def _given_up(job: Job, last: Question, target: Target) -> Iterator[Record]:
    """Records for what was never asked, because the worker kept dying."""
    begun = False
    for question in job.questions:
        if begun:
            message = f"not asked: the worker had died {RESTARTS + 1} times before"
            yield Record(question.query.id, Outcome.CRASHED, error="given up", message=message).of(target)
        begun = begun or question is last


def _described(target: Target, facts: Mapping[str, Any]) -> Target:
    settings = dict(facts["settings"])
    return replace(
        target, device_name=str(settings.pop("device_name", "")), versions=facts["versions"], settings=settings
    )
