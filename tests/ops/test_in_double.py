"""Programs written for float32 compute in float64, and nothing that exists is changed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ember.ops.in_double import InDouble

WIDE = torch.tensor([0.3, 0.7], dtype=torch.float64)
NARROW = torch.tensor([0.1, 0.2])

PROGRAMS: dict[str, Callable[[], Tensor]] = {
    "matrix product of both": lambda: torch.eye(2) @ WIDE,
    "factory": lambda: torch.zeros(3),
    "literal": lambda: torch.tensor([0.5]),
    "dtype of another": lambda: torch.zeros(2, dtype=NARROW.dtype) + NARROW,
    "explicit cast": lambda: WIDE.float().exp(),
    "to a dtype": lambda: WIDE.to(torch.float32),
    "list of tensors": lambda: torch.stack([NARROW, WIDE]),
    "keyword": lambda: torch.where(NARROW > 0.15, input=WIDE, other=NARROW),
    "linear layer": lambda: torch.nn.functional.linear(WIDE, torch.ones(1, 2), torch.zeros(1)),
    "decomposition": lambda: torch.linalg.cholesky(torch.eye(2) * NARROW),
    "distribution": lambda: torch.distributions.Normal(0.0, 1.0).log_prob(NARROW),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_are_double(name: str) -> None:
    with InDouble():
        assert PROGRAMS[name]().dtype == torch.float64


def test_integers_and_booleans_stay() -> None:
    with InDouble():
        assert torch.arange(3).dtype == torch.int64
        assert (NARROW > 0).dtype == torch.bool


def test_numbers_are_those_of_double_precision() -> None:
    x = torch.linspace(0.1, 1.0, 50)
    with InDouble():
        narrow = torch.logsumexp(torch.cdist(x[:, None], x[:, None]).sin(), 0)
    wide = torch.logsumexp(torch.cdist(x.double()[:, None], x.double()[:, None]).sin(), 0)
    torch.testing.assert_close(narrow, wide, rtol=1e-14, atol=0)


def test_writing_into_tensors_writes_into_them() -> None:
    kept = torch.zeros(2)
    with InDouble():
        kept[0] = WIDE[1]
        kept.add_(WIDE)
        made = torch.zeros(2)
        made[1] = WIDE[0]
    assert kept.dtype == torch.float32
    torch.testing.assert_close(kept, torch.tensor([1.0, 0.7]))
    assert made.tolist() == [0.0, 0.3]


def test_derivatives_pass_through() -> None:
    x = WIDE.clone().requires_grad_()
    weight = torch.ones(2, 2, requires_grad=True)
    with InDouble():
        loss = (weight @ x).square().sum()
        grad = torch.autograd.grad(loss, [x, weight])
    assert [g.dtype for g in grad] == [torch.float64, torch.float32]
    torch.testing.assert_close(grad[0], torch.full((2,), 4.0, dtype=torch.float64))


def test_other_threads_and_later_code_are_left_alone() -> None:
    found: list[torch.dtype] = []
    with InDouble():
        thread = threading.Thread(target=lambda: found.append(torch.zeros(1).dtype))
        thread.start()
        thread.join()
    assert found == [torch.float32]
    assert torch.zeros(1).dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32
