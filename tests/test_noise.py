from __future__ import annotations

import dataclasses
import zlib

import ml_dtypes
import numpy as np
import pytest

from gradbench.adapter import Reference
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.language import parse
from gradbench.numeric import OPS
from gradbench.primitives import VOCABULARY
from gradbench.program import evaluate
from gradbench.query import Operator, Query
from gradbench.record import Outcome
from gradbench.reference import noise
from gradbench.reference.noise import Noise
from gradbench.reference.reverse.internal import INTERNAL
from gradbench.reference.rounding import replay, roundoff
from gradbench.reference.rounding.replay import Replay
from gradbench.wire import FORMATS
from gradbench.worker import Answerer

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
DTYPES = sorted(UNIT)


def query(text, x, operator="value", dtype="float32", constants=None, **more):
    arrays = {name: np.asarray(value).astype(FORMATS[dtype]) for name, value in x.items()}
    return Query("q", text, arrays, constants or {}, Operator(operator), dtype, **more)


def estimate(text, x, operator="value", dtype="float32", **more):
    asked = query(text, x, operator, dtype, **more)
    return Noise().estimate(asked, parse(text, asked.names))


def sigma(text, x, operator="value", dtype="float32", key="", **more):
    return estimate(text, x, operator, dtype, **more).margin[key]["sigma"]


def uniform(seed, shape, low=0.5, high=1.5):
    return np.random.default_rng(seed).uniform(low, high, shape)


def test_it_is_a_reference():
    assert isinstance(Noise(), Reference)
    assert set(Noise().versions()) == {"numpy", "scipy"}
    assert Noise().open("cpu")["replays"] == 24
    with pytest.raises(DeviceMissing, match="noise runs on the cpu, not on cuda"):
        Noise().open("cuda")


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_operation_is_off_by_what_rounding_is(dtype):
    # The standard deviation of an error uniform within a unit is 0.58 units.
    found = sigma("sin(x)", {"x": uniform(1, 400)}, dtype=dtype) / np.abs(np.sin(uniform(1, 400))) / UNIT[dtype]
    assert 0.5 < np.median(found) < 0.7
    assert np.all(found < 1.5)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_cancellation_leaves_the_error_of_what_cancelled(dtype):
    found = sigma("x + 1e8 - 1e8", {"x": 0.1}, dtype=dtype)
    assert 0.3 < found / (1e8 * UNIT[dtype]) < 1.1


def test_the_derivative_of_tanh_has_the_absolute_error_of_one():
    assert 0.5 < sigma("tanh(x)", {"x": 9.0}, "gradient", key="x") / UNIT["float32"] < 3
    assert sigma("tanh(x)", {"x": 1e-3}, "gradient", key="x") < 3 * UNIT["float32"]


@pytest.mark.parametrize("text", ["det(x)", "slogdet(x).logabsdet", "sum(inv(x))"])
def test_a_second_derivative_through_factors_has_errors_as_large_as_its_largest_entry(text):
    x = {"x": np.array([[2.0, -1.0, 0.5], [0.25, 3.0, 1.0], [-0.5, 0.75, 4.0]])}
    found = estimate(text, x, "hessian", "float64")
    largest = np.abs(found.answer["x,x"]).max()
    assert found.margin["x,x"]["sigma"].min() >= 0.5 * UNIT["float64"] * largest
    first = estimate(text, x, "gradient", "float64")
    assert first.margin["x"]["sigma"].max() < 100 * UNIT["float64"] * np.abs(first.answer["x"]).max()


def test_an_error_that_decides_between_two_branches_is_seen_in_its_real_size():
    # Both are 1 in double precision, so which is the larger is rounding's choice, and the derivatives are far apart.
    x = {"x": np.array([7.0, 6.5])}
    right = 2 / np.sqrt(np.pi) * np.exp(-np.square(x["x"]))
    found = sigma("max(erf(x))", x, "gradient", "float64", key="x")
    assert found.max() > right.max() / 10
    assert (
        estimate("max(erf(x))", {"x": np.array([1.0, 0.5])}, "gradient", "float64").margin["x"]["sigma"].max() < 1e-15
    )


