"""Adapt a mixture of Student's t to a density by importance sampling, round after round.

References:
    O. Cappé, R. Douc, A. Guillin, J.-M. Marin and C. Robert (2008), "Adaptive importance sampling in general
    mixture classes".
    J.-M. Cornuet, J.-M. Marin, A. Mira and C. Robert (2012), "Adaptive multiple importance sampling".
    D. Peel and G. McLachlan (2000), "Robust mixture modelling using the t distribution", for the scales of
    EM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.density import Counted
from ember.infer.vi.families.family import Family
from ember.infer.vi.families.mixture import Mixture
from ember.infer.vi.families.normal import Normal, StudentT
from ember.infer.vi.quasi_random import NormalPoints


@dataclass(frozen=True)
class Population:
    """Holds the settings of :func:`population` and :func:`first_mixture`.

    Attributes:
        rounds: how many rounds there are.
        draws: how many draws each round takes.
        df: degrees of freedom of the components.
        components: the fewest components; shifted copies of the first fill up.
        spread: how far copies are shifted, in standard deviations.
    """

    rounds: int = 12
    draws: int = 4096
    df: int = 8
    components: int = 6
    spread: float = 0.7


def first_mixture(normals: Sequence[Normal], settings: Population, seed: int) -> Mixture:
    """Make a mixture of Student's t in equal shares, of given normals and of shifted copies of the first one.

    Args:
        normals: one or more normals of ``D`` coordinates.
        settings: degrees of freedom, and how many components.
        seed: the seed of the shifts.

    >>> import torch
    >>> from ember.infer.vi import Population, first_mixture
    >>> from ember.infer.vi.families.normal import Normal
    >>> normal = Normal(torch.zeros(2, dtype=torch.double), torch.eye(2, dtype=torch.double))
    >>> len(first_mixture([normal], Population(components=3), seed=0).parts)
    3
    """
    copies = max(settings.components - len(normals), 0)
    moves = settings.spread * NormalPoints(normals[0].dim, seed).draw(max(copies, 1))
    shifted = [Normal(place, normals[0].scale_tril) for place in normals[0].unwhiten(moves)[:copies]]
    parts = [StudentT(normal, settings.df) for normal in (*normals, *shifted)]
    return Mixture(parts, [1 / len(parts)] * len(parts))


def population(
    p: Counted, start: Mixture, settings: Population = Population(), seed: int = 0
) -> Iterator[Mixture]:
    """Adapt a mixture of Student's t to a density, round after round.

    A round draws, weighs, and fits the mixture to the weighed draws by a step of EM.

    Args:
        p: the target, of ``D`` coordinates.
        start: a mixture of Student's t, see :func:`first_mixture`; other parts stay as they are, their shares
            adapt.
        settings: how many rounds and draws.
        seed: the seed of the draws.

    Yields:
        The mixture after each round.

    References:
        O. Cappé, R. Douc, A. Guillin, J.-M. Marin and C. Robert (2008), "Adaptive importance sampling in
        general mixture classes".
        D. Peel and G. McLachlan (2000), "Robust mixture modelling using the t distribution".

    >>> from ember.infer.vi import Counted, FunctionDensity, Population, first_mixture, population
    >>> from ember.infer.vi.families.normal import Normal
    >>> import torch
    >>> p = Counted(FunctionDensity(1, lambda u: -0.5 * ((u.abs() - 4) / 0.5).square().sum(-1)))
    >>> wide = Normal(torch.zeros(1, dtype=torch.double), 3 * torch.eye(1, dtype=torch.double))
    >>> *_, mixture = population(p, first_mixture([wide], Population(), 0))
    >>> u, _ = mixture.sample(1000, seed=1)
    >>> bool(((u.abs() - 4).abs() < 2).double().mean() > 0.95)
    True
    """
    mixture = start
    for number in range(settings.rounds):
        u, log_q = mixture.sample(settings.draws, seed + 101 * number)
        log_w = p.value(u) - log_q
        if bool(torch.isfinite(log_w).any()):
            weights = tempered(log_w, max(20 * p.dim, 200))
            mixture = _refitted(mixture, u, weights, settings.df)
        yield mixture


def tempered(log_w: Tensor, least: float) -> Tensor:
    """Normalised weights, flattened by a power until so many draws count."""
    power = 1.0
    weights = torch.softmax(log_w, 0)
    while 1 / float(weights.square().sum()) < least and power > 1e-3:
        power *= 0.8
        weights = torch.softmax(power * log_w, 0)
    return weights


def _refitted(mixture: Mixture, u: Tensor, weights: Tensor, df: int) -> Mixture:
    belongs = torch.softmax(mixture.log_prob_of_parts(u), 0) * weights
    shares = belongs.sum(-1).clamp_min(1e-3)
    parts: list[Family] = []
    for part, mine in zip(mixture.parts, belongs, strict=True):
        if not isinstance(part, StudentT) or not isinstance(part.base, Normal):
            parts.append(part)
            continue
        few = mine.sum() < 1e-3 or float(mine.sum().square() / mine.square().sum()) < 3 * part.dim + 10
        parts.append(part if few else _moved(part, part.base, u, mine, df))
    return Mixture(parts, (shares / shares.sum()).tolist())


def _moved(part: StudentT, base: Normal, u: Tensor, mine: Tensor, df: int) -> StudentT:
    """One step of EM of a t component, with a draw's weight in it ``mine``."""
    inner = mine * (df + part.dim) / (df + part.squares(u))
    loc = (inner.unsqueeze(-1) * u).sum(0) / inner.sum()
    apart = u - loc
    cov = (apart * inner.unsqueeze(-1)).mT @ apart / mine.sum()
    # In units of the old scale, so that the small number added means the same in any unit.
    unit = base.scale_tril.square().sum(-1).sqrt()
    cov = cov / unit / unit.unsqueeze(-1)
    root, info = torch.linalg.cholesky_ex(cov + 1e-10 * torch.eye(part.dim, dtype=cov.dtype))
    return part if int(info) else StudentT(Normal(loc, unit.unsqueeze(-1) * root), df)
