"""Many small values of one kind become one value.

A model with a thousand scalar sites computes the same few expressions a thousand times. Values with the same expression that do
not need each other are put side by side into one array, and are then computed by one loop: the program is as long as the
number of *kinds* of sites, and its loops become vector code.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import torch

from ember.capture.native.values.arrays import (
    Access,
    AccessKey,
    Assemble,
    Constant,
    Input,
    Part,
    Pointwise,
    Reduce,
    Value,
)
from ember.capture.native.values.calls import Call, Collect, Result, SamplerCall
from ember.capture.native.values.expressions import Expression, Index, mapped
from ember.capture.native.values.layout import Dims, contiguous
from ember.capture.native.values.order import reachable
from ember.capture.native.values.plan import Plan

Kind = tuple[object, ...]
"""Values of one kind can be computed by one loop."""

# A program with fewer small values is short enough as it is.
FEWEST_VALUES = 400
FEWEST_MEMBERS = 12
LARGEST_MEMBER = 64
# Larger ones are put together where there are so many that the program would be long without.
MANY_MEMBERS = 48
LARGEST_OF_MANY = 1024
# torch draws fewer normal numbers than this one after another, so that draws can be put together.
_SERIAL_NORMALS = 16


def packed(plan: Plan) -> Plan:
    """The same program with small values of one kind side by side."""
    values = reachable(plan.roots(), plan.draws)
    small = sum(isinstance(v, Pointwise) and v.extent <= LARGEST_OF_MANY for v in values)
    if small < FEWEST_VALUES:
        return plan
    return _Packer(plan, values).run()


class _Packer:
    def __init__(self, plan: Plan, values: list[Value]) -> None:
        self.plan = plan
        self.values = values
        self._drawn = set(plan.draws)
        self._place: dict[Value, tuple[Value, int, int]] = {}
        """Where a packed value is now: in which, as which member, and from which element on."""
        self._collected: dict[tuple[AccessKey, ...], Value] = {}

    def run(self) -> Plan:
        self._draw_together()
        levels = self._levels()
        by_level: dict[int, list[Value]] = defaultdict(list)
        for value in self.values:
            by_level[levels[value]].append(value)
        for level in sorted(by_level):
            groups: dict[Kind, list[Pointwise | Reduce]] = defaultdict(list)
            for value in by_level[level]:
                if value not in self._place:
                    value.rewire(self._moved)
                if isinstance(value, Assemble):
                    self._assembled(value)
                if (
                    isinstance(value, Pointwise | Reduce)
                    and value not in self._place
                    and _largest(value) <= LARGEST_OF_MANY
                ):
                    groups[_kind(value)].append(value)
            for members in groups.values():
                few = _largest(members[0]) <= LARGEST_MEMBER
                if len(members) >= (FEWEST_MEMBERS if few else MANY_MEMBERS):
                    self._pack(members)
        return replace(
            self.plan.reading(self._moved),
            required=tuple(dict.fromkeys(self._whole(value) for value in self.plan.required)),
        )

    def _levels(self) -> dict[Value, int]:
        """How many values stand before each. Draws keep their order: none stands before an earlier one, whatever it needs."""
        levels: dict[Value, int] = {}
        drawn = 0
        for value in self.values:
            levels[value] = 1 + max((levels.get(a.value, 0) for a in value.operands()), default=-1)
            if isinstance(value, Result) and value.call in self._drawn:
                levels[value] = drawn = max(drawn, levels[value])
        return levels

    def _draw_together(self) -> None:
        """Calls that draw a few normal numbers each, with nothing else drawn between them, become one call."""
        draws: list[Call] = []
        for kind, run in groupby(self.plan.draws, _kind_of_few_normals):
            calls = list(run)
            draws += (
                calls if kind is None else self._one_call([c for c in calls if isinstance(c, SamplerCall)])
            )
        self.plan = replace(self.plan, draws=tuple(draws))

    def _one_call(self, run: list[SamplerCall]) -> Sequence[Call]:
        if len(run) < FEWEST_MEMBERS:
            return run
        counts = [int(call.numbers[0]) for call in run]
        first = run[0].outputs[0]
        numbers = (sum(counts), *run[0].numbers[1:])
        together = SamplerCall(
            function="normal_serial", dtypes=run[0].dtypes, numbers=numbers, inputs=(), input_dims=()
        )
        noise = together.result(first.dtype, (sum(counts),), (1,), origin=first.origin)
        noise.serial = first.serial
        at = 0
        for member, (call, count) in enumerate(zip(run, counts, strict=True)):
            self._place[call.outputs[0]] = (noise, member, at)
            at += count
        return [together]

    def _moved(self, access: Access, dims: Dims | None = None) -> Access:
        place = self._place.get(access.value)
        if place is None:
            return access
        return Access(place[0], place[2] + access.offset, access.strides)

    def _whole(self, value: Value) -> Value:
        """The value that one is part of now."""
        place = self._place.get(value)
        return value if place is None else place[0]

    def _pack(self, members: Sequence[Pointwise | Reduce]) -> None:
        members = sorted(members, key=lambda v: _order(v.operands()))
        first = members[0]
        step = max(first.extent, 1)
        domain = first.domain if isinstance(first, Reduce) else first.dims
        operands = zip(*(member.operands() for member in members), strict=True)
        inputs = tuple(self._side_by_side(accesses, domain) for accesses in operands)
        dims, strides = (len(members), *first.dims), (step, *first.strides)
        origin = _named(list(dict.fromkeys(member.origin for member in members if member.origin)))
        if isinstance(first, Reduce):
            whole: Value = replace(
                first,
                dims=dims,
                strides=strides,
                origin=origin,
                operand=inputs[0],
                domain=(len(members), *domain),
                kept=(0, *(k + 1 for k in first.kept)),
            )
        else:
            expression = _shifted(first.expression)
            whole = replace(
                first, dims=dims, strides=strides, origin=origin, expression=expression, inputs=inputs
            )
        for number, member in enumerate(members):
            self._place[member] = (whole, number, number * step)

    def _assembled(self, value: Assemble) -> None:
        """Many pieces that are put one after another are collected by one loop over a table of places."""
        parts = _joined(value.parts)
        kept: list[Part] = []
        start = 0
        while start < len(parts):
            count = _from_anywhere(parts, start, value.dtype)
            if count < FEWEST_MEMBERS:
                kept.append(parts[start])
                start += 1
                continue
            run = parts[start : start + count]
            copy = self._side_by_side([part.operand for part in run], run[0].dims)
            kept.append(_one_part(copy, run))
            start += count
        value.parts = tuple(kept)

    def _side_by_side(self, accesses: Sequence[Access], dims: Dims) -> Access:
        """One access for all members: to the same place, to places at equal distances, or to a copy."""
        first = accesses[0]
        if isinstance(first.value, Constant):
            return Access(first.value, 0, (0, *first.strides))
        if all(a.value is first.value for a in accesses):
            distance = accesses[1].offset - first.offset
            if all(a.offset == first.offset + k * distance for k, a in enumerate(accesses)):
                return Access(first.value, first.offset, (distance, *first.strides))
        key = tuple(a.key for a in accesses)
        if key not in self._collected:
            self._collected[key] = _collect(accesses, dims)
        copy = self._collected[key]
        return Access(copy, 0, copy.strides)


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Parts that read one value, and write, at equal distances become one part."""
    joined: list[Part] = []
    start = 0
    while start < len(parts):
        count = _from_one_value(parts, start)
        first = parts[start]
        if count > 1:
            operand, second = first.operand, parts[start + 1]
            strides = (second.operand.offset - operand.offset, *operand.strides)
            first = _one_part(Access(operand.value, operand.offset, strides), parts[start : start + count])
        joined.append(first)
        start += count
    return tuple(joined)


