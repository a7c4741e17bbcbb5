"""Gaussian processes of Matern kernels, each for itself or coupled.

J. Hartikainen and S. Sarkka (2010), *Kalman filtering and smoothing solutions to temporal Gaussian process
regression models*.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

import ember.distributions as dist
from ember.contrib.timeseries.base import (
    JointModel,
    Moves,
    TimeSeriesModel,
    block_diagonal,
    check_initial,
    moved,
    positive,
)
from ember.nn import PyroParam, pyro_method
from ember.nn.matern_kernel import MaternKernel

_OBS_NOISE = 0.2


class IndependentMaternGP(TimeSeriesModel):
    """A process for each column.

    Args:
        nu: the smoothness, 0.5, 1.5 or 2.5.
        dt: the time between data.
        obs_dim: how many columns.
        length_scale_init: (obs_dim,); ones if None.
        kernel_scale_init: (obs_dim,); ones if None.
        obs_noise_scale_init: (obs_dim,); 0.2 if None.

    Raises:
        NotImplementedError: for another smoothness.
        AssertionError: for other shapes.

    >>> model = IndependentMaternGP(obs_dim=2)
    >>> model.log_prob(torch.zeros(5, 2)).shape
    torch.Size([2])
    """

    obs_noise_scale: Tensor

    def __init__(
        self,
        nu: float = 1.5,
        dt: float = 1.0,
        obs_dim: int = 1,
        length_scale_init: Tensor | None = None,
        kernel_scale_init: Tensor | None = None,
        obs_noise_scale_init: Tensor | None = None,
    ) -> None:
        self.nu = nu
        self.dt = dt
        self.obs_dim = obs_dim
        noise = check_initial("obs_noise_scale_init", obs_noise_scale_init, (obs_dim,), _OBS_NOISE)
        super().__init__()
        self.kernel = MaternKernel(nu, obs_dim, length_scale_init, kernel_scale_init)
        self.obs_noise_scale = positive(noise)

    @pyro_method
    def get_dist(self, duration: int | None = None) -> Any:
        """The distributions of the columns, as a batch.

        Args:
            duration: their length, to draw from them.
        """
        start = self.kernel.stationary_covariance()
        matrix, noise_cov = self.kernel.transition_matrix_and_covariance(self.dt)
        zero = torch.zeros_like(start[..., 0])
        seen = torch.zeros_like(zero[0]).unsqueeze(-1)
        seen = torch.cat([torch.ones_like(seen[:1]), seen[1:]])
        scale = self.obs_noise_scale
        noise = dist.Normal(torch.zeros_like(scale)[:, None, None], scale[:, None, None]).to_event(1)
        return dist.GaussianHMM(
            dist.MultivariateNormal(zero, start),
            matrix.unsqueeze(-3),
            dist.MultivariateNormal(zero.unsqueeze(-2), noise_cov.unsqueeze(-3)),
            seen,
            noise,
            duration=duration,
        )

    @pyro_method
    def log_prob(self, targets: Tensor) -> Tensor:
        """The log density of each column of a series, (obs_dim,)."""
        self._check(targets)
        out: Tensor = self.get_dist().log_prob(targets.t().unsqueeze(-1))
        return out

    @pyro_method
    def forecast(self, targets: Tensor, dts: Tensor) -> Any:
        """Normal distributions, (S, obs_dim), of the columns at S times after the end of a series.

        Args:
            targets: of shape (T, obs_dim).
            dts: of shape (S,).
        """
        self._check(targets)
        state = self.get_dist().filter(targets.t().unsqueeze(-1))
        by = Moves(*self.kernel.transition_matrix_and_covariance(dts))
        mean, cov = moved(state.loc, state.covariance_matrix, by)
        variance = cov[..., 0, 0] + self.obs_noise_scale.square()
        return dist.Normal(mean[..., 0], variance.sqrt())


class LinearlyCoupledMaternGP(JointModel):
    """Columns that are linear mixtures of shared processes.

    Args:
        nu: the smoothness, 0.5, 1.5 or 2.5.
        dt: the time between data.
        obs_dim: how many columns.
        num_gps: how many processes.
        length_scale_init: (num_gps,); ones if None.
        kernel_scale_init: (num_gps,); ones if None.
        obs_noise_scale_init: (obs_dim,); 0.2 if None.

    Raises:
        NotImplementedError: for another smoothness.
        AssertionError: for other shapes.
    """

    A: Tensor

    def __init__(
        self,
        nu: float = 1.5,
        dt: float = 1.0,
        obs_dim: int = 2,
        num_gps: int = 1,
        length_scale_init: Tensor | None = None,
        kernel_scale_init: Tensor | None = None,
        obs_noise_scale_init: Tensor | None = None,
    ) -> None:
        self.nu = nu
        self.dt = dt
        self.obs_dim = obs_dim
        self.num_gps = num_gps
        noise = check_initial("obs_noise_scale_init", obs_noise_scale_init, (obs_dim,), _OBS_NOISE)
        super().__init__()
        self.kernel = MaternKernel(nu, num_gps, length_scale_init, kernel_scale_init)
        self.obs_noise_scale = positive(noise)
        self.A = nn.Parameter(0.3 * torch.randn(num_gps, obs_dim))

    def _start(self) -> Tensor:
        return block_diagonal(self.kernel.stationary_covariance())

    def _moves(self, dt: Any) -> Moves:
        matrix, noise_cov = self.kernel.transition_matrix_and_covariance(dt)
        return Moves(block_diagonal(matrix), block_diagonal(noise_cov))

    def _step(self) -> Moves:
        return self._moves(self.dt)

    def _seen(self) -> Tensor:
        rest = self.A.new_zeros(self.num_gps, self.kernel.state_dim - 1, self.obs_dim)
        return torch.cat([self.A.unsqueeze(1), rest], dim=1).reshape(-1, self.obs_dim)

    @pyro_method
    def forecast(self, targets: Tensor, dts: Tensor) -> Any:
        """Multivariate normal distributions of the data at S times after the end of a series.

        Args:
            targets: of shape (T, obs_dim).
            dts: of shape (S,).
        """
        self._check(targets)
        state = self.get_dist().filter(targets)
        return self._predicted(*moved(state.loc, state.covariance_matrix, self._moves(dts)))


class DependentMaternGP(JointModel):
    """A process for each column, all driven by one correlated Wiener process, of smoothness 1.5.

    A. Vandenberg-Rodes and B. Shahbaba (2015), *Dependent Matern processes for multivariate time series*.

    Args:
        nu: 1.5.
        dt: the time between data.
        obs_dim: how many columns.
        linearly_coupled: mix the processes too.
        length_scale_init: (obs_dim,); ones if None.
        obs_noise_scale_init: (obs_dim,); 0.2 if None.

    Raises:
        NotImplementedError: for another smoothness.
        AssertionError: for other shapes.
    """

    wiener_noise_tril: Tensor
    obs_matrix: Tensor

    def __init__(
        self,
        nu: float = 1.5,
        dt: float = 1.0,
        obs_dim: int = 1,
        linearly_coupled: bool = False,
        length_scale_init: Tensor | None = None,
        obs_noise_scale_init: Tensor | None = None,
    ) -> None:
        if nu != 1.5:
            raise NotImplementedError(f"The only supported value of nu is 1.5, got {nu}")
        self.nu = nu
        self.dt = dt
        self.obs_dim = obs_dim
        self.linearly_coupled = linearly_coupled
        noise = check_initial("obs_noise_scale_init", obs_noise_scale_init, (obs_dim,), _OBS_NOISE)
        super().__init__()
        self.kernel = MaternKernel(nu, obs_dim, length_scale_init)
        # The scales are those of the Wiener process: only the transitions of the kernel are used.
        del self.kernel.kernel_scale
        self.obs_noise_scale = positive(noise)
        tril = torch.eye(obs_dim) + 0.03 * torch.randn(obs_dim, obs_dim).tril(-1)
        self.wiener_noise_tril = _lower_cholesky(tril)
        if linearly_coupled:
            self.obs_matrix = nn.Parameter(0.3 * torch.randn(obs_dim, obs_dim))

    def _start(self) -> Tensor:
        """The integral over the past of what the noise has left: positions and velocities of all columns."""
        tril = self.wiener_noise_tril
        noise = tril @ tril.mT
        rate = 3.0**0.5 / self.kernel.length_scale
        i, j = rate.unsqueeze(-1), rate.unsqueeze(-2)
        scaled = noise / (i + j).pow(3)
        top = torch.stack([2 * scaled, scaled * (i - j)], dim=-1)
        bottom = torch.stack([scaled * (j - i), 2 * scaled * i * j], dim=-1)
        blocks = torch.stack([top, bottom], dim=-2)  # (column, column, 2, 2)
        return blocks.permute(0, 2, 1, 3).reshape(2 * self.obs_dim, 2 * self.obs_dim)

    def _moves(self, dt: Any) -> Moves:
        matrix = block_diagonal(self.kernel.transition_matrix(dt))
        start = self._start()
        # What keeps the covariance of the state as it is.
        return Moves(matrix, start - matrix.mT @ start @ matrix)

    def _step(self) -> Moves:
        return self._moves(self.dt)

    def _seen(self) -> Tensor:
        scale = self.obs_noise_scale
        mixed = self.obs_matrix if self.linearly_coupled else torch.diag_embed(torch.ones_like(scale))
        return torch.stack([mixed, torch.zeros_like(mixed)], dim=1).reshape(-1, self.obs_dim)

    @pyro_method
    def forecast(self, targets: Tensor, dts: Tensor) -> Any:
        """Multivariate normal distributions of the data at S times after the end of a series.

        Args:
            targets: of shape (T, obs_dim).
            dts: of shape (S,).
        """
        self._check(targets)
        state = self.get_dist().filter(targets)
        return self._predicted(*moved(state.loc, state.covariance_matrix, self._moves(dts)))


def _lower_cholesky(value: Tensor) -> Any:
    return PyroParam(value, constraints.lower_cholesky)
