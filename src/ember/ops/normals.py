"""Standard normal numbers, as torch's own distributions draw them: a seed gives the same numbers in both."""

from __future__ import annotations

import torch
from torch import Size, Tensor

from ember.torch_private.jit import jit_tracing_state

__all__ = ["standard_normal"]


def standard_normal(shape: Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Independent standard normal numbers.

    >>> _ = torch.manual_seed(0)
    >>> x = standard_normal(Size([3]), torch.float64, torch.device("cpu"))
    >>> _ = torch.manual_seed(0)
    >>> torch.equal(x, torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), 1.0).sample())
    True
    """
    if jit_tracing_state() is not None:  # its tracer loses what is written to an empty tensor
        zeros = torch.zeros(shape, dtype=dtype, device=device)
        return torch.normal(zeros, torch.ones_like(zeros))
    return torch.empty(shape, dtype=dtype, device=device).normal_()
