"""Cases to questions: what to send, and what to keep back; and the selection of cases.

Checked cases, dtypes and perhaps operators enter; a `Question` for each case, point, operator and dtype leaves. The
inputs are rounded to the dtype here, once, so that the same bits reach every framework and every reference.
"""

from __future__ import annotations

import fnmatch
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from gradbench.case import Case, Point
from gradbench.errors import NothingToRun
from gradbench.holomorphy import holomorphic
from gradbench.program import Literal, Program
from gradbench.query import Array, Operator, Query, Question, Stated
from gradbench.shapes import Spec, outputs
from gradbench.stated import Answer
from gradbench.wire import FORMATS

DTYPES: Final = ("float64", "float32")
"""What is asked for if neither the case nor the person says."""
SMALL_HESSIAN: Final = 32
"""A Hessian is asked for by default up to this many input entries."""
SMALL_JACOBIAN: Final = 4096
"""A Jacobian is asked for by default up to this many entries."""
INEXACT: Final = 1e-12
"""Where an input as written is no float64, a stated answer may be off by this much of the largest entry of its array:
rounding the input moves it by 2**-53 times the condition number, and authors who state digits keep that moderate."""


@dataclass(frozen=True)
class Selection:
    """Which cases, and what to ask of them. An empty part selects everything, but for cases with one of the tags `without`."""

    globs: Sequence[str] = ()
    tags: Sequence[str] = ()
    operators: Sequence[Operator] = ()
    dtypes: Sequence[str] = ()
    without: Sequence[str] = ()

    def chooses(self, case: Case) -> bool:
        """Whether a case is meant: its name matches a glob, and it has one of the tags or is in a file of that name."""
        if set(self.without) & set(case.tags):
            return False
        named = not self.globs or any(fnmatch.fnmatchcase(case.name, glob) for glob in self.globs)
        words = {*case.tags, case.topic, *case.program.primitives}
        return named and (not self.tags or bool(words & set(self.tags)))


def plan(cases: Iterable[Case], selection: Selection = Selection()) -> list[Question]:  # it is frozen
    """Every question of the cases selected.

    Raises:
        NothingToRun: The selection leaves none.
    """
    chosen = [case for case in cases if selection.chooses(case)]
    questions = [question for case in chosen for question in ask(case, selection)]
    if not questions:
        raise NothingToRun("the selection leaves nothing to run; see 'gradbench list' for names and tags")
    return [replace(question, number=number) for number, question in enumerate(questions, start=1)]


def ask(case: Case, selection: Selection) -> Iterator[Question]:
    """The questions of one case."""
    for point in case.points:
        for dtype in _dtypes(case, point, selection):
            asked: dict[str, int] = {}
            for answer in _asked(case, point):
                if selection.operators and answer.operator not in selection.operators:
                    continue
                question = _question(case, point, dtype, answer)
                # The same operator may be asked in several directions at one point.
                seen = asked.get(question.query.id, 0)
                asked[question.query.id] = seen + 1
                yield _renamed(question, seen) if seen else question


def _dtypes(case: Case, point: Point, selection: Selection) -> tuple[str, ...]:
    is_complex = _is_complex(case, point)
    # A complex function is asked in the complex format of the same precision.
    wide = {"float64": "complex128", "float32": "complex64"} if is_complex else {}
    wanted = [wide.get(dtype, dtype) for dtype in tuple(selection.dtypes) or case.dtypes or DTYPES]
    fitting = {wide.get(dtype, dtype) for dtype in case.dtypes or wanted}
    found = (dtype for dtype in wanted if dtype in fitting and dtype.startswith("complex") == is_complex)
    return tuple(dict.fromkeys(found))


