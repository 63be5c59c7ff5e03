"""Whether a function is holomorphic in its complex inputs, as its text says.

A program and the specs of its inputs enter; whether each output is holomorphic leaves. Only then is f'(z) one number,
so that a Jacobian, or the gradient of a complex value, has a meaning. The answer is safe rather than sharp:
`conj(conj(z))` isn't recognised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gradbench.primitives import VOCABULARY
from gradbench.program import ITEM, Node, Program, Ref, references
from gradbench.spec import Spec

NOT_HOLOMORPHIC: Final = frozenset({
    "abs", "real", "imag", "conj", "angle", "sign", "floor", "ceil", "trunc", "round", "clip", "remainder", "maximum",
    "minimum", "atan2", "hypot", "copysign", "max", "min", "sort", "var", "std", "vector_norm", "matrix_norm", "svdvals",
    "eigvalsh", "cholesky", "slogdet", "entr", "i0e", "i1e", "zeta", "gammainc",
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softsign", "hard_tanh", "hard_sigmoid", "hard_swish",
}) | {name for name, word in VOCABULARY.items() if word.topic == "comparison" and name != "where"}  # fmt: skip
"""What has no complex derivative, or none everywhere, or isn't defined for complex numbers."""

CONJUGATING: Final = {"vecdot": 0}
"""What is conjugate in one of its arguments, and holomorphic in the other."""


def holomorphic(program: Program, specs: Mapping[str, Spec]) -> dict[str, bool]:
    """For each output whether it is holomorphic in all complex inputs together; so is one that depends on none.

    Args:
        program: The function.
        specs: Of its inputs, by name. Constants stay where they are, so that whatever is done to them doesn't matter.
    """
    # For each entry whether it depends on complex inputs at all, and whether otherwise than holomorphically.
    moved: list[bool] = [name in specs and specs[name].kind == "complex" for name in program.names]
    bent: list[bool] = [False] * len(moved)
    for node in program.nodes:
        moved.append(any(moved[ref.index] for ref in references(node.arguments)))
        bent.append(any(bent[ref.index] for ref in references(node.arguments)) or _bends(node, moved))
    return {key: not any(bent[ref.index] for ref in references(output)) for key, output in program.outputs}


def _bends(node: Node, moved: list[bool]) -> bool:
    """Whether a step isn't holomorphic in what moves."""
    if node.primitive == ITEM:
        return False
    if node.primitive in NOT_HOLOMORPHIC:
        return moved[-1]
    if node.primitive in CONJUGATING:
        argument = node.arguments[CONJUGATING[node.primitive]]
        return isinstance(argument, Ref) and moved[argument.index]
    return False
