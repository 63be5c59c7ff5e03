"""The ways of using TensorFlow, against derivatives written down by hand, and against each other."""

from __future__ import annotations

import gc
import json
import logging
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from gradbench import registry
from gradbench.adapter import Function, lifted
from gradbench.errors import Unsupported
from gradbench.language import parse
from gradbench.wire import FORMATS

tf = pytest.importorskip("tensorflow")
eager = pytest.importorskip("test_adapter_tensorflow")

COMPILED = ("function", "xla", "graph")
COMPOSED = ("forward-over-reverse", "reverse-over-forward", "reverse-over-reverse")
MODES = ("", *COMPILED, "forward", "persistent", *COMPOSED)
FIRST = (*COMPILED, "forward", "persistent")
REVERSE = (*COMPILED, "persistent")
ZEROS = ("forward", "reverse-over-forward")  # a derivative of a derivative that is constant: zeros to them, not None
NONE = None


@pytest.fixture(scope="module")
def adapters():
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it warns of each function that tape.jacobian traces
    found = {mode: registry.load(registry.entry(f"tensorflow:{mode}".rstrip(":")).spec) for mode in MODES}
    for adapter in found.values():
        adapter.open("cpu")
    yield found
    logger.setLevel(level)


# Functions whose derivatives are known


@dataclass(frozen=True)
class Known:
    """A function of one output at a point with its Jacobian and, of a scalar, its Hessian; None: not connected."""

    text: str
    inputs: dict[str, Any]
    value: Any
    jacobian: dict[str, Any]
    hessian: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


V = np.array([0.3, -1.2, 0.8])
W = np.array([1.1, 0.4])
M = np.array([[2.1, 0.3, -0.2], [0.5, 1.6, 0.4], [0.1, -0.3, 2.7]])
N = np.array([[0.5, -1.5], [1.0, 0.25]])
I2, I3 = np.eye(2), np.eye(3)
R = N @ W + 0.5
INV = np.linalg.inv(M)
P = softmax(V)

