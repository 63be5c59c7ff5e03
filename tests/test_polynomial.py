"""Polynomials as tuples: exact until the end, rounded once, and nothing else is claimed."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from elementary import function
from hypothesis import given, settings
from hypothesis import strategies as st

from gradbench import registry
from gradbench.adapters import polynomial
from gradbench.adapters.polynomial import OPS, Polynomials, differentiated, formula, number, rounded, text
from gradbench.errors import Unsupported
from gradbench.language import parse
from gradbench.query import Operator, Query

POLYNOMIALS = Polynomials()

TEXTS = [
    "x",
    "3",
    "x + y - 2",
    "-x * y",
    "2 * x**2 * y + y**3 / 4 - 0.1 * x",
    "(x + y)**5 * (x - 3)",
    "(x - y)**0 + x**1",
    "((x - 1) * (x - 2) / 8 - (y + x) * 0.3)**3 / 7",
    "(1 - x) * (1 + x) - 1",
    "x**7 - 7 * x**6 + 21 * x**5 - 35 * x**4 + 35 * x**3 - 21 * x**2 + 7 * x - 1",
]
"""The last is (x - 1)**7 written out: near 1 every formula that rounds on the way has no digits left."""


def test_it_is_a_target_of_its_own():
    found = registry.entries()["polynomial"]
    assert not found.by_name
    assert isinstance(registry.load(found.spec), Polynomials)
    assert set(OPS) == {"add", "subtract", "multiply", "divide", "power", "negative"}


@pytest.mark.parametrize("at", [(1.5, -0.75), (1.0078125, 0.3), (-1e3, 1e-3)], ids=str)
@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16], ids=lambda t: np.dtype(t).name
)
@pytest.mark.parametrize("written", TEXTS)
def test_an_answer_is_the_certified_one_rounded_once(written, dtype, at):
    pytest.importorskip("flint")
    from gradbench.reference.ball import Ball

    f, x = function(POLYNOMIALS, written, dict(zip("xy", at, strict=True)), dtype)
    program, kind = parse(written, "xy"), np.dtype(dtype).name
    for operator, options in (
        ("value", {}), ("gradient", {}), ("hessian", {}), ("partial", {"orders": {"x": 2, "y": 1}}),
        ("jvp", {"tangents": {"x": np.asarray(0.1, dtype), "y": np.asarray(-3, dtype)}}),
        ("hvp", {"tangents": {"x": np.asarray(0.1, dtype), "y": np.asarray(-3, dtype)}}),
        ("vjp", {"cotangent": np.asarray(0.3, dtype)}),
    ):  # fmt: skip
        found = getattr(POLYNOMIALS, operator)(f, x, *options.values())
        truth = Ball(check=False).estimate(Query("q", written, x, {}, Operator(operator), kind, **options), program)
        found = found if isinstance(found, dict) else {"": found}
        assert found.keys() == truth.answer.keys()
        for key, centre in truth.answer.items():
            exact = Fraction(float(centre)) + Fraction(float(truth.margin[key]["tail"]))
            assert found[key].dtype == dtype
            assert found[key].shape == ()
            assert found[key] == rounded(exact, np.dtype(dtype)), (operator, key)


# Terms


def test_terms_are_gathered_and_the_highest_powers_come_first():
    f, _ = function(POLYNOMIALS, "1 + x * 3 * x * y + 0 * y - x**2 * y + y - y", {"x": 0.0, "y": 0.0})
    (terms,), is_tuple = polynomial._outputs(f, {"x": np.array(0.0), "y": np.array(0.0)})
    assert terms == ((2, (("x", 2), ("y", 1))), (1, ()))
    assert not is_tuple
    assert differentiated(terms, "x") == ((4, (("x", 1), ("y", 1))),)
    assert differentiated(terms, "z") == ()


coefficients = st.integers(-9, 9).map(Fraction)
exponents = st.dictionaries(st.sampled_from("xyz"), st.integers(1, 3)).map(lambda d: tuple(sorted(d.items())))
polynomials = st.lists(st.tuples(coefficients, exponents), max_size=4).map(polynomial._gathered)


@settings(max_examples=40)
@given(polynomials, polynomials, polynomials)
def test_polynomials_are_a_ring_and_the_derivative_keeps_leibnizs_rule(p, q, r):
    add, multiply = polynomial.added, polynomial.multiplied
    assert add(p, q) == add(q, p)
    assert multiply(p, q) == multiply(q, p)
    assert multiply(p, add(q, r)) == add(multiply(p, q), multiply(p, r))
    assert multiply(multiply(p, q), r) == multiply(p, multiply(q, r))
    assert polynomial.raised(p, 3) == multiply(p, multiply(p, p))
    product = add(multiply(differentiated(p, "x"), q), multiply(p, differentiated(q, "x")))
    assert differentiated(multiply(p, q), "x") == product
    at = {"x": Fraction(2, 3), "y": Fraction(-1, 7), "z": Fraction(5)}
    assert polynomial.evaluated(multiply(p, q), at) == polynomial.evaluated(p, at) * polynomial.evaluated(q, at)


@pytest.mark.parametrize(
    ("written", "x", "y"),
    [
        ("3 * x**2 * y + 1", "6*x*y", "3*x**2"),
        ("(x + y)**3 / 4", "3*x**2/4 + 3*x*y/2 + 3*y**2/4", "3*x**2/4 + 3*x*y/2 + 3*y**2/4"),
        ("-x - y * 0.1", "-1", "-0.1"),
        ("(x - y) * (x + y)", "2*x", "-2*y"),
        ("2 * x / 3", "2/3", "0"),
        ("return x * y, 5 * x", "y; 5", "x; 0"),
    ],
)
def test_derivatives_are_written_out(written, x, y):
    assert formula(parse(written, "xy"), "xy") == {"x": x, "y": y}


def test_the_formula_of_what_is_no_polynomial_is_unsupported():
    with pytest.raises(Unsupported, match="polynomials have no cos, sin"):
        formula(parse("sin(x) + cos(x)", "x"), "x")


def test_a_polynomial_of_nothing_is_0():
    assert text(()) == "0"
    assert text(number(-2.5)) == "-5/2"


# Rounding


@given(st.fractions(max_denominator=10**9), st.integers(-140, 120))
def test_rounding_is_to_the_nearest_number_of_the_format(significand, power):
    exact = significand * Fraction(2) ** power
    for dtype in map(np.dtype, (np.float64, np.float32)):
        found = rounded(exact, dtype)
        assert found.dtype == dtype
        if np.isfinite(found):
            error = abs(Fraction(float(found)) - exact)
            for near in (np.nextafter(found, dtype.type(np.inf)), np.nextafter(found, dtype.type(-np.inf))):
                assert not np.isfinite(near) or error <= abs(Fraction(float(near)) - exact)


def test_a_narrow_format_is_not_rounded_twice():
    """The nearest float64 lies half-way between two float32, and would go to the even one; the number lies above it."""
    exact = 1 + Fraction(1, 2**24) + Fraction(1, 2**60)
    assert np.float64(float(exact)).astype(np.float32) == 1
    assert rounded(exact, np.dtype(np.float32)) == np.float32(1 + 2**-23)
    assert rounded(2 - exact, np.dtype(np.float32)) == np.float32(1 - 2**-24)
    assert rounded(1 + Fraction(1, 2**9), np.dtype(ml_dtypes.bfloat16)) == 1


def test_what_is_beyond_the_format_is_infinite():
    assert rounded(Fraction(10) ** 400, np.dtype(np.float64)) == math.inf
    assert rounded(-(Fraction(10) ** 39), np.dtype(np.float32)) == -math.inf


def test_a_number_of_the_text_is_rounded_to_the_dtype_as_everybodys_is():
    f, x = function(POLYNOMIALS, "0.1 * x * 3", {"x": 1.0}, np.float32)
    assert POLYNOMIALS.gradient(f, x)["x"] == np.float32(3 * float(np.float32(0.1)))


# Operators


def test_several_outputs_are_answered_as_a_tuple():
    f, x = function(POLYNOMIALS, "return x * y, x**2", {"x": 2.0, "y": 3.0})
    assert POLYNOMIALS.value(f, x) == (6, 4)
    assert POLYNOMIALS.jacobian(f, x) == {"x": (3, 4), "y": (2, 0)}
    assert POLYNOMIALS.jvp(f, x, {"x": np.array(1.0), "y": np.array(10.0)}) == (23, 4)
    assert POLYNOMIALS.vjp(f, x, (np.array(1.0), np.array(10.0))) == {"x": 43, "y": 2}
    assert POLYNOMIALS.partial(f, x, {"x": 2}) == (0, 2)


def test_constants_are_numbers_too():
    f, x = function(POLYNOMIALS, "x ** n * k", {"x": 2.0, "n": 3, "k": 5})
    assert POLYNOMIALS.gradient(f, x)["x"] == 60


@pytest.mark.parametrize(
    ("written", "values", "reason"),
    [
        ("x / y", {"x": 1.0, "y": 2.0}, "a quotient by y is no polynomial"),
        ("x / (y - y)", {"x": 1.0, "y": 2.0}, "a quotient by 0 is no polynomial"),
        ("x ** y", {"x": 1.0, "y": 2.0}, "is no polynomial"),
        ("x ** -1", {"x": 1.0}, r"\(x\)\*\*\(-1\) is no polynomial"),
        ("x ** 0.5", {"x": 1.0}, "is no polynomial"),
        ("2 ** x", {"x": 1.0}, "is no polynomial"),
        ("x * 2", {"x": [1.0, 2.0]}, "not of arrays"),
        ("x * k", {"x": 1.0, "k": [1, 2]}, "not of arrays"),
        ("x * 2", {"x": math.nan}, "nan is no coefficient"),
        ("x * inf", {"x": 1.0}, "inf is no coefficient"),
        ("(x + y + 1) ** 70", {"x": 1.0, "y": 1.0}, "terms"),
        ("x ** 20000", {"x": 1.0}, "degree"),
    ],
)
def test_what_is_no_polynomial_of_numbers_is_unsupported(written, values, reason):
    f, x = function(POLYNOMIALS, written, values)
    with pytest.raises(Unsupported, match=reason):
        POLYNOMIALS.gradient(f, x)
