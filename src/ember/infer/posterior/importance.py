"""Importance sampling: a posterior of weighed traces, weights of many particles at once, and the k-hat diagnostic."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.infer.posterior.abstract_infer import TracePosterior
from ember.infer.traces.broadcasting import check_broadcasting
from ember.infer.traces.importance_trace import Sites, get_importance_trace
from ember.infer.traces.plate_nesting import facts_of
from ember.infer.traces.plates import PARTICLE_PLATE
from ember.infer.traces.run import Run, explained
from ember.infer.traces.settings import Settings
from ember.ops.packed import dims_of
from ember.ops.psis import k_hats
from ember.poutine.trace_struct import Trace
from ember.rng import set_torch_states, torch_states

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
    """Samples a posterior by importance sampling, with a guide as the proposal.

    Args:
        model: the program whose posterior is sought.
        guide: proposes the latents; the model's prior if None.
        num_samples: how many traces are drawn; 10 (and a warning) if None.

    >>> import ember, torch
    >>> from ember import distributions as dist
    >>> from ember.infer import Importance
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
        ValueError: without ``max_plate_nesting``, or for a model that does not broadcast over particles (it
            names the site).
    """
    if max_plate_nesting is None:
        raise ValueError("must provide max_plate_nesting")
    drawn = _draw_together(model, guide, args, kwargs, num_samples, max_plate_nesting)
    log_weights = drawn.log_weights
    if normalized:
        log_weights = log_weights - torch.logsumexp(log_weights, 0)
    return log_weights, drawn.model_trace, drawn.guide_trace


@dataclass(frozen=True)
class _Together:
    """Particles of one run."""

    log_weights: Tensor
    model_trace: Trace
    guide_trace: Trace
    compared: bool
    """Whether model and guide have been seen to broadcast."""


def _draw_together(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_samples: int,
    max_plate_nesting: int,
) -> _Together:
    facts = facts_of(vectorized_importance_weights, model, guide)
    settings = Settings(num_particles=num_samples, vectorize_particles=True)
    nesting = max_plate_nesting + settings.particle_plates
    run = Run(model, guide, args, kwargs, nesting, facts).in_particle_plate(settings)
    plates: tuple[Sites, Sites] = ({}, {})
    with explained(settings):
        model_trace, guide_trace = get_importance_trace(
            "flat", nesting, run.model, run.guide, args, kwargs, plates=plates
        )
    compared = check_broadcasting(run, (model_trace, guide_trace), plates)
    if num_samples == 1:
        log_weights = torch.as_tensor(model_trace.log_prob_sum() - guide_trace.log_prob_sum())
    else:
        log_weights = log_prob_by_row(model_trace, PARTICLE_PLATE, num_samples)
        log_weights = log_weights - log_prob_by_row(guide_trace, PARTICLE_PLATE, num_samples)
    return _Together(log_weights, model_trace, guide_trace, compared)


@torch.no_grad()
def log_weights_by_row(
    model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any], num_samples: int
) -> Tensor:
    """Log importance weights of particles that are drawn one by one: right for every model, whether it broadcasts or not.

    Returns:
        Shape ``(num_samples,)``.
    """
    found = []
    for _ in range(num_samples):
        model_trace, guide_trace = get_importance_trace("flat", math.inf, model, guide, args, kwargs)
        found.append(torch.as_tensor(model_trace.log_prob_sum() - guide_trace.log_prob_sum()))
    return torch.stack(found)


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

    Below 0.5 the guide is a good approximation of the posterior; up to 0.7 it may be useful; above, mistrust
    it. A guide may predict well all the same. Particles are drawn in one run if model and guide are seen to
    broadcast, else one by one.

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
        ValueError: if the numbers of particles do not fit.
    """
    at_once = num_particles if max_simultaneous_particles is None else max_simultaneous_particles
    if num_particles % at_once != 0:
        raise ValueError("num_particles must be divisible by max_simultaneous_particles.")
    log_weights = torch.cat(
        [
            _right_log_weights(model, guide, args, kwargs, at_once, max_plate_nesting).reshape(-1)
            for _ in range(num_particles // at_once)
        ]
    )
    k = float(k_hats(log_weights)) if not bool(log_weights.isnan().any()) else math.inf
    if k == math.inf:
        warnings.warn(
            "Not enough tail samples to compute PSIS diagnostic; increase num_particles.", stacklevel=2
        )
    return k


def _right_log_weights(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    num_samples: int,
    max_plate_nesting: int,
) -> Tensor:
    """Of all particles in one run where that is known to be right, else one by one."""
    before = torch_states()
    try:
        drawn = _draw_together(model, guide, args, kwargs, num_samples, max_plate_nesting)
        if drawn.compared:
            return drawn.log_weights
    except (RuntimeError, ValueError, IndexError):
        pass  # what is wrong with one particle too is raised below
    set_torch_states(before)
    return log_weights_by_row(model, guide, args, kwargs, num_samples)
