"""One row per reparameteriser: a site, and which auxiliary sites replace it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import tensor

import ember.distributions as dist
from ember.distributions import transforms as T
from ember.infer.reparam import (
    ConjugateReparam,
    DiscreteCosineReparam,
    GumbelSoftmaxReparam,
    HaarReparam,
    LatentStableReparam,
    LocScaleReparam,
    ProjectedNormalReparam,
    SplitReparam,
    StableReparam,
    StudentTReparam,
    SymmetricStableReparam,
    TransformReparam,
    UnitJacobianReparam,
)


class Row(NamedTuple):
    name: str
    reparam: Callable[[], Any]
    fn: Callable[[Any, Any], Any]  # from a location and a positive scale, both of shape (3, 4)
    auxiliary: tuple[str, ...]
    bijective: bool = False  # the value and the one auxiliary site determine each other
    observable: bool = False
    centered: Any = None


def normal(loc: Any, scale: Any) -> Any:
    return dist.Normal(loc, scale).to_event(1)


def _locscale(name: str, centered: Any, fn: Any = normal) -> Row:
    return Row(name, lambda: LocScaleReparam(centered), fn, ("decentered",), True, True)


BIJECTIVE = [
    _locscale("LocScale-0", 0.0),
    _locscale("LocScale-0.4", 0.4),
    _locscale("LocScale-tensor", tensor([0.1, 0.9, 0.5, 0.0])),
    _locscale("LocScale-learned", None),
    _locscale("LocScale-StudentT", 0.3, lambda m, s: dist.StudentT(5.0, m, s).to_event(1)),
    _locscale(
        "LocScale-AsymmetricLaplace", 0.3, lambda m, s: dist.AsymmetricLaplace(m, s, 1 + s).to_event(1)
    ),
    _locscale("LocScale-Cauchy", 0.3, lambda m, s: dist.Cauchy(m, s).to_event(1)),
    _locscale(
        "LocScale-SoftAsymmetricLaplace", 0.3, lambda m, s: dist.SoftAsymmetricLaplace(m, s).to_event(1)
    ),
    Row(
        "Transform-LogNormal",
        TransformReparam,
        lambda m, s: dist.LogNormal(m, s).to_event(1),
        ("base",),
        True,
        True,
    ),
    Row(
        "Transform-chain",
        TransformReparam,
        lambda m, s: dist.TransformedDistribution(
            dist.Normal(torch.zeros_like(m), torch.ones_like(m)).to_event(1),
            [T.AffineTransform(m, s), T.TanhTransform()],
        ),
        ("base",),
        True,
        True,
    ),
    Row("DiscreteCosine", DiscreteCosineReparam, normal, ("dct",), True, True),
    Row("DiscreteCosine-smooth", lambda: DiscreteCosineReparam(smooth=1.0), normal, ("dct",), True, True),
    Row("Haar", HaarReparam, normal, ("haar",), True, True),
    Row("Haar-flip", lambda: HaarReparam(flip=True), normal, ("haar",), True, True),
    Row("Haar-positive", HaarReparam, lambda m, s: dist.LogNormal(m, s).to_event(1), ("haar",), True, True),
    Row(
        "UnitJacobian",
        lambda: UnitJacobianReparam(T.Permute(tensor([2, 0, 1, 3])), "permuted"),
        normal,
        ("permuted",),
        True,
        True,
    ),
]

NOISY = [
    Row(
        "StudentT",
        StudentTReparam,
        lambda m, s: dist.StudentT(5.0, m, s).to_event(1),
        ("gamma", ""),
        observable=True,
    ),
    Row(
        "GumbelSoftmax",
        GumbelSoftmaxReparam,
        lambda m, s: dist.RelaxedOneHotCategorical(tensor(0.8), logits=m * s),
        ("uniform",),
    ),
    Row("ProjectedNormal", ProjectedNormalReparam, lambda m, s: dist.ProjectedNormal(m * s), ("normal",)),
    Row(
        "LatentStable",
        LatentStableReparam,
        lambda m, s: dist.Stable(1.6, -0.4, s, m).to_event(1),
        ("uniform", "exponential"),
    ),
    Row(
        "SymmetricStable",
        SymmetricStableReparam,
        lambda m, s: dist.Stable(1.6, 0.0, s, m).to_event(1),
        ("uniform", "exponential", ""),
        observable=True,
    ),
    Row(
        "Stable",
        StableReparam,
        lambda m, s: dist.Stable(1.6, -0.4, s, m).to_event(1),
        ("z_uniform", "z_exponential", "t_uniform", "t_exponential", ""),
        observable=True,
    ),
    Row(
        "Conjugate",
        lambda: ConjugateReparam(dist.Gamma(torch.ones(3, 4) * 2, torch.ones(3, 4)).to_event(1)),
        lambda m, s: dist.Gamma(2 + s, s).to_event(1),
        (),
        observable=True,
    ),
]

SPLIT = Row("Split", lambda: SplitReparam([1, 3], -1), normal, ("split_0", "split_1"), observable=True)


def latent_names(trace):
    return tuple(
        name
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site["is_observed"] and name != "rows"
    )
