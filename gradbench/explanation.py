"""What a lesson found: every node with its value and its adjoint, and where each target departs from the oracle.

A `Lesson` and the run in which its questions were asked enter; an `Explanation` leaves. It is concluded from records
alone. Going forward, a target departs at the first node in the order of evaluation whose value is wrong; going back, at
the first that is met, which is the last in that order: whatever uses it has its own adjoint right, so it is the rule of
what uses it that hands on a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from gradbench.compare import Truth
from gradbench.judge import Finding, Ruling, Verdict, judge_one
from gradbench.lesson import Lesson
from gradbench.oracle import REFERENCES, Oracle, consult
from gradbench.program import references
from gradbench.query import Array, Question
from gradbench.record import Outcome, Record, Run, Target
from gradbench.unparse import steps as expressions

FORWARD: Final = "forward"
BACKWARD: Final = "backward"
PLAIN: Final = "plain"

DEPARTING: Final = frozenset({Ruling.FAIL, Ruling.ERROR})


@dataclass(frozen=True)
class Cell:
    """What one target says of one number: an array or None, and what is concluded, if that can be said of it alone."""

    answer: Array | None
    finding: Finding | None

    @property
    def ruling(self) -> Ruling | None:
        """What is concluded."""
        return None if self.finding is None else self.finding.ruling


@dataclass(frozen=True)
class Opinion:
    """What several targets say to the last bit alike."""

    cell: Cell
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """The value of an entry, or its adjoint: what is right, and what each target says, by name."""

    truth: Truth | None
    cells: Mapping[str, Cell]

    @property
    def source(self) -> str:
        """Who says what is right."""
        if self.truth is None:
            return ""
        return " + ".join(sorted({str(name) for name in self.truth.source.reshape(-1)} - {""}))

    @property
    def opinions(self) -> tuple[Opinion, ...]:
        """What is said, each once, with those that say so: the wrong first, what most say last."""
        found: dict[Any, list[str]] = {}
        for name, cell in self.cells.items():
            array = cell.answer
            # A number is the same in a wider format, in which finite differences answer.
            wide = None if array is None else array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
            said = None if wide is None else (wide.shape, wide.dtype.name, wide.tobytes())
            found.setdefault((said, cell.ruling), []).append(name)
        made = [Opinion(self.cells[names[0]], tuple(names)) for names in found.values()]
        return tuple(sorted(made, key=lambda one: (one.cell.ruling not in DEPARTING, len(one.targets))))


@dataclass(frozen=True)
class Share:
    """What one use of an entry adds to its adjoint: the node that uses it, what is right and what is said."""

    user: int
    side: Side


@dataclass(frozen=True)
class Step:
    """One entry of the function.

    Attributes:
        index: Of the entry, inputs first.
        role: `input`, `constant` or `node`.
        name: Its name.
        primitive: Of a node.
        text: A node as an expression in the names of others.
        operands, users: The entries that it is applied to, and those that are applied to it.
        spec: Its shape and kind; a tuple of them for a node with several results.
        given: An input or constant itself.
        value, adjoint: What is right and what is said; None where nobody was asked.
        shares: What makes up the adjoint, if it is used several times; one for each use.
        is_connected: Whether an output depends on it.
        is_output: Whether it is returned.
    """

    index: int
    role: str
    name: str
    primitive: str
    text: str
    operands: tuple[int, ...]
    users: tuple[int, ...]
    spec: Any
    given: Array | None
    value: Side | None
    adjoint: Side | None
    shares: tuple[Share, ...]
    is_connected: bool
    is_output: bool


@dataclass(frozen=True)
class Departure:
    """Where a target departs from the oracle.

    Attributes:
        way: `forward`, `backward`, or `plain`, where the derivative is asked for without the zeros.
        step: The entry; None where no entry can be named.
        finding: What is concluded of it.
        blamed: Going back, the nodes whose rules hand on the adjoint that is wrong; going forward, the node itself.
        share: The node whose share alone is wrong, where the sum still passes.
    """

    way: str
    step: int | None
    finding: Finding
    blamed: tuple[int, ...] = ()
    share: int | None = None


@dataclass(frozen=True)
class Voice:
    """One target.

    Attributes:
        target: Who it is.
        states: For each way in which it was asked, why there is nothing to show; empty if it answered.
        departures: Where it departs, at most one for each way.
        remarks: What it says of the derivative by each input besides its number.
    """

    target: Target
    states: Mapping[str, str]
    departures: tuple[Departure, ...]
    remarks: Mapping[str, str]

    @property
    def is_complete(self) -> bool:
        """Whether it answered for the nodes both ways."""
        return self.states.get(BACKWARD) == "" and not self.states.get(FORWARD, "")


@dataclass(frozen=True)
class Explanation:
    """A derivative, node by node.

    Attributes:
        question: The derivative that is explained.
        steps: One for each entry, in order.
        voices: One for each target that could start, by name.
        plain: What is right of the derivative as it is asked for by a run, and what each target says, by input.
        absent: The targets that could not start.
        disputes: Sentences on the references that contradict each other; then no target is judged.
    """

    question: Question
    steps: tuple[Step, ...]
    voices: tuple[Voice, ...]
    plain: Mapping[str, Side]
    absent: tuple[Target, ...]
    disputes: tuple[str, ...]

    @property
    def departing(self) -> tuple[Voice, ...]:
        """The targets that depart somewhere."""
        return tuple(voice for voice in self.voices if voice.departures)


@dataclass(frozen=True)
class _Heard:
    """One question's oracle, and the verdict on each target, by name."""

    question: Question
    oracle: Oracle
    verdicts: Mapping[str, Verdict]

    @classmethod
    def of(cls, question: Question, run: Run) -> _Heard:
        records = [record for record in run.records if record.query == question.query.id]
        believed = {record.target: record for record in records if record.target in REFERENCES}
        verdicts = {v.record.target: v for v in judge_one(question, records, run.targets, {})}
        return cls(question, consult(question, believed), verdicts)

    def side(self, key: str) -> Side:
        """What is right and what is said under a key."""
        cells = {}
        for name, verdict in sorted(self.verdicts.items()):
            if key in verdict.record.answer:
                whole = _whole(verdict) is not None
                finding = None if whole else next((f for f in verdict.findings if f.key == key), None)
                cells[name] = Cell(verdict.record.answer[key], finding)
        return Side(self.oracle.truths.get(key), cells)


