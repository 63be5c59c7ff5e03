"""`gradbench.adapters.torch` against NumPy and SciPy, and its derivatives against differences of those."""

import functools
import math

import ml_dtypes
import numpy as np
import pytest

from gradbench import numeric
from gradbench.adapter import Function, lifted
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.language import parse
from gradbench.primitives import VOCABULARY
from gradbench.wire import FORMATS

torch = pytest.importorskip("torch")
adapters = pytest.importorskip("gradbench.adapters.torch")

NARROW = ("float32", "float16", "bfloat16")


@pytest.fixture(scope="module")
def adapter():
    found = adapters.Torch()
    threads = torch.get_num_threads()
    found.open("cpu")
    yield found
    torch.use_deterministic_algorithms(mode=False)
    torch.set_num_threads(threads)


# Examples: for each primitive, arguments and statics. Entries lie in 0.2 ... 0.8 unless a domain asks for more, are all
# different, and are nowhere near a kink.


def array(*shape, low=0.2, high=0.8, seed=0):
    return np.random.default_rng([seed, *shape]).permutation(np.linspace(low, high, math.prod(shape))).reshape(shape)


X, M, S = array(2, 3), array(3, 3), array(3, 3, seed=1)
T, LONG = array(2, 3, 2), array(2, 3, 4)
SIGNED = array(2, 4, low=-2.3, high=2.7)
SPD = M @ M.T + np.eye(3)
STACK = np.stack([M, S]) + np.eye(3)
AXES = [
    {"axis": axis, "keepdims": keepdims}
    for axis, keepdims in ((None, False), (None, True), (1, False), (-1, True), ((1,), False), ((0, -1), True))
]
BOTH = [((X, array(2, 3, seed=1)), {}), ((X, array(3, seed=2)), {}), ((np.array(0.3), X), {})]

