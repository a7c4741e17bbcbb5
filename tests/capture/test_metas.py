"""Metas of recorded operators: layouts, and which tensors share memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ember.capture import capture
from ember.capture.recording.meta import Meta

aten = torch.ops.aten


def nodes_of(program, *inputs):
    graph = capture(program, list(inputs)).graph
    return {node.target if node.op == "call_function" else node.name: node for node in graph.nodes}


def meta(nodes, target) -> Meta:
    return nodes[target].meta["ember"]


def test_views_of_views_share_their_storage():
    def program(flat):
        matrix = flat[0] * 2
        part = matrix[1:3]
        turned = part.t()
        return [turned.unsqueeze(0).expand(5, 4, 2).reshape(40) + turned.sum()]

    nodes = nodes_of(program, torch.ones(3, 4))
    made = meta(nodes, aten.mul.Tensor)
    assert (made.dtype, made.shape, made.stride, made.offset) == (torch.float32, (3, 4), (4, 1), 0)
    assert made.device == "cpu" and made.storage != meta(nodes, "input_0").storage
    turned = meta(nodes, aten.t.default)
    assert (turned.shape, turned.stride, turned.offset) == ((4, 2), (1, 4), 4)
    expanded = meta(nodes, aten.expand.default)
    assert (expanded.shape, expanded.stride, expanded.offset) == ((5, 4, 2), (0, 1, 4), 4)
    views = [aten.slice.Tensor, aten.t.default, aten.unsqueeze.default, aten.expand.default]
    assert {meta(nodes, view).storage for view in views} == {made.storage}
    assert meta(nodes, aten.clone.default).storage != made.storage


def test_changes_of_overlapping_slices():
    def program(flat):
        buffer = torch.zeros(6)
        buffer[0:4].add_(flat[0])
        buffer[2:6].mul_(3.0)
        flat[0].add_(1.0)
        return [buffer]

    graph = capture(program, [torch.ones(4)])
    metas = [node.meta["ember"] for node in graph.graph.nodes if node.op == "call_function"]
    zeros, first, added, second, multiplied, outside = metas
    assert {m.storage for m in (zeros, first, added, second, multiplied)} == {zeros.storage}
    assert (added.offset, added.shape, multiplied.offset, multiplied.shape) == (0, (4,), 2, (4,))
    placeholder = next(iter(graph.graph.nodes)).meta["ember"]
    assert outside == placeholder and placeholder.storage != zeros.storage


def test_inputs_that_share_memory():
    whole = torch.arange(6.0)
    nodes = nodes_of(lambda flat: [flat[0] + flat[1] + whole[:2]], whole[:2], whole[4:])
    metas = [meta(nodes, name) for name in ("input_0", "input_1", "lifted_0")]
    assert len({m.storage for m in metas}) == 1
    assert [m.offset for m in metas] == [0, 4, 0]


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), (1,), (1, 1), ()])
def test_small_sizes(shape):
    def program(flat):
        return [(flat[0] + 1).sum(), flat[0].exp().unsqueeze(0).expand(3, *shape)]

    example = torch.ones(shape)
    nodes = nodes_of(program, example)
    assert meta(nodes, aten.add.Tensor).shape == shape
    assert meta(nodes, aten.add.Tensor).stride == example.stride()
    expanded = example.unsqueeze(0).expand(3, *shape)
    assert meta(nodes, aten.expand.default).stride == expanded.stride()
    assert meta(nodes, aten.sum.default).shape == ()


def test_several_results_and_none():
    def program(flat):
        values, order = flat[0].sort()
        first, second = values.split([1, 2])
        torch._assert_async(first.sum() < 100)
        return [first + second, order]

    graph = capture(program, [torch.tensor([3.0, 1.0, 2.0])])
    by_target = {}
    for node in graph.graph.nodes:
        by_target.setdefault(node.target, []).append(node)
    sort = by_target[aten.sort.default][0].meta["ember"]
    assert [m.dtype for m in sort] == [torch.float32, torch.int64]
    pieces = by_target[aten.split_with_sizes.default][0].meta["ember"]
    assert [(m.offset, m.storage) for m in pieces] == [(0, sort[0].storage), (1, sort[0].storage)]
    items = [node for target, nodes in by_target.items() for node in nodes if "getitem" in str(target)]
    assert [item.meta["ember"] for item in items[:2]] == list(sort)
    assert by_target[aten._assert_async.default][0].meta["ember"] is None


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.sampled_from(["t", "slice", "expand", "unsqueeze", "flip", "select", "diagonal"]), max_size=6
    )
)
def test_layouts_are_those_of_the_run(steps):
    seen = []

    def program(flat):
        tensor = flat[0] * 1.0
        for step in steps:
            if step == "t" and tensor.dim() > 1:
                tensor = tensor.transpose(0, -1)
            elif step == "slice" and tensor.dim():
                tensor = tensor[1:]
            elif step == "expand":
                tensor = tensor.expand(2, *tensor.shape)
            elif step == "unsqueeze":
                tensor = tensor.unsqueeze(-1)
            elif step == "flip" and tensor.dim():
                tensor = tensor.flip(0)
            elif step == "select" and tensor.dim() and tensor.shape[-1]:
                tensor = tensor.select(-1, tensor.shape[-1] - 1)
            elif step == "diagonal" and tensor.dim() > 1:
                tensor = tensor.diagonal()
            seen.append(tensor)
        seen[:] = [tensor]
        return [tensor]

    graph = capture(program, [torch.randn(3, 4)])
    (tensor,) = seen
    result = next(iter(reversed(graph.graph.nodes))).args[0][0].meta["ember"]
    assert (result.shape, result.stride, result.offset) == (
        tuple(tensor.shape),
        tensor.stride(),
        tensor.storage_offset(),
    )
