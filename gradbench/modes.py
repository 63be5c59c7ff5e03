"""The ways of using one framework, held against each other: eager and compiled, forward and reverse, by name.

The verdicts on one query enter; a `Clash` for each pair of ways that differ leaves. Two kinds of difference matter:

- `modes`: two answers that rounding doesn't explain, even where both lie within what the oracle allows, as two ends of a
  kink do.
- `silent-zero`: a 0 where another way answers a number, `None` or an error. Who takes the 0 for an answer never learns
  that there was none. Whether the output depends on the input is what the program says, not what anybody answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from gradbench.clash import Clash, same
from gradbench.judge import Verdict, unconnected
from gradbench.record import Outcome

QUOTIENTS: Final = "finite-difference"
"""Difference quotients share a name and no computation: how far each is off is no disagreement."""
NUMBERS, ZEROS, NONE, RAISED = "numbers", "0", "None", "an error"


def modes(members: Sequence[Verdict]) -> Iterator[Clash]:
    """Every way of using a framework against the plain one, or against the first if that wasn't asked.

    Args:
        members: The verdicts on one query; those that neither answered nor raised are left out.
    """
    families: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in members:
        family = verdict.record.target.partition(":")[0]
        if verdict.record.outcome in {Outcome.ANSWERED, Outcome.RAISED} and family != QUOTIENTS:
            families[family].append(verdict)
    for ways in families.values():
        first, *others = sorted(ways, key=lambda v: v.record.target)
        for other in others:
            if other.record.environment != first.record.environment and other.record.target != first.record.target:
                yield from _pair(first, other)


def _pair(first: Verdict, other: Verdict) -> Iterator[Clash]:
    query = first.question.query
    apart: list[str] = []
    for key in query.keys:
        if _alike(first, other, key):
            continue
        words = {verdict.record.target: _word(verdict, key) for verdict in (first, other)}
        if None in words.values():
            continue
        numbers = set(words.values()) <= {NUMBERS, ZEROS}
        differ = same(first, other, key) is False if numbers else len(set(words.values())) > 1
        if differ and ZEROS in words.values():
            yield _silent(first, key, words)
        elif differ and RAISED not in words.values():  # an error is a verdict of its own
            apart.append(key)
    if apart:
        by = f" by {', '.join(apart)}" if apart != [""] else ""
        names = (first.record.target, other.record.target)
        ruled = {first.ruling, other.ruling}
        both = f", and both are judged {ruled.pop()}" if len(ruled) == 1 else ""
        yield Clash.at(first.question, "modes", names, f"{names[0]} and {names[1]} answer differently{by}{both}")


def _alike(first: Verdict, other: Verdict, key: str) -> bool:
    """Whether two answers are the same, bit by bit."""
    one, two = (verdict.record.answer.get(key) for verdict in (first, other))
    if one is None or two is None or one.dtype != two.dtype or one.shape != two.shape:
        return False
    return one.tobytes() == two.tobytes()


def _word(verdict: Verdict, key: str) -> str | None:
    """What kind of answer it is; None if it lacks this part."""
    if verdict.record.outcome is Outcome.RAISED:
        return RAISED
    if key not in verdict.record.answer:
        return None
    answer = verdict.record.answer[key]
    if answer is None:
        return NONE
    return ZEROS if answer.size and not np.any(answer) else NUMBERS


def _silent(verdict: Verdict, key: str, words: dict[str, str | None]) -> Clash:
    silent = next(name for name, word in words.items() if word == ZEROS)
    (other,) = set(words) - {silent}
    loose = set(key.split(",")) & set(unconnected(verdict.question, key))
    truth = verdict.oracle.truths.get(key)
    right = truth is not None and truth.is_zero
    why = "the output doesn't depend on it" if loose else "0 is right" if right else "the output depends on it"
    by = f" by {key}" if key else ""
    sentence = f"{silent} answers 0{by} where {other} answers {words[other]}; {why}"
    return Clash.at(verdict.question, "silent-zero", (silent, other), sentence)
