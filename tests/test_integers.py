"""Inputs of whole numbers and truth values: read, held, differentiated around, and what frameworks say of them."""

from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np
import pytest

from gradbench import document
from gradbench.adapter import Function
from gradbench.aside import aside
from gradbench.case_reader import read
from gradbench.conventions import KINDS, conventions
from gradbench.errors import Mistakes, Unsupported
from gradbench.judge import Ruling, judge
from gradbench.plan import Selection, plan
from gradbench.query import Operator, Query
from gradbench.record import Outcome, Record, Run, Target
from gradbench.reference.finite_difference import FiniteDifference
from gradbench.worker import Answerer

POWER = """
  - name: power
    inputs: {x: [3], k: {shape: [3], dtype: integer}}
    function: sum(x ** k)
    points:
      - at: {x: [1.5, -2, 0.5], k: [3, 2, 4]}
      - at: {x: [2, 0.5, -1], k: [2, 3, 1]}
"""
GATHER = """
  - name: gather
    inputs: {x: [3], k: {shape: [2], dtype: integer}}
    function: take(x, k) ** 2
    points:
      - at: {x: [1.5, -2, 0.5], k: [2, 0]}
      - at: {x: [1.5, -2, 0.5], k: [1, 1]}
"""
MASK = """
  - name: mask
    inputs: {m: {shape: [3], dtype: boolean}, x: [3], y: [3]}
    function: sum(where(m, x ** 2, x * y))
    points:
      - at: {m: [true, false, true], x: [1.5, -2, 0.5], y: [4, 3, 2]}
"""
ALONE = """
  - name: alone
    inputs: {k: {shape: [3], dtype: integer}}
    constants: {w: [0.5, -0.25, 2]}
    function: sum(w * k)
    points:
      - at: {k: [1, -2, 3]}
"""
SQUARES = (
    ALONE.replace("alone", "squares").replace("w * k", "k * k").replace("    constants: {w: [0.5, -0.25, 2]}\n", "")
)


def cases(text):
    return read(document.parse(f"cases:{text}".encode(), "f.yaml"))


def mistake(text):
    with pytest.raises(Mistakes) as caught:
        cases(text)
    (one,) = [str(m).splitlines()[0] for m in caught.value.mistakes]
    return one


def questions(text, *operators, dtypes=("float64",)):
    return plan(cases(text), Selection(operators=tuple(Operator(one) for one in operators), dtypes=dtypes))


def question(text, operator, point=1, dtype="float64"):
    (one,) = [q for q in questions(text, operator, dtypes=(dtype,)) if q.point == point]
    return one


def case(inputs="{x: scalar, k: {shape: scalar, dtype: integer}}", at="{x: 2, k: 3}", function="x ** k", more=""):
    return f"\n  - name: c\n    inputs: {inputs}\n    function: {function}\n{more}    points:\n      - at: {at}\n"


# Reading


def test_integers_and_truth_values_are_inputs_of_their_own_kind():
    (one,) = cases(MASK.replace("y: [3]}", "y: [3], k: {shape: any, dtype: integer}}").replace("y: [4", "k: 3, y: [4"))
    found = one.points[0].inputs
    assert {name: array.dtype.name for name, array in found.items()} == {
        "m": "bool", "x": "float64", "y": "float64", "k": "int64",
    }  # fmt: skip
    assert found["m"].tolist() == [True, False, True]
    assert found["k"].tolist() == 3


def test_an_empty_array_of_whole_numbers_keeps_its_kind():
    (one,) = cases(case("{x: scalar, k: {shape: [0], dtype: integer}}", "{x: 2, k: []}", "x + sum(k)"))
    assert one.points[0].inputs["k"].dtype == np.int64


