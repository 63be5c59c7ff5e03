"""`Series`, a power series in t with ball coefficients, and `Ring`, what all the series of one expansion share.

Balls enter; series leave, and where there is none a `Fault` that says why. A fault is carried by the element it struck
and spreads through whatever is computed from it, so that an answer that never looks at it (the branch that `where` didn't
take) is not harmed: only a fault that reaches an output is raised.

The products, quotients and compositions are FLINT's (Johansson 2017, Arb, IEEE Trans. Comput. 66): each coefficient is
a ball that holds the true one. The precision is `flint.ctx.prec`, as the caller set it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, TypeVar

import flint
import numpy as np

from gradbench.errors import Unsupported

Array = np.ndarray[Any, np.dtype[Any]]
Ball = Any
"""A `flint.arb`."""

Answer = TypeVar("Answer")

UNBOUNDED: Final = math.inf


class Fault(Exception):
    """Why there is no expansion. `primitive` names where that happened."""

    reason = "has no expansion here"

    def __init__(self, primitive: str, reason: str = "") -> None:
        self.primitive = primitive
        super().__init__(f"{primitive} {reason or self.reason}")


class Kink(Fault):
    """The expansions to the left and to the right differ, and no side was asked for."""

    reason = "has different expansions to the left and to the right"


class Singular(Fault):
    """An infinite derivative, a pole, or a point that the function isn't defined around."""

    reason = "is not analytic here"


class Undecided(Fault):
    """A ball holds a point where it matters on which side one is; more bits may settle it, or never."""

    reason = "can't be decided with these bits"


class Series:
    """A power series in t, known up to a power.

    Attributes:
        terms: A `flint.arb_series`; its `prec` says how many coefficients are known.
        degree: A bound for the degree, where the function is known to be a polynomial in t; else infinite. Zeros as
            far as one can see mean a function that is zero only if the degree says that nothing follows.
        fault: Why there is no series; then nothing else holds.
    """

    __slots__ = ("degree", "fault", "terms")

    def __init__(self, terms: Any, degree: float = UNBOUNDED, fault: Fault | None = None) -> None:
        self.terms, self.degree, self.fault = terms, degree, fault

    @property
    def first(self) -> Ball:
        """The constant term."""
        return self.terms[0]

    @property
    def known(self) -> int:
        """How many coefficients are known."""
        return int(self.terms.prec)

    @property
    def is_constant(self) -> bool:
        """Whether it is one number, for all t."""
        return self.degree == 0 or (self.terms.length() <= 1 and self.degree < self.known)

    def of(self, terms: Any) -> Series:
        """The series of an analytic function of this one alone: a number if this is a number."""
        return Series(terms, 0 if self.degree == 0 else UNBOUNDED)

    def zero(self) -> Series:
        """The number 0, known as far as this is."""
        return Series(flint.arb_series([], self.known), 0)

    def valuation(self, primitive: str) -> int | None:
        """The place of the lowest coefficient that isn't exactly 0; None if there is none among the known ones.

        Raises:
            Undecided: That coefficient's ball holds 0.
        """
        for k in range(self.terms.length()):
            c = self.terms[k]
            if not c.is_zero():
                if c.contains(0):
                    raise Undecided(primitive)
                return k
        return None

    def over(self, number: Any) -> Series:
        """This divided by a number that isn't 0; exact where the quotient is."""
        return self if self.fault else Series(self.terms / number, self.degree)

    def shifted(self, places: int) -> Series:
        """t^places times this; a negative shift drops terms, which the caller knows to be 0."""
        c = self.terms.coeffs()
        moved = [0] * places + c if places > 0 else c[-places:]
        return Series(flint.arb_series(moved, self.known + places), self.degree + places)

    def __add__(self, other: Any) -> Series:
        if type(other) is not Series:
            return self if self.fault else Series(self.terms + other, self.degree)
        if self.fault or other.fault:
            return self if self.fault else other
        return Series(self.terms + other.terms, max(self.degree, other.degree))

    def __radd__(self, other: Any) -> Series:
        return self.__add__(other)

    def __sub__(self, other: Any) -> Series:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Series:
        return self.__neg__().__add__(other)

    def __mul__(self, other: Any) -> Series:
        if type(other) is not Series:
            return self if self.fault else Series(self.terms * other, self.degree)
        if self.fault or other.fault:
            return self if self.fault else other
        return Series(self.terms * other.terms, self.degree + other.degree)

    def __rmul__(self, other: Any) -> Series:
        return self.__mul__(other)

    def __neg__(self) -> Series:
        return self if self.fault else Series(-self.terms, self.degree)

    def __repr__(self) -> str:
        return f"Series({self.fault or self.terms})"


