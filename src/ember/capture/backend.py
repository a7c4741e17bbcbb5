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
from ember.capture.guarded import Guarded, with_verdict
from ember.capture.recording.graph import CapturedGraph

logger = logging.getLogger("ember.capture")


class Program(Protocol):
    """A compiled graph. Inputs that the graph changes are changed in place. A run in which something does not hold that the
    recorded run took for granted raises Unforeseen, and leaves inputs and random state as they were."""

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
        """Run again and again on the same inputs; yields the first output of each run. A program may end after the first that
        is not finite if ``until_bad``."""

    def stop(self) -> None:
        """End a run soon, between two steps, if the program has the loop inside."""


class Backend(Protocol):
    """Makes programs of graphs."""

    name: str

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        """A program for inputs of these shapes; it does not run on them."""


class _Loop:
    """A program with a plain Python loop around it."""

    in_blocks = False

    def __init__(self, compiled: inductor.Compiled, graph: CapturedGraph, backend: str) -> None:
        self._compiled = Guarded(compiled, graph) if graph.assumed else compiled
        self.backend = backend
        self.note = ""
        self.source = ""

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return self._compiled(list(inputs))

    def loss(self, inputs: Sequence[Tensor]) -> float | tuple[float, ...]:
        value = self._compiled(list(inputs))[0]
        return tuple(value.tolist()) if value.dim() else value.item()

    def run(self, inputs: Sequence[Tensor], num_steps: int, until_bad: bool = False) -> Iterator[Tensor]:
        compiled = self._compiled
        for _ in range(num_steps):
            yield compiled(list(inputs))[0]

    def stop(self) -> None:
        """The loop is the caller's."""


class Inductor:
    """torch's compiler, called directly."""

    name = "inductor"

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        copies = [twin(tensor) for tensor in inputs]
        with said_if_slow(f"a graph of {graph.num_nodes} operators"):
            return _Loop(inductor.compile_graph(with_verdict(graph), copies), graph, self.name)


def twin(tensor: Tensor) -> Tensor:
    """A copy of the same layout. A clone of one that repeats its elements (``expand``) would have another."""
    copied = tensor.detach().clone()
    if copied.stride() == tensor.stride():
        return copied
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    extent = 1 + sum((size - 1) * stride for size, stride in strides) if tensor.numel() else 0
    memory = tensor.detach().as_strided((extent,), (1,)).clone()
    return memory.as_strided(tensor.shape, tensor.stride(), 0)


class Interpreter:
    """Runs the graph operator by operator: no compiler is needed, and errors are easy to find."""

    name = "interpreter"

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        forward = with_verdict(graph).forward  # past hooks of all modules

        def run(flat: list[Tensor]) -> Sequence[Tensor]:
            with torch.no_grad():
                result: Sequence[Tensor] = forward(*flat)
            return result

        return _Loop(run, graph, self.name)


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
