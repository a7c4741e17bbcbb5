"""What a guide has to know about each latent site in every step, worked out once from the prototype."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from ember.infer.autoguide.base.support import family, transform_of
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


@dataclass(frozen=True)
class SiteLayout:
    """One latent site.

    ``event_dim`` counts the dims of an event in the support, ``unconstrained_event_dim`` those of its image in unconstrained
    space. Sites of one ``family`` have the same ``transform``; None stands for one of the site's own.
    """

    name: str
    site: Site
    transform: Any
    event_dim: int
    unconstrained_event_dim: int
    family: Hashable | None
    in_plates: bool
    """Whether vectorised plates are around the site."""


def layouts_of(prototype: Trace) -> list[SiteLayout]:
    """The layouts of all latent sites, in the model's order."""
    return [_layout(name, site) for name, site in prototype.iter_stochastic_nodes()]


def _layout(name: str, site: Site) -> SiteLayout:
    transform, event_dim = transform_of(site), site.fn.event_dim
    added = transform.domain.event_dim - transform.codomain.event_dim
    in_plates = any(frame.vectorized for frame in site.cond_indep_stack)
    return SiteLayout(name, site, transform, event_dim, event_dim + added, family(site.fn.support), in_plates)
