"""How far the finite-difference ladder's error bars can be trusted: a script that prints rates.

    python tests/benchmarks/finite_difference.py [--ratio 8] [--order 1] [--design] [--worst 10] [--against-scipy]

For each family a function is differentiated at random points, drawn over many orders of magnitude and crowded towards
poles and branch points, and compared with mpmath at 50 digits. `DESIGN` is the set that the ladder was built with.
`HELD_OUT` was written before it and looked at only after it was finished: its figures are the ones to quote.

Printed for each set: how often the bound covers the true error, how many digits are right, how many it claims falsely,
and the number of evaluations, all of them in one call. Wanted on the held-out set: covered in 99 % of the points or more,
8 digits in 93 % or more, at most 80 evaluations in one call. Of derivatives of higher order no digits are wanted, only that
those that are claimed are there: of those with the status ok 99 % are to be covered.
"""

# printing is what it is for
from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import scipy.special as sp

from gradbench.reference.finite_difference import derivative

mp = mpmath.mp.clone()
mp.dps = 80


NUMPY = SimpleNamespace(
    sin=np.sin, cos=np.cos, tan=np.tan, exp=np.exp, log=np.log, sqrt=np.sqrt, tanh=np.tanh, atan=np.arctan,
    asin=np.arcsin, acos=np.arccos, atanh=np.arctanh, asinh=np.arcsinh, acosh=np.arccosh, sinh=np.sinh, cosh=np.cosh,
    log1p=np.log1p, expm1=np.expm1, cbrt=np.cbrt, erf=sp.erf, erfc=sp.erfc, erfinv=sp.erfinv, gamma=sp.gamma,
    gammaln=sp.gammaln, digamma=sp.digamma, j0=sp.j0, j1=sp.j1, i0=sp.i0, ndtr=sp.ndtr, log_ndtr=sp.log_ndtr,
    betaln=sp.betaln, zeta=lambda s: sp.zeta(s, 1), power=np.power, maximum=np.maximum, pi=np.pi,
    logaddexp=np.logaddexp, sinc=np.sinc, expit=sp.expit, logit=sp.logit, abs=np.abs,
)  # fmt: skip


def _cbrt(x: Any) -> Any:
    return mp.sign(x) * mp.cbrt(abs(x))


