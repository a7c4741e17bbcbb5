"""Data with normal noise."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import ember.distributions as dist
from ember.contrib.gp.kernels.kernel import positive
from ember.contrib.gp.likelihoods.likelihood import Likelihood


class Gaussian(Likelihood):
    """The function's value and normal noise; the function is integrated out.

    Args:
        variance: that of the noise; one if None.
    """

    variance: Tensor

    def __init__(self, variance: Tensor | None = None) -> None:
        super().__init__()
        self.variance = positive(variance)

    def forward(self, f_loc: Tensor, f_var: Tensor, y: Tensor | None = None) -> Any:
        """The site "y": as in :meth:`Likelihood.forward`."""
        return self._observe(dist.Normal(f_loc, (f_var + self.variance).sqrt()), y)
