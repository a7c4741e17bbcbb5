"""Exponential variables by rejection from slower ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ember.distributions import constraints
from ember.distributions.rejector import Rejector
from ember.distributions.torch import Exponential


class RejectionExponential(Rejector):
    """Draws from an exponential distribution of rate ``rate * factor``, accepted where they are small enough.

    Args:
        rate: the rate of the result.
        factor: in (0, 1]: how much of the draws is accepted.
    """

    arg_constraints: dict[str, Any] = {"rate": constraints.positive, "factor": constraints.positive}
    support = constraints.positive

    def __init__(self, rate: Tensor, factor: Tensor) -> None:
        assert bool((factor <= 1).all()), f"factor is at most 1, and not {factor}"
        self.rate = rate
        self.factor = factor
        super().__init__(Exponential(rate * factor), self.log_prob_accept, factor.log())

    def log_prob_accept(self, x: Tensor) -> Tensor:
        """The log probability that a draw is accepted."""
        return (self.factor - 1) * self.rate * x
