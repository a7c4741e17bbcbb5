"""What reductions and sums of products are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ember.capture.native.lowering.elementwise import A, B
from ember.capture.native.lowering.refs import Ref, layout
from ember.capture.native.lowering.workspace import Lower, OpCall, Workspace, wrapped
from ember.capture.native.values.arrays import Access, Constant, Input, Reduce, Value
from ember.capture.native.values.expressions import COPY, op
from ember.capture.native.values.layout import Dims, contiguous

# For most operators no dims mean all of them.
_EMPTY_IS_NONE = ("all.dims", "any.dims")


@dataclass(frozen=True)
class Domain:
    """What a reduction goes over, and where its results lie."""

    sizes: Dims
    kept: tuple[int, ...]
    """The dims of the result, as dims of the domain."""
    dims: Dims
    strides: Dims


def reduced_dims(call: OpCall, rank: int) -> set[int]:
    """The dims that an operator with ``dim`` reduces."""
    dim: int | list[int] | None = call.arguments.get("dim")
    if dim == [] and call.name in _EMPTY_IS_NONE:
        return set()
    if dim is None or dim == []:
        return set(range(rank))
    return {wrapped(d, rank) for d in (dim if isinstance(dim, list) else [dim])} if rank else set()


def reduction(rule: str) -> Lower:
    """A row that reduces dims of ``self``."""
    return lambda low, call: reduce(low, call, rule, call.ref("self"))


def reduce(low: Workspace, call: OpCall, rule: str, ref: Ref) -> Value:
    """Reduce a tensor over the dims that the operator names."""
    rank = len(ref.shape)
    gone = reduced_dims(call, rank)
    source = layout(ref.shape, ref.strides)
    access = Access(ref.memory.value, ref.offset, source.strides)
    keep = bool(call.arguments.get("keepdim"))
    # Dims of the result, in its own order, as dims of the domain.
    remaining = [i for i in range(rank) if keep or i not in gone]
    to = layout(call.meta.shape, call.meta.stride)
    kept = tuple(source.order.index(remaining[i]) for i in to.order)
    return reduced(low, call, rule, access, Domain(source.dims, kept, to.dims, to.strides))


def reduced(low: Workspace, call: OpCall, rule: str, access: Access, domain: Domain) -> Value:
    """A reduction, or what it amounts to."""
    dtype = call.meta.dtype
    if dtype is torch.bool:
        rule = {"max": "any", "min": "all"}.get(rule, rule)
    if len(domain.kept) == len(domain.sizes):
        sources = tuple(access.strides[i] for i in domain.kept)
        return low.build.pointwise(
            op("ne", A, 0) if rule in ("any", "all") else COPY,
            [(Access(access.value, access.offset, sources), dtype)],
            dtype=dtype,
            dims=domain.dims,
            strides=domain.strides,
            origin=call.origin,
        )
    if access.number is not None and rule == "sum":
        gone = math.prod(domain.sizes) // max(math.prod(domain.dims), 1)
        return low.build.filled(access.number * gone, dtype, domain.dims, domain.strides)
    if not domain.kept:
        access, domain = _in_its_own_dims(access, domain)
    return Reduce(
        dtype,
        domain.dims,
        domain.strides,
        origin=call.origin,
        rule=rule,
        operand=access,
        domain=domain.sizes,
        kept=domain.kept,
    )


def _in_its_own_dims(access: Access, domain: Domain) -> tuple[Access, Domain]:
    """All of a value in the dims that it is computed in, also where it is read as one row: so its loop can reduce it at once."""
    value = access.value
    whole = access.offset == 0 and domain.sizes == (value.numel,) and access.strides == (1,)
    if isinstance(value, Input) or not whole or value.strides != contiguous(value.dims):
        return access, domain
    return Access(value, 0, value.strides), Domain(value.dims, (), domain.dims, domain.strides)


def product_sum(low: Workspace, call: OpCall, left: Access, right: Access, domain: Domain) -> Value:
    """``sum(left * right)`` over the dims of the domain that are not kept."""
    dtype = call.meta.dtype
    wide = [i for i, n in enumerate(domain.sizes) if n != 1]
    sizes = tuple(domain.sizes[i] for i in wide)
    inputs = [Access(a.value, a.offset, tuple(a.strides[i] for i in wide)) for a in (left, right)]
    product = low.build.pointwise(
        A * B,
        [(access, dtype) for access in inputs],
        dtype=dtype,
        dims=sizes,
        strides=contiguous(sizes),
        origin=call.origin,
    )
    access = Access(product, 0, (0,) * len(sizes) if isinstance(product, Constant) else product.strides)
    kept = tuple(wide.index(i) for i in domain.kept)
    return reduced(low, call, "sum", access, Domain(sizes, kept, domain.dims, domain.strides))
