"""How gradients are estimated, as values: an objective takes one for all sites, a guide's site may ask for another.

A site asks by ``infer={"entropy": StickingTheLanding()}``. What makes no sense at a site raises, and names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ember.distributions import Delta, Unit
from ember.distributions.masking import is_identically_zero
from ember.poutine.site import Site


@dataclass(frozen=True)
class FullScore:
    """The entropy of a reparameterised site by ``-log q`` as it is, the score included. Pyro's estimator, and the default."""


@dataclass(frozen=True)
class StickingTheLanding:
    """The entropy of a reparameterised site by the path derivative of ``-log q`` alone: no variance once the guide is exact.

    The score, which has mean zero, is taken away: guide is run a second time with its samples held fixed. It must draw no random
    numbers but at sample sites.

    References:
        G. Roeder, Y. Wu, D. Duvenaud (2017), "Sticking the Landing: Simple, Lower-Variance Gradient Estimators for Variational
        Inference".
    """


@dataclass(frozen=True)
class AnalyticKL:
    """The divergence of a guide's site from the model's in closed form, instead of the difference of log densities.

    Right where the parents that a site has in the model do not depend on it in the guide (as in a mean-field guide).
    """


Entropy = FullScore | StickingTheLanding | AnalyticKL


@dataclass(frozen=True)
class NoControlVariate:
    """Score functions weighed with their costs as they are. Pyro's estimator, and the default."""


@dataclass(frozen=True)
class LeaveOneOut:
    """From the costs of each particle, the mean cost of the others is taken away; it needs two particles or more.

    References:
        W. Kool, H. van Hoof, M. Welling (2019), "Buy 4 REINFORCE Samples, Get a Baseline for Free!".
        A. Mnih, D. Rezende (2016), "Variational Inference for Monte Carlo Objectives".
    """


@dataclass(frozen=True)
class VarGrad:
    """The gradient of half the variance of ``log q - log p`` over particles, with the samples held fixed.

    All sites of the guide are treated alike, reparameterised or not; it needs two particles or more.

    References:
        L. Richter, A. Boustati, N. Nüsken, F. Ruiz, Ö. Akyildiz (2020), "VarGrad: A Low-Variance Gradient Estimator for
        Variational Inference".
    """


ControlVariate = NoControlVariate | LeaveOneOut | VarGrad


@dataclass(frozen=True)
class Reparameterized:
    """The gradient of a weighted bound as it comes, scores included. Pyro's estimator, and the default."""


@dataclass(frozen=True)
class DoublyReparameterized:
    """The gradient of a weighted bound with its scores reparameterised too: more particles do not make it noisier.

    Model and guide are run a second time with the samples held fixed. They must draw no random numbers but at sample sites.

    References:
        G. Tucker, D. Lawson, S. Gu, C. Maddison (2018), "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives".
    """


BoundGradient = Reparameterized | DoublyReparameterized


def checked(value: Any, what: str, kinds: tuple[type, ...]) -> Any:
    """The value, if it is of one of the kinds.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(value, kinds):
        raise ValueError(
            f"{what} must be one of {', '.join(k.__name__ + '()' for k in kinds)}, got {value!r}"
        )
    return value


ENTROPIES = (FullScore, StickingTheLanding, AnalyticKL)


def entropy_of(site: Site, default: Entropy) -> Entropy:
    """How the entropy of a guide's site is to be estimated: as the site says, else the default where that is possible.

    Raises:
        ValueError: if the site asks for what is not possible there.
    """
    asked = site["infer"].get("entropy")
    if asked is None:
        return FullScore() if isinstance(default, StickingTheLanding) and not has_path(site) else default
    checked(asked, f'at site {site["name"]!r}, infer["entropy"]', ENTROPIES)
    if isinstance(asked, StickingTheLanding) and not has_path(site):
        raise ValueError(
            f"at site {site['name']!r}, StickingTheLanding is not possible: {site['fn']} has no density with a fully "
            "reparameterised sample. Give it FullScore(), or LeaveOneOut() as the objective's control variate."
        )
    entropy: Entropy = asked
    return entropy


def is_fully_reparameterized(site: Site) -> bool:
    """Whether gradients of the site go through its sample alone."""
    _, score_function, entropy_term = site["score_parts"]
    return bool(
        site["fn"].has_rsample
        and not is_identically_zero(entropy_term)
        and is_identically_zero(score_function)
    )


def check_fully_reparametrized(guide_site: Site) -> None:
    """Check that gradients of a guide's site go through its sample alone.

    Raises:
        NotImplementedError: if not.
    """
    if not is_fully_reparameterized(guide_site):
        raise NotImplementedError("All distributions in the guide must be fully reparameterized.")


def has_path(site: Site) -> bool:
    """Whether the site has a density, all of whose gradient goes through the sample and the parameters of the density."""
    return is_fully_reparameterized(site) and not _is_term(site["fn"])


def _is_term(fn: Any) -> bool:
    """Whether the log density is but a term that the user adds (a Jacobian, say), whose score does not have mean zero."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, (Delta, Unit))


def less_mean_of_others(costs: Tensor, dim: int) -> Tensor:
    """Each cost less the mean of the others along a dim.

    >>> import torch
    >>> less_mean_of_others(torch.tensor([1.0, 2.0, 6.0]), 0)
    tensor([-3.0000, -1.5000,  4.5000])
    """
    count = costs.shape[dim]
    return (costs - costs.mean(dim, keepdim=True)) * (count / (count - 1))


__all__ = [
    "AnalyticKL",
    "BoundGradient",
    "ControlVariate",
    "DoublyReparameterized",
    "Entropy",
    "FullScore",
    "LeaveOneOut",
    "NoControlVariate",
    "Reparameterized",
    "StickingTheLanding",
    "VarGrad",
    "check_fully_reparametrized",
]
