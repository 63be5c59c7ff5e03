"""Files to checked cases.

Paths enter; every `Case` leaves, or every mistake of every file at once, each with its file, line and column.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator
from pathlib import Path

from gradbench import document
from gradbench.case import Case
from gradbench.case_reader import read
from gradbench.errors import Mistake, Mistakes, NothingToRun, Place


def load(paths: Iterable[Path]) -> list[Case]:
    """Every case of files, and of folders with all below them, in the order of their names.

    Raises:
        Mistakes: Anything wrong in any file.
        NothingToRun: There is no case.
    """
    mistakes: list[Mistake] = []
    cases: list[Case] = []
    with _without_collector():
        for path in files(paths):
            try:
                cases.extend(read(document.load(path, shown(path))))
            except Mistakes as found:
                mistakes.extend(found.mistakes)
    mistakes.extend(_twice(cases))
    if mistakes:
        raise Mistakes(mistakes)
    return cases


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Trees of many small objects and no garbage: looking for cycles among them took a third of the time of 5,000 cases."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def shipped() -> Path:
    """The cases that come with gradbench: inside the package in a wheel, beside it in a checkout."""
    inside = Path(__file__).parent / "_cases"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "cases"


def shown(path: Path) -> str:
    """What a file is called in messages and reports: by its place among the shipped cases, or from where we stand."""
    resolved = path.resolve()
    for folder, prefix in ((shipped(), Path("cases")), (Path.cwd(), Path())):
        if resolved.is_relative_to(folder.resolve()):
            return (prefix / resolved.relative_to(folder.resolve())).as_posix()
    return str(path)


def files(paths: Iterable[Path]) -> list[Path]:
    """The case files among paths; folders are searched for `*.yaml` and `*.yml`.

    Raises:
        Mistakes: A path doesn't exist.
        NothingToRun: A folder holds no case file.
    """
    found: list[Path] = []
    for given in paths:
        path = given if given.exists() else _among_shipped(given)
        if path.is_dir():
            inside = [p for p in path.rglob("*") if p.suffix in {".yaml", ".yml"} and p.is_file()]
            inside = sorted(p for p in inside if "deviations" not in p.relative_to(path).parts)
            _check_inside(path, inside)
            if not inside:
                raise NothingToRun(f"{path}: a folder without case files; they end in .yaml or .yml")
            found.extend(inside)
        elif path.exists():
            found.append(path)
        else:
            raise Mistakes([Mistake(Place(str(path)), "no such file or folder", "the path of case files")])
    return list(dict.fromkeys(found))


def _check_inside(folder: Path, found: Iterable[Path]) -> None:
    """Raises if a link among the files of a folder leads out of it: a folder of cases is from whoever wrote it.

    Raises:
        Mistakes: One does.
    """
    home = folder.resolve()
    wrong, right = f"a link that leads out of {folder}", "name the file itself"
    out = [Mistake(Place(str(p)), wrong, right) for p in found if not p.resolve().is_relative_to(home)]
    if out:
        raise Mistakes(out)


def _among_shipped(path: Path) -> Path:
    """The shipped file or folder that reports call by this path, or the path itself if there is none."""
    inside = shipped().joinpath(*path.parts[1:])
    return inside if path.parts[:1] == ("cases",) and inside.exists() else path


def _twice(cases: Iterable[Case]) -> Iterator[Mistake]:
    first: dict[str, Place] = {}
    for case in cases:
        if case.name in first:
            yield Mistake(case.place, f"another case {case.name!r}", f"it stands at {first[case.name]} too")
        first.setdefault(case.name, case.place)
