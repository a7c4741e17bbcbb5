"""torch's distributions that push a base distribution through transforms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions.transforms import AbsTransform, ExpTransform

from ember.distributions.delegation import DelegatedRsample
from ember.distributions.normal import Normal
from ember.distributions.torch_distribution import WrappedDistribution
from ember.distributions.transform_state import clear_cache, picklable

_LOG_2_OVER_PI = math.log(2 / math.pi)


class TransformedDistribution(torch.distributions.TransformedDistribution, WrappedDistribution):
    """A base distribution pushed through one transform or a list of them.

    Args:
        base_distribution: where draws come from before the transforms.
        transforms: a transform, or several in the order in which they act.

    >>> from ember.distributions import Normal
    >>> import torch
    >>> from ember.distributions import TransformedDistribution
    >>> from ember.distributions.transforms import ExpTransform
    >>> d = TransformedDistribution(Normal(0.0, 1.0), [ExpTransform()])
    >>> d.log_prob(torch.tensor(1.0))
    tensor(-0.9189)
    """

    has_rsample = DelegatedRsample()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["transforms"] = [picklable(t) for t in self.transforms]
        return state

    def clear_cache(self) -> None:
        """Forget the values that the transforms have cached."""
        for transform in self.transforms:
            clear_cache(transform)


class Gumbel(torch.distributions.Gumbel, TransformedDistribution):
    """Gumbel distribution with location ``loc`` and scale ``scale``.

    >>> import torch
    >>> from ember.distributions import Gumbel
    >>> Gumbel(torch.zeros(2), 1.0).log_prob(torch.zeros(2))
    tensor([-1., -1.])
    """


class _Half(TransformedDistribution):
    """The absolute value of a variable that is symmetric about 0, built without torch's generic machinery."""

    def _start(self, base: Any, validate_args: bool | None) -> None:
        # The scale is checked once, as this distribution's own argument.
        self.base_dist = base
        self.transforms = [AbsTransform()]
        WrappedDistribution.__init__(self, base.batch_shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Any:
        """Expand the base."""
        new = self._get_checked_instance(type(self), _instance)
        return torch.distributions.TransformedDistribution.expand(self, batch_shape, _instance=new)  # type: ignore[no-untyped-call]

    def _on_support(self, value: Tensor, log_prob: Tensor) -> Tensor:
        """``log_prob``, and -inf for negative values, which a checked value cannot be."""
        return log_prob if self._validate_args else torch.where(value >= 0, log_prob, -math.inf)


class HalfCauchy(_Half, torch.distributions.HalfCauchy):
    """Absolute value of a Cauchy variable with scale ``scale``.

    >>> import torch
    >>> from ember.distributions import HalfCauchy
    >>> HalfCauchy(1.0, validate_args=False).log_prob(torch.tensor([0.0, -1.0]))
    tensor([-0.4516,    -inf])
    """

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._start(torch.distributions.Cauchy(0.0, scale, validate_args=False), validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """``log(2 / pi) - log(scale) - log(1 + z**2)`` with ``z = value / scale``."""
        if self._validate_args:
            self._validate_sample(value)
        scale = self.base_dist.scale
        value = torch.as_tensor(value, dtype=scale.dtype, device=scale.device)
        return self._on_support(value, _LOG_2_OVER_PI - scale.log() - (value / scale).square().log1p())


class HalfNormal(_Half, torch.distributions.HalfNormal):
    """Absolute value of a normal variable with scale ``scale``.

    >>> import torch
    >>> from ember.distributions import HalfNormal
    >>> HalfNormal(1.0).log_prob(torch.tensor(0.0))
    tensor(-0.2258)
    """

    def __init__(self, scale: Tensor | float, validate_args: bool | None = None) -> None:
        self._start(Normal(0.0, scale, validate_args=False), validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """``log(2 / pi) / 2 - log(scale) - z**2 / 2`` with ``z = value / scale``."""
        if self._validate_args:
            self._validate_sample(value)
        scale = self.base_dist.scale
        z = value / scale
        return self._on_support(value, torch.addcmul(0.5 * _LOG_2_OVER_PI - scale.log(), z, z, value=-0.5))


class InverseGamma(torch.distributions.InverseGamma, TransformedDistribution):
    """Reciprocal of a gamma variable with shape ``concentration`` and rate ``rate``.

    >>> import torch
    >>> from ember.distributions import InverseGamma
    >>> InverseGamma(1.0, 1.0).log_prob(torch.tensor(1.0))
    tensor(-1.)
    """


class Kumaraswamy(torch.distributions.Kumaraswamy, TransformedDistribution):
    """Kumaraswamy distribution on the unit interval, with shapes ``concentration1`` and ``concentration0``.

    >>> import torch
    >>> from ember.distributions import Kumaraswamy
    >>> Kumaraswamy(1.0, 1.0).log_prob(torch.tensor(0.5)).abs() < 1e-6
    tensor(True)
    """


class LogisticNormal(torch.distributions.LogisticNormal, TransformedDistribution):
    """Normal vector mapped to the simplex of one more dimension by stick breaking.

    Args:
        loc: the mean of the normal vector, ``(*batch, K - 1)``.
        scale: its standard deviations, positive, of the same shape.

    >>> import torch
    >>> from ember.distributions import LogisticNormal
    >>> LogisticNormal(torch.zeros(3), torch.ones(3)).event_shape
    torch.Size([4])
    """


class LogNormal(torch.distributions.LogNormal, TransformedDistribution):
    """Exponential of a normal variable with mean ``loc`` and standard deviation ``scale``.

    >>> import torch
    >>> from ember.distributions import LogNormal
    >>> LogNormal(0.0, 1.0).log_prob(torch.tensor(1.0))
    tensor(-0.9189)
    """

    def __init__(self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None) -> None:
        # The arguments are checked once, below, and values by log_prob.
        self.base_dist = base = Normal(loc, scale, validate_args=False)
        self.transforms = [ExpTransform()]
        WrappedDistribution.__init__(self, base.batch_shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Any:
        """Expand the base."""
        new = self._get_checked_instance(LogNormal, _instance)
        return super(torch.distributions.LogNormal, self).expand(batch_shape, _instance=new)  # type: ignore[no-untyped-call]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the density of ``log(value)`` under the base, less ``log(value)``."""
        if self._validate_args:
            self._validate_sample(value)
        log_value = value.log()
        return self.base_dist.log_prob(log_value) - log_value  # type: ignore[no-any-return, no-untyped-call]


class Pareto(torch.distributions.Pareto, TransformedDistribution):  # type: ignore[misc]
    """Pareto distribution of the first type, on values above ``scale`` with tail index ``alpha``.

    >>> import torch
    >>> from ember.distributions import Pareto
    >>> Pareto(1.0, 1.0).log_prob(torch.tensor(1.0)).abs() < 1e-6
    tensor(True)
    """


class RelaxedBernoulli(torch.distributions.RelaxedBernoulli, TransformedDistribution):
    """Continuous relaxation of the Bernoulli distribution (Maddison et al., 2017; Jang et al., 2017).

    Args:
        temperature: positive; near 0, draws are near 0 and 1.
        probs: the probability of a success, between 0 and 1.
        logits: its log odds. Give one of both.

    >>> import torch
    >>> from ember.distributions import RelaxedBernoulli
    >>> RelaxedBernoulli(torch.tensor(0.5), probs=torch.tensor([0.3])).batch_shape
    torch.Size([1])
    """


class RelaxedOneHotCategorical(torch.distributions.RelaxedOneHotCategorical, TransformedDistribution):
    """Continuous relaxation of one-hot categorical vectors (Maddison et al., 2017; Jang et al., 2017).

    Args:
        temperature: positive; near 0, draws are near one-hot vectors.
        probs: probabilities, ``(*batch, K)``; they are scaled to sum to one.
        logits: log probabilities up to a constant, ``(*batch, K)``. Give one of both.

    >>> import torch
    >>> from ember.distributions import RelaxedOneHotCategorical
    >>> RelaxedOneHotCategorical(torch.tensor(0.5), probs=torch.tensor([0.3, 0.7])).event_shape
    torch.Size([2])
    """


class Weibull(torch.distributions.Weibull, TransformedDistribution):
    """Weibull distribution with scale ``scale`` and shape ``concentration``.

    >>> import torch
    >>> from ember.distributions import Weibull
    >>> Weibull(1.0, 1.0).log_prob(torch.tensor(1.0))
    tensor(-1.)
    """
