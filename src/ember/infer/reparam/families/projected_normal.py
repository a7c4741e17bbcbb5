"""Directions through normal vectors."""

from __future__ import annotations

import torch

from ember import distributions as dist
from ember import primitives
from ember.infer.reparam.reparam import Reparam, ReparamMessage, ReparamResult, deterministic_result
from ember.ops.tensor_utils import safe_normalize


class ProjectedNormalReparam(Reparam):
    """Samples the normal vector behind a :class:`~ember.distributions.ProjectedNormal` at ``<name>_normal``.

    Raises:
        AssertionError: at sites of other families.
        NotImplementedError: at observed sites.

    >>> import ember, torch
    >>> from ember import distributions as dist
    >>> from ember.infer.reparam import ProjectedNormalReparam
    >>> with ember.poutine.reparam(config={"x": ProjectedNormalReparam()}):
    ...     x = ember.sample("x", dist.ProjectedNormal(torch.zeros(3)))
    >>> bool((x.norm() - 1).abs() < 1e-6)
    True
    """

    def apply(self, msg: ReparamMessage) -> ReparamResult:
        """Sample ``<name>_normal``."""
        name, value = msg.name, msg.value
        self._refuse_observed(name, msg.is_observed)
        fn, event_dim = self._unwrap(msg.fn)
        self._require(name, fn, dist.ProjectedNormal)

        concentration = fn.concentration
        # Of all vectors in this direction, the one of length 1.
        noise = None if value is None else value - concentration
        standard = dist.Normal(torch.zeros_like(concentration), 1.0).to_event(1)
        noise = primitives.sample(
            f"{name}_normal", self._wrap(standard, event_dim), obs=noise, infer={"is_observed": False}
        )
        if value is None:
            value = safe_normalize(noise + concentration)
        return deterministic_result(value, event_dim)
