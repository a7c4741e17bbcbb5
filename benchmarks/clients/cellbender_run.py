"""CellBender's command ``remove-background`` on simulated droplets: an encoder, enumeration, a schedule of rates."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import cellbender.remove_background.report as report
from cellbender.base_cli import main
from cellbender.remove_background.data.extras.simulate import (
    generate_sample_dirichlet_dataset,
    write_simulated_data_to_h5,
)
from cellbender.remove_background.downstream import anndata_from_h5

CELLS, DROPLETS, GENES, EPOCHS = 200, 800, 400, 15


class Droplets:
    """The command, which trains and predicts, and again from its checkpoint."""

    library = "cellbender"
    what = "`remove-background`, 15 epochs of 600 droplets x 400 genes"

    def build(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        droplets = generate_sample_dirichlet_dataset(
            n_genes=GENES, cells_of_each_type=[CELLS // 2] * 2, n_droplets=DROPLETS, cell_mean_umi=[1500],
            empty_mean_umi=100,
        )  # fmt: skip
        write_simulated_data_to_h5(str(self.folder / "raw.h5"), droplets)

    def train(self) -> None:
        self._command(self.folder / "first")

    def _command(self, folder: Path) -> None:
        folder.mkdir()
        arguments = ["--input", str(self.folder / "raw.h5"), "--output", str(folder / "out.h5")]
        arguments += ["--expected-cells", str(CELLS), "--total-droplets-included", "600"]
        arguments += ["--epochs", str(EPOCHS), "--cpu-threads", "1", "--low-count-threshold", "5"]
        if folder.name != "first":
            arguments += ["--checkpoint", str(self.folder / "ckpt.tar.gz")]
        before, sys.argv = (os.getcwd(), sys.argv), ["cellbender", "remove-background", *arguments]
        os.chdir(folder)
        # Its notebook of pictures needs a kernel of Jupyter's.
        drawn, report.run_notebook_make_html = report.run_notebook_make_html, lambda **kwargs: None
        try:
            main()
        finally:
            os.chdir(before[0])
            sys.argv = before[1]
            report.run_notebook_make_html = drawn
        self.latest = folder

    def predict(self) -> np.ndarray:
        return anndata_from_h5(str(self.latest / "out.h5")).X.toarray()

    def save(self, folder: Path) -> None:
        shutil.copy(self.latest / "ckpt.tar.gz", self.folder)

    def load(self, folder: Path) -> None:
        self._command(self.folder / "second")


CLIENT = Droplets()
