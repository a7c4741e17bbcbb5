"""One row per distribution class: how to build it, with a batch of shape (3,), and a reference density."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.stats as sp
import torch
from torch import Tensor, tensor

import ember.distributions as dist
from ember.distributions.testing import fakes


class Row(NamedTuple):
    name: str
    params: dict[str, Any]
    scipy: Callable[[dict[str, Any], Any], Any] | None = None  # log density of a value, from numpy arrays


def _t(*values: float) -> Tensor:
    return tensor(values)


A, B, C = _t(0.5, 1.0, 2.5), _t(1.5, 0.7, 3.0), _t(0.2, 0.5, 0.9)
SIMPLEX = tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])
TRIL = tensor([[1.0, 0.0], [0.5, 2.0]]).expand(3, 2, 2)
LOC2 = tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])

#: Transitions of a hidden Markov model of two dims.
MOVES = tensor([[0.9, 0.2], [-0.1, 0.7]])


def vector(*batch_shape: int) -> Any:
    """A normal vector of two dims that are correlated."""
    return dist.MultivariateNormal(LOC2[0], scale_tril=TRIL[0]).expand(batch_shape)


ROWS = [
    Row("Bernoulli", {"probs": C}, lambda p, x: sp.bernoulli.logpmf(x, p["probs"])),
    Row(
        "Beta",
        {"concentration1": A, "concentration0": B},
        lambda p, x: sp.beta.logpdf(x, p["concentration1"], p["concentration0"]),
    ),
    Row(
        "Binomial",
        {"total_count": _t(3.0, 4.0, 5.0), "probs": C},
        lambda p, x: sp.binom.logpmf(x, p["total_count"], p["probs"]),
    ),
    Row("Categorical", {"probs": SIMPLEX}),
    Row("Cauchy", {"loc": C, "scale": A}, lambda p, x: sp.cauchy.logpdf(x, p["loc"], p["scale"])),
    Row("Chi2", {"df": A}, lambda p, x: sp.chi2.logpdf(x, p["df"])),
    Row("ContinuousBernoulli", {"probs": C}),
    Row("Dirichlet", {"concentration": SIMPLEX * 5}),
    Row("Exponential", {"rate": A}, lambda p, x: sp.expon.logpdf(x, scale=1 / p["rate"])),
    Row("FisherSnedecor", {"df1": A, "df2": B}, lambda p, x: sp.f.logpdf(x, p["df1"], p["df2"])),
    Row(
        "Gamma",
        {"concentration": A, "rate": B},
        lambda p, x: sp.gamma.logpdf(x, p["concentration"], scale=1 / p["rate"]),
    ),
    Row(
        "GeneralizedPareto",
        {"loc": C, "scale": A, "concentration": C},
        lambda p, x: sp.genpareto.logpdf(x, p["concentration"], p["loc"], p["scale"]),
    ),
    Row("Geometric", {"probs": C}, lambda p, x: sp.geom.logpmf(x + 1, p["probs"])),
    Row("Gumbel", {"loc": C, "scale": A}, lambda p, x: sp.gumbel_r.logpdf(x, p["loc"], p["scale"])),
    Row("HalfCauchy", {"scale": A}, lambda p, x: sp.halfcauchy.logpdf(x, scale=p["scale"])),
    Row("HalfNormal", {"scale": A}, lambda p, x: sp.halfnorm.logpdf(x, scale=p["scale"])),
    Row(
        "InverseGamma",
        {"concentration": A, "rate": B},
        lambda p, x: sp.invgamma.logpdf(x, p["concentration"], scale=p["rate"]),
    ),
    Row("Kumaraswamy", {"concentration1": A, "concentration0": B}),
    Row("LKJCholesky", {"dim": 3, "concentration": A}),
    Row("Laplace", {"loc": C, "scale": A}, lambda p, x: sp.laplace.logpdf(x, p["loc"], p["scale"])),
    Row(
        "LogNormal",
        {"loc": C, "scale": A},
        lambda p, x: sp.lognorm.logpdf(x, p["scale"], scale=np.exp(p["loc"])),
    ),
    Row("LogisticNormal", {"loc": LOC2, "scale": LOC2.abs() + 0.1}),
    Row(
        "LowRankMultivariateNormal", {"loc": LOC2, "cov_factor": torch.ones(3, 2, 1), "cov_diag": LOC2.exp()}
    ),
    Row("Multinomial", {"total_count": 4, "probs": SIMPLEX}),
    Row("MultivariateNormal", {"loc": LOC2, "scale_tril": TRIL}),
    Row(
        "NegativeBinomial",
        {"total_count": _t(2.0, 3.0, 4.0), "probs": C},
        lambda p, x: sp.nbinom.logpmf(x, p["total_count"], 1 - p["probs"]),
    ),
    Row("Normal", {"loc": C, "scale": A}, lambda p, x: sp.norm.logpdf(x, p["loc"], p["scale"])),
    Row("OneHotCategorical", {"probs": SIMPLEX}),
    Row("OneHotCategoricalStraightThrough", {"probs": SIMPLEX}),
    Row("Pareto", {"scale": A, "alpha": B}, lambda p, x: sp.pareto.logpdf(x, p["alpha"], scale=p["scale"])),
    Row("Poisson", {"rate": A}, lambda p, x: sp.poisson.logpmf(x, p["rate"])),
    Row("RelaxedBernoulli", {"temperature": tensor(0.7), "probs": C}),
    Row("RelaxedOneHotCategorical", {"temperature": tensor(0.7), "probs": SIMPLEX}),
    Row(
        "StudentT",
        {"df": B, "loc": C, "scale": A},
        lambda p, x: sp.t.logpdf(x, p["df"], p["loc"], p["scale"]),
    ),
    Row(
        "Uniform",
        {"low": C, "high": C + B},
        lambda p, x: sp.uniform.logpdf(x, p["low"], p["high"] - p["low"]),
    ),
    Row(
        "VonMises",
        {"loc": C, "concentration": A},
        lambda p, x: sp.vonmises.logpdf(x, p["concentration"], p["loc"]),
    ),
    Row(
        "Weibull",
        {"scale": A, "concentration": B},
        lambda p, x: sp.weibull_min.logpdf(x, p["concentration"], scale=p["scale"]),
    ),
    Row("Wishart", {"df": _t(3.0, 4.0, 5.0), "scale_tril": TRIL}),
]


def build_row(row: Row) -> Any:
    return getattr(dist, row.name)(**row.params)


def back_to_zero(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Drift and diffusion of an Ornstein-Uhlenbeck process."""
    return -x, torch.ones_like(x)


