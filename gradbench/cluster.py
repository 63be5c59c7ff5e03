"""A run on other machines: whole parts of it, sent by Dask, come back as record files and are joined as they come.

Questions enter here, travel as JSON to wherever a Dask worker is, and are run there as on any machine, by workers of our
own: Dask moves parts and starts them again elsewhere when a machine dies, and never sees a query. The same gradbench
must be installed there, with the frameworks that are to be asked; it is what the machines there have that is judged.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gradbench import __version__, frames
from gradbench.errors import CannotStart, GradbenchError
from gradbench.query import Question
from gradbench.resume import begun
from gradbench.shard import part
from gradbench.verify import Setup, header
from gradbench.writer import Writer

if TYPE_CHECKING:
    from distributed import Client, Future

RETRIES: Final = 3
"""How often a part is started again after it failed; Dask itself starts it elsewhere when a machine dies."""
CONNECT: Final = 30
"""Seconds to find the scheduler."""
PARTS: Final = 4
"""Parts for each worker if nobody says: enough that the last to finish isn't waited for long."""


class PartsLost(GradbenchError):
    """Parts of a run that no machine brought to its end."""

    def __init__(self, path: Path, lost: Mapping[int, str], count: int) -> None:
        self.path, self.lost = path, lost
        number, reason = next(iter(lost.items()))
        parts = f"part {number}" if len(lost) == 1 else f"{len(lost)} parts, the first of them {number},"
        super().__init__(f"{path}: {parts} of {count} did not come back: {reason}; '--resume' asks for them again")


def run(
    questions: Sequence[Question],
    targets: Sequence[str],
    path: Path,
    scheduler: str,
    options: Mapping[str, Any],
    parts: int | None = None,
    resume: bool = False,
    watch: Callable[[int], None] = lambda _count: None,
) -> None:
    """Runs the questions on the workers of a Dask cluster, and writes one record file.

    Args:
        questions: What to ask.
        targets: Whom, in the words of the command line, which each machine understands for itself.
        path: The record file.
        scheduler: The address of the scheduler, as `tcp://host:8786`.
        options: Of the command line, by name: `device`, `timeout`, `compile_timeout`, `memory`, `at_once`, `workers`,
            `no_cache`.
        parts: How many parts there are; `PARTS` for each worker if None.
        resume: Whether to go on with the file: only what it lacks is asked.
        watch: Called with the number of questions whenever some have been answered.

    Raises:
        CannotStart: There is no scheduler at that address, or no worker behind it.
        PartsLost: Something came back and not everything did; the file holds it, without a footer.
        CannotWrite, CannotResume: As for `verify.run`.
    """
    old = begun(path, by_part=True) if resume else None
    facts = {"device": options["device"], "shard": "", "scheduler": scheduler, "targets": list(targets)}
    if old is not None:
        old.check(questions, {}, facts)
        if old.complete:
            return
    with _client(scheduler) as client, path.open("wb", buffering=0) if old is None else old.opened() as stream:
        writer = Writer(stream, None if old else header(identities={}, **facts), old.count if old else 0)
        for question in questions:
            if old is None or question.query.id not in old.digests:
                writer.question(question)
        left = [question for question in questions if old is None or question.query.id not in old.parts]
        count = min(parts or PARTS * len(_workers(client)), len({question.case for question in left})) or 1
        shares = {number: part(left, number, count) for number in range(1, count + 1)}
        lost: dict[int, str] = {}
        for number, answer in _answers(client, shares, targets, options):
            if isinstance(answer, bytes):
                writer.part([question.query.id for question in shares[number]], answer)
                watch(len(shares[number]))
            else:
                lost[number] = f"{type(answer).__name__}: {answer}"
        if lost:
            raise PartsLost(path, dict(sorted(lost.items())), count)
        writer.finish()


def work(payload: bytes, targets: Sequence[str], options: Mapping[str, Any]) -> bytes:
    """What a machine of the cluster does: runs some questions and returns the lines of its record file."""
    from gradbench import options as command
    from gradbench import verify

    version, _, lines = payload.partition(b"\n")
    if version.decode() != __version__:
        raise RuntimeError(f"gradbench {__version__} is installed here, and {version.decode()} asks")
    questions = [Question.from_json(frames.loaded(line)) for line in lines.splitlines()]
    entries = command.targets(targets)
    setup: Setup = command.setup(dict(options))
    with tempfile.TemporaryDirectory(prefix="gradbench-") as folder:
        path = Path(folder) / "records.jsonl"
        verify.run(questions, entries, path, setup)
        wanted = (b'{"type":"target"', b'{"type":"record"')
        with path.open("rb") as stream:
            return b"".join(line for line in stream if line.startswith(wanted))


def _answers(
    client: Client, shares: Mapping[int, Sequence[Question]], targets: Sequence[str], options: Mapping[str, Any]
) -> Iterator[tuple[int, bytes | BaseException]]:
    """Each part with its lines, or with what became of it, as they come."""
    from distributed import as_completed

    futures: dict[Future, int] = {}
    name = uuid.uuid4().hex
    try:
        for number, questions in shares.items():
            lines = [b"".join(frames.stored(question.to_json())) for question in questions]
            payload = b"".join([__version__.encode() + b"\n", *lines])
            future = client.submit(
                work,
                payload,
                list(targets),
                dict(options),
                retries=RETRIES,
                pure=False,
                key=f"gradbench-{name}-{number}",
            )
            futures[future] = number
        for future in as_completed(list(futures), loop=client.loop):
            error = future.exception()
            yield futures[future], error if error is not None else future.result()
            future.release()
    finally:
        client.cancel(list(futures), force=True)


@contextmanager
def _client(scheduler: str) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError:
        raise CannotStart("dask", "the module 'distributed' is not installed; install the extra 'dask'") from None
    try:
        client = Client(scheduler, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CannotStart("dask", f"no scheduler at {scheduler}: {error}") from None
    try:
        if not _workers(client):
            raise CannotStart("dask", f"the scheduler at {scheduler} has no workers")
        yield client
    finally:
        with suppress(OSError, TimeoutError):
            client.close(timeout=5)


def _workers(client: Client) -> Mapping[str, Any]:
    found: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return found
