"""Affine maps by a lower triangular matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from ember.distributions.transform_state import CopyableTransform
from ember.distributions.typed_torch import broadcast_shapes


class LowerCholeskyAffine(CopyableTransform):
    """``y = loc + scale_tril @ x``.

    Args:
        loc: ``(n,)``, or a batch of such.
        scale_tril: ``(n, n)``, lower triangular with a positive diagonal, or a batch of such.

    >>> import torch
    >>> from ember.distributions.transforms import LowerCholeskyAffine
    >>> LowerCholeskyAffine(torch.ones(2), 2 * torch.eye(2))(torch.tensor([0.0, 1.0]))
    tensor([1., 3.])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    volume_preserving = False

    def __init__(self, loc: Tensor, scale_tril: Tensor, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        if not loc.size(-1) == scale_tril.size(-1) == scale_tril.size(-2):
            raise AssertionError(
                "loc and scale_tril must be of size D and D x D, respectively "
                f"(instead: {loc.shape}, {scale_tril.shape})"
            )
        self.loc = loc
        self.scale_tril = scale_tril

    def _call(self, x: Tensor) -> Tensor:
        y: Tensor = self.scale_tril @ x.unsqueeze(-1)
        return self.loc + y.squeeze(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        shifted = (y - self.loc).unsqueeze(-1)
        x: Tensor = torch.linalg.solve_triangular(self.scale_tril, shifted, upper=False)
        return x.squeeze(-1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the logs of the diagonal."""
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det.expand(broadcast_shapes(log_det.shape, x.shape[:-1]))

    def with_cache(self, cache_size: int = 1) -> LowerCholeskyAffine:
        """Return the same transform with another size of cache."""
        if self._cache_size == cache_size:
            return self
        return LowerCholeskyAffine(self.loc, self.scale_tril, cache_size=cache_size)
