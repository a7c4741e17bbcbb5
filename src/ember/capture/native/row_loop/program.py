"""A program of one row with the loop over rows inside, and the memory that it works in."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember.capture.backend import said_if_slow
from ember.capture.native import pipeline
from ember.capture.native.build.toolchain import compile_library
from ember.capture.native.c_writer.places import OWN
from ember.capture.native.c_writer.unit import Source
from ember.capture.native.program import flags_for
from ember.capture.native.row_loop.main import Exchanged, RowsMain
from ember.capture.native.torch_side import generator
from ember.capture.native.torch_side.externs import Binding
from ember.capture.native.values.unsupported import UnsupportedError
from ember.capture.recording.assumptions import Unforeseen
from ember.capture.recording.graph import CapturedGraph, collector_paused
from ember.errors import CaptureError

_ALIGNMENT = 64
_MOST_THREADS = 64


@dataclass(frozen=True)
class _Slot:
    """The memory of one thread: for what the program computes, and for one row of each input and output."""

    memory: Tensor
    staged: list[Tensor]
    arena: int
    pointers: Any


class NativeRows:
    """The compiled program.

    Args:
        graph: what was recorded for one row: inputs of a row, then shared ones; a first output that does not count, then others.
        row: inputs of one row, contiguous.
        shared: inputs that all rows share, and tensors found outside.

    Raises:
        UnsupportedError: if the graph has something that is not written in C.
    """

    backend = "native"

    def __init__(self, graph: CapturedGraph, row: Sequence[Tensor], shared: Sequence[Tensor]) -> None:
        if any(tensor.is_cuda for tensor in (*row, *shared)):
            raise UnsupportedError("an accelerator")
        started = time.perf_counter()
        source = _written(graph, row, shared)
        self.source = source.text
        generated = time.perf_counter()
        with said_if_slow(f"a graph of {graph.num_nodes} operators"):
            self.library = compile_library(source.text, extra_flags=flags_for(source.text))
        self._loaded = self.library.load_for(self)
        self._rows: Any = self._loaded.ember_rows
        self._rows.restype = ctypes.c_int64
        self.outputs = source.outputs[1:]
        """Shapes and dtypes of the outputs of one row."""
        self._row_shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in row]
        self._layouts = [(tuple(t.shape), tuple(t.stride()), t.dtype) for t in shared]
        self._shared: list[int] | None = None
        self._source = source
        self._kept = [torch.zeros(-(-size // 8) + 1, dtype=torch.int64) for size in source.kept]
        self._watched = torch.zeros(source.watched_bytes // 8 + 1, dtype=torch.int64)
        self._slots: list[_Slot] = []
        self._engine = generator.engine()
        self._binding: Binding | None = None
        self._add_slot()
        self.in_order = bool(source.externs.entries) or graph.draws
        """Whether rows must come one after another: torch computes some of it, or it draws random numbers."""
        how = "compiled" if self.library.built else "found on disk"
        self.note = (
            f"C written in {generated - started:.2f} s, {how} in {time.perf_counter() - generated:.2f} s"
        )

    @property
    def memory_bytes(self) -> int:
        """Of all the memory that it has."""
        slots = sum(slot.memory.numel() + sum(t.nbytes for t in slot.staged) for slot in self._slots)
        return slots + sum(self._source.kept) + self._source.watched_bytes

    def bind(self, shared: Sequence[Tensor]) -> None:
        """Take the addresses of what all rows share; it must live until the next call of this.

        Raises:
            CaptureError: if a tensor does not lie in memory as the program was compiled for.
        """
        for tensor, layout in zip(shared, self._layouts, strict=True):
            if (tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype) != layout:
                raise CaptureError(
                    f"a tensor of shape {tuple(tensor.shape)}, strides {tensor.stride()} and dtype {tensor.dtype} was compiled "
                    f"with {layout[0]}, {layout[1]} and {layout[2]}"
                )
        places = [tensor.data_ptr() for tensor in shared]
        if places != self._shared:
            self._shared = places
            for slot in self._slots:
                self._point(slot)
        if self._source.externs.entries:
            self._bind_calls()

    def run(
        self,
        rows: Sequence[Tensor],
        outputs: Sequence[Tensor],
        bad: Tensor,
        first: int,
        last: int,
        threads: int,
    ) -> int:
        """Run the rows from ``first`` up to ``last``.

        Args:
            rows: for each input of a row, all of them, contiguous, a first dim counting them.
            outputs: the same for outputs; filled in.
            bad: a byte for each row, filled in: whether something does not hold there that the recorded run took for granted, or
                torch would raise.
            first: the first row.
            last: the one after the last.
            threads: how many share them.

        Returns:
            The row that it has come to: ``last``; or less, if rows come one after another and one has failed, which was the last.

        Raises:
            Unforeseen: if something does not hold of what all rows share.
        """
        threads = 1 if self.in_order else max(1, min(threads, last - first, _MOST_THREADS))
        while len(self._slots) < threads:
            self._point(self._add_slot())
        tables = (ctypes.c_void_p * threads)(
            *[ctypes.addressof(slot.pointers) for slot in self._slots[:threads]]
        )
        arenas = (ctypes.c_void_p * threads)(*[slot.arena for slot in self._slots[:threads]])
        given = (ctypes.c_void_p * max(len(rows), 1))(*[tensor.data_ptr() for tensor in rows])
        written = (ctypes.c_void_p * max(len(outputs), 1))(*[tensor.data_ptr() for tensor in outputs])
        engine = self._engine
        table = None if self._binding is None else self._binding.table
        if not engine.direct:
            engine.begin()
        try:
            reached = self._rows(
                *(tables, arenas, ctypes.c_void_p(engine.address), ctypes.c_void_p(engine.mutex), table),
                *(
                    ctypes.c_int64(first),
                    ctypes.c_int64(last),
                    given,
                    written,
                    ctypes.c_void_p(bad.data_ptr()),
                ),
                *(ctypes.c_int32(self.in_order), ctypes.c_int32(threads)),
            )
        except Exception:
            # Of an operator that torch runs, at the first row that is marked.
            marked = bad[first:last].nonzero()
            if not len(marked):
                raise Unforeseen from None
            reached = first + int(marked[0]) + 1
        finally:
            if not engine.direct:
                engine.end()
        if reached < 0:
            raise Unforeseen
        return int(reached)

    def _add_slot(self) -> _Slot:
        source = self._source
        staged = [torch.zeros(shape, dtype=dtype) for shape, dtype in (*self._row_shapes, *self.outputs)]
        memory = torch.zeros(source.arena_bytes + _ALIGNMENT, dtype=torch.uint8)
        arena = -(-memory.data_ptr() // _ALIGNMENT) * _ALIGNMENT
        count = len(self._row_shapes) + len(self._layouts) + len(source.kept) + len(self.outputs) + 1
        slot = _Slot(memory, staged, arena, (ctypes.c_void_p * count)())
        self._slots.append(slot)
        return slot

    def _point(self, slot: _Slot) -> None:
        """Fill the table of a slot: inputs of a row, shared ones, what is computed once, outputs, copies of data."""
        num_inputs = len(self._row_shapes)
        inputs, outputs = slot.staged[:num_inputs], slot.staged[num_inputs:]
        addresses = [
            *(tensor.data_ptr() for tensor in inputs),
            *(self._shared or ()),
            *(tensor.data_ptr() for tensor in (*self._kept, *outputs, self._watched)),
        ]
        for position, address in enumerate(addresses):
            slot.pointers[position] = address

    def _bind_calls(self) -> None:
        """Tell the calls of torch where their tensors lie."""
        slot, externs = self._slots[0], self._source.externs
        places = [
            (slot.arena if pointer == OWN else slot.pointers[pointer] or 0) + place
            for pointer, place in (buffer.place for buffer in externs.buffers)
        ]
        if self._binding is None:
            self._binding = externs.bind(places)
        else:
            self._binding.move(places)


def _written(graph: CapturedGraph, row: Sequence[Tensor], shared: Sequence[Tensor]) -> Source:
    recording = pipeline.Recording(graph.graph, (*row, *shared), num_varying=len(row))
    main = RowsMain([Exchanged(k, tensor.nbytes) for k, tensor in enumerate(row)])
    with collector_paused():
        return pipeline.source(recording, main=main)
