"""k-hat of the rows of a plate: known tails, and what is refused."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember.infer import psis_by_plate
from ember.infer.autoguide import AutoMultivariateNormal, AutoNormal
from ember.infer.posterior.importance import psis_diagnostic

DATA = torch.tensor([0.5, -1.0, 2.0, 0.3, 1.0])
# Of a row's posterior, N((mu + x) / 2, 1 / 2); a scale of s times the right one gives a tail of 1 - s^2 for s < 1.
FACTORS = torch.tensor([0.5, 0.7, 1.0, 1.5, 1.0])


def model(subsample=None, change=lambda z: z):
    mu = ember.sample("mu", dist.Normal(0.0, 1.0))
    with ember.plate("rows", 5, subsample_size=subsample) as i:
        z = ember.sample("z", dist.Normal(mu, 1.0))
        ember.sample("x", dist.Normal(change(z), 1.0), obs=DATA[i])


def guide(subsample=None):
    mu = ember.sample("mu", dist.Normal(0.2, 0.4))
    with ember.plate("rows", 5, subsample_size=subsample) as i:
        ember.sample("z", dist.Normal((mu + DATA[i]) / 2, FACTORS[i] * 0.5**0.5))


def test_tails_are_those_of_the_factors():
    torch.manual_seed(0)
    found = psis_by_plate(model, guide, plate="rows", num_particles=2000)
    assert found.sites == ("z",) and found.rows.tolist() == list(range(5))
    expected = 1 - FACTORS[:2].double() ** 2
    assert (found.k[:2] - expected).abs().max() < 0.3
    assert found.k[2:].max() < 0.2
    # All latents at once are as bad as the worst, and say nothing of the others.
    assert psis_diagnostic(model, guide, num_particles=1000, max_plate_nesting=1) > 0.6


def test_rows_of_a_subsample():
    torch.manual_seed(0)
    found = psis_by_plate(model, guide, 3, plate="rows", num_particles=1500)
    assert found.k.shape == found.rows.shape == (3,)
    assert ((found.k > 0.3) == (FACTORS[found.rows] < 0.9)).all()


def test_a_model_that_does_not_broadcast():
    torch.manual_seed(0)
    found = psis_by_plate(
        lambda: model(change=lambda z: torch.eye(5) @ z), guide, plate="rows", num_particles=500
    )
    assert found.k[0] > 0.4 > found.k[2:].max()


@pytest.mark.parametrize("kind, fits", [(AutoNormal, True), (AutoMultivariateNormal, False)])
def test_automatic_guides(kind, fits):
    automatic = kind(model)
    automatic()
    if fits:
        assert psis_by_plate(model, automatic, plate="rows", num_particles=50).sites == ("z",)
    else:
        with pytest.raises(ValueError, match=r"site 'z'.*draws it together with others"):
            psis_by_plate(model, automatic, plate="rows", num_particles=50)


def outside():
    with ember.plate("rows", 5):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
    ember.sample("total", dist.Normal(z.sum(), 1.0), obs=torch.tensor(1.0))


REFUSED = {
    "chain": (lambda: model(change=lambda z: z + z.roll(1)), "rows", "site 'x'.*in other rows"),
    "mean": (lambda: model(change=lambda z: z - z.mean()), "rows", "site 'x'.*in other rows"),
    "outside": (outside, "rows", "site 'total'.*outside of the plate"),
    "no plate": (model, "people", "no vectorised plate 'people'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_judged_row_by_row_is_refused(case):
    program, plate, message = REFUSED[case]

    def proposal():
        if case != "outside":
            ember.sample("mu", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 5):
            ember.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=f"(?s){message}"):
        psis_by_plate(program, proposal, plate=plate, num_particles=20)


def test_a_plate_without_latents():
    def only_global():
        ember.sample("mu", dist.Normal(0.0, 1.0))

    def observed():
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 5):
            ember.sample("x", dist.Normal(mu, 1.0), obs=DATA)

    with pytest.raises(ValueError, match="no latent site in plate 'rows'; ask psis_diagnostic"):
        psis_by_plate(observed, only_global, plate="rows")
