"""Guides over one packed vector of all sites, in unconstrained space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember.distributions.normal import Normal
from ember.distributions.typed_torch import broadcast_shapes
from ember.errors import ModelError
from ember.infer.autoguide.base.data_sites import children_of, sets_of_size
from ember.infer.autoguide.base.guide import AutoGuide, Program, with_initializer
from ember.infer.autoguide.base.initialization import InitFn, init_to_median
from ember.infer.autoguide.base.layout import SiteLayout
from ember.infer.autoguide.base.masks import Mask, mask_packed
from ember.infer.autoguide.base.naming import product
from ember.infer.autoguide.base.point import Point, point_at, points_together
from ember.infer.autoguide.base.prototype import at_full_size, unconstrained_start
from ember.infer.autoguide.base.reading import reading, reading_quantiles
from ember.params.param_store import get_param_store
from ember.poutine.runtime import get_mask
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.primitives import sample, subsample


class AutoContinuous(AutoGuide):
    """Draws one vector for all sites and maps its parts to their supports; the base of such guides.

    See Kucukelbir et al. (2017).

    Subclasses define :meth:`get_posterior`, the distribution of that vector. Where plates subsample, it
    covers all rows, and each step uses those that the plates have chosen.

    Args:
        model: the model; its sites and their shapes must be the same in every run.
        init_loc_fn: where the sites start.
        create_plates: see :class:`AutoGuide`.

    Raises:
        ValueError: at the first call, for discrete sites and sites on a sphere.
        RuntimeError: at the first call, if there are no latent sites.
    """

    latent_dim: int
    """The length of the vector; known after the first call."""

    def __init__(
        self, model: Program, init_loc_fn: InitFn = init_to_median, *, create_plates: Program | None = None
    ) -> None:
        super().__init__(with_initializer(model, init_loc_fn), create_plates=create_plates)

    def _stored_length(self, possible: Sequence[int]) -> int | None:
        """The length of the vector that the parameters in the store are for; None where that cannot be told.

        Args:
            possible: the lengths that it may have.
        """
        name, store = f"{self._pyro_name}.loc", get_param_store()
        return store[name].numel() if name in store else None

    def _sites_left_to_model(
        self, recorded: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> set[str]:
        sizes = {name: _length(site) for name, site in recorded.iter_stochastic_nodes()}
        total = sum(sizes.values())
        stored = self._stored_length(range(total, 0, -1))
        if stored is None or stored >= total:
            return set()
        fitting = sets_of_size(total - stored, sizes, children_of(self.model, args, kwargs))
        if len(fitting) != 1:
            raise ModelError(
                f"the first call of this {type(self).__name__} finds {total} latent values, at the sites {list(sizes)}, but its "
                f"parameters in the store are for {stored}. Sites of data look latent in a call without their data: call the "
                "guide with the data first, guide.prepare(...). If the parameters are of another model, call "
                "ember.clear_param_store()."
            )
        return fitting[0]

    def _setup_prototype(self, *args: object, **kwargs: object) -> None:
        super()._setup_prototype(*args, **kwargs)
        starts = {}
        for name, site in self._latent_sites():
            start = unconstrained_start(site)
            event_dim = site.fn.event_dim + start.dim() - site.value.dim()
            starts[name] = at_full_size(start, site, event_dim)
        self._unconstrained_shapes = {name: start.shape for name, start in starts.items()}
        self._cond_indep_stacks = {name: site.cond_indep_stack for name, site in self._latent_sites()}
        self.latent_dim = sum(product(shape) for shape in self._unconstrained_shapes.values())
        if self.latent_dim == 0:
            raise RuntimeError(
                f"{type(self).__name__} found no latent variables; Use an empty guide instead, "
                "such as 'def guide(*args, **kwargs): pass'"
            )
        self.__dict__["_starts"] = starts

    def _init_loc(self) -> Tensor:
        """The vector to start from."""
        starts: dict[str, Tensor] = self.__dict__.pop("_starts", None) or {
            name: at_full_size(unconstrained_start(site), site, len(self._unconstrained_shapes[name]))
            for name, site in self._latent_sites()
        }
        return torch.cat([start.reshape(-1) for start in starts.values()])

    def get_base_dist(self) -> Any:
        """A distribution that :meth:`get_transform` maps to the posterior.

        It does not depend on the model's arguments.
        """
        raise NotImplementedError(f"{type(self).__name__} is not made from a base distribution")

    def get_transform(self, *args: object, **kwargs: object) -> Any:
        """Return the transform from the base distribution to the posterior."""
        raise NotImplementedError(f"{type(self).__name__} is not made by a transform")

    def get_posterior(self, *args: object, **kwargs: object) -> Any:
        """Return the distribution of the packed vector.

        Shapes:
            event: ``(latent_dim,)``.
        """
        return dist.TransformedDistribution(self.get_base_dist(), self.get_transform(*args, **kwargs))

    def sample_latent(self, *args: object, **kwargs: object) -> Tensor:
        """Return a draw of the packed vector, at an auxiliary site."""
        posterior = self.get_posterior(*args, **kwargs)
        latent: Tensor = sample(f"_{self._pyro_name}_latent", posterior, infer={"is_auxiliary": True})
        return latent

    def unpack_latent(self, latent: Tensor) -> Iterator[tuple[Site, Tensor]]:
        """Pairs of site and unconstrained value, at full size, from a packed vector.

        Dims left of the vector's, such as that of particles, are batch dims of all sites.
        """
        for layout, value in zip(self._layouts(), self._unpacked(latent), strict=True):
            yield layout.site, value

    _unpack_latent = unpack_latent  # Pyro's name

    def _unpacked(self, latent: Tensor) -> Iterator[Tensor]:
        batch_shape, layouts = latent.shape[:-1], self._layouts()
        shapes = [self._unconstrained_shapes[layout.name] for layout in layouts]
        parts = torch.split(latent, [product(shape) for shape in shapes], dim=-1)
        for layout, shape, part in zip(layouts, shapes, parts, strict=True):
            within = batch_shape + (1,) * layout.unconstrained_event_dim
            yield part.reshape(broadcast_shapes(shape, within))

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Draw the packed vector, and put all sites where it says.

        Returns:
            The constrained values by name.
        """
        self.ensure_prototype(args, kwargs)
        latent = self.sample_latent(*args, **kwargs)
        self._create_plates(*args, **kwargs)
        with_density = get_mask() is not False
        values = list(self._unpacked(latent))
        points = self._points_together(values, with_density)
        result = {}
        for position, (layout, value) in enumerate(zip(self._layouts(), values, strict=True)):
            with self._plates_of(layout.site):
                point = points.get(position)
                if point is None:
                    if layout.in_plates and self._is_subsampled(layout.site):
                        value = subsample(value, event_dim=layout.unconstrained_event_dim)
                    point = point_at(layout.transform, value, layout.event_dim, with_density)
                result[layout.name] = sample(layout.name, point)
        return result

    def _points_together(self, values: list[Tensor], with_density: bool) -> dict[int, Point]:
        """Points of sites that share shape and support, mapped together, by position."""
        alike: dict[Any, list[int]] = {}
        for position, layout in enumerate(self._layouts()):
            if layout.family is not None and not (layout.in_plates and self._is_subsampled(layout.site)):
                alike.setdefault((values[position].shape, self._alike(layout)), []).append(position)
        points: dict[int, Point] = {}
        for positions in alike.values():
            if len(positions) > 1:
                first, members = self._layouts()[positions[0]], [values[position] for position in positions]
                together = points_together(
                    first.transform, torch.stack(members), members, first.event_dim, with_density
                )
                points.update(zip(positions, together, strict=True))
        return points

    @staticmethod
    def _alike(layout: SiteLayout) -> Any:
        return layout.event_dim, layout.unconstrained_event_dim, layout.family

    def _mask_terms(self, masks: dict[str, Mask], guide_trace: Trace) -> None:
        super()._mask_terms(masks, guide_trace)
        packed = guide_trace.nodes.get(f"_{self._pyro_name}_latent")
        if packed is None:
            return  # a subclass draws in a way of its own
        shapes = [(layout, self._unconstrained_shapes[layout.name]) for layout in self._layouts()]
        mask_packed(packed, shapes, masks, guide_trace)

    def _loc_scale(self, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        """Location and scale of each entry of the packed vector, for :meth:`median` and :meth:`quantiles`."""
        raise NotImplementedError(f"{type(self).__name__} has no closed form for its median and quantiles")

    @reading
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the median of each site, at full size."""
        loc, _ = self._loc_scale(*args, **kwargs)
        return self._constrained(loc.detach().clone())

    @reading_quantiles
    def quantiles(self, quantiles: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return quantiles of each site, at full size.

        Args:
            quantiles: numbers between 0 and 1.
            args: of the model.
            kwargs: of the model.

        Shapes:
            result: ``(len(quantiles),) + the site's shape``.
        """
        loc, scale = self._loc_scale(*args, **kwargs)
        q = torch.as_tensor(quantiles, dtype=loc.dtype, device=loc.device).reshape(-1, 1)
        latents = Normal(loc, scale).icdf(q)  # type: ignore[no-untyped-call]
        rows = [self._constrained(latent) for latent in latents]
        return {name: torch.stack([row[name] for row in rows]) for name in self._unconstrained_shapes}

    def _constrained(self, latent: Tensor) -> dict[str, Tensor]:
        pairs = zip(self._layouts(), self._unpacked(latent), strict=True)
        return {layout.name: layout.transform(value) for layout, value in pairs}


def _length(site: Site) -> int:
    """The number of unconstrained values of a site, for all rows of its plates."""
    start = unconstrained_start(site)
    event_dim = site.fn.event_dim + start.dim() - site.value.dim()
    return product(at_full_size(start, site, event_dim).shape)
