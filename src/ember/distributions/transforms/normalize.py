"""Projection to the sphere."""

from __future__ import annotations

import torch
from torch import Tensor

from ember.distributions import constraints
from ember.distributions.transform_state import CopyableTransform


class Normalize(CopyableTransform):
    """Divides a vector by its ``p`` norm; zero goes to the first unit vector.

    Shapes:
        x, y: ``batch_shape + (n,)``.

    >>> import torch
    >>> from ember.distributions.transforms import Normalize
    >>> Normalize()(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [1.0000, 0.0000]])
    """

    domain = constraints.real_vector
    codomain = constraints.sphere
    bijective = False

    def __init__(self, p: float = 2, cache_size: int = 0) -> None:
        if not isinstance(p, (int, float)) or p < 0:
            raise AssertionError(f"Normalize expects a nonnegative number p, got {p!r}")
        self.p = p
        super().__init__(cache_size=cache_size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Normalize) and type(self) is type(other) and self.p == other.p

    def _call(self, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x.detach(), ord=self.p, dim=-1, keepdim=True)
        # Where the norm underflows, the direction is lost and the first unit vector stands in.
        unit = torch.zeros_like(x)
        unit[..., 0] = 1
        x = torch.where(norm > torch.finfo(x.dtype).tiny, x, unit)
        y: Tensor = x / torch.linalg.vector_norm(x, ord=self.p, dim=-1, keepdim=True)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        return y

    def with_cache(self, cache_size: int = 1) -> Normalize:
        """Return the same transform with another size of cache."""
        return self if self._cache_size == cache_size else Normalize(self.p, cache_size=cache_size)
