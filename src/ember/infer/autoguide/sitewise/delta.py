"""Maximum a posteriori estimates, in constrained space."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ember.infer.autoguide.base.guide import AutoGuide, Program, with_initializer
from ember.infer.autoguide.base.initialization import InitFn, init_to_median
from ember.infer.autoguide.base.naming import deep_getattr, deep_setattr
from ember.infer.autoguide.base.point import Point
from ember.infer.autoguide.base.prototype import at_full_size
from ember.infer.autoguide.base.reading import reading
from ember.infer.autoguide.base.support import explained, helpful_support_errors
from ember.nn.module import PyroParam
from ember.params.initialize import unconstrained_leaf
from ember.primitives import sample


class AutoDelta(AutoGuide):
    """Fits a point for each site: the posterior's mode in constrained space.

    The parameter of a site ``x`` is ``AutoDelta.x``, constrained to the site's support and of full size where
    plates subsample.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        create_plates: see :class:`AutoGuide`.

    Raises:
        ValueError: at the first call, for discrete sites.

    >>> import torch, ember
    >>> from ember.infer.autoguide import AutoDelta
    >>> def model():
    ...     ember.sample("x", ember.distributions.Gamma(torch.tensor(2.0), 1.0))
    >>> AutoDelta(model, init_loc_fn=ember.infer.autoguide.init_to_mean)()
    {'x': tensor(2., grad_fn=<ExpandBackward0>)}
    """

    saved_options = ()

    def __init__(
        self, model: Program, init_loc_fn: InitFn = init_to_median, *, create_plates: Program | None = None
    ) -> None:
        super().__init__(with_initializer(model, init_loc_fn), create_plates=create_plates)
        self.init_loc_fn = init_loc_fn

    def _parameter_of(self, site: str) -> str | None:
        return site

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        starts = {}
        for name, site in self._latent_sites():
            fn = site.fn
            if getattr(fn.support, "is_discrete", False):
                raise explained(site, NotImplementedError())
            with helpful_support_errors(site):
                start = at_full_size(site.value, site, fn.event_dim)
                # Raises for values and supports that cannot be parameters, before there are any.
                unconstrained_leaf(f"{self._pyro_name}.{name}", start.clone(), fn.support)
            starts[name] = PyroParam(start, fn.support, fn.event_dim)
        for name, declared in starts.items():
            deep_setattr(self, name, declared)

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Put all sites at their points.

        Returns:
            The constrained values by name.
        """
        self.ensure_prototype(args, kwargs)
        self._create_plates(*args, **kwargs)
        result = {}
        for name, site in self._latent_sites():
            with self._plates_of(site):
                point = deep_getattr(self, name)
                # A view: nobody is handed the parameter itself.
                fn = Point(point.expand(point.shape), event_dim=site.fn.event_dim)
                result[name] = sample(name, fn)
        return result

    @reading
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The points, at full size."""
        self.ensure_prototype(args, kwargs)
        return {name: deep_getattr(self, name).detach().clone() for name, _ in self._latent_sites()}
