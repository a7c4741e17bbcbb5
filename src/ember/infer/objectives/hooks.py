"""Methods of Pyro's objectives that programs override, and what becomes of them here.

Ember's objectives are made of parts, and override no method of each other. So a method that is not Ember's own is the user's, and
is called where Pyro calls it:

``_get_traces``, ``_get_trace``
    make the traces, in all that computes a loss.
``_differentiable_loss_particle``
    says what a pair of traces is worth, in ``differentiable_loss`` and ``loss_and_grads``, and for some objectives in ``loss``.
``_loss_and_surrogate_loss_particle``
    does so for :class:`TraceGraph_ELBO`.
``loss``, ``differentiable_loss``, ``loss_and_grads``
    replace what SVI calls. A captured step differentiates by itself: it cannot call them, and says so.

What Pyro calls and Ember does not, a class declares as ``uncalled_hooks``: overriding it is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ember.capture.recording.value_guard import is_recording
from ember.errors import CaptureError, Reason
from ember.infer.objectives.composition import Composition
from ember.infer.terms.estimate import Estimate, Terms, Worth
from ember.infer.terms.pairing import Pairing
from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.run import Pair, Run, runner_of
from ember.infer.traces.settings import Settings
from ember.poutine.trace_struct import Trace

Method = TypeVar("Method", bound=Callable[..., Any])
_OWN: set[Any] = set()
_WORTH = "_differentiable_loss_particle"
_WORTH_OF_GRAPH = "_loss_and_surrogate_loss_particle"
_LOSSES = ("loss", "differentiable_loss", "loss_and_grads")


class OverriddenHookError(CaptureError):
    """A captured step cannot call a method that the user's objective overrides."""

    def __init__(self, objective: type, method: str) -> None:
        super().__init__(
            f"the step cannot be captured: {objective.__name__}.{method} is the user's own, and a captured step computes "
            "losses and gradients by itself\n"
            "The way out: define particle(model_trace, guide_trace) instead, or run eagerly (compile=False).",
            Reason.OWN_GRADIENTS,
        )
        self.method = method


class Objective(Protocol):
    """What the hooks need of an objective."""

    max_plate_nesting: float
    loss_is_differentiated: ClassVar[bool]
    uncalled_hooks: ClassVar[tuple[str, ...]]

    @property
    def settings(self) -> Settings: ...

    def particle(self, model_trace: Trace, guide_trace: Trace) -> Estimate: ...


def own(method: Method) -> Method:
    """Mark a method as Ember's own: what stands in its place in a subclass is the user's."""
    _OWN.add(method)
    return method


def overrides(kind: type, method: str) -> bool:
    """Whether a class of objectives has a method that is the user's."""
    return getattr(kind, method) not in _OWN


def complete(kind: type) -> None:
    """Give a user's class that says what a pair of traces is worth, or computes losses by itself, its parts.

    Raises:
        TypeError: if it overrides what is not called.
    """
    for method in kind.uncalled_hooks:  # type: ignore[attr-defined]
        if method in vars(kind):
            raise TypeError(
                f"{kind.__name__}.{method} would never be called: override _get_traces, _get_trace or loss_and_grads, or define "
                "particle(model_trace, guide_trace), what a pair of traces is worth"
            )
    if getattr(kind.composition, "__isabstractmethod__", False) and any(  # type: ignore[attr-defined]
        overrides(kind, method) for method in ("particle", _WORTH, *_LOSSES)
    ):
        kind.composition = _own_composition  # type: ignore[attr-defined]


def _own_composition(objective: Objective) -> Composition:
    return Composition(runner_of(objective.settings), _NoTerms(type(objective).__name__))


@dataclass(frozen=True)
class _NoTerms(Terms):
    """Of an objective that computes losses by itself."""

    objective: str

    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        raise NotImplementedError(
            f"{self.objective} does not say what a pair of traces is worth: define particle(model_trace, guide_trace), "
            "which returns an Estimate, or all of loss, differentiable_loss and loss_and_grads"
        )


def worth_of(objective: Objective) -> Worth:
    """What a pair of traces is worth where it is differentiated."""
    if overrides(type(objective), _WORTH):
        return partial(_by_loss, getattr(objective, _WORTH))
    if hasattr(objective, _WORTH_OF_GRAPH) and overrides(type(objective), _WORTH_OF_GRAPH):
        return partial(_by_elbo, getattr(objective, _WORTH_OF_GRAPH))
    return objective.particle


def check_own_worth(kind: type, control_variate: str) -> None:
    """Check that what a pair is worth is Ember's own, which a control variate takes apart.

    Raises:
        ValueError: if it is the user's.
    """
    for method in ("particle", _WORTH):
        if overrides(kind, method):
            raise ValueError(
                f"{control_variate} compares the score functions of particles, and {kind.__name__}.{method} does not give them: "
                "leave control_variate out"
            )


def value_of(objective: Objective) -> Worth:
    """What a pair of traces is worth where only the loss is asked for: nothing is trained by that, baselines included."""
    if objective.loss_is_differentiated and overrides(type(objective), _WORTH):
        return worth_of(objective)
    if overrides(type(objective), "particle"):
        return objective.particle
    return torch.no_grad()(objective.particle)


def _by_loss(
    hook: Callable[[Trace, Trace], tuple[Any, Any]], model_trace: Trace, guide_trace: Trace
) -> Estimate:
    with _numbers_as_tensors():
        loss, surrogate = hook(model_trace, guide_trace)
    return Estimate(-loss, -surrogate)


def _by_elbo(
    hook: Callable[[Trace, Trace], tuple[Any, Any]], model_trace: Trace, guide_trace: Trace
) -> Estimate:
    with _numbers_as_tensors():
        elbo, surrogate_loss = hook(model_trace, guide_trace)
    return Estimate(elbo, -surrogate_loss)


def pair_of(objective: Objective, pairing: Pairing) -> Pair:
    """How a pair of traces is made."""
    return partial(_traced, objective) if overrides(type(objective), "_get_trace") else pairing.pair


def _traced(objective: Objective, run: Run) -> Traces:
    # The user's method looks for the nesting at the objective, as Pyro's do.
    if isfinite(run.max_plate_nesting):
        objective.max_plate_nesting = run.max_plate_nesting
    make: Callable[..., Traces] = getattr(objective, "_get_trace")  # noqa: B009
    return make(run.model, run.guide, run.args, run.kwargs)


def check_not_bypassed(objective: Objective) -> None:
    """Check that an estimate of the objective's parts is what its losses are made of.

    Raises:
        OverriddenHookError: if a method is overridden that computes the loss, or the gradients, otherwise.
    """
    method = "loss_and_grads" if torch.is_grad_enabled() else "loss"
    if overrides(type(objective), method):
        raise OverriddenHookError(type(objective), method)


def _numbers_as_tensors() -> AbstractContextManager[Any]:
    return _NumbersAsTensors() if is_recording() else nullcontext()


class _NumbersAsTensors(TorchFunctionMode):
    """While a step is recorded, ``.item()`` gives a scalar tensor: a hook returns losses as numbers, which no graph can hold."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.item:
            return args[0].detach().reshape(())
        return func(*args, **(kwargs or {}))
