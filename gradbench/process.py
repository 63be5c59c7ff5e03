"""A worker's process, seen from the outside: start it, ask it, wait no longer than agreed, end it and what it started.

A job enters; what the worker says of itself and a record for each query leave, or `WorkerDied` with what is known of
the end. One query is in flight at a time, so a death has one culprit. See `worker` for the other side.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any, Final, NoReturn

from gradbench import frames, memory
from gradbench.device import Device
from gradbench.query import Query, Question
from gradbench.record import Outcome, Record
from gradbench.registry import Entry

_TAIL: Final = 4_000
_LOOK: Final = 1 << 20
_MODULES: Final = re.compile(r"^Extension modules: .*$", re.MULTILINE)
_CHUNK: Final = 1 << 20
_TRACE: Final = 1.0  # seconds that a worker which hangs gets to write where it is


class WorkerDied(Exception):  # it becomes a record, never a message to a user
    """The worker's process ended or had to be ended while a query was in flight."""

    def __init__(self, outcome: Outcome, error: str, message: str) -> None:
        self.outcome, self.error, self.message = outcome, error, message
        super().__init__(message)


@dataclass(frozen=True)
class Limits:
    """How long to wait, and how much memory to allow.

    Attributes:
        query: Seconds for a query.
        compiling: Seconds more for the first query of a function, operator, dtype and shape at a target that compiles.
        start: Seconds a worker may take to import its framework.
        memory: Bytes that a worker's processes may hold together; None for no limit.
    """

    query: float = 60.0
    compiling: float = 240.0
    start: float = 180.0
    memory: int | None = None


@dataclass(frozen=True)
class Job:
    """What the workers of one target are to do.

    Attributes:
        entry: The target.
        device: Where it runs.
        questions: What it is asked, in order.
        python: The interpreter it runs under.
        workers: How many processes share the questions.
    """

    entry: Entry
    device: Device
    questions: Sequence[Question]
    python: str = sys.executable
    workers: int = 1


