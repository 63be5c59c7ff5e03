"""A function as typeset mathematics.

A `Program` enters; presentation MathML leaves, for HTML. It is set as it was written: a fraction where the text
divides, a root where it takes one, an equation for each assignment. What mathematics writes by a sign of its own is
written so, every other primitive by its name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from markupsafe import escape

from gradbench.primitives import VOCABULARY, Parameter
from gradbench.program import Program

LONGEST: Final = 40_000
"""A text whose mathematics would be longer than this many characters is left to its plain form."""

SHORT: Final = 200
"""Markup of at most this many characters may be repeated."""

LOGIC, RELATION, SUM, PRODUCT, PREFIX, SCRIPT, ATOM = range(7)
"""How tightly a piece holds together, loosest first."""


@dataclass(frozen=True)
class _Piece:
    """Markup, how tightly it holds together, and what it begins and ends with: digit, letter, word, function, bracket, other."""

    markup: str
    level: int = ATOM
    first: str = "other"
    last: str = "other"


def mathematics(program: Program) -> str:
    """The function as a `math` element; empty where the text is too long or too deep to be worth setting."""
    try:
        body = ast.parse(program.text).body
        markup = _Setter(program.names).equations(body)
    except (SyntaxError, RecursionError, KeyError, ValueError):
        return ""
    return markup if len(markup) <= LONGEST else ""


_GREEK: Final = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eps": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "kappa": "κ", "lambda": "λ", "lambda_": "λ", "lam": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "rho": "ρ",
    "sigma": "σ", "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ",
    "Theta": "Θ", "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
_CONSTANTS: Final = {"pi": "π", "e": "e", "inf": "∞", "nan": "NaN"}

_SAME: Final = {
    "add": "x1 + x2", "subtract": "x1 - x2", "multiply": "x1 * x2", "divide": "x1 / x2", "power": "x1 ** x2",
    "remainder": "x1 % x2", "negative": "-x", "matmul": "x1 @ x2", "square": "x ** 2", "reciprocal": "1 / x",
    "rsqrt": "1 / sqrt(x)", "hypot": "sqrt(x1 ** 2 + x2 ** 2)", "expm1": "exp(x) - 1", "log1p": "log(1 + x)",
    "logaddexp": "log(exp(x1) + exp(x2))", "xlogy": "x1 * log(x2)", "xlog1py": "x1 * log(1 + x2)",
    "exp2": "2 ** x", "matrix_power": "x ** n", "matrix_transpose": "x.T", "outer": "x1 @ x2.T",
    "solve": "inv(x1) @ x2", "less": "x1 < x2", "less_equal": "x1 <= x2", "greater": "x1 > x2",
    "greater_equal": "x1 >= x2", "equal": "x1 == x2", "not_equal": "x1 != x2", "logical_and": "x1 & x2",
    "logical_or": "x1 | x2", "logical_not": "not x",
}  # fmt: skip
"""Primitives that mean the same as an expression of others, in the names of their signature."""

_SIGNS: Final = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arsinh", "acosh": "arcosh", "atanh": "artanh",
    "atan2": "atan2", "sign": "sgn", "maximum": "max", "minimum": "min", "gamma": "Γ", "digamma": "ψ", "zeta": "ζ",
    "ndtr": "Φ", "trace": "tr", "log2": ("log", "2"), "log10": ("log", "10"), "j0": ("J", "0"), "j1": ("J", "1"),
    "i0": ("I", "0"), "i1": ("I", "1"), "expm": "exp", "real": "Re", "imag": "Im", "angle": "arg",
}  # fmt: skip
"""What a function is called in mathematics, with its index."""

_FENCES: Final = {
    "abs": ("|", "|", ""), "floor": ("⌊", "⌋", ""), "ceil": ("⌈", "⌉", ""), "vector_norm": ("‖", "‖", "2"),
    "matrix_norm": ("‖", "‖", "F"),
}  # fmt: skip
_BETWEEN: Final = {"kron": "⊗", "cross": "×", "vecdot": "⋅"}
_BIG: Final = {"sum": "∑", "prod": "∏"}
_RELATIONS: Final = {ast.Lt: "&lt;", ast.LtE: "≤", ast.Gt: "&gt;", ast.GtE: "≥", ast.Eq: "=", ast.NotEq: "≠"}
_TRIGONOMETRIC: Final = frozenset({"sin", "cos", "tan", "sinh", "cosh", "tanh", "log"})
"""Whose powers are written on the name: sin² x."""


class _Setter:
    """Sets one text."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.bound = names, set(names)

    def equations(self, body: Sequence[ast.stmt]) -> str:
        """An equation for each statement."""
        lines = [self.statement(statement) for statement in body]
        if len(lines) == 1:
            inner = "".join(lines[0])
        else:
            cells = ("".join(f"<mtd>{cell}</mtd>" for cell in line) for line in lines)
            inner = f'<mtable class="equations" displaystyle="true">{"".join(f"<mtr>{row}</mtr>" for row in cells)}</mtable>'
        return f'<math display="block">{inner}</math>'

    def statement(self, statement: ast.stmt) -> tuple[str, str, str]:
        """What is defined, the sign, and what it is defined as."""
        if isinstance(statement, ast.Assign):
            return self.definition(statement.targets[0], statement.value)
        if isinstance(statement, ast.AugAssign):
            return self.definition(statement.target, ast.BinOp(statement.target, statement.op, statement.value))
        value = statement.value if isinstance(statement, (ast.Return, ast.Expr)) else None
        if value is None:
            raise ValueError("no statement of the language")
        return self.head(), "<mo>=</mo>", self.set(value).markup

    def definition(self, target: ast.expr, value: ast.expr) -> tuple[str, str, str]:
        """An equation; an arrow where the name stood for something else before."""
        right = self.set(value).markup
        names = [part.id for part in ast.walk(target) if isinstance(part, ast.Name)]
        sign = "←" if self.bound.intersection(names) else "="
        self.bound.update(names)
        pieces = [_name(name) for name in names]
        left = _fenced("(", _list(pieces), ")") if len(names) > 1 else pieces[0].markup
        return left, f"<mo>{sign}</mo>", right

    def head(self) -> str:
        """The function applied to its inputs."""
        letter = next((c for c in "fgFG" if c not in self.bound), "f")
        arguments = _list([_name(name) for name in self.names])
        return f"<mi>{letter}</mi>{_fenced('(', arguments, ')')}" if len(self.names) <= 8 else f"<mi>{letter}</mi>"

    def set(self, tree: ast.expr, level: int = 0) -> _Piece:
        """An expression, in brackets if it holds together less tightly than asked."""
        return _within(getattr(self, f"on_{type(tree).__name__.lower()}")(tree), level)

    # By kind of expression

    def on_constant(self, tree: ast.Constant) -> _Piece:
        value = tree.value
        if isinstance(value, complex):
            return _Piece(f"<mrow>{_number(value.imag).markup}<mi>i</mi></mrow>", PRODUCT, "digit", "letter")
        return _number(value) if isinstance(value, (int, float)) else _Piece(f"<mtext>{escape(repr(value))}</mtext>")

    def on_name(self, tree: ast.Name) -> _Piece:
        if tree.id not in self.bound and tree.id in _CONSTANTS:
            return _Piece(f"<mi>{_CONSTANTS[tree.id]}</mi>", ATOM, "letter", "letter")
        return _name(tree.id)

    def on_binop(self, tree: ast.BinOp) -> _Piece:
        kind = type(tree.op)
        if kind in {ast.Add, ast.Sub}:
            left, right = self.set(tree.left, SUM), self.set(tree.right, SUM if kind is ast.Add else PRODUCT)
            if right.markup.startswith("<mrow><mo>−"):  # a + −b is written with brackets
                right = replace(right, markup=_fenced("(", right.markup, ")"), last="bracket")
            sign = "+" if kind is ast.Add else "−"
            return _Piece(f"<mrow>{left.markup}<mo>{sign}</mo>{right.markup}</mrow>", SUM, left.first, right.last)
        if kind in {ast.Mult, ast.MatMult}:
            if isinstance(tree.left, ast.UnaryOp) and isinstance(tree.left.op, ast.USub):  # −x y, not (−x) y
                return self.set(ast.UnaryOp(ast.USub(), ast.BinOp(tree.left.operand, tree.op, tree.right)))
            return _product(self.set(tree.left, PRODUCT), self.set(tree.right, PREFIX))
        if kind is ast.Div:
            return _Piece(f"<mfrac>{_row(self.set(tree.left))}{_row(self.set(tree.right))}</mfrac>", ATOM)
        if kind is ast.Pow:
            return self.power(tree)
        sign = {ast.Mod: "mod", ast.BitAnd: "∧", ast.BitOr: "∨"}[kind]
        level = PRODUCT if kind is ast.Mod else LOGIC
        left, right = self.set(tree.left, level), self.set(tree.right, level + 1)
        return _Piece(f"<mrow>{left.markup}<mo>{sign}</mo>{right.markup}</mrow>", level, left.first, right.last)

    def power(self, tree: ast.BinOp) -> _Piece:
        """A power; that of a sine is written on its name."""
        base, exponent = tree.left, _row(self.set(tree.right))
        name = base.func.id if isinstance(base, ast.Call) and isinstance(base.func, ast.Name) else ""
        whole = isinstance(tree.right, ast.Constant) and isinstance(tree.right.value, int) and tree.right.value > 1
        if name in _TRIGONOMETRIC and whole:
            assert isinstance(base, ast.Call)
            return _function(f"<msup><mi>{name}</mi>{exponent}</msup>", [self.set(part) for part in base.args])
        return _raised(self.set(base), exponent)

    def on_unaryop(self, tree: ast.UnaryOp) -> _Piece:
        if isinstance(tree.op, ast.UAdd):
            return self.set(tree.operand)
        if isinstance(tree.op, ast.USub):
            operand = self.set(tree.operand, PRODUCT)
            return _Piece(f"<mrow><mo>−</mo>{operand.markup}</mrow>", SUM, "other", operand.last)
        operand = self.set(tree.operand, PREFIX)
        return _Piece(f"<mrow><mo>¬</mo>{operand.markup}</mrow>", PREFIX, "other", operand.last)

    def on_compare(self, tree: ast.Compare) -> _Piece:
        parts = [self.set(part, SUM).markup for part in (tree.left, *tree.comparators)]
        signs = [f"<mo>{_RELATIONS[type(op)]}</mo>" for op in tree.ops]
        rest = "".join(sign + part for sign, part in zip(signs, parts[1:], strict=True))
        return _Piece(f"<mrow>{parts[0]}{rest}</mrow>", RELATION)

    def on_boolop(self, tree: ast.BoolOp) -> _Piece:
        sign = "∧" if isinstance(tree.op, ast.And) else "∨"
        parts = [self.set(value, RELATION).markup for value in tree.values]
        return _Piece(f"<mrow>{f'<mo>{sign}</mo>'.join(parts)}</mrow>", LOGIC)

    def on_attribute(self, tree: ast.Attribute) -> _Piece:
        if tree.attr in {"T", "mT"}:
            return _raised(self.set(tree.value), "<mi>⊤</mi>")
        inner = tree.value.args[0] if isinstance(tree.value, ast.Call) and tree.value.args else None
        if inner is None:
            base = self.set(tree.value, ATOM)
            return _Piece(f"<msub>{_row(base)}<mtext>{escape(tree.attr)}</mtext></msub>", SCRIPT)
        determinant = _function("<mi>det</mi>", [self.set(inner)])
        if tree.attr == "sign":
            return _function("<mi>sgn</mi>", [determinant])
        return _logarithm(_fenced("|", determinant.markup, "|"))

    def on_subscript(self, tree: ast.Subscript) -> _Piece:
        base = self.set(tree.value, ATOM)
        return _Piece(f"<msub>{_row(base)}<mtext>{escape(_index(tree.slice))}</mtext></msub>", SCRIPT, base.first)

    def on_list(self, tree: ast.List | ast.Tuple) -> _Piece:
        return _Piece(_fenced("[", _list([self.set(part) for part in tree.elts]), "]"), ATOM, "bracket", "bracket")

    on_tuple = on_list

    def on_dict(self, tree: ast.Dict) -> _Piece:
        pairs = [
            _Piece(f"<mrow>{self.set(key).markup}<mo>:</mo>{self.set(value).markup}</mrow>")
            for key, value in zip(tree.keys, tree.values, strict=True)
            if key is not None
        ]
        return _Piece(_fenced("{", _list(pairs), "}"))

    # Primitives

    def on_call(self, tree: ast.Call) -> _Piece:
        assert isinstance(tree.func, ast.Name)
        name = tree.func.id
        given = _given(tree, VOCABULARY[name].parameters)
        statics = {k: v for k, v in given.items() if isinstance(v, ast.expr) and _is_static(name, k)}
        if name in _SAME and len(given) == len(VOCABULARY[name].parameters):
            return self.set(_Filled(given).visit(ast.parse(_SAME[name], mode="eval").body))
        arrays = [self.set(part) for key in given for part in _parts(given[key]) if key not in statics]
        special: Callable[..., _Piece] | None = getattr(self, f"set_{name}", None)
        if special is not None:
            return special(arrays)
        if name in _FENCES:
            left, right, index = _FENCES[name]
            order = statics.pop("ord", None)
            index = ast.unparse(order) if order is not None else index
            fenced = _fenced(left, arrays[0].markup, right)
            below = _subscript(index, statics)
            return _Piece(f"<msub>{fenced}{below}</msub>" if below else fenced, SCRIPT)
        if name in _BETWEEN and not statics:
            left, right = (_within(piece, PREFIX).markup for piece in arrays)
            return _Piece(f"<mrow>{left}<mo>{_BETWEEN[name]}</mo>{right}</mrow>", PRODUCT)
        if name in _BIG:
            below = _subscript("", statics)
            sign = f'<mo largeop="true">{_BIG[name]}</mo>'
            operand = _within(arrays[0], PRODUCT)
            markup = f"<mrow>{f'<munder>{sign}{below}</munder>' if below else sign}{operand.markup}</mrow>"
            return _Piece(markup, PRODUCT, "other", operand.last)
        sign, index = (found, "") if isinstance(found := _SIGNS.get(name, name), str) else found
        function, below = f"<mi>{escape(sign)}</mi>", _subscript(index, statics)
        return _function(f"<msub>{function}{below}</msub>" if below else function, arrays)

    def set_sqrt(self, arrays: Sequence[_Piece]) -> _Piece:
        return _Piece(f"<msqrt>{arrays[0].markup}</msqrt>")

    def set_cbrt(self, arrays: Sequence[_Piece]) -> _Piece:
        return _Piece(f"<mroot>{_row(arrays[0])}<mn>3</mn></mroot>")

    def set_conj(self, arrays: Sequence[_Piece]) -> _Piece:
        return _Piece(f'<mover>{_row(arrays[0])}<mo stretchy="true">‾</mo></mover>')

    def set_inv(self, arrays: Sequence[_Piece]) -> _Piece:
        return _raised(arrays[0], "<mrow><mo>−</mo><mn>1</mn></mrow>")

    def set_ndtri(self, arrays: Sequence[_Piece]) -> _Piece:
        return _function("<msup><mi>Φ</mi><mrow><mo>−</mo><mn>1</mn></mrow></msup>", arrays)

    def set_log_ndtr(self, arrays: Sequence[_Piece]) -> _Piece:
        return _logarithm(_function("<mi>Φ</mi>", arrays).markup)

    def set_gammaln(self, arrays: Sequence[_Piece]) -> _Piece:
        return _logarithm(_fenced("|", _function("<mi>Γ</mi>", arrays).markup, "|"))

    def set_entr(self, arrays: Sequence[_Piece]) -> _Piece:
        if len(arrays[0].markup) > SHORT:  # written twice, so a chain of them would double at each step
            return _function("<mi>entr</mi>", arrays)
        product = _product(_within(arrays[0], PRODUCT), _function("<mi>log</mi>", arrays))
        return _Piece(f"<mrow><mo>−</mo>{product.markup}</mrow>", SUM, "other", "bracket")

    def set_where(self, arrays: Sequence[_Piece]) -> _Piece:
        condition, one, other = (piece.markup for piece in arrays)
        rows = ((one, f"<mtext>if\N{NO-BREAK SPACE}</mtext>{condition}"), (other, "<mtext>otherwise</mtext>"))
        table = "".join(f"<mtr><mtd>{value}</mtd><mtd>{when}</mtd></mtr>" for value, when in rows)
        # The brace is the table's border: where no font for mathematics is installed, a sign wouldn't stretch.
        return _Piece(f'<mtable class="cases">{table}</mtable>', SUM)


