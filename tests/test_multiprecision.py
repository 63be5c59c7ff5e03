"""The vocabulary of many digits against the one of NumPy, and where it must do better."""

import math

import ml_dtypes
import numpy as np
import pytest

from gradbench.numeric import OPS
from gradbench.primitives import VOCABULARY
from gradbench.reference.many_digits.multiprecision import Vocabulary

RNG = np.random.default_rng(7)
X = RNG.uniform(0.2, 0.8, (2, 3))
Y = RNG.uniform(0.2, 0.8, (2, 3))
SQUARE = RNG.uniform(-1, 1, (2, 3, 3)) + 3 * np.eye(3)
V = X[0]
TRUTHS = X > 0.5

# One call of every primitive that needs other arguments than an array, or two, between 0 and 1.
CALLS = {
    "acosh": [((X + 1,), {})],
    "gammaln": [((X,), {}), ((X - 2,), {})],
    "digamma": [((X,), {}), ((X - 2,), {})],
    "gamma": [((X,), {}), ((X - 2,), {})],
    "cbrt": [((X,), {}), ((-X,), {})],
    "trunc": [((9 * X,), {}), ((-9 * X,), {})],
    "round": [((9 * X,), {}), ((np.array([0.5, 1.5, -2.5]),), {})],
    "clip": [((X,), {"min": 0.4, "max": 0.6}), ((X,), {"min": None, "max": 0.5}), ((X,), {"min": 0.5, "max": None})],
    "remainder": [((X, Y), {}), ((-X, Y), {}), ((X, -Y), {})],
    "power": [((X, Y), {}), ((-X, 3.0), {}), ((-X, -2), {}), ((2.0, X), {})],
    "zeta": [((X + 2, Y), {})],
    "erfinv": [((2 * X - 1,), {}), ((np.array([1e-300, 1 - 1e-16, -0.999, 1.0]),), {})],
    "ndtri": [((X,), {}), ((np.array([1e-300, 1e-20, 0.999, 0.0]),), {})],
    "log_ndtr": [((X,), {}), ((np.array([-200.0, 9.0]),), {})],
    "erfc": [((20 * X,), {})],
    "gelu": [((X,), {"approximate": "none"}), ((-X,), {"approximate": "tanh"})],
    "leaky_relu": [((X - 0.5,), {"negative_slope": 0.3})],
    "elu": [((X - 0.5,), {"alpha": 0.3})],
    "celu": [((X - 0.5,), {"alpha": 0.3})],
    "softmax": [((X,), {"axis": 0}), ((X,), {"axis": -1})],
    "log_softmax": [((X,), {"axis": 0})],
    "logical_and": [((TRUTHS, ~TRUTHS[0]), {})],
    "logical_or": [((TRUTHS, ~TRUTHS[0]), {})],
    "logical_not": [((TRUTHS,), {})],
    "where": [((TRUTHS, X, Y), {})],
    "vector_norm": [((X - 0.5,), {"axis": 0, "keepdims": True, "ord": p}) for p in (1, 2, 3, 0.5, math.inf, -math.inf)],
    "var": [((X,), {"axis": (0, 1), "correction": 1, "keepdims": False})],
    "cumulative_sum": [((X,), {"axis": -1})],
    "cumulative_prod": [((X,), {"axis": 0})],
    "sort": [((X,), {"axis": 0}), ((X,), {"axis": -1})],
    "flip": [((X,), {"axis": None}), ((X,), {"axis": 1})],
    "roll": [((X,), {"shift": (1,), "axis": None}), ((X,), {"shift": (1, 2), "axis": (0, 1)})],
    "reshape": [((X,), {"shape": (3, -1)})],
    "permute_dims": [((X,), {"axes": (1, 0)})],
    "expand_dims": [((X,), {"axis": -1})],
    "squeeze": [((X[:1],), {"axis": 0})],
    "moveaxis": [((SQUARE,), {"source": (0,), "destination": (2,)})],
    "broadcast_to": [((V,), {"shape": (4, 3)})],
    "concat": [(([X, Y],), {"axis": 1})],
    "stack": [(([X, Y],), {"axis": -1})],
    "tile": [((X,), {"repetitions": (2, 1, 2)})],
    "repeat": [((X,), {"repeats": 2, "axis": 1})],
    "pad": [((X,), {"width": (1, 0, 0, 2), "value": 0.25})],
    "take": [((X, np.array([[2, 0], [-1, 1]])), {"axis": 1})],
    "tril": [((SQUARE,), {"k": 1})],
    "triu": [((SQUARE,), {"k": 1})],
    "diagonal": [((X,), {})],
    "diag": [((V,), {})],
    "matmul": [((SQUARE, X.T), {}), ((V, SQUARE), {}), ((V, V), {}), ((X, V), {})],
    "vecdot": [((X, Y), {"axis": 0})],
    "outer": [((V, V), {})],
    "kron": [((X, Y), {}), ((V, V), {})],
    "tensordot": [((X, SQUARE[0]), {"axes": 1}), ((X, Y), {"axes": 2})],
    "einsum": [((X, SQUARE), {"subscripts": "ij,kjl->kil"}), ((SQUARE,), {"subscripts": "kii->k"})],
    "matrix_power": [((SQUARE,), {"n": n}) for n in (-3, 0, 1, 5)],
    "solve": [((SQUARE, X.T), {}), ((SQUARE[0], V), {})],
    "solve_triangular": [((SQUARE, X.T), {"lower": True}), ((SQUARE[0], V), {"lower": False})],
    "matrix_norm": [((SQUARE,), {"keepdims": True})],
    "svdvals": [((X,), {}), ((X.T,), {})],
    "cholesky": [((SQUARE @ SQUARE.mT,), {})],
    "getitem": [
        ((X,), {"index": (0, slice(None, None, -1))}),
        ((X,), {"index": (1, 2)}),
        ((X,), {"index": (..., None)}),
    ],
}
MATRICES = {"det", "inv", "expm", "eigvalsh", "slogdet", "trace", "matrix_transpose"}