def _asked(case: Case, point: Point) -> Iterator[Answer]:
    """What is stated, then what suits the function or its author chose, each with the directions it needs."""
    y = outputs(case.program, case.specs(point))
    stated = list(point.answers)
    yield from stated
    done = {answer.operator for answer in stated}
    wanted = case.operators or _suitable(case, point, y)
    for operator in wanted:
        if operator not in done:
            yield _directed(operator, case, point, y)
    for orders in case.partials:
        if not any(answer.orders == orders for answer in stated):
            yield Answer(Operator.PARTIAL, {}, orders=orders)


def _suitable(case: Case, point: Point, y: Mapping[str, Spec]) -> tuple[Operator, ...]:
    inputs = _continuous(point)
    size = sum(array.size for array in inputs.values())
    is_scalar = "" in y and y[""].shape == ()
    kinds = {array.dtype.kind for array in inputs.values()}
    is_complex = any(spec.kind == "complex" for spec in y.values())
    if not inputs:  # there is no derivative; what is said of one nevertheless is a convention
        return (Operator.VALUE, Operator.GRADIENT if is_scalar else Operator.JACOBIAN, Operator.VJP)
    if is_scalar and "c" not in kinds and not is_complex:
        second = (Operator.HESSIAN,) if size <= SMALL_HESSIAN else (Operator.HVP,)
        return (Operator.VALUE, Operator.GRADIENT, *second)
    # f' is one number for each pair of entries if f is real, or holomorphic in all that it is differentiated by.
    specs = {name: Spec.of(array) for name, array in inputs.items()}
    has_derivative = not is_complex or (kinds == {"c"} and all(holomorphic(case.program, specs).values()))
    whole: list[Operator] = []
    if has_derivative and (is_scalar or size * sum(spec.size for spec in y.values()) <= SMALL_JACOBIAN):
        whole = [Operator.GRADIENT if is_scalar else Operator.JACOBIAN]
    return (Operator.VALUE, *whole, Operator.VJP, Operator.JVP)


def _directed(operator: Operator, case: Case, point: Point, y: Mapping[str, Spec]) -> Answer:
    seed = f"{case.name}#{point.number}:{operator}"
    if operator is Operator.VJP:
        if "" in y:
            return Answer(operator, {}, cotangent=direction(seed, y[""].shape, y[""].kind == "complex"))
        drawn = (direction(f"{seed}:{key}", spec.shape, spec.kind == "complex") for key, spec in y.items())
        return Answer(operator, {}, cotangents=tuple(drawn))
    if operator in {Operator.JVP, Operator.HVP}:
        tangents = {
            name: direction(f"{seed}:{name}", array.shape, array.dtype.kind == "c")
            for name, array in _continuous(point).items()
        }
        return Answer(operator, {}, tangents=tangents)
    return Answer(operator, {})


def _continuous(point: Point) -> Mapping[str, Array]:
    """The inputs that a function is differentiated by at a point; integers and truth values are held."""
    return {name: array for name, array in point.inputs.items() if array.dtype.kind not in "biu"}


def _is_complex(case: Case, point: Point) -> bool:
    """Whether complex numbers occur: among the inputs, the constants or the numbers of the text."""
    arrays = {**point.inputs, **point.constants}.values()
    return any(a.dtype.kind == "c" for a in arrays) or any(isinstance(n, complex) for n in _numbers(case.program))


def direction(seed: str, shape: tuple[int, ...], is_complex: bool = False) -> Array:
    """A direction to differentiate in, fixed by a text: a sign times a number from 1/2 to 3/2.

    No entry is small, so no entry of a derivative can hide; entries differ, so errors don't cancel. They are multiples
    of 1/64, which every format from bfloat16 up holds exactly.
    """
    size = math.prod(shape)
    if is_complex:
        real, imaginary = direction(seed, shape), direction(f"{seed}:imaginary", shape)
        return np.asarray(real + 1j * imaginary)
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    words = np.random.PCG64(start).random_raw(size) if size else np.zeros(0, np.uint64)
    magnitude = 32 + (words >> np.uint64(8)) % np.uint64(65)
    sign = np.where(words >> np.uint64(63), 1.0, -1.0)
    return (sign * magnitude.astype(np.float64) / 64).reshape(shape)


