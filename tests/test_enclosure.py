"""The ball arithmetic against mpmath, against widened arguments, and at the places where enclosures are lost."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

flint = pytest.importorskip("flint")

from gradbench.primitives import VOCABULARY  # noqa: E402
from gradbench.reference.balls.enclosure import OPS  # noqa: E402
from gradbench.reference.balls.enclosure_array import ordered  # noqa: E402
from gradbench.reference.balls.enclosure_internal import OPS as INTERNAL  # noqa: E402
from gradbench.reference.balls.enclosure_internal import sign  # noqa: E402
from gradbench.reference.balls.enclosure_linalg import eigenvalues  # noqa: E402
from gradbench.reference.balls.lift import (  # noqa: E402
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
from gradbench.reference.many_digits.multiprecision import Vocabulary  # noqa: E402
from gradbench.reference.reverse.internal_ops import INTERNAL_OPS  # noqa: E402

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
    "power": [
        (POSITIVE, drawn(6)),
        (drawn(6), np.float64(3)),
        (drawn(6), np.float64(-2)),
        (np.zeros(2), np.array([0.0, 2.5])),
    ],
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
    "clip": [
        ((ANY,), {"min": -1.0, "max": 2.0}),
        ((ANY,), {"min": None, "max": 0.5}),
        ((ANY,), {"min": 0.0, "max": None}),
    ],
    "leaky_relu": [((ANY,), {"negative_slope": 0.125})],
    "elu": [((ANY,), {"alpha": 1.5})],
    "celu": [((ANY,), {"alpha": 1.5})],
    "gelu": [((ANY[2:-1],), {"approximate": how}) for how in ("none", "tanh")],
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
    "matmul": [
        ((CUBE, CUBE[0].T), {}),
        ((CUBE[0, 0], CUBE[0, 0]), {}),
        ((CUBE, CUBE[0, 0]), {}),
        ((CUBE[0, :, 0], CUBE), {}),
    ],
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
    ARRAYS[_name] = [
        ((CUBE,), {"axis": axis, "keepdims": keep}) for axis, keep in ((None, False), (1, True), ((0, -1), False))
    ]


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
            assert abs(true - middle) <= radius + abs(true) * Fraction(10) ** (15 - DIGITS) + Fraction(10) ** -380, (
                f"{ball} {number}"
            )
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


@pytest.mark.parametrize("name", sorted(set(VOCABULARY) - {"selu"}))  # there its constants are decimals
def test_each_primitive_encloses_what_mpmath_finds(name, exact):
    for arrays, statics in samples(name):
        found = OPS[name](
            *([lift(a) for a in x] if isinstance(x, list) else x if x.dtype.kind in "bi" else lift(x) for x in arrays),
            **statics,
        )
        truth = exact[name](*arrays, **statics)
        if isinstance(found, tuple):
            for one, other in zip(found, truth, strict=True):
                assert_encloses(one, other)
        else:
            assert_encloses(found, truth)


POINTWISE = [
    "abs",
    "sign",
    "cbrt",
    "floor",
    "ceil",
    "trunc",
    "round",
    "relu",
    "relu6",
    "selu",
    "hard_swish",
    "softsign",
    "sinc",
]
POINTWISE += ["exp", "tanh", "expit", "softplus", "mish", "i0e", "i1e", "j0", "erf", "sin", "atan", "square"]


@pytest.mark.parametrize("name", POINTWISE)
def test_a_wide_ball_holds_the_values_of_all_its_points(name, exact):
    for centre, radius in ((0.0, 0.3), (0.5, 0.5), (-2.5, 0.75), (6.0, 0.01), (2.5, 1e-9), (-3.0, 2.0)):
        (found,) = OPS[name](np.array([arb(centre, radius)], object))
        points = np.array([centre + radius * s for s in (-0.99, -0.75, -0.5, -0.25, 0, 0.3, 0.5, 0.9, 0.99)])
        for truth in exact[name](points):
            middle, wide = fraction(found)
            assert abs(rational(truth) - middle) <= wide + Fraction(2) ** -70


def test_even_powers_of_a_ball_around_zero_are_not_negative():
    around = np.array([arb(0, 2)], object)
    for found in (OPS["square"](around)[0], OPS["power"](around, 2)[0], OPS["power"](around, 4)[0]):
        assert found.lower() >= 0
        assert found.contains(0)
        assert found.contains(4)
    assert OPS["power"](around, 3)[0].contains(-8)


def test_a_norm_of_a_ball_around_zero_is_finite():
    x = np.array([arb(0, 1), arb(0, 1)], object)
    assert OPS["vector_norm"](x)[()].contains(arb(2).sqrt())
    assert OPS["hypot"](x[0], x[1])[()].contains(0)
    assert OPS["std"](x)[()].is_finite()


def test_exact_numbers_stay_exact():
    assert OPS["sqrt"](lift(np.array(9.0)))[()] == 3
    assert OPS["log2"](lift(np.array(0.125)))[()] == -3
    assert OPS["exp2"](lift(np.array(10.0)))[()] == 1024
    assert OPS["det"](lift(np.arange(25.0).reshape(5, 5)))[()] == 0
    assert OPS["remainder"](lift(np.array(-7.5)), 2)[()] == 0.5


@pytest.mark.parametrize(("x", "nearest"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (0.49, 0), (7.0, 7)])
def test_half_is_rounded_to_even(x, nearest):
    assert OPS["round"](lift(np.array(x)))[()] == nearest


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool"])
def test_numbers_of_every_dtype_are_lifted_exactly(dtype):
    import ml_dtypes

    array = np.array([0, 1, 3, 0.1]).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    for ball, number in zip(lift(array), array, strict=True):
        assert ball.is_exact()
        assert float(ball) == float(number)


def test_negative_zero_is_zero():
    assert lift(np.array(-0.0))[()].is_zero()


def test_whole_numbers_beyond_float64_are_lifted_exactly():
    assert lift(np.array(2**62 + 1))[()] == 2**62 + 1


def test_comparisons_know_edges_and_doubt():
    x = np.array([arb(1), arb(2), arb(2), arb(2, 0.5)], object)
    y = np.array([arb(2), arb(1), arb(2), arb(2)], object)
    assert OPS["less"](x, y).tolist() == [TRUE, FALSE, FALSE_EDGE, UNKNOWN]
    assert OPS["greater_equal"](x, y).tolist() == [FALSE, TRUE, TRUE_EDGE, UNKNOWN]
    assert OPS["equal"](x, y).tolist() == [FALSE, FALSE, TRUE_EDGE, UNKNOWN]
    assert OPS["not_equal"](x, y).tolist() == [TRUE, TRUE, FALSE_EDGE, UNKNOWN]
    assert settled(OPS["less"](x, y)).tolist() == [TRUE, FALSE, FALSE, UNKNOWN]
    assert blurred(OPS["less"](x, y)).tolist() == [TRUE, FALSE, UNKNOWN, UNKNOWN]


def test_logic_of_doubt():
    doubt = np.full(2, UNKNOWN, np.int8)
    assert OPS["logical_and"](doubt, np.array([True, False])).tolist() == [UNKNOWN, FALSE]
    assert OPS["logical_or"](doubt, np.array([True, False])).tolist() == [TRUE, UNKNOWN]
    assert OPS["logical_not"](truths(np.array([True, False]))).tolist() == [FALSE, TRUE]


def test_an_unknown_condition_keeps_both_branches():
    found = OPS["where"](np.array([FALSE, UNKNOWN, TRUE], np.int8), lift(np.full(3, 1.0)), lift(np.full(3, 3.0)))
    assert found[0] == 3
    assert found[2] == 1
    assert found[1].contains(1)
    assert found[1].contains(3)


def test_the_branch_not_taken_does_no_harm():
    found = OPS["where"](np.array([True]), lift(np.array([2.0])), np.array([arb("nan")], object))
    assert found[0] == 2


def test_order_statistics_of_overlapping_balls_hold_every_choice():
    values = [arb(1, 0.5), arb(1.2, 0.5), arb(0.9, 0.01)]
    found = ordered(values)
    for a in (0.5, 1.0, 1.5):
        for b in (0.7, 1.2, 1.7):
            for ball, number in zip(found, sorted([a, b, 0.9]), strict=True):
                assert ball.contains(number)


@pytest.mark.parametrize("n", [4, 9])
def test_repeated_eigenvalues_are_enclosed(n):
    turn, _ = np.linalg.qr(RNG.standard_normal((n, n)))
    cases = [np.eye(n), np.ones((n, n)), np.diag([1.0] * (n // 2) + [2.0] * (n - n // 2)), np.zeros((n, n))]
    cases += [np.kron([[2.0, 1], [1, 2]], np.ones((2, 2))), turn @ np.diag([1.0] * 2 + [2.0] * (n - 2)) @ turn.T]
    for matrix in cases:
        found = eigenvalues(lift(matrix))
        for ball, number in zip(found, np.linalg.eigvalsh(matrix), strict=True):
            assert abs(float(ball) - number) < 1e-12 * n
            assert float(ball.rad()) < 1e-12


def test_two_clusters_of_eigenvalues_need_the_discs():
    matrix = np.kron(np.diag([1.0, 2.0]), np.eye(2))
    matrix = matrix + 2.0**-60 * np.ones((4, 4))
    for ball, number in zip(eigenvalues(lift(matrix)), [1, 1, 2, 2], strict=True):
        assert abs(float(ball) - number) < 1e-15
        assert ball.is_finite()


def test_a_singular_value_of_zero_is_enclosed_tightly():
    found = OPS["svdvals"](lift(np.outer([1.0, 2], [3.0, 4, 5])))
    assert found[1].contains(0)
    assert float(found[1].upper()) < 1e-30
    assert found[0].overlaps((arb(5) * 50).sqrt())


def test_a_matrix_that_has_no_inverse_gives_nan():
    found = OPS["inv"](lift(np.ones((3, 3))))
    assert not any(ball.is_finite() for ball in found.ravel())
    assert not OPS["cholesky"](lift(-np.eye(2)))[0, 0].is_finite()


def test_the_logarithm_of_a_negative_number_is_nan():
    for name, x in (("log", -1.0), ("sqrt", -1.0), ("acosh", 0.5), ("erfinv", 1.5), ("logit", 2.0), ("gamma", -3.0)):
        assert not OPS[name](lift(np.array(x)))[()].is_finite()
    assert not OPS["zeta"](lift(np.array(0.5)), lift(np.array(2.0)))[()].is_finite()
    assert not OPS["gammainc"](lift(np.array(2.0)), lift(np.array(-1.0)))[()].is_finite()


def test_functions_far_out_are_finite():
    for name, x, value in (
        ("expit", -1e300, 0),
        ("tanh", 1e300, 1),
        ("softplus", -1e300, 0),
        ("ndtr", 1e200, 1),
        ("erfc", 1e300, 0),
    ):
        assert OPS[name](lift(np.array(x)))[()].contains(value)


# The internal primitives


def test_index_primitives_are_those_of_numpy():
    x = drawn(2, 3, 4)
    at = np.array([[0, 2], [2, 1]])
    for name, arrays, statics in (
        ("put", (x[0, 1], ), {"index": (0, 1), "shape": (2, 3, 4)}),
        ("put", (np.array(2.5), ), {"index": (1,), "shape": (3,)}),
        ("scatter", (drawn(2, 2, 2, 4), at), {"axis": 1, "size": 3}),
        ("permute_like", (x, drawn(2, 3, 4)), {"axis": 1, "inverse": False}),
        ("permute_like", (x, drawn(2, 3, 4)), {"axis": -1, "inverse": True}),
        ("share", (x,), {"axis": (0, 2)}),
        ("pick", (x, np.array(2.0), x), {}),
        ("cofactor", (SQUARE,), {}),
        ("cofactor", (np.arange(9.0).reshape(3, 3),), {}),
        ("polygamma", (np.array([-3.5, 0.5, 4.0]),), {"n": 2}),
        ("bessel_j", (x,), {"n": 3}),
        ("bessel_i", (x,), {"n": 3, "scaled": True}),
        ("bessel_i", (x,), {"n": 2, "scaled": False}),
        ("spherical_j", (np.abs(x),), {"n": 2}),
        ("spherical_j", (np.zeros(1),), {"n": 0}),
    ):  # fmt: skip
        found = INTERNAL[name](*(a if a.dtype.kind == "i" else lift(a) for a in arrays), **statics)
        truth = INTERNAL_OPS[name](*arrays, **statics)
        np.testing.assert_allclose(found.astype(float), truth, rtol=1e-9, atol=1e-12)


def test_decompositions_are_those_of_their_definition():
    values, vectors = INTERNAL["eigh"](lift(SYMMETRIC))
    again = vectors @ np.diag(values.astype(float)) @ vectors.T
    np.testing.assert_allclose(again.astype(float), SYMMETRIC, atol=1e-12)
    np.testing.assert_allclose((vectors.T @ vectors).astype(float), np.eye(4), atol=1e-12)
    for shape in ((3, 4), (4, 3), (3, 3)):
        x = drawn(*shape)
        u, s, v = INTERNAL["svd"](lift(x))
        np.testing.assert_allclose((u * s @ v.T).astype(float), x, atol=1e-12)
        np.testing.assert_allclose(s.astype(float), np.linalg.svd(x, compute_uv=False), atol=1e-12)


def test_eigenvectors_of_a_repeated_eigenvalue_are_nan():
    _, vectors = INTERNAL["eigh"](lift(np.eye(3)))
    assert not any(ball.is_finite() for ball in vectors.ravel())


def holds(ball, *numbers):
    return all(ball.contains(number) for number in numbers)


def test_at_a_kink_a_choice_is_the_hull_of_both_sides():
    picked = INTERNAL["pick"](lift(np.array([-1.0, 0.0, 1.0])), lift(np.array(5.0)), lift(np.array(3.0)))
    assert picked[0] == 3
    assert picked[2] == 5
    assert holds(picked[1], 3, 4, 5)
    assert holds(sign(lift(np.array(0.0)))[()], -1, 0, 1)
    shares = INTERNAL["share"](lift(np.array([1.0, 4.0, 4.0])))
    assert shares[0] == 0
    assert holds(shares[1], 0, 0.5, 1)
    moved = INTERNAL["permute_like"](lift(np.array([10.0, 20.0, 30.0])), lift(np.array([2.0, 1.0, 2.0])))
    assert moved[0] == 20
    assert holds(moved[1], 10, 30)
    assert holds(moved[2], 10, 30)


def test_a_choice_that_the_balls_leave_open_is_the_hull_too():
    picked = INTERNAL["pick"](np.array([arb(0.1, 0.2)], object), lift(np.array(5.0)), lift(np.array(3.0)))
    assert holds(picked[0], 3, 5)
    moved = INTERNAL["permute_like"](lift(np.array([10.0, 20.0])), np.array([arb(1, 0.6), arb(2, 0.6)], object))
    assert holds(moved[0], 10, 20)


ELEMENTWISE = sorted(p.name for p in VOCABULARY.values() if p.shape in {"elementwise", "broadcast"})


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_never_hides(name):
    word = VOCABULARY[name]
    statics = {p.name: p.default for p in word.parameters if p.is_static}
    count = len(word.parameters) - len(statics)
    with np.errstate(all="ignore"):
        for place in range(count):
            arrays = [np.array([arb("nan") if i == place else arb(1.5)], object) for i in range(count)]
            assert not OPS[name](*arrays, **statics)[0].is_finite()
