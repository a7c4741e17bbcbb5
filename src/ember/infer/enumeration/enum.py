"""Choosing what is enumerated, and enumerating sites one value after the other."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Iterator
from queue import LifoQueue
from typing import Any, Literal

from ember.errors import ModelError
from ember.infer.traces.importance_trace import get_importance_trace as get_importance_trace
from ember.poutine.enumeration.enum_messenger import enumerate_site as enumerate_site
from ember.poutine.handlers import infer_config
from ember.poutine.site import Site, site_is_subsample
from ember.poutine.trace_messenger import TraceMessenger
from ember.poutine.trace_struct import Trace
from ember.poutine.values.queue_messenger import queue

Program = Callable[..., Any]


def iter_discrete_escape(trace: Trace, msg: Site) -> bool:
    """Whether a site is to be enumerated sequentially and is not in the trace yet."""
    return (
        msg.type == "sample"
        and not msg.is_observed
        and msg.enumeration == "sequential"
        and msg.name not in trace
    )


def iter_discrete_extend(trace: Trace, site: Site, **ignored: object) -> Iterator[Trace]:
    """Copies of a trace, each with one of the site's values; ``infer["_enum_total"]`` says how many there are."""
    values = enumerate_site(site)
    for value in values:
        infer = {**site.infer, "_enum_total": values.shape[0]}
        extended = trace.copy()
        extended.add_node(site.name, **{**site, "infer": infer, "value": value})
        yield extended


def iter_discrete_traces(
    graph_type: Literal["flat", "dense"], fn: Program, *args: object, **kwargs: object
) -> Iterator[Trace]:
    """Traces of a program, one for each combination of values of the sites marked ``infer={"enumerate": "sequential"}``.

    Other sites are drawn anew after the last of the marked ones before them. The traces carry no weights.

    Args:
        graph_type: ``"flat"`` or ``"dense"``.
        fn: the program.
        *args: its arguments.
        **kwargs: its keyword arguments.

    >>> import ember
    >>> def coin():
    ...     return ember.sample("x", ember.distributions.Bernoulli(0.5), infer={"enumerate": "sequential"})
    >>> sorted(float(trace.nodes["x"]["value"]) for trace in iter_discrete_traces("flat", coin))
    [0.0, 1.0]
    """
    partial: LifoQueue[Trace] = LifoQueue()
    partial.put(Trace())
    enumerated = queue(fn, partial, escape_fn=iter_discrete_escape, extend_fn=iter_discrete_extend)  # type: ignore[arg-type]
    while not partial.empty():
        yield TraceMessenger(graph_type)(enumerated).get_trace(*args, **kwargs)


def _config(
    default: str | None, expand: bool, num_samples: int | None, tmc: str, site: Site
) -> dict[str, Any]:
    if site.type != "sample" or site.is_observed or site_is_subsample(site):
        return {}
    options: dict[str, Any] = {"enumerate": default, "expand": expand}
    if num_samples is not None:
        options |= {"num_samples": num_samples, "tmc": tmc}
    elif not getattr(site.fn, "has_enumerate_support", False):
        return {}
    return {option: site.infer.get(option, value) for option, value in options.items()}


def config_enumerate(
    guide: Program | None = None,
    default: str | None = "parallel",
    expand: bool = False,
    num_samples: int | None = None,
    tmc: str = "diagonal",
) -> Any:
    """Mark the latent sites of a program for enumeration; what is marked already stays as it is.

    With ``num_samples`` all sites are marked, to be sampled so often in parallel; otherwise those with a
    support that can be enumerated. Works as a decorator, with or without arguments.

    Args:
        guide: a guide or a model; without it, a decorator is returned.
        default: ``"parallel"``, ``"sequential"``, ``"flat"`` or None.
        expand: whether values take the full shape of the batch. Else they broadcast.
        num_samples: how many samples to take instead of the support.
        tmc: how samples find their ancestors, ``"diagonal"``, ``"mixture"``, or ``"full"`` for all
            combinations.

    Raises:
        ModelError: if an argument is none of these, or sampling is asked for together with ``"sequential"``.

    >>> import ember
    >>> from ember.infer import config_enumerate
    >>> @config_enumerate
    ... def coin():
    ...     return ember.sample("x", ember.distributions.Bernoulli(0.5))
    >>> ember.poutine.trace(coin).get_trace().nodes["x"]["infer"]
    {'enumerate': 'parallel', 'expand': False}
    """
    if default not in ("sequential", "parallel", "flat", None):
        raise ModelError(
            f"Invalid default value. Expected 'sequential', 'parallel', or None, but got {default!r}"
        )
    if expand not in (True, False):
        raise ModelError(f"Invalid expand value. Expected True or False, but got {expand!r}")
    if num_samples is not None:
        if not (isinstance(num_samples, numbers.Number) and num_samples > 0):
            raise ModelError(
                f"Invalid num_samples, expected None or positive integer, but got {num_samples!r}"
            )
        if default == "sequential":
            raise ModelError(
                'Local sampling does not support "sequential" sampling; use "parallel" sampling instead.'
            )
        if tmc == "full" and num_samples > 1:
            expand = True
    if guide is None:
        return functools.partial(
            config_enumerate, default=default, expand=expand, num_samples=num_samples, tmc=tmc
        )
    return infer_config(guide, config_fn=functools.partial(_config, default, expand, num_samples, tmc))
