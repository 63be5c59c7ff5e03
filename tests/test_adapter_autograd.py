"""`gradbench.adapters.autograd` against NumPy and SciPy, and its derivatives against differences of those."""

import json
import re

import ml_dtypes
import numpy as np
import pytest

from gradbench import numeric
from gradbench.adapter import Function, lifted
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.language import parse
from gradbench.primitives import VOCABULARY

autograd = pytest.importorskip("autograd")
adapters = pytest.importorskip("gradbench.adapters.autograd")
words = pytest.importorskip("gradbench.adapters.autograd_words")

# What the texts below are about: p and q in (0, 1), x, y, w and m of either sign, z above 1, all away from kinks; k is
# 0-d, s a matrix whose symmetric part is positive definite, t and g stacks, i indices.
VALUES = {
    "k": np.array(0.7),
    "p": np.array([0.3, 0.7, 0.55]),
    "q": np.array([0.6, 0.2, 0.35]),
    "x": np.array([-1.3, 0.4, 2.3]),
    "y": np.array([0.7, -1.6, 1.1]),
    "z": np.array([1.4, 2.6, 3.3]),
    "w": np.array([-7.5, -1.7, -0.2, 0.3, 2.4, 7.9]),
    "m": np.array([[0.9, -1.2, 0.3], [-0.4, 1.7, 2.6]]),
    "s": np.array([[2.1, 0.3, -0.2], [0.5, 1.6, 0.4], [0.1, -0.3, 2.7]]),
    "r": np.array([[0.4, 1.3], [-0.8, 0.6], [1.9, -0.5]]),
    "t": np.linspace(-1.9, 2.7, 24)[np.argsort(np.sin(np.arange(24)))].reshape(2, 3, 4),
}
VALUES["g"] = np.stack([VALUES["s"], VALUES["s"].T @ VALUES["s"]])
CONSTANTS = {"i": np.array([[2, 0], [1, -1]])}


def split(texts):
    return [text for text in re.split(r"; +|;?\n", texts) if text]


REDUCTIONS = [
    f"{name}(t{more})"
    for name in ("sum", "mean", "prod", "max", "min", "var", "std", "logsumexp", "vector_norm")
    for more in ("", ", keepdims=True", ", axis=(0, -1)", ", axis=(1,), keepdims=True")
]