EXAMPLES = {
    "where": [((X > 0.5, X, np.array(0.3)), {})],
    "acosh": [((X + 1,), {})],
    "zeta": [((X + 1.5, X), {})],
    "gamma": [((SIGNED,), {})],
    "gammaln": [((SIGNED,), {})],
    "digamma": [((SIGNED,), {})],
    "power": [((X, array(2, 3, seed=1)), {}), ((X, 2), {}), ((X, 0.5), {}), ((2, X), {}), ((SIGNED, 3), {})],
    "subtract": [*BOTH, ((2, X), {}), ((X, 2), {})],
    "divide": [*BOTH, ((2, X), {}), ((X, 2), {})],
    "remainder": [((SIGNED, array(2, 4)), {}), ((SIGNED, 0.37), {})],
    "copysign": [((SIGNED, SIGNED[::-1].copy()), {}), ((SIGNED, np.array(-1.0)), {})],
    "clip": [((SIGNED,), {"min": low, "max": high}) for low, high in ((-1, 1.5), (None, 1.5), (-1, None), (None, None))],
    "leaky_relu": [((SIGNED,), {"negative_slope": 0.3})],
    "elu": [((SIGNED,), {"alpha": 1.5})],
    "celu": [((SIGNED,), {"alpha": 1.5})],
    "gelu": [((SIGNED,), {"approximate": kind}) for kind in ("none", "tanh")],
    "softmax": [((T,), {"axis": 1})],
    "log_softmax": [((T,), {"axis": -1})],
    "logical_and": [((X > 0.5, X > 0.3), {})],
    "logical_or": [((X > 0.5, X > 0.3), {})],
    "logical_not": [((X > 0.5,), {})],
    **{name: [((T,), axes) for axes in AXES] for name in ("sum", "mean", "prod", "max", "min", "logsumexp")},
    **{name: [((T,), {**axes, "correction": 1}) for axes in AXES] for name in ("var", "std")},
    "vector_norm": [((T,), {**axes, "ord": order}) for axes in AXES for order in (2, 1, 3, math.inf)],
    **{name: [((T,), {"axis": axis}) for axis in (0, -1)] for name in ("cumulative_sum", "cumulative_prod", "sort")},
    "flip": [((T,), {"axis": axis}) for axis in (None, -1, (0, 2))],
    "roll": [((T,), {"shift": s, "axis": a}) for s, a in (((2,), None), ((1,), 2), ((1,), (0, 2)), ((1, -2), (1, -1)))],
    "reshape": [((T,), {"shape": shape}) for shape in ((4, 3), (-1,))],
    "permute_dims": [((T,), {"axes": (2, 0, 1)})],
    "matrix_transpose": [((T,), {})],
    "expand_dims": [((T,), {"axis": axis}) for axis in (0, -1)],
    "squeeze": [((T[:1, :, :1],), {"axis": axis}) for axis in (0, -1, (0, 2))],
    "moveaxis": [((T,), {"source": (0, 1), "destination": (-1, 0)})],
    "broadcast_to": [((X,), {"shape": (2, 2, 3)})],
    "concat": [(([X, X[:1]],), {"axis": 0})],
    "stack": [(([X, X + 1],), {"axis": 1})],
    "tile": [((X,), {"repetitions": times}) for times in ((2,), (2, 1, 3))],
    "repeat": [((X,), {"repeats": 3, "axis": axis}) for axis in (0, -1)],
    "pad": [((X,), {"width": (1, 0, 2, 3), "value": 0.5}), ((np.array(0.5),), {"width": (), "value": 0})],
    "take": [((T, i), {"axis": 1}) for i in (np.array([0, -1, 0]), np.array([[1], [2]], np.uint8), np.array(2, np.int32))],
    "tril": [((X,), {"k": 0}), ((T,), {"k": -1})],
    "triu": [((X,), {"k": 0}), ((T,), {"k": 1})],
    "diagonal": [((T,), {})],
    "diag": [((X[0],), {})],
    "matmul": [((X, M), {}), ((X, M[0]), {}), ((T, array(2, 2)), {})],
    "vecdot": [((T, array(2, 3, 2, seed=1)), {"axis": -1}), ((X, M[0]), {"axis": -1})],
    "outer": [((X[0], array(4)), {})],
    "kron": [((X, M), {}), ((X[0], M[1]), {})],
    "cross": [((X, M[:2]), {}), ((X, M[0]), {})],
    "tensordot": [((T, array(3, 2, 2)), {"axes": 2}), ((X, M), {"axes": 1}), ((X, M), {"axes": 0})],
    "einsum": [((X, M), {"subscripts": "ij,jk->ki"}), ((T,), {"subscripts": "ijk->j"})],
    "trace": [((M,), {}), ((X,), {}), ((T,), {})],
    **{name: [((M + np.eye(3),), {}), ((STACK,), {})] for name in ("det", "inv", "slogdet", "expm")},
    "cholesky": [((SPD,), {}), ((np.stack([SPD, 2 * SPD]),), {})],
    "eigvalsh": [((SPD,), {}), ((np.stack([SPD, 2 * SPD]),), {})],
    "matrix_power": [((M + np.eye(3),), {"n": n}) for n in (3, 1, 0, -2)],
    "solve": [((M + np.eye(3), b), {}) for b in (X[0], array(3, 2), STACK)] + [((STACK, array(3, 2)), {})],
    "solve_triangular": [((M, b), {"lower": low}) for b in (X[0], array(3, 2)) for low in (True, False)],
    "matrix_norm": [((T,), {"keepdims": keepdims}) for keepdims in (False, True)],
    "svdvals": [((X,), {}), ((T,), {})],
    "getitem": [
        ((LONG,), {"index": index})
        for index in (
            (0,), (-1, slice(1, None)), (Ellipsis, 1), (slice(None), None, 2), (slice(None, None, -1),),
            (1, slice(None, None, -2), None, slice(2, 0, -1)), (None, Ellipsis, slice(None, None, -3)),
            (slice(None), slice(5, None, -1), slice(1, 3, -1)), (Ellipsis, 0, slice(None, None, -1)),
        )
    ],
}  # fmt: skip

