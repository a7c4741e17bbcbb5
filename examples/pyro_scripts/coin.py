"""Is the coin fair? A Beta prior, ten flips, and a guide written by hand; the exact posterior is known.

Prints the loss while it trains, then the posterior's mean and standard deviation beside the exact ones.
"""

from __future__ import annotations

import argparse

import torch

import pyro
import pyro.distributions as dist
from pyro.distributions import constraints
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam

PRIOR = 10.0


def model(flips: torch.Tensor) -> None:
    """Each flip shows heads with the coin's own probability."""
    fairness = pyro.sample("fairness", dist.Beta(PRIOR, PRIOR))
    with pyro.plate("flips", len(flips)):
        pyro.sample("flip", dist.Bernoulli(fairness), obs=flips)


def guide(flips: torch.Tensor) -> None:
    """A Beta distribution again, so the optimum is the exact posterior."""
    alpha = pyro.param("alpha", torch.tensor(15.0), constraint=constraints.positive)
    beta = pyro.param("beta", torch.tensor(15.0), constraint=constraints.positive)
    pyro.sample("fairness", dist.Beta(alpha, beta))


def main(steps: int) -> None:
    """Train for so many steps and print what was learnt."""
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    flips = torch.tensor([1.0] * 6 + [0.0] * 4)

    svi = SVI(model, guide, Adam({"lr": 0.0005}), Trace_ELBO())
    for step in range(1, steps + 1):
        loss = svi.step(flips)
        if step % (steps // 10 or 1) == 0:
            print(f"step {step:5d}  loss {loss:7.4f}")

    alpha, beta = (pyro.param(name).item() for name in ("alpha", "beta"))
    found = dist.Beta(alpha, beta)
    exact = dist.Beta(PRIOR + flips.sum(), PRIOR + (1 - flips).sum())
    print(f"posterior mean {found.mean:.3f} (exact {exact.mean:.3f})")
    print(f"posterior standard deviation {found.stddev:.3f} (exact {exact.stddev:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    main(parser.parse_args().steps)
