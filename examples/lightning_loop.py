"""Lightning's loop around Ember's compiled loss: loss and gradients of each batch come from one captured program.

    pip install lightning
    python examples/lightning_loop.py

The batches are those of a loader, so that the model says itself how many rows each stands for.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import lightning
import torch
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


class Regression(lightning.LightningModule):
    """A loss, and the optimizer of its leaves."""

    def __init__(self, first: tuple[torch.Tensor, ...]) -> None:
        super().__init__()
        self.loss = CompiledLoss(model, AutoNormal(model), Trace_ELBO())
        self.loss.leaves(*first)  # makes the parameters

    def training_step(self, batch: tuple[torch.Tensor, ...], index: int) -> torch.Tensor:
        """The loss of a batch."""
        return self.loss(*batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One of torch's."""
        return torch.optim.Adam(self.loss.leaves(), lr=0.02)


def main(epochs: int) -> float:
    """Fit, and print what was found; returns the largest error."""
    ember.set_rng_seed(0)
    x = torch.randn(ROWS, len(TRUTH))
    y = x @ TRUTH + 0.3 * torch.randn(ROWS)
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    fit = Regression((x[:64], y[:64]))
    quiet: dict[str, Any] = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of workers that a loader this small does not need
        lightning.Trainer(max_epochs=epochs, accelerator="cpu", **quiet).fit(fit, loader)
    found = fit.loss.guide.median()["weights"]
    print("weights", " ".join(f"{value:.2f}" for value in found.tolist()))
    return float((found - TRUTH).abs().max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=20)
    print(f"largest error {main(parser.parse_args().epochs):.2f}")
