"""A function's text as the statements it is made of, within bounds.

A text enters; the nodes of Python's own syntax tree leave, never to be evaluated as Python, or a sentence with the line and
column of what can't be read. Whoever goes through them may take a call of Python for each level: they are not deeper.
"""

from __future__ import annotations

import ast
import warnings
from typing import Final

from gradbench.errors import LanguageError

MAX_CHARACTERS: Final = 20_000
MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 180
"""How deep expressions may be nested; each level takes up to five of the thousand calls that Python may be deep in."""


def statements(text: str) -> list[ast.stmt]:
    """The statements of a text; one at least.

    Raises:
        LanguageError: It is none in Python's syntax, or too long, or too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise LanguageError(text, 1, 1, f"the text has {len(text)} characters", f"at most {MAX_CHARACTERS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's own style, printed as if somebody had written Python
            tree = ast.parse(text)
        # A part takes a character at least, so a short text needs no counting.
        count, depth = _extent(tree) if len(text) > MAX_DEPTH else (0, 0)
    except SyntaxError as error:
        raise LanguageError(text, error.lineno or 1, error.offset or 1, f"not an expression: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError):
        raise too_deep(text) from None
    if depth > MAX_DEPTH:
        raise too_deep(text)
    if count > MAX_NODES:
        raise LanguageError(text, 1, 1, f"the text has {count} parts", f"at most {MAX_NODES}")
    if not tree.body:
        raise LanguageError(
            text, 1, 1, "the function is empty", "write an expression, or statements ending with 'return'"
        )
    return tree.body


def too_deep(text: str) -> LanguageError:
    """What to say of a text whose parts are nested too deep."""
    return LanguageError(text, 1, 1, "the text can't be read", "write it with fewer nested parts")


def place(text: str, where: ast.AST) -> tuple[int, int]:
    """The line and column of a part of a text, from 1."""
    line, column = getattr(where, "lineno", 1), getattr(where, "col_offset", 0)
    if not text.isascii():  # ast counts bytes of UTF-8; people count characters
        lines = text.splitlines()
        if 1 <= line <= len(lines):
            column = len(lines[line - 1].encode(errors="replace")[:column].decode(errors="ignore"))
    return line, column + 1


def _extent(tree: ast.AST) -> tuple[int, int]:
    """How many parts a tree has, and how many of them are one within another at most."""
    count, depth = 0, 0
    level: list[ast.AST] = [tree]
    while level:
        count, depth = count + len(level), depth + 1
        level = [part for whole in level for part in ast.iter_child_nodes(whole)]
    return count, depth