# Signed entries suit every elementwise primitive without a domain.
UNARY = {
    name: [((SIGNED if not p.domain else X,), {})]
    for name, p in VOCABULARY.items()
    if p.shape == "elementwise" and name != "imag"  # which PyTorch has for complex numbers alone
}
BINARY = {name: BOTH for name, p in VOCABULARY.items() if p.shape in {"broadcast", "compare"}}
EXAMPLES = UNARY | BINARY | EXAMPLES
CALLS = [
    pytest.param(name, *call, id=f"{name}-{i}") for name, calls in EXAMPLES.items() for i, call in enumerate(calls)
]

UNDIFFERENTIATED = {"j0", "j1", "zeta", "gammainc"}
"""Bessel functions are constants to PyTorch; of the others it says that the derivative isn't implemented."""

SLOPES = [
    call for call in CALLS
    if call.values[0] not in UNDIFFERENTIATED and VOCABULARY[call.values[0]].shape not in {"compare", "logic"}
]  # fmt: skip

# What PyTorch 2.13 gets wrong itself, and by how much: its Bessel functions have half of their digits near 5, the slope
# of its hardsigmoid is 1/6 in single precision.
VALUE_RTOL = {"j0": 1e-10, "j1": 1e-10}
SLOPE_RTOL = {"hard_sigmoid": 1e-7}


def native(adapter, value, dtype="float64"):
    if isinstance(value, list):
        return [native(adapter, part, dtype) for part in value]
    if isinstance(value, np.ndarray):
        return adapter.asarray(value if value.dtype.kind in "biu" else value.astype(FORMATS[dtype]))
    return value


def parts(answer):
    return list(answer) if isinstance(answer, tuple) else [answer]


@functools.cache
def weights(shape):
    return array(*shape, low=0.5, high=1.5, seed=9)


def differentiable(arrays):
    """The arrays to differentiate by, and a way to put others in their place."""
    flat = arrays[0] if isinstance(arrays[0], list) else list(arrays)
    places = [i for i, a in enumerate(flat) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]

    def put(values):
        new = [*flat]
        for place, value in zip(places, values, strict=True):
            new[place] = value
        return [new] if isinstance(arrays[0], list) else new

    return [flat[i] for i in places], put


def slope(f, arrays):
    """The gradient of f by central differences of order 6, for each of the arrays."""
    step, rule = 2.0**-9, ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))
    answers = []
    for which, x in enumerate(arrays):
        answer = np.zeros(x.shape)
        for place in np.ndindex(x.shape):
            for k, weight in rule:
                for sign in (1, -1):
                    moved = x.copy()
                    moved[place] += sign * k * step
                    answer[place] += sign * weight * f([*arrays[:which], moved, *arrays[which + 1 :]]) / step
        answers.append(answer)
    return answers


def function(adapter, text, inputs, constants=None, dtype="float64"):
    constants = {name: adapter.asarray(a) for name, a in (constants or {}).items()}
    program = parse(text, (*inputs, *constants))
    return Function(program, lifted(adapter, FORMATS[dtype]), tuple(inputs), constants)


def point(adapter, **values):
    return {name: adapter.asarray(np.asarray(value, float)) for name, value in values.items()}


def numbers(adapter, answer):
    return {name: None if part is None else adapter.numpy(part).tolist() for name, part in answer.items()}


# Primitives


def test_every_word_of_the_vocabulary_is_spelled_and_has_an_example():
    assert set(adapters.OPS) == set(VOCABULARY) == set(EXAMPLES) | {"imag"}
    assert set(VOCABULARY) > adapters.COMPOSITE


@pytest.mark.parametrize(("name", "arrays", "statics"), CALLS)
def test_a_primitive_is_what_numpy_and_scipy_say(adapter, name, arrays, statics):
    found = parts(adapter.ops[name](*native(adapter, list(arrays)), **statics))
    right = parts(numeric.OPS[name](*arrays, **statics))
    for one, other in zip(map(adapter.numpy, found), right, strict=True):
        assert one.shape == np.shape(other)
        assert one.dtype == np.asarray(other).dtype
        np.testing.assert_allclose(one, other, rtol=VALUE_RTOL.get(name, 2e-13), atol=1e-15)


