"""Several sites of a model, drawn as one vector."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Size, Tensor

from ember.distributions.shapes import broadcast_shape
from ember.errors import ModelError
from ember.infer.autoguide.base.masks import Mask, MaskedEntries, entry_mask
from ember.infer.autoguide.base.point import point_at
from ember.infer.autoguide.base.support import transform_of
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.primitives import sample


class GroupOwner(Protocol):
    """What a group asks of the guide that it belongs to."""

    def plates_around(self, site: Site) -> AbstractContextManager[None]:
        """Enter those plates around a site that are not active."""

    def map_estimate(self, name: str) -> Tensor:
        """Draw a site from a point."""


class Group:
    """Sites of a model that a guide draws together, in unconstrained space.

    A plate around all of them may be subsampled; it stays a batch dim. All other dims are packed into one event.

    Args:
        guide: the guide.
        sites: sites of the model's prototype.

    Raises:
        ValueError: if a site has a plate of its own to the left of the plates that all have.
    """

    event_shape: torch.Size
    """The shape of an event that holds all sites: ``(number of entries,)``."""

    def __init__(self, guide: GroupOwner, sites: list[Site]) -> None:
        assert isinstance(sites, list) and sites, "a group needs sites"
        self._guide: Any = weakref.ref(guide)
        self.prototype_sites = sites
        self.common_frames = frozenset.intersection(
            *(frozenset(f for f in site.cond_indep_stack if f.vectorized) for site in sites)
        )
        self._drawn_at: str | None = None
        self._site_sizes: dict[str, int] = {}
        self._site_batch_shapes: dict[str, Size] = {}
        self._site_event_shapes: dict[str, Size] = {}
        for site in sites:
            name, fn = site.name, site.fn
            batch_shape = self._own_batch_shape(site)
            start = transform_of(site).inv(site.value)
            event_shape = start.shape[len(fn.batch_shape) :]
            self._site_batch_shapes[name], self._site_event_shapes[name] = batch_shape, event_shape
            self._site_sizes[name] = batch_shape.numel() * event_shape.numel()
        self.event_shape = Size([sum(self._site_sizes.values())])

    def _own_batch_shape(self, site: Site) -> Size:
        """The batch shape without the plates that all sites have."""
        shape = list(site.fn.batch_shape)
        dims = [frame.dim for frame in self.common_frames if frame.dim is not None]
        for dim in dims:
            shape[dim] = 1
        while shape and shape[0] == 1:
            del shape[0]
        rightmost = max(dims, default=None)
        if rightmost is not None and len(shape) > -rightmost:
            raise ModelError(
                "Group expects all per-site plates to be right of all common plates, "
                f"but found a per-site plate {-len(shape)} on left at site {site.name!r}"
            )
        return Size(shape)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_guide": self._guide()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._guide = weakref.ref(state["_guide"])

    @property
    def guide(self) -> GroupOwner:
        """The guide that the group belongs to."""
        found: GroupOwner = self._guide()
        return found

    def sample(
        self, guide_name: str, fn: Any, infer: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw the group from a distribution, at an auxiliary site, and put the model's sites where the draw says.

        Args:
            guide_name: the name of the auxiliary site.
            fn: a distribution of :attr:`event_shape`, in unconstrained space.
            infer: options of the auxiliary site.

        Returns:
            The draw, and the constrained values of the model's sites by name.

        Raises:
            ValueError: if ``fn`` has another event shape.
        """
        if fn.event_shape != self.event_shape:
            raise ModelError(
                f"Invalid fn.event_shape for group: expected {tuple(self.event_shape)}, "
                f"actual {tuple(fn.event_shape)}"
            )
        self._drawn_at = guide_name
        packed: Tensor = sample(guide_name, fn, infer={**(infer or {}), "is_auxiliary": True})
        values: dict[str, Tensor] = {}
        parts = torch.split(packed, list(self._site_sizes.values()), dim=-1)
        for site, part in zip(self.prototype_sites, parts, strict=True):
            name = site.name
            batch_shape = Size(broadcast_shape(packed.shape[:-1], self._site_batch_shapes[name]))
            unconstrained = part.reshape(batch_shape + self._site_event_shapes[name])
            point = point_at(transform_of(site), unconstrained, site.fn.event_dim, with_density=True)
            with self.guide.plates_around(site):
                values[name] = sample(name, point)
        return packed, values

    def mask_terms(self, masks: Mapping[str, Mask], guide_trace: Trace) -> None:
        """Give the group's terms the masks of the model's sites.

        Args:
            masks: by site.
            guide_trace: of the guide; its sites are changed.
        """
        packed = None if self._drawn_at is None else guide_trace.nodes.get(self._drawn_at)
        if packed is None or not masks.keys() & self._site_sizes.keys():
            return
        parts = [
            entry_mask(
                masks.get(name, True),
                self._site_batch_shapes[name],
                self._site_event_shapes[name],
                packed.fn.batch_shape,
            )
            for name in self._site_sizes
        ]
        around = broadcast_shape(*(part.shape[:-1] for part in parts))
        whole = torch.cat([part.expand((*around, part.shape[-1])) for part in parts], -1)
        packed.fn = MaskedEntries(packed.fn, whole.to(packed.value.device))

    def map_estimate(self) -> dict[str, Tensor]:
        """Draw each site from a point, which is a parameter of the site's name.

        Returns:
            The values by name.
        """
        return {site.name: self.guide.map_estimate(site.name) for site in self.prototype_sites}
