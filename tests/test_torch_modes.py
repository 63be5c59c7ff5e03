"""PyTorch's other ways, against derivatives in closed form; and that each goes the way it says."""

import gc
import os
import re
import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from known import KNOWN, Known, check

from gradbench import registry
from gradbench.adapter import Function
from gradbench.errors import Unsupported
from gradbench.query import Query
from gradbench.worker import REPEAT_LIMIT, Answerer

torch = pytest.importorskip("torch")
adapters = pytest.importorskip("gradbench.adapters.torch")
func = pytest.importorskip("gradbench.adapters.torch_func")
forward = pytest.importorskip("gradbench.adapters.torch_forward")
batched = pytest.importorskip("gradbench.adapters.torch_vmap")
compiled = pytest.importorskip("gradbench.adapters.torch_compile")

# PyTorch's own, of its own parts: forward mode and torch.compile load them when they are first asked.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

COMPOSED = [func.ForwardOverReverse, func.ReverseOverForward, func.ReverseOverReverse]
EAGER = [adapters.Torch, func.Func, forward.Forward, batched.Vmap, *COMPOSED]
DTYPES = [np.dtype(np.float64), np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)]
OPERATORS = ["value", "jvp", "vjp", "gradient", "jacobian", "hvp", "hessian"]


class Traced(compiled.Compile):
    """`Compile` without C++, which takes a second for each function: what is traced runs operation by operation."""

    backend = "aot_eager"


@pytest.fixture(scope="module", autouse=True)
def _settings():
    threads = torch.get_num_threads()
    adapters.Torch().open("cpu")
    yield
    torch.use_deterministic_algorithms(mode=False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def inductor():
    """`Compile` as it is, with the folder that it compiles into."""
    found = compiled.Compile()
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of its own parts
        settings = found.open("cpu")
    yield found, settings
    if before is None:
        os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)


def offered(way, known):
    return [operator for operator in known.operators if hasattr(way, operator)]


# What PyTorch 2.13 gets wrong. The forward derivatives of det and solve hold on to a factorisation that is no function
# of the matrix any more, so a derivative of them lacks a term (pytorch#192540). And linalg.lu_solve, whose factors stand
# for several right sides once a batch goes through jacfwd, takes the wrong ones.
WRONG = {
    (forward.Forward, "determinant"): ["hvp", "hessian"],
    (func.ReverseOverForward, "determinant"): ["hvp", "hessian"],
    (batched.Vmap, "determinant"): ["hessian"],
    # NaN for a power of a negative number, of the logarithm that the derivative by the exponent would have
    (func.ReverseOverForward, "integer exponents"): ["hvp", "hessian"],
}
# torch.autograd.functional.jacobian, and hessian for which it is asked twice, of an output without entries.
RAISES = {
    (way, name): operators
    for way, name, operators in [
        (adapters.Torch, "empty input", ["hessian"]),
        (adapters.Torch, "empty output", ["jacobian"]),
        (Traced, "empty output", ["jacobian"]),
    ]
}

CASES = [
    pytest.param(way, name, dtype, id=f"{way.__name__}-{name.replace(' ', '-')}-{dtype}")
    for way in [*EAGER, Traced]
    for name, known in KNOWN.items()
    for dtype in DTYPES
    if (dtype != "bfloat16" or known.narrow)
    and (way is not Traced or (dtype == "float64" and name in {"graph", "two outputs", "broadcast", "empty output"}))
    and (way not in COMPOSED or known.hessian)
]


@pytest.mark.parametrize(("way", "name", "dtype"), CASES)
def test_every_operator_answers_what_is_known(way, name, dtype):
    known, adapter = KNOWN[name], way()
    f, x = known.posed(adapter, dtype)
    for operator in offered(way, known):
        if operator in RAISES.get((way, name), []):
            with pytest.raises(RuntimeError, match="non-empty TensorList"):
                known.asked(adapter, operator, f, x, dtype)
            continue
        found = known.asked(adapter, operator, f, x, dtype)
        if way is adapters.Torch and name == "unconnected input" and operator in {"gradient", "vjp"}:
            assert found.pop("k") is None  # what torch.autograd.grad says
            found["k"] = torch.zeros_like(x["k"])
        if operator in WRONG.get((way, name), []):
            with pytest.raises(AssertionError):
                check(known, adapter, operator, found, dtype)
        else:
            check(known, adapter, operator, found, dtype)


def test_each_way_has_the_operators_that_it_offers():
    ways = {way: {op for op in [*OPERATORS, "partial"] if hasattr(way, op)} for way in [*EAGER, compiled.Compile]}
    whole = {*OPERATORS, "partial"}
    assert ways[adapters.Torch] == ways[func.Func] == ways[batched.Vmap] == ways[compiled.Compile] == whole
    assert ways[forward.Forward] == whole - {"vjp"}
    assert all(ways[way] == {"value", "hvp", "hessian"} for way in COMPOSED)


