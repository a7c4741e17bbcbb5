"""Beta variables on another interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import AffineTransform

from ember.distributions import constraints
from ember.distributions.beta_gamma import Beta
from ember.distributions.shapes import broadcast_shape
from ember.distributions.transformed import TransformedDistribution
from ember.distributions.typed_torch import interval


class AffineBeta(TransformedDistribution):
    """``loc + scale * x`` with ``x`` a beta variable.

    Args:
        concentration1: the shape at the upper end, positive.
        concentration0: the shape at the lower end, positive.

    >>> import torch
    >>> from ember.distributions import AffineBeta
    >>> AffineBeta(1.0, 1.0, torch.tensor(-1.0), torch.tensor(2.0)).support
    Interval(lower_bound=-1.0, upper_bound=1.0)
    """

    arg_constraints: dict[str, Any] = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    transforms: Any
    base_dist: Any

    def __init__(
        self,
        concentration1: Tensor | float,
        concentration0: Tensor | float,
        loc: Tensor | float,
        scale: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        base = Beta(concentration1, concentration0, validate_args=validate_args)
        super().__init__(base, AffineTransform(loc=loc, scale=scale), validate_args=validate_args)

    @staticmethod
    def infer_shapes(  # type: ignore[override]
        concentration1: tuple[int, ...],
        concentration0: tuple[int, ...],
        loc: tuple[int, ...],
        scale: tuple[int, ...],
    ) -> tuple[Any, Any]:
        """All parameters broadcast."""
        return broadcast_shape(concentration1, concentration0, loc, scale), Size()

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the base."""
        new = self._get_checked_instance(AffineBeta, _instance)
        expanded: Self = super().expand(batch_shape, _instance=new)  # type: ignore[no-untyped-call]
        return expanded

    def _inside(self, draws: Tensor) -> Tensor:
        # At the ends of the interval the log density has no finite gradient.
        eps = torch.finfo(draws.dtype).eps * self.scale
        return torch.min(torch.max(draws, self.low + eps), self.high - eps)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw, away from the ends of the interval."""
        with torch.no_grad():
            return self._inside(self.transforms[0](self.base_dist.sample(Size(sample_shape))))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw with pathwise gradients, away from the ends of the interval."""
        return self._inside(self.transforms[0](self.base_dist.rsample(Size(sample_shape))))

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        """From ``loc`` to ``loc + scale``."""
        return interval(self.low, self.high)  # type: ignore[no-any-return]

    @property
    def concentration1(self) -> Tensor:
        """The base's."""
        value: Tensor = self.base_dist.concentration1
        return value

    @property
    def concentration0(self) -> Tensor:
        """The base's."""
        value: Tensor = self.base_dist.concentration0
        return value

    @property
    def sample_size(self) -> Tensor:
        """The sum of concentrations."""
        return self.concentration1 + self.concentration0

    @property
    def loc(self) -> Tensor:
        """The lower end."""
        return torch.as_tensor(self.transforms[0].loc)

    @property
    def scale(self) -> Tensor:
        """The length of the interval."""
        return torch.as_tensor(self.transforms[0].scale)

    @property
    def low(self) -> Tensor:
        """The lower end."""
        return self.loc

    @property
    def high(self) -> Tensor:
        """The upper end."""
        return self.loc + self.scale

    @property
    def mean(self) -> Tensor:
        """``loc + scale`` times the base's mean."""
        mean: Tensor = self.loc + self.scale * self.base_dist.mean
        return mean

    @property
    def variance(self) -> Tensor:
        """``scale^2`` times the base's variance."""
        variance: Tensor = self.scale.square() * self.base_dist.variance
        return variance
