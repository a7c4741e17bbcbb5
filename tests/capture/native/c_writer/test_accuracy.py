"""Single precision: long sums, products of matrices and normalised exponentials stay close to those in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.capture.native.programs import Compiled

N = 1_000_000


def sums(flat: list[Tensor]) -> list[Tensor]:
    (x,) = flat
    rows, tall = x.view(1000, 1000), x.view(-1, 4)
    return [
        x.sum(),
        x.mean(),
        (x * x).sum(),
        rows.sum(0),
        rows.sum(1),
        rows.t().sum(0),
        tall.sum(0),
        tall.mean(0),
        (tall * tall).sum(0),
        x.view(100, 100, 100).sum((0, 2)),
        x.view(100, 100, 100).sum(1),
        (rows.exp() * 0.5).sum((0, 1)),
        torch.stack([x, x]).sum(),
        x[::3].sum(),
        x.view(50, 4, 5000).sum((0, 2)),
        (x.view(1000, 10, 100) * x.view(1000, 10, 100)).sum((0, 2)),
        x.view(1000, 100, 10).transpose(0, 1).sum((0, 1)),
    ]


def products(flat: list[Tensor]) -> list[Tensor]:
    (x,) = flat
    a, b = x[:300_000].view(300, 1000), x[300_000:600_000].view(1000, 300)
    thin = x.view(-1, 10)
    return [
        a @ b,
        b @ a[:, :300],
        thin.t() @ thin,
        thin @ thin[0],
        thin[:, 0] @ thin[:, 1],
        a @ b[:, :1],
        a[:1] @ b,
        a[:3] @ b[:, :2],
    ]


def normalised(flat: list[Tensor]) -> list[Tensor]:
    (x,) = flat
    rows = x.view(1000, 1000) * 20
    return [
        torch.log_softmax(rows, -1),
        torch.softmax(rows, 0),
        torch.logsumexp(rows, -1),
        torch.logsumexp(rows, 0),
        torch.logsumexp(rows.flatten(), 0),
        rows.var(0),
        rows.std(),
    ]


@pytest.mark.parametrize("function", [sums, products, normalised], ids=lambda f: f.__name__)
def test_single_precision(function):
    x = torch.rand(N, generator=torch.Generator().manual_seed(0)) + 0.1
    compiled = Compiled(function, [x])
    actual = compiled.outcome([x])[:-2]
    expected, eager = function([x.double()]), function([x])
    for number, (a, b, theirs) in enumerate(zip(actual, expected, eager, strict=True)):
        assert a.dtype is torch.float32
        # All terms are positive, so that errors are relative to the result; logarithms are relative to the largest.
        size = b.abs().clamp(min=1) if function is normalised else b.abs()
        error = ((a.double() - b).abs() / size).max()
        # Large products are torch's own.
        bound = max(
            3e-6, 1.1 * ((theirs.double() - b).abs() / size).max().item() if function is products else 0.0
        )
        assert error < bound, f"{function.__name__} {number}: {error:.2e}"


def test_products_of_long_columns_are_added_up_in_blocks():
    ones = torch.full((2**24 + 8,), 1.0)
    compiled = Compiled(lambda flat: [flat[0].sum(), (flat[0] * 0.25).view(-1, 8).sum(0)], [ones])
    total, columns = compiled.outcome([ones])[:2]
    # A plain sum in single precision stops at 2**24.
    assert total.item() == 2**24 + 8
    assert columns.tolist() == [(2**24 + 8) / 32] * 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_exponentials_down_to_zero(dtype):
    lowest = -110.0 if dtype is torch.float32 else -760.0
    x = torch.cat(
        [
            torch.linspace(lowest, 10.0, 40_001, dtype=dtype),
            torch.tensor([-torch.inf, torch.inf, torch.nan], dtype=dtype),
        ]
    )
    (actual, *_), (expected, *_) = (
        f([x]) for f in (Compiled(lambda flat: [flat[0].exp()], [x]).outcome, lambda flat: [flat[0].exp()])
    )
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    torch.testing.assert_close(
        actual, expected, rtol=4 * torch.finfo(dtype).eps, atol=2 * smallest, equal_nan=True
    )
    assert actual[0] == 0 and actual[-3] == 0 and actual[-2] == torch.inf
