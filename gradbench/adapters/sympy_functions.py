"""Expressions to functions of numbers: the part of the adapter `sympy` that evaluates, by `sympy.lambdify`.

Expressions enter; a function of numbers leaves. Expressions grow fast, so large answers are refused. Gaps of SymPy's printer for NumPy
are filled where the meaning is clear: `Heaviside` is 1/2 at 0, `DiracDelta` is infinite there and 0 elsewhere, and
pieces are chosen as Python does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sympy
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.pycode import PythonCodePrinter

from gradbench.adapters.sympy_expressions import Expr
from gradbench.errors import Unsupported
from gradbench.query import Array

MAX_ENTRIES: Final = 400
"""Expressions in one answer."""
MAX_NODES: Final = 30_000
"""Different subexpressions in one answer."""
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


def compiled(symbols: Sequence[Expr], expressions: Sequence[Expr]) -> Callable[..., Sequence[Any]]:
    """A function of numbers, one for each symbol, that answers with one for each expression.

    Raises:
        Unsupported: There are too many expressions, or there is one that SymPy can't compute.
    """
    bounded(len(expressions), MAX_ENTRIES, "expressions in one answer")
    sizes = sizes_of(expressions)
    bounded(len(sizes), MAX_NODES, "different subexpressions")
    left = next((one for one in sizes if isinstance(one, _UNEVALUATED)), None)
    if left is not None:
        raise Unsupported(f"SymPy leaves {str(left)[:80]} as it is")
    # Sharing subexpressions builds each of them anew, which takes long for Max and is of no use where little is shared.
    shared = sum(sizes[one] for one in expressions) > MIN_SHARED
    return sympy.lambdify(symbols, list(expressions), ["scipy", "numpy"], printer=_Printer(_SETTINGS), cse=shared)  # type: ignore[no-any-return]


def sizes_of(expressions: Iterable[Expr]) -> dict[Expr, int]:
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


def bounded(count: int, limit: int, what: str) -> None:
    """Refuses what there is too much of.

    Raises:
        Unsupported: The count is above the limit.
    """
    if count > limit:
        raise Unsupported(f"{count} {what}; up to {limit} are tried")


@dataclass(frozen=True)
class Derived:
    """An answer as a function of numbers.

    Attributes:
        shapes: Of each array of the answer, by key.
        function: Takes all the numbers, answers with all entries in order.
    """

    shapes: Mapping[str, tuple[int, ...]]
    function: Callable[..., Sequence[Any]]

    def __call__(self, dtype: np.dtype[Any], *arrays: Array) -> dict[str, Array]:
        """The answer at the arrays, in the dtype."""
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
            answer[key] = _array(part, shape, dtype)
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
