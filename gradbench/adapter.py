"""What an adapter is, and the function it is handed.

An adapter teaches gradbench one framework: how it spells each primitive, how it answers each operator, which of its
exceptions mean *unsupported*. It never sees the language: it receives `f`, closed over its `ops` and the constants,
and arrays of its own kind. Importing an adapter's module imports its framework, so nothing but the registry names it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gradbench.program import Program, evaluate
from gradbench.query import Array, Query

Native = Any
"""An array of the framework's own kind."""

Arrays = Mapping[str, Native]


class Adapter(Protocol):
    """The least a framework needs: `ops`, `open`, `asarray`, `numpy`, `value`, and one of the operators.

    Any of these may be defined as well, with x a mapping from input names to native arrays, in order; one that is
    absent is *unsupported*. Each answers by name (`None` where the framework answers None) or with one array:

    - ``jvp(f, x, tangents) -> y``
    - ``vjp(f, x, cotangent) -> {name: x}``
    - ``gradient(f, x) -> {name: x}``
    - ``jacobian(f, x) -> {name: y + x}``
    - ``hvp(f, x, tangents) -> {name: x}``
    - ``hessian(f, x) -> {"a,b": a + b}``
    - ``partial(f, x, orders) -> y``

    Integers and truth values are held where they are: then f is a function of the other inputs alone, and x has these
    alone. What the framework says of a derivative by them is a convention, and is asked for as an answer is: the operator
    itself, of f as a function of one such input, where ``x`` is its array as it is. Where users ask otherwise, the adapter
    says how: ``by_discrete(operator, f, x, direction) -> {name: anything}``, the operator being a name.

    ``remarks(f, x) -> {name: text}`` may say something about the derivative by an input that is no array, as a formula.
    ``make_room()`` may let go of what is kept for earlier functions; it is called before a new one comes, and isn't timed.

    Attributes:
        ops: A callable for each primitive it has: arrays by position, statics by keyword.
        composite: The primitives of `ops` that are put together from several calls of the framework because it has
            no such function; a deviation there is shown and isn't called the framework's.
        refusals: The exceptions by which the framework says that it doesn't offer something.

    It may have ``compiles = True`` as well: then a first call that took long is repeated nevertheless, because what took
    long was the compiler.
    """

    ops: Mapping[str, Callable[..., Native]]
    composite: Collection[str]
    refusals: tuple[type[BaseException], ...]

    def open(self, device: str) -> Mapping[str, Any]:
        """Makes the settings that decide about numbers, and returns them as the framework then reports them.

        Args:
            device: `cpu` or `cuda`; the environment already shows one device alone.

        Raises:
            DeviceMissing: The framework sees no such device.
        """

    def versions(self) -> Mapping[str, str]:
        """The versions of the framework and of what it computes with."""

    def asarray(self, array: Array) -> Native:
        """A native array on the device, of the same dtype, that may share no memory with the argument."""

    def numpy(self, array: Native) -> Array:
        """The array on the host, of the same dtype and shape."""

    def synchronize(self) -> None:
        """Waits until the device has finished."""

    def value(self, f: Function, x: Arrays) -> Native:
        """The function itself, at x."""


@dataclass(frozen=True, eq=False)
class Function:
    """What an adapter is handed: f, called with native arrays by position in the order of the inputs.

    The same object is handed over for every point of a case that has the same constants, so that what a framework
    traces or compiles for it can be kept by its identity.

    Attributes:
        program: What it computes.
        ops: The adapter's, and under ``"asarray"`` how a number of the text becomes an array.
        inputs: The names it is called with, in order.
        constants: Native arrays, by name; those held are among them.
        rules: Derivatives written by hand, by operator; only for the target `manual`.
        whole: The function of all inputs, where some of them are held. That is the object that stays the same for every
            point, and the key for what is kept.
        held: Their arrays, by name: arguments of whatever is compiled, as the others are.
    """

    program: Program
    ops: Mapping[str, Callable[..., Native]]
    inputs: tuple[str, ...]
    constants: Arrays
    rules: Mapping[str, Program] = field(default_factory=dict)
    whole: Function | None = None
    held: Arrays = field(default_factory=dict)

    @property
    def kept_by(self) -> Function:
        """The object by which to keep what is made of it: itself, or the whole function."""
        return self if self.whole is None else self.whole

    def holding(self, arrays: Arrays) -> Function:
        """The same with some inputs held, as a function of the others."""
        if not arrays:
            return self
        left = tuple(name for name in self.inputs if name not in arrays)
        constants = {**self.constants, **arrays}
        return replace(self, inputs=left, constants=constants, whole=self, held=dict(arrays))

    def __call__(self, *arrays: Native) -> Native:
        """What the function is at the inputs."""
        return evaluate(self.program, self.ops, {**dict(zip(self.inputs, arrays, strict=True)), **self.constants})


@dataclass(frozen=True)
class Estimate:
    """What a reference answers: by key the centre, the margins and a status for each component; see `Record`."""

    answer: Mapping[str, Array]
    margin: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    status: Mapping[str, Array] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Reference(Protocol):
    """A source of truth: it answers queries through the same wall as everyone, with an error bar."""

    def open(self, device: str) -> Mapping[str, Any]:
        """As an adapter's."""

    def versions(self) -> Mapping[str, str]:
        """As an adapter's."""

    def estimate(self, query: Query, program: Program) -> Estimate:
        """The answer, as exactly as this reference can.

        Raises:
            Unsupported: It has no way to answer this.
        """


def lifted(adapter: Adapter, dtype: np.dtype[Any]) -> dict[str, Callable[..., Native]]:
    """The adapter's `ops` with ``"asarray"``, by which numbers of the text are rounded to the dtype.

    A real number is one beside complex numbers too, in the format of their parts.
    """

    def asarray(number: complex) -> Native:
        rounded = np.asarray(number, dtype)
        return adapter.asarray(rounded if isinstance(number, complex) else rounded.real.copy())

    return {**adapter.ops, "asarray": asarray}
