"""Pareto-smoothed importance sampling: weights that can be used, and a number that says when they cannot.

References:
    A. Vehtari, D. Simpson, A. Gelman, Y. Yao and J. Gabry (2024), "Pareto smoothed importance sampling".
    J. Zhang and M. Stephens (2009), "A new and efficient estimation method for the generalized Pareto distribution".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.ops.pareto import fit_generalized_paretos

_ROUNDING = 500  # units of the last digit
_SMALLEST = 1e-300
_FEWEST = 5  # fewer values say nothing about a tail
_FEWEST_OF_HALF = 50  # of a tail that is halved
_COLUMNS_AT_ONCE = 32
_ULPS = 8


@dataclass(frozen=True)
class Smoothed:
    """Importance weights after smoothing.

    Attributes:
        log_weights: shape ``(S,)``; their exponentials sum to one.
        k_hat: shape of the tail of the raw weights; minus infinity where all are equal, infinity where nothing can be said.
        ess: the effective sample size, one by the sum of squares.
    """

    log_weights: Tensor
    k_hat: float
    ess: float


def tail_size(draws: int) -> int:
    """How many of the largest weights are its tail: the smaller of a fifth and ``3 sqrt(S)`` (Vehtari et al., 2024)."""
    return math.ceil(min(0.2 * draws, 3 * math.sqrt(draws)))


def k_hat_limit(draws: int) -> float:
    """The k-hat up to which an estimate from so many draws can be used: ``min(0.7, 1 - 1 / log10 S)`` (Vehtari et al., 2024)."""
    return min(0.7, 1 - 1 / math.log10(max(draws, 11)))


@torch.no_grad()
def psis(log_weights: Tensor) -> Smoothed:
    """Replace the largest importance weights by quantiles of a generalised Pareto distribution that is fitted to them.

    Args:
        log_weights: log target minus log proposal, shape ``(S,)``; minus infinity where the target is zero.

    Raises:
        ValueError: for another shape, NaN or plus infinity, or if no weight is positive.

    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(4000, dtype=torch.double)
    >>> wide = psis(-0.5 * (x / 0.9).square() + 0.5 * x.square())
    >>> wide.k_hat < 0.5, wide.ess > 3000
    (True, True)
    """
    log_w = _checked(log_weights)
    log_w = log_w - log_w.max()
    size = tail_size(len(log_w))
    smoothed = _smoothed(log_w, size)
    # A tail without a mean among weights that are nearly equal is none: its cutoff lies in a heap of weights, where their log
    # as a function of the draw is flat. Above the heap is the tail.
    while smoothed.k_hat > 1 and smoothed.ess > len(log_w) / 2 and size >= 2 * _FEWEST_OF_HALF:
        size //= 2
        smoothed = _smoothed(log_w, size)
    return smoothed


def _smoothed(log_w: Tensor, size: int) -> Smoothed:
    """Weights whose ``size`` largest are replaced; the largest is one."""
    top, places = log_w.topk(min(size + 1, len(log_w)), sorted=True)
    excess, cutoff = _excess(top.flip(-1))
    k_hat, sigma = _tail_shape(excess, cutoff)
    k = float(k_hat)
    if math.isfinite(k):
        chance = (torch.arange(1, size + 1, dtype=torch.double, device=log_w.device) - 0.5) / size
        quantiles = (
            sigma / k * torch.expm1(-k * torch.log1p(-chance))
            if abs(k) > 1e-9
            else -sigma * torch.log1p(-chance)
        )
        log_w = log_w.index_copy(0, places[:size].flip(0), (quantiles + cutoff).log().clamp(max=0.0))
    log_w = log_w - torch.logsumexp(log_w, 0)
    return Smoothed(log_w, k, float(torch.exp(-torch.logsumexp(2 * log_w, 0))))


@torch.no_grad()
def k_hats(log_weights: Tensor) -> Tensor:
    """k-hat of many sets of weights.

    Args:
        log_weights: shape ``(S, Q)``, a set in each column, or ``(S,)``.

    Returns:
        Shape ``(Q,)`` or ``()``; infinite where a tail has too few positive weights, minus infinity where its weights are equal.
    """
    if log_weights.dim() == 1:
        return k_hats(log_weights.unsqueeze(-1))[0]
    size = tail_size(len(log_weights))
    found = []
    for columns in torch.split(log_weights.double(), _COLUMNS_AT_ONCE, 1):
        top = columns.T.contiguous().topk(min(size + 1, len(columns)), dim=-1).values.flip(-1)
        found.append(_tail_shape(*_excess(top - top[:, -1:]))[0])
    return torch.cat(found)


def k_hats_of_moments(log_weights: Tensor, values: Tensor, power: int = 1) -> Tensor:
    """k-hat of the estimates of means, one a function (Vehtari et al., 2024, section 2.5).

    The tail that matters for the mean of a function is that of weight times function. A mean has error bars only where this is
    below one half, and converges in practice below 0.7.

    Args:
        log_weights: raw, shape ``(S,)``.
        values: the function at the draws, shape ``(S, Q)``.
        power: 1 for the means of the values, 2 for their squares; give deviations from the mean.

    Returns:
        Shape ``(Q,)``.
    """
    return k_hats(log_weights.unsqueeze(-1) + power * values.abs().clamp_min(_SMALLEST).log())


@dataclass(frozen=True)
class Moments:
    """Weighted means and standard deviations with their Monte Carlo errors, each of shape ``(Q,)``.

    Attributes:
        mean: weighted means.
        sd: weighted standard deviations.
        mcse_mean: standard errors of the means.
        mcse_sd: standard errors of the standard deviations (delta method).
    """

    mean: Tensor
    sd: Tensor
    mcse_mean: Tensor
    mcse_sd: Tensor


def weighted_moments(values: Tensor, log_weights: Tensor) -> Moments:
    """Moments of weighed draws (self-normalised importance sampling; A. Owen, 2013, chapter 9).

    Args:
        values: shape ``(S, Q)``.
        log_weights: normalised, shape ``(S,)``.
    """
    w = log_weights.exp().unsqueeze(-1)
    mean = (w * values).sum(0)
    squares = (values - mean).square()
    var = (w * squares).sum(0)
    sd = above_rounding(var.sqrt(), mean)
    mcse_mean = (w.square() * squares).sum(0).sqrt()
    mcse_sd = (w.square() * (squares - var).square()).sum(0).sqrt() / (2 * sd).clamp_min(_SMALLEST)
    fixed = sd == 0
    return Moments(mean, sd, mcse_mean.masked_fill(fixed, 0.0), mcse_sd.masked_fill(fixed, 0.0))


def above_rounding(sd: Tensor, mean: Tensor) -> Tensor:
    """Standard deviations; zero for a quantity that differs by nothing but rounding, as the diagonal of a correlation does."""
    return torch.where(sd <= _ROUNDING * torch.finfo(sd.dtype).eps * mean.abs(), 0.0, sd)


def _checked(log_weights: Tensor) -> Tensor:
    if log_weights.dim() != 1 or len(log_weights) < _FEWEST:
        raise ValueError(
            f"psis needs log weights of shape (S,), S at least {_FEWEST}, got {tuple(log_weights.shape)}"
        )
    log_w = log_weights.double()
    if bool(torch.isnan(log_w).any()) or bool((log_w == math.inf).any()):
        raise ValueError(
            "psis got log weights that are NaN or plus infinity: is the density of the proposal zero there?"
        )
    if bool((log_w == -math.inf).all()):
        raise ValueError("psis got no positive weight: the target is zero at all draws of the proposal")
    return log_w


def _excess(top: Tensor) -> tuple[Tensor, Tensor]:
    """What tail weights are above the cutoff; ``top`` ascends, the cutoff first, and ends at 0."""
    cutoff = top[..., :1].exp()
    return top[..., 1:].exp() - cutoff, cutoff


def _tail_shape(excess: Tensor, cutoff: Tensor) -> tuple[Tensor, Tensor]:
    """k-hat and scale; infinite if too few values are positive, minus infinity if they do not differ."""
    k, sigma = fit_generalized_paretos(excess.clamp_min(_SMALLEST))
    # Weights within a factor of two of each other have no tail, whatever the pattern of their tiny differences looks like.
    hill = torch.log1p(excess / cutoff).mean(-1)
    k = torch.where(excess[..., -1] < cutoff[..., 0], torch.minimum(k, hill), k)
    positive = (excess > 0).sum(-1)
    k = torch.where(torch.isnan(k) | (positive < _FEWEST), math.inf, k)
    equal = excess[..., -1] <= 1e-12  # relative to the largest weight, which is 1
    return torch.where(equal, -math.inf, k), sigma
