from __future__ import annotations

import zlib

import numpy as np
import pytest

from gradbench.errors import Unsupported
from gradbench.language import parse
from gradbench.numeric import OPS
from gradbench.primitives import VOCABULARY
from gradbench.program import evaluate, references
from gradbench.reference.reverse.adjoint import adjoint, cotangents, derived, recorded
from gradbench.reference.reverse.internal import INTERNAL
from gradbench.reference.reverse.internal_ops import INTERNAL_OPS
from gradbench.reference.reverse.reverse_rules import RULES
from gradbench.reference.reverse.shortened import shortened
from gradbench.shapes import Spec

ALL = {**OPS, **INTERNAL_OPS, "asarray": np.asarray}

FLAT = {
    "imag",
    "angle",
    "sign",
    "floor",
    "ceil",
    "trunc",
    "round",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "equal",
    "not_equal",
}
LOGIC = {"logical_and", "logical_or", "logical_not"}


def draw(seed, shape, low=-2.0, high=2.0):
    return np.asarray(np.random.default_rng(seed).uniform(low, high, shape))


def central(f, x, h):
    """The derivative by every entry of x, along a new last axis: six points, so its error is that of h^6."""
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = h
        step = step.reshape(x.shape)
        pairs = [f(x + k * step) - f(x - k * step) for k in (1, 2, 3)]
        columns.append((45 * pairs[0] - 9 * pairs[1] + pairs[2]) / (60 * h))
    return np.stack(columns, -1)


def shapes_of(values):
    return {name: np.shape(value) for name, value in values.items()}


def shorter(program, inputs, specs, ones=None):
    """The reverse pass for exact numbers, with fewer steps."""
    long, entries = derived(program, recorded(program, specs).entries, inputs, exact=True)
    short = shortened(long, len(program.nodes), entries, ones)
    assert (short.names, short.nodes[: len(program.nodes)]) == (long.names, long.nodes[: len(program.nodes)])
    assert short.keys == long.keys
    return short


def check_vjp(text, h=1e-3, rel=1e-6, constants=None, **x):
    names = [*x, *(constants or {})]
    fixed = {**x, **(constants or {})}
    program = parse(text, names)
    derived = adjoint(program, list(x), shapes_of(fixed))
    y = np.asarray(evaluate(program, ALL, fixed))
    w = draw(zlib.crc32(text.encode()), y.shape, 0.5, 1.5)
    found = evaluate(derived, ALL, {**fixed, "cotangent": w})
    assert set(found) == set(x)
    short = evaluate(shorter(program, list(x), shapes_of(fixed)), ALL, {**fixed, "cotangent": w})
    for name, value in x.items():
        np.testing.assert_allclose(
            short[name], found[name], rtol=1e-9, atol=1e-11 * np.max(np.abs(found[name]), initial=1)
        )
        right = central(lambda a, name=name: np.sum(w * evaluate(program, ALL, {**fixed, name: a})), value, h)
        assert np.shape(found[name]) == value.shape, name
        size = np.max(np.abs(right), initial=1e-3)
        np.testing.assert_allclose(
            found[name].reshape(-1), right, rtol=rel, atol=rel * size, err_msg=f"{text} by {name}"
        )


def hessian_of(program, x, fixed):
    """The columns of the second derivative by x, by reverse over reverse."""
    first = adjoint(program, [x], shapes_of(fixed))
    values = {**fixed, "cotangent": np.asarray(1.0)}
    second = adjoint(first, [x], shapes_of(values))
    (direction,) = cotangents(first, second)
    size = fixed[x].size
    columns = []
    for i in range(size):
        tangent = np.zeros(size)
        tangent[i] = 1
        values[direction] = tangent.reshape(fixed[x].shape)
        columns.append(evaluate(second, ALL, values)[x].reshape(-1))
    return np.stack(columns, -1), first, values


def check_hessian(text, h=1e-3, rel=1e-6, symmetric=True, **fixed):
    for name, value in fixed.items():
        found, first, values = hessian_of(parse(text, list(fixed)), name, fixed)
        values = {key: value for key, value in values.items() if key in first.names}
        right = central(lambda a, n=name, f=first, v=values: evaluate(f, ALL, {**v, n: a})[n].reshape(-1), value, h)
        scale = np.max(np.abs(right), initial=1e-3)
        np.testing.assert_allclose(found, right, rtol=rel, atol=rel * scale, err_msg=f"{text} by {name}")
        if symmetric:
            np.testing.assert_allclose(found, found.T, rtol=1e-9, atol=1e-9 * scale)


