"""The second certified rule set: coefficients against mpmath, kinks against the truth, faults where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

flint = pytest.importorskip("flint")

import mpmath  # noqa: E402
from mpmath import mp  # noqa: E402

from gradbench.errors import Unsupported  # noqa: E402
from gradbench.language import parse  # noqa: E402
from gradbench.primitives import VOCABULARY  # noqa: E402
from gradbench.reference.power_series import series  # noqa: E402
from gradbench.reference.power_series.series import Kink, Singular, Undecided, expand, taylor  # noqa: E402

BITS = 130
DIGITS = 40
WORKING = 60


@pytest.fixture(autouse=True)
def _precision():
    before = flint.ctx.prec
    flint.ctx.prec = BITS
    with mpmath.workdps(WORKING):
        yield
    flint.ctx.prec = before


def balls(array):
    return np.asarray(np.frompyfunc(flint.arb, 1, 1)(np.asarray(array)), object)


def asked(text, values, slopes, order, side=None, function=taylor, **more):
    """Inputs are the names in `slopes`; what is in `values` alone is a constant, as NumPy has it."""
    program = parse(text, tuple(values))
    x = {name: balls(v) if np.asarray(v).dtype.kind == "f" else np.asarray(v) for name, v in values.items()}
    v = {name: balls(np.asarray(s, float)) for name, s in slopes.items()}
    return function(program, x, v, order, side, **more)


def along(text, x, order=1, side=None, slope=1.0):
    """Coefficients of a function of one number, as floats."""
    return [float(c) for c in asked(text, {"x": float(x)}, {"x": slope}, order, side)]


def assert_encloses(found, truth, narrow=1e-24):
    """Each ball is narrow, and holds a number known to about DIGITS digits."""
    assert len(found) == len(truth)
    for k, (ball, number) in enumerate(zip(found, truth, strict=True)):
        exact = flint.arb(mp.nstr(number, DIGITS + 5))
        slack = flint.arb(0, 10.0 ** (6 - DIGITS) * (1 + abs(float(number))))
        assert (ball + slack).contains(exact), f"coefficient {k}: {ball} doesn't hold {number}"
        assert ball.rad() < narrow * (1 + abs(float(number))), f"coefficient {k}: {ball} is too wide"


def relu(x):
    return x if x > 0 else mp.mpf(0)


def ndtr(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def ndtri(p):
    return mp.sqrt(2) * mp.erfinv(2 * p - 1)


def expit(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x):
    return mp.log(1 + mp.exp(x))


def elu(x, alpha):
    return x if x > 0 else alpha * mp.expm1(x)


def clip(x, least, most):
    return min(max(x, least), most)


def log_gamma(x):
    return mp.log(abs(mp.gamma(x)))


UNARY = [
    ("abs(x)", abs, (0.75, -2.5)),
    ("-x", lambda x: -x, (0.75,)),
    ("sign(x)", mp.sign, (0.75, -2.5)),
    ("real(x) * conj(x)", lambda x: x * x, (0.75, -2.5)),
    ("imag(x)", lambda x: 0 * x, (0.75, -2.5)),
    ("angle(x)", mp.arg, (0.75, -2.5)),
    ("square(x)", lambda x: x * x, (0.75, 0.0)),
    ("sqrt(x)", mp.sqrt, (0.75, 2.0**-20)),
    ("rsqrt(x)", lambda x: 1 / mp.sqrt(x), (0.75, 40.0)),
    ("cbrt(x)", lambda x: mp.sign(x) * mp.cbrt(abs(x)), (0.75, -2.5)),
    ("reciprocal(x)", lambda x: 1 / x, (0.75, -2.5)),
    ("exp(x)", mp.exp, (0.75, -30.0)),
    ("exp2(x)", lambda x: mp.mpf(2) ** x, (0.75, -2.5)),
    ("expm1(x)", mp.expm1, (1e-9, -2.5)),
    ("log(x)", mp.log, (0.75, 1e9)),
    ("log2(x)", lambda x: mp.log(x) / mp.log(2), (0.75,)),
    ("log10(x)", lambda x: mp.log(x) / mp.log(10), (0.75,)),
    ("log1p(x)", mp.log1p, (1e-9, -0.75)),
    ("sin(x)", mp.sin, (0.75, 1000.0)),
    ("cos(x)", mp.cos, (0.75, 0.0)),
    ("tan(x)", mp.tan, (0.75, -2.5)),
    ("asin(x)", mp.asin, (0.75, -0.25)),
    ("acos(x)", mp.acos, (0.75, -0.25)),
    ("atan(x)", mp.atan, (0.75, -20.0)),
    ("sinh(x)", mp.sinh, (0.75, 0.0)),
    ("cosh(x)", mp.cosh, (0.75, 0.0)),
    ("tanh(x)", mp.tanh, (0.75, -9.0, 0.0)),
    ("asinh(x)", mp.asinh, (0.75, -2.5, 0.0)),
    ("acosh(x)", mp.acosh, (1.25, 20.0)),
    ("atanh(x)", mp.atanh, (0.75, -0.25)),
    ("floor(x)", mp.floor, (2.5, -2.5)),
    ("ceil(x)", mp.ceil, (2.5, -2.5)),
    ("trunc(x)", lambda x: mp.sign(x) * mp.floor(abs(x)), (2.5, -2.5, 0.0)),
    ("round(x)", lambda x: mp.floor(x + 0.5), (2.25, -2.75)),
    ("clip(x, -1, 2)", lambda x: clip(x, mp.mpf(-1), mp.mpf(2)), (0.75, -2.5, 3.0)),
    ("clip(x, max=2)", lambda x: min(x, mp.mpf(2)), (-7.0, 3.0)),
    ("sinc(x)", mp.sincpi, (0.75, -2.5, 3.0)),
    ("erf(x)", mp.erf, (0.75, -2.5)),
    ("erfc(x)", mp.erfc, (0.75, 6.0)),
    ("erfinv(x)", mp.erfinv, (0.75, -0.25)),
    ("gamma(x)", mp.gamma, (0.75, -2.5)),
    ("gammaln(x)", log_gamma, (0.75, -2.5, 30.0)),
    ("digamma(x)", mp.digamma, (0.75, -2.5, 30.0)),
    ("expit(x)", expit, (0.75, -30.0, 30.0)),
    ("logit(x)", lambda x: mp.log(x / (1 - x)), (0.75, 0.125)),
    ("ndtr(x)", ndtr, (0.75, -6.0)),
    ("log_ndtr(x)", lambda x: mp.log(ndtr(x)), (0.75, -6.0)),
    ("ndtri(x)", ndtri, (0.75, 0.0625)),
    ("entr(x)", lambda x: -x * mp.log(x), (0.75, 3.0)),
    ("j0(x)", mp.j0, (0.75, -2.5, 0.0)),
    ("j1(x)", mp.j1, (0.75, -2.5, 0.0)),
    ("i0(x)", lambda x: mp.besseli(0, x), (0.75, -2.5)),
    ("i1(x)", lambda x: mp.besseli(1, x), (0.75, 20.0)),
    ("i0e(x)", lambda x: mp.exp(-abs(x)) * mp.besseli(0, x), (0.75, -2.5, 50.0)),
    ("i1e(x)", lambda x: mp.exp(-abs(x)) * mp.besseli(1, x), (0.75, -2.5, 50.0)),
    ("relu(x)", relu, (0.75, -2.5)),
    ("relu6(x)", lambda x: clip(x, mp.mpf(0), mp.mpf(6)), (0.75, -2.5, 7.0)),
    ("leaky_relu(x, 0.125)", lambda x: x if x > 0 else x / 8, (0.75, -2.5)),
    ("elu(x, 1.5)", lambda x: elu(x, mp.mpf(1.5)), (0.75, -2.5)),
    (
        "selu(x)",
        lambda x: mp.mpf(1.0507009873554804934193349852946) * elu(x, mp.mpf(1.6732632423543772848170429916717)),
        (0.75, -2.5),
    ),
    ("celu(x, 1.5)", lambda x: elu(x / 1.5, mp.mpf(1)) * 1.5, (0.75, -2.5)),
    ("gelu(x)", lambda x: x * ndtr(x), (0.75, -2.5)),
    (
        "gelu(x, 'tanh')",
        lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
        (0.75, -2.5),
    ),
    ("silu(x)", lambda x: x * expit(x), (0.75, -2.5)),
    ("mish(x)", lambda x: x * mp.tanh(softplus(x)), (0.75, -2.5)),
    ("softplus(x)", softplus, (0.75, -25.0, 25.0, 0.0)),
    ("softsign(x)", lambda x: x / (1 + abs(x)), (0.75, -2.5)),
    ("log_sigmoid(x)", lambda x: -softplus(-x), (0.75, -2.5)),
    ("hard_tanh(x)", lambda x: clip(x, mp.mpf(-1), mp.mpf(1)), (0.75, -2.5)),
    ("hard_sigmoid(x)", lambda x: clip(x + 3, mp.mpf(0), mp.mpf(6)) / 6, (0.75, -4.0)),
    ("hard_swish(x)", lambda x: x * clip(x + 3, mp.mpf(0), mp.mpf(6)) / 6, (0.75, -4.0, 5.0)),
    ("x ** 3", lambda x: x**3, (0.75, -2.5, 0.0)),
    ("x ** -2", lambda x: x**-2, (0.75, -2.5)),
    ("x ** 2.5", lambda x: x ** mp.mpf(2.5), (0.75, 9.0)),
    ("3 ** x", lambda x: mp.mpf(3) ** x, (0.75, -2.5)),
    ("2 - x", lambda x: 2 - x, (0.75,)),
    ("2 / x", lambda x: 2 / x, (0.75,)),
]
BINARY = [
    ("x + y", lambda x, y: x + y, (0.75, -2.5)),
    ("x - y", lambda x, y: x - y, (0.75, -2.5)),
    ("x * y", lambda x, y: x * y, (0.75, -2.5)),
    ("x / y", lambda x, y: x / y, (0.75, -2.5)),
    ("x ** y", lambda x, y: x**y, (0.75, -2.5)),
    ("x ** y", lambda x, y: x**y, (2.5, 2.0)),
    ("x % y", lambda x, y: x - y * mp.floor(x / y), (7.25, 2.5)),
    ("x % y", lambda x, y: x - y * mp.floor(x / y), (7.25, -2.5)),
    ("maximum(x, y)", max, (0.75, -2.5)),
    ("minimum(x, y)", min, (0.75, -2.5)),
    ("atan2(x, y)", mp.atan2, (0.75, -2.5)),
    ("atan2(x, y)", mp.atan2, (-0.75, -2.5)),
    ("atan2(x, y)", mp.atan2, (-0.75, 2.5)),
    ("hypot(x, y)", mp.hypot, (0.75, -2.5)),
    ("hypot(x, y)", mp.hypot, (0.0, -2.5)),
    ("logaddexp(x, y)", lambda x, y: mp.log(mp.exp(x) + mp.exp(y)), (0.75, -2.5)),
    ("copysign(x, y)", lambda x, y: abs(x) * mp.sign(y), (0.75, -2.5)),
    ("xlogy(x, y)", lambda x, y: x * mp.log(y), (0.0, 2.5)),
    ("xlog1py(x, y)", lambda x, y: x * mp.log1p(y), (-0.75, 2.5)),
    ("betaln(x, y)", lambda x, y: mp.log(mp.beta(x, y)), (0.75, 2.5)),
    ("zeta(x, y)", mp.zeta, (3.5, 1.25)),
    ("gammainc(x, y)", lambda x, y: mp.gammainc(x, 0, y, regularized=True), (0.75, 2.5)),
    ("gammainc(x, y)", lambda x, y: mp.gammainc(x, 0, y, regularized=True), (4.0, 0.5)),
]
SLOPES = {"x": 0.75, "y": -0.5}


@pytest.mark.parametrize(("text", "function", "points"), UNARY, ids=[row[0] for row in UNARY])
def test_the_coefficients_of_a_function_of_one_number_enclose_those_of_mpmath(text, function, points):
    for x in points:
        truth = mpmath.taylor(lambda t, x=x: mp.mpf(function(x + t * SLOPES["x"])), 0, 4)
        assert_encloses(asked(text, {"x": x}, {"x": SLOPES["x"]}, 4), truth)


@pytest.mark.parametrize(("text", "function", "point"), BINARY, ids=[f"{row[0]} at {row[2]}" for row in BINARY])
def test_the_coefficients_of_a_function_of_two_numbers_enclose_those_of_mpmath(text, function, point):
    x, y = map(mp.mpf, point)
    truth = mpmath.taylor(lambda t: function(x + t * SLOPES["x"], y + t * SLOPES["y"]), 0, 4)
    assert_encloses(asked(text, dict(zip("xy", point, strict=True)), SLOPES, 4), truth)


@pytest.mark.parametrize("moving", ["x", "y"])
@pytest.mark.parametrize("text", ["gammainc(x, y)", "zeta(x, y)", "x ** y", "betaln(x, y)"])
def test_one_argument_may_stand_still(text, moving):
    functions = {row[0]: row[1] for row in BINARY}
    values = {"x": 2.5, "y": 1.75}
    slopes = {name: float(name == moving) for name in values}
    truth = mpmath.taylor(lambda t: functions[text](*(mp.mpf(values[n]) + t * slopes[n] for n in "xy")), 0, 2)
    assert_encloses(asked(text, values, {moving: 1.0}, 2), truth)


def test_arguments_beyond_every_exponent_are_no_obstacle():
    for text, limit in [
        ("expit(x)", [1, 0]), ("expit(-x)", [0, 0]), ("tanh(x)", [1, 0]), ("softplus(-x)", [0, 0]), ("silu(x)", [1e300, 1]),
        ("i0e(x)", [0, 0]), ("i1e(-x)", [0, 0]), ("logaddexp(x, -x)", [1e300, 1]), ("softmax(stack([x, -x]))[0]", [1, 0]),
        ("log_softmax(stack([-x, x]))[1]", [0, 0]), ("logsumexp(stack([-x, x]))", [1e300, 1]),
    ]:  # fmt: skip
        assert along(text, 1e300) == pytest.approx(limit, abs=1e-100), text


def test_ten_derivatives_agree_with_four():
    text = "tanh(x) * erf(x) + sinc(x)"
    ten, four = (asked(text, {"x": 0.7}, {"x": 1.3}, order) for order in (10, 4))
    assert ten.shape == (11,)
    assert all(a.overlaps(b) for a, b in zip(four, ten, strict=False))
    truth = mpmath.taylor(lambda t: mp.tanh(t) * mp.erf(t) + mp.sincpi(t), mp.mpf(0.7), 10)
    assert_encloses(ten, [c * mp.mpf(1.3) ** k for k, c in enumerate(truth)], narrow=1e-18)


def test_a_wide_ball_around_a_point_holds_the_coefficients_of_every_point_in_it():
    wide = {"x": np.asarray(flint.arb(0, 1e-3), object)}
    for text, function in [("sinc(x)", mp.sincpi), ("j0(x)", mp.j0), ("tanh(x)", mp.tanh), ("softplus(x)", softplus)]:
        found = taylor(parse(text, ("x",)), wide, {"x": balls(1.0)}, 3)
        for x in (-0.0009, 0.0, 0.0007):
            truth = mpmath.taylor(function, mp.mpf(x), 3)
            assert all(b.contains(flint.arb(float(c))) for b, c in zip(found, truth, strict=True)), text


def test_a_wrong_coefficient_is_caught(monkeypatch):
    right = series.OPS["sin"]

    def wrong(ring, x):
        return right(ring, x) + ring.smooth(lambda e: e * e * e * flint.arb(1e-20), x)

    monkeypatch.setattr(series, "OPS", {**series.OPS, "sin": wrong})
    with pytest.raises(AssertionError, match="coefficient 0"):
        test_the_coefficients_of_a_function_of_one_number_enclose_those_of_mpmath("sin(x)", mp.sin, (0.75,))
    with pytest.raises(AssertionError, match="coefficient 3"):
        test_the_coefficients_of_a_function_of_one_number_enclose_those_of_mpmath("sin(x)", mp.sin, (0.0,))


# Kinks

TWO_SIDED = [
    ("relu(x)", 0, (0, 1)),
    ("abs(x)", 0, (-1, 1)),
    ("maximum(x**2, x)", 1, (1, 2)),
    ("maximum(x**2, x)", 0, (0, 1)),
    ("relu(x) - relu(-x)", 0, (1, 1)),
    ("sqrt(x * x)", 0, (-1, 1)),
    ("minimum(x, 2*x)", 0, (2, 1)),
    ("clip(x, -1, 1)", 1, (1, 0)),
    ("clip(x, -1, 1)", -1, (0, 1)),
    ("relu6(x)", 6, (1, 0)),
    ("leaky_relu(x, 0.25)", 0, (0.25, 1)),
    ("elu(x, 0.5)", 0, (0.5, 1)),
    ("selu(x)", 0, (1.0507009873554805 * 1.6732632423543772, 1.0507009873554805)),
    ("hard_tanh(x)", 1, (1, 0)),
    ("hard_sigmoid(x)", -3, (0, 1 / 6)),
    ("hard_swish(x)", -3, (0, -0.5)),
    ("hard_swish(x)", 3, (1.5, 1)),
    ("i0e(x)", 0, (1, -1)),
    ("where(x > 0, 2*x, x)", 0, (1, 2)),
    ("where(logical_not(x > 0), 2*x, x)", 0, (2, 1)),
    ("hypot(x, x)", 0, (-math.sqrt(2), math.sqrt(2))),
    ("vector_norm(stack([x, 2*x]))", 0, (-math.sqrt(5), math.sqrt(5))),
    ("vector_norm(stack([x, 1 + x]), ord=1)", 0, (0, 2)),
    ("vector_norm(stack([1 + x, 1 - x]), ord=inf)", 0, (-1, 1)),
    ("std(stack([x, -x]))", 0, (-1, 1)),
    ("max(stack([x, -x, x * 0 - 1]))", 0, (-1, 1)),
    ("min(stack([x, -x]))", 0, (1, -1)),
    ("sort(stack([x, -x, x - 5]))[2]", 0, (-1, 1)),
    ("copysign(x, 1 + x)", 0, (-1, 1)),
    ("cumulative_sum(stack([abs(x), x]))[1]", 0, (0, 2)),
    ("sum(abs(stack([x, x - 1])))", 0, (-2, 0)),
]


@pytest.mark.parametrize(("text", "x", "slopes"), TWO_SIDED, ids=[f"{r[0]} at {r[1]}" for r in TWO_SIDED])
def test_a_kink_has_a_slope_on_either_side(text, x, slopes):
    left, right = slopes
    assert along(text, x, side=1)[1] == pytest.approx(right, abs=1e-15)
    assert along(text, x, side=-1)[1] == pytest.approx(left, abs=1e-15)
    with pytest.raises(Kink) as caught:
        along(text, x)
    assert caught.value.primitive in VOCABULARY
    assert caught.value.primitive in parse(text, ("x",)).primitives


SMOOTH = [
    ("abs(x * x)", 0, 2, [0, 0, 1]),
    ("abs(x ** 3)", 0, 2, [0, 0, 0]),
    ("relu(x * x)", 0, 2, [0, 0, 1]),
    ("maximum(x, x)", 0, 2, [0, 1, 0]),
    ("celu(x, 0.3)", 0, 1, [0, 1]),
    ("elu(x)", 0, 1, [0, 1]),
    ("softsign(x)", 0, 1, [0, 1]),
    ("i1e(x)", 0, 1, [0, 0.5]),
    ("sqrt(x ** 4)", 0, 2, [0, 0, 1]),
    ("cbrt(x ** 3)", 0, 2, [0, 1, 0]),
    ("vector_norm(stack([x, 1 + 0*x]), ord=3)", 0, 2, [1, 0, 0]),
    ("where(x > 0, x + 1, x + 1)", 0, 1, [1, 1]),
    ("where(x < 0, x ** 3, 0 * x)", 0, 2, [0, 0, 0]),
    ("max(stack([x, -x, 2 + x]))", 0, 1, [2, 1]),
    ("sort(stack([x, -x, x - 5]))[0]", 0, 1, [-5, 1]),
    ("0 * abs(x - x)", 0, 1, [0, 0]),
    ("hypot(x, 2)", 0, 1, [2, 0]),
    ("where(logical_and(x > 0, x > 5), 1, x)", 0, 1, [0, 1]),
    ("where(logical_or(x > 0, x < 5), x, 1)", 0, 1, [0, 1]),
]


@pytest.mark.parametrize(("text", "x", "order", "truth"), SMOOTH, ids=[row[0] for row in SMOOTH])
def test_what_is_smooth_at_a_zero_is_not_called_a_kink(text, x, order, truth):
    assert along(text, x, order) == pytest.approx(truth, abs=1e-15)


@pytest.mark.parametrize("text", ["celu(x, 0.3)", "elu(x)", "softsign(x)", "i1e(x)"])
def test_a_kink_in_the_second_derivative_is_one(text):
    with pytest.raises(Kink):
        along(text, 0, order=2)


JUMPS = [
    ("sign(x)", 0, (-1, 0, 1)),
    ("angle(x)", 0, (math.pi, 0, 0)),
    ("floor(x)", 2, (1, 2, 2)),
    ("ceil(x)", 2, (2, 2, 3)),
    ("trunc(x)", 2, (1, 2, 2)),
    ("trunc(x)", -2, (-2, -2, -1)),
    ("round(x)", 2.5, (2, 2, 3)),
    ("round(x)", 3.5, (3, 4, 4)),
    ("round(x)", -0.5, (-1, 0, 0)),
    ("x % 2", 6, (2, 0, 0)),
    ("x % (-2)", 6, (0, 0, -2)),
    ("copysign(3 + 0*x, x)", 0, (-3, None, 3)),
    ("atan2(x, x - 1)", 0, (-math.pi, math.pi, math.pi)),
    ("where(x == 0, 5, 7)", 0, (7, 5, 7)),
    ("where(x != 0, 5, 7)", 0, (5, 7, 5)),
    ("where(x < 0, 5, 7)", 0, (5, 7, 7)),
    ("where(x <= 0, 5, 7)", 0, (5, 5, 7)),
    ("where(x > 0, 5, 7)", 0, (7, 7, 5)),
    ("where(x >= 0, 5, 7)", 0, (7, 5, 5)),
]


@pytest.mark.parametrize(("text", "x", "values"), JUMPS, ids=[f"{row[0]} at {row[1]}" for row in JUMPS])
def test_a_step_has_a_value_on_either_side_and_one_of_its_own(text, x, values):
    left, here, right = values
    assert along(text, x, side=1)[0] == pytest.approx(right)
    assert along(text, x, side=-1)[0] == pytest.approx(left)
    with pytest.raises(Kink):
        along(text, x)
    if here is None:
        with pytest.raises(Undecided, match="sign of a zero"):
            along(text, x, order=0)
    else:
        assert along(text, x, order=0) == [pytest.approx(here)]


def test_where_two_arguments_vanish_the_angle_is_that_of_the_direction():
    assert along("atan2(x, x)", 0, side=1)[0] == pytest.approx(math.pi / 4)
    assert along("atan2(x, x)", 0, side=-1)[0] == pytest.approx(-3 * math.pi / 4)
    assert along("atan2(x, x)", 0, order=0) == [0]


def test_a_sign_that_balls_do_not_settle_is_undecided():
    for text in ("relu(log(exp(x)) - x)", "sqrt(log(exp(x)) - x)", "1 / (log(exp(x)) - x)", "floor(exp(log(x)))"):
        with pytest.raises(Undecided):
            along(text, 3)
        with pytest.raises(Undecided):
            along(text, 3, side=1)


SINGULAR = [
    ("sqrt(x)", 0), ("log(x)", 0), ("1 / x", 0), ("rsqrt(x)", 0), ("x ** -1", 0), ("x ** 0.5", 0), ("cbrt(x)", 0),
    ("log(x)", -1), ("sqrt(x)", -1), ("x ** 0.5", -1), ("asin(x)", 1), ("acos(x)", 1), ("acosh(x)", 1), ("atanh(x)", 1),
    ("log1p(x)", -1), ("gamma(x)", 0), ("gammaln(x)", -2), ("digamma(x)", -1), ("erfinv(x)", 1), ("ndtri(x)", 0),
    ("logit(x)", 1), ("entr(x)", 0), ("xlogy(x, x)", 0), ("reciprocal(x)", 0), ("x / x", 0), ("zeta(x, 2.0 + 0*x)", 1),
    ("x ** x", 0), ("gammainc(2.0 + 0*x, x)", 0), ("slogdet(diag(stack([x, 1 + x]))).logabsdet", 0),
    ("sum(inv(diag(stack([x, 1 + x]))))", 0), ("sum(cholesky(diag(stack([x, 1 + x]))))", 0),
    ("sum(solve(diag(stack([x, 1 + x])), stack([x, x])))", 0), ("var(stack([x, x]), correction=2)", 1),
    ("sum(solve_triangular(diag(stack([x, 1 + x])), stack([x, x])))", 0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "x"), SINGULAR, ids=[f"{row[0]} at {row[1]}" for row in SINGULAR])
@pytest.mark.parametrize("side", [None, 1])
def test_a_pole_or_an_edge_of_the_domain_is_singular(text, x, side):
    with pytest.raises(Singular) as caught:
        along(text, x, order=2, side=side)
    assert caught.value.primitive in VOCABULARY


def test_at_an_edge_the_value_is_still_there():
    edges = {"sqrt(x)": (0, 0), "asin(x)": (1, math.pi / 2), "acosh(x)": (1, 0), "cbrt(x)": (0, 0), "x ** 0.5": (0, 0)}
    for text, (x, value) in {**edges, "entr(x)": (0, 0), "xlogy(x, x)": (0, 0), "relu(x)": (0, 0)}.items():
        assert along(text, x, order=0) == [pytest.approx(value)], text


def test_a_power_above_one_has_a_slope_of_zero_on_its_side():
    assert along("x ** 1.5", 0, order=1, side=1) == [0, 0]
    with pytest.raises(Singular):
        along("x ** 1.5", 0, order=1)


def test_terms_that_a_root_takes_are_computed_again():
    assert along("sqrt(x ** 6 + x ** 8)", 0, order=5, side=1) == pytest.approx([0, 0, 0, 1, 0, 0.5])
    assert along("sqrt(sin(x) ** 2)", 0, order=3, side=1) == pytest.approx([0, 1, 0, -1 / 6])


# Faults belong to one component


def test_a_branch_that_is_not_taken_does_no_harm():
    assert along("where(x > 0, log(x), x)", -1) == [-1, 1]
    assert along("where(x < 0, 1 / (x - 2), x)", 2) == [2, 1]


def test_a_fault_stays_in_its_component():
    x = np.array([0.0, 4.0])
    found = asked("sqrt(x)", {"x": x}, {"x": [1, 1]}, 1, function=expand)
    assert isinstance(found[0].fault, Singular)
    assert found[1].fault is None
    assert float(found[1].terms[1]) == 0.25
    with pytest.raises(Singular):
        asked("sqrt(x)", {"x": x}, {"x": [1, 1]}, 1)
    found = asked("sort(stack([abs(x[0]), x[1], x[0] - x[0]]))", {"x": x}, {"x": [1, 1]}, 1, function=expand)
    assert all(isinstance(e.fault, Kink) for e in found)
    found = asked("sort(concat([x, -x]))", {"x": x}, {"x": [1, 1]}, 1, function=expand)
    assert [e.fault is None for e in found] == [True, False, False, True]
    product = asked("m @ diag(sqrt(x))", {"m": np.ones((2, 2)), "x": x}, {"x": [1, 1]}, 1, function=expand)
    assert [[e.fault is None for e in row] for row in product] == [[False, True], [False, True]]


def test_a_fault_that_is_multiplied_by_zero_stays_a_fault():
    with pytest.raises(Singular):
        along("0 * log(x)", 0)


# Numbers of the text, constants, flint's own state


def test_numbers_of_the_text_are_lifted():
    def narrow(number):
        return flint.arb(float(np.float32(number)))

    for text in (
        "0.1 * x",
        "x * broadcast_to(0.1, (1,))[0]",
        "leaky_relu(-x, 0.1) * (-1)",
        "clip(x, max=0.1) * x / x ** 0",
    ):
        assert asked(text, {"x": 1.0}, {"x": 1.0}, 0, lift=narrow)[0] == narrow(0.1), text
        assert asked(text, {"x": 1.0}, {"x": 1.0}, 0)[0] == flint.arb(0.1), text


def test_an_exponent_in_the_text_is_a_whole_number_whatever_the_dtype():
    found = asked("x ** 3", {"x": -2.0}, {"x": 1.0}, 3, lift=lambda number: flint.arb(number) + 1)
    assert [float(c) for c in found] == [-8, 12, -6, 1]


def test_constants_of_other_dtypes_stay_what_they_are():
    values = {"x": np.array([1.0, 2.0, 3.0]), "mask": np.array([True, False, True]), "label": np.array([2, 0])}
    found = asked("where(mask, take(x, label)[0] * x, label[0] + x)", values, {"x": [1, 0, 0]}, 1)
    assert [[float(c) for c in row] for row in found] == [[3, 4, 9], [3, 0, 0]]
    assert [float(c) for c in asked("sum(mask * x)", values, {"x": [1, 1, 1]}, 1)] == [4, 2]
    assert [float(c) for c in asked("sum(where(label == 2, x[0], 7.0))", values, {"x": [1, 1, 1]}, 1)] == [8, 1]


def test_arrays_of_floats_are_exact_and_complex_ones_are_refused():
    values = {"x": np.asarray(balls(2.0)), "w": np.array([0.1, 0.5], np.float32)}
    found = taylor(parse("sum(w * x)", ("x", "w")), values, {"x": balls(1.0)}, 1)
    assert found[1] == flint.arb(float(np.float32(0.1))) + 0.5
    for text, w in (("w * x", np.array(1j)), ("x * 1j", np.array(1.0))):
        with pytest.raises(Unsupported, match="complex"):
            taylor(parse(text, ("x", "w")), {**values, "w": w}, {"x": balls(1.0)}, 1)


def test_powers_of_a_ball_around_zero_hold_zero():
    ball = {"x": np.asarray(flint.arb(0, 0.5), object), "c": np.asarray(flint.arb(0, 0.5), object)}
    found = taylor(parse("x ** 2 + c ** 3 + c ** 2", ("x", "c")), ball, {"x": balls(1.0)}, 2)
    assert found[0].contains(0)
    assert found[0].contains(0.125 + 0.25 + 0.25)
    assert found[0].rad() < 1


def test_a_name_without_a_direction_stands_still():
    found = asked("x * y", {"x": 2.0, "y": 3.0}, {"x": 1.0}, 1)
    assert [float(c) for c in found] == [6, 3]


def test_the_settings_of_flint_are_left_as_they_were():
    before = flint.ctx.cap, flint.ctx.prec
    along("exp(x)", 1, order=30)
    with pytest.raises(Kink):
        along("abs(x)", 0, order=30)
    assert (flint.ctx.cap, flint.ctx.prec) == before
    assert len(along("exp(x)", 1, order=30)) == 31
    assert along("exp(x)", 0, order=30)[30] == pytest.approx(1 / math.factorial(30))


# Arrays

X = np.array([[0.75, -1.5, 2.25], [3.5, 0.5, -0.25]])
V = np.array([[1.0, 0.5, -2.0], [0.25, -1.0, 1.5]])
LINEAR = [
    ("sum(x)", np.sum), ("sum(x, axis=0, keepdims=True)", lambda x: x.sum(0, keepdims=True)),
    ("mean(x, axis=(0, 1))", np.mean), ("mean(x, axis=-1)", lambda x: x.mean(-1)),
    ("cumulative_sum(x)", lambda x: np.cumsum(x, -1)), ("flip(x)", np.flip), ("flip(x, axis=1)", lambda x: np.flip(x, 1)),
    ("roll(x, 1)", lambda x: np.roll(x, 1)), ("roll(x, (1, 2), (0, 1))", lambda x: np.roll(x, (1, 2), (0, 1))),
    ("reshape(x, (3, 2))", lambda x: x.reshape(3, 2)), ("reshape(x, -1)", np.ravel),
    ("permute_dims(x, (1, 0))", np.transpose), ("x.T", np.transpose),
    ("expand_dims(x, axis=1)", lambda x: x[:, None]), ("squeeze(expand_dims(x), axis=0)", lambda x: x),
    ("moveaxis(x, 0, 1)", np.transpose), ("broadcast_to(x, (2, 2, 3))", lambda x: np.broadcast_to(x, (2, 2, 3))),
    ("concat([x, 2 * x], axis=1)", lambda x: np.concatenate([x, 2 * x], 1)), ("stack([x, x], axis=2)", lambda x: np.stack([x, x], 2)),
    ("tile(x, (2, 1, 2))", lambda x: np.tile(x, (2, 1, 2))), ("repeat(x, 2, axis=1)", lambda x: np.repeat(x, 2, 1)),
    ("pad(x, (1, 0, 0, 2))", lambda x: np.pad(x, ((1, 0), (0, 2)))), ("take(x, i, axis=1)", lambda x: np.take(x, [2, 0, 2], 1)),
    ("tril(x, 1)", lambda x: np.tril(x, 1)), ("triu(x)", np.triu), ("diagonal(x)", np.diagonal), ("diag(x[0])", lambda x: np.diag(x[0])),
    ("trace(x)", np.trace), ("x[1:, ::-2]", lambda x: x[1:, ::-2]), ("x[..., None, -1]", lambda x: x[..., None, -1]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "function"), LINEAR, ids=[row[0] for row in LINEAR])
def test_a_linear_primitive_does_to_each_coefficient_what_numpy_does_to_an_array(text, function):
    found = asked(text, {"x": X, "i": np.array([2, 0, 2])}, {"x": V}, 2).astype(float)
    assert found[0].shape == np.shape(function(X))
    np.testing.assert_allclose(found[0], function(X), rtol=1e-15)
    np.testing.assert_allclose(found[1], function(V), rtol=1e-15)
    assert not np.any(found[2])


def test_padding_has_no_slope():
    found = asked("pad(x, (0, 0, 0, 1), 7)", {"x": X}, {"x": V}, 1).astype(float)
    assert found[0, 0, 3] == 7
    assert found[1, 0, 3] == 0


A = np.array([[2.0, 0.5, -1.0], [0.25, 3.0, 0.5], [-0.5, 1.0, 4.0]])
B = np.array([[1.0, -0.5, 0.25], [0.5, 2.0, -1.0], [0.75, 0.0, -0.5]])
BILINEAR = [
    ("a @ b", np.matmul), ("a[0] @ b", lambda a, b: a[0] @ b), ("a @ b[0]", lambda a, b: a @ b[0]),
    ("a[0] @ b[1]", lambda a, b: a[0] @ b[1]), ("stack([a, 2*a]) @ b", lambda a, b: np.stack([a, 2 * a]) @ b),
    ("vecdot(a, b, axis=0)", lambda a, b: (a * b).sum(0)), ("outer(a[0], b[1])", lambda a, b: np.outer(a[0], b[1])),
    ("kron(a, b)", np.kron), ("kron(a[0], b[0])", lambda a, b: np.kron(a[0], b[0])), ("cross(a, b)", np.cross),
    ("cross(a[0], b)", lambda a, b: np.cross(a[0], b)),
    ("tensordot(a, b)", lambda a, b: np.tensordot(a, b, 2)), ("tensordot(a, b, axes=1)", lambda a, b: np.tensordot(a, b, 1)),
    ("tensordot(a, b, axes=0)", lambda a, b: np.tensordot(a, b, 0)),
    ("einsum('ij,kj->ik', a, b)", lambda a, b: a @ b.T), ("einsum('ii,j...->j', a, b[0])", lambda a, b: np.trace(a) * b[0]),
    ("einsum('ij, ij', a, b)", lambda a, b: (a * b).sum()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "function"), BILINEAR, ids=[row[0] for row in BILINEAR])
def test_a_product_of_arrays_is_a_product_of_series(text, function):
    found = asked(text, {"a": A, "b": B}, {"a": B, "b": A}, 2).astype(float)
    truth = [function(A, B), function(A, A) + function(B, B), function(B, A)]
    for k in range(3):
        np.testing.assert_allclose(found[k], truth[k], atol=1e-14)


# Reductions and linear algebra, each entry weighted and summed


def weighted(found):
    weights = [0.5 + 0.25 * i for i in range(found[0].size)]
    return [sum((w * c for w, c in zip(weights, np.ravel(part), strict=True)), flint.arb(0)) for part in found]


def assert_follows(text, x, v, function, order=3):
    """`function` maps an mpmath matrix to a list of numbers: the entries of the answer."""

    def truth(t):
        rows = [[mp.mpf(a) + t * mp.mpf(b) for a, b in zip(*pair, strict=True)] for pair in zip(x, v, strict=True)]
        return sum((0.5 + 0.25 * i) * number for i, number in enumerate(function(mp.matrix(rows))))

    found = asked(text, {"x": np.array(x)}, {"x": np.array(v)}, order)
    narrow = found if found.ndim > 1 else found[:, None]
    assert_encloses(weighted([np.asarray(part, object) for part in narrow]), mpmath.taylor(truth, 0, order), 1e-18)


def entries(m):
    return [m[i, j] for i in range(m.rows) for j in range(m.cols)]


def lower(m):
    return mp.cholesky((m + m.T) / 2)


def row_wise(f):
    return lambda m: [number for i in range(m.rows) for number in f([m[i, j] for j in range(m.cols)])]


def variance(x, correction=0):
    mean = mp.fsum(x) / len(x)
    return mp.fsum([(a - mean) ** 2 for a in x]) / (len(x) - correction)


def softmax(x):
    powers = [mp.exp(a) for a in x]
    return [p / mp.fsum(powers) for p in powers]


def products(x):
    return [mp.fprod(x[: i + 1]) for i in range(len(x))]


def norm(x, p):
    return mp.fsum([abs(a) ** p for a in x]) ** (mp.mpf(1) / p)


WHOLE = [
    ("prod(x)", lambda m: [mp.fprod(entries(m))]),
    ("prod(x, axis=1)", row_wise(lambda r: [mp.fprod(r)])),
    ("cumulative_prod(x)", row_wise(products)),
    ("var(x)", lambda m: [variance(entries(m))]),
    ("var(x, axis=1, correction=1)", row_wise(lambda r: [variance(r, 1)])),
    ("std(x, axis=1)", row_wise(lambda r: [mp.sqrt(variance(r))])),
    ("logsumexp(x)", lambda m: [mp.log(mp.fsum(mp.exp(a) for a in entries(m)))]),
    ("softmax(x)", row_wise(softmax)),
    ("log_softmax(x)", row_wise(lambda r: [mp.log(p) for p in softmax(r)])),
    ("max(x, axis=1)", row_wise(lambda r: [max(r)])),
    ("min(x)", lambda m: [min(entries(m))]),
    ("sort(x)", row_wise(sorted)),
    ("vector_norm(x)", lambda m: [norm(entries(m), 2)]),
    ("vector_norm(x, axis=1, ord=1)", row_wise(lambda r: [norm(r, 1)])),
    ("vector_norm(x, axis=1, ord=3)", row_wise(lambda r: [norm(r, 3)])),
    ("vector_norm(x, ord=2.5)", lambda m: [norm(entries(m), mp.mpf(2.5))]),
    ("vector_norm(x, ord=inf)", lambda m: [max(abs(a) for a in entries(m))]),
    ("vector_norm(x, ord=-inf)", lambda m: [min(abs(a) for a in entries(m))]),
    ("matrix_norm(x)", lambda m: [norm(entries(m), 2)]),
]
SQUARE = [
    ("det(x)", lambda m: [mp.det(m)]),
    ("slogdet(x).sign", lambda m: [mp.sign(mp.det(m))]),
    ("slogdet(x).logabsdet", lambda m: [mp.log(abs(mp.det(m)))]),
    ("inv(x)", lambda m: entries(mp.inverse(m))),
    ("cholesky(x)", lambda m: entries(lower(m))),
    ("matrix_power(x, 3)", lambda m: entries(m * m * m)),
    ("matrix_power(x, -2)", lambda m: entries(mp.inverse(m * m))),
    ("matrix_power(x, 0)", lambda _: entries(mp.eye(3))),
    ("expm(x)", lambda m: entries(mp.expm(m))),
    ("solve(x, x[0])", lambda m: list(mp.lu_solve(m, m[0, :].T))),
    ("solve(x, x.T)", lambda m: entries(mp.inverse(m) * m.T)),
    ("solve_triangular(x, x[1])", lambda m: list(mp.lu_solve(triangle(m, lower=True), m[1, :].T))),
    ("solve_triangular(x, x, lower=False)", lambda m: entries(mp.inverse(triangle(m, lower=False)) * m)),
    ("eigvalsh(x)", lambda m: sorted(mp.eigsy((m + m.T) / 2, eigvals_only=True))),
    ("svdvals(x)", lambda m: sorted(mp.svd_r(m, compute_uv=False), reverse=True)),
]


def triangle(m, lower):
    return mp.matrix(3, 3) + mp.matrix(
        [[m[i, j] if (j <= i) == lower or i == j else 0 for j in range(3)] for i in range(3)]
    )


@pytest.mark.parametrize(("text", "function"), WHOLE, ids=[row[0] for row in WHOLE])
def test_a_reduction_follows_mpmath(text, function):
    assert_follows(text, X.tolist(), V.tolist(), function)


@pytest.mark.parametrize(("text", "function"), SQUARE, ids=[row[0] for row in SQUARE])
def test_a_function_of_a_matrix_follows_mpmath(text, function):
    assert_follows(text, A.tolist(), B.tolist(), function)


def test_singular_values_of_an_oblong_matrix_follow_mpmath():
    for x, v in ((X, V), (X.T, V.T)):
        assert_follows(
            "svdvals(x)", x.tolist(), v.tolist(), lambda m: sorted(mp.svd_r(m, compute_uv=False), reverse=True)
        )


def test_a_stack_of_matrices_is_taken_one_by_one():
    for text in ("inv(x)", "det(x)", "expm(x)", "eigvalsh(x)", "matrix_norm(x)", "trace(x)", "solve(x, x)"):
        both = asked(text, {"x": np.stack([A, B])}, {"x": np.stack([B, A])}, 1)
        for i, (a, b) in enumerate(((A, B), (B, A))):
            np.testing.assert_array_equal(both[:, i].astype(float), asked(text, {"x": a}, {"x": b}, 1).astype(float))


def test_a_singular_matrix_is_singular_even_if_elimination_rounds():
    x = np.array([[3.0, 6.0, 1.0], [1.0, 2.0, 5.0], [2.0, 4.0, 7.0]])
    for text in ("slogdet(x).logabsdet", "inv(x)", "solve(x, x)", "matrix_power(x, -1)", "cholesky(x @ x.T)"):
        with pytest.raises(Singular) as caught:
            asked(text, {"x": x}, {"x": A}, 1)
        assert caught.value.primitive == text.partition("(")[0]
    with pytest.raises(Singular):
        asked("cholesky(-x)", {"x": A}, {"x": A}, 1)


def test_the_determinant_of_a_singular_matrix_has_its_derivatives():
    ones, slope = np.ones((3, 3)), np.diag([1.0, 2.0, 4.0])
    found = asked("det(x)", {"x": ones}, {"x": slope}, 3)
    assert [float(c) for c in found] == [0, 0, 14, 8]
    assert [float(c) for c in asked("det(x)", {"x": np.zeros((2, 2))}, {"x": A[:2, :2]}, 2)] == [0, 0, 5.875]
    assert [float(c) for c in asked("det(x)", {"x": np.array([[0.0, 2.0], [3.0, 0.0]])}, {"x": np.eye(2)}, 2)] == [
        -6,
        0,
        1,
    ]


PARTING = [
    ("eigvalsh(x)", np.eye(3), np.diag([1.0, 2.0, 2.0]), [2, 2, 1], [1, 2, 2]),
    ("eigvalsh(x)", np.zeros((2, 2)), np.array([[0.0, 1.0], [1.0, 0.0]]), [1, -1], [-1, 1]),
    ("eigvalsh(x)", np.diag([1.0, 1.0, 5.0]), np.array([[0.0, 2, 0], [2, 0, 0], [0, 0, 7]]), [2, -2, 7], [-2, 2, 7]),
    ("svdvals(x)", np.eye(2), np.diag([3.0, -1.0]), [-1, 3], [3, -1]),
    ("svdvals(x)", np.array([[1.0, 0.0], [0.0, 0.0]]), np.eye(2), [1, -1], [1, 1]),
    ("svdvals(x)", np.zeros((2, 3)), np.array([[3.0, 0, 4], [0, 2, 0]]), [-5, -2], [5, 2]),
]


@pytest.mark.parametrize(("text", "x", "v", "left", "right"), PARTING, ids=range(len(PARTING)))
def test_values_that_meet_are_followed_on_both_sides(text, x, v, left, right):
    for side, slopes in ((1, right), (-1, left)):
        found = asked(text, {"x": x}, {"x": v}, 1, side).astype(float)
        np.testing.assert_allclose(found[1], slopes, atol=1e-15)
    with pytest.raises(Kink):
        asked(text, {"x": x}, {"x": v}, 1)


def test_values_that_stay_together_have_a_derivative():
    found = asked("eigvalsh(x)", {"x": np.eye(4)}, {"x": 3 * np.eye(4)}, 2).astype(float)
    np.testing.assert_array_equal(found, [[1] * 4, [3] * 4, [0] * 4])
    assert asked("eigvalsh(x)", {"x": np.eye(4)}, {"x": np.eye(4)}, 0).astype(float).tolist() == [[1] * 4]
    found = asked("sum(eigvalsh(c)) * x[0, 0]", {"x": np.eye(2), "c": np.eye(3)}, {"x": np.eye(2)}, 2)
    assert [float(c) for c in found] == [3, 3, 0]


def test_where_some_values_part_the_others_keep_their_derivatives():
    found = asked("eigvalsh(x)", {"x": np.diag([1.0, 1.0, 5.0])}, {"x": np.diag([1.0, 2.0, 3.0])}, 1, function=expand)
    assert [isinstance(e.fault, Kink) for e in found] == [True, True, False]
    assert float(found[2].terms[1]) == 3


def test_a_singular_system_of_inexact_numbers_is_undecided():
    with pytest.raises(Undecided):
        along("sum(inv(diag(stack([log(exp(x)) - x, x]))))", 1)
    with pytest.raises(Undecided):
        along("sum(eigvalsh(diag(stack([log(exp(x)), x]))))", 1)


def test_counting_has_no_expansion():
    with pytest.raises(Unsupported, match="ord=0"):
        along("vector_norm(stack([x, 1 + x]), ord=0)", 1)


def test_every_primitive_has_a_rule_and_a_test_here():
    assert set(series.OPS) == set(VOCABULARY)
    names = {"a", "b", "i", "x", "y"}
    rows = (UNARY, BINARY, LINEAR, BILINEAR, WHOLE, SQUARE, TWO_SIDED, SMOOTH, JUMPS)
    used = {primitive for table in rows for row in table for primitive in parse(row[0], sorted(names)).primitives}
    assert set(VOCABULARY) - used == set()
