"""Passes over rows that threads share: a function for one chunk of the rows, and what puts the sums of all chunks together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ember.capture.native.c_writer.accumulation import combination
from ember.capture.native.c_writer.c_text import converted
from ember.capture.native.c_writer.nest import written_sweep
from ember.capture.native.c_writer.places import Places, PlacesOfChunk, Pointers
from ember.capture.native.loops.structure import Placed, Sweep
from ember.capture.native.values.arrays import Reduce, Value
from ember.capture.native.values.dtypes import c_type

CHUNKS = 16
"""As ``c/ember_team.h`` has it."""
_ALIGNMENT = 64


@dataclass(frozen=True)
class Chunked:
    """A pass over rows in chunks."""

    lines: list[str]
    """What the function of one chunk does."""
    pointers: frozenset[int]
    """Which pointers it uses."""
    bytes: int
    """Of the memory that a chunk has of its own."""
    combined: list[str]
    """What puts the sums of all chunks together; their memory is at ``Q``."""
    combined_pointers: frozenset[int]


def chunked(sweep: Sweep, placed: Placed) -> Chunked:
    """A pass over rows, written for one chunk of them."""
    own, size = _own_memory(sweep, placed)
    memory = Pointers()
    lines = [
        f"char *const S = Q + {size} * chunk;",
        f"const int64_t first = {_first('chunk', sweep)}, last = {_first('(chunk + 1)', sweep)};",
        *written_sweep(sweep, PlacesOfChunk(placed, own), memory, ("first", "last")),
    ]
    after = Pointers()
    combined = [
        line
        for value in own
        if _is_over_rows(value)
        for line in _combined(value, own[value], size, placed, after)
    ]
    return Chunked(lines, frozenset(memory.used), size, combined, frozenset(after.used))


def _first(chunk: str, sweep: Sweep) -> str:
    """The first row of a chunk: whole blocks, so that each has its sums as a loop over all rows has them."""
    blocks = -(-sweep.rows // sweep.block)
    last = f"{blocks} * {chunk} / {CHUNKS} * {sweep.block}"
    return f"({last} < {sweep.rows} ? {last} : {sweep.rows})"


def _own_memory(sweep: Sweep, placed: Placed) -> tuple[dict[Value, int], int]:
    """Where values lie that each chunk has for itself: what is needed within a block, and sums over rows."""
    own: dict[Value, int] = {}
    at = 0
    for nest in sweep.nests:
        for item in nest.items:
            if not isinstance(item, Value) or not (item in placed.schedule.local or _is_over_rows(item)):
                continue
            own[item] = at
            size = placed.schedule.extent(item) * item.dtype.itemsize
            at += -(-max(size, 1) // _ALIGNMENT) * _ALIGNMENT
    return own, at


def _is_over_rows(value: Value) -> bool:
    return isinstance(value, Reduce) and not value.is_by_row


def _combined(value: Value, place: int, size: int, placed: Placed, memory: Pointers) -> Sequence[str]:
    """The statement that makes one sum of those of all chunks, always in the same order."""
    assert isinstance(value, Reduce)
    kind, rule = c_type(value.dtype), value.rule
    wide = torch.float64 if rule == "sum" and value.dtype is torch.float32 else value.dtype
    part = f"(({kind} *)(Q + {size} * c + {place}))[i]"
    more = combination(rule, value.dtype, "a", converted(part, value.dtype, wide))
    target = memory.element(Places(placed).base(value), 0, ["i"])
    return [
        f"for (int64_t i = 0; i < {value.extent}; i++) {{",
        f"{c_type(wide)} a = {converted(part.replace('* c +', '* 0 +'), value.dtype, wide)};",
        f"for (int64_t c = 1; c < {CHUNKS}; c++) {more}",
        f"{target} = {converted('a', wide, value.dtype)};",
        "}",
    ]
