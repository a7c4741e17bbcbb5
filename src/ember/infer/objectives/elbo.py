"""The base of objectives: particles, vectorisation, averaging and backward, once for all estimators.

An objective says in :meth:`ELBO.particle` what one run of guide and model is worth. That is a pure function from traces to
tensors; Python floats are made at the border only, in ``loss`` and ``loss_and_grads``. The elbo is maximised, the loss
minimised, and the sign changes here.
"""

from __future__ import annotations

import copy
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ember.infer.losses.policy import check_training_loss, warn_of_nan_loss
from ember.infer.traces.checks import check_if_enumerated
from ember.infer.traces.importance_trace import get_importance_trace
from ember.infer.traces.plate_nesting import max_plate_nesting_of
from ember.infer.traces.validation import is_validation_enabled
from ember.ops.scalars import torch_item, total
from ember.poutine.trace_struct import Trace
from ember.primitives import plate

Program = Callable[..., Any]


class Estimate(NamedTuple):
    """An estimate of the ELBO (a scalar), and a scalar whose gradient estimates the ELBO's gradient."""

    elbo: Tensor | float
    surrogate: Tensor | float


class ELBOModule(torch.nn.Module):
    """A (model, guide) pair and its objective as a module: called with the data, it returns a loss to differentiate."""

    def __init__(self, model: Program, guide: Program, elbo: ELBO) -> None:
        super().__init__()
        self.model = model
        self.guide = guide
        self.elbo = elbo

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.elbo.differentiable_loss(self.model, self.guide, *args, **kwargs)


