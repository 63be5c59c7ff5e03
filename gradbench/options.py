"""The options that several verbs share, and what their words mean: cases, targets, formats, tolerances.

What a person typed enters; what the stages take leaves, or a `BadOption` that says what would fit.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from gradbench.errors import BadOption, CannotStart, GradbenchError

if TYPE_CHECKING:
    from gradbench.case import Case
    from gradbench.plan import Selection
    from gradbench.registry import Entry
    from gradbench.verify import Setup

FORMATS: Final = ("html", "csv", "junit", "coverage", "json")
LARGE: Final = ("large",)
"""The tag of the shipped cases that are asked only if a file, a name or a tag is."""
DEFAULT_FORMATS: Final = FORMATS[:4]


def words(_context: click.Context, _parameter: click.Parameter, value: Any) -> tuple[str, ...]:
    """Values given several times, or with commas between them, or as a list in pyproject.toml."""
    parts = [value] if isinstance(value, str) else list(value or ())
    return tuple(word.strip() for part in parts for word in str(part).split(",") if word.strip())


def complete_targets(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The names of targets that begin so."""
    from gradbench import registry

    return [name for name, entry in registry.entries().items() if name.startswith(begun) and not entry.reference]


def complete_cases(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The names of shipped cases that begin so."""
    try:
        return [case.name for case in load(()) if case.name.startswith(begun)]
    except GradbenchError:
        return []


def many(name: str, text: str, **facts: Any) -> Callable[[Any], Any]:
    """An option that may be given several times, or as words with commas between them."""
    return click.option(name, multiple=True, callback=words, help=text, **facts)


def defaults(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """Takes defaults from `[tool.gradbench]` of the nearest pyproject.toml."""
    import tomllib

    path = Path(value) if value else nearest("pyproject.toml")
    if path is None:
        return
    commands: dict[str, click.Command] = context.command.commands  # type: ignore[attr-defined]  # it is the group
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("gradbench", {})
    except OSError as error:
        raise BadOption(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadOption(f"{path}: not TOML: {error}") from None
    every = [p for command in commands.values() for p in command.params]
    parameters = [p for p in every if isinstance(p, click.Option) and not p.is_flag]
    known = {option.removeprefix("--"): p for p in parameters for option in p.opts}
    for key in table:
        if key not in known:
            from gradbench.errors import suggestion

            raise BadOption(f"{path}: unknown key {key!r} in [tool.gradbench]; {suggestion(key, known)}")
    values = {known[key].name: [v] if known[key].multiple and isinstance(v, str) else v for key, v in table.items()}
    context.default_map = dict.fromkeys(commands, values)


def nearest(name: str) -> Path | None:
    """The file of that name in this folder or the nearest above it."""
    here = Path.cwd()
    return next((folder / name for folder in (here, *here.parents) if (folder / name).is_file()), None)


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose cases and what is asked of them."""
    options = (
        click.argument("paths", nargs=-1, type=click.Path(path_type=Path)),
        many("--case", "Cases whose name matches this glob.", shell_complete=complete_cases),
        many("--tag", "Cases with this tag, in the file of this name, or using this primitive."),
        many("--operator", "Ask for these operators alone."),
        many("--dtype", "Ask in these number formats (float64, float32, float16, bfloat16)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def judging(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how far is too far."""
    each = "; TARGET=NUMBER for one target or a glob of them"
    options = (
        click.option("--rtol", multiple=True, help=f"Judge by this relative tolerance instead{each}."),
        click.option("--atol", multiple=True, help=f"Judge by this absolute tolerance instead{each}."),
        click.option("--max-ulps", multiple=True, help=f"Judge by this many ulps instead{each}."),
        click.option("--reason", default="", help="Why, for the report."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where targets run, how long they may take and how much they may hold."""
    seconds = click.FloatRange(min=0.1)
    options = (
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N, or auto."),
        click.option("--timeout", default=60.0, show_default=True, type=seconds, help="Seconds a query may take."),
        click.option(
            "--compile-timeout", default=240.0, show_default=True, type=seconds,
            help="Seconds more for the first query about a function at a target that compiles.",
        ),
        click.option("--memory", help="What a worker may hold, as 8G, or none; half of the machine's if not given."),
        click.option(
            "--jobs", "at_once", type=click.IntRange(min=1),
            help="Workers at a time; twice as many as cores if not given.",
        ),
        click.option(
            "--workers", default=1, show_default=True, type=click.IntRange(min=1),
            help="Workers that share the questions of one target.",
        ),
        click.option("--no-cache", is_flag=True, help="Ask everything anew, and keep no answer for the next run."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def setup(options: dict[str, Any]) -> Setup:
    """What was asked for by `asking`'s options.

    Raises:
        BadOption, DeviceMissing: There is no such device, or an amount of memory that is none.
    """
    from gradbench import memory
    from gradbench.cache import Cache
    from gradbench.device import choose
    from gradbench.process import Limits
    from gradbench.verify import Setup

    device = choose(options["device"])
    if device.remark:
        click.echo(device.remark, err=True)
    most = memory.usual() if options["memory"] is None else memory.parse(options["memory"])
    limits = Limits(options["timeout"], options["compile_timeout"], memory=most)
    cache = None if options["no_cache"] else Cache()
    return Setup(device, limits, options["at_once"], options["workers"], cache)


SENT: Final = ("device", "timeout", "compile_timeout", "memory", "at_once", "workers", "no_cache")
"""The options of `asking`, which hold on whatever machine asks."""


def sent(options: dict[str, Any]) -> dict[str, Any]:
    """What was asked for by `asking`'s options, for another machine to read."""
    return {key: options[key] for key in SENT}


def clustered(options: dict[str, Any], shard: str) -> None:
    """Raises `BadOption` where the options that send a run to other machines don't fit together."""
    if options["executor"] and not options["scheduler"]:
        raise BadOption("'--executor dask' needs '--scheduler', as tcp://host:8786")
    for key in ("scheduler", "parts"):
        if options[key] and not options["executor"]:
            raise BadOption(f"'--{key}' goes with '--executor dask'")
    if options["executor"] and shard:
        raise BadOption("'--shard' and '--executor' both cut the run into parts; give one of them")


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Within it, being told to end (SIGTERM, SIGHUP) is like Ctrl-C: workers are ended and records kept."""

    def interrupted(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupted) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def load(paths: Sequence[Path]) -> list[Case]:
    """The cases of these files; those shipped if none is named."""
    from gradbench import catalogue

    return catalogue.load(paths or [catalogue.shipped()])


def chosen(name: str, paths: Sequence[Path]) -> Case:
    """The case of that name.

    Raises:
        BadOption: There is none.
    """
    from gradbench.errors import suggestion

    cases = {found.name: found for found in load(paths)}
    if name not in cases:
        raise BadOption(f"no case {name!r}; {suggestion(name, cases)}")
    return cases[name]


def again(options: dict[str, Any]) -> list[str]:
    """What was asked for beside a case, as it is written on the command line."""
    found: list[str] = []
    for key, usual in (("target", ()), ("point", 1), ("dtype", ("float64",)), ("device", "cpu"), ("timeout", 60.0)):
        value = options[key]
        if value != usual:
            found += [f"--{key}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return found


def selection(options: dict[str, Any]) -> Selection:
    """What was asked for by `selecting`'s options.

    Raises:
        BadOption: A word that is no operator or dtype.
    """
    from gradbench.plan import Selection
    from gradbench.query import Operator

    for word in options["operator"]:
        _must_be_known("operator", word, set(Operator))
    dtypes(options["dtype"])
    operators = tuple(Operator(word) for word in options["operator"])
    # Answers of a million numbers fill a disk quickly: nobody gets them who hasn't said so.
    said = options["paths"] or options["case"] or options["tag"]
    return Selection(options["case"], options["tag"], operators, options["dtype"], () if said else LARGE)


def dtypes(words: Sequence[str]) -> tuple[str, ...]:
    """Number formats.

    Raises:
        BadOption: A word that is none.
    """
    from gradbench.schema import DTYPES

    for word in words:
        _must_be_known("dtype", word, set(DTYPES))
    return tuple(words)


def _must_be_known(what: str, word: str, known: Iterable[str]) -> None:
    from gradbench.errors import suggestion

    if word not in known:
        raise BadOption(f"unknown {what} {word!r}; {suggestion(word, known)}")


def targets(names: Sequence[str]) -> list[Entry]:
    """The targets asked for: by name, by a glob, or `all` that are installed; `plain` ones if none is named.

    Raises:
        UnknownTarget: A name that nothing has.
        CannotStart: A target that isn't installed.
    """
    import fnmatch

    from gradbench import registry

    shown = {"finite-difference"}
    usual = [e for e in registry.installed().values() if not e.by_name and (not e.reference or e.name in shown)]
    if not names:
        return [entry for entry in usual if entry.is_plain]
    known = [entry for entry in registry.installed().values() if not entry.reference]
    found: dict[str, Entry] = {}
    for name in names:
        if name in {"all", "plain"}:
            found |= {entry.name: entry for entry in usual if entry.is_plain or name == "all"}
            continue
        matching = [entry for entry in known if fnmatch.fnmatchcase(entry.name, name)] if "*" in name else []
        found |= {entry.name: entry for entry in matching or [registry.entry(name)]}
    for entry in found.values():
        if not entry.is_installed:
            how = f"; install the extra {entry.extra!r}" if entry.extra else ""
            raise CannotStart(entry.name, f"the module {entry.requires!r} is not installed{how}")
    return list(found.values())


def formats(words: Sequence[str]) -> tuple[str, ...]:
    """What to write.

    Raises:
        BadOption: A word that is no format.
    """
    for word in words:
        _must_be_known("format", word, FORMATS)
    return tuple(words)


def own(options: dict[str, Any]) -> dict[str, Any]:
    """The tolerance asked for, as a case would have it: for every target, and under `targets` for some.

    Raises:
        BadOption: What is given is no number of 0 or more.
    """
    reason = options["reason"] or "asked for on the command line"
    every: dict[str, Any] = {}
    targets: dict[str, dict[str, Any]] = {}
    for key in ("rtol", "atol", "max_ulps"):
        for word in options[key]:
            name, _, text = word.rpartition("=")
            try:
                value = float(text)
            except ValueError:
                value = -1.0
            if not value >= 0:
                option = f"--{key.replace('_', '-')}"
                raise BadOption(f"{option} {word!r}: write {option} 1e-6, or {option} torch=1e-6")
            (targets.setdefault(name, {"reason": reason}) if name else every)[key] = value
    found = {**every, "reason": reason} if every else {}
    return {**found, "targets": targets} if targets else found
