"""The normal distribution: the one that programs build and evaluate most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions.utils import _standard_normal, broadcast_all

from ember.distributions.fast_checks import PLAIN_TENSORS
from ember.distributions.torch_distribution import WrappedDistribution

_MINUS_HALF_LOG_2PI = -0.5 * math.log(2 * math.pi)


class Normal(torch.distributions.Normal, WrappedDistribution):
    """Normal distribution with mean ``loc`` and standard deviation ``scale``.

    >>> Normal(torch.zeros(2), 1.0).log_prob(torch.zeros(2))
    tensor([-0.9189, -0.9189])
    """

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        plain = type(loc) in PLAIN_TENSORS and type(scale) in PLAIN_TENSORS
        if plain and loc.shape == scale.shape:
            self.loc, self.scale = loc, scale
        else:
            self.loc, self.scale = broadcast_all(loc, scale)
        WrappedDistribution.__init__(self, self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Expand the parameters."""
        new = self._get_checked_instance(Normal, _instance)
        return super().expand(batch_shape, _instance=new)  # type: ignore[no-untyped-call]

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc + scale * eps`` with standard normal noise of shape ``sample_shape + batch_shape``."""
        loc = self.loc
        noise = _standard_normal(Size(sample_shape) + self._batch_shape, dtype=loc.dtype, device=loc.device)
        return torch.addcmul(loc, noise, self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """``-z**2 / 2 - log(scale) - log(2 pi) / 2`` with ``z = (value - loc) / scale``: five tensor ops."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        return torch.addcmul(torch.rsub(self.scale.log(), _MINUS_HALF_LOG_2PI), z, z, value=-0.5)
