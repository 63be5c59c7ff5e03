"""HIPS autograd's other ways, against derivatives in closed form; and that each goes the way it says."""

import numpy as np
import pytest
from known import KNOWN, Known, check

from gradbench import registry
from gradbench.adapter import Function
from gradbench.errors import Unsupported
from gradbench.query import Operator, Query
from gradbench.record import Outcome
from gradbench.worker import Answerer

autograd = pytest.importorskip("autograd")
adapters = pytest.importorskip("gradbench.adapters.autograd")
modes = pytest.importorskip("gradbench.adapters.autograd_modes")

COMPOSED = [modes.ForwardOverReverse, modes.ReverseOverForward, modes.ReverseOverReverse]
WAYS = [adapters.Autograd, modes.Forward, *COMPOSED]
OPERATORS = ["value", "jvp", "vjp", "gradient", "jacobian", "hvp", "hessian"]

# autograd warns when a derivative is zero because nothing is connected; that it then answers zeros is what is tested
pytestmark = pytest.mark.filterwarnings("ignore:Output seems independent of input")


def asked():
    """Every way, function and operator that it offers."""
    for way in WAYS:
        for name, known in KNOWN.items():
            for operator in known.operators:
                if hasattr(way, operator):
                    yield pytest.param(way, name, operator, id=f"{way.__name__}-{name}-{operator}")


# What there is no rule for forwards.
REFUSED = {"determinant": "JVP of det", "linear system": "JVP of solve"}

# `jacobian` stacks one row for each entry of an output, and NumPy can't stack none.
EMPTY = {("empty input", "hessian"), ("empty output", "jacobian")}


def is_refused(way, name, operator):
    return name in REFUSED and way in {modes.Forward, *COMPOSED[:2]} and operator != "value"


def is_empty(way, name, operator):
    return way in {adapters.Autograd, modes.ReverseOverReverse} and (name, operator) in EMPTY


@pytest.mark.parametrize(("way", "name", "operator"), list(asked()))
def test_every_operator_answers_what_is_known(way, name, operator):
    adapter, known = way(), KNOWN[name]
    f, x = known.posed(adapter)
    if is_refused(way, name, operator):
        with pytest.raises(adapter.refusals, match=REFUSED[name]):
            known.asked(adapter, operator, f, x)
    elif is_empty(way, name, operator):
        with pytest.raises(ValueError, match="at least one array to stack"):
            known.asked(adapter, operator, f, x)
    else:
        check(known, adapter, operator, known.asked(adapter, operator, f, x))


# NumPy makes float64 of a float32 and an int64; autograd's derivative of `where`, backwards, has zeros of float64.
WIDENED = {"integer exponents", "pieces"}


@pytest.mark.parametrize("name", [name for name in KNOWN if name not in WIDENED | set(REFUSED)])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_narrow_dtype_stays_itself(way, name):
    adapter, known = way(), KNOWN[name]
    f, x = known.posed(adapter, np.float32)
    for operator in known.operators:
        if hasattr(adapter, operator) and not is_empty(way, name, operator):
            check(known, adapter, operator, known.asked(adapter, operator, f, x, np.float32), np.float32)


def test_each_way_has_the_operators_that_it_offers():
    has = {way: [operator for operator in [*OPERATORS, "partial"] if hasattr(way, operator)] for way in WAYS}
    assert has[modes.Forward] == ["value", "jvp", "gradient", "jacobian", "hvp", "hessian", "partial"]
    assert all(has[way] == ["value", "hvp", "hessian"] for way in COMPOSED)


@pytest.mark.parametrize("name", [name for name in registry.entries() if name.startswith("autograd:")])
def test_each_target_is_asked_only_what_it_has(name):
    entry = registry.entry(name)
    adapter = registry.load(entry.spec)
    assert type(adapter) in WAYS
    assert all(hasattr(adapter, operator) for operator in entry.operators)
    assert bool(entry.operators) == (type(adapter) in COMPOSED)


@pytest.mark.parametrize("way", [adapters.Autograd, modes.Forward], ids=lambda way: way.__name__)
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
        np.testing.assert_allclose(part, expected * factor, rtol=1e-13)


