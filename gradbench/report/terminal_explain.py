"""An explanation in a terminal: the way forward, the way back, what each target says, and who departs where.

An `Explanation` enters; lines leave, at most as wide as asked, with colours only for a terminal that wants them.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradbench.explanation import DEPARTING, PLAIN, Explanation, Opinion, Side, Step
from gradbench.report.sentences import (
    adjoint_text,
    conclusion,
    cotangent_texts,
    equation,
    kind_of,
    listed,
    opinion_texts,
    origin,
    output_text,
    silent,
    ulps_text,
    value_text,
)
from gradbench.report.terminal import SYMBOLS
from gradbench.report.words import shown

NARROW: Final = 80
WIDE: Final = 120
"""Wider than this, lines are hard to follow."""

_Row = tuple[str, str, Side | None]
"""A name, the kind of the array, and what is right and said."""


def rendered(explanation: Explanation, width: int | None = None) -> str:
    """The whole, without blanks at the ends of lines.

    Args:
        explanation: What to show.
        width: In characters; that of the terminal, or 80 where there is none, if not given.
    """
    is_terminal = sys.stdout.isatty()
    if width is None:
        width = min(shutil.get_terminal_size((NARROW, 24)).columns, WIDE) if is_terminal else NARROW
    stream = io.StringIO()
    # rich keeps bold letters where NO_COLOR is set; whoever sets it wants plain text.
    console = Console(
        file=stream, force_terminal=is_terminal and not os.environ.get("NO_COLOR"), width=width, highlight=False
    )
    for part in _parts(explanation):
        console.print(part)
    lines = [line.rstrip() for line in stream.getvalue().split("\n")]
    kept = [line for i, line in enumerate(lines) if line or (i and lines[i - 1])]
    return "\n".join(kept).strip("\n")


def _parts(explanation: Explanation) -> Iterator[RenderableType]:
    question = explanation.question
    query = question.query
    yield Text(
        f"{shown(question.case)}, point {question.point}, {query.dtype}: its {query.operator}, node by node", "bold"
    )
    for line in filter(None, (question.description, question.source)):
        yield Text(shown(line), "dim")
    yield Text("")
    yield Padding(Text(shown(query.function.strip("\n"))), (0, 0, 1, 4))
    yield _heading("Forward: what every node is")
    yield _forward(explanation)
    yield _heading(f"Back: the adjoint of every node, the derivative of {shown(output_text(explanation))} by it")
    for name, text in cotangent_texts(explanation):
        yield Text(shown(f"  {name} = {text}"))
    yield _backward(explanation)
    yield _heading("Side by side")
    yield from _side_by_side(explanation)
    yield from _remarks(explanation)
    for reason, names in silent(explanation).items():
        yield Text(shown(f"– {listed(names)}, {reason}"), "dim")
    yield Text("")
    good = not explanation.departing and not explanation.disputes
    for sentence in conclusion(explanation):
        symbol = SYMBOLS["pass"] if good else SYMBOLS["fail"] if explanation.departing else SYMBOLS["disputed"]
        yield Text(shown(f"{symbol} {sentence}"), "green" if good else "red")


def _heading(text: str) -> Text:
    return Text(text, "bold")


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in columns:
        # A number that is folded can't be read; a list of names can.
        table.add_column(name, overflow="fold", justify="right" if name == "ulps" else "left", no_wrap=name == "ulps")
    return table


def _forward(explanation: Explanation) -> Table:
    table = _table("node", "value", "by")
    for step in explanation.steps:
        source = step.role if step.given is not None else "" if step.value is None else step.value.source
        table.add_row(Text(equation(step)), Text(value_text(step)), Text(shown(_output(step, source)), "dim"))
    return table


def _output(step: Step, text: str) -> str:
    return f"{text}, the output".removeprefix(", ") if step.is_output else text


def _backward(explanation: Explanation) -> Table:
    table = _table("node", "adjoint", "by", "where from")
    for step in reversed(explanation.steps):
        text = adjoint_text(step)
        if text:
            source = "" if step.adjoint is None else step.adjoint.source
            row = (equation(step), text, source, origin(step, explanation.steps))
            table.add_row(*(Text(shown(part), "dim" if i > 1 else "") for i, part in enumerate(row)))
    return table


def _side_by_side(explanation: Explanation) -> Iterator[RenderableType]:
    """What each target says of each node: what some say alike stands once, with their names."""
    steps = explanation.steps
    parts: dict[str, list[_Row]] = {
        "value": [(shown(step.name), kind_of(step), step.value) for step in steps],
        "adjoint": [(shown(step.name), "", step.adjoint) for step in reversed(steps)],
    }
    if _is_plain_worth_it(explanation):
        title = f"{explanation.question.query.operator} as a run asks for it"
        parts[title] = [(shown(key), "", side) for key, side in explanation.plain.items()]
    before: set[str] = set()
    for title, rows in parts.items():
        everybody = {name for _, _, side in rows if side is not None for name in side.cells}
        if everybody - before or before - everybody:
            yield Text(f"{len(everybody)} say something: {', '.join(map(shown, sorted(everybody)))}", "dim")
        before = everybody
        if everybody:
            yield _compared(title, rows, everybody)


def _is_plain_worth_it(explanation: Explanation) -> bool:
    """Whether somebody knows the derivative and nothing of the nodes, or departs only there."""
    plain = {name for side in explanation.plain.values() for name in side.cells}
    nodes = {name for step in explanation.steps if step.adjoint is not None for name in step.adjoint.cells}
    return bool(plain - nodes) or any(d.way == PLAIN for voice in explanation.voices for d in voice.departures)


def _compared(title: str, rows: Sequence[_Row], everybody: set[str]) -> Table:
    table = _table("node", title, "ulps", "who says so")
    for name, kind, side in rows:
        for i, (opinion, text) in enumerate(() if side is None else opinion_texts(side, kind)):
            style = "red" if opinion.cell.ruling in DEPARTING else ""
            table.add_row(
                Text("" if i else name, style),
                Text(text, style),
                Text(ulps_text(opinion.cell.finding), style),
                Text(_who(opinion, everybody), style),
            )
    return table


def _who(opinion: Opinion, everybody: set[str]) -> str:
    names = [shown(name) for name in opinion.targets]
    if len(names) == len(everybody) > 2:
        who = f"all {len(names)}"
    elif len(names) > max(2, len(everybody) / 2):
        who = f"the other {len(names)}"
    else:
        who = ", ".join(names)
    ruling = opinion.cell.ruling
    return who if ruling is None or ruling == "pass" else f"{SYMBOLS[ruling]} {ruling}: {who}"


def _remarks(explanation: Explanation) -> Iterator[RenderableType]:
    """What a target says besides numbers."""
    for voice in explanation.voices:
        if not voice.remarks:
            continue
        yield _heading(f"In symbols, as {shown(voice.target.name)} has it")
        for key, text in voice.remarks.items():
            line = f"the derivative by {shown(key)} is {shown(text)}" if key else shown(text)
            yield Padding(Text(line), (0, 0, 0, 2))
        yield Text("")
