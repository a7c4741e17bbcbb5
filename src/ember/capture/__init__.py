"""Capture: a function over tensors becomes one program. Knows nothing of models, objectives or optimizers."""

from __future__ import annotations

from typing import Any

from ember.capture.backend import Backend as Backend
from ember.capture.backend import Inductor as Inductor
from ember.capture.backend import Interpreter as Interpreter
from ember.capture.backend import Program as Program
from ember.capture.native.program import Native as Native
from ember.capture.profile import Part as Part
from ember.capture.profile import Profile as Profile
from ember.capture.profile import profile as profile
from ember.capture.recording.graph import CapturedGraph as CapturedGraph
from ember.capture.recording.graph import capture as capture
from ember.capture.report import Capture as Capture
from ember.capture.report import Report as Report
from ember.capture.rows.function import RowFunction as RowFunction
from ember.capture.rows.function import rows as rows
from ember.errors import CaptureError


def explain(svi: Any) -> Report:
    """Say how often an SVI captured its step, why, and how long each capture took.

    Printing the result gives a line for each.

    Args:
        svi: an SVI that has taken steps.

    >>> import torch, ember
    >>> def model():
    ...     ember.sample("z", ember.distributions.Normal(0.0, 1.0))
    >>> guide = ember.infer.autoguide.AutoNormal(model)
    >>> svi = ember.infer.SVI(model, guide, ember.optim.Adam({"lr": 0.01}), ember.infer.Trace_ELBO())
    >>> losses = [svi.step() for _ in range(3)]
    >>> ember.capture.explain(svi).num_captures  # compile=True was not asked for
    0
    """
    report: Report = svi.capture_report
    return report


def source(svi: Any) -> str:
    """Return the program of an SVI's newest captured step as C.

    Each block names the sites and optimizer lines that it came from.

    Args:
        svi: an SVI that has taken steps in native code.

    Raises:
        CaptureError: if there is no such program: the step was not captured yet, or by a backend that writes
            none.
    """
    for record in reversed(svi.capture_report.captures):
        if record.what == "step" and record.source:
            return str(record.source)
    raise CaptureError(
        "there is no program to show: no step of this SVI has been compiled by the native backend\n"
        'The way out: take two steps with compile=True (and backend="native", which says what stands in the way).'
    )


__all__ = [
    "Backend",
    "Capture",
    "CapturedGraph",
    "Inductor",
    "Interpreter",
    "Native",
    "Part",
    "Profile",
    "Program",
    "Report",
    "RowFunction",
    "capture",
    "explain",
    "profile",
    "rows",
    "source",
]
