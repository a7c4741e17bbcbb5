"""The base of objectives: averaging, backward and the border to Python, once for all estimators.

An objective says in :meth:`ELBO.composition` what it is made of. From settings, traces and parameters to
tensors all is a pure function; Python floats are made at the border only, in ``loss`` and ``loss_and_grads``.
The elbo is maximised, the loss is minimised, and the sign changes here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ember.infer.objectives import hooks
from ember.infer.objectives.composition import Composition
from ember.infer.objectives.losses import values as loss_values
from ember.infer.objectives.losses.policy import check_training_loss, warn_of_nan_loss
from ember.infer.terms.estimate import Estimate as Estimate
from ember.infer.terms.estimate import Worth
from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.plate_nesting import facts_of, max_plate_nesting_of
from ember.infer.traces.run import Program as Program
from ember.infer.traces.run import Run, Vectorized, in_particle_plate
from ember.infer.traces.settings import Settings, nesting_by_old_name, particle_plates
from ember.ops.scalars import torch_item, total
from ember.poutine.trace_struct import Trace
from ember.settings import CHANGES


class ELBOModule(torch.nn.Module):
    """Joins a model, a guide and an objective in a module: called with the data, it returns a loss.

    The loss can be differentiated, so optimizers of torch can train it. An objective makes the module when it
    is called: ``Trace_ELBO()(model, guide)``.

    Args:
        model: the model; a module becomes a submodule.
        guide: the guide; a module becomes a submodule.
        elbo: the objective.

    >>> import torch, ember
    >>> def model(x):
    ...     loc = ember.sample("loc", ember.distributions.Normal(0.0, 1.0))
    ...     ember.sample("x", ember.distributions.Normal(loc, 1.0), obs=x)
    >>> loss = ember.infer.Trace_ELBO()(model, ember.infer.autoguide.AutoNormal(model))
    >>> loss(torch.tensor(1.0)).requires_grad
    True
    """

    def __init__(self, model: Program, guide: Program, elbo: ELBO) -> None:
        super().__init__()
        self.model = model
        self.guide = guide
        self.elbo = elbo

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.elbo.differentiable_loss(self.model, self.guide, *args, **kwargs)


@dataclass(eq=False, repr=False)
class ELBO(ABC):
    """Estimates the evidence lower bound (ELBO); the base of all objectives.

    See Wingate and Weber (2013), and Ranganath, Gerrish and Blei (2014).

    Args:
        num_particles: how many samples of the guide are averaged.
        max_plate_nesting: how many dims from the right belong to plates; found by a run if infinite and
            needed.
        max_iarange_nesting: deprecated name of ``max_plate_nesting``.
        vectorize_particles: draw all particles in one run, along a further plate to the left.
        strict_enumeration_warning: warn if enumeration is asked for but not done, or the other way round.
        ignore_jit_warnings: accepted for Pyro's sake, without effect.
        jit_options: accepted for Pyro's sake, without effect.
        retain_graph: keep the autograd graph of a step.
        tail_adaptive_beta: exponent of the tail-adaptive objective.

    Raises:
        ValueError: if ``num_particles`` is below 1.

    Called with a model and a guide it makes an :class:`ELBOModule`, for use with plain torch optimizers.

    An objective of one's own defines ``particle(model_trace, guide_trace)``, what one pair of traces is
    worth. Those written for Pyro, which override its methods instead, are called as Pyro calls them (see
    :mod:`ember.infer.objectives.hooks`).
    """

    num_particles: int = 1
    max_plate_nesting: float = math.inf
    max_iarange_nesting: InitVar[float | None] = None
    vectorize_particles: bool = False
    strict_enumeration_warning: bool = True
    ignore_jit_warnings: bool = False
    jit_options: dict[str, Any] | None = None
    retain_graph: bool | None = None
    tail_adaptive_beta: float = -1.0

    has_value: ClassVar[bool] = True
    """Whether the loss is a value; if not, it is infinite, and only what is differentiated must be finite."""
    loss_is_differentiated: ClassVar[bool] = False
    """Whether :meth:`loss` asks an overridden ``_differentiable_loss_particle``, as in some of Pyro's objectives."""
    uncalled_hooks: ClassVar[tuple[str, ...]] = (
        "_guess_max_plate_nesting",
        "_vectorized_num_particles",
        "_get_vectorized_trace",
    )
    """Methods that Pyro calls and Ember does not, so that overriding them is an error."""

    tells_of_changes: ClassVar[bool] = True
    """An attribute that is set counts as a change of settings: a warm step need not look at each."""

    def __post_init__(self, max_iarange_nesting: float | None) -> None:
        nesting = nesting_by_old_name(self.max_plate_nesting, max_iarange_nesting, stacklevel=3)
        if self.num_particles < 1:
            raise ValueError(f"num_particles must be at least 1, got {self.num_particles}")
        self.max_plate_nesting = nesting + particle_plates(self.num_particles, self.vectorize_particles)

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        CHANGES.number += 1

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        hooks.complete(cls)

    def __call__(self, model: Program, guide: Program) -> ELBOModule:
        return ELBOModule(model, guide, self)

    @abstractmethod
    def composition(self) -> Composition:
        """Return what this objective is made of, as it is set now."""

    @property
    def settings(self) -> Settings:
        """The settings as they are now, in one record."""
        return Settings(
            self.num_particles,
            self.max_plate_nesting,
            self.vectorize_particles,
            self.strict_enumeration_warning,
            self.retain_graph,
            self.tail_adaptive_beta,
        )

    @hooks.own
    def particle(self, model_trace: Trace, guide_trace: Trace) -> Estimate:
        """Compute what one pair of traces contributes; with vectorised particles, the sum over them.

        Args:
            model_trace: a run of the model, replayed against the guide, with log densities.
            guide_trace: a run of the guide, with log densities.
        """
        return self.composition().terms.estimate(model_trace, guide_trace, self.settings)

    def estimates(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[Estimate]:
        """Yield terms whose sum is the estimate; each may be differentiated before the next is made.

        Args:
            model: the model.
            guide: the guide.
            args: positional arguments of both.
            kwargs: keyword arguments of both.
        """
        for _, estimate in self._weighed(model, guide, args, kwargs, hooks.worth_of(self)):
            yield estimate

    def estimate(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Estimate:
        """Estimate the ELBO as tensors: a pure function of parameters, arguments and random state.

        Args:
            model: the model.
            guide: the guide.
            args: positional arguments of both.
            kwargs: keyword arguments of both.

        Raises:
            OverriddenHookError: if the objective computes its loss, or gradients, by a method that is no such
                function.
        """
        hooks.check_not_bypassed(self)
        return self._estimate(model, guide, args, kwargs)

    @hooks.own
    def loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Any:
        """Estimate the negative ELBO as a float, in nats. Warns if it is NaN.

        Objectives of several losses return them as a tuple of scalar tensors without gradients.

        Args:
            model: the model.
            guide: the guide.
            args: positional arguments of both.
            kwargs: keyword arguments of both.

        Raises:
            NotImplementedError: by objectives whose losses have no value.
        """
        if not self.has_value:
            raise NotImplementedError(f"Loss method for {type(self).__name__} not implemented")
        loss: Any = 0.0
        for traces, estimate in self._weighed(model, guide, args, kwargs, hooks.value_of(self)):
            if isinstance(estimate.elbo, Tensor) and estimate.elbo.dim():
                losses = (-estimate.elbo.detach()).unbind()
                loss_values.warn_if_nan(loss_values.to_floats(losses))
                return losses
            term = -torch_item(estimate.elbo)
            warn_of_nan_loss(term, *traces)
            loss += term
        return loss

    @hooks.own
    def differentiable_loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Tensor:
        """Estimate the negative ELBO as a scalar tensor that has the surrogate's gradient.

        Several losses are summed.

        Args:
            model: the model.
            guide: the guide.
            args: positional arguments of both.
            kwargs: keyword arguments of both.

        Raises:
            ValueError: if the objective enumerates, and the loss depends on nothing that has a gradient.
        """
        elbo, surrogate = self._estimate(model, guide, args, kwargs)
        if elbo is surrogate or not isinstance(surrogate, Tensor):
            loss = -torch.as_tensor(elbo)
        else:
            value = elbo.detach().sum() if isinstance(elbo, Tensor) else elbo
            loss = -(value + (surrogate - surrogate.detach()))
        if not loss.requires_grad and self.composition().needs_gradient:
            raise ValueError(
                f"ELBO is cannot be differentiated: {-loss}; neither model nor guide has parameters that it depends on, "
                "or gradients are off"
            )
        return loss

    @hooks.own
    def loss_and_grads(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Any:
        """Estimate the negative ELBO as a float, and add the surrogate's gradient to ``.grad`` of parameters.

        Objectives of several losses return a tuple of floats.

        Args:
            model: the model.
            guide: the guide.
            args: positional arguments of both.
            kwargs: keyword arguments of both.

        Raises:
            NonFiniteLossError: if the loss is NaN or infinite (see the setting ``nonfinite_loss``).
        """
        loss: Any = 0.0
        retain_graph = self.retain_graph
        if retain_graph is None and self.composition().runner.pairs_share_graphs:
            retain_graph = True
        for traces, (elbo, surrogate) in self._weighed(model, guide, args, kwargs, hooks.worth_of(self)):
            if isinstance(elbo, Tensor) and elbo.dim():
                loss = loss_values.to_floats(-elbo.detach())
                loss_values.check(loss)
            else:
                term = -torch_item(elbo)
                check_training_loss(term if self.has_value else -torch_item(surrogate), *traces)
                loss += term
            if (
                isinstance(surrogate, Tensor)
                and surrogate.requires_grad
                and (not traces or _has_params(*traces))
            ):
                (-surrogate).backward(retain_graph=retain_graph)  # type: ignore[no-untyped-call]
        return loss

    # What Pyro's objectives have under these names, for programs that call or override it.

    @hooks.own
    def _get_traces(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[Traces]:
        """Pairs of model and guide traces: one for each particle, or one for all vectorised particles."""
        composition = self.composition()
        pair = hooks.pair_of(self, composition.pairing)
        return composition.runner.pairs(self._run(model, guide, args, kwargs), self.settings, pair)

    @hooks.own
    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traces:
        """One pair of model and guide traces with their log densities."""
        return self.composition().pairing.pair(self._run(model, guide, args, kwargs))

    @hooks.own
    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[Any, Any]:
        """The loss of a pair of traces, a number, and what is differentiated in its place."""
        elbo, surrogate = self.particle(model_trace, guide_trace)
        return -torch_item(elbo), -surrogate

    def _get_vectorized_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traces:
        run = self._run(model, guide, args, kwargs)
        return next(Vectorized().pairs(run, self.settings, hooks.pair_of(self, self.composition().pairing)))

    def _guess_max_plate_nesting(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Set ``max_plate_nesting`` to that of the pair, for programs that use this objective with one pair only."""
        found = max_plate_nesting_of(self, model, guide, args, kwargs)
        self.max_plate_nesting = found + self.settings.particle_plates

    def _vectorized_num_particles(self, fn: Program) -> Program:
        """The program inside a plate of all particles, left of its own plates."""
        return in_particle_plate(fn, self.num_particles, self.max_plate_nesting)

    def _run(self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
        """What is run. The nesting of its plates, if it is not given, belongs to the pair, and is found when it is needed."""
        facts = facts_of(self, model, guide)
        return Run(model, guide, args, kwargs, self.max_plate_nesting, facts)

    def _weighed(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any], worth: Worth
    ) -> Iterator[tuple[Traces | tuple[()], Estimate]]:
        """Terms whose sum is the estimate, with the traces that they are made of."""
        pairs = self._get_traces(model, guide, args, kwargs)
        run = self._run(model, guide, args, kwargs)
        return self.composition().combination.estimates(pairs, run, self.settings, worth)

    def _estimate(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Estimate:
        terms = [estimate for _, estimate in self._weighed(model, guide, args, kwargs, hooks.worth_of(self))]
        elbo = total([term.elbo for term in terms])
        if all(term.elbo is term.surrogate for term in terms):
            return Estimate(elbo, elbo)
        return Estimate(elbo, total([term.surrogate for term in terms]))


def _has_params(*traces: Trace) -> bool:
    return any(site.type == "param" for recorded in traces for site in recorded.nodes.values())
