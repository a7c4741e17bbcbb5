"""Train a transform of normal numbers by path gradients of the evidence lower bound.

The gradient of ``log p - log q`` is taken through the draws alone: its noise vanishes where ``q`` equals
``p``.

References:
    G. Roeder, Y. Wu and D. Duvenaud (2017), "Sticking the landing".
    L. Vaitl, K. Nicoli, S. Nakajima and P. Kessel (2022), "Gradients should stay on path".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.averaging import Adam
from ember.infer.vi.density import Counted
from ember.infer.vi.families.warped import Warped
from ember.infer.vi.quasi_random import NormalPoints


@dataclass(frozen=True)
class PathGradient:
    """Holds the settings of :func:`path_gradient`.

    Attributes:
        rate: the rate of Adam; constant for the first half of the steps, then falling to a hundredth.
        steps: how many steps to take.
        batch: rows a step.
        clip: residuals longer than so many medians are shortened.
        longest: a longer gradient is shortened to this.
    """

    rate: float = 0.02
    steps: int = 400
    batch: int = 256
    clip: float = 5.0
    longest: float = 10.0

    def rate_at(self, step: int) -> float:
        """Return the rate of one step: a short rise, a plateau, a fall. ``step`` counts from 0."""
        done = step / self.steps
        return self.rate * min(1.0, 20 * done + 0.02) * (1.0 if done < 0.5 else max(0.01, 2 * (1 - done)))


@dataclass(frozen=True)
class Trained:
    """The family after a step, and the ELBO before it."""

    family: Warped
    elbo: float


def path_gradient(p: Counted, start: Warped, settings: PathGradient, seed: int = 0) -> Iterator[Trained]:
    """Train the transform of a family by path gradients, in the whitened coordinates of its normal.

    The gradient of ``log p - log q`` is taken through the draws alone: its noise vanishes where ``q`` equals
    ``p``.

    Args:
        p: the target, of ``D`` coordinates.
        start: a normal and a transform of its numbers, such as a flow.
        settings: rate and steps.
        seed: the seed of the draws.

    Yields:
        After each step the ``family``, and the ``elbo`` in nats before the step.

    References:
        G. Roeder, Y. Wu and D. Duvenaud (2017), "Sticking the landing".
        L. Vaitl, K. Nicoli, S. Nakajima and P. Kessel (2022), "Gradients should stay on path".

    >>> from ember.infer.vi import Counted, FunctionDensity, PathGradient, path_gradient
    >>> from ember.infer.vi.families.normal import Normal
    >>> from ember.infer.vi.families.skewed import SinhArcsinh
    >>> from ember.infer.vi.families.warped import Warped
    >>> import torch
    >>> p = Counted(FunctionDensity(1, lambda u: -0.5 * (u - 0.5).square().sum(-1)))
    >>> unit = Normal(torch.zeros(1, dtype=torch.double), torch.eye(1, dtype=torch.double))
    >>> *_, last = path_gradient(p, Warped(SinhArcsinh.identity(1), unit), PathGradient(steps=100))
    >>> round(float(last.family.sample(256, seed=1)[0].mean()), 1)
    0.5
    """
    points, around = NormalPoints(p.dim, seed), start.around
    transform = start.transform
    numbers = transform.parameters
    adam = Adam.of(numbers)
    constant = around.log_det + 0.5 * p.dim * math.log(2 * math.pi)
    for i in range(settings.steps):
        e = points.draw(settings.batch)
        bent = transform.forward(e)
        log_p, score = p.score(around.unwhiten(bent.x))
        possible = torch.isfinite(log_p)
        path = _shortened(score @ around.scale_tril - bent.score(), possible, settings.clip)
        gradient = bent.pullback(path) / len(e)
        gradient = gradient * (settings.longest / gradient.norm().clamp_min(settings.longest))
        numbers = numbers + adam.step(gradient, i + 1, settings.rate_at(i))
        transform = transform.with_parameters(numbers)
        elbo = log_p[possible].mean() + 0.5 * e.square().sum(-1).mean() + bent.log_det.mean() + constant
        yield Trained(Warped(transform, around), float(elbo))


def _shortened(path: Tensor, possible: Tensor, clip: float) -> Tensor:
    """Rows that are impossible or no numbers are left out; long ones are cut to a multiple of the median length."""
    length: Tensor = path.norm(dim=-1, keepdim=True)
    use = possible.unsqueeze(-1) & torch.isfinite(length)
    if not bool(use.all()):
        path = torch.where(use, path, 0.0)
        length = torch.where(use, length, 0.0)
    limit = clip * length.median().clamp_min(1e-300)
    shortened: Tensor = path * (limit / torch.maximum(length, limit))
    return shortened
