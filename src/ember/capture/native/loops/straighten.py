"""Indices that are known to be evenly spaced are no indices any more: ``probs[arange(16)]`` reads ``probs`` as it lies.

Enumerated sites index the parameters of others by all their values. What they read and write is told by strides then, needs no
check of its range, and can be put together with other values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ember.capture.native.values.arrays import (
    Access,
    Assemble,
    Constant,
    Part,
    Pointwise,
    Reduce,
    Take,
    Value,
    Walk,
    moved_to,
)
from ember.capture.native.values.expressions import COPY, Expression, Index, Literal, Op
from ember.capture.native.values.layout import Dims, contiguous, reach
from ember.capture.native.values.order import reachable
from ember.capture.native.values.plan import Plan


def straightened(plan: Plan) -> Plan:
    """The same program with evenly spaced indices as strides."""
    places: dict[Value, Value] = {}
    moved = moved_to(places)
    for value in reachable(plan.roots(), plan.draws):
        value.rewire(moved)
        if isinstance(value, Take):
            straight = _straight_take(value)
            if straight is not None:
                places[value] = straight
        elif isinstance(value, Assemble):
            value.parts = tuple(map(_straight_part, value.parts))
            dense = _dense(value)
            if dense is not None:
                places[value] = dense
    return plan.reading(moved)


@dataclass(frozen=True)
class _Even:
    """Numbers ``start + sum(index * step)`` over the dims of a reader."""

    start: int
    steps: Dims


def _straight_take(take: Take) -> Pointwise | None:
    """A plain reader in the place of one by indices, if all are evenly spaced."""
    source = take.source
    offset, strides = source.offset, list(source.strides)
    for walk in take.walks:
        even = _even(walk, take.dims)
        if even is None:
            return None
        offset += walk.stride * even.start
        strides = [own + walk.stride * step for own, step in zip(strides, even.steps, strict=True)]
    return _reader(take, Access(source.value, offset, tuple(strides)))


def _reader(value: Value, access: Access) -> Pointwise:
    """A value like this one, which reads what an access says."""
    return Pointwise(
        value.dtype,
        value.dims,
        value.strides,
        origin=value.origin,
        serial=value.serial,
        expression=COPY,
        inputs=(access,),
        types=(value.dtype,),
    )


def _straight_part(part: Part) -> Part:
    """A part that is written where strides say, as far as its indices are evenly spaced."""
    offset, strides, walks = part.offset, list(part.strides), []
    for walk in part.walks:
        even = _even(walk, part.dims)
        if even is None:
            walks.append(walk)
            continue
        offset += walk.stride * even.start
        strides = [own + walk.stride * step for own, step in zip(strides, even.steps, strict=True)]
    return replace(part, offset=offset, strides=tuple(strides), walks=tuple(walks))


def _dense(value: Assemble) -> Pointwise | None:
    """What is added to zeros everywhere, each place once, or along dims that are summed: the gradient of a plain reader."""
    if (
        len(value.parts) != 1
        or value.base is None
        or value.base.number != 0
        or isinstance(value.base.number, bool)
    ):
        return None
    part = value.parts[0]
    if not part.accumulate or part.walks or part.operand.value.dtype is not value.dtype:
        return None
    kept = sorted((d for d in range(len(part.dims)) if part.strides[d]), key=lambda d: -part.strides[d])
    if part.offset or tuple((part.dims[d], part.strides[d]) for d in kept) != tuple(
        zip(value.dims, value.strides, strict=True)
    ):
        return None
    operand = part.operand
    if len(kept) < len(part.dims):
        operand = _summed(part, kept, value.serial)
    else:
        operand = Access(operand.value, operand.offset, tuple(operand.strides[d] for d in kept))
    return _reader(value, operand)


def _summed(part: Part, kept: Sequence[int], serial: int) -> Access:
    """The operand summed over the dims that are not kept, in the order of those."""
    operand = part.operand
    dims = tuple(part.dims[d] for d in kept)
    total = Reduce(
        operand.value.dtype,
        dims,
        contiguous(dims),
        origin=operand.value.origin,
        serial=serial,
        rule="sum",
        operand=operand,
        domain=part.dims,
        kept=tuple(kept),
    )
    return Access(total, 0, total.strides)


def _even(walk: Walk, dims: Dims) -> _Even | None:
    """The indices of a walk, if they are evenly spaced and in range."""
    access = walk.index
    if access.number is not None:
        found: _Even | None = _Even(int(access.number), (0,) * len(dims))
    else:
        found = _of_access(access, dims)
    if found is None:
        return None
    bounds = reach(found.start, dims, found.steps)
    return found if bounds is not None and bounds[0] >= 0 and bounds[1] < walk.size else None


def _of_access(access: Access, dims: Dims) -> _Even | None:
    value = access.value
    if not isinstance(value, Pointwise) or len(value.dims) != 1 or value.dtype.is_floating_point:
        return None
    if value.expression == COPY:
        inner = value.inputs[0]
        if isinstance(inner.value, Constant) or inner.value.dtype.is_floating_point:
            return None
        # Its element k lies at k times its stride, and reads at k times the other's.
        times, rest = divmod(inner.strides[0], value.strides[0]) if value.strides[0] else (0, 1)
        if rest or access.offset % value.strides[0]:
            return None
        steps = tuple(stride * times for stride in access.strides)
        return _of_access(Access(inner.value, inner.offset + access.offset * times, steps), dims)
    affine = _affine(value.expression)
    if affine is None or value.strides != (1,):
        return None
    start, step = affine
    return _Even(start + step * access.offset, tuple(step * stride for stride in access.strides))


def _affine(whole: Expression) -> tuple[int, int] | None:
    """``start + step * index`` for an expression of one index and whole numbers."""
    if isinstance(whole, Index):
        return 0, 1
    if isinstance(whole, Literal):
        return (whole.number, 0) if isinstance(whole.number, int) else None
    if not isinstance(whole, Op) or whole.name not in ("add", "mul"):
        return None
    (first, second) = map(_affine, whole.args)
    if first is None or second is None:
        return None
    if whole.name == "add":
        return first[0] + second[0], first[1] + second[1]
    if first[1] and second[1]:
        return None
    return first[0] * second[0], first[0] * second[1] + first[1] * second[0]
