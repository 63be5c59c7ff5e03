"""`gradbench.adapters.tensorflow` against NumPy and SciPy, and its derivatives against differences of those."""

import json
import logging
import math
import re

import ml_dtypes
import numpy as np
import pytest

from gradbench import numeric
from gradbench.adapter import Function, lifted
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.language import parse
from gradbench.primitives import VOCABULARY
from gradbench.wire import FORMATS

tf = pytest.importorskip("tensorflow")
adapters = pytest.importorskip("gradbench.adapters.tensorflow")

NARROW = ("float32", "float16", "bfloat16")


def spread(*shape, low=-2.3, high=2.6, step=7):
    """Numbers that are all different, in no order, and not near a kink."""
    count = math.prod(shape)
    return np.linspace(low, high, count)[np.arange(count) * step % count].reshape(shape)


# What the texts are about: u and v lie in (0, 1), x and y have both signs, z is above 1, o is for activations; k is 0-d,
# a is square and well conditioned, m and n are matrices, t is of three axes, b a stack of a's kind; j are indices.
INPUTS = {
    "k": np.array(0.7),
    "u": np.array([0.31, 0.72, 0.56]),
    "v": np.array([0.64, 0.18, 0.37]),
    "x": np.array([-1.3, 0.45, 2.3]),
    "y": np.array([0.75, -1.6, 1.1]),
    "z": np.array([1.4, 2.6, 3.3]),
    "o": np.array([-7.4, -1.7, -0.2, 0.3, 2.4, 7.8]),
    "a": np.array([[2.1, 0.3, -0.2], [0.5, 1.6, 0.4], [0.1, -0.3, 2.7]]),
    "m": spread(2, 3, step=5),
    "n": spread(3, 2, step=5, high=1.9),
    "t": spread(2, 3, 4),
}
INPUTS["b"] = np.stack([INPUTS["a"], INPUTS["a"].T @ INPUTS["a"]])
CONSTANTS = {"j": np.array([[2, 0], [1, -1]])}

