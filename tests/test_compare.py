from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradbench.compare import FORMS, Tolerance, Truth, compare, tolerance, ulp
from gradbench.difference import grade


def truth(centre, kind="number", radius=0.0, tail=0.0, lower=np.nan, upper=np.nan, choices=None) -> Truth:
    centre = np.asarray(centre, np.float64)
    fill = lambda value: np.broadcast_to(np.asarray(value), centre.shape).copy()  # noqa: E731
    return Truth(centre, fill(tail), fill(radius), fill(lower), fill(upper), fill(kind), fill("ball"), choices or {})


def judged(answer, right, dtype="float64", bound=0.0):
    right = right if isinstance(right, Truth) else truth(right)
    return compare(np.asarray(answer), right, dtype, Tolerance(np.asarray(bound), "test"))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_an_ulp_is_the_distance_to_the_next_number(dtype):
    kind = np.dtype(dtype).type
    for value in (1.0, 1.5, 3.0, 1000.0, 0.1, float(np.finfo(kind).tiny), float(np.finfo(kind).tiny) / 4):
        x = kind(value)
        assert float(ulp(np.float64(x), FORMS[dtype])) == float(np.nextafter(x, kind(np.inf))) - float(x)
    assert float(ulp(np.float64(0), FORMS[dtype])) == float(np.finfo(kind).smallest_subnormal)


def test_half_an_ulp_is_correctly_rounded_against_the_unrounded_truth():
    third = truth(1 / 3, tail=float(np.longdouble(1) / 3 - np.longdouble(1 / 3)))
    assert judged(1 / 3, third, bound=1e-15).ulps <= 0.5
    assert judged(np.float32(1 / 3), third, "float32", 1e-7).ulps <= 0.5
    assert judged(np.nextafter(np.float32(1 / 3), np.float32(1)), third, "float32", 1e-7).ulps > 0.5


def test_the_tail_counts():
    assert judged(1.0, truth(1.0, tail=1e-17), bound=1e-18).bad == 1
    assert judged(1.0, truth(1.0, tail=1e-19), bound=1e-18).bad == 0


@given(st.floats(allow_nan=False, allow_infinity=False, width=64), st.floats(0, 1e300))
def test_nan_is_never_right_however_wide_the_tolerance(right, bound):
    found = judged(np.nan, right, bound=bound)
    assert (found.bad, found.nonfinite) == (1, 1)


@given(
    st.floats(allow_nan=False, width=64),
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    st.floats(0, 1e300),
)
def test_a_component_is_good_only_if_it_is_shown_to_be_near(answer, right, bound):
    found = judged(answer, right, bound=bound)
    with np.errstate(over="ignore"):
        near = abs(np.float64(answer) - right) <= bound
    assert found.bad == (0 if near else 1)


def test_a_planted_backward_comparison_would_accept_nan():
    """The classic bug: `error > bound` is false for NaN, so a check written with it passes."""
    assert not (np.abs(np.float64(np.nan) - 1.0) > 0.1)
    assert judged(np.nan, 1.0, bound=0.1).bad == 1


def test_infinity_for_a_finite_truth_is_a_failure_and_for_one_beyond_the_format_is_right():
    assert judged(np.inf, 1.0, bound=1e9).bad == 1
    assert judged(np.float32(np.inf), 1e39, "float32").bad == 0
    assert judged(np.float32(-np.inf), 1e39, "float32").bad == 1
    assert judged(np.inf, truth(np.inf, "infinite")).bad == 0
    assert judged(-np.inf, truth(np.inf, "infinite")).bad == 0
    assert judged(1e300, truth(np.inf, "infinite")).bad == 1
    assert judged(np.nan, truth(np.inf, "infinite")).bad == 1


def test_sets_and_choices_are_honoured():
    between = truth(0.0, "set", lower=-1.0, upper=1.0)
    assert [judged(a, between).bad for a in (-1.0, 0.3, 1.0, 1.1, -2.0, np.nan, np.inf)] == [0, 0, 0, 1, 1, 1, 1]
    one_of = truth(0.0, "choice", choices={0: (0.0, 0.5)})
    assert [judged(a, one_of).bad for a in (0.0, 0.5, 0.25, np.nan)] == [0, 0, 1, 1]


def test_where_nothing_is_right_nothing_is_wrong():
    assert judged(np.nan, truth(np.nan, "undefined")).bad == 0


def test_the_worst_entry_is_named():
    found = judged([1.0, 2.5, 3.0], [1.0, 2.0, 3.0], bound=0.1)
    assert (found.bad, found.size, found.worst, found.answered, found.right) == (1, 3, 1, 2.5, 2.0)
    assert found.absolute == 0.5
    assert found.relative == 0.25


def test_an_answer_near_an_exact_zero_has_no_count_of_ulps():
    found = judged([1e-17, 1.0], [0.0, 1.0], bound=1e-16)
    assert found.bad == 0
    assert found.ulps == 0


def test_a_lost_gradient_is_counted_in_ulps():
    assert judged(np.float32(0), 1e-20, "float32", 1.0).ulps == pytest.approx(2**24, rel=1)