class ELBO(ABC):
    """An estimator of the evidence lower bound (Wingate and Weber, 2013; Ranganath, Gerrish and Blei, 2014).

    Args:
        num_particles: how many samples of the guide are averaged.
        max_plate_nesting: how many dims from the right belong to plates; found by a run if infinite and needed.
        max_iarange_nesting: deprecated name of ``max_plate_nesting``.
        vectorize_particles: draw all particles in one run, along a further plate to the left.
        strict_enumeration_warning: warn if enumeration is asked for but not done, or the other way round.
        ignore_jit_warnings: accepted for Pyro's sake, without effect.
        jit_options: accepted for Pyro's sake, without effect.
        retain_graph: keep the autograd graph of a step.
        tail_adaptive_beta: exponent of the tail-adaptive objective.

    Called with a model and a guide it makes an :class:`ELBOModule`, for use with plain torch optimizers.
    """

    has_value = True
    """Whether the loss is a value; if not, it is infinite, and only what is differentiated must be finite."""

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
        if max_iarange_nesting is not None:
            warnings.warn(
                "max_iarange_nesting is deprecated; use max_plate_nesting instead",
                DeprecationWarning,
                stacklevel=2,
            )
            max_plate_nesting = max_iarange_nesting
        if num_particles < 1:
            raise ValueError(f"num_particles must be at least 1, got {num_particles}")
        self.num_particles = num_particles
        self.vectorize_particles = vectorize_particles
        self.max_plate_nesting = max_plate_nesting + self._num_particle_plates
        self.strict_enumeration_warning = strict_enumeration_warning
        self.ignore_jit_warnings = ignore_jit_warnings
        self.jit_options = jit_options
        self.retain_graph = retain_graph
        self.tail_adaptive_beta = tail_adaptive_beta

    def __call__(self, model: Program, guide: Program) -> ELBOModule:
        return ELBOModule(model, guide, self)

    @abstractmethod
    def particle(self, model_trace: Trace, guide_trace: Trace) -> Estimate:
        """What one pair of traces contributes; with vectorised particles, the sum over them. Pure."""

    def estimates(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[Estimate]:
        """Terms whose sum is the estimate; each may be differentiated and forgotten before the next is made."""
        for _, estimate in self._weighed_particles(model, guide, args, kwargs):
            yield estimate

    def estimate(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Estimate:
        """The estimate as tensors: a pure function of parameters, arguments and random state."""
        terms = list(self.estimates(model, guide, args, kwargs))
        elbo = total([term.elbo for term in terms])
        if all(term.elbo is term.surrogate for term in terms):
            return Estimate(elbo, elbo)
        return Estimate(elbo, total([term.surrogate for term in terms]))

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """The negative ELBO as a float. Warns if it is NaN."""
        loss = 0.0
        for traces, estimate in self._weighed_particles(model, guide, args, kwargs):
            term = -torch_item(estimate.elbo)
            warn_of_nan_loss(term, *traces)
            loss += term
        return loss

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """The negative ELBO as a scalar tensor that has the surrogate's gradient."""
        elbo, surrogate = self.estimate(model, guide, args, kwargs)
        if elbo is surrogate or not isinstance(surrogate, Tensor):
            return -torch.as_tensor(elbo)
        value = elbo.detach() if isinstance(elbo, Tensor) else elbo
        return -(value + (surrogate - surrogate.detach()))

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """The negative ELBO as a float; the surrogate's gradient is added to ``.grad`` of the parameters.

        Raises:
            NonFiniteLossError: if the loss is NaN or infinite (see the setting ``nonfinite_loss``).
        """
        loss = 0.0
        for traces, estimate in self._weighed_particles(model, guide, args, kwargs):
            term = -torch_item(estimate.elbo)
            surrogate = estimate.surrogate
            check_training_loss(term if self.has_value else -torch_item(surrogate), *traces)
            loss += term
            if isinstance(surrogate, Tensor) and surrogate.requires_grad and _has_params(*traces):
                (-surrogate).backward(retain_graph=self._retain_graph)  # type: ignore[no-untyped-call]
        return loss

    def _weighed_particles(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[tuple[Trace, Trace], Estimate]]:
        for traces in self._get_traces(model, guide, args, kwargs):
            elbo, surrogate = self.particle(*traces)
            if self.num_particles > 1:
                same = elbo is surrogate
                elbo = elbo / self.num_particles
                surrogate = elbo if same else surrogate / self.num_particles
            yield traces, Estimate(elbo, surrogate)

    def _get_traces(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[Trace, Trace]]:
        """Pairs of model and guide traces: one for each particle, or one for all vectorised particles."""
        if self.vectorize_particles:
            yield self._with_plate_nesting(model, guide, args, kwargs)._get_vectorized_trace(
                model, guide, args, kwargs
            )
        else:
            for _ in range(self.num_particles):
                yield self._get_trace(model, guide, args, kwargs)

    def _get_vectorized_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        return self._get_trace(
            self._vectorized_num_particles(model), self._vectorized_num_particles(guide), args, kwargs
        )

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        """One pair of model and guide traces with their log densities."""
        traces = get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)
        if is_validation_enabled():
            check_if_enumerated(traces[1])
        return traces

    @property
    def _retain_graph(self) -> bool | None:
        return self.retain_graph

    @property
    def _num_particle_plates(self) -> int:
        return 1 if self.vectorize_particles and self.num_particles > 1 else 0

    def _with_plate_nesting(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Self:
        """This objective with a finite ``max_plate_nesting``. It is a copy, since the nesting belongs to the pair."""
        if math.isfinite(self.max_plate_nesting):
            return self
        resolved = copy.copy(self)
        resolved.max_plate_nesting = (
            max_plate_nesting_of(self, model, guide, args, kwargs) + self._num_particle_plates
        )
        return resolved

    def _guess_max_plate_nesting(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Set ``max_plate_nesting`` to that of the pair, for programs that use this objective with one pair only."""
        self.max_plate_nesting = (
            max_plate_nesting_of(self, model, guide, args, kwargs) + self._num_particle_plates
        )

    def _vectorized_num_particles(self, fn: Program) -> Program:
        """The program inside a plate of all particles, left of its own plates."""
        if self.num_particles == 1:
            return fn
        particles: Program = plate(
            "num_particles_vectorized", self.num_particles, dim=-int(self.max_plate_nesting)
        )(fn)
        return particles


def _has_params(*traces: Trace) -> bool:
    return any(site["type"] == "param" for recorded in traces for site in recorded.nodes.values())