TEXTS = re.split(
    r"[;\n] *",
    """\
x + y; 2 + x; m + x; x - y; 2 - x; x * y; 2 * x; x / y; 2 / x; z ** x; x ** 2; x ** -1; 2 ** x; u ** 0.5; x % y; x % 2
5.5 % x; -x; maximum(x, y); maximum(x, 0); minimum(m, y); atan2(x, y); hypot(x, y); logaddexp(m, y); copysign(x, y)
copysign(x, -1); xlogy(x, u); xlog1py(x, u); abs(x); sign(x); square(x); sqrt(u); rsqrt(u); cbrt(x); reciprocal(x)
exp(x); exp2(x); expm1(x); log(u); log2(u); log10(u); log1p(u); sin(x); cos(x); tan(x); asin(u); acos(u); atan(x)
sinh(x); cosh(x); tanh(x); asinh(x); acosh(z); atanh(u); floor(x); ceil(x); trunc(x); round(x); sinc(x)
clip(x, -1, 1); clip(x, max=1); clip(x, min=-1); clip(x); real(x); imag(x); conj(x); angle(x)
erf(x); erfc(x); erfinv(u); gamma(o - 0.13); gammaln(o - 0.13); digamma(x); expit(x); logit(u); ndtr(x); ndtri(u)
log_ndtr(5 * o); entr(u); j0(o); j1(o); i0(o); i1(o); i0e(o); i1e(o); betaln(u, v); zeta(1.5, u); gammainc(u, z)
relu(o); relu6(o); leaky_relu(o); leaky_relu(o, 1.5); elu(o); elu(o, 1.5); selu(o); celu(o); celu(o, 1.5); gelu(o)
gelu(o, 'tanh'); silu(o); mish(o); softplus(o); softsign(o); log_sigmoid(o); hard_tanh(o); hard_sigmoid(o)
hard_swish(o); softmax(m); softmax(t, axis=0); log_softmax(m); log_softmax(t, axis=1)
where(x < y, x, y); where(x <= y, x, y); where(x > y, x, y); where(x >= y, x, 0); where(x == y, x, y); where(x != y, x, y)
where((x < y) & (y < 1), x, y); where((x < y) | (y < 1), 1, y); where(logical_not(x < 0), x, y)
vector_norm(x, ord=1); vector_norm(m, axis=1, ord=3); vector_norm(t, axis=(0, 2), ord=1, keepdims=True)
vector_norm(t, axis=(0, -1), ord=inf); vector_norm(t, ord=2.5); std(x, correction=1); var(t, axis=(0, 1), correction=1)
var(x, correction=0.5); cumulative_sum(m); cumulative_sum(m, axis=0); cumulative_prod(m); cumulative_prod(t, axis=1)
sort(x); sort(t, axis=1); flip(m); flip(t, axis=-1); flip(t, axis=(0, -1)); roll(m, 1); roll(m, (1, 1))
roll(m, -1, axis=-1); roll(t, (1, -2), axis=(0, 2)); roll(t, 1, axis=(1, 2))
reshape(m, (3, -1)); reshape(x[:1], ()); permute_dims(t, (2, 0, 1)); permute_dims(t, (-1, 0, 1)); m.T; matrix_transpose(t)
expand_dims(m, -1); squeeze(t[:1], 0); squeeze(t[:1, :, -1:], (0, 2)); moveaxis(t, 0, -1); moveaxis(t, (0, 1), (-1, 0))
broadcast_to(m, (2, 2, 3)); broadcast_to(k, (2, 2)); concat([x, y]); concat([m, n.T], axis=1); stack([x, y], axis=-1)
tile(m, (2,)); tile(x, (2, 2)); tile(m, (2, 1, 3)); repeat(m, 2); repeat(m, 3, axis=-1); pad(m, (1, 0, 0, 2))
pad(x, (1, 2), 0.5); pad(k, ()); take(x, j); take(m, j, axis=1); tril(m); tril(t, -1); tril(m, 1)
triu(m); triu(t, 1); triu(n, -1); diagonal(m); diagonal(t); diag(x)
m @ n; x @ y; m @ x; x @ n; b @ x; x @ b; t @ reshape(t, (2, 4, 3)); m @ b; vecdot(m, x); vecdot(m, n.T, axis=0)
outer(x, o); kron(m, n); kron(x, y); kron(x, m); cross(x, y); cross(m, x); tensordot(t, m, 0); tensordot(m, n, 1)
tensordot(m, m, 2); trace(a); trace(m); trace(b); einsum('ij,jk->ki', m, n); einsum('ij->', m); einsum('ii->i', a)
einsum('i,j,ij->', x, y, a); einsum('...ij,jk', b, n)
det(a); det(b); inv(a); inv(b); cholesky(a + a.T); matrix_power(a, 3); matrix_power(b, -2); matrix_power(a, 0); expm(a)
eigvalsh(a + a.T); solve(a, x); solve(a, n); solve(b, n); solve(b, x); solve_triangular(a, x)
solve_triangular(b, n, lower=False); matrix_norm(m); matrix_norm(t, keepdims=True); svdvals(m); svdvals(b)
slogdet(a).logabsdet; slogdet(b).logabsdet; slogdet(a).sign
m[0]; m[..., 1]; x[::-1]; t[0, None, 1:, ::2]; t[1, -1, 2]; t[:, 2:0:-1, 3::-2]; k[None]""",
) + [
    f"{name}(t{more})"
    for name in ("sum", "mean", "prod", "max", "min", "var", "std", "logsumexp", "vector_norm")
    for more in ("", ", axis=1", ", axis=(0, -1), keepdims=True")
]

# For each set of primitives the first of them.
ONE_OF_EACH = list({parse(text, (*INPUTS, *CONSTANTS)).primitives: text for text in reversed(TEXTS)}.values())[::-1]

# TensorFlow 2.21 keeps the slope of leaky_relu, and the 0.044715 and the root of gelu, in single precision.
RTOL = {"leaky_relu": 1e-7, "gelu": 2e-7}


@pytest.fixture(scope="module")
def adapter():
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it warns of each function that tape.jacobian traces
    found = adapters.TensorFlow()
    found.open("cpu")
    yield found
    logger.setLevel(level)