_APPLY: Final = "<mo>\N{FUNCTION APPLICATION}</mo>"


class _Filled(ast.NodeTransformer):
    """Puts expressions in the place of names."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        found: ast.expr = self.values.get(node.id, node)
        return found


def _given(tree: ast.Call, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """A call's expressions by the names of the parameters; a list for the remaining operands."""
    if parameters[-1].kind == "operands":
        fixed = len(parameters) - 1
        found: dict[str, Any] = dict(zip([p.name for p in parameters[:fixed]], tree.args, strict=False))
        found[parameters[-1].name] = tree.args[fixed:]
    else:
        found = dict(zip([p.name for p in parameters], tree.args, strict=False))
    return found | {keyword.arg: keyword.value for keyword in tree.keywords if keyword.arg}


def _is_static(primitive: str, name: str) -> bool:
    return any(p.name == name and p.is_static for p in VOCABULARY[primitive].parameters)


def _parts(value: Any) -> Iterable[ast.expr]:
    return value if isinstance(value, list) else [value]


def _index(tree: ast.expr) -> str:
    text = ast.unparse(tree)
    return text[1:-1] if isinstance(tree, ast.Tuple) else text


def _number(value: float) -> _Piece:
    text = repr(value).removesuffix(".0")
    mantissa, exponential, exponent = text.partition("e")
    if not exponential:
        return _Piece(f"<mn>{escape(text)}</mn>", ATOM, "digit", "digit")
    power = f"<mrow><mo>−</mo><mn>{-int(exponent)}</mn></mrow>" if int(exponent) < 0 else f"<mn>{int(exponent)}</mn>"
    ten = f"<msup><mn>10</mn>{power}</msup>"
    if mantissa == "1":
        return _Piece(ten, SCRIPT, "digit", "other")
    return _Piece(f"<mrow><mn>{mantissa}</mn><mo>⋅</mo>{ten}</mrow>", PRODUCT, "digit", "other")


