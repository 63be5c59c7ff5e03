"""`reference/projection.py`: planted errors are seen and named at any size, honest derivatives pass, and bad callables get a sentence."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

from gradbench.errors import BadOption
from gradbench.reference.differences.bisection import Gap, find
from gradbench.reference.projection import check
from gradbench.sketch import direction

LARGE = 200_000


def summed(points):
    return np.sin(points).sum(axis=1)


def rough(points):
    """It varies within the first steps of a ladder."""
    return np.sin(300 * points).sum(axis=1)


@pytest.fixture(scope="module")
def large():
    return np.random.default_rng(1).standard_normal(LARGE)


def one_wrong(gradient, at=123_456, by=1e-5):
    gradient = gradient.copy()
    gradient[at] += by
    return gradient


def opposite(gradient):
    """An error of mean zero: + and - in turn."""
    return gradient + 1e-3 * np.resize([1.0, -1.0], gradient.size)


DEFECTS = {
    "zero": lambda g: 0 * g,
    "flip": lambda g: -g,
    "1 % off": lambda g: 1.01 * g,
    "one entry": one_wrong,
    "mean-zero": opposite,
    "a pair": lambda g: one_wrong(one_wrong(g, 5, 1e-3), 6, -1e-3),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_among_200_000_entries_is_seen(large, defect):
    found = check(summed, large, gradient=DEFECTS[defect](np.cos(large)), names=0)
    assert found.outcome == "failed"
    assert found.more
    # The answer at the point, two short ladders, and the finest one for each projection before it is called wrong.
    assert found.evaluations == 1 + 33 + 2 * 79


def test_the_honest_gradient_of_200_000_entries_passes(large):
    found = check(summed, large, gradient=np.cos(large))
    assert found.outcome == "passed", found.sentence
    assert found.visible < 1e-5
    assert found.missed(1.0) < 1e-12


def test_a_zero_gradient_of_a_small_function_is_seen(large):
    found = check(lambda p: 1e-7 * np.sin(p).sum(axis=1), large, gradient=np.zeros(LARGE), names=0)
    assert found.outcome == "failed"
    found = check(lambda p: 1e-7 * np.sin(p).sum(axis=1), large, gradient=1e-7 * np.cos(large), names=0)
    assert found.outcome == "passed"


def test_one_wrong_entry_among_200_000_is_named_in_two_projections_for_each_halving(large):
    found = check(summed, large, gradient=one_wrong(np.cos(large)))
    (wrong,) = found.wrong
    assert (wrong.index, wrong.name, wrong.output) == (123_456, "x[123456]", None)
    assert wrong.given == pytest.approx(math.cos(large[123_456]) + 1e-5, rel=1e-15)
    assert abs(wrong.expected - math.cos(large[123_456])) <= wrong.bound
    assert wrong.bound < 1e-7
    assert not found.more
    assert not found.stretches
    assert found.evaluations <= 34 + 3 * 79 + 21 * 2 * math.ceil(math.log2(LARGE))
    assert "df/dx[123456]" in found.sentence


@pytest.mark.parametrize("defect", ["zero", "flip", "1 % off", "mean-zero"])
def test_of_many_wrong_entries_a_few_are_named(defect):
    x = np.random.default_rng(2).standard_normal(1000)
    found = check(summed, x, gradient=DEFECTS[defect](np.cos(x)), names=3)
    assert [wrong.index for wrong in found.wrong] == [0, 1, 2]
    assert found.more
    assert found.sentence.endswith("and more")
    for wrong in found.wrong:
        assert abs(wrong.expected - math.cos(x[wrong.index])) <= wrong.bound


def test_all_wrong_entries_are_named_if_they_are_few():
    x = np.random.default_rng(2).standard_normal(1000)
    gradient = np.cos(x)
    for i, by in {17: 1e-3, 18: -1e-3, 500: 1.0, 999: np.nan, 3: np.inf}.items():
        gradient[i] += by
    found = check(summed, x, gradient=gradient)
    assert sorted(wrong.index for wrong in found.wrong) == [3, 17, 18, 500, 999]
    assert not found.more


def test_errors_too_small_one_by_one_are_named_as_a_stretch():
    x = np.random.default_rng(2).standard_normal(1000)
    gradient, seen = np.cos(x), check(summed, x, gradient=np.cos(x)).visible
    gradient[300:400] += 0.2 * seen * np.sign(direction("0:0:v", 1000, 52)[300:400])
    found = check(summed, x, gradient=gradient)
    assert found.outcome == "failed"
    assert found.stretches or found.wrong
    places = [*((w.index, w.index + 1) for w in found.wrong), *found.stretches]
    assert all(start < 400 and stop > 300 for start, stop in places)


def matrix(seed):
    rng = np.random.default_rng(seed)
    w, x = 0.07 * rng.standard_normal((100, 100)), rng.standard_normal(100)
    jacobian = (1 - np.tanh(w @ x) ** 2)[:, None] * w
    return lambda p: np.tanh(p @ w.T), x, jacobian


def pullback(jacobian):
    return lambda cotangent: cotangent @ jacobian


@pytest.mark.parametrize("size", [1e-8])
def test_one_wrong_entry_of_a_jacobian_is_caught_and_named_by_vjp(size):
    for seed in range(20):
        f, x, jacobian = matrix(seed)
        i, j = np.random.default_rng(seed).integers(100, size=2)
        assert 0.02 < np.median(np.abs(jacobian)) < 0.06
        assert check(f, x, vjp=pullback(jacobian), seed=seed).outcome == "passed"
        wrong = jacobian.copy()
        wrong[i, j] += size
        found = check(f, x, vjp=pullback(wrong), seed=seed)
        (named,) = found.wrong
        assert (named.output, named.index, named.place) == (i, j, f"df[{i}]/dx[{j}]")
        assert abs(named.expected - jacobian[i, j]) <= named.bound
        assert not found.more


def test_one_wrong_entry_of_a_jacobian_is_caught_and_named_by_jvp():
    for seed in range(5):
        f, x, jacobian = matrix(seed)
        assert check(f, x, jvp=jacobian.dot, seed=seed).outcome == "passed"
        wrong = jacobian.copy()
        wrong[41, 7] += 1e-8
        found = check(f, x, jvp=wrong.dot, seed=seed)
        (named,) = found.wrong
        assert (named.output, named.index) == (41, 7)
        assert named.given == wrong[41, 7]


def test_several_wrong_entries_in_a_column_are_named():
    f, x, jacobian = matrix(3)
    jacobian[[4, 50, 99], 20] *= -1
    for derivative in ({"vjp": lambda c: c @ jacobian}, {"jvp": lambda t: jacobian @ t}):
        found = check(f, x, **derivative)
        assert [(one.output, one.index) for one in found.wrong] == [(4, 20), (50, 20), (99, 20)]
        assert not found.more
        assert check(f, x, names=2, **derivative).more


def test_a_transposed_jacobian_is_seen():
    f, x, jacobian = matrix(3)
    assert check(f, x, vjp=lambda c: jacobian @ c, names=1).outcome == "failed"


FAMILIES = [
    (lambda p: np.sin(p).sum(axis=1), np.cos),
    (lambda p: (np.exp(p) * 1e6).sum(axis=1), lambda x: 1e6 * np.exp(x)),
    (lambda p: np.log(np.abs(p) + 1e-3).sum(axis=1), lambda x: np.sign(x) / (np.abs(x) + 1e-3)),
    (lambda p: np.sqrt((p**2).sum(axis=1)), lambda x: x / np.sqrt((x**2).sum())),
    (lambda p: np.tanh(3 * p[:, 1:] * p[:, :-1]).sum(axis=1), None),
    (lambda p: 1e8 + np.cos(p).prod(axis=1), None),
    (lambda p: np.maximum(p, 0).sum(axis=1), lambda x: (x > 0) * 1.0),
    (lambda p: np.logaddexp.reduce(p, axis=1), lambda x: np.exp(x - np.logaddexp.reduce(x))),
]


def chain(x):
    slope = 3 / np.cosh(np.clip(3 * x[1:] * x[:-1], -300, 300)) ** 2
    return np.concatenate([slope * x[1:], [0]]) + np.concatenate([[0], slope * x[:-1]])


def test_an_honest_gradient_is_never_called_wrong_in_1_000_trials():
    passed = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        f, gradient = FAMILIES[seed % len(FAMILIES)]
        n = int(rng.integers(2, 60))
        x = rng.standard_normal(n) * 10.0 ** rng.uniform(-3, 1)
        if gradient is None:
            exact = chain(x) if seed % len(FAMILIES) == 4 else -np.tan(x) * np.cos(x).prod()
        else:
            exact = gradient(x)
        found = check(f, x, gradient=exact, seed=seed)
        assert found.outcome != "failed", (seed, found.sentence)
        passed += found.outcome == "passed"
    assert passed > 800


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_narrow_derivative_is_judged_as_what_it_is(dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    outcomes = []
    for seed in range(50):
        x = np.random.default_rng(seed).standard_normal(500).astype(kind)
        honest = np.cos(x.astype(np.float64)).astype(kind)
        outcomes.append(check(summed, x, gradient=honest, dtype=dtype, seed=seed).outcome)
        if outcomes[-1] == "passed":
            assert check(summed, x, gradient=-honest, dtype=dtype, seed=seed, names=0).outcome == "failed"
    assert "failed" not in outcomes
    assert outcomes.count("passed") >= (20 if dtype == "bfloat16" else 50)
    strict = check(summed, x.astype(float), gradient=honest, names=0)
    assert strict.outcome == "failed"
    assert f"({dtype}, judged as float64)" in strict.sentence


def test_a_cotangent_arrives_in_the_dtype_and_is_exact():
    seen = []

    def vjp(cotangent):
        seen.append(cotangent)
        return np.cos(X) * cotangent

    assert check(np.sin, X, vjp=vjp, dtype="float32", ulps=8).outcome == "passed"
    assert {one.dtype for one in seen} == {np.dtype("float32")}
    assert np.array_equal(seen[0].astype(float), direction("0:0:u", 4, 23))


X = np.array([0.1, -0.7, 1.3, 2.0])


@pytest.mark.parametrize("defect", [False, True])
def test_inputs_have_names(defect):
    x = {"W": np.arange(6.0).reshape(2, 3) / 7, "b": np.array(0.3)}
    cube = np.sin(x["W"]).sum() * 3 * x["b"] ** 2

    def f(p):
        return np.sin(p["W"]).sum(axis=(1, 2)) * p["b"] ** 3

    gradient = {"W": np.cos(x["W"]) * x["b"] ** 3, "b": cube}
    assert check(f, x, gradient=gradient).outcome == "passed"
    gradient["W"][1, 2] *= 1.001
    gradient["b"] = None if defect else cube
    found = check(f, x, gradient=gradient)
    assert [wrong.name for wrong in found.wrong] == ["W[1, 2]", "b"][: 1 + defect]
    single = check(lambda p: np.sin(p["W"]).sum() * p["b"] ** 3, x, gradient=gradient, vectorized=False)
    assert single.wrong == found.wrong


def test_the_same_seed_gives_the_same_and_another_one_something_else():
    probes = [check(np.sin, X, vjp=lambda c: c * np.cos(X), seed=seed).probes for seed in (1, 1, 2, "a")]
    assert probes[0] == probes[1]
    assert len({probe[0].value for probe in probes}) == 3


def test_all_ladders_are_one_call_and_large_ones_several_small_ones(large):
    calls = []
    f = lambda p: (calls.append(len(p)), summed(p))[1]  # noqa: E731  # it is one line
    check(f, X, gradient=np.cos(X))
    assert calls == [1, 33]
    calls.clear()
    assert check(f, large, gradient=np.cos(large), projections=1).outcome == "passed"
    assert max(calls) == 1
    assert sum(calls) == 22


def test_what_a_short_ladder_does_not_settle_is_asked_of_a_whole_one():
    calls = []
    f = lambda p: (calls.append(len(p)), rough(p))[1]  # noqa: E731  # it is one line
    assert check(f, X, gradient=300 * np.cos(300 * X)).outcome == "passed"
    assert calls == [1, 33, 90]


def test_the_number_of_projections_is_counted():
    found = check(summed, X, gradient=np.cos(X), projections=5, ratio=2, seed="case")
    assert (found.projections, found.evaluations, found.seed) == (5, 1 + 9 + 5 * 12, "case")
    found = check(rough, X, gradient=300 * np.cos(300 * X), projections=5, ratio=2)
    assert (found.projections, found.evaluations) == (5, 1 + 9 + 5 * 12 + 5 * 79)


def test_a_derivative_of_zero_proves_nothing_but_a_wrong_one_is_seen():
    constant = check(lambda p: np.full(len(p), 3.0), X, gradient=np.zeros(4))
    assert constant.outcome == "inconclusive"
    assert "0" in constant.sentence
    assert check(lambda p: np.full(len(p), 3.0), X, gradient=np.full(4, 1e-3)).outcome == "failed"


def test_noise_above_the_derivative_proves_nothing():
    found = check(lambda p: 1e8 + 1e-11 * np.sin(p).sum(axis=1), X, gradient=1e-11 * np.cos(X))
    assert found.outcome == "inconclusive"


def test_at_a_kink_nothing_is_said():
    found = check(lambda p: np.abs(p).sum(axis=1), np.zeros(4), gradient=np.ones(4))
    assert (found.outcome, found.visible, found.missed(1.0)) == ("inconclusive", math.inf, 1.0)
    assert "kink" in found.sentence


@pytest.mark.parametrize("distance", [1e-15, 1e-13, 1e-11, 1e-9, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("size", [3, 100, 2_000])
def test_a_kink_close_to_the_point_is_not_taken_for_a_slope(size, distance):
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal(size)
        x += 0.3 * np.sign(x)
        x[0] = distance
        honest = (x > 0) + np.cos(x)
        across = honest - 0.5 * (np.arange(size) == 0)
        for gradient, wrong in ((honest, "failed"), (across, "passed")):
            found = check(
                lambda p: (np.maximum(p, 0) + np.sin(p)).sum(axis=1), x, gradient=gradient, names=0, seed=seed
            )
            assert found.outcome != wrong or found.visible > 0.5, found.sentence
        assert check(summed, x, gradient=across, names=0).outcome == "failed"


@pytest.mark.parametrize("f", [np.abs, lambda p: np.maximum(p, 0) + p])
def test_a_mean_of_two_slopes_does_not_pass_at_a_kink(f):
    x = np.concatenate([[0.0], np.linspace(0.3, 2, 99)])
    found = check(lambda p: f(p).sum(axis=1), x, gradient=(f(x + 0.1) - f(x - 0.1)) / 0.2)
    assert found.outcome == "inconclusive"
    assert "kink" in found.sentence


def _raises(_):
    message = "no"
    raise ValueError(message)


class Draws:
    """Answers differently every time."""

    def __init__(self, size):
        self.rng, self.size = np.random.default_rng(0), size

    def __call__(self, p):
        return summed(p) + self.size * self.rng.standard_normal(len(p))


@pytest.mark.parametrize(
    ("f", "sentence"),
    [
        (_raises, "f raised ValueError: no"),
        (lambda p: np.full(len(p), np.nan), "f isn't finite at x"),
        (lambda p: np.where(p[:, 0] == X[0], 1.0, np.nan), "finite differences have no answer"),
        (lambda p: p.sum(), "f answered with shape ()"),
        (lambda p: p[:, : 1 + (p[0, 0] != X[0])], "changes its shape"),
        (lambda p: p + 1j, "complex"),
        (lambda p: ["a"] * len(p), "f raised ValueError"),
        (Draws(1.0), "isn't deterministic"),
        (Draws(1e-6), "isn't deterministic"),
    ],
)
def test_a_function_that_cannot_be_used_gets_a_sentence(f, sentence):
    found = check(f, X, vjp=lambda c: c[..., None] * np.cos(X))
    assert found.outcome == "inconclusive"
    assert sentence in found.sentence


def test_a_function_that_raises_outside_its_domain_is_asked_point_by_point():
    def f(point):
        return sum(math.sqrt(t) for t in point)

    x = np.array([1e-4, 0.3])
    assert check(f, x, gradient=0.5 / np.sqrt(x), vectorized=False).outcome == "passed"
    assert check(f, x, gradient=0.4 / np.sqrt(x), vectorized=False).outcome == "failed"


class Shaky:
    def __init__(self):
        self.count = itertools.count()

    def __call__(self, cotangent):
        return cotangent * np.cos(X) * (1 + 1e-3 * next(self.count))


@pytest.mark.parametrize(
    ("derivative", "outcome", "sentence"),
    [
        ({"vjp": _raises}, "inconclusive", "vjp raised ValueError: no"),
        ({"jvp": _raises}, "inconclusive", "jvp raised ValueError: no"),
        ({"vjp": lambda c: c[:2]}, "failed", "vjp for x has shape (2,), where (4,) belongs"),
        ({"jvp": lambda t: np.ones((4, 1))}, "failed", "jvp has shape (4, 1), where (4,) belongs"),
        ({"vjp": lambda c: {"x": c}}, "failed", "by name"),
        ({"vjp": lambda c: c + 1j}, "failed", "complex128"),
        ({"vjp": lambda c: np.full(4, np.nan)}, "failed", "nan"),
        ({"vjp": lambda c: None}, "failed", "disagree"),
        ({"vjp": Shaky()}, "failed", "isn't deterministic"),
        ({"gradient": np.cos(X)}, "inconclusive", "give a vjp"),
    ],
)
def test_a_derivative_that_cannot_be_used_gets_a_sentence(derivative, outcome, sentence):
    found = check(np.sin, X, **derivative)
    assert (found.outcome, sentence in found.sentence) == (outcome, True), found.sentence


def test_a_single_nan_fails_and_is_named():
    gradient = np.cos(X)
    gradient[2] = np.nan
    found = check(summed, X, gradient=gradient)
    assert [wrong.index for wrong in found.wrong] == [2]
    found = check(np.sin, X, jvp=lambda t: gradient * t)
    assert (found.wrong[0].output, found.wrong[0].index) == (2, 0)


@pytest.mark.parametrize("x", [np.zeros(0), np.array([1.0, np.inf])])
def test_a_point_without_a_derivative_gets_a_sentence(x):
    assert check(summed, x, gradient=x).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no derivative to check"),
        ({"gradient": X, "vjp": np.sin}, "gradient and vjp to check"),
        ({"gradient": X, "dtype": "flaot32"}, "did you mean 'float32'"),
        ({"gradient": X, "ratio": 3}, "ratio 3"),
        ({"gradient": X, "projections": 0}, "projections 0"),
        ({"gradient": X, "ulps": math.nan}, "ulps nan"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(BadOption, match=message):
        check(summed, X, **options)
    with pytest.raises(BadOption, match="real numbers"):
        check(summed, X * 1j, gradient=X)


def test_inputs_may_be_overwritten():
    def f(p):
        p *= 2
        return p.sum(axis=1)

    assert check(f, X, gradient=np.full(4, 2.0)).outcome == "passed"
    assert X[0] == 0.1


@pytest.mark.parametrize("digits", [7, 10, 23, 52])
def test_directions_are_signs_times_a_half_to_three_halves(digits):
    found = direction("seed", 100_000, digits)
    size = np.abs(found)
    assert 0.5 <= size.min() < 0.51
    assert 1.49 < size.max() <= 1.5
    assert np.array_equal(found * 2.0**digits, np.round(found * 2.0**digits))
    assert abs(np.mean(found)) < 0.02
    assert abs(np.mean(size) - 1) < 0.01
    assert abs(np.corrcoef(np.sign(found), size)[0, 1]) < 0.02
    assert not np.array_equal(found, direction("another", 100_000, digits))


def test_the_probability_of_a_miss_bounds_what_is_missed():
    x = np.array([0.4, 0.9])
    errors = np.array([2.0, -2.0])
    missed, claimed = 0, 0.0
    for seed in range(150):
        # In a narrow dtype tolerances are wide, so that misses can be counted.
        found = check(
            summed, x, gradient=np.cos(x) + 0.05 * errors, seed=seed, projections=1, dtype="bfloat16", ulps=2, names=0
        )
        missed += found.outcome != "failed"
        claimed += found.missed(0.1)
    assert 0 < missed <= claimed < 150


@pytest.mark.parametrize("wrong", [[0], [12], [3, 4], [0, 5, 11, 12], list(range(13))])
def test_bisection_finds_every_wrong_entry(wrong):
    errors, named, count = np.zeros(13), set(), itertools.count()
    errors[wrong] = 1 + np.arange(len(wrong))

    def measure(start, stop):
        next(count)
        gap = Gap(sum(errors[i] for i in range(start, stop) if i not in named), 0.1)
        if stop - start == 1 and gap.wrong:
            named.add(start)
        return gap

    found = find(13, Gap(float(errors.sum()), 0.1), measure, 20)
    assert sorted(found.entries) == wrong
    assert (found.stretch, found.more) == (None, False)
    assert next(count) <= 2 * 4 * max(len(wrong), 1)


def test_bisection_finds_every_nan():
    named = set()

    def measure(start, stop):
        gap = Gap(math.nan if {3, 9} & set(range(start, stop)) - named else 0.0, 0.1)
        if stop - start == 1 and gap.wrong:
            named.add(start)
        return gap

    assert find(16, Gap(math.nan, 0.1), measure, 20).entries == (3, 9)


def test_what_nobody_knows_is_not_wrong_and_nan_is():
    assert not Gap(math.nan, math.inf).wrong
    assert Gap(math.nan, 1e300).wrong
    assert Gap(math.inf, 1e300).wrong
    assert not Gap(0.0, 0.0).wrong


@pytest.mark.parametrize("x", [[-7.6, -3.7, 2.3], [9.0, 3.0, -4.0]])
def test_a_slope_too_small_to_move_f_is_no_error(x):
    # tanh(84) - tanh(25.5) is 0, exactly, wherever f is asked; its slope is not.
    f, x = FAMILIES[4][0], np.array(x)
    assert f(x[None]) == 0
    assert check(f, x, gradient=chain(x) + 1e-21).outcome == "inconclusive"
    assert check(f, x, gradient=chain(x) + 1e-12).outcome == "failed"