@pytest.mark.parametrize("text", ["tanh(x)", "expit(2 * x)", "erf(x)", "ndtr(x)"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_function_that_comes_too_near_its_limit_has_not_reached_it(text, dtype):
    # 1 - y*y and (1 - y)*y of a y that is 1 in every format is 0, and the true derivative isn't.
    assert 0.3 < sigma(text, {"x": 40.0}, dtype=dtype) / UNIT[dtype] < 1.5
    assert sigma(text, {"x": np.inf}, dtype=dtype) == 0
    if text in {"tanh(x)", "expit(2 * x)"}:
        assert 0.3 < sigma(text, {"x": 40.0}, "gradient", dtype, key="x") / UNIT[dtype] < 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_moves_entries_or_changes_signs_is_exact(dtype):
    x = {"x": uniform(2, (2, 3))}
    for text in [
        "-x", "reshape(x, (3, 2)).T[1:]", "concat([x, x])", "sort(x)", "max(x)", "relu(x)", "abs(x)", "x + 0", "2 * x", "x / 4",
        "x - x", "where(x > 1, x, -x)", "clip(x, max=1)", "maximum(x, 1)", "pad(x, (1, 1, 0, 0))", "flip(x)", "x * 1", "x ** 1",
    ]:  # fmt: skip
        assert not np.any(sigma(text, x, dtype=dtype)), text
    for text in ["sum(2 * x.T)", "sum(max(x, axis=0))", "sum(relu(x) - 3 * x[0])", "sum(sort(x)[0])", "mean(x) * 6"]:
        assert not np.any(sigma(text, x, "gradient", dtype, key="x")), text


def test_whole_numbers_add_and_multiply_without_errors():
    assert sigma("sum(x * y)", {"x": np.arange(9.0), "y": np.arange(9.0)}) == 0
    assert sigma("x @ y", {"x": np.ones((3, 3)), "y": np.ones(3)}).tolist() == [0, 0, 0]
    assert sigma("exp(x) + cos(x)", {"x": 0.0}) == 0


def test_a_sum_that_cancels_to_a_short_number_was_rounded_before():
    x = {"x": [1 / 3, 0.25, -1 / 3, 0.5]}
    for text in ("sum(x)", "cumulative_sum(x)[3]", "x @ (x * 0 + 1)", "trace(diag(x))"):
        assert estimate(text, x, dtype="bfloat16").answer[""] == 0.75, text
        assert 0.2 < sigma(text, x, dtype="bfloat16") / UNIT["bfloat16"] < 2, text
    assert sigma("sum(x)", {"x": [0.5, 0.25, -0.5, 0.5]}, dtype="bfloat16") == 0


def test_a_number_that_doesnt_fit_the_format_is_rounded_before_it_is_used():
    assert estimate("x * 0.1", {"x": 1.0}, dtype="bfloat16").answer[""] == float(ml_dtypes.bfloat16(0.1))
    assert estimate("maximum(x, 0.1)", {"x": 0.0}).answer[""] == float(np.float32(0.1))


@pytest.mark.parametrize("n", [10, 100, 1000, 10_000])
def test_the_error_of_a_sum_grows_as_if_its_terms_were_added_one_after_another(n):
    deviations, sigmas = [], []
    for seed in range(8):
        x = uniform(seed, n, 0, 1).astype(np.float32)
        total = np.float32(0)
        for term in x:
            total += term
        deviations.append(float(total) - x.astype(np.float64).sum())
        sigmas.append(sigma("sum(x)", {"x": x}))
    ratio = np.sqrt(np.mean(np.square(deviations)) / np.mean(np.square(sigmas)))
    assert 0.3 < ratio < 2


def test_a_sum_in_a_narrow_format_is_added_up_in_float32():
    for dtype in ("bfloat16", "float16"):
        found = estimate("sum(x)", {"x": uniform(1, 1000, 0, 1)}, dtype=dtype)
        assert 0.3 < found.margin[""]["sigma"] / found.answer[""] / UNIT[dtype] < 1.2


def test_the_error_of_a_product_of_matrices_is_that_of_its_sums():
    found = sigma("x @ y", {"x": uniform(1, (4, 100), -1, 1), "y": uniform(2, (100, 5), -1, 1)})
    assert found.shape == (4, 5)
    # 100 terms of variance 1/9, each partial sum rounded: sqrt(100/6 + 1) times the length of the terms.
    right = 0.6 * UNIT["float32"] * np.sqrt(100 / 6 + 1) * np.sqrt(100 / 9)
    assert 0.5 < np.median(found) / right < 2


def test_a_solution_is_off_by_the_condition_of_the_matrix():
    good, bad = np.diag([1.0, 2, 3]) + 0.1, np.array([[1.0, 1, 1], [1, 1.0001, 1], [1, 1, 1.01]])
    y = np.array([1.0, 2, 3])
    for text in ("solve(x, y)", "inv(x) @ y"):
        one, other = (np.max(sigma(text, {"x": x, "y": y}) / UNIT["float32"]) for x in (good, bad))
        assert one < 10
        assert 1e4 < other < 1e10


@pytest.mark.parametrize(
    "text", ["det(x)", "inv(x)", "slogdet(x).logabsdet", "eigvalsh(x)", "svdvals(x)", "expm(x)", "cholesky(x @ x.T)"]
)
def test_matrix_functions_are_off_by_some_units(text):
    found = estimate(text, {"x": uniform(1, (4, 4), -1, 1) + 4 * np.diag([1.0, 2, 3, 4])}, dtype="float64")
    size = np.max(np.abs(found.answer[""]))
    assert 0.1 < np.max(found.margin[""]["sigma"]) / size / UNIT["float64"] < 30


def test_the_same_query_has_the_same_answer_and_another_has_another():
    x = {"x": uniform(1, 5)}
    one, same = sigma("exp(x)", x), sigma("exp(x)", x)
    assert one.tolist() == same.tolist()
    renamed = dataclasses.replace(query("exp(x)", x), id="other")
    assert Noise().estimate(renamed, parse("exp(x)", ["x"])).margin[""]["sigma"].tolist() == one.tolist()
    assert sigma("exp(x)", {"x": [*x["x"][:4], 0.3]})[:4].tolist() != one[:4].tolist()


def test_every_operator_answers_with_its_keys_and_shapes():
    x = {"a": uniform(1, (2,)), "b": uniform(2, (3,))}
    t = {"a": uniform(3, (2,)).astype(np.float32), "b": uniform(4, (3,)).astype(np.float32)}
    vector, scalar = "outer(sin(a), b ** 2)", "sum(sin(a)) * sum(b ** 2)"
    a, b = (x[name].astype(np.float32).astype(np.float64) for name in "ab")
    da, db = (t[name].astype(np.float64) for name in "ab")
    w = uniform(5, (2, 3)).astype(np.float32)
    value = np.outer(np.sin(a), b**2)
    by_a, by_b = np.outer(np.cos(a), b**2), np.outer(np.sin(a), 2 * b)
    s, q = np.sin(a).sum(), (b**2).sum()
    right = {
        "value": {"": value},
        "jvp": {"": by_a * da[:, None] + by_b * db},
        "vjp": {"a": (w * by_a).sum(1), "b": (w * by_b).sum(0)},
        "jacobian": {
            "a": np.einsum("ik,ij->ikj", by_a, np.eye(2)), "b": np.einsum("ik,kj->ikj", by_b, np.eye(3)),
        },
        "gradient": {"a": np.cos(a) * q, "b": 2 * b * s},
        "hvp": {
            "a": -np.sin(a) * q * da + np.cos(a) * (2 * b @ db), "b": 2 * s * db + 2 * b * (np.cos(a) @ da),
        },
        "hessian": {
            "a,a": np.diag(-np.sin(a) * q), "a,b": np.outer(np.cos(a), 2 * b),
            "b,a": np.outer(2 * b, np.cos(a)), "b,b": np.diag([2 * s] * 3),
        },
    }  # fmt: skip
    more = {"jvp": {"tangents": t}, "hvp": {"tangents": t}, "vjp": {"cotangent": w}}
    for operator, answers in right.items():
        text = scalar if operator in {"gradient", "hvp", "hessian"} else vector
        found = estimate(text, x, operator, **more.get(operator, {}))
        assert list(found.answer) == list(query(text, x, operator).keys)
        for key, answer in answers.items():
            np.testing.assert_allclose(found.answer[key], answer, rtol=1e-12, atol=1e-12, err_msg=f"{operator} {key}")
            for part in (found.answer[key], found.margin[key]["sigma"], found.status[key]):
                assert part.shape == answer.shape
            assert np.all(found.margin[key]["sigma"] <= 4e-7 * np.max(np.abs(answer)))
            assert np.any(found.margin[key]["sigma"] > 0)
            assert set(found.status[key].reshape(-1)) == {"estimated"}


def test_a_partial_derivative_of_any_order_has_the_shape_of_the_function():
    c = uniform(3, (3,)).astype(np.float32)
    for orders, right in [
        ({}, np.sin(0.75 * 0.25)),
        ({"a": 1}, 0.25 * np.cos(0.75 * 0.25)),
        ({"a": 2}, -(0.25**2) * np.sin(0.75 * 0.25)),
        ({"b": 3}, -(0.75**3) * np.cos(0.75 * 0.25)),
        ({"b": 1, "a": 1}, np.cos(0.75 * 0.25) - 0.75 * 0.25 * np.sin(0.75 * 0.25)),
    ]:
        found = estimate("sin(a * b) * c", {"a": 0.75, "b": 0.25}, "partial", orders=orders, constants={"c": c})
        np.testing.assert_allclose(found.answer[""], right * c.astype(np.float64), rtol=1e-12)
        assert found.margin[""]["sigma"].shape == (3,)
    scalar = estimate("exp(2 * a)", {"a": 0.5}, "partial", orders={"a": 4})
    assert scalar.answer[""] == pytest.approx(16 * np.e)


def test_a_derivative_of_too_high_an_order_is_unsupported(monkeypatch):
    monkeypatch.setattr(noise, "MAX_NODES", 100)
    with pytest.raises(Unsupported, match="a derivative of order 6 of this function takes over 100 steps"):
        estimate("tanh(a) ** 2", {"a": 0.5}, "partial", orders={"a": 6})


def test_an_unconnected_input_gets_zeros():
    found = estimate("sum(x)", {"x": [1.0, 2], "y": [3.0]}, "gradient")
    assert found.answer["y"].tolist() == [0]
    assert found.margin["y"]["sigma"].tolist() == [0]


def test_what_is_nan_in_double_precision_is_undecided():
    found = estimate("sqrt(x * x)", {"x": [0.0, 1.0]}, "jacobian")
    assert found.status["x"][0, 0] == "undecided"
    assert found.margin["x"]["sigma"][0, 0] == np.inf
    assert np.isfinite(found.margin["x"]["sigma"][1, 1])


def test_what_overflows_the_format_on_the_way_is_dropped_and_counted():
    found = estimate("sqrt(x * x)", {"x": [300.0, 2.0]}, dtype="float16")
    assert found.answer[""].tolist() == [300, 2]
    assert found.margin[""]["sigma"][0] == np.inf
    assert found.margin[""]["sigma"][1] == 0
    assert found.status[""].tolist() == ["undecided", "estimated"]
    assert found.notes["dropped"] == 24


def test_an_infinity_that_every_rounding_agrees_on_is_kept():
    found = estimate("1 / x", {"x": [0.0, 3.0]})
    assert found.answer[""][0] == np.inf
    assert found.margin[""]["sigma"][0] == 0
    assert found.status[""].tolist() == ["estimated", "estimated"]


def test_entries_masked_by_an_infinity_stay_masked():
    for text, right in [("softmax(x)", [0.5, 0.5, 0]), ("log_softmax(x)", [-np.log(2), -np.log(2), -np.inf])]:
        found = estimate(text, {"x": [1.0, 1.0, -np.inf]})
        np.testing.assert_allclose(found.answer[""], right)
        assert found.margin[""]["sigma"][2] == 0
        assert 0 < found.margin[""]["sigma"][0] < 1e-6
        assert set(found.status[""]) == {"estimated"}


def test_a_result_below_the_normal_numbers_is_off_by_their_spacing():
    found = sigma("x * x", {"x": 3e-4}, dtype="float16")
    assert 0.3 < found / 2.0**-25 < 1.3


def test_a_jacobian_beyond_the_budget_replays_some_of_its_rows(monkeypatch):
    x = {"x": uniform(1, 40)}
    whole = estimate("sin(x) * sum(x)", x, "jacobian")
    assert "rows" not in whole.notes
    monkeypatch.setattr(noise, "BUDGET", 30_000)
    part = estimate("sin(x) * sum(x)", x, "jacobian")
    assert part.notes["rows"].startswith(("4 of 40", "5 of 40", "6 of 40", "7 of 40"))
    np.testing.assert_array_equal(part.answer["x"], whole.answer["x"])
    assert part.margin["x"]["sigma"].shape == (40, 40)
    assert np.all(part.margin["x"]["sigma"] == part.margin["x"]["sigma"][0])


def test_chunks_change_draws_and_nothing_else(monkeypatch):
    x = {"x": uniform(1, 30)}
    whole = estimate("sin(x) * sum(x)", x, "jacobian")
    monkeypatch.setattr(noise, "CHUNK", 300)
    parts = estimate("sin(x) * sum(x)", x, "jacobian")
    np.testing.assert_array_equal(parts.answer["x"], whole.answer["x"])
    ratio = (
        parts.margin["x"]["sigma"][whole.margin["x"]["sigma"] > 0]
        / whole.margin["x"]["sigma"][whole.margin["x"]["sigma"] > 0]
    )
    assert 0.8 < np.median(ratio) < 1.25


def test_complex_functions_have_errors_in_both_parts():
    z = np.array([0.5 + 0.25j, 2.0 - 1.0j], np.complex64)
    asked = Query("q", "sum(abs(exp(z) * z))", {"z": z}, {}, Operator.GRADIENT, "complex64")
    found = Noise().estimate(asked, parse(asked.function, ["z"]))
    size = np.abs(found.answer["z"])
    assert np.all(found.margin["z"]["sigma"] > 0.2 * UNIT["float32"] * size)
    assert np.all(found.margin["z"]["sigma"] < 10 * UNIT["float32"] * size)
    sorted_ = dataclasses.replace(asked, function="sum(abs(sort(z)))")
    with pytest.raises(Unsupported, match="complex"):
        Noise().estimate(sorted_, parse(sorted_.function, ["z"]))


@pytest.mark.parametrize("text", ["abs(z)", "sign(z)", "angle(z)"])
def test_what_rounds_nothing_of_a_real_number_may_round_a_complex_one(text):
    z = np.array(0.5 + 0.25j, np.complex64)
    asked = Query("q", text, {"z": z}, {}, Operator.VALUE, "complex64")
    found = Noise().estimate(asked, parse(asked.function, ["z"]))
    assert 0.2 < found.margin[""]["sigma"] / (UNIT["float32"] * abs(found.answer[""])) < 2
    for free in ("real(z)", "imag(z)", "conj(z)", "real(z) * 2 - imag(z) * 1j"):
        plain = Query("q", free, {"z": z}, {}, Operator.VALUE, "complex64")
        assert Noise().estimate(plain, parse(free, ["z"])).margin[""]["sigma"] == 0, free


def test_the_worker_gets_a_record_of_what_is_unsupported():
    record = Answerer(Noise()).record(query("gammainc(x, 2)", {"x": 1.5}, "gradient"))
    assert record.outcome is Outcome.UNSUPPORTED
    assert record.message == "gammainc has no derivative by its argument 1"
    singular = Answerer(Noise()).record(query("inv(x)", {"x": np.zeros((2, 2))}))
    assert singular.outcome in {Outcome.UNSUPPORTED, Outcome.ANSWERED}


def test_without_errors_the_replayed_primitives_are_those_of_numpy():
    """Every primitive on three points at once, against one point after the other."""
    plain = Replay(np.dtype("float64"), None).ops
    assert set(plain) == set(VOCABULARY) | set(INTERNAL) | {"asarray"}
    from gradbench.reference.reverse.internal_ops import INTERNAL_OPS

    x = [uniform(seed, (2, 3, 3)) + 2 * np.eye(3) for seed in range(3)]
    indices = np.array([[1, 0], [1, 1]])
    calls = {
        "pick": ([x, x, x], {}), "share": ([x], {"axis": (0, -1)}), "permute_like": ([x, x[::-1]], {"axis": 1, "inverse": True}),
        "put": ([x], {"index": (slice(0, 2), ..., slice(None)), "shape": (3, 3, 3)}),
        "polygamma": ([x], {"n": 2}), "bessel_j": ([x], {"n": 3}), "bessel_i": ([x], {"n": 2, "scaled": True}),
        "spherical_j": ([x], {"n": 1}), "cofactor": ([x], {}),
    }  # fmt: skip
    for name, (arrays, statics) in calls.items():
        found = plain[name](*(np.stack(a) for a in arrays), **statics)
        for i in range(3):
            np.testing.assert_allclose(found[i], INTERNAL_OPS[name](*(a[i] for a in arrays), **statics), err_msg=name)
    found = plain["scatter"](np.stack(x)[:, :, :2, None, :] * np.ones((2, 1)), indices[None], axis=1, size=4)
    assert found.shape == (3, 2, 4, 3)
    for name in ("eigh", "svd"):
        parts = plain[name](np.stack(x))
        assert [part.shape[0] for part in parts] == [3] * len(parts)
    assert set(calls) | {"scatter", "eigh", "svd"} == set(INTERNAL)


def test_every_exact_primitive_and_every_scale_is_one_of_the_vocabulary():
    known = set(VOCABULARY) | set(INTERNAL)
    for table in (
        roundoff.EXACT,
        roundoff.SCALES,
        roundoff.BACKWARD,
        roundoff.ALWAYS,
        roundoff.ADDED,
        replay._BY_ENTRY,
    ):
        assert set(table) <= known
    assert not roundoff.EXACT & set(roundoff.SCALES)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "text",
    [
        "sum(x * x) / sum(x)",
        "exp(x) - x ** 3",
        "sum(x) ** 2 - x",
        "tanh(x @ x) * x",
        "x[0] * x - sqrt(x)",
        "log1p(x) / (1 + x)",
    ],
)
def test_a_computation_rounded_after_each_step_stays_within_eight_sigma_and_four_ulps(text, dtype):
    """Computed in the format itself, entry by entry, it is where the tolerance says; with ten times the error it isn't."""
    x = uniform(zlib.crc32(text.encode()), 6).astype(FORMATS[dtype])
    ops = {**OPS, "asarray": lambda number: np.asarray(number, x.dtype)}
    actual = np.asarray(evaluate(parse(text, ["x"]), ops, {"x": x})).astype(np.float64)
    found = estimate(text, {"x": x}, dtype=dtype)
    center, spread = found.answer[""], found.margin[""]["sigma"]
    ulps = np.exp2(np.floor(np.log2(np.abs(center)))) * 2 * UNIT[dtype]
    bound = 8 * spread + 4 * ulps
    assert np.all(np.abs(actual - center) <= bound)
    assert np.all(bound < 100 * ulps)
