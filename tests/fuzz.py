"""Whatever stands in a file, nothing but a `GradbenchError` may come of reading it: soon, and in little memory.

`TARGETS` are what reads files: the loader of cases, the parser of functions, the reader of records with all that is drawn
from them. `mutated` and `mangled` make bad files of good ones. As a program this runs a coverage-guided fuzzer over one:

    python tests/fuzz.py loader corpus/ --seconds 600
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import random
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    with contextlib.suppress(ImportError):
        import atheris

        with atheris.instrument_imports(include=["gradbench"]):  # whatever is imported before isn't watched
            import gradbench.case_reader
            import gradbench.index
            import gradbench.report.terminal  # noqa: F401

from gradbench import document, schema
from gradbench.case_reader import read as read_cases
from gradbench.errors import GradbenchError
from gradbench.index import Index
from gradbench.journal import merge, read, write
from gradbench.judge import judge
from gradbench.language import parse, parse_rule
from gradbench.report import write as write_report
from gradbench.report.terminal import Summary, show_case
from gradbench.shapes import Spec, infer

SECONDS = 1.0
"""Of the processor, so that a busy machine is no hang."""
BYTES = 512 * 2**20

SPECS = {
    "x": Spec(),
    "v": Spec((3,)),
    "A": Spec((2, 3)),
    "S": Spec((3, 3)),
    "i": Spec((2,), "integer"),
    "z": Spec((), "complex"),
}


class Hang(Exception):
    """It took too long."""


@contextlib.contextmanager
def bounded(seconds: float = SECONDS, most: int = BYTES) -> Iterator[None]:
    """Raises `Hang` after so many seconds, and MemoryError where more bytes are taken than that."""

    def late(*_: Any) -> None:
        raise Hang(f"more than {seconds:g} s")

    with _memory(most):
        before = signal.signal(signal.SIGVTALRM, late)
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def _memory(most: int) -> Iterator[None]:
    status = Path("/proc/self/status")
    if not status.exists():  # elsewhere than on Linux
        yield
        return
    import resource

    taken = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmData"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (taken * 1024 + most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


# What is fuzzed. Each answers whether the bytes were good.


def loader(data: bytes) -> bool:
    """A case file, and what is shown of its cases."""
    try:
        cases = read_cases(document.parse(data, "f.yaml"))
        for case in cases[:3]:
            if sum(array.size for point in case.points for array in point.inputs.values()) < 1000:
                show_case(case)
    except GradbenchError as error:
        str(error)
        return False
    return True


def parser(data: bytes) -> bool:
    """A function's text, its shapes, and a derivative of it by hand."""
    text = data.decode("utf-8", "surrogateescape" if data[:1] == b"!" else "replace")
    try:
        infer(parse(text, SPECS), SPECS)
        first, _, second = text.partition("\n\n")
        parse_rule(first, second or first, SPECS, ["cotangent"])
    except GradbenchError as error:
        str(error)
        return False
    return True


