"""Time series beside their frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from ember.ops.spectral import dct, idct, next_fast_len


def with_frequencies(x: Tensor, dim: int) -> Tensor:
    """A time series along ``dim``, followed by its frequencies.

    Frequencies that are rounding errors are zero: an optimizer that scales them to full steps would take these at random.
    They are most of them where a gradient is cut off at all times.
    """
    x = x.transpose(dim, -1)
    padded = torch.nn.functional.pad(x, (0, next_fast_len(x.shape[-1]) - x.shape[-1]))
    frequencies = dct(padded)
    errors = 4 * torch.finfo(x.dtype).eps * padded.square().sum(-1, keepdim=True).sqrt()
    frequencies = torch.where(frequencies.abs() > errors, frequencies, torch.zeros_like(frequencies))
    return torch.cat([x, frequencies], -1).transpose(dim, -1)


def from_frequencies(x: Tensor, dim: int, duration: int) -> Tensor:
    """The time series that is the sum of both parts."""
    x = x.transpose(dim, -1)
    return (x[..., :duration] + idct(x[..., duration:])[..., :duration]).transpose(dim, -1)
