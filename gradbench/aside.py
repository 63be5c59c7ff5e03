"""What a framework says of a derivative by whole numbers or truth values, of which there is none.

An adapter, a function and one such input enter; a word leaves, and what was said with it. Nothing is judged, and nothing
is known beforehand of any framework: it is asked, in the way in which its users would ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from gradbench.adapter import Adapter, Function
from gradbench.errors import GradbenchError

NONE: Final = "None"
ZEROS: Final = "zeros"
NUMBER: Final = "a number"
ERROR: Final = "an error"
UNSUPPORTED: Final = "unsupported"

_LONGEST: Final = 300
"""Characters of a message that are kept."""


def aside(
    adapter: Adapter, operator: str, whole: Function, x: Mapping[str, Any], name: str, direction: Any
) -> dict[str, str]:
    """What is said of the derivative by one input: under `answer` a word, under `message` the numbers or the error.

    Args:
        adapter: Whom to ask.
        operator: Its name.
        whole: The function of all inputs.
        x: All of them, native.
        name: Of the input, which is discrete.
        direction: The native cotangent, for a vjp; else None.
    """
    f = whole.holding({other: array for other, array in x.items() if other != name})
    arguments = (f, {name: x[name]}, *(() if direction is None else (direction,)))
    try:
        if hasattr(adapter, "by_discrete"):
            native = adapter.by_discrete(operator, *arguments)
        else:
            native = getattr(adapter, operator)(*arguments)
        found = native.get(name)
        return _told([_heard(adapter, part) for part in (found if isinstance(found, tuple) else (found,))])
    except Exception as error:  # noqa: BLE001  # whatever it raises is what it says
        return _raised(error)


def _heard(adapter: Adapter, native: Any) -> tuple[str, str]:
    """One array of an answer: a word, and its numbers."""
    if native is None:
        return NONE, ""
    array = adapter.numpy(native)
    if array.dtype.names:  # such is JAX's dtype of what can't move: it has no numbers, only a name
        return str(array.dtype.names[0]), ""
    if array.size and not array.any():
        return ZEROS, ""
    return NUMBER, np.array2string(np.asarray(array), threshold=8, precision=6, separator=", ").replace("\n", "")


def _told(parts: list[tuple[str, str]]) -> dict[str, str]:
    words = " and ".join(dict.fromkeys(word for word, _ in parts))
    message = "; ".join(text for _, text in parts if text)
    return {"answer": words, **({"message": message[:_LONGEST]} if message else {})}


def _raised(error: BaseException) -> dict[str, str]:
    """The framework's own exception, also where the adapter has taken it for a refusal."""
    cause = error.__cause__ if isinstance(error, GradbenchError) else error
    if cause is None:
        return {"answer": UNSUPPORTED, "message": str(error)[:_LONGEST]}
    said = " ".join(str(cause).split())
    return {"answer": ERROR, "message": f"{type(cause).__name__}: {said}"[:_LONGEST]}
