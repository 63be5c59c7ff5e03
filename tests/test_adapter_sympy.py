"""SymPy as a target: every primitive means what it means in NumPy, every operator has its shape, dtypes are kept."""

import gc
import math

import ml_dtypes
import numpy as np
import pytest
from known import KNOWN, check

sympy = pytest.importorskip("sympy")

from gradbench.adapter import Function, lifted  # noqa: E402
from gradbench.adapters import sympy as module  # noqa: E402
from gradbench.adapters.sympy import SymPy  # noqa: E402
from gradbench.errors import DeviceMissing, Unsupported  # noqa: E402
from gradbench.language import parse  # noqa: E402
from gradbench.numeric import OPS  # noqa: E402
from gradbench.primitives import VOCABULARY  # noqa: E402

ADAPTER = SymPy()
A = np.array([[2.0, 0.5], [0.25, 1.5]])
B = np.array([[1.0, -0.5], [0.75, 2.0]])


def function(text, x, dtype=np.float64, constants=None, adapter=ADAPTER):
    constants = constants or {}
    ops = lifted(adapter, np.dtype(dtype))
    return Function(parse(text, (*x, *constants)), ops, tuple(x), constants)


def ask(text, operator="gradient", *directions, dtype=np.float64, constants=None, **inputs):
    x = {name: np.asarray(value, dtype) for name, value in inputs.items()}
    return getattr(ADAPTER, operator)(function(text, x, dtype, constants), x, *directions)


def numeric(text, operator, dtype=np.float64, constants=None, **inputs):
    """The same value with NumPy."""
    names = (*inputs, *(constants or {}))
    f = Function(parse(text, names), {**OPS, "asarray": np.asarray}, tuple(inputs), constants or {})
    return f(*(np.asarray(x, dtype) for x in inputs.values()))


def test_it_has_every_primitive_that_has_a_symbolic_form():
    assert set(VOCABULARY) - set(ADAPTER.ops) == {"eigvalsh", "expm", "svdvals"}
    assert set(ADAPTER.ops) <= set(VOCABULARY)
    assert set(ADAPTER.composite) <= set(ADAPTER.ops)
    assert not {"sin", "relu", "where", "matmul", "det", "softplus"} & set(ADAPTER.composite)


def test_it_opens_on_the_cpu_alone_and_says_what_it_computes_with():
    assert {"device_name", "ground_types"} <= set(ADAPTER.open("cpu"))
    assert set(ADAPTER.versions()) == {"sympy", "numpy", "scipy"}
    with pytest.raises(DeviceMissing):
        ADAPTER.open("cuda")


# Where it isn't the default: a call, and where to ask it.
CALLS = {
    "acosh": "acosh(x + 1)",
    "zeta": "zeta(3, x)",
    "gammainc": "gammainc(1.5, x)",
    "clip": "clip(x, min=0.3, max=0.6)",
    "leaky_relu": "leaky_relu(x - 0.5, negative_slope=0.3)",
    "elu": "elu(x - 0.5, alpha=0.3)",
    "selu": "selu(x - 0.5)",
    "celu": "celu(x - 0.5, alpha=0.3)",
    "cbrt": "cbrt(x - 0.5)",
    "softsign": "softsign(x - 0.5)",
    "gelu": "gelu(x) + gelu(x, approximate='tanh')",
    "where": "where((x > 0.3) & (x < 0.6) | (x == 0.1), x * x, sin(x))",
    "logical_not": "where(~(x != 0.1), x * x, sin(x))",
    "less_equal": "where(x <= 0.3, x, x * x)",
    "greater_equal": "where(x >= 0.3, x, x * x)",
    "vector_norm": "vector_norm(x) + vector_norm(x, ord=1) * vector_norm(x, ord=3) + vector_norm(x, ord=inf)",
    "var": "var(x, correction=1)",
    "sort": "cumulative_sum(sort(x))",
    "cumulative_prod": "cumulative_prod(x)",
    "flip": "x * flip(x)",
    "roll": "x * roll(x, 1)",
    "reshape": "reshape(x, (3, 1)) * x",
    "expand_dims": "expand_dims(x, -1) * x",
    "squeeze": "squeeze(expand_dims(x, 0), 0) * x",
    "broadcast_to": "broadcast_to(x, (2, 3)) * x",
    "concat": "concat([x, x * x])",
    "stack": "stack([x, x * x], axis=1)",
    "tile": "tile(x, 2) * tile(x * x, 2)",
    "repeat": "repeat(x, 2) * repeat(x, 2)",
    "pad": "pad(x, (1, 2), value=0.1) * 2",
    "take": "take(x, i) * 2",
    "diag": "diag(x) @ x",
    "outer": "outer(x, x)",
    "cross": "cross(x, x * x)",
    "kron": "kron(x, x)",
    "vecdot": "vecdot(x, x * x)",
    "einsum": "einsum('i,j->ij', x, x)",
    "tensordot": "tensordot(x, x, axes=1)",
    "getitem": "x[1:] * x[0] + x[-1]",
    "atan2": "atan2(x, 0.3)",
    "softmax": "softmax(x) * x",
    "log_softmax": "log_softmax(x)",
}
MATRIX = {
    "permute_dims": "permute_dims(a, (1, 0)) * a",
    "matrix_transpose": "a.T * a",
    "moveaxis": "moveaxis(a, 0, 1) * a",
    "tril": "tril(a) @ a",
    "triu": "triu(a, k=1) @ a",
    "diagonal": "diagonal(a @ a)",
    "matmul": "a @ b @ a",
    "trace": "trace(a @ a)",
    "det": "det(a)",
    "inv": "inv(a)",
    "cholesky": "cholesky(a)",
    "matrix_power": "matrix_power(a, 3) + matrix_power(a, -2)",
    "solve": "solve(a, b)",
    "solve_triangular": "solve_triangular(a, b) + solve_triangular(a, b, lower=False)",
    "matrix_norm": "matrix_norm(a)",
    "slogdet": "slogdet(a).logabsdet",
}
STEPS = {"remainder", "floor", "ceil", "trunc", "round"}


