"""Running a program over a queue of partial traces, and the ways to extend them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from queue import Queue
from typing import Any

from ember.poutine.runtime import NonlocalExit
from ember.poutine.site import Site
from ember.poutine.trace_messenger import TraceMessenger
from ember.poutine.trace_struct import Trace
from ember.poutine.values.escape_messenger import EscapeMessenger
from ember.poutine.values.replay_messenger import ReplayMessenger


def enum_extend(trace: Trace, msg: Site, num_samples: int | None = None) -> list[Trace]:
    """Copies of ``trace``, each with one value of the site's support (the first ``num_samples + 1`` of them, if given)."""
    values = msg.fn.enumerate_support(*msg.args, **msg.kwargs)
    if num_samples is not None and num_samples >= 0:
        values = values[: num_samples + 1]
    return [_extended(trace, msg, value) for value in values]


def mc_extend(trace: Trace, msg: Site, num_samples: int | None = None) -> list[Trace]:
    """``num_samples`` copies (by default one) of ``trace``, each with a sample of the site."""
    count = 1 if num_samples is None else num_samples
    return [_extended(trace, msg, msg.fn(*msg.args, **msg.kwargs)) for _ in range(count)]


def _extended(trace: Trace, msg: Site, value: object) -> Trace:
    extended = trace.copy()
    extended.add_node(msg.name, **{**msg, "value": value})
    return extended


def all_escape(trace: Trace, msg: Site) -> bool:
    """Whether a site is latent and not in the trace yet."""
    return msg.type == "sample" and not msg.is_observed and msg.name is not None and msg.name not in trace


def discrete_escape(trace: Trace, msg: Site) -> bool:
    """Whether a site is latent, not in the trace yet, and has a support that can be enumerated."""
    return all_escape(trace, msg) and getattr(msg.fn, "has_enumerate_support", False)


def queue(
    fn: Callable[..., Any] | None = None,
    queue: Queue[Trace] | None = None,
    max_tries: int | None = None,
    extend_fn: Callable[..., list[Trace]] | None = None,
    escape_fn: Callable[[Trace, Site], bool] | None = None,
    num_samples: int | None = None,
) -> Callable[..., Any]:
    """Run ``fn`` against the next trace of a queue.

    Each site that it lacks puts extended traces on the queue.

    Args:
        fn: a program; without it, a decorator is returned.
        queue: partial traces, at first an empty one.
        max_tries: how many traces to try (10^6 by default).
        extend_fn: ``(trace, site, num_samples=) -> traces``; by default :func:`enum_extend`.
        escape_fn: ``(trace, site) -> bool``, the sites to extend at; by default :func:`discrete_escape`.
        num_samples: passed on to ``extend_fn``.

    Raises:
        ValueError: when ``max_tries`` is exceeded.
    """
    if fn is None:
        return functools.partial(
            _queue,
            queue=queue,
            max_tries=max_tries,
            extend_fn=extend_fn,
            escape_fn=escape_fn,
            num_samples=num_samples,
        )
    tries = int(1e6) if max_tries is None else max_tries
    extend = enum_extend if extend_fn is None else extend_fn
    escapes = discrete_escape if escape_fn is None else escape_fn
    traces = queue
    assert traces is not None, "queue needs a queue.Queue of traces"

    def run_next(*args: object, **kwargs: object) -> Any:
        for _ in range(tries):
            assert not traces.empty(), "trying to get() from an empty queue will deadlock"
            partial_trace = traces.get()
            replayed = ReplayMessenger(trace=partial_trace)(fn)
            traced = TraceMessenger()(EscapeMessenger(functools.partial(escapes, partial_trace))(replayed))
            try:
                return traced(*args, **kwargs)
            except NonlocalExit as leaving:
                leaving.reset_stack()
                for extended in extend(
                    traced.trace.copy(), leaving.site, num_samples=-1 if num_samples is None else num_samples
                ):
                    traces.put(extended)
        raise ValueError(f"max tries ({tries}) exceeded")

    return run_next


# The function by a name that its own argument does not cover.
_queue = queue
