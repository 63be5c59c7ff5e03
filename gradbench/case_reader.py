"""The tree of a YAML file to checked cases; every mistake is noted with its place, and reading goes on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from gradbench import schema
from gradbench.case import Case, Point
from gradbench.case_parts import Parts, Stop, is_whole
from gradbench.document import Entries, Items, Leaf, Tree
from gradbench.errors import LanguageError, Mistakes, Place, caret, suggestion
from gradbench.language import parse, parse_rule
from gradbench.points import Drawer
from gradbench.program import Program
from gradbench.query import Array, Operator
from gradbench.shapes import MAX_RANK, MAX_SIZE, Spec, infer, output, outputs
from gradbench.stated import Answer, misfit, motionless
from gradbench.stated import Reader as StatedReader

MAX_POINTS: Final = 10_000
"""The most points one case may have."""
MAX_PARTIALS: Final = 100
MAX_POINTS_OF_FILE: Final = 5 * MAX_POINTS
CODE: Final = frozenset({"python", "implementations"})
"""Keys under which a case would name code; there is none that a case file can make anybody run."""


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


class _Reader(Parts):
    points_left = MAX_POINTS_OF_FILE

    # Files and cases

    def cases(self, tree: Tree) -> Iterator[Case]:
        try:
            root = self.entries(tree, "a case file", schema.FILE, ["cases"])
            if not isinstance(root.parts["cases"], Items) or not root.parts["cases"].parts:
                raise self.wrong(root.parts["cases"].place, "'cases' must be a list of cases", "as '- name: ...'")
        except Stop:
            return
        for part in root.parts["cases"].parts:
            before = len(self.mistakes)
            try:
                case = self.case(part)
            except Stop:
                continue
            if len(self.mistakes) == before:
                yield case

    def case(self, tree: Tree) -> Case:
        keys = tree.keys if isinstance(tree, Entries) else {}
        for key in sorted(CODE & keys.keys()):
            right = "write the function in the language of cases, or ask for a target of your own on the command line"
            raise self.wrong(keys[key], f"{key!r}: a case can't name code to run", right)
        found = self.entries(tree, "a case", schema.CASE, ["name", "inputs", "function", "points"]).parts
        name = self.text(found["name"], "name")
        if not schema.NAME.fullmatch(name):
            self.wrong(found["name"].place, f"the name {name!r}", "letters, digits and . _ - alone, as 'olah-graph'")
        inputs = self.declared(found["inputs"])
        drawer = Drawer(self.wrong, self.room)
        constants = {} if "constants" not in found else self.constants(found["constants"], inputs)
        program = self.program(found["function"], {**inputs, **{k: Spec.of(a) for k, a in constants.items()}})
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
        self.fitting(found.get("operators"), case, points)
        rules = self.rules(found, case, points[0]) if points else {}
        return Case(**{**case.__dict__, "points": tuple(points), "rules": rules})

    def program(self, tree: Tree, specs: Mapping[str, Spec | None]) -> Program:
        if not isinstance(tree, Leaf):
            raise self.wrong(tree.place, "function must be text", "as 'function: sin(x)'")
        try:
            program = parse(tree.text, specs)
            known = {name: spec for name, spec in specs.items() if spec is not None}
            if len(known) == len(specs):  # otherwise each point decides, and is checked by itself
                outputs(program, known)
        except LanguageError as error:
            raise self.language(tree, error) from None
        return program

    def declared(self, tree: Tree) -> dict[str, Spec | None]:
        """The shapes of the inputs; None where a point decides."""
        if not isinstance(tree, Entries) or not tree.parts:
            raise self.wrong(tree.place, "inputs must be a mapping", "as 'inputs: {x: scalar, W: [2, 3]}'")
        self.discrete = {}
        return {name: self.shape(tree.keys[name], name, part) for name, part in tree.parts.items()}

    def shape(self, key: Place, name: str, tree: Tree) -> Spec | None:
        if not name.isidentifier():
            self.wrong(key, f"{name!r} can't name an input", "letters, digits and _, not starting with a digit")
        kind = "real"
        if isinstance(tree, Entries):
            found = self.entries(tree, "an input", schema.INPUT, ["shape"]).parts
            word = self.text(found.get("dtype"), "dtype") or "real"
            if word not in schema.KINDS:
                self.wrong(found["dtype"].place, f"an input can't be {word!r}", suggestion(word, schema.KINDS))
            kind, tree = word, found["shape"]
            if word in schema.DISCRETE:
                self.discrete = {**self.discrete, name: word}
        if isinstance(tree, Leaf) and tree.text in {"scalar", "any"}:
            return Spec((), kind) if tree.text == "scalar" else None
        parts = tree.parts if isinstance(tree, Items) else (tree,)
        sizes: list[Any] = [part.value if isinstance(part, Leaf) else None for part in parts]
        if isinstance(tree, Entries) or not all(type(n) is int and n >= 0 for n in sizes):
            raise self.wrong(tree.place, f"no shape for {name!r}", "scalar, a list of sizes as [2, 3], or any")
        if len(sizes) > MAX_RANK or math.prod(sizes) > MAX_SIZE:
            raise self.wrong(tree.place, f"{name!r} is too large", f"at most {MAX_SIZE} entries and {MAX_RANK} axes")
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
        if kind == "integer" and is_whole(array):
            return array.astype(np.int64)
        if kind not in {"real", "complex", "integer", "boolean"} or (kind == "boolean") != (array.dtype == bool):
            if array.dtype == bool and kind == "real":
                return array
            raise self.wrong(tree.place, f"these values are not {kind}", "real, complex, integer or boolean")
        return array.astype(np.complex128) if kind == "complex" else array

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
                self.points_left -= len(places)
                if self.points_left < 0:
                    raise self.wrong(part.place, f"more than {MAX_POINTS_OF_FILE} points in this file", "several files")
                for x, k, exact in places:
                    point = Point(len(found) + 1, part.place, x, k, exact, ())
                    answers = self.answers(entries, case, point)
                    found.append(Point(**{**point.__dict__, "answers": answers}))
            except Stop:
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
            if name in self.discrete:
                kind = self.discrete[name]
                x[name] = self.whole(found.parts[name], array, kind, f"{name!r} is declared as {kind}")
                every &= exact
                continue
            if array.dtype == bool:
                right = f"a number, or declare it as {name}: {{shape: ..., dtype: boolean}}"
                raise self.wrong(found.parts[name].place, f"a truth value, and {name!r} is real", right)
            if array.dtype.kind == "c" and spec is not None and spec.kind == "real":
                right = f"declare it as {name}: {{shape: ..., dtype: complex}}"
                raise self.wrong(found.parts[name].place, f"a complex number, and {name!r} is real", right)
            x[name] = array.astype(np.complex128) if spec is not None and spec.kind == "complex" else array
            every &= exact
        return x, k, every

    def answers(self, entries: Entries, case: Case, point: Point) -> tuple[Answer, ...]:
        specs = case.specs(point)
        try:
            found = outputs(case.program, specs)
        except LanguageError as error:
            # The text fits no file position here: the function's own place is the one that helps.
            raise self.wrong(point.place, f"at this point, {error.wrong}", error.right, _caret(error)) from None
        shapes = {name: array.shape for name, array in point.inputs.items() if name not in self.discrete}
        reader = StatedReader(self, shapes, {key: spec.shape for key, spec in found.items()}, self.discrete)
        answers: list[Answer] = []
        for operator in Operator:
            with contextlib.suppress(Stop):  # so that a mistake in one doesn't hide those in the next
                for answer in reader.answers(operator, entries):
                    beside = {**dict(zip(found, answer.directions, strict=False)), **(answer.tangents or {})}
                    for name, direction in beside.items():
                        if direction.dtype.kind == "c" and {**specs, **found}[name].kind != "complex":
                            raise self.wrong(
                                entries.keys[operator], "a complex direction for a real array", "a real one"
                            )
                    answers.append(answer)
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
            elif isinstance(part, Leaf) and part.text in operators:
                self.wrong(part.place, f"{part.text} again", "each operator once")
            elif isinstance(part, Leaf) and part.text in set(Operator) - {"partial"}:
                operators.append(Operator(part.text))
            else:
                name = part.text if isinstance(part, Leaf) else "this"
                self.wrong(part.place, f"{name} is no operator", suggestion(name, Operator) + "; 'partial: {x: 2}'")
        if len(partials) > MAX_PARTIALS:
            raise self.wrong(
                found["operators"].place, f"{len(partials)} partial derivatives", f"at most {MAX_PARTIALS}"
            )
        dtypes: list[str] = []
        for leaf in self.words(found.get("dtypes"), "dtypes"):
            if leaf.text not in schema.DTYPES:
                self.wrong(leaf.place, f"unknown dtype {leaf.text!r}", suggestion(leaf.text, schema.DTYPES))
            if leaf.text in dtypes:
                self.wrong(leaf.place, f"{leaf.text} again", "each dtype once")
            dtypes.append(leaf.text)
        return {"operators": tuple(operators), "partials": tuple(partials), "dtypes": tuple(dtypes)}

    def fitting(self, tree: Tree | None, case: Case, points: Iterable[Point]) -> None:
        """Notes the operators that don't fit the function at one of the points."""
        moving = [name for name in case.inputs if name not in self.discrete]
        for part in tree.parts if isinstance(tree, Items) else ():
            for point in points:
                if isinstance(part, Leaf) and part.text in set(Operator):
                    y = {key: spec.shape for key, spec in outputs(case.program, case.specs(point)).items()}
                    wrong, right = misfit(Operator(part.text), y), "ask for the jacobian, or a vjp"
                    x = {name: point.inputs[name].shape for name in moving}
                    keys = Operator(part.text).keys(x, tuple(y))
                    if not wrong and any(math.prod(Operator(part.text).shape(key, x, y)) > MAX_SIZE for key in keys):
                        wrong, right = (
                            f"the {part.text} has more than {MAX_SIZE} entries",
                            "ask for a vjp, a jvp or an hvp",
                        )
                    if still := motionless(Operator(part.text), moving):
                        wrong, right = still, "ask for the value, the jacobian or a vjp"
                else:
                    partial = part.parts.get("partial") if isinstance(part, Entries) else None
                    orders = {} if partial is None else self.orders(partial, case.inputs)
                    array = next((name for name in orders if point.inputs[name].shape), None)
                    wrong = "" if array is None else f"{array!r} is an array"
                    right = "a partial derivative is by scalars; ask for the jacobian or the hessian"
                if wrong:
                    self.wrong(part.place, wrong, right)
                    break

    def orders(self, tree: Tree, inputs: Iterable[str]) -> dict[str, int]:
        """The orders of a partial derivative."""
        for name, place in tree.keys.items() if isinstance(tree, Entries) else ():
            self.derivable(place, name, inputs)
        found = self.entries(tree, "a partial derivative", list(inputs))
        orders: dict[str, int] = {}
        if set(found.parts) - set(inputs):
            raise Stop  # noted already
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
        found = self.entries(tree, "a tolerance", schema.TOLERANCE).parts
        targets = found.get("targets")
        if targets is not None and (not isinstance(targets, Entries) or not targets.parts):
            raise self.wrong(targets.place, "targets must be a mapping", "as {'torch:*': {rtol: 1e-6, reason: ...}}")
        parts = targets.parts if isinstance(targets, Entries) else {}
        tolerance: dict[str, Any] = {}
        if parts:
            tolerance["targets"] = {name: self.tolerance(part) for name, part in parts.items()}
            if len(found) == 1:
                return tolerance
        if "reason" not in found:
            raise self.wrong(tree.place, "a tolerance lacks 'reason'", "say why the case needs it")
        tolerance["reason"] = self.text(found["reason"], "reason")
        for key in set(found) & {"rtol", "atol", "max_ulps"}:
            part = found[key]
            value = self.number(part)[0] if isinstance(part, Leaf) else None
            if not isinstance(value, float) or not value >= 0:
                raise self.wrong(part.place, f"{key} must be a number", "0 or more, as 1e-6")
            tolerance[key] = value
        if not set(tolerance) & {"rtol", "atol", "max_ulps"}:
            raise self.wrong(tree.place, "a tolerance without a number", "rtol, atol or max_ulps")
        return tolerance

    def rules(self, found: Mapping[str, Tree], case: Case, point: Point) -> dict[str, str]:
        """The derivatives written by hand, by operator: a reverse pass under `manual`, or formulas."""
        rules: dict[str, str] = {}
        for key in ("manual", "value", "gradient", "jacobian", "hessian"):
            tree = found.get(key)
            if tree is None:
                continue
            if case.program.is_tuple:
                message = f"{key} by hand of a function that returns a tuple"
                raise self.wrong(tree.place, message, "state answers at the points")
            scalar = output(case.program, case.specs(point)).shape == ()
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
        expected = Operator(operator).keys(name for name in case.inputs if name not in self.discrete)
        unknown, missing = keys - set(expected), set(expected) - keys
        for name in (name for key in sorted(unknown) for name in key.split(",")):
            self.derivable(tree.place, name, case.inputs)
        if unknown:
            raise self.wrong(
                tree.place, f"{min(unknown)!r} is no part of the {operator}", suggestion(min(unknown), expected)
            )
        if missing and operator not in {"vjp", "gradient"}:
            raise self.wrong(tree.place, f"the {operator} lacks {', '.join(sorted(missing))}")


def _caret(error: LanguageError) -> str:
    return caret(error.text, error.line, error.column)
