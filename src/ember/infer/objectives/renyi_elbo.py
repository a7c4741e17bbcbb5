"""Bounds on the evidence from several weighted particles."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ember.distributions.masking import is_identically_zero
from ember.infer.objectives.elbo import Estimate, Program
from ember.infer.objectives.joint_elbo import JointELBO, Traces
from ember.infer.terms import estimators
from ember.infer.terms.estimators import (
    BoundGradient,
    ControlVariate,
    DoublyReparameterized,
    LeaveOneOut,
    NoControlVariate,
    Reparameterized,
)
from ember.infer.terms.fixed_samples import with_fixed_samples
from ember.infer.terms.particle_weights import Layout, layout_of, stacked
from ember.infer.traces.checks import check_if_enumerated
from ember.infer.traces.importance_trace import Sites, get_importance_trace
from ember.infer.traces.validation import is_validation_enabled
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


class RenyiELBO(JointELBO):
    r"""The variational Rényi bound: ``log(mean(w ** (1 - alpha))) / (1 - alpha)`` of importance weights ``w`` of the particles.

    With ``alpha = 0`` it is the importance-weighted bound, which grows with the number of particles towards the log evidence. For
    ``alpha >= 0`` it is a lower bound. Plates around all sites have a bound for each row, and the bounds add up; subsampling
    scales the bounds, not the weights. Other plates are summed over within a particle.

    Args:
        alpha: the order, not 1.
        num_particles: how many particles are weighed.
        max_plate_nesting: how many dims from the right belong to plates.
        max_iarange_nesting: deprecated name of ``max_plate_nesting``.
        vectorize_particles: draw all particles in one run.
        strict_enumeration_warning: as for :class:`ELBO`.
        gradient: :class:`~ember.infer.Reparameterized`, or :class:`~ember.infer.DoublyReparameterized`, for guides all of whose
            sites are reparameterised.
        control_variate: for sites that are not. By default, as in Pyro, the gradient of the limit of many particles, which is
            biased for few. :class:`~ember.infer.LeaveOneOut` is the unbiased score function of this bound, less for each particle
            the bound that the others make.

    Raises:
        ValueError: if ``alpha`` is 1, or the estimators do not go together with each other or with the guide.
        NotImplementedError: for sites of the guide that are reparameterised in part.

    References:
        Y. Li, R. Turner (2016), "Rényi Divergence Variational Inference".
        Y. Burda, R. Grosse, R. Salakhutdinov (2016), "Importance Weighted Autoencoders".
        A. Mnih, D. Rezende (2016), "Variational Inference for Monte Carlo Objectives".
    """

    def __init__(
        self,
        alpha: float = 0,
        num_particles: int = 2,
        max_plate_nesting: float = math.inf,
        max_iarange_nesting: float | None = None,
        vectorize_particles: bool = False,
        strict_enumeration_warning: bool = True,
        *,
        gradient: BoundGradient = Reparameterized(),  # noqa: B008
        control_variate: ControlVariate = NoControlVariate(),  # noqa: B008
    ) -> None:
        if max_iarange_nesting is not None:
            warnings.warn(
                "max_iarange_nesting is deprecated; use max_plate_nesting instead",
                DeprecationWarning,
                stacklevel=2,
            )
            max_plate_nesting = max_iarange_nesting
        if alpha == 1:
            raise ValueError(
                "The order alpha should not be equal to 1. Please use Trace_ELBO class for the case alpha = 1."
            )
        self.alpha = alpha
        self.gradient: BoundGradient = estimators.checked(
            gradient, "gradient", (Reparameterized, DoublyReparameterized)
        )
        self.control_variate: ControlVariate = estimators.checked(
            control_variate, "control_variate", (NoControlVariate, LeaveOneOut)
        )
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            strict_enumeration_warning=strict_enumeration_warning,
        )
        if isinstance(control_variate, LeaveOneOut):
            if num_particles < 2:
                raise ValueError("LeaveOneOut() compares particles: give num_particles=2 or more, got 1")
            if isinstance(gradient, DoublyReparameterized):
                raise ValueError(
                    "DoublyReparameterized() has no score functions for LeaveOneOut() to act on: choose one of them"
                )

    def joint(self, particles: Sequence[Traces]) -> Estimate:
        layouts = [layout_of(*traces) for traces in particles]
        parts = [self._parts(*traces, layout) for traces, layout in zip(particles, layouts, strict=True)]
        if not any(isinstance(part.log_w, Tensor) for part in parts):
            return Estimate(0.0, 0.0)
        log_w, surrogate, log_q, fixed_p, fixed_q = (
            stacked(column, self._num_particle_plates > 0) for column in zip(*parts, strict=True)
        )
        tempered = (1.0 - self.alpha) * log_w.detach()
        log_mean = torch.logsumexp(tempered, 0, keepdim=True) - math.log(self.num_particles)
        bounds = log_mean / (1.0 - self.alpha)
        weights = (tempered - log_mean).exp() / self.num_particles
        if isinstance(self.gradient, DoublyReparameterized):
            factor = self.alpha + (1.0 - self.alpha) * weights
            surrogate = factor * (surrogate - fixed_p + fixed_q) + fixed_p
        # A particle that is impossible weighs nothing, but 0 * inf would be NaN.
        terms = torch.where(weights == 0, 0.0, weights * surrogate)
        if isinstance(self.control_variate, LeaveOneOut):
            terms = terms + (bounds - self._bounds_of_others(tempered)) * log_q
        return Estimate(layouts[0].scale * bounds.sum(), layouts[0].scale * terms.sum())

    def _bounds_of_others(self, tempered: Tensor) -> Tensor:
        """For each particle, the bound that the other particles make; 0 if they are impossible."""
        count = self.num_particles
        own = torch.eye(count, dtype=torch.bool, device=tempered.device)
        own = own.reshape((count, count) + (1,) * (tempered.dim() - 1))
        others = torch.where(own, -math.inf, tempered)
        bounds = (torch.logsumexp(others, 1) - math.log(count - 1)) / (1.0 - self.alpha)
        return torch.where(torch.isfinite(bounds), bounds, 0.0)

    def _parts(self, model_trace: Trace, guide_trace: Trace, layout: Layout) -> _Parts:
        log_p = layout.total(site["log_prob"] for site in _samples(model_trace))
        with_path, with_score = self._by_gradient(guide_trace)
        log_q_path = layout.total(site["log_prob"] for site in with_path)
        log_q = layout.total(site["log_prob"] for site in with_score)
        surrogate = log_p - log_q_path
        if with_score and isinstance(self.control_variate, LeaveOneOut):
            surrogate = surrogate - log_q
        elif with_score:
            surrogate = surrogate + (self.alpha / (1.0 - self.alpha)) * log_q
        fixed_p = fixed_q = 0.0
        if isinstance(self.gradient, DoublyReparameterized):
            fixed_p = layout.total(site["fixed_log_prob"] for site in _samples(model_trace))
            fixed_q = layout.total(site["fixed_log_prob"] for site in with_path if estimators.has_path(site))
        return _Parts(log_p - log_q_path - log_q, surrogate, log_q, fixed_p, fixed_q)

    def _by_gradient(self, guide_trace: Trace) -> tuple[list[Site], list[Site]]:
        """The sites of the guide that are reparameterised, and those that are not."""
        with_path, with_score = [], []
        for site in _samples(guide_trace):
            _, score_function, entropy_term = site["score_parts"]
            if is_identically_zero(score_function):
                with_path.append(site)
                continue
            if not is_identically_zero(entropy_term):
                raise NotImplementedError(
                    f"at site {site['name']!r}, RenyiELBO cannot use {site['fn']}, which is reparameterised in part; "
                    "make it a score function by .has_rsample_(False)"
                )
            if isinstance(self.gradient, DoublyReparameterized):
                raise ValueError(
                    f"at site {site['name']!r}, DoublyReparameterized is not possible: {site['fn']} is not reparameterised"
                )
            with_score.append(site)
        return with_path, with_score

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traces:
        plates: tuple[Sites, Sites] = ({}, {})
        traces = get_importance_trace(
            "flat", self.max_plate_nesting, model, guide, args, kwargs, plates=plates
        )
        if is_validation_enabled():
            check_if_enumerated(traces[1])
        if isinstance(self.gradient, DoublyReparameterized):
            for trace, hidden, program in zip(traces, plates, (model, guide), strict=True):
                again = with_fixed_samples(program, trace, hidden, args, kwargs)
                for site in _samples(trace):
                    site["fixed_log_prob"] = again.nodes[site["name"]]["log_prob"]
        return traces


def _samples(trace: Trace) -> list[Site]:
    return [site for site in trace.nodes.values() if site["type"] == "sample"]
