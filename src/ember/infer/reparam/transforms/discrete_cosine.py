"""Sequences through their cosine coefficients."""

from __future__ import annotations

from ember.distributions.transforms.unit_jacobian import DiscreteCosineTransform
from ember.infer.reparam.transforms.unit_jacobian import UnitJacobianReparam


class DiscreteCosineReparam(UnitJacobianReparam):
    """Samples the coefficients of a discrete cosine transform at ``<name>_dct``.

    Long correlations along a time-like dim become nearly none between coefficients, which suits diagonal
    guides.

    Args:
        dim: the dim, counted from the right.
        smooth: 0 for values that vary like white noise along the dim, 1 for continuous, 2 for differentiable
            ones.
        experimental_allow_batch: whether the dim may be a batch dim, and its plate be left for this site.

    >>> import ember, torch
    >>> from ember.distributions import Normal
    >>> from ember.infer.reparam import DiscreteCosineReparam
    >>> with ember.poutine.reparam(config={"x": DiscreteCosineReparam()}), ember.poutine.trace() as tr:
    ...     x = ember.sample("x", Normal(torch.zeros(4), 1.0).to_event(1))
    >>> list(tr.trace.nodes)
    ['x_dct', 'x']
    """

    def __init__(self, dim: int = -1, smooth: float = 0.0, *, experimental_allow_batch: bool = False) -> None:
        transform = DiscreteCosineTransform(dim=dim, smooth=smooth, cache_size=1)
        super().__init__(transform, suffix="dct", experimental_allow_batch=experimental_allow_batch)