def faulty(fault: Fault) -> Series:
    """An element that carries the fault."""
    return Series(None, UNBOUNDED, fault.with_traceback(None))


def divided(x1: Series, x2: Series, primitive: str = "divide") -> Series:
    """x1 / x2.

    Raises:
        Singular, Undecided: x2 is 0 at t = 0, or may be.
    """
    if x2.first.contains(0):
        raise Singular(primitive) if x2.first.is_zero() else Undecided(primitive)
    return Series(x1.terms / x2.terms, x1.degree if x2.degree == 0 else UNBOUNDED)


def positive(x: Series, primitive: str) -> Series:
    """The series itself, once its constant term is known to be positive.

    Raises:
        Singular, Undecided: It isn't, or may not be.
    """
    if not x.first > 0:
        raise Singular(primitive) if x.first <= 0 else Undecided(primitive)
    return x


def composed(coefficients: Callable[[int], Sequence[Ball]], x: Series) -> Series:
    """g(x), where `coefficients(n)` are the first n Taylor coefficients of g at the constant term of x."""
    n = 1 if x.terms.length() <= 1 else x.known
    outer = flint.arb_series(coefficients(n), x.known)
    return x.of(outer if n == 1 else outer(flint.arb_series([0, *x.terms.coeffs()[1:]], x.known)))


def based(constant: Ball, x: Series) -> Series:
    """The same series with another ball for the constant term, which is known more narrowly by itself."""
    return Series(flint.arb_series([constant, *x.terms.coeffs()[1:]], x.known), x.degree)


class Side:
    """From where t tends to 0: +1 or -1; 0 is the point itself. `used` says whether an answer depended on it."""

    __slots__ = ("direction", "used")

    def __init__(self, direction: int) -> None:
        self.direction, self.used = direction, False

    def sign(self, primitive: str, x: Series, smooth: int = 1) -> int:
        """The sign of x on this side; 0 where all known terms are exactly 0, so that it can't matter.

        Args:
            primitive: Who asks.
            x: What is 0 where two branches meet.
            smooth: In how many coefficients, as series in x, the branches agree: 1 if they are continuous, 0 if
                there is a jump.

        Raises:
            Undecided: The ball doesn't say.
        """
        if x.first > 0 or x.first < 0:
            return 1 if x.first > 0 else -1
        if not x.first.is_zero():
            raise Undecided(primitive)
        k = x.valuation(primitive)
        if k is None:
            if smooth == 0 and x.degree >= x.known:
                raise Undecided(primitive)
            return 0
        if smooth == 0 or (k % 2 and k * smooth < x.known):
            self.used = True
        return (1 if x.terms[k] > 0 else -1) * (self.direction if k % 2 else 1) if self.direction else 0

    def power(self, places: int) -> int:
        """The sign of t^places on this side."""
        self.used |= places % 2 == 1
        return 1 if places % 2 == 0 else self.direction


def agree(x1: Any, x2: Any) -> bool | None:
    """Whether two answers are the same; None where their balls don't say."""
    if not (isinstance(x1, Series) and isinstance(x2, Series)):
        return bool(x1 == x2)
    if x1 is x2:
        return True
    if x1.fault or x2.fault:
        return False
    unsure = False
    for k in range(min(x1.known, x2.known)):
        difference = x1.terms[k] - x2.terms[k]
        if not difference.contains(0):
            return False
        unsure |= not difference.is_zero()
    return None if unsure else True


