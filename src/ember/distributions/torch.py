"""Every distribution class of ``torch.distributions``, with Ember's interface.

Families that do more than torch's live in files of their own and are listed here with the others. A test
fails when torch has a class that this table lacks.
"""

from __future__ import annotations

import torch

from ember.distributions.beta_gamma import Beta as Beta
from ember.distributions.beta_gamma import Dirichlet as Dirichlet
from ember.distributions.beta_gamma import Gamma as Gamma
from ember.distributions.categorical import Categorical as Categorical
from ember.distributions.categorical import OneHotCategorical as OneHotCategorical
from ember.distributions.categorical import (
    OneHotCategoricalStraightThrough as OneHotCategoricalStraightThrough,
)
from ember.distributions.corrected import GeneralizedPareto as GeneralizedPareto
from ember.distributions.corrected import VonMises as VonMises
from ember.distributions.corrected import Wishart as Wishart
from ember.distributions.counts import Binomial as Binomial
from ember.distributions.counts import Geometric as Geometric
from ember.distributions.counts import Multinomial as Multinomial
from ember.distributions.counts import Poisson as Poisson
from ember.distributions.mixture_same_family import MixtureSameFamily as MixtureSameFamily
from ember.distributions.multivariate import LKJCholesky as LKJCholesky
from ember.distributions.multivariate import LowRankMultivariateNormal as LowRankMultivariateNormal
from ember.distributions.multivariate import MultivariateNormal as MultivariateNormal
from ember.distributions.normal import Normal as Normal
from ember.distributions.torch_distribution import Independent as Independent
from ember.distributions.torch_distribution import WrappedDistribution
from ember.distributions.transformed import Gumbel as Gumbel
from ember.distributions.transformed import HalfCauchy as HalfCauchy
from ember.distributions.transformed import HalfNormal as HalfNormal
from ember.distributions.transformed import InverseGamma as InverseGamma
from ember.distributions.transformed import Kumaraswamy as Kumaraswamy
from ember.distributions.transformed import LogisticNormal as LogisticNormal
from ember.distributions.transformed import LogNormal as LogNormal
from ember.distributions.transformed import Pareto as Pareto
from ember.distributions.transformed import RelaxedBernoulli as RelaxedBernoulli
from ember.distributions.transformed import RelaxedOneHotCategorical as RelaxedOneHotCategorical
from ember.distributions.transformed import TransformedDistribution as TransformedDistribution
from ember.distributions.transformed import Weibull as Weibull
from ember.distributions.uniform import Uniform as Uniform


class Bernoulli(torch.distributions.Bernoulli, WrappedDistribution):
    """0 or 1, parameterised by ``probs`` or ``logits`` of 1.

    >>> import torch
    >>> from ember.distributions import Bernoulli
    >>> Bernoulli(torch.tensor(0.5)).enumerate_support()
    tensor([0., 1.])
    """


class Cauchy(torch.distributions.Cauchy, WrappedDistribution):
    """Cauchy distribution with median ``loc`` and scale ``scale``.

    >>> import torch
    >>> from ember.distributions import Cauchy
    >>> Cauchy(0.0, 1.0).log_prob(torch.tensor(0.0))
    tensor(-1.1447)
    """


class Chi2(torch.distributions.Chi2, WrappedDistribution):
    """Chi-squared distribution with ``df`` degrees of freedom.

    >>> from ember.distributions import Chi2
    >>> Chi2(2.0).mean
    tensor(2.)
    """


class ContinuousBernoulli(torch.distributions.ContinuousBernoulli, WrappedDistribution):
    """Density on the unit interval proportional to a Bernoulli's mass (Loaiza-Ganem and Cunningham, 2019).

    Args:
        probs: the parameter, between 0 and 1; 1/2 is the uniform distribution.
        logits: its log odds. Give one of both.
        lims: around 1/2, where a series is used instead of the formula.

    >>> import torch
    >>> from ember.distributions import ContinuousBernoulli
    >>> ContinuousBernoulli(probs=torch.tensor([0.3])).batch_shape
    torch.Size([1])
    """


class ExponentialFamily(torch.distributions.ExponentialFamily, WrappedDistribution):  # type: ignore[misc]
    """Abstract base of torch's exponential families.

    >>> from ember.distributions import ExponentialFamily
    >>> ExponentialFamily(validate_args=False).batch_shape
    torch.Size([])
    """


class Exponential(torch.distributions.Exponential, WrappedDistribution):
    """Exponential distribution with rate ``rate``.

    >>> import torch
    >>> from ember.distributions import Exponential
    >>> Exponential(2.0).log_prob(torch.tensor(0.0))
    tensor(0.6931)
    """


class FisherSnedecor(torch.distributions.FisherSnedecor, WrappedDistribution):
    """F distribution with ``df1`` and ``df2`` degrees of freedom.

    >>> from ember.distributions import FisherSnedecor
    >>> FisherSnedecor(1.0, 4.0).mean
    tensor(2.)
    """


class Laplace(torch.distributions.Laplace, WrappedDistribution):
    """Laplace distribution with mean ``loc`` and scale ``scale``.

    >>> import torch
    >>> from ember.distributions import Laplace
    >>> Laplace(0.0, 1.0).log_prob(torch.tensor(0.0))
    tensor(-0.6931)
    """


class NegativeBinomial(torch.distributions.NegativeBinomial, WrappedDistribution):
    """Number of successes before ``total_count`` failures.

    Args:
        total_count: how many failures end the trials, 0 or more.
        probs: the probability of a success, at least 0 and below 1.
        logits: its log odds. Give one of both.

    >>> import torch
    >>> from ember.distributions import NegativeBinomial
    >>> NegativeBinomial(2.0, probs=torch.tensor(0.5)).mean
    tensor(2.)
    """


class StudentT(torch.distributions.StudentT, WrappedDistribution):
    """Student's t distribution with ``df`` degrees of freedom, location ``loc`` and scale ``scale``.

    >>> import torch
    >>> from ember.distributions import StudentT
    >>> StudentT(1.0).log_prob(torch.tensor(0.0))
    tensor(-1.1447)
    """


__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "ContinuousBernoulli",
    "Dirichlet",
    "Exponential",
    "ExponentialFamily",
    "FisherSnedecor",
    "Gamma",
    "GeneralizedPareto",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "InverseGamma",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "LogNormal",
    "LogisticNormal",
    "LowRankMultivariateNormal",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "Poisson",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "StudentT",
    "TransformedDistribution",
    "Uniform",
    "VonMises",
    "Weibull",
    "Wishart",
]
