"""Who may import whom: each law of the house is a line here."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gradbench"

ASK = {
    "case",
    "case_reader",
    "catalogue",
    "document",
    "exact",
    "lesson",
    "plan",
    "points",
    "runner",
    "schema",
    "stated",
    "device",
    "process",
    "guard",
    "memory",
    "identity",
    "cache",
    "resume",
    "keeper",
    "shard",
    "cluster",
}
ANSWER = {"worker", "adapter", "aside", "numeric", "host"}
CONCLUDE = {
    "compare", "oracle", "conjugation", "promotion", "conventions", "crosscheck", "judge",
    "difference", "clash", "modes", "explanation", "likeness", "baseline", "table",
}  # fmt: skip


def room(path: Path) -> str:
    """`judge`, `adapters.torch`, `report.html`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file."""
    return imported(ast.parse(path.read_text(encoding="utf-8")))


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


ROOMS = {room(path): path for path in sorted(PACKAGE.rglob("*.py"))}
NEEDS = {name: imports(path) for name, path in ROOMS.items()}


def ours(name: str) -> set[str]:
    """The rooms that a room imports."""
    return {word.removeprefix("gradbench.") for word in NEEDS[name] if word.startswith("gradbench.")} & set(ROOMS)


def answering() -> set[str]:
    return {name for name in ROOMS if name in ANSWER or name.startswith(("adapters", "reference"))}


def test_the_answering_arm_imports_neither_of_the_others():
    for name in answering():
        assert not ours(name) & (ASK | CONCLUDE), name
        assert not {other for other in ours(name) if other.startswith("report")}, name


def test_the_concluding_arm_never_imports_an_adapter_a_reference_or_the_runner():
    concluding = {name for name in ROOMS if name in CONCLUDE or name.startswith("report.")}
    for name in concluding - {"report.terminal"}:
        needed = ours(name)
        assert not needed & (answering() | {"runner", "verify"}), name


def test_asking_never_imports_what_answers_or_concludes():
    for name in ASK & set(ROOMS):
        assert not ours(name) & (answering() | CONCLUDE), name


@pytest.mark.parametrize("framework", ["torch", "tensorflow", "jax", "autograd", "sympy"])
def test_only_its_own_adapter_imports_a_framework(framework):
    users = {name for name, needed in NEEDS.items() if any(w.partition(".")[0] == framework for w in needed)}
    assert {name.partition("_")[0] for name in users} == {f"adapters.{framework}"}


def test_nothing_imports_an_adapter_by_name():
    for name in ROOMS:
        others = {other for other in ours(name) if other.startswith("adapters.")}
        # An adapter of two rooms is still one adapter.
        assert {other.partition("_")[0] for other in others} <= {name.partition("_")[0]}, name


def test_the_runner_imports_nothing_of_the_worker():
    assert not ours("runner") & answering()


@pytest.mark.parametrize(
    ("module", "rooms"),
    [("yaml", {"document"}), ("jinja2", {"report.html"}), ("flint", None), ("mpmath", None), ("pandas", None)],
)
def test_a_library_is_used_where_it_belongs(module, rooms):
    users = {name for name, needed in NEEDS.items() if any(w.partition(".")[0] == module for w in needed)}
    assert users
    if rooms is not None:
        assert users <= rooms
    elif module == "pandas":
        assert all(name == "table" or name.startswith("report") for name in users)
    else:
        assert all(name == "exact" or name.startswith("reference") for name in users)


def test_only_the_device_room_touches_the_variable_that_hides_gpus():
    users = {name for name, path in ROOMS.items() if "CUDA_VISIBLE_DEVICES" in path.read_text(encoding="utf-8")}
    assert users == {"device"}


def test_function_texts_never_reach_eval_exec_or_sympify():
    for name, path in ROOMS.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            word = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            assert word not in {"exec", "sympify", "parse_expr", "literal_eval"} or (name, word) == (
                "primitives",
                "literal_eval",
            ), name
            assert not (isinstance(called, ast.Name) and word in {"eval", "compile"}), name


def test_there_is_no_cycle():
    state: dict[str, int] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if state.get(name) == 2:
            return
        assert state.get(name) != 1, " -> ".join((*path, name))
        state[name] = 1
        for other in lazily(name):
            visit(other, (*path, name))
        state[name] = 2

    def lazily(name: str) -> set[str]:
        """Imports at the top of a file: those within a function can't make a cycle at import."""
        tree = ast.parse(ROOMS[name].read_text(encoding="utf-8"))
        top = ast.Module([n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))], [])
        return {w.removeprefix("gradbench.") for w in imported(top) if w.startswith("gradbench.")} & set(ROOMS)

    for name in ROOMS:
        visit(name, ())


HEAVY = ("torch", "tensorflow", "jax", "autograd", "sympy", "pandas", "scipy", "flint", "numpy", "jinja2", "yaml")
SHOW = f"import sys; import gradbench.cli; print(*[m for m in {HEAVY!r} if m in sys.modules])"


def test_importing_the_command_line_imports_no_framework_and_no_pandas():
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_that_check_could_fail():
    done = subprocess.run(
        [sys.executable, "-c", "import scipy, numpy; " + SHOW], capture_output=True, text=True, check=True
    )
    assert "numpy" in done.stdout.split()
