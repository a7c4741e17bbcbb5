"""``tools.trust.posteriors.categories`` in NumPyro."""

from __future__ import annotations

from typing import Any

import numpyro
import numpyro.distributions as dist
from jax.scipy.special import ndtr
from numpyro.distributions.transforms import OrderedTransform
from numpyro.infer.reparam import LocScaleReparam

from benchmarks.posteriors.program import Program


def wells(changed: Any, arsenic: Any, distance: Any, school: Any) -> None:
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 100.0))
    by_arsenic = numpyro.sample("by_arsenic", dist.Normal(0.0, 100.0))
    by_distance = numpyro.sample("by_distance", dist.Normal(0.0, 100.0))
    by_school = numpyro.sample("by_school", dist.Normal(0.0, 100.0))
    logits = intercept + by_arsenic * arsenic + by_distance * distance + by_school * school
    with numpyro.plate("households", len(changed)):
        numpyro.sample("changed", dist.Bernoulli(logits=logits), obs=changed)


def beetles(dead: Any, dose: Any) -> None:
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 100.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 100.0))
    with numpyro.plate("beetles", len(dead)):
        numpyro.sample("dead", dist.Bernoulli(probs=ndtr(intercept + slope * dose)), obs=dead)


def opinions(answer: Any, x: Any) -> None:
    slope = numpyro.sample("slope", dist.Normal(0.0, 5.0).expand([2]).to_event(1))
    ordered = dist.TransformedDistribution(dist.Normal(0.0, 5.0).expand([3]).to_event(1), OrderedTransform())
    cut = numpyro.sample("cut", ordered)
    with numpyro.plate("people", len(answer)):
        numpyro.sample("answer", dist.OrderedLogistic(x @ slope, cut), obs=answer)


def surgery(operations: Any, deaths: Any) -> None:
    mean = numpyro.sample("mean", dist.Normal(0.0, 1000.0))
    spread = numpyro.sample("spread", dist.Uniform(0.0, 100.0))
    with numpyro.plate("hospitals", len(deaths)):
        logit = numpyro.sample("logit", dist.Normal(mean, spread))
        numpyro.sample("deaths", dist.Binomial(operations.astype(int), logits=logit), obs=deaths)


PROGRAMS = {
    "wells": Program(wells, dense=True),
    "beetles": Program(beetles, dense=True),
    "opinions": Program(opinions, dense=True, radius=0.1),
    "surgery": Program(surgery, {"logit": LocScaleReparam(0.0)}),
}
