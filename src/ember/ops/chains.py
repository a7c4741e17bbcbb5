"""Statistics of chains of draws: autocorrelation, effective sample size and R-hat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fft import irfft, rfft

from ember.ops.spectral import next_fast_len


def autocorrelation(input: Tensor, dim: int = 0) -> Tensor:
    """The correlation of draws with those a lag later, for all lags; 1 where draws are constant.

    Args:
        input: draws along ``dim``.
        dim: see ``input``; there the result has the lags.
    """
    size = input.size(dim)
    centred = input.movedim(dim, -1)
    centred = centred - centred.mean(-1, keepdim=True)
    padded = 2 * next_fast_len(size)
    spectrum = rfft(centred, n=padded)
    power = spectrum.real.square() + spectrum.imag.square()
    counts = torch.arange(size, 0, -1, dtype=input.dtype, device=input.device)
    covariance = irfft(power, n=padded)[..., :size] / counts
    variance = covariance[..., :1]
    tiny = torch.finfo(variance.dtype).tiny
    correlation = torch.where(variance == 0, 1.0, covariance / variance.clamp(min=tiny))
    return correlation.movedim(-1, dim)


def autocovariance(input: Tensor, dim: int = 0) -> Tensor:
    """The covariance of draws with those a lag later, for all lags.

    Args:
        input: draws along ``dim``.
        dim: see ``input``; there the result has the lags.
    """
    return autocorrelation(input, dim) * input.var(dim, unbiased=False, keepdim=True)


def _samples_and_chains_first(input: Tensor, chain_dim: int, sample_dim: int, min_samples: int) -> Tensor:
    assert input.dim() >= 2, f"expected dims for chains and draws, got shape {tuple(input.shape)}"
    assert input.size(sample_dim) >= min_samples, (
        f"{min_samples} draws are needed, got {input.size(sample_dim)}"
    )
    chain_dim, sample_dim = chain_dim % input.dim(), sample_dim % input.dim()
    assert chain_dim != sample_dim, "chain_dim and sample_dim are the same"
    return input.movedim((sample_dim, chain_dim), (0, 1))


def _variances(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Within chains, and of the target as estimated from within and between chains; draws and chains come first."""
    size, num_chains = draws.shape[:2]
    within = draws.var(0).mean(0)
    estimate = (size - 1) / size * within
    if num_chains == 1:
        return estimate, estimate
    return within, estimate + draws.mean(0).var(0)


def gelman_rubin(input: Tensor, chain_dim: int = 0, sample_dim: int = 1) -> Tensor:
    """R-hat (Gelman and Rubin, 1992): near 1 if chains have mixed.

    Args:
        input: draws of at least two chains of at least two draws.
        chain_dim: where the chains are.
        sample_dim: where the draws are.
    """
    assert input.dim() >= 2 and input.size(chain_dim) >= 2, "two chains are needed"
    within, estimate = _variances(_samples_and_chains_first(input, chain_dim, sample_dim, 2))
    return (estimate / within).sqrt()


def split_gelman_rubin(input: Tensor, chain_dim: int = 0, sample_dim: int = 1) -> Tensor:
    """R-hat of half chains (Gelman et al., Bayesian Data Analysis, 2013), which sees a trend within a chain too.

    Args:
        input: draws of one or more chains of at least four draws.
        chain_dim: where the chains are.
        sample_dim: where the draws are.
    """
    draws = _samples_and_chains_first(input, chain_dim, sample_dim, 4)
    half = draws.size(0) // 2
    return gelman_rubin(torch.cat([draws[:half], draws[-half:]], dim=1), chain_dim=1, sample_dim=0)


def cummin(input: Tensor) -> Tensor:
    """The smallest entry so far, along dim 0."""
    return input.cummin(0).values


def effective_sample_size(input: Tensor, chain_dim: int = 0, sample_dim: int = 1) -> Tensor:
    """How many independent draws would tell as much about the mean (Geyer, 1992; Stan Reference Manual 2.18).

    Args:
        input: draws of one or more chains.
        chain_dim: where the chains are.
        sample_dim: where the draws are.
    """
    draws = _samples_and_chains_first(input, chain_dim, sample_dim, 2)
    size, num_chains = draws.shape[:2]
    within, estimate = _variances(draws)
    rho = (estimate - within + autocovariance(draws, 0).mean(1)) / estimate
    rho = torch.cat([torch.ones_like(rho[:1]), rho[1:]])
    pairs = rho[: size - size % 2 : 2] + rho[1::2][: size // 2]
    tau = 2 * pairs[0] - 1
    if len(pairs) > 1:
        # Sums of neighbours are positive and decrease, but for noise.
        tau = tau + 2 * cummin(pairs[1:].clamp(min=0)).sum(0)
    return num_chains * size / tau
