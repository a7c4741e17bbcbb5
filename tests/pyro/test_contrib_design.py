"""``pyro.contrib.oed`` and ``pyro.contrib.mue`` under the drop-in: their paths, and seeded numbers of Pyro 1.9.2."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

# What Pyro 1.9.2 gives for seed 11, in double precision.
SEEDED = {
    "nmc_eig": [2.3119922517954743, 0.2404541222405411],
    "posterior_eig": [-1.598706565095866, -1.4526676543750163],
    "marginal_eig": [3.921473380149217, 0.06215646332886267],
    "vnmc_eig": [4.270464826389787, 3.1103671342156582],
    "donsker_varadhan_eig": [0.21563711252551543, 0.5216537563258272],
    "lfire_eig": [-2.461881638781444, -1.2201251349575752],
    "laplace_eig": [0.04433728821982008, 0.04433728821982008],
}


def estimate(name: str) -> Tensor:
    import pyro
    import pyro.contrib.oed.eig
    import pyro.distributions as dist
    from pyro.contrib.oed.glmm.glmm import known_covariance_linear_model
    from pyro.contrib.oed.glmm.guides import GuideDV, LinearModelLaplaceGuide, LinearModelPosteriorGuide
    from pyro.infer import Trace_ELBO

    designs = torch.tensor([[[1.0, 0.5], [0.2, 1.0]], [[0.1, 0.0], [0.0, 0.2]]])
    model = known_covariance_linear_model(torch.tensor(0.0), torch.tensor([0.5, 1.5]), torch.tensor(1.0))
    guide = LinearModelPosteriorGuide((2,), {"w": 2}, {"y": 2})
    adam = pyro.optim.Adam({"lr": 0.05})

    def marginal(design: Tensor, observed: Any, targets: Any) -> None:
        loc = pyro.param("loc", torch.zeros(2, 2))
        scale = pyro.param("scale", torch.ones(2, 2), constraint=dist.constraints.positive)
        pyro.sample("y", dist.Normal(loc, scale).to_event(1))

    def classifier(design: Tensor, trace: Any, observed: Any, targets: Any) -> Tensor:
        return -(trace.nodes["y"]["value"] ** 2).sum(-1) * pyro.param("c", torch.ones(()))

    loss = Trace_ELBO().differentiable_loss
    more: dict[str, tuple[Any, ...]] = {
        "nmc_eig": (7, 5),
        "posterior_eig": (5, 10, guide, adam),
        "marginal_eig": (5, 10, marginal, adam),
        "vnmc_eig": ((5, 3), 10, guide, adam),
        "donsker_varadhan_eig": (5, 10, GuideDV(guide), adam),
        "lfire_eig": (5, 4, 10, classifier, adam),
        "laplace_eig": (LinearModelLaplaceGuide(2, {"w": 2}), loss, adam, 3, 2),
    }
    designs = designs[1:].expand(2, 2, 2) if name == "laplace_eig" else designs
    pyro.set_rng_seed(11)
    found: Tensor = getattr(pyro.contrib.oed.eig, name)(model, designs, "y", "w", *more[name])
    return found


@pytest.mark.usefixtures("alias", "float64")
@pytest.mark.parametrize("name", SEEDED)
def test_seeded_estimates_are_pyro_s(name: str) -> None:
    torch.testing.assert_close(estimate(name), torch.tensor(SEEDED[name]), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "path, name, home",
    [
        ("pyro.contrib.oed.glmm.glmm", "lmer_model", "ember.contrib.oed.glmm.families"),
        ("pyro.contrib.oed.glmm", "bayesian_linear_model", "ember.contrib.oed.glmm.linear"),
        ("pyro.contrib.oed.glmm.guides", "GuideDV", "ember.contrib.oed.glmm.guides.ratio"),
        ("pyro.contrib.oed.eig", "opt_eig_ape_loss", "ember.contrib.oed.eig.training"),
        ("pyro.contrib.oed.util", "linear_model_ground_truth", "ember.contrib.oed.util"),
        ("pyro.contrib.mue.models", "FactorMuE", "ember.contrib.mue.models.factor_mue"),
        ("pyro.contrib.mue.missingdatahmm", "MissingDataDiscreteHMM", "ember.contrib.mue.missingdatahmm"),
    ],
)
@pytest.mark.usefixtures("alias")
def test_names_are_where_pyro_has_them(path: str, name: str, home: str) -> None:
    found = getattr(__import__(path, fromlist=[name]), name)
    assert found.__module__ == home