KNOWN = {
    "several-inputs": Known(
        "a * a * b + 2 * b", {"a": 3.0, "b": 5.0}, 55, {"a": 30, "b": 11}, {"a,a": 10, "a,b": 6, "b,a": 6, "b,b": NONE}
    ),
    "elementwise": Known("exp(x) * x", {"x": V}, np.exp(V) * V, {"x": np.diag(np.exp(V) * (1 + V))}),
    "broadcast": Known(
        "sum((n @ x + k) ** 2)",
        {"n": N, "x": W, "k": 0.5},
        np.sum(R**2),
        {"n": 2 * np.outer(R, W), "x": 2 * N.T @ R, "k": 2 * np.sum(R)},
        {
            "n,n": 2 * np.einsum("ik,j,l->ijkl", I2, W, W),
            "n,x": 2 * (np.einsum("il,j->ijl", N, W) + np.einsum("i,jl->ijl", R, I2)),
            "n,k": 2 * np.stack([W, W]),
            "x,n": 2 * (np.einsum("il,j->lij", N, W) + np.einsum("i,jl->lij", R, I2)),
            "x,x": 2 * N.T @ N,
            "x,k": 2 * N.sum(0),
            "k,n": 2 * np.stack([W, W]),
            "k,x": 2 * N.sum(0),
            "k,k": 4,
        },
    ),
    "outer": Known(
        "outer(x, w)",
        {"x": V, "w": W},
        np.outer(V, W),
        {"x": np.einsum("ik,j->ijk", I3, W), "w": np.einsum("i,jk->ijk", V, I2)},
    ),
    "determinant": Known(
        "slogdet(a).logabsdet",
        {"a": M},
        math.log(np.linalg.det(M)),
        {"a": INV.T},
        {"a,a": -np.einsum("li,jk->ijkl", INV, INV)},
    ),
    "log-sum-exp": Known(
        "logsumexp(x)", {"x": V}, math.log(np.exp(V).sum()), {"x": P}, {"x,x": np.diag(P) - np.outer(P, P)}
    ),
    "kinks": Known(
        "sum(where(x > 0, x ** 3, -x))",
        {"x": V},
        0.3**3 + 1.2 + 0.8**3,
        {"x": [0.27, -1, 1.92]},
    ),
    "product-with-a-zero": Known(
        "prod(x)", {"x": [2.0, 0.0, 3.0]}, 0, {"x": [0, 6, 0]}
    ),
    "empty": Known(
        "sum(x * x) + k ** 2",
        {"x": np.zeros(0), "k": 3.0},
        9,
        {"x": np.zeros(0), "k": 6},
        {"x,x": np.zeros((0, 0)), "x,k": NONE, "k,x": NONE, "k,k": 2},
    ),
    "repeated-indices": Known(
        "sum(take(x, j) ** 2 * k)",
        {"k": 2.0, "x": [1.0, 2.0, 3.0]},
        46,
        {"k": 23, "x": [4, 8, 24]},
        {"k,k": NONE, "k,x": [2, 4, 12], "x,k": [2, 4, 12], "x,x": np.diag([4, 4, 8])},
        constants={"j": np.array([[2, 0], [1, -1]])},
    ),
    "integers-and-booleans": Known(
        "sum(h * x ** 2) + sum(where(c, x, 0))",
        {"x": V},
        np.sum([3, 2, 1] * V**2) + V[0] + V[2],
        {"x": [6, 4, 2] * V + [1, 0, 1]},
        {"x,x": np.diag([6, 4, 2])},
        constants={"h": np.array([3, 2, 1]), "c": np.array([True, False, True])},
    ),
    "unconnected": Known(
        "a * a", {"a": 3.0, "b": 5.0}, 9, {"a": 6, "b": NONE}, {"a,a": 2, "a,b": NONE, "b,a": NONE, "b,b": NONE}
    ),
    "constant-by-pieces": Known("floor(x)", {"x": V}, np.floor(V), {"x": NONE}),
    "linear": Known("sum(x)", {"x": V}, V.sum(), {"x": np.ones(3)}, {"x,x": NONE}),
    "itself": Known("x", {"x": V}, V, {"x": I3}),
    "rearranged": Known("concat([x[::-1], pad(x[:1], (0, 1))])", {"x": V}, [*V[::-1], V[0], 0], {
        "x": [*I3[::-1], I3[0], np.zeros(3)]
    }),
}  # fmt: skip


def posed(adapter, text, inputs, constants=None, dtype="float64", **more):
    """The text as a function for the adapter, and its inputs."""
    native = {name: adapter.asarray(np.asarray(array)) for name, array in (constants or {}).items()}
    program = parse(text, (*inputs, *native))
    f = Function(program, {**lifted(adapter, FORMATS[dtype]), **more}, tuple(inputs), native)
    return f, tensors(adapter, inputs, dtype)


def tensors(adapter, arrays, dtype="float64"):
    return {name: adapter.asarray(np.asarray(array, FORMATS[dtype])) for name, array in arrays.items()}


def arrays(adapter, answer):
    """What the adapter answers, as NumPy arrays."""
    return tf.nest.map_structure(lambda part: None if part is None else adapter.numpy(part), answer)


def directions(shapes, seed=7):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def agree(found, expected, rtol=1e-12, *, zeros=False):
    """Both None, or the same shapes and numbers; zeros for None if they may be."""
    if expected is None and found is not None and (zeros or found.size == 0):
        assert not found.any()
    elif found is None or expected is None:
        assert found is expected
    else:
        assert found.shape == np.shape(expected)
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


def product(blocks, weights, *, left):
    """The sum of the blocks, each multiplied by its weight from the left or the right; None where none is connected."""
    parts = [
        np.tensordot(w, block, np.ndim(w)) if left else np.tensordot(block, w, np.ndim(w))
        for block, w in zip(blocks, weights, strict=True)
        if block is not None
    ]
    return sum(parts) if parts else None