def text_of(name):
    if name in CALLS:
        return CALLS[name]
    arrays = [p for p in VOCABULARY[name].parameters if not p.is_static]
    return f"{name}({', '.join(['x', '0.7'][: len(arrays)])})"


@pytest.mark.parametrize("name", sorted(set(ADAPTER.ops) - {"equal", "not_equal", "logical_and", "logical_or"}))
def test_each_primitive_and_its_derivative_agree_with_numpy(name):
    text = MATRIX.get(name) or text_of(name)
    if name in {"less", "greater"}:
        text = f"where({name}(x, 0.3), x, x * x)"
    inputs = (
        {"a": A, "b": B} if "b" in MATRIX.get(name, "") else {"a": A} if name in MATRIX else {"x": [0.2, 0.45, 0.7]}
    )
    inputs = {key: np.asarray(value) for key, value in inputs.items()}
    constants = {"i": np.array([2, 0])} if name == "take" else {}
    expected = numeric(text, name, constants=constants, **inputs)
    value = ask(text, "value", constants=constants, **inputs)
    assert (value.shape, value.dtype) == (np.shape(expected), np.float64)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    weights = np.linspace(0.5, 1.5, value.size).reshape(value.shape)
    if name in STEPS:
        with pytest.raises(Unsupported, match="SymPy leaves"):
            ask(text, "vjp", weights, constants=constants, **inputs)
        return
    found = ask(text, "vjp", weights, constants=constants, **inputs)
    for key, array in inputs.items():
        for index in np.ndindex(array.shape):
            step = np.zeros(array.shape)
            step[index] = 1e-6
            up, down = (numeric(text, name, constants=constants, **{**inputs, key: array + s * step}) for s in (1, -1))
            slope = np.sum(weights * (up - down)) / 2e-6
            assert found[key][index] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_every_operator_has_its_shape_and_its_numbers():
    x, y = np.array([0.5, 1.5]), np.array(2.0)
    text = "sin(x) * y"
    jacobian = ask(text, "jacobian", x=x, y=y)
    np.testing.assert_allclose(jacobian["x"], np.diag(2 * np.cos(x)))
    np.testing.assert_allclose(jacobian["y"], np.sin(x))
    v = {"x": np.array([1.0, -0.5]), "y": np.array(3.0)}
    np.testing.assert_allclose(ask(text, "jvp", v, x=x, y=y), 2 * np.cos(x) * v["x"] + 3 * np.sin(x))
    vjp = ask(text, "vjp", np.array([0.5, 2.0]), x=x, y=y)
    np.testing.assert_allclose(vjp["x"], 2 * np.cos(x) * [0.5, 2])
    np.testing.assert_allclose(vjp["y"], np.sin(x) @ [0.5, 2])
    total = f"sum({text})"
    np.testing.assert_allclose(ask(total, x=x, y=y)["x"], 2 * np.cos(x))
    hessian = ask(total, "hessian", x=x, y=y)
    assert {k: a.shape for k, a in hessian.items()} == {"x,x": (2, 2), "x,y": (2,), "y,x": (2,), "y,y": ()}
    np.testing.assert_allclose(hessian["x,x"], np.diag(-2 * np.sin(x)))
    np.testing.assert_allclose(hessian["y,x"], np.cos(x))
    hvp = ask(total, "hvp", v, x=x, y=y)
    np.testing.assert_allclose(hvp["x"], -2 * np.sin(x) * v["x"] + 3 * np.cos(x))
    np.testing.assert_allclose(hvp["y"], np.cos(x) @ v["x"])
    assert ask("x**5 * y**2", "partial", {"x": 3, "y": 1}, x=2.0, y=3.0) == 60 * 4 * 6
    assert ask(total, "value", x=x, y=y).shape == ()


