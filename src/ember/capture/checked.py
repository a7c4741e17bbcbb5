"""Checks in a graph for a compiler that makes none: Inductor counts an index of -1 from the end where torch raises for it, and a
division of an integer by zero ends the process.

Indices and divisors that torch would raise for are replaced by harmless ones, and one more output says that there were some, or
that something does not hold that the recorded run took for granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from ember.capture.failure import error_of, twin
from ember.capture.recording.graph import CapturedGraph
from ember.capture.recording.meta import Meta
from ember.rng import set_torch_states, torch_states
from ember.torch_private.foreach import foreach_copy_
from ember.torch_private.operators import OpOverload

aten = torch.ops.aten
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True)
class _Indices:
    """Which argument of an operator holds indices, and into what."""

    position: int
    wraps: bool = False
    """Whether a negative index counts from the end."""
    dim: int | None = None
    """The dim of the first argument; None where the second argument says it."""
    ignored: int | None = None
    """The argument that may be among the indices all the same."""


_IN_A_DIM = _Indices(2)
_CLASSES = {"nll_loss_forward": (0, 1, 4), "nll_loss2d_forward": (0, 1, 4)}
_CLASSES |= {"nll_loss_backward": (1, 2, 5), "nll_loss2d_backward": (1, 2, 5)}
"""Where scores, classes and the class to ignore are."""
_INDICES: dict[str, _Indices] = {
    **dict.fromkeys(("index_select", "gather", "scatter", "scatter_add", "scatter_reduce"), _IN_A_DIM),
    **dict.fromkeys(("index_add", "index_copy", "index_reduce"), _IN_A_DIM),
    "index_fill": _Indices(2, wraps=True),
    "embedding": _Indices(1, dim=0),
}
_SEVERAL = ("index", "index_put", "_unsafe_index", "_unsafe_index_put")
_DIVISIONS = ("floor_divide", "remainder", "fmod", "div", "divide")
_MAY_RAISE = ("linalg", "cholesky", "multinomial", "bernoulli", "binomial", "poisson", "gamma")
"""Parts of the names of operators that torch itself computes, and that raise for some data."""


class CheckedGraph:
    """A graph with checks.

    Args:
        graph: what was recorded.
        inputs: like those that it will be called with.
    """

    def __init__(self, graph: CapturedGraph, inputs: Sequence[Tensor]) -> None:
        self._graph = graph
        copied = Graph()
        values: dict[Node, Node] = {}
        output = copied.graph_copy(graph.graph, values)
        checks = _Checks(copied)
        for node in list(copied.nodes):
            checks.visit(node)
        checks.assume([values[node] for node in graph.assumed])
        self.has_flag = bool(checks.flags)
        """Whether there is an output more."""
        results = list(output) if isinstance(output, (list, tuple)) else [output]
        copied.output([*results, *checks.flag()])
        self.module = GraphModule(torch.nn.Module(), copied)
        lifted = len(inputs) - len(graph.lifted)
        self._changed = [*graph.mutated_inputs, *(lifted + i for i in graph.mutated_lifted)]
        names = {getattr(node.target, "__name__", "") for node in graph.graph.nodes}
        self.can_fail = self.has_flag or any(part in name for name in names for part in _MAY_RAISE)
        """Whether there is data for which torch would raise."""
        self._copies: list[Tensor] = []
        """Of what the last call has changed, from before it; the memory is used again."""

    def call(self, compiled: Any, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Call what a compiler has made of :attr:`module`. A call that fails has changed nothing.

        Raises:
            Exception: torch's own, with the operator and its place in the program.
            Unforeseen: if something does not hold that the recorded run took for granted.
        """
        changed = [inputs[i].detach() for i in self._changed]
        self._keep(changed)
        random_states = torch_states()
        error: Exception | None = None
        try:
            outputs: Sequence[Tensor] = compiled(list(inputs))
            if not self.has_flag:
                return outputs
            if not outputs[-1]:
                return outputs[:-1]
        except Exception as raised:
            error = raised
        if changed:
            foreach_copy_(changed, self._copies)
        set_torch_states(random_states)
        raise error_of(self._graph.module, inputs) or error or _unknown() from None

    def _keep(self, changed: list[Tensor]) -> None:
        if len(self._copies) != len(changed):
            self._copies = [twin(tensor) for tensor in changed]
        elif changed:
            foreach_copy_(self._copies, changed)


