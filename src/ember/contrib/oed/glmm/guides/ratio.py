"""A function of targets and observations, made of a guide."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ember.contrib.oed.eig.runs import Program, given, log_prob, traced, values
from ember.poutine.trace_struct import Trace


class GuideDV(nn.Module):
    """``log q(theta | y, d) - log p(theta)``: what makes the Donsker-Varadhan bound tight if ``q`` is the posterior.

    Args:
        guide: a program ``(y_dict, design, observation_labels, target_labels)``, which samples the targets.
    """

    guide: Program

    def __init__(self, guide: Program) -> None:
        super().__init__()
        self.guide = guide

    def forward(
        self,
        design: Tensor,
        trace: Trace,
        observation_labels: Sequence[str],
        target_labels: Sequence[str],
    ) -> Tensor:
        trace.compute_log_prob()
        guide = given(self.guide, values(trace, target_labels))
        args = values(trace, observation_labels), design, observation_labels, target_labels
        ratio: Tensor = log_prob(traced(guide, *args), target_labels) - log_prob(trace, target_labels)
        return ratio
