"""Directional derivatives on whole arrays, against FLINT's series entry by entry; and where they must not say anything."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

flint = pytest.importorskip("flint")

from gradbench.errors import Unsupported  # noqa: E402
from gradbench.language import parse  # noqa: E402
from gradbench.primitives import VOCABULARY  # noqa: E402
from gradbench.reference.balls.lift import finite, lift  # noqa: E402
from gradbench.reference.balls.sweep import Deadline, TimeUp  # noqa: E402
from gradbench.reference.power_series import pair_rules, series  # noqa: E402
from gradbench.reference.power_series.first_order import FirstOrder  # noqa: E402
from gradbench.reference.power_series.pair import Pair  # noqa: E402
from gradbench.reference.power_series.series_ring import Fault, Undecided  # noqa: E402

arb = flint.arb
BITS = 120


@pytest.fixture(autouse=True)
def _precision():
    with flint.ctx.workprec(BITS):
        yield


def first_order(program, values, direction, tick=lambda: None):
    return FirstOrder(program).along(values, direction, tick)


def asked(text, inputs, directions, constants=()):
    held = dict(constants)
    program = parse(text, [*inputs, *held])
    values = {name: lift(np.asarray(x, float)) for name, x in inputs.items()} | held
    v = {name: lift(np.asarray(x, float)) for name, x in directions.items()}
    return first_order(program, values, v)


def cases():
    """A little off every kink, as the ball's own test has them."""
    from test_ball import program_of
    from test_enclosure import samples

    random = np.random.default_rng(5)
    for name in sorted(VOCABULARY):
        for number, (arrays, statics) in enumerate(samples(name)):
            moved = [
                [a + 1e-3 * random.random(a.shape) for a in x]
                if isinstance(x, list)
                else x if x.dtype.kind in "bi" else np.asarray(x * 0.9 + 0.003)
                for x in arrays
            ]  # fmt: skip
            if name in {"power", "eigvalsh", "svdvals", "cholesky"}:
                moved = [np.abs(m) + 0.1 + 0.01 * random.random(np.shape(m)) for m in moved]
            if name == "cholesky":
                moved = [m @ np.swapaxes(m, -1, -2) + np.eye(4) for m in moved]
            if name in {"acosh", "zeta"}:
                moved[0] = moved[0] + 1
            yield pytest.param(name, *program_of(name, moved, statics), id=f"{name}-{number}")


CASES = list(cases())


@pytest.mark.parametrize(("name", "program", "inputs", "constants"), CASES)
@pytest.mark.parametrize("still", [False, True])
def test_every_primitive_has_the_slope_that_the_series_have(name, program, inputs, constants, still):
    del name
    random = np.random.default_rng(1)
    values = {n: lift(a) for n, a in inputs.items()} | constants
    moving = list(inputs)[:1] if still else list(inputs)  # one argument at a time reaches the rules' other halves
    v = {n: lift(random.integers(-64, 64, inputs[n].shape) / 64 + 1 / 128) for n in moving}
    try:
        expected = series.taylor(program, values, v, 1, 1)
    except (Fault, Unsupported) as error:
        with pytest.raises(type(error)):
            first_order(program, values, v)
        return
    found = first_order(program, values, v)
    for ours, theirs in ((found.value, expected[0, ...]), (found.moving, expected[1, ...])):
        assert ours.shape == theirs.shape
        for a, b in zip(ours.flat, theirs.flat, strict=True):
            assert a.overlaps(b), (a, b)
            assert a.rad() <= (1 + abs(b)) * arb(2) ** -60


def test_the_rules_for_arrays_answer_without_the_series(monkeypatch):
    left = set()
    for case in CASES:
        name, program, inputs, constants = case.values
        if name not in pair_rules.RULES:
            continue

        def noted(*_arguments, name=name, **_statics):
            left.add(name)
            raise Undecided(name)

        with monkeypatch.context() as patch:
            patch.setitem(series.OPS, name, noted)
            values = {n: lift(a) for n, a in inputs.items()} | constants
            with contextlib.suppress(Undecided):
                first_order(program, values, {n: lift(np.ones(a.shape)) for n, a in inputs.items()})
    # An exponent that is an array, a norm that isn't Euclid's, one operand or three are for the series.
    assert left <= {"power", "vector_norm", "einsum"}


