"""`reference/finite_difference.py`: derivatives from values alone, with bounds that hold and statuses that are right."""

import importlib.util
import math
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from gradbench.adapter import Reference
from gradbench.errors import BadOption, DeviceMissing, Unsupported
from gradbench.language import parse
from gradbench.query import Operator, Query
from gradbench.reference.differences import batch
from gradbench.reference.differences.ladder import EPS, SAFETY, extrapolate
from gradbench.reference.differences.slope import higher
from gradbench.reference.finite_difference import FiniteDifference, derivative, jacobian

SMOOTH = [  # f, x, f'(x), and how many digits there are to be had
    (np.sin, 1.0, math.cos(1), 11),
    (np.sin, 1e8, math.cos(1e8), 9),
    (np.exp, -1e-6, math.exp(-1e-6), 11),
    (np.exp, 300.0, math.exp(300), 9),
    (np.log, 1e-6, 1e6, 9),
    (np.log, 1e8, 1e-8, 10),
    (np.sqrt, 1e-300, 0.5e150, 2),
    (lambda x: x**1.5, 1e-6, 1.5e-3, 9),
    (np.tan, np.pi / 2 - 1e-6, 1 / math.cos(np.pi / 2 - 1e-6) ** 2, 8),
    (lambda x: np.maximum(x * x, x), 1.001, 2.002, 9),
    (lambda x: np.maximum(x * x, x), 0.999, 1.0, 9),
    (lambda x: 1 / x, -1e-7, -1e14, 9),
    (lambda x: (1 - np.cos(x)) / (x * x), 1e-2, -1e-2 / 12 + 1e-6 / 180 - 1e-10 / 6720, 5),
    (lambda x: 1e8 + np.sin(x), 0.5, math.cos(0.5), 5),
    (lambda x: np.maximum(x, 0), 1e-9, 1.0, 9),
    (lambda x: 1e-7 * np.sin(x), 1.0, 1e-7 * math.cos(1), 10),
    (lambda x: 2 * x, 1e300, 2.0, 12),
]


@pytest.mark.parametrize("ratio", [8, 4, 2])
@pytest.mark.parametrize(("f", "x", "exact", "digits"), SMOOTH)
def test_the_bound_covers_the_error_and_the_digits_are_there(f, x, exact, digits, ratio):
    found = derivative(f, x, ratio=ratio)
    assert found.status == "ok"
    assert abs(found.value - exact) <= found.bound + np.spacing(abs(exact))
    assert abs(found.value - exact) <= 10.0**-digits * abs(exact)
    assert found.left == found.right == found.value


@pytest.mark.parametrize(("ratio", "evaluations"), [(8, 80), (4, 92), (2, 126)])
def test_every_point_is_asked_for_in_one_call(ratio, evaluations):
    calls = []
    found = derivative(lambda x: (calls.append(len(x)), np.cosh(x))[1], 0.7, ratio=ratio)
    assert calls == [evaluations]
    assert found.evaluations == evaluations


