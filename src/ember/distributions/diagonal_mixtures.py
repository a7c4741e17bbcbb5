"""Mixtures of normal vectors with diagonal covariances, whose draws have pathwise gradients, also of the weights.

A draw is differentiated implicitly, coordinate by coordinate: each is a quantile of its conditional
distribution given those before, so that its gradient is minus that of the conditional distribution function,
over the conditional density.

References:
    M. Figurnov, S. Mohamed, A. Mnih (2018), "Implicit reparameterization gradients"; M. Jankowiak, T.
    Karaletsos (2018), "Pathwise derivatives for multivariate distributions".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.torch_distribution import TorchDistribution

_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


def _elementwise(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Normal log densities of each coordinate under each component: ``(..., K, D)`` for ``z`` of shape ``(..., D)``."""
    standard = (z.unsqueeze(-2) - loc) / scale
    return -0.5 * standard.square() - scale.log() - _HALF_LOG_2_PI


def _differentiable(z: Tensor, loc: Tensor, scale: Tensor, log_weights: Tensor) -> Tensor:
    """The same draws, with the implicit gradients with respect to the parameters of the mixture."""
    coordinates: list[Tensor] = []
    for d in range(z.size(-1)):
        x, mean, spread = z[..., d].unsqueeze(-1), loc[..., d], scale[..., d]
        # The weights of the components are those given the coordinates before.
        weights = log_weights.softmax(-1)
        cdf = (weights * torch.special.ndtr((x - mean) / spread)).sum(-1)
        standard = ((x - mean) / spread).detach()
        log_density = -0.5 * standard.square() - spread.detach().log() - _HALF_LOG_2_PI
        density = (weights.detach() * log_density.exp()).sum(-1)
        step = (cdf - cdf.detach()) / density.clamp(min=torch.finfo(z.dtype).tiny)  # 0, with a gradient
        coordinates.append(z[..., d] - step)
        along = (coordinates[-1].unsqueeze(-1) - mean) / spread
        log_weights = log_weights - 0.5 * along.square() - spread.log()
    return torch.stack(coordinates, -1)


