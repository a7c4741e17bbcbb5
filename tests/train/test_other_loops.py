"""Lightning and Accelerate take the compiled loss as any module, where they are installed."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import ember
import ember.distributions as dist
from ember.infer import Trace_ELBO
from ember.infer.autoguide import AutoNormal
from ember.train import CompiledLoss
from tests.train.regression import DIMS, data

TRUTH = torch.tensor([1.0, -2.0, 0.5])


def model(x: torch.Tensor, y: torch.Tensor) -> None:
    w = ember.sample("w", dist.Normal(torch.zeros(DIMS), 1.0).to_event(1))
    with ember.plate("data", 640, subsample_size=len(x)):
        ember.sample("y", dist.Normal(x @ w, 0.3), obs=y)


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*data(640)), batch_size=64, shuffle=True)


def new_loss() -> CompiledLoss:
    ember.clear_param_store()
    ember.set_rng_seed(0)
    return CompiledLoss(model, AutoNormal(model), Trace_ELBO())


def check(loss: CompiledLoss) -> None:
    torch.testing.assert_close(loss.guide.median()["w"].detach(), TRUTH, atol=0.1, rtol=0.0)


def test_lightning() -> None:
    lightning = pytest.importorskip("lightning")

    class Fit(lightning.LightningModule):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.loss = new_loss()

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return self.loss(*batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.loss.leaves(*data(64)), lr=0.02)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = Fit()
        quiet = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False}
        lightning.Trainer(max_epochs=20, accelerator="cpu", **quiet).fit(fit, loader())
    check(fit.loss)


def test_accelerate() -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    loss = new_loss()
    adam = torch.optim.Adam(loss.leaves(*data(64)), lr=0.02)
    prepared, adam, batches = accelerator.prepare(loss, adam, loader())
    for _ in range(20):
        for batch in batches:
            adam.zero_grad()
            accelerator.backward(prepared(*batch))
            adam.step()
    check(loss)