def _name(name: str) -> _Piece:
    """A name: Greek where it is a Greek letter's, a trailing number or what follows an underscore as an index."""
    if name in _GREEK:
        return _Piece(f"<mi>{_GREEK[name]}</mi>", ATOM, "letter", "letter")
    split = re.fullmatch(r"([^\W\d_]+)_?(\d+)|([^\W\d_]+)_([^\W_]+)", name)
    if split is None:
        kind = "letter" if len(name) == 1 else "word"
        return _Piece(f"<mi>{escape(name)}</mi>", ATOM, kind, kind)
    base, number, stem, word = split.groups()
    index = f"<mn>{number}</mn>" if number else f"<mi>{escape(word)}</mi>"
    body = _name(base or stem)
    return _Piece(f"<msub>{body.markup}{index}</msub>", ATOM, body.first, "other")


def _product(left: _Piece, right: _Piece) -> _Piece:
    """A product: by juxtaposition where that can be read, with a dot where it would be taken for something else."""
    words = "word" in {left.last, right.first} and left.last not in {"digit", "bracket"}
    called = right.first == "bracket" and left.last in {"letter", "word", "other"}
    dot = right.first == "digit" or called or (words and not (left.last == "other" and right.first == "word"))
    sign = "<mo>⋅</mo>" if dot else "<mo>\N{INVISIBLE TIMES}</mo>"
    if not dot and (right.first in {"word", "function"} or left.last == "bracket"):
        sign += '<mspace width="0.17em"/>'
    return _Piece(f"<mrow>{left.markup}{sign}{right.markup}</mrow>", PRODUCT, left.first, right.last)


