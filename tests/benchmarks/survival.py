"""What runs survive and what the harness costs: `python tests/benchmarks/survival.py [kills cost cached pair]`.

| figure | target |
|---|---|
| a run killed by SIGKILL at 50 random moments, each time gone on with | 50 of 50 end like one that wasn't; no process is left |
| a query to a warm worker and back, scalar function, over the framework's own calls | median at most 0.5 ms |
| a second run of 5,000 queries, nothing changed since, up to its records, by processor time; and with the report | at most 2 s |
| compute-bound questions of one target with two workers on two cores, over one | at least 1.7 |

Honest results kept among 40 queries with four culprits, and a record file cut off at every length, are tests.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
sys.path[:0] = [str(ROOT), str(TESTS)]
os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(ROOT)])


def kills(count: int = 50) -> None:
    """Kills runs until there were so many kills; each run is gone on with until it has ended."""
    import test_resume

    from gradbench import verify

    verify.references = list
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        whole = test_resume.go(Path(folder) / "whole.jsonl")
        done = runs = 0
        while done < count:
            path = Path(folder) / f"{runs}.jsonl"
            runs += 1
            for _ in range(5):
                process = test_resume.started(path)
                # Anywhere from before its first line to near its end.
                time.sleep(draw.uniform(0.2, 4.0))
                if process.poll() is not None:
                    break
                process.kill()
                process.wait()
                done += 1
            assert test_resume.go(path) == whole, f"run {runs} ended otherwise"
        time.sleep(1)
        left = test_resume._alive()
    print(f"{done} kills in {runs} runs: all ended like the unbroken one; processes left: {len(left)} (target 0)")


def cost() -> None:
    """Each framework's round trip, the framework's own two calls taken off."""
    import numpy as np

    from gradbench import registry
    from gradbench.device import Device
    from gradbench.process import Job, Worker
    from gradbench.query import Operator, Query, Question

    for name in ("manual", "autograd", "torch", "jax", "tensorflow"):
        entry = registry.entry(name)
        if not entry.is_installed:
            continue
        with closing(Worker(Job(entry, Device(), []))) as worker:
            worker.ready()
            over = []
            for n in range(600):
                inputs = {"x": np.array(0.5 + n / 1000)}
                operator = Operator.VALUE if name == "manual" else Operator.GRADIENT
                question = Question(Query(f"q{n}", "sin(x) * x", inputs, {}, operator, "float64"), "c", 1)
                start = time.perf_counter()
                record = worker.ask(question)
                over.append(time.perf_counter() - start - (record.first or 0) - (record.seconds or 0))
        warm = sorted(over[100:])
        median, best = 1e3 * statistics.median(warm), 1e3 * warm[len(warm) // 10]
        print(f"round trip to {name}: median {median:.3f} ms, best tenth {best:.3f} ms over its own calls (target 0.5)")


CASE = """  - name: case-{n}
    description: Case {n}
    inputs: {{x: scalar, y: [3]}}
    function: sum(sin(x) * y ** 2) + {n}
    points:
      - at: {{x: 0.5, y: [1, 2, 3]}}
      - at: {{x: 0.25, y: [1, -2, 4]}}
"""


RECORDS = """
import sys
from pathlib import Path
from gradbench import options, verify
from gradbench.cache import Cache
from gradbench.plan import plan
questions = plan(options.load([Path(sys.argv[1])]))
targets = options.targets(["dual", "tape", "symbolic", "autograd"])
verify.run(questions, targets, Path(sys.argv[2]), verify.Setup(cache=Cache()))
"""


def _processor_time(command: list[str], environment: dict[str, str]) -> float:
    """Seconds of processor time of a command and of all that it starts, which neighbours on the machine disturb less."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cached() -> None:
    """A catalogue whose questions to all targets and references are about 5,000, run twice."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        cases = place / "cases.yaml"
        cases.write_text("cases:\n" + "".join(CASE.format(n=n) for n in range(70)))
        environment = {**os.environ, "GRADBENCH_CACHE": str(place / "cache")}
        # Six who are judged or judge, and six questions for each point.
        command = [sys.executable, "-m", "gradbench", "run", str(cases), "--target", "dual,tape,symbolic,autograd"]
        command += ["--report", str(place / "reports")]
        first, *again = (_processor_time(command, environment) for _ in range(4))
        asking = [sys.executable, "-c", RECORDS, str(cases), str(place / "again.jsonl")]
        records = min(_processor_time(asking, environment) for _ in range(3))
        count = sum(line.startswith('{"type":"record"') for line in (place / "reports/records.jsonl").open())
        modules = subprocess.run(
            [sys.executable, "-X", "importtime", *command[1:]],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        ).stderr
        frameworks = {name for name in ("torch", "tensorflow", "jax", "autograd", "flint") if f" {name}\n" in modules}
    print(
        f"{count} records: first run {first:.2f} s of processor time, second {records:.2f} s up to its records (target 2), "
        f"{min(again):.2f} s with verdicts and report; frameworks imported: {sorted(frameworks) or 'none'}"
    )


def pair() -> None:
    """Two workers of a target against one, on questions that compute."""
    import numpy as np

    from gradbench.device import Device
    from gradbench.process import Job, Limits
    from gradbench.query import Operator, Query, Question
    from gradbench.record import Record
    from gradbench.registry import Entry
    from gradbench.runner import run

    questions = [
        Question(
            Query(f"q{n}", f"x * {n % 20 + 2}", {"x": np.array(float(n))}, {}, Operator.VALUE, "float64"), f"c{n}", 1
        )
        for n in range(400)
    ]
    took: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for workers, times in took.items():
            ready = 0.0
            job = Job(Entry("busy", "faults:Busy"), Device(), questions, workers=workers)
            for event in run([job], Limits()):
                # From the first answer on: starting a process isn't computing.
                if isinstance(event, Record) and not ready:
                    ready = time.perf_counter()
            times.append(time.perf_counter() - ready)
    print(f"two workers over one: {min(took[1]) / min(took[2]):.2f} times as fast (target 1.7)")


if __name__ == "__main__":
    known = {one.__name__: one for one in (kills, cost, cached, pair)}
    for name in sys.argv[1:] or known:
        known[name]()
