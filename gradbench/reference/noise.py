"""How far rounding alone may move an answer.

A query enters; the answer in double precision leaves, with the standard deviation `sigma` of what it would have been
had every operation of the function and of its derivative been rounded to the query's format (see `replay`). The
derivative is computed as frameworks compute it, by reverse accumulation with their formulas (see `adjoint`). This is a
yardstick for deviations, not a truth: where the textbook's formula loses digits, sigma says how many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import scipy

from gradbench.adapter import Estimate
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.program import Program, evaluate
from gradbench.query import Array, Operator, Query
from gradbench.record import Status
from gradbench.reference.reverse.adjoint import adjoint, cotangents, pruned, recorded
from gradbench.reference.rounding.replay import DIGITS, Replay
from gradbench.shapes import Spec
from gradbench.wire import FORMATS

REPLAYS: Final = 24
BUDGET: Final = 2**24
"""The most numbers that may be rounded for one query; beyond it, fewer rows of a Jacobian or Hessian are replayed."""
CHUNK: Final = 2**22
"""The most numbers that are held at a time."""
LARGE: Final = 2**16
"""Of more entries sigma has seven digits, and the answer itself is left out: a record shouldn't be longer for the sake of a
yardstick than for what is measured."""
MAX_NODES: Final = 50_000
FEWEST_ROWS: Final = 4
BENT: Final = 16.0
"""How many times the sigma of enlarged errors that of real ones must be to count instead."""
FEWEST_REPLAYS: Final = 6
FACTORED: Final = frozenset({"det", "slogdet", "cofactor", "inv", "solve"})
"""What differentiates through the factors of a matrix the second time: the errors are then as large as the largest entry
makes them, also where entries of the factors cancel to 0. Higham (2002), section 14.1."""

_KINDS: Final = {"f": "real", "c": "complex", "b": "boolean", "i": "integer", "u": "integer", "V": "real"}


@dataclass(frozen=True)
class _Asked:
    """What a plan depends on; the program is that of the text."""

    text: str
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    specs: tuple[Spec, ...]
    operator: Operator
    orders: tuple[str, ...]
    program: Program = field(compare=False)


@dataclass(frozen=True)
class _Plan:
    """A program whose value is the answer, or a row of it.

    Attributes:
        program: Over the names of the function and those of the seeds.
        ones: The seeds that are 1 everywhere, with their shapes; so is one that the answer doesn't depend on.
        given: The seeds that the query gives, by the name they have there; an empty name is the cotangent.
        rows: The seeds that run over the unit vectors, in the order of the answer's rows, with their shapes.
        y: The shape of the function's value.
        size: How many numbers one run computes.
    """

    program: Program
    ones: Mapping[str, tuple[int, ...]]
    given: Mapping[str, str]
    rows: Mapping[str, tuple[int, ...]]
    y: tuple[int, ...]
    size: int


@lru_cache(maxsize=256)
def _plan(asked: _Asked) -> _Plan:
    f, inputs = asked.program, asked.inputs
    specs = dict(zip(asked.names, asked.specs, strict=True))
    y: Spec = recorded(f, specs).spec(f.output)
    ones: dict[str, tuple[int, ...]] = {}
    given: dict[str, str] = {}
    rows: dict[str, tuple[int, ...]] = {}
    if asked.operator is Operator.VALUE:
        derived = f
    elif asked.operator is Operator.PARTIAL:
        derived, ones = _partial(f, asked.orders, specs, y)
    else:
        derived = adjoint(f, inputs, specs)
        (w,) = cotangents(f, derived)
        specs[w] = y
        ones = {w: y.shape}
        if asked.operator is Operator.VJP:
            ones, given = {}, {w: ""}
        elif asked.operator is Operator.JACOBIAN:
            ones, rows = {}, {w: y.shape}
        elif asked.operator is not Operator.GRADIENT:
            back = derived
            derived = adjoint(back, [w] if asked.operator is Operator.JVP else inputs, specs)
            seeds = dict(zip(cotangents(back, derived), inputs, strict=True))
            if asked.operator is Operator.HESSIAN:
                rows = {seed: specs[name].shape for seed, name in seeds.items()}
            else:
                given = seeds
            specs |= {seed: specs[name] for seed, name in seeds.items()}
    derived = pruned(derived)
    entries = recorded(derived, {**ones, **specs}).entries
    size = sum(part.size for entry in entries for part in (entry if isinstance(entry, tuple) else (entry,)))
    return _Plan(derived, ones, given, rows, y.shape, size)


def _partial(
    f: Program, orders: Sequence[str], specs: Mapping[str, Spec], y: Spec
) -> tuple[Program, dict[str, tuple[int, ...]]]:
    """Nested derivatives by inputs without axes, and the seeds that are 1.

    With the cotangent w of f held, the first derivative is a number that is linear in w; so is each one after it, and
    the derivative of the last one by w is the answer, of the shape of y.
    """
    known = dict(specs)
    ones: dict[str, tuple[int, ...]] = {}
    derived, first = f, ""
    for name in orders:
        before = derived
        derived = adjoint(before, [name], known)
        (seed,) = cotangents(before, derived)
        known[seed] = y if before is f else specs[name]
        ones[seed] = known[seed].shape
        first = first or seed
        if len(derived.nodes) > MAX_NODES:
            raise Unsupported(f"a derivative of order {len(orders)} of this function takes over {MAX_NODES} steps")
    if first and y.shape:
        before = derived
        derived = adjoint(before, [first], known)
        ones |= dict.fromkeys(cotangents(before, derived), ())
    outputs = derived.outputs
    return Program(derived.text, derived.names, derived.nodes, (("", outputs[0][1]),)), ones


class Noise:
    """A reference for rounding: it answers every operator with `sigma`, by Monte-Carlo arithmetic."""

    def open(self, device: str) -> Mapping[str, Any]:
        """Its settings; it computes on the processor alone.

        Raises:
            DeviceMissing: Another device was asked for.
        """
        if device != "cpu":
            raise DeviceMissing(f"noise runs on the cpu, not on {device}")
        return {"replays": REPLAYS, "device_name": "cpu"}

    def versions(self) -> Mapping[str, str]:
        """What it computes with."""
        return {"numpy": np.__version__, "scipy": scipy.__version__}

    def estimate(self, query: Query, program: Program) -> Estimate:
        """The answer in double precision, and under `sigma` its standard deviation if it were rounded all along.

        Notes: `replays`; `dropped`, how many of them were lost at one component because it wasn't finite; `rows`, how many rows of a
        Jacobian or Hessian were replayed, where the others got the largest of their sigmas. A component is `undecided`,
        and its sigma infinite, where the answer is NaN or fewer than half of its replays were finite.

        Raises:
            Unsupported: The derivative has no reverse rule, or not for these numbers.
        """
        asked = _asked(query, program)
        plan = _plan(asked)
        dtype = FORMATS[query.dtype]
        if dtype.name not in DIGITS:
            raise Unsupported(f"{dtype.name} has no rounding errors")
        try:
            with np.errstate(all="ignore"):
                return _Runs(query, plan, dtype).estimate()
        except np.linalg.LinAlgError as error:
            raise Unsupported(f"no matrix to compute with: {error}") from None
        except TypeError as error:
            if "complex" not in {spec.kind for spec in asked.specs}:
                raise
            raise Unsupported(f"no complex arithmetic for this: {error}") from None


def _asked(query: Query, program: Program) -> _Asked:
    arrays = {**query.inputs, **query.constants}
    specs = tuple(Spec(arrays[name].shape, _KINDS[arrays[name].dtype.kind]) for name in program.names)
    orders = tuple(name for name, times in (query.orders or {}).items() for _ in range(times))
    return _Asked(query.function, program.names, tuple(query.inputs), specs, query.operator, orders, program)


class _Runs:
    """The runs of one query: one without rounding errors for each row, and its replays."""

    def __init__(self, query: Query, plan: _Plan, dtype: np.dtype[Any]) -> None:
        self.query, self.plan = query, plan
        self.exact = Replay(dtype, None)
        generator = np.random.default_rng(int(query.digest, 16))
        self.replay = Replay(dtype, generator)
        self.real_unit = 2.0 ** -DIGITS[dtype.name]
        used = {node.primitive for node in plan.program.nodes}
        self.is_normwise = query.operator in {Operator.HESSIAN, Operator.HVP} and bool(used & FACTORED)
        # Errors of their real size, beside those that were made larger to be seen.
        self.real = Replay(dtype, generator, most=53) if self.replay.shrink < 1 else None
        fixed = {name: _wide(array)[None] for name, array in {**query.inputs, **query.constants}.items()}
        given = {seed: (query.tangents or {})[name] if name else query.cotangent for seed, name in plan.given.items()}
        fixed |= {seed: _wide(np.asarray(array))[None] for seed, array in given.items()}
        fixed |= {seed: np.ones((1, *shape)) for seed, shape in plan.ones.items()}
        self.fixed = {name: fixed[name] for name in plan.program.names if name in fixed}
        self.rows = sum(math.prod(shape) for shape in plan.rows.values()) if plan.rows else 1

    def estimate(self) -> Estimate:
        """The answer and its sigma."""
        size = max(self.plan.size, 1)
        replays = max(FEWEST_REPLAYS, min(REPLAYS, BUDGET // size))
        limit = max(FEWEST_ROWS, BUDGET // (replays * size))
        rows = np.arange(self.rows)
        if self.rows > limit:
            chooser = np.random.default_rng([int(self.query.digest, 16), 1])
            rows = np.sort(chooser.choice(self.rows, limit, replace=False))
        answer = self._answers()
        sigma, dropped = self._scatter(self.replay, rows, replays, answer)
        if self.real is not None:
            # Made larger and scaled down again, an error that decides which of two branches is taken looks smaller than
            # it is: where the real ones move the answer far more, the answer is no linear function of them.
            other, _ = self._scatter(self.real, rows, max(FEWEST_REPLAYS, replays // 3), answer)
            sigma = {key: np.where(other[key] > BENT * s, other[key], s) for key, s in sigma.items()}
        if self.is_normwise:
            sigma = {key: np.maximum(s, self.real_unit * _largest(answer[key])) for key, s in sigma.items()}
        notes: dict[str, Any] = {"replays": replays, "dropped": dropped}
        if len(rows) < self.rows:
            sigma = {key: np.broadcast_to(s.max(0), answer[key].shape) for key, s in sigma.items()}
            notes["rows"] = f"{len(rows)} of {self.rows}; the others have the largest sigma of these"
        return self._estimate(answer, sigma, notes)

    def _scatter(
        self, replay: Replay, rows: Array, replays: int, answer: Mapping[str, Array]
    ) -> tuple[dict[str, Array], int]:
        """The sigma of each row's answer, and the most replays of a component that had to be left out."""
        size = max(self.plan.size, 1)
        norms = {key: np.zeros((len(rows), *a.shape[1:])) for key, a in answer.items()}
        finite = {key: np.zeros((len(rows), *a.shape[1:]), int) for key, a in answer.items()}
        # One entry of the leading axis for each replay of each row, as many at a time as fit.
        fit = max(1, CHUNK // size)
        step, some = max(1, fit // replays), min(replays, fit)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            for done in range(0, replays, some):
                self._replay(replay, rows[part], part, min(some, replays - done), answer, norms, finite)
        sigma = {}
        for key, norm in norms.items():
            found = norm / np.sqrt(np.maximum(finite[key], 1)) * replay.shrink
            sigma[key] = np.where(finite[key] * 2 >= replays, found, np.inf)
        return sigma, max((int(replays - count.min(initial=replays)) for count in finite.values()), default=0)

    def _seeds(self, rows: Array, times: int) -> dict[str, Array]:
        """The unit vectors of these rows, each one `times` times, the repetitions outermost."""
        found, first = {}, 0
        for name, shape in self.plan.rows.items():
            size = math.prod(shape)
            units = (rows[:, None] == first + np.arange(size)).astype(np.float64)
            found[name] = np.tile(units, (times, 1)).reshape(times * len(rows), *shape)
            first += size
        return found

    def _run(self, replay: Replay, rows: Array, times: int) -> dict[str, Array]:
        """The answer's parts, of shape (times, rows, ...)."""
        replay.count = times * len(rows)
        values = {**self.fixed, **(self._seeds(rows, times) if self.plan.rows else {})}
        found = evaluate(self.plan.program, replay.ops, values)
        parts = found if isinstance(found, dict) else {"": found}
        return {
            key: np.broadcast_to(part, (replay.count, *part.shape[1:])).reshape(times, len(rows), *part.shape[1:])
            for key, part in parts.items()
        }

    def _answers(self) -> dict[str, Array]:
        step = max(1, CHUNK // max(self.plan.size, 1))
        parts = [
            self._run(self.exact, np.arange(start, min(start + step, self.rows)), 1)
            for start in range(0, max(self.rows, 1), step)
        ]
        return {key: np.concatenate([part[key][0] for part in parts]) for key in parts[0]}

    def _replay(
        self, replay: Replay, rows: Array, part: slice, times: int, answer: Mapping[str, Array],
        norms: Mapping[str, Array], finite: Mapping[str, Array],
    ) -> None:  # fmt: skip
        """Adds some replays to the norms, component by component, except where they aren't finite."""
        for key, found in self._run(replay, rows, times).items():
            right = answer[key][rows]
            # An infinity that every rounding agrees on is no loss; one that a rounding contradicts is.
            kept = (found == right) | (np.isfinite(found) & np.isfinite(right))
            deviation = np.where(kept & (found != right), np.abs(found - right), 0)
            norms[key][part] = np.hypot(norms[key][part], _norm(deviation))
            finite[key][part] += kept.sum(0)

    def _estimate(self, answer: Mapping[str, Array], sigma: Mapping[str, Array], notes: dict[str, Any]) -> Estimate:
        answers, margins, status = {}, {}, {}
        for key, name, part in self._parts(answer):
            one = np.where(np.isnan(answer[name][part]), np.inf, sigma[name][part]).reshape(self._shape(key))
            if one.size <= LARGE:
                answers[key] = answer[name][part].reshape(self._shape(key))
            with np.errstate(over="ignore"):
                margins[key] = {"sigma": one if one.size <= LARGE else one.astype(np.float32)}
            status[key] = np.where(np.isinf(one), str(Status.UNDECIDED), str(Status.ESTIMATED)).astype("U11")
        return Estimate(answers, margins, status, notes)

    def _parts(self, answer: Mapping[str, Array]) -> list[tuple[str, str, slice]]:
        """For each key of the query's answer: the output it is in, and its rows."""
        if self.query.operator is not Operator.HESSIAN:
            named = "" if self.query.operator.keys(self.query.inputs) == ("",) else None
            return [(key if named is None else "", key, slice(None)) for key in answer]
        found, start = [], 0
        for name, array in self.query.inputs.items():
            found += [(f"{name},{other}", other, slice(start, start + array.size)) for other in answer]
            start += array.size
        return found

    def _shape(self, key: str) -> tuple[int, ...]:
        shapes = {name: array.shape for name, array in self.query.inputs.items()}
        return self.query.operator.shape(key, shapes, self.plan.y)


def _largest(answer: Array) -> float:
    return float(np.max(np.abs(answer), initial=0, where=np.isfinite(answer)))


def _norm(deviation: Array) -> Array:
    """The root of the sum of squares over the first axis; the squares of tiny deviations would vanish."""
    largest = deviation.max(0, initial=0)
    scale = np.where(largest > 0, largest, 1)
    found: Array = largest * np.sqrt(np.square(deviation / scale).sum(0))
    return found


def _wide(array: Array) -> Array:
    if array.dtype.kind in "biu":
        return array
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
