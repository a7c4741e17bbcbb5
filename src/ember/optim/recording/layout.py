"""Which parameters a recorded step updates together, and where their state lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ember.optim.flat.blocks import Block, alike
from ember.optim.flat.state import StateBuffer
from ember.optim.records import Record
from ember.optim.rules.clipping import Clipping
from ember.optim.rules.rule import Rule

Numbered = tuple[int, Record]
"""A parameter, and where it stands among all of a step."""


@dataclass(frozen=True)
class Member:
    """One parameter of a part of a step."""

    index: int
    """Where it stands among all parameters of the step."""
    record: Record
    buffer: StateBuffer | None
    """Where its state lies; None if there is none."""
    place: int = 0
    """Which parameter of the buffer it is."""

    @property
    def label(self) -> str:
        """What a recording attributes to this parameter."""
        return f"{self.record.kind.__name__}: {self.record.name}"


@dataclass(frozen=True)
class Together:
    """Parameters whose gradients are clipped alike and whose update is one."""

    members: tuple[Member, ...]
    clip: Clipping


def laid_out(rule: Rule[Any, Any] | None, records: Sequence[Numbered]) -> list[Together]:
    """Parameters of one class and the same options, put together; their state is moved into flat buffers.

    Args:
        rule: of the class; without one each parameter's state stays by itself.
        records: the parameters.
    """
    kinds: dict[object, list[Numbered]] = {}
    for index, record in records:
        param, state = record.param, _state_of(rule, record)
        dtypes = tuple((key, value.dtype) for key, value in state.items())
        entire = rule is not None and not _can_be_flat(rule, record, state)
        key = (param.dtype, param.device, record.clip, dtypes, index if entire else None)
        kinds.setdefault(key, []).append((index, record))
    return [each for same in kinds.values() for each in _split(rule, same)]


def _state_of(rule: Rule[Any, Any] | None, record: Record) -> dict[str, Tensor]:
    values = record.values.items()
    return {key: value for key, value in values if value is not None and (rule is None or key in rule.fields)}


def _can_be_flat(rule: Rule[Any, Any], record: Record, state: dict[str, Tensor]) -> bool:
    shape = record.param.shape
    return not rule.facts_of(record.param, record.options) and all(
        value.shape == (() if key in rule.numbers else shape) for key, value in state.items()
    )


def _split(rule: Rule[Any, Any] | None, same: Sequence[Numbered]) -> list[Together]:
    groups = [[*range(len(same))]] if rule is None else alike([record.param for _, record in same])
    return [Together(_members(rule, [same[i] for i in group]), same[0][1].clip) for group in groups]


def _members(rule: Rule[Any, Any] | None, records: Sequence[Numbered]) -> tuple[Member, ...]:
    keys = [*_state_of(rule, records[0][1])]
    if not keys:
        return tuple(Member(index, record, None) for index, record in records)
    fresh = [record for _, record in records if not _is_laid_out(record, keys)]
    for members in [fresh] if rule is not None else [[record] for record in fresh]:
        _lay_out(rule, members, keys)
    return tuple(Member(index, record, record.buffer, record.place) for index, record in records)


def _is_laid_out(record: Record, keys: Sequence[str]) -> bool:
    # A buffer stays where it is as long as its state is in use: other recorded steps work on it.
    buffer = record.buffer
    return buffer is not None and [*buffer.flat] == keys and buffer.holds(record.place, record.values)


def _lay_out(rule: Rule[Any, Any] | None, records: Sequence[Record], keys: Sequence[str]) -> None:
    if not records:
        return
    block = Block([record.param.shape for record in records])
    states: list[dict[str, Tensor]] = [record.values for record in records]
    numbers = () if rule is None else rule.numbers
    buffer = StateBuffer(block, states, keys, numbers, records[0].param.device)
    for place, record in enumerate(records):
        record.buffer, record.place = buffer, place
