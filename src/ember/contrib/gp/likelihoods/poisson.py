"""Counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import ember.distributions as dist
from ember.contrib.gp.likelihoods.likelihood import Likelihood


class Poisson(Likelihood):
    """Poisson counts with a rate that is a function of a draw of the process.

    Args:
        response_function: from real numbers to rates; the exponential if None.
    """

    def __init__(self, response_function: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.response_function = torch.exp if response_function is None else response_function

    def forward(self, f_loc: Tensor, f_var: Tensor, y: Tensor | None = None) -> Any:
        """The site "y": as in :meth:`Likelihood.forward`."""
        return self._observe(dist.Poisson(self.response_function(self._function(f_loc, f_var))), y)
