"""Linear regressions in raw units: incomes, shrubs in logarithms, outliers, and a hundred parameters."""

from __future__ import annotations

import numpy as np
from torch import Tensor

import ember
import ember.distributions as dist
from tools.trust.posteriors.posterior import Data, Posterior, stream


def incomes_data() -> Data:
    """Dollars a year of 120 people, by height in inches, age in years and sex."""
    draw = stream(151)
    male = (draw.uniform(size=120) < 0.45).astype(float)
    height = 64.0 + 5.0 * male + draw.normal(0.0, 2.5, 120)
    age = draw.uniform(20.0, 65.0, 120)
    income = -30_000 + 700 * height + 150 * age + 9_000 * male + draw.normal(0.0, 12_000, 120)
    return {"income": income, "height": height, "age": age, "male": male}


def incomes(income: Tensor, height: Tensor, age: Tensor, male: Tensor) -> None:
    """Five parameters, one site each, nothing centred or scaled (Gelman and Hill, 2007, chapter 4)."""
    intercept = ember.sample("intercept", dist.Normal(0.0, 1e6))
    by_height = ember.sample("by_height", dist.Normal(0.0, 1e5))
    by_age = ember.sample("by_age", dist.Normal(0.0, 1e5))
    by_sex = ember.sample("by_sex", dist.Normal(0.0, 1e5))
    noise = ember.sample("noise", dist.HalfCauchy(10_000.0))
    mean = intercept + by_height * height + by_age * age + by_sex * male
    with ember.plate("people", len(income)):
        ember.sample("income", dist.Normal(mean, noise), obs=income)


def shrubs_data() -> Data:
    """Weights in grams of 46 shrubs, with two diameters, two heights and a density, which go together."""
    draw = stream(152)
    size = draw.normal(0.3, 0.45, 46)
    measured = np.exp(size[:, None] * [1.0, 1.0, 0.6, 0.6, 0.0] + draw.normal(0.0, 0.2, (46, 5)))
    log_weight = 5.3 + np.log(measured) @ [0.6, 0.9, 0.6, 0.3, 0.2] + draw.normal(0.0, 0.3, 46)
    return {"weight": np.exp(log_weight), "measured": measured}


def shrubs(weight: Tensor, measured: Tensor) -> None:
    """Both sides in logarithms (Gelman and Hill, 2007, chapter 4), flat-ish priors."""
    intercept = ember.sample("intercept", dist.Normal(0.0, 100.0))
    power = ember.sample("power", dist.Normal(0.0, 100.0).expand([measured.shape[1]]).to_event(1))
    noise = ember.sample("noise", dist.HalfCauchy(2.5))
    with ember.plate("shrubs", len(weight)):
        ember.sample("weight", dist.LogNormal(intercept + measured.log() @ power, noise), obs=weight)


def outliers_data() -> Data:
    """60 temperatures in kelvin by height in metres, five of them far off."""
    draw = stream(153)
    height = draw.uniform(0.0, 3000.0, 60)
    temperature = 288.0 - 0.0065 * height + draw.normal(0.0, 0.8, 60)
    temperature[:5] += draw.normal(0.0, 15.0, 5)
    return {"temperature": temperature, "height": height}


def outliers(temperature: Tensor, height: Tensor) -> None:
    """Noise of Student's t, its degrees of freedom unknown (Juarez and Steel, 2010)."""
    intercept = ember.sample("intercept", dist.Normal(0.0, 1000.0))
    slope = ember.sample("slope", dist.Normal(0.0, 1.0))
    noise = ember.sample("noise", dist.HalfCauchy(5.0))
    freedom = ember.sample("freedom", dist.Gamma(2.0, 0.1))
    with ember.plate("rows", len(height)):
        ember.sample(
            "temperature", dist.StudentT(freedom, intercept + slope * height, noise), obs=temperature
        )


def hundred_data() -> Data:
    """300 rows of 98 predictors whose units differ by up to a thousand."""
    draw = stream(154)
    unit = 10.0 ** draw.uniform(-1.5, 1.5, 98)
    x = draw.normal(size=(300, 98))
    slope = draw.normal(size=98) * (draw.uniform(size=98) < 0.3)
    return {"x": np.round(x * unit, 4), "y": 10.0 + x @ slope + draw.normal(0.0, 1.5, 300)}


def hundred(x: Tensor, y: Tensor) -> None:
    """A hundred parameters: an intercept, 98 slopes, the noise."""
    intercept = ember.sample("intercept", dist.Normal(0.0, 100.0))
    slope = ember.sample("slope", dist.Normal(0.0, 100.0).expand([x.shape[1]]).to_event(1))
    noise = ember.sample("noise", dist.HalfCauchy(5.0))
    with ember.plate("rows", len(y)):
        ember.sample("y", dist.Normal(intercept + x @ slope, noise), obs=y)


POSTERIORS = {
    "incomes": Posterior(incomes, incomes_data),
    "shrubs": Posterior(shrubs, shrubs_data),
    "outliers": Posterior(outliers, outliers_data),
    "hundred": Posterior(hundred, hundred_data),
}
