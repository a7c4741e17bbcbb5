"""The base of objectives that are a function of all particles together, not a mean over them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from ember.infer.objectives.elbo import ELBO, Estimate, Program
from ember.poutine.trace_struct import Trace

Traces = tuple[Trace, Trace]
"""Of the model and of the guide."""


class JointELBO(ELBO):
    """An objective whose estimate takes all particles at once."""

    @abstractmethod
    def joint(self, particles: Sequence[Traces]) -> Estimate:
        """The estimate from all particles: one pair of traces each, or one pair for all if they are vectorised. Pure."""

    def particle(self, model_trace: Trace, guide_trace: Trace) -> Estimate:
        return self.joint([(model_trace, guide_trace)])

    def _weighed_particles(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[Traces, Estimate]]:
        particles = list(self._get_traces(model, guide, args, kwargs))
        yield particles[-1], self.joint(particles)