def test_a_tuple_is_answered_as_a_tuple():
    known = KNOWN["two outputs"]
    adapter = adapters.Autograd()
    f, x = known.posed(adapter)
    assert isinstance(adapter.value(f, x), tuple)
    assert isinstance(modes.Forward().jvp(f, x, x), tuple)
    assert [array.shape for array in adapter.jacobian(f, x)["x"]] == [(3, 3), (3,)]


def test_a_gradient_of_an_array_is_an_error():
    f, x = KNOWN["scaled sine"].posed(modes.Forward())
    with pytest.raises(TypeError, match="gradient of an array"):
        modes.Forward().gradient(f, x)


def test_a_function_of_complex_inputs_with_a_complex_output_is_taken_as_holomorphic():
    z = np.array(0.5 + 0.75j)
    adapter = modes.Forward()
    f, x = Known("v ** 3", {"v": z}, list).posed(adapter, np.complex128)
    one = np.array(1 - 2j)
    np.testing.assert_allclose(adapter.jvp(f, x, {"v": one}), 3 * z**2 * one)
    np.testing.assert_allclose(adapter.gradient(f, x)["v"], 3 * z**2)
    np.testing.assert_allclose(adapter.jacobian(f, x)["v"], 3 * z**2)
    np.testing.assert_allclose(adapter.hessian(f, x)["v,v"], 6 * z)
    np.testing.assert_allclose(adapter.hvp(f, x, {"v": one})["v"], 6 * z * one)


def test_a_matrix_of_a_real_function_of_complex_numbers_is_unsupported():
    f, x = Known("abs(v) ** 2", {"v": np.array(0.5 + 0.75j)}, list).posed(modes.Forward(), np.complex128)
    for way in (modes.Forward, *COMPOSED[:2]):
        with pytest.raises(Unsupported, match="isn't holomorphic"):
            way().hessian(f, x)


def test_a_rule_that_is_not_there_is_unsupported_in_a_record():
    query = Query("q", "det(s)", {"s": np.eye(2)}, {}, Operator.GRADIENT, "float64")
    record = Answerer(modes.Forward()).record(query)
    assert record.outcome is Outcome.UNSUPPORTED
    assert "JVP of det" in record.message


# Each goes its way

SINE = Known("sin(k)", {"k": np.array(0.75)}, lambda k: [{"k": np.cos(k)}], lambda k: {"k,k": -np.sin(k)})


def sine(forwards, backwards):
    """A sine with a rule for one mode, or for both: the cosine that it is to be multiplied with."""
    found = autograd.extend.primitive(lambda x: np.sin(x))  # noqa: PLW0108  # np.sin itself has its rules
    if forwards:
        autograd.extend.defjvp(found, lambda t, _y, x: t * forwards(x))
    if backwards:
        autograd.extend.defvjp(found, lambda _y, x: lambda c: c * backwards(x))
    return found


def goes(way, operator, function):
    """Whether it answers, and then rightly."""
    adapter = way()
    f, x = SINE.posed(adapter)
    f = Function(f.program, {**f.ops, "sin": function}, f.inputs, {})
    try:
        found = SINE.asked(adapter, operator, f, x)
    except NotImplementedError as error:
        if "VJP of" not in str(error) and "JVP of" not in str(error):
            raise
        return False
    check(SINE, adapter, operator, found)
    return True


@pytest.mark.parametrize("operator", ["hvp", "hessian"])
def test_each_way_is_of_the_modes_that_it_is_named_for(operator):
    extend = autograd.extend
    forth, back, neither = (extend.primitive(lambda x: np.cos(x)) for _ in range(3))  # noqa: PLW0108  # as above
    extend.defjvp(forth, lambda t, _y, x: -t * np.sin(x))
    extend.defvjp(back, lambda _y, x: lambda c: -c * np.sin(x))
    ways = {
        "Forward": sine(forth, None),
        "ReverseOverForward": sine(back, neither),
        "ForwardOverReverse": sine(neither, forth),
        "ReverseOverReverse": sine(None, back),
    }
    for name, function in ways.items():
        able = [way.__name__ for way in WAYS[1:] if goes(way, operator, function)]
        assert able == [name]
    assert goes(modes.Forward, "gradient", ways["Forward"])
    assert not goes(modes.Forward, "gradient", ways["ReverseOverReverse"])
