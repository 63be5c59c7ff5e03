"""One derivative of one case in all ways: asked, answered, concluded.

A case, a point and targets enter; an `Explanation` leaves. The records are written to a file that is gone afterwards:
what is explained can be asked again at any time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gradbench import verify
from gradbench.case import Case, Point
from gradbench.errors import BadOption
from gradbench.explanation import Explanation, explained
from gradbench.journal import read
from gradbench.lesson import Lesson
from gradbench.plan import Selection, ask
from gradbench.query import Operator, Question
from gradbench.registry import Entry
from gradbench.shapes import outputs


def lesson(case: Case, number: int = 1, dtype: str = "float64") -> Lesson:
    """What to ask in order to explain a case at a point.

    Raises:
        BadOption: The case has no such point, isn't asked in that dtype, or is too large.
    """
    point = next((point for point in case.points if point.number == number), None)
    if point is None:
        count = len(case.points)
        raise BadOption(f"{case.name} has no point {number}; it has {count} point{'' if count == 1 else 's'}")
    return Lesson.of(_question(case, point, dtype, Operator.VALUE), _question(case, point, dtype, _way(case, point)))


def _way(case: Case, point: Point) -> Operator:
    """The gradient of a real number, and of everything else a vjp."""
    found = outputs(case.program, case.specs(point))
    is_real = not any(array.dtype.kind == "c" for array in point.inputs.values())
    is_number = list(found) == [""] and found[""].shape == () and found[""].kind == "real"
    return Operator.GRADIENT if is_number and is_real else Operator.VJP


def _question(case: Case, point: Point, dtype: str, operator: Operator) -> Question:
    """The question that a run would ask: with what the author states, if that is this very derivative."""
    one = replace(case, points=(point,), operators=(operator,), partials=())
    found = next(ask(one, Selection(operators=(operator,), dtypes=(dtype,))), None)
    if found is None:
        raise BadOption(f"{case.name} isn't asked in {dtype}; it is in {', '.join(case.dtypes)}")
    return found


def explain(
    wanted: Lesson,
    targets: Sequence[Entry],
    setup: verify.Setup = verify.Setup(),  # noqa: B008  # it is frozen
    watch: verify.Watch = lambda _event: None,
) -> Explanation:
    """Asks every target and every reference, and concludes.

    Args:
        wanted: What to ask.
        targets: Whom to ask; the references are added.
        setup: Where the targets run, and how long to wait for them.
        watch: Called with every event.
    """
    with tempfile.TemporaryDirectory(prefix="gradbench-") as folder:
        path = Path(folder) / "records.jsonl"
        verify.run(wanted.questions, targets, path, setup, watch)
        return explained(wanted, read(path))