def _ndtr(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


EXACT = SimpleNamespace(
    sin=mp.sin, cos=mp.cos, tan=mp.tan, exp=mp.exp, log=mp.log, sqrt=mp.sqrt, tanh=mp.tanh, atan=mp.atan,
    asin=mp.asin, acos=mp.acos, atanh=mp.atanh, asinh=mp.asinh, acosh=mp.acosh, sinh=mp.sinh, cosh=mp.cosh,
    log1p=mp.log1p, expm1=mp.expm1, cbrt=_cbrt, erf=mp.erf, erfc=mp.erfc, erfinv=mp.erfinv, gamma=mp.gamma,
    gammaln=lambda x: mp.log(abs(mp.gamma(x))), digamma=mp.digamma, j0=lambda x: mp.besselj(0, x),
    j1=lambda x: mp.besselj(1, x), i0=lambda x: mp.besseli(0, x), ndtr=_ndtr, log_ndtr=lambda x: mp.log(_ndtr(x)),
    betaln=lambda a, b: mp.log(mp.beta(a, b)), zeta=mp.zeta, power=mp.power, maximum=max, pi=mp.pi,
    logaddexp=lambda a, b: mp.log(mp.exp(a) + mp.exp(b)), sinc=mp.sincpi, expit=lambda x: 1 / (1 + mp.exp(-x)),
    logit=lambda x: mp.log(x / (1 - x)), abs=abs,
)  # fmt: skip

Draw = Callable[[np.random.Generator, int], Any]


def logarithmic(low: float, high: float) -> Draw:
    return lambda rng, n: np.exp(rng.uniform(np.log(low), np.log(high), n))


def signed(low: float, high: float) -> Draw:
    return lambda rng, n: logarithmic(low, high)(rng, n) * rng.choice([-1, 1], n)


def uniform(low: float, high: float) -> Draw:
    return lambda rng, n: rng.uniform(low, high, n)


def near(centre: float, low: float, high: float, sides: tuple[int, ...] = (-1, 1)) -> Draw:
    return lambda rng, n: centre + logarithmic(low, high)(rng, n) * rng.choice(sides, n)


@dataclass(frozen=True)
class Family:
    name: str
    f: Callable[[Any, Any], Any]
    draw: Draw


DESIGN = [
    Family("sin", lambda m, x: m.sin(x), signed(1e-6, 1e8)),
    Family("exp", lambda m, x: m.exp(x), signed(1e-6, 500)),
    Family("log", lambda m, x: m.log(x), logarithmic(1e-8, 1e8)),
    Family("sqrt", lambda m, x: m.sqrt(x), logarithmic(1e-10, 1e10)),
    Family("x^1.5", lambda m, x: x * m.sqrt(x), logarithmic(1e-8, 1e6)),
    Family("tan", lambda m, x: m.tan(x), uniform(-10, 10)),
    Family("tan at a pole", lambda m, x: m.tan(x), near(np.pi / 2, 1e-8, 1)),
    Family("1/x", lambda _, x: 1 / x, signed(1e-8, 1e8)),
    Family("tanh", lambda m, x: m.tanh(x), signed(1e-6, 20)),
    Family("sigmoid", lambda m, x: 1 / (1 + m.exp(-x)), signed(1e-3, 40)),
    Family("softplus", lambda m, x: m.log1p(m.exp(x)), signed(1e-3, 40)),
    Family("erf", lambda m, x: m.erf(x), signed(1e-4, 4)),
    Family("erfc", lambda m, x: m.erfc(x), logarithmic(0.1, 8)),
    Family("gammaln", lambda m, x: m.gammaln(x), logarithmic(1e-3, 1e5)),
    Family("gamma", lambda m, x: m.gamma(x), uniform(0.1, 20)),
    Family("digamma", lambda m, x: m.digamma(x), logarithmic(1e-2, 1e4)),
    Family("square", lambda _, x: x * x, signed(1e-6, 1e6)),
    Family("(x-1)...(x-5)", lambda _, x: (x - 1) * (x - 2) * (x - 3) * (x - 4) * (x - 5), uniform(0, 6)),
    Family("sqrt(1-x^2)", lambda m, x: m.sqrt(1 - x * x), near(1, 1e-6, 1, (-1,))),
    Family("asin", lambda m, x: m.asin(x), near(1, 1e-6, 1, (-1,))),
    Family("atanh", lambda m, x: m.atanh(x), near(1, 1e-6, 1, (-1,))),
    Family("(1-cos x)/x^2", lambda m, x: (1 - m.cos(x)) / (x * x), logarithmic(1e-4, 3)),
    Family("1e8+sin", lambda m, x: 100000000 + m.sin(x), uniform(-3, 3)),
    Family("sin(1/x)", lambda m, x: m.sin(1 / x), logarithmic(0.01, 10)),
    Family("exp(-1/x^2)", lambda m, x: m.exp(-1 / (x * x)), logarithmic(0.1, 5)),
    Family("x^x", lambda m, x: m.power(x, x), logarithmic(0.01, 50)),
    Family("cos(50x)", lambda m, x: m.cos(50 * x), uniform(-3, 3)),
    Family("x exp(-x^2/2)", lambda m, x: x * m.exp(-x * x / 2), signed(0.01, 10)),
    Family("atan(1000x)", lambda m, x: m.atan(1000 * x), signed(1e-5, 1)),
    Family("log(1+x^2)", lambda m, x: m.log(1 + x * x), signed(1e-4, 1e4)),
    Family("sinh", lambda m, x: m.sinh(x), signed(1e-4, 100)),
    Family("j0", lambda m, x: m.j0(x), logarithmic(0.01, 50)),
    Family("exp(sin(3x))", lambda m, x: m.exp(m.sin(3 * x)), uniform(-5, 5)),
    Family("1/(1+25x^2)", lambda _, x: 1 / (1 + 25 * x * x), signed(1e-4, 10)),
    Family("1/(x-1)", lambda _, x: 1 / (x - 1), near(1, 1e-7, 1)),
    Family("max(x^2,x)", lambda m, x: m.maximum(x * x, x), near(1, 1e-5, 0.5)),
    Family("sqrt(x^2+1e-10)", lambda m, x: m.sqrt(x * x + m.power(10.0, -10)), signed(1e-8, 1)),
    Family("x^3-3x^2+3x-1", lambda _, x: x * x * x - 3 * x * x + 3 * x - 1, near(1, 1e-4, 3)),
    Family("x - sin x", lambda m, x: x - m.sin(x), signed(1e-3, 10)),
]

HELD_OUT = [
    Family("cosh", lambda m, x: m.cosh(x), signed(1e-3, 300)),
    Family("acosh", lambda m, x: m.acosh(x), near(1, 1e-5, 1e3, (1,))),
    Family("asinh", lambda m, x: m.asinh(x), signed(1e-6, 1e6)),
    Family("x log x", lambda m, x: x * m.log(x), logarithmic(1e-6, 1e6)),
    Family("log1p(exp(-x))", lambda m, x: m.log1p(m.exp(-x)), signed(1e-3, 50)),
    Family("sin(x)/x", lambda m, x: m.sin(x) / x, signed(0.01, 100)),
    Family("expm1(x)/x", lambda m, x: m.expm1(x) / x, signed(1e-4, 30)),
    Family("sqrt(x+1)-sqrt(x)", lambda m, x: m.sqrt(x + 1) - m.sqrt(x), logarithmic(1e-3, 1e4)),
    Family("ndtr", lambda m, x: m.ndtr(x), signed(1e-3, 12)),
    Family("log_ndtr", lambda m, x: m.log_ndtr(x), signed(0.1, 15)),
    Family("i0", lambda m, x: m.i0(x), signed(0.01, 50)),
    Family("j1", lambda m, x: m.j1(x), logarithmic(0.01, 100)),
    Family("betaln(x, 2.5)", lambda m, x: m.betaln(x, 2.5), logarithmic(0.01, 100)),
    Family("zeta", lambda m, x: m.zeta(x), near(1, 0.01, 20, (1,))),
    Family("x/(1+|x|)", lambda m, x: x / (1 + m.abs(x)), signed(1e-6, 1e6)),
    Family("logit", lambda m, x: m.logit(x), lambda rng, n: sp.expit(rng.uniform(-12, 12, n))),
    Family("exp(cos(x)^2)", lambda m, x: m.exp(m.cos(x) ** 2), uniform(-20, 20)),
    Family("1/(1+x^4)", lambda _, x: 1 / (1 + x**4), signed(1e-3, 1e3)),
    Family("tan(x^2)", lambda m, x: m.tan(x * x), uniform(0.05, 3)),
    Family("cbrt", lambda m, x: m.cbrt(x), signed(1e-8, 1e8)),
    Family("atan(1/x)", lambda m, x: m.atan(1 / x), signed(1e-4, 1e4)),
    Family("mish", lambda m, x: x * m.tanh(m.log1p(m.exp(x))), signed(0.01, 30)),
    Family("erfinv", lambda m, x: m.erfinv(x), near(1, 1e-6, 1, (-1,))),
    Family("acos", lambda m, x: m.acos(x), near(-1, 1e-6, 1, (1,))),
    Family("damped sine", lambda m, x: m.exp(-x / 10) * m.sin(7 * x), uniform(0, 40)),
    Family("rational", lambda _, x: (x - 1) * (x - 3) / ((x - 2) * (x + 4)), uniform(-8, 8)),
    Family("log(log(x))", lambda m, x: m.log(m.log(x)), near(1, 1e-4, 1e4, (1,))),
    Family("sin(x^2)", lambda m, x: m.sin(x * x), signed(0.01, 100)),
    Family("(expm1(x)-x)/x^2", lambda m, x: (m.expm1(x) - x) / (x * x), signed(1e-2, 10)),
    Family("log(exp(x)+exp(2x)+exp(-x))", lambda m, x: m.log(m.exp(x) + m.exp(2 * x) + m.exp(-x)), signed(0.01, 100)),
    Family("x^7-3x^3+x", lambda _, x: x**7 - 3 * x**3 + x, signed(1e-4, 100)),
    Family("relu(x)^3", lambda m, x: m.maximum(x, 0 * x) ** 3, signed(1e-4, 10)),
    Family("max(sin, cos)", lambda m, x: m.maximum(m.sin(x), m.cos(x)), near(np.pi / 4, 1e-5, 1)),
    Family("exp(-sqrt x)", lambda m, x: m.exp(-m.sqrt(x)), logarithmic(1e-6, 1e3)),
]


def truth(family: Family, x: float, order: int = 1) -> float:
    """The derivative at the very double, correct to 50 digits and rounded."""
    exact = mp.diff(lambda t: family.f(EXACT, t), mp.mpf(x), order)
    return float(exact.real)


@dataclass(frozen=True)
class Row:
    family: str
    x: float
    value: float
    bound: float
    exact: float
    status: str
    evaluations: int
    calls: int

    @property
    def error(self) -> float:
        return abs(self.value - self.exact)

    @property
    def covered(self) -> bool:
        """Whether the error is within the bound; one ulp is given to whoever claims none."""
        return self.error <= self.bound + np.spacing(abs(self.exact))

    @property
    def digits(self) -> float:
        if not np.isfinite(self.value):
            return 0.0
        return 17.0 if self.error == 0 else min(17.0, -np.log10(self.error / abs(self.exact))) if self.exact else 0.0

    @property
    def claims_falsely(self) -> bool:
        return not self.covered and self.bound <= 1e-8 * abs(self.value)


def by_scipy(f: Callable[[Any], Any], x: float) -> Any:
    """What SciPy answers, with its own error for a bound; None where it has no such function (before 1.15)."""
    from scipy import differentiate

    with np.errstate(all="ignore"):
        found = differentiate.derivative(f, x)
    bound = found.error if np.isfinite(found.error) else np.inf
    return SimpleNamespace(value=found.df, bound=bound, status="ok" if found.success else "unresolved")


def measure(
    families: list[Family], points: int, ratio: int, seed: int, method: Any = derivative, order: int = 1
) -> list[Row]:
    rows = []
    options = {"ratio": ratio, "order": order} if method is derivative else {}
    for number, family in enumerate(families):
        for x in family.draw(np.random.default_rng([seed, number]), points):
            calls = []

            def f(batch: Any, family: Family = family, calls: list[int] = calls) -> Any:
                calls.append(np.size(batch))
                with np.errstate(all="ignore"):
                    return family.f(NUMPY, batch)

            found = method(f, x, **options)
            rows.append(
                Row(
                    family.name, float(x), float(found.value), float(found.bound), truth(family, float(x), order),
                    str(found.status), sum(calls), len(calls),
                )
            )  # fmt: skip
    return rows


def summary(title: str, rows: list[Row]) -> None:
    digits = np.array([row.digits for row in rows])
    answered = [row for row in rows if row.status == "ok"]
    print(f"{title}: {len(rows)} points, {len({row.family for row in rows})} families")
    print(f"  covered by the bound   {np.mean([row.covered for row in rows]):.4f}")
    print(f"  of those that are ok   {np.mean([row.covered for row in answered]):.4f}")
    print(f"  8 digits or more       {np.mean(digits >= 8):.4f}")
    print(f"  10 digits or more      {np.mean(digits >= 10):.4f}")
    print(f"  digits, median and p10 {np.median(digits):.1f} {np.quantile(digits, 0.1):.1f}")
    print(f"  claims falsely         {np.mean([row.claims_falsely for row in rows]):.4f}")
    print(f"  status ok              {len(answered) / len(rows):.4f}")
    loose = np.array([row.bound / abs(row.exact) for row in rows if row.exact])
    print(f"  claimed 8 digits       {np.mean(loose <= 1e-8):.4f}")
    print(
        f"  in one call            {sum(row.calls == 1 for row in rows) / len(rows):.4f}\n"
        f"  evaluations            at most {max(row.evaluations for row in rows)} in {max(row.calls for row in rows)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratio", type=int, default=8)
    parser.add_argument("--order", type=int, default=1, help="of the derivative, from 1 to 4")
    parser.add_argument("--design", action="store_true", help="the design set alone")
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worst", type=int, default=0, help="show so many of the points that are not covered")
    parser.add_argument("--against-scipy", action="store_true", help="the same figures for SciPy's derivative")
    parser.add_argument("--families", action="store_true", help="a line for each family")
    options = parser.parse_args()
    sets = {"design": DESIGN} if options.design else {"design": DESIGN, "held out": HELD_OUT}
    for title, families in sets.items():
        start = time.perf_counter()
        rows = measure(families, options.points, options.ratio, options.seed, order=options.order)
        summary(f"{title}, order {options.order}, ratio {options.ratio}", rows)
        print(f"  seconds, with mpmath   {time.perf_counter() - start:.1f}")
        if options.against_scipy:
            summary(f"{title}, SciPy", measure(families, options.points, 0, options.seed, by_scipy))
        if options.families:
            for family in families:
                some = [row for row in rows if row.family == family.name]
                few = np.mean([row.digits >= 8 for row in some])
                print(f"    {family.name:30} covered {np.mean([r.covered for r in some]):.2f}  8 digits {few:.2f}")
        bad = sorted((row for row in rows if not row.covered), key=lambda row: -row.error / max(row.bound, 1e-300))
        for row in bad[: options.worst]:
            print(
                f"    {row.family:24} x={row.x!r} {row.value:.17g} ± {row.bound:.2g}, is {row.exact:.17g} ({row.status})"
            )


if __name__ == "__main__":
    main()
