"""The verbs: parse, call the stages in order, choose the exit code.

Everything heavy is imported by the verb that needs it, so that `--help` and completion answer at once.

Exit codes: 0 all as accepted; 1 a verdict is worse; 2 bad usage or bad input files; 3 a target or device that was asked
for could not start; 130 interrupted (what was recorded is kept).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gradbench import __version__
from gradbench.errors import BadOption, CannotStart, DeviceMissing, GradbenchError

if TYPE_CHECKING:
    from gradbench.case import Case
    from gradbench.judge import Verdict
    from gradbench.plan import Selection
    from gradbench.record import Run
    from gradbench.registry import Entry

OK: Final = 0
WORSE: Final = 1
BAD_INPUT: Final = 2
NOT_STARTED: Final = 3
INTERRUPTED: Final = 130

FORMATS: Final = ("html", "csv", "junit", "json")
DEFAULT_FORMATS: Final = FORMATS[:3]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `gradbench`; ends the process with one of the exit codes."""
    sys.exit(invoke(arguments))


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; no traceback reaches anybody for something in their own files."""
    try:
        code = cli.main(arguments, prog_name="gradbench", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return BAD_INPUT
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was recorded is kept", err=True)
        return INTERRUPTED
    except GradbenchError as error:
        click.echo(str(error), err=True)
        return NOT_STARTED if isinstance(error, (CannotStart, DeviceMissing)) else BAD_INPUT
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody to tell
        return OK
    return code if isinstance(code, int) else OK


def _words(_context: click.Context, _parameter: click.Parameter, value: Any) -> tuple[str, ...]:
    """Values given several times, or with commas between them, or as a list in pyproject.toml."""
    parts = [value] if isinstance(value, str) else list(value or ())
    return tuple(word.strip() for part in parts for word in str(part).split(",") if word.strip())


def _complete_targets(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from gradbench import registry

    return [name for name, entry in registry.entries().items() if name.startswith(begun) and not entry.reference]


def _complete_cases(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    try:
        return [case.name for case in _load(()) if case.name.startswith(begun)]
    except GradbenchError:
        return []


def _many(name: str, text: str, **facts: Any) -> Callable[[Any], Any]:
    return click.option(name, multiple=True, callback=_words, help=text, **facts)


def _defaults(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """Takes defaults from `[tool.gradbench]` of the nearest pyproject.toml."""
    import tomllib

    path = Path(value) if value else _nearest("pyproject.toml")
    if path is None:
        return
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("gradbench", {})
    except OSError as error:
        raise BadOption(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadOption(f"{path}: not TOML: {error}") from None
    every = [p for command in cli.commands.values() for p in command.params]
    parameters = [p for p in every if isinstance(p, click.Option) and not p.is_flag]
    known = {option.removeprefix("--"): p for p in parameters for option in p.opts}
    for key in table:
        if key not in known:
            from gradbench.errors import suggestion

            raise BadOption(f"{path}: unknown key {key!r} in [tool.gradbench]; {suggestion(key, known)}")
    values = {known[key].name: [v] if known[key].multiple and isinstance(v, str) else v for key, v in table.items()}
    context.default_map = dict.fromkeys(cli.commands, values)


def _nearest(name: str) -> Path | None:
    here = Path.cwd()
    return next((folder / name for folder in (here, *here.parents) if (folder / name).is_file()), None)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gradbench")
@click.option(
    "--config", callback=_defaults, expose_value=False, help="Take defaults from [tool.gradbench] of this file."
)
def cli() -> None:
    """The referee for gradients: who differentiates a function right, by how much, and why."""


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose cases and what is asked of them."""
    options = (
        click.argument("paths", nargs=-1, type=click.Path(path_type=Path)),
        _many("--case", "Cases whose name matches this glob.", shell_complete=_complete_cases),
        _many("--tag", "Cases with this tag, in the file of this name, or using this primitive."),
        _many("--operator", "Ask for these operators alone."),
        _many("--dtype", "Ask in these number formats (float64, float32, float16, bfloat16)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@selecting
@_many("--target", "Ask these targets; all that are installed if not given.", shell_complete=_complete_targets)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N, or auto.")
@click.option(
    "--report", "folder", default="reports", show_default=True, type=click.Path(path_type=Path), help="Where to write."
)
@_many(
    "--format", f"What to write beside the records: {', '.join(FORMATS)}.", default=DEFAULT_FORMATS, show_default=True
)
@click.option(
    "--timeout", default=60.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds a query may take."
)
@click.option("--rtol", type=click.FloatRange(min=0), help="Judge by this relative tolerance instead.")
@click.option("--atol", type=click.FloatRange(min=0), help="Judge by this absolute tolerance instead.")
@click.option("--max-ulps", type=click.FloatRange(min=0), help="Judge by this many ulps instead.")
def run(folder: Path, timeout: float, device: str, **options: Any) -> int:
    """Run cases on every target, judge the answers, and write the report."""
    from gradbench import verify
    from gradbench.device import choose
    from gradbench.plan import plan

    formats = _formats(options["format"])
    targets = _targets(options["target"])
    where = choose(device)
    questions = plan(_load(options["paths"]), _selection(options))
    folder.mkdir(parents=True, exist_ok=True)
    if where.remark:
        click.echo(where.remark, err=True)
    from gradbench.report.terminal import Progress

    jobs = verify.jobs([*targets, *verify.references()], questions, where)
    records = folder / "records.jsonl"
    try:
        with Progress(sum(len(job.questions) for job in jobs), len(jobs)) as progress:
            done = verify.run(questions, targets, records, where, timeout, progress.watch)
    except KeyboardInterrupt:
        click.echo(f"interrupted; what was recorded is kept: see it with 'gradbench report {records}'", err=True)
        return INTERRUPTED
    return _report(done, folder, formats, _own(options), asked=options["target"])


@cli.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--rtol", type=click.FloatRange(min=0), help="Judge by this relative tolerance instead.")
@click.option("--atol", type=click.FloatRange(min=0), help="Judge by this absolute tolerance instead.")
@click.option("--max-ulps", type=click.FloatRange(min=0), help="Judge by this many ulps instead.")
def judge(records: tuple[Path, ...], **options: Any) -> int:
    """Judge stored records again, and print the verdicts."""
    done = _read(records)
    return _summary(done, _verdicts(done, _own(options)))


@cli.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--report", "folder", default="reports", show_default=True, type=click.Path(path_type=Path), help="Where to write."
)
@_many("--format", f"What to write: {', '.join(FORMATS)}.", default=DEFAULT_FORMATS, show_default=True)
def report(records: tuple[Path, ...], folder: Path, **options: Any) -> int:
    """Write the report of stored records."""
    formats = _formats(options["format"])
    done = _read(records)
    folder.mkdir(parents=True, exist_ok=True)
    return _report(done, folder, formats, {})


@cli.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The record file to write.")
def merge(records: tuple[Path, ...], output: Path) -> None:
    """Join record files of several sessions, versions or machines into one."""
    from gradbench.record import write

    done = _read(records)
    write(output, done)
    count = f"{len(done.records)} records, {len(done.questions)} questions, {len(done.targets)} targets"
    click.echo(f"{output}: {count}" + ("" if done.complete else "; a part was cut short"))


@cli.command("list")
@selecting
@click.option("--targets", "what", flag_value="targets", help="List targets instead.")
@click.option("--primitives", "what", flag_value="primitives", help="List the words of the language instead.")
def list_(what: str | None, **options: Any) -> None:
    """List cases, targets, or the words of the language."""
    if what == "targets":
        from gradbench import registry

        for entry in registry.entries().values():
            state = "installed" if entry.is_installed else f"needs {entry.requires}"
            click.echo(f"{entry.name:20} {state:20} {'reference' if entry.reference else ''}".rstrip())
        return
    if what == "primitives":
        from gradbench.primitives import VOCABULARY

        for word in VOCABULARY.values():
            where = "; ".join(part for part in (word.domain, word.kinks and f"kink: {word.kinks}") if part)
            click.echo(f"{word.topic:15} {word.signature:70} {where}".rstrip())
        return
    selection = _selection(options)
    for case in _load(options["paths"]):
        if selection.chooses(case):
            tags = f"[{', '.join(case.tags)}]" if case.tags else ""
            click.echo(f"{case.name:40} {len(case.points):3} points  {case.description} {tags}".rstrip())


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def validate(paths: tuple[Path, ...]) -> None:
    """Check case files, and say everything that is wrong with them."""
    cases = _load(paths)
    points = sum(len(case.points) for case in cases)
    click.echo(f"{len(cases)} cases with {points} points: no mistakes")


@cli.command()
@click.argument("case", shell_complete=_complete_cases)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def show(case: str, paths: tuple[Path, ...]) -> None:
    """Show one case: its function step by step, its points, what is stated and what is asked."""
    from gradbench.errors import suggestion
    from gradbench.report.terminal import show_case

    cases = {found.name: found for found in _load(paths)}
    if case not in cases:
        raise BadOption(f"no case {case!r}; {suggestion(case, cases)}")
    click.echo(show_case(cases[case]))


@cli.command()
def doctor() -> None:
    """Say which frameworks, versions and devices are here, and what is missing."""
    from gradbench.report.terminal import diagnosis

    for line in diagnosis():
        click.echo(line)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of case files, for editors."""
    import json

    from gradbench.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@cli.command()
@selecting
@_many("--liar", "Run these liars alone.")
def selfcheck(**options: Any) -> int:
    """Run adapters that lie over the cases, and say which lies the cases catch."""
    from gradbench.errors import suggestion
    from gradbench.plan import plan
    from gradbench.selfcheck import LIARS, lines
    from gradbench.selfcheck import selfcheck as check

    for name in options["liar"]:
        if name not in LIARS:
            raise BadOption(f"unknown liar {name!r}; {suggestion(name, LIARS)}")
    options["dtype"] = options["dtype"] or ("float64",)
    found = check(plan(_load(options["paths"]), _selection(options)), options["liar"] or LIARS)
    for line in lines(found):
        click.echo(line)
    return WORSE if any(score.is_alive for score in found.scores) else OK


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell, to be evaluated by it."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "gradbench", "_GRADBENCH_COMPLETE").source())


# What several verbs need


def _load(paths: Sequence[Path]) -> list[Case]:
    from gradbench import catalogue

    return catalogue.load(paths or [catalogue.shipped()])


def _selection(options: dict[str, Any]) -> Selection:
    from gradbench.errors import suggestion
    from gradbench.plan import Selection
    from gradbench.query import Operator
    from gradbench.schema import DTYPES

    for key, known in (("operator", set(Operator)), ("dtype", set(DTYPES))):
        for word in options[key]:
            if word not in known:
                raise BadOption(f"unknown {key} {word!r}; {suggestion(word, known)}")
    operators = tuple(Operator(word) for word in options["operator"])
    return Selection(options["case"], options["tag"], operators, options["dtype"])


def _targets(names: Sequence[str]) -> list[Entry]:
    """The targets asked for; those installed if none is named."""
    from gradbench import registry

    if not names:
        shown = {"finite-difference"}
        return [e for e in registry.installed().values() if not e.by_name and (not e.reference or e.name in shown)]
    found = [registry.entry(name) for name in names]
    for entry in found:
        if not entry.is_installed:
            how = f"; install the extra {entry.extra!r}" if entry.extra else ""
            raise CannotStart(entry.name, f"the module {entry.requires!r} is not installed{how}")
    return found


def _formats(words: Sequence[str]) -> tuple[str, ...]:
    from gradbench.errors import suggestion

    for word in words:
        if word not in FORMATS:
            raise BadOption(f"unknown format {word!r}; {suggestion(word, FORMATS)}")
    return tuple(words)


def _own(options: dict[str, Any]) -> dict[str, Any]:
    own = {key: options[key] for key in ("rtol", "atol", "max_ulps") if options.get(key) is not None}
    return {**own, "reason": "asked for on the command line"} if own else {}


def _read(paths: Sequence[Path]) -> Run:
    from gradbench import record

    runs = [record.read(path) for path in paths]
    for path, one in zip(paths, runs, strict=True):
        if not one.complete:
            click.echo(f"{path}: truncated: no footer after {len(one.records)} whole records", err=True)
    return runs[0] if len(runs) == 1 else record.merge(runs)


def _verdicts(done: Run, own: dict[str, Any]) -> list[Verdict]:
    from gradbench.judge import judge as judged

    return list(judged(done, own))


def _report(done: Run, folder: Path, formats: Sequence[str], own: dict[str, Any], asked: Sequence[str] = ()) -> int:
    from gradbench.report import write

    verdicts = _verdicts(done, own)
    written = write(done, verdicts, folder, formats)
    code = _summary(done, verdicts, asked)
    records = folder / "records.jsonl"
    for path in ([records] if records.exists() else []) + written:
        click.echo(f"wrote {path}")
    return code


def _summary(done: Run, verdicts: list[Verdict], asked: Sequence[str] = ()) -> int:
    from gradbench.judge import Ruling
    from gradbench.report.terminal import summary

    for line in summary(done, verdicts):
        click.echo(line)
    failed = [target for target in done.targets.values() if target.failure and target.name in asked]
    for target in failed:
        click.echo(f"{target.name} can't start: {target.failure}", err=True)
    if failed:
        return NOT_STARTED
    worse = {Ruling.FAIL, Ruling.ERROR, Ruling.DISPUTED}
    # A reference beyond its own error bar is our business, not that of whoever asked about a framework.
    judged = [v for v in verdicts if not v.target.reference or v.record.target in asked]
    return WORSE if any(verdict.ruling in worse for verdict in judged) else OK


if __name__ == "__main__":
    main()