RIGHT = [
    *split("""\
x + y; 2 + x; x - y; 2 - x; x * y; 2 * x; x / y; 2 / x; z ** x; x ** 2; x ** -1; 2 ** x; z ** 0.5; x % y; x % 2; -x
maximum(x, y); maximum(x, 0); minimum(m, y); atan2(x, y); hypot(x, y); logaddexp(x, y); xlogy(x, z); xlog1py(x, p)
abs(x); sign(x); square(x); sqrt(p); rsqrt(p); reciprocal(x); exp(x); exp2(x); expm1(x); log(p); log2(p); log10(p)
log1p(p); sin(x); cos(x); tan(x); asin(p); acos(p); atan(x); sinh(x); cosh(x); tanh(x); asinh(x); acosh(z); atanh(p)
real(x); imag(x); conj(x); angle(x); floor(x); ceil(x); trunc(x); round(x); clip(x, -1, 1); clip(x, max=1); clip(x, min=0.5); clip(x); sinc(x)
erf(x); erfc(x); erfinv(p); gamma(x); gammaln(x); digamma(x); expit(x); logit(p); ndtr(x); log_ndtr(x); ndtri(p)
entr(p); j0(x); j1(x); i0(x); i1(x); i0e(x); i1e(x); betaln(p, q); gammainc(2.0, z)
relu(w); relu6(w); leaky_relu(w); leaky_relu(w, 0.2); elu(w); elu(w, 1.5); selu(w); celu(w); celu(w, 1.5); gelu(w)
gelu(w, 'tanh'); silu(w); mish(w); softplus(w); softsign(w); log_sigmoid(w); hard_tanh(w); hard_sigmoid(w)
hard_swish(w); softmax(m); softmax(m, axis=0); log_softmax(m); log_softmax(t, axis=1)
where(x < y, x, y); where(x <= y, x, y); where(x > y, x, y); where(x >= y, x, y); where(x == y, x, y)
where(x != y, x, y); where((x < y) & (y < 1), x, y); where((x < y) | (y < 1), x, y); where(logical_not(x < 0), x, y)
vector_norm(x); vector_norm(m, axis=1, ord=3); vector_norm(m, axis=-1); vector_norm(t, axis=(-1, 0), ord=1.5)
vector_norm(m, ord=4, keepdims=True); var(t, axis=1, correction=1); std(x, correction=1); cumulative_sum(m)
cumulative_sum(m, axis=0); sort(x); flip(m); flip(t, axis=(0, -1)); flip(m, axis=0); roll(m, 1); roll(m, 1, axis=1)
roll(m, (1, 2)); roll(m, 1, axis=(0, 1)); reshape(m, (3, -1)); permute_dims(t, (2, 0, 1)); m.T; matrix_transpose(t)
expand_dims(m, 1); squeeze(t[:1], (0,)); squeeze(t[:1], 0); moveaxis(t, 0, -1); moveaxis(t, (0, 1), (1, 2))
broadcast_to(m[:1], (2, 3)); concat([x, y]); concat([m, r.T], axis=1); stack([x, y]); stack([x, y], axis=1)
tile(m, (2, 3)); tile(x, (2, 2)); repeat(m, 2); repeat(m, 2, axis=1); pad(m, (1, 0, 0, 2)); pad(x, (1, 2), 0.5)
pad(k, ()); take(m, i, axis=1); take(x, i); take(t, i, axis=-2); tril(s); triu(t, 1); diagonal(s); diagonal(g); diag(x)
matmul(m, r); x @ y; t @ reshape(t, (2, 4, 3)); s @ x; vecdot(m, x); vecdot(m, m, axis=0); outer(x, z); kron(m, r)
kron(x, y); cross(x, y); cross(m, m + 1); tensordot(t, m, 0); tensordot(m, r, 1); tensordot(m, m, 2); trace(s); trace(g)
einsum('ij,jk->ik', m, r); einsum('ij->', m); einsum('i,j,ij->', x, y, s); einsum('bij,bjk->bik', g, g)
det(s); det(g); inv(s); inv(g); cholesky(s + s.T); eigvalsh(s + s.T); solve(s, x); solve(s, r)
solve(g, reshape(t, (2, 3, 4))); solve_triangular(s, x); solve_triangular(s, r, lower=False); matrix_norm(m)
matrix_norm(t); svdvals(m); svdvals(g); slogdet(s).logabsdet; slogdet(g).logabsdet; slogdet(s).sign
m[0]; m[..., 1]; x[::-1]; t[0, None, 1:, ::2]; x[-1]"""),
    *REDUCTIONS,
]  # fmt: skip

# Values without a derivative, and what autograd says.
REFUSED = {
    "copysign(x, y)": "VJP of copysign",
    "cbrt(x)": "VJP of cbrt",
    "gammainc(p, z)": "VJP of gammainc",
    "cumulative_prod(m)": "VJP of cumprod",
    "matrix_power(s, 3)": "VJP of matrix_power",
    "expm(s)": "VJP of expm",
    "vector_norm(x, ord=1)": "norm not implemented for ord=1",
    "sort(m, axis=0)": "sort not implemented for multi-dimensional",
    "broadcast_to(m, (2, 2, 3))": "extra leading dims",
    "broadcast_to(k, (2, 2))": "extra leading dims",
}

