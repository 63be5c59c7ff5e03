"""The verbs: parse, call the stages in order, choose the exit code.

Everything heavy is imported by the verb that needs it, so that `--help` and completion answer at once.

Exit codes: 0 all as accepted; 1 a verdict is worse; 2 bad usage or bad input files; 3 a target or device that was asked
for could not start; 130 interrupted (what was recorded is kept).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gradbench import __version__, options
from gradbench.errors import BadOption, CannotStart, DeviceMissing, GradbenchError
from gradbench.options import DEFAULT_FORMATS, FORMATS

if TYPE_CHECKING:
    from gradbench.index import Index
    from gradbench.query import Question
    from gradbench.record import Recorded
    from gradbench.registry import Entry
    from gradbench.report.terminal import Summary
    from gradbench.verify import Setup

OK: Final = 0
WORSE: Final = 1
BAD_INPUT: Final = 2
NOT_STARTED: Final = 3
INTERRUPTED: Final = 130


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
        click.echo(_shown(str(error)), err=True)
        return NOT_STARTED if isinstance(error, (CannotStart, DeviceMissing)) else BAD_INPUT
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody to tell
        return OK
    return code if isinstance(code, int) else OK


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gradbench")
@click.option(
    "--config", callback=options.defaults, expose_value=False, help="Take defaults from [tool.gradbench] of this file."
)
def cli() -> None:
    """The referee for gradients: who differentiates a function right, by how much, and why."""


@cli.command()
@options.selecting
@options.many(
    "--target",
    "Ask these targets, a glob of them, 'all', or 'plain': each framework in its plain way, as if not given.",
    shell_complete=options.complete_targets,
)
@click.option(
    "--report", "folder", default="reports", show_default=True, type=click.Path(path_type=Path), help="Where to write."
)
@options.many(
    "--format", f"What to write beside the records: {', '.join(FORMATS)}.", default=DEFAULT_FORMATS, show_default=True
)
@options.asking
@click.option("--resume", is_flag=True, help="Go on with the records of a run that was cut short.")
@click.option("--shard", default="", metavar="I/N", help="Run the I-th of N parts; 'merge' joins their records.")
@click.option("--executor", type=click.Choice(["dask"]), help="Run on other machines, in parts.")
@click.option("--scheduler", metavar="ADDRESS", help="Of the Dask scheduler, as tcp://host:8786.")
@click.option(
    "--parts", type=click.IntRange(min=1), help="Into how many parts to cut; 4 for each machine if not given."
)
@options.judging
def run(folder: Path, resume: bool, shard: str, **given: Any) -> int:
    """Run cases on every target, judge the answers, and write the report."""
    from gradbench.plan import plan
    from gradbench.shard import parse, part

    formats = options.formats(given["format"])
    options.clustered(given, shard)
    # Whatever can't be had is said before anything is written. On other machines, they say.
    targets = [] if given["executor"] else options.targets(given["target"])
    setup = None if given["executor"] else replace(options.setup(given), resume=resume, shard=shard)
    questions = plan(options.load(given["paths"]), options.selection(given))
    if shard:
        questions = part(questions, *parse(shard))
    folder.mkdir(parents=True, exist_ok=True)
    if not (given["paths"] or given["case"] or given["tag"]):
        click.echo("the large cases are left out; '--tag large' asks them")
    records = folder / "records.jsonl"
    try:
        with options.ending():
            if setup is None:
                _sent(questions, records, resume, given)
            else:
                _asked(questions, targets, records, setup)
    except KeyboardInterrupt:
        click.echo(
            f"interrupted; what was recorded is kept: '--resume' goes on, 'gradbench report {records}' shows it",
            err=True,
        )
        return INTERRUPTED
    return _report(_read([records]), folder, formats, options.own(given), asked=given["target"])


def _asked(questions: Sequence[Question], targets: Sequence[Entry], records: Path, setup: Setup) -> None:
    """Asks on this machine."""
    from gradbench import verify
    from gradbench.report.terminal import Progress

    jobs = verify.jobs([*targets, *verify.references()], questions, setup.device)
    with Progress(sum(len(job.questions) for job in jobs), len(jobs)) as progress:
        verify.run(questions, targets, records, setup, progress.watch)
    if setup.cache is not None and setup.cache.trouble:
        click.echo(setup.cache.trouble, err=True)


def _sent(questions: Sequence[Question], records: Path, resume: bool, given: dict[str, Any]) -> None:
    """Asks on other machines."""
    from gradbench import cluster
    from gradbench.report.terminal import Progress

    with Progress(len(questions), 0) as progress:
        cluster.run(
            questions, given["target"], records, given["scheduler"], options.sent(given), given["parts"], resume,
            progress.advance,
        )  # fmt: skip


@cli.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.judging
def judge(records: tuple[Path, ...], **given: Any) -> int:
    """Judge stored records again, and print the verdicts."""
    from gradbench.judge import judge as judged
    from gradbench.report.stream import batches
    from gradbench.report.terminal import Summary

    done, found = _read(records), Summary()
    for batch in batches(judged(done, options.own(given))):
        found.add(batch)
    return _summary(done, found)


@cli.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--report", "folder", default="reports", show_default=True, type=click.Path(path_type=Path), help="Where to write."
)
@options.many("--format", f"What to write: {', '.join(FORMATS)}.", default=DEFAULT_FORMATS, show_default=True)
@options.judging
def report(records: tuple[Path, ...], folder: Path, **given: Any) -> int:
    """Write the report of stored records."""
    formats = options.formats(given["format"])
    done = _read(records)
    folder.mkdir(parents=True, exist_ok=True)
    return _report(done, folder, formats, options.own(given))


@cli.command()
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The record file to write.")
def merge(records: tuple[Path, ...], output: Path) -> None:
    """Join record files of several sessions, versions or machines into one."""
    done = _read(records)
    done.write(output)
    count = f"{done.count} records, {done.asked} questions, {len(done.targets)} targets"
    click.echo(f"{output}: {count}" + ("" if done.complete else "; a part was cut short"))


@cli.command("list")
@options.selecting
@click.option("--targets", "what", flag_value="targets", help="List targets instead.")
@click.option("--primitives", "what", flag_value="primitives", help="List the words of the language instead.")
def list_(what: str | None, **given: Any) -> None:
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
    selection = replace(options.selection(given), without=())
    for case in options.load(given["paths"]):
        if selection.chooses(case):
            tags = f"[{', '.join(case.tags)}]" if case.tags else ""
            click.echo(_shown(f"{case.name:40} {len(case.points):3} points  {case.description} {tags}".rstrip()))


@cli.command()
@click.argument("what", type=click.Choice(["info", "clear"]))
def cache(what: str) -> None:
    """Say what answers of earlier runs are kept, or forget them."""
    from gradbench.cache import Cache
    from gradbench.memory import shown

    kept = Cache()
    if what == "clear":
        kept.clear()
    found = kept.info()
    if kept.trouble:
        raise BadOption(kept.trouble)
    count = f"{found.answers} answer{'' if found.answers == 1 else 's'}"
    click.echo(f"{found.path}: {count}, {shown(found.size)} of at most {shown(found.limit)}")
    for name, number in found.targets.items():
        click.echo(f"{name:30} {number:8}")


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def validate(paths: tuple[Path, ...]) -> None:
    """Check case files, and say everything that is wrong with them."""
    cases = options.load(paths)
    points = sum(len(case.points) for case in cases)
    click.echo(f"{len(cases)} cases with {points} points: no mistakes")


@cli.command()
@click.argument("case", shell_complete=options.complete_cases)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def show(case: str, paths: tuple[Path, ...]) -> None:
    """Show one case: its function step by step, its points, what is stated and what is asked."""
    from gradbench.report.terminal import show_case

    click.echo(show_case(options.chosen(case, paths)))


@cli.command()
@click.argument("case", shell_complete=options.complete_cases)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@options.many(
    "--target", "Ask these targets; all that are installed if not given.", shell_complete=options.complete_targets
)
@click.option("--point", default=1, show_default=True, type=click.IntRange(min=1), help="Which point of the case.")
@options.many("--dtype", "In this number format.", default=("float64",), show_default=True)
@click.option("--graph", type=click.Choice(["dot"]), help="Print the graph alone, as text for Graphviz.")
@click.option(
    "--report", "folder", type=click.Path(path_type=Path), help="Write a page, and a panel if there is a report."
)
@options.asking
def explain(case: str, paths: tuple[Path, ...], graph: str | None, folder: Path | None, **given: Any) -> int:
    """Explain one derivative of a case: every node's value and adjoint, as each target has them."""
    from gradbench import explain as room
    from gradbench import verify
    from gradbench.report import drawing, panel
    from gradbench.report.terminal import Progress
    from gradbench.report.terminal_explain import rendered

    targets = options.targets(given["target"])
    dtype = options.dtypes(given["dtype"])[0]
    lesson = room.lesson(options.chosen(case, paths), given["point"], dtype)
    setup = options.setup(given)
    jobs = verify.jobs([*targets, *verify.references()], lesson.questions, setup.device)
    with Progress(sum(len(job.questions) for job in jobs), len(jobs)) as progress:
        found = room.explain(lesson, targets, setup, progress.watch)
    click.echo(drawing.dot(found) if graph else rendered(found))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in panel.write(found, folder, options.again(given)):
            click.echo(f"wrote {path}", err=bool(graph))
    absent = [target for target in found.absent if target.name in given["target"]]
    for target in absent:
        click.echo(_shown(f"{target.name} can't start: {target.failure}"), err=True)
    if absent:
        return NOT_STARTED
    # A reference beyond its own error bar is our business, not that of whoever asked about a framework.
    departing = [v for v in found.departing if not v.target.reference or v.target.name in given["target"]]
    return WORSE if departing or found.disputes else OK


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
@options.selecting
@options.many("--liar", "Run these liars alone.")
def selfcheck(**given: Any) -> int:
    """Run adapters that lie over the cases, and say which lies the cases catch."""
    from gradbench.errors import suggestion
    from gradbench.plan import plan
    from gradbench.selfcheck import LIARS, lines
    from gradbench.selfcheck import selfcheck as check

    for name in given["liar"]:
        if name not in LIARS:
            raise BadOption(f"unknown liar {name!r}; {suggestion(name, LIARS)}")
    given["dtype"] = given["dtype"] or ("float64",)
    found = check(plan(options.load(given["paths"]), options.selection(given)), given["liar"] or LIARS)
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


