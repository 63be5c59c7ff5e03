"""Points that are computed rather than written out: grids, and draws from a seeded generator.

The part of a case under `grid` or `draw` enters; an array for each input of each point leaves. The draws use the raw
64-bit words of PCG64 (O'Neill, 2014), whose stream NumPy keeps fixed, and arithmetic that is exact or correctly
rounded, so the same bits come out on every machine and with every version.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from gradbench import schema
from gradbench.case_parts import LARGEST
from gradbench.document import Entries, Items, Leaf, Tree
from gradbench.errors import LanguageError, Place, suggestion
from gradbench.exact import number
from gradbench.query import Array
from gradbench.shapes import Spec

Blame = Callable[..., Exception]

MAX_COUNT: Final = 10_000


class Drawer:
    """Reads `grid` and `draw`.

    Args:
        blame: Notes a mistake at a place and returns what to raise.
        room: Raises if there is no room for so many numbers more.
    """

    def __init__(self, blame: Blame, room: Callable[[Place, int], None]) -> None:
        self.blame, self.room = blame, room

    def grid(self, tree: Tree, inputs: Mapping[str, Spec | None]) -> Iterator[dict[str, Array]]:
        """Every combination of the values given for each input; the last input runs fastest."""
        parts = self.named(tree, "a grid", inputs)
        axes = {name: self.axis(parts[name], inputs[name], name) for name in inputs}
        if math.prod(map(len, axes.values())) > MAX_COUNT:
            raise self.blame(tree.place, f"a grid of more than {MAX_COUNT} points", "fewer values")
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True))

    def axis(self, tree: Tree, spec: Spec | None, name: str) -> list[Array]:
        """The values of one input of a grid."""
        if spec is None or spec.shape:
            raise self.blame(tree.place, f"{name!r} is not a scalar", "draw it, or write points with 'at'")
        if isinstance(tree, Entries):
            bounds = self.numbers(tree, ("from", "to", "count"))
            count = self.counted(tree, bounds["count"])
            self.finite(tree, bounds["from"], bounds["to"])
            kind = np.complex128 if spec.kind == "complex" else np.float64
            values = [np.array(x, kind) for x in np.linspace(bounds["from"], bounds["to"], count)]
            return [self.whole(tree, value, spec.kind, name) for value in values]
        if not isinstance(tree, Items) or not tree.parts:
            raise self.blame(tree.place, "no values", "a list, or {from: 0, to: 1, count: 5}")
        if spec.kind == "complex":
            return [np.array(complex(self.either(part))) for part in tree.parts]
        if spec.kind == "boolean":
            return [self.whole(part, np.array(getattr(part, "value", None)), spec.kind, name) for part in tree.parts]
        return [self.whole(part, np.array(self.number(part)), spec.kind, name) for part in tree.parts]

    def draw(self, tree: Tree, inputs: Mapping[str, Spec | None]) -> Iterator[dict[str, Array]]:
        """Random points: `count` of them, from `seed`, each input from its distribution."""
        parts = self.named(tree, "a draw", inputs, ("count", "seed"))
        count, seed = self.counted(parts["count"], self.number(parts["count"])), self.number(parts["seed"])
        self.finite(parts["seed"], seed)
        self.room(tree.place, count * sum(spec.size for spec in inputs.values() if spec is not None))
        generator = np.random.PCG64(abs(int(seed)))
        ways = {name: self.way(parts[name], inputs[name], name) for name in inputs}
        for _ in range(count):
            yield {name: way(generator) for name, way in ways.items()}

    def way(self, tree: Tree, spec: Spec | None, name: str) -> Callable[[Any], Array]:
        """How one input is drawn."""
        if spec is None:
            raise self.blame(tree.place, f"{name!r} has no shape", "give its shape under 'inputs'")
        known = schema.DISTRIBUTIONS
        if not isinstance(tree, Entries) or len(tree.parts) != 1 or next(iter(tree.parts)) not in known:
            word = next(iter(tree.parts), "") if isinstance(tree, Entries) else ""
            raise self.blame(tree.place, "no distribution", suggestion(word, known) + ", as {uniform: [0, 1]}")
        word, part = next(iter(tree.parts.items()))
        if not isinstance(part, Items) or len(part.parts) != 2:
            raise self.blame(part.place, f"{word} needs two numbers", f"as {word}: [0, 1]")
        low, high = (float(self.number(p)) for p in part.parts)
        self.finite(part, low, high)
        if word == "log_uniform" and not 0 < low < high:
            raise self.blame(
                part.place, f"log_uniform from {low:g} to {high:g}", "two numbers above 0, the lower first"
            )
        if word == "integers":
            return self.integers(part, spec, low, high)
        if spec.kind in schema.DISCRETE:
            raise self.blame(tree.place, f"{name!r} is {spec.kind}, and {word} draws fractions", "integers: [0, 1]")
        drawn: Callable[..., Array] = {"uniform": _uniform, "log_uniform": _log_uniform, "normal": _normal}[word]

        def array(generator: Any) -> Array:
            real = drawn(generator, spec.size, low, high).reshape(spec.shape)
            if spec.kind != "complex":
                return real
            return np.asarray(real + 1j * drawn(generator, spec.size, low, high).reshape(spec.shape))

        return array

    def integers(self, tree: Tree, spec: Spec, low: float, high: float) -> Callable[[Any], Array]:
        """How one input is drawn from whole numbers."""
        ends = [low, high] if spec.kind == "boolean" else [0.0, 0.0]
        whole = max(abs(low), abs(high)) < LARGEST and low % 1 == high % 1 == 0
        if not whole or not low <= high or set(ends) - {0, 1}:
            right = "two whole numbers, the lower first" + (", of 0 and 1" if spec.kind == "boolean" else "")
            raise self.blame(tree.place, f"integers from {low:g} to {high:g}", right)
        kind = {"integer": np.int64, "boolean": np.bool_, "complex": np.complex128}.get(spec.kind, np.float64)

        def array(generator: Any) -> Array:
            # The remainder of 64 bits: no number is likelier than another by more than one part in 2**10.
            words = generator.random_raw(spec.size) % np.uint64(int(high) - int(low) + 1)
            return np.asarray((words.astype(np.int64) + int(low)).reshape(spec.shape).astype(kind))

        return array

    def whole(self, tree: Tree, value: Array, kind: str, name: str) -> Array:
        """A number of a grid, as an integer or a truth value where its input has these."""
        if kind not in schema.DISCRETE:
            return value
        wanted = value.dtype == bool if kind == "boolean" else value.dtype != bool and abs(value) < LARGEST
        if not wanted or value % 1 != 0:
            right = "true or false" if kind == "boolean" else "a number without a fraction"
            raise self.blame(tree.place, f"{name!r} is {kind}, and {value.item()!r} is not", right)
        return value.astype(bool if kind == "boolean" else np.int64)

    def named(
        self, tree: Tree, what: str, inputs: Mapping[str, Any], extra: tuple[str, ...] = ()
    ) -> Mapping[str, Tree]:
        """The parts of a mapping that must have exactly these keys."""
        known = (*extra, *inputs)
        if not isinstance(tree, Entries):
            raise self.blame(tree.place, f"{what} must be a mapping", f"with the keys {', '.join(known)}")
        for key, place in tree.keys.items():
            if key not in known:
                raise self.blame(place, f"unknown key {key!r}", suggestion(key, known))
        missing = [key for key in known if key not in tree.parts]
        if missing:
            raise self.blame(tree.place, f"{what} lacks {', '.join(map(repr, missing))}")
        return tree.parts

    def numbers(self, tree: Entries, names: tuple[str, ...]) -> dict[str, float]:
        """The numbers of a range."""
        parts = self.named(tree, "a range", dict.fromkeys(names))
        return {name: float(self.number(parts[name])) for name in names}

    def counted(self, tree: Tree, count: float) -> int:
        """How many points there are to be."""
        if not 1 <= count <= MAX_COUNT:
            raise self.blame(tree.place, f"a count of {count:g}", f"from 1 to {MAX_COUNT}")
        return int(count)

    def finite(self, tree: Tree, low: float, high: float = 0.0) -> None:
        """Raises unless two numbers are finite, and the distance between them is."""
        if not math.isfinite(high - low):
            raise self.blame(tree.place, "no finite number, or two too far apart", "smaller numbers")

    def number(self, tree: Tree) -> float:
        """A real number."""
        value = self.either(tree)
        if isinstance(value, complex):
            raise self.blame(tree.place, "a complex number", "a real one")
        return value

    def either(self, tree: Tree) -> float | complex:
        """A number, real or complex."""
        if not isinstance(tree, Leaf):
            raise self.blame(tree.place, "a list where a number is needed")
        try:
            return number(tree.text)[0]
        except LanguageError as error:
            raise self.blame(tree.within(error.line, error.column), error.wrong, error.right) from None


def _unit(generator: Any, count: int) -> Array:
    """Numbers above 0 and below 1, multiples of 2**-53, or of 2**-54 in the lower half."""
    words: Array = generator.random_raw(count)
    return np.asarray(((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


def _uniform(generator: Any, count: int, low: float, high: float) -> Array:
    return low + (high - low) * _unit(generator, count)


def _log_uniform(generator: Any, count: int, low: float, high: float) -> Array:
    """Linear within each power of 2, so that no logarithm of the machine's library decides a bit."""
    bottom, top = (math.frexp(x)[1] + 2 * math.frexp(x)[0] - 2 for x in (low, high))
    place = bottom + (top - bottom) * _unit(generator, count)
    whole = np.floor(place)
    return np.asarray(np.ldexp(1 + (place - whole), whole.astype(int)))


def _normal(generator: Any, count: int, mean: float, deviation: float) -> Array:
    deviates = map(NormalDist().inv_cdf, _unit(generator, count).tolist())
    with np.errstate(over="ignore"):
        return mean + deviation * np.fromiter(deviates, np.float64, count)
