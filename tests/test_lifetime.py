"""What is forgotten on the way through a program, and when."""

from __future__ import annotations

import pytest

from gradbench.language import parse
from gradbench.program import references
from gradbench.reference.lifetime import spent
from gradbench.reference.reverse.adjoint import adjoint


def test_an_entry_is_forgotten_after_its_last_use():
    program = parse("a = sin(x)\nb = a * a\nreturn a + b + x", ["x"])  # entries: x, a, b, a + b, + x
    assert spent(program) == [(), (), (1, 2), (3,)]
    assert spent(program, kept=[2]) == [(), (), (1,), (3,)]


def test_inputs_and_outputs_are_never_forgotten():
    program = parse("a = x * 2\nreturn a", ["x"])
    assert spent(program) == [()]


@pytest.mark.parametrize(
    "text",
    ["logsumexp(tanh(x) * sin(x))", "sum(stack([x, x * x, 2 * x]))", "slogdet(x[:, None] * x).logabsdet", "x[0]"],
)
def test_nothing_is_needed_after_it_was_forgotten(text):
    program = adjoint(parse(text, ["x"]), ["x"], {"x": (3,)})
    gone: set[int] = set()
    for node, now in zip(program.nodes, spent(program), strict=True):
        assert not gone & {ref.index for ref in references(node.arguments)}
        assert not gone & set(now)
        gone.update(now)
    assert not gone & {ref.index for _, output in program.outputs for ref in references(output)}
    assert all(place >= len(program.names) for place in gone)
