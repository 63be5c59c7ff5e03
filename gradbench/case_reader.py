"""The tree of a YAML file to checked cases; every mistake is noted with its place, and reading goes on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np

from gradbench import schema
from gradbench.case import Case, Point, spec_of
from gradbench.document import Entries, Items, Leaf, Tree
from gradbench.errors import LanguageError, Mistake, Mistakes, Place, caret, suggestion
from gradbench.exact import number
from gradbench.language import parse, parse_rule
from gradbench.points import Drawer
from gradbench.program import Program
from gradbench.query import Array, Operator
from gradbench.shapes import Spec, infer, output
from gradbench.stated import Answer
from gradbench.stated import Reader as StatedReader

MAX_POINTS: Final = 10_000
"""The most points one case may have."""


def read(tree: Tree) -> list[Case]:
    """The cases of one file.

    Raises:
        Mistakes: Anything wrong in it.
    """
    reader = _Reader()
    cases = list(reader.cases(tree))
    if reader.mistakes:
        raise Mistakes(reader.mistakes)
    return cases


class _Stop(Exception):  # the mistake is already noted; there is nothing more to read of this part
    pass


class _Reader:
    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    # What every part needs

    def wrong(self, place: Place, wrong: str, right: str = "", excerpt: str = "") -> _Stop:
        self.mistakes.append(Mistake(place, wrong, right, excerpt))
        return _Stop()

    def language(self, leaf: Leaf, error: LanguageError) -> _Stop:
        """A mistake within a text, with a caret under the column."""
        excerpt = caret(error.text, error.line, error.column)
        return self.wrong(leaf.within(error.line, error.column), error.wrong, error.right, excerpt)

    def entries(self, tree: Tree, what: str, known: Iterable[str], required: Iterable[str] = ()) -> Entries:
        if not isinstance(tree, Entries):
            raise self.wrong(tree.place, f"{what} must be a mapping", f"with the keys {', '.join(known)}")
        for key, place in tree.keys.items():
            if key not in known:
                self.wrong(place, f"unknown key {key!r}", suggestion(key, known))
        missing = [key for key in required if key not in tree.parts]
        if missing:
            raise self.wrong(tree.place, f"{what} lacks {', '.join(map(repr, missing))}")
        return tree

    def text(self, tree: Tree | None, what: str) -> str:
        if tree is None:
            return ""
        if not isinstance(tree, Leaf) or not isinstance(tree.value, str):
            raise self.wrong(
                tree.place, f"{what} must be text", "put quotes around it" if isinstance(tree, Leaf) else ""
            )
        return tree.text

    def words(self, tree: Tree | None, what: str) -> list[Leaf]:
        if tree is None:
            return []
        if not isinstance(tree, Items) or not all(isinstance(part, Leaf) for part in tree.parts):
            raise self.wrong(tree.place, f"{what} must be a list of words", f"as {what}: [one, two]")
        return list(tree.parts)  # type: ignore[arg-type]

    # Files and cases

    def cases(self, tree: Tree) -> Iterator[Case]:
        try:
            root = self.entries(tree, "a case file", schema.FILE, ["cases"])
            if not isinstance(root.parts["cases"], Items) or not root.parts["cases"].parts:
                raise self.wrong(root.parts["cases"].place, "'cases' must be a list of cases", "as '- name: ...'")
        except _Stop:
            return
        for part in root.parts["cases"].parts:
            before = len(self.mistakes)
            try:
                case = self.case(part)
            except _Stop:
                continue
            if len(self.mistakes) == before:
                yield case

    def case(self, tree: Tree) -> Case:
        found = self.entries(tree, "a case", schema.CASE, ["name", "inputs", "function", "points"]).parts
        name = self.text(found["name"], "name")
        if not schema.NAME.fullmatch(name):
            self.wrong(found["name"].place, f"the name {name!r}", "letters, digits and . _ - alone, as 'olah-graph'")
        inputs = self.declared(found["inputs"])
        drawer = Drawer(self.wrong)
        constants = {} if "constants" not in found else self.constants(found["constants"], inputs)
        program = self.program(found["function"], {**inputs, **{k: spec_of(a) for k, a in constants.items()}})
        case = Case(
            name=name, place=tree.place, function=program.text, program=program,
            inputs=tuple(inputs), constants=tuple(constants), points=(),
            description=self.text(found.get("description"), "description"),
            source=self.text(found.get("source"), "source"),
            tags=tuple(leaf.text for leaf in self.words(found.get("tags"), "tags")),
            tolerance=self.tolerance(found.get("tolerance")),
            **self.choices(found, inputs),
        )  # fmt: skip
        points = self.points(found["points"], case, inputs, constants, drawer)
        rules = self.rules(found, case, points[0]) if points else {}
        return Case(**{**case.__dict__, "points": tuple(points), "rules": rules})

    def program(self, tree: Tree, specs: Mapping[str, Spec | None]) -> Program:
        if not isinstance(tree, Leaf):
            raise self.wrong(tree.place, "function must be text", "as 'function: sin(x)'")
        try:
            program = parse(tree.text, specs)
            known = {name: spec for name, spec in specs.items() if spec is not None}
            if len(known) == len(specs):  # otherwise each point decides, and is checked by itself
                output(program, known)
        except LanguageError as error:
            raise self.language(tree, error) from None
        return program

    def declared(self, tree: Tree) -> dict[str, Spec | None]:
        """The shapes of the inputs; None where a point decides."""
        if not isinstance(tree, Entries) or not tree.parts:
            raise self.wrong(tree.place, "inputs must be a mapping", "as 'inputs: {x: scalar, W: [2, 3]}'")
        return {name: self.shape(tree.keys[name], name, part) for name, part in tree.parts.items()}

    def shape(self, key: Place, name: str, tree: Tree) -> Spec | None:
        if not name.isidentifier():
            self.wrong(key, f"{name!r} can't name an input", "letters, digits and _, not starting with a digit")
        kind = "real"
        if isinstance(tree, Entries):
            found = self.entries(tree, "an input", schema.INPUT, ["shape"]).parts
            word = self.text(found.get("dtype"), "dtype") or "real"
            if word not in {"real", "complex"}:
                self.wrong(
                    found["dtype"].place, f"an input can't be {word!r}", "real or complex; else make it a constant"
                )
            kind, tree = word, found["shape"]
        if isinstance(tree, Leaf) and tree.text in {"scalar", "any"}:
            return Spec((), kind) if tree.text == "scalar" else None
        parts = tree.parts if isinstance(tree, Items) else (tree,)
        sizes: list[Any] = [part.value if isinstance(part, Leaf) else None for part in parts]
        if isinstance(tree, Entries) or not all(type(n) is int and n >= 0 for n in sizes):
            raise self.wrong(tree.place, f"no shape for {name!r}", "scalar, a list of sizes as [2, 3], or any")
        return Spec(tuple(sizes), kind)

    def constants(self, tree: Tree, inputs: Mapping[str, Any]) -> dict[str, Array]:
        if not isinstance(tree, Entries):
            raise self.wrong(tree.place, "constants must be a mapping", "as 'constants: {k: [1, 2]}'")
        found: dict[str, Array] = {}
        for name, part in tree.parts.items():
            if name in inputs:
                self.wrong(tree.keys[name], f"{name!r} is an input too", "an input or a constant")
            elif not name.isidentifier():
                self.wrong(tree.keys[name], f"{name!r} can't name a constant")
            found[name] = self.constant(part)
        return found

    def constant(self, tree: Tree) -> Array:
        kind = "real"
        if isinstance(tree, Entries):
            parts = self.entries(tree, "a constant", schema.CONSTANT, ["values"]).parts
            kind, tree = self.text(parts.get("dtype"), "dtype") or "real", parts["values"]
        array, _ = self.array(tree, None)
        if kind == "integer" and array.dtype.kind == "f" and (array == np.floor(array)).all():
            return array.astype(np.int64)
        if kind not in {"real", "complex", "integer", "boolean"} or (kind == "boolean") != (array.dtype == bool):
            if array.dtype == bool and kind == "real":
                return array
            raise self.wrong(tree.place, f"these values are not {kind}", "real, complex, integer or boolean")
        return array.astype(np.complex128) if kind == "complex" else array

    # Numbers

    def array(self, tree: Tree, shape: tuple[int, ...] | None) -> tuple[Array, bool]:
        """An array and whether every entry is exactly the number written; a bare number fills any shape given."""
        exact = True

        def entry(leaf: Leaf) -> Any:
            nonlocal exact
            value, rounded = self.number(leaf)
            exact &= rounded
            return value

        def nested(part: Tree) -> Any:
            if isinstance(part, Entries):
                raise self.wrong(part.place, "a mapping where numbers are needed", "a number, or a list of them")
            return entry(part) if isinstance(part, Leaf) else [nested(inner) for inner in part.parts]

        values = nested(tree)
        try:
            array = np.array(values)
        except ValueError:
            raise self.wrong(tree.place, "rows of different lengths", "equally many numbers in each") from None
        if array.dtype.kind not in "fcb":
            array = array.astype(np.float64)
        if shape is not None and array.shape != shape:
            if isinstance(tree, Leaf) and shape == ():
                return array, exact
            right = f"{list(shape)}" if shape else "a number"
            raise self.wrong(tree.place, f"the shape {list(array.shape)}", f"it must be {right}")
        return array, exact

    def number(self, leaf: Leaf) -> tuple[Any, bool]:
        """A number, and whether float64 holds exactly what was written."""
        if leaf.quoted is False and isinstance(leaf.value, bool):
            return leaf.value, True
        try:
            value, _ = number(leaf.text)
        except LanguageError as error:
            raise self.language(leaf, error) from None
        return value, is_exact(leaf.text, value)

    # Points

    def points(
        self, tree: Tree, case: Case, inputs: Mapping[str, Spec | None], constants: Mapping[str, Array], drawer: Drawer
    ) -> list[Point]:
        if not isinstance(tree, Items) or not tree.parts:
            raise self.wrong(tree.place, "points must be a list", "as '- at: {x: 1}'")
        found: list[Point] = []
        for part in tree.parts:
            try:
                entries = self.entries(part, "a point", schema.POINT)
                ways = [key for key in ("at", "grid", "draw") if key in entries.parts]
                if len(ways) != 1:
                    raise self.wrong(part.place, "a point needs one of 'at', 'grid' and 'draw'", "as '- at: {x: 1}'")
                if ways[0] == "at":
                    places = [self.at(entries.parts["at"], inputs, constants)]
                else:
                    read = drawer.grid if ways[0] == "grid" else drawer.draw
                    places = [(x, dict(constants), True) for x in read(entries.parts[ways[0]], inputs)]
                if len(found) + len(places) > MAX_POINTS:
                    raise self.wrong(part.place, f"more than {MAX_POINTS} points", "fewer")
                for x, k, exact in places:
                    point = Point(len(found) + 1, part.place, x, k, exact, ())
                    answers = self.answers(entries, case, point)
                    found.append(Point(**{**point.__dict__, "answers": answers}))
            except _Stop:
                continue
        return found

    def at(
        self, tree: Tree, inputs: Mapping[str, Spec | None], constants: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array], bool]:
        names = [*inputs, *constants]
        found = self.entries(tree, "'at'", names, inputs)
        x: dict[str, Array] = {}
        k: dict[str, Array] = dict(constants)
        every = True
        for name in names:
            if name not in found.parts:
                continue
            if name in constants:
                array = self.constant(found.parts[name])
                k[name] = array.astype(np.int64) if constants[name].dtype == np.int64 else array
                continue
            spec = inputs[name]
            array, exact = self.array(found.parts[name], None if spec is None else spec.shape)
            if array.dtype == bool:
                raise self.wrong(found.parts[name].place, f"{name!r} is an input and has no truth values", "a number")
            x[name] = array.astype(np.complex128) if spec is not None and spec.kind == "complex" else array
            every &= exact
        return x, k, every

    def answers(self, entries: Entries, case: Case, point: Point) -> tuple[Answer, ...]:
        specs = case.specs(point)
        try:
            y = output(case.program, specs)
        except LanguageError as error:
            # The text fits no file position here: the function's own place is the one that helps.
            raise self.wrong(point.place, f"at this point, {error.wrong}", error.right, _caret(error)) from None
        shapes = {name: array.shape for name, array in point.inputs.items()}
        reader = StatedReader(self, shapes, y.shape)
        answers: list[Answer] = []
        for operator in Operator:
            with contextlib.suppress(_Stop):  # so that a mistake in one doesn't hide those in the next
                answers.extend(reader.answers(operator, entries))
        return tuple(answers)

    # The rest of a case

    def choices(self, found: Mapping[str, Tree], inputs: Iterable[str]) -> dict[str, Any]:
        operators: list[Operator] = []
        partials: list[Mapping[str, int]] = []
        tree = found.get("operators")
        if tree is not None and not isinstance(tree, Items):
            raise self.wrong(tree.place, "operators must be a list", "as [value, gradient]")
        for part in tree.parts if tree is not None else ():
            if isinstance(part, Entries) and list(part.parts) == ["partial"]:
                partials.append(self.orders(part.parts["partial"], inputs))
            elif isinstance(part, Leaf) and part.text in set(Operator) - {"partial"}:
                operators.append(Operator(part.text))
            else:
                name = part.text if isinstance(part, Leaf) else "this"
                self.wrong(part.place, f"{name} is no operator", suggestion(name, Operator) + "; 'partial: {x: 2}'")
        dtypes = []
        for leaf in self.words(found.get("dtypes"), "dtypes"):
            if leaf.text not in schema.DTYPES:
                self.wrong(leaf.place, f"unknown dtype {leaf.text!r}", suggestion(leaf.text, schema.DTYPES))
            dtypes.append(leaf.text)
        return {"operators": tuple(operators), "partials": tuple(partials), "dtypes": tuple(dtypes)}

    def orders(self, tree: Tree, inputs: Iterable[str]) -> dict[str, int]:
        """The orders of a partial derivative."""
        found = self.entries(tree, "a partial derivative", list(inputs))
        orders: dict[str, int] = {}
        if set(found.parts) - set(inputs):
            raise _Stop  # noted already
        for name, part in found.parts.items():
            value = part.value if isinstance(part, Leaf) else None
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= schema.MAX_ORDER:
                raise self.wrong(part.place, "an order must be a whole number", f"from 1 to {schema.MAX_ORDER}")
            orders[name] = value
        if not orders:
            raise self.wrong(tree.place, "a partial derivative by nothing", "as {x: 2}")
        return orders

    def tolerance(self, tree: Tree | None) -> dict[str, Any]:
        if tree is None:
            return {}
        found = self.entries(tree, "a tolerance", schema.TOLERANCE, ["reason"]).parts
        tolerance: dict[str, Any] = {"reason": self.text(found["reason"], "reason")}
        for key in set(found) & {"rtol", "atol", "max_ulps"}:
            part = found[key]
            value = self.number(part)[0] if isinstance(part, Leaf) else None
            if not isinstance(value, float) or not value >= 0:
                raise self.wrong(part.place, f"{key} must be a number", "0 or more, as 1e-6")
            tolerance[key] = value
        if len(tolerance) == 1:
            raise self.wrong(tree.place, "a tolerance without a number", "rtol, atol or max_ulps")
        return tolerance

    def rules(self, found: Mapping[str, Tree], case: Case, point: Point) -> dict[str, str]:
        """The derivatives written by hand, by operator: a reverse pass under `manual`, or formulas."""
        rules: dict[str, str] = {}
        scalar = output(case.program, case.specs(point)).shape == ()
        for key in ("manual", "value", "gradient", "jacobian", "hessian"):
            tree = found.get(key)
            if tree is None:
                continue
            text = self.rule_text(tree)
            if text is None:
                continue
            operator = key
            if key == "manual":
                operator = "vjp" if "cotangent" in text else "gradient"
                if operator == "gradient" and not scalar:
                    raise self.wrong(
                        tree.place, "a reverse pass without 'cotangent'", "this function's output is an array"
                    )
            self.check_rule(tree, text, operator, case, point)
            rules[operator] = text
        return rules

    def rule_text(self, tree: Tree) -> str | None:
        """The text of a rule; a mapping of formulas is written as one."""
        if isinstance(tree, Leaf):
            return tree.text
        if isinstance(tree, Entries):
            parts = {key: self.rule_text(part) for key, part in tree.parts.items()}
            return "{" + ", ".join(f"{key!r}: {text}" for key, text in parts.items()) + "}"
        self.wrong(tree.place, "a list where a formula is needed", "as 'gradient: {x: 2 * x}'")
        return None

    def check_rule(self, tree: Tree, text: str, operator: str, case: Case, point: Point) -> None:
        extra = ("cotangent",) if operator == "vjp" else ()
        leaf = tree if isinstance(tree, Leaf) else Leaf(tree.place, text)
        try:
            program = parse_rule(case.function, text, (*case.inputs, *case.constants), extra)
            specs = case.specs(point)
            specs |= dict.fromkeys(extra, output(case.program, specs))
            infer(program, specs)
        except LanguageError as error:
            raise self.language(leaf, error) from None
        keys = {key for key, _ in program.outputs}
        expected = Operator(operator).keys(case.inputs)
        unknown, missing = keys - set(expected), set(expected) - keys
        if unknown:
            raise self.wrong(
                tree.place, f"{min(unknown)!r} is no part of the {operator}", suggestion(min(unknown), expected)
            )
        if missing and operator not in {"vjp", "gradient"}:
            raise self.wrong(tree.place, f"the {operator} lacks {', '.join(sorted(missing))}")


def is_exact(text: str, value: Any) -> bool:
    """Whether a number as written is the very number that float64 holds."""
    if not isinstance(value, float) or not math.isfinite(value) or (text.isdecimal() and value < 2**53):
        return True
    try:
        return Fraction(text.replace(" ", "")) == Fraction(value)
    except (ValueError, ZeroDivisionError):
        return text.strip().lower().lstrip("+-").startswith("0x")


def _caret(error: LanguageError) -> str:
    return caret(error.text, error.line, error.column)
