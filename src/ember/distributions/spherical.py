"""Von Mises-Fisher directions in three dimensions, and skewed directions on tori."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.distributions.typed_torch import independent
from ember.distributions.validation import all_valid

_TURN = 2 * math.pi


class VonMises3D(TorchDistribution):
    """Directions with a density proportional to the exponential of their product with ``concentration``.

    Args:
        concentration: of shape ``batch_shape + (3,)``: its direction is the mode, its length says how tight.

    Raises:
        ValueError: if ``concentration`` is no vector of size 3; by ``log_prob``, if the value is no unit
            vector of that size.

    >>> import math, torch
    >>> from ember.distributions import VonMises3D
    >>> d = VonMises3D(torch.tensor([0.0, 0.0, 1e-6]))
    >>> (d.log_prob(torch.tensor([1.0, 0.0, 0.0])).exp() * 4 * math.pi).round(decimals=3)
    tensor(1.)
    """

    arg_constraints: dict[str, Any] = {"concentration": constraints.real}
    support = constraints.sphere

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1 or concentration.shape[-1] != 3:
            raise ValueError(
                f"Expected concentration to have rightmost dim 3, actual shape = {concentration.shape}"
            )
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the concentration."""
        new = self._get_checked_instance(VonMises3D, _instance)
        batch_shape = Size(batch_shape)
        new.concentration = self.concentration.expand(batch_shape + (3,))
        return self._completed(new, batch_shape, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """``concentration . value + log(k / (4 pi sinh k))``, with ``k`` the length of the concentration."""
        if self._validate_args:
            if value.dim() < 1 or value.shape[-1] != 3:
                raise ValueError(f"Expected value to have rightmost dim 3, actual shape = {value.shape}")
            if not all_valid((torch.linalg.vector_norm(value, dim=-1) - 1).abs() < 1e-6):
                raise ValueError("direction vectors are not normalized")
        k = torch.linalg.vector_norm(self.concentration, dim=-1)
        k = k.clamp(min=torch.finfo(k.dtype).tiny)
        # log sinh k, finite for large and for small k.
        log_sinh = k + (-torch.expm1(-2 * k)).log() - math.log(2)
        log_prob: Tensor = (self.concentration * value).sum(-1) + k.log() - log_sinh - math.log(4 * math.pi)
        return log_prob


class SineSkewed(TorchDistribution):
    """Breaks the symmetry of a distribution over angles by ``1 + skewness . sin(value - mean)``.

    Args:
        base_dist: symmetric about its mean, over vectors of angles.
        skewness: of the event's shape; the absolute values must not sum to more than 1.

    Raises:
        AssertionError: if there is not one skewness for each angle.

    References:
        J. Ameijeiras-Alonso, C. Ley (2019), "Sine-skewed toroidal distributions and their application in
        protein bioinformatics".

    >>> from ember.distributions import VonMises
    >>> import torch
    >>> from ember.distributions import SineSkewed
    >>> base = VonMises(torch.zeros(1), 1.0).to_event(1)
    >>> SineSkewed(base, torch.tensor([0.5])).sample().shape
    torch.Size([1])
    """

    arg_constraints: dict[str, Any] = {"skewness": independent(constraints.interval(-1.0, 1.0), 1)}  # type: ignore[no-untyped-call]
    support = independent(constraints.real, 1)

    def __init__(self, base_dist: Any, skewness: Tensor, validate_args: bool | None = None) -> None:
        if base_dist.event_shape != skewness.shape[-1:]:
            raise AssertionError(
                "Sine Skewing is only valid with a skewness parameter for each dimension of `base_dist.event_shape`, "
                f"{tuple(base_dist.event_shape)}; got shape {tuple(skewness.shape)}"
            )
        batch_shape = Size(broadcast_shape(base_dist.batch_shape, skewness.shape[:-1]))
        self.skewness = skewness.expand(batch_shape + skewness.shape[-1:])
        self.base_dist = base_dist.expand(batch_shape)
        super().__init__(batch_shape, skewness.shape[-1:], validate_args=validate_args)
        if self._validate_args and not all_valid(skewness.abs().sum(-1) <= 1.0):
            warnings.warn("Total skewness weight shouldn't exceed one.", UserWarning, stacklevel=2)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the base and the skewness."""
        new = self._get_checked_instance(SineSkewed, _instance)
        batch_shape = Size(batch_shape)
        new.base_dist = self.base_dist.expand(batch_shape)
        new.skewness = self.skewness.expand(batch_shape + self.event_shape)
        return self._completed(new, batch_shape, self.event_shape)

    def _skew(self, value: Tensor) -> Tensor:
        skew: Tensor = (self.skewness * (value - self.base_dist.mean).sin()).sum(-1)
        return skew

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw from the base, and reflect about the mean with the probability that makes the skew."""
        with torch.no_grad():
            y: Tensor = self.base_dist.sample(Size(sample_shape))
            keep = torch.rand(y.shape[:-1], dtype=y.dtype, device=y.device) <= 0.5 + 0.5 * self._skew(y)
            y = torch.where(keep.unsqueeze(-1), y, 2 * self.base_dist.mean - y)
            return (y + math.pi) % _TURN - math.pi

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the base's log density and that of the skew."""
        if self._validate_args:
            self._validate_sample(value)
        log_prob: Tensor = self.base_dist.log_prob(value) + self._skew(value).log1p()
        return log_prob
