"""How the entropy of a guide's site is estimated, as values: an objective takes one for all sites, a site may ask for another.

A site asks by ``infer={"entropy": StickingTheLanding()}``. What makes no sense at a site raises, and names
it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from ember.distributions.masking import is_identically_zero
from ember.infer.terms.analytic_kl import analytic_kl
from ember.infer.terms.reparameterized import has_path
from ember.poutine.site import Site

Kind = TypeVar("Kind")


class Entropy(ABC):
    """An estimator of the entropy of a guide's site."""

    holds_samples: ClassVar[bool]
    """Whether it needs the log density with the samples held fixed, ``site["fixed_log_prob"]``."""

    @abstractmethod
    def at_silent(self, site: Site) -> Entropy:
        """What it comes down to at a site that asks for nothing."""

    @abstractmethod
    def check_possible(self, site: Site) -> None:
        """Raise ValueError if a site that asks for this cannot have it."""

    @abstractmethod
    def divergence(self, model_site: Site, guide_site: Site) -> Tensor | None:
        """The divergence that stands for both log densities of a latent; None if they are sampled.

        Raises:
            ValueError: if the site asks for a closed form that is not known.
        """

    @abstractmethod
    def log_q(self, site: Site) -> list[Any]:
        """Scalars to differentiate in the place of log q, where there is no divergence."""


def _sampled(site: Site) -> list[Any]:
    log_prob, _, entropy_term = site.score_parts
    if is_identically_zero(entropy_term):
        return []
    return [site.log_prob_sum if entropy_term is log_prob else entropy_term.sum()]


@dataclass(frozen=True)
class FullScore(Entropy):
    """Estimates the entropy of a reparameterised site by ``-log q`` as it is, the score included.

    Pyro's estimator, and the default.

    >>> import ember
    >>> elbo = ember.infer.Trace_ELBO(entropy=ember.infer.FullScore())
    """

    holds_samples: ClassVar[bool] = False

    def at_silent(self, site: Site) -> Entropy:
        return self

    def check_possible(self, site: Site) -> None:
        """Any site can have it."""

    def divergence(self, model_site: Site, guide_site: Site) -> Tensor | None:
        return None

    def log_q(self, site: Site) -> list[Any]:
        return _sampled(site)


@dataclass(frozen=True)
class StickingTheLanding(Entropy):
    """Estimates the entropy of a reparameterised site by the path derivative of ``-log q`` alone.

    The gradient has no variance once the guide is exact.

    The score, which has mean zero, is taken away: the guide is run a second time with its samples held fixed.
    It must draw no random numbers but at sample sites. Sites without a path have :class:`FullScore`.

    Raises:
        ValueError: during a step, at a site without a path that asks for it by ``infer={"entropy": ...}``.

    References:
        G. Roeder, Y. Wu, D. Duvenaud (2017), "Sticking the Landing: Simple, Lower-Variance Gradient
        Estimators for Variational Inference".

    >>> import ember
    >>> elbo = ember.infer.Trace_ELBO(entropy=ember.infer.StickingTheLanding())
    """

    holds_samples: ClassVar[bool] = True

    def at_silent(self, site: Site) -> Entropy:
        return self if has_path(site) else FullScore()

    def check_possible(self, site: Site) -> None:
        if not has_path(site):
            raise ValueError(
                f"at site {site.name!r}, StickingTheLanding is not possible: {site.fn} has no density with a fully "
                "reparameterised sample. Give it FullScore(), or LeaveOneOut() as the objective's control variate."
            )

    def divergence(self, model_site: Site, guide_site: Site) -> Tensor | None:
        return None

    def log_q(self, site: Site) -> list[Any]:
        return [*_sampled(site), -site.fixed_log_prob.sum()]


@dataclass(frozen=True)
class AnalyticKL(Entropy):
    """Takes the divergence of a guide's site from the model's in closed form, instead of sampling it.

    Right where the parents that a site has in the model do not depend on it in the guide (as in a mean-field
    guide).

    Raises:
        ValueError: during a step, at a site that asks for it by ``infer={"entropy": AnalyticKL()}`` and has
            no divergence in closed form.

    >>> import ember
    >>> elbo = ember.infer.Trace_ELBO(entropy=ember.infer.AnalyticKL())
    """

    holds_samples: ClassVar[bool] = False

    def at_silent(self, site: Site) -> Entropy:
        return self

    def check_possible(self, site: Site) -> None:
        """Say whether there is a closed form is seen when it is computed."""

    def divergence(self, model_site: Site, guide_site: Site) -> Tensor | None:
        kl = analytic_kl(model_site, guide_site)
        if kl is None and guide_site.entropy is not None:
            raise ValueError(
                f"at site {guide_site.name!r}, AnalyticKL is not possible: no divergence of {guide_site.fn} from "
                f"{model_site.fn} is known in closed form"
            )
        return kl

    def log_q(self, site: Site) -> list[Any]:
        return _sampled(site)


ENTROPIES: tuple[type[Entropy], ...] = (FullScore, StickingTheLanding, AnalyticKL)


def entropy_of(site: Site, default: Entropy) -> Entropy:
    """How the entropy of a guide's site is to be estimated: as the site says, else the default where that is possible.

    Raises:
        ValueError: if the site asks for what is not possible there.
    """
    asked = site.entropy
    if asked is None:
        return default.at_silent(site)
    entropy: Entropy = checked(asked, f'at site {site.name!r}, infer["entropy"]', ENTROPIES)
    entropy.check_possible(site)
    return entropy


def checked(value: Kind, what: str, kinds: tuple[type[Kind], ...]) -> Kind:
    """The value, if it is of one of the kinds.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(value, kinds):
        raise ValueError(
            f"{what} must be one of {', '.join(k.__name__ + '()' for k in kinds)}, got {value!r}"
        )
    return value
