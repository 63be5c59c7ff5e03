"""NumPy as a framework: what every adapter has that computes with it, arrays in and arrays out."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import scipy

from gradbench.adapter import Function
from gradbench.errors import DeviceMissing
from gradbench.numeric import OPS
from gradbench.query import Array


def format_of(f: Function, arrays: Iterable[Array]) -> np.dtype[Any]:
    """The dtype of an answer of f at these inputs: what they have in common; of whole numbers alone, the text's numbers'.

    What calculates by definitions doesn't ask what a number is: it takes whole ones for real ones.
    """
    found = [array.dtype for array in arrays if array.dtype.kind not in "biu"]
    return np.result_type(*found) if found else np.asarray(f.ops["asarray"](0)).dtype


class Host:
    """The vocabulary in NumPy, on the CPU; the operators are the business of those who inherit it."""

    ops: Mapping[str, Callable[..., Any]] = OPS
    composite: frozenset[str] = frozenset()
    refusals: tuple[type[BaseException], ...] = ()

    def open(self, device: str) -> Mapping[str, Any]:
        """Nothing to set; what NumPy multiplies matrices with is reported.

        Raises:
            DeviceMissing: The device is not the CPU.
        """
        if device != "cpu":
            raise DeviceMissing(f"NumPy has no {device!r}")
        config: Any = np.show_config(mode="dicts")
        blas = config["Build Dependencies"]["blas"]
        name = platform.processor() or platform.machine()
        return {"device_name": name, "blas": f"{blas.get('name', '')} {blas.get('version', '')}".strip()}

    def versions(self) -> Mapping[str, str]:
        """Of NumPy and SciPy."""
        return {"numpy": np.__version__, "scipy": scipy.__version__}

    def asarray(self, array: Array) -> Array:
        """A copy."""
        return np.array(array)

    def numpy(self, array: Any) -> Array:
        """The array, also of one of NumPy's scalars."""
        return np.asarray(array)

    def synchronize(self) -> None:
        """NumPy is always done."""
