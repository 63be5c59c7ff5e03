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
    for more in ("", ", axis=1", ", axis=(0, -1), keepdims=True")
]

TEXTS = [
    *re.split(r"; +|;?\n", """\
x + y; 2 + x; x - y; 2 - x; x * y; 2 * x; x / y; 2 / x; z ** x; x ** 2; x ** -1; 2 ** x; z ** 0.5; x % y; x % 2; -x
maximum(x, y); maximum(x, 0); minimum(m, y); atan2(x, y); hypot(x, y); logaddexp(x, y); copysign(x, y)
xlogy(x, z); xlog1py(x, p); abs(x); sign(x); square(x); sqrt(p); rsqrt(p); cbrt(x); reciprocal(x); exp(x); exp2(x)
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
take(x, 2); tril(s); triu(t, 1); diagonal(m); diagonal(t); diag(x)
matmul(m, r); x @ y; t @ reshape(t, (2, 4, 3)); s @ x; vecdot(m, x); vecdot(m, m, axis=0); outer(x, z); kron(m, r)
kron(x, y); cross(x, y); cross(m, x); tensordot(t, m, 0); tensordot(m, r, 1); tensordot(m, m, 2); trace(s); trace(g)
einsum('ij,jk->ik', m, r); einsum('ij->', m); einsum('ii->i', s); einsum('i,j,ij->', x, y, s); einsum('bij,bjk->bik', g, g)
det(s); det(g); inv(s); inv(g); cholesky(s + s.T); matrix_power(s, 3); matrix_power(s, -2); matrix_power(s, 0); expm(s)
eigvalsh(s + s.T); solve(s, x); solve(s, r); solve(g, reshape(t, (2, 3, 4))); solve_triangular(s, x)
solve_triangular(s, r, lower=False); matrix_norm(m); matrix_norm(t, keepdims=True); svdvals(m); svdvals(g)
slogdet(s).logabsdet; slogdet(g).logabsdet; slogdet(s).sign; m[0]; m[..., 1]; x[::-1]; t[0, None, 1:, ::2]; x[-1]"""),
    *REDUCTIONS,
]  # fmt: skip


@pytest.fixture(scope="module")
def adapter():
    kept = {name: os.environ.get(name) for name in ("XLA_FLAGS", "PJRT_NPROC")}
    wide, precision = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    found = adapters.Jax()
    found.open("cpu")
    yield found
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


def test_every_primitive_of_the_vocabulary_is_there(adapter):
    assert set(adapter.ops) == set(VOCABULARY)
    assert not adapter.composite


def test_every_primitive_is_tried():
    used = {name for text in TEXTS for name in parse(text, (*VALUES, *CONSTANTS)).primitives}
    assert used == set(VOCABULARY)


@pytest.mark.parametrize("text", TEXTS)
def test_values_and_gradients_are_those_of_mathematics(adapter, text):
    f, x, truth, inputs = posed(adapter, text)
    expected = np.asarray(truth(*inputs.values()))
    value = adapter.numpy(adapter.value(f, x))
    assert value.dtype == expected.dtype
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-13)
    cotangent = np.cos(np.arange(1.0, 1 + value.size)).reshape(value.shape)
    found = adapter.vjp(f, x, adapter.asarray(cotangent))
    for name in x:
        answer = adapter.numpy(found[name])
        assert answer.dtype == np.float64
        expected = np.tensordot(cotangent, jacobian(truth, inputs, name), value.ndim)
        np.testing.assert_allclose(answer, expected, rtol=2e-8, atol=2e-8, err_msg=name)
