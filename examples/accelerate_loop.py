"""A loop by Accelerate around Ember's compiled loss: loss and gradients of each batch come from one captured program.

    pip install accelerate
    python examples/accelerate_loop.py

The batches are those of a loader, so that the model says itself how many rows each stands for.
"""

from __future__ import annotations

import argparse

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

import ember
import ember.distributions as dist
from ember.infer import Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.train import CompiledLoss

TRUTH = torch.tensor([1.0, -2.0, 0.5])
ROWS = 640


def model(x: torch.Tensor, y: torch.Tensor) -> None:
    """A linear regression on all rows, of which a batch has some."""
    weights = ember.sample("weights", dist.Normal(torch.zeros(len(TRUTH)), 1.0).to_event(1))
    with ember.plate("rows", ROWS, subsample_size=len(x)):
        ember.sample("y", dist.Normal(x @ weights, 0.3), obs=y)


def main(epochs: int) -> float:
    """Fit, and print what was found; returns the largest error."""
    ember.set_rng_seed(0)
    x = torch.randn(ROWS, len(TRUTH))
    y = x @ TRUTH + 0.3 * torch.randn(ROWS)
    accelerator = Accelerator(cpu=True)
    guide = AutoNormal(model)
    loss = CompiledLoss(model, guide, Trace_ELBO())
    adam = torch.optim.Adam(loss.leaves(x[:64], y[:64]), lr=0.02)  # makes the parameters
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    prepared, adam, batches = accelerator.prepare(loss, adam, loader)
    for _ in range(epochs):
        for batch in batches:
            adam.zero_grad()
            accelerator.backward(prepared(*batch))
            adam.step()
    found = guide.median()["weights"]
    print("weights", " ".join(f"{value:.2f}" for value in found.tolist()))
    return float((found - TRUTH).abs().max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=20)
    print(f"largest error {main(parser.parse_args().epochs):.2f}")
