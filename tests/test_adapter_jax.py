"""`gradbench.adapters.jax` against NumPy and SciPy, and its derivatives against differences of those."""

import json
import os
import re
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from gradbench import numeric
from gradbench.adapter import Function, lifted
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.language import parse
from gradbench.primitives import VOCABULARY

jax = pytest.importorskip("jax")
adapters = pytest.importorskip("gradbench.adapters.jax")

FORMATS = {name: np.dtype(name) for name in ("float64", "float32", "float16", "complex128", "complex64")}
FORMATS["bfloat16"] = np.dtype(ml_dtypes.bfloat16)

# What the texts below are about: p and q in (0, 1), x, y and m of either sign, z above 1, all away from kinks; k is 0-d,
# s a matrix whose symmetric part is positive definite, t and g stacks, i indices.
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

REDUCTIONS = [
    f"{name}(t{more})"
    for name in ("sum", "mean", "prod", "max", "min", "var", "std", "logsumexp", "vector_norm")
    for more in ("", ", axis=(0, -1), keepdims=True")
]

TEXTS = [
    *re.split(r"; +|;?\n", """\
x + y; 2 + x; x - y; 2 - x; x * y; 2 * x; x / y; 2 / x; z ** x; x ** 2; x ** -1; 2 ** x; z ** 0.5; x % y; x % 2; -x
maximum(x, y); maximum(x, 0); minimum(m, y); atan2(x, y); hypot(x, y); logaddexp(x, y); copysign(x, y)
real(x); imag(x); conj(x); angle(x); xlogy(x, z); xlog1py(x, p); abs(x); sign(x); square(x); sqrt(p); rsqrt(p); cbrt(x); reciprocal(x); exp(x); exp2(x)
expm1(x); log(p); log2(p); log10(p); log1p(p); sin(x); cos(x); tan(x); asin(p); acos(p); atan(x); sinh(x); cosh(x)
tanh(x); asinh(x); acosh(z); atanh(p); floor(x); ceil(x); trunc(x); round(x); clip(x, -1, 1); clip(x, max=1); sinc(x)
erf(x); erfc(x); erfinv(p); gamma(x); gammaln(x); digamma(x); expit(x); logit(p); ndtr(x); log_ndtr(x); ndtri(p)
entr(p); j0(z); j1(z); i0(x); i1(x); i0e(x); i1e(x); betaln(p, q); zeta(z, p); gammainc(p, z)
relu(w); relu6(w); leaky_relu(w); leaky_relu(w, 0.2); elu(w); elu(w, 1.5); selu(w); celu(w); celu(w, 1.5); gelu(w)
gelu(w, 'tanh'); silu(w); mish(w); softplus(w); softsign(w); log_sigmoid(w); hard_tanh(w); hard_sigmoid(w)
hard_swish(w); softmax(m); softmax(m, axis=0); log_softmax(m); log_softmax(t, axis=1)
where(x < y, x, y); where(x <= y, x, y); where(x > y, x, y); where(x >= y, x, y); where(x == y, x, y)
where(x != y, x, y); where((x < y) & (y < 1), x, y); where((x < y) | (y < 1), x, y); where(logical_not(x < 0), x, y)
vector_norm(x, ord=1); vector_norm(m, axis=1, ord=3); vector_norm(m, ord=inf); var(t, axis=1, correction=1)
std(x, correction=1); cumulative_sum(m); cumulative_sum(m, axis=0); cumulative_prod(m); sort(x); sort(m, axis=0)
flip(m); flip(t, axis=(0, -1)); roll(m, 1); roll(m, 1, axis=1); roll(m, (1, -2), axis=(0, 1)); roll(m, (1, 2))
reshape(m, (3, -1)); permute_dims(t, (2, 0, 1)); m.T; matrix_transpose(t); expand_dims(m, 1); squeeze(t[:1], (0,))
moveaxis(t, 0, -1); moveaxis(t, (0, 1), (1, 2)); broadcast_to(m, (2, 2, 3)); broadcast_to(k, (2, 2))
concat([x, y]); concat([m, r.T], axis=1); stack([x, y]); stack([x, y], axis=1); tile(m, (2,)); tile(x, (2, 2))
repeat(m, 2); repeat(m, 2, axis=-1); pad(m, (1, 0, 0, 2)); pad(x, (1, 2), 0.5); pad(k, ()); take(m, i, axis=1)
tril(s); triu(t, 1); diagonal(m); diagonal(t); diag(x)
matmul(m, r); x @ y; t @ reshape(t, (2, 4, 3)); s @ x; vecdot(m, x); vecdot(m, m, axis=0); outer(x, z); kron(m, r)
kron(x, y); cross(x, y); cross(m, x); tensordot(t, m, 0); tensordot(m, r, 1); tensordot(m, m, 2); trace(s); trace(g)
einsum('ij,jk->ik', m, r); einsum('ij->', m); einsum('ii->i', s); einsum('i,j,ij->', x, y, s); einsum('bij,bjk->bik', g, g)
det(s); det(g); inv(s); inv(g); cholesky(s + s.T); matrix_power(s, 3); matrix_power(s, -2); matrix_power(s, 0); expm(s)
eigvalsh(s + s.T); solve(s, x); solve(s, r); solve(g, reshape(t, (2, 3, 4))); solve_triangular(s, x)
solve_triangular(s, r, lower=False); matrix_norm(m); matrix_norm(t, keepdims=True); svdvals(m); svdvals(g)
slogdet(s).logabsdet; slogdet(g).logabsdet; slogdet(s).sign; m[0]; m[..., 1]; x[::-1]; t[0, None, 1:, ::2]; x[-1]"""),
    *REDUCTIONS,
]  # fmt: skip

