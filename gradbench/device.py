"""A device's name to the environment of a worker. No framework is imported: the driver itself is asked.

`cpu`, `cuda`, `cuda:1` or `auto` enter; the kind of device and the variables for the worker's process leave. A worker
on the CPU sees no GPU, and a worker on `cuda:1` sees that one alone, as its first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from gradbench.errors import BadOption, DeviceMissing

_LIBRARIES: Final = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")


@dataclass(frozen=True)
class Device:
    """A device to run on.

    Attributes:
        kind: `cpu` or `cuda`, which is what an adapter is told.
        index: Of the GPU, as the driver counts them.
        remark: What a person should know of how it was chosen; empty if nothing.
    """

    kind: str = "cpu"
    index: int = 0
    remark: str = ""

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """The environment of a worker on this device."""
        visible = "" if self.kind == "cpu" else _visible(base)[self.index]
        return {
            **base,
            "CUDA_VISIBLE_DEVICES": visible,
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "JAX_PLATFORMS": self.kind,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "TF_CPP_MIN_LOG_LEVEL": base.get("TF_CPP_MIN_LOG_LEVEL", "2"),
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS refuses to be deterministic
            # A library reads its own when it is loaded; afterwards it is too late.
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads(base)),
        }


@dataclass(frozen=True)
class Gpus:
    """What the driver says: how many GPUs, or why there are none."""

    count: int = 0
    reason: str = ""
    names: tuple[str, ...] = field(default=())


@cache
def gpus() -> Gpus:
    """The GPUs of this machine, from the CUDA driver (cuInit, cuDeviceGetCount, cuDeviceGetName)."""
    driver = None
    for name in _LIBRARIES:
        try:
            driver = ctypes.CDLL(name)
            break
        except OSError:
            continue
    if driver is None:
        return Gpus(reason="there is no CUDA driver on this machine")
    status = driver.cuInit(0)
    if status:
        return Gpus(reason=f"the CUDA driver can't be used (error {status})")
    count = ctypes.c_int()
    status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status or not count.value:
        return Gpus(reason="the CUDA driver sees no GPU")
    names = []
    for index in range(count.value):
        text = ctypes.create_string_buffer(128)
        handle = ctypes.c_int()
        driver.cuDeviceGet(ctypes.byref(handle), index)
        driver.cuDeviceGetName(text, len(text), handle)
        names.append(text.value.decode(errors="replace"))
    return Gpus(count.value, "", tuple(names))


def choose(name: str) -> Device:
    """The device of that name.

    Raises:
        BadOption: The name is no device's.
        DeviceMissing: There is no such device here.
    """
    kind, colon, number = name.partition(":")
    if name == "cpu":
        return Device()
    if name == "auto":
        found = gpus()
        if found.count:
            return Device("cuda", 0, f"auto: using the GPU {found.names[0]}")
        return Device(remark=f"auto: using the CPU, because {found.reason}")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise BadOption(f"unknown device {name!r}; known are cpu, cuda, cuda:N and auto")
    index = int(number) if number else 0
    found = gpus()
    if not found.count:
        raise DeviceMissing(f"device {name}: {found.reason}")
    if index >= found.count:
        raise DeviceMissing(f"device {name}: the machine has {found.count}, counted from 0")
    return Device("cuda", index)


def _visible(base: Mapping[str, str]) -> list[str]:
    """The GPUs that may be used, in the driver's order, as CUDA_VISIBLE_DEVICES names them."""
    given = base.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(i) for i in range(gpus().count)]


def threads(base: Mapping[str, str]) -> str:
    """How many threads an operation may use: 1, so that sums come in one order, unless GRADBENCH_THREADS says more."""
    return base.get("GRADBENCH_THREADS", "1")
