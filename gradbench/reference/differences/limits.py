"""Tables of limits: one row for each entry that is moved, and what is done to rows as a whole.

Limits from `probe` enter, rearranged, checked or joined ones leave; what they have in common is that nothing here
looks at the function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from gradbench.query import Array
from gradbench.reference.differences.probe import Lines, Survey
from gradbench.reference.differences.slope import Limit, Status

SEED: Final = 20250607
FIELDS: Final = tuple(Limit.__dataclass_fields__)
SEVERITY: Final = (Status.OK, Status.UNRESOLVED, Status.KINK, Status.HOELDER, Status.SINGULAR)


def nothing(n: int, m: int) -> Limit:
    """The derivative along nothing: 0, exactly."""
    status = np.full((n, m), Status.OK, dtype=object)
    # Five arrays, not one five times: rows are written into them.
    value, bound, left, right, noise = np.zeros((5, n, m))
    return Limit(value, bound, status, left, right, noise)


def columns(survey: Survey, moved: Array, ratio: int, doubted: Callable[[Limit, Lines], Limit] | None = None) -> Limit:
    """The derivative by every entry of x, of shape (n, m); 0 by those that are not moved.

    Args:
        survey: Of the function.
        moved: Which entries those are.
        ratio: Of the ladder.
        doubted: What becomes of slopes in the light of the lines they come from, which are probed for it.
    """
    axes = np.eye(len(survey.x))[moved]
    direction = generic(survey.x, moved)
    check = len(axes) > 1
    along = np.concatenate([axes, direction[None]]) if check else axes
    lines = Lines(survey, along, ratio, probing=doubted is not None) if len(axes) else None
    if lines is None:
        survey.add(survey.x[None])
    survey.run()
    m = survey.answers.shape[-1]
    found = nothing(len(moved), m)
    if lines is not None:
        slopes = lines.slopes() if doubted is None else doubted(lines.slopes(), lines)
        last = part(slopes, slice(-1, None)) if check else None
        slopes = part(slopes, slice(0, len(axes)))
        if last is not None:
            slopes = _fitting(slopes, last, direction[moved])
        for name in FIELDS:
            getattr(found, name)[moved] = getattr(slopes, name)
    return found


def generic(x: Array, moved: Array) -> Array:
    """A direction without symmetry, on the scale of the point: sign x U(0.5, 1.5)."""
    rng = np.random.default_rng(SEED)
    size = np.where(np.abs(x) > 1e-8, np.abs(x), 1)
    found: Array = moved * size * rng.choice([-1.0, 1.0], len(x)) * rng.uniform(0.5, 1.5, len(x))
    return found


def part(limit: Limit, rows: slice) -> Limit:
    """Some of the rows."""
    return Limit(*(getattr(limit, name)[rows] for name in FIELDS))


def _fitting(slopes: Limit, along: Limit, direction: Array) -> Limit:
    """The partial derivatives, unresolved where the one along a generic direction isn't what they say.

    They may all exist where the function isn't differentiable: at a tie of a median they are all 0.
    """
    smooth = np.all(slopes.status == Status.OK, axis=0)
    weights = np.abs(direction)[:, None]
    with np.errstate(invalid="ignore"):
        apart = np.abs(along.value[0] - np.sum(direction[:, None] * slopes.value, axis=0))
        room = 2 * (along.bound[0] + np.sum(weights * slopes.bound, axis=0))
        contradicted = (along.status[0] == Status.OK) & ~(apart <= room)
    rough = (along.status[0] != Status.OK) & (along.status[0] != Status.UNRESOLVED)
    doubtful = smooth & (contradicted | rough)
    status = np.where(doubtful[None], Status.UNRESOLVED, slopes.status).astype(object)
    return replace(slopes, status=status, bound=np.where(doubtful[None], np.inf, slopes.bound))


def rough(limit: Limit, *lines: Array) -> Limit:
    """The limit, singular where f has no slope along one of the lines."""
    bad = np.zeros(limit.status.shape, dtype=bool)
    for status in lines:
        bad |= (status != Status.OK) & (status != Status.UNRESOLVED)
    value, status = np.where(bad, np.nan, limit.value), np.where(bad, Status.SINGULAR, limit.status).astype(object)
    return Limit(value, np.where(bad, np.inf, limit.bound), status, value, value, limit.noise)


def put(table: Limit, rows: Array, limit: Limit) -> None:
    """Writes rows into a table."""
    for name in FIELDS:
        getattr(table, name)[rows] = getattr(limit, name)


def placed(limit: Limit, moved: Array) -> Limit:
    """Rows for all entries, those that are not moved being 0."""
    table = nothing(len(moved), limit.value.shape[-1])
    put(table, np.flatnonzero(moved), limit)
    return table


def sharper(curvatures: Limit, differences: Limit) -> Limit:
    """Second derivatives from steps made for them, where those along the lines have nothing against it."""
    smooth = (curvatures.status == Status.OK) | (curvatures.status == Status.UNRESOLVED)
    return Limit(*(np.where(smooth, getattr(differences, name), getattr(curvatures, name)) for name in FIELDS))


def negated(limit: Limit) -> Limit:
    """The limit times -1, for df/dx - i df/dy."""
    return replace(limit, value=-limit.value, left=-limit.left, right=-limit.right)


def paired(real: Limit, imaginary: Limit) -> Limit:
    """Two real limits as one complex one, with the worse of both statuses."""
    rank = np.vectorize(SEVERITY.index, otypes=[int])
    worse = rank(imaginary.status) > rank(real.status)
    value, left, right = (getattr(real, f) + 1j * getattr(imaginary, f) for f in ("value", "left", "right"))
    status = np.where(worse, imaginary.status, real.status).astype(object)
    noise = np.hypot(real.noise, imaginary.noise)
    return Limit(value, np.hypot(real.bound, imaginary.bound), status, left, right, noise)