def calls(name):
    if name in CALLS:
        return CALLS[name]
    if name in MATRICES:
        return [((SQUARE,), {})]
    statics = {p.name: p.default for p in VOCABULARY[name].parameters if p.is_static}
    return [((X, Y)[: len(VOCABULARY[name].parameters) - len(statics)], statics)]


def rounded(array):
    array = np.asarray(array)
    return array if array.dtype == bool else array.astype(float)


def test_it_has_every_primitive():
    assert set(VOCABULARY) <= set(Vocabulary(np.dtype(float)).ops)


@pytest.mark.parametrize("name", VOCABULARY)
def test_each_primitive_means_what_it_means_in_numpy(name):
    ops = Vocabulary(np.dtype(float)).ops
    for arrays, statics in calls(name):
        found, expected = ops[name](*arrays, **statics), OPS[name](*arrays, **statics)
        pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]
        for one, other in pairs:
            assert isinstance(one, np.ndarray)
            assert one.shape == np.shape(other)
            np.testing.assert_allclose(rounded(one), other, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    "name", ["exp", "sqrt", "log", "matmul", "inv", "abs", "vecdot", "sum", "cholesky", "eigvalsh"]
)
def test_complex_numbers_mean_what_they_mean_in_numpy(name):
    z = SQUARE[0] + 1j * SQUARE[1]
    z = z @ z.conj().T if name == "cholesky" else z
    ops = Vocabulary(np.dtype(complex), is_complex=True).ops
    arrays = (z, z) if name in {"matmul", "vecdot"} else (z,)
    found = ops[name](*arrays).astype(complex)
    np.testing.assert_allclose(found, OPS[name](*arrays), rtol=1e-11, atol=1e-14)


def test_the_inverse_of_erf_has_all_the_digits():
    vocabulary = Vocabulary(np.dtype(float))
    mp = vocabulary.context
    for dps in (60, 400):
        mp.dps = dps
        for p in ("1e-300", "0.3", "0.5", "0.9999999"):
            t = vocabulary.ops["ndtri"](mp.mpf(p))[()]
            assert abs(mp.ncdf(t) / mp.mpf(p) - 1) < mp.mpf(10) ** (8 - dps)
        x = mp.mpf("1e-40")
        assert abs(mp.erf(vocabulary.ops["erfinv"](x)[()]) / x - 1) < mp.mpf(10) ** (8 - dps)


def test_inputs_are_taken_bit_for_bit_and_numbers_of_the_text_are_rounded():
    vocabulary = Vocabulary(np.dtype(ml_dtypes.bfloat16))
    third = np.asarray(1 / 3, ml_dtypes.bfloat16)
    assert float(vocabulary.exact(third)[()]) == float(third)
    assert float(vocabulary.ops["multiply"](np.asarray(1.0), 1 / 3)[()]) == float(third)
    assert float(vocabulary.ops["leaky_relu"](np.asarray(-1.0), negative_slope=1 / 3)[()]) == -float(third)


def test_what_is_undefined_or_not_real_is_nan():
    ops = Vocabulary(np.dtype(float)).ops
    for name, x in [
        ("log", -1.0),
        ("gamma", -2.0),
        ("reciprocal", 0.0),
        ("asin", 2.0),
        ("erfinv", 1.5),
        ("j0", math.nan),
    ]:
        assert math.isnan(float(ops[name](np.asarray(x))[()])), name
    assert np.isnan(ops["inv"](np.ones((2, 2))).astype(float)).all()
    assert math.isnan(float(ops["divide"](np.asarray(1.0), 0)[()]))


def test_huge_numbers_neither_hang_nor_overflow():
    ops = Vocabulary(np.dtype(float)).ops
    tower = ops["exp"](ops["exp"](np.asarray(1000.0)))
    assert float(tower[()]) == math.inf
    assert float(ops["expit"](np.asarray(-1e300))[()]) == 0
    assert math.isnan(float(ops["sin"](ops["exp"](np.asarray(1e9)))[()]))
    assert float(ops["log"](ops["exp"](np.asarray(1e6)))[()]) == 1e6


def test_a_comparison_that_rests_on_rounding_is_doubtful():
    vocabulary = Vocabulary(np.dtype(float))
    ops = vocabulary.ops
    vocabulary.context.dps = 50
    root = ops["sqrt"](np.asarray(2.0))
    two = ops["multiply"](root, root)
    assert float(two[()]) == 2
    ops["round"](two)
    ops["less"](two, 2.25)
    ops["floor"](ops["multiply"](two, 0.75))
    ops["equal"](np.asarray(2.0), 2)
    assert not vocabulary.doubtful
    for call in (lambda: ops["floor"](two), lambda: ops["less"](two, 2), lambda: ops["remainder"](two, 1)):
        vocabulary.doubtful = False
        call()
        assert vocabulary.doubtful
