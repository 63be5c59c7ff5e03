"""SymPy: the function as an expression, differentiated by `sympy.diff`, evaluated by `sympy.lambdify`.

NumPy arrays enter and leave. To answer an operator, f is run once on arrays of real (or complex) symbols; what it
returns is differentiated, and turned into a Python function that runs on numbers of the dtype that came in. A derived
function is kept as long as f is. Expressions grow fast, so large arrays are refused.

Gaps of SymPy's printer for NumPy are filled where the meaning is clear: `Heaviside` is 1/2 at 0, `DiracDelta` is
infinite there and 0 elsewhere, and pieces are chosen as Python does.
"""

from __future__ import annotations

import itertools
import math
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
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.pycode import PythonCodePrinter

from gradbench.adapter import Arrays, Function
from gradbench.adapters.sympy_expressions import COMPOSITE, OPS, Expr, boxed
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.query import Array, Operator

MAX_INPUTS: Final = 64
"""Entries of all inputs together."""
MAX_ENTRIES: Final = 400
"""Expressions in one answer."""
MAX_NODES: Final = 30_000
"""Different subexpressions in one answer."""
MAX_WORK: Final = 12_000
"""Subexpressions of the function times derivatives: about as many milliseconds."""
MIN_SHARED: Final = 2_000
"""Subexpressions in one answer, from which on those that are equal are computed once (lambdify's `cse`)."""


class _Printer(SciPyPrinter):  # type: ignore[misc]  # SymPy has no types
    """SymPy's printer for NumPy and SciPy, with its gaps filled and numbers with all their digits.

    A number is printed as one of Python's, however it is put together: NumPy's own (`sqrt(2)`) is a float64, and would
    make a float64 of every float32 that it meets.
    """

    def _print(self, expr: Any, **settings: Any) -> str:
        short = isinstance(expr, sympy.Rational) and abs(expr.p) < 2**53 and expr.q < 2**53
        if isinstance(expr, sympy.Expr) and expr.is_number and not short:
            value = sympy.N(expr, 17)
            parts = value.as_real_imag()
            if all(part.is_Float or part.is_Rational for part in parts):
                exact = float(parts[0]) if parts[1] == 0 else complex(*map(float, parts))
                return f"({exact!r})"
        return str(super()._print(expr, **settings))

    # SymPy's printer selects among arrays that were all computed. Python's own choice keeps the dtype of a number.
    def _print_Piecewise(self, expr: Any) -> str:  # noqa: N802  # SymPy's name for it
        return str(PythonCodePrinter._print_Piecewise(self, expr))  # noqa: SLF001

    def _print_Heaviside(self, expr: Any) -> str:  # noqa: N802
        return f"heaviside({self._print(expr.args[0])}, 0.5)"

    def _print_DiracDelta(self, expr: Any) -> str:  # noqa: N802
        order = expr.args[1] if len(expr.args) > 1 else 0
        return f"({'inf' if order == 0 else 'nan'} if {self._print(expr.args[0])} == 0 else 0.0)"


_SETTINGS: Final = {"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": True}

_UNEVALUATED: Final = (sympy.Derivative, sympy.Subs, sympy.Integral, sympy.meijerg)


def _compiled(symbols: Sequence[Expr], expressions: Sequence[Expr]) -> Callable[..., Sequence[Any]]:
    """A function of numbers, one for each symbol, that answers with one for each expression.

    Raises:
        Unsupported: There are too many expressions, or there is one that SymPy can't compute.
    """
    _bounded(len(expressions), MAX_ENTRIES, "expressions in one answer")
    sizes = _sizes(expressions)
    _bounded(len(sizes), MAX_NODES, "different subexpressions")
    left = next((one for one in sizes if isinstance(one, _UNEVALUATED)), None)
    if left is not None:
        raise Unsupported(f"SymPy leaves {str(left)[:80]} as it is")
    # Sharing subexpressions builds each of them anew, which takes long for Max and is of no use where little is shared.
    shared = sum(sizes[one] for one in expressions) > MIN_SHARED
    return sympy.lambdify(symbols, list(expressions), ["scipy", "numpy"], printer=_Printer(_SETTINGS), cse=shared)  # type: ignore[no-any-return]