# Where a function of one array is smooth: the interval its argument is drawn from.
ELEMENTWISE = {
    "real(x) * conj(x)": (-2, 2), "abs(x)": (0.3, 2), "-x": (-2, 2), "square(x)": (-2, 2), "sqrt(x)": (0.5, 3), "rsqrt(x)": (0.5, 3), "cbrt(x)": (0.5, 3),
    "reciprocal(x)": (0.5, 2), "exp(x)": (-2, 2), "exp2(x)": (-2, 2), "expm1(x)": (-2, 2), "log(x)": (0.5, 3),
    "log2(x)": (0.5, 3), "log10(x)": (0.5, 3), "log1p(x)": (-0.5, 3), "sin(x)": (-3, 3), "cos(x)": (-3, 3),
    "tan(x)": (-1, 1), "asin(x)": (-0.8, 0.8), "acos(x)": (-0.8, 0.8), "atan(x)": (-2, 2), "sinh(x)": (-2, 2),
    "cosh(x)": (-2, 2), "tanh(x)": (-2, 2), "asinh(x)": (-2, 2), "acosh(x)": (1.3, 3), "atanh(x)": (-0.8, 0.8),
    "clip(x, min=-1, max=1)": (-0.9, 0.9), "clip(x, max=1)": (1.1, 2), "clip(x, min=0.5)": (0.6, 2), "sinc(x)": (-2.5, 2.5),
    "erf(x)": (-2, 2), "erfc(x)": (-2, 2), "erfinv(x)": (-0.8, 0.8), "gamma(x)": (0.5, 4), "gammaln(x)": (0.5, 4),
    "digamma(x)": (0.5, 4), "expit(x)": (-3, 3), "logit(x)": (0.2, 0.8), "ndtr(x)": (-2, 2), "log_ndtr(x)": (-3, 2),
    "ndtri(x)": (0.2, 0.8), "entr(x)": (0.3, 2), "j0(x)": (-4, 4), "j1(x)": (-4, 4), "i0(x)": (-2, 2), "i1(x)": (-2, 2),
    "i0e(x)": (0.2, 3), "i1e(x)": (-3, -0.2), "relu(x)": (0.2, 2), "relu(-x)": (0.2, 2), "relu6(x)": (0.5, 5.5),
    "relu6(x + 6)": (0.5, 5.5), "leaky_relu(x)": (-2, -0.2), "leaky_relu(-x, negative_slope=0.3)": (-2, -0.2),
    "elu(x)": (-2, -0.2), "elu(x, alpha=0.7)": (-2, -0.2), "elu(x + 3, alpha=0.7)": (-2, -0.2), "selu(x)": (-2, -0.2),
    "selu(x + 3)": (-2, -0.2), "celu(x, alpha=0.7)": (-2, -0.2), "celu(x, alpha=1.3)": (0.2, 2), "gelu(x)": (-3, 3),
    "gelu(x, approximate='tanh')": (-3, 3), "silu(x)": (-3, 3), "mish(x)": (-3, 3), "softplus(x)": (-3, 3),
    "softsign(x)": (0.2, 3), "log_sigmoid(x)": (-3, 3), "hard_tanh(x)": (-0.9, 0.9), "hard_tanh(3 * x)": (0.5, 2),
    "hard_sigmoid(x)": (-2.8, 2.8), "hard_swish(x)": (-2.8, 2.8), "hard_swish(x + 4)": (0, 2), "x ** 2": (-2, 2),
    "x ** 3": (-2, 2), "x ** 2.1": (0.5, 2), "x ** -1": (0.5, 2), "2 ** x": (-2, 2), "x ** x": (0.5, 2), "x / 3": (-2, 2),
    "3 / x": (0.5, 2), "x % 3": (0.5, 2.5), "7.3 % x": (2.7, 3.5), "where(x > 0, x**2, x**3)": (-2, 2), "x ** 1": (-1, 1),
}  # fmt: skip


@pytest.mark.parametrize("text", ELEMENTWISE)
def test_the_derivative_of_an_elementwise_function_is_the_slope(text):
    low, high = ELEMENTWISE[text]
    for seed, shape in enumerate([(), (4,), (2, 3)]):
        check_vjp(text, x=draw(seed, shape, low, high))


@pytest.mark.parametrize("text", ELEMENTWISE)
def test_the_second_derivative_of_an_elementwise_function_is_the_slope_of_the_first(text):
    check_hessian(f"sum({text})", x=draw(5, (3,), *ELEMENTWISE[text]))


