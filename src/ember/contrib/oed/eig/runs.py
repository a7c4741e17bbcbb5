"""Runs of models and guides, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ember import poutine
from ember.errors import ModelError
from ember.infer.step.compile_mode import CompileMode, effective_mode
from ember.poutine.trace_struct import Trace

Program = Callable[..., Any]
Labels = str | Sequence[str]
_FEWEST_CAPTURED = 200


def labels_of(labels: Labels) -> list[str]:
    """Names of sites; one may be given alone."""
    return [labels] if isinstance(labels, str) else list(labels)


def mode_for(num_steps: int, design: object) -> CompileMode:
    """Whether so many steps are captured; the setting ``compile`` says otherwise.

    Args:
        num_steps: to record and to compile takes about as long as 200 eager steps.
        design: gradients of designs are computed eagerly.
    """
    if isinstance(design, Tensor) and design.requires_grad:
        return False
    return effective_mode(None, "auto" if num_steps >= _FEWEST_CAPTURED else False)


def traced(program: Program, *args: object) -> Trace:
    """A run with its log densities."""
    trace: Trace = poutine.trace(program).get_trace(*args)
    trace.compute_log_prob()
    return trace


def given(program: Program, data: Mapping[str, Tensor]) -> Program:
    """The program with values at some sites."""
    conditioned: Program = poutine.condition(program, data=dict(data))
    return conditioned


def values(trace: Trace, labels: Sequence[str]) -> dict[str, Tensor]:
    """What sites have drawn."""
    return {label: _site(trace, label).value for label in labels}


def log_prob(trace: Trace, labels: Sequence[str]) -> Any:
    """The log density of sites, by batch."""
    return sum(_site(trace, label).log_prob for label in labels)


def _site(trace: Trace, label: str) -> Any:
    if label not in trace.nodes:
        samples = [site for site in trace.nodes.values() if site.type == "sample"]
        there = [site.name for site in samples if not site.is_subsample]
        raise ModelError(f"a program has no site {label!r}, an observation or a target; it has {there}")
    return trace.nodes[label]


def finite_mean(terms: Tensor) -> Tensor:
    """The mean over the first dim of what is finite."""
    finite = torch.isfinite(terms)
    return torch.where(finite, terms, 0.0).sum(0) / finite.sum(0).to(terms.dtype)
