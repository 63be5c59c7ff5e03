"""The vocabulary: what a function may be built from.

Nothing enters; `VOCABULARY` leaves: for each primitive its name, its signature, where it is defined, where it is not
smooth, and the rule its shape follows. There is no arithmetic here: a primitive gets its meaning from an adapter's
`ops`, which receives arrays by position and every static argument by keyword, defaults filled in.

Names are the Python array API standard's where it has one (2024.12), else SciPy's (`scipy.special`, `scipy.linalg`),
else the name the neural-network libraries share. Meanings follow the source of the name; where libraries differ, the
signature's default settles it (`var` divides by n, `gelu` is the exact one, `round` goes to even).
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

Kind = Literal["array", "arrays", "operands", "int", "ints", "axis", "axes", "number", "bool", "text"]
"""What a parameter takes: one array; a list of arrays; the remaining positional arrays; or something static."""

ARRAY_KINDS: Final = frozenset({"array", "arrays", "operands"})
REQUIRED: Final = object()


@dataclass(frozen=True)
class Parameter:
    """One parameter of a primitive. `default` is `REQUIRED` where it must be given."""

    name: str
    kind: Kind
    default: Any = REQUIRED

    @property
    def is_static(self) -> bool:
        """Whether it is fixed in the program's text rather than computed."""
        return self.kind not in ARRAY_KINDS

    @property
    def is_required(self) -> bool:
        """Whether a call must give it."""
        return self.default is REQUIRED

    def accepted(self, value: Any) -> Any:
        """A static value in the form that `ops` receive.

        Raises:
            ValueError: The parameter can't be that; the message says what it can be.
        """
        if value is None and self.default is None:
            return None
        check, words = _STATIC[self.kind]
        if not check(value):
            raise ValueError(words)
        return (value,) if self.kind == "ints" and isinstance(value, int) else value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_ints(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, tuple) and all(map(_is_int, value)))


_STATIC: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "int": (_is_int, "a whole number"),
    "axis": (_is_int, "a whole number"),
    "ints": (_are_ints, "whole numbers, as (2, 3)"),
    "axes": (lambda value: _are_ints(value) and value != (), "a whole number or several, as (0, 1)"),
    "number": (lambda value: isinstance(value, float) or _is_int(value), "a number"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "text": (lambda value: isinstance(value, str), "a string"),
}


@dataclass(frozen=True)
class Primitive:
    """One word of the language.

    Attributes:
        signature: As a person would write it: ``sum(x, axis: axes = None, keepdims: bool = False)``. A parameter
            without a kind is an array; a star collects the remaining arrays.
        shape: The name of its rule in `gradbench.shapes`.
        topic: The heading it is listed under.
        domain: Where it is real and finite, as text in the signature's names; empty where that is everywhere.
        kinks: Where it is defined and has no derivative, or only a convention for one; empty where it is smooth.
        results: The field names of its answer if it answers with several arrays, as the array API's named tuples.
    """

    signature: str
    shape: str
    topic: str
    domain: str = ""
    kinks: str = ""
    results: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The word itself."""
        return self.signature.partition("(")[0]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters, in order."""
        definition = ast.parse(f"def {self.signature}: ...").body[0]
        assert isinstance(definition, ast.FunctionDef)
        arguments = definition.args
        if arguments.vararg is not None:
            static = [Parameter(a.arg, _kind(a)) for a in arguments.args]
            return (*static, Parameter(arguments.vararg.arg, "operands"))
        missing = len(arguments.args) - len(arguments.defaults)
        defaults = [REQUIRED] * missing + [ast.literal_eval(d) for d in arguments.defaults]
        pairs = zip(arguments.args, defaults, strict=True)
        return tuple(Parameter(a.arg, _kind(a), default) for a, default in pairs)


def _kind(argument: ast.arg) -> Kind:
    return argument.annotation.id if isinstance(argument.annotation, ast.Name) else "array"  # type: ignore[return-value]


def _topic(topic: str, shape: str, *rows: tuple[str, ...]) -> list[Primitive]:
    """Rows of (signature, domain, kinks), all under one topic and with one shape rule."""
    filled = [(*row, "", "")[:3] for row in rows]
    return [Primitive(signature, shape, topic, domain, kinks) for signature, domain, kinks in filled]


