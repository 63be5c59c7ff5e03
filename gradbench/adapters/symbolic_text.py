"""A graph as mathematics: the part of the adapter `symbolic` that writes.

A graph enters `text`, a formula in Python's syntax leaves, with the parentheses that it needs and no others. Factors are
gathered as one would by hand, numbers first and what is divided by below one line: what is calculated as x*(3*x)*y/z/z
is written 3*x**2*y/z**2. A formula can be read back as a function of the case files, but for the few words that these
don't have.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

LONGEST: Final = 2_000
"""Characters; a part whose formula is longer is an ellipsis."""

_COMPARED, _SUM, _PRODUCT, _POWER, _ATOM = range(5)
"""How tightly a formula binds."""

_COMPARISONS: Final = {
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip

_NUMBERS: Final = {
    math.pi: (Fraction(1), "pi"),
    math.log(2): (Fraction(1), "log(2)"),
    math.log(10): (Fraction(1), "log(10)"),
    math.sqrt(2 * math.pi): (Fraction(1), "sqrt(2*pi)"),
    math.sqrt(math.pi) / 2: (Fraction(1, 2), "sqrt(pi)"),
    **{math.sqrt(n): (Fraction(1), f"sqrt({n})") for n in range(2, 100) if math.isqrt(n) ** 2 != n},
}
"""Numbers that have a name: a fraction, and what it is multiplied by."""


@dataclass(frozen=True)
class Formula:
    """What is written as one, how tightly it binds, and where it stands among factors: numbers, variables, the rest."""

    text: str
    tightness: int = _ATOM
    rank: int = 2

    def within(self, tightness: int) -> str:
        """As a part of another: in parentheses if it binds less tightly."""
        return self.text if self.tightness >= tightness else f"({self.text})"


@dataclass(frozen=True)
class Term:
    """A number times formulas, over formulas: each with how often it is a factor above and below the line."""

    number: Fraction = Fraction(1)
    above: Mapping[Formula, int] = field(default_factory=dict)
    below: Mapping[Formula, int] = field(default_factory=dict)

    def times(self, other: Term) -> Term:
        """The product."""
        above, below = Counter(self.above) + Counter(other.above), Counter(self.below) + Counter(other.below)
        return Term(self.number * other.number, above, below)

    def inverse(self) -> Term:
        """One over it."""
        if not self.number:
            return Term(below={Formula("0"): 1})
        return Term(1 / self.number, self.below, self.above)

    def formula(self) -> Formula:
        """As one writes it."""
        size, sign = abs(self.number), "-" if self.number < 0 else ""
        if size == 1 and not self.below and sum(self.above.values()) == 1:
            (only,) = self.above
            return Formula(f"-{only.within(_POWER)}", _PRODUCT) if sign else only
        above, below = _factors(size.numerator, self.above), _factors(size.denominator, self.below)
        line = sign + ("*".join(above) or "1")
        if below:
            line += "/" + (below[0] if len(below) == 1 else f"({'*'.join(below)})")
        one = len(above) <= 1 and not below and not sign
        found = Formula(line, (_POWER if self.above else _ATOM) if one else _PRODUCT)
        return found if len(line) <= LONGEST else Formula("…")


def _factors(number: int, factors: Mapping[Formula, int]) -> list[str]:
    written = [str(number)] if number != 1 else []
    for factor, times in sorted(factors.items(), key=lambda pair: pair[0].rank):
        written.append(factor.within(_POWER) if times == 1 else f"{factor.within(_ATOM)}**{times}")
    return written


def _of(formula: Formula) -> Term:
    short = formula if len(formula.text) <= LONGEST else Formula("…")
    return Term(above={short: 1})


def text(graph: Any) -> str:
    """The formula of a graph."""
    known: dict[Any, Term] = {}
    todo = [graph]
    while todo:
        missing = [part for part in todo[-1].parts if part not in known]
        if missing:
            todo.extend(missing)
        else:
            node = todo.pop()
            known[node] = _term(node, [known[part] for part in node.parts])
    return known[graph].formula().text


def _term(node: Any, parts: Sequence[Term]) -> Term:
    """A node as a term, from its parts."""
    match node.word:
        case "variable":
            return _of(Formula(node.statics, rank=1))
        case "constant":
            return _number(node.statics)
        case "negative":
            return replace(parts[0], number=-parts[0].number)
        case "multiply":
            return parts[0].times(parts[1])
        case "divide":
            return parts[0].times(parts[1].inverse())
        case "power":
            return _power(*parts)
        case "xlogy" | "xlog1py":
            return parts[0].times(_of(Formula(f"{node.word[1:-1]}({parts[1].formula().text})")))
        case "nonzero" | "base":  # these keep a quotient from 0/0 and are nothing that one writes
            return parts[0]
        case "shift":
            return Term(Fraction(0))
        case "circle":
            return _of(Formula(f"sqrt(1 - {_power(parts[0], Term(Fraction(2))).formula().text})"))
        case word:
            return _of(_written(word, [part.formula() for part in parts], node.statics))


def _power(base: Term, exponent: Term) -> Term:
    """Whole powers of one factor are counted, others are written out."""
    if exponent.above or exponent.below or exponent.number.denominator != 1 or exponent.number == 0:
        written = Formula(f"{base.formula().within(_ATOM)}**{exponent.formula().within(_ATOM)}", _POWER)
        return _of(written)
    times = abs(exponent.number.numerator)
    is_one = base.number == 1 and not base.below and len(base.above) == 1
    factors = {f: n * times for f, n in base.above.items()} if is_one else {base.formula(): times}
    return Term(above=factors) if exponent.number > 0 else Term(below=factors)


def _number(value: float) -> Term:
    if isinstance(value, bool):
        return _of(Formula(str(value)))
    if isinstance(value, int):
        return Term(Fraction(value))
    number, name = _NUMBERS.get(abs(value), (Fraction(1), str(abs(value))))
    return Term(-number if math.copysign(1, value) < 0 else number, {Formula(name, rank=0): 1})


def _written(word: str, parts: Sequence[Formula], statics: Sequence[tuple[str, Any]]) -> Formula:
    """Sums, comparisons, and everything else as a call."""
    if word in {"add", "subtract"}:
        left, right = parts
        is_less = word == "subtract"
        if right.text == "0":
            return left
        if right.text.startswith("-") and right.tightness == _PRODUCT:
            right, is_less = Formula(right.text[1:], _PRODUCT), not is_less
        return Formula(
            f"{left.within(_SUM)} {'-' if is_less else '+'} {right.within(_PRODUCT if is_less else _SUM)}", _SUM
        )
    if word in _COMPARISONS:
        return Formula(f"{parts[0].within(_SUM)} {_COMPARISONS[word]} {parts[1].within(_SUM)}", _COMPARED)
    if word == "remainder":
        return Formula(f"{parts[0].within(_POWER)} % {parts[1].within(_POWER)}", _SUM)
    told = [f"{name}={value!r}" for name, value in statics]
    return Formula(f"{word}({', '.join([part.text for part in parts] + told)})")