def benchmark():
    path = Path(__file__).parent / "benchmarks" / "finite_difference.py"
    spec = importlib.util.spec_from_file_location("finite_difference_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["DESIGN", "HELD_OUT"])
def test_the_bound_covers_the_truth_on_functions_of_every_kind(name):
    module = benchmark()
    rows = module.measure(getattr(module, name), points=4, ratio=8, seed=7)
    assert np.mean([row.covered for row in rows]) >= 0.99
    assert np.mean([row.digits >= 8 for row in rows]) >= 0.93
    assert {(row.evaluations, row.calls) for row in rows} == {(80, 1)}


def test_among_many_components_few_agree_with_a_finer_quotient_by_chance():
    missed = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        w, x, v = rng.uniform(-0.1, 0.1, (500, 500)), rng.uniform(-1, 1, 500), rng.uniform(0.5, 1.5, 500)
        x[0] = 1e-5  # which makes the ladder long
        found = derivative(lambda p, w=w: np.tanh(p @ w.T), x, v)
        exact = (1 - np.tanh(w @ x) ** 2) * (w @ v)
        missed += (np.abs(found.value - exact) / found.bound).tolist()
    assert np.max(missed) < 2
    assert np.mean(np.array(missed) <= 1) > 0.9995


KINKS = [
    (np.abs, 0.0, -1, 1),
    (lambda x: np.abs(x - 1), 1.0, -1, 1),
    (lambda x: np.sqrt(x * x), 0.0, -1, 1),
    (lambda x: np.maximum(x, 0), 0.0, 0, 1),
    (lambda x: np.maximum(x * x, x), 1.0, 1, 2),
    (lambda x: np.exp(np.abs(x)), 0.0, -1, 1),
    (lambda x: np.clip(x, -1, 1), 1.0, 1, 0),
    (lambda x: np.where(x > 0, x, 2 * np.expm1(x)), 0.0, 2, 1),
    (lambda x: x * x + 1e-6 * np.abs(x), 0.0, -1e-6, 1e-6),
    (lambda x: 1 + 1e-6 * np.abs(x - 1), 1.0, -1e-6, 1e-6),
]


@pytest.mark.parametrize("ratio", [8, 2])
@pytest.mark.parametrize(("f", "x", "left", "right"), KINKS)
def test_a_kink_has_two_slopes_and_no_derivative(f, x, left, right, ratio):
    found = derivative(f, x, ratio=ratio)
    assert found.status == "kink"
    assert np.isnan(found.value)
    assert abs(found.left - left) <= found.bound < 1e-6
    assert abs(found.right - right) <= found.bound


NO_SLOPE = [
    (lambda x: np.sqrt(np.abs(x)), 0.0, {"hoelder"}),
    (np.cbrt, 0.0, {"hoelder"}),
    (lambda x: np.abs(x) ** 0.9, 0.0, {"hoelder"}),
    (lambda x: 1 + np.sqrt(np.abs(x - 1)), 1.0, {"hoelder"}),
    (np.sqrt, 0.0, {"hoelder", "singular"}),
    (np.arcsin, 1.0, {"hoelder", "singular"}),
    (lambda x: x * np.log(np.abs(np.where(x == 0, 1, x))), 0.0, {"singular"}),
    (np.log, 0.0, {"singular"}),
    (lambda x: 1 / x, 0.0, {"singular"}),
    (np.floor, 3.0, {"singular"}),
    (np.sign, 0.0, {"singular"}),
    (lambda x: x + 1e-3 * np.floor(x), 3.0, {"singular"}),
    (lambda x: x * np.nan, 1.0, {"singular"}),
    (lambda x: np.where(np.abs(x - 1) < 1e-30, 5.0, x), 1.0, {"singular"}),
]


@pytest.mark.parametrize("ratio", [8, 2])
@pytest.mark.parametrize(("f", "x", "statuses"), NO_SLOPE)
def test_where_there_is_no_slope_no_number_is_given(f, x, statuses, ratio):
    found = derivative(f, x, ratio=ratio)
    assert str(found.status) in statuses
    assert np.isnan(found.value)
    assert found.bound == np.inf or np.isfinite([found.left, found.right]).any()


def test_at_the_edge_of_a_domain_there_is_one_slope():
    found = derivative(lambda x: np.where(x >= 0, x * x + 3 * x, np.nan), 0.0)
    assert found.status == "singular"
    assert np.isnan(found.left)
    assert abs(found.right - 3) <= found.bound < 1e-8


@pytest.mark.parametrize("distance", [1e-9, 1e-5])
def test_close_to_the_edge_of_a_domain_steps_stay_inside(distance):
    x = 1 - distance
    found = derivative(lambda t: np.sqrt(1 - t), x)
    exact = -0.5 / math.sqrt(1 - x)
    assert found.status == "ok"
    assert abs(found.value - exact) <= found.bound <= 1e-3 * abs(exact)


def test_a_kink_closer_than_the_nearest_step_is_not_called_smooth():
    found = derivative(lambda x: np.abs(x - 1), 1 + 1e-12)
    assert found.status == "unresolved"


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: x * x, 0.0),
        (np.cos, 0.0),
        (lambda x: 0 * x + 3, 2.0),
        (lambda x: np.maximum(x, 0), -3.0),
        (lambda x: np.maximum(x, 0) ** 2, -1e-3),
        (lambda x: np.exp(-1e4 * x * x), 1.0),
        (lambda x: np.tanh(x) - np.tanh(40), 30.0),
    ],
)
def test_a_slope_of_zero_is_a_number_like_any_other(f, x):
    found = derivative(f, x)
    assert found.status == "ok"
    assert abs(found.value) <= found.bound < 1e-12
    assert found.bound > 0
    assert derivative(f, x, order=2).bound > 0


