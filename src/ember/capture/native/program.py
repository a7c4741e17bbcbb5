"""A compiled program: C with the loop over steps inside, called with the addresses of the tensors it works on."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ember.capture.backend import said_if_slow
from ember.capture.failure import error_of, twin
from ember.capture.native import pipeline
from ember.capture.native.build.toolchain import compile_library
from ember.capture.native.c_writer.clock import TimedPart
from ember.capture.native.c_writer.places import OWN
from ember.capture.native.c_writer.unit import Source
from ember.capture.native.torch_side import generator
from ember.capture.native.torch_side.externs import Binding
from ember.capture.native.values.unsupported import UnsupportedError
from ember.capture.recording.assumptions import Unforeseen
from ember.capture.recording.graph import CapturedGraph, collector_paused
from ember.capture.threads import num_threads
from ember.errors import CaptureError

_RULES = ("-fno-strict-aliasing", "-fwrapv", "-Werror=implicit-function-declaration")
FLAGS = ("-O3", *_RULES)
LARGE_FLAGS = ("-O2", *_RULES)
MANY_LINES = 4000
_CHECK_SIGNALS = ctypes.cast(ctypes.pythonapi.PyErr_CheckSignals, ctypes.c_void_p)


def flags_for(text: str) -> tuple[str, ...]:
    """How a program is compiled: a very long one is not worth the time that all optimisations take."""
    return FLAGS if text.count("\n") < MANY_LINES else LARGE_FLAGS


class NativeProgram:
    """The compiled program with the memory it works in."""

    backend = "native"
    in_blocks = True

    def __init__(
        self,
        graph: CapturedGraph,
        inputs: Sequence[Tensor],
        *,
        sanitize: bool = False,
        timed: bool = False,
    ) -> None:
        started = time.perf_counter()
        with collector_paused():
            source = pipeline.source(pipeline.Recording(graph.graph, inputs), timed)
        self._graph = graph
        self._assumes = bool(graph.assumed)
        self.source = source.text
        generated = time.perf_counter()
        flags = flags_for(source.text)
        self.library = compile_library(source.text, sanitize=sanitize, extra_flags=flags)
        self._loaded = self.library.load_for(self)
        self._steps: Any = self._loaded.ember_steps
        self._steps.restype = ctypes.c_int32
        self._outputs = source.outputs
        self._parts, self._estimates = source.parts, source.estimates
        self._layouts = [(tuple(t.shape), tuple(t.stride()), t.dtype) for t in inputs]
        self.kept_bytes = sum(source.kept) + source.watched_bytes
        """Of memory for what is computed once, from data, and for the copies that tell whether these have changed."""
        self._keep(len(inputs), source)
        # Outputs but the first are written somewhere also where nobody asks for them.
        self._unused = [torch.empty(shape, dtype=dtype) for shape, dtype in self._outputs[1:]]
        self._write_to(self._unused)
        self._bound: Sequence[Tensor] | None = None
        self._places: list[int] = []
        self._arena = torch.zeros(source.arena_bytes + 64, dtype=torch.uint8)
        shape = source.outputs[0][0] if source.outputs else None
        self._width = 0 if shape is None else math.prod(shape)
        self._is_vector = bool(shape)
        self._loss = (ctypes.c_double * max(self._width, 1))()
        self._taken = ctypes.c_int64(0)
        self._stopped = ctypes.c_int32(0)
        self._threads = ctypes.c_int32(1)
        self._in_chunks = source.in_chunks
        self._engine = generator.engine()
        aligned = -(-self._arena.data_ptr() // 64) * 64
        self._arena_address = aligned
        self._externs = source.externs
        self._binding: Binding | None = None
        self._set_memory(None)
        how = "compiled" if self.library.built else "found on disk"
        self.note = (
            f"C written in {generated - started:.2f} s, {how} in {time.perf_counter() - generated:.2f} s"
        )

    def _keep(self, num_inputs: int, source: Source) -> None:
        """Give memory to what is computed once; pointers to it stand between those of inputs and outputs, and at the end."""
        self._kept = [torch.zeros(-(-size // 8) + 1, dtype=torch.int64) for size in source.kept]
        self._watched = torch.zeros(source.watched_bytes // 8 + 1, dtype=torch.int64)
        self._first_output = num_inputs + len(self._kept)
        self._pointers = (ctypes.c_void_p * (self._first_output + len(self._outputs) + 1))()
        self._point(num_inputs, self._kept)
        self._point(self._first_output + len(self._outputs[1:]), [self._watched])

    @property
    def memory_bytes(self) -> int:
        """Of all the memory that it has beside its inputs."""
        return self._arena.numel() + self.kept_bytes

    @property
    def estimates(self) -> Mapping[str, float]:
        """About how long the parts of a step take, in nanoseconds by kind."""
        return self._estimates

    def _set_memory(self, table: Any) -> None:
        engine = ctypes.c_void_p(self._engine.address)
        mutex = ctypes.c_void_p(self._engine.mutex)
        self._memory = (self._pointers, ctypes.c_void_p(self._arena_address), engine, mutex, table)
        taken = ctypes.byref(self._taken)
        rest = (taken, None, None, ctypes.c_int32(0), self._threads)
        self._one = (*self._memory, ctypes.c_int64(1), self._loss, *rest)

    def bind(self, inputs: Sequence[Tensor]) -> None:
        """Take the addresses of these tensors.

        Raises:
            CaptureError: if they do not lie in memory as those that the program was compiled for.
        """
        pointers = self._pointers
        before: Sequence[Tensor | None] = self._bound or [None] * len(inputs)
        self._bound = None
        places = list(map(Tensor.data_ptr, inputs))
        noted = self._places
        for index, (tensor, layout) in enumerate(zip(inputs, self._layouts, strict=True)):
            if tensor is before[index] and places[index] == noted[index]:
                continue
            if (tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype) != layout:
                raise CaptureError(
                    f"input {index} of the captured step has shape {tuple(tensor.shape)}, strides {tuple(tensor.stride())} and "
                    f"dtype {tensor.dtype}, but was compiled with {layout[0]}, {layout[1]} and {layout[2]}\n"
                    "The way out: replace tensors, do not resize them, or run eagerly (compile=False)."
                )
            pointers[index] = places[index]
        self._places = places
        # Kept alive, and known again: a caller who passes the same list has changed nothing in it.
        self._bound = inputs
        if self._externs.entries:
            self._bind_calls()

    def _write_to(self, outputs: Sequence[Tensor]) -> None:
        """Where the outputs but the first go."""
        self._point(self._first_output, outputs)

    def _point(self, start: int, tensors: Sequence[Tensor]) -> None:
        for position, tensor in enumerate(tensors, start):
            self._pointers[position] = tensor.data_ptr()

    def _bind_calls(self) -> None:
        """Tell the calls of torch where their tensors lie now."""
        pointers = self._pointers
        places = [
            (self._arena_address if pointer == OWN else pointers[pointer] or 0) + place
            for pointer, place in (buffer.place for buffer in self._externs.buffers)
        ]
        if self._binding is None:
            self._binding = self._externs.bind(places)
            self._set_memory(self._binding.table)
        else:
            self._binding.move(places)

    def loss(self, inputs: Sequence[Tensor]) -> float | tuple[float, ...]:
        """Run once; returns the first output only."""
        if inputs is not self._bound:
            self.bind(inputs)
        self._call(self._one)
        return tuple(self._loss) if self._is_vector else self._loss[0]

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run once; returns the graph's outputs."""
        results = [torch.empty(shape, dtype=dtype) for shape, dtype in self._outputs]
        self.bind(inputs)
        self._write_to(results[1:])
        try:
            self._call(self._one)
        finally:
            self._write_to(self._unused)
        if results:
            shape, dtype = self._outputs[0]
            results[0] = torch.tensor(self._loss[: self._width], dtype=dtype).reshape(shape)
        return results

    def run(self, inputs: Sequence[Tensor], num_steps: int, until_bad: bool = False) -> Iterator[Tensor]:
        """Run again and again on the same inputs, in one call: yields the losses of all steps taken, in
        float64. These are fewer than asked for if a loss is not finite and ``until_bad`` asks to stop
        there. Ctrl-C, or an error, ends it between two steps; the losses before it are yielded first."""
        self.bind(inputs)
        losses = torch.empty((num_steps, self._width), dtype=torch.float64)
        self._taken.value = 0
        self._stopped.value = 0
        try:
            self._call(
                (
                    *self._memory,
                    ctypes.c_int64(num_steps),
                    ctypes.c_void_p(losses.data_ptr()),
                    ctypes.byref(self._taken),
                    # Lets Python's handlers of signals run, Ctrl-C's among them, between steps.
                    _CHECK_SIGNALS,
                    ctypes.byref(self._stopped),
                    ctypes.c_int32(until_bad),
                    self._threads,
                )
            )
        finally:
            taken = losses[: self._taken.value]
            yield taken if self._is_vector else taken[:, 0]

    def profiled(self, num_steps: int) -> list[tuple[TimedPart, float]]:
        """The parts of a step with the nanoseconds that each takes, measured over so many steps on copies of
        the inputs; neither these nor the random state change.

        Raises:
            CaptureError: if the program has not run yet.
        """
        if self._bound is None:
            raise CaptureError(
                "this program has not run yet, so that there is nothing to measure it on\n"
                "The way out: take one more step first."
            )
        inputs = [twin(tensor) for tensor in self._bound]
        timed = NativeProgram(self._graph, inputs, timed=True)
        times = timed._loaded.ember_times
        times.restype = ctypes.POINTER(ctypes.c_int64)
        with torch.random.fork_rng(devices=[]):
            list(timed.run(inputs, 1))
            before = [times()[k] for k in range(len(timed._parts))]
            list(timed.run(inputs, num_steps))
        return [(part, (times()[k] - before[k]) / num_steps) for k, part in enumerate(timed._parts)]

    def stop(self) -> None:
        """End a run between two steps, from a handler of a signal."""
        self._stopped.value = 1

    def _call(self, arguments: tuple[Any, ...]) -> None:
        try:
            failed = self._called(arguments)
        except Exception as error:
            # Of an operator that torch runs. Torch's error again says where it comes from.
            raise self._error() or error from None
        if failed:
            found = self._error()
            if found is None and self._assumes:
                # Rounding lets it hold for torch, but not for C. Python will see.
                raise Unforeseen
            raise found or IndexError(
                "an index of the captured step is out of range, or it divides an integer by zero\n"
                "The way out: run it eagerly (compile=False) to see where."
            )

    def _called(self, arguments: tuple[Any, ...]) -> int:
        if self._in_chunks:
            self._threads.value = num_threads()
        if self._engine.direct:
            return int(self._steps(*arguments))
        self._engine.begin()
        try:
            return int(self._steps(*arguments))
        finally:
            self._engine.end()

    def _error(self) -> Exception | None:
        assert self._bound is not None
        return error_of(self._graph.module, self._bound)


class Native:
    """Compiles by Ember's own compiler: the whole step, or the loop over many, is one C function."""

    name = "native"

    def compile(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> NativeProgram:
        """Make a program for inputs of these shapes.

        Args:
            graph: what was recorded.
            inputs: tensors of the shapes and dtypes of later calls.

        Raises:
            UnsupportedError: if the graph has something that is not written in C.
        """
        if any(tensor.is_cuda for tensor in inputs):
            raise UnsupportedError("an accelerator")
        with said_if_slow(f"a graph of {graph.num_nodes} operators"):
            return NativeProgram(graph, inputs)
