"""A normal distribution with a covariance of low rank plus a diagonal over the packed vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ember import distributions as dist
from ember.distributions import constraints
from ember.errors import ModelError
from ember.infer.autoguide.base.guide import Program, check_init_scale
from ember.infer.autoguide.base.initialization import InitFn, init_to_median
from ember.infer.autoguide.packed.continuous import AutoContinuous
from ember.nn.module import PyroParam


class AutoLowRankMultivariateNormal(AutoContinuous):
    """Fits a normal distribution with the covariance ``D (F F^T + I) D`` and a thin ``F``.

    See Ong, Nott and Smith (2018). It is a distribution over all sites, in unconstrained space.

    Parameters are ``loc``, ``scale`` (the diagonal of ``D``) and ``cov_factor`` (``F``, which starts at
    random).

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: about the first standard deviation of all.
        rank: the number of columns of ``F``; by default about the square root of the latent dim.
        create_plates: see :class:`AutoGuide`.

    Raises:
        ModelError: for an improper ``init_scale`` or ``rank``.

    >>> import ember
    >>> from ember.infer.autoguide import AutoLowRankMultivariateNormal
    >>> def model():
    ...     ember.sample("x", ember.distributions.Normal(0.0, 1.0).expand([9]).to_event(1))
    >>> AutoLowRankMultivariateNormal(model).prepare().cov_factor.shape
    torch.Size([9, 3])
    """

    saved_options = ("rank",)

    scale_constraint: Any = constraints.softplus_positive

    def __init__(
        self,
        model: Program,
        init_loc_fn: InitFn = init_to_median,
        init_scale: float = 0.1,
        rank: int | None = None,
        *,
        create_plates: Program | None = None,
    ) -> None:
        check_init_scale(init_scale)
        if not (rank is None or (isinstance(rank, int) and rank > 0)):
            raise ModelError(f"Expected rank > 0 but got {rank}")
        super().__init__(model, init_loc_fn, create_plates=create_plates)
        self._init_scale = init_scale
        self.rank = rank

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        start = self._init_loc()
        if self.rank is None:
            self.rank = round(self.latent_dim**0.5)
        # The factor and the identity have an equal part in the first variances.
        factor = torch.randn(self.latent_dim, self.rank, dtype=start.dtype, device=start.device)
        self.loc = nn.Parameter(start)
        self.scale = PyroParam(torch.full_like(start, 0.5**0.5 * self._init_scale), self.scale_constraint)
        self.cov_factor = nn.Parameter(factor / self.rank**0.5)

    def get_posterior(self, *args: object, **kwargs: object) -> Any:
        """Return a normal distribution with a covariance of low rank plus a diagonal."""
        scale: Any = self.scale
        return dist.LowRankMultivariateNormal(self.loc, self.cov_factor * scale.unsqueeze(-1), scale * scale)

    def _loc_scale(self, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        scale: Any = self.scale
        return self.loc, scale * (self.cov_factor.square().sum(-1) + 1).sqrt()
