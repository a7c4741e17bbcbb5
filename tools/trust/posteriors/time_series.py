"""Series: a level that wanders, AR(2), ARMA(1, 1), GARCH(1, 1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from tools.trust.posteriors.posterior import Data, Posterior, stream


def nile_data() -> Data:
    """Annual flow of the Nile at Aswan, 1871 to 1920, in 1e8 cubic metres (Cobb, 1978)."""
    flow = (
        *(1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180),
        *(799, 958, 1140, 1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833),
        *(701, 916, 692, 1020, 1050, 969, 831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821),
    )
    return {"flow": np.array(flow, dtype=float)}


def nile(flow: Tensor) -> None:
    """Local level (Durbin and Koopman, 2012, chapter 2), its steps standardised, in raw units."""
    start = ember.sample("start", dist.Normal(1000.0, 500.0))
    wander = ember.sample("wander", dist.Gamma(4.0, 0.1))
    noise = ember.sample("noise", dist.HalfNormal(300.0))
    step = ember.sample("step", dist.Normal(0.0, 1.0).expand([len(flow) - 1]).to_event(1))
    steps = torch.cat([torch.zeros_like(step[:1]), step.cumsum(-1)])
    level = ember.deterministic("level", start + wander * steps)
    with ember.plate("years", len(flow)):
        ember.sample("flow", dist.Normal(level, noise), obs=flow)


def ar2_data() -> Data:
    """120 steps of an AR(2) around 2."""
    draw, y = stream(111), [2.0, 2.0]
    for _ in range(120):
        y.append(2.0 + 0.6 * (y[-1] - 2.0) + 0.25 * (y[-2] - 2.0) + draw.normal(0.0, 0.5))
    return {"y": np.array(y[2:])}


def ar2(y: Tensor) -> None:
    """AR(2) given its first two values, flat-ish priors."""
    constant = ember.sample("constant", dist.Normal(0.0, 10.0))
    phi = ember.sample("phi", dist.Normal(0.0, 10.0).expand([2]).to_event(1))
    noise = ember.sample("noise", dist.HalfCauchy(2.5))
    mean = constant + phi[0] * y[1:-1] + phi[1] * y[:-2]
    with ember.plate("steps", len(y) - 2):
        ember.sample("y", dist.Normal(mean, noise), obs=y[2:])


def arma_data() -> Data:
    """100 steps of an ARMA(1, 1)."""
    draw, y, shock = stream(112), [0.5], 0.0
    for _ in range(100):
        new = draw.normal(0.0, 0.3)
        y.append(0.2 + 0.7 * y[-1] + 0.4 * shock + new)
        shock = new
    return {"y": np.array(y[1:])}


def arma(y: Tensor) -> None:
    """ARMA(1, 1) given a first shock of zero, in a loop over its steps."""
    mean = ember.sample("mean", dist.Normal(0.0, 10.0))
    phi = ember.sample("phi", dist.Normal(0.0, 2.0))
    theta = ember.sample("theta", dist.Normal(0.0, 2.0))
    noise = ember.sample("noise", dist.HalfCauchy(2.5))
    forecast = mean + phi * mean
    forecasts = [forecast]
    for t in range(1, len(y)):
        forecast = mean + phi * y[t - 1] + theta * (y[t - 1] - forecast)
        forecasts.append(forecast)
    with ember.plate("steps", len(y)):
        ember.sample("y", dist.Normal(torch.stack(forecasts), noise), obs=y)


def garch_data() -> Data:
    """200 daily returns in per cent whose variance clusters."""
    draw, y, variance = stream(113), [0.0], 1.0
    for _ in range(200):
        variance = 0.15 + 0.25 * (y[-1] - 0.05) ** 2 + 0.6 * variance
        y.append(0.05 + draw.normal(0.0, variance**0.5))
    return {"y": np.array(y[1:])}


def garch(y: Tensor) -> None:
    """GARCH(1, 1) (Bollerslev, 1986) with the first variance that of the data."""
    mean = ember.sample("mean", dist.Normal(0.0, 10.0))
    constant = ember.sample("constant", dist.HalfNormal(5.0))
    alpha = ember.sample("alpha", dist.Uniform(0.0, 1.0))
    share = ember.sample("share", dist.Uniform(0.0, 1.0))
    beta = ember.deterministic("beta", (1.0 - alpha) * share)
    variance = y.var()
    variances = [variance]
    for t in range(1, len(y)):
        variance = constant + alpha * (y[t - 1] - mean) ** 2 + beta * variance
        variances.append(variance)
    with ember.plate("days", len(y)):
        ember.sample("y", dist.Normal(mean, torch.stack(variances).sqrt()), obs=y)


POSTERIORS = {
    "nile": Posterior(nile, nile_data),
    "ar2": Posterior(ar2, ar2_data),
    "arma": Posterior(arma, arma_data),
    "garch": Posterior(garch, garch_data),
}
