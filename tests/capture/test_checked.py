"""Data that torch raises for, in the backends that make no such checks themselves: torch's error, and nothing has changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ember.capture.backend import Inductor, Interpreter
from ember.capture.checked import CheckedGraph
from ember.capture.recording.graph import capture
from tests.capture.native.test_failures import (
    CALLS,
    DIVISIONS,
    ROWS,
    WRAPPING,
    Case,
    inputs,
    raised_by_torch,
    step,
)

BAD = [
    *((name, case, bad) for name, case in ROWS.items() for bad in (-1, 3, -4, 2**40)),
    *((name, case, bad) for name, case in WRAPPING.items() for bad in (3, -4, 2**40)),
    *((name, case, 0) for name, case in DIVISIONS.items()),
    *((name, case, -3) for name, case in CALLS.items()),
]


@pytest.mark.parametrize(("name", "case", "bad"), BAD, ids=[f"{name}-{bad}" for name, _, bad in BAD])
def test_operator_by_operator(name: str, case: Case, bad: int) -> None:
    given = inputs(2, 1)
    graph = capture(step(case), given)
    program = Interpreter().compile(graph, [*given, *graph.lifted])
    flat, before = [*inputs(1, bad), *graph.lifted], torch.get_rng_state()
    expected = raised_by_torch(case, inputs(1, bad))
    with pytest.raises(type(expected)) as info:
        program(flat)
    assert str(info.value).splitlines()[0][:40] == str(expected).splitlines()[0][:40]
    assert "test_failures.py" in info.value.__notes__[0]
    assert all(map(torch.equal, flat, inputs(1, bad))) and torch.equal(torch.get_rng_state(), before)
    outputs = program([*inputs(2, 1), *graph.lifted])
    torch.set_rng_state(before)
    assert all(map(torch.equal, outputs, step(case)(inputs(2, 1))))


# One program of a few of each: Inductor's compiler takes seconds for every operator.
FEW = ("gather", "index_select", "embedding", "Categorical", "index", "//")
KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    name: case for name, case in {**ROWS, **WRAPPING, **DIVISIONS}.items() if name in FEW
}


def all_together(flat: list[Tensor]) -> list[Tensor]:
    x, count, *integers = flat
    count.add_(1)
    total = torch.randn((), dtype=x.dtype)
    for case, i in zip(KINDS.values(), integers, strict=True):
        total = total + case(x, i).sum()
    x.sub_(0.1 * total)
    return [total]


def test_all_by_inductor() -> None:
    def given(wrong: str = "", bad: int = 0) -> list[Tensor]:
        table = torch.arange(12.0, dtype=torch.float64).reshape(3, 4) / 7
        return [table, torch.zeros(()), *(torch.tensor([1, bad if name == wrong else 2]) for name in KINDS)]

    graph = capture(all_together, given())
    program = Inductor().compile(graph, [*given(), *graph.lifted])
    for name in KINDS:
        for bad in (0,) if name in DIVISIONS else (3, -4) if name in WRAPPING else (-1, 3):
            flat, before = [*given(name, bad), *graph.lifted], torch.get_rng_state()
            expected = raised_by_torch(KINDS[name], [flat[0], torch.tensor([1, bad])])
            with pytest.raises(type(expected)) as info:
                list(program.run(flat, 2))
            assert str(info.value).splitlines()[0][:40] == str(expected).splitlines()[0][:40], name
            assert all(map(torch.equal, flat, given(name, bad))) and torch.equal(
                torch.get_rng_state(), before
            )
    torch.manual_seed(4)
    flat, expected_flat = given(), given()
    loss = program([*flat, *graph.lifted])[0]
    torch.manual_seed(4)
    torch.testing.assert_close(loss, all_together(expected_flat)[0])
    torch.testing.assert_close(flat, expected_flat)


def test_a_class_to_ignore_is_no_error() -> None:
    def loss(flat: list[Tensor]) -> list[Tensor]:
        return [F.cross_entropy(flat[0], flat[1], ignore_index=-7)]

    scores, classes = torch.eye(3), torch.tensor([0, -7, 2])
    graph = capture(loss, [scores, classes])
    program = Interpreter().compile(graph, [scores, classes])
    assert torch.equal(program([scores, classes])[0], loss([scores, classes])[0])
    with pytest.raises(IndexError, match="Target -6 is out of bounds"):
        program([scores, torch.tensor([0, -6, 2])])


def test_what_cannot_fail_is_left_alone() -> None:
    graph = capture(lambda flat: [(flat[0] * 2 // 3).sum() + flat[0].exp().sum()], [torch.ones(3)])
    checked = CheckedGraph(graph, [torch.ones(3)])
    assert not checked.can_fail and not checked.has_flag
    assert len(checked.module.graph.nodes) == graph.num_nodes


def test_an_index_that_is_changed_in_place() -> None:
    def twice(flat: list[Tensor]) -> list[Tensor]:
        x, i = flat
        first = x.gather(0, i).sum()
        i.add_(2)
        return [first + x.gather(0, i).sum()]

    given = [torch.arange(4.0), torch.tensor([0, 1])]
    graph = capture(twice, [tensor.clone() for tensor in given])
    program = Interpreter().compile(graph, given)
    assert program([tensor.clone() for tensor in given])[0] == 6.0
    bad = [given[0], torch.tensor([0, 2])]
    with pytest.raises(RuntimeError, match="index 4 is out of bounds"):
        program(bad)
    assert bad[1].tolist() == [0, 2]
