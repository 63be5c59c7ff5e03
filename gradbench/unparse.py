"""`Program` to text: the other way round of `language`.

A Wengert list enters; a text of the language leaves, an assignment for each node, from which `parse` makes the same
list again, up to names and places. Arithmetic and comparisons are written with Python's operators, everything else is a
call; what a signature fills in is left out.
"""

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from types import EllipsisType
from typing import Any, Final

from gradbench.primitives import VOCABULARY
from gradbench.program import ITEM, Argument, Literal, Node, Number, Program, Ref

OPERATORS: Final = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "remainder": "%", "matmul": "@",
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
    "logical_and": "&", "logical_or": "|",
}  # fmt: skip
_INFINITY: Final = "1e999"
"""It is read as infinity, whatever the name `inf` stands for."""
_NAN: Final = f"{_INFINITY} - {_INFINITY}"
_TINY: Final = 1e-200


def unparse(program: Program) -> str:
    """The text of a function, with the names of `names`.

    Raises:
        ValueError: It is no function but the derivative of one: its outputs have names.
    """
    if program.keys != ("",) and not program.is_tuple:
        message = "a function returns arrays, not a mapping"
        raise ValueError(message)
    known = names(program)
    lines = [f"{name} = {step}" for name, step in zip(known[len(program.names) :], steps(program, known), strict=True)]
    returned = [argument_text(argument, known) for _, argument in program.outputs]
    comma = "," if program.is_tuple and len(returned) == 1 else ""
    return "\n".join([*lines, f"return {', '.join(returned)}{comma}"])


def names(program: Program) -> tuple[str, ...]:
    """A name for every entry, each once: its own if the text gives it one that nothing else has, else n and a number."""
    given = [node.name for node in program.nodes]
    often = {name for name in given if given.count(name) > 1}
    taken = {*program.names, *(name for name in given if name)}
    found = list(program.names)
    for number, name in enumerate(given, start=1):
        if name and name not in often and name not in program.names:
            found.append(name)
        else:
            found.append(next(free for free in _numbered(number) if free not in taken))
            taken.add(found[-1])
    return tuple(found)


def _numbered(number: int) -> Iterator[str]:
    """n3, n3_, n3__ and so on."""
    return (f"n{number}{'_' * i}" for i in itertools.count())


def steps(program: Program, known: Sequence[str]) -> tuple[str, ...]:
    """Each node as an expression in the names of the entries."""
    return tuple(expression(program, node, known) for node in program.nodes)


def expression(program: Program, node: Node, known: Sequence[str]) -> str:
    """One node as an expression in the names of the entries."""
    parts = [argument_text(argument, known) for argument in node.arguments]
    statics = dict(node.statics)
    if node.primitive == ITEM:
        (several,) = node.arguments
        assert isinstance(several, Ref)
        results = VOCABULARY[program.nodes[several.index - len(program.names)].primitive].results
        return f"{parts[0]}.{results[statics['index']]}"
    if node.primitive == "getitem":
        base = parts[0] if parts[0].isidentifier() else f"({parts[0]})"
        return f"{base}[{_index(statics['index'])}]"
    # Two numbers with an operator between them would be calculated when the text is read.
    computed = not all(isinstance(argument, Literal) for argument in node.arguments)
    if node.primitive in OPERATORS and computed:
        return f"{_tight(parts[0])} {OPERATORS[node.primitive]} {_tight(parts[1])}"
    if node.primitive == "negative" and computed:
        return f"-{parts[0]}"
    if node.primitive == "matrix_transpose" and computed:
        return f"{parts[0]}.T"
    return f"{node.primitive}({', '.join(_call(node, parts, known))})"


def _call(node: Node, parts: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    """What stands between the brackets of a call: arrays by position, what is fixed by keyword."""
    statics = dict(node.statics)
    parameters = VOCABULARY[node.primitive].parameters
    if parameters[-1].kind == "operands":  # what comes before them can only be given by position
        yield from (static_text(statics[parameter.name], known) for parameter in parameters[:-1])
    yield from parts
    if parameters[-1].kind == "operands":
        return
    for parameter in parameters:
        if parameter.is_static and not _same(statics[parameter.name], parameter.default):
            yield f"{parameter.name}={static_text(statics[parameter.name], known)}"


def _same(value: Any, default: Any) -> bool:
    """Whether a value is the default to the last bit: 0.0 isn't 0."""
    return type(value) is type(default) and repr(value) == repr(default)


def argument_text(argument: Argument, known: Sequence[str]) -> str:
    """A name, a number, or a list of them."""
    if isinstance(argument, Ref):
        return known[argument.index]
    if isinstance(argument, Literal):
        return number_text(argument.value, known)
    return f"[{', '.join(argument_text(part, known) for part in argument)}]"


def number_text(number: Number, known: Iterable[str] = ()) -> str:
    """A number that is read back as itself; infinity by its name, unless that is one of those known."""
    if isinstance(number, complex):
        return _complex(number)
    text = "inf" if "inf" not in known else _INFINITY
    if isinstance(number, float) and not math.isfinite(number):
        return ("nan" if "nan" not in known else _NAN) if math.isnan(number) else text if number > 0 else f"-{text}"
    return repr(number)


def _complex(number: complex) -> str:
    """A complex number, which the language adds up: the first of some sums that comes to it, signs of zeros and all."""
    found = (text for text, value in _sums(number) if repr(value) == repr(number))
    # NaN comes in many ways, and the sign of a zero beside infinity may get lost.
    return next(found, f"{number_text(number.real, ('nan', 'inf'))} + {_imaginary(number.imag)}")


def _sums(number: complex) -> Iterator[tuple[str, complex]]:
    a, b = abs(number.real), abs(number.imag)
    if math.isnan(a) or math.isnan(b):
        return
    real, imaginary = number_text(a, ("nan", "inf")), _imaginary(b)
    j = complex(0.0, b)
    yield f"{imaginary}", j
    if b:
        yield f"-{imaginary}", -j
    for sign, one in ((1, real), (-1, f"-{real}")):
        yield f"{one} + {imaginary}", sign * a + j
        yield f"{one} - {imaginary}", sign * a - j
        if a or b:  # of a complex 0 the language makes a real one when it is negated
            yield f"-({one} + {imaginary})", -(sign * a + j)
            yield f"-({one} - {imaginary})", -(sign * a - j)
    for x in (_TINY, -_TINY):  # what is left of a quotient too small
        for between, y in (("+", _TINY), ("-", -_TINY)):
            yield f"({x} {between} {_TINY}j) / {1 / _TINY}", complex(x, y) / (1 / _TINY)


def _imaginary(part: float) -> str:
    if cmath.isnan(part):
        return f"({_INFINITY}j - {_INFINITY}j)"
    return f"{number_text(part, ('nan', 'inf'))}j"


def _tight(text: str) -> str:
    """An operand: in brackets if it is a number with a sign."""
    return f"({text})" if text.startswith("-") or " " in text else text


def static_text(value: Any, known: Iterable[str]) -> str:
    """What is fixed in a text: a number, a word, True, False, None, or several in brackets."""
    if isinstance(value, tuple):
        return f"({', '.join(static_text(part, known) for part in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, float):
        return number_text(value, known)
    return repr(value)


def _index(index: Sequence[Any]) -> str:
    """What stands between the brackets of an index."""
    return ", ".join(map(_place, index)) if index else "()"


def _place(part: Any) -> str:
    if isinstance(part, slice):
        start, stop, step = ("" if bound is None else repr(bound) for bound in (part.start, part.stop, part.step))
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return "..." if isinstance(part, EllipsisType) else repr(part)
