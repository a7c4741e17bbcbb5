"""The normal distribution: the one that programs build and evaluate most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions.utils import broadcast_all

from ember.distributions.fast_checks import PLAIN_TENSORS
from ember.distributions.torch_distribution import WrappedDistribution
from ember.ops.normals import standard_normal
from ember.torch_private.jit import jit_tracing_state

_MINUS_HALF_LOG_2PI = -0.5 * math.log(2 * math.pi)


def _broadcast(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """What ``broadcast_all`` does, with short ways for the usual kinds of arguments."""
    if jit_tracing_state() is not None:
        first, second = broadcast_all(a, b)  # a tensor made here of a number would give a warning
        return first, second
    kinds = type(a), type(b)
    if kinds[0] in PLAIN_TENSORS:
        if kinds[1] in PLAIN_TENSORS and a.shape == b.shape:
            return a, b
        if kinds[1] is float:
            return a, torch.full_like(a, b) if a.dim() else torch.tensor(b, dtype=a.dtype, device=a.device)
    elif kinds == (float, float):
        return torch.tensor(a), torch.tensor(b)
    elif kinds[0] is float and kinds[1] in PLAIN_TENSORS:
        b, a = _broadcast(b, a)
        return a, b
    first, second = broadcast_all(a, b)
    return first, second


class Normal(torch.distributions.Normal, WrappedDistribution):
    """Normal distribution with mean ``loc`` and standard deviation ``scale``.

    >>> import torch
    >>> from ember.distributions import Normal
    >>> Normal(torch.zeros(2), 1.0).log_prob(torch.zeros(2))
    tensor([-0.9189, -0.9189])
    """

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = _broadcast(loc, scale)
        WrappedDistribution.__init__(self, self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Expand the parameters."""
        new = self._get_checked_instance(Normal, _instance)
        return super().expand(batch_shape, _instance=new)  # type: ignore[no-untyped-call]

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc + scale * eps`` with standard normal noise of shape ``sample_shape + batch_shape``."""
        loc = self.loc
        noise = standard_normal(Size(sample_shape) + self._batch_shape, dtype=loc.dtype, device=loc.device)
        return torch.addcmul(loc, noise, self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """``-z**2 / 2 - log(scale) - log(2 pi) / 2`` with ``z = (value - loc) / scale``: five tensor ops."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        return torch.addcmul(torch.rsub(self.scale.log(), _MINUS_HALF_LOG_2PI), z, z, value=-0.5)
