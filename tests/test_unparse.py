"""A program written out as text is read back as the same program."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradbench import catalogue
from gradbench.language import parse, parse_rule
from gradbench.primitives import VOCABULARY
from gradbench.program import ITEM, Literal, Node, Program, Ref
from gradbench.unparse import names, number_text, unparse


def bare(program: Program) -> str:
    """All of a program but names and places; by `repr`, which tells 0.0 from -0.0 and 2 from 2.0."""
    nodes = tuple(replace(node, name=None, line=1, column=1) for node in program.nodes)
    return repr(replace(program, text="", nodes=nodes))


def again(text: str, *inputs: str) -> str:
    program = parse(text, inputs)
    found = unparse(program)
    assert bare(parse(found, inputs)) == bare(program), found
    return found


def test_there_is_a_line_for_each_node_in_the_names_of_the_text():
    found = again("c = a + b\nd = 2 * b ** 2 - 1\nreturn c * d", "a", "b")
    assert found.splitlines() == [
        "c = a + b", "n2 = b ** 2", "n3 = 2 * n2", "d = n3 - 1", "n5 = c * d", "return n5",
    ]  # fmt: skip


def test_a_name_given_twice_or_an_input_s_is_no_node_s():
    found = again("x = x + 1\ny = x * 2\ny = y * x\nn2 = sin(y)\nreturn n2 + x", "x")
    assert found.splitlines() == [
        "n1 = x + 1", "n2_ = n1 * 2", "n3 = n2_ * n1", "n2 = sin(n3)", "n5 = n2 + n1", "return n5",
    ]  # fmt: skip


def test_a_name_may_be_a_word_of_the_language():
    assert again("sum = sum(x)\ne = exp(sum)\nreturn e + sum", "x").splitlines()[0] == "sum = sum(x)"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("slogdet(x).logabsdet", "n2 = n1.logabsdet"),
        ("s, l = slogdet(x)\nreturn s * l", "s = n1.sign"),
        ("x[0]", "n1 = x[0]"),
        ("x[1:, None, ..., ::-2, :3]", "n1 = x[1:, None, ..., ::-2, :3]"),
        ("x[()]", "n1 = x[()]"),
        ("concat([x, x * 2, 3])", "n2 = concat([x, n1, 3])"),
        ("stack([x], axis=1)", "n1 = stack([x], axis=1)"),
        ("einsum('ij,j->i', x, x)", "n1 = einsum('ij,j->i', x, x)"),
        ("roll(x, 1, axis=(0,))", "n1 = roll(x, shift=(1,), axis=(0,))"),
        ("sum(x, axis=0, keepdims=True)", "n1 = sum(x, axis=0, keepdims=True)"),
        ("sum(x)", "n1 = sum(x)"),
        ("vector_norm(x, ord=inf)", "n1 = vector_norm(x, ord=inf)"),
        ("pad(x, (1, 1), value=0.0)", "n1 = pad(x, width=(1, 1), value=0.0)"),
        ("clip(x, max=-1)", "n1 = clip(x, max=-1)"),
        ("gelu(x, approximate='tanh')", "n1 = gelu(x, approximate='tanh')"),
        ("x ** -1", "n1 = x ** (-1)"),
        ("(-2.5) ** x", "n1 = (-2.5) ** x"),
        ("-x", "n1 = -x"),
        ("negative(2) + x", "n1 = negative(2)"),
        ("add(2, 3) + x", "n1 = add(2, 3)"),
        ("less(1, 2) & (x > 0)", "n1 = less(1, 2)"),
        ("x.T @ x", "n1 = x.T"),
        ("where(not (x > 0), x, -0.0)", "n3 = where(n2, x, -0.0)"),
        ("maximum(x, -inf)", "n1 = maximum(x, -inf)"),
        ("x * nan", "n1 = x * nan"),
        ("x + (1 - 2j)", "n1 = x + (1.0 - 2.0j)"),
        ("x * -2j", "n1 = x * (-2.0j)"),
    ],
)
def test_a_step_is_written_as_one_would_write_it(text, line):
    assert line in again(text, "x").splitlines()


def test_infinity_and_nan_are_written_where_inputs_have_their_names():
    assert again("a = inf - 1e999\nreturn maximum(inf, a)", "inf").splitlines()[-1] == "return n2"
    assert again("maximum(inf, 1e999)", "inf") == "n1 = maximum(inf, 1e999)\nreturn n1"
    assert again("vector_norm(inf, ord=1e999)", "inf") == "n1 = vector_norm(inf, ord=1e999)\nreturn n1"
    assert again("nan * (1e999 - 1e999)", "nan") == "n1 = nan * (1e999 - 1e999)\nreturn n1"


def test_a_function_may_return_numbers_inputs_and_tuples():
    assert again("-3", "x") == "return -3"
    assert again("x", "x") == "return x"
    assert again("return (x,)", "x") == "return x,"
    assert again("return x, 2.0, x + 1", "x") == "n1 = x + 1\nreturn x, 2.0, n1"


def test_a_derivative_by_hand_is_no_function():
    with pytest.raises(ValueError, match="not a mapping"):
        unparse(parse_rule("x ** 2", "{x: 2 * x}", ["x"]))


def test_every_shipped_function_comes_back():
    programs = {case.program for case in catalogue.load([catalogue.shipped()])}
    assert len(programs) > 100
    for program in programs:
        again(program.text, *program.names)


@given(st.complex_numbers(allow_nan=False) | st.floats() | st.integers(1 - 2**63, 2**63 - 1))
@settings(max_examples=300)
def test_a_number_comes_back_to_the_last_bit(number):
    (node,) = parse(f"maximum(x, {number_text(number)})", ["x"]).nodes
    found = node.arguments[1].value
    assert repr(found) == repr(number)


@pytest.mark.parametrize("real", [0.0, -0.0, 1.0, -2.5, math.inf, -math.inf, 5e-324])
@pytest.mark.parametrize("imaginary", [0.0, -0.0, 1.0, -2.5, math.inf, -math.inf, 5e-324])
def test_a_complex_number_keeps_the_signs_of_its_zeros(real, imaginary):
    (node,) = parse(f"maximum(x, {number_text(complex(real, imaginary))})", ["x"]).nodes
    assert repr(node.arguments[1].value) == repr(complex(real, imaginary))


# Programs of every word, whether their shapes fit or not

NAMES = st.sampled_from(["a", "b", "x", "n1", "n2", "n3_", "inf", "pi", "sum", None, None])
NUMBERS = st.integers(-9, 9) | st.floats(allow_nan=False) | st.complex_numbers(max_magnitude=9)
BOUNDS = st.none() | st.integers(-3, 3)
PARTS = st.integers(-3, 3) | st.sampled_from([None, ...]) | st.builds(
    slice, BOUNDS, BOUNDS, st.none() | st.sampled_from([-2, -1, 1, 2])
)  # fmt: skip
WHOLE = st.integers(-4, 4)
STATICS = {
    "int": WHOLE,
    "axis": WHOLE,
    "ints": st.lists(WHOLE, max_size=3).map(tuple),
    "axes": WHOLE | st.lists(WHOLE, min_size=1, max_size=3).map(tuple),
    "number": st.integers(-9, 9) | st.floats(allow_nan=False),
    "bool": st.booleans(),
    "text": st.text(max_size=5),
}


@st.composite
def programs(draw) -> Program:
    inputs = draw(st.sampled_from([("x",), ("a", "inf"), ("n1", "x", "sum")]))
    arrays = [Ref(i) for i in range(len(inputs))]
    nodes: list[Node] = []
    several: list[int] = []

    def array():
        return draw(st.sampled_from(arrays) | NUMBERS.map(Literal))

    for _ in range(draw(st.integers(1, 8))):
        index = len(inputs) + len(nodes)
        if several and draw(st.booleans()):
            taken = draw(st.sampled_from(several))
            nodes.append(Node(ITEM, (Ref(taken),), (("index", draw(st.integers(0, 1))),), draw(NAMES)))
            arrays.append(Ref(index))
            continue
        word = VOCABULARY[draw(st.sampled_from(sorted(VOCABULARY)))]
        arguments: list = []
        statics = {}
        for parameter in word.parameters:
            if word.name == "getitem" and parameter.is_static:
                statics["index"] = tuple(draw(st.lists(PARTS, max_size=3)))
            elif parameter.is_static:
                given = STATICS[parameter.kind]
                default = st.nothing() if parameter.is_required else st.just(parameter.default)
                statics[parameter.name] = draw(default | given)
            elif parameter.kind == "array":
                arguments.append(array())
            else:
                many = [array() for _ in range(draw(st.integers(1, 3)))]
                arguments += many if parameter.kind == "operands" else [tuple(many)]
        nodes.append(Node(word.name, tuple(arguments), tuple(statics.items()), None if word.results else draw(NAMES)))
        if word.results:
            several.append(index)
        else:
            arrays.append(Ref(index))
    returned = [array() for _ in range(draw(st.integers(1, 3)))]
    keys = [""] if len(returned) == 1 and draw(st.booleans()) else [str(i) for i in range(len(returned))]
    return Program("", inputs, tuple(nodes), tuple(zip(keys, returned, strict=True)))


@given(programs())
@settings(max_examples=300)
def test_every_program_comes_back(program):
    text = unparse(program)
    found = parse(text, program.names)
    assert bare(found) == bare(program), text
    assert len(set(names(program))) == len(program.names) + len(program.nodes)
