"""One way to an answer, on one reference posterior, in a process of its own; ``benchmarks.fit`` starts it.

    python -m benchmarks.fit_worker CONTENDER MODEL

Prints one line of JSON: seconds of the first and of the second call, what the contender itself says of its answer, and the mean
and standard deviation of every scalar of the first.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tools.trust.truth import labels, stored

DRAWS, PYRO_STEPS = 4_000, 8_000


class Way(NamedTuple):
    """A contender on one model: a call that fits, with a seed, and what reads the answer, outside the clock."""

    call: Callable[[int], Any]
    read: Callable[[Any], dict[str, list[float]]]
    says: Callable[[Any], str] = lambda fitted: ""


def scalars(draws: Mapping[str, Any]) -> dict[str, list[float]]:
    """Mean and standard deviation of each scalar; draws first."""
    found = {}
    for site, values in draws.items():
        flat = np.asarray(values, dtype=float).reshape(len(values), -1)
        for label, column in zip(labels(site, np.shape(values)[1:]), flat.T, strict=True):
            found[label] = [float(column.mean()), float(column.std())]
    return found


def in_ember(model: str) -> Way:
    """``ember.fit`` with nothing but a seed."""
    import ember
    from tools.trust.posteriors import POSTERIORS

    posterior = POSTERIORS[model]
    arguments = posterior.arguments()

    def read(fitted: Any) -> dict[str, list[float]]:
        table = fitted.summary()
        return {name: [table[name]["mean"], table[name]["sd"]] for name in table}

    return Way(
        lambda seed: ember.fit(posterior.model, seed=seed, progress=False, **arguments),
        read,
        lambda fitted: str(fitted.verdict.status),
    )


def in_numpyro(model: str) -> Way:
    """Four chains of NUTS as NumPyro sets them, one after another; the second call finds the sampler compiled."""
    import jax
    from numpyro.infer import MCMC, NUTS

    from benchmarks.posteriors import PROGRAMS
    from benchmarks.posteriors.truth import data_of

    jax.config.update("jax_enable_x64", True)
    data = data_of(model)
    mcmc = MCMC(
        NUTS(PROGRAMS[model].model),
        num_warmup=1_000,
        num_samples=1_000,
        num_chains=4,
        chain_method="sequential",
        progress_bar=False,
    )

    def call(seed: int) -> Mapping[str, Any]:
        mcmc.run(jax.random.PRNGKey(seed), **data)
        return {name: np.asarray(values) for name, values in mcmc.get_samples().items()}

    return Way(call, scalars)


def in_pyro(model: str, guide_name: str) -> Way:
    """The usual recipe: an automatic guide, 8,000 steps of ClippedAdam at 0.01, in double precision."""
    import torch

    import pyro
    import pyro.distributions
    import pyro.distributions.transforms
    from pyro.infer import SVI, Predictive, Trace_ELBO, autoguide
    from pyro.optim import ClippedAdam

    # The models' text names Ember; here Pyro answers to that name.
    sys.modules["ember"] = pyro
    sys.modules["ember.distributions"] = pyro.distributions
    sys.modules["ember.distributions.transforms"] = pyro.distributions.transforms
    torch.set_default_dtype(torch.float64)
    from tools.trust.posteriors import POSTERIORS

    posterior = POSTERIORS[model]
    arguments = posterior.arguments()
    shapes = {site: columns["shape"] for site, columns in stored(model)["sites"].items()}

    def call(seed: int) -> Any:
        pyro.set_rng_seed(seed)
        pyro.clear_param_store()
        guide = getattr(autoguide, guide_name)(posterior.model)
        svi = SVI(posterior.model, guide, ClippedAdam({"lr": 0.01}), Trace_ELBO())
        for _ in range(PYRO_STEPS):
            svi.step(**arguments)
        draws = Predictive(posterior.model, guide=guide, num_samples=DRAWS, return_sites=list(shapes))
        return draws, {name: value.detach().clone() for name, value in pyro.get_param_store().items()}

    def read(fitted: Any) -> dict[str, list[float]]:
        draws, values = fitted
        for name, value in values.items():  # a second call has trained the same names further
            pyro.get_param_store()[name] = value
        with torch.no_grad():
            found = draws(**arguments)
        # Predictive leaves dims of plates that a site is not in.
        return scalars({name: found[name].reshape(-1, *shape).numpy() for name, shape in shapes.items()})

    return Way(call, read)


def in_pymc(model: str, method: str) -> Way:
    """``pymc.fit`` as it stands: 10,000 steps."""
    import pymc

    from benchmarks.posteriors.in_pymc import MODELS
    from tools.trust.posteriors import POSTERIORS

    with pymc.Model() as written:
        MODELS[model](**POSTERIORS[model].data())

    def call(seed: int) -> Any:
        with written:
            return pymc.fit(method=method, random_seed=seed, progressbar=False)

    def read(fitted: Any) -> dict[str, list[float]]:
        draws = fitted.sample(DRAWS, random_seed=0).posterior
        return scalars({name: draws[name].values[0] for name in stored(model)["sites"]})

    return Way(call, read)


CONTENDERS: dict[str, Callable[[str], Way]] = {
    "ember": in_ember,
    "numpyro": in_numpyro,
    "pymc": lambda model: in_pymc(model, "advi"),
    "pymc-full-rank": lambda model: in_pymc(model, "fullrank_advi"),
    "pyro": lambda model: in_pyro(model, "AutoNormal"),
    "pyro-full-rank": lambda model: in_pyro(model, "AutoMultivariateNormal"),
}


def main(argv: list[str]) -> int:
    """Fit twice, and print the line."""
    warnings.simplefilter("ignore")
    contender, model = argv
    way = CONTENDERS[contender](model)
    seconds, fitted = [], []
    for seed in (0, 1):
        start = time.perf_counter()
        fitted.append(way.call(seed))
        seconds.append(time.perf_counter() - start)
    answer = {
        "first": seconds[0],
        "second": seconds[1],
        "says": way.says(fitted[0]),
        "scalars": way.read(fitted[0]),
    }
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
