"""Linear models and their guides: densities by hand, Pyro's seeded numbers, designs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Size, Tensor

import ember
import ember.distributions as dist
from ember import poutine
from ember.contrib.oed import glmm
from ember.contrib.oed.glmm import guides
from ember.errors import ModelError
from ember.infer import Trace_ELBO

X = torch.stack([torch.eye(2).repeat(2, 1), torch.ones(4, 2)])


def values(trace: Any) -> dict[str, Tensor]:
    return {
        name: site.value
        for name, site in trace.nodes.items()
        if site.type == "sample" and not site.is_subsample
    }


def test_coefficients_have_the_prior_that_was_asked_for() -> None:
    sd, noise = torch.tensor([0.5, 3.0]), torch.tensor(2.0)
    model = glmm.known_covariance_linear_model([torch.tensor(1.0)], [sd], noise, ["beta"], "seen")
    trace = poutine.trace(model).get_trace(X)
    prior = trace.nodes["beta"].fn
    torch.testing.assert_close(prior.base_dist.scale, sd.expand(2, 2))
    torch.testing.assert_close(prior.base_dist.loc, torch.ones(2, 2))
    seen = trace.nodes["seen"].fn
    torch.testing.assert_close(seen.base_dist.loc, torch.einsum("bnp,bp->bn", X, trace.nodes["beta"].value))
    assert seen.batch_shape == (2,) and (seen.base_dist.scale == 2.0).all()
    assert (
        model.w_sizes == {"beta": 2} and model.coef_labels == ["beta"] and model.observation_label == "seen"
    )
    unit, guide = glmm.zero_mean_unit_obs_sd_lm(sd)
    torch.testing.assert_close(
        poutine.trace(unit).get_trace(X).nodes["w"].fn.base_dist.scale, sd.expand(2, 2)
    )
    assert values(poutine.trace(guide).get_trace(X))["w"].shape == (2, 2)


def test_unknown_noise_scales_the_coefficients() -> None:
    model = glmm.normal_inverse_gamma_linear_model(
        torch.tensor(0.0), torch.tensor([0.1, 0.4]), torch.tensor([3.0, 3.0]), torch.tensor([4.0, 4.0])
    )
    trace = poutine.trace(model).get_trace(X)
    noise = trace.nodes["tau"].value.rsqrt()
    assert noise.shape == (2, 1)
    torch.testing.assert_close(trace.nodes["w"].fn.base_dist.scale, noise / torch.tensor([0.1, 0.4]))
    torch.testing.assert_close(trace.nodes["y"].fn.base_dist.scale, noise.expand(2, 4))
    guide = glmm.normal_inverse_gamma_guide(Size([2]))
    found = poutine.trace(guide).get_trace(X).nodes
    torch.testing.assert_close(found["w"].fn.scale_tril[0], found["tau"].value[0].rsqrt() * torch.eye(2))
    apart = poutine.trace(glmm.normal_inverse_gamma_guide(Size([2]), "v", mf=True)).get_trace(X).nodes
    torch.testing.assert_close(apart["v"].fn.scale_tril[0], torch.eye(2))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("which", ["family", "amortised"])
def test_guides_of_unknown_noise_hold_the_conjugate_posterior(which: str) -> None:
    designs, y, lam = (
        X.double(),
        torch.tensor([[1.0, -0.5, 2.0, 0.3], [0.5, 1.5, -1.0, 0.2]]),
        torch.tensor([0.8, 0.4]),
    )
    alpha, beta = torch.tensor([3.0, 2.0]), torch.tensor([4.0, 1.5])
    model = glmm.normal_inverse_gamma_linear_model(torch.zeros(2), lam, alpha, beta)
    cov = torch.linalg.inv(designs.mT @ designs + lam.square().diag())
    mean = (cov @ designs.mT @ y.unsqueeze(-1)).squeeze(-1)
    rate = beta + 0.5 * (y.square().sum(-1) - (mean * (designs.mT @ y.unsqueeze(-1)).squeeze(-1)).sum(-1))
    if which == "family":
        guide = glmm.normal_inverse_gamma_guide(Size([2]))
        ember.param("w_guide_mean", mean)
        ember.param(
            "w_guide_scale_tril", torch.linalg.cholesky(cov), constraint=dist.constraints.lower_cholesky
        )
        ember.param("invsoftplus_alpha", (alpha + 2).expm1().log())
        ember.param("invsoftplus_beta", rate.expm1().log())
    else:
        network = guides.NormalInverseGammaGuide((2,), {"w": 2}, y_sizes={"y": 4}, use_softplus=False)
        network.regressor["w"].data = cov @ designs.mT
        network.scale_tril["w"].data = torch.linalg.cholesky(cov)
        network.alpha.data, network.b0.data = alpha + 2, beta

        def guide(design: Tensor) -> None:
            with ember.plate("plate_0", 2, dim=-1):
                network({"y": y}, design, ["y"], ["w", "tau"])

    conditioned = ember.condition(model, data={"y": y})
    losses = [Trace_ELBO().loss(conditioned, guide, designs) for _ in range(3)]
    # Where the guide is the posterior, each draw gives the log evidence: that of a multivariate Student's t.
    scale = (beta / alpha)[:, None, None] * (
        torch.eye(4) + designs @ lam.square().reciprocal().diag() @ designs.mT
    )
    evidence = dist.MultivariateStudentT(2 * alpha, torch.zeros(2, 4), torch.linalg.cholesky(scale)).log_prob(
        y
    )
    assert losses == pytest.approx([-evidence.sum().item()] * 3)


def test_random_effects_share_their_precisions() -> None:
    alpha = beta = torch.tensor([10.0])
    model = glmm.lmer_model(torch.tensor([2.0, 1.0]), 3, alpha, beta, response="bernoulli")
    trace = poutine.trace(model).get_trace(torch.randn(2, 4, 5))
    scale = trace.nodes["u"].fn.base_dist.scale
    torch.testing.assert_close(scale, trace.nodes["G_u"].value.rsqrt().repeat(1, 3))
    assert isinstance(trace.nodes["y"].fn.base_dist, dist.Bernoulli)


def test_responses_through_a_sigmoid() -> None:
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    model = glmm.sigmoid_model(
        zero, torch.tensor([1.0]), zero, torch.tensor([2.0]), one, torch.tensor([3.0]), torch.tensor([2.0]), torch.ones(4, 1)
    )  # fmt: skip
    trace = poutine.trace(model).get_trace(X)
    found = values(trace)
    linear = torch.einsum("bnp,bp->bn", X, torch.cat([found["w1"], found["w2"]], -1))
    y = found["y"]
    slopes = found["k"]
    density = dist.Normal(linear, 1.0).log_prob(y.logit() / slopes) - (slopes * y * (1 - y)).log()
    torch.testing.assert_close(trace.nodes["y"].fn.log_prob(y), density.sum(-1), rtol=1e-4, atol=1e-4)


def test_posterior_covariance() -> None:
    prior, x = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double(), X[1].double()
    precision = torch.linalg.inv(prior) + x.T @ x / 9.0
    torch.testing.assert_close(glmm.analytic_posterior_cov(prior, x, 3.0), torch.linalg.inv(precision))


def test_assignments() -> None:
    assert glmm.group_assignment_matrix(torch.tensor([2, 0, 1])).argmax(-1).tolist() == [0, 0, 2]
    divided, participants = glmm.rf_group_assignments(4)
    assert divided.shape == (3, 4, 6) and torch.equal(participants, torch.eye(4))
    assert divided[1, :, :2].argmax(-1).tolist() == [0, 1, 0, 1]
    assert torch.equal(divided[:, :, 2:], torch.eye(4).expand(3, 4, 4))
    assert glmm.rf_group_assignments(4, random_intercept=False)[0].shape == (3, 4, 2)
    with pytest.raises(AssertionError, match="3 is odd"):
        glmm.rf_group_assignments(3)
    with pytest.raises(ValueError, match="cannot be negative"):
        glmm.group_assignment_matrix(torch.tensor([2, -1]))


# What Pyro 1.9.2 draws for seed 5.
SEEDED = {"tau": 9.968884468078613, "w": 13.525219917297363}


def test_guides_draw_what_pyro_draws() -> None:
    ember.set_rng_seed(5)
    guide = guides.NormalInverseGammaGuide((2,), {"w": 2}, y_sizes={"y": 4}, b0_init=10.0, alpha_init=10.0)
    trace = poutine.trace(guide).get_trace({"y": torch.ones(2, 4)}, X, ["y"], ["w", "tau"])
    for name, total in SEEDED.items():
        assert values(trace)[name].sum().item() == pytest.approx(total, rel=1e-5)
    with pytest.raises(ValueError, match="name 'tau' among the targets"):
        guide({"y": torch.ones(2, 4)}, X, ["y"], ["w"])
    guides.NormalInverseGammaGuide(2, {"w": 2}, mf=True, y_sizes={"y": 4})(
        {"y": torch.ones(2, 4)}, X, ["y"], ["w"]
    )


def test_guide_of_a_sigmoid_is_linear_in_log_odds() -> None:
    guide = guides.SigmoidGuide(2, 4, {"w": 2}, y_sizes={"y": 4}, use_softplus=False, regressor_init=1.0)
    y = torch.full((2, 4), 0.4)
    mean, scale = guide.get_params({"y": y}, X, ["w"])
    bent = y.logit() / 0.1
    expected = (bent + torch.nn.functional.softplus(bent)).sum(-1, keepdim=True).expand(2, 2)
    torch.testing.assert_close(mean["w"], expected)
    torch.testing.assert_close(scale["w"], 3 * torch.eye(2).expand(2, 2, 2))


def test_laplace_guide_keeps_the_caller_s_sizes() -> None:
    sizes = {"w": 2}
    guide = guides.LinearModelLaplaceGuide((2,), sizes, tau_label="tau")
    assert sizes == {"w": 2} and {name: p.shape for name, p in guide.means.items()} == {
        "w": (2, 2),
        "tau": (2, 1),
    }
    assert set(values(poutine.trace(guide).get_trace(X))) == {"w", "tau"}
    assert set(values(poutine.trace(guide).get_trace(X, ["w"]))) == {"w"}


def test_bad_input_is_named() -> None:
    sd = torch.tensor([1.0, 1.0])
    with pytest.raises(ValueError, match="Unknown response distribution: 'poisson'"):
        glmm.bayesian_linear_model(X, {"w": sd}, {"w": sd}, obs_sd=torch.tensor(1.0), response="poisson")
    with pytest.raises(ValueError, match="give obs_sd, or alpha_0 and beta_0"):
        glmm.bayesian_linear_model(X, {"w": sd}, {"w": sd})
    with pytest.raises(ValueError, match="needs k"):
        glmm.bayesian_linear_model(X, {"w": sd}, {"w": sd}, obs_sd=torch.tensor(1.0), response="sigmoid")
    one = torch.tensor(1.0)
    with pytest.warns(UserWarning, match="obs_sd is given"):
        glmm.bayesian_linear_model(X, {"w": sd}, {"w": sd}, obs_sd=one, alpha_0=one, beta_0=one)
    assert issubclass(ModelError, ValueError)
