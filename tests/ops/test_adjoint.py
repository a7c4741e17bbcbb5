"""The way back: maximisers, samples and marginals of random plated factor graphs against the whole joint table."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch import Tensor

from ember.ops.contract import einsum
from ember.ops.einsum import contract
from ember.ops.einsum.adjoint import SAMPLE_SYMBOL, require_backward, unflatten
from ember.ops.packed import dims_of, gather, tagged
from tests.ops.factor_graphs import FactorGraph, Variable, random_graphs

BACKEND = "ember.ops.einsum.torch_"


def messages(graph: FactorGraph, operands: list[Tensor], kind: str) -> list[Tensor | None] | None:
    """What each factor is told, or None if the graph is refused."""
    for operand, dims in zip(operands, graph.inputs, strict=True):
        tagged(operand, dims)
        require_backward(operand)
    try:
        (result,) = einsum(graph.equation, *operands, plates=graph.plates, backend=BACKEND + kind)
    except NotImplementedError:
        return None
    result._pyro_backward()  # type: ignore[attr-defined]
    return [operand._pyro_backward_result for operand in operands]  # type: ignore[attr-defined]


def assignment(
    graph: FactorGraph, told: list[Tensor | None], rows: int | None = None
) -> dict[Variable, Tensor]:
    """The value of each variable, which all factors must have been told alike; with a leading dim of ``rows``."""
    values: dict[Variable, Tensor] = {}
    for dims, message in zip(graph.inputs, told, strict=True):
        variables = [d for d in dims if d not in graph.plates and d != "N"]
        if not variables:
            assert message is None
            continue
        assert message is not None and message._pyro_sample_dims  # type: ignore[attr-defined]
        order: str = message._pyro_sample_dims  # type: ignore[attr-defined]
        assert sorted(order) == sorted(variables) and dims_of(message)[0] == SAMPLE_SYMBOL
        inner = dims_of(message)[1:]
        for row, own in graph.slices(dims.replace("N", "")):
            for name, places in own:
                value = message[order.index(name)]
                value = value[tuple(row[d] if d in row else slice(None) for d in inner)]
                value = value if rows is None else value.expand(rows)
                known = values.setdefault((name, places), value)
                assert torch.equal(known, value)
    return values


def test_maximisers_reach_the_maximum_of_the_joint_table() -> None:
    torch.manual_seed(0)
    reached = 0
    for graph in random_graphs(300, seed=3):
        operands = graph.operands(zeros=0.2)
        told = messages(graph, operands, "map")
        joint = graph.joint(operands)
        if told is None or not bool(joint.max().isfinite()):
            continue
        values = assignment(graph, told)
        assert set(values) == set(graph.variables())
        place = tuple(int(values[variable]) for variable in graph.variables())
        torch.testing.assert_close(joint[place], joint.max())
        reached += 1
    assert reached > 120


def test_marginals_are_those_of_the_joint_table() -> None:
    torch.manual_seed(0)
    checked = 0
    for graph in random_graphs(300, seed=4):
        operands = graph.operands(zeros=0.2)
        told = messages(graph, operands, "marginal")
        if told is None:
            continue
        joint = graph.joint(operands)
        axes = {variable: axis for axis, variable in enumerate(graph.variables())}
        for dims, message in zip(graph.inputs, told, strict=True):
            if message is None:
                continue
            for row, own in graph.slices(dims):
                kept = [axes[variable] for variable in own]
                summed = [axis for axis in range(joint.dim()) if axis not in kept]
                expected = joint.exp().sum(summed) if summed else joint.exp()
                order = sorted(range(len(kept)), key=lambda place: kept[place])
                expected = expected.permute([order.index(place) for place in range(len(kept))])
                actual = message[tuple(row.get(d, slice(None)) for d in dims)]
                torch.testing.assert_close(actual.exp(), expected)
                checked += 1
    assert checked > 500


def test_samples_have_the_frequencies_of_the_joint_table() -> None:
    torch.manual_seed(0)
    n, checked = 4000, 0
    for graph in random_graphs(80, seed=5, most_entries=64):
        operands = graph.operands(zeros=0.2)
        joint = graph.joint(operands)
        if not bool(joint.max().isfinite()):
            continue
        # A plate around everything makes n independent draws in one pass.
        many = FactorGraph(
            ["N" + dims for dims in graph.inputs], graph.plates + "N", {**graph.sizes, "N": n}, graph.home
        )
        told = messages(many, [x.expand(n, *x.shape) for x in operands], "sample")
        if told is None or not graph.variables():
            continue
        values = assignment(graph, told, rows=n)
        flat = torch.zeros(n, dtype=torch.long)
        for variable, size in zip(graph.variables(), joint.shape, strict=True):
            flat = flat * size + values[variable]
        expected = joint.flatten().softmax(0)
        frequency = torch.bincount(flat, minlength=joint.numel()) / n
        assert bool((frequency[expected == 0] == 0).all())
        error = (expected * (1 - expected) / n).sqrt()
        assert bool(((frequency - expected).abs() <= 5 * error + 2 / n).all())  # 5 standard errors
        checked += 1
    assert checked > 40


def test_a_sample_of_zeros_and_one_is_the_one() -> None:
    torch.manual_seed(0)
    for place in range(5):
        logits = torch.full((1000, 5), -torch.inf)
        logits[:, place] = -300.0
        (told,) = messages(FactorGraph(["ia"], "i", {"i": 1000, "a": 5}, {"a": "i"}), [logits], "sample") or [
            None
        ]
        assert told is not None and bool((told == place).all())


def test_operands_without_a_wish_get_no_message() -> None:
    x, y = tagged(torch.randn(2, 3), "ab"), tagged(torch.randn(3), "b")
    require_backward(x)
    contract("ab,b->", x, y, backend=BACKEND + "map")._pyro_backward()
    assert x._pyro_backward_result.shape == (2,)  # type: ignore[attr-defined]
    assert not hasattr(y, "_pyro_backward_result")
    assert not hasattr(contract("b->", y, backend=BACKEND + "map"), "_pyro_backward")


def test_the_way_back_is_as_long_as_a_chain_may_be() -> None:
    torch.manual_seed(0)
    length = 1500  # beyond what recursion would allow
    letters = [chr(200 + k) for k in range(length)]
    inputs = [first + second for first, second in itertools.pairwise(letters)]
    operands = [tagged(torch.randn(2, 2), dims) for dims in inputs]
    for operand in operands:
        require_backward(operand)
    result = contract(",".join(inputs) + "->", *operands, backend=BACKEND + "map")
    result._pyro_backward()
    total = 0.0
    for operand in operands:
        message = operand._pyro_backward_result  # type: ignore[attr-defined]
        values = dict(zip(message._pyro_sample_dims, message.tolist(), strict=True))
        total += float(operand[tuple(values[d] for d in dims_of(operand))])
    assert total == pytest.approx(float(result), rel=1e-5)


def test_unflatten_is_the_inverse_of_flattening() -> None:
    rng = random.Random(0)
    for _ in range(20):
        shape = [rng.randint(1, 4) for _ in range(rng.randint(1, 3))]
        table = torch.arange(int(torch.tensor(shape).prod()))
        places = unflatten(table, "z", "abc"[: len(shape)], shape)
        assert dims_of(places) == SAMPLE_SYMBOL + "z"
        assert torch.equal(table.reshape(shape)[tuple(places)], table)


def test_values_gathered_by_a_message_are_the_maximum() -> None:
    x = tagged(torch.randn(3, 4), "ab")
    require_backward(x)
    best = contract("ab->a", x, backend=BACKEND + "map")
    best._pyro_backward()
    message = x._pyro_backward_result  # type: ignore[attr-defined]
    torch.testing.assert_close(gather(x, tagged(message[0], "a"), "b"), best)
