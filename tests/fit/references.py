"""Stored reference posteriors, and Ember's log joint density at their points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ember
from ember.infer import TraceEnum_ELBO
from tools.trust.posteriors import POSTERIORS

FOLDER = Path(__file__).parent / "references"


def stored(name: str) -> dict[str, Any]:
    """What ``benchmarks.posteriors.truth`` wrote."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def log_joint(name: str, values: dict[str, Tensor]) -> float:
    """log p(x, z) in the coordinates of the model, enumerated sites summed out."""
    posterior = POSTERIORS[name]
    given = ember.poutine.condition(posterior.model, data=values)
    return -TraceEnum_ELBO().loss(given, _nothing_latent, **posterior.arguments())


def points(truth: dict[str, Any]) -> list[dict[str, Tensor]]:
    """The points at which log densities are stored, one dict of sites each."""
    count = len(truth["log_densities"])
    return [
        {site: torch.tensor(values[i], dtype=torch.float64) for site, values in truth["points"].items()}
        for i in range(count)
    ]


def _nothing_latent(**data: Any) -> None:
    """The guide of a model all of whose latents are given: the ELBO is log p(x, z)."""
