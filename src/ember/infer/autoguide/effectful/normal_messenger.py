"""Mean field, and mean field around the prior's mean, in the run of the model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember.distributions import constraints
from ember.errors import ModelError
from ember.infer.autoguide.base.guide import Program
from ember.infer.autoguide.base.initialization import InitFn
from ember.infer.autoguide.base.naming import deep_getattr
from ember.infer.autoguide.base.point import is_identity
from ember.infer.autoguide.base.support import transform_of
from ember.infer.autoguide.effectful.loc_scale_messenger import DEFAULT_INIT, LocScaleMessenger
from ember.nn.module import PyroParam
from ember.poutine.site import Site


class AutoNormalMessenger(LocScaleMessenger):
    """Fits an independent normal distribution for each site, drawn in the run of the model.

    The family of :class:`~ember.infer.autoguide.AutoNormal`. A subclass can give some sites another
    posterior, in terms of what is upstream, and leave the others to this class. Parameters of a site ``x``
    are ``AutoNormalMessenger.locs.x`` and ``AutoNormalMessenger.scales.x``.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: the first standard deviation of all.
        amortized_plates: names of plates whose rows share parameters.

    Raises:
        ValueError: for an improper ``init_scale``; at the first call, for discrete sites and sites on a
            sphere.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.infer.autoguide import AutoNormalMessenger
    >>> def model():
    ...     a = ember.sample("a", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("b", ember.distributions.Normal(a, 1.0))
    >>> class Guide(AutoNormalMessenger):
    ...     def get_posterior(self, name, prior):
    ...         if name == "b":
    ...             return dist.Normal(self.upstream_value("a"), 0.5)
    ...         return super().get_posterior(name, prior)
    >>> [name for name, _ in Guide(model).prepare().named_parameters()]
    ['locs.a_unconstrained', 'scales.a_unconstrained']
    """

    _computing_median = False

    posterior_by_name = True

    def get_posterior(self, name: str, prior: Any) -> Any:
        """A normal distribution, mapped to the prior's support; the median of it while :meth:`median` runs."""
        if self._computing_median:
            return self._get_posterior_median(name, prior)
        transform = transform_of(Site(name=name, fn=prior))
        loc, scale = self._loc_and_scale(name, prior)
        base = dist.Normal(loc, scale).to_event(transform.domain.event_dim)
        if is_identity(transform):
            return base
        return dist.TransformedDistribution(base, transform.with_cache())

    def _loc_and_scale(self, name: str, prior: Any) -> tuple[Tensor, Tensor]:
        loc, scale = self._get_params(name, prior)
        return loc, scale

    @torch.no_grad()
    def median(self, *args: object, **kwargs: object) -> Any:
        """The medians of all latent sites, and the values of the other sample sites given them."""
        self._computing_median = True
        try:
            return self(*args, **kwargs)
        finally:
            self._computing_median = False

    def _get_posterior_median(self, name: str, prior: Any) -> Tensor:
        loc, _ = self._loc_and_scale(name, prior)
        median: Tensor = transform_of(Site(name=name, fn=prior))(loc)
        return median.detach().clone()


class AutoHierarchicalNormalMessenger(AutoNormalMessenger):
    """Fits normal distributions around the prior's mean, in unconstrained space.

    A site's location is ``loc + weight * (its prior mean)``. The prior mean depends on what is upstream, so a
    site follows its parents as far as its weight says.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: the first standard deviation of all.
        amortized_plates: names of plates whose rows share parameters.
        init_weight: the first weight of all.
        hierarchical_sites: names of the sites that follow their prior mean; all if None.

    Raises:
        ValueError: for an improper ``init_scale``; at the first call, for sites that follow a prior mean that
            is not finite.
        NotImplementedError: at the first call, for sites that follow their prior mean and have none that is
            known.

    >>> import ember
    >>> from ember.infer.autoguide import AutoHierarchicalNormalMessenger
    >>> def model():
    ...     a = ember.sample("a", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("b", ember.distributions.Normal(a, 1.0))
    >>> guide = AutoHierarchicalNormalMessenger(model)
    >>> sorted(guide())
    ['a', 'b']
    """

    weight_type = "element-wise"
    """A weight for each entry of a site, or one for the site: "scalar"."""

    def __init__(
        self,
        model: Program,
        *,
        init_loc_fn: InitFn = DEFAULT_INIT,
        init_scale: float = 0.1,
        amortized_plates: tuple[str, ...] = (),
        init_weight: float = 1.0,
        hierarchical_sites: Collection[str] | None = None,
    ) -> None:
        super().__init__(
            model, init_loc_fn=init_loc_fn, init_scale=init_scale, amortized_plates=amortized_plates
        )
        self._init_weight = init_weight
        self._hierarchical_sites = hierarchical_sites

    def _is_hierarchical(self, name: str) -> bool:
        return self._hierarchical_sites is None or name in self._hierarchical_sites

    def _loc_and_scale(self, name: str, prior: Any) -> tuple[Tensor, Tensor]:
        if not self._is_hierarchical(name):
            return super()._loc_and_scale(name, prior)
        loc, scale, weight = self._get_params(name, prior)
        return loc + self._prior_mean(name, prior) * weight, scale

    def _prior_mean(self, name: str, prior: Any) -> Tensor:
        mean: Tensor = transform_of(Site(name=name, fn=prior)).inv(prior.mean)
        return mean

    def _get_params(self, name: str, prior: Any) -> Any:
        """The parameters of a site, its weight among them if it follows its prior mean."""
        if not self._is_hierarchical(name):
            return super()._get_params(name, prior)
        if not self._has("locs", name):
            start, event_dim = self._start(self.init_loc_fn, name, prior)
            with torch.no_grad():
                mean = self._adjust_plates(self._prior_mean(name, prior), event_dim)
                if not bool(mean.isfinite().all()):
                    raise ModelError(
                        f"site {name!r} has no finite prior mean to follow: leave it out of hierarchical_sites, the names of "
                        "the sites that do"
                    )
                shared = self.weight_type == "scalar"
                weight = torch.full_like(start.new_zeros(()) if shared else start, self._init_weight)
                start = start - weight * mean
            self._declare("locs", name, PyroParam(start, event_dim=event_dim))
            self._declare_scale(name, start, event_dim)
            own_dims = None if shared else event_dim
            self._declare("weights", name, PyroParam(weight, constraints.positive, own_dims))
        return tuple(deep_getattr(getattr(self, group), name) for group in ("locs", "scales", "weights"))
