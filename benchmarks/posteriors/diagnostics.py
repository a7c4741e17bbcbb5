"""Whether chains are long enough: rank-normalised split R-hat and effective sample sizes (Vehtari and others, 2021)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from numpyro.diagnostics import effective_sample_size, gelman_rubin
from scipy.special import ndtri
from scipy.stats import rankdata

Floats = NDArray[Any]


class Moments(NamedTuple):
    """One quantity: what its chains say, with Monte Carlo errors and diagnostics."""

    mean: float
    sd: float
    q05: float
    q50: float
    q95: float
    mcse: float
    """The standard error of the mean."""
    mcse_sd: float
    """The standard error of the standard deviation."""
    rhat: float
    """The larger of those of place and of scale."""
    ess_bulk: float
    ess_tail: float


def moments(chains: Floats) -> Moments:
    """Of chains of shape (chains, draws), not all equal."""
    halves = _halves(chains)
    mean, sd = float(chains.mean()), float(chains.std(ddof=1))
    low, middle, high = (float(q) for q in np.quantile(chains, [0.05, 0.5, 0.95]))
    squares = (halves - mean) ** 2
    error_of_square = squares.std() / np.sqrt(effective_sample_size(squares))
    tails = min(effective_sample_size((halves <= quantile).astype(float)) for quantile in (low, high))
    return Moments(
        mean=mean,
        sd=sd,
        q05=low,
        q50=middle,
        q95=high,
        mcse=sd / float(np.sqrt(effective_sample_size(halves))),
        mcse_sd=float(error_of_square) / (2.0 * sd),
        rhat=float(max(gelman_rubin(_ranked(halves)), gelman_rubin(_ranked(np.abs(halves - middle))))),
        ess_bulk=float(effective_sample_size(_ranked(halves))),
        ess_tail=float(tails),
    )


def _halves(chains: Floats) -> Floats:
    half = chains.shape[1] // 2
    return np.concatenate([chains[:, :half], chains[:, half : 2 * half]])


def _ranked(chains: Floats) -> Floats:
    """Normal scores of the ranks among all draws."""
    ranks = rankdata(chains).reshape(chains.shape)
    scores: Floats = ndtri((ranks - 0.375) / (chains.size + 0.25))
    return scores
