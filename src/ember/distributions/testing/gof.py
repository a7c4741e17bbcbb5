"""Goodness of fit: p-values that samples have the density that is claimed for them.

Each function returns a number that is uniform on (0, 1) if they have, and near zero if not. A test asserts
that it is greater than the rate of false alarms that it can bear.

    >>> import ember.distributions as dist
    >>> d = dist.Normal(0.0, 1.0)
    >>> x = d.sample((10000,))
    >>> auto_goodness_of_fit(x, d.log_prob(x).exp()) > 1e-4
    True
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ember.distributions.testing.special import chi2sf

HISTOGRAM_WIDTH = 60
_FEWEST_BINS = 7
_FEWEST_SAMPLES = 100


class InvalidTest(ValueError):
    """There are too few samples to tell."""


def print_histogram(probs: Sequence[float] | Tensor, counts: Sequence[float] | Tensor) -> None:
    """Print a bar for each count, beside its probability."""
    most = max(float(count) for count in counts)
    print("    Prob    Count")  # noqa: T201 - what it is for
    for count, prob in sorted(zip(map(float, counts), map(float, probs), strict=True), reverse=True):
        bar = "-" * round(HISTOGRAM_WIDTH * count / most)
        print(f"{prob:8.3f} {int(count):8d} {bar}")  # noqa: T201 - likewise


def multinomial_goodness_of_fit(
    probs: Tensor, counts: Tensor, *, total_count: int | None = None, plot: bool = False
) -> float:
    """Pearson's chi-squared test (K. Pearson, 1900).

    Args:
        probs: a probability for each category.
        counts: how often it came.
        total_count: how many there were, if some categories are left out; else the sum of ``counts``.
        plot: print a histogram.

    Warns:
        UserWarning: for a category of probability zero.
    """
    assert probs.dim() == 1 and probs.shape == counts.shape, (
        f"probs and counts are vectors of one length, and not {tuple(probs.shape)} and {tuple(counts.shape)}"
    )
    total = float(counts.sum()) if total_count is None else float(total_count)
    if plot:
        print_histogram(probs, counts)
    chi_squared, degrees = 0.0, 0
    for prob, count in zip(probs.tolist(), counts.tolist(), strict=True):
        if prob == 1:
            return 1 if count == total else 0
        assert prob < 1, f"bad probability: {prob:g}"
        if prob > 0:
            chi_squared += (count - total * prob) ** 2 / (total * prob * (1 - prob))
            degrees += 1
            continue
        warnings.warn("zero probability in goodness-of-fit test", stacklevel=2)
        if count > 0:
            return math.inf
    return chi2sf(chi_squared, degrees - (total_count is None))


def unif01_goodness_of_fit(samples: Tensor, *, plot: bool = False) -> float:
    """Whether samples are uniform on (0, 1): the test of their counts in bins.

    Raises:
        InvalidTest: if there are fewer than 277.
        AssertionError: if one is outside of [0, 1].
    """
    assert samples.min() >= 0 and samples.max() <= 1, "samples of a uniform variable lie in [0, 1]"
    bins = round(len(samples) ** 0.333)
    if bins < _FEWEST_BINS:
        raise InvalidTest("imprecise test, use more samples")
    places = (samples * bins).long().clamp(0, bins - 1)
    counts = torch.bincount(places, minlength=bins)
    return multinomial_goodness_of_fit(torch.full((bins,), 1.0 / bins), counts, plot=plot)


def exp_goodness_of_fit(samples: Tensor, plot: bool = False) -> float:
    """Whether samples are exponential with rate one."""
    return unif01_goodness_of_fit(torch.exp(-samples), plot=plot)


def density_goodness_of_fit(samples: Tensor, probs: Tensor, plot: bool = False) -> float:
    """Whether real numbers have a density: gaps between neighbours, in its units, are exponential.

    Args:
        samples: the numbers.
        probs: the density at each.
        plot: print a histogram.

    Raises:
        InvalidTest: if there are too few.
    """
    assert samples.shape == (len(probs),), (
        f"samples and probs are vectors of one length, and not {tuple(samples.shape)} and {tuple(probs.shape)}"
    )
    if len(samples) <= _FEWEST_SAMPLES:
        raise InvalidTest("imprecision; use more samples")
    order = samples.argsort()
    samples, probs = samples[order], probs[order]
    gaps = samples[1:] - samples[:-1]
    density = len(samples) * 2.0 / (1.0 / probs[1:] + 1.0 / probs[:-1])
    return exp_goodness_of_fit(density * gaps, plot=plot)


def volume_of_sphere(dim: int, radius: Tensor) -> Tensor:
    """The volume of a ball: ``pi^(d / 2) r^d / gamma(d / 2 + 1)``."""
    volume: Tensor = radius.pow(dim) * math.pi ** (0.5 * dim) / math.gamma(0.5 * dim + 1)
    return volume


def get_nearest_neighbor_distances(samples: Tensor) -> Tensor:
    """The distance of each vector to the nearest other one.

    Raises:
        ImportError: without SciPy.
    """
    from scipy.spatial import cKDTree

    points = samples.detach().cpu().numpy()
    distances: Any = cKDTree(points).query(points, k=2)[0]
    return torch.from_numpy(distances[:, 1])


def vector_density_goodness_of_fit(
    samples: Tensor, probs: Tensor, *, dim: int | None = None, plot: bool = False
) -> float:
    """Whether vectors have a density: the ball up to the nearest other one, in its units, is exponential.

    P. J. Bickel and L. Breiman (1983), *Sums of functions of nearest neighbor distances, moment bounds, limit
    theorems and a goodness of fit test*; M. Williams (2010), *How good are your fits?*

    Args:
        samples: of shape (n, d).
        probs: the density at each.
        dim: the dims of the manifold that they lie on; d if None.
        plot: print a histogram.

    Raises:
        InvalidTest: if there are at most 1,000 for each dim.
    """
    assert samples.dim() == 2 and len(samples) == len(probs), (
        f"samples are of shape (n, d) and probs of (n,), and not {tuple(samples.shape)} and {tuple(probs.shape)}"
    )
    dim = samples.shape[-1] if dim is None else dim
    if len(samples) <= 1000 * dim:
        raise InvalidTest("imprecision; use more samples")
    radii = get_nearest_neighbor_distances(samples).to(samples)
    return exp_goodness_of_fit(len(samples) * probs * volume_of_sphere(dim, radii), plot=plot)


def auto_goodness_of_fit(
    samples: Tensor, probs: Tensor, *, dim: int | None = None, plot: bool = False
) -> float:
    """The test for the dims that samples have.

    Args:
        samples: of shape (n, ...).
        probs: the density at each.
        dim: the dims of the manifold that they lie on; those of a sample if None.
        plot: print a histogram.

    Raises:
        InvalidTest: if there are too few.
    """
    samples = samples.reshape(samples.shape[0], -1)
    dim = samples.shape[-1] if dim is None else dim
    if dim == 0:
        return 1.0
    if samples.shape[-1] == 1 and dim == 1:
        return density_goodness_of_fit(samples.reshape(-1), probs, plot=plot)
    return vector_density_goodness_of_fit(samples, probs, dim=dim, plot=plot)
