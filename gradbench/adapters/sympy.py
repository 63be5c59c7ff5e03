"""SymPy: the function as an expression, differentiated by `sympy.diff`, evaluated by `sympy.lambdify`.

NumPy arrays enter and leave. To answer an operator, f is run once on arrays of real (or complex) symbols; what it
returns is differentiated, and turned into a Python function that runs on numbers of the dtype that came in. A derived
function is kept as long as f is. Expressions grow fast, so large arrays are refused. The primitives are spelled in
`sympy_expressions`; `sympy_functions` evaluates.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import ml_dtypes
import numpy as np
import scipy
import sympy
from sympy.external.gmpy import GROUND_TYPES

from gradbench.adapter import Arrays, Function
from gradbench.adapters.sympy_expressions import COMPOSITE, OPS, Expr, boxed
from gradbench.adapters.sympy_functions import MAX_ENTRIES, MIN_SHARED, Derived, bounded, compiled, sizes_of
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.host import format_of
from gradbench.query import Array, Operator

MAX_INPUTS: Final = 64
"""Entries of all inputs together."""
MAX_WORK: Final = 12_000
"""Subexpressions of the function times derivatives: about as many milliseconds."""

Answer = Array | tuple[Array, ...]
"""An array; of a function that returns a tuple, one for each output."""


@dataclass(frozen=True)
class _Symbolic:
    """A function as expressions.

    Attributes:
        x: Symbols, by input.
        outputs: Expressions, by output: one under ``""``, or several under ``"0"``, ``"1"`` and so on.
    """

    x: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @classmethod
    def of(cls, f: Function, x: Arrays) -> _Symbolic:
        """The function on symbols of the shapes of x.

        Raises:
            Unsupported: The inputs are too large, or a primitive isn't for complex numbers.
        """
        bounded(sum(np.size(array) for array in x.values()), MAX_INPUTS, "symbols for the inputs")
        counter = itertools.count()
        symbols = {name: _symbols("x", array, counter) for name, array in x.items()}
        try:
            y = f(*symbols.values())
        except TypeError as error:
            if "comparison of non-real" in str(error) or "not comparable" in str(error):
                raise Unsupported(f"complex numbers have no order: {error}") from None
            raise
        outputs = y if f.program.is_tuple else (y,)
        return cls(symbols, dict(zip(f.program.keys, map(boxed, outputs), strict=True)))

    @property
    def y(self) -> list[Expr]:
        """The expressions of all outputs, in order."""
        return [entry for array in self.outputs.values() for entry in array.flat]

    @property
    def flat(self) -> list[Expr]:
        """The symbols of all inputs, in order."""
        return [symbol for array in self.x.values() for symbol in array.flat]

    @property
    def places(self) -> list[range]:
        """Where in them each input's are."""
        return _places(self.x)

    @property
    def rows(self) -> list[range]:
        """Where among the expressions each output's are."""
        return _places(self.outputs)

    def affords(self, derivatives: int, entries: int = 0) -> None:
        """Refuses what takes too long.

        Raises:
            Unsupported: It would be too many derivatives of too large an expression, or too many of them.
        """
        bounded(entries, MAX_ENTRIES, "expressions in one answer")
        sizes = sizes_of(self.y)
        # Max compares its arguments pair by pair, and once more in each derivative.
        count = sum(len(one.args) ** 2 if isinstance(one, (sympy.Max, sympy.Min)) else 1 for one in sizes if one.args)
        # SymPy looks for the symbols of an expression everywhere in it, however often a part of it occurs.
        size = max(count, sum(sizes[one] for one in self.y) // 20)
        if size * derivatives > MAX_WORK:
            raise Unsupported(f"{derivatives} derivatives of {size} subexpressions; up to {MAX_WORK} are tried")

    def scalar(self, operator: Operator) -> Expr:
        """The one expression of a function whose output is a number."""
        shapes = [list(array.shape) for array in self.outputs.values()]
        if shapes != [[]] or "" not in self.outputs:
            raise Unsupported(f"the {operator} of an output of shape {', '.join(map(str, shapes))}")
        return self.y[0]


def _places(arrays: Mapping[str, Array]) -> list[range]:
    """Where the entries of each array are among those of all."""
    ends = list(itertools.accumulate(array.size for array in arrays.values()))
    return [range(end - array.size, end) for end, array in zip(ends, arrays.values(), strict=True)]


def _symbols(letter: str, array: Array, counter: Iterable[int]) -> Array:
    """New symbols in the shape of an array, real unless that is complex, and integer if that is."""
    found = np.empty(np.shape(array), object)
    kind = np.asarray(array).dtype.kind
    real, integer = (True if kind != "c" else None), (True if kind in "iu" else None)
    for index, i in zip(np.ndindex(found.shape), counter, strict=False):
        found[index] = sympy.Symbol(f"{letter}_{i}", real=real, complex=True, integer=integer)
    return found


class SymPy:
    """SymPy and `lambdify` with NumPy and SciPy, on the CPU."""

    ops: Final[Mapping[str, Callable[..., Any]]] = OPS
    composite: Final = COMPOSITE
    refusals: Final[tuple[type[BaseException], ...]] = (NotImplementedError,)

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Function, dict[Any, Any]] = WeakKeyDictionary()

    def open(self, device: str) -> Mapping[str, Any]:
        """Nothing to set; what SymPy computes its integers with is reported.

        Raises:
            DeviceMissing: The device is not the CPU.
        """
        if device != "cpu":
            raise DeviceMissing(f"SymPy has no {device!r}")
        name = platform.processor() or platform.machine()
        return {
            "device_name": name,
            "ground_types": GROUND_TYPES,
            "modules": ["scipy", "numpy"],
            "cse_from": MIN_SHARED,
        }

    def versions(self) -> Mapping[str, str]:
        """Of SymPy, and of what evaluates its expressions."""
        return {"sympy": sympy.__version__, "numpy": np.__version__, "scipy": scipy.__version__}

    def asarray(self, array: Array) -> Array:
        """A copy.

        Raises:
            Unsupported: NumPy itself doesn't know the format.
        """
        if array.dtype == ml_dtypes.bfloat16:
            raise Unsupported("NumPy has no bfloat16")
        return np.array(array)

    def numpy(self, array: Any) -> Array:
        """The array."""
        return np.asarray(array)

    def synchronize(self) -> None:
        """NumPy is always done."""

    def value(self, f: Function, x: Arrays) -> Answer:
        """The expression itself, evaluated."""
        return self._one(f, x, Operator.VALUE, lambda s: s.y)

    def gradient(self, f: Function, x: Arrays) -> dict[str, Array]:
        """`diff` by every symbol."""

        def derive(s: _Symbolic) -> list[Expr]:
            y = s.scalar(Operator.GRADIENT)
            s.affords(len(s.flat))
            return [sympy.diff(y, v) for v in s.flat]

        return self._by_input(f, x, Operator.GRADIENT, derive)

    def vjp(self, f: Function, x: Arrays, cotangent: Answer) -> dict[str, Array]:
        """`diff`, by every symbol, of the outputs weighted by symbols for the cotangents."""

        def derive(s: _Symbolic, *w: Array) -> list[Expr]:
            s.affords(len(s.flat))
            weights = [weight for array in w for weight in array.flat]
            total = sympy.Add(*(a * b for a, b in zip(weights, s.y, strict=True)))
            return [sympy.diff(total, v) for v in s.flat]

        cotangents = cotangent if isinstance(cotangent, tuple) else (cotangent,)
        found = self._by_input(f, x, Operator.VJP, derive, dict(zip(f.program.keys, cotangents, strict=True)))
        # By a real input it is the derivative of the real part.
        return {name: array if np.iscomplexobj(x[name]) else np.real(array) for name, array in found.items()}

    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Answer:
        """`diff` of each output by every symbol, weighted by symbols for the tangents."""

        def derive(s: _Symbolic, *t: Array) -> list[Expr]:
            s.affords(len(s.flat))
            return [_towards(y, s.flat, t) for y in s.y]

        return self._one(f, x, Operator.JVP, derive, tangents)

    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """`Matrix.jacobian`; shapes the output's and then the input's; a tuple of them if f returns a tuple."""

        def derive(s: _Symbolic) -> list[Expr]:
            s.affords(len(s.flat), len(s.y) * len(s.flat))
            if not s.y or not s.flat:
                return []  # SymPy has no matrix without rows or columns
            table = sympy.Matrix(s.y).jacobian(s.flat)
            return [table[i, j] for rows in s.rows for place in s.places for i in rows for j in place]

        found = self._by_input(f, x, Operator.JACOBIAN, derive)
        if not f.program.is_tuple:
            return found
        return {name: tuple(found[f"{key},{name}"] for key in f.program.keys) for name in x}

    def hessian(self, f: Function, x: Arrays) -> dict[str, Array]:
        """`sympy.hessian`; shapes one input's and then the other's."""

        def derive(s: _Symbolic) -> list[Expr]:
            y, count = s.scalar(Operator.HESSIAN), len(s.flat)
            s.affords(count + count**2, count**2)
            table = sympy.hessian(y, s.flat)
            return [table[i, j] for rows in s.places for columns in s.places for i in rows for j in columns]

        return self._by_input(f, x, Operator.HESSIAN, derive)

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> dict[str, Array]:
        """`diff`, by every symbol, of the derivative along symbols for the tangents."""

        def derive(s: _Symbolic, *t: Array) -> list[Expr]:
            y, count = s.scalar(Operator.HVP), len(s.flat)
            s.affords(count + count**2)
            slope = _towards(y, s.flat, t)
            return [sympy.diff(slope, v) for v in s.flat]

        return self._by_input(f, x, Operator.HVP, derive, tangents)

    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Answer:
        """`diff` of each output, so often by each of the 0-d inputs."""

        def derive(s: _Symbolic) -> list[Expr]:
            s.affords(2 ** sum(orders.values()))
            times = [(s.x[name][()], n) for name, n in orders.items() if n]
            return [sympy.diff(y, *times) if times else y for y in s.y]

        return self._one(f, x, (Operator.PARTIAL, *orders.items()), derive)

    def _one(
        self, f: Function, x: Arrays, what: Any, derive: Callable[..., Iterable[Expr]], extra: Arrays | None = None
    ) -> Answer:
        def shapes(s: _Symbolic) -> dict[str, tuple[int, ...]]:
            return {key: array.shape for key, array in s.outputs.items()}

        found = self._derived(f, x, what, derive, extra or {}, shapes)
        return tuple(found.values()) if f.program.is_tuple else found[""]

    def _by_input(
        self, f: Function, x: Arrays, what: Operator, derive: Callable[..., Iterable[Expr]], extra: Arrays | None = None
    ) -> dict[str, Array]:
        def shapes(s: _Symbolic) -> dict[str, tuple[int, ...]]:
            inputs, outputs = ({k: array.shape for k, array in arrays.items()} for arrays in (s.x, s.outputs))
            y = outputs.get("", outputs)
            return {key: what.shape(key, inputs, y) for key in what.keys(inputs, tuple(outputs))}

        return self._derived(f, x, what, derive, extra or {}, shapes)

    def _derived(
        self,
        f: Function,
        x: Arrays,
        what: Any,
        derive: Callable[..., Iterable[Expr]],
        extra: Arrays,
        shapes: Callable[[_Symbolic], Mapping[str, tuple[int, ...]]],
    ) -> dict[str, Array]:
        """The answer, from expressions that are derived once for each f, operator and shapes of x."""
        kept = self._kept.setdefault(f, {})
        kinds = tuple((name, np.shape(array), np.asarray(array).dtype.kind) for name, array in x.items())
        if kinds not in kept:
            kept[kinds] = _Symbolic.of(f, x)
        if (kinds, what) not in kept:
            symbolic = kept[kinds]
            counter = itertools.count()
            more = [_symbols("t", array, counter) for array in extra.values()]
            expressions = list(derive(symbolic, *more))
            symbols = [*symbolic.flat, *(symbol for array in more for symbol in array.flat)]
            kept[kinds, what] = Derived(shapes(symbolic), compiled(symbols, expressions))
        arrays = (*x.values(), *extra.values())
        return kept[kinds, what](format_of(f, arrays), *arrays)  # type: ignore[no-any-return]


def _towards(y: Expr, symbols: Sequence[Expr], tangents: Sequence[Array]) -> Expr:
    moves = [move for array in tangents for move in array.flat]
    return sympy.Add(*(sympy.diff(y, v) * move for v, move in zip(symbols, moves, strict=True)))
