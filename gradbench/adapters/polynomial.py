"""Polynomials from scratch: the derivative as school teaches it, and no rounding until the end.

A polynomial is a tuple of terms, a term is a coefficient and the variables in it with their exponents:

    3 x² y + 1    is    ((3, (('x', 2), ('y', 1))), (1, ()))

and differentiating multiplies each coefficient by an exponent and takes one off it: ∂/∂x above is ((6, (('x', 1),
('y', 1))),). Sums, differences, products, whole powers and quotients by a number of polynomials are polynomials; there
is nothing else here, and no chain rule. Coefficients are fractions, as every floating-point number is one. So are the
inputs, and the answer is rounded once, to the nearest number of the format.

NumPy numbers enter and leave; there are no arrays.

Source: Euler (1755), Institutiones calculi differentialis, part 1, chapter 5; for sums of terms as data, Nolan (1953),
Analytical differentiation on a digital computer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial, reduce
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from gradbench.adapter import Arrays, Function, Native
from gradbench.calculus import Spelled
from gradbench.errors import Unsupported
from gradbench.host import Host, format_of
from gradbench.program import Program

Exponents = tuple[tuple[str, int], ...]
"""The variables of a term in the order of their names, each with its exponent, which is 1 or more."""

Terms = tuple[tuple[Fraction, Exponents], ...]
"""A polynomial. No two terms have the same exponents, no coefficient is 0, and the highest powers come first."""

MAX_TERMS: Final = 2_000
"""Of one polynomial."""
MAX_DEGREE: Final = 10_000
MAX_PAIRS: Final = 200_000
"""Of terms in one product: about a second."""


# Terms


def number(value: Any, dtype: np.dtype[Any] | None = None) -> Terms:
    """A constant polynomial; of a number of the text what it is in the dtype.

    Raises:
        Unsupported: It is an array, or infinite, or no number.
    """
    if np.shape(value) or np.iscomplexobj(value):
        raise Unsupported("a polynomial of one real number is what there is, not of arrays and complex ones")
    with np.errstate(over="ignore"):
        rounded = float(value if dtype is None else np.asarray(value, dtype))
    if not math.isfinite(rounded):
        raise Unsupported(f"{rounded} is no coefficient")
    return _gathered([(Fraction(rounded), ())])


def _gathered(terms: Iterable[tuple[Fraction, Exponents]]) -> Terms:
    """Terms with like ones added up."""
    found: dict[Exponents, Fraction] = {}
    for coefficient, exponents in terms:
        found[exponents] = found.get(exponents, Fraction(0)) + coefficient
    if len(found) > MAX_TERMS:
        raise Unsupported(f"a polynomial of {len(found)} terms; up to {MAX_TERMS} are tried")
    inorder = sorted(found.items(), key=lambda pair: (-_degree(pair[0]), [(x, -n) for x, n in pair[0]]))
    if inorder and _degree(inorder[0][0]) > MAX_DEGREE:
        raise Unsupported(f"a polynomial of degree {_degree(inorder[0][0])}; up to {MAX_DEGREE} are tried")
    return tuple((coefficient, exponents) for exponents, coefficient in inorder if coefficient)


def _degree(exponents: Exponents) -> int:
    return sum(n for _, n in exponents)


def added(one: Terms, other: Terms) -> Terms:
    """The sum."""
    return _gathered([*one, *other])


def scaled(one: Terms, by: Fraction) -> Terms:
    """The polynomial times a number."""
    return tuple((coefficient * by, exponents) for coefficient, exponents in one) if by else ()


def multiplied(one: Terms, other: Terms) -> Terms:
    """The product: every term with every other."""
    if len(one) * len(other) > MAX_PAIRS:
        raise Unsupported(f"a product of {len(one)} terms and {len(other)}")
    return _gathered((a * b, _together(p, q)) for a, p in one for b, q in other)


def _together(one: Exponents, other: Exponents) -> Exponents:
    found = dict(one)
    for x, n in other:
        found[x] = found.get(x, 0) + n
    return tuple(sorted(found.items()))


def raised(one: Terms, exponent: int) -> Terms:
    """A whole power, by squaring."""
    found = number(1)
    for bit in f"{exponent:b}":
        found = multiplied(found, found)
        found = multiplied(found, one) if bit == "1" else found
    return found


def differentiated(one: Terms, by: str) -> Terms:
    """The derivative: n x^(n - 1) for each power of the variable."""
    found = []
    for coefficient, exponents in one:
        powers = dict(exponents)
        n = powers.pop(by, 0)
        if n:
            left = {**powers, by: n - 1} if n > 1 else powers
            found.append((n * coefficient, tuple(sorted(left.items()))))
    return _gathered(found)


def evaluated(one: Terms, x: Mapping[str, Fraction]) -> Fraction:
    """The number that it is where the variables have these values, exactly."""
    return sum((math.prod((x[name] ** n for name, n in exponents), start=a) for a, exponents in one), start=Fraction(0))


def text(one: Terms) -> str:
    """As one writes it, with the highest powers first."""
    written = ""
    for coefficient, exponents in one:
        factors = [x if n == 1 else f"{x}**{n}" for x, n in exponents]
        size = abs(coefficient)
        is_decimal = (
            size.denominator > 1_000 and Fraction(float(size)) == size
        )  # a float's own fraction tells nobody much
        p, q = (float(size), 1) if is_decimal else (size.numerator, size.denominator)
        line = "*".join([str(p), *factors] if p != 1 or not factors else factors) + (f"/{q}" if q != 1 else "")
        sign = "-" if coefficient < 0 else "+"
        written += f" {sign} {line}" if written else line if coefficient > 0 else f"-{line}"
    return written or "0"


def rounded(exact: Fraction, dtype: np.dtype[Any]) -> Any:
    """The number of the dtype that is nearest.

    A narrower format is not rounded to by way of float64's nearest, which may lie half-way between two of its numbers,
    but by way of the neighbour whose last digit is odd: that one is never half-way (Boldo and Melquiond 2008).
    """
    try:
        near = float(exact)
    except OverflowError:
        near = math.inf if exact > 0 else -math.inf
    is_even = not np.float64(near).view(np.int64) & 1
    if dtype.itemsize < 8 and math.isfinite(near) and Fraction(near) != exact and is_even:
        near = math.nextafter(near, math.inf if exact > Fraction(near) else -math.inf)
    with np.errstate(over="ignore", under="ignore"):
        return np.float64(near).astype(dtype)


# As numbers that a program is evaluated with


@dataclass(frozen=True, eq=False)
class Polynomial(Spelled):
    """A polynomial that calculates: with others, with NumPy's numbers, and with numbers of the text in its dtype."""

    terms: Terms
    dtype: np.dtype[Any]
    __array_ufunc__ = None  # an array leaves `array * polynomial` to the polynomial


