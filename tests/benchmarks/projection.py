"""What the check by projections costs and sees, beside the checkers of torch and jax: a script that prints ratios and rates.

    python tests/benchmarks/projection.py [--trials 20] [--times | --rates] [--sizes 1000 10000] [--ratio 4]

Times: torch functions of n numbers, their gradient by torch's own backward pass. The check with all of its ladders'
evaluations and its vjp, against `torch.autograd.gradcheck` of the same function and torch's fast mode, in one run, in
float64, by processor time on one thread, so that neighbours on the machine count for nothing. Wanted: 50 times as fast as
slow gradcheck at n = 1,000, 500 times at 10,000. The best of several runs is taken for the check and for fast mode, and
one run of slow mode, which takes long (20,000 evaluations, against 34 and one vjp). `elementwise` gains by fewer
evaluations alone, at most 2 n / 37; `layer` by batching as well: a matrix that is read once for a ladder and not for
every point. Measured on a busy machine of two cores: 62 to 83 and 477 to 760 times for `elementwise`, 55 to 145 and 753 to
1,507 times for `layer`.

Rates: how often a planted defect is caught, over different points and seeds. The functions are a sum of sines at
n = 200,000, and tanh(W x) with a 100 x 100 Jacobian. What isn't passed counts as a complaint; one of an honest derivative
is a false alarm. Wanted: everything caught, no false alarm.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from jax.test_util import check_grads

from gradbench.reference.projection import check

jax.config.update("jax_enable_x64", val=True)
torch.set_num_threads(1)
# Fast mode, once it has failed, runs slow mode for the sake of its message: 200,000 evaluations, and all of the memory.
sys.modules["torch.autograd.gradcheck"]._run_slow_mode_and_get_error = lambda *_, **__: "it failed"


def elementwise(n: int) -> Callable[[Any], Any]:
    """A function that no part of the check was made for."""
    return lambda x: (torch.tanh(x) * torch.exp(-0.1 * x * x) + torch.log1p(x * x)).sum(-1)


def layer(n: int) -> Callable[[Any], Any]:
    """The loss of a network with one hidden layer of 64, by its input."""
    rng = np.random.default_rng(n)
    w = torch.from_numpy(rng.standard_normal((n, 64)) / n**0.5)
    b = torch.from_numpy(rng.standard_normal(64))
    return lambda x: torch.log1p(torch.tanh(x @ w + b).square()).sum(-1)


def backward(f: Callable[[Any], Any], point: np.ndarray) -> Callable[[Any], np.ndarray]:
    def vjp(cotangent: Any) -> np.ndarray:
        x = torch.from_numpy(point).requires_grad_()
        (found,) = torch.autograd.grad(f(x), x, torch.as_tensor(cotangent))
        return found.numpy()

    return vjp


def seconds(run: Callable[[], Any], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def ratios(sizes: list[int], steps: int) -> None:
    for make, n in itertools.product((elementwise, layer), sizes):
        ratio(make(n), np.random.default_rng(n).standard_normal(n), f"{make.__name__:12} n = {n:>7,}", steps)


def ratio(f: Callable[[Any], Any], point: np.ndarray, name: str, steps: int) -> None:
    x = torch.from_numpy(point).requires_grad_()

    def ours() -> Any:
        return check(lambda p: f(torch.from_numpy(p)).numpy(), point, vjp=backward(f, point), seed="times", ratio=steps)

    assert ours().outcome == "passed", ours().sentence
    mine, fast = seconds(ours, 20), seconds(lambda: fast_mode(f, point), 20)
    slow = seconds(lambda: torch.autograd.gradcheck(f, x), 3 if len(point) <= 2000 else 1)
    print(
        f"{name}: slow gradcheck takes {slow / mine:6.0f} times as long as the check, fast mode {fast / mine:5.2f} times"
    )


class Planted(torch.autograd.Function):
    """A sum of sines, scaled, with a gradient that somebody made."""

    @staticmethod
    def forward(ctx: Any, x: Any, gradient: Any, scale: float) -> Any:
        ctx.save_for_backward(gradient)
        return scale * torch.sin(x).sum(-1)

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> Any:
        return cotangent * ctx.saved_tensors[0], None, None


class PlantedProduct(torch.autograd.Function):
    """tanh(W x) with a Jacobian that somebody made."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, jacobian: Any) -> Any:
        ctx.save_for_backward(jacobian)
        return torch.tanh(w @ x)

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> Any:
        return cotangent @ ctx.saved_tensors[0], None, None


