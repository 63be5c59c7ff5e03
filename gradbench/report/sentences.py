"""An explanation in words: numbers short enough to stand beside each other, and a sentence for each departure.

An `Explanation` enters; texts leave, for a terminal and for a page alike.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from gradbench.compare import Truth
from gradbench.explanation import BACKWARD, FORWARD, PLAIN, Departure, Explanation, Opinion, Side, Step, Voice, is_zero
from gradbench.judge import Finding, Ruling
from gradbench.query import Array, Operator
from gradbench.report.words import array_text, brief, shown, truth_text

SHOWN: Final = 6
"""An array of more entries is its shape and the first few."""
FIRST: Final = 3
DIGITS: Final = 6
"""Of an entry of an array; a single number has all of its digits."""

_TRUTHS: Final = {"1": "True", "0": "False"}
_WAYS: Final = {FORWARD: "going forward", BACKWARD: "going back", PLAIN: "asked for the derivative as a run asks"}


def answer_text(array: Array | None, kind: str = "real", *, is_whole: bool = False) -> str:
    """What somebody says: one number, a short array, or the beginning of a long one; with all digits if asked."""
    if array is None:
        return "None"
    few = array if array.size <= SHOWN else array.reshape(-1)[:FIRST]
    return _laid(array.shape, array_text(few).partition("|")[2].split(), kind, is_whole=is_whole)


def opinion_texts(side: Side, kind: str = "real") -> Iterator[tuple[Opinion, str]]:
    """What is said, with as many digits as it takes to tell one from another."""
    brief_texts = [answer_text(opinion.cell.answer, kind) for opinion in side.opinions]
    for opinion, text in zip(side.opinions, brief_texts, strict=True):
        is_double = brief_texts.count(text) > 1
        yield opinion, answer_text(opinion.cell.answer, kind, is_whole=is_double)


def right_text(truth: Truth | None, kind: str = "real") -> str:
    """What is right, in the same form; nothing where nobody can say."""
    if truth is None or (truth.centre.size and not np.any(truth.source != "")):
        return ""
    if truth.centre.size <= SHOWN:
        few = truth
    else:
        parts = {name: getattr(truth, name).reshape(-1)[:FIRST] for name in ("kind", "centre", "lower", "upper")}
        few = replace(truth, **parts)
    return _laid(truth.centre.shape, truth_text(few).partition("|")[2].split(), kind)


def _laid(shape: Sequence[int], words: Sequence[str], kind: str, *, is_whole: bool = False) -> str:
    if kind == "boolean":
        words = [_TRUTHS.get(word, word) for word in words]
    if not shape:
        return words[0]
    words = words if is_whole else [_rounded(word) for word in words]
    size = math.prod(shape)
    if size > len(words):
        return f"{'×'.join(map(str, shape))}: {', '.join(words)}, …"
    return _nested(shape, words) if size else f"{'×'.join(map(str, shape))}: empty"


def _rounded(word: str) -> str:
    """A number of a few digits; whatever is no plain number stays."""
    try:
        number = complex(word)
    except ValueError:
        return word
    if not cmath.isfinite(number):
        return word
    real = brief(number.real, DIGITS)
    return (
        f"{real}{'+' * (not brief(number.imag).startswith('-'))}{brief(number.imag, DIGITS)}j" if "j" in word else real
    )


def _nested(shape: Sequence[int], words: Sequence[str]) -> str:
    if len(shape) == 1:
        return f"[{', '.join(words)}]"
    size = len(words) // shape[0]
    return f"[{', '.join(_nested(shape[1:], words[i * size : (i + 1) * size]) for i in range(shape[0]))}]"


def kind_of(step: Step) -> str:
    """Of an entry: `real`, `complex`, `boolean`, `integer`, or `several` arrays."""
    return getattr(step.spec, "kind", "several")


def value_text(step: Step) -> str:
    """The value of an entry."""
    if step.given is not None:
        return answer_text(step.given)
    if step.value is not None:
        return right_text(step.value.truth, kind_of(step)) or "?"
    return {"integer": "whole numbers", "several": "several arrays"}.get(kind_of(step), "")


def adjoint_text(step: Step) -> str:
    """The adjoint of an entry; empty for what has none."""
    if step.adjoint is not None:
        return right_text(step.adjoint.truth) or "?"
    return "0" if is_zero(step) and step.role != "constant" else ""


def ulps_text(finding: Finding | None) -> str:
    """How far off it is, in ulps; empty where that isn't counted."""
    found = None if finding is None else finding.difference
    return "" if found is None else brief(found.ulps)


def equation(step: Step) -> str:
    """A node with what it is made of."""
    return shown(f"{step.name} = {step.text}" if step.text else step.name)


def output_text(explanation: Explanation) -> str:
    """What the adjoints are the derivatives of."""
    if explanation.question.query.operator is Operator.GRADIENT:
        return "the output"
    return "⟨w, output⟩" if len(explanation.question.query.outputs) == 1 else "⟨w, outputs⟩"


def cotangent_texts(explanation: Explanation) -> Iterator[tuple[str, str]]:
    """What the output is weighted with, where it isn't one number: a name and an array for each output."""
    query = explanation.question.query
    if query.cotangent is not None:
        yield "w", answer_text(query.cotangent)
    yield from (
        (f"w for output {key}", answer_text(w)) for key, w in zip(query.outputs, query.cotangents, strict=False)
    )


