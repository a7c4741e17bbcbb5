"""The distribution of weighed draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.torch import Categorical
from ember.distributions.torch_distribution import TorchDistribution


class Empirical(TorchDistribution):
    """Puts probability on given draws.

    Args:
        samples: draws, of shape ``batch_shape + (num_samples,) + event_shape``.
        log_weights: their log weights, of shape ``batch_shape + (num_samples,)``; they need not be
            normalised.

    Raises:
        ValueError: if the shapes do not fit.

    >>> import torch
    >>> from ember.distributions import Empirical
    >>> draws = Empirical(torch.tensor([1.0, 1.0, 4.0]), torch.zeros(3))
    >>> draws.mean, draws.log_prob(torch.tensor(1.0)).exp()
    (tensor(2.), tensor(0.6667))
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.real
    has_enumerate_support = True

    def __init__(self, samples: Tensor, log_weights: Tensor, validate_args: bool | None = None) -> None:
        shape, weight_shape = samples.shape, log_weights.shape
        if weight_shape != shape[: len(weight_shape)]:
            raise ValueError(
                f"The shape of ``log_weights`` ({weight_shape}) must match "
                f"the leftmost shape of ``samples`` ({shape})"
            )
        self._samples = samples
        self._log_weights = log_weights
        self._aggregation_dim = log_weights.dim() - 1
        self._choice = Categorical(logits=log_weights)
        super().__init__(weight_shape[:-1], shape[len(weight_shape) :], validate_args=validate_args)

    @property
    def sample_size(self) -> int:
        """How many draws there are."""
        return self._log_weights.numel()

    @property
    def log_weights(self) -> Tensor:
        """The log weights, as given."""
        return self._log_weights

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draws picked at random according to their weights."""
        indices: Tensor = self._choice.sample(Size(sample_shape))  # type: ignore[no-untyped-call]
        draws = self._samples.movedim(self._aggregation_dim, 0)
        indices = indices.reshape((-1, *self.batch_shape) + (1,) * len(self.event_shape))
        picked = draws.gather(0, indices.expand((-1, *draws.shape[1:])))
        return picked.reshape((*sample_shape, *draws.shape[1:]))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log of the weight of all draws that equal ``value``, which has no sample shape."""
        expected = self.batch_shape + self.event_shape
        if self._validate_args and value.shape != expected:
            raise ValueError(f"``value.shape`` must be {expected}")
        if self.batch_shape:
            value = value.unsqueeze(self._aggregation_dim)
        equal = self._samples.eq(value)
        if self.event_shape:
            equal = equal.flatten(-len(self.event_shape)).all(-1)
        probs: Tensor = self._choice.probs
        return (probs * equal.to(probs.dtype)).sum(-1).log()

    def _weighted_mean(self, value: Tensor) -> Tensor:
        weights = torch.softmax(self._log_weights, self._aggregation_dim)
        weights = weights.reshape(weights.shape + (1,) * (value.dim() - weights.dim()))
        return (value * weights).sum(self._aggregation_dim)

    def _check_not_discrete(self, moment: str) -> None:
        if self._samples.dtype in (torch.int32, torch.int64):
            raise ValueError(
                f"{moment} for discrete empirical distribution undefined. "
                "Consider converting samples to ``torch.float32`` "
                "or ``torch.float64``. If these are samples from a "
                "`Categorical` distribution, consider converting to a "
                "`OneHotCategorical` distribution."
            )

    @property
    def mean(self) -> Tensor:
        """The weighed mean of the draws."""
        self._check_not_discrete("Mean")
        return self._weighted_mean(self._samples)

    @property
    def variance(self) -> Tensor:
        """The weighed mean of squared deviations from the mean."""
        self._check_not_discrete("Variance")
        deviation = self._samples - self.mean.unsqueeze(self._aggregation_dim)
        return self._weighted_mean(deviation.square())

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return the draws, as given."""
        return self._samples
