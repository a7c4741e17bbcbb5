"""The causal effect variational autoencoder."""

from __future__ import annotations

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.contrib import cevae
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam


def data(n: int = 200, kind: str = "bernoulli"):
    z = dist.Bernoulli(0.5).sample((n,))
    x = dist.Normal(z, 5 * z + 3 * (1 - z)).sample((3,)).t().contiguous()
    t = dist.Bernoulli(0.75 * z + 0.25 * (1 - z)).sample()
    y = dist.Bernoulli(logits=3 * (z + 2 * (2 * t - 2))).sample()
    return x, t, y if kind == "bernoulli" else y + 0.1 * torch.rand(n) + 0.01


@pytest.mark.parametrize("kind", ["bernoulli", "exponential", "laplace", "normal", "studentt"])
def test_outcomes_of_all_kinds(kind: str) -> None:
    ember.set_rng_seed(0)
    x, t, y = data(kind=kind)
    net = cevae.CEVAE(3, outcome_dist=kind, latent_dim=2, hidden_dim=8, num_layers=2, num_samples=5)
    losses = net.fit(x, t, y, num_epochs=3, batch_size=50, log_every=0)
    assert len(losses) == 12 and all(loss == loss for loss in losses)
    effect = net.ite(x[:10], batch_size=5)
    assert effect.shape == (10,) and torch.isfinite(effect).all()
    params = cevae.DistributionNet.get_class(kind)([3, 4])(torch.randn(7, 3) * 1e4)
    assert all(p.shape == (7,) and torch.isfinite(p).all() for p in params)


def test_a_large_effect_is_found() -> None:
    ember.set_rng_seed(0)
    n = 400
    t = dist.Bernoulli(0.5).sample((n,))
    x = torch.randn(n, 2)
    y = 2.0 * t + 0.1 * torch.randn(n)
    net = cevae.CEVAE(2, outcome_dist="normal", latent_dim=2, hidden_dim=16, num_layers=2, num_samples=20)
    losses = net.fit(x, t, y, num_epochs=25, batch_size=100, learning_rate=1e-2, log_every=0)
    assert losses[-1] < losses[0]
    assert net.ite(x).mean().item() == pytest.approx(2.0, abs=0.4)


def test_what_the_guide_observes_is_learned() -> None:
    """The objective is the ELBO and the log densities of sites that the guide observes."""

    def model(x):
        z = ember.sample("z", dist.Normal(0.0, 1.0))
        ember.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        ember.sample("x", dist.Normal(0.5, 2.0), obs=x, infer={"is_auxiliary": True})
        ember.sample("z", dist.Normal(0.7, 0.8))

    x = torch.tensor(1.3)
    ember.set_rng_seed(1)
    loss = cevae.TraceCausalEffect_ELBO().loss(model, guide, x)
    ember.set_rng_seed(1)

    def without(x):
        ember.sample("z", dist.Normal(0.7, 0.8))

    expected = Trace_ELBO().loss(model, without, x) - dist.Normal(0.5, 2.0).log_prob(x).item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_compiled_steps_are_the_same() -> None:
    ember.set_rng_seed(0)
    x, t, y = data(40)
    losses = []
    for mode in (False, True):
        ember.clear_param_store()
        ember.set_rng_seed(2)
        config = {
            "feature_dim": 3,
            "latent_dim": 2,
            "hidden_dim": 5,
            "num_layers": 2,
            "outcome_dist": "normal",
        }
        model, guide = cevae.Model(config), cevae.Guide(config)
        svi = SVI(model, guide, Adam({"lr": 0.01}), cevae.TraceCausalEffect_ELBO(), compile=mode)
        losses.append([svi.step(x, t, y, size=100) for _ in range(6)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_parts() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0], [0.0, 2.0, 1.0]])
    white = cevae.PreWhitener(x)(x)
    torch.testing.assert_close(white.mean(0), torch.zeros(3))
    torch.testing.assert_close(white.square().mean(0), torch.tensor([1.0, 0.0, 1.0]))
    loc, scale = cevae.DiagNormalNet([3, 4, 5])(x * 1e6)
    assert loc.abs().max() <= 100 and scale.min() >= 1e-3 and scale.max() <= 100
    with pytest.raises(ValueError, match="dtype not supported: wibble"):
        cevae.CEVAE(3, outcome_dist="wibble")
    net = cevae.CEVAE(3, latent_dim=2, hidden_dim=4)
    with pytest.raises(AssertionError, match=r"\(n, 3\), and not \(3, 2\)"):
        net.fit(x[:, :2], x[:, 0], x[:, 0])
    with pytest.raises(AssertionError, match=r"\(3,\), \(2,\)"):
        net.fit(x, x[:, 0], x[:2, 0])
    with pytest.raises(AssertionError, match="latent_dim is positive, and not 0"):
        cevae.CEVAE(3, latent_dim=0)
    sites = poutine.trace(net.model).get_trace(x).nodes
    assert [n for n in ("z", "x", "t", "y") if n in sites] == ["z", "x", "t", "y"]
