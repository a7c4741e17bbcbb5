"""Hourly trips between every pair of stations of San Francisco's underground, 2011 to 2019."""

from __future__ import annotations

import datetime
from typing import Any

import torch

from ember.contrib.examples.local_files import data_directory, find, open_packed

DATA = data_directory(__file__)
SOURCE_DIR = "https://www.bart.gov/about/reports/ridership"
SOURCE_FILES = [f"date-hour-soo-dest-{year}.csv.gz" for year in range(2011, 2020)]
CACHE_URL = "https://github.com/pyro-ppl/datasets/blob/master/bart_full.pkl.bz2"


def load_bart_od() -> dict[str, Any]:
    """The counts, from a file of Pyro's in :data:`DATA`.

    Returns:
        "stations": their names; "start_date": the first hour; "counts": of shape (hours, from, to).

    Raises:
        FileNotFoundError: if the file is not there; names it.
    """
    path = find("of BART's trips", DATA, "bart_full.pkl", "bart_full.pkl.bz2", source=CACHE_URL)
    with open_packed(path) as stream, torch.serialization.safe_globals([datetime.datetime]):
        dataset: dict[str, Any] = torch.load(stream, weights_only=True)
    return dataset


def load_fake_od() -> dict[str, Any]:
    """A small set of the same form, drawn at random: eight weeks, three stations, 100 trips an hour."""
    counts = torch.poisson(torch.full((24 * 7 * 8, 3, 3), 100.0))
    return {
        "stations": ["12TH", "EMBR", "SFIA"],
        "start_date": datetime.datetime(2000, 1, 1),
        "counts": counts,
    }
