"""JUnit XML, as CI systems read it: a suite for each target, a test for each query, worst first in the message."""

from __future__ import annotations

import shutil
import tempfile
import xml.etree.ElementTree as ET  # writing only: nothing is parsed
from typing import Final, TextIO

from gradbench.judge import Finding, Ruling, Verdict
from gradbench.record import Recorded
from gradbench.report.stream import Batch, Format

IN_MEMORY: Final = 1 << 20
"""Bytes of a suite: more of it waits in a file."""
_SKIPPED = {Ruling.UNSUPPORTED, Ruling.UNJUDGED, Ruling.INCONCLUSIVE, Ruling.CONVENTION}


class Junit(Format):
    """The whole file: tests wait in a file for each suite until it is known how many there are."""

    def __init__(self, run: Recorded, stream: TextIO) -> None:
        self.run, self.stream = run, stream
        self.suites: dict[tuple[str, str], _Suite] = {}

    def add(self, batch: Batch) -> None:
        """A test for each answer to one question."""
        for verdict in batch.verdicts:
            key = verdict.record.target, verdict.record.device
            if key not in self.suites:
                self.suites[key] = _Suite()
            self.suites[key].add(verdict)

    def finish(self) -> None:
        """Writes the whole."""
        write = self.stream.write
        started = str(self.run.header.get("started", ""))
        failed = [target for target in self.run.targets.values() if target.failure]
        write(
            f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="gradbench"{"" if self.suites or failed else " /"}>\n'
        )
        for (target, device), suite in self.suites.items():
            facts = {key: str(value) for key, value in suite.count.items()}
            facts |= {"name": f"{target} on {device}", "time": f"{suite.seconds:.3f}", "timestamp": started}
            write(_text(ET.Element("testsuite", facts), 1).removesuffix(" />\n") + ">\n")
            suite.pour(self.stream)
            write("  </testsuite>\n")
        for absent in failed:
            element = ET.Element("testsuite", name=absent.name, tests="1", errors="1")
            test = ET.SubElement(element, "testcase", name="start", classname=absent.name)
            ET.SubElement(test, "error", message=absent.failure)
            write(_text(element, 1))
        write("</testsuites>\n" if self.suites or failed else "")

    def close(self) -> None:
        """Lets go of the waiting tests."""
        for suite in self.suites.values():
            suite.tests.close()


class _Suite:
    """The tests of one target, which wait in a file, and how many there are."""

    def __init__(self) -> None:
        self.count = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
        self.seconds = 0.0
        self.tests = tempfile.SpooledTemporaryFile(IN_MEMORY, "w+", encoding="utf-8", newline="")  # noqa: SIM115  # closed by the report

    def add(self, verdict: Verdict) -> None:
        question, record, worst = verdict.question, verdict.record, verdict.worst
        seconds = (record.first or 0) + (record.seconds or 0)
        test = ET.Element(
            "testcase", name=question.query.id, classname=f"{record.target}.{question.topic}", time=f"{seconds:.6f}",
            file=question.place.rpartition(":")[0], line=question.place.rpartition(":")[2],
        )  # fmt: skip
        self.seconds += seconds
        self.count["tests"] += 1
        if worst.ruling is Ruling.FAIL:
            self.count["failures"] += 1
            ET.SubElement(test, "failure", type=worst.reason, message=_message(worst))
        elif worst.ruling in {Ruling.ERROR, Ruling.DISPUTED}:
            self.count["errors"] += 1
            ET.SubElement(test, "error", type=worst.reason, message=_message(worst))
        elif worst.ruling in _SKIPPED:
            self.count["skipped"] += 1
            ET.SubElement(test, "skipped", message=f"{worst.ruling}: {_message(worst)}")
        self.tests.write(_text(test, 2))

    def pour(self, stream: TextIO) -> None:
        """Writes the tests."""
        self.tests.seek(0)
        shutil.copyfileobj(self.tests, stream)


def _text(element: ET.Element, level: int) -> str:
    """An element at its level, with whatever XML can't hold made visible."""
    for part in element.iter():
        for name, text in part.attrib.items():
            if not text.isprintable():
                part.set(name, printable(text))
    ET.indent(element, level=level)
    return f"{'  ' * level}{ET.tostring(element, encoding='unicode')}\n"


def _message(finding: Finding) -> str:
    found = finding.difference
    numbers = "" if found is None else f": {found.answered:g} where {found.right:g} is right, {found.ulps:.3g} ulps"
    key = f" by {finding.key}" if finding.key else ""
    return f"{finding.detail}{key}{numbers}"


def printable(text: str) -> str:
    """The text without the control characters that XML can't hold."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
