"""scvi-tools' ``Decipher``: an autoencoder with a plan of its own over SVI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scvi
from scvi.external import Decipher

from benchmarks.clients.scvi_lda import quiet_training, topics


class Cells:
    """Two latent dims of cells."""

    library = "scvi-tools"
    what = "`Decipher`, `DecipherTrainingPlan`, 500 x 100 counts"

    def build(self) -> None:
        scvi.settings.seed = 0
        self.data = topics()
        Decipher.setup_anndata(self.data)
        self.model = Decipher(self.data)

    def train(self) -> None:
        settings = quiet_training(epochs=20)
        settings["train_size"] = 0.8
        self.model.train(**settings)

    def predict(self) -> np.ndarray:
        return self.model.get_latent_representation()

    def save(self, folder: Path) -> None:
        self.model.save(folder / "decipher", save_anndata=True)

    def load(self, folder: Path) -> None:
        self.model = Decipher.load(folder / "decipher", accelerator="cpu")


CLIENT = Cells()
