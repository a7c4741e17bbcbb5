"""Sequential Monte Carlo: particles that are proposed, weighed and resampled from step to step.

N. J. Gordon, D. J. Salmond and A. F. M. Smith (1993), *Novel approach to nonlinear/non-Gaussian Bayesian
state estimation*; A. Doucet and A. M. Johansen (2009), *A tutorial on particle filtering and smoothing*.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import ember.distributions as dist
from ember import poutine
from ember.infer.traces.checks import check_model_guide_match
from ember.poutine.prune import prune_subsample_sites
from ember.poutine.trace_struct import Trace
from ember.poutine.validation import is_validation_enabled
from ember.primitives import plate


class SMCFailed(ValueError):
    """No particle has a weight above zero."""


def _systematic_sample(probs: Tensor) -> Tensor:
    """Indices of particles: one uniform number, and steps of equal length over the weights."""
    batch, size = probs.shape[:-1], probs.size(-1)
    count = probs.cumsum(-1) * size + torch.rand(batch + (1,), dtype=probs.dtype, device=probs.device)
    ends = count.floor().clamp(min=0, max=size).long()
    # How many particles end at or below each place: a histogram, summed up.
    index = probs.new_zeros(batch + (size + 1,)).scatter_add_(-1, ends, torch.ones_like(probs))
    return index[..., :-1].cumsum(-1).long().clamp(max=size - 1)


class SMCState(dict[Any, Tensor]):
    """The tensors of all particles that later steps need; resampled with them.

    Args:
        num_particles: the size of the first dim of each.
    """

    def __init__(self, num_particles: int) -> None:
        assert isinstance(num_particles, int) and num_particles > 0, (
            f"num_particles is a positive integer, and not {num_particles}"
        )
        self._num_particles = num_particles
        self._log_weights = torch.zeros(num_particles)
        self._locked = False
        super().__init__()

    @property
    def log_weights(self) -> Tensor:
        """The logarithms of the weights of particles, up to a constant."""
        return self._log_weights

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        self._locked = True
        try:
            yield
        finally:
            self._locked = False

    def __setitem__(self, key: Any, value: Tensor) -> None:
        if self._locked:
            raise RuntimeError("Guide cannot write to SMCState")
        if not isinstance(value, Tensor):
            raise TypeError(f"Only Tensors can be stored in an SMCState, but got {type(value).__name__}")
        if value.dim() == 0 or value.size(0) != self._num_particles:
            raise ValueError(
                f"Expected leading dim of size {self._num_particles} but got shape {value.shape}"
            )
        super().__setitem__(key, value)

    def _resample(self, index: Tensor) -> None:
        for key, value in self.items():
            super().__setitem__(key, value[index].contiguous())
        self._log_weights = torch.zeros_like(self._log_weights)


class SMCFilter:
    """Filters a time series with weighted particles, step by step (Gordon, Salmond and Smith, 1993).

    Args:
        model: an object with methods ``init(state, ...)`` and ``step(state, ...)``; what later steps need it
            writes to ``state``.
        guide: an object with the same methods, which propose; it reads ``state``.
        num_particles: how many particles there are.
        max_plate_nesting: how many plates are nested in the model; particles are left of them.
        ess_threshold: particles are resampled when their effective number is below this share of all, in
            (0, 1].

    Raises:
        AssertionError: for a threshold out of range.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> class Walk:
    ...     def init(self, state):
    ...         state["z"] = ember.sample("z_0", dist.Normal(0.0, 1.0))
    ...         self.t = 0
    ...     def step(self, state, x=None):
    ...         self.t += 1
    ...         state["z"] = ember.sample(f"z_{self.t}", dist.Normal(state["z"], 1.0))
    ...         ember.sample(f"x_{self.t}", dist.Normal(state["z"], 1.0), obs=x)
    >>> class Proposal:
    ...     def init(self, state):
    ...         self.t = 0
    ...         ember.sample("z_0", dist.Normal(0.0, 1.0))
    ...     def step(self, state, x=None):
    ...         self.t += 1
    ...         ember.sample(f"z_{self.t}", dist.Normal(state["z"], 1.0))
    >>> smc = ember.infer.SMCFilter(Walk(), Proposal(), num_particles=1000, max_plate_nesting=0)
    >>> smc.init()
    >>> for x in (1.0, 1.5, 2.0):
    ...     smc.step(torch.tensor(x))
    >>> 1.0 < smc.get_empirical()["z"].mean.item() < 2.0
    True
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        num_particles: int,
        max_plate_nesting: int,
        *,
        ess_threshold: float = 0.5,
    ) -> None:
        assert 0 < ess_threshold <= 1, f"ess_threshold is in (0, 1], and not {ess_threshold}"
        self.model = model
        self.guide = guide
        self.num_particles = num_particles
        self.max_plate_nesting = max_plate_nesting
        self.ess_threshold = ess_threshold
        self.state = SMCState(num_particles)
        self.particle_plate = plate("particles", num_particles, dim=-1 - max_plate_nesting)

    def init(self, *args: object, **kwargs: object) -> None:
        """Start: run ``init`` of guide and model, weigh and resample.

        Args:
            args: what they take after the state.
            kwargs: likewise.

        Raises:
            SMCFailed: if all weights are zero.
        """
        self.state = SMCState(self.num_particles)
        self._advance(self.guide.init, self.model.init, args, kwargs)

    def step(self, *args: object, **kwargs: object) -> None:
        """Take one step: run ``step`` of guide and model, weigh and resample.

        Args:
            args: what they take after the state.
            kwargs: likewise.

        Raises:
            SMCFailed: if all weights are zero.
            RuntimeError: if the guide writes to the state.
        """
        self._advance(self.guide.step, self.model.step, args, kwargs)

    def _advance(
        self,
        guide: Callable[..., Any],
        model: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        with torch.no_grad(), poutine.block(), self.particle_plate:
            with self.state._lock():
                guide_trace = poutine.trace(guide).get_trace(self.state, *args, **kwargs)
            replayed = poutine.trace(poutine.replay(model, trace=guide_trace))
            model_trace = replayed.get_trace(self.state, *args, **kwargs)
        self._update_weights(model_trace, guide_trace)
        self._maybe_importance_resample()

    def get_empirical(self) -> dict[Any, Any]:
        """Key of the state -> its weighted values as a distribution."""
        return {name: dist.Empirical(value, self.state._log_weights) for name, value in self.state.items()}

    @torch.no_grad()
    def _update_weights(self, model_trace: Trace, guide_trace: Trace) -> None:
        model_trace = prune_subsample_sites(model_trace)
        guide_trace = prune_subsample_sites(guide_trace)
        if is_validation_enabled():
            check_model_guide_match(model_trace, guide_trace, self.max_plate_nesting)
        guide_trace.compute_log_prob()
        model_trace.compute_log_prob()
        for name, site in model_trace.nodes.items():
            if site["type"] != "sample":
                continue
            log_p = self._of_particles(site["log_prob"])
            if not site["is_observed"] and name in guide_trace.nodes:
                log_p = log_p - self._of_particles(guide_trace.nodes[name]["log_prob"])
            elif not site["is_observed"]:
                log_p = torch.zeros_like(log_p)  # proposed from the prior
            self.state._log_weights = self.state._log_weights + log_p
            largest = self.state._log_weights.max()
            if not torch.isfinite(largest):
                raise SMCFailed(f"Failed to find feasible hypothesis after site {name}")
            self.state._log_weights = self.state._log_weights - largest

    def _of_particles(self, log_prob: Tensor) -> Tensor:
        """A log density of each particle, summed over all other dims."""
        depth = self.max_plate_nesting + 1
        shape = (1,) * (depth - log_prob.dim()) + log_prob.shape
        by_particle = log_prob.reshape(shape).expand(
            (self.num_particles,) + tuple(shape[-depth + 1 :] if depth > 1 else ())
        )
        return by_particle.reshape(self.num_particles, -1).sum(-1)

    def _maybe_importance_resample(self) -> None:
        if not self.state:
            return
        weights = self.state._log_weights
        probs = (weights - weights.logsumexp(-1)).exp()
        if 1.0 / probs.square().sum() < self.num_particles * self.ess_threshold:
            self._importance_resample(probs)

    def _importance_resample(self, probs: Tensor) -> None:
        self.state._resample(_systematic_sample(probs))