def _within(piece: _Piece, level: int) -> _Piece:
    """The piece, in brackets if it holds together less tightly than asked."""
    if piece.level >= level:
        return piece
    return _Piece(_fenced("(", piece.markup, ")"), ATOM, "bracket", "bracket")


def _raised(base: _Piece, exponent: str) -> _Piece:
    base = _within(base, ATOM)
    return _Piece(f"<msup>{_row(base)}{exponent}</msup>", SCRIPT, base.first, "other")


def _row(piece: _Piece) -> str:
    """One element, as scripts and fractions need it."""
    return piece.markup if piece.markup.startswith("<mrow>") else f"<mrow>{piece.markup}</mrow>"


def _list(pieces: Sequence[_Piece]) -> str:
    return "<mo>,</mo>".join(piece.markup for piece in pieces)


def _fenced(left: str, inner: str, right: str) -> str:
    return f'<mrow><mo stretchy="true">{left}</mo>{inner}<mo stretchy="true">{right}</mo></mrow>'


def _function(sign: str, arrays: Sequence[_Piece]) -> _Piece:
    markup = f"<mrow>{sign}{_APPLY}{_fenced('(', _list(arrays), ')')}</mrow>"
    return _Piece(markup, SCRIPT, "function", "bracket")


def _logarithm(inner: str) -> _Piece:
    """Of what has signs of its own around it."""
    return _Piece(f"<mrow><mi>log</mi>{_APPLY}{inner}</mrow>", SCRIPT, "function", "bracket")


def _subscript(index: str, statics: dict[str, ast.expr]) -> str:
    """An index, and static arguments by their names."""
    words = [index] if index else []
    words += [f"{name} {ast.unparse(value)}" for name, value in statics.items()]
    return f"<mtext>{escape(', '.join(words))}</mtext>" if words else ""
