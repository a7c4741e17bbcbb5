"""Small tensor constructors and an indexer that broadcasts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all

log_sum_exp = torch.logsumexp  # an old name
torch_jit_script_if_tracing: Any = torch.jit.script_if_tracing


def scalar_like(prototype: Tensor, fill_value: float) -> Tensor:
    """A tensor of no dims with the dtype and device of ``prototype``."""
    return torch.tensor(fill_value, dtype=prototype.dtype, device=prototype.device)


def eye_like(value: Tensor, m: int, n: int | None = None) -> Tensor:
    """An identity matrix, ``m`` by ``n`` (``m`` by ``m`` without it), with the dtype and device of ``value``.

    >>> eye_like(torch.zeros(1), 2, 3)
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    return torch.eye(m, m if n is None else n, dtype=value.dtype, device=value.device)


def gather(value: Tensor, index: Tensor, dim: int) -> Tensor:
    """Index into ``dim`` of ``value``, broadcasting both; the result has size 1 there.

    >>> gather(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0], [1]]), -1)
    tensor([[1.],
            [4.]])
    """
    pair: Any = broadcast_all(value, index)
    value, index = pair
    return value.gather(dim, index.narrow(dim, 0, 1))
