"""The ELBO by log densities at samples: pathwise gradients, and score functions weighed with the costs in their plates."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from ember.distributions.masking import is_identically_zero
from ember.infer.terms.entropies import Entropy, entropy_of
from ember.infer.terms.estimate import Estimate, Terms
from ember.infer.traces.plates import MultiFrameTensor, get_plate_stacks
from ember.infer.traces.settings import Settings
from ember.ops.scalars import total
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


def compute_log_r(
    model_trace: Trace, guide_trace: Trace, divergences: dict[str, Tensor] | None = None
) -> MultiFrameTensor:
    """log p(x, z) - log q(z), detached, by the plates of the sites; minus the divergence at sites that have one."""
    log_r = MultiFrameTensor()
    stacks = get_plate_stacks(model_trace)
    for name, model_site in model_trace.nodes.items():
        if model_site.type == "sample":
            if divergences and name in divergences:
                term = -divergences[name]
            else:
                term = model_site.log_prob
                if not model_site.is_observed and name in guide_trace:
                    term = term - guide_trace.nodes[name].log_prob
            log_r.add((stacks[name], term.detach()))
    return log_r


class Score(NamedTuple):
    """A score function, the cost that it is weighed with, and the site of the guide."""

    cost: Any
    function: Any
    site: Site


class SampledParts(NamedTuple):
    """What a pair of traces contributes: the ELBO, what to differentiate as it is, and score functions with their costs."""

    elbo: Any
    surrogate: Any
    scores: dict[str, Score]


@dataclass(frozen=True)
class EntropyTerms(Terms):
    """Terms that know how the guide's entropy is estimated where no site says otherwise."""

    entropy: Entropy


@dataclass(frozen=True)
class SampledTerms(EntropyTerms):
    """The ELBO from log densities at samples of the guide, with pathwise and score-function gradients."""

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        elbo, surrogate, scores = self.parts(model_trace, guide_trace)
        if elbo is surrogate and not scores:
            return Estimate(elbo, elbo)
        terms = [(score.cost * score.function).sum() for score in scores.values()]
        return Estimate(detached(elbo), surrogate + total(terms))

    def parts(self, model_trace: Trace, guide_trace: Trace) -> SampledParts:
        """The estimate, taken apart for those that compare particles."""
        sites = [(name, site) for name, site in guide_trace.nodes.items() if site.type == "sample"]
        entropies = {name: entropy_of(site, self.entropy) for name, site in sites}
        divergences = _divergences(model_trace, sites, entropies)
        log_p = total(log_prob_sums(model_trace, divergences))
        if divergences:
            log_p = log_p - total([kl.sum() for kl in divergences.values()])
        elbo = log_p - total(log_prob_sums(guide_trace, divergences))
        guide_terms: list[Any] = []
        score_sites: dict[str, Site] = {}
        pathwise = True
        for name, site in sites:
            log_prob, score_function, entropy_term = site.score_parts
            if not is_identically_zero(score_function):
                score_sites[name] = site
            if entropy_term is not log_prob or name in score_sites or entropies[name].holds_samples:
                pathwise = False
            if name not in divergences:
                guide_terms += entropies[name].log_q(site)
        if pathwise:
            return SampledParts(elbo, elbo, {})
        scores: dict[str, Score] = {}
        if score_sites:
            log_r = compute_log_r(model_trace, guide_trace, divergences)
            for name, site in score_sites.items():
                cost = log_r.sum_to(site.cond_indep_stack)
                scores[name] = Score(cost, site.score_parts.score_function, site)
        return SampledParts(elbo, log_p - total(guide_terms), scores)


def _divergences(
    model_trace: Trace, sites: list[tuple[str, Site]], entropies: dict[str, Entropy]
) -> dict[str, Tensor]:
    """Divergences in closed form, by site."""
    found = {}
    for name, site in sites:
        model_site = model_trace.nodes.get(name)
        if model_site is not None and not model_site.is_observed:
            kl = entropies[name].divergence(model_site, site)
            if kl is not None:
                found[name] = kl
    return found


def log_prob_sums(trace: Trace, without: Collection[str] = ()) -> list[Any]:
    """The log densities of the sample sites, but for some."""
    return [
        site.log_prob_sum
        for name, site in trace.nodes.items()
        if site.type == "sample" and name not in without
    ]


def detached(value: Any) -> Any:
    """A tensor without its graph; other values as they are."""
    return value.detach() if isinstance(value, Tensor) else value
