"""A diagonal normal distribution over the packed vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember.infer.autoguide.packed.scaled import ScaledGuide


class AutoDiagonalNormal(ScaledGuide):
    """Fits a normal distribution with diagonal covariance over all sites, in unconstrained space.

    The same family as :class:`AutoNormal`, with two parameters for all sites: ``AutoDiagonalNormal.loc`` and
    ``.scale``.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: the first standard deviation of all.
        create_plates: see :class:`AutoGuide`.

    Raises:
        ValueError: for an improper ``init_scale``.

    >>> import ember
    >>> from ember.infer.autoguide import AutoDiagonalNormal
    >>> def model():
    ...     ember.sample("x", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("y", ember.distributions.Gamma(2.0, 1.0))
    >>> guide = AutoDiagonalNormal(model, init_loc_fn=ember.infer.autoguide.init_to_mean).prepare()
    >>> guide.median()
    {'x': tensor(0.), 'y': tensor(2.)}
    """

    saved_options = ()

    def get_base_dist(self) -> Any:
        """Standard normal."""
        return dist.Normal(torch.zeros_like(self.loc), torch.ones_like(self.loc)).to_event(1)

    def get_transform(self, *args: object, **kwargs: object) -> Any:
        """Affine, entry by entry."""
        return dist.transforms.AffineTransform(self.loc, self.scale, event_dim=1)

    def get_posterior(self, *args: object, **kwargs: object) -> Any:
        """Return a normal distribution with diagonal covariance."""
        return dist.Normal(self.loc, self.scale).to_event(1)

    def _loc_scale(self, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        return self.loc, self.scale
