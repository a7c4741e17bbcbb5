"""Counts whose parameters were drawn from a conjugate prior and integrated out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint
from torch.distributions.utils import broadcast_all

from ember.distributions import constraints
from ember.distributions.beta_gamma import Beta, Dirichlet, Gamma
from ember.distributions.counts import Binomial, Multinomial, Poisson
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.distributions.typed_torch import independent
from ember.ops.special import log_beta, log_binomial


def _as_number(count: Tensor, what: str) -> int:
    total = int(count.max())
    if int(count.min()) != total:
        raise NotImplementedError(f"Inhomogeneous total count not supported by `{what}`.")
    return total


class BetaBinomial(TorchDistribution):
    """Binomial counts whose probability has a beta distribution.

    Args:
        concentration1: of the beta distribution, for success.
        concentration0: of the beta distribution, for failure.
        total_count: the number of trials.

    >>> import torch
    >>> from ember.distributions import BetaBinomial
    >>> BetaBinomial(1.0, 1.0, 3).log_prob(torch.tensor([0.0, 3.0])).exp()
    tensor([0.2500, 0.2500])
    """

    arg_constraints: dict[str, Any] = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
        "total_count": constraints.nonnegative_integer,
    }
    support: Any = Binomial.support
    has_enumerate_support = True

    #: If positive, ``log_prob`` may use Stirling's series within this error.
    approx_log_prob_tol: float = 0.0

    def __init__(
        self,
        concentration1: Tensor | float,
        concentration0: Tensor | float,
        total_count: Tensor | float = 1,
        validate_args: bool | None = None,
    ) -> None:
        values: Any = broadcast_all(concentration1, concentration0, total_count)
        self._beta: Any = Beta(values[0], values[1], validate_args=False)
        self.total_count = values[2]
        super().__init__(values[2].shape, validate_args=validate_args)

    @property
    def concentration1(self) -> Tensor:
        """Of the beta distribution, for success."""
        value: Tensor = self._beta.concentration1
        return value

    @property
    def concentration0(self) -> Tensor:
        """Of the beta distribution, for failure."""
        value: Tensor = self._beta.concentration0
        return value

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        family = BetaBinomial if type(self).__init__ is not BetaBinomial.__init__ else type(self)
        new = self._get_checked_instance(family, _instance)
        batch_shape = Size(batch_shape)
        new._beta = self._beta.expand(batch_shape)
        new.total_count = self.total_count.expand(batch_shape)
        return self._completed(new, batch_shape)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a probability, then a count."""
        probs = self._beta.sample(Size(sample_shape))
        return Binomial(self.total_count, probs, validate_args=False).sample()

    def log_prob(self, value: Tensor) -> Tensor:
        """``log C(n, k) + log B(k + a, n - k + b) - log B(a, b)``"""
        if self._validate_args:
            self._validate_sample(value)
        n, a, b = self.total_count, self.concentration1, self.concentration0
        tol = self.approx_log_prob_tol
        return log_binomial(n, value, tol) + log_beta(value + a, n - value + b, tol) - log_beta(a, b, tol)

    @property
    def mean(self) -> Tensor:
        """``n a / (a + b)``"""
        mean: Tensor = self._beta.mean * self.total_count
        return mean

    @property
    def variance(self) -> Tensor:
        """The beta's variance times ``n (a + b + n)``."""
        total = self.concentration1 + self.concentration0 + self.total_count
        variance: Tensor = self._beta.variance * self.total_count * total
        return variance

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All counts.

        Raises:
            NotImplementedError: if elements of the batch differ in their number of trials.
        """
        n = _as_number(self.total_count, "enumerate_support")
        counts = torch.arange(1 + n, dtype=self.concentration1.dtype, device=self.concentration1.device)
        counts = counts.reshape((-1,) + (1,) * len(self.batch_shape))
        return counts.expand((-1, *self.batch_shape)) if expand else counts


class DirichletMultinomial(TorchDistribution):
    """Multinomial counts whose probabilities have a Dirichlet distribution.

    Args:
        concentration: of the Dirichlet distribution; the last dim is the event.
        total_count: the number of draws.
        is_sparse: most counts are zero; ``log_prob`` then spends its special functions on the others.

    >>> import torch
    >>> from ember.distributions import DirichletMultinomial
    >>> d = DirichletMultinomial(torch.ones(2), total_count=3)
    >>> d.log_prob(torch.tensor([1.0, 2.0])).exp()
    tensor(0.2500)
    """

    arg_constraints: dict[str, Any] = {
        "concentration": independent(constraints.positive, 1),
        "total_count": constraints.nonnegative_integer,
    }

    def __init__(
        self,
        concentration: Tensor,
        total_count: Tensor | float = 1,
        is_sparse: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        counts = torch.as_tensor(total_count, dtype=concentration.dtype, device=concentration.device)
        if isinstance(total_count, Tensor):
            counts = total_count
        batch_shape = Size(broadcast_shape(concentration.shape[:-1], counts.shape))
        self._dirichlet: Any = Dirichlet(
            concentration.expand(batch_shape + concentration.shape[-1:]), validate_args=False
        )
        self.total_count = counts.expand(batch_shape) if counts.dim() else counts
        self.is_sparse = is_sparse
        super().__init__(batch_shape, concentration.shape[-1:], validate_args=validate_args)

    @property
    def concentration(self) -> Tensor:
        """Of the Dirichlet distribution."""
        value: Tensor = self._dirichlet.concentration
        return value

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Constraint:
        """Counts that sum to the number of draws."""
        multinomial: Any = constraints.multinomial
        return multinomial(self.total_count)  # type: ignore[no-any-return]

    @staticmethod
    def infer_shapes(concentration: tuple[int, ...], total_count: tuple[int, ...] = ()) -> tuple[Any, Any]:  # type: ignore[override]
        """Return the shapes; the rightmost dim of ``concentration`` is the event."""
        return broadcast_shape(concentration[:-1], total_count), concentration[-1:]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        new = self._get_checked_instance(DirichletMultinomial, _instance)
        batch_shape = Size(batch_shape)
        new._dirichlet = self._dirichlet.expand(batch_shape)
        new.total_count = self.total_count.expand(batch_shape)
        new.is_sparse = self.is_sparse
        return self._completed(new, batch_shape, self.event_shape)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw probabilities, then counts.

        Raises:
            NotImplementedError: if elements of the batch differ in their number of draws.
        """
        probs = self._dirichlet.sample(Size(sample_shape))
        counts: Any = Multinomial(_as_number(self.total_count, "sample"), probs, validate_args=False)
        draws: Tensor = counts.sample()
        return draws

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the ratio of rising factorials, with the number of orders."""
        if self._validate_args:
            self._validate_sample(value)
        concentration = self.concentration
        of_total = _log_rising(concentration.sum(-1), value.sum(-1), False)
        return of_total - _log_rising(concentration, value, self.is_sparse).sum(-1)

    @property
    def mean(self) -> Tensor:
        """``n`` times the Dirichlet's mean."""
        mean: Tensor = self._dirichlet.mean * self.total_count.unsqueeze(-1)
        return mean

    @property
    def variance(self) -> Tensor:
        """``n p (1 - p) (n + A) / (1 + A)``, with ``p`` the mean share and ``A`` the sum of concentrations."""
        n = self.total_count.unsqueeze(-1)
        total = self.concentration.sum(-1, keepdim=True)
        share = self.concentration / total
        return n * share * (1 - share) * (n + total) / (1 + total)


