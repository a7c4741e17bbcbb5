"""Student's t distribution over vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Size, Tensor

from ember.distributions import constraints
from ember.distributions.shapes import broadcast_shape
from ember.distributions.torch import Chi2
from ember.distributions.torch_distribution import TorchDistribution


class MultivariateStudentT(TorchDistribution):
    """A normal vector over the root of a chi-squared variable divided by its degrees of freedom.

    Args:
        df: degrees of freedom.
        loc: of shape ``batch_shape + (n,)``.
        scale_tril: a Cholesky factor, of shape ``batch_shape + (n, n)``.

    >>> import math, torch
    >>> from ember.distributions import MultivariateStudentT
    >>> MultivariateStudentT(1.0, torch.zeros(1), torch.eye(1)).log_prob(torch.zeros(1)).exp() * math.pi
    tensor(1.0000)
    """

    arg_constraints: dict[str, Any] = {
        "df": constraints.positive,
        "loc": constraints.real_vector,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, df: Tensor | float, loc: Tensor, scale_tril: Tensor, validate_args: bool | None = None
    ) -> None:
        n = loc.size(-1)
        assert scale_tril.shape[-2:] == (n, n), (
            f"MultivariateStudentT expected a scale_tril of shape {(n, n)}, got {tuple(scale_tril.shape[-2:])}"
        )
        df = df if isinstance(df, Tensor) else torch.as_tensor(df, dtype=loc.dtype, device=loc.device)
        batch_shape = Size(broadcast_shape(df.shape, loc.shape[:-1], scale_tril.shape[:-2]))
        self.df = df.expand(batch_shape)
        self.loc = loc.expand(batch_shape + (n,))
        self.scale_tril = scale_tril.expand(batch_shape + (n, n))
        super().__init__(batch_shape, Size((n,)), validate_args=validate_args)

    @property
    def covariance_matrix(self) -> Tensor:
        """``scale_tril`` times its transpose, which is not the covariance.

        That is ``df / (df - 2)`` times as large.
        """
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self) -> Tensor:
        """The inverse of :attr:`covariance_matrix`."""
        eye = torch.eye(self.loc.size(-1), dtype=self.loc.dtype, device=self.loc.device)
        return torch.cholesky_solve(eye, self.scale_tril)

    @staticmethod
    def infer_shapes(  # type: ignore[override]
        df: tuple[int, ...], loc: tuple[int, ...], scale_tril: tuple[int, ...]
    ) -> tuple[Any, Any]:
        """Return the shapes; the rightmost dim of ``loc`` is the event."""
        return broadcast_shape(df, loc[:-1], scale_tril[:-2]), loc[-1:]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """Expand the parameters."""
        new = self._get_checked_instance(MultivariateStudentT, _instance)
        batch_shape = Size(batch_shape)
        new.df = self.df.expand(batch_shape)
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        new.scale_tril = self.scale_tril.expand(batch_shape + self.event_shape + self.event_shape)
        return self._completed(new, batch_shape, self.event_shape)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Draw a normal vector and a chi-squared variable."""
        shape = self._extended_shape(Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        chi2: Tensor = Chi2(self.df, validate_args=False).rsample(Size(sample_shape))
        noise = noise * torch.rsqrt(chi2 / self.df).unsqueeze(-1)
        return self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """``-(df + n) / 2 log(1 + |L^-1 (value - loc)|^2 / df)``, normalised."""
        if self._validate_args:
            self._validate_sample(value)
        n, df = self.loc.size(-1), self.df
        z = torch.linalg.solve_triangular(
            self.scale_tril, (value - self.loc).unsqueeze(-1), upper=False
        ).squeeze(-1)
        log_normalizer = (
            self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            + 0.5 * n * (df.log() + math.log(math.pi))
            + (0.5 * df).lgamma()
            - (0.5 * (df + n)).lgamma()
        )
        log_prob: Tensor = -0.5 * (df + n) * (z.square().sum(-1) / df).log1p() - log_normalizer
        return log_prob

    @property
    def mean(self) -> Tensor:
        """The location; NaN for ``df <= 1``."""
        return self.loc.masked_fill((self.df <= 1).unsqueeze(-1), math.nan)

    @property
    def variance(self) -> Tensor:
        """Infinite for ``1 < df <= 2``, NaN for ``df <= 1``."""
        df = self.df.unsqueeze(-1)
        variance: Tensor = self.scale_tril.square().sum(-1) * (df / (df - 2))
        return variance.masked_fill(df <= 2, math.inf).masked_fill(df <= 1, math.nan)
