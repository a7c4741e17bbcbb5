"""The small rooms of ``contrib``: functions of tensors, layers, random variables, conjugate pairs."""

from __future__ import annotations

import weakref
from contextlib import ExitStack

import pytest
import torch

import ember
import ember.distributions as dist
from ember import poutine
from ember.contrib import util
from ember.contrib.bnn import HiddenLayer
from ember.contrib.bnn.utils import adjoin_zeros_vector, xavier_uniform
from ember.contrib.conjugate.infer import (
    BetaBinomialPair,
    GammaPoissonPair,
    collapse_conjugate,
    posterior_replay,
    uncollapse_conjugate,
)
from ember.contrib.randomvariable import RandomVariable
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam


def test_parts_of_vectors() -> None:
    sizes = {"a": 2, "b": 1, "c": 3}
    x = torch.arange(12.0).reshape(2, 6)
    assert util.get_indices(["a", "c"], sizes=sizes).tolist() == [0, 1, 3, 4, 5]
    assert util.get_indices(["b"], tensors={"a": torch.ones(3, 2), "b": torch.ones(4)}).tolist() == [
        3,
        4,
        5,
        6,
    ]
    parts = util.tensor_to_dict(sizes, x)
    assert torch.equal(torch.cat(list(parts.values()), -1), x)
    assert list(util.tensor_to_dict(sizes, x, subset=["c"])) == ["c"]
    with pytest.raises(ValueError, match="sizes or tensors"):
        util.get_indices(["a"])


def test_products_and_shapes() -> None:
    A, b = torch.randn(3, 2, 4), torch.randn(3, 4)
    torch.testing.assert_close(util.rmm(A, A.mT), A @ A.mT)
    torch.testing.assert_close(util.rmv(A, b), torch.einsum("bij,bj->bi", A, b))
    torch.testing.assert_close(util.rvv(b, b), b.square().sum(-1))
    assert util.lexpand(b, 5, 1).shape == (5, 1, 3, 4) and util.rexpand(b, 5, 1).shape == (3, 4, 5, 1)
    assert torch.equal(util.rdiag(b)[1], b[1].diag())
    square = torch.randn(2, 3, 3)
    assert torch.equal(util.rtril(square, upper=True), square.tril().mT)
    with ember.plate("outer", 2), ExitStack() as stack:
        plates = list(util.iter_plates_to_shape((4, 1, 3)))
        for plate in plates:
            stack.enter_context(plate)
        found = [(plate.name, plate.dim) for plate in plates]
    assert found == [("plate_0", -2), ("plate_1", -3), ("plate_2", -4)]


def test_weak_references_are_found() -> None:
    target = torch.zeros(1)
    util.check_no_weakref([1, {"a": (target, "text")}])
    with pytest.raises(ValueError, match=r"Weakref found at root\[a\]\[1\]"):
        util.check_no_weakref({"a": [1, weakref.ref(target)]}, "root")


@pytest.mark.parametrize("weight_space", [False, True])
def test_outputs_of_a_layer(weight_space: bool) -> None:
    torch.manual_seed(0)
    X, mean, scale = torch.randn(5, 3), torch.randn(3, 2), 0.1 + torch.rand(3, 2)
    layer = HiddenLayer(X, mean, scale, non_linearity=lambda x: x, weight_space_sampling=weight_space)
    draws = layer.rsample((4000,))
    assert draws.shape == (4000, 5, 3) and (draws[..., -1] == 1).all()
    torch.testing.assert_close(draws[..., :2].mean(0), X @ mean, atol=0.15, rtol=0)
    expected = (X.square() @ scale.square()).sqrt()
    torch.testing.assert_close(draws[..., :2].std(0), expected, rtol=0.08, atol=0)


def test_the_density_of_a_layer_is_the_divergence_of_its_weights() -> None:
    mean, scale = torch.randn(3, 2), 0.1 + torch.rand(3, 2)
    layer = HiddenLayer(torch.ones(5, 3), mean, scale, KL_factor=0.1, A_prior_scale=2.0)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, scale), torch.distributions.Normal(0.0, 2.0)
    ).sum()
    torch.testing.assert_close(layer.log_prob(layer.sample()), -0.1 * kl)
    assert HiddenLayer(torch.ones(5, 3), mean, scale, include_hidden_bias=False).sample().shape == (5, 2)
    with pytest.raises(AssertionError, match=r"\(5, 3\), \(2, 2\)"):
        HiddenLayer(torch.ones(5, 3), mean[:2], scale[:2])
    assert xavier_uniform(3, 4).abs().max() <= (6 / 7) ** 0.5
    assert (adjoin_zeros_vector(mean)[:, -1] == 0).all()


