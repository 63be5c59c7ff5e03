"""Spawn, ask, time out, restart: exactly one record for each query of each target that could start.

Jobs enter; events leave as they happen: a `Target` when a worker is ready or could not start, a `Record` for each
answer. Each worker has one query in flight, so that a crash, a hang or a lack of memory costs the query that caused it
and nothing else. Nothing here imports the worker: it is started as a program.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final

from gradbench.guard import Guard
from gradbench.memory import Watch
from gradbench.process import Job, Limits, Worker, WorkerDied
from gradbench.query import Question
from gradbench.record import Outcome, Record, Target

RESTARTS: Final = 10
"""How often in a row a worker may be started again without an answer before the rest is given up."""
SHARE: Final = 10
"""Nor may it die at more than one query in so many, beyond the first `RESTARTS`."""
PORTION: Final = 32
"""Questions about one function that a worker takes at a time: what it compiles for one serves the others."""

Event = Target | Record


def run(
    jobs: Sequence[Job],
    limits: Limits = Limits(),  # noqa: B008  # it is frozen
    at_once: int | None = None,
) -> Generator[Event, None, None]:
    """Runs jobs side by side and yields what happens. Closing the iterator ends every worker.

    Args:
        jobs: One for each target and device; the first are started first.
        limits: How long to wait for an answer, and how much memory to allow.
        at_once: How many workers there are at a time; all of them if None.
    """
    events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    crew = _Crew(limits)
    desks = [_Desk(job) for job in jobs]
    seats = iter([desk for desk in desks for _ in range(max(1, desk.job.workers))])
    turn = threading.Lock()

    def work() -> None:
        try:
            while not crew.stop.is_set():
                with turn:
                    desk = next(seats, None)
                if desk is None:
                    return
                for event in _seat(desk, crew):
                    events.put(event)
        except BaseException as error:  # noqa: BLE001  # a fault of ours must not hang the run
            events.put(error)
        finally:
            events.put(None)

    total = sum(max(1, job.workers) for job in jobs)
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once or total, total))]
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
        crew.end()
        for thread in threads:
            thread.join(timeout=10)
        crew.close()


class _Crew:
    """The workers that live, who watches them, and whether they are to stop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.workers: dict[int, Worker] = {}
        self.guard = Guard()
        self.watch = Watch(self.living, limits.memory)

    def living(self) -> list[Worker]:
        """Those that have been hired and not let go."""
        with self.lock:
            return list(self.workers.values())

    def hire(self, job: Job) -> Worker:
        """A new worker."""
        worker = Worker(job, self.limits)
        self.guard.watch(worker.pid)
        with self.lock:
            self.workers[worker.pid] = worker
        if self.stop.is_set():  # it came while the others were ended
            worker.end()
        return worker

    def let_go(self, worker: Worker) -> None:
        """Ends a worker."""
        with self.lock:
            self.workers.pop(worker.pid, None)
        worker.close()
        self.guard.leave(worker.pid)

    def end(self) -> None:
        """Ends all of them."""
        self.stop.set()
        for worker in self.living():
            worker.end()

    def close(self) -> None:
        """Lets the watch and the guard go."""
        self.watch.close()
        self.guard.close()


class _Desk:
    """What is left of a job, for all of its workers."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.lock = threading.Lock()
        self.portions = deque(_portions(job.questions))
        self.known: set[str] = set()  # environments that were told of
        self.seats = max(1, job.workers)
        self.deaths = self.in_a_row = 0

    def take(self) -> deque[Question]:
        """The next questions; none if there are no more, and whoever asked leaves."""
        with self.lock:
            if self.portions:
                return self.portions.popleft()
            self.seats -= 1
            return deque()

    def is_new(self, target: Target) -> bool:
        """Whether nobody was told of this target yet."""
        with self.lock:
            is_new = target.environment not in self.known
            self.known.add(target.environment)
            return is_new

    def fails(self, portion: deque[Question]) -> bool:
        """A worker could not start and leaves: whether it was the last. Another may answer its portion."""
        with self.lock:
            self.portions.appendleft(portion)
            self.seats -= 1
            return self.seats == 0

    def answered(self) -> None:
        """It lives."""
        with self.lock:
            self.in_a_row = 0

    def died(self) -> bool:
        """A worker has died: whether that was once too often."""
        with self.lock:
            self.deaths += 1
            self.in_a_row += 1
            return self.in_a_row > RESTARTS or self.deaths > RESTARTS + len(self.job.questions) // SHARE

    def give_up(self) -> list[Question]:
        """All that is left."""
        with self.lock:
            left = [question for portion in self.portions for question in portion]
            self.portions.clear()
            return left


def _portions(questions: Iterable[Question]) -> Iterator[deque[Question]]:
    """Questions in their order, cut where another function begins and after so many."""
    for _, same in groupby(questions, key=lambda q: (q.query.function, q.query.dtype)):
        found = list(same)
        for start in range(0, len(found), PORTION):
            yield deque(found[start : start + PORTION])


def _seat(desk: _Desk, crew: _Crew) -> Iterator[Event]:
    """The events of one worker and of those that take its place when it dies."""
    job = desk.job
    target = Target(job.entry.name, job.device.kind, reference=job.entry.reference)
    worker: Worker | None = None
    mine: deque[Question] = deque()
    try:
        while not crew.stop.is_set():
            mine = mine or desk.take()
            if not mine:
                return
            question = mine[0]
            asked = False
            try:
                if worker is None:
                    worker = crew.hire(job)
                    target = _described(target, worker.ready())
                    if desk.is_new(target):
                        yield target
                asked = True
                record = worker.ask(question)
                desk.answered()
            except WorkerDied as death:
                if crew.stop.is_set():
                    return
                if worker is not None:
                    crew.let_go(worker)
                worker = None
                if not desk.known:
                    if desk.fails(mine):
                        yield replace(target, failure=death.message or death.error)
                    return
                is_too_often = desk.died()
                if not asked and not is_too_often:  # it did not come up again: the question isn't to blame
                    continue
                record = Record(question.query.id, death.outcome, error=death.error, message=death.message)
                if is_too_often:
                    yield record.of(target)
                    mine.popleft()
                    yield from _given_up([*mine, *desk.give_up()], target, desk.deaths)
                    return
            mine.popleft()
            yield record.of(target)
    finally:
        if worker is not None:
            crew.let_go(worker)


def _given_up(questions: Iterable[Question], target: Target, deaths: int) -> Iterator[Record]:
    """Records for what was never asked, because the worker kept dying."""
    for question in questions:
        message = f"not asked: the worker had died {deaths} times before"
        yield Record(question.query.id, Outcome.CRASHED, error="given up", message=message).of(target)


def _described(target: Target, facts: Mapping[str, Any]) -> Target:
    settings = dict(facts["settings"])
    return replace(
        target, device_name=str(settings.pop("device_name", "")), versions=facts["versions"], settings=settings
    )


__all__ = ["Event", "Job", "Limits", "run"]