#: Who are neighbours, in a row of four.
ROW = torch.diag(torch.ones(3), 1) + torch.diag(torch.ones(3), -1)

#: Classes that take distributions, and those that Ember adds: built by hand.
COMPOSED: dict[str, Callable[[], Any]] = {
    "BetaProportion": lambda: dist.BetaProportion(C, B * 4),
    "CAR": lambda: dist.CAR(torch.arange(4.0), C, A, ROW),
    "CensoredDistribution": lambda: dist.CensoredDistribution(dist.Normal(C, A), -0.5, 1.0),
    "DiscreteUniform": lambda: dist.DiscreteUniform(2, torch.tensor([4, 4, 4])),
    "EulerMaruyama": lambda: dist.EulerMaruyama(
        torch.tensor([0.0, 0.5, 1.5, 2.0]), back_to_zero, dist.Normal(C, A)
    ),
    "GaussianAR": lambda: dist.GaussianAR(tensor([0.5, -0.3]), A, 4, intercept=C),
    "GaussianRandomWalk": lambda: dist.GaussianRandomWalk(A, 4),
    "HurdleDistribution": lambda: dist.HurdleDistribution(dist.Poisson(B), gate=C),
    "HurdleDistribution-continuous": lambda: dist.HurdleDistribution(dist.Gamma(B, A), gate=C),
    "ICAR": lambda: dist.ICAR(ROW, A, zero_sum_scale=0.1),
    "LogUniform": lambda: dist.LogUniform(C, B + 1),
    "MatrixNormal": lambda: dist.MatrixNormal(SIMPLEX[:2].expand(3, 2, 3), TRIL, torch.eye(3) * 2),
    "NegativeBinomial2": lambda: dist.NegativeBinomial2(B, A),
    "TruncatedDistribution": lambda: dist.TruncatedDistribution(dist.Gumbel(C, A), -0.5, 2.0),
    "TruncatedNormal": lambda: dist.TruncatedNormal(C, A, low=-0.5, high=1.5),
    "ZeroSumNormal": lambda: dist.ZeroSumNormal(A, (3, 2)),
    "Independent": lambda: dist.Independent(dist.Normal(LOC2, 1.0), 1),
    "TransformedDistribution": lambda: dist.TransformedDistribution(
        dist.Uniform(torch.zeros(3), torch.ones(3)),
        [dist.transforms.SigmoidTransform().inv, dist.transforms.AffineTransform(C, A)],
    ),
    "MixtureSameFamily": lambda: dist.MixtureSameFamily(
        dist.Categorical(SIMPLEX), dist.Normal(SIMPLEX, SIMPLEX + 0.1)
    ),
    "Delta": lambda: dist.Delta(LOC2, event_dim=1),
    "Unit": lambda: dist.Unit(C, has_rsample=True),
    "MaskedDistribution": lambda: dist.Normal(C, A).mask(tensor([True, False, True])),
    "MaskedDistribution-False": lambda: dist.Gamma(C, A).mask(False),
    "ExpandedDistribution": lambda: dist.ExpandedDistribution(dist.Normal(0.0, 1.0), (3,)),
    "ExpandedDistribution-event": lambda: dist.ExpandedDistribution(
        dist.MultivariateNormal(LOC2[:1], scale_tril=TRIL[:1]), (3,)
    ),
    "Poisson-sparse": lambda: dist.Poisson(A, is_sparse=True),
    "AffineBeta": lambda: dist.AffineBeta(A, B, C, A),
    "AsymmetricLaplace": lambda: dist.AsymmetricLaplace(C, A, B),
    "BetaBinomial": lambda: dist.BetaBinomial(A, B, 4),
    "CoalescentTimes": lambda: dist.CoalescentTimes(tensor([0.0, 0.3, 0.5, 1.0]), A),
    "DirichletMultinomial": lambda: dist.DirichletMultinomial(SIMPLEX * 5, 4),
    "DirichletMultinomial-sparse": lambda: dist.DirichletMultinomial(SIMPLEX * 5, 4, is_sparse=True),
    "ExtendedBetaBinomial": lambda: dist.ExtendedBetaBinomial(A, B, 4),
    "ExtendedBinomial": lambda: dist.ExtendedBinomial(4, C),
    "FoldedDistribution": lambda: dist.FoldedDistribution(dist.Normal(C, A)),
    "GammaGaussianHMM": lambda: dist.GammaGaussianHMM(
        dist.Gamma(A, B), vector(3), MOVES, vector(4), MOVES, vector(4).expand((3, 4))
    ),
    "GammaPoisson": lambda: dist.GammaPoisson(A, B),
    "GaussianHMM": lambda: dist.GaussianHMM(
        vector(3), MOVES, vector(1, 4), MOVES, dist.Normal(LOC2[:, None], A[:, None, None]).to_event(1)
    ),
    "IndependentHMM": lambda: dist.IndependentHMM(
        dist.GaussianHMM(
            vector(3, 2), MOVES, vector(4), MOVES[:, :1], dist.Normal(0.0, 1.0).expand([1]).to_event(1)
        )
    ),
    "LKJ": lambda: dist.LKJ(3, A),
    "Logistic": lambda: dist.Logistic(C, A),
    "MaskedMixture": lambda: dist.MaskedMixture(
        tensor([True, False, True]), dist.Normal(C, A), dist.Laplace(A, B)
    ),
    "MultivariateStudentT": lambda: dist.MultivariateStudentT(B + 2, LOC2, TRIL),
    "NanMaskedMultivariateNormal": lambda: dist.NanMaskedMultivariateNormal(LOC2, scale_tril=TRIL),
    "NanMaskedNormal": lambda: dist.NanMaskedNormal(C, A),
    "MixtureOfDiagNormals": lambda: dist.MixtureOfDiagNormals(
        LOC2.expand(3, 3, 2), LOC2.expand(3, 3, 2).exp(), SIMPLEX.log()
    ),
    "MixtureOfDiagNormalsSharedCovariance": lambda: dist.MixtureOfDiagNormalsSharedCovariance(
        LOC2.expand(3, 3, 2), LOC2.exp(), SIMPLEX.log()
    ),
    "OrderedLogistic": lambda: dist.OrderedLogistic(C, tensor([-1.0, 0.5, 2.0])),
    "ProjectedNormal": lambda: dist.ProjectedNormal(LOC2),
    "ProjectedNormal-3": lambda: dist.ProjectedNormal(SIMPLEX),
    "RelaxedBernoulliStraightThrough": lambda: dist.RelaxedBernoulliStraightThrough(tensor(0.7), probs=C),
    "RelaxedOneHotCategoricalStraightThrough": lambda: dist.RelaxedOneHotCategoricalStraightThrough(
        tensor(0.7), probs=SIMPLEX
    ),
    "SineBivariateVonMises": lambda: dist.SineBivariateVonMises(C, A, A, B, weighted_correlation=C),
    "SineSkewed": lambda: dist.SineSkewed(dist.VonMises(LOC2, 1.5).to_event(1), SIMPLEX[:, :2]),
    "SkewLogistic": lambda: dist.SkewLogistic(C, A, B),
    "SoftAsymmetricLaplace": lambda: dist.SoftAsymmetricLaplace(C, A, B, C),
    "SoftLaplace": lambda: dist.SoftLaplace(C, A),
    "Stable": lambda: dist.Stable(tensor([0.7, 1.5, 1.9]), tensor([-0.3, 0.0, 0.8]), A, C),
    "StableWithLogProb": lambda: dist.StableWithLogProb(tensor([0.7, 1.0, 1.9]), 0.2, A, C),
    "TruncatedPolyaGamma": lambda: dist.TruncatedPolyaGamma(C).expand((3,)),
    "ZeroInflatedDistribution": lambda: dist.ZeroInflatedDistribution(dist.Poisson(A), gate=C),
    "ZeroInflatedNegativeBinomial": lambda: dist.ZeroInflatedNegativeBinomial(B, probs=C, gate_logits=A),
    "ZeroInflatedPoisson": lambda: dist.ZeroInflatedPoisson(A, gate=C),
    "NonreparameterizedNormal": lambda: fakes.NonreparameterizedNormal(C, A),
    "NonreparameterizedBeta": lambda: fakes.NonreparameterizedBeta(C, A),
    "NonreparameterizedGamma": lambda: fakes.NonreparameterizedGamma(C, A),
    "NonreparameterizedDirichlet": lambda: fakes.NonreparameterizedDirichlet(SIMPLEX),
}


CASES: dict[str, Callable[[], Any]] = {row.name: (lambda row=row: build_row(row)) for row in ROWS} | COMPOSED