_TABLE: Final = [
    *_topic(
        "arithmetic",
        "broadcast",
        ("add(x1, x2)",),
        ("subtract(x1, x2)",),
        ("multiply(x1, x2)",),
        ("divide(x1, x2)", "x2 != 0"),
        ("power(x1, x2)", "x1 > 0, or x2 an integer (x1 != 0 where it is negative)"),
        ("remainder(x1, x2)", "x2 != 0", "x1 / x2 an integer"),
        ("maximum(x1, x2)", "", "x1 = x2"),
        ("minimum(x1, x2)", "", "x1 = x2"),
        ("atan2(x1, x2)", "", "x1 = 0 and x2 <= 0"),
        ("hypot(x1, x2)", "", "x1 = x2 = 0"),
        ("logaddexp(x1, x2)",),
        ("copysign(x1, x2)", "", "x1 = 0 or x2 = 0"),
        ("xlogy(x1, x2)", "x2 > 0 or x1 = 0", "x1 = x2 = 0"),
        ("xlog1py(x1, x2)", "x2 > -1 or x1 = 0", "x1 = 0 and x2 = -1"),
    ),
    *_topic(
        "elementary",
        "elementwise",
        ("abs(x)", "", "x = 0"),
        ("negative(x)",),
        ("sign(x)", "", "x = 0"),
        ("square(x)",),
        ("sqrt(x)", "x >= 0", "x = 0"),
        ("rsqrt(x)", "x > 0"),
        ("cbrt(x)", "", "x = 0"),
        ("reciprocal(x)", "x != 0"),
        ("exp(x)",),
        ("exp2(x)",),
        ("expm1(x)",),
        ("log(x)", "x > 0"),
        ("log2(x)", "x > 0"),
        ("log10(x)", "x > 0"),
        ("log1p(x)", "x > -1"),
        ("sin(x)",),
        ("cos(x)",),
        ("tan(x)", "cos(x) != 0"),
        ("asin(x)", "abs(x) <= 1", "abs(x) = 1"),
        ("acos(x)", "abs(x) <= 1", "abs(x) = 1"),
        ("atan(x)",),
        ("sinh(x)",),
        ("cosh(x)",),
        ("tanh(x)",),
        ("asinh(x)",),
        ("acosh(x)", "x >= 1", "x = 1"),
        ("atanh(x)", "abs(x) < 1"),
        ("floor(x)", "", "x an integer"),
        ("ceil(x)", "", "x an integer"),
        ("trunc(x)", "", "x an integer other than 0"),
        ("round(x)", "", "x + 1/2 an integer"),
        ("clip(x, min: number = None, max: number = None)", "", "x = min or x = max"),
        ("sinc(x)",),
    ),
    *_topic(
        "complex",
        "elementwise",
        ("real(x)",),
        ("imag(x)",),
        ("conj(x)",),
        ("angle(x)", "", "x = 0; of complex x also wherever x < 0"),
    ),
    *_topic(
        "special",
        "elementwise",
        ("erf(x)",),
        ("erfc(x)",),
        ("erfinv(x)", "abs(x) < 1"),
        ("gamma(x)", "x not in 0, -1, -2, ..."),
        ("gammaln(x)", "x not in 0, -1, -2, ..."),
        ("digamma(x)", "x not in 0, -1, -2, ..."),
        ("expit(x)",),
        ("logit(x)", "0 < x < 1"),
        ("ndtr(x)",),
        ("log_ndtr(x)",),
        ("ndtri(x)", "0 < x < 1"),
        ("entr(x)", "x >= 0", "x = 0"),
        ("j0(x)",),
        ("j1(x)",),
        ("i0(x)",),
        ("i1(x)",),
        ("i0e(x)", "", "x = 0"),
        ("i1e(x)", "", ""),
    ),
    *_topic(
        "special",
        "broadcast",
        ("betaln(x1, x2)", "x1 > 0 and x2 > 0"),
        ("zeta(x1, x2)", "x1 > 1 and x2 > 0"),
        ("gammainc(x1, x2)", "x1 > 0 and x2 >= 0"),
    ),
    *_topic(
        "activations",
        "elementwise",
        ("relu(x)", "", "x = 0"),
        ("relu6(x)", "", "x = 0 or x = 6"),
        ("leaky_relu(x, negative_slope: number = 0.01)", "", "x = 0"),
        ("elu(x, alpha: number = 1.0)", "", "x = 0 unless alpha = 1"),
        ("selu(x)", "", "x = 0"),
        ("celu(x, alpha: number = 1.0)",),
        ("gelu(x, approximate: text = 'none')",),
        ("silu(x)",),
        ("mish(x)",),
        ("softplus(x)",),
        ("softsign(x)",),
        ("log_sigmoid(x)",),
        ("hard_tanh(x)", "", "abs(x) = 1"),
        ("hard_sigmoid(x)", "", "abs(x) = 3"),
        ("hard_swish(x)", "", "abs(x) = 3"),
    ),
    *_topic(
        "activations",
        "along_axis",
        ("softmax(x, axis: axis = -1)",),
        ("log_softmax(x, axis: axis = -1)",),
    ),
    *_topic(
        "comparison",
        "compare",
        ("less(x1, x2)",),
        ("less_equal(x1, x2)",),
        ("greater(x1, x2)",),
        ("greater_equal(x1, x2)",),
        ("equal(x1, x2)",),
        ("not_equal(x1, x2)",),
    ),
    *_topic("comparison", "logic", ("logical_and(x1, x2)",), ("logical_or(x1, x2)",), ("logical_not(x)",)),
    *_topic("comparison", "where", ("where(condition, x1, x2)",)),
    *_topic(
        "reductions",
        "reduce",
        ("sum(x, axis: axes = None, keepdims: bool = False)",),
        ("mean(x, axis: axes = None, keepdims: bool = False)",),
        ("prod(x, axis: axes = None, keepdims: bool = False)",),
        ("max(x, axis: axes = None, keepdims: bool = False)", "", "the largest entry occurs twice"),
        ("min(x, axis: axes = None, keepdims: bool = False)", "", "the smallest entry occurs twice"),
        ("var(x, axis: axes = None, correction: number = 0, keepdims: bool = False)",),
        ("std(x, axis: axes = None, correction: number = 0, keepdims: bool = False)", "", "all entries are equal"),
        ("logsumexp(x, axis: axes = None, keepdims: bool = False)",),
        (
            "vector_norm(x, axis: axes = None, keepdims: bool = False, ord: number = 2)",
            "",
            "all entries are 0; for ord 1 any; for ord inf a tie of the largest",
        ),
    ),
    *_topic(
        "reductions",
        "along_axis",
        ("cumulative_sum(x, axis: axis = -1)",),
        ("cumulative_prod(x, axis: axis = -1)",),
        ("sort(x, axis: axis = -1)", "", "two entries are equal"),
        ("flip(x, axis: axes = None)",),
        ("roll(x, shift: ints, axis: axes = None)",),
    ),
    *_topic("shapes", "reshape", ("reshape(x, shape: ints)",)),
    *_topic("shapes", "permute_dims", ("permute_dims(x, axes: ints)",)),
    *_topic("shapes", "matrix_transpose", ("matrix_transpose(x)",)),
    *_topic("shapes", "expand_dims", ("expand_dims(x, axis: axis = 0)",)),
    *_topic("shapes", "squeeze", ("squeeze(x, axis: axes)",)),
    *_topic("shapes", "moveaxis", ("moveaxis(x, source: ints, destination: ints)",)),
    *_topic("shapes", "broadcast_to", ("broadcast_to(x, shape: ints)",)),
    *_topic("shapes", "concat", ("concat(arrays: arrays, axis: axis = 0)",)),
    *_topic("shapes", "stack", ("stack(arrays: arrays, axis: axis = 0)",)),
    *_topic("shapes", "tile", ("tile(x, repetitions: ints)",)),
    *_topic("shapes", "repeat", ("repeat(x, repeats: int, axis: axis = 0)",)),
    *_topic("shapes", "pad", ("pad(x, width: ints, value: number = 0)",)),
    *_topic("shapes", "take", ("take(x, indices, axis: axis = 0)",)),
    *_topic("shapes", "along_axis", ("tril(x, k: int = 0)",), ("triu(x, k: int = 0)",)),
    *_topic("shapes", "diagonal", ("diagonal(x)",)),
    *_topic("shapes", "diag", ("diag(x)",)),
    *_topic("linear algebra", "matmul", ("matmul(x1, x2)",)),
    *_topic("linear algebra", "vecdot", ("vecdot(x1, x2, axis: axis = -1)",)),
    *_topic("linear algebra", "outer", ("outer(x1, x2)",)),
    *_topic("linear algebra", "kron", ("kron(x1, x2)",)),
    *_topic("linear algebra", "cross", ("cross(x1, x2)",)),
    *_topic("linear algebra", "tensordot", ("tensordot(x1, x2, axes: int = 2)",)),
    *_topic("linear algebra", "einsum", ("einsum(subscripts: text, *operands)",)),
    *_topic("linear algebra", "trace", ("trace(x)",)),
    *_topic("linear algebra", "determinant", ("det(x)",)),
    *_topic(
        "linear algebra",
        "square",
        ("inv(x)", "x invertible"),
        ("cholesky(x)", "x symmetric and positive definite; only the symmetric part of x is read"),
        ("matrix_power(x, n: int)", "x invertible where n < 0"),
        ("expm(x)",),
    ),
    *_topic(
        "linear algebra", "eigvalsh", ("eigvalsh(x)", "only the symmetric part of x is read", "a repeated eigenvalue")
    ),
    *_topic("linear algebra", "solve", ("solve(x1, x2)", "x1 invertible")),
    *_topic("linear algebra", "solve", ("solve_triangular(x1, x2, lower: bool = True)", "x1 has no 0 on its diagonal")),
    *_topic("linear algebra", "matrix_norm", ("matrix_norm(x, keepdims: bool = False)", "", "all entries are 0")),
    *_topic("linear algebra", "svdvals", ("svdvals(x)", "", "a singular value that repeats or is 0")),
    Primitive("slogdet(x)", "slogdet", "linear algebra", domain="x invertible", results=("sign", "logabsdet")),
    *_topic("indexing", "getitem", ("getitem(x, index: ints)",)),
]

VOCABULARY: Final[dict[str, Primitive]] = {p.name: p for p in _TABLE}
"""Every primitive by its name."""

ARITHMETIC: Final = frozenset({"add", "subtract", "multiply", "divide", "power", "negative", "remainder"})
"""What Python's own operators spell. These meet numbers of the text as Python scalars, as people write them."""
