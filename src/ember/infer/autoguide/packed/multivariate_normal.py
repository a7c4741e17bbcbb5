"""A normal distribution with a full covariance over the packed vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember.distributions import constraints
from ember.infer.autoguide.packed.scaled import ScaledGuide
from ember.nn.module import PyroParam


class AutoMultivariateNormal(ScaledGuide):
    """Fits a normal distribution with a full covariance over all sites, in unconstrained space.

    See Kucukelbir et al. (2017), section 2.4.

    Parameters are ``loc``, ``scale`` and ``scale_tril``, a lower triangular matrix with a diagonal of ones:
    the Cholesky factor of the covariance is ``scale[:, None] * scale_tril``.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: the first standard deviation of all.
        create_plates: see :class:`AutoGuide`.

    Raises:
        ValueError: for an improper ``init_scale``.

    >>> import ember
    >>> from ember.infer.autoguide import AutoMultivariateNormal
    >>> def model():
    ...     x = ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("y", ember.distributions.Normal(x, 1.0))
    >>> AutoMultivariateNormal(model).prepare().get_posterior().covariance_matrix
    tensor([[0.0100, 0.0000],
            [0.0000, 0.0100]], grad_fn=<ExpandBackward0>)
    """

    saved_options = ()

    scale_tril_constraint: Any = constraints.unit_lower_cholesky

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        # Not self.loc, which would be a statement of the guide.
        start = next(self.parameters())
        identity = torch.eye(self.latent_dim, dtype=start.dtype, device=start.device)
        self.scale_tril: Any = PyroParam(identity, self.scale_tril_constraint)

    def _factor(self) -> Tensor:
        factor: Tensor = self.scale[..., None] * self.scale_tril
        return factor

    def get_base_dist(self) -> Any:
        """Standard normal."""
        return dist.Normal(torch.zeros_like(self.loc), torch.ones_like(self.loc)).to_event(1)

    def get_transform(self, *args: object, **kwargs: object) -> Any:
        """Affine, by the Cholesky factor of the covariance."""
        return dist.transforms.LowerCholeskyAffine(self.loc, scale_tril=self._factor())

    def get_posterior(self, *args: object, **kwargs: object) -> Any:
        """Return a normal distribution with a full covariance."""
        return dist.MultivariateNormal(self.loc, scale_tril=self._factor())

    def _loc_scale(self, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        return self.loc, self._factor().square().sum(-1).sqrt()
