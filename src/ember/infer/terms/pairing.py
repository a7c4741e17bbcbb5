"""How one pair of traces is made for objectives that sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ember.infer.terms.fixed_samples import with_fixed_samples
from ember.infer.traces.broadcasting import check_broadcasting
from ember.infer.traces.checks import check_if_enumerated
from ember.infer.traces.importance_trace import Sites, Traces, get_importance_trace
from ember.infer.traces.run import Run
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.messenger import unwrap
from ember.poutine.trace_struct import Trace

Check = Callable[[Trace, Trace], None]
"""Looks at a model's and a guide's trace, and warns or raises."""


def check_not_enumerated(model_trace: Trace, guide_trace: Trace) -> None:
    """Warn if sites of the guide ask for enumeration."""
    check_if_enumerated(guide_trace)


def holds_nothing(guide_trace: Trace) -> bool:
    """Whether samples are to be held fixed: they are not."""
    return False


def holds_all(guide_trace: Trace) -> bool:
    """Whether samples are to be held fixed: they are."""
    return True


class Pairing(ABC):
    """How one pair of traces is made."""

    @abstractmethod
    def pair(self, run: Run) -> Traces:
        """The traces of model and guide, with log densities."""


@dataclass(frozen=True)
class SampledPairing(Pairing):
    """The guide is run, and the model against it; and both again with the samples held fixed, for those that need it."""

    graph_type: Literal["flat", "dense"] = "flat"
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    """What model and guide are run under."""
    holds_guide: Callable[[Trace], bool] = holds_nothing
    """Whether the guide's sites get ``fixed_log_prob``, the log density with the samples held fixed; by the guide's trace."""
    holds_model: Callable[[Trace], bool] = holds_nothing
    checks: tuple[Check, ...] = (check_not_enumerated,)
    """Under validation."""

    def pair(self, run: Run) -> Traces:
        plates: tuple[Sites, Sites] = ({}, {})
        with self.around():
            traces = get_importance_trace(
                self.graph_type,
                run.max_plate_nesting,
                run.model,
                run.guide,
                run.args,
                run.kwargs,
                plates=plates,
            )
        check_broadcasting(run, traces, plates)
        guide_trace = traces[1]
        for recorded, hidden, program, holds in zip(
            traces, plates, (run.model, run.guide), (self.holds_model, self.holds_guide), strict=True
        ):
            if holds(guide_trace):
                _hold(program, recorded, hidden, run, traces[0])
        if is_validation_enabled():
            for check in self.checks:
                check(*traces)
        return traces


def _hold(program: Callable[..., Any], recorded: Trace, plates: Sites, run: Run, model_trace: Trace) -> None:
    mask_like = getattr(unwrap(program), "mask_like", None)
    adjust = None if mask_like is None else partial(mask_like, model_trace)
    again = with_fixed_samples(program, recorded, plates, run.args, run.kwargs, adjust)
    for site in recorded.nodes.values():
        if site.type == "sample":
            site.fixed_log_prob = again.nodes[site.name].log_prob
