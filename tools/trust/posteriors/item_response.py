"""Answers of people to items: with one parameter an item, and with two."""

from __future__ import annotations

import numpy as np
from torch import Tensor

import ember
import ember.distributions as dist
from tools.trust.posteriors.posterior import Data, Posterior, stream


def answers(seed: int, people: int, items: int, spread: float) -> Data:
    """Right (1) or wrong (0), of shape (people, items); items discriminate more or less by ``spread``."""
    draw = stream(seed)
    ability, difficulty = draw.normal(size=(people, 1)), draw.normal(size=items)
    logits = np.exp(spread * draw.normal(size=items)) * (ability - difficulty)
    return {"right": (draw.uniform(size=(people, items)) < 1 / (1 + np.exp(-logits))).astype(float)}


def rasch_data() -> Data:
    """60 people, 12 items."""
    return answers(141, 60, 12, 0.0)


def rasch(right: Tensor) -> None:
    """One parameter an item (Rasch, 1960); how far people differ is learnt."""
    spread = ember.sample("spread", dist.HalfNormal(2.0))
    people, items = right.shape
    with ember.plate("items", items, dim=-1):
        difficulty = ember.sample("difficulty", dist.Normal(0.0, 3.0))
    with ember.plate("people", people, dim=-2):
        ability = ember.sample("ability", dist.Normal(0.0, 1.0))
        with ember.plate("items_again", items, dim=-1):
            ember.sample("right", dist.Bernoulli(logits=spread * ability - difficulty), obs=right)


def two_parameters_data() -> Data:
    """100 people, 15 items."""
    return answers(142, 100, 15, 0.4)


def two_parameters(right: Tensor) -> None:
    """Difficulty and discrimination of an item (Birnbaum, 1968), both under a common prior that is learnt."""
    people, items = right.shape
    mean = ember.sample("mean", dist.Normal(0.0, 5.0))
    spread = ember.sample("spread", dist.HalfCauchy(2.0))
    variety = ember.sample("variety", dist.HalfCauchy(2.0))
    with ember.plate("items", items, dim=-1):
        difficulty = ember.sample("difficulty", dist.Normal(mean, spread))
        discrimination = ember.sample("discrimination", dist.LogNormal(0.0, variety))
    with ember.plate("people", people, dim=-2):
        ability = ember.sample("ability", dist.Normal(0.0, 1.0))
    logits = discrimination * (ability - difficulty)
    with ember.plate("all_people", people, dim=-2), ember.plate("all_items", items, dim=-1):
        ember.sample("right", dist.Bernoulli(logits=logits), obs=right)


POSTERIORS = {
    "rasch": Posterior(rasch, rasch_data),
    "two_parameters": Posterior(two_parameters, two_parameters_data),
}
