"""What each pass of the native backend makes is looked at in all of its tests."""

from __future__ import annotations

import pytest
import torch

from ember.capture.native import pipeline
from tests.capture.native.programs import QUICK, flags


@pytest.fixture(autouse=True)
def _verified(monkeypatch):
    monkeypatch.setattr(pipeline, "VERIFY", True)
    torch.set_default_dtype(torch.float64)
    with flags(*QUICK):
        yield
