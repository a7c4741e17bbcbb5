"""Reductions and products of matrices, one row each."""

from __future__ import annotations

import math

import torch

from ember.capture.native.lowering import table
from ember.capture.native.lowering.refs import Memory, Ref
from ember.capture.native.lowering.rows.external import call_torch
from ember.capture.native.lowering.walk import Lower, Lowering, OpCall
from ember.capture.native.values.arrays import Access, Constant, Dims, Value, contiguous, sorted_dims

aten = torch.ops.aten

# From so many multiplications on, torch's own product of two matrices is faster than a loop.
LARGE_PRODUCT = 8192


def _mean(low: Lowering, call: OpCall) -> Value:
    ref: Ref = call["self"]
    gone = math.prod(ref.shape[i] for i in table.reduced_dims(call, len(ref.shape)))
    total = low.placed(table.reduce(low, call, "sum", ref), call.meta)
    dtype = call.meta.dtype
    return table.pointwise(low, call, "{0} / {1}", [(total, dtype), (gone, dtype)])


def _var(low: Lowering, call: OpCall) -> Value:
    """The mean squared distance from the mean (two passes, as torch's, without cancellation)."""
    return _mean_and_var(low, call)[1]


def _var_mean(low: Lowering, call: OpCall) -> list[Value]:
    mean, var = _mean_and_var(low, call)
    return [var, mean]


def _mean_and_var(low: Lowering, call: OpCall) -> tuple[Value, Value]:
    ref: Ref = call["self"]
    rank, dtype = len(ref.shape), call.meta.dtype
    gone = table.reduced_dims(call, rank)
    count = math.prod(ref.shape[i] for i in gone)
    correction = 1 if call["correction"] is None else call["correction"]
    mean = _mean(low, call)
    placed = low.placed(mean, call.meta)
    keep = bool(call["keepdim"])
    strides = list(placed.strides) if keep else []
    if not keep:
        remaining = iter(placed.strides)
        strides = [0 if i in gone else next(remaining) for i in range(rank)]
    over = Ref(placed.memory, 0, ref.shape, tuple(0 if i in gone else strides[i] for i in range(rank)), dtype)
    order = sorted_dims(ref.shape, ref.strides)
    dims = tuple(ref.shape[i] for i in order)
    inputs = tuple(low.read(one, ref.shape, order, dtype) for one in (ref, over))
    distance = low.build.pointwise(
        "({0} - {1}) * ({0} - {1})", inputs, (dtype, dtype), dtype, dims, contiguous(dims), call.origin
    )
    dense = [0] * rank
    for i, stride in zip(order, distance.strides, strict=True):
        dense[i] = stride
    squares = Ref(Memory(distance), 0, ref.shape, tuple(dense), dtype)
    total = low.placed(table.reduce(low, call, "sum", squares), call.meta)
    # As torch: a count that is too small gives infinity or NaN.
    divisor = max(count - correction, 0)
    var = table.pointwise(low, call, "{0} / {1}", [(total, dtype), (divisor, dtype)])
    return mean, var


def _matrix_product(low: Lowering, call: OpCall, left: Ref, right: Ref) -> Value:
    """Of ``(..., n, k)`` and ``(..., k, m)``."""
    *batch, n, k = left.shape
    m = right.shape[-1]
    count = math.prod(batch)
    if not math.prod(call.meta.shape) or not k:
        return table.full(low, call, 0)
    constant = isinstance(left.memory.value, Constant) or isinstance(right.memory.value, Constant)
    if min(n, m) > 1 and count * n * m * k > LARGE_PRODUCT and not constant:
        return _library_product(low, call, left, right)
    # The innermost loop walks where the largest operand lies close together.
    b = tuple(batch)
    rank = len(b)
    ln, lk = left.strides[-2:]
    rk, rm = right.strides[-2:]
    axes = {
        "n": (n, ln if n > 1 else 0, 0),
        "k": (k, lk if k > 1 else 0, rk if k > 1 else 0),
        "m": (m, 0, rm if m > 1 else 0),
    }
    names = ["n", "m", "k"]
    if m == 1 or n == 1:
        large = 1 if m == 1 else 2
        names.sort(key=lambda name: -axes[name][large])
    elif abs(axes["m"][2]) <= 1:
        names = ["n", "k", "m"]
    domain = (*b, *(axes[name][0] for name in names))
    first = Access(left.memory.value, left.offset, (*_batch(left, rank), *(axes[name][1] for name in names)))
    second = Access(
        right.memory.value, right.offset, (*_batch(right, rank), *(axes[name][2] for name in names))
    )
    order, dims, strides = table.layout(call.meta)
    place = {**{i: i for i in range(rank)}}
    if len(call.meta.shape) == rank + 2:
        place |= {rank: rank + names.index("n"), rank + 1: rank + names.index("m")}
    elif len(call.meta.shape) == rank + 1:
        place |= {rank: rank + names.index("n" if m == 1 else "m")}
    kept = tuple(place[i] for i in order)
    return table.product_sum(low, call, first, second, domain, kept, dims, strides)


