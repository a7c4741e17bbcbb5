"""The costs downstream of each site by the edges of dense traces: which terms a choice can have changed, in the worst case.

:class:`TraceGraph_ELBO` finds the terms by provenance, which is exact; this is the bound that plates alone give.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ember.infer.traces.plates import MultiFrameTensor, get_plate_stacks
from ember.poutine.trace_struct import Trace


def compute_downstream_costs(
    model_trace: Trace, guide_trace: Trace, non_reparam_nodes: Iterable[str]
) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """Costs, and the sites whose terms they are the sum of, by site of the guide.

    Args:
        model_trace: dense, with log densities, without the sites of plates.
        guide_trace: dense, with log densities, without the sites of plates.
        non_reparam_nodes: for these sites the terms of the model alone are added, and costs are summed to the site's plates.
    """
    stacks = get_plate_stacks(model_trace)
    included: dict[str, set[str]] = {}
    for name in guide_trace.topological_sort(reverse=True):
        if guide_trace.nodes[name].type == "sample":
            included[name] = {name}.union(*(included[child] for child in guide_trace.successors(name)))
    costs: dict[str, Any] = {}
    for name, names in included.items():
        costs[name] = MultiFrameTensor()
        for term in sorted(names, key=list(included).index):
            ratio = model_trace.nodes[term].log_prob - guide_trace.nodes[term].log_prob
            costs[name].add((stacks[term], ratio))
    for name in non_reparam_nodes:
        in_model = set().union(*(model_trace.successors(term) for term in included[name])) - included[name]
        for term in [node for node in model_trace.nodes if node in in_model]:
            costs[name].add((stacks[term], model_trace.nodes[term].log_prob))
        included[name] = included[name] | in_model
        costs[name] = costs[name].sum_to(guide_trace.nodes[name].cond_indep_stack)
    return costs, included
