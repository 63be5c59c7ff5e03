"""PyTorch's `torch.func`: derivatives as functions of functions, and the ways in which they compose.

As `torch`, on whose room this one stands; the arrays go through transforms instead of through a graph. `Func` asks each
operator of the transform that is made for it; `ForwardOverReverse`, `ReverseOverForward` and `ReverseOverReverse` are
the three ways to a second derivative, and answer for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from gradbench.adapter import Arrays, Function
from gradbench.adapters.torch import Answer, _Torch, by_input, by_pair, refusing
from gradbench.adapters.torch_words import Op

Derive = Callable[[Op], Op]
"""Makes another function of arrays out of one."""


class Functional(_Torch):
    """What is asked by making another function out of f."""

    def call(self, f: Function, key: Hashable, derive: Derive, *arguments: Any) -> Any:  # noqa: ARG002
        """What `derive` makes of f, applied to arrays or tuples of them.

        Every operator goes through here. Another way of using PyTorch may do it for many points at once, or keep what
        it made by f and the key, which says all that `derive` depends on besides f.
        """
        return derive(f)(*arguments)

    @refusing
    def value(self, f: Function, x: Arrays) -> Answer:
        """The function itself, at x: shape y."""
        return self.call(f, "value", itself, *x.values())


class Func(Functional):
    """Each operator by the transform that is made for it."""

    @refusing
    def vjp(self, f: Function, x: Arrays, cotangent: Answer) -> Arrays:
        """`torch.func.vjp`: by input, shape x; zeros where it is not connected."""

        def derive(f: Op) -> Op:
            return lambda cotangent, *arrays: torch.func.vjp(f, *arrays)[1](cotangent)

        return dict(zip(x, self.call(f, "vjp", derive, cotangent, *x.values()), strict=True))

    @refusing
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`torch.func.grad` of a scalar f: by input, shape x."""
        found = self.call(f, "gradient", lambda f: torch.func.grad(f, every(x)), *x.values())
        return dict(zip(x, found, strict=True))

    @refusing
    def jacobian(self, f: Function, x: Arrays) -> Mapping[str, Answer]:
        """`torch.func.jacrev`: by input, shape y + x."""
        return by_input(x, self.call(f, "jacobian", lambda f: torch.func.jacrev(f, every(x)), *x.values()))

    @refusing
    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Answer:
        """`torch.func.jvp`, which goes forwards: shape y."""
        return self.call(f, "jvp", pushed, *both(x, tangents))

    @refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`torch.func.jvp` of `torch.func.grad`, as PyTorch's documentation has it: by input, shape x."""
        found = self.call(f, "hvp", lambda f: pushed(torch.func.grad(f, every(x))), *both(x, tangents))
        return dict(zip(x, found, strict=True))

    @refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`torch.func.hessian`: by pair of inputs, shape a + b."""
        return by_pair(x, self.call(f, "hessian", lambda f: torch.func.hessian(f, every(x)), *x.values()))

    @refusing
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Answer:
        """Nested `torch.func.grad` by 0-d inputs, or `torch.func.jacrev` where f is no scalar: shape y."""
        positions = tuple(tuple(x).index(name) for name, order in orders.items() for _ in range(order))
        return self.call(f, ("partial", positions), lambda f: _nested(f, positions), *x.values())


class ForwardOverReverse(Functional):
    """Second derivatives as the forward derivative of the gradient."""

    @refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`torch.func.jvp` of `torch.func.grad`: by input, shape x."""
        found = self.call(f, "hvp", lambda f: pushed(torch.func.grad(f, every(x))), *both(x, tangents))
        return dict(zip(x, found, strict=True))

    @refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`torch.func.jacfwd` of `torch.func.grad`: by pair of inputs, shape a + b."""
        found = self.call(
            f, "hessian", lambda f: torch.func.jacfwd(torch.func.grad(f, every(x)), every(x)), *x.values()
        )
        return by_pair(x, found)


class ReverseOverForward(Functional):
    """Second derivatives as the gradient of the forward derivative."""

    @refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`torch.func.grad` of `torch.func.jvp`: by input, shape x."""
        found = self.call(f, "hvp", lambda f: torch.func.grad(pushed(f), every(x)), *both(x, tangents))
        return dict(zip(x, found, strict=True))

    @refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`torch.func.jacrev` of `torch.func.jacfwd`: by pair of inputs, shape a + b."""
        found = self.call(
            f, "hessian", lambda f: torch.func.jacrev(torch.func.jacfwd(f, every(x)), every(x)), *x.values()
        )
        return by_pair(x, found)


class ReverseOverReverse(Functional):
    """Second derivatives by going backwards twice."""

    @refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`torch.func.vjp` of `torch.func.grad`: by input, shape x."""

        def derive(f: Op) -> Op:
            return lambda directions, *arrays: torch.func.vjp(torch.func.grad(f, every(x)), *arrays)[1](directions)

        found = self.call(f, "hvp", derive, tuple(tangents[name] for name in x), *x.values())
        return dict(zip(x, found, strict=True))

    @refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`torch.func.jacrev` of `torch.func.grad`: by pair of inputs, shape a + b."""
        found = self.call(
            f, "hessian", lambda f: torch.func.jacrev(torch.func.grad(f, every(x)), every(x)), *x.values()
        )
        return by_pair(x, found)


def every(x: Arrays) -> tuple[int, ...]:
    """The positions of all inputs."""
    return tuple(range(len(x)))


def both(x: Arrays, tangents: Arrays) -> tuple[Tensor, ...]:
    """The inputs, then a tangent for each."""
    return (*x.values(), *(tangents[name] for name in x))


def pushed(f: Op) -> Op:
    """The forward derivative, as a function of the inputs and then a tangent for each."""

    def derivative(*arrays: Tensor) -> Answer:
        half = len(arrays) // 2
        return torch.func.jvp(f, arrays[:half], arrays[half:])[1]

    return derivative


def itself(f: Op) -> Op:
    """Nothing else than f."""
    return f


def _nested(f: Op, positions: tuple[int, ...]) -> Op:
    """The derivative by each of the inputs at these positions, one after the other."""

    def derivative(*arrays: Tensor) -> Answer:
        y = f(*arrays)
        transform = torch.func.grad if isinstance(y, Tensor) and y.ndim == 0 else torch.func.jacrev
        found = f
        for position in positions:
            found = transform(found, position)
        return found(*arrays)

    return derivative
