"""Target names to modules, imported when asked for.

A target's name enters; where its adapter is and what it needs leaves. The table is strings: nothing here imports a
framework. Adapters outside this repository come from the entry-point group `gradbench.adapters`, or are named
`module:attribute`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gradbench.errors import UnknownTarget

GROUP: Final = "gradbench.adapters"


@dataclass(frozen=True)
class Entry:
    """One target.

    Attributes:
        name: As on the command line.
        spec: `module:attribute` of its adapter or reference.
        requires: The module that must be importable, empty if none.
        extra: What to install: the extra of this distribution that brings it.
        devices: The kinds of device it can be asked to use.
        reference: Whether it says what is true rather than being judged.
        by_hand: Whether it is sent the derivatives that a case has written by hand.
        by_name: Whether it is asked only if somebody names it.
        operators: The only operators it is asked, for a target that is one way of composing them; empty means all.
    """

    name: str
    spec: str
    requires: str = ""
    extra: str = ""
    devices: tuple[str, ...] = ("cpu",)
    reference: bool = False
    by_hand: bool = False
    by_name: bool = False
    operators: tuple[str, ...] = ()

    @property
    def framework(self) -> str:
        """The part of the name before a colon."""
        return self.name.partition(":")[0]

    @property
    def is_plain(self) -> bool:
        """Whether it is a framework as people use it at first, not one of the other ways."""
        return ":" not in self.name

    @property
    def is_installed(self) -> bool:
        """Whether what it requires is here; nothing is imported to find out."""
        return not self.requires or importlib.util.find_spec(self.requires) is not None


_GPU: Final = ("cpu", "cuda")


def _composed(framework: str, module: str, devices: tuple[str, ...] = ("cpu",)) -> tuple[Entry, ...]:
    """The three orders of composing two derivatives, each a class of the module and asked for second ones alone."""
    classes = {word: "".join(part.title() for part in word.split("-")) for word in _COMPOSITIONS}
    return tuple(
        Entry(
            f"{framework}:{word}",
            f"gradbench.adapters.{module}:{name}",
            framework,
            framework,
            devices,
            operators=_SECOND,
        )
        for word, name in classes.items()
    )


_COMPOSITIONS: Final = ("forward-over-reverse", "reverse-over-forward", "reverse-over-reverse")
_SECOND: Final = ("hvp", "hessian")
_TABLE: Final = (
    Entry("torch", "gradbench.adapters.torch:Torch", "torch", "torch", _GPU),
    Entry("torch:func", "gradbench.adapters.torch_func:Func", "torch", "torch", _GPU),
    Entry("torch:forward", "gradbench.adapters.torch_forward:Forward", "torch", "torch", _GPU),
    Entry("torch:vmap", "gradbench.adapters.torch_vmap:Vmap", "torch", "torch", _GPU),
    # Compiling takes a second or two for each function, dtype and derivative.
    Entry("torch:compile", "gradbench.adapters.torch_compile:Compile", "torch", "torch", _GPU),
    *_composed("torch", "torch_func", _GPU),
    Entry("tensorflow", "gradbench.adapters.tensorflow:TensorFlow", "tensorflow", "tensorflow", _GPU),
    Entry("tensorflow:function", "gradbench.adapters.tensorflow_traced:Traced", "tensorflow", "tensorflow", _GPU),
    Entry("tensorflow:xla", "gradbench.adapters.tensorflow_traced:XLA", "tensorflow", "tensorflow", _GPU),
    Entry("tensorflow:forward", "gradbench.adapters.tensorflow_forward:Forward", "tensorflow", "tensorflow", _GPU),
    Entry("tensorflow:graph", "gradbench.adapters.tensorflow_graph:Graph", "tensorflow", "tensorflow", _GPU),
    Entry(
        "tensorflow:persistent", "gradbench.adapters.tensorflow_persistent:Persistent", "tensorflow", "tensorflow", _GPU
    ),
    *_composed("tensorflow", "tensorflow_composed", _GPU),
    Entry("jax", "gradbench.adapters.jax:Jax", "jax", "jax", _GPU),
    Entry("jax:jit", "gradbench.adapters.jax_modes:Jit", "jax", "jax", _GPU),
    Entry("jax:forward", "gradbench.adapters.jax_modes:Forward", "jax", "jax", _GPU),
    Entry("jax:vmap", "gradbench.adapters.jax_modes:Vmap", "jax", "jax", _GPU),
    Entry("jax:linearize", "gradbench.adapters.jax_modes:Linearize", "jax", "jax", _GPU),
    *_composed("jax", "jax_compositions", _GPU),
    Entry("autograd", "gradbench.adapters.autograd:Autograd", "autograd", "autograd"),
    Entry("autograd:forward", "gradbench.adapters.autograd_modes:Forward", "autograd", "autograd"),
    *_composed("autograd", "autograd_modes"),
    Entry("sympy", "gradbench.adapters.sympy:SymPy", "sympy", "sympy"),
    Entry("manual", "gradbench.adapters.manual:Manual", by_hand=True),
    Entry("dual", "gradbench.adapters.dual:DualNumbers"),
    Entry("tape", "gradbench.adapters.tape:Tape"),
    Entry("symbolic", "gradbench.adapters.symbolic:Symbolic"),
    Entry("polynomial", "gradbench.adapters.polynomial:Polynomials"),
    Entry("finite-difference:forward", "gradbench.adapters.difference:Forward", by_name=True),
    Entry("finite-difference:central", "gradbench.adapters.difference:Central", by_name=True),
    Entry("complex-step", "gradbench.adapters.difference:ComplexStep", by_name=True),
    Entry("finite-difference", "gradbench.reference.finite_difference:FiniteDifference", reference=True),
    Entry("high-precision", "gradbench.reference.symbolic:HighPrecision", "mpmath", reference=True),
    Entry("ball", "gradbench.reference.ball:Ball", "flint", "certified", reference=True),
    Entry("noise", "gradbench.reference.noise:Noise", reference=True),
)


def entries() -> dict[str, Entry]:
    """Every known target by its name: those of this package, then those that other distributions register."""
    found = {entry.name: entry for entry in _TABLE}
    for point in importlib.metadata.entry_points(group=GROUP):
        module = point.value.partition(":")[0].partition(".")[0]
        found.setdefault(point.name, Entry(point.name, point.value, module))
    return found


def entry(name: str) -> Entry:
    """The target of that name, or the adapter at `module:attribute`.

    Raises:
        UnknownTarget: The name is neither.
    """
    known = entries()
    if name in known:
        return known[name]
    module, _, attribute = name.partition(":")
    if attribute.isidentifier() and all(part.isidentifier() for part in module.split(".")) and "." in module:
        return Entry(name, name, module.partition(".")[0])
    raise UnknownTarget(name, known)


def load(spec: str) -> Any:
    """An instance of the adapter or reference at `module:attribute`; imports its framework."""
    module, _, attribute = spec.partition(":")
    return getattr(importlib.import_module(module), attribute)()


def installed() -> Mapping[str, Entry]:
    """The targets whose requirements are here."""
    return {name: found for name, found in entries().items() if found.is_installed}
