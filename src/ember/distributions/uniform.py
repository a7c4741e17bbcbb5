"""The uniform distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import WrappedDistribution
from ember.distributions.typed_torch import interval


class Uniform(torch.distributions.Uniform, WrappedDistribution):
    """Uniform distribution on ``[low, high)``.

    The support has the bounds as they were given, not broadcast, so it suits values of other batch shapes.

    >>> import torch
    >>> from ember.distributions import Uniform
    >>> Uniform(0.0, torch.ones(3)).support
    Interval(lower_bound=0.0, upper_bound=tensor([1., 1., 1.]))
    """

    def __init__(self, low: Tensor | float, high: Tensor | float, validate_args: bool | None = None) -> None:
        self._unbroadcasted_low = low
        self._unbroadcasted_high = high
        super().__init__(low, high, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Any:
        """Expand the bounds; those of the support stay."""
        new = self._get_checked_instance(Uniform, _instance)
        new = super().expand(batch_shape, _instance=new)  # type: ignore[no-untyped-call]
        new._unbroadcasted_low = self._unbroadcasted_low
        new._unbroadcasted_high = self._unbroadcasted_high
        return new

    @staticmethod
    def infer_shapes(low: tuple[int, ...] = (), high: tuple[int, ...] = ()) -> tuple[Size, Size]:  # type: ignore[override]
        """Both bounds broadcast."""
        return Size(broadcast_shape(low, high)), Size()

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        """The closed interval between the bounds."""
        return interval(self._unbroadcasted_low, self._unbroadcasted_high)  # type: ignore[no-any-return]
