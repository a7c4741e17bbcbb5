"""The losses of reweighted wake-sleep: of the model, by its weighted bound, and of the guide, by cross entropies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.infer.terms.estimate import Combination, Estimate, Terms, Worth
from ember.infer.traces.broadcasting import check_broadcasting
from ember.infer.traces.checks import check_model_guide_match
from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.plate_nesting import facts_of
from ember.infer.traces.run import Program, Run
from ember.infer.traces.settings import Settings
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace
from ember.primitives import plate

_NO_WAKE_LOSS = 100.0
"""The model's loss where none is computed; the value is Pyro's."""


@dataclass(frozen=True)
class WakeTerms(Terms):
    """The wake phase alone."""

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        return _estimate(*_wake_losses([(model_trace, guide_trace)], settings))


@dataclass(frozen=True)
class WakeSleep(Combination):
    """Both phases, weighed."""

    insomnia: float
    """The weight of the wake phase in the guide's loss, the sleep phase having the rest."""
    model_has_params: bool
    num_sleep_particles: int

    def estimates(
        self, pairs: Iterator[Traces], run: Run, settings: Settings, worth: Worth
    ) -> Iterator[tuple[Traces | tuple[()], Estimate]]:
        # There are no traces to look at: a loss that is not finite is named as it is.
        yield (), _estimate(*self._losses(pairs, run, settings))

    def _losses(self, pairs: Iterator[Traces], run: Run, settings: Settings) -> tuple[Tensor, Tensor]:
        wake_theta, wake_phi = torch.tensor(_NO_WAKE_LOSS), None
        if self.model_has_params or self.insomnia > 0:
            wake_theta, wake_phi = _wake_losses(list(pairs), settings)
        if self.insomnia == 1:
            assert wake_phi is not None
            return wake_theta, wake_phi
        sleep_phi = self._sleep_loss(run, settings)
        if self.insomnia == 0 or wake_phi is None:
            return wake_theta, sleep_phi
        return wake_theta, self.insomnia * wake_phi + (1.0 - self.insomnia) * sleep_phi

    def _sleep_loss(self, run: Run, settings: Settings) -> Tensor:
        """The guide's cross entropy on samples of the model."""
        runs = self.num_sleep_particles
        guide, sampled = run.guide, poutine.uncondition(run.model)
        many = None
        if settings.vectorize_particles:
            resolved = run.resolved(settings)
            dim = -int(resolved.max_plate_nesting)
            one = replace(resolved, model=sampled, guide=_nothing, max_plate_nesting=-dim - 1)
            sampled, guide = (_in_sleep_plate(program, runs, dim) for program in (sampled, guide))
            if runs > 1:
                facts = facts_of(WakeSleep, run.model, run.guide)
                many = replace(one, model=sampled, max_plate_nesting=-dim, one=replace(one, facts=facts))
            runs = 1
        log_q: Any = 0.0
        for _ in range(runs):
            model_trace = poutine.trace(sampled).get_trace(*run.args, **run.kwargs)
            model_trace.detach_()
            if many is not None:
                _check_broadcasting(many, model_trace)
            guide_trace = _matched_trace(model_trace, guide, run.args, dict(run.kwargs))
            log_q = log_q + guide_trace.log_prob_sum()
        return torch.as_tensor(-log_q / self.num_sleep_particles)


def _nothing(*args: object, **kwargs: object) -> None:
    """A guide without sites."""


def _check_broadcasting(many: Run, recorded: Trace) -> None:
    """See whether the model mixes up what it draws in one run. The guide is looked at where it proposes."""
    plates = {site.name: site for site in _samples(recorded) if site.is_subsample}
    check_broadcasting(many, (prune_subsample_sites(recorded), Trace()), (plates, {}))


def _wake_losses(particles: Sequence[Traces], settings: Settings) -> tuple[Tensor, Tensor]:
    """Minus the weighted bound, and the cross entropy of the weighted samples."""
    log_p = _per_particle([model_trace for model_trace, _ in particles], settings)
    log_q = _per_particle([guide_trace for _, guide_trace in particles], settings)
    log_w = log_p - log_q.detach()
    log_sum = torch.logsumexp(log_w, 0)
    weights = (log_w - log_sum).exp().detach()
    phi = torch.where(weights == 0, 0.0, weights * log_q)
    return math.log(settings.num_particles) - log_sum, -phi.sum()


def _per_particle(traces: Sequence[Trace], settings: Settings) -> Tensor:
    if settings.vectorize_particles:
        count = settings.num_particles
        terms = [site.log_prob.reshape(count, -1).sum(-1) for site in _samples(traces[0])]
        return torch.stack(terms).sum(0) if terms else torch.zeros(count)
    return torch.stack([torch.as_tensor(trace.log_prob_sum()) for trace in traces])


def _matched_trace(
    model_trace: Trace, guide: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Trace:
    """The guide run on what the model has drawn: latents are replayed, the rest is given as ``observations``."""
    observations = {}
    for name, site in model_trace.nodes.items():
        if site.type == "sample" and "was_observed" in site.infer:
            site.is_observed = True
            observations[name] = site.value
    kwargs = {**kwargs, "observations": observations}
    guide_trace = poutine.trace(poutine.replay(guide, trace=model_trace)).get_trace(*args, **kwargs)
    if is_validation_enabled():
        check_model_guide_match(model_trace, guide_trace)
    return prune_subsample_sites(guide_trace)


def _in_sleep_plate(program: Program, size: int, dim: int) -> Program:
    if size == 1:
        return program

    def in_plate(*args: object, **kwargs: object) -> Any:
        with plate("num_sleep_particles_vectorized", size, dim=dim):
            return program(*args, **kwargs)

    return in_plate


def _estimate(wake_theta: Tensor, phi: Tensor) -> Estimate:
    """Both losses in one tensor: its dim says that the loss is a tuple."""
    return Estimate(-torch.stack([wake_theta.detach().to(phi), phi.detach()]), -(wake_theta + phi))


def _samples(trace: Trace) -> list[Site]:
    return [site for site in trace.nodes.values() if site.type == "sample"]
