"""Capture: a function over tensors becomes one program. Knows nothing of models, objectives or optimizers."""

from __future__ import annotations

from typing import Any

from ember.capture.backend import Backend as Backend
from ember.capture.backend import Inductor as Inductor
from ember.capture.backend import Interpreter as Interpreter
from ember.capture.backend import Program as Program
from ember.capture.graph import CapturedGraph as CapturedGraph
from ember.capture.graph import capture as capture
from ember.capture.report import Capture as Capture
from ember.capture.report import Report as Report


def explain(svi: Any) -> Report:
    """How often an SVI captured its step, why, and how long each took. Printing it gives a line for each."""
    report: Report = svi.capture_report
    return report


__all__ = [
    "Backend",
    "Capture",
    "CapturedGraph",
    "Inductor",
    "Interpreter",
    "Program",
    "Report",
    "capture",
    "explain",
]
