"""Mixtures of families, drawn from in fixed shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ember.infer.vi.families.family import Family


@dataclass(frozen=True)
class Mixture:
    """A mixture density. Each part gives its share of the draws exactly, which only takes noise away (Owen, 2013, chapter 9).

    Attributes:
        parts: what is mixed.
        shares: of the parts; they sum to one.

    >>> from ember.infer.vi.families.normal import Normal
    >>> part = lambda at: Normal(torch.full((1,), at, dtype=torch.double), torch.eye(1, dtype=torch.double))
    >>> u, _ = Mixture((part(-9.0), part(9.0)), (0.25, 0.75)).sample(100, seed=0)
    >>> int((u > 0).sum())
    75
    """

    parts: Sequence[Family]
    shares: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.shares) or abs(sum(self.shares) - 1) > 1e-6 or min(self.shares) < 0:
            raise ValueError(
                f"A mixture of {len(self.parts)} parts needs as many shares that sum to one: {self.shares}"
            )

    @property
    def dim(self) -> int:
        """How many coordinates."""
        return self.parts[0].dim

    def sample(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draws, those of the first part first, and their log densities."""
        counts = _whole(self.shares, n)
        drawn = [
            part.sample(k, seed + 7919 * i)[0]
            for i, (part, k) in enumerate(zip(self.parts, counts, strict=True))
            if k
        ]
        u = torch.cat(drawn)
        return u, self.log_prob(u)

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities of rows."""
        return torch.logsumexp(self.log_prob_of_parts(u), 0)

    def log_prob_of_parts(self, u: Tensor) -> Tensor:
        """Log of share times density, shape ``(parts, S)``."""
        shares = torch.tensor(self.shares, dtype=torch.double).log().unsqueeze(-1)
        return torch.stack([part.log_prob(u) for part in self.parts]) + shares


def _whole(shares: Sequence[float], n: int) -> list[int]:
    """Counts that sum to ``n``, by largest remainders."""
    exact = [share * n for share in shares]
    counts = [int(x) for x in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: n - sum(counts)]:
        counts[i] += 1
    return counts
