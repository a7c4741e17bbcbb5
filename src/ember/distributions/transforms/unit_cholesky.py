"""Lower triangular matrices with a diagonal of ones."""

from __future__ import annotations

from torch import Tensor

from ember.distributions import constraints
from ember.distributions.constraints import unit_lower_cholesky as unit_lower_cholesky
from ember.distributions.tensors import eye_like
from ember.distributions.transform_state import CopyableTransform
from ember.distributions.typed_torch import independent


class UnitLowerCholeskyTransform(CopyableTransform):
    """Any square matrix to a lower triangular one with a diagonal of ones.

    Shapes:
        x, y: ``batch_shape + (n, n)``.

    >>> import torch
    >>> from ember.distributions.transforms import UnitLowerCholeskyTransform
    >>> UnitLowerCholeskyTransform()(torch.full((2, 2), 3.0))
    tensor([[1., 0.],
            [3., 1.]])
    """

    domain = independent(constraints.real, 2)
    codomain = unit_lower_cholesky

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnitLowerCholeskyTransform)

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + eye_like(x, x.size(-1))

    def _inverse(self, y: Tensor) -> Tensor:
        return y
