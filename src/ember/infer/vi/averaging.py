"""Steps and averages of iterates.

References:
    D. Kingma and J. Ba (2015), "Adam".
    B. Polyak and A. Juditsky (1992), "Acceleration of stochastic approximation by averaging".
    A. Dhaka, A. Catalina, M. Andersen, M. Magnusson, J. Huggins and A. Vehtari (2020), "Robust, accurate
    stochastic
        optimization for variational inference", for averages that start once iterates are stationary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Adam:
    """The two averages of Adam, changed in place.

    >>> float(Adam.of(torch.zeros(1)).step(torch.ones(1), 1, 0.5))
    0.5
    """

    mean: Tensor
    square: Tensor

    @staticmethod
    def of(numbers: Tensor) -> Adam:
        """Before the first step."""
        return Adam(torch.zeros_like(numbers), torch.zeros_like(numbers))

    def step(self, gradient: Tensor, count: int, rate: float) -> Tensor:
        """How far to go uphill; ``count`` starts at 1."""
        self.mean.lerp_(gradient, 0.1)
        self.square.lerp_(gradient.square(), 0.001)
        scale = (self.square / (1 - 0.999**count)).sqrt_().add_(1e-8)
        return self.mean / scale * (rate / (1 - 0.9**count))


@dataclass(frozen=True)
class Average:
    """Holds the average of iterates that have become stationary; :func:`average` returns it.

    Attributes:
        mean: the averages, shape ``(P,)``.
        mcse: their Monte Carlo errors by means of batches, shape ``(P,)``.
        r_hat: R-hat of the halves of what was averaged, shape ``(P,)``; near 1 where nothing moves any more.
        start: the first iterate that was used.
    """

    mean: Tensor
    mcse: Tensor
    r_hat: Tensor
    start: int


def average(iterates: Tensor, batches: int = 10) -> Average:
    """Average the end of a run with a constant rate.

    Windows that begin between a fifth and four fifths of the run are compared. The one of lowest R-hat is
    averaged.

    Args:
        iterates: the parameters after each step, in order, shape ``(T, P)``.
        batches: how many batches the Monte Carlo errors are computed from.

    Raises:
        ValueError: for another number of dims, or fewer than ten iterates a batch.

    References:
        B. Polyak and A. Juditsky (1992), "Acceleration of stochastic approximation by averaging".
        A. Dhaka and others (2020), "Robust, accurate stochastic optimization for variational inference".

    >>> import torch
    >>> from ember.infer.vi import average
    >>> _ = torch.manual_seed(0)
    >>> found = average(torch.cat([torch.linspace(9, 0, 1000), torch.randn(4000)]).double().unsqueeze(-1))
    >>> found.start >= 1000, bool(found.mean.abs() < 3 * found.mcse)
    (True, True)
    """
    total = len(iterates)
    if iterates.dim() != 2 or total < 10 * batches:
        least = f"(T, P) iterates, T at least {10 * batches}"
        raise ValueError(f"An average of {batches} batches needs {least}, got {tuple(iterates.shape)}")
    starts = [total * i // 10 for i in range(2, 9)]
    worst = [float(_split_r_hat(iterates[start:]).max()) for start in starts]
    start = starts[min(range(len(starts)), key=worst.__getitem__)]
    window = iterates[start:]
    size = len(window) // batches
    of_batches = window[-size * batches :].reshape(batches, size, -1).mean(1)
    return Average(window.mean(0), of_batches.std(0) / batches**0.5, _split_r_hat(window), start)


def _split_r_hat(window: Tensor) -> Tensor:
    size = len(window) // 2
    halves = torch.stack([window[:size], window[-size:]])
    within = halves.var(1).mean(0)
    between = halves.mean(1).var(0)
    return torch.where(within > 0, ((size - 1) / size + between / within).sqrt(), 1.0)
