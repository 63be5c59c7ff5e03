"""How much memory processes hold, and who holds too much.

Workers enter; those beyond the limit are ended, each with the number of bytes it held. Resident memory is what counts:
frameworks reserve terabytes of addresses they never touch, so a limit on addresses would stop them at the start.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Protocol

import psutil

from gradbench.errors import BadOption

_UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_EVERY: Final = 0.05  # seconds; memory fills at some 4 GB/s, so a limit is passed by some hundred MB at most
_FAMILY: Final = 20  # looks at the process itself for one at all it has started, which takes a hundred times longer


class Spender(Protocol):
    """A process that has a limit."""

    overspent: int

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def end(self) -> None:
        """Ends it."""
        ...


def parse(text: str) -> int | None:
    """Bytes from `8G`, `500M`, `1.5GiB` or `1e9`; None from `none`. K, M, G and T are powers of 1024.

    Raises:
        BadOption: It is nothing of the kind.
    """
    if text.strip().lower() == "none":
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]{1,2})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * 1024 ** _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise BadOption(f"{text!r} is no amount of memory; write 8G, 500M or none")
    return size


def shown(size: int) -> str:
    """Bytes for people."""
    unit = max((u for u in _UNITS if size >= 1024 ** _UNITS[u]), key=lambda u: _UNITS[u], default="")
    return f"{size / 1024 ** _UNITS[unit]:.3g} {unit}{'iB' if unit else 'bytes'}"


def usual() -> int:
    """The limit of a worker if nobody says: half of the machine's memory."""
    return int(psutil.virtual_memory().total // 2)


def held(pid: int, family: bool = True) -> int:
    """The bytes that a process holds in memory, with those of all it has started; 0 if it has ended."""
    try:
        process = psutil.Process(pid)
        found = int(process.memory_info().rss)
        for child in process.children(recursive=True) if family else ():
            try:
                found += int(child.memory_info().rss)
            except psutil.Error:
                continue
    except psutil.Error:
        return 0
    return found


def kills() -> int:
    """How often the kernel has ended a process for want of memory since the machine started; 0 where it doesn't say."""
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))


class Watch:
    """Looks at workers until it is closed, and ends those that hold more than the limit."""

    def __init__(self, workers: Callable[[], Collection[Spender]], limit: int | None) -> None:
        self.workers, self.limit = workers, limit
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        if limit is not None:
            self.thread.start()

    def close(self) -> None:
        """Looks no longer."""
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()

    def _look(self) -> None:
        assert self.limit is not None
        turn = 0
        while not self.over.wait(_EVERY):
            turn += 1
            for worker in self.workers():
                found = held(worker.pid, family=turn % _FAMILY == 0)
                if found > self.limit:
                    worker.overspent = found
                    worker.end()
