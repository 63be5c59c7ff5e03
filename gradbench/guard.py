"""The process that outlives us: when we end, however we end, it ends the workers and all that they have started.

It is started as a file, so that nothing but the standard library is imported. A line `+PID` on its standard input names
a group of processes, `-PID` says that it is gone; when the input ends, every group that is left is killed. The kernel
closes the other end of a pipe even for a process that was killed, which is what makes this work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


class Guard:
    """The guard of one run, seen from the run."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603  # our own interpreter and file
            [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.lock = threading.Lock()

    def watch(self, pid: int) -> None:
        """Has a worker's group ended with us."""
        self._tell(f"+{pid}")

    def leave(self, pid: int) -> None:
        """A worker's group is gone."""
        self._tell(f"-{pid}")

    def close(self) -> None:
        """Lets the guard go; whatever it still watches is ended."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        with self.lock, contextlib.suppress(OSError):  # a guard that somebody has killed guards nothing
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()


def main() -> None:
    """Reads until the input ends, then kills."""
    groups: set[int] = set()
    for line in sys.stdin:
        number = int(line[1:])
        if line[0] == "+":
            groups.add(number)
        else:
            groups.discard(number)
    for group in groups:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
