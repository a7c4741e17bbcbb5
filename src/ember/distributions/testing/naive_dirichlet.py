"""Dirichlet and beta variables as ratios of gamma variables: pathwise gradients of a higher variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions.torch import Beta, Dirichlet, Gamma


class NaiveDirichlet(Dirichlet):
    """Gamma variables over their sum."""

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(concentration, validate_args=validate_args)
        self._gamma = Gamma(concentration, torch.ones_like(concentration))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draws of shape ``sample_shape + batch_shape + event_shape``."""
        gammas: Tensor = self._gamma.rsample(Size(sample_shape))
        return gammas / gammas.sum(-1, True)


class NaiveBeta(Beta):
    """The first of two gamma variables over their sum."""

    def __init__(
        self, concentration1: Tensor, concentration0: Tensor, validate_args: bool | None = None
    ) -> None:
        super().__init__(concentration1, concentration0, validate_args=validate_args)
        both: Any = torch.stack([concentration1, concentration0], dim=-1)
        self._gamma = Gamma(both, torch.ones_like(both))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draws of shape ``sample_shape + batch_shape``."""
        gammas: Tensor = self._gamma.rsample(Size(sample_shape))
        return gammas[..., 0] / gammas.sum(-1)
