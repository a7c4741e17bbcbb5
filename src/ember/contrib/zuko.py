"""Distributions of the package zuko in ``sample`` statements: ``pip install zuko``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions.torch_distribution import TorchDistribution


class ZukoToPyro(TorchDistribution):
    """A distribution of zuko's, such as a flow with its parameters and context filled in, under Ember's interface.

    The log density of the last draw is computed along with it: going back through a flow may be slow.

    Args:
        dist: the distribution.

    >>> from ember.distributions import Normal
    >>> flow = ZukoToPyro(Normal(torch.zeros(2), 1.0).to_event(1))  # any torch distribution will do
    >>> flow.log_prob(flow()).shape
    torch.Size([])
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, dist: Any) -> None:
        self.dist = dist
        self._last: tuple[Tensor, Tensor] | None = None
        super().__init__(dist.batch_shape, dist.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """As the distribution."""
        return bool(self.dist.has_rsample)

    @property
    def support(self) -> Any:
        """As the distribution."""
        return self.dist.support

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw without gradients."""
        with torch.no_grad():
            drawn: Tensor = self.dist.sample(Size(sample_shape))
        return drawn

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw with pathwise gradients."""
        if not hasattr(self.dist, "rsample_and_log_prob"):
            drawn: Tensor = self.dist.rsample(Size(sample_shape))
            return drawn
        self._last = self.dist.rsample_and_log_prob(Size(sample_shape))
        return self._last[0]

    def __call__(self, shape: Sequence[int] = ()) -> Tensor:
        """Draw, with gradients where there are any.

        Args:
            shape: that of the sample.
        """
        drawn: Tensor = super().__call__(Size(shape))
        return drawn

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density."""
        if self._last is not None and self._last[0] is x:
            return self._last[1]
        log_prob: Tensor = self.dist.log_prob(x)
        return log_prob

    def expand(self, *args: Any, **kwargs: Any) -> ZukoToPyro:
        """The distribution expanded, by arguments of its own ``expand``."""
        return ZukoToPyro(self.dist.expand(*args, **kwargs))