@pytest.mark.parametrize("term", [1.0, 1e3, -1e6, 1e10, 1e14, -1e16, 1e20, -1e20, 1e30, 1e60, 1e200])
@pytest.mark.parametrize("x", [1e-3, 0.7, -5.0])
def test_where_terms_cancel_a_slope_of_zero_is_not_claimed(term, x):
    found = derivative(lambda t: (term + t) - term, x)
    assert found.status != "ok" or abs(found.value - 1) <= found.bound
    assert not np.isfinite(found.value) or abs(found.value - 1) <= found.bound
    found = jacobian(lambda p: (term + p[:, 0]) - term + 0 * p[:, 1], np.array([x, 2.0]))
    assert found.status[0] != "ok" or abs(found.value[0] - 1) <= found.bound[0]
    if abs(term) >= 1e14:
        found = derivative(lambda t: (term + t * t) - term, x, order=2)
        assert found.status != "ok" or abs(found.value - 2) <= found.bound


@pytest.mark.parametrize(("f", "x"), [(np.floor, 2.5), (np.sign, 1.0), (lambda x: (2.0**52 + x) - 2.0**52, 2.3)])
def test_a_function_that_jumps_is_the_same_as_one_whose_terms_cancel(f, x):
    found = derivative(f, x)
    assert (found.value, found.status) == (0, "unresolved")
    assert found.bound >= 0.9
    assert "cancelled" in found.reason


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("kink", "power"), [(0.6, 3), (2.0, 3), (10.0, 3), (300.0, 1)])
def test_where_a_rectifier_stands_still_its_slope_is_0_in_one_call(kink, power, order):
    calls = []
    found = derivative(lambda x: (calls.append(len(x)), np.maximum(x - kink, 0) ** power)[1], 0.5, order=order)
    assert len(calls) == 1
    assert (found.value, found.status) == (0, "ok")
    assert 0 < found.bound < 1e-9


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (lambda x: (1e20 + np.exp(x)) - 1e20, np.exp),
        (lambda x: np.tanh((1e16 + x) - 1e16), lambda x: 1 / np.cosh(x) ** 2),
        (lambda x: np.maximum((1e18 + x) - 1e18, 0), np.ones_like),
        (lambda x: (1e20 + x**3) - 1e20, lambda x: 3 * x**2),
    ],
)
@pytest.mark.parametrize("x", [0.1, 0.7, 2.3])
def test_what_is_lost_in_terms_that_cancel_is_within_the_bound_whatever_is_made_of_it(f, slope, x):
    found = derivative(f, x)
    assert found.status == "unresolved"
    assert abs(found.value - slope(x)) <= found.bound


def test_a_function_that_begins_to_move_where_probes_are_alone_is_not_resolved():
    # Nothing tells this from terms that cancel, but for points between those where it is looked at.
    found = derivative(lambda x: np.maximum(x - 1e5, 0), 0.5)
    assert (found.value, found.status) == (0, "unresolved")


def test_far_away_a_function_need_not_be_defined():
    def f(x):
        if np.max(np.abs(x)) > 100:
            raise OverflowError("too far")
        return np.sin(x)

    for vectorized in (True, False):
        found = derivative(f, 1.0, vectorized=vectorized)
        assert (found.status, found.reason) == ("ok", "")
        assert abs(found.value - math.cos(1)) <= found.bound < 1e-9
    still = derivative(lambda x: 0 * f(x), 1.0)
    assert (still.value, still.status) == (0, "ok")
    lost = derivative(lambda x: ((1e16 + x) - 1e16) + 0 * f(x), 0.7)
    assert lost.status == "unresolved"
    assert lost.bound >= 1


@pytest.mark.parametrize(
    ("f", "x", "order", "exact"),
    [
        (lambda x: 1 / (x - 1), 1 - 4e-7, 2, -2 / 4e-7**3),
        (np.sin, -9884491.253366083, 2, -math.sin(-9884491.253366083)),
        (np.sin, 18905943.082299177, 3, -math.cos(18905943.082299177)),
        (np.sin, 18905943.082299177, 4, math.sin(18905943.082299177)),
        (lambda x: np.sin(1 / x), 0.01677871827083479, 4, 46215287447752.25),
        (lambda x: np.sin(1e9 * x), 1.0, 2, -1e18 * math.sin(1e9)),
    ],
)
def test_quotients_that_do_not_settle_by_their_finest_step_are_no_derivative(f, x, order, exact):
    found = derivative(f, x, order=order)
    assert found.status == "unresolved" or abs(found.value - exact) <= found.bound
    assert found.bound > 0
    assert np.isfinite(found.value) or found.bound == np.inf