# First and second derivatives


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("mode", FIRST)
def test_the_first_derivatives_are_those_known(adapters, mode, name):
    adapter, known = adapters[mode], KNOWN[name]
    f, x = posed(adapter, known.text, known.inputs, known.constants)
    if mode == "xla" and name == "determinant":
        with pytest.raises(
            Unsupported, match=r"^No registered 'LogMatrixDeterminant' OpKernel for XLA_CPU_JIT devices$"
        ):
            adapter.value(f, x)
        return
    agree(arrays(adapter, adapter.value(f, x)), known.value)
    w, v = directions({"": np.shape(known.value)})[""], directions({key: one.shape for key, one in x.items()})
    asked = {"jacobian": (adapter.jacobian(f, x), known.jacobian)}
    if name in {"several-inputs", "unconnected", "repeated-indices", "empty"}:
        asked["gradient"] = adapter.gradient(f, x), known.jacobian
    if mode in REVERSE:
        pulled = {key: product([block], [w], left=True) for key, block in known.jacobian.items()}
        asked["vjp"] = adapter.vjp(f, x, adapter.asarray(w)), pulled
    for found, expected in asked.values():
        assert list(found) == list(x)
        for key, block in expected.items():
            agree(arrays(adapter, found[key]), block)
    if mode == "forward":
        pushed = product([known.jacobian[key] for key in x], v.values(), left=False)
        agree(arrays(adapter, adapter.jvp(f, x, tensors(adapter, v))), pushed)


def seconds():
    """Which mode is asked which Hessian."""
    for name, known in KNOWN.items():
        for mode in MODES[1:] if known.hessian else ():
            if mode == "xla" and name == "determinant":
                continue  # refused, see above
            if mode in COMPOSED and name in {"integers-and-booleans", "linear"}:
                continue
            # Forward over forward takes TensorFlow a second to trace each time it meets an operation with other shapes.
            if mode != "forward" or name in {"several-inputs", "repeated-indices", "empty", "unconnected"}:
                yield mode, name


@pytest.mark.parametrize(("mode", "name"), list(seconds()))
def test_the_second_derivatives_are_those_known(adapters, mode, name):
    adapter, known = adapters[mode], KNOWN[name]
    f, x = posed(adapter, known.text, known.inputs, known.constants)
    found = arrays(adapter, adapter.hessian(f, x))
    assert list(found) == list(known.hessian)
    for key, block in known.hessian.items():
        agree(found[key], block, zeros=mode in ZEROS)
    v = directions({key: one.shape for key, one in x.items()})
    found = arrays(adapter, adapter.hvp(f, x, tensors(adapter, v)))
    assert list(found) == list(x)
    for a in x:
        expected = product([known.hessian[f"{a},{b}"] for b in x], v.values(), left=False)
        agree(found[a], expected, zeros=mode in ZEROS)


@pytest.mark.parametrize("mode", ["", "graph", *COMPOSED])
def test_the_hessian_of_a_product_with_a_zero_is_half_of_what_it_should_be(adapters, mode):
    # TensorFlow 2.21 differentiates tf.math.cumprod by dividing by its argument, and 0 / 0 by saying 0. If it learns
    # better, this belongs to what is known above.
    f, x = posed(adapters[mode], "prod(x)", {"x": [2.0, 0.0, 3.0]})
    found = arrays(adapters[mode], adapters[mode].hessian(f, x))["x,x"].tolist()
    assert found in ([[0, 3, 0], [0, 0, 0], [0, 2, 0]], [[0, 0, 0], [3, 0, 2], [0, 0, 0]])
    assert found != [[0, 3, 0], [3, 0, 2], [0, 2, 0]]


# Primitives