def _pair(x1: Any, x2: Any) -> tuple[Terms, Terms, np.dtype[Any]]:
    # Constants alone may be whole numbers; what they make has the dtype of the polynomials that it then meets.
    own = [x.dtype for x in (x1, x2) if isinstance(x, Polynomial)]
    own = own or [x.dtype for x in (x1, x2) if getattr(x, "dtype", np.dtype(int)).kind not in "biu"]
    dtype = min(own, key=lambda dtype: dtype.itemsize, default=np.dtype(np.float64))
    one, other = (x.terms if isinstance(x, Polynomial) else number(x, dtype) for x in (x1, x2))
    return one, other, dtype


def _add(x1: Any, x2: Any) -> Polynomial:
    one, other, dtype = _pair(x1, x2)
    return Polynomial(added(one, other), dtype)


def _subtract(x1: Any, x2: Any) -> Polynomial:
    one, other, dtype = _pair(x1, x2)
    return Polynomial(added(one, scaled(other, Fraction(-1))), dtype)


def _multiply(x1: Any, x2: Any) -> Polynomial:
    one, other, dtype = _pair(x1, x2)
    return Polynomial(multiplied(one, other), dtype)


def _divide(x1: Any, x2: Any) -> Polynomial:
    one, other, dtype = _pair(x1, x2)
    if len(other) != 1 or other[0][1]:
        raise Unsupported(f"a quotient by {text(other)} is no polynomial")
    return Polynomial(scaled(one, 1 / other[0][0]), dtype)


def _power(x1: Any, x2: Any) -> Polynomial:
    one, other, dtype = _pair(x1, x2)
    exponent = evaluated(other, {}) if not other or not other[0][1] else Fraction(-1)
    if exponent < 0 or exponent.denominator != 1:
        raise Unsupported(f"({text(one)})**({text(other)}) is no polynomial")
    return Polynomial(raised(one, exponent.numerator), dtype)


