"""What is minimised for a variational estimate, and what it says of each design."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import softplus

from ember import poutine
from ember.contrib.oed.eig.moving_log import EwmaLog
from ember.contrib.oed.eig.runs import Program, finite_mean, given, log_prob, traced, values
from ember.contrib.util import lexpand
from ember.infer.autoguide import mean_field_entropy
from ember.modules import module
from ember.poutine.trace_struct import Trace

Critic = Callable[[Tensor, Trace, list[str], list[str]], Tensor]
"""A function of design, a run of the model, and the names of observations and targets: one number for each batch entry."""


class Judged(NamedTuple):
    """A loss at some designs."""

    objective: Tensor
    """A scalar to minimise."""
    value: Tensor
    """What is reported, for each design."""


class Purpose(NamedTuple):
    """What a loss is asked for."""

    trains: bool
    """Whether the objective will be minimised."""
    evaluates: bool
    """Whether the value is the estimate, and not only what is minimised."""


@dataclass
class DesignLoss(ABC):
    """A loss over designs."""

    @abstractmethod
    def judge(self, design: Tensor, num_samples: Any, purpose: Purpose) -> Judged:
        """Draw and compare; pure, but for random numbers and parameters."""


@dataclass
class Sited(DesignLoss):
    """With names of sites."""

    observed: list[str]
    targets: list[str]


def _judged(training: Tensor, value: Tensor | None = None) -> Judged:
    """From terms of draws: their means."""
    minimised = finite_mean(training)
    return Judged(minimised.sum(), minimised if value is None else finite_mean(value))


@dataclass
class PosteriorLoss(Sited):
    """The cross entropy of the guide ``q(theta | y, d)``: an upper bound of the average posterior entropy."""

    model: Program
    guide: Program
    analytic_entropy: bool = False

    def judge(self, design: Tensor, num_samples: int, purpose: Purpose) -> Judged:
        expanded = lexpand(design, num_samples)
        trace = poutine.trace(self.model).get_trace(expanded)
        args = values(trace, self.observed), expanded, self.observed, self.targets
        guide_trace = traced(given(self.guide, values(trace, self.targets)), *args)
        judged = _judged(-log_prob(guide_trace, self.targets))
        if not (purpose.evaluates and self.analytic_entropy):
            return judged
        entropy = mean_field_entropy(self.guide, args, whitelist=self.targets).sum(0) / num_samples
        return Judged(judged.objective, entropy)


@dataclass
class MarginalLoss(Sited):
    """The cross entropy of the guide ``q(y | d)``."""

    model: Program
    guide: Program

    def judge(self, design: Tensor, num_samples: int, purpose: Purpose) -> Judged:
        expanded = lexpand(design, num_samples)
        trace = poutine.trace(self.model).get_trace(expanded)
        guide = given(self.guide, values(trace, self.observed))
        cross = -log_prob(traced(guide, expanded, self.observed, self.targets), self.observed)
        if not purpose.evaluates:
            return _judged(cross)
        trace.compute_log_prob()
        return _judged(cross, cross + log_prob(trace, self.observed))


@dataclass
class MarginalLikelihoodLoss(Sited):
    """The cross entropies of ``q(y | d)`` and ``q(y | theta, d)``: their sum is minimised, their difference is the estimate."""

    model: Program
    marginal_guide: Program
    likelihood_guide: Program

    def judge(self, design: Tensor, num_samples: int, purpose: Purpose) -> Judged:
        expanded = lexpand(design, num_samples)
        trace = poutine.trace(self.model).get_trace(expanded)
        y, theta = values(trace, self.observed), values(trace, self.targets)
        marginal = traced(given(self.marginal_guide, y), expanded, self.observed, self.targets)
        conditional = traced(given(self.likelihood_guide, y), theta, expanded, self.observed, self.targets)
        of_y, of_y_given_theta = log_prob(marginal, self.observed), log_prob(conditional, self.observed)
        return _judged(-of_y - of_y_given_theta, -of_y + of_y_given_theta if purpose.evaluates else None)


@dataclass
class VNMCLoss(Sited):
    """The log of ``p(y | d)`` by importance sampling from the guide ``q(theta | y, d)``, with N x M draws."""

    model: Program
    guide: Program

    def judge(self, design: Tensor, num_samples: tuple[int, int], purpose: Purpose) -> Judged:
        if not isinstance(num_samples, Sequence) or len(num_samples) != 2:
            raise ValueError(f"num_samples of vnmc_eig is a pair (N, M), got {num_samples!r}")
        outer, inner = num_samples
        expanded = lexpand(design, outer)
        trace = poutine.trace(self.model).get_trace(expanded)
        y = {label: lexpand(value, inner) for label, value in values(trace, self.observed).items()}
        repeated = lexpand(expanded, inner)
        guide_trace = traced(given(self.guide, y), y, repeated, self.observed, self.targets)
        theta = values(guide_trace, self.targets)
        model_trace = traced(given(self.model, {**theta, **y}), repeated)
        log_w = log_prob(model_trace, self.targets + self.observed) - log_prob(guide_trace, self.targets)
        evidence = log_w.logsumexp(0) - math.log(inner)
        if not purpose.evaluates:
            return _judged(-evidence)
        trace.compute_log_prob()
        return _judged(-evidence, log_prob(trace, self.observed) - evidence)


@dataclass
class LFIRELoss(Sited):
    """The logistic loss of a classifier that tells observations given targets from any others."""

    marginal: Program
    conditional: Program
    classifier: Critic

    def judge(self, design: Tensor, num_samples: int, purpose: Purpose) -> Judged:
        _learned("h", self.classifier)
        expanded = lexpand(design, num_samples)
        joint = self._score(self.conditional, expanded)
        if not purpose.trains:
            return _judged(joint)
        training = softplus(-joint) + softplus(self._score(self.marginal, expanded))
        return _judged(training, joint if purpose.evaluates else None)

    def _score(self, program: Program, design: Tensor) -> Tensor:
        trace = poutine.trace(program).get_trace(design)
        return self.classifier(design, trace, self.observed, self.targets)


@dataclass
class DonskerVaradhanLoss(Sited):
    """Minus the bound of M. Donsker and S. Varadhan (1975), which a function ``T`` of targets and observations makes tight."""

    model: Program
    T: Critic
    log: EwmaLog = field(default_factory=lambda: EwmaLog(alpha=0.9))

    def judge(self, design: Tensor, num_samples: int, purpose: Purpose) -> Judged:
        _learned("T", self.T)
        expanded = lexpand(design, num_samples)
        together = poutine.trace(self.model).get_trace(expanded)
        # Not shuffled but drawn anew: targets that know nothing of these observations.
        apart = poutine.trace(given(self.model, values(together, self.observed))).get_trace(expanded)
        joint = self.T(expanded, together, self.observed, self.targets)
        independent = self.T(expanded, apart, self.observed, self.targets) - math.log(num_samples)
        top = independent.max(dim=0).values
        bound = joint.sum(0) / num_samples - top - self.log((independent - top).exp().sum(0), top)
        return Judged(-bound.sum(), bound)


@dataclass
class GivenLoss(DesignLoss):
    """A user's function ``(design, num_samples, evaluation=)``, which returns the objective and the values."""

    loss: Callable[..., tuple[Tensor, Tensor]]

    def judge(self, design: Tensor, num_samples: Any, purpose: Purpose) -> Judged:
        return Judged(*self.loss(design, num_samples, evaluation=purpose.evaluates))


def _learned(name: str, function: object) -> None:
    if isinstance(function, nn.Module):
        module(name, function)


__all__ = [
    "Critic",
    "DesignLoss",
    "DonskerVaradhanLoss",
    "GivenLoss",
    "Judged",
    "LFIRELoss",
    "MarginalLikelihoodLoss",
    "MarginalLoss",
    "PosteriorLoss",
    "Purpose",
    "VNMCLoss",
]
