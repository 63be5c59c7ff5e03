"""The keys of a case file: one table, from which the reader checks and the JSON Schema is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gradbench.query import Operator

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
DTYPES: Final = ("float64", "float32", "float16", "bfloat16", "complex128", "complex64")
MAX_ORDER: Final = 8

FILE: Final = {"cases": "The cases of this file, in order.", "$schema": "The address of this schema, for editors."}

CASE: Final = {
    "name": "What the case is called, once in all files: letters, digits and . _ - alone.",
    "description": "One line that says what the case shows.",
    "source": "Where it comes from: author (year), title; a standard; an issue.",
    "tags": "Words to select it by.",
    "inputs": "The arrays it is a function of, differentiated by those of real and complex numbers: scalar, a list of sizes, or any.",
    "constants": "The arrays it is not differentiated by: weights, labels, indices, masks.",
    "function": "The function, as an expression or as assignments ending with return.",
    "manual": "The reverse pass by hand: assignments, then return {input: adjoint}; `cotangent` is the output's.",
    "value": "A formula for the value, judged as the target manual.",
    "gradient": "A formula for the gradient by each input, judged as the target manual.",
    "jacobian": "A formula for the Jacobian by each input, judged as the target manual.",
    "hessian": "A formula for each pair of inputs, judged as the target manual.",
    "operators": "What to ask; if not given, what suits the output's shape.",
    "dtypes": "The number formats to ask in; if not given, those of the command line.",
    "tolerance": "A tolerance of the author's own, with the reason for it.",
    "points": "Where it is asked, and what is stated there.",
}
INPUT: Final = {"shape": "scalar, a list of sizes, or any.", "dtype": "real, complex, integer or boolean."}
KINDS: Final = ("real", "complex", "integer", "boolean")
DISCRETE: Final = ("integer", "boolean")
"""The kinds of an input by which there is no derivative."""
CONSTANT: Final = {"values": "The numbers.", "dtype": "real, complex, integer or boolean."}
TOLERANCE: Final = {
    "rtol": "Relative to the right answer.",
    "atol": "Absolute.",
    "max_ulps": "In units in the last place of the dtype judged.",
    "reason": "Why the case needs it.",
    "targets": "Tolerances for some targets, by name or glob.",
}
POINT: Final = {
    "at": "A value for each input; constants may be given anew.",
    "grid": "Values for each input; every combination is a point.",
    "draw": "Random values: count, seed, and a distribution for each input.",
    "value": "What f is there.",
    "gradient": "The gradient there, by input.",
    "jacobian": "The Jacobian there, by input: output's axes first.",
    "hessian": "The Hessian there, by pairs of inputs.",
    "jvp": "Tangents, and the answer there.",
    "vjp": "A cotangent, and the answer there, by input.",
    "hvp": "Tangents, and the answer there, by input.",
    "partial": "Orders by input, and the answer there.",
}
DIRECTED: Final = {
    Operator.JVP: "tangents", Operator.HVP: "tangents", Operator.VJP: "cotangent", Operator.PARTIAL: "orders",
}  # fmt: skip
SETS: Final = {
    "between": "Every number from the first to the second is right.",
    "one_of": "Each of these numbers is right.",
    "left": "The derivative from below.",
    "right": "The derivative from above.",
}
WORDS: Final = {
    "infinite": "The derivative is infinite.",
    "undefined": "There is no right answer; what a target says is a convention.",
    "unconnected": "The output doesn't depend on this input: None, zeros and an error are conventions.",
}
DISTRIBUTIONS: Final = {
    "uniform": "From low to high.",
    "log_uniform": "From low to high, both above 0, equally often in each power of 2.",
    "normal": "With this mean and this standard deviation.",
    "integers": "Whole numbers from low to high, both included, equally often; of a boolean input 0 and 1.",
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a case file, for editors."""
    number = {"anyOf": [{"type": "number"}, {"type": "string"}]}
    numbers = {
        "anyOf": [*number["anyOf"], {"type": "boolean"}, {"type": "array", "items": {"$ref": "#/$defs/numbers"}}]
    }
    one_set = _object(SETS, {"between": _list(number), "one_of": _list(number), "left": number, "right": number})
    answer = {
        "anyOf": [
            *number["anyOf"], one_set, {"type": "array", "items": {"$ref": "#/$defs/answer"}},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/answer"}},
        ]
    }  # fmt: skip
    formula = {"anyOf": [{"type": "string"}, {"type": "number"}, _named({"$ref": "#/$defs/formula"})]}
    shape = {"anyOf": [{"enum": ["scalar", "any"]}, {"type": "array", "items": {"type": "integer", "minimum": 0}}]}
    directed = {
        key: _one_or_list(_object({key: "", "answer": ""}, {key: {"$ref": "#/$defs/numbers"}, "answer": answer}))
        for key in set(DIRECTED.values())
    }
    for key in ("tangents", "orders"):
        directed[key] = _one_or_list(_object({key: "", "answer": ""}, {key: _named(numbers), "answer": answer}))
    values = _named({"anyOf": [numbers, _object(CONSTANT, {"values": numbers, "dtype": {"type": "string"}})]})
    spread = {"anyOf": [numbers, {"type": "object"}]}
    point = {
        "at": values,
        "grid": _named(spread),
        "draw": {"type": "object"},
        **{key: {"$ref": "#/$defs/answer"} for key in ("value", "gradient", "jacobian", "hessian")},
        **{str(operator): directed[key] for operator, key in DIRECTED.items()},
    }
    orders = _named({"type": "integer", "minimum": 1, "maximum": MAX_ORDER})
    asked = [str(operator) for operator in Operator if operator is not Operator.PARTIAL]
    words = {"type": "array", "items": {"type": "string"}}
    case = {
        "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
        "description": {"type": "string"},
        "source": {"type": "string"},
        "tags": words,
        "inputs": _named(
            {"anyOf": [*shape["anyOf"], _object(INPUT, {"shape": shape, "dtype": {"enum": list(KINDS)}})]}
        ),
        "constants": values,
        "function": {"type": "string"},
        **{key: {"$ref": "#/$defs/formula"} for key in ("manual", "value", "gradient", "jacobian", "hessian")},
        "operators": _list({"anyOf": [{"enum": asked}, _object({"partial": ""}, {"partial": orders})]}),
        "dtypes": _list({"enum": list(DTYPES)}),
        "tolerance": {"$ref": "#/$defs/tolerance"},
        "points": {"type": "array", "minItems": 1, "items": _object(POINT, point)},
    }
    parts = {"reason": {"type": "string"}, "targets": _named({"$ref": "#/$defs/tolerance"})}
    tolerance = _object(TOLERANCE, parts, number)
    required = ["name", "inputs", "function", "points"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gradbench cases",
        **_object(
            FILE, {"cases": {"type": "array", "minItems": 1, "items": {**_object(CASE, case), "required": required}}}
        ),
        "required": ["cases"],
        "$defs": {"numbers": numbers, "answer": answer, "formula": formula, "tolerance": tolerance},
    }


def _object(
    keys: Mapping[str, str], kinds: Mapping[str, Any], other: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    found = {
        key: {**kinds.get(key, other or {}), **({"description": text} if text else {})} for key, text in keys.items()
    }
    return {"type": "object", "additionalProperties": False, "properties": found}


def _named(kind: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": kind}


def _list(kind: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": kind}


def _one_or_list(kind: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [kind, _list(kind)]}
