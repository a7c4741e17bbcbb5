"""Absolute values of univariate variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions.transforms import AbsTransform

from ember.distributions import constraints
from ember.distributions.transformed import TransformedDistribution


class FoldedDistribution(TransformedDistribution):
    """The absolute value of a univariate variable, with its density.

    Raises:
        ValueError: if the base is not univariate.

    >>> from ember.distributions import Normal
    >>> import torch
    >>> from ember.distributions import FoldedDistribution
    >>> FoldedDistribution(Normal(0.0, 1.0)).log_prob(torch.tensor(1.0))
    tensor(-0.7258)
    """

    support = constraints.positive

    def __init__(self, base_dist: Any, validate_args: bool | None = None) -> None:
        if base_dist.event_shape:
            raise ValueError("Only univariate distributions can be folded.")
        super().__init__(base_dist, AbsTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the base."""
        new = self._get_checked_instance(type(self), _instance)
        expanded: Self = super().expand(batch_shape, _instance=new)  # type: ignore[no-untyped-call]
        return expanded

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log of the sum of the base's densities at ``value`` and ``-value``."""
        if self._validate_args:
            self._validate_sample(value)
        base: Any = self.base_dist
        return torch.logaddexp(base.log_prob(value), base.log_prob(-value))
