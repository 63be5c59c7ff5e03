"""What can be done here, each in an environment of its own: `python3 -m nox -l` lists it."""

from __future__ import annotations

import nox

PROJECT = nox.project.load_toml("pyproject.toml")

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "venv"

FRAMEWORKS = ("torch", "tensorflow", "jax", "autograd", "sympy")
CONSTRAINTS = ("-c", "constraints.txt")

# A fail of a framework is the run's finding, not the session's failure: the report says it. A run against a baseline
# is what turns red.
FINDINGS = [0, 1]
# A compiler may take a minute over a Hessian where it shares its cores.
PATIENCE = ("--timeout", "180")


def group(name: str) -> list[str]:
    """A dependency group of pyproject.toml; a pip that comes with an older Python doesn't know them."""
    return nox.project.dependency_groups(PROJECT, name)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, with every framework."""
    session.install("-e", ".[all]", *group("test"), *CONSTRAINTS)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """All cases on every framework, used in every way; leaves reports/index.html and its data."""
    session.install(".[all]", *CONSTRAINTS)
    targets = () if "--target" in session.posargs else ("--target", "all", *PATIENCE)
    session.run("gradbench", "run", *targets, *session.posargs, success_codes=FINDINGS)


def conform(session: nox.Session, framework: str) -> None:
    session.install(f".[{framework},certified]", *CONSTRAINTS)
    arguments = ["--target", f"{framework}*,manual,finite-difference", "--report", f"reports/{framework}", *PATIENCE]
    session.run("gradbench", "run", *arguments, *session.posargs, success_codes=FINDINGS)


for _name in FRAMEWORKS:

    def _conformance(session: nox.Session, framework: str = _name) -> None:
        conform(session, framework)

    _conformance.__doc__ = f"All cases on {_name} in an environment that holds it alone; leaves reports/{_name}/."
    nox.session(_conformance, name=f"conformance-{_name}")


@nox.session
def lint(session: nox.Session) -> None:
    """Style."""
    session.install(*group("lint"), *CONSTRAINTS)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types."""
    session.install("-e", ".", *group("types"), *CONSTRAINTS)
    session.run("mypy")