def posed(adapter, text, dtype="float64", **more):
    """A text as a function for the adapter with its inputs, and the same two for NumPy."""
    words = set(re.findall(r"\b\w+\b", re.sub(r"'[^']*'", "", text)))
    inputs = {
        name: value.astype(FORMATS[dtype]) for name, value in INPUTS.items() if name in words and name not in more
    }
    constants = {name: value for name, value in (CONSTANTS | more).items() if name in words}
    program = parse(text, (*inputs, *constants))
    native = {name: adapter.asarray(value) for name, value in constants.items()}
    f = Function(program, lifted(adapter, FORMATS[dtype]), tuple(inputs), native)
    ops = {**numeric.OPS, "asarray": lambda number: np.asarray(number, FORMATS[dtype])}
    truth = Function(program, ops, tuple(inputs), constants)
    return f, {name: adapter.asarray(value) for name, value in inputs.items()}, truth, inputs


def function(adapter, text, dtype="float64", **values):
    """A text as a function of these inputs, and them."""
    f = Function(parse(text, tuple(values)), lifted(adapter, FORMATS[dtype]), tuple(values), {})
    return f, point(adapter, dtype, **values)


def point(adapter, dtype="float64", **values):
    return {name: adapter.asarray(np.asarray(value, FORMATS[dtype])) for name, value in values.items()}


def numbers(adapter, answer):
    return {name: None if part is None else adapter.numpy(part).tolist() for name, part in answer.items()}


def rtol(text, least):
    return max(RTOL.get(text.partition("(")[0], 0), least)


def slope(f, inputs, name):
    """The gradient of a scalar f by one input: central differences of order 6."""
    x = inputs[name]
    found = np.zeros(x.shape, x.dtype)
    for place in np.ndindex(x.shape):
        for k, weight in ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60)):
            for sign in (1, -1):
                moved = x.copy()
                moved[place] += sign * k / 512
                found[place] += sign * weight * 512 * f(*{**inputs, name: moved}.values())
    return found


# Primitives


def test_every_word_of_the_vocabulary_is_spelled_and_has_an_example():
    named = {word for text in TEXTS for word in parse(text, (*INPUTS, *CONSTANTS)).primitives}
    assert set(adapters.OPS) == set(VOCABULARY) == named
    assert set(VOCABULARY) > adapters.COMPOSITE


@pytest.mark.parametrize("text", TEXTS)
def test_a_primitive_and_its_derivative_are_what_numpy_and_scipy_say(adapter, text):
    f, x, truth, inputs = posed(adapter, text)
    found, right = adapter.numpy(adapter.value(f, x)), np.asarray(truth(*inputs.values()))
    assert (found.shape, found.dtype) == (right.shape, right.dtype)
    np.testing.assert_allclose(found, right, rtol=rtol(text, 5e-13), atol=1e-15)

    w = spread(*right.shape, low=0.5, high=1.5, step=1)
    for name, one in adapter.vjp(f, x, adapter.asarray(w)).items():
        expected = slope(lambda *arrays: np.sum(w * truth(*arrays)), inputs, name)
        if one is None:  # only where f is constant by pieces, or nothing at all
            np.testing.assert_allclose(expected, 0, atol=1e-9)
        else:
            assert one.dtype == tf.float64
            np.testing.assert_allclose(adapter.numpy(one), expected, rtol=rtol(text, 1e-8), atol=1e-9)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("text", ONE_OF_EACH)
