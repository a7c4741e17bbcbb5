"""Directions of normal vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.torch_distribution import TorchDistribution
from ember.ops.tensor_utils import safe_normalize

_LOG_2_PI = math.log(2 * math.pi)


class ProjectedNormal(TorchDistribution):
    """The direction of a normal vector with mean ``concentration`` and unit covariance.

    As a latent site it needs ``ProjectedNormalReparam`` under guides that work in unconstrained space.

    Args:
        concentration: of shape ``batch_shape + (n,)``: its direction is the mode, its length says how tight.

    Raises:
        NotImplementedError: by ``log_prob`` unless n is 2, 3 or 4.

    References:
        D. Hernandez-Stumpfhauser, F. J. Breidt, M. J. van der Woerd (2017), "The general projected normal
        distribution of arbitrary dimension".

    >>> import torch
    >>> from ember.distributions import ProjectedNormal
    >>> ProjectedNormal(torch.zeros(2)).log_prob(torch.tensor([1.0, 0.0]))
    tensor(-1.8379)
    """

    arg_constraints: dict[str, Any] = {"concentration": constraints.real_vector}
    support = constraints.sphere
    has_rsample = True

    _log_prob_impls: ClassVar[dict[int, Callable[[Tensor, Tensor], Tensor]]] = {}

    def __init__(self, concentration: Tensor, *, validate_args: bool | None = None) -> None:
        assert concentration.dim() >= 1, "ProjectedNormal expects a vector"
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @staticmethod
    def infer_shapes(concentration: tuple[int, ...]) -> tuple[Any, Any]:  # type: ignore[override]
        """Return the shapes; the rightmost dim is the event."""
        return concentration[:-1], concentration[-1:]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the concentration."""
        new = self._get_checked_instance(ProjectedNormal, _instance)
        batch_shape = Size(batch_shape)
        new.concentration = self.concentration.expand(batch_shape + self.event_shape)
        return self._completed(new, batch_shape, self.event_shape)

    @property
    def mean(self) -> Tensor:
        """The centroid on the sphere, which minimises the expected squared geodesic distance."""
        return safe_normalize(self.concentration)

    @property
    def mode(self) -> Tensor:
        """The direction of the concentration."""
        return safe_normalize(self.concentration)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a normal vector and normalise it."""
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.concentration.dtype, device=self.concentration.device)
        return safe_normalize(noise + self.concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the normal density integrated along the ray through ``value``, in closed form."""
        if self._validate_args:
            if value.shape[-1:] != self.event_shape:
                raise ValueError(f"Expected event shape {self.event_shape}, but got {value.shape[-1:]}")
            self._validate_sample(value)
        dim = self.concentration.size(-1)
        if dim not in self._log_prob_impls:
            way_out = (
                " Consider using poutine.reparam with ProjectedNormalReparam." if value.requires_grad else ""
            )
            raise NotImplementedError(
                f"ProjectedNormal.log_prob() is not implemented for dim = {dim}.{way_out}"
            )
        return self._log_prob_impls[dim](self.concentration, value)

    @classmethod
    def _register_log_prob(cls, dim: int, fn: Any = None) -> Any:
        """Add a density ``fn(concentration, value)`` for vectors of one more size; works as a decorator."""
        if fn is None:
            return lambda fn: cls._register_log_prob(dim, fn)
        cls._log_prob_impls[dim] = fn
        return fn


def _moments(t: Tensor, order: int) -> Tensor:
    """``int_0^inf x^order N(x; t, 1) dx``, by the recursion ``m_k = t m_(k-1) + (k - 1) m_(k-2)`` from integration by parts."""
    lowest = torch.erfc(t * -math.sqrt(0.5)) / 2
    moments = [lowest, (-0.5 * t * t - 0.5 * _LOG_2_PI).exp() + t * lowest]
    for k in range(2, order + 1):
        moments.append(t * moments[-1] + (k - 1) * moments[-2])
    return moments[order]


def _along_ray(concentration: Tensor, value: Tensor) -> Tensor:
    n = concentration.size(-1)
    t = (concentration * value).sum(-1)
    perpendicular = concentration.square().sum(-1) - t * t
    along = _moments(t, n - 1).clamp(min=torch.finfo(t.dtype).eps).log()
    return along - 0.5 * perpendicular - (n - 1) / 2 * _LOG_2_PI


for _n in (2, 3, 4):
    ProjectedNormal._register_log_prob(_n, _along_ray)
