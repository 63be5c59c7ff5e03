"""JUnit XML, as CI systems read it: a suite for each target, a test for each query, worst first in the message."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree  # writing only: nothing is parsed
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
    root = ElementTree.Element("testsuites", name="gradbench")
    groups: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.record.target, verdict.record.device].append(verdict)
    for (target, device), members in groups.items():
        _suite(root, f"{target} on {device}", members, str(run.header.get("started", "")))
    for failed in run.targets.values():
        if failed.failure:
            suite = ElementTree.SubElement(root, "testsuite", name=failed.name, tests="1", errors="1")
            test = ElementTree.SubElement(suite, "testcase", name="start", classname=failed.name)
            ElementTree.SubElement(test, "error", message=printable(failed.failure))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, name: str, verdicts: Sequence[Verdict], started: str) -> None:
    rulings = [verdict.ruling for verdict in verdicts]
    count = {
        "tests": len(verdicts),
        "failures": rulings.count(Ruling.FAIL),
        "errors": rulings.count(Ruling.ERROR) + rulings.count(Ruling.DISPUTED),
        "skipped": sum(ruling in _SKIPPED for ruling in rulings),
    }
    seconds = sum((v.record.first or 0) + (v.record.seconds or 0) for v in verdicts)
    facts = {key: str(value) for key, value in count.items()}
    suite = ElementTree.SubElement(root, "testsuite", name=name, **facts, time=f"{seconds:.3f}", timestamp=started)
    for verdict in verdicts:
        question, worst = verdict.question, verdict.worst
        test = ElementTree.SubElement(
            suite, "testcase", name=question.query.id, classname=f"{verdict.record.target}.{question.topic}",
            time=f"{(verdict.record.first or 0) + (verdict.record.seconds or 0):.6f}",
            file=question.place.rpartition(":")[0], line=question.place.rpartition(":")[2],
        )  # fmt: skip
        if worst.ruling is Ruling.FAIL:
            ElementTree.SubElement(test, "failure", type=worst.reason, message=_message(worst))
        elif worst.ruling in {Ruling.ERROR, Ruling.DISPUTED}:
            ElementTree.SubElement(test, "error", type=worst.reason, message=_message(worst))
        elif worst.ruling in _SKIPPED:
            ElementTree.SubElement(test, "skipped", message=f"{worst.ruling}: {_message(worst)}")


def _message(finding: Finding) -> str:
    found = finding.difference
    numbers = "" if found is None else f": {found.answered:g} where {found.right:g} is right, {found.ulps:.3g} ulps"
    key = f" by {finding.key}" if finding.key else ""
    return printable(f"{finding.detail}{key}{numbers}")


def printable(text: str) -> str:
    """The text without the control characters that XML can't hold."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
