"""How PyTorch spells each primitive: `OPS`, and which of them it has no function for.

Primitives are `torch`, `torch.special`, `torch.nn.functional` and `torch.linalg`: whichever of them has one, as a person
would write it. Nothing here knows of derivatives.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, linalg, special
from torch.nn import functional

Op = Callable[..., Any]

# The primitives whose name and signature are PyTorch's own.
_TORCH: Final = """
    maximum minimum atan2 hypot logaddexp copysign abs square sqrt rsqrt reciprocal exp expm1 log log2 log10 log1p
    sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh floor ceil trunc round where
    less less_equal greater greater_equal not_equal logical_and logical_or logical_not matmul outer kron diag
    real imag conj angle
"""
_SPECIAL: Final = """
    xlogy xlog1py exp2 sinc erf erfc erfinv gammaln digamma expit logit ndtr log_ndtr ndtri entr i0 i1 i0e i1e
    zeta gammainc
"""
_FUNCTIONAL: Final = "relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign"
_LINALG: Final = "det slogdet inv cholesky matrix_power eigvalsh svdvals diagonal"


def _along(function: Op) -> Op:
    """A function whose `dim` is called `axis`."""
    return lambda *arrays, axis: function(*arrays, dim=axis)


def _reduction(function: Op) -> Op:
    """A reduction that takes one axis, several, or None for all."""
    return lambda x, *, axis, keepdims, **rest: function(x, dim=axis, keepdim=keepdims, **rest)


def _axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """Every axis that is meant, none of them negative."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in ((axis,) if isinstance(axis, int) else axis))


def _extremum(one: Op, several: Op) -> Op:
    """`torch.max` or `torch.min`, and `torch.amax` or `torch.amin` for several axes.

    Where two entries are equal they answer differently: `max(x)` and `amax` share the gradient out, `max(x, dim)`
    gives it to one. So each stands where a person would write it.
    """

    def reduce(x: Tensor, *, axis: int | tuple[int, ...] | None, keepdims: bool) -> Tensor:
        if isinstance(axis, tuple):
            return several(x, dim=axis, keepdim=keepdims)
        if axis is not None:
            return one(x, dim=axis, keepdim=keepdims).values
        found = one(x)
        return found.reshape((1,) * x.ndim) if keepdims else found

    return reduce


def _prod(x: Tensor, *, axis: int | tuple[int, ...] | None, keepdims: bool) -> Tensor:
    """`torch.prod`, which knows one axis or all: several are first joined to one."""
    if isinstance(axis, int):
        return torch.prod(x, dim=axis, keepdim=keepdims)
    gone = _axes(axis, x.ndim)
    if axis is None:
        found = torch.prod(x)
    else:
        joined = torch.movedim(x, gone, tuple(range(-len(gone), 0))).flatten(-len(gone))
        found = torch.prod(joined, dim=-1)
    return found.reshape([1 if i in gone else n for i, n in enumerate(x.shape)]) if keepdims else found


def _clip(x: Tensor, *, min: float | None, max: float | None) -> Tensor:
    return x if min is None and max is None else torch.clip(x, min, max)


def _gamma(x: Tensor) -> Tensor:
    magnitude = torch.exp(torch.lgamma(x))
    below = (x < 0) & (torch.remainder(torch.floor(x), 2) == 1)
    return torch.where(below, -magnitude, magnitude)


def _roll(x: Tensor, *, shift: tuple[int, ...], axis: int | tuple[int, ...] | None) -> Tensor:
    if axis is None:
        return torch.roll(x, shift)
    axes = _axes(axis, x.ndim)
    return torch.roll(x, shift * len(axes) if len(shift) == 1 else shift, axes)


def _pad(x: Tensor, *, width: tuple[int, ...], value: float) -> Tensor:
    pairs = list(zip(width[::2], width[1::2], strict=True))
    return functional.pad(x, [n for pair in reversed(pairs) for n in pair], value=value)


