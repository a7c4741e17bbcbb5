"""Small fits for the scenarios, and what can be read off them."""

from __future__ import annotations

from typing import Literal

import torch

import ember
from ember import distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoDelta, AutoNormal, init_to_mean
from ember.optim import Adam
from ember.params import ParamStoreDict, get_param_store

Backend = Literal["native", "interpreter"] | None
"""None is eager."""
BACKENDS: tuple[Backend, ...] = ("native", "interpreter", None)


def fitted(
    backend: Backend, store: ParamStoreDict | None = None, *, draws: bool = False, rows: int = 1
) -> SVI:
    """A fit after five steps.

    Args:
        backend: how steps are taken.
        store: where its parameters are; by default the store of all, emptied.
        draws: whether the guide draws, from torch's generator that all threads share.
        rows: how many observations there are.
    """
    if store is None:
        ember.clear_param_store()
    data = torch.linspace(0.3, 1.0, rows)

    def model() -> None:
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        w = ember.sample("w", dist.Normal(z, 1.0))
        with ember.plate("rows", rows):
            ember.sample("obs", dist.Normal(w, 1.0), obs=data)

    guide = AutoNormal(model) if draws else AutoDelta(model, init_loc_fn=init_to_mean)
    svi = SVI(
        model,
        guide,
        Adam({"lr": 0.01}),
        Trace_ELBO(),
        compile=backend is not None,
        backend=backend,
        param_store=store,
    )
    svi.run(5, progress=False)
    return svi


def step_counts(svi: SVI) -> set[int]:
    """What the optimizer has counted for its parameters, without the first five steps; one number if all is well."""
    return {int(state["state"][0]["step"]) - 5 for state in svi.optim.get_state().values()}


def values(svi: SVI) -> dict[str, float]:
    """The unconstrained parameters."""
    store = get_param_store() if svi.param_store is None else svi.param_store
    return {name: leaf.item() for name, leaf in store.named_parameters()}
