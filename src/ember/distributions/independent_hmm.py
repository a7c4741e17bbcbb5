"""Many sequences of numbers, side by side, as one of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.delegation import DelegatedRsample
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution


class IndependentHMM(TorchDistribution):
    """A batch of hidden Markov models of numbers as one model of vectors, whose entries are independent.

    Args:
        base_dist: such as a :class:`GaussianHMM`, of batch shape ``(..., obs_dim)`` and event shape
            ``(time, 1)``.

    Raises:
        ValueError: if there is no batch, or an observation is no single number.

    >>> import torch
    >>> from ember.distributions import GaussianHMM, Normal
    >>> from ember.distributions import IndependentHMM
    >>> noise = Normal(torch.zeros(3, 1, 1), 1.0).to_event(1)
    >>> start = Normal(torch.zeros(3, 1), 1.0).to_event(1)
    >>> model = IndependentHMM(GaussianHMM(start, torch.eye(1), noise, torch.eye(1), noise, duration=5))
    >>> model.batch_shape, model.event_shape
    (torch.Size([]), torch.Size([5, 3]))
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = DelegatedRsample()

    def __init__(self, base_dist: Any) -> None:
        if len(base_dist.batch_shape) == 0 or base_dist.event_shape[-1] != 1:
            raise ValueError(
                "IndependentHMM takes a model with a batch of one dim or more and observations of size 1, got batch_shape "
                f"{tuple(base_dist.batch_shape)} and event_shape {tuple(base_dist.event_shape)}"
            )
        self.base_dist = base_dist
        shape = base_dist.batch_shape
        super().__init__(shape[:-1], Size([base_dist.event_shape[0], shape[-1]]), validate_args=False)

    @constraints.dependent_property(event_dim=2)
    def support(self) -> Constraint:
        """As that of the models."""
        return self.base_dist.support  # type: ignore[no-any-return]

    @property
    def duration(self) -> int | None:
        """The length of sequences, None if any."""
        return self.base_dist.duration  # type: ignore[no-any-return]

    def _validate_sample(self, value: Tensor) -> None:
        """The models look at their parts."""

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the models."""
        shape = Size(broadcast_shape(self.batch_shape, batch_shape))
        new = self._get_checked_instance(IndependentHMM, _instance)
        new.base_dist = self.base_dist.expand(shape + self.base_dist.batch_shape[-1:])
        return self._completed(new, shape, self.event_shape)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """One draw of each model."""
        return self.base_dist.sample(sample_shape).squeeze(-1).mT  # type: ignore[no-any-return]

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """One draw of each model."""
        return self.base_dist.rsample(sample_shape).squeeze(-1).mT  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the sum of the log densities ``(..., time, obs_dim)``."""
        return self.base_dist.log_prob(value.mT.unsqueeze(-1)).sum(-1)  # type: ignore[no-any-return]
