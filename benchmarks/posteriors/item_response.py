"""``tools.trust.posteriors.item_response`` in NumPyro."""

from __future__ import annotations

from typing import Any

import numpyro
import numpyro.distributions as dist
from numpyro.infer.reparam import LocScaleReparam

from benchmarks.posteriors.program import Program


def rasch(right: Any) -> None:
    spread = numpyro.sample("spread", dist.HalfNormal(2.0))
    people, items = right.shape
    with numpyro.plate("items", items, dim=-1):
        difficulty = numpyro.sample("difficulty", dist.Normal(0.0, 3.0))
    with numpyro.plate("people", people, dim=-2):
        ability = numpyro.sample("ability", dist.Normal(0.0, 1.0))
        with numpyro.plate("items_again", items, dim=-1):
            numpyro.sample("right", dist.Bernoulli(logits=spread * ability - difficulty), obs=right)


def two_parameters(right: Any) -> None:
    people, items = right.shape
    mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
    spread = numpyro.sample("spread", dist.HalfCauchy(2.0))
    variety = numpyro.sample("variety", dist.HalfCauchy(2.0))
    with numpyro.plate("items", items, dim=-1):
        difficulty = numpyro.sample("difficulty", dist.Normal(mean, spread))
        discrimination = numpyro.sample("discrimination", dist.LogNormal(0.0, variety))
    with numpyro.plate("people", people, dim=-2):
        ability = numpyro.sample("ability", dist.Normal(0.0, 1.0))
    logits = discrimination * (ability - difficulty)
    with numpyro.plate("all_people", people, dim=-2), numpyro.plate("all_items", items, dim=-1):
        numpyro.sample("right", dist.Bernoulli(logits=logits), obs=right)


PROGRAMS = {
    "rasch": Program(rasch),
    "two_parameters": Program(two_parameters, {"difficulty": LocScaleReparam(0.0)}),
}
