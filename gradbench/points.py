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
from gradbench.document import Entries, Items, Leaf, Tree
from gradbench.errors import LanguageError, suggestion
from gradbench.exact import number
from gradbench.query import Array
from gradbench.shapes import Spec

Blame = Callable[..., Exception]

MAX_COUNT: Final = 10_000


class Drawer:
    """Reads `grid` and `draw`. `blame` notes a mistake at a place and returns what to raise."""

    def __init__(self, blame: Blame) -> None:
        self.blame = blame

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
            count = int(bounds["count"])
            if not 1 <= count <= MAX_COUNT:
                raise self.blame(tree.place, f"a count of {count}", f"from 1 to {MAX_COUNT}")
            kind = np.complex128 if spec.kind == "complex" else np.float64
            return [np.array(x, kind) for x in np.linspace(bounds["from"], bounds["to"], count)]
        if not isinstance(tree, Items) or not tree.parts:
            raise self.blame(tree.place, "no values", "a list, or {from: 0, to: 1, count: 5}")
        if spec.kind == "complex":
            return [np.array(complex(self.either(part))) for part in tree.parts]
        return [np.array(self.number(part)) for part in tree.parts]

    def draw(self, tree: Tree, inputs: Mapping[str, Spec | None]) -> Iterator[dict[str, Array]]:
        """Random points: `count` of them, from `seed`, each input from its distribution."""
        parts = self.named(tree, "a draw", inputs, ("count", "seed"))
        count, seed = (int(self.number(parts[key])) for key in ("count", "seed"))
        if not 1 <= count <= MAX_COUNT:
            raise self.blame(parts["count"].place, f"a count of {count}", f"from 1 to {MAX_COUNT}")
        generator = np.random.PCG64(abs(seed))
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
        if word == "log_uniform" and not 0 < low < high:
            raise self.blame(
                part.place, f"log_uniform from {low:g} to {high:g}", "two numbers above 0, the lower first"
            )
        drawn: Callable[..., Array] = {"uniform": _uniform, "log_uniform": _log_uniform, "normal": _normal}[word]

        def array(generator: Any) -> Array:
            real = drawn(generator, spec.size, low, high).reshape(spec.shape)
            if spec.kind != "complex":
                return real
            return np.asarray(real + 1j * drawn(generator, spec.size, low, high).reshape(spec.shape))

        return array

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
    return mean + deviation * np.fromiter(deviates, np.float64, count)