def reader(data: bytes) -> bool:
    """A record file as `judge`, `report` and `merge` read it."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        path = Path(folder) / "records.jsonl"
        path.write_bytes(data)
        return concluded(path)


def concluded(path: Path, names: tuple[str, ...] = ("csv", "json", "junit", "coverage")) -> bool:
    """Whether a record file is one; everything that can be concluded from it is, beside it."""
    try:
        run = read(path)
        write(path.with_name("merged.jsonl"), merge([run, run]))
        for known in (run, Index([path])):
            summary = Summary()
            write_report(known, judge(known), path.parent, names, summary)
            "".join(summary.lines(known))
    except GradbenchError as error:
        str(error)
        return False
    return True


TARGETS: dict[str, Callable[[bytes], bool]] = {"loader": loader, "parser": parser, "reader": reader}


# Bad files of good ones

TOKENS = [
    b"[", b"]", b"{", b"}", b":", b"- ", b"? ", b"&a ", b"*a", b"!!python/object:os.system ", b"| ", b">\n", b'"', b"'", b"\n", b"\t",
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\x1b[31m", "\u202e".encode(), b"%TAG ! x\n", b"---\n", b"<<: ", b"#", b",", b"nan", b"inf",
    b"-1", b"1e9999", b"10**10**10", b"9" * 400, b"0x" + b"f" * 500, b"1" * 3000 + b"x", b"(" * 99, b"-" * 300, b"x+" * 300,
    b"scalar", b"any", b"[1000000000]", b"grid", b"draw", b"{from: 0, to: inf, count: nan}", b"tile(x, (999999999,)) ", b".T",
    b"broadcast_to(x, (99999, 99999))", b"exp(exp(exp(9)))", b"python: os", b"\\ud800", b"1_0", b"1e400", b"NaN", b"-Infinity", b"null",
    b'"shape":[1000000000000]', b'"dtype":"float64"', b'"base64":"AAAA"', b"true", b"[[[[[[", b'{"a":',
]  # fmt: skip
JUNK: list[Any] = [
    None, True, False, -1, 0, 1, 3, 2**53, 2**63, 2**64, 10**12, 10**400, -0.5, 1e308, float("nan"), float("inf"), "", "x", "nan", "\ud800",
    "\0", "=1+1", "\x1b[2J", "a" * 5000, [], {}, [[]], [1], [0, 10**18], [-1], [1.5], [True], ["x"], {"x": 1}, {"dtype": "float64"},
    {"dtype": "float64", "shape": [10**9], "data": []}, {"dtype": "float64", "shape": [], "data": [1]},
    {"dtype": "complex64", "shape": [2], "data": [1, 2, "nan", 1e999]}, {"dtype": "bool", "shape": [1], "data": [2]},
    {"dtype": "int8", "shape": [1], "data": [999]}, {"dtype": "float64", "shape": [3], "base64": "AA=="},
    {"shape": [10**9], "words": "certified"}, {"shape": [2], "words": ["kink"]}, "float16", "bfloat16", "complex128", "hvp", "partial",
    "vjp", "1/0", "x +", "slogdet(x)", "x, x", "tile(x, (99999, 99999))", "9" * 5000, ":" + "9" * 4500, {"targets": {"*": {"rtol": None}}},
    {"x": {"whole": 10**9, "bits": [], "seed": 1}}, {"x": {"whole": 1, "bits": [10**6], "seed": ""}},
]  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A file with some of its bytes lost, repeated, swapped for others or with tokens put in."""
    for _ in range(chance.randint(1, 4)):
        a, b = sorted(chance.randint(0, len(data)) for _ in range(2))
        b = min(b, a + chance.choice([1, 1, 8, 64, 4096]))
        piece = {
            0: b"",
            1: data[a:b] * chance.choice([2, 2, 3, 50]),
            2: chance.choice(TOKENS),
            3: chance.choice(TOKENS) + data[a:b],
            4: bytes(chance.randrange(256) for _ in range(min(b - a, 4))),
            5: b"".join(chance.choice(TOKENS) for _ in range(6)),
        }[chance.randrange(6)]
        data = data[:a] + piece + data[b:]
    return data[: 1 << 18]


