"""Tensor Monte Carlo: the evidence estimated from all combinations of samples of the sites."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ember.distributions.masking import is_identically_zero
from ember.infer.enumeration.checks import warn_if_nothing_enumerated
from ember.infer.enumeration.dice import compute_site_dice_factor
from ember.infer.enumeration.model_factors import ByOrdinal
from ember.infer.enumeration.runner import Enumerated, PackedPairing
from ember.infer.objectives.composition import Composition
from ember.infer.objectives.elbo import ELBO
from ember.infer.terms.estimate import Estimate, Terms
from ember.infer.traces.settings import Settings
from ember.ops import packed
from ember.ops.contract import contract_to_tensor
from ember.ops.packed import dims_of, tagged
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


@dataclass(frozen=True)
class TMCTerms(Terms):
    """The evidence estimated from all combinations of samples."""

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        factors = _log_weights(model_trace, guide_trace) + _dice_factors(model_trace, guide_trace)
        if not factors:
            return Estimate(0.0, 0.0)
        plates = {*model_trace.plate_to_symbol.values(), *guide_trace.plate_to_symbol.values()}
        tree: ByOrdinal = OrderedDict()
        for factor in factors:
            tree.setdefault(frozenset(plates.intersection(dims_of(factor))), []).append(factor)
        sum_dims = set().union(*map(dims_of, factors)) - plates
        elbo = contract_to_tensor(tree, sum_dims)
        return Estimate(elbo, elbo)


class TraceTMC_ELBO(ELBO):
    """Estimates a lower bound of the log evidence from several samples of each site.

    The samples are combined in all ways, by variable elimination. Arguments are those of :class:`ELBO`.

    Sites of model or guide marked ``infer={"enumerate": "parallel", "num_samples": n}`` are sampled n times,
    those without ``num_samples`` enumerated; sites of the model that the guide has are not marked.
    :func:`~ember.infer.config_enumerate` marks all sites at once. Nothing outside of a plate may depend on
    what is enumerated inside of it.

    References:
        L. Aitchison (2018), "Tensor Monte Carlo: particle methods for the GPU era".
        F. Obermeyer et al. (2019), "Tensor variable elimination for plated factor graphs".

    >>> import ember, torch
    >>> import ember.distributions as dist
    >>> from ember.infer import TraceTMC_ELBO
    >>> def model(x):
    ...     k = ember.sample("k", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    ...     ember.sample("x", dist.Bernoulli(0.2 + 0.5 * k), obs=x)
    >>> loss = TraceTMC_ELBO().loss(model, lambda x: None, torch.tensor(1.0))
    >>> round(loss, 4)  # -log(0.5 * 0.2 + 0.5 * 0.7)
    0.7985
    """

    def composition(self) -> Composition:
        checks = (partial(warn_if_nothing_enumerated, "F"),) if self.strict_enumeration_warning else ()
        # Sites sampled in the model have DiCE factors too.
        return Composition(
            Enumerated(type(self).__name__), TMCTerms(), PackedPairing(checks, scores_model=True)
        )


def _proposal(trace: Trace, site: Site) -> Tensor:
    """The log density that the samples of a site were drawn from.

    Where samples chose one sample of each ancestor, it is the mixture over all that they might have chosen.
    """
    log_prob: Tensor = site.packed.log_prob
    if site.num_samples is None:
        return log_prob
    shape = site.value.shape[: site.value.dim() - getattr(site.fn, "event_dim", 0)]
    own = {trace_dim - len(shape) for trace_dim, size in enumerate(shape) if size > 1}
    dim_to_symbol = site.dim_to_symbol or {}
    symbols = {dim_to_symbol.get(dim) for dim in own} | set(trace.plate_to_symbol.values())
    dims = dims_of(log_prob)
    ancestors = [position for position, dim in enumerate(dims) if dim not in symbols]
    if not ancestors:
        return log_prob
    choices = math.prod(log_prob.shape[position] for position in ancestors)
    mixture = log_prob.logsumexp(ancestors) - math.log(choices)
    return tagged(mixture, "".join(dim for dim in dims if dim in symbols))


def _is_sampled_in_parallel(site: Site) -> bool:
    return site.enumeration == "parallel" and site.num_samples is not None


def _log_weights(model_trace: Trace, guide_trace: Trace) -> list[Tensor]:
    """log p(x, z) - log q(z); for a site that was sampled from its prior, q is made of the prior."""
    weights = [packed.neg(_proposal(guide_trace, site)) for _, site in guide_trace.iter_stochastic_nodes()]
    for name, site in model_trace.nodes.items():
        if site.type != "sample":
            continue
        if not site.is_observed and name not in guide_trace and _is_sampled_in_parallel(site):
            weights.append(packed.neg(_proposal(model_trace, site)))
        weights.append(site.packed.log_prob)
    return weights


def _dice_factors(model_trace: Trace, guide_trace: Trace) -> list[Tensor]:
    """What makes the gradient right where samples have no pathwise derivative, and averages over samples."""
    # A site of the model that is summed over exactly has no proposal: its prior is a weight already.
    sites = [
        (model_trace, site)
        for name, site in model_trace.iter_stochastic_nodes()
        if name not in guide_trace and (site.enumeration != "parallel" or _is_sampled_in_parallel(site))
    ]
    sites += [(guide_trace, site) for _, site in guide_trace.iter_stochastic_nodes()]
    factors = (_dice_factor(trace, site) for trace, site in sites)
    return [factor for factor in factors if not is_identically_zero(factor)]


def _dice_factor(trace: Trace, site: Site) -> Any:
    log_prob, log_times = compute_site_dice_factor(site)
    proposal = _proposal(trace, site)
    if site.num_samples is not None and proposal is not site.packed.log_prob:
        pathwise = is_identically_zero(site.packed.score_parts.score_function)
        score = torch.zeros_like(proposal) if pathwise else proposal - proposal.detach()
        return tagged(score - math.log(site.num_samples), dims_of(proposal))
    if log_times:
        dims = dims_of(log_prob) if isinstance(log_prob, Tensor) else ""
        log_prob = tagged(proposal.new_zeros(()) + log_prob - log_times, dims)
    return log_prob
