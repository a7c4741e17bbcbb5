"""Importance sampling: a posterior of weighed traces, weights of many particles at once, and the k-hat diagnostic."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.infer.posterior.abstract_infer import TracePosterior
from ember.infer.traces.broadcasting import check_broadcasting
from ember.infer.traces.importance_trace import Sites, get_importance_trace
from ember.infer.traces.plate_nesting import facts_of
from ember.infer.traces.plates import PARTICLE_PLATE
from ember.infer.traces.run import Run
from ember.ops.packed import dims_of
from ember.ops.stats import fit_generalized_pareto
from ember.poutine.trace_struct import Trace
from ember.primitives import plate

Program = Callable[..., Any]


class LogWeightsMixin:
    """What can be said of importance weights, from the attribute ``log_weights``."""

    log_weights: Any

    def _as_tensor(self) -> Tensor:
        weights = self.log_weights
        if isinstance(weights, Tensor):
            return weights
        return torch.stack([torch.as_tensor(weight) for weight in weights])

    def get_log_normalizer(self) -> Tensor | None:
        """The log of the mean weight, which estimates the log evidence; None (and a warning) without weights."""
        if len(self.log_weights) == 0:
            warnings.warn(
                "The log_weights list is empty, can not compute normalizing constant estimate.", stacklevel=2
            )
            return None
        weights = self._as_tensor()
        return torch.logsumexp(weights - math.log(weights.numel()), 0)

    def get_normalized_weights(self, log_scale: bool = False) -> Tensor | None:
        """Weights that sum to one, or their logs; None (and a warning) without weights."""
        if len(self.log_weights) == 0:
            warnings.warn("The log_weights list is empty. There is nothing to normalize.", stacklevel=2)
            return None
        weights = self._as_tensor()
        normalized = weights - torch.logsumexp(weights, 0)
        return normalized if log_scale else normalized.exp()

    def get_ESS(self) -> Tensor | int:
        """The effective sample size: one by the sum of squared weights (Kong, 1992). 0 (and a warning) without weights."""
        if len(self.log_weights) == 0:
            warnings.warn("The log_weights list is empty, effective sample size is zero.", stacklevel=2)
            return 0
        weights = self._as_tensor()
        return torch.exp(-torch.logsumexp(2 * (weights - torch.logsumexp(weights, 0)), 0))


class Importance(TracePosterior, LogWeightsMixin):
    """A posterior by importance sampling, with a guide as the proposal.

    Args:
        model: the program whose posterior is sought.
        guide: proposes the latents; the model's prior if None.
        num_samples: how many traces are drawn; 10 (and a warning) if None.

    >>> import ember, torch
    >>> from ember import distributions as dist
    >>> def model():
    ...     z = ember.sample("z", dist.Normal(0.0, 1.0))
    ...     ember.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(2.0))
    >>> _ = torch.manual_seed(0)
    >>> posterior = Importance(model, num_samples=500).run()
    >>> abs(posterior.marginal("z").empirical["z"].mean.item() - 1.0) < 0.2
    True
    """

    def __init__(self, model: Program, guide: Program | None = None, num_samples: int | None = None) -> None:
        super().__init__()
        if num_samples is None:
            num_samples = 10
            warnings.warn(f"num_samples not provided, defaulting to {num_samples}", stacklevel=2)
        self.num_samples = num_samples
        self.model = model
        self.guide = poutine.block(model, hide_types=["observe"]) if guide is None else guide

    def _traces(self, *args: object, **kwargs: object) -> Iterator[tuple[Trace, Any]]:
        for _ in range(self.num_samples):
            guide_trace = poutine.trace(self.guide).get_trace(*args, **kwargs)
            replayed = poutine.replay(self.model, trace=guide_trace)
            model_trace = poutine.trace(replayed).get_trace(*args, **kwargs)
            yield model_trace, model_trace.log_prob_sum() - guide_trace.log_prob_sum()


def log_prob_by_row(trace: Trace, name: str, size: int) -> Tensor:
    """The log densities of a trace, summed over all but the rows of one plate.

    Args:
        trace: with log densities computed.
        name: the plate, of vectorised samples.
        size: how many rows it has.

    Returns:
        Shape ``(size,)``.
    """
    total = torch.zeros(size)
    for site in trace.samples():
        term = torch.as_tensor(site.log_prob)
        frame = next((frame for frame in site.cond_indep_stack if frame.name == name), None)
        if frame is not None and frame.dim is not None and term.dim() >= -frame.dim:
            term = term.movedim(frame.dim, 0).flatten(1).sum(-1) if term.dim() > 1 else term
        else:
            term = term.sum()
        total = total.to(term.device) + term
    return total


def plate_log_prob_sum(trace: Trace, plate_symbol: str) -> Tensor:
    """The log densities of a packed trace, summed over all dims but that of a plate.

    Args:
        trace: after ``compute_log_prob`` and ``pack_tensors``.
        plate_symbol: from ``trace.plate_to_symbol``.
    """
    total: Any = 0.0
    for site in trace.samples():
        packed = site.packed.log_prob
        total = total + torch.einsum(f"{dims_of(packed)}->{plate_symbol}", [packed])
    return torch.as_tensor(total)


def vectorized_importance_weights(
    model: Program,
    guide: Program,
    *args: object,
    num_samples: int = 1,
    max_plate_nesting: int | None = None,
    normalized: bool = False,
    **kwargs: object,
) -> tuple[Tensor, Trace, Trace]:
    """Log importance weights of many particles in one run of a model and guide that have plates for all batch dims.

    Args:
        model: the program whose posterior is sought.
        guide: the proposal.
        args: of both.
        num_samples: how many particles.
        max_plate_nesting: how many dims from the right belong to plates; must be given.
        normalized: whether the weights are to sum to one.
        kwargs: of both.

    Returns:
        Log weights of shape ``(num_samples,)`` (a scalar for one), the model's and the guide's trace.

    Raises:
        ValueError: without ``max_plate_nesting``, or for a model that does not broadcast over particles (it names the site).
    """
    if max_plate_nesting is None:
        raise ValueError("must provide max_plate_nesting")
    nesting = max_plate_nesting + 1

    def vectorize(fn: Program) -> Program:
        def in_plate(*args: object, **kwargs: object) -> Any:
            with plate(PARTICLE_PLATE, num_samples, dim=-nesting):
                return fn(*args, **kwargs)

        return in_plate

    plates: tuple[Sites, Sites] = ({}, {})
    model_trace, guide_trace = get_importance_trace(
        "flat", nesting, vectorize(model), vectorize(guide), args, kwargs, plates=plates
    )
    if num_samples > 1:
        facts = facts_of(vectorized_importance_weights, model, guide)
        one = Run(model, guide, args, kwargs, max_plate_nesting, facts)
        check_broadcasting(one, nesting, model_trace, plates[1] | plates[0])
    if num_samples == 1:
        log_weights = torch.as_tensor(model_trace.log_prob_sum() - guide_trace.log_prob_sum())
    else:
        log_weights = log_prob_by_row(model_trace, PARTICLE_PLATE, num_samples)
        log_weights = log_weights - log_prob_by_row(guide_trace, PARTICLE_PLATE, num_samples)
    if normalized:
        log_weights = log_weights - torch.logsumexp(log_weights, 0)
    return log_weights, model_trace, guide_trace


@torch.no_grad()
def psis_diagnostic(
    model: Program,
    guide: Program,
    *args: object,
    num_particles: int = 1000,
    max_simultaneous_particles: int | None = None,
    max_plate_nesting: int = 7,
    **kwargs: Any,
) -> float:
    """k-hat, the shape of the tail of the importance weights (Vehtari, Gelman and Gabry, 2015; Yao et al., 2018).

    Below 0.5 the guide is a good approximation of the posterior; up to 0.7 it may be useful; above, mistrust it. A guide may
    predict well all the same. Model and guide must have plates for all batch dims.

    Args:
        model: the program whose posterior is sought.
        guide: its approximation.
        args: of both.
        num_particles: how many particles, a multiple of
        max_simultaneous_particles: how many of them at a time; all by default.
        max_plate_nesting: how many dims belong to plates at most.
        kwargs: of both.

    Returns:
        k-hat; infinite (and a warning) if there are too few particles in the tail.

    Raises:
        ValueError: if the numbers of particles do not fit, or the model does not broadcast over particles.
    """
    at_once = num_particles if max_simultaneous_particles is None else max_simultaneous_particles
    if num_particles % at_once != 0:
        raise ValueError("num_particles must be divisible by max_simultaneous_particles.")
    log_weights = torch.cat(
        [
            vectorized_importance_weights(
                model, guide, *args, num_samples=at_once, max_plate_nesting=max_plate_nesting, **kwargs
            )[0].reshape(-1)
            for _ in range(num_particles // at_once)
        ]
    )
    log_weights = (log_weights - log_weights.max()).sort().values
    tail_size = math.ceil(min(0.2 * num_particles, 3.0 * math.sqrt(num_particles)))
    cutoff = max(math.log(1.0e-15), float(log_weights[max(-tail_size - 1, -num_particles)]))
    tail = log_weights[log_weights > cutoff]
    if len(tail) < 10:
        warnings.warn(
            "Not enough tail samples to compute PSIS diagnostic; increase num_particles.", stacklevel=2
        )
        return math.inf
    return fit_generalized_pareto(tail.exp() - math.exp(cutoff))[0]
