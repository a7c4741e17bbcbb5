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
from ember.capture.graph import CapturedGraph

logger = logging.getLogger("ember.capture")


class Program(Protocol):
    """A compiled graph. Inputs that the graph changes are changed in place."""

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run once; returns the graph's outputs."""

    def run(self, inputs: Sequence[Tensor], num_steps: int) -> Iterator[Tensor]:
        """Run again and again on the same inputs; yields the first output of each run."""


class Backend(Protocol):
    """Makes programs of graphs."""

    name: str

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        """A program for inputs of these shapes; it does not run on them."""


class _Loop:
    """A program with a plain Python loop around it."""

    def __init__(self, compiled: inductor.Compiled) -> None:
        self._compiled = compiled

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        return self._compiled(list(inputs))

    def run(self, inputs: Sequence[Tensor], num_steps: int) -> Iterator[Tensor]:
        compiled = self._compiled
        for _ in range(num_steps):
            yield compiled(list(inputs))[0]


class Inductor:
    """torch's compiler, called directly."""

    name = "inductor"

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        copies = [tensor.detach().clone() for tensor in inputs]
        with said_if_slow(f"a graph of {graph.num_nodes} operators"):
            return _Loop(inductor.compile_graph(graph.module, copies))


class Interpreter:
    """Runs the graph operator by operator: no compiler is needed, and errors are easy to find."""

    name = "interpreter"

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> Program:
        module = graph.module

        def run(flat: list[Tensor]) -> Sequence[Tensor]:
            with torch.no_grad():
                result: Sequence[Tensor] = module(*flat)
            return result

        return _Loop(run)


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
