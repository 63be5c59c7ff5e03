"""Arrays and numbers as JSON, bit by bit.

A NumPy array enters, a value that `json` can write leaves, and the other way round. Short arrays are lists of numbers
that people can read (Python's shortest decimal that reads back as the same float64; a narrower number is widened
first, which is exact); longer ones are base64 of their little-endian bytes. NaN and the infinities are strings,
because JSON has no word for them; a NaN keeps no payload in the short form.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, Final

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

SHORT: Final = 64
"""Arrays of at most this many entries are written as numbers."""

FORMATS: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(name)
    for name in (
        "float64", "float32", "float16", "complex128", "complex64", "bool",
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    )
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}  # fmt: skip
"""Every dtype that may travel, by name."""


def number_to_json(number: float | bool) -> float | bool | str:
    """A number, or its name if JSON has no number for it."""
    if isinstance(number, float) and not math.isfinite(number):
        return "nan" if math.isnan(number) else ("inf" if number > 0 else "-inf")
    return number


def array_to_json(array: Array) -> dict[str, Any]:
    """An array as dtype, shape and data."""
    array = np.asarray(array)
    name = array.dtype.name
    if name not in FORMATS:
        message = f"an array of {name} can't travel"
        raise TypeError(message)
    found: dict[str, Any] = {"dtype": name, "shape": list(array.shape)}
    if array.size > SHORT:
        little = array if array.dtype.byteorder in "=|<" else array.astype(array.dtype.newbyteorder("<"))
        found["base64"] = base64.b64encode(np.ascontiguousarray(little).tobytes()).decode("ascii")
        return found
    flat = array.reshape(-1)
    if array.dtype.kind == "c":
        wide = flat.astype(np.complex128)
        found["data"] = [number_to_json(float(part)) for z in wide for part in (z.real, z.imag)]
    elif array.dtype.kind in "iub":
        found["data"] = flat.tolist()
    else:
        found["data"] = [number_to_json(x) for x in flat.astype(np.float64).tolist()]
    return found


def array_from_json(value: Mapping[str, Any]) -> Array:
    """The array that `array_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: The value is no array; its size is checked before anything is allocated.
    """
    name, shape = value["dtype"], tuple(value["shape"])
    if name not in FORMATS:
        message = f"unknown dtype {name!r}"
        raise ValueError(message)
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        message = f"{shape} is no shape"
        raise ValueError(message)
    dtype = FORMATS[name]
    if "base64" in value:
        return np.frombuffer(base64.b64decode(value["base64"], validate=True), dtype).reshape(shape).copy()
    data = value["data"]
    if dtype.kind == "c":
        parts = [float(x) for x in data]
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return np.array([complex(re, im) for re, im in pairs], np.complex128).astype(dtype).reshape(shape)
    if dtype.kind in "iub":
        return np.array(data, dtype).reshape(shape)
    with np.errstate(over="ignore"):
        return np.array([float(x) for x in data], np.float64).astype(dtype).reshape(shape)


def arrays_to_json(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Named arrays."""
    return {name: array_to_json(array) for name, array in arrays.items()}


def arrays_from_json(value: Mapping[str, Any]) -> dict[str, Array]:
    """Named arrays again."""
    return {name: array_from_json(array) for name, array in value.items()}
