"""What a record file that was cut short holds already, so that the run goes on where it ended.

A path enters; what was asked, who was there, which answers are whole and where the last of them ends leaves. Nothing is
changed here: what is torn is taken away by whoever goes on, once it is sure that this is the file to go on with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from gradbench.errors import BadRecord, CannotResume, Place
from gradbench.journal import lines, raw_lines
from gradbench.query import Question
from gradbench.record import Outcome, Record, Status, Target


@dataclass
class Settled:
    """The questions that one reference has answered throughout: nobody else need be asked what is true.

    Attributes:
        reference: Its name.
        word: What it says of a component it vouches for.
    """

    reference: str
    word: Status
    queries: set[str] = field(default_factory=set)

    def see(self, record: Record) -> None:
        """Takes note of a record."""
        if record.target != self.reference or record.outcome is not Outcome.ANSWERED:
            return
        if all(((s == self.word) | (s == Status.KINK)).all() for s in record.status.values()):
            self.queries.add(record.query)

    def open(self, questions: Iterable[Question]) -> list[Question]:
        """The questions that are left."""
        return [question for question in questions if question.query.id not in self.queries]


@dataclass
class Begun:
    """A run that began in a file.

    Attributes:
        path: The file.
        header: Its first line.
        digests: What was asked, by query id.
        targets: Who was there, by name and device.
        answered: The query ids that each of them has a record of.
        parts: The query ids of the parts that came back whole from other machines.
        count: How many records there are.
        complete: Whether the run came to its end.
        end: Bytes up to the end of what is whole; the next line goes there.
    """

    path: Path
    header: Mapping[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    targets: dict[tuple[str, str], Target] = field(default_factory=dict)
    answered: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)
    count: int = 0
    complete: bool = False
    end: int = 0

    def opened(self) -> BinaryIO:
        """The file, without what is torn, for a `Writer` to go on.

        Raises:
            OSError: It can't be written.
        """
        stream = self.path.open("r+b", buffering=0)
        stream.truncate(self.end)
        return stream

    def check(self, questions: Iterable[Question], identities: Mapping[str, str], facts: Mapping[str, Any]) -> None:
        """Makes sure that it is the same run.

        Args:
            questions: What is asked now.
            identities: The fingerprints of those asked now, by name and device.
            facts: Whatever else of the header must be the same.

        Raises:
            CannotResume: It isn't.
        """
        for key, value in facts.items():
            if self.header.get(key, value) != value:
                raise CannotResume(self.path, f"its {key} was {self.header[key]!r} and is {value!r} now")
        asked = {question.query.id: question for question in questions}
        for key, digest in self.digests.items():
            if key not in asked:
                raise CannotResume(self.path, f"it asked {key}, which isn't selected now")
            if asked[key].query.digest != digest:
                raise CannotResume(self.path, f"{key} has changed since, in {asked[key].place}")
        missing = next((key for key in asked if key not in self.digests), None)
        # Questions are written before anything is asked, so only then may some be missing.
        if missing is not None and self.count:
            raise CannotResume(self.path, f"it didn't ask {missing}")
        before = self.header.get("identities", {})
        for name in {**before, **identities}:
            if name not in before or name not in identities:
                raise CannotResume(self.path, f"{name} is asked {'only now' if name in identities else 'no longer'}")
            if before[name] != identities[name]:
                raise CannotResume(self.path, f"{name} isn't what it was: another version, setting or machine")


def begun(path: Path, settled: Settled | None = None, by_part: bool = False) -> Begun | None:
    """What is in the file; None if there is no file, or no whole line in it.

    Args:
        path: The file.
        settled: Told of every record.
        by_part: Whether a part counts only if it is whole, as in a run on other machines.

    Raises:
        BadRecord: It can't be read, or holds something else.
    """
    try:
        count, end = _whole(path, by_part)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadRecord(Place(str(path)), error.strerror or str(error)) from None
    found = Begun(path, end=end)
    for number, value in lines(path):
        if number > count:
            break
        kind = value.pop("type")
        found.complete = kind == "footer"
        try:
            if kind == "header":
                found.header = value
            elif kind == "question":
                question = Question.from_json(value)
                found.digests[question.query.id] = question.query.digest
            elif kind == "target":
                target = Target.from_json(value)
                found.targets[target.name, target.device] = target
            elif kind == "part":
                found.parts.update(value["queries"])
            elif kind == "record":
                found.answered.setdefault((value["target"], value["device"]), set()).add(value["query"])
                found.count += 1
                if settled is not None and value["target"] == settled.reference:
                    settled.see(Record.from_json(value))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadRecord(Place(str(path), number), f"not a {kind}: {type(error).__name__}: {error}") from None
    return found if found.header else None


def _whole(path: Path, by_part: bool) -> tuple[int, int]:
    """How many lines are whole, and where the last of them ends; by parts, no lines of one that isn't whole count."""
    count = end = place = 0
    with path.open("rb") as stream:
        for number, line in raw_lines(stream, path):
            place += len(line)
            within = by_part and line.startswith((b'{"type":"target"', b'{"type":"record"'))
            if line.endswith(b"\n") and not within:
                count, end = number, place
    return count, end