def test_special_points_where_formulas_of_frameworks_divide_by_zero_are_smooth():
    for text, slope, bend in [
        ("sinc(x)", 0, -np.pi**2 / 3), ("j1(x)", 0.5, 0), ("i1(x)", 0.5, 0), ("i1e(x)", 0.5, None), ("j0(x)", 0, -0.5),
        ("celu(x)", 1, None), ("xlogy(x, x + 1)", 0, 2),
    ]:  # fmt: skip
        program = parse(text, ["x"])
        found, first, values = hessian_of(program, "x", {"x": np.asarray(0.0)})
        assert evaluate(first, ALL, values)["x"] == pytest.approx(slope, abs=1e-15), text
        if bend is not None:
            assert found[0, 0] == pytest.approx(bend, abs=1e-15), text


BINARY = {
    "x + y": (-2, 2), "x - y": (-2, 2), "x * y": (-2, 2), "x / y": (0.5, 2), "x ** y": (0.5, 2), "atan2(x, y)": (0.2, 2),
    "hypot(x, y)": (0.2, 2), "logaddexp(x, y)": (-2, 2), "xlogy(x, y)": (0.5, 2), "xlog1py(x, y)": (0.5, 2),
    "betaln(x, y)": (0.5, 3), "maximum(x, y)": (-2, 2), "minimum(x, y)": (-2, 2), "copysign(x, y)": (0.2, 2),
    "copysign(-x, y)": (0.2, 2), "where(x < y, x * y, x - y)": (-2, 2),
}  # fmt: skip
PAIRS = [((3,), (3,)), ((2, 3), (3,)), ((2, 1), (3,)), ((), (2, 2)), ((1, 3), (2, 1)), ((4,), ())]


@pytest.mark.parametrize("text", BINARY)
def test_the_derivative_of_a_function_of_two_sums_over_what_was_broadcast(text):
    for seed, (one, other) in enumerate(PAIRS):
        check_vjp(text, x=draw(seed, one, *BINARY[text]), y=draw(seed + 50, other, *BINARY[text]))


@pytest.mark.parametrize("text", BINARY)
def test_the_hessian_of_a_function_of_two_is_that_of_finite_differences(text):
    x, y = draw(1, (3,), *BINARY[text]), draw(2, (3,), *BINARY[text])
    check_hessian(f"sum(({text}) * x * y)", x=x, y=y)


def test_the_remainder_is_flat_steps_by_its_divisor():
    check_vjp("x % y", x=np.array([7.3, -2.2, 5.3]), y=np.array([2.0, 3.1, -1.7]))


def test_only_the_second_parameter_of_gammainc_and_zeta_has_a_derivative():
    for text in ("gammainc(a, x)", "zeta(a, x)"):
        check_vjp(text, x=draw(1, (2, 3), 0.5, 3), constants={"a": draw(2, (3,), 1.5, 3)})
        check_hessian(f"sum({text[: text.index('(')]}(2.5, x))", x=draw(1, (3,), 0.5, 3))
        with pytest.raises(Unsupported, match=rf"{text[: text.index('(')]} has no derivative by its argument 1"):
            adjoint(parse(text, ["a", "x"]), ["a", "x"], {"a": (), "x": ()})


REDUCTIONS = [
    "sum(x{})", "mean(x{})", "prod(x{})", "max(x{})", "min(x{})", "var(x{})", "var(x, correction=1{})", "std(x{})",
    "std(x, correction=0.3{})", "logsumexp(x{})", "vector_norm(x{})", "vector_norm(x, ord=1{})", "vector_norm(x, ord=inf{})",
    "vector_norm(x, ord=3{})", "vector_norm(x, ord=2.7{})", "vector_norm(x, ord=-inf{})", "vector_norm(x, ord=-1{})",
]  # fmt: skip
AXES = ["", ", axis=0", ", axis=-1", ", axis=(0, 2)", ", axis=(0, 1, 2)", ", axis=1, keepdims=True", ", keepdims=True"]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("text", REDUCTIONS)
def test_the_derivative_of_a_reduction_is_spread_over_its_axes(text, axis):
    check_vjp(text.format(axis), x=draw(len(axis), (2, 3, 2)))