def _log_rising(concentration: Tensor, count: Tensor, is_sparse: bool) -> Tensor:
    """``log(k! Gamma(a) / Gamma(a + k))``, which is 0 where the count is."""
    if not is_sparse:
        return (count + 1).lgamma() + concentration.lgamma() - (concentration + count).lgamma()
    count, concentration = torch.broadcast_tensors(count, concentration)  # type: ignore[no-untyped-call]
    nonzero = count != 0
    k, a = count[nonzero], concentration[nonzero]
    return torch.zeros_like(concentration).masked_scatter(
        nonzero, (k + 1).lgamma() + a.lgamma() - (a + k).lgamma()
    )


class GammaPoisson(TorchDistribution):
    """Poisson counts whose rate has a gamma distribution.

    It is the negative binomial distribution in other parameters.

    Args:
        concentration: the gamma's shape, the negative binomial's ``total_count``.
        rate: the gamma's rate, ``(1 - probs) / probs`` of the negative binomial.

    >>> import torch
    >>> from ember.distributions import GammaPoisson
    >>> GammaPoisson(1.0, 1.0).log_prob(torch.tensor([0.0, 1.0])).exp()
    tensor([0.5000, 0.2500])
    """

    arg_constraints: dict[str, Any] = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support: Any = Poisson.support

    def __init__(
        self, concentration: Tensor | float, rate: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self._gamma: Any = Gamma(concentration, rate, validate_args=False)
        super().__init__(self._gamma.batch_shape, validate_args=validate_args)

    @property
    def concentration(self) -> Tensor:
        """The gamma's shape."""
        value: Tensor = self._gamma.concentration
        return value

    @property
    def rate(self) -> Tensor:
        """The gamma's rate."""
        value: Tensor = self._gamma.rate
        return value

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        new = self._get_checked_instance(GammaPoisson, _instance)
        batch_shape = Size(batch_shape)
        new._gamma = self._gamma.expand(batch_shape)
        return self._completed(new, batch_shape)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a rate, then a count."""
        rate: Tensor = self._gamma.sample(Size(sample_shape))
        with torch.no_grad():
            return torch.poisson(rate)

    def log_prob(self, value: Tensor) -> Tensor:
        """``log Gamma(a + k) - log Gamma(a) - log k! + a log b - (a + k) log(1 + b)``"""
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration, self.rate
        count = (a + value).lgamma() - a.lgamma() - (value + 1).lgamma()
        return count + a * b.log() - (a + value) * b.log1p()

    @property
    def mean(self) -> Tensor:
        """``a / b``"""
        return self.concentration / self.rate

    @property
    def variance(self) -> Tensor:
        """``a (1 + b) / b^2``"""
        return self.concentration / self.rate.square() * (1 + self.rate)
