"""Text to `Program`: a small language with Python's syntax.

A function's text enters; a Wengert list leaves, inputs first, then one node per primitive, each naming earlier entries.
The text is parsed with `ast` and never evaluated as Python.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gradbench.errors import LanguageError, suggestion
from gradbench.primitives import VOCABULARY, Parameter, Primitive
from gradbench.program import ITEM, Argument, Literal, Node, Number, Program, Ref
from gradbench.syntax import MAX_CHARACTERS, place, statements, too_deep

MAX_EXPONENT: Final = 1_000
CONSTANTS: Final = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}

_BINARY: Final = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Pow: "power",
    ast.Mod: "remainder", ast.MatMult: "matmul", ast.BitAnd: "logical_and", ast.BitOr: "logical_or",
}  # fmt: skip
_COMPARE: Final = {
    ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal",
    ast.Eq: "equal", ast.NotEq: "not_equal",
}  # fmt: skip
_FOLD: Final[dict[type, Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.Mod: operator.mod,
}  # fmt: skip


def parse(text: str, names: Iterable[str]) -> Program:
    """A function's text as a `Program` over the given input names; it returns one array, or a tuple of them.

    Raises:
        LanguageError: With the line and column of what can't be read.
    """
    builder = _Builder(text, tuple(names))
    result = builder.run()
    if isinstance(result, dict):
        raise builder.error(builder.returned, "a function returns arrays, not a mapping", "return an expression")
    return builder.program(
        {str(i): part for i, part in enumerate(result)} if isinstance(result, tuple) else {"": result}
    )


def parse_rule(function: str, rule: str, names: Iterable[str], extra: Iterable[str] = ()) -> Program:
    """A derivative written by hand, which may use the names that the function assigns and the `extra` ones.

    Its outputs are the keys of the mapping it returns, or ``""`` for a bare expression; keys of a mapping within
    the mapping are joined by a comma.

    Raises:
        LanguageError: With the line and column, within the rule's text, of what can't be read.
    """
    builder = _Builder(function, (*names, *extra))
    builder.run()
    builder.text = rule
    result = builder.run()
    if isinstance(result, tuple):
        raise builder.error(builder.returned, "a derivative is an array, or a mapping", "return {x: ..., y: ...}")
    return builder.program(_flat(result) if isinstance(result, dict) else {"": result})


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Argument]:
    flat: dict[str, Argument] = {}
    for key, value in mapping.items():
        flat |= _flat(value, f"{prefix}{key},") if isinstance(value, dict) else {prefix + key: value}
    return flat


@dataclass
class _Builder:
    text: str
    names: tuple[str, ...]
    nodes: list[Node] = field(default_factory=list)
    returned: ast.AST = field(default_factory=ast.Pass)

    def __post_init__(self) -> None:
        self.scope: dict[str, Any] = {name: Ref(i) for i, name in enumerate(self.names)}

    def program(self, outputs: Mapping[str, Argument]) -> Program:
        return Program(self.text, self.names, tuple(self.nodes), tuple(outputs.items()))

    def error(self, where: ast.AST, wrong: str, right: str = "") -> LanguageError:
        return LanguageError(self.text, *place(self.text, where), wrong, right)

    # Statements

    def run(self) -> Any:
        try:
            return self.value_of(statements(self.text))
        except RecursionError:
            raise too_deep(self.text) from None

    def value_of(self, read: list[ast.stmt]) -> Any:
        """What the statements return: an array, a tuple of them, or a mapping."""
        *body, last = read
        for statement in body:
            self.statement(statement)
        if isinstance(last, ast.Return) and last.value is not None:
            value = last.value
        elif isinstance(last, ast.Expr) and not body:
            value = last.value  # a text of one expression needs no `return`
        else:
            self.statement(last)
            raise self.error(last, "the function returns nothing", "end it with 'return' and an expression")
        self.returned = last
        if isinstance(value, ast.Tuple) and value.elts:
            return tuple(self.array(part) for part in value.elts)
        return self.mapping(value) if isinstance(value, ast.Dict) else self.array(value)

    def statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Return):
            raise self.error(statement, "'return' before the end", "only the last statement returns")
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            left = ast.copy_location(ast.Name(statement.target.id), statement.target)
            value = ast.copy_location(ast.BinOp(left, statement.op, statement.value), statement)
            self.bind(statement.target, self.expression(value))
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            self.assign(statement.targets[0], self.expression(statement.value))
        elif isinstance(statement, (ast.For, ast.While, ast.If)):
            right = "use where(), or a Python callable for control flow"
            raise self.error(statement, f"the language has no '{type(statement).__name__.lower()}'", right)
        else:
            raise self.error(statement, "not an assignment", "write 'name = expression'")

    def assign(self, target: ast.expr, value: Any) -> None:
        if not isinstance(target, ast.Tuple):
            self.bind(target, value)
            return
        if not isinstance(value, _Several) or len(value.fields) != len(target.elts):
            raise self.error(target, f"{len(target.elts)} names for one array", "give it one name")
        for i, element in enumerate(target.elts):
            self.bind(element, self.item(value, i, element))

    def bind(self, target: ast.expr, value: Any) -> None:
        if not isinstance(target, ast.Name):
            raise self.error(target, "only a name can be assigned to", "write 'name = expression'")
        if isinstance(value, Ref) and value.index >= len(self.names):
            node = self.nodes[value.index - len(self.names)]
            if node.name is None:
                self.nodes[value.index - len(self.names)] = Node(
                    node.primitive, node.arguments, node.statics, target.id, node.line, node.column
                )
        self.scope[target.id] = value

    def mapping(self, tree: ast.Dict) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in zip(tree.keys, tree.values, strict=True):
            if isinstance(key, ast.Name):
                name = key.id
            elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                name = key.value
            else:
                raise self.error(key or tree, "a key must be a name", "write '{x: ..., y: ...}'")
            if name in found:
                raise self.error(key, f"{name!r} is given twice", "give each key once")
            found[name] = self.mapping(value) if isinstance(value, ast.Dict) else self.array(value)
        return found

    # Expressions

    def array(self, tree: ast.expr) -> Argument:
        """An expression whose value is one array or number."""
        value: Argument | _Several = self.expression(tree)
        if isinstance(value, _Several):
            fields = " or ".join(f".{name}" for name in value.fields)
            raise self.error(tree, f"{value.primitive} answers with {len(value.fields)} arrays", f"take {fields}")
        return value

    def expression(self, tree: ast.expr) -> Any:
        method = getattr(self, f"on_{type(tree).__name__.lower()}", None)
        if method is None:
            what = type(tree).__name__
            right = (
                "use where(condition, a, b)" if what == "IfExp" else "see the words with 'gradbench list --primitives'"
            )
            raise self.error(tree, f"{what} is not part of the language", right)
        return method(tree)

    def on_constant(self, tree: ast.Constant) -> Literal:
        if isinstance(tree.value, bool) or not isinstance(tree.value, (int, float, complex)):
            raise self.error(tree, f"{tree.value!r} is not a number")
        return self.number(tree, tree.value)

    def number(self, tree: ast.AST, value: Number) -> Literal:
        if isinstance(value, int) and abs(value) >= 2**63:
            raise self.error(tree, "an integer of more than 64 bits", "write it as a decimal number")
        return Literal(value)

    def on_name(self, tree: ast.Name) -> Any:
        if tree.id in self.scope:
            return self.scope[tree.id]
        if tree.id in CONSTANTS:
            return Literal(CONSTANTS[tree.id])
        if tree.id in VOCABULARY:
            raise self.error(tree, f"{tree.id!r} is a function", f"call it: {VOCABULARY[tree.id].signature}")
        raise self.error(tree, f"undefined name {tree.id!r}", suggestion(tree.id, [*self.scope, *CONSTANTS]))

    def on_binop(self, tree: ast.BinOp) -> Argument:
        left, right = self.array(tree.left), self.array(tree.right)
        name = _BINARY.get(type(tree.op))
        if name is None:
            raise self.error(tree, f"the operator {type(tree.op).__name__} is not part of the language")
        if isinstance(left, Literal) and isinstance(right, Literal) and type(tree.op) in _FOLD:
            return self.fold(tree, left.value, right.value)
        return self.one(tree, name, (left, right))

    def fold(self, tree: ast.BinOp, left: Number, right: Number) -> Literal:
        if isinstance(tree.op, ast.Pow) and abs(right) > MAX_EXPONENT:
            raise self.error(tree.right, f"an exponent of {right}", f"at most {MAX_EXPONENT} between two numbers")
        try:
            return self.number(tree, _FOLD[type(tree.op)](left, right))
        except (ArithmeticError, TypeError) as error:
            raise self.error(tree, f"these numbers have no result: {error}") from None

    def on_unaryop(self, tree: ast.UnaryOp) -> Argument:
        operand = self.array(tree.operand)
        if isinstance(tree.op, ast.UAdd):
            return operand
        if isinstance(tree.op, ast.USub):
            if isinstance(operand, Literal):
                # an integer has no negative zero; in this language 0 is a real number
                return Literal(-operand.value if operand.value or isinstance(operand.value, float) else -0.0)
            return self.one(tree, "negative", (operand,))
        return self.one(tree, "logical_not", (operand,))

    def on_compare(self, tree: ast.Compare) -> Argument:
        operands = [self.array(part) for part in (tree.left, *tree.comparators)]
        found: Argument | None = None
        for i, sign in enumerate(tree.ops):
            if type(sign) not in _COMPARE:
                raise self.error(tree, f"the comparison {type(sign).__name__} is not part of the language")
            one = self.one(tree, _COMPARE[type(sign)], (operands[i], operands[i + 1]))
            found = one if found is None else self.one(tree, "logical_and", (found, one))
        assert found is not None
        return found

    def on_boolop(self, tree: ast.BoolOp) -> Argument:
        name = "logical_and" if isinstance(tree.op, ast.And) else "logical_or"
        found, *others = [self.array(value) for value in tree.values]
        for other in others:
            found = self.one(tree, name, (found, other))
        return found

    def on_attribute(self, tree: ast.Attribute) -> Argument:
        value = self.expression(tree.value)
        if isinstance(value, _Several):
            if tree.attr not in value.fields:
                raise self.error(tree, f"{value.primitive} has no {tree.attr!r}", suggestion(tree.attr, value.fields))
            return self.item(value, value.fields.index(tree.attr), tree)
        if tree.attr in {"T", "mT"}:
            return self.one(tree, "matrix_transpose", (value,))
        raise self.error(tree, f"an array has no {tree.attr!r}", "use .T, or call a function")

    def on_subscript(self, tree: ast.Subscript) -> Argument:
        value = self.array(tree.value)
        parts = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        return self.one(tree, "getitem", (value,), {"index": tuple(self.index(part) for part in parts)})

    def index(self, tree: ast.expr) -> Any:
        if isinstance(tree, ast.Slice):
            bounds = [None if b is None else self.integer(b) for b in (tree.lower, tree.upper, tree.step)]
            if bounds[2] == 0:
                raise self.error(tree, "a slice with step 0")
            return slice(*bounds)
        if isinstance(tree, ast.Constant) and (tree.value is None or tree.value is Ellipsis):
            return tree.value
        return self.integer(tree)

    def integer(self, tree: ast.expr) -> int:
        value = self.static(tree)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(tree, "an index must be a whole number", "use take(x, indices) for computed indices")
        return value

    def on_call(self, tree: ast.Call) -> Any:
        if not isinstance(tree.func, ast.Name):
            raise self.error(tree, "only a primitive can be called", "write 'sin(x)'")
        name = tree.func.id
        if name not in VOCABULARY:
            raise self.error(tree.func, f"unknown primitive {name!r}", suggestion(name, VOCABULARY))
        primitive = VOCABULARY[name]
        if name == "getitem":
            raise self.error(tree.func, "getitem is written with brackets", "write 'x[0]'")
        bound = self.bound(tree, primitive)
        arguments: list[Argument] = []
        statics: dict[str, Any] = {}
        for parameter in primitive.parameters:
            given = bound.get(parameter.name)
            if parameter.kind == "operands":
                arguments.extend(self.array(part) for part in given or ())
            elif given is None:
                if parameter.is_required:
                    raise self.error(tree, f"{name} lacks {parameter.name!r}", f"write '{primitive.signature}'")
                statics[parameter.name] = parameter.default
            elif parameter.kind == "arrays":
                arguments.append(self.several(given, primitive))
            elif parameter.kind == "array":
                arguments.append(self.array(given))
            else:
                statics[parameter.name] = self.checked(given, parameter, self.static(given))
        return self.apply(tree, name, tuple(arguments), statics)

    def bound(self, tree: ast.Call, primitive: Primitive) -> dict[str, Any]:
        """The call's expressions by the names of the signature's parameters."""
        signature = f"write '{primitive.signature}'"
        starred = next((a for a in tree.args if isinstance(a, ast.Starred)), None)
        if starred is not None:
            raise self.error(starred, "a starred argument", signature)
        parameters = primitive.parameters
        found: dict[str, Any] = {}
        if parameters[-1].kind == "operands":
            fixed = len(parameters) - 1
            found = dict(zip([p.name for p in parameters[:fixed]], tree.args, strict=False))
            found[parameters[-1].name] = tree.args[fixed:]
            if not found[parameters[-1].name]:
                raise self.error(tree, f"{primitive.name} lacks its arrays", signature)
        elif len(tree.args) > len(parameters):
            count = f"{len(parameters)} argument{'s' if len(parameters) > 1 else ''}"
            raise self.error(tree, f"{primitive.name} takes {count}, not {len(tree.args)}", signature)
        else:
            found = dict(zip([p.name for p in parameters], tree.args, strict=False))
        for keyword in tree.keywords:
            known = [p.name for p in parameters]
            if keyword.arg is None or keyword.arg not in known:
                right = suggestion(keyword.arg or "**", known)
                raise self.error(keyword, f"{primitive.name} has no argument {keyword.arg!r}", right)
            if keyword.arg in found:
                raise self.error(keyword, f"{keyword.arg!r} is given twice", signature)
            found[keyword.arg] = keyword.value
        return found

    def several(self, tree: ast.expr, primitive: Primitive) -> tuple[Argument, ...]:
        if not isinstance(tree, (ast.List, ast.Tuple)) or not tree.elts:
            raise self.error(tree, f"{primitive.name} takes a list of arrays", f"write '{primitive.name}([a, b])'")
        return tuple(self.array(part) for part in tree.elts)

    def static(self, tree: ast.expr) -> Any:
        """A value fixed in the text: a number, a tuple of whole numbers, a string, True, False or None."""
        if isinstance(tree, (ast.Tuple, ast.List)):
            return tuple(self.static(part) for part in tree.elts)
        if isinstance(tree, ast.Constant) and (tree.value is None or isinstance(tree.value, (bool, str))):
            return tree.value
        value = self.expression(tree)
        if not isinstance(value, Literal):
            raise self.error(tree, "this must be fixed in the text", "write a number")
        return value.value

    def checked(self, tree: ast.expr, parameter: Parameter, value: Any) -> Any:
        try:
            return parameter.accepted(value)
        except ValueError as error:
            raise self.error(tree, f"{parameter.name!r} can't be {value!r}", f"write {error}") from None

    def item(self, several: _Several, index: int, tree: ast.AST) -> Ref:
        return self.append(tree, ITEM, (several.ref,), {"index": index})

    def one(
        self, tree: ast.AST, name: str, arguments: tuple[Argument, ...], statics: Mapping[str, Any] | None = None
    ) -> Argument:
        """A primitive with one result."""
        ref: Ref = self.apply(tree, name, arguments, statics)
        return ref

    def apply(
        self, tree: ast.AST, name: str, arguments: tuple[Argument, ...], statics: Mapping[str, Any] | None = None
    ) -> Any:
        if not arguments:
            raise self.error(tree, f"{name} is applied to nothing")
        ref = self.append(tree, name, arguments, statics or {})
        results = VOCABULARY[name].results
        return _Several(name, ref, results) if results else ref

    def append(self, tree: ast.AST, name: str, arguments: tuple[Argument, ...], statics: Mapping[str, Any]) -> Ref:
        self.nodes.append(Node(name, arguments, tuple(statics.items()), None, *place(self.text, tree)))
        return Ref(len(self.names) + len(self.nodes) - 1)


@dataclass(frozen=True)
class _Several:
    """What a primitive with several results answers, before one of them is taken."""

    primitive: str
    ref: Ref
    fields: tuple[str, ...]


__all__ = ["CONSTANTS", "MAX_CHARACTERS", "MAX_EXPONENT", "parse", "parse_rule"]
