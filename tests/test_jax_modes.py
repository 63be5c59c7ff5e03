"""JAX's other ways, against derivatives in closed form; and that each goes the way it says."""

import gc
import os
import re
import weakref

import ml_dtypes
import numpy as np
import pytest
from known import KNOWN, Known, check

from gradbench import registry
from gradbench.adapter import Function
from gradbench.errors import Unsupported
from gradbench.query import Query
from gradbench.worker import Answerer

jax = pytest.importorskip("jax")
adapters = pytest.importorskip("gradbench.adapters.jax")
modes = pytest.importorskip("gradbench.adapters.jax_modes")
compositions = pytest.importorskip("gradbench.adapters.jax_compositions")

jnp = jax.numpy
lax = jax.lax

COMPOSED = [compositions.ForwardOverReverse, compositions.ReverseOverForward, compositions.ReverseOverReverse]
WAYS = [adapters.Jax, modes.Jit, modes.Forward, modes.Vmap, modes.Linearize, *COMPOSED]
DTYPES = [np.dtype(np.float64), np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)]
OPERATORS = ["value", "jvp", "vjp", "gradient", "jacobian", "hvp", "hessian"]


@pytest.fixture(scope="module", autouse=True)
def _settings():
    kept = {name: os.environ.get(name) for name in ("XLA_FLAGS", "PJRT_NPROC")}
    wide, precision = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision
    adapters.Jax().open("cpu")
    jax.config.update("jax_disable_most_optimizations", True)  # noqa: FBT003  # what costs here is compiling
    yield
    jax.config.update("jax_disable_most_optimizations", False)  # noqa: FBT003
    jax.config.update("jax_enable_x64", wide)
    jax.config.update("jax_default_matmul_precision", precision)
    jax.config.update("jax_default_device", None)
    for name, value in kept.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value


NARROW = ["scaled sine", "unconnected input", "two outputs"]
ALIKE = [*NARROW, "empty input", "empty output", "integer indices", "outputs that share no input"]


def functions(way, dtype):
    """The functions that a way is tried with: all of them, and fewer where that would repeat what another shows."""
    if dtype != np.float64:
        return [name for name in NARROW if offered(way, KNOWN[name]) != ["value"]]
    return ALIKE if way in {adapters.Jax, modes.Jit} else [n for n in KNOWN if offered(way, KNOWN[n]) != ["value"]]


