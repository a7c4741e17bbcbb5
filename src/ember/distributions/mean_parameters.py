"""Families in terms of their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor
from torch.distributions.utils import broadcast_all

from ember.distributions import constraints
from ember.distributions.beta_gamma import Beta
from ember.distributions.compound import GammaPoisson
from ember.distributions.validation import all_valid


class NegativeBinomial2(GammaPoisson):
    """Counts with a mean, and a variance of ``mean + mean^2 / concentration``.

    Args:
        mean: of the counts.
        concentration: how near they are to Poisson counts; those are the limit at infinity.

    References:
        A. Cameron and P. Trivedi (1986), the family that they call NB2.

    >>> from ember.distributions import NegativeBinomial2
    >>> NegativeBinomial2(3.0, 2.0).variance
    tensor(7.5000)
    """

    def __init__(
        self, mean: Tensor | float, concentration: Tensor | float, *, validate_args: bool | None = None
    ) -> None:
        values: Any = broadcast_all(mean, concentration)
        super().__init__(values[1], values[1] / values[0], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        return super().expand(batch_shape, self._get_checked_instance(NegativeBinomial2, _instance))


class BetaProportion(Beta):
    """A beta distribution in terms of its mean and concentration.

    Args:
        mean: between 0 and 1.
        concentration: the sum of the two usual parameters; the variance is
            ``mean (1 - mean) / (concentration + 1)``.

    Raises:
        ValueError: if an argument is out of its range, under validation.

    References:
        S. Ferrari and F. Cribari-Neto (2004), "Beta regression for modelling rates and proportions".

    >>> from ember.distributions import BetaProportion
    >>> d = BetaProportion(0.25, 8.0)
    >>> d.concentration1, d.concentration0
    (tensor(2.), tensor(6.))
    """

    def __init__(
        self, mean: Tensor | float, concentration: Tensor | float, *, validate_args: bool | None = None
    ) -> None:
        values: Any = broadcast_all(mean, concentration)
        if validate_args or (validate_args is None and self._validate_args):
            for name, value, constraint in (
                ("mean", values[0], constraints.unit_interval),
                ("concentration", values[1], constraints.positive),
            ):
                if not all_valid(constraint.check(value)):  # type: ignore[no-untyped-call]
                    raise ValueError(f"BetaProportion: {name} must be in {constraint}, got {value}")
        super().__init__(values[0] * values[1], (1 - values[0]) * values[1], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Any:
        """Expand the parameters."""
        return super().expand(batch_shape, self._get_checked_instance(BetaProportion, _instance))