def test_grids_and_draws_are_of_whole_numbers_where_inputs_are():
    inputs = "{x: scalar, k: {shape: scalar, dtype: integer}, m: {shape: scalar, dtype: boolean}}"
    text = case(inputs, "{x: 1, k: 1, m: true}", "where(m, x ** k, x)").partition("      - at")[0]
    (grid,) = cases(f"{text}      - grid: {{x: [1, 2], k: {{from: 0, to: 2, count: 3}}, m: [true, false]}}\n")
    assert [(p.inputs["k"].item(), p.inputs["m"].item()) for p in grid.points][:3] == [(0, True), (0, False), (1, True)]
    drawn = "count: 40, seed: 1, x: {uniform: [0, 1]}, k: {integers: [-1, 2]}, m: {integers: [0, 1]}"
    (draw,) = cases(f"{text}      - draw: {{{drawn}}}\n")
    assert {p.inputs["k"].item() for p in draw.points} == {-1, 0, 1, 2}
    assert {p.inputs["m"].item() for p in draw.points} == {True, False}
    assert {p.inputs["k"].dtype.name for p in (*grid.points, *draw.points)} == {"int64"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (case(at="{x: 2, k: 2.5}"), "f.yaml:6:23: 'k' is declared as integer, and these values are not; numbers without"),
        (case(at="{x: 2, k: inf}"), "f.yaml:6:23: 'k' is declared as integer, and these values are not"),
        (case(at="{x: 2, k: 1e16}"), "f.yaml:6:23: 'k' is declared as integer, and these values are not"),
        (case(at="{x: 2, k: true}"), "f.yaml:6:23: 'k' is declared as integer, and these values are not"),
        (
            case("{x: scalar, m: {shape: scalar, dtype: boolean}}", "{x: 2, m: 1}", "where(m, x, 2)"),
            "f.yaml:6:23: 'm' is declared as boolean, and these values are not; true or false",
        ),
        (case("{x: scalar}", "{x: true}", "x"), "f.yaml:6:17: a truth value, and 'x' is real; a number, or declare it"),
        (
            case("{x: scalar, k: {shape: scalar, dtype: intger}}"),
            "f.yaml:3:51: an input can't be 'intger'; did you mean 'integer'?",
        ),
        (
            case(at="{x: 2, k: 3}\n        gradient: {x: 12, k: 5.5}"),
            ("f.yaml:7:30: 'k' is an integer input, by which there is no derivative; state those by x; what each target "
            "answers by 'k' is recorded as its convention"),
        ),
        (
            case(at="{x: 2, k: 3}\n        hessian: {x: {x: 12, k: 1}}"),
            "f.yaml:7:33: 'k' is an integer input, by which there is no derivative",
        ),
        (
            case(at="{x: 2, k: 3}\n        jvp: {tangents: {x: 1, k: 1}, answer: 12}"),
            "f.yaml:7:32: 'k' is an integer input, by which there is no derivative",
        ),
        (
            case(at="{x: 2, k: 3}\n        partial: {orders: {k: 1}, answer: 12}"),
            "f.yaml:7:28: 'k' is an integer input, by which there is no derivative",
        ),
        (
            case(more="    operators: [value, partial: {k: 1}]\n"),
            "f.yaml:5:34: 'k' is an integer input, by which there is no derivative",
        ),
        (
            case(more="    gradient: {x: k * x ** (k - 1), k: x}\n"),
            "f.yaml:5:15: 'k' is an integer input, by which there is no derivative",
        ),
        (
            case("{m: {shape: scalar, dtype: boolean}}", "{m: true}\n        gradient: 0", "where(m, 1, 2)"),
            "f.yaml:7:19: 'm' is a boolean input, by which there is no derivative; state the value; what each",
        ),
        (
            case("{k: {shape: scalar, dtype: integer}}", "{k: 2}", "k * k", "    operators: [value, jvp]\n"),
            "f.yaml:5:24: jvp needs an input of real or complex numbers, and there is none",
        ),
        (
            case("{k: {shape: scalar, dtype: integer}}", "{k: 2}\n        hessian: 0", "k * k"),
            "f.yaml:7:9: hessian needs an input of real or complex numbers, and there is none; state the value",
        ),
        (
            case().replace("at: {x: 2, k: 3}", "grid: {x: [1], k: [0.5]}"),
            "f.yaml:6:28: 'k' is integer, and 0.5 is not; a number without a fraction",
        ),
        (
            case().replace("at: {x: 2, k: 3}", "draw: {count: 1, seed: 1, x: {uniform: [0, 1]}, k: {normal: [0, 1]}}"),
            "f.yaml:6:60: 'k' is integer, and normal draws fractions; integers: [0, 1]",
        ),
        (
            case().replace("at: {x: 2, k: 3}", "draw: {count: 1, seed: 1, x: {uniform: [0, 1]}, k: {integers: [2, 1]}}"),
            "f.yaml:6:71: integers from 2 to 1; two whole numbers, the lower first",
        ),
    ],
)  # fmt: skip
def test_a_mistake_about_whole_numbers_says_where_it_is_and_what_would_fit(text, wanted):
    assert mistake(text).startswith(wanted)


