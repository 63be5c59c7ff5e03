"""PyTorch, in its own idiom: `torch.nn.functional`, `torch.special`, `torch.linalg`, `torch.autograd`.

NumPy arrays enter; tensors go through PyTorch's own functions and derivatives; NumPy arrays leave. `torch_words` spells
the primitives, `_Torch` holds what every way of using PyTorch shares, and `Torch` is reverse mode: `torch.autograd.grad`,
and the higher-level functions of `torch.autograd.functional`.
"""

from __future__ import annotations

import functools
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from gradbench.adapter import Arrays, Function
from gradbench.adapters.torch_words import COMPOSITE, OPS, Op
from gradbench.errors import DeviceMissing, Unsupported
from gradbench.query import Array

Answer: TypeAlias = Tensor | tuple[Tensor, ...]
"""What a function returns, and whatever has its shape: an array, or a tuple of them."""
P = ParamSpec("P")
R = TypeVar("R")

# What PyTorch says, often in a plain RuntimeError, of a dtype that a function or its derivative isn't made for.
_REFUSAL: Final = re.compile(
    r"not (yet )?(implemented|supported)|does(n't| not) support"
    r"|only for real scalar|all (in|out)puts to be real"  # complex numbers; to some functions even as inputs
    r"|can require gradients|primal to be floating point"  # integers, backwards and forwards
)


def refusing(operate: Callable[P, R]) -> Callable[P, R]:
    """The operator, raising `Unsupported` where PyTorch says that it doesn't offer this."""

    @functools.wraps(operate)
    def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return operate(*args, **kwargs)
        except (RuntimeError, ValueError) as error:
            if _REFUSAL.search(str(error)):
                raise Unsupported(str(error)) from error
            raise

    return asked


