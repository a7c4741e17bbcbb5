"""Models of time series for the tests."""

from __future__ import annotations

import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.contrib.forecast import ForecastingModel
from ember.infer.reparam import LocScaleReparam


class Batch(ForecastingModel):
    """Random walks, one a row of a batch."""

    def model(self, zero_data: Tensor, covariates: Tensor) -> None:
        with ember.plate_stack("batch", zero_data.shape[:-2], rightmost_dim=-2):
            loc = zero_data[..., :1, :]
            scale = ember.sample("scale", dist.LogNormal(loc, 1).to_event(1))
            with self.time_plate:
                jumps = ember.sample("jumps", dist.Normal(0, scale).to_event(1))
            self.predict(dist.Laplace(0, 1), jumps.cumsum(-2))


class Regression(ForecastingModel):
    """A walk and a regression on covariates."""

    def model(self, zero_data: Tensor, covariates: Tensor) -> None:
        log_scale = ember.sample("log_scale", dist.Normal(0.0, 1.0))
        with self.time_plate, ember.poutine.reparam(config={"drift": LocScaleReparam()}):
            drift = ember.sample("drift", dist.Normal(zero_data, log_scale.exp().unsqueeze(-1)).to_event(1))
        w = ember.sample("w", dist.Normal(0, 1).expand([covariates.size(-1)]).to_event(1))
        self.predict(dist.StudentT(4.0, 0.0, 1.0), drift.cumsum(-2) + (w * covariates).sum(-1, keepdim=True))


class LocalLevel(ForecastingModel):
    """No prediction at all: a hidden Markov model is the noise."""

    def model(self, zero_data: Tensor, covariates: Tensor) -> None:
        scale = ember.sample("scale", dist.LogNormal(-1.0, 1.0))
        initial = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        moves = torch.tensor([[1.0, 0.1], [0.0, 0.9]])
        jumps = dist.Normal(torch.zeros(2), scale.unsqueeze(-1)).to_event(1)
        series = zero_data.size(-1)
        noise = dist.Normal(torch.zeros(series), 1.0).to_event(1)
        hmm = dist.GaussianHMM(
            initial, moves, jumps, torch.ones(2, series), noise, duration=zero_data.size(-2)
        )
        self.predict(hmm, zero_data)


class Walk(ForecastingModel):
    """A random walk of large steps, seen nearly without noise."""

    def model(self, zero_data: Tensor, covariates: Tensor) -> None:
        with self.time_plate:
            steps = ember.sample("steps", dist.Normal(zero_data, 3.0).to_event(1))
        self.predict(dist.Normal(0.0, 0.1), steps.cumsum(-2))


class Subsampled(ForecastingModel):
    """Six series, of which a plate may take a part."""

    def model(self, zero_data: Tensor, covariates: Tensor) -> None:
        scale = ember.sample("scale", dist.LogNormal(0.0, 1.0).expand([1]).to_event(1))
        series = ember.plate("series", 6, dim=-2)
        with series, self.time_plate:
            steps = ember.sample("steps", dist.Normal(torch.zeros(1), scale).to_event(1))
        with series:
            self.predict(dist.Normal(0.0, 1.0), steps.cumsum(-2))
