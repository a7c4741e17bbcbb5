"""Data of zeros and ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import ember.distributions as dist
from ember.contrib.gp.likelihoods.likelihood import Likelihood


class Binary(Likelihood):
    """Ones with a probability that is a function of a draw of the process.

    Args:
        response_function: from real numbers to probabilities; the logistic function if None.
    """

    def __init__(self, response_function: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.response_function = torch.sigmoid if response_function is None else response_function

    def forward(self, f_loc: Tensor, f_var: Tensor, y: Tensor | None = None) -> Any:
        """The site "y": as in :meth:`Likelihood.forward`."""
        f = self._function(f_loc, f_var)
        if self.response_function is torch.sigmoid:
            return self._observe(dist.Bernoulli(logits=f), y)
        return self._observe(dist.Bernoulli(self.response_function(f)), y)
