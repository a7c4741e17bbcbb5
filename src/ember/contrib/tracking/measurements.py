"""Measurements of a state with normal errors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Measurement(ABC):
    """A measurement.

    Args:
        mean: what is measured.
        cov: the covariance of its error.
        time: when, in continuous time; or
        frame_num: when, in frames.

    Raises:
        ValueError: if neither is given.
    """

    def __init__(
        self, mean: Tensor, cov: Tensor, time: float | None = None, frame_num: int | None = None
    ) -> None:
        self._dimension = len(mean)
        self._mean = mean
        self._cov = cov
        if time is None and frame_num is None:
            raise ValueError("Must provide time or frame_num!")
        self._time = time
        self._frame_num = frame_num

    @property
    def dimension(self) -> int:
        """Dims of what is measured."""
        return self._dimension

    @property
    def mean(self) -> Tensor:
        """What is measured."""
        return self._mean

    @property
    def cov(self) -> Tensor:
        """The covariance of its error."""
        return self._cov

    @property
    def time(self) -> float | None:
        """When, in continuous time."""
        return self._time

    @property
    def frame_num(self) -> int | None:
        """When, in frames."""
        return self._frame_num

    @abstractmethod
    def __call__(self, x: Tensor, do_normalization: bool = True) -> Tensor:
        """What would be measured of a state.

        Args:
            x: position and velocity.
            do_normalization: bring angles and the like into their interval.
        """

    def geodesic_difference(self, z1: Tensor, z0: Tensor) -> Tensor:
        """From one measured value to another."""
        return z1 - z0


class DifferentiableMeasurement(Measurement):
    """A measurement whose derivative is known."""

    @abstractmethod
    def jacobian(self, x: Tensor | None = None) -> Tensor:
        """The derivative by the state.

        Args:
            x: the state; None where it does not matter.
        """


class PositionMeasurement(DifferentiableMeasurement):
    """A measurement of the position, the first half of the state.

    Args:
        mean: the position.
        cov: the covariance of its error.
        time: when, in continuous time; or
        frame_num: when, in frames.

    Raises:
        ValueError: if neither is given.
    """

    def __init__(
        self, mean: Tensor, cov: Tensor, time: float | None = None, frame_num: int | None = None
    ) -> None:
        super().__init__(mean, cov, time=time, frame_num=frame_num)
        eye = torch.eye(self.dimension, dtype=mean.dtype, device=mean.device)
        self._jacobian = torch.cat([eye, torch.zeros_like(eye)], dim=1)

    def __call__(self, x: Tensor, do_normalization: bool = True) -> Tensor:
        """The position of a state."""
        return x[: self.dimension]

    def jacobian(self, x: Tensor | None = None) -> Tensor:
        """The derivative by the state: ones and zeros."""
        return self._jacobian
