"""Running model and guide with enumeration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from queue import LifoQueue
from typing import ClassVar

from ember.infer.enumeration.checks import check_traceenum_requirements
from ember.infer.enumeration.enum import iter_discrete_escape, iter_discrete_extend
from ember.infer.terms.pairing import Check, Pairing
from ember.infer.traces.broadcasting import check_broadcasting
from ember.infer.traces.importance_trace import Sites, Traces, get_importance_trace
from ember.infer.traces.run import Pair, Run, Runner
from ember.infer.traces.settings import Settings
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.enumeration.enum_messenger import EnumMessenger
from ember.poutine.messenger import Messenger, unwrap
from ember.poutine.trace_struct import Trace
from ember.poutine.values.queue_messenger import queue


@dataclass(frozen=True)
class Enumerated(Runner):
    """Sites marked for it are enumerated: those of the guide marked ``"sequential"`` give a pair of traces for each value."""

    objective: str
    """The name of the objective, for messages."""

    # Values of one sequentially enumerated site share the graph of what was sampled before it.
    pairs_share_graphs: ClassVar[bool] = True

    def pairs(self, run: Run, settings: Settings, pair: Pair) -> Iterator[Traces]:
        if isinstance(unwrap(run.guide), Messenger):
            raise NotImplementedError(
                f"{self.objective} does not support GuideMessenger, such as {type(unwrap(run.guide)).__name__}; "
                "use a guide that is a function, or Trace_ELBO"
            )
        run = run.in_particle_plate(settings) if settings.vectorize_particles else run.resolved(settings)
        partial: LifoQueue[Trace] = LifoQueue()
        sampled, run = run, _enumerated(run)
        guide = queue(run.guide, partial, escape_fn=iter_discrete_escape, extend_fn=iter_discrete_extend)  # type: ignore[arg-type]
        run = replace(run, guide=guide, sampled=sampled)
        for _ in range(1 if settings.vectorize_particles else settings.num_particles):
            partial.put(Trace())
            while not partial.empty():
                yield pair(run)


def _enumerated(run: Run) -> Run:
    """The run with enumeration, and that of one particle too."""
    # The model's dims come after the guide's, since its handler goes on where the guide's left off.
    guide = EnumMessenger(first_available_dim=-1 - run.max_plate_nesting)(run.guide)
    one = None if run.one is None else _enumerated(run.one)
    return replace(run, model=EnumMessenger()(run.model), guide=guide, one=one)


class Memory(ABC):
    """What becomes of the traces of an objective."""

    @abstractmethod
    def note(self, run: Run, traces: Traces) -> None:
        """Called with each pair of traces."""


class NoMemory(Memory):
    """They are forgotten."""

    def note(self, run: Run, traces: Traces) -> None:
        """Nothing is kept."""


@dataclass(frozen=True)
class PackedPairing(Pairing):
    """Traces with packed log densities: their dims are named by plates and enumerated sites."""

    checks: tuple[Check, ...]
    """Of what the objective does not do with such traces; under validation."""
    scores_model: bool = False
    """Whether sites of the model have score parts too."""
    memory: Memory = field(default_factory=NoMemory)

    def pair(self, run: Run) -> Traces:
        plates: tuple[Sites, Sites] = ({}, {})
        model_trace, guide_trace = get_importance_trace(
            "flat", run.max_plate_nesting, run.model, run.guide, run.args, run.kwargs, plates=plates
        )
        if run.sampled is not None and run.one is not None:
            check_broadcasting(_enumerated(run.sampled), (model_trace, guide_trace), plates)
        if is_validation_enabled():
            for check in (check_traceenum_requirements, *self.checks):
                check(model_trace, guide_trace)
        if self.scores_model:
            model_trace.add_score_parts()
        guide_trace.pack_tensors()
        model_trace.pack_tensors(guide_trace.plate_to_symbol)
        self.memory.note(run, (model_trace, guide_trace))
        return model_trace, guide_trace
