"""A regression on 50 rows, its programs in the ways that users write plates, and fits of it."""

from __future__ import annotations

from typing import Any

import torch

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam

ROWS, DIMS = 50, 3


def data(rows: int = ROWS, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, DIMS, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 * torch.randn(rows, generator=generator)
    return x, y


def body(x: torch.Tensor, y: torch.Tensor, plate: Any) -> None:
    w = ember.sample("w", dist.Normal(torch.zeros(DIMS), 1.0).to_event(1))
    with plate:
        ember.sample("y", dist.Normal(x @ w, 0.3), obs=y)


def of_batch(x: torch.Tensor, y: torch.Tensor) -> None:
    body(x, y, ember.plate("data", len(x)))


def of_all(x: torch.Tensor, y: torch.Tensor) -> None:
    body(x, y, ember.plate("data", ROWS, subsample=torch.arange(len(x))))


def without_plate(x: torch.Tensor, y: torch.Tensor) -> None:
    w = ember.sample("w", dist.Normal(torch.zeros(DIMS), 1.0).to_event(1))
    ember.sample("y", dist.Normal(x @ w, 0.3).to_event(1), obs=y)


def guide(x: torch.Tensor, y: torch.Tensor) -> None:
    loc = ember.param("loc", torch.zeros(DIMS))
    scale = ember.param("scale", torch.ones(DIMS), constraint=dist.constraints.positive)
    ember.sample("w", dist.Normal(loc, scale).to_event(1))


def new_svi(
    model: Any = of_batch, guide: Any = guide, optim: Any = None, compile: Any = False, **options: Any
) -> SVI:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    optim = Adam({"lr": 0.05}) if optim is None else optim
    return SVI(model, guide, optim, Trace_ELBO(), compile=compile, **options)


def final(svi: SVI) -> list[Any]:
    return [leaf.tolist() for _, leaf in sorted(svi.store().named_parameters())]
