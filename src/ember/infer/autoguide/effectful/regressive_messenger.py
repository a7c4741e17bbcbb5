"""Affine images of the prior, in the run of the model."""

from __future__ import annotations

from typing import Any

import torch

from ember import distributions as dist
from ember.distributions import constraints
from ember.infer.autoguide.base.guide import Program, check_init_scale
from ember.infer.autoguide.base.initialization import InitFn, init_to_feasible, init_to_mean
from ember.infer.autoguide.base.naming import deep_getattr
from ember.infer.autoguide.base.support import transform_of
from ember.infer.autoguide.effectful.messenger import AutoMessenger
from ember.nn.module import PyroParam
from ember.poutine.site import Site

_INIT: InitFn = init_to_mean(fallback=init_to_feasible)


class AutoRegressiveMessenger(AutoMessenger):
    """Each site is an affine image, in unconstrained space, of a draw from its prior given what is upstream.

    Parameters of a site ``x`` are ``AutoRegressiveMessenger.locs.x`` and ``.scales.x``. A subclass can give some sites another
    posterior.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: the first scale of all; the first location is ``(1 - init_scale)`` times the start.
        amortized_plates: names of plates whose rows share parameters.

    Raises:
        ValueError: for an improper ``init_scale``; at the first call, for discrete sites and sites on a sphere.

    >>> import ember
    >>> def model():
    ...     a = ember.sample("a", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("b", ember.distributions.Normal(a, 1.0))
    >>> sorted(AutoRegressiveMessenger(model)())
    ['a', 'b']
    """

    def __init__(
        self,
        model: Program,
        *,
        init_loc_fn: InitFn = _INIT,
        init_scale: float = 0.1,
        amortized_plates: tuple[str, ...] = (),
    ) -> None:
        check_init_scale(init_scale)
        super().__init__(model, amortized_plates=amortized_plates)
        self.init_loc_fn = init_loc_fn
        self._init_scale = init_scale

    posterior_by_name = True

    def get_posterior(self, name: str, prior: Any) -> Any:
        """The prior, taken to unconstrained space, stretched and moved, and taken back."""
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

    def _get_params(self, name: str, prior: Any) -> Any:
        """The parameters of a site; inside plates, the rows that they have chosen."""
        if not self._has("locs", name):
            start, event_dim = self._start(self.init_loc_fn, name, prior)
            scale = torch.full_like(start, self._init_scale)
            self._declare("locs", name, PyroParam(start * (1 - self._init_scale), event_dim=event_dim))
            self._declare("scales", name, PyroParam(scale, constraints.positive, event_dim))
        return deep_getattr(self.locs, name), deep_getattr(self.scales, name)