def _unknown() -> Exception:
    return IndexError(
        "an index of the captured step is out of range, or it divides an integer by zero\n"
        "The way out: run it eagerly (compile=False) to see where."
    )


class _Checks:
    """Walks over a graph and puts checks before the operators that need them."""

    def __init__(self, graph: Graph) -> None:
        self.flags: list[Node] = []
        self._graph = graph

    def flag(self) -> Iterator[Node]:
        """Whether any check has found something; nothing if there are none."""
        if self.flags:
            whole = self.flags[0]
            for flag in self.flags[1:]:
                whole = self._graph.call_function(aten.logical_or.default, (whole, flag))
            yield whole

    def assume(self, nodes: Sequence[Node]) -> None:
        """Check that conditions hold that the recorded run took for granted."""
        if nodes:
            together = self._graph.call_function(aten.stack.default, (list(nodes),))
            hold = self._graph.call_function(aten.all.default, (together,))
            self.flags.append(self._graph.call_function(aten.logical_not.default, (hold,)))

    def visit(self, node: Node) -> None:
        """Check the arguments of an operator."""
        if node.op != "call_function" or not isinstance(node.target, OpOverload):
            return
        name = node.target._schema.name.removeprefix("aten::").rstrip("_")
        with self._graph.inserting_before(node):
            if name in _INDICES:
                self._indices(node, _INDICES[name])
            elif name in _SEVERAL:
                self._several(node)
            elif name in _CLASSES:
                scores, classes, ignored = (node.args[i] for i in _CLASSES[name])
                size = _meta(scores).shape[1 if len(_meta(scores).shape) > 1 else 0]
                self._replace(node, _CLASSES[name][1], self._in_range(classes, 0, size, ignored))
            elif name == "embedding_dense_backward":
                self._replace(node, 1, self._in_range(node.args[1], 0, node.args[2], None))
            elif name in _DIVISIONS:
                self._divisor(node)

    def _indices(self, node: Node, where: _Indices) -> None:
        dim: Any = node.args[1] if where.dim is None else where.dim
        shape = _meta(node.args[0]).shape or (1,)
        size = shape[dim]
        index = self._in_range(node.args[where.position], -size if where.wraps else 0, size, None)
        self._replace(node, where.position, index)

    def _several(self, node: Node) -> None:
        indices: Any = node.args[1]
        shape, safe = _meta(node.args[0]).shape, []
        for dim, index in enumerate(indices):
            if index is None or _meta(index).dtype not in (torch.int64, torch.int32):
                safe.append(index)
            else:
                safe.append(self._in_range(index, -shape[dim], shape[dim], None))
        self._replace(node, 1, safe)

    def _divisor(self, node: Node) -> None:
        if len(node.args) < 2 or not isinstance(node.args[1], Node):
            return
        divisor = node.args[1]
        if _meta(node).dtype not in _INTEGERS or _meta(divisor).dtype not in _INTEGERS:
            return
        bad = self._graph.call_function(aten.eq.Scalar, (divisor, 0))
        self._replace(node, 1, self._harmless(divisor, bad, 1))

    def _in_range(self, index: Any, low: int, high: Any, ignored: Any) -> Node:
        below = self._graph.call_function(aten.lt.Scalar, (index, low))
        above = self._graph.call_function(aten.ge.Scalar, (index, high))
        bad = self._graph.call_function(aten.logical_or.default, (below, above))
        if ignored is not None:
            counts = self._graph.call_function(aten.ne.Scalar, (index, ignored))
            bad = self._graph.call_function(aten.logical_and.default, (bad, counts))
        return self._harmless(index, bad, 0)

    def _harmless(self, values: Node, bad: Node, instead: int) -> Node:
        self.flags.append(self._graph.call_function(aten.any.default, (bad,)))
        return self._graph.call_function(aten.masked_fill.Scalar, (values, bad, instead))

    @staticmethod
    def _replace(node: Node, position: int, value: Any) -> None:
        args = list(node.args)
        args[position] = value
        node.args = tuple(args)


def _meta(node: Any) -> Meta:
    meta: Meta = node.meta["ember"]
    return meta
