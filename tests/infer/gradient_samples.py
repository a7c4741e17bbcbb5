"""Samples of gradients, and programs whose exact gradients are known."""

from __future__ import annotations

import math

import torch

import ember
import ember.distributions as dist
from ember.distributions import constraints
from ember.distributions.testing import fakes


def samples(objective, model, guide, *args, batches=20):
    """Gradients of the loss, one row a batch: all parameters, flattened."""
    rows = []
    for _ in range(batches):
        objective.loss_and_grads(model, guide, *args)
        leaves = [leaf for name, leaf in ember.get_param_store().named_parameters() if name[:2] != "__"]
        rows.append(
            torch.cat(
                [torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) for p in leaves]
            )
        )
        for leaf in leaves:
            leaf.grad = None
    return torch.stack(rows)


def assert_means_agree(rows, exact, errors=4.5, precision=0.1):
    """The mean of the rows is ``exact`` (a vector, or rows of another estimator) within standard errors."""
    error = rows.std(0) / len(rows) ** 0.5
    mean, other = rows.mean(0), exact if exact.dim() == 1 else exact.mean(0)
    if exact.dim() == 2:
        error = (error**2 + exact.var(0) / len(exact)).sqrt()
    assert torch.all((mean - other).abs() <= errors * error + 1e-9), (mean, other, error)
    assert torch.all(error <= precision * (1 + other.abs())), ("too noisy to find an error", error)


def gradient_of(elbo):
    """The exact gradient of a loss whose ELBO is given as a function of the parameters."""
    leaves = [leaf for _, leaf in ember.get_param_store().named_parameters()]
    return torch.cat([-g.reshape(-1) for g in torch.autograd.grad(elbo(), leaves)])


def chain(reparameterized=True, replicates=None, x=1.5):
    """z1 ~ N(0, 1), z2 ~ N(z1, 1), x ~ N(z2, 1), with a guide in which z2 depends on z1 and which can be exact."""
    normal = dist.Normal if reparameterized else fakes.NonreparameterizedNormal

    def rows():
        return ember.plate("replicates", replicates) if replicates else ember.poutine.Messenger()

    def model():
        with rows():
            z1 = ember.sample("z1", dist.Normal(ember.param("prior", torch.tensor(0.0)), 1.0))
            z2 = ember.sample("z2", dist.Normal(z1, 1.0))
            ember.sample("x", dist.Normal(z2, 1.0), obs=torch.tensor(x).expand([replicates or 1]).squeeze())

    def guide():
        with rows():
            loc = ember.param("loc", torch.tensor(0.2))
            scale = ember.param("scale", torch.tensor(0.6), constraint=constraints.positive)
            a, b = ember.param("a", torch.tensor(0.4)), ember.param("b", torch.tensor(0.3))
            scale2 = ember.param("scale2", torch.tensor(0.9), constraint=constraints.positive)
            z1 = ember.sample("z1", normal(loc, scale))
            ember.sample("z2", normal(a + b * z1, scale2))

    return model, guide


def make_chain_exact(x=1.5):
    """Give the guide of :func:`chain` the parameters of the posterior."""
    exact = {"loc": x / 3, "scale": math.sqrt(2 / 3), "a": x / 2, "b": 0.5, "scale2": math.sqrt(0.5)}
    store = ember.get_param_store()
    store["prior"] = torch.tensor(0.0)
    for name, value in exact.items():
        constraint = constraints.positive if "scale" in name else constraints.real
        store.setdefault(name, torch.tensor(1.0), constraint)
        store[name] = torch.tensor(value)


def chain_elbo(x=1.5):
    """The exact ELBO of :func:`chain` at its parameters."""
    p = ember.param
    m1, s1, a, b, s2 = p("loc"), p("scale"), p("a"), p("b"), p("scale2")
    m2, v2 = a + b * m1, s2**2 + (b * s1) ** 2
    # E(z2 - z1)^2
    gap = (a + (b - 1) * m1) ** 2 + ((b - 1) * s1) ** 2 + s2**2
    log_p = -0.5 * ((m1 - p("prior")) ** 2 + s1**2 + gap + (x - m2) ** 2 + v2)
    return log_p + s1.log() + s2.log()
