"""Distributions over counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.nn.functional import softplus

from ember import settings
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import WrappedDistribution
from ember.distributions.typed_torch import broadcast_tensors
from ember.ops.special import log_binomial


class Binomial(torch.distributions.Binomial, WrappedDistribution):
    """Number of successes in ``total_count`` trials.

    Args:
        total_count: the number of trials, a whole number >= 0.
        probs: the probability of a success, between 0 and 1.
        logits: its log odds. Give one of both.

    >>> import torch
    >>> from ember.distributions import Binomial
    >>> Binomial(2, probs=torch.tensor(0.5)).log_prob(torch.tensor([0.0, 1.0, 2.0])).exp()
    tensor([0.2500, 0.5000, 0.2500])
    """

    #: Above this ``total_count``, samples come from a clamped Poisson distribution with matched moments.
    approx_sample_thresh: float = math.inf
    #: If positive, ``log_prob`` may use Stirling's series within this error.
    approx_log_prob_tol: float = 0.0

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw counts; large ones approximately, if :attr:`approx_sample_thresh` says so."""
        exact: Any = True
        if self.approx_sample_thresh < math.inf:
            exact = self.total_count <= self.approx_sample_thresh
        if exact is True or exact.all():
            return super().sample(sample_shape)  # type: ignore[no-untyped-call, no-any-return]
        approximate = self._sample_by_poisson(sample_shape)
        if not exact.any():
            return approximate
        small = torch.where(exact, self.total_count, torch.zeros_like(self.total_count))
        exactly = torch.distributions.Binomial(small, self.probs, validate_args=False).sample(  # type: ignore[no-untyped-call]
            torch.Size(sample_shape)
        )
        return torch.where(exact, exactly, approximate)

    @torch.no_grad()
    def _sample_by_poisson(self, sample_shape: Sequence[int]) -> Tensor:
        # The rarer outcome is nearly Poisson. Its variance n p q is less than its mean n p, hence the shift.
        n, p = self.total_count, self.probs
        rare = torch.min(p, 1 - p)
        variance = n * p * (1 - p)
        shift = (n * rare - variance).round()
        draws = torch.poisson(variance.expand(self._extended_shape(Size(sample_shape))))
        draws = torch.min(draws + shift, n)
        return torch.where(p < 0.5, draws, n - draws)

    def log_prob(self, value: Tensor) -> Tensor:
        """``k logit - n softplus(logit) + log C(n, k)``, which stays finite at extreme logits."""
        if self._validate_args:
            self._validate_sample(value)
        n, logits = self.total_count, self.logits
        # max(logit, 0) whose gradient at 0 is 1/2, as symmetry wants: relu would give 0.
        positive_part = 0.5 * (logits.clamp(min=0) + logits - logits.clamp(max=0))
        normalizer = n * (positive_part + (-logits.abs()).exp().log1p())
        return value * logits - normalizer + log_binomial(n, value, tol=self.approx_log_prob_tol)


def _validate_thresh(thresh: float) -> None:
    if not (isinstance(thresh, float) and thresh > 0):
        raise AssertionError(f"binomial_approx_sample_thresh must be a positive float, got {thresh!r}")


def _validate_tol(tol: float) -> None:
    if not (isinstance(tol, float) and tol >= 0):
        raise AssertionError(f"binomial_approx_log_prob_tol must be a nonnegative float, got {tol!r}")


settings.register(
    "binomial_approx_sample_thresh", __name__, "Binomial.approx_sample_thresh", _validate_thresh
)
settings.register("binomial_approx_log_prob_tol", __name__, "Binomial.approx_log_prob_tol", _validate_tol)


class Geometric(torch.distributions.Geometric, WrappedDistribution):
    """Number of failures before the first success.

    Args:
        probs: the probability of a success, between 0 and 1.
        logits: its log odds. Give one of both.

    >>> import torch
    >>> from ember.distributions import Geometric
    >>> Geometric(torch.tensor(0.5)).log_prob(torch.tensor([0.0, 1.0])).exp()
    tensor([0.5000, 0.2500])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """``logit - (k + 1) softplus(logit)``, which stays finite at extreme logits."""
        if self._validate_args:
            self._validate_sample(value)
        return (-value - 1) * softplus(self.logits) + self.logits


class Multinomial(torch.distributions.Multinomial, WrappedDistribution):
    """Counts of categories in ``total_count`` draws.

    Args:
        total_count: the number of draws, a whole number.
        probs: probabilities, ``(*batch, K)``; they are scaled to sum to one.
        logits: log probabilities up to a constant, ``(*batch, K)``. Give one of both.

    >>> import torch
    >>> from ember.distributions import Multinomial
    >>> Multinomial(3, torch.ones(2)).event_shape
    torch.Size([2])
    """

    @staticmethod
    def infer_shapes(total_count: Any = None, probs: Any = None, logits: Any = None) -> tuple[Any, Any]:  # type: ignore[override]
        """Return the shapes; the rightmost dim of ``probs`` or ``logits`` is the event."""
        shape = probs if logits is None else logits
        batch_shape, event_shape = shape[:-1], shape[-1:]
        if isinstance(total_count, tuple):
            batch_shape = broadcast_shape(batch_shape, total_count)
        return batch_shape, event_shape


class Poisson(torch.distributions.Poisson, WrappedDistribution):
    """Poisson distribution with rate ``rate``.

    Args:
        is_sparse: values are mostly zero; ``log_prob`` then spends its special functions on the others.

    >>> import torch
    >>> from ember.distributions import Poisson
    >>> Poisson(torch.ones(3), is_sparse=True).log_prob(torch.tensor([0.0, 0.0, 1.0]))
    tensor([-1., -1., -1.])
    """

    def __init__(
        self, rate: Tensor | float, *, is_sparse: bool = False, validate_args: bool | None = None
    ) -> None:
        self.is_sparse = is_sparse
        super().__init__(rate, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Any:
        """Expand the rate."""
        new = self._get_checked_instance(Poisson, _instance)
        new = super().expand(batch_shape, _instance=new)  # type: ignore[no-untyped-call]
        new.is_sparse = self.is_sparse
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """``k log(rate) - rate - log k!``"""
        if not self.is_sparse:
            return super().log_prob(value)  # type: ignore[no-untyped-call, no-any-return]
        if self._validate_args:
            self._validate_sample(value)
        rate, value, nonzero = broadcast_tensors(self.rate, value, value > 0)
        k, r = value[nonzero], rate[nonzero]
        log_prob: Tensor = (
            torch.zeros_like(rate).masked_scatter(nonzero, r.log() * k - (k + 1).lgamma()) - rate
        )
        return log_prob
