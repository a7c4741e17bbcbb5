"""Recording a function at one row, compiling the record, and comparing the program with Python before it is trusted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember.capture.choice import BackendName
from ember.capture.recording.asked import Asked
from ember.capture.recording.graph import capture
from ember.capture.rows.calls import Call, Results, leaves_of
from ember.capture.rows.loops import RowProgram
from ember.capture.rows.program import compiled
from ember.errors import CaptureError, CaptureMismatchError, Reason
from ember.rng import fork_torch_rng

Function = Callable[..., Any]
_TOLERANCE = {torch.float64: (1e-7, 1e-9), torch.float32: (2e-3, 1e-5)}
"""Relative and absolute, by dtype. Compiled float32 reductions add up in another order."""
# Recordings switch flags of the whole process and put them back.
_ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True)
class Recorded:
    """A program, and what it was made for."""

    program: RowProgram
    template: Any
    """A result of one row, for its structure."""
    lifted: tuple[Tensor, ...]
    """Tensors found outside."""
    asked: Asked | None
    """The values on which it depends that Python asked for."""

    def fits(self, call: Call) -> bool:
        """Whether Python would ask for the same values."""
        return self.asked is None or self.asked.hold(call.shared)

    def run(self, call: Call, answer: Callable[[int], Any]) -> Any:
        """The results of all rows.

        Args:
            call: the call.
            answer: the result of a row by Python.

        Raises:
            Unforeseen: if something does not hold of what all rows share.
            CaptureError: if a tensor from outside has another layout.
        """
        results = Results(call.num_rows)
        results.prepare(self.template, self.program.outputs)
        shared = [*call.shared, *(tensor.detach() for tensor in self.lifted)]
        self.program.run(call, shared, results.tensors, lambda index: results.put(index, answer(index)))
        return results.together()


@dataclass(frozen=True)
class Tried:
    """A call for one row, at which the function has been run by Python, and what it gave."""

    call: Call
    results: list[Tensor]


def recorded(function: Function, call: Call, backend: BackendName) -> Recorded:
    """A program for calls like this one, recorded at its first row.

    Raises:
        CaptureError: if there can be none.
    """
    template: list[Any] = []

    def flat(inputs: list[Tensor]) -> list[Tensor]:
        row, shared = inputs[: len(call.rows)], inputs[len(call.rows) :]
        with torch.no_grad():
            result = function(*call.arguments(row, shared))
            template[:] = [result]
            # The first output is a number, by which a program tells its steps.
            return [torch.zeros(()), *leaves_of(result)]

    row = call.row(0)
    with _ONE_AT_A_TIME:
        graph = capture(flat, [*row, *call.shared], len(call.shared))
    if graph.mutated_inputs or graph.mutated_lifted:
        raise CaptureError(
            "it changes a tensor in place, so that rows depend on those before them\n"
            "The way out: clone the tensor first; put batch normalisation and the like into evaluation mode.",
            Reason.CHANGES_ITSELF,
        )
    lifted = [tensor.detach() for tensor in graph.lifted]
    program = compiled(graph, row, [*call.shared, *lifted], backend)
    return Recorded(program, template[0], graph.lifted, graph.asked)


def compare(made: Recorded, tried: Tried) -> None:
    """Compare a program with what Python has given for a row.

    Raises:
        CaptureMismatchError: shows both.
    """

    def unanswered(_: int) -> Any:
        raise CaptureMismatchError("the program leaves a row to Python that Python has no trouble with")

    with fork_torch_rng():
        found = leaves_of(made.run(tried.call, unanswered))
    for own, wanted in zip(found, tried.results, strict=True):
        relative, absolute = _TOLERANCE.get(wanted.dtype, (1e-2, 1e-2))
        if not torch.allclose(own[0].to(wanted.dtype), wanted, relative, absolute, equal_nan=True):
            raise CaptureMismatchError(
                f"the program disagrees with Python: {_shown(own[0])} and {_shown(wanted)}. Please report it."
            )


def _shown(value: Tensor) -> str:
    return str(value.tolist()) if value.numel() <= 8 else f"{value.flatten()[:8].tolist()} ..."