def explained(lesson: Lesson, run: Run) -> Explanation:
    """The explanation of what was asked in a lesson, from the run in which it was."""
    heard = {
        way: _Heard.of(question, run)
        for way, question in ((FORWARD, lesson.forward), (BACKWARD, lesson.backward), (PLAIN, lesson.plain))
        if question is not None
    }
    steps = _steps(lesson, heard)
    known = {target.name: target for target in run.targets.values()}
    names = sorted({name for one in heard.values() for name in one.verdicts})
    # The plain question is judged by the program too, whose disputes repeat those of the others.
    disputes = dict.fromkeys(sentence for one in heard.values() for sentence in one.oracle.disputes)
    return Explanation(
        question=lesson.plain,
        steps=steps,
        voices=tuple(_voice(known[name], steps, heard) for name in names),
        plain={key: heard[PLAIN].side(key) for key in lesson.plain.query.keys},
        absent=tuple(target for target in run.targets.values() if target.failure),
        disputes=tuple(disputes),
    )


def _steps(lesson: Lesson, heard: Mapping[str, _Heard]) -> tuple[Step, ...]:
    program, query = lesson.program, lesson.plain.query
    first = len(program.names)
    texts = ("",) * first + expressions(program, lesson.names)
    given = {**query.inputs, **query.constants}
    found = []
    for index, name in enumerate(lesson.names):
        node = None if index < first else program.nodes[index - first]
        role = "node" if node is not None else "input" if name in query.inputs else "constant"
        found.append(
            Step(
                index=index,
                role=role,
                name=name,
                primitive="" if node is None else node.primitive,
                text=texts[index],
                operands=() if node is None else tuple(dict.fromkeys(r.index for r in references(node.arguments))),
                users=lesson.users(index),
                spec=lesson.specs[index],
                given=given[name] if node is None else None,
                value=heard[FORWARD].side(lesson.values[index]) if index in lesson.values else None,
                adjoint=heard[BACKWARD].side(lesson.adjoints[index]) if index in lesson.adjoints else None,
                shares=tuple(Share(user, heard[BACKWARD].side(key)) for user, key in lesson.shares.get(index, ())),
                is_connected=index in lesson.connected,
                is_output=index in lesson.outputs,
            )
        )
    return tuple(found)


