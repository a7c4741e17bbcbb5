"""Tensor Monte Carlo against exact evidences."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from tests.infer.discrete_models import elbo_by_loops, programs, random_graph

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.infer import TraceTMC_ELBO, config_enumerate

pytestmark = pytest.mark.usefixtures("float64")


def no_guide(*args):
    pass


@pytest.fixture(autouse=True)
def _sites_summed_out_of_the_model_are_not_missing():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found vars in model but not guide")
        yield


def test_exact_enumeration_gives_the_evidence():
    for seed in range(40):
        graph = random_graph(seed, ("model",), max_assignments=200)
        if any(n.role == "model" for n in graph.nodes):
            graph.scale = 1.0
            tables = {n.name: n.table for n in graph.nodes}
            model, guide = programs(graph, {name: table.log() for name, table in tables.items()}, {})
            expected = -float(elbo_by_loops(graph, tables, {}))
            assert TraceTMC_ELBO(max_plate_nesting=3).loss(model, guide) == pytest.approx(expected, abs=1e-10)


DATA = torch.tensor([0.3, -0.8], dtype=torch.float64)


def chain(data):
    """z ~ N(m, 1), y_i ~ N(z, 1), x_i ~ N(y_i, 1)."""
    m = ember.param("m", torch.tensor(0.2))
    z = ember.sample("z", dist.Normal(m, 1.0))
    with ember.plate("rows", len(data)):
        y = ember.sample("y", dist.Normal(z, 1.0))
        ember.sample("x", dist.Normal(y, 1.0), obs=data)


def evidence(m):
    covariance = 2.0 * torch.eye(2) + 1.0
    return dist.MultivariateNormal(m.expand(2), covariance).log_prob(DATA)


@pytest.mark.parametrize("tmc", ["diagonal", "mixture", "full"])
def test_many_samples_give_the_evidence_and_its_gradient(tmc):
    ember.set_rng_seed(1)
    model = config_enumerate(chain, num_samples=300 if tmc != "full" else 60, tmc=tmc)
    m = torch.tensor(0.2, requires_grad=True)
    exact = -evidence(m)
    (gradient,) = torch.autograd.grad(exact, m)
    losses, gradients = [], []
    for _ in range(10):
        ember.clear_param_store()
        losses.append(TraceTMC_ELBO(max_plate_nesting=1).loss_and_grads(model, no_guide, DATA))
        gradients.append(dict(ember.get_param_store().named_parameters())["m"].grad.item())
    # The bound has a small bias of its own.
    for values, expected in ((losses, exact.item()), (gradients, gradient.item())):
        values = torch.tensor(values)
        assert abs(values.mean().item() - expected) < 4.5 * values.std().item() / math.sqrt(10) + 0.02


def test_proposals_of_the_guide():
    def guide(data):
        q = ember.param("q", torch.tensor(0.1))
        s = ember.param("s", torch.tensor(1.3), constraint=constraints.positive)
        ember.sample("z", dist.Normal(q, s))
        with ember.plate("rows", len(data)):
            ember.sample("y", dist.Normal(q, 1.5 * s))

    ember.set_rng_seed(2)
    guide = config_enumerate(guide, num_samples=200)
    losses = torch.tensor([TraceTMC_ELBO(max_plate_nesting=1).loss(chain, guide, DATA) for _ in range(8)])
    exact = -evidence(torch.tensor(0.2)).item()
    assert abs(losses.mean().item() - exact) < 4.5 * losses.std().item() / math.sqrt(8) + 0.02


def test_few_samples_give_a_bound():
    ember.set_rng_seed(3)
    means = []
    for samples in (2, 20):
        model = config_enumerate(chain, num_samples=samples)
        elbo = TraceTMC_ELBO(max_plate_nesting=1, num_particles=100)
        means.append(elbo.loss(model, no_guide, DATA))
    assert means[0] > means[1] > -evidence(torch.tensor(0.2)).item() - 0.02


@pytest.mark.parametrize("mode", ["parallel", "sequential", None])
def test_score_functions_are_unbiased_under_the_guide(mode):
    """With one discrete site, sampled or enumerated, to 4.5 standard errors."""

    def model():
        k = ember.sample("k", dist.Bernoulli(0.3))
        ember.sample("x", dist.Normal(2.0 * k, 1.0), obs=torch.tensor(1.5))

    def guide():
        q = ember.param("q", torch.tensor(0.6), constraint=constraints.unit_interval)
        ember.sample("k", dist.Bernoulli(q), infer={} if mode is None else {"enumerate": mode})

    elbo = TraceTMC_ELBO(max_plate_nesting=0, strict_enumeration_warning=mode is not None)
    loss = elbo.loss_and_grads(model, guide)
    assert math.isfinite(loss)
    assert torch.isfinite(dict(ember.get_param_store().named_parameters())["q"].grad)
    if mode == "parallel":
        joint = torch.tensor([0.7, 0.3]).log() + dist.Normal(torch.tensor([0.0, 2.0]), 1.0).log_prob(
            torch.tensor(1.5)
        )
        assert loss == pytest.approx(-joint.logsumexp(0).item(), abs=1e-12)


def test_strategies_that_do_not_exist():
    model = config_enumerate(chain, num_samples=3, tmc="bogus")
    with pytest.raises(ValueError, match="bogus not a valid TMC strategy"):
        TraceTMC_ELBO(max_plate_nesting=1).loss(model, no_guide, DATA)


def test_the_diagonal_needs_equal_numbers():
    def model():
        x = ember.sample("x", dist.Normal(0.0, 1.0), infer={"enumerate": "parallel", "num_samples": 3})
        ember.sample("y", dist.Normal(x, 1.0), infer={"enumerate": "parallel", "num_samples": 4})

    with pytest.raises(ValueError, match="same num_samples at all sites, but found 4 and 3"):
        TraceTMC_ELBO(max_plate_nesting=0).loss(model, no_guide)