def test_an_answer_without_a_name_is_that_of_the_one_input_which_has_derivatives():
    (one,) = cases(case(at="{x: 2, k: 3}\n        gradient: 12"))
    (answer,) = one.points[0].answers
    assert {key: stated.lower.item() for key, stated in answer.stated.items()} == {"x": 12.0}


# Asking


def test_what_is_differentiated_by_has_keys_and_tangents_and_the_rest_has_none():
    by_operator = {q.query.operator: q.query for q in questions(POWER) if q.point == 1}
    assert set(by_operator) == {Operator.VALUE, Operator.GRADIENT, Operator.HESSIAN}
    assert by_operator[Operator.GRADIENT].keys == ("x",)
    assert by_operator[Operator.GRADIENT].asides == ("k",)
    assert by_operator[Operator.HESSIAN].keys == ("x,x",)
    assert by_operator[Operator.HESSIAN].asides == ()
    pushed = question(GATHER, "jvp").query
    assert list(pushed.tangents) == ["x"]
    assert pushed.asides == ()
    assert pushed.inputs["k"].dtype == np.int64
    assert Query.from_json(pushed.to_json()).digest == pushed.digest


def test_a_function_of_whole_numbers_alone_is_asked_for_its_value_and_for_conventions():
    asked = {q.query.operator: q.query for q in questions(ALONE)}
    assert set(asked) == {Operator.VALUE, Operator.GRADIENT, Operator.VJP}
    assert asked[Operator.VALUE].keys == ("",)
    assert asked[Operator.GRADIENT].keys == ()
    assert asked[Operator.GRADIENT].asides == ("k",)


def test_to_a_reference_whole_numbers_are_constants():
    held = question(MASK, "gradient").query.held
    assert list(held.inputs) == ["x", "y"]
    assert list(held.constants) == ["m"]
    found = Answerer(FiniteDifference()).record(question(MASK, "gradient").query)
    assert found.answer["x"].tolist() == pytest.approx([3, 3, 1], rel=1e-9)
    assert set(found.answer) == {"x", "y"}
    nothing = Answerer(FiniteDifference()).record(question(ALONE, "gradient").query)
    assert (nothing.outcome, nothing.message) == (Outcome.UNSUPPORTED, "there is nothing to differentiate by")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_whole_numbers_are_not_rounded_to_the_dtype(dtype):
    query = question(POWER.replace("[3, 2, 4]", "[3, 2, 4097]"), "value", dtype=dtype).query
    assert query.inputs["k"].tolist() == [3, 2, 4097]


# Answering

FLOAT0 = np.dtype([("float0", "V")])