OPS: Final[dict[str, Callable[..., Any]]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "power": _power,
    "negative": lambda x: _multiply(x, -1),
}
"""All that polynomials have."""

Polynomial.words = SimpleNamespace(**OPS)


class Polynomials(Host):
    """Polynomials with fractions as coefficients, on the CPU."""

    ops: Mapping[str, Callable[..., Native]] = OPS

    def value(self, f: Function, x: Arrays) -> Any:
        """The polynomial itself, at x."""
        return _answer(f, x, lambda y: y)

    def gradient(self, f: Function, x: Arrays) -> dict[str, Any]:
        """By input, a number each."""
        return {name: _answer(f, x, partial(differentiated, by=name)) for name in x}

    def jacobian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """By input, a number each for every output."""
        return self.gradient(f, x)

    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Any:
        """The sum over the inputs of tangent times derivative."""
        return _answer(f, x, partial(_along, tangents=tangents))

    def vjp(self, f: Function, x: Arrays, cotangent: Any) -> dict[str, Any]:
        """By input, the sum over the outputs of cotangent times derivative."""
        weights = cotangent if isinstance(cotangent, tuple) else (cotangent,)
        outputs, _ = _outputs(f, x)
        parts = [multiplied(number(w), y) for w, y in zip(weights, outputs, strict=True)]
        total = _gathered(term for part in parts for term in part)
        return {name: _at(differentiated(total, name), x, format_of(f, x.values())) for name in x}

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> dict[str, Any]:
        """By input, the derivative along the tangents of the derivative by it."""
        return {
            name: _answer(f, x, lambda y, by=name: _along(differentiated(y, by), tangents))  # type: ignore[misc]
            for name in x
        }

    def hessian(self, f: Function, x: Arrays) -> dict[str, Any]:
        """By pairs of inputs, a number each."""
        return {f"{one},{other}": self.partial(f, x, Counter([one, other])) for one in x for other in x}

    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Any:
        """Differentiated as often as the orders say."""
        by = [name for name, order in orders.items() for _ in range(order)]
        return _answer(f, x, lambda y: reduce(differentiated, by, y))


def formula(program: Program, inputs: Iterable[str], constants: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The derivatives of a program by its inputs, as polynomials written out; of several outputs one after the other.

    Raises:
        Unsupported: It is no polynomial.
    """
    missing = sorted(set(program.primitives) - set(OPS))
    if missing:
        raise Unsupported(f"polynomials have no {', '.join(missing)}")
    names = tuple(inputs)
    f = Function(program, {**OPS, "asarray": np.asarray}, names, constants or {})
    outputs, _ = _outputs(f, dict.fromkeys(names, np.zeros(())))
    return {name: "; ".join(text(differentiated(y, name)) for y in outputs) for name in names}


def _outputs(f: Function, x: Arrays) -> tuple[tuple[Terms, ...], bool]:
    """What f is made of, for each output, and whether these are several."""
    for array in x.values():
        number(array)
    dtype = format_of(f, x.values())
    y = f(*(Polynomial(((Fraction(1), ((name, 1),)),), dtype) for name in x))
    outputs = y if isinstance(y, tuple) else (y,)
    return tuple(one.terms if isinstance(one, Polynomial) else number(one) for one in outputs), isinstance(y, tuple)


def _answer(f: Function, x: Arrays, take: Callable[[Terms], Terms]) -> Any:
    """What is taken of f's output, or of each of its outputs, at x."""
    outputs, is_tuple = _outputs(f, x)
    dtype = format_of(f, x.values())
    found = tuple(_at(take(y), x, dtype) for y in outputs)
    return found if is_tuple else found[0]


def _at(y: Terms, x: Arrays, dtype: np.dtype[Any]) -> Any:
    values = {name: Fraction(float(array)) for name, array in x.items()}
    return np.asarray(rounded(evaluated(y, values), dtype))


def _along(y: Terms, tangents: Arrays) -> Terms:
    """The derivative along a direction."""
    parts = [multiplied(number(way), differentiated(y, name)) for name, way in tangents.items()]
    return _gathered(term for part in parts for term in part)