def mangled(value: Any, chance: random.Random) -> Any:
    """A JSON value in which one part, somewhere, is another one or is missing."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        inside, key = value, None
        while isinstance(inside, (dict, list)) and inside:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            key = chance.choice(keys)
            if not isinstance(inside[key], (dict, list)) or not inside[key] or chance.random() < 0.25:
                break
            inside = inside[key]
        if key is None:
            return copy.deepcopy(chance.choice(JUNK))
        if chance.random() < 0.2 and isinstance(inside, dict):
            del inside[key]
        elif chance.random() < 0.1 and isinstance(inside, dict):
            inside[chance.choice(["x", "0,x", "", "é", "\0bulk", "sketch"])] = copy.deepcopy(chance.choice(JUNK))
        else:
            inside[key] = copy.deepcopy(chance.choice(JUNK))
    return value


NUMBERS: list[Any] = [
    0, 1, 2, 3, -1, 0.5, 1.5, "1/3", "1/0", "nan", "-inf", "1e9999", "1234567890123e9999", "0x1p-3", "2j", "sqrt(2)", "exp(exp(99))",
    "(1, 2)", "1_0", True, None, 10**12, 10**400, "9" * 500, "1" * 2000 + "x", "x", "infinite", "unconnected", 1e308, -1e308,
]  # fmt: skip
WORDS = sorted({
    *schema.FILE, *schema.CASE, *schema.POINT, *schema.INPUT, *schema.CONSTANT, *schema.TOLERANCE, *schema.SETS, *schema.DISTRIBUTIONS,
    "tangents", "cotangent", "answer", "orders", "from", "to", "count", "seed", "x", "y", "k", "python", "partial", "*",
})  # fmt: skip
SHAPES = [
    *["scalar"] * 12,
    [2],
    [2, 2],
    "any",
    [10**9],
    [0],
    [1] * 40,
    10**400,
    {"shape": "scalar", "dtype": "complex"},
    {"shape": [2], "dtype": "integer"},
]
FORMULAS = [
    *["x", "x * x", "sum(x)"] * 4,
    "x + k",
    "x, x",
    "where(x > 0, x, x)",
    "slogdet(x).sign",
    "x @ x",
    "tile(x, (99999, 99999))",
    "{x: 1}",
    "return {x: cotangent}",
]


def case(chance: random.Random) -> Any:
    """A tree that is nearly a case, with anything in any place now and then."""
    few, number = chance.randint(1, 3), lambda: chance.choice(NUMBERS if chance.random() < 0.15 else NUMBERS[:8])

    def anything(depth: int = 3) -> Any:
        kind = chance.randrange(4) if depth else 3
        if kind == 0:
            return [anything(depth - 1) for _ in range(chance.randrange(4))]
        if kind == 1:
            return {chance.choice(WORDS): anything(depth - 1) for _ in range(chance.randrange(4))}
        return chance.choice([*NUMBERS, *FORMULAS, *WORDS, ""])

    def mostly(value: Any) -> Any:
        return value if chance.random() < 0.98 else anything()

    def way() -> dict[str, Any]:
        drawn = {chance.choice(sorted(schema.DISTRIBUTIONS)): mostly([number(), number()])}
        values = chance.choice(
            [
                [number() for _ in range(few)],
                {"from": number(), "to": number(), "count": chance.choice([1, 5, number()])},
            ]
        )
        return {
            "at": {
                "at": mostly(
                    {"x": mostly(chance.choice([1, 0.5, number(), number(), [1, 2], [[1, 0], [0, number()]]]))}
                )
            },
            "grid": {"grid": mostly({"x": mostly(values)})},
            "draw": {"draw": mostly({"count": mostly(few), "seed": mostly(1), "x": mostly(drawn)})},
        }[chance.choice(["at", "at", "grid", "draw"])]

    def stated(key: str) -> Any:
        answer = chance.choice(
            [
                number(),
                {"x": number()},
                {"x": {"x": number()}},
                {"x": {chance.choice(sorted(schema.SETS)): [number(), number()]}},
                [number()],
            ]
        )
        direction = {"jvp": "tangents", "hvp": "tangents", "vjp": "cotangent", "partial": "orders"}.get(key)
        return mostly(
            answer if direction is None else {direction: mostly(chance.choice([{"x": 1}, 1, [1, 1]])), "answer": answer}
        )

    answers = [key for key in schema.POINT if key not in {"at", "grid", "draw"}]
    points = [{**way(), **{key: stated(key) for key in answers if chance.random() < 0.15}} for _ in range(few)]
    found = {
        "name": mostly(f"c{chance.randrange(10**9)}"),
        "inputs": mostly({"x": mostly(chance.choice(SHAPES))}),
        "function": mostly(chance.choice(FORMULAS)),
        "points": mostly(points),
    }
    more = {
        "constants": {"k": chance.choice([number(), [number(), number()], {"values": [number()], "dtype": "integer"}])},
        "operators": ["value", chance.choice(["hessian", "jvp", {"partial": {"x": number()}}, {"partail": {"x": 1}}])],
        "dtypes": ["float32", "float16"],
        "tolerance": {"rtol": number(), "reason": "r", "targets": {"*": {"atol": number(), "reason": "r"}}},
        "manual": chance.choice(FORMULAS),
        "gradient": {"x": chance.choice(FORMULAS)},
        "hessian": {"x": {"x": chance.choice(FORMULAS)}},
        chance.choice(WORDS): anything(),
    }
    return mostly({**found, **{key: mostly(value) for key, value in more.items() if chance.random() < 0.2}})


def sample() -> list[dict[str, Any]]:
    """The lines of a small run with records of every kind, a sketch among them."""
    import runs

    from gradbench.record import Record
    from gradbench.sketch import Probes, Sketch

    run = runs.everything()
    large = runs.question("sketched", runs.Operator.GRADIENT, function="sum(x ** 2)", inputs={"x": np.arange(70.0)})
    probes = Probes("seed", 70, 2, (6, 5))
    sums = probes.sums(2 * np.arange(70.0))
    kept = Sketch(probes, (70,), sums, np.full(4, 1e-9), np.full(4, "estimated"))
    drawn = Record(
        large.query.id, runs.Outcome.ANSWERED, margin={"x": kept.margin()}, status={"x": kept.words}, notes={"sketch": {"x": kept.notes()}}
    ).of(runs.FINITE)  # fmt: skip
    complex_ = runs.question(
        "turned",
        runs.Operator.VJP,
        "complex128",
        function="z ** 2",
        inputs={"z": np.array(1 + 2j)},
        cotangent=np.array(1 + 1j),
    )
    said = runs.answered(runs.TORCH, complex_, np.array((1 + 1j) * (2 + 4j)))
    proved = runs.proved(complex_, np.array(0.0))
    run = type(run)(
        run.header,
        {**run.questions, large.query.id: large, complex_.query.id: complex_},
        run.targets,
        [*run.records, drawn, runs.answered(runs.TORCH, large, 2 * np.arange(70.0)), said, *proved],
    )
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "r", run)
        return [json.loads(line) for line in (Path(folder) / "r").read_text().splitlines()]


def text(lines: list[Any]) -> bytes:
    """Values as the lines of a record file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


