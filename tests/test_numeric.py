"""`numeric`: every primitive against a definition of its own, written another way."""

import itertools
import math

import ml_dtypes
import mpmath
import numpy as np
import pytest

from gradbench import shapes
from gradbench.numeric import NARROW, OPS
from gradbench.primitives import VOCABULARY

mp = mpmath.mp.clone()
mp.dps = 40


def draw(*shape, low=0.1, high=0.9, seed=0):
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape)


def definite(n):
    a = draw(n, n)
    return a @ a.T + np.eye(n)


def either(condition, a, b):
    return a if condition else b


def relu6(x):
    return min(max(x, 0), 6)


def ndtr(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def softplus(x):
    return mp.log1p(mp.exp(x))


ELEMENTWISE = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": mp.power,
    "remainder": lambda a, b: a - b * mp.floor(a / b),
    "maximum": max,
    "minimum": min,
    "atan2": mp.atan2,
    "hypot": mp.hypot,
    "logaddexp": lambda a, b: mp.log(mp.exp(a) + mp.exp(b)),
    "copysign": lambda a, b: abs(a) * mp.sign(b),
    "xlogy": lambda a, b: a * mp.log(b),
    "xlog1py": lambda a, b: a * mp.log1p(b),
    "abs": abs,
    "negative": lambda x: -x,
    "sign": mp.sign,
    "square": lambda x: x * x,
    "sqrt": mp.sqrt,
    "rsqrt": lambda x: 1 / mp.sqrt(x),
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "reciprocal": lambda x: 1 / x,
    "exp": mp.exp,
    "exp2": lambda x: mp.power(2, x),
    "expm1": mp.expm1,
    "log": mp.log,
    "log2": lambda x: mp.log(x, 2),
    "log10": mp.log10,
    "log1p": mp.log1p,
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "asin": mp.asin,
    "acos": mp.acos,
    "atan": mp.atan,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "asinh": mp.asinh,
    "acosh": mp.acosh,
    "atanh": mp.atanh,
    "floor": mp.floor,
    "ceil": mp.ceil,
    "trunc": lambda x: mp.sign(x) * mp.floor(abs(x)),
    "round": mp.nint,
    "clip": lambda x: min(max(x, -0.5), 0.5),
    "sinc": mp.sincpi,
    "real": lambda x: x,
    "imag": lambda x: 0 * x,
    "conj": lambda x: x,
    "angle": mp.arg,
    "erf": mp.erf,
    "erfc": mp.erfc,
    "erfinv": mp.erfinv,
    "gamma": mp.gamma,
    "gammaln": lambda x: mp.log(abs(mp.gamma(x))),
    "digamma": mp.digamma,
    "expit": lambda x: 1 / (1 + mp.exp(-x)),
    "logit": lambda x: mp.log(x / (1 - x)),
    "ndtr": ndtr,
    "log_ndtr": lambda x: either(x < 0, mp.log(ndtr(x)), mp.log1p(-ndtr(-x))),
    "ndtri": lambda x: mp.sqrt(2) * mp.erfinv(2 * x - 1),
    "entr": lambda x: -x * mp.log(x),
    "j0": lambda x: mp.besselj(0, x),
    "j1": lambda x: mp.besselj(1, x),
    "i0": lambda x: mp.besseli(0, x),
    "i1": lambda x: mp.besseli(1, x),
    "i0e": lambda x: mp.exp(-abs(x)) * mp.besseli(0, x),
    "i1e": lambda x: mp.exp(-abs(x)) * mp.besseli(1, x),
    "betaln": lambda a, b: mp.log(mp.beta(a, b)),
    "zeta": mp.zeta,
    "gammainc": lambda a, x: mp.gammainc(a, 0, x, regularized=True),
    "relu": lambda x: max(x, 0),
    "relu6": relu6,
    "leaky_relu": lambda x: either(x > 0, x, x * 0.01),
    "elu": lambda x: either(x > 0, x, mp.expm1(x)),
    "selu": lambda x: 1.0507009873554805 * either(x > 0, x, 1.6732632423543772 * mp.expm1(x)),
    "celu": lambda x: either(x > 0, x, mp.expm1(x)),
    "gelu": lambda x: x * ndtr(x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "mish": lambda x: x * mp.tanh(softplus(x)),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + abs(x)),
    "log_sigmoid": lambda x: -softplus(-x),
    "hard_tanh": lambda x: min(max(x, -1), 1),
    "hard_sigmoid": lambda x: relu6(x + 3) / 6,
    "hard_swish": lambda x: x * relu6(x + 3) / 6,
}

