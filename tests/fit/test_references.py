"""Reference posteriors: their models are those that NumPyro sampled, and their chains were long enough."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ember
from ember.infer import Trace_ELBO, TraceEnum_ELBO
from tools.trust.posteriors import POSTERIORS, fingerprint
from tools.trust.truth import REFERENCES, known, stored

ENUMERATED = ("regimes", "mixture")

NO_TRUTH_YET = ("lynxes",)
"""Models whose chains have not been run to the end."""

every_posterior = pytest.mark.parametrize("name", sorted({*POSTERIORS} - {*NO_TRUTH_YET}))


def log_joint(name: str, values: dict[str, Tensor]) -> float:
    """log p(x, z) in the coordinates of the model, enumerated sites summed out."""
    posterior = POSTERIORS[name]
    given = ember.poutine.condition(posterior.model, data=values)
    objective = TraceEnum_ELBO() if name in ENUMERATED else Trace_ELBO()
    return -objective.loss(given, nothing_latent, **posterior.arguments())


def nothing_latent(**data: Any) -> None:
    """The guide of a model all of whose latents are given: the ELBO is log p(x, z)."""


def test_every_model_has_a_truth_and_every_truth_a_model() -> None:
    assert known() == sorted({*POSTERIORS} - {*NO_TRUTH_YET})


@every_posterior
def test_log_densities_are_those_of_numpyro(name: str, float64: None) -> None:
    truth = stored(name)
    theirs = torch.tensor(truth["log_densities"])
    points = [
        {site: torch.tensor(values[i]) for site, values in truth["points"].items()}
        for i in range(len(theirs))
    ]
    assert len(points) == 10
    ours = torch.tensor([log_joint(name, point) for point in points])
    assert theirs.std() > 0.1, "ten points that are all alike tell nothing"
    # Far out each library clamps probabilities at a place of its own.
    near = theirs > theirs.max() - 500.0
    assert near.sum() >= 5
    ours, theirs = ours[near], theirs[near]
    torch.testing.assert_close(ours - ours[0], theirs - theirs[0], rtol=1e-9, atol=1e-5)


@every_posterior
def test_data_are_those_of_the_truth(name: str) -> None:
    assert fingerprint(POSTERIORS[name].data()) == stored(name)["data"]


@every_posterior
def test_chains_were_long_enough(name: str) -> None:
    truth = stored(name)
    assert truth["chains"] == 4
    for site in truth["sites"].values():
        for sd, rhat, bulk, tail, mcse in zip(
            *(site[field] for field in ("sd", "rhat", "ess_bulk", "ess_tail", "mcse")), strict=True
        ):
            if sd > 0:
                assert rhat < 1.005 and bulk > 4_000 and tail > 4_000 and mcse < 0.02 * sd


@every_posterior
def test_quantities_of_the_model_are_those_of_the_truth(name: str, float64: None) -> None:
    posterior, truth = POSTERIORS[name], stored(name)
    values = {site: torch.tensor(points[0]).double() for site, points in truth["points"].items()}
    given = ember.poutine.condition(posterior.model, data=values)
    trace = ember.poutine.trace(given).get_trace(**posterior.arguments())
    shapes = {
        site: list(found["value"].shape)
        for site, found in trace.nodes.items()
        if site in values or (found["type"] == "sample" and found["infer"].get("_deterministic"))
    }
    assert shapes == {site: columns["shape"] for site, columns in truth["sites"].items()}


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in REFERENCES.glob("*.json")) < 300_000
