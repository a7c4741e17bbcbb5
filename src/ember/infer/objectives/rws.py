"""Reweighted wake-sleep: one loss for the model, another for the guide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.infer.losses import values as loss_values
from ember.infer.objectives.elbo import Estimate, Program
from ember.infer.objectives.joint_elbo import JointELBO, Traces
from ember.infer.terms.fixed_samples import DetachSamples
from ember.infer.traces.checks import check_if_enumerated, check_model_guide_match
from ember.infer.traces.importance_trace import get_importance_trace
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.trace_struct import Trace
from ember.primitives import plate

_NO_WAKE_LOSS = 100.0
"""The model's loss where none is computed; the value is Pyro's."""


class ReweightedWakeSleep(JointELBO):
    """Two losses: the importance-weighted bound for the model, and cross entropies for the guide.

    The guide learns from samples of its own, weighed by the model (wake), from samples of the model (sleep), or from both.
    Samples are held fixed, so that discrete sites are as good as any. For the sleep phase, the guide takes its observations
    from the keyword argument ``observations``, a dict by site. Mini-batches are not supported.

    Args:
        num_particles: how many samples of the guide; two or more.
        insomnia: the weight of the wake phase in the guide's loss, the sleep phase having the rest.
        model_has_params: whether the model learns; if not, and ``insomnia`` is 0, the guide is not sampled.
        num_sleep_particles: how many samples of the model; as many as ``num_particles`` by default.
        vectorize_particles: draw all particles in one run.
        max_plate_nesting: how many dims from the right belong to plates.
        strict_enumeration_warning: as for :class:`ELBO`.

    Losses are pairs: of the model and of the guide.

    Raises:
        AssertionError: if ``num_particles`` is less than 2 or ``insomnia`` outside [0, 1].

    References:
        J. Bornschein, Y. Bengio (2015), "Reweighted Wake-Sleep".
        T. A. Le, A. Kosiorek, N. Siddharth, Y. W. Teh, F. Wood (2019), "Revisiting Reweighted Wake-Sleep for Models with
        Stochastic Control Flow".
    """

    def __init__(
        self,
        num_particles: int = 2,
        insomnia: float = 1.0,
        model_has_params: bool = True,
        num_sleep_particles: int | None = None,
        vectorize_particles: bool = True,
        max_plate_nesting: float = math.inf,
        strict_enumeration_warning: bool = True,
    ) -> None:
        assert num_particles > 1, "Reweighted Wake Sleep needs to be run with more than one particle"
        assert 0 <= insomnia <= 1, "insomnia should be in [0, 1]"
        super().__init__(
            num_particles=num_particles,
            max_plate_nesting=max_plate_nesting,
            vectorize_particles=vectorize_particles,
            strict_enumeration_warning=strict_enumeration_warning,
        )
        self.insomnia = insomnia
        self.model_has_params = model_has_params
        self.num_sleep_particles = num_particles if num_sleep_particles is None else num_sleep_particles

    def joint(self, particles: Sequence[Traces]) -> Estimate:
        """The wake phase alone."""
        return _estimate(*self._wake_losses(particles))

    def estimate(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Estimate:
        return _estimate(*self._loss(model, guide, args, kwargs))

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Any:
        """The losses of model and guide, as scalar tensors without gradients. Warns if one is NaN."""
        with torch.no_grad():
            losses = self._loss(model, guide, args, kwargs)
        loss_values.warn_if_nan(loss_values.to_floats(losses))
        return losses

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Any:
        """The losses of model and guide, as floats; gradients of their sum are added to ``.grad`` of the parameters.

        Raises:
            NonFiniteLossError: if a loss is NaN or infinite (see the setting ``nonfinite_loss``).
        """
        losses = self._loss(model, guide, args, kwargs)
        values = tuple(loss.item() for loss in losses)
        loss_values.check(values)
        total = losses[0] + losses[1]
        if total.requires_grad:
            total.backward(retain_graph=self.retain_graph)  # type: ignore[no-untyped-call]
        return values

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """The sum of both losses."""
        wake, phi = self._loss(model, guide, args, kwargs)
        return wake + phi

    def _loss(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        wake_theta, wake_phi = torch.tensor(_NO_WAKE_LOSS), None
        if self.model_has_params or self.insomnia > 0:
            wake_theta, wake_phi = self._wake_losses(list(self._get_traces(model, guide, args, kwargs)))
        if self.insomnia == 1:
            assert wake_phi is not None
            return wake_theta, wake_phi
        sleep_phi = self._sleep_loss(model, guide, args, kwargs)
        if self.insomnia == 0 or wake_phi is None:
            return wake_theta, sleep_phi
        return wake_theta, self.insomnia * wake_phi + (1.0 - self.insomnia) * sleep_phi

    def _wake_losses(self, particles: Sequence[Traces]) -> tuple[Tensor, Tensor]:
        """Minus the weighted bound, and the cross entropy of the weighted samples."""
        log_p = self._per_particle([model_trace for model_trace, _ in particles])
        log_q = self._per_particle([guide_trace for _, guide_trace in particles])
        log_w = log_p - log_q.detach()
        log_sum = torch.logsumexp(log_w, 0)
        weights = (log_w - log_sum).exp().detach()
        phi = torch.where(weights == 0, 0.0, weights * log_q)
        return math.log(self.num_particles) - log_sum, -phi.sum()

    def _per_particle(self, traces: Sequence[Trace]) -> Tensor:
        if self.vectorize_particles:
            terms = [_log_prob(site).reshape(self.num_particles, -1).sum(-1) for site in _samples(traces[0])]
            return torch.stack(terms).sum(0) if terms else torch.zeros(self.num_particles)
        return torch.stack([torch.as_tensor(trace.log_prob_sum()) for trace in traces])

    def _sleep_loss(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """The guide's cross entropy on samples of the model."""
        runs = self.num_sleep_particles
        sampled = poutine.uncondition(model)
        if self.vectorize_particles:
            dim = -int(self._with_plate_nesting(model, guide, args, kwargs).max_plate_nesting)
            sampled, guide = (_in_sleep_plate(program, runs, dim) for program in (sampled, guide))
            runs = 1
        log_q: Any = 0.0
        for _ in range(runs):
            model_trace = poutine.trace(sampled).get_trace(*args, **kwargs)
            model_trace.detach_()
            guide_trace = self._get_matched_trace(model_trace, guide, args, dict(kwargs))
            log_q = log_q + guide_trace.log_prob_sum()
        return torch.as_tensor(-log_q / self.num_sleep_particles)

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traces:
        with DetachSamples():
            traces = get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)
        if is_validation_enabled():
            check_if_enumerated(traces[1])
        return traces

    @staticmethod
    def _get_matched_trace(
        model_trace: Trace, guide: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Trace:
        """The guide run on what the model has drawn: latents are replayed, the rest is given as ``observations``."""
        observations = {}
        for name, site in model_trace.nodes.items():
            if site["type"] == "sample" and "was_observed" in site["infer"]:
                site["is_observed"] = True
                observations[name] = site["value"]
        kwargs = {**kwargs, "observations": observations}
        guide_trace = poutine.trace(poutine.replay(guide, trace=model_trace)).get_trace(*args, **kwargs)
        if is_validation_enabled():
            check_model_guide_match(model_trace, guide_trace)
        return prune_subsample_sites(guide_trace)


def _in_sleep_plate(program: Program, size: int, dim: int) -> Program:
    if size == 1:
        return program

    def in_plate(*args: Any, **kwargs: Any) -> Any:
        with plate("num_sleep_particles_vectorized", size, dim=dim):
            return program(*args, **kwargs)

    return in_plate


def _estimate(wake_theta: Tensor, phi: Tensor) -> Estimate:
    """Both losses in one tensor: its dim says that the loss is a tuple."""
    return Estimate(-torch.stack([wake_theta.detach().to(phi), phi.detach()]), -(wake_theta + phi))


def _samples(trace: Trace) -> list[Any]:
    return [site for site in trace.nodes.values() if site["type"] == "sample"]


def _log_prob(site: Any) -> Tensor:
    log_prob: Tensor = site["log_prob"]
    return log_prob
