from __future__ import annotations

import numpy as np
import pytest

from gradbench.errors import ShapeError
from gradbench.language import parse
from gradbench.numeric import OPS
from gradbench.primitives import VOCABULARY
from gradbench.program import evaluate
from gradbench.shapes import MAX_SIZE, Spec, output

SAMPLES = [
    ("a + b", (3, 1), (1, 4)), ("sum(a, axis=(0, 2)) * b", (2, 3, 4), ()), ("mean(a, axis=-1, keepdims=True)", (2, 3), ()),
    ("reshape(a, (3, -1))", (2, 3), ()), ("permute_dims(a, (2, 0, 1))", (2, 3, 4), ()), ("a.T", (5, 2, 3), ()),
    ("expand_dims(a, axis=-1)", (2, 3), ()), ("squeeze(a, axis=1)", (2, 1), ()), ("moveaxis(a, (0, 1), (2, 0))", (2, 3, 4), ()),
    ("broadcast_to(a, (4, 2, 3))", (2, 3), ()), ("concat([a, b], axis=1)", (2, 3), (2, 1)), ("stack([a, b], axis=-1)", (2,), (2,)),
    ("tile(a, (2, 1, 3))", (2, 3), ()), ("tile(a, (2,))", (2, 3), ()), ("repeat(a, 3, axis=1)", (2, 2), ()),
    ("pad(a, (1, 0, 2, 3))", (2, 2), ()), ("diagonal(a)", (4, 2, 3), ()), ("diag(a)", (3,), ()),
    ("a @ b", (4, 2, 3), (3, 5)), ("a @ b", (3,), (2, 3, 4)), ("a @ b", (2, 3), (3,)), ("a @ b", (3,), (3,)),
    ("vecdot(a, b)", (2, 3), (3,)), ("outer(a, b)", (2,), (3,)), ("kron(a, b)", (2, 3), (4, 1)), ("cross(a, b)", (2, 3), (3,)),
    ("tensordot(a, b, axes=1)", (2, 3), (3, 4)), ("einsum('ij,jk->ki', a, b)", (2, 3), (3, 4)), ("trace(a)", (5, 2, 2), ()),
    ("det(a)", (5, 2, 2), ()), ("inv(a)", (2, 2), ()), ("svdvals(a)", (4, 2, 3), ()), ("eigvalsh(a)", (2, 2), ()),
    ("solve(a, b)", (3, 3), (3,)), ("solve(a, b)", (3, 3), (3, 2)), ("matrix_norm(a, keepdims=True)", (2, 3), ()),
    ("a[1, ::2, None]", (2, 5), ()), ("a[..., -1]", (2, 3, 4), ()), ("a[None, 1:]", (3,), ()), ("a[5:]", (3,), ()),
    ("slogdet(a).logabsdet", (2, 2), ()), ("vector_norm(a, axis=0)", (2, 3), ()), ("where(a > b, a, b)", (2, 1), (3,)),
    ("roll(a, 1, axis=0)", (3, 2), ()), ("tril(a)", (3, 2), ()), ("var(a, axis=0)", (3, 2), ()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "a", "b"), SAMPLES)
def test_the_inferred_shape_is_the_one_numpy_computes(text, a, b):
    program = parse(text, ["a", "b"])
    generator = np.random.default_rng(1)
    arrays = {name: np.asarray(generator.uniform(0.5, 2, shape)) for name, shape in (("a", a), ("b", b))}
    if a[-1:] == a[-2:-1]:
        arrays["a"] = arrays["a"] + 3 * np.eye(a[-1])
    computed = evaluate(program, {**OPS, "asarray": np.asarray}, arrays)
    assert output(program, {"a": Spec(a), "b": Spec(b)}).shape == np.shape(computed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a @ a", "matmul: shapes [2, 3] and [2, 3] don't multiply"),
        ("a + v", "add: shapes [2, 3] and [4] don't broadcast; equal sizes, or 1, from the right"),
        ("sum(a, axis=2)", "sum: axis 2 of an array with 2 axes; from -2 to 1"),
        ("sum(a, axis=(0, 0))", "an axis is named twice"),
        ("reshape(a, (4, -1))", "6 entries don't fill [4, -1]"),
        ("reshape(a, (-1, -1))", "[-1, -1] is no shape"),
        ("squeeze(a, axis=0)", "more than one entry along axis 0"),
        ("a[2]", "index 2 along an axis of size 2; from -2 to 1"),
        ("a[0, 0, 0]", "3 indices into an array with 2 axes"),
        ("a[..., ...]", "two ellipses"),
        ("det(a)", "a matrix of shape [2, 3]; a square one is needed"),
        ("det(v)", "an array of shape [4]; a matrix is needed"),
        ("(a > 0) * a", "a condition where a number is needed; use where(condition, a, b)"),
        ("where(a, a, 0)", "the condition is a number; compare it"),
        ("a & a", "a number where a condition is needed"),
        ("take(v, v)", "the indices are not whole numbers"),
        ("pad(a, (1, 1))", "width [1, 1] for an array with 2 axes"),
        ("concat([a, v])", "don't join along axis 0"),
        ("stack([a, v])", "don't stack"),
        ("einsum('ij,k->', a)", "2 terms for 1 arrays"),
        ("einsum('ij,i->j', a, v)", "'i' is both 2 and 4"),
        ("einsum('ij', a)", "subscripts 'ij'"),
        ("broadcast_to(a, (3,))", "doesn't broadcast to [3]"),
        ("clip(a, 2, 1)", "min 2 is above max 1"),
        ("gelu(a, approximate='fast')", "'none' or 'tanh'"),
        ("cross(a, v)", "a last axis of length 3"),
        ("solve(a, v)", "a square one is needed"),
        ("max(a[5:])", "an empty array has none"),
        ("broadcast_to(v, (100000000, 4))", "at most"),
        ("sin(slogdet(a @ a.T))", "answers with 2 arrays"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(text, message):
    from gradbench.errors import LanguageError

    with pytest.raises(LanguageError) as caught:
        output(parse("v2 = 1 + v\nreturn " + text, ["a", "v"]), {"a": Spec((2, 3)), "v": Spec((4,))})
    assert message in str(caught.value)
    assert caught.value.line == 2


def test_nothing_large_is_allocated_to_find_a_shape_too_large():
    program = parse("broadcast_to(x, (1000000, 1000000))", ["x"])
    with pytest.raises(ShapeError, match=str(MAX_SIZE)):
        output(program, {"x": Spec()})


def test_every_primitive_has_a_rule_for_its_shape():
    from gradbench.shape_rules import _RULES

    assert {p.shape for p in VOCABULARY.values()} == set(_RULES)