def _one_part(operand: Access, run: Sequence[Part]) -> Part:
    """A run of parts as one, which reads what an access says."""
    first = run[0]
    distance = run[1].offset - first.offset
    return Part(operand, (len(run), *first.dims), first.offset, (distance, *first.strides))


def _run_length(
    parts: Sequence[Part], start: int, goes_on: Callable[[int, Access], bool], largest: float = math.inf
) -> int:
    """How many parts from one on are alike and lie at equal distances behind each other, and read what goes on.

    Args:
        parts: all of them.
        start: which is the first.
        goes_on: whether the operand of the part of this number from there goes on.
        largest: how many elements a part may span.
    """
    first = parts[start]
    if start + 1 == len(parts) or first.walks or first.accumulate or 0 in first.dims:
        return 1
    distance = parts[start + 1].offset - first.offset
    extent = 1 + sum((n - 1) * s for n, s in zip(first.dims, first.strides, strict=True))
    if distance < extent or extent > largest:
        return 1
    for count in range(len(parts) - start):
        part = parts[start + count]
        alike = (part.dims, part.strides, part.walks, part.accumulate) == (
            first.dims,
            first.strides,
            (),
            False,
        )
        if not alike or part.offset != first.offset + count * distance or not goes_on(count, part.operand):
            return count
    return len(parts) - start


