"""The recorder: what a run does to tensors, written down operator by operator."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from ember.capture import CapturedGraph, capture
from ember.errors import CaptureError

aten = torch.ops.aten
OUTSIDE = torch.tensor([1.0, 2.0, 3.0])
SCALAR = torch.tensor(2.0)


def replayed(graph: CapturedGraph, inputs: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return list(graph.module(*[tensor.clone() for tensor in inputs], *graph.lifted))


def assert_records(program, *inputs, other=None):
    """The graph computes what the program does, also on values other than those of the recording."""
    graph = capture(program, list(inputs))
    other = [tensor * 0.5 + 0.25 for tensor in inputs] if other is None else other
    for values in (inputs, other):
        torch.manual_seed(1)
        expected = [tensor.detach() for tensor in program([tensor.clone() for tensor in values])]
        torch.manual_seed(1)
        actual = replayed(graph, list(values))
        assert len(actual) == len(expected)
        for a, b in zip(actual, expected, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    return graph


def targets(graph):
    return [node.target for node in graph.graph.nodes if node.op == "call_function"]


def x():
    return torch.tensor([0.5, 1.5, -2.0])


def gradient(loss, *inputs):
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    return list(torch.autograd.grad(loss(*leaves), leaves))


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        ctx.save_for_backward(value)
        return value**3

    @staticmethod
    def backward(ctx, upstream):
        (value,) = ctx.saved_tensors
        return 3 * upstream * value * value


def second_order(flat):
    leaf = flat[0].detach().requires_grad_()
    (first,) = torch.autograd.grad((leaf**3).sum(), leaf, create_graph=True)
    return list(torch.autograd.grad((first**2).sum(), leaf))


def in_place_below_autograd(flat):
    leaf = flat[0].detach().requires_grad_()
    y = leaf * 2
    y[1:].mul_(leaf[:-1])
    y.add_(1.0).exp_()
    return [y, *torch.autograd.grad(y.sum(), leaf)]


def transposed_in_place(flat):
    y = flat[0].reshape(3, 1) * torch.ones(1, 2)
    same = y.detach()
    y.t_()
    y.mul_(2.0)
    return [y, same, y @ same]


def several_results(flat):
    values, order = flat[0].sort()
    parts = flat[0].unbind()
    top, _ = torch.topk(flat[0], 2)
    return [values, order.float(), parts[1] - parts[0], top, torch.stack(parts[::-1])]


def by_foreach(flat):
    copies = [flat[0].clone(), flat[0] + 1]
    torch._foreach_mul_(copies, 3.0)
    return [*copies, *torch._foreach_add(copies, copies)]


PROGRAMS = {
    "gradient": lambda flat: gradient(lambda a: (a.sin() * a).sum(), flat[0]),
    "custom function": lambda flat: gradient(lambda a: Cube.apply(a).sum(), flat[0]),
    "second order": second_order,
    "in place below autograd": in_place_below_autograd,
    "layout changed in place": transposed_in_place,
    "several results": several_results,
    "foreach": by_foreach,
    "no grad": lambda flat: [torch.no_grad()(torch.matmul)(flat[0], flat[0].expand(3, 3))],
    "inference mode": lambda flat: [torch.inference_mode()(torch.matmul)(flat[0], flat[0].expand(3, 3))],
    "vmap": lambda flat: [vmap(lambda a: (a * OUTSIDE).sum() + a)(flat[0])],
    "vmap of grad": lambda flat: [vmap(grad(lambda a: (a * a.exp()).sum()))(flat[0])],
    "grad of a closure": lambda flat: [grad(lambda a: (a.cos() * flat[0]).sum())(flat[0] + 1)],
    "jacobian": lambda flat: [jacrev(lambda a: a.sin() * a.sum())(flat[0])],
    "draws": lambda flat: [torch.randn(3) + torch.rand_like(flat[0]), torch.normal(flat[0], 1.0)],
    "dropout": lambda flat: [torch.nn.functional.dropout(flat[0], 0.5)],
    "out": lambda flat: [torch.add(flat[0], 1.0, out=torch.zeros(3))],
    "data": lambda flat: [flat[0].data * 2],
    "index": lambda flat: [flat[0][torch.tensor([2, 0])], flat[0][None, :, None][..., 0]],
}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_programs(name):
    assert_records(PROGRAMS[name], x())


def test_numbers_are_inlined_and_tensors_from_outside_are_lifted():
    def program(flat):
        a = flat[0] * torch.tensor(3.0) + torch.tensor([1.0, 2.0, 3.0])
        return [a + SCALAR + OUTSIDE * OUTSIDE + SCALAR]

    graph = assert_records(program, x())
    assert [tensor.shape for tensor in graph.lifted] == [(3,), (), (3,)]
    assert graph.lifted[1] is SCALAR and graph.lifted[2] is OUTSIDE
    assert targets(graph).count(aten.full.default) == 1
    assert [node.op for node in graph.graph.nodes][:4] == ["placeholder"] * 4


def test_an_outside_tensor_may_be_the_result():
    graph = capture(lambda flat: [flat[0].detach(), OUTSIDE], [x()])
    assert graph.num_nodes == 3 and graph.lifted[0] is OUTSIDE
    graph = capture(lambda flat: [OUTSIDE + 1], [])
    assert replayed(graph, [])[0].tolist() == [2.0, 3.0, 4.0]


def test_what_nobody_uses_is_left_out_but_draws_and_changes_stay():
    def program(flat):
        flat[0].exp().sum()
        torch.rand(2)
        OUTSIDE.clone()
        flat[1].add_(1.0)
        return [flat[0] + 1]

    graph = capture(program, [x(), x()])
    assert targets(graph) == [aten.rand.default, aten.add_.Tensor, aten.add.Tensor]
    assert graph.mutated_inputs == (1,) and graph.mutated_lifted == ()


def test_values_that_follow_from_the_program_may_be_read():
    def program(flat):
        factor = torch.tensor([2.0, 3.0])
        factor.add_(1.0)
        return [flat[0] * (factor.sum().item() if bool((factor > 0).all()) else 0.0)]

    assert_records(program, x())


@pytest.mark.parametrize("through_a_view", [False, True])
def test_a_number_changed_by_data_is_no_number_of_the_program(through_a_view):
    def program(flat):
        number = torch.tensor([1.0])
        (number.view(()) if through_a_view else number).copy_(flat[0].sum())
        return [flat[0] * number.item()]

    with pytest.raises(Exception, match="_local_scalar_dense"):
        capture(program, [x()])


def test_a_drawn_number_is_none_of_the_program():
    def program(flat):
        return [flat[0] * torch.bernoulli(torch.tensor([0.5])).item()]

    with pytest.raises(Exception, match="_local_scalar_dense"):
        capture(program, [x()])


def test_refusals_of_its_own():
    with pytest.raises(CaptureError, match="generator of its own"):
        capture(lambda flat: [torch.rand(3, generator=torch.Generator())], [])
    with pytest.raises(CaptureError, match="sparse"):
        capture(lambda flat: [flat[0].to_sparse()], [x()])


class Own(Tensor):
    pass


def memory_replaced(flat):
    value = torch.zeros(3)
    value.data = flat[0] * 2
    return [value + 1]


def in_a_subclass(flat):
    return [(flat[0] + torch.ones(3).as_subclass(Own)) * 2]


@pytest.mark.parametrize("program", [memory_replaced, in_a_subclass])
def test_values_from_past_the_operators_are_never_fixed_in_the_graph(program):
    with pytest.raises(CaptureError, match="past torch's operators"):
        capture(program, [x()])


def test_intermediate_tensors_are_freed_while_the_run_goes_on():
    counts = []

    def program(flat):
        alive, value = [], flat[0]
        for _ in range(50):
            value = value * 1.01
            alive.append(weakref.ref(value))
        counts.append(sum(ref() is not None for ref in alive))
        return [value]

    assert_records(program, x())
    assert counts[0] <= 2


def test_identities_and_addresses_that_are_used_again():
    def program(flat):
        total = flat[0]
        for step in range(200):
            # Each of these is freed at once, and the next one takes its place.
            total = total + (flat[0] * step).sin().clone()
        return [total]

    graph = assert_records(program, x())
    made = [node.meta["ember"].storage for node in graph.graph.nodes if node.op == "call_function"]
    assert len(set(made)) == len(made) == 800


def test_nothing_is_kept_of_a_run():
    class Kept(list):
        pass

    kept = Kept([torch.ones(3)])
    gone = weakref.ref(kept[0])
    graph = capture(lambda flat: [flat[0] + 1], kept)
    kept.clear()
    gc.collect()
    assert gone() is None and graph.num_nodes == 3


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_before(enabled):
    def failing(flat):
        assert not gc.isenabled()
        raise LookupError

    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        capture(lambda flat: [flat[0] + 1], [x()])
        assert gc.isenabled() == enabled
        with pytest.raises(LookupError):
            capture(failing, [x()])
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_running_statistics_of_batch_norm():
    norm = torch.nn.BatchNorm1d(3)
    graph = capture(lambda flat: [norm(flat[0])], [torch.randn(4, 3)])
    assert {id(graph.lifted[index]) for index in graph.mutated_lifted} == {
        id(norm.running_mean),
        id(norm.running_var),
        id(norm.num_batches_tracked),
    }
    assert norm.num_batches_tracked.item() == 0 and norm.running_mean.eq(0).all()
