"""Which sites and parameters of a run are not finite."""

from __future__ import annotations

import torch

from ember.ops.scalars import torch_item
from ember.poutine.site import Site
from ember.poutine.trace_struct import Trace


def culprits(model_trace: Trace | None, guide_trace: Trace | None) -> str:
    """A line for each value, parameter or log density that is not finite; empty if there is none, or no trace."""
    findings = []
    for role, recorded in (("guide", guide_trace), ("model", model_trace)):
        for name, site in recorded.nodes.items() if recorded is not None else ():
            if site.type == "sample":
                findings += [f"\n  at {role} site '{name}': {finding}" for finding in _findings(site)]
            elif site.type == "param" and not _all_finite(site.value):
                findings.append(f"\n  at {role} parameter '{name}': its value is not finite")
    return "".join(findings)


def _findings(site: Site) -> list[str]:
    found = []
    if not _all_finite(site.value):
        found.append("its value is not finite")
    if "log_prob_sum" in site and not _all_finite(site.log_prob_sum):
        found.append(f"its log density is {torch_item(site['log_prob_sum'])}")
    return found


def _all_finite(value: object) -> bool:
    return not isinstance(value, torch.Tensor) or bool(torch.isfinite(value).all())
