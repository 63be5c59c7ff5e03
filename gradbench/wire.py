"""Arrays and numbers as JSON, bit by bit.

A NumPy array enters, a value that `json` can write leaves, and the other way round. Short arrays are lists of numbers
that people can read (Python's shortest decimal that reads back as the same float64; a narrower number is widened
first, which is exact); longer ones are base64 of their little-endian bytes. NaN and the infinities are strings,
because JSON has no word for them; a NaN keeps no payload in the short form. The bytes of a large array stay where they
are until somebody writes them: a `Bulk` stands in their place, which `frames` knows how to send and to store.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, Final

import ml_dtypes
import numpy as np

from gradbench.field import Fields, is_number

Array = np.ndarray[Any, np.dtype[Any]]

SHORT: Final = 64
"""Arrays of at most this many entries are written as numbers."""

LARGE: Final = 1 << 16
"""Bytes: the content of an array of more is never held as text beside the array."""

MOST: Final = 2**27
"""The most entries an array may have that is read."""
AXES: Final = 32
"""And the most axes: a Hessian has twice those of an input."""
_NAMES: Final = frozenset({"nan", "inf", "-inf"})

FORMATS: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(name)
    for name in (
        "float64", "float32", "float16", "complex128", "complex64", "bool",
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    )
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}  # fmt: skip
"""Every dtype that may travel, by name."""

_NAME_OF: Final = {dtype: name for name, dtype in FORMATS.items()}  # NumPy makes a name anew whenever it is asked


class Bulk:
    """The bytes of a large array, in place of their base64."""

    def __init__(self, data: memoryview | bytes | bytearray) -> None:
        self.data = memoryview(data).cast("B")


def number_to_json(number: float | bool) -> float | bool | str:
    """A number, or its name if JSON has no number for it."""
    if isinstance(number, float) and not math.isfinite(number):
        return "nan" if math.isnan(number) else ("inf" if number > 0 else "-inf")
    return number


def array_to_json(array: Array) -> dict[str, Any]:
    """An array as dtype, shape and data."""
    array = np.asarray(array)
    name = _NAME_OF.get(array.dtype)
    if name is None:
        message = f"an array of {array.dtype} can't travel"
        raise TypeError(message)
    found: dict[str, Any] = {"dtype": name, "shape": list(array.shape)}
    if array.size > SHORT:
        little = array if array.dtype.byteorder in "=|<" else array.astype(array.dtype.newbyteorder("<"))
        solid = np.ascontiguousarray(little)
        if solid.nbytes > LARGE:
            # A view of bytes, because memoryview knows nothing of bfloat16.
            found["base64"] = Bulk(solid.reshape(-1).view(np.uint8).data)
        else:
            found["base64"] = base64.b64encode(solid.tobytes()).decode("ascii")
        return found
    flat = array.reshape(-1)
    if array.dtype.kind == "c":
        wide = flat.astype(np.complex128)
        found["data"] = [number_to_json(float(part)) for z in wide for part in (z.real, z.imag)]
    elif array.dtype.kind in "iub":
        found["data"] = flat.tolist()
    else:
        found["data"] = [number_to_json(x) for x in (flat if name == "float64" else flat.astype(np.float64)).tolist()]
    return found


def array_from_json(value: Mapping[str, Any]) -> Array:
    """The array that `array_to_json` wrote.

    Raises:
        ValueError: The value is no array; its size is checked before anything is allocated.
    """
    fields = Fields(value, "an array")
    name, shape = fields.text("dtype"), shape_from_json(fields.get("shape"))
    if name not in FORMATS:
        message = f"unknown dtype {name[:40]!r}"
        raise ValueError(message)
    dtype, size = FORMATS[name], math.prod(shape)
    if isinstance(value.get("base64"), Bulk):
        return np.frombuffer(value["base64"].data, dtype).reshape(shape)
    if "base64" in value:
        content = base64.b64decode(fields.text("base64"), validate=True)
        return np.frombuffer(content, dtype).reshape(shape).copy()
    data = fields.get("data")
    if not isinstance(data, list) or len(data) != size * (2 if dtype.kind == "c" else 1):
        message = f"no {size} numbers for the shape {list(shape)}"
        raise ValueError(message)
    if dtype.kind in "iub":
        return np.array([_integer(x, dtype) for x in data], dtype).reshape(shape)
    parts = [_real(x) for x in data]
    if name == "float64":
        return np.array(parts, np.float64).reshape(shape)
    with np.errstate(over="ignore"):  # of complex numbers the parts stand one after the other
        found = np.array(parts, np.float64).view(np.complex128 if dtype.kind == "c" else np.float64)
        return found.astype(dtype).reshape(shape)


def shape_from_json(value: Any) -> tuple[int, ...]:
    """The shape of an array.

    Raises:
        ValueError: The value is none, or that of an array with more entries or axes than one may have.
    """
    if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value):
        message = "the shape is no list of sizes"
        raise ValueError(message)
    # An axis of size 0 hides how large the others are.
    if len(value) > AXES or math.prod(n for n in value if n) > MOST:
        message = f"an array of more than {MOST} entries, or {AXES} axes"
        raise ValueError(message)
    return tuple(value)


def _real(value: Any) -> float:
    """A number, or the name of one that JSON has none for."""
    if is_number(value) or (isinstance(value, str) and value in _NAMES) or isinstance(value, float):
        return float(value)
    message = "what is no number in an array of numbers"
    raise ValueError(message)


def _integer(value: Any, dtype: np.dtype[Any]) -> int | bool:
    """A whole number that the format can hold, or a truth value."""
    if dtype.kind == "b" and isinstance(value, bool):
        return value
    if dtype.kind != "b" and type(value) is int and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        return value
    message = f"what is no {dtype.name} in an array of them"
    raise ValueError(message)


def arrays_to_json(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Named arrays."""
    return {name: array_to_json(array) for name, array in arrays.items()}


def arrays_from_json(value: Mapping[str, Any]) -> dict[str, Array]:
    """Named arrays again.

    Raises:
        ValueError: The value is no object of arrays.
    """
    return {name: array_from_json(array) for name, array in Fields(value, "arrays").value.items()}