@pytest.mark.parametrize("order", [2, 3])
def test_higher_derivatives_that_are_claimed_are_covered_on_functions_of_every_kind(order):
    module = benchmark()
    rows = [row for row in module.measure(module.DESIGN, 4, 8, 11, order=order) if row.status == "ok"]
    assert len(rows) > 0.85 * 4 * len(module.DESIGN)
    assert np.mean([row.covered for row in rows]) >= 0.99


def test_slow_convergence_is_not_mistaken_for_a_series():
    found = derivative(lambda x: x * np.sqrt(np.abs(x)), 0.0)
    assert abs(found.value) <= found.bound


def test_the_noise_of_single_precision_is_seen_and_paid_for():
    found = derivative(lambda x: np.sin(x.astype(np.float32)), 1.0)
    assert abs(found.value - math.cos(1)) <= found.bound
    assert 1e-8 < found.noise < 1e-6


def test_a_function_that_is_random_is_unresolved_and_told_so():
    rng = np.random.default_rng(0)
    found = derivative(lambda x: rng.normal(size=x.shape), 1.0)
    assert found.status == "unresolved"
    assert found.reason == "f isn't deterministic: it answers differently at the same point"


def test_a_function_that_raises_has_a_status_and_a_sentence():
    def f(_x):
        raise RuntimeError("no such thing")

    found = derivative(f, 1.0)
    assert found.status == "singular"
    assert np.isnan(found.value)
    assert found.reason == "f raised RuntimeError: no such thing"


def test_a_function_that_raises_on_one_side_still_has_the_other_slope():
    def f(x):
        if x < 0:
            raise ValueError("negative")
        return math.sqrt(x + 4)

    found = derivative(f, 0.0, vectorized=False)
    assert found.status == "singular"
    assert abs(found.right - 0.25) <= found.bound < 1e-9
    assert found.reason == "f raised ValueError: negative"


def test_a_function_that_changes_its_shape_has_a_status_and_a_sentence():
    found = derivative(lambda x: np.zeros(3 if x > 1 else 2), 1.0, vectorized=False)
    assert found.status == "singular"
    assert "changes its shape with the point: (2,), (3,)" in found.reason


def test_a_function_of_one_point_needs_no_batch():
    found = derivative(math.sin, 1.0, vectorized=False)
    assert abs(found.value - math.cos(1)) <= found.bound < 1e-9


def test_a_function_that_forgets_the_batch_is_asked_point_by_point():
    found = derivative(lambda x: np.sum(np.sin(x)), 1.0)
    assert abs(found.value - math.cos(1)) <= found.bound < 1e-9
    assert "to 34 points" in found.reason


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("x", [0.3, -2.0])
def test_higher_derivatives_have_bounds_too(order, x):
    found = derivative(lambda t: np.sin(2 * t), x, order=order)
    exact = 2**order * math.sin(2 * x + order * math.pi / 2)
    assert found.status == "ok"
    assert abs(found.value - exact) <= found.bound + 1e-15
    assert abs(found.value - exact) <= 10.0 ** (2 * order - 13) * abs(exact)


def test_a_second_derivative_that_jumps_is_a_kink():
    found = derivative(lambda x: x * np.abs(x), 0.0, order=2)
    assert found.status == "kink"
    assert (found.left, found.right) == (pytest.approx(-2), pytest.approx(2))


@pytest.mark.parametrize("f", [np.abs, lambda x: np.maximum(x, 0), lambda x: np.abs(x) ** 1.5])
@pytest.mark.parametrize("order", [2, 3])
def test_there_is_no_second_derivative_where_the_first_jumps_or_grows(f, order):
    found = derivative(f, 0.0, order=order)
    assert found.status == "singular"
    assert np.isnan(found.value)


def test_a_directional_derivative_is_of_the_shape_of_the_answer():
    x, v = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.3, -1.0], [0.0, 7.0]])
    found = derivative(lambda b: np.sum(b**3, axis=2), x, v)
    exact = np.sum(3 * x**2 * v, axis=1)
    assert found.value.shape == found.bound.shape == found.status.shape == (2,)
    assert (np.abs(found.value - exact) <= found.bound).all()
    assert (found.bound <= 1e-8 * np.abs(exact)).all()