# JAX's own derivatives of JAX's own functions are for the cases to judge; of these a part is written here.
OWN = {*adapters._NUMPY.split(), *adapters._SPECIAL.split(), *adapters._NN.split(), *adapters._LINALG.split()}
WRAPPED = [text for text in TEXTS if not OWN.issuperset(parse(text, (*VALUES, *CONSTANTS)).primitives)]


@pytest.fixture(scope="module")
def adapter():
    kept = {name: os.environ.get(name) for name in ("XLA_FLAGS", "PJRT_NPROC")}
    wide, precision = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    found = adapters.Jax()
    found.open("cpu")
    jax.config.update("jax_disable_most_optimizations", True)  # noqa: FBT003  # what costs here is compiling, not computing
    yield found
    jax.config.update("jax_disable_most_optimizations", False)  # noqa: FBT003
    jax.config.update("jax_enable_x64", wide)
    jax.config.update("jax_default_matmul_precision", precision)
    jax.config.update("jax_default_device", None)
    for name, value in kept.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value


def posed(adapter, text, dtype="float64", **more):
    """A text as a function for the adapter, its inputs as JAX's arrays, and the same two for NumPy."""
    values = {**VALUES, **more}
    words = set(re.findall(r"\b\w+\b", re.sub(r"'[^']*'", "", text)))
    narrow = FORMATS[dtype]
    inputs = {name: value.astype(narrow) for name, value in values.items() if name in words}
    constants = {name: value for name, value in CONSTANTS.items() if name in words}
    program = parse(text, (*inputs, *constants))
    native = {name: adapter.asarray(value) for name, value in constants.items()}
    f = Function(program, lifted(adapter, narrow), tuple(inputs), native)
    ops = {**numeric.OPS, "asarray": lambda number: np.asarray(number, narrow)}
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


@pytest.fixture(scope="module")
def computed(adapter):
    """The value of every text, and for some of them a cotangent and what it is pulled back to, in one program."""
    posers = {text: posed(adapter, text) for text in TEXTS}
    cotangents = {}
    for text in WRAPPED:
        _, _, truth, inputs = posers[text]
        shape = np.shape(truth(*inputs.values()))
        cotangents[text] = np.cos(np.arange(1.0, 1 + np.prod(shape, dtype=int))).reshape(shape)

    def everything(arrays, weights):
        values, pulled = {}, {}
        for text, (f, x, _, _) in posers.items():
            named = {name: arrays[name] for name in x}
            values[text] = adapter.value(f, named)
            if text in weights:
                pulled[text] = adapter.vjp(f, named, weights[text])
        return values, pulled

    names = {name for _, x, _, _ in posers.values() for name in x}
    arrays = {name: adapter.asarray(VALUES[name]) for name in names}
    weights = {text: adapter.asarray(cotangent) for text, cotangent in cotangents.items()}
    values, pulled = jax.jit(everything)(arrays, weights)
    return values, cotangents, pulled


