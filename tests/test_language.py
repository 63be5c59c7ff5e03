from __future__ import annotations

import operator

import pytest

from gradbench.errors import LanguageError
from gradbench.language import MAX_CHARACTERS, parse, parse_rule
from gradbench.program import Literal, Ref, evaluate

NUMBERS = {
    "asarray": float, "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "power": operator.pow, "negative": operator.neg,
}  # fmt: skip


def value(text: str, **names: float) -> float:
    return evaluate(parse(text, names), NUMBERS, names)


def test_a_function_of_several_lines_is_evaluated_in_order():
    assert value("c = a + b\nd = b + 1\nreturn c * d", a=2.0, b=1.0) == 6


def test_one_expression_needs_no_return():
    assert value("2 * a ** 2 - a / 4", a=2.0) == 7.5


def test_an_augmented_assignment_rebinds_the_name():
    assert value("y = x\ny += 1\ny *= 3\nreturn y", x=1.0) == 6


def test_numbers_are_folded_and_signs_kept():
    program = parse("x * (-1 / 3)", ["x"])
    assert program.nodes[0].arguments == (Ref(0), Literal(-1 / 3))
    assert str(parse("x + -0.0", ["x"]).nodes[0].arguments[1].value) == "-0.0"


def test_an_input_hides_a_constant_of_that_name():
    assert parse("e + pi", ["e"]).nodes[0].arguments[0] == Ref(0)


def test_every_static_argument_is_filled_in():
    node = parse("sum(x)", ["x"]).nodes[0]
    assert dict(node.statics) == {"axis": None, "keepdims": False}


def test_a_chain_of_comparisons_is_one_condition():
    words = [node.primitive for node in parse("where(0 < x < 1, x, 2)", ["x"]).nodes]
    assert words == ["less", "less", "logical_and", "where"]


def test_results_of_several_are_taken_by_field_or_by_unpacking():
    for text in ("slogdet(x).logabsdet", "s, l = slogdet(x)\nreturn l"):
        program = parse(text, ["x"])
        item = program.nodes[program.output.index - 1]
        assert item.primitive == "item"
        assert dict(item.statics) == {"index": 1}


def test_the_first_name_of_a_node_is_kept():
    assert [n.name for n in parse("u = x**2\nv = u\nreturn sin(v)", ["x"]).nodes] == ["u", None]


def test_unconnected_inputs_are_found_from_the_program():
    assert parse("y = b * 2\nreturn a * a", ["a", "b", "c"]).unconnected() == {"b", "c"}


def test_a_rule_may_use_the_names_of_the_function():
    rule = parse_rule(
        "c = a + b\nd = b + 1\nreturn c * d", "return {a: d * cotangent, b: d + c}", ["a", "b"], ["cotangent"]
    )
    assert evaluate(rule, NUMBERS, {"a": 2.0, "b": 1.0, "cotangent": 10.0}) == {"a": 20.0, "b": 5.0}


def test_the_keys_of_a_nested_rule_are_joined():
    rule = parse_rule("a * b", "{a: {a: 0, b: 1}, b: {a: 1, b: 0}}", ["a", "b"])
    assert [key for key, _ in rule.outputs] == ["a,a", "a,b", "b,a", "b,b"]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("sinn(x)", 1, 1, "unknown primitive 'sinn'; did you mean 'sin'?"),
        ("y = x\nreturn y + z1", 2, 12, "undefined name 'z1'; known are e, inf, nan, pi, x, y"),
        ("sin(x, 2)", 1, 1, "sin takes 1 argument, not 2; write 'sin(x)'"),
        ("sum(x, axs=1)", 1, 8, "sum has no argument 'axs'; did you mean 'axis'?"),
        ("sum(x, axis='a')", 1, 13, "'axis' can't be 'a'; write a whole number or several, as (0, 1)"),
        ("sum(x, axis=True)", 1, 13, "'axis' can't be True"),
        ("sum(x, 0, axis=1)", 1, 11, "'axis' is given twice"),
        ("reshape(x)", 1, 1, "reshape lacks 'shape'"),
        ("concat(x)", 1, 8, "concat takes a list of arrays; write 'concat([a, b])'"),
        ("x[y]", 1, 3, "undefined name 'y'"),
        ("x[x]", 1, 3, "this must be fixed in the text"),
        ("x[1.5]", 1, 3, "an index must be a whole number; use take"),
        ("x[::0]", 1, 3, "a slice with step 0"),
        ("x.shape", 1, 1, "an array has no 'shape'"),
        ("slogdet(x)", 1, 1, "slogdet answers with 2 arrays; take .sign or .logabsdet"),
        ("slogdet(x).det", 1, 1, "slogdet has no 'det'"),
        ("sin", 1, 1, "'sin' is a function; call it: sin(x)"),
        ("x if x else 2", 1, 1, "IfExp is not part of the language; use where(condition, a, b)"),
        ("for i in x: pass", 1, 1, "the language has no 'for'"),
        ("while x: pass", 1, 1, "the language has no 'while'"),
        ("import os", 1, 1, "not an assignment"),
        ("y = x", 1, 1, "the function returns nothing; end it with 'return'"),
        ("return x\ny = 2", 1, 1, "'return' before the end"),
        ("", 1, 1, "the function is empty"),
        ("x +", 1, 4, "not an expression: invalid syntax"),
        ("'a'", 1, 1, "'a' is not a number"),
        ("True", 1, 1, "True is not a number"),
        ("10 ** 10000 * x", 1, 7, "an exponent of 10000; at most 1000"),
        ("1 / 0 * x", 1, 1, "these numbers have no result"),
        ("2 ** 100 * x", 1, 1, "an integer of more than 64 bits"),
        ("a, b = x\nreturn a", 1, 1, "2 names for one array"),
        ("x[0] = 1\nreturn x", 1, 1, "only a name can be assigned to"),
        ("{x: 1}", 1, 1, "a function returns arrays, not a mapping"),
        ("(lambda: x)()", 1, 1, "only a primitive can be called"),
        ("sin(*x)", 1, 5, "a starred argument"),
        ("x @ @", 1, 5, "not an expression"),
        ("x // 2", 1, 1, "the operator FloorDiv is not part of the language"),
        ("x is 1", 1, 1, "the comparison Is is not part of the language"),
        ("__import__('os')", 1, 1, "unknown primitive '__import__'"),
        ("where(x > 0, x)", 1, 1, "where lacks 'x2'"),
    ],
)
def test_a_mistake_names_its_place_and_what_would_be_right(text, line, column, message):
    with pytest.raises(LanguageError) as caught:
        parse(text, ["x"])
    assert (caught.value.line, caught.value.column) == (line, column)
    assert message in str(caught.value)


def test_a_caret_stands_under_the_column_even_after_wide_letters():
    with pytest.raises(LanguageError) as caught:
        parse("äöü = x\nreturn äöü + sinn(x)", ["x"])
    line, mark = str(caught.value).splitlines()[-2:]
    assert line[mark.index("^")] == "s"


@pytest.mark.parametrize("text", ["(" * 500 + "x" + ")" * 500, "-" * 5000 + "x", "x" + "+x" * 15000])
def test_a_text_too_deep_or_too_long_is_refused_without_a_crash(text):
    with pytest.raises(LanguageError):
        parse(text, ["x"])


def test_the_length_of_a_text_is_bounded_before_it_is_read():
    with pytest.raises(LanguageError, match="at most"):
        parse("x + 1" + " " * MAX_CHARACTERS, ["x"])
