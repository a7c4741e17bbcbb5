"""Samples with importance weights, and their resampling by Metropolis-Hastings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from ember import tree
from ember.infer.posterior.importance import LogWeightsMixin


class CloneMixin:
    """Adds ``clone`` to dataclasses of tensors and of dicts of tensors."""

    def clone(self) -> Self:
        """A copy with copied tensors."""
        return tree.map_tensors(Tensor.clone, self)


@dataclass(frozen=True, eq=False)
class WeighedPredictiveResults(LogWeightsMixin, CloneMixin):
    """What :class:`WeighedPredictive` returns: samples by site, and for each sample the log densities and their difference."""

    samples: Any
    log_weights: Tensor
    guide_log_prob: Tensor
    model_log_prob: Tensor


class MHResampler(nn.Module):
    """Turns weighed samples into samples of equal weight, by Metropolis-Hastings (Hastings, 1970).

    Proposals are independent. Each call draws new weighed samples and accepts each with probability
    ``min(1, w' / w)``, where ``w`` is the weight of the one that it would replace. The first call returns the
    proposals; each further call comes nearer to the target.

    Args:
        sampler: when called, returns :class:`WeighedPredictiveResults`.
        source_samples_slice: which of the proposals to keep, as a slice of the list of calls; none by
            default.
        stored_samples_slice: which of the results to keep, as a slice of the list of calls; none by default.

    >>> import torch, ember
    >>> from ember import distributions as dist
    >>> from ember.infer import MHResampler, WeighedPredictive
    >>> def model():
    ...     ember.sample("z", dist.Normal(2.0, 1.0))
    >>> def guide():
    ...     ember.sample("z", dist.Normal(0.0, 2.0))
    >>> resampler = MHResampler(WeighedPredictive(model, guide=guide, num_samples=2000, parallel=True))
    >>> for _ in range(30):
    ...     found = resampler()
    >>> round(found.samples["z"].mean().item())
    2
    """

    def __init__(
        self,
        sampler: Callable[..., WeighedPredictiveResults],
        source_samples_slice: slice = slice(0),
        stored_samples_slice: slice = slice(0),
    ) -> None:
        super().__init__()
        self.sampler = sampler
        self.samples: Any = None
        self.transition_count = torch.tensor(0, dtype=torch.long)
        self.source_samples: list[WeighedPredictiveResults] = []
        self.source_samples_slice = source_samples_slice
        self.stored_samples: list[WeighedPredictiveResults] = []
        self.stored_samples_slice = stored_samples_slice

    @torch.no_grad()
    def forward(self, *args: object, **kwargs: object) -> WeighedPredictiveResults:
        """Take a step, and return the current samples.

        Args:
            args: passed on to the sampler.
            kwargs: passed on to the sampler.
        """
        proposed = self.sampler(*args, **kwargs)
        self.source_samples = [*self.source_samples, proposed][self.source_samples_slice]
        if self.samples is None:
            self.samples = proposed.clone()
            self.transition_count = torch.zeros_like(proposed.log_weights, dtype=torch.long)
        else:
            ratio = (proposed.log_weights - self.samples.log_weights).clamp(max=0.0).exp()
            accepted = torch.rand(ratio.shape, device=ratio.device) <= ratio
            self.transition_count[accepted] += 1

            def replace(current: Tensor, new: Tensor) -> None:
                current[accepted] = new[accepted]

            tree.map_leaves(replace, self.samples, proposed)
        self.stored_samples = [*self.stored_samples, self.samples.clone()][self.stored_samples_slice]
        return self.samples  # type: ignore[no-any-return]

    def get_min_sample_transition_count(self) -> Tensor:
        """Return how often the sample has been replaced that has been replaced least."""
        return self.transition_count.min()

    def get_total_transition_count(self) -> Tensor:
        """Return how often samples have been replaced, in all."""
        return self.transition_count.sum()

    def get_source_samples(self) -> WeighedPredictiveResults:
        """Return the kept proposals, in one."""
        return self.get_samples(self.source_samples)

    def get_stored_samples(self) -> WeighedPredictiveResults:
        """Return the kept results, in one."""
        return self.get_samples(self.stored_samples)

    def get_samples(self, samples: list[WeighedPredictiveResults]) -> WeighedPredictiveResults:
        """Join several sets of samples."""
        return tree.join(torch.cat, samples)
