"""Polya-Gamma variables, the scales of logistic likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.torch_distribution import TorchDistribution


class TruncatedPolyaGamma(TorchDistribution):
    """PolyaGamma(1, 0) on (0, 2.5). The density is right to about six decimals.

    Draws are rough, fit to start from.

    Args:
        prototype: a tensor whose dtype and device are used.

    References:
        N. G. Polson, J. G. Scott, J. Windle (2013), "Bayesian inference for logistic models using Polya-Gamma
        latent variables".

    >>> import torch
    >>> from ember.distributions import TruncatedPolyaGamma
    >>> TruncatedPolyaGamma(torch.ones(())).sample((2,)).shape
    torch.Size([2])
    """

    truncation_point = 2.5
    num_log_prob_terms = 7
    num_gamma_variates = 8

    arg_constraints: dict[str, Any] = {}
    support = constraints.interval(0.0, truncation_point)  # type: ignore[no-untyped-call]

    def __init__(self, prototype: Tensor, validate_args: bool | None = None) -> None:
        self.prototype = prototype
        super().__init__(Size(), Size(), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Return the same distribution over a larger batch."""
        new = self._get_checked_instance(TruncatedPolyaGamma, _instance)
        new.prototype = self.prototype
        return self._completed(new, Size(batch_shape), self.event_shape)

    def _arange(self, n: int) -> Tensor:
        return torch.arange(n, dtype=self.prototype.dtype, device=self.prototype.device)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Return the first terms of the series of exponential variables, cut off."""
        shape = self._extended_shape(Size(sample_shape)) + (self.num_gamma_variates,)
        with torch.no_grad():
            noise = self.prototype.new_empty(shape).exponential_()
            series = (noise / (self._arange(self.num_gamma_variates) + 0.5).square()).sum(-1)
            return (series * (0.5 / math.pi**2)).clamp(max=self.truncation_point)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the first terms of the alternating series of the density."""
        if self._validate_args:
            self._validate_sample(value)
        odd = 2 * self._arange(self.num_log_prob_terms) + 1
        x = value.unsqueeze(-1)
        terms = odd.log() - 1.5 * x.log() - 0.125 * odd.square() / x
        plus, minus = terms[..., ::2].logsumexp(-1), terms[..., 1::2].logsumexp(-1)
        # log(exp(plus) - exp(minus)), without leaving logs: the first term may underflow.
        log_prob = plus + (-torch.expm1(minus - plus)).log() - 0.5 * math.log(2 * math.pi)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))  # type: ignore[no-untyped-call]
