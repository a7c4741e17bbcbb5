"""Univariate families between bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint
from torch.distributions.utils import broadcast_all

from ember.distributions import constraints
from ember.distributions.elementwise import ElementwiseDistribution
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.distributions.typed_torch import interval
from ember.distributions.validation import all_valid


def _between(low: Any, high: Any) -> Any:
    """The constraint of values between bounds, either of which may be None."""
    some: Any = constraints
    if low is None:
        return some.less_than(high)
    return some.greater_than(low) if high is None else interval(low, high)


class TruncatedDistribution(TorchDistribution):
    """A continuous univariate distribution, given that its value lies between bounds.

    The base needs ``cdf``, and ``icdf`` to be drawn from. Far out in a tail the difference of two values of
    ``cdf`` loses digits; for a normal base use :class:`TruncatedNormal`, which does not.

    Args:
        base_dist: the distribution without bounds.
        low: the lower bound; None for none.
        high: the upper bound; None for none.

    Raises:
        ValueError: without any bound, for bounds in the wrong order, or a base that is not continuous and
            univariate.

    >>> from ember.distributions import Exponential
    >>> import torch
    >>> from ember.distributions import TruncatedDistribution
    >>> TruncatedDistribution(Exponential(1.0), high=1.0).log_prob(torch.tensor(0.5))
    tensor(-0.0413)
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    def __init__(
        self,
        base_dist: Any,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if low is None and high is None:
            raise ValueError("TruncatedDistribution needs low, high or both")
        if base_dist.event_shape or base_dist.support.is_discrete:
            raise ValueError(
                f"TruncatedDistribution needs a continuous univariate base, got {type(base_dist).__name__} with events of shape "
                f"{tuple(base_dist.event_shape)}"
            )
        like = base_dist.mean if base_dist.batch_shape else torch.zeros(())
        self.low = None if low is None else torch.as_tensor(low, dtype=like.dtype)
        self.high = None if high is None else torch.as_tensor(high, dtype=like.dtype)
        if self.low is not None and self.high is not None and not all_valid(self.low < self.high):
            raise ValueError(f"low must be below high, got low={low} and high={high}")
        bounds = [bound.shape for bound in (self.low, self.high) if bound is not None]
        batch_shape = Size(broadcast_shape(base_dist.batch_shape, *bounds))
        self.base_dist = base_dist.expand(batch_shape)
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        """Between the bounds."""
        return _between(self.low, self.high)  # type: ignore[no-any-return]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the base."""
        new = self._get_checked_instance(TruncatedDistribution, _instance)
        batch_shape = Size(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        new.low, new.high = self.low, self.high
        return self._completed(new, batch_shape)

    def _limits(self) -> tuple[Tensor, Tensor]:
        """The base's ``cdf`` at the bounds."""
        like = self.base_dist.cdf(self.high if self.low is None else self.low)
        below = torch.zeros_like(like) if self.low is None else like
        above = torch.ones_like(like) if self.high is None else self.base_dist.cdf(self.high)
        return below, above

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the base's log density, less the log of the mass between the bounds; minus infinity outside."""
        if self._validate_args:
            self._validate_sample(value)
        below, above = self._limits()
        log_prob: Tensor = self.base_dist.log_prob(value) - (above - below).log()
        if self.low is not None:
            log_prob = torch.where(value < self.low, -torch.inf, log_prob)
        if self.high is not None:
            log_prob = torch.where(value > self.high, -torch.inf, log_prob)
        return log_prob

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """By inversion."""
        below, above = self._limits()
        shape = self._extended_shape(Size(sample_shape))
        uniform = torch.rand(shape, dtype=below.dtype, device=below.device)
        draws: Tensor = self.base_dist.icdf(below + uniform * (above - below))
        if self.low is not None:
            draws = torch.maximum(draws, self.low)
        return draws if self.high is None else torch.minimum(draws, self.high)


def _log_ndtri(log_p: Tensor) -> Tensor:
    """The standard normal quantile of a probability that is given by its logarithm."""
    least = 0.9 * math.log(torch.finfo(log_p.dtype).tiny)
    usual = torch.special.ndtri(log_p.clamp_min(least).exp())
    # Newton's method on the log of the distribution function, which is nearly a parabola that far out.
    z = -(-2 * log_p.clamp_max(least)).sqrt()
    for _ in range(4):
        log_ndtr = torch.special.log_ndtr(z)
        z = z + (log_p - log_ndtr) * (log_ndtr + 0.5 * z.square() + 0.5 * math.log(2 * math.pi)).exp()
    return torch.where(log_p < least, z, usual)


class TruncatedNormal(ElementwiseDistribution):
    """A normal distribution, given that its value lies between bounds; exact in the tails too.

    Args:
        loc: mean without bounds.
        scale: standard deviation without bounds.
        low: the lower bound; minus infinity for none.
        high: the upper bound; infinity for none.

    Raises:
        ValueError: if ``low`` is not below ``high``, under validation.

    References:
        N. Johnson, S. Kotz and N. Balakrishnan (1994), "Continuous univariate distributions", volume 1,
        section 13.10.

    >>> import torch
    >>> from ember.distributions import TruncatedNormal
    >>> d = TruncatedNormal(0.0, 1.0, low=0.0)
    >>> d.log_prob(torch.tensor(1.0)), d.mean
    (tensor(-0.7258), tensor(0.7979))
    """

    arg_constraints: dict[str, Any] = {"loc": constraints.real, "scale": constraints.positive}
    has_rsample = True
    loc: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    _tensors = ("loc", "scale", "low", "high")

    def __init__(
        self,
        loc: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        *,
        low: Tensor | float = -math.inf,
        high: Tensor | float = math.inf,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(loc, scale, low, high, validate_args=validate_args)
        if self._validate_args and not all_valid(self.low < self.high):
            raise ValueError(f"low must be below high, got low={low} and high={high}")

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        """Between the bounds."""
        low = None if bool((self.low == -math.inf).all()) else self.low
        high = None if bool((self.high == math.inf).all()) else self.high
        return constraints.real if low is None and high is None else _between(low, high)

    def _standard(self) -> tuple[Tensor, Tensor]:
        return (self.low - self.loc) / self.scale, (self.high - self.loc) / self.scale

    def _log_mass(self) -> Tensor:
        """The log of the mass between the bounds, taken in the lower tail, where it has all its digits."""
        a, b = self._standard()
        swap = a > 0
        lower, upper = torch.where(swap, -b, a), torch.where(swap, -a, b)
        log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
        result: Tensor = log_upper + torch.log1p(-torch.exp(log_lower - log_upper))
        return result

    def log_prob(self, value: Tensor) -> Tensor:
        """The normal's, less the log of the mass between the bounds; minus infinity outside."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        log_prob = -0.5 * z.square() - self.scale.log() - 0.5 * math.log(2 * math.pi) - self._log_mass()
        return torch.where((value < self.low) | (value > self.high), -torch.inf, log_prob)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """By inversion, in the tail in which the probabilities are small."""
        a, b = self._standard()
        swap = a > 0
        lower, upper = torch.where(swap, -b, a), torch.where(swap, -a, b)
        log_below, log_above = torch.special.log_ndtr(lower), torch.special.log_ndtr(upper)
        uniform = torch.rand(self._extended_shape(Size(sample_shape)), dtype=lower.dtype, device=lower.device)
        # The log of below + uniform (above - below).
        log_p = log_above + torch.log(uniform + (1 - uniform) * torch.exp(log_below - log_above))
        z = _log_ndtri(log_p)
        draws = self.loc + self.scale * torch.where(swap, -z, z)
        return torch.minimum(torch.maximum(draws, self.low), self.high)

    def _ratios(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The bounds, and the normal's density there by the mass between them."""
        a, b = self._standard()
        log_mass = self._log_mass()
        half = 0.5 * math.log(2 * math.pi)
        return a, b, (-0.5 * a.square() - half - log_mass).exp(), (-0.5 * b.square() - half - log_mass).exp()

    @property
    def mean(self) -> Tensor:
        """``loc + scale (phi(a) - phi(b)) / mass``"""
        _, _, at_a, at_b = self._ratios()
        return self.loc + self.scale * (at_a - at_b)

    @property
    def variance(self) -> Tensor:
        """``scale^2 (1 + (a phi(a) - b phi(b)) / mass - ((phi(a) - phi(b)) / mass)^2)``"""
        a, b, at_a, at_b = self._ratios()
        edge = torch.where(a.isinf(), 0.0, a * at_a) - torch.where(b.isinf(), 0.0, b * at_b)
        return self.scale.square() * (1 + edge - (at_a - at_b).square())


class LogUniform(ElementwiseDistribution):
    """A positive value whose logarithm is uniform between bounds (Jeffreys, 1946).

    Args:
        low: the lower bound, positive.
        high: the upper bound.

    Raises:
        ValueError: if ``low`` is not below ``high``.

    >>> import torch
    >>> from ember.distributions import LogUniform
    >>> LogUniform(1.0, 10.0).log_prob(torch.tensor(2.0)).exp()  # 1 / (2 log 10)
    tensor(0.2171)
    """

    _any: Any = constraints
    arg_constraints: dict[str, Any] = {"low": constraints.positive, "high": constraints.positive}
    has_rsample = True
    low: Tensor
    high: Tensor
    _tensors = ("low", "high")

    def __init__(
        self, low: Tensor | float, high: Tensor | float, *, validate_args: bool | None = None
    ) -> None:
        values: Any = broadcast_all(low, high)
        if not all_valid(values[0] < values[1]):
            raise ValueError(f"low must be below high, got low={low} and high={high}")
        super().__init__(low, high, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        """Between the bounds."""
        return interval(self.low, self.high)  # type: ignore[no-any-return]

    def _width(self) -> Tensor:
        return (self.high / self.low).log()

    def log_prob(self, value: Tensor) -> Tensor:
        """``-log x - log log(high / low)``"""
        if self._validate_args:
            self._validate_sample(value)
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, -value.log() - self._width().log(), -torch.inf)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``low (high / low)^u``"""
        uniform = torch.rand(
            self._extended_shape(Size(sample_shape)), dtype=self.low.dtype, device=self.low.device
        )
        return self.low * (uniform * self._width()).exp()

    def cdf(self, value: Tensor) -> Tensor:
        """``log(x / low) / log(high / low)``"""
        return (value / self.low).log() / self._width()

    def icdf(self, value: Tensor) -> Tensor:
        """Return the inverse of :meth:`cdf`."""
        return self.low * (value * self._width()).exp()

    @property
    def mean(self) -> Tensor:
        """``(high - low) / log(high / low)``"""
        return (self.high - self.low) / self._width()

    @property
    def variance(self) -> Tensor:
        """From the second moment, ``(high^2 - low^2) / (2 log(high / low))``."""
        return (self.high.square() - self.low.square()) / (2 * self._width()) - self.mean.square()
