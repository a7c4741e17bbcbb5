"""Covariances of samples that come one by one, without keeping them.

References:
    B. P. Welford (1962), "Note on a Method for Calculating Corrected Sums of Squares and Products".
    T. F. Chan, G. H. Golub, R. J. LeVeque (1983), "Algorithms for Computing the Sample Variance".
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["WelfordArrowheadCovariance", "WelfordCovariance"]

# Weak knowledge, as if of five samples of this variance.
_PRIOR_SAMPLES = 5.0
_PRIOR_VARIANCE = 1e-3


def _regularized(n: int) -> tuple[float, float]:
    """The weight of what was estimated, and what is added to variances."""
    total = n + _PRIOR_SAMPLES
    return n / total, _PRIOR_VARIANCE * _PRIOR_SAMPLES / total


def _check_count(n: int) -> None:
    if n < 2:
        raise RuntimeError(f"Insufficient samples to estimate covariance: there are {n}, and two are needed")


class WelfordCovariance:
    """The covariance of vectors, or their variances.

    Args:
        diagonal: keep variances only.

    >>> stats = WelfordCovariance()
    >>> for x in torch.tensor([[1.0], [2.0], [3.0]]):
    ...     stats.update(x)
    >>> stats.get_covariance(regularize=False)
    tensor([1.])
    """

    def __init__(self, diagonal: bool = True) -> None:
        self.diagonal = diagonal
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._mean: Tensor | float = 0.0
        self._m2: Tensor | float = 0.0
        self.n_samples = 0

    def update(self, sample: Tensor) -> None:
        """Take one more sample, a vector."""
        self.n_samples += 1
        before = sample - self._mean
        self._mean = self._mean + before / self.n_samples
        after = sample - self._mean
        self._m2 = self._m2 + (before * after if self.diagonal else torch.outer(after, before))

    def get_covariance(self, regularize: bool = True) -> Tensor:
        """The variances or the covariance.

        Args:
            regularize: mix in a small multiple of the identity, as of a few samples.

        Raises:
            RuntimeError: if there are no two samples.
        """
        _check_count(self.n_samples)
        cov = torch.as_tensor(self._m2) / (self.n_samples - 1)
        if regularize:
            weight, extra = _regularized(self.n_samples)
            cov = weight * cov
            cov = cov + extra if self.diagonal else cov + extra * torch.eye(len(cov), dtype=cov.dtype)
        return cov


class WelfordArrowheadCovariance:
    """The covariance of the first entries of vectors with all others, and the variances of the rest.

    Args:
        head_size: how many entries are first.
    """

    def __init__(self, head_size: int = 0) -> None:
        self.head_size = head_size
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._mean: Tensor | float = 0.0
        self._m2_top: Tensor | float = 0.0
        self._m2_bottom: Tensor | float = 0.0
        self.n_samples = 0

    def update(self, sample: Tensor) -> None:
        """Take one more sample, a vector."""
        self.n_samples += 1
        before = sample - self._mean
        self._mean = self._mean + before / self.n_samples
        after = sample - self._mean
        head = self.head_size
        self._m2_top = self._m2_top + torch.outer(after[:head], before)
        self._m2_bottom = self._m2_bottom + after[head:] * before[head:]

    def get_covariance(self, regularize: bool = True) -> tuple[Tensor, Tensor]:
        """The rows of the first entries, ``(head_size, n)``, and the variances of the rest.

        Args:
            regularize: mix in a small multiple of the identity, as of a few samples.

        Raises:
            RuntimeError: if there are no two samples.
        """
        _check_count(self.n_samples)
        top = torch.as_tensor(self._m2_top) / (self.n_samples - 1)
        bottom = torch.as_tensor(self._m2_bottom) / (self.n_samples - 1)
        if regularize:
            weight, extra = _regularized(self.n_samples)
            top = weight * top + extra * torch.eye(*top.shape, dtype=top.dtype)
            bottom = weight * bottom + extra
        return top, bottom