@pytest.mark.parametrize("text", REDUCTIONS)
def test_the_hessian_of_a_reduction_is_that_of_finite_differences(text):
    check_hessian(f"sum({text.format(', axis=0')} ** 2 * 3)", x=draw(3, (3, 2)), rel=3e-6)
    if "correction" not in text and "std" not in text:
        check_vjp(text.format(""), x=np.asarray(1.3))


def test_the_derivative_of_a_mean_of_many_is_exact_in_every_format():
    derived = adjoint(parse("mean(x)", ["x"]), ["x"], {"x": (301,)})
    numbers = [a.value for node in derived.nodes for a in node.arguments if hasattr(a, "value")]
    assert all(abs(n) <= 256 for n in numbers)
    found = evaluate(derived, ALL, {"x": np.zeros(301), "cotangent": np.asarray(1.0)})["x"]
    assert np.all(found == 1 / 301)


def test_products_with_zeros_have_the_product_of_the_others_as_derivative():
    x = np.array([2.0, 0.0, 3.0, 5.0])
    check_vjp("prod(x)", x=x)
    check_vjp("cumulative_prod(x)", x=x)
    check_hessian("prod(x)", x=x)
    check_vjp("prod(x)", x=np.array([2.0, 0.0, 0.0]))


ALONG = [
    "softmax(x)", "softmax(x, axis=0)", "log_softmax(x)", "log_softmax(x, axis=1)", "cumulative_sum(x)",
    "cumulative_sum(x, axis=0)", "cumulative_prod(x)", "cumulative_prod(x, axis=0)", "cumulative_prod(x, axis=1)",
    "sort(x)", "sort(x, axis=0)", "flip(x)", "flip(x, axis=1)", "flip(x, axis=(0, -1))", "roll(x, 1)", "roll(x, 2, axis=0)",
    "roll(x, (1, -1), axis=(0, 2))", "roll(x, 1, axis=(0, 2))", "tril(x)", "tril(x, k=1)", "triu(x, k=-1)",
]  # fmt: skip
SHAPES = [
    "reshape(x, (4, 6))", "reshape(x, (-1, 2))", "permute_dims(x, (2, 0, 1))", "permute_dims(x, (-1, 0, 1))", "x.T",
    "expand_dims(x)", "expand_dims(x, axis=-1)", "squeeze(x[:, :1], axis=1)", "squeeze(x[:1, :, :1], axis=(0, -1))",
    "moveaxis(x, 0, -1)", "moveaxis(x, (0, 1), (2, 0))", "broadcast_to(x, (2, 2, 3, 4))", "broadcast_to(x[:, :1], (2, 3, 4))",
    "concat([x, x * x, x[:1]])", "concat([x, x[..., :2] ** 2], axis=-1)", "stack([x, sin(x)])", "stack([x, sin(x)], axis=-1)",
    "stack([x[0, 0, 0], x[0, 0, 1]])", "tile(x, (2, 1, 3))", "tile(x, (2,))", "tile(x, (2, 1, 1, 2))", "repeat(x, 2)",
    "repeat(x, 3, axis=-1)", "pad(x, (1, 0, 0, 2, 1, 1))", "pad(x, (0, 0, 1, 2, 0, 0), value=5)", "diagonal(x)",
    "diagonal(x.T)", "diag(x[0, 0])", "x[0]", "x[-1, ..., None]", "x[:, None, 1:, ::2]", "x[..., 0]", "x[1, 2, 3]", "x[::-1]",
]  # fmt: skip
VALUES = draw(9, (2, 3, 4))


@pytest.mark.parametrize("text", ALONG + SHAPES)
def test_what_moves_entries_about_moves_cotangents_back(text):
    check_vjp(text, x=VALUES)


@pytest.mark.parametrize("text", ALONG + SHAPES)
def test_what_moves_entries_about_has_its_second_derivative(text):
    check_hessian(f"sum(({text}) ** 3)", x=draw(3, (2, 3, 4), 0.3, 1.5) if "prod" in text else VALUES)


def test_shapes_of_no_axes_have_derivatives():
    x = np.asarray(1.7)
    for text in (
        "reshape(x, (1, 1))",
        "expand_dims(x)",
        "broadcast_to(x, (2, 3))",
        "pad(x, ())",
        "x[None]",
        "x[...]",
        "flip(x)",
    ):
        check_vjp(text, x=x)


def test_entries_taken_twice_get_both_cotangents():
    for indices in (np.array([0, 2, 2, -1]), np.array([[0, 1], [1, 1]]), np.asarray(1)):
        for axis in (0, 1, -1):
            check_vjp(f"take(x, i, axis={axis})", x=VALUES[:, :, :3], constants={"i": indices % 2})
    check_hessian("sum(take(x ** 2, 1, axis=1) * x[:, 0]) + sum(take(x, 0) ** 3)", x=draw(1, (2, 3)))


