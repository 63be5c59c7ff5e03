"""A million records: what it takes to judge them, to report them and to merge them, in memory and in time.

    python tests/benchmarks/streaming.py [--records 1000000] [--stages judge,report,merge]

A record file is made of cases that differ in their names and in one of 64 sets of numbers, each asked of 36 targets and
two references; as in a real file the questions stand first, then what one target answered after what another did. One
answer in ten is refused, one in fifty is wrong, one in a hundred is an error, a third of the others is off by an ulp or
two. Each stage is the command as a person gives it, in a process of its own. Target: 1 GB at 10^6 records.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gradbench import cli
from gradbench.query import Operator, Query, Question
from gradbench.record import Outcome, Record, Target

TARGETS = 36
SETS = 64
NAME = "@name@"
GIGABYTE = 1 << 30
FUNCTION = "y = sin(a * b) + exp(-a)\nreturn y * b"


def main() -> None:
    """Makes the file, then runs each stage in a process of its own and says what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--stages", default="judge,report,merge")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.jsonl"
        made = in_a_process("make", str(file), str(options.records))
        print(f"{made['records']} records in {file.stat().st_size / 1e6:.0f} MB")
        print(f"{'stage':8} {'peak MB':>8} {'of 1 GB':>8} {'seconds':>8} {'records/s':>10} {'ms/record':>10}")
        for stage in options.stages.split(","):
            took = in_a_process(stage, str(file), folder)
            rate = made["records"] / took["seconds"]
            print(
                f"{stage:8} {took['peak'] / 1e6:8.0f} {took['peak'] / GIGABYTE:8.0%} {took['seconds']:8.1f}"
                f" {rate:10.0f} {1e3 / rate:10.3f}"
            )
            for name, size in took["files"].items():
                print(f"    {name:20} {size / 1e6:8.1f} MB")


def in_a_process(*arguments: str) -> dict:
    """What a child says; the parent stays small, as its own size counts for the child's peak."""
    command = [sys.executable, __file__, "--child", *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()[-1])


def child(stage: str, file: str, where: str) -> dict:
    """Runs one stage: its peak in bytes, processor seconds, and the files it wrote."""
    if stage == "make":
        return {"records": make(Path(file), int(where))}
    folder = Path(where) / stage
    folder.mkdir()
    verbs = {
        "judge": ["judge", file],
        "report": ["report", file, "--report", str(folder), "--format", "html,csv,junit"],
        "merge": ["merge", file, "-o", str(folder / "merged.jsonl")],
    }
    start = time.process_time()
    code = cli.invoke(verbs[stage])
    assert code in {cli.OK, cli.WORSE}, code
    found = {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds": time.process_time() - start,
        "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    }
    for path in folder.iterdir():
        path.unlink()
    return found


def make(path: Path, records: int) -> int:
    """Writes a record file of about so many records, and says how many they are."""
    names = [f"framework{i // 3}{('', ':forward', ':compiled')[i % 3]}" for i in range(TARGETS)]
    targets = [Target(name, versions={name.partition(":")[0]: "1.0"}) for name in names]
    targets += [Target("ball", reference=True), Target("noise", reference=True)]
    sets = [list(questions(np.random.default_rng(seed))) for seed in range(SETS)]
    asked = ["".join(line("question", question.to_json()) for question, *_ in one) for one in sets]
    said = [[answers(one, target, k, seed) for k, target in enumerate(targets)] for seed, one in enumerate(sets)]
    each = len(sets[0]) * len(targets)
    cases = -(-records // each)
    with path.open("w", encoding="utf-8") as stream:
        stream.write(line("header", {"format": 1, "started": "2026-01-01T00:00:00+00:00"}))
        for case in range(cases):
            stream.write(asked[case % SETS].replace(NAME, f"case-{case:06}"))
        for k, target in enumerate(targets):
            stream.write(line("target", target.to_json()))
            for case in range(cases):
                stream.write(said[case % SETS][k].replace(NAME, f"case-{case:06}"))
        stream.write(line("footer", {"records": cases * each}))
    return cases * each


def line(kind: str, value: dict) -> str:
    """One line of a record file."""
    return json.dumps({"type": kind, **value}, separators=(",", ":")) + "\n"


def questions(random: np.random.Generator) -> Iterator[tuple[Question, dict]]:
    """The questions of one case, with what is right."""
    a, b = random.uniform(0.5, 2.0, 2)
    inner, outer = np.cos(a * b), np.sin(a * b)
    value = (outer + np.exp(-a)) * b
    by_a, by_b = (b * inner - np.exp(-a)) * b, a * inner * b + outer + np.exp(-a)
    second = np.array([[np.exp(-a) * b - b**3 * outer, 0.0], [0.0, 2 * a * inner - a**2 * b * outer]])
    second[0, 1] = second[1, 0] = b * inner - np.exp(-a) + b * (inner - a * b * outer)
    tangents = {"a": np.array(0.75), "b": np.array(-1.25)}
    right = {
        Operator.VALUE: {"": value},
        Operator.GRADIENT: {"a": by_a, "b": by_b},
        Operator.JVP: {"": 0.75 * by_a - 1.25 * by_b},
        Operator.VJP: {"a": 1.5 * by_a, "b": 1.5 * by_b},
        Operator.HESSIAN: {f"{x},{y}": second[i, j] for i, x in enumerate("ab") for j, y in enumerate("ab")},
    }
    for operator, truth in right.items():
        extra = {Operator.JVP: {"tangents": tangents}, Operator.VJP: {"cotangent": np.array(1.5)}}.get(operator, {})
        query = Query(
            f"{NAME}#1:{operator}:float64",
            FUNCTION,
            {"a": np.array(a), "b": np.array(b)},
            {},
            operator,
            "float64",
            **extra,
        )
        yield Question(query, NAME, 1, "cases/made.yaml:7", "A made case", topic="made"), truth


def answers(asked: list[tuple[Question, dict]], target: Target, number: int, seed: int) -> str:
    """What a target answers to the questions of one case, as lines."""
    random = np.random.default_rng((seed, number))
    return "".join(line("record", answer(random, *one, target).of(target).to_json()) for one in asked)


def answer(random: np.random.Generator, question: Question, right: dict, target: Target) -> Record:
    """What a target answers to one question."""
    key, truth = question.query.id, {name: np.array(number) for name, number in right.items()}
    if target.name == "ball":
        margin = {name: {"radius": np.array(1e-30)} for name in truth}
        status = {name: np.full((), "certified", "U11") for name in truth}
        return Record(key, Outcome.ANSWERED, truth, margin=margin, status=status)
    if target.name == "noise":
        margin = {name: {"sigma": np.abs(number) * 2.0**-53} for name, number in truth.items()}
        return Record(key, Outcome.ANSWERED, margin=margin)
    luck = random.random()
    if luck < 0.1:
        return Record(key, Outcome.UNSUPPORTED, message=f"{question.query.operator} isn't offered by {target.name}")
    if luck < 0.11:
        return Record(key, Outcome.RAISED, error="RuntimeError", message="a made error\nwith a second line")
    if luck < 0.13:
        truth = {name: number * 1.5 for name, number in truth.items()}
    elif luck < 0.4:
        truth = {name: number * (1 + random.integers(-1, 2) * 2.0**-52) for name, number in truth.items()}
    seconds = float(random.lognormal(-9))
    return Record(key, Outcome.ANSWERED, truth, first=30 * seconds, seconds=seconds, repeatable=True)


if __name__ == "__main__":
    main()
