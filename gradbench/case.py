"""`Case` and `Point`: one function to be differentiated, and where.

Nothing enters; the nouns leave. `catalogue` makes them of files, `case_reader` of YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradbench.errors import Place
from gradbench.program import Program
from gradbench.query import Array, Operator
from gradbench.shapes import Spec
from gradbench.stated import Answer


@dataclass(frozen=True)
class Point:
    """Where a function is asked: an array for each input and constant, and what is stated there.

    Attributes:
        number: From 1, in the order of the file.
        place: Of the point in the file.
        inputs, constants: Arrays of float64, complex128, int64 or bool.
        exact: Whether every input is the very number that was written.
        answers: What the author states.
    """

    number: int
    place: Place
    inputs: Mapping[str, Array]
    constants: Mapping[str, Array]
    exact: bool
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Case:
    """One function to be differentiated. See `schema` for what each part means."""

    name: str
    place: Place
    function: str
    program: Program
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    points: tuple[Point, ...]
    description: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    operators: tuple[Operator, ...] = ()
    partials: tuple[Mapping[str, int], ...] = ()
    dtypes: tuple[str, ...] = ()
    tolerance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        """The file it is in, without folder and ending."""
        return Path(self.place.file).stem

    def specs(self, point: Point) -> dict[str, Spec]:
        """The shape and kind of every input and constant at a point."""
        return {name: Spec.of(array) for name, array in {**point.inputs, **point.constants}.items()}
