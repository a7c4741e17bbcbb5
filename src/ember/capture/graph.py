"""From a Python function over tensors to a graph of aten operators, by running it once.

The graph is plain: static shapes, random draws as operators of torch's own stream, inputs updated in place. Tensors that the
function reaches through closures become further inputs, so that a change made to them in place is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from ember.capture.mutation_guard import MutationGuard
from ember.capture.value_guard import ValueGuard
from ember.errors import CaptureError

aten = torch.ops.aten
Flat = Sequence[Tensor]


@dataclass(frozen=True)
class CapturedGraph:
    """A graph whose inputs are those of the function and then ``lifted``, the tensors found in closures."""

    module: GraphModule
    lifted: tuple[Tensor, ...]
    mutated_lifted: tuple[int, ...]
    """Which of the lifted tensors the graph changes (running statistics, say)."""
    mutated_inputs: tuple[int, ...] = ()
    """Which of the function's own inputs the graph changes."""

    @property
    def num_nodes(self) -> int:
        return len(self.module.graph.nodes)


def capture(fn: Callable[[list[Tensor]], list[Tensor]], inputs: Flat) -> CapturedGraph:
    """Run ``fn`` on the inputs and record what it does to them.

    The random state, and all tensors that ``fn`` changes, are put back afterwards.
    """
    guard = MutationGuard()

    def guarded(flat: list[Tensor]) -> list[Tensor]:
        with guard, ValueGuard():
            return fn(flat)

    with _random_state_kept(), guard.undone():
        module = make_fx(guarded, decomposition_table=_DECOMPOSITIONS, tracing_mode="real")(list(inputs))
    return _plain(module, guard, inputs)


def _batch_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float
) -> Any:
    # The older operator changes its running statistics without saying so in its schema.
    if mean is None or var is None:
        return aten._native_batch_norm_legit.no_stats(x, weight, bias, training, momentum, eps)
    return aten._native_batch_norm_legit.default(x, weight, bias, mean, var, training, momentum, eps)


def _matrix_vector(matrix: Tensor, vector: Tensor) -> Any:
    # A call of the library costs more than a small product; a compiler fuses the loop with what is around it.
    return (matrix * vector).sum(-1) if matrix.numel() <= _SMALL_MATRIX else NotImplemented


_SMALL_MATRIX = 8192
_DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm.default: _batch_norm,
    aten.mv.default: _matrix_vector,
}


@contextmanager
def _random_state_kept() -> Iterator[None]:
    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if initialized else []
    with torch.random.fork_rng(devices=devices):
        yield


def _plain(module: GraphModule, guard: MutationGuard, inputs: Flat) -> CapturedGraph:
    graph = module.graph
    _draw_out_of_place(graph)
    graph.eliminate_dead_code()
    lifted: dict[int, tuple[Tensor, Node]] = {}
    last_input = [node for node in graph.nodes if node.op == "placeholder"][-1:]
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        value = getattr(module, node.target)
        if _is_literal(node, value):
            _inline(graph, node, value)
            continue
        if id(value) not in lifted:
            anchor = last_input[-1] if last_input else next(iter(graph.nodes))
            with graph.inserting_after(anchor):
                lifted[id(value)] = (value, graph.placeholder(f"lifted_{len(lifted)}"))
            last_input.append(lifted[id(value)][1])
        node.replace_all_uses_with(lifted[id(value)][1])
        graph.erase_node(node)
    tensors = tuple(value for value, _ in lifted.values())
    _check_no_overlap([*inputs, *tensors], guard)
    mutated = tuple(index for index, value in enumerate(tensors) if guard.has_changed(value))
    mutated_inputs = tuple(index for index, value in enumerate(inputs) if guard.has_changed(value))
    for node in graph.nodes:
        # The recorded values belong to the mode of this run; a backend makes its own.
        node.meta.pop("val", None)
        node.meta.pop("tensor_meta", None)
    flat = torch.fx.GraphModule(torch.nn.Module(), _with_flat_inputs(graph))
    return CapturedGraph(flat, tensors, mutated, mutated_inputs)


def _check_no_overlap(tensors: Flat, guard: MutationGuard) -> None:
    """A compiler may reorder a read and a write of memory that it takes for two different tensors."""
    seen: set[int] = set()
    for tensor in tensors:
        storage = tensor.untyped_storage()._cdata
        if storage in seen and guard.has_changed(tensor):
            raise CaptureError(
                f"the step cannot be captured: it changes a tensor of shape {tuple(tensor.shape)} in place and uses "
                "another that shares its memory (a parameter that does not come from ember.param or ember.module?)\n"
                "The way out: clone one of them, or run eagerly (compile=False)."
            )
        seen.add(storage)


def _draw_out_of_place(graph: Graph) -> None:
    """Dropout draws into an empty tensor; Inductor (torch 2.13) then computes with the memory before it is filled."""
    for node in list(graph.nodes):
        if node.target is not aten.bernoulli_.float:
            continue
        empty = node.args[0]
        if empty.target is aten.empty_like.default and len(empty.users) == 1:
            # An argument that has its default value is left out of a graph.
            probability = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
            with graph.inserting_before(node):
                drawn = graph.call_function(aten.bernoulli.p, (empty.args[0], probability))
            node.replace_all_uses_with(drawn)
            graph.erase_node(node)


def _with_flat_inputs(graph: Graph) -> Graph:
    graph.set_codegen(torch.fx.graph.CodeGen())
    return graph


def _is_literal(node: Node, value: Any) -> bool:
    """Whether a constant is a number that the program wrote as ``torch.tensor(...)``."""
    used_by = {user.target for user in node.users}
    return isinstance(value, Tensor) and value.numel() == 1 and used_by == {aten.lift_fresh_copy.default}


def _inline(graph: Graph, node: Node, value: Tensor) -> None:
    for user in list(node.users):
        with graph.inserting_before(user):
            full = graph.call_function(
                aten.full.default,
                (list(value.shape), value.item()),
                {"dtype": value.dtype, "device": value.device, "pin_memory": False},
            )
        user.replace_all_uses_with(full)
        graph.erase_node(user)
    graph.erase_node(node)