MATMULS = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 2)), ((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)),
           ((4, 1, 2, 3), (5, 3, 2)), ((3,), (4, 3, 2)), ((4, 2, 3), (3,))]  # fmt: skip


@pytest.mark.parametrize("shapes", MATMULS)
def test_the_derivative_of_a_matrix_product_by_either_factor(shapes):
    check_vjp("x @ y", x=draw(1, shapes[0]), y=draw(2, shapes[1]))


PRODUCTS = {
    "vecdot(x, y)": [((3,), (3,)), ((2, 3), (3,)), ((2, 1, 3), (4, 3))],
    "vecdot(x, y, axis=0)": [((3,), (3,)), ((3, 2), (3, 2))],
    "vecdot(x, y, axis=-2)": [((3, 2), (3, 2)), ((4, 3, 2), (3, 1))],
    "outer(x, y)": [((2,), (3,))],
    "kron(x, y)": [((2,), (3,)), ((2, 3), (3, 2)), ((1, 2, 2), (2, 1, 3))],
    "cross(x, y)": [((3,), (3,)), ((2, 3), (3,)), ((2, 1, 3), (4, 3))],
    "tensordot(x, y)": [((2, 3, 2), (3, 2, 2)), ((2, 3), (2, 3))],
    "tensordot(x, y, axes=1)": [((2, 3), (3, 2)), ((3,), (3,))],
    "tensordot(x, y, axes=0)": [((2,), (3, 2)), ((), (2,))],
    "einsum('ij,jk->ik', x, y)": [((2, 3), (3, 2))],
    "einsum('ij,jk->', x, y)": [((2, 3), (3, 2))],
    "einsum('bij,bjk->bik', x, y)": [((2, 2, 3), (2, 3, 2))],
    "einsum('ii,j->j', x, y)": [((3, 3), (2,))],
    "einsum('iij,ik->kj', x, y)": [((2, 2, 3), (2, 2))],
    "einsum('ij,k->k', x, y)": [((2, 3), (2,))],
    "einsum('ij,k->', x, y)": [((2, 3), (2,))],
    "einsum('i,j->ji', x, y)": [((2,), (3,))],
    "einsum('ij,ij,jk->ik', x, x, y)": [((2, 3), (3, 2))],
}


@pytest.mark.parametrize("text", PRODUCTS)
def test_the_derivative_of_a_product_by_either_factor(text):
    for one, other in PRODUCTS[text]:
        check_vjp(text, x=draw(1, one), y=draw(2, other))
    check_hessian(f"sum(({text}) ** 2)", x=draw(1, one), y=draw(2, other))


@pytest.mark.parametrize(
    "text", ["einsum('ij->', x)", "einsum('ii->i', x)", "einsum('ii->', x)", "einsum('ij->ji', x)"]
)
def test_an_einsum_of_one_operand_has_a_derivative(text):
    check_vjp(text, x=draw(1, (3, 3)))


def well(seed, shape):
    """Square matrices far from singular, with different eigenvalues."""
    x = draw(seed, shape, -1, 1)
    return x + np.diag(np.arange(2, 2 + shape[-1]))


MATRIX = [
    "trace(x)", "det(x)", "inv(x)", "slogdet(x).logabsdet", "slogdet(x).sign * x[..., 0, 0]", "cholesky(x + x.T)",
    "matrix_power(x, 0)", "matrix_power(x, 1)", "matrix_power(x, 2)", "matrix_power(x, 5)", "matrix_power(x, 6)",
    "matrix_power(x, -1)", "matrix_power(x, -3)", "expm(x / 4)", "eigvalsh(x)", "svdvals(x)", "matrix_norm(x)",
    "matrix_norm(x, keepdims=True)", "cholesky(x * 2 + eyes)",
]  # fmt: skip


@pytest.mark.parametrize("text", MATRIX)
def test_the_derivative_of_a_matrix_function(text):
    for shape in ((3, 3), (2, 3, 3), (1, 1)):
        eyes = np.eye(shape[-1]) * 9
        check_vjp(text.replace("eyes", "c"), x=well(1, shape), constants={"c": eyes})


@pytest.mark.parametrize("text", MATRIX)
def test_the_hessian_of_a_matrix_function(text):
    check_hessian(f"sum(({text.replace('eyes', '9 * x[0, 0]')}) ** 2)", x=well(1, (3, 3)), rel=1e-5)


