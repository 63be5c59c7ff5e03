"""Values with large arrays in them, on a pipe and on a line of a file, without a copy of their bytes.

What `to_json` made enters, with a `Bulk` where a large array's bytes are; buffers to write one after the other leave,
and the same value comes back from what was written. On a pipe a value is a *frame*: a line of lengths, the JSON, then
the bytes of each `Bulk` as they are. On a line of a file they are base64, made and read a piece at a time. So an answer
of a million numbers exists once in whoever sends it and once in whoever reads it; a file's line is read whole, and
is a third longer than what it holds.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from gradbench.wire import LARGE, Bulk

Buffer = bytes | bytearray | memoryview

_KEY: Final = "\0bulk"  # no name of ours or of a case's can have this character
_PLACE: Final = re.compile(rb'\{"\\u0000bulk":(\d+)\}')
# A quote within a JSON string has a backslash before it, so this finds nothing but a key and its value.
_ENCODED: Final = re.compile(rb'"base64":"([A-Za-z0-9+/]{%d,}={0,2})"' % LARGE)
_SMALL: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_ORDERED: Final = json.JSONEncoder(allow_nan=False, sort_keys=True)
_PIECE: Final = 3 << 16  # bytes encoded at a time: a multiple of 3, so that pieces join
_MOST: Final = 1 << 20  # characters in the line of lengths


def packed(value: Any) -> list[Buffer]:
    """A frame: the buffers to write, in order."""
    text, bulks = _dumped(value)
    lengths = " ".join(str(len(part)) for part in (text, *bulks))
    return [lengths.encode() + b"\n" + text, *bulks]


def unpacked(line: bytes, read: Callable[[int], Buffer]) -> Any:
    """The value of a frame.

    Args:
        line: Its line of lengths.
        read: Gives exactly that many bytes, those that follow.

    Raises:
        ValueError: It is no frame.
    """
    if len(line) > _MOST:
        raise ValueError("no line of lengths")
    first, *others = map(int, line.split())
    text = bytes(read(first))
    return _loaded(text, [Bulk(read(length)) for length in others])


def stored(value: Any) -> Iterator[Buffer]:
    """The pieces of one line of a file, with its newline."""
    text, bulks = _dumped(value)
    if not bulks:
        yield text + b"\n"
        return
    parts = _PLACE.split(text)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            yield part
            continue
        data = bulks[int(part)]
        yield b'"'
        for start in range(0, len(data), _PIECE):
            yield binascii.b2a_base64(data[start : start + _PIECE], newline=False)
        yield b'"'
    yield b"\n"


def loaded(line: Buffer) -> Any:
    """The value of one line of a file.

    Raises:
        ValueError: It is no JSON, or its base64 is none.
        RecursionError: It is nested too deep.
    """
    if len(line) <= LARGE:
        return json.loads(bytes(line))
    view = memoryview(line)
    bulks: list[Bulk] = []
    parts: list[Buffer] = []
    end = 0
    for found in _ENCODED.finditer(view):
        start, stop = found.span(1)
        if (stop - start) % 4:  # padding that is one too many is passed over otherwise
            raise ValueError("no base64")
        parts += [view[end : start - 1], b'{"\\u0000bulk":%d}' % len(bulks)]
        bulks.append(Bulk(binascii.a2b_base64(view[start:stop], strict_mode=True)))
        end = stop + 1
    return _loaded(b"".join([*parts, view[end:]]), bulks)


def digest(value: Any) -> str:
    """A fingerprint of a value, whatever the order of its keys: SHA-256 in hexadecimal digits."""
    text, bulks = _dumped(value, ordered=True)
    found = hashlib.sha256(text)
    for data in bulks:
        found.update(data)
    return found.hexdigest()


def _dumped(value: Any, ordered: bool = False) -> tuple[bytes, list[memoryview]]:
    bulks: list[memoryview] = []

    def replaced(found: Any) -> dict[str, int]:
        if not isinstance(found, Bulk):
            raise TypeError(f"{type(found).__name__} can't travel")
        bulks.append(found.data)
        return {_KEY: len(bulks) - 1}

    try:
        text = (_ORDERED if ordered else _SMALL).encode(value)
    except TypeError:  # there is a `Bulk` in it, which is rare enough to begin again
        commas = (", ", ": ") if ordered else (",", ":")
        text = json.dumps(value, allow_nan=False, separators=commas, default=replaced, sort_keys=ordered)
    return text.encode("ascii"), bulks


def _loaded(text: bytes, bulks: list[Bulk]) -> Any:
    if not bulks:
        return json.loads(text)

    def placed(found: dict[str, Any]) -> Any:
        if _KEY not in found:
            return found
        number = found[_KEY]
        if not isinstance(number, int) or not 0 <= number < len(bulks):
            raise ValueError(f"no bytes {number!r}")
        return bulks[number]

    return json.loads(text, object_hook=placed)
