"""`Operator`, `Query` and `Question`: what is asked, and what stays behind.

A `Query` is the only thing that crosses to a worker: a program, its inputs as arrays, an operator with its directions,
a dtype; never what is expected. A `Question` is a query together with what the asking side keeps: the case and point
it came from, and what the author states about the answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

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


@dataclass(frozen=True)
class Query:
    """What is asked of a target. Arrays are already rounded to `dtype`; integer and boolean constants keep theirs.

    Attributes:
        id: For people and for joining; nothing reads it apart.
        function: The text of the function.
        inputs: The arrays it is differentiated by, in order.
        constants: The arrays it is not differentiated by.
        operator: The derivative.
        dtype: The floating-point format asked for, as `float32`.
        tangents: For jvp and hvp, one for each input, of its shape.
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
        return self.operator.keys(self.inputs, self.outputs)

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
        return {key: value for key, value in found.items() if value not in (None, {}, [])}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Query:
        """The query that `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: The value is no query.
        """
        tangents, cotangent = value.get("tangents"), value.get("cotangent")
        return cls(
            id=value["id"],
            function=value["function"],
            inputs=arrays_from_json(value["inputs"]),
            constants=arrays_from_json(value.get("constants", {})),
            operator=Operator(value["operator"]),
            dtype=value["dtype"],
            tangents=None if tangents is None else arrays_from_json(tangents),
            cotangent=None if cotangent is None else array_from_json(cotangent),
            orders=value.get("orders"),
            rules=value.get("rules", {}),
            cotangents=tuple(map(array_from_json, value.get("cotangents", ()))),
            outputs=tuple(value.get("outputs", ("",))),
            remarks=value.get("remarks", False),
        )

    @property
    def digest(self) -> str:
        """A fingerprint of what is asked, whatever its id: 16 hexadecimal digits of SHA-256."""
        content = {key: value for key, value in self.to_json().items() if key not in {"id", "rules", "remarks"}}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


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
        """What `to_json` wrote."""
        return cls(
            lower=array_from_json(value["lower"]),
            upper=array_from_json(value["upper"]),
            slack=array_from_json(value["slack"]),
            choices={int(k): tuple(map(_number, v)) for k, v in value.get("choices", {}).items()},
            words={int(k): v for k, v in value.get("words", {}).items()},
        )


def _number(text: str) -> complex:
    return complex(text) if "j" in text else float(text)


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
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Question:
        """What `to_json` wrote."""
        return cls(
            query=Query.from_json(value["query"]),
            case=value["case"],
            point=value["point"],
            place=value.get("place", ""),
            description=value.get("description", ""),
            source=value.get("source", ""),
            tags=tuple(value.get("tags", ())),
            topic=value.get("topic", ""),
            stated={key: Stated.from_json(stated) for key, stated in value.get("stated", {}).items()},
            tolerance=value.get("tolerance", {}),
        )
