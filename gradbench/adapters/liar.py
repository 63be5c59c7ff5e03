"""Adapters that lie, each in one way: who checks the checker.

`Honest` differentiates with NumPy by a reverse pass made of the program itself; every liar is `Honest` with one defect,
of the kinds that real frameworks have shipped. `gradbench selfcheck` runs them all over the cases: a liar that nobody
catches means that the cases, or the judge, are too weak.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from gradbench.adapter import Arrays, Function, Native
from gradbench.host import Host
from gradbench.program import Program, evaluate
from gradbench.query import Array
from gradbench.reference.reverse.adjoint import adjoint, cotangents
from gradbench.reference.reverse.internal_ops import INTERNAL_OPS
from gradbench.shapes import Spec

Answer = dict[str, Array]

KINDS: Final = {"f": "real", "c": "complex", "b": "boolean"}


def _spec(array: Array) -> Spec:
    return Spec(np.shape(array), KINDS.get(np.asarray(array).dtype.kind, "integer"))


class Honest(Host):
    """NumPy, and a reverse pass derived from the program. Right to rounding; the base of all the liars."""

    def __init__(self) -> None:
        self.kept: weakref.WeakKeyDictionary[Function, dict[Any, Any]] = weakref.WeakKeyDictionary()

    def value(self, f: Function, x: Arrays) -> Native:
        """The function itself."""
        with np.errstate(all="ignore"):
            return np.asarray(f(*x.values()))

    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Answer:
        """By input, shape x."""
        program, (seed,) = self._reverse(f, x)
        return self._run(f, x, program, {seed: cotangent})

    def gradient(self, f: Function, x: Arrays) -> Answer:
        """By input, shape x."""
        y = self.value(f, x)
        if y.ndim:
            raise ValueError(f"the gradient of an output of shape {y.shape}")
        return self.vjp(f, x, np.ones_like(y))

    def jacobian(self, f: Function, x: Arrays) -> Answer:
        """By input, shape y + x: a row for each component of the output."""
        y = self.value(f, x)
        rows: dict[str, list[Array]] = {name: [] for name in x}
        for index in range(y.size):
            unit = np.zeros(y.size, y.dtype)
            unit[index] = 1
            for name, row in self.vjp(f, x, unit.reshape(y.shape)).items():
                rows[name].append(row)
        return {name: np.reshape(parts, y.shape + np.shape(x[name])) for name, parts in rows.items()}

    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Array:
        """Shape y: the reverse pass is linear in its cotangent, and its adjoint by that is the Jacobian."""
        program, (seed,) = self._reverse(f, x)
        pushed, seeds = self._again(f, x, program, seed, (seed,))
        y = self.value(f, x)
        given = dict(zip(seeds, tangents.values(), strict=True))
        answer: Array = self._run(f, x, pushed, {seed: np.ones_like(y), **given})[seed]
        return answer

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Answer:
        """By input, shape x: the adjoint of the reverse pass."""
        program, (seed,) = self._reverse(f, x)
        twice, seeds = self._again(f, x, program, seed, tuple(x))
        y = self.value(f, x)
        given = dict(zip(seeds, tangents.values(), strict=True))
        return self._run(f, x, twice, {seed: np.ones_like(y), **given})

    def hessian(self, f: Function, x: Arrays) -> Answer:
        """By pairs of inputs: a Hessian-vector product for each entry of the first."""
        found: Answer = {}
        for first, array in x.items():
            columns: dict[str, list[Array]] = {name: [] for name in x}
            for index in range(array.size):
                tangents = {name: np.zeros_like(a) for name, a in x.items()}
                tangents[first].reshape(-1)[index] = 1
                for name, column in self.hvp(f, x, tangents).items():
                    columns[name].append(column)
            for name, parts in columns.items():
                found[f"{first},{name}"] = np.reshape(parts, array.shape + x[name].shape)
        return found

    def _reverse(self, f: Function, x: Arrays) -> tuple[Program, tuple[str, ...]]:
        return self._derived(f, x, "reverse", lambda specs: adjoint(f.program, f.inputs, specs), f.program)

    def _again(
        self, f: Function, x: Arrays, program: Program, seed: str, inputs: tuple[str, ...]
    ) -> tuple[Program, tuple[str, ...]]:
        def derive(specs: Mapping[str, Spec]) -> Program:
            return adjoint(program, inputs, {**specs, seed: _spec(self.value(f, x))})

        return self._derived(f, x, inputs, derive, program)

    def _derived(
        self, f: Function, x: Arrays, key: Any, derive: Callable[[Mapping[str, Spec]], Program], before: Program
    ) -> tuple[Program, tuple[str, ...]]:
        specs = {name: _spec(array) for name, array in {**x, **f.constants}.items()}
        kept = self.kept.setdefault(f, {})
        place = (key, tuple(specs.items()))
        if place not in kept:
            program = derive(specs)
            kept[place] = program, cotangents(before, program)
        found: tuple[Program, tuple[str, ...]] = kept[place]
        return found

    def _run(self, f: Function, x: Arrays, program: Program, seeds: Mapping[str, Array]) -> Answer:
        values = {**x, **f.constants, **seeds}
        with np.errstate(all="ignore"):
            found = evaluate(program, {**f.ops, **INTERNAL_OPS}, values)
        like = {**x, **seeds}
        return {
            name: np.broadcast_to(np.asarray(a), np.shape(like[name])).astype(np.asarray(like[name]).dtype)
            for name, a in found.items()
        }


class _Altering(Honest):
    """Alters every array of a first derivative in the same way; `alter` is the lie."""

    def alter(self, array: Array) -> Array:
        """The lie."""
        raise NotImplementedError

    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Answer:
        """The truth, altered."""
        return {name: self.alter(a) for name, a in super().vjp(f, x, cotangent).items()}

    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Array:
        """The truth, altered."""
        return self.alter(super().jvp(f, x, tangents))

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Answer:
        """The truth, altered."""
        return {name: self.alter(a) for name, a in super().hvp(f, x, tangents).items()}


class Zero(_Altering):
    """A gradient of zeros."""

    def alter(self, array: Array) -> Array:
        """Nothing is left."""
        return np.zeros(array.shape, array.dtype)


class Flipped(_Altering):
    """The sign is wrong."""

    def alter(self, array: Array) -> Array:
        """The other sign."""
        return np.negative(array)


class OnePercent(_Altering):
    """One per cent too large."""

    def alter(self, array: Array) -> Array:
        """A little more."""
        return np.multiply(array, 1.01).astype(array.dtype)


class OneEntry(_Altering):
    """Off by 1e-8 of its size (1e-4 in narrower formats) in one entry alone: the largest, or the last of equals."""

    def alter(self, array: Array) -> Array:
        """One entry a little off."""
        if not array.size:
            return array
        found = np.array(array)
        at = found.size - 1 - int(np.argmax(np.abs(found.reshape(-1)[::-1])))
        share = 1e-8 if array.dtype.itemsize >= 8 else 1e-4
        found.reshape(-1)[at] *= array.dtype.type(1 + share)
        return found


class Dropped(_Altering):
    """The last entry is never written."""

    def alter(self, array: Array) -> Array:
        """The last entry is 0."""
        found = np.array(array)
        found.reshape(-1)[-1:] = 0
        return found


class Transposed(_Altering):
    """The axes come in the other order; square arrays keep their shape, so only numbers give it away."""

    def alter(self, array: Array) -> Array:
        """The transpose."""
        return np.array(array.T)


class NotANumber(_Altering):
    """NaN in one entry."""

    def alter(self, array: Array) -> Array:
        """The first entry is NaN."""
        found = np.array(array)
        found.reshape(-1)[:1] = np.nan
        return found


class WrongShape(_Altering):
    """An axis too many."""

    def alter(self, array: Array) -> Array:
        """A new first axis."""
        return array[None]

    def jacobian(self, f: Function, x: Arrays) -> Answer:
        """An axis too many here as well."""
        return {name: a[None] for name, a in Honest().jacobian(f, x).items()}

    def hessian(self, f: Function, x: Arrays) -> Answer:
        """An axis too many here as well."""
        return {name: a[None] for name, a in Honest().hessian(f, x).items()}


class Downcast(_Altering):
    """Computes in float32 inside and returns the dtype asked for."""

    def alter(self, array: Array) -> Array:
        """Rounded to float32 on the way."""
        narrow = np.float16 if array.dtype == np.float32 else np.float32
        with np.errstate(over="ignore"):
            return array.astype(narrow).astype(array.dtype)


class Stale(Honest):
    """Keeps the first point that it saw of each function."""

    def __init__(self) -> None:
        super().__init__()
        self.first: weakref.WeakKeyDictionary[Function, Arrays] = weakref.WeakKeyDictionary()

    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Answer:
        """The derivative at another point."""
        seen = self.first.setdefault(f, {name: np.array(a) for name, a in x.items()})
        same = all(np.shape(seen[name]) == np.shape(x[name]) for name in x)
        return super().vjp(f, seen if same else x, cotangent)


class Compiled(_Altering):
    """Right until it compiles, as just-in-time compilers do once a function is warm; what it compiled is 1 % off."""

    WARM = 2
    """Calls of a function that it answers as it is written: a query is asked twice, and agrees with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: weakref.WeakKeyDictionary[Function, int] = weakref.WeakKeyDictionary()
        self.is_warm = False

    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Answer:
        """The truth, until it is warm."""
        self.calls[f] = self.calls.get(f, 0) + 1
        self.is_warm = self.calls[f] > self.WARM
        return super().vjp(f, x, cotangent)

    def alter(self, array: Array) -> Array:
        """A little more."""
        return np.multiply(array, 1.01).astype(array.dtype) if self.is_warm else array


