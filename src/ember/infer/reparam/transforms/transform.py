"""Transformed distributions through their bases."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ember import primitives
from ember.distributions.shapes import sum_rightmost
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult, deterministic_result


class TransformReparam(Reparam):
    """Samples the base of a :class:`~ember.distributions.TransformedDistribution` at ``<name>_base`` and transforms it.

    >>> import ember, torch
    >>> from ember.distributions import LogNormal
    >>> from ember.infer.reparam import TransformReparam
    >>> with ember.poutine.reparam(config={"x": TransformReparam()}), ember.poutine.trace() as tr:
    ...     x = ember.sample("x", LogNormal(0.0, 1.0))
    >>> bool(x == tr.trace.nodes["x_base"]["value"].exp())
    True
    """

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_base``."""
        name, value, is_observed = msg.name, msg.value, msg.is_observed
        fn, event_dim = self._unwrap(msg.fn)
        self._require(name, fn, torch.distributions.TransformedDistribution)

        values: list[Any] = [value]  # from the site's value back to the base's
        if value is not None:
            for transform in reversed(fn.transforms):
                values.append(transform.inv(values[-1]))
        base_event_dim = event_dim
        for transform in reversed(fn.transforms):
            base_event_dim += transform.domain.event_dim - transform.codomain.event_dim
        base = primitives.sample(
            f"{name}_base",
            self._wrap(fn.base_dist, base_event_dim),
            obs=values[-1],
            infer={"is_observed": is_observed},
        )
        if value is None:
            value = base
            for transform in fn.transforms:
                value = transform(value)
        assert value is not None
        if not is_observed:
            return deterministic_result(value, event_dim)
        return deterministic_result(
            value, event_dim, _log_density_of_change(fn.transforms, values, event_dim)
        )


def _log_density_of_change(transforms: list[Any], values: list[Tensor], event_dim: int) -> Tensor:
    """What the transforms add to the base's log density at an observed value; ``values`` start at that value."""
    total: Any = 0.0
    for transform, y, x in zip(reversed(transforms), values[:-1], values[1:], strict=True):
        jacobian = transform.log_abs_det_jacobian(x, y)
        total = total - sum_rightmost(jacobian, jacobian.dim() - (y.dim() - event_dim))
        event_dim += transform.domain.event_dim - transform.codomain.event_dim
    return torch.as_tensor(total)
