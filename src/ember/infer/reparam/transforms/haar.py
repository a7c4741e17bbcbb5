"""Sequences through their Haar wavelet coefficients."""

from __future__ import annotations

from ember.distributions.transforms.unit_jacobian import HaarTransform
from ember.infer.reparam.transforms.unit_jacobian import UnitJacobianReparam


class HaarReparam(UnitJacobianReparam):
    """Samples the coefficients of a Haar transform at ``<name>_haar``; see :class:`DiscreteCosineReparam`.

    Args:
        dim: the dim, counted from the right.
        flip: whether to reverse the dim first.
        experimental_allow_batch: whether the dim may be a batch dim, and its plate be left for this site.

    >>> import ember, torch
    >>> from ember.distributions import Normal
    >>> from ember.infer.reparam import HaarReparam
    >>> with ember.poutine.reparam(config={"x": HaarReparam()}), ember.poutine.trace() as tr:
    ...     x = ember.sample("x", Normal(torch.zeros(4), 1.0).to_event(1))
    >>> list(tr.trace.nodes)
    ['x_haar', 'x']
    """

    def __init__(self, dim: int = -1, flip: bool = False, *, experimental_allow_batch: bool = False) -> None:
        transform = HaarTransform(dim=dim, flip=flip, cache_size=1)
        super().__init__(transform, suffix="haar", experimental_allow_batch=experimental_allow_batch)
