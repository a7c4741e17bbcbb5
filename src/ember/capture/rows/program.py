"""The choice of what runs the record of one row over many."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ember.capture.choice import BackendName, backend_of
from ember.capture.inductor import lacks_compiler
from ember.capture.native.row_loop.program import NativeRows
from ember.capture.native.values.unsupported import UnsupportedError
from ember.capture.recording.graph import CapturedGraph
from ember.capture.rows.batched import BatchedLoop
from ember.capture.rows.loops import CompiledLoop, NativeLoop, RowProgram, outputs_of
from ember.errors import CaptureError, CompilationError, NoCompilerError


def compiled(
    graph: CapturedGraph, row: Sequence[Tensor], shared: Sequence[Tensor], backend: BackendName
) -> RowProgram:
    """A program over rows.

    Args:
        graph: recorded for one row: inputs of a row, then shared ones; a first output that does not count, then others.
        row: inputs of one row, contiguous.
        shared: inputs that all rows share, and tensors found outside.
        backend: which makes it.

    Raises:
        CaptureError: if the native backend is asked for and cannot.
    """
    reason = ""
    if backend in ("auto", "native"):
        try:
            return NativeLoop(NativeRows(graph, row, shared))
        except UnsupportedError as error:
            if backend == "native":
                raise CaptureError(f"the native backend cannot compile it: {error}") from error
            reason = str(error)
        except (NoCompilerError, CompilationError) as error:
            if backend == "native":
                raise
            reason = str(error)
    program = _without_c(graph, row, shared) if backend == "auto" else None
    if program is None:
        name: BackendName = "inductor" if backend == "auto" else backend
        program = CompiledLoop(backend_of(name).compile(graph, [*row, *shared]), outputs_of(graph))
    if reason:
        program.note = f"not native: {reason.splitlines()[0]}"
    return program


def _without_c(graph: CapturedGraph, row: Sequence[Tensor], shared: Sequence[Tensor]) -> RowProgram | None:
    """What needs no compiler: all rows at once, unless rows draw, each for itself, or there is none."""
    inputs = [*row, *shared]
    at_once = bool(row) and not graph.draws
    if not at_once and not lacks_compiler(inputs):
        return None
    by_row = CompiledLoop(backend_of("interpreter").compile(graph, inputs), outputs_of(graph))
    return BatchedLoop(graph, row, shared, by_row) if at_once else by_row
