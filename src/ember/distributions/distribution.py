"""The base of everything that a ``sample`` statement can draw from."""

from __future__ import annotations

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any, Self, TypeVar

from torch import Tensor

from ember.distributions.score_parts import ScoreParts

T = TypeVar("T")

#: Called as ``coerce(cls, args, kwargs)`` before a distribution is made; a result other than None replaces it.
COERCIONS: list[Callable[[type, tuple[Any, ...], dict[str, Any]], Any]] = []


class _SignatureOfInit:
    """As an attribute of a metaclass: for a class the signature of its ``__init__``; the metaclass has none."""

    def __get__(self, cls: type | None, owner: type) -> inspect.Signature:
        if cls is None:
            raise AttributeError("__signature__")
        init = inspect.signature(cls.__init__)  # type: ignore[misc]
        return init.replace(parameters=list(init.parameters.values())[1:])


class DistributionMeta(ABCMeta):
    """Lets functions registered in ``COERCIONS`` take over the construction of distributions."""

    # Without this, inspect would report the signature of __call__ below.
    __signature__ = _SignatureOfInit()

    def __call__(cls: type[T], *args: Any, **kwargs: Any) -> T:
        for coerce in COERCIONS:
            result = coerce(cls, args, kwargs)
            if result is not None:
                return result  # type: ignore[no-any-return]
        return super().__call__(*args, **kwargs)  # type: ignore[misc, no-any-return]


class Distribution(metaclass=DistributionMeta):
    """Base class of stochastic functions that can be sampled and scored.

    Subclasses define :meth:`sample` and :meth:`log_prob`. For distributions over tensors, derive from
    :class:`~ember.distributions.TorchDistribution` instead.
    """

    has_rsample: bool = False
    has_enumerate_support: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Draw a value: the same as ``.sample(*args, **kwargs)``."""
        return self.sample(*args, **kwargs)

    @abstractmethod
    def sample(self, *args: Any, **kwargs: Any) -> Tensor:
        """Draw a value."""
        raise NotImplementedError

    @abstractmethod
    def log_prob(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the log density (or log mass) of ``x``, one for each element of the batch."""
        raise NotImplementedError

    def score_parts(self, x: Tensor, *args: Any, **kwargs: Any) -> ScoreParts:
        """Return the terms that gradient estimators need at ``x``.

        Right for distributions that are fully reparameterised or not at all; those that are partially
        reparameterised override this.
        """
        log_prob = self.log_prob(x, *args, **kwargs)
        if self.has_rsample:
            return ScoreParts(log_prob, 0, log_prob)
        return ScoreParts(log_prob, log_prob, 0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete distribution, stacked along a new leftmost dim.

        The elements of a batch are enumerated in lock step, not as a product.

        Args:
            expand: give the full shape ``(n,) + batch_shape + event_shape``; if False, dims of the batch have
                size 1.

        Raises:
            NotImplementedError: if the support cannot be enumerated.
        """
        raise NotImplementedError(f"Support not implemented for {type(self).__name__}")

    def conjugate_update(self, other: object) -> tuple[Any, Any]:
        """Fuse this distribution with a conjugate one over the same variable.

        Returns:
            ``(updated, log_normalizer)`` with ``self.log_prob(x) + other.log_prob(x) == updated.log_prob(x) +
                log_normalizer`` for all ``x``.

        Raises:
            NotImplementedError: for families that are not conjugate to anything here.
        """
        raise NotImplementedError(f"{type(self).__name__} does not support .conjugate_update()")

    def has_rsample_(self, value: bool) -> Self:
        """Choose, for this instance and in place, between pathwise (True) and detached sampling (False).

        Objectives read the flag: with False they use the score function estimator for this site.

        Raises:
            ValueError: if ``value`` is not a bool.
        """
        if value is not True and value is not False:
            raise ValueError(f"Expected value in [False,True], actual {value}")
        self.has_rsample = value
        return self
