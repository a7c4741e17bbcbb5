"""Vindex against a loop over all places, and against plain indexing where they agree."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from ember.ops.indexing import Index, Vindex, index, vindex

ALL = slice(None)


def by_loops(x: Tensor, args: tuple[Any, ...]) -> Tensor:
    """Batch dims broadcast to the left of one dim for each slice."""
    batched = args[0] is Ellipsis
    args = args[1:] if batched else args
    batch = x.shape[: x.dim() - len(args)]
    tensors = [torch.as_tensor(arg) for arg in args if not isinstance(arg, slice)]
    shape = torch.broadcast_shapes(batch, *(arg.shape for arg in tensors))
    events = [x.shape[len(batch) + place] for place, arg in enumerate(args) if isinstance(arg, slice)]
    result = torch.empty([*shape, *events], dtype=x.dtype)
    for place in itertools.product(*map(range, result.shape)):
        outer, inner = place[: len(shape)], iter(place[len(shape) :])
        where = [min(k, size - 1) for k, size in zip(outer[len(outer) - len(batch) :], batch, strict=True)]
        for arg in args:
            if isinstance(arg, slice):
                where.append(next(inner))
            else:
                where.append(int(torch.as_tensor(arg).expand(shape)[outer]))
        result[place] = x[tuple(where)]
    return result


def test_vindex_is_what_loops_say() -> None:
    rng = random.Random(0)
    torch.manual_seed(0)
    for _ in range(500):
        shape = [rng.randint(1, 3) for _ in range(rng.randint(1, 4))]
        x = torch.randn(shape)
        outer = [rng.randint(1, 3) for _ in range(3)]
        batch = rng.randint(0, len(shape) - 1)
        shape[:batch] = [1 if rng.random() < 0.3 else size for size in outer[3 - batch :]]
        x = torch.randn(shape)

        def argument(size: int, outer: list[int] = outer) -> Any:
            kind = rng.random()
            if kind < 0.3:
                return ALL
            if kind < 0.5:
                value = rng.randint(-size, size - 1)
                return value if kind < 0.4 else torch.tensor(value)
            rank = rng.randint(1, 3)
            return torch.randint(-size, size, [n if rng.random() < 0.7 else 1 for n in outer[3 - rank :]])

        args: tuple[Any, ...] = tuple(argument(size) for size in shape[batch:])
        if batch or rng.random() < 0.3:
            args = (..., *args)
        assert torch.equal(vindex(x, args), by_loops(x, args))


@pytest.mark.parametrize("shape", [(4, 2), (1, 1), (2, 1, 4)])
def test_one_tensor_picks_rows(shape: tuple[int, ...]) -> None:
    x, i = torch.randn(3, 5), torch.randint(3, shape)
    assert torch.equal(Vindex(x)[i], x[i]) and torch.equal(Vindex(x)[i, :], x[i])
    assert torch.equal(Vindex(x)[:, i % 2], x[:, i % 2].movedim(0, -1))


def test_without_tensors_it_is_plain_indexing() -> None:
    x = torch.randn(4, 3, 2)
    for args in (0, ALL, (ALL, 1), (..., 1), (0, 1, 1), (..., slice(1, 2)), (slice(1, 3), 0), (...,), ...):
        assert torch.equal(vindex(x, args), x[args])
    assert vindex(x, ()) is x


def test_gradients_add_up_over_repeated_places() -> None:
    x = torch.zeros(3, requires_grad=True)
    Vindex(x)[torch.tensor([0, 2, 2])].sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1.0, 0.0, 2.0]


def test_what_is_not_supported_says_so() -> None:
    x, i = torch.randn(3, 3, 3), torch.tensor([0, 1])
    with pytest.raises(NotImplementedError, match="Non-leading Ellipsis is not supported"):
        Vindex(x)[i, ..., i]
    with pytest.raises(NotImplementedError, match="Nontrivial slices are not supported"):
        Vindex(x)[0:2, i, i]
    with pytest.raises(IndexError):
        Vindex(x)[torch.tensor(5), 0, 0]


def test_index_flattens_tuples() -> None:
    x = torch.randn(4, 3)
    assert torch.equal(Index(x)[..., (..., None)], x.unsqueeze(-1))
    assert torch.equal(Index(x)[..., 1], x[..., 1]) and torch.equal(Index(x)[(0, (1,))], x[0, 1])
    assert torch.equal(index(x, 2), x[2]) and index(x, ()) is x