def _take(x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
    # Indexing, since index_select knows neither negative indices nor more than one axis of them. As bytes they would
    # be a mask, hence long().
    return x[(slice(None),) * (axis % x.ndim) + (indices.long(),)]


def _getitem(x: Tensor, *, index: tuple[Any, ...]) -> Tensor:
    """Python's indexing. PyTorch has no slices that run backwards: they run forwards, and the result is flipped."""
    plain: list[Any] = []
    backwards: list[int] = []
    source = target = 0
    skipped = x.ndim - sum(isinstance(part, (int, slice)) for part in index)
    for part in index:
        plain.append(part)
        if part is Ellipsis:
            source, target = source + skipped, target + skipped
        elif part is None:
            target += 1
        elif isinstance(part, int):
            source += 1
        else:
            if part.step is not None and part.step < 0:
                entries = range(x.shape[source])[part]
                plain[-1] = slice(entries[-1], entries[0] + 1, -part.step) if entries else slice(0, 0)
                backwards.append(target)
            source, target = source + 1, target + 1
    found = x[tuple(plain)]
    return torch.flip(found, backwards) if backwards else found


def _trace(x: Tensor) -> Tensor:
    # torch.trace knows one matrix; for a stack of them this is what its users write
    return torch.trace(x) if x.ndim == 2 else linalg.diagonal(x).sum(-1)


def _solve(x1: Tensor, x2: Tensor) -> Tensor:
    # Where x2 has one axis less than x1, torch.linalg.solve may take it for a stack of vectors; the array API doesn't.
    if 1 < x2.ndim < x1.ndim:
        x2 = x2[(None,) * (x1.ndim - x2.ndim)]
    return linalg.solve(x1, x2)


def _solve_triangular(x1: Tensor, x2: Tensor, *, lower: bool) -> Tensor:
    if x2.ndim > 1:
        return linalg.solve_triangular(x1, x2, upper=not lower)
    return linalg.solve_triangular(x1, x2.unsqueeze(-1), upper=not lower).squeeze(-1)


OPS: Final[dict[str, Op]] = {
    **{name: getattr(torch, name) for name in _TORCH.split()},
    **{name: getattr(special, name) for name in _SPECIAL.split()},
    **{name: getattr(functional, name) for name in _FUNCTIONAL.split()},
    **{name: getattr(linalg, name) for name in _LINALG.split()},
    # arithmetic: Python's operators, which also take a number on the left
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "remainder": operator.mod,
    "negative": operator.neg,
    # elementwise
    "sign": lambda x: torch.sgn(x) if x.is_complex() else torch.sign(x),
    "cbrt": lambda x: torch.copysign(torch.abs(x) ** (1 / 3), x),
    "clip": _clip,
    "equal": torch.eq,  # torch.equal answers with one Python bool
    "gamma": _gamma,
    "betaln": lambda x1, x2: torch.lgamma(x1) + torch.lgamma(x2) - torch.lgamma(x1 + x2),
    "j0": special.bessel_j0,
    "j1": special.bessel_j1,
    "log_sigmoid": functional.logsigmoid,
    "hard_tanh": functional.hardtanh,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_swish": functional.hardswish,
    # along axes
    "softmax": _along(functional.softmax),
    "log_softmax": _along(functional.log_softmax),
    "sum": _reduction(torch.sum),
    "mean": _reduction(torch.mean),
    "var": _reduction(torch.var),
    "std": _reduction(torch.std),
    "vector_norm": _reduction(linalg.vector_norm),
    "prod": _prod,
    "max": _extremum(torch.max, torch.amax),
    "min": _extremum(torch.min, torch.amin),
    "logsumexp": lambda x, *, axis, keepdims: torch.logsumexp(x, _axes(axis, x.ndim), keepdim=keepdims),
    "cumulative_sum": _along(torch.cumsum),
    "cumulative_prod": _along(torch.cumprod),
    "sort": lambda x, *, axis: torch.sort(x, dim=axis).values,
    "flip": lambda x, *, axis: torch.flip(x, _axes(axis, x.ndim)),
    "roll": _roll,
    # shapes and indices
    "reshape": lambda x, *, shape: torch.reshape(x, shape),
    "permute_dims": lambda x, *, axes: torch.permute(x, axes),
    "matrix_transpose": lambda x: x.mT,
    "expand_dims": _along(torch.unsqueeze),
    "squeeze": _along(torch.squeeze),
    "moveaxis": lambda x, *, source, destination: torch.moveaxis(x, source, destination),
    "broadcast_to": lambda x, *, shape: torch.broadcast_to(x, shape),
    "concat": _along(torch.concat),
    "stack": _along(torch.stack),
    "tile": lambda x, *, repetitions: torch.tile(x, repetitions),
    "repeat": lambda x, *, repeats, axis: torch.repeat_interleave(x, repeats, dim=axis),
    "pad": _pad,
    "take": _take,
    "tril": lambda x, *, k: torch.tril(x, k),
    "triu": lambda x, *, k: torch.triu(x, k),
    "getitem": _getitem,
    # linear algebra
    "vecdot": _along(linalg.vecdot),
    "cross": lambda x1, x2: linalg.cross(*torch.broadcast_tensors(x1, x2), dim=-1),
    "tensordot": lambda x1, x2, *, axes: torch.tensordot(x1, x2, dims=axes),
    "einsum": lambda *operands, subscripts: torch.einsum(subscripts, *operands),
    "trace": _trace,
    "expm": linalg.matrix_exp,
    "solve": _solve,
    "solve_triangular": _solve_triangular,
    "matrix_norm": lambda x, *, keepdims: linalg.matrix_norm(x, keepdim=keepdims),
}
"""Every primitive, by name."""

COMPOSITE: Final = frozenset({"cbrt", "gamma", "betaln"})
"""Those that PyTorch has no function for."""
