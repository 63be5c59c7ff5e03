"""Derivatives that people wrote by hand, evaluated with NumPy: one more target, judged like the rest.

NumPy arrays enter and leave. The function, and each rule that its case states for a derivative, is a program; both are
run with the vocabulary of `gradbench.numeric`. Nothing is derived here: what a case doesn't state is unsupported.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradbench.adapter import Arrays, Function
from gradbench.errors import Unsupported
from gradbench.host import Host, format_of
from gradbench.program import Program, evaluate
from gradbench.query import Array, Operator


class Manual(Host):
    """The rules of a case, on the CPU.

    A number that a rule returns for an array stands for an array of it: ``{x: 1}``. An input that a reverse pass
    doesn't mention is answered None.
    """

    def value(self, f: Function, x: Arrays) -> Array | tuple[Array, ...]:
        """What the case states as a formula for the value; else f itself, also if it returns a tuple. Shape y."""
        if Operator.VALUE not in f.rules:
            y = f(*x.values())
            return tuple(map(np.asarray, y)) if f.program.is_tuple else np.asarray(y)
        found: Array = _answers(f, Operator.VALUE, f.rules[Operator.VALUE], x)[""]
        return found

    def vjp(self, f: Function, x: Arrays, cotangent: Array) -> dict[str, Any]:
        """The reverse pass, shapes as the inputs'."""
        return _answers(f, Operator.VJP, _rule(f, Operator.VJP), x, cotangent)

    def gradient(self, f: Function, x: Arrays) -> dict[str, Any]:
        """The rule for it; else the reverse pass, pulled back from 1, which is the same by definition."""
        if Operator.GRADIENT in f.rules or Operator.VJP not in f.rules:
            return _answers(f, Operator.GRADIENT, _rule(f, Operator.GRADIENT), x)
        shape = _shape(f, x)
        if shape:
            raise Unsupported(f"the gradient of an output of shape {list(shape)}")
        return _answers(f, Operator.GRADIENT, f.rules[Operator.VJP], x, np.ones((), _dtype(f, x)))

    def by_discrete(self, operator: str, _f: Function, x: Arrays, *_direction: Array) -> dict[str, Any]:
        """Nothing: a case can state no derivative by whole numbers."""
        raise Unsupported(f"the case states no {operator} by {', '.join(x)}")

    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """The rule for it, shapes the output's and then the input's."""
        return _answers(f, Operator.JACOBIAN, _rule(f, Operator.JACOBIAN), x)

    def hessian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """The rule for it, shapes one input's and then the other's."""
        return _answers(f, Operator.HESSIAN, _rule(f, Operator.HESSIAN), x)


def _rule(f: Function, operator: Operator) -> Program:
    if operator not in f.rules:
        raise Unsupported(f"the case states no {operator} by hand")
    return f.rules[operator]


def _answers(
    f: Function, operator: Operator, rule: Program, x: Arrays, cotangent: Array | None = None
) -> dict[str, Any]:
    """What a rule returns, by key of the operator."""
    directions = {} if cotangent is None else {"cotangent": cotangent}
    found = evaluate(rule, f.ops, {**x, **f.constants, **directions})
    keys = operator.keys(f.inputs)
    by_key = found if isinstance(found, dict) else {keys[0]: found}
    if not isinstance(found, dict) and len(keys) > 1:
        raise Unsupported(f"the {operator} by hand is one array for {len(keys)} inputs")
    output = _shape(f, x) if operator in {Operator.VALUE, Operator.JACOBIAN} else ()
    shapes = {name: np.shape(array) for name, array in x.items()}
    # the derivative of a real number by a complex one is complex; a value may well be real
    kinds = "biuf" if _dtype(f, x).kind == "c" and operator is not Operator.VALUE else "biu"
    return {key: _filled(by_key.get(key), operator.shape(key, shapes, output), _dtype(f, x), kinds) for key in keys}


def _filled(answer: Any, shape: tuple[int, ...], dtype: np.dtype[Any], kinds: str) -> Array | None:
    """A number as an array of it; one of these kinds, as a whole number, as one of the dtype. A wrong shape is left."""
    if answer is None:
        return None
    array = np.asarray(answer)
    if array.dtype.kind in kinds:
        array = array.astype(dtype)
    return np.full(shape, array) if array.ndim == 0 else array


def _dtype(f: Function, x: Arrays) -> np.dtype[Any]:
    return format_of(f, x.values())


def _shape(f: Function, x: Arrays) -> tuple[int, ...]:
    return np.shape(f(*x.values()))