class _DiagonalMixture(TorchDistribution):
    """What the families have in common: ``K`` components over vectors of size ``D``."""

    has_rsample = True
    support = constraints.real_vector
    component_logits: Tensor

    def _components(self) -> tuple[Tensor, Tensor]:
        """Locations and scales, both of shape ``batch_shape + (K, D)``."""
        raise NotImplementedError

    def _log_weights(self) -> Tensor:
        return self.component_logits.log_softmax(-1)

    @property
    def probs(self) -> Tensor:
        """The weights of the components."""
        return self.component_logits.softmax(-1)

    @property
    def categorical(self) -> Any:
        """The distribution of the component."""
        return torch.distributions.Categorical(logits=self.component_logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log of the weighted sum of the components' densities."""
        if self._validate_args:
            self._validate_sample(value)
        loc, scale = self._components()
        return (self._log_weights() + _elementwise(value, loc, scale).sum(-1)).logsumexp(-1)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a component, then a vector."""
        loc, scale = self._components()
        shape = Size(sample_shape) + self.batch_shape + loc.shape[-2:]
        with torch.no_grad():
            which = self.categorical.sample(Size(sample_shape))[..., None, None]
            which = which.expand(*which.shape[:-1], loc.size(-1))
            noise = torch.randn(self._extended_shape(Size(sample_shape)), dtype=loc.dtype, device=loc.device)
            chosen = [p.expand(shape).gather(-2, which).squeeze(-2) for p in (loc, scale)]
            z = chosen[0] + chosen[1] * noise
        return _differentiable(z, loc, scale, self._log_weights())

    @property
    def mean(self) -> Tensor:
        """The weighted mean of the locations."""
        return (self.probs.unsqueeze(-1) * self._components()[0]).sum(-2)

    @property
    def variance(self) -> Tensor:
        """The mean of the variances, and the variance of the means."""
        loc, scale = self._components()
        second = (self.probs.unsqueeze(-1) * (loc.square() + scale.square())).sum(-2)
        return second - self.mean.square()


def _check(holds: bool, what: str, shapes: dict[str, Tensor]) -> None:
    if not holds:
        listed = ", ".join(f"{name} {tuple(value.shape)}" for name, value in shapes.items())
        raise AssertionError(f"{what}; got {listed}")


class MixtureOfDiagNormals(_DiagonalMixture):
    """Mixture of normal vectors with locations and scales of their own.

    Args:
        locs: of shape ``batch_shape + (K, D)``.
        coord_scale: the scales, of the same shape.
        component_logits: the logits of the weights, of shape ``batch_shape + (K,)``.

    Raises:
        AssertionError: if the shapes do not fit.

    >>> import torch
    >>> from ember.distributions import MixtureOfDiagNormals
    >>> d = MixtureOfDiagNormals(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.ones(2, 2), torch.zeros(2))
    >>> d.mean, d.variance
    (tensor([0., 0.]), tensor([2., 1.]))
    """

    arg_constraints: dict[str, Any] = {
        "locs": constraints.real,
        "coord_scale": constraints.positive,
        "component_logits": constraints.real,
    }

    def __init__(self, locs: Tensor, coord_scale: Tensor, component_logits: Tensor) -> None:
        shapes = {"locs": locs, "coord_scale": coord_scale, "component_logits": component_logits}
        fits = (
            locs.dim() >= 2 and coord_scale.shape == locs.shape and component_logits.shape == locs.shape[:-1]
        )
        _check(fits, "MixtureOfDiagNormals expects shapes (..., K, D), (..., K, D) and (..., K)", shapes)
        self.locs, self.coord_scale, self.component_logits = locs, coord_scale, component_logits
        super().__init__(locs.shape[:-2], locs.shape[-1:])

    def _components(self) -> tuple[Tensor, Tensor]:
        return self.locs, self.coord_scale

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        new = self._get_checked_instance(MixtureOfDiagNormals, _instance)
        batch_shape = Size(batch_shape)
        new.locs = self.locs.expand(batch_shape + self.locs.shape[-2:])
        new.coord_scale = self.coord_scale.expand(batch_shape + self.coord_scale.shape[-2:])
        new.component_logits = self.component_logits.expand(batch_shape + self.component_logits.shape[-1:])
        return self._completed(new, batch_shape, self.event_shape)


class MixtureOfDiagNormalsSharedCovariance(_DiagonalMixture):
    """Mixture of normal vectors with locations of their own and one common scale.

    Args:
        locs: of shape ``batch_shape + (K, D)``.
        coord_scale: the scales, of shape ``batch_shape + (D,)``.
        component_logits: the logits of the weights, of shape ``batch_shape + (K,)``.

    Raises:
        AssertionError: if the shapes do not fit.

    >>> import torch
    >>> from ember.distributions import MixtureOfDiagNormalsSharedCovariance
    >>> MixtureOfDiagNormalsSharedCovariance(torch.zeros(3, 2), torch.ones(2), torch.zeros(3)).event_shape
    torch.Size([2])
    """

    arg_constraints: dict[str, Any] = {
        "locs": constraints.real,
        "coord_scale": constraints.positive,
        "component_logits": constraints.real,
    }

    def __init__(self, locs: Tensor, coord_scale: Tensor, component_logits: Tensor) -> None:
        shapes = {"locs": locs, "coord_scale": coord_scale, "component_logits": component_logits}
        fits = (
            locs.dim() >= 2
            and coord_scale.shape == locs.shape[:-2] + locs.shape[-1:]
            and component_logits.shape == locs.shape[:-1]
        )
        what = "MixtureOfDiagNormalsSharedCovariance expects shapes (..., K, D), (..., D) and (..., K)"
        _check(fits, what, shapes)
        self.locs, self.coord_scale, self.component_logits = locs, coord_scale, component_logits
        super().__init__(locs.shape[:-2], locs.shape[-1:])

    def _components(self) -> tuple[Tensor, Tensor]:
        return self.locs, self.coord_scale.unsqueeze(-2).expand(self.locs.shape)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        new = self._get_checked_instance(MixtureOfDiagNormalsSharedCovariance, _instance)
        batch_shape = Size(batch_shape)
        new.locs = self.locs.expand(batch_shape + self.locs.shape[-2:])
        new.coord_scale = self.coord_scale.expand(batch_shape + self.coord_scale.shape[-1:])
        new.component_logits = self.component_logits.expand(batch_shape + self.component_logits.shape[-1:])
        return self._completed(new, batch_shape, self.event_shape)


class GaussianScaleMixture(_DiagonalMixture):
    """Mixture of normal vectors around zero, whose scales differ by a factor.

    Args:
        coord_scale: the scales, of shape ``(D,)``.
        component_logits: the logits of the weights, of shape ``(K,)``.
        component_scale: the factors, of shape ``(K,)``.

    Raises:
        AssertionError: if the shapes do not fit.

    >>> import torch
    >>> from ember.distributions import GaussianScaleMixture
    >>> d = GaussianScaleMixture(torch.tensor([1.0, 2.0]), torch.zeros(2), torch.tensor([1.0, 3.0]))
    >>> d.variance
    tensor([ 5., 20.])
    """

    arg_constraints: dict[str, Any] = {
        "component_scale": constraints.positive,
        "coord_scale": constraints.positive,
        "component_logits": constraints.real,
    }

    def __init__(self, coord_scale: Tensor, component_logits: Tensor, component_scale: Tensor) -> None:
        shapes = {
            "coord_scale": coord_scale,
            "component_logits": component_logits,
            "component_scale": component_scale,
        }
        fits = (
            coord_scale.dim() == 1
            and component_logits.dim() == 1
            and component_scale.shape == component_logits.shape
        )
        _check(fits, "GaussianScaleMixture expects shapes (D,), (K,) and (K,)", shapes)
        self.coord_scale, self.component_logits = coord_scale, component_logits
        self.component_scale = component_scale
        super().__init__(Size(), coord_scale.shape)

    def _components(self) -> tuple[Tensor, Tensor]:
        scale = self.component_scale.unsqueeze(-1) * self.coord_scale
        return torch.zeros_like(scale), scale
