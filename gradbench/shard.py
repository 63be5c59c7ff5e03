"""One part of a run in so many: the same parts on every machine, about as large as each other.

Questions enter; those of one part leave. Cases stay whole, because what is compared is compared within a case, and a
part depends on nothing but the questions, so that machines that don't know of each other agree.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Sequence

from gradbench.errors import BadOption
from gradbench.query import Question


def parse(text: str) -> tuple[int, int]:
    """`1/4` as (1, 4).

    Raises:
        BadOption: It is nothing of the kind.
    """
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise BadOption(f"{text!r} is no part of a run; write 1/4 for the first of four")
    return number, count


def part(questions: Sequence[Question], number: int, count: int) -> list[Question]:
    """The questions of one part, in their order.

    Args:
        questions: All of them.
        number: Which part, from 1.
        count: How many there are.
    """
    sizes = Counter(question.case for question in questions)
    # The largest case goes where least is so far; equals by name, then to the lowest number.
    loads = [(0, n) for n in range(1, count + 1)]
    mine: set[str] = set()
    for case, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        load, n = heapq.heappop(loads)
        heapq.heappush(loads, (load + size, n))
        if n == number:
            mine.add(case)
    return [question for question in questions if question.case in mine]
