"""What is taken away from the costs of score functions, as values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ember.distributions.masking import scale_and_mask
from ember.infer.terms.entropies import Entropy, FullScore
from ember.infer.terms.estimate import Combination, Estimate, Joint, Mean
from ember.infer.terms.fixed_samples import DetachSamples
from ember.infer.terms.sampled import SampledTerms, detached
from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.plates import MultiFrameTensor, particle_dim
from ember.infer.traces.settings import Settings
from ember.ops.scalars import total
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


class ControlVariate(ABC):
    """What makes score functions less noisy."""

    compares_particles: ClassVar[bool]
    """Whether it needs two particles or more."""

    @abstractmethod
    def check_entropy(self, entropy: Entropy) -> None:
        """Raise ValueError if the entropy cannot be estimated so together with this."""

    @abstractmethod
    def around_guide(self) -> AbstractContextManager[Any]:
        """What the traces are made under."""

    @abstractmethod
    def combination(self, terms: SampledTerms) -> Combination:
        """How particles are put together."""

    def check_particles(self, num_particles: int) -> None:
        """Check that there is something to compare.

        Raises:
            ValueError: if not.
        """
        if self.compares_particles and num_particles < 2:
            raise ValueError(f"{self} compares particles: give num_particles=2 or more, got {num_particles}")


class BoundControlVariate(ControlVariate):
    """One that a weighted bound can have too (Burda et al., 2016; Mnih and Rezende, 2016)."""

    @abstractmethod
    def factor_of_score(self, alpha: float) -> float:
        """What log q of sites without a path is multiplied with in what is differentiated for log w."""

    @abstractmethod
    def score_terms(self, log_q: Tensor, bounds: Tensor, tempered: Tensor, alpha: float) -> list[Tensor]:
        """What is differentiated besides, by particle.

        Args:
            log_q: of sites without a path.
            bounds: that all particles make.
            tempered: ``(1 - alpha) * log w``, detached, with the particles along the first dim.
            alpha: the order of the bound.
        """


@dataclass(frozen=True)
class NoControlVariate(BoundControlVariate):
    """Weighs score functions with their costs as they are.

    Pyro's estimator, and the default.

    >>> import ember
    >>> elbo = ember.infer.Trace_ELBO(control_variate=ember.infer.NoControlVariate())
    """

    compares_particles: ClassVar[bool] = False

    def check_entropy(self, entropy: Entropy) -> None:
        """Any goes."""

    def around_guide(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def combination(self, terms: SampledTerms) -> Combination:
        return Mean()

    def factor_of_score(self, alpha: float) -> float:
        return alpha / (1.0 - alpha)

    def score_terms(self, log_q: Tensor, bounds: Tensor, tempered: Tensor, alpha: float) -> list[Tensor]:
        return []


@dataclass(frozen=True)
class LeaveOneOut(BoundControlVariate):
    """Takes the mean cost of the other particles away from the cost of each.

    It needs two particles or more.

    Raises:
        ValueError: in an objective with one particle.

    References:
        W. Kool, H. van Hoof, M. Welling (2019), "Buy 4 REINFORCE Samples, Get a Baseline for Free!".
        A. Mnih, D. Rezende (2016), "Variational Inference for Monte Carlo Objectives".

    >>> import ember
    >>> elbo = ember.infer.Trace_ELBO(num_particles=4, control_variate=ember.infer.LeaveOneOut())
    """

    compares_particles: ClassVar[bool] = True

    def check_entropy(self, entropy: Entropy) -> None:
        """Any goes."""

    def around_guide(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def combination(self, terms: SampledTerms) -> Combination:
        return Joint(partial(_leave_one_out, terms))

    def factor_of_score(self, alpha: float) -> float:
        return -1.0

    def score_terms(self, log_q: Tensor, bounds: Tensor, tempered: Tensor, alpha: float) -> list[Tensor]:
        return [(bounds - _bounds_of_others(tempered, alpha)) * log_q]


@dataclass(frozen=True)
class VarGrad(ControlVariate):
    """Takes the gradient of half the variance of ``log q - log p`` over particles.

    Samples are held fixed. All sites of the guide are treated alike, reparameterised or not. It needs two
    particles or more.

    Raises:
        ValueError: in an objective with one particle, or with another ``entropy`` than ``FullScore()``.

    References:
        L. Richter, A. Boustati, N. Nüsken, F. Ruiz, Ö. Akyildiz (2020), "VarGrad: A Low-Variance Gradient
        Estimator for Variational Inference".

    >>> import ember
    >>> elbo = ember.infer.Trace_ELBO(num_particles=4, control_variate=ember.infer.VarGrad())
    """

    compares_particles: ClassVar[bool] = True

    def check_entropy(self, entropy: Entropy) -> None:
        if entropy != FullScore():
            raise ValueError(f"VarGrad() has no entropy term to estimate by {entropy}: leave entropy out")

    def around_guide(self) -> AbstractContextManager[Any]:
        return DetachSamples()

    def combination(self, terms: SampledTerms) -> Combination:
        return Joint(_var_grad)


CONTROL_VARIATES: tuple[type[ControlVariate], ...] = (NoControlVariate, LeaveOneOut, VarGrad)
BOUND_CONTROL_VARIATES: tuple[type[BoundControlVariate], ...] = (NoControlVariate, LeaveOneOut)


def less_mean_of_others(costs: Tensor, dim: int) -> Tensor:
    """Each cost less the mean of the others along a dim.

    >>> import torch
    >>> less_mean_of_others(torch.tensor([1.0, 2.0, 6.0]), 0)
    tensor([-3.0000, -1.5000,  4.5000])
    """
    count = costs.shape[dim]
    return (costs - costs.mean(dim, keepdim=True)) * (count / (count - 1))


def _leave_one_out(terms: SampledTerms, particles: Sequence[Traces], settings: Settings) -> Estimate:
    parts = [terms.parts(*traces) for traces in particles]
    surrogate: list[Any] = [part.surrogate for part in parts]
    for name in parts[0].scores:
        scores = [part.scores[name] for part in parts if name in part.scores]
        if settings.vectorize_particles:
            cost, dim = scores[0].cost, particle_dim(scores[0].site)
            cost = cost.reshape((1,) * (-dim - cost.dim()) + cost.shape)
            surrogate.append((less_mean_of_others(cost, dim) * scores[0].function).sum())
            continue
        if len(scores) < len(parts) or any(score.cost.shape != scores[0].cost.shape for score in scores):
            raise ValueError(
                f"at site {name!r}, LeaveOneOut compares particles, but not all of them have this site with the same shape"
            )
        costs = less_mean_of_others(torch.stack([score.cost for score in scores]), 0)
        surrogate += [(cost * score.function).sum() for cost, score in zip(costs, scores, strict=True)]
    count = settings.num_particles
    return Estimate(detached(total([part.elbo for part in parts])) / count, total(surrogate) / count)


def _bounds_of_others(tempered: Tensor, alpha: float) -> Tensor:
    """For each particle, the bound that the other particles make; 0 if they are impossible."""
    count = tempered.shape[0]
    own = torch.eye(count, dtype=torch.bool, device=tempered.device)
    own = own.reshape((count, count) + (1,) * (tempered.dim() - 1))
    others = torch.where(own, -math.inf, tempered)
    bounds = (torch.logsumexp(others, 1) - math.log(count - 1)) / (1.0 - alpha)
    return torch.where(torch.isfinite(bounds), bounds, 0.0)


def _var_grad(particles: Sequence[Traces], settings: Settings) -> Estimate:
    log_p, log_q, scores = (
        torch.cat([values.reshape(-1) for values in column])
        for column in zip(*[_by_particle(*traces, settings) for traces in particles], strict=True)
    )
    elbo = (log_p - log_q).detach()
    weights = less_mean_of_others(elbo, 0)
    count = settings.num_particles
    return Estimate(elbo.sum() / count, (log_p.sum() + (weights * scores).sum()) / count)


def _by_particle(model_trace: Trace, guide_trace: Trace, settings: Settings) -> tuple[Tensor, ...]:
    """log p, log q and the scores, which are not scaled: a subsample is as probable as it is, and its weight has the scale."""
    model_sites, guide_sites = (
        [site for site in trace.nodes.values() if site.type == "sample"]
        for trace in (model_trace, guide_trace)
    )
    columns = (
        [site.log_prob for site in model_sites],
        [site.log_prob for site in guide_sites],
        [_score(site, [*model_sites, *guide_sites]) for site in guide_sites],
    )
    if not settings.vectorize_particles:
        return tuple(torch.as_tensor(total([term.sum() for term in terms])) for terms in columns)
    count = settings.num_particles
    return tuple(
        torch.as_tensor(total([term.reshape(count, -1).sum(-1) for term in terms])) for terms in columns
    )


def _score(site: Site, sites: Sequence[Site]) -> Tensor:
    """The log density of a guide's site, but where all that its sample can have changed is masked: that would be noise only."""
    score: Tensor = site.unscaled_log_prob
    if site.mask is None or site.mask is True:
        return score
    counted = MultiFrameTensor()
    for other in sites:
        ones = scale_and_mask(torch.ones_like(other.log_prob), mask=other.mask)
        counted.add((other.cond_indep_stack, ones.expand(other.log_prob.shape)))
    return torch.where(torch.as_tensor(counted.sum_to(site.cond_indep_stack)) > 0, score, 0.0)
