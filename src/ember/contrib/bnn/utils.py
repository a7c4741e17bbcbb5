"""First weights of a layer, and columns for its bias."""

from __future__ import annotations

import torch
from torch import Tensor


def xavier_uniform(D_in: int, D_out: int) -> Tensor:
    """Weights of shape (D_in, D_out), uniform in +-sqrt(6 / (D_in + D_out)) as of Glorot and Bengio (2010)."""
    bound = (6.0 / (D_in + D_out)) ** 0.5
    return torch.empty(D_in, D_out).uniform_(-bound, bound)


def adjoin_ones_vector(x: Tensor) -> Tensor:
    """The tensor with a one at the end of its last dim."""
    return torch.cat([x, torch.ones(x.shape[:-1] + (1,), dtype=x.dtype, device=x.device)], dim=-1)


def adjoin_zeros_vector(x: Tensor) -> Tensor:
    """The tensor with a zero at the end of its last dim."""
    return torch.cat([x, torch.zeros(x.shape[:-1] + (1,), dtype=x.dtype, device=x.device)], dim=-1)
