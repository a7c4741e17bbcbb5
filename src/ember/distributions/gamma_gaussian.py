"""Gaussian factors whose precision is scaled by a gamma variable, not normalised, as factors of chains.

A factor is ``exp(log_normalizer) s**alpha exp(s (x @ info_vec - x @ precision @ x / 2 - beta))``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions.multivariate_student_t import MultivariateStudentT
from ember.ops.gaussian_chains import factor_tensordot
from ember.ops.information_form import (
    LOG_2PI,
    Gaussian,
    log_diagonal,
    matrix_and_gaussian_to_gaussian,
    mvn_to_gaussian,
)
from ember.ops.small_matrices import (
    cholesky_solve,
    matmul,
    precision_to_scale_tril,
    safe_cholesky,
    triangular_solve,
)

__all__ = [
    "Gamma",
    "GammaGaussian",
    "gamma_and_mvn_to_gamma_gaussian",
    "gamma_gaussian_tensordot",
    "matrix_and_mvn_to_gamma_gaussian",
    "scale_mvn",
]


class Gamma:
    """The factor ``exp(log_normalizer) s**(concentration - 1) exp(-rate s)``, or a batch of them.

    >>> g = Gamma(torch.tensor(0.0), torch.tensor(3.0), torch.tensor(1.0))
    >>> round(float(g.logsumexp()), 4)  # the logarithm of two
    0.6931
    """

    def __init__(self, log_normalizer: Tensor, concentration: Tensor, rate: Tensor) -> None:
        self.log_normalizer = log_normalizer
        self.concentration = concentration
        self.rate = rate

    def log_density(self, s: Tensor) -> Tensor:
        """The logarithm of the factor at ``s``."""
        return self.log_normalizer + (self.concentration - 1) * s.log() - self.rate * s

    def logsumexp(self) -> Tensor:
        """The logarithm of the integral over ``s``."""
        return self.log_normalizer + torch.lgamma(self.concentration) - self.concentration * self.rate.log()


class GammaGaussian:
    """A factor over vectors of ``dim()`` entries and a positive scalar ``s``, or a batch of such factors.

    Args:
        log_normalizer: shape ``batch_shape``.
        info_vec: shape ``batch_shape + (n,)``; the precision times the mean.
        precision: shape ``batch_shape + (n, n)``, symmetric and positive semidefinite.
        alpha: the power of ``s``, of shape ``batch_shape``.
        beta: the rate of ``s``, of shape ``batch_shape``.

    >>> one = torch.ones(())
    >>> g = GammaGaussian(0 * one, torch.zeros(1), torch.eye(1), one, one)
    >>> g.log_density(torch.ones(1), 2 * one)
    tensor(-2.3069)
    """

    def __init__(
        self, log_normalizer: Tensor, info_vec: Tensor, precision: Tensor, alpha: Tensor, beta: Tensor
    ) -> None:
        size = info_vec.shape[-1:]
        if precision.shape[-2:] != size * 2 or not size:
            raise ValueError(
                f"a factor over vectors needs info_vec (..., n) and precision (..., n, n), got {tuple(info_vec.shape)} and "
                f"{tuple(precision.shape)}"
            )
        self.info_vec, self.precision = info_vec, precision
        self.log_normalizer, self.alpha, self.beta = log_normalizer, alpha, beta

    def dim(self) -> int:
        """The number of entries of a vector."""
        return self.info_vec.shape[-1]

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch, which all tensors broadcast to."""
        scalars = [x.shape for x in (self.log_normalizer, self.alpha, self.beta)]
        return Size(torch.broadcast_shapes(self._quadratic.batch_shape, *scalars))  # type: ignore[no-untyped-call]

    @property
    def _quadratic(self) -> Gaussian:
        """The exponent that ``s`` multiplies, as a factor of ``x``."""
        return Gaussian(self.log_normalizer.new_zeros(()), self.info_vec, self.precision)

    def changed(self, change: Callable[[Tensor, int], Tensor]) -> GammaGaussian:
        """With all tensors changed by a function of the tensor and how many of its dims lie in an event."""
        return GammaGaussian(
            change(self.log_normalizer, 0),
            change(self.info_vec, 1),
            change(self.precision, 2),
            change(self.alpha, 0),
            change(self.beta, 0),
        )

    def expand(self, batch_shape: Sequence[int]) -> GammaGaussian:
        """The same factors, repeated to that batch shape."""
        return self.changed(lambda x, event: x.expand((*batch_shape, *x.shape[x.dim() - event :])))

    def reshape(self, batch_shape: Sequence[int]) -> GammaGaussian:
        """The same factors, the batch in another shape."""
        whole = self.expand(self.batch_shape)
        return whole.changed(lambda x, event: x.reshape((*batch_shape, *x.shape[x.dim() - event :])))

    def __getitem__(self, index: object) -> GammaGaussian:
        """Some of the batch; the index is a tuple."""
        assert isinstance(index, tuple)
        whole = self.expand(self.batch_shape)
        return whole.changed(lambda x, event: x[index + (slice(None),) * event])

    @staticmethod
    def cat(parts: Sequence[GammaGaussian], dim: int = 0) -> GammaGaussian:
        """Several batches in one, joined along a dim of the batch."""
        whole = [part.expand(part.batch_shape) for part in parts]
        dim = dim % len(whole[0].batch_shape)
        return GammaGaussian(
            torch.cat([part.log_normalizer for part in whole], dim),
            torch.cat([part.info_vec for part in whole], dim),
            torch.cat([part.precision for part in whole], dim),
            torch.cat([part.alpha for part in whole], dim),
            torch.cat([part.beta for part in whole], dim),
        )

    def _with(self, quadratic: Gaussian) -> GammaGaussian:
        return GammaGaussian(
            self.log_normalizer, quadratic.info_vec, quadratic.precision, self.alpha, self.beta
        )

    def event_pad(self, left: int = 0, right: int = 0) -> GammaGaussian:
        """The factor as one of longer vectors, of whose new entries it says nothing."""
        return self._with(self._quadratic.event_pad(left, right))

    def event_permute(self, perm: Tensor) -> GammaGaussian:
        """The factor of vectors with their entries in another order."""
        return self._with(self._quadratic.event_permute(perm))

    def __add__(self, other: GammaGaussian) -> GammaGaussian:
        """The product of two factors."""
        assert isinstance(other, GammaGaussian)
        assert self.dim() == other.dim()
        return GammaGaussian(
            self.log_normalizer + other.log_normalizer,
            self.info_vec + other.info_vec,
            self.precision + other.precision,
            self.alpha + other.alpha,
            self.beta + other.beta,
        )

    def log_density(self, value: Tensor, s: Tensor) -> Tensor:
        """The logarithm of the factor at vectors ``(..., n)`` and scalars ``(...)``."""
        exponent = self._quadratic.log_density(value) - self.beta
        return self.log_normalizer + self.alpha * s.log() + s * exponent

    def condition(self, value: Tensor) -> GammaGaussian:
        """The factor of the first entries and ``s``, the last ones being ``value``."""
        first = self._quadratic.condition(value)
        beta = self.beta - first.log_normalizer
        return GammaGaussian(self.log_normalizer, first.info_vec, first.precision, self.alpha, beta)

    def marginalize(self, left: int = 0, right: int = 0) -> GammaGaussian:
        """The factor integrated over the first ``left`` and the last ``right`` entries.

        The precision of these needs an inverse.
        """
        if right:
            order = torch.arange(self.dim(), device=self.info_vec.device).roll(right)
            return self.event_permute(order).marginalize(left=left + right)
        if left == 0:
            return self
        factor = safe_cholesky(self.precision[..., :left, :left])
        cross = triangular_solve(self.precision[..., :left, left:], factor)
        white = triangular_solve(self.info_vec[..., :left].unsqueeze(-1), factor)
        return GammaGaussian(
            self.log_normalizer + 0.5 * left * LOG_2PI - log_diagonal(factor),
            self.info_vec[..., left:] - matmul(cross.mT, white).squeeze(-1),
            self.precision[..., left:, left:] - matmul(cross.mT, cross),
            self.alpha - 0.5 * left,
            self.beta - 0.5 * white.square().sum((-2, -1)),
        )

    def compound(self) -> Any:
        """The distribution of vectors, with ``s`` integrated out: a :class:`MultivariateStudentT`."""
        scale = self.event_logsumexp()
        loc = cholesky_solve(self.info_vec.unsqueeze(-1), safe_cholesky(self.precision)).squeeze(-1)
        precision = self.precision * (scale.concentration / scale.rate)[..., None, None]
        return MultivariateStudentT(2 * scale.concentration, loc, precision_to_scale_tril(precision))

    def event_logsumexp(self) -> Gamma:
        """The factor of ``s``, integrated over all entries of vectors."""
        rest = self.marginalize(left=self.dim())
        return Gamma(rest.log_normalizer, rest.alpha + 1, rest.beta)


