"""Where the posterior is normal: what each guide is at its optimum, and that no ELBO exceeds the evidence."""

from __future__ import annotations

import pytest
import torch
from tests.infer.autoguide.guide_table import IAF, linear_regression

import ember
import ember.distributions as dist
from ember.infer import SVI, Trace_ELBO, autoguide
from ember.optim import Adam

pytestmark = pytest.mark.usefixtures("float64")


def structured(model):
    return autoguide.AutoStructured(
        model, conditionals={"a": "mvn", "b": "mvn"}, dependencies={"b": {"a": "linear"}}
    )


def low_rank(model):
    return autoguide.AutoLowRankMultivariateNormal(model, rank=3)


MEAN_FIELD = [autoguide.AutoNormal, autoguide.AutoDiagonalNormal, autoguide.AutoNormalMessenger]
FULL = [autoguide.AutoMultivariateNormal, structured, low_rank, autoguide.AutoGaussian]
ALL = [*MEAN_FIELD, *FULL, IAF, autoguide.AutoRegressiveMessenger]


def fitted(make, steps=400, particles=10):
    known = linear_regression()
    guide = make(known.model)
    elbo = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=0)
    optim = ember.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "gamma": 0.01 ** (1 / steps)}
    )
    svi = SVI(known.model, guide, optim, elbo)
    for _ in range(steps):
        svi.step()
        optim.step()
    return known, guide


def draws(guide, model, n=20_000):
    with torch.no_grad(), ember.plate("draws", n, dim=-1):
        values = guide()
    flat = torch.cat([values["a"].reshape(n, 1), values["b"].reshape(n, 2)], -1)
    return flat.mean(0), flat.T.cov()


@pytest.mark.parametrize("make", FULL)
def test_full_rank_guides_recover_mean_and_covariance(make):
    known, guide = fitted(make)
    mean, cov = draws(guide, known.model)
    torch.testing.assert_close(mean, known.mean, rtol=0, atol=0.06)
    torch.testing.assert_close(cov, known.cov, rtol=0.12, atol=0.03)


@pytest.mark.parametrize("make", MEAN_FIELD)
def test_mean_field_recovers_the_mean_and_its_own_too_small_variances(make):
    """The optimum has the inverses of the precision's diagonal, which are less than the marginal variances."""
    known, guide = fitted(make)
    mean, cov = draws(guide, known.model)
    variances = 1 / torch.linalg.inv(known.cov).diagonal()
    assert (variances < known.cov.diagonal()).all()
    torch.testing.assert_close(mean, known.mean, rtol=0, atol=0.06)
    torch.testing.assert_close(cov.diagonal(), variances, rtol=0.1, atol=0.02)


def test_at_the_exact_posterior_every_draw_gives_the_evidence():
    known = linear_regression()
    guide = autoguide.AutoMultivariateNormal(known.model).prepare()
    factor = torch.linalg.cholesky(known.cov)
    guide.loc.data.copy_(known.mean)
    guide.scale = factor.diagonal()
    guide.scale_tril = factor / factor.diagonal()[:, None]
    for _ in range(5):
        assert Trace_ELBO().loss(known.model, guide) == pytest.approx(-known.log_evidence, abs=1e-9)


def test_laplace_is_exact_from_anywhere_near():
    """The curvature of a normal density is the same everywhere."""
    known = linear_regression()
    mode = autoguide.AutoLaplaceApproximation(known.model).prepare()
    mode.loc.data.copy_(known.mean)
    guide = mode.laplace_approximation()
    assert isinstance(guide, autoguide.AutoMultivariateNormal)
    assert not list(guide.parameters()) and set(dict(guide.named_buffers())) == {"loc", "scale", "scale_tril"}
    torch.testing.assert_close(guide.get_posterior().covariance_matrix, known.cov)
    assert Trace_ELBO().loss(known.model, guide) == pytest.approx(-known.log_evidence, abs=1e-9)


def test_laplace_finds_the_mode():
    known, mode = fitted(autoguide.AutoLaplaceApproximation, particles=1)
    torch.testing.assert_close(mode.loc.detach(), known.mean, rtol=0, atol=1e-3)
    median = mode.median()
    torch.testing.assert_close(median["a"], mode.loc[0].detach())


@pytest.mark.parametrize("make", ALL)
def test_no_elbo_exceeds_the_evidence(make):
    known = linear_regression()
    guide = make(known.model).prepare()
    losses = torch.tensor([Trace_ELBO().loss(known.model, guide) for _ in range(200)])
    error = 5 * losses.std() / 200**0.5
    assert -losses.mean() < known.log_evidence + error


def test_map_in_constrained_and_unconstrained_space():
    """The mode of Gamma(3, 1) is 2; that of its logarithm is log 3."""

    def model():
        ember.sample("x", dist.Gamma(3.0, 1.0))

    for make, expected in ((autoguide.AutoDelta, 2.0), (autoguide.AutoLaplaceApproximation, 3.0)):
        ember.clear_param_store()
        guide = make(model)
        svi = SVI(model, guide, Adam({"lr": 0.05}), Trace_ELBO())
        for _ in range(400):
            svi.step()
        assert guide.median()["x"].item() == pytest.approx(expected, abs=1e-3)


def test_regressive_guides_are_exact_for_chains():
    """x ~ N(0, 1), y ~ N(x, 1) observed: the posterior N(y/2, 1/2) is an affine image of the prior."""

    def model():
        x = ember.sample("x", dist.Normal(0.0, 1.0))
        ember.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(1.0))

    guide = autoguide.AutoRegressiveMessenger(model).prepare()
    guide.locs.x = torch.tensor(0.5)
    guide.scales.x = torch.tensor(0.5).sqrt()
    evidence = torch.distributions.Normal(0.0, 2.0**0.5).log_prob(torch.tensor(1.0)).item()
    assert Trace_ELBO().loss(model, guide) == pytest.approx(-evidence, abs=1e-9)