@pytest.mark.parametrize(("name", "arrays", "statics"), SLOPES)
def test_a_derivative_is_the_slope_of_what_numpy_and_scipy_say(adapter, name, arrays, statics):
    inputs, put = differentiable(arrays)

    def weighed(values):
        answer = parts(numeric.OPS[name](*put(values), **statics))[-1]
        return np.sum(answer * weights(np.shape(answer)))

    def f(*tensors):
        return parts(adapter.ops[name](*native(adapter, put(tensors)), **statics))[-1]

    x = {str(i): adapter.asarray(value) for i, value in enumerate(inputs)}
    w = adapter.asarray(weights(f(*x.values()).shape))
    found = [adapter.numpy(part) for part in adapter.vjp(f, x, w).values()]
    for one, right in zip(found, slope(weighed, inputs), strict=True):
        np.testing.assert_allclose(one, right, rtol=SLOPE_RTOL.get(name, 1e-8), atol=1e-9)

    # and backwards twice: <w, Jv> = <Jw, v>
    if name == "hard_sigmoid":
        return  # its slope has no derivative in PyTorch
    tangents = {key: adapter.asarray(weights(value.shape)) for key, value in x.items()}
    forward = (adapter.jvp(f, x, tangents) * w).sum().item()
    assert forward == pytest.approx(sum(np.sum(one * weights(one.shape)) for one in found), rel=1e-10, abs=1e-12)


def test_the_second_argument_of_gammainc_has_a_derivative_and_the_first_is_refused(adapter):
    x = point(adapter, b=0.7)
    found = adapter.gradient(function(adapter, "gammainc(a, b)", ["b"], {"a": np.array(0.6)}), x)
    assert found["b"].item() == pytest.approx(0.7**-0.4 * math.exp(-0.7) / math.gamma(0.6))
    with pytest.raises(Unsupported, match="not implemented"):
        adapter.gradient(function(adapter, "gammainc(a, b)", ["a", "b"]), point(adapter, a=0.6, b=0.7))


def test_a_remainder_of_a_plain_number_has_a_value_and_no_derivative(adapter):
    f, x = function(adapter, "2 % x", ["x"]), point(adapter, x=-0.7)
    assert adapter.value(f, x).item() == pytest.approx(2 % -0.7)
    with pytest.raises(Unsupported, match="remainder"):
        adapter.gradient(f, x)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_narrow_dtype_is_answered_in_that_dtype_or_refused(adapter, name):
    arrays, statics = EXAMPLES[name][0]
    inputs, put = differentiable(arrays)
    for dtype in NARROW:
        eps = float(ml_dtypes.finfo(FORMATS[dtype]).eps)
        x = {str(i): native(adapter, value, dtype) for i, value in enumerate(inputs)}
        rounded = put([adapter.numpy(value).astype(float) for value in x.values()])
        right = parts(numeric.OPS[name](*rounded, **statics))[-1]

        def f(*tensors, dtype=dtype):
            return parts(adapter.ops[name](*native(adapter, put(tensors), dtype), **statics))[-1]

        try:
            answer = adapter.numpy(adapter.value(f, x))
        except (Unsupported, *adapter.refusals):
            assert dtype != "float32"
            assert VOCABULARY[name].topic in {"special", "linear algebra"}
            continue
        if right.dtype == bool:
            np.testing.assert_array_equal(answer, right)
            continue
        assert answer.dtype == FORMATS[dtype]
        if name != "expm" or dtype == "float32":  # of a 16-bit matrix, PyTorch 2.13 answers inf and nan
            np.testing.assert_allclose(answer.astype(float), right, rtol=20 * eps, atol=20 * eps)
        if name not in UNDIFFERENTIATED:
            try:
                found = adapter.vjp(f, x, native(adapter, np.ones(right.shape), dtype))
            except (Unsupported, *adapter.refusals):
                assert VOCABULARY[name].topic == "special"
            else:
                assert all(adapter.numpy(part).dtype == FORMATS[dtype] for part in found.values())