class Quiet:
    """Differentiates by hand, and says of `k` what it is told to."""

    ops = MappingProxyType({"power": np.power, "sum": lambda x, **_: np.sum(x), "asarray": np.asarray})
    composite = refusals = ()

    def __init__(self, said):
        self.said, self.asked = said, []

    asarray = staticmethod(np.array)
    numpy = staticmethod(np.asarray)

    def synchronize(self):
        pass

    def gradient(self, f, x):
        self.asked.append(tuple(x))
        if "k" in x:
            if isinstance(self.said, Exception):
                raise self.said
            return {"k": self.said}
        assert f.inputs == ("x",)
        k = f.held["k"]
        return {"x": k * x["x"] ** (k - 1.0)}


def refusal():
    error = Unsupported("only floats")
    error.__cause__ = RuntimeError("only Tensors of floating point dtype\ncan require gradients")
    return error


@pytest.mark.parametrize(
    ("said", "word", "message"),
    [
        (None, "None", None),
        (np.zeros(3), "zeros", None),
        (np.zeros(3, FLOAT0), "float0", None),
        (np.array([1.5, 2, 3]), "a number", "[1.5, 2. , 3. ]"),
        (TypeError("grad requires\nreal inputs"), "an error", "TypeError: grad requires real inputs"),
        (refusal(), "an error", "RuntimeError: only Tensors of floating point dtype can require gradients"),
        (Unsupported("it has no arrays"), "unsupported", "it has no arrays"),
    ],
)
def test_what_a_framework_says_is_measured_beside_the_answer(said, word, message):
    adapter = Quiet(said)
    record = Answerer(adapter).record(question(POWER, "gradient").query)
    assert record.outcome is Outcome.ANSWERED
    assert record.answer["x"].tolist() == [6.75, -4.0, 0.5]
    assert set(record.answer) == {"x"}
    assert record.notes["discrete"] == {"k": {"answer": word, **({"message": message} if message else {})}}
    assert adapter.asked == [("x",), ("x",), ("k",)]
    again = Record.from_json(record.to_json())
    assert again.notes == record.notes


def test_an_adapter_may_say_itself_how_its_users_would_ask():
    class Own(Quiet):
        def by_discrete(self, operator, f, x, *direction):
            return {name: (np.zeros(2), None) for name in x} | {"asked": (operator, f, direction)}

    said = Answerer(Own(AssertionError())).record(question(POWER, "gradient").query).notes["discrete"]
    assert said == {"k": {"answer": "zeros and None"}}


def test_a_function_holds_some_of_its_inputs_and_stays_the_same_object_behind():
    found = []

    class Keeping(Quiet):
        def gradient(self, f, x):
            found.append(f)
            return super().gradient(f, x)

    answerer = Answerer(Keeping(None))
    for point in (1, 2):
        answerer.record(question(POWER, "gradient", point).query)
    assert len({id(f.kept_by) for f in found}) == 1
    assert [f.held["k"].tolist() for f in found if "k" in f.held] == [[3, 2, 4]] * 2 + [[2, 3, 1]] * 2
    assert {name: array.shape for name, array in found[2].held.items()} == {"x": (3,)}
    whole = found[0].kept_by
    assert whole.inputs == ("x", "k")
    assert whole.holding({}) is whole


def test_an_input_of_whole_numbers_that_comes_back_changed_is_seen():
    class Changing(Quiet):
        def gradient(self, f, x):
            found = super().gradient(f, x)
            if "k" in f.held:
                f.held["k"][0] += 1
            return found

    assert Answerer(Changing(None)).record(question(POWER, "gradient").query).mutated == ("k",)


# Judging

QUIET = Target("quiet")


