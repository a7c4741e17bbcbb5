"""Categorical distributions, with a short way through enumerated values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.torch_distribution import WrappedDistribution
from ember.torch_private.jit import jit_tracing_state


class Categorical(torch.distributions.Categorical, WrappedDistribution):
    """Distribution over ``0, ..., n - 1``, parameterised by ``probs`` or ``logits``.

    ``enumerate_support(expand=False)`` marks its result; ``log_prob`` of the same instance then only
    rearranges its logits.

    >>> import torch
    >>> from ember.distributions import Categorical
    >>> d = Categorical(torch.tensor([0.25, 0.75]))
    >>> d.log_prob(d.enumerate_support(expand=False)).exp()
    tensor([0.2500, 0.7500])
    """

    arg_constraints: dict[str, Any] = {
        "probs": constraints.simplex,
        "logits": constraints.real_vector,
    }

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability of the category ``value``."""
        if getattr(value, "_pyro_categorical_support", None) == id(self):
            dim = -1 - value.dim()
            logits = self.logits
            if logits.dim() < -dim:
                logits = logits.reshape((1,) * (-dim - logits.dim()) + logits.shape)
            if self._is_enumerated_at(dim, value, logits):
                return logits.transpose(dim, -1).squeeze(-1)
        return super().log_prob(value)  # type: ignore[no-untyped-call, no-any-return]

    def _is_enumerated_at(self, dim: int, value: Tensor, logits: Tensor) -> bool:
        # The value is arange(n) along a dim left of the batch: then its log density is the logits, moved there.
        if jit_tracing_state() is not None:
            return True
        if value.size(0) != logits.size(-1) or value.numel() != value.size(0) or logits.size(dim) != 1:
            return False
        if self._validate_args:
            self._validate_sample(value)
        return True

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All categories along a new leftmost dim."""
        result: Any = super().enumerate_support(expand=expand)  # type: ignore[no-untyped-call]
        if not expand:
            result._pyro_categorical_support = id(self)
        return result  # type: ignore[no-any-return]


def _infer_one_hot_shapes(probs: Any, logits: Any) -> tuple[Any, Any]:
    shape = probs if logits is None else logits
    return shape[:-1], shape[-1:]


def _drawn(fn: torch.distributions.OneHotCategorical, sample_shape: Sequence[int]) -> Tensor:
    indices = fn._categorical.sample(Size(sample_shape))  # type: ignore[no-untyped-call]
    choices = torch.arange(fn.event_shape[0], device=indices.device)
    one_hot: Tensor = (indices.unsqueeze(-1) == choices).to(fn.probs)
    return one_hot


class OneHotCategorical(torch.distributions.OneHotCategorical, WrappedDistribution):
    """Categorical distribution over one-hot vectors.

    Args:
        probs: probabilities, ``(*batch, K)``; they are scaled to sum to one.
        logits: log probabilities up to a constant, ``(*batch, K)``. Give one of both.

    >>> import torch
    >>> from ember.distributions import OneHotCategorical
    >>> OneHotCategorical(torch.ones(2)).enumerate_support()
    tensor([[1., 0.],
            [0., 1.]])
    """

    @staticmethod
    def infer_shapes(  # type: ignore[override]
        probs: tuple[int, ...] | None = None, logits: tuple[int, ...] | None = None
    ) -> tuple[Any, Any]:
        """Return the shapes; the rightmost dim is the event."""
        return _infer_one_hot_shapes(probs, logits)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """The same draws as torch's, without its look at the values, which a captured program could not take."""
        return _drawn(self, sample_shape)


class OneHotCategoricalStraightThrough(
    torch.distributions.OneHotCategoricalStraightThrough, WrappedDistribution
):
    """One-hot categorical with straight-through gradients (Bengio et al., 2013).

    Args:
        probs: probabilities, ``(*batch, K)``; they are scaled to sum to one.
        logits: log probabilities up to a constant, ``(*batch, K)``. Give one of both.

    >>> import torch
    >>> from ember.distributions import OneHotCategoricalStraightThrough
    >>> OneHotCategoricalStraightThrough(torch.ones(2)).has_rsample
    True
    """

    @staticmethod
    def infer_shapes(  # type: ignore[override]
        probs: tuple[int, ...] | None = None, logits: tuple[int, ...] | None = None
    ) -> tuple[Any, Any]:
        """Return the shapes; the rightmost dim is the event."""
        return _infer_one_hot_shapes(probs, logits)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """As for :class:`OneHotCategorical`."""
        return _drawn(self, sample_shape)
