"""How objects move: nearly constant positions or velocities, with white noise.

Y. Bar-Shalom, X. R. Li and T. Kirubarajan (2001), *Estimation with applications to tracking and navigation*,
chapter 6.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

import ember.distributions as dist

Time = float | Tensor


class DynamicModel(nn.Module, ABC):
    """A model of motion.

    Args:
        dimension: dims of its own state.
        dimension_pv: dims of position and velocity.
        num_process_noise_parameters: how many parameters its noise has.
    """

    def __init__(
        self, dimension: int, dimension_pv: int, num_process_noise_parameters: int | None = None
    ) -> None:
        self._dimension = dimension
        self._dimension_pv = dimension_pv
        self._num_process_noise_parameters = num_process_noise_parameters
        super().__init__()

    @property
    def dimension(self) -> int:
        """Dims of its own state."""
        return self._dimension

    @property
    def dimension_pv(self) -> int:
        """Dims of position and velocity."""
        return self._dimension_pv

    @property
    def num_process_noise_parameters(self) -> int | None:
        """How many parameters its noise has."""
        return self._num_process_noise_parameters

    @abstractmethod
    def forward(self, x: Tensor, dt: Time, do_normalization: bool = True) -> Tensor:
        """The state after some time.

        Args:
            x: the state.
            dt: the time.
            do_normalization: bring angles and the like into their interval.
        """

    def geodesic_difference(self, x1: Tensor, x0: Tensor) -> Tensor:
        """From one state to another."""
        return x1 - x0

    @abstractmethod
    def mean2pv(self, x: Tensor) -> Tensor:
        """Position and velocity of a state."""

    @abstractmethod
    def cov2pv(self, P: Tensor) -> Tensor:
        """The covariance of position and velocity, given that of the state."""

    @abstractmethod
    def process_noise_cov(self, dt: Time = 0.0) -> Tensor:
        """The covariance of the noise of some time."""

    def process_noise_dist(self, dt: Time = 0.0) -> Any:
        """The distribution of the noise of some time."""
        Q = self.process_noise_cov(dt)
        return dist.MultivariateNormal(
            torch.zeros(Q.shape[-1], dtype=Q.dtype, device=Q.device), covariance_matrix=Q, validate_args=False
        )


class DifferentiableDynamicModel(DynamicModel):
    """A model of motion whose derivative is known."""

    @abstractmethod
    def jacobian(self, dt: Time) -> Tensor:
        """The derivative of the state after some time by the state before."""


class Ncp(DifferentiableDynamicModel):
    """A nearly constant position.

    Args:
        dimension: dims of the position.
        sv2: the variance of the velocity; it can be learned.
    """

    def __init__(self, dimension: int, sv2: Time) -> None:
        super().__init__(dimension, 2 * dimension, num_process_noise_parameters=1)
        self.sv2 = sv2 if isinstance(sv2, nn.Parameter) else nn.Parameter(torch.as_tensor(sv2).clone())

    def forward(self, x: Tensor, dt: Time, do_normalization: bool = True) -> Tensor:
        """The same state."""
        return x

    def mean2pv(self, x: Tensor) -> Tensor:
        """The position, and a velocity of zero."""
        return torch.cat([x, torch.zeros_like(x)], dim=-1)

    def cov2pv(self, P: Tensor) -> Tensor:
        """That of the position, and zeros."""
        d = self.dimension
        return nn.functional.pad(P, (0, d, 0, d))

    def jacobian(self, dt: Time) -> Tensor:
        """The identity."""
        return torch.eye(self.dimension, dtype=self.sv2.dtype, device=self.sv2.device)

    @abstractmethod
    def process_noise_cov(self, dt: Time = 0.0) -> Tensor:
        """The covariance of the noise of some time."""


class Ncv(DifferentiableDynamicModel):
    """A nearly constant velocity.

    Args:
        dimension: dims of position and velocity together.
        sa2: the variance of the acceleration; it can be learned.
    """

    def __init__(self, dimension: int, sa2: Time) -> None:
        super().__init__(dimension, dimension, num_process_noise_parameters=1)
        self.sa2 = sa2 if isinstance(sa2, nn.Parameter) else nn.Parameter(torch.as_tensor(sa2).clone())

    def forward(self, x: Tensor, dt: Time, do_normalization: bool = True) -> Tensor:
        """The position moved by the velocity."""
        return x @ self.jacobian(dt).to(x).transpose(-1, -2)

    def mean2pv(self, x: Tensor) -> Tensor:
        """The state itself."""
        return x

    def cov2pv(self, P: Tensor) -> Tensor:
        """The covariance itself."""
        return P

    def _blocks(self, first: Time, second: Time, third: Time, fourth: Time) -> Tensor:
        """A matrix of four multiples of the identity."""
        eye = torch.eye(self.dimension // 2, dtype=self.sa2.dtype, device=self.sa2.device)
        top = torch.cat([first * eye, second * eye], dim=-1)
        return torch.cat([top, torch.cat([third * eye, fourth * eye], dim=-1)], dim=-2)

    def jacobian(self, dt: Time) -> Tensor:
        """Ones on the diagonal, and the time beside them."""
        return self._blocks(1.0, dt, 0.0, 1.0)

    @abstractmethod
    def process_noise_cov(self, dt: Time = 0.0) -> Tensor:
        """The covariance of the noise of some time."""


class NcpContinuous(Ncp):
    """A nearly constant position with continuous white noise of the velocity; Bar-Shalom and others, page 269."""

    def process_noise_cov(self, dt: Time = 0.0) -> Tensor:
        """``sv2 dt^2`` on the diagonal: the noise of a velocity that is kept for the time."""
        noise: Tensor = self.sv2 * dt * dt * self.jacobian(dt)
        return noise


class NcvContinuous(Ncv):
    """A nearly constant velocity with continuous white noise of the acceleration; page 269."""

    def process_noise_cov(self, dt: Time = 0.0) -> Tensor:
        """The integral of the noise over the time, of intensity ``sa2 dt``."""
        blocks = self._blocks(dt**3 / 3, dt**2 / 2, dt**2 / 2, dt)
        noise: Tensor = self.sa2 * dt * blocks
        return noise


class NcpDiscrete(Ncp):
    """A nearly constant position with a velocity that is drawn once a step; page 273."""

    def process_noise_cov(self, dt: Time = 0.0) -> Tensor:
        """``sv2 dt^2`` on the diagonal."""
        noise: Tensor = self.sv2 * dt * dt * self.jacobian(dt)
        return noise


class NcvDiscrete(Ncv):
    """A nearly constant velocity with an acceleration that is drawn once a step; page 273."""

    def process_noise_cov(self, dt: Time = 0.0) -> Tensor:
        """That of position and velocity moved by one acceleration; of half the rank."""
        return self.sa2 * self._blocks(dt**4 / 4, dt**3 / 2, dt**3 / 2, dt**2)
