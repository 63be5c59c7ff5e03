"""The fields of a JSON object, each of the kind it must be.

An object that somebody wrote enters; texts, numbers and mappings leave, or a `ValueError` whose sentence names the field.
Whoever reads a file or a pipe takes its fields from here, so that nothing of another kind gets any further.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

MOST: Final = 2**64
"""Whole numbers are below that, and above minus that."""
LONGEST: Final = 4_000
"""Characters of a name."""
DEEPEST: Final = 32
"""How far values may be nested that have no form of their own."""

_Value = TypeVar("_Value")
_REQUIRED: Final = object()


class Fields:
    """The fields of one object; `what` it is stands in messages.

    Raises:
        ValueError: It is no object.
    """

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{what} is no object")  # noqa: TRY004  # one class for whatever isn't ours
        self.value, self.what = value, what

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        """Whatever the field holds.

        Raises:
            ValueError: It isn't there, and there is no default.
        """
        found = self.value.get(key, default)
        if found is _REQUIRED:
            raise ValueError(f"{self.what} lacks {key!r}")
        return found

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """A text."""
        found = self.get(key, default)
        if isinstance(found, str):
            return found
        raise self._wrong(key, "text")

    def name(self, key: str, default: Any = _REQUIRED) -> str:
        """A text as short as names are."""
        found = self.text(key, default)
        if len(found) > LONGEST:
            raise self._wrong(key, f"text of at most {LONGEST} characters")
        return found

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of texts."""
        found = self.value.get(key, default)
        if found is default or (isinstance(found, list) and all(isinstance(part, str) for part in found)):
            return tuple(found)
        raise self._wrong(key, "list of texts")

    def whole(self, key: str, least: int, most: int) -> int:
        """A whole number from `least` to `most`."""
        found = self.get(key)
        if type(found) is int and least <= found <= most:
            return found
        raise self._wrong(key, f"whole number from {least} to {most}")

    def number(self, key: str) -> float | None:
        """A number of 0 or more; None where there is none."""
        found = self.value.get(key)
        if found is None:
            return None
        if is_number(found) and found >= 0:
            return float(found)
        raise self._wrong(key, "number of 0 or more")

    def flag(self, key: str, default: bool | None) -> bool | None:
        """True or false."""
        found = self.value.get(key, default)
        if found is default or isinstance(found, bool):
            return found
        raise self._wrong(key, "truth value")

    def object(self, key: str, read: Callable[[Any], _Value]) -> dict[str, _Value]:
        """An object whose every value is read by `read`; an empty one where there is none."""
        found = self.value.get(key)
        if isinstance(found, dict):
            return {name: read(value) for name, value in found.items()}
        if found is None and key not in self.value:
            return {}
        raise self._wrong(key, "object")

    def plain(self, key: str) -> dict[str, Any]:
        """An object of anything that JSON can hold."""
        return self.object(key, lambda value: _plain(value, key, DEEPEST))

    def each(self, key: str, read: Callable[[Any], _Value]) -> tuple[_Value, ...]:
        """A list whose every value is read by `read`; an empty one where there is none."""
        found = self.value.get(key, [])
        if isinstance(found, list):
            return tuple(map(read, found))
        raise self._wrong(key, "list")

    def _wrong(self, key: str, words: str) -> ValueError:
        return ValueError(f"{self.what}: {key!r} is no {words}")


def is_number(value: Any) -> bool:
    """Whether it is a finite number that float64 can hold."""
    return math.isfinite(value) if isinstance(value, float) else type(value) is int and abs(value) < MOST


def text_of(value: Any) -> str:
    """A text.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} where a text is needed")  # noqa: TRY004  # one class for what isn't ours
    return value


def _plain(value: Any, what: str, depth: int) -> Any:
    """The value, if JSON can hold it: no infinities, which it has no words for, and no bytes."""
    if value is None or isinstance(value, (str, bool)) or is_number(value):
        return value
    if depth and isinstance(value, list):
        return [_plain(part, what, depth - 1) for part in value]
    if depth and isinstance(value, dict):
        return {text_of(key): _plain(part, what, depth - 1) for key, part in value.items()}
    raise ValueError(f"{what!r} holds what no record can" if depth else f"{what!r} is nested deeper than {DEEPEST}")