def _whole(verdict: Verdict) -> Finding | None:
    """The finding that is about an answer as a whole, if there is one."""
    worst = verdict.worst
    is_whole = (
        verdict.record.outcome is not Outcome.ANSWERED
        or worst.ruling is Ruling.DISPUTED
        or worst.reason in {"mutated-input", "unrepeatable"}
    )
    return worst if is_whole else None


def _voice(target: Target, steps: tuple[Step, ...], heard: Mapping[str, _Heard]) -> Voice:
    verdicts = {way: one.verdicts[target.name] for way, one in heard.items() if target.name in one.verdicts}
    states = {way: _state(verdict) for way, verdict in verdicts.items()}
    found = [one for way in (FORWARD, BACKWARD) if (one := _departure(way, target.name, steps, verdicts)) is not None]
    # Forward, a wrong value explains every adjoint that is made of it.
    if len(found) == 2:
        found[1] = replace(found[1], blamed=())
    if PLAIN in verdicts and not any(one.way == BACKWARD for one in found):
        found += _plain(verdicts[PLAIN], steps)
    if target.reference:  # that one of ours is slow, or knows nothing of this, is no departure
        found = [one for one in found if one.step is not None]
    plain: Record | None = verdicts[PLAIN].record if PLAIN in verdicts else None
    remarks = {} if plain is None else plain.notes.get("remarks", {})
    return Voice(target, states, tuple(found), remarks)


def _state(verdict: Verdict) -> str:
    whole = _whole(verdict)
    if whole is None or whole.ruling is Ruling.DISPUTED:
        return ""
    said = whole.detail.partition("\n")[0]
    return f"{whole.reason or whole.ruling}: {said}" if said else whole.reason or str(whole.ruling)


def _departure(way: str, name: str, steps: Iterable[Step], verdicts: Mapping[str, Verdict]) -> Departure | None:
    """Where a target departs first on its way through the nodes."""
    verdict = verdicts.get(way)
    if verdict is None:
        return None
    whole = _whole(verdict)
    if whole is not None:
        return Departure(way, None, whole) if whole.ruling in DEPARTING else None
    order = tuple(steps)
    for step in order if way == FORWARD else reversed(order):
        side = step.value if way == FORWARD else step.adjoint
        cell = None if side is None else side.cells.get(name)
        finding = _missing(side, step, name) if cell is None else cell.finding
        if finding is not None and finding.ruling in DEPARTING:
            blamed = (step.index,) if way == FORWARD else _blamed(step, order, name)
            return Departure(way, step.index, finding, blamed)
        for share in step.shares if way == BACKWARD else ():
            shared = share.side.cells.get(name)
            if shared is not None and shared.finding is not None and shared.ruling in DEPARTING:
                return Departure(way, step.index, shared.finding, (share.user,), share.user)
    return None


def _blamed(step: Step, order: Sequence[Step], name: str) -> tuple[int, ...]:
    """The nodes whose rules may have handed on a wrong adjoint: those whose share is wrong, if that can be seen."""
    wrong = [share.user for share in step.shares if _ruling(share.side, name) in DEPARTING]
    users = [user for user in step.users if order[user].is_connected]
    return tuple(dict.fromkeys(wrong or users))


def _ruling(side: Side, name: str) -> Ruling | None:
    cell = side.cells.get(name)
    return None if cell is None else cell.ruling


def _missing(side: Side | None, step: Step, name: str) -> Finding | None:
    """The finding on a part that an answer should have and lacks."""
    return None if side is None else Finding(step.name, Ruling.FAIL, "shape", f"{name} leaves it out")


def _plain(verdict: Verdict, steps: Iterable[Step]) -> Iterable[Departure]:
    """Where the derivative is wrong as a run asks for it."""
    whole = _whole(verdict)
    worst = verdict.worst if whole is None else whole
    if worst.ruling in DEPARTING:
        index = {step.name: step.index for step in steps if step.role == "input"}
        yield Departure(PLAIN, index.get(worst.key) if whole is None else None, worst)


def is_zero(step: Step) -> bool:
    """Whether the adjoint is 0 because no output depends on the entry, so that nobody needs to be asked."""
    return step.adjoint is None and not step.is_connected and getattr(step.spec, "kind", "") in {"real", "complex"}
