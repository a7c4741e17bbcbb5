"""Daily values of the index S&P 500."""

from __future__ import annotations

from typing import Any

from ember.contrib.examples.local_files import data_directory, find

DATA = data_directory(__file__)
CACHE_URL = "https://github.com/pyro-ppl/datasets/blob/master/snp500.csv.bz2"


def load_snp500() -> Any:
    """The values from 1927-12-30 to 2020-01-10, as a frame of pandas.

    Raises:
        FileNotFoundError: if the file is not in :data:`DATA`; names it.
        ImportError: without pandas.
    """
    path = find("S&P 500", DATA, "snp500.csv.bz2", "snp500.csv", source=CACHE_URL)
    import pandas as pd

    return pd.read_csv(path)
