"""The words that a reverse pass needs beside the vocabulary.

Nothing enters; `INTERNAL` leaves: primitives that nobody can write in a function's text, as `gradbench.primitives`
describes the others, with the rule each one's shape follows. A number system that is to run a reverse pass (see
`gradbench.reference.reverse.adjoint`) has these as well; what they mean is under each, and `internal_ops` is one example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gradbench import shapes
from gradbench.primitives import VOCABULARY, Primitive
from gradbench.shapes import Spec

_TABLE: Final = (
    # `above` where x > 0, `below` where x < 0, elementwise with broadcasting. Where x = 0 the derivative that is
    # being computed has a kink: any value between the two. It is linear in `above` and `below`, and flat in x.
    Primitive("pick(x, above, below)", "pick", "internal", kinks="x = 0"),
    # For each entry its share in the maximum over the axes: 1 at the largest, 0 elsewhere; 1/k each where k tie.
    Primitive("share(x, axis: axes = None)", "same", "internal", kinks="the largest entry occurs twice"),
    # x in the order that sorts `key` ascending along the axis (stable); with `inverse`, back from that order.
    Primitive(
        "permute_like(x, key, axis: axis = -1, inverse: bool = False)", "same", "internal", kinks="two keys are equal"
    ),
    # Zeros of the shape, with x at the index: the transpose of getitem.
    Primitive("put(x, index: ints, shape: ints)", "put", "internal"),
    # Zeros with `size` entries along the axis, to which x is added at the indices: the transpose of take.
    Primitive("scatter(x, indices, axis: axis, size: int)", "scatter", "internal"),
    # The n-th derivative of digamma.
    Primitive("polygamma(x, n: int)", "same", "internal", domain="x not in 0, -1, -2, ..."),
    # J_n, and I_n or exp(-abs(x)) I_n: Abramowitz and Stegun (1964), 9.1 and 9.6. n is 0 or more.
    Primitive("bessel_j(x, n: int)", "same", "internal"),
    Primitive("bessel_i(x, n: int, scaled: bool = False)", "same", "internal", kinks="scaled and x = 0 and n even"),
    # j_n(x) = sqrt(pi / (2 x)) J_{n + 1/2}(x), entire: 10.1. sinc(x) = j_0(pi x).
    Primitive("spherical_j(x, n: int)", "same", "internal"),
    # The cofactors of a square matrix: det(x) inv(x)^T where x is invertible; a polynomial in its entries.
    Primitive("cofactor(x)", "square", "internal"),
    # Of the symmetric part of x: eigenvalues (..., n) ascending, and eigenvectors (..., n, n) as columns.
    Primitive("eigh(x)", "eigh", "internal", kinks="a repeated eigenvalue", results=("eigenvalues", "eigenvectors")),
    # x (..., m, n) = u diag(s) v^T with u (..., m, k), s (..., k) descending, v (..., n, k), k = min(m, n).
    Primitive("svd(x)", "svd", "internal", kinks="a singular value that repeats or is 0", results=("u", "s", "v")),
)

INTERNAL: Final[dict[str, Primitive]] = {p.name: p for p in _TABLE}
"""Every internal primitive by its name."""


def primitive(name: str) -> Primitive:
    """The primitive of that name, of the vocabulary or internal."""
    return VOCABULARY.get(name) or INTERNAL[name]


def apply(name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Any:
    """The spec of a primitive's answer, internal ones included; as `gradbench.shapes.apply`.

    Kinds are taken on trust: what is used as an index or a condition is one.

    Raises:
        Misfit: The arguments don't fit.
    """
    if name in _ARITHMETIC:
        left, right = arguments
        if left.kind == right.kind == "real":  # as it nearly always is
            if left.shape == right.shape or not right.shape:
                return left
            if not left.shape:
                return right
    if name in INTERNAL:
        return _RULES[INTERNAL[name].shape](arguments, statics)
    if name == "take":
        arguments = [arguments[0], replace(arguments[1], kind="integer")]
    elif name == "where":
        arguments = [replace(arguments[0], kind="boolean"), *arguments[1:]]
    elif name in {"logical_and", "logical_or", "logical_not"}:
        arguments = [replace(argument, kind="boolean") for argument in arguments]
    return shapes.apply(name, arguments, statics)


_ARITHMETIC: Final = frozenset({"add", "subtract", "multiply", "divide"})


def _kind(*specs: Spec) -> str:
    return "complex" if any(spec.kind == "complex" for spec in specs) else "real"


def _pick(arguments: Sequence[Spec], _statics: Mapping[str, Any]) -> Spec:
    x, above, below = arguments
    return Spec(shapes.broadcast(x.shape, above.shape, below.shape), _kind(above, below))


def _same(arguments: Sequence[Spec], _statics: Mapping[str, Any]) -> Spec:
    return Spec(arguments[0].shape, _kind(arguments[0]))


def _put(arguments: Sequence[Spec], statics: Mapping[str, Any]) -> Spec:
    return Spec(tuple(statics["shape"]), _kind(arguments[0]))


def _scatter(arguments: Sequence[Spec], statics: Mapping[str, Any]) -> Spec:
    (x, indices), axis = arguments, statics["axis"]
    return Spec((*x.shape[:axis], statics["size"], *x.shape[axis + len(indices.shape) :]), _kind(x))


def _eigh(arguments: Sequence[Spec], _statics: Mapping[str, Any]) -> tuple[Spec, Spec]:
    shape = arguments[0].shape
    return Spec(shape[:-1]), Spec(shape, arguments[0].kind)


def _svd(arguments: Sequence[Spec], _statics: Mapping[str, Any]) -> tuple[Spec, Spec, Spec]:
    *batch, m, n = arguments[0].shape
    k, kind = min(m, n), arguments[0].kind
    return Spec((*batch, m, k), kind), Spec((*batch, k)), Spec((*batch, n, k), kind)


_RULES: Final[dict[str, Callable[[Sequence[Any], Mapping[str, Any]], Any]]] = {
    "pick": _pick,
    "same": _same,
    "square": _same,
    "put": _put,
    "scatter": _scatter,
    "eigh": _eigh,
    "svd": _svd,
}
