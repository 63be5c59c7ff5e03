"""The vocabulary as SymPy's expressions: the part of the adapter `sympy` that spells primitives.

NumPy arrays of expressions, or of numbers, enter `OPS[name]`; arrays of expressions leave. Numbers go into an
expression with all their digits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import sympy
from sympy.codegen.cfunctions import exp2, expm1, hypot, log1p, log2, log10
from sympy.codegen.numpy_nodes import logaddexp

from gradbench.errors import Unsupported
from gradbench.query import Array

Expr = Any
"""A SymPy expression."""

Axes = int | tuple[int, ...] | None

MAX_MATRIX: Final = 4
"""Rows of a matrix that is inverted symbolically."""
MAX_SORTED: Final = 4
"""Numbers that are sorted symbolically."""

HALF: Final = sympy.Rational(1, 2)
SELU_ALPHA: Final = sympy.Float("1.6732632423543772848170429916717", 32)
SELU_SCALE: Final = sympy.Float("1.0507009873554804934193349852946", 32)
"""Klambauer et al. (2017), Self-Normalizing Neural Networks, equation 14."""


def number(value: Any) -> Expr:
    """A number as an expression, bit for bit; a whole one as an integer, so that x**2.0 is x**2."""
    if isinstance(value, (complex, np.complexfloating)):
        return number(float(value.real)) + sympy.I * number(float(value.imag))
    if isinstance(value, (bool, np.bool_)):
        return sympy.true if value else sympy.false
    value = float(value)
    if np.isnan(value):
        return sympy.nan
    if np.isinf(value):
        return sympy.oo if value > 0 else -sympy.oo
    return sympy.Integer(int(value)) if value.is_integer() and abs(value) < 2**53 else sympy.Float(value, 17)


def boxed(value: Any) -> Array:
    """An array, also of one expression; numbers become expressions."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return value
    array = value if isinstance(value, np.ndarray) else np.asarray(value)
    found = np.empty(array.shape, object)
    for index in np.ndindex(array.shape):
        found[index] = array[index] if array.dtype == object else number(array[index])
    return found


