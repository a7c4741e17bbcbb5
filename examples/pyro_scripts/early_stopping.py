"""Train on one part of the data, watch the loss on the other, and stop when that no longer falls.

Bayesian regression of a noisy sine on polynomials. Every 50 steps `evaluate_loss` tells how well the guide
explains the data held out; after 10 such looks without a new best, training ends and the best parameters are
put back.
"""

from __future__ import annotations

import argparse

import torch

import pyro
import pyro.distributions as dist
from pyro.distributions import constraints
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam

DEGREE = 5
NOISE = 0.2
EVERY, PATIENCE = 50, 10


def make_data(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Chebyshev polynomials of x up to the degree, and the noisy sine at x."""
    x = torch.rand(size) * 2 - 1
    degrees = torch.arange(DEGREE + 1)
    basis = torch.special.chebyshev_polynomial_t(x[:, None], degrees)
    return basis, torch.sin(3 * x) + NOISE * torch.randn(size)


def model(basis: torch.Tensor, y: torch.Tensor) -> None:
    """A linear regression on the polynomials, with known noise."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(DEGREE + 1), 3.0).to_event(1))
    with pyro.plate("points", len(y)):
        pyro.sample("y", dist.Normal(basis @ weights, NOISE), obs=y)


def guide(basis: torch.Tensor, y: torch.Tensor) -> None:
    """Independent normals."""
    loc = pyro.param("loc", torch.zeros(DEGREE + 1))
    scale = pyro.param("scale", torch.full((DEGREE + 1,), 0.1), constraint=constraints.positive)
    pyro.sample("weights", dist.Normal(loc, scale).to_event(1))


def main(max_steps: int) -> None:
    """Train until the validation loss has stopped falling, or for ``max_steps``."""
    pyro.set_rng_seed(1)
    pyro.clear_param_store()
    train, validation, test = make_data(100), make_data(50), make_data(200)

    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO())
    store = pyro.get_param_store()
    best_loss, best_step, best = float("inf"), 0, {}
    for step in range(1, max_steps + 1):
        svi.step(*train)
        if step % EVERY == 0:
            loss = svi.evaluate_loss(*validation)
            if loss < best_loss:
                best_loss, best_step = loss, step
                best = {name: value.detach().clone() for name, value in store.items()}
                print(f"step {step:5d}  validation loss {loss:8.2f}")
            if step - best_step >= PATIENCE * EVERY:
                print(f"no better for {PATIENCE} evaluations")
                break

    for name, value in best.items():
        store[name] = value
    error = (test[0] @ pyro.param("loc") - torch.sin(3 * test[0][:, 1])).square().mean().sqrt().item()
    print(f"stopped at step {step}, best at step {best_step}")
    print(f"error of the curve on new points {error:.3f} (noise {NOISE})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-steps", type=int, default=10_000)
    main(parser.parse_args().max_steps)