# As a program


def main() -> None:
    """Fuzzes one target until the time is up, guided by coverage; what it breaks is written beside the corpus."""
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("target", choices=sorted(TARGETS))
    arguments.add_argument("--seconds", type=int, default=600)
    arguments.add_argument("corpus", nargs="?", default="corpus")
    given = arguments.parse_args()
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris")
    corpus = Path(given.corpus)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(given.target)):
        (corpus / f"seed{number}").write_bytes(seed)
    target = TARGETS[given.target]
    chance = random.Random(0)
    found: set[tuple[str, str, int]] = set()

    def one(data: bytes) -> None:
        data = reader_input(data) if given.target == "reader" else data
        try:
            with bounded():
                target(data)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what is looked for
            ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "gradbench" in frame.filename]
            where = type(error).__name__, ours[-1].filename, ours[-1].lineno or 0
            if where not in found:  # and on it goes: each is told once
                found.add(where)
                kept = corpus.with_name(f"{corpus.name}-{len(found)}")
                kept.write_bytes(data)
                sys.stderr.write(f"FOUND {':'.join(map(str, where))}: {str(error)[:200]!r}: {kept}\n")

    def own(data: bytes, size: int, seed: int) -> bytes:
        chance.seed(seed)
        made = mutated(data, chance) if chance.random() < 0.5 else atheris.Mutate(data, size)
        return bytes(made[:size])

    options = [
        "fuzz",
        f"-max_total_time={given.seconds}",
        "-max_len=16384",
        "-timeout=60",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={corpus}-",
    ]
    for seed in seeds(given.target):  # so that nothing is imported while the time is taken
        target(reader_input(seed) if given.target == "reader" else seed)
    atheris.Setup([*options, str(corpus)], one, custom_mutator=own)
    atheris.Fuzz()


def reader_input(data: bytes) -> bytes:
    """The fuzzer's bytes as a record file: they begin with a header, so that a broken one isn't all that is found."""
    return data if data[:1] == b"!" else b'{"type":"header","format":1}\n' + data


def seeds(target: str) -> Iterator[bytes]:
    """Good files to begin with."""
    cases = Path(__file__).parent.parent / "cases"
    if target == "loader":
        for path in sorted(cases.rglob("*.yaml")):
            for part in path.read_bytes().split(b"\n  - name:")[1:]:
                yield b"cases:\n  - name:" + part
    elif target == "parser":
        for path in sorted(cases.rglob("*.yaml")):
            with contextlib.suppress(GradbenchError):
                yield from (case.function.encode() for case in read_cases(document.load(path)))
    else:
        lines = sample()
        for line in lines[1:]:
            yield text([line])
        yield text(lines[1:8])


if __name__ == "__main__":
    main()
