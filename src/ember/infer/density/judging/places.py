"""Places where a density has mass, held against a proposal: does it draw there?

A mode or a spike that no draw of a proposal has met leaves no trace in the weights. Draws of another family, around the
place in question, show it: there the density is far above what the proposal gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ember.infer.density.judging.judge import Limits, Quantities, Weighed
from ember.infer.vi.density import Counted
from ember.infer.vi.families.family import Family
from ember.infer.vi.families.normal import Normal

_REACH, _REACH_A_DIM = 6.0, 0.03  # nats: where a density is so much above a proposal, hardly a draw falls
_MOST_MASS = 0.05


@dataclass(frozen=True)
class Place:
    """A place with mass, by draws of a family around it.

    Attributes:
        normal: of about its shape.
        u: draws, shape ``(n, D)``.
        log_r: their log densities in the family, shape ``(n,)``.
        log_p: in the target, shape ``(n,)``.
        values: the quantities there, shape ``(n, Q)``.
    """

    normal: Normal
    u: Tensor
    log_r: Tensor
    log_p: Tensor
    values: Tensor

    @staticmethod
    def of(
        p: Counted, quantities: Quantities, normal: Normal, family: Family, draws: int, seed: int
    ) -> Place:
        """Look at a target around a place."""
        u, log_r = family.sample(draws, seed)
        return Place(normal, u, log_r, p.value(u), quantities(u))

    def only(self, columns: Tensor) -> Place:
        """With some of the quantities."""
        return replace(self, values=self.values[:, columns])

    def unseen(self, proposal: Family, log_evidence: float, slack: float = 0.0) -> Tensor:
        """How much mass each draw stands for, where the proposal hardly draws: shape ``(n,)``, in units of the known mass."""
        above = is_above(self.u, self.log_p, proposal, log_evidence, slack)
        mass = (self.log_p - self.log_r - log_evidence - math.log(len(self.u))).exp()
        return torch.where(above, mass, 0.0)

    def is_missed(self, proposal: Family, weighed: Weighed, limits: Limits) -> bool:
        """Whether what the proposal does not see here would move a mean, a standard deviation, or a share of the mass.

        Args:
            proposal: that was judged.
            weighed: its draws.
            limits: of the Monte Carlo errors, which bound the moves too.
        """
        unseen = self.unseen(proposal, weighed.log_evidence)
        mass = float(unseen.sum())
        if mass == 0.0:
            return False
        if not mass < _MOST_MASS:
            return True
        moments, a = weighed.moments, unseen.unsqueeze(-1)
        apart = torch.where(a > 0, self.values - moments.mean, 0.0)
        move = (a * apart).sum(0) / (1 + mass)
        sd = (((moments.sd.square() + (a * apart.square()).sum(0)) / (1 + mass)) - move.square()).clamp_min(0)
        sd = sd.sqrt()
        moved = move.abs() > limits.mcse_mean * torch.minimum(sd, moments.sd)
        stretched = (sd / moments.sd).log().abs() > limits.mcse_sd
        return bool(((moved | stretched) & (moments.sd > 0)).any())


def is_above(u: Tensor, log_p: Tensor, proposal: Family, log_evidence: float, slack: float = 0.0) -> Tensor:
    """Where a density is so far above a proposal that draws do not fall there: shape ``(n,)``.

    Args:
        u: rows.
        log_p: log density of the target at them.
        proposal: what is drawn from.
        log_evidence: log of the integral of the target.
        slack: nats, in favour of a yes.
    """
    reach = _REACH + _REACH_A_DIM * u.shape[-1]
    return log_p - log_evidence - proposal.log_prob(u) > reach - slack