def test_a_narrow_dtype_is_answered_in_that_dtype_or_refused(adapter, text, dtype):
    f, x, truth, inputs = posed(adapter, text, dtype)
    name, topic = text.partition("(")[0], {VOCABULARY[word].topic for word in f.program.primitives}
    eps = float(ml_dtypes.finfo(FORMATS[dtype]).eps)
    try:
        found = adapter.numpy(adapter.value(f, x))
    except Unsupported:
        assert dtype != "float32"
        in_numpy = name in {"hypot", "logaddexp", "cbrt", "log2", "log10", "sinc", "trunc"} and dtype == "bfloat16"
        assert in_numpy or "special" in topic or "linear algebra" in topic
        return
    assert found.dtype == FORMATS[dtype]
    right = np.asarray(truth(*inputs.values())).astype(float)
    scale = np.max(np.abs(right), initial=1)  # an entry may be the difference of greater ones
    limit = 200 if name == "gamma" else 30  # of the exponential of a logarithm
    np.testing.assert_allclose(found.astype(float), right, rtol=limit * eps, atol=limit * eps * scale)
    try:
        answer = adapter.vjp(f, x, adapter.asarray(np.ones(found.shape, FORMATS[dtype])))
    except Unsupported:
        assert name in {"digamma", "gammaln", "gamma", "betaln"}  # float16 has digamma and no polygamma
    else:
        assert {adapter.numpy(part).dtype for part in answer.values() if part is not None} <= {FORMATS[dtype]}


# det and cumulative_prod are not among them: TensorFlow 2.21 conjugates a part of their derivatives alone.
ANALYTIC = """\
x + y; 2 * x; x * y; x / y; x ** 2; 2 ** x; z ** x; -x; square(x); sqrt(x); rsqrt(x); reciprocal(x); exp(x); exp2(x)
expm1(x); log(x); log2(x); log1p(x); sin(x); cos(x); tan(x); asin(x); acos(x); atan(x); sinh(x); cosh(x); tanh(x)
asinh(x); acosh(z); atanh(x); sinc(x); expit(x); sum(m, axis=0); mean(m); prod(x); cumulative_sum(x)
m @ n; m @ x; outer(x, y); kron(m, n); einsum('ij,jk->ik', m, n); inv(a); solve(a, x); matrix_power(a, 3)
expm(a); trace(a); take(x, j); pad(x, (1, 1)); concat([x, y]); x[::-1]; tensordot(m, n, 1); where(u < v, x, y)"""


@pytest.mark.parametrize("text", re.split(r"[;\n] *", ANALYTIC))
def test_an_analytic_primitive_takes_complex_numbers(adapter, text):
    constants = {name: INPUTS[name] for name in ("u", "v")} if "where" in text else {}
    f, _, truth, inputs = posed(adapter, text, **constants)
    z = {name: value * (1 + 0.2j) for name, value in inputs.items()}
    x = {name: adapter.asarray(value) for name, value in z.items()}
    found, right = adapter.numpy(adapter.value(f, x)), truth(*z.values())
    assert found.dtype == np.complex128
    np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-14)

    # TensorFlow answers with the conjugate of the derivative
    w = spread(*np.shape(right), low=0.5, high=1.5, step=1).astype(complex)
    for name, one in adapter.vjp(f, x, adapter.asarray(w)).items():
        expected = slope(lambda *arrays: np.sum(w * truth(*arrays)), z, name)
        np.testing.assert_allclose(adapter.numpy(one).conj(), expected, rtol=1e-8, atol=1e-9)


def test_real_primitives_refuse_complex_numbers(adapter):
    for text in (
        "maximum(x, y)",
        "copysign(x, y)",
        "gamma(x)",
        "log_ndtr(x)",
        "gelu(x)",
        "round(x)",
        "sort(x)",
        "x % y",
    ):
        f, x, *_ = posed(adapter, text, "complex128")
        with pytest.raises(Unsupported):
            adapter.value(f, x)


def test_the_tails_of_the_normal_distribution_function_are_kept(adapter):
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        x = np.array([-200.0, -40.0, -20.5, -19.5, -10.5, -9.5, -4.5, -3.5, 0.0, 3.5], FORMATS[dtype])
        found = adapter.numpy(adapter.ops["log_ndtr"](adapter.asarray(x)))
        eps = float(ml_dtypes.finfo(FORMATS[dtype]).eps)
        np.testing.assert_allclose(
            found.astype(float), numeric.OPS["log_ndtr"](x.astype(float)), rtol=4 * eps, atol=eps / 4
        )
    upper = adapter.ops["log_ndtr"](adapter.asarray(np.array(8.0)))
    assert adapter.numpy(upper) == pytest.approx(-numeric.OPS["ndtr"](-8.0), rel=1e-13, abs=0)
    f, x = function(adapter, "log_ndtr(x)", x=[-300.0, -20.0, -19.0, 8.0])
    w = adapter.asarray(np.ones(4))
    density = numeric.OPS["exp"](-0.5 * 64) / math.sqrt(2 * math.pi)
    expected = [300.00333325926, 20.049753068527849, 19.052343949198, density]
    np.testing.assert_allclose(adapter.numpy(adapter.vjp(f, x, w)["x"]), expected, rtol=1e-12)


