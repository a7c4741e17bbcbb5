"""Gaussian process models against exact regression."""

from __future__ import annotations

import math

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.contrib import gp
from ember.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from ember.nn import PyroSample
from ember.optim import Adam

NOISE, JITTER = 0.2, 1e-6


@pytest.fixture(autouse=True)
def doubles():
    torch.set_default_dtype(torch.float64)
    ember.clear_param_store()
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def data():
    X = torch.rand(8, 2) * 3
    y = torch.sin(X.sum(-1)) + 0.1 * torch.randn(8)
    return X, y, torch.rand(3, 2) * 3


def kernel():
    return gp.kernels.RBF(2, torch.tensor(1.5), torch.tensor([1.0, 2.0]))


def exact(X, y, Xnew, mean=0.0):
    """Posterior mean and covariance of the function, by the formula with inverses."""
    k = kernel()
    with torch.no_grad():
        inverse = torch.linalg.inv(k(X) + (NOISE + JITTER) * torch.eye(len(X)))
        weights = k(Xnew, X) @ inverse
        return weights @ (y - mean), k(Xnew) - weights @ k(X, Xnew)


def evidence(X, y):
    with torch.no_grad():
        cov = kernel()(X) + (NOISE + JITTER) * torch.eye(len(X))
    return torch.distributions.MultivariateNormal(torch.zeros(len(X)), cov).log_prob(y)


def likelihood():
    return gp.likelihoods.Gaussian(torch.tensor(NOISE))


def regression(X, y):
    return gp.models.GPRegression(X, y, kernel(), noise=torch.tensor(NOISE))


def sparse(approx):
    return lambda X, y: gp.models.SparseGPRegression(
        X, y, kernel(), X.clone(), noise=torch.tensor(NOISE), approx=approx
    )


def variational(whiten):
    return lambda X, y: gp.models.VariationalGP(X, y, kernel(), likelihood(), whiten=whiten)


def variational_sparse(whiten):
    return lambda X, y: gp.models.VariationalSparseGP(X, y, kernel(), X.clone(), likelihood(), whiten=whiten)


