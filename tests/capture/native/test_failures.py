"""Data that torch raises for: a program raises the same, and has changed nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ember import distributions as dist

from .programs import Compiled, assert_same, check, twin

Case = Callable[[Tensor, Tensor], Tensor]
"""Of a table of numbers with three rows, and two integers."""

ROWS: dict[str, Case] = {
    "gather": lambda x, i: x.gather(0, i.unsqueeze(-1)),
    "index_select": lambda x, i: x.index_select(0, i),
    "embedding": lambda x, i: F.embedding(i, x),
    "scatter": lambda x, i: x.scatter(0, i.unsqueeze(-1), 1.0),
    "scatter of tensors": lambda x, i: x.scatter(0, i.unsqueeze(-1), x[:2] * 2),
    "scatter_add": lambda x, i: x.scatter_add(0, i.unsqueeze(-1), x[:2] * 2),
    "index_add": lambda x, i: x.index_add(0, i, x[:2] * 2),
    "index_copy": lambda x, i: x.index_copy(0, i, x[:2] * 2),
    "nll_loss": lambda x, i: F.nll_loss(x[:2, :3], i),
    "cross_entropy": lambda x, i: F.cross_entropy(x[:2, :3], i),
    "Categorical": lambda x, i: dist.Categorical(logits=x[:2, :3], validate_args=False).log_prob(i),
}
# Here a negative index counts from the end.
WRAPPING: dict[str, Case] = {
    "index": lambda x, i: x[i],
    "index_put": lambda x, i: x.index_put((i,), x[:2] * 2),
    "index_put that adds": lambda x, i: x.index_put((i,), x[:2] * 2, accumulate=True),
    "index_fill": lambda x, i: x.index_fill(0, i, 2.0),
}
DIVISIONS: dict[str, Case] = {
    "//": lambda x, i: 7 // i,
    "%": lambda x, i: 7 % i,
    "fmod": lambda x, i: torch.fmod(i + 5, i),
    "div": lambda x, i: torch.div(i + 5, i, rounding_mode="trunc"),
    "// of int32": lambda x, i: 7 // i.int(),
}

CALLS: dict[str, Case] = {
    "cholesky": lambda x, i: torch.linalg.cholesky(torch.diag(i.to(x.dtype))),
    "multinomial": lambda x, i: torch.multinomial(i.to(x.dtype), 1),
}


def step(case: Case) -> Callable[[list[Tensor]], list[Tensor]]:
    """A step that changes one input before it can fail, draws before and afterwards, and changes others at the end."""

    def run(flat: list[Tensor]) -> list[Tensor]:
        x, i, count, wide = flat
        count.add_(1)
        wide.mul_(0.5)
        noise = torch.randn(3, dtype=torch.float64)
        value = case(x, i).sum() + noise.sum()
        other = torch.rand(3)
        x.sub_(0.1 * value)
        return [value, other]

    return run


def inputs(*integers: int) -> list[Tensor]:
    """A table, two integers, a count and an array that large loops go over."""
    table = torch.arange(12.0, dtype=torch.float64).reshape(3, 4) / 7
    return [table, torch.tensor(integers), torch.zeros(()), torch.ones(3, 4)]


def raised_by_torch(case: Case, given: list[Tensor]) -> Exception:
    with pytest.raises((IndexError, RuntimeError)) as info:
        case(*given[:2])
    return info.value


def assert_fails_as_torch(compiled: Compiled, case: Case, *integers: int) -> None:
    expected = raised_by_torch(case, inputs(*integers))
    for many in (False, True):
        flat = [*map(twin, inputs(*integers)), *compiled.graph.lifted]
        torch.manual_seed(5)
        torch.randn(3)
        before = torch.get_rng_state()
        with pytest.raises(type(expected)) as info:
            list(compiled.program.run(flat, 3)) if many else compiled.program(flat)
        assert str(info.value).startswith(str(expected).splitlines()[0][:40])
        assert "test_failures.py" in info.value.__notes__[0]
        assert_same(flat[:4], inputs(*integers))
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ROWS)
def test_an_index_out_of_range(name: str) -> None:
    compiled = check(step(ROWS[name]), *inputs(0, 2), steps=2)
    for bad in (-1, 3, -4, 2**40):
        assert_fails_as_torch(compiled, ROWS[name], 1, bad)
    assert_same(compiled.outcome(inputs(2, 1)), compiled.expected(inputs(2, 1)))


@pytest.mark.parametrize("name", WRAPPING)
def test_a_negative_index_where_it_counts_from_the_end(name: str) -> None:
    compiled = check(step(WRAPPING[name]), *inputs(0, -1), steps=2)
    for bad in (3, -4, 2**40):
        assert_fails_as_torch(compiled, WRAPPING[name], 1, bad)


@pytest.mark.parametrize("name", DIVISIONS)
def test_a_division_of_integers_by_zero(name: str) -> None:
    compiled = check(step(DIVISIONS[name]), *inputs(2, -3), steps=2)
    assert_fails_as_torch(compiled, DIVISIONS[name], 2, 0)


@pytest.mark.parametrize("name", CALLS)
def test_an_operator_that_torch_runs(name: str) -> None:
    compiled = check(step(CALLS[name]), *inputs(2, 3), steps=2)
    assert_fails_as_torch(compiled, CALLS[name], 2, -3)


def test_a_divisor_that_is_a_number_is_not_looked_at() -> None:
    program = check(lambda flat: [flat[0] // 3, flat[0] % -2], torch.arange(-5, 5)).program
    assert "bad |= (" not in program.source


def test_a_class_that_one_hot_does_not_have() -> None:
    def encoded(flat: list[Tensor]) -> list[Tensor]:
        return [F.one_hot(flat[0], 3)]

    compiled = check(encoded, torch.tensor([[0, 2], [1, 1]]))
    for bad in (3, -1):
        with pytest.raises(RuntimeError, match="out of bounds"):
            compiled.program([torch.tensor([[0, 1], [bad, 2]]), *compiled.graph.lifted])


@pytest.mark.parametrize("source", [torch.float32, torch.float64])
@pytest.mark.parametrize("to", [torch.uint8, torch.int32, torch.int64])
def test_floats_that_do_not_fit_an_integer(source: torch.dtype, to: torch.dtype) -> None:
    numbers = [-1.5, -100.0, 300.7, 1e10, 3e9, -3e9, 3000000255.0, 1e20, -1e20, 2.0**63, -(2.0**63), 2.0**31]
    values = torch.tensor([*numbers, float("inf"), float("-inf"), float("nan")], dtype=source).repeat(5)
    compiled = Compiled(lambda flat: [flat[0].to(to)], [torch.ones_like(values)])
    assert_same(compiled.outcome([values]), compiled.expected([values]))


def test_the_same_loop_many_times_over() -> None:
    """Loops that become one function of C stop the step, too."""

    def many(flat: list[Tensor]) -> list[Tensor]:
        x, i, count, _ = flat
        total = x.gather(0, i.unsqueeze(-1)).sum()
        for _ in range(6):
            total = total + torch.tanh(total + x.gather(0, i.unsqueeze(-1) + 0)).sum()
        count.add_(total)
        return [total]

    compiled = check(many, *inputs(0, 2))
    flat = [*map(twin, inputs(0, -1)), *compiled.graph.lifted]
    with pytest.raises(RuntimeError, match="index -1 is out of bounds"):
        compiled.program(flat)
    assert_same(flat[:4], inputs(0, -1))
