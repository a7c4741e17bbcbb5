"""Negative binomial counts with normal noise on their logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.elementwise import ElementwiseDistribution
from ember.distributions.torch import NegativeBinomial
from ember.ops.quadrature import get_quad_rule


class LogNormalNegativeBinomial(ElementwiseDistribution):
    """A negative binomial count whose logit has normal noise.

    The noise is integrated out by Gauss-Hermite quadrature.

    Args:
        total_count: of the negative binomial distribution.
        logits: the mean logit of success.
        multiplicative_noise_scale: the standard deviation of the noise.
        num_quad_points: the number of quadrature points.

    Raises:
        ValueError: without quadrature points.
        NotImplementedError: by ``sample``.

    References:
        M. Zhou, L. Li, D. Dunson, L. Carin (2012), "Lognormal and gamma mixed negative binomial regression".

    >>> import torch
    >>> from ember.distributions import LogNormalNegativeBinomial
    >>> d = LogNormalNegativeBinomial(2.0, torch.tensor(0.0), 1e-3)
    >>> d.log_prob(torch.tensor(0.0)).exp()
    tensor(0.2500)
    """

    _any: Any = constraints
    arg_constraints: dict[str, Any] = {
        "total_count": _any.greater_than_eq(0),
        "logits": constraints.real,
        "multiplicative_noise_scale": constraints.positive,
    }
    support: Any = constraints.nonnegative_integer
    total_count: Tensor
    logits: Tensor
    multiplicative_noise_scale: Tensor
    _tensors = ("total_count", "logits", "multiplicative_noise_scale")
    _settings = ("num_quad_points",)

    def __init__(
        self,
        total_count: Tensor | float,
        logits: Tensor | float,
        multiplicative_noise_scale: Tensor | float,
        *,
        num_quad_points: int = 8,
        validate_args: bool | None = None,
    ) -> None:
        if num_quad_points < 1:
            raise ValueError("num_quad_points must be positive.")
        self.num_quad_points = num_quad_points
        super().__init__(total_count, logits, multiplicative_noise_scale, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log of the weighted sum of negative binomial probabilities."""
        if self._validate_args:
            self._validate_sample(value)
        points, log_weights = get_quad_rule(self.num_quad_points, self.logits)
        logits = self.logits.unsqueeze(-1) + self.multiplicative_noise_scale.unsqueeze(-1) * points
        counts: Any = NegativeBinomial(self.total_count.unsqueeze(-1), logits=logits, validate_args=False)
        log_prob: Tensor = (log_weights + counts.log_prob(value.unsqueeze(-1))).logsumexp(-1)
        return log_prob

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Not possible.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("LogNormalNegativeBinomial does not support sampling")

    @property
    def mean(self) -> Tensor:
        """``total_count exp(logits + scale^2 / 2)``"""
        return self.total_count * (self.logits + 0.5 * self.multiplicative_noise_scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        """``mean + mean^2 (exp(scale^2) (1 + 1 / total_count) - 1)``"""
        noise = self.multiplicative_noise_scale.square().exp()
        return self.mean + (noise * (1 + 1 / self.total_count) - 1) * self.mean.square()
