"""Normal likelihoods for data with gaps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ember.distributions.multivariate import MultivariateNormal
from ember.distributions.normal import Normal


class NanMaskedNormal(Normal):
    """Normal distribution whose log density is 0 at values that are NaN or infinite.

    Args:
        loc: the mean.
        scale: the standard deviation, positive.

    >>> import torch
    >>> from ember.distributions import NanMaskedNormal
    >>> NanMaskedNormal(0.0, 1.0).log_prob(torch.tensor([0.0, torch.nan]))
    tensor([-0.9189,  0.0000])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the normal log density where there is a value."""
        there = value.isfinite()
        log_prob = super().log_prob(torch.where(there, value, self.loc.detach()))
        return torch.where(there, log_prob, torch.zeros_like(log_prob))


class NanMaskedMultivariateNormal(MultivariateNormal):
    """Multivariate normal distribution that marginalises over coordinates that are NaN or infinite.

    Args:
        loc: the mean, ``(*batch, D)``.
        covariance_matrix: the covariance, ``(*batch, D, D)``.
        precision_matrix: its inverse.
        scale_tril: its lower Cholesky factor. Give one of the three.

    >>> import torch
    >>> from ember.distributions import NanMaskedMultivariateNormal
    >>> d = NanMaskedMultivariateNormal(torch.zeros(2), torch.eye(2))
    >>> d.log_prob(torch.tensor([[0.0, 0.0], [0.0, torch.nan], [torch.nan, torch.nan]]))
    tensor([-1.8379, -0.9189,  0.0000])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of the coordinates that are there.

        Each missing coordinate is replaced by a standard normal one that is independent of the others and 0,
        whose density is left out. One batched factorisation serves all patterns of gaps.
        """
        there = value.isfinite()
        both = there.unsqueeze(-1) & there.unsqueeze(-2)
        eye = torch.eye(value.size(-1), dtype=self.loc.dtype, device=self.loc.device)
        filled = torch.where(there, value, self.loc.detach())
        if self._validate_args:
            self._validate_sample(filled)
        scale = torch.linalg.cholesky(torch.where(both, self.covariance_matrix, eye))
        difference = torch.where(there, filled - self.loc, torch.zeros_like(filled))
        z: Tensor = torch.linalg.solve_triangular(scale, difference.unsqueeze(-1), upper=False).squeeze(-1)
        normaliser = there.sum(-1).to(z.dtype) * math.log(2 * math.pi)
        half_log_det = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_prob: Tensor = (
            0.0 - half_log_det - 0.5 * (normaliser + z.square().sum(-1))
        )  # 0 for gaps only, not -0
        return log_prob
