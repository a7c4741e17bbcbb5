"""Values of areas that resemble their neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch_distribution import TorchDistribution
from ember.distributions.validation import all_valid


def _checked(adjacency: Tensor, name: str) -> Tensor:
    """A matrix of neighbours.

    Raises:
        ValueError: if it is not square and symmetric, or an area has no neighbour.
    """
    if adjacency.dim() != 2 or adjacency.shape[0] != adjacency.shape[1]:
        raise ValueError(f"{name}: the adjacency matrix must be square, got {tuple(adjacency.shape)}")
    if not all_valid(adjacency == adjacency.mT):
        raise ValueError(f"{name}: the adjacency matrix must be symmetric")
    if not all_valid(adjacency.sum(-1) != 0):
        alone = (adjacency.sum(-1) == 0).nonzero().flatten().tolist()
        raise ValueError(
            f"{name}: areas {alone[:10]} have no neighbour; leave them out, or join them to another area"
        )
    return adjacency


class CAR(TorchDistribution):
    """A conditional autoregression.

    Each area, given all others, is normal around a share of its neighbours' mean.

    The precision matrix is ``conditional_precision * (D - correlation * W)``: ``W`` says who are neighbours,
    and ``D`` has their numbers on the diagonal.

    Args:
        loc: the mean, ``batch_shape + (n,)``.
        correlation: how much neighbours resemble each other, between 0 and 1.
        conditional_precision: positive.
        adj_matrix: ``W``, ``(n, n)``.

    Shapes:
        event: ``(n,)``.

    Raises:
        ValueError: if the adjacency matrix is not square or not symmetric, an area has no neighbour, or
            ``loc`` has another number of areas.

    References:
        J. Besag (1974), "Spatial interaction and the statistical analysis of lattice systems".
        X. Jin, B. Carlin and S. Banerjee (2005), for the determinant by eigenvalues.

    >>> import torch
    >>> from ember.distributions import CAR
    >>> two = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> CAR(torch.zeros(2), 0.5, 1.0, two).log_prob(torch.zeros(2))
    tensor(-1.9817)
    """

    arg_constraints: dict[str, Any] = {
        "loc": constraints.real_vector,
        "correlation": constraints.unit_interval,
        "conditional_precision": constraints.positive,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        correlation: Tensor | float,
        conditional_precision: Tensor | float,
        adj_matrix: Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.adj_matrix = _checked(adj_matrix, "CAR").to(loc.dtype)
        if loc.shape[-1] != len(adj_matrix):
            raise ValueError(f"CAR: loc has {loc.shape[-1]} areas, the adjacency matrix {len(adj_matrix)}")
        correlation, precision = torch.as_tensor(correlation), torch.as_tensor(conditional_precision)
        batch_shape = Size(broadcast_shape(loc.shape[:-1], correlation.shape, precision.shape))
        self.loc = loc.expand(batch_shape + loc.shape[-1:])
        self.correlation = correlation.expand(batch_shape)
        self.conditional_precision = precision.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        new = self._get_checked_instance(CAR, _instance)
        batch_shape = Size(batch_shape)
        new.adj_matrix = self.adj_matrix
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        new.correlation = self.correlation.expand(batch_shape)
        new.conditional_precision = self.conditional_precision.expand(batch_shape)
        return self._completed(new, batch_shape, self.event_shape)

    @property
    def precision_matrix(self) -> Tensor:
        """``conditional_precision * (D - correlation * W)``"""
        neighbours = torch.diag(self.adj_matrix.sum(-1))
        shape = (..., None, None)
        return self.conditional_precision[shape] * (neighbours - self.correlation[shape] * self.adj_matrix)

    def _log_det(self) -> Tensor:
        """Of the precision matrix: the eigenvalues of ``D^-1/2 W D^-1/2`` do not depend on parameters."""
        numbers = self.adj_matrix.sum(-1)
        scaled = self.adj_matrix * numbers.rsqrt() * numbers.rsqrt().unsqueeze(-1)
        eigenvalues = torch.linalg.eigvalsh(scaled)
        return (
            len(numbers) * self.conditional_precision.log()
            + numbers.log().sum()
            + torch.log1p(-self.correlation.unsqueeze(-1) * eigenvalues).sum(-1)
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the normal's log density, by products with the adjacency matrix."""
        if self._validate_args:
            self._validate_sample(value)
        apart = value - self.loc
        numbers = self.adj_matrix.sum(-1)
        own = (numbers * apart.square()).sum(-1)
        shared = ((apart @ self.adj_matrix) * apart).sum(-1)
        square = self.conditional_precision * (own - self.correlation * shared)
        return 0.5 * (self._log_det() - square - len(numbers) * math.log(2 * math.pi))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """By the Cholesky factor of the precision matrix."""
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        factor = torch.linalg.cholesky(self.precision_matrix)
        apart: Tensor = torch.linalg.solve_triangular(factor.mT, noise.unsqueeze(-1), upper=True).squeeze(-1)
        return self.loc + apart

    @property
    def mean(self) -> Tensor:
        """``loc``"""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The diagonal of the inverse of the precision matrix."""
        result: Tensor = torch.linalg.inv(self.precision_matrix).diagonal(dim1=-2, dim2=-1)
        return result


class ICAR(TorchDistribution):
    """The limit of :class:`CAR` at correlation one.

    Only differences of neighbours count, so it has no sum of its own.

    A normal with a small standard deviation for the mean makes it proper.

    Args:
        adj_matrix: who are neighbours, ``(n, n)``.
        scale: the standard deviation of a difference.
        zero_sum_scale: the standard deviation of the mean of all areas.

    Shapes:
        event: ``(n,)``.

    References:
        J. Besag, J. York and A. Mollie (1991), "Bayesian image restoration"; M. Morris and others (2019),
        "Bayesian hierarchical spatial models: implementing the Besag York Mollie model in Stan".

    >>> import torch
    >>> from ember.distributions import ICAR
    >>> ICAR(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), zero_sum_scale=1.0).log_prob(torch.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints: dict[str, Any] = {"scale": constraints.positive}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        adj_matrix: Tensor,
        scale: Tensor | float = 1.0,
        *,
        zero_sum_scale: float = 1e-3,
        validate_args: bool | None = None,
    ) -> None:
        self.scale = torch.as_tensor(scale)
        self.adj_matrix = _checked(adj_matrix, "ICAR").to(self.scale.dtype)
        self.zero_sum_scale = zero_sum_scale
        super().__init__(self.scale.shape, self.adj_matrix.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the scale."""
        new = self._get_checked_instance(ICAR, _instance)
        new.adj_matrix, new.zero_sum_scale = self.adj_matrix, self.zero_sum_scale
        new.scale = self.scale.expand(Size(batch_shape))
        return self._completed(new, Size(batch_shape), self.event_shape)

    def _modes(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and vectors of ``D - W``, the constant vector first."""
        laplacian = torch.diag(self.adj_matrix.sum(-1)) - self.adj_matrix
        values, vectors = torch.linalg.eigh(laplacian)
        if not all_valid(values[1] >= 1e-9 * values[-1]):
            raise ValueError("ICAR: the areas are not connected; use one ICAR for each group")
        return values, vectors

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the density of the differences, and of the mean."""
        if self._validate_args:
            self._validate_sample(value)
        n = len(self.adj_matrix)
        values, _ = self._modes()
        own = (self.adj_matrix.sum(-1) * value.square()).sum(-1)
        square = (own - ((value @ self.adj_matrix) * value).sum(-1)) / self.scale.square()
        log_det = values[1:].log().sum() - 2 * (n - 1) * self.scale.log()
        differences = 0.5 * (log_det - square - (n - 1) * math.log(2 * math.pi))
        # Along the constant unit vector lies sqrt(n) times the mean.
        width = self.zero_sum_scale * math.sqrt(n)
        along = value.sum(-1) / math.sqrt(n)
        return differences - 0.5 * (along / width).square() - math.log(width) - 0.5 * math.log(2 * math.pi)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """By eigenvectors."""
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.scale.dtype, device=self.scale.device)
        values, vectors = self._modes()
        spread = self.scale.unsqueeze(-1) * torch.cat([values[:1] * 0, values[1:].rsqrt()])
        mean = torch.zeros_like(values)
        mean[0] = self.zero_sum_scale * math.sqrt(len(values))
        return (noise * (spread + mean)) @ vectors.mT

    @property
    def mean(self) -> Tensor:
        """Zero."""
        return self.scale.new_zeros(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """From the eigenvectors."""
        values, vectors = self._modes()
        rough = (vectors[:, 1:].square() / values[1:]).sum(-1)
        return self.scale.square().unsqueeze(-1) * rough + self.zero_sum_scale**2
