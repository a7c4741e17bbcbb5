"""Batch normalisation as a transform."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ember.distributions import constraints
from ember.distributions.torch_transform import TransformModule


class BatchNorm(TransformModule):
    """Between layers of a flow: its inverse, the direction of training on data, standardises a batch.

    In training, ``inv`` uses the mean and the variance of the batch, and moves the running ones towards them;
    in ``eval()`` mode it uses the running ones. The direct map uses the running ones always: it is the
    inverse of ``inv`` in ``eval()``.

    Args:
        input_dim: the number of features.
        momentum: how fast the running mean and variance follow those of batches.
        epsilon: is added to variances.

    Shapes:
        x, y: ``(..., input_dim)``.

    References:
        S. Ioffe, C. Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by Reducing
        Internal Covariate Shift".
        L. Dinh, J. Sohl-Dickstein, S. Bengio (2017), "Density estimation using Real NVP".

    >>> import torch
    >>> from ember.distributions.transforms import BatchNorm
    >>> layer = BatchNorm(2)
    >>> x = layer.inv(torch.randn(100, 2) * 3 + 1)
    >>> (x.mean(0).abs() < 1e-5).tolist()
    [True, True]
    """

    domain = constraints.real
    codomain = constraints.real
    bijective = True

    moving_mean: Tensor
    moving_variance: Tensor

    def __init__(self, input_dim: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.input_dim, self.momentum, self.epsilon = input_dim, momentum, epsilon
        zeros, ones = torch.zeros(input_dim), torch.ones(input_dim)
        self.gamma, self.beta = nn.Parameter(ones.clone()), nn.Parameter(zeros.clone())
        for name, start in {"moving_mean": zeros, "moving_variance": ones}.items():
            self.register_buffer(name, start)

    @property
    def constrained_gamma(self) -> Tensor:
        """The scale, kept positive."""
        return torch.relu(self.gamma) + 1e-6

    def _call(self, x: Tensor) -> Tensor:
        scale = (self.moving_variance + self.epsilon).sqrt()
        return (x - self.beta) / self.constrained_gamma * scale + self.moving_mean

    def _inverse(self, y: Tensor) -> Tensor:
        if self.training:
            dims = _batch_dims(y)
            mean, variance = y.mean(dims), y.var(dims)
            with torch.no_grad():
                self.moving_mean.lerp_(mean.expand_as(self.moving_mean), self.momentum)
                self.moving_variance.lerp_(variance.expand_as(self.moving_variance), self.momentum)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        return (y - mean) * self.constrained_gamma / (variance + self.epsilon).sqrt() + self.beta

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """That of the direct map, feature by feature, with the variance that ``inv`` would use for ``y``."""
        variance = y.var(_batch_dims(y), keepdim=True) if self.training else self.moving_variance
        log_det = 0.5 * (variance + self.epsilon).log() - self.constrained_gamma.log()
        return log_det + x.new_zeros(x.shape)


def _batch_dims(y: Tensor) -> tuple[int, ...]:
    return tuple(range(max(y.dim() - 1, 1)))


def batchnorm(input_dim: int, **kwargs: Any) -> BatchNorm:
    """Make a :class:`BatchNorm` of ``input_dim`` features; further arguments are its own.

    >>> import torch
    >>> from ember.distributions.transforms import batchnorm
    >>> batchnorm(input_dim=4)(torch.zeros(2, 4)).shape
    torch.Size([2, 4])
    """
    return BatchNorm(input_dim, **kwargs)
