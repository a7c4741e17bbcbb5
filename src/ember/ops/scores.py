"""How well draws predict: WAIC, CRPS and the energy score."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _column(log_weights: Tensor, input: Tensor, dim: int) -> Tensor:
    return log_weights.reshape([-1] + (input.dim() - dim % input.dim() - 1) * [1])


def weighted_mean(input: Tensor, log_weights: Tensor, dim: int = 0, keepdim: bool = False) -> Tensor:
    """The mean of draws with log weights, along a dim."""
    weights = torch.softmax(log_weights, 0)
    return (input * _column(weights, input, dim)).sum(dim=dim, keepdim=keepdim)


def weighted_variance(
    input: Tensor, log_weights: Tensor, dim: int = 0, keepdim: bool = False, unbiased: bool = True
) -> Tensor:
    """The variance of draws with log weights, along a dim."""
    deviation = input - weighted_mean(input, log_weights, dim, keepdim=True)
    size = log_weights.size(0)
    correction = size / (size - 1.0) if unbiased else 1.0
    return weighted_mean(deviation.square(), log_weights, dim, keepdim) * correction


def waic(
    input: Tensor, log_weights: Tensor | None = None, pointwise: bool = False, dim: int = 0
) -> tuple[Tensor, Tensor]:
    """The widely applicable information criterion and its effective number of parameters (Vehtari and Gelman, 2014).

    Args:
        input: log likelihoods of each observation under draws along ``dim``.
        log_weights: log weights of the draws.
        pointwise: leave out the sum over observations.
        dim: see ``input``.
    """
    if log_weights is None:
        log_weights = input.new_zeros(input.size(dim))
    weighed = input + _column(log_weights, input, dim)
    log_density = torch.logsumexp(weighed, dim=dim) - torch.logsumexp(log_weights, dim=0)
    num_params = weighted_variance(input, log_weights, dim)
    criterion = -2 * (log_density - num_params)
    return (criterion, num_params) if pointwise else (criterion.sum(), num_params.sum())


def crps_empirical(pred: Tensor, truth: Tensor) -> Tensor:
    """The continuous ranked probability score, as a loss: ``E|pred - truth| - E|pred - pred'| / 2`` (Gneiting and Raftery, 2007).

    Args:
        pred: draws, of shape ``(num_samples,) + truth.shape``.
        truth: what was observed.

    Returns:
        A tensor of ``truth``'s shape; the time grows as ``n log(n)`` with the number of draws.

    Raises:
        ValueError: if the shapes do not fit.

    >>> crps_empirical(torch.tensor([1.0, 3.0]), torch.tensor(2.0))
    tensor(0.5000)
    """
    if pred.shape[1:] != (1,) * (pred.dim() - truth.dim() - 1) + truth.shape:
        raise ValueError(
            "Expected pred to have one extra sample dim on left. "
            f"Actual shapes: {pred.shape} versus {truth.shape}"
        )
    size = pred.size(0)
    error = (pred - truth).abs().mean(0)
    if size == 1:
        return error
    gaps = pred.sort(dim=0).values.diff(dim=0)
    # A gap with i draws below and size - i above lies between i * (size - i) pairs.
    below = torch.arange(1, size, device=pred.device, dtype=pred.dtype)
    pairs = (below * (size - below)).reshape((-1,) + (1,) * (pred.dim() - 1))
    return error - (gaps * pairs).sum(0) / size**2


def energy_score_empirical(
    pred: Tensor,
    truth: Tensor,
    pred_batch_size: int | None = None,
    cdist: Callable[[Tensor, Tensor], Tensor] = torch.cdist,
) -> Tensor:
    """The energy score of vectors, as a loss: ``E|pred - truth| - E|pred - pred'| / 2`` (Gneiting and Raftery, 2007).

    Args:
        pred: draws, of shape ``(..., num_samples, event)``.
        truth: what was observed: ``(..., event)``, or ``(..., n, event)``.
        pred_batch_size: how many draws are compared with as many others at a time; all if None.
        cdist: computes distances between all pairs of two sets of vectors.

    Returns:
        Shape ``(...)``, or ``(..., n)``.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if pred.dim() not in (truth.dim(), truth.dim() + 1):
        raise ValueError(
            "Expected pred to have at most one extra dim versus truth."
            f"Actual shapes: {pred.shape} versus {truth.shape}"
        )
    is_single = pred.dim() == truth.dim() + 1
    if is_single:
        truth = truth.unsqueeze(-2)
    size = pred.size(-2)
    batches = torch.split(pred, size if pred_batch_size is None else pred_batch_size, dim=-2)
    error = sum(cdist(batch, truth).sum(-2) for batch in batches) / size
    spread = sum(cdist(one, other).sum((-1, -2)) for one in batches for other in batches) / size**2
    score: Tensor = error - 0.5 * torch.as_tensor(spread).unsqueeze(-1)
    return score.squeeze(-1) if is_single else score