def judged(asked, answer, said=None, truth=None):
    """The verdict on an answer, the truth being proved."""
    notes = {} if said is None else {"discrete": said}
    records = [Record(asked.query.id, Outcome.ANSWERED, answer, notes=notes).of(QUIET)]
    if truth is not None:
        margin = {key: {"radius": np.zeros(np.shape(array))} for key, array in truth.items()}
        status = {key: np.full(np.shape(array), "certified") for key, array in truth.items()}
        ball = Record(asked.query.id, Outcome.ANSWERED, truth, margin=margin, status=status)
        records.append(ball.of(Target("ball", reference=True)))
    run = Run({}, {asked.query.id: asked}, {QUIET.environment: QUIET}, records)
    (verdict,) = judge(run)
    return verdict


RIGHT = {"x": np.array([6.75, -4.0, 0.5])}


@pytest.mark.parametrize("word", ["None", "zeros", "float0", "a number", "an error"])
def test_what_is_said_by_whole_numbers_is_a_convention_and_the_rest_is_judged(word):
    asked = question(POWER, "gradient")
    verdict = judged(asked, RIGHT, {"k": {"answer": word, "message": "E: why"}}, RIGHT)
    x, k = verdict.findings
    assert (x.key, x.ruling) == ("x", Ruling.PASS)
    assert (k.key, k.ruling, k.reason) == ("k", Ruling.CONVENTION, "integer-input")
    assert k.detail == f"{word} where there is no derivative: E: why"
    wrong = judged(asked, {"x": RIGHT["x"] * 1.01}, {"k": {"answer": word}}, RIGHT)
    assert wrong.ruling is Ruling.FAIL


def test_a_boolean_input_has_a_reason_of_its_own():
    asked = question(MASK, "gradient")
    right = {"x": np.array([3.0, 3.0, 1.0]), "y": np.array([0.0, -2.0, 0.0])}
    verdict = judged(asked, right, {"m": {"answer": "None"}}, right)
    assert [(f.key, f.ruling, f.reason) for f in verdict.findings][2:] == [("m", Ruling.CONVENTION, "boolean-input")]


def test_who_was_not_asked_or_offers_nothing_is_unsupported_there_and_no_more():
    asked = question(ALONE, "gradient")
    for said, detail in ((None, "it wasn't asked"), ({"k": {"answer": "unsupported", "message": "no"}}, "no")):
        (finding,) = judged(asked, {}, said).findings
        assert (finding.key, finding.ruling, finding.detail) == ("k", Ruling.UNSUPPORTED, detail)


def test_an_input_of_whole_numbers_is_never_the_one_that_nothing_depends_on():
    asked = question(POWER.replace("x ** k", "x ** 2"), "gradient")
    record = Record(asked.query.id, Outcome.RAISED, error="E", message="no").of(QUIET)
    (verdict,) = judge(Run({}, {asked.query.id: asked}, {QUIET.environment: QUIET}, [record]))
    assert verdict.ruling is Ruling.ERROR


@pytest.mark.parametrize("dtype", ["int64", "float64", "float32"])
def test_a_value_of_whole_numbers_alone_may_be_of_any_dtype(dtype):
    asked = question(SQUARES, "value")
    truth = {"": np.array(14.0)}
    assert judged(asked, {"": np.array(14, dtype)}, truth=truth).ruling is Ruling.PASS
    assert judged(asked, {"": np.array(15, dtype)}, truth=truth).ruling is Ruling.FAIL


def test_float32_of_whole_numbers_alone_is_held_to_float32():
    asked = question(SQUARES.replace("k * k", "cos(k)"), "value")
    right = math.fsum(map(math.cos, (1, -2, 3)))
    assert judged(asked, {"": np.array(right, np.float32)}, truth={"": np.array(right)}).ruling is Ruling.PASS
    assert judged(asked, {"": np.array(right * 1.001, np.float32)}, truth={"": np.array(right)}).ruling is Ruling.FAIL