def _sizes(expressions: Iterable[Expr]) -> dict[Expr, int]:
    """For each different subexpression, how many there are in it when it is written out."""
    sizes: dict[Expr, int] = {}
    todo = list(expressions)
    while todo:
        one = todo[-1]
        missing = [] if one in sizes else [part for part in one.args if part not in sizes]
        if missing:
            todo.extend(missing)
        else:
            sizes[todo.pop()] = 1 + sum(sizes[part] for part in one.args)
    return sizes


def _bounded(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise Unsupported(f"{count} {what}; up to {limit} are tried")


@dataclass(frozen=True)
class _Symbolic:
    """A function as expressions.

    Attributes:
        x: Symbols, by input.
        y: The expressions of its output.
    """

    x: Mapping[str, Array]
    y: Array

    @classmethod
    def of(cls, f: Function, x: Arrays) -> _Symbolic:
        """The function on symbols of the shapes of x.

        Raises:
            Unsupported: The inputs are too large, or a primitive isn't for complex numbers.
        """
        _bounded(sum(np.size(array) for array in x.values()), MAX_INPUTS, "symbols for the inputs")
        counter = itertools.count()
        symbols = {name: _symbols("x", array, counter) for name, array in x.items()}
        try:
            return cls(symbols, boxed(f(*symbols.values())))
        except TypeError as error:
            if "comparison of non-real" in str(error) or "not comparable" in str(error):
                raise Unsupported(f"complex numbers have no order: {error}") from None
            raise

    @property
    def flat(self) -> list[Expr]:
        """The symbols of all inputs, in order."""
        return [symbol for array in self.x.values() for symbol in array.flat]

    @property
    def places(self) -> list[range]:
        """Where in them each input's are."""
        ends = list(itertools.accumulate(array.size for array in self.x.values()))
        return [range(end - array.size, end) for end, array in zip(ends, self.x.values(), strict=True)]

    def affords(self, derivatives: int, entries: int = 0) -> None:
        """Refuses what takes too long.

        Raises:
            Unsupported: It would be too many derivatives of too large an expression, or too many of them.
        """
        _bounded(entries, MAX_ENTRIES, "expressions in one answer")
        sizes = _sizes(self.y.flat)
        # Max compares its arguments pair by pair, and once more in each derivative.
        count = sum(len(one.args) ** 2 if isinstance(one, (sympy.Max, sympy.Min)) else 1 for one in sizes if one.args)
        # SymPy looks for the symbols of an expression everywhere in it, however often a part of it occurs.
        size = max(count, sum(sizes[one] for one in self.y.flat) // 20)
        if size * derivatives > MAX_WORK:
            raise Unsupported(f"{derivatives} derivatives of {size} subexpressions; up to {MAX_WORK} are tried")

    def scalar(self, operator: Operator) -> Expr:
        """The one expression of a function whose output is a number."""
        if self.y.shape:
            raise Unsupported(f"the {operator} of an output of shape {list(self.y.shape)}")
        return self.y[()]


def _symbols(letter: str, array: Array, counter: Iterable[int]) -> Array:
    """New symbols in the shape of an array, real unless that is complex."""
    found = np.empty(np.shape(array), object)
    real = True if np.asarray(array).dtype.kind != "c" else None
    for index, i in zip(np.ndindex(found.shape), counter, strict=False):
        found[index] = sympy.Symbol(f"{letter}_{i}", real=real, complex=True)
    return found


@dataclass(frozen=True)
class _Derived:
    """An answer as a function of numbers.

    Attributes:
        shapes: Of each array of the answer, by key.
        function: Takes all the numbers, answers with all entries in order.
    """

    shapes: Mapping[str, tuple[int, ...]]
    function: Callable[..., Sequence[Any]]

    def __call__(self, *arrays: Array) -> dict[str, Array]:
        """The answer at the arrays, in the dtype that NumPy makes of theirs."""
        numbers = [number for array in arrays for number in array.reshape(-1)]
        try:
            with np.errstate(all="ignore"):
                found = list(self.function(*numbers))
        except NameError as error:
            raise Unsupported(f"SymPy's printer for SciPy: {error}") from None
        except TypeError as error:
            if "not supported for the input types" in str(error):
                raise Unsupported(str(error).partition(",")[0]) from None
            raise
        answer, start = {}, 0
        for key, shape in self.shapes.items():
            part = found[start : start + math.prod(shape)]
            answer[key] = _array(part, shape, np.result_type(*arrays))
            start += len(part)
        return answer


def _array(entries: Sequence[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Entries as an array. Python's numbers take the dtype; NumPy's keep theirs if it is wider."""
    if entries and all(isinstance(entry, (bool, np.bool_)) for entry in entries):
        return np.array(entries, bool).reshape(shape)
    own = [entry.dtype for entry in map(np.asarray, entries) if entry.dtype.kind == "c"]
    own += [
        entry.dtype for entry in entries if isinstance(entry, (np.floating, np.ndarray)) and entry.dtype.kind == "f"
    ]
    return np.array([np.asarray(entry)[()] for entry in entries], np.result_type(dtype, *own)).reshape(shape)


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

    def value(self, f: Function, x: Arrays) -> Array:
        """The expression itself, evaluated."""
        return self._one(f, x, Operator.VALUE, lambda s: s.y.flat)

    def gradient(self, f: Function, x: Arrays) -> dict[str, Array]:
        """`diff` by every symbol."""

        def derive(s: _Symbolic) -> list[Expr]:
            y = s.scalar(Operator.GRADIENT)
            s.affords(len(s.flat))
            return [sympy.diff(y, v) for v in s.flat]

        return self._by_input(f, x, Operator.GRADIENT, derive)

    def vjp(self, f: Function, x: Arrays, cotangent: Array) -> dict[str, Array]:
        """`diff`, by every symbol, of the output weighted by symbols for the cotangent."""

        def derive(s: _Symbolic, w: Array) -> list[Expr]:
            s.affords(len(s.flat))
            total = sympy.Add(*(a * b for a, b in zip(w.flat, s.y.flat, strict=True)))
            return [sympy.diff(total, v) for v in s.flat]

        return self._by_input(f, x, Operator.VJP, derive, {"": cotangent})

    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Array:
        """`diff` of each output by every symbol, weighted by symbols for the tangents."""

        def derive(s: _Symbolic, *t: Array) -> list[Expr]:
            s.affords(len(s.flat))
            return [_towards(y, s.flat, t) for y in s.y.flat]

        return self._one(f, x, Operator.JVP, derive, tangents)

    def jacobian(self, f: Function, x: Arrays) -> dict[str, Array]:
        """`Matrix.jacobian`; shapes the output's and then the input's."""

        def derive(s: _Symbolic) -> list[Expr]:
            s.affords(len(s.flat), s.y.size * len(s.flat))
            table = sympy.Matrix(list(s.y.flat)).jacobian(s.flat)
            return [table[i, j] for place in s.places for i in range(s.y.size) for j in place]

        return self._by_input(f, x, Operator.JACOBIAN, derive)

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

    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Array:
        """`diff` of each output, so often by each of the 0-d inputs."""

        def derive(s: _Symbolic) -> list[Expr]:
            s.affords(2 ** sum(orders.values()))
            times = [(s.x[name][()], n) for name, n in orders.items() if n]
            return [sympy.diff(y, *times) if times else y for y in s.y.flat]

        return self._one(f, x, (Operator.PARTIAL, *orders.items()), derive)

    def _one(
        self, f: Function, x: Arrays, what: Any, derive: Callable[..., Iterable[Expr]], extra: Arrays | None = None
    ) -> Array:
        return self._derived(f, x, what, derive, extra or {}, lambda s: {"": s.y.shape})[""]

    def _by_input(
        self, f: Function, x: Arrays, what: Operator, derive: Callable[..., Iterable[Expr]], extra: Arrays | None = None
    ) -> dict[str, Array]:
        def shapes(s: _Symbolic) -> dict[str, tuple[int, ...]]:
            inputs = {name: array.shape for name, array in s.x.items()}
            return {key: what.shape(key, inputs, s.y.shape) for key in what.keys(inputs)}

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
            kept[kinds, what] = _Derived(shapes(symbolic), _compiled(symbols, expressions))
        return kept[kinds, what](*x.values(), *extra.values())  # type: ignore[no-any-return]


def _towards(y: Expr, symbols: Sequence[Expr], tangents: Sequence[Array]) -> Expr:
    moves = [move for array in tangents for move in array.flat]
    return sympy.Add(*(sympy.diff(y, v) * move for v, move in zip(symbols, moves, strict=True)))
