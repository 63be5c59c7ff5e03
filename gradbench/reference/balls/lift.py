"""Arrays of balls: how a number becomes one, and conditions that may be undecided.

NumPy arrays and Python numbers enter `lift`; arrays of dtype object leave, each entry an exact ball. A comparison of
balls has five answers rather than two, held in arrays of int8, so that shapes are NumPy's business there too.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

import flint
import numpy as np

Balls = Any
"""A NumPy array of dtype object whose entries are `flint.arb`."""

Truths = Any
"""A NumPy array of int8 whose entries are the five truths."""

FALSE: Final = 0
FALSE_EDGE: Final = 1  # false here, and true arbitrarily near
UNKNOWN: Final = 2
TRUE_EDGE: Final = 3  # true here, and false arbitrarily near
TRUE: Final = 4
"""The five truths, in an order that makes `and` the smaller, `or` the larger, and `not` the distance from TRUE."""

_ball: Final = np.frompyfunc(flint.arb, 1, 1)
_ARB: Final = flint.arb
_FINITE: Final = np.frompyfunc(flint.arb.is_finite, 1, 1)


def finite(array: Balls) -> Any:
    """Which balls hold numbers alone: an array of booleans."""
    return np.asarray(_FINITE(array)).astype(bool)


def all_finite(array: Balls) -> bool:
    """Whether each ball holds numbers alone."""
    return all(map(_ARB.is_finite, array.ravel().tolist()))


def boxed(value: Any) -> Balls:
    """The array itself, or a lone ball as an array of no axes; NumPy hands out lone entries at every turn."""
    if type(value) is np.ndarray:
        return value
    box = np.empty((), object)
    box[()] = value if isinstance(value, _ARB) else _ARB(value)
    return box


def lift(value: Any) -> Balls:
    """The array of balls whose entries are exactly those of the argument; an array of balls is itself.

    Integers, booleans and floats of every width are taken at their value; -0.0 is 0.
    """
    if type(value) is np.ndarray and value.dtype.hasobject:
        return value
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if type(value) is np.ndarray:
        if value.dtype == np.int8:
            return _from_truths(value)
        if value.dtype.kind not in "iub":  # bfloat16 has a kind of its own
            value = value.astype(np.float64)
        return boxed(_ball(value.astype(np.int64) if value.dtype.kind == "b" else value))
    return boxed(value)


def is_factor(value: Any) -> bool:
    """Whether it is a matrix of floats, which `matrix` takes as it is."""
    return type(value) is np.ndarray and value.ndim == 2 and value.dtype == np.float64


def matrix(x: Any) -> Any:
    """A 2-d array of balls or floats as an `arb_mat`. One that can't be written to is converted once, if it lives on."""
    whole = x if x.base is None else x.base
    if whole.ndim == 2 and not whole.flags.writeable and x.size == whole.size:
        if (x.shape, x.strides) == (whole.shape, whole.strides):
            return _converted(whole)
        if (x.shape, x.strides) == (whole.shape[::-1], whole.strides[::-1]):
            return _converted(whole).transpose()
    return flint.arb_mat(*x.shape, x.ravel().tolist())


def _converted(x: Any) -> Any:
    key = id(x)
    if key not in _CONVERTED:
        forgotten = weakref.ref(x, lambda _: _CONVERTED.pop(key, None))
        _CONVERTED[key] = forgotten, flint.arb_mat(*x.shape, x.ravel().tolist())
    return _CONVERTED[key][1]


_CONVERTED: Final[dict[int, tuple[Any, Any]]] = {}
"""Matrices by the identity of the arrays that they were, as long as those live."""


def remembered(f: Callable[[Balls], Any], x: Balls) -> Any:
    """f(x), found once at a precision for as long as the array lives, which can't be written to any more.

    For what several formulas want of one array: FLINT finds a sine and a cosine in less time than one after the other.
    A part of another array is looked at anew, for that might change.
    """
    if x.base is not None or not x.ndim:
        return f(x)
    key, bits = (id(x), f), flint.ctx.prec
    known = _REMEMBERED.get(key)
    if known is None or known[1] != bits:
        x.flags.writeable = False
        known = _REMEMBERED[key] = weakref.KeyedRef(x, _forget, key), bits, f(x)
    return known[2]


def _forget(gone: Any) -> None:
    _REMEMBERED.pop(gone.key, None)


def sines(x: Balls) -> Any:
    """The sines and the cosines of an array, as two arrays, or lone balls if it has no axes."""
    return remembered(_SIN_COS, x)


_SIN_COS: Final = np.frompyfunc(flint.arb.sin_cos, 1, 2)
_REMEMBERED: Final[dict[tuple[Any, ...], tuple[Any, int, Any]]] = {}
"""What functions answered, by the identity of the array that they were asked about."""


def _from_truths(truths: Truths) -> Balls:
    numbers = np.empty(5, object)
    numbers[:] = [_ARB(0), _ARB(0), _ARB(0).union(_ARB(1)), _ARB(1), _ARB(1)]
    return boxed(numbers[truths])


def truths(condition: Any) -> Truths:
    """A condition as an array of truths: booleans are decided, other numbers are true where they aren't 0."""
    array = np.asarray(condition)
    if array.dtype == np.int8:
        return array
    if array.dtype == object:
        return np.frompyfunc(lambda x: FALSE if x.is_zero() else UNKNOWN if x.contains(0) else TRUE, 1, 1)(array).astype(np.int8)  # fmt: skip
    return np.asarray(np.where(array != 0, np.int8(TRUE), np.int8(FALSE)))


def settled(truths: Truths) -> Truths:
    """The same without edges: for conditions on what is held fixed."""
    return np.asarray(np.choose(truths, [FALSE, FALSE, UNKNOWN, TRUE, TRUE])).astype(np.int8)


def blurred(truths: Truths) -> Truths:
    """The same with every edge unknown: for derivatives, where both sides count."""
    return np.asarray(np.choose(truths, [FALSE, UNKNOWN, UNKNOWN, UNKNOWN, TRUE])).astype(np.int8)


def balls(entries: list[Any], shape: tuple[int, ...]) -> Balls:
    """An array of that shape from its entries in order."""
    array = np.empty(len(entries), object)
    array[:] = entries
    return array.reshape(shape)


def filled(shape: tuple[int, ...], number: Any) -> Balls:
    """An array of one number."""
    return np.full(shape, number if isinstance(number, _ARB) else _ARB(number), object)


def zeros(shape: tuple[int, ...]) -> Balls:
    """An array of exact zeros."""
    return filled(shape, 0)