@pytest.mark.parametrize("mode", ["function", "graph"])
def test_every_primitive_means_the_same_in_a_graph(adapters, mode):
    # In a graph == compares tensors by identity, and Python numbers take no dtype from what follows them.
    for text in eager.ONE_OF_EACH:
        found, plain = (a.numpy(a.value(*eager.posed(a, text)[:2])) for a in (adapters[mode], adapters[""]))
        assert found.dtype == plain.dtype, text
        np.testing.assert_allclose(found, plain, rtol=1e-12, atol=1e-14, err_msg=text)


# Functions of several outputs


@pytest.mark.parametrize("mode", ["", *FIRST])
def test_a_tuple_is_answered_part_by_part(adapters, mode):
    adapter = adapters[mode]
    f, x = posed(adapter, "return outer(x, w), sum(x) * k, w", {"x": V, "w": W, "k": 2.0})
    found = adapter.value(f, x)
    assert type(found) is tuple
    for part, expected in zip(arrays(adapter, found), (np.outer(V, W), V.sum() * 2, W), strict=True):
        agree(part, expected)
    blocks = {
        "x": (np.einsum("ik,j->ijk", I3, W), np.full(3, 2.0), None),
        "w": (np.einsum("i,jk->ijk", V, I2), None, I2),
        "k": (None, V.sum(), None),
    }
    found = adapter.jacobian(f, x)
    assert list(found) == list(x)
    for name, parts in blocks.items():
        assert type(found[name]) is tuple
        for part, expected in zip(arrays(adapter, found[name]), parts, strict=True):
            agree(part, expected)
    w, v = directions({"0": (3, 2), "1": (), "2": 2}), directions({"x": 3, "w": 2, "k": ()})
    if mode != "forward":
        found = adapter.vjp(f, x, tuple(tensors(adapter, w).values()))
        for name, parts in blocks.items():
            agree(arrays(adapter, found[name]), product(parts, w.values(), left=True))
    if mode == "forward":
        found = adapter.jvp(f, x, tensors(adapter, v))
        assert type(found) is tuple
        for i, part in enumerate(arrays(adapter, found)):
            agree(part, product([blocks[name][i] for name in x], v.values(), left=False))


@pytest.mark.parametrize("mode", ["", *FIRST])
def test_a_tuple_may_repeat_an_output_or_hold_none_of_the_inputs(adapters, mode):
    adapter = adapters[mode]
    f, x = posed(adapter, "y = x * x\nreturn y, y, k + 1, floor(x)", {"x": V}, {"k": W})
    found = arrays(adapter, adapter.jacobian(f, x))["x"]
    agree(found[0], np.diag(2 * V))
    agree(found[1], np.diag(2 * V))
    assert found[2:] == (None, None)
    if mode != "forward":
        weights = tuple(adapter.asarray(np.full(n, w)) for n, w in ((3, 1.0), (3, 10.0), (2, 100.0), (3, 1000.0)))
        agree(arrays(adapter, adapter.vjp(f, x, weights))["x"], 22 * V)
    else:
        found = arrays(adapter, adapter.jvp(f, x, tensors(adapter, {"x": [1, 2, 3]})))
        agree(found[1], 2 * V * [1, 2, 3])
        assert found[2:] == (None, None)


@pytest.mark.parametrize("mode", ["", *FIRST])
def test_a_partial_derivative_has_the_shape_of_each_output(adapters, mode):
    adapter = adapters[mode]
    f, x = posed(adapter, "return s * exp(t * c), t ** 3 * s, s * s", {"s": 2.0, "t": 0.5, "c": W})
    found = adapter.partial(f, x, {"t": 1, "s": 1})
    assert type(found) is tuple
    found = arrays(adapter, found)
    agree(found[0], W * np.exp(0.5 * W))
    agree(found[1], 0.75)
    agree(found[2], None, zeros=mode == "forward")
    f, x = posed(adapter, "reshape(sin(s * t) * c, (2, 1))", {"s": 0.7, "t": 0.5, "c": W})
    agree(arrays(adapter, adapter.partial(f, x, {"t": 2})), -0.49 * math.sin(0.35) * W[:, None])
    agree(arrays(adapter, adapter.partial(f, x, {})), math.sin(0.35) * W[:, None])
    f, x = posed(adapter, "a * a", {"a": 3.0, "b": 5.0})
    assert adapter.partial(f, x, {"b": 1}) is None


