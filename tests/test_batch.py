"""`reference/batch.py`: many points in one call are the points one by one."""

import numpy as np
import pytest

from gradbench import numeric
from gradbench.language import parse
from gradbench.primitives import VOCABULARY
from gradbench.reference.differences import batch

POINTS = 5


def draw(*shape, low=0.1, high=0.9, seed=0):
    """The same numbers for the same shape: inside the domain of nearly every primitive."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, (POINTS, *shape))


def definite(n, *batch_shape):
    a = draw(*batch_shape, n, n)
    return a @ np.swapaxes(a, -1, -2) + n * np.eye(n)


VECTORS = [(draw(3), draw(3, seed=1)), (draw(2, 4), draw(4, seed=1)), (draw(), draw(3, seed=1)), (draw(), draw(seed=1))]
REDUCED = [((draw(3),), {}), ((draw(2, 3),), {"axis": 1}), ((draw(2, 3),), {"axis": (0, 1)}), ((draw(),), {})]
REDUCED += [((draw(2, 3, 4),), {"axis": -2, "keepdims": True}), ((draw(2, 3),), {"keepdims": True})]
ALONG = [((draw(3),), {"axis": -1}), ((draw(2, 3),), {"axis": 0}), ((draw(2, 3, 2),), {"axis": -2})]
TRIANGLES = [((draw(3, 3),), {"k": 0}), ((draw(2, 3, 4),), {"k": -1})]

BY_RULE = {
    "elementwise": [((draw(3),), {}), ((draw(2, 3),), {}), ((draw(),), {})],
    "broadcast": [(pair, {}) for pair in VECTORS],
    "compare": [(pair, {}) for pair in VECTORS],
    "logic": [((draw(3) > 0.5, draw(2, 3, seed=1) > 0.5), {}), ((draw() > 0.5, draw(2) > 0.5), {})],
    "where": [((draw(3) > 0.5, draw(2, 3), draw(seed=1)), {}), ((draw() > 0.5, draw(4), draw(4, seed=1)), {})],
    "reduce": REDUCED,
    "square": [((definite(3),), {}), ((definite(2, 4),), {})],
    "determinant": [((definite(3),), {}), ((definite(2, 4),), {})],
    "slogdet": [((definite(3),), {}), ((-definite(3, 2),), {})],
    "eigvalsh": [((definite(3),), {}), ((draw(2, 4, 4),), {})],
    "svdvals": [((draw(3, 2),), {}), ((draw(2, 2, 4),), {})],
    "matrix_norm": [((draw(3, 2),), {}), ((draw(2, 2, 4),), {"keepdims": True})],
    "solve": [((definite(3), draw(3)), {}), ((definite(3), draw(3, 2)), {}), ((definite(3, 2), draw(2, 3, 2)), {})],
}

BY_NAME = {
    "zeta": [((draw(3) + 2, draw(2, 3)), {}), ((draw() + 2, draw(2)), {})],
    "acosh": [((draw(3) + 1,), {}), ((draw() + 1,), {})],
    "logical_not": [((draw(3) > 0.5,), {}), ((draw() > 0.5,), {})],
    "clip": [((draw(3),), {"min": 0.3, "max": None}), ((draw(),), {"min": 0.3, "max": 0.5})],
    "gelu": [((draw(3),), {"approximate": "tanh"}), ((draw(2, 3),), {"approximate": "none"})],
    "softmax": ALONG,
    "log_softmax": ALONG,
    "cumulative_sum": ALONG,
    "cumulative_prod": ALONG,
    "sort": ALONG,
    "flip": [((draw(3),), {"axis": None}), ((draw(2, 3),), {"axis": (0, -1)}), ((draw(2, 3),), {"axis": None})],
    "roll": [((draw(2, 3),), {"shift": (1,), "axis": None}), ((draw(2, 3),), {"shift": (1, -2), "axis": (0, 1)})],
    "tril": TRIANGLES,
    "triu": TRIANGLES,
    "reshape": [((draw(2, 3),), {"shape": (3, -1)}), ((draw(),), {"shape": (1, 1)}), ((draw(4),), {"shape": (2, 2)})],
    "permute_dims": [((draw(2, 3, 4),), {"axes": (2, 0, 1)}), ((draw(2, 3),), {"axes": (-1, 0)})],
    "matrix_transpose": [((draw(2, 3),), {}), ((draw(2, 3, 4),), {})],
    "expand_dims": [((draw(3),), {"axis": 1}), ((draw(),), {"axis": 0}), ((draw(2, 3),), {"axis": -2})],
    "squeeze": [((draw(1, 3),), {"axis": 0}), ((draw(2, 1, 1),), {"axis": (1, -1)})],
    "moveaxis": [((draw(2, 3, 4),), {"source": (0, 1), "destination": (-1, 0)}), ((draw(2, 3),), {"source": (0,), "destination": (1,)})],
    "broadcast_to": [((draw(3),), {"shape": (2, 3)}), ((draw(),), {"shape": (2, 2)})],
    "concat": [(([draw(2), draw(3), draw(2)[:1]],), {"axis": 0}), (([draw(2, 3), draw(2, 1)],), {"axis": -1})],
    "stack": [(([draw(3), draw(3)[:1]],), {"axis": 1}), (([draw(), draw(seed=1)],), {"axis": -1})],
    "tile": [((draw(2, 3),), {"repetitions": (2,)}), ((draw(3),), {"repetitions": (2, 1, 2)})],
    "repeat": [((draw(2, 3),), {"repeats": 2, "axis": 1}), ((draw(3),), {"repeats": 3, "axis": -1})],
    "pad": [((draw(2, 3),), {"width": (1, 0, 2, 3), "value": 7.0}), ((draw(),), {"width": (), "value": 0})],
    "take": [((draw(4, 3), np.array([[[0, 2], [1, 1]]])), {"axis": 0}), ((draw(2, 4), np.array([[3, -1]])), {"axis": -1}),
             ((draw(4), np.arange(POINTS)[:, None] % 4), {"axis": 0})],
    "diagonal": [((draw(3, 3),), {}), ((draw(2, 3, 4),), {})],
    "diag": [((draw(3),), {}), ((draw(1),), {})],
    "matmul": [((draw(3), draw(3)), {}), ((draw(2, 3), draw(3)), {}), ((draw(3), draw(3, 2)), {}),
               ((draw(4, 2, 3), draw(3, 2)), {}), ((draw(3), draw(4, 3, 2)), {})],
    "vecdot": [((draw(3), draw(2, 3)), {"axis": -1}), ((draw(2, 3), draw(2, 3)), {"axis": 0}), ((draw(3), draw(2, 3)), {"axis": 0})],
    "outer": [((draw(3), draw(2)), {}), ((draw(1), draw(4)), {})],
    "kron": [((draw(2, 3), draw(3, 2)), {}), ((draw(3), draw(2)), {})],
    "cross": [((draw(3), draw(3, seed=1)), {}), ((draw(2, 3), draw(3)), {})],
    "tensordot": [((draw(2, 3), draw(3, 4)), {"axes": 1}), ((draw(2, 3), draw(4)), {"axes": 0}), ((draw(2, 3), draw(2, 3)), {"axes": 2})],
    "einsum": [((draw(2, 3), draw(3, 4)), {"subscripts": "ij, jk -> ki"}), ((draw(3, 3),), {"subscripts": "aa->a"}),
               ((draw(2), draw(2, 3)[:1], draw(3)), {"subscripts": "a,ab,b->"})],
    "trace": [((draw(3, 3),), {}), ((draw(2, 3, 4),), {})],
    "matrix_power": [((definite(3),), {"n": n}) for n in (-2, 0, 3)],
    "getitem": [((draw(3, 4),), {"index": (1, slice(None, None, -2))}), ((draw(3, 4),), {"index": (Ellipsis, None, -1)})],
}  # fmt: skip


def samples(name):
    return BY_NAME.get(name) or BY_RULE[VOCABULARY[name].shape]


def point(array, i):
    """The array at one point; a leading axis of length 1 stands for all of them."""
    if isinstance(array, list):
        return [point(part, i) for part in array]
    return array[i if len(array) > 1 else 0]


def statics(name, given):
    defaults = {p.name: p.default for p in VOCABULARY[name].parameters if p.is_static}
    return {**defaults, **given}


@pytest.mark.parametrize("name", VOCABULARY)
def test_a_batch_is_its_points_one_by_one(name):
    assert len(samples(name)) >= 2
    for arrays, given in samples(name):
        options = statics(name, given)
        together = batch.OPS[name](*arrays, **options)
        apart = [numeric.OPS[name](*(point(array, i) for array in arrays), **options) for i in range(POINTS)]
        if not isinstance(together, tuple):
            together, apart = (together,), [(one,) for one in apart]
        for k, part in enumerate(together):
            expected = np.stack([one[k] for one in apart])
            assert part.shape == expected.shape
            assert part.dtype == expected.dtype
            np.testing.assert_allclose(part, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", VOCABULARY)
def test_what_is_the_same_at_all_points_keeps_one_entry(name):
    arrays, given = samples(name)[0]
    if name == "take":
        return
    single = [[part[:1] for part in array] if isinstance(array, list) else array[:1] for array in arrays]
    answer = batch.OPS[name](*single, **statics(name, given))
    for part in answer if isinstance(answer, tuple) else (answer,):
        assert part.shape[0] == 1


@pytest.mark.parametrize("name", ["inv", "cholesky", "solve", "matrix_power"])
def test_a_point_where_a_primitive_raises_is_nan_and_the_others_keep_their_answers(name):
    x = definite(3)
    good = x.copy()
    x[2] = -np.eye(3) if name == "cholesky" else 0
    arrays, given = ((x, draw(3)), {}) if name == "solve" else ((x,), {"n": -1} if name == "matrix_power" else {})
    answer = batch.OPS[name](*arrays, **given)
    assert np.isnan(answer[2]).all()
    whole = batch.OPS[name](good, *arrays[1:], **given)
    np.testing.assert_allclose(np.delete(answer, 2, 0), np.delete(whole, 2, 0), rtol=1e-13)


def test_a_primitive_that_raises_everywhere_raises():
    with pytest.raises(np.linalg.LinAlgError):
        batch.OPS["inv"](np.zeros((POINTS, 2, 2)))


def test_a_program_is_evaluated_at_every_point_with_its_constants():
    program = parse("h = tanh(W @ x + b)\nreturn sum(h) * 0.1 + log(c)", ["x", "c", "W", "b"])
    points = {"x": draw(3), "c": draw()}
    constants = {"W": draw(2, 3)[0], "b": np.arange(2)}
    found = batch.values(program, points, constants, "float64")
    for i in range(POINTS):
        h = np.tanh(constants["W"] @ points["x"][i] + constants["b"])
        assert found[i] == pytest.approx(h.sum() * 0.1 + np.log(points["c"][i]), rel=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_of_the_text_are_rounded_to_the_dtype_and_computed_with_in_double(dtype):
    program = parse("return maximum(x, 0.7) * 0.1", ["x"])
    (found,) = batch.values(program, {"x": np.zeros(1)}, {}, dtype)
    rounded = [float(np.asarray(number, dtype)) for number in (0.7, 0.1)]
    assert found == rounded[0] * rounded[1]


def test_a_function_of_nothing_that_varies_has_the_answer_at_every_point():
    program = parse("return 2 * c", ["x", "c"])
    np.testing.assert_array_equal(
        batch.values(program, {"x": draw(3)}, {"c": np.ones(2)}, "float64"), np.full((POINTS, 2), 2.0)
    )


def test_many_points_are_evaluated_in_parts(monkeypatch):
    monkeypatch.setattr(batch, "BUDGET", 8)
    program = parse("return sum(outer(x, x))", ["x"])
    x = draw(2)
    np.testing.assert_allclose(batch.values(program, {"x": x}, {}, "float64"), x.sum(1) ** 2, rtol=1e-14)


def test_options_that_are_numbers_are_rounded_too_and_whole_exponents_are_not():
    program = parse("return leaky_relu(x, negative_slope=0.3) + x ** 301 + clip(x, max=0.1)", ["x"])
    (found,) = batch.values(program, {"x": np.array([-1.0])}, {}, "bfloat16")
    assert found == -float(np.asarray(0.3, "bfloat16")) - 1 - 1
    (odd,) = batch.values(parse("return x ** 0.3", ["x"]), {"x": np.array([2.0])}, {}, "bfloat16")
    assert odd == 2.0 ** float(np.asarray(0.3, "bfloat16"))


def test_the_largest_number_that_is_met_is_looked_for_among_all_that_is_computed():
    program = parse("y = (c + x) - c\nreturn sum(y)", ["x", "c"])
    given = {"x": draw(3)[0]}
    assert batch.magnitude(program, given, {"c": np.array(-1e20)}, "float64") == 1e20
    assert batch.magnitude(program, given, {"c": np.array(np.inf)}, "float64") == 0
    assert batch.magnitude(parse("return inv(x)", ["x"]), {"x": np.zeros((2, 2))}, {}, "float64") == 0
