"""Tail-adaptive weights of particles."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from ember.infer.objectives.trace_elbo import Trace_ELBO
from ember.infer.terms.control_variates import ControlVariate, NoControlVariate
from ember.infer.terms.entropies import Entropy, StickingTheLanding
from ember.infer.terms.estimate import Estimate
from ember.infer.terms.reparameterized import check_guide_reparametrized, has_path
from ember.infer.terms.sampled import EntropyTerms
from ember.infer.traces.settings import Settings
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.trace_struct import Trace


@dataclass(frozen=True)
class TailAdaptiveTerms(EntropyTerms):
    """Path derivatives of log weights, weighed by rank."""

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        if not settings.vectorize_particles:
            raise NotImplementedError("TraceTailAdaptive_ELBO only implemented for vectorize_particles==True")
        if settings.num_particles == 1:
            warnings.warn(
                "For num_particles==1 TraceTailAdaptive_ELBO uses the same loss function as Trace_ELBO. "
                "Increase num_particles to get an adaptive f-divergence.",
                stacklevel=2,
            )
        if is_validation_enabled():
            check_guide_reparametrized(model_trace, guide_trace)
        count = settings.num_particles
        log_w = _by_particle(model_trace, "log_prob", count) - _by_particle(guide_trace, "log_prob", count)
        # The particle of the largest weight has rank 1: so many particles have a weight that is not smaller.
        ranks = torch.argsort(torch.argsort(log_w.detach(), descending=True)) + 1
        gamma = ranks.to(log_w.dtype).pow(settings.tail_adaptive_beta)
        path = log_w + _by_particle(guide_trace, "fixed_log_prob", count)
        return Estimate(-math.inf, (path * (gamma / gamma.sum())).sum())


def _by_particle(trace: Trace, key: str, count: int) -> Any:
    sites = [site for site in trace.nodes.values() if site.type == "sample"]
    if key == "fixed_log_prob":
        sites = [site for site in sites if has_path(site)]
    terms = [site[key].reshape(count, -1).sum(-1) for site in sites]
    return torch.stack(terms).sum(0) if terms else torch.zeros(count)


@dataclass(eq=False, repr=False)
class TraceTailAdaptive_ELBO(Trace_ELBO):
    """Computes gradients of an f-divergence that adapts to the tail of the importance weights.

    The divergence itself is not computed.

    The path derivative of each particle's log weight counts with the power ``tail_adaptive_beta`` of the
    fraction of particles whose weight is not smaller. (As in Pyro, the weighted mean is divided by the number
    of particles once more.) It needs ``vectorize_particles=True`` and several particles, a guide that is
    fully reparameterised, and no subsampling. Losses are infinite; :class:`RenyiELBO` can monitor
    convergence. Arguments are those of :class:`ELBO`.

    Raises:
        NotImplementedError: without ``vectorize_particles``, for other guides, and by :meth:`loss`.

    References:
        D. Wang, H. Liu, Q. Liu (2018), "Variational Inference with Tail-adaptive f-Divergence".

    >>> import ember
    >>> objective = ember.infer.TraceTailAdaptive_ELBO(num_particles=10, vectorize_particles=True)
    """

    entropy: Entropy = field(default=StickingTheLanding(), init=False)
    control_variate: ControlVariate = field(default=NoControlVariate(), init=False)

    has_value: ClassVar[bool] = False
    terms: ClassVar[type[EntropyTerms]] = TailAdaptiveTerms