# Derivatives that autograd has and gets wrong: for the judge to find, and not for the adapter to hide.
WRONG = {
    "vector_norm(m, ord=inf)": "0 times infinity",
    "vector_norm(m, axis=1, keepdims=True)": "the axis is put back twice",
    "matrix_norm(t, keepdims=True)": "the axes are put back twice",
    "tile(m, (2,))": "the repetitions are taken for those of the first axes",
    "repeat(m, 2, axis=-1)": "an axis counted from the end",
    "roll(m, (1, -2), axis=(0, 1))": "a tuple is negated",
    "diagonal(m)": "a matrix that isn't square",
    "cross(m, x)": "vectors that are broadcast",
    "einsum('ii->i', s)": "an index that one operand repeats",
}

TEXTS = [*RIGHT, *REFUSED, *WRONG]


@pytest.fixture(scope="module")
def adapter():
    found = adapters.Autograd()
    found.open("cpu")
    return found


def posed(adapter, text, dtype="float64", **more):
    """A text as a function for the adapter, its inputs as native arrays, and the same two for NumPy."""
    values = {**VALUES, **more}
    words = set(re.findall(r"\b\w+\b", re.sub(r"'[^']*'", "", text)))
    inputs = {name: value.astype(dtype) for name, value in values.items() if name in words}
    constants = {name: value for name, value in CONSTANTS.items() if name in words}
    program = parse(text, (*inputs, *constants))
    native = {name: adapter.asarray(value) for name, value in constants.items()}
    f = Function(program, lifted(adapter, np.dtype(dtype)), tuple(inputs), native)
    ops = {**numeric.OPS, "asarray": lambda number: np.asarray(number, dtype)}
    truth = Function(program, ops, tuple(inputs), constants)
    return f, {name: adapter.asarray(value) for name, value in inputs.items()}, truth, inputs


def derivative(f, inputs, name, direction):
    """The derivative of f along a direction of one input: central differences, extrapolated once."""

    def central(h):
        moved = [{**inputs, name: inputs[name] + sign * h * direction} for sign in (1, -1)]
        return (np.asarray(f(*moved[0].values())) - np.asarray(f(*moved[1].values()))) / (2 * h)

    return (4 * central(5e-4) - central(1e-3)) / 3


def jacobian(f, inputs, name):
    """The Jacobian with respect to one input, of shape y + x, column by column."""
    value = inputs[name]
    columns = []
    for index in np.ndindex(value.shape):
        unit = np.zeros_like(value)
        unit[index] = 1
        columns.append(derivative(f, inputs, name, unit))
    return np.stack(columns, axis=-1).reshape(columns[0].shape + value.shape)


def check_vjp(adapter, text):
    """That the adapter pulls a cotangent back as differences say."""
    f, x, truth, inputs = posed(adapter, text)
    shape = np.shape(truth(*inputs.values()))
    cotangent = np.cos(np.arange(1.0, 1 + np.prod(shape, dtype=int))).reshape(shape)
    found = adapter.vjp(f, x, cotangent)
    assert list(found) == list(x)
    for name in x:
        answer = adapter.numpy(found[name])
        expected = np.tensordot(cotangent, jacobian(truth, inputs, name), cotangent.ndim)
        assert (answer.dtype, answer.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(answer, expected, rtol=3e-8, atol=3e-8, err_msg=name)


# Primitives


def test_every_primitive_but_zeta_is_there(adapter):
    assert set(VOCABULARY) - set(adapter.ops) == {"zeta"}
    assert set(adapter.ops) < set(VOCABULARY)
    assert adapter.composite < set(adapter.ops)


def test_every_primitive_is_tried(adapter):
    used = {name for text in TEXTS for name in parse(text, (*VALUES, *CONSTANTS)).primitives}
    assert used == set(adapter.ops)


@pytest.mark.parametrize("name", sorted(words.COMPOSITES))
def test_a_composite_primitive_is_no_function_of_autograd(name):
    places = (autograd.numpy, autograd.numpy.linalg, words.special, autograd.scipy.linalg)
    assert not any(hasattr(place, name) for place in places)


@pytest.mark.parametrize("text", TEXTS)
def test_values_are_those_of_mathematics(adapter, text):
    f, x, truth, inputs = posed(adapter, text)
    expected = np.asarray(truth(*inputs.values()))
    value = adapter.numpy(adapter.value(f, x))
    assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.filterwarnings("ignore:Output seems independent of input")
@pytest.mark.parametrize("text", RIGHT)
def test_gradients_are_those_of_mathematics(adapter, text):
    check_vjp(adapter, text)


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_a_derivative_that_is_not_there_is_refused(adapter, text, message):
    f, x, _, _ = posed(adapter, text)
    with pytest.raises((Unsupported, *adapter.refusals), match=message):
        adapter.vjp(f, x, adapter.value(f, x))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "text", [pytest.param(text, marks=pytest.mark.xfail(reason=why)) for text, why in WRONG.items()]
)
def test_a_derivative_known_to_be_wrong_is_autograds_own(adapter, text):
    check_vjp(adapter, text)