@pytest.mark.parametrize("mode", REVERSE)
def test_a_partial_derivative_may_be_of_high_order(adapters, mode):
    f, x = posed(adapters[mode], "t ** 5 * s ** 2", {"s": 2.0, "t": 0.5})
    agree(arrays(adapters[mode], adapters[mode].partial(f, x, {"t": 4, "s": 1})), 240.0)


def test_forward_mode_refuses_accumulators_that_would_take_minutes(adapters):
    f, x = posed(adapters["forward"], "t ** 5", {"t": 0.5})
    with pytest.raises(Unsupported, match="from 4 on"):
        adapters["forward"].partial(f, x, {"t": 4})


# Dtypes


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [(mode, "float32") for mode in REVERSE] + [(mode, "bfloat16") for mode in (*REVERSE, *COMPOSED)],
)
def test_a_narrow_dtype_is_kept(adapters, mode, dtype):
    adapter = adapters[mode]
    exact = np.array([0.25, -1.5, 2.0])
    f, x = posed(adapter, "sum(h * x ** 2) / 2 + sum(where(x > 0, 0.5 * x, -x)) * k", {"x": exact, "k": 2.0},
                 {"h": np.array([1, 2, 3])}, dtype)  # fmt: skip
    found = adapter.hvp(f, x, tensors(adapter, {"x": [1, 1, 2], "k": 1}, dtype))
    expected = {"x": [1.5, 1, 6.5], "k": 1.5 - 1}
    if mode in FIRST:
        found |= {f"{name},": part for name, part in adapter.gradient(f, x).items()}
        expected |= {"x,": [1.25, -5, 7], "k,": 2.625}
    for name, part in arrays(adapter, found).items():
        assert part.dtype == FORMATS[dtype]
        assert part.astype(float).tolist() == np.asarray(expected[name]).tolist()


@pytest.mark.parametrize("mode", FIRST)
def test_a_gradient_is_conjugated_and_a_tangent_is_not(adapters, mode):
    adapter = adapters[mode]
    f, x = posed(adapter, "exp(z) * z", {"z": 0.3 + 0.4j}, dtype="complex128")
    derivative = np.exp(0.3 + 0.4j) * (1.3 + 0.4j)
    agree(arrays(adapter, adapter.gradient(f, x))["z"], np.conj(derivative))
    if mode in REVERSE:
        weight = adapter.asarray(np.array(1 + 2j))
        agree(arrays(adapter, adapter.vjp(f, x, weight))["z"], np.conj(derivative) * (1 + 2j))
    else:
        agree(arrays(adapter, adapter.jvp(f, x, tensors(adapter, {"z": 1 + 2j}, "complex128"))), derivative * (1 + 2j))


@pytest.mark.parametrize("mode", FIRST)
def test_a_jacobian_by_complex_numbers_is_that_of_the_real_part(adapters, mode):
    f, x = posed(adapters[mode], "return abs(z) ** 2, z * z, vector_norm(z)", {"z": [1 + 2j, 2j]}, dtype="complex128")
    found = arrays(adapters[mode], adapters[mode].jacobian(f, x))
    agree(found["z"][0], np.diag([2 + 4j, 4j]))
    agree(found["z"][1], np.diag([2 - 4j, -4j]))
    agree(found["z"][2], np.array([1 + 2j, 2j]) / 3)