def test_along_nothing_the_derivative_is_nothing():
    found = derivative(np.sum, np.ones(3), np.zeros(3), vectorized=False)
    assert (found.value, found.bound, found.status) == (0, 0, "ok")


def test_a_jacobian_has_the_shape_of_the_output_and_then_of_the_input():
    a = np.arange(6.0).reshape(2, 3) - 2
    x = np.array([0.3, -1.2, 2.0])
    found = jacobian(lambda b: np.tanh(b @ a.T), x)
    exact = (1 - np.tanh(a @ x) ** 2)[:, None] * a
    assert found.value.shape == (2, 3)
    assert (found.status == "ok").all()
    assert (np.abs(found.value - exact) <= found.bound + np.spacing(np.abs(exact))).all()
    assert (found.bound <= 1e-9).all()


def test_rows_of_a_table_do_not_share_their_memory():
    found = jacobian(lambda b: np.sum(b * b, axis=1), np.array([1.0, 2.0]))
    np.testing.assert_allclose(found.value, [2, 4], rtol=1e-9)
    assert (found.bound < 1e-9).all()


def test_partial_slopes_that_do_not_add_up_are_not_believed():
    # At a tie of a median every partial derivative is 0, and along the diagonal the slope is 1.
    found = jacobian(lambda b: np.median(b, axis=1), np.zeros(3))
    assert (found.status == "unresolved").all()


def test_a_kink_by_one_input_leaves_the_others_alone():
    found = jacobian(lambda b: np.abs(b[:, 0]) + b[:, 1] ** 2, np.array([0.0, 3.0]))
    assert list(found.status) == ["kink", "ok"]
    assert abs(found.value[1] - 6) <= found.bound[1]


