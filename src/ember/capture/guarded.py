"""Programs of backends that cannot end in the middle: they hand out one verdict on all that the recorded run took for granted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule

from ember.capture.inductor import Compiled
from ember.capture.recording.assumptions import Unforeseen
from ember.capture.recording.graph import CapturedGraph
from ember.rng import set_torch_states, torch_states

aten = torch.ops.aten


def with_verdict(graph: CapturedGraph) -> GraphModule:
    """The graph as a module; where something was taken for granted, with one more output that says whether all of it holds."""
    if not graph.assumed:
        return graph.module
    copied = Graph()
    nodes: dict[torch.fx.Node, torch.fx.Node] = {}
    outputs = copied.graph_copy(graph.graph, nodes)
    together = copied.call_function(aten.stack.default, ([nodes[node] for node in graph.assumed],))
    verdict = copied.call_function(aten.all.default, (together,))
    copied.output([*outputs, verdict])  # type: ignore[misc]
    return GraphModule(torch.nn.Module(), copied)


class Guarded:
    """Runs a program with such a verdict: where it is no, inputs and random state are put back.

    What the program changes is copied before each run. Torch's own errors end a run in the same way, since Python may meet what
    was taken for granted before it meets them.
    """

    def __init__(self, compiled: Compiled, graph: CapturedGraph) -> None:
        self._compiled = compiled
        own = len(graph.graph.find_nodes(op="placeholder")) - len(graph.lifted)
        self._changed = [*graph.mutated_inputs, *(own + index for index in graph.mutated_lifted)]
        self._copies: list[Tensor] = []

    def __call__(self, flat: list[Tensor]) -> Sequence[Tensor]:
        changed = [flat[index].detach() for index in self._changed]
        self._keep(changed)
        random_states = torch_states()
        try:
            *outputs, verdict = self._compiled(flat)
            if verdict:
                return outputs
            error = None
        except (IndexError, RuntimeError) as found:
            error = found
        if changed:
            torch._foreach_copy_(changed, self._copies)
        set_torch_states(random_states)
        raise Unforeseen from error

    def _keep(self, changed: list[Tensor]) -> None:
        if len(self._copies) != len(changed):
            self._copies = [tensor.clone() for tensor in changed]
        elif changed:
            torch._foreach_copy_(self._copies, changed)
