"""The extended Kalman filter of one object."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

import ember.distributions as dist
from ember.contrib.tracking.dynamic_models import DifferentiableDynamicModel
from ember.contrib.tracking.measurements import DifferentiableMeasurement

Innovation = tuple[Tensor, Tensor]


class EKFState:
    """What is known of an object's state at a time: a mean and a covariance.

    Y. Bar-Shalom, X. R. Li and T. Kirubarajan (2001), *Estimation with applications to tracking and
    navigation*, chapter 10.

    Args:
        dynamic_model: how the object moves.
        mean: of the state.
        cov: of the state.
        time: when, in continuous time; or
        frame_num: when, in frames.

    Raises:
        ValueError: if neither is given.
    """

    def __init__(
        self,
        dynamic_model: DifferentiableDynamicModel,
        mean: Tensor,
        cov: Tensor,
        time: Any = None,
        frame_num: int | None = None,
    ) -> None:
        self._dynamic_model = dynamic_model
        self._mean = mean
        self._cov = cov
        if time is None and frame_num is None:
            raise ValueError("Must provide time or frame_num!")
        self._time = time
        self._frame_num = frame_num

    @property
    def dynamic_model(self) -> DifferentiableDynamicModel:
        """How the object moves."""
        return self._dynamic_model

    @property
    def dimension(self) -> int:
        """Dims of the model's state."""
        return self._dynamic_model.dimension

    @property
    def mean(self) -> Tensor:
        """The mean of the state."""
        return self._mean

    @property
    def cov(self) -> Tensor:
        """The covariance of the state."""
        return self._cov

    @property
    def dimension_pv(self) -> int:
        """Dims of position and velocity."""
        return self._dynamic_model.dimension_pv

    @cached_property
    def mean_pv(self) -> Tensor:
        """The mean of position and velocity."""
        return self._dynamic_model.mean2pv(self._mean)

    @cached_property
    def cov_pv(self) -> Tensor:
        """The covariance of position and velocity."""
        return self._dynamic_model.cov2pv(self._cov)

    @property
    def time(self) -> Any:
        """When, in continuous time."""
        return self._time

    @property
    def frame_num(self) -> int | None:
        """When, in frames."""
        return self._frame_num

    def predict(
        self, dt: Any = None, destination_time: Any = None, destination_frame_num: int | None = None
    ) -> EKFState:
        """The state after some time.

        Args:
            dt: the time; that until ``destination_time`` if None.
            destination_time: what the new time is, without the rounding of sums.
            destination_frame_num: what the new frame is.

        Raises:
            AssertionError: if the time is not known.
        """
        if dt is None:
            assert destination_time is not None and self._time is not None, (
                "predict needs dt, or destination_time and a state with a time"
            )
            dt = destination_time - self._time
        model = self._dynamic_model
        F = model.jacobian(dt).to(self._cov)
        cov = F @ self._cov @ F.transpose(-1, -2) + model.process_noise_cov(dt).to(self._cov)
        time = self._time if self._time is None else self._time + dt
        if destination_time is not None:
            time = destination_time
        frame = self._frame_num if destination_frame_num is None else destination_frame_num
        return EKFState(model, model(self._mean, dt), cov, time, frame)

    def _check_aligned(self, measurement: DifferentiableMeasurement) -> None:
        if self._time is not None and measurement.time is not None:
            assert self._time == measurement.time, "State time and measurement time must be aligned!"
        if self._frame_num is not None and measurement.frame_num is not None:
            assert self._frame_num == measurement.frame_num, (
                "State time and measurement time must be aligned!"
            )

    def _gain(self, measurement: DifferentiableMeasurement) -> tuple[Tensor, Tensor, Tensor]:
        """What is not expected, its covariance, and the derivative of the measurement by the state."""
        self._check_aligned(measurement)
        H = measurement.jacobian(self.mean_pv)[:, : self.dimension]
        dz = measurement.geodesic_difference(measurement.mean, measurement(self.mean_pv))
        S = H @ self._cov @ H.transpose(-1, -2) + measurement.cov
        return dz, S, H

    def innovation(self, measurement: DifferentiableMeasurement) -> Innovation:
        """What a measurement would tell that is not expected, and its covariance.

        Raises:
            AssertionError: if it is of another time.
        """
        dz, S, _ = self._gain(measurement)
        return dz, S

    def log_likelihood_of_update(self, measurement: DifferentiableMeasurement) -> Tensor:
        """The log density of a measurement.

        Raises:
            AssertionError: if it is of another time.
        """
        dz, S = self.innovation(measurement)
        density: Any = dist.MultivariateNormal(torch.zeros_like(dz), S)
        log_prob: Tensor = density.log_prob(dz)
        return log_prob

    def update(self, measurement: DifferentiableMeasurement) -> tuple[EKFState, Innovation]:
        """The state given a measurement, and what that told that was not expected.

        Raises:
            AssertionError: if it is of another time.
        """
        dz, S, H = self._gain(measurement)
        K = torch.linalg.solve(S, H @ self._cov).transpose(-1, -2)
        rest = torch.eye(self.dimension, dtype=K.dtype, device=K.device) - K @ H
        # Joseph's form, which stays positive under rounding.
        cov = rest @ self._cov @ rest.transpose(-1, -2) + K @ measurement.cov @ K.transpose(-1, -2)
        mean = self._mean + K @ dz
        state = EKFState(self._dynamic_model, mean, cov, self._time, self._frame_num)
        return state, (dz, S)
