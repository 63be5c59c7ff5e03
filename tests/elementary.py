"""A sample for every primitive that an engine from scratch has, the certified truth there, and what holds at ties."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from gradbench.adapter import Function, lifted
from gradbench.language import parse
from gradbench.query import Operator, Query

POINTS = {
    "abs": -1.5, "negative": 0.75, "sign": -2.0, "square": -1.25, "sqrt": 2.5, "rsqrt": 2.5, "cbrt": -2.5, "reciprocal": -0.75,
    "exp": 1.25, "exp2": -1.5, "expm1": -3.0, "log": 0.3, "log2": 5.0, "log10": 0.2, "log1p": -0.4, "sin": 2.0, "cos": 2.0,
    "tan": 1.25, "asin": -0.7, "acos": 0.9, "atan": -2.0, "sinh": -1.5, "cosh": 1.5, "tanh": 2.5, "asinh": -3.0, "acosh": 1.5,
    "atanh": 0.8, "floor": 1.5, "ceil": 1.5, "trunc": -1.5, "round": 1.2, "sinc": 0.7, "erf": -0.8, "erfc": 1.7,
    "erfinv": 0.6, "gamma": 2.5, "gammaln": 3.5, "digamma": 0.8, "expit": -3.0, "logit": 0.9, "ndtr": -1.5, "log_ndtr": -4.0,
    "ndtri": 0.2, "entr": 0.7, "j0": 3.0, "j1": 2.0, "i0": 1.5, "i1": -1.5, "i0e": 0.5, "i1e": -0.5, "relu": 1.5, "relu6": 3.5,
    "leaky_relu": -1.5, "elu": -0.8, "selu": -0.8, "celu": -0.8, "gelu": -1.2, "silu": -2.5, "mish": 1.1, "softplus": -4.0,
    "softsign": -3.0, "log_sigmoid": 2.5, "hard_tanh": 0.5, "hard_sigmoid": 1.0, "hard_swish": 1.0, "clip": 0.5,
}  # fmt: skip
"""Of the functions of one number."""

PAIRS = {
    "add": (1.5, -0.25), "subtract": (1.5, 0.25), "multiply": (1.5, -2.5), "divide": (1.5, -2.5), "power": (1.5, -2.5),
    "remainder": (7.5, 2.0), "maximum": (1.5, 2.5), "minimum": (1.5, 2.5), "atan2": (1.5, -2.0), "hypot": (-1.5, 2.0),
    "logaddexp": (3.0, -1.0), "copysign": (1.5, -2.0), "xlogy": (1.5, 0.3), "xlog1py": (1.5, -0.3), "betaln": (1.5, 2.5),
}  # fmt: skip
"""Of the functions of two numbers."""

_M = np.array([[1.5, -0.75, 2.0], [0.25, 1.25, -0.5]])
_V = np.array([0.5, -1.5, 2.0])
_S = np.array([[2.0, 0.5], [-0.75, 1.5]])

ARRAYS = [
    ("atan2(a, b)", {"a": 0.5, "b": 3.0}),
    ("x % y", {"x": -7.5, "y": 2.0}),
    ("x ** 3", {"x": -1.5}), ("x ** -1.5", {"x": 1.5}), ("2 ** x", {"x": 1.5}), ("x ** 0", {"x": 0.0}), ("x ** 1", {"x": 0.0}),
    ("clip(x, min=1)", {"x": _V}), ("clip(x, max=1)", {"x": _V}),
    ("leaky_relu(x, negative_slope=0.25)", {"x": _V}), ("elu(x, alpha=0.5)", {"x": _V}), ("celu(x, alpha=2)", {"x": _V}),
    ("gelu(x, approximate='tanh')", {"x": _V}), ("relu6(x)", {"x": _V * 5}), ("hard_swish(x)", {"x": _V * 3}),
    ("zeta(2.5, x)", {"x": 1.5}), ("gammainc(2.5, x)", {"x": 1.5}),
    ("where(x > y, x * y, x - y)", {"x": _V, "y": 0.25}),
    ("where((x >= 1) & (y <= 1) | ~(x < 2), x, y)", {"x": _V, "y": 0.25}),
    ("where(logical_or(x == 0.25, x != 0.25), x * x, 3)", {"x": _V}),
    ("softmax(x, axis=0)", {"x": _M}), ("log_softmax(x)", {"x": _M}),
    ("x + y", {"x": _M, "y": _V}), ("x * y", {"x": _V, "y": 2.5}), ("x / y", {"x": _M[:, :1], "y": _V}),
    ("sum(x)", {"x": _M}), ("sum(x * x, axis=1, keepdims=True)", {"x": _M}),
    ("mean(x)", {"x": _M}), ("mean(x, axis=(0, 1), keepdims=True)", {"x": _M}),
    ("prod(x)", {"x": _M}), ("prod(x, axis=0)", {"x": _M}), ("prod(x, axis=1, keepdims=True)", {"x": _M * [0, 1, 0]}),
    ("max(x)", {"x": _M}), ("max(x, axis=0)", {"x": _M}), ("min(x, axis=1, keepdims=True)", {"x": _M}),
    ("var(x)", {"x": _M}), ("var(x, axis=1, correction=1)", {"x": _M}), ("std(x, axis=0)", {"x": _M}),
    ("std(x, correction=1)", {"x": _V}), ("logsumexp(x)", {"x": _M}), ("logsumexp(x, axis=1, keepdims=True)", {"x": _M}),
    ("vector_norm(x)", {"x": _M}), ("vector_norm(x, axis=1)", {"x": _M}), ("vector_norm(x, ord=1)", {"x": _V}),
    ("vector_norm(x, ord=inf)", {"x": _V}), ("vector_norm(x, axis=0, keepdims=True, ord=3)", {"x": _M}),
    ("matrix_norm(x)", {"x": _M}), ("matrix_norm(x, keepdims=True)", {"x": _M}),
    ("cumulative_sum(x, axis=0)", {"x": _M}), ("cumulative_prod(x)", {"x": _M}), ("sort(x)", {"x": _M}),
    ("sort(x, axis=0)", {"x": _M}), ("flip(x)", {"x": _M}), ("flip(x, axis=1)", {"x": _M}),
    ("roll(x, 1)", {"x": _M}), ("roll(x, (1, -1), axis=(0, 1))", {"x": _M}),
    ("reshape(x, (3, 2))", {"x": _M}), ("permute_dims(x, (1, 0))", {"x": _M}), ("x.T", {"x": _M}),
    ("expand_dims(x, axis=1)", {"x": _V}), ("squeeze(x, axis=0)", {"x": _V[None]}), ("moveaxis(x, 0, 1)", {"x": _M}),
    ("broadcast_to(x, (2, 3))", {"x": _V}), ("broadcast_to(x, (2, 3))", {"x": _M[:, :1]}),
    ("concat([x, y, x], axis=0)", {"x": _V, "y": _V[:2]}), ("stack([x, y], axis=1)", {"x": _V, "y": _V * 2}),
    ("tile(x, (2, 2))", {"x": _V}), ("repeat(x, 2, axis=1)", {"x": _M}), ("pad(x, (1, 2), value=0.5)", {"x": _V}),
    ("take(x, i, axis=1)", {"x": _M, "i": np.array([2, 0, 2])}), ("tril(x)", {"x": _M}), ("triu(x, k=1)", {"x": _M}),
    ("diagonal(x)", {"x": _M}), ("diag(x)", {"x": _V}),
    ("x @ y", {"x": _M, "y": _V}), ("y @ x", {"x": _M, "y": _V[:2]}), ("x @ x", {"x": _V}), ("x @ y", {"x": _S, "y": _M}),
    ("x @ y", {"x": np.stack([_S, _S + 1]), "y": _M}), ("vecdot(x, y)", {"x": _M, "y": _V}),
    ("vecdot(x, y, axis=0)", {"x": _M, "y": _M + 1}), ("outer(x, y)", {"x": _V, "y": _V[:2]}),
    ("kron(x, y)", {"x": _S, "y": _M}), ("kron(x, y)", {"x": _V, "y": _V[:2]}), ("cross(x, y)", {"x": _V, "y": _M[0]}),
    ("tensordot(x, y, axes=1)", {"x": _S, "y": _M}), ("tensordot(x, y, axes=2)", {"x": _S, "y": _S + 1}),
    ("einsum('ij,kj->ik', x, y)", {"x": _M, "y": _M + 1}), ("einsum('ii->i', x)", {"x": _S}), ("einsum('ij,ji->', x, y)", {"x": _S, "y": _S + 1}),
    ("einsum('i,j,i->j', x, y, x)", {"x": _V, "y": _V[:2]}),
    ("trace(x)", {"x": _S}), ("x[1]", {"x": _M}), ("x[..., ::-2]", {"x": _M}), ("x[None, 0, 1:]", {"x": _M}),
]  # fmt: skip
"""Texts with inputs, each an array or number; integers are constants."""

SAMPLES = [
    *((f"{name}(x{', min=0, max=1' if name == 'clip' else ''})", {"x": x}) for name, x in POINTS.items()),
    *((f"{name}(x, y)", {"x": x, "y": y}) for name, (x, y) in PAIRS.items()),
    *ARRAYS,
]


def sampled() -> set[str]:
    """The primitives that occur in the samples."""
    return {word for text, x in SAMPLES for word in parse(text, list(x)).primitives}


def split(values):
    """Inputs, as float64 arrays, and constants."""
    arrays = {name: np.asarray(value) for name, value in values.items()}
    inputs = {name: array.astype(np.float64) for name, array in arrays.items() if array.dtype.kind == "f"}
    return inputs, {name: array for name, array in arrays.items() if name not in inputs}


def function(adapter, text, values, dtype=np.float64):
    """A function for an adapter, and its inputs."""
    inputs, constants = split(values)
    names = (*inputs, *constants)
    f = Function(parse(text, names), lifted(adapter, np.dtype(dtype)), tuple(inputs), constants)
    return f, {name: array.astype(dtype) for name, array in inputs.items()}


def second(index):
    """Of a sample, the operator of its second derivative, and the number that has it.

    An array is made a number that is curved, so that the derivative of what only moves entries isn't 0.
    """
    text, values = SAMPLES[index]
    if any(np.ndim(value) for value in values.values()):
        return "hvp", f"sum(square({text}))"
    return "hessian", text


def directions(inputs):
    """A direction for each input, none of its entries 0."""
    return {name: np.cos(1 + np.arange(array.size)).reshape(array.shape) for name, array in inputs.items()}


@functools.cache
def truth(index, operator, text):
    """What is certified, by key."""
    from gradbench.reference.ball import Ball

    inputs, constants = split(SAMPLES[index][1])
    program = parse(text, (*inputs, *constants))
    tangents = directions(inputs) if operator == "hvp" else None
    query = Query("q", text, inputs, constants, Operator(operator), "float64", tangents)
    found = Ball(check=False).estimate(query, program)
    assert all((status == "certified").all() for status in found.status.values()), (text, found.status)
    return found.answer


def off(adapter, index, operator, text):
    """By how many ulps of the truth's largest entry an adapter's answer to a sample is off, at worst."""
    f, x = function(adapter, text, SAMPLES[index][1])
    answer = getattr(adapter, operator)(f, x, *([directions(x)] if operator == "hvp" else []))
    right = truth(index, operator, text)
    assert answer.keys() == right.keys()
    for key in right:
        assert answer[key].shape == right[key].shape, key
        assert answer[key].dtype == right[key].dtype, key
    # A NaN would be overlooked by max().
    return np.max([_ulps(answer[key], right[key]) for key in right])


def _ulps(answer, right):
    with np.errstate(over="ignore"):  # in ulps of 0
        return np.max(np.abs(answer - right), initial=0.0) / np.spacing(np.max(np.abs(right), initial=0.0))


def identifier(index):
    """Of a sample, for pytest."""
    return f"{index}-{SAMPLES[index][0].replace(' ', '')}"


every_sample = pytest.mark.parametrize("index", range(len(SAMPLES)), ids=identifier)

TIES = [
    ("abs(x)", {"x": 0.0}, {"x": 0}),
    ("relu(x)", {"x": 0.0}, {"x": 0}),
    ("relu6(x)", {"x": 6.0}, {"x": 0}),
    ("leaky_relu(x)", {"x": 0.0}, {"x": 0.01}),
    ("elu(x)", {"x": 0.0}, {"x": 1}),
    ("celu(x, alpha=2)", {"x": 0.0}, {"x": 1}),
    ("clip(x, min=0, max=1)", {"x": 0.0}, {"x": 1}),
    ("clip(x, min=0, max=1)", {"x": 1.0}, {"x": 1}),
    ("maximum(x, y)", {"x": 2.0, "y": 2.0}, {"x": 1, "y": 0}),
    ("minimum(x, y)", {"x": 2.0, "y": 2.0}, {"x": 1, "y": 0}),
    ("max(x)", {"x": [1.0, 2.0, 2.0]}, {"x": [0, 1, 0]}),
    ("min(x)", {"x": [1.0, 1.0, 2.0]}, {"x": [1, 0, 0]}),
    ("sum(sort(x) * k)", {"x": [2.0, 2.0], "k": [1, 3]}, {"x": [1, 3]}),
    ("hypot(x, y)", {"x": 0.0, "y": 0.0}, {"x": 0, "y": 0}),
    ("vector_norm(x)", {"x": [0.0, 0.0]}, {"x": [0, 0]}),
    ("std(x)", {"x": [1.5, 1.5]}, {"x": [0, 0]}),
    ("floor(x)", {"x": 2.0}, {"x": 0}),
    ("sign(x)", {"x": 0.0}, {"x": 0}),
]
"""What an engine answers where there is more than one derivative, or none."""

every_tie = pytest.mark.parametrize(("text", "values", "expected"), TIES, ids=[text for text, _, _ in TIES])

ABSENT = {
    "det", "inv", "cholesky", "matrix_power", "expm", "eigvalsh", "solve", "solve_triangular", "svdvals", "slogdet",
    "conj", "real", "imag", "angle",
}  # fmt: skip
"""What the engines from scratch don't have: decompositions of matrices, and complex numbers."""
