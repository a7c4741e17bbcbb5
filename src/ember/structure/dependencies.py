"""The dependency structure of a model's prior and posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ember.ops.provenance import get_provenance
from ember.poutine.site import Site
from ember.structure.relations import followed_trace, is_sample_site, left_as_it_was

Edges = dict[str, dict[str, set[str]]]


def get_dependencies(
    model: Callable[..., Any],
    model_args: tuple[Any, ...] | None = None,
    model_kwargs: dict[str, Any] | None = None,
    include_deterministic: bool = False,
) -> dict[str, Edges]:
    """Which latent variables each site depends on, before and after observing (Webb et al., 2018).

    Args:
        model: the program to look at.
        model_args: its positional arguments.
        model_kwargs: its keyword arguments.
        include_deterministic: do not look through ``deterministic`` sites.

    Returns:
        ``{"prior_dependencies": ..., "posterior_dependencies": ...}``. Each maps a site to the sites on which
            it depends, itself included, and these to sets of plates: rows of a plate in the set depend on
            each other, other rows on their like only. Under ``posterior_dependencies`` there are latent sites
            only, in reverse order.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> def model():
    ...     a = ember.sample("a", dist.Normal(0.0, 1.0))
    ...     ember.sample("b", dist.Normal(a, 1.0), obs=torch.tensor(0.0))
    >>> get_dependencies(model)["prior_dependencies"]
    {'a': {'a': set()}, 'b': {'b': set(), 'a': set()}}
    >>> get_dependencies(model)["posterior_dependencies"]
    {'a': {'a': set(), 'b': set()}}
    """
    trace = followed_trace(model, model_args, model_kwargs, include_deterministic)
    sites = [site for site in trace.nodes.values() if is_sample_site(site)]
    plates = {site.name: {frame.name for frame in site.plates} for site in sites}
    with left_as_it_was():
        prior = _prior(sites)
    observed = {site.name for site in sites if site.is_observed}
    order = {site.name: i for i, site in enumerate(reversed(sites))}
    return {
        "prior_dependencies": prior,
        "posterior_dependencies": _posterior(prior, plates, observed, order),
    }


def _prior(sites: list[Site]) -> Edges:
    edges: Edges = {site.name: {site.name: set()} for site in sites}
    for i, downstream in enumerate(sites):
        upstream = [site.name for site in sites[:i] if site.is_latent and site.value.numel()]
        if upstream:
            sources = get_provenance(downstream.fn.log_prob(downstream.value))
            edges[downstream.name].update({name: set() for name in upstream if name in sources})
    return edges


def _posterior(prior: Edges, plates: dict[str, set[str]], observed: set[str], order: dict[str, int]) -> Edges:
    """Edges turned round, and edges between all parents of a site: once it is observed, they explain each other away."""
    edges: Edges = {name: {} for name in plates if name not in observed}
    for site, parents in prior.items():
        for parent, across in parents.items():
            if parent not in observed:
                edges[parent][site] = set(across)
    for site, parents in prior.items():
        latent = {parent: across for parent, across in parents.items() if parent not in observed}
        for early, across_early in latent.items():
            for late, across_late in latent.items():
                if order[early] <= order[late]:
                    shared = edges[late].setdefault(early, set())
                    shared |= plates[early] & plates[late] - plates[site]
                    shared |= plates[late] & across_early
                    shared |= plates[early] & across_late
    return edges
