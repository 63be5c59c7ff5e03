"""What the main line costs, as ratios within one run: `python tests/benchmarks/main_line.py [help load run]`.

| figure | target |
|---|---|
| `gradbench --help` over `python -c "import click"` | at most 3 |
| 5,000 small cases load and validate, on two cores | at most 3 s |
| a whole run, workers side by side, over the slowest worker's own start and work | at most 1.3 |
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def seconds(*command: str) -> float:
    start = time.perf_counter()
    # A finding about a framework is exit code 1, and no fault of the run.
    code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, cwd=ROOT).returncode
    assert code in {0, 1}, command
    return time.perf_counter() - start


def help_() -> None:
    pairs = [
        (seconds(sys.executable, "-m", "gradbench.cli", "--help"), seconds(sys.executable, "-c", "import click"))
        for _ in range(11)
    ]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"gradbench --help: {ratio:.2f} x import click (target 3)")


CASE = """  - name: case-{n}
    description: Case {n}
    tags: [small]
    inputs: {{x: scalar, y: [3]}}
    function: |
      u = sin(x) * y
      return sum(u ** 2) + {n}
    points:
      - at: {{x: 0.5, y: [1, 2, 3]}}
        gradient: {{x: 1.5}}
"""


def load() -> None:
    from gradbench.catalogue import load as read

    with tempfile.TemporaryDirectory() as folder:
        for part in range(250):
            numbers = range(part * 20, part * 20 + 20)
            text = "cases:\n" + "".join(CASE.format(n=n) for n in numbers)
            (Path(folder) / f"part-{part}.yaml").write_text(text)
        start = time.perf_counter()
        cases = read([Path(folder)])
        took = time.perf_counter() - start
    print(f"{len(cases)} cases load and validate in {took:.2f} s (target 3)")


def run() -> None:
    from gradbench import registry, runner, verify
    from gradbench.catalogue import load as read
    from gradbench.device import Device
    from gradbench.plan import Selection, plan
    from gradbench.record import Target

    questions = plan(read([ROOT / "cases" / "seed"]), Selection())
    shown = {"finite-difference"}
    targets = [e for e in registry.installed().values() if not e.by_name and (not e.reference or e.name in shown)]
    jobs = verify.jobs({e.name: e for e in [*targets, *verify.references()]}.values(), questions, Device())
    start = time.perf_counter()
    last: dict[str, float] = {}
    for event in runner.run(jobs):
        last[event.name if isinstance(event, Target) else event.target] = time.perf_counter() - start
    slowest = max(last, key=lambda name: last[name])
    alone_start = time.perf_counter()
    (alone,) = [job for job in jobs if job.entry.name == slowest]
    list(runner.run([alone]))
    alone_took = time.perf_counter() - alone_start
    with tempfile.TemporaryDirectory() as folder:
        whole = seconds(sys.executable, "-m", "gradbench.cli", "run", "cases/seed", "--report", folder)
    print(
        f"a whole run of the seed cases: {whole:.1f} s; slowest worker {slowest}: {last[slowest]:.1f} s beside the others,"
    )
    print(f"  {alone_took:.1f} s alone; ratio {whole / last[slowest]:.2f} and {whole / alone_took:.2f} (target 1.3)")


if __name__ == "__main__":
    chosen = sys.argv[1:] or ["help", "load", "run"]
    for word in chosen:
        {"help": help_, "load": load, "run": run}[word]()