def test_what_float32_and_whole_numbers_make_together_is_a_convention():
    asked = question(POWER, "gradient", dtype="float32")
    said = {"k": {"answer": "None"}}
    verdict = judged(asked, RIGHT, said, RIGHT)
    assert (verdict.findings[0].ruling, verdict.findings[0].reason) == (Ruling.CONVENTION, "promoted")
    assert judged(asked, {"x": RIGHT["x"] * 1.01}, said, RIGHT).findings[0].ruling is Ruling.FAIL
    narrow = judged(asked, {"x": RIGHT["x"].astype(np.float16)}, said, RIGHT)
    assert (narrow.findings[0].ruling, narrow.findings[0].reason) == (Ruling.FAIL, "dtype")
    plain = question(POWER.replace(", k: {shape: [3], dtype: integer}", "").replace("** k", "** 2").replace(
        ", k: [3, 2, 4]", "").replace(", k: [2, 3, 1]", ""), "gradient", dtype="float32")  # fmt: skip
    wide = judged(plain, {"x": np.array([3.0, -4.0, 1.0])}, truth={"x": np.array([3.0, -4.0, 1.0])})
    assert (wide.ruling, wide.worst.reason) == (Ruling.FAIL, "dtype")


def test_the_conventions_page_says_what_each_target_answers():
    asked = question(POWER, "gradient")
    error = {"answer": "an error", "message": "TypeError: grad requires real inputs"}
    found = conventions(
        [judged(asked, RIGHT, {"k": error}, RIGHT), judged(asked, RIGHT, {"k": {"answer": "None"}}, RIGHT)]
    )
    (one,) = [c for c in found if c.kind == "integer"]
    assert (dict(one.answers), one.case) == ({"an error (TypeError)": 1, "None": 1}, "power")
    mask = question(MASK, "gradient")
    right = {"x": np.array([3.0, 3.0, 1.0]), "y": np.array([0.0, -2.0, 0.0])}
    (two,) = [c for c in conventions([judged(mask, right, {"m": {"answer": "zeros"}}, right)]) if c.kind == "boolean"]
    assert dict(two.answers) == {"zeros": 1}
    narrow = question(POWER, "gradient", dtype="float32")
    (three,) = [c for c in conventions([judged(narrow, RIGHT, {}, RIGHT)]) if c.kind == "promoted"]
    assert dict(three.answers) == {"float64 for float32": 1}
    assert {"integer", "boolean", "promoted"} <= set(KINDS)


# Frameworks, each asked as its users ask


def answerer(framework, module, name, **settings):
    pytest.importorskip(framework)
    adapter = getattr(pytest.importorskip(f"gradbench.adapters.{module}"), name)()
    for key, value in settings.items():
        setattr(adapter, key, value)
    adapter.open("cpu")
    return Answerer(adapter)