def _from_one_value(parts: Sequence[Part], start: int) -> int:
    """How many parts from one on read one value at equal distances."""
    first = parts[start].operand
    distance = parts[start + 1].operand.offset - first.offset if start + 1 < len(parts) else 0

    def goes_on(count: int, operand: Access) -> bool:
        same = _reads_the_same(operand.value, first.value) and operand.strides == first.strides
        return same and operand.offset == first.offset + count * distance

    return _run_length(parts, start, goes_on)


def _from_anywhere(parts: Sequence[Part], start: int, dtype: torch.dtype) -> int:
    """How many parts from one on read pieces of one layout, wherever these lie."""
    first = parts[start].operand

    def goes_on(count: int, operand: Access) -> bool:
        read = operand.value
        return not isinstance(read, Constant) and (read.dtype, operand.strides) == (dtype, first.strides)

    return _run_length(parts, start, goes_on, LARGEST_MEMBER) if goes_on(0, first) else 1


def _reads_the_same(one: Value, other: Value) -> bool:
    """Whether two values are one, or the same number."""
    if isinstance(one, Constant) and isinstance(other, Constant):
        return (repr(one.number), one.dtype) == (repr(other.number), other.dtype)
    return one is other


def _collect(accesses: Sequence[Access], dims: Dims) -> Value:
    """A copy of what several accesses read, side by side."""
    call = Collect(inputs=tuple(accesses), input_dims=(dims,) * len(accesses))
    whole = (len(accesses), *dims)
    result = call.result(accesses[0].value.dtype, whole, contiguous(whole))
    result.serial = max(access.value.serial for access in accesses)
    return result


def _largest(value: Pointwise | Reduce) -> int:
    """How many elements it has, or goes over."""
    return math.prod(value.domain) if isinstance(value, Reduce) else value.extent


def _kind(value: Pointwise | Reduce) -> Kind:
    operands = tuple(
        ("constant", repr(a.value.number), a.value.dtype)
        if isinstance(a.value, Constant)
        else (a.value.dtype, a.strides, isinstance(a.value, Input))
        for a in value.operands()
    )
    own = (
        (value.rule, value.domain, value.kept)
        if isinstance(value, Reduce)
        else (value.expression, value.types)
    )
    return *own, value.dtype, value.dims, value.strides, operands


def _order(inputs: Sequence[Access]) -> tuple[int, ...]:
    """By the place of what has been packed before, so that members stand in the same order everywhere."""
    for access in inputs:
        if not isinstance(access.value, Constant | Input):
            return access.value.serial, access.offset
    return tuple(access.value.serial for access in inputs if isinstance(access.value, Input)) or (0,)


def _shifted(whole: Expression) -> Expression:
    """The same with one dim put in front of those of its indices."""
    return mapped(whole, lambda part: Index(part.dim + 1) if isinstance(part, Index) else part)


def _named(origins: list[str]) -> str:
    return "; ".join(origins[:2]) + (f" and {len(origins) - 2} more" if len(origins) > 2 else "")


def _kind_of_few_normals(call: Call) -> Kind | None:
    """Equal for calls that draw a few normal numbers each and can become one; None for other calls."""
    if not isinstance(call, SamplerCall) or call.function != "normal" or call.numbers[0] >= _SERIAL_NORMALS:
        return None
    return call.dtypes, call.numbers[1:]
