"""Adapters that are right but for one thing, so that an explanation has one node to name.

Each is the tape with one of its rules or words replaced, within the worker's own process.
"""

from __future__ import annotations

import numpy as np

from gradbench.adapters.tape import Tape
from gradbench.calculus import PARTIALS, SLOPES
from gradbench.errors import Unsupported


class RightRules(Tape):
    """The tape as it is."""


class WrongSine(Tape):
    """The derivative of the sine has the wrong sign."""

    def open(self, device):
        SLOPES["sin"] = lambda w, _y, x: -w.cos(x)
        return super().open(device)


class WrongProduct(Tape):
    """A product hands its second factor a little too much."""

    def open(self, device):
        first, _ = PARTIALS["multiply"]
        PARTIALS["multiply"] = (first, lambda _w, _y, x1, _x2: x1 * (1 + 1e-9))
        return super().open(device)


class CoarseSine(Tape):
    """The sine has the digits of float32; all derivatives are right at what it says."""

    def __init__(self):
        sin = Tape.ops["sin"]
        self.ops = {**Tape.ops, "sin": lambda x: sin(x) * (1 + 2.0**-24)}


class Shortened(Tape):
    """Leaves the derivative by a node out if it is that of a function with many inputs."""

    def gradient(self, f, x):
        found = dict(super().gradient(f, x))
        found.pop("d_c", None)
        return found


class Silent(Tape):
    """Answers None for a node."""

    def gradient(self, f, x):
        return {name: None if name == "d_d" else array for name, array in super().gradient(f, x).items()}


class WholesaleOnly(Tape):
    """Is wrong where no zeros are added: a rule for what is made of a function as a whole."""

    def gradient(self, f, x):
        found = super().gradient(f, x)
        many = any(name.startswith("d_") for name in x)
        return found if many else {name: array + 1 for name, array in found.items()}


class ValuesOnly(Tape):
    """Knows values and nothing else."""

    def gradient(self, f, x):
        raise Unsupported("it differentiates nothing")


class Tripping(Tape):
    """Raises going back."""

    def gradient(self, f, x):
        raise ValueError("it tripped")


class Meddling(Tape):
    """Changes its inputs."""

    def gradient(self, f, x):
        found = super().gradient(f, x)
        for array in x.values():
            np.add(array, 1, out=array)
        return found
