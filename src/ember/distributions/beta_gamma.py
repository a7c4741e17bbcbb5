"""Families that are conjugate to themselves: beta, Dirichlet and gamma."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all

from ember.distributions.torch_distribution import WrappedDistribution

_NUMBER = (int, float)


def _ratio_of_normalizers(
    log_normalizer: Callable[[Any], Tensor], p: object, q: object, updated: object
) -> Tensor:
    return log_normalizer(p) + log_normalizer(q) - log_normalizer(updated)


def _check_family(family: type, other: object) -> None:
    if not isinstance(other, family):
        raise AssertionError(
            f"{family.__name__}.conjugate_update() expects a {family.__name__}, got {type(other).__name__}"
        )


class Beta(torch.distributions.Beta, WrappedDistribution):
    """Beta distribution on the unit interval.

    Args:
        concentration1: the shape at one, positive (``alpha``).
        concentration0: the shape at zero, positive (``beta``).

    >>> from ember.distributions import Beta
    >>> updated, log_normalizer = Beta(2.0, 3.0).conjugate_update(Beta(4.0, 5.0))
    >>> updated.concentration1, updated.concentration0
    (tensor(5.), tensor(7.))
    """

    def __init__(
        self,
        concentration1: Tensor | float,
        concentration0: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        if isinstance(concentration1, _NUMBER) and isinstance(concentration0, _NUMBER):
            both = torch.tensor([float(concentration1), float(concentration0)])
        else:
            both = torch.stack(broadcast_all(concentration1, concentration0), -1)
        # What is checked here need not be checked again as a Dirichlet's argument and value.
        self._dirichlet = torch.distributions.Dirichlet(both, validate_args=False)
        WrappedDistribution.__init__(self, self._dirichlet.batch_shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        expanded: Self = super().expand(batch_shape, _instance=self._get_checked_instance(Beta, _instance))  # type: ignore[no-untyped-call]
        return expanded

    def conjugate_update(self, other: Any) -> tuple[Beta, Tensor]:
        """Return the normalised product of two beta densities, and its log normaliser."""
        _check_family(Beta, other)
        updated = Beta(
            self.concentration1 + other.concentration1 - 1, self.concentration0 + other.concentration0 - 1
        )
        return updated, _ratio_of_normalizers(_log_beta_normalizer, self, other, updated)


def _log_beta_normalizer(d: Beta) -> Tensor:
    a, b = d.concentration1, d.concentration0
    return (a + b).lgamma() - a.lgamma() - b.lgamma()


class Dirichlet(torch.distributions.Dirichlet, WrappedDistribution):
    """Dirichlet distribution on the simplex.

    Args:
        concentration: positive numbers, ``(*batch, K)``.

    >>> import torch
    >>> from ember.distributions import Dirichlet
    >>> Dirichlet(torch.ones(3)).conjugate_update(Dirichlet(torch.ones(3)))[0].concentration
    tensor([1., 1., 1.])
    """

    @staticmethod
    def infer_shapes(concentration: tuple[int, ...]) -> tuple[Any, Any]:  # type: ignore[override]
        """Return the shapes; the rightmost dim is the event."""
        return concentration[:-1], concentration[-1:]

    def conjugate_update(self, other: Any) -> tuple[Dirichlet, Tensor]:
        """Return the normalised product of two Dirichlet densities, and its log normaliser."""
        _check_family(Dirichlet, other)
        updated = Dirichlet(self.concentration + other.concentration - 1)
        return updated, _ratio_of_normalizers(_log_dirichlet_normalizer, self, other, updated)


def _log_dirichlet_normalizer(d: Dirichlet) -> Tensor:
    c = d.concentration
    return c.sum(-1).lgamma() - c.lgamma().sum(-1)


class Gamma(torch.distributions.Gamma, WrappedDistribution):
    """Gamma distribution with shape ``concentration`` and rate ``rate``.

    >>> from ember.distributions import Gamma
    >>> Gamma(2.0, 1.0).conjugate_update(Gamma(3.0, 1.0))[0]
    Gamma(concentration: 4.0, rate: 2.0)
    """

    def conjugate_update(self, other: Any) -> tuple[Gamma, Tensor]:
        """Return the normalised product of two gamma densities, and its log normaliser."""
        _check_family(Gamma, other)
        updated = Gamma(self.concentration + other.concentration - 1, self.rate + other.rate)
        return updated, _ratio_of_normalizers(_log_gamma_normalizer, self, other, updated)


def _log_gamma_normalizer(d: Gamma) -> Tensor:
    return d.rate.log() * d.concentration - d.concentration.lgamma()