@dataclass
class Worker:
    """One process of a job."""

    job: Job
    limits: Limits = Limits()
    started: float = field(default_factory=time.monotonic)
    process: subprocess.Popen[bytes] = field(init=False)
    errors: IO[bytes] = field(init=False)
    buffer: bytearray = field(default_factory=bytearray)
    compiles: bool = False
    compiled: set[int] = field(default_factory=set)
    overspent: int = 0
    """Bytes it held when that was too much."""

    def __post_init__(self) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `close`
        self.kills = memory.kills()
        self.process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [self.job.python, "-m", "gradbench.worker", self.job.entry.spec, self.job.device.kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=self.job.device.environment(os.environ),
            start_new_session=True,  # so that a kill takes whatever it has started with it, and Ctrl-C doesn't
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.into, self.out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.into, False)
        self.reading, self.writing = selectors.DefaultSelector(), selectors.DefaultSelector()
        self.reading.register(self.out, selectors.EVENT_READ)
        self.writing.register(self.into, selectors.EVENT_WRITE)

    @property
    def pid(self) -> int:
        """The number of the process and of its group."""
        return self.process.pid

    def ready(self) -> dict[str, Any]:
        """What the worker says of itself.

        Raises:
            WorkerDied: It could not start.
        """
        answer = self._receive(time.monotonic() + self.limits.start, self.limits.start, "start")
        if "failed" in answer:
            raise WorkerDied(Outcome.RAISED, "", str(answer["failed"]))
        self.compiles = bool(answer["ready"].get("compiles"))
        return dict(answer["ready"])

    def ask(self, question: Question) -> Record:
        """The record of one query.

        Raises:
            WorkerDied: No answer came.
        """
        query = question.query
        if query.rules and not self.job.entry.by_hand:
            query = replace(query, rules={})
        seconds = self.limits.query + (self.limits.compiling if self._is_new(query) else 0.0)
        deadline = time.monotonic() + seconds
        for buffer in frames.packed({"query": query.to_json()}):
            self._send(buffer, deadline, seconds)
        return Record.from_json(self._receive(deadline, seconds, "answer")["record"])

    def _is_new(self, query: Query) -> bool:
        """Whether the target has to compile before it can answer."""
        if not self.compiles:
            return False
        shapes = tuple((name, array.shape) for name, array in query.inputs.items())
        key = hash((query.function, query.operator, query.dtype, shapes, str(query.orders)))
        is_new = key not in self.compiled
        self.compiled.add(key)
        return is_new

    def _send(self, buffer: frames.Buffer, deadline: float, seconds: float) -> None:
        rest = memoryview(buffer)
        while rest:
            if not self.writing.select(max(0.0, deadline - time.monotonic())):
                self._hangs(seconds, "answer")
            try:
                rest = rest[os.write(self.into, rest[:_CHUNK]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                self._died("answer")

    def _receive(self, deadline: float, seconds: float, verb: str) -> dict[str, Any]:
        """The next frame. Raises `WorkerDied`."""
        while (end := self.buffer.find(b"\n")) < 0:
            self._wait(deadline, seconds, verb)
            chunk = os.read(self.out, _CHUNK)
            if not chunk:
                self._died(verb)
            self.buffer += chunk
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]

        def read(length: int) -> bytearray:
            found = bytearray(length)
            view = memoryview(found)
            have = min(length, len(self.buffer))
            view[:have] = self.buffer[:have]
            del self.buffer[:have]
            while have < length:
                self._wait(deadline, seconds, verb)
                got = os.readv(self.out, [view[have:]])
                if not got:
                    self._died(verb)
                have += got
            return found

        return dict(frames.unpacked(line, read))

    def _wait(self, deadline: float, seconds: float, verb: str) -> None:
        if not self.reading.select(max(0.0, deadline - time.monotonic())):
            self._hangs(seconds, verb)

    def _hangs(self, seconds: float, verb: str) -> NoReturn:
        """Asks the worker where it is, ends it, and says so. Raises `WorkerDied`."""
        written = os.fstat(self.errors.fileno()).st_size
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)  # its faulthandler writes a trace, even while C code holds the GIL
        patience = time.monotonic() + _TRACE
        while time.monotonic() < patience and self.process.poll() is None:
            time.sleep(0.02)
            if os.fstat(self.errors.fileno()).st_size > written:
                time.sleep(0.05)  # the rest of it
                break
        self.end()
        raise WorkerDied(Outcome.TIMED_OUT, "", f"no {verb} within {seconds:g} s\n{self.tail()}".strip())

    def _died(self, verb: str) -> NoReturn:
        """Raises `WorkerDied` with what is known of the end."""
        try:
            code = self.process.wait(timeout=_TRACE)
        except subprocess.TimeoutExpired:  # it has closed its end and lives on
            self.end()
            code = self.process.wait()
        if self.overspent:
            held, limit = memory.shown(self.overspent), memory.shown(self.limits.memory or 0)
            raise WorkerDied(Outcome.OUT_OF_MEMORY, "", f"its worker held {held}, and the limit is {limit}")
        reason = signal.Signals(-code).name if code < 0 else f"exit {code}"
        if -code == signal.SIGKILL and memory.kills() > self.kills:
            raise WorkerDied(Outcome.OUT_OF_MEMORY, reason, "the machine ran out of memory and ended its worker")
        raise WorkerDied(Outcome.CRASHED, reason, f"it ended with {reason} before an {verb}\n{self.tail()}".strip())

    def tail(self) -> str:
        """The last lines of standard error; of a faulthandler's trace the first, where it was."""
        if self.errors.closed:
            return ""
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - _LOOK))
        text = self.errors.read().decode(errors="replace")
        # Compilers load thousands of modules, and the faulthandler names them all, after the trace.
        text = _MODULES.sub("", text).strip()
        fatal = text.rfind("Fatal Python error")
        return text[fatal : fatal + _TAIL] if fatal >= 0 else text[-_TAIL:]

    def end(self) -> None:
        """Ends the process and all it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Lets an idle worker go, and makes sure of it."""
        self.end()
        self.reading.close()
        self.writing.close()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