def test_the_derivative_of_singular_values_of_matrices_that_are_not_square():
    for shape in ((2, 3), (4, 2), (3, 1), (2, 5, 2)):
        check_vjp("svdvals(x)", x=draw(3, shape))
    for shape in ((2, 4), (4, 2)):
        check_hessian("sum(svdvals(x) ** 3)", x=draw(3, shape), rel=1e-5)


def test_the_derivative_of_a_determinant_is_there_where_the_matrix_is_singular():
    x = np.array([[1.0, 2, 3], [2, 4, 6], [1, 0, 1]])
    check_vjp("det(x)", x=x)
    check_vjp("det(x)", x=np.diag([2.0, 0, 0]))


def test_eigenvalues_and_cholesky_factors_read_the_symmetric_part_alone():
    x = well(4, (3, 3)) * 3
    for text in ("eigvalsh(x)", "cholesky(x)"):
        check_vjp(text, x=x)


SOLVES = [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((3, 3), (2, 3, 2)), ((2, 1, 3, 3), (4, 3, 2))]


@pytest.mark.parametrize("text", ["solve(x, y)", "solve_triangular(x, y)", "solve_triangular(x, y, lower=False)"])
def test_the_derivative_of_the_solution_of_equations(text):
    for one, other in SOLVES:
        check_vjp(text, x=well(1, one), y=draw(2, other))
    check_hessian(f"sum({text} ** 2)", x=well(1, (3, 3)), y=draw(2, (3, 2)), rel=1e-5)


def test_every_primitive_of_the_vocabulary_and_every_internal_one_has_a_rule():
    assert set(RULES) == set(VOCABULARY) | set(INTERNAL)
    assert set(INTERNAL_OPS) == set(INTERNAL)


def test_every_primitive_is_differentiated_by_a_test_above():
    texts = [
        *ELEMENTWISE, *BINARY, *(t.format("") for t in REDUCTIONS), *ALONG, *SHAPES, *PRODUCTS, *MATRIX,
        "x @ x", "take(x, 0)", "solve(x, y)", "solve_triangular(x, y)", "gammainc(a, x)", "zeta(a, x)",
    ]  # fmt: skip
    used = {p for text in texts for p in parse(text, ["x", "y", "a", "eyes"]).primitives}
    assert set(VOCABULARY) - used == (FLAT | LOGIC) - {"less", "greater"}


@pytest.mark.parametrize("name", sorted(FLAT | LOGIC))
def test_steps_and_conditions_pull_nothing_back(name):
    inner = {True: f"where({name}(x, 0.3), 1, 2)", False: f"{name}(x)"}[VOCABULARY[name].shape in {"compare", "logic"}]
    if name in LOGIC:
        inner = f"where({name}(x > 0{'' if name == 'logical_not' else ', x < 1'}), 1, 2)"
    derived = adjoint(parse(f"sum({inner})", ["x"]), ["x"], {"x": (3,)})
    found = evaluate(derived, ALL, {"x": np.array([0.2, 1.4, -0.7]), "cotangent": np.asarray(1.0)})["x"]
    assert found.tolist() == [0, 0, 0]


def test_two_reverse_passes_make_a_forward_one():
    program = parse("tanh(x @ y) * x[0]", ["x", "y"])
    x, y = draw(1, (3, 3)), draw(2, (3, 3))
    back = adjoint(program, ["x", "y"], {"x": (3, 3), "y": (3, 3)})
    forward = adjoint(back, ["cotangent"], {"x": (3, 3), "y": (3, 3), "cotangent": (3, 3)})
    names = cotangents(back, forward)
    assert names == ("cotangent x", "cotangent y")
    dx, dy = draw(3, (3, 3)), draw(4, (3, 3))
    values = {"x": x, "y": y, "cotangent": np.zeros((3, 3)), names[0]: dx, names[1]: dy}
    found = evaluate(forward, ALL, values)["cotangent"]
    h = 1e-4
    up, down = (evaluate(program, ALL, {"x": x + s * dx, "y": y + s * dy}) for s in (h, -h))
    np.testing.assert_allclose(found, (up - down) / (2 * h), rtol=1e-6, atol=1e-7)


