"""Backends: from a captured graph to a program that runs a step, or many."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from ember.capture import inductor
from ember.capture.checked import CheckedGraph
from ember.capture.failure import twin
from ember.capture.recording.graph import CapturedGraph

logger = logging.getLogger("ember.capture")


class Program(Protocol):
    """Runs a compiled graph.

    Inputs that the graph changes are changed in place. A run in which something does not hold that the
    recorded run took for granted raises Unforeseen, and leaves inputs and random state as they were.
    """

    backend: str
    """Which backend has made it."""
    note: str
    """Why this backend, where there was a choice; how long it took."""
    source: str
    """The program as text, if the backend writes one."""
    in_blocks: bool
    """Whether :meth:`run` yields the losses of many steps at once, with a first dim for the steps."""

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run once; returns the graph's outputs."""

    def loss(self, inputs: Sequence[Tensor]) -> float | tuple[float, ...]:
        """Run once; returns the first output as a number, or as numbers if it is a vector."""

    def run(self, inputs: Sequence[Tensor], num_steps: int, until_bad: bool = False) -> Iterator[Tensor]:
        """Run again and again on the same inputs; yields the first output of each run.

        Args:
            inputs: the inputs of the graph.
            num_steps: how many runs to make.
            until_bad: whether to end after the first output that is not finite; a program may not do so.
        """

    def stop(self) -> None:
        """End a run soon, between two steps, if the program has the loop inside."""


class Backend(Protocol):
    """Makes programs of graphs."""

    name: str

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        """Make a program for inputs of these shapes; it does not run on them.

        Args:
            graph: what was recorded.
            inputs: tensors of the shapes, dtypes and devices of later calls.
        """


class _Loop:
    """A program with a plain Python loop around it."""

    in_blocks = False

    def __init__(self, compiled: inductor.Compiled, backend: str) -> None:
        self._compiled = compiled
        self.backend = backend
        self.note = ""
        self.source = ""

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return self._compiled(list(inputs))

    def loss(self, inputs: Sequence[Tensor]) -> float | tuple[float, ...]:
        value = self(inputs)[0]
        return tuple(value.tolist()) if value.dim() else value.item()

    def run(self, inputs: Sequence[Tensor], num_steps: int, until_bad: bool = False) -> Iterator[Tensor]:
        for _ in range(num_steps):
            yield self(inputs)[0]

    def stop(self) -> None:
        """The loop is the caller's."""


class _Checked(_Loop):
    """One that looks whether torch would have raised."""

    def __init__(self, compiled: inductor.Compiled, backend: str, checked: CheckedGraph) -> None:
        super().__init__(compiled, backend)
        self._checked = checked

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return self._checked.call(self._compiled, inputs)


class Inductor:
    """Compiles by torch's compiler, called directly."""

    name = "inductor"

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        """Make a program for inputs of these shapes; see :class:`Backend`."""
        copies = [twin(tensor) for tensor in inputs]
        checked = CheckedGraph(graph, inputs)
        with said_if_slow(f"a graph of {graph.num_nodes} operators"):
            compiled = inductor.compile_graph(checked.module, copies)
        return _Checked(compiled, self.name, checked) if checked.can_fail else _Loop(compiled, self.name)


class Interpreter:
    """Runs the graph operator by operator: no compiler is needed, and errors are easy to find."""

    name = "interpreter"

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        """Make a program for inputs of these shapes; see :class:`Backend`."""
        checked = CheckedGraph(graph, inputs)
        forward = checked.module.forward  # past hooks of all modules

        def run(flat: list[Tensor]) -> Sequence[Tensor]:
            with torch.no_grad():
                result: Sequence[Tensor] = forward(*flat)
            return result

        return _Checked(run, self.name, checked) if checked.can_fail else _Loop(run, self.name)


@contextmanager
def said_if_slow(what: str, seconds: float = 2.0) -> Iterator[None]:
    """Say once, through logging, that compiling goes on."""
    started = time.perf_counter()
    timer = threading.Timer(
        seconds, lambda: logger.warning("compiling %s, for more than %g s already ...", what, seconds)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        logger.info("compiled %s in %.2f s", what, time.perf_counter() - started)
