from __future__ import annotations

import math

import pytest

from gradbench.errors import LanguageError
from gradbench.exact import number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6), ("-.5", -0.5), ("1.", 1.0), ("010", 10.0), ("inf", math.inf), ("-inf", -math.inf), (".inf", math.inf),
        ("0x1.8p-3", 0.1875), ("1/3", 1 / 3), ("-2 / 4", -0.5), ("1+2j", 1 + 2j), ("2i", 2j), ("6 * cos(9)", 6 * math.cos(9)),
        ("sqrt(2) / 2", math.sqrt(0.5)), ("pi", math.pi), ("log2(8)", 3.0), ("expit(0)", 0.5),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(text, value):
    assert abs(number(text)[0] - value) <= 2**-52 * abs(value) or number(text)[0] == value


def test_nan_is_a_number():
    assert math.isnan(number("nan")[0])


@pytest.mark.parametrize(
    ("text", "slack"),
    [
        ("23.1780070835713", 5e-14),
        ("11.92692295225547", 5e-15),
        ("1.234567890123e-5", 5e-18),
        ("0.26", 0.0),
        ("54", 0.0),
        ("1e-6", 0.0),
    ],
)
def test_a_long_decimal_was_rounded_by_its_author_and_a_short_one_was_not(text, slack):
    assert number(text)[1] == pytest.approx(slack, rel=1e-9)


def test_a_quotient_knows_what_float64_rounds_off():
    assert 0 < number("1/3")[1] < 2**-54
    assert number("1/4")[1] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "undefined name 'abc'"), ("x + 1", "undefined name 'x'"), ("1 +", "not an expression"), ("0x1p99999", "beyond"),
        ("sum(1)", "sum has no place"), ("1/0", "no result"), ("1" + "0" * 400 + "/3", "not an expression|no result|beyond|bits"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused(text, message):
    with pytest.raises(LanguageError, match=message):
        number(text)