def test_a_matrix_output_has_its_jacobian_in_order():
    x = np.arange(1.0, 5).reshape(2, 2)
    found = ask("x @ x", "jacobian", x=x)["x"]
    expected = np.einsum("ik,lj->ijkl", np.eye(2), x) + np.einsum("ik,jl->ijkl", x, np.eye(2))
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_dtype_that_comes_in_comes_out(dtype):
    text = "relu(x) * 0.1 + exp(x) * sqrt(2) * pi + where(x > 0, 1, 2) * x + clip(x, max=0.3) + maximum(x, -x)"
    x = {"x": np.array([-0.5, 0.25, 1.5], dtype)}
    assert ask(text, "value", dtype=dtype, **x).dtype == dtype
    assert ask(text, "jacobian", dtype=dtype, **x)["x"].dtype == dtype
    assert ask(f"sum({text})", "hessian", dtype=dtype, **x)["x,x"].dtype == dtype
    assert ask("sum(x * 0)", dtype=dtype, **x)["x"].dtype == dtype


def test_it_really_computes_in_the_dtype():
    x = np.float32(0.7)
    assert ask("exp(x)", dtype=np.float32, x=x)["x"] == np.exp(x)
    one, tiny = np.float32(1), np.float32(1e-8)
    assert ask("(x + 1) - y", "value", dtype=np.float32, x=tiny, y=one) == 0


def test_a_dtype_that_scipy_widens_is_not_narrowed_in_secret():
    assert ask("digamma(x)", "value", dtype=np.float32, x=0.5).dtype == np.float64


def test_a_format_that_numpy_does_not_know_is_refused():
    with pytest.raises(Unsupported, match="bfloat16"):
        ADAPTER.asarray(np.ones(2, ml_dtypes.bfloat16))


@pytest.mark.parametrize("number", [0.1, 1 / 3, math.pi, 1e-300, 1.7976931348623157e308, 5e-324, 2**60 + 1.0, 1e22])
def test_numbers_reach_the_answer_bit_for_bit(number):
    assert ask(f"x * {number!r}", "gradient", x=1.0)["x"] == number
    assert ask("x * c", "gradient", constants={"c": np.array(number)}, x=1.0)["x"] == number
    assert ask("x * c", "gradient", constants={"c": np.array(-number)}, x=1.0)["x"] == -number


def test_a_constant_function_has_the_gradient_zero_of_the_right_shape():
    assert ask("sum(c)", constants={"c": np.array([1.0, 2.0])}, x=[1.0, 2.0])["x"].tolist() == [0, 0]


def test_what_it_says_at_kinks():
    expected = {"abs(x)": 0, "relu(x)": 0.5, "sign(x)": math.inf, "maximum(x * x, x)": 0.5, "relu(x) - relu(-x)": 1}
    assert {text: float(ask(text, x=0.0)["x"]) for text in expected} == expected
    assert ask("relu(x)", "hessian", x=0.0)["x,x"] == math.inf
    assert ask("relu(x)", "hessian", x=1.0)["x,x"] == 0
    assert np.isnan(ask("sinc(x)", x=0.0)["x"])


def test_a_branch_that_is_not_taken_does_no_harm():
    assert ask("where(x == 0, 1, sin(x) / x)", x=0.0)["x"] == 0