def test_every_primitive_of_the_vocabulary_is_there(adapter):
    assert set(adapter.ops) == set(VOCABULARY)
    assert not adapter.composite


def test_every_primitive_is_tried():
    used = {name for text in TEXTS for name in parse(text, (*VALUES, *CONSTANTS)).primitives}
    assert used == set(VOCABULARY)


@pytest.mark.parametrize("text", TEXTS)
def test_values_are_those_of_mathematics(adapter, computed, text):
    _, _, truth, inputs = posed(adapter, text)
    expected = np.asarray(truth(*inputs.values()))
    value = adapter.numpy(computed[0][text])
    assert value.dtype == expected.dtype
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("text", WRAPPED)
def test_gradients_are_those_of_mathematics(adapter, computed, text):
    _, cotangents, pulled = computed
    _, _, truth, inputs = posed(adapter, text)
    for name in inputs:
        answer = adapter.numpy(pulled[text][name])
        assert answer.dtype == np.float64
        expected = np.tensordot(cotangents[text], jacobian(truth, inputs, name), cotangents[text].ndim)
        np.testing.assert_allclose(answer, expected, rtol=2e-8, atol=2e-8, err_msg=name)


# Operators


def test_operators_answer_by_name_in_the_order_of_the_inputs(adapter):
    f, x, truth, inputs = posed(adapter, "sum(sin(m * x)) * k")
    f = Function(f.program, f.ops, ("x", "m", "k"), {})
    truth = Function(truth.program, truth.ops, ("x", "m", "k"), {})
    inputs = {name: inputs[name] for name in ("x", "m", "k")}
    tangents = {name: np.cos(value + 0.3) for name, value in inputs.items()}
    order = []

    @jax.jit  # compiles all of them at once, which is quicker than each operation of each
    def asked(arrays, along, cotangent):
        x, along = ({name: mapping[name] for name in inputs} for mapping in (arrays, along))
        answers = {
            "vjp": adapter.vjp(f, x, cotangent),
            "gradient": adapter.gradient(f, x),
            "jacobian": adapter.jacobian(f, x),
            "hvp": adapter.hvp(f, x, along),
            "hessian": adapter.hessian(f, x),
        }
        order.extend(list(answer) for answer in answers.values())
        return {**answers, "jvp": adapter.jvp(f, x, along)}

    native = {name: adapter.asarray(tangent) for name, tangent in tangents.items()}
    found = asked(x, native, adapter.asarray(np.array(1.0)))
    assert order == [list(inputs)] * 4 + [[f"{a},{b}" for a in inputs for b in inputs]]

    def gradient(name):
        return lambda *arrays: jacobian(truth, dict(zip(inputs, arrays, strict=True)), name)

    def near(array, expected):
        answer = adapter.numpy(array)
        assert (answer.dtype, answer.shape) == (np.float64, expected.shape)
        np.testing.assert_allclose(answer, expected, rtol=1e-6, atol=1e-5)

    near(found["jvp"], sum(derivative(truth, inputs, name, tangents[name]) for name in inputs))
    for a in inputs:
        for operator in ("vjp", "gradient", "jacobian"):
            near(found[operator][a], jacobian(truth, inputs, a))
        for b in inputs:
            near(found["hessian"][f"{a},{b}"], jacobian(gradient(a), inputs, b))
        near(found["hvp"][a], sum(derivative(gradient(a), inputs, b, tangents[b]) for b in inputs))