def test_the_sign_bit_decides_copysign(adapter):
    found = adapter.ops["copysign"](*point(adapter, x=[1, -2, 3, -4], y=[-0.0, 0.0, -math.inf, math.inf]).values())
    assert found.numpy().tolist() == [-1, 2, -3, 4]


def test_a_correction_as_large_as_the_count_leaves_no_variance(adapter):
    x = adapter.asarray(np.array([1.0, 2.0]))
    statics = {"axis": None, "keepdims": False}
    assert adapter.ops["var"](x, correction=2, **statics).numpy() == math.inf
    assert adapter.ops["std"](x, correction=3, **statics).numpy() == math.inf
    assert math.isnan(adapter.ops["var"](x[:1], correction=1, **statics).numpy())


def test_a_norm_of_order_zero_is_refused(adapter):
    f, x = function(adapter, "vector_norm(x, ord=0)", x=[1, 2])
    with pytest.raises(Unsupported, match="order 0"):
        adapter.value(f, x)


# Integers and Booleans among the constants

MIXED = [
    "0.5 * h * x", "h * 0.1 * x", "(1 - c) * x", "c * x", "sum(c) * x", "mean(h) * x", "exp(h) * x", "x ** h", "h @ x",
    "where(h == 2, x, 0)", "where(h, x, -x)", "where(c & (h > 1), x, 1)", "(x > 0) * 2 * x", "concat([x, h])", "stack([c, x])",
    "einsum('i,i->', x, h)", "maximum(x, h)", "solve(diag(h), x)", "where(c, h, x)", "h / 2 * x", "cumulative_sum(c) * x",
]  # fmt: skip


@pytest.mark.parametrize("text", MIXED)
def test_integer_and_boolean_constants_take_the_dtype_of_what_they_meet(adapter, text):
    for dtype in ("float64", "float32", "bfloat16"):
        more = {"h": np.array([3, 2, 1]), "c": np.array([True, False, True])}
        x = {"x": np.array([0.75, 1.5, 2.25])}
        if dtype == "bfloat16" and "solve" in text:
            continue
        f = posed(adapter, text, dtype, **more)[0]
        native = point(adapter, dtype, **x)
        answer = adapter.numpy(adapter.value(f, native))
        assert answer.dtype == FORMATS[dtype]
        right = posed(adapter, text, **more)[2](*x.values())
        np.testing.assert_allclose(answer.astype(float), right, rtol=4 * float(ml_dtypes.finfo(FORMATS[dtype]).eps))
        assert adapter.numpy(adapter.vjp(f, native, None)["x"]).dtype == FORMATS[dtype]


def test_an_imaginary_number_of_the_text_makes_real_arrays_complex(adapter):
    for dtype, wide in (("float64", np.complex128), ("float32", np.complex64)):
        f, x = function(adapter, "1j * x + 2", dtype, x=[1, 2])
        found = adapter.numpy(adapter.value(f, x))
        assert found.dtype == wide
        assert found.tolist() == [2 + 1j, 2 + 2j]


def test_numbers_of_the_text_do_not_widen_the_dtype(adapter):
    text = "where(x > 1, 2 - x, 2 ** x) + maximum(x, 0.5) / 3 + 1 / x + x % 2 - atan2(1, x) + clip(x, 0, 1.25)"
    for dtype in ("float64", *NARROW):
        f, x = function(adapter, text, dtype, x=[0.75, 1.5])
        assert adapter.numpy(adapter.value(f, x)).dtype == FORMATS[dtype]
        assert adapter.numpy(adapter.vjp(f, x, None)["x"]).dtype == FORMATS[dtype]


# Arrays


