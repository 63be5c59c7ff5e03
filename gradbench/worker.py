"""The child process: one adapter on one device; queries in, records out, a frame each (see `frames`).

The protocol has file descriptors of its own: standard output and error are moved aside before a framework is imported,
so that nothing a framework prints can break it. The first frame out says `ready`, with versions and settings, or
`failed`, with the reason; then comes one `record` for each `query`. The process ends when its input does. Told so by
the signal SIGUSR1, it writes to standard error where it is.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from gradbench import frames, registry
from gradbench.adapter import Adapter, Estimate, Function, Reference, lifted
from gradbench.aside import aside
from gradbench.errors import GradbenchError, Unsupported
from gradbench.language import parse, parse_rule
from gradbench.packing import Packing
from gradbench.program import Program
from gradbench.query import Array, Operator, Query
from gradbench.record import Outcome, Record
from gradbench.spec import Spec
from gradbench.wire import FORMATS

REPEAT_LIMIT: Final = 5.0
"""Seconds: a first call longer than this is not repeated."""
NO_MEMORY: Final = ("out of memory", "can't allocate memory", "unable to allocate", "failed to allocate")
"""What frameworks say when they get none."""
CALLS: Final = {"cpu": 2}
"""How often a query is asked on each kind of device, and on every other one:"""
CALLS_ELSEWHERE: Final = 6
"""An accelerator adds up in any order, so that answers scatter: enough calls to see how far."""

_DIRECTIONS: Final = {
    Operator.JVP: "tangents", Operator.HVP: "tangents", Operator.VJP: "cotangent", Operator.PARTIAL: "orders",
}  # fmt: skip

# A message is kept to this many characters: enough to find the cause, too few to drown a report.
_MESSAGE: Final = 2_000


def main(arguments: list[str] | None = None) -> int:
    """Runs the worker: `python -m gradbench.worker SPEC DEVICE`."""
    spec, device = arguments if arguments is not None else sys.argv[1:]
    incoming, outgoing = _protocol()
    _die_with_parent()
    _die_first()
    faulthandler.enable(sys.stderr)
    faulthandler.register(signal.SIGUSR1, sys.stderr)
    try:
        adapter = registry.load(spec)
        settings = dict(adapter.open(device))
        versions = dict(adapter.versions())
    except BaseException as error:  # noqa: BLE001  # an import can fail in any way; the reason is the answer
        traceback.print_exc()
        _send(outgoing, {"failed": f"{type(error).__name__}: {error}"[:_MESSAGE]})
        return 1
    compiles = bool(getattr(adapter, "compiles", False))
    _send(outgoing, {"ready": {"versions": versions, "settings": settings, "compiles": compiles}})
    answerer = Answerer(adapter, device)

    def read(length: int) -> bytearray:
        found = bytearray(length)
        have = 0
        while have < length and (got := incoming.readinto(memoryview(found)[have:])):
            have += got
        return found

    for line in incoming:
        asked = frames.unpacked(line, read)
        _send(outgoing, {"record": answerer.record(Query.from_json(asked["query"], checked=False)).to_json()})
    return 0


def _protocol() -> tuple[BufferedReader, IO[bytes]]:
    """The two streams of the protocol, on descriptors of their own; 0 reads nothing and 1 writes to 2 from here on."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return incoming, outgoing


def _send(stream: IO[bytes], value: Mapping[str, Any]) -> None:
    for buffer in frames.packed(value):
        data = memoryview(buffer)
        while data:  # an unbuffered write to a pipe may take a part
            data = data[stream.write(data) :]


def _die_with_parent() -> None:
    """On Linux, asks the kernel to end this process with the one that started it, even if it hangs in C."""
    if sys.platform == "linux":
        import ctypes  # nowhere else needed

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == 1:
            sys.exit(1)


