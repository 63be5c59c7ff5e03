"""What decides about an answer besides the question, known without importing anything: a fingerprint for each target.

A target and a device enter; a fingerprint leaves that changes when its framework is installed anew or edited in place,
when gradbench's own adapters change, and with the interpreter, the processor, the driver of the GPU, and the variables
of the environment that frameworks read. Two answers under one fingerprint may stand for each other.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from gradbench.device import Device
from gradbench.registry import Entry

_ALWAYS: Final = ("numpy", "scipy", "ml-dtypes", "mpmath", "python-flint")
"""What workers compute with whatever their framework."""
_VARIABLES: Final = (
    "BLIS", "CUBLAS", "CUDA", "CUDNN", "DNNL", "GRADBENCH", "JAX", "KMP", "LIBTPU", "MKL", "NCCL", "NVIDIA", "OMP",
    "ONEDNN", "OPENBLAS", "PYTORCH", "TF", "TORCH", "TORCHINDUCTOR", "TRITON", "XLA",
)  # fmt: skip
_BESIDE: Final = {"jax": ("jaxlib",)}
"""Modules beside a framework's own whose files are as much a part of it."""
_CODE: Final = (".py", ".so", ".pyd", ".dll", ".dylib")
_APART: Final = {"__pycache__", "include", "tests", "testing", "_cases", "report"}


def fingerprint(entry: Entry, device: Device) -> str:
    """64 hexadecimal digits for a target on a device of this machine, as things are now."""
    found = hashlib.sha256()
    for part in (*_machine(device), *_variables(device.environment(os.environ)), entry.spec, *_software(entry)):
        found.update(part.encode(errors="surrogateescape") + b"\0")
    return found.hexdigest()


def _software(entry: Entry) -> Iterator[str]:
    yield _ours()
    roots = [name for name in (*_ALWAYS, entry.requires, entry.spec.partition(":")[0].partition(".")[0]) if name]
    yield from _distributions(tuple(roots))
    for module in dict.fromkeys(("numpy", *roots[len(_ALWAYS) :], *_BESIDE.get(entry.requires, ()))):
        if module != "gradbench":
            yield _files(module)


@cache
def _ours() -> str:
    """The content of all of gradbench that a worker may import."""
    found = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted(p for p in here.rglob("*.py") if not _APART & set(p.relative_to(here).parts)):
        found.update(path.read_bytes())
    return found.hexdigest()


@cache
def _files(module: str) -> str:
    """The names, sizes and times of a module's files of code: whoever edits a framework in place must not get old answers."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    found = hashlib.sha256()
    places = list(spec.submodule_search_locations or ())
    if not places and spec.origin and os.path.exists(spec.origin):  # noqa: PTH110  # "built-in" is an origin as well
        found.update(_stamp(os.stat(spec.origin)))  # noqa: PTH116
    for place in places:
        for name, status in sorted(_walk(place)):
            found.update(name.encode(errors="surrogateescape") + _stamp(status))
    return found.hexdigest()


def _walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as inside:
        for one in inside:
            if one.is_dir(follow_symlinks=False):
                if one.name not in _APART:
                    yield from _walk(one.path)
            elif one.name.endswith(_CODE):
                yield one.path, one.stat()


def _stamp(status: os.stat_result) -> bytes:
    return f":{status.st_size}:{status.st_mtime_ns};".encode()


@cache
def _distributions(roots: tuple[str, ...]) -> tuple[str, ...]:
    """The versions of distributions and of all they require, as far as they are installed."""
    found: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
            continue
        found[name] = distribution.version
        waiting += _required(distribution.requires or ())
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()) if version)


def _required(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def _variables(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(environment.items()):
        # Where modules are found says nothing that their files don't, and where answers are kept is of no matter.
        if name == "PYTHONPATH" or name.startswith("GRADBENCH_CACHE"):
            continue
        if name.partition("_")[0] in _VARIABLES or name.startswith("PYTHON"):
            yield f"{name}={value}"


@cache
def _machine(device: Device) -> tuple[str, ...]:
    parts = [sys.version, sys.implementation.cache_tag or "", platform.system(), platform.machine(), device.kind]
    # Libraries choose their kernels by what the processor can do.
    parts.append(_text("/proc/cpuinfo", ("model name", "flags", "Features")) or platform.processor())
    if device.kind != "cpu":
        parts.append(str(device.index))
        parts.append(_text("/proc/driver/nvidia/version"))
        parts += [_text(str(p)) for p in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    return tuple(parts)


def _text(path: str, keys: tuple[str, ...] = ()) -> str:
    """A file of the kernel's, or the first of its lines with each of these keys."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    if not keys:
        return text
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            found.setdefault(key.strip(), " ".join(sorted(value.split())))
    return str(found)
