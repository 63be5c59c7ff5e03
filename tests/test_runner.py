from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from gradbench.device import Device
from gradbench.process import Job, Limits
from gradbench.query import Operator, Query, Question
from gradbench.record import Outcome, Record, Target
from gradbench.registry import Entry
from gradbench.runner import RESTARTS, run


def question(number: int, way: int = 0, function: str = "x * 2", operator: Operator = Operator.VALUE) -> Question:
    constants = {"way": np.array(way)}
    query = Query(f"q{number}", function, {"x": np.array(float(number))}, constants, operator, "float64")
    return Question(query, f"case{number}", 1)


def ask(name: str, questions: list[Question], timeout: float = 20.0, **facts) -> tuple[list[Target], list[Record]]:
    events = list(
        run([Job(Entry(name.lower(), f"faults:{name}", **facts), Device(), questions)], Limits(timeout, start=60))
    )
    return [e for e in events if isinstance(e, Target)], [e for e in events if isinstance(e, Record)]


def test_every_query_of_an_honest_target_has_one_record_in_order():
    targets, records = ask("Honest", [question(n) for n in range(5)])
    assert [t.name for t in targets] == ["honest"]
    assert targets[0].versions == {"faults": "1"}
    assert targets[0].device_name == "test"
    assert [r.query for r in records] == [f"q{n}" for n in range(5)]
    assert [float(r.answer[""]) for r in records] == [0, 2, 4, 6, 8]
    assert {r.environment for r in records} == {targets[0].environment}
    assert all(r.first > 0 and r.seconds > 0 and r.repeatable for r in records)


def test_a_framework_that_prints_breaks_nothing():
    _, records = ask("Chatty", [question(n) for n in range(3)])
    assert [r.outcome for r in records] == [Outcome.ANSWERED] * 3


