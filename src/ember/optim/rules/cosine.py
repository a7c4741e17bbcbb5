"""Time series beside their frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from ember.ops.spectral import dct, idct, next_fast_len


def with_frequencies(x: Tensor, dim: int) -> Tensor:
    """A time series along ``dim``, followed by its frequencies."""
    x = x.transpose(dim, -1)
    padded = torch.nn.functional.pad(x, (0, next_fast_len(x.shape[-1]) - x.shape[-1]))
    return torch.cat([x, dct(padded)], -1).transpose(dim, -1)


def from_frequencies(x: Tensor, dim: int, duration: int) -> Tensor:
    """The time series that is the sum of both parts."""
    x = x.transpose(dim, -1)
    return (x[..., :duration] + idct(x[..., duration:])[..., :duration]).transpose(dim, -1)
