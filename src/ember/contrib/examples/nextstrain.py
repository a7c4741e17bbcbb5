"""Counts of lineages of SARS-CoV-2 by month and place, and the mutations of each lineage."""

from __future__ import annotations

from typing import Any

import torch

from ember.contrib.examples.local_files import data_directory, find, open_packed

DATA = data_directory(__file__)
URL = "https://github.com/pyro-ppl/datasets/raw/master/nextstrain.data.pt.gz"


def load_nextstrain_counts(map_location: Any = None) -> dict[str, Any]:
    """The counts, from a file of Pyro's in :data:`DATA`.

    Args:
        map_location: the device, as in :func:`torch.load`.

    Raises:
        FileNotFoundError: if the file is not there; names it.
    """
    path = find("of Nextstrain's counts", DATA, "nextstrain.data.pt", "nextstrain.data.pt.gz", source=URL)
    with open_packed(path) as stream:
        dataset: dict[str, Any] = torch.load(stream, map_location=map_location, weights_only=True)
    return dataset
