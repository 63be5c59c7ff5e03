"""The broken laws of a run as a report shows them: some of them, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradbench.clash import Clash
from gradbench.crosscheck import LAWS, place


@dataclass
class Broken:
    """A law that the same targets break: where first, and how often."""

    first: Clash
    count: int = 0


class Clashes:
    """Clashes while they come; those of each law in the order of `crosscheck`.

    Args:
        most: How many of them are kept.
    """

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0
        size = len(LAWS) + 1
        self._rows: list[list[Clash]] = [[] for _ in range(size)]
        self._kinds: list[dict[tuple[str, tuple[str, ...]], Broken]] = [{} for _ in range(size)]

    def add(self, clashes: Sequence[Clash]) -> None:
        """Some more."""
        self.count += len(clashes)
        for clash in clashes:
            at = place(clash.law)
            if len(self._rows[at]) < self.most:
                self._rows[at].append(clash)
            self._kinds[at].setdefault((clash.law, clash.targets), Broken(clash)).count += 1

    def rows(self) -> list[Clash]:
        """The first ones."""
        return [clash for rows in self._rows for clash in rows][: self.most]

    def kinds(self) -> Iterator[Broken]:
        """By law and targets."""
        for kinds in self._kinds:
            yield from kinds.values()