@pytest.mark.parametrize("make", [regression, sparse("VFE"), sparse("DTC"), sparse("FITC")])
def test_regression_is_exact_with_all_points_induced(make) -> None:
    X, y, Xnew = data()
    model = make(X, y)
    loc, cov = exact(X, y, Xnew)
    with torch.no_grad():
        torch.testing.assert_close(model(Xnew)[0], loc, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(model(Xnew, full_cov=True)[1], cov, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(model(Xnew)[1], cov.diagonal(), rtol=1e-3, atol=1e-3)
        noisy = model(Xnew, noiseless=False, full_cov=True)[1]
        torch.testing.assert_close(noisy, cov + NOISE * torch.eye(3), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(model(Xnew, noiseless=False)[1], noisy.diagonal())
    assert -TraceMeanField_ELBO().loss(model.model, model.guide) == pytest.approx(
        float(evidence(X, y)), abs=1e-3
    )


@pytest.mark.parametrize(
    "make", [variational(False), variational(True), variational_sparse(False), variational_sparse(True)]
)
def test_the_exact_posterior_as_guide_gives_the_evidence(make) -> None:
    X, y, Xnew = data()
    model = make(X, y)
    loc, cov = exact(X, y, X)
    L = torch.linalg.cholesky(cov + 1e-9 * torch.eye(8))
    with torch.no_grad():
        if model.whiten:
            Lff = torch.linalg.cholesky(kernel()(X) + JITTER * torch.eye(8))
            loc, L = torch.linalg.solve(Lff, loc), torch.linalg.solve(Lff, L)
        name = "f" if hasattr(model, "f_loc") else "u"
        setattr(model, f"{name}_loc", torch.nn.Parameter(loc))
        setattr(model, f"{name}_scale_tril", L)
        torch.testing.assert_close(model(Xnew)[0], exact(X, y, Xnew)[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(model(Xnew, full_cov=True)[1], exact(X, y, Xnew)[1], rtol=1e-3, atol=1e-3)
    # The likelihood is of the outputs with the function integrated out, so this is no bound but more than one.
    assert -TraceMeanField_ELBO().loss(model.model, model.guide) > float(evidence(X, y))


def test_minibatches_are_scaled() -> None:
    X, y, _ = data()
    whole = gp.models.VariationalSparseGP(X, y, kernel(), X[:3], likelihood())
    ten = gp.models.VariationalSparseGP(X, y, kernel(), X[:3], likelihood(), num_data=80)
    once, more = (poutine.trace(m.model).get_trace() for m in (whole, ten))
    for trace in (once, more):
        trace.compute_log_prob()
    site = "likelihood.y"
    torch.testing.assert_close(more.nodes[site]["log_prob_sum"], 10 * once.nodes[site]["log_prob_sum"])


@pytest.mark.parametrize(
    "name, y",
    [
        ("Gaussian", torch.tensor([0.3, -1.0, 2.0, 0.5])),
        ("Binary", torch.tensor([0.0, 1.0, 1.0, 0.0])),
        ("Poisson", torch.tensor([0.0, 3.0, 1.0, 2.0])),
        ("MultiClass", torch.tensor([0, 2, 1, 0])),
    ],
)
def test_likelihoods_without_uncertainty(name: str, y) -> None:
    y = y.to(torch.float64) if y.is_floating_point() else y
    classes = name == "MultiClass"
    made = getattr(gp.likelihoods, name)(3) if classes else getattr(gp.likelihoods, name)()
    f = torch.randn(3, 4) if classes else torch.randn(4)
    trace = poutine.trace(made).get_trace(f, torch.full_like(f, 1e-16), y)
    expected = {
        "Gaussian": lambda: torch.distributions.Normal(f, 1.0).log_prob(y),
        "Binary": lambda: torch.distributions.Bernoulli(logits=f).log_prob(y),
        "Poisson": lambda: torch.distributions.Poisson(f.exp()).log_prob(y),
        "MultiClass": lambda: f.t().log_softmax(-1).gather(-1, y[:, None]),
    }[name]().sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected + 0.0, rtol=1e-5, atol=1e-5)
    assert trace.nodes["y"]["is_observed"] and made(f, torch.ones_like(f)).shape == (4,)


def test_a_number_of_classes_that_does_not_match() -> None:
    with pytest.raises(ValueError, match="Expected 3 but got 2"):
        gp.likelihoods.MultiClass(3)(torch.zeros(2, 4), torch.ones(2, 4), torch.zeros(4))


@pytest.mark.parametrize(
    "base, mode",
    [(sparse("VFE"), False), (variational_sparse(True), False), (variational_sparse(True), True)],
)
def test_latent_inputs_are_learned(base, mode: bool) -> None:
    X = torch.randn(10, 1)
    y = torch.cat([X, X.sin()], 1).t()
    first = 0.1 * torch.randn(10, 1)
    model = base(first, y)
    model.kernel = gp.kernels.RBF(1)
    lvm = gp.models.GPLVM(model)
    svi = SVI(lvm.model, lvm.guide, Adam({"lr": 0.05}), Trace_ELBO(), compile=mode)
    losses = [svi.step() for _ in range(100)]
    assert sum(losses[-20:]) < sum(losses[:20]) and math.isfinite(losses[-1])
    assert not torch.equal(lvm.X_loc, first)  # what the caller gave stays as it is
    assert lvm(Xnew=torch.zeros(2, 1))[0].shape == (2, 2)


def test_priors_and_their_guides() -> None:
    X, y, Xnew = data()
    model = regression(X, y)
    model.kernel.lengthscale = PyroSample(dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    model.kernel.variance = PyroSample(dist.LogNormal(torch.tensor(0.0), 1.0))
    model.kernel.autoguide("variance", dist.Normal)
    assert {name for name, _ in model.named_parameters()} == {
        "noise_unconstrained",
        "kernel.lengthscale_map_unconstrained",
        "kernel.variance_loc",
        "kernel.variance_scale_unconstrained",
    }
    svi = SVI(model.model, model.guide, Adam({"lr": 0.05}), Trace_ELBO())
    losses = [svi.step() for _ in range(40)]
    assert sum(losses[-10:]) < sum(losses[:10])
    model.set_mode("guide")
    assert torch.isfinite(model(Xnew)[0]).all()
    with pytest.raises(ValueError, match="no prior for parameter: zz"):
        model.kernel.autoguide("zz", dist.Normal)
    with pytest.raises(NotImplementedError, match="there are Delta, Normal, MultivariateNormal"):
        model.kernel.autoguide("variance", dist.Gamma)


@pytest.mark.parametrize("family", [dist.Normal, dist.MultivariateNormal])
def test_a_guide_of_a_constrained_value_has_its_density(family) -> None:
    class Holder(gp.Parameterized):
        def __init__(self) -> None:
            super().__init__()
            self.a = PyroSample(dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
            self.autoguide("a", family)
            self.set_mode("guide")

        def forward(self):
            return self.a

    holder = Holder()
    trace = poutine.trace(holder).get_trace()
    trace.compute_log_prob()
    value = trace.nodes["a"]["value"]
    expected = torch.distributions.LogNormal(holder.a_loc, 1.0).log_prob(value).sum()
    total = trace.nodes["a"]["log_prob"] + trace.nodes["a_latent"]["log_prob"].sum()
    torch.testing.assert_close(total, expected)


def test_draws_of_one_function_agree_with_the_posterior() -> None:
    X, y, _ = data()
    model = regression(X, y)
    points = torch.tensor([[1.0, 1.0], [1.0, 1.1]])
    draws = []
    for _ in range(250):
        draw = model.iter_sample()
        draws.append(torch.cat([draw(points[:1]), draw(points[1:])]))
    loc, cov = exact(X, y, points)
    sampled = torch.stack(draws)
    torch.testing.assert_close(sampled.mean(0), loc, atol=4 * float(cov[0, 0].sqrt()) / 250**0.5, rtol=0)
    torch.testing.assert_close(torch.cov(sampled.t()), cov, atol=0.3 * float(cov[0, 0]), rtol=0)
    again = model.iter_sample()
    torch.testing.assert_close(again(points[:1]), again(points[:1]), atol=0.02, rtol=0)
    noisy = model.iter_sample(noiseless=False)
    pairs = torch.stack([noisy(points[:1]) for _ in range(40)])
    assert pairs.std() > 0.5 * NOISE**0.5  # data at one input differ by their noise


def test_training_by_torch() -> None:
    X, y, _ = data()
    model = regression(X, y)
    losses = gp.util.train(model, torch.optim.Adam(model.parameters(), lr=0.1), num_steps=20)
    assert losses[0] == pytest.approx(-float(evidence(X, y))) and losses[-1] < losses[0]


def test_bad_input_is_named() -> None:
    X, y, Xnew = data()
    with pytest.raises(ValueError, match="but got 8 and 3"):
        regression(X, y[:3])
    with pytest.raises(ValueError, match=r"torch.Size\(\[2\]\) and torch.Size\(\[1\]\)"):
        regression(X, y)(Xnew[:, :1])
    with pytest.raises(ValueError, match="'DTC', 'FITC', 'VFE'"):
        sparse("ABC")(X, y)
    with pytest.raises(AssertionError, match="without outputs has no posterior"):
        regression(X, None)(Xnew)
    assert regression(X, None).model()[0].shape == (8,)