TARGETS = {
    "torch": ("torch", "torch", "Torch"),
    "torch:func": ("torch", "torch_func", "Func"),
    "torch:forward": ("torch", "torch_forward", "Forward"),
    "torch:vmap": ("torch", "torch_vmap", "Vmap"),
    "jax": ("jax", "jax", "Jax"),
    "jax:jit": ("jax", "jax_modes", "Jit"),
    "jax:vmap": ("jax", "jax_modes", "Vmap"),
    "jax:forward": ("jax", "jax_modes", "Forward"),
    "jax:linearize": ("jax", "jax_modes", "Linearize"),
    "tensorflow": ("tensorflow", "tensorflow", "TensorFlow"),
    "tensorflow:function": ("tensorflow", "tensorflow_traced", "Traced"),
    "tensorflow:graph": ("tensorflow", "tensorflow_graph", "Graph"),
    "tensorflow:persistent": ("tensorflow", "tensorflow_persistent", "Persistent"),
    "tensorflow:forward": ("tensorflow", "tensorflow_forward", "Forward"),
    "autograd": ("autograd", "autograd", "Autograd"),
    "sympy": ("sympy", "sympy", "SymPy"),
    "dual": ("numpy", "dual", "DualNumbers"),
    "tape": ("numpy", "tape", "Tape"),
    "symbolic": ("numpy", "symbolic", "Symbolic"),
}
NO_FLOAT, NO_GRADIENT = (
    "RuntimeError: only Tensors of floating point dtype",
    "TypeError: grad requires real- or complex",
)
SAID = {
    "torch": ("an error", NO_FLOAT), "torch:func": ("an error", NO_FLOAT), "torch:vmap": ("an error", NO_FLOAT),
    "torch:forward": ("an error", "ValueError: Expected primal to be floating point"),
    "jax": ("an error", NO_GRADIENT), "jax:jit": ("an error", NO_GRADIENT), "jax:vmap": ("an error", NO_GRADIENT),
    "jax:forward": ("an error", "TypeError: jacfwd requires real-valued"),
    "jax:linearize": ("an error", "ValueError: linearized function called on tangent values"),
    **dict.fromkeys([name for name in TARGETS if name.startswith("tensorflow")], ("None", "")),
    **dict.fromkeys(["autograd", "sympy", "dual", "symbolic"], ("a number", "[")), "tape": ("zeros", ""),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the logarithm of -2
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # forward mode's own rules are made by it
@pytest.mark.parametrize("target", TARGETS)
def test_a_gradient_beside_whole_numbers_is_right_and_what_is_said_of_them_is_known(target):
    asked = answerer(*TARGETS[target])
    for point, right in ((1, [6.75, -4.0, 0.5]), (2, [4.0, 0.75, 1.0])):
        record = asked.record(question(POWER, "gradient", point).query)
        assert record.outcome is Outcome.ANSWERED, record.message
        assert record.answer["x"].tolist() == pytest.approx(right, rel=1e-14)
        if point == 1:
            word, message = SAID[target]
            assert record.notes["discrete"]["k"]["answer"] == word
            assert record.notes["discrete"]["k"].get("message", "").startswith(message)
    for text, key, right in ((GATHER, "x", [[0, 0, 1], [3, 0, 0]]), (MASK, "x", [3, 3, 1])):
        operator = "jacobian" if text == GATHER else "gradient"
        record = asked.record(question(text, operator).query)
        assert record.outcome is Outcome.ANSWERED, record.message
        assert np.allclose(record.answer[key], right, rtol=1e-14, atol=0)
    alone = asked.record(question(ALONE, "value").query)
    assert alone.outcome is Outcome.ANSWERED, alone.message
    assert alone.answer[""].item() == 7.0


@pytest.mark.parametrize("target", ["jax", "jax:jit", "jax:vmap"])
def test_a_vjp_of_jax_answers_float0(target):
    record = answerer(*TARGETS[target]).record(question(GATHER, "vjp").query)
    assert record.notes["discrete"]["k"] == {"answer": "float0"}


def test_whole_numbers_are_arguments_of_what_jax_compiles():
    asked = answerer(*TARGETS["jax:jit"])
    traced = []
    power = asked.adapter.ops["power"]
    asked.adapter.ops = {**asked.adapter.ops, "power": lambda *x: traced.append(x) or power(*x)}
    for point in (1, 2):
        query = question(POWER, "gradient", point).query
        f = asked._of(query)
        x, k = (asked.adapter.asarray(query.inputs[name]) for name in ("x", "k"))
        asked.adapter.gradient(f.holding({"k": k}), {"x": x})
    assert len(traced) == 1


@pytest.mark.parametrize("target", ["tensorflow:function", "tensorflow:graph"])
def test_whole_numbers_are_arguments_of_what_tensorflow_traces(target):
    asked = answerer(*TARGETS[target])
    traced = []
    power = asked.adapter.ops["power"]
    asked.adapter.ops = {**asked.adapter.ops, "power": lambda *x: traced.append(x) or power(*x)}
    for point in (1, 2):
        query = question(POWER, "gradient", point).query
        held = asked._of(query).holding({"k": asked.adapter.asarray(query.inputs["k"])})
        asked.adapter.gradient(held, {"x": asked.adapter.asarray(query.inputs["x"])})
    assert len(traced) == 1


def test_whole_numbers_are_arguments_of_what_pytorch_compiles():
    asked = answerer("torch", "torch_compile", "Compile", backend="aot_eager")
    import torch

    torch._dynamo.utils.counters.clear()
    torch._dynamo.reset()
    for point, right in ((1, [6.75, -4.0, 0.5]), (2, [4.0, 0.75, 1.0])):
        query = question(POWER, "gradient", point).query
        held = asked._of(query).holding({"k": asked.adapter.asarray(query.inputs["k"])})
        found = asked.adapter.gradient(held, {"x": asked.adapter.asarray(query.inputs["x"])})
        assert found["x"].tolist() == right
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_a_number_by_whole_numbers_is_no_whole_number():
    for target in ("dual", "symbolic", "sympy"):
        asked = answerer(*TARGETS[target])
        query = question(POWER, "gradient", 2).query
        native = {name: asked.adapter.asarray(array) for name, array in query.inputs.items()}
        said = aside(asked.adapter, "gradient", asked._of(query), {**native, "x": abs(native["x"])}, "k", None)
        assert said["answer"] == "a number"
        first = float(said["message"].strip("[]").split(",")[0])
        assert first == pytest.approx(4 * math.log(2), rel=1e-5)


def test_nobody_follows_an_index_by_degrees():
    said = answerer(*TARGETS["dual"]).record(question(GATHER, "jacobian").query).notes["discrete"]["k"]
    assert said == {"answer": "zeros"}


def test_a_rule_by_hand_is_no_answer_by_whole_numbers():
    text = POWER.replace("    points:", "    gradient: {x: k * x ** (k - 1)}\n    points:")
    record = answerer("numpy", "manual", "Manual").record(question(text, "gradient").query)
    assert record.answer["x"].tolist() == [6.75, -4.0, 0.5]
    assert record.notes["discrete"]["k"] == {"answer": "unsupported", "message": "the case states no gradient by k"}


def test_a_difference_quotient_takes_no_step_from_a_whole_number():
    record = answerer("numpy", "difference", "ComplexStep").record(question(POWER, "gradient").query)
    assert record.answer["x"].tolist() == pytest.approx([6.75, -4.0, 0.5])
    assert record.notes["discrete"]["k"]["answer"] == "unsupported"


def test_polynomials_have_whole_numbers_for_exponents_and_coefficients():
    text = case(at="{x: 1.5, k: 3}", function="k * x ** k")
    record = answerer("numpy", "polynomial", "Polynomials").record(question(text, "gradient").query)
    assert record.answer["x"].item() == 20.25
    assert record.notes["discrete"]["k"]["answer"] == "unsupported"
    text = case(at="{x: 1.5, k: 3}", function="k * x")
    record = answerer("numpy", "polynomial", "Polynomials").record(question(text, "gradient").query)
    assert record.notes["discrete"]["k"] == {"answer": "a number", "message": "1.5"}


def test_an_explanation_holds_whole_numbers():
    from gradbench.errors import BadOption
    from gradbench.explain import lesson

    (one,) = cases(POWER)
    found = lesson(one)
    assert list(found.plain.query.inputs) == ["x"]
    assert "k" in found.backward.query.constants
    with pytest.raises(BadOption, match="alone has no input of real or complex numbers"):
        lesson(cases(ALONE)[0])


def test_a_held_function_is_the_function():
    f = Function(
        cases(POWER)[0].program,
        {"power": np.power, "sum": lambda x, **_: np.sum(x), "asarray": np.asarray},
        ("x", "k"),
        {},
    )
    k, x = np.array([3, 2, 4]), np.array([1.5, -2, 0.5])
    assert f.holding({"k": k})(x) == f.holding({"x": x})(k) == f(x, k)