def _die_first() -> None:
    """On Linux, asks the kernel to end this process rather than the one that started it when the machine has no memory."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")


class Answerer:
    """Turns queries into records with one adapter or reference."""

    def __init__(self, adapter: Adapter | Reference, device: str = "cpu") -> None:
        self.adapter: Any = adapter
        self.estimates = isinstance(adapter, Reference)  # looked up once: it takes as long as a small query
        self.calls = CALLS.get(device, CALLS_ELSEWHERE)
        # A framework keeps what it compiled by the function's identity, so equal functions must be one object.
        self.function = lru_cache(maxsize=256)(self._function)
        self.programs = lru_cache(maxsize=1024)(parse)
        self.packings = lru_cache(maxsize=1024)(lambda program, specs: Packing.of(program, dict(specs)))

    def record(self, query: Query) -> Record:
        """What happens when the query is asked; never raises for what the adapter does."""
        try:
            if self.estimates:
                return self._estimated(query)
            return self._answered(query)
        except MemoryError as error:
            return _failure(query, Outcome.OUT_OF_MEMORY, error)
        except (Unsupported, NotImplementedError, *getattr(self.adapter, "refusals", ())) as error:
            return _failure(query, Outcome.UNSUPPORTED, error)
        except Exception as error:  # noqa: BLE001  # whatever a framework raises is what happened
            if any(words in str(error).lower() for words in NO_MEMORY):
                return _failure(query, Outcome.OUT_OF_MEMORY, error)
            return _failure(query, Outcome.RAISED, error)

    def _estimated(self, query: Query) -> Record:
        query = query.held  # to a reference they are constants
        if not query.inputs and query.operator != Operator.VALUE:
            return _refusal(query, "there is nothing to differentiate by")
        start = time.perf_counter()
        found, twin = self._estimate(query), query.twin
        margin = found.margin if twin is None else _mirrored(found, self._estimate(twin))
        seconds = time.perf_counter() - start
        return Record(
            query.id, Outcome.ANSWERED, dict(found.answer), margin=dict(margin), status=dict(found.status),
            notes=dict(found.notes), first=seconds,
        )  # fmt: skip

    def _estimate(self, query: Query) -> Estimate:
        """What a reference finds."""
        program = self.programs(query.function, query.names)
        if not program.is_tuple:
            return self.adapter.estimate(query, program)  # type: ignore[no-any-return]
        specs = {name: Spec.of(array) for name, array in {**query.inputs, **query.constants}.items()}
        packing = self.packings(program, tuple(specs.items()))
        return packing.unpacked(query.operator, self.adapter.estimate(packing.packed(query), packing.program))

    def _answered(self, query: Query) -> Record:
        program = self.programs(query.function, query.names)
        used = set(program.primitives)
        missing = sorted(used - set(self.adapter.ops))
        if missing:
            return _refusal(query, f"it has no {', '.join(missing)}")
        ask = getattr(self.adapter, query.operator, None)
        if ask is None:
            return _refusal(query, f"it has no {query.operator}")
        whole = self._of(query)
        inputs = {name: self.adapter.asarray(array) for name, array in query.inputs.items()}
        discrete = query.discrete
        f = whole.holding({name: inputs[name] for name in discrete})
        x = {name: array for name, array in inputs.items() if name not in discrete}
        direction = self._direction(query)
        nothing = not x and query.operator != Operator.VALUE  # to differentiate by
        first, native = (None, {}) if nothing else self._timed(ask, f, x, direction)
        answer = self._numpy(native)
        seconds = repeatable = None
        margin: dict[str, dict[str, Array]] = {}
        # What took long was the compiler, if there is one.
        if first is not None and (first < REPEAT_LIMIT or getattr(self.adapter, "compiles", False)):
            seconds, native = self._timed(ask, f, x, direction)
            again = [self._numpy(native)]
            again += [self._numpy(self._timed(ask, f, x, direction)[1]) for _ in range(self.calls - 2)]
            repeatable = all(_same(answer, one) for one in again)
            margin = {} if repeatable else _spread(answer, again)
        notes: dict[str, Any] = {}
        if query.remarks and hasattr(self.adapter, "remarks"):
            notes["remarks"] = self._remarks(f, x)
        if query.asides:
            asked = (self.adapter, query.operator, whole, inputs)
            notes["discrete"] = {name: aside(*asked, name, direction) for name in query.asides}
        changed = [name for name in inputs if not _same_array(self.adapter.numpy(inputs[name]), query.inputs[name])]
        return Record(
            query.id, Outcome.ANSWERED, answer, margin=margin, first=first, seconds=seconds, repeatable=repeatable,
            mutated=tuple(changed), composite=tuple(sorted(used & set(self.adapter.composite))),
            notes=notes,
        )  # fmt: skip

    def _remarks(self, f: Function, x: Mapping[str, Any]) -> dict[str, str]:
        """What the adapter says besides its answer, as far as it can say anything: an answer never depends on it."""
        try:
            return {key: str(text)[:_MESSAGE] for key, text in self.adapter.remarks(f, x).items()}
        except Exception as error:  # noqa: BLE001  # as of an answer, whatever it raises is what happened
            return {"": f"{type(error).__name__}: {error}"[:_MESSAGE]}

    def _timed(self, ask: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
        self.adapter.synchronize()
        start = time.perf_counter()
        native = ask(*(a for a in arguments if a is not None))
        self.adapter.synchronize()
        return time.perf_counter() - start, native

    def _direction(self, query: Query) -> Any:
        name = _DIRECTIONS.get(query.operator)
        given = getattr(query, name) if name else None
        if name == "cotangent" and query.cotangents:
            return tuple(self.adapter.asarray(array) for array in query.cotangents)
        if isinstance(given, np.ndarray):
            return self.adapter.asarray(given)
        if name == "tangents" and given is not None:
            return {key: self.adapter.asarray(array) for key, array in given.items()}
        return given

    def _numpy(self, native: Any) -> dict[str, Array | None]:
        """The answer by key. None stays None: the framework said so."""
        parts = dict(_keyed(native))
        found = {key: None if part is None else self.adapter.numpy(part) for key, part in parts.items()}
        # JAX's float0: the derivative of whole numbers, which is no array of anything.
        return {key: None if array is None or array.dtype.names else array for key, array in found.items()}

    def _of(self, query: Query) -> Function:
        constants = tuple((k, a.dtype.name, a.shape, a.tobytes()) for k, a in query.constants.items())
        function: Function = self.function(
            query.function, tuple(query.inputs), constants, query.dtype, tuple(query.rules.items())
        )
        return function

    def _function(
        self, text: str, inputs: tuple[str, ...], constants: tuple[Any, ...], dtype: str, rules: tuple[Any, ...]
    ) -> Function:
        if hasattr(self.adapter, "make_room"):
            self.adapter.make_room()
        arrays = {k: np.frombuffer(raw, FORMATS[kind]).reshape(shape) for k, kind, shape, raw in constants}
        names = (*inputs, *arrays)
        program = self.programs(text, names)
        native = {name: self.adapter.asarray(array) for name, array in arrays.items()}
        return Function(program, lifted(self.adapter, FORMATS[dtype]), inputs, native, _rules(text, names, rules))


def _rules(text: str, names: tuple[str, ...], rules: tuple[tuple[str, str], ...]) -> dict[str, Program]:
    return {
        operator: parse_rule(text, rule, names, ("cotangent",) if operator == Operator.VJP else ())
        for operator, rule in rules
    }


def _mirrored(found: Estimate, twin: Estimate) -> dict[str, dict[str, Array]]:
    """The margins of a vjp, and what those would answer who keep the other convention of complex derivatives.

    Under `mirror` is the conjugate of the twin's answer, NaN where the two are of a different kind; its margins stand
    beside it.
    """
    margin = {key: dict(parts) for key, parts in found.margin.items()}
    for key, answer in twin.answer.items():
        parts, others = margin.setdefault(key, {}), twin.margin.get(key, {})
        same = np.equal(found.status.get(key, ""), twin.status.get(key, ""))
        parts["mirror"] = np.where(same, np.conj(answer), np.nan)
        parts |= {f"mirror_{name}": others[name] for name in ("radius", "sigma") if name in others}
    return margin


def _keyed(native: Any) -> Iterator[tuple[str, Any]]:
    """The arrays of an answer with their keys, outputs before inputs; a bare array has the key ``""``."""
    if not isinstance(native, Mapping):
        native = {"": native}
    for name, part in native.items():
        if isinstance(part, tuple):
            yield from ((f"{i},{name}" if name else str(i), one) for i, one in enumerate(part))
        else:
            yield name, part


def _refusal(query: Query, message: str) -> Record:
    return Record(query.id, Outcome.UNSUPPORTED, message=message)


def _failure(query: Query, outcome: Outcome, error: BaseException) -> Record:
    message = str(error) or type(error).__name__
    # Our own refusals are sentences; a framework's exception is shown with its class.
    name = "" if isinstance(error, GradbenchError) else type(error).__name__
    return Record(query.id, outcome, error=name, message=message[:_MESSAGE])


def _same_array(one: Array, other: Array) -> bool:
    """Equal bit by bit, NaN included."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _same(one: Mapping[str, Array | None], other: Mapping[str, Array | None]) -> bool:
    if one.keys() != other.keys():
        return False
    pairs = ((one[key], other[key]) for key in one)
    return all(a is b if a is None or b is None else _same_array(a, b) for a, b in pairs)


def _spread(
    answer: Mapping[str, Array | None], again: Iterable[Mapping[str, Array | None]]
) -> dict[str, dict[str, Array]]:
    """How far the later answers are from the first, component by component; infinite where one of them isn't a number."""
    found: dict[str, dict[str, Array]] = {}
    for key, first in answer.items():
        others = [one.get(key) for one in again]
        if first is None or any(other is None or other.shape != first.shape for other in others):
            continue
        wide: list[Array] = [np.asarray(other).astype(_wide(first)) for other in others]
        with np.errstate(invalid="ignore"):
            apart = [np.where(other == first, 0, np.abs(other - first.astype(_wide(first)))) for other in wide]
        found[key] = {"spread": np.nan_to_num(np.max(apart, axis=0), nan=np.inf, posinf=np.inf)}
    return found


def _wide(array: Array) -> type:
    return np.complex128 if array.dtype.kind == "c" else np.float64


if __name__ == "__main__":
    sys.exit(main())
