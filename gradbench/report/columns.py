"""Who was asked, as the columns of a report: one for each target, device and version among the verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gradbench.judge import Verdict
from gradbench.record import Target
from gradbench.report.words import shown


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        environment: The fingerprint that its records carry.
        target: Who it is.
        label: Its heading, different from every other column's.
        version: Of the framework itself; empty where it has none.
    """

    environment: str
    target: Target
    label: str
    version: str


def columns(verdicts: Iterable[Verdict]) -> list[Column]:
    """The columns of these verdicts, by name; references come last."""
    found: dict[str, Target] = {}
    for verdict in verdicts:
        found.setdefault(verdict.record.environment, verdict.target)
    return columns_of(found)


def columns_of(targets: Mapping[str, Target]) -> list[Column]:
    """The columns of targets by environment, by name; references come last.

    A heading is the target's name, with the device, the version or the fingerprint where names alone don't differ.
    """
    ordered = sorted(
        targets.items(), key=lambda pair: (pair[1].reference, pair[1].name, pair[1].device, _version(pair[1]))
    )
    labels = _labels(ordered)
    return [
        Column(key, target, label, shown(_version(target)))
        for (key, target), label in zip(ordered, labels, strict=True)
    ]


def _version(target: Target) -> str:
    return target.versions.get(target.name.partition(":")[0], "")


def _labels(ordered: Sequence[tuple[str, Target]]) -> list[str]:
    targets = [target for _, target in ordered]
    devices = {name: len({t.device for t in targets if t.name == name}) for name in {t.name for t in targets}}
    versions = {name: len({_version(t) for t in targets if t.name == name}) for name in devices}
    labels = []
    for target in targets:
        version = f" {_version(target)}" if versions[target.name] > 1 else ""
        device = f" on {target.device}" if devices[target.name] > 1 else ""
        labels.append(shown(f"{target.name}{version}{device}"))
    counts = Counter(labels)
    return [
        f"{label} #{key[:6]}" if counts[label] > 1 else label for (key, _), label in zip(ordered, labels, strict=True)
    ]
