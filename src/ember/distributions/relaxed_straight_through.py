"""Discrete draws whose gradients are those of a continuous relaxation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions.utils import clamp_probs

from ember.distributions.transformed import RelaxedBernoulli, RelaxedOneHotCategorical


class _Quantize:
    """Rounds a relaxed value; gradients pass as if it did not.

    ``apply`` is a plain function of tensors, not a ``torch.autograd.Function``, so that steps with it are
    captured.
    """

    @staticmethod
    def hard(soft_value: Tensor) -> Tensor:
        """The rounded value."""
        raise NotImplementedError

    @classmethod
    def apply(cls, soft_value: Tensor) -> Tensor:
        """The rounded value, with the gradient of the relaxed one."""
        # Adds exactly 0, with the gradient of the relaxed value.
        value: Any = cls.hard(soft_value).detach() + (soft_value - soft_value.detach())
        # log_prob scores the relaxed value: the hard one lies on the border, where its density is not finite.
        value._unquantize = soft_value
        return value  # type: ignore[no-any-return]


class QuantizeCategorical(_Quantize):
    """Rounds a point of the simplex, along the last dim, to its nearest corner.

    >>> QuantizeCategorical.apply(torch.tensor([0.2, 0.7, 0.1]))
    tensor([0., 1., 0.])
    """

    @staticmethod
    def hard(soft_value: Tensor) -> Tensor:
        """One at the largest entry, and zero at the others."""
        choices = torch.arange(soft_value.size(-1), device=soft_value.device)
        return (soft_value.argmax(-1, keepdim=True) == choices).to(soft_value.dtype)


class QuantizeBernoulli(_Quantize):
    """Rounds numbers in (0, 1) to 0 or 1.

    >>> QuantizeBernoulli.apply(torch.tensor([0.2, 0.7]))
    tensor([0., 1.])
    """

    @staticmethod
    def hard(soft_value: Tensor) -> Tensor:
        """The nearest of 0 and 1."""
        return soft_value.round()


class RelaxedOneHotCategoricalStraightThrough(RelaxedOneHotCategorical):
    """One-hot draws with the gradients, and the log density, of the relaxed draws that they round.

    Args:
        temperature: positive; near 0, gradients are nearly unbiased and noisy.
        probs: probabilities, ``(*batch, K)``; they are scaled to sum to one.
        logits: log probabilities up to a constant, ``(*batch, K)``. Give one of both.

    References:
        C. J. Maddison, A. Mnih, Y. W. Teh (2017), "The concrete distribution"; E. Jang, S. Gu, B. Poole
        (2017), "Categorical reparameterization with Gumbel-softmax".

    >>> import torch
    >>> from ember.distributions import RelaxedOneHotCategoricalStraightThrough
    >>> d = RelaxedOneHotCategoricalStraightThrough(torch.tensor(0.5), probs=torch.tensor([0.3, 0.7]))
    >>> d.rsample().sum()
    tensor(1.)
    """

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a relaxed value and round it to a corner of the simplex."""
        return QuantizeCategorical.apply(clamp_probs(super().rsample(Size(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the density of the relaxed value behind a draw, or of ``value`` itself if it is no draw."""
        return super().log_prob(getattr(value, "_unquantize", value))  # type: ignore[no-untyped-call, no-any-return]


class RelaxedBernoulliStraightThrough(RelaxedBernoulli):
    """Draws of 0 and 1 with the gradients, and the log density, of the relaxed draws that they round.

    Args:
        temperature: positive; near 0, gradients are nearly unbiased and noisy.
        probs: the probability of a success, between 0 and 1.
        logits: its log odds. Give one of both.

    References:
        See :class:`RelaxedOneHotCategoricalStraightThrough`.

    >>> import torch
    >>> from ember.distributions import RelaxedBernoulliStraightThrough
    >>> d = RelaxedBernoulliStraightThrough(torch.tensor(0.5), probs=torch.tensor(0.9))
    >>> d.rsample((8,)).unique().tolist() in ([0.0, 1.0], [1.0], [0.0])
    True
    """

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a relaxed value and round it."""
        return QuantizeBernoulli.apply(clamp_probs(super().rsample(Size(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the density of the relaxed value behind a draw, or of ``value`` itself if it is no draw."""
        return super().log_prob(getattr(value, "_unquantize", value))  # type: ignore[no-untyped-call, no-any-return]