ANALYTIC = """
    add multiply divide power negative square sqrt rsqrt reciprocal exp expm1 log log1p sin cos tan asin acos atan
    sinh cosh tanh asinh acosh atanh sinc expit mean sum prod cumulative_sum cumulative_prod matmul outer einsum
    det inv solve matrix_power expm trace take getitem pad where concat logaddexp log2 log10
"""


@pytest.mark.parametrize("name", ANALYTIC.split())
def test_an_analytic_primitive_takes_complex_numbers(adapter, name):
    arrays, statics = EXAMPLES[name][0]
    inputs, put = differentiable(arrays)
    z = [value * (1 + 0.2j) for value in inputs]

    def f(*tensors):
        return adapter.ops[name](*native(adapter, put(tensors)), **statics)

    x = {str(i): adapter.asarray(value) for i, value in enumerate(z)}
    answer = f(*x.values())
    assert answer.dtype == torch.complex128
    right = numeric.OPS[name](*put(z), **statics)
    np.testing.assert_allclose(adapter.numpy(answer), right, rtol=1e-12)

    # PyTorch answers with the conjugate: f(z + v) - f(z) = conj(gradient) v
    w = weights(right.shape)
    found = adapter.vjp(f, x, adapter.asarray(w.astype(complex)))
    for i, value in enumerate(z):
        step = np.ones(value.shape) * 2.0**-16
        up, down = (numeric.OPS[name](*put([*z[:i], value + s, *z[i + 1 :]]), **statics) for s in (step, -step))
        expected = np.sum(w * (up - down)) * 2**15
        assert adapter.numpy(found[str(i)]).conj().sum() == pytest.approx(expected, rel=1e-5)


def test_a_real_number_has_no_imaginary_part_in_pytorch(adapter):
    z = np.array([3 + 4j, -1j])
    assert adapter.numpy(adapter.ops["imag"](adapter.asarray(z))).tolist() == [4, -1]
    with pytest.raises(Unsupported, match="imag is not implemented"):
        adapter.value(function(adapter, "imag(x)", ["x"]), point(adapter, x=1.0))


def test_a_conjugate_that_pytorch_puts_off_is_resolved(adapter):
    z = np.array([3 + 4j, -1j])
    assert adapter.numpy(adapter.ops["conj"](adapter.asarray(z))).tolist() == [3 - 4j, 1j]
    assert adapter.numpy(adapter.ops["imag"](adapter.ops["conj"](adapter.asarray(z)))).tolist() == [-4, 1]


def test_the_sign_of_a_complex_number_is_its_direction(adapter):
    assert adapter.ops["sign"](adapter.asarray(np.array(3 + 4j))).item() == pytest.approx(0.6 + 0.8j)
    assert adapter.ops["sign"](adapter.asarray(np.array(-3.0))).item() == -1


def test_the_gamma_function_has_its_sign_below_zero(adapter):
    x = adapter.asarray(np.array([-2.5, -1.5, -0.5, 0.5, 3.0]))
    right = [math.gamma(v) for v in (-2.5, -1.5, -0.5, 0.5, 3.0)]
    np.testing.assert_allclose(adapter.numpy(adapter.ops["gamma"](x)), right, rtol=1e-14)


def test_the_cube_root_is_odd_and_zero_at_zero(adapter):
    x = adapter.asarray(np.array([-8.0, -0.0, 0.0, 27.0]))
    np.testing.assert_allclose(adapter.numpy(adapter.ops["cbrt"](x)), [-2, 0, 0, 3], rtol=1e-15)


def test_equal_entries_share_the_gradient_of_a_whole_maximum_and_one_has_it_along_an_axis(adapter):
    x = point(adapter, x=[1.0, 2.0, 2.0])
    assert numbers(adapter, adapter.gradient(function(adapter, "max(x)", ["x"]), x))["x"] == [0, 0.5, 0.5]
    assert sorted(numbers(adapter, adapter.gradient(function(adapter, "max(x, axis=0)", ["x"]), x))["x"]) == [0, 0, 1]
    shared = adapter.gradient(function(adapter, "max(x, axis=(0,))", ["x"]), x)
    assert numbers(adapter, shared)["x"] == [0, 0.5, 0.5]


