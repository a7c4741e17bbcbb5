"""Counts with more zeros than a family has by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint
from torch.distributions.utils import lazy_property, logits_to_probs, probs_to_logits
from torch.nn.functional import logsigmoid

from ember.distributions import constraints
from ember.distributions.counts import Poisson
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch import NegativeBinomial
from ember.distributions.torch_distribution import TorchDistribution

_any: Any = constraints


class ZeroInflatedDistribution(TorchDistribution):
    """Zero with the probability of a gate, else a draw from a univariate distribution.

    Args:
        base_dist: the distribution behind the gate.
        gate: the probability of an extra zero; or
        gate_logits: its logit. Exactly one of both must be given.

    Raises:
        ValueError: if both or none are given, or the base is not univariate.

    >>> import torch
    >>> from ember.distributions import Poisson, ZeroInflatedDistribution
    >>> d = ZeroInflatedDistribution(Poisson(torch.tensor(1.0)), gate=torch.tensor(0.5))
    >>> d.mean
    tensor(0.5000)
    """

    arg_constraints: dict[str, Any] = {
        "gate": constraints.unit_interval,
        "gate_logits": constraints.real,
    }

    def __init__(
        self,
        base_dist: Any,
        *,
        gate: Tensor | float | None = None,
        gate_logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (gate is None) == (gate_logits is None):
            raise ValueError("Either `gate` or `gate_logits` must be specified, but not both.")
        if base_dist.event_shape:
            raise ValueError(
                f"ZeroInflatedDistribution expected empty base_dist.event_shape but got {base_dist.event_shape}"
            )
        given = torch.as_tensor(gate_logits if gate is None else gate)
        batch_shape = Size(broadcast_shape(given.shape, base_dist.batch_shape))
        self.__dict__["gate_logits" if gate is None else "gate"] = given.expand(batch_shape)
        self.base_dist = base_dist.expand(batch_shape)
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> Constraint:
        """That of the base."""
        return self.base_dist.support  # type: ignore[no-any-return]

    @lazy_property
    def gate(self) -> Tensor:
        """The probability of an extra zero."""
        return logits_to_probs(self.gate_logits, is_binary=True)

    @lazy_property
    def gate_logits(self) -> Tensor:
        """Its logit."""
        return probs_to_logits(self.gate, is_binary=True)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the gate and the base."""
        new = self._get_checked_instance(type(self), _instance)
        batch_shape = Size(batch_shape)
        for name in ("gate", "gate_logits"):
            if name in self.__dict__:
                new.__dict__[name] = self.__dict__[name].expand(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        return self._completed(new, batch_shape)

    def _log_gate(self) -> tuple[Tensor, Tensor]:
        """The log probabilities of an extra zero and of none."""
        if "gate" in self.__dict__:
            return self.gate.log(), (-self.gate).log1p()
        return logsigmoid(self.gate_logits), logsigmoid(-self.gate_logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the base's log density, less by the gate; at zero, the gate's probability is added."""
        if self._validate_args:
            self._validate_sample(value)
        log_gate, log_rest = self._log_gate()
        log_prob = log_rest + self.base_dist.log_prob(value)
        return torch.where(value == 0, torch.logaddexp(log_gate, log_prob), log_prob)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw the gate, then a value."""
        shape = self._extended_shape(Size(sample_shape))
        with torch.no_grad():
            closed = torch.bernoulli(self.gate.expand(shape)).bool()
            draws: Tensor = self.base_dist.expand(shape).sample()
            return torch.where(closed, draws.new_zeros(()), draws)

    @property
    def mean(self) -> Tensor:
        """``(1 - gate)`` times the base's mean."""
        mean: Tensor = (1 - self.gate) * self.base_dist.mean
        return mean

    @property
    def variance(self) -> Tensor:
        """From the second moments."""
        second = (1 - self.gate) * (self.base_dist.mean**2 + self.base_dist.variance)
        variance: Tensor = second - self.mean**2
        return variance


class ZeroInflatedPoisson(ZeroInflatedDistribution):
    """Poisson counts with extra zeros.

    Args:
        rate: the mean of the Poisson distribution, positive.
        gate: the probability of an additional zero.
        gate_logits: its log odds. Give one of both.

    >>> import torch
    >>> from ember.distributions import ZeroInflatedPoisson
    >>> ZeroInflatedPoisson(torch.tensor(2.0), gate=torch.tensor(0.25)).mean
    tensor(1.5000)
    """

    arg_constraints: dict[str, Any] = {
        "rate": constraints.positive,
        "gate": constraints.unit_interval,
        "gate_logits": constraints.real,
    }
    support: Any = constraints.nonnegative_integer

    def __init__(
        self,
        rate: Tensor | float,
        *,
        gate: Tensor | float | None = None,
        gate_logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        base = Poisson(rate, validate_args=False)
        super().__init__(base, gate=gate, gate_logits=gate_logits, validate_args=validate_args)

    @property
    def rate(self) -> Tensor:
        """The Poisson rate."""
        rate: Tensor = self.base_dist.rate
        return rate


class ZeroInflatedNegativeBinomial(ZeroInflatedDistribution):
    """Negative binomial counts with extra zeros.

    Args:
        total_count: as for :class:`NegativeBinomial`.
        probs: as for :class:`NegativeBinomial`.
        logits: its log odds. Give one of both.
        gate: the probability of an additional zero.
        gate_logits: its log odds. Give one of both.

    >>> import torch
    >>> from ember.distributions import ZeroInflatedNegativeBinomial
    >>> d = ZeroInflatedNegativeBinomial(2.0, probs=torch.tensor(0.5), gate=torch.tensor(0.5))
    >>> d.mean
    tensor(1.)
    """

    arg_constraints: dict[str, Any] = {
        "total_count": _any.greater_than_eq(0),
        "probs": _any.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
        "gate": constraints.unit_interval,
        "gate_logits": constraints.real,
    }
    support: Any = constraints.nonnegative_integer

    def __init__(
        self,
        total_count: Any,
        *,
        probs: Any = None,
        logits: Any = None,
        gate: Any = None,
        gate_logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        base = NegativeBinomial(total_count, probs=probs, logits=logits, validate_args=False)
        super().__init__(base, gate=gate, gate_logits=gate_logits, validate_args=validate_args)

    @property
    def total_count(self) -> Tensor:
        """The number of failures."""
        count: Tensor = self.base_dist.total_count
        return count

    @property
    def probs(self) -> Tensor:
        """The probability of success."""
        probs: Tensor = self.base_dist.probs
        return probs

    @property
    def logits(self) -> Tensor:
        """Its logit."""
        logits: Tensor = self.base_dist.logits
        return logits
