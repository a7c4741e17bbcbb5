"""Loops that run the program of one row over many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ember.capture.backend import Program
from ember.capture.native.row_loop.program import NativeRows
from ember.capture.recording.assumptions import Unforeseen
from ember.capture.recording.graph import CapturedGraph
from ember.capture.rows.calls import Call
from ember.capture.threads import num_threads

Shapes = Sequence[tuple[tuple[int, ...], torch.dtype]]
PutBad = Callable[[int], None]
"""Answers a row by Python, which its program has left to it."""
_FIRST_PIECE, _FEWEST_TIMED, _PIECE_SECONDS = 256, 32, 0.1
# Below so many seconds of work threads would not be worth their start.
_WORTH_THREADS = 2e-4


class RowProgram(Protocol):
    """A program over rows."""

    backend: str
    note: str
    source: str

    @property
    def outputs(self) -> Shapes:
        """Shapes and dtypes of the results of one row."""

    def run(self, call: Call, shared: Sequence[Tensor], outputs: Sequence[Tensor], put_bad: PutBad) -> None:
        """Fill in the outputs of all rows; ``put_bad`` is called for those that it leaves to Python.

        Args:
            call: whose rows they are.
            shared: what all rows share, tensors found outside among it.
            outputs: by row; filled in.
            put_bad: fills in a row.

        Raises:
            Unforeseen: if something does not hold of what all rows share.
        """


class NativeLoop:
    """The loop in C. Between its pieces, of a tenth of a second, Python sees to signals."""

    def __init__(self, program: NativeRows) -> None:
        self._program = program
        self.backend = program.backend
        self.note = program.note
        self.source = program.source
        self.outputs: Shapes = program.outputs
        self._one_at_a_time = threading.RLock()
        """All calls work in the same memory."""
        self._row_seconds = 0.0
        """What a row has taken, by one thread."""

    def run(self, call: Call, shared: Sequence[Tensor], outputs: Sequence[Tensor], put_bad: PutBad) -> None:
        with self._one_at_a_time:
            self._run(call, shared, outputs, put_bad)

    def _run(self, call: Call, shared: Sequence[Tensor], outputs: Sequence[Tensor], put_bad: PutBad) -> None:
        program, rows, num_rows = self._program, call.rows, call.num_rows
        bad = torch.zeros(num_rows, dtype=torch.uint8)
        program.bind(shared)
        at = 0
        while at < num_rows:
            threads = num_threads()
            size, threads = self._piece(num_rows - at, threads)
            started = time.perf_counter()
            reached = program.run(rows, outputs, bad, at, min(at + size, num_rows), threads)
            if reached - at >= _FEWEST_TIMED:
                self._row_seconds = threads * (time.perf_counter() - started) / (reached - at)
            if program.in_order and bad[reached - 1]:
                put_bad(reached - 1)
            at = reached
        if not program.in_order:
            for index in bad.nonzero().flatten().tolist():
                put_bad(index)

    def _piece(self, left: int, threads: int) -> tuple[int, int]:
        """How many rows to take in one call, by how many threads."""
        if not self._row_seconds:
            return min(left, _FIRST_PIECE), 1
        if self._row_seconds * left < _WORTH_THREADS:
            threads = 1
        return max(threads, min(left, int(threads * _PIECE_SECONDS / self._row_seconds))), threads


class CompiledLoop:
    """A program of another backend, called by Python for each row."""

    def __init__(self, program: Program, outputs: Shapes) -> None:
        self._program = program
        self.backend = program.backend
        self.note = program.note
        self.source = program.source
        self.outputs: Shapes = outputs

    def run(self, call: Call, shared: Sequence[Tensor], outputs: Sequence[Tensor], put_bad: PutBad) -> None:
        row = [torch.empty_like(tensor[0]) for tensor in call.rows]
        inputs = [*row, *shared]
        for index in range(call.num_rows):
            for own, tensor in zip(row, call.rows, strict=True):
                own.copy_(tensor[index])
            try:
                results = self._program(inputs)
            except (Unforeseen, ValueError, ArithmeticError, RuntimeError, IndexError):
                put_bad(index)
                continue
            for output, result in zip(outputs, results[1:], strict=True):
                output[index] = result


def outputs_of(graph: CapturedGraph) -> Shapes:
    """Shapes and dtypes of the outputs but the first."""
    (found,) = (node.args[0] for node in graph.graph.nodes if node.op == "output")
    nodes: Any = found
    metas = [node.meta["ember"] for node in nodes]
    return [(tuple(meta.shape), meta.dtype) for meta in metas[1:]]