def _op(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays of expressions, for arrays of numbers and bare numbers as well."""

    @functools.wraps(f, assigned=("__name__", "__qualname__", "__doc__"), updated=())
    def op(*arrays: Any, **statics: Any) -> Any:
        return boxed(f(*(list(map(boxed, a)) if isinstance(a, list) else boxed(a) for a in arrays), **statics))

    return op


def _each(f: Callable[..., Expr], count: int = 1) -> Callable[..., Array]:
    """A function of expressions, entry by entry."""

    def each(*arrays: Array, **statics: Any) -> Array:
        return boxed(np.frompyfunc(functools.partial(f, **statics) if statics else f, count, 1)(*arrays))

    return _op(each)


def _rows(f: Callable[..., Expr]) -> Callable[..., Array]:
    """A reduction, from what it makes of several expressions."""

    def reduce(x: Array, *, axis: Axes = None, keepdims: bool = False, **statics: Any) -> Array:
        given = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = [a % x.ndim for a in given]
        kept = [a for a in range(x.ndim) if a not in axes]
        shape = [x.shape[a] for a in kept]
        found = np.empty(shape, object)
        moved = x.transpose(*kept, *axes)
        for index in np.ndindex(*shape):
            found[index] = f(*moved[index].flat, **statics) if axes else f(moved[index], **statics)
        return found.reshape([1 if a in axes else n for a, n in enumerate(x.shape)]) if keepdims else found

    return _op(reduce)


def _along(f: Callable[..., Sequence[Expr]]) -> Callable[..., Array]:
    """A function of several expressions that answers with as many, along an axis."""

    def apply(x: Array, *, axis: int = -1) -> Array:
        rows = np.moveaxis(x, axis, -1)
        found = np.empty(rows.shape, object)
        for index in np.ndindex(*rows.shape[:-1]):
            found[index] = f(*rows[index])
        return np.moveaxis(found, -1, axis)

    return _op(apply)


def _matrices(f: Callable[..., Any], limit: int | None = MAX_MATRIX) -> Callable[..., Array]:
    """A function of SymPy's matrices, for stacks of arrays."""

    def apply(*arrays: Array, **statics: Any) -> Array:
        vector = len(arrays) == 2 and arrays[1].ndim == 1
        parts = [a[:, None] if vector and a.ndim == 1 else a for a in arrays]
        if limit is not None and parts[0].shape[-1] > limit:
            raise Unsupported(f"a symbolic matrix of shape {list(parts[0].shape[-2:])}; up to {limit} rows are tried")
        lead = np.broadcast_shapes(*(a.shape[:-2] for a in parts))
        stacks = [np.broadcast_to(a, lead + a.shape[-2:]) for a in parts]
        answers = [
            f(*(sympy.Matrix(*s[i].shape, list(s[i].flat)) for s in stacks), **statics) for i in np.ndindex(lead)
        ]
        shape = answers[0].shape if isinstance(answers[0], sympy.MatrixBase) else ()
        found = np.empty((len(answers), *shape), object)
        for i, answer in enumerate(answers):
            found[i] = np.array(answer.tolist(), object).reshape(shape) if shape else answer
        found = found.reshape(lead + shape)
        return found[..., 0] if vector else found

    return _op(apply)


# Primitives that take more than a line


def _pieces(*pairs: tuple[Expr, Any]) -> Expr:
    return sympy.Piecewise(*pairs)


def _clip(x: Expr, *, min: float | None = None, max: float | None = None) -> Expr:
    x = x if min is None else sympy.Max(x, number(min))
    return x if max is None else sympy.Min(x, number(max))


def _round(x: Expr) -> Expr:
    up = sympy.floor(x + HALF)
    return _pieces((up - 1, sympy.And(sympy.Eq(up - x, HALF), sympy.Ne(sympy.Mod(up, 2), 0))), (up, True))


def _elu(x: Expr, *, alpha: Any = 1.0) -> Expr:
    return _pieces((x, x > 0), ((number(alpha) if isinstance(alpha, float | int) else alpha) * expm1(x), True))


def _celu(x: Expr, *, alpha: float = 1.0) -> Expr:
    return _pieces((x, x > 0), (number(alpha) * expm1(x / number(alpha)), True))


def _expit(x: Expr) -> Expr:
    return 1 / (1 + sympy.exp(-x))


def _ndtr(x: Expr) -> Expr:
    return sympy.erfc(-x / sympy.sqrt(2)) / 2


def _gelu(x: Expr, *, approximate: str = "none") -> Expr:
    if approximate == "none":
        return x * _ndtr(x)
    return x * (1 + sympy.tanh(sympy.sqrt(2 / sympy.pi) * (x + sympy.Float("0.044715", 17) * x**3))) / 2


def _var(*row: Expr, correction: float = 0) -> Expr:
    mean = sympy.Add(*row) / len(row)
    return sympy.Add(*(sympy.Abs(x - mean) ** 2 for x in row)) / (len(row) - number(correction))


def _vector_norm(*row: Expr, ord: float = 2) -> Expr:
    return sympy.Matrix(row).norm(number(ord))


def _lower(x: Array, k: int) -> Array:
    return np.tri(x.shape[-2], x.shape[-1], k, bool)


def _sorted(*row: Expr) -> list[Expr]:
    """By exchanging neighbours, as Batcher's networks do."""
    if len(row) > MAX_SORTED:
        raise Unsupported(f"{len(row)} symbols to sort; up to {MAX_SORTED} are tried")
    found = list(row)
    for last in range(len(row) - 1, 0, -1):
        for i in range(last):
            found[i : i + 2] = sympy.Min(*found[i : i + 2]), sympy.Max(*found[i : i + 2])
    return found


def _triangular(a: Expr, b: Expr, *, lower: bool = True) -> Expr:
    return a.lower_triangular().lower_triangular_solve(b) if lower else a.upper_triangular().upper_triangular_solve(b)


def _power(x: Array, *, n: int) -> Array:
    """By squaring, as SymPy's own power of a matrix multiplies everything out."""
    base = OPS["inv"](x) if n < 0 else x
    found = np.broadcast_to(np.where(np.eye(x.shape[-1], dtype=bool), sympy.S.One, sympy.S.Zero), x.shape)
    for bit in f"{abs(n):b}" if n else "":
        found = np.matmul(found, found)
        found = np.matmul(found, base) if bit == "1" else found
    return found


def _slogdet(x: Array) -> tuple[Array, Array]:
    det = OPS["det"](x)
    return OPS["sign"](det), OPS["log"](OPS["abs"](det))


def _softmax(*row: Expr) -> list[Expr]:
    total = sympy.Add(*map(sympy.exp, row))
    return [sympy.exp(x) / total for x in row]


def _log_softmax(*row: Expr) -> list[Expr]:
    total = sympy.log(sympy.Add(*map(sympy.exp, row)))
    return [x - total for x in row]


def _roll(x: Array, *, shift: tuple[int, ...], axis: Axes = None) -> Array:
    return np.roll(x, sum(shift)) if axis is None else np.roll(x, shift, axis)


def _pad(x: Array, *, width: tuple[int, ...], value: float = 0) -> Array:
    found = np.full([n + width[2 * i] + width[2 * i + 1] for i, n in enumerate(x.shape)], number(value), object)
    found[tuple(slice(width[2 * i], width[2 * i] + n) for i, n in enumerate(x.shape))] = x
    return found


def _diag(x: Array) -> Array:
    return np.where(np.eye(len(x), dtype=bool), x, sympy.S.Zero)


def _take(x: Any, indices: Any, *, axis: int = 0) -> Array:
    places = np.asarray([int(n) for n in np.asarray(indices).flat], np.intp).reshape(np.shape(indices))
    return np.take(boxed(x), places, axis=axis)


def _where(condition: Expr, x1: Expr, x2: Expr) -> Expr:
    return _pieces((x1, condition), (x2, True))


def _cross(x1: Array, x2: Array) -> Array:
    (a, b, c), (d, e, f) = (np.moveaxis(x, -1, 0) for x in np.broadcast_arrays(x1, x2))
    return np.stack([boxed(b * f - c * e), boxed(c * d - a * f), boxed(a * e - b * d)], -1)


_ONE: Final[dict[str, Callable[..., Expr]]] = {
    # SymPy's own, as they are
    "abs": sympy.Abs, "sign": sympy.sign, "sqrt": sympy.sqrt, "exp": sympy.exp, "exp2": exp2, "expm1": expm1,
    "log": sympy.log, "log2": log2, "log10": log10, "log1p": log1p, "sin": sympy.sin, "cos": sympy.cos,
    "tan": sympy.tan, "asin": sympy.asin, "acos": sympy.acos, "atan": sympy.atan, "sinh": sympy.sinh,
    "cosh": sympy.cosh, "tanh": sympy.tanh, "asinh": sympy.asinh, "acosh": sympy.acosh, "atanh": sympy.atanh,
    "floor": sympy.floor, "ceil": sympy.ceiling, "erf": sympy.erf, "erfc": sympy.erfc, "erfinv": sympy.erfinv,
    "gamma": sympy.gamma, "gammaln": sympy.loggamma, "digamma": sympy.digamma, "logical_not": sympy.Not,
    "real": sympy.re, "imag": sympy.im, "conj": sympy.conjugate, "angle": sympy.arg,
    # one call of SymPy's
    "negative": lambda x: -x, "square": lambda x: x**2, "rsqrt": lambda x: x**-HALF, "reciprocal": lambda x: 1 / x,
    "cbrt": lambda x: sympy.real_root(x, 3), "sinc": lambda x: sympy.sinc(sympy.pi * x),
    "j0": lambda x: sympy.besselj(0, x), "j1": lambda x: sympy.besselj(1, x),
    "i0": lambda x: sympy.besseli(0, x), "i1": lambda x: sympy.besseli(1, x),
    "relu": lambda x: sympy.Max(x, 0), "softplus": lambda x: logaddexp(x, 0), "log_sigmoid": lambda x: -logaddexp(-x, 0),
}  # fmt: skip

_ONE_COMPOSITE: Final[dict[str, Callable[..., Expr]]] = {
    "trunc": lambda x: sympy.sign(x) * sympy.floor(sympy.Abs(x)),
    "round": _round,
    "clip": _clip,
    "expit": _expit,
    "logit": lambda x: sympy.log(x / (1 - x)),
    "ndtr": _ndtr,
    "log_ndtr": lambda x: sympy.log(_ndtr(x)),
    "ndtri": lambda x: sympy.sqrt(2) * sympy.erfinv(2 * x - 1),
    "entr": lambda x: _pieces((-x * sympy.log(x), x > 0), (0, sympy.Eq(x, 0)), (-sympy.oo, True)),
    "i0e": lambda x: sympy.exp(-sympy.Abs(x)) * sympy.besseli(0, x),
    "i1e": lambda x: sympy.exp(-sympy.Abs(x)) * sympy.besseli(1, x),
    "relu6": lambda x: _clip(x, min=0, max=6),
    "leaky_relu": lambda x, *, negative_slope=0.01: _pieces((x, x > 0), (number(negative_slope) * x, True)),
    "elu": _elu,
    "selu": lambda x: SELU_SCALE * _elu(x, alpha=SELU_ALPHA),
    "celu": _celu,
    "gelu": _gelu,
    "silu": lambda x: x * _expit(x),
    "mish": lambda x: x * sympy.tanh(logaddexp(x, 0)),
    "softsign": lambda x: x / (1 + sympy.Abs(x)),
    "hard_tanh": lambda x: _clip(x, min=-1, max=1),
    "hard_sigmoid": lambda x: _clip(x + 3, min=0, max=6) / 6,
    "hard_swish": lambda x: x * _clip(x + 3, min=0, max=6) / 6,
}

_TWO: Final[dict[str, Callable[..., Expr]]] = {
    "add": lambda x, y: x + y, "subtract": lambda x, y: x - y, "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y, "power": lambda x, y: x**y, "remainder": sympy.Mod, "maximum": sympy.Max,
    "minimum": sympy.Min, "atan2": sympy.atan2, "hypot": hypot, "logaddexp": logaddexp, "zeta": sympy.zeta,
    "less": sympy.Lt, "less_equal": sympy.Le, "greater": sympy.Gt, "greater_equal": sympy.Ge, "equal": sympy.Eq,
    "not_equal": sympy.Ne, "logical_and": sympy.And, "logical_or": sympy.Or,
}  # fmt: skip

_TWO_COMPOSITE: Final[dict[str, Callable[..., Expr]]] = {
    "copysign": lambda x, y: _pieces((sympy.Abs(x), y >= 0), (-sympy.Abs(x), True)),
    "xlogy": lambda x, y: _pieces((0, sympy.Eq(x, 0)), (x * sympy.log(y), True)),
    "xlog1py": lambda x, y: _pieces((0, sympy.Eq(x, 0)), (x * log1p(y), True)),
    "betaln": lambda x, y: sympy.loggamma(x) + sympy.loggamma(y) - sympy.loggamma(x + y),
    "gammainc": lambda a, x: sympy.lowergamma(a, x) / sympy.gamma(a),
}

_REDUCTIONS: Final[dict[str, Callable[..., Expr]]] = {
    "sum": sympy.Add, "prod": sympy.Mul, "max": sympy.Max, "min": sympy.Min,
    "mean": lambda *row: sympy.Add(*row) / len(row),
    "vector_norm": _vector_norm,
}  # fmt: skip

_REDUCTIONS_COMPOSITE: Final[dict[str, Callable[..., Expr]]] = {
    "var": _var,
    "std": lambda *row, correction=0: sympy.sqrt(_var(*row, correction=correction)),
    "logsumexp": lambda *row: sympy.log(sympy.Add(*map(sympy.exp, row))),
}

_ARRAYS: Final[dict[str, Callable[..., Any]]] = {
    "flip": lambda x, *, axis=None: np.flip(x, axis),
    "roll": _roll,
    "reshape": lambda x, *, shape: np.reshape(x, shape),
    "permute_dims": lambda x, *, axes: np.transpose(x, axes),
    "matrix_transpose": lambda x: np.swapaxes(x, -2, -1),
    "expand_dims": lambda x, *, axis=0: np.expand_dims(x, axis),
    "squeeze": lambda x, *, axis: np.squeeze(x, axis),
    "moveaxis": lambda x, *, source, destination: np.moveaxis(x, source, destination),
    "broadcast_to": lambda x, *, shape: np.broadcast_to(x, shape),
    "concat": lambda arrays, *, axis=0: np.concatenate(arrays, axis=axis),
    "stack": lambda arrays, *, axis=0: np.stack(arrays, axis=axis),
    "tile": lambda x, *, repetitions: np.tile(x, repetitions),
    "repeat": lambda x, *, repeats, axis=0: np.repeat(x, repeats, axis=axis),
    "pad": _pad,
    "tril": lambda x, *, k=0: np.where(_lower(x, k), x, sympy.S.Zero),
    "triu": lambda x, *, k=0: np.where(_lower(x, k - 1), sympy.S.Zero, x),
    "diagonal": lambda x: np.diagonal(x, axis1=-2, axis2=-1),
    "diag": _diag,
    "matmul": np.matmul,
    "vecdot": lambda x1, x2, *, axis=-1: np.sum(
        _each(sympy.conjugate)(np.moveaxis(x1, axis, -1)) * np.moveaxis(x2, axis, -1), axis=-1
    ),
    "outer": lambda x1, x2: x1[:, None] * x2[None, :],
    "kron": np.kron,
    "cross": _cross,
    "tensordot": lambda x1, x2, *, axes=2: np.tensordot(x1, x2, axes),
    "einsum": lambda *operands, subscripts: np.einsum(subscripts, *operands),
    "getitem": lambda x, *, index: x[index],
}

OPS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _each(f) for name, f in {**_ONE, **_ONE_COMPOSITE}.items()},
    **{name: _each(f, 2) for name, f in {**_TWO, **_TWO_COMPOSITE}.items()},
    **{name: _rows(f) for name, f in {**_REDUCTIONS, **_REDUCTIONS_COMPOSITE}.items()},
    **{name: _op(f) for name, f in _ARRAYS.items()},
    "where": _each(_where, 3),
    "take": _take,
    "softmax": _along(_softmax),
    "log_softmax": _along(_log_softmax),
    "cumulative_sum": _along(lambda *row: [sympy.Add(*row[: i + 1]) for i in range(len(row))]),
    "cumulative_prod": _along(lambda *row: [sympy.Mul(*row[: i + 1]) for i in range(len(row))]),
    "sort": _along(_sorted),
    "trace": _matrices(sympy.trace, None),
    "det": _matrices(lambda a: a.det(method="laplace")),
    "inv": _matrices(lambda a: a.inv(method="ADJ")),
    "solve": _matrices(lambda a, b: a.cramer_solve(b, det_method="laplace")),
    "solve_triangular": _matrices(_triangular, None),
    "cholesky": _matrices(lambda a: ((a + a.H) / 2).cholesky(hermitian=False)),
    "matrix_power": _op(_power),
    "matrix_norm": lambda x, *, keepdims=False: OPS["vector_norm"](x, axis=(-2, -1), keepdims=keepdims),
    "slogdet": _slogdet,
}

"""For each primitive that SymPy has, or that a definition gives: arrays by position, statics by keyword."""

COMPOSITE: Final = (
    frozenset({*_ONE_COMPOSITE, *_TWO_COMPOSITE, *_REDUCTIONS_COMPOSITE})
    | {"softmax", "log_softmax", "cumulative_sum", "cumulative_prod", "sort", "cholesky", "slogdet", "vecdot", "cross",
       "matrix_power"}
)  # fmt: skip
"""Those put together by a definition, as SymPy has no function for them."""