class SecondOrder(Honest):
    """Right in the first derivative, and drops a tenth of the second."""

    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Answer:
        """A tenth too small."""
        return {name: (a * a.dtype.type(0.9)).astype(a.dtype) for name, a in super().hvp(f, x, tangents).items()}


class Asymmetric(Honest):
    """A Hessian whose upper triangle is right and whose lower is not."""

    def hessian(self, f: Function, x: Arrays) -> Answer:
        """Half of it."""
        found = super().hessian(f, x)
        for name, array in found.items():
            first, second = name.split(",")
            if first == second:
                n = x[first].size
                lower = np.tril(np.full((n, n), 0.1), -1).reshape(array.shape)
                found[name] = (array * (1 + lower)).astype(array.dtype)
        return found


class ForwardOnly(Honest):
    """Right in reverse mode and wrong in forward mode."""

    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Array:
        """Twice the truth."""
        return np.asarray(2 * super().jvp(f, x, tangents))


class Restless(Honest):
    """Another answer each time, by an ulp or two."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Answer:
        """The truth, moved."""
        self.calls += 1
        found = super().vjp(f, x, cotangent)
        with np.errstate(all="ignore"):
            return {
                name: np.nextafter(a, a.dtype.type(np.inf)) if self.calls % 2 and a.dtype.kind == "f" else a
                for name, a in found.items()
            }


class Mutating(Honest):
    """Writes into its inputs."""

    def vjp(self, f: Function, x: Arrays, cotangent: Native) -> Answer:
        """The truth, and the inputs are another's afterwards."""
        found = super().vjp(f, x, cotangent)
        for array in x.values():
            np.add(array, 1, out=array)
        return found


class Conjugated(Honest):
    """Keeps two conventions of complex derivatives: the gradient is conjugated, and the vjp isn't."""

    def gradient(self, f: Function, x: Arrays) -> Answer:
        """Right, in the convention that its other answers don't keep."""
        return {name: np.conj(a) for name, a in super().gradient(f, x).items()}


class HalfConjugated(_Altering):
    """The sign of an imaginary part is wrong, in the last entry alone."""

    def alter(self, array: Array) -> Array:
        """The last entry is conjugated."""
        found = np.array(array)
        found.reshape(-1)[-1:] = np.conj(found.reshape(-1)[-1:])
        return found
