"""Rejection sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Size, Tensor

from ember.distributions.score_parts import ScoreParts
from ember.distributions.torch_distribution import TorchDistribution


class Rejector(TorchDistribution):
    """Draws from a proposal, accepted with a probability that depends on the draw.

    Gradients are pathwise through the proposal, and by the score function through the acceptance.

    Args:
        propose: a distribution over a batch of proposals; or any callable that draws such a batch, given a
            sample shape or nothing, in a subclass that defines :meth:`log_prob`.
        log_prob_accept: the log probability of acceptance of each.
        log_scale: the log probability that a proposal is accepted.
        batch_shape: by default the proposal's.
        event_shape: by default the proposal's.

    References:
        C. A. Naesseth, F. J. R. Ruiz, S. W. Linderman, D. M. Blei (2017), "Reparameterization gradients
        through acceptance-rejection sampling algorithms".

    >>> from ember.distributions import Exponential
    >>> import torch
    >>> from ember.distributions import Rejector
    >>> shifted = Rejector(Exponential(torch.tensor(1.0)), lambda x: (x > 1).float().log(), torch.tensor(-1.0))
    >>> shifted.sample() > 1
    tensor(True)
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    def __init__(
        self,
        propose: Any,
        log_prob_accept: Callable[[Any], Tensor],
        log_scale: Any,
        *,
        batch_shape: Size | None = None,
        event_shape: Size | None = None,
    ) -> None:
        self.propose = propose
        self.log_prob_accept = log_prob_accept
        self._log_scale = log_scale
        super().__init__(
            propose.batch_shape if batch_shape is None else batch_shape,
            propose.event_shape if event_shape is None else event_shape,
        )

    def rsample(self, sample_shape: Sequence[int] = Size(), *, generator: Any = None) -> Tensor:
        """Propose until all of the batch are accepted."""
        random: dict[str, Any] = {} if generator is None else {"generator": generator}

        def propose() -> tuple[Any, Tensor]:
            x = self.propose(Size(sample_shape), **random) if sample_shape or random else self.propose()
            accept = self.log_prob_accept(x).detach().exp().clamp(0.0, 1.0)
            return x, torch.bernoulli(accept, **random).bool()

        x, done = propose()
        while not bool(done.all()):
            again, accepted = propose()
            fresh = accepted & ~done
            x = torch.where(fresh.reshape(fresh.shape + (1,) * (x.dim() - fresh.dim())), again, x)
            done = done | accepted
        return x  # type: ignore[no-any-return]

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the proposal's density, times the probability of acceptance, over that of all proposals."""
        log_prob: Tensor = self.propose.log_prob(x) + self.log_prob_accept(x) - self._log_scale
        return log_prob

    def score_parts(self, x: Tensor) -> ScoreParts:
        """Only the acceptance has a score; the density is pathwise."""
        score = self.log_prob_accept(x) - self._log_scale
        log_prob = self.log_prob(x)
        return ScoreParts(log_prob, score, log_prob)
