"""One class for each thing a person can get wrong.

Each carries its facts as fields and builds its own sentence: *place: what is wrong; what would be right*. A framework's
exception is never one of these: it becomes a record.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final


class GradbenchError(Exception):
    """Something the person asking can put right. `str()` is the whole message; no traceback is shown."""


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands, counted from 1. A line or column of 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """`file:line:column`, as editors and compilers write it."""
        return ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])


def suggestion(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the nearest of the known words, or the list of them if none is near."""
    known = sorted(map(str, known))
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {listing(known)}" if known else "nothing is known here"


def listing(words: Sequence[str], limit: int = 12) -> str:
    """Words joined by commas, cut after `limit`."""
    shown = ", ".join(words[:limit])
    return f"{shown} and {len(words) - limit} more" if len(words) > limit else shown


class LanguageError(GradbenchError):
    """A function text that can't be read. Lines and columns count from 1 within the text.

    The place in the file is known only to whoever took the text out of it; see `case`.
    """

    def __init__(self, text: str, line: int, column: int, wrong: str, right: str = "") -> None:
        self.text, self.line, self.column, self.wrong, self.right = text, line, column, wrong, right
        super().__init__(f"line {line}, column {column}: {sentence(wrong, right)}\n{caret(text, line, column)}")


class ShapeError(LanguageError):
    """A function text that reads well and whose arrays don't fit together."""


WIDEST: Final = 160
"""Characters of a line that are quoted."""
LONGEST: Final = 1_000
"""Characters of what is said to be wrong, which may quote a word of any length."""


def sentence(wrong: str, right: str) -> str:
    """What is wrong, and after a semicolon what would be right."""
    said = wrong if len(wrong) <= LONGEST else f"{wrong[: LONGEST - 1]}…"
    return f"{said}; {right}" if right else said


def caret(text: str, line: int, column: int) -> str:
    """The line of the text with a caret under the column."""
    lines = text.splitlines()
    if not 1 <= line <= len(lines):
        return ""
    shown = lines[line - 1].replace("\t", " ")
    if len(shown) > WIDEST:  # a window on it, with the column inside
        start = min(max(0, column - WIDEST // 2), len(shown) - WIDEST)
        shown, column = f"…{shown[start + 1 : start + WIDEST]}", column - start
    return f"    {shown}\n    {' ' * (column - 1)}^"


class Mistake(GradbenchError):
    """One thing wrong in a file that somebody wrote."""

    def __init__(self, place: Place, wrong: str, right: str = "", excerpt: str = "") -> None:
        self.place, self.wrong, self.right, self.excerpt = place, wrong, right, excerpt
        text = f"{place}: {sentence(wrong, right)}"
        super().__init__(f"{text}\n{excerpt}" if excerpt else text)


class Mistakes(GradbenchError):
    """Every mistake of every file at once, in the order of their places."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda m: m.place))
        super().__init__("\n".join(str(m) for m in self.mistakes))


class NothingToRun(GradbenchError):
    """A folder without cases, or a selection that leaves none."""


class UnknownTarget(GradbenchError):
    """A target name that is in no table and is no `module:attribute`."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(f"unknown target {name!r}; {suggestion(name, known)}")


class BadOption(GradbenchError):
    """An option, in a file or on the command line, whose value can't be used."""


class BadRecord(GradbenchError):
    """A line of a record file that isn't a record, or a file of records that can't be read."""

    def __init__(self, place: Place, wrong: str, right: str = "") -> None:
        self.place, self.wrong, self.right = place, wrong, right
        super().__init__(f"{place}: {sentence(wrong, right)}")


class CannotWrite(GradbenchError):
    """A record file that takes no more: a full disk, a folder without permission."""

    def __init__(self, path: Path, error: OSError, count: int | None = None) -> None:
        self.path = path
        kept = "" if count is None else f"; it ends with {count} whole records, and 'gradbench run --resume' goes on"
        super().__init__(f"{path}: can't be written: {error.strerror or error}{kept}")


class CannotResume(GradbenchError):
    """A record file of another run than the one that is to go on."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"{path}: this run can't go on there: {reason}; leave out '--resume' to start again")


class CannotStart(GradbenchError):
    """A target that was asked for and can't be used here: not installed, no such device, a crash at its import."""

    def __init__(self, target: str, reason: str) -> None:
        self.target, self.reason = target, reason
        super().__init__(f"{target} can't start: {reason}")


class DeviceMissing(GradbenchError):
    """A device that was asked for and isn't there."""


class Unsupported(GradbenchError):
    """Raised by an adapter or a reference for what it doesn't offer; it becomes an outcome, never a failure."""
