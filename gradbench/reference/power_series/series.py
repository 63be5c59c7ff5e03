"""`taylor`: a program along a line, as a power series with certified coefficients.

A `Program`, a point and a direction as arrays of balls enter; the coefficients in t of f(x + t v) leave, each a ball that
holds the true one. The k-th is the k-th directional derivative over k!. This is the second rule set of the certified
reference: it has no reverse pass and no adjoint rules, so that a mistake in either shows where the two don't overlap.
Directional derivatives of any order also say what is true on either side of a kink.

The precision is `flint.ctx.prec`, which the caller sets and raises. `flint.ctx` is the process's own, so this isn't for
threads. Moore (1966), Interval Analysis, chapter 11; Griewank and Walther (2008), Evaluating Derivatives, chapter 13.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import flint
import numpy as np

from gradbench.program import Program, evaluate
from gradbench.reference.power_series import series_arrays, series_matrices, series_spectra
from gradbench.reference.power_series.series_ring import (
    Array,
    Ball,
    Fault,
    Kink,
    Ring,
    Series,
    Singular,
    Undecided,
    faulty,
)

__all__ = ["OPS", "Fault", "Kink", "Series", "Singular", "Undecided", "expand", "ops", "taylor"]

OPS: Final[Mapping[str, Callable[..., Any]]] = {**series_arrays.OPS, **series_matrices.OPS, **series_spectra.OPS}
"""For each primitive of the vocabulary: the `Ring`, then arrays of series by position and statics by keyword."""


def ops(ring: Ring) -> dict[str, Callable[..., Any]]:
    """What `evaluate` needs: the primitives over one ring, and how a number of the text becomes a series."""
    return {**{name: functools.partial(op, ring) for name, op in OPS.items()}, "asarray": ring.array}


def taylor(
    program: Program,
    values: Mapping[str, Any],
    directions: Mapping[str, Any],
    order: int,
    side: int | None = None,
    lift: Callable[[Any], Ball] = flint.arb,
) -> Array:
    """The coefficients in t of f(x + t v) up to t^order. Shape (order + 1,) + y, of `flint.arb`.

    Args:
        program: f, with one output.
        values: x: arrays of balls by name; integer and boolean constants as NumPy has them.
        directions: v: arrays of balls of the shapes of x. A name without one stays where it is.
        order: How many derivatives, 0 or more.
        side: +1 or -1 for the expansion that holds for small positive or small negative t, None for one that holds for
            both. With `order` 0 and no side the answer is the value at the point itself.
        lift: How a number of the text becomes a ball: rounded to the dtype that is asked about.

    Raises:
        Kink: No side was given and the two expansions differ.
        Singular: A pole, an infinite derivative, a point at the edge of where f is defined.
        Undecided: A ball holds 0 where it matters what it is; more bits may help.
        Unsupported: There is no series rule for this.
    """
    found = expand(program, values, directions, order, side, lift)
    fault = next((entry.fault for entry in found.flat if entry.fault), None)
    if fault:
        raise fault
    coefficients = np.empty((order + 1, *found.shape), object)
    for index in np.ndindex(found.shape):
        entry: Any = found[index]
        for k in range(order + 1):
            coefficients[(k, *index)] = entry.terms[k]
    return coefficients


def expand(
    program: Program,
    values: Mapping[str, Any],
    directions: Mapping[str, Any],
    order: int,
    side: int | None = None,
    lift: Callable[[Any], Ball] = flint.arb,
) -> Array:
    """As `taylor`, component by component: an array of `Series` of the shape of y, some of which may carry a fault.

    Where t is divided out on the way (the root of t^2), terms are lost; then the work is done again with more of them.

    Raises:
        Unsupported: There is no series rule for this.
    """
    found = np.empty(0, object)
    for working in (order, 2 * order + 4, 4 * order + 16, 8 * order + 64):
        ring = Ring(working, side, lift)
        with _room(working + 2):
            found = ring.array(evaluate(program, ops(ring), _lines(ring, program, values, directions)))
        if all(entry.fault or entry.known > order for entry in found.flat):
            break
    return np.asarray(np.frompyfunc(lambda entry: _checked(entry, order), 1, 1)(found), object)


def _lines(ring: Ring, program: Program, values: Mapping[str, Any], directions: Mapping[str, Any]) -> dict[str, Array]:
    """The line x + t v by name; the constants as they are. Of a value alone, without a side, nothing moves."""
    found = {}
    for name in program.names:
        value = np.asarray(values[name])
        if name in directions or value.dtype == object:
            still = name not in directions or (ring.order == 0 and ring.side is None)
            direction = np.asarray(0 if still else directions[name], object)
            value = np.asarray(np.frompyfunc(ring.line, 2, 1)(value, direction), object)
        found[name] = value
    return found


def _checked(entry: Series, order: int) -> Series:
    if entry.fault:
        return entry
    if entry.known <= order:
        return faulty(Undecided("the function", "has a zero of too high an order on the way"))
    if not all(c.is_finite() for c in entry.terms.coeffs()[: order + 1]):
        return faulty(Undecided("the function", "has a coefficient that isn't finite"))
    return entry


@contextmanager
def _room(terms: int) -> Iterator[None]:
    """FLINT cuts every series at `flint.ctx.cap` terms; it is put back afterwards."""
    before = flint.ctx.cap
    flint.ctx.cap = max(before, terms)
    try:
        yield
    finally:
        flint.ctx.cap = before
