"""Weigh the draws of a proposal: corrected moments, and all that can be known of their errors from the draws alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.families.family import Family
from ember.ops.psis import Moments, k_hats_of_moments, psis, tail_size, weighted_moments

Quantities = Callable[[Tensor], Tensor]
_WELL_INSIDE = 2 / 3
_LOST = 1e-6  # weight that may fall on values that are no numbers


@dataclass(frozen=True)
class Limits:
    """Says what a verdict asks for.

    Attributes:
        k_hat: the limit of k-hat, of the weights and of the squared deviations.
        ess: the fewest effective draws.
        mcse_mean: the largest Monte Carlo error of a mean, in standard deviations.
        mcse_sd: the largest Monte Carlo error of a standard deviation, as a fraction.
        easy_k_hat: the k-hat of the weights below which one proposal is enough.
        easy_squares: the same for squared deviations.
        agree_mean: how far means of two proposals that agree are apart at most, in standard deviations.
        agree_sd: how far logs of their standard deviations are apart at most.
        r_hat: the limit of R-hat, for chains that check.
        drift: how far their means may drift, in standard deviations.
        audit_error: the largest error from chains alone, of means in standard deviations, and of standard
            deviations.
        farthest_sd: how far standard deviations of chains and draws may be apart, errors included.
        tail_of_proposals: the index of tails above which proposals that agree are believed.
        tail_of_chains: the index of tails above which chains that agree with a proposal are believed.

    >>> from ember.fit import Limits
    >>> Limits().k_hat, Limits(ess=400.0).ess
    (0.7, 400.0)
    """

    k_hat: float = 0.7
    ess: float = 1000.0
    mcse_mean: float = 0.03
    mcse_sd: float = 0.03
    easy_k_hat: float = 0.5
    easy_squares: float = 0.6
    agree_mean: float = 0.07
    agree_sd: float = 0.07
    r_hat: float = 1.1
    drift: float = 0.1
    audit_error: float = 0.05
    farthest_sd: float = 0.1
    tail_of_proposals: float = 3.0
    tail_of_chains: float = 4.0


@dataclass(frozen=True)
class Weighed:
    """Holds draws of a proposal with their weights, and what these say.

    Attributes:
        u: draws, shape ``(S, D)``.
        log_p: log density of the target, shape ``(S,)``.
        log_ratios: raw log weights, shape ``(S,)``.
        log_weights: smoothed and normalised log weights, shape ``(S,)``.
        values: the quantities, shape ``(S, Q)``.
        k_hat: k-hat of the raw weights.
        ess: effective draws.
        k_means: k-hat of each mean, shape ``(Q,)``.
        k_squares: k-hat of each squared deviation, shape ``(Q,)``.
        moments: mean, sd and their Monte Carlo errors, each of shape ``(Q,)``.
        elbo: mean log ratio over possible draws, in nats.

    >>> from ember.fit import fit_density
    >>> from ember.infer.vi import FunctionDensity
    >>> outcome = fit_density(FunctionDensity(2, lambda u: -0.5 * u.square().sum(-1)))
    >>> weighed = outcome.weighed
    >>> round(weighed.log_evidence, 2)  # the integral is 2 pi
    1.84
    """

    u: Tensor
    log_p: Tensor
    log_ratios: Tensor
    log_weights: Tensor
    values: Tensor
    k_hat: float
    ess: float
    k_means: Tensor
    k_squares: Tensor
    moments: Moments
    elbo: float

    @property
    def mean_errors(self) -> Tensor:
        """Monte Carlo errors of the means, in standard deviations, shape ``(Q,)``."""
        return _relative(self.moments.mcse_mean, self.moments.sd)

    @property
    def sd_errors(self) -> Tensor:
        """Monte Carlo errors of the standard deviations, as fractions, shape ``(Q,)``."""
        return _relative(self.moments.mcse_sd, self.moments.sd)

    @property
    def log_evidence(self) -> float:
        """Log of the integral of the density, as far as draws have met it, in nats."""
        return float(torch.logsumexp(self.log_ratios, 0)) - math.log(len(self.log_ratios))

    @property
    def worst(self) -> tuple[int, ...]:
        """The columns of the quantities, the least well known first."""
        trouble = torch.maximum(self.mean_errors, self.sd_errors) + self.k_squares.clamp(0, 10)
        return tuple(trouble.argsort(descending=True).tolist())

    def weights_hold(self, limits: Limits) -> bool:
        """Say whether the weights are good, whatever the quantities."""
        return self.k_hat < limits.k_hat and self.ess > limits.ess

    def has_mean(self, limits: Limits) -> Tensor:
        """Say whether the mean of each quantity can be used, as far as its own tails go: shape ``(Q,)``."""
        return (self.mean_errors < limits.mcse_mean) & (self.k_means < limits.k_hat)

    def has_both(self, limits: Limits) -> Tensor:
        """Say whether mean and standard deviation of each quantity can be used: shape ``(Q,)``."""
        return self.has_mean(limits) & (self.k_squares < limits.k_hat) & (self.sd_errors < limits.mcse_sd)

    def only(self, columns: Tensor) -> Weighed:
        """Keep some of the quantities; their values at the draws are left out."""
        moments = self.moments
        return replace(
            self,
            values=self.values[:0, columns],
            k_means=self.k_means[columns],
            k_squares=self.k_squares[columns],
            moments=Moments(
                moments.mean[columns],
                moments.sd[columns],
                moments.mcse_mean[columns],
                moments.mcse_sd[columns],
            ),
        )

    def means_hold(self, limits: Limits) -> bool:
        """Say whether all means can be used."""
        # A quantity may have no mean at all, however good the weights are.
        return self.weights_hold(limits) and bool(self.has_mean(limits).all())

    def all_hold(self, limits: Limits) -> bool:
        """Say whether all means and standard deviations can be used."""
        return self.weights_hold(limits) and bool(self.has_both(limits).all())

    def is_near(self, limits: Limits) -> bool:
        """Say whether more draws may make it good.

        That is so for a noisy k-hat around its limit, and for errors that four times the draws would halve.
        """
        return (
            (self.k_hat < limits.k_hat + 0.1 or 2 * self.ess > len(self.u))
            and 4 * self.ess > limits.ess
            and bool((self.mean_errors < 2 * limits.mcse_mean).all())
            and not self.is_easy(limits)
        )

    def is_easy(self, limits: Limits) -> bool:
        """Say whether that needs no second opinion."""
        return (
            self.all_hold(limits)
            and self.k_hat < limits.easy_k_hat
            and bool((self.k_squares < limits.easy_squares).all())
        )

    def is_clear(self, limits: Limits) -> bool:
        """Say whether more draws would tell nothing new: easy by more than the noise, errors well inside."""
        noise = (1 + max(self.k_hat, 0.0)) / math.sqrt(tail_size(len(self.u)))
        return (
            self.is_easy(limits)
            and self.k_hat + noise < limits.easy_k_hat
            and bool((self.mean_errors < _WELL_INSIDE * limits.mcse_mean).all())
            and bool((self.sd_errors < _WELL_INSIDE * limits.mcse_sd).all())
        )


def _relative(error: Tensor, sd: Tensor) -> Tensor:
    """An error in units of the standard deviation; a constant has none."""
    return torch.where((error == 0) & (sd == 0), 0.0, error / sd).nan_to_num(torch.inf)


def weigh(p: Counted, proposal: Family, quantities: Quantities, draws: int, seed: int) -> Weighed:
    """Draw from a proposal, and weigh."""
    return weighed(p, *proposal.sample(draws, seed), quantities)


def weighed(p: Counted, u: Tensor, log_q: Tensor, quantities: Quantities) -> Weighed:
    """Weigh given draws.

    Args:
        p: the target.
        u: draws, shape ``(S, D)``.
        log_q: the log density that they were drawn from.
        quantities: what is to be known, from ``(S, D)`` to ``(S, Q)``.
    """
    return of_ratios(u, p.value(u), log_q, torch.cat([quantities(rows) for rows in torch.split(u, p.chunk)]))


def weigh_more(
    p: Counted, old: Weighed, proposal: Family, quantities: Quantities, draws: int, seed: int
) -> Weighed:
    """Weigh further draws of the same proposal together with those at hand."""
    u, log_q = proposal.sample(draws, seed)
    more = torch.cat([quantities(rows) for rows in torch.split(u, p.chunk)])
    old_q = torch.where(torch.isfinite(old.log_p), old.log_p - old.log_ratios, 0.0)
    return of_ratios(
        torch.cat([old.u, u]),
        torch.cat([old.log_p, p.value(u)]),
        torch.cat([old_q, log_q]),
        torch.cat([old.values, more]),
    )


@torch.no_grad()
def of_ratios(u: Tensor, log_p: Tensor, log_q: Tensor, values: Tensor) -> Weighed:
    """What draws say whose densities and quantities are known."""
    ratios = torch.where(torch.isfinite(log_p), log_p - log_q, -torch.inf)
    if not bool(torch.isfinite(ratios).any()):
        ratios = torch.full_like(
            ratios, -1e300
        )  # nothing possible was drawn: equal weights, and an ELBO that says so
    smoothed = psis(ratios)
    hopeless = float(ratios.max()) <= -1e300
    numbers = torch.isfinite(values)
    lost = torch.zeros(values.shape[-1], dtype=torch.bool)
    if not bool(numbers.all()):
        lost = (smoothed.log_weights.exp().unsqueeze(-1) * ~numbers).sum(0) > _LOST
        values = torch.where(numbers, values, 0.0)
    moments = weighted_moments(values, smoothed.log_weights)
    deviations = torch.where(moments.sd == 0, 0.0, (values - moments.mean) / moments.sd)
    if bool(lost.any()):
        nan = torch.full_like(moments.mean, torch.nan)
        moments = Moments(
            *(
                torch.where(lost, nan, x)
                for x in (moments.mean, moments.sd, moments.mcse_mean, moments.mcse_sd)
            )
        )
    return Weighed(
        u,
        log_p,
        ratios,
        smoothed.log_weights,
        values,
        torch.inf if hopeless else smoothed.k_hat,
        0.0 if hopeless else smoothed.ess,
        torch.where(lost, torch.inf, k_hats_of_moments(ratios, deviations)),
        torch.where(lost, torch.inf, k_hats_of_moments(ratios, deviations, 2)),
        moments,
        float(ratios[torch.isfinite(ratios)].mean()),
    )


@dataclass(frozen=True)
class Gap:
    """How far two estimates are apart, at most over the quantities: ``mean`` in standard deviations, ``sd`` in logs."""

    mean: float
    sd: float

    def within(self, limits: Limits) -> bool:
        """Whether the two agree."""
        return self.mean < limits.agree_mean and self.sd < limits.agree_sd


def gap(a: Moments, b: Moments) -> Gap:
    """Between two sets of moments."""
    means = _relative((a.mean - b.mean).abs(), torch.minimum(a.sd, b.sd))
    sds = torch.where((a.sd == 0) & (b.sd == 0), 0.0, (a.sd / b.sd).log().abs()).nan_to_num(torch.inf)
    return Gap(float(means.max()), float(sds.max()))
