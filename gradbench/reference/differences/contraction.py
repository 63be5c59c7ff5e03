"""Somebody's derivative, contracted with a direction on either side.

An array or a callable enters; <u, J v> leaves, with how far off rounding may have left it. A callable that raises,
or answers with something else than it should, is a `Fault`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import ml_dtypes
import numpy as np

from gradbench.query import Array
from gradbench.reference.differences.subject import Fault, Subject, numbers

DEVIATION: Final = 6.5
"""A sum of so many roots of squares isn't reached by signs drawn at random but once in 10^9. Hoeffding (1963)."""
DTYPES: Final = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
"""In which a derivative may have been computed."""


class Answer:
    """Somebody's derivative, contracted.

    Attributes:
        kind: `gradient`, `vjp` or `jvp`.
        digits: Binary ones behind the point that the dtype holds of numbers from 1 to 2.
        narrow: The dtype that it answered in, if that has less precision than was said.
    """

    def __init__(self, kind: str, source: Any, subject: Subject, dtype: str, ulps: float) -> None:
        if kind == "gradient" and subject.size != 1:
            raise Fault(f"f answers with shape {subject.output}, and a gradient is that of one number; give a vjp")
        self.kind, self.source, self.subject, self.dtype, self.ulps = kind, source, subject, DTYPES[dtype], ulps
        format = ml_dtypes.finfo(self.dtype)
        self.digits = int(format.nmant)
        self.rounding, self.least = float(format.eps), float(format.smallest_subnormal)
        self.narrow, self.largest = "", 0.0
        self.gradients: dict[bytes, Array] = {}

    def pulled(self, u: Array) -> Array:
        """The gradient of the sum of u f, of shape (n)."""
        if self.kind == "gradient":
            pulled: Array = float(u[0]) * self._flat(self.source)
            return pulled
        key = u.tobytes()
        if key not in self.gradients:
            self.gradients[key] = self.asked(u)
        return self.gradients[key]

    def asked(self, direction: Array) -> Array:
        """What the callable answers, flat, asked now."""
        layout, output = self.subject.layout, self.subject.output
        if self.kind == "gradient":
            return self._flat(self.source)
        try:
            if self.kind == "vjp":
                found = self.source(direction.astype(self.dtype).reshape(output))
            else:
                found = self.source(layout.arrays(direction.copy(), self.dtype))
        except Exception as error:
            raise Fault(f"{self.kind} raised {type(error).__name__}: {error}") from error
        if self.kind == "vjp":
            return self._flat(found)
        flat = np.zeros(self.subject.size) if found is None else numbers(found, output, "jvp")
        self._look([found])
        return flat

    def _flat(self, found: Any) -> Array:
        flat = self.subject.layout.flat(found, self.kind)
        self._look(found.values() if isinstance(found, Mapping) else [found])
        return flat

    def _look(self, parts: Iterable[Any]) -> None:
        """Notes a dtype that can't hold what was asked for."""
        for part in parts:
            dtype = np.asarray(part).dtype
            if dtype in DTYPES.values() and ml_dtypes.finfo(dtype).nmant < self.digits:
                self.narrow = str(dtype)

    def along(self, u: Array, v: Array, block: slice) -> tuple[float, float]:
        """<u, J v>, v being 0 outside a block, and how far off rounding may have left it."""
        if self.kind != "jvp":
            pulled = self.pulled(u)[block]
            # What isn't moved stays out, were it NaN.
            return self.sum(v * pulled if v.all() else np.multiply(v, pulled, out=np.zeros(len(v)), where=v != 0))
        moved = np.zeros(self.subject.point.size)
        moved[block] = v
        total, rounding = self.sum(u * self.asked(moved))
        # A jvp adds up n products before anyone sees them; the largest sum that was seen tells how large they are.
        share = math.sqrt(len(v) / len(moved))
        self.largest = max(self.largest, abs(total) if share == 1 and math.isfinite(total) else 0.0)
        inside = self.ulps * self.rounding * (1 + math.log2(len(moved))) * max(self.largest * share, abs(total))
        return total, rounding + inside

    def sum(self, terms: Array) -> tuple[float, float]:
        """The sum, and how far off the rounding of its terms may have left it."""
        with np.errstate(over="ignore", invalid="ignore"):
            straight, root = float(np.sum(np.abs(terms))), math.sqrt(np.dot(terms, terms))
            # In extended precision where the machine has it; elsewhere NumPy's sum by halves is as good as needed.
            total = float(np.sum(terms, dtype=np.longdouble))
        if not math.isfinite(straight):
            return math.nan, 0.0
        # The terms' errors have signs that were drawn at random, since v was.
        return total, self.ulps * (self.rounding * min(straight, DEVIATION * root) + self.least * len(terms))
