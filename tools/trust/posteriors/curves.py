"""Curves: growth of dugongs, a dose and its response, times to failure, hares and lynxes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from tools.trust.posteriors.posterior import Data, Posterior, stream


def dugongs_data() -> Data:
    """Ages in years and lengths in metres of 27 dugongs (Ratkowsky, 1983)."""
    ages = (
        1,
        1.5,
        1.5,
        1.5,
        2.5,
        4,
        5,
        5,
        7,
        8,
        8.5,
        9,
        9.5,
        9.5,
        10,
        12,
        12,
        13,
        13,
        14.5,
        15.5,
        15.5,
        16.5,
        17,
    )
    lengths = (
        *(1.80, 1.85, 1.87, 1.77, 2.02, 2.27, 2.15, 2.26, 2.47, 2.19, 2.26, 2.40, 2.39, 2.41),
        *(2.50, 2.32, 2.32, 2.43, 2.47, 2.56, 2.65, 2.47, 2.64, 2.56, 2.70, 2.72, 2.57),
    )
    return {"age": np.array([*ages, 22.5, 29.0, 31.5]), "length": np.array(lengths)}


def dugongs(age: Tensor, length: Tensor) -> None:
    """Growth that slows down (Carlin and Gelfand, 1991)."""
    limit = ember.sample("limit", dist.Normal(0.0, 100.0))
    still = ember.sample("still", dist.HalfNormal(100.0))
    rate = ember.sample("rate", dist.Uniform(0.5, 1.0))
    noise = ember.sample("noise", dist.HalfCauchy(1.0))
    with ember.plate("dugongs", len(age)):
        ember.sample("length", dist.Normal(limit - still * rate**age, noise), obs=length)


def doses_data() -> Data:
    """Responses to eight doses from 1 to 10,000, five times each."""
    draw = stream(181)
    dose = np.repeat(10.0 ** np.linspace(0.0, 4.0, 8).round(2), 5)
    return {"dose": dose, "response": 10.0 + 90.0 / (1.0 + (150.0 / dose) ** 1.2) + draw.normal(0.0, 6.0, 40)}


def doses(dose: Tensor, response: Tensor) -> None:
    """A logistic curve of four parameters in the logarithm of the dose (Hill, 1910)."""
    bottom = ember.sample("bottom", dist.Normal(0.0, 50.0))
    height = ember.sample("height", dist.Normal(100.0, 50.0))
    half = ember.sample("half", dist.LogNormal(math.log(100.0), 2.0))
    steepness = ember.sample("steepness", dist.LogNormal(0.0, 1.0))
    noise = ember.sample("noise", dist.HalfCauchy(10.0))
    mean = bottom + height / (1.0 + (half / dose) ** steepness)
    with ember.plate("wells", len(dose)):
        ember.sample("response", dist.Normal(mean, noise), obs=response)


def survival_data() -> Data:
    """Days that 90 patients lived after a treatment, at most 1,000, by age in years."""
    draw = stream(182)
    age = np.round(draw.uniform(40.0, 80.0, 90))
    treated = (draw.uniform(size=90) < 0.5).astype(float)
    days = np.exp(8.2 - 0.03 * age + 0.5 * treated) * draw.weibull(1.4, 90)
    return {
        "days": np.minimum(days, 1000.0),
        "died": np.flatnonzero(days < 1000.0),
        "alive": np.flatnonzero(days >= 1000.0),
        "age": age,
        "treated": treated,
    }


def survival(days: Tensor, died: Tensor, alive: Tensor, age: Tensor, treated: Tensor) -> None:
    """Weibull times; of those still alive, only that they live longer is known."""
    intercept = ember.sample("intercept", dist.Normal(0.0, 20.0))
    by_age = ember.sample("by_age", dist.Normal(0.0, 1.0))
    by_treatment = ember.sample("by_treatment", dist.Normal(0.0, 10.0))
    shape = ember.sample("shape", dist.LogNormal(0.0, 1.0))
    scale = (intercept + by_age * age + by_treatment * treated).exp()
    with ember.plate("dead", len(died)):
        ember.sample("days", dist.Weibull(scale[died], shape), obs=days[died])
    ember.factor("longer", -((days[alive] / scale[alive]) ** shape).sum())


def lynxes_data() -> Data:
    """Pelts of hares and lynxes in thousands, 1900 to 1920, of the Hudson's Bay Company (Hewitt, 1921)."""
    hares = (
        *(30, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22, 25.4, 27.1),
        *(40.3, 57, 76.6, 52.3, 19.5, 11.2, 7.6, 14.6, 16.2, 24.7),
    )
    lynxes = (
        *(4, 6.1, 9.8, 35.2, 59.4, 41.7, 19, 13, 8.3, 9.1, 7.4),
        *(8, 12.3, 19.5, 45.7, 51.1, 29.7, 15.8, 9.7, 10.1, 8.6),
    )
    return {"pelts": np.array([hares, lynxes], dtype=float).T, "substeps": 4}


def lynxes(pelts: Tensor, substeps: int) -> None:
    """Lotka and Volterra's equations by fixed steps of Runge and Kutta, in a loop."""
    birth = ember.sample("birth", dist.LogNormal(math.log(1.0), 0.5).expand([2]).to_event(1))
    meet = ember.sample("meet", dist.LogNormal(math.log(0.05), 0.5).expand([2]).to_event(1))
    start = ember.sample("start", dist.LogNormal(math.log(10.0), 1.0).expand([2]).to_event(1))
    noise = ember.sample("noise", dist.LogNormal(-1.0, 1.0).expand([2]).to_event(1))
    sign = torch.tensor([1.0, -1.0], dtype=pelts.dtype)

    def change(z: Tensor) -> Tensor:
        rate: Tensor = sign * z * (birth - meet * z.flip(-1))
        return rate

    z, step, years = start, 1.0 / substeps, [start]
    for _ in range(len(pelts) - 1):
        for _ in range(substeps):
            first = change(z)
            second = change(z + 0.5 * step * first)
            third = change(z + 0.5 * step * second)
            fourth = change(z + step * third)
            z = z + step / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)
        years.append(z)
    with ember.plate("years", len(pelts)):
        ember.sample("pelts", dist.LogNormal(torch.stack(years).log(), noise).to_event(1), obs=pelts)


POSTERIORS = {
    "dugongs": Posterior(dugongs, dugongs_data),
    "doses": Posterior(doses, doses_data),
    "survival": Posterior(survival, survival_data),
    "lynxes": Posterior(lynxes, lynxes_data),
}
