"""Seasonality: repeating, accumulating and describing periods along a dim."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def _from_right(tensor: Tensor, dim: int) -> int:
    assert isinstance(dim, int), f"expected an int dim, got {dim!r}"
    return dim if dim < 0 else dim - tensor.dim()


def periodic_repeat(tensor: Tensor, size: int, dim: int) -> Tensor:
    """Repeat a tensor along ``dim``, over and over, up to the given size there.

    >>> periodic_repeat(torch.tensor([[1, 2], [3, 4]]), 3, 1)
    tensor([[1, 2, 1],
            [3, 4, 3]])
    """
    assert isinstance(size, int) and size >= 0, f"expected a size >= 0, got {size!r}"
    dim = _from_right(tensor, dim)
    index = torch.arange(size, device=tensor.device) % tensor.size(dim)
    return tensor.index_select(dim, index)


def periodic_cumsum(tensor: Tensor, period: int, dim: int) -> Tensor:
    """Cumulative sums along ``dim`` over entries that are whole periods apart: ``y[t] = x[t] + y[t - period]``.

    >>> periodic_cumsum(torch.tensor([1, 2, 3, 4, 5]), 2, 0)
    tensor([1, 2, 4, 6, 9])
    """
    assert isinstance(period, int) and period > 0, f"expected a period > 0, got {period!r}"
    dim = _from_right(tensor, dim)
    size = tensor.size(dim)
    padding = -size % period
    padded = torch.nn.functional.pad(tensor, (0, 0) * (-1 - dim) + (0, padding))
    left, right = padded.shape[:dim], padded.shape[padded.dim() + dim + 1 :]
    periods = padded.reshape(left + (-1, period) + right).cumsum(dim - 1)
    return periods.flatten(dim - 1, dim).narrow(dim, 0, size)


def periodic_features(
    duration: int, max_period: float | None = None, min_period: float | None = None, **options: Any
) -> Tensor:
    """Sine and cosine features of a time axis, for regression on long or uneven seasons.

    Args:
        duration: the number of time steps.
        max_period: the longest period; ``duration`` if None. Its harmonics follow, down to
        min_period: the shortest period, exclusive; 2 if None, below which features would be aliased.
        options: dtype and device.

    Shapes:
        result: ``(duration, 2 * ceil(max_period / min_period) - 2)``, values in [-1, 1].

    >>> periodic_features(8, 4).shape
    torch.Size([8, 2])
    """
    assert isinstance(duration, int) and duration >= 0, f"expected a duration >= 0, got {duration!r}"
    longest: float = duration if max_period is None else max_period
    shortest: float = 2 if min_period is None else min_period
    assert shortest >= 2, "min_period is below Nyquist cutoff"
    assert shortest <= longest, f"min_period {shortest} is above max_period {longest}"
    time = torch.arange(float(duration), **options)
    frequency = torch.arange(1, longest / shortest, **options) * (2 * math.pi / longest)
    angle = time[:, None] * frequency
    return torch.cat([angle.cos(), -angle.sin()], -1)
