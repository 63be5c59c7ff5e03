"""`Operator`, `Query` and `Question`: what is asked, and what stays behind.

A `Query` is the only thing that crosses to a worker: a program, its inputs as arrays, an operator with its directions,
a dtype; never what is expected. A `Question` is a query together with what the asking side keeps: the case and point
it came from, and what the author states about the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np

from gradbench import admission, frames
from gradbench.field import Fields, text_of
from gradbench.wire import array_from_json, array_to_json, arrays_from_json, arrays_to_json

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]


class Operator(StrEnum):
    """A derivative that can be asked for. Shapes: x of an input, y of the output.

    | operator | needs | answers, by key |
    |---|---|---|
    | value | | ``""``: y |
    | jvp | a tangent for each input | ``""``: y |
    | vjp | a cotangent, y | each input: x |
    | gradient | a scalar output | each input: x |
    | jacobian | | each input: y + x |
    | hvp | a scalar output, tangents | each input: x |
    | hessian | a scalar output | each pair ``"a,b"``: a + b |
    | partial | an order for some 0-d inputs | ``""``: y |

    A function that returns a tuple has the outputs ``"0"``, ``"1"`` and so on: these are then the keys of value, jvp
    and partial; a jacobian has ``"0,x"``, and a vjp needs a cotangent for each.

    Of a complex input z = x + iy a derivative is the linear one, f'(z), where f is holomorphic; of a real f it is
    df/dx - i df/dy; and a vjp with the cotangent w is that of the real part of the sum of w f. Who conjugates all of
    these keeps another convention and says the same.
    """

    VALUE = "value"
    JVP = "jvp"
    VJP = "vjp"
    GRADIENT = "gradient"
    JACOBIAN = "jacobian"
    HVP = "hvp"
    HESSIAN = "hessian"
    PARTIAL = "partial"

    @property
    def is_of_scalars(self) -> bool:
        """Whether it is asked of a function with one number as its output alone."""
        return self in {Operator.GRADIENT, Operator.HVP, Operator.HESSIAN}

    def keys(self, inputs: Iterable[str], outputs: tuple[str, ...] = ("",)) -> tuple[str, ...]:
        """The keys of the answer for a function of these inputs and outputs."""
        names = tuple(inputs)
        if self in {Operator.VALUE, Operator.JVP, Operator.PARTIAL}:
            return outputs
        if self is Operator.JACOBIAN and outputs != ("",):
            return tuple(f"{y},{x}" for y in outputs for x in names)
        if self is Operator.HESSIAN:
            return tuple(f"{a},{b}" for a in names for b in names)
        return names

    def shape(self, key: str, inputs: Mapping[str, Shape], output: Shape | Mapping[str, Shape]) -> Shape:
        """The shape of the answer under a key, given the shapes of the inputs and of the output or outputs, by key."""
        if isinstance(output, Mapping):
            y, _, rest = key.partition(",")
            return self.shape(rest, inputs, output[y]) if y in output else self.shape(key, inputs, ())
        if key == "":
            return output
        shapes = [inputs[name] for name in key.split(",")]
        prefix = output if self is Operator.JACOBIAN else ()
        return sum(shapes, prefix)


DTYPES: Final = ("float64", "float32", "float16", "bfloat16", "complex128", "complex64")
"""The formats that may be asked for."""
WORDS: Final = ("infinite", "undefined", "unconnected")
"""What may be stated of a component in place of a number."""
_DIRECTED: Final = frozenset({Operator.JVP, Operator.HVP})

BY_INPUT: Final = frozenset({Operator.GRADIENT, Operator.VJP, Operator.JACOBIAN})
"""The operators that answer for each input by itself."""


@dataclass(frozen=True)
class Query:
    """What is asked of a target. Arrays are already rounded to `dtype`; integers and truth values keep theirs.

    By an input of integers or truth values there is no derivative. It is held where it is, and what a target says of it
    nevertheless is a convention, kept apart from the answer: see `Record`.

    Attributes:
        id: For people and for joining; nothing reads it apart.
        function: The text of the function.
        inputs: What it is a function of, in order.
        constants: The arrays it is not differentiated by.
        operator: The derivative.
        dtype: The floating-point format asked for, as `float32`.
        tangents: For jvp and hvp, one for each input that isn't discrete, of its shape.
        cotangent: For vjp, of the output's shape.
        cotangents: For vjp of a function that returns a tuple, instead: one for each output.
        outputs: The keys of what the function returns; ``""`` alone if it is no tuple.
        orders: For partial, how often by which input.
        rules: Derivatives written by hand, as texts by operator; filled in for the target `manual` alone.
        remarks: Whether a target that has something to say besides its answer, as a formula, is to say it.
    """

    id: str
    function: str
    inputs: Mapping[str, Array]
    constants: Mapping[str, Array]
    operator: Operator
    dtype: str
    tangents: Mapping[str, Array] | None = None
    cotangent: Array | None = None
    orders: Mapping[str, int] | None = None
    rules: Mapping[str, str] = field(default_factory=dict)
    cotangents: tuple[Array, ...] = ()
    outputs: tuple[str, ...] = ("",)
    remarks: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Inputs, then constants: the names of the program."""
        return (*self.inputs, *self.constants)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys an answer has."""
        return self.operator.keys(self.continuous, self.outputs)

    @property
    def continuous(self) -> Mapping[str, Array]:
        """The inputs it is differentiated by."""
        return {name: array for name, array in self.inputs.items() if array.dtype.kind not in "biu"}

    @property
    def discrete(self) -> Mapping[str, Array]:
        """The inputs of integers or truth values."""
        return {name: array for name, array in self.inputs.items() if array.dtype.kind in "biu"}

    @property
    def asides(self) -> tuple[str, ...]:
        """The discrete inputs that a target is asked about beside its answer: those of a derivative by input."""
        return tuple(self.discrete) if self.operator in BY_INPUT else ()

    @property
    def held(self) -> Query:
        """The same question with the discrete inputs among the constants, which is what they are to a reference."""
        found = self.discrete
        if not found:
            return self
        return replace(self, inputs=self.continuous, constants={**self.constants, **found})

    @property
    def twin(self) -> Query | None:
        """The vjp with the cotangent conjugated; None of anything else, and where that is the same.

        The conjugate of its answer is what those answer to this one who conjugate derivatives.
        """
        given = self.cotangents if self.cotangent is None else (self.cotangent,)
        if self.operator is not Operator.VJP or not any(w.dtype.kind == "c" and w.imag.any() for w in given):
            return None
        turned = tuple(np.asarray(np.conj(w)) for w in given)
        return replace(self, cotangents=turned) if self.cotangent is None else replace(self, cotangent=turned[0])

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write; empty parts are left out."""
        found: dict[str, Any] = {
            "id": self.id,
            "function": self.function,
            "inputs": arrays_to_json(self.inputs),
            "constants": arrays_to_json(self.constants),
            "operator": str(self.operator),
            "dtype": self.dtype,
            "tangents": None if self.tangents is None else arrays_to_json(self.tangents),
            "cotangent": None if self.cotangent is None else array_to_json(self.cotangent),
            "orders": None if self.orders is None else dict(self.orders),
            "rules": dict(self.rules),
            "cotangents": [array_to_json(array) for array in self.cotangents],
            "outputs": None if self.outputs == ("",) else list(self.outputs),
            "remarks": self.remarks or None,
        }
        return {key: value for key, value in found.items() if value or value == ""}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, checked: bool = True) -> Query:
        """The query that `to_json` wrote.

        Args:
            value: What it wrote.
            checked: Whether to make sure that its parts fit together, which whoever has just written it knows.

        Raises:
            ValueError: The value is no query.
        """
        fields = Fields(value, "a query")
        tangents, cotangent, orders = (fields.get(key, None) for key in ("tangents", "cotangent", "orders"))
        found = cls(
            id=fields.name("id"),
            function=fields.text("function"),
            inputs=arrays_from_json(fields.get("inputs")),
            constants=arrays_from_json(fields.get("constants", {})),
            operator=Operator(fields.text("operator")),
            dtype=fields.text("dtype"),
            tangents=None if tangents is None else arrays_from_json(tangents),
            cotangent=None if cotangent is None else array_from_json(cotangent),
            orders=None if orders is None else fields.object("orders", admission.order),
            rules=fields.object("rules", text_of),
            cotangents=fields.each("cotangents", array_from_json),
            outputs=fields.texts("outputs", ("",)),
            remarks=bool(fields.flag("remarks", default=False)),
        )
        if checked:
            found.check()
        return found

    def check(self) -> None:
        """Raises if its parts don't fit together, so that nobody trips over one who takes them to.

        Raises:
            ValueError: The function can't be read, or the arrays don't fit it; or a direction is of another shape than what
                it is a direction of, or there are too few or too many of them.
        """
        if not self.inputs or set(self.inputs) & set(self.constants):
            raise ValueError("a query has inputs, and a name is an input's or a constant's")
        if self.dtype not in DTYPES:
            raise ValueError(f"a query in {self.dtype[:40]!r}, which is none of {', '.join(DTYPES)}")
        found = admission.outputs(self.function, {**self.inputs, **self.constants})
        if tuple(found) != self.outputs:
            raise ValueError(f"the function returns {len(found)} arrays, and the query has {len(self.outputs)} outputs")
        y = {name: spec.shape for name, spec in found.items()}
        x = {name: array.shape for name, array in self.continuous.items()}
        given = self.cotangents if self.cotangent is None else (self.cotangent,)
        if self.operator is Operator.VJP and [w.shape for w in given] != list(y.values()):
            raise ValueError("a vjp needs a cotangent of the shape of each output")
        if self.operator in _DIRECTED and {k: v.shape for k, v in (self.tangents or {}).items()} != x:
            raise ValueError(f"a {self.operator} needs a tangent of the shape of each input")
        if self.operator is Operator.PARTIAL and (not self.orders or any(x.get(k) != () for k in self.orders)):
            raise ValueError("a partial derivative needs orders by inputs that are numbers")
        if self.operator.is_of_scalars and list(y.values()) != [()]:
            raise ValueError(f"a {self.operator} needs a function with one number as its output")

    @property
    def digest(self) -> str:
        """A fingerprint of what is asked, whatever its id: 16 hexadecimal digits of SHA-256."""
        content = {key: value for key, value in self.to_json().items() if key not in {"id", "rules", "remarks"}}
        return frames.digest(content)[:16]