@pytest.mark.parametrize("name", [name for name in registry.entries() if name.startswith("torch:")])
def test_each_target_is_asked_only_what_it_has(name):
    entry = registry.entry(name)
    adapter = registry.load(entry.spec)
    assert type(adapter) in {*EAGER, compiled.Compile}
    assert all(hasattr(adapter, operator) for operator in entry.operators)
    assert bool(entry.operators) == (type(adapter) in COMPOSED)


@pytest.mark.parametrize(
    "way", [adapters.Torch, func.Func, forward.Forward, batched.Vmap], ids=lambda way: way.__name__
)
@pytest.mark.parametrize("text", ["sin(a * b)", "sin(a * b) * x", "return sin(a * b), x * sin(a * b)"])
def test_a_partial_derivative_nests_first_derivatives(way, text):
    a, b, x = 0.75, 1.25, np.array([1.5, -0.5])
    adapter = way()
    f, point = Known(text, {"a": np.array(a), "b": np.array(b), "x": x}, list).posed(adapter)
    found = adapter.partial(f, point, {"b": 2, "a": 1})
    expected = -2 * a * np.sin(a * b) - a * a * b * np.cos(a * b)
    factors = [1.0, x] if f.program.is_tuple else [x if "x" in text else 1.0]
    parts = found if f.program.is_tuple else [found]
    for part, factor in zip(parts, factors, strict=True):
        np.testing.assert_allclose(adapter.numpy(part), expected * factor, rtol=1e-13)


def test_a_tuple_is_answered_as_a_tuple():
    known = KNOWN["two outputs"]
    for way in (adapters.Torch, func.Func, batched.Vmap):
        adapter = way()
        f, x = known.posed(adapter)
        assert isinstance(adapter.value(f, x), tuple)
        assert isinstance(adapter.jvp(f, x, x), tuple)
        assert [tuple(array.shape) for array in adapter.jacobian(f, x)["x"]] == [(3, 3), (3,)]
        assert set(adapter.vjp(f, x, tuple(map(adapter.asarray, known.cotangents)))) == {"x", "k"}


def test_what_is_not_connected_is_answered_as_each_api_answers_it():
    known = KNOWN["unconnected input"]

    def gradient(way):
        f, x = known.posed(way())
        return way().gradient(f, x)["k"]

    assert gradient(adapters.Torch) is None
    assert gradient(func.Func).item() == gradient(forward.Forward).item() == gradient(batched.Vmap).item() == 0
    # forward mode says the same of an output that no input reaches
    f, x = Known("return 2 * x, sum(c)", {"x": np.ones(2)}, list, constants={"c": np.ones(2)}).posed(forward.Forward())
    found = forward.Forward().jvp(f, x, x)
    assert (found[0].tolist(), found[1]) == ([2, 2], None)
    assert func.Func().jvp(f, x, x)[1].item() == 0


@pytest.mark.parametrize("way", [func.Func, forward.Forward, batched.Vmap, *COMPOSED], ids=lambda way: way.__name__)
def test_integer_inputs_and_complex_matrices_are_refused(way):
    adapter = way()
    f, _ = Known("x * x", {"x": np.array(3.0)}, list).posed(adapter)
    for point in (np.array(3), np.array(1 + 2j)):
        for operator in {"gradient", "jacobian", "hessian"} & set(dir(way)):
            with pytest.raises(Unsupported):
                getattr(adapter, operator)(f, {"x": adapter.asarray(point)})


def test_a_gradient_of_an_array_is_an_error():
    for way in (adapters.Torch, func.Func, batched.Vmap):
        f, x = KNOWN["scaled sine"].posed(way())
        with pytest.raises(RuntimeError, match="scalar"):
            way().gradient(f, x)


# Each goes its way


class Backwards(torch.autograd.Function):
    """A sine whose only rule is for a cotangent."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return torch.sin(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * torch.cos(ctx.saved_tensors[0])


class Forwards(torch.autograd.Function):
    """A sine whose only rule is for a tangent."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return torch.sin(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * torch.cos(ctx.saved_tensors[0])


