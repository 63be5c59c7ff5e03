"""What a terminal shows: progress, the summary of a run, one case, and what is installed."""

from __future__ import annotations

import importlib.metadata
import io
import math
import os
import platform
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gradbench.record import Record, Recorded, Target
from gradbench.report.words import shown

if TYPE_CHECKING:
    from gradbench.case import Case
    from gradbench.judge import Verdict
    from gradbench.report.stream import Batch

SYMBOLS = {
    "pass": "✓", "fail": "✗", "error": "!", "disputed": "⚖", "inconclusive": "?", "unjudged": "·", "convention": "≈",
    "unsupported": "–",
}  # fmt: skip
"""A symbol beside each word, so that colour never stands alone."""

SHOWN = 20
"""How many kinds of failure a summary names."""


class Progress:
    """A bar on a terminal, nothing where standard error is piped. `watch` is called with every event of a run."""

    def __init__(self, records: int, targets: int) -> None:
        self.total, self.targets, self.started = records, targets, 0
        self.bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(
                f"starting {self.targets} targets" if self.targets else "waiting for parts", total=self.total
            )
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, count: int) -> None:
        """Moves the bar by so many."""
        if self.bar is not None:
            self.bar.update(self.task, advance=count)

    def watch(self, event: Target | Record) -> None:
        """Moves the bar."""
        if isinstance(event, Target):
            self.started += 1
            if event.failure:
                sys.stderr.write(f"{shown(event.name)} can't start: {first_line(event.failure)}\n")
        if self.bar is None:
            return
        if isinstance(event, Target):
            self.bar.update(self.task, description=f"{self.started} of {self.targets} targets up")
        else:
            self.bar.update(self.task, advance=1)


def first_line(text: str) -> str:
    """The first line of a text, control characters replaced."""
    return shown(text.partition("\n")[0])


class Summary:
    """What a terminal shows of verdicts, while they come: it reads `stream.Batch`es."""

    def __init__(self) -> None:
        from gradbench.judge import Ruling
        from gradbench.report.clashes import Clashes

        self.bad = {Ruling.FAIL, Ruling.ERROR, Ruling.DISPUTED}
        self.groups: dict[tuple[str, str, str], _Group] = {}
        self.counts: Counter[tuple[str, str, str, str]] = Counter()
        self.worse: set[tuple[str, bool]] = set()
        self.clashes = Clashes(0)

    def add(self, batch: Batch) -> None:
        """The verdicts on one question."""
        self.clashes.add(batch.clashes)
        for verdict in batch.verdicts:
            name, record = verdict.record.target, verdict.record
            version = verdict.target.versions.get(name.partition(":")[0], "")
            for finding in verdict.findings:
                self.counts[name, record.device, version, finding.ruling.value] += 1
            if verdict.ruling not in self.bad:
                continue
            self.worse.add((name, verdict.target.reference))
            key = name, verdict.ruling.value, verdict.worst.reason
            if key not in self.groups:
                self.groups[key] = _Group(failure_line(verdict) if len(self.groups) < SHOWN else "")
            self.groups[key].count += 1
            self.groups[key].cases.add(verdict.question.case)

    def is_worse(self, asked: Sequence[str]) -> bool:
        """Whether somebody who is judged isn't right.

        A reference beyond its own error bar is our business, not that of whoever asked about a framework.
        """
        return any(name in asked or not reference for name, reference in self.worse)

    def lines(self, run: Recorded) -> Iterator[str]:
        """The failures by target and kind, and a table of how often each verdict was given to each target."""
        for group in list(self.groups.values())[:SHOWN]:
            cases = len(group.cases)
            more = f"; {group.count - 1} more like it, {cases} case{'s' if cases > 1 else ''} in all"
            yield group.line + (more if group.count > 1 else "")
        if len(self.groups) > SHOWN:
            yield f"… and {len(self.groups) - SHOWN} more kinds"
        for broken in self.clashes.kinds():
            more = f"; {broken.count - 1} more like it" if broken.count > 1 else ""
            first = broken.first
            yield shown(f"≠ {' and '.join(first.targets)} {first.query}: {first.law}: {first.sentence}{more}")
        yield self._table()
        for target in run.targets.values():
            if target.failure:
                yield f"{shown(target.name)} is absent: it could not start: {first_line(target.failure)}"
        if not run.complete:
            yield f"the run was cut short: {run.count} records are all there is of it"

    def _table(self) -> str:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from gradbench.judge import WORST

        table = Table()
        for name in ("target", "device", "version"):
            table.add_column(name, no_wrap=True)
        seen = {ruling for *_, ruling in self.counts} | {"pass", "fail"}
        given = [ruling.value for ruling in reversed(WORST) if ruling in seen] if self.counts else []
        for name in given:
            table.add_column(f"{SYMBOLS[name]} {name}", justify="right", no_wrap=True)
        for who in sorted({(name, device, version) for name, device, version, _ in self.counts}):
            numbers = (self.counts[*who, name] for name in given)
            # As `Text`, because a name in brackets would be taken for markup.
            table.add_row(*(Text(shown(str(part))) if part else "" for part in (*who, *numbers)))
        stream = io.StringIO()
        # rich keeps bold letters where NO_COLOR is set; whoever sets it wants plain text.
        styled = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        Console(file=stream, force_terminal=styled, width=200).print(table)
        return "\n".join(line.rstrip() for line in stream.getvalue().rstrip("\n").split("\n"))


