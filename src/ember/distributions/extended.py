"""Binomial counts for any integer, also outside of the range, where the probability is 0."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ember.distributions import constraints
from ember.distributions.compound import BetaBinomial
from ember.distributions.counts import Binomial


class ExtendedBinomial(Binomial):
    """Binomial distribution that scores any integer, for any integer ``total_count``.

    Args:
        total_count: the number of trials.
        probs: the probability of a success, between 0 and 1.
        logits: its log odds. Give one of both.

    >>> import torch
    >>> from ember.distributions import ExtendedBinomial
    >>> ExtendedBinomial(2, probs=torch.tensor(0.5)).log_prob(torch.tensor([-1.0, 2.0, 3.0])).exp()
    tensor([0.0000, 0.2500, 0.0000])
    """

    arg_constraints: dict[str, Any] = {
        "total_count": constraints.integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    support: Any = constraints.integer

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the binomial log probability, or -inf."""
        log_prob = super().log_prob(value)
        return log_prob.masked_fill((value < 0) | (value > self.total_count), -math.inf)


class ExtendedBetaBinomial(BetaBinomial):
    """:class:`BetaBinomial` distribution that scores any integer, for any integer ``total_count``.

    >>> import torch
    >>> from ember.distributions import ExtendedBetaBinomial
    >>> ExtendedBetaBinomial(1.0, 1.0, 3).log_prob(torch.tensor([-1.0, 2.0, 4.0])).exp()
    tensor([0.0000, 0.2500, 0.0000])
    """

    arg_constraints: dict[str, Any] = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
        "total_count": constraints.integer,
    }
    support: Any = constraints.integer

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability, or -inf."""
        if self._validate_args:
            self._validate_sample(value)
        outside = (value < 0) | (value > self.total_count)
        inside = BetaBinomial(
            self.concentration1, self.concentration0, self.total_count.clamp(min=0), validate_args=False
        )
        inside.approx_log_prob_tol = self.approx_log_prob_tol
        log_prob = inside.log_prob(torch.where(outside, torch.zeros_like(value), value))
        return log_prob.masked_fill(outside, -math.inf)
