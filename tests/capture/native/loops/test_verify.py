"""The verifier finds schedules that read too early, too late, or what has been written over."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ember.capture.native.loops.memory import placed
from ember.capture.native.loops.schedule import scheduled
from ember.capture.native.loops.structure import Nest, Placed, Schedule, Store
from ember.capture.native.loops.verify import verify_placed, verify_schedule
from ember.capture.native.values.arrays import Access, Input, Part, Pointwise, Reduce
from ember.capture.native.values.expressions import Operand
from ember.capture.native.values.plan import Output, Plan
from ember.capture.native.values.verify import InvariantError

FLOAT, SIZE = torch.float32, 2000


def plan() -> Plan:
    """``x`` becomes ``x / sum(x)``; the loss is the sum of that twice."""
    x = Input(FLOAT, (SIZE,), (1,), index=0)
    whole = Access(x, 0, (1,))
    total = Reduce(FLOAT, (), (), rule="sum", operand=whole, domain=(SIZE,), kept=())
    share = Pointwise(
        FLOAT,
        (SIZE,),
        (1,),
        expression=Operand(0) / Operand(1),
        inputs=(whole, Access(total, 0, (0,))),
        types=(FLOAT, FLOAT),
    )
    again = Reduce(FLOAT, (), (), rule="sum", operand=Access(share, 0, (1,)), domain=(SIZE,), kept=())
    output = Output(Access(again, 0, ()), (), FLOAT)
    return Plan((x,), ((x, Access(share, 0, (1,))),), (output,), ())


def test_a_schedule_passes():
    schedule = scheduled(plan())
    verify_schedule(schedule)
    verify_placed(placed(schedule))


def broken(change) -> None:
    schedule = scheduled(plan())
    with pytest.raises(InvariantError):
        verify_schedule(change(schedule))


def test_a_value_read_before_it_is_finished_is_found():
    broken(lambda s: replace(s, steps=s.steps[::-1]))


def test_a_value_read_after_its_memory_is_freed_is_found():
    broken(lambda s: replace(s, stored={value: (first, first) for value, (first, _) in s.stored.items()}))


def test_a_value_without_memory_is_found():
    broken(lambda s: replace(s, stored={}))


def test_an_input_read_after_it_has_been_written_over_is_found():
    def early(schedule: Schedule) -> Schedule:
        x = plan().inputs[0]
        part = Part(Access(x, SIZE - 1, (-1,)), (SIZE,), 0, (1,))
        return replace(schedule, steps=[Nest((SIZE,), [Store(0, part)]), *schedule.steps])

    broken(early)


def test_an_item_of_other_dims_is_found():
    def moved(schedule: Schedule) -> Schedule:
        steps = [Nest((7,), step.items) if isinstance(step, Nest) else step for step in schedule.steps]
        return replace(schedule, steps=steps)

    broken(moved)


def test_values_at_one_place_at_one_time_are_found():
    schedule = scheduled(plan())
    good = placed(schedule)
    value = next(iter(good.offsets))
    with pytest.raises(InvariantError):
        verify_placed(Placed(schedule, {**good.offsets, value: good.size}, good.size))
    with pytest.raises(InvariantError):
        verify_placed(Placed(schedule, dict.fromkeys(good.offsets, 0), good.size))
