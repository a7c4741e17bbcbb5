"""cell2location: signatures of cell types by ``RegressionModel``, cells in a tissue by ``Cell2location``."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import scvi

# As its users do: it draws nothing here.
import matplotlib  # isort: skip

matplotlib.use("Agg")
from cell2location.models import Cell2location, RegressionModel

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
DRAWS = {"num_samples": 20, "accelerator": "cpu"}


class Slide:
    """Both models, the second in batches."""

    library = "cell2location"
    what = "`RegressionModel` and `Cell2location`, 400 x 100 counts"

    def build(self) -> None:
        scvi.settings.seed = 0
        logging.getLogger("scvi").setLevel(logging.ERROR)
        self.data = scvi.data.synthetic_iid(n_labels=5)
        RegressionModel.setup_anndata(self.data, labels_key="labels", batch_key="batch")
        self.reference = RegressionModel(self.data)

    def train(self) -> None:
        self.reference.train(max_epochs=10, batch_size=200, train_size=1.0, **QUIET)
        data = self.reference.export_posterior(self.data, sample_kwargs=DRAWS)
        names = [f"means_per_cluster_mu_fg_{name}" for name in data.uns["mod"]["factor_names"]]
        table = data.varm.get("means_per_cluster_mu_fg", data.var)
        signatures = table[names].copy()
        signatures.columns = data.uns["mod"]["factor_names"]
        Cell2location.setup_anndata(data, batch_key="batch")
        self.model = Cell2location(
            data, cell_state_df=signatures, N_cells_per_location=10, detection_alpha=20
        )
        self.model.train(max_epochs=20, batch_size=200, train_size=1.0, **QUIET)

    def predict(self) -> np.ndarray:
        data = self.model.export_posterior(self.model.adata, sample_kwargs=DRAWS)
        return data.obsm["means_cell_abundance_w_sf"].to_numpy()

    def save(self, folder: Path) -> None:
        self.model.save(folder / "slide", save_anndata=True)

    def load(self, folder: Path) -> None:
        self.model = Cell2location.load(folder / "slide", accelerator="cpu")


CLIENT = Slide()
