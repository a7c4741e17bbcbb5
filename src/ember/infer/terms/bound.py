"""Weighted bounds on the evidence, from all particles together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ember.distributions.masking import is_identically_zero
from ember.infer.terms.bound_gradients import BoundGradient
from ember.infer.terms.control_variates import BoundControlVariate
from ember.infer.terms.estimate import Estimate, Terms
from ember.infer.terms.particle_weights import Layout, layout_of, stacked
from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.settings import Settings
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


class _Parts(NamedTuple):
    """Sums over the sites of a particle, one for each row of the plates that are around all sites."""

    log_w: Any
    surrogate: Any
    """What is differentiated in the place of log w."""
    log_q: Any
    """Of the sites that are not reparameterised."""
    fixed_p: Any
    """Log densities with the samples held fixed."""
    fixed_q: Any


@dataclass(frozen=True)
class BoundTerms(Terms):
    """The variational Rényi bound."""

    alpha: float
    gradient: BoundGradient
    control_variate: BoundControlVariate

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        return self.joint([(model_trace, guide_trace)], settings)

    def joint(self, particles: Sequence[Traces], settings: Settings) -> Estimate:
        """The bound of all particles: one pair of traces each, or one pair for all if they are vectorised."""
        layouts = [layout_of(*traces) for traces in particles]
        parts = [self._parts(*traces, layout) for traces, layout in zip(particles, layouts, strict=True)]
        if not any(isinstance(part.log_w, Tensor) for part in parts):
            return Estimate(0.0, 0.0)
        log_w, surrogate, log_q, fixed_p, fixed_q = (
            stacked(column, settings.particle_plates > 0) for column in zip(*parts, strict=True)
        )
        tempered = (1.0 - self.alpha) * log_w.detach()
        log_mean = torch.logsumexp(tempered, 0, keepdim=True) - math.log(settings.num_particles)
        bounds = log_mean / (1.0 - self.alpha)
        weights = (tempered - log_mean).exp() / settings.num_particles
        surrogate = self.gradient.surrogate(surrogate, fixed_p, fixed_q, weights, self.alpha)
        # A particle that is impossible weighs nothing, but 0 * inf would be NaN.
        terms = torch.where(weights == 0, 0.0, weights * surrogate)
        for term in self.control_variate.score_terms(log_q, bounds, tempered, self.alpha):
            terms = terms + term
        return Estimate(layouts[0].scale * bounds.sum(), layouts[0].scale * terms.sum())

    def _parts(self, model_trace: Trace, guide_trace: Trace, layout: Layout) -> _Parts:
        model_sites = _samples(model_trace)
        log_p = layout.total(site.log_prob for site in model_sites)
        with_path, with_score = self._by_gradient(guide_trace)
        log_q_path = layout.total(site.log_prob for site in with_path)
        log_q = layout.total(site.log_prob for site in with_score)
        surrogate = log_p - log_q_path
        if with_score:
            surrogate = surrogate + self.control_variate.factor_of_score(self.alpha) * log_q
        fixed_p, fixed_q = map(layout.total, self.gradient.fixed_log_probs(model_sites, with_path))
        return _Parts(log_p - log_q_path - log_q, surrogate, log_q, fixed_p, fixed_q)

    def _by_gradient(self, guide_trace: Trace) -> tuple[list[Site], list[Site]]:
        """The sites of the guide that are reparameterised, and those that are not."""
        with_path, with_score = [], []
        for site in _samples(guide_trace):
            _, score_function, entropy_term = site.score_parts
            if is_identically_zero(score_function):
                with_path.append(site)
                continue
            if not is_identically_zero(entropy_term):
                raise NotImplementedError(
                    f"at site {site.name!r}, RenyiELBO cannot use {site.fn}, which is reparameterised in part; "
                    "make it a score function by .has_rsample_(False)"
                )
            self.gradient.check_score(site)
            with_score.append(site)
        return with_path, with_score


def _samples(trace: Trace) -> list[Site]:
    return [site for site in trace.nodes.values() if site.type == "sample"]