@pytest.mark.parametrize(
    "text",
    ["sum(x * y)", "sum(100 * (x - y ** 2) ** 2 + (1 - y) ** 2)", "2 * sum(square(x)) - sum(3 * y)", "(x * y)[1:]", "mean(x * 2 - y)",
     "sum(x[:, None] * y - x)", "1 - (x - 1)", "reshape(x * x, (3, 1)) + y", "sum(x * c) + c[0]", "sum(c * 2)", "x * y / 2", "sum(2 - x)",
     "sum(x ** 3 * y)", "stack([x * y, x])", "sum(x * y, axis=0, keepdims=True)", "-(x * y) - c"],
)  # fmt: skip
def test_without_the_value_the_slope_is_the_same(text):
    random = np.random.default_rng(4)
    program = parse(text, ["x", "y", "c"])
    values = {n: lift(random.standard_normal(3)) for n in "xyc"}
    for moving in ("xy", "x", "y", ""):
        v = {n: lift(random.standard_normal(3)) for n in moving}
        whole, bare = (FirstOrder(program).along(values, v, lambda: None, valued=valued) for valued in (True, False))
        assert whole.value is not None
        assert (whole.slope is None) == (bare.slope is None)
        assert whole.moving.shape == bare.shape == bare.moving.shape
        assert all(a.overlaps(b) for a, b in zip(whole.moving.flat, bare.moving.flat, strict=True))


def test_where_the_series_are_needed_a_value_that_is_not_worked_out_is_a_fault():
    program, nothing = parse("sum(x * x)", ["x"]), {"x": lift(np.zeros(0))}
    assert float(FirstOrder(program).along(nothing, nothing, lambda: None).moving[()]) == 0
    with pytest.raises(Fault):
        FirstOrder(program).along(nothing, nothing, lambda: None, valued=False)


def test_the_value_of_a_sum_of_products_is_not_worked_out_for_its_slope():
    values, v = {"x": lift(np.ones(3))}, {"x": lift(np.ones(3))}
    bare = FirstOrder(parse("sum(2 * (x * x) + square(x))", ["x"])).along(values, v, lambda: None, valued=False)
    assert bare.value is None
    assert float(bare.moving[()]) == 18.0


def test_a_wrong_rule_differs_from_the_series(monkeypatch):
    monkeypatch.setitem(pair_rules.RULES, "tanh", lambda x: x.turned(pair_rules.RULES["sin"](x).value, x.value))
    (case,) = [case for case in CASES if case.id == "tanh-0"]
    with pytest.raises(AssertionError):
        test_every_primitive_has_the_slope_that_the_series_have(*case.values, still=False)


KINKS = [
    "abs(x)", "relu(x)", "maximum(x, 0)", "minimum(x, x * x)", "sqrt(x)", "sqrt(x * x)", "clip(x, min=0, max=1)", "log(x)",
    "where(x > 0, x, 2 * x)", "where(x >= 0, sqrt(x), 2 * x)", "floor(x)", "vector_norm(stack([x, x]))", "leaky_relu(x)",
    "max(stack([x, -x]))", "relu(log(exp(1 + x)) - 1)", "x ** 1.5", "sqrt(x ** 4)", "1 / x", "abs(x * x)", "sort(stack([x, -x]))[0]",
    "hypot(x, x)", "std(stack([x, x]))", "relu(x) - relu(-x)", "log(x - 1)", "where(x > -1, x, log(x))", "floor(x * x)", "i0e(x)",
]  # fmt: skip


@pytest.mark.parametrize("text", KINKS)
@pytest.mark.parametrize("v", [1.0, -0.75])
def test_at_a_kink_or_a_pole_it_says_what_is_true_to_the_right_or_nothing(text, v):
    try:
        expected = series.taylor(parse(text, ["x"]), {"x": lift(0.0)}, {"x": lift(v)}, 1, 1)[1]
    except Fault:
        with pytest.raises(Fault):
            asked(text, {"x": 0.0}, {"x": v})
        return
    with contextlib.suppress(Fault):
        assert asked(text, {"x": 0.0}, {"x": v}).moving[()].overlaps(expected)


def test_a_branch_not_taken_does_no_harm():
    found = asked("where(x > 0, sqrt(x), 2 * x)", {"x": [-1.0, 4.0]}, {"x": [1.0, 1.0]})
    assert np.asarray(found.moving, float).tolist() == [2.0, 0.25]


