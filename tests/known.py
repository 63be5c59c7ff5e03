"""Functions whose derivatives are known in closed form, for tests of every way that a framework can be asked.

Of each there is the Jacobian of every output, and the Hessian if it has one scalar output, as NumPy code; what any
operator answers follows from these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradbench import numeric
from gradbench.adapter import Function, lifted
from gradbench.language import parse
from gradbench.query import Operator

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """A function, where it is asked, and its derivatives there.

    Attributes:
        text: The function.
        inputs: The point.
        jacobians: For each output the Jacobian by input, of shape y + x, given the inputs and constants.
        hessian: By pair of inputs, of shape a + b; absent if there is no scalar output, or more than one output.
        constants: What it is not differentiated by.
        narrow: Whether it is one for formats of 16 bits, in which not every function exists.
    """

    text: str
    inputs: Arrays
    jacobians: Callable[..., list[Arrays]]
    hessian: Callable[..., Arrays] | None = None
    constants: Arrays = field(default_factory=dict)
    narrow: bool = True

    @property
    def operators(self) -> list[str]:
        """Those that suit it, but for `partial`."""
        scalar = ["gradient", "hvp", "hessian"] if self.hessian else []
        return ["value", "jvp", "vjp", "jacobian", *scalar]

    def posed(self, adapter: Any, dtype: Any = np.float64) -> tuple[Function, dict[str, Any]]:
        """The function for an adapter, and its inputs as native arrays."""
        dtype = np.dtype(dtype)
        program = parse(self.text, (*self.inputs, *self.constants))
        constants = {name: adapter.asarray(array) for name, array in self.constants.items()}
        f = Function(program, lifted(adapter, dtype), tuple(self.inputs), constants)
        return f, {name: adapter.asarray(array.astype(dtype)) for name, array in self.inputs.items()}

    def asked(self, adapter: Any, operator: str, f: Function, x: Arrays, dtype: Any = np.float64) -> dict[str, Any]:
        """What the adapter answers, by key as a worker has it."""
        extra: list[Any] = []
        if operator in {"jvp", "hvp"}:
            extra = [{k: adapter.asarray(t.astype(dtype)) for k, t in self.tangents.items()}]
        elif operator == "vjp":
            native = tuple(adapter.asarray(w.astype(dtype)) for w in self.cotangents)
            extra = [native if f.program.is_tuple else native[0]]
        found = getattr(adapter, operator)(f, x, *extra)
        return flat(found)

    @property
    def tangents(self) -> dict[str, Any]:
        """A direction, of numbers that every format has."""
        return {name: direction(array.shape, i) for i, (name, array) in enumerate(self.inputs.items())}

    @property
    def cotangents(self) -> list[Any]:
        """For each output one, of numbers that every format has."""
        return [direction(np.shape(y), i + 3) for i, y in enumerate(self.value(self.inputs))]

    def value(self, x: Arrays) -> list[Any]:
        """The outputs, by NumPy."""
        program = parse(self.text, (*self.inputs, *self.constants))
        ops = {**numeric.OPS, "asarray": lambda number: np.asarray(number, np.float64)}
        found = Function(program, ops, tuple(self.inputs), self.constants)(*x.values())
        return list(found) if program.is_tuple else [found]

    def expected(self, operator: str, dtype: Any = np.float64) -> dict[str, Any]:
        """What is right, by key, at the inputs as the dtype has them."""
        x = {name: array.astype(dtype).astype(np.float64) for name, array in self.inputs.items()}
        jacobians = self.jacobians(**x, **self.constants)
        program = parse(self.text, (*self.inputs, *self.constants))
        keys = Operator(operator).keys(self.inputs, program.keys)
        y = [np.shape(value) for value in self.value(x)]
        found: list[Any]
        if operator == "value":
            found = self.value(x)
        elif operator == "jvp":
            found = [sum(contract(j[k], t) for k, t in self.tangents.items()) for j in jacobians]
        elif operator == "vjp":
            found = [
                sum(np.tensordot(w, j[k], w.ndim) for w, j in zip(self.cotangents, jacobians, strict=True)) for k in x
            ]
        elif operator == "jacobian":
            found = [np.broadcast_to(j[k], s + x[k].shape) for j, s in zip(jacobians, y, strict=True) for k in x]
        elif operator == "gradient":
            found = [np.broadcast_to(jacobians[0][k], x[k].shape) for k in x]
        else:
            assert self.hessian is not None
            second = self.hessian(**x, **self.constants)
            found = [np.broadcast_to(second[f"{a},{b}"], x[a].shape + x[b].shape) for a in x for b in x]
            if operator == "hvp":
                found = [sum(contract(second[f"{a},{b}"], t) for b, t in self.tangents.items()) for a in x]
        return dict(zip(keys, found, strict=True))


def direction(shape: tuple[int, ...], seed: int) -> Any:
    """Eighths, up to two in size, none of them 0."""
    count = int(np.prod(shape, dtype=int))
    return np.reshape([(1 if (i + seed) % 3 else -1) * (8 + (5 * i + 3 * seed) % 9) / 8 for i in range(count)], shape)


def contract(matrix: Any, vector: Any) -> Any:
    """A matrix of shape y + x, times a vector of shape x."""
    return np.tensordot(matrix, vector, np.ndim(vector))


def flat(found: Any) -> dict[str, Any]:
    """An answer by key, as a worker has it."""
    parts = found if isinstance(found, Mapping) else {"": found}
    answer = {}
    for name, part in parts.items():
        if isinstance(part, tuple):
            answer.update({f"{i},{name}" if name else str(i): one for i, one in enumerate(part)})
        else:
            answer[name] = part
    return answer


X = np.array([-1.25, 0.5, 2.25])
Y = np.array([0.75, -1.5, 1.125])
K = np.array(0.75)
M = np.array([[0.875, -1.25, 0.25], [-0.5, 1.75, 2.5]])
S = np.array([[2.125, 0.25, -0.25], [0.5, 1.625, 0.375], [0.125, -0.25, 2.75]])
EMPTY = np.zeros(0)
EYE = np.eye(3)
NONE = np.zeros(())


def logistic(k: Any) -> Any:
    return 1 / (1 + np.exp(-k))


def softmax(x: Any) -> Any:
    return np.exp(x) / np.sum(np.exp(x))


def solved(s: Any, x: Any) -> list[Arrays]:
    inverse, y = np.linalg.inv(s), np.linalg.solve(s, x)
    return [{"s": -np.einsum("ia,b->iab", inverse, y), "x": inverse}]


def det_twice(s: Any) -> Arrays:
    inverse = np.linalg.inv(s)
    pairs = np.einsum("ji,lk->ijkl", inverse, inverse) - np.einsum("jk,li->ijkl", inverse, inverse)
    return {"s,s": np.linalg.det(s) * pairs}


KNOWN = {
    "graph": Known(
        "c = a + b\nd = b + 1\nreturn c * d",
        {"a": np.array(2.0), "b": np.array(1.0)},
        lambda a, b: [{"a": b + 1, "b": a + 2 * b + 1}],
        lambda a, b: {"a,a": NONE, "a,b": NONE + 1, "b,a": NONE + 1, "b,b": NONE + 2},
    ),
    "cubes": Known(
        "sum(x ** 3)", {"x": X}, lambda x: [{"x": 3 * x**2}], lambda x: {"x,x": np.diag(6 * x)}
    ),
    "scaled sine": Known(
        "sin(x) * k", {"x": X, "k": K}, lambda x, k: [{"x": np.diag(np.cos(x)) * k, "k": np.sin(x)}]
    ),
    "matrix times vector": Known(
        "m @ x", {"m": M, "x": X}, lambda m, x: [{"m": np.einsum("ia,b->iab", np.eye(2), x), "x": m}]
    ),
    "broadcast": Known(
        "u * v",
        {"u": np.array([[1.5], [-0.75]]), "v": X},
        lambda u, v: [
            {"u": np.einsum("ia,j->ija", np.eye(2), v)[..., None], "v": np.einsum("i,jb->ijb", u[:, 0], EYE)}
        ],
    ),
    "empty input": Known(
        "sum(e * e) + k * k",
        {"e": EMPTY, "k": K},
        lambda e, k: [{"e": EMPTY, "k": 2 * k}],
        lambda e, k: {"e,e": np.zeros((0, 0)), "e,k": EMPTY, "k,e": EMPTY, "k,k": NONE + 2},
    ),
    "empty output": Known(
        "e * k", {"e": EMPTY, "k": K}, lambda e, k: [{"e": np.zeros((0, 0)), "k": EMPTY}]
    ),
    "integer indices": Known(
        "take(x, i) * k",
        {"x": X, "k": K},
        lambda x, k, i: [{"x": k * EYE[i], "k": x[i]}],
        constants={"i": np.array([2, 0, 2, 1])},
    ),
    "integer exponents": Known(
        "sum(x ** n)",
        {"x": X},
        lambda x, n: [{"x": n * x ** (n - 1)}],
        lambda x, n: {"x,x": np.diag(n * (n - 1) * x ** (n - 2))},
        constants={"n": np.array([2, 3, 4])},
    ),
    "unconnected input": Known(
        "sum(x * x)",
        {"x": X, "k": K},
        lambda x, k: [{"x": 2 * x, "k": NONE}],
        lambda x, k: {"x,x": 2 * EYE, "x,k": 0 * x, "k,x": 0 * x, "k,k": NONE},
    ),
    "pieces": Known("where(x > 0, x * x, -x)", {"x": X}, lambda x: [{"x": np.diag(np.where(x > 0, 2 * x, -1))}]),
    "logsumexp": Known(
        "logsumexp(x)",
        {"x": X},
        lambda x: [{"x": softmax(x)}],
        lambda x: {"x,x": np.diag(softmax(x)) - np.outer(softmax(x), softmax(x))},
    ),
    "logistic": Known(
        "1 / (1 + exp(-k))",
        {"k": K},
        lambda k: [{"k": logistic(k) * (1 - logistic(k))}],
        lambda k: {"k,k": logistic(k) * (1 - logistic(k)) * (1 - 2 * logistic(k))},
    ),
    "three factors": Known(
        "sum(x * y) * k",
        {"x": X, "y": Y, "k": K},
        lambda x, y, k: [{"x": y * k, "y": x * k, "k": x @ y}],
        lambda x, y, k: {
            "x,x": 0 * EYE, "x,y": k * EYE, "x,k": y, "y,x": k * EYE, "y,y": 0 * EYE, "y,k": x,
            "k,x": y, "k,y": x, "k,k": NONE,
        },
    ),
    "reversed": Known(
        "x[::-1] * x", {"x": X}, lambda x: [{"x": np.diag(x[::-1]) + x[:, None] * EYE[::-1]}]
    ),
    "running sum": Known(
        "cumulative_sum(x * x)", {"x": X}, lambda x: [{"x": np.tril(np.ones((3, 3))) * 2 * x}]
    ),
    "determinant": Known(
        "det(s)", {"s": S}, lambda s: [{"s": np.linalg.det(s) * np.linalg.inv(s).T}], det_twice, narrow=False
    ),
    "linear system": Known("solve(s, x)", {"s": S, "x": X}, solved, narrow=False),
    "two outputs": Known(
        "return x * k, sum(x * x)",
        {"x": X, "k": K},
        lambda x, k: [{"x": k * EYE, "k": x}, {"x": 2 * x, "k": NONE}],
    ),
    "outputs that share no input": Known(
        "return sin(k), m * 2",
        {"m": M, "k": K},
        lambda m, k: [
            {"m": 0 * m, "k": np.cos(k)},
            {"m": 2 * np.einsum("ia,jb->ijab", np.eye(2), EYE), "k": 0 * m},
        ],
    ),
    "one output in a tuple": Known("return (x * x,)", {"x": X}, lambda x: [{"x": np.diag(2 * x)}]),
    "the same output twice": Known(
        "y = x * k\nreturn y, y", {"x": X, "k": K}, lambda x, k: [{"x": k * EYE, "k": x}] * 2
    ),
}  # fmt: skip
"""By a name."""


def check(known: Known, adapter: Any, operator: str, found: Mapping[str, Any], dtype: Any = np.float64) -> None:
    """That an answer has the keys, shapes, dtype and numbers that it must."""
    expected = known.expected(operator, dtype)
    assert sorted(found) == sorted(expected)
    tolerance = 8 * float(np.finfo(np.float64).eps if dtype == np.float64 else EPSILON[np.dtype(dtype).name])
    for key, truth in expected.items():
        answer = adapter.numpy(found[key])
        assert answer.shape == np.shape(truth), key
        assert answer.dtype == np.dtype(dtype), key
        scale = np.max(np.abs(truth), initial=1)
        np.testing.assert_allclose(
            answer.astype(np.float64), truth, rtol=tolerance, atol=tolerance * scale, err_msg=key
        )


EPSILON = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
