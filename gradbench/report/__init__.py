"""A table to html, csv, junit and text. Each format is a module; `write` calls those asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradbench.record import Run

if TYPE_CHECKING:
    import pandas as pd

    from gradbench.judge import Verdict

NAMES = {
    "html": "index.html",
    "csv": "results.csv",
    "junit": "junit.xml",
    "json": "results.json",
    "coverage": "coverage.csv",
}


def write(run: Run, verdicts: Sequence[Verdict], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Writes the report of a run, each file whole or not at all.

    Returns:
        The files written.
    """
    from gradbench.report import html, junit, plain
    from gradbench.table import rows

    frame = rows(verdicts)
    makers: dict[str, Callable[[Run, Sequence[Verdict], pd.DataFrame], str]] = {
        "html": html.render,
        "csv": plain.csv,
        "junit": junit.render,
        "json": plain.json,
        "coverage": plain.coverage,
    }
    written = []
    for name in formats:
        path = folder / NAMES[name]
        draft = path.with_suffix(path.suffix + ".part")
        draft.write_text(makers[name](run, verdicts, frame), encoding="utf-8", newline="")
        draft.replace(path)
        written.append(path)
    return written
