"""Steps with Ember's own families, observed and drawn in a guide: compiled, they give the numbers of eager steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, tensor

import ember
import ember.distributions as dist
from ember.capture import Interpreter
from ember.infer import SVI, Trace_ELBO
from ember.optim import Adam

START = tensor([0.5, 1.0, 2.5])
SIMPLEX = tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])


def wide(p: Tensor) -> Tensor:
    return p.unsqueeze(-1) * SIMPLEX


def steps(noise: Callable[[int], Any]) -> tuple[Any, ...]:
    """A linear model of four steps, two states and one observation."""
    moves = 0.5 * torch.eye(2).expand(4, 2, 2)
    return noise(2), moves, noise(2), torch.ones(2, 1), noise(1)


FAMILIES: dict[str, Callable[[Tensor], Any]] = {
    "AffineBeta": lambda p: dist.AffineBeta(p, p, 0.0, 2.0),
    "AsymmetricLaplace": lambda p: dist.AsymmetricLaplace(p, p, p),
    "BetaBinomial": lambda p: dist.BetaBinomial(p, p, 4),
    "CoalescentTimesWithRate": lambda p: dist.CoalescentTimesWithRate(tensor([2.0, 2.2, 2.5, 2.7]), p),
    "DirichletMultinomial": lambda p: dist.DirichletMultinomial(wide(p), total_count=4),
    "ExtendedBetaBinomial": lambda p: dist.ExtendedBetaBinomial(p, p, 4),
    "ExtendedBinomial": lambda p: dist.ExtendedBinomial(4, (-p).exp()),
    "Folded": lambda p: dist.FoldedDistribution(dist.Normal(p, p)),
    "GammaPoisson": lambda p: dist.GammaPoisson(p, p),
    "GammaGaussianHMM": lambda p: dist.GammaGaussianHMM(
        dist.Gamma(p[0], p[0]), *steps(lambda n: dist.MultivariateNormal(p[:n], torch.eye(n)))
    ),
    "GaussianHMM": lambda p: dist.GaussianHMM(*steps(lambda n: dist.MultivariateNormal(p[:n], torch.eye(n)))),
    "GaussianHMM-diagonal": lambda p: dist.GaussianHMM(
        *steps(lambda n: dist.Normal(p[:n], p[:n]).to_event(1))
    ),
    "GaussianScaleMixture": lambda p: dist.GaussianScaleMixture(p, p, p),
    "LKJ": lambda p: dist.LKJ(3, p),
    "Logistic": lambda p: dist.Logistic(p, p),
    "LogNormalNegativeBinomial": lambda p: dist.LogNormalNegativeBinomial(p, p, p),
    "MaskedMixture": lambda p: dist.MaskedMixture(
        tensor([True, False, True]), dist.Normal(p, p), dist.Gamma(p, p)
    ),
    "MixtureOfDiagNormals": lambda p: dist.MixtureOfDiagNormals(
        wide(p).expand(3, 3, 3), SIMPLEX.expand(3, 3, 3), wide(p)
    ),
    "MultivariateStudentT": lambda p: dist.MultivariateStudentT(p + 2, wide(p), torch.eye(3)),
    "NanMaskedMultivariateNormal": lambda p: dist.NanMaskedMultivariateNormal(wide(p), torch.eye(3)),
    "NanMaskedNormal": lambda p: dist.NanMaskedNormal(p, p),
    "OMTMultivariateNormal": lambda p: dist.OMTMultivariateNormal(p, torch.diag(p)),
    "OneOneMatching": lambda p: dist.OneOneMatching(torch.outer(p, 1 / p)),
    "OneTwoMatching": lambda p: dist.OneTwoMatching(torch.outer(p, 1 / p).repeat(2, 1)),
    "OrderedLogistic": lambda p: dist.OrderedLogistic(p, tensor([-1.0, 0.0, 1.0])),
    "ProjectedNormal": lambda p: dist.ProjectedNormal(wide(p)),
    "RelaxedBernoulliStraightThrough": lambda p: dist.RelaxedBernoulliStraightThrough(tensor(0.5), logits=p),
    "SineSkewed": lambda p: dist.SineSkewed(
        dist.VonMises(p.unsqueeze(-1), 1.0).to_event(1), (-p.unsqueeze(-1)).exp()
    ),
    "SineBivariateVonMises": lambda p: dist.SineBivariateVonMises(
        p, p, p, p, weighted_correlation=(-p).exp()
    ),
    "SkewLogistic": lambda p: dist.SkewLogistic(p, p, p),
    "SoftAsymmetricLaplace": lambda p: dist.SoftAsymmetricLaplace(p, p, p, p),
    "SoftLaplace": lambda p: dist.SoftLaplace(p, p),
    "SpanningTree": lambda p: dist.SpanningTree(p),
    "StableWithLogProb": lambda p: dist.StableWithLogProb(1 + p / 4, p / 4, p, p),
    "ZeroInflatedPoisson": lambda p: dist.ZeroInflatedPoisson(p, gate_logits=p),
}


def losses(fn: Callable[[Tensor], Any], observed: Tensor | None, compile: bool) -> list[float]:
    ember.clear_param_store()
    ember.set_rng_seed(1)

    def parameter() -> Tensor:
        return ember.param("p", START.clone(), constraint=dist.constraints.positive)

    def model() -> None:
        if observed is not None:
            ember.sample("x", fn(parameter()).to_event(None), obs=observed)
        else:
            z = ember.sample("z", fn(START).to_event(None).mask(False))
            ember.factor("cost", -0.1 * z.square().sum())

    def guide() -> None:
        if observed is None:
            ember.sample("z", fn(parameter()).to_event(None))

    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO(), compile=compile)
    if compile:
        svi.programs.backend = Interpreter()
    steps = [svi.step() for _ in range(3)]
    assert (ember.param("p").detach() != START).any()
    return steps


@pytest.mark.parametrize("name", FAMILIES)
def test_compiled_steps_are_eager_steps(name: str) -> None:
    fn = FAMILIES[name]
    try:
        value = fn(START).sample()
    except NotImplementedError:
        value = torch.ones(3)
    if name == "RelaxedBernoulliStraightThrough":
        value = 0.1 + 0.8 * value
    cases = [value, None] if fn(START).has_rsample else [value]
    for observed in cases:
        expected = losses(fn, observed, compile=False)
        assert losses(fn, observed, compile=True) == pytest.approx(expected, rel=1e-4)