@pytest.mark.filterwarnings("ignore:overflow encountered in cosh")  # autograd's derivative of tanh, which is then 1/inf
@pytest.mark.parametrize(
    "name", ["relu", "softplus", "elu", "selu", "celu", "silu", "mish", "log_sigmoid", "hard_swish"]
)
def test_a_branch_that_is_not_taken_leaves_no_nan(adapter, name):
    far = np.array([-800.0, 800.0])
    f, x, truth, inputs = posed(adapter, f"{name}(far)", far=far)
    np.testing.assert_allclose(adapter.value(f, x), truth(*inputs.values()), atol=1e-300)
    expected = {"selu": [0, words.SELU[0]], "log_sigmoid": [1, 0]}.get(name, [0, 1])
    np.testing.assert_allclose(adapter.vjp(f, x, np.ones(2))["far"], expected, atol=1e-300)


def test_composites_are_defined_where_a_factor_is_zero(adapter):
    zero = np.array([0.0, 0.0])
    f, x, _, _ = posed(adapter, "xlogy(v, u)", v=zero, u=np.array([0.0, 2.0]))
    assert adapter.value(f, x).tolist() == [0, 0]
    assert adapter.vjp(f, x, np.ones(2))["v"].tolist() == [0, np.log(2)]
    f, x, _, _ = posed(adapter, "xlog1py(v, u)", v=zero, u=np.array([-1.0, 2.0]))
    assert adapter.value(f, x).tolist() == [0, 0]
    assert adapter.vjp(f, x, np.ones(2))["v"].tolist() == [0, np.log1p(2)]
    f, x, _, _ = posed(adapter, "entr(v)", v=np.array([-1.0, 0.0, 1.0]))
    assert adapter.value(f, x).tolist() == [-np.inf, 0, 0]


@pytest.mark.parametrize(
    ("text", "v"), [("ndtri(v)", [1e-300, 1e-9, 0.4, 1 - 1e-9]), ("softmax(v)", [997.3, 1000.1, 998.0, 90.0])]
)
def test_composites_keep_their_digits_far_out(adapter, text, v):
    f, x, truth, inputs = posed(adapter, text, v=np.array(v))
    np.testing.assert_allclose(adapter.value(f, x), truth(*inputs.values()), rtol=2e-15)


# Operators


def test_operators_answer_by_name_in_the_order_of_the_inputs(adapter):
    f, x, truth, inputs = posed(adapter, "sum(sin(m * x)) * k + sum(exp(x * k))")
    f = Function(f.program, f.ops, ("x", "m", "k"), {})
    truth = Function(truth.program, truth.ops, ("x", "m", "k"), {})
    x, inputs = ({name: arrays[name] for name in ("x", "m", "k")} for arrays in (x, inputs))
    tangents = {name: np.cos(value + 0.3) for name, value in inputs.items()}

    def gradient(name):
        return lambda *arrays: jacobian(truth, dict(zip(inputs, arrays, strict=True)), name)

    def near(found, expected):
        answer = adapter.numpy(found)
        assert (answer.dtype, answer.shape) == (np.float64, expected.shape)
        np.testing.assert_allclose(answer, expected, rtol=1e-6, atol=1e-5)

    for found in (adapter.gradient(f, x), adapter.jacobian(f, x), adapter.vjp(f, x, np.array(1.0))):
        assert list(found) == ["x", "m", "k"]
        for name in inputs:
            near(found[name], jacobian(truth, inputs, name))
    hessian = adapter.hessian(f, x)
    product = adapter.hvp(f, x, tangents)
    assert list(hessian) == [f"{a},{b}" for a in inputs for b in inputs]
    assert list(product) == list(inputs)
    for a in inputs:
        for b in inputs:
            near(hessian[f"{a},{b}"], jacobian(gradient(a), inputs, b))
        near(product[a], sum(derivative(gradient(a), inputs, b, tangents[b]) for b in inputs))


