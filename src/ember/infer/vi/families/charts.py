"""Coordinates in which a target is close to a standard normal: those of a fitted normal, or of a fitted flow.

Reference:
    M. Hoffman, P. Sountsov, J. Dillon, I. Langmore, D. Tran and S. Vasudevan (2019), "NeuTra-lizing bad
    geometry in
        Hamiltonian Monte Carlo using neural transport".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.families.family import Affine
from ember.infer.vi.families.warped import Warped


@dataclass(frozen=True)
class Places:
    """Rows in the chart and out of it.

    Attributes:
        e: in the chart, shape ``(S, D)``.
        u: the same places in the coordinates of the target.
        log_p: log density of the target at ``u``, shape ``(S,)``.
        log_density: log density of the target in the chart, up to a constant.
        score: the gradient of that in ``e``, shape ``(S, D)``.
    """

    e: Tensor
    u: Tensor
    log_p: Tensor
    log_density: Tensor
    score: Tensor


class Chart(Protocol):
    """An invertible map to coordinates of a target."""

    def inverse(self, u: Tensor) -> Tensor:
        """Rows of coordinates of the target, in the chart."""

    def places(self, p: Counted, e: Tensor) -> Places:
        """The target at rows of the chart."""


@dataclass(frozen=True)
class AffineChart:
    """Maps coordinates to units of a normal's standard deviations, for :func:`chains`.

    >>> import torch
    >>> from ember.infer.vi import AffineChart
    >>> from ember.infer.vi.families.normal import Normal
    >>> normal = Normal(torch.ones(1, dtype=torch.double), 2 * torch.eye(1, dtype=torch.double))
    >>> AffineChart(normal).inverse(torch.tensor([[5.0]], dtype=torch.double))
    tensor([[2.]], dtype=torch.float64)
    """

    normal: Affine
    """The normal."""

    def inverse(self, u: Tensor) -> Tensor:
        """Whiten rows ``(S, D)``."""
        return self.normal.whiten(u)

    def places(self, p: Counted, e: Tensor) -> Places:
        """Evaluate the target ``p`` at whitened rows ``e``, ``(S, D)``; a constant Jacobian is left out."""
        u = self.normal.unwhiten(e)
        log_p, score = p.score(u)
        return Places(e, u, log_p, log_p, self.normal.pulled(score))


@dataclass(frozen=True)
class BentChart:
    """Maps coordinates to the normal numbers that a flow bends, for :func:`chains` (Hoffman et al., 2019).

    With ``x`` the rows after the bend and ``J`` its derivatives: the log density is ``log p + log det J``,
    and its gradient ``J' (score of p - score of the bent density) - e``.
    """

    flow: Warped
    """The flow."""

    def inverse(self, u: Tensor) -> Tensor:
        """Take the bend off rows ``(S, D)``."""
        e, _ = self.flow.transform.inverse(self.flow.around.whiten(u))
        return e

    def places(self, p: Counted, e: Tensor) -> Places:
        """Evaluate the target ``p`` at rows ``e`` before the bend, ``(S, D)``, Jacobian included."""
        bent = self.flow.transform.forward(e)
        u = self.flow.around.unwhiten(bent.x)
        log_p, score = p.score(u)
        score = bent.pulled(self.flow.around.pulled(score) - bent.score()) - e
        return Places(e, u, log_p, log_p + bent.log_det, score)
