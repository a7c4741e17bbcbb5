"""Outcomes of few kinds: logistic in raw units, probit, ordered, and deaths in hospitals under wide priors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.distributions.transforms import OrderedTransform
from tools.trust.posteriors.posterior import Data, Posterior, stream


def wells_data() -> Data:
    """Whether 200 households changed their well: arsenic, metres to the next one, years of school."""
    draw = stream(171)
    arsenic = np.round(0.5 + draw.gamma(1.0, 1.2, 200), 2)
    distance = np.round(draw.gamma(1.5, 32.0, 200), 1)
    school = draw.randint(0, 15, 200).astype(float)
    logits = 0.1 + 0.5 * arsenic - 0.011 * distance + 0.04 * school
    return {
        "changed": (draw.uniform(size=200) < 1 / (1 + np.exp(-logits))).astype(float),
        "arsenic": arsenic,
        "distance": distance,
        "school": school,
    }


def wells(changed: Tensor, arsenic: Tensor, distance: Tensor, school: Tensor) -> None:
    """Logistic regression in raw units (Gelman and Hill, 2007, chapter 5)."""
    intercept = ember.sample("intercept", dist.Normal(0.0, 100.0))
    by_arsenic = ember.sample("by_arsenic", dist.Normal(0.0, 100.0))
    by_distance = ember.sample("by_distance", dist.Normal(0.0, 100.0))
    by_school = ember.sample("by_school", dist.Normal(0.0, 100.0))
    logits = intercept + by_arsenic * arsenic + by_distance * distance + by_school * school
    with ember.plate("households", len(changed)):
        ember.sample("changed", dist.Bernoulli(logits=logits), obs=changed)


def beetles_data() -> Data:
    """100 beetles under a log dose of 1.7 to 1.9: dead or not."""
    draw = stream(172)
    dose = np.round(draw.uniform(1.69, 1.89, 100), 3)
    return {"dead": (draw.normal(size=100) < 20.0 * (dose - 1.78)).astype(float), "dose": dose}


def beetles(dead: Tensor, dose: Tensor) -> None:
    """Probit regression (Bliss, 1935), the dose not centred: intercept and slope go together to 0.9999."""
    intercept = ember.sample("intercept", dist.Normal(0.0, 100.0))
    slope = ember.sample("slope", dist.Normal(0.0, 100.0))
    probability = torch.special.ndtr(intercept + slope * dose)
    with ember.plate("beetles", len(dead)):
        ember.sample("dead", dist.Bernoulli(probability), obs=dead)


def opinions_data() -> Data:
    """Answers of 120 people on a scale of four, by age and income in thousands."""
    draw = stream(173)
    age, income = draw.uniform(18.0, 80.0, 120), np.exp(draw.normal(3.4, 0.6, 120))
    latent = 0.03 * age - 0.015 * income + draw.logistic(size=120)
    answer = (latent[:, None] > [-0.5, 0.8, 2.2]).sum(1)
    return {"answer": answer, "x": np.stack([age, income], 1)}


def opinions(answer: Tensor, x: Tensor) -> None:
    """Ordered logistic regression (McCullagh, 1980)."""
    slope = ember.sample("slope", dist.Normal(0.0, 5.0).expand([2]).to_event(1))
    ordered = dist.TransformedDistribution(dist.Normal(0.0, 5.0).expand([3]), OrderedTransform())
    cut = ember.sample("cut", ordered)
    with ember.plate("people", len(answer)):
        ember.sample("answer", dist.OrderedLogistic(x @ slope, cut), obs=answer)


def surgery_data() -> Data:
    """Operations on babies and deaths in twelve hospitals (Spiegelhalter and others, 1996)."""
    return {
        "operations": np.array([47.0, 148, 119, 810, 211, 196, 148, 215, 207, 97, 256, 360]),
        "deaths": np.array([0.0, 18, 8, 46, 8, 13, 9, 31, 14, 8, 29, 24]),
    }


def surgery(operations: Tensor, deaths: Tensor) -> None:
    """A logit for each hospital, a uniform prior to 100 on how far they differ."""
    mean = ember.sample("mean", dist.Normal(0.0, 1000.0))
    spread = ember.sample("spread", dist.Uniform(0.0, 100.0))
    with ember.plate("hospitals", len(deaths)):
        logit = ember.sample("logit", dist.Normal(mean, spread))
        ember.sample("deaths", dist.Binomial(operations, logits=logit), obs=deaths)


POSTERIORS = {
    "wells": Posterior(wells, wells_data),
    "beetles": Posterior(beetles, beetles_data),
    "opinions": Posterior(opinions, opinions_data),
    "surgery": Posterior(surgery, surgery_data),
}