@pytest.mark.parametrize("dtype", FORMATS)
def test_an_array_comes_back_bit_for_bit(adapter, dtype):
    kind = FORMATS[dtype].kind
    values = {"b": [True, False], "i": [-3, 7], "u": [3, 7]}.get(kind, [-0.0, math.nan, math.inf, 1 / 3, 1e-5])
    one = np.array(values, np.float64 if kind not in "biuc" else None).astype(FORMATS[dtype])
    for x in (one, one[:1].reshape(()), one[:0], np.tile(one, (3, 1)).T, one[::-1]):
        back = adapter.numpy(adapter.asarray(x))
        assert isinstance(back, np.ndarray)
        assert (back.dtype, back.shape, back.tobytes()) == (x.dtype, x.shape, x.tobytes())


def test_no_memory_is_shared_with_an_array(adapter):
    x = np.arange(1024.0)
    tensor = adapter.asarray(x)
    x[:] = -1
    assert tensor.numpy()[1023] == 1023
    adapter.numpy(tensor)[0] = 5
    assert tensor.numpy()[0] == 0


def test_the_other_byte_order_is_turned(adapter):
    assert adapter.asarray(np.array([1.5, 2.5], ">f8")).numpy().tolist() == [1.5, 2.5]


def test_slices_with_indices_become_dense(adapter):
    slices = tf.IndexedSlices(tf.constant([1.0, 2.0]), tf.constant([2, 2]), tf.constant([4]))
    assert adapter.numpy(slices).tolist() == [0, 0, 3, 0]


# Operators


def test_the_operators_of_a_polynomial(adapter):
    f, x = function(adapter, "a * a * b + 2 * b", a=3, b=5)
    tangents = point(adapter, a=1, b=10)
    assert adapter.value(f, x).numpy() == 55
    assert numbers(adapter, adapter.gradient(f, x)) == {"a": 30, "b": 11}
    assert numbers(adapter, adapter.vjp(f, x, adapter.asarray(np.array(2.0)))) == {"a": 60, "b": 22}
    assert numbers(adapter, adapter.hvp(f, x, tangents)) == {"a": 70, "b": 6}
    found = numbers(adapter, adapter.hessian(f, x))
    assert found == {"a,a": 10, "a,b": 6, "b,a": 6, "b,b": None}
    assert adapter.partial(f, x, {"a": 2, "b": 1}).numpy() == 2
    assert adapter.partial(f, x, {"b": 1, "a": 1}).numpy() == 6
    assert adapter.partial(f, x, {"b": 2}) is None
    assert adapter.partial(f, x, {}).numpy() == 55
    assert not hasattr(adapter, "jvp")


def test_a_jacobian_has_the_shape_of_the_output_and_then_of_the_input(adapter):
    f, x = function(adapter, "outer(a, b)", a=[1, 2], b=[3, 4, 5])
    found = adapter.jacobian(f, x)
    assert {name: tuple(part.shape) for name, part in found.items()} == {"a": (2, 3, 2), "b": (2, 3, 3)}
    assert found["a"][1, 2].numpy().tolist() == [0, 5]
    assert found["b"][1].numpy().tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


def test_a_hessian_has_the_shapes_of_both_inputs(adapter):
    f, x = function(adapter, "sum(a ** 2) * sum(b * b)", a=[1, 2], b=[3, 4, 5])
    found = adapter.hessian(f, x)
    assert {key: tuple(part.shape) for key, part in found.items()} == {
        "a,a": (2, 2), "a,b": (2, 3), "b,a": (3, 2), "b,b": (3, 3),
    }  # fmt: skip
    assert found["b,a"][2].numpy().tolist() == [20, 40]
    assert found["a,a"].numpy().tolist() == [[100, 0], [0, 100]]


def test_a_jacobian_that_cannot_be_vectorised_is_taken_row_by_row(adapter):
    f, x = function(adapter, "einsum('ii->i', a * a)", a=[[1, 2], [3, 4]])
    with tf.GradientTape() as tape:
        tape.watch(x["a"])
        y = f(*x.values())
    with pytest.raises(ValueError, match="Vectorization can be disabled"):
        tape.jacobian(y, x["a"])  # if TensorFlow learns this, another function must stand here
    assert numbers(adapter, adapter.jacobian(f, x)) == {"a": [[[2, 0], [0, 0]], [[0, 0], [0, 8]]]}


