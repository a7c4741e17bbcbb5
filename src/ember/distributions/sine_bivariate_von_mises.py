"""Two angles that depend on each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor
from torch.distributions.utils import broadcast_all, lazy_property

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.ops.special import log_I1

_ORDERS = 50
_MOST_CELLS = 65536


class SineBivariateVonMises(TorchDistribution):
    """A pair of angles with density proportional to ``exp(k1 cos(phi - m1) + k2 cos(psi - m2) + r sin(phi - m1) sin(psi - m2))``.

    It has one mode if ``k1 * k2 >= r**2``, two otherwise.

    Args:
        phi_loc: location ``m1`` of the first angle.
        psi_loc: location ``m2`` of the second angle.
        phi_concentration: concentration ``k1`` of the first angle.
        psi_concentration: concentration ``k2`` of the second angle.
        correlation: ``r``; either this or the next.
        weighted_correlation: ``r`` over the square root of ``k1 * k2``, between -1 and 1 for one mode.
        validate_args: whether to check arguments and values.

    Shapes:
        events: ``(2,)``.

    Raises:
        AssertionError: if not one of ``correlation`` and ``weighted_correlation`` is given.

    References:
        H. Singh, V. Hnizdo, E. Demchuk (2002), "Probabilistic Model for Two Dependent Circular Variables".

    >>> import torch
    >>> from ember.distributions import SineBivariateVonMises
    >>> zero, one = torch.zeros(()), torch.ones(())
    >>> SineBivariateVonMises(zero, zero, one, one, correlation=zero).log_prob(torch.zeros(2))
    tensor(-2.1476)
    """

    arg_constraints: dict[str, Any] = {
        "phi_loc": constraints.real,
        "psi_loc": constraints.real,
        "phi_concentration": constraints.positive,
        "psi_concentration": constraints.positive,
        "correlation": constraints.real,
    }
    support = constraints.real_vector
    max_sample_iter = 1000

    def __init__(
        self,
        phi_loc: Tensor,
        psi_loc: Tensor,
        phi_concentration: Tensor,
        psi_concentration: Tensor,
        correlation: Tensor | None = None,
        weighted_correlation: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (correlation is None) == (weighted_correlation is None):
            raise AssertionError("SineBivariateVonMises takes one of correlation and weighted_correlation")
        if weighted_correlation is not None:
            correlation = weighted_correlation * (phi_concentration * psi_concentration).sqrt()
        (
            self.phi_loc,
            self.psi_loc,
            self.phi_concentration,
            self.psi_concentration,
            self.correlation,
        ) = broadcast_all(phi_loc, psi_loc, phi_concentration, psi_concentration, correlation)  # type: ignore[arg-type]
        super().__init__(self.phi_loc.shape, Size([2]), validate_args)

    @lazy_property
    def norm_const(self) -> Tensor:
        """The log of the integral, a series of products of Bessel functions (Singh et al., equation 2.3)."""
        k1, k2 = self.phi_concentration.reshape(-1), self.psi_concentration.reshape(-1)
        m = torch.arange(_ORDERS, dtype=k1.dtype, device=k1.device).unsqueeze(-1)
        log_binomial = torch.lgamma(2 * m + 1) - 2 * torch.lgamma(m + 1)
        tiny = torch.finfo(k1.dtype).tiny
        ratio = (self.correlation.reshape(-1).square() / (4 * k1 * k2)).clamp(min=tiny).log()
        bessel = log_I1(_ORDERS - 1, k1) + log_I1(_ORDERS - 1, k2)
        total = (log_binomial + m * ratio + bessel).logsumexp(0)
        return (2 * math.log(2 * math.pi) + total).reshape(self.phi_loc.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of pairs of angles ``(..., 2)``."""
        if self._validate_args:
            self._validate_sample(value)
        phi, psi = value[..., 0] - self.phi_loc, value[..., 1] - self.psi_loc
        alone = self.phi_concentration * phi.cos() + self.psi_concentration * psi.cos()
        result: Tensor = alone + self.correlation * phi.sin() * psi.sin() - self.norm_const
        return result

    def _log_marginal(self, phi: Tensor) -> Tensor:
        """The log density of the first angle around its location, but for a constant."""
        inner = (self.psi_concentration.square() + (self.correlation * phi.sin()).square()).sqrt()
        scaled: Tensor = torch.special.i0e(inner)
        return self.phi_concentration * phi.cos() + scaled.log() + inner

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw the first angle by rejection from steps above its density, then the second, which is von Mises given the first.

        Raises:
            ValueError: if a draw was rejected ``max_sample_iter`` times.
        """
        shape = Size(sample_shape) + self.batch_shape
        steepest = (self.phi_concentration + self.correlation.abs()).max().item()  # of the log density
        cells = int(min(max(math.ceil(2 * math.pi * steepest), 64), _MOST_CELLS))
        width = 2 * math.pi / cells
        middles = (torch.arange(cells, dtype=self.phi_loc.dtype, device=self.phi_loc.device) + 0.5) * width
        heights = self._log_marginal((middles - math.pi).reshape((-1, *[1] * len(self.batch_shape))))
        steps: Any = torch.distributions.Categorical(logits=heights.movedim(0, -1), validate_args=False)
        phi = torch.full(shape, math.nan, dtype=middles.dtype, device=middles.device)
        for _ in range(self.max_sample_iter):
            middle = middles[steps.sample(Size(sample_shape))] - math.pi
            proposed = middle + (torch.rand_like(middle) - 0.5) * width
            excess = self._log_marginal(proposed) - self._log_marginal(middle) - steepest * width / 2
            accepted = (torch.rand_like(middle).log() < excess) & phi.isnan()
            phi = torch.where(accepted, proposed, phi)
            if not bool(phi.isnan().any()):
                break
        else:
            raise ValueError(
                f"no draw within {self.max_sample_iter} tries, with concentrations of up to {steepest}: increase "
                "SineBivariateVonMises.max_sample_iter"
            )
        pull = self.correlation * phi.sin()
        inner = (self.psi_concentration.square() + pull.square()).sqrt()
        toward = torch.atan2(pull, self.psi_concentration.expand_as(pull))
        second: Any = torch.distributions.VonMises(toward, inner, validate_args=False)
        psi = second.sample()
        angles = torch.stack([phi + self.phi_loc, psi + self.psi_loc], -1)
        return (angles + math.pi) % (2 * math.pi) - math.pi

    @property
    def mean(self) -> Tensor:
        """The locations, which are the circular means."""
        return torch.stack([self.phi_loc, self.psi_loc], -1)

    @classmethod
    def infer_shapes(cls, **arg_shapes: tuple[int, ...]) -> tuple[Any, Any]:
        """``(batch_shape, event_shape)`` of an instance, from the shapes of its arguments."""
        return Size(broadcast_shape(*arg_shapes.values())), Size([2])

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand all parameters."""
        new = self._get_checked_instance(SineBivariateVonMises, _instance)
        shape = Size(batch_shape)
        for name in self.arg_constraints:
            setattr(new, name, getattr(self, name).expand(shape))
        return self._completed(new, shape, self.event_shape)