def test_xla_forgets_to_conjugate_the_derivative_of_a_root(adapters):
    # TensorFlow 2.21. If this is mended, the two agree.
    z = {"z": 3 + 4j}
    plain = adapters["function"].gradient(*posed(adapters["function"], "sqrt(z)", z, dtype="complex128"))
    found = adapters["xla"].gradient(*posed(adapters["xla"], "sqrt(z)", z, dtype="complex128"))
    agree(plain["z"].numpy(), np.conj(0.5 / (2 + 1j)))
    agree(found["z"].numpy(), 0.5 / (2 + 1j))


# Traced once


class Counted(Function):
    """A function that counts how often Python runs it."""

    def __call__(self, *arrays):
        COUNT.append(1)
        return super().__call__(*arrays)


COUNT: list[int] = []


def counted(adapter, text, inputs, constants=None):
    f, x = posed(adapter, text, inputs, constants)
    COUNT.clear()
    return Counted(f.program, f.ops, f.inputs, f.constants), x


def asked(adapter, f, x, operator, seed):
    """An operator's answer along directions drawn anew."""
    shapes = {name: one.shape for name, one in x.items()}
    given = {
        "vjp": lambda: (adapter.asarray(directions({"": ()}, seed)[""]),),
        "hvp": lambda: (tensors(adapter, directions(shapes, seed)),),
        "partial": lambda: ({"k": 2},),
    }.get(operator, tuple)()
    return arrays(adapter, getattr(adapter, operator)(f, x, *given))


@pytest.mark.parametrize("operator", ["value", "gradient", "vjp", "jacobian", "hessian", "hvp", "partial"])
@pytest.mark.parametrize("mode", COMPILED)
def test_a_function_is_traced_once_for_all_points_and_directions(adapters, mode, operator):
    adapter, plain = adapters[mode], adapters[""]
    text, constants = "sum(h * sin(z) * z) * k ** 3", {"h": np.array([1.0, 2.0])}
    f, x = counted(adapter, text, {"z": W, "k": 0.5}, constants)  # in no alphabetical order
    asked(adapter, f, x, operator, 0)
    traces = len(COUNT)
    assert traces
    for seed in range(1, 6):
        point = directions({"z": 2, "k": ()}, 10 + seed)
        found = asked(adapter, f, tensors(adapter, point), operator, seed)
    assert len(COUNT) == traces
    g, y = posed(plain, text, point, constants)
    tf.nest.map_structure(agree, found, asked(plain, g, y, operator, seed))


@pytest.mark.parametrize("mode", COMPILED)
def test_another_shape_is_another_graph_and_takes_no_place(adapters, mode):
    adapter = adapters[mode]
    f, x = counted(adapter, "sum(z ** 3)", {"z": W})
    agree(asked(adapter, f, x, "gradient", 0)["z"], 3 * W**2)
    agree(asked(adapter, f, tensors(adapter, {"z": [W, W]}), "gradient", 0)["z"], 3 * np.stack([W, W]) ** 2)
    agree(asked(adapter, f, x, "gradient", 0)["z"], 3 * W**2)
    assert len(COUNT) == 2


def test_an_eager_function_is_run_anew_for_each_point(adapters):
    f, x = counted(adapters["persistent"], "a * a", {"a": 3.0})
    for _ in range(3):
        adapters["persistent"].gradient(f, x)
    assert len(COUNT) == 3


@pytest.mark.parametrize("mode", COMPILED)
def test_each_order_and_each_constant_is_a_graph_of_its_own(adapters, mode):
    adapter = adapters[mode]
    f, x = posed(adapter, "c * a ** 3", {"a": 2.0}, {"c": np.array(1.0)})
    g, _ = posed(adapter, "c * a ** 3", {"a": 2.0}, {"c": np.array(10.0)})
    found = [adapter.partial(h, x, {"a": order}) for h in (f, g) for order in (1, 2)]
    assert [float(adapter.numpy(one)) for one in found] == [12, 12, 120, 120]