WIDE = [-30.5, -6.25, -2.5, -1.0, -0.75, -1e-3, -1e-9, 1e-9, 0.3, 0.5, 1.5, 2.0, 4.75, 30.5]
POSITIVE = [1e-9, 1e-3, 0.3, 0.5, 1.0, 1.5, 2.5, 30.5]
UNIT = [1e-9, 1e-3, 0.3, 0.5, 0.75, 0.999]
GAMMA = [-6.25, -2.5, -0.75, -1e-3, 1e-9, 0.3, 1.5, 4.75, 30.5]
BOTH = [-0.999, -0.5, -1e-9, *UNIT]

DOMAIN = {
    **dict.fromkeys(("sqrt", "rsqrt", "log", "log2", "log10", "entr", "betaln", "gammainc"), POSITIVE),
    **dict.fromkeys(("asin", "acos", "atanh", "erfinv"), BOTH),
    **dict.fromkeys(("logit", "ndtri"), UNIT),
    "log1p": [-0.999, -1e-9, *POSITIVE],
    "acosh": [1.0, 1.001, 1.5, 30.5],
    "zeta": [1.25, 2.0, 2.5, 7.0],
    "power": POSITIVE,
    "xlogy": POSITIVE,
    "xlog1py": POSITIVE,
    **dict.fromkeys(("gamma", "gammaln", "digamma"), GAMMA),
    "sinc": [*WIDE, 1e5 + 1e-5, 0.0],
}
LOOSE = {"zeta": 1e-12, "betaln": 1e-12, "gammainc": 1e-12, "erfinv": 1e-13, "ndtri": 1e-13, "tan": 1e-14}
GIVEN = {"clip": {"min": -0.5, "max": 0.5}}
ABSOLUTE = {"gammaln": 1e-14, "j0": 1e-15, "j1": 1e-15, "digamma": 1e-14, "betaln": 1e-13, "logaddexp": 1e-15}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_elementwise_primitive_is_its_definition(name):
    arity = sum(not p.is_static for p in VOCABULARY[name].parameters)
    points = list(itertools.product(DOMAIN.get(name, WIDE), repeat=arity))
    arrays = [np.array(column) for column in zip(*points, strict=True)]
    found = OPS[name](*arrays, **GIVEN.get(name, {}))
    expected = np.array([float(mp.re(ELEMENTWISE[name](*map(mp.mpf, point)))) for point in points])
    # Cephes and Boost are good to some ulps; the tails must be right, so the comparison is relative.
    np.testing.assert_allclose(found, expected, rtol=LOOSE.get(name, 4e-15), atol=ABSOLUTE.get(name, 0))