def test_arithmetic_of_random_variables() -> None:
    u = dist.Uniform(0.0, 1.0)
    exponential = RandomVariable(u).log().neg().dist
    x = torch.tensor([0.1, 1.0, 3.0])
    torch.testing.assert_close(exponential.log_prob(x), -x)
    torch.testing.assert_close(
        (3 - 2 * dist.Normal(0.0, 1.0).rv).dist.log_prob(x), dist.Normal(3.0, 2.0).log_prob(x)
    )
    chained = u.rv.mul(4).pow(0.5).sub(1).dist
    operators = ((4 * u.rv) ** 0.5 - 1).dist
    torch.manual_seed(0)
    first = chained.sample((5,))
    torch.manual_seed(0)
    assert torch.equal(first, operators.sample((5,)))
    torch.testing.assert_close(u.rv.div(2).add(1).dist.log_prob(torch.tensor(1.2)), torch.tensor(2.0).log())
    torch.testing.assert_close(
        dist.Normal(0.0, 1.0).rv.exp().dist.log_prob(x), torch.distributions.LogNormal(0.0, 1.0).log_prob(x)
    )
    for name in ("sigmoid", "tanh"):
        value = getattr(dist.Normal(0.0, 1.0).rv, name)().dist.sample()
        assert -1 < value < 1
    assert abs(-u.rv).dist.sample() >= 0
    assert dist.Normal(torch.zeros(3), 1.0).rv.softmax().dist.sample().sum() == pytest.approx(1.0)


def rates(data):
    pair = GammaPoissonPair()
    x = ember.sample("x", pair.latent(torch.tensor(2.0), torch.tensor(4.0)))
    with ember.plate("data", 2):
        ember.sample("y", pair.conditional(x), obs=data)


def probabilities(data):
    pair = BetaBinomialPair()
    with ember.plate("data", 2):
        x = ember.sample("x", pair.latent(torch.tensor([2.0, 2.0]), torch.tensor(4.0)))
        ember.sample("y", pair.conditional(total_count=torch.tensor(10.0), probs=x), obs=data)


DATA = torch.tensor([3.0, 7.0])


def test_posteriors_of_pairs() -> None:
    beta = BetaBinomialPair()
    beta.latent(torch.tensor([2.0, 3.0]), torch.tensor(4.0))
    beta.conditional(total_count=torch.tensor(10.0), probs=torch.tensor(0.5))
    posterior = beta.posterior(torch.tensor([[3.0, 5.0], [1.0, 2.0]]))
    assert posterior.concentration1.tolist() == [6.0, 10.0] and posterior.concentration0.tolist() == [
        20.0,
        17.0,
    ]
    gamma = GammaPoissonPair()
    gamma.latent(torch.tensor(2.0), torch.tensor(3.0))
    posterior = gamma.posterior(torch.tensor([3.0, 4.0]))
    assert posterior.concentration == 9.0 and posterior.rate == 5.0


def test_collapsing_integrates_the_latent_variable_out() -> None:
    trace = poutine.trace(collapse_conjugate(probabilities)).get_trace(DATA)
    assert "x" not in trace.nodes and trace.nodes["y"]["is_observed"]
    grid = torch.linspace(0, 1, 4001)[1:-1, None]
    joint = dist.Beta(torch.tensor([2.0, 2.0]), 4.0).log_prob(grid) + dist.Binomial(10, probs=grid).log_prob(
        DATA
    )
    torch.testing.assert_close(
        trace.log_prob_sum(), (joint.logsumexp(0) - torch.tensor(4000.0).log()).sum(), rtol=1e-4, atol=1e-3
    )


def test_uncollapsing_draws_from_the_posterior() -> None:
    torch.manual_seed(0)
    collapsed = poutine.trace(collapse_conjugate(probabilities)).get_trace(DATA)
    draws = []
    for _ in range(300):
        trace = poutine.trace(uncollapse_conjugate(probabilities, trace=collapsed)).get_trace(DATA)
        draws.append(trace.nodes["x"]["value"])
    exact = torch.distributions.Beta(2 + DATA, 4 + 10 - DATA)
    torch.testing.assert_close(torch.stack(draws).mean(0), exact.mean, atol=0.025, rtol=0)


def test_replay_of_posterior_samples() -> None:
    torch.manual_seed(0)

    def model(data):
        probabilities(data)
        ember.sample("z", dist.Normal(0.0, 1.0))

    samples = posterior_replay(model, {"z": torch.arange(3.0)}, DATA)
    assert (
        samples["z"].tolist() == [0.0, 1.0, 2.0]
        and samples["x"].shape == (3, 2)
        and set(samples) == {"x", "z"}
    )
    with pytest.raises(AssertionError, match="num_samples"):
        posterior_replay(model, {}, DATA)


@pytest.mark.parametrize("mode", [False, True])
def test_a_collapsed_model_is_fitted(mode: bool) -> None:
    ember.clear_param_store()

    def model(data):
        a = ember.param("a", torch.tensor(1.0), constraint=dist.constraints.positive)
        pair = GammaPoissonPair()
        x = ember.sample("x", pair.latent(torch.tensor(5.0), a))
        ember.sample("y", pair.conditional(x), obs=data)

    def guide(data):
        pass

    svi = SVI(collapse_conjugate(model), guide, Adam({"lr": 0.05}), Trace_ELBO(), compile=mode)
    for _ in range(400):
        svi.step(torch.tensor(10.0))
    # The rate under which the mean of the data, 5 / a, is 10.
    assert ember.param("a").item() == pytest.approx(0.5, abs=0.02)
