"""Dropout's draws, out of place.

Dropout draws into an empty tensor; Inductor (torch 2.13) then computes with the memory before it is filled. The draw becomes one
that makes its tensor, with the same numbers at the same places: into memory that does not lie row by row, torch draws either in
the order of memory or in that of the indices, as the library does that it was built with.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import count

import torch
from torch.fx import Graph, Node

from ember.capture.recording.meta import Meta

aten = torch.ops.aten


def draw_out_of_place(graph: Graph) -> None:
    """Replace each draw into a tensor that is made for it and used for nothing else."""
    storages = count(-2, -1)
    for node in graph.find_nodes(op="call_function", target=aten.bernoulli_.float):
        empty = node.args[0]
        if empty.target is aten.empty_like.default and len(empty.users) == 1:
            # An argument that has its default value is left out of a graph.
            probability = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
            with graph.inserting_before(node):
                drawn = _Draw(graph, node, next(storages)).made(empty.args[0], probability)
            node.replace_all_uses_with(drawn)
            graph.erase_node(node)
            graph.erase_node(empty)


class _Draw:
    """Writes one draw into a graph."""

    def __init__(self, graph: Graph, old: Node, storage: int) -> None:
        self._graph = graph
        self._old = old
        self._meta: Meta = old.meta["ember"]
        self._storage = storage
        """Of tensors that the graph did not have."""
        strides = self._meta.stride
        self._order = sorted(range(len(strides)), key=lambda d: (-strides[d], d))

    def made(self, like: Node, probability: object) -> Node:
        """The node of what is drawn, laid out as the old one."""
        meta = self._meta
        if _row_by_row(meta.shape, meta.stride):
            return self._node(aten.bernoulli.p, (like, probability), meta)
        shape = [meta.shape[d] for d in self._order]
        if _draws_by_memory():
            empty = self._node(aten.new_empty.default, (like, shape), self._fresh(shape))
            drawn = self._node(aten.bernoulli.p, (empty, probability), self._dense(shape))
        else:
            logical = self._node(aten.bernoulli.p, (like, probability), self._fresh(meta.shape))
            turned = self._node(aten.permute.default, (logical, self._order), self._turned())
            form: dict[str, object] = {"memory_format": torch.contiguous_format}
            drawn = self._node(aten.clone.default, (turned,), self._dense(shape), form)
        back = [self._order.index(d) for d in range(len(shape))]
        return self._node(aten.permute.default, (drawn, back), meta)

    def _node(
        self, target: object, args: tuple[object, ...], meta: Meta, named: dict[str, object] | None = None
    ) -> Node:
        made = self._graph.call_function(target, args, named)  # type: ignore[arg-type]
        made.meta.update(self._old.meta)
        made.meta["ember"] = meta
        return made

    def _dense(self, shape: Sequence[int]) -> Meta:
        """Of a tensor row by row, in the memory of the result."""
        meta = self._meta
        return Meta(meta.dtype, tuple(shape), _contiguous(shape), 0, meta.storage, meta.device)

    def _fresh(self, shape: Sequence[int]) -> Meta:
        """Of a tensor row by row, in memory of its own."""
        meta = self._meta
        return Meta(meta.dtype, tuple(shape), _contiguous(shape), 0, self._storage, meta.device)

    def _turned(self) -> Meta:
        """Of a tensor in memory of its own, seen in the order of the result's memory."""
        whole = self._fresh(self._meta.shape)
        shape = tuple(whole.shape[d] for d in self._order)
        strides = tuple(whole.stride[d] for d in self._order)
        return Meta(whole.dtype, shape, strides, 0, whole.storage, whole.device)


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(torch.empty(tuple(shape), device="meta").stride())


def _row_by_row(shape: Sequence[int], strides: Sequence[int]) -> bool:
    dense = _contiguous(shape)
    return 0 in shape or all(n == 1 or s == d for n, s, d in zip(shape, strides, dense, strict=True))


@functools.cache
def _draws_by_memory() -> bool:
    """Whether this torch fills a matrix that lies column by column in the order of its memory."""
    across, along = (torch.Generator().manual_seed(1) for _ in range(2))
    columns = torch.empty(40, 30).t().bernoulli_(0.5, generator=across)
    return torch.equal(columns.t(), torch.empty(40, 30).bernoulli_(0.5, generator=along))