def origin(step: Step, steps: Sequence[Step]) -> str:
    """Where an adjoint comes from: its shares, if there are several."""
    shares = [(right_text(share.side.truth) or "?", shown(steps[share.user].name)) for share in step.shares]
    users = [shown(steps[user].name) for user in step.users if steps[user].is_connected]
    parts = ["where it starts"] * step.is_output
    if shares:
        sum_ = " + ".join(f"{_rounded(text)} from {name}" for text, name in shares)
        parts.append(sum_.replace(" + -", " - "))
    elif users:
        parts.append(f"from {listed(users)}")
    return " and ".join(parts) or "no output depends on it"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Words with commas, and one word before the last."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


# Departures


def departures(explanation: Explanation) -> Iterator[tuple[Voice, Departure, str]]:
    """Every departure with its sentence."""
    for voice in explanation.voices:
        for departure in voice.departures:
            yield voice, departure, shown(_sentence(explanation, voice, departure))


def _sentence(explanation: Explanation, voice: Voice, departure: Departure) -> str:
    name, finding, way = voice.target.name, departure.finding, _WAYS[departure.way]
    if departure.step is None:
        said = finding.detail.partition("\n")[0]
        return f"{name}, {way}, has no answer to show: {finding.reason or finding.ruling}: {said}"
    step = explanation.steps[departure.step]
    said = _said(finding)
    if departure.way == FORWARD:
        return f"{name} departs {way} at {equation(step)}: {said}.{_made(explanation, step)}"
    if departure.way == BACKWARD:
        share = "" if departure.share is None else f"the share of {explanation.steps[departure.share].name} in "
        handed = _handed(explanation, voice, departure)
        return f"{name} departs {way} at {share}the adjoint of {equation(step)}: {said}.{handed}"
    is_right = voice.states.get(BACKWARD) == ""  # else there is nothing that a departure could be told from
    although = (
        " With a zero added at every node it is right: it depends on what is made of the whole." if is_right else ""
    )
    return f"{name}, {way}, is wrong by {step.name}: {said}.{although}"


def _said(finding: Finding) -> str:
    found = finding.difference
    if found is None:
        return finding.detail
    ulps = "" if math.isnan(found.ulps) else f" ({brief(found.ulps)} ulps)"
    where = f" in entry {found.worst} of {found.size}" if found.size > 1 else ""
    made = finding.detail.rpartition(" (")[2] if finding.detail.endswith(")") else ""
    composite = f", {made.removesuffix(')')}" if made else ""
    return f"it says {_number(found.answered)} where {_number(found.right)} is right{where}{ulps}{composite}"


def _number(number: complex) -> str:
    return repr(number.real if not number.imag else number)


def _made(explanation: Explanation, step: Step) -> str:
    """Whose fault a wrong value is."""
    names = [shown(explanation.steps[i].name) for i in step.operands]
    if not names:
        return ""
    return f" What it is made of ({listed(names)}) is right, so it is {step.primitive} itself."


def _handed(explanation: Explanation, voice: Voice, departure: Departure) -> str:
    """Whose fault a wrong adjoint is."""
    assert departure.step is not None
    steps = explanation.steps
    if any(other.way == FORWARD for other in voice.departures):
        return " That may follow from its values, which depart as well."
    if not departure.blamed or departure.finding.reason == "shape":
        return " That is where the way back begins." if steps[departure.step].is_output else ""
    users = [steps[user] for user in departure.blamed]
    equations = listed([equation(user) for user in users], "or")
    if not all(_is_right(user.adjoint, voice.target.name) for user in users):
        return f" It comes from {equations}."
    adjoints = (
        f"The adjoint of {users[0].name} is"
        if len(users) == 1
        else f"The adjoints of {listed([u.name for u in users])} are"
    )
    rules = listed(list(dict.fromkeys(user.primitive for user in users)), "or")
    return f" {adjoints} right, so it is the rule of {rules} by which {equations} hands it on."


def _is_right(side: Side | None, name: str) -> bool:
    cell = None if side is None else side.cells.get(name)
    return cell is not None and cell.ruling in {Ruling.PASS, Ruling.CONVENTION}


def conclusion(explanation: Explanation) -> Iterator[str]:
    """What comes of it all, in sentences."""
    if explanation.disputes:
        yield f"The references contradict each other, so nobody is judged: {shown(explanation.disputes[0])}"
        return
    found = [sentence for _, _, sentence in departures(explanation)]
    yield from found
    unjudged = [step.name for step in explanation.steps if not _is_known(step.value) or not _is_known(step.adjoint)]
    heard = [voice.target.name for voice in explanation.voices if voice.is_complete]
    if unjudged:
        yield f"No reference can say what is right at {shown(listed(unjudged))}."
    if not heard:
        yield "No target answered for the nodes."
    elif not found:
        who = heard[0] if len(heard) == 1 else f"all {len(heard)} targets"
        everywhere = "every node" if not unjudged else "every other node"
        yield f"Nobody departs: {shown(who)} agree{'s' if len(heard) == 1 else ''} with the oracle at {everywhere}, forward and back."


def _is_known(side: Side | None) -> bool:
    return side is None or bool(right_text(side.truth))


def silent(explanation: Explanation) -> dict[str, list[str]]:
    """Why some targets have nothing to show for the nodes, with those of whom that is true."""
    found: dict[str, list[str]] = {}
    for voice in explanation.voices:
        for way in (FORWARD, BACKWARD):
            state = voice.states.get(way, "")
            if state and not any(one.way == way for one in voice.departures):
                found.setdefault(f"{_WAYS[way]}: {shown(state)}", []).append(shown(voice.target.name))
    for target in explanation.absent:
        found.setdefault(f"could not start: {shown(target.failure.partition(chr(10))[0])}", []).append(
            shown(target.name)
        )
    return found
