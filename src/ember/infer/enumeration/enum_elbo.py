"""The base of objectives that enumerate: model and guide run with enumeration, and their traces packed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from queue import LifoQueue
from typing import Any

from ember.infer.enumeration.checks import check_traceenum_requirements
from ember.infer.enumeration.enum import iter_discrete_escape, iter_discrete_extend
from ember.infer.objectives.elbo import ELBO, Program
from ember.infer.traces.importance_trace import get_importance_trace
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.enum_messenger import EnumMessenger
from ember.poutine.messenger import Messenger, unwrap
from ember.poutine.queue_messenger import queue
from ember.poutine.trace_struct import Trace


class EnumerationELBO(ELBO):
    """Base of objectives that enumerate sites of model and guide.

    Sites of the guide that are marked ``"sequential"`` give a pair of traces for each of their values.
    """

    def _get_traces(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[tuple[Trace, Trace]]:
        if isinstance(unwrap(guide), Messenger):
            raise NotImplementedError(
                f"{type(self).__name__} does not support GuideMessenger, such as {type(unwrap(guide)).__name__}; "
                "use a guide that is a function, or Trace_ELBO"
            )
        resolved = self._with_plate_nesting(model, guide, args, kwargs)
        if self.vectorize_particles:
            guide = resolved._vectorized_num_particles(guide)
            model = resolved._vectorized_num_particles(model)
        # The model's dims come after the guide's, since its handler goes on where the guide's left off.
        guide = EnumMessenger(first_available_dim=-1 - resolved.max_plate_nesting)(guide)
        model = EnumMessenger()(model)
        partial: LifoQueue[Trace] = LifoQueue()
        guide = queue(guide, partial, escape_fn=iter_discrete_escape, extend_fn=iter_discrete_extend)  # type: ignore[arg-type]
        for _ in range(1 if self.vectorize_particles else self.num_particles):
            partial.put(Trace())
            while not partial.empty():
                yield resolved._get_trace(model, guide, args, kwargs)

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        model_trace, guide_trace = get_importance_trace(
            "flat", self.max_plate_nesting, model, guide, args, kwargs
        )
        if is_validation_enabled():
            check_traceenum_requirements(model_trace, guide_trace)
            self._check(model_trace, guide_trace)
        self._pack(model_trace, guide_trace)
        return model_trace, guide_trace

    @abstractmethod
    def _check(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Warn about what the objective does not do with these traces."""

    def _pack(self, model_trace: Trace, guide_trace: Trace) -> None:
        guide_trace.pack_tensors()
        model_trace.pack_tensors(guide_trace.plate_to_symbol)

    @property
    def _retain_graph(self) -> bool | None:
        # Values of one sequentially enumerated site share the graph of what was sampled before it.
        return True if self.retain_graph is None else self.retain_graph
