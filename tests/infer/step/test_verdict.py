"""The verdict on a guide: known posteriors, guides that are wrong in known ways, and what cannot be judged."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember.errors import OptimizerError
from ember.infer import SVI, Trace_ELBO
from ember.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from ember.optim import Adam

X = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([1.0, -0.5]) + 0.5 * torch.randn(30, generator=torch.Generator().manual_seed(1))
PRECISION = torch.eye(2) + X.T @ X / 0.25
COV = torch.linalg.inv(PRECISION)
MEAN = COV @ X.T @ Y / 0.25


def model(subsample=None):
    """Does not broadcast."""
    b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with ember.plate("rows", 30, subsample_size=subsample) as i:
        ember.sample("y", dist.Normal(X[i] @ b, 0.5), obs=Y[i])


def normal(shift=0.0, scale=1.0):
    def guide(subsample=None):
        loc = MEAN + shift * COV.diagonal().sqrt()
        ember.sample("b", dist.MultivariateNormal(loc, scale**2 * COV))

    return guide


def verdict(program, guide, *args, draws=4096, **kwargs):
    torch.manual_seed(0)
    return SVI(program, guide, Adam({"lr": 0.01}), Trace_ELBO(), param_store="own").verdict(
        *args, draws=draws, **kwargs
    )


@pytest.mark.parametrize("subsample", [None, 5])
def test_the_posterior_itself_is_ok(subsample):
    found = verdict(model, normal(), subsample)
    assert found and found.status == "ok" and found.names == ("b[0]", "b[1]")
    assert found.numbers.k_hat < 0.2 and found.numbers.certificate.mean < 0.05
    assert torch.allclose(found.corrected.mean.float(), MEAN, atol=0.06 * float(COV.diagonal().sqrt().min()))
    assert "no mode was missed" in str(found)


@pytest.mark.parametrize(
    "shift, scale, status",
    [
        (0.5, 1.0, "not converged"),
        (0.2, 1.0, "not converged"),
        (1.0, 1.0, "not converged"),
        (0.0, 0.5, "not converged"),
        (0.0, 2.0, "means only"),
        (0.03, 1.02, "ok"),
    ],
)
def test_guides_that_are_shifted_or_scaled(shift, scale, status):
    found = verdict(model, normal(shift, scale))
    assert found.status == status
    expected = found.corrected.sd
    # Where weights are good, corrected moments are right whatever those of the guide are.
    if found.corrected_holds:
        assert ((found.corrected.mean - MEAN) / expected).abs().max() < 0.1
        assert (expected / COV.diagonal().sqrt()).log().abs().max() < 0.1
        assert torch.allclose(found.mean_off, torch.full((2,), shift).double(), atol=0.12)
        assert torch.allclose(found.sd_ratio, torch.full((2,), scale).double(), rtol=0.1)
    assert found.corrected_holds == (scale >= 1 and shift < 1)
    # By quantity, and of the draws that the numbers are of.
    assert found.k_hats.shape == (2,) and float(found.k_hats.max()) == found.numbers.k_mean
    assert found.log_weights.shape == (4096,) and float(found.log_weights.exp().sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("rho", [0.7, 0.95])
def test_a_mean_field_guide_of_correlated_latents_is_not_ok(rho):
    """Its SDs are sqrt(1 - rho^2) of the right ones. The weights have a tail of shape rho: corrected moments hold below 0.7."""
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]])

    def target():
        ember.sample("z", dist.MultivariateNormal(torch.zeros(2), covariance))

    def mean_field():
        ember.sample("z", dist.Normal(torch.zeros(2), (1 - rho**2) ** 0.5).to_event(1))

    found = verdict(target, mean_field, draws=8192)
    assert not found and found.status in ("means only", "poor")
    if rho > 0.9:
        assert found.status == "poor" and found.numbers.k_hat > 0.7 and not found.corrected_holds
    else:
        assert torch.allclose(found.sd_ratio, torch.full((2,), (1 - rho**2) ** 0.5).double(), atol=0.12)
    # It is at the optimum of its own family: the certificate cannot see what the weights do.
    assert found.numbers.certificate.holds


def test_trained_guides():
    torch.manual_seed(0)
    guide = AutoMultivariateNormal(model)
    svi = SVI(model, guide, Adam({"lr": 0.02}), Trace_ELBO(), param_store="own")
    svi.run(20, progress=False)
    before = svi.fitted_params()
    assert not svi.verdict()
    svi.run(until="converged", progress=False)
    assert svi.verdict()
    state = {name: value.clone() for name, value in svi.fitted_params().items()}
    svi.verdict()
    assert all(torch.equal(svi.fitted_params()[name], value) for name, value in state.items()) and before


def test_points_are_no_posterior():
    found = verdict(model, AutoDelta(model))
    assert found.status == "poor" and found.numbers is None and "b[0], b[1] on one point" in found.reasons[0]


def part_of_the_rows():
    b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with ember.plate("rows", 30, subsample=torch.arange(10)):
        ember.sample("y", dist.Normal(X[:10] @ b, 0.5), obs=Y[:10])


def undrawn():
    b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    c = ember.sample("c", dist.Normal(0.0, 1.0))
    ember.sample("y", dist.Normal(b[0] + c, 0.5), obs=Y[0])


@pytest.mark.parametrize("wide", [1.4, 3.0])
def test_discrete_sites_that_are_enumerated_are_summed_out(wide):
    """y is normal around z or -z: at y = 0 the sign tells nothing, and z has the density of its prior by exp(-z^2 / 2 s^2)."""
    grid = torch.linspace(1e-3, 20.0, 200_001)
    log_p = grid.log() - grid - 0.5 * (grid / 0.7).square()
    p = log_p.softmax(0)
    mean, log_mean = float((p * grid).sum()), float((p * grid.log()).sum())

    def program():
        z = ember.sample("z", dist.Gamma(2.0, 1.0))
        k = ember.sample("k", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        ember.sample("y", dist.Normal((2 * k - 1) * z, 0.7), obs=torch.tensor(0.0))

    spread = float((p * (grid.log() - log_mean).square()).sum()) ** 0.5
    found = verdict(program, lambda: ember.sample("z", dist.LogNormal(log_mean, wide * spread)))
    assert (
        found.names == ("z",) and found.numbers.k_hat < 0.7 and abs(found.corrected.mean.item() - mean) < 0.03
    )
    assert abs(found.corrected.sd.item() - float((p * (grid - mean).square()).sum()) ** 0.5) < 0.03


@pytest.mark.parametrize(
    "program, why",
    [
        (part_of_the_rows, "plate 'rows' holds 10 of 30 rows"),
        (undrawn, "does not draw site 'c' of the model"),
    ],
)
def test_what_cannot_be_judged_is_unverified(program, why):
    found = verdict(program, normal())
    assert found.status == "unverified" and why in found.reasons[0] and not found


def test_a_plate_whose_program_needs_its_part_is_unverified():
    def program():
        b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with ember.plate("rows", 30, subsample_size=5) as i:
            ember.sample("y", dist.Normal((X[i] @ b).reshape(5), 0.5), obs=Y[i])

    found = verdict(program, normal())
    assert found.status == "unverified" and "all rows of its plates" in found.reasons[0]


def test_a_model_that_branches_is_weighed_by_python():
    def branching():
        b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        if b[0] > 100.0:
            ember.sample("other", dist.Normal(0.0, 1.0))
        with ember.plate("rows", 30):
            ember.sample("y", dist.Normal(X @ b, 0.5), obs=Y)

    found = verdict(branching, normal(), draws=1500)
    assert found.status == "ok" and found.numbers.draws == 1500


def test_heavy_locals_are_poor_together():
    def hierarchy():
        mu = ember.sample("mu", dist.Normal(0.0, 1.0))
        with ember.plate("groups", 40):
            z = ember.sample("z", dist.Normal(mu, 1.0))
            ember.sample("y", dist.Normal(z, 1.0), obs=torch.zeros(40))

    torch.manual_seed(0)
    guide = AutoNormal(hierarchy)
    found = verdict(hierarchy, guide)
    assert found.status in ("poor", "not converged") and len(found.names) == 41


def test_parameters_of_the_model_are_taken_as_given():
    """The best noise is about 0.5, and nothing in a verdict says so."""

    def program():
        noise = ember.param("noise", torch.tensor(5.0), constraint=dist.constraints.positive)
        b = ember.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with ember.plate("rows", 30):
            ember.sample("y", dist.Normal(X @ b, noise), obs=Y)

    covariance = torch.linalg.inv(torch.eye(2) + X.T @ X / 25)

    def guide():
        ember.sample("b", dist.MultivariateNormal(covariance @ X.T @ Y / 25, covariance))

    assert verdict(program, guide).status == "ok"


def one_number():
    z = ember.sample("z", dist.Normal(0.0, 1.0))
    ember.sample("y", dist.Normal(z, 1.0), obs=torch.tensor(2.0))


@pytest.mark.parametrize("family", [dist.HalfNormal(1.0), dist.Uniform(0.5, 1.5)])
def test_a_guide_that_cannot_reach_all_of_a_support_is_unverified(family):
    def guide():
        ember.sample("z", family)

    found = verdict(one_number, guide)
    assert found.status == "unverified" and "draws site 'z' within" in found.reasons[0]


def test_a_guide_whose_density_is_scaled_is_unverified():
    # A hundredth of both densities: all weights are nearly equal, whatever the guide is.
    def guide():
        ember.sample("z", dist.Normal(-1.0, 2.0))

    found = verdict(ember.poutine.scale(one_number, 0.01), ember.poutine.scale(guide, 0.01))
    assert found.status == "unverified" and "density at site 'z' is scaled" in found.reasons[0]


def test_a_guide_without_parameters_cannot_converge():
    def guide():
        ember.sample("z", dist.Normal(1.0, 0.7))

    svi = SVI(one_number, guide, Adam({"lr": 0.01}), Trace_ELBO(), param_store="own")
    with pytest.raises(OptimizerError, match="neither the model nor the guide has any"):
        svi.run(until="converged", progress=False)


def test_a_verdict_leaves_the_stream_as_it_was() -> None:
    """Also where it is the first to call the guide, which draws where it starts."""

    def model() -> None:
        ember.sample("x", dist.Normal(0.0, 1.0))

    torch.manual_seed(0)
    expected = torch.get_rng_state()
    SVI(model, AutoNormal(model), Adam({"lr": 0.01}), Trace_ELBO()).verdict(draws=256)
    assert torch.equal(torch.get_rng_state(), expected)
