"""The log density of each observation, at each draw of the posterior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.errors import ModelError
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace

Program = Callable[..., Any]


def log_likelihood(
    model: Program, posterior: Mapping[str, Tensor], *args: Any, **kwargs: Any
) -> dict[str, Tensor]:
    """Log densities of the observations, one by one, without the scales of plates.

    The input of leave-one-out cross-validation (Vehtari, Gelman and Gabry, 2017). Entries that a mask hides are 0.

    Args:
        model: the program, with its data observed.
        posterior: draws of its latent sites, along dim 0.
        args: of the model.
        kwargs: of the model.

    Returns:
        By observed site, tensors of shape ``(draws,) + batch shape of the site``.

    Raises:
        ValueError: for a latent site without draws, draws of different numbers, or a model without observations.

    >>> import ember
    >>> from ember import distributions as dist
    >>> def model(y):
    ...     mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    ...     with ember.plate("rows", len(y)):
    ...         ember.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> log_likelihood(model, {"mu": torch.zeros(5)}, torch.tensor([0.0, 1.0]))["y"].shape
    torch.Size([5, 2])
    """
    sizes = {name: len(value) for name, value in posterior.items()}
    if len(set(sizes.values())) != 1:
        raise ModelError(f"log_likelihood needs the same number of draws at all sites, got {sizes}")
    rows = []
    with torch.no_grad(), poutine.block():
        for row in range(next(iter(sizes.values()))):
            given = {name: value[row] for name, value in posterior.items()}
            trace = poutine.trace(poutine.condition(model, data=given)).get_trace(*args, **kwargs)
            rows.append(_terms(trace, posterior))
    return {name: torch.stack([terms[name] for terms in rows]) for name in rows[0]}


def _terms(trace: Trace, posterior: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The unscaled densities of the data of one run.

    Raises:
        ValueError: see :func:`log_likelihood`.
    """
    missing = [site.name for site in trace.samples() if site.is_latent and not site.is_subsample]
    if missing:
        raise ModelError(
            f"log_likelihood has no draws of the latent sites {missing}; it has those of {list(posterior)}. "
            "Discrete sites that were summed out can be drawn by ember.infer.infer_discrete."
        )
    terms = {
        site.name: _term(site)
        for site in trace.samples()
        if site.name not in posterior and not (site.is_subsample or site.is_factor or site.is_deterministic)
    }
    if not terms:
        raise ModelError("log_likelihood needs a model with observed sites (obs=...); this one has none")
    return terms


def _term(site: Site) -> Tensor:
    density: Tensor = site.fn.log_prob(site.value)
    if site.mask is None:
        return density
    mask = torch.as_tensor(site.mask)
    return torch.where(mask, density, torch.zeros_like(density))
