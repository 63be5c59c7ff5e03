"""An explanation as HTML: a panel for the report of a run, and a page of its own.

An `Explanation` enters; markup leaves. Both need nothing else: no network, no server, no program.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gradbench import __version__
from gradbench.explanation import DEPARTING, Cell, Explanation, Side
from gradbench.language import parse
from gradbench.report import html
from gradbench.report.drawing import leaving, svg
from gradbench.report.mathematics import mathematics
from gradbench.report.sentences import (
    adjoint_text,
    answer_text,
    conclusion,
    cotangent_texts,
    equation,
    kind_of,
    origin,
    output_text,
    right_text,
    silent,
    ulps_text,
    value_text,
)
from gradbench.report.terminal import SYMBOLS
from gradbench.report.words import shown


def write(explanation: Explanation, folder: Path, options: Sequence[str] = ()) -> list[Path]:
    """Writes the page of an explanation, and puts its panel into the report of a run that is in the same folder.

    Args:
        explanation: What to write.
        folder: Where to.
        options: Of the command that makes the same again, beside the case, its file and the folder.

    Returns:
        The files written.
    """
    report = folder / html_name()
    path = folder / file_name(explanation)
    has_report = report.exists()
    written = {path: page(explanation, html_name() if has_report else "", [*options, "--report", str(folder)])}
    if has_report:
        before = report.read_text(encoding="utf-8")
        after = inserted(before, explanation)
        if after is not None:
            written[report] = after
    for target, text in written.items():
        draft = target.with_suffix(target.suffix + ".part")
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(target)
    return list(written)


def html_name() -> str:
    """What the report of a run is called."""
    from gradbench.report import NAMES

    return NAMES["html"]


def file_name(explanation: Explanation) -> str:
    """What the page of a case, point and dtype is called: the case's name, as far as a file can have it."""
    question = explanation.question
    plain = re.sub(r"[^\w.-]", "-", question.case)
    if plain != question.case:
        plain += f"-{hashlib.sha256(question.case.encode()).hexdigest()[:8]}"
    point = "" if question.point == 1 else f".{question.point}"
    dtype = "" if question.query.dtype in {"float64", "complex128"} else f".{question.query.dtype}"
    return f"explain-{plain}{point}{dtype}.html"


def title(explanation: Explanation) -> str:
    """What is explained, beside the case."""
    question = explanation.question
    return f"the {question.query.operator} at point {question.point} in {question.query.dtype}, node by node"


def panel(explanation: Explanation) -> Markup:
    """The graph, every node with its numbers, and what each target says."""
    slug = hashlib.sha256(explanation.question.query.id.encode()).hexdigest()[:8]
    targets = _targets(explanation)
    text = html.filled(
        "explanation.html.j2",
        title=f"{explanation.question.case}, {title(explanation)}",
        good=not explanation.departing and not explanation.disputes,
        conclusion=list(conclusion(explanation)),
        output=output_text(explanation),
        svg=svg(explanation, f"graph-{slug}"),
        cotangents=list(cotangent_texts(explanation)),
        nodes=_nodes(explanation),
        targets=targets,
        groups=_groups(explanation, targets),
        any_none=any(not voice.is_complete for voice in explanation.voices),
        remarks=[(v.target.name, key, text) for v in explanation.voices for key, text in v.remarks.items()],
        silent=silent(explanation),
        symbols=SYMBOLS,
    )
    return Markup(text)  # noqa: S704  # the template has escaped every text


def page(explanation: Explanation, report: str = "", options: Sequence[str] = ()) -> str:
    """The whole page.

    Args:
        explanation: What to show.
        report: The report to link back to.
        options: Of the command that makes the same again.
    """
    question = explanation.question
    style = html.styles()
    file, _, _ = question.place.rpartition(":")
    return html.filled(
        "explained.html.j2",
        policy=html.policy(style),
        version=__version__,
        style=style,
        case=question.case,
        title=title(explanation),
        description=question.description,
        source=question.source,
        place=question.place,
        command=shlex.join(["gradbench", "explain", question.case, *filter(None, [file]), *options]),
        back=f"{report}{html.address({'case': question.case})}" if report else "",
        mathematics=Markup(mathematics(parse(question.query.function, question.query.names))),  # noqa: S704  # escaped
        function=question.query.function.strip("\n"),
        panel=panel(explanation),
    )


def inserted(text: str, explanation: Explanation) -> str | None:
    """The report of a run with the panel of an explanation in its case, in the place of an older one of the same.

    None where the text is no report that has room for one.
    """
    if text.count(html.EXPLANATIONS) != 1:
        return None
    question = explanation.question
    part = f"point {question.point}, {question.query.dtype}"
    opening = Markup('<template class="explanation" data-case="{}" data-part="{}">').format(
        shown(question.case), shown(part)
    )
    before, found, rest = text.partition(opening)
    if found:
        text = before + rest.partition("</template>\n")[2]
    link = Markup('<p><a href="{}">A page of its own</a></p>\n').format(file_name(explanation))
    return text.replace(html.EXPLANATIONS, f"{opening}{panel(explanation)}{link}</template>\n{html.EXPLANATIONS}")


def _targets(explanation: Explanation) -> list[str]:
    """Everybody with a number to show."""
    sides = [*explanation.plain.values()]
    sides += [side for step in explanation.steps for side in (step.value, step.adjoint) if side is not None]
    return sorted({name for side in sides for name in side.cells})


def _nodes(explanation: Explanation) -> list[dict[str, Any]]:
    return [
        {
            "equation": equation(step),
            "value": value_text(step),
            "value_source": step.role if step.given is not None else "" if step.value is None else step.value.source,
            "adjoint": adjoint_text(step),
            "adjoint_source": "" if step.adjoint is None else step.adjoint.source,
            "origin": origin(step, explanation.steps) if adjoint_text(step) else "",
            "is_output": step.is_output,
            "departs": any(True for _ in leaving(explanation, step)),
        }
        for step in explanation.steps
    ]


def _groups(explanation: Explanation, targets: Sequence[str]) -> list[dict[str, Any]]:
    """What is right and what each target says: of values, of adjoints, and as a run asks for the derivative."""
    steps = explanation.steps
    operator = explanation.question.query.operator
    values = [_row(step.name, step.value, targets, kind_of(step)) for step in steps if step.value is not None]
    adjoints = []
    for step in reversed(steps):
        if step.adjoint is not None:
            adjoints.append(_row(step.name, step.adjoint, targets))
            adjoints += [_row(f"… from {steps[s.user].name}", s.side, targets) for s in step.shares]
    plain = [_row(key, side, targets) for key, side in explanation.plain.items()]
    groups = {"Values": values, "Adjoints": adjoints, f"The {operator} as a run asks for it": plain}
    return [{"title": name, "rows": rows} for name, rows in groups.items() if rows]


def _row(name: str, side: Side, targets: Sequence[str], kind: str = "") -> Mapping[str, Any]:
    cells = [_cell(side.cells[target], kind) if target in side.cells else None for target in targets]
    return {"name": name, "right": right_text(side.truth, kind) or "?", "cells": cells}


def _cell(cell: Cell, kind: str) -> Mapping[str, Any]:
    return {
        "text": answer_text(cell.answer, kind),
        "ulps": ulps_text(cell.finding),
        "ruling": str(cell.ruling or ""),
        "bad": cell.ruling in DEPARTING,
    }