def offered(way, known):
    return [operator for operator in known.operators if hasattr(way, operator)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_operator_answers_what_is_known(way, dtype):
    adapter = way()
    posed = {name: KNOWN[name].posed(adapter, dtype) for name in functions(way, dtype)}

    @jax.jit  # compiles all of them at once, which is quicker than each operation of each
    def everything(points):
        found = {}
        for name, (f, x) in posed.items():
            ordered = {k: points[name][k] for k in x}  # jax.jit sorts the keys
            known = KNOWN[name]
            found[name] = {op: known.asked(adapter, op, f, ordered, dtype) for op in offered(way, known)}
        return found

    answers = everything({name: x for name, (_, x) in posed.items()})
    assert answers
    for name, by_operator in answers.items():
        for operator, answer in by_operator.items():
            check(KNOWN[name], adapter, operator, answer, dtype)


def test_each_way_has_the_operators_that_it_offers():
    has = {way: [operator for operator in [*OPERATORS, "partial"] if hasattr(way, operator)] for way in WAYS}
    assert has[modes.Jit] == has[modes.Vmap] == [*OPERATORS, "partial"]
    assert has[modes.Forward] == ["value", "jvp", "gradient", "jacobian", "hvp", "hessian", "partial"]
    assert has[modes.Linearize] == OPERATORS
    assert all(has[way] == ["value", "hvp", "hessian"] for way in COMPOSED)


@pytest.mark.parametrize("name", [name for name in registry.entries() if name.startswith("jax:")])
def test_each_target_is_asked_only_what_it_has(name):
    entry = registry.entry(name)
    adapter = registry.load(entry.spec)
    assert type(adapter) in WAYS
    assert all(hasattr(adapter, operator) for operator in entry.operators)
    assert bool(entry.operators) == (type(adapter) in COMPOSED)


@pytest.mark.parametrize("way", [modes.Jit, modes.Forward, modes.Vmap], ids=lambda way: way.__name__)
@pytest.mark.parametrize("text", ["sin(a * b)", "sin(a * b) * x", "return sin(a * b), x * sin(a * b)"])
def test_a_partial_derivative_nests_first_derivatives(way, text):
    a, b, x = 0.75, 1.25, np.array([1.5, -0.5])
    adapter = way()
    f, point = Known(text, {"a": np.array(a), "b": np.array(b), "x": x}, list).posed(adapter)
    found = jax.jit(lambda point: adapter.partial(f, point, {"b": 2, "a": 1}))(point)
    expected = -2 * a * np.sin(a * b) - a * a * b * np.cos(a * b)
    factors = [1.0, x] if f.program.is_tuple else [x if "x" in text else 1.0]
    parts = found if f.program.is_tuple else [found]
    for part, factor in zip(parts, factors, strict=True):
        np.testing.assert_allclose(part, expected * factor, rtol=1e-13)


def test_a_tuple_is_answered_as_a_tuple():
    known = KNOWN["two outputs"]
    adapter = adapters.Jax()
    f, x = known.posed(adapter)
    ones = tuple(map(adapter.asarray, known.cotangents))
    assert isinstance(adapter.value(f, x), tuple)
    assert isinstance(adapter.jvp(f, x, x), tuple)
    assert [array.shape for array in adapter.jacobian(f, x)["x"]] == [(3, 3), (3,)]
    assert set(adapter.vjp(f, x, ones)) == {"x", "k"}
    with pytest.raises(TypeError):
        adapter.gradient(f, x)


@pytest.mark.parametrize("way", [adapters.Jax, modes.Forward, modes.Linearize], ids=lambda way: way.__name__)
def test_a_gradient_of_an_array_is_an_error(way):
    adapter = way()
    f, x = KNOWN["scaled sine"].posed(adapter)
    with pytest.raises(TypeError, match="scalar"):
        adapter.gradient(f, x)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_function_of_complex_inputs_with_a_complex_output_is_taken_as_holomorphic(way):
    z = np.array(0.5 + 0.75j)
    adapter = way()
    f, x = Known("v ** 3", {"v": z}, list).posed(adapter, np.complex128)
    one = np.array(1 - 2j)
    expected = {"hessian": 6 * z, "hvp": 6 * z * one}
    if way not in COMPOSED:
        expected |= {"gradient": 3 * z**2, "jacobian": 3 * z**2, "jvp": 3 * z**2 * one}

    @jax.jit
    def answers(x, along):
        return {op: getattr(adapter, op)(f, x, *([along] if op in {"jvp", "hvp"} else [])) for op in expected}

    for operator, found in answers(x, {"v": adapter.asarray(one)}).items():
        (answer,) = jax.tree.leaves(found)
        np.testing.assert_allclose(answer, expected[operator], err_msg=operator)


@pytest.mark.parametrize("way", [modes.Forward, modes.Linearize], ids=lambda way: way.__name__)
def test_a_matrix_of_a_real_function_of_complex_numbers_is_unsupported(way):
    adapter = way()
    f, x = Known("abs(v) ** 2", {"v": np.array(0.5 + 0.75j)}, list).posed(adapter, np.complex128)
    with pytest.raises(Unsupported):
        adapter.jacobian(f, x)
    with pytest.raises(Unsupported):
        adapter.hessian(f, x)


def test_a_gradient_keeps_the_convention_of_jax_for_complex_inputs_when_it_is_transposed():
    z = np.array(0.5 + 0.75j)
    for way in (modes.Jit, modes.Vmap, modes.Linearize):
        f, x = Known("abs(v) ** 2", {"v": z}, list).posed(way(), np.complex128)
        np.testing.assert_allclose(way().gradient(f, x)["v"], 2 * np.conj(z))
        f, x = Known("v * (1 + 2j)", {"v": np.array(0.5)}, list).posed(way())
        with pytest.raises(Unsupported):
            way().gradient(f, x)


# Compiled


class Counted(Function):
    """A function that counts how often Python runs it."""

    def __call__(self, *arrays):
        self.ops["count"].append(1)
        return super().__call__(*arrays)


def counted(known, adapter, dtype=np.float64):
    f, x = known.posed(adapter, dtype)
    calls = []
    return Counted(f.program, {**f.ops, "count": calls}, f.inputs, f.constants), x, calls


SCALAR, TUPLE = KNOWN["integer exponents"], KNOWN["two outputs"]


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_function_is_traced_once_for_a_hundred_points(operator):
    known = SCALAR
    adapter = modes.Jit()
    f, _, calls = counted(known, adapter)
    for i in range(100):
        point = Known(known.text, {"x": known.inputs["x"] + i / 64}, known.jacobians, known.hessian, known.constants)
        native = {"x": adapter.asarray(point.inputs["x"])}
        check(point, adapter, operator, known.asked(adapter, operator, f, native))
    assert len(calls) == 1


def test_a_partial_is_compiled_once_too():
    adapter = modes.Jit()
    f, _, calls = counted(KNOWN["graph"], adapter)
    for i in range(100):
        x = {"a": adapter.asarray(np.array(1.0 + i)), "b": adapter.asarray(np.array(2.0))}
        assert float(adapter.partial(f, x, {"b": 2})) == 2
        assert float(adapter.partial(f, x, {"b": 1})) == 1 + i + 4 + 1
    assert len(calls) <= 4  # two of them, each of which asks for the shape of f before


def test_directions_are_arguments_and_no_part_of_what_is_compiled():
    adapter = modes.Jit()
    f, x, calls = counted(TUPLE, adapter)
    expected = TUPLE.expected("jvp"), TUPLE.expected("vjp")
    for scale in (1.0, -2.0, 0.5):
        tangents = {name: adapter.asarray(scale * t) for name, t in TUPLE.tangents.items()}
        cotangents = tuple(adapter.asarray(scale * w) for w in TUPLE.cotangents)
        np.testing.assert_allclose(adapter.jvp(f, x, tangents)[0], scale * expected[0]["0"], rtol=1e-14)
        np.testing.assert_allclose(adapter.vjp(f, x, cotangents)["x"], scale * expected[1]["x"], rtol=1e-14)
    assert len(calls) == 2


def test_new_shapes_and_dtypes_are_compiled_anew():
    adapter = modes.Jit()
    f, _, calls = counted(KNOWN["cubes"], adapter)
    for size, dtype in ((2, np.float64), (3, np.float64), (3, np.float32), (3, np.float32)):
        found = adapter.gradient(f, {"x": adapter.asarray(np.full(size, 2, dtype))})["x"]
        assert found.dtype == dtype
        assert found.tolist() == [12] * size
    assert len(calls) == 3


def test_complex_inputs_are_traced_no_more_often():
    adapter = modes.Jit()
    f, _, calls = counted(Known("v ** 3", {"v": np.array(1j)}, list), adapter, np.complex128)
    adapter.gradient(f, {"v": adapter.asarray(np.array(1j))})
    once = len(calls)
    for i in range(20):
        z = np.array(i + 1j)
        np.testing.assert_allclose(adapter.gradient(f, {"v": adapter.asarray(z)})["v"], 3 * z**2)
    assert len(calls) == once


def test_what_is_compiled_does_not_keep_its_function_alive():
    adapter = modes.Jit()
    f, x, _ = counted(SCALAR, adapter)
    adapter.hessian(f, x)
    adapter.partial(f, x, {})
    assert len(adapter._compiled) == 1
    gone = weakref.ref(f)
    del f
    gc.collect()
    assert gone() is None
    assert len(adapter._compiled) == 0


# Each goes its way


def looped(x):
    """A sine out of a loop whose length JAX doesn't know, and which it therefore can't go back through."""
    return lax.while_loop(lambda state: state[0] < 1, lambda state: (state[0] + 1, jnp.sin(state[1])), (0, x))[1]


@jax.custom_vjp
def backwards(x):
    """A sine whose only rule is for a cotangent."""
    return jnp.sin(x)


backwards.defvjp(lambda x: (jnp.sin(x), x), lambda x, c: (c * jnp.cos(x),))


@jax.custom_vjp
def backwards_once(x):
    """A sine whose only rule is for a cotangent, and that rule has none itself."""
    return jnp.sin(x)


backwards_once.defvjp(lambda x: (jnp.sin(x), x), lambda x, c: (c * looped(x + jnp.pi / 2),))

SINE = Known("sin(k)", {"k": np.array(0.75)}, lambda k: [{"k": np.cos(k)}], lambda k: {"k,k": -np.sin(k)})


def with_sine(adapter, sine):
    f, x = SINE.posed(adapter)
    return Function(f.program, {**f.ops, "sin": sine}, f.inputs, {}), x


def goes(way, operator, sine):
    """Whether it answers, and then rightly."""
    adapter = way()
    f, x = with_sine(adapter, sine)
    try:
        found = SINE.asked(adapter, operator, f, x)
    except (TypeError, ValueError, NotImplementedError) as error:
        if not re.search("differentiation|autodiff", str(error), re.IGNORECASE):
            raise
        return False
    check(SINE, adapter, operator, found)
    return True


def test_forward_mode_never_goes_backwards():
    for operator in ("jvp", "gradient", "jacobian", "hvp", "hessian"):
        assert goes(modes.Forward, operator, looped), operator
        assert not goes(modes.Forward, operator, backwards), operator
    adapter = modes.Forward()
    f, x = with_sine(adapter, looped)
    np.testing.assert_allclose(adapter.partial(f, x, {"k": 3}), -np.cos(0.75))
    assert not goes(adapters.Jax, "gradient", looped)


@pytest.mark.parametrize("operator", ["hvp", "hessian"])
def test_each_composition_is_of_the_modes_that_it_is_named_for(operator):
    def ways(sine):
        return [way.__name__ for way in COMPOSED if goes(way, operator, sine)]

    assert ways(looped) == []
    assert ways(backwards) == ["ForwardOverReverse", "ReverseOverReverse"]
    assert ways(backwards_once) == ["ForwardOverReverse"]
    assert ways(jnp.sin) == ["ForwardOverReverse", "ReverseOverForward", "ReverseOverReverse"]


def test_what_is_linearised_is_transposed():
    from jax.extend import core

    odd = core.Primitive("odd")
    odd.def_impl(lambda x: 3.0 * x)
    odd.def_abstract_eval(lambda x: x)
    jax.interpreters.ad.deflinear2(odd, lambda cotangent, _x: [5.0 * cotangent])
    jax.interpreters.batching.defvectorized(odd)
    jax.interpreters.mlir.register_lowering(
        odd, jax.interpreters.mlir.lower_fun(lambda x: 3.0 * x, multiple_results=False)
    )
    adapter = modes.Linearize()
    f, x = with_sine(adapter, odd.bind)
    one = adapter.asarray(np.array(1.0))
    assert float(adapter.jvp(f, x, {"k": one})) == 3
    assert float(adapter.jacobian(f, x)["k"]) == 3
    assert float(adapter.vjp(f, x, one)["k"]) == 5
    assert float(adapter.gradient(f, x)["k"]) == 5


# Batched


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.complex64])
def test_neighbours_differ_from_a_point_and_keep_its_dtype_and_symmetry(dtype):
    array = np.array([[1.5, 0, -3], [0, 2, 1e-3], [-3, 1e-3, 7]]).astype(dtype)
    below, middle, above = np.asarray(modes._between_neighbours(jnp.array(array)))
    assert middle.tobytes() == array.tobytes()
    assert below.dtype == above.dtype == array.dtype
    assert (below != array).all()
    assert (above != array).all()
    assert (below == below.T).all()
    assert (above == above.T).all()
    np.testing.assert_allclose(above.astype(complex), array.astype(complex), rtol=0.02, atol=0.02)