class OnlyForwardsAgain(torch.autograd.Function):
    """A sine with both rules, which themselves have only one for a tangent."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return torch.sin(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx, cotangent):
        return cotangent * Forwards.apply(ctx.saved_tensors[0] + torch.pi / 2)

    @staticmethod
    def jvp(ctx, tangent):
        return tangent * Forwards.apply(ctx.saved_tensors[0] + torch.pi / 2)


SINE = Known("sin(k)", {"k": np.array(0.75)}, lambda k: [{"k": np.cos(k)}], lambda k: {"k,k": -np.sin(k)})


def with_sine(adapter, sine, dtype=np.float64, known=SINE):
    f, x = known.posed(adapter, dtype)
    return Function(f.program, {**f.ops, "sin": sine}, f.inputs, {}), x


def goes(way, operator, sine):
    """Whether it answers, and then rightly."""
    adapter = way()
    f, x = with_sine(adapter, sine.apply)
    try:
        found = SINE.asked(adapter, operator, f, x)
    except (RuntimeError, AssertionError, Unsupported) as error:
        # the latter from within vmap, of a rule that isn't there
        assert re.search("You must implement|flat_bdims", str(error))  # noqa: PT017
        return False
    check(SINE, adapter, operator, found)
    return True


def test_forward_mode_never_goes_backwards():
    for operator in ("jvp", "gradient", "jacobian"):
        assert goes(forward.Forward, operator, Forwards), operator
        assert not goes(forward.Forward, operator, Backwards), operator
        assert goes(func.Func, operator, Forwards) == (operator == "jvp"), operator
    assert goes(func.Func, "gradient", Backwards)


@pytest.mark.parametrize("operator", ["hvp", "hessian"])
def test_each_composition_is_of_the_modes_that_it_is_named_for(operator):
    def ways(sine):
        return [way.__name__ for way in COMPOSED if goes(way, operator, sine)]

    assert ways(Backwards) == ["ReverseOverReverse"]
    assert ways(OnlyForwardsAgain) == ["ForwardOverReverse"]
    assert ways(Forwards) == ["ReverseOverForward"]


# Batched


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.complex64])
def test_neighbours_differ_from_a_point_and_keep_its_dtype_and_symmetry(dtype):
    array = np.array([[1.5, 0, -3], [0, 2, 1e-3], [-3, 1e-3, 7]]).astype(dtype)
    adapter = batched.Vmap()
    below, middle, above = map(adapter.numpy, batched._between_neighbours(adapter.asarray(array)))
    assert middle.tobytes() == array.tobytes()
    assert below.dtype == above.dtype == array.dtype
    assert (below != array).all()
    assert (above != array).all()
    assert (below == below.T).all()
    assert (above == above.T).all()
    np.testing.assert_allclose(above.astype(complex), array.astype(complex), rtol=0.04, atol=0.04)


def test_integers_and_empty_arrays_have_neighbours_like_themselves():
    rows = batched._between_neighbours(torch.tensor([1, 2]))
    assert rows.dtype == torch.int64
    assert rows.tolist() == [[1, 2]] * 3
    assert batched._between_neighbours(torch.zeros((0, 2))).shape == (3, 0, 2)


class Mixing(torch.autograd.Function):
    """A sine that takes a row for its neighbour when it is batched."""

    @staticmethod
    def forward(x):
        return torch.sin(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def vmap(info, in_dims, x):
        return torch.sin(torch.roll(x, 1)), in_dims[0]


@pytest.mark.parametrize("k", [0.0, 0.75])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_rule_that_mixes_the_rows_of_a_batch_shows(dtype, k):
    adapter = batched.Vmap()
    known = Known("sin(k)", {"k": np.array(k)}, SINE.jacobians)
    right, x = known.posed(adapter, dtype)
    mixed, _ = with_sine(adapter, Mixing.apply, dtype, known)
    check(known, adapter, "value", known.asked(adapter, "value", right, x), dtype)
    assert adapters.Torch().value(mixed, x) == adapters.Torch().value(right, x)
    assert adapter.value(mixed, x) != adapter.value(right, x)


def test_a_zero_without_memory_becomes_an_array():
    adapter = batched.Vmap()
    f, x = Known("abs(x)", {"x": np.array(2.0)}, list).posed(adapter)
    found = adapter.hessian(f, x)["x,x"]
    assert found._is_zerotensor()  # a part of one: PyTorch 2.13 ends the process where it is made an array
    assert adapter.numpy(found).tolist() == 0


# Compiled


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("operator", [*OPERATORS, "partial"])
def test_a_function_is_traced_once_for_many_points(operator):
    adapter = Traced()
    known = KNOWN["graph"]
    f, _ = known.posed(adapter)
    before = graphs()
    for i in range(20):
        point = Known(known.text, {**known.inputs, "a": np.array(i / 8)}, known.jacobians, known.hessian)
        x = {name: adapter.asarray(array) for name, array in point.inputs.items()}
        if operator == "partial":
            assert adapter.partial(f, x, {"b": 2}).item() == 2
        else:
            check(point, adapter, operator, known.asked(adapter, operator, f, x))
    assert graphs() == before + 1


def test_vjp_gradient_and_jacobian_go_backwards_through_one_compiled_function():
    adapter = Traced()
    known = KNOWN["cubes"]
    f, x = known.posed(adapter)
    before = graphs()
    for operator in ("gradient", "vjp", "jacobian"):
        check(known, adapter, operator, known.asked(adapter, operator, f, x))
    assert graphs() == before + 1


def test_directions_are_arguments_and_no_part_of_what_is_compiled():
    adapter = Traced()
    known = KNOWN["two outputs"]
    f, x = known.posed(adapter)
    expected = known.expected("jvp"), known.expected("vjp")
    before = graphs()
    for scale in (1.0, -2.0, 0.5):
        tangents = {name: adapter.asarray(scale * t) for name, t in known.tangents.items()}
        cotangents = tuple(adapter.asarray(scale * w) for w in known.cotangents)
        np.testing.assert_allclose(adapter.jvp(f, x, tangents)[0], scale * expected[0]["0"], rtol=1e-14)
        np.testing.assert_allclose(adapter.vjp(f, x, cotangents)["x"], scale * expected[1]["x"], rtol=1e-14)
    assert graphs() == before + 2


def test_many_functions_and_many_shapes_are_all_compiled():
    # torch.compile gives up on the ninth of one code object
    adapter = Traced()
    adapter.backend = "eager"
    before = graphs()
    for i in range(10):
        f, x = Known(f"{i} * x", {"x": np.array(2.0)}, list).posed(adapter)
        assert adapter.value(f, x).item() == 2 * i
    for size in range(10):
        assert adapter.value(f, {"x": torch.ones(size)}).tolist() == [9] * size
    assert graphs() == before + 20


def test_what_is_compiled_does_not_keep_its_function_alive():
    adapter = Traced()
    f, x = KNOWN["graph"].posed(adapter)
    adapter.hessian(f, x)
    adapter.gradient(f, x)
    assert len(adapter._kept) == 1
    gone = weakref.ref(f)
    del f
    gc.collect()
    assert gone() is None
    assert len(adapter._kept) == 0


def test_numbers_of_the_text_keep_the_dtype_when_compiled():
    adapter = Traced()
    for dtype in DTYPES:
        f, x = Known("maximum(x, 0.3) + hypot(x, 0.7) / 3", {"x": np.array([0.1, 0.5])}, list).posed(adapter, dtype)
        eager = adapters.Torch().value(f, x)
        assert adapter.value(f, x).dtype == eager.dtype
        assert adapter.value(f, x).tolist() == eager.tolist()


def test_the_second_call_compiles_nothing_and_no_process_is_left(inductor):
    adapter, _ = inductor
    known = KNOWN["scaled sine"]
    answerer = Answerer(adapter)
    before = graphs()
    for i in range(2):
        inputs = {name: array + i for name, array in known.inputs.items()}
        point = Known(known.text, inputs, known.jacobians)
        cotangent = known.cotangents[0]
        query = Query(str(i), known.text, inputs, {}, "vjp", "float64", cotangent=cotangent)
        record = answerer.record(query)
        check(point, adapter, "vjp", {name: torch.tensor(array) for name, array in record.answer.items()})
        if i == 0 and record.first < REPEAT_LIMIT:
            assert record.first > 10 * record.seconds
            assert record.repeatable
        if i == 1:
            assert record.first < 0.1
    assert graphs() == before + 1
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    assert not children.exists() or children.read_text() == ""


def test_inductor_answers_what_is_known(inductor):
    adapter, _ = inductor
    known = KNOWN["three factors"]
    f, x = known.posed(adapter)
    for operator in ("value", "gradient", "jacobian", "hvp"):
        check(known, adapter, operator, known.asked(adapter, operator, f, x))


def test_opening_reports_how_it_compiles_and_with_what(inductor):
    adapter, settings = inductor
    assert settings["backend"] == "inductor"
    assert settings["compile_threads"] == 1
    assert (settings["fullgraph"], settings["dynamic"]) == (True, False)
    assert settings["float32_matmul_precision"] == "highest"
    assert len(adapter.versions()) > len(adapters.Torch().versions())


def test_without_a_compiler_every_operator_is_unsupported_and_says_why():
    # in a process of its own, since PyTorch looks for a compiler once
    code = (
        "from gradbench.adapters.torch_compile import Compile\n"
        "from gradbench.errors import Unsupported\n"
        "adapter = Compile()\n"
        "adapter.open('cpu')\n"
        "for operator in (adapter.value, adapter.gradient):\n"
        "    try: operator(lambda x: x, {})\n"
        "    except Unsupported as error: print(error)\n"
    )
    nowhere = {**os.environ, "CXX": "/nowhere/g++", "PATH": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=nowhere, capture_output=True, text=True, check=True)
    assert done.stdout.count("No working C++ compiler found") == 2
