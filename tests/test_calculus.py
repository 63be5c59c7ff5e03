"""The table of derivatives: that an entry which is a little wrong would be noticed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("flint")

from elementary import SAMPLES, off, second
from scipy import special

from gradbench import calculus
from gradbench.adapters.dual import DualNumbers
from gradbench.adapters.tape import Tape
from gradbench.language import parse

INNER = {
    "sech": "tanh", "circle": "asin", "mills": "log_ndtr", "polygamma": "digamma", "bessel_j": "j1", "bessel_i": "i1",
    "spherical_j": "sinc", "nonzero": "hypot", "norm": "vector_norm", "base": "power",
}  # fmt: skip
"""For each inner word a primitive whose second derivative needs its."""


def samples(word):
    return [i for i, (text, x) in enumerate(SAMPLES) if word in parse(text, list(x)).primitives]


def is_noticed(adapter, word):
    """Whether some sample of a word, or of what is made of it, is answered wrongly."""
    for i in samples(INNER.get(word, word)):
        if not off(adapter, i, "jacobian", SAMPLES[i][0]) <= 8 or not off(adapter, i, *second(i)) <= 40:
            return True
    return False


def a_little_wrong(rule):
    return lambda *arrays, **statics: rule(*arrays, **statics) * (1 + 1e-13)


@pytest.mark.parametrize("word", sorted(calculus.SLOPES))
def test_a_slope_that_is_a_little_wrong_is_noticed(monkeypatch, word):
    monkeypatch.setitem(calculus.SLOPES, word, a_little_wrong(calculus.SLOPES[word]))
    assert is_noticed(DualNumbers(), word)
    assert is_noticed(Tape(), word)


@pytest.mark.parametrize(
    ("word", "side"),
    [(word, side) for word in calculus.PARTIALS for side in (0, 1) if callable(calculus.PARTIALS[word][side])],
)
def test_a_partial_derivative_that_is_a_little_wrong_is_noticed(monkeypatch, word, side):
    rules = list(calculus.PARTIALS[word])
    rules[side] = a_little_wrong(rules[side])
    monkeypatch.setitem(calculus.PARTIALS, word, tuple(rules))
    assert is_noticed(DualNumbers(), word)


@pytest.mark.parametrize("word", sorted(calculus.REDUCTIONS))
def test_the_slope_of_a_reduction_that_is_a_little_wrong_is_noticed(monkeypatch, word):
    monkeypatch.setitem(calculus.REDUCTIONS, word, a_little_wrong(calculus.REDUCTIONS[word]))
    assert is_noticed(DualNumbers(), word)


@pytest.mark.parametrize("word", sorted(calculus.CHOICES))
def test_a_choice_that_goes_the_other_way_is_noticed(monkeypatch, word):
    rule = calculus.CHOICES[word]
    monkeypatch.setitem(calculus.CHOICES, word, lambda w, *arrays: w.logical_not(rule(w, *arrays)))
    assert is_noticed(DualNumbers(), word)


def test_the_inner_words_are_what_they_say():
    x = np.array([-0.9, -0.25, 0.5, 0.75])
    inner = calculus.INNER
    assert inner["sech"](x) == pytest.approx(1 / np.cosh(x), rel=1e-15)
    assert inner["sech"](np.array([800.0, -800.0])).tolist() == [0, 0]
    assert inner["circle"](x) == pytest.approx(np.cos(np.arcsin(x)), rel=1e-15)
    assert inner["mills"](x) == pytest.approx(np.exp(-x * x / 2) / np.sqrt(2 * np.pi) / special.ndtr(x), rel=1e-15)
    assert inner["mills"](np.array(-1e4)) == pytest.approx(1e4, rel=1e-7)
    assert inner["polygamma"](np.array([2.5, -2.5]), n=1)[0] == special.polygamma(1, 2.5)
    # Reflection: psi_1(1 - x) + psi_1(x) = pi^2 / sin(pi x)^2 (6.4.7)
    assert inner["polygamma"](np.array(-2.5), n=1) == pytest.approx(np.pi**2 - special.polygamma(1, 3.5), rel=1e-15)
    assert inner["gather"](x, index=np.array([[3, -1], [0, 0]])).tolist() == [[0.75, 0], [-0.9, -0.9]]
    assert inner["scatter"](x, index=np.array([1, 1, -1, 0]), shape=(2,)).tolist() == [0.75, -1.15]
    assert inner["nonzero"](np.array([0.0, 2.0])).tolist() == [1, 2]
    assert inner["base"](np.array([0.0, 0.0, 3.0]), np.array([0.0, 2.0, 0.0])).tolist() == [1, 0, 3]


def test_a_bare_number_takes_the_dtype_of_the_array_beside_it():
    x = np.array([1.5, 2.5], np.float32)
    assert calculus.PLAIN["xlogy"](x, 2.0).dtype == np.float32
    assert calculus.PLAIN["hypot"](x, 1).dtype == np.float32
    assert calculus.PLAIN["where"](x > 2, x, 0.1).dtype == np.float32
    assert calculus.PLAIN["power"](x, 2.5).dtype == np.float32
