"""DiCE: expectations whose derivatives of all orders are estimated without bias.

Foerster, Farquhar, Al-Shedivat, Rocktaeschel, Xing, Whiteson (2018), "DiCE: the infinitely differentiable Monte Carlo estimator".
A site of the guide has a factor, in log space. It is log q(z) for values that are enumerated, and log q(z) minus its own
value, hence 0 with a gradient, for values that are sampled. A cost is weighed with the factors of the sites that it may depend
on, which are those with no other plates than its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from opt_einsum import shared_intermediates
from opt_einsum.sharing import count_cached_ops
from torch import Tensor

from ember.distributions.masking import is_identically_zero
from ember.ops import packed
from ember.ops.einsum.adjoint import require_backward
from ember.ops.packed import dims_of, tagged
from ember.ops.rings import MarginalRing
from ember.ops.scalars import total
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace

Ordinal = frozenset[str]
"""The symbols of the plates around a site."""

LAST_CACHE_SIZE: list[Counter[str]] = [Counter()]
"""How many operations of each kind the last expectation needed; for profiling."""


def compute_site_dice_factor(site: Site) -> tuple[Any, float]:
    """The log factor of a site of the guide, and the log of how often sequential enumeration counts what is upstream.

    Args:
        site: a sample site with packed score parts.
    """
    # The score function is not scaled: a subsample is as probable as it is.
    score = site.packed.score_parts.score_function
    mode, num_samples = site.enumeration, site.num_samples
    if num_samples is None and mode:
        log_times = math.log(site.enumerate_total or 1) if mode == "sequential" else 0.0
        return score, log_times
    if not is_identically_zero(score):
        score = tagged(score - score.detach(), dims_of(score))
    if num_samples is None or not mode:
        return score, 0.0
    log_prob = site.packed.log_prob
    if not isinstance(score, Tensor):
        score = tagged(log_prob.new_zeros(()), "")
    # All samples weigh the same, also those that differ in nothing but the log density.
    weight = tagged(score - math.log(num_samples), dims_of(score))
    return packed.broadcast_all(weight, log_prob)[0], 0.0


class Dice:
    """The DiCE factors of a guide's trace.

    Args:
        guide_trace: a trace with packed score parts.
        ordering: the ordinal of each site. A site depends on those whose ordinal is ``<=`` its own.
    """

    def __init__(self, guide_trace: Trace, ordering: Mapping[str, Ordinal]) -> None:
        self.log_denom: dict[Ordinal, float] = {}
        self.log_probs: dict[Ordinal, list[Tensor]] = {}
        for name, site in guide_trace.nodes.items():
            if site.type != "sample":
                continue
            log_prob, log_times = compute_site_dice_factor(site)
            if not is_identically_zero(log_prob):
                # Marked before anything is computed: intermediate results are shared between costs.
                require_backward(log_prob)
                self.log_probs.setdefault(ordering[name], []).append(log_prob)
            if log_times:
                self.log_denom[ordering[name]] = self.log_denom.get(ordering[name], 0.0) + log_times

    def _factors(self, target: Ordinal) -> tuple[list[Tensor], float]:
        """The factors upstream of an ordinal, and the weight that all of its costs have."""
        # A cost that does not depend on a sequentially enumerated site comes up once for each of its values.
        log_times = sum(term for ordinal, term in self.log_denom.items() if not ordinal <= target)
        factors = [term for ordinal, terms in self.log_probs.items() if ordinal <= target for term in terms]
        return factors, math.exp(-log_times)

    def compute_expectation(self, costs: Mapping[Ordinal, Sequence[Tensor]]) -> Any:
        """The expected sum of the costs: a scalar to differentiate.

        Args:
            costs: packed tensors by ordinal.
        """
        expected: list[Any] = []
        with shared_intermediates() as cache:
            ring = MarginalRing(cache=cache)
            for ordinal, terms in costs.items():
                factors, scale = self._factors(ordinal)
                expected += [
                    term if scale == 1.0 else scale * term
                    for term in _expectations(ring, factors, terms, ordinal)
                ]
            LAST_CACHE_SIZE[0] = count_cached_ops(cache)
        return total(expected)


def _expectations(
    ring: MarginalRing, factors: list[Tensor], costs: Sequence[Tensor], ordinal: Ordinal
) -> list[Tensor]:
    """The sum of each cost, weighed with the probabilities that the factors make."""
    if not factors:
        return [cost.sum() if cost.dim() else cost for cost in costs]
    probs = _marginals(ring, factors, {frozenset(dims_of(cost)): cost for cost in costs}, ordinal)
    results = []
    for cost in costs:
        cost, prob = packed.broadcast_all(cost, probs[frozenset(dims_of(cost))])
        # What cannot happen costs nothing, even if its cost is infinite.
        cost = torch.where(prob > 0, cost, cost.new_zeros(()))
        results.append((prob * cost).sum())
    return results


def _marginals(
    ring: MarginalRing, factors: list[Tensor], wanted: Mapping[frozenset[str], Tensor], ordinal: Ordinal
) -> dict[frozenset[str], Tensor]:
    """The product of the factors, summed over all dims but those wanted and the plates of the ordinal."""
    known = {frozenset(dims_of(factor)): factor for factor in factors}
    queries: dict[frozenset[str], Any] = {}
    factors = list(factors)
    for dims, cost in wanted.items():
        query: Any = known.get(dims)
        if query is None:
            query = tagged(torch.zeros_like(cost), dims_of(cost))
            require_backward(query)
            factors.append(query)
        queries[dims] = query
    sum_dims = set().union(*map(dims_of, factors)) - ordinal
    root: Any = ring.sumproduct(factors, sum_dims)
    root._pyro_backward()
    # Read at once: the next expectation puts other results there.
    return {
        dims: tagged(query._pyro_backward_result.exp(), dims_of(query)) for dims, query in queries.items()
    }
