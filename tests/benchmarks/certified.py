"""What a certified gradient costs, beside torch's gradcheck of the same function: a script that prints ratios.

    python tests/benchmarks/certified.py [--sizes 100 1000 10000] [--functions rosenbrock layer] [--network]

Gradients: the certified reference, both of its rule sets compared, answers for functions of n numbers with one number as
their answer; `torch.autograd.gradcheck` in slow mode checks torch's gradient of the same function at the same point. Both
in float64 and by processor time on one thread. The two take turns, at most three where n is large, and the median of the
ratios of a turn is printed; and the ratio of the best of either, which neighbours on the machine disturb less: a short run
suffers more from them than a long one. Wanted: 15 at each size. The first time that a function is asked its reverse pass
has to be derived, which takes twice as long as a gradient of 100 numbers; a case with several points pays that once.

The reference was tuned on `waves`, the others are held out. Where gradcheck complains, its own differences are too coarse
for the function (Rosenbrock's chain at n = 10,000); it takes as long as ever.

Network: two layers, 101,770 parameters, in a process of its own. Wanted: 5 s, 2 GB.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradbench.language import parse
from gradbench.query import Operator, Query
from gradbench.record import Status
from gradbench.reference.ball import Ball

Constants = dict[str, np.ndarray]
WANTED = 15
ENOUGH = 30.0
"""Seconds after which no further turn begins."""


@dataclass(frozen=True)
class Function:
    """The same function twice: as a text, and with torch's words. Constants come with a size."""

    name: str
    text: str
    torch: Callable[..., Any]
    constants: Callable[[int], Constants] = lambda _: {}


def _rosenbrock(_t: Any, x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def _banded(n: int) -> Constants:
    rng = np.random.default_rng(n)
    return {"d": rng.uniform(1, 2, n), "e": rng.uniform(-0.5, 0.5, n - 1)}


def _weights(n: int) -> Constants:
    rng = np.random.default_rng(n)
    return {"w": rng.standard_normal((n, 8)) / n**0.5, "b": rng.standard_normal(8)}


FUNCTIONS = [
    Function("rosenbrock", "a = x[1:]\nb = x[:-1]\nreturn sum(100 * (a - b ** 2) ** 2 + (1 - b) ** 2)", _rosenbrock),
    Function(
        "logsumexp",
        "logsumexp(sqrt(1 + x * x) - cos(x))",
        lambda t, x: t.logsumexp(t.sqrt(1 + x * x) - t.cos(x), 0),
    ),
    Function(
        "quadratic",
        "sum(d * x * x) + 2 * sum(e * x[1:] * x[:-1])",
        lambda _t, x, d, e: (d * x * x).sum() + 2 * (e * x[1:] * x[:-1]).sum(),
        _banded,
    ),
    Function("layer", "sum(tanh(x @ w + b) ** 2)", lambda t, x, w, b: (t.tanh(x @ w + b) ** 2).sum(), _weights),
    Function("waves", "sum(tanh(x) * sin(x))", lambda t, x: (t.tanh(x) * t.sin(x)).sum()),
]


def seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def ratio(function: Function, n: int) -> None:
    import torch

    torch.set_num_threads(1)
    point, constants = np.random.default_rng(n).standard_normal(n), function.constants(n)
    query = Query("q", function.text, {"x": point}, constants, Operator.GRADIENT, "float64")
    program = parse(function.text, ["x", *constants])
    x = torch.from_numpy(point).requires_grad_()
    held = [torch.from_numpy(array) for array in constants.values()]
    ball = Ball()

    def certify() -> Any:
        return ball.estimate(query, program)

    def gradcheck() -> None:
        passed = torch.autograd.gradcheck(lambda x: function.torch(torch, x, *held), x, raise_exception=False)
        answers.append(passed)

    answers: list[bool] = []
    warm(torch)
    first, times = seconds(certify), max(1, 3000 // n)
    pairs: list[tuple[float, float]] = []
    start = time.process_time()
    while len(pairs) < (15 if n <= 5000 else 3) and (not pairs or time.process_time() - start < ENOUGH):
        pairs.append((seconds(lambda: [certify() for _ in range(times)]) / times, seconds(gradcheck)))
    found = certify()
    assert found.notes["checked"]
    assert (found.status["x"] == Status.CERTIFIED).all()
    ours, theirs = zip(*pairs, strict=True)
    middle, best = statistics.median(b / a for a, b in pairs), min(theirs) / min(ours)
    print(
        f"{function.name:11} n = {n:>6,}: {middle:5.1f} times as fast (best of either {best:5.1f},"
        f" first time {theirs[0] / first:5.1f}): {1e3 * statistics.median(ours):6.2f} ms"
        f" for {1e3 * statistics.median(theirs):7.1f} ms{'' if middle >= WANTED else '  BELOW'}"
        f"{'' if all(answers) else '  (gradcheck complains)'}",
        flush=True,
    )


def warm(torch: Any) -> None:
    """What either does once in a process."""
    torch.autograd.gradcheck(lambda x: x.sum(), torch.ones(2, dtype=torch.float64, requires_grad=True))
    query = Query("q", "sum(x)", {"x": np.ones(2)}, {}, Operator.GRADIENT, "float64")
    Ball().estimate(query, parse("sum(x)", ["x"]))


NETWORK = "h = tanh(x @ w1 + b1)\nz = h @ w2 + b2\nreturn logsumexp(z) - z[3]"


def network() -> None:
    """Prints seconds, and the most memory of this process in gigabytes."""
    rng = np.random.default_rng(0)
    inputs = {
        "w1": rng.standard_normal((784, 128)) / 28, "b1": rng.standard_normal(128),
        "w2": rng.standard_normal((128, 10)) / 11, "b2": rng.standard_normal(10),
    }  # fmt: skip
    constants = {"x": rng.standard_normal(784)}
    query = Query("q", NETWORK, inputs, constants, Operator.GRADIENT, "float64")
    start = time.perf_counter()
    found = Ball().estimate(query, parse(NETWORK, [*inputs, *constants]))
    took = time.perf_counter() - start
    certified = all((status == Status.CERTIFIED).all() for status in found.status.values())
    size, most = sum(array.size for array in inputs.values()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"network, {size:,} parameters: {took:.2f} s (wanted: 5), {most / 2**20:.2f} GB at most (wanted: 2);"
        f" {'certified' if certified else 'NOT certified'}, {'checked' if found.notes['checked'] else 'NOT checked'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument(
        "--functions", nargs="+", choices=[f.name for f in FUNCTIONS], default=[f.name for f in FUNCTIONS]
    )
    parser.add_argument("--network", action="store_true", help="the network alone, in this process")
    options = parser.parse_args()
    if options.network:
        network()
        return
    # First, because a process starts with the most memory that its parent has ever had, and torch takes some.
    subprocess.run([sys.executable, __file__, "--network"], check=True)
    for n in options.sizes:
        for function in FUNCTIONS:
            if function.name in options.functions:
                ratio(function, n)


if __name__ == "__main__":
    main()
