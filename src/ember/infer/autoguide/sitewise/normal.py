"""Mean field: an independent normal distribution for each site, in unconstrained space."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributions import transform_to

from ember.distributions import constraints
from ember.distributions.normal import Normal
from ember.infer.autoguide.base.guide import AutoGuide, Program, check_init_scale, with_initializer
from ember.infer.autoguide.base.initialization import InitFn, init_to_feasible
from ember.infer.autoguide.base.masks import Mask
from ember.infer.autoguide.base.naming import deep_getattr, deep_setattr
from ember.infer.autoguide.base.prototype import at_full_size, unconstrained_start
from ember.infer.autoguide.base.reading import reading, reading_quantiles
from ember.infer.autoguide.sitewise.normal_group import NormalSite, groups_of
from ember.nn.module import PyroModule, PyroParam
from ember.params.lean_transforms import lean
from ember.params.param_store import get_param_store
from ember.poutine.runtime import get_mask, get_plates
from ember.poutine.trace_struct import Trace
from ember.primitives import sample


class AutoNormal(AutoGuide):
    """Fits an independent normal distribution for each entry of each site, in unconstrained space.

    This is mean field (Kucukelbir et al., 2017).

    The parameters of a site ``x`` are ``AutoNormal.locs.x`` and ``AutoNormal.scales.x``, of full size where
    plates subsample. Noise is drawn for all sites at once.

    Args:
        model: the model.
        init_loc_fn: where the sites start.
        init_scale: the first standard deviation of all.
        create_plates: see :class:`AutoGuide`.

    Raises:
        ValueError: for an improper ``init_scale``; at the first call, for discrete sites and sites on a
            sphere.

    >>> import torch, ember
    >>> from ember.infer.autoguide import AutoNormal
    >>> def model():
    ...     ember.sample("x", ember.distributions.Gamma(torch.tensor(2.0), 1.0))
    >>> guide = AutoNormal(model)
    >>> guide()["x"].shape, guide.median()
    (torch.Size([]), {'x': tensor(1.)})
    """

    saved_options = ()

    scale_constraint: Any = constraints.softplus_positive

    def __init__(
        self,
        model: Program,
        *,
        init_loc_fn: InitFn = init_to_feasible,
        init_scale: float = 0.1,
        create_plates: Program | None = None,
    ) -> None:
        check_init_scale(init_scale)
        super().__init__(with_initializer(model, init_loc_fn), create_plates=create_plates)
        self.init_loc_fn = init_loc_fn
        self._init_scale = init_scale

    def _parameter_of(self, site: str) -> str | None:
        return f"locs.{site}"

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        starts: dict[str, tuple[Tensor, int]] = {}
        for name, site in self._latent_sites():
            start = unconstrained_start(site)
            # In unconstrained space an event may have fewer dims or more.
            event_dim = site.fn.event_dim + start.dim() - site.value.dim()
            starts[name] = at_full_size(start, site, event_dim), event_dim
        self._event_dims = {name: event_dim for name, (_, event_dim) in starts.items()}
        self.locs = PyroModule()
        self.scales = PyroModule()
        for name, (start, event_dim) in starts.items():
            scale = torch.full_like(start, self._init_scale)
            deep_setattr(self.locs, name, PyroParam(start, constraints.real, event_dim))
            deep_setattr(self.scales, name, PyroParam(scale, self.scale_constraint, event_dim))

    def _get_loc_and_scale(self, name: str) -> tuple[Tensor, Tensor]:
        """The parameters of a site; inside plates, the rows that they have chosen."""
        return deep_getattr(self.locs, name), deep_getattr(self.scales, name)

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Draw all sites.

        Returns:
            The constrained values by name.
        """
        self.ensure_prototype(args, kwargs)
        self._create_plates(*args, **kwargs)
        sites = self._read_parameters()
        fns: list[Any] = [None] * len(sites)
        groups = groups_of(sites, get_plates(), lean(transform_to(self.scale_constraint)))
        for group in groups:
            for position, fn in zip(group.positions, group.distributions(), strict=True):
                fns[position] = fn
        values = [self._draw_auxiliary(site, fn) for site, fn in zip(sites, fns, strict=True)]
        with_density = get_mask() is not False
        points: list[Any] = [None] * len(sites)
        for group in groups:
            group_points = group.points([values[position] for position in group.positions], with_density)
            for position, point in zip(group.positions, group_points, strict=True):
                points[position] = point
        result = {}
        for site, value, point in zip(sites, values, points, strict=True):
            name = site.layout.name
            point = site.point(value, with_density) if point is None else point
            with self._plates_around(site):
                result[name] = sample(name, point)
        return result

    def _plates_around(self, site: NormalSite) -> AbstractContextManager[None]:
        return self._plates_of(site.layout.site) if site.layout.in_plates else nullcontext()

    def _draw_auxiliary(self, site: NormalSite, fn: Any) -> Tensor:
        layout = site.layout
        with self._plates_around(site):
            fn = Normal(site.loc, site.scale) if fn is None else fn
            if layout.unconstrained_event_dim:
                fn = fn.to_event(layout.unconstrained_event_dim)
            value: Tensor = sample(f"{layout.name}_unconstrained", fn, infer={"is_auxiliary": True})
        return value

    def _read_parameters(self) -> list[NormalSite]:
        # A scale that comes from elsewhere than its leaf (a subclass, a handler, rows of a plate) is taken as it is.
        standard = type(self)._get_loc_and_scale is AutoNormal._get_loc_and_scale
        store = get_param_store()
        prefix = f"{self._pyro_name}.scales."
        sites = []
        for layout in self._layouts():
            if layout.in_plates:
                with self._plates_of(layout.site):
                    loc, scale = self._get_loc_and_scale(layout.name)
            else:
                loc, scale = self._get_loc_and_scale(layout.name)
            leaf = None
            name = prefix + layout.name
            is_own = name not in store or store.constraint(name) is self.scale_constraint
            if standard and is_own:
                leaf = getattr(scale, "unconstrained", None)
            sites.append(NormalSite(layout, loc, scale, None if leaf is None else leaf()))
        return sites

    def _mask_terms(self, masks: dict[str, Mask], guide_trace: Trace) -> None:
        drawn = {f"{name}_unconstrained": mask for name, mask in masks.items()}
        super()._mask_terms({**masks, **drawn}, guide_trace)

    @reading
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the median of each site, at full size."""
        return {
            layout.name: layout.transform(self._get_loc_and_scale(layout.name)[0]).detach().clone()
            for layout in self._layouts()
        }

    @reading_quantiles
    def quantiles(self, quantiles: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return quantiles of each site, at full size.

        Args:
            quantiles: numbers between 0 and 1.
            args: ignored.
            kwargs: ignored.

        Shapes:
            result: ``(len(quantiles),) + the site's shape``.

        >>> import torch, ember
        >>> from ember.infer.autoguide import AutoNormal
        >>> guide = AutoNormal(lambda: ember.sample("x", ember.distributions.Normal(0.0, 1.0)))
        >>> guide.prepare().quantiles([0.025, 0.975])["x"]
        tensor([-0.1960,  0.1960])
        """
        results = {}
        for layout in self._layouts():
            loc, scale = self._get_loc_and_scale(layout.name)
            q = torch.as_tensor(quantiles, dtype=loc.dtype, device=loc.device)
            unconstrained = Normal(loc, scale).icdf(q.reshape((-1,) + (1,) * loc.dim()))  # type: ignore[no-untyped-call]
            results[layout.name] = layout.transform(unconstrained)
        return results
