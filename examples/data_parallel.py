"""Two processes fit one regression: each sees half of each batch, and both take the step that one would take.

    torchrun --nproc-per-node 2 examples/data_parallel.py

With one process (`python examples/data_parallel.py`) it is an ordinary fit. The first process prints.
"""

from __future__ import annotations

import argparse
import os

import torch
from torch import distributed

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.optim import Adam
from ember.train import Checkpoint, DataParallel, Rates

TRUTH = torch.tensor([1.0, -2.0, 0.5, 0.0])
ROWS = 4000


def model(x: torch.Tensor, y: torch.Tensor) -> None:
    """A logistic regression; the plate has the rows at hand, which the fit scales to all."""
    weights = ember.sample("weights", dist.Normal(torch.zeros(len(TRUTH)), 1.0).to_event(1))
    with ember.plate("rows", len(x)):
        ember.sample("y", dist.Bernoulli(logits=x @ weights), obs=y)


def main(epochs: int, path: str | None) -> None:
    """Fit, and print what the first process has found."""
    together = "RANK" in os.environ
    if together:
        distributed.init_process_group("gloo")
    ember.set_rng_seed(0)
    x = torch.randn(ROWS, len(TRUTH))
    y = dist.Bernoulli(logits=x @ TRUTH).sample()
    guide = AutoNormal(model)
    svi = SVI(model, guide, Adam({"lr": 0.02}), Trace_ELBO())
    first = not together or distributed.get_rank() == 0
    result = svi.fit(
        (x[:3000], y[:3000]),
        epochs=epochs,
        batch_size=100,
        validation=(x[3000:], y[3000:]),
        callbacks=[Rates(lambda step: 1 / (1 + step / 300)), *([Checkpoint(path)] if path else [])],
        progress=first,
        parallel=DataParallel() if together else None,
        resume=path,
    )
    if first:
        found = guide.median()["weights"]
        print(f"{distributed.get_world_size() if together else 1} processes, {result.num_steps} steps")
        print(f"validation loss {result.validation[0][1]:.1f} -> {result.validation[-1][1]:.1f}")
        print("weights", " ".join(f"{value:.2f}" for value in found.tolist()))
        print(f"largest error {(found - TRUTH).abs().max().item():.2f}")
    if together:
        distributed.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--path", help="a file for the state, from which the fit goes on if it is there")
    given = parser.parse_args()
    main(given.epochs, given.path)
