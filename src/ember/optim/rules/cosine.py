"""The orthonormal cosine transform and its inverse, and time series beside their frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dct(x: Tensor) -> Tensor:
    """The DCT-II along the last dim, through one FFT (Makhoul, 1980).

    >>> dct(torch.ones(4)).round()
    tensor([2., 0., 0., 0.])
    """
    n = x.shape[-1]
    spectrum = torch.fft.fft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1))
    y = (spectrum * _twiddle(n, x)).real * math.sqrt(2 / n)
    return torch.cat([y[..., :1] * math.sqrt(0.5), y[..., 1:]], -1)


def idct(y: Tensor) -> Tensor:
    """The inverse of :func:`dct`: rebuilds the complex spectrum from its real and mirrored parts."""
    n = y.shape[-1]
    y = torch.cat([y[..., :1] * math.sqrt(2), y[..., 1:]], -1) * math.sqrt(n / 2)
    mirrored = torch.cat([torch.zeros_like(y[..., :1]), y[..., 1:].flip(-1)], -1)
    v = torch.fft.ifft(torch.complex(y, -mirrored) * _twiddle(n, y).conj()).real
    half = (n + 1) // 2
    even, odd = v[..., :half], v[..., half:].flip(-1)
    odd = torch.nn.functional.pad(odd, (0, 2 * half - n))
    return torch.stack([even, odd], -1).flatten(-2)[..., :n]


def fast_length(size: int) -> int:
    """The least number from ``size`` up that has no prime factor above 5.

    >>> fast_length(31)
    32
    """

    def is_fast(n: int) -> bool:
        for prime in (2, 3, 5):
            while n % prime == 0:
                n //= prime
        return n == 1

    return next(n for n in range(size, 2 * size + 1) if is_fast(n))


def with_frequencies(x: Tensor, dim: int) -> Tensor:
    """A time series along ``dim``, followed by its frequencies."""
    x = x.transpose(dim, -1)
    padded = torch.nn.functional.pad(x, (0, fast_length(x.shape[-1]) - x.shape[-1]))
    return torch.cat([x, dct(padded)], -1).transpose(dim, -1)


def from_frequencies(x: Tensor, dim: int, duration: int) -> Tensor:
    """The time series that is the sum of both parts."""
    x = x.transpose(dim, -1)
    return (x[..., :duration] + idct(x[..., duration:])[..., :duration]).transpose(dim, -1)


def _twiddle(n: int, like: Tensor) -> Tensor:
    angle = torch.arange(n, dtype=like.dtype, device=like.device) * (-math.pi / (2 * n))
    return torch.polar(torch.ones_like(angle), angle)
