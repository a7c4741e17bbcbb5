"""What pairs of traces are worth, and how the pairs of all particles are put together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ember.infer.traces.importance_trace import Traces
from ember.infer.traces.run import Run
from ember.infer.traces.settings import Settings
from ember.poutine.trace_struct import Trace


class Estimate(NamedTuple):
    """Holds an estimate of the ELBO, and a scalar whose gradient estimates the ELBO's gradient.

    >>> import torch
    >>> from ember.infer import Estimate
    >>> elbo, surrogate = Estimate(torch.tensor(-3.0), torch.tensor(-3.0))
    """

    elbo: Tensor | float
    """The estimate, a scalar, in nats."""
    surrogate: Tensor | float
    """What is differentiated, a scalar."""


Worth = Callable[[Trace, Trace], Estimate]
"""What a pair of traces, of model and guide, is worth; with vectorised particles, the sum over them. Pure."""


class Terms(ABC):
    """From one pair of traces to its estimate."""

    @abstractmethod
    def estimate(self, model_trace: Trace, guide_trace: Trace, settings: Settings) -> Estimate:
        """What the pair is worth; with vectorised particles, the sum over them. Pure."""


class Combination(ABC):
    """From the pairs of all particles to the estimate of an objective."""

    @abstractmethod
    def estimates(
        self, pairs: Iterator[Traces], run: Run, settings: Settings, worth: Worth
    ) -> Iterator[tuple[Traces | tuple[()], Estimate]]:
        """Terms whose sum is the estimate, each with the traces to look at if it is not finite (or none).

        Args:
            pairs: made when they are asked for; one for all particles if they are vectorised.
            run: that the pairs are of.
            settings: of the objective.
            worth: what a pair alone is worth.
        """


@dataclass(frozen=True)
class Mean(Combination):
    """The mean over particles; each term may be differentiated and forgotten before the next is made."""

    def estimates(
        self, pairs: Iterator[Traces], run: Run, settings: Settings, worth: Worth
    ) -> Iterator[tuple[Traces, Estimate]]:
        for traces in pairs:
            elbo, surrogate = worth(*traces)
            if settings.num_particles > 1:
                same = elbo is surrogate
                elbo = elbo / settings.num_particles
                surrogate = elbo if same else surrogate / settings.num_particles
            yield traces, Estimate(elbo, surrogate)


@dataclass(frozen=True)
class Joint(Combination):
    """A function of all particles together."""

    joint: Callable[[Sequence[Traces], Settings], Estimate]

    def estimates(
        self, pairs: Iterator[Traces], run: Run, settings: Settings, worth: Worth
    ) -> Iterator[tuple[Traces, Estimate]]:
        particles = list(pairs)
        yield particles[-1], self.joint(particles, settings)
