"""Chains of Gaussian factors as distributions over sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.ops.gaussian_chains import gaussian_tensordot, sequential_gaussian_tensordot
from ember.ops.information_form import Gaussian, mvn_to_gaussian


class GaussianMRF(TorchDistribution):
    """A Markov random field along time.

    It has factors of the first state, of neighbouring states, of states and observations.

    All factors are normal densities, their product is normalised as a whole. Unlike a :class:`GaussianHMM`,
    the later factors weigh on the earlier states even where nothing is observed. It has a density, and no
    sampler.

    Args:
        initial_dist: a factor of the state before the first transition, ``hidden_dim`` entries.
        transition_dist: factors of neighbouring states, ``2 * hidden_dim`` entries; its batch shape ends in
            the time.
        observation_dist: factors of state and observation, ``hidden_dim + obs_dim`` entries.
        validate_args: whether to check values.

    All are a ``MultivariateNormal`` or an ``Independent`` ``Normal``.

    Raises:
        ValueError: if sizes do not fit.

    >>> import torch
    >>> from ember.distributions import Normal
    >>> from ember.distributions import GaussianMRF
    >>> def normal(n):
    ...     return Normal(torch.zeros(n), 1.0).to_event(1)
    >>> field = GaussianMRF(normal(2), normal(4).expand([5]), normal(3))
    >>> field.event_shape, field.log_prob(torch.zeros(5, 1))
    (torch.Size([5, 1]), tensor(-4.5947))
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.independent(constraints.real, 2)  # type: ignore[no-untyped-call]

    def __init__(
        self,
        initial_dist: Any,
        transition_dist: Any,
        observation_dist: Any,
        validate_args: bool | None = None,
    ) -> None:
        self.hidden_dim: int = initial_dist.event_shape[0]
        self.obs_dim: int = observation_dist.event_shape[0] - self.hidden_dim
        if transition_dist.event_shape[0] != 2 * self.hidden_dim or self.obs_dim < 1:
            raise ValueError(
                f"initial_dist has {self.hidden_dim} entries, so transition_dist has {2 * self.hidden_dim} and observation_dist "
                f"more than {self.hidden_dim}, got {transition_dist.event_shape[0]} and {observation_dist.event_shape[0]}"
            )
        shape = broadcast_shape(
            (*initial_dist.batch_shape, 1), transition_dist.batch_shape, observation_dist.batch_shape
        )
        super().__init__(Size(shape[:-1]), Size([shape[-1], self.obs_dim]), validate_args)
        self._init = mvn_to_gaussian(initial_dist).expand(self.batch_shape)
        self._trans = mvn_to_gaussian(transition_dist)
        self._obs = mvn_to_gaussian(observation_dist)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the first factor alone: the others are multiplied before the batch shows."""
        new = self._get_checked_instance(GaussianMRF, _instance)
        shape = Size(broadcast_shape(self.batch_shape, batch_shape))
        new.hidden_dim, new.obs_dim = self.hidden_dim, self.obs_dim
        new._init, new._trans, new._obs = self._init.expand(shape), self._trans, self._obs
        return self._completed(new, shape, self.event_shape)

    def _total(self, evidence: Gaussian, time: int) -> Tensor:
        steps = self._trans + evidence.event_pad(left=self.hidden_dim)
        steps = steps.expand((*steps.batch_shape[:-1], time))
        chain = sequential_gaussian_tensordot(steps)
        return gaussian_tensordot(self._init, chain, dims=self.hidden_dim).event_logsumexp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of a sequence ``(..., time, obs_dim)``."""
        if self._validate_args:
            self._validate_sample(value)
        time = value.size(-2)
        seen = self._total(self._obs.condition(value), time)
        return seen - self._total(self._obs.marginalize(right=self.obs_dim), time)