def test_a_query_that_kills_or_hangs_its_worker_costs_itself_alone():
    ways = [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    _, records = ask("Deadly", [question(n, way) for n, way in enumerate(ways)], timeout=3)
    outcomes = [r.outcome for r in records]
    assert [o for o, way in zip(outcomes, ways, strict=True) if way == 0] == [Outcome.ANSWERED] * 6
    culprits = {way: r for r, way in zip(records, ways, strict=True) if way}
    assert culprits[1].outcome is Outcome.CRASHED
    assert culprits[1].error == "SIGSEGV"
    assert "Segmentation fault" in culprits[1].message  # the trace of faulthandler
    assert 'faults.py"' in culprits[1].message
    assert "Extension modules" not in culprits[1].message
    assert culprits[2].outcome is Outcome.TIMED_OUT
    assert culprits[3].outcome is Outcome.TIMED_OUT
    assert culprits[4].error == "exit 7"
    assert culprits[5].error == "SIGKILL"


def test_a_target_that_can_not_start_is_reported_once_with_its_reason():
    for name, reason in (
        ("Unstartable", "no licence found"),
        ("Stillborn", "last words"),
        ("Absent", "has no attribute"),
    ):
        targets, records = ask(name, [question(1), question(2)])
        assert records == []
        assert len(targets) == 1
        assert reason in targets[0].failure


def test_a_worker_that_dies_of_everything_is_given_up_and_every_query_still_has_a_record():
    questions = [question(n) for n in range(RESTARTS + 4)]
    _, records = ask("Doomed", questions)
    assert [r.query for r in records] == [q.query.id for q in questions]
    assert {r.outcome for r in records} == {Outcome.CRASHED}
    assert [r.error for r in records].count("given up") == 3


def test_what_an_adapter_raises_becomes_an_outcome():
    gradient = question(1, operator=Operator.GRADIENT)
    _, records = ask("Refusing", [question(1), gradient])
    assert [(r.outcome, r.error) for r in records] == [
        (Outcome.UNSUPPORTED, "ArithmeticError"),
        (Outcome.UNSUPPORTED, ""),
    ]
    _, records = ask("Raising", [question(1)])
    assert (records[0].outcome, records[0].error, records[0].message) == (Outcome.RAISED, "ValueError", "<b>no</b>")
    _, records = ask("Greedy", [question(1)])
    assert records[0].outcome is Outcome.OUT_OF_MEMORY


def test_a_primitive_or_an_operator_that_is_absent_is_unsupported_by_name():
    _, records = ask("Poor", [question(1, function="sin(x)"), question(2), question(3, operator=Operator.HESSIAN)])
    assert [r.outcome for r in records] == [Outcome.UNSUPPORTED, Outcome.ANSWERED, Outcome.UNSUPPORTED]
    assert records[0].message == "it has no sin"
    assert records[2].message == "it has no hessian"


def test_changed_inputs_and_changed_answers_are_recorded():
    _, records = ask("Mutating", [question(1, operator=Operator.GRADIENT)])
    assert records[0].mutated == ("x",)
    _, records = ask("Restless", [question(1)])
    assert records[0].repeatable is False


def test_derivatives_by_hand_reach_the_target_that_is_by_hand_and_nobody_else():
    base = question(1)
    query = Query(**{**base.query.__dict__, "rules": {"gradient": "{x: 2}"}})
    asked = [Question(query, "case", 1)]
    for by_hand in (False, True):
        _, records = ask("Telling", asked, by_hand=by_hand)
        assert float(records[0].answer[""]) == by_hand


def test_closing_a_run_leaves_no_worker_behind():
    jobs = [Job(Entry("deadly", "faults:Deadly"), Device(), [question(1), question(2, way=2)])]
    with closing(run(jobs, Limits(600))) as events:
        for event in events:
            if isinstance(event, Record):
                break
        time.sleep(0.2)
    assert _workers() == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_does_not_outlive_its_parent():
    program = (
        "import os, sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_runner import Device, Entry, Job, Limits, question, run\n"
        "events = run([Job(Entry('deadly', 'faults:Deadly'), Device(), [question(1), question(2, way=3)])], Limits(600))\n"
        "next(events); next(events)\n"
        "import gradbench.runner\n"
        "print('up', flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    here = Path(__file__).parent
    subprocess.run([sys.executable, "-c", program, str(here), str(here.parent)], stdout=subprocess.PIPE, check=False)
    deadline = time.monotonic() + 10
    while _workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _workers() == []


def _workers(mark: bytes = b"faults:Deadly") -> list[str]:
    """The processes of this machine with this in their command: workers of the adapter `Deadly`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it may have ended just now
            if mark in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_no_more_workers_live_at_a_time_than_asked_for_and_every_job_is_done():
    jobs = [Job(Entry(f"honest{n}", "faults:Honest"), Device(), [question(n)]) for n in range(3)]
    order: list[tuple[str, str]] = []
    for event in run(jobs, Limits(20.0), at_once=1):
        name = event.name if isinstance(event, Target) else event.target
        order.append((name, type(event).__name__))
    # With one at a time, nobody starts before the one before has answered.
    assert order == [(f"honest{n}", kind) for n in range(3) for kind in ("Target", "Record")]


def test_every_honest_answer_of_forty_queries_is_kept_and_each_of_four_culprits_is_named():
    ways = {7: 1, 15: 2, 23: 3, 31: 4}  # a segmentation fault, a hang in Python, a hang in C with the lock, os._exit
    _, records = ask("Deadly", [question(n, ways.get(n, 0)) for n in range(40)], timeout=3)
    assert [r.query for r in records] == [f"q{n}" for n in range(40)]
    honest = [r for n, r in enumerate(records) if n not in ways]
    assert [r.outcome for r in honest] == [Outcome.ANSWERED] * 36
    assert all(float(r.answer[""]) == 2 * n for n, r in enumerate(records) if n not in ways)
    assert [(records[n].outcome, records[n].error) for n in ways] == [
        (Outcome.CRASHED, "SIGSEGV"), (Outcome.TIMED_OUT, ""), (Outcome.TIMED_OUT, ""), (Outcome.CRASHED, "exit 7"),
    ]  # fmt: skip


def test_a_query_that_hangs_says_where_even_in_compiled_code():
    _, records = ask("Deadly", [question(1, 2), question(2, 3)], timeout=3)
    for record in records:
        assert record.message.startswith("no answer within 3 s\n")
        assert 'faults.py"' in record.message
        assert "in value" in record.message


def test_a_query_that_takes_too_much_memory_is_out_of_memory_and_its_neighbours_are_answered():
    questions = [question(n, way=int(n == 2)) for n in range(4)]
    limits = Limits(30, start=60, memory=300 << 20)
    events = list(run([Job(Entry("hungry", "faults:Hungry"), Device(), questions)], limits))
    records = [e for e in events if isinstance(e, Record)]
    outcomes = [r.outcome for r in records]
    assert outcomes == [Outcome.ANSWERED, Outcome.ANSWERED, Outcome.OUT_OF_MEMORY, Outcome.ANSWERED]
    assert re.fullmatch(r"its worker held \d+ MiB, and the limit is 300 MiB", records[2].message)
    # What it held beyond the limit is what comes in between two looks, on a busy machine.
    assert int(records[2].message.split()[3]) < 600


def test_workers_that_share_the_questions_of_a_target_answer_each_once():
    questions = [question(n, function=f"x * {n % 9 + 1}") for n in range(60)]
    jobs = [Job(Entry("slow", "faults:Slow"), Device(), questions, workers=3)]
    started = []
    events = []
    for event in run(jobs, Limits(20, start=60)):
        events.append(event)
        started.append(len(_workers(b"faults:Slow")))
    records = [e for e in events if isinstance(e, Record)]
    assert sorted(r.query for r in records) == sorted(q.query.id for q in questions)
    assert len(events) == 61  # one target, though there were three workers
    assert max(started) == 3


def test_several_workers_of_a_target_that_can_not_start_report_it_once():
    jobs = [Job(Entry("no", "faults:Unstartable"), Device(), [question(n) for n in range(3)], workers=2)]
    events = list(run(jobs, Limits(20, start=60)))
    assert [type(e) for e in events] == [Target]
    assert "no licence found" in events[0].failure


def test_compiling_has_a_time_of_its_own_once_for_each_function():
    questions = [question(1), question(2), question(3, function="x * 3")]
    events = list(run([Job(Entry("c", "faults:Compiler"), Device(), questions)], Limits(0.7, compiling=5, start=60)))
    assert [e.outcome for e in events[1:]] == [Outcome.ANSWERED] * 3
    events = list(run([Job(Entry("c", "faults:Compiler"), Device(), questions)], Limits(0.7, compiling=0.1, start=60)))
    assert [e.outcome for e in events[1:]] == [Outcome.TIMED_OUT] * 3


def test_a_target_is_not_given_up_for_a_few_deaths_among_many_answers():
    # More deaths than it may have in a row, each followed by an answer.
    questions = [question(n, way=4 if n % 2 and n < 2 * RESTARTS else 0) for n in range(40)]
    _, records = ask("Deadly", questions)
    assert sum(r.error == "exit 7" for r in records) == RESTARTS
    assert sum(r.outcome is Outcome.ANSWERED for r in records) == 40 - RESTARTS


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_what_a_worker_has_started_does_not_outlive_the_run_however_that_ends(number):
    program = (
        "import os, signal, sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_runner import Device, Entry, Job, Limits, question, run\n"
        "events = run([Job(Entry('parent', 'faults:Parent'), Device(), [question(1), question(2, way=1)])], Limits(600))\n"
        "next(events); next(events)\n"
        f"os.kill(os.getpid(), signal.{number})\n"
    )
    here = Path(__file__).parent
    subprocess.run([sys.executable, "-c", program, str(here), str(here.parent)], stdout=subprocess.PIPE, check=False)
    deadline = time.monotonic() + 10
    while _workers(b"faults:Parent") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _workers(b"faults:Parent") == []


def test_a_million_numbers_travel_both_ways_bit_by_bit():
    x = np.random.default_rng(1).standard_normal(10**6)
    query = Query("big", "x * 2", {"x": x}, {}, Operator.VALUE, "float64")
    _, records = ask("Honest", [Question(query, "big", 1), question(1)])
    assert records[0].answer[""].tobytes() == (x * 2).tobytes()
    assert float(records[1].answer[""]) == 2
