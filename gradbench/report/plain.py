"""The rows as CSV and as JSON, for spreadsheets and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradbench.record import Run

if TYPE_CHECKING:
    import pandas as pd

    from gradbench.judge import Verdict

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv(_run: Run, _verdicts: Sequence[Verdict], frame: pd.DataFrame) -> str:
    """Tidy CSV: a row for each case, point, operator, input, dtype, target and device.

    Numbers round-trip; a text that a spreadsheet would run as a formula is preceded by an apostrophe.
    """
    safe = frame.copy()
    for name in safe.columns:
        if safe[name].dtype == object and name not in {"answer", "truth"}:  # these are numbers or our own words
            safe[name] = safe[name].map(harmless)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def coverage(_run: Run, verdicts: Sequence[Verdict], _frame: pd.DataFrame) -> str:
    """What was answered at all, as CSV: a row for each primitive, target, operator and number format."""
    from gradbench.report.coverage import coverage as covered

    found = covered(verdicts)
    found["reason"] = found["reason"].map(harmless)
    return str(found.to_csv(index=False, lineterminator="\n"))


def harmless(text: object) -> object:
    """A text that no spreadsheet takes for a formula, and no terminal for a command."""
    if not isinstance(text, str):
        return text
    clean = "".join(c if c.isprintable() else " " for c in text)
    return f"'{clean}" if clean.startswith(_FORMULA) else clean


def json(_run: Run, _verdicts: Sequence[Verdict], frame: pd.DataFrame) -> str:
    """The rows as a JSON list of objects; NaN is null."""
    return str(frame.to_json(orient="records", double_precision=15, indent=1))
