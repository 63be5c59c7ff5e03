"""Answers that are known already, by what was asked and of whom.

A fingerprint of a target (see `identity`) and a question enter; the line of a record file leaves, as it was when the
target answered, or nothing. One SQLite file holds them, so that several runs may read and write at once; when it grows
beyond its limit, those that were used longest ago go. What crashed, hung or ran out of memory is never kept: it is
asked again. A cache that can't be read or written costs time, never a run: it says why, once, and is off from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from gradbench import frames
from gradbench.memory import parse
from gradbench.query import Question
from gradbench.record import Outcome, Record, Target

VERSION: Final = 1
"""Of the tables and of what a key is made of; a file of another version is emptied."""
KEPT: Final = frozenset({Outcome.ANSWERED, Outcome.UNSUPPORTED, Outcome.RAISED})
LIMIT: Final = 2 << 30
"""Bytes of answers that are kept if GRADBENCH_CACHE_SIZE doesn't say."""
LARGEST: Final = 32 << 20
"""Bytes: an answer of more is cheaper to ask for than to keep."""
_BATCH: Final = 256  # answers written in one transaction, or after so many seconds:
_SECONDS: Final = 2.0
_TRIMMED: Final = 16  # so many transactions between two looks at the size

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS target (environment TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answer (
    key BLOB PRIMARY KEY, environment TEXT NOT NULL, line BLOB NOT NULL, size INTEGER NOT NULL, used REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS oldest ON answer (used);
"""


@dataclass(frozen=True)
class Known:
    """An answer that was kept.

    Attributes:
        environment: Of the target that gave it.
        line: Its record as JSON, without the query's id.
    """

    environment: str
    line: bytes

    @property
    def is_whole(self) -> bool:
        """Whether it looks like what was kept."""
        return self.line.startswith(b'{"target":"') and self.line.endswith(b"}\n")

    def stored(self, question: Question) -> bytes:
        """The line of a record file, as the answer to this question: nothing of it is read."""
        return b'{"type":"record","query":%s,' % json.dumps(question.query.id).encode() + self.line[1:]

    def record(self, question: Question) -> Record:
        """The record, as the answer to this question."""
        return Record.from_json({**frames.loaded(self.line), "query": question.query.id})


@dataclass(frozen=True)
class Info:
    """What there is.

    Attributes:
        path: The file.
        answers: How many it keeps.
        size: Bytes of them.
        limit: Bytes it may keep.
        targets: How many answers of each target, by name.
    """

    path: Path
    answers: int
    size: int
    limit: int
    targets: dict[str, int]


def place() -> Path:
    """The file of the cache: in the folder GRADBENCH_CACHE, or where this system keeps such things."""
    folder = os.environ.get("GRADBENCH_CACHE") or platformdirs.user_cache_dir("gradbench", appauthor=False)
    return Path(folder) / "answers.sqlite"


def limit() -> int:
    """Bytes of answers to keep, from GRADBENCH_CACHE_SIZE as `4G`."""
    text = os.environ.get("GRADBENCH_CACHE_SIZE")
    return LIMIT if not text else (parse(text) or 1 << 62)


def key(fingerprint: str, question: Question, by_hand: bool = False) -> bytes:
    """What an answer is found by."""
    query = question.query
    rest = [VERSION, fingerprint, query.digest, dict(query.rules) if by_hand else {}, query.remarks]
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).digest()


class Cache:
    """The answers that are kept in one file.

    Args:
        path: The file; made with its folder if it isn't there.
        most: Bytes to keep.
    """

    def __init__(self, path: Path | None = None, most: int | None = None) -> None:
        self.path, self.most = path or place(), most or limit()
        self.trouble = ""
        self.waiting: dict[bytes, tuple[str, bytes]] = {}
        self.told: dict[str, str] = {}
        self.since = time.monotonic()
        self.writes = 0
        self.file: sqlite3.Connection | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self._opened()
        except (sqlite3.Error, OSError) as error:
            self.trouble = f"{self.path}: the cache is not used: {error}"

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Known]:
        """What is kept under these keys."""
        found: dict[bytes, Known] = {}
        if self.file is None:
            return found
        with self._careful() as file:
            for some in _slices(list(keys), 500):
                marks = ",".join("?" * len(some))
                rows = file.execute(f"SELECT key, environment, line FROM answer WHERE key IN ({marks})", some)  # noqa: S608
                for one, environment, line in rows:
                    found[one] = Known(environment, zlib.decompress(line))
            file.execute("BEGIN IMMEDIATE")
            now = time.time()
            file.executemany("UPDATE answer SET used = ? WHERE key = ?", [(now, one) for one in found])
            file.commit()
        return found

    def target(self, environment: str) -> Target | None:
        """Who gave answers under this environment."""
        row = None
        if self.file is None:
            return None
        with self._careful() as file:
            row = file.execute("SELECT json FROM target WHERE environment = ?", [environment]).fetchone()
        return None if row is None else Target.from_json(json.loads(row[0]))

    def keep(self, key: bytes, target: Target, record: Record) -> None:
        """Keeps an answer, unless it is one to ask for again. It is written with the next ones."""
        if record.outcome not in KEPT or self.file is None:
            return
        value = {name: part for name, part in record.to_json().items() if name != "query"}
        line = b"".join(frames.stored(value))
        if len(line) > LARGEST:
            return
        self.told.setdefault(target.environment, json.dumps(target.to_json()))
        self.waiting[key] = (target.environment, zlib.compress(line, 1))
        if len(self.waiting) >= _BATCH or time.monotonic() - self.since > _SECONDS:
            self.write()

    def write(self, last: bool = False) -> None:
        """Writes what waits, and lets go of the oldest if that is too much, which is looked at now and then."""
        waiting, self.waiting, self.since = self.waiting, {}, time.monotonic()
        self.writes += 1
        if self.file is None:
            return
        rows = [(k, environment, line, len(line), time.time()) for k, (environment, line) in waiting.items()]
        with self._careful() as file:
            file.execute("BEGIN IMMEDIATE")  # two runs wait for each other here, and never in between
            if rows:
                file.executemany("INSERT OR REPLACE INTO target VALUES (?, ?)", list(self.told.items()))
                file.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?, ?)", rows)
            if last or self.writes % _TRIMMED == 0:
                self._trim(file)
            file.commit()

    def close(self) -> None:
        """Writes what waits and closes the file."""
        self.write(last=True)
        if self.file is not None:
            self.file.close()
            self.file = None

    def clear(self) -> None:
        """Forgets everything."""
        if self.file is None:
            return
        with self._careful() as file:
            file.execute("DELETE FROM answer")
            file.execute("DELETE FROM target")
            file.commit()
            file.execute("VACUUM")

    def info(self) -> Info:
        """What there is."""
        count = size = 0
        targets: dict[str, int] = {}
        if self.file is None:
            return Info(self.path, 0, 0, self.most, {})
        with self._careful() as file:
            count, size = file.execute("SELECT count(*), coalesce(sum(size), 0) FROM answer").fetchone()
            every = "SELECT json, count(*) FROM answer JOIN target USING (environment) GROUP BY environment"
            for text, number in file.execute(every):
                name = str(json.loads(text)["name"])
                targets[name] = targets.get(name, 0) + number
        return Info(self.path, count, size, self.most, dict(sorted(targets.items())))

    def _opened(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
        version = file.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, VERSION}:
            file.executescript("DROP TABLE IF EXISTS answer; DROP TABLE IF EXISTS target;")
        file.execute("PRAGMA synchronous = NORMAL")
        file.executescript(_TABLES)
        file.execute(f"PRAGMA user_version = {VERSION}")
        return file

    def _trim(self, file: sqlite3.Connection) -> None:
        size = file.execute("SELECT coalesce(sum(size), 0) FROM answer").fetchone()[0]
        if size <= self.most:
            return
        # To nine tenths, so that not every batch trims again.
        for one, length in file.execute("SELECT key, size FROM answer ORDER BY used").fetchall():
            if size <= 0.9 * self.most:
                return
            file.execute("DELETE FROM answer WHERE key = ?", [one])
            size -= length

    @contextlib.contextmanager
    def _careful(self) -> Iterator[sqlite3.Connection]:
        """The file, for a block that ends where there is trouble; from then on there is no file."""
        assert self.file is not None
        try:
            yield self.file
        except (sqlite3.Error, OSError, zlib.error, ValueError) as error:
            self._off(error)

    def _off(self, error: Exception) -> None:
        if self.file is not None:
            with contextlib.suppress(sqlite3.Error):
                self.file.close()
            self.file = None
            self.trouble = f"{self.path}: the cache is not used: {error}"


def _slices(values: Sequence[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(values), size):
        yield list(values[start : start + size])
