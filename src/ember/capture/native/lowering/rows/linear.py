"""Reductions and products of matrices, one row each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ember.capture.native.lowering.elementwise import A, B, C, D, full, pointwise
from ember.capture.native.lowering.library import FLOATS, library_call
from ember.capture.native.lowering.reductions import Domain, product_sum, reduce, reduced_dims, reduction
from ember.capture.native.lowering.refs import Memory, Ref, layout
from ember.capture.native.lowering.rows.external import call_torch
from ember.capture.native.lowering.workspace import Lower, OpCall, Workspace
from ember.capture.native.values.arrays import Access, Constant, Value
from ember.capture.native.values.layout import Dims, contiguous

aten = torch.ops.aten

# From so many multiplications on, a function for the product of two matrices is faster than a loop.
LARGE_PRODUCT = 8192
# Rows and columns of a result that is small enough for a function of the headers; more products than this one adds up in double
# precision.
MOST_ROWS = 32
MOST_TERMS = 2048


def _mean(low: Workspace, call: OpCall) -> Value:
    ref = call.ref("self")
    gone = math.prod(ref.shape[i] for i in reduced_dims(call, len(ref.shape)))
    return _ratio(low, call, reduce(low, call, "sum", ref), gone)


def _ratio(low: Workspace, call: OpCall, total: Value, count: float) -> Value:
    dtype = call.meta.dtype
    return pointwise(low, call, A / B, [(low.placed(total, call.meta), dtype), (count, dtype)])


def _var(low: Workspace, call: OpCall) -> Value:
    """The mean squared distance from the mean (two passes, as torch's, without cancellation)."""
    return _mean_and_var(low, call)[1]


def _var_mean(low: Workspace, call: OpCall) -> Sequence[Value]:
    mean, var = _mean_and_var(low, call)
    return [var, mean]


def _mean_and_var(low: Workspace, call: OpCall) -> tuple[Value, Value]:
    ref = call.ref("self")
    gone = reduced_dims(call, len(ref.shape))
    count = math.prod(ref.shape[i] for i in gone)
    correction = 1 if call["correction"] is None else call["correction"]
    mean = _mean(low, call)
    squares = _squared_distances(low, call, low.placed(mean, call.meta), gone)
    # As torch: a count that is too small gives infinity or NaN.
    return mean, _ratio(low, call, reduce(low, call, "sum", squares), max(count - correction, 0))


def _squared_distances(low: Workspace, call: OpCall, mean: Ref, gone: set[int]) -> Ref:
    """From the mean, which is over the dims that are not gone."""
    ref, dtype = call.ref("self"), call.meta.dtype
    rank = len(ref.shape)
    remaining = iter(mean.strides)
    strides = (
        mean.strides if call.flag("keepdim") else [0 if i in gone else next(remaining) for i in range(rank)]
    )
    over = Ref(mean.memory, 0, ref.shape, tuple(0 if i in gone else strides[i] for i in range(rank)), dtype)
    source = layout(ref.shape, ref.strides)
    distance = low.build.pointwise(
        (A - B) * (A - B),
        [(low.read(one, ref.shape, source.order, dtype), dtype) for one in (ref, over)],
        dtype=dtype,
        dims=source.dims,
        strides=contiguous(source.dims),
        origin=call.origin,
    )
    dense = [0] * rank
    for i, stride in zip(source.order, distance.strides, strict=True):
        dense[i] = stride
    return Ref(Memory(distance), 0, ref.shape, tuple(dense), dtype)


def _matrix_product(low: Workspace, call: OpCall, left: Ref, right: Ref) -> Value:
    """Of ``(..., n, k)`` and ``(..., k, m)``."""
    *batch, n, k = left.shape
    m = right.shape[-1]
    if not math.prod(call.meta.shape) or not k:
        return full(low, call, 0)
    constant = isinstance(left.memory.value, Constant) or isinstance(right.memory.value, Constant)
    if min(n, m, k) > 1 and math.prod(batch) * n * m * k > LARGE_PRODUCT and not constant:
        small = max(n, m) <= MOST_ROWS and k <= MOST_TERMS and call.meta.dtype in FLOATS
        return (_small_product if small else _torch_product)(low, call, left, right)
    rank = len(batch)
    axes = _axes(left, right)
    names = _nesting(axes)
    sizes = (*batch, *(axes[name][0] for name in names))
    first, second = (
        Access(one.memory.value, one.offset, (*_batch(one, rank), *(axes[name][side] for name in names)))
        for side, one in ((1, left), (2, right))
    )
    to = layout(call.meta.shape, call.meta.stride)
    place = {i: i for i in range(rank)}
    if len(call.meta.shape) == rank + 2:
        place |= {rank: rank + names.index("n"), rank + 1: rank + names.index("m")}
    elif len(call.meta.shape) == rank + 1:
        place |= {rank: rank + names.index("n" if m == 1 else "m")}
    domain = Domain(sizes, tuple(place[i] for i in to.order), to.dims, to.strides)
    return product_sum(low, call, first, second, domain)


Axes = dict[str, tuple[int, int, int]]
"""Size of each dim of a product, and its strides in the two operands."""


def _axes(left: Ref, right: Ref) -> Axes:
    (n, k), m = left.shape[-2:], right.shape[-1]
    (ln, lk), (rk, rm) = left.strides[-2:], right.strides[-2:]
    return {
        "n": (n, ln if n > 1 else 0, 0),
        "k": (k, lk if k > 1 else 0, rk if k > 1 else 0),
        "m": (m, 0, rm if m > 1 else 0),
    }


def _nesting(axes: Axes) -> list[str]:
    """The dims from the outermost loop inward: the innermost walks where the largest operand lies close together."""
    n, m = axes["n"][0], axes["m"][0]
    names = ["n", "m", "k"]
    if m == 1 or n == 1:
        large = 1 if m == 1 else 2
        return sorted(names, key=lambda name: -axes[name][large])
    return ["n", "k", "m"] if abs(axes["m"][2]) <= 1 else names


def _small_product(low: Workspace, call: OpCall, left: Ref, right: Ref) -> Value:
    """By a function of the headers, which has a block of the result in registers."""
    *batch, n, k = left.shape
    numbers = (n, k, right.shape[-1])
    outputs = [(call.meta, call.meta.stride)]
    return library_call(
        low, call, "product", inputs=[left, right], outputs=outputs, numbers=numbers, batch=tuple(batch)
    )[0]


def _torch_product(low: Workspace, call: OpCall, left: Ref, right: Ref) -> Value:
    """The product by torch; ``call`` may be an operator that does something with it afterwards."""
    op = aten.bmm.default if len(left.shape) == 3 else aten.mm.default
    product = OpCall(call.name, {"self": left, "mat2": right}, call.meta, call.origin)
    result = call_torch(low, product, op)
    assert isinstance(result, Value)
    return result


def _batch(ref: Ref, rank: int) -> Dims:
    return tuple(0 if n == 1 else s for n, s in zip(ref.shape[:rank], ref.strides[:rank], strict=True))


def _mm(low: Workspace, call: OpCall) -> Value:
    return _matrix_product(low, call, call.ref("self"), call.ref("mat2"))


def _as_column(ref: Ref) -> Ref:
    return Ref(ref.memory, ref.offset, (*ref.shape, 1), (*ref.strides, 0), ref.dtype)


def _mv(low: Workspace, call: OpCall) -> Value:
    return _matrix_product(low, call, call.ref("self"), _as_column(call.ref("vec")))


def _dot(low: Workspace, call: OpCall) -> Value:
    one, two = call.ref("self"), call.ref("tensor")
    left, right = (Access(ref.memory.value, ref.offset, ref.strides) for ref in (one, two))
    return product_sum(low, call, left, right, Domain(one.shape, (), (), ()))


def _added(low: Workspace, call: OpCall, product: Value) -> Value:
    dtype = call.meta.dtype
    placed = low.placed(product, call.meta)
    if call.operand("beta") == 1 and call.operand("alpha") == 1:
        return pointwise(low, call, A + B, [(call.ref("self"), dtype), (placed, dtype)])
    operands = [
        (call.ref("self"), dtype),
        (call.operand("beta"), dtype),
        (placed, dtype),
        (call.operand("alpha"), dtype),
    ]
    return pointwise(low, call, A * B + C * D, operands)


def _addmm(low: Workspace, call: OpCall) -> Value:
    return _added(low, call, _matrix_product(low, call, call.ref("mat1"), call.ref("mat2")))


def _addmv(low: Workspace, call: OpCall) -> Value:
    return _added(low, call, _matrix_product(low, call, call.ref("mat"), _as_column(call.ref("vec"))))


def _baddbmm(low: Workspace, call: OpCall) -> Value:
    return _added(low, call, _matrix_product(low, call, call.ref("batch1"), call.ref("batch2")))


ROWS: dict[str, Lower] = {
    "addmm.default": _addmm,
    "addmv.default": _addmv,
    "all.default": reduction("all"),
    "all.dim": reduction("all"),
    "all.dims": reduction("all"),
    "amax.default": reduction("max"),
    "amin.default": reduction("min"),
    "any.default": reduction("any"),
    "any.dim": reduction("any"),
    "any.dims": reduction("any"),
    "baddbmm.default": _baddbmm,
    "bmm.default": _mm,
    "dot.default": _dot,
    "max.default": reduction("max"),
    "mean.default": _mean,
    "mean.dim": _mean,
    "min.default": reduction("min"),
    "mm.default": _mm,
    "mv.default": _mv,
    "prod.default": reduction("prod"),
    "prod.dim_int": reduction("prod"),
    "sum.default": reduction("sum"),
    "sum.dim_IntList": reduction("sum"),
    "var.correction": _var,
    "var_mean.correction": _var_mean,
}
