"""What is let in as part of a question that somebody's file holds.

Values as JSON has them enter, and a function's text with its arrays; what they mean leaves, or a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from gradbench import shapes
from gradbench.errors import LanguageError
from gradbench.field import Fields
from gradbench.language import parse
from gradbench.spec import Spec


def outputs(function: str, arrays: Mapping[str, Any]) -> dict[str, Spec]:
    """The spec of each output of a function of these arrays.

    Raises:
        ValueError: It can't be read, or they don't fit it.
    """
    try:
        return _outputs(function, tuple((name, Spec.of(array)) for name, array in arrays.items()))
    except LanguageError as error:
        raise ValueError(f"the function of a query: {error}") from None


@lru_cache(maxsize=4096)
def _outputs(function: str, specs: tuple[tuple[str, Spec], ...]) -> dict[str, Spec]:
    """Kept, because every point of a case asks for the same."""
    known = dict(specs)
    return shapes.outputs(parse(function, known), known)


def tolerance(value: Any) -> dict[str, Any]:
    """A tolerance of an author's own, with those for some targets.

    Raises:
        ValueError: It is none.
    """
    found = _numbers_of(value)
    targets = Fields(value, "a tolerance").object("targets", _numbers_of)
    return found | ({"targets": targets} if targets else {})


def _numbers_of(value: Any) -> dict[str, Any]:
    fields = Fields(value, "a tolerance")
    found = {key: fields.number(key) for key in ("rtol", "atol", "max_ulps")}
    reason = {"reason": fields.text("reason")} if "reason" in fields.value else {}
    return {**{key: number for key, number in found.items() if number is not None}, **reason}


def numbers(value: Any) -> tuple[complex, ...]:
    """Some numbers, each as Python writes it.

    Raises:
        ValueError: They are none.
    """
    found = Fields({"numbers": value}, "choices").texts("numbers")
    if not found or any(len(text) > 99 for text in found):
        raise ValueError("choices are a list of numbers")
    return tuple(complex(text) if "j" in text else float(text) for text in found)


def order(value: Any) -> int:
    """How often a function is differentiated by one of its inputs.

    Raises:
        ValueError: It is no such number.
    """
    return Fields({"order": value}, "a partial derivative").whole("order", 1, 99)