def gamma_and_mvn_to_gamma_gaussian(gamma: Any, mvn: Any) -> GammaGaussian:
    """The joint density of ``s`` and ``x`` with ``s ~ gamma`` and ``x ~ mvn``, whose precision is multiplied by ``s``.

    Args:
        gamma: a ``Gamma`` distribution, or None for a flat factor of ``s``.
        mvn: a ``MultivariateNormal``.
    """
    conditional = _scaled(mvn_to_gaussian(_checked(mvn)))
    if gamma is None:
        return conditional
    assert isinstance(gamma, torch.distributions.Gamma)
    a, b = gamma.concentration, gamma.rate
    at_one = a * b.log() - torch.lgamma(a)
    return GammaGaussian(
        conditional.log_normalizer + at_one,
        conditional.info_vec,
        conditional.precision,
        conditional.alpha + a - 1,
        conditional.beta + b,
    )


def matrix_and_mvn_to_gamma_gaussian(matrix: Tensor, mvn: Any) -> GammaGaussian:
    """The density of ``y = x @ matrix + noise`` as a factor over ``(x, y)`` and ``s``, which multiplies the noise's precision.

    Args:
        matrix: shape ``(..., x_dim, y_dim)``.
        mvn: the noise, a ``MultivariateNormal``.
    """
    assert isinstance(matrix, Tensor)
    assert _checked(mvn).event_shape == matrix.shape[-1:]
    batch_shape = Size(torch.broadcast_shapes(matrix.shape[:-2], mvn.batch_shape))  # type: ignore[no-untyped-call]
    matrix, mvn = matrix.expand(batch_shape + matrix.shape[-2:]), mvn.expand(batch_shape)
    noise = mvn_to_gaussian(mvn)
    joint = _scaled(noise)
    pulled = matrix_and_gaussian_to_gaussian(matrix, noise)
    return GammaGaussian(joint.log_normalizer, pulled.info_vec, pulled.precision, joint.alpha, joint.beta)