def naive_softmax(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def minor_determinant(x):
    if len(x) == 1:
        return x[0, 0]
    return sum((-1) ** j * x[0, j] * minor_determinant(np.delete(x[1:], j, 1)) for j in range(len(x)))


def norm(x, p):
    return (np.abs(x) ** p).sum() ** (1 / p)


a, b, m, s = draw(2, 3), draw(2, 3, seed=1), draw(3, 3), definite(3)
v, w = draw(3), draw(3, seed=1)
odd = np.array([0.5, -1.5, 2.5])
yes, no = np.array([True, True, False]), np.array([True, False, False])
lower = np.tril(m) + np.eye(3)
_WRONG = m + 7 * np.triu(np.ones((3, 3)), 1)  # its upper triangle must not be read

CALLS = [
    ("softmax", (a,), {"axis": 0}, naive_softmax(a, 0)),
    ("softmax", (np.array([1000.0, 0.0]),), {}, [1.0, 0.0]),
    ("log_softmax", (a,), {}, np.log(naive_softmax(a))),
    ("log_softmax", (np.array([1000.0, 0.0]),), {}, [0.0, -1000.0]),
    ("less", (v, w), {}, [x < y for x, y in zip(v, w, strict=True)]),
    ("less_equal", (odd, np.array([0.5, 0, 0])), {}, [True, True, False]),
    ("greater", (odd, np.array([0.5, 0, 0])), {}, [False, False, True]),
    ("greater_equal", (odd, np.array([0.5, 0, 0])), {}, [True, False, True]),
    ("equal", (odd, np.array([0.5, 0, np.nan])), {}, [True, False, False]),
    ("not_equal", (odd, np.array([0.5, 0, np.nan])), {}, [False, True, True]),
    ("logical_and", (yes, no), {}, [True, False, False]),
    ("logical_or", (yes, no), {}, [True, True, False]),
    ("logical_not", (yes,), {}, [False, False, True]),
    ("where", (yes, v, np.float64(0)), {}, [v[0], v[1], 0]),
    ("sum", (a,), {"axis": 0, "keepdims": True}, [[a[0, j] + a[1, j] for j in range(3)]]),
    ("mean", (a,), {"axis": (0, 1)}, math.fsum(a.flat) / 6),
    ("prod", (a,), {"axis": 1}, [math.prod(row) for row in a]),
    ("max", (a,), {"axis": -1}, [max(row) for row in a]),
    ("min", (a,), {}, min(a.flat)),
    ("var", (a,), {"axis": 0, "correction": 1}, (a[0] - a[1]) ** 2 / 2),
    ("var", (v,), {}, (v**2).mean() - v.mean() ** 2),
    ("std", (v,), {}, np.sqrt((v**2).mean() - v.mean() ** 2)),
    ("logsumexp", (a,), {"axis": 1}, np.log(np.exp(a).sum(1))),
    ("logsumexp", (np.array([1000.0, 1000.0]),), {}, 1000 + np.log(2)),
    ("vector_norm", (odd,), {}, norm(odd, 2)),
    ("vector_norm", (odd,), {"ord": 1}, 4.5),
    ("vector_norm", (odd,), {"ord": math.inf}, 2.5),
    ("vector_norm", (odd,), {"ord": -math.inf}, 0.5),
    ("vector_norm", (odd,), {"ord": 3}, norm(odd, 3)),
    ("vector_norm", (np.array([3e-200, 4e-200]),), {}, 5e-200),
    ("vector_norm", (np.array([3e200, 4e200]),), {"keepdims": True}, [5e200]),
    ("vector_norm", (a,), {"axis": 1}, [norm(row, 2) for row in a]),
    ("cumulative_sum", (a,), {"axis": 1}, [[row[: j + 1].sum() for j in range(3)] for row in a]),
    ("cumulative_prod", (a,), {"axis": 0}, [a[0], a[0] * a[1]]),
    ("sort", (odd,), {}, [-1.5, 0.5, 2.5]),
    ("sort", (a,), {"axis": 0}, [np.minimum(*a), np.maximum(*a)]),
    ("flip", (a,), {}, a[::-1, ::-1]),
    ("flip", (a,), {"axis": (1,)}, a[:, ::-1]),
    ("roll", (v,), {"shift": (1,), "axis": 0}, [v[2], v[0], v[1]]),
    ("roll", (a,), {"shift": (1,)}, [[a[1, 2], a[0, 0], a[0, 1]], [a[0, 2], a[1, 0], a[1, 1]]]),
    ("roll", (a,), {"shift": (1, -1), "axis": (0, 1)}, [a[1, [1, 2, 0]], a[0, [1, 2, 0]]]),
    ("reshape", (a,), {"shape": (3, -1)}, [[a[0, 0], a[0, 1]], [a[0, 2], a[1, 0]], [a[1, 1], a[1, 2]]]),
    ("permute_dims", (a[None],), {"axes": (2, 0, 1)}, [[[a[0, j], a[1, j]]] for j in range(3)]),
    ("matrix_transpose", (np.stack([a, b]),), {}, [a.T, b.T]),
    ("expand_dims", (v,), {"axis": 1}, [[v[0]], [v[1]], [v[2]]]),
    ("squeeze", (v[None, :, None],), {"axis": (0, 2)}, v),
    ("moveaxis", (a[None],), {"source": (0,), "destination": (-1,)}, [[[x] for x in row] for row in a]),
    ("broadcast_to", (v,), {"shape": (2, 3)}, [v, v]),
    ("concat", ([v, w[:1]],), {}, [*v, w[0]]),
    ("stack", ([v, w],), {"axis": 1}, list(zip(v, w, strict=True))),
    ("tile", (v,), {"repetitions": (2, 1)}, [v, v]),
    ("repeat", (v,), {"repeats": 2}, [v[0], v[0], v[1], v[1], v[2], v[2]]),
    ("pad", (v,), {"width": (1, 2), "value": 7}, [7, *v, 7, 7]),
    ("take", (a, np.array([2, -1, 0])), {"axis": 1}, [[row[2], row[2], row[0]] for row in a]),
    ("tril", (m,), {"k": -1}, [[m[i, j] if j <= i - 1 else 0 for j in range(3)] for i in range(3)]),
    ("triu", (m,), {"k": 1}, [[m[i, j] if j >= i + 1 else 0 for j in range(3)] for i in range(3)]),
    ("diagonal", (a,), {}, [a[0, 0], a[1, 1]]),
    ("diag", (v,), {}, [[v[0], 0, 0], [0, v[1], 0], [0, 0, v[2]]]),
    ("matmul", (a, m), {}, [[sum(a[i, k] * m[k, j] for k in range(3)) for j in range(3)] for i in range(2)]),
    ("matmul", (v, w), {}, sum(v[i] * w[i] for i in range(3))),
    ("vecdot", (a, b), {}, [sum(a[i] * b[i]) for i in range(2)]),
    ("vecdot", (v + 1j * w, w + 0j), {}, sum((v - 1j * w) * w)),
    ("outer", (v, w), {}, [[x * y for y in w] for x in v]),
    ("kron", (a, m), {}, [[a[i // 3, j // 3] * m[i % 3, j % 3] for j in range(9)] for i in range(6)]),
    ("kron", (v, w[:2]), {}, [x * y for x in v for y in w[:2]]),
    ("cross", (v, w), {}, [v[i - 2] * w[i - 1] - v[i - 1] * w[i - 2] for i in range(3)]),
    ("tensordot", (a, m), {"axes": 1}, [[sum(a[i] * m[:, j]) for j in range(3)] for i in range(2)]),
    ("tensordot", (a, b), {}, sum(x * y for x, y in zip(a.flat, b.flat, strict=True))),
    ("einsum", (a, m, v), {"subscripts": "ij,jk,k->i"}, [sum(a[i, j] * m[j, k] * v[k] for j in range(3) for k in range(3)) for i in range(2)]),
    ("trace", (np.stack([m, s]),), {}, [m[0, 0] + m[1, 1] + m[2, 2], s[0, 0] + s[1, 1] + s[2, 2]]),
    ("det", (m,), {}, minor_determinant(m)),
    ("matrix_power", (m,), {"n": 3}, m @ (m @ m)),
    ("matrix_power", (m,), {"n": 0}, np.eye(3)),
    ("expm", (np.diag(v),), {}, np.diag([math.exp(x) for x in v])),
    ("expm", (np.array([[0, -1.0], [1, 0]]),), {}, [[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]]),
    ("eigvalsh", (np.array([[2.0, 5], [-1, 2]]),), {}, [0.0, 4.0]),
    ("matrix_norm", (a,), {}, norm(a, 2)),
    ("svdvals", (np.array([[3.0, 0], [4, 5]]),), {}, [math.sqrt(45), math.sqrt(5)]),
    ("getitem", (a,), {"index": (Ellipsis, slice(None, None, 2), None)}, [[[row[0]], [row[2]]] for row in a]),
]  # fmt: skip

INVERSES = [  # what undoes the primitive, and what must come back
    ("inv", (m,), {}, lambda y: m @ y, np.eye(3)),
    ("matrix_power", (m,), {"n": -2}, lambda y: m @ m @ y, np.eye(3)),
    ("cholesky", (s + np.array([[0, 1, 2], [-1, 0, 3], [-2, -3, 0]]),), {}, lambda y: y @ y.T, s),
    ("cholesky", (s,), {}, lambda y: np.triu(y, 1), np.zeros((3, 3))),
    ("solve", (m, v), {}, lambda y: m @ y, v),
    ("solve", (np.stack([m, s]), a.T), {}, lambda y: np.stack([m, s]) @ y, np.stack([a.T, a.T])),
    ("solve_triangular", (lower, v), {}, lambda y: lower @ y, v),
    ("solve_triangular", (lower.T, a.T), {"lower": False}, lambda y: lower.T @ y, a.T),
    ("solve_triangular", (_WRONG, v), {}, lambda y: np.tril(m) @ y, v),
    ("slogdet", (-m,), {}, lambda y: y[0] * np.exp(y[1]), minor_determinant(-m)),
]


@pytest.mark.parametrize(("name", "arrays", "statics", "expected"), CALLS)
def test_a_primitive_of_arrays_is_its_definition(name, arrays, statics, expected):
    found = OPS[name](*arrays, **statics)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
    assert np.shape(found) == np.shape(expected)


@pytest.mark.parametrize(("name", "arrays", "statics", "undo", "expected"), INVERSES)
def test_what_is_defined_by_an_equation_solves_it(name, arrays, statics, undo, expected):
    np.testing.assert_allclose(undo(OPS[name](*arrays, **statics)), expected, rtol=1e-12, atol=1e-13)


def test_every_primitive_has_an_entry_and_a_definition_here():
    assert OPS.keys() == VOCABULARY.keys()
    assert ELEMENTWISE.keys() | {name for name, *_ in [*CALLS, *INVERSES]} == VOCABULARY.keys()


def spec(value):
    if isinstance(value, list):
        return [spec(part) for part in value]
    kinds = {"b": "boolean", "i": "integer", "f": "real", "c": "complex"}
    return shapes.Spec(np.shape(value), kinds[value.dtype.kind])


@pytest.mark.parametrize(("name", "arrays", "statics"), [row[:3] for row in [*CALLS, *INVERSES]])
def test_shapes_and_kinds_are_those_that_were_inferred(name, arrays, statics):
    defaults = {p.name: p.default for p in VOCABULARY[name].parameters if p.is_static}
    inferred = shapes.apply(name, [spec(x) for x in arrays], {**defaults, **statics})
    found = OPS[name](*arrays, **statics)
    assert inferred == (tuple(map(spec, found)) if isinstance(found, tuple) else spec(np.asarray(found)))


SAME = [n for n, p in VOCABULARY.items() if p.shape in {"elementwise", "broadcast", "square", "reduce", "determinant"}]
FORMATS = [np.dtype(t) for t in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)]


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_a_dtype_is_kept_and_a_narrow_one_is_rounded_once(name, dtype):
    x = np.array([[1.5, 0.25], [0.25, 0.75]]).astype(dtype)
    y = np.array([[1.25, 0.5], [0.5, 2.0]]).astype(dtype)
    parameters = VOCABULARY[name].parameters
    arrays = [x, y][: sum(not p.is_static for p in parameters)]
    statics = {"n": 3} if name == "matrix_power" else {}
    if name in {"erfinv", "atanh", "asin", "acos", "logit", "ndtri", "entr"}:
        arrays = [x / 2]
    if name == "zeta":
        arrays = [x + 1, y]
    if name == "acosh":
        arrays = [x + 1]
    found = OPS[name](*arrays, **statics)
    assert found.dtype == dtype
    exact = OPS[name](*(array.astype(np.float64) for array in arrays), **statics)
    unit = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(
        found.astype(np.float64), exact, rtol=(0.51 if dtype in NARROW else 8) * unit, atol=unit * 1e-3
    )


@pytest.mark.parametrize("name", ["sin", "softplus", "cbrt", "sinc", "gelu", "j0", "gammaln", "expit", "logit", "entr"])
def test_a_function_continues_into_the_complex_plane(name):
    x = np.array([0.25, 0.75])
    real = OPS[name](x)
    along = OPS[name](x + 0j)
    assert along.dtype == np.complex128
    np.testing.assert_allclose(along.real, real, rtol=1e-13)
    # An analytic function's derivative is the same along the imaginary axis as along the real one.
    h = 1e-5
    np.testing.assert_allclose(
        OPS[name](x + 1j * h).imag / h, (OPS[name](x + h) - OPS[name](x - h)) / (2 * h), rtol=1e-8
    )


def test_outside_a_domain_there_is_nan_and_no_warning():
    for name in ("log", "sqrt", "acosh", "atanh", "log1p"):
        assert np.isnan(OPS[name](np.array([-3.0]))).all()
    assert OPS["divide"](np.array([1.0]), 0)[0] == np.inf
    assert np.isnan(OPS["var"](np.array([1.0]), correction=1))


def test_nan_is_not_lost_on_the_way():
    x = np.array([np.nan, 1.0])
    for name, primitive in VOCABULARY.items():
        if primitive.shape == "elementwise" and name not in {"logical_not", "imag"}:  # that of a real number is 0
            assert np.isnan(OPS[name](x)[0]), name
        if primitive.shape == "reduce":
            assert np.isnan(OPS[name](x)), name


def test_integers_have_negative_powers():
    np.testing.assert_array_equal(OPS["power"](np.array([2, 4]), -1), [0.5, 0.25])