class _Torch:
    """What every way of using PyTorch has: primitives, settings, arrays in and out, and the value."""

    ops: Mapping[str, Op] = OPS
    composite = COMPOSITE
    refusals: tuple[type[BaseException], ...] = (NotImplementedError,)
    device = "cpu"

    def open(self, device: str) -> Mapping[str, Any]:
        """Asks for full precision, deterministic algorithms where there are some, and one thread.

        GRADBENCH_THREADS may ask for more of them. The default dtype stays as it is.

        Raises:
            DeviceMissing: PyTorch sees no such device.
        """
        cuda = device.partition(":")[0] == "cuda"
        if device != "cpu" and not (cuda and torch.cuda.is_available()):
            raise DeviceMissing(f"torch {torch.__version__} sees no {device!r}; use 'cpu', or a build for that device")
        self.device = device
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        torch.set_num_threads(int(os.environ.get("GRADBENCH_THREADS", "1")))
        settings: dict[str, Any] = {
            "device_name": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "default_dtype": str(torch.get_default_dtype()),
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "opt_einsum": torch.backends.opt_einsum.is_available(),
        }
        if cuda:
            matmul = torch.backends.cuda.matmul
            settings |= {
                "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
                "cudnn_benchmark": torch.backends.cudnn.benchmark,
                "float16_reduced_precision_reduction": matmul.allow_fp16_reduced_precision_reduction,
                "bfloat16_reduced_precision_reduction": matmul.allow_bf16_reduced_precision_reduction,
                "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ""),
            }
        return settings

    def versions(self) -> Mapping[str, str]:
        """PyTorch's, and those of the libraries in it that compute."""
        build = torch.__config__.show()
        patterns = {"mkl": r"Math Kernel Library Version (\S+)", "onednn": r"MKL-DNN v(\S+)"}
        found = {name: match[1] for name, pattern in patterns.items() if (match := re.search(pattern, build))}
        devices = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        return {"torch": torch.__version__, **found, **{k: str(v) for k, v in devices.items() if v is not None}}

    def asarray(self, array: Array) -> Tensor:
        """A tensor on the device, of the same dtype, with memory of its own."""
        own = np.array(array, array.dtype.newbyteorder("="), order="C")
        if own.dtype == ml_dtypes.bfloat16:  # NumPy and PyTorch have it both, but not in common
            return torch.from_numpy(own.view(np.int16)).view(torch.bfloat16).to(self.device)
        return torch.from_numpy(own).to(self.device)

    def numpy(self, array: Tensor) -> Array:
        """The tensor on the host, of the same dtype and shape."""
        # A copy has memory. A zero that PyTorch has made none for, as vmap of a second derivative may answer with,
        # takes the process with it in PyTorch 2.13 if a part of it is made an array.
        own = array.detach().clone()
        if own.dtype == torch.bfloat16:
            return own.view(torch.int16).numpy(force=True).view(ml_dtypes.bfloat16)  # type: ignore[no-any-return]
        return own.numpy(force=True)  # type: ignore[no-any-return]

    def synchronize(self) -> None:
        """Waits for the GPU, if there is one in use."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    @refusing
    def value(self, f: Function, x: Arrays) -> Answer:
        """The function itself, at x: shape y."""
        return f(*x.values())


class Torch(_Torch):
    """Reverse mode."""

    @refusing
    def vjp(self, f: Function, x: Arrays, cotangent: Answer) -> Arrays:
        """`torch.autograd.grad` from a cotangent: by input, shape x, or None where it is not connected."""
        return pulled_back(f, x, cotangent)

    @refusing
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`torch.autograd.grad` of a scalar f: by input, shape x, or None where it is not connected."""
        return pulled_back(f, x, None)

    @refusing
    def jacobian(self, f: Function, x: Arrays) -> Mapping[str, Answer]:
        """`torch.autograd.functional.jacobian`: by input, shape y + x."""
        return by_input(x, torch.autograd.functional.jacobian(f, tuple(x.values())))

    @refusing
    def hvp(self, f: Function, x: Arrays, tangents: Arrays) -> Arrays:
        """`torch.autograd.functional.hvp`, three passes backwards: by input, shape x."""
        _, found = torch.autograd.functional.hvp(f, tuple(x.values()), tuple(tangents[name] for name in x))
        return dict(zip(x, found, strict=True))

    @refusing
    def hessian(self, f: Function, x: Arrays) -> Arrays:
        """`torch.autograd.functional.hessian`: by pair of inputs, shape a + b."""
        return by_pair(x, torch.autograd.functional.hessian(f, tuple(x.values())))

    @refusing
    def jvp(self, f: Function, x: Arrays, tangents: Arrays) -> Answer:
        """`torch.autograd.functional.jvp`, which goes backwards twice: shape y."""
        return torch.autograd.functional.jvp(f, tuple(x.values()), tuple(tangents[name] for name in x))[1]

    @refusing
    def partial(self, f: Function, x: Arrays, orders: Mapping[str, int]) -> Answer:
        """Nested `torch.autograd.functional.jacobian` by 0-d inputs: shape y."""
        found: Op = f
        for name, order in orders.items():
            for _ in range(order):
                found = _derivative(found, tuple(x).index(name))
        return found(*x.values())


def _derivative(f: Op, position: int) -> Op:
    """The derivative by a 0-d input: of the same shape as f, and differentiable again."""

    def derivative(*arrays: Tensor) -> Answer:
        def along(array: Tensor) -> Answer:
            return f(*arrays[:position], array, *arrays[position + 1 :])

        return torch.autograd.functional.jacobian(along, arrays[position], create_graph=True)

    return derivative


def pulled_back(f: Op, x: Arrays, cotangent: Answer | None) -> Arrays:
    """`torch.autograd.grad` from a cotangent, or of a scalar from None."""
    # ends of a new graph; the arrays handed in stay outside of it
    leaves = tuple(array.detach().requires_grad_() for array in x.values())
    found = torch.autograd.grad(f(*leaves), leaves, cotangent, allow_unused=True)
    return dict(zip(x, found, strict=True))


def by_input(x: Arrays, rows: Sequence[Any]) -> Mapping[str, Answer]:
    """What PyTorch answers with for a Jacobian, by input; of several outputs there is a row for each."""
    if isinstance(rows[0], tuple):
        return dict(zip(x, zip(*rows, strict=True), strict=True))
    return dict(zip(x, rows, strict=True))


def by_pair(x: Arrays, rows: Sequence[Sequence[Tensor]]) -> Arrays:
    """What PyTorch answers with for a Hessian, by pair of inputs."""
    return {f"{a},{b}": rows[i][j] for i, a in enumerate(x) for j, b in enumerate(x)}
