"""Which sites of a guide have gradients that go through their samples."""

from __future__ import annotations

from ember.distributions import Delta, Unit
from ember.distributions.distribution import Distribution
from ember.distributions.masking import is_identically_zero
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


def is_fully_reparameterized(site: Site) -> bool:
    """Whether gradients of the site go through its sample alone."""
    _, score_function, entropy_term = site.score_parts
    return bool(
        site.fn.has_rsample and not is_identically_zero(entropy_term) and is_identically_zero(score_function)
    )


def check_fully_reparametrized(guide_site: Site) -> None:
    """Check that gradients of a guide's site go through its sample alone.

    Raises:
        NotImplementedError: if not.
    """
    if not is_fully_reparameterized(guide_site):
        raise NotImplementedError("All distributions in the guide must be fully reparameterized.")


def check_guide_reparametrized(model_trace: Trace, guide_trace: Trace) -> None:
    """Check all sites of a guide, as :func:`check_fully_reparametrized` does.

    Raises:
        NotImplementedError: if a site is not fully reparameterised.
    """
    for site in guide_trace.nodes.values():
        if site.type == "sample":
            check_fully_reparametrized(site)


def has_path(site: Site) -> bool:
    """Whether the site has a density, all of whose gradient goes through the sample and the parameters of the density."""
    return is_fully_reparameterized(site) and not _is_term(site.fn)


def _is_term(fn: Distribution) -> bool:
    """Whether the log density is but a term that the user adds (a Jacobian, say), whose score does not have mean zero."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, (Delta, Unit))