def test_labels_and_masks_stay_what_they_are():
    labels, mask = np.array([2, 0, 1]), np.array([True, False])
    text = "sum(take(x, labels[1:])) + sum(where(mask, x[:2], 3 * x[1:])) + sum(labels * x)"
    found = asked(text, {"x": [1.0, 2.0, 4.0]}, {"x": [1.0, 10.0, 100.0]}, {"labels": labels, "mask": mask})
    assert float(found.value[()]) == 1 + 2 + (1 + 12) + (2 + 4)
    assert float(found.moving[()]) == 1 + 10 + (1 + 300) + (2 + 100)


def test_a_constant_matrix_of_floats_is_taken_as_it_is():
    w = np.random.default_rng(0).standard_normal((3, 3))
    for text in ("x @ w", "w @ x", "w @ x @ w", "x @ (w @ w)"):
        ours = asked(text, {"x": np.eye(3)}, {"x": np.ones((3, 3))}, {"w": w})
        theirs = asked(text, {"x": np.eye(3)}, {"x": np.ones((3, 3))}, {"w": lift(w)})
        assert all(a.overlaps(b) for a, b in zip(ours.value.flat, theirs.value.flat, strict=True))
        assert all(a.overlaps(b) for a, b in zip(ours.moving.flat, theirs.moving.flat, strict=True))
        assert finite(ours.moving).all()


def test_what_nothing_moves_has_no_slope():
    found = asked("sum(x * 2)", {"x": [1.0, 2.0]}, {})
    assert found.slope is None
    assert found.moving[()].is_zero()


def test_it_stops_when_it_is_told_to():
    with pytest.raises(TimeUp):
        first_order(parse("sin(x)", ["x"]), {"x": lift(1.0)}, {"x": lift(1.0)}, Deadline(0.0).check)


def test_pairs_add_and_multiply_like_numbers_with_slopes():
    x, y = Pair(lift(np.array([3.0, 5.0])), lift(np.array([1.0, 2.0]))), Pair(lift(2.0), lift(0.5))
    for found, value, slope in [
        (x + y, [5, 7], [1.5, 2.5]), (x - y, [1, 3], [0.5, 1.5]), (y - x, [-1, -3], [-0.5, -1.5]), (x * y, [6, 10], [3.5, 6.5]),
        (x / y, [1.5, 2.5], [0.125, 0.375]), (1 - x, [-2, -4], [-1, -2]), (2 * x, [6, 10], [2, 4]), (x / 2, [1.5, 2.5], [0.5, 1]),
        (3 / y, 1.5, -0.375), (y + 1, 3, 0.5), (-x, [-3, -5], [-1, -2]), (x + Pair(lift(1.0)), [4, 6], [1, 2]),
        (Pair(lift(1.0)) + x, [4, 6], [1, 2]), (Pair(lift(np.ones(3))) + y, [3, 3, 3], [0.5, 0.5, 0.5]),
    ]:  # fmt: skip
        assert np.asarray(found.value, float).tolist() == value
        assert np.asarray(found.moving, float).tolist() == slope


@pytest.mark.parametrize(
    "subscripts",
    ["ij,jk->ik", "ij,kj->ki", "ijk,jk->i", "ij,k->kji", "ij,ij->", "ij,ij->ij", "ii,ij->j", "ij,jk->i", "i,i->"],
)
def test_sums_of_products_have_the_slope_that_the_series_have(subscripts):
    random, (a, b) = np.random.default_rng(2), subscripts.partition("->")[0].split(",")
    inputs = {"x": random.standard_normal((3,) * len(a)), "y": random.standard_normal((3,) * len(b))}
    program = parse(f"einsum({subscripts!r}, x, y)", ["x", "y"])
    values = {n: lift(x) for n, x in inputs.items()}
    v = {n: lift(random.standard_normal(x.shape)) for n, x in inputs.items()}
    expected, found = series.taylor(program, values, v, 1, 1), first_order(program, values, v)
    for ours, theirs in ((found.value, expected[0, ...]), (found.moving, expected[1, ...])):
        assert ours.shape == theirs.shape
        assert all(x.overlaps(y) for x, y in zip(ours.flat, theirs.flat, strict=True))


def test_exponents_that_are_no_small_whole_numbers_are_for_the_series():
    for exponent in ("65", "-2", "0.5", "0", "x", "300"):
        text = f"x ** {exponent}" if exponent != "-2" else "x ** (-2)"
        expected = series.taylor(parse(text, ["x"]), {"x": lift(1.5)}, {"x": lift(1.0)}, 1, 1)
        found = asked(text, {"x": 1.5}, {"x": 1.0})
        assert found.moving[()].overlaps(expected[1])
        assert found.value[()].overlaps(expected[0])
