"""The posteriors of ``benchmarks.fit`` in PyMC.

python -m benchmarks.posteriors.in_pymc: whether they are the same posteriors as NumPyro's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor import scan

from tools.trust.posteriors import POSTERIORS
from tools.trust.truth import stored


def schools_noncentred(effects: Any, errors: Any) -> None:
    mu = pm.Normal("mu", 0.0, 5.0)
    tau = pm.HalfCauchy("tau", 5.0)
    away = pm.Normal("away", 0.0, 1.0, shape=len(effects))
    theta = pm.Deterministic("theta", mu + tau * away)
    pm.Normal("effect", theta, errors, observed=effects)


def incomes(income: Any, height: Any, age: Any, male: Any) -> None:
    intercept = pm.Normal("intercept", 0.0, 1e6)
    by_height = pm.Normal("by_height", 0.0, 1e5)
    by_age = pm.Normal("by_age", 0.0, 1e5)
    by_sex = pm.Normal("by_sex", 0.0, 1e5)
    noise = pm.HalfCauchy("noise", 10_000.0)
    mean = intercept + by_height * height + by_age * age + by_sex * male
    pm.Normal("income", mean, noise, observed=income)


def hundred(x: Any, y: Any) -> None:
    intercept = pm.Normal("intercept", 0.0, 100.0)
    slope = pm.Normal("slope", 0.0, 100.0, shape=x.shape[1])
    noise = pm.HalfCauchy("noise", 5.0)
    pm.Normal("y", intercept + pt.dot(x, slope), noise, observed=y)


def two_parameters(right: Any) -> None:
    people, items = right.shape
    mean = pm.Normal("mean", 0.0, 5.0)
    spread = pm.HalfCauchy("spread", 2.0)
    variety = pm.HalfCauchy("variety", 2.0)
    difficulty = pm.Normal("difficulty", mean, spread, shape=items)
    discrimination = pm.LogNormal("discrimination", 0.0, variety, shape=items)
    ability = pm.Normal("ability", 0.0, 1.0, shape=(people, 1))
    pm.Bernoulli("right", logit_p=discrimination * (ability - difficulty), observed=right)


def gp_regression(x: Any, y: Any) -> None:
    length = pm.InverseGamma("length", 5.0, 5.0)
    height = pm.HalfNormal("height", 3.0)
    noise = pm.HalfNormal("noise", 1.0)
    apart = (x[:, None] - x[None, :]) / length
    covariance = height**2 * pt.exp(-0.5 * apart**2) + noise**2 * np.eye(len(x))
    pm.MvNormal("y", np.zeros(len(x)), cov=covariance, observed=y)


def garch(y: Any) -> None:
    mean = pm.Normal("mean", 0.0, 10.0)
    constant = pm.HalfNormal("constant", 5.0)
    alpha = pm.Uniform("alpha", 0.0, 1.0)
    share = pm.Uniform("share", 0.0, 1.0)
    beta = pm.Deterministic("beta", (1.0 - alpha) * share)
    first = pt.as_tensor(y.var(ddof=1))
    others = scan(
        lambda before, variance, *scales: (
            scales[0] + scales[1] * (before - scales[2]) ** 2 + scales[3] * variance
        ),
        sequences=[pt.as_tensor(y[:-1])],
        outputs_info=[first],
        non_sequences=[constant, alpha, mean, beta],
        return_updates=False,
    )
    pm.Normal("y", mean, pt.sqrt(pt.concatenate([first[None], others])), observed=y)


MODELS: dict[str, Callable[..., None]] = {
    "eight_schools_noncentred": schools_noncentred,
    "incomes": incomes,
    "hundred": hundred,
    "two_parameters": two_parameters,
    "gp_regression": gp_regression,
    "garch": garch,
}


def log_densities(name: str) -> list[float]:
    """PyMC's log p(x, z) at the points of a reference posterior, in the coordinates of the model."""
    with pm.Model() as model:
        MODELS[name](**POSTERIORS[name].data())
    log_density = model.compile_logp(jacobian=False)
    points = stored(name)["points"]
    found = []
    for i in range(len(stored(name)["log_densities"])):
        values = {}
        for variable in model.free_RVs:
            inside = np.array(points[variable.name][i], dtype=float)
            transform = model.rvs_to_transforms[variable]
            loose = inside if transform is None else transform.forward(inside, *variable.owner.inputs).eval()
            values[model.rvs_to_values[variable].name] = loose
        found.append(float(log_density(values)))
    return found


def main() -> int:
    """Compare with NumPyro's, a line a model; 1 if they differ by more than a constant."""
    different = False
    for name in MODELS:
        apart = np.array(log_densities(name)) - np.array(stored(name)["log_densities"])
        spread = float(np.ptp(apart))
        different |= not spread < 1e-6 * (1.0 + np.abs(stored(name)["log_densities"]).max())
        print(f"{name}: {spread:.1e} apart but for a constant")
    return int(different)


if __name__ == "__main__":
    sys.exit(main())
