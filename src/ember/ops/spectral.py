"""Fourier's relatives along one dim: cosine transform, Haar wavelets, fast convolution."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

_ROOT_HALF = math.sqrt(0.5)


def as_complex(x: Tensor) -> Tensor:
    """Pairs along the last dim as complex numbers, whatever the strides of ``x``.

    >>> as_complex(torch.tensor([[1.0, 2.0]]))
    tensor([1.+2.j])
    """
    even = all(stride % 2 == 0 for stride in x.stride()[:-1]) and x.stride(-1) == 1
    return torch.view_as_complex(x if even else x.clone(memory_format=torch.contiguous_format))


def _half_angles(x: Tensor) -> tuple[Tensor, Tensor]:
    n = x.size(-1)
    angle = torch.arange(n, dtype=x.dtype, device=x.device) * (math.pi / (2 * n))
    return angle.cos(), angle.sin()


def _orthonormal(x: Tensor) -> Tensor:
    n = x.size(-1)
    first = torch.arange(n, device=x.device) == 0
    # Filled, rather than made from a list: a captured program makes no tensors of Python numbers.
    scale = torch.full((n,), math.sqrt(2 / n), dtype=x.dtype, device=x.device)
    return scale.masked_fill(first, math.sqrt(1 / n))


# Up to here a product with a matrix takes no longer than a Fourier transform. It makes no complex numbers, for which the
# native backend has no C.
_SHORT = 128


def _is_short(x: Tensor) -> bool:
    return 0 < x.size(-1) <= _SHORT and x.is_floating_point()


def _cosines(x: Tensor) -> Tensor:
    """The matrix of the transform, a row for each frequency."""
    n = x.size(-1)
    j = torch.arange(n, device=x.device)
    # Taken modulo a full turn as integers, which loses nothing.
    steps = (j[:, None] * (2 * j + 1)).remainder(4 * n)
    return (steps.to(x.dtype) * (math.pi / (2 * n))).cos() * _orthonormal(x)[:, None]


def dct(x: Tensor, dim: int = -1) -> Tensor:
    """The orthonormal discrete cosine transform of type II along ``dim``.

    ``y_k = c_k sum_j x_j cos(pi k (2 j + 1) / (2 n))`` with ``c_0 = sqrt(1 / n)``, other ``c_k = sqrt(2 / n)``. For long ``x``
    it is one real Fourier transform of the same length (Makhoul, 1980, "A fast cosine transform in one and two dimensions").

    >>> dct(torch.ones(4)).abs() < 1e-6
    tensor([False,  True,  True,  True])
    """
    if dim not in (-1, x.dim() - 1):
        return dct(x.transpose(dim, -1)).transpose(dim, -1)
    n = x.size(-1)
    if _is_short(x):
        return x @ _cosines(x).T
    folded = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1)
    half = torch.view_as_real(torch.fft.rfft(folded))
    real, imag = half[..., 0], half[..., 1]
    # The other half of the spectrum of a real signal mirrors the first.
    rest = n - real.size(-1)
    real = torch.cat([real, real[..., 1 : rest + 1].flip(-1)], -1)
    imag = torch.cat([imag, -imag[..., 1 : rest + 1].flip(-1)], -1)
    cos, sin = _half_angles(x)
    return (cos * real + sin * imag) * _orthonormal(x)


def idct(x: Tensor, dim: int = -1) -> Tensor:
    """The inverse of :func:`dct`.

    >>> idct(dct(torch.tensor([1.0, 2.0, 4.0]))).round()
    tensor([1., 2., 4.])
    """
    if dim not in (-1, x.dim() - 1):
        return idct(x.transpose(dim, -1)).transpose(dim, -1)
    n = x.size(-1)
    if _is_short(x):
        return x @ _cosines(x)
    scaled = x / _orthonormal(x)
    mirrored = torch.nn.functional.pad(scaled[..., 1:].flip(-1), (1, 0))
    cos, sin = _half_angles(x)
    half = n // 2 + 1
    real = (cos * scaled + sin * mirrored)[..., :half]
    imag = (sin * scaled - cos * mirrored)[..., :half]
    folded: Tensor = torch.fft.irfft(torch.complex(real, imag), n=n)
    odd = n // 2
    front, back = folded[..., : n - odd], folded[..., n - odd :].flip(-1)
    result = torch.stack([front[..., :odd], back], -1).flatten(-2)
    return torch.cat([result, front[..., odd:]], -1)


def haar_transform(x: Tensor) -> Tensor:
    """The orthonormal discrete Haar transform along the last dim, of any size.

    Pairs give a scaled sum and difference, sums are transformed again; an entry without partner stays as it is.

    >>> haar_transform(torch.tensor([1.0, 1.0, 1.0, 1.0]))
    tensor([2.0000, 0.0000, 0.0000, 0.0000])
    """
    details = []
    n = x.size(-1) // 2
    while n:
        even, odd, single = x[..., 0 : 2 * n : 2], x[..., 1 : 2 * n : 2], x[..., 2 * n :]
        details.append(torch.cat([_ROOT_HALF * (even - odd), single], -1))
        x = _ROOT_HALF * (even + odd)
        n = n // 2
    return torch.cat([x, *reversed(details)], -1)


def inverse_haar_transform(x: Tensor) -> Tensor:
    """The inverse of :func:`haar_transform`.

    >>> inverse_haar_transform(torch.tensor([2.0, 0.0, 0.0, 0.0]))
    tensor([1.0000, 1.0000, 1.0000, 1.0000])
    """
    sizes = [x.size(-1)]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    low = x[..., : sizes[-1]]
    for size in reversed(sizes[:-1]):
        n = size // 2
        high, single = x[..., n : 2 * n], x[..., 2 * n : size]
        pairs = torch.stack([_ROOT_HALF * (low + high), _ROOT_HALF * (low - high)], -1)
        low = torch.cat([pairs.flatten(-2), single], -1)
    return low


@functools.cache
def next_fast_len(size: int) -> int:
    """The smallest number, at least ``size``, without prime factors but 2, 3 and 5: Fourier transforms of it are fast.

    >>> next_fast_len(7), next_fast_len(121)
    (8, 125)
    """
    assert isinstance(size, int) and size > 0, f"expected a positive int, got {size!r}"
    rest = size
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return size if rest == 1 else next_fast_len(size + 1)


def convolve(signal: Tensor, kernel: Tensor, mode: str = "full") -> Tensor:
    """The convolution of two signals along their last dims, by Fourier transforms; other dims broadcast.

    Args:
        mode: with sizes ``m`` and ``n``, the result's size is ``m + n - 1`` for ``"full"``, ``max(m, n) - min(m, n) + 1``
            for ``"valid"``, ``max(m, n)`` for ``"same"``.

    Raises:
        ValueError: for another mode.

    >>> convolve(torch.ones(3), torch.ones(2)).round()
    tensor([1., 2., 2., 1.])
    """
    m, n = signal.size(-1), kernel.size(-1)
    full = m + n - 1
    sizes = {"full": full, "valid": max(m, n) - min(m, n) + 1, "same": max(m, n)}
    if mode not in sizes:
        raise ValueError(f"Unknown mode: {mode}; there are: {', '.join(sizes)}")
    padded = next_fast_len(full)
    product = torch.fft.rfft(signal, n=padded) * torch.fft.rfft(kernel, n=padded)
    result: Tensor = torch.fft.irfft(product, n=padded)
    return result.narrow(-1, (full - sizes[mode]) // 2, sizes[mode])
