"""Traces without the hidden sites of plates."""

from __future__ import annotations

from ember.poutine.trace_struct import Trace


def prune_subsample_sites(trace: Trace) -> Trace:
    """A copy of the trace without the sites at which plates draw their indices."""
    pruned = trace.copy()
    for name, site in trace.nodes.items():
        if site.is_subsample:
            pruned.remove_node(name)
    return pruned
