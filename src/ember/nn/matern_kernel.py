"""Gaussian processes over the time as linear state space models."""

from __future__ import annotations

import torch
from torch import Tensor

from ember.distributions import constraints
from ember.nn.methods import pyro_method
from ember.nn.module import PyroModule, PyroParam


class MaternKernel(PyroModule):
    """Matern kernels of half-integer smoothness: the state is the process and its derivatives.

    Args:
        nu: the smoothness, 0.5, 1.5 or 2.5; the state has ``nu + 0.5`` entries.
        num_gps: how many processes there are.
        length_scale_init: of each, by default one.
        kernel_scale_init: the standard deviation of each, by default one.

    Matrices act on rows: ``z[t] = z[t-1] @ transition_matrix + noise``.

    Raises:
        NotImplementedError: for another smoothness.
        AssertionError: if an initial value is not ``(num_gps,)``.

    References:
        J. Hartikainen, S. Sarkka (2010), "Kalman Filtering and Smoothing Solutions to Temporal Gaussian Process Regression
        Models".

    >>> kernel = MaternKernel(nu=1.5, num_gps=2)
    >>> kernel.transition_matrix(0.5).shape
    torch.Size([2, 2, 2])
    """

    def __init__(
        self,
        nu: float = 1.5,
        num_gps: int = 1,
        length_scale_init: Tensor | None = None,
        kernel_scale_init: Tensor | None = None,
    ) -> None:
        if nu not in (0.5, 1.5, 2.5):
            raise NotImplementedError(f"The only supported values of nu are 0.5, 1.5 and 2.5, got {nu}")
        self.nu = nu
        self.state_dim = int(nu + 0.5)
        self.num_gps = num_gps
        super().__init__()
        for name, init in (("length_scale", length_scale_init), ("kernel_scale", kernel_scale_init)):
            value = torch.ones(num_gps) if init is None else init
            assert value.shape == (num_gps,), f"{name}_init has shape ({num_gps},), got {tuple(value.shape)}"
            setattr(self, name, PyroParam(value, constraint=constraints.positive))

    def _rate(self) -> Tensor:
        """How fast the state forgets."""
        length: Tensor = self.length_scale
        rate: Tensor = (2 * self.nu) ** 0.5 / length
        return rate

    @pyro_method
    def transition_matrix(self, dt: Tensor | float) -> Tensor:
        """How the state moves in a time ``dt``.

        Shapes: ``(num_gps, state_dim, state_dim)``, after the shape of ``dt``; a ``dt`` of shape ``(..., 1, 1)`` broadcasts with
        the matrices instead.
        """
        rate = self._rate()
        t = torch.as_tensor(dt, dtype=rate.dtype, device=rate.device)
        t = t[..., 0, 0] if t.shape[-2:] == (1, 1) else t.unsqueeze(-1)
        x = rate * t
        one = torch.ones_like(x)
        if self.state_dim == 1:
            rows = [[one]]
        elif self.state_dim == 2:
            rows = [[1 + x, -(rate**2) * t], [t * one, 1 - x]]
        else:
            rows = [
                [0.5 * (x**2 + 2 * x + 2), -0.5 * rate**3 * t**2, 0.5 * rate**3 * t * (x - 2)],
                [t * (x + 1), 1 + x - x**2, rate**2 * t * (x - 3)],
                [0.5 * t**2 * one, 0.5 * t * (2 - x), 0.5 * (x**2 - 4 * x + 2)],
            ]
        matrix = torch.stack([torch.stack(row, -1) for row in rows], -2)
        return matrix * torch.exp(-x)[..., None, None]

    @pyro_method
    def stationary_covariance(self) -> Tensor:
        """Of the state at any time, ``(num_gps, state_dim, state_dim)``."""
        rate, scale = self._rate(), self.kernel_scale
        variance: Tensor = scale**2
        zero = torch.zeros_like(variance)
        if self.state_dim == 1:
            rows = [[variance]]
        elif self.state_dim == 2:
            rows = [[variance, zero], [zero, rate**2 * variance]]
        else:
            middle = rate**2 * variance / 3
            rows = [[variance, zero, -middle], [zero, middle, zero], [-middle, zero, rate**4 * variance]]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    @pyro_method
    def process_covariance(self, A: Tensor) -> Tensor:
        """Of the noise of a transition ``A``, which keeps the covariance of the state as it is."""
        stationary = self.stationary_covariance()
        return stationary - A.mT @ stationary @ A

    @pyro_method
    def transition_matrix_and_covariance(self, dt: Tensor | float) -> tuple[Tensor, Tensor]:
        """Both of a time ``dt``."""
        A = self.transition_matrix(dt)
        return A, self.process_covariance(A)
