"""One run of a guide, and of the model against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ember.infer.traces.checks import check_model_guide_match, check_site_shape
from ember.infer.traces.validation import is_validation_enabled
from ember.poutine.messenger import unwrap
from ember.poutine.rewriting.guide import GuideMessenger
from ember.poutine.site import Site
from ember.poutine.trace_messenger import TraceMessenger
from ember.poutine.trace_struct import Trace
from ember.poutine.values.replay_messenger import ReplayMessenger

Sites = dict[str, Site]
Traces = tuple[Trace, Trace]
"""Of the model and of the guide."""


def get_importance_trace(
    graph_type: Literal["flat", "dense"],
    max_plate_nesting: float,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    detach: bool = False,
    plates: tuple[Sites, Sites] | None = None,
) -> Traces:
    """The traces of model and guide, with log densities on the model's sites and score parts on the guide's.

    Args:
        graph_type: ``"flat"`` or ``"dense"``.
        max_plate_nesting: how many dims from the right belong to plates.
        model: replayed against the guide's trace.
        guide: run first.
        args: positional arguments of both.
        kwargs: keyword arguments of both.
        detach: cut the guide's samples off from its parameters.
        plates: dicts to which the hidden sites of plates are moved, of the model and of the guide.

    Raises:
        ValueError: if model and guide do not match or a shape does not fit its plates (under validation).
        NotImplementedError: if a guide that is a handler is to be detached.
    """
    innermost: Any = unwrap(guide)
    if isinstance(innermost, GuideMessenger):
        if detach:
            raise NotImplementedError("GuideMessenger does not support detach")
        guide(*args, **kwargs)
        model_trace, guide_trace = innermost.get_traces()
    else:
        guide_trace = _run(guide, graph_type, args, kwargs)
        if detach:
            guide_trace.detach_()
        model_trace = _run(ReplayMessenger(trace=guide_trace)(model), graph_type, args, kwargs)
    if hasattr(innermost, "mask_like"):
        innermost.mask_like(model_trace, guide_trace)
    validate = is_validation_enabled()
    if validate:
        if hasattr(innermost, "check_model"):
            innermost.check_model(model_trace, guide_trace, args, kwargs)
        check_model_guide_match(model_trace, guide_trace, max_plate_nesting)
    model_plates, guide_plates = ({}, {}) if plates is None else plates
    guide_trace, model_trace = _pruned(guide_trace, guide_plates), _pruned(model_trace, model_plates)
    model_trace.add_log_probs()
    guide_trace.add_score_parts()
    if validate:
        for recorded in (model_trace, guide_trace):
            for site in recorded.nodes.values():
                if site.type == "sample":
                    check_site_shape(site, max_plate_nesting)
    return model_trace, guide_trace


def _run(
    program: Callable[..., Any],
    graph_type: Literal["flat", "dense"],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Trace:
    recorded = TraceMessenger(graph_type)(program)
    recorded(*args, **kwargs)
    return recorded.trace


def _pruned(recorded: Trace, removed: Sites) -> Trace:
    """The trace without the hidden sites of plates. It is this function's own, and is changed in place."""
    nodes = recorded.nodes
    for name in [site.name for site in recorded.samples() if site.is_subsample]:
        removed[name] = nodes[name]
        recorded.remove_node(name)
    return recorded