@dataclass
class _Group:
    """Failures of one kind: the first of them in one line, how many there are, and in which cases."""

    line: str
    count: int = 0
    cases: set[str] = field(default_factory=set)


def failure_line(verdict: Verdict) -> str:
    """One failure in one line: where, who, what was said and what is right."""
    worst, question = verdict.worst, verdict.question
    found = worst.difference
    numbers = ""
    if found is not None:
        answered = found.answered.real if found.answered.imag == 0 else found.answered
        ulps = "" if math.isnan(found.ulps) else f" ({found.ulps:.3g} ulps)"
        numbers = f": {answered!r} where {found.right!r} is right{ulps}"
    key = f" by {worst.key}" if worst.key else ""
    text = f"{worst.ruling} {worst.reason}: {first_line(worst.detail)}{numbers}"
    return shown(f"{SYMBOLS[worst.ruling]} {verdict.record.target} {question.query.id}{key}: {text}")


def show_case(case: Case) -> str:
    """A case in plain text."""
    from gradbench.plan import plan
    from gradbench.program import Literal, Ref

    names = list(case.program.names) + [node.name or f"v{i}" for i, node in enumerate(case.program.nodes, start=1)]

    def word(argument: Any) -> str:
        if isinstance(argument, Ref):
            return names[argument.index]
        return repr(argument.value) if isinstance(argument, Literal) else f"[{', '.join(map(word, argument))}]"

    lines = [case.name, *([case.description] if case.description else []), *([case.source] if case.source else [])]
    lines += [
        f"{case.place}",
        "",
        "function",
        *(f"    {line}" for line in case.function.strip().splitlines()),
        "",
        "steps",
    ]
    for i, node in enumerate(case.program.nodes):
        statics = [f"{key}={value!r}" for key, value in node.statics]
        call = f"{node.primitive}({', '.join([*map(word, node.arguments), *statics])})"
        lines.append(f"    {names[len(case.program.names) + i]} = {call}")
    returned = ", ".join(word(argument) for _, argument in case.program.outputs)
    lines += [f"    return {returned}", "", "points"]
    for point in case.points:
        values = ", ".join(f"{name} = {array.tolist()}" for name, array in {**point.inputs, **point.constants}.items())
        lines.append(f"    {point.number}: {values}")
        for answer in point.answers:
            for key, stated in answer.stated.items():
                by = f" by {key}" if key else ""
                lower, upper = stated.lower.tolist(), stated.upper.tolist()
                said = lower if lower == upper or stated.words else f"from {lower} to {upper}"
                lines.append(f"        {answer.operator}{by}: {stated.words or said}")
    asked = sorted({str(question.query.operator) for question in plan([case])})
    lines += ["", f"asked: {', '.join(asked)}"]
    if case.rules:
        lines += [f"by hand: {', '.join(case.rules)}"]
    return shown("\n".join(lines))


def diagnosis() -> Iterator[str]:
    """Which frameworks, versions and devices are here, and what is missing."""
    from gradbench import __version__, registry
    from gradbench.device import gpus

    yield f"gradbench {__version__}, Python {platform.python_version()}, {platform.platform()}"
    found = gpus()
    yield f"devices: cpu{''.join(f', cuda:{i} ({name})' for i, name in enumerate(found.names))}"
    if not found.count:
        yield f"no cuda: {found.reason}"
    for entry in registry.entries().values():
        if entry.is_installed:
            yield f"✓ {entry.name:20} {_version(entry.requires)}{' (reference)' if entry.reference else ''}"
        else:
            yield f"✗ {entry.name:20} not installed; install the extra {entry.extra!r}"


def _version(module: str) -> str:
    if not module:
        return "built in"
    for name in importlib.metadata.packages_distributions().get(module, ()):
        return f"{name} {importlib.metadata.version(name)}"
    return "installed"
