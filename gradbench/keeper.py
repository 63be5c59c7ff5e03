"""Asks what isn't known, and keeps every answer: in the record file, and in the cache.

Jobs enter. What the file holds already is left alone; what the cache holds is written to the file; the rest is asked,
and written as it comes. What the cache holds of a target that has to be started for other questions waits until it is
up: if it then turns out to be another than the one that answered, it is asked everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from gradbench import runner
from gradbench.cache import Cache, Known, key
from gradbench.errors import CannotResume
from gradbench.process import Job, Limits
from gradbench.query import Question
from gradbench.record import Outcome, Record, Target
from gradbench.resume import Begun, Settled
from gradbench.writer import Writer

Place = tuple[str, str]  # a target's name and its kind of device


class Keeper:
    """Where the answers of one run go.

    Args:
        writer: The record file.
        old: What it holds already.
        identities: The fingerprint of each target, by `name@device`.
        cache: The answers of earlier runs.
        settled: Told of every record.
        watch: Called with each event; what was known already comes without its answer.
    """

    def __init__(
        self,
        writer: Writer,
        old: Begun | None,
        identities: Mapping[str, str],
        cache: Cache | None,
        settled: Settled,
        watch: Callable[[runner.Event], None],
    ) -> None:
        self.writer, self.old, self.identities, self.cache = writer, old, identities, cache
        self.settled, self.watch = settled, watch
        self.targets: dict[Place, Target] = dict(old.targets) if old else {}
        self.keys: dict[tuple[str, str, str], bytes] = {}
        self.held: dict[Place, tuple[Job, list[tuple[Question, Known]]]] = {}

    def run(self, jobs: Iterable[Job], limits: Limits, at_once: int) -> None:
        """Everything that is to be known from these jobs, written when this returns."""
        left = [rest for job in jobs if (rest := self._recalled(job)).questions]
        while left:
            again: list[Job] = []
            with closing(runner.run(left, limits, at_once)) as events:
                for event in events:
                    if isinstance(event, Target):
                        again += self._met(event)
                    else:
                        self._keep(event)
            left = again

    def _recalled(self, job: Job) -> Job:
        """What is left to ask of a job. If that is nothing, all that is known of it is written."""
        place = (job.entry.name, job.device.kind)
        done = self.old.answered.get(place, set()) if self.old else set()
        questions = [question for question in job.questions if question.query.id not in done]
        if self.old is not None and len(questions) < len(job.questions):
            self._tell(place, job.questions, done)
        if self.cache is None or not questions:
            return replace(job, questions=questions)
        fingerprint = self.identities[f"{place[0]}@{place[1]}"]
        keys = {question.query.id: key(fingerprint, question, by_hand=job.entry.by_hand) for question in questions}
        self.keys |= {(*place, query): found for query, found in keys.items()}
        known = self.cache.find(keys.values())
        pairs = [
            (question, known[keys[question.query.id]]) for question in questions if keys[question.query.id] in known
        ]
        hits = _of_one(pairs)
        if not hits:
            return replace(job, questions=questions)
        self.held[place] = (job, hits)
        known_ids = {question.query.id for question, _ in hits}
        rest = [question for question in questions if question.query.id not in known_ids]
        target = self.cache.target(hits[0][1].environment)
        if target is None or (not rest and not self._recall(place, target)):
            self.held.pop(place, None)
            return replace(job, questions=questions)
        return replace(job, questions=rest)

    def _tell(self, place: Place, questions: Sequence[Question], done: set[str]) -> None:
        """Lets whoever watches see what the file holds already."""
        if place in self.targets:
            self.watch(self.targets[place])
        for question in questions:
            if question.query.id in done:
                self.watch(Record(question.query.id, Outcome.ANSWERED, target=place[0], device=place[1]))

    def _met(self, target: Target) -> list[Job]:
        """A target that is up, or can't start: what is to be asked of it anew."""
        place = (target.name, target.device)
        before = self.targets.get(place)
        begun = self.old.targets.get(place) if self.old is not None else None
        differs = begun is not None and begun != target and not begun.failure and not target.failure
        if self.old is not None and differs:
            raise CannotResume(self.old.path, f"{target.name} isn't what it was when the run began")
        if before != target:
            self.writer.target(target)
            self.targets[place] = target
        self.watch(target)
        if place not in self.held or target.failure:
            self.held.pop(place, None)
            return []
        job, hits = self.held[place]
        if self._recall(place, target):
            return []
        return [replace(job, questions=[question for question, _ in hits])]

    def _recall(self, place: Place, target: Target) -> bool:
        """Writes what was held back for this target; whether it is the one that answered."""
        _, hits = self.held.pop(place)
        if hits[0][1].environment != target.environment:
            return False
        if not all(known.is_whole for _, known in hits):  # somebody has been at the cache's file
            return False
        if self.targets.get(place) != target:
            self.writer.target(target)
            self.targets[place] = target
            self.watch(target)
        for question, known in hits:
            self.writer.known(known.stored(question))
            if target.name == self.settled.reference:
                self.settled.see(known.record(question))
            self.watch(Record(question.query.id, Outcome.ANSWERED, target=target.name, device=target.device))
        return True

    def _keep(self, record: Record) -> None:
        self.writer.record(record)
        self.settled.see(record)
        self.watch(record)
        found = self.keys.get((record.target, record.device, record.query))
        if self.cache is not None and found is not None:
            target = self.targets.get((record.target, record.device))
            if target is not None and target.environment == record.environment:
                self.cache.keep(found, target, record)


def _of_one(pairs: Sequence[tuple[Question, Known]]) -> list[tuple[Question, Known]]:
    """The answers of the environment that has most of them: others are of a target that isn't there any more."""
    counts: dict[str, int] = {}
    for _, known in pairs:
        counts[known.environment] = counts.get(known.environment, 0) + 1
    most = max(counts, key=lambda environment: counts[environment], default="")
    return [pair for pair in pairs if pair[1].environment == most]
