"""What reading every part of a case file needs: mistakes with their places, mappings, words, numbers and arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Final

import numpy as np

from gradbench.document import Entries, Items, Leaf, Tree
from gradbench.errors import LanguageError, Mistake, Mistakes, Place, caret, suggestion
from gradbench.exact import number
from gradbench.query import Array
from gradbench.stated import underivable

LARGEST: Final = 2**53
"""Whole numbers from there on can't be written in a case: they are read as float64."""


MAX_MISTAKES: Final = 100
"""Nobody reads more; and each may quote a line of the file."""
MAX_ENTRIES: Final = 2**23
"""The most numbers in all arrays of a file together that are drawn, or stated by one number for all: 64 MiB of them."""


class Stop(Exception):  # it is always caught
    """A mistake is noted, and there is nothing more to read of this part."""


class Parts:
    """Reads parts of a tree and notes what is wrong with them."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.discrete: dict[str, str] = {}  # of the case being read, the kind of each input without a derivative by it
        self.entries_left = MAX_ENTRIES

    # What every part needs

    def wrong(self, place: Place, wrong: str, right: str = "", excerpt: str = "") -> Stop:
        """Notes a mistake and returns what to raise.

        Raises:
            Mistakes: There are enough of them.
        """
        self.mistakes.append(Mistake(place, wrong, right, excerpt))
        if len(self.mistakes) >= MAX_MISTAKES:
            raise Mistakes(self.mistakes)
        return Stop()

    def room(self, place: Place, count: int) -> None:
        """Takes account of an array that is not written out. Raises if the file makes too many numbers of too few words."""
        self.entries_left -= count
        if self.entries_left < 0:
            raise self.wrong(
                place, f"more than {MAX_ENTRIES} numbers in the arrays of this file", "smaller ones, or fewer"
            )

    def language(self, leaf: Leaf, error: LanguageError) -> Stop:
        """A mistake within a text, with a caret under the column."""
        excerpt = caret(error.text, error.line, error.column)
        return self.wrong(leaf.within(error.line, error.column), error.wrong, error.right, excerpt)

    def entries(self, tree: Tree, what: str, known: Iterable[str], required: Iterable[str] = ()) -> Entries:
        """A mapping whose keys are known, with those that it must have."""
        if not isinstance(tree, Entries):
            raise self.wrong(tree.place, f"{what} must be a mapping", f"with the keys {', '.join(known)}")
        for key, place in tree.keys.items():
            if key not in known:
                self.wrong(place, f"unknown key {key!r}", suggestion(key, known))
        missing = [key for key in required if key not in tree.parts]
        if missing:
            raise self.wrong(tree.place, f"{what} lacks {', '.join(map(repr, missing))}")
        return tree

    def derivable(self, place: Place, name: str, inputs: Iterable[str]) -> None:
        """Raises if there is no derivative by one of the inputs."""
        if name in self.discrete:
            others = [other for other in inputs if other not in self.discrete]
            raise self.wrong(place, *underivable(name, self.discrete[name], others))

    def text(self, tree: Tree | None, what: str) -> str:
        """A text; an empty one where there is none."""
        if tree is None:
            return ""
        if not isinstance(tree, Leaf) or not isinstance(tree.value, str):
            raise self.wrong(
                tree.place, f"{what} must be text", "put quotes around it" if isinstance(tree, Leaf) else ""
            )
        return tree.text

    def words(self, tree: Tree | None, what: str) -> list[Leaf]:
        """A list of words."""
        if tree is None:
            return []
        if not isinstance(tree, Items) or not all(isinstance(part, Leaf) for part in tree.parts):
            raise self.wrong(tree.place, f"{what} must be a list of words", f"as {what}: [one, two]")
        return list(tree.parts)  # type: ignore[arg-type]

    # Numbers

    def array(self, tree: Tree, shape: tuple[int, ...] | None) -> tuple[Array, bool]:
        """An array and whether every entry is exactly the number written; a bare number fills any shape given."""
        exact = True

        def entry(leaf: Leaf) -> Any:
            nonlocal exact
            value, rounded = self.number(leaf)
            exact &= rounded
            return value

        def nested(part: Tree) -> Any:
            if isinstance(part, Entries):
                raise self.wrong(part.place, "a mapping where numbers are needed", "a number, or a list of them")
            return entry(part) if isinstance(part, Leaf) else [nested(inner) for inner in part.parts]

        values = nested(tree)
        try:
            array = np.array(values)
        except ValueError:
            raise self.wrong(tree.place, "rows of different lengths", "equally many numbers in each") from None
        if array.dtype.kind not in "fcb":
            array = array.astype(np.float64)
        if shape is not None and array.shape != shape:
            if isinstance(tree, Leaf) and shape == ():
                return array, exact
            right = f"{list(shape)}" if shape else "a number"
            raise self.wrong(tree.place, f"the shape {list(array.shape)}", f"it must be {right}")
        return array, exact

    def whole(self, tree: Tree, array: Array, kind: str, what: str) -> Array:
        """An array of integers or truth values, if it is one."""
        if not array.size:
            return array.astype(bool if kind == "boolean" else np.int64)
        if kind == "boolean" and array.dtype == bool:
            return array
        if kind == "integer" and is_whole(array):
            return array.astype(np.int64)
        right = "true or false" if kind == "boolean" else "numbers without a fraction, below 2**53"
        raise self.wrong(tree.place, f"{what}, and these values are not", right)

    def number(self, leaf: Leaf) -> tuple[Any, bool]:
        """A number, and whether float64 holds exactly what was written."""
        if leaf.quoted is False and isinstance(leaf.value, bool):
            return leaf.value, True
        try:
            value, _ = number(leaf.text)
        except LanguageError as error:
            raise self.language(leaf, error) from None
        return value, is_exact(leaf.text, value)


def is_whole(array: Array) -> bool:
    """Whether every entry is a whole number, and one that can be told from the next."""
    return array.dtype.kind == "f" and bool((np.abs(array) < LARGEST).all() and (array == np.floor(array)).all())


def is_exact(text: str, value: Any) -> bool:
    """Whether a number as written is the very number that float64 holds."""
    if not isinstance(value, float) or not math.isfinite(value) or (text.isdecimal() and value < 2**53):
        return True
    try:
        return Fraction(text.replace(" ", "")) == Fraction(value)
    except (ValueError, ZeroDivisionError):
        return text.strip().lower().lstrip("+-").startswith("0x")
