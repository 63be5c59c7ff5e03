"""Lessons of small cases, and what comes of them, without a worker's process."""

from __future__ import annotations

from gradbench import document, registry
from gradbench.adapters.tape import Tape
from gradbench.case_reader import read
from gradbench.explain import lesson
from gradbench.explanation import Explanation, explained
from gradbench.lesson import Lesson
from gradbench.record import Record, Run, Target
from gradbench.worker import Answerer


def of(text: str, dtype: str = "float64", point: int = 1) -> Lesson:
    """The lesson of the one case of a file's text."""
    (case,) = read(document.parse(text.encode(), "f.yaml"))
    return lesson(case, point, dtype)


def heard(wanted: Lesson, references: tuple[str, ...] = ("ball", "noise"), **adapters: object) -> Explanation:
    """The explanation, asked of these adapters, or of the tape."""
    speakers = {name: (registry.load(registry.entry(name).spec), True) for name in references}
    speakers |= {name: (adapter, False) for name, adapter in (adapters or {"tape": Tape()}).items()}
    targets, records = {}, []
    for name, (adapter, is_reference) in speakers.items():
        target = Target(name, reference=is_reference)
        targets[target.environment] = target
        answerer = Answerer(adapter)
        found: list[Record] = [answerer.record(question.query) for question in wanted.questions]
        records += [record.of(target) for record in found]
    return explained(wanted, Run({}, {q.query.id: q for q in wanted.questions}, targets, records))


OLAH = """
cases:
  - name: olah-graph
    description: Two-node graph whose second node is used twice
    source: Olah (2015)
    inputs: {a: scalar, b: scalar}
    function: |
      c = a + b
      d = b + 1
      return c * d
    manual: |
      return {a: b + 1, b: a + 2 * b + 1}
    points: [{at: {a: 2, b: 1}, value: 6, gradient: {a: 2, b: 5}}]
"""
