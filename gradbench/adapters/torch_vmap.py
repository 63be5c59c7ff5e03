"""PyTorch over a batch of points: `torch.func.vmap` of each operator of `torch.func`.

As `torch_func`, on whose room this one stands. Nobody asks for a batch of one, so the point stands between two
neighbours, and the middle row is the answer: a batching rule that mixes rows shows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from gradbench.adapter import Function
from gradbench.adapters.torch_func import Derive, Func


class Vmap(Func):
    """Every operator of `Func`, for three points at once."""

    def call(self, f: Function, key: Hashable, derive: Derive, *arguments: Any) -> Any:  # noqa: ARG002
        """`torch.func.vmap` of what `derive` makes of f, and of that the middle row."""
        names, whole = tuple(f.held), f.kept_by

        def row(held: tuple[Tensor, ...], *arguments: Any) -> Any:
            return derive(whole.holding(dict(zip(names, held, strict=True))))(*arguments)

        given = (tuple(f.held.values()), *arguments)
        rows = torch.func.vmap(row)(*(_each(_between_neighbours, argument) for argument in given))
        return _each(lambda array: array[1], rows)


def _between_neighbours(array: Tensor) -> Tensor:
    """The array as the middle one of three, along a new first axis.

    The others are smaller and larger by a factor, which keeps signs, infinities and symmetry, and about 0 they lie on
    either side. So a point that suits a function has neighbours that suit it, but for the very edge of a domain, where a
    row of its own may then be NaN. Integers are repeated.
    """
    if not (array.is_floating_point() or array.is_complex()):
        return torch.stack([array, array, array])
    # at least some steps of the narrowest dtype, or the neighbours would be the point itself
    step = max(2.0**-10, 4 * torch.finfo(array.dtype).eps)
    below, above = (torch.where(array == 0, torch.full_like(array, s), array * (1 + s)) for s in (-step, step))
    return torch.stack([below, array, above])


def _each(function: Callable[[Tensor], Tensor], arrays: Any) -> Any:
    """The function of an array, or of every array of a tuple and the tuples in it."""
    if isinstance(arrays, tuple):
        return tuple(_each(function, part) for part in arrays)
    return function(arrays)
