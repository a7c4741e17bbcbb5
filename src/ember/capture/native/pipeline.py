"""The way from a recorded graph to C: one list of passes, each from a record to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.fx import Graph

from ember.capture.native.c_writer.unit import Main, Source, steps_main, written_unit
from ember.capture.native.loops.flatten import flattened
from ember.capture.native.loops.hoist import hoisted
from ember.capture.native.loops.memory import placed
from ember.capture.native.loops.pack import packed
from ember.capture.native.loops.recompute import recomputed
from ember.capture.native.loops.schedule import scheduled
from ember.capture.native.loops.shrink import shrunk
from ember.capture.native.loops.straighten import straightened
from ember.capture.native.loops.structure import Placed, Schedule
from ember.capture.native.loops.sweep import swept
from ember.capture.native.loops.turn import turned
from ember.capture.native.loops.verify import verify_placed, verify_schedule
from ember.capture.native.lowering.rows import DECOMPOSER, TABLE
from ember.capture.native.lowering.rows.external import by_torch
from ember.capture.native.lowering.walk import Lowering
from ember.capture.native.values.plan import Plan
from ember.capture.native.values.verify import verify_plan

VERIFY = False
"""Whether what each pass makes is looked at. Tests do."""


@dataclass(frozen=True)
class Recording:
    """A recorded graph, and tensors like those that it will be run on."""

    graph: Graph
    inputs: Sequence[Tensor]
    num_varying: int = 0
    """How many of the inputs, the first ones, hold something else in each run."""


Record = Recording | Plan | Schedule | Placed | Source


def lowered(recording: Recording) -> Plan:
    """The values of a graph."""
    plan = Lowering(TABLE, DECOMPOSER, by_torch).plan(recording.graph, recording.inputs)
    return replace(plan, varying=frozenset(plan.inputs[: recording.num_varying]))


# A pass takes what the one before it makes.
PASSES: tuple[tuple[str, Callable[[Any], Record]], ...] = (
    ("lower", lowered),
    ("straighten", straightened),
    ("shrink", shrunk),
    ("pack", packed),
    ("hoist", hoisted),
    ("schedule", scheduled),
    ("recompute", recomputed),
    ("sweep", swept),
    ("flatten", flattened),
    ("turn", turned),
    ("place", placed),
    ("write", written_unit),
)


def source(recording: Recording, timed: bool = False, main: Main = steps_main) -> Source:
    """The program in C.

    Args:
        recording: what was recorded.
        timed: whether it is to measure its parts.
        main: writes the loop around it.

    Raises:
        UnsupportedError: if the graph has something that is not written in C.
    """
    record: Record = recording
    for name, run in PASSES:
        record = written_unit(record, timed, main) if isinstance(record, Placed) else run(record)
        if VERIFY:
            verify(record, name)
    assert isinstance(record, Source)
    return record


def verify(record: Record, after: str) -> None:
    """Look at what a pass has made.

    Raises:
        InvariantError: if it means nothing; the note says which pass.
    """
    try:
        if isinstance(record, Plan):
            verify_plan(record)
        elif isinstance(record, Schedule):
            verify_schedule(record)
        elif isinstance(record, Placed):
            verify_placed(record)
        if isinstance(record, Plan | Schedule | Placed) and record.before is not None:
            verify(record.before, after)
    except AssertionError as error:
        error.add_note(f"after the pass {after!r}")
        raise