def test_an_input_that_nothing_depends_on_gets_zeros_of_its_shape():
    derived = adjoint(parse("sum(x) + 0 * 2", ["x", "y"]), ["x", "y"], {"x": (2,), "y": (3, 1)})
    found = evaluate(derived, ALL, {"x": np.ones(2), "y": np.ones((3, 1)), "cotangent": np.asarray(1.0)})
    assert found["x"].tolist() == [1, 1]
    assert found["y"].tolist() == [[0], [0], [0]]


def test_the_program_comes_first_and_nothing_useless_after_it():
    program = parse("sum(c * sin(x))", ["x", "c"])
    derived = adjoint(program, ["x"], {"x": (2,), "c": (2,)})
    assert [node.primitive for node in derived.nodes[:3]] == ["sin", "multiply", "sum"]
    assert [node.primitive for node in derived.nodes[3:]] == ["reshape", "broadcast_to", "multiply", "cos", "multiply"]
    assert [key for key, _ in derived.outputs] == ["x"]


@pytest.mark.parametrize("text", ["sum(tanh(x))", "sum(atanh(x))"])
def test_what_is_for_exact_numbers_is_shorter_and_the_same(text):
    program, x = parse(text, ["x"]), np.array([-0.9, 0.0, 0.3])
    long, short = (adjoint(program, ["x"], {"x": (3,)}, exact=exact) for exact in (False, True))
    assert len(short.nodes) < len(long.nodes)
    values = {"x": x, "cotangent": np.asarray(1.0)}
    np.testing.assert_allclose(evaluate(short, ALL, values)["x"], evaluate(long, ALL, values)["x"], rtol=1e-15)


@pytest.mark.parametrize(
    "text",
    ["sum(tanh(x))", "sum(x * x)", "sum(x)", "mean(x * x)", "logsumexp(x)", "x[0]", "max(x) * 3", "sum(x[:, None] * x)", "sum(x * 1)",
     "sum(where(x > 0, x, 2 * x))", "sum(concat([x, x * x]))", "sum(0.1 - x) + 0.3 - 2 * sum(x)"],
)  # fmt: skip
def test_for_a_cotangent_of_ones_nothing_is_multiplied_by_it(text):
    program, x = parse(text, ["x"]), np.array([-0.9, 0.25, 0.3])
    specs = {"x": Spec((3,)), "cotangent": Spec(())}
    whole, short = adjoint(program, ["x"], specs), shorter(program, ["x"], specs, "cotangent")
    values = {"x": x, "cotangent": np.asarray(1.0)}
    np.testing.assert_allclose(evaluate(short, ALL, values)["x"], evaluate(whole, ALL, values)["x"], rtol=1e-14)
    assert len(short.nodes) <= len(whole.nodes)
    if text == "sum(tanh(x))":
        back = short.nodes[len(program.nodes) :]
        assert not any(ref.index == 1 for node in back for ref in references(node.arguments))


def test_a_name_that_is_taken_gets_a_prime():
    program = parse("cotangent * 2", ["cotangent"])
    derived = adjoint(program, ["cotangent"], {"cotangent": ()})
    assert derived.names == ("cotangent", "cotangent'")
    assert cotangents(program, derived) == ("cotangent'",)


def test_ties_share_and_kinks_take_the_middle():
    for text, x, right in [
        ("max(x)", [3.0, 1, 3], [0.5, 0, 0.5]), ("min(x)", [1.0, 1, 3], [0.5, 0.5, 0]), ("sum(relu(x))", [0.0, -1, 1], [0.5, 0, 1]),
        ("sum(abs(x))", [0.0, -1, 1], [0, -1, 1]), ("maximum(x[0], x[1])", [2.0, 2, 0], [0.5, 0.5, 0]),
    ]:  # fmt: skip
        derived = adjoint(parse(text, ["x"]), ["x"], {"x": (3,)})
        assert evaluate(derived, ALL, {"x": np.array(x), "cotangent": np.asarray(1.0)})["x"].tolist() == right


def test_complex_functions_have_the_derivative_of_the_pairing_without_a_conjugate():
    z = draw(1, (3,)) + 1j * draw(2, (3,))
    spec = {"z": Spec((3,), "complex")}
    one = np.asarray(1.0)
    found = evaluate(adjoint(parse("sum(sin(z) * z)", ["z"]), ["z"], spec), ALL, {"z": z, "cotangent": one})["z"]
    np.testing.assert_allclose(found, np.sin(z) + z * np.cos(z))
    found = evaluate(adjoint(parse("sum(abs(z * z))", ["z"]), ["z"], spec), ALL, {"z": z, "cotangent": one})["z"]
    np.testing.assert_allclose(found, 2 * np.conj(z))
    found = evaluate(adjoint(parse("vector_norm(z) ** 2", ["z"]), ["z"], spec), ALL, {"z": z, "cotangent": one})["z"]
    np.testing.assert_allclose(found, 2 * np.conj(z))


