"""Seeded draws and log densities, computed under Pyro and under the drop-in by the same calls.

``python values.py OUT`` under Pyro, ``python -m ember.pyro values.py OUT`` under Ember.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import tensor

A, B, C = tensor([0.5, 1.0, 2.5]), tensor([1.5, 0.7, 3.0]), tensor([0.2, 0.5, 0.9])
SIMPLEX = tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]])
TRIL = tensor([[1.0, 0.0], [0.5, 2.0]])

# Distribution -> its arguments. Those that are left out have none that are the same in all dims.
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "AffineBeta": {"concentration1": A, "concentration0": B, "loc": tensor(1.0), "scale": tensor(2.0)},
    "AsymmetricLaplace": {"loc": C, "scale": A, "asymmetry": B},
    "Bernoulli": {"probs": C},
    "Beta": {"concentration1": A, "concentration0": B},
    "BetaBinomial": {"concentration1": A, "concentration0": B, "total_count": tensor(5.0)},
    "Binomial": {"total_count": tensor([3.0, 4.0, 5.0]), "probs": C},
    "Categorical": {"probs": SIMPLEX},
    "Cauchy": {"loc": C, "scale": A},
    "Chi2": {"df": A},
    "ContinuousBernoulli": {"probs": C},
    "Delta": {"v": C, "log_density": A},
    "Dirichlet": {"concentration": 5 * SIMPLEX},
    "DirichletMultinomial": {"concentration": 5 * SIMPLEX, "total_count": 4},
    "Exponential": {"rate": A},
    "FisherSnedecor": {"df1": A, "df2": B},
    "Gamma": {"concentration": A, "rate": B},
    "GammaPoisson": {"concentration": A, "rate": B},
    "Geometric": {"probs": C},
    "Gumbel": {"loc": C, "scale": A},
    "HalfCauchy": {"scale": A},
    "HalfNormal": {"scale": A},
    "InverseGamma": {"concentration": A, "rate": B},
    "Kumaraswamy": {"concentration1": A, "concentration0": B},
    "LKJ": {"dim": 3, "concentration": tensor(1.5)},
    "LKJCholesky": {"dim": 3, "concentration": tensor(1.5)},
    "Laplace": {"loc": C, "scale": A},
    "LogNormal": {"loc": C, "scale": A},
    "LogNormalNegativeBinomial": {"total_count": B, "logits": C, "multiplicative_noise_scale": A},
    "Logistic": {"loc": C, "scale": A},
    "LogisticNormal": {"loc": C, "scale": A},
    "LowRankMultivariateNormal": {
        "loc": tensor([0.0, 1.0]),
        "cov_factor": tensor([[1.0], [0.5]]),
        "cov_diag": tensor([1.0, 2.0]),
    },
    "Multinomial": {"total_count": 4, "probs": SIMPLEX},
    "MultivariateNormal": {"loc": tensor([0.0, 1.0]), "scale_tril": TRIL},
    "MultivariateStudentT": {"df": tensor(3.0), "loc": tensor([0.0, 1.0]), "scale_tril": TRIL},
    "NegativeBinomial": {"total_count": tensor([3.0, 4.0, 5.0]), "probs": C},
    "Normal": {"loc": C, "scale": A},
    "OMTMultivariateNormal": {"loc": tensor([0.0, 1.0]), "scale_tril": TRIL},
    "OneHotCategorical": {"probs": SIMPLEX},
    "OneHotCategoricalStraightThrough": {"probs": SIMPLEX},
    "OrderedLogistic": {"predictor": C, "cutpoints": tensor([-1.0, 0.5])},
    "Pareto": {"scale": A, "alpha": B},
    "Poisson": {"rate": A},
    "ProjectedNormal": {"concentration": tensor([[1.0, 2.0], [0.0, 1.0]])},
    "RelaxedBernoulli": {"temperature": tensor(0.7), "probs": C},
    "RelaxedBernoulliStraightThrough": {"temperature": tensor(0.7), "probs": C},
    "RelaxedOneHotCategorical": {"temperature": tensor(0.7), "probs": SIMPLEX},
    "RelaxedOneHotCategoricalStraightThrough": {"temperature": tensor(0.7), "probs": SIMPLEX},
    "SkewLogistic": {"loc": C, "scale": A, "asymmetry": B},
    "SoftAsymmetricLaplace": {"loc": C, "scale": A, "asymmetry": B},
    "SoftLaplace": {"loc": C, "scale": A},
    "Stable": {"stability": tensor(1.5), "skew": tensor(0.3), "scale": A, "loc": C},
    "StudentT": {"df": tensor(3.0), "loc": C, "scale": A},
    "TruncatedPolyaGamma": {"prototype": tensor(0.0)},
    "Uniform": {"low": C, "high": C + A},
    "VonMises": {"loc": C, "concentration": A},
    "VonMises3D": {"concentration": tensor([1.0, 2.0, 0.5])},
    "Weibull": {"scale": A, "concentration": B},
    "ZeroInflatedNegativeBinomial": {"total_count": tensor(3.0), "probs": C, "gate": C},
    "ZeroInflatedPoisson": {"rate": A, "gate": C},
}

# Transform -> its arguments, and a point.
TRANSFORMS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "AbsTransform": ((), A),
    "AffineTransform": ((1.0, 2.0), A),
    "CholeskyTransform": ((), TRIL @ TRIL.T),
    "CorrCholeskyTransform": ((), A),
    "CorrLCholeskyTransform": ((), A),
    "CorrMatrixCholeskyTransform": ((), tensor([[1.0, 0.3], [0.3, 1.0]])),
    "DiscreteCosineTransform": ((), A),
    "ELUTransform": ((), A - 1),
    "ExpTransform": ((), A),
    "HaarTransform": ((), A),
    "LeakyReLUTransform": ((), A - 1),
    "LowerCholeskyAffine": ((tensor([0.0, 1.0]), TRIL), tensor([0.3, -0.4])),
    "LowerCholeskyTransform": ((), tensor([[0.3, 0.0], [0.5, -0.2]])),
    "Normalize": ((), A),
    "OrderedTransform": ((), A),
    "Permute": ((tensor([2, 0, 1]),), A),
    "PositivePowerTransform": ((tensor(2.0),), A),
    "PowerTransform": ((tensor(2.0),), A),
    "SigmoidTransform": ((), A),
    "SimplexToOrderedTransform": ((tensor(0.2),), SIMPLEX[0]),
    "SoftmaxTransform": ((), A),
    "SoftplusLowerCholeskyTransform": ((), tensor([[0.3, 0.0], [0.5, -0.2]])),
    "SoftplusTransform": ((), A),
    "StickBreakingTransform": ((), A),
    "TanhTransform": ((), A),
    "UnitLowerCholeskyTransform": ((), tensor([[0.3, 0.0], [0.5, -0.2]])),
}
# Flows: constructor -> its arguments; drawn weights are part of what is compared.
FLOWS: dict[str, tuple[Any, ...]] = {
    "affine_autoregressive": (3,),
    "affine_coupling": (4,),
    "batchnorm": (3,),
    "block_autoregressive": (3,),
    "elu": (),
    "generalized_channel_permute": (),
    "householder": (3,),
    "leaky_relu": (),
    "matrix_exponential": (3,),
    "neural_autoregressive": (3,),
    "permute": (3,),
    "planar": (3,),
    "polynomial": (3,),
    "radial": (3,),
    "spline": (3,),
    "spline_autoregressive": (3,),
    "spline_coupling": (4,),
    "sylvester": (3,),
}


def _numbers(x: Any) -> list[float]:
    numbers: list[float] = torch.as_tensor(x).detach().double().reshape(-1).tolist()
    return numbers


def _of_distribution(make: Callable[..., Any], arguments: dict[str, Any]) -> list[float]:
    made = make(**arguments)
    x = made.sample((4,))
    return _numbers(x) + _numbers(made.log_prob(x))


def _of_transform(make: Callable[..., Any], arguments: tuple[Any, ...], x: Any) -> list[float]:
    transform = make(*arguments)
    y = transform(x)
    numbers = _numbers(y)
    try:
        numbers += _numbers(transform.log_abs_det_jacobian(x, y))
    except NotImplementedError:
        pass
    return numbers


def _of_flow(make: Callable[..., Any], arguments: tuple[Any, ...]) -> list[float]:
    size = arguments[0] if arguments else 3
    flow = make(*arguments)
    x = torch.randn(6, 3, 4, 4) if "channel" in make.__name__ else torch.randn(5, size)
    y = flow(x)
    return _numbers(y) + _numbers(flow.log_abs_det_jacobian(x, y))


def compute() -> dict[str, Any]:
    """Path of the name -> numbers, or a text that says what stopped it."""
    dist = import_module("pyro.distributions")
    transforms = import_module("pyro.distributions.transforms")
    Job = Callable[[Any], list[float]]
    jobs: list[tuple[str, Any, str, Job]] = []
    for name, arguments in DISTRIBUTIONS.items():
        jobs.append(("pyro.distributions", dist, name, partial(_of_distribution, arguments=arguments)))
    for name, (args, x) in TRANSFORMS.items():
        job: Job = partial(_of_transform, arguments=args, x=x)
        jobs.append(("pyro.distributions.transforms", transforms, name, job))
    for name, args in FLOWS.items():
        jobs.append(("pyro.distributions.transforms", transforms, name, partial(_of_flow, arguments=args)))
    out: dict[str, Any] = {}
    for path, module, name, job in jobs:
        torch.manual_seed(0)
        try:
            out[f"{path}.{name}"] = job(getattr(module, name))
        except Exception as error:  # whatever stops a program that asks for these numbers
            out[f"{path}.{name}"] = f"{type(error).__name__}: {error}".split("\n")[0][:200]
    return out


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    Path(sys.argv[1]).write_text(json.dumps(compute()), encoding="utf-8")