def fast_mode(f: Callable[[Any], Any], point: np.ndarray) -> bool:
    """Whether torch's fast mode complains."""
    x = torch.from_numpy(point).requires_grad_()
    return not torch.autograd.gradcheck(f, x, fast_mode=True, raise_exception=False)


def jax_complains(f: Callable[[Any], Any], vjp: Callable[[Any, Any], Any], point: np.ndarray) -> bool:
    planted = jax.custom_vjp(lambda x: f(x))  # noqa: PLW0108  # what has a default counts as an argument
    planted.defvjp(lambda x: (f(x), x), vjp)
    try:
        check_grads(planted, (point,), order=1, modes=["rev"])
    except AssertionError:
        return True
    return False


def one(gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    found = gradient.copy()
    found[rng.integers(found.size)] += 1e-5
    return found


def pair(gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    found = gradient.copy()
    i, j = rng.choice(found.size, 2, replace=False)
    found[i] += 1e-3
    found[j] -= 1e-3
    return found


SUMS = {
    "honest": (1.0, lambda g, _: g),
    "zero": (1.0, lambda g, _: 0 * g),
    "flipped sign": (1.0, lambda g, _: -g),
    "1 % off": (1.0, lambda g, _: 1.01 * g),
    "one entry, 1e-5": (1.0, one),
    "mean zero, ±1e-3 everywhere": (1.0, lambda g, _: g + 1e-3 * np.resize([1.0, -1.0], g.size)),
    "a pair, ±1e-3": (1.0, pair),
    "1e-7 sin, honest": (1e-7, lambda g, _: g),
    "1e-7 sin, zero": (1e-7, lambda g, _: 0 * g),
}


def sums(trials: int, n: int) -> None:
    print(f"\nsum of sines, n = {n:,}: complaints in {trials} trials\n{'':32}check   torch fast   jax")
    for name, (scale, plant) in SUMS.items():
        seen = np.zeros(3, int)
        for seed in range(trials):
            rng = np.random.default_rng(seed)
            point = rng.standard_normal(n)
            given = plant(scale * np.cos(point), rng)
            found = check(
                lambda p, scale=scale: scale * np.sin(p).sum(axis=1), point, gradient=given, seed=seed, names=0
            )
            torches = torch.from_numpy(given)
            seen += [
                found.outcome != "passed",
                fast_mode(lambda x, g=torches, s=scale: Planted.apply(x, g, s), point),
                jax_complains(lambda x, s=scale: s * jax.numpy.sin(x).sum(), lambda _, c, g=given: (c * g,), point),
            ]
        print(f"{name:32}" + "  ".join(f"{rate:7.0%}" for rate in seen / trials), flush=True)


def products(trials: int) -> None:
    print(
        f"\ntanh(W x), 100 x 100, one entry wrong: complaints in {trials} trials\n{'':14}check   named  torch fast   jax"
    )
    for size in (0.0, 1e-10, 1e-9, 1e-8, 1e-5, 1e-2):
        seen = np.zeros(4, int)
        for seed in range(trials):
            rng = np.random.default_rng(seed)
            w, point = 0.07 * rng.standard_normal((100, 100)), rng.standard_normal(100)
            jacobian = (1 - np.tanh(w @ point) ** 2)[:, None] * w
            i, j = map(int, rng.integers(100, size=2))
            jacobian[i, j] += size
            found = check(
                lambda p, w=w: np.tanh(p @ w.T), point, vjp=lambda c, jacobian=jacobian: c @ jacobian, seed=seed
            )
            native = torch.from_numpy(w), torch.from_numpy(jacobian)
            seen += [
                found.outcome != "passed",
                [(wrong.output, wrong.index) for wrong in found.wrong] == [(i, j)],
                fast_mode(lambda x, native=native: PlantedProduct.apply(x, *native), point),
                jax_complains(
                    lambda x, w=w: jax.numpy.tanh(w @ x), lambda _, c, jacobian=jacobian: (c @ jacobian,), point
                ),
            ]
        print(f"{size:8.0e}    " + "  ".join(f"{rate:7.0%}" for rate in seen / trials), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--size", type=int, default=200_000, help="of the sum of sines")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000], help="whose times to take")
    parser.add_argument("--ratio", type=int, default=4, help="of the ladder whose times are taken")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--times", action="store_true", help="nothing but times")
    only.add_argument("--rates", action="store_true", help="nothing but rates")
    options = parser.parse_args()
    if not options.rates:
        ratios(options.sizes, options.ratio)
    if not options.times:
        products(options.trials)
        sums(max(1, options.trials // 4), options.size)


if __name__ == "__main__":
    main()
