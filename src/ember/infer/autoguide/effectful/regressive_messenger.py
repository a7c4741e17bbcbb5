"""Affine images of the prior, in the run of the model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ember import distributions as dist
from ember.infer.autoguide.base.support import transform_of
from ember.infer.autoguide.effectful.loc_scale_messenger import LocScaleMessenger
from ember.poutine.site import Site


class AutoRegressiveMessenger(LocScaleMessenger):
    """Each site is an affine image, in unconstrained space, of a draw from its prior given what is upstream.

    Parameters of a site ``x`` are ``AutoRegressiveMessenger.locs.x`` and ``.scales.x``. A subclass can give
    some sites another posterior.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: the first scale of all; the first location is ``(1 - init_scale)`` times the start.
        amortized_plates: names of plates whose rows share parameters.

    Raises:
        ValueError: for an improper ``init_scale``; at the first call, for discrete sites and sites on a
            sphere.

    >>> import ember
    >>> from ember.infer.autoguide import AutoRegressiveMessenger
    >>> def model():
    ...     a = ember.sample("a", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("b", ember.distributions.Normal(a, 1.0))
    >>> sorted(AutoRegressiveMessenger(model)())
    ['a', 'b']
    """

    posterior_by_name = True

    def get_posterior(self, name: str, prior: Any) -> Any:
        """Return the prior, taken to unconstrained space, stretched and moved, and taken back."""
        transform = transform_of(Site(name=name, fn=prior))
        loc, scale = self._get_params(name, prior)
        # Without a pathwise derivative, the gradient is that of the density at the draw: a cache would cut it off.
        cache = 1 if prior.has_rsample else 0
        affine = dist.transforms.AffineTransform(
            loc, scale, event_dim=transform.domain.event_dim, cache_size=cache
        )
        return dist.TransformedDistribution(
            prior, [transform.inv.with_cache(cache), affine, transform.with_cache(cache)]
        )

    def _first_loc(self, start: Tensor) -> Tensor:
        # The prior's own mean is stretched by the scale.
        return start * (1 - self._init_scale)