def _question(case: Case, point: Point, dtype: str, answer: Answer) -> Question:
    inputs = {name: rounded(array, dtype) for name, array in point.inputs.items()}
    constants = {name: rounded(array, dtype) for name, array in point.constants.items()}
    y = outputs(case.program, case.specs(point))
    tangents = {name: _directing(v, dtype, Spec.of(inputs[name])) for name, v in (answer.tangents or {}).items()}
    cotangents = [_directing(w, dtype, spec) for w, spec in zip(answer.directions, y.values(), strict=False)]
    orders = "" if answer.orders is None else "".join(f"/{name}{order}" for name, order in answer.orders.items())
    query = Query(
        id=f"{case.name}#{point.number}:{answer.operator}{orders}:{dtype}",
        function=case.function,
        inputs=inputs,
        constants=constants,
        operator=answer.operator,
        dtype=dtype,
        tangents=None if answer.tangents is None else tangents,
        cotangent=None if answer.cotangent is None else cotangents[0],
        orders=answer.orders,
        rules=dict(case.rules),
        cotangents=() if answer.cotangent is not None else tuple(cotangents),
        outputs=case.program.keys,
    )
    return Question(
        query=query,
        case=case.name,
        point=point.number,
        place=f"{point.place.file}:{point.place.line}",
        description=case.description,
        source=case.source,
        tags=case.tags,
        topic=case.topic,
        stated=_holding(point, dtype, answer, case.program),
        tolerance=case.tolerance,
    )


def _renamed(question: Question, number: int) -> Question:
    query = Query(**{**question.query.__dict__, "id": f"{question.query.id}:{number + 1}"})
    return Question(**{**question.__dict__, "query": query})


def rounded(array: Array, dtype: str) -> Array:
    """An array in the dtype asked for; whole numbers and truth values keep theirs."""
    if array.dtype.kind in "iub":
        return array
    target = FORMATS[dtype]
    if array.dtype.kind == "c" and target.kind != "c":
        message = f"complex numbers can't be rounded to {dtype}"
        raise ValueError(message)
    with np.errstate(over="ignore"):
        # A real constant stays real beside complex inputs.
        if target.kind == "c" and array.dtype.kind == "f":
            return array.astype(FORMATS["float64" if dtype == "complex128" else "float32"])
        return array.astype(target)


def _directing(direction: Array, dtype: str, spec: Spec) -> Array:
    """A tangent or cotangent in the dtype asked for, complex where what it goes with is, as frameworks demand."""
    found = rounded(direction, dtype)
    return found.astype(FORMATS[dtype]) if spec.kind == "complex" else found


def _holding(point: Point, dtype: str, answer: Answer, program: Program) -> Mapping[str, Stated]:
    """What is stated, if it holds at the inputs as rounded to the dtype."""
    if not answer.stated:
        return {}
    given: list[Any] = [*point.inputs.values(), *point.constants.values()]
    given += [*answer.directions, *(answer.tangents or {}).values()]
    given += [np.asarray(number) for number in _numbers(program) if not isinstance(number, int) and not _wide(dtype)]
    if not all(np.array_equal(rounded(array, dtype).astype(array.dtype), array, equal_nan=True) for array in given):
        return {}
    if point.exact:
        return answer.stated
    return {key: _loosened(stated) for key, stated in answer.stated.items()}


def _wide(dtype: str) -> bool:
    return dtype in {"float64", "complex128"}


def _numbers(program: Program) -> Iterator[Any]:
    for node in program.nodes:
        for argument in node.arguments:
            if isinstance(argument, Literal):
                yield argument.value


def _loosened(stated: Stated) -> Stated:
    finite = np.abs(stated.lower[np.isfinite(stated.lower)])
    largest = float(finite.max()) if finite.size else 0.0
    return Stated(stated.lower, stated.upper, stated.slack + INEXACT * largest, stated.choices, stated.words)
