from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gradbench import cluster, verify
from gradbench.cli import cli
from gradbench.errors import CannotStart
from gradbench.journal import read
from gradbench.process import Limits
from gradbench.query import Operator, Query, Question
from gradbench.registry import entry
from gradbench.verify import Setup

pytest.importorskip("distributed")

OPTIONS = {
    "device": "cpu", "timeout": 30.0, "compile_timeout": 30.0, "memory": None, "at_once": 2, "workers": 1, "no_cache": True,
}  # fmt: skip


def question(number: int) -> Question:
    # The first two are so slow that there is time to end a machine.
    query = Query(f"q{number}", "x * 2", {"x": np.array(float(number))}, {}, Operator.VALUE, "float64")
    return Question(query, f"case{number}", 1)


QUESTIONS = [question(n) for n in range(12)]


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler and two machines, each a process of its own; gives the address and the machines."""
    file = tmp_path / "scheduler.json"
    environment = {**os.environ, "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "1m"}
    options = {
        "env": environment,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "start_new_session": True,
    }
    run = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    processes = [subprocess.Popen([*run, "--no-dashboard", "--scheduler-file", str(file)], **options)]
    work = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--no-dashboard"]
    work += ["--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path)]
    processes += [subprocess.Popen([*work, "--name", f"m{n}"], **options) for n in range(2)]
    try:
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        _wait_for(address, 2)
        yield address, processes[1:]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(address: str, count: int) -> None:
    from distributed import Client

    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


def content(path: Path) -> dict[tuple[str, str], dict[str, object]]:
    """What a run found, without what its clock said."""
    found = {}
    for record in read(path).records:
        assert (record.target, record.query) not in found, "nothing is recorded twice"
        value = record.to_json()
        value.get("notes", {}).pop("seconds", None)
        found[record.target, record.query] = {k: value[k] for k in value if k not in {"first", "seconds"}}
    return found


@pytest.fixture
def here(tmp_path):
    """What the same run finds on this machine alone."""
    path = tmp_path / "here.jsonl"
    verify.run(QUESTIONS, [entry("dual")], path, Setup(limits=Limits(30)))
    return content(path)


def test_a_run_on_two_machines_finds_what_one_would_have_found(scheduler, here, tmp_path):
    path = tmp_path / "r.jsonl"
    seen: list[int] = []
    cluster.run(QUESTIONS, ["dual"], path, scheduler[0], OPTIONS, parts=4, watch=seen.append)
    assert read(path).complete
    assert content(path) == here
    assert sum(seen) == len(QUESTIONS)


def test_a_machine_that_dies_costs_its_part_another_try_and_not_the_run(scheduler, here, tmp_path):
    address, machines = scheduler
    path = tmp_path / "r.jsonl"
    died = threading.Event()

    def kill() -> None:
        # As soon as parts are under way: the file with the questions is there, and one of two machines has a part.
        while not path.exists() or b"question" not in path.read_bytes():
            time.sleep(0.02)
        time.sleep(0.5)
        os.killpg(machines[0].pid, signal.SIGKILL)
        died.set()

    thread = threading.Thread(target=kill)
    thread.start()
    cluster.run(QUESTIONS, ["dual"], path, address, OPTIONS, parts=6)
    thread.join()
    assert died.is_set()
    assert read(path).complete
    assert content(path) == here


def test_parts_that_fail_leave_the_others_and_are_asked_for_again(scheduler, here, tmp_path):
    address, _ = scheduler
    path = tmp_path / "r.jsonl"
    # A part whose question nobody can read, sent to machines of the same version.
    bad = Question(Query("bad", "x * 2", {"x": np.array(1.0)}, {}, Operator.VALUE, "float64"), "zcase", 1)
    original = cluster.part

    def part(questions, number, count):
        found = original(questions, number, count)
        return [Broken() if q.query.id == "bad" else q for q in found]

    class Broken:
        query = bad.query

        def to_json(self):
            return {"query": {"id": "bad"}, "case": "zcase", "point": 1}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "part", part)
        with pytest.raises(cluster.PartsLost, match=r"part \d+ of 13 did not come back"):
            cluster.run([*QUESTIONS, bad], ["dual"], path, address, OPTIONS, parts=13)
    assert not read(path).complete
    assert content(path) == here
    cluster.run([*QUESTIONS, bad], ["dual"], path, address, OPTIONS, resume=True)
    assert read(path).complete
    assert {k: v for k, v in content(path).items() if k[1] != "bad"} == here
    assert ("dual", "bad") in content(path)


def test_a_part_that_was_cut_short_is_asked_for_again_whole(scheduler, here, tmp_path):
    path = tmp_path / "r.jsonl"
    cluster.run(QUESTIONS, ["dual"], path, scheduler[0], OPTIONS, parts=3)
    data = path.read_bytes()
    marks = [i for i in range(len(data)) if data.startswith(b'{"type":"part"', i)]
    path.write_bytes(data[: marks[1] - 3])  # within the second part
    cluster.run(QUESTIONS, ["dual"], path, scheduler[0], OPTIONS, parts=3, resume=True)
    assert read(path).complete
    assert content(path) == here


def test_where_there_is_no_scheduler_nothing_is_written_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 1)
    path = tmp_path / "r.jsonl"
    with pytest.raises(CannotStart, match=r"no scheduler at tcp://127\.0\.0\.1:9"):
        cluster.run(QUESTIONS, ["dual"], path, "tcp://127.0.0.1:9", OPTIONS)
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--executor", "dask"], "needs '--scheduler'"),
        (["--scheduler", "tcp://x:1"], "goes with '--executor dask'"),
        (["--parts", "3"], "goes with '--executor dask'"),
        (["--executor", "dask", "--scheduler", "tcp://x:1", "--shard", "1/2"], "give one of them"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options, said):
    result = CliRunner().invoke(cli, ["run", *options])
    assert said in str(result.exception)
