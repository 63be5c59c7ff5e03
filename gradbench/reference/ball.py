"""`Ball`: the certified reference. Every number it calls certified is proved to lie within its radius.

A `Query` and its `Program` enter, an `Estimate` leaves: answer, tail and radius (see `cells`), and a `Status` for each
component. Two independent rule sets stand behind it, a reverse pass over balls (`problem`, `sweep`) and power series
along lines (`series`), and must overlap wherever both have an answer. The precision is doubled until each radius is
below 0.01 ulp of the dtype that is asked about, or the budget is spent; what isn't settled then says so.

`flint.ctx` belongs to the process: its precision is set here and nowhere else, and by one query at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import flint
import numpy as np

from gradbench.adapter import Estimate
from gradbench.errors import Unsupported
from gradbench.program import Program
from gradbench.query import Array, Operator, Query
from gradbench.record import Status
from gradbench.reference.balls.cells import Cells, Format
from gradbench.reference.balls.certificate import Certificate
from gradbench.reference.balls.lift import filled
from gradbench.reference.balls.problem import Passes, Problem, spec, wide
from gradbench.reference.balls.settlement import RulesDisagree
from gradbench.reference.balls.sweep import Deadline, TimeUp, rounded
from gradbench.wire import FORMATS

__all__ = ["Ball", "RulesDisagree"]

FIRST_BITS: Final = 80
"""And some for each doubling of the number of steps; enough for nearly every float64 answer at once."""
_LOCK: Final = threading.Lock()


class Ball:
    """The certified reference.

    Attributes:
        seconds: What one query may take, checked between steps.
        most_bits: The highest precision that is tried.
        most_elements: Components of the inputs, and of the answer, beyond which it isn't tried.
        check: Whether the second rule set is asked although the first is sure. Of values and first derivatives that
            takes about as long as the answer itself; of others some times as long, and isn't done beyond 100,000 steps.
            It is what makes a wrong rule of gradbench's own show.
    """

    def __init__(
        self, seconds: float = 20.0, most_bits: int = 4_096, most_elements: int = 200_000, *, check: bool = True
    ) -> None:
        self.seconds, self.most_bits, self.most_elements, self.check = seconds, most_bits, most_elements, check
        self._known: dict[Any, tuple[Program, Passes]] = {}

    def open(self, device: str) -> Mapping[str, Any]:
        """The settings that decide about numbers; the device doesn't matter, the answer is the same on all."""
        del device
        return {
            "device_name": "",
            "check": self.check,
            "seconds": self.seconds,
            "most_bits": self.most_bits,
            "most_elements": self.most_elements,
        }

    def versions(self) -> Mapping[str, str]:
        """Of python-flint and the FLINT within."""
        return {"python-flint": flint.__version__, "flint": flint.__FLINT_VERSION__}

    def estimate(self, query: Query, program: Program) -> Estimate:
        """The answer with its proof's radius.

        Raises:
            Unsupported: Complex numbers, NaN, more components than the budget, a primitive without any rule.
            RulesDisagree: The two rule sets contradict each other.
        """
        start = time.perf_counter()
        # FLINT raises flags of the floating-point unit that NumPy would take for its own.
        with _LOCK, np.errstate(all="ignore"):
            problem = self._problem(query, program)
            format = Format.of(FORMATS[query.dtype])
            certificate = Certificate(problem, query, format)
            if query.operator is Operator.VALUE or problem.is_placed:
                bits, found = self._doubled(query, certificate)
            else:
                bits, found = 0, _nothing(query, problem, Status.SINGULAR)  # there is nothing around infinity
            parts = {key: cells.published(format) for key, cells in found.items()}
        notes: dict[str, Any] = {"bits": bits, "seconds": time.perf_counter() - start, "checked": certificate.checked}
        if any("lower" in margin for _, margin, _ in parts.values()):
            notes["outer"] = "lower and upper enclose every derivative nearby; they may be wider than needed"
        return Estimate(
            {key: answer for key, (answer, _, _) in parts.items()},
            {key: margin for key, (_, margin, _) in parts.items()},
            {key: status for key, (_, _, status) in parts.items()},
            notes,
        )

    def _problem(self, query: Query, program: Program) -> Problem:
        """The query's problem, with the programs of its derivatives from an earlier one of the same function.

        Raises:
            Unsupported: It is none for ball arithmetic.
        """
        arrays = {**query.inputs, **query.constants}
        passes = self._passes(query, program, arrays)
        inside = all(bool(np.isfinite(wide(array)).all()) for array in query.inputs.values())
        if not inside and any(np.isnan(wide(array)).any() for array in query.inputs.values()):
            raise Unsupported("an input is NaN")
        size = max(sum(array.size for array in arrays.values()), passes.size_of(query))
        if size > self.most_elements:
            raise Unsupported(f"{size} components; the budget is {self.most_elements}")
        values, are_finite = passes.point(arrays)
        return Problem(passes, values, Deadline.after(self.seconds), inside, inside and are_finite)

    def _passes(self, query: Query, program: Program, arrays: Mapping[str, Array]) -> Passes:
        """The programs of the function's derivatives.

        Raises:
            Unsupported: A number is complex.
        """
        shapes = tuple((name, array.shape, array.dtype.kind) for name, array in arrays.items())
        key = (id(program), query.dtype, tuple(query.inputs), shapes)
        if key not in self._known:
            if "c" in {FORMATS[query.dtype].kind, *(array.dtype.kind for array in arrays.values())}:
                raise Unsupported("ball arithmetic is of real numbers here, not of complex ones")
            if len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            specs = {name: spec(array) for name, array in arrays.items()}
            # The program is kept with it, so that no other one gets its id.
            self._known[key] = program, Passes(rounded(program, FORMATS[query.dtype]), tuple(query.inputs), specs)
        return self._known[key][1]

    def _doubled(self, query: Query, certificate: Certificate) -> tuple[int, dict[str, Cells]]:
        """The answer at the first precision that settles it, or at the last that the budget allows; and which it was.

        Raises:
            RulesDisagree: The two rule sets contradict each other.
        """
        bits: int | None = FIRST_BITS + 2 * certificate.problem.passes.size.bit_length()
        best, found, before = 0, None, flint.ctx.prec
        try:
            while bits is not None:
                flint.ctx.prec = trial = bits
                start = time.perf_counter()
                found, best = certificate.cells(), trial
                bits = self._next(trial, found, certificate, time.perf_counter() - start)
            if self.check:
                certificate.check()
        except TimeUp:
            pass
        finally:
            flint.ctx.prec = before
        return best, found if found is not None else _nothing(query, certificate.problem, Status.UNDECIDED)

    def _next(self, bits: int, found: Mapping[str, Cells], certificate: Certificate, seconds: float) -> int | None:
        """The precision to go on with; None if nothing is left to settle, or it would take too much of anything."""
        more = _more(bits, found, certificate.format)
        # More bits take more than proportionally longer once they leave the machine's words behind.
        if more is None or more > self.most_bits or seconds * more / bits > certificate.problem.deadline.left:
            return None
        return more


def _nothing(query: Query, problem: Problem, status: Status) -> dict[str, Cells]:
    """An answer without a number."""
    found = {}
    for key in query.keys:
        cells = Cells(filled(problem.passes.shape_of(query.operator, key), flint.arb("nan")))
        cells.status[...] = str(status)
        found[key] = cells
    return found


def _more(bits: int, found: Mapping[str, Cells], format: Format) -> int | None:
    """The precision that may be enough; None if nothing is left to settle.

    Doubled; but once two precisions have been tried, straight to where the last digit will be known if the error goes
    on to shrink as the precision grows, which for a truth of exactly 0 is far away.
    """
    worst = max((cells.missing(format) for cells in found.values()), default=0)
    if worst <= 0:
        return None
    return 2 * bits if bits < 2 * FIRST_BITS else max(2 * bits, bits + worst)


_KEPT: Final = 64
"""Functions whose derivatives' programs are kept."""
