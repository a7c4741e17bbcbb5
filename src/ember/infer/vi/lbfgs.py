"""Go uphill from several starts at once by limited-memory quasi-Newton steps.

References:
    J. Nocedal (1980), "Updating quasi-Newton matrices with limited storage".
    R. Byrd, J. Nocedal and R. Schnabel (1994), "Representations of quasi-Newton matrices".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.density import Counted


@dataclass(frozen=True)
class Lbfgs:
    """Holds the settings of :func:`lbfgs`.

    Attributes:
        memory: how many pairs of steps and differences are kept.
        iterations: the most steps.
        tolerance: a start has arrived when a step changes its log density by less than this times one plus
            its size.
        halvings: how often a step is halved before a start counts as stuck.
    """

    memory: int = 20
    iterations: int = 200
    tolerance: float = 1e-9
    halvings: int = 20


@dataclass(frozen=True)
class Pairs:
    """Steps and differences of minus the score, for ``K`` starts, newest last; unusable pairs are zero.

    Attributes:
        steps: shape ``(m, K, D)``.
        turns: shape ``(m, K, D)``.
        scale: size of the first guess of the inverse Hessian, shape ``(K, D)``.
    """

    steps: Tensor
    turns: Tensor
    scale: Tensor

    @staticmethod
    def none(u: Tensor) -> Pairs:
        """Before the first step."""
        empty = u.new_zeros(0, *u.shape)
        return Pairs(empty, empty, torch.ones_like(u))

    def inverse_times(self, vector: Tensor) -> Tensor:
        """The inverse Hessian of minus the log density times vectors ``(K, D)``: Nocedal's two loops."""
        products = (self.steps * self.turns).sum(-1, keepdim=True)
        usable = products > 0
        weight = torch.where(usable, 1 / products.clamp_min(1e-300), 0.0)
        found = []
        for step, turn, rho in zip(self.steps.flip(0), self.turns.flip(0), weight.flip(0), strict=True):
            found.append(rho * (step * vector).sum(-1, keepdim=True))
            vector = vector - found[-1] * turn
        vector = self.scale * vector
        for step, turn, rho, alpha in zip(self.steps, self.turns, weight, reversed(found), strict=True):
            vector = vector + step * (alpha - rho * (turn * vector).sum(-1, keepdim=True))
        return vector

    def after(self, step: Tensor, turn: Tensor, memory: int) -> Pairs:
        """With one pair more; where the curvature is not positive it is left out."""
        product, size = (step * turn).sum(-1), turn.square().sum(-1)
        usable = (product > 1e-12 * size).unsqueeze(-1)
        scale = torch.where(usable, _scale(self.scale, step, turn), self.scale)
        step, turn = torch.where(usable, step, 0.0), torch.where(usable, turn, 0.0)
        return Pairs(
            torch.cat([self.steps, step.unsqueeze(0)])[-memory:],
            torch.cat([self.turns, turn.unsqueeze(0)])[-memory:],
            scale,
        )


def _scale(old: Tensor, step: Tensor, turn: Tensor) -> Tensor:
    """A diagonal first guess that learns from each pair (Zhang et al., 2022, algorithm 3, after Gilbert and Lemaréchal, 1989)."""
    a = (turn * old * turn).sum(-1, keepdim=True)
    b = (step * turn).sum(-1, keepdim=True)
    c = (step * step / old).sum(-1, keepdim=True).clamp_min(1e-300)
    inverse = a / (b * old) + turn.square() / b - a * step.square() / (b * c * old.square())
    return torch.where(inverse > 1e-300, 1 / inverse.clamp_min(1e-300), old)


@dataclass(frozen=True)
class Ascent:
    """All starts after a step.

    Attributes:
        u: places, shape ``(K, D)``.
        log_p: shape ``(K,)``.
        score: shape ``(K, D)``.
        pairs: what is known of the curvature.
        arrived: which starts have stopped, shape ``(K,)``.
    """

    u: Tensor
    log_p: Tensor
    score: Tensor
    pairs: Pairs
    arrived: Tensor


def lbfgs(p: Counted, starts: Tensor, settings: Lbfgs = Lbfgs()) -> Iterator[Ascent]:
    """Go uphill from several starts at once by limited-memory quasi-Newton steps, until all have arrived.

    Args:
        p: the target, of ``D`` coordinates.
        starts: where to begin, ``(K, D)``.
        settings: memory, steps and tolerance.

    Yields:
        The state after each step: places ``u``, ``(K, D)``, ``log_p``, ``(K,)``, ``score``, ``(K, D)``, and
            which starts have ``arrived``, ``(K,)``.

    References:
        J. Nocedal (1980), "Updating quasi-Newton matrices with limited storage".

    >>> from ember.infer.vi import Counted, FunctionDensity, lbfgs
    >>> import torch
    >>> p = Counted(FunctionDensity(3, lambda u: -(u - 1).pow(4).sum(-1) - (u - 1).square().sum(-1)))
    >>> *_, last = lbfgs(p, torch.zeros(1, 3, dtype=torch.double))
    >>> [round(x, 4) for x in last.u[0].tolist()]
    [1.0, 1.0, 1.0]
    """
    log_p, score = p.score(starts)
    now = Ascent(starts, log_p, score, Pairs.none(starts), ~torch.isfinite(log_p))
    for _ in range(settings.iterations):
        now = _stepped(p, now, settings)
        yield now
        if bool(now.arrived.all()):
            return


def _stepped(p: Counted, now: Ascent, settings: Lbfgs) -> Ascent:
    direction = now.pairs.inverse_times(now.score)
    if not len(now.pairs.steps):  # nothing is known of the scale: a step of at most one
        direction = direction / direction.norm(dim=-1, keepdim=True).clamp_min(1.0)
    slope = (direction * now.score).sum(-1)
    u, log_p, score = now.u.clone(), now.log_p.clone(), now.score.clone()
    open_ = ~now.arrived & (slope > 0)
    length = 1.0
    for _ in range(settings.halvings):
        places = open_.nonzero().squeeze(-1)
        if not len(places):
            break
        tried = now.u[places] + length * direction[places]
        tried_p, tried_score = p.score(tried)
        better = tried_p >= now.log_p[places] + 1e-4 * length * slope[places]
        taken = places[better]
        u[taken], log_p[taken], score[taken] = tried[better], tried_p[better], tried_score[better]
        open_[taken] = False
        length /= 2
    flat = (log_p - now.log_p).abs() <= settings.tolerance * (1 + now.log_p.abs())
    pairs = now.pairs.after(u - now.u, now.score - score, settings.memory)
    return Ascent(u, log_p, score, pairs, now.arrived | flat)