@pytest.mark.parametrize(
    "text",
    [
        "sum(real(sin(z) * z))", "sum(imag(exp(z)) * x)", "sum(angle(z * z))", "sum(abs(sign(z) + z))", "sum(sign(z))",
        "sum(conj(z) * z * z)", "sum(real(sign(z)) * imag(z))", "slogdet(m).sign", "slogdet(m).logabsdet", "var(z)", "std(z)",
        "vecdot(z, sin(z))", "sum(x * angle(z) + abs(z - x))",
    ],
)  # fmt: skip
def test_what_is_not_holomorphic_has_the_derivative_of_the_pairing(text):
    """d Re(w f) = Re(g dz), along generic directions."""
    program = parse(text, ["z", "x", "m"])
    inputs = {
        "z": draw(1, (3,)) + 1j * draw(2, (3,)),
        "x": draw(3, (3,)),
        "m": draw(4, (3, 3)) + 1j * draw(5, (3, 3)),
    }
    specs = {name: Spec.of(array) for name, array in inputs.items()}
    w = np.asarray(0.75 - 1.25j)
    y = np.asarray(evaluate(program, ALL, inputs))
    seed = w if np.iscomplexobj(y) else np.asarray(w.real)
    found = evaluate(adjoint(program, list(inputs), specs), ALL, {**inputs, "cotangent": seed})
    h = 1e-5
    for name, array in inputs.items():
        assert np.iscomplexobj(found[name]) <= np.iscomplexobj(array)
        steps = [draw(6, array.shape)] if name == "x" else [draw(6, array.shape), 1j * draw(7, array.shape)]
        for v in steps:
            up, down = (evaluate(program, ALL, {**inputs, name: array + s * v}) for s in (h, -h))
            right = np.real(np.sum(seed * (np.asarray(up) - np.asarray(down)) / (2 * h)))
            assert np.real(np.sum(found[name] * v)) == pytest.approx(right, rel=1e-7, abs=1e-8), (name, v)


def test_a_real_input_of_a_complex_function_has_a_real_derivative():
    derived = adjoint(parse("abs(exp(1j * x) + x)", ["x"]), ["x"], {"x": ()})
    x, h = 0.7, 1e-6
    found = evaluate(derived, ALL, {"x": np.asarray(x), "cotangent": np.asarray(1.0)})["x"]
    f = lambda t: abs(np.exp(1j * t) + t)  # noqa: E731
    assert not np.iscomplexobj(found)
    assert found == pytest.approx((f(x + h) - f(x - h)) / (2 * h), rel=1e-7)


def test_a_kink_has_no_rule_for_complex_numbers():
    with pytest.raises(Unsupported, match="sort has no reverse rule for complex numbers"):
        adjoint(parse("sort(x)", ["x"]), ["x"], {"x": Spec((3,), "complex")})


def test_internal_words_that_move_entries_work_for_objects():
    from fractions import Fraction

    x = np.array([[Fraction(1, 3), Fraction(2, 7)], [Fraction(5), Fraction(-1)]], dtype=object)
    put, scatter = INTERNAL_OPS["put"], INTERNAL_OPS["scatter"]
    assert put(x, index=(slice(0, 2),), shape=(3, 2)).tolist() == [*x.tolist(), [0, 0]]
    assert scatter(x, np.array([1, 1]), axis=0, size=2).tolist() == [[0, 0], [Fraction(16, 3), Fraction(-5, 7)]]
    assert INTERNAL_OPS["pick"](x, x, 0 * x).tolist() == [[x[0, 0], x[0, 1]], [5, 0]]
    assert INTERNAL_OPS["share"](x, axis=0).tolist() == [[0, 1], [1, 0]]
    assert INTERNAL_OPS["permute_like"](x, x, axis=1).tolist() == [[x[0, 1], x[0, 0]], [-1, 5]]


def test_polygamma_is_right_left_of_zero():
    import mpmath

    for n in (1, 2, 3):
        for x in (-0.3, -4.7, -12.25, 0.6):
            found = INTERNAL_OPS["polygamma"](np.asarray(x), n=n)
            assert found == pytest.approx(float(mpmath.polygamma(n, x)), rel=1e-12)
