"""Whether a compiled way of asking compiles once: `python tests/benchmarks/compilation.py [target ...]`.

For each target, 100 points of one case are put to the worker's own `Answerer`, and the same function, written for the
framework by hand, is called bare at 100 points, after it is compiled.

| figure | target |
|---|---|
| 100 points through the worker, over 1 point through the worker and 100 bare calls | at most 2 |

Also printed: seconds of the first call, which contains the compilation, and of a later one. A target that isn't
registered or installed is left out. To add one: its name, and what calls the gradient bare. A process of its own stands
for each target, since frameworks disturb one another.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from gradbench import registry  # noqa: E402  # the package is beside this script
from gradbench.query import Query  # noqa: E402
from gradbench.record import Outcome  # noqa: E402
from gradbench.worker import Answerer  # noqa: E402

POINTS = 100
LIMIT = 2.0
# No two measurements may share a function, or the second would find it compiled; a number tells them apart.
TEXT = "h = tanh(w @ x * {number})\nreturn sum(h * h) + sum(exp(-x * x))"

Gradient = Callable[..., Any]


def jax(number: float) -> Gradient:
    """The gradient as a user of JAX writes it."""
    import jax
    import jax.numpy as jnp

    def f(w: Any, x: Any) -> Any:
        h = jnp.tanh(w @ x * number)
        return jnp.sum(h * h) + jnp.sum(jnp.exp(-x * x))

    compiled = jax.jit(jax.grad(f, (0, 1)))
    return lambda w, x: jax.block_until_ready(compiled(w, x))


def tensorflow(number: float) -> Gradient:
    """The gradient as a user of TensorFlow writes it."""
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def gradient(w: Any, x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([w, x])
            h = tf.tanh(w @ x * number)
            y = tf.reduce_sum(h * h) + tf.reduce_sum(tf.exp(-x * x))
        return tape.gradient(y, [w, x])

    return lambda w, x: gradient(w, x)[0].numpy()


def torch(number: float) -> Gradient:
    """The gradient as a user of PyTorch writes it."""
    import torch

    @torch.compile(fullgraph=True, dynamic=False)
    def f(w: Any, x: Any) -> Any:
        h = torch.tanh(w @ x * number)
        return torch.sum(h * h) + torch.sum(torch.exp(-x * x))

    def gradient(w: Any, x: Any) -> Any:
        ends = w.detach().requires_grad_(), x.detach().requires_grad_()
        return torch.autograd.grad(f(*ends), ends)

    return gradient


TARGETS: dict[str, Callable[[float], Gradient]] = {
    "jax:jit": jax,
    "tensorflow:xla": tensorflow,
    "torch:compile": torch,
}
"""Each compiled target, and what makes the bare gradient."""


def points(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(7)
    return [{"w": random.normal(size=(8, 8)), "x": random.normal(size=(8, 3))} for _ in range(count)]


def asked(answerer: Answerer, number: float, where: list[dict[str, np.ndarray]]) -> tuple[float, list[Any]]:
    """Seconds for a gradient at each of the points through the worker, and the records."""
    text = TEXT.format(number=number)
    queries = [Query(str(i), text, x, {}, "gradient", "float64") for i, x in enumerate(where)]
    start = time.perf_counter()
    records = [answerer.record(query) for query in queries]
    seconds = time.perf_counter() - start
    assert all(record.outcome is Outcome.ANSWERED for record in records), records[0]
    return seconds, records


def bare(adapter: Any, gradient: Gradient, where: list[dict[str, np.ndarray]]) -> tuple[float, list[Any]]:
    """Seconds for the bare gradient at each of the points, once it is compiled, and the first answer."""
    native = [{name: adapter.asarray(array) for name, array in x.items()} for x in where]
    gradient(**native[0])
    adapter.synchronize()
    start = time.perf_counter()
    for x in native:
        found = gradient(**x)
    adapter.synchronize()
    return time.perf_counter() - start, found


def measure(target: str, runs: int) -> float:
    """Prints the figures of one target and returns the ratio."""
    adapter = registry.load(registry.entry(target).spec)
    adapter.open("cpu")
    answerer = Answerer(adapter)
    where = points(POINTS)
    asked(answerer, 0.5, where[:1])  # what a framework loads for its first function is nobody's compilation
    ratios, firsts, laters = [], [], []
    for run in range(runs):
        many, records = asked(answerer, 1 + run / 8, where)
        one, _ = asked(answerer, 1 + (run + runs) / 8, where[:1])
        calls, _ = bare(adapter, TARGETS[target](2 + run / 8), where)
        ratios.append(many / (one + calls))
        firsts.append(records[0].first)
        laters.append(statistics.median(record.seconds or np.nan for record in records[1:]))
        print(f"  {many:.2f} s for {POINTS} points, {one:.2f} s for one, {calls:.3f} s for {POINTS} bare calls")
    ratio = statistics.median(ratios)
    print(f"  a first call {statistics.median(firsts):.3f} s, a later one {statistics.median(laters) * 1e3:.3f} ms")
    print(f"{target}: {ratio:.2f} x one point and {POINTS} bare calls (target {LIMIT:g})", flush=True)
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--runs", type=int, default=3, help="the median counts")
    parser.add_argument("--here", action="store_true", help="in this process; for one target")
    options = parser.parse_args()
    if options.here:
        return int(measure(options.targets[0], options.runs) > LIMIT)
    code = 0
    for target in options.targets:
        known = registry.entries().get(target)
        if known is None or not known.is_installed:
            print(f"{target}: not here")
            continue
        command = [sys.executable, __file__, target, "--here", "--runs", str(options.runs)]
        code |= subprocess.run(command, check=False, stderr=subprocess.DEVNULL, cwd=ROOT).returncode
    return code


if __name__ == "__main__":
    sys.exit(main())
