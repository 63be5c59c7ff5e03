"""The report as one HTML file that needs nothing else: no network, no server, no other file.

A run and its verdicts enter, question by question; the text of the page leaves. What can be read without a program (the
first page, agreement, accuracy, time) is written out by the template; cases and rows are drawn in the browser from
the packed tables of `data`, a window of them at a time. The page's own policy forbids it every request.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup

from gradbench import __version__
from gradbench.conventions import KINDS, Conventions
from gradbench.judge import Verdict
from gradbench.record import Recorded
from gradbench.report import data, figures, overview, words
from gradbench.report.agreement import Agreeing, Agreement
from gradbench.report.columns import Column, columns_of
from gradbench.report.coverage import Coverage
from gradbench.report.stream import Batch, Format, batches
from gradbench.report.terminal import SYMBOLS

FOLDER: Final = Path(__file__).parent / "page"
SCRIPTS: Final = ("store.js", "state.js", "grid.js", "case.js", "page.js")
"""The programs of the page, in the order in which they need each other."""
STYLES: Final = ("style.css", "explanation.css")
EXPLANATIONS: Final = Markup("<!-- explanations -->")
"""Where the explanations of cases are put in, of which a run has none."""


def render(run: Recorded, verdicts: Iterable[Verdict]) -> str:
    """The whole page."""
    stream = io.StringIO()
    page = Page(run, stream)
    for batch in batches(verdicts):
        page.add(batch)
    page.finish()
    return stream.getvalue()


class Page(Format):
    """The page while its tables are filled, question by question."""

    def __init__(self, run: Recorded, stream: TextIO) -> None:
        self.run, self.stream = run, stream
        self.overview, self.tables, self.agreeing = overview.Overview(), data.Tables(), Agreeing()
        self.coverage, self.conventions, self.stopwatch = Coverage(), Conventions(), figures.Stopwatch()

    def add(self, batch: Batch) -> None:
        """The answers to one question."""
        self.overview.add(batch)
        self.tables.add(batch.verdicts)
        self.agreeing.add(batch.verdicts)
        self.stopwatch.add(batch.verdicts)
        for verdict in batch.verdicts:
            self.coverage.add(verdict)
            self.conventions.add(verdict)

    def finish(self) -> None:
        """Writes the page."""
        view, run = self.overview, self.run
        found = columns_of(view.targets)
        labels = {column.environment: column.label for column in found}
        agreed = self.agreeing.between(found)
        times = self.stopwatch.times(labels)
        style = styles()
        # One function around them all keeps every name of ours out of the window.
        script = Markup('"use strict";\n(() => {\n' + "\n".join(map(_file, SCRIPTS)) + "\n})();\n")  # noqa: S704
        cases = len(set().union(*view.cases.values()))
        facts = {
            "run": run,
            "runs": overview.runs(run),
            "version": __version__,
            "columns": found,
            "totals": view.totals(found),
            "used": view.used(),
            "topics": view.topics(found),
            "kinds": view.kinds(found),
            "findings": view.findings(found),
            "clashes": {"rows": view.clashes.rows(), "answers": view.clashes.count},
            "failures": [target for target in run.targets.values() if target.failure],
            "meanings": overview.MEANINGS,
            "symbols": SYMBOLS,
            "cases": cases,
            "rows": view.rows,
            "left": self.tables.left_out | {"cases": cases - len(self.tables.cases)},
            "agreement": _pairs(agreed, found),
            "accuracy": figures.accuracy(view.errors, labels),
            "edges": figures.NAMES,
            "times": times,
            "ticks": figures.axis(times),
            "cheap": figures.CHEAP,
            "coverage": overview.covered(self.coverage, found),
            "conventions": overview.conventions(self.conventions, found),
            "meanings_of_conventions": KINDS,
            "style": style,
            "script": script,
            "policy": policy(style, script),
            "explanations": EXPLANATIONS,
            "packed": data.packed(self.tables.whole(found, agreed) | {"symbols": SYMBOLS}),
        }
        for part in _environment().get_template("report.html.j2").generate(**facts):
            self.stream.write(part)


def styles() -> Markup:
    """The style of every page of ours."""
    return Markup("".join(map(_file, STYLES)))  # noqa: S704  # our own files


def filled(template: str, **facts: Any) -> str:
    """A template with its facts filled in, every text escaped."""
    return _environment().get_template(template).render(**facts)


def _file(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters |= {
        "seconds": words.seconds,
        "brief": words.brief,
        "percent": words.percent,
        "address": address,
        "place": _place,
    }
    environment.globals |= {"bars": figures.bars}
    return environment


def _visible(value: Any) -> Any:
    """Everything a template writes, with what can't be seen made visible."""
    return words.shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def address(view: Mapping[str, str | Sequence[str]]) -> str:
    """A view as the part of an address after the hash, in the names that the page shows."""
    words_of = {key: [value] if isinstance(value, str) else value for key, value in view.items()}
    return f"#{urlencode([(key, words.shown(word)) for key, found in words_of.items() for word in found])}"


def _place(value: float, low: float, high: float, width: float) -> float:
    """Where a number stands on a logarithmic axis."""
    share = (math.log(max(value, 1e-300)) - math.log(low)) / (math.log(high) - math.log(low))
    return round(width * min(max(share, 0.0), 1.0), 1)


def policy(style: str, script: str = "") -> str:
    """What a page may do: use this style and this script, and nothing else in the world."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    rules = {
        "default-src": "'none'",
        "style-src": f"'sha256-{digests[0]}'",
        "script-src": f"'sha256-{digests[1]}'" if script else "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{key} {value}" for key, value in rules.items())


def _pairs(agreed: Agreement, found: Sequence[Column]) -> list[dict[str, Any]]:
    """A row for each column, with a cell for each other."""
    rows = []
    for i, column in enumerate(found):
        cells = []
        for j, other in enumerate(found):
            compared, same = int(agreed.compared[i, j]), int(agreed.agreeing[i, j])
            share = same / compared if compared else math.nan
            cells.append({"other": other.label, "self": i == j, "compared": compared, "same": same, "share": share})
        rows.append({"label": column.label, "cells": cells, "alone": int(agreed.alone[i])})
    return rows
