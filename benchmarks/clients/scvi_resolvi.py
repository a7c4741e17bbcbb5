"""scvi-tools' ``RESOLVI``: counts in a tissue, with neighbours that leak into each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scvi
from scvi.external import RESOLVI

from benchmarks.clients.scvi_lda import CELLS, quiet_training, topics


class Tissue:
    """Training with a rate for each parameter, posterior draws of a messenger or guide."""

    library = "scvi-tools"
    what = "`RESOLVI`, `PyroTrainingPlan`, 500 x 100 counts"

    def build(self) -> None:
        scvi.settings.seed = 0
        self.data = topics()
        self.data.obsm["X_spatial"] = np.random.default_rng(1).normal(size=(CELLS, 2))
        RESOLVI.setup_anndata(self.data)
        self.model = RESOLVI(self.data)

    def train(self) -> None:
        settings = quiet_training(epochs=6)
        del settings["train_size"]
        self.model.train(**settings)

    def predict(self) -> np.ndarray:
        return self.model.get_latent_representation()

    def save(self, folder: Path) -> None:
        self.model.save(folder / "tissue", save_anndata=True)

    def load(self, folder: Path) -> None:
        self.model = RESOLVI.load(folder / "tissue", accelerator="cpu")


CLIENT = Tissue()