def test_what_is_not_inexact_has_neighbours_like_itself():
    rows = modes._between_neighbours(jnp.array([1, 2]))
    assert rows.dtype == np.int64
    assert rows.tolist() == [[1, 2]] * 3
    assert modes._between_neighbours(jnp.zeros((0, 2))).shape == (3, 0, 2)


@pytest.mark.parametrize("k", [0.0, 0.75])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_rule_that_mixes_the_rows_of_a_batch_shows(dtype, k):
    @jax.custom_batching.custom_vmap
    def mixing(x):
        return jnp.sin(x)

    mixing.def_vmap(lambda _size, _batched, x: (jnp.sin(jnp.roll(x, 1)), True))
    adapter = modes.Vmap()
    known = Known("sin(k)", {"k": np.array(k)}, SINE.jacobians)
    f, x = known.posed(adapter, dtype)
    mixed = Function(f.program, {**f.ops, "sin": mixing}, f.inputs, {})
    check(known, adapter, "value", known.asked(adapter, "value", f, x), dtype)
    assert adapters.Jax().value(mixed, x) == adapters.Jax().value(f, x)
    assert adapter.value(mixed, x) != adapter.value(f, x)


# Memory


@pytest.fixture
def memory(monkeypatch):
    """What the process is said to use, and how often JAX has been told to let go."""
    used, cleared = [10 * adapters.KEPT], []
    monkeypatch.setattr(adapters, "_resident", lambda: used[0])
    monkeypatch.setattr(jax, "clear_caches", lambda: cleared.append(used.pop()) or used.append(3 * adapters.KEPT))
    return used, cleared