def test_a_jacobian_has_the_axes_of_the_output_first(adapter):
    f, x, truth, inputs = posed(adapter, "m @ (x * k)")
    found = adapter.jacobian(f, x)
    assert {name: array.shape for name, array in found.items()} == {"k": (2,), "x": (2, 3), "m": (2, 2, 3)}
    for name in inputs:
        np.testing.assert_allclose(adapter.numpy(found[name]), jacobian(truth, inputs, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", ["sin(a * b)", "sin(a * b) * x"])
def test_a_partial_derivative_nests_first_derivatives(adapter, text):
    a, b = 0.7, 1.3
    f, x, _, inputs = posed(adapter, text, a=np.array(a), b=np.array(b))
    found = adapter.numpy(adapter.partial(f, x, {"b": 2, "a": 1}))
    expected = -2 * a * np.sin(a * b) - a * a * b * np.cos(a * b)
    np.testing.assert_allclose(found, expected * inputs.get("x", np.array(1.0)), rtol=1e-14)


def test_an_unconnected_input_has_the_derivative_zero(adapter):
    f, x, _, _ = posed(adapter, "sum(x * x) + 0 * floor(k)")
    assert adapter.numpy(adapter.gradient(f, x)["k"]) == 0


def test_a_function_of_complex_inputs_with_a_complex_output_is_taken_as_holomorphic(adapter):
    z = np.array(0.5 + 0.8j)
    f, x, _, _ = posed(adapter, "v ** 3", "complex128", v=z)
    one = adapter.asarray(np.array(1 + 0j))
    np.testing.assert_allclose(adapter.gradient(f, x)["v"], 3 * z**2)
    np.testing.assert_allclose(adapter.jacobian(f, x)["v"], 3 * z**2)
    np.testing.assert_allclose(adapter.hessian(f, x)["v,v"], 6 * z)
    np.testing.assert_allclose(adapter.hvp(f, x, {"v": one})["v"], 6 * z)
    np.testing.assert_allclose(adapter.partial(f, x, {"v": 3}), 6)


def test_a_real_function_of_complex_inputs_keeps_the_convention_of_jax(adapter):
    f, x, _, _ = posed(adapter, "sum(abs(v) ** 2)", "complex128", v=np.array([0.5 + 0.8j]))
    np.testing.assert_allclose(adapter.gradient(f, x)["v"], [2 * (0.5 - 0.8j)])


# What isn't offered


def test_a_complex_output_of_a_real_input_is_unsupported(adapter):
    f, x, _, _ = posed(adapter, "k * (1 + 2j)")
    with pytest.raises(Unsupported, match="requires real-valued outputs"):
        adapter.gradient(f, x)


def test_an_integer_input_is_unsupported(adapter):
    f, _, _, _ = posed(adapter, "k * 2.0")
    with pytest.raises(Unsupported, match="int64"):
        adapter.gradient(f, {"k": adapter.asarray(np.array(3))})


def test_a_gradient_of_several_outputs_is_an_error_and_no_refusal(adapter):
    f, x, _, _ = posed(adapter, "sin(x)")
    with pytest.raises(TypeError, match="scalar-output"):
        adapter.gradient(f, x)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_narrow_dtype_stays_itself(adapter, dtype):
    refused = set()
    for text in TEXTS:
        f, x, _, _ = posed(adapter, text, dtype)

        def pulled(*arrays, f=f, x=x, text=text):
            named = dict(zip(x, arrays, strict=True))
            value = adapter.value(f, named)
            return value, adapter.vjp(f, named, value) if text in WRAPPED and dtype == "float32" else {}

        try:
            value, cotangents = jax.eval_shape(pulled, *x.values())
        except Unsupported:
            refused |= set(f.program.primitives)
            continue
        assert value.dtype == FORMATS[dtype], text
        assert all(cotangent.dtype == FORMATS[dtype] for cotangent in cotangents.values()), text
    assert refused == (set() if dtype == "float32" else {"expm", "ndtr", "log_ndtr", "ndtri"})


@pytest.mark.parametrize("text", ["inv(s)", "cholesky(s)", "eigvalsh(s)", "solve(s, x)", "svdvals(s)"])
def test_a_factorisation_in_a_narrow_dtype_is_refused(adapter, text):
    f, x, _, _ = posed(adapter, text, "bfloat16")
    with pytest.raises(adapter.refusals, match="Unsupported dtype bfloat16"):
        adapter.value(f, x)


@pytest.mark.parametrize(
    "text", ["gammaln(x)", "erf(x)", "ndtr(x)", "entr(x)", "j0(x)", "hypot(x, x)", "clip(x, -1, 1)"]
)
def test_what_has_no_complex_form_is_unsupported(adapter, text):
    f, x, _, _ = posed(adapter, text, "complex128")
    with pytest.raises(Unsupported):
        adapter.value(f, x)


def test_complex_numbers_pass_through_linear_algebra(adapter):
    s = VALUES["s"] + 0.3j * VALUES["s"].T
    f, x, truth, inputs = posed(adapter, "sum(solve(s, exp(x)))", "complex128", s=s)
    np.testing.assert_allclose(adapter.value(f, x), truth(*inputs.values()), rtol=1e-13)
    found = adapter.numpy(adapter.gradient(f, x)["s"])
    np.testing.assert_allclose(found, jacobian(truth, inputs, "s"), rtol=1e-8)


# Arrays and settings


@pytest.mark.parametrize("dtype", [*FORMATS.values(), np.dtype(bool), np.dtype("int64"), np.dtype("int8")])
@pytest.mark.parametrize("shape", [(), (0, 2), (3,)])
def test_arrays_come_back_bit_by_bit(adapter, dtype, shape):
    array = np.full(shape, 1 / 3).astype(dtype)
    native = adapter.asarray(array)
    again = adapter.numpy(native)
    assert isinstance(native, jax.Array)
    assert (again.dtype, again.shape, again.tobytes()) == (dtype, shape, array.tobytes())


def test_an_array_has_memory_of_its_own(adapter):
    array = np.arange(3.0)
    native = adapter.asarray(array)
    array[0] = 9
    adapter.numpy(native)[1] = 9
    assert adapter.numpy(native).tolist() == [0, 1, 2]


def test_the_settings_are_full_precision_as_jax_reports_them(adapter):
    settings = adapter.open("cpu")
    assert settings["enable_x64"] is True
    assert settings["default_matmul_precision"] == "highest"
    assert settings["platform"] == "cpu"
    assert settings["device_name"]
    assert json.loads(json.dumps(settings)) == settings
    assert set(adapter.versions()) == {"jax", "jaxlib"}


def test_flags_of_xla_are_added_to_those_given(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/nowhere")
    monkeypatch.setenv("GRADBENCH_THREADS", "3")
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    adapters._set_flags("cpu")
    adapters._set_flags("cpu")
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=/nowhere --xla_cpu_multi_thread_eigen=true"
    assert os.environ["PJRT_NPROC"] == "3"
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=false")
    adapters._set_flags("cuda")
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=false"


def test_a_device_that_is_not_there_is_missing(adapter, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    if jax.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceMissing, match="sees no 'cuda'"):
        adapter.open("cuda")


def test_nothing_is_still_computed_after_synchronize(adapter):
    product = adapter.asarray(np.ones((600, 600)))
    for _ in range(10):
        product = product @ product / 600
    adapter.synchronize()
    assert product.is_ready()


def test_another_way_of_using_jax_needs_one_method(adapter):
    class Jitted(adapters.Jax):
        def __init__(self):
            self.compiled = {}

        def call(self, f, key, derive, *arrays):
            if (f, key) not in self.compiled:
                self.compiled[f, key] = jax.jit(derive(f))
            return self.compiled[f, key](*arrays)

    jitted = Jitted()
    f, x, _, _ = posed(adapter, "sum(x * sin(k))")
    tangents = {"x": x["x"] + 1, "k": x["k"] - 1}
    for _ in range(2):
        np.testing.assert_allclose(jitted.gradient(f, x)["k"], np.cos(0.7) * 1.4)
        np.testing.assert_allclose(jitted.hessian(f, x)["k,x"], np.cos(0.7) * np.ones(3), rtol=1e-14)
        np.testing.assert_allclose(jitted.hvp(f, x, tangents)["x"], -0.3 * np.cos(0.7) * np.ones(3))
        np.testing.assert_allclose(jitted.partial(f, x, {"k": 1}), np.cos(0.7) * 1.4)
        np.testing.assert_allclose(jitted.partial(f, x, {"k": 2}), -np.sin(0.7) * 1.4)
    assert len(jitted.compiled) == 5


def test_importing_the_adapter_starts_no_backend():
    environment = {**os.environ, "JAX_PLATFORMS": "none such"}
    command = [sys.executable, "-c", "from gradbench.adapters.jax import Jax; Jax()"]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
