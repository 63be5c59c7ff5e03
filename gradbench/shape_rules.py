"""The shape of each primitive's answer, rule by rule; `gradbench.primitives` names the rule of each.

Specs of the arrays and the static arguments of one primitive enter; the spec of its answer leaves, or a `Misfit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gradbench.primitives import VOCABULARY
from gradbench.spec import Misfit, Shape, Spec, at_least, axes_of, axis_of, broadcast, kind_of, real_kind, shape_text


def apply(primitive: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Any:
    """The spec of one primitive's answer.

    Raises:
        Misfit: The arguments don't fit.
    """
    for spec in arguments:
        for one in spec if isinstance(spec, list) else [spec]:
            if isinstance(one, tuple):
                raise Misfit("several arrays where one is needed", "take one of them by its name")
    return _RULES[VOCABULARY[primitive].shape](primitive, arguments, statics)


# The rules, by name. Each takes the primitive's name, the specs of its arrays and its static arguments.

_REAL_VALUED: Final = frozenset({
    "abs", "real", "imag", "angle", "floor", "ceil", "trunc", "round", "var", "std", "vector_norm", "matrix_norm",
})  # fmt: skip


def _elementwise(name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,) = arguments
    if name == "clip" and statics["min"] is not None and statics["max"] is not None and statics["min"] > statics["max"]:
        raise Misfit(f"min {statics['min']} is above max {statics['max']}")
    if name == "gelu" and statics["approximate"] not in {"none", "tanh"}:
        raise Misfit(f"approximate {statics['approximate']!r}", "'none' or 'tanh'")
    return Spec(x.shape, "real" if name in _REAL_VALUED else real_kind(kind_of(x)))


def _broadcast(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    return Spec(broadcast(*(x.shape for x in arguments)), real_kind(kind_of(*arguments)))


def _compare(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    kind_of(*arguments)
    return Spec(broadcast(*(x.shape for x in arguments)), "boolean")


def _logic(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    if any(x.kind != "boolean" for x in arguments):
        raise Misfit("a number where a condition is needed", "compare it, as x > 0")
    return Spec(broadcast(*(x.shape for x in arguments)), "boolean")


def _where(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    condition, x1, x2 = arguments
    if condition.kind != "boolean":
        raise Misfit("the condition is a number", "compare it, as x > 0")
    return Spec(broadcast(condition.shape, x1.shape, x2.shape), real_kind(kind_of(x1, x2)))


def _reduce(name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,) = arguments
    axes = axes_of(statics["axis"], len(x.shape))
    if name in {"max", "min"} and any(x.shape[axis] == 0 for axis in axes):
        raise Misfit("an empty array has none", "at least one entry")
    kept = [1 if i in axes else n for i, n in enumerate(x.shape) if statics["keepdims"] or i not in axes]
    return Spec(tuple(kept), "real" if name in _REAL_VALUED else real_kind(kind_of(x)))


def _along_axis(name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,) = arguments
    if "k" in statics:
        at_least(x, 2)
    elif name == "roll" and statics["axis"] is not None:
        axes = axes_of(statics["axis"], len(x.shape))
        if len(statics["shift"]) not in {1, len(axes)}:
            raise Misfit(f"{len(statics['shift'])} shifts for {len(axes)} axes", "one for each axis")
    elif name == "roll" and len(statics["shift"]) != 1:
        raise Misfit(f"{len(statics['shift'])} shifts and no axis", "one for each axis")
    else:
        axes_of(statics["axis"], len(x.shape))
    return Spec(x.shape, real_kind(kind_of(x)))


def _reshape(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,), shape = arguments, statics["shape"]
    free = [i for i, n in enumerate(shape) if n == -1]
    known = math.prod(n for n in shape if n != -1)
    if len(free) > 1 or any(n < -1 for n in shape):
        raise Misfit(f"{list(shape)} is no shape", "whole numbers, at most one of them -1")
    if free and (known == 0 or x.size % known):
        raise Misfit(f"{x.size} entries don't fill {list(shape)}")
    found = tuple(x.size // known if n == -1 else n for n in shape)
    if math.prod(found) != x.size:
        raise Misfit(f"{x.size} entries don't fill {list(shape)}", f"a shape of {x.size} entries")
    return Spec(found, x.kind)


def _permute_dims(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,), axes = arguments, statics["axes"]
    found = axes_of(axes, len(x.shape))
    if len(found) != len(x.shape):
        raise Misfit(f"{len(axes)} axes for an array with {len(x.shape)}", "each axis once")
    return Spec(tuple(x.shape[axis] for axis in found), x.kind)


def _matrix_transpose(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    *batch, n, m = at_least(arguments[0], 2)
    return Spec((*batch, m, n), arguments[0].kind)


def _expand_dims(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,) = arguments
    axis = axis_of(statics["axis"], len(x.shape) + 1)
    return Spec((*x.shape[:axis], 1, *x.shape[axis:]), x.kind)


def _squeeze(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,) = arguments
    axes = axes_of(statics["axis"], len(x.shape))
    if any(x.shape[axis] != 1 for axis in axes):
        raise Misfit(
            f"shape {shape_text(x.shape)} has more than one entry along axis {statics['axis']}", "an axis of size 1"
        )
    return Spec(tuple(n for i, n in enumerate(x.shape) if i not in axes), x.kind)


def _moveaxis(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,) = arguments
    source, target = (axes_of(statics[key], len(x.shape)) for key in ("source", "destination"))
    if len(source) != len(target):
        raise Misfit(f"{len(source)} axes to {len(target)} places", "one place for each")
    order = [axis for axis in range(len(x.shape)) if axis not in source]
    for place, axis in sorted(zip(target, source, strict=True)):
        order.insert(place, axis)
    return Spec(tuple(x.shape[axis] for axis in order), x.kind)


def _broadcast_to(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,), shape = arguments, statics["shape"]
    if any(n < 0 for n in shape) or len(shape) < len(x.shape) or broadcast(x.shape, shape) != tuple(shape):
        raise Misfit(f"shape {shape_text(x.shape)} doesn't broadcast to {list(shape)}")
    return Spec(tuple(shape), x.kind)


def _concat(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (arrays,) = arguments
    first = arrays[0].shape
    axis = axis_of(statics["axis"], len(first))
    for x in arrays[1:]:
        if len(x.shape) != len(first) or any(
            n != m for i, (n, m) in enumerate(zip(x.shape, first, strict=True)) if i != axis
        ):
            raise Misfit(f"shapes {shape_text(first, x.shape)} don't join along axis {axis}")
    joined = sum(x.shape[axis] for x in arrays)
    return Spec((*first[:axis], joined, *first[axis + 1 :]), kind_of(*arrays))


def _stack(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (arrays,) = arguments
    first = arrays[0].shape
    axis = axis_of(statics["axis"], len(first) + 1)
    for x in arrays[1:]:
        if x.shape != first:
            raise Misfit(f"shapes {shape_text(first, x.shape)} don't stack", "equal shapes")
    return Spec((*first[:axis], len(arrays), *first[axis:]), kind_of(*arrays))


def _tile(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,), times = arguments, statics["repetitions"]
    if any(n < 0 for n in times):
        raise Misfit(f"repetitions {list(times)}", "none below 0")
    rank = max(len(times), len(x.shape))
    shape = (1,) * (rank - len(x.shape)) + x.shape
    return Spec(tuple(n * t for n, t in zip(shape, (1,) * (rank - len(times)) + times, strict=True)), x.kind)


def _repeat(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,) = arguments
    axis = axis_of(statics["axis"], len(x.shape))
    if statics["repeats"] < 0:
        raise Misfit(f"repeats {statics['repeats']}", "0 or more")
    return Spec((*x.shape[:axis], x.shape[axis] * statics["repeats"], *x.shape[axis + 1 :]), x.kind)


def _pad(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,), width = arguments, statics["width"]
    if len(width) != 2 * len(x.shape) or any(n < 0 for n in width):
        raise Misfit(f"width {list(width)} for an array with {len(x.shape)} axes", "before and after for each axis")
    return Spec(tuple(n + width[2 * i] + width[2 * i + 1] for i, n in enumerate(x.shape)), x.kind)


def _take(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    x, indices = arguments
    axis = axis_of(statics["axis"], len(x.shape))
    if indices.kind != "integer":
        raise Misfit("the indices are not whole numbers", "an input or a constant with 'dtype: integer'")
    return Spec((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.kind)


def _diagonal(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    *batch, n, m = at_least(arguments[0], 2)
    return Spec((*batch, min(n, m)), arguments[0].kind)


def _diag(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    (x,) = arguments
    if len(x.shape) != 1:
        raise Misfit(f"an array of shape {shape_text(x.shape)}", "a vector is needed; see diagonal() for a matrix")
    return Spec((x.shape[0], x.shape[0]), x.kind)


def _matmul(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    x1, x2 = arguments
    a, b = at_least(x1, 1), at_least(x2, 1)
    rows, columns = a[-2:-1], b[-1:] if len(b) > 1 else ()
    if a[-1] != b[-2 if len(b) > 1 else -1]:
        raise Misfit(
            f"shapes {shape_text(a, b)} don't multiply", "the last axis of the first as long as the rows of the second"
        )
    return Spec(broadcast(a[:-2], b[:-2]) + rows + columns, real_kind(kind_of(x1, x2)))


def _vecdot(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    x1, x2 = arguments
    shape = broadcast(at_least(x1, 1), at_least(x2, 1))
    axis = axis_of(statics["axis"], min(len(x1.shape), len(x2.shape))) - min(len(x1.shape), len(x2.shape))
    if x1.shape[axis] != x2.shape[axis]:
        raise Misfit(f"shapes {shape_text(x1.shape, x2.shape)} differ along axis {statics['axis']}")
    return Spec(shape[:axis] + (shape[axis + 1 :] if axis != -1 else ()), real_kind(kind_of(x1, x2)))


def _outer(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    x1, x2 = arguments
    if len(x1.shape) != 1 or len(x2.shape) != 1:
        raise Misfit(f"arrays of shape {shape_text(x1.shape, x2.shape)}", "two vectors are needed")
    return Spec(x1.shape + x2.shape, real_kind(kind_of(x1, x2)))


def _kron(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    x1, x2 = arguments
    if len(x1.shape) != len(x2.shape):
        raise Misfit(f"shapes {shape_text(x1.shape, x2.shape)} have different ranks", "two vectors or two matrices")
    return Spec(tuple(n * m for n, m in zip(x1.shape, x2.shape, strict=True)), real_kind(kind_of(x1, x2)))


def _cross(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    x1, x2 = arguments
    if at_least(x1, 1)[-1] != 3 or at_least(x2, 1)[-1] != 3:
        raise Misfit(f"shapes {shape_text(x1.shape, x2.shape)}", "a last axis of length 3")
    return Spec(broadcast(x1.shape, x2.shape), real_kind(kind_of(x1, x2)))


def _tensordot(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x1, x2), count = arguments, statics["axes"]
    if count < 0 or count > min(len(x1.shape), len(x2.shape)):
        raise Misfit(f"{count} axes of arrays of shape {shape_text(x1.shape, x2.shape)}")
    cut = len(x1.shape) - count
    if x1.shape[cut:] != x2.shape[:count]:
        raise Misfit(f"shapes {shape_text(x1.shape, x2.shape)} differ along the {count} axes to sum over")
    return Spec(x1.shape[:cut] + x2.shape[count:], real_kind(kind_of(x1, x2)))


def _einsum(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    text = statics["subscripts"].replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if not arrow or not all(c.isalpha() or c in ",->" for c in text):
        raise Misfit(f"subscripts {text!r}", "letters and an arrow, as 'ij,jk->ik'")
    if len(terms) != len(arguments):
        raise Misfit(f"{len(terms)} terms for {len(arguments)} arrays")
    sizes: dict[str, int] = {}
    for term, x in zip(terms, arguments, strict=True):
        if len(term) != len(x.shape):
            raise Misfit(f"{term!r} for an array of shape {shape_text(x.shape)}", "a letter for each axis")
        for letter, size in zip(term, x.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise Misfit(f"{letter!r} is both {sizes[letter]} and {size}")
    if not set(right) <= set(sizes) or len(set(right)) < len(right):
        raise Misfit(f"the result {right!r}", "letters of the terms, each once")
    return Spec(tuple(sizes[letter] for letter in right), real_kind(kind_of(*arguments)))


def _square_shape(spec: Spec) -> Shape:
    shape = at_least(spec, 2)
    if shape[-1] != shape[-2]:
        raise Misfit(f"a matrix of shape {shape_text(shape)}", "a square one is needed")
    return shape


def _trace(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    return Spec(at_least(arguments[0], 2)[:-2], real_kind(kind_of(*arguments)))


def _determinant(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    return Spec(_square_shape(arguments[0])[:-2], real_kind(kind_of(*arguments)))


def _square(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    return Spec(_square_shape(arguments[0]), real_kind(kind_of(*arguments)))


def _eigvalsh(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    return Spec(_square_shape(arguments[0])[:-1])


def _solve(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    x1, x2 = arguments
    *batch, n, _ = _square_shape(x1)
    if len(at_least(x2, 1)) == 1:
        if batch:
            raise Misfit(f"a vector for matrices of shape {shape_text(x1.shape)}", "one column each, as x2[..., None]")
        rows, rest = x2.shape[0], ()
    else:
        rows, rest = x2.shape[-2], x2.shape[-1:]
    if rows != n:
        raise Misfit(f"{n} equations and {rows} right-hand sides", f"{n} rows")
    return Spec((*broadcast(tuple(batch), x2.shape[:-2]), n, *rest), real_kind(kind_of(x1, x2)))


def _matrix_norm(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    batch = at_least(arguments[0], 2)[:-2]
    return Spec((*batch, 1, 1) if statics["keepdims"] else batch)


def _svdvals(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> Spec:
    *batch, n, m = at_least(arguments[0], 2)
    return Spec((*batch, min(n, m)))


def _slogdet(_name: str, arguments: Sequence[Any], _statics: Mapping[str, Any]) -> tuple[Spec, Spec]:
    batch = _square_shape(arguments[0])[:-2]
    return Spec(batch, real_kind(kind_of(*arguments))), Spec(batch)


def _getitem(_name: str, arguments: Sequence[Any], statics: Mapping[str, Any]) -> Spec:
    (x,), index = arguments, statics["index"]
    if index.count(Ellipsis) > 1:
        raise Misfit("two ellipses in one index", "one")
    taken = sum(part is not None and part is not Ellipsis for part in index)
    if taken > len(x.shape):
        raise Misfit(f"{taken} indices into an array with {len(x.shape)} axes")
    fill = (slice(None),) * (len(x.shape) - taken)
    at = index.index(Ellipsis) if Ellipsis in index else len(index)
    full = (*index[:at], *fill, *index[at + 1 :])
    found: list[int] = []
    axis = 0
    for part in full:
        if part is None:
            found.append(1)
            continue
        size = x.shape[axis]
        if isinstance(part, slice):
            found.append(len(range(*part.indices(size))))
        elif not -size <= part < size:
            raise Misfit(f"index {part} along an axis of size {size}", f"from {-size} to {size - 1}" if size else "")
        axis += 1
    return Spec(tuple(found), x.kind)


_RULES: Final[dict[str, Callable[[str, Sequence[Any], Mapping[str, Any]], Any]]] = {
    "elementwise": _elementwise, "broadcast": _broadcast, "compare": _compare, "logic": _logic, "where": _where,
    "reduce": _reduce, "along_axis": _along_axis, "reshape": _reshape, "permute_dims": _permute_dims,
    "matrix_transpose": _matrix_transpose, "expand_dims": _expand_dims, "squeeze": _squeeze, "moveaxis": _moveaxis,
    "broadcast_to": _broadcast_to, "concat": _concat, "stack": _stack, "tile": _tile, "repeat": _repeat, "pad": _pad,
    "take": _take, "diagonal": _diagonal, "diag": _diag, "matmul": _matmul, "vecdot": _vecdot, "outer": _outer,
    "kron": _kron, "cross": _cross, "tensordot": _tensordot, "einsum": _einsum, "trace": _trace,
    "determinant": _determinant, "square": _square, "eigvalsh": _eigvalsh, "solve": _solve,
    "matrix_norm": _matrix_norm, "svdvals": _svdvals, "slogdet": _slogdet, "getitem": _getitem,
}  # fmt: skip
