"""A YAML file as a tree in which every part knows its place.

Bytes enter; a tree of `Leaf`, `Items` and `Entries` leaves, or every mistake found. The core schema of YAML 1.2 alone
is understood: `1e-6` is a number, `on` is a word, a key given twice is a mistake, and there are no tags. What aliases
expand to is bounded, and so are depth and size: a case file is data, whoever wrote it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from gradbench.errors import Mistake, Mistakes, Place

MAX_BYTES: Final = 16 * 2**20
MAX_PARTS: Final = 500_000
"""Scalars, lists and mappings, written out or repeated by aliases; each takes half a kilobyte of memory."""
MAX_MISTAKES: Final = 100
MAX_DEPTH: Final = 64

_PARSER: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_CORE: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
"""The tags that say nothing: what a scalar means is decided in `Leaf.value`."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, Any]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True)
class Leaf:
    """A scalar: its place, its text as written, and whether it was in quotes or a block."""

    place: Place
    text: str
    quoted: bool = False
    block: bool = False
    indent: int = 0

    def within(self, line: int, column: int) -> Place:
        """Where a line and column of the text, both counted from 1, stand in the file."""
        if self.block:
            return Place(self.place.file, self.place.line + line, self.indent + column)
        shift = self.place.column + self.quoted - 1 if line == 1 else 0
        return Place(self.place.file, self.place.line + line - 1, shift + column)

    @property
    def value(self) -> Any:
        """None, a bool, an int, a float or a str, by the core schema of YAML 1.2."""
        if self.quoted or self.block:
            return self.text
        if self.text in _WORDS:
            return _WORDS[self.text]
        if _INTEGER.fullmatch(self.text):
            base = {"0o": 8, "0x": 16}.get(self.text[:2], 10)
            digits = self.text if base == 10 else self.text[2:]
            # As many digits are beyond every number format; to make a number of them all takes their square in time.
            return int(digits, base) if len(digits) < 400 else -math.inf if digits[0] == "-" else math.inf
        if _FLOAT.fullmatch(self.text):
            return float(self.text)
        return self.text


@dataclass(frozen=True)
class Items:
    """A sequence."""

    place: Place
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Entries:
    """A mapping from names to parts, with the place of each key."""

    place: Place
    parts: dict[str, Tree]
    keys: dict[str, Place]


Tree = Leaf | Items | Entries


def load(path: Path, name: str | None = None) -> Tree:
    """The tree of one file.

    Args:
        path: The file.
        name: What to call it in messages; its path if not given.

    Raises:
        Mistakes: It can't be read, isn't UTF-8, isn't YAML, or is beyond the bounds.
    """
    name = name or str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise Mistakes([Mistake(Place(name), error.strerror or str(error))]) from None
    return parse(data, name)


