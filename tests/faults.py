"""Adapters that misbehave, each in one way. Every check of the harness must catch the fault it is for."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType

import numpy as np

from gradbench.errors import Unsupported
from gradbench.numeric import OPS


class Honest:
    """NumPy values and central differences: right to about nine digits. The base of all the others."""

    ops = OPS
    composite = ()
    refusals = ()

    def open(self, device):
        return {"device_name": "test", "device": device}

    def versions(self):
        return {"faults": "1"}

    def asarray(self, array):
        return np.array(array)

    def numpy(self, array):
        return np.asarray(array)

    def synchronize(self):
        pass

    def value(self, f, x):
        return np.asarray(f(*x.values()))

    def gradient(self, f, x):
        names = list(x)
        found = {}
        for name in names:
            slope = np.zeros(x[name].shape)
            for index in np.ndindex(x[name].shape):
                h = 1e-6 * max(1.0, abs(float(x[name][index])))
                ends = []
                for step in (h, -h):
                    moved = {k: np.array(a, np.float64) for k, a in x.items()}
                    moved[name][index] += step
                    ends.append(float(f(*moved.values())))
                slope[index] = (ends[0] - ends[1]) / (2 * h)
            found[name] = slope.astype(x[name].dtype)
        return found


class Zero(Honest):
    def gradient(self, f, x):
        return {name: np.zeros_like(a) for name, a in x.items()}


class Flipped(Honest):
    def gradient(self, f, x):
        return {name: -a for name, a in super().gradient(f, x).items()}


class NotANumber(Honest):
    def gradient(self, f, x):
        return {name: np.full_like(a, np.nan) for name, a in x.items()}


class WrongShape(Honest):
    def gradient(self, f, x):
        return {name: a[None] for name, a in super().gradient(f, x).items()}


class WrongDtype(Honest):
    def gradient(self, f, x):
        return {name: a.astype(np.float16) for name, a in super().gradient(f, x).items()}


class Missing(Honest):
    def gradient(self, f, x):
        found = super().gradient(f, x)
        found.popitem()
        return found


class Nothing(Honest):
    def gradient(self, f, x):
        return dict.fromkeys(x)


class Mutating(Honest):
    def gradient(self, f, x):
        found = super().gradient(f, x)
        for array in x.values():
            np.add(array, 1, out=array)
        return found


class Restless(Honest):
    """Answers a little differently each time."""

    count = 0

    def value(self, f, x):
        Restless.count += 1
        return super().value(f, x) * (1 + 1e-15 * Restless.count)


class Refusing(Honest):
    refusals = (ArithmeticError,)

    def gradient(self, f, x):
        raise Unsupported("it doesn't do that")

    def value(self, f, x):
        raise ArithmeticError("nor that")


class Telling(Honest):
    """Answers with how many derivatives by hand it was sent."""

    def value(self, f, x):
        return np.asarray(float(len(f.rules)))


class Poor(Honest):
    """Has no sine."""

    ops = MappingProxyType({name: op for name, op in OPS.items() if name != "sin"})


class Raising(Honest):
    def value(self, f, x):
        raise ValueError("<b>no</b>")


class Greedy(Honest):
    def value(self, f, x):
        raise MemoryError


class Chatty(Honest):
    """Prints on everything it can, from Python and from C."""

    def __init__(self):
        print('{"record": "not a record"}', flush=True)
        os.write(1, b"raw bytes on descriptor 1\n")
        sys.stderr.write("and on standard error\n")

    def value(self, f, x):
        print("hello" * 1000, flush=True)
        return super().value(f, x)


class Unstartable(Honest):
    def open(self, device):
        raise RuntimeError("no licence found")


class Stillborn(Honest):
    """Its process ends while it is imported."""

    def __init__(self):
        sys.stderr.write("last words\n")
        sys.stderr.flush()
        os._exit(7)


class Deadly(Honest):
    """Ends or stops its process in the way that a constant's value names."""

    def value(self, f, x):
        way = int(f.constants["way"]) if "way" in f.constants else 0
        if way == 1:
            ctypes.string_at(0)  # a segmentation fault
        elif way == 2:
            time.sleep(1e6)
        elif way == 3:
            re.match(r"(a+)+$", "a" * 40 + "b")  # hangs in C with the interpreter's lock held
        elif way == 4:
            os._exit(7)
        elif way == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().value(f, x)


class Doomed(Honest):
    """Dies of every query."""

    def value(self, f, x):
        os._exit(3)


class Hungry(Honest):
    """Takes memory until somebody stops it, in steps that each succeed."""

    def value(self, f, x):
        if "way" in f.constants and int(f.constants["way"]):
            held = []
            while True:
                held.append(bytearray(os.urandom(1 << 20) * 16))
                time.sleep(0.01)
        return super().value(f, x)


class Parent(Honest):
    """Starts a process of its own that would live on."""

    def open(self, device):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600) # faults:Parent's child"])
        return super().open(device)

    def value(self, f, x):
        if "way" in f.constants and int(f.constants["way"]):
            time.sleep(1e6)
        return super().value(f, x)


class Busy(Honest):
    """Computes for a while, in Python alone."""

    def value(self, f, x):
        total = 0
        for n in range(400_000):
            total += n
        return super().value(f, x)


class Slow(Honest):
    """Takes a moment, so that a run can be ended in the middle."""

    def value(self, f, x):
        time.sleep(0.02)
        return super().value(f, x)


class Compiler(Honest):
    """Takes its time the first time it sees a function."""

    compiles = True

    def __init__(self):
        self.seen = set()

    def value(self, f, x):
        if f not in self.seen:
            time.sleep(1.5)
            self.seen.add(f)
        return super().value(f, x)


class Counting(Honest):
    """Leaves a line in a file for each time its framework is imported and each time it is asked."""

    def note(self, what):
        path = os.environ.get("FAULTS_LOG")
        if path:
            with Path(path).open("a", encoding="utf-8") as stream:
                stream.write(what + "\n")

    def open(self, device):
        self.note("open")
        return {**super().open(device), "mood": os.environ.get("FAULTS_MOOD", "")}

    def value(self, f, x):
        self.note("asked")
        return super().value(f, x)