def _shown(text: str) -> str:
    """A text from somebody's file, with no sign in it that a terminal would take for a command."""
    from gradbench.report.words import shown

    return shown(text)


def _read(paths: Sequence[Path]) -> Index:
    from gradbench.index import Index

    found = Index(paths)
    for part in found.parts:
        if not part.complete:
            click.echo(_shown(f"{part.path}: truncated: no footer after {part.count} whole records"), err=True)
    return found


def _report(
    done: Recorded, folder: Path, formats: Sequence[str], own: dict[str, Any], asked: Sequence[str] = ()
) -> int:
    from gradbench.judge import judge as judged
    from gradbench.report import write
    from gradbench.report.terminal import Summary

    found = Summary()
    written = write(done, judged(done, own), folder, formats, found)
    code = _summary(done, found, asked)
    records = folder / "records.jsonl"
    for path in ([records] if records.exists() else []) + written:
        click.echo(f"wrote {path}")
    return code


def _summary(done: Recorded, found: Summary, asked: Sequence[str] = ()) -> int:
    for line in found.lines(done):
        click.echo(line)
    failed = [target for target in done.targets.values() if target.failure and target.name in asked]
    for target in failed:
        click.echo(_shown(f"{target.name} can't start: {target.failure}"), err=True)
    if failed:
        return NOT_STARTED
    return WORSE if found.is_worse(asked) else OK


if __name__ == "__main__":
    main()