@dataclass(frozen=True)
class Stated:
    """What an author states about one array of an answer. Arrays are float64 or complex128, of the answer's shape.

    Attributes:
        lower, upper: The set of right answers, component by component; equal where one number is stated.
        slack: How far the numbers as written may be from what the author means (half a unit of the last digit of a
            decimal of 12 significant digits or more; 0 of a shorter one, which is taken at its word).
        choices: For components (by flat index) where only some numbers are right: those numbers.
        words: For components where no number is right: `infinite`, `undefined` or `unconnected`.
    """

    lower: Array
    upper: Array
    slack: Array
    choices: Mapping[int, tuple[complex, ...]] = field(default_factory=dict)
    words: Mapping[int, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write."""
        return {
            "lower": array_to_json(self.lower),
            "upper": array_to_json(self.upper),
            "slack": array_to_json(self.slack),
            "choices": {str(k): [repr(c) for c in v] for k, v in self.choices.items()},
            "words": {str(k): v for k, v in self.words.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Stated:
        """What `to_json` wrote.

        Raises:
            ValueError: The value is nothing stated.
        """
        fields = Fields(value, "what is stated")
        lower, upper, slack = (array_from_json(fields.get(key)) for key in ("lower", "upper", "slack"))
        if not lower.shape == upper.shape == slack.shape:
            raise ValueError("what is stated has bounds of different shapes")
        if {lower.dtype.name, upper.dtype.name} - {"float64", "complex128"} or slack.dtype.name != "float64":
            raise ValueError("what is stated has bounds that are no numbers")
        choices, words = fields.object("choices", admission.numbers), fields.object("words", text_of)
        indices = [k for k in (*choices, *words) if not k.isascii() or not k.isdecimal() or len(k) > 9]
        if indices or any(int(k) >= lower.size for k in (*choices, *words)) or set(words.values()) - set(WORDS):
            raise ValueError("words or choices for what is no component of what is stated")
        return cls(lower, upper, slack, {int(k): v for k, v in choices.items()}, {int(k): v for k, v in words.items()})


@dataclass(frozen=True)
class Question:
    """A query and what the asking side keeps of it.

    Attributes:
        query: What is sent.
        case: The name of the case.
        point: The number of the point in the case, from 1.
        place: `file:line` of the point, for people.
        description: One line of the case.
        source: Where the case comes from.
        tags: Of the case.
        topic: The file the case is in, without folder and ending.
        stated: What the author states, by key; only where it holds at these very inputs.
        tolerance: An author's own `rtol`, `atol` or `max_ulps`, and the `reason` for it.
        number: Its place among all that a run asks, from 1, by which parts of the run are put together again.
    """

    query: Query
    case: str
    point: int
    place: str = ""
    description: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()
    topic: str = ""
    stated: Mapping[str, Stated] = field(default_factory=dict)
    tolerance: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0

    def to_json(self) -> dict[str, Any]:
        """A value that `json` can write."""
        return {
            "query": self.query.to_json(),
            "case": self.case,
            "point": self.point,
            "place": self.place,
            "description": self.description,
            "source": self.source,
            "tags": list(self.tags),
            "topic": self.topic,
            "stated": {key: stated.to_json() for key, stated in self.stated.items()},
            "tolerance": dict(self.tolerance),
            "number": self.number,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Question:
        """What `to_json` wrote.

        Raises:
            ValueError: The value is no question.
        """
        fields = Fields(value, "a question")
        return cls(
            query=Query.from_json(fields.get("query")),
            case=fields.name("case"),
            point=fields.whole("point", 0, 2**53),
            place=fields.name("place", ""),
            description=fields.text("description", ""),
            source=fields.text("source", ""),
            tags=fields.texts("tags"),
            topic=fields.name("topic", ""),
            stated=fields.object("stated", Stated.from_json),
            tolerance=admission.tolerance(fields.get("tolerance", {})),
            number=fields.whole("number", 0, 2**53) if "number" in value else 0,
        )
