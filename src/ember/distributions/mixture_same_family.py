"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.torch_distribution import WrappedDistribution


class MixtureSameFamily(torch.distributions.MixtureSameFamily, WrappedDistribution):
    """Mixture over the rightmost batch dim of a component distribution.

    Where all components have one support, that is the mixture's.

    Args:
        mixture_distribution: a :class:`Categorical` with the weights, ``(*batch, K)``.
        component_distribution: the components, with the batch shape ``(*batch, K)``.

    >>> from ember.distributions import Categorical, Normal
    >>> import torch
    >>> from ember.distributions import MixtureSameFamily
    >>> mixture = MixtureSameFamily(Categorical(torch.ones(2)), Normal(torch.tensor([-1.0, 1.0]), 1.0))
    >>> mixture.log_prob(torch.tensor(0.0))
    tensor(-1.4189)
    >>> mixture.support
    Real()
    """

    @constraints.dependent_property
    def support(self) -> Any:
        """The support of the components, if they have one in common."""
        components = self.component_distribution.support
        if components is not None and not _holds_tensors(components):
            return components
        return super().support

    @classmethod
    def infer_shapes(cls, **arg_shapes: object) -> tuple[Size, Size]:
        """Not possible: the shapes depend on the components."""
        raise NotImplementedError("MixtureSameFamily.infer_shapes() depends on the components")


def _holds_tensors(part: Any) -> bool:
    """Whether a constraint has bounds that may differ from component to component."""
    if isinstance(part, (list, tuple)):
        return any(_holds_tensors(item) for item in part)
    if isinstance(part, torch.distributions.constraints.Constraint):
        return any(_holds_tensors(value) for value in vars(part).values())
    return isinstance(part, Tensor)
