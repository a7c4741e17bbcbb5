"""The programs of ``benchmarks.pyro_world``, written once for Ember and Pyro, and those that NumPyro can have."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

HMM_LENGTHS = (100, 1_000, 10_000, 100_000)
QUICK_LENGTH = 50
SERIES, TIMES = 1_000, 100
INDUCING, ROWS = 1_000, 2_000
DIMS, OBSERVATIONS = 50, 200


class Program(NamedTuple):
    """A model and what trains it."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...]
    optim: Any


def walk(times: int, series: int = 1) -> np.ndarray[Any, Any]:
    """Random walks with noise, (series, times)."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(series, times)) * 0.3
    return (steps.cumsum(1) + 0.5 * rng.normal(size=(series, times))).astype(np.float32)


def rows(count: int, columns: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Inputs and a binary outcome."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, columns)).astype(np.float32)
    return x, (x @ rng.normal(size=columns) + rng.normal(size=count) > 0).astype(np.float32)


def gaussian_hmm(library: Any, times: int) -> Program:
    """A local linear trend: the log density of all times and its gradient by two scales."""
    dist = library.distributions
    x = torch.tensor(walk(times)[0]).unsqueeze(-1)
    moves = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    seen = torch.tensor([[1.0], [0.0]])
    positive = dist.constraints.positive

    def model(x: torch.Tensor) -> None:
        step = library.param("step", torch.full((2,), 0.3), constraint=positive)
        noise = library.param("noise", torch.tensor([0.5]), constraint=positive)
        start = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        steps, noises = (dist.Normal(torch.zeros(scale.shape), scale).to_event(1) for scale in (step, noise))
        library.sample("x", dist.GaussianHMM(start, moves, steps, seen, noises, duration=times), obs=x)

    return Program(model, lambda x: None, (x,), library.optim.Adam({"lr": 1e-3}))


def flow(library: Any, kind: str, quick: bool) -> Program:
    """A logistic regression of 50 coefficients, whose guide is a flow."""
    dist, guides = library.distributions, importlib.import_module(f"{library.__name__}.infer.autoguide")
    x, y = map(torch.tensor, rows(OBSERVATIONS, 10 if quick else DIMS))

    def model(x: torch.Tensor, y: torch.Tensor) -> None:
        w = library.sample("w", dist.Normal(torch.zeros(x.shape[1]), 1.0).to_event(1))
        with library.plate("rows", len(x)):
            library.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    if kind == "iaf":
        guide = guides.AutoIAFNormal(model, num_transforms=2)
    else:
        transforms = importlib.import_module(f"{library.__name__}.distributions.transforms")
        made = {"coupling": transforms.affine_coupling, "spline": transforms.spline_coupling}[kind]
        guide = guides.AutoNormalizingFlow(model, partial(transforms.iterated, 2, made))
    return Program(model, guide, (x, y), library.optim.Adam({"lr": 1e-3}))


def sparse_gp(library: Any, quick: bool) -> Program:
    """Sparse regression on 2,000 rows with 1,000 inducing points."""
    gp = importlib.import_module(f"{library.__name__}.contrib.gp")
    count, inducing = (100, 10) if quick else (ROWS, INDUCING)
    # Four dims: on a line so many points are too close for single precision.
    x = torch.tensor(rows(count, 4)[0])
    y = x[:, 0].sin() + 0.1 * torch.tensor(walk(count)[0])
    kernel = gp.kernels.RBF(input_dim=4, lengthscale=torch.tensor(0.5))
    points, noise = x[:inducing].clone(), torch.tensor(0.1)
    fitted = gp.models.SparseGPRegression(x, y, kernel, Xu=points, noise=noise, jitter=1e-3)
    return Program(fitted.model, fitted.guide, (), library.optim.Adam({"lr": 1e-3}))


def forecaster(library: Any, quick: bool) -> Program:
    """What a Forecaster of 1,000 random walks of 100 times trains, as it trains it."""
    dist, forecast = library.distributions, importlib.import_module(f"{library.__name__}.contrib.forecast")
    guides = importlib.import_module(f"{library.__name__}.infer.autoguide")

    class Walks(forecast.ForecastingModel):  # type: ignore[misc, name-defined]
        def model(self, zero_data: torch.Tensor, covariates: torch.Tensor) -> None:
            noise = library.sample("noise", dist.LogNormal(-1.0, 1.0)).unsqueeze(-1)
            with library.plate("series", zero_data.shape[0], dim=-2):
                scale = library.sample("scale", dist.LogNormal(-torch.ones(1), 1.0).to_event(1))
                with self.time_plate:
                    steps = library.sample("steps", dist.Normal(torch.zeros(1), scale).to_event(1))
                self.predict(dist.Normal(0.0, noise.unsqueeze(-1)), steps.cumsum(-2))

    series, times = (5, 10) if quick else (SERIES, TIMES)
    x = torch.tensor(walk(times, series)).unsqueeze(-1)
    model = Walks()
    guide = guides.AutoNormal(model, init_loc_fn=guides.init_to_sample, init_scale=0.1)
    optim = library.optim.DCTAdam({"lr": 1e-3, "betas": (0.9, 0.99), "lrd": 0.999, "clip_norm": 10.0})
    return Program(model, guide, (x, torch.empty(times, 0)), optim)


MODELS: dict[str, Callable[[Any, bool], Program]] = {
    **{
        f"hmm_{times}": lambda library, quick, times=times: gaussian_hmm(
            library, QUICK_LENGTH if quick else times
        )
        for times in HMM_LENGTHS
    },
    **{
        f"flow_{kind}": lambda library, quick, kind=kind: flow(library, kind, quick)
        for kind in ("iaf", "coupling", "spline")
    },
    "sparse_gp": sparse_gp,
    "forecaster": forecaster,
}
TITLES = {
    **{f"hmm_{times}": f"`GaussianHMM`, {times:,} times" for times in HMM_LENGTHS},
    "flow_iaf": f"`AutoIAFNormal`, {DIMS} dims",
    "flow_coupling": f"affine coupling, {DIMS} dims",
    "flow_spline": f"spline coupling, {DIMS} dims",
    "sparse_gp": f"`SparseGPRegression`, {INDUCING:,} inducing points, {ROWS:,} rows",
    "forecaster": f"`Forecaster`, {SERIES:,} series of {TIMES} times",
}