def test_complex_functions_have_the_linear_derivative():
    found = ask("x * x * y", dtype=np.complex128, x=1 + 2j, y=1j)
    assert (found["x"], found["y"]) == ((1 + 2j) * 2j, (1 + 2j) ** 2)
    assert found["x"].dtype == np.complex128
    with pytest.raises(Unsupported):
        ask("abs(x)", dtype=np.complex128, x=1 + 2j)


def test_an_expression_is_derived_once_for_many_points(monkeypatch):
    count = 0
    diff = sympy.diff

    def counted(*arguments):
        nonlocal count
        count += 1
        return diff(*arguments)

    monkeypatch.setattr(module.sympy, "diff", counted)
    adapter = SymPy()
    f = function("sin(x) * x", {"x": np.array(1.0)}, adapter=adapter)
    for x in (0.5, 1.0, 2.0):
        found = adapter.gradient(f, {"x": np.array(x)})["x"]
        assert found == pytest.approx(math.cos(x) * x + math.sin(x))
    assert count == 1
    adapter.gradient(f, {"x": np.array(1.0, np.float32)})
    assert count == 1
    adapter.hessian(f, {"x": np.array(1.0)})
    assert len(adapter._kept) == 1


def test_what_was_derived_goes_with_its_function():
    adapter = SymPy()
    f = function("sin(x) * x", {"x": np.array(1.0)}, adapter=adapter)
    adapter.gradient(f, {"x": np.array(1.0)})
    assert len(adapter._kept) == 1
    del f
    gc.collect()
    assert len(adapter._kept) == 0


def test_what_is_too_large_is_refused_with_its_size():
    for text, operator, shape, words in [
        ("sum(x)", "gradient", 65, "65 symbols"),
        ("x * x", "jacobian", 21, "441 expressions"),
        ("sum(x)", "hessian", 21, "441 expressions"),
        ("max(x)", "gradient", 30, "30 derivatives"),
        ("sort(x)", "value", 5, "5 symbols to sort"),
        ("inv(x)", "value", (5, 5), "5, 5"),
        ("sum(tanh(x @ x @ x))", "gradient", (8, 8), "64 derivatives"),
    ]:
        with pytest.raises(Unsupported, match=words):
            ask(text, operator, x=np.ones(shape))


def test_what_the_printer_lacks_is_unsupported():
    with pytest.raises(Unsupported, match="SymPy leaves"):
        ask("zeta(x, 2)", x=3.0)
    with pytest.raises(Unsupported, match=r"leaves|printer"):
        ask("gammainc(x, 2)", x=3.0)


def test_a_gradient_of_an_array_is_unsupported():
    with pytest.raises(Unsupported, match=r"\[2\]"):
        ask("x * x", x=[1.0, 2.0])


def test_a_deep_expression_stays_small():
    text = "\n".join(["y = sin(x) * x", *["y = cos(y) * x + y"] * 8, "return y"])
    assert np.isfinite(ask(text, x=0.3)["x"])


def test_names_of_inputs_can_be_anything():
    assert ask("x0 * x_0 + x1", x0=2.0, x_0=3.0, x1=1.0)["x0"] == 3


def test_arrays_are_copied_in():
    array = np.ones(2)
    ADAPTER.asarray(array)[0] = 7
    assert array[0] == 1


TUPLES = [name for name, known in KNOWN.items() if known.text.startswith("return") or "\nreturn y, y" in known.text]


@pytest.mark.parametrize("name", [*TUPLES, "empty output", "three factors"])
def test_a_function_that_returns_a_tuple_is_answered_output_by_output(name):
    known, adapter = KNOWN[name], SymPy()
    f, x = known.posed(adapter)
    for operator in known.operators:
        check(known, adapter, operator, known.asked(adapter, operator, f, x))


def test_a_tuple_has_no_gradient():
    f, x = KNOWN["one output in a tuple"].posed(SymPy())
    with pytest.raises(Unsupported, match=r"output of shape \[3\]"):
        SymPy().gradient(f, x)


def test_a_partial_derivative_of_a_tuple_is_a_tuple():
    program = parse("return a * a * b, sin(b), b", ["a", "b"])
    f = Function(program, lifted(SymPy(), np.dtype("float64")), ("a", "b"), {})
    found = SymPy().partial(f, {"a": np.array(2.0), "b": np.array(0.5)}, {"a": 1, "b": 1})
    assert [float(part) for part in found] == [4, 0, 0]
