"""Distributions of flows between compartments: binomial counts, more dispersed if need be, and their
relaxations.

Inside of :func:`set_relaxed_distributions` the binomial ones are normal distributions with the same mean and
variance, so that counts may be any real numbers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all

from ember import distributions as dist
from ember.distributions.validation import all_valid, is_validation_enabled

Number = float | Tensor

_Family = Callable[..., Any]
_BINOMIAL: _Family = dist.ExtendedBinomial
_NEGATIVE_BINOMIAL: _Family = dist.NegativeBinomial

# Keeps concentrations finite; Pyro's, as the bounds below are.
_EPSILON = 1e-8
_SMALLEST = 1e-6
_FEWEST = 1e-2
_SMALLEST_VARIANCE = 0.1


class _Mode(threading.local):
    relaxed = False


_MODE = _Mode()


@contextmanager
def set_approx_sample_thresh(thresh: float) -> Iterator[None]:
    """Draw binomial counts of more than ``thresh`` trials approximately, inside of a ``with`` block or a
    function.

    This sets ``Binomial.approx_sample_thresh``, for all threads.

    Args:
        thresh: a positive number.

    Raises:
        AssertionError: if it is none.
    """
    assert isinstance(thresh, (float, int)) and thresh > 0, f"thresh is a positive number, and not {thresh!r}"
    before = dist.Binomial.approx_sample_thresh
    dist.Binomial.approx_sample_thresh = thresh
    try:
        yield
    finally:
        dist.Binomial.approx_sample_thresh = before


@contextmanager
def set_approx_log_prob_tol(tol: float) -> Iterator[None]:
    """Score binomial and beta-binomial counts to this relative error, inside of a ``with`` block or a
    function.

    This sets ``approx_log_prob_tol`` of both classes, for all threads.

    Args:
        tol: not negative; 0 for exact densities.

    Raises:
        AssertionError: if it is negative, or no number.
    """
    assert isinstance(tol, (float, int)) and tol >= 0, f"tol is a number, not negative, and not {tol!r}"
    before = dist.Binomial.approx_log_prob_tol, dist.BetaBinomial.approx_log_prob_tol
    dist.Binomial.approx_log_prob_tol = dist.BetaBinomial.approx_log_prob_tol = tol
    try:
        yield
    finally:
        dist.Binomial.approx_log_prob_tol, dist.BetaBinomial.approx_log_prob_tol = before


@contextmanager
def set_relaxed_distributions(relaxed: bool = True) -> Iterator[None]:
    """Make the binomial distributions below normal ones, in this thread, inside of a ``with`` block or a
    function.

    Args:
        relaxed: False for the exact ones again.

    >>> with set_relaxed_distributions():
    ...     binomial_dist(10.5, 0.5).mean
    tensor(5.2500)
    """
    before = _MODE.relaxed
    _MODE.relaxed = relaxed
    try:
        yield
    finally:
        _MODE.relaxed = before


def _holds(condition: Any) -> bool:
    # A recorded step looks at it in every run.
    return all_valid(condition) if isinstance(condition, Tensor) else bool(condition)


def _is_pure(overdispersion: Number) -> bool:
    """Whether there is no overdispersion.

    Raises:
        ValueError: if it is out of range, where validation is on.
    """
    if is_validation_enabled():
        if not _holds(overdispersion >= 0):
            raise ValueError(f"Expected overdispersion >= 0, got {overdispersion}")
        if not _holds(overdispersion < 2):
            raise ValueError(f"Expected overdispersion < 2, got {overdispersion}")
    if not isinstance(overdispersion, Tensor):
        return overdispersion == 0
    return not all_valid(overdispersion != 0) and bool((overdispersion == 0).all())


def _normal(mean: Tensor, variance: Tensor) -> Any:
    return dist.Normal(mean, variance.clamp(min=_SMALLEST_VARIANCE).sqrt())


def _beta_binomial(concentration1: Number, concentration0: Number, total_count: Number) -> Any:
    if not _MODE.relaxed:
        return dist.ExtendedBetaBinomial(concentration1, concentration0, total_count)
    a, b, n = broadcast_all(concentration1, concentration0, total_count)
    c = a + b
    return _normal(n * a / c, n * (n + c) * a * b / (c * c * (c + 1)))


def binomial_dist(total_count: Number, probs: Number, *, overdispersion: Number = 0.0) -> Any:
    """Binomial counts, or beta-binomial ones that are more dispersed.

    For ``total_count`` to infinity, the share of successes tends to a logit-normal variable with the scale
    ``overdispersion``: the relative error of large counts does not vanish. The concentrations of the beta
    variable sum to about ``1 / (p q overdispersion^2) - 1``, with ``p = probs`` and ``q = 1 - p``.

    Args:
        total_count: how many trials.
        probs: the probability of success of each.
        overdispersion: in [0, 2); useful values are about 0.1 to 0.5.

    Raises:
        ValueError: for an overdispersion out of range, where validation is on.

    >>> for overdispersion in (0.0, 0.3):
    ...     counts = binomial_dist(100, torch.tensor(0.2), overdispersion=overdispersion)
    ...     print(round(counts.variance.sqrt().item(), 2))
    4.0
    6.23
    """
    if not _is_pure(overdispersion):
        p, q, variance = probs, 1 - probs, (overdispersion + _EPSILON) ** 2
        successes = 1 / (q * variance + _EPSILON) - p
        failures = 1 / (p * variance + _EPSILON) - q
        return _beta_binomial(successes, failures, total_count)
    if not _MODE.relaxed:
        return _BINOMIAL(total_count, probs)
    n, p = broadcast_all(total_count, probs)
    return _normal(n * p, n * p * (1 - p))


def beta_binomial_dist(
    concentration1: Number, concentration0: Number, total_count: Number, *, overdispersion: Number = 0.0
) -> Any:
    """Beta-binomial counts, or ones that are more dispersed still.

    Concentrations of two sources add as resistances in parallel do: ``1 / c = 1 / c1 + 1 / c2``.

    Args:
        concentration1: of successes.
        concentration0: of failures.
        total_count: how many trials.
        overdispersion: in [0, 2), as in :func:`binomial_dist`.

    Raises:
        ValueError: for an overdispersion out of range, where validation is on.
    """
    if not _is_pure(overdispersion):
        own = concentration1 + concentration0
        variance = (overdispersion + _EPSILON) ** 2
        other = own**2 / (concentration1 * concentration0 * variance + _EPSILON) - 1
        shrunk = 1 + own / other
        concentration1, concentration0 = concentration1 / shrunk, concentration0 / shrunk
    return _beta_binomial(concentration1, concentration0, total_count)


def _check_pure(family: str, overdispersion: Number) -> None:
    if not _is_pure(overdispersion):
        raise NotImplementedError(
            f"{family} counts with overdispersion {overdispersion}: give a finite population, "
            "for which counts are beta-binomial"
        )


def poisson_dist(rate: Number, *, overdispersion: Number = 0.0) -> Any:
    """Poisson counts.

    Args:
        rate: their mean.
        overdispersion: 0 only.

    Raises:
        NotImplementedError: for another overdispersion.
    """
    _check_pure("Poisson", overdispersion)
    return dist.Poisson(rate)


def negative_binomial_dist(
    concentration: Number,
    probs: Number | None = None,
    *,
    logits: Number | None = None,
    overdispersion: Number = 0.0,
) -> Any:
    """Negative binomial counts.

    Args:
        concentration: the number of failures at which counting stops.
        probs: the probability of success.
        logits: its log odds; either of both.
        overdispersion: 0 only.

    Raises:
        NotImplementedError: for another overdispersion.
    """
    _check_pure("negative binomial", overdispersion)
    return _NEGATIVE_BINOMIAL(concentration, probs=probs, logits=logits)


def infection_dist(
    *,
    individual_rate: Number,
    num_infectious: Number,
    num_susceptible: Number = math.inf,
    population: Number = math.inf,
    concentration: Number = math.inf,
    overdispersion: Number = 0.0,
) -> Any:
    """How many are infected in one time step.

    A susceptible individual escapes each infectious one with probability ``1 - individual_rate /
    population``. With a finite population counts are binomial, or beta-binomial for a finite
    ``concentration``; with an infinite one they are Poisson, or negative binomial.

    Args:
        individual_rate: how many one infectious individual infects in a step, on average, where all others
            are susceptible: the reproductive number over the mean duration of the infection.
        num_infectious: how many are infectious.
        num_susceptible: how many are susceptible.
        population: how many there are in all.
        concentration: of the numbers that individuals infect; small for superspreaders.
        overdispersion: of the counts, in [0, 2).

    Raises:
        ValueError: for an overdispersion out of range, where validation is on.
        NotImplementedError: for overdispersion in an infinite population.

    References:
        J. O. Lloyd-Smith, S. J. Schreiber, P. E. Kopp, W. M. Getz (2005), "Superspreading and the effect of
        individual variation on disease emergence".
        L. M. Li, N. C. Grassly, C. Fraser (2017), "Quantifying transmission heterogeneity using both pathogen
        phylogenies and incidence time series".

    >>> one = infection_dist(individual_rate=0.5, num_infectious=1, num_susceptible=99, population=100)
    >>> round(one.mean.item(), 3)
    0.495
    """
    superspreading = not _is_infinite(concentration)
    if _is_infinite(population):
        if not superspreading:
            return poisson_dist(individual_rate * num_infectious, overdispersion=overdispersion)
        return negative_binomial_dist(
            concentration * num_infectious,
            logits=torch.as_tensor(individual_rate / concentration).log(),
            overdispersion=overdispersion,
        )
    pairwise = torch.as_tensor(individual_rate / population).clamp(max=1 - _SMALLEST)
    escape = (-pairwise).log1p() * num_infectious
    # At least a hundredth of an infection in all is expected: so nothing is impossible, in large populations
    # neither.
    smallest = torch.as_tensor(_FEWEST / population).clamp(max=_SMALLEST)
    infected = torch.maximum(-escape.expm1(), smallest)
    if not superspreading:
        return binomial_dist(num_susceptible, infected, overdispersion=overdispersion)
    successes = torch.as_tensor(concentration * num_infectious).clamp(min=_SMALLEST)
    failures = successes * (infected.reciprocal() - 1).clamp(min=_SMALLEST)
    return beta_binomial_dist(successes, failures, num_susceptible, overdispersion=overdispersion)


def _is_infinite(x: Number) -> bool:
    return isinstance(x, float) and x == math.inf
