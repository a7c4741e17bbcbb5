"""How the gradient of a weighted bound is estimated, as values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ember.infer.terms.reparameterized import has_path
from ember.poutine.site import Site


class BoundGradient(ABC):
    """An estimator of the gradient of a weighted bound."""

    holds_samples: ClassVar[bool]
    """Whether it needs log densities with the samples held fixed, ``site["fixed_log_prob"]``."""
    has_scores: ClassVar[bool]
    """Whether there are score functions for a control variate to act on."""

    @abstractmethod
    def check_score(self, site: Site) -> None:
        """Raise ValueError if a guide's site without a path is not possible."""

    @abstractmethod
    def fixed_log_probs(
        self, model_sites: Iterable[Site], path_sites: Iterable[Site]
    ) -> tuple[list[Any], list[Any]]:
        """Log densities with the samples held fixed, of the model and of the guide."""

    @abstractmethod
    def surrogate(
        self, surrogate: Tensor, fixed_p: Tensor, fixed_q: Tensor, weights: Tensor, alpha: float
    ) -> Tensor:
        """What is differentiated for log w of each particle, before it is weighed.

        Args:
            surrogate: log w with all of its gradient.
            fixed_p: log p with the samples held fixed.
            fixed_q: log q with the samples held fixed.
            weights: of the particles; they sum to one.
            alpha: the order of the bound.
        """


@dataclass(frozen=True)
class Reparameterized(BoundGradient):
    """Estimates the gradient of a weighted bound as it comes, scores included.

    Pyro's estimator, and the default.

    >>> import ember
    >>> bound = ember.infer.RenyiELBO(num_particles=10, gradient=ember.infer.Reparameterized())
    """

    holds_samples: ClassVar[bool] = False
    has_scores: ClassVar[bool] = True

    def check_score(self, site: Site) -> None:
        """Any site is possible."""

    def fixed_log_probs(
        self, model_sites: Iterable[Site], path_sites: Iterable[Site]
    ) -> tuple[list[Any], list[Any]]:
        return [], []

    def surrogate(
        self, surrogate: Tensor, fixed_p: Tensor, fixed_q: Tensor, weights: Tensor, alpha: float
    ) -> Tensor:
        return surrogate


@dataclass(frozen=True)
class DoublyReparameterized(BoundGradient):
    """Estimates the gradient of a weighted bound with its scores reparameterised too.

    More particles do not make it noisier. Model and guide are run a second time with the samples held fixed.
    They must draw no random numbers but at sample sites.

    Raises:
        ValueError: during a step, at a site of the guide that is not reparameterised.

    References:
        G. Tucker, D. Lawson, S. Gu, C. Maddison (2018), "Doubly Reparameterized Gradient Estimators for Monte
        Carlo Objectives".

    >>> import ember
    >>> bound = ember.infer.RenyiELBO(num_particles=10, gradient=ember.infer.DoublyReparameterized())
    """

    holds_samples: ClassVar[bool] = True
    has_scores: ClassVar[bool] = False

    def check_score(self, site: Site) -> None:
        raise ValueError(
            f"at site {site.name!r}, DoublyReparameterized is not possible: {site.fn} is not reparameterised"
        )

    def fixed_log_probs(
        self, model_sites: Iterable[Site], path_sites: Iterable[Site]
    ) -> tuple[list[Any], list[Any]]:
        return (
            [site.fixed_log_prob for site in model_sites],
            [site.fixed_log_prob for site in path_sites if has_path(site)],
        )

    def surrogate(
        self, surrogate: Tensor, fixed_p: Tensor, fixed_q: Tensor, weights: Tensor, alpha: float
    ) -> Tensor:
        return (alpha + (1.0 - alpha) * weights) * (surrogate - fixed_p + fixed_q) + fixed_p


BOUND_GRADIENTS: tuple[type[BoundGradient], ...] = (Reparameterized, DoublyReparameterized)
