"""The difference quotients of textbooks, without an error bar: forward, central, and complex step.

Each is a target like any other, asked for by name, so that one sees how many digits it gives where. The reference
`finite-difference` is another matter: it measures its own error.

Sources: Nocedal and Wright (2006), Numerical Optimization, section 8.1, for the steps; Squire and Trapp (1998), Using
complex variables to estimate derivatives of real functions, for the third.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from gradbench.adapter import Arrays, Function, Native
from gradbench.errors import Unsupported
from gradbench.host import Host
from gradbench.numeric import OPS
from gradbench.query import Array

Outputs = tuple[Array, ...]
"""What a function returns: one array, or several if it returns a tuple."""

IMAGINARY: Final = {8: 1e-200, 4: 1e-30}
"""The imaginary step by bytes of the format: so small that its square is 0 beside anything."""


WITHOUT_COMPLEX_STEP: Final = frozenset(
    {
        # of a complex number they give something else than the function continued
        "abs", "sign", "floor", "ceil", "trunc", "round", "remainder", "copysign", "hypot", "atan2", "softsign", "vector_norm",
        "matrix_norm", "svdvals", "eigvalsh", "slogdet", "real", "imag", "conj", "angle",
        # an imaginary part as small as the step is lost in SciPy's complex versions
        "gamma", "j0", "j1", "i0", "i1", "i0e", "i1e",
    }
)  # fmt: skip
"""What the complex step would answer wrongly, and without a word."""


class _Difference(Host):
    """What the three have in common: NumPy, and a derivative by one entry at a time."""

    refusals = (NotImplementedError,)

    def value(self, f: Function, x: Arrays) -> Native:
        """The function itself."""
        return _whole(f, self._of(f, x))

    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Native:
        """Shape y, by one quotient along the direction."""
        return _whole(f, self.quotient(f, x, tangents))

    def jacobian(self, f: Function, x: Arrays) -> dict[str, Native]:
        """By input, shape y + x: a quotient for each entry."""
        found = {}
        for name, array in x.items():
            quotients = [self.quotient(f, x, unit) for unit in _units(x, name)]
            outputs = list(zip(*quotients, strict=True)) if quotients else [() for _ in f.program.outputs]
            shapes = [np.shape(y) for y in (quotients[0] if quotients else self._of(f, x))]
            found[name] = _whole(f, tuple(map(_columns, outputs, shapes, [array] * len(outputs))))
        return found

    def gradient(self, f: Function, x: Arrays) -> dict[str, Native]:
        """By input, shape x."""
        found = self.jacobian(f, x)
        if np.ndim(self.value(f, x)):
            raise ValueError("the gradient of an array")
        return found

    def quotient(self, f: Function, x: Arrays, tangents: Arrays) -> Outputs:
        """The quotient along a direction, shape y."""
        raise NotImplementedError

    def by_discrete(self, operator: str, _f: Function, x: Arrays, *_direction: Array) -> dict[str, Native]:
        """There is no small step from one whole number towards the next."""
        raise Unsupported(f"a {operator} by {', '.join(x)}, in which no step is small")

    def _of(self, f: Function, x: Arrays) -> Outputs:
        if any(a.dtype.kind == "c" for a in x.values()):
            raise Unsupported("a difference quotient along complex numbers")
        return _evaluated(f, x)


class Forward(_Difference):
    """(f(x + h v) − f(x)) / h with h = √ε · max(1, |x|)."""

    def quotient(self, f: Function, x: Arrays, tangents: Arrays) -> Outputs:
        """See the class."""
        h = _step(x, 1 / 2)
        ahead = {name: (a + h * tangents[name]).astype(a.dtype) for name, a in x.items()}
        return _divided(self._of(f, ahead), self._of(f, x), h)


class Central(_Difference):
    """(f(x + h v) − f(x − h v)) / 2h with h = ∛ε · max(1, |x|)."""

    def quotient(self, f: Function, x: Arrays, tangents: Arrays) -> Outputs:
        """See the class."""
        h = _step(x, 1 / 3)
        ahead = {name: (a + h * tangents[name]).astype(a.dtype) for name, a in x.items()}
        behind = {name: (a - h * tangents[name]).astype(a.dtype) for name, a in x.items()}
        return _divided(self._of(f, ahead), self._of(f, behind), 2 * h)


class ComplexStep(_Difference):
    """Im f(x + ih v) / h: no difference, so nothing cancels; only for functions that are analytic as they are written."""

    ops: Mapping[str, Callable[..., Native]] = {
        name: op for name, op in OPS.items() if name not in WITHOUT_COMPLEX_STEP
    }

    def quotient(self, f: Function, x: Arrays, tangents: Arrays) -> Outputs:
        """See the class."""
        kind = next(iter(x.values())).dtype
        if kind.itemsize not in IMAGINARY or kind.kind != "f":
            raise Unsupported(f"a complex step in {kind.name}")
        h = IMAGINARY[kind.itemsize]
        wide = np.result_type(kind, np.complex64)
        moved = {name: (a + 1j * h * tangents[name]).astype(wide) for name, a in x.items()}
        try:
            outputs = _evaluated(f, moved)
        except TypeError as error:
            raise Unsupported(f"not for complex numbers: {str(error).splitlines()[0]}") from error
        if any(y.dtype.kind != "c" for y in outputs):
            raise Unsupported("the function drops the imaginary part, as abs and floor do")
        return tuple(np.asarray(y.imag / h).astype(kind) for y in outputs)


def _evaluated(f: Function, x: Arrays) -> Outputs:
    """The outputs of f."""
    with np.errstate(all="ignore"):
        y = f(*x.values())
    return tuple(map(np.asarray, y if f.program.is_tuple else (y,)))


def _whole(f: Function, outputs: Outputs) -> Native:
    """What f answers: its outputs if it returns a tuple, else the one that it has."""
    return outputs if f.program.is_tuple else outputs[0]


def _divided(ahead: Outputs, behind: Outputs, h: float) -> Outputs:
    return tuple(np.asarray((a - b) / a.dtype.type(h)) for a, b in zip(ahead, behind, strict=True))


def _columns(columns: Sequence[Array], y: tuple[int, ...], x: Array) -> Array:
    """Columns as a matrix of shape y + x; of none the dtype is that of x."""
    return np.stack(columns, -1).reshape(y + x.shape) if columns else np.zeros(y + x.shape, x.dtype)


def _step(x: Arrays, power: float) -> float:
    """A power of 2, so that x + h differs from x by exactly h where it can."""
    kind = next(iter(x.values())).dtype
    size = max([1.0, *(float(np.max(np.abs(a), initial=0.0)) for a in x.values())])
    return float(2.0 ** np.round(np.log2(float(np.finfo(kind).eps) ** power * size)))


def _units(x: Arrays, name: str) -> Iterator[dict[str, Array]]:
    """The unit directions of one input."""
    for index in range(x[name].size):
        found = {other: np.zeros_like(a) for other, a in x.items()}
        found[name].reshape(-1)[index] = 1
        yield found
