"""The distribution of measurements of a moving object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.contrib.tracking.dynamic_models import DifferentiableDynamicModel
from ember.contrib.tracking.extended_kalman_filter import EKFState
from ember.contrib.tracking.measurements import PositionMeasurement
from ember.distributions import TorchDistribution, constraints


class EKFDistribution(TorchDistribution):
    """Positions measured at equal intervals, by the extended Kalman filter; it has a density and no draws.

    Args:
        x0: the mean of the first state.
        P0: its covariance.
        dynamic_model: how the object moves.
        measurement_cov: the covariance of the errors.
        time_steps: how many measurements.
        dt: the time between them.

    Raises:
        AssertionError: if the shapes do not match.
    """

    arg_constraints: dict[str, Any] = {
        "measurement_cov": constraints.positive_definite,
        "P0": constraints.positive_definite,
        "x0": constraints.real_vector,
    }
    has_rsample = True

    def __init__(
        self,
        x0: Tensor,
        P0: Tensor,
        dynamic_model: DifferentiableDynamicModel,
        measurement_cov: Tensor,
        time_steps: int = 1,
        dt: Any = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        assert x0.shape[-1:] == P0.shape[-1:] == (dynamic_model.dimension,), (
            f"x0 and P0 are of {dynamic_model.dimension} dims, and not {tuple(x0.shape)}, {tuple(P0.shape)}"
        )
        assert 2 * measurement_cov.size(-1) == dynamic_model.dimension_pv, (
            f"measurement_cov is of {dynamic_model.dimension_pv // 2} dims, and not {tuple(measurement_cov.shape)}"
        )
        self.x0 = x0
        self.P0 = P0
        self.dynamic_model = dynamic_model
        self.measurement_cov = measurement_cov
        self.dt = dt
        event_shape = Size((time_steps, measurement_cov.size(-1)))
        super().__init__(x0.shape[:-1], event_shape, validate_args=validate_args)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """There are no draws.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("EKFDistribution has a density and no draws")

    def _check_length(self, value: Tensor) -> None:
        assert value.shape[-2:] == self.event_shape, (
            f"measurements of shape {tuple(self.event_shape)}, and not {tuple(value.shape)}"
        )

    def filter_states(self, value: Tensor) -> list[EKFState]:
        """The state at each time, given the measurements until then.

        Args:
            value: measurements, (time_steps, dims).
        """
        return [state for state, _ in self._run(value)]

    def _run(self, value: Tensor) -> list[tuple[EKFState, Tensor]]:
        self._check_length(value)
        state = EKFState(self.dynamic_model, self.x0, self.P0, time=0.0)
        out = []
        for step, mean in enumerate(value):
            if step:
                state = state.predict(self.dt)
            measurement = PositionMeasurement(mean, self.measurement_cov, time=state.time)
            log_prob = state.log_likelihood_of_update(measurement)
            state, _ = state.update(measurement)
            out.append((state, log_prob))
        return out

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of measurements, (time_steps, dims): of each, given those before."""
        return torch.stack([log_prob for _, log_prob in self._run(value)]).sum(0)
