"""pyroved: an autoencoder of rotated pictures with classes that are enumerated."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

import pyro

if importlib.util.find_spec("torchvision") is None:
    # pyroved takes one function of it, which draws pictures in a grid; nothing here draws.
    sys.modules["torchvision"] = package = ModuleType("torchvision")
    sys.modules["torchvision.utils"] = package.utils = ModuleType("torchvision.utils")
    package.utils.make_grid = None

import pyroved

SIZE, PICTURES, EPOCHS, CLASSES = 12, 400, 10, 3


def pictures() -> torch.Tensor:
    """Bars and crosses, turned by any angle."""
    grid = torch.linspace(-1.0, 1.0, SIZE)
    angle = torch.rand(PICTURES, 1, 1) * torch.pi
    x = grid * angle.cos() + grid.unsqueeze(-1) * angle.sin()
    y = grid.unsqueeze(-1) * angle.cos() - grid * angle.sin()
    crossed = (torch.arange(PICTURES) % 2).bool().view(-1, 1, 1)
    return (x.abs() < 0.2).float().maximum(((y.abs() < 0.2) & crossed).float())


class Pictures:
    """``jiVAE`` under ``SVItrainer(enumerate_parallel=True)``."""

    library = "pyroved"
    what = "`jiVAE`, `SVItrainer`, enumeration, 400 pictures of 12 x 12"

    def build(self) -> None:
        self.data = pictures()
        self._make()

    def _make(self) -> None:
        self.model = pyroved.models.jiVAE((SIZE, SIZE), 2, CLASSES, invariances=["r"], seed=1)

    def train(self) -> None:
        loader = pyroved.utils.init_dataloader(self.data, batch_size=100, shuffle=True)
        trainer = pyroved.trainers.SVItrainer(self.model, enumerate_parallel=True)
        for _ in range(EPOCHS):
            trainer.step(loader)

    def predict(self) -> np.ndarray:
        mean, scale, classes = self.model.encode(self.data)
        return torch.cat([mean, scale, classes.unsqueeze(-1).float()], -1).numpy()

    def save(self, folder: Path) -> None:
        self.model.save_weights(str(folder / "vae"))

    def load(self, folder: Path) -> None:
        pyro.clear_param_store()
        self._make()
        self.model.load_weights(str(folder / "vae.pt"))


CLIENT = Pictures()
