"""Verdicts to html, csv, junit and text. Each format reads them as they come; `write` calls those asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gradbench.record import Recorded

if TYPE_CHECKING:
    from gradbench.judge import Verdict
    from gradbench.report.stream import Format, Reader

NAMES = {
    "html": "index.html",
    "csv": "results.csv",
    "junit": "junit.xml",
    "json": "results.json",
    "coverage": "coverage.csv",
}


def write(
    run: Recorded, verdicts: Iterable[Verdict], folder: Path, formats: Sequence[str], *readers: Reader
) -> list[Path]:
    """Writes the report of a run in one pass over its verdicts, each file whole or not at all.

    Args:
        run: Whose verdicts they are.
        verdicts: Those on one question one after the other, and the questions of one `record.spot` too.
        folder: Where to write.
        formats: What to write, by the names of `NAMES`.
        readers: Who else reads the verdicts.

    Returns:
        The files written.
    """
    from gradbench.report import html, junit, plain
    from gradbench.report.stream import batches

    makers: dict[str, Callable[[Recorded, TextIO], Format]] = {
        "html": html.Page,
        "csv": plain.Csv,
        "junit": junit.Junit,
        "json": plain.Json,
        "coverage": plain.CoverageCsv,
    }
    drafts = {name: folder / f"{NAMES[name]}.part" for name in formats}
    with ExitStack() as stack:
        for draft in drafts.values():
            stack.callback(draft.unlink, missing_ok=True)
        with ExitStack() as streams:
            parts = [
                makers[name](run, streams.enter_context(draft.open("w", encoding="utf-8", newline="")))
                for name, draft in drafts.items()
            ]
            for part in parts:
                streams.callback(part.close)
            for batch in batches(verdicts):
                for reader in (*parts, *readers):
                    reader.add(batch)
            for part in parts:
                part.finish()
        return [draft.replace(folder / NAMES[name]) for name, draft in drafts.items()]
