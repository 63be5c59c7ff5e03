"""A YAML file as a tree in which every part knows its place.

Bytes enter; a tree of `Leaf`, `Items` and `Entries` leaves, or every mistake found. The core schema of YAML 1.2 alone
is understood: `1e-6` is a number, `on` is a word, a key given twice is a mistake, and there are no tags. What aliases
expand to is bounded, and so are depth and size: a case file is data, whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from gradbench.errors import Mistake, Mistakes, Place

MAX_BYTES: Final = 16 * 2**20
SPARE_PARTS: Final = 10_000
"""A file may have as many parts as bytes, and so many more for what its aliases repeat."""
MAX_DEPTH: Final = 64

_BASE: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_TAGS: Final = {yaml.ScalarNode: "str", yaml.SequenceNode: "seq", yaml.MappingNode: "map"}


class _Loader(_BASE):  # type: ignore[misc]  # a class of a C extension
    """Parses, and gives no part a type: what a scalar means is decided in `Leaf.value`."""

    def resolve(self, kind: Any, _value: Any, _implicit: Any) -> str:
        return f"tag:yaml.org,2002:{_TAGS[kind]}"


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
            return int(digits, base) if len(digits) < 400 else float(digits)
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
        data = path.read_bytes()
    except OSError as error:
        raise Mistakes([Mistake(Place(name), error.strerror or str(error))]) from None
    return parse(data, name)


def parse(data: bytes, name: str) -> Tree:
    """The tree of a file's bytes.

    Raises:
        Mistakes: As for `load`.
    """
    if len(data) > MAX_BYTES:
        raise Mistakes([Mistake(Place(name), f"{len(data)} bytes", f"at most {MAX_BYTES}")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise Mistakes([Mistake(Place(name, line, column), "not UTF-8", "save the file as UTF-8")]) from None
    try:
        root = yaml.compose(text, Loader=_Loader)  # composing makes nodes, never objects
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
        wrong = f"not YAML: {error.problem or error.context}"
        raise Mistakes([Mistake(place, wrong)]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Mistakes([Mistake(Place(name), f"not YAML: {_first_line(error)}")]) from None
    if root is None:
        raise Mistakes([Mistake(Place(name), "the file is empty", "write 'cases:' and a list of cases")])
    reader = _Reader(name, text.splitlines())
    tree = reader.tree(root, 0)
    if reader.mistakes:
        raise Mistakes(reader.mistakes)
    return tree


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Reader:
    def __init__(self, name: str, lines: list[str]) -> None:
        self.name, self.lines, self.count = name, lines, 0
        self.most = SPARE_PARTS + sum(map(len, lines))
        self.mistakes: list[Mistake] = []
        self.open: set[int] = set()

    def place(self, node: Any) -> Place:
        return Place(self.name, node.start_mark.line + 1, node.start_mark.column + 1)

    def tree(self, node: Any, depth: int) -> Tree:
        place = self.place(node)
        self.count += 1
        if self.count > self.most:
            raise Mistakes([Mistake(place, "the file is too large once its aliases are written out")])
        if depth > MAX_DEPTH or id(node) in self.open:
            raise Mistakes([Mistake(place, "nested too deep", f"at most {MAX_DEPTH} levels")])
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rpartition(":")[2] not in {"str", "seq", "map"}:
            self.mistakes.append(Mistake(place, f"the tag {node.tag!r}", "case files have no tags"))
        if isinstance(node, yaml.ScalarNode):
            block = node.style in {"|", ">"}
            return Leaf(place, node.value, node.style in {"'", '"'}, block, self.indent(place.line) if block else 0)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return Items(place, tuple(self.tree(part, depth + 1) for part in node.value))
            return self.entries(node, place, depth)
        finally:
            self.open.discard(id(node))

    def indent(self, line: int) -> int:
        """How far the block after that line is indented."""
        first = next((text for text in self.lines[line:] if text.strip()), "")
        return len(first) - len(first.lstrip(" "))

    def entries(self, node: Any, place: Place, depth: int) -> Entries:
        parts: dict[str, Tree] = {}
        keys: dict[str, Place] = {}
        for key, value in node.value:
            at = self.place(key)
            if not isinstance(key, yaml.ScalarNode):
                self.mistakes.append(Mistake(at, "a key that is no name", "write 'name: value'"))
            elif key.value in parts:
                first = keys[key.value]
                self.mistakes.append(Mistake(at, f"the key {key.value!r} again", f"it stands on line {first.line} too"))
            else:
                parts[key.value], keys[key.value] = self.tree(value, depth + 1), at
        return Entries(place, parts, keys)


def leaves(tree: Tree) -> Iterator[Leaf]:
    """Every scalar of a tree, in order."""
    if isinstance(tree, Leaf):
        yield tree
    else:
        for part in tree.parts.values() if isinstance(tree, Entries) else tree.parts:
            yield from leaves(part)
