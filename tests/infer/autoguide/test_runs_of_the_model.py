"""How often a guide runs the model: once to learn its sites, and not again without need, since every run draws numbers."""

from __future__ import annotations

import torch

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.infer.traces.validation import validation_enabled


def test_a_plate_without_latent_sites_needs_no_second_look() -> None:
    runs = 0

    def model(data: torch.Tensor) -> None:
        nonlocal runs
        runs += 1
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        with ember.plate("rows", len(data)):
            ember.sample("x", dist.Normal(z, 1.0), obs=data)

    store = ember.params.ParamStoreDict()
    svi = SVI(model, AutoNormal(model), ember.optim.Adam({"lr": 0.01}), Trace_ELBO(), param_store=store)
    with validation_enabled(True):
        svi.step(torch.ones(3))
        svi.step(torch.ones(3))
    assert runs == 3  # the first look, and the steps


def test_rows_that_the_model_gives_are_found_before_the_rest_of_it_runs() -> None:
    """The guide runs the model as far as the plate; with ``create_plates`` it does not run it at all."""
    reached: list[str] = []

    def model(data: torch.Tensor, rows: torch.Tensor) -> None:
        reached.append("begun")
        with ember.plate("rows", 6, subsample=rows):
            reached.append("inside")
            z = ember.sample("z", dist.Normal(0.0, 1.0))
            ember.sample("x", dist.Normal(z, 1.0), obs=data)

    def create_plates(data: torch.Tensor, rows: torch.Tensor) -> ember.plate:
        return ember.plate("rows", 6, subsample=rows)

    args = torch.zeros(2), torch.tensor([4, 1])
    for made, expected in (
        (AutoNormal(model), ["begun"]),
        (AutoNormal(model, create_plates=create_plates), []),
    ):
        guide = made.prepare(*args)
        reached.clear()
        assert guide(*args)["z"].shape == (2,)
        assert reached == expected