# Arrays


@pytest.mark.parametrize("dtype", FORMATS)
def test_an_array_comes_back_bit_for_bit(adapter, dtype):
    kind = FORMATS[dtype].kind
    values = {"b": [True, False], "i": [-3, 7], "u": [3, 7]}.get(kind, [-0.0, math.nan, math.inf, 1 / 3, 1e-5])
    one = np.array(values, np.float64 if kind not in "biuc" else None).astype(FORMATS[dtype])
    for x in (one, one[:1].reshape(()), one[:0], np.tile(one, (3, 1)).T, one[::-1]):
        back = adapter.numpy(adapter.asarray(x))
        assert (back.dtype, back.shape, back.tobytes()) == (x.dtype, x.shape, x.tobytes())


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_an_array_that_cannot_be_written_is_copied(adapter, dtype):
    x = np.ones(3, FORMATS[dtype])
    x.setflags(write=False)
    tensor = adapter.asarray(x)
    tensor.fill_(2)
    assert x.astype(float).tolist() == [1, 1, 1]
    assert adapter.numpy(tensor).astype(float).tolist() == [2, 2, 2]


def test_the_other_byte_order_is_turned(adapter):
    assert adapter.asarray(np.array([1.5, 2.5], ">f8")).tolist() == [1.5, 2.5]


def test_a_tensor_with_a_graph_or_a_lazy_conjugate_becomes_an_array(adapter):
    z = torch.tensor([1 + 2j], requires_grad=True)
    assert adapter.numpy((z * 1).conj()).tolist() == [1 - 2j]


# Operators


def test_the_operators_of_a_polynomial(adapter):
    f = function(adapter, "a * a * b + 2 * b", ["a", "b"])
    x = point(adapter, a=3, b=5)
    tangents = point(adapter, a=1, b=10)
    assert adapter.value(f, x).item() == 55
    assert numbers(adapter, adapter.gradient(f, x)) == {"a": 30, "b": 11}
    assert numbers(adapter, adapter.vjp(f, x, torch.tensor(2.0, dtype=torch.float64))) == {"a": 60, "b": 22}
    assert adapter.jvp(f, x, tangents).item() == 140
    assert numbers(adapter, adapter.hvp(f, x, tangents)) == {"a": 70, "b": 6}
    assert numbers(adapter, adapter.hessian(f, x)) == {"a,a": 10, "a,b": 6, "b,a": 6, "b,b": 0}
    assert adapter.partial(f, x, {"a": 2, "b": 1}).item() == 2
    assert adapter.partial(f, x, {"b": 1, "a": 1}).item() == 6
    assert adapter.partial(f, x, {"a": 3}).item() == 0
    assert adapter.partial(f, x, {}).item() == 55


def test_a_jacobian_has_the_shape_of_the_output_and_then_of_the_input(adapter):
    f = function(adapter, "outer(a, b)", ["a", "b"])
    found = adapter.jacobian(f, point(adapter, a=[1, 2], b=[3, 4, 5]))
    assert [tuple(part.shape) for part in found.values()] == [(2, 3, 2), (2, 3, 3)]
    assert found["a"][1, 2].tolist() == [0, 5]
    assert found["b"][1].tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


def test_a_hessian_has_the_shapes_of_both_inputs(adapter):
    found = adapter.hessian(function(adapter, "sum(a) * sum(b * b)", ["a", "b"]), point(adapter, a=[1, 2], b=[3, 4, 5]))
    assert {key: tuple(part.shape) for key, part in found.items()} == {
        "a,a": (2, 2), "a,b": (2, 3), "b,a": (3, 2), "b,b": (3, 3),
    }  # fmt: skip
    assert found["b,a"][2].tolist() == [10, 10]