def test_what_was_compiled_goes_with_its_function(adapters):
    compiled = [adapters[mode] for mode in COMPILED]
    gc.collect()
    before = [len(adapter._kept) for adapter in compiled]
    posing = [posed(adapter, "sin(a) * a", {"a": 2.0}) for adapter in compiled]
    for adapter, (f, x) in zip(compiled, posing, strict=True):
        adapter.gradient(f, x)
    assert [len(adapter._kept) for adapter in compiled] == [n + 1 for n in before]
    del posing, f
    gc.collect()
    assert [len(adapter._kept) for adapter in compiled] == before


# What isn't offered


def test_a_mode_offers_what_is_its_own(adapters):
    offered = {
        mode: {name for name in ("value", "jvp", "vjp", "gradient", "jacobian", "hvp", "hessian", "partial")
               if callable(getattr(adapter, name, None))}
        for mode, adapter in adapters.items()
    }  # fmt: skip
    everything = {"value", "gradient", "jacobian", "hvp", "hessian", "partial"}
    assert {mode for mode, names in offered.items() if names == everything | {"vjp"}} == {"", *REVERSE}
    assert offered["forward"] == everything | {"jvp"}
    assert all(offered[mode] == {"value", "hvp", "hessian"} for mode in COMPOSED)
    for mode in MODES:
        asked = registry.entry(f"tensorflow:{mode}".rstrip(":")).operators
        assert set(asked) == ({"hvp", "hessian"} if mode in COMPOSED else set())


@pytest.mark.parametrize(
    ("mode", "operator", "text"),
    [
        ("xla", "value", "j0(a)"),  # no kernel of XLA's
        ("xla", "vjp", "sum(expm(reshape(a, (1, 1))))"),  # a loop that keeps lists
        ("forward", "gradient", "softsign(a)"),  # forward mode transposes the backward pass, which has no derivative
        ("forward-over-reverse", "hvp", "softsign(a)"),
        ("reverse-over-forward", "hvp", "softsign(a)"),
        ("function", "hessian", "softsign(a)"),
        ("xla", "hessian", "softsign(a)"),
        ("graph", "hessian", "softsign(a)"),
        ("persistent", "hessian", "softsign(a)"),
    ],
)
def test_what_a_mode_does_not_offer_is_unsupported(adapters, mode, operator, text):
    f, x = posed(adapters[mode], text, {"a": 0.7})
    for _ in range(2):  # the second time what was kept of the first is in the way
        with pytest.raises(Unsupported):
            asked(adapters[mode], f, x, operator, 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mode", ["function", "graph"])
def test_a_dtype_without_a_kernel_is_unsupported(adapters, mode, dtype):
    for text in ("erfinv(a)", "zeta(a, a)", "i0(a)"):
        f, x = posed(adapters[mode], text, {"a": 0.7}, dtype=dtype)
        if (text, dtype) != ("i0(a)", "float16"):
            with pytest.raises(Unsupported):
                adapters[mode].value(f, x)


@pytest.mark.parametrize("mode", ["function", "graph", "persistent", "forward"])
def test_a_singular_matrix_is_an_error_and_no_refusal(adapters, mode):
    f, x = posed(adapters[mode], "inv(x)", {"x": [[1, 1], [1, 1]]})
    with pytest.raises(tf.errors.InvalidArgumentError, match="not invertible"):
        adapters[mode].value(f, x)


# Settings


@pytest.mark.parametrize("mode", MODES)
def test_opening_reports_full_precision_and_determinism(adapters, mode):
    settings = adapters[mode].open("cpu")
    assert settings["tensor_float_32"] is False
    assert settings["op_determinism"] is True
    json.dumps(settings, allow_nan=False)


def test_functions_are_compiled_even_if_somebody_ran_them_eagerly(adapters, monkeypatch):
    tf.config.run_functions_eagerly(run_eagerly=True)
    assert adapters["function"].open("cpu")["run_functions_eagerly"] is False
    assert not tf.config.functions_run_eagerly()


def test_xla_reports_its_flags(adapters, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert adapters["xla"].open("cpu")["xla_flags"] == "--xla_cpu_enable_fast_math=true"