def _library_product(low: Lowering, call: OpCall, left: Ref, right: Ref) -> Value:
    """The product by torch; ``call`` may be an operator that does something with it afterwards."""
    op = aten.bmm.default if len(left.shape) == 3 else aten.mm.default
    product = OpCall(call.name, {"self": left, "mat2": right}, call.meta, call.origin)
    result: Value = call_torch(low, product, op)
    return result


def _batch(ref: Ref, rank: int) -> Dims:
    return tuple(0 if n == 1 else s for n, s in zip(ref.shape[:rank], ref.strides[:rank], strict=True))


def _mm(low: Lowering, call: OpCall) -> Value:
    return _matrix_product(low, call, call["self"], call["mat2"])


def _as_column(ref: Ref) -> Ref:
    return Ref(ref.memory, ref.offset, (*ref.shape, 1), (*ref.strides, 0), ref.dtype)


def _mv(low: Lowering, call: OpCall) -> Value:
    return _matrix_product(low, call, call["self"], _as_column(call["vec"]))


def _dot(low: Lowering, call: OpCall) -> Value:
    one, two = call["self"], call["tensor"]
    left = Access(one.memory.value, one.offset, one.strides)
    right = Access(two.memory.value, two.offset, two.strides)
    return table.product_sum(low, call, left, right, one.shape, (), (), ())


def _added(low: Lowering, call: OpCall, product: Value, name: str = "self") -> Value:
    placed = low.placed(product, call.meta)
    dtype = call.meta.dtype
    operands = [(call[name], dtype), (call["beta"], dtype), (placed, dtype), (call["alpha"], dtype)]
    if call["beta"] == 1 and call["alpha"] == 1:
        return table.pointwise(low, call, "{0} + {1} * {2}", [operands[0], (1, dtype), operands[2]])
    return table.pointwise(low, call, "{0} * {1} + {2} * {3}", operands)


def _addmm(low: Lowering, call: OpCall) -> Value:
    return _added(low, call, _matrix_product(low, call, call["mat1"], call["mat2"]))


def _addmv(low: Lowering, call: OpCall) -> Value:
    return _added(low, call, _matrix_product(low, call, call["mat"], _as_column(call["vec"])))


def _baddbmm(low: Lowering, call: OpCall) -> Value:
    return _added(low, call, _matrix_product(low, call, call["batch1"], call["batch2"]))


ROWS: dict[str, Lower] = {
    "addmm.default": _addmm,
    "addmv.default": _addmv,
    "all.default": table.reduction("all"),
    "all.dim": table.reduction("all"),
    "all.dims": table.reduction("all"),
    "amax.default": table.reduction("max"),
    "amin.default": table.reduction("min"),
    "any.default": table.reduction("any"),
    "any.dim": table.reduction("any"),
    "any.dims": table.reduction("any"),
    "baddbmm.default": _baddbmm,
    "bmm.default": _mm,
    "dot.default": _dot,
    "max.default": table.reduction("max"),
    "mean.default": _mean,
    "mean.dim": _mean,
    "min.default": table.reduction("min"),
    "mm.default": _mm,
    "mv.default": _mv,
    "prod.default": table.reduction("prod"),
    "prod.dim_int": table.reduction("prod"),
    "sum.default": table.reduction("sum"),
    "sum.dim_IntList": table.reduction("sum"),
    "var.correction": _var,
    "var_mean.correction": _var_mean,
}
