"""Distributions and transforms that depend on a context: ``condition(context)`` gives ordinary ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ember.distributions.torch_transform import ComposeTransformModule
from ember.distributions.transform_state import clear_cache, picklable
from ember.distributions.transformed import TransformedDistribution


class ConditionalDistribution(ABC):
    """A family of distributions, one for each context."""

    @abstractmethod
    def condition(self, context: Any) -> Any:
        """Return the distribution given a context."""
        raise NotImplementedError


class ConditionalTransform(ABC):
    """A family of transforms, one for each context."""

    @abstractmethod
    def condition(self, context: Any) -> Any:
        """Return the transform given a context."""
        raise NotImplementedError


class ConditionalTransformModule(ConditionalTransform, torch.nn.Module):
    """A conditional transform that is a module, so that its parameters are found and trained.

    Flows derive from it.

    >>> from ember.distributions.transforms import conditional_planar
    >>> import torch
    >>> flow = conditional_planar(3, context_dim=2)
    >>> flow.condition(torch.zeros(2))(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return super(torch.nn.Module, self).__hash__()

    @property
    def inv(self) -> ConditionalTransformModule:
        """The family of the inverses."""
        return ConditionalInverseTransformModule(self)


class ConditionalInverseTransformModule(ConditionalTransformModule):
    """The inverses of a conditional transform.

    Args:
        transform: a conditional transform.
    """

    def __init__(self, transform: ConditionalTransform) -> None:
        super().__init__()
        self._transform = transform

    @property
    def inv(self) -> ConditionalTransformModule:
        """The family that this one inverts."""
        return cast(ConditionalTransformModule, self._transform)

    def condition(self, context: Any) -> Any:
        """The inverse of the transform given a context."""
        return self._transform.condition(context).inv


class ConditionalComposeTransformModule(ConditionalTransformModule, torch.nn.ModuleList):
    """A chain of transforms, of which all, some or none are conditional.

    Args:
        transforms: the chain, first to last.
        cache_size: of the chains that come out.

    >>> from ember.distributions.transforms import conditional_planar, planar
    >>> chain = ConditionalComposeTransformModule([conditional_planar(3, context_dim=2), planar(3)])
    >>> len(chain.condition(torch.zeros(2)).parts)
    2
    """

    def __init__(self, transforms: Sequence[Any], cache_size: int = 0) -> None:
        self.transforms: list[Any] = [_conditional_transform(t) for t in transforms]
        super().__init__()
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self.cache_size = cache_size
        for transform in transforms:
            if isinstance(transform, torch.nn.Module):
                self.append(transform)

    def condition(self, context: Any) -> ComposeTransformModule:
        """The chain given a context; unconditional transforms are the same in all."""
        parts = [t.condition(context) for t in self.transforms]
        return ComposeTransformModule(parts, cache_size=self.cache_size)


class ConstantConditionalDistribution(ConditionalDistribution):
    """One distribution for all contexts.

    Args:
        base_dist: the distribution.
    """

    def __init__(self, base_dist: Any) -> None:
        self.base_dist = base_dist

    def condition(self, context: Any) -> Any:
        """The distribution, whatever the context."""
        return self.base_dist


class ConstantConditionalTransform(ConditionalTransform):
    """One transform for all contexts.

    Args:
        transform: the transform.
    """

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "transform": picklable(self.transform)}

    def condition(self, context: Any) -> Any:
        """The transform, whatever the context."""
        return self.transform

    def clear_cache(self) -> None:
        """Forget what the transform has cached."""
        clear_cache(self.transform)


class ConditionalTransformedDistribution(ConditionalDistribution):
    """A base distribution pushed through transforms, each of which may be conditional, the base too.

    Args:
        base_dist: the base, a distribution or a conditional one.
        transforms: the transforms, first to last.

    >>> from ember.distributions import Normal
    >>> from ember.distributions.transforms import conditional_spline
    >>> import torch
    >>> from ember.distributions import ConditionalTransformedDistribution
    >>> base = Normal(torch.zeros(2), 1.0).to_event(1)
    >>> given = ConditionalTransformedDistribution(base, [conditional_spline(2, context_dim=1)])
    >>> given.condition(torch.ones(1)).sample((5,)).shape
    torch.Size([5, 2])
    """

    def __init__(self, base_dist: Any, transforms: Sequence[Any]) -> None:
        conditional = isinstance(base_dist, ConditionalDistribution)
        self.base_dist: Any = base_dist if conditional else ConstantConditionalDistribution(base_dist)
        self.transforms: list[Any] = [_conditional_transform(t) for t in transforms]

    def condition(self, context: Tensor | Any) -> TransformedDistribution:
        """Return the distribution given a context."""
        base = self.base_dist.condition(context)
        return TransformedDistribution(base, [t.condition(context) for t in self.transforms])

    def clear_cache(self) -> None:
        """Forget what unconditional transforms have cached; those given a context are new each time."""
        for transform in self.transforms:
            forget = getattr(transform, "clear_cache", None)
            if forget is not None:
                forget()


def _conditional_transform(transform: Any) -> Any:
    if isinstance(transform, ConditionalTransform):
        return transform
    return ConstantConditionalTransform(transform)