def test_a_partial_derivative_has_the_shape_of_the_output(adapter):
    f = function(adapter, "x ** 3 * exp(t * x)", ["x", "t"])
    found = adapter.partial(f, point(adapter, x=[1.0, 2.0], t=0.5), {"t": 4})
    np.testing.assert_allclose(adapter.numpy(found), [math.exp(0.5), 2**7 * math.e], rtol=1e-14)


def test_an_input_that_is_not_connected_is_none_to_grad_and_zero_to_the_functional_api(adapter):
    f, x = function(adapter, "a * a", ["a", "b"]), point(adapter, a=3, b=5)
    assert numbers(adapter, adapter.gradient(f, x)) == {"a": 6, "b": None}
    assert numbers(adapter, adapter.vjp(f, x, torch.tensor(1.0, dtype=torch.float64))) == {"a": 6, "b": None}
    assert numbers(adapter, adapter.jacobian(f, x)) == {"a": 6, "b": 0}
    assert adapter.partial(f, x, {"b": 2}).item() == 0


def test_inputs_and_constants_stay_as_they_were(adapter):
    f = function(adapter, "sum(sort(x) * c)", ["x"], {"c": np.array([1.0, 2.0])})
    x = point(adapter, x=[2.0, 1.0])
    adapter.gradient(f, x)
    adapter.hessian(f, x)
    assert not x["x"].requires_grad
    assert x["x"].grad is None
    assert x["x"].tolist() == [2, 1]
    assert f.constants["c"].tolist() == [1, 2]


def test_numbers_of_the_text_do_not_widen_the_dtype(adapter):
    text = "where(x > 1, 2 - x, 2 ** x) + maximum(x, 0.5) / 3 + 1 / x + x % 2 - hypot(1, x)"
    for dtype in ("float64", *NARROW):
        f = function(adapter, text, ["x"], dtype=dtype)
        x = {"x": adapter.asarray(np.array([0.75, 1.5], FORMATS[dtype]))}
        assert adapter.numpy(adapter.value(f, x)).dtype == FORMATS[dtype]
        assert adapter.numpy(adapter.jacobian(f, x)["x"]).dtype == FORMATS[dtype]


def test_a_gradient_of_a_vector_raises_what_pytorch_raises(adapter):
    with pytest.raises(RuntimeError, match="scalar outputs"):
        adapter.gradient(function(adapter, "2 * x", ["x"]), point(adapter, x=[1, 2]))


@pytest.mark.parametrize("operator", ["gradient", "jacobian", "hessian"])
def test_complex_outputs_and_integer_inputs_are_refused(adapter, operator):
    f = function(adapter, "x * x", ["x"])
    for x in (np.array(1 + 2j), np.array(3)):
        with pytest.raises(Unsupported, match=r"real scalar outputs|can require gradients"):
            getattr(adapter, operator)(f, {"x": adapter.asarray(x)})


def test_a_singular_matrix_is_an_error_and_no_refusal(adapter):
    with pytest.raises(torch.linalg.LinAlgError):
        adapter.value(function(adapter, "inv(x)", ["x"]), point(adapter, x=[[1, 1], [1, 1]]))


# Settings


def test_opening_reports_full_precision_and_one_thread_and_keeps_the_default_dtype(adapter, monkeypatch):
    before = torch.get_default_dtype()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    settings = adapters.Torch().open("cpu")
    assert settings["float32_matmul_precision"] == "highest"
    assert settings["deterministic_algorithms"] is True
    assert settings["threads"] == torch.get_num_threads() == 1
    assert settings["device_name"]
    assert torch.backends.cudnn.allow_tf32 is False
    assert torch.get_default_dtype() is before
    monkeypatch.setenv("GRADBENCH_THREADS", "2")
    assert adapters.Torch().open("cpu")["threads"] == 2


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceMissing, match=r"torch 2\S+ sees no 'cuda'; use 'cpu'"):
        adapters.Torch().open("cuda")


def test_the_versions_name_what_computes(adapter):
    versions = adapter.versions()
    assert versions["torch"] == torch.__version__
    assert all(isinstance(version, str) for version in versions.values())