def test_operators_by_one_input_answer_by_its_name(adapter):
    f, x, _, inputs = posed(adapter, "sum(x ** 3)")
    tangent = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(adapter.gradient(f, x)["x"], 3 * inputs["x"] ** 2)
    np.testing.assert_allclose(adapter.hvp(f, x, {"x": tangent})["x"], 6 * inputs["x"] * tangent)
    np.testing.assert_allclose(adapter.hessian(f, x)["x,x"], np.diag(6 * inputs["x"]), atol=1e-15)


def test_a_jacobian_has_the_axes_of_the_output_first(adapter):
    f, x, truth, inputs = posed(adapter, "m @ (x * k)")
    found = adapter.jacobian(f, x)
    assert {name: array.shape for name, array in found.items()} == {"k": (2,), "x": (2, 3), "m": (2, 2, 3)}
    for name in inputs:
        np.testing.assert_allclose(found[name], jacobian(truth, inputs, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", ["sin(a * b)", "sin(a * b) * x"])
def test_a_partial_derivative_nests_first_derivatives(adapter, text):
    a, b = 0.7, 1.3
    f, x, _, inputs = posed(adapter, text, a=np.array(a), b=np.array(b))
    found = adapter.numpy(adapter.partial(f, x, {"b": 2, "a": 1}))
    expected = -2 * a * np.sin(a * b) - a * a * b * np.cos(a * b)
    np.testing.assert_allclose(found, expected * inputs.get("x", np.array(1.0)), rtol=1e-14)


def test_an_unconnected_input_has_the_derivative_zero(adapter):
    f, x, _, _ = posed(adapter, "sum(x * x) + 0 * floor(k)")
    assert adapter.gradient(f, x)["k"] == 0
    alone, one, _, _ = posed(adapter, "sum(floor(x))")
    with pytest.warns(UserWarning, match="independent"):
        assert adapter.gradient(alone, one)["x"].tolist() == [0, 0, 0]


def test_a_function_of_complex_inputs_with_a_complex_output_is_taken_as_holomorphic(adapter):
    v, u = np.array(0.5 + 0.8j), np.array([0.3 - 0.2j])
    f, x, _, _ = posed(adapter, "v ** 3 * sum(u)", "complex128", v=v, u=u)
    found = adapter.gradient(f, x)
    np.testing.assert_allclose(found["v"], 3 * v**2 * u[0])
    np.testing.assert_allclose(found["u"], [v**3])


def test_a_real_function_of_complex_inputs_keeps_the_convention_of_autograd(adapter):
    f, x, _, _ = posed(adapter, "sum(abs(v) ** 2)", "complex128", v=np.array([0.5 + 0.8j]))
    np.testing.assert_allclose(adapter.gradient(f, x)["v"], [2 * (0.5 - 0.8j)])


def test_there_is_no_forward_mode(adapter):
    assert not hasattr(adapter, "jvp")


# What isn't offered


def test_a_complex_output_of_a_real_input_is_unsupported(adapter):
    f, x, _, _ = posed(adapter, "k * (1 + 2j)")
    with pytest.raises(Unsupported, match="real scalar-output"):
        adapter.gradient(f, x)


def test_bfloat16_is_unsupported(adapter):
    with pytest.raises(Unsupported, match="no bfloat16"):
        adapter.asarray(np.ones(2, ml_dtypes.bfloat16))


@pytest.mark.parametrize(
    ("text", "dtype"),
    [("inv(s)", "float16"), ("svdvals(s)", "float16"), ("gammaln(x)", "complex128"), ("expit(x)", "complex64")],
)
def test_a_dtype_that_numpy_and_scipy_do_not_take_is_unsupported(adapter, text, dtype):
    f, x, _, _ = posed(adapter, text, dtype)
    with pytest.raises(Unsupported):
        adapter.value(f, x)


def test_a_matrix_that_is_singular_is_an_error_and_no_refusal(adapter):
    f, x, _, _ = posed(adapter, "inv(v)", v=np.zeros((2, 2)))
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        adapter.value(f, x)


def test_values_stay_in_float32_but_for_the_normal_distribution(adapter):
    widened = set()
    for text in TEXTS:
        f, x, truth, inputs = posed(adapter, text, "float32")
        value = adapter.numpy(adapter.value(f, x))
        if value.dtype != np.float32:
            widened |= set(f.program.primitives)
        np.testing.assert_allclose(value, truth(*inputs.values()), rtol=2e-5, atol=1e-5, err_msg=text)
    assert widened == {"ndtr", "log_ndtr"}  # scipy.stats answers in float64


@pytest.mark.parametrize("text", ["x * x", "sin(x)", "tanh(x @ s)", "softplus(x)", "logsumexp(x)", "erf(x)", "det(s)"])
def test_gradients_stay_in_float32(adapter, text):
    f, x, truth, inputs = posed(adapter, f"sum({text})", "float32")
    found = adapter.gradient(f, x)
    for name in x:
        assert adapter.numpy(found[name]).dtype == np.float32
        wide = {key: value.astype(np.float64) for key, value in inputs.items()}
        np.testing.assert_allclose(found[name], jacobian(truth, wide, name), rtol=1e-4, atol=1e-5)


def test_complex_numbers_pass_through_linear_algebra(adapter):
    s = VALUES["s"] + 0.3j * VALUES["s"].T
    f, x, truth, inputs = posed(adapter, "sum(solve(s, exp(x)))", "complex128", s=s)
    np.testing.assert_allclose(adapter.value(f, x), truth(*inputs.values()), rtol=1e-13)
    np.testing.assert_allclose(adapter.gradient(f, x)["s"], jacobian(truth, inputs, "s"), rtol=1e-8)


# Arrays and settings


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "complex128", "complex64", "bool", "int64"])
@pytest.mark.parametrize("shape", [(), (0, 2), (3,)])
def test_arrays_come_back_bit_by_bit(adapter, dtype, shape):
    array = np.full(shape, 1 / 3).astype(dtype)
    again = adapter.numpy(adapter.asarray(array))
    assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, shape, array.tobytes())


def test_an_array_has_memory_of_its_own(adapter):
    array = np.arange(3.0)
    native = adapter.asarray(array)
    array[0] = 9
    adapter.numpy(native)[1] = 9
    assert native.tolist() == [0, 1, 2]


def test_a_gradient_leaves_the_inputs_and_the_cotangent_alone(adapter):
    f, x, _, inputs = posed(adapter, "x[::-1] + x * 2 + x")
    cotangent = np.array([1.0, 2.0, 3.0])
    found = adapter.vjp(f, x, cotangent)
    assert found["x"].tolist() == [6, 8, 10]
    assert cotangent.tolist() == [1, 2, 3]
    assert x["x"].tolist() == inputs["x"].tolist()


def test_the_settings_name_what_computes(adapter):
    settings = adapter.open("cpu")
    assert settings["device_name"]
    assert settings["blas"]
    assert json.loads(json.dumps(settings)) == settings
    assert list(adapter.versions()) == ["autograd", "numpy", "scipy"]
    adapter.synchronize()


def test_only_the_cpu_is_there(adapter):
    with pytest.raises(DeviceMissing, match="not on 'cuda'"):
        adapter.open("cuda")
