"""Vectors with increasing entries, from and to other spaces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Size, Tensor
from torch.nn.functional import softplus

from ember.distributions import constraints
from ember.distributions.transform_state import CopyableTransform


class OrderedTransform(CopyableTransform):
    """Any vector to an increasing one: the first entry stays, the others become log differences.

    Shapes:
        x, y: ``batch_shape + (n,)``.

    >>> import torch
    >>> from ember.distributions.transforms import OrderedTransform
    >>> OrderedTransform()(torch.tensor([3.0, 0.0, 0.0]))
    tensor([3., 4., 5.])
    """

    domain = constraints.real_vector
    codomain = constraints.ordered_vector
    bijective = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OrderedTransform)

    def _call(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., :1], x[..., 1:].exp()], dim=-1).cumsum(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.cat([y[..., :1], y.diff(dim=-1).log()], dim=-1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the log differences."""
        return x[..., 1:].sum(-1)


class SimplexToOrderedTransform(CopyableTransform):
    """Probabilities of ``n`` ordered categories to the ``n - 1`` cutpoints of an ordered logistic model.

    Args:
        anchor_point: shifts all cutpoints; of shape ``batch_shape``, 0 by default.

    Shapes:
        x: ``batch_shape + (n,)``, on the simplex.
        y: ``batch_shape + (n - 1,)``, increasing.

    References:
        M. Betancourt (2019), "Ordinal Regression", section 2.2.

    >>> import torch
    >>> from ember.distributions.transforms import SimplexToOrderedTransform
    >>> SimplexToOrderedTransform()(torch.tensor([0.5, 0.5]))
    tensor([0.])
    """

    domain = constraints.simplex
    codomain = constraints.ordered_vector

    def __init__(self, anchor_point: Tensor | None = None) -> None:
        super().__init__()
        self.anchor_point = torch.tensor(0.0) if anchor_point is None else anchor_point

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SimplexToOrderedTransform) and torch.equal(
            self.anchor_point, other.anchor_point
        )

    def _call(self, x: Tensor) -> Tensor:
        return x[..., :-1].cumsum(-1).logit() + self.anchor_point.unsqueeze(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        below = (y - self.anchor_point.unsqueeze(-1)).sigmoid()
        return torch.diff(
            below, prepend=torch.zeros_like(below[..., :1]), append=torch.ones_like(below[..., :1])
        )

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Minus the log derivatives of the logistic function at the cutpoints."""
        y = y - self.anchor_point.unsqueeze(-1)
        return (softplus(y) + softplus(-y)).sum(-1)

    def forward_shape(self, shape: Any) -> Size:
        """One entry less."""
        return Size((*shape[:-1], shape[-1] - 1))

    def inverse_shape(self, shape: Any) -> Size:
        """One entry more."""
        return Size((*shape[:-1], shape[-1] + 1))
