"""A value is computed at the smallest shape that it has.

``Poisson(rate.expand(200, 40)).log_prob(y)`` takes the logarithm of 8,000 places that hold 40 numbers. Where all that a value is
computed from is the same along a dim, the value is computed without the dim, and its readers read one place along it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ember.capture.native.values.arrays import Access, Constant, Pointwise, Value
from ember.capture.native.values.expressions import COPY, Expression, Index, mapped, parts
from ember.capture.native.values.layout import Dims, contiguous
from ember.capture.native.values.order import reachable
from ember.capture.native.values.plan import Plan

# A loop over few elements more costs less than a loop of its own.
FEWEST_SAVED = 32


def shrunk(plan: Plan) -> Plan:
    """The same program with values at their smallest shapes."""
    return _Shrinker(plan).run()


@dataclass(frozen=True, eq=False)
class _Small:
    """A value without the dims along which it is the same."""

    whole: Pointwise
    value: Value
    strides: Dims
    """Of the small value, over the dims of the whole one: 0 where it is the same."""


class _Shrinker:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._small: dict[Value, _Small] = {}
        self._known: dict[object, Pointwise] = {}
        self._expanded: dict[Value, Value] = {}

    def run(self) -> Plan:
        plan = self._plan
        for value in reachable(plan.roots(), plan.draws):
            value.rewire(self._moved)
            if isinstance(value, Pointwise):
                self._shrink(value)
        return replace(
            plan.reading(self._moved),
            required=tuple(dict.fromkeys(self._smallest(value) for value in plan.required)),
        )

    def _smallest(self, value: Value) -> Value:
        small = self._small.get(value)
        return value if small is None else small.value

    def _shrink(self, value: Pointwise) -> None:
        used = {part.dim for part in parts(value.expression) if isinstance(part, Index)}
        kept = [
            d
            for d, size in enumerate(value.dims)
            if size == 1 or d in used or any(access.strides[d] for access in value.inputs)
        ]
        dims = tuple(value.dims[d] for d in kept)
        if value.numel - math.prod(dims) < FEWEST_SAVED:
            return
        places = contiguous(dims)
        strides = [0] * len(value.dims)
        for d, stride in zip(kept, places, strict=True):
            strides[d] = stride
        if value.expression == COPY and value.types == (value.dtype,):
            # What is spread out is not even copied.
            source = value.inputs[0]
            if source.value.dtype is value.dtype and source.offset == 0 and _covers(source, kept):
                self._small[value] = _Small(value, source.value, source.strides)
                return
        self._small[value] = _Small(value, self._without(value, kept, dims, places), tuple(strides))

    def _without(self, value: Pointwise, kept: Sequence[int], dims: Dims, strides: Dims) -> Pointwise:
        expression = _renumbered(value.expression, kept)
        inputs = tuple(
            Access(access.value, access.offset, tuple(access.strides[d] for d in kept))
            for access in value.inputs
        )
        key = (expression, tuple(access.key for access in inputs), value.types, value.dtype, dims)
        if key not in self._known:
            self._known[key] = replace(
                value, dims=dims, strides=strides, expression=expression, inputs=inputs, serial=value.serial
            )
        return self._known[key]

    def _moved(self, access: Access, dims: Dims | None) -> Access:
        small = self._small.get(access.value)
        if small is None:
            return access
        found = None if dims is None else _read_small(access, dims, small)
        if found is None:
            return Access(self._whole(small), access.offset, access.strides)
        return found

    def _whole(self, small: _Small) -> Value:
        """The small value spread out, for readers that go through memory in another way."""
        whole = small.whole
        if whole not in self._expanded:
            self._expanded[whole] = replace(
                whole,
                expression=COPY,
                inputs=(Access(small.value, 0, small.strides),),
                types=(whole.dtype,),
                serial=whole.serial,
            )
        return self._expanded[whole]


def _covers(source: Access, kept: Sequence[int]) -> bool:
    """Whether an access walks all of a value, dim by dim."""
    if isinstance(source.value, Constant):
        return False
    return tuple(source.strides[d] for d in kept) == source.value.strides


def _read_small(access: Access, dims: Dims, small: _Small) -> Access | None:
    """The access to the small value that reads what this one reads of the whole; None if it cannot be told dim by dim."""
    whole = small.whole
    places, rest = [], access.offset
    for stride in whole.strides:
        place, rest = divmod(rest, stride)
        places.append(place)
    if rest:
        return None
    offset = sum(place * stride for place, stride in zip(places, small.strides, strict=True))
    strides = []
    for size, stride in zip(dims, access.strides, strict=True):
        if size == 1 or stride == 0:
            strides.append(0)
            continue
        d = next((d for d, own in enumerate(whole.strides) if 0 < own <= stride), None)
        if d is None or stride % whole.strides[d]:
            return None
        times = stride // whole.strides[d]
        places[d] += times * (size - 1)
        strides.append(times * small.strides[d])
    inside = all(0 <= place < size for place, size in zip(places, whole.dims, strict=True))
    return Access(small.value, offset, tuple(strides)) if inside else None


def _renumbered(whole: Expression, kept: Sequence[int]) -> Expression:
    return mapped(whole, lambda part: Index(kept.index(part.dim)) if isinstance(part, Index) else part)
