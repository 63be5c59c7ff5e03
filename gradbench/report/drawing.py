"""The graph of an explanation, drawn: as SVG that stands in a page, and as text for Graphviz.

An `Explanation` enters; markup or text leaves. Every box says what a node is, its value and its adjoint, and who departs
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from gradbench.explanation import BACKWARD, FORWARD, PLAIN, Explanation, Step
from gradbench.report.graph import Point, picture
from gradbench.report.sentences import adjoint_text, equation, right_text, value_text
from gradbench.report.words import shown

LETTER: Final = 7.3
"""The width of a letter of a fixed-width font of 12 px, and a little more."""
LINE: Final = 17.0
LONGEST: Final = 34
"""A line of a box has at most so many letters; its title has all of them."""
DROP: Final = 44.0
MARGIN: Final = 6.0
_WAYS: Final = {FORWARD: "forward", BACKWARD: "back", PLAIN: "in a run"}


def lines(explanation: Explanation, step: Step) -> tuple[str, ...]:
    """What the box of an entry says: what it is, its value, its adjoint, and who departs there, if anybody does."""
    found = [equation(step)]
    value, adjoint = value_text(step), adjoint_text(step)
    found += [value] if value else []
    found += [f"adjoint {_sum(step)}{adjoint}"] if adjoint else []
    return (*found, *(f"✗ {shown(name)} {way}" for name, way in leaving(explanation, step)))


def _sum(step: Step) -> str:
    """Short shares of an adjoint, added up."""
    parts = [right_text(share.side.truth) for share in step.shares]
    if not parts or not all(0 < len(part) <= 8 for part in parts):
        return ""
    return f"{' + '.join(parts).replace('+ -', '- ')} = "


def leaving(explanation: Explanation, step: Step) -> Iterator[tuple[str, str]]:
    """Who departs at an entry, and which way."""
    for voice in explanation.voices:
        for departure in voice.departures:
            if departure.step == step.index:
                yield voice.target.name, _WAYS[departure.way]


def edges(explanation: Explanation) -> Iterator[tuple[int, int]]:
    """From each entry to those that are made of it."""
    for step in explanation.steps:
        yield from ((operand, step.index) for operand in step.operands)


# SVG


def svg(explanation: Explanation, name: str) -> Markup:
    """The graph as an `svg` element.

    Args:
        explanation: What to draw.
        name: What the ids in it begin with, so that several can stand in one page.
    """
    boxes = [lines(explanation, step) for step in explanation.steps]
    rows = max(map(len, boxes))
    widths = [max(LETTER * max(min(len(line), LONGEST) for line in box) + 18, 64) for box in boxes]
    height = LINE * rows + 10
    drawn = picture(widths, edges(explanation), height, DROP)
    count = sum(step.role == "node" for step in explanation.steps)
    title = f"The graph of {shown(explanation.question.case)}"
    words = "node" if count == 1 else "nodes"
    description = f"{count} {words}, each below what it is made of, with its value and its adjoint. The table below says the same."
    width, depth = drawn.width + 2 * MARGIN, drawn.height + 2 * MARGIN
    parts = [
        Markup(
            '<svg class="graph" role="img" aria-labelledby="{0}-title {0}-text" viewBox="{1} {1} {2} {3}"'
            ' width="{2}" height="{3}"><title id="{0}-title">{4}</title><desc id="{0}-text">{5}</desc>'
        ).format(name, _coordinate(-MARGIN), _coordinate(width), _coordinate(depth), title, description)
    ]
    parts += [Markup('<path class="flow" d="{}"/>').format(_path(points)) for points in drawn.lines.values()]
    parts += [Markup('<path class="head" d="{}"/>').format(_head(points[-1])) for points in drawn.lines.values()]
    for step, box, place, wide in zip(explanation.steps, boxes, drawn.boxes, widths, strict=True):
        parts.append(_box(explanation, step, box, place, wide, height))
    return Markup("").join([*parts, Markup("</svg>")])


def _box(
    explanation: Explanation, step: Step, texts: Sequence[str], place: Point, width: float, height: float
) -> Markup:
    departs = any(True for _ in leaving(explanation, step))
    classes = ["box", step.role, *(["output"] if step.is_output else []), *(["departs"] if departs else [])]
    x, y = place
    made = [
        Markup('<g class="{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="6"/>').format(
            " ".join(classes), "\n".join(texts), *map(_coordinate, (x - width / 2, y, width, height))
        )
    ]
    first = y + (height - LINE * len(texts)) / 2 + LINE * 0.76
    for i, text in enumerate(texts):
        word = (
            "name"
            if i == 0
            else "leaves"
            if text.startswith("✗")
            else "adjoint"
            if text.startswith("adjoint")
            else "value"
        )
        made.append(
            Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
                word, _coordinate(x), _coordinate(first + LINE * i), _cut(text)
            )
        )
    return Markup("").join([*made, Markup("</g>")])


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _coordinate(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _path(points: Sequence[Point]) -> str:
    """Through the points, always downwards where a box is left or reached."""
    found = [f"M{_coordinate(points[0][0])} {_coordinate(points[0][1])}"]
    for (a, b), (c, d) in pairwise(points):
        if a == c:
            found.append(f"V{_coordinate(d)}")
        else:
            middle = _coordinate((b + d) / 2)
            found.append(f"C{_coordinate(a)} {middle} {_coordinate(c)} {middle} {_coordinate(c)} {_coordinate(d)}")
    return "".join(found)


def _head(point: Point) -> str:
    x, y = point
    return f"M{_coordinate(x - 3.5)} {_coordinate(y - 7)}L{_coordinate(x)} {_coordinate(y)}L{_coordinate(x + 3.5)} {_coordinate(y - 7)}z"


# Graphviz


def dot(explanation: Explanation) -> str:
    """The graph in Graphviz's language; where something is used several times, edges bear the shares of its adjoint."""
    question = explanation.question
    title = f"{question.case}, point {question.point}, {question.query.dtype}: {question.query.operator}"
    text = [
        f"digraph {_quoted(question.case)} {{",
        f"  graph [label={_quoted(title)}, labelloc=t, fontname=monospace];",
        "  node [shape=box, fontname=monospace];",
        "  edge [fontname=monospace];",
    ]
    for step in explanation.steps:
        found = [f"label={_quoted(*lines(explanation, step))}"]
        found += ["style=rounded"] if step.role != "node" else []
        found += ["peripheries=2"] if step.is_output else []
        found += ["color=red", "fontcolor=red"] if any(True for _ in leaving(explanation, step)) else []
        text.append(f"  n{step.index} [{', '.join(found)}];")
    shares: dict[tuple[int, int], list[str]] = {}
    for step in explanation.steps:
        for share in step.shares:
            shares.setdefault((step.index, share.user), []).append(right_text(share.side.truth) or "?")
    for edge in dict.fromkeys(edges(explanation)):
        label = f" [label={_quoted(', '.join(shares[edge]))}]" if edge in shares else ""
        text.append(f"  n{edge[0]} -> n{edge[1]}{label};")
    return "\n".join([*text, "}"])


def _quoted(*texts: str) -> str:
    """A string of Graphviz's with a line for each text."""
    escaped = (shown(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for text in texts)
    return '"' + "\\n".join(escaped) + '"'