@pytest.mark.parametrize(
    "options", [{"ratio": 3}, {"order": 5}, {"order": 0}, {"direction": [1.0]}, {"direction": np.nan}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(BadOption):
        derivative(np.sin, 1.0, **options)


# The ladder


STEPS = 4.0 ** -np.arange(8)


def limit(quotients, noise):
    with np.errstate(all="ignore"):
        return extrapolate(quotients, noise, STEPS[:, None], 2)


def test_a_quotient_that_agrees_through_its_noise_confirms_nothing():
    # Of 1 + t^2: at the second step noise makes it what it was at the first.
    quotients, noise = 1 + STEPS[:, None] ** 2, 1e-5 / STEPS[:, None] ** 10
    quotients[1] = 2
    value, bound = limit(quotients, noise)
    assert abs(value - 1) <= bound
    assert bound >= noise[1] / SAFETY


def test_the_finest_quotients_have_to_settle_unless_noise_explains_why_they_do_not():
    quotients = np.array([1.0] * 7 + [5.0])[:, None]
    value, bound = limit(quotients, np.full((8, 1), 1e-3))
    assert np.isnan(value)
    assert bound == np.inf
    value, bound = limit(quotients, 1e-3 / STEPS[:, None])
    assert abs(value - 1) <= bound < 0.1


def test_quotients_that_settle_on_something_else_were_no_noise():
    quotients, ones = np.array([1.0, 1.0] + [2.0] * 6)[:, None], np.ones((8, 1))
    found = higher(quotients, STEPS[:, None], 2, 4, ones, np.array([EPS]), np.array([1e-3]))
    assert abs(found.value - 2) <= found.bound


def test_the_noise_of_higher_derivatives_is_reckoned_with_as_that_of_slopes():
    found = higher(np.full((8, 1), 2.0), STEPS[:, None], 2, 4, np.ones((8, 1)), np.array([1e-12]))
    assert found.noise == SAFETY * 1e-12


# The reference


def query(function, operator, inputs, dtype="float64", constants=None, **more):
    arrays = {name: np.asarray(value, dtype) for name, value in inputs.items()}
    given = constants or {}
    found = Query("q", function, arrays, given, Operator(operator), dtype, **more)
    return found, parse(function, found.names)


def ask(*arguments, ratio=8, **more):
    return FiniteDifference(ratio).estimate(*query(*arguments, **more))


def check(found, key, exact, room=1e-8):
    """The answer lies within its radius of the truth, and the radius is worth something."""
    exact = np.asarray(exact)
    answer, radius = found.answer[key], found.margin[key]["radius"]
    assert answer.shape == radius.shape == found.status[key].shape == exact.shape
    assert (found.status[key] == "estimated").all()
    assert (np.abs(answer - exact) <= radius + np.spacing(np.abs(exact))).all()
    assert (radius <= room * np.max(np.abs(exact), initial=1e-3)).all()


X = np.array([0.3, -1.2, 2.0])
A = np.arange(6.0).reshape(2, 3) - 2


def test_it_is_a_reference():
    assert isinstance(FiniteDifference(), Reference)
    assert FiniteDifference().open("cpu")["device_name"] == "cpu"
    assert set(FiniteDifference().versions()) == {"numpy", "scipy"}
    with pytest.raises(DeviceMissing):
        FiniteDifference().open("cuda")


def test_a_value_has_the_noise_for_its_radius():
    found = ask("exp(x)", "value", {"x": X})
    check(found, "", np.exp(X), 1e-13)
    assert (found.margin[""]["radius"] > 0).all()
    noisy = ask("(1 - cos(x)) / x ** 2", "value", {"x": 1e-4})
    exact = 0.5 - 1e-8 / 24
    assert abs(noisy.answer[""] - exact) <= noisy.margin[""]["radius"] < 1e-6


def test_a_value_that_is_infinite_is_singular():
    found = ask("log(x)", "value", {"x": [0.0, 1.0]})
    assert list(found.status[""]) == ["singular", "estimated"]


def test_a_gradient_is_by_input():
    found = ask("sum(sin(x)) * y ** 3", "gradient", {"x": X, "y": 1.5})
    check(found, "x", np.cos(X) * 1.5**3)
    check(found, "y", np.sin(X).sum() * 3 * 1.5**2)
    assert found.notes["evaluations"] == 5 * 32 + 1
    assert found.notes["noise"] < 1e-14


def test_a_jvp_goes_along_the_tangents():
    v = np.array([1.0, 0.5, -2.0])
    found = ask("tanh(A @ x)", "jvp", {"x": X}, constants={"A": A}, tangents={"x": v})
    check(found, "", (1 - np.tanh(A @ X) ** 2) * (A @ v))


def test_a_vjp_weighs_the_output():
    w = np.array([0.0, -3.0])
    found = ask("tanh(A @ x)", "vjp", {"x": X}, constants={"A": A}, cotangent=w)
    check(found, "x", ((1 - np.tanh(A @ X) ** 2) * w) @ A)


def test_a_component_with_the_weight_0_is_not_looked_at():
    found = ask("log(x)", "vjp", {"x": [0.0, 2.0]}, cotangent=np.array([0.0, 1.0]))
    check(found, "x", np.array([0.0, 0.5]))


def test_a_jacobian_is_by_input_and_covers_every_output():
    found = ask("outer(x, y)", "jacobian", {"x": X, "y": [2.0, 0.5]})
    check(found, "x", np.einsum("ik,j->ijk", np.eye(3), [2.0, 0.5]))
    check(found, "y", np.einsum("i,jk->ijk", X, np.eye(2)))


def test_a_hessian_is_by_pairs_of_inputs():
    found = ask("sum(x ** 3) * exp(y)", "hessian", {"x": X, "y": 0.7})
    e = math.exp(0.7)
    check(found, "x,x", np.diag(6 * X) * e, 1e-7)
    check(found, "x,y", 3 * X**2 * e, 1e-7)
    check(found, "y,x", 3 * X**2 * e, 1e-7)
    check(found, "y,y", np.array((X**3).sum() * e), 1e-7)


def test_an_hvp_is_the_hessian_times_the_tangents():
    v = np.array([1.0, 0.5, -2.0])
    found = ask("sum(sin(x)) * sum(x ** 2)", "hvp", {"x": X}, tangents={"x": v})
    s, c, q = np.sin(X), np.cos(X), X @ X
    hessian = np.diag(-s * q + 2 * s.sum()) + 2 * (np.outer(c, X) + np.outer(X, c))
    check(found, "x", hessian @ v, 1e-6)


@pytest.mark.parametrize(
    ("orders", "exact"),
    [
        ({"a": 0, "b": 0}, math.sin(0.6) * math.exp(0.5)),
        ({"a": 1}, 2 * math.cos(0.6) * math.exp(0.5)),
        ({"a": 2}, -4 * math.sin(0.6) * math.exp(0.5)),
        ({"a": 1, "b": 1}, 2 * math.cos(0.6) * math.exp(0.5)),
        ({"a": 2, "b": 1}, -4 * math.sin(0.6) * math.exp(0.5)),
        ({"a": 3}, -8 * math.cos(0.6) * math.exp(0.5)),
        ({"a": 2, "b": 2}, -4 * math.sin(0.6) * math.exp(0.5)),
        ({"b": 4}, math.sin(0.6) * math.exp(0.5)),
    ],
)
def test_a_partial_derivative_of_any_order_up_to_4(orders, exact):
    found = ask("sin(2 * a) * exp(b)", "partial", {"a": 0.3, "b": 0.5}, orders=orders)
    check(found, "", exact, 1e-4)


def test_an_output_of_any_shape_has_partial_derivatives():
    found = ask("a ** 3 * c", "partial", {"a": 2.0}, constants={"c": X}, orders={"a": 2})
    check(found, "", 12 * X, 1e-7)


@pytest.mark.parametrize("operator", list(Operator))
def test_every_query_is_one_call(operator, monkeypatch):
    calls, real = [], batch.values
    monkeypatch.setattr(batch, "values", lambda *a: (calls.append(1), real(*a))[1])
    more = {"jvp": {"tangents": {"x": np.ones(())}}, "hvp": {"tangents": {"x": np.ones(())}}}
    more |= {"vjp": {"cotangent": np.ones(())}, "partial": {"orders": {"x": 3}}}
    found = ask("x ** 3", operator, {"x": 2.0}, **more.get(operator, {}))
    assert calls == [1]
    assert found.notes["evaluations"] <= 160


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_inputs_and_numbers_are_those_of_the_dtype_and_the_arithmetic_is_double(dtype):
    found = ask("0.1 * x ** 3 + leaky_relu(-x, negative_slope=0.3)", "gradient", {"x": 1.7}, dtype=dtype)
    x, tenth, slope = (float(np.asarray(n, ml_dtypes.finfo(dtype).dtype)) for n in (1.7, 0.1, 0.3))
    check(found, "x", 3 * tenth * x**2 - slope, 1e-9)
    assert found.answer["x"].dtype == np.float64


def test_an_input_that_nothing_depends_on_is_0_for_certain():
    for operator, key in (("gradient", "y"), ("jacobian", "y"), ("hessian", "y,y"), ("hessian", "x,y")):
        found = ask("x ** 2", operator, {"x": 1.0, "y": 2.0})
        assert found.answer[key] == 0
        assert found.margin[key]["radius"] == 0
    found = ask("2 * c", "gradient", {"x": 1.0}, constants={"c": np.array(3.0)})
    assert (found.answer["x"], found.margin["x"]["radius"]) == (0, 0)


def test_a_kink_has_both_sides_in_its_margins():
    found = ask("relu(x)", "jacobian", {"x": [0.0, 2.0]})
    assert found.status["x"].tolist() == [["kink", "estimated"], ["estimated", "estimated"]]
    margin = found.margin["x"]
    assert margin["left"][0, 0] == margin["lower"][0, 0] == pytest.approx(0)
    assert margin["right"][0, 0] == margin["upper"][0, 0] == pytest.approx(1)
    assert margin["left"][1, 1] == margin["right"][1, 1] == pytest.approx(1)
    assert found.answer["x"][0, 0] == pytest.approx(0.5)


def test_a_smooth_answer_has_no_sides():
    assert set(ask("x ** 2", "gradient", {"x": 1.0}).margin["x"]) == {"radius"}


@pytest.mark.parametrize(
    ("function", "x", "status"),
    [("sqrt(x)", 0.0, "hoelder"), ("floor(x)", 3.0, "singular"), ("log(x)", -1.0, "singular")],
)
def test_statuses_are_those_of_the_record(function, x, status):
    found = ask(function, "gradient", {"x": x})
    assert found.status["x"] == status
    assert np.isnan(found.answer["x"])


def test_a_singular_matrix_is_no_traceback():
    found = ask("sum(inv(x))", "gradient", {"x": np.zeros((2, 2))})
    assert (found.status["x"] != "estimated").all()
    beside = ask("sum(inv(x))", "gradient", {"x": np.array([[1.0, 1.0], [1.0, 1.0]])})
    assert (beside.status["x"] != "estimated").all()


@pytest.mark.parametrize(
    ("function", "operator", "inputs", "more", "sentence"),
    [
        ("x * 2", "jacobian", {"x": np.ones(201)}, {}, "201 numbers to move"),
        ("sum(x)", "gradient", {"x": np.ones(201) + 0j}, {"dtype": "complex128"}, "402 numbers to move"),
        ("sum(x)", "hessian", {"x": np.ones(65)}, {}, "65 numbers to move"),
        ("x * 2", "gradient", {"x": X}, {}, "the gradient of an output of shape"),
        ("x ** 2", "partial", {"x": 1.0}, {"orders": {"x": 5}}, "differences of order 5"),
        ("sum(x)", "partial", {"x": X}, {"orders": {"x": 1}}, "which is an array"),
    ],
)
def test_what_is_too_much_is_refused_with_a_reason(function, operator, inputs, more, sentence):
    with pytest.raises(Unsupported, match=sentence):
        ask(function, operator, inputs, **more)


def test_many_inputs_have_a_jvp_all_the_same():
    x = np.linspace(0.1, 2, 5000)
    found = ask("sum(sin(x))", "jvp", {"x": x}, tangents={"x": np.ones(5000)})
    check(found, "", np.cos(x).sum(), 1e-8)


Z = 0.6 - 0.8j


def test_a_holomorphic_function_has_a_complex_derivative():
    found = ask("exp(z) * z", "jacobian", {"z": Z}, dtype="complex128")
    check(found, "z", np.exp(Z) * (1 + Z))
    along = ask("exp(z) * z", "jvp", {"z": Z}, dtype="complex128", tangents={"z": np.array(2 - 1j)})
    check(along, "", np.exp(Z) * (1 + Z) * (2 - 1j))
    back = ask("exp(z) * z", "vjp", {"z": Z}, dtype="complex128", cotangent=np.array(2 - 1j))
    check(back, "z", np.exp(Z) * (1 + Z) * (2 - 1j))


def test_a_real_function_of_complex_inputs_has_its_conventional_derivative():
    # f = x^2 + y^2, df/dx - i df/dy = 2x - 2iy.
    found = ask("abs(z) ** 2", "gradient", {"z": Z}, dtype="complex128")
    check(found, "z", np.conj(2 * Z))
    row = ask("abs(z) ** 2", "jacobian", {"z": Z}, dtype="complex128")
    check(row, "z", np.conj(2 * Z))


def test_complex_questions_without_a_meaning_are_refused():
    with pytest.raises(Unsupported, match="not holomorphic"):
        ask("z * abs(z)", "jacobian", {"z": Z}, dtype="complex128")
    with pytest.raises(Unsupported, match="second derivatives"):
        ask("abs(z)", "hessian", {"z": Z}, dtype="complex128")


def test_a_difference_that_is_small_by_chance_at_long_steps_is_not_noise():
    # The first two quotients of gammainc's second derivative agree to 1e-6, and both are off by four times as much.
    found = ask("gammainc(a, x)", "hessian", {"a": 1.5, "x": 2.0})
    check(found, "x,x", -0.16197289953956415, 1e-7)


def test_an_agreement_within_the_noise_of_what_is_agreed_with_proves_nothing():
    x = np.array([[1, -2, 0.5], [3, 0.25, -1]])
    norm = math.sqrt((x**2).sum())
    exact = np.eye(6) / norm - np.outer(x, x) / norm**3
    check(ask("matrix_norm(x)", "hessian", {"x": x}), "x,x", exact.reshape(2, 3, 2, 3), 1e-8)


@pytest.mark.parametrize(
    "function", ["(1e20 + x) - 1e20", "(1e12 + x * x) - 1e12", "exp(x) * 1e30 * 0 + (1e17 + x) - 1e17"]
)
@pytest.mark.parametrize(("operator", "key"), [("gradient", "x"), ("hessian", "x,x")])
def test_the_reference_knows_how_large_the_terms_are_in_which_a_step_is_lost(function, operator, key):
    found = ask(function, operator, {"x": 0.7})
    assert (found.answer[key], found.status[key]) == (0, "unresolved")
    assert found.margin[key]["radius"] >= 2
    small = ask("relu(x - 3)", operator, {"x": 0.7})
    assert (small.answer[key], small.status[key]) == (0, "estimated")
    assert 0 < small.margin[key]["radius"] < 1e-12
