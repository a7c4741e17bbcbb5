"""Two distributions, chosen between element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.constraints import Constraint

from ember.distributions import constraints
from ember.distributions.delegation import DelegatedRsample
from ember.distributions.fast_checks import unchecked
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution


class MaskedConstraint(constraints.Constraint):
    """``constraint1`` where ``mask`` is true, ``constraint0`` elsewhere."""

    def __init__(
        self, mask: Tensor, constraint0: constraints.Constraint, constraint1: constraints.Constraint
    ) -> None:
        self.mask = mask
        self.constraint0 = constraint0
        self.constraint1 = constraint1

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        """As that of the two constraints."""
        return int(self.constraint0.event_dim)

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        """Whether either is."""
        return bool(self.constraint0.is_discrete or self.constraint1.is_discrete)

    def check(self, value: Tensor) -> Tensor:
        """Each element against its constraint."""
        one, zero = (c.check(value) for c in (self.constraint1, self.constraint0))  # type: ignore[no-untyped-call]
        return torch.where(self.mask, one, zero)


class _BothRsample(DelegatedRsample):
    """``has_rsample`` of a mixture: that of both components, unless it was set."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        override = instance.__dict__.get("has_rsample")
        both = instance.component0.has_rsample and instance.component1.has_rsample
        return both if override is None else override


def _unvalidated(fn: Any, batch_shape: Size) -> Any:
    # A value belongs to one component, and is checked as the mixture's, so neither checks it. The caller's stays as it is.
    return unchecked(fn.expand(batch_shape) if fn.batch_shape != batch_shape else fn)


class MaskedMixture(TorchDistribution):
    """``component1`` for the elements of a batch where a mask is true, ``component0`` for the others.

    Args:
        mask: a tensor of bools that broadcasts with the batch shapes.
        component0: a distribution.
        component1: a distribution with the same event shape.

    Raises:
        ValueError: if the mask is none, or the event shapes differ.

    >>> from ember.distributions import Normal
    >>> import torch
    >>> from ember.distributions import MaskedMixture
    >>> d = MaskedMixture(torch.tensor([True, False]), Normal(0.0, 1.0), Normal(9.0, 2.0))
    >>> d.mean, d.variance
    (tensor([9., 0.]), tensor([4., 1.]))
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = _BothRsample()

    def __init__(
        self, mask: Tensor, component0: Any, component1: Any, validate_args: bool | None = None
    ) -> None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise ValueError(f"Expected mask to be a BoolTensor but got {type(mask)}")
        if component0.event_shape != component1.event_shape:
            raise ValueError(
                f"components event_shape disagree: {component0.event_shape} vs {component1.event_shape}"
            )
        shape = Size(broadcast_shape(mask.shape, component0.batch_shape, component1.batch_shape))
        self._mask = mask.expand(shape)
        self.component0 = _unvalidated(component0, shape)
        self.component1 = _unvalidated(component1, shape)
        super().__init__(shape, component0.event_shape, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> Constraint:
        """That of the components, element by element."""
        first, second = self.component0.support, self.component1.support
        return first if first is second else MaskedConstraint(self._mask, first, second)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the mask and the components."""
        new = self._get_checked_instance(MaskedMixture, _instance)
        batch_shape = Size(batch_shape)
        new._mask = self._mask.expand(batch_shape)
        new.component0 = _unvalidated(self.component0, batch_shape)
        new.component1 = _unvalidated(self.component1, batch_shape)
        return self._completed(new, batch_shape, self.event_shape)

    def _choose(self, one: Callable[[Any], Any]) -> Any:
        mask = self._mask
        mask = mask.reshape(mask.shape + (1,) * self.event_dim)
        return torch.where(mask, one(self.component1), one(self.component0))

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw from both, and choose."""
        return self._choose(lambda fn: fn.sample(Size(sample_shape)))  # type: ignore[no-any-return]

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw from both with pathwise gradients, and choose."""
        return self._choose(lambda fn: fn.rsample(Size(sample_shape)))  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of the element's component."""
        value = value.expand(broadcast_shape(value.shape, self.batch_shape + self.event_shape))
        if self._validate_args:
            self._validate_sample(value)
        return torch.where(self._mask, self.component1.log_prob(value), self.component0.log_prob(value))

    @property
    def mean(self) -> Tensor:
        """The mean of the element's component."""
        return self._choose(lambda fn: fn.mean)  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        """The variance of the element's component."""
        return self._choose(lambda fn: fn.variance)  # type: ignore[no-any-return]
