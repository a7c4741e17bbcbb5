"""From a Python function over tensors to a graph of aten operators, by running it once.

The graph is plain: static shapes, random draws as operators of torch's own stream, inputs updated in place.
Tensors that the function reaches through closures become further inputs, so that a change made to them in
place is seen.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from ember.capture.recording.asked import Asked
from ember.capture.recording.assumptions import Assumptions
from ember.capture.recording.draws import draw_out_of_place
from ember.capture.recording.elsewhere import drawn_since, draws_elsewhere, put_back, states
from ember.capture.recording.mutation_guard import MutationGuard
from ember.capture.recording.provenance import Origins
from ember.capture.recording.recorder import Recorder
from ember.capture.recording.value_guard import ValueGuard
from ember.capture.signals import Unbroken
from ember.errors import CaptureError, Reason
from ember.torch_private import missing_for_capture
from ember.torch_private.values import number_of_storage

aten = torch.ops.aten
Flat = Sequence[Tensor]


@dataclass(frozen=True)
class CapturedGraph:
    """Holds a graph whose inputs are those of the function, and then ``lifted``, tensors found in closures.

    Its nodes carry ``meta["ember"]``, a :class:`~ember.capture.recording.meta.Meta` (a tuple of them for
    several results), and ``meta["origin"]``, which says where in the program the operator came from. Those on
    whose truth the run relied have ``meta["assumed"]``.
    """

    graph: Graph
    lifted: tuple[Tensor, ...]
    mutated_lifted: tuple[int, ...]
    """Which of the lifted tensors the graph changes (running statistics, say)."""
    mutated_inputs: tuple[int, ...] = ()
    """Which of the function's own inputs the graph changes."""
    asked: Asked | None = None
    """The values on which it depends that Python asked for."""
    has_turns: bool = False
    """Whether Python asked for more, which the run has taken for granted."""

    @property
    def num_nodes(self) -> int:
        """The number of nodes of the graph."""
        return len(self.graph.nodes)

    @cached_property
    def draws(self) -> bool:
        """Whether it draws random numbers."""
        drawing = torch.Tag.nondeterministic_seeded
        return any(drawing in getattr(node.target, "tags", ()) for node in self.graph.nodes)

    @cached_property
    def module(self) -> GraphModule:
        """The graph as a module, which takes the inputs one by one. Made when asked for: that takes as long as recording."""
        return GraphModule(torch.nn.Module(), self.graph)

    @property
    def assumed(self) -> list[Node]:
        """The nodes on whose truth the run relied."""
        return [node for node in self.graph.nodes if "assumed" in node.meta]


def capture(
    fn: Callable[[list[Tensor]], list[Tensor]], inputs: Flat, num_arguments: int | None = None
) -> CapturedGraph:
    """Run ``fn`` on the inputs and record what it does to them.

    The random state, and all tensors that ``fn`` changes, are put back afterwards.

    Args:
        fn: the function to record, from a list of tensors to a list of tensors.
        inputs: its inputs.
        num_arguments: how many of the inputs, the last ones, ``fn`` may ask for values, as it may ask tensors
            that it finds outside: the graph is for these values then. None if it may not ask at all.

    Raises:
        CaptureError: if it cannot be recorded.
        CaptureMismatchError: if it draws from Python's or NumPy's own generators.

    >>> import torch
    >>> from ember.capture import capture
    >>> graph = capture(lambda inputs: [inputs[0] * 2 + 1], [torch.ones(3)])
    >>> [node.op for node in graph.graph.nodes if node.op != "get_attr"][:2]
    ['placeholder', 'call_function']
    """
    if lacks := missing_for_capture():
        raise CaptureError(
            f"the step cannot be captured with torch {torch.__version__}: {lacks}\n"
            "The way out: another torch (docs/versions.md), or run eagerly (compile=False).",
            Reason.TORCH,
        )
    before = states()
    graph = _captured(fn, inputs, num_arguments)
    if drawn_since(before):
        # It may have been another thread.
        again = states()
        graph = _captured(fn, inputs, num_arguments)
        if generator := drawn_since(again):
            put_back(before)
            raise draws_elsewhere(generator)
    return graph


def _captured(
    fn: Callable[[list[Tensor]], list[Tensor]], inputs: Flat, num_arguments: int | None
) -> CapturedGraph:
    # Ctrl-C in the midst of entering or leaving them would leave modes of torch active. It comes between operators.
    with Unbroken(gives_way=True) as recording:
        recording.begin()
        return _recorded(fn, inputs, num_arguments, recording.pause)


def _recorded(
    fn: Callable[[list[Tensor]], list[Tensor]],
    inputs: Flat,
    num_arguments: int | None,
    pause: Callable[[], None],
) -> CapturedGraph:
    recorder = Recorder(inputs, _DECOMPOSITIONS, Origins(_recorded.__code__), num_arguments)
    assumptions = Assumptions(recorder.is_constant)
    with collector_paused(), _random_state_kept(), recorder.guard.undone():
        with _no_casts_kept(), recorder, ValueGuard(recorder.ask, assumptions, pause):
            outputs = fn(list(inputs))
        asked = recorder.asked()
        graph = recorder.graph(outputs, [*assumptions.conditions, *assumptions.turns])
    draw_out_of_place(graph)
    guard = recorder.guard
    tensors = tuple(tensor for tensor, _ in recorder.lifted)
    _check_no_overlap([*inputs, *tensors], guard)
    mutated = tuple(index for index, value in enumerate(tensors) if guard.has_changed(value))
    mutated_inputs = tuple(index for index, value in enumerate(inputs) if guard.has_changed(value))
    return CapturedGraph(graph, tensors, mutated, mutated_inputs, asked, bool(assumptions.turns))


def _batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float
) -> Any:
    # The older operator changes its running statistics without saying so in its schema.
    if mean is None or var is None:
        return aten._native_batch_norm_legit.no_stats(x, weight, bias, training, momentum, eps)
    return aten._native_batch_norm_legit.default(x, weight, bias, mean, var, training, momentum, eps)


def _matrix_vector(matrix: Tensor, vector: Tensor) -> Any:
    # A call of the library costs more than a small product; a compiler fuses the loop with what is around it.
    small = matrix.numel() <= _SMALL_MATRIX
    # A sum of integers would be of another dtype than their product.
    return (matrix * vector).sum(-1) if small and matrix.is_floating_point() else NotImplemented


_SMALL_MATRIX = 8192
_DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm.default: _batch_norm,
    aten.mv.default: _matrix_vector,
}


@contextmanager
def collector_paused() -> Iterator[None]:
    """A recording makes many objects that stay; searching them for garbage takes as long as making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _no_casts_kept() -> Iterator[None]:
    """Autocast keeps converted tensors, which would come in from before the run."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if initialized else []
    with torch.random.fork_rng(devices=devices):
        yield


def _check_no_overlap(tensors: Flat, guard: MutationGuard) -> None:
    """A compiler may reorder a read and a write of memory that it takes for two different tensors."""
    seen: set[int] = set()
    for tensor in tensors:
        storage = number_of_storage(tensor)
        if storage in seen and guard.has_changed(tensor):
            raise CaptureError(
                f"the step cannot be captured: it changes a tensor of shape {tuple(tensor.shape)} in place and uses "
                "another that shares its memory (a parameter that does not come from ember.param or ember.module?)\n"
                "The way out: clone one of them, or run eagerly (compile=False).",
                Reason.SHARED_MEMORY,
            )
        seen.add(storage)
