"""Fit a normal by natural gradients in its own whitened coordinates.

With ``u = m + L e`` the residual ``r = L' score(u) + e`` is zero for all ``e`` once the normal equals a
normal target: sticking the landing, so that noise vanishes where the fit is exact. At the optimum ``E r = 0``
and ``E e r' = 0``. One step is ``m += rho S b`` and ``S <- L expm(rho M) L'`` with ``b = mean r`` and
``M = sym mean e r'``. There is no learning rate to tune, and nothing changes under affine maps of the
coordinates.

References:
    M. Opper and C. Archambeau (2009), "The variational Gaussian approximation revisited".
    M. E. Khan and D. Nielsen (2018), "Fast yet simple natural-gradient descent for variational inference in
    complex models".
    G. Roeder, Y. Wu and D. Duvenaud (2017), "Sticking the landing".
    W. Lin, M. Schmidt and M. E. Khan (2020), "Handling the positive-definite constraint in the Bayesian
    learning rule".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.families.normal import Normal, triangular
from ember.infer.vi.quasi_random import NormalPoints

_LOOK = 10  # steps between looks at the noise


@dataclass(frozen=True)
class NaturalGradient:
    """Holds the settings of :func:`natural_gradient`.

    Attributes:
        batch: rows a step; by default 256, or four a coordinate, as a power of two.
        rate: the step size ``rho`` of the first steps.
        steps: the most steps at this rate.
        block: they end after a block of this many steps that meets the certificate.
        averaging: the most steps with falling rates after them, which average the noise away.
        noise: these end where what is left of the noise costs about so many nats of the ELBO.
        diagonal: whether to keep the scale diagonal: mean field.
    """

    batch: int | None = None
    rate: float = 0.5
    steps: int = 60
    block: int = 15
    averaging: int = 40
    noise: float = 0.002
    diagonal: bool = False

    def batch_for(self, dim: int) -> int:
        """Return the number of rows a step for ``dim`` coordinates."""
        return self.batch or max(256, 1 << (4 * dim - 1).bit_length())


@dataclass(frozen=True)
class Step:
    """One step: the normal after it, and what was seen before it.

    Attributes:
        normal: after the step.
        gradient: ``b``, shape ``(D,)``.
        scale: the diagonal of ``M``, shape ``(D,)``.
        elbo: of the normal before it.
        possible: the share of rows that were possible.
        averaging: whether rates are falling.
    """

    normal: Normal
    gradient: Tensor
    scale: Tensor
    elbo: float
    possible: float
    averaging: bool


@dataclass(frozen=True)
class Certificate:
    """How far a fit is from its own optimum, in the user's units.

    Attributes:
        mean: standard deviations that the mean would still move, at most over coordinates.
        mean_se: the standard error of that.
        scale: the fraction by which a standard deviation would still change.
        scale_se: the standard error of that.
        possible: the smallest share of rows in a step that were possible.
        holds: whether both are within the limits, up to three standard errors.
    """

    mean: float
    mean_se: float
    scale: float
    scale_se: float
    possible: float
    holds: bool

    MEAN = 0.05
    SCALE = 0.10

    @staticmethod
    def of(steps: Sequence[Step], window: int = 20) -> Certificate:
        """From the last steps of a fit."""
        last = list(steps)[-window:]
        gradient = torch.stack([step.gradient for step in last])
        scale = torch.stack([step.scale for step in last])
        root = math.sqrt(len(last))
        mean, mean_se = (
            gradient.mean(0).abs(),
            gradient.std(0) / root if len(last) > 1 else torch.full_like(gradient[0], math.inf),
        )
        wide, wide_se = (
            scale.mean(0).abs(),
            scale.std(0) / root if len(last) > 1 else torch.full_like(scale[0], math.inf),
        )
        return Certificate.of_means(mean, mean_se, wide, wide_se, min(step.possible for step in last))

    @staticmethod
    def of_means(
        mean: Tensor, mean_se: Tensor, scale: Tensor, scale_se: Tensor, possible: float
    ) -> Certificate:
        """From mean residuals of places and scales ``(D,)`` and their standard errors."""
        mean, scale = mean.abs(), scale.abs()
        # Noise excuses little: a fit that is all noise has not converged.
        near = mean <= Certificate.MEAN + 3 * mean_se.clamp(max=0.05)
        same = scale <= Certificate.SCALE + 3 * scale_se.clamp(max=0.1)
        return Certificate(
            float(mean.max()),
            float(mean_se.max()),
            float(scale.max()),
            float(scale_se.max()),
            possible,
            bool((near & same).all()),
        )


def natural_gradient(
    p: Counted, start: Normal, settings: NaturalGradient = NaturalGradient(), seed: int = 0
) -> Iterator[Step]:
    """Fit a normal by natural gradients in its own whitened coordinates.

    With ``u = m + L e`` and the residual ``r = L' score(u) + e``, one step is ``m += rho S b`` and ``S <- L
    expm(rho M) L'``, where ``b = mean r`` and ``M = sym mean e r'``. There is no learning rate to tune, and
    nothing changes under affine maps of the coordinates. A caller may stop, watch or draw at any step.

    Args:
        p: the target, of ``D`` coordinates.
        start: the first normal.
        settings: rows a step, and how many steps.
        seed: the seed of the draws.

    Yields:
        After each step the ``normal``, ``gradient`` and ``scale``, ``(D,)`` each, the ``elbo`` in nats before
            the step, the share of ``possible`` rows, and whether rates are falling (``averaging``).

    References:
        M. Opper and C. Archambeau (2009), "The variational Gaussian approximation revisited".
        M. E. Khan and D. Nielsen (2018), "Fast yet simple natural-gradient descent for variational inference
        in complex models".
        W. Lin, M. Schmidt and M. E. Khan (2020), "Handling the positive-definite constraint in the Bayesian
        learning rule".

    >>> from ember.infer.vi import Counted, FunctionDensity, natural_gradient
    >>> from ember.infer.vi.families.normal import Normal
    >>> import torch
    >>> p = Counted(FunctionDensity(1, lambda u: -0.5 * ((u - 3) / 2).square().sum(-1)))
    >>> start = Normal(torch.zeros(1, dtype=torch.double), torch.eye(1, dtype=torch.double))
    >>> *_, last = natural_gradient(p, start)
    >>> last.normal.loc.round(decimals=2), last.normal.scale_tril.round(decimals=2)
    (tensor([3.], dtype=torch.float64), tensor([[2.]], dtype=torch.float64))
    """
    points = NormalPoints(p.dim, seed)
    normal = _diagonal(start) if settings.diagonal else start
    batch = settings.batch_for(p.dim)
    block: list[Step] = []
    for taken in range(settings.steps):
        step = _step(p, normal, points.draw(batch), settings.rate, settings, 20 * math.sqrt(p.dim))
        normal = step.normal
        yield step
        block.append(step)
        if (taken + 1) % settings.block == 0:
            if Certificate.of(block, settings.block).holds:
                break
            block.clear()
    block.clear()
    for taken in range(settings.averaging):
        rate = max(settings.rate / (1 + settings.rate * taken), 1e-3)
        step = _step(p, normal, points.draw(batch), rate, settings, None)
        normal = step.normal
        yield step
        block.append(step)
        if (taken + 1) % _LOOK == 0 and _nats_of_noise(block) < settings.noise:
            break


def _nats_of_noise(steps: Sequence[Step]) -> float:
    """What the noise of the mean residuals takes from the ELBO, to second order, if all elements of the
    scale are as noisy as its diagonal."""
    of_mean = torch.stack([step.gradient for step in steps]).var(0).sum()
    of_scale = torch.stack([step.scale for step in steps]).var(0).sum()
    noise = 0.5 * float(of_mean) + 0.125 * len(steps[0].gradient) * float(of_scale)
    return noise / len(steps) if math.isfinite(noise) else math.inf


def _diagonal(normal: Normal) -> Normal:
    """The best diagonal normal for a normal: precisions of single coordinates given the others."""
    precision = torch.cholesky_inverse(normal.scale_tril).diagonal()
    return Normal(normal.loc, torch.diag(precision.rsqrt()))


def _step(
    p: Counted, q: Normal, e: Tensor, rate: float, settings: NaturalGradient, cap: float | None
) -> Step:
    u = q.unwhiten(e)
    log_p, score = p.score(u)
    possible = torch.isfinite(log_p)
    rows = int(possible.sum())
    if rows < len(e):
        e, log_p, score = e[possible], log_p[possible], score[possible]
    if rows == 0:  # nowhere possible: come closer to the mean
        nan = torch.full_like(q.loc, math.nan)
        return Step(Normal(q.loc, q.scale_tril * 0.5), nan, nan, -math.inf, 0.0, cap is None)
    elbo = (
        float(log_p.mean())
        + q.log_det
        + 0.5 * q.dim * math.log(2 * math.pi)
        + 0.5 * float(e.square().sum()) / rows
    )
    r = torch.addmm(e, score, q.scale_tril)
    if cap is not None:
        r = r * (cap / r.norm(dim=-1, keepdim=True)).clamp(max=1.0)
    b = r.mean(0)
    outer = e.mT @ r / rows
    if settings.diagonal:
        diag = outer.diagonal()
        wider = (rate * diag).clamp(-1.0, 1.0).div(2).exp()
        move = rate * wider.square() * b
        scale = torch.diag(q.scale_tril.diagonal() * wider)
    else:
        diag = outer.diagonal()
        root = _exponential_root(rate * (outer + outer.mT) / 2)
        move = rate * (root @ (root.mT @ b))
        scale = triangular(q.scale_tril @ root)
    move = move * (2.0 / move.abs().amax().clamp_min(2.0))
    return Step(Normal(q.loc + q.scale_tril @ move, scale), b, diag, elbo, rows / len(possible), cap is None)


def _exponential_root(matrix: Tensor) -> Tensor:
    """A square root of the exponential of a symmetric matrix, its eigenvalues held within -1 and 1."""
    if len(matrix) > 64 and bool(matrix.abs().sum(-1).amax() <= 0.7):
        # The norm bounds all eigenvalues: the series, error below 1e-6, costs a tenth of the eigenvectors.
        half = matrix / 2
        square = half @ half
        one = torch.eye(len(matrix), dtype=matrix.dtype)
        return one + half + square / 2 + square @ half / 6 + square @ square / 24
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors * (values.clamp(-1.0, 1.0) / 2).exp().unsqueeze(-2)
    return root
