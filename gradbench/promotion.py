"""What dtype an answer may have where whole numbers are, of which the array API standard leaves open what they make.

A query and an answer enter; whether the answer's dtype is its own affair leaves. It depends on nothing but the query's
arrays and what the program makes of them.
"""

from __future__ import annotations

from functools import lru_cache

from gradbench.compare import FORMS
from gradbench.language import parse
from gradbench.program import Program
from gradbench.query import Array, Operator, Query


def is_promoted(query: Query, answer: Array) -> bool:
    """Whether an answer is in a wider format than asked for, where there are whole numbers that may have made it so.

    Of float32 and int64 NumPy makes float64, PyTorch and JAX float32.
    """
    form = FORMS.get(answer.dtype.name)
    wider = form is not None and answer.dtype.kind in "fV" and form.digits > FORMS[query.dtype].digits
    return wider and any(array.dtype.kind in "iu" for array in (*query.inputs.values(), *query.constants.values()))


def is_of_integers(query: Query, key: str) -> bool:
    """Whether a value is made of integers and truth values alone: then any dtype is right."""
    if query.operator is not Operator.VALUE:
        return False
    free = _program(query.function, query.names).unconnected(key or None)
    used = [array for name, array in {**query.inputs, **query.constants}.items() if name not in free]
    return bool(used) and all(array.dtype.kind in "biu" for array in used)


def narrower(dtype: str, answer: Array) -> str:
    """Of two formats the one with fewer digits: of whole numbers PyTorch makes float32, NumPy float64."""
    form = FORMS.get(answer.dtype.name, FORMS[dtype])
    return answer.dtype.name if form.digits < FORMS[dtype].digits else dtype


@lru_cache(maxsize=1024)
def _program(function: str, names: tuple[str, ...]) -> Program:
    return parse(function, names)
