"""What every method here needs of a model: log densities and scores of many rows, counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, overload

import torch
from torch import Tensor


class LogDensity(Protocol):
    """Describes what all methods take: a log density of ``D`` unconstrained coordinates, up to a constant.

    ``density(u)`` of rows ``u`` with shape ``(S, D)``, double precision, is ``(log_p, score)``, shapes
    ``(S,)`` and ``(S, D)``. ``density(u, grad=False)`` is ``log_p`` alone. Impossible rows have minus
    infinity and a score of zero. :func:`ember.density` makes one of a model, :class:`FunctionDensity` of a
    function.
    """

    @property
    def dim(self) -> int:
        """The number ``D`` of coordinates."""

    @overload
    def __call__(self, u: Tensor, grad: Literal[True] = True) -> tuple[Tensor, Tensor]: ...

    @overload
    def __call__(self, u: Tensor, grad: Literal[False]) -> Tensor: ...


@dataclass(frozen=True)
class FunctionDensity:
    """Makes a log density of a function that broadcasts over rows and can be differentiated.

    Attributes:
        dim: how many coordinates there are.
        log_prob: a function from rows ``(S, D)``, double precision, to log densities ``(S,)``.

    >>> import torch
    >>> from ember.infer.vi import FunctionDensity
    >>> density = FunctionDensity(2, lambda u: -0.5 * u.square().sum(-1))
    >>> density(torch.ones(1, 2, dtype=torch.double), grad=False)
    tensor([-1.], dtype=torch.float64)
    """

    dim: int
    log_prob: Callable[[Tensor], Tensor]

    @overload
    def __call__(self, u: Tensor, grad: Literal[True] = True) -> tuple[Tensor, Tensor]: ...

    @overload
    def __call__(self, u: Tensor, grad: Literal[False]) -> Tensor: ...

    def __call__(self, u: Tensor, grad: bool = True) -> Tensor | tuple[Tensor, Tensor]:
        if not grad:
            with torch.no_grad():
                return self.log_prob(u)
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            log_p = self.log_prob(u)
            (score,) = torch.autograd.grad(log_p.sum(), u)
        return log_p.detach(), score


@dataclass
class Counted:
    """Counts what a density is asked.

    It asks for some rows at a time, and lets nothing but numbers and minus infinity through.

    Attributes:
        density: the density that is asked.
        chunk: the most rows at a time, which bounds memory.
        evaluations: how many rows there have been, with score or without.
        seconds: the time spent in the density.

    >>> import torch
    >>> from ember.infer.vi import Counted, FunctionDensity
    >>> p = Counted(FunctionDensity(1, lambda u: -0.5 * u.square().sum(-1)))
    >>> p.score(torch.ones(2, 1, dtype=torch.double))
    (tensor([-0.5000, -0.5000], dtype=torch.float64), tensor([[-1.],
            [-1.]], dtype=torch.float64))
    >>> p.evaluations
    2
    """

    density: LogDensity
    chunk: int = 8192
    evaluations: int = 0
    seconds: float = 0.0

    @property
    def dim(self) -> int:
        """The number of coordinates."""
        return self.density.dim

    @property
    def seconds_a_row(self) -> float:
        """The time of a row, measured so far; zero before the first call."""
        return self.seconds / max(self.evaluations, 1)

    def value(self, u: Tensor) -> Tensor:
        """Compute log densities ``(S,)`` at rows ``(S, D)``; minus infinity where they are no number."""
        begun = time.perf_counter()
        log_p = torch.cat([self.density(rows, grad=False) for rows in torch.split(u, self.chunk)])
        self._count(len(u), begun)
        return torch.where(torch.isfinite(log_p), log_p, -torch.inf)

    def score(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Log densities ``(S,)`` and scores ``(S, D)``; minus infinity and zero where either is no number."""
        begun = time.perf_counter()
        found = [self.density(rows) for rows in torch.split(u, self.chunk)]
        log_p, score = found[0] if len(found) == 1 else map(torch.cat, zip(*found, strict=True))
        self._count(len(u), begun)
        # A sum is finite only if all its terms are: one pass instead of two over the matrix.
        possible = torch.isfinite(log_p + score.sum(-1))
        if bool(possible.all()):
            return log_p, score
        return torch.where(possible, log_p, -torch.inf), torch.where(possible.unsqueeze(-1), score, 0.0)

    def _count(self, rows: int, begun: float) -> None:
        self.evaluations += rows
        self.seconds += time.perf_counter() - begun
