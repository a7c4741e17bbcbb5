"""How heavy the tails of quantities are, by the density itself: draws do not tell of a tail that they have not reached.

Along a line, away from a centre, the mass beyond a point falls as the power ``-nu`` of what a quantity has grown to.
A mean square exists if ``nu > 2``; the error of a standard deviation can be told from draws if ``nu > 4``.

Reference:
    B. M. Hill (1975), "A simple general approach to inference about the tail of a distribution", for the index of a tail.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ember.infer.density.judging.judge import Quantities
from ember.infer.vi.density import Counted
from ember.infer.vi.families.family import Affine

_NEAR = torch.arange(0.0, 4.0, 0.25, dtype=torch.double)
_FAR = (
    4.0 * 2.0 ** torch.cat([torch.arange(0.0, 8.0, 0.25), torch.arange(8.0, 18.5, 0.5)]).double()
)  # to a million
_FROM, _TO = 6.0, 12.0  # nats: between a quarter of a per cent of the mass, and six millionths
_DIRECTIONS = 8
_MOVED = 2.0  # standard deviations that a quantity grows by, at least


def tail_indices(p: Counted, quantities: Quantities, around: Affine, spread: Tensor) -> Tensor:
    """The least index ``nu`` of each quantity's tails: shape ``(Q,)``.

    Lines go along each coordinate, with all others at the centre, which tells the tails of independent coordinates; and along
    some directions at random, with the volume there, which tells the tails that all coordinates have in common.

    Args:
        p: the target.
        quantities: from rows ``(S, D)`` to ``(S, Q)``.
        around: a normal fitted to the target, its centre and scales.
        spread: standard deviations of the quantities, shape ``(Q,)``.

    >>> from ember.infer.vi.density import FunctionDensity
    >>> from ember.infer.vi.families.normal import Normal
    >>> cubed = Counted(FunctionDensity(1, lambda u: -2 * torch.log1p(u.square() / 3).sum(-1)))  # t, three degrees
    >>> unit = Normal(torch.zeros(1, dtype=torch.double), torch.eye(1, dtype=torch.double))
    >>> round(float(tail_indices(cubed, lambda u: u, unit, torch.ones(1, dtype=torch.double))), 1)
    3.0
    """
    distances = torch.cat([_NEAR, _FAR])
    dim = around.dim
    scales = (around.unwhiten(torch.eye(dim, dtype=torch.double)) - around.loc).square().sum(0).sqrt()
    common = torch.randn(_DIRECTIONS, dim, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    common = around.unwhiten(common / common.norm(dim=-1, keepdim=True)) - around.loc
    volume = (dim - 1) * distances.clamp_min(distances[1]).log()
    least = torch.full((len(spread),), torch.inf, dtype=torch.double)
    for number, direction in enumerate(torch.cat([torch.diag(scales), common])):
        for sign in (-1.0, 1.0):
            rows = around.loc + sign * distances.unsqueeze(-1) * direction
            log_p = p.value(rows) + (volume if number >= dim else 0.0)
            least = torch.minimum(least, _of_line(log_p, quantities(rows), distances, spread))
    return least


def _of_line(log_p: Tensor, values: Tensor, distances: Tensor, spread: Tensor) -> Tensor:
    """Indices along one line; infinite for quantities that do not grow along it."""
    log_p = torch.where(torch.isfinite(log_p), log_p, -torch.inf)
    beyond = (log_p[:-1] + distances.diff().log()).flip(0).logcumsumexp(0).flip(0)
    lost = beyond[0] - beyond
    first, last = int((lost < _FROM).sum()), min(int((lost < _TO).sum()), len(beyond) - 1)
    grown = (values - values[0]).abs()
    if last <= first:
        return torch.full_like(spread, torch.inf)
    # What is too large to be held has no tail that numbers can follow.
    rise = torch.where(
        torch.isinf(grown[first]), torch.inf, grown[last] / grown[first].clamp_min(1e-300)
    ).log()
    counts = (grown[first] > _MOVED * spread) & (rise > 0)
    return torch.where(counts, (beyond[first] - beyond[last]) / rise.clamp_min(1e-300), torch.inf)