def test_what_is_compiled_is_let_go_of_when_it_has_grown(memory):
    used, cleared = memory
    adapter = adapters.Jax()
    adapter.make_room()  # however much there is to begin with
    used[0] += adapters.KEPT
    adapter.make_room()
    assert cleared == []
    used[0] += 1
    adapter.make_room()
    assert len(cleared) == 1
    used[0] += adapters.KEPT  # counted from where it was then
    adapter.make_room()
    assert len(cleared) == 1
    used[0] += 1
    adapter.make_room()
    assert len(cleared) == 2


def test_a_compiled_function_answers_as_before_when_room_was_made(monkeypatch):
    adapter = modes.Jit()
    f, x, calls = counted(SCALAR, adapter)
    adapter.make_room()
    before = adapter.gradient(f, x)["x"]
    monkeypatch.setattr(adapters, "KEPT", -1)
    adapter.make_room()
    after = adapter.gradient(f, x)["x"]
    assert before.tolist() == after.tolist()
    assert len(calls) == 2


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the system doesn't say")  # noqa: PTH110
def test_the_memory_of_the_process_is_what_the_system_says():
    before = adapters._resident()
    block = np.ones(2**25)
    assert 0.9 * block.nbytes < adapters._resident() - before < 1.5 * block.nbytes


def test_room_is_made_before_a_new_function_and_not_between_points(monkeypatch):
    adapter = adapters.Jax()
    made = []
    monkeypatch.setattr(adapter, "make_room", lambda: made.append(1), raising=False)
    answerer = Answerer(adapter)
    for text, k in (("k * 2", 1.0), ("k * 2", 3.0), ("k * 3", 1.0), ("k * 2", 1.0)):
        answerer.record(Query("q", text, {"k": np.array(k)}, {}, "value", "float64"))
    assert len(made) == 2
