"""Every sampler draws the same numbers captured as eager, and leaves the generator in the same state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ember
import ember.distributions as dist
from ember.capture import Interpreter, capture, inductor


def samples(p: Tensor) -> list[Tensor]:
    eye = torch.eye(3)
    drawn = [
        dist.Bernoulli(p).sample(),
        torch.bernoulli(p, 0.3),
        dist.Categorical(p).sample((4,)),
        dist.OneHotCategorical(p).sample(),
        dist.Gamma(p + 1, p).rsample(),
        dist.Beta(p + 1, p).rsample(),
        dist.Dirichlet(p + 1).rsample(),
        dist.Poisson(p * 5).sample(),
        dist.Binomial(10, p).sample(),
        dist.Exponential(p).rsample(),
        dist.Cauchy(p, p).rsample(),
        dist.Laplace(p, p).rsample(),
        dist.Gumbel(p, p).rsample(),
        dist.StudentT(p + 3).rsample(),
        dist.Uniform(p, p + 1).rsample(),
        dist.Geometric(p).sample(),
        dist.NegativeBinomial(p * 10, p).sample(),
        dist.Multinomial(5, p).sample(),
        dist.RelaxedBernoulli(p, p).rsample(),
        dist.RelaxedOneHotCategorical(p[0], p).rsample(),
        dist.MultivariateNormal(p, eye).rsample(),
        dist.LowRankMultivariateNormal(p, eye[:, :1], p).rsample(),
        dist.Weibull(p, p).rsample(),
        dist.Pareto(p, p).rsample(),
        dist.HalfCauchy(p).rsample(),
        dist.HalfNormal(p).rsample(),
        dist.LogNormal(p, p).rsample(),
        dist.Kumaraswamy(p, p).rsample(),
        dist.LKJCholesky(3, p.sum()).sample(),
        dist.Normal(p, 1.0).rsample(),
        dist.Normal(p.sum(), 1.0).rsample((20,)),
        torch.rand_like(p),
        torch.randn_like(p),
        torch.randn(20) + p.sum(),
        torch.randint(0, 10, (5,)) + p.sum().long(),
        torch.randperm(20)[:7] + p.sum().long(),
        torch.empty(3).exponential_() + p,
        torch.empty(3).uniform_(1.0, 2.0) + p,
        torch.empty(3).normal_(1.0, 2.0) + p,
        torch.normal(p, p + 1),
        torch.nn.functional.dropout(p.expand(20, 3), 0.4),
        torch.nn.functional.dropout(p.expand(20, 3), 0.5),
    ]
    return [*drawn, torch.rand(2)]


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    torch.set_default_dtype(request.param)
    return request.param


def run(call):
    torch.manual_seed(1)
    out = call()
    return out, torch.get_rng_state()


def assert_same_stream(one, other, dtype):
    for position, (a, b) in enumerate(zip(one[0], other[0], strict=True)):
        tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype is torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
        torch.testing.assert_close(
            a, b, **tolerance, msg=lambda text, position=position: f"{position}: {text}"
        )
    assert torch.equal(one[1], other[1])


@pytest.mark.skipif(
    torch.__version__ < (2, 13), reason="Inductor of torch 2.9 moves samplers past each other"
)
def test_all_samplers_in_one_graph(dtype, monkeypatch):
    # Where CI is set, Inductor is stricter about the operators that it leaves to torch.
    monkeypatch.setenv("CI", "1")
    p = torch.tensor([0.2, 0.5, 0.7])
    with ember.validation_enabled(False):
        before = torch.get_rng_state()
        graph = capture(lambda flat: samples(*flat), [p])
        assert torch.equal(torch.get_rng_state(), before)
        flat = [p, *graph.lifted]
        eager = run(lambda: samples(p))
    interpreted = Interpreter().compile(graph, flat)
    assert_same_stream(run(lambda: interpreted(flat)), eager, dtype)
    compiled = inductor.compile_graph(graph.module, flat)
    # Twice: the second call starts from other memory.
    for _ in range(2):
        assert_same_stream(run(lambda: compiled(list(flat))), eager, dtype)


def test_both_entry_points_give_the_same_numbers():
    def step(flat):
        param, data = flat
        noise = torch.randn(3) + torch.distributions.Gamma(data.exp(), 1.0, validate_args=False).rsample()
        param.sub_(0.1 * (param - data + noise))
        return [(param * data).sum(), noise]

    flat = [torch.zeros(3), torch.tensor([0.1, -0.3, 1.0])]
    graph = capture(step, flat)
    assert torch.equal(flat[0], torch.zeros(3))
    results = []
    for entry in (inductor.compile_graph, inductor.compile_graph_publicly):
        compiled = entry(graph.module, flat)
        inputs = [flat[0].clone(), flat[1]]
        for _ in range(3):
            out, state = run(lambda inputs=inputs, compiled=compiled: compiled(list(inputs)))
        results.append(([*out, inputs[0]], state))
        assert torch.distributions.Distribution._validate_args == ember.distributions.is_validation_enabled()
    assert_same_stream(*results, torch.float32)
    assert float(results[0][0][2].abs().sum()) > 0
