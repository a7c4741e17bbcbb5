"""scvi-tools' ``AmortizedLDA``: a topic model with an encoder, trained by ``PyroTrainingPlan``."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import scvi

CELLS, GENES, TOPICS = 500, 100, 5


def quiet_training(epochs: int, batch_size: int | None = 128) -> dict[str, object]:
    """Arguments of ``train`` of a model of scvi-tools: on the CPU, without a word."""
    return {
        "max_epochs": epochs,
        "batch_size": batch_size,
        "accelerator": "cpu",
        "train_size": 1.0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
    }


def topics() -> anndata.AnnData:
    """Counts of genes in cells that mix topics."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(TOPICS, 0.3), CELLS)
    profiles = rng.dirichlet(np.full(GENES, 0.1), TOPICS)
    counts = rng.poisson(200 * shares @ profiles).astype(np.float32)
    return anndata.AnnData(counts)


class Topics:
    """A topic model of counts."""

    library = "scvi-tools"
    what = "`AmortizedLDA`, `PyroTrainingPlan`, 500 x 100 counts"

    def build(self) -> None:
        scvi.settings.seed = 0  # its loaders shuffle by it
        self.data = topics()
        scvi.model.AmortizedLDA.setup_anndata(self.data)
        self.model = scvi.model.AmortizedLDA(self.data, n_topics=TOPICS)

    def train(self) -> None:
        self.model.train(**quiet_training(epochs=20))

    def predict(self) -> np.ndarray:
        elbo = self.model.get_elbo()
        return np.append(self.model.get_latent_representation(n_samples=100).to_numpy().ravel(), elbo)

    def save(self, folder: Path) -> None:
        self.model.save(folder / "lda", save_anndata=True)

    def load(self, folder: Path) -> None:
        self.model = scvi.model.AmortizedLDA.load(folder / "lda", accelerator="cpu")


CLIENT = Topics()
