"""Tail-adaptive weights of particles."""

from __future__ import annotations

import math
import warnings
from typing import Any, NoReturn

import torch

from ember.infer.objectives.elbo import Estimate, Program
from ember.infer.objectives.trace_elbo import Trace_ELBO
from ember.infer.terms.estimators import StickingTheLanding, check_fully_reparametrized, has_path
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.trace_struct import Trace


class TraceTailAdaptive_ELBO(Trace_ELBO):
    """Gradients of an f-divergence that adapts to the tail of the importance weights; the divergence itself is not computed.

    The path derivative of each particle's log weight counts with the power ``tail_adaptive_beta`` of the fraction of particles
    whose weight is not smaller. (As in Pyro, the weighted mean is divided by the number of particles once more.) It needs
    ``vectorize_particles=True`` and several particles, a guide that is fully reparameterised, and no subsampling. Losses are
    infinite; :class:`RenyiELBO` can monitor convergence. Arguments are those of :class:`ELBO`.

    Raises:
        NotImplementedError: without ``vectorize_particles``, for other guides, and by :meth:`loss`.

    References:
        D. Wang, H. Liu, Q. Liu (2018), "Variational Inference with Tail-adaptive f-Divergence".
    """

    has_value = False

    def __init__(
        self,
        num_particles: int = 1,
        max_plate_nesting: float = math.inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        ignore_jit_warnings: bool = False,
        jit_options: dict[str, Any] | None = None,
        retain_graph: bool | None = None,
        tail_adaptive_beta: float = -1.0,
    ) -> None:
        super().__init__(
            num_particles,
            max_plate_nesting,
            max_iarange_nesting,
            vectorize_particles,
            strict_enumeration_warning,
            ignore_jit_warnings,
            jit_options,
            retain_graph,
            tail_adaptive_beta,
            entropy=StickingTheLanding(),
        )

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> NoReturn:
        """Not implemented: the divergence is not computed."""
        raise NotImplementedError("Loss method for TraceTailAdaptive_ELBO not implemented")

    def particle(self, model_trace: Trace, guide_trace: Trace) -> Estimate:
        if not self.vectorize_particles:
            raise NotImplementedError("TraceTailAdaptive_ELBO only implemented for vectorize_particles==True")
        if self.num_particles == 1:
            warnings.warn(
                "For num_particles==1 TraceTailAdaptive_ELBO uses the same loss function as Trace_ELBO. "
                "Increase num_particles to get an adaptive f-divergence.",
                stacklevel=2,
            )
        if is_validation_enabled():
            for site in guide_trace.nodes.values():
                if site["type"] == "sample":
                    check_fully_reparametrized(site)
        log_w = self._per_particle(model_trace, "log_prob") - self._per_particle(guide_trace, "log_prob")
        # The particle of the largest weight has rank 1: so many particles have a weight that is not smaller.
        ranks = torch.argsort(torch.argsort(log_w.detach(), descending=True)) + 1
        gamma = ranks.to(log_w.dtype).pow(self.tail_adaptive_beta)
        path = log_w + self._per_particle(guide_trace, "fixed_log_prob")
        return Estimate(-math.inf, (path * (gamma / gamma.sum())).sum())

    def _per_particle(self, trace: Trace, key: str) -> Any:
        sites = [site for site in trace.nodes.values() if site["type"] == "sample"]
        if key == "fixed_log_prob":
            sites = [site for site in sites if has_path(site)]
        terms = [site[key].reshape(self.num_particles, -1).sum(-1) for site in sites]
        return torch.stack(terms).sum(0) if terms else torch.zeros(self.num_particles)
