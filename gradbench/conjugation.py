"""The two conventions of complex derivatives, and what an answer is in ours.

A question, an answer and what is right in either convention enter; which one the answer keeps leaves, and the answer in
ours. By z = x + iy, ours is the linear one: f'(z) of a holomorphic function, df/dx - i df/dy of a real one, as JAX and
autograd have it. PyTorch and TensorFlow answer the conjugate, df/dx + i df/dy, which is the direction of steepest ascent.
Both say the same: https://docs.pytorch.org/docs/stable/notes/autograd.html#autograd-for-complex-numbers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from gradbench.compare import Truth
from gradbench.difference import Difference
from gradbench.language import parse
from gradbench.query import Array, Operator, Query
from gradbench.shapes import Spec, outputs

LINEAR: Final = "linear"
CONJUGATE: Final = "conjugate"
FORMULAS: Final = {LINEAR: "df/dx - i df/dy", CONJUGATE: "df/dx + i df/dy"}
"""The derivative of a real function by z = x + iy in each of them."""
SENTENCE: Final = f"the conjugate: {FORMULAS[CONJUGATE]}, as PyTorch and TensorFlow define it"

_REAL: Final = {"complex128": "float64", "complex64": "float32"}


def kept(ours: Difference, other: Difference) -> str:
    """The convention that an answer keeps, or comes nearer to; empty if it is right in both.

    Args:
        ours: How far it is from what is right in the linear convention.
        other: And in that of the conjugate.
    """
    if not ours.bad and not other.bad:
        return ""
    if bool(ours.bad) != bool(other.bad):
        return CONJUGATE if ours.bad else LINEAR
    return CONJUGATE if other.absolute < ours.absolute else LINEAR


def normalised(query: Query, answer: Array, truth: Truth, mirror: Truth) -> Array:
    """What an answer that conjugates would be in the linear convention.

    That is its conjugate, but for a vjp along complex numbers, which would have to be asked anew: there its deviation from
    what is right for it is carried over.
    """
    if query.twin is None:
        return np.asarray(np.conj(answer))
    with np.errstate(invalid="ignore"):
        return np.asarray(truth.centre + np.conj(answer - mirror.centre))


def dtypes(query: Query, key: str) -> tuple[str, ...]:
    """The dtypes that an answer to a query may have under a key.

    Beside complex numbers, what is real may come as a real number or as a complex one.
    """
    real = _REAL.get(query.dtype)
    return (query.dtype,) if real is None or _is_complex(query, key) else (query.dtype, real)


def _is_complex(query: Query, key: str) -> bool:
    arrays = {**query.inputs, **query.constants}
    inputs = {name: array.dtype.kind == "c" for name, array in query.inputs.items()}
    specs = tuple(Spec.of(arrays[name]) for name in query.names)
    found = {y: spec.kind == "complex" for y, spec in _outputs(query.function, query.names, specs).items()}
    match query.operator:
        case Operator.VALUE | Operator.JVP:
            return found[key]
        case Operator.PARTIAL:
            return found[key] or any(inputs[name] for name in query.orders or {})
        case Operator.JACOBIAN:
            y, _, x = key.rpartition(",")
            return found[y] or inputs[x]
    return any(inputs[name] for name in key.split(","))


@lru_cache(maxsize=1024)
def _outputs(function: str, names: tuple[str, ...], specs: tuple[Spec, ...]) -> dict[str, Spec]:
    return outputs(parse(function, names), dict(zip(names, specs, strict=True)))