def test_derivatives_of_taken_entries_are_dense_in_every_order(adapter):
    f, *_ = posed(adapter, "sum(take(x, j) ** 2 * k)")
    x = point(adapter, k=2, x=[1, 2, 3])
    assert numbers(adapter, adapter.gradient(f, x)) == {"k": 1 + 4 + 9 + 9, "x": [4, 8, 24]}
    assert numbers(adapter, adapter.hvp(f, x, point(adapter, k=0, x=[1, 1, 1])))["x"] == [4, 4, 8]
    assert numbers(adapter, adapter.hessian(f, x))["x,x"] == [[4, 0, 0], [0, 4, 0], [0, 0, 8]]
    f, *_ = posed(adapter, "take(x, j)")
    expected = [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 1]]]
    assert numbers(adapter, adapter.jacobian(f, point(adapter, x=[1, 2, 3]))) == {"x": expected}


def test_a_partial_derivative_has_the_shape_of_the_output(adapter):
    f, x = function(adapter, "x ** 3 * exp(t * x)", x=[1.0, 2.0], t=0.5)
    np.testing.assert_allclose(
        adapter.numpy(adapter.partial(f, x, {"t": 4})), [math.exp(0.5), 2**7 * math.e], rtol=1e-14
    )
    f, x = function(adapter, "sin(s * t) * reshape(concat([x, -x]), (2, 1))", x=[2.0], s=0.7, t=0.5)
    found = adapter.partial(f, x, {"t": 2, "s": 1})
    s, t = 0.7, 0.5
    expected = 2 * (-2 * s * math.sin(s * t) - s * s * t * math.cos(s * t))
    np.testing.assert_allclose(adapter.numpy(found), [[expected], [-expected]], rtol=1e-14)


def test_a_component_whose_derivative_ends_before_the_others_is_zero(adapter):
    f, x = function(adapter, "stack([t, t ** 3])", t=2)
    assert adapter.partial(f, x, {"t": 2}).numpy().tolist() == [0, 12]
    assert adapter.partial(f, x, {"t": 3}).numpy().tolist() == [0, 6]


def test_a_partial_derivative_of_high_order_stays_cheap(adapter):
    f, x = function(adapter, "sin(c * t)", c=[1.0, 2.0], t=0.3)
    np.testing.assert_allclose(adapter.numpy(adapter.partial(f, x, {"t": 8})), [math.sin(0.3), 256 * math.sin(0.6)])


def test_an_input_that_is_not_connected_is_none(adapter):
    f, x = function(adapter, "a * a", a=3, b=5)
    assert numbers(adapter, adapter.gradient(f, x)) == {"a": 6, "b": None}
    assert numbers(adapter, adapter.vjp(f, x, adapter.asarray(np.array(1.0)))) == {"a": 6, "b": None}
    assert numbers(adapter, adapter.jacobian(f, x)) == {"a": 6, "b": None}
    assert numbers(adapter, adapter.hvp(f, x, x)) == {"a": 6, "b": None}
    assert numbers(adapter, adapter.hessian(f, x)) == {"a,a": 2, "a,b": None, "b,a": None, "b,b": None}
    assert adapter.partial(f, x, {"b": 1}) is None


def test_a_function_of_nothing_has_no_derivatives(adapter):
    f, x = function(adapter, "floor(a)", a=1.5)
    assert adapter.gradient(f, x) == adapter.jacobian(f, x) == adapter.hvp(f, x, x) == {"a": None}
    assert adapter.hessian(f, x) == {"a,a": None}


def test_the_answers_keep_the_order_of_the_inputs(adapter):
    f, x = function(adapter, "z * y ** 2 * a", z=2, y=3, a=4)
    assert list(adapter.gradient(f, x)) == list(adapter.hvp(f, x, x)) == ["z", "y", "a"]
    assert numbers(adapter, adapter.gradient(f, x)) == {"z": 36, "y": 48, "a": 18}


