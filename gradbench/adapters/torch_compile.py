"""PyTorch compiled: `torch.compile` with its own compiler, Inductor, which writes C++ for a CPU and Triton for a GPU.

As `torch_func`, on whose room this one stands. A function is compiled once for its shapes and dtypes, whole or not at
all (`fullgraph`), for exactly these shapes (`dynamic=False`). The compiled function is what goes backwards for vjp,
gradient and Jacobian. It can't go backwards twice, so second derivatives and jvp are functions of `torch.func`,
compiled as they are.
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
import os
import re
import tempfile
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
import torch._functorch.config as functorch
import torch._inductor.config as inductor
from torch import Tensor
from torch._dynamo.exc import Unsupported as Untraceable
from torch._inductor import cpp_builder, cpu_vec_isa

from gradbench.adapter import Arrays, Function
from gradbench.adapters.torch import Answer, by_input, pulled_back, refusing
from gradbench.adapters.torch_func import Derive, Func, itself
from gradbench.adapters.torch_words import Op
from gradbench.errors import Unsupported

_NUMBER: Final = itertools.count(1)
_CACHE: Final = "TORCHINDUCTOR_CACHE_DIR"


class Compile(Func):
    """What `torch.compile` makes of f, or of a transform of it."""

    compiles = True

    refusals = (NotImplementedError, Untraceable)
    backend = "inductor"
    """The compiler, by the name that PyTorch has for it."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Function, dict[Hashable, Op]] = WeakKeyDictionary()
        self._lack = ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def open(self, device: str) -> Mapping[str, Any]:
        """As every way of using PyTorch; then compiles something small, so that no function waits for the compiler.

        Where that fails because there is no C++ compiler or no Triton, every operator is unsupported. What is compiled
        lies in a folder that goes with this process, so that a first call always compiles, unless
        TORCHINDUCTOR_CACHE_DIR names one that stays.
        """
        settings = super().open(device)
        if _CACHE not in os.environ:
            self._folder = tempfile.TemporaryDirectory(prefix="gradbench-", ignore_cleanup_errors=True)
            os.environ[_CACHE] = self._folder.name
        inductor.compile_threads = 1  # else it starts processes to compile in, and they outlive their query
        if hasattr(inductor, "deterministic"):
            inductor.deterministic = True
        if hasattr(functorch, "donated_buffer"):
            functorch.donated_buffer = (
                False  # else one can't go backwards twice from the same outputs, as a Jacobian does
            )
        self._lack = _lack(self.backend, self.device)
        return {
            **settings,
            "backend": self.backend,
            "fullgraph": True,
            "dynamic": False,
            "inductor_deterministic": getattr(inductor, "deterministic", False),
            "emulate_precision_casts": inductor.emulate_precision_casts,
            "compile_threads": inductor.compile_threads,
            "vector_isa": str(cpu_vec_isa.pick_vec_isa()) if self.device == "cpu" and not self._lack else "",
            "keeps_what_it_compiled": self._folder is None,
        }

    def versions(self) -> Mapping[str, str]:
        """PyTorch's, and that of the compiler it calls."""
        found = dict(super().versions())
        if not self._lack and self.device == "cpu":
            name = cpp_builder.get_cpp_compiler()
            version = re.search(r"version (\S+)", cpp_builder.get_compiler_version_info(name))
            found[Path(name).name] = version[1] if version else ""
        elif not self._lack:
            found["triton"] = importlib.metadata.version("triton")
        return found

    def call(self, f: Function, key: Hashable, derive: Derive, *arguments: Any) -> Any:
        """What `derive` makes of f, compiled."""
        return self.compiled(f, key, derive, *arguments)(*arguments)

    def compiled(self, f: Function, key: Hashable, derive: Derive, *arguments: Any) -> Op:
        """What `derive` makes of f, as it will be compiled at its first call, or is already, for such arguments.

        Raises:
            Unsupported: There is nothing to compile with.
        """
        if self._lack:
            raise Unsupported(self._lack)
        kept = self._kept.setdefault(f.kept_by, {})
        held = tuple(f.held.values())
        signature = (key, tuple(f.held), *((tuple(array.shape), array.dtype) for array in (*held, *arguments)))
        if signature not in kept:
            kept[signature] = _compiled(_open(f, derive), self.backend)
        return functools.partial(kept[signature], *held) if held else kept[signature]

    @refusing
    def vjp(self, f: Function, x: Arrays, cotangent: Answer) -> Arrays:
        """`torch.autograd.grad` through the compiled f: by input, shape x, or None where it is not connected."""
        return pulled_back(self._forward(f, x), x, cotangent)

    @refusing
    def gradient(self, f: Function, x: Arrays) -> Arrays:
        """`torch.autograd.grad` through the compiled scalar f: by input, shape x, or None where it is not connected."""
        return pulled_back(self._forward(f, x), x, None)

    @refusing
    def jacobian(self, f: Function, x: Arrays) -> Mapping[str, Answer]:
        """`torch.autograd.functional.jacobian` through the compiled f, once backwards for a row: shape y + x."""
        return by_input(x, torch.autograd.functional.jacobian(self._forward(f, x), tuple(x.values())))

    def _forward(self, f: Function, x: Arrays) -> Op:
        """The compiled f that is called with ends of a graph; without them it is another one, made for the value."""
        return self.compiled(f, "forward", itself, *x.values())


def _open(f: Function, derive: Derive) -> Op:
    """What `derive` makes of f, as a function of what f holds as well: of its arrays, then of all others."""
    own = _apart(f.kept_by)
    if not f.held:
        return derive(own)
    order, count = (*f.held, *f.inputs), len(f.held)
    places = [order.index(name) for name in own.inputs]

    def function(*arguments: Any) -> Any:
        held = arguments[:count]

        def free(*arrays: Tensor) -> Answer:
            given = (*held, *arrays)
            return own(*[given[place] for place in places])

        return derive(free)(*arguments[count:])

    return function


def _compiled(function: Op, backend: str) -> Op:
    """`torch.compile` of the function, with a code object of its own.

    What is compiled is kept with the code object, eight times at most, so functions that share one would take each
    other's place.
    """

    def shared(*arguments: Tensor) -> Answer:
        return function(*arguments)

    name = f"gradbench_{next(_NUMBER)}"
    code = shared.__code__.replace(co_name=name)
    own = FunctionType(code, globals(), name, None, shared.__closure__)
    compiled: Op = torch.compile(own, backend=backend, fullgraph=True, dynamic=False)
    return compiled


def _apart(f: Function) -> Function:
    """The same function as another object: nothing that is kept by f may hold on to f.

    Numbers of the text become tensors by `torch.tensor`, which can be traced; NumPy's arrays can't.
    """
    like = f.ops["asarray"](0)

    def asarray(number: complex) -> Tensor:
        return torch.tensor(number, dtype=like.dtype, device=like.device)

    return replace(f, ops={**f.ops, "asarray": asarray})


def _lack(backend: str, device: str) -> str:
    """Why nothing can be compiled here, or nothing."""
    x = torch.ones(2, device=device, requires_grad=True)
    try:
        y = _compiled(torch.sin, backend)(x)
        torch.autograd.grad(y.sum(), x)
    except RuntimeError as error:
        return str(error).partition("\n")[0]
    return ""