def test_closeness_tells_inaccurate_from_wrong():
    assert judged(1 + 1e-9, 1.0, bound=1e-12).is_close
    assert not judged(1.01, 1.0, bound=1e-12).is_close
    assert not judged(np.nan, 1.0).is_close


def test_a_tolerance_that_swallows_the_gradient_is_uninformative():
    assert not judged([1.0, 2.0], [1.0, 2.0], bound=5.0).is_informative
    assert judged([1.0, 200.0], [1.0, 200.0], bound=5.0).is_informative
    assert judged([0.0], [0.0], bound=5.0).is_informative


def test_the_tolerance_grows_with_noise_and_with_the_oracles_own_radius():
    right = truth([1.0, 1000.0], radius=1e-12)
    bound = tolerance(right, "float64", np.array([1e-15, 0.0]), {}).bound
    unit = 2.0**-52
    assert bound == pytest.approx([8e-15 + 4 * unit + 3e-12, 4 * 512 * unit + 3e-12], rel=1e-12)
    assert "σ" in tolerance(right, "float64", np.zeros(2), {}).rule
    assert "of the largest" in tolerance(right, "float64", None, {}).rule
    assert "of the largest" in tolerance(right, "float64", np.array([np.inf, 0]), {}).rule


def test_an_authors_tolerance_replaces_the_rule_and_says_why():
    found = tolerance(truth(100.0), "float64", np.array(1.0), {"rtol": 1e-3, "atol": 1e-2, "reason": "a reason"})
    assert float(found.bound) == pytest.approx(0.11)
    assert found.rule == "rtol 0.001 + atol 0.01: a reason"


def test_numbers_below_the_smallest_normal_one_may_be_flushed():
    right = truth(1e-40)
    assert compare(np.asarray(np.float32(0)), right, "float32", tolerance(right, "float32", np.array(0.0), {})).bad == 0
    right = truth(1e-30)
    assert compare(np.asarray(np.float32(0)), right, "float32", tolerance(right, "float32", np.array(0.0), {})).bad == 1


def test_an_empty_array_is_right():
    assert judged(np.zeros((0, 3)), np.zeros((0, 3))).bad == 0


def test_grades_are_words():
    assert [grade(u) for u in (0, 0.5, 0.51, 3, 100, 1e9, math.inf)] == [
        "rounded",
        "rounded",
        "faithful",
        "close",
        "fair",
        "poor",
        "poor",
    ]
    assert grade(math.nan) == ""


def test_a_term_below_the_smallest_normal_number_may_be_flushed_out_of_a_larger_sum():
    form = FORMS["float64"]
    right = 200 * form.smallest_normal
    one = truth(right)
    near = compare(
        np.array(right + form.smallest_normal / 2), one, "float64", tolerance(one, "float64", np.zeros(()), {})
    )
    assert near.bad == 0
    far = compare(np.array(right * 1.01), one, "float64", tolerance(one, "float64", np.zeros(()), {}))
    assert far.bad == 1
    # float16 is computed in float32, which has room below it.
    half = truth(1e-3)
    bound = tolerance(half, "float16", np.zeros(()), {}).bound
    assert bound < 1e-5


ODD = [0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 5e-324, 1e308, -1e308, 65504.0, 65520.0, 3.4e38, 3.5e38, 1e-300]


def test_a_few_numbers_are_compared_one_by_one_as_arrays_are():
    random = np.random.default_rng(0)
    for _ in range(1500):
        size = int(random.integers(1, 7))
        shape = () if size == 1 else (size,)
        dtype = str(random.choice(["float64", "float32", "float16", "bfloat16"]))
        odd, plain = random.choice(ODD, size), random.normal(size=size) * 10.0 ** random.integers(-5, 5)
        centre = np.where((random.random(size) < 0.4) & np.isfinite(odd), odd, plain).reshape(shape)
        near = centre * (1 + random.normal(size=shape) * 1e-15 * random.integers(1, 100))
        said = np.where(random.random(shape) < 0.5, near, random.choice(ODD, size).reshape(shape))
        room = [np.abs(centre) * 1e-14, np.zeros(shape), np.full(shape, np.inf), np.full(shape, np.nan)]
        allowed = Tolerance(np.asarray(room[random.integers(4)]), "a test")
        empty, words = np.full(shape, np.nan), (np.full(shape, "number"), np.full(shape, "ball"))
        one, other = (Truth(centre, centre * 1e-17, np.zeros(shape), empty, empty, *words) for _ in range(2))
        assert one.few is not None
        other.__dict__["few"] = None  # so that it is compared by arrays
        found, expected = compare(said, one, dtype, allowed), compare(said, other, dtype, allowed)
        assert repr(found) == repr(expected)


def test_what_is_no_plain_number_is_compared_by_arrays():
    one = truth(1.0)
    assert one.few == ([1.0], [0.0])
    for kind in ("set", "choice", "infinite", "undefined", "unknown"):
        assert replace(one, kind=np.array(kind)).few is None
    assert replace(one, centre=np.array(1j)).few is None
    assert truth(np.inf).few is None
    assert truth(np.ones(25)).few is None