def _checked(mvn: Any) -> Any:
    assert isinstance(mvn, torch.distributions.MultivariateNormal)
    return mvn


def _scaled(normal: Gaussian) -> GammaGaussian:
    """The density of a normal whose precision is multiplied by ``s``."""
    n = normal.dim()
    factor = safe_cholesky(normal.precision)
    white = triangular_solve(normal.info_vec.unsqueeze(-1), factor)
    beta = 0.5 * white.square().sum((-2, -1))
    at_one = log_diagonal(factor) - 0.5 * n * LOG_2PI
    return GammaGaussian(at_one, normal.info_vec, normal.precision, torch.full_like(at_one, 0.5 * n), beta)


def gamma_gaussian_tensordot(x: GammaGaussian, y: GammaGaussian, dims: int = 0) -> GammaGaussian:
    """The product of a factor over ``(a, b)`` and one over ``(b, c)``, integrated over ``b``: a factor over ``(a, c)``.

    Args:
        dims: the number of entries of ``b``.
    """
    assert isinstance(x, GammaGaussian)
    assert isinstance(y, GammaGaussian)
    product: GammaGaussian = factor_tensordot(x, y, dims)
    return product


def scale_mvn(mvn: Any, s: Tensor) -> Any:
    """The normal with the same mean and a precision multiplied by ``s``."""
    batch_shape = Size(torch.broadcast_shapes(s.shape, mvn.batch_shape))  # type: ignore[no-untyped-call]
    loc = mvn.loc.expand((*batch_shape, -1))
    scale_tril = mvn.scale_tril / s.sqrt()[..., None, None]
    return type(mvn)(loc, scale_tril=scale_tril)
