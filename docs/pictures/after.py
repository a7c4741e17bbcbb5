"""Draws predictive_check.png and traces.png of docs/after.md: PYTHONPATH=src python docs/pictures/after.py"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.report import posterior_predictive_check, traces
from ember.train import Iterates

HERE = Path(__file__).parent


def flat(x: Tensor, y: Tensor) -> None:
    level = ember.sample("level", dist.Normal(0.0, 2.0))
    with ember.plate("rows", len(x)):
        ember.sample("y", dist.Poisson(torch.exp(level).expand(len(x))), obs=y)


def trend(x: Tensor, y: Tensor) -> None:
    level = ember.sample("level", dist.Normal(0.0, 2.0))
    slope = ember.sample("slope", dist.Normal(0.0, 2.0))
    with ember.plate("rows", len(x)):
        ember.sample("y", dist.Poisson(torch.exp(level + slope * x)), obs=y)


def main() -> None:
    ember.set_rng_seed(0)
    x = torch.linspace(-1.0, 1.0, 60)
    y = dist.Poisson(torch.exp(1.0 + 1.5 * x)).sample()
    fit = ember.fit(flat, x, y, seed=0, progress=False)
    posterior_predictive_check(fit, title="the flat model").savefig(HERE / "predictive_check.png")
    svi = SVI(trend, AutoNormal(trend), ember.optim.Adam({"lr": 0.02}), Trace_ELBO(), param_store="own")
    iterates = Iterates(every=10)
    result = svi.fit((x, y), steps=1000, callbacks=[iterates], progress=False)
    picture = traces(result.losses, iterates.params, steps=iterates.steps)
    picture.savefig(HERE / "traces.png")


if __name__ == "__main__":
    main()