def test_inputs_stay_as_they_were(adapter):
    f, x = function(adapter, "sum(sort(x) ** 2)", x=[2.0, 1.0])
    adapter.gradient(f, x)
    adapter.hessian(f, x)
    assert x["x"].numpy().tolist() == [2, 1]


def test_a_complex_gradient_is_the_conjugate_of_the_derivative(adapter):
    f, x = function(adapter, "z * z", "complex128", z=1 + 2j)
    assert numbers(adapter, adapter.gradient(f, x)) == {"z": 2 - 4j}
    f, x = function(adapter, "sum(abs(z) ** 2)", "complex128", z=[1 + 2j])
    np.testing.assert_allclose(adapter.numpy(adapter.gradient(f, x)["z"]), [2 + 4j])


# What TensorFlow doesn't offer


@pytest.mark.parametrize(
    ("operator", "text", "dtype"),
    [
        ("value", "erfinv(u)", "float16"),  # no kernel
        ("value", "zeta(z, u)", "bfloat16"),  # no such dtype
        ("value", "cbrt(u)", "bfloat16"),  # none in tf.experimental.numpy
        ("value", "gelu(x)", "complex128"),
        ("value", "expm(a)", "bfloat16"),
        ("gradient", "digamma(u)", "float16"),  # a value without a derivative
        ("hessian", "sum(softsign(x))", "float64"),  # a derivative without one
        ("hessian", "sum(gammainc(u, z))", "float64"),
    ],
)
def test_what_tensorflow_does_not_offer_is_unsupported(adapter, operator, text, dtype):
    f, x, *_ = posed(adapter, text, dtype)
    with pytest.raises(Unsupported):
        getattr(adapter, operator)(f, x)


def test_mistakes_and_singular_matrices_are_errors_and_no_refusals(adapter):
    f, x = function(adapter, "inv(x)", x=[[1, 1], [1, 1]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="not invertible"):
        adapter.value(f, x)
    f, x = function(adapter, "x[3]", x=[1, 2])
    with pytest.raises(tf.errors.InvalidArgumentError, match="out of bounds"):
        adapter.value(f, x)
    with pytest.raises(KeyError, match="nothing"):
        adapter.value({}.__getitem__, {"x": "nothing"})


def test_the_first_argument_of_zeta_is_a_constant_to_tensorflow(adapter):
    f, x, *_ = posed(adapter, "sum(zeta(z, u))")
    found = adapter.gradient(f, x)
    assert found["z"] is None
    assert found["u"] is not None


def test_eigvalsh_reads_the_lower_triangle_alone(adapter):
    f, x, *_ = posed(adapter, "sum(eigvalsh(a) ** 2)")
    assert not np.triu(adapter.numpy(adapter.gradient(f, x)["a"]), 1).any()


# Settings


def test_opening_reports_full_precision_determinism_and_one_thread(adapter):
    tf.config.experimental.enable_tensor_float_32_execution(enabled=True)
    settings = adapters.TensorFlow().open("cpu")
    assert settings["tensor_float_32"] is False
    assert settings["op_determinism"] is True
    assert settings["intra_op_threads"] == settings["inter_op_threads"] == 1
    assert settings["device_name"]
    json.dumps(settings, allow_nan=False)
    with pytest.raises(RuntimeError, match="determinism"):
        tf.random.uniform([])


def test_opening_again_with_other_threads_reports_those_that_hold(adapter, monkeypatch):
    adapter.value(*function(adapter, "x + 1", x=1))
    monkeypatch.setenv("GRADBENCH_THREADS", "3")
    assert adapters.TensorFlow().open("cpu")["intra_op_threads"] == 1


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _kind: [])
    with pytest.raises(DeviceMissing, match=r"tensorflow 2\S+ sees no 'cuda'; use 'cpu'"):
        adapters.TensorFlow().open("cuda")


def test_the_versions_name_what_computes(adapter):
    versions = adapter.versions()
    assert versions["tensorflow"] == tf.__version__
    assert all(isinstance(version, str) for version in versions.values())


def test_the_device_can_be_waited_for(adapter):
    adapter.synchronize()