def parse(data: bytes, name: str) -> Tree:
    """The tree of a file's bytes.

    Raises:
        Mistakes: As for `load`.
    """
    if len(data) > MAX_BYTES:
        raise Mistakes([Mistake(Place(name), f"more than {MAX_BYTES} bytes", "several files")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise Mistakes([Mistake(Place(name, line, column), "not UTF-8", "save the file as UTF-8")]) from None
    reader = _Reader(name, text)
    try:
        # Events, not nodes: whoever composes nodes goes as deep as the file does, on the stack of C.
        tree = reader.document(yaml.parse(text, Loader=_PARSER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
        wrong = f"not YAML: {error.problem or error.context}"
        raise Mistakes([Mistake(place, wrong)]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise Mistakes([Mistake(Place(name), f"not YAML: {_first_line(error)}")]) from None
    if tree is None:
        raise Mistakes([Mistake(Place(name), "the file is empty", "write 'cases:' and a list of cases")])
    if reader.mistakes:
        raise Mistakes(reader.mistakes)
    return tree


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@dataclass
class _Open:
    """A sequence or mapping that is being read, as far as it has been."""

    event: Any
    place: Place
    parts: list[tuple[Tree, Place]] = field(default_factory=list)
    count: int = 1
    height: int = 0


class _Reader:
    """Puts a tree together from the events of a parser, without going deeper itself than the file does."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.lines, self.count = name, text.splitlines(), 0
        self.mistakes: list[Mistake] = []
        self.anchors: dict[str, tuple[Tree, int, int] | None] = {}
        self.open: list[_Open] = []

    def document(self, events: Iterator[Any]) -> Tree | None:
        """The one document of the file; None of an empty file."""
        root: Tree | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise Mistakes([Mistake(self.place(event), "not YAML: another document", "one document in each file")])
            if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                self.begin(event)
            elif isinstance(event, yaml.AliasEvent):
                root = self.add(*self.repeated(event), self.place(event))
            elif isinstance(event, yaml.ScalarEvent):
                root = self.finish(event, self.leaf(event), 1, 0)
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                done = self.open.pop()
                is_list = isinstance(done.event, yaml.SequenceStartEvent)
                tree = Items(done.place, tuple(p for p, _ in done.parts)) if is_list else self.entries(done)
                root = self.finish(done.event, tree, done.count, done.height)
        return root

    def place(self, event: Any) -> Place:
        return Place(self.name, event.start_mark.line + 1, event.start_mark.column + 1)

    def wrong(self, mistake: Mistake) -> None:
        """Notes a mistake. Raises if there are enough of them."""
        self.mistakes.append(mistake)
        if len(self.mistakes) >= MAX_MISTAKES:
            raise Mistakes(self.mistakes)

    def begin(self, event: Any) -> None:
        place = self.place(event)
        if len(self.open) >= MAX_DEPTH:
            raise Mistakes([Mistake(place, "nested too deep", f"at most {MAX_DEPTH} levels")])
        if event.anchor is not None:
            self.name_it(event.anchor, None, place)
        self.open.append(_Open(event, place))

    def finish(self, event: Any, tree: Tree, count: int, height: int) -> Tree:
        """Keeps a part that has been read to its end under its anchor, and adds it to what it is in."""
        if event.tag not in _CORE and event.tag not in {None, "!"}:
            self.wrong(Mistake(tree.place, f"the tag {event.tag!r}", "case files have no tags"))
        if event.anchor is not None:
            if isinstance(tree, Leaf):
                self.name_it(event.anchor, None, tree.place)
            self.anchors[event.anchor] = (tree, count, height)
        return self.add(tree, count, height, tree.place)

    def add(self, tree: Tree, count: int, height: int, place: Place) -> Tree:
        """Adds a part to what it is in. Whatever an alias repeats counts again."""
        if self.open:
            inside = self.open[-1]
            inside.parts.append((tree, place))
            inside.count += count
            inside.height = max(inside.height, height + 1)
            if len(self.open) + height > MAX_DEPTH:
                raise Mistakes([Mistake(place, "nested too deep", f"at most {MAX_DEPTH} levels")])
            if inside.count > MAX_PARTS:
                wrong = "the file is too large once its aliases are written out"
                raise Mistakes([Mistake(place, wrong, f"at most {MAX_PARTS} parts")])
        return tree

    def name_it(self, anchor: str, found: tuple[Tree, int, int] | None, place: Place) -> None:
        if anchor in self.anchors:
            raise Mistakes([Mistake(place, f"not YAML: the anchor {anchor!r} again", "give each a name of its own")])
        self.anchors[anchor] = found

    def repeated(self, event: Any) -> tuple[Tree, int, int]:
        """What an alias stands for, of how many parts it is, and how deep."""
        if event.anchor not in self.anchors:
            wrong = f"not YAML: the alias {event.anchor!r} has no anchor"
            raise Mistakes([Mistake(self.place(event), wrong, "an anchor before it, as &name")])
        found = self.anchors[event.anchor]
        if found is None:
            raise Mistakes([Mistake(self.place(event), "nested too deep", "no alias within what it stands for")])
        return found

    def leaf(self, event: Any) -> Leaf:
        place, block = self.place(event), event.style in {"|", ">"}
        return Leaf(place, event.value, event.style in {"'", '"'}, block, self.indent(place.line) if block else 0)

    def indent(self, line: int) -> int:
        """How far the block after that line is indented."""
        later = (self.lines[i] for i in range(line, len(self.lines)))
        first = next((text for text in later if text.strip()), "")
        return len(first) - len(first.lstrip(" "))

    def entries(self, read: _Open) -> Entries:
        parts: dict[str, Tree] = {}
        keys: dict[str, Place] = {}
        for (key, at), (value, _) in zip(read.parts[::2], read.parts[1::2], strict=True):
            if not isinstance(key, Leaf):
                self.wrong(Mistake(at, "a key that is no name", "write 'name: value'"))
            elif key.text in parts:
                first = keys[key.text]
                self.wrong(Mistake(at, f"the key {key.text!r} again", f"it stands on line {first.line} too"))
            else:
                parts[key.text], keys[key.text] = value, at
        return Entries(read.place, parts, keys)


def leaves(tree: Tree) -> Iterator[Leaf]:
    """Every scalar of a tree, in order."""
    if isinstance(tree, Leaf):
        yield tree
    else:
        for part in tree.parts.values() if isinstance(tree, Entries) else tree.parts:
            yield from leaves(part)
