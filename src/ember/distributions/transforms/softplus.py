"""Positive numbers and Cholesky factors by softplus, whose tails grow linearly where exp explodes."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import SoftplusTransform as SoftplusTransform
from torch.nn.functional import softplus

from ember.distributions.transform_state import CopyableTransform
from ember.distributions.typed_torch import independent

__all__ = ["SoftplusLowerCholeskyTransform", "SoftplusTransform"]


def softplus_inv(y: Tensor) -> Tensor:
    """The inverse of softplus, exact for large and for small ``y``.

    >>> import torch
    >>> softplus(softplus_inv(torch.tensor([1e-4, 1.0, 100.0])))
    tensor([1.0000e-04, 1.0000e+00, 1.0000e+02])
    """
    return y + (-(-y).expm1()).log()


class SoftplusLowerCholeskyTransform(CopyableTransform):
    """Any square matrix to a Cholesky factor: the upper triangle is dropped, the diagonal made positive.

    Shapes:
        x, y: ``batch_shape + (n, n)``.
    """

    domain = independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SoftplusLowerCholeskyTransform)

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + softplus(x.diagonal(dim1=-2, dim2=-1)).diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + softplus_inv(y.diagonal(dim1=-2, dim2=-1)).diag_embed()
