"""Discrete draws whose gradients are those of a continuous relaxation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions.utils import clamp_probs

from ember.distributions.transformed import RelaxedBernoulli, RelaxedOneHotCategorical


def _straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    value: Any = hard.detach() + (soft - soft.detach())  # adds exactly 0, with the gradient of soft
    # log_prob scores the relaxed value, since the hard one lies on the border, where the relaxed density is not finite.
    value._unquantize = soft
    return value  # type: ignore[no-any-return]


class RelaxedOneHotCategoricalStraightThrough(RelaxedOneHotCategorical):
    """One-hot draws with the gradients, and the log density, of the relaxed draws that they round.

    References:
        C. J. Maddison, A. Mnih, Y. W. Teh (2017), "The concrete distribution"; E. Jang, S. Gu, B. Poole (2017),
        "Categorical reparameterization with Gumbel-softmax".

    >>> d = RelaxedOneHotCategoricalStraightThrough(torch.tensor(0.5), probs=torch.tensor([0.3, 0.7]))
    >>> d.rsample().sum()
    tensor(1.)
    """

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a relaxed value and round it to a corner of the simplex."""
        soft = clamp_probs(super().rsample(Size(sample_shape)))
        choices = torch.arange(soft.size(-1), device=soft.device)
        hard = (soft.argmax(-1, keepdim=True) == choices).to(soft.dtype)
        return _straight_through(hard, soft)

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of the relaxed value behind a draw, or of ``value`` itself if it is no draw."""
        return super().log_prob(getattr(value, "_unquantize", value))  # type: ignore[no-untyped-call, no-any-return]


class RelaxedBernoulliStraightThrough(RelaxedBernoulli):
    """Draws of 0 and 1 with the gradients, and the log density, of the relaxed draws that they round.

    References:
        See :class:`RelaxedOneHotCategoricalStraightThrough`.

    >>> d = RelaxedBernoulliStraightThrough(torch.tensor(0.5), probs=torch.tensor(0.9))
    >>> d.rsample((8,)).unique().tolist() in ([0.0, 1.0], [1.0], [0.0])
    True
    """

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a relaxed value and round it."""
        soft = clamp_probs(super().rsample(Size(sample_shape)))
        return _straight_through(soft.round(), soft)

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of the relaxed value behind a draw, or of ``value`` itself if it is no draw."""
        return super().log_prob(getattr(value, "_unquantize", value))  # type: ignore[no-untyped-call, no-any-return]
