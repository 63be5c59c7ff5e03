"""Functions as typeset mathematics."""

from __future__ import annotations

import time
from xml.etree import ElementTree as ET

import pytest

from gradbench.language import parse
from gradbench.primitives import VOCABULARY
from gradbench.report.mathematics import LONGEST, mathematics

FILLED = {"text": "'i,i->'", "ints": "(1, 2)", "int": "2", "axes": "0", "axis": "0"}


def spoken(text: str, names: str = "x y") -> str:
    """The mathematics in a line: what is raised after ^, what is lowered after _, what is divided by /, roots by name."""
    return flat(ET.fromstring(mathematics(parse(text, names.split()))))


def flat(element: ET.Element) -> str:
    parts = [flat(child) for child in element]
    own = "".join((element.text or "").split())
    signs = {"msup": "^", "msub": "_", "munder": "_", "mfrac": "/"}
    if element.tag in signs:
        return f"{{{parts[0]}}}{signs[element.tag]}{{{parts[1]}}}"
    if element.tag in {"msqrt", "mroot"}:
        return f"{element.tag}{{{' '.join(parts)}}}"
    if element.tag == "mtr":
        return " ".join(parts) + ";"
    return (own + "".join(parts)).replace("\N{INVISIBLE TIMES}", "").replace("\N{FUNCTION APPLICATION}", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x * y", "xy"),
        ("2 * x", "2x"),
        ("x * 2", "x⋅2"),
        ("x * (y + 1)", "x⋅(y+1)"),
        ("(x + y) * (y + 1)", "(x+y)(y+1)"),
        ("x - (y - 1)", "x−(y−1)"),
        ("x - -y", "x−(−y)"),
        ("-x * y", "−xy"),
        ("(-x) ** 2", "{(−x)}^{2}"),
        ("-x ** 2", "−{x}^{2}"),
        ("x / (y + 1)", "{x}/{y+1}"),
        ("x ** (1 / 3)", "{x}^{{1}/{3}}"),
        ("cos(x) ** 2", "{cos}^{2}(x)"),
        ("sqrt(x + 1)", "msqrt{x+1}"),
        ("cbrt(x)", "mroot{x 3}"),
        ("abs(x - y)", "|x−y|"),
        ("log1p(x) * 2", "log(1+x)⋅2"),
        ("expm1(x) * 2", "(exp(x)−1)⋅2"),
        ("x % 3", "xmod3"),
        ("1e-6 * x", "{10}^{−6}x"),
        ("2.5e9 * x", "2500000000x"),
        ("2 * pi * x", "2πx"),
        ("sum(x * y) ** 2", "{(∑xy)}^{2}"),
        ("sum(x, axis=0)", "{∑}_{axis0}x"),
        ("vector_norm(x)", "{‖x‖}_{2}"),
        ("vector_norm(x, ord=1)", "{‖x‖}_{1}"),
        ("softmax(x, axis=0)", "{softmax}_{axis0}(x)"),
        ("x.T @ y", "{x}^{⊤}y"),
        ("inv(x) @ y", "{x}^{−1}y"),
        ("solve(x, y)", "{x}^{−1}y"),
        ("x[0, 1:]", "{x}_{0,1:}"),
        ("where(x > 0, x, -y)", "x ifx>0;−y otherwise;"),
        ("slogdet(x).logabsdet", "log|det(x)|"),
        ("x * exp(y) * x", "xexp(y)x"),
        ("entr(x)", "−xlog(x)"),
        ("gammaln(x)", "log|Γ(x)|"),
    ],
)
def test_a_function_is_set_as_a_mathematician_would_write_it(text, expected):
    assert spoken(text) == f"f(x,y)={expected}"


def test_each_assignment_is_an_equation_and_a_name_used_again_gets_an_arrow():
    assert spoken("h = x @ y\nh = relu(h)\nreturn sum(h)") == "h = xy;h ← relu(h);f(x,y) = ∑h;"
    assert spoken("s, l = slogdet(x)\nreturn s * l") == "(s,l) = slogdet(x);f(x,y) = sl;"
    assert spoken("x += 1\nreturn x") == "x ← x+1;f(x,y) = x;"


def test_names_have_their_indices_and_greek_letters():
    assert spoken("x1 * theta + w_hidden", "x1 theta w_hidden") == "f({x}_{1},θ,{w}_{hidden})={x}_{1}θ+{w}_{hidden}"
    assert spoken("weight * bias", "weight bias") == "f(weight,bias)=weight⋅bias"
    assert spoken("pi * x + e") == "f(x,y)=πx+e"
    assert spoken("pi + e", "pi") == "f(pi)=pi+e"


def test_a_function_that_is_called_f_already_gets_another_letter():
    assert spoken("f + 1", "f") == "g(f)=f+1"


@pytest.mark.parametrize("name", sorted(set(VOCABULARY) - {"getitem"}))
def test_every_primitive_can_be_set(name):
    words = []
    for parameter in VOCABULARY[name].parameters:
        if parameter.kind in {"array", "arrays", "operands"}:
            words += {"array": [parameter.name], "arrays": ["[x, y]"], "operands": ["x", "y"]}[parameter.kind]
        elif parameter.is_required:
            words.append(FILLED[parameter.kind])
    text = f"{name}({', '.join(words)})" + (".sign" if VOCABULARY[name].results else "")
    assert spoken(text, "x y x1 x2 condition indices").startswith("f(")


@pytest.mark.parametrize("name", ["entr", "hypot", "sum", "inv", "abs", "expm1", "where", "kron", "logaddexp", "outer"])
def test_a_deep_chain_takes_no_longer_than_its_length(name):
    text = "x"
    for _ in range(60):
        text = {"where": f"where(x > 0, {text}, x)"}.get(name) or (
            f"{name}({text}, x)"
            if len(VOCABULARY[name].parameters) > 1 and name in {"hypot", "kron", "logaddexp", "outer"}
            else f"{name}({text})"
        )
    start = time.process_time()
    markup = mathematics(parse(text, ["x"]))
    assert time.process_time() - start < 2
    assert len(markup) <= LONGEST


def test_a_text_too_long_to_be_worth_setting_is_left_alone():
    text = "\n".join(f"v{i} = x + {i}" for i in range(600)) + "\nreturn x"
    assert mathematics(parse(text, ["x"])) == ""


def test_nothing_of_a_text_is_read_as_markup():
    markup = mathematics(parse("einsum('i,i->', x, y) + where(x < y, x, y)", ["x", "y"]))
    assert "-&gt;" in markup
    assert "<mo>&lt;</mo>" in markup
