"""PyTorch's forward mode: `torch.autograd.forward_ad`, and the functions of `torch.func` that go forwards only.

As `torch`, on whose room this one stands. A jvp is one pass with dual tensors. Of whole derivatives and second ones
forward mode's own function is `torch.func.jacfwd`, since dual tensors don't nest. There is no vjp.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gradbench.adapter import Arrays, Function
from gradbench.adapters.torch import Answer, by_input, by_pair, refusing
from gradbench.adapters.torch_func import Functional, both, every, pushed
from gradbench.adapters.torch_words import Op


class Forward(Functional):
    """Forward mode."""

    @refusing
    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Tensor | tuple[Tensor | None, ...] | None:
        """One pass with dual tensors: shape y, or None where no input is connected."""
        with forward_ad.dual_level():
            y = f(*(forward_ad.make_dual(array, tangents[name]) for name, array in x.items()))
            if isinstance(y, tuple):
                return tuple(forward_ad.unpack_dual(part).tangent for part in y)
            return forward_ad.unpack_dual(y).tangent

    @refusing
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`torch.func.jacfwd` of a scalar f, a pass for each entry of x: by input, shape x."""
        found = self.call(f, "jacobian", lambda f: torch.func.jacfwd(f, every(x)), *x.values())
        return dict(zip(x, found, strict=True))

    @refusing
    def jacobian(self, f: Function, x: Arrays) -> Mapping[str, Answer]:
        """`torch.func.jacfwd`: by input, shape y + x."""
        return by_input(x, self.call(f, "jacobian", lambda f: torch.func.jacfwd(f, every(x)), *x.values()))

    @refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`torch.func.jacfwd` of `torch.func.jvp`: by input, shape x."""
        found = self.call(f, "hvp", lambda f: torch.func.jacfwd(pushed(f), every(x)), *both(x, tangents))
        return dict(zip(x, found, strict=True))

    @refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`torch.func.jacfwd` of `torch.func.jacfwd`: by pair of inputs, shape a + b."""
        found = self.call(
            f, "hessian", lambda f: torch.func.jacfwd(torch.func.jacfwd(f, every(x)), every(x)), *x.values()
        )
        return by_pair(x, found)

    @refusing
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Answer:
        """Nested `torch.func.jvp` by 0-d inputs: shape y."""
        positions = tuple(tuple(x).index(name) for name, order in orders.items() for _ in range(order))
        return self.call(f, ("partial", positions), lambda f: _nested(f, positions), *x.values())


def _nested(f: Op, positions: tuple[int, ...]) -> Op:
    """The derivative by each of the 0-d inputs at these positions, one after the other."""
    for position in positions:
        f = _derivative(f, position)
    return f


def _derivative(f: Op, position: int) -> Op:
    """The forward derivative by a 0-d input: of the same shape as f."""

    def derivative(*arrays: Tensor) -> Answer:
        def along(array: Tensor) -> Answer:
            return f(*arrays[:position], array, *arrays[position + 1 :])

        one = torch.ones_like(arrays[position])
        return torch.func.jvp(along, (arrays[position],), (one,))[1]

    return derivative
