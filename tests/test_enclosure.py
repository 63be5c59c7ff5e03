"""The ball arithmetic against mpmath, against widened arguments, and at the places where enclosures are lost."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

flint = pytest.importorskip("flint")

from gradbench.primitives import VOCABULARY  # noqa: E402
from gradbench.reference.enclosure import OPS  # noqa: E402
from gradbench.reference.enclosure_array import ordered  # noqa: E402
from gradbench.reference.enclosure_linalg import eigenvalues  # noqa: E402
from gradbench.reference.lift import (  # noqa: E402
    FALSE,
    FALSE_EDGE,
    TRUE,
    TRUE_EDGE,
    UNKNOWN,
    blurred,
    lift,
    settled,
    truths,
)
from gradbench.reference.multiprecision import Vocabulary  # noqa: E402

arb = flint.arb
RNG = np.random.default_rng(7)
BITS = 120
DIGITS = 60


@pytest.fixture(autouse=True)
def _precision():
    with flint.ctx.workprec(BITS):
        yield


def drawn(*shape, low=-2.0, high=2.0):
    return RNG.uniform(low, high, shape)


POSITIVE = drawn(6, low=0.1, high=4.0)
ANY = np.array([-1e3, -40.0, -2.5, -1.5, -0.3, -1e-12, 0.0, 1e-300, 0.4, 0.5, 1.5, 2.5, 7.0, 45.0])
UNIT = np.array([-0.999999, -0.5, -1e-9, 0.0, 1e-3, 0.7, 0.999])
WITHIN = np.array([1e-9, 0.2, 0.5, 0.8, 1 - 1e-12])
NOT_WHOLE = np.array([-3.7, -0.2, 1e-3, 0.5, 1.0, 2.5, 30.0])
SQUARE = drawn(4, 4)
SYMMETRIC = SQUARE + SQUARE.T
DEFINITE = SQUARE @ SQUARE.T + np.eye(4)
CUBE = drawn(2, 3, 4)

DOMAIN = {
    "sqrt": POSITIVE, "rsqrt": POSITIVE, "log": POSITIVE, "log2": POSITIVE, "log10": POSITIVE, "reciprocal": NOT_WHOLE,
    "log1p": np.array([-0.999, -1e-9, 0.0, 3.0, 1e10]), "asin": UNIT, "acos": UNIT, "atanh": UNIT, "erfinv": UNIT,
    "acosh": np.array([1.0, 1.0000001, 3.0, 1e8]), "gamma": NOT_WHOLE, "gammaln": NOT_WHOLE, "digamma": NOT_WHOLE,
    "logit": WITHIN, "ndtri": WITHIN, "entr": np.array([0.0, 1e-5, 0.4, 3.0]), "tan": drawn(5),
}  # fmt: skip
PAIRS = {
    "divide": [(drawn(4), NOT_WHOLE[:4])],
    "power": [(POSITIVE, drawn(6)), (drawn(6), np.float64(3)), (drawn(6), np.float64(-2)), (np.zeros(2), np.array([0.0, 2.5]))],
    "remainder": [(drawn(6, low=-9, high=9), np.float64(0.75)), (np.float64(-7), np.array([2.0, -2.0, 3.5]))],
    "xlogy": [(np.array([0.0, 2.0, -1.0]), np.array([0.0, 0.3, 5.0]))],
    "xlog1py": [(np.array([0.0, 2.0, -1.0]), np.array([-1.0, -0.3, 5.0]))],
    "betaln": [(POSITIVE, POSITIVE[::-1])],
    "zeta": [(1 + POSITIVE, POSITIVE[::-1])],
    "gammainc": [(POSITIVE, POSITIVE[::-1]), (POSITIVE[:2], np.array([0.0, 30.0]))],
    "copysign": [(drawn(4), np.array([-1.0, 2.0, 3.0, -5.0]))],
    "atan2": [(np.array([0.0, 0.0, 1.0, -1.0, 2.0]), np.array([1.0, -1.0, 0.0, -2.0, 3.0]))],
    "hypot": [(np.array([0.0, 3.0, 1e-200]), np.array([0.0, -4.0, 1e-200]))],
}
ARRAYS = {
    "clip": [((ANY,), {"min": -1.0, "max": 2.0}), ((ANY,), {"min": None, "max": 0.5}), ((ANY,), {"min": 0.0, "max": None})],
    "leaky_relu": [((ANY,), {"negative_slope": 0.125})],
    "elu": [((ANY,), {"alpha": 1.5})],
    "celu": [((ANY,), {"alpha": 1.5})],
    "gelu": [((ANY,), {"approximate": "none"}), ((ANY,), {"approximate": "tanh"})],
    "where": [((ANY > 0, ANY, np.float64(3)), {})],
    "reshape": [((CUBE,), {"shape": (6, -1)})],
    "permute_dims": [((CUBE,), {"axes": (2, 0, 1)})],
    "matrix_transpose": [((CUBE,), {})],
    "expand_dims": [((CUBE,), {"axis": -2})],
    "squeeze": [((CUBE[:1],), {"axis": 0})],
    "moveaxis": [((CUBE,), {"source": (0,), "destination": (2,)})],
    "broadcast_to": [((CUBE[0, 0],), {"shape": (3, 4)})],
    "concat": [(([CUBE, CUBE[:1]],), {"axis": 0})],
    "stack": [(([CUBE, CUBE],), {"axis": -1})],
    "tile": [((CUBE[0],), {"repetitions": (2, 1, 3)})],
    "repeat": [((CUBE,), {"repeats": 2, "axis": 1})],
    "pad": [((CUBE[0],), {"width": (1, 0, 2, 3), "value": 0.5})],
    "take": [((CUBE, np.array([[0, 3], [-1, 1]])), {"axis": 2})],
    "tril": [((CUBE,), {"k": 0}), ((CUBE,), {"k": -1})],
    "triu": [((CUBE,), {"k": 1})],
    "diagonal": [((CUBE,), {})],
    "diag": [((CUBE[0, 0],), {})],
    "matmul": [((CUBE, CUBE[0].T), {}), ((CUBE[0, 0], CUBE[0, 0]), {}), ((CUBE, CUBE[0, 0]), {}), ((CUBE[0, :, 0], CUBE), {})],
    "vecdot": [((CUBE, CUBE[::-1]), {"axis": -1}), ((CUBE, CUBE[0]), {"axis": -2})],
    "outer": [((CUBE[0, 0], CUBE[0, :, 0]), {})],
    "kron": [((CUBE[0], CUBE[1]), {}), ((CUBE[0, 0], CUBE[0, 1]), {})],
    "cross": [((CUBE[..., :3], CUBE[0, 0, :3]), {})],
    "tensordot": [((CUBE, CUBE.transpose(1, 2, 0)), {"axes": 2}), ((CUBE, CUBE[0]), {"axes": 0})],
    "einsum": [
        ((CUBE, CUBE, SQUARE), {"subscripts": "abc,abd,cd->a"}),
        ((SQUARE,), {"subscripts": "ii->i"}),
        ((SQUARE, SQUARE), {"subscripts": "ii,jk->kj"}),
        ((SQUARE[0], SQUARE[1]), {"subscripts": "i,i->"}),
    ],
    "trace": [((CUBE,), {})],
    "det": [((SQUARE,), {}), ((np.stack([SQUARE, DEFINITE]),), {}), ((np.ones((4, 4)),), {})],
    "slogdet": [((SQUARE,), {}), ((np.stack([SQUARE, -DEFINITE[::-1]]),), {})],
    "inv": [((SQUARE,), {}), ((np.stack([SQUARE, DEFINITE]),), {})],
    "cholesky": [((DEFINITE,), {}), ((DEFINITE + np.triu(SQUARE, 1) / 9 - np.triu(SQUARE, 1).T / 9,), {})],
    "matrix_power": [((SQUARE,), {"n": n}) for n in (-3, 0, 1, 6)],
    "expm": [((SQUARE,), {})],
    "eigvalsh": [((SYMMETRIC,), {}), ((np.stack([SQUARE, np.diag([1.0, 2, 1, 2])]),), {})],
    "solve": [((SQUARE, drawn(4)), {}), ((np.stack([SQUARE, DEFINITE]), drawn(4, 3)), {})],
    "solve_triangular": [((SQUARE, drawn(4)), {"lower": True}), ((SQUARE, drawn(4, 2)), {"lower": False})],
    "matrix_norm": [((CUBE,), {"keepdims": True}), ((np.zeros((2, 2)),), {"keepdims": False})],
    "svdvals": [((CUBE,), {}), ((np.outer([1.0, 2], [3.0, 4, 5]),), {})],
    "getitem": [((CUBE,), {"index": (1, ..., None, slice(None, None, -1))}), ((CUBE,), {"index": (0, 1, 2)})],
    "sort": [((CUBE,), {"axis": 1})],
    "flip": [((CUBE,), {"axis": None}), ((CUBE,), {"axis": 1})],
    "roll": [((CUBE,), {"shift": (1, 2), "axis": (0, 2)}), ((CUBE,), {"shift": (5,), "axis": None})],
    "cumulative_sum": [((CUBE,), {"axis": 1})],
    "cumulative_prod": [((CUBE,), {"axis": -1})],
    "softmax": [((20 * CUBE,), {"axis": 1})],
    "log_softmax": [((20 * CUBE,), {"axis": 1})],
    "vector_norm": [((CUBE,), {"axis": (0, 2), "keepdims": False, "ord": p}) for p in (0, 1, 2, 3, 2.5, math.inf)],
    "var": [((CUBE,), {"axis": None, "correction": c, "keepdims": True}) for c in (0, 1, 0.5)],
    "std": [((CUBE,), {"axis": 1, "correction": c, "keepdims": False}) for c in (0, 1)],
}
for _name in ("sum", "mean", "prod", "max", "min", "logsumexp"):
    ARRAYS[_name] = [((CUBE,), {"axis": axis, "keepdims": keep}) for axis, keep in ((None, False), (1, True), ((0, -1), False))]


def samples(name):
    word = VOCABULARY[name]
    if name in ARRAYS:
        return ARRAYS[name]
    if name in PAIRS:
        return [(pair, {}) for pair in PAIRS[name]]
    count = len(word.parameters)
    return [((DOMAIN.get(name, ANY),) if count == 1 else (drawn(5), drawn(5)), {})]


def fraction(ball):
    """Midpoint and radius of a ball, exactly."""
    parts = []
    for part in (ball.mid(), ball.rad().upper()):
        mantissa, exponent = part.man_exp()
        parts.append(Fraction(int(mantissa)) * Fraction(2) ** int(exponent))
    return parts


def rational(number):
    sign, mantissa, exponent, bits = number._mpf_
    assert mantissa or not bits, f"{number} is not finite"
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** exponent


def assert_encloses(found, truth):
    found = np.asarray(found)
    truth = np.asarray(truth)
    assert found.shape == truth.shape
    for ball, number in zip(found.ravel(), truth.ravel(), strict=True):
        if isinstance(ball, arb):
            assert ball.is_finite(), f"{ball} for {number}"
            middle, radius = fraction(ball)
            true = rational(number)
            assert abs(true - middle) <= radius + abs(true) * Fraction(10) ** (15 - DIGITS) + Fraction(10) ** -380, f"{ball} {number}"
            assert radius <= abs(middle) * Fraction(2) ** -60 + Fraction(2) ** -80
        else:
            assert bool(ball >= TRUE_EDGE) == bool(number)


@pytest.fixture(scope="module")
def exact():
    vocabulary = Vocabulary(np.dtype(np.float64))
    vocabulary.context.dps = DIGITS
    return vocabulary.ops


def test_every_primitive_of_the_vocabulary_is_there():
    assert set(VOCABULARY) <= set(OPS)


@pytest.mark.parametrize("name", sorted(VOCABULARY))
def test_each_primitive_encloses_what_mpmath_finds(name, exact):
    for arrays, statics in samples(name):
        found = OPS[name](*([lift(a) for a in x] if isinstance(x, list) else x if x.dtype.kind in "bi" else lift(x) for x in arrays), **statics)
        truth = exact[name](*arrays, **statics)
        if isinstance(found, tuple):
            for one, other in zip(found, truth, strict=True):
                assert_encloses(one, other)
        else:
            assert_encloses(found, truth)
