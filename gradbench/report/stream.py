"""Verdicts as they come, handed to everybody who makes something of them.

A stream of verdicts enters, those on one question one after the other; a `Batch` for each question leaves, with the laws
that its answers break and its rows. Who reads batches keeps of them what it shows, and no array.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Protocol

from gradbench.clash import Clash
from gradbench.crosscheck import Crosscheck
from gradbench.judge import Verdict
from gradbench.table import Row, rows_of


@dataclass(frozen=True)
class Batch:
    """The verdicts on one question.

    Attributes:
        verdicts: All of them; none in the last batch.
        clashes: The laws that were seen to be broken since the batch before.
    """

    verdicts: Sequence[Verdict]
    clashes: Sequence[Clash] = ()

    @cached_property
    def rows(self) -> Sequence[Sequence[Row]]:
        """The rows of each verdict."""
        return [tuple(rows_of(verdict)) for verdict in self.verdicts]


class Reader(Protocol):
    """Whoever reads batches."""

    def add(self, batch: Batch, /) -> None:
        """Takes what it needs of one question."""


def batches(verdicts: Iterable[Verdict]) -> Iterator[Batch]:
    """A batch for each question, and one for what shows when all is said."""
    laws = Crosscheck()
    for _, members in groupby(verdicts, key=lambda verdict: verdict.question.query.id):
        found = tuple(members)
        yield Batch(found, laws.add(found))
    yield Batch((), laws.finish())


class Format:
    """A reader that writes a file."""

    def add(self, batch: Batch, /) -> None:
        """Takes what it needs of one question."""
        raise NotImplementedError

    def finish(self) -> None:
        """Writes what could not be written before all was read."""

    def close(self) -> None:
        """Lets go of whatever it holds, finished or not."""
