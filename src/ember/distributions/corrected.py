"""torch's classes that need a correction: wrong dtype, false warnings, an ``expand`` that forgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Size, Tensor

from ember.distributions.torch_distribution import WrappedDistribution
from ember.distributions.typed_torch import positive_definite
from ember.torch_private.jit import jit_tracing_state

# Below this, the tail of a generalised Pareto distribution is taken as exponential.
_TINY_CONCENTRATION = 1e-8


class GeneralizedPareto(torch.distributions.GeneralizedPareto, WrappedDistribution):
    """Generalised Pareto distribution with location, scale and tail ``concentration``.

    Args:
        loc: the smallest value.
        scale: positive.
        concentration: the shape of the tail; above 0 it is a power, at 0 exponential, below 0 values are
            bounded.

    >>> import torch
    >>> from ember.distributions import GeneralizedPareto
    >>> GeneralizedPareto(0.0, 1.0, 0.0).log_prob(torch.tensor(1.0))
    tensor(-1.)
    """

    # torch compares the concentration with a float32 zero, which raises for every other dtype.
    def _safe_concentration(self) -> tuple[Tensor, Tensor]:
        exponential = self.concentration.abs() <= _TINY_CONCENTRATION
        return exponential, self.concentration.masked_fill(exponential, 1.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """``-log(scale) - (1 / c + 1) log(1 + c z)``, with ``z = (value - loc) / scale``."""
        if self._validate_args:
            self._validate_sample(value)
        exponential, c = self._safe_concentration()
        z = (value - self.loc) / self.scale
        power = 1 / c + 1
        # At c = -1 the density is flat; the product would be 0 * inf at the upper end.
        tail = torch.where(power == 0, torch.zeros_like(z), power * (c * z).log1p())
        return -self.scale.log() - torch.where(exponential, z, tail)

    def log_survival_function(self, value: Tensor) -> Tensor:
        """Return the log probability of a larger value."""
        if self._validate_args:
            self._validate_sample(value)
        exponential, c = self._safe_concentration()
        z = (value - self.loc) / self.scale
        return torch.where(exponential, -z, -(c * z).log1p() / c)


class VonMises(torch.distributions.VonMises, WrappedDistribution):
    """Circular distribution with mean angle ``loc`` and ``concentration``.

    >>> from ember.distributions import VonMises
    >>> VonMises(0.0, 1.0).mean
    tensor(0.)
    """

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters; torch's method builds a new instance, which knows less."""
        new = self._get_checked_instance(VonMises, _instance)
        batch_shape = Size(batch_shape)
        new.loc = self.loc.expand(batch_shape)
        new.concentration = self.concentration.expand(batch_shape)
        return self._completed(new, batch_shape)


class Wishart(torch.distributions.Wishart, WrappedDistribution):
    """Distribution over positive definite matrices with ``df`` degrees of freedom.

    Args:
        df: the degrees of freedom, above ``D - 1``.
        covariance_matrix: the scale matrix, ``(*batch, D, D)``.
        precision_matrix: its inverse.
        scale_tril: its lower Cholesky factor. Give one of the three.

    >>> import torch
    >>> from ember.distributions import Wishart
    >>> Wishart(torch.tensor(3.0), torch.eye(2)).mean
    tensor([[3., 0.],
            [0., 3.]])
    """

    def rsample(self, sample_shape: Sequence[int] = Size(), max_try_correction: int | None = None) -> Tensor:
        """Draw by Bartlett's decomposition; draws that rounding made singular are drawn again a few times.

        torch's own method warns of singular draws when there are none, and draws those again that were fine.
        """
        sample = self._draw_once(sample_shape)
        for _ in range(10 if max_try_correction is None else max_try_correction):
            valid: Tensor = positive_definite.check(sample)
            if jit_tracing_state() is not None or bool(valid.all()):
                break
            sample = torch.where(valid[..., None, None], sample, self._draw_once(sample_shape))
        return sample

    def _draw_once(self, sample_shape: Sequence[int]) -> Tensor:
        return self._bartlett_sampling(Size(sample_shape))  # type: ignore[no-any-return, no-untyped-call]