@dataclass(frozen=True)
class Ring:
    """What the series of one expansion share.

    Attributes:
        order: The highest power of t that is computed.
        side: The side that kinks are approached from, or None if there must be none.
        lift: How a number of the text becomes a ball.
    """

    order: int
    side: int | None = None
    lift: Callable[[Any], Ball] = flint.arb

    def constant(self, number: Any) -> Series:
        """A number that is a ball already, or exact."""
        return Series(flint.arb_series([number], self.order + 1), 0)

    def line(self, start: Ball, slope: Ball) -> Series:
        """The series start + t slope."""
        zero = isinstance(slope, int) or slope.is_zero()
        return self.constant(start) if zero else Series(flint.arb_series([start, slope], self.order + 1), 1)

    def array(self, x: Any) -> Array:
        """An array of series. Numbers, and integer and boolean arrays, are lifted; floats are exact already.

        Raises:
            Unsupported: A complex number.
        """
        kind = "O" if isinstance(x, Series) else np.asarray(x).dtype.kind
        if kind == "c":
            raise Unsupported("a power series of complex numbers")
        if isinstance(x, (int, float)):
            return _array(self.constant(self.lift(x)))
        if kind in "iub":
            return _array(np.frompyfunc(lambda n: self.constant(self.lift(int(n))), 1, 1)(x))
        if kind != "O":  # bfloat16 has a kind of its own
            return _array(np.frompyfunc(lambda n: self.constant(float(n)), 1, 1)(x))
        return _array(np.frompyfunc(lambda e: e if type(e) is Series else self.constant(int(e)), 1, 1)(x))

    def smooth(self, f: Callable[..., Series], *arrays: Any) -> Array:
        """What f makes of each element, broadcast; a fault in place of what it raises."""

        def safe(*elements: Series) -> Series:
            for element in elements:
                if element.fault:
                    return element
            try:
                return f(*elements)
            except Fault as fault:
                return faulty(fault)

        return _array(np.frompyfunc(safe, len(arrays), 1)(*(self.array(a) for a in arrays)))

    def kinked(self, primitive: str, f: Callable[..., Any], *arrays: Any, jump: bool = False) -> Array:
        """f(side, *elements) of each element, broadcast: on the side asked for, or on all if they agree."""
        return self.smooth(lambda *elements: self.one(primitive, lambda s: f(s, *elements), jump), *arrays)

    def approached(self, primitive: str, f: Callable[[Side], list[Answer]], jump: bool = False) -> list[Answer]:
        """What f answers on the side asked for; without one, from both sides, and a `Kink` for each element that differs.

        Args:
            primitive: Who asks.
            f: Its answers, given a side.
            jump: Whether the point itself may differ from both sides, too.
        """
        if self.side is not None:
            return f(Side(self.side))
        right = Side(1)
        answers = f(right)
        if not right.used:
            return answers
        for direction in (-1, 0) if jump else (-1,):
            answers = [self._both(primitive, a, b) for a, b in zip(answers, f(Side(direction)), strict=True)]
        return answers

    def one(self, primitive: str, f: Callable[[Side], Answer], jump: bool = False) -> Answer:
        """As `approached`, for one answer."""
        return self.approached(primitive, lambda side: [f(side)], jump)[0]

    def _both(self, primitive: str, x1: Any, x2: Any) -> Any:
        same = agree(x1, x2)
        if same or (isinstance(x1, Series) and x1.fault):
            return x1
        return faulty(Undecided(primitive) if same is None else Kink(primitive))


def _array(x: Any) -> Array:
    """An array of objects, of no dimension if it is one; NumPy hands those back bare."""
    return np.asarray(x, dtype=object)


def vanishing_power(side: Side, primitive: str, x: Series, exponent: Fraction, *, odd: bool = False) -> Series:
    """x^exponent for an x that is 0 at t = 0: a series if the exponent makes the lowest power a whole one.

    (a t^v (1 + ...))^e = a^e |t|^(v e) (1 + ...)^e. Where v e is no whole number, the derivatives below it are 0 and
    the next is infinite.

    Args:
        side: Where t comes from.
        primitive: Who asks.
        x: With a constant term that is exactly 0.
        exponent: Positive.
        odd: Whether it is an odd root, which negative numbers have, too.

    Raises:
        Singular: A fractional power of t that matters, or the root of a negative number on this side.
        Undecided: The lowest coefficient's ball holds 0.
    """
    v, n = x.valuation(primitive), x.known
    if v is None:
        return x.zero() if x.is_constant else Series(flint.arb_series([], min(n, math.ceil(n * exponent))))
    e = v * exponent
    lowest = 1 if x.terms[v] > 0 else -1
    if not odd and lowest * side.power(v) < 0:
        raise Singular(primitive, "has no real value on one side of this point")
    if e.denominator > 1:
        if e < n - 1:
            raise Singular(primitive)
        return Series(flint.arb_series([], min(n, math.ceil(e))))
    u = x.shifted(-v) * (lowest if odd else side.direction**v)
    ball = flint.arb(exponent.numerator) / exponent.denominator
    root = u.terms.sqrt() if exponent == Fraction(1, 2) else u.terms**ball
    sign = lowest if odd else side.power(int(e))
    found = Series(root * sign).shifted(int(e))
    return Series(flint.arb_series(found.terms.coeffs(), min(n, found.known)))
