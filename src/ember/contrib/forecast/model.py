"""Models of time series that are fitted on the first times and forecast the later ones."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ember import distributions as dist
from ember.contrib.forecast.batches import reshape_batch
from ember.contrib.forecast.coefficients import TIME
from ember.nn import PyroModule
from ember.nn.mixin import PyroModuleMeta
from ember.primitives import plate, sample, subsample

RESIDUAL = "residual"
"""The site of what is observed, less its prediction."""


class _Meta(PyroModuleMeta, ABCMeta):
    """The class of classes that are modules and have abstract methods."""


@dataclass
class _Call:
    """One call of a model."""

    data: Tensor
    time_plate: plate
    forecast: Tensor | None = None


class ForecastingModel(PyroModule, metaclass=_Meta):
    """Base of forecasting models; subclasses define :meth:`model`.

    Called by a forecaster with data of ``t`` times and covariates of ``t + f``, it returns draws of the ``f`` later times,
    which are none in training. Time is dim -2 of both.

    Raises:
        AssertionError: if there are more times of data than of covariates, or :meth:`predict` is not called once.

    >>> import ember
    >>> class RandomWalk(ForecastingModel):
    ...     def model(self, zero_data, covariates):
    ...         with self.time_plate:
    ...             steps = ember.sample("steps", dist.Normal(zero_data, 1.0).to_event(1))
    ...         self.predict(dist.Normal(0.0, 0.1), steps.cumsum(-2))
    >>> from ember.contrib.forecast import Forecaster
    >>> x, covariates = torch.zeros(10, 1), torch.empty(14, 0)
    >>> forecaster = Forecaster(RandomWalk(), x, covariates[:10], num_steps=20)
    >>> forecaster(x, covariates, num_samples=3).shape
    torch.Size([3, 4, 1])
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Tensor] = {}
        """Residuals of the first times by the names of their sites, while later ones are drawn."""
        self._call: _Call | None = None

    @abstractmethod
    def model(self, zero_data: Tensor, covariates: Tensor) -> object:
        """The model. It calls :meth:`predict` once, and draws all noise over time inside of :attr:`time_plate`.

        The prediction is a function of noise that is independent over time.

        Args:
            zero_data: zeros of the data's shape, over all times of the covariates.
            covariates: time is dim -2.
        """
        raise NotImplementedError

    def _now(self, what: str) -> _Call:
        assert self._call is not None, f"{what} accessed outside of .model()"
        return self._call

    @property
    def time_plate(self) -> plate:
        """A plate ``"time"`` on dim -1, as long as the covariates; there is one during calls only."""
        return self._now(".time_plate").time_plate

    def predict(self, noise_dist: Any, prediction: Tensor) -> None:
        """Observe the data as a prediction and noise, and draw those of later times; called outside of :attr:`time_plate`.

        In training it is ``sample("residual", noise_dist, obs=data - prediction)``.

        Args:
            noise_dist: its events are of 0, 1 (series) or 2 (time and series) dims; around zero, usually.
            prediction: of the data, over all times of the covariates.

        Raises:
            AssertionError: outside of a call, at a second call, or if the shapes do not fit.
        """
        call = self._now(".predict()")
        assert call.forecast is None, ".predict() called twice"
        assert isinstance(noise_dist, dist.Distribution), (
            f"noise_dist is a distribution, got {type(noise_dist).__name__}"
        )
        assert isinstance(prediction, Tensor), f"prediction is a tensor, got {type(prediction).__name__}"
        times = call.time_plate.size
        assert prediction.dim() >= 2 and prediction.size(-2) == times, (
            f"the prediction is of all {times} times of the covariates, on dim -2; got shape {tuple(prediction.shape)}"
        )
        noise = _over_time_and_series(noise_dist, prediction.shape[-2:])
        # The time has moved from the batch to the event; a dim of size 1 keeps the others of the batch in their places.
        noise = reshape_batch(noise, (*noise.batch_shape, 1))
        data, prediction = subsample(call.data.unsqueeze(-3), event_dim=2), prediction.unsqueeze(-3)
        seen = data.size(-2)
        if seen == prediction.size(-2):
            sample(RESIDUAL, noise, obs=data - prediction)
            call.forecast = data.new_empty((*data.shape[:-3], 0, data.size(-1)))
            return
        # A handler outside of the call takes them from here, so that handlers inside of the model act before it.
        self.seen[RESIDUAL] = data - prediction[..., :seen, :]
        try:
            later = sample(RESIDUAL, noise)
        finally:
            del self.seen[RESIDUAL]
        expected = prediction[..., seen:, :]
        assert later.shape[-data.dim() :] == expected.shape[-data.dim() :], (
            f"site {RESIDUAL!r}: noise of shape {tuple(later.shape)} for a prediction of shape {tuple(expected.shape)}; "
            "a Forecaster draws later times, the model alone does not"
        )
        call.forecast = (expected + later).squeeze(-3)

    def forward(self, data: Tensor, covariates: Tensor) -> Tensor:
        """Run the model.

        Args:
            data: ``(..., t, n)``.
            covariates: ``(..., t + f, m)``.

        Returns:
            Draws of the later times, ``(..., f, n)``.
        """
        assert data.dim() >= 2 and covariates.dim() >= 2, (
            f"data and covariates have a dim of time and one more, got shapes {tuple(data.shape)} and "
            f"{tuple(covariates.shape)}"
        )
        seen, times = data.size(-2), covariates.size(-2)
        assert seen <= times, f"there are data of {seen} times, and covariates of no more than {times}"
        zero_data = data.new_zeros(()).expand((*data.shape[:-2], times, data.size(-1)))
        self._call = call = _Call(data, plate(TIME, times, dim=-1))
        try:
            self.model(zero_data, covariates)
        finally:
            self._call = None
        assert call.forecast is not None, ".predict() was not called by .model()"
        return call.forecast


def _over_time_and_series(noise: Any, shape: torch.Size) -> Any:
    """A distribution whose events are a time by series."""
    missing = 2 - noise.event_dim
    assert missing >= 0, f"noise_dist has events of at most 2 dims, got {noise.event_dim}"
    if missing:
        batch_shape = (*noise.batch_shape[:-missing], *shape[:missing])
        if noise.batch_shape != batch_shape:
            noise = noise.expand(batch_shape)
        noise = noise.to_event(missing)
    assert noise.event_shape == shape, (
        f"noise_dist has events of shape {tuple(noise.event_shape)}, and the prediction is of {shape[0]} times and "
        f"{shape[1]} series; a hidden Markov model needs duration=zero_data.size(-2)"
    )
    return noise
