"""Quantiles, intervals and resampling of draws along a dim."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

Probs = float | Sequence[float] | Tensor


def _as_probs(probs: Probs, like: Tensor) -> Tensor:
    if isinstance(probs, Tensor):
        return probs
    dtype = like.dtype if like.dtype.is_floating_point else torch.get_default_dtype()
    values = probs if isinstance(probs, numbers.Number) else list(probs)  # type: ignore[arg-type]
    return torch.tensor(values, dtype=dtype, device=like.device)


def resample(input: Tensor, num_samples: int, dim: int = 0, replacement: bool = False) -> Tensor:
    """Draws, picked at random with equal chances.

    Args:
        input: draws along ``dim``.
        num_samples: how many to pick.
        dim: see ``input``.
        replacement: whether one may be picked several times.
    """
    dtype = input.dtype if input.dtype.is_floating_point else torch.get_default_dtype()
    weights = torch.ones(input.size(dim), dtype=dtype, device=input.device)
    return input.index_select(dim, torch.multinomial(weights, num_samples, replacement))


def quantile(input: Tensor, probs: Probs, dim: int = 0) -> Tensor:
    """Quantiles, with linear interpolation between neighbouring draws.

    Args:
        input: draws along ``dim``.
        probs: one probability, or several.
        dim: see ``input``; there the result has one entry for each probability, or no dim for a single number.

    >>> quantile(torch.tensor([3.0, 1.0, 2.0]), [0.5, 0.75])
    tensor([2.0000, 2.5000])
    """
    probs = _as_probs(probs, input)
    ordered = input.sort(dim)[0]
    last = input.size(dim) - 1
    position = (probs * last).reshape(-1)
    below = position.long()
    lower = ordered.index_select(dim, below)
    upper = ordered.index_select(dim, (below + 1).clamp(max=last))
    shape = [1] * input.dim()
    shape[dim] = position.numel()
    fraction = (position - below.to(position.dtype)).reshape(shape)
    # An infinite neighbour with weight zero does not count.
    value = torch.where(fraction == 0, lower, (1 - fraction) * lower + fraction * upper)
    return value if probs.shape else value.squeeze(dim)


def weighed_quantile(input: Tensor, probs: Probs, log_weights: Tensor, dim: int = 0) -> Tensor:
    """Quantiles of weighed draws: linear interpolation over the sums of weights, which run from 0 to 1.

    Args:
        input: draws along ``dim``.
        probs: probabilities.
        log_weights: one log weight for each draw; they need not be normalised.
        dim: see ``input``; there the result has one entry for each probability.

    >>> draws, weights = torch.tensor([10.0, 50.0, 40.0]), torch.tensor([0.4, 0.5, 0.1])
    >>> weighed_quantile(draws, [0.2, 0.8], weights.log())
    tensor([40.4000, 47.6000])
    """
    levels = _as_probs(probs, input).reshape(-1)
    ordered, order = input.movedim(dim, -1).sort(-1)
    if ordered.size(-1) == 1:
        return ordered.expand(ordered.shape[:-1] + levels.shape).movedim(-1, dim)
    weights = (log_weights - torch.logsumexp(log_weights, 0)).exp()
    total = weights[order].cumsum(-1)
    total = total - total[..., :1]
    total = total / total[..., -1:]
    wanted = levels.to(total.dtype).expand(total.shape[:-1] + levels.shape).contiguous()
    above = torch.searchsorted(total.contiguous(), wanted, right=True).clamp(1, ordered.size(-1) - 1)
    below = above - 1
    start, end = total.gather(-1, below), total.gather(-1, above)
    share = (end - wanted) / (end - start)
    return (share * ordered.gather(-1, below) + (1 - share) * ordered.gather(-1, above)).movedim(-1, dim)


def pi(input: Tensor, prob: float, dim: int = 0) -> Tensor:
    """The central interval of a probability: both tails are equally probable.

    Args:
        input: draws along ``dim``.
        prob: the probability of the interval.
        dim: see ``input``; there the result has the two ends.
    """
    return quantile(input, [(1 - prob) / 2, (1 + prob) / 2], dim)


def hpdi(input: Tensor, prob: float, dim: int = 0) -> Tensor:
    """The narrowest interval of a probability (highest posterior density).

    Args:
        input: draws along ``dim``.
        prob: the probability of the interval.
        dim: see ``input``; there the result has the two ends.

    >>> hpdi(torch.tensor([0.0, 5.0, 6.0, 7.0]), 0.5)
    tensor([5., 7.])
    """
    ordered = input.sort(dim)[0]
    size = input.size(dim)
    span = int(prob * size)
    width = ordered.narrow(dim, span, size - span) - ordered.narrow(dim, 0, size - span)
    start = width.argmin(dim)
    return ordered.gather(dim, torch.stack([start, start + span], dim))
