"""JUnit XML, as CI systems read it: a suite for each target, a test for each query, worst first in the message."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # writing only: nothing is parsed
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradbench.judge import Finding, Ruling, Verdict
from gradbench.record import Run

if TYPE_CHECKING:
    import pandas as pd

_SKIPPED = {Ruling.UNSUPPORTED, Ruling.UNJUDGED, Ruling.INCONCLUSIVE, Ruling.CONVENTION}


def render(run: Run, verdicts: Sequence[Verdict], _frame: pd.DataFrame) -> str:
    """The whole file."""
    root = ET.Element("testsuites", name="gradbench")
    groups: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.record.target, verdict.record.device].append(verdict)
    for (target, device), members in groups.items():
        _suite(root, f"{target} on {device}", members, str(run.header.get("started", "")))
    for failed in run.targets.values():
        if failed.failure:
            suite = ET.SubElement(root, "testsuite", name=failed.name, tests="1", errors="1")
            test = ET.SubElement(suite, "testcase", name="start", classname=failed.name)
            ET.SubElement(test, "error", message=printable(failed.failure))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, name: str, verdicts: Sequence[Verdict], started: str) -> None:
    rulings = [verdict.ruling for verdict in verdicts]
    count = {
        "tests": len(verdicts),
        "failures": rulings.count(Ruling.FAIL),
        "errors": rulings.count(Ruling.ERROR) + rulings.count(Ruling.DISPUTED),
        "skipped": sum(ruling in _SKIPPED for ruling in rulings),
    }
    seconds = sum((v.record.first or 0) + (v.record.seconds or 0) for v in verdicts)
    facts = {key: str(value) for key, value in count.items()}
    facts |= {"name": name, "time": f"{seconds:.3f}", "timestamp": started}
    suite = ET.SubElement(root, "testsuite", facts)
    for verdict in verdicts:
        question, worst = verdict.question, verdict.worst
        test = ET.SubElement(
            suite, "testcase", name=question.query.id, classname=f"{verdict.record.target}.{question.topic}",
            time=f"{(verdict.record.first or 0) + (verdict.record.seconds or 0):.6f}",
            file=question.place.rpartition(":")[0], line=question.place.rpartition(":")[2],
        )  # fmt: skip
        if worst.ruling is Ruling.FAIL:
            ET.SubElement(test, "failure", type=worst.reason, message=_message(worst))
        elif worst.ruling in {Ruling.ERROR, Ruling.DISPUTED}:
            ET.SubElement(test, "error", type=worst.reason, message=_message(worst))
        elif worst.ruling in _SKIPPED:
            ET.SubElement(test, "skipped", message=f"{worst.ruling}: {_message(worst)}")


def _message(finding: Finding) -> str:
    found = finding.difference
    numbers = "" if found is None else f": {found.answered:g} where {found.right:g} is right, {found.ulps:.3g} ulps"
    key = f" by {finding.key}" if finding.key else ""
    return printable(f"{finding.detail}{key}{numbers}")


def printable(text: str) -> str:
    """The text without the control characters that XML can't hold."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
