"""Reordering of one dim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.distributions.utils import lazy_property

from ember.distributions.transform_state import CopyableTransform
from ember.distributions.typed_torch import independent


class Permute(CopyableTransform):
    """Reorders the entries along one dim; put between autoregressive layers to mix their inputs.

    Args:
        permutation: the indices, in their new order.
        dim: a negative dim; the event has ``-dim`` dims.

    Raises:
        ValueError: if ``dim`` is not negative.

    >>> import torch
    >>> from ember.distributions.transforms import Permute
    >>> Permute(torch.tensor([2, 0, 1]))(torch.tensor([0.0, 1.0, 2.0]))
    tensor([2., 0., 1.])
    """

    bijective = True
    volume_preserving = True

    def __init__(self, permutation: Tensor, *, dim: int = -1, cache_size: int = 1) -> None:
        super().__init__(cache_size=cache_size)
        if dim >= 0:
            raise ValueError("'dim' keyword argument must be negative")
        self.permutation = permutation
        self.dim = dim

    @constraints.dependent_property(is_discrete=False)
    def domain(self) -> Constraint:
        """Real tensors of ``-dim`` dims."""
        return independent(constraints.real, -self.dim)  # type: ignore[no-any-return]

    @constraints.dependent_property(is_discrete=False)
    def codomain(self) -> Constraint:
        """Real tensors of ``-dim`` dims."""
        return independent(constraints.real, -self.dim)  # type: ignore[no-any-return]

    @lazy_property
    def inv_permutation(self) -> Tensor:
        """The indices that undo the permutation."""
        return self.permutation.argsort()

    def _call(self, x: Tensor) -> Tensor:
        return x.index_select(self.dim, self.permutation)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.index_select(self.dim, self.inv_permutation)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Zero: volume does not change."""
        return x.new_zeros(x.shape[: x.dim() + self.dim])

    def with_cache(self, cache_size: int = 1) -> Permute:
        """Return the same transform with another size of cache."""
        if self._cache_size == cache_size:
            return self
        return Permute(self.permutation, dim=self.dim, cache_size=cache_size)


def permute(input_dim: int | Sequence[int], permutation: Tensor | None = None, dim: int = -1) -> Permute:
    """Make a :class:`Permute` for events of the given size, by default with a random permutation.

    Args:
        input_dim: the size of the dim or, if ``dim < -1``, the event shape.

    Raises:
        ValueError: if the event shape has not ``-dim`` dims.

    >>> import torch
    >>> from ember.distributions.transforms import permute
    >>> permute(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    if dim < -1 or not isinstance(input_dim, int):
        shape: Any = input_dim
        if len(shape) != -dim:
            raise ValueError(f"event shape {shape} must have same length as event_dim {-dim}")
        size = shape[dim]
    else:
        size = input_dim
    return Permute(torch.randperm(size) if permutation is None else permutation, dim=dim)
